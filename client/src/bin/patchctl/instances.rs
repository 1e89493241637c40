//! `patchctl instances` and `patchctl readiness`.

use crate::{
    Context,
    failure::{Exit, Failure},
};
use clap::{Args, Subcommand};
use futures::TryStreamExt as _;
use patchplane_client::{Listing, Location, api};

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
    #[arg(value_name = "INSTANCE", required = true)]
    ids: Vec<String>,
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
        let mut answers = Vec::new();
        for id in &self.ids {
            let name = context.scope.name(id, Location::instance)?;
            answers.push(context.client.check_readiness(api::CheckReadinessRequest { name }).await?);
        }
        if context.out.is_json() {
            let values = answers.iter().map(|answer| context.out.json("CheckReadinessResponse", answer));
            let values = values.collect::<Result<Option<Vec<_>>, _>>()?.unwrap_or_default();
            context.out.write_json(&values.into())?;
        } else {
            context.out.write(&context.out.view.readiness(&answers))?;
        }
        Ok(if answers.iter().all(|answer| answer.ready) { Exit::Well } else { Exit::NotWell })
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
