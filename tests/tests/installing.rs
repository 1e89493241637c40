//! The install of the walk: what is missing gets installed, reboots are seen, failures stay within their bounds, and no
//! answer of AWS, lost, late or refused, lets a node be installed twice.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_client::api::{
    CreatePatchOperationRequest, InstanceLimit, ListInstancePatchesRequest, PatchOperation, PatchOperationTarget,
    Percent, Rollout, TagMatch, TargetSelection,
    instance_limit::Amount,
    patch_operation::{Kind, RebootOption, State},
    patch_operation_target::State as TargetState,
};
use patchplane_sim::FaultKind;
use patchplane_tests::{PARENT, World, fault, install, install_by, refusal, request, scan};
use std::{collections::BTreeMap, time::Duration};
use tonic::Code;

/// The request with another part of what is asked for.
fn with(
    mut request: CreatePatchOperationRequest,
    change: impl FnOnce(&mut PatchOperation),
) -> CreatePatchOperationRequest {
    change(request.patch_operation.as_mut().unwrap());
    request
}

fn scan_of(targets: TargetSelection) -> CreatePatchOperationRequest {
    request(PatchOperation { kind: Kind::Scan.into(), targets: Some(targets), ..PatchOperation::default() })
}

fn rollout(concurrency: i32, max_failures: i32) -> Rollout {
    let count = |n| Some(InstanceLimit { amount: Some(Amount::Count(n)) });
    Rollout { concurrency: count(concurrency), max_failures: count(max_failures) }
}

async fn targets(world: &World, operation: &PatchOperation) -> BTreeMap<String, PatchOperationTarget> {
    let targets = world.targets(&operation.name).await;
    targets.into_iter().map(|target| (target.instance_id.clone(), target)).collect()
}

/// How many nodes work on a command at this moment.
fn busy_nodes(world: &World) -> usize {
    let fleet = world.simulation.fingerprint();
    let nodes = fleet.as_array().into_iter().flatten().filter_map(|place| place["nodes"].as_object()).flatten();
    nodes.filter(|(_, node)| !node["agent"]["busy_with"].is_null()).count()
}

// === What an install does ===

#[tokio::test]
async fn an_install_leaves_nothing_missing_and_is_seen_to_reboot() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(2).in_group("web").missing_patches(3).already_scanned().create();
    let name = world.create(install("web")).await.name;
    let mut seen: BTreeMap<String, Vec<TargetState>> = BTreeMap::new();
    while !patchplane_client::has_ended(&world.operation(&name).await) {
        assert!(world.step().await);
        for target in world.targets(&name).await {
            let states = seen.entry(target.instance_id.clone()).or_default();
            if states.last() != Some(&target.state()) {
                states.push(target.state());
            }
        }
    }
    let operation = world.operation(&name).await;
    assert_eq!(operation.state(), State::Succeeded, "{}", operation.explanation);
    for (id, target) in targets(&world, &operation).await {
        let fleet = world.account();
        assert_eq!((fleet.installs(&id), fleet.reboots(&id), fleet.missing(&id)), (1, 1, 0));
        assert!(target.rebooted && target.explanation.contains("rebooted"), "{}", target.explanation);
        let (before, after) = (target.before.unwrap(), target.after.unwrap());
        assert_eq!((before.counts.unwrap().missing, after.counts.unwrap().missing), (3, 0));
        assert_eq!((after.operation.as_str(), &after.snapshot_id), ("Install", &operation.snapshot_id));
        assert!(seen[&id].contains(&TargetState::Rebooting), "{id} was seen {:?}", seen[&id]);
        assert_eq!(seen[&id].last(), Some(&TargetState::Succeeded));
        assert!(nodes.contains(&id));
    }
}

#[tokio::test]
async fn without_a_reboot_the_patches_wait_for_one() {
    // S 7.2.2.
    let world = World::start().await;
    let nodes = world.account().add_nodes(2).in_group("web").missing_patches(2).create();
    let request = with(install("web"), |asked| asked.reboot_option = RebootOption::NoReboot.into());
    let operation = world.run(request).await;
    assert_eq!(operation.state(), State::Succeeded, "{}", operation.explanation);
    let targets = targets(&world, &operation).await;
    for id in &nodes {
        assert_eq!((world.account().installs(id), world.account().reboots(id)), (1, 0));
        let target = &targets[id];
        assert!(!target.rebooted && target.explanation.contains("waiting for a reboot"), "{}", target.explanation);
        let parent = format!("{PARENT}/instances/{id}");
        let request = ListInstancePatchesRequest { parent, page_size: 100, ..ListInstancePatchesRequest::default() };
        let patches = world.client.instances().list_instance_patches(request).await.unwrap().into_inner().patches;
        assert_eq!(patches.iter().filter(|patch| patch.state == "InstalledPendingReboot").count(), 2);
    }
}

