//! ComplianceService at the door.

use super::{
    Api, caller,
    convert::{count, counts, page, paging, time},
};
use crate::{
    app::{
        baselines::Observed,
        compliance::{ComplianceSummary, InstanceCompliance, ListInstanceCompliance, SummariseCompliance},
    },
    domain::{
        compliance::{LevelTally, Standing, Status as Stands, Tally},
        name::{BaselineName, InstanceName, Parent, parse_location},
        readiness::StaleAfter,
    },
    error::Error,
};
use patchplane_proto::v1 as pb;
use patchplane_rules::{ComplianceLevel, Invalid, Location, OperatingSystem, PatchGroupName};
use std::collections::BTreeMap;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::compliance_service_server::ComplianceService for Api {
    async fn get_compliance_summary(
        &self,
        request: Request<pb::GetComplianceSummaryRequest>,
    ) -> Result<Response<pb::GetComplianceSummaryResponse>, Status> {
        let who = caller(&request)?;
        let asked = SummariseCompliance::try_from(request.into_inner()).map_err(Error::from)?;
        let summary = self.app.get_compliance_summary(&who, asked).await?;
        Ok(Response::new(pb::GetComplianceSummaryResponse { summary: Some(summary.into()) }))
    }

    async fn list_instance_compliance(
        &self,
        request: Request<pb::ListInstanceComplianceRequest>,
    ) -> Result<Response<pb::ListInstanceComplianceResponse>, Status> {
        let who = caller(&request)?;
        let list = ListInstanceCompliance::try_from(request.into_inner()).map_err(Error::from)?;
        let found = self.app.list_instance_compliance(&who, list).await?;
        let (instances, next_page_token, unreachable) = page(found, pb::InstanceCompliance::from);
        Ok(Response::new(pb::ListInstanceComplianceResponse { instances, next_page_token, unreachable }))
    }
}

fn group(text: &str) -> Result<Option<PatchGroupName>, Invalid> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

impl TryFrom<pb::GetComplianceSummaryRequest> for SummariseCompliance {
    type Error = Invalid;

    fn try_from(request: pb::GetComplianceSummaryRequest) -> Result<Self, Invalid> {
        let pb::GetComplianceSummaryRequest { parent, patch_group, stale_after_days } = request;
        Ok(Self {
            location: parse_location("parent", &parent)?,
            patch_group: group(&patch_group)?,
            stale_after: StaleAfter::parse("stale_after_days", stale_after_days)?,
        })
    }
}

impl TryFrom<pb::ListInstanceComplianceRequest> for ListInstanceCompliance {
    type Error = Invalid;

    fn try_from(request: pb::ListInstanceComplianceRequest) -> Result<Self, Invalid> {
        use pb::instance_compliance::Status as Wire;
        let status = match request.status() {
            _ if Wire::try_from(request.status).is_err() => {
                return Err(Invalid::new("status", "is not a value this server knows"));
            }
            Wire::Unspecified => None,
            Wire::Compliant => Some(Stands::Compliant),
            Wire::NonCompliant => Some(Stands::NonCompliant),
            Wire::Stale => Some(Stands::Stale),
            Wire::NeverReported => Some(Stands::NeverReported),
            Wire::NotManaged => Some(Stands::NotManaged),
        };
        let pb::ListInstanceComplianceRequest {
            parent,
            page_size,
            page_token,
            patch_group,
            baseline_id,
            operating_system,
            status: _,
            stale_after_days,
            severity,
        } = request;
        Ok(Self {
            parent: Parent::parse("parent", &parent)?,
            paging: paging(page_size, page_token, 50, 200)?,
            patch_group: group(&patch_group)?,
            baseline: match baseline_id.as_str() {
                "" => None,
                text => Some(text.parse().map_err(|invalid: Invalid| Invalid::new("baseline_id", invalid.rule))?),
            },
            operating_system: match operating_system.as_str() {
                "" => None,
                text => Some(OperatingSystem::parse(text)?),
            },
            status,
            severity: match severity.as_str() {
                "" => None,
                text => Some(ComplianceLevel::parse("severity", text)?),
            },
            stale_after: StaleAfter::parse("stale_after_days", stale_after_days)?,
        })
    }
}

