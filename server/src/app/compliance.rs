//! Compliance, summed up from what instances last reported.

use super::{App, instances::instance_ids};
use crate::{
    Result,
    auth::{Action, Caller},
};
use jiff::Timestamp;
use patchplane_aws::NodeFilter;
use patchplane_rules::{InstanceId, Location, PatchGroupName, PatchSummary};
use std::collections::BTreeSet;

/// How many instances comply, and what the others lack.
#[derive(Clone, Debug)]
pub struct ComplianceSummary {
    pub location: Location,
    pub patch_group: Option<PatchGroupName>,
    /// What managed instances reported; those that never did are missing here.
    pub reports: Vec<PatchSummary>,
    pub managed_count: usize,
    pub unmanaged_count: usize,
    pub observe_time: Timestamp,
}

impl App {
    #[tracing::instrument(name = "app.get_compliance_summary", skip_all, fields(location = %location))]
    pub async fn get_compliance_summary(
        &self,
        who: &Caller,
        location: Location,
        patch_group: Option<PatchGroupName>,
    ) -> Result<ComplianceSummary> {
        who.may(Action::GetComplianceSummary, &location)?;
        let aws = self.aws(&location)?;
        let ids = instance_ids(aws, patch_group.as_ref()).await?;
        let managed: BTreeSet<InstanceId> =
            aws.nodes(&NodeFilter::All).await?.into_iter().map(|node| node.id).filter(|id| ids.contains(id)).collect();
        let wanted: Vec<InstanceId> = managed.iter().cloned().collect();
        let reports = aws.patch_summaries(&wanted).await?;
        Ok(ComplianceSummary {
            unmanaged_count: ids.len() - managed.len(),
            managed_count: managed.len(),
            reports,
            patch_group,
            observe_time: self.clock.now(),
            location,
        })
    }
}
