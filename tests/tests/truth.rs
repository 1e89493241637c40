//! What is said of an installation is what became of it: why it failed and what to do, what others overwrote, and what later
//! batches got that earlier ones could not have had.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_client::api::{
    CreateBaselineRequest, CreatePatchOperationRequest, InstanceLimit, PatchFilter, PatchOperation,
    PatchOperationTarget, Rollout,
    approval_rule::Approval,
    instance_limit::Amount,
    patch_operation::State,
    patch_operation_target::{Retry, State as TargetState},
};
use patchplane_sim::{Fault, FaultKind, Trouble};
use patchplane_tests::{PARENT, World, baseline, fault, install, install_by, scan};
use std::{collections::BTreeMap, time::Duration};

async fn targets(world: &World, operation: &PatchOperation) -> BTreeMap<String, PatchOperationTarget> {
    let targets = world.targets(&operation.name).await;
    targets.into_iter().map(|target| (target.instance_id.clone(), target)).collect()
}

fn with(
    mut request: CreatePatchOperationRequest,
    change: impl FnOnce(&mut PatchOperation),
) -> CreatePatchOperationRequest {
    change(request.patch_operation.as_mut().unwrap());
    request
}

/// How often AWS was asked for this.
fn asked(world: &World, operation: &str) -> usize {
    world.simulation.requests().iter().filter(|request| request.operation == operation).count()
}

// === Why it failed ===

#[tokio::test]
async fn a_failure_says_its_kind_its_evidence_and_what_to_do() {
    use Retry::{AfterFix, AfterPause};
    let world = World::start().await;
    let account = world.account();
    let linux = |trouble| account.add_nodes(1).in_group("web").missing_patches(1).troubled(trouble);
    let ubuntu = |trouble| linux(trouble).ubuntu();
    let al2023 = |trouble| linux(trouble).amazon_linux_2023();
    let windows = |trouble| linux(trouble).windows_2019();
    // Exit codes: S 7.1.9; words: S 7.1.10–11 and the sources of the simulation's troubles.
    let expected = [
        (linux(Trouble::UnsupportedOs), "UNSUPPORTED_OS", AfterFix, "('Unsupported Operating System', 146)"),
        (linux(Trouble::DiskFull), "DISK_FULL", AfterFix, "[Errno 28] No space left on device"),
        (linux(Trouble::PayloadBroken), "PAYLOAD_NOT_EXTRACTED", AfterPause, "exit status 152"),
        (linux(Trouble::PayloadUnreachable), "PAYLOAD_DOWNLOAD_FAILED", AfterFix, "Unable to download payload"),
        (linux(Trouble::SourceUnreachable), "NO_SOURCE", AfterFix, "[Errno 256] No more mirrors to try."),
        (linux(Trouble::Locked), "LOCK_HELD", AfterPause, "another copy is running as pid 2990"),
        (linux(Trouble::InstallsFail), "NO_SOURCE", AfterFix, "1 patch could not be installed"),
        (ubuntu(Trouble::SourceUnreachable), "NO_SOURCE", AfterFix, "Some index files failed to download"),
        (ubuntu(Trouble::Locked), "LOCK_HELD", AfterPause, "dpkg frontend is locked by another process"),
        (al2023(Trouble::SourceUnreachable), "NO_SOURCE", AfterFix, "Failed to download metadata for repo"),
        (al2023(Trouble::Locked), "LOCK_HELD", AfterPause, "can't create transaction lock"),
        (windows(Trouble::DiskFull), "DISK_FULL", AfterFix, "0x80070070"),
        (windows(Trouble::Locked), "LOCK_HELD", AfterPause, "0x80240016"),
        (windows(Trouble::SourceUnreachable), "NO_SOURCE", AfterFix, "0x80072EE2"),
        (windows(Trouble::PayloadUnreachable), "PAYLOAD_DOWNLOAD_FAILED", AfterFix, "Unable to connect"),
        (windows(Trouble::InstallsFail), "WINDOWS_UPDATE_FAILED", AfterFix, "0x80240437"),
    ];
    let expected = expected.map(|(node, reason, retry, evidence)| (node.create().remove(0), reason, retry, evidence));
    let request = with(install("web"), |asked| {
        let all = Some(InstanceLimit { amount: Some(Amount::Count(50)) });
        asked.rollout = Some(Rollout { concurrency: all, max_failures: all });
    });
    let operation = world.run(request).await;
    assert_eq!(operation.state(), State::CompletedWithFailures, "{}", operation.explanation);
    let targets = targets(&world, &operation).await;
    for (id, reason, retry, evidence) in expected {
        let target = &targets[&id];
        assert_eq!((target.state(), target.reason.as_str()), (TargetState::Failed, reason), "{}", target.explanation);
        assert_eq!(target.retry(), retry, "{reason}");
        assert!(target.explanation.contains(evidence), "{reason}: {}", target.explanation);
        assert!(target.hint.ends_with('.'), "{reason}: {}", target.hint);
        assert_eq!(target.command_status, "Failed");
    }
}

