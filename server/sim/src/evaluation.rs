//! What a scan finds on a node: its packages judged by its baseline.

use crate::{
    account::Place,
    catalogue,
    node::{Node, Report, ReportRow},
};
use jiff::Timestamp;
use patchplane_rules::{
    AvailablePatch, Baseline, Evidence, InstancePatch, Judgement, PatchCounts, PatchState, ReportedPatch,
    compare_versions, count, judge, select, state_of,
};
use std::collections::BTreeMap;

impl Place {
    /// What an install would install now, with the level that the baseline gives it; empty for an unknown node.
    pub(crate) fn missing(&self, node_id: &str, now: Timestamp) -> Vec<(&'static AvailablePatch, String)> {
        self.missing_by(node_id, "", now)
    }

    /// By what a snapshot id stands for, if it was used; on Windows as of that time (S 4.7).
    pub(crate) fn missing_by(
        &self,
        node_id: &str,
        snapshot: &str,
        now: Timestamp,
    ) -> Vec<(&'static AvailablePatch, String)> {
        let Some((node, baseline, as_of)) = self.with_baseline(node_id, snapshot, now) else { return Vec::new() };
        let mut selected = select(baseline, node.offers(as_of), as_of);
        selected.retain(|(patch, _)| {
            let installed = node.packages.get(&patch.kb_id);
            installed.is_none_or(|package| compare_versions(patch, &package.as_patch(&patch.kb_id)).is_gt())
        });
        selected
    }

    /// What the installation of an update meets: a rejected update that the same build needs, and whether that stops it
    /// or is installed along (S 4.5.7–8). Only what is on the node already, in an older build, is looked at. Windows
    /// knows no dependencies.
    pub(crate) fn rejected_need(
        &self,
        node_id: &str,
        patch: &AvailablePatch,
        snapshot: &str,
        now: Timestamp,
    ) -> Option<(&'static AvailablePatch, bool)> {
        let (node, baseline, now) = self.with_baseline(node_id, snapshot, now)?;
        let need = node.offers(now).into_iter().find(|other| {
            let older = node.packages.get(&other.kb_id);
            needs(patch, other)
                && older.is_some_and(|package| compare_versions(other, &package.as_patch(&other.kb_id)).is_gt())
                && judge(baseline, other, now) == Judgement::Rejected
        })?;
        Some((need, baseline.rejected_patches_action == "BLOCK"))
    }

    /// The baseline is the one of this moment (S 5.10), or that which a snapshot id stands for; and as of when its rules
    /// are read.
    fn with_baseline(&self, node_id: &str, snapshot: &str, now: Timestamp) -> Option<(&Node, &Baseline, Timestamp)> {
        let node = self.nodes.get(node_id)?;
        let (group, system) = (node.patch_group(), node.platform.system());
        match self.frozen.get(&(snapshot.to_owned(), group.to_owned(), system.to_owned())) {
            Some(frozen) => {
                Some((node, &frozen.baseline, if node.platform.is_windows() { frozen.at.min(now) } else { now }))
            }
            None => Some((node, self.baseline_for(group, system)?, now)),
        }
    }

    /// The report of a run that ends now, without what depends on the run itself. `failed` holds the titles of what
    /// could not be installed.
    pub(crate) fn evaluate(&self, node_id: &str, now: Timestamp, failed: &[String]) -> Option<Report> {
        self.evaluate_by(node_id, "", now, failed)
    }

