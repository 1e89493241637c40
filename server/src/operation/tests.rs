//! What an operation does next and what becomes of its targets, as tables.

use super::{
    next::{
        BUSY_POLL, LISTS_APART, Observed, QUIET_POLL, Restored, SNAPSHOT_LASTS, Search, Step, UNPROVEN_AFTER, Which,
        next,
    },
    outcome,
};
use crate::{
    domain::control::{Cancel, CancelMode, Control, Pause},
    domain::operation::{
        Dispatch, DispatchOutcome, InstanceLimit, Kind, MAX_BATCH, OnBusy, Operation, OperationId, Origin,
        RebootOption, Spec, State, Target, TargetSelection, TargetState,
    },
    store::Saved,
};
use jiff::{SignedDuration, Timestamp};
use patchplane_rules::{InstanceId, Location, ManagedNode, PatchSummary, PingStatus};
use std::collections::BTreeMap;
use ulid::Ulid;

fn start() -> Timestamp {
    "2025-11-24T00:00:00Z".parse().unwrap()
}

pub(super) fn after(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

pub(super) fn id(n: usize) -> InstanceId {
    format!("i-{n:017x}").parse().unwrap()
}

pub(super) fn saved(kind: Kind, targets: usize) -> Saved {
    let operation = Operation {
        id: OperationId::Ours(Ulid::from_parts(1, 1)),
        location: Location::new("123456789012", "us-east-1").unwrap(),
        spec: Spec {
            kind,
            targets: TargetSelection { all_managed: true, ..TargetSelection::default() },
            reboot_option: (kind == Kind::Install).then_some(RebootOption::RebootIfNeeded),
            concurrency: Spec::default_concurrency(kind),
            max_failures: Spec::default_max_failures(kind),
            max_duration: Spec::DEFAULT_MAX_DURATION,
            max_targets: 500,
            on_busy: OnBusy::Wait,
            override_freeze: false,
            note: String::new(),
        },
        state: State::Running,
        reason: String::new(),
        explanation: String::new(),
        snapshot_id: "11111111-2222-3333-4444-555555555555".into(),
        snapshot_time: None,
        creator: "local:0".into(),
        create_time: start(),
        update_time: start(),
        end_time: None,
        deadline: start() + Spec::DEFAULT_MAX_DURATION,
        origin: Origin::default(),
        retry_of: None,
        drift: Vec::new(),
        trace: None,
    };
    let targets = (0..targets).map(|n| Target::pending(id(n), false, start())).collect();
    Saved { operation, control: Control::default(), targets, dispatches: Vec::new(), revision: 1 }
}

fn set(saved: &mut Saved, range: std::ops::Range<usize>, state: TargetState, command: Option<&str>) {
    for target in &mut saved.targets[range] {
        target.attempt = 1;
        target.command_id = command.map(str::to_owned);
        target.become_(state, "", "", start());
    }
}

fn intent(signed_at: Timestamp) -> Dispatch {
    Dispatch {
        batch: 1,
        attempt: 1,
        marker: "pp:x:1.1".into(),
        instance_ids: vec![id(0)],
        timeout_s: 600,
        snapshot_id: "11111111-2222-3333-4444-555555555555".into(),
        signed_at,
        outcome: DispatchOutcome::Open,
    }
}

fn dispatched(step: &Step) -> usize {
    match step {
        Step::Dispatch { instance_ids, .. } => instance_ids.len(),
        other => panic!("not a dispatch: {other:?}"),
    }
}

#[test]
fn batches_fit_the_concurrency_and_never_exceed_fifty() {
    for (targets, concurrency, expected) in [
        (1, Spec::default_concurrency(Kind::Install), 1),
        (30, Spec::default_concurrency(Kind::Install), 3),
        (30, InstanceLimit::Count(7), 7),
        (2000, InstanceLimit::Percent(100), MAX_BATCH),
    ] {
        let mut saved = saved(Kind::Install, targets);
        saved.operation.spec.concurrency = concurrency;
        assert_eq!(dispatched(&next(&saved, &Observed::default(), start())), expected, "{targets} {concurrency:?}");
    }
}

#[test]
fn what_is_active_counts_against_the_concurrency() {
    let mut saved = saved(Kind::Install, 30);
    set(&mut saved, 0..2, TargetState::Running, Some("c-1"));
    let observed = Observed { last_poll: Some(start()), ..Observed::default() };
    assert_eq!(dispatched(&next(&saved, &observed, start())), 1);
    set(&mut saved, 2..3, TargetState::Verifying, Some("c-1"));
    let Step::Sleep { until } = next(&saved, &observed, start()) else { panic!("it must wait for a free place") };
    assert_eq!(until, start() + BUSY_POLL);
}

fn searched(last: i64, absent_since: Option<i64>, absent_again: bool) -> Observed {
    let search = Search { last: after(last), absent_since: absent_since.map(after), absent_again };
    Observed { searches: BTreeMap::from([(1, search)]), ..Observed::default() }
}

#[test]
fn a_found_intent_is_settled_and_never_sent() {
    let mut saved = saved(Kind::Install, 1);
    set(&mut saved, 0..1, TargetState::Dispatched, None);
    saved.dispatches.push(intent(start()));
    let dead = UNPROVEN_AFTER.as_secs();
    let settle = Step::Settle { batch: 1 };
    assert_eq!(next(&saved, &Observed::default(), after(1)), settle);
    assert!(matches!(next(&saved, &searched(1, None, false), after(2)), Step::Sleep { .. }));
    assert_eq!(next(&saved, &searched(1, None, false), after(31)), settle);
    // However late a restart is, AWS is asked before anything is concluded.
    assert_eq!(next(&saved, &Observed::default(), after(3600)), settle);
    // One list without it is no proof, two close together neither.
    let once = searched(dead, Some(dead), false);
    assert!(matches!(next(&saved, &once, after(dead + LISTS_APART.as_secs() - 1)), Step::Sleep { .. }));
    assert_eq!(next(&saved, &once, after(dead + LISTS_APART.as_secs())), settle);
    let twice = searched(dead + 60, Some(dead), true);
    assert_eq!(next(&saved, &twice, after(dead + 60)), Step::Disprove { batch: 1 });
    // Where nothing may be sent again, the first whole list after the signature's death ends it.
    let never = Observed { never_resend: true, ..once };
    assert_eq!(next(&saved, &never, after(dead)), Step::GiveUp { batch: 1 });
}

#[test]
fn a_proof_of_absence_lets_the_targets_be_sent_to_again() {
    let mut saved = saved(Kind::Install, 1);
    set(&mut saved, 0..1, TargetState::Dispatched, None);
    saved.dispatches.push(intent(start()));
    saved.dispatches[0].outcome = DispatchOutcome::Absent { explanation: String::new() };
    saved.targets[0].become_(TargetState::Pending, "", "", after(1600));
    assert_eq!(dispatched(&next(&saved, &Observed::default(), after(1600))), 1);
}

#[test]
fn nothing_new_is_sent_while_it_is_paused_frozen_busy_expired_restored_or_denied() {
    let now = after(10);
    let pause = Pause { at: start(), by: "ann".into(), reason: String::new(), note: "lunch".into() };
    let waits = |saved: &Saved, observed: &Observed, now| match next(saved, observed, now) {
        Step::Become { state: State::Running, reason, explanation } => (reason, explanation),
        other => panic!("it must say what it waits for: {other:?}"),
    };
    let mut paused = saved(Kind::Install, 3);
    paused.control.pause = Some(pause);
    assert_eq!(waits(&paused, &Observed::default(), now), ("PAUSED", "ann has paused it: lunch".into()));
    "PAUSED".clone_into(&mut paused.operation.reason);
    assert!(matches!(next(&paused, &Observed::default(), now), Step::Sleep { .. }), "said once");
    paused.control.pause = None;
    assert!(matches!(next(&paused, &Observed::default(), now), Step::Dispatch { .. }), "it goes on");

    for (reason, expected) in [("FROZEN", "FROZEN"), ("BUSY", "QUEUED")] {
        let mut held = saved(Kind::Install, 2);
        for target in &mut held.targets {
            target.wait(reason, "another one", after(60), now);
        }
        assert_eq!(waits(&held, &Observed::default(), now).0, expected);
        assert_eq!(dispatched(&next(&held, &Observed::default(), after(60))), 1, "looked at again");
        held.targets[1].retry_at = None;
        assert_eq!(dispatched(&next(&held, &Observed::default(), now)), 1, "the others are not held up");
    }

    let mut old = saved(Kind::Install, 1);
    old.operation.deadline = start() + SignedDuration::from_hours(24 * 7);
    let late = start() + SNAPSHOT_LASTS;
    assert_eq!(waits(&old, &Observed::default(), late).0, "SNAPSHOT_EXPIRED");
    old.control.renew_snapshot = Some(late);
    assert_eq!(next(&old, &Observed::default(), late), Step::RenewSnapshot);
    old.operation.snapshot_time = Some(late + SignedDuration::from_secs(1));
    assert!(matches!(next(&old, &Observed::default(), late), Step::Dispatch { .. }));

    let fresh = saved(Kind::Install, 1);
    let restored = |compared| Observed { restored: Some(Restored { at: start(), compared }), ..Observed::default() };
    assert_eq!(next(&fresh, &restored(None), now), Step::Reconcile);
    assert_eq!(waits(&fresh, &restored(Some(now)), now).0, "RECONCILING");
    let whole = start() + UNPROVEN_AFTER;
    assert_eq!(next(&fresh, &restored(Some(now)), whole), Step::Reconcile);
    assert!(matches!(next(&fresh, &restored(Some(whole)), whole), Step::Dispatch { .. }));

    let denied = Observed { denied: Some("ssm:ListCommands".into()), ..Observed::default() };
    assert_eq!(waits(&fresh, &denied, now).0, "AWS_ACCESS_DENIED");
}

#[test]
fn a_cancelled_operation_ends_only_when_all_it_started_has_ended() {
    let cancel = |mode| Some(Cancel { mode, at: start(), by: "ann".into(), note: String::new() });
    let mut saved = saved(Kind::Install, 4);
    set(&mut saved, 0..1, TargetState::Running, Some("c-1"));
    set(&mut saved, 1..2, TargetState::Dispatched, Some("c-1"));
    set(&mut saved, 2..3, TargetState::Dispatched, None);
    saved.dispatches.push(Dispatch { instance_ids: vec![id(2)], ..intent(start()) });
    saved.control.cancel = cancel(CancelMode::StopNew);
    let now = after(10);
    let polled = Observed { last_poll: Some(now), ..searched(10, None, false) };
    assert!(matches!(next(&saved, &polled, now), Step::Become { state: State::Cancelling, .. }));
    saved.operation.state = State::Cancelling;
    let Step::EndTargets { state: TargetState::Cancelled, which: Which::Pending, .. } = next(&saved, &polled, now)
    else {
        panic!("what was not begun is cancelled")
    };
    saved.targets[3].become_(TargetState::Cancelled, "CANCELLED", "", now);
    let undelivered = BTreeMap::from([("c-1".to_owned(), vec![id(1)])]);
    assert_eq!(next(&saved, &polled, now), Step::CancelCommands { commands: undelivered });
    saved.control.cancel = cancel(CancelMode::InterruptRunning);
    let all = BTreeMap::from([("c-1".to_owned(), vec![id(0), id(1)])]);
    assert_eq!(next(&saved, &polled, now), Step::CancelCommands { commands: all });
    let asked = Observed { last_cancel: Some(now), ..polled.clone() };
    assert!(matches!(next(&saved, &asked, now), Step::Sleep { .. }));
    saved.targets[0].become_(TargetState::Succeeded, "", "", now);
    saved.targets[1].become_(TargetState::Cancelled, "", "", now);
    assert!(matches!(next(&saved, &asked, now), Step::Sleep { .. }), "a send of unknown fate keeps it open");
    saved.dispatches[0].outcome = DispatchOutcome::Absent { explanation: String::new() };
    saved.targets[2].become_(TargetState::Pending, "", "", now);
    assert!(matches!(next(&saved, &asked, now), Step::EndTargets { state: TargetState::Cancelled, .. }), "not again");
    saved.targets[2].become_(TargetState::Cancelled, "CANCELLED", "", now);
    assert!(matches!(next(&saved, &asked, now), Step::Become { state: State::Cancelled, .. }));
}

#[test]
fn the_cut_off_follows_what_aws_says_of_executions() {
    let mut saved = saved(Kind::Install, 2);
    set(&mut saved, 0..1, TargetState::Succeeded, Some("c-1"));
    // Three hours of execution, where two were assumed.
    let expires_after = Some(start() + SignedDuration::from_secs(600 + 3 * 3600));
    let outcome = DispatchOutcome::Sent { command_id: "c-1".into(), expires_after };
    saved.dispatches.push(Dispatch { outcome, ..intent(start()) });
    let assumed = saved.operation.deadline - saved.operation.spec.dispatch_cut_off(None);
    let told = assumed - SignedDuration::from_hours(1);
    assert!(matches!(next(&saved, &Observed::default(), told), Step::EndTargets { reason: "DEADLINE", .. }));
    assert!(matches!(
        next(&saved, &Observed::default(), told - SignedDuration::from_secs(1)),
        Step::Dispatch { timeout_s: 30, .. }
    ));
}

#[test]
fn too_many_failures_stop_what_has_not_begun() {
    let mut saved = saved(Kind::Install, 40);
    // 5 percent of 40 are 2: the third failure stops it.
    set(&mut saved, 0..2, TargetState::Failed, Some("c-1"));
    assert!(matches!(next(&saved, &Observed::default(), start()), Step::Dispatch { .. }));
    set(&mut saved, 2..3, TargetState::Unknown, Some("c-1"));
    let Step::EndTargets { reason, which: Which::Pending, state: TargetState::Skipped, .. } =
        next(&saved, &Observed::default(), start())
    else {
        panic!("pending targets must be skipped")
    };
    assert_eq!(reason, "THRESHOLD_EXCEEDED");
    for target in &mut saved.targets {
        target.become_(TargetState::Skipped, reason, "", start());
    }
    assert!(matches!(
        next(&saved, &Observed::default(), start()),
        Step::Become { state: State::Failed, reason: "THRESHOLD_EXCEEDED", .. }
    ));
}

#[test]
fn nothing_is_sent_when_too_little_time_is_left() {
    let saved = saved(Kind::Install, 3);
    let late = saved.operation.deadline - saved.operation.spec.dispatch_cut_off(None);
    assert!(matches!(next(&saved, &Observed::default(), late), Step::EndTargets { reason: "DEADLINE", .. }));
    let Step::Dispatch { timeout_s, .. } = next(&saved, &Observed::default(), late - SignedDuration::from_secs(100))
    else {
        panic!("there was time left")
    };
    assert_eq!(timeout_s, 100);
}

#[test]
fn the_deadline_ends_everything_in_order() {
    let mut saved = saved(Kind::Install, 3);
    set(&mut saved, 0..1, TargetState::Dispatched, None);
    set(&mut saved, 1..2, TargetState::Running, Some("c-1"));
    saved.dispatches.push(intent(start()));
    let late = saved.operation.deadline;
    assert_eq!(next(&saved, &Observed::default(), late), Step::GiveUp { batch: 1 });
    saved.dispatches[0].outcome = DispatchOutcome::Unproven;
    saved.targets[0].become_(TargetState::Unknown, "DISPATCH_UNPROVEN", "", late);
    assert!(matches!(next(&saved, &Observed::default(), late), Step::EndTargets { which: Which::Pending, .. }));
    saved.targets[2].become_(TargetState::Skipped, "DEADLINE", "", late);
    assert!(matches!(
        next(&saved, &Observed::default(), late),
        Step::EndTargets { which: Which::Active, state: TargetState::TimedOut, .. }
    ));
    saved.targets[1].become_(TargetState::TimedOut, "DEADLINE", "", late);
    assert!(matches!(
        next(&saved, &Observed::default(), late),
        Step::Become { state: State::Failed, reason: "DEADLINE", .. }
    ));
}

#[test]
fn polling_is_slow_while_nothing_changes() {
    let mut saved = saved(Kind::Install, 1);
    set(&mut saved, 0..1, TargetState::Running, Some("c-1"));
    for (now, pace) in [(after(60), BUSY_POLL), (after(3600), QUIET_POLL)] {
        let observed = Observed { last_poll: Some(now), ..Observed::default() };
        let Step::Sleep { until } = next(&saved, &observed, now) else { panic!("it was just polled") };
        assert_eq!(until, now + pace);
    }
}

#[test]
fn the_end_says_how_it_went() {
    for (states, named, expected) in [
        (vec![TargetState::Succeeded, TargetState::Succeeded], false, State::Succeeded),
        (vec![TargetState::Succeeded, TargetState::Skipped], false, State::Succeeded),
        (vec![TargetState::Succeeded, TargetState::Skipped], true, State::CompletedWithFailures),
        (vec![TargetState::Succeeded, TargetState::Failed], false, State::CompletedWithFailures),
        (vec![TargetState::Unknown, TargetState::TimedOut], false, State::CompletedWithFailures),
    ] {
        let mut saved = saved(Kind::Scan, states.len());
        for (target, state) in saved.targets.iter_mut().zip(&states) {
            target.named = named;
            target.become_(*state, "NOT_RUNNING", "", start());
        }
        let Step::Become { state, .. } = next(&saved, &Observed::default(), start()) else { panic!("all have ended") };
        assert_eq!(state, expected, "{states:?} named: {named}");
    }
}

pub(super) fn report(operation: &str, snapshot: &str, end: i64, missing: u32) -> PatchSummary {
    PatchSummary {
        id: id(0),
        patch_group: "web".into(),
        baseline_id: "pb-0be8c61cde3be63f3".into(),
        operation: operation.into(),
        operation_start: Some(start()),
        operation_end: Some(after(end)),
        snapshot_id: snapshot.into(),
        reboot_option: "RebootIfNeeded".into(),
        installed: 3,
        installed_other: 0,
        installed_pending_reboot: 0,
        installed_rejected: 0,
        missing,
        failed: 0,
        not_applicable: 0,
        available_security_updates: 0,
        critical_non_compliant: 0,
        security_non_compliant: 0,
        other_non_compliant: 0,
    }
}

pub(super) fn node(last_ping: i64) -> ManagedNode {
    ManagedNode {
        id: id(0),
        ping: PingStatus::Online,
        last_ping: Some(after(last_ping)),
        agent_version: "3.3.40.0".into(),
        platform_type: "Linux".into(),
        platform_name: "Amazon Linux".into(),
        platform_version: "2".into(),
        computer_name: "web-1".into(),
        ip_address: "10.0.0.1".into(),
    }
}

/// A target whose command ended at second 100.
fn ended(saved: &Saved, before: Option<PatchSummary>) -> Target {
    let mut target = saved.targets[0].clone();
    target.attempt = 1;
    target.before = before;
    target.command_end = Some(after(100));
    target.become_(TargetState::Verifying, "", "", after(100));
    target
}

#[test]
fn only_our_own_fresh_report_is_the_outcome() {
    let saved = saved(Kind::Install, 1);
    let ours = saved.operation.snapshot_id.clone();
    let old = report("Install", &ours, 50, 0);
    for (summary, now, state, reason) in [
        (Some(report("Install", &ours, 95, 0)), 101, TargetState::Succeeded, ""),
        (Some(report("Install", &ours, 95, 2)), 101, TargetState::Failed, "PATCHES_MISSING"),
        // Another kind, another snapshot, or the report that was there before: not ours.
        (Some(report("Scan", &ours, 95, 0)), 101, TargetState::Verifying, ""),
        (Some(report("Install", "other", 95, 0)), 101, TargetState::Verifying, ""),
        (Some(old.clone()), 101, TargetState::Verifying, ""),
        (Some(report("Scan", "other", 95, 0)), 800, TargetState::Unknown, "OVERWRITTEN"),
        (Some(old.clone()), 800, TargetState::Unknown, "NOT_REPORTED"),
    ] {
        let mut target = ended(&saved, Some(old.clone()));
        outcome::verify(&mut target, summary.as_ref(), Some(&node(101)), &saved.operation, after(now));
        assert_eq!((target.state, target.reason.as_str()), (state, reason), "{summary:?} at {now}");
    }
}

#[test]
fn an_install_ends_only_when_the_agent_was_heard_of_again() {
    let saved = saved(Kind::Install, 1);
    let report = report("Install", &saved.operation.snapshot_id, 95, 0);
    let back_within = outcome::BACK_WITHIN.as_secs();
    for (ping, now, state, reason) in [
        (99, 110, TargetState::Verifying, ""),
        (101, 110, TargetState::Succeeded, ""),
        (99, 100 + back_within, TargetState::TimedOut, "AGENT_NOT_BACK"),
    ] {
        let mut target = ended(&saved, None);
        outcome::verify(&mut target, Some(&report), Some(&node(ping)), &saved.operation, after(now));
        assert_eq!((target.state, target.reason.as_str()), (state, reason), "ping {ping} at {now}");
    }
}

#[test]
fn a_small_batch_waits_a_moment_for_more_free_places() {
    let mut saved = saved(Kind::Install, 100);
    saved.operation.spec.concurrency = InstanceLimit::Count(50);
    set(&mut saved, 0..5, TargetState::Succeeded, Some("c"));
    set(&mut saved, 5..50, TargetState::Running, Some("c"));
    let outcome = DispatchOutcome::Sent { command_id: "c".into(), expires_after: None };
    saved.dispatches.push(Dispatch { outcome, ..intent(start()) });
    let observed = Observed { last_poll: Some(after(28)), ..Observed::default() };
    assert_eq!(next(&saved, &observed, after(29)), Step::Sleep { until: after(30) });
    assert_eq!(dispatched(&next(&saved, &observed, after(30))), 5, "it has waited enough");
    set(&mut saved, 5..10, TargetState::Succeeded, Some("c"));
    assert_eq!(dispatched(&next(&saved, &observed, after(29))), 10, "a fifth is free");
}
