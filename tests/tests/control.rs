//! What can be asked of operations that are under way: cancelling, pausing, freezing, waiting for others, trying again;
//! and how all of it is told.

use futures::{StreamExt as _, TryStreamExt as _};
use patchplane_client::api::{
    CancelPatchOperationRequest, CreateFreezeRequest, DeleteFreezeRequest, Freeze, ListFreezesRequest,
    ListPatchOperationEventsRequest, PatchOperation, PausePatchOperationRequest, ResumePatchOperationRequest,
    RetryPatchOperationRequest, WatchPatchOperationsRequest,
    cancel_patch_operation_request::Mode,
    freeze::{Scope, scope::Selector},
    instance_limit::Amount,
    patch_operation::{OnBusy, State},
    patch_operation_target::State as TargetState,
    watch_patch_operations_response::Event,
};
use patchplane_sim::FaultKind;
use patchplane_tests::{PARENT, World, fault, freeze, install, install_by, refusal};
use std::time::Duration;
use tonic::Code;

fn cancel(name: &str, mode: Mode) -> CancelPatchOperationRequest {
    let note = "the release is called off".to_owned();
    CancelPatchOperationRequest { name: name.to_owned(), mode: mode.into(), note, ..Default::default() }
}

async fn states(world: &World, name: &str) -> Vec<TargetState> {
    world.targets(name).await.iter().map(|target| target.state()).collect()
}

/// Moves the clock until the agents work on the operation.
async fn until_running(world: &World, name: &str) {
    while !states(world, name).await.contains(&TargetState::Running) {
        assert!(world.step().await, "{name} never runs");
    }
}

// === Cancelling ===

#[tokio::test]
async fn cancelling_starts_nothing_more_and_lets_what_runs_finish() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(4).in_group("web").missing_patches(1).create();
    let name = world.create(install_by("web", Amount::Count(1))).await.name;
    until_running(&world, &name).await;

    let answer = world.client.cancel_patch_operation(cancel(&name, Mode::StopNew)).await.unwrap();
    assert_eq!(answer.patch_operation.unwrap().state(), State::Cancelling);
    assert_eq!((answer.plan.unwrap().changes[0].field.as_str(), answer.replayed), ("cancel", false));
    let ended = world.finish(&name).await;
    assert_eq!((ended.state(), ended.state_reason.as_str()), (State::Cancelled, "CANCELLED"), "{}", ended.explanation);
    let installs: u32 = nodes.iter().map(|id| world.account().installs(id)).sum();
    assert_eq!(installs, 1, "only the one that had begun");
    let mut ends = states(&world, &name).await;
    ends.sort();
    use TargetState::{Cancelled, Succeeded};
    assert_eq!(ends, [Succeeded, Cancelled, Cancelled, Cancelled]);

    let error = world.client.patch_operations().cancel_patch_operation(cancel(&name, Mode::StopNew)).await.unwrap_err();
    let (code, reason, _) = refusal(&error);
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "OPERATION_ENDED"));
}

#[tokio::test]
async fn interrupting_cancels_what_runs_in_aws_too() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(2).in_group("web").missing_patches(1).create();
    let name = world.create(install("web")).await.name;
    until_running(&world, &name).await;
    world.client.cancel_patch_operation(cancel(&name, Mode::StopNew)).await.unwrap();
    // The stronger mode may follow the weaker one.
    let stronger = world.client.cancel_patch_operation(cancel(&name, Mode::InterruptRunning)).await.unwrap();
    assert_eq!(stronger.plan.unwrap().changes.len(), 1);
    let weaker = world.client.cancel_patch_operation(cancel(&name, Mode::StopNew)).await.unwrap();
    assert!(weaker.plan.unwrap().changes.is_empty(), "there is no way back");
    let ended = world.finish(&name).await;
    assert_eq!(ended.state(), State::Cancelled, "{}", ended.explanation);
    for target in world.targets(&name).await {
        assert_eq!((target.state(), target.reason.as_str()), (TargetState::Cancelled, "COMMAND_CANCELLED"));
    }
    assert!(nodes.iter().all(|id| world.account().missing(id) == 1), "nothing was installed");
}

