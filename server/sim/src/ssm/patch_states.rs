//! What nodes reported at their last scan or install (S 8.1–8.2).

use super::{Answer, Call, epoch, strings};
use crate::{
    error::AwsError,
    node::{Node, Report, ReportRow},
};
use patchplane_rules::PatchCounts;
use serde_json::{Value, json};

impl Call<'_> {
    /// Ids without any patch data are left out (S 8.2.7).
    pub(super) fn describe_instance_patch_states(&self) -> Answer {
        let ids = strings(&self.request["InstanceIds"]);
        let nodes = self.place.nodes.values().filter(|node| ids.contains(&node.id.as_str()));
        self.page("InstancePatchStates", nodes.filter_map(state).collect(), 50)
    }

    pub(super) fn describe_instance_patch_states_for_patch_group(&self) -> Answer {
        let group = self.text("PatchGroup");
        let filters = self.request["Filters"].as_array().map_or(&[][..], Vec::as_slice);
        let filters = filters.iter().map(CountFilter::read).collect::<Result<Vec<_>, _>>()?;
        let nodes = self.place.nodes.values().filter(|node| {
            let report = node.report.as_ref().filter(|report| report.patch_group == group);
            report.is_some_and(|report| filters.iter().all(|filter| filter.admits(&report.counts)))
        });
        self.page("InstancePatchStates", nodes.filter_map(state).collect(), 50)
    }

    pub(super) fn describe_instance_patches(&self) -> Answer {
        let node = self.place.nodes.get(self.text("InstanceId")).filter(|node| node.managed);
        let node = node.ok_or_else(|| AwsError::new("InvalidInstanceId", ""))?;
        let filters = self.filters();
        let known = ["Classification", "KBId", "Severity", "State"];
        if let Some((key, _)) = filters.iter().find(|(key, _)| !known.contains(key)) {
            return Err(AwsError::new("InvalidFilter", format!("Invalid filter key: {key}")));
        }
        let admitted = |row: &&ReportRow| {
            filters.iter().all(|(key, values)| {
                values.contains(&match *key {
                    "Classification" => row.classification.as_str(),
                    "KBId" => &row.kb_id,
                    "Severity" => &row.severity,
                    _ => row.state.as_str(),
                })
            })
        };
        let rows = node.report.iter().flat_map(|report| &report.rows).filter(admitted);
        self.page("Patches", rows.map(|row| (row.kb_id.clone(), patch(row))).collect(), 50)
    }
}

/// A PatchComplianceData: the state in CamelCase, a missing patch's time as epoch 0 (S 8.1.1–2).
fn patch(row: &ReportRow) -> Value {
    let mut json = json!({
        "Title": row.title,
        "KBId": row.kb_id,
        "Classification": row.classification,
        "Severity": row.severity,
        "State": row.state.as_str(),
        "InstalledTime": row.installed.map_or(json!(0), epoch),
    });
    if !row.cve_ids.is_empty() {
        json["CVEIds"] = row.cve_ids.join(",").into();
    }
    json
}

/// An InstancePatchState under its instance id.
fn state(node: &Node) -> Option<(String, Value)> {
    let report: &Report = node.report.as_ref()?;
    let counts = &report.counts;
    let mut json = json!({
        "InstanceId": node.id,
        "PatchGroup": report.patch_group,
        "BaselineId": report.baseline_id,
        "SnapshotId": report.snapshot_id,
        "OwnerInformation": report.owner_information,
        "InstalledCount": counts.installed,
        "InstalledOtherCount": counts.installed_other,
        "InstalledPendingRebootCount": counts.installed_pending_reboot,
        "InstalledRejectedCount": counts.installed_rejected,
        "MissingCount": counts.missing,
        "FailedCount": counts.failed,
        "UnreportedNotApplicableCount": 0,
        "NotApplicableCount": counts.not_applicable,
        "AvailableSecurityUpdateCount": counts.available_security_updates,
        "OperationStartTime": epoch(report.started),
        "OperationEndTime": epoch(report.ended),
        "Operation": report.operation,
        "RebootOption": report.reboot_option,
        "CriticalNonCompliantCount": counts.critical_non_compliant,
        "SecurityNonCompliantCount": counts.security_non_compliant,
        "OtherNonCompliantCount": counts.other_non_compliant,
    });
    if !report.install_override_list.is_empty() {
        json["InstallOverrideList"] = report.install_override_list.clone().into();
    }
    if let Some(at) = report.last_no_reboot_install {
        json["LastNoRebootInstallOperationTime"] = epoch(at);
    }
    Some((node.id.clone(), json))
}

/// An InstancePatchStateFilter (S 5.15).
struct CountFilter {
    of: fn(&PatchCounts) -> u32,
    kind: String,
    value: u32,
}

impl CountFilter {
    fn read(filter: &Value) -> Result<Self, AwsError> {
        let invalid = || AwsError::new("InvalidFilter", "The filter is not valid.");
        let of: fn(&PatchCounts) -> u32 = match filter["Key"].as_str().unwrap_or_default() {
            "InstalledCount" => |c| c.installed,
            "InstalledOtherCount" => |c| c.installed_other,
            "InstalledPendingRebootCount" => |c| c.installed_pending_reboot,
            "InstalledRejectedCount" => |c| c.installed_rejected,
            "MissingCount" => |c| c.missing,
            "FailedCount" => |c| c.failed,
            "UnreportedNotApplicableCount" => |_| 0,
            "NotApplicableCount" => |c| c.not_applicable,
            _ => return Err(invalid()),
        };
        let value = strings(&filter["Values"]).first().and_then(|text| text.parse().ok()).ok_or_else(invalid)?;
        Ok(Self { of, kind: filter["Type"].as_str().unwrap_or_default().to_owned(), value })
    }

    fn admits(&self, counts: &PatchCounts) -> bool {
        let count = (self.of)(counts);
        match self.kind.as_str() {
            "Equal" => count == self.value,
            "NotEqual" => count != self.value,
            "LessThan" => count < self.value,
            _ => count > self.value,
        }
    }
}
