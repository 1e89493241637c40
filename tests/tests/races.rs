//! What is asked of an operation in the very moment in which it sends, what comes later than it should, and a store that was
//! brought back from an earlier time: nothing is started that nobody wants any more, and nothing twice.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

use patchplane_client::{
    Listing,
    api::{
        CancelPatchOperationRequest, DeleteFreezeRequest, ListPatchOperationsRequest, PatchOperation,
        PausePatchOperationRequest, ResumePatchOperationRequest, cancel_patch_operation_request::Mode,
        instance_limit::Amount, patch_operation::State, patch_operation_target::State as TargetState,
    },
};
use patchplane_server::store::{Place, Store};
use patchplane_sim::FaultKind;
use patchplane_tests::{PARENT, World, fault, freeze, install, install_by};
use std::{fs, path::PathBuf, time::Duration};

/// What is asked of AWS last before an intent is recorded.
const LAST_QUESTION: &str = "DescribeMaintenanceWindows";

/// An installation on two nodes that has looked about and not yet recorded that it sends: its last question before travels.
async fn about_to_send() -> (World, Vec<String>, String) {
    let world = World::start().await;
    let nodes = world.account().add_nodes(2).in_group("web").missing_patches(1).create();
    world.inject(fault(LAST_QUESTION, FaultKind::DelayAnswer(Duration::from_secs(10)), 1));
    let name = world.create(install("web")).await.name;
    assert!(world.play_until(|simulation| simulation.faults_met() == 1).await, "it asks what others do");
    assert_eq!(world.account().commands(), 0);
    (world, nodes, name)
}

fn installs(world: &World, nodes: &[String]) -> Vec<u32> {
    nodes.iter().map(|id| world.account().installs(id)).collect()
}

async fn hours_pass(world: &World, hours: u64) {
    for _ in 0..hours * 6 {
        world.settle().await;
        world.simulation.clock().advance(Duration::from_secs(600));
    }
    world.settle().await;
}

fn succeeded(operation: &PatchOperation) {
    assert_eq!(operation.state(), State::Succeeded, "{}", operation.explanation);
}

// === In the moment of sending ===

#[tokio::test]
async fn what_is_cancelled_before_its_intent_is_recorded_is_never_sent() {
    let (world, nodes, name) = about_to_send().await;
    let cancel = CancelPatchOperationRequest { name: name.clone(), mode: Mode::StopNew.into(), ..Default::default() };
    world.client.cancel_patch_operation(cancel).await.unwrap();
    let ended = world.finish(&name).await;
    assert_eq!(ended.state(), State::Cancelled, "{}", ended.explanation);
    assert_eq!((world.account().commands(), installs(&world, &nodes)), (0, vec![0, 0]));
    assert!(world.targets(&name).await.iter().all(|target| target.state() == TargetState::Cancelled));
}

#[tokio::test]
async fn what_is_paused_before_its_intent_is_recorded_is_sent_after_it_is_resumed() {
    let (world, nodes, name) = about_to_send().await;
    let pause = PausePatchOperationRequest { name: name.clone(), ..Default::default() };
    world.client.pause_patch_operation(pause).await.unwrap();
    hours_pass(&world, 1).await;
    assert_eq!((world.account().commands(), installs(&world, &nodes)), (0, vec![0, 0]));
    assert_eq!(world.operation(&name).await.state_reason, "PAUSED");
    let resume = ResumePatchOperationRequest { name: name.clone(), ..Default::default() };
    world.client.resume_patch_operation(resume).await.unwrap();
    succeeded(&world.finish(&name).await);
    assert_eq!(installs(&world, &nodes), [1, 1]);
}

#[tokio::test]
async fn what_is_frozen_before_its_intent_is_recorded_is_sent_after_the_freeze() {
    let (world, nodes, name) = about_to_send().await;
    let created = world.client.create_freeze(freeze("web")).await.unwrap().freeze.unwrap();
    hours_pass(&world, 1).await;
    assert_eq!((world.account().commands(), installs(&world, &nodes)), (0, vec![0, 0]));
    assert_eq!(world.operation(&name).await.state_reason, "FROZEN");
    let delete = DeleteFreezeRequest { name: created.name, ..Default::default() };
    world.client.delete_freeze(delete).await.unwrap();
    succeeded(&world.finish(&name).await);
    assert_eq!(installs(&world, &nodes), [1, 1]);
}

#[tokio::test]
async fn of_two_operations_that_find_an_instance_free_at_once_one_waits() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(1).in_group("web").missing_patches(1).create();
    world.inject(fault(LAST_QUESTION, FaultKind::DelayAnswer(Duration::from_secs(10)), 2));
    let both = [world.create(install("web")).await.name, world.create(install("web")).await.name];
    assert!(world.play_until(|simulation| simulation.faults_met() == 2).await, "both ask what others do");
    world.settle().await;
    assert_eq!(world.account().commands(), 1, "only one has sent");
    let mut runs = Vec::new();
    for name in &both {
        succeeded(&world.finish(name).await);
        let target = world.targets(name).await.remove(0);
        runs.push((target.dispatch_time.unwrap().seconds, target.end_time.unwrap().seconds));
    }
    runs.sort_unstable();
    assert!(runs[0].1 <= runs[1].0, "they did not meet on {}: {runs:?}", nodes[0]);
}