#[tokio::test]
async fn a_cancelled_operation_with_a_send_of_unknown_fate_ends_when_that_is_settled_and_sends_nothing_again() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(2).in_group("web").missing_patches(1).create();
    world.inject(fault("SendCommand", FaultKind::ServerError, 1));
    let name = world.create(install("web")).await.name;
    world.settle().await;
    world.client.cancel_patch_operation(cancel(&name, Mode::StopNew)).await.unwrap();
    let ended = world.finish(&name).await;
    assert_eq!(ended.state(), State::Cancelled, "{}", ended.explanation);
    assert_eq!(states(&world, &name).await, [TargetState::Cancelled; 2]);
    assert_eq!(world.account().commands(), 0);
    assert!(nodes.iter().all(|id| world.account().installs(id) == 0));
    let waited = ended.end_time.unwrap().seconds - ended.create_time.unwrap().seconds;
    assert!(waited >= 26 * 60, "only a proof lets it end: {waited} s");
}

// === Pausing ===

#[tokio::test]
async fn a_paused_operation_starts_nothing_until_it_is_resumed() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(3).in_group("web").missing_patches(1).create();
    let name = world.create(install_by("web", Amount::Count(1))).await.name;
    until_running(&world, &name).await;
    let pause = || PausePatchOperationRequest { name: name.clone(), note: "lunch".into(), ..Default::default() };
    let paused = world.client.pause_patch_operation(pause()).await.unwrap();
    assert_eq!(paused.patch_operation.unwrap().state_reason, "PAUSED");
    let again = world.client.pause_patch_operation(pause()).await.unwrap();
    assert!(again.plan.unwrap().changes.is_empty());
    for _ in 0..60 {
        world.simulation.clock().advance(Duration::from_secs(60));
        world.settle().await;
    }
    let installs = || nodes.iter().map(|id| world.account().installs(id)).sum::<u32>();
    assert_eq!(installs(), 1, "what ran has finished, nothing else has begun");
    let operation = world.operation(&name).await;
    assert_eq!((operation.state(), operation.state_reason.as_str()), (State::Running, "PAUSED"));
    assert!(operation.explanation.contains("lunch"), "{}", operation.explanation);

    let resume = ResumePatchOperationRequest { name: name.clone(), ..Default::default() };
    world.client.resume_patch_operation(resume).await.unwrap();
    let ended = world.finish(&name).await;
    assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
    assert_eq!(installs(), 3);
}

#[tokio::test]
async fn after_three_days_an_operation_asks_before_it_patches_by_newer_baselines() {
    let world = World::start().await;
    world.account().add_nodes(1).in_group("web").missing_patches(1).create();
    let mut request = install("web");
    let asked = request.patch_operation.as_mut().unwrap();
    asked.max_duration = Some(prost_types::Duration { seconds: 7 * 24 * 3600, nanos: 0 });
    let everything = freeze("web");
    let frozen = world.client.create_freeze(everything).await.unwrap().freeze.unwrap().name;
    let name = world.create(request).await.name;
    let first = world.operation(&name).await.snapshot_id;
    for _ in 0..73 {
        world.simulation.clock().advance(Duration::from_secs(3600));
        world.settle().await;
    }
    world.client.delete_freeze(DeleteFreezeRequest { name: frozen, ..Default::default() }).await.unwrap();
    assert_eq!(world.operation(&name).await.state_reason, "SNAPSHOT_EXPIRED");
    assert_eq!(world.account().commands(), 0);
    let resume = ResumePatchOperationRequest { name: name.clone(), renew_snapshot: true, ..Default::default() };
    world.client.resume_patch_operation(resume).await.unwrap();
    let ended = world.finish(&name).await;
    assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
    assert_ne!(ended.snapshot_id, first);
}

// === Freezes ===

