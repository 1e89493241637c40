//! Whether instances can be patched, and which baseline they get: one at a time or a thousand, read in bulk.

use super::{App, baselines::Observed, instances::instance_ids};
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::{
        baseline_choice::{Choice, choose},
        group_tags::{Membership, Registrations, membership},
        name::{BaselineName, InstanceName},
        readiness::{Certainty, Code, Finding, StaleAfter, Surroundings, Unread, assess},
    },
};
use jiff::Timestamp;
use patchplane_aws::{Aws, GroupMapping};
use patchplane_rules::{
    BaselineId, BaselineSummary, InstanceId, Location, ManagedNode, Network, OperatingSystem, PatchGroupName,
    PatchSummary, PowerState, Sighting, VirtualMachine,
};
use std::collections::BTreeMap;

/// As many instances as are checked at once.
const MOST_INSTANCES: usize = 1000;

/// Whether an instance can be patched.
pub struct Readiness {
    pub name: InstanceName,
    pub findings: Vec<Finding>,
    /// What an operation now would use.
    pub baseline: Option<BaselineName>,
    pub patch_group: Option<String>,
    pub observe_time: Timestamp,
}

/// A question for the readiness of many.
pub struct BatchCheckReadiness {
    pub location: Location,
    pub subjects: Subjects,
    pub stale_after: StaleAfter,
}

/// Whose readiness is asked for.
pub enum Subjects {
    Ids(Vec<InstanceId>),
    Group(PatchGroupName),
}

/// Whether each of many can be patched.
pub struct ReadinessOfMany {
    /// In the order of the ids asked for, or by id.
    pub results: Vec<Readiness>,
    /// How many instances have each finding.
    pub counts: BTreeMap<(Code, Certainty), usize>,
    /// Reads that failed, and the findings that depend on them.
    pub unread: Vec<(&'static [Code], Unread)>,
    pub observe_time: Timestamp,
}

/// The baseline that an instance gets, and what its last report was judged by.
pub struct Explained {
    pub name: InstanceName,
    pub choice: Choice,
    pub last_report: Option<PatchSummary>,
}

impl Readiness {
    pub fn ready(&self) -> bool {
        !self.findings.iter().any(|finding| finding.blocking)
    }
}

impl App {
    #[tracing::instrument(name = "app.check_readiness", skip_all, fields(instance = %name))]
    pub async fn check_readiness(
        &self,
        who: &Caller,
        name: InstanceName,
        stale_after: StaleAfter,
    ) -> Result<Readiness> {
        who.may(Action::CheckReadiness, &name.location)?;
        let checked = self.readiness(&name.location, vec![name.id], stale_after).await?.results.pop();
        checked.ok_or_else(|| Error::Internal("an instance was not checked".into()))
    }

    /// The same of up to a thousand.
    #[tracing::instrument(name = "app.batch_check_readiness", skip_all, fields(location = %check.location))]
    pub async fn batch_check_readiness(&self, who: &Caller, check: BatchCheckReadiness) -> Result<ReadinessOfMany> {
        let BatchCheckReadiness { location, subjects, stale_after } = check;
        who.may(Action::CheckReadiness, &location)?;
        let ids = match subjects {
            Subjects::Ids(ids) => ids,
            Subjects::Group(group) => {
                let ids: Vec<InstanceId> =
                    instance_ids(self.aws(&location)?, Some(&group)).await?.into_iter().collect();
                if ids.len() > MOST_INSTANCES {
                    return Err(Error::Precondition {
                        reason: "TOO_MANY_INSTANCES",
                        message: format!(
                            "{} instances are in {group}, and {MOST_INSTANCES} are checked at once; name them in parts",
                            ids.len()
                        ),
                        subject: "patch_group".into(),
                    });
                }
                ids
            }
        };
        self.readiness(&location, ids, stale_after).await
    }

    /// Which baseline an instance gets now, why, and how it would get another.
    #[tracing::instrument(name = "app.explain_baseline", skip_all, fields(instance = %name))]
    pub async fn explain_baseline(&self, who: &Caller, name: InstanceName) -> Result<Observed<Explained>> {
        who.may(Action::ExplainBaseline, &name.location)?;
        let aws = self.aws(&name.location)?;
        let ids = std::slice::from_ref(&name.id);
        let (sightings, registrations, baselines, summaries) = read(aws, ids).await;
        let seen = sightings?.remove(&name.id).filter(Sighting::is_known);
        let seen = seen.ok_or_else(|| Error::not_found("instance", "INSTANCE_NOT_FOUND", &name))?;
        let choice = choose(&name.id, &seen, &registrations?, &baselines?);
        let (location, last_report) = (name.location.clone(), summaries?.pop());
        Ok(Observed { location, time: self.clock.now(), value: Explained { name, choice, last_report } })
    }

