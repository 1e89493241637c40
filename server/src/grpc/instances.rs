//! InstanceService at the door.

use super::{
    Api, caller,
    convert::{page, paging, patch_state, time},
};
use crate::{
    app::{
        baselines::Observed,
        instances::{Instance, ListInstancePatches, ListInstances},
        readiness::BatchCheckReadiness,
    },
    domain::{
        group_tags::{Membership, membership},
        name::{InstanceName, Parent},
        readiness::StaleAfter,
    },
    error::Error,
};
use patchplane_proto::v1 as pb;
use patchplane_rules::{InstancePatch, Invalid, ManagedNode, PatchState, PingStatus, Sighting};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::instance_service_server::InstanceService for Api {
    async fn list_instances(
        &self,
        request: Request<pb::ListInstancesRequest>,
    ) -> Result<Response<pb::ListInstancesResponse>, Status> {
        let who = caller(&request)?;
        let list = ListInstances::try_from(request.into_inner()).map_err(Error::from)?;
        let found = self.app.list_instances(&who, list).await?;
        let (instances, next_page_token, unreachable) = page(found, pb::Instance::from);
        Ok(Response::new(pb::ListInstancesResponse { instances, next_page_token, unreachable }))
    }

    async fn get_instance(
        &self,
        request: Request<pb::GetInstanceRequest>,
    ) -> Result<Response<pb::GetInstanceResponse>, Status> {
        let who = caller(&request)?;
        let pb::GetInstanceRequest { name } = request.into_inner();
        let name = InstanceName::parse("name", &name).map_err(Error::from)?;
        let instance = self.app.get_instance(&who, name).await?;
        Ok(Response::new(pb::GetInstanceResponse { instance: Some(instance.into()) }))
    }

    async fn check_readiness(
        &self,
        request: Request<pb::CheckReadinessRequest>,
    ) -> Result<Response<pb::CheckReadinessResponse>, Status> {
        let who = caller(&request)?;
        let pb::CheckReadinessRequest { name, stale_after_days } = request.into_inner();
        let name = InstanceName::parse("name", &name).map_err(Error::from)?;
        let stale_after = StaleAfter::parse("stale_after_days", stale_after_days).map_err(Error::from)?;
        let readiness = self.app.check_readiness(&who, name, stale_after).await?;
        Ok(Response::new(readiness.into()))
    }

    async fn batch_check_readiness(
        &self,
        request: Request<pb::BatchCheckReadinessRequest>,
    ) -> Result<Response<pb::BatchCheckReadinessResponse>, Status> {
        let who = caller(&request)?;
        let check = BatchCheckReadiness::try_from(request.into_inner())?;
        let many = self.app.batch_check_readiness(&who, check).await?;
        Ok(Response::new(many.into()))
    }

    async fn explain_baseline(
        &self,
        request: Request<pb::ExplainBaselineRequest>,
    ) -> Result<Response<pb::ExplainBaselineResponse>, Status> {
        let who = caller(&request)?;
        let pb::ExplainBaselineRequest { name } = request.into_inner();
        let name = InstanceName::parse("name", &name).map_err(Error::from)?;
        let explained = self.app.explain_baseline(&who, name).await?;
        Ok(Response::new(explained.into()))
    }

    async fn list_instance_patches(
        &self,
        request: Request<pb::ListInstancePatchesRequest>,
    ) -> Result<Response<pb::ListInstancePatchesResponse>, Status> {
        let who = caller(&request)?;
        let list = ListInstancePatches::try_from(request.into_inner()).map_err(Error::from)?;
        let found = self.app.list_instance_patches(&who, list).await?;
        let observe_time = found.items.first().map(|patch| time(patch.time));
        let (patches, next_page_token, _) = page(found, |found| patch(found.value));
        Ok(Response::new(pb::ListInstancePatchesResponse { patches, next_page_token, observe_time }))
    }
}

impl TryFrom<pb::ListInstancesRequest> for ListInstances {
    type Error = Invalid;

    fn try_from(request: pb::ListInstancesRequest) -> Result<Self, Invalid> {
        let pb::ListInstancesRequest { parent, page_size, page_token, patch_group } = request;
        Ok(Self {
            parent: Parent::parse("parent", &parent)?,
            paging: paging(page_size, page_token, 50, 200)?,
            patch_group: match patch_group.as_str() {
                "" => None,
                text => Some(text.parse()?),
            },
        })
    }
}

impl TryFrom<pb::ListInstancePatchesRequest> for ListInstancePatches {
    type Error = Invalid;

    fn try_from(request: pb::ListInstancePatchesRequest) -> Result<Self, Invalid> {
        let pb::ListInstancePatchesRequest { parent, page_size, page_token, state } = request;
        // AWS answers no fewer than ten (S 1.23).
        let page_size = if (1..10).contains(&page_size) { 10 } else { page_size };
        Ok(Self {
            instance: InstanceName::parse("parent", &parent)?,
            paging: paging(page_size, page_token, 50, 100)?,
            state: match state.as_str() {
                "" => None,
                text => match PatchState::parse(text) {
                    PatchState::Unknown(_) => {
                        return Err(Invalid::new("state", "must be a patch state in AWS's spelling, such as Missing"));
                    }
                    state => Some(state),
                },
            },
        })
    }
}

impl From<Observed<Instance>> for pb::Instance {
    fn from(observed: Observed<Instance>) -> Self {
        let Observed { location, time: observe_time, value } = observed;
        let Instance { id, seen, summary } = value;
        let Sighting { vm, node, tags } = seen;
        let (patch_group, patch_group_tag_key) = match membership(&tags) {
            Membership::In { group, key } => (group, key),
            Membership::None | Membership::Ambiguous { .. } => Default::default(),
        };
        let computer = node.as_ref().map(|node| node.computer_name.clone()).unwrap_or_default();
        let mut instance = Self {
            name: InstanceName { location, id: id.clone() }.to_string(),
            instance_id: id.to_string(),
            display_name: tags.get("Name").cloned().unwrap_or(computer),
            power_state: vm.map(|vm| vm.state.to_string()).unwrap_or_default(),
            patch_group,
            patch_group_tag_key,
            patch_state: summary.as_ref().map(patch_state),
            observe_time: Some(time(observe_time)),
            tags: tags.into_iter().collect(),
            ..Self::default()
        };
        if let Some(node) = node {
            managed(&mut instance, &node);
        }
        instance
    }
}

fn managed(instance: &mut pb::Instance, node: &ManagedNode) {
    instance.ping_status = match node.ping {
        PingStatus::Online => "Online",
        PingStatus::ConnectionLost => "ConnectionLost",
        PingStatus::Inactive => "Inactive",
    }
    .to_owned();
    instance.last_ping_time = node.last_ping.map(time);
    instance.agent_version.clone_from(&node.agent_version);
    instance.platform = format!("{} {}", node.platform_name, node.platform_version);
    instance.operating_system = node.operating_system().map(|os| os.to_string()).unwrap_or_default();
}

fn patch(patch: InstancePatch) -> pb::InstancePatch {
    let InstancePatch { title, kb_id, classification, severity, state, installed_time, cve_ids } = patch;
    pb::InstancePatch {
        title,
        kb_id,
        state: state.to_string(),
        classification,
        severity,
        installed_time: installed_time.map(time),
        cve_ids,
    }
}