#[tokio::test]
async fn nothing_is_sent_to_what_is_frozen_until_the_freeze_is_deleted() {
    let world = World::start().await;
    let web = world.account().add_nodes(2).in_group("web").missing_patches(1).create();
    let db = world.account().add_nodes(1).in_group("db").missing_patches(1).create();
    let created = world.client.create_freeze(freeze("web")).await.unwrap().freeze.unwrap();
    assert!(created.active && created.name.starts_with("freezes/"), "{created:?}");

    let frozen = world.create(install("web")).await.name;
    let other = world.run(install("db")).await;
    assert_eq!(other.state(), State::Succeeded, "{}", other.explanation);
    assert_eq!(world.account().installs(&db[0]), 1);
    let waiting = world.operation(&frozen).await;
    assert_eq!((waiting.state(), waiting.state_reason.as_str()), (State::Running, "FROZEN"));
    assert!(waiting.explanation.contains("stock-taking"), "{}", waiting.explanation);
    assert!(web.iter().all(|id| world.account().installs(id) == 0));

    let listed: Vec<_> = world.client.list_freezes(ListFreezesRequest::default()).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    let delete = DeleteFreezeRequest { name: created.name.clone(), ..Default::default() };
    world.client.delete_freeze(delete.clone()).await.unwrap();
    let ended = world.finish(&frozen).await;
    assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
    let error = world.client.freezes().delete_freeze(delete).await.unwrap_err();
    assert_eq!(refusal(&error).1, "FREEZE_NOT_FOUND");
}

#[tokio::test]
async fn a_freeze_ends_by_itself_and_who_may_override_it_does_not_wait() {
    let world = World::start().await;
    world.account().add_nodes(1).in_group("web").missing_patches(1).create();
    world.account().add_nodes(1).in_group("urgent").missing_patches(1).create();
    let now = world.simulation.clock().now().as_second();
    let request = CreateFreezeRequest {
        freeze: Some(Freeze {
            scope: Some(Scope::default()),
            end_time: Some(prost_types::Timestamp { seconds: now + 3600, nanos: 0 }),
            reason: "stock-taking".into(),
            ..Freeze::default()
        }),
        ..CreateFreezeRequest::default()
    };
    world.client.create_freeze(request).await.unwrap();
    let mut urgent = install("urgent");
    urgent.patch_operation.as_mut().unwrap().override_freeze = true;
    let urgent = world.run(urgent).await;
    assert_eq!(urgent.state(), State::Succeeded, "{}", urgent.explanation);
    assert!(urgent.end_time.unwrap().seconds < now + 3600);

    let waited = world.run(install("web")).await;
    assert_eq!(waited.state(), State::Succeeded, "{}", waited.explanation);
    let sent = world.targets(&waited.name).await[0].dispatch_time.unwrap().seconds;
    assert!(sent >= now + 3600, "sent {} s too early", now + 3600 - sent);
}

// === Busy ===

#[tokio::test]
async fn one_operation_waits_for_another_that_works_on_the_same_instance() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(2).in_group("web").missing_patches(1).create();
    let first = world.create(install_by("web", Amount::Count(1))).await.name;
    world.settle().await;
    let second = world.create(install("web")).await.name;
    let with = |on_busy: OnBusy| {
        let mut request = install("web");
        request.patch_operation.as_mut().unwrap().on_busy = on_busy.into();
        request
    };
    let skips = world.create(with(OnBusy::Skip)).await.name;
    let fails = world.create(with(OnBusy::Fail)).await.name;
    world.settle().await;
    let held = world.targets(&skips).await;
    let skipped: Vec<_> = held.iter().filter(|target| target.state() == TargetState::Skipped).collect();
    assert!(!skipped.is_empty() && skipped.iter().all(|target| target.reason == "BUSY"), "{held:?}");
    let id = first.rsplit('/').next().unwrap();
    assert!(skipped.iter().any(|target| target.explanation.contains(id)), "{skipped:?}");
    let failed = world.targets(&fails).await;
    assert!(failed.iter().any(|target| target.state() == TargetState::Failed && target.reason == "BUSY"));

    for name in [&first, &second, &skips, &fails] {
        world.finish(name).await;
    }
    assert_eq!(world.operation(&first).await.state(), State::Succeeded);
    assert_eq!(world.operation(&second).await.state(), State::Succeeded);
    // No two of them met on an instance.
    let mut on: Vec<(String, i64, i64)> = Vec::new();
    for name in [&first, &second, &skips, &fails] {
        let sent =
            world.targets(name).await.into_iter().filter_map(|target| {
                Some((target.instance_id, target.dispatch_time?.seconds, target.end_time?.seconds))
            });
        on.extend(sent);
    }
    on.sort();
    assert!(on.len() >= 2 * nodes.len(), "{on:?}");
    assert!(on.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].2 <= pair[1].1), "{on:?}");
}

