//! Watching and waiting: the present state, then every change, over broken streams and restarts; and what a server says
//! of itself.

use futures::{StreamExt as _, TryStreamExt as _};
use patchplane_client::{
    Followed,
    api::{
        PatchOperation, PatchOperationTarget, WaitPatchOperationRequest, WatchPatchOperationRequest,
        WatchPatchOperationResponse, patch_operation::State, patch_operation_target::State as TargetState,
        watch_patch_operation_response::Event,
    },
};
use patchplane_server::{
    server::{Server, Stop, simulated},
    store::Store,
};
use patchplane_sim::{SimClock, Simulation};
use patchplane_tests::{World, install, refusal, scan};
use std::{collections::BTreeMap, time::Duration};
use tonic::{Code, Status, Streaming, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

type Messages = Streaming<WatchPatchOperationResponse>;

const SERVICES: [&str; 5] = [
    "patchplane.v1.BaselineService",
    "patchplane.v1.ComplianceService",
    "patchplane.v1.InstanceService",
    "patchplane.v1.PatchGroupService",
    "patchplane.v1.PatchOperationService",
];

async fn watch(world: &World, name: &str, resume_token: &str) -> Result<Messages, Status> {
    let request = WatchPatchOperationRequest { name: name.to_owned(), resume_token: resume_token.to_owned() };
    Ok(world.client.patch_operations().watch_patch_operation(request).await?.into_inner())
}

/// What the store says at this moment, in the form in which a watch puts it together.
async fn present(world: &World, name: &str) -> (PatchOperation, BTreeMap<String, PatchOperationTarget>) {
    let targets = world.targets(name).await;
    (world.operation(name).await, targets.into_iter().map(|target| (target.instance_id.clone(), target)).collect())
}

fn is_snapshot(message: &WatchPatchOperationResponse) -> bool {
    matches!(message.event, Some(Event::Snapshot(_)))
}

/// How far a target is: never less than before.
fn progress(state: TargetState) -> usize {
    use TargetState as T;
    let order = [T::Pending, T::Dispatched, T::Running, T::Rebooting, T::Verifying];
    order.iter().position(|known| *known == state).unwrap_or(order.len())
}

#[tokio::test]
async fn a_watch_brings_the_present_then_each_change_and_ends_with_the_operation() {
    let world = World::start().await;
    world.account().add_nodes(3).in_group("web").missing_patches(2).create();
    let name = world.create(install("web")).await.name;
    let messages = watch(&world, &name, "").await.unwrap();
    let (messages, _) = futures::join!(messages.try_collect::<Vec<_>>(), async { world.finish(&name).await });
    let messages = messages.unwrap();

    let Some(Event::Snapshot(first)) = &messages[0].event else { panic!("{:?}", messages[0]) };
    assert!(first.patch_operation.is_some() && !first.complete && messages[0].resume_token.is_empty());
    let Some(Event::Snapshot(second)) = &messages[1].event else { panic!("{:?}", messages[1]) };
    assert!(second.targets.len() == 3 && second.complete && !messages[1].resume_token.is_empty());
    assert!(!messages[2..].iter().any(is_snapshot), "one snapshot, then changes");

    let (mut followed, mut seen) = (Followed::default(), BTreeMap::<String, Vec<TargetState>>::new());
    for message in messages {
        followed.apply(message);
        for (id, target) in &followed.targets {
            let states = seen.entry(id.clone()).or_default();
            if states.last() != Some(&target.state()) {
                states.push(target.state());
            }
        }
    }
    for (id, states) in seen {
        assert!(states.is_sorted_by_key(|state| progress(*state)), "{id} goes back: {states:?}");
        assert!(states.contains(&TargetState::Rebooting), "{id}: {states:?}");
        assert_eq!(states.last(), Some(&TargetState::Succeeded), "{id}: {states:?}");
    }
    let (operation, targets) = present(&world, &name).await;
    assert_eq!((followed.operation, followed.targets), (Some(operation), targets));
}

#[tokio::test]
async fn a_broken_watch_goes_on_where_it_broke_also_after_a_restart() {
    let world = World::start().await;
    world.account().add_nodes(2).in_group("web").missing_patches(1).create();
    let name = world.create(install("web")).await.name;
    let mut followed = Followed::default();
    let mut token = String::new();
    let mut messages = watch(&world, &name, "").await.unwrap();
    while token.is_empty() {
        let message = messages.next().await.unwrap().unwrap();
        token.clone_from(&message.resume_token);
        followed.apply(message);
    }
    drop(messages);
    for _ in 0..5 {
        world.step().await;
    }
    let world = world.restart().await;
    let ended = world.finish(&name).await;
    let missed: Vec<_> = watch(&world, &name, &token).await.unwrap().try_collect().await.unwrap();
    assert!(!missed.is_empty() && !missed.iter().any(is_snapshot), "{missed:?}");
    let last = missed.last().unwrap().resume_token.clone();
    for message in missed {
        followed.apply(message);
    }
    let (operation, targets) = present(&world, &name).await;
    assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
    assert_eq!((followed.operation, followed.targets), (Some(operation), targets));

    // Nothing is left to tell.
    let nothing: Vec<_> = watch(&world, &name, &last).await.unwrap().try_collect().await.unwrap();
    assert_eq!(nothing, []);
}

#[tokio::test]
async fn a_resume_token_is_good_for_its_own_operation_and_for_a_day() {
    let world = World::start().await;
    world.account().add_nodes(1).in_group("web").create();
    let name = world.run(scan("web")).await.name;
    let other = world.run(scan("web")).await.name;
    let messages: Vec<_> = watch(&world, &name, "").await.unwrap().try_collect().await.unwrap();
    let token = &messages.last().unwrap().resume_token;
    let mut forged = token.clone().into_bytes();
    forged[20] = if forged[20] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let expired = (Code::OutOfRange, "RESUME_TOKEN_EXPIRED".to_owned(), Vec::new());
    for (name, token) in [(&other, token), (&name, &forged), (&name, &"nonsense".to_owned())] {
        assert_eq!(refusal(&watch(&world, name, token).await.unwrap_err()), expired, "{token}");
    }
    let hour = Duration::from_secs(3600);
    world.simulation.clock().advance(hour * 23);
    watch(&world, &name, token).await.unwrap();
    world.simulation.clock().advance(hour * 2);
    assert_eq!(refusal(&watch(&world, &name, token).await.unwrap_err()), expired);
}

#[tokio::test]
async fn many_targets_come_in_parts_of_at_most_200() {
    let world = World::start().await;
    world.account().add_nodes(450).in_group("web").create();
    let name = world.create(install("web")).await.name;
    let mut messages = watch(&world, &name, "").await.unwrap();
    let mut parts = Vec::new();
    loop {
        let message = messages.next().await.unwrap().unwrap();
        let Some(Event::Snapshot(part)) = message.event else { panic!("{message:?}") };
        assert_eq!(message.resume_token.is_empty(), !part.complete, "only a whole snapshot can be resumed from");
        parts.push((part.patch_operation.is_some(), part.targets.len()));
        if part.complete {
            break;
        }
    }
    assert_eq!(parts, [(true, 0), (false, 200), (false, 200), (false, 50)]);
}

#[tokio::test]
async fn waiting_answers_at_the_end_or_when_its_time_is_over() {
    let world = World::start().await;
    world.account().add_nodes(1).in_group("web").create();
    let name = world.create(scan("web")).await.name;
    let wait = async |seconds| {
        let timeout = Some(prost_types::Duration { seconds, nanos: 0 });
        let request = WaitPatchOperationRequest { name: name.clone(), timeout };
        let mut stub = world.client.patch_operations();
        stub.wait_patch_operation(request).await.unwrap().into_inner().patch_operation.unwrap()
    };
    assert!(!patchplane_client::has_ended(&wait(0).await), "the present state");
    let (waited, ended) = futures::join!(wait(60), world.finish(&name));
    assert_eq!(waited, ended);
    assert_eq!(wait(0).await, ended);
}

#[tokio::test]
async fn an_operation_that_does_not_exist_can_be_neither_watched_nor_waited_for() {
    let world = World::start().await;
    let name = format!("{}/patchOperations/01JD5A0000000000000000000A", patchplane_tests::PARENT);
    let expected = (Code::NotFound, "PATCH_OPERATION_NOT_FOUND".to_owned(), Vec::new());
    assert_eq!(refusal(&watch(&world, &name, "").await.unwrap_err()), expected);
    let request = WaitPatchOperationRequest { name, timeout: None };
    assert_eq!(refusal(&world.client.patch_operations().wait_patch_operation(request).await.unwrap_err()), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_says_so_and_ends_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let simulation = Simulation::new(SimClock::manual(simulated::START.parse().unwrap()), 1);
    simulation.at(patchplane_tests::ACCOUNT, patchplane_tests::REGION).add_nodes(1).in_group("web").create();
    let start = async || {
        let (clock, locations) = simulated::connect(&simulation).await.unwrap();
        let store = Store::open(&folder.path().join("patchplane.db"), None).await.unwrap();
        Server::start(clock, locations, store).await.unwrap()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = start().await;
    let serving = tokio::spawn(server.serve(listener, async {
        stopped.await.ok();
        Stop::Soon
    }));

    let client = patchplane_client::Client::connect(address.clone()).await.unwrap();
    let created = client.create_patch_operation(scan("web")).await.unwrap();
    let name = created.patch_operation.unwrap().name;
    let request = WatchPatchOperationRequest { name: name.clone(), resume_token: String::new() };
    let mut messages = client.patch_operations().watch_patch_operation(request).await.unwrap().into_inner();
    messages.next().await.unwrap().unwrap();
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let watched = HealthCheckRequest { service: "patchplane.v1.PatchOperationService".to_owned() };
    let mut states = health.watch(watched).await.unwrap().into_inner();
    assert_eq!(states.next().await.unwrap().unwrap().status().as_str_name(), "SERVING");

    stop.send(()).unwrap();
    assert_eq!(states.next().await.unwrap().unwrap().status().as_str_name(), "NOT_SERVING");
    let ended = messages.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    drop((states, health, client));
    serving.await.unwrap().unwrap();
    // Everything was let go of: another server takes over at once.
    assert_eq!(start().await.app().store().commits(), 0);
}

#[tokio::test]
async fn health_is_told_for_each_service() {
    let world = World::start().await;
    let (channel, _connection) = world.channel().await;
    let mut health = HealthClient::new(channel);
    for service in SERVICES.into_iter().chain([""]) {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner();
        assert_eq!(answer.status().as_str_name(), "SERVING", "{service}");
    }
    let unknown = HealthCheckRequest { service: "patchplane.v1.NoSuchService".to_owned() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn reflection_names_every_service_in_both_versions() {
    let world = World::start().await;
    let (channel, _connection) = world.channel().await;
    macro_rules! services {
        ($version:ident) => {{
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };
            let ask = |message| {
                let host = String::new();
                let request = ServerReflectionRequest { host, message_request: Some(message) };
                let mut stub = ServerReflectionClient::new(channel.clone());
                async move {
                    let answers = stub.server_reflection_info(futures::stream::iter([request])).await.unwrap();
                    answers.into_inner().next().await.unwrap().unwrap().message_response.unwrap()
                }
            };
            let answer = ask(MessageRequest::ListServices(String::new())).await;
            let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
            let symbol = MessageRequest::FileContainingSymbol("patchplane.v1.PatchOperation".to_owned());
            let answer = ask(symbol).await;
            let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{answer:?}") };
            assert!(!files.file_descriptor_proto.is_empty());
            let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
            names.sort();
            names
        }};
    }
    for names in [services!(v1), services!(v1alpha)] {
        for service in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
            assert!(names.iter().any(|name| name == service), "{service} is not among {names:?}");
        }
    }
}
