//! Random well-formed messages on every method: no answer is UNKNOWN or INTERNAL, nothing crashes, and every refusal says
//! why in the agreed form.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use futures::TryStreamExt as _;
use patchplane_client::{
    Listing,
    api::{
        AddInstancesRequest, CancelPatchOperationRequest, CreateBaselineRequest, CreatePatchScheduleRequest,
        DeleteBaselineRequest, DeleteFreezeRequest, ListAvailablePatchesRequest, ListExecutionsRequest,
        ListFreezesRequest, ListPatchOperationsRequest, ListPatchPropertiesRequest, PatchFilter, PatchSchedule,
        PausePatchOperationRequest, PreviewBaselineRequest, PreviewScheduleRequest, Recurrence,
        ResumePatchOperationRequest, RetryPatchOperationRequest, TimeOfDay, UpdateBaselineRequest,
        UpdatePatchScheduleRequest, patch_operation, patch_schedule, preview_baseline_request::Subject, recurrence,
    },
};
use patchplane_tests::{
    PARENT, World, baseline, freeze, install,
    raw::{call, descriptors, methods},
};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use std::{collections::BTreeMap, time::Duration};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Messages for each method.
const ROUNDS: usize = 300;

/// Makes messages that reach deep: about half of the texts are such as the server knows.
struct Generator {
    random: StdRng,
    known: Vec<String>,
    /// The method that the message is for.
    method: String,
}

