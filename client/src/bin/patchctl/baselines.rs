//! `patchctl baselines`.

use crate::{
    Context,
    args::{Change, Consent},
    baseline_spec::{Spec, filter},
    failure::{Exit, Failure},
};
use clap::{Args, Subcommand, ValueEnum};
use futures::TryStreamExt as _;
use patchplane_client::{
    Listing, Location,
    api::{self, Baseline, PatchFilter, preview_baseline_request::Subject},
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  patchctl baselines --os AMAZON_LINUX_2 --owner aws
  patchctl baselines get pb-0be8c61cde3be63f3       what it approves, in sentences
  patchctl baselines preview pb-0be8c61cde3be63f3 --rule 'CLASSIFICATION=Security; SEVERITY=Critical; after 1 day'
  patchctl baselines clone pb-0be8c61cde3be63f3 critical-at-once --rule 'CLASSIFICATION=Security; SEVERITY=Critical; after 1 day'
  patchctl baselines diff pb-0be8c61cde3be63f3 critical-at-once
  patchctl baselines properties AMAZON_LINUX_2 PRODUCT")]
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
        /// pb-…, its name, or the resource name.
        #[arg(value_name = "BASELINE")]
        id: String,
    },
    /// Makes a baseline of your own, from rules.
    Create {
        /// Its name: 3 to 128 letters, digits, `_`, `-` and `.`.
        name: String,
        /// Its operating system, such as AMAZON_LINUX_2.
        #[arg(long, value_name = "OS", default_value = "", hide_default_value = true)]
        os: String,
        #[command(flatten)]
        spec: Box<Spec>,
        #[command(flatten)]
        change: Change,
    },
    /// Makes a baseline of your own after another one, with changes.
    Clone {
        /// The one to copy: pb-…, its name, or the resource name.
        #[arg(value_name = "BASELINE")]
        id: String,
        /// The new one's name.
        name: String,
        #[command(flatten)]
        spec: Box<Spec>,
        #[command(flatten)]
        change: Change,
    },
    /// Changes a baseline of your own: only what is said.
    Update {
        /// pb-…, its name, or the resource name.
        #[arg(value_name = "BASELINE")]
        id: String,
        /// Another name.
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        rename: String,
        #[command(flatten)]
        spec: Box<Spec>,
        /// Only if it still has this etag.
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
        #[command(flatten)]
        change: Change,
    },
    /// Deletes a baseline of your own that nothing uses.
    Delete {
        /// pb-…, its name, or the resource name.
        #[arg(value_name = "BASELINE")]
        id: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Lists the default baseline of each operating system.
    Defaults,
    /// Makes a baseline the default of its operating system.
    SetDefault {
        /// pb-…, its name, or the resource name.
        #[arg(value_name = "BASELINE")]
        id: String,
        #[command(flatten)]
        change: Change,
    },
    /// Shows what a baseline approves, patch by patch, and why; with options of `update`, what it would with those changes.
    Preview(Box<Preview>),
    /// Shows how two baselines differ: in what they say, and in the patches that they approve.
    Diff {
        /// pb-…, its name, or the resource name.
        one: String,
        /// pb-…, its name, or the resource name.
        other: String,
        #[command(flatten)]
        look: Look,
    },
    /// Lists the values that a filter can have, such as the products of an operating system.
    Properties {
        /// Such as AMAZON_LINUX_2.
        os: String,
        /// PRODUCT, CLASSIFICATION, SEVERITY, PRIORITY, PRODUCT_FAMILY or MSRC_SEVERITY.
        property: String,
        /// Windows: OS or APPLICATION.
        #[arg(long, value_name = "SET", default_value = "", hide_default_value = true)]
        patch_set: String,
    },
    /// Lists AWS's catalogue of patches: of WINDOWS, AMAZON_LINUX and AMAZON_LINUX_2.
    Available {
        /// WINDOWS, AMAZON_LINUX or AMAZON_LINUX_2.
        os: String,
        /// Only patches that match, such as `PRODUCT=AmazonLinux2`; repeatable: all must match.
        #[arg(long = "filter", value_name = "KEY=VALUES", value_parser = filter)]
        filters: Vec<PatchFilter>,
    },
}

#[derive(Debug, Args)]
struct Preview {
    /// pb-…, its name, or the resource name.
    #[arg(value_name = "BASELINE")]
    id: String,
    #[command(flatten)]
    spec: Spec,
    /// Another baseline to compare with.
    #[arg(long, value_name = "BASELINE")]
    compare_to: Option<String>,
    /// Only the patches on which the two differ.
    #[arg(long, requires = "compare_to")]
    differences: bool,
    #[command(flatten)]
    look: Look,
}

