//! Patch schedules: made in one call, carried out by AWS on its own clock, changed, paused, skipped and deleted.

use jiff::Timestamp;
use patchplane_client::{
    Listing,
    api::{
        CreatePatchScheduleRequest, DayOfWeek, DeletePatchScheduleRequest, GetExecutionRequest,
        GetPatchScheduleRequest, ListUpcomingRunsRequest, PatchSchedule, PreviewScheduleRequest,
        UpdatePatchScheduleRequest,
        patch_operation::Kind,
        patch_schedule::Targets,
        recurrence::{Expression, Kind as Recurs, MonthlyNth},
        upcoming_run::Shift,
    },
};
use patchplane_sim::FaultKind;
use patchplane_tests::{
    PARENT, World, fault, refusal,
    schedules::{
        all, assert_whole, clock, create, daily, executions, get, local, made, nightly, pass, reason, recurs, skip,
        update, windows,
    },
};
use std::{collections::BTreeMap, time::Duration};
use tonic::Code;
use uuid::Uuid;

#[tokio::test]
async fn three_in_the_morning_in_tokyo_is_that_from_the_start_and_the_run_is_seen() {
    let world = World::start().await;
    // It is 09:00 in Tokyo. Both keys of one group, so that a half-covered group would show.
    let spaced = world.account().add_nodes(2).in_group("web").missing_patches(2).create();
    let unspaced = world.account().add_nodes(1).tagged("PatchGroup", "web").missing_patches(2).create();
    let schedule = made(&world, nightly()).await;
    assert_whole(&world, &schedule).await;
    assert_eq!((schedule.expression.as_str(), schedule.time_zone.as_str()), ("cron(0 3 ? * * *)", "Asia/Tokyo"));
    assert_eq!(schedule.summary, "daily at 03:00 in Asia/Tokyo");
    assert!(local(&schedule).iter().all(|run| run.ends_with("T03:00:00+09:00")), "{:?}", local(&schedule));
    assert_eq!((schedule.duration_hours, schedule.cutoff_hours), (4, Some(1)));
    assert!(schedule.last_run.is_none());

    // What AWS foresees is the same.
    let request = ListUpcomingRunsRequest { parent: PARENT.to_owned(), days: 2, ..Default::default() };
    let upcoming = Listing::collect(world.client.list_upcoming_runs(request)).await.unwrap().items;
    assert_eq!(upcoming.len(), 2);
    assert_eq!(upcoming[0].difference, "");
    assert_eq!(upcoming[0].aws_time, upcoming[0].run.as_ref().unwrap().time);

    pass(&world, 24).await;
    let runs = executions(&world, &schedule).await;
    assert_eq!(runs.len(), 1, "{runs:?}");
    let whole = world.client.get_execution(GetExecutionRequest { name: runs[0].name.clone() }).await.unwrap();
    let task = &whole.execution.as_ref().unwrap().tasks[0];
    assert_eq!(task.task_arn, "AWS-RunPatchBaseline");
    assert_eq!(task.invocations.len(), 2, "one for each target of the window (S 9.5.4)");
    assert!(task.invocations.iter().all(|invocation| !invocation.command_id.is_empty()), "{task:?}");
    for node in spaced.iter().chain(&unspaced) {
        assert_eq!((world.account().installs(node), world.account().missing(node)), (1, 0), "{node}");
    }
    let now = get(&world, &schedule.name).await;
    assert_eq!(now.last_run.unwrap().execution, runs[0].name);
}

