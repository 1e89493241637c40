//! What a baseline would do, from the best source that there is for its operating system.

use super::App;
use crate::{
    Error, Result,
    auth::{Action, Caller},
    config::AdvisoryFeed,
    domain::{
        baseline::BaselineEdit,
        name::{BaselineName, InstanceName},
        plan::Notice,
        preview::{Basis, Counts, InstanceImpact, Row, as_available, impact, opened, rows, sort, untold},
    },
};
use futures::future::try_join_all;
use jiff::Timestamp;
use patchplane_aws::{Aws, DeploymentStatus, EffectivePatch, NodeFilter, Page, PageOf};
use patchplane_rules::{
    AvailablePatch, Baseline, BaselineSpec, Decider, Explanation, GROUP_TAG_KEYS, InstanceId, InstancePatch, Invalid,
    Location, OperatingSystem, PatchFilter, PatchGroupName, Undated, Verdict, explain, lints, parse_advisories,
};
use std::collections::{BTreeMap, BTreeSet};

/// The most patches that are looked at.
const MOST_PATCHES: usize = 5000;
/// The most instances that are looked at.
const MOST_INSTANCES: usize = 50;
/// The most patches of one instance that are looked at.
const MOST_REPORTED: usize = 1000;
/// How many instances are asked about at once.
const AT_ONCE: usize = 8;

/// A question for what a baseline would do.
pub struct PreviewBaseline {
    pub location: Location,
    pub subject: Subject,
    /// `None`: now.
    pub at: Option<Timestamp>,
    pub compare_to: Option<BaselineName>,
    pub group: Option<PatchGroupName>,
    pub products: Vec<String>,
    pub max_patches: usize,
    pub differences_only: bool,
}

pub enum Subject {
    Existing(BaselineName),
    Draft(Box<BaselineEdit>),
}

/// What it would do.
pub struct Preview {
    pub rows: Vec<Row>,
    pub counts: Counts,
    pub compared_counts: Option<Counts>,
    pub differences: usize,
    pub left_out: usize,
    pub impact: Option<GroupImpact>,
    pub limits: Vec<String>,
    pub notices: Vec<Notice>,
    pub at: Timestamp,
    pub observe_time: Timestamp,
}

pub struct GroupImpact {
    pub examined: usize,
    /// Those on which something would change, by id.
    pub changed: Vec<(InstanceName, InstanceImpact)>,
    pub current: BaselineName,
}

/// What is previewed, and with what it is compared.
struct Question<'a> {
    aws: &'a Aws,
    baseline: &'a Baseline,
    other: Option<&'a Baseline>,
    at: Timestamp,
    products: &'a [String],
}

/// Verdicts with what they are worth.
struct Judged {
    rows: Vec<Row>,
    undated: Undated,
    limits: Vec<String>,
}

