//! What the last patch run left on each node.

use crate::{
    Aws, Page, PageOf, Result,
    calls::{DESCRIBE_GROUP_PATCH_STATES, DESCRIBE_INSTANCE_PATCHES, DESCRIBE_PATCH_STATES, LIST_RESOURCE_COMPLIANCE},
    connect::chunks_of_ids,
    page,
    values::{self, count},
};
use aws_sdk_ssm::types;
use patchplane_rules::{
    InstanceId, InstancePatch, LevelCounts, NodeCompliance, PatchGroupName, PatchState, PatchSummary,
};

/// S 8.2.7.
const IDS_A_CALL: usize = 50;

impl Aws {
    /// One row for each node that was ever scanned; the others are left out (S 8.2.7).
    pub async fn patch_summaries(&self, ids: &[InstanceId]) -> Result<Vec<PatchSummary>> {
        let mut summaries = Vec::new();
        for chunk in chunks_of_ids(ids, IDS_A_CALL) {
            let found = page::all(&DESCRIBE_PATCH_STATES, async |page: Page| {
                let request = self.ssm().describe_instance_patch_states().set_instance_ids(Some(chunk.clone()));
                let request = request.max_results(page.size_within(10..=100)).set_next_token(page.token);
                let answer = self.ask(&DESCRIBE_PATCH_STATES, request.send()).await?;
                Ok(PageOf::new(answer.instance_patch_states().iter().filter_map(summary).collect(), answer.next_token))
            });
            summaries.extend(found.await?);
        }
        Ok(summaries)
    }

    /// Of the nodes whose last run reported this group, also when their tag has changed since (S 5.11).
    pub async fn group_patch_summaries(&self, group: &PatchGroupName) -> Result<Vec<PatchSummary>> {
        page::all(&DESCRIBE_GROUP_PATCH_STATES, async |page: Page| {
            let request = self.ssm().describe_instance_patch_states_for_patch_group().patch_group(group.as_str());
            let request = request.max_results(page.size_within(10..=100)).set_next_token(page.token);
            let answer = self.ask(&DESCRIBE_GROUP_PATCH_STATES, request.send()).await?;
            Ok(PageOf::new(answer.instance_patch_states().iter().filter_map(summary).collect(), answer.next_token))
        })
        .await
    }

    /// What each node that ever reported has reported at which compliance level (S 8.3.3). AWS has no filter for many nodes.
    pub async fn patch_compliance(&self) -> Result<Vec<NodeCompliance>> {
        let filter = types::ComplianceStringFilter::builder()
            .key("ComplianceType")
            .values("Patch")
            .r#type(types::ComplianceQueryOperatorType::Equal)
            .build();
        page::all(&LIST_RESOURCE_COMPLIANCE, async |page: Page| {
            let request = self.ssm().list_resource_compliance_summaries().filters(filter.clone());
            let request = request.max_results(page.size_within(1..=50)).set_next_token(page.token);
            let answer = self.ask(&LIST_RESOURCE_COMPLIANCE, request.send()).await?;
            let rows = answer.resource_compliance_summary_items().iter().filter_map(compliance);
            Ok(PageOf::new(rows.collect(), answer.next_token))
        })
        .await
    }

    /// Every patch of a node, in all states; 100 a call.
    pub async fn instance_patches(&self, id: &InstanceId) -> Result<Vec<InstancePatch>> {
        page::all(&DESCRIBE_INSTANCE_PATCHES, async |page: Page| self.instance_patches_page(id, None, page).await).await
    }

    /// One page of a node's patches, in one state or in all; 10 to 100 rows.
    pub async fn instance_patches_page(
        &self,
        id: &InstanceId,
        state: Option<&PatchState>,
        page: Page,
    ) -> Result<PageOf<InstancePatch>> {
        let mut request = self.ssm().describe_instance_patches().instance_id(id.as_str());
        if let Some(state) = state {
            // The filter takes the spelling of the answers, not the model's (S 8.1.1).
            let filter = types::PatchOrchestratorFilter::builder().key("State").values(state.as_str());
            request = request.filters(filter.build());
        }
        let request = request.max_results(page.size_within(10..=100)).set_next_token(page.token);
        let answer = self.ask(&DESCRIBE_INSTANCE_PATCHES, request.send()).await?;
        Ok(PageOf::new(answer.patches().iter().map(patch).collect(), answer.next_token))
    }
}

fn compliance(row: &types::ResourceComplianceSummaryItem) -> Option<NodeCompliance> {
    let levels = |counts: Option<&types::SeveritySummary>| {
        counts.map_or_else(LevelCounts::default, |counts| {
            LevelCounts::new([
                count(counts.critical_count()),
                count(counts.high_count()),
                count(counts.medium_count()),
                count(counts.low_count()),
                count(counts.informational_count()),
                count(counts.unspecified_count()),
            ])
        })
    };
    Some(NodeCompliance {
        id: values::key(row.resource_id())?,
        compliant: levels(row.compliant_summary().and_then(|summary| summary.severity_summary())),
        non_compliant: levels(row.non_compliant_summary().and_then(|summary| summary.severity_summary())),
    })
}

fn summary(row: &types::InstancePatchState) -> Option<PatchSummary> {
    Some(PatchSummary {
        id: values::key(Some(row.instance_id()))?,
        patch_group: row.patch_group().to_owned(),
        baseline_id: row.baseline_id().to_owned(),
        operation: row.operation().as_str().to_owned(),
        operation_start: values::timestamp(Some(row.operation_start_time())),
        operation_end: values::timestamp(Some(row.operation_end_time())),
        snapshot_id: values::text(row.snapshot_id()),
        reboot_option: values::text(row.reboot_option().map(|option| option.as_str())),
        installed: count(row.installed_count()),
        installed_other: count(row.installed_other_count()),
        installed_pending_reboot: count(row.installed_pending_reboot_count()),
        installed_rejected: count(row.installed_rejected_count()),
        missing: count(row.missing_count()),
        failed: count(row.failed_count()),
        not_applicable: count(row.not_applicable_count()),
        available_security_updates: count(row.available_security_update_count()),
        critical_non_compliant: count(row.critical_non_compliant_count()),
        security_non_compliant: count(row.security_non_compliant_count()),
        other_non_compliant: count(row.other_non_compliant_count()),
    })
}

fn patch(row: &types::PatchComplianceData) -> InstancePatch {
    let cve_ids = row.cve_ids().unwrap_or_default().split(',').map(str::trim).filter(|id| !id.is_empty());
    InstancePatch {
        title: row.title().to_owned(),
        kb_id: row.kb_id().to_owned(),
        classification: row.classification().to_owned(),
        severity: row.severity().to_owned(),
        state: PatchState::parse(row.state().as_str()),
        installed_time: values::timestamp(Some(row.installed_time())),
        cve_ids: cve_ids.map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_types::DateTime;

    #[test]
    fn a_missing_patch_has_no_time_and_its_cves_apart() {
        // S 8.1.2, 8.1.4; CamelCase state: S 8.1.1.
        let row = types::PatchComplianceData::builder()
            .title("kernel.x86_64:0:4.14.352-267.564.amzn2")
            .kb_id("kernel.x86_64")
            .classification("Security")
            .severity("Important")
            .state("Missing".into())
            .installed_time(DateTime::from_secs(0))
            .cve_ids("CVE-2024-36971,CVE-2024-41090")
            .build()
            .unwrap();
        let patch = patch(&row);
        assert_eq!((patch.state, patch.installed_time), (PatchState::Missing, None));
        assert_eq!(patch.cve_ids, ["CVE-2024-36971", "CVE-2024-41090"]);
    }
}
