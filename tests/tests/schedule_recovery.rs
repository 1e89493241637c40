//! Patch schedules whose making, change or deletion is interrupted: whole or not there at all, whatever breaks in between.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_client::api::{
    DeletePatchScheduleRequest, PatchSchedule, UpdatePatchScheduleRequest, patch_operation::Kind,
    patch_schedule::Targets,
};
use patchplane_server::store::CrashPoint;
use patchplane_sim::FaultKind;
use patchplane_tests::{
    World, fault,
    schedules::{all, assert_whole, create, daily, made, nightly, skip, windows},
};
use std::time::Duration;
use uuid::Uuid;

// === Making ===

const STEPS: [&str; 5] = [
    "CreateMaintenanceWindow",
    "RegisterTargetWithMaintenanceWindow",
    "RegisterTaskWithMaintenanceWindow",
    "RemoveTagsFromResource",
    "DescribeMaintenanceWindowTargets",
];

#[tokio::test]
async fn a_schedule_whose_making_breaks_is_whole_after_the_same_request_or_not_there() {
    for step in STEPS {
        for kind in [FaultKind::LoseAnswer, FaultKind::Unreachable, FaultKind::Throttle, FaultKind::Deny] {
            for times in [1, 3] {
                let world = World::start().await;
                let request = create(nightly());
                world.inject(fault(step, kind, times));
                let mut attempts = 0;
                let call = || async { world.client.patch_schedules().create_patch_schedule(request.clone()).await };
                while let Err(refused) = world.patiently(call()).await {
                    attempts += 1;
                    assert!(attempts <= times, "{step} {kind:?}: {refused:?}");
                    if kind == FaultKind::Deny {
                        assert_eq!(windows(&world).await, 0, "{step}: what AWS refuses leaves nothing behind");
                    }
                }
                let [schedule] = &all(&world).await[..] else { panic!("{step} {kind:?} {times}: not one schedule") };
                assert_whole(&world, schedule).await;
                assert_eq!(windows(&world).await, 1, "{step} {kind:?} {times}");
                assert!(call().await.unwrap().into_inner().replayed);
            }
        }
    }
}

#[tokio::test]
async fn a_schedule_whose_making_is_cut_short_is_completed_by_the_next_start() {
    for step in STEPS {
        let world = World::start().await;
        let request = create(nightly());
        // The SDK's three attempts get no answer, and then the process dies.
        world.inject(fault(step, FaultKind::LoseAnswer, 3));
        let call = async { world.client.patch_schedules().create_patch_schedule(request.clone()).await };
        world.patiently(call).await.unwrap_err();
        let world = world.restart().await;
        let [schedule] = &all(&world).await[..] else { panic!("{step}: not one schedule") };
        assert_whole(&world, schedule).await;
        assert_eq!(windows(&world).await, 1);
        let again = world.client.create_patch_schedule(request).await.unwrap();
        assert!(again.replayed && again.patch_schedule.unwrap().name == schedule.name, "{step}");
    }
}

#[tokio::test]
async fn a_crash_at_any_store_write_leaves_one_schedule_after_the_same_request() {
    let mut commit = 0;
    loop {
        commit += 1;
        let mut reached = false;
        for committed in [false, true] {
            let point = CrashPoint { commit, committed };
            let world = World::start().await.restart_with(Some(point)).await;
            let request = create(nightly());
            let answer = world.client.patch_schedules().create_patch_schedule(request.clone()).await;
            reached = world.has_crashed().await;
            assert_eq!(answer.is_err(), reached, "{point:?}: {answer:?}");
            let world = world.restart().await;
            let again = world.client.create_patch_schedule(request).await.unwrap();
            assert_whole(&world, &again.patch_schedule.unwrap()).await;
            assert_eq!((all(&world).await.len(), windows(&world).await), (1, 1), "{point:?}");
        }
        if !reached {
            break;
        }
    }
    assert_eq!(commit, 3, "the intent, the outcome, and no third write");
}