    async fn readiness(
        &self,
        location: &Location,
        ids: Vec<InstanceId>,
        stale_after: StaleAfter,
    ) -> Result<ReadinessOfMany> {
        let aws = self.aws(location)?;
        let (sightings, registrations, baselines, summaries) = read(aws, &ids).await;
        let seen = sightings?;
        let observe_time = self.clock.now();
        let summaries = summaries.map(|found| found.into_iter().map(|summary| (summary.id.clone(), summary)).collect());
        let around = Surroundings {
            registrations: registrations.map_err(unread),
            defaults: baselines.map(|baselines| default_ids(&baselines)).map_err(unread),
            summaries: summaries.map_err(unread),
            network: network(aws, &seen).await.map_err(unread),
            stale_after,
            now: observe_time,
        };
        let mut counts = BTreeMap::new();
        let mut results = Vec::with_capacity(ids.len());
        for id in ids {
            let unknown = Sighting::default();
            let seen = seen.get(&id).unwrap_or(&unknown);
            let findings = assess(&id, seen, &around);
            for finding in &findings {
                *counts.entry((finding.code, finding.certainty)).or_default() += 1;
            }
            let patch_group = match membership(&seen.tags) {
                Membership::In { group, .. } => Some(group),
                Membership::None | Membership::Ambiguous { .. } => None,
            };
            let baseline = baseline(seen, &around).map(|id| BaselineName { location: location.clone(), id });
            let name = InstanceName { location: location.clone(), id };
            results.push(Readiness { name, findings, baseline, patch_group, observe_time });
        }
        Ok(ReadinessOfMany { results, counts, unread: failures(around), observe_time })
    }
}

/// What is asked of AWS at the same time: the instances, the groups' baselines, all baselines, the reports.
type Read = (
    patchplane_aws::Result<BTreeMap<InstanceId, Sighting>>,
    patchplane_aws::Result<Registrations>,
    patchplane_aws::Result<Vec<BaselineSummary>>,
    patchplane_aws::Result<Vec<PatchSummary>>,
);

async fn read(aws: &Aws, ids: &[InstanceId]) -> Read {
    // Boxed: four calls of the SDK are large.
    Box::pin(async {
        futures::join!(aws.sightings(ids), registrations(aws), aws.baselines(), aws.patch_summaries(ids))
    })
    .await
}

/// What surrounds the instances that run; nothing is asked when none does.
async fn network(aws: &Aws, seen: &BTreeMap<InstanceId, Sighting>) -> patchplane_aws::Result<Network> {
    let vms = seen.values().filter_map(|seen| seen.vm.as_ref());
    let running: Vec<&VirtualMachine> = vms.filter(|vm| vm.state == PowerState::Running).collect();
    if running.is_empty() { Ok(Network::default()) } else { aws.network(&running).await }
}

fn unread(error: patchplane_aws::Error) -> Unread {
    let action = error.action;
    let error = Error::from(error);
    Unread { action, reason: error.reason(), message: error.to_string() }
}

/// The reads that failed, each with the findings that cannot be made without it.
fn failures(around: Surroundings) -> Vec<(&'static [Code], Unread)> {
    let Surroundings { registrations, defaults: _, summaries, network, stale_after: _, now: _ } = around;
    let reports = &[Code::LastRunFailed, Code::PendingReboot, Code::NeverScanned, Code::StaleScan];
    let failures = [
        registrations.err().map(|unread| (&[Code::GroupWithoutBaseline][..], unread)),
        summaries.err().map(|unread| (&reports[..], unread)),
        network.err().map(|unread| (&[Code::NoRoute][..], unread)),
    ];
    failures.into_iter().flatten().collect()
}

/// What an operation now would use; `None` where that cannot be said.
fn baseline(seen: &Sighting, around: &Surroundings) -> Option<BaselineId> {
    let os = seen.node.as_ref().and_then(ManagedNode::operating_system)?;
    let default = || around.defaults.as_ref().ok()?.get(&os).cloned();
    match membership(&seen.tags) {
        Membership::None => default(),
        Membership::Ambiguous { .. } => None,
        Membership::In { group, .. } => {
            let registrations = around.registrations.as_ref().ok()?;
            let registered = group.parse().ok().and_then(|group| registrations.get(&(group, os.clone())));
            registered.map(|baseline| baseline.id.clone()).or_else(default)
        }
    }
}

/// Every registration of a location.
pub(super) async fn registrations(aws: &Aws) -> patchplane_aws::Result<Registrations> {
    let rows = aws.group_mappings().await?.into_iter();
    Ok(rows.map(|GroupMapping { group, baseline }| ((group, baseline.operating_system.clone()), baseline)).collect())
}

pub(super) fn default_ids(baselines: &[BaselineSummary]) -> BTreeMap<OperatingSystem, BaselineId> {
    let defaults = baselines.iter().filter(|baseline| baseline.default);
    defaults.map(|baseline| (baseline.operating_system.clone(), baseline.id.clone())).collect()
}