#[tokio::test]
async fn a_schedule_is_changed_paused_skipped_and_deleted() {
    let world = World::start().await;
    world.account().add_nodes(1).in_group("web").missing_patches(1).create();
    let schedule = made(&world, nightly()).await;
    let name = schedule.name.clone();

    // Another time in another zone.
    let asked = PatchSchedule {
        name: name.clone(),
        recurrence: daily(4, 30),
        time_zone: "Europe/Berlin".to_owned(),
        ..Default::default()
    };
    let changed = update(&world, asked, &["recurrence", "time_zone"]).await;
    let fields: Vec<String> = changed.plan.unwrap().changes.into_iter().map(|change| change.field).collect();
    assert_eq!(fields, ["expression", "time_zone"]);
    let changed = changed.patch_schedule.unwrap();
    assert!(local(&changed)[0].contains("T04:30:00+0"), "{:?}", local(&changed));
    assert_eq!(changed.kind(), Kind::Install, "what was not asked for stays");

    // Second Tuesday and two days, scanning another group; the offset goes again with the next change.
    let monthly = MonthlyNth { nth: 2, weekday: DayOfWeek::Tuesday.into(), offset_days: 2, time: clock(2, 0) };
    let asked = PatchSchedule {
        name: name.clone(),
        kind: Kind::Scan.into(),
        recurrence: recurs(Recurs::MonthlyNth(monthly)),
        targets: Some(Targets { patch_groups: vec!["db".to_owned()], ..Default::default() }),
        ..Default::default()
    };
    let changed = update(&world, asked, &[]).await.patch_schedule.unwrap();
    assert_eq!(changed.summary, "2 days after the second Tuesday of each month at 02:00 in Europe/Berlin");
    assert_eq!((changed.kind(), changed.targets.clone().unwrap().patch_groups), (Kind::Scan, vec!["db".to_owned()]));
    assert_eq!(changed.recurrence, recurs(Recurs::MonthlyNth(monthly)));
    assert_whole(&world, &changed).await;
    let asked = PatchSchedule { name: name.clone(), recurrence: daily(3, 0), ..Default::default() };
    let changed = update(&world, asked, &[]).await.patch_schedule.unwrap();
    assert_eq!(changed.recurrence, daily(3, 0));

    // Paused, nothing runs.
    let asked = PatchSchedule { name: name.clone(), enabled: Some(false), ..Default::default() };
    let paused = update(&world, asked, &["enabled"]).await.patch_schedule.unwrap();
    assert!(paused.enabled == Some(false) && paused.next_runs.is_empty());
    pass(&world, 30).await;
    assert_eq!(executions(&world, &paused).await.len(), 0);
    let refused = world.client.patch_schedules().skip_next_run(skip(&name)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "NO_RUN_TO_SKIP".to_owned()));
    let asked = PatchSchedule { name: name.clone(), enabled: Some(true), ..Default::default() };
    let resumed = update(&world, asked, &["enabled"]).await.patch_schedule.unwrap();
    assert_eq!(resumed.next_runs.len(), 3);

    // The next run is left out, by AWS.
    let request = skip(&name);
    let skipped = world.client.skip_next_run(request.clone()).await.unwrap();
    let after = skipped.patch_schedule.unwrap();
    assert_eq!(after.next_runs[..2], resumed.next_runs[1..]);
    assert!(after.skipped_until.is_some());
    let again = world.client.skip_next_run(request).await.unwrap();
    assert!(again.replayed && again.patch_schedule.unwrap().next_runs == after.next_runs, "one run, not two");
    pass(&world, 30).await;
    assert_eq!(executions(&world, &after).await.len(), 0, "the one that was left out");
    pass(&world, 24).await;
    assert_eq!(executions(&world, &after).await.len(), 1);
    assert!(get(&world, &name).await.skipped_until.is_none());
    // Taken back.
    let skipped = world.client.skip_next_run(skip(&name)).await.unwrap().patch_schedule.unwrap();
    assert!(skipped.skipped_until.is_some());
    let asked = PatchSchedule { name: name.clone(), ..Default::default() };
    let taken_back = update(&world, asked, &["skipped_until"]).await.patch_schedule.unwrap();
    assert!(taken_back.skipped_until.is_none());
    assert_eq!(taken_back.next_runs[1..], skipped.next_runs[..2]);

    let request =
        DeletePatchScheduleRequest { name: name.clone(), request_id: Uuid::new_v4().to_string(), ..Default::default() };
    world.client.delete_patch_schedule(request.clone()).await.unwrap();
    assert!(world.client.delete_patch_schedule(request).await.unwrap().replayed);
    assert_eq!((all(&world).await.len(), windows(&world).await), (0, 0));
    let gone = world.client.patch_schedules().get_patch_schedule(GetPatchScheduleRequest { name }).await.unwrap_err();
    assert_eq!(reason(&gone), (Code::NotFound, "PATCH_SCHEDULE_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn rates_keep_their_beat_when_a_run_is_left_out_and_taken_back() {
    let world = World::start().await;
    let rate = Expression { expression: "rate(6 hours)".to_owned(), offset_days: 0 };
    let schedule =
        PatchSchedule { recurrence: recurs(Recurs::Expression(rate)), time_zone: String::new(), ..nightly() };
    let schedule = made(&world, schedule).await;
    let beat = schedule.next_runs.clone();
    let skipped = world.client.skip_next_run(skip(&schedule.name)).await.unwrap().patch_schedule.unwrap();
    assert_eq!(skipped.next_runs[..2], beat[1..]);
    let asked = PatchSchedule { name: schedule.name.clone(), ..Default::default() };
    let taken_back = update(&world, asked, &["skipped_until"]).await.patch_schedule.unwrap();
    assert_eq!(taken_back.next_runs, beat);
}

#[tokio::test]
async fn a_preview_tells_where_the_clocks_change_and_asks_nothing_of_aws() {
    let world = World::start().await;
    let before = world.simulation.requests().len();
    // Berlin: 02:30 does not exist on 29 March 2026, and occurs twice on 25 October.
    for (after, index, shift) in
        [("2026-03-27T12:00:00Z", 1, Shift::Skipped), ("2026-10-23T12:00:00Z", 1, Shift::Doubled)]
    {
        let after: Timestamp = after.parse().unwrap();
        let request = PreviewScheduleRequest {
            recurrence: daily(2, 30),
            time_zone: "Europe/Berlin".to_owned(),
            count: 3,
            after_time: Some(prost_types::Timestamp { seconds: after.as_second(), nanos: 0 }),
        };
        let preview = world.client.preview_schedule(request).await.unwrap();
        assert_eq!(preview.expression, "cron(30 2 ? * * *)");
        let shifts: Vec<Shift> = preview.runs.iter().map(|run| run.shift()).collect();
        assert_eq!(shifts[index], shift, "{preview:?}");
        assert!(preview.runs[index].note.contains("Europe/Berlin"));
    }
    assert_eq!(world.simulation.requests().len(), before);
}

#[tokio::test]
async fn wrong_turns_are_caught_with_what_to_do() {
    let world = World::start().await;
    world.account().add_nodes(1).tagged("patch group", "web").create();
    for (schedule, field, advice) in [
        (PatchSchedule { time_zone: "Asia/Tokio".to_owned(), ..nightly() }, "time_zone", "did you mean Asia/Tokyo?"),
        (PatchSchedule { time_zone: String::new(), ..nightly() }, "time_zone", "say UTC"),
        (PatchSchedule { reboot_option: 0, ..nightly() }, "reboot_option", "required for INSTALL"),
        (PatchSchedule { targets: None, ..nightly() }, "targets", "must name"),
        (PatchSchedule { recurrence: None, ..nightly() }, "recurrence", "required"),
        (PatchSchedule { cutoff_hours: Some(4), ..nightly() }, "cutoff_hours", "less than the duration"),
        (PatchSchedule { display_name: "web nightly".to_owned(), ..nightly() }, "display_name", "' '"),
        (PatchSchedule { recurrence: daily(24, 0), ..nightly() }, "recurrence.daily.time.hours", "0 to 23"),
    ] {
        let before = world.fingerprint();
        let refused = world.client.patch_schedules().create_patch_schedule(create(schedule)).await.unwrap_err();
        let (code, _, fields) = refusal(&refused);
        assert_eq!((code, fields), (Code::InvalidArgument, vec![format!("patch_schedule.{field}")]), "{refused:?}");
        assert!(refused.message().contains(advice), "{refused:?}");
        assert_eq!(world.fingerprint(), before);
    }
    // A group that nobody is in can be scheduled, and is told of.
    let planned = CreatePatchScheduleRequest { validate_only: true, ..create(nightly()) };
    let plan = world.client.create_patch_schedule(planned).await.unwrap().plan.unwrap();
    let notice = plan.notices.iter().find(|notice| notice.code == "NO_INSTANCES").unwrap();
    assert!(notice.message.contains("`patch group` = `web`"), "{}", notice.message);
    assert_eq!(windows(&world).await, 0);
}

#[tokio::test]
async fn a_plan_holds_and_an_etag_guards() {
    let world = World::start().await;
    let request = create(nightly());
    let before = world.fingerprint();
    let planned = CreatePatchScheduleRequest { validate_only: true, ..request.clone() };
    let plan = world.client.create_patch_schedule(planned).await.unwrap().plan.unwrap();
    assert_eq!(world.fingerprint(), before);
    let wrong = CreatePatchScheduleRequest { expected_plan: "0".repeat(32), ..request.clone() };
    let refused = world.client.patch_schedules().create_patch_schedule(wrong).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Aborted, "PLAN_CHANGED".to_owned()));
    assert_eq!(world.simulation.fingerprint(), before.0);
    let held = CreatePatchScheduleRequest { expected_plan: plan.fingerprint.clone(), ..create(nightly()) };
    let done = world.client.create_patch_schedule(held.clone()).await.unwrap();
    assert_eq!(done.plan.unwrap().changes, plan.changes);
    let other = CreatePatchScheduleRequest {
        patch_schedule: Some(PatchSchedule { time_zone: "UTC".to_owned(), ..nightly() }),
        ..held
    };
    let refused = world.client.patch_schedules().create_patch_schedule(other).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::AlreadyExists, "REQUEST_ID_REUSED".to_owned()));

    let seen = done.patch_schedule.unwrap();
    let asked = PatchSchedule { name: seen.name.clone(), enabled: Some(false), ..Default::default() };
    update(&world, asked.clone(), &[]).await;
    let stale = UpdatePatchScheduleRequest {
        patch_schedule: Some(PatchSchedule { enabled: Some(true), ..asked }),
        etag: seen.etag,
        ..Default::default()
    };
    let refused = world.client.patch_schedules().update_patch_schedule(stale).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Aborted, "ETAG_MISMATCH".to_owned()));
}

#[tokio::test]
async fn lists_at_once_look_into_few_windows_at_a_time() {
    let world = World::start().await;
    for _ in 0..6 {
        made(&world, nightly()).await;
    }
    let before = world.simulation.requests().len();
    let operation = "GetMaintenanceWindow";
    world.inject(fault(operation, FaultKind::DelayAnswer(Duration::from_secs(2)), u32::MAX));
    let lists = world.patiently(futures::future::join_all((0..3).map(|_| all(&world)))).await;
    assert!(lists.iter().all(|list| list.len() == 6));
    let mut at_once: BTreeMap<Timestamp, usize> = BTreeMap::new();
    for seen in world.simulation.requests()[before..].iter().filter(|seen| seen.operation == operation) {
        *at_once.entry(seen.time).or_default() += 1;
    }
    assert_eq!(at_once.values().sum::<usize>(), 18);
    assert_eq!(at_once.values().max(), Some(&4), "{at_once:?}");
}
