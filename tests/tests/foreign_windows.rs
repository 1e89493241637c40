//! Maintenance windows that others made or edited, as patch schedules.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_aws::Aws;
use patchplane_client::api::{
    DeletePatchScheduleRequest, PatchSchedule, UpdatePatchScheduleRequest,
    patch_operation::{Kind, RebootOption, State},
    patch_schedule::Targets,
};
use patchplane_rules::{RateLimit, TargetTerm, TaskCommand, TaskDraft, WindowDraft, WindowId, WindowTiming};
use patchplane_server::server::simulated;
use patchplane_tests::{
    PARENT, World, install, scan,
    schedules::{all, daily, get, local, made, nightly, reason, update, windows},
};
use std::time::Duration;
use tonic::Code;
use uuid::Uuid;

/// The account as somebody else with rights there sees it.
async fn somebody(world: &World) -> Aws {
    let (_, locations) = simulated::connect(&world.simulation).await.unwrap();
    locations.into_iter().find(|(location, _)| location.name() == PARENT).unwrap().1
}

fn term(key: &str, value: &str) -> TargetTerm {
    TargetTerm { key: key.to_owned(), values: vec![value.to_owned()] }
}

fn patching(parameters: &[(&str, &str)]) -> TaskDraft {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
    TaskDraft {
        name: "patch".parse().unwrap(),
        document: "AWS-RunPatchBaseline".to_owned(),
        command: TaskCommand { parameters: parameters.collect(), timeout_s: Some(600) },
        max_concurrency: RateLimit::Count(2),
        max_errors: RateLimit::Count(1),
    }
}

/// A window as the user guide has people make it: without a zone, for one of the tag keys.
async fn foreign(aws: &Aws, draft: &TaskDraft) -> WindowId {
    let timing = WindowTiming { expression: "cron(0 16 ? * TUE *)".to_owned(), ..Default::default() };
    let window = WindowDraft {
        name: "Production-Tuesdays".to_owned(),
        description: String::new(),
        timing,
        duration_hours: 2,
        cutoff_hours: 0,
        allow_unassociated_targets: false,
    };
    let id = aws.create_window(&window, &[], &Uuid::new_v4().to_string()).await.unwrap();
    let own = "targets".parse().unwrap();
    let token = || Uuid::new_v4().to_string();
    let terms = [term("tag:Patch Group", "web")];
    let target = aws.register_window_target(&id, &own, &terms, &token()).await.unwrap();
    aws.register_window_task(&id, draft, &[target], &token()).await.unwrap();
    id
}

