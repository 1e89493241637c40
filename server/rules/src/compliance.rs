//! The state of each patch after a scan or an install, and the counts that Systems Manager keeps of them (S 8.1–8.2).

use crate::{InstancePatch, Judgement, PatchState};

/// What is known of one update on one node when a run ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    pub installed: bool,
    /// Installed, by whomever, after the node last booted (S 8.1.7, the newer text).
    pub since_boot: bool,
    /// This run tried to install it and could not.
    pub attempt_failed: bool,
    /// Whether the baseline's RejectedPatchesAction is BLOCK (S 4.5.7–8).
    pub rejected_are_blocked: bool,
    /// A Windows security update: reported even when it is not approved (S 4.4.10).
    pub windows_security: bool,
}

/// A row of a node's report and the level that its baseline gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedPatch {
    pub patch: InstancePatch,
    /// `CRITICAL` … `UNSPECIFIED`.
    pub compliance_level: String,
}

/// The counts of InstancePatchState; each is a number of patches (S 8.2.3–5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchCounts {
    pub installed: u32,
    pub installed_other: u32,
    pub installed_pending_reboot: u32,
    pub installed_rejected: u32,
    pub missing: u32,
    pub failed: u32,
    pub not_applicable: u32,
    pub available_security_updates: u32,
    pub critical_non_compliant: u32,
    pub security_non_compliant: u32,
    pub other_non_compliant: u32,
}

/// The state of one patch; `None`: it is not reported at all.
pub fn state_of(judgement: &Judgement, evidence: Evidence) -> Option<PatchState> {
    let approved = matches!(judgement, Judgement::Approved { .. });
    let rejected = *judgement == Judgement::Rejected;
    if evidence.installed {
        return Some(match (rejected, evidence.rejected_are_blocked) {
            (true, true) => PatchState::InstalledRejected,
            _ if evidence.since_boot => PatchState::InstalledPendingReboot,
            _ if approved => PatchState::Installed,
            _ => PatchState::InstalledOther,
        });
    }
    match (approved, evidence.attempt_failed) {
        (true, true) => Some(PatchState::Failed),
        (true, false) => Some(PatchState::Missing),
        (false, _) if evidence.windows_security && !rejected => Some(PatchState::AvailableSecurityUpdate),
        (false, _) => None,
    }
}

/// Whether a patch in this state makes its node non-compliant (the table of S 8.1).
pub fn is_non_compliant(state: &PatchState) -> bool {
    matches!(
        state,
        PatchState::Missing | PatchState::Failed | PatchState::InstalledRejected | PatchState::InstalledPendingReboot
    )
}

/// Counts a report. `available_security_updates_count`: the baseline says NON_COMPLIANT of security updates that are
/// there and not approved (S 8.2.5).
pub fn count(report: &[ReportedPatch], available_security_updates_count: bool) -> PatchCounts {
    let mut counts = PatchCounts::default();
    for ReportedPatch { patch, compliance_level } in report {
        match patch.state {
            PatchState::Installed => counts.installed += 1,
            PatchState::InstalledOther => counts.installed_other += 1,
            PatchState::InstalledPendingReboot => counts.installed_pending_reboot += 1,
            PatchState::InstalledRejected => counts.installed_rejected += 1,
            PatchState::Missing => counts.missing += 1,
            PatchState::Failed => counts.failed += 1,
            PatchState::NotApplicable => counts.not_applicable += 1,
            PatchState::AvailableSecurityUpdate => {
                counts.available_security_updates += 1;
                counts.security_non_compliant += u32::from(available_security_updates_count);
            }
            PatchState::Unknown(_) => {}
        }
        if is_non_compliant(&patch.state) {
            let critical = compliance_level == "CRITICAL";
            let security = matches!(patch.classification.as_str(), "Security" | "SecurityUpdates");
            counts.critical_non_compliant += u32::from(critical);
            counts.security_non_compliant += u32::from(security);
            counts.other_non_compliant += u32::from(!critical && !security);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_the_table() {
        // S 8.1 (table), 4.5.7–9, 4.4.10, 8.2.8.
        let approved = Judgement::Approved { compliance_level: "UNSPECIFIED".into(), explicit: false };
        let other = Judgement::NotApproved { from: None };
        let absent = Evidence::default();
        let installed = Evidence { installed: true, ..absent };
        let fresh = Evidence { since_boot: true, ..installed };
        let blocked = Evidence { rejected_are_blocked: true, ..installed };
        for (judgement, evidence, expected) in [
            (&approved, installed, Some(PatchState::Installed)),
            (&approved, fresh, Some(PatchState::InstalledPendingReboot)),
            (&approved, absent, Some(PatchState::Missing)),
            (&approved, Evidence { attempt_failed: true, ..absent }, Some(PatchState::Failed)),
            (&other, installed, Some(PatchState::InstalledOther)),
            (&other, absent, None),
            (&other, Evidence { windows_security: true, ..absent }, Some(PatchState::AvailableSecurityUpdate)),
            (&Judgement::Rejected, installed, Some(PatchState::InstalledOther)),
            (&Judgement::Rejected, blocked, Some(PatchState::InstalledRejected)),
            (&Judgement::Rejected, absent, None),
        ] {
            assert_eq!(state_of(judgement, evidence), expected, "{judgement:?} {evidence:?}");
        }
    }

    fn row(state: PatchState, classification: &str, level: &str) -> ReportedPatch {
        ReportedPatch {
            patch: InstancePatch {
                title: "t".into(),
                kb_id: "k".into(),
                classification: classification.into(),
                severity: String::new(),
                state,
                installed_time: None,
                cve_ids: vec![],
            },
            compliance_level: level.into(),
        }
    }

    #[test]
    fn one_missing_and_two_failed_count_as_in_the_recorded_example() {
        // S 8.2.4: the recorded 2/2/1 for 1 missing + 2 failed: two both critical and security, one neither.
        let report = [
            row(PatchState::Missing, "Security", "CRITICAL"),
            row(PatchState::Failed, "Security", "CRITICAL"),
            row(PatchState::Failed, "Bugfix", "UNSPECIFIED"),
            row(PatchState::Installed, "Security", "CRITICAL"),
        ];
        let counts = count(&report, false);
        let non_compliant = (counts.critical_non_compliant, counts.security_non_compliant, counts.other_non_compliant);
        assert_eq!(non_compliant, (2, 2, 1));
        assert_eq!((counts.missing, counts.failed, counts.installed), (1, 2, 1));
    }

    #[test]
    fn predefined_baselines_never_count_critical() {
        // S 8.3.7.
        assert_eq!(count(&[row(PatchState::Missing, "Security", "UNSPECIFIED")], false).critical_non_compliant, 0);
    }

    #[test]
    fn available_security_updates_count_as_the_baseline_says() {
        // S 8.2.5: always in their own count, with NON_COMPLIANT also as security, never as critical.
        let report = [row(PatchState::AvailableSecurityUpdate, "SecurityUpdates", "CRITICAL")];
        for (non_compliant, security) in [(false, 0), (true, 1)] {
            let counts = count(&report, non_compliant);
            assert_eq!(counts.available_security_updates, 1);
            assert_eq!((counts.security_non_compliant, counts.critical_non_compliant), (security, 0));
        }
    }
}