#[tokio::test]
async fn an_operation_waits_for_a_command_that_others_have_sent() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(1).in_group("web").missing_patches(1).create();
    let theirs = world.account().runs_elsewhere("Install", &nodes).unwrap();
    // AWS lists a command a moment after it was sent; before, nobody can know of it.
    world.simulation.clock().advance(Duration::from_secs(10));
    let name = world.create(install("web")).await.name;
    world.settle().await;
    let waiting = world.operation(&name).await;
    assert_eq!((waiting.state(), waiting.state_reason.as_str()), (State::Running, "QUEUED"), "{}", waiting.explanation);
    assert!(waiting.explanation.contains(&theirs), "{}", waiting.explanation);
    let ended = world.finish(&name).await;
    assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
    // Asking for it has it looked for.
    let other = world.operation(&format!("{PARENT}/patchOperations/cmd-{theirs}")).await.name;
    let other = world.targets(&other).await;
    let ours = world.targets(&name).await;
    assert!(ours[0].dispatch_time.unwrap().seconds >= other[0].end_time.unwrap().seconds, "{ours:?} {other:?}");
}

// === Trying again ===

#[tokio::test]
async fn a_retry_takes_up_what_did_not_succeed_and_nothing_else() {
    let world = World::start().await;
    let good = world.account().add_nodes(2).in_group("web").missing_patches(1).create();
    let bad = world.account().add_nodes(1).in_group("web").missing_patches(1).install_fails().create();
    let first = world.run(install("web")).await;
    assert_eq!(first.state(), State::CompletedWithFailures, "{}", first.explanation);
    let request_id = uuid::Uuid::new_v4().to_string();
    let request = RetryPatchOperationRequest { name: first.name.clone(), request_id, ..Default::default() };
    let created = world.client.retry_patch_operation(request.clone()).await.unwrap();
    let again = created.patch_operation.unwrap();
    assert_eq!((again.retry_of.as_str(), &again.targets.as_ref().unwrap().instance_ids), (first.name.as_str(), &bad));
    let replayed = world.client.retry_patch_operation(request).await.unwrap();
    assert!(replayed.replayed && replayed.patch_operation.unwrap().name == again.name);
    world.finish(&again.name).await;
    assert!(good.iter().all(|id| world.account().installs(id) == 1));
    assert_eq!(world.account().installs(&bad[0]), 2);

    let done = world.run(install("web")).await;
    let running = world.create(install("web")).await.name;
    let retry = |name: &str| RetryPatchOperationRequest {
        name: name.to_owned(),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let refused = async |name: &str| {
        refusal(&world.client.patch_operations().retry_patch_operation(retry(name)).await.unwrap_err()).1
    };
    assert_eq!(refused(&running).await, "OPERATION_NOT_ENDED");
    assert_eq!(done.state(), State::CompletedWithFailures);
    world.finish(&running).await;
    let fine = world.account().add_nodes(1).in_group("fine").create();
    assert_eq!(fine.len(), 1);
    assert_eq!(refused(&world.run(install("fine")).await.name).await, "NOTHING_TO_RETRY");
}

// === Telling ===

#[tokio::test]
async fn the_log_of_events_tells_every_step_in_order() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(1).in_group("web").missing_patches(1).create();
    let ended = world.run(install("web")).await;
    let request = ListPatchOperationEventsRequest { parent: ended.name.clone(), page_size: 2, ..Default::default() };
    let events: Vec<_> = world.client.list_patch_operation_events(request).try_collect().await.unwrap();
    assert!(events.is_sorted_by_key(|event| event.revision));
    let of = |id: &str| -> Vec<&str> {
        let mut states: Vec<&str> =
            events.iter().filter(|event| event.instance_id == id).map(|event| event.state.as_str()).collect();
        states.dedup();
        states
    };
    assert_eq!(of(""), ["RUNNING", "VERIFYING", "SUCCEEDED"]);
    let steps = of(&nodes[0]);
    assert_eq!((steps[0], steps[1], *steps.last().unwrap()), ("PENDING", "DISPATCHED", "SUCCEEDED"), "{steps:?}");
    assert!(steps.contains(&"REBOOTING"), "{steps:?}");
    assert_eq!(events.last().unwrap().explanation, ended.explanation);
}