#[tokio::test]
async fn output_that_the_list_cuts_is_read_once_and_not_again_after_a_restart() {
    // S 6.3.7: the list shows 2,500 characters. Yum waits for its lock in a hundred lines, and nothing is reported then.
    let world = World::start().await;
    world.account().add_nodes(1).in_group("web").troubled(Trouble::Locked).create();
    let name = world.create(install("web")).await.name;
    while asked(&world, "GetCommandInvocation") == 0 {
        assert!(world.step().await);
    }
    assert_eq!(world.operation(&name).await.counts.unwrap().verifying, 1, "it may still report");
    let world = world.restart().await;
    let operation = world.finish(&name).await;
    let target = targets(&world, &operation).await.into_values().next().unwrap();
    assert_eq!((target.state(), target.reason.as_str()), (TargetState::Failed, "LOCK_HELD"), "{}", target.explanation);
    assert_eq!(asked(&world, "GetCommandInvocation"), 1);

    // What prints less is not asked for at all.
    let world = World::start().await;
    world.account().add_nodes(1).in_group("web").troubled(Trouble::DiskFull).create();
    world.run(install("web")).await;
    assert_eq!(asked(&world, "GetCommandInvocation"), 0);
}

// === What the command itself does not tell ===

#[tokio::test]
async fn an_agent_that_does_not_come_back_is_named_and_what_it_had_installed_is_shown() {
    // aws/amazon-ssm-agent#320: In Progress for ever, until AWS gives the command up.
    let world = World::start().await;
    let id =
        world.account().add_nodes(1).in_group("web").missing_patches(2).troubled(Trouble::NeverBack).create().remove(0);
    let operation = world.run(install("web")).await;
    let target = &targets(&world, &operation).await[&id];
    assert_eq!((target.state(), target.reason.as_str()), (TargetState::TimedOut, "AGENT_NOT_BACK"));
    let counts = target.after.as_ref().unwrap().counts.unwrap();
    assert_eq!((counts.missing, counts.installed_pending_reboot), (0, 2));
    assert!(target.rebooted && target.explanation.contains("waiting for a reboot"), "{}", target.explanation);
    assert_eq!(target.command_status, "DeliveryTimedOut");
}

#[tokio::test]
async fn a_node_that_comes_back_after_its_command_was_given_up_succeeds_with_the_commands_error_beside_it() {
    // aws/amazon-ssm-agent#289: Delivery Timed Out, though the box did restart half an hour later.
    let world = World::start().await;
    let late = Trouble::BackAfter(Duration::from_secs(140 * 60));
    let id = world.account().add_nodes(1).in_group("web").missing_patches(2).troubled(late).create().remove(0);
    let operation = world.run(install("web")).await;
    assert_eq!(operation.state(), State::Succeeded, "{}", operation.explanation);
    let target = &targets(&world, &operation).await[&id];
    assert_eq!((target.state(), target.reason.as_str()), (TargetState::Succeeded, "COMMAND_ERROR"));
    assert_eq!(target.command_status, "DeliveryTimedOut");
    assert!(target.explanation.contains("nothing is missing"), "{}", target.explanation);
    assert_eq!((world.account().installs(&id), world.account().reboots(&id)), (1, 1));
}

#[tokio::test]
async fn a_step_that_takes_too_long_is_told_from_a_command_that_never_arrived() {
    let world = World::start().await;
    for trouble in [Trouble::RunsTooLong, Trouble::Hangs] {
        world.account().add_nodes(1).in_group("web").missing_patches(1).troubled(trouble).create();
    }
    let operation = world.run(install("web")).await;
    for target in targets(&world, &operation).await.values() {
        assert_eq!((target.state(), target.reason.as_str()), (TargetState::TimedOut, "EXECUTION_TIMED_OUT"));
        assert_eq!(target.retry(), Retry::AfterFix);
    }
}

#[tokio::test]
async fn a_failure_that_was_seen_before_the_deadline_is_no_time_out() {
    // Yum gives its lock up after some eight minutes; two more are left for a report, and the operation has ten in all.
    let world = World::start().await;
    let id = world.account().add_nodes(1).in_group("web").troubled(Trouble::Locked).create().remove(0);
    let ten_minutes = prost_types::Duration { seconds: 600, nanos: 0 };
    let operation = world.run(with(scan("web"), |asked| asked.max_duration = Some(ten_minutes))).await;
    assert_eq!(operation.state_reason, "DEADLINE");
    let target = &targets(&world, &operation).await[&id];
    assert_eq!((target.state(), target.reason.as_str()), (TargetState::Failed, "LOCK_HELD"), "{}", target.explanation);
}

// === What others overwrite ===