impl From<Observed<InstanceCompliance>> for pb::InstanceCompliance {
    fn from(observed: Observed<InstanceCompliance>) -> Self {
        use pb::instance_compliance::Status as Wire;
        let Observed { location, time: observe_time, value } = observed;
        let InstanceCompliance { instance, standing } = value;
        let Standing { status, group, os } = standing;
        let status = match status {
            Stands::Compliant => Wire::Compliant,
            Stands::NonCompliant => Wire::NonCompliant,
            Stands::Stale => Wire::Stale,
            Stands::NeverReported => Wire::NeverReported,
            Stands::NotManaged => Wire::NotManaged,
        };
        let report = instance.summary.as_ref();
        let computer = instance.seen.node.as_ref().map(|node| node.computer_name.clone()).unwrap_or_default();
        Self {
            name: InstanceName { location: location.clone(), id: instance.id.clone() }.to_string(),
            instance_id: instance.id.to_string(),
            display_name: instance.seen.tags.get("Name").cloned().unwrap_or(computer),
            status: status.into(),
            patch_group: group.unwrap_or_default(),
            reported_patch_group: report.map(|report| report.patch_group.clone()).unwrap_or_default(),
            baseline: report.map(|report| baseline(&location, &report.baseline_id)).unwrap_or_default(),
            operating_system: os.map(|os| os.to_string()).unwrap_or_default(),
            counts: report.map(|report| counts([report])),
            last_operation: report.map(|report| report.operation.clone()).unwrap_or_default(),
            last_report_time: report.and_then(|report| report.operation_end).map(time),
            observe_time: Some(time(observe_time)),
        }
    }
}

/// A baseline's name from its bare id; empty for what is none.
fn baseline(location: &Location, id: &str) -> String {
    let id = id.parse().ok();
    id.map(|id| BaselineName { location: location.clone(), id }.to_string()).unwrap_or_default()
}

impl From<Tally> for pb::ComplianceTally {
    fn from(tally: Tally) -> Self {
        Self {
            instance_count: count(tally.managed()),
            compliant_count: count(tally.of(Stands::Compliant)),
            non_compliant_count: count(tally.of(Stands::NonCompliant)),
            stale_count: count(tally.of(Stands::Stale)),
            unreported_count: count(tally.of(Stands::NeverReported)),
            unmanaged_count: count(tally.of(Stands::NotManaged)),
            with_missing_count: count(tally.with_missing),
            with_failed_count: count(tally.with_failed),
            with_pending_reboot_count: count(tally.with_pending_reboot),
            with_critical_count: count(tally.with_critical),
            with_security_count: count(tally.with_security),
            with_other_count: count(tally.with_other),
        }
    }
}

fn by_severity(tally: &LevelTally) -> Vec<pb::ComplianceSeverity> {
    let LevelTally { compliant_patches, non_compliant_patches, non_compliant_instances } = tally;
    ComplianceLevel::all()
        .map(|level| pb::ComplianceSeverity {
            severity: level.as_str().to_owned(),
            non_compliant_patch_count: count(non_compliant_patches.of(level)),
            compliant_patch_count: count(compliant_patches.of(level)),
            non_compliant_instance_count: count(non_compliant_instances.of(level)),
        })
        .collect()
}

impl From<ComplianceSummary> for pb::ComplianceSummary {
    fn from(summary: ComplianceSummary) -> Self {
        let ComplianceSummary {
            location,
            patch_group,
            stale_after,
            total,
            by_group,
            by_baseline,
            by_system,
            by_level,
            reports,
            observe_time,
        } = summary;
        let part = |(key, tally): (String, Tally)| pb::ComplianceBreakdown { key, tally: Some(tally.into()) };
        let parts = |parts: BTreeMap<String, Tally>| parts.into_iter().map(part).collect();
        let pb::ComplianceTally {
            instance_count,
            compliant_count,
            non_compliant_count,
            stale_count,
            unreported_count,
            unmanaged_count,
            with_missing_count,
            with_failed_count,
            with_pending_reboot_count,
            with_critical_count,
            with_security_count,
            with_other_count,
        } = total.into();
        Self {
            patch_group: patch_group.map(|group| group.to_string()).unwrap_or_default(),
            instance_count,
            compliant_count,
            non_compliant_count,
            stale_count,
            unreported_count,
            unmanaged_count,
            with_missing_count,
            with_failed_count,
            with_pending_reboot_count,
            with_critical_count,
            with_security_count,
            with_other_count,
            patches: Some(counts(&reports)),
            oldest_report_time: reports.iter().filter_map(|report| report.operation_end).min().map(time),
            by_patch_group: parts(by_group),
            by_baseline: parts(by_baseline.into_iter().map(|(id, tally)| (baseline(&location, &id), tally)).collect()),
            by_operating_system: parts(by_system),
            by_severity: by_severity(&by_level),
            stale_after_days: count(stale_after.days()),
            location: location.name(),
            observe_time: Some(time(observe_time)),
        }
    }
}
