//! Which baseline a patch group uses, and what its nodes last reported (S 5).

use super::{
    Answer, Call,
    baselines::{does_not_exist, identity},
};
use crate::{error::AwsError, node::Report};
use patchplane_rules::PatchCounts;
use serde_json::json;

/// Patch groups per baseline (S 3.2).
const GROUPS_PER_BASELINE: usize = 25;

impl Call<'_> {
    pub(super) fn describe_patch_groups(&self) -> Answer {
        let filters = self.filters();
        if let Some((key, _)) = filters.iter().find(|(k, _)| !["NAME_PREFIX", "OPERATING_SYSTEM"].contains(k)) {
            return Err(AwsError::validation(format!("Invalid filter key: {key}")));
        }
        let admitted = |group: &str, system: &str| {
            filters.iter().all(|(key, values)| match *key {
                "NAME_PREFIX" => values.iter().any(|prefix| group.starts_with(prefix)),
                _ => values.contains(&system),
            })
        };
        let mut rows = Vec::new();
        for ((group, system), aws_id) in &self.place.groups {
            if let Some(baseline) = self.place.baseline(aws_id).filter(|_| admitted(group, system)) {
                let row = json!({ "PatchGroup": group, "BaselineIdentity": identity(baseline) });
                rows.push((format!("{group}\n{system}"), row));
            }
        }
        self.page("Mappings", rows, 50)
    }

    /// Answers the default baseline for a group without a registration (S 5.8).
    pub(super) fn get_patch_baseline_for_patch_group(&self) -> Answer {
        let (group, system) = (self.text("PatchGroup"), self.operating_system());
        let baseline = self.place.baseline_for(group, system).ok_or_else(does_not_exist)?;
        Ok(json!({ "BaselineId": baseline.summary.aws_id, "PatchGroup": group, "OperatingSystem": system }))
    }

    pub(super) fn register_patch_baseline_for_patch_group(&mut self) -> Answer {
        let (aws_id, group) = (self.text("BaselineId").to_owned(), self.text("PatchGroup").to_owned());
        if patchplane_rules::BaselineId::of_aws_id(&aws_id).is_err() {
            return Err(AwsError::bare("InvalidResourceId"));
        }
        let baseline = &self.place.baseline(&aws_id).ok_or_else(does_not_exist)?.summary;
        let (aws_id, system) = (baseline.aws_id.clone(), baseline.operating_system.to_string());
        let key = (group.clone(), system.clone());
        match self.place.groups.get(&key) {
            Some(registered) if *registered == aws_id => {}
            Some(_) => {
                let text =
                    format!("Patch Group baseline already has a baseline registered for OperatingSystem {system}.");
                return Err(AwsError::new("AlreadyExistsException", text));
            }
            None if self.place.groups.values().filter(|id| **id == aws_id).count() >= GROUPS_PER_BASELINE => {
                let text = "Maximum number of patch groups per patch baseline reached.";
                return Err(AwsError::new("ResourceLimitExceededException", text));
            }
            None => {
                self.place.groups.insert(key, aws_id.clone());
            }
        }
        Ok(json!({ "BaselineId": aws_id, "PatchGroup": group }))
    }

    pub(super) fn deregister_patch_baseline_for_patch_group(&mut self) -> Answer {
        let (aws_id, group) = (self.text("BaselineId").to_owned(), self.text("PatchGroup").to_owned());
        if patchplane_rules::BaselineId::of_aws_id(&aws_id).is_err() {
            return Err(AwsError::bare("InvalidResourceId"));
        }
        let aws_id = self.place.baseline(&aws_id).map_or(aws_id, |baseline| baseline.summary.aws_id.clone());
        let before = self.place.groups.len();
        self.place.groups.retain(|(name, _), id| !(*name == group && *id == aws_id));
        if self.place.groups.len() == before {
            return Err(does_not_exist());
        }
        Ok(json!({ "BaselineId": aws_id, "PatchGroup": group }))
    }

    /// Each number counts nodes with at least one such patch (S 5.13).
    pub(super) fn describe_patch_group_state(&self) -> Answer {
        let group = self.text("PatchGroup");
        let reports = self.place.nodes.values().filter_map(|node| node.report.as_ref());
        let counts: Vec<PatchCounts> = reports.filter(|r| r.patch_group == group).map(|r: &Report| r.counts).collect();
        let with = |of: fn(&PatchCounts) -> u32| counts.iter().filter(|c| of(c) > 0).count();
        Ok(json!({
            "Instances": counts.len(),
            "InstancesWithInstalledPatches": with(|c| c.installed),
            "InstancesWithInstalledOtherPatches": with(|c| c.installed_other),
            "InstancesWithInstalledPendingRebootPatches": with(|c| c.installed_pending_reboot),
            "InstancesWithInstalledRejectedPatches": with(|c| c.installed_rejected),
            "InstancesWithMissingPatches": with(|c| c.missing),
            "InstancesWithFailedPatches": with(|c| c.failed),
            "InstancesWithNotApplicablePatches": with(|c| c.not_applicable),
            "InstancesWithUnreportedNotApplicablePatches": 0,
            "InstancesWithCriticalNonCompliantPatches": with(|c| c.critical_non_compliant),
            "InstancesWithSecurityNonCompliantPatches": with(|c| c.security_non_compliant),
            "InstancesWithOtherNonCompliantPatches": with(|c| c.other_non_compliant),
            "InstancesWithAvailableSecurityUpdates": with(|c| c.available_security_updates),
        }))
    }
}
