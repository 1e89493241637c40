//! The compliance items that the last patch run left on a node, and which command that was.

use crate::{Aws, Page, PageOf, Result, calls::LIST_COMPLIANCE_ITEMS, page, values};
use aws_sdk_ssm::types;
use jiff::Timestamp;
use patchplane_rules::{InstanceId, PatchState};

/// One patch of a node, as the run left it that AWS names (S 8.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchItem {
    /// The id of the run's command.
    pub execution_id: String,
    pub execution_time: Option<Timestamp>,
    pub state: PatchState,
    /// Always the bare id (S 4.1.4); empty when AWS says nothing.
    pub baseline_id: String,
    pub patch_group: String,
}

impl Aws {
    /// Every patch item of one node, 50 a call; one node a call (S 8.3.1).
    pub async fn patch_items(&self, id: &InstanceId) -> Result<Vec<PatchItem>> {
        let filter = types::ComplianceStringFilter::builder()
            .key("ComplianceType")
            .values("Patch")
            .r#type(types::ComplianceQueryOperatorType::Equal)
            .build();
        page::all(&LIST_COMPLIANCE_ITEMS, async |page: Page| {
            let request = self.ssm().list_compliance_items().resource_ids(id.as_str());
            let request = request.resource_types("ManagedInstance").filters(filter.clone());
            let request = request.max_results(page.size_within(1..=50)).set_next_token(page.token);
            let answer = self.ask(&LIST_COMPLIANCE_ITEMS, request.send()).await?;
            Ok(PageOf::new(answer.compliance_items().iter().map(item).collect(), answer.next_token))
        })
        .await
    }
}

fn item(row: &types::ComplianceItem) -> PatchItem {
    let detail = |name: &str| row.details().and_then(|details| details.get(name)).cloned().unwrap_or_default();
    let execution = row.execution_summary();
    let baseline = detail("PatchBaselineId");
    PatchItem {
        execution_id: values::text(execution.and_then(types::ComplianceExecutionSummary::execution_id)),
        execution_time: values::timestamp(execution.map(types::ComplianceExecutionSummary::execution_time)),
        state: PatchState::parse(&detail("PatchState")),
        baseline_id: baseline.rsplit('/').next().unwrap_or_default().to_owned(),
        patch_group: detail("PatchGroup"),
    }
}