impl App {
    #[tracing::instrument(name = "app.preview_baseline", skip_all, fields(location = %preview.location))]
    pub async fn preview_baseline(&self, who: &Caller, preview: PreviewBaseline) -> Result<Preview> {
        let PreviewBaseline { location, subject, at, compare_to, group, products, max_patches, differences_only } =
            preview;
        who.may(Action::PreviewBaseline, &location)?;
        let aws = self.aws(&location)?;
        let (baseline, exists) = match &subject {
            Subject::Existing(name) => (self.baseline(name).await?, true),
            Subject::Draft(edit) => (edit.whole().map_err(|bad| bad.within("draft"))?.spec().to_baseline(), false),
        };
        let system = baseline.summary.operating_system.clone();
        let other = match &compare_to {
            None => None,
            Some(name) => Some(self.baseline(name).await?),
        };
        if let Some(other) = &other
            && other.summary.operating_system != system
        {
            let rule = format!("is for {}, the previewed one for {system}", other.summary.operating_system);
            return Err(Invalid::new("compare_to", rule).into());
        }
        let observe_time = self.clock.now();
        let at = at.unwrap_or(observe_time);
        let question = Question { aws, baseline: &baseline, other: other.as_ref(), at, products: &products };

        let members = match &group {
            None => None,
            Some(group) => Some(members(aws, group, &system).await?),
        };
        let feeds: Vec<&AdvisoryFeed> = self.feeds.iter().filter(|feed| feed.operating_system == system).collect();
        let mut reports = BTreeMap::new();
        let catalogued = matches!(system.as_str(), "WINDOWS" | "AMAZON_LINUX" | "AMAZON_LINUX_2");
        let Judged { mut rows, undated, mut limits } = if system.as_str() == "WINDOWS" && exists {
            effective(&question, observe_time).await?
        } else if !feeds.is_empty() {
            by_feeds(&question, &feeds).await?
        } else if catalogued {
            catalogue(&question).await?
        } else {
            let asked = match &members {
                Some(members) => members.clone(),
                None => instances_of(aws, &system).await?,
            };
            reports = reported(aws, &asked).await?;
            fleet(&question, &reports, asked.len())
        };
        let impact = match (group, members) {
            (Some(group), Some(members)) => {
                let current = aws.baseline_for_group(&group, &system).await?;
                let current = self.baseline(&BaselineName { location: location.clone(), id: current }).await?;
                if reports.is_empty() {
                    reports = reported(aws, &members).await?;
                }
                limits.extend(impact_limits(members.len(), reports.len(), &rows));
                let name = |id: &InstanceId| InstanceName { location: location.clone(), id: id.clone() };
                let changed = reports.iter().filter_map(|(id, patches)| {
                    let found = impact(patches, &rows, &baseline, &current, undated, at);
                    (found != InstanceImpact::default()).then(|| (name(id), found))
                });
                let changed = changed.collect();
                let current = BaselineName { location: location.clone(), id: current.summary.id };
                Some(GroupImpact { examined: reports.len(), changed, current })
            }
            _ => None,
        };

        sort(&mut rows);
        let counts = Counts::of(rows.iter().map(|row| &row.found));
        let compared_counts = other.is_some().then(|| Counts::of(rows.iter().filter_map(|row| row.compared.as_ref())));
        let differences = rows.iter().filter(|row| row.differs()).count();
        if differences_only {
            rows.retain(Row::differs);
        }
        let left_out = rows.len().saturating_sub(max_patches);
        rows.truncate(max_patches);
        let notices = lints(&BaselineSpec::of(&baseline)).into_iter().map(Notice::from).collect();
        Ok(Preview { rows, counts, compared_counts, differences, left_out, impact, limits, notices, at, observe_time })
    }
}

// === AWS_EFFECTIVE ===

/// AWS's own evaluation of existing Windows baselines (S 4.8.4).
async fn effective(question: &Question<'_>, now: Timestamp) -> Result<Judged> {
    let Question { aws, baseline, other, at, products } = *question;
    let read = async |baseline: &Baseline| {
        let aws_id = baseline.summary.aws_id.clone();
        let (mut found, cut) = bounded(|page| aws.effective_patches_page(&aws_id, page)).await?;
        found.retain(|row| products.is_empty() || products.contains(&row.patch.product));
        Ok::<_, Error>((found, cut))
    };
    let (own, mut cut) = read(baseline).await?;
    let mut compared: BTreeMap<(String, String), EffectivePatch> = BTreeMap::new();
    let key = |patch: &AvailablePatch| (patch.kb_id.clone(), patch.product.clone());
    if let Some(other) = other {
        let (found, cut_too) = read(other).await?;
        cut |= cut_too;
        compared.extend(found.into_iter().map(|row| (key(&row.patch), row)));
    }
    let mut rows = Vec::new();
    for row in own {
        let theirs = compared.remove(&key(&row.patch));
        let compared = other.map(|other| match theirs {
            Some(theirs) => told(other, &theirs, at),
            None => untold_by_aws(),
        });
        let found = told(baseline, &row, at);
        rows.push(Row { patch: row.patch, basis: Basis::AwsEffective, found, approval: row.approval, compared });
    }
    for (_, theirs) in compared {
        let compared = other.map(|other| told(other, &theirs, at));
        let found = untold_by_aws();
        rows.push(Row { patch: theirs.patch, basis: Basis::AwsEffective, found, approval: None, compared });
    }
    let mut limits = vec![
        "AWS lists the updates that the baseline approves, will approve or names in a list; all others are left out."
            .to_owned(),
    ];
    if at > now {
        limits.push(
            "For a later date AWS's present approval dates are compared with it: updates that Microsoft releases or \
             replaces until then are not foreseen."
                .to_owned(),
        );
    } else if at < now {
        limits.push("AWS's list is of now: updates that have been replaced since that date are not in it.".to_owned());
    }
    limits.extend(products_limit(products));
    limits.extend(cut.then(cut_limit));
    Ok(Judged { rows, undated: Undated::NoDelay, limits })
}

