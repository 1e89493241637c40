//! PatchGroupService at the door.

use super::{
    Api, caller,
    convert::{count, instance_ids, mutation, page, paging, time},
};
use crate::{
    app::{
        baselines::Observed,
        patch_groups::{
            AttachBaseline, Attached, ChangeMembers, DetachBaseline, InstanceResult, ListPatchGroups, ListTagFindings,
            MemberChange, MemberOutcome, MembersChanged, PatchGroup,
        },
    },
    domain::{
        group_tags::{Misstep, TagFinding},
        name::{BaselineName, GroupName, Parent},
        remedy::Remedy,
        request::RequestId,
    },
    error::Error,
};
use patchplane_proto::v1 as pb;
use patchplane_rules::{InstanceId, Invalid, Location};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::patch_group_service_server::PatchGroupService for Api {
    async fn list_patch_groups(
        &self,
        request: Request<pb::ListPatchGroupsRequest>,
    ) -> Result<Response<pb::ListPatchGroupsResponse>, Status> {
        let who = caller(&request)?;
        let list = ListPatchGroups::try_from(request.into_inner()).map_err(Error::from)?;
        let found = self.app.list_patch_groups(&who, list).await?;
        let (patch_groups, next_page_token, unreachable) = page(found, pb::PatchGroup::from);
        Ok(Response::new(pb::ListPatchGroupsResponse { patch_groups, next_page_token, unreachable }))
    }

    async fn get_patch_group(
        &self,
        request: Request<pb::GetPatchGroupRequest>,
    ) -> Result<Response<pb::GetPatchGroupResponse>, Status> {
        let who = caller(&request)?;
        let pb::GetPatchGroupRequest { name } = request.into_inner();
        let name = GroupName::parse("name", &name).map_err(Error::from)?;
        let group = self.app.get_patch_group(&who, name).await?;
        Ok(Response::new(pb::GetPatchGroupResponse { patch_group: Some(group.into()) }))
    }

    async fn attach_baseline(
        &self,
        request: Request<pb::AttachBaselineRequest>,
    ) -> Result<Response<pb::AttachBaselineResponse>, Status> {
        let who = caller(&request)?;
        let attach = AttachBaseline::try_from(request.into_inner()).map_err(Error::from)?;
        let Attached { group, plan, replayed } = self.app.attach_baseline(&who, attach).await?;
        Ok(Response::new(pb::AttachBaselineResponse {
            patch_group: Some(group.into()),
            plan: Some(plan.into()),
            replayed,
        }))
    }

    async fn detach_baseline(
        &self,
        request: Request<pb::DetachBaselineRequest>,
    ) -> Result<Response<pb::DetachBaselineResponse>, Status> {
        let who = caller(&request)?;
        let detach = DetachBaseline::try_from(request.into_inner()).map_err(Error::from)?;
        let Attached { group, plan, replayed } = self.app.detach_baseline(&who, detach).await?;
        Ok(Response::new(pb::DetachBaselineResponse {
            patch_group: Some(group.into()),
            plan: Some(plan.into()),
            replayed,
        }))
    }

    async fn add_instances(
        &self,
        request: Request<pb::AddInstancesRequest>,
    ) -> Result<Response<pb::AddInstancesResponse>, Status> {
        let who = caller(&request)?;
        let change = ChangeMembers::try_from(request.into_inner())?;
        let MembersChanged { group, results, plan, replayed } = self.app.change_members(&who, change).await?;
        Ok(Response::new(pb::AddInstancesResponse {
            patch_group: Some(group.into()),
            results: results.into_iter().map(pb::InstanceResult::from).collect(),
            plan: Some(plan.into()),
            replayed,
        }))
    }

    async fn remove_instances(
        &self,
        request: Request<pb::RemoveInstancesRequest>,
    ) -> Result<Response<pb::RemoveInstancesResponse>, Status> {
        let who = caller(&request)?;
        let change = ChangeMembers::try_from(request.into_inner())?;
        let MembersChanged { group, results, plan, replayed } = self.app.change_members(&who, change).await?;
        Ok(Response::new(pb::RemoveInstancesResponse {
            patch_group: Some(group.into()),
            results: results.into_iter().map(pb::InstanceResult::from).collect(),
            plan: Some(plan.into()),
            replayed,
        }))
    }

    async fn list_tag_findings(
        &self,
        request: Request<pb::ListTagFindingsRequest>,
    ) -> Result<Response<pb::ListTagFindingsResponse>, Status> {
        let who = caller(&request)?;
        let list = ListTagFindings::try_from(request.into_inner()).map_err(Error::from)?;
        let found = self.app.list_tag_findings(&who, list).await?;
        let (findings, next_page_token, unreachable) = page(found, pb::TagFinding::from);
        Ok(Response::new(pb::ListTagFindingsResponse { findings, next_page_token, unreachable }))
    }
}