#[tokio::test]
async fn a_crash_in_a_skip_leaves_out_one_run_and_not_two() {
    for commit in 1..=2 {
        for committed in [false, true] {
            let point = CrashPoint { commit, committed };
            let world = World::start().await;
            let schedule = made(&world, nightly()).await;
            let world = world.restart_with(Some(point)).await;
            let request = skip(&schedule.name);
            world.client.patch_schedules().skip_next_run(request.clone()).await.unwrap_err();
            let world = world.restart().await;
            let after = world.client.skip_next_run(request).await.unwrap().patch_schedule.unwrap();
            assert_eq!(after.next_runs[..2], schedule.next_runs[1..], "{point:?}");
        }
    }
}

#[tokio::test]
async fn a_window_that_aws_does_not_know_at_once_is_waited_for() {
    let world = World::start().await;
    // S 9.1.5.
    world.account().windows_appear_after(Duration::from_secs(3));
    let request = create(nightly());
    let made = world.patiently(world.client.create_patch_schedule(request)).await.unwrap();
    assert_whole(&world, &made.patch_schedule.unwrap()).await;
}

#[tokio::test]
async fn a_window_that_was_begun_is_found_by_its_tag_when_aws_has_forgotten_the_token() {
    for step in STEPS {
        for restarted in [false, true] {
            let world = World::start().await;
            let request = create(nightly());
            world.inject(fault(step, FaultKind::LoseAnswer, 3));
            let call = async { world.client.patch_schedules().create_patch_schedule(request.clone()).await };
            world.patiently(call).await.unwrap_err();
            world.account().forget_tokens();
            let world = if restarted { world.restart().await } else { world };
            let again = world.client.create_patch_schedule(request).await.unwrap();
            assert_whole(&world, &again.patch_schedule.unwrap()).await;
            assert_eq!((all(&world).await.len(), windows(&world).await), (1, 1), "{step}");
        }
    }
}

#[tokio::test]
async fn a_window_that_was_begun_is_not_made_again_while_aws_does_not_list_it() {
    let world = World::start().await;
    // S 9.1.5; then only the ClientToken tells that it is there.
    world.account().windows_appear_after(Duration::from_secs(8));
    let request = create(nightly());
    world.inject(fault("CreateMaintenanceWindow", FaultKind::LoseAnswer, 3));
    let call = async || world.client.patch_schedules().create_patch_schedule(request.clone()).await;
    world.patiently(call()).await.unwrap_err();
    assert_eq!(windows(&world).await, 0, "it is there, and not listed yet");
    let made = world.patiently(call()).await.unwrap().into_inner();
    assert_whole(&world, &made.patch_schedule.unwrap()).await;
    world.simulation.clock().advance(Duration::from_secs(60));
    assert_eq!((all(&world).await.len(), windows(&world).await), (1, 1));
}

// === Changing ===

/// A change that takes every kind of call: another time, another group, scanning.
fn moved(schedule: &PatchSchedule) -> UpdatePatchScheduleRequest {
    let asked = PatchSchedule {
        name: schedule.name.clone(),
        kind: Kind::Scan.into(),
        recurrence: daily(4, 0),
        targets: Some(Targets { patch_groups: vec!["db".to_owned()], ..Default::default() }),
        ..Default::default()
    };
    UpdatePatchScheduleRequest {
        patch_schedule: Some(asked),
        request_id: Uuid::new_v4().to_string(),
        etag: schedule.etag.clone(),
        ..Default::default()
    }
}