/// What AWS says, with our reason where it comes to the same.
fn told(baseline: &Baseline, row: &EffectivePatch, at: Timestamp) -> Explanation {
    let ours = explain(baseline, &row.patch, Undated::NoDelay, at);
    let verdict = match (row.status, row.approval) {
        (DeploymentStatus::ExplicitRejected, _) => Verdict::Rejected,
        (DeploymentStatus::ExplicitApproved, _) | (DeploymentStatus::Approved, None) => Verdict::Approved,
        (DeploymentStatus::Approved | DeploymentStatus::PendingApproval, Some(from)) if from <= at => Verdict::Approved,
        (DeploymentStatus::Approved | DeploymentStatus::PendingApproval, Some(from)) => Verdict::Pending(from),
        (DeploymentStatus::PendingApproval | DeploymentStatus::Unknown, _) => Verdict::Undated,
    };
    let compliance_level = row.compliance_level.clone();
    if std::mem::discriminant(&verdict) == std::mem::discriminant(&ours.verdict) {
        return Explanation { verdict, compliance_level, ..ours };
    }
    let why = "AWS evaluates it so; which part of the baseline decides is not told".to_owned();
    Explanation { verdict, decider: Decider::Nothing, compliance_level, why }
}

fn untold_by_aws() -> Explanation {
    Explanation {
        verdict: Verdict::Never,
        decider: Decider::Nothing,
        compliance_level: String::new(),
        why: "AWS does not list it for this baseline".to_owned(),
    }
}

// === CATALOGUE ===

/// AWS's catalogue: Windows with dates, Amazon Linux 1 and 2 without (S 4.8.1–3).
async fn catalogue(question: &Question<'_>) -> Result<Judged> {
    let Question { aws, baseline, other, products, .. } = *question;
    let system = &baseline.summary.operating_system;
    let windows = system.as_str() == "WINDOWS";
    let mut wanted = products.to_vec();
    if wanted.is_empty() {
        wanted = products_of(baseline, other);
    }
    let named = wanted.clone();
    if wanted.is_empty() && !windows {
        // AWS tells nothing of Linux without a product (S 4.8.2).
        wanted = aws.patch_properties(system, "PRODUCT", None).await?;
    }
    let product = |values: &[String]| PatchFilter { key: "PRODUCT".to_owned(), values: values.to_vec() };
    let mut asked: Vec<Vec<PatchFilter>> = if wanted.is_empty() {
        vec![Vec::new()]
    } else {
        wanted.chunks(MOST_VALUES).map(|chunk| vec![product(chunk)]).collect()
    };
    if windows && [Some(baseline), other].into_iter().flatten().any(wants_applications) {
        let applications = PatchFilter { key: "PATCH_SET".to_owned(), values: vec!["APPLICATION".to_owned()] };
        let with = |filters: &Vec<PatchFilter>| [filters.as_slice(), std::slice::from_ref(&applications)].concat();
        let more: Vec<_> = asked.iter().map(with).collect();
        asked.extend(more);
    }
    let (mut patches, mut cut) = (Vec::new(), false);
    for filters in &asked {
        let (found, cut_too) = bounded(|page| aws.available_patches_page(system, filters, page)).await?;
        patches.extend(found);
        cut |= cut_too;
    }
    let undated = if windows { Undated::NoDelay } else { Undated::Unknown };
    let mut judged = judged(question, patches, Basis::Catalogue, undated);
    if windows {
        judged.limits.push(
            "AWS's catalogue holds updates that are not replaced yet: a later one takes an earlier one's place, and its \
             delay begins anew."
                .to_owned(),
        );
    } else {
        let waiting = judged.rows.iter().filter(|row| row.found.verdict == Verdict::Undated).count();
        judged.limits.push(format!(
            "AWS's catalogue tells no release dates for {system}: whether the {waiting} patches that a rule admits after a \
             delay or until a date are approved already cannot be told; the operators of this server can configure an \
             advisory file with dates."
        ));
    }
    judged.limits.extend(products_limit(&named));
    judged.limits.extend(cut.then(cut_limit));
    Ok(judged)
}

