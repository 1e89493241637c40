//! BaselineService at the door.

use super::{
    Api, caller,
    convert::{page, paging, time},
};
use crate::{
    app::baselines::{ListBaselines, Observed},
    domain::{
        name::{BaselineName, GroupName, Parent},
        plan::hex,
    },
    error::Error,
};
use patchplane_proto::v1 as pb;
use patchplane_rules::{
    ApprovalDate, ApprovalRule, Baseline, BaselineOwner, BaselineSummary, Invalid, OperatingSystem, PatchFilter,
    PatchSource,
};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::baseline_service_server::BaselineService for Api {
    async fn list_baselines(
        &self,
        request: Request<pb::ListBaselinesRequest>,
    ) -> Result<Response<pb::ListBaselinesResponse>, Status> {
        let who = caller(&request)?;
        let list = ListBaselines::try_from(request.into_inner()).map_err(Error::from)?;
        let found = self.app.list_baselines(&who, list).await?;
        let (baselines, next_page_token, unreachable) = page(found, pb::Baseline::from);
        Ok(Response::new(pb::ListBaselinesResponse { baselines, next_page_token, unreachable }))
    }

    async fn get_baseline(
        &self,
        request: Request<pb::GetBaselineRequest>,
    ) -> Result<Response<pb::GetBaselineResponse>, Status> {
        let who = caller(&request)?;
        let pb::GetBaselineRequest { name } = request.into_inner();
        let name = BaselineName::parse("name", &name).map_err(Error::from)?;
        let baseline = self.app.get_baseline(&who, name).await?;
        Ok(Response::new(pb::GetBaselineResponse { baseline: Some(baseline.into()) }))
    }
}

impl TryFrom<pb::ListBaselinesRequest> for ListBaselines {
    type Error = Invalid;

    fn try_from(request: pb::ListBaselinesRequest) -> Result<Self, Invalid> {
        let owner = match request.owner() {
            _ if pb::baseline::Owner::try_from(request.owner).is_err() => {
                return Err(Invalid::new("owner", "is not a value this server knows"));
            }
            pb::baseline::Owner::Unspecified => None,
            pb::baseline::Owner::Aws => Some(BaselineOwner::Aws),
            pb::baseline::Owner::Self_ => Some(BaselineOwner::Account),
        };
        let pb::ListBaselinesRequest { parent, page_size, page_token, operating_system, owner: _ } = request;
        Ok(Self {
            parent: Parent::parse("parent", &parent)?,
            paging: paging(page_size, page_token, 50, 100)?,
            operating_system: match operating_system.as_str() {
                "" => None,
                text => Some(OperatingSystem::parse(text)?),
            },
            owner,
        })
    }
}

impl From<Observed<BaselineSummary>> for pb::Baseline {
    fn from(observed: Observed<BaselineSummary>) -> Self {
        let Observed { location, time: observe_time, value } = observed;
        let BaselineSummary { id, aws_id, owner, name, description, operating_system, default } = value;
        Self {
            name: BaselineName { location, id }.to_string(),
            display_name: name,
            description,
            operating_system: operating_system.to_string(),
            owner: match owner {
                BaselineOwner::Aws => pb::baseline::Owner::Aws,
                BaselineOwner::Account => pb::baseline::Owner::Self_,
            }
            .into(),
            default,
            aws_id,
            observe_time: Some(time(observe_time)),
            ..Self::default()
        }
    }
}

impl From<Observed<Baseline>> for pb::Baseline {
    fn from(observed: Observed<Baseline>) -> Self {
        let Observed { location, time: observe_time, value } = observed;
        let etag = hex(&format!("{value:?}"))[..32].to_owned();
        let Baseline {
            summary,
            global_filters,
            rules,
            approved_patches,
            approved_patches_compliance_level,
            approved_patches_enable_non_security,
            rejected_patches,
            rejected_patches_action,
            sources,
            available_security_updates,
            patch_groups,
            created,
            modified,
        } = value;
        let group = |group| GroupName { location: location.clone(), group }.to_string();
        let patch_groups = patch_groups.into_iter().map(group).collect();
        Self {
            global_filters: global_filters.into_iter().map(filter).collect(),
            approval_rules: rules.into_iter().map(rule).collect(),
            approved_patches,
            approved_patches_compliance_level,
            approved_patches_enable_non_security,
            rejected_patches,
            rejected_patches_action,
            sources: sources.into_iter().map(source).collect(),
            available_security_updates_compliance_status: available_security_updates.unwrap_or_default(),
            patch_groups,
            create_time: created.map(time),
            update_time: modified.map(time),
            etag,
            ..Observed { location: location.clone(), time: observe_time, value: summary }.into()
        }
    }
}

fn filter(filter: PatchFilter) -> pb::PatchFilter {
    let PatchFilter { key, values } = filter;
    pb::PatchFilter { key, values }
}

fn source(source: PatchSource) -> pb::PatchSource {
    let PatchSource { name, products, configuration } = source;
    pb::PatchSource { name, products, configuration }
}

fn rule(rule: ApprovalRule) -> pb::ApprovalRule {
    use pb::approval_rule::Approval;
    let ApprovalRule { filters, compliance_level, approval, enable_non_security } = rule;
    pb::ApprovalRule {
        filters: filters.into_iter().map(filter).collect(),
        approval: approval.map(|date| match date {
            ApprovalDate::AfterDays(days) => Approval::ApproveAfterDays(days.into()),
            ApprovalDate::Until(date) => Approval::ApproveUntilDate(date.to_string()),
        }),
        compliance_level,
        enable_non_security,
    }
}