/// What a preview looks at.
#[derive(Clone, Debug, Args)]
struct Look {
    /// At this moment: a day in UTC such as 2026-11-30, or a time such as 2026-11-30T12:00:00Z. Unset: now.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    at: Option<jiff::Timestamp>,
    /// Also what would change on the instances of this patch group.
    #[arg(long, value_name = "GROUP", default_value = "", hide_default_value = true)]
    group: String,
    /// Only patches of this product; repeatable.
    #[arg(long = "product", value_name = "PRODUCT")]
    products: Vec<String>,
    /// How many patches to show at most: up to 1000.
    #[arg(long, value_name = "N", default_value_t = 50)]
    most: i32,
}

/// A day is its end, so that everything approved on it is approved.
fn moment(text: &str) -> Result<jiff::Timestamp, String> {
    let day = || {
        let day: jiff::civil::Date = text.parse().ok()?;
        Some(day.at(23, 59, 59, 0).to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    text.parse().ok().or_else(day).ok_or_else(|| "must be like 2026-11-30 or 2026-11-30T12:00:00Z".to_owned())
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
        let Context { client, scope, out } = context;
        match self.action.unwrap_or(Action::List(self.list)) {
            Action::List(list) => return list.run(context).await,
            Action::Get { id } => {
                let baseline = get(context, context.baseline(&id).await?).await?;
                out.show("Baseline", &baseline, |view| view.baseline(&baseline))?;
            }
            Action::Create { name, os, spec, change } => {
                let base = Baseline { display_name: name, operating_system: os, ..Baseline::default() };
                let (baseline, _) = spec.over(base)?;
                create(context, scope.one()?.into(), baseline, None, None, change).await?;
            }
            Action::Clone { id, name, spec, change } => {
                let from = context.baseline(&id).await?;
                let parent = Location::of(&from).map_or_else(|| scope.one(), Ok)?;
                let (baseline, mask) = spec.over(Baseline { display_name: name, ..Baseline::default() })?;
                create(context, parent.into(), baseline, Some(from), mask, change).await?;
            }
            Action::Update { id, rename, spec, etag, change } => {
                let base = Baseline { name: context.baseline(&id).await?, display_name: rename, ..Baseline::default() };
                let (baseline, update_mask) = spec.over(base)?;
                let validate_only = change.validate_only;
                let request = api::UpdateBaselineRequest {
                    baseline: Some(baseline),
                    update_mask,
                    etag,
                    request_id: change.request_id,
                    validate_only,
                    expected_plan: change.expected_plan,
                };
                let answer = client.update_baseline(request).await?;
                out.show("UpdateBaselineResponse", &answer, |view| {
                    view.baseline_change(answer.plan.as_ref(), answer.baseline.as_ref(), validate_only)
                })?;
            }
            Action::Delete { id, consent } => {
                let name = context.baseline(&id).await?;
                let call = |change: Change| {
                    client.delete_baseline(api::DeleteBaselineRequest {
                        name: name.clone(),
                        etag: String::new(),
                        request_id: change.request_id,
                        validate_only: change.validate_only,
                        expected_plan: change.expected_plan,
                    })
                };
                let question = |answer: &api::DeleteBaselineResponse| {
                    let name = answer.baseline.as_ref().map(|baseline| baseline.display_name.as_str());
                    format!("Delete {}?", name.unwrap_or(&id))
                };
                let answer = context.with_consent(consent, call, |answer| answer.plan.as_ref(), question).await?;
                out.show("DeleteBaselineResponse", &answer, |view| {
                    view.plan(&answer.plan.clone().unwrap_or_default())
                })?;
            }
            Action::Defaults => return defaults(context).await,
            Action::SetDefault { id, change } => {
                let baseline = get(context, context.baseline(&id).await?).await?;
                let parent = Location::of(&baseline.name).map_or_else(|| scope.one(), Ok)?;
                let request = api::SetDefaultBaselineRequest {
                    name: parent.default_baseline(&baseline.operating_system),
                    baseline: baseline.name,
                    request_id: change.request_id,
                    validate_only: change.validate_only,
                    expected_plan: change.expected_plan,
                };
                let answer = client.set_default_baseline(request).await?;
                out.show("SetDefaultBaselineResponse", &answer, |view| {
                    view.plan(&answer.plan.clone().unwrap_or_default())
                })?;
            }
            Action::Preview(preview) => return preview.run(context).await,
            Action::Diff { one, other, look } => {
                let (one, other) = (context.baseline(&one).await?, context.baseline(&other).await?);
                return diff(context, one, other, look).await;
            }
            Action::Properties { os, property, patch_set } => {
                let request = api::ListPatchPropertiesRequest {
                    parent: scope.one()?.into(),
                    operating_system: os,
                    property,
                    patch_set,
                    ..Default::default()
                };
                let values = client.list_patch_properties(request).try_collect().await?;
                let all = api::ListPatchPropertiesResponse { values, ..Default::default() };
                out.show("ListPatchPropertiesResponse", &all, |_| {
                    all.values.iter().map(|value| format!("{value}\n")).collect()
                })?;
            }
            Action::Available { os, filters } => {
                let request = api::ListAvailablePatchesRequest {
                    parent: scope.one()?.into(),
                    operating_system: os,
                    filters,
                    ..Default::default()
                };
                let patches = client.list_available_patches(request).try_collect().await?;
                let all = api::ListAvailablePatchesResponse { patches, ..Default::default() };
                out.show("ListAvailablePatchesResponse", &all, |view| view.available_patches(&all.patches))?;
            }
        }
        Ok(Exit::Well)
    }
}

async fn get(context: &Context, name: String) -> Result<Baseline, Failure> {
    let answer = context.client.get_baseline(api::GetBaselineRequest { name }).await?;
    Ok(answer.baseline.unwrap_or_default())
}

async fn create(
    context: &Context,
    parent: String,
    baseline: Baseline,
    clone_from: Option<String>,
    update_mask: Option<prost_types::FieldMask>,
    change: Change,
) -> Result<(), Failure> {
    let validate_only = change.validate_only;
    let request = api::CreateBaselineRequest {
        parent,
        baseline: Some(baseline),
        clone_from: clone_from.unwrap_or_default(),
        update_mask,
        request_id: change.request_id,
        validate_only,
        expected_plan: change.expected_plan,
        tags: Vec::new(),
    };
    let answer = context.client.create_baseline(request).await?;
    context.out.show("CreateBaselineResponse", &answer, |view| {
        view.baseline_change(answer.plan.as_ref(), answer.baseline.as_ref(), validate_only)
    })
}

async fn defaults(context: &Context) -> Result<Exit, Failure> {
    let request = api::ListDefaultBaselinesRequest { parent: context.scope.any()?.into(), ..Default::default() };
    let Listing { items, unreachable } = Listing::collect(context.client.list_default_baselines(request)).await?;
    let exit = context.out.warn(&unreachable);
    let all = api::ListDefaultBaselinesResponse { default_baselines: items, unreachable, ..Default::default() };
    context.out.show("ListDefaultBaselinesResponse", &all, |view| view.default_baselines(&all.default_baselines))?;
    Ok(exit)
}

async fn diff(context: &Context, one: String, other: String, look: Look) -> Result<Exit, Failure> {
    let (before, after) = (get(context, one.clone()).await?, get(context, other.clone()).await?);
    let request = look.request(&other, Subject::Baseline(other.clone()), Some(one), true)?;
    let answer = context.client.preview_baseline(request).await?;
    context.out.show("PreviewBaselineResponse", &answer, |view| {
        view.baseline_difference(&before, &after) + "\n" + &view.preview(&answer)
    })?;
    Ok(Exit::Well)
}

impl Preview {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { id, spec, compare_to, differences, look } = self;
        let name = context.baseline(&id).await?;
        let compare_to = match compare_to {
            Some(id) => Some(context.baseline(&id).await?),
            None => None,
        };
        let subject = if spec.is_empty() {
            Subject::Baseline(name.clone())
        } else {
            Subject::Draft(spec.over(get(context, name.clone()).await?)?.0)
        };
        let answer = context.client.preview_baseline(look.request(&name, subject, compare_to, differences)?).await?;
        context.out.show("PreviewBaselineResponse", &answer, |view| view.preview(&answer))?;
        Ok(Exit::Well)
    }
}

impl Look {
    fn request(
        self,
        name: &str,
        subject: Subject,
        compare_to: Option<String>,
        differences_only: bool,
    ) -> Result<api::PreviewBaselineRequest, Failure> {
        let Self { at, group, products, most } = self;
        let wrong = || Failure::Usage {
            what: format!("{name} is not a baseline's name"),
            next: "give pb-… with --account and --region, or the whole name".to_owned(),
        };
        Ok(api::PreviewBaselineRequest {
            parent: Location::of(name).ok_or_else(wrong)?.into(),
            subject: Some(subject),
            at: at.map(|at| prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }),
            compare_to: compare_to.unwrap_or_default(),
            patch_group: group,
            products,
            max_patches: most,
            differences_only,
        })
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