/// The most values of a filter (S 4.1.8).
const MOST_VALUES: usize = 20;

/// The products that the rules of both name, if every rule names some.
fn products_of(baseline: &Baseline, other: Option<&Baseline>) -> Vec<String> {
    let mut products = BTreeSet::new();
    for rule in [Some(baseline), other].into_iter().flatten().flat_map(|baseline| &baseline.rules) {
        let named = rule.filters.iter().find(|filter| filter.key == "PRODUCT");
        match named {
            Some(filter) if !filter.values.iter().any(|value| value == "*") => products.extend(filter.values.clone()),
            _ => return Vec::new(),
        }
    }
    products.into_iter().collect()
}

fn wants_applications(baseline: &Baseline) -> bool {
    let mut filters = baseline.rules.iter().flat_map(|rule| &rule.filters);
    filters.any(|filter| {
        filter.key == "PATCH_SET" && filter.values.iter().any(|value| value == "APPLICATION" || value == "*")
    })
}

// === ADVISORY_FEED ===

/// The files that the operators configured, as they are now.
async fn by_feeds(question: &Question<'_>, feeds: &[&AdvisoryFeed]) -> Result<Judged> {
    let mut patches = Vec::new();
    let mut limits = Vec::new();
    for feed in feeds {
        let AdvisoryFeed { operating_system: _, product, file } = *feed;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let read = tokio::fs::read_to_string(file).await.map_err(|error| error.to_string());
        let parsed = match read {
            Ok(text) => tokio::task::spawn_blocking(move || parse_advisories(&text).map_err(|bad| bad.to_string()))
                .await
                .unwrap_or_else(|failed| Err(failed.to_string())),
            Err(error) => Err(error),
        };
        match parsed {
            Ok(mut found) => {
                for patch in &mut found {
                    product.clone_into(&mut patch.product);
                }
                let latest = found.iter().filter_map(|patch| patch.released).max();
                let until = latest.map_or(String::new(), |at| format!(", the latest of {}", at.strftime("%Y-%m-%d")));
                limits.push(format!(
                    "Judged by the {} patches of the advisory file {name}{until}; what other repositories of the instances \
                     hold is not known.",
                    found.len()
                ));
                patches.extend(found);
            }
            Err(error) => {
                tracing::warn!(feed = %file.display(), %error, "an advisory file cannot be used");
                limits.push(format!("The advisory file {name} cannot be used; its patches are missing here."));
            }
        }
    }
    let Question { products, .. } = question;
    patches.retain(|patch| products.is_empty() || patch.product.is_empty() || products.contains(&patch.product));
    let cut = patches.len() > MOST_PATCHES;
    // The newest are the ones that matter.
    patches.sort_by_key(|patch| std::cmp::Reverse(patch.released));
    patches.truncate(MOST_PATCHES);
    let mut judged = judged(question, patches, Basis::AdvisoryFeed, Undated::NoDelay);
    judged.limits.splice(0..0, limits);
    judged.limits.extend(cut.then(cut_limit));
    Ok(judged)
}

// === FLEET ===

/// What instances reported.
fn fleet(question: &Question<'_>, reports: &BTreeMap<InstanceId, Vec<InstancePatch>>, known: usize) -> Judged {
    let mut patches: BTreeMap<(String, String), AvailablePatch> = BTreeMap::new();
    for patch in reports.values().flatten().filter_map(|patch| as_available(patch, false)) {
        patches.insert((patch.kb_id.clone(), patch.title.clone()), patch);
    }
    let system = &question.baseline.summary.operating_system;
    let mut judged = judged(question, patches.into_values().collect(), Basis::Fleet, Undated::Unknown);
    let looked_at = reports.len();
    judged.limits.push(format!(
        "AWS lists no patches of {system}, and no advisory file is configured for it: judged are the {} patches that \
         {looked_at} of {known} instances reported, without dates.",
        judged.rows.len()
    ));
    judged.limits.push(
        "Instances report no patch that is neither installed nor approved by the baseline that they have now."
            .to_owned(),
    );
    judged
}