impl Generator {
    fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields() {
            if self.random.random_bool(0.75) {
                let value = self.value(&field, depth);
                message.set_field(&field, value);
            }
        }
        message
    }

    /// Sets one field, of the message or of one within it, to something else.
    fn change(&mut self, message: &mut DynamicMessage) {
        let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
        let field = fields.choose(&mut self.random).unwrap();
        let inner = matches!(field.kind(), Kind::Message(_)) && !field.is_list() && message.has_field(field);
        if inner && self.random.random_bool(0.9) {
            if let Some(inner) = message.get_field_mut(field).as_message_mut() {
                self.change(inner);
            }
            return;
        }
        let value = self.value(field, 0);
        message.set_field(field, value);
    }

    fn value(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        if field.is_map() {
            return Value::Map(Default::default());
        }
        if field.is_list() {
            let length = if depth > 4 { 0 } else { self.random.random_range(0..4) };
            return Value::List((0..length).map(|_| self.single(field, depth)).collect());
        }
        self.single(field, depth)
    }

    fn single(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        match field.kind() {
            Kind::Message(inner) => Value::Message(self.message(&inner, depth + 1)),
            Kind::Enum(kind) => Value::EnumNumber(match self.random.random_range(0..10) {
                0 => self.random.random(),
                n => n % i32::try_from(kind.values().len()).unwrap(),
            }),
            Kind::Bool => Value::Bool(self.random.random()),
            Kind::String => Value::String(self.text(field.name())),
            Kind::Bytes => Value::Bytes(vec![0, 255].into()),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                Value::I32(self.number().clamp(i32::MIN.into(), i32::MAX.into()) as i32)
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.number()),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.random.random()),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.random.random()),
            Kind::Double => Value::F64(f64::NAN),
            Kind::Float => Value::F32(f32::INFINITY),
        }
    }

    fn number(&mut self) -> i64 {
        *[0, 1, -1, 5, 50, 100, 15_000, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN]
            .choose(&mut self.random)
            .unwrap()
    }

    /// What names in this request look like.
    fn resource(&self, field: &str) -> &'static str {
        match (self.method.as_str(), field) {
            ("GetPatchGroup" | "AttachBaseline" | "DetachBaseline" | "AddInstances" | "RemoveInstances", "name") => {
                "/patchGroups/"
            }
            ("GetInstance" | "CheckReadiness" | "ExplainBaseline" | "ListInstancePatches", _) => "/instances/",
            (_, "baseline" | "clone_from" | "compare_to") => "/baselines/",
            ("GetBaseline" | "UpdateBaseline" | "DeleteBaseline", "name") => "/baselines/",
            ("GetDefaultBaseline" | "SetDefaultBaseline", "name") => "/defaultBaselines/",
            ("GetStepOutput", _) => "/steps/",
            ("GetPatchSchedule" | "UpdatePatchSchedule" | "SkipNextRun" | "DeletePatchSchedule", _) => {
                "/patchSchedules/"
            }
            ("GetMaintenanceWindow" | "ListExecutions", _) => "/maintenanceWindows/",
            ("GetExecution", _) => "/executions/",
            ("GetPatchOperation" | "WatchPatchOperation" | "WaitPatchOperation" | "ListPatchOperationTargets", _)
            | ("ListPatchOperationEvents" | "CancelPatchOperation" | "PausePatchOperation", _)
            | ("ResumePatchOperation" | "RetryPatchOperation", _) => "/patchOperations/",
            ("DeleteFreeze", _) => "freezes/",
            _ => "accounts/",
        }
    }

    fn text(&mut self, field: &str) -> String {
        if self.random.random_bool(0.9) {
            if field == "request_id" && self.random.random_bool(0.7) {
                return uuid::Uuid::from_u128(self.random.random()).to_string();
            }
            let anything = self.random.random_bool(0.2);
            let wanted = |text: &&String| match field {
                _ if anything => true,
                "parent" | "name" | "baseline" | "clone_from" | "compare_to" => match self.resource(field) {
                    "accounts/" => text.starts_with("accounts/") && text.matches('/').count() == 3,
                    resource => text.contains(resource),
                },
                "property" | "key" => *text == "PRODUCT" || *text == "CLASSIFICATION",
                "patch_set" => text.is_empty(),
                "display_name" => *text == "web" || *text == "db",
                "request_id" => text.len() == 36,
                "instance_ids" | "excluded_instance_ids" => text.starts_with("i-"),
                "page_token" | "resume_token" | "expected_plan" | "etag" => text.is_empty(),
                "operating_system" => *text == "AMAZON_LINUX_2" || text.is_empty(),
                "state" => *text == "Missing" || text.is_empty(),
                "time_zone" => *text == "Asia/Tokyo" || text.is_empty(),
                "expression" => text.contains('('),
                "paths" => ["description", "*", "enabled", "skipped_until"].contains(&text.as_str()),
                "patch_group" | "patch_groups" => *text == "web" || *text == "db",
                _ => true,
            };
            let fits: Vec<&String> = self.known.iter().filter(wanted).collect();
            return (*fits.choose(&mut self.random).unwrap()).clone();
        }
        let length = *[0, 1, 3, 40, 300, 5000].choose(&mut self.random).unwrap();
        (0..length)
            .map(|_| {
                *['a', 'Z', '0', '/', '-', '%', ' ', '\0', '\n', 'ß', '😀', '"', '\'', '*', '`']
                    .choose(&mut self.random)
                    .unwrap()
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_well_formed_message_gets_unknown_or_internal() {
    let world = World::showcase().await;
    let nodes = world.account().add_nodes(6).in_group("web").missing_patches(1).create();
    let created = world.client.create_patch_operation(install("web")).await.unwrap().patch_operation.unwrap();
    let operation = world.finish(&created.name).await.name;
    // One that goes on, besides the one that has ended.
    let running = world.client.create_patch_operation(install("web")).await.unwrap().patch_operation.unwrap().name;
    world.settle().await;
    // One that has ended, and left something to try again.
    let failing = world.account().add_nodes(1).in_group("failing").missing_patches(1).install_fails().create();
    let failed = world.client.create_patch_operation(install("failing")).await.unwrap().patch_operation.unwrap();
    let failed = world.finish(&failed.name).await.name;
    let freeze = world.client.create_freeze(freeze("nowhere")).await.unwrap().freeze.unwrap().name;
    let schedule = world.client.create_patch_schedule(nightly()).await.unwrap().patch_schedule.unwrap();
    // It has run once.
    for _ in 0..24 * 6 {
        world.simulation.clock().advance(Duration::from_secs(600));
        world.settle().await;
    }
    let parent = schedule.maintenance_window.clone();
    let request = ListExecutionsRequest { parent, ..Default::default() };
    let executions: Vec<_> = world.client.list_executions(request).try_collect().await.unwrap();
    let own = world.own_baseline("own", &["Critical"]).await.name;
    let mut known_right = right_baselines(&own);
    known_right.extend(right_controls(&world, &failed).await);
    let known = [
        schedule.name.clone(),
        format!("{PARENT}/patchSchedules/mw-00000000000000000"),
        schedule.maintenance_window.clone(),
        format!("{PARENT}/maintenanceWindows/mw-00000000000000000"),
        executions[0].name.clone(),
        format!("{}/executions/6f1c9c1e-3f0a-4e2b-9d6e-0f4f0c8c3a11", schedule.maintenance_window),
        "Asia/Tokyo".to_owned(),
        "cron(0 3 ? * * *)".to_owned(),
        "rate(1 day)".to_owned(),
        "enabled".to_owned(),
        "skipped_until".to_owned(),
        PARENT.to_owned(),
        "accounts/-/regions/-".to_owned(),
        "accounts/444455556666/regions/eu-central-1".to_owned(),
        "accounts/999999999999/regions/us-east-1".to_owned(),
        format!("{PARENT}/baselines/pb-0be8c61cde3be63f3"),
        format!("{PARENT}/baselines/pb-00000000000000000"),
        own.clone(),
        format!("{PARENT}/defaultBaselines/AMAZON_LINUX_2"),
        "PRODUCT".to_owned(),
        "CLASSIFICATION".to_owned(),
        "description".to_owned(),
        "*".to_owned(),
        format!("{PARENT}/patchGroups/web"),
        format!("{PARENT}/patchGroups/Web%20Servers"),
        format!("{PARENT}/instances/{}", nodes[0]),
        format!("{PARENT}/instances/i-00000000000000000"),
        format!("{PARENT}/instances/mi-00000000000000000"),
        operation.clone(),
        running.clone(),
        failed.clone(),
        format!("{PARENT}/instances/{}", failing[0]),
        freeze.clone(),
        "freezes/01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
        format!("{operation}/targets/{}/steps/PatchLinux", nodes[0]),
        format!("{operation}/targets/{}/steps/Nothing", nodes[0]),
        format!("{PARENT}/patchOperations/01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        nodes[0].clone(),
        nodes[1].clone(),
        nodes[2].clone(),
        nodes[3].clone(),
        nodes[4].clone(),
        nodes[5].clone(),
        String::new(),
        "web".to_owned(),
        "db".to_owned(),
        "Patch Group".to_owned(),
        "AMAZON_LINUX_2".to_owned(),
        "Missing".to_owned(),
        "6f1c9c1e-3f0a-4e2b-9d6e-0f4f0c8c3a11".to_owned(),
        "00000000-0000-0000-0000-000000000000".to_owned(),
    ];
    let mut generator = Generator { random: StdRng::seed_from_u64(7), known: known.to_vec(), method: String::new() };
    let pool = descriptors();
    let (channel, _connection) = world.channel().await;
    let mut seen: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for method in methods(&pool) {
        let path = method.full_name().to_owned();
        method.name().clone_into(&mut generator.method);
        if method.name() == "CreatePatchOperation" {
            // The messages before may have moved them.
            let (name, instance_ids) = (format!("{PARENT}/patchGroups/web"), nodes.clone());
            let request = AddInstancesRequest { name, instance_ids, allow_move: true, ..Default::default() };
            world.client.add_instances(request).await.unwrap();
        }
        for round in 0..ROUNDS {
            let mut message = generator.message(&method.input(), 0);
            if let Some(right) = known_right.get(method.name()).filter(|_| round % 2 == 0) {
                // Random specs are hardly ever right: every other one is a right one with a field changed.
                message = DynamicMessage::decode(method.input(), right.as_slice()).unwrap();
                if message.descriptor().get_field_by_name("request_id").is_some() {
                    // A change of its own each time, not a repetition.
                    let id = uuid::Uuid::from_u128(generator.random.random()).to_string();
                    message.set_field_by_name("request_id", Value::String(id));
                }
                generator.change(&mut message);
            }
            if let Some(right) = right(method.name(), &schedule).filter(|_| round % 2 == 0) {
                message = DynamicMessage::decode(method.input(), right.as_slice()).unwrap();
                generator.change(&mut message);
            }
            if method.name() == "CreatePatchSchedule" && round >= 6 {
                // An account has few windows, and lists look into each.
                message.set_field_by_name("validate_only", Value::Bool(true));
            }
            if method.name() == "WaitPatchOperation" {
                // What really waits, waits in real time: none at all, or for a time that is refused.
                let seconds = [0, -1, 61, i64::MAX, i64::MIN][round % 5];
                message.set_field_by_name("timeout", Value::Message(duration(&pool, seconds)));
            }
            let answer = call(&channel, &method, &message).await;
            let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
            *seen.entry(method.name().to_owned()).or_default().entry(format!("{code:?}")).or_default() += 1;
            if let Err(status) = answer {
                assert!(!matches!(code, Code::Unknown | Code::Internal), "{path}: {status:?}\n{message:?}");
                let details = status.get_error_details();
                let info = details.error_info().unwrap_or_else(|| panic!("{path}: no ErrorInfo: {status:?}"));
                assert_eq!(info.domain, "patchplane.v1");
                assert!(!info.reason.is_empty() && !status.message().is_empty());
                if code == Code::InvalidArgument {
                    assert!(
                        details.bad_request().is_some_and(|bad| !bad.field_violations[0].field.is_empty()),
                        "{status:?}"
                    );
                }
            }
        }
    }
    for (method, codes) in &seen {
        println!("{method}: {codes:?}");
        assert!(codes.contains_key("Ok"), "{method}: no message got through: {codes:?}");
    }
    // Nobody waits for the ends of random freezes.
    let freezes: Vec<_> = world.client.list_freezes(ListFreezesRequest::default()).try_collect().await.unwrap();
    for freeze in freezes {
        world.client.delete_freeze(DeleteFreezeRequest { name: freeze.name, ..Default::default() }).await.unwrap();
    }
    // Whatever was started ends, and says how, also where many operations want the same nodes.
    let everywhere = ListPatchOperationsRequest { parent: "accounts/-/regions/-".to_owned(), ..Default::default() };
    let started = Listing::collect(world.client.list_patch_operations(everywhere)).await.unwrap().items;
    assert!(started.len() > 20, "only {} operations were started: {:?}", started.len(), seen["CreatePatchOperation"]);
    for operation in started {
        let ended = world.finish(&operation.name).await;
        assert!(!ended.explanation.is_empty(), "{ended:?}");
    }
}

/// A request about a schedule that is right, for methods whose random ones hardly ever are.
fn right(method: &str, schedule: &PatchSchedule) -> Option<Vec<u8>> {
    let recurrence = nightly().patch_schedule.unwrap().recurrence;
    let name = schedule.name.clone();
    Some(match method {
        "CreatePatchSchedule" => nightly().encode_to_vec(),
        "UpdatePatchSchedule" => {
            let patch_schedule = Some(PatchSchedule { name, recurrence, ..Default::default() });
            UpdatePatchScheduleRequest { patch_schedule, ..Default::default() }.encode_to_vec()
        }
        "PreviewSchedule" => {
            let time_zone = "Asia/Tokyo".to_owned();
            PreviewScheduleRequest { recurrence, time_zone, ..Default::default() }.encode_to_vec()
        }
        _ => return None,
    })
}

/// A schedule that scans each night.
fn nightly() -> CreatePatchScheduleRequest {
    let time = Some(TimeOfDay { hours: 3, ..Default::default() });
    let schedule = PatchSchedule {
        display_name: "web-nightly".to_owned(),
        kind: patch_operation::Kind::Scan.into(),
        targets: Some(patch_schedule::Targets { patch_groups: vec!["web".to_owned()], ..Default::default() }),
        recurrence: Some(Recurrence { kind: Some(recurrence::Kind::Daily(recurrence::Daily { time })) }),
        time_zone: "Asia/Tokyo".to_owned(),
        ..Default::default()
    };
    CreatePatchScheduleRequest { parent: PARENT.to_owned(), patch_schedule: Some(schedule), ..Default::default() }
}

/// Right requests for methods that random ones hardly ever are right for.
/// A right request of each method that asks something of an operation, with one that goes on for each.
async fn right_controls(world: &World, failed: &str) -> BTreeMap<&'static str, Vec<u8>> {
    world.account().add_nodes(1).in_group("waiting").create();
    world.client.create_freeze(freeze("waiting")).await.unwrap();
    let mut names = Vec::new();
    for _ in 0..3 {
        let created = world.client.create_patch_operation(install("waiting")).await.unwrap();
        names.push(created.patch_operation.unwrap().name);
    }
    let [cancel, pause, resume] = names.try_into().unwrap();
    BTreeMap::from([
        ("CancelPatchOperation", CancelPatchOperationRequest { name: cancel, ..Default::default() }.encode_to_vec()),
        ("PausePatchOperation", PausePatchOperationRequest { name: pause, ..Default::default() }.encode_to_vec()),
        ("ResumePatchOperation", ResumePatchOperationRequest { name: resume, ..Default::default() }.encode_to_vec()),
        (
            "RetryPatchOperation",
            RetryPatchOperationRequest { name: failed.to_owned(), ..Default::default() }.encode_to_vec(),
        ),
        ("CreateFreeze", freeze("nowhere").encode_to_vec()),
    ])
}

fn right_baselines(own: &str) -> BTreeMap<&'static str, Vec<u8>> {
    let mut known = baseline("fuzzed", &["Critical"], 7);
    let create = CreateBaselineRequest {
        parent: PARENT.to_owned(),
        baseline: Some(known.clone()),
        validate_only: true,
        ..Default::default()
    };
    let preview = PreviewBaselineRequest {
        parent: PARENT.to_owned(),
        subject: Some(Subject::Draft(known.clone())),
        patch_group: "web".to_owned(),
        max_patches: 3,
        ..Default::default()
    };
    own.clone_into(&mut known.name);
    let update = UpdateBaselineRequest { baseline: Some(known), ..Default::default() };
    let delete = DeleteBaselineRequest { name: own.to_owned(), validate_only: true, ..Default::default() };
    let available = ListAvailablePatchesRequest {
        parent: PARENT.to_owned(),
        operating_system: "AMAZON_LINUX_2".to_owned(),
        filters: vec![PatchFilter { key: "PRODUCT".to_owned(), values: vec!["AmazonLinux2".to_owned()] }],
        ..Default::default()
    };
    let properties = ListPatchPropertiesRequest {
        parent: PARENT.to_owned(),
        operating_system: "AMAZON_LINUX_2".to_owned(),
        property: "CLASSIFICATION".to_owned(),
        ..Default::default()
    };
    BTreeMap::from([
        ("ListPatchProperties", properties.encode_to_vec()),
        ("CreatePatchOperation", install("web").encode_to_vec()),
        ("CreateBaseline", create.encode_to_vec()),
        ("UpdateBaseline", update.encode_to_vec()),
        ("DeleteBaseline", delete.encode_to_vec()),
        ("PreviewBaseline", preview.encode_to_vec()),
        ("ListAvailablePatches", available.encode_to_vec()),
    ])
}

fn duration(pool: &DescriptorPool, seconds: i64) -> DynamicMessage {
    let mut duration = DynamicMessage::new(pool.get_message_by_name("google.protobuf.Duration").unwrap());
    duration.set_field_by_name("seconds", Value::I64(seconds));
    duration
}
