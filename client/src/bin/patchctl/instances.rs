//! `patchctl instances` and `patchctl readiness`.

use crate::{
    Context,
    failure::{Exit, Failure},
};
use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use patchplane_client::{Listing, Location, api, name};
use std::collections::BTreeMap;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  patchctl instances                                of every location, or as --account and --region say
  patchctl instances --group web
  patchctl instances patches i-0123456789abcdef0 --state Missing")]
pub(crate) struct Instances {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists instances, also those that cannot be patched (the default).
    List(List),
    /// Shows one instance.
    Get {
        /// i-… or mi-…, or the resource name.
        #[arg(value_name = "INSTANCE")]
        id: String,
    },
    /// Says which baseline an instance gets, why, and the commands that would give it another.
    Explain {
        /// i-… or mi-…, or the resource name.
        #[arg(value_name = "INSTANCE")]
        id: String,
    },
    /// Lists what the last scan or installation found.
    Patches {
        /// i-… or mi-…, or the resource name.
        #[arg(value_name = "INSTANCE")]
        id: String,
        /// Only patches in this state: Missing, Installed, InstalledOther, InstalledPendingReboot, Failed, …
        #[arg(long)]
        state: Option<String>,
    },
}

#[derive(Debug, Args)]
struct List {
    /// Only instances of this patch group.
    #[arg(long)]
    group: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchctl readiness i-0123456789abcdef0            exit code 1 if something is in the way")]
pub(crate) struct Readiness {
    /// i-… or mi-…, or resource names.
    #[arg(value_name = "INSTANCE", required_unless_present = "group")]
    ids: Vec<String>,
    /// All instances of this patch group.
    #[arg(long, conflicts_with = "ids")]
    group: Option<String>,
    /// After how many days a report is stale.
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=365))]
    stale_after: u16,
}

impl Instances {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.action.unwrap_or(Action::List(self.list)) {
            Action::List(list) => list.run(context).await,
            Action::Get { id } => {
                let name = context.scope.name(&id, Location::instance)?;
                let answer = context.client.get_instance(api::GetInstanceRequest { name }).await?;
                let instance = answer.instance.unwrap_or_default();
                context.out.show("Instance", &instance, |view| view.instance(&instance))?;
                Ok(Exit::Well)
            }
            Action::Explain { id } => {
                let name = context.scope.name(&id, Location::instance)?;
                let answer = context.client.explain_baseline(api::ExplainBaselineRequest { name }).await?;
                context.out.show("ExplainBaselineResponse", &answer, |view| view.baseline_choice(&answer))?;
                Ok(Exit::Well)
            }
            Action::Patches { id, state } => {
                let parent = context.scope.name(&id, Location::instance)?;
                let patches = patches(context, parent, state.unwrap_or_default()).await?;
                let all = api::ListInstancePatchesResponse { patches, ..Default::default() };
                context.out.show("ListInstancePatchesResponse", &all, |view| match all.patches.as_slice() {
                    [] => "No patches: none in this state, or the instance has never been scanned.\n".to_owned(),
                    patches => view.patches(patches),
                })?;
                Ok(Exit::Well)
            }
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let parent = context.scope.any()?.into();
        let patch_group = self.group.unwrap_or_default();
        let request = api::ListInstancesRequest { parent, patch_group, ..Default::default() };
        let Listing { items, unreachable } = Listing::collect(context.client.list_instances(request)).await?;
        let exit = context.out.warn(&unreachable);
        let all = api::ListInstancesResponse { instances: items, unreachable, ..Default::default() };
        context.out.show("ListInstancesResponse", &all, |view| view.instances(&all.instances))?;
        Ok(exit)
    }
}

impl Readiness {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { ids, group, stale_after } = self;
        let stale_after_days = stale_after.into();
        let mut requests = BTreeMap::new();
        if let Some(patch_group) = group {
            let parent = context.scope.one()?.to_string();
            let request = api::BatchCheckReadinessRequest { patch_group, stale_after_days, ..Default::default() };
            requests.insert(parent, request);
        }
        for id in &ids {
            let name = context.scope.name(id, Location::instance)?;
            let parent = Location::of(&name).map(|location| location.to_string()).unwrap_or_default();
            let request = api::BatchCheckReadinessRequest { stale_after_days, ..Default::default() };
            requests.entry(parent).or_insert(request).instance_ids.push(name::id(&name));
        }
        let (mut answers, mut exit) = (Vec::new(), Exit::Well);
        for (parent, request) in requests {
            let request = api::BatchCheckReadinessRequest { parent, ..request };
            let answer = context.client.batch_check_readiness(request).await?;
            if answer.not_ready_count > 0 {
                exit = Exit::NotWell;
            }
            answers.extend(answer.results);
        }
        if context.out.is_json() {
            let values = answers.iter().map(|answer| context.out.json("CheckReadinessResponse", answer));
            let values = values.collect::<Result<Option<Vec<_>>, _>>()?.unwrap_or_default();
            context.out.write_json(&values.into())?;
        } else {
            context.out.write(&context.out.view.readiness(&answers))?;
        }
        Ok(exit)
    }
}

/// All patches of the instance, or those in one state.
pub(crate) async fn patches(
    context: &Context,
    parent: String,
    state: String,
) -> Result<Vec<api::InstancePatch>, Failure> {
    let request = api::ListInstancePatchesRequest { parent, state, page_size: 100, ..Default::default() };
    Ok(context.client.list_instance_patches(request).try_collect().await?)
}
