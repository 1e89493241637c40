//! Any mutation of the API as one type, with one of each to try: what every mutation promises is tested on all of them.

use crate::{PARENT, World, install, refusal};
use patchplane_client::api::{
    AddInstancesRequest, AddInstancesResponse, AttachBaselineRequest, AttachBaselineResponse, Baseline,
    CreateBaselineRequest, CreateBaselineResponse, CreatePatchOperationRequest, CreatePatchOperationResponse,
    DeleteBaselineRequest, DeleteBaselineResponse, DetachBaselineRequest, DetachBaselineResponse,
    GetDefaultBaselineRequest, GetPatchGroupRequest, ListBaselinesRequest, PatchGroup, Plan, RemoveInstancesRequest,
    RemoveInstancesResponse, SetDefaultBaselineRequest, SetDefaultBaselineResponse, UpdateBaselineRequest,
    UpdateBaselineResponse, baseline::Owner, patch_operation::State,
};
use tonic::{Code, Status};
use uuid::Uuid;

/// Of AWS's own in us-east-1 (S 4.2).
pub const AMAZON_LINUX_2: &str = "pb-0be8c61cde3be63f3";
pub const WINDOWS: &str = "pb-09ca3fb51f0412ec3";

/// Any of the mutations.
#[derive(Clone, Debug)]
pub enum Change {
    Attach(AttachBaselineRequest),
    Detach(DetachBaselineRequest),
    Add(AddInstancesRequest),
    Remove(RemoveInstancesRequest),
    Create(Box<CreatePatchOperationRequest>),
    CreateBaseline(Box<CreateBaselineRequest>),
    UpdateBaseline(Box<UpdateBaselineRequest>),
    DeleteBaseline(DeleteBaselineRequest),
    SetDefault(SetDefaultBaselineRequest),
}

/// What any of them answers.
#[derive(Debug)]
pub struct Changed {
    pub resource: String,
    pub plan: Plan,
    pub replayed: bool,
}

/// Does the same to the request of whichever mutation it is.
macro_rules! of_any {
    ($change:expr, $request:ident => $body:expr) => {
        match $change {
            Change::Attach($request) => $body,
            Change::Detach($request) => $body,
            Change::Add($request) => $body,
            Change::Remove($request) => $body,
            Change::Create($request) => $body,
            Change::CreateBaseline($request) => $body,
            Change::UpdateBaseline($request) => $body,
            Change::DeleteBaseline($request) => $body,
            Change::SetDefault($request) => $body,
        }
    };
}

impl Change {
    pub async fn send(&self, world: &World) -> Result<Changed, Status> {
        let (mut groups, mut operations) = (world.client.patch_groups(), world.client.patch_operations());
        let mut baselines = world.client.baselines();
        let (resource, plan, replayed) = match self.clone() {
            Self::Attach(request) => {
                let AttachBaselineResponse { patch_group, plan, replayed } =
                    groups.attach_baseline(request).await?.into_inner();
                (patch_group.unwrap().name, plan, replayed)
            }
            Self::Detach(request) => {
                let DetachBaselineResponse { patch_group, plan, replayed } =
                    groups.detach_baseline(request).await?.into_inner();
                (patch_group.unwrap().name, plan, replayed)
            }
            Self::Add(request) => {
                let AddInstancesResponse { patch_group, results: _, plan, replayed } =
                    groups.add_instances(request).await?.into_inner();
                (patch_group.unwrap().name, plan, replayed)
            }
            Self::Remove(request) => {
                let RemoveInstancesResponse { patch_group, results: _, plan, replayed } =
                    groups.remove_instances(request).await?.into_inner();
                (patch_group.unwrap().name, plan, replayed)
            }
            Self::Create(request) => {
                let CreatePatchOperationResponse { patch_operation, plan, replayed } =
                    operations.create_patch_operation(*request).await?.into_inner();
                (patch_operation.unwrap().name, plan, replayed)
            }
            Self::CreateBaseline(request) => {
                let CreateBaselineResponse { baseline, plan, replayed } =
                    baselines.create_baseline(*request).await?.into_inner();
                (baseline.unwrap().name, plan, replayed)
            }
            Self::UpdateBaseline(request) => {
                let UpdateBaselineResponse { baseline, plan, replayed } =
                    baselines.update_baseline(*request).await?.into_inner();
                (baseline.unwrap().name, plan, replayed)
            }
            Self::DeleteBaseline(request) => {
                let DeleteBaselineResponse { baseline, plan, replayed } =
                    baselines.delete_baseline(request).await?.into_inner();
                (baseline.unwrap().name, plan, replayed)
            }
            Self::SetDefault(request) => {
                let SetDefaultBaselineResponse { default_baseline, plan, replayed } =
                    baselines.set_default_baseline(request).await?.into_inner();
                (default_baseline.unwrap().name, plan, replayed)
            }
        };
        Ok(Changed { resource, plan: plan.unwrap(), replayed })
    }

    /// The same without doing it.
    pub fn validated(mut self) -> Self {
        of_any!(&mut self, request => request.validate_only = true);
        self
    }

    pub fn expecting(mut self, plan: &str) -> Self {
        of_any!(&mut self, request => plan.clone_into(&mut request.expected_plan));
        self
    }

    /// Another change under the same request id.
    pub fn altered(mut self) -> Self {
        match &mut self {
            Self::Attach(request) => request.replace = !request.replace,
            // The same group, spelt otherwise.
            Self::Detach(request) => request.name = request.name.replace("/old", "/%6Fld"),
            Self::Add(request) => request.allow_move = !request.allow_move,
            Self::Remove(request) => request.name.push('2'),
            Self::Create(request) => request.patch_operation.as_mut().unwrap().note.push('!'),
            Self::CreateBaseline(request) => request.baseline.as_mut().unwrap().description.push('!'),
            Self::UpdateBaseline(request) => request.baseline.as_mut().unwrap().description.push('!'),
            Self::DeleteBaseline(request) => request.etag.clear(),
            Self::SetDefault(request) => request.baseline = format!("{PARENT}/baselines/{AMAZON_LINUX_2}"),
        }
        self
    }
}

