//! `patchctl groups`.

use crate::{
    Context,
    args::Change,
    failure::{Exit, Failure},
};
use clap::{Args, Subcommand};
use patchplane_client::{
    Listing, Location,
    api::{self, instance_result::Outcome},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchctl groups                                   who has which baseline
  patchctl groups attach web pb-0be8c61cde3be63f3 --validate-only
  patchctl groups add web i-0123456789abcdef0       writes the tag with the key that works there")]
pub(crate) struct Groups {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the groups that have a baseline or an instance (the default).
    List,
    /// Shows one group.
    Get {
        /// The group's name as it stands in the tag.
        group: String,
    },
    /// Attaches a baseline to a group, for the baseline's operating system.
    Attach {
        /// The group's name as it stands in the tag.
        group: String,
        /// pb-…, its name, or the resource name.
        baseline: String,
        /// Take off another baseline of the same operating system first.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Takes a baseline off a group; the default of its operating system applies from then on.
    Detach {
        /// The group's name as it stands in the tag.
        group: String,
        /// pb-…, its name, or the resource name.
        baseline: String,
        #[command(flatten)]
        change: Change,
    },
    /// Puts instances into a group by writing the tag with the right key.
    Add {
        /// The group's name as it stands in the tag.
        group: String,
        /// i-… or mi-….
        #[arg(value_name = "INSTANCE", required = true)]
        ids: Vec<String>,
        /// Take instances out of another group that they are in.
        #[arg(long)]
        r#move: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Takes instances out of a group by removing its tag.
    Remove {
        /// The group's name as it stands in the tag.
        group: String,
        /// i-… or mi-….
        #[arg(value_name = "INSTANCE", required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Lists tags that look like a group and are not effective, and for each the command that mends it.
    Findings,
}

impl Groups {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Context { client, scope, out } = context;
        let named = |group: &str| scope.name(group, Location::patch_group);
        match self.action.unwrap_or(Action::List) {
            Action::List => list(context).await,
            Action::Get { group } => {
                let answer = client.get_patch_group(api::GetPatchGroupRequest { name: named(&group)? }).await?;
                let group = answer.patch_group.unwrap_or_default();
                out.show("PatchGroup", &group, |view| view.group(&group))?;
                Ok(Exit::Well)
            }
            Action::Attach { group, baseline, replace, change } => {
                let validate_only = change.validate_only;
                let request = api::AttachBaselineRequest {
                    name: named(&group)?,
                    baseline: context.baseline(&baseline).await?,
                    replace,
                    request_id: change.request_id,
                    validate_only,
                    expected_plan: change.expected_plan,
                    ..Default::default()
                };
                let answer = client.attach_baseline(request).await?;
                out.show("AttachBaselineResponse", &answer, |view| {
                    let plan = answer.plan.clone().unwrap_or_default();
                    let group = answer.patch_group.clone().unwrap_or_default();
                    if validate_only { view.plan(&plan) } else { view.plan(&plan) + "\n" + &view.group(&group) }
                })?;
                Ok(Exit::Well)
            }
            Action::Detach { group, baseline, change } => {
                let validate_only = change.validate_only;
                let request = api::DetachBaselineRequest {
                    name: named(&group)?,
                    baseline: context.baseline(&baseline).await?,
                    request_id: change.request_id,
                    validate_only,
                    expected_plan: change.expected_plan,
                    ..Default::default()
                };
                let answer = client.detach_baseline(request).await?;
                out.show("DetachBaselineResponse", &answer, |view| {
                    let plan = answer.plan.clone().unwrap_or_default();
                    let group = answer.patch_group.clone().unwrap_or_default();
                    if validate_only { view.plan(&plan) } else { view.plan(&plan) + "\n" + &view.group(&group) }
                })?;
                Ok(Exit::Well)
            }
            Action::Findings => findings(context).await,
            Action::Add { group, ids, r#move, change } => {
                let validate_only = change.validate_only;
                let request = api::AddInstancesRequest {
                    name: named(&group)?,
                    instance_ids: ids,
                    allow_move: r#move,
                    request_id: change.request_id,
                    validate_only,
                    expected_plan: change.expected_plan,
                };
                let answer = client.add_instances(request).await?;
                out.show("AddInstancesResponse", &answer, |view| {
                    let results = view.instance_results(&answer.results);
                    let plan = answer.plan.as_ref().filter(|_| validate_only);
                    plan.map_or_else(String::new, |plan| view.plan(plan) + "\n") + &results
                })?;
                Ok(refusals(&answer.results))
            }
            Action::Remove { group, ids, change } => {
                let validate_only = change.validate_only;
                let request = api::RemoveInstancesRequest {
                    name: named(&group)?,
                    instance_ids: ids,
                    request_id: change.request_id,
                    validate_only,
                    expected_plan: change.expected_plan,
                };
                let answer = client.remove_instances(request).await?;
                out.show("RemoveInstancesResponse", &answer, |view| {
                    let results = view.instance_results(&answer.results);
                    let plan = answer.plan.as_ref().filter(|_| validate_only);
                    plan.map_or_else(String::new, |plan| view.plan(plan) + "\n") + &results
                })?;
                Ok(refusals(&answer.results))
            }
        }
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let request = api::ListPatchGroupsRequest { parent: context.scope.any()?.into(), ..Default::default() };
    let Listing { items, unreachable } = Listing::collect(context.client.list_patch_groups(request)).await?;
    let exit = context.out.warn(&unreachable);
    let all = api::ListPatchGroupsResponse { patch_groups: items, unreachable, ..Default::default() };
    context.out.show("ListPatchGroupsResponse", &all, |view| view.groups(&all.patch_groups))?;
    Ok(exit)
}

async fn findings(context: &Context) -> Result<Exit, Failure> {
    let request = api::ListTagFindingsRequest { parent: context.scope.any()?.into(), ..Default::default() };
    let Listing { items, unreachable } = Listing::collect(context.client.list_tag_findings(request)).await?;
    let exit = context.out.warn(&unreachable);
    let all = api::ListTagFindingsResponse { findings: items, unreachable, ..Default::default() };
    context.out.show("ListTagFindingsResponse", &all, |view| view.tag_findings(&all.findings))?;
    Ok(exit)
}

fn refusals(results: &[api::InstanceResult]) -> Exit {
    if results.iter().any(|result| result.outcome() == Outcome::Refused) { Exit::NotWell } else { Exit::Well }
}
