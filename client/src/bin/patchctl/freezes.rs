//! `patchctl freezes`.

use crate::{
    Context,
    args::{self, Change},
    failure::{Exit, Failure},
};
use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use patchplane_client::{
    api::{self, Freeze, freeze::scope::Selector},
    name::id,
};

#[derive(Debug, Args)]
#[command(after_help = "\
While a freeze holds, operations send no command to what it covers, and wait. What runs finishes. Schedules are AWS's own and go
on: pause them.

Examples:
  patchctl freezes                                     all of them, also those that are over
  patchctl freezes create --reason 'stock-taking' --group web --until '2026-12-01 06:00' --tz Europe/Berlin
  patchctl freezes create --reason 'an incident' --everywhere
  patchctl freezes delete 01KB8Q2M4V5W6X7Y8Z9A0B1C2D")]
pub(crate) struct Freezes {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists freezes, oldest first (the default).
    List,
    /// Lets nothing be sent for a time: to a location, or to a group or a tag there, or everywhere.
    Create {
        /// Why: what those see whose operations wait.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Of every account and Region, and not of --account and --region alone.
        #[arg(long)]
        everywhere: bool,
        /// Only instances of this patch group.
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        /// Only instances with this tag.
        #[arg(long, value_name = "KEY=VALUE", value_parser = args::tag, conflicts_with = "group")]
        tag: Option<api::TagMatch>,
        /// From when: `2026-12-01 06:00` by the clocks of --tz, or 2026-12-01T06:00:00Z; from now unless given.
        #[arg(long, value_name = "WHEN")]
        from: Option<String>,
        /// Until when, likewise; until it is deleted unless given.
        #[arg(long, value_name = "WHEN")]
        until: Option<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Ends a freeze: what waited goes on.
    Delete {
        /// Its id, or its resource name.
        freeze: String,
        #[command(flatten)]
        change: Change,
    },
}

impl Freezes {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.action.unwrap_or(Action::List) {
            Action::List => {
                let request = api::ListFreezesRequest { page_size: 200, ..Default::default() };
                let freezes: Vec<Freeze> = context.client.list_freezes(request).try_collect().await?;
                let all = api::ListFreezesResponse { freezes, ..Default::default() };
                context.out.show("ListFreezesResponse", &all, |view| view.freezes(&all.freezes))?;
            }
            Action::Create { reason, everywhere, group, tag, from, until, change } => {
                let location = if everywhere { String::new() } else { context.scope.one()?.to_string() };
                let selector = group.map(Selector::PatchGroup).or(tag.map(Selector::Tag));
                let freeze = Freeze {
                    scope: Some(api::freeze::Scope { location, selector }),
                    start_time: from.map(|text| moment(context, &text)).transpose()?,
                    end_time: until.map(|text| moment(context, &text)).transpose()?,
                    reason,
                    ..Default::default()
                };
                let Change { validate_only, expected_plan, request_id } = change;
                let freeze = Some(freeze);
                let request = api::CreateFreezeRequest { freeze, request_id, validate_only, expected_plan };
                let answer = context.client.create_freeze(request).await?;
                context.out.show("CreateFreezeResponse", &answer, |view| {
                    let plan = view.plan(&answer.plan.clone().unwrap_or_default());
                    let freeze = answer.freeze.as_ref().filter(|_| !validate_only);
                    freeze.map_or(plan.clone(), |freeze| plan + "\n" + &view.freezes(std::slice::from_ref(freeze)))
                })?;
            }
            Action::Delete { freeze, change } => {
                let Change { validate_only, expected_plan, request_id } = change;
                let name = format!("freezes/{}", id(&freeze));
                let request = api::DeleteFreezeRequest { name, request_id, validate_only, expected_plan };
                let answer = context.client.delete_freeze(request).await?;
                context.out.show("DeleteFreezeResponse", &answer, |view| {
                    view.plan(&answer.plan.clone().unwrap_or_default())
                })?;
            }
        }
        Ok(Exit::Well)
    }
}

/// A moment in UTC, or on the clocks that times are shown by.
fn moment(context: &Context, text: &str) -> Result<prost_types::Timestamp, Failure> {
    let local = || {
        let local: jiff::civil::DateTime = text.parse().ok()?;
        Some(local.to_zoned(context.out.view.zone().clone()).ok()?.timestamp())
    };
    let at = text.parse().ok().or_else(local).ok_or_else(|| Failure::Usage {
        what: format!("{text:?} is no moment"),
        next: "give one like '2026-12-01 06:00', by the clocks of --tz, or 2026-12-01T06:00:00Z".to_owned(),
    })?;
    let at: jiff::Timestamp = at;
    Ok(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
}