#[tokio::test]
async fn a_watch_over_all_operations_goes_on_where_it_broke_off_also_after_a_restart() {
    let world = World::start().await;
    world.account().add_nodes(1).in_group("web").missing_patches(1).create();
    let done = world.run(install("web")).await.name;
    let going_on = world.create(install("web")).await.name;
    let watch = |token: &str| WatchPatchOperationsRequest {
        parent: "accounts/-/regions/-".into(),
        resume_token: token.to_owned(),
    };
    let mut stream = world.client.patch_operations().watch_patch_operations(watch("")).await.unwrap().into_inner();
    let first = stream.next().await.unwrap().unwrap();
    let Some(Event::Snapshot(snapshot)) = first.event else { panic!("a snapshot comes first") };
    let names: Vec<&String> = snapshot.patch_operations.iter().map(|operation| &operation.name).collect();
    assert!(snapshot.complete && names.contains(&&going_on) && !names.contains(&&done), "{names:?}");
    let token = first.resume_token;
    drop(stream);

    let world = world.restart().await;
    world.finish(&going_on).await;
    let stream = world.client.patch_operations().watch_patch_operations(watch(&token)).await.unwrap().into_inner();
    let updates = stream.map_ok(|message| match message.event {
        Some(Event::Update(update)) => update.patch_operations,
        other => panic!("only changes were to come: {other:?}"),
    });
    let newest: Vec<PatchOperation> = updates.take(1).try_concat().await.unwrap();
    let told = newest.iter().find(|operation| operation.name == going_on).unwrap();
    assert_eq!(told.state(), State::Succeeded, "{}", told.explanation);

    let other = WatchPatchOperationsRequest { parent: PARENT.into(), resume_token: token };
    let error = world.client.patch_operations().watch_patch_operations(other).await.unwrap_err();
    assert_eq!(refusal(&error).1, "RESUME_TOKEN_EXPIRED", "a token is for its own watch");
}

/// A scope that is told apart in answers.
#[tokio::test]
async fn a_freeze_says_what_it_covers_and_a_wrong_one_changes_nothing() {
    let world = World::start().await;
    let created = world.client.create_freeze(freeze("web")).await.unwrap().freeze.unwrap();
    let scope = created.scope.unwrap();
    assert_eq!((scope.location.as_str(), scope.selector), ("", Some(Selector::PatchGroup("web".into()))));
    let wrong = |change: fn(&mut Freeze)| {
        let mut request = freeze("web");
        change(request.freeze.as_mut().unwrap());
        request
    };
    for (request, field) in [
        (CreateFreezeRequest::default(), "freeze"),
        (wrong(|freeze| freeze.scope = None), "freeze.scope"),
        (wrong(|freeze| freeze.reason.clear()), "freeze.reason"),
        (wrong(|freeze| freeze.scope.as_mut().unwrap().location = "accounts/1".into()), "freeze.scope.location"),
        (wrong(|freeze| freeze.end_time = freeze.start_time), "freeze.end_time"),
    ] {
        let before = world.fingerprint();
        let mut request = request;
        if field == "freeze.end_time" {
            request.freeze.as_mut().unwrap().end_time = Some(prost_types::Timestamp { seconds: 5, nanos: 0 });
        }
        let error = world.client.freezes().create_freeze(request).await.unwrap_err();
        let (code, _, fields) = refusal(&error);
        assert_eq!((code, fields), (Code::InvalidArgument, vec![field.to_owned()]));
        assert_eq!(world.fingerprint(), before, "{field}");
    }
}