#[tokio::test]
async fn a_node_that_lacks_nothing_is_installed_and_not_rebooted() {
    let world = World::start().await;
    let id = world.account().add_nodes(1).in_group("web").create().remove(0);
    let operation = world.run(install("web")).await;
    assert_eq!(operation.state(), State::Succeeded, "{}", operation.explanation);
    assert_eq!((world.account().installs(&id), world.account().reboots(&id)), (1, 0));
    assert!(!targets(&world, &operation).await[&id].rebooted);
}

#[tokio::test]
async fn a_failing_node_ends_failed_with_its_reason_and_the_others_succeed() {
    let world = World::start().await;
    let good = world.account().add_nodes(2).in_group("web").missing_patches(1).create();
    let bad = world.account().add_nodes(1).in_group("web").missing_patches(1).install_fails().create().remove(0);
    let operation = world.run(install("web")).await;
    assert_eq!(operation.state(), State::CompletedWithFailures, "{}", operation.explanation);
    assert_eq!(operation.state_reason, "TARGETS_NOT_DONE");
    let targets = targets(&world, &operation).await;
    // S 7.1.11: what yum says without a source.
    assert_eq!((targets[&bad].state(), targets[&bad].reason.as_str()), (TargetState::Failed, "NO_SOURCE"));
    assert!(targets[&bad].explanation.contains("exit status 1"), "{}", targets[&bad].explanation);
    assert_eq!((world.account().installs(&bad), world.account().missing(&bad)), (1, 1));
    for id in &good {
        assert_eq!((targets[id].state(), world.account().missing(id)), (TargetState::Succeeded, 0));
    }
}

// === Whom it acts on ===

#[tokio::test]
async fn members_that_cannot_be_patched_are_left_out_and_named() {
    let world = World::start().await;
    let nodes = || world.account().add_nodes(1).in_group("web").missing_patches(1);
    let ready = nodes().create().remove(0);
    let others = [
        (nodes().stopped().create().remove(0), "NOT_RUNNING"),
        (nodes().unmanaged().create().remove(0), "NOT_MANAGED"),
        (nodes().offline().create().remove(0), "AGENT_OFFLINE"),
    ];
    let by_group = world.run(install("web")).await;
    assert_eq!(by_group.state(), State::Succeeded, "{}", by_group.explanation);

    // Asked for by name, leaving them out is not what was asked for.
    let instance_ids: Vec<String> = others.iter().map(|(id, _)| id.clone()).chain([ready.clone()]).collect();
    let by_name = world.run(scan_of(TargetSelection { instance_ids, ..TargetSelection::default() })).await;
    assert_eq!(by_name.state(), State::CompletedWithFailures, "{}", by_name.explanation);

    for operation in [&by_group, &by_name] {
        let targets = targets(&world, operation).await;
        assert_eq!(targets[&ready].state(), TargetState::Succeeded);
        for (id, reason) in &others {
            let target = &targets[id];
            assert_eq!((target.state(), target.reason.as_str()), (TargetState::Skipped, *reason));
            assert!(!target.explanation.is_empty() && target.command_id.is_empty());
        }
    }
    assert_eq!((world.account().installs(&ready), world.account().scans(&ready)), (1, 1));
    for (id, _) in &others {
        assert_eq!((world.account().installs(id), world.account().scans(id)), (0, 0));
    }
}

#[tokio::test]
async fn an_excluded_instance_is_left_alone_and_that_is_a_success() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(3).in_group("web").tagged("role", "front").create();
    let selections = [
        TargetSelection { patch_groups: vec!["web".to_owned()], ..TargetSelection::default() },
        TargetSelection { instance_ids: nodes.clone(), ..TargetSelection::default() },
        TargetSelection { all_managed: true, ..TargetSelection::default() },
        TargetSelection {
            tags: vec![TagMatch { key: "role".to_owned(), value: "front".to_owned() }],
            ..TargetSelection::default()
        },
    ];
    for (round, selection) in (1..).zip(selections) {
        let excluded_instance_ids = vec![nodes[1].clone()];
        let operation = world.run(scan_of(TargetSelection { excluded_instance_ids, ..selection })).await;
        assert_eq!(operation.state(), State::Succeeded, "{}", operation.explanation);
        let targets = targets(&world, &operation).await;
        assert_eq!(targets.len(), 3);
        assert_eq!(
            (targets[&nodes[1]].state(), targets[&nodes[1]].reason.as_str()),
            (TargetState::Skipped, "EXCLUDED")
        );
        let scans: Vec<u32> = nodes.iter().map(|id| world.account().scans(id)).collect();
        assert_eq!(scans, [round, 0, round]);
    }
}