    /// The same by what a snapshot id stands for.
    pub(crate) fn evaluate_by(
        &self,
        node_id: &str,
        snapshot: &str,
        now: Timestamp,
        failed: &[String],
    ) -> Option<Report> {
        let (node, baseline, as_of) = self.with_baseline(node_id, snapshot, now)?;
        let offers = node.offers(as_of);
        let mut rows: BTreeMap<&str, ReportedPatch> = BTreeMap::new();
        for (patch, level) in self.missing_by(node_id, snapshot, now) {
            let state = if failed.contains(&patch.title) { PatchState::Failed } else { PatchState::Missing };
            rows.insert(&patch.kb_id, reported(patch, state, None, &level));
        }
        for (kb_id, package) in &node.packages {
            let build = package.as_patch(kb_id);
            let same = offers.iter().copied().filter(|o| o.kb_id == *kb_id && compare_versions(o, &build).is_eq());
            let judged: Vec<_> = same.map(|offer| (judge(baseline, offer, as_of), offer)).collect();
            let best = judged.iter().find(|(j, _)| matches!(j, Judgement::Approved { .. })).or(judged.first());
            let (judgement, patch) = match best {
                Some((judgement, offer)) => (judgement.clone(), *offer),
                // No offer any more: only a name can still reject it.
                None => match judge(baseline, &build, as_of) {
                    Judgement::Rejected => (Judgement::Rejected, &build),
                    _ => (Judgement::NotApproved { from: None }, &build),
                },
            };
            let level = match &judgement {
                Judgement::Approved { compliance_level, .. } => compliance_level.as_str(),
                _ => "UNSPECIFIED",
            };
            let evidence = Evidence {
                installed: true,
                since_boot: package.since_boot,
                rejected_are_blocked: baseline.rejected_patches_action == "BLOCK",
                ..Evidence::default()
            };
            if let Some(state) = state_of(&judgement, evidence) {
                rows.entry(kb_id).or_insert_with(|| reported(patch, state, Some(package.installed), level));
            }
        }
        // Of applications only what a rule means is told at all.
        let of_windows = |offer: &&AvailablePatch| node.platform.is_windows() && offer.patch_set != "APPLICATION";
        for offer in offers.iter().copied().filter(of_windows) {
            let security = offer.classification == "SecurityUpdates";
            let evidence = Evidence { windows_security: security, ..Evidence::default() };
            if let Some(state) = state_of(&judge(baseline, offer, as_of), evidence) {
                rows.entry(&offer.kb_id).or_insert_with(|| reported(offer, state, None, "UNSPECIFIED"));
            }
        }
        let rows: Vec<ReportedPatch> = rows.into_values().collect();
        let security_counts = baseline.available_security_updates.as_deref() == Some("NON_COMPLIANT");
        let counts =
            PatchCounts { not_applicable: not_applicable(node, baseline, now), ..count(&rows, security_counts) };
        Some(Report {
            patch_group: String::new(),
            baseline_id: baseline.summary.id.to_string(),
            snapshot_id: String::new(),
            owner_information: String::new(),
            command_id: String::new(),
            by_policy: false,
            operation: String::new(),
            install_override_list: String::new(),
            reboot_option: String::new(),
            started: now,
            ended: now,
            last_no_reboot_install: None,
            counts,
            rows: rows.into_iter().map(ReportRow::from).collect(),
            security_updates_count: security_counts,
        })
    }
}

/// Packages of one build need its libraries in the same version: `openssl` needs `openssl-libs`, `curl` needs `libcurl`.
fn needs(patch: &AvailablePatch, other: &AvailablePatch) -> bool {
    let library = other.name == format!("{}-libs", patch.name) || other.name == format!("lib{}", patch.name);
    library && other.arch == patch.arch && compare_versions(other, patch).is_eq()
}

/// CVE ids are known for missing and failed patches only (S 8.1.4); what is not in the baseline has no classification
/// and no severity (S 8.1.2).
fn reported(patch: &AvailablePatch, state: PatchState, installed: Option<Timestamp>, level: &str) -> ReportedPatch {
    let wanted = matches!(state, PatchState::Missing | PatchState::Failed);
    let known = state != PatchState::InstalledOther;
    let text = |text: &String| if known { text.clone() } else { String::new() };
    ReportedPatch {
        patch: InstancePatch {
            title: patch.title.clone(),
            kb_id: patch.kb_id.clone(),
            classification: text(&patch.classification),
            severity: text(&patch.severity),
            state,
            installed_time: installed,
            cve_ids: if wanted { patch.cve_ids.clone() } else { Vec::new() },
        },
        compliance_level: level.to_owned(),
    }
}

/// Approved updates of packages that are not on the node: counted, on Linux never listed (S 8.1.6).
fn not_applicable(node: &Node, baseline: &Baseline, now: Timestamp) -> u32 {
    if node.platform.is_windows() {
        return 0;
    }
    let all = catalogue::offers(node.platform.product(), now).into_iter();
    let elsewhere = all.filter(|patch| !node.packages.contains_key(&patch.kb_id));
    u32::try_from(select(baseline, elsewhere, now).len()).unwrap_or(u32::MAX)
}

impl From<ReportedPatch> for ReportRow {
    fn from(ReportedPatch { patch, compliance_level }: ReportedPatch) -> Self {
        let InstancePatch { title, kb_id, classification, severity, state, installed_time, cve_ids } = patch;
        Self { title, kb_id, classification, severity, state, installed: installed_time, cve_ids, compliance_level }
    }
}