#[tokio::test]
async fn a_window_that_somebody_else_made_is_a_schedule_with_what_differs() {
    let world = World::start().await;
    let aws = somebody(&world).await;
    let id = foreign(&aws, &patching(&[("Operation", "Install"), ("BaselineOverride", "s3://b/k")])).await;
    // One that does not patch is none.
    let other = TaskDraft { document: "AWS-UpdateSSMAgent".to_owned(), ..patching(&[]) };
    foreign(&aws, &other).await;
    let [schedule] = &all(&world).await[..] else { panic!("one of the two windows patches") };
    assert!(schedule.name.ends_with(id.as_str()) && !schedule.managed);
    assert_eq!((schedule.kind(), schedule.reboot_option()), (Kind::Install, RebootOption::RebootIfNeeded), "S 7.1.2");
    assert_eq!(schedule.targets.as_ref().unwrap().patch_groups, ["web"]);
    assert_eq!(local(schedule)[0], "2025-11-25T16:00:00+00:00", "UTC (S 9.2.9)");
    let told = schedule.divergences.join("; ");
    for part in ["no time zone", "BaselineOverride", "`PatchGroup` are left out"] {
        assert!(told.contains(part), "{part} is not in {told}");
    }

    // Changing it keeps what is not asked for, and mends what is.
    let targets = Some(Targets { patch_groups: vec!["web".to_owned()], ..Default::default() });
    let asked = PatchSchedule {
        name: schedule.name.clone(),
        time_zone: "Asia/Tokyo".to_owned(),
        targets,
        ..Default::default()
    };
    let changed = update(&world, asked, &[]).await.patch_schedule.unwrap();
    assert_eq!(changed.divergences, ["its task also sets BaselineOverride"]);
    assert_eq!(local(&changed)[0], "2025-11-25T16:00:00+09:00");
    let task = aws.window_tasks(&id).await.unwrap().remove(0);
    let task = aws.window_task(&id, &task.id).await.unwrap();
    assert_eq!(task.command.unwrap().parameters["BaselineOverride"], ["s3://b/k"]);
    assert_eq!(aws.window_targets(&id).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_schedule_that_was_given_a_second_task_is_diverged_and_guarded() {
    let world = World::start().await;
    let schedule = made(&world, nightly()).await;
    let aws = somebody(&world).await;
    let id: WindowId = schedule.name.rsplit('/').next().unwrap().parse().unwrap();
    let targets: Vec<String> = aws.window_targets(&id).await.unwrap().into_iter().map(|target| target.id).collect();
    let second = patching(&[("Operation", "Scan")]);
    aws.register_window_task(&id, &second, &targets[..1], "second").await.unwrap();
    let now = get(&world, &schedule.name).await;
    assert_eq!(now.divergences, ["it has 2 tasks, and a schedule has one"]);
    // Its times can be changed, its task cannot, and deleting it must be meant.
    let asked = PatchSchedule { name: now.name.clone(), recurrence: daily(5, 0), ..Default::default() };
    assert_eq!(update(&world, asked, &[]).await.patch_schedule.unwrap().recurrence, daily(5, 0));
    let before = world.simulation.fingerprint();
    let asked = PatchSchedule { name: now.name.clone(), kind: Kind::Scan.into(), ..Default::default() };
    let request = UpdatePatchScheduleRequest { patch_schedule: Some(asked), ..Default::default() };
    let refused = world.client.patch_schedules().update_patch_schedule(request).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "SCHEDULE_DIVERGED".to_owned()));
    let delete = DeletePatchScheduleRequest { name: now.name.clone(), ..Default::default() };
    let refused = world.client.patch_schedules().delete_patch_schedule(delete.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "SCHEDULE_DIVERGED".to_owned()));
    assert_eq!(world.simulation.fingerprint(), before);
    let meant = DeletePatchScheduleRequest { allow_diverged: true, ..delete };
    world.client.delete_patch_schedule(meant).await.unwrap();
    assert_eq!(windows(&world).await, 0);
}

#[tokio::test]
async fn an_installation_waits_for_a_window_that_is_about_to_install_on_its_instances() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(1).in_group("web").missing_patches(1).create();
    world.account().add_nodes(1).in_group("db").missing_patches(1).create();
    let id = foreign(&somebody(&world).await, &patching(&[("Operation", "Install")])).await;
    // A quarter of an hour before it opens.
    let opens: jiff::Timestamp = "2025-11-25T16:00:00Z".parse().unwrap();
    let left = opens.duration_since(world.simulation.clock().now()).unsigned_abs();
    world.simulation.clock().advance(left - Duration::from_secs(900));

    let (elsewhere, scanned) = (world.run(install("db")).await.name, world.run(scan("web")).await.name);
    let name = world.create(install("web")).await.name;
    world.settle().await;
    let waiting = world.operation(&name).await;
    assert_eq!(waiting.state_reason, "QUEUED", "{}", waiting.explanation);
    assert!(waiting.explanation.contains(id.as_str()), "{}", waiting.explanation);
    let sent = async |name: &str| world.targets(name).await[0].dispatch_time.unwrap().seconds;
    assert!(sent(&elsewhere).await < opens.as_second() && sent(&scanned).await < opens.as_second());

    let ended = world.finish(&name).await;
    assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
    assert!(sent(&name).await > opens.as_second() + 60, "not in the moment of its opening either");
    assert_eq!(world.account().installs(&nodes[0]), 2, "the window's, and then this one");
    assert_eq!(world.account().commands(), 4);
}