impl TryFrom<pb::ListPatchGroupsRequest> for ListPatchGroups {
    type Error = Invalid;

    fn try_from(request: pb::ListPatchGroupsRequest) -> Result<Self, Invalid> {
        let pb::ListPatchGroupsRequest { parent, page_size, page_token } = request;
        Ok(Self { parent: Parent::parse("parent", &parent)?, paging: paging(page_size, page_token, 50, 200)? })
    }
}

impl TryFrom<pb::ListTagFindingsRequest> for ListTagFindings {
    type Error = Invalid;

    fn try_from(request: pb::ListTagFindingsRequest) -> Result<Self, Invalid> {
        let pb::ListTagFindingsRequest { parent, page_size, page_token } = request;
        Ok(Self { parent: Parent::parse("parent", &parent)?, paging: paging(page_size, page_token, 50, 200)? })
    }
}

impl TryFrom<pb::AttachBaselineRequest> for AttachBaseline {
    type Error = Invalid;

    fn try_from(request: pb::AttachBaselineRequest) -> Result<Self, Invalid> {
        let content = pb::AttachBaselineRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::AttachBaselineRequest { name, baseline, replace, request_id, validate_only, expected_plan, etag } =
            request;
        let (group, baseline) = group_and_baseline(&name, &baseline)?;
        Ok(Self {
            group,
            baseline,
            replace,
            etag: Some(etag).filter(|etag| !etag.is_empty()),
            mutation: mutation(RequestId::parse_or_new(&request_id)?, &content, validate_only, expected_plan),
        })
    }
}

impl TryFrom<pb::DetachBaselineRequest> for DetachBaseline {
    type Error = Invalid;

    fn try_from(request: pb::DetachBaselineRequest) -> Result<Self, Invalid> {
        let content = pb::DetachBaselineRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::DetachBaselineRequest { name, baseline, request_id, validate_only, expected_plan, etag } = request;
        let (group, baseline) = group_and_baseline(&name, &baseline)?;
        Ok(Self {
            group,
            baseline,
            etag: Some(etag).filter(|etag| !etag.is_empty()),
            mutation: mutation(RequestId::parse_or_new(&request_id)?, &content, validate_only, expected_plan),
        })
    }
}

fn group_and_baseline(name: &str, baseline: &str) -> Result<(GroupName, BaselineName), Invalid> {
    let group = GroupName::parse("name", name)?;
    let baseline = BaselineName::parse("baseline", baseline)?;
    if baseline.location != group.location {
        return Err(Invalid::new("baseline", "must be of the group's account and Region"));
    }
    Ok((group, baseline))
}

impl TryFrom<pb::AddInstancesRequest> for ChangeMembers {
    type Error = Error;

    fn try_from(request: pb::AddInstancesRequest) -> Result<Self, Error> {
        let content = pb::AddInstancesRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::AddInstancesRequest { name, instance_ids: ids, allow_move, request_id, validate_only, expected_plan } =
            request;
        Ok(Self {
            group: GroupName::parse("name", &name)?,
            instance_ids: instance_ids("instance_ids", ids, true)?,
            change: MemberChange::Add { allow_move },
            mutation: mutation(RequestId::parse_or_new(&request_id)?, &content, validate_only, expected_plan),
        })
    }
}

impl TryFrom<pb::RemoveInstancesRequest> for ChangeMembers {
    type Error = Error;

    fn try_from(request: pb::RemoveInstancesRequest) -> Result<Self, Error> {
        let content = pb::RemoveInstancesRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::RemoveInstancesRequest { name, instance_ids: ids, request_id, validate_only, expected_plan } = request;
        Ok(Self {
            group: GroupName::parse("name", &name)?,
            instance_ids: instance_ids("instance_ids", ids, true)?,
            change: MemberChange::Remove,
            mutation: mutation(RequestId::parse_or_new(&request_id)?, &content, validate_only, expected_plan),
        })
    }
}