async fn assert_moved(world: &World, schedule: &PatchSchedule) {
    assert_whole(world, schedule).await;
    assert_eq!((schedule.kind(), &schedule.recurrence), (Kind::Scan, &daily(4, 0)));
    assert_eq!(schedule.targets.as_ref().unwrap().patch_groups, ["db"]);
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_mended_by_the_same_request() {
    for step in [
        "UpdateMaintenanceWindow",
        "RegisterTargetWithMaintenanceWindow",
        "UpdateMaintenanceWindowTask",
        "DeregisterTargetFromMaintenanceWindow",
    ] {
        for kind in [FaultKind::LoseAnswer, FaultKind::Unreachable, FaultKind::Throttle, FaultKind::Deny] {
            let world = World::start().await;
            let schedule = made(&world, nightly()).await;
            let request = moved(&schedule);
            let times = if kind == FaultKind::Deny { 1 } else { 3 };
            world.inject(fault(step, kind, times));
            let call = || async { world.client.patch_schedules().update_patch_schedule(request.clone()).await };
            world.patiently(call()).await.unwrap_err();
            let world = world.restart().await;
            let mended = world.client.update_patch_schedule(request).await.unwrap().patch_schedule.unwrap();
            assert_moved(&world, &mended).await;
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_store_write_of_a_change_is_mended_by_the_same_request() {
    let mut commit = 0;
    loop {
        commit += 1;
        let mut reached = false;
        for committed in [false, true] {
            let point = CrashPoint { commit, committed };
            let world = World::start().await;
            let request = moved(&made(&world, nightly()).await);
            let world = world.restart_with(Some(point)).await;
            let answer = world.client.patch_schedules().update_patch_schedule(request.clone()).await;
            reached = world.has_crashed().await;
            assert_eq!(answer.is_err(), reached, "{point:?}: {answer:?}");
            let world = world.restart().await;
            let again = world.client.update_patch_schedule(request.clone()).await.unwrap();
            assert_eq!(again.replayed, !reached || commit == 2 && committed, "{point:?}");
            assert_moved(&world, &again.patch_schedule.unwrap()).await;
            assert_eq!((all(&world).await.len(), windows(&world).await), (1, 1), "{point:?}");
            assert!(world.client.update_patch_schedule(request).await.unwrap().replayed, "{point:?}");
        }
        if !reached {
            break;
        }
    }
    assert_eq!(commit, 3, "the intent, the outcome, and no third write");
}

// === Deleting ===

fn delete(schedule: &PatchSchedule) -> DeletePatchScheduleRequest {
    DeletePatchScheduleRequest {
        name: schedule.name.clone(),
        request_id: Uuid::new_v4().to_string(),
        etag: schedule.etag.clone(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_crash_at_any_store_write_of_a_deletion_is_mended_by_the_same_request() {
    let mut commit = 0;
    loop {
        commit += 1;
        let mut reached = false;
        for committed in [false, true] {
            let point = CrashPoint { commit, committed };
            let world = World::start().await;
            let (kept, gone) = (made(&world, nightly()).await, made(&world, nightly()).await);
            let world = world.restart_with(Some(point)).await;
            let request = delete(&gone);
            let answer = world.client.patch_schedules().delete_patch_schedule(request.clone()).await;
            reached = world.has_crashed().await;
            assert_eq!(answer.is_err(), reached, "{point:?}: {answer:?}");
            let world = world.restart().await;
            let again = world.client.delete_patch_schedule(request.clone()).await.unwrap();
            assert_eq!(again.replayed, !reached || commit == 2 && committed, "{point:?}");
            let left: Vec<String> = all(&world).await.into_iter().map(|schedule| schedule.name).collect();
            assert_eq!((left, windows(&world).await), (vec![kept.name], 1), "{point:?}");
            assert!(world.client.delete_patch_schedule(request).await.unwrap().replayed, "{point:?}");
        }
        if !reached {
            break;
        }
    }
    assert_eq!(commit, 3, "the intent, the outcome, and no third write");
}

#[tokio::test]
async fn a_deletion_that_breaks_at_any_call_of_aws_is_mended_by_the_same_request() {
    for step in ["DescribeMaintenanceWindowTargets", "DescribeMaintenanceWindowTasks", "DeleteMaintenanceWindow"] {
        for kind in [FaultKind::LoseAnswer, FaultKind::Unreachable, FaultKind::Throttle, FaultKind::Deny] {
            let world = World::start().await;
            let (kept, gone) = (made(&world, nightly()).await, made(&world, nightly()).await);
            let request = delete(&gone);
            let times = if kind == FaultKind::Deny { 1 } else { 3 };
            world.inject(fault(step, kind, times));
            let call = async { world.client.patch_schedules().delete_patch_schedule(request.clone()).await };
            world.patiently(call).await.unwrap_err();
            let world = world.restart().await;
            world.client.delete_patch_schedule(request.clone()).await.unwrap();
            let left: Vec<String> = all(&world).await.into_iter().map(|schedule| schedule.name).collect();
            assert_eq!((left, windows(&world).await), (vec![kept.name], 1), "{step} {kind:?}");
            assert!(world.client.delete_patch_schedule(request).await.unwrap().replayed, "{step} {kind:?}");
        }
    }
}
