//! `patchctl baselines`.

use crate::{
    Context,
    failure::{Exit, Failure},
};
use clap::{Args, Subcommand, ValueEnum};
use patchplane_client::{Listing, Location, api};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  patchctl baselines --os AMAZON_LINUX_2 --owner aws
  patchctl baselines get pb-0be8c61cde3be63f3       what it approves, in sentences")]
pub(crate) struct Baselines {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists baselines (the default).
    List(List),
    /// Shows one baseline with what it approves, in sentences.
    Get {
        /// pb-…, or the resource name.
        #[arg(value_name = "BASELINE")]
        id: String,
    },
}

#[derive(Debug, Args)]
struct List {
    /// Only baselines of this operating system, such as AMAZON_LINUX_2.
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// Only AWS's own, or only the account's.
    #[arg(long, value_enum)]
    owner: Option<Owner>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Owner {
    Aws,
    #[value(name = "self")]
    Account,
}

impl Baselines {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.action.unwrap_or(Action::List(self.list)) {
            Action::List(list) => list.run(context).await,
            Action::Get { id } => {
                let name = context.scope.name(&id, Location::baseline)?;
                let answer = context.client.get_baseline(api::GetBaselineRequest { name }).await?;
                let baseline = answer.baseline.unwrap_or_default();
                context.out.show("Baseline", &baseline, |view| view.baseline(&baseline))?;
                Ok(Exit::Well)
            }
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let owner = match self.owner {
            None => api::baseline::Owner::Unspecified,
            Some(Owner::Aws) => api::baseline::Owner::Aws,
            Some(Owner::Account) => api::baseline::Owner::Self_,
        };
        let request = api::ListBaselinesRequest {
            parent: context.scope.any()?.into(),
            operating_system: self.os.unwrap_or_default(),
            owner: owner.into(),
            ..Default::default()
        };
        let Listing { items, unreachable } = Listing::collect(context.client.list_baselines(request)).await?;
        let exit = context.out.warn(&unreachable);
        let all = api::ListBaselinesResponse { baselines: items, unreachable, ..Default::default() };
        context.out.show("ListBaselinesResponse", &all, |view| view.baselines(&all.baselines))?;
        Ok(exit)
    }
}