#[tokio::test]
async fn a_group_that_nobody_is_in_is_refused_with_the_tags_that_nearly_match() {
    let world = World::start().await;
    world.account().add_nodes(1).tagged("patch group", "web").create();
    world.account().add_nodes(1).in_group("Web").create();
    let stopped = world.account().add_nodes(1).in_group("web").stopped().create().remove(0);
    let before = world.fingerprint();
    let refused = world.client.patch_operations().create_patch_operation(scan("web")).await.unwrap_err();
    let (code, reason, _) = refusal(&refused);
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "NO_TARGETS"));
    for part in ["`patch group` = `web`", "`Patch Group` = `Web`", &stopped, "NOT_RUNNING"] {
        assert!(refused.message().contains(part), "{part} is missing: {}", refused.message());
    }
    assert_eq!(world.fingerprint(), before);
}

#[tokio::test]
async fn more_targets_than_allowed_are_refused_with_their_number() {
    let world = World::start().await;
    world.account().add_nodes(3).in_group("web").create();
    let before = world.fingerprint();
    let request = with(scan("web"), |asked| asked.max_targets = 2);
    let refused = world.client.patch_operations().create_patch_operation(request).await.unwrap_err();
    let (code, reason, _) = refusal(&refused);
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "TOO_MANY_TARGETS"));
    assert!(refused.message().contains('3'), "{}", refused.message());
    assert_eq!(world.fingerprint(), before);
    let operation = world.run(with(scan("web"), |asked| asked.max_targets = 3)).await;
    assert_eq!(operation.state(), State::Succeeded);
}

// === How many at once, and when it stops ===

#[tokio::test]
async fn never_are_more_nodes_at_work_than_allowed() {
    for (amount, allowed) in [(Amount::Count(2), 2), (Amount::Percent(Percent { value: 50 }), 3)] {
        let world = World::start().await;
        let nodes = world.account().add_nodes(5).in_group("web").missing_patches(1).create();
        let name = world.create(install_by("web", amount)).await.name;
        let mut most = 0;
        while !patchplane_client::has_ended(&world.operation(&name).await) {
            most = most.max(busy_nodes(&world));
            assert!(most <= allowed, "{most} nodes at once with {amount:?}");
            assert!(world.step().await);
        }
        assert_eq!(most, allowed, "{amount:?} is also made use of");
        assert_eq!(world.operation(&name).await.state(), State::Succeeded);
        assert!(nodes.iter().all(|id| world.account().installs(id) == 1));
    }
}

#[tokio::test]
async fn too_many_failures_stop_what_has_not_begun() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(5).in_group("web").missing_patches(1).install_fails().create();
    let operation = world.run(with(install("web"), |asked| asked.rollout = Some(rollout(1, 1)))).await;
    assert_eq!((operation.state(), operation.state_reason.as_str()), (State::Failed, "THRESHOLD_EXCEEDED"));
    let counts = operation.counts.unwrap();
    assert_eq!((counts.failed, counts.skipped), (2, 3), "one failure is allowed, the second stops it");
    let begun = nodes.iter().filter(|id| world.account().installs(id) == 1).count();
    assert_eq!((begun, world.account().commands()), (2, 2));
    let skipped = targets(&world, &operation).await.into_values().filter(|t| t.state() == TargetState::Skipped);
    assert!(skipped.into_iter().all(|target| target.reason == "THRESHOLD_EXCEEDED"));
}

#[tokio::test]
async fn by_default_one_node_goes_first_and_two_failures_stop_the_rest() {
    // The safe defaults: 10 percent at once, 5 percent may fail, at least one.
    let world = World::start().await;
    let nodes = world.account().add_nodes(4).in_group("web").missing_patches(1).install_fails().create();
    let operation = world.run(with(install("web"), |asked| asked.rollout = None)).await;
    assert_eq!((operation.state(), operation.state_reason.as_str()), (State::Failed, "THRESHOLD_EXCEEDED"));
    assert_eq!(nodes.iter().filter(|id| world.account().installs(id) == 1).count(), 2);
}

// === What AWS answers to the send ===

/// Installs three nodes while the sends meet this fault; answers the operation and its targets.
async fn install_meeting(kind: FaultKind, times: u32) -> (World, PatchOperation, Vec<PatchOperationTarget>) {
    let world = World::start().await;
    world.account().add_nodes(3).in_group("web").missing_patches(1).create();
    world.inject(fault("SendCommand", kind, times));
    let operation = world.run(install("web")).await;
    let targets = world.targets(&operation.name).await;
    assert_eq!(targets.len(), 3);
    for target in &targets {
        assert!(world.account().installs(&target.instance_id) <= 1, "{} was installed twice", target.instance_id);
    }
    (world, operation, targets)
}

fn all_installed_once(world: &World, operation: &PatchOperation, targets: &[PatchOperationTarget]) {
    assert_eq!(operation.state(), State::Succeeded, "{}", operation.explanation);
    assert_eq!(world.account().commands(), 1);
    for target in targets {
        let id = &target.instance_id;
        assert_eq!((world.account().installs(id), world.account().missing(id)), (1, 0), "{id}");
    }
}