pub fn request_id() -> String {
    Uuid::new_v4().to_string()
}

pub fn group_name(group: &str) -> String {
    format!("{PARENT}/patchGroups/{group}")
}

pub fn attach(group: &str, baseline_id: &str) -> AttachBaselineRequest {
    AttachBaselineRequest {
        name: group_name(group),
        baseline: format!("{PARENT}/baselines/{baseline_id}"),
        request_id: request_id(),
        ..AttachBaselineRequest::default()
    }
}

pub fn detach(group: &str, baseline_id: &str) -> DetachBaselineRequest {
    DetachBaselineRequest {
        name: group_name(group),
        baseline: format!("{PARENT}/baselines/{baseline_id}"),
        request_id: request_id(),
        ..DetachBaselineRequest::default()
    }
}

pub fn add(group: &str, instance_ids: &[String]) -> AddInstancesRequest {
    let (name, instance_ids) = (group_name(group), instance_ids.to_vec());
    AddInstancesRequest { name, instance_ids, request_id: request_id(), ..AddInstancesRequest::default() }
}

pub fn remove(group: &str, instance_ids: &[String]) -> RemoveInstancesRequest {
    let (name, instance_ids) = (group_name(group), instance_ids.to_vec());
    RemoveInstancesRequest { name, instance_ids, request_id: request_id(), ..RemoveInstancesRequest::default() }
}

/// One of each, in an account where each changes something.
pub async fn changes(world: &World) -> Vec<Change> {
    let fleet = world.account();
    let outside = fleet.add_nodes(2).create();
    let inside = fleet.add_nodes(2).in_group("db").create();
    fleet.add_nodes(2).in_group("web").missing_patches(1).create();
    world.attach("old", WINDOWS).await;
    let mut changes = vec![
        Change::Attach(attach("web", AMAZON_LINUX_2)),
        Change::Detach(detach("old", WINDOWS)),
        Change::Add(add("app", &outside)),
        Change::Remove(remove("db", &inside)),
        Change::Create(Box::new(install("web"))),
    ];
    changes.extend(baseline_changes(world).await);
    changes
}

/// One of each of baselines, in an account where each changes something.
pub async fn baseline_changes(world: &World) -> Vec<Change> {
    let source = world.own_baseline("source", &["Critical"]).await;
    let gone = world.own_baseline("gone", &["Critical"]).await;
    let chosen = world.own_baseline("chosen", &["Critical"]).await;
    let copy = Baseline { display_name: "copy".to_owned(), ..Baseline::default() };
    let create = CreateBaselineRequest {
        parent: PARENT.to_owned(),
        baseline: Some(copy),
        clone_from: source.name.clone(),
        request_id: request_id(),
        ..CreateBaselineRequest::default()
    };
    let delete = DeleteBaselineRequest {
        name: gone.name,
        etag: gone.etag,
        request_id: request_id(),
        ..DeleteBaselineRequest::default()
    };
    vec![
        Change::CreateBaseline(Box::new(create)),
        update(&source.name, "", "changed"),
        Change::DeleteBaseline(delete),
        set_default(&chosen.name),
    ]
}

pub fn update(name: &str, display_name: &str, description: &str) -> Change {
    let baseline = Baseline {
        name: name.to_owned(),
        display_name: display_name.to_owned(),
        description: description.to_owned(),
        ..Baseline::default()
    };
    let (baseline, request_id) = (Some(baseline), request_id());
    Change::UpdateBaseline(Box::new(UpdateBaselineRequest { baseline, request_id, ..UpdateBaselineRequest::default() }))
}

pub fn set_default(baseline: &str) -> Change {
    Change::SetDefault(SetDefaultBaselineRequest {
        name: format!("{PARENT}/defaultBaselines/AMAZON_LINUX_2"),
        baseline: baseline.to_owned(),
        request_id: request_id(),
        ..SetDefaultBaselineRequest::default()
    })
}

/// The account's own baselines, by display name, and the id of the default one.
pub async fn own_baselines(world: &World) -> (Vec<(String, String)>, String) {
    let request = ListBaselinesRequest {
        parent: PARENT.to_owned(),
        owner: Owner::Self_.into(),
        ..ListBaselinesRequest::default()
    };
    let found = world.client.baselines().list_baselines(request).await.unwrap().into_inner().baselines;
    let mut rows: Vec<_> = found.into_iter().map(|row| (row.display_name, row.description)).collect();
    rows.sort();
    let request = GetDefaultBaselineRequest { name: format!("{PARENT}/defaultBaselines/AMAZON_LINUX_2") };
    let default = world.client.get_default_baseline(request).await.unwrap().default_baseline.unwrap();
    (rows, default.display_name)
}

/// Lets a new operation come to its end, so that nothing but the test's own calls changes anything.
pub async fn come_to_rest(world: &World, changed: &Changed) {
    if changed.resource.contains("/patchOperations/") {
        assert_eq!(world.finish(&changed.resource).await.state(), State::Succeeded);
    }
}

pub async fn group(world: &World, group: &str) -> PatchGroup {
    let request = GetPatchGroupRequest { name: group_name(group) };
    world.client.get_patch_group(request).await.unwrap().patch_group.unwrap()
}

pub fn reason(status: &Status) -> (Code, String) {
    let (code, reason, _) = refusal(status);
    (code, reason)
}