// === Too late ===

#[tokio::test]
async fn a_node_that_comes_back_after_the_deadline_installs_nothing() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(2).in_group("web").missing_patches(1).create();
    let name = world.create(install("web")).await.name;
    let sent = |simulation: &patchplane_sim::Simulation| {
        simulation.at(patchplane_tests::ACCOUNT, patchplane_tests::REGION).commands() == 1
    };
    assert!(world.play_until(sent).await);
    world.account().falls_silent(&nodes[1]);
    let ended = world.finish(&name).await;
    assert_eq!(ended.state(), State::CompletedWithFailures, "{}", ended.explanation);
    let left = ended.create_time.unwrap().seconds + ended.max_duration.unwrap().seconds;
    let now = world.simulation.clock().now().as_second();
    world.simulation.clock().advance(Duration::from_secs(u64::try_from((left - now).max(0)).unwrap() + 60));
    world.account().comes_back(&nodes[1]);
    hours_pass(&world, 3).await;
    let mut of: Vec<_> =
        world.targets(&name).await.into_iter().map(|target| (target.instance_id.clone(), target)).collect();
    of.retain(|(id, _)| *id == nodes[1]);
    assert_eq!((of[0].1.state(), of[0].1.reason.as_str()), (TargetState::TimedOut, "DELIVERY_TIMED_OUT"));
    assert_eq!(installs(&world, &nodes), [1, 0], "the command had died before");
}

// === A store from an earlier time ===

fn files(place: &Place) -> (PathBuf, PathBuf) {
    let Place::File(file) = place else { panic!("{place:?} is a file") };
    (file.clone(), file.with_extension("copy"))
}

async fn copy(place: &Place) {
    let (file, copy) = files(place);
    fs::copy(file, copy).unwrap();
}

/// Puts the copy in the store's place, and says so as an operator does.
async fn bring_back(place: &Place) {
    let (file, copy) = files(place);
    for left in ["db-wal", "db-shm"] {
        fs::remove_file(file.with_extension(left)).ok();
    }
    fs::copy(copy, file).unwrap();
    let store = Store::open(place, None).await.unwrap();
    assert_eq!(store.restored().await.unwrap(), 2);
    store.close().await;
}

async fn until_installed(world: &World, nodes: &[String], count: u32) {
    while installs(world, nodes).iter().sum::<u32>() < count {
        assert!(world.step().await, "it goes on");
    }
}

#[tokio::test]
async fn a_store_that_lost_its_last_sends_finds_them_in_aws_before_it_sends_anything() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(4).in_group("web").missing_patches(1).create();
    let name = world.create(install_by("web", Amount::Count(1))).await.name;
    until_installed(&world, &nodes, 1).await;
    let world = world.restart_after(None, copy).await;
    let known = world.account().commands();
    until_installed(&world, &nodes, 3).await;
    assert!(world.account().commands() > known, "it has sent more since the copy was made");
    let world = world.restart_after(None, bring_back).await;
    world.settle().await;
    let waiting = world.operation(&name).await;
    assert_eq!((waiting.state(), waiting.state_reason.as_str()), (State::Running, "RECONCILING"));
    let ended = world.finish(&name).await;
    succeeded(&ended);
    assert_eq!(installs(&world, &nodes), [1, 1, 1, 1]);
    assert_eq!(world.account().commands(), 4, "one for each node");

    // It is known now, and the next start does not wait again.
    let world = world.restart().await;
    let again = world.create(install("web")).await.name;
    world.settle().await;
    assert_ne!(world.operation(&again).await.state_reason, "RECONCILING");
    world.finish(&again).await;
}

#[tokio::test]
async fn an_operation_that_the_store_forgot_is_told_from_none_and_another_one_waits_for_its_command() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(1).in_group("web").missing_patches(1).create();
    let world = world.restart_after(None, copy).await;
    let lost = world.create(install("web")).await.name;
    while world.account().commands() == 0 {
        assert!(world.step().await);
    }
    let command = world.account().command_ids().remove(0);
    let world = world.restart_after(None, bring_back).await;
    // AWS lists a command a moment after it was sent.
    world.simulation.clock().advance(Duration::from_secs(10));
    let next = world.create(install("web")).await.name;
    assert_ne!(next, lost);
    world.settle().await;
    let waiting = world.operation(&next).await;
    assert_eq!(waiting.state_reason, "QUEUED", "{}", waiting.explanation);
    assert!(waiting.explanation.contains(&command), "{}", waiting.explanation);
    assert_eq!(world.account().commands(), 1);
    succeeded(&world.finish(&next).await);
    let first = world.operation(&format!("{PARENT}/patchOperations/cmd-{command}")).await;
    succeeded(&first);
    assert_eq!(world.targets(&first.name).await[0].instance_id, nodes[0]);
    let request = ListPatchOperationsRequest { parent: PARENT.to_owned(), ..Default::default() };
    let listed = Listing::collect(world.client.list_patch_operations(request)).await.unwrap().items;
    assert!(listed.iter().any(|operation| operation.name == first.name), "the history has it");
}