#[tokio::test]
async fn a_command_whose_answer_is_lost_is_found_and_adopted() {
    let (world, operation, targets) = install_meeting(FaultKind::LoseAnswer, 1).await;
    all_installed_once(&world, &operation, &targets);
    assert!(targets.iter().all(|target| operation.command_ids == [target.command_id.as_str()]));
}

#[tokio::test]
async fn a_command_that_arrives_late_is_found_and_adopted() {
    let late = FaultKind::Delay(Duration::from_secs(300));
    let (world, operation, targets) = install_meeting(late, 1).await;
    all_installed_once(&world, &operation, &targets);
}

/// Proven absent means: signature dead, two whole lists without it, no trace on the nodes. That takes 26 minutes.
const PROOF: i64 = 26 * 60;

#[tokio::test]
async fn a_command_that_arrives_after_its_signature_expired_has_no_effect_and_is_replaced_by_another() {
    // S 1.5: signatures are good for 15 minutes.
    let late = FaultKind::Delay(Duration::from_secs(16 * 60));
    let (world, operation, targets) = install_meeting(late, 1).await;
    all_installed_once(&world, &operation, &targets);
    for target in &targets {
        assert!(seconds_after(&operation, target.dispatch_time) >= PROOF, "{target:?}");
    }
}

#[tokio::test]
async fn a_server_error_of_aws_leaves_the_outcome_unknown_until_it_is_proven() {
    let (world, operation, targets) = install_meeting(FaultKind::ServerError, 2).await;
    all_installed_once(&world, &operation, &targets);
    for target in &targets {
        assert!(seconds_after(&operation, target.dispatch_time) >= 2 * PROOF, "{target:?}");
    }
}

fn seconds_after(operation: &PatchOperation, time: Option<prost_types::Timestamp>) -> i64 {
    time.unwrap().seconds - operation.create_time.unwrap().seconds
}

#[tokio::test]
async fn a_send_that_never_arrived_or_was_throttled_is_made_again() {
    for kind in [FaultKind::Unreachable, FaultKind::Throttle] {
        for times in [1, 3] {
            let (world, operation, targets) = install_meeting(kind, times).await;
            all_installed_once(&world, &operation, &targets);
        }
    }
}

#[tokio::test]
async fn aws_that_cannot_be_reached_any_more_ends_the_operation_at_its_deadline() {
    let world = World::start().await;
    world.account().add_nodes(3).in_group("web").create();
    world.inject(fault("SendCommand", FaultKind::Unreachable, u32::MAX));
    let ten_minutes = prost_types::Duration { seconds: 600, nanos: 0 };
    let operation = world.run(with(scan("web"), |asked| asked.max_duration = Some(ten_minutes))).await;
    assert_eq!((operation.state(), operation.state_reason.as_str()), (State::Failed, "DEADLINE"));
    assert_eq!(world.account().commands(), 0);
    let targets = targets(&world, &operation).await;
    assert_eq!(targets.len(), 3);
    assert!(targets.values().all(|target| target.state() == TargetState::Skipped && target.reason == "DEADLINE"));
}

#[tokio::test]
async fn a_denied_send_ends_the_operation_and_names_the_right_that_is_lacking() {
    let (world, operation, targets) = install_meeting(FaultKind::Deny, u32::MAX).await;
    assert_eq!((operation.state(), operation.state_reason.as_str()), (State::Failed, "AWS_ACCESS_DENIED"));
    assert_eq!(world.account().commands(), 0);
    for target in &targets {
        assert_eq!((target.state(), target.reason.as_str()), (TargetState::Skipped, "AWS_ACCESS_DENIED"));
        assert!(target.explanation.contains("ssm:SendCommand"), "{}", target.explanation);
    }
}

#[tokio::test]
async fn an_operation_outlives_faults_of_every_read_on_its_way() {
    let reads =
        ["ListCommandInvocations", "DescribeInstancePatchStates", "DescribeInstanceInformation", "DescribeInstances"];
    for operation in reads {
        for kind in [FaultKind::Throttle, FaultKind::Unreachable, FaultKind::ServerError, FaultKind::LoseAnswer] {
            let world = World::start().await;
            let nodes = world.account().add_nodes(2).in_group("web").missing_patches(1).create();
            let name = world.create(install("web")).await.name;
            // More often than the SDK tries again.
            world.inject(fault(operation, kind, 7));
            let ended = world.finish(&name).await;
            assert_eq!(ended.state(), State::Succeeded, "{operation} {kind:?}: {}", ended.explanation);
            assert!(nodes.iter().all(|id| world.account().installs(id) == 1), "{operation} {kind:?}");
        }
    }
}
