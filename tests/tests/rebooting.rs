//! Operations that reboot and install nothing: once each, on every system, whatever gets lost on the way.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_client::api::{
    CreatePatchOperationRequest, PatchOperation,
    patch_operation::{Kind, RebootOption, State},
    patch_operation_target::State as TargetState,
};
use patchplane_sim::{FaultKind, Trouble};
use patchplane_tests::{World, fault, install, refusal, scan};
use std::time::Duration;

fn reboot(group: &str) -> CreatePatchOperationRequest {
    let mut request = install(group);
    let asked = request.patch_operation.as_mut().unwrap();
    (asked.kind, asked.reboot_option) = (Kind::Reboot.into(), 0);
    request
}

#[tokio::test]
async fn every_instance_reboots_once_and_a_scan_shows_what_waited_for_it_as_installed() {
    let world = World::start().await;
    let mut nodes = world.account().add_nodes(2).in_group("web").pending_reboot().create();
    nodes.extend(world.account().add_nodes(1).in_group("web").windows_2022().missing_patches(1).create());
    let ended = world.run(reboot("web")).await;
    assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
    assert_eq!(ended.explanation, "3 rebooted");
    assert_eq!(world.account().commands(), 2, "Windows has a document of its own");
    for target in world.targets(&ended.name).await {
        assert!(target.rebooted && target.explanation.contains("until it is scanned again"), "{target:?}");
        let id = &target.instance_id;
        assert_eq!((world.account().reboots(id), world.account().installs(id), world.account().scans(id)), (1, 0, 0));
    }
    let scanned = world.run(scan("web")).await;
    for target in world.targets(&scanned.name).await {
        assert_eq!(target.after.unwrap().counts.unwrap().installed_pending_reboot, 0);
    }
}

#[tokio::test]
async fn an_instance_whose_agent_does_not_come_back_has_failed_and_one_that_is_late_has_not() {
    let world = World::start().await;
    for trouble in [Trouble::NeverBack, Trouble::BackAfter(Duration::from_secs(20 * 60))] {
        world.account().add_nodes(1).in_group("web").troubled(trouble).create();
    }
    let ended = world.run(reboot("web")).await;
    assert_eq!(ended.state(), State::CompletedWithFailures, "{}", ended.explanation);
    let mut ends: Vec<_> = world.targets(&ended.name).await.into_iter().map(|t| (t.state(), t.reason)).collect();
    ends.sort();
    assert_eq!(ends, [(TargetState::Succeeded, String::new()), (TargetState::TimedOut, "AGENT_NOT_BACK".to_owned())]);
}

#[tokio::test]
async fn whatever_is_lost_around_the_send_each_instance_reboots_once() {
    for kind in [
        FaultKind::LoseAnswer,
        FaultKind::LoseRequest,
        FaultKind::ServerError,
        FaultKind::ServerErrorAfterEffect,
        FaultKind::Delay(Duration::from_secs(300)),
        FaultKind::Delay(Duration::from_secs(960)),
    ] {
        let world = World::start().await;
        let nodes = world.account().add_nodes(2).in_group("web").create();
        world.inject(fault("SendCommand", kind, 1));
        let name = world.create(reboot("web")).await.name;
        world.settle().await;
        let world = world.restart().await;
        let ended = world.finish(&name).await;
        assert_eq!(ended.state(), State::Succeeded, "{kind:?}: {}", ended.explanation);
        assert!(nodes.iter().all(|id| world.account().reboots(id) == 1), "{kind:?}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_with_a_reboot_is_refused() {
    let world = World::start().await;
    world.account().add_nodes(1).in_group("web").create();
    let wrong = |change: fn(&mut PatchOperation)| {
        let mut request = reboot("web");
        change(request.patch_operation.as_mut().unwrap());
        request
    };
    for (request, field) in [
        (wrong(|asked| asked.reboot_option = RebootOption::NoReboot.into()), "patch_operation.reboot_option"),
        (
            wrong(|asked| asked.max_duration = Some(prost_types::Duration { seconds: 3599, nanos: 0 })),
            "patch_operation.max_duration",
        ),
    ] {
        let before = world.fingerprint();
        let error = world.client.patch_operations().create_patch_operation(request).await.unwrap_err();
        assert_eq!(refusal(&error).2, [field.to_owned()]);
        assert_eq!(world.fingerprint(), before);
    }
}
