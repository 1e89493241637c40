//! BaselineService at the door.

use super::{
    Api, caller,
    convert::{page, paging, time},
    preview::available_patch,
};
use crate::{
    app::{
        available_patches::{ListAvailablePatches, ListPatchProperties},
        baseline_changes::{BaselineChanged, CreateBaseline, DeleteBaseline, UpdateBaseline},
        baselines::{ListBaselines, Observed},
        default_baselines::{DefaultBaselineSet, SetDefaultBaseline},
        preview::PreviewBaseline,
    },
    domain::{
        baseline::etag,
        name::{BaselineName, DefaultBaselineName, GroupName, Parent},
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

    async fn create_baseline(
        &self,
        request: Request<pb::CreateBaselineRequest>,
    ) -> Result<Response<pb::CreateBaselineResponse>, Status> {
        let who = caller(&request)?;
        let create = CreateBaseline::try_from(request.into_inner()).map_err(Error::from)?;
        let planned = create.mutation.validate_only;
        let BaselineChanged { baseline, plan, replayed } = self.app.create_baseline(&who, create).await?;
        let baseline = baseline.map(pb::Baseline::from);
        // What is only planned has no name yet.
        let nameless =
            |draft| pb::Baseline { name: String::new(), aws_id: String::new(), etag: String::new(), ..draft };
        let baseline = if planned { baseline.map(nameless) } else { baseline };
        Ok(Response::new(pb::CreateBaselineResponse { baseline, plan: Some(plan.into()), replayed }))
    }

    async fn update_baseline(
        &self,
        request: Request<pb::UpdateBaselineRequest>,
    ) -> Result<Response<pb::UpdateBaselineResponse>, Status> {
        let who = caller(&request)?;
        let update = UpdateBaseline::try_from(request.into_inner()).map_err(Error::from)?;
        let BaselineChanged { baseline, plan, replayed } = self.app.update_baseline(&who, update).await?;
        let baseline = baseline.map(pb::Baseline::from);
        Ok(Response::new(pb::UpdateBaselineResponse { baseline, plan: Some(plan.into()), replayed }))
    }

    async fn delete_baseline(
        &self,
        request: Request<pb::DeleteBaselineRequest>,
    ) -> Result<Response<pb::DeleteBaselineResponse>, Status> {
        let who = caller(&request)?;
        let delete = DeleteBaseline::try_from(request.into_inner()).map_err(Error::from)?;
        let name = delete.name.to_string();
        let BaselineChanged { baseline, plan, replayed } = self.app.delete_baseline(&who, delete).await?;
        let gone = || pb::Baseline { name, ..pb::Baseline::default() };
        let baseline = Some(baseline.map_or_else(gone, pb::Baseline::from));
        Ok(Response::new(pb::DeleteBaselineResponse { baseline, plan: Some(plan.into()), replayed }))
    }

    async fn get_default_baseline(
        &self,
        request: Request<pb::GetDefaultBaselineRequest>,
    ) -> Result<Response<pb::GetDefaultBaselineResponse>, Status> {
        let who = caller(&request)?;
        let pb::GetDefaultBaselineRequest { name } = request.into_inner();
        let name = DefaultBaselineName::parse("name", &name).map_err(Error::from)?;
        let default = self.app.get_default_baseline(&who, name).await?;
        Ok(Response::new(pb::GetDefaultBaselineResponse { default_baseline: Some(default.into()) }))
    }

    async fn list_default_baselines(
        &self,
        request: Request<pb::ListDefaultBaselinesRequest>,
    ) -> Result<Response<pb::ListDefaultBaselinesResponse>, Status> {
        let who = caller(&request)?;
        let pb::ListDefaultBaselinesRequest { parent, page_size, page_token } = request.into_inner();
        let parent = Parent::parse("parent", &parent).map_err(Error::from)?;
        let paging = paging(page_size, page_token, 50, 200).map_err(Error::from)?;
        let found = self.app.list_default_baselines(&who, parent, paging).await?;
        let (default_baselines, next_page_token, unreachable) = page(found, pb::DefaultBaseline::from);
        Ok(Response::new(pb::ListDefaultBaselinesResponse { default_baselines, next_page_token, unreachable }))
    }

    async fn set_default_baseline(
        &self,
        request: Request<pb::SetDefaultBaselineRequest>,
    ) -> Result<Response<pb::SetDefaultBaselineResponse>, Status> {
        let who = caller(&request)?;
        let set = SetDefaultBaseline::try_from(request.into_inner()).map_err(Error::from)?;
        let DefaultBaselineSet { default, plan, replayed } = self.app.set_default_baseline(&who, set).await?;
        let default_baseline = Some(default.into());
        Ok(Response::new(pb::SetDefaultBaselineResponse { default_baseline, plan: Some(plan.into()), replayed }))
    }

    async fn list_patch_properties(
        &self,
        request: Request<pb::ListPatchPropertiesRequest>,
    ) -> Result<Response<pb::ListPatchPropertiesResponse>, Status> {
        let who = caller(&request)?;
        let list = ListPatchProperties::try_from(request.into_inner()).map_err(Error::from)?;
        let found = self.app.list_patch_properties(&who, list).await?;
        let (values, next_page_token, _) = page(found, |value| value);
        Ok(Response::new(pb::ListPatchPropertiesResponse { values, next_page_token }))
    }

    async fn list_available_patches(
        &self,
        request: Request<pb::ListAvailablePatchesRequest>,
    ) -> Result<Response<pb::ListAvailablePatchesResponse>, Status> {
        let who = caller(&request)?;
        let list = ListAvailablePatches::try_from(request.into_inner()).map_err(Error::from)?;
        let found = self.app.list_available_patches(&who, list).await?;
        let (patches, next_page_token, _) = page(found, available_patch);
        Ok(Response::new(pb::ListAvailablePatchesResponse { patches, next_page_token }))
    }

    async fn preview_baseline(
        &self,
        request: Request<pb::PreviewBaselineRequest>,
    ) -> Result<Response<pb::PreviewBaselineResponse>, Status> {
        let who = caller(&request)?;
        let preview = PreviewBaseline::try_from(request.into_inner()).map_err(Error::from)?;
        let found = self.app.preview_baseline(&who, preview).await?;
        Ok(Response::new(found.into()))
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
        let etag = etag(&value);
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

impl From<Observed<BaselineSummary>> for pb::DefaultBaseline {
    fn from(observed: Observed<BaselineSummary>) -> Self {
        let name = DefaultBaselineName {
            location: observed.location.clone(),
            operating_system: observed.value.operating_system.clone(),
        };
        let baseline = pb::Baseline::from(observed);
        Self {
            name: name.to_string(),
            operating_system: name.operating_system.to_string(),
            baseline: baseline.name,
            display_name: baseline.display_name,
            owner: baseline.owner,
            observe_time: baseline.observe_time,
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
