//! Patch schedules: made in one call, carried out by AWS on its own clock, changed, paused, skipped and deleted; whole or not
//! there at all, whatever breaks in between.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use futures::TryStreamExt as _;
use jiff::Timestamp;
use patchplane_aws::Aws;
use patchplane_client::{
    Listing,
    api::{
        CreatePatchScheduleRequest, DayOfWeek, DeletePatchScheduleRequest, Execution, GetExecutionRequest,
        GetMaintenanceWindowRequest, GetPatchScheduleRequest, ListExecutionsRequest, ListMaintenanceWindowsRequest,
        ListPatchSchedulesRequest, ListUpcomingRunsRequest, PatchSchedule, PreviewScheduleRequest, Recurrence,
        SkipNextRunRequest, TimeOfDay, UpdatePatchScheduleRequest, UpdatePatchScheduleResponse,
        patch_operation::{Kind, RebootOption},
        patch_schedule::Targets,
        recurrence::{Daily, Expression, Kind as Recurs, MonthlyNth},
        upcoming_run::Shift,
    },
};
use patchplane_rules::{RateLimit, TargetTerm, TaskCommand, TaskDraft, WindowDraft, WindowId, WindowTiming};
use patchplane_server::{server::simulated, store::CrashPoint};
use patchplane_sim::FaultKind;
use patchplane_tests::{PARENT, World, fault, refusal};
use std::time::Duration;
use tonic::{Code, Status};
use uuid::Uuid;

fn clock(hours: i32, minutes: i32) -> Option<TimeOfDay> {
    Some(TimeOfDay { hours, minutes, seconds: 0 })
}

fn recurs(kind: Recurs) -> Option<Recurrence> {
    Some(Recurrence { kind: Some(kind) })
}

fn daily(hours: i32, minutes: i32) -> Option<Recurrence> {
    recurs(Recurs::Daily(Daily { time: clock(hours, minutes) }))
}

/// Install on the group `web`, daily at 03:00 in Tokyo.
fn nightly() -> PatchSchedule {
    PatchSchedule {
        display_name: "web-nightly".to_owned(),
        kind: Kind::Install.into(),
        reboot_option: RebootOption::RebootIfNeeded.into(),
        targets: Some(Targets { patch_groups: vec!["web".to_owned()], ..Default::default() }),
        recurrence: daily(3, 0),
        time_zone: "Asia/Tokyo".to_owned(),
        ..Default::default()
    }
}

fn create(schedule: PatchSchedule) -> CreatePatchScheduleRequest {
    CreatePatchScheduleRequest {
        parent: PARENT.to_owned(),
        patch_schedule: Some(schedule),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    }
}

async fn made(world: &World, schedule: PatchSchedule) -> PatchSchedule {
    world.client.create_patch_schedule(create(schedule)).await.unwrap().patch_schedule.unwrap()
}

async fn get(world: &World, name: &str) -> PatchSchedule {
    let request = GetPatchScheduleRequest { name: name.to_owned() };
    world.client.get_patch_schedule(request).await.unwrap().patch_schedule.unwrap()
}

async fn all(world: &World) -> Vec<PatchSchedule> {
    let request = ListPatchSchedulesRequest { parent: PARENT.to_owned(), ..Default::default() };
    Listing::collect(world.client.list_patch_schedules(request)).await.unwrap().items
}

async fn windows(world: &World) -> usize {
    let request = ListMaintenanceWindowsRequest { parent: PARENT.to_owned(), ..Default::default() };
    Listing::collect(world.client.list_maintenance_windows(request)).await.unwrap().items.len()
}

async fn update(world: &World, schedule: PatchSchedule, paths: &[&str]) -> UpdatePatchScheduleResponse {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = UpdatePatchScheduleRequest {
        patch_schedule: Some(schedule),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..Default::default()
    };
    world.client.update_patch_schedule(request).await.unwrap()
}

fn skip(name: &str) -> SkipNextRunRequest {
    SkipNextRunRequest { name: name.to_owned(), request_id: Uuid::new_v4().to_string(), ..Default::default() }
}

/// The next runs on the schedule's own clocks.
fn local(schedule: &PatchSchedule) -> Vec<&str> {
    schedule.next_runs.iter().map(|run| run.local_time.as_str()).collect()
}

fn reason(status: &Status) -> (Code, String) {
    let (code, reason, _) = refusal(status);
    (code, reason)
}

/// The schedule with all that a whole one has: both targets, the task, no mark that anything is lacking.
async fn assert_whole(world: &World, schedule: &PatchSchedule) {
    assert!(schedule.managed && !schedule.incomplete, "{schedule:?}");
    assert_eq!(schedule.divergences, Vec::<String>::new());
    let request = GetMaintenanceWindowRequest { name: schedule.maintenance_window.clone() };
    let window = world.client.get_maintenance_window(request).await.unwrap().maintenance_window.unwrap();
    assert_eq!((window.targets.len(), window.tasks.len()), (2, 1), "{window:?}");
}

async fn executions(world: &World, schedule: &PatchSchedule) -> Vec<Execution> {
    let request = ListExecutionsRequest { parent: schedule.maintenance_window.clone(), ..Default::default() };
    world.client.list_executions(request).try_collect().await.unwrap()
}

/// Lets the account's clock pass.
async fn pass(world: &World, hours: u64) {
    for _ in 0..hours * 6 {
        world.settle().await;
        world.simulation.clock().advance(Duration::from_secs(600));
    }
    world.settle().await;
}

// === Journeys ===

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

// === Whole or not at all ===

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

// === Windows that others made or edited ===

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
            let asked = PatchSchedule {
                name: schedule.name.clone(),
                kind: Kind::Scan.into(),
                recurrence: daily(4, 0),
                targets: Some(Targets { patch_groups: vec!["db".to_owned()], ..Default::default() }),
                ..Default::default()
            };
            let request = UpdatePatchScheduleRequest {
                patch_schedule: Some(asked),
                request_id: Uuid::new_v4().to_string(),
                etag: schedule.etag.clone(),
                ..Default::default()
            };
            let times = if kind == FaultKind::Deny { 1 } else { 3 };
            world.inject(fault(step, kind, times));
            let call = || async { world.client.patch_schedules().update_patch_schedule(request.clone()).await };
            world.patiently(call()).await.unwrap_err();
            let world = world.restart().await;
            let mended = world.client.update_patch_schedule(request).await.unwrap().patch_schedule.unwrap();
            assert_whole(&world, &mended).await;
            assert_eq!((mended.kind(), mended.recurrence), (Kind::Scan, daily(4, 0)), "{step} {kind:?}");
            assert_eq!(mended.targets.unwrap().patch_groups, ["db"], "{step} {kind:?}");
        }
    }
}