// === What the sources share ===

/// Our rules on patches of which some attributes may not be told.
fn judged(question: &Question<'_>, patches: Vec<AvailablePatch>, basis: Basis, undated: Undated) -> Judged {
    let Question { baseline, other, at, .. } = *question;
    let mut keys = untold(&patches, baseline);
    keys.extend(other.map(|other| untold(&patches, other)).unwrap_or_default());
    let open = |baseline: &Baseline| opened(baseline, &keys);
    let (baseline, other) = (open(baseline), other.map(open));
    let mut limits = Vec::new();
    if !patches.is_empty() && !keys.is_empty() {
        let keys = keys.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        limits.push(format!("The source does not tell {keys}: filters on that are taken to match."));
    }
    Judged { rows: rows(patches, &baseline, other.as_ref(), basis, undated, at), undated, limits }
}

fn products_limit(products: &[String]) -> Option<String> {
    (!products.is_empty()).then(|| format!("Only patches of {} were looked at.", products.join(", ")))
}

fn cut_limit() -> String {
    format!("Only the first {MOST_PATCHES} patches were looked at; name products to narrow it down.")
}

/// Pages up to a bound, and whether there were more.
async fn bounded<T, F>(mut page: impl FnMut(Page) -> F) -> Result<(Vec<T>, bool)>
where
    F: Future<Output = patchplane_aws::Result<PageOf<T>>>,
{
    let (mut rows, mut token) = (Vec::new(), None);
    loop {
        let found = page(Page { size: 100, token }).await?;
        rows.extend(found.items);
        match found.next {
            None => return Ok((rows, false)),
            Some(_) if rows.len() >= MOST_PATCHES => {
                rows.truncate(MOST_PATCHES);
                return Ok((rows, true));
            }
            next => token = next,
        }
    }
}

/// The managed nodes of a group that have this system, by id.
async fn members(aws: &Aws, group: &PatchGroupName, system: &OperatingSystem) -> Result<Vec<InstanceId>> {
    let mut ids = BTreeSet::new();
    for key in GROUP_TAG_KEYS {
        let filter = NodeFilter::Tag { key: key.to_owned(), value: group.to_string() };
        let nodes = aws.nodes(&filter).await?.into_iter();
        ids.extend(nodes.filter(|node| node.operating_system().as_ref() == Some(system)).map(|node| node.id));
    }
    Ok(ids.into_iter().collect())
}

async fn instances_of(aws: &Aws, system: &OperatingSystem) -> Result<Vec<InstanceId>> {
    let nodes = aws.nodes(&NodeFilter::All).await?.into_iter();
    let ids: BTreeSet<_> =
        nodes.filter(|node| node.operating_system().as_ref() == Some(system)).map(|n| n.id).collect();
    Ok(ids.into_iter().collect())
}

/// What the last runs on the first of these instances reported.
async fn reported(aws: &Aws, ids: &[InstanceId]) -> Result<BTreeMap<InstanceId, Vec<InstancePatch>>> {
    let mut reports = BTreeMap::new();
    let ids = &ids[..ids.len().min(MOST_INSTANCES)];
    for chunk in ids.chunks(AT_ONCE) {
        let asked = chunk.iter().map(async |id| {
            let (mut patches, mut token) = (Vec::new(), None);
            loop {
                let found = aws.instance_patches_page(id, None, Page { size: 100, token }).await?;
                patches.extend(found.items);
                token = found.next;
                if token.is_none() || patches.len() >= MOST_REPORTED {
                    return Ok::<_, Error>((id.clone(), patches));
                }
            }
        });
        reports.extend(try_join_all(asked).await?);
    }
    Ok(reports)
}

fn impact_limits(members: usize, examined: usize, rows: &[Row]) -> Vec<String> {
    let mut limits = Vec::new();
    if members > examined {
        limits.push(format!("Of the group's {members} instances the first {examined} by id were looked at."));
    }
    if rows.iter().any(|row| row.found.verdict == Verdict::Undated) {
        limits.push("Patches without a known date are taken to stay as they are on instances.".to_owned());
    }
    limits.push("What instances lack is known from their last scan or installation.".to_owned());
    limits
}