#[tokio::test]
async fn a_foreign_scan_between_the_installation_and_its_verification_leaves_the_outcome_unknown() {
    // S 8.2.1: one record for each node, overwritten by each run, whatever started it.
    let world = World::start().await;
    let id = world.account().add_nodes(1).in_group("web").missing_patches(2).create().remove(0);
    let name = world.create(install("web")).await.name;
    world.settle().await;
    // While nobody looks, the installation ends, and then somebody else's scan.
    world.simulation.clock().advance(Duration::from_secs(600));
    assert_eq!((world.account().installs(&id), world.account().missing(&id)), (1, 0));
    world.account().runs_elsewhere("Scan", std::slice::from_ref(&id)).unwrap();
    world.simulation.clock().advance(Duration::from_secs(120));
    let operation = world.finish(&name).await;
    assert_eq!(operation.state(), State::CompletedWithFailures, "{}", operation.explanation);
    let target = &targets(&world, &operation).await[&id];
    assert_eq!((target.state(), target.reason.as_str()), (TargetState::Unknown, "OVERWRITTEN"));
    assert_eq!(target.command_status, "Success", "the command's own status stands beside it");
    assert_eq!(asked(&world, "ListComplianceItems"), 1, "whose command the node's items are of was asked, once");
    assert_eq!(world.account().installs(&id), 1);
}

#[tokio::test]
async fn where_the_patch_state_is_overwritten_compliance_items_of_our_command_decide() {
    // S 8.3.2: each item names the command that made it. How late AWS shows items is not documented.
    for (lag, state, reason) in [(15, TargetState::Succeeded, ""), (0, TargetState::Unknown, "OVERWRITTEN")] {
        let world = World::start().await;
        world.account().compliance_appears_after(Duration::from_secs(lag * 60));
        let node = world.account().add_nodes(1).in_group("web").missing_patches(2).troubled(Trouble::ScannedByOthers);
        let id = node.create().remove(0);
        let operation = world.run(install("web")).await;
        let target = &targets(&world, &operation).await[&id];
        assert_eq!((target.state(), target.reason.as_str()), (state, reason), "{}", target.explanation);
        assert_eq!(asked(&world, "ListComplianceItems"), 1);
        assert_eq!((world.account().installs(&id), world.account().missing(&id)), (1, 0));
    }
}

// === What batches did not get alike ===

#[tokio::test]
async fn a_patch_that_is_approved_between_two_batches_is_recorded_as_drift() {
    // The synthetic tzdata of ALAS2-2099-002 counts from 2025-10-07T17:00Z; 48 days later is 17 hours after the start.
    let world = World::start().await;
    let mut late = baseline("late", &[], 0);
    late.approval_rules[0].filters =
        vec![PatchFilter { key: "CLASSIFICATION".to_owned(), values: vec!["Bugfix".to_owned()] }];
    late.approval_rules[0].approval = Some(Approval::ApproveAfterDays(48));
    let request =
        CreateBaselineRequest { parent: PARENT.to_owned(), baseline: Some(late), ..CreateBaselineRequest::default() };
    let made = world.client.create_baseline(request).await.unwrap().baseline.unwrap();
    world.attach("web", made.name.rsplit('/').next().unwrap()).await;
    let nodes = world.account().add_nodes(3).in_group("web").missing_updates(&["tzdata.noarch"]).create();

    let two_days = prost_types::Duration { seconds: 172_800, nanos: 0 };
    let request = with(install_by("web", Amount::Count(1)), |asked| asked.max_duration = Some(two_days));
    // After the first send AWS asks for a slower pace, and the time goes on.
    world.inject(Fault { skip: 1, ..fault("SendCommand", FaultKind::Throttle, 2) });
    let name = world.create(request).await.name;
    while world.operation(&name).await.counts.unwrap().succeeded == 0 {
        assert!(world.step().await);
    }
    world.simulation.clock().advance(Duration::from_secs(17 * 3600));
    let operation = world.finish(&name).await;
    assert_eq!(operation.state(), State::Succeeded, "{}", operation.explanation);
    let [drift] = operation.drift.as_slice() else { panic!("one system and baseline: {:?}", operation.drift) };
    assert_eq!(drift.titles, ["tzdata.noarch:0:2025b-1.amzn2.2099"]);
    assert_eq!((drift.batch, drift.operating_system.as_str()), (2, "AMAZON_LINUX_2"));
    assert_eq!(drift.baseline, made.name);
    let missing: Vec<usize> = nodes.iter().map(|id| world.account().missing(id)).collect();
    assert_eq!(missing.iter().sum::<usize>(), 1, "only the first lacks it now");
}

#[tokio::test]
async fn batches_that_get_the_same_show_no_drift_and_a_single_batch_is_not_asked_about() {
    let world = World::start().await;
    world.account().add_nodes(2).in_group("web").missing_patches(2).create();
    let operation = world.run(install_by("web", Amount::Count(2))).await;
    assert_eq!((operation.state(), operation.drift.len()), (State::Succeeded, 0));
    assert_eq!(asked(&world, "DescribeInstancePatches"), 0);

    let world = World::start().await;
    world.account().add_nodes(2).in_group("web").missing_updates(&["curl.x86_64"]).create();
    let operation = world.run(install_by("web", Amount::Count(1))).await;
    assert_eq!((operation.state(), operation.drift.len()), (State::Succeeded, 0), "{:?}", operation.drift);
    assert!(asked(&world, "DescribeInstancePatches") > 0);
}
