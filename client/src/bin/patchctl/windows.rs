//! `patchctl windows`.

use crate::{
    Context,
    failure::{Exit, Failure},
};
use clap::{Args, Subcommand};
use futures::{StreamExt as _, TryStreamExt as _};
use patchplane_client::{Listing, api};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchctl windows                                   every maintenance window, whoever made it
  patchctl windows get mw-0123456789abcdef0          with its targets and tasks
  patchctl windows executions mw-0123456789abcdef0   what it ran
  patchctl windows execution mw-0123456789abcdef0 6f1c9c1e-3f0a-4e2b-9d6e-0f4f0c8c3a11
  patchctl windows upcoming --days 3                 what runs in the next three days")]
pub(crate) struct Windows {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the maintenance windows (the default).
    List,
    /// Shows one window with its targets and tasks.
    Get {
        /// mw-…, its name, or the resource name.
        window: String,
    },
    /// Lists what a window ran, newest first.
    Executions {
        /// mw-…, its name, or the resource name.
        window: String,
        /// How many at most.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Shows one run with its tasks and commands.
    Execution {
        /// mw-…, its name, or the resource name.
        window: String,
        /// The run's UUID.
        execution: String,
    },
    /// Lists the runs to come, and where AWS foresees something else.
    Upcoming {
        /// How many days to look ahead, 1 to 60.
        #[arg(long, default_value_t = 7)]
        days: i32,
        /// How many runs at most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
}

impl Windows {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Context { client, scope, out } = context;
        match self.action.unwrap_or(Action::List) {
            Action::List => {
                let parent = scope.any()?.into();
                let request = api::ListMaintenanceWindowsRequest { parent, ..Default::default() };
                let Listing { items, unreachable } = Listing::collect(client.list_maintenance_windows(request)).await?;
                let exit = out.warn(&unreachable);
                let all = api::ListMaintenanceWindowsResponse {
                    maintenance_windows: items,
                    unreachable,
                    ..Default::default()
                };
                out.show("ListMaintenanceWindowsResponse", &all, |view| view.windows(&all.maintenance_windows))?;
                Ok(exit)
            }
            Action::Get { window } => {
                let request = api::GetMaintenanceWindowRequest { name: context.window(&window).await? };
                let window = client.get_maintenance_window(request).await?.maintenance_window.unwrap_or_default();
                out.show("MaintenanceWindow", &window, |view| view.window(&window))?;
                Ok(Exit::Well)
            }
            Action::Executions { window, limit } => {
                let request =
                    api::ListExecutionsRequest { parent: context.window(&window).await?, ..Default::default() };
                let executions = client.list_executions(request).take(limit).try_collect().await?;
                let all = api::ListExecutionsResponse { executions, ..Default::default() };
                out.show("ListExecutionsResponse", &all, |view| view.executions(&all.executions))?;
                Ok(Exit::Well)
            }
            Action::Execution { window, execution } => {
                let name = format!("{}/executions/{execution}", context.window(&window).await?);
                let answer = client.get_execution(api::GetExecutionRequest { name }).await?;
                let execution = answer.execution.unwrap_or_default();
                out.show("Execution", &execution, |view| view.execution(&execution))?;
                Ok(Exit::Well)
            }
            Action::Upcoming { days, limit } => {
                let parent = scope.any()?.into();
                let request = api::ListUpcomingRunsRequest { parent, days, ..Default::default() };
                let listed = Listing::collect(client.list_upcoming_runs(request).take(limit)).await?;
                let Listing { items: runs, unreachable } = listed;
                let exit = out.warn(&unreachable);
                let all = api::ListUpcomingRunsResponse { runs, unreachable, ..Default::default() };
                out.show("ListUpcomingRunsResponse", &all, |view| view.window_runs(&all.runs))?;
                Ok(exit)
            }
        }
    }
}
