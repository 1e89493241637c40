//! ComplianceService at the door.

use super::{
    Api, caller,
    convert::{count, counts, time},
};
use crate::{app::compliance::ComplianceSummary, domain::name::parse_location, error::Error};
use patchplane_proto::v1 as pb;
use patchplane_rules::{Invalid, PatchGroupName, PatchSummary};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::compliance_service_server::ComplianceService for Api {
    async fn get_compliance_summary(
        &self,
        request: Request<pb::GetComplianceSummaryRequest>,
    ) -> Result<Response<pb::GetComplianceSummaryResponse>, Status> {
        let who = caller(&request)?;
        let pb::GetComplianceSummaryRequest { parent, patch_group } = request.into_inner();
        let location = parse_location("parent", &parent).map_err(Error::from)?;
        let group = group(&patch_group).map_err(Error::from)?;
        let summary = self.app.get_compliance_summary(&who, location, group).await?;
        Ok(Response::new(pb::GetComplianceSummaryResponse { summary: Some(summary.into()) }))
    }
}

fn group(text: &str) -> Result<Option<PatchGroupName>, Invalid> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

impl From<ComplianceSummary> for pb::ComplianceSummary {
    fn from(summary: ComplianceSummary) -> Self {
        let ComplianceSummary { location, patch_group, reports, managed_count, unmanaged_count, observe_time } =
            summary;
        let with = |is: fn(&PatchSummary) -> bool| count(reports.iter().filter(|report| is(report)).count());
        let compliant = with(PatchSummary::is_compliant);
        Self {
            location: location.name(),
            patch_group: patch_group.map(|group| group.to_string()).unwrap_or_default(),
            instance_count: count(managed_count),
            compliant_count: compliant,
            non_compliant_count: count(reports.len()) - compliant,
            unreported_count: count(managed_count.saturating_sub(reports.len())),
            unmanaged_count: count(unmanaged_count),
            with_missing_count: with(|report| report.missing > 0),
            with_failed_count: with(|report| report.failed > 0),
            with_pending_reboot_count: with(|report| report.installed_pending_reboot > 0),
            patches: Some(counts(&reports)),
            oldest_report_time: reports.iter().filter_map(|report| report.operation_end).min().map(time),
            observe_time: Some(time(observe_time)),
        }
    }
}