impl From<PatchGroup> for pb::PatchGroup {
    fn from(group: PatchGroup) -> Self {
        let etag = group.etag();
        let PatchGroup { name, baselines, instance_count, observe_time } = group;
        let attached = |baseline: patchplane_rules::BaselineSummary| pb::patch_group::AttachedBaseline {
            operating_system: baseline.operating_system.to_string(),
            baseline: BaselineName { location: name.location.clone(), id: baseline.id }.to_string(),
            display_name: baseline.name,
        };
        Self {
            name: name.to_string(),
            patch_group: name.group.to_string(),
            baselines: baselines.into_iter().map(attached).collect(),
            instance_count: count(instance_count),
            observe_time: Some(time(observe_time)),
            etag,
        }
    }
}

impl From<InstanceResult> for pb::InstanceResult {
    fn from(result: InstanceResult) -> Self {
        use pb::instance_result::Outcome;
        let InstanceResult { instance_id, outcome, tag_key, reason, message } = result;
        let outcome = match outcome {
            MemberOutcome::Added => Outcome::Added,
            MemberOutcome::Moved => Outcome::Moved,
            MemberOutcome::Removed => Outcome::Removed,
            MemberOutcome::Unchanged => Outcome::Unchanged,
            MemberOutcome::Refused => Outcome::Refused,
        };
        Self {
            instance_id: instance_id.to_string(),
            outcome: outcome.into(),
            tag_key,
            reason: reason.to_owned(),
            message,
        }
    }
}

impl From<Observed<TagFinding>> for pb::TagFinding {
    fn from(observed: Observed<TagFinding>) -> Self {
        use pb::tag_finding::Code;
        let Observed { location, time: observe_time, value } = observed;
        let TagFinding { misstep, ids } = value;
        let code = match &misstep {
            Misstep::KeyWrong { .. } => Code::TagKeyWrong,
            Misstep::KeyBlocked { .. } => Code::TagKeyBlockedByImds,
            Misstep::ValueNear { .. } => Code::TagValueNearMiss,
            Misstep::ValueInvalid { .. } => Code::TagValueInvalid,
            Misstep::Ambiguous { .. } => Code::PatchGroupAmbiguous,
            Misstep::NoBaseline { .. } => Code::GroupWithoutBaseline,
        };
        let (tag_key, tag_value) = misstep.tag().unwrap_or_default();
        Self {
            location: location.name(),
            code: code.into(),
            instance_ids: ids.iter().map(InstanceId::to_string).collect(),
            tag_key: tag_key.to_owned(),
            tag_value: tag_value.to_owned(),
            patch_group: misstep.group().map(ToString::to_string).unwrap_or_default(),
            operating_system: match &misstep {
                Misstep::NoBaseline { os, .. } => os.to_string(),
                _ => String::new(),
            },
            evidence: misstep.evidence(),
            fix: misstep.fix(),
            remedy: misstep.remedy(&ids).map(|mends| remedy(&location, mends)),
            observe_time: Some(time(observe_time)),
        }
    }
}

/// The request, in its location.
pub(super) fn remedy(location: &Location, remedy: Remedy) -> pb::Remedy {
    use pb::remedy::Request;
    let group = |group| GroupName { location: location.clone(), group }.to_string();
    let baseline = |id| BaselineName { location: location.clone(), id }.to_string();
    let texts = |ids: Vec<InstanceId>| ids.iter().map(InstanceId::to_string).collect();
    let request = match remedy {
        Remedy::AttachBaseline { group: name, baseline: id, replace } => {
            let (name, baseline) = (group(name), baseline(id));
            Request::AttachBaseline(pb::AttachBaselineRequest { name, baseline, replace, ..Default::default() })
        }
        Remedy::DetachBaseline { group: name, baseline: id } => {
            let (name, baseline) = (group(name), baseline(id));
            Request::DetachBaseline(pb::DetachBaselineRequest { name, baseline, ..Default::default() })
        }
        Remedy::AddInstances { group: name, ids, allow_move } => {
            let (name, instance_ids) = (group(name), texts(ids));
            Request::AddInstances(pb::AddInstancesRequest { name, instance_ids, allow_move, ..Default::default() })
        }
        Remedy::RemoveInstances { group: name, ids } => {
            let (name, instance_ids) = (group(name), texts(ids));
            Request::RemoveInstances(pb::RemoveInstancesRequest { name, instance_ids, ..Default::default() })
        }
    };
    pb::Remedy { request: Some(request) }
}
