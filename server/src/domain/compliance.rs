//! How instances comply with their baselines, as far as what they last reported still says it.

use super::{
    group_tags::{Membership, membership},
    readiness::StaleAfter,
};
use jiff::Timestamp;
use patchplane_rules::{LevelCounts, ManagedNode, NodeCompliance, OperatingSystem, PatchSummary, Sighting};
use std::collections::BTreeMap;

/// Where an instance stands; each is in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Compliant,
    NonCompliant,
    /// Its last report is too old to say anything of now, whatever it said.
    Stale,
    NeverReported,
    /// In EC2, and not managed: nothing is known of it.
    NotManaged,
}

/// How one instance complies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub status: Status,
    /// By its tags now; its report may be of another.
    pub group: Option<String>,
    pub os: Option<OperatingSystem>,
}

/// Numbers of instances. The first six exclude each other; those `with_` something overlap (S 5.13), and count stale
/// reports too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By status.
    pub by_status: BTreeMap<Status, usize>,
    pub with_missing: usize,
    pub with_failed: usize,
    pub with_pending_reboot: usize,
    pub with_critical: usize,
    pub with_security: usize,
    pub with_other: usize,
}

/// Numbers by the level at which baselines have patches reported, stale reports included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelTally {
    pub compliant_patches: LevelCounts,
    pub non_compliant_patches: LevelCounts,
    /// Each once, by its worst patch that does not comply.
    pub non_compliant_instances: LevelCounts,
}

/// What an instance's last report says of it now.
pub fn stand(seen: &Sighting, summary: Option<&PatchSummary>, stale_after: StaleAfter, now: Timestamp) -> Standing {
    let status = match summary {
        _ if seen.node.is_none() => Status::NotManaged,
        None => Status::NeverReported,
        Some(summary) if stale_after.is_stale(summary, now) => Status::Stale,
        Some(summary) if summary.is_compliant() => Status::Compliant,
        Some(_) => Status::NonCompliant,
    };
    let group = match membership(&seen.tags) {
        Membership::In { group, .. } => Some(group),
        Membership::None | Membership::Ambiguous { .. } => None,
    };
    Standing { status, group, os: seen.node.as_ref().and_then(ManagedNode::operating_system) }
}

impl LevelTally {
    pub fn add(&mut self, node: &NodeCompliance) {
        self.compliant_patches += node.compliant;
        self.non_compliant_patches += node.non_compliant;
        // AWS's own OverallSeverity is left alone: its rule is not documented (S 8.3.5).
        if let Some(worst) = node.non_compliant.worst() {
            self.non_compliant_instances.add(worst, 1);
        }
    }
}

impl Tally {
    pub fn add(&mut self, status: Status, summary: Option<&PatchSummary>) {
        *self.by_status.entry(status).or_default() += 1;
        // What was reported by a node that is not managed any more is not of now.
        let Some(summary) = summary.filter(|_| status != Status::NotManaged) else { return };
        let one = |some: u32| usize::from(some > 0);
        self.with_missing += one(summary.missing);
        self.with_failed += one(summary.failed);
        self.with_pending_reboot += one(summary.installed_pending_reboot);
        self.with_critical += one(summary.critical_non_compliant);
        self.with_security += one(summary.security_non_compliant);
        self.with_other += one(summary.other_non_compliant);
    }

    pub fn of(&self, status: Status) -> usize {
        self.by_status.get(&status).copied().unwrap_or(0)
    }

    /// Those that Systems Manager manages.
    pub fn managed(&self) -> usize {
        self.by_status.values().sum::<usize>() - self.of(Status::NotManaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::readiness::tests::healthy;

    fn now() -> Timestamp {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    fn report(ended: &str, missing: u32) -> PatchSummary {
        let id = "i-0123456789abcdef0".parse().unwrap();
        PatchSummary { operation_end: ended.parse().ok(), missing, ..PatchSummary::of(id) }
    }

    #[test]
    fn a_stale_or_absent_report_is_never_compliance() {
        let (seen, _) = healthy();
        let status =
            |seen: &Sighting, summary: Option<&PatchSummary>| stand(seen, summary, StaleAfter::DEFAULT, now()).status;
        let fresh = "2026-11-24T11:00:00Z";
        assert_eq!(status(&seen, Some(&report(fresh, 0))), Status::Compliant);
        assert_eq!(status(&seen, Some(&report(fresh, 1))), Status::NonCompliant);
        assert_eq!(status(&seen, Some(&report("2026-11-17T11:59:59Z", 0))), Status::Stale);
        assert_eq!(status(&seen, Some(&report("", 0))), Status::Stale);
        assert_eq!(status(&seen, None), Status::NeverReported);
        let unmanaged = Sighting { node: None, ..seen };
        assert_eq!(status(&unmanaged, Some(&report(fresh, 0))), Status::NotManaged);
    }

    #[test]
    fn statuses_exclude_each_other_and_the_rest_overlaps() {
        // S 5.13: counts of nodes with at least one such patch do not add up to the nodes.
        let mut tally = Tally::default();
        let both = PatchSummary { failed: 1, security_non_compliant: 2, ..report("2026-11-24T11:00:00Z", 1) };
        tally.add(Status::NonCompliant, Some(&both));
        tally.add(Status::Stale, Some(&both));
        tally.add(Status::NotManaged, Some(&both));
        tally.add(Status::NeverReported, None);
        assert_eq!((tally.managed(), tally.of(Status::Compliant)), (3, 0));
        assert_eq!((tally.with_missing, tally.with_failed, tally.with_security, tally.with_critical), (2, 2, 2, 0));
    }
}
