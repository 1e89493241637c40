//! How targets end, as tables: what is said by the facts alone, and how progress and reports become facts.

use super::*;
use crate::{
    operation::tests::{after, id, node, report, saved},
    store::Saved,
};
use patchplane_rules::Retry;

const INSTALL: (Kind, Option<RebootOption>) = (Kind::Install, Some(RebootOption::RebootIfNeeded));
const NO_REBOOT: (Kind, Option<RebootOption>) = (Kind::Install, Some(RebootOption::NoReboot));
const SCAN: (Kind, Option<RebootOption>) = (Kind::Scan, None);
const DISK: Option<FailureClass> = Some(FailureClass::DiskFull);
const UNCLASSIFIED: Option<FailureClass> = Some(FailureClass::Unclassified);
const TIMED_OUT: Option<FailureClass> = Some(FailureClass::ExecutionTimedOut);

/// What Systems Manager holds of the node.
#[derive(Clone, Copy, Debug)]
enum Holds {
    /// Ours, with so many missing, failed and pending a reboot.
    Ours(u32, u32, u32),
    /// What it held before the attempt.
    Old,
    /// Another run's, that ended before this one's end.
    Others,
    /// Another run's, that ended after it.
    Later,
}

use Holds::{Later, Old, Others, Ours};
use Verdict::{Failed, Succeeded, Unknown, Wait};

fn verdict(
    (kind, reboot_option): (Kind, Option<RebootOption>),
    failure: Option<FailureClass>,
    holds: Holds,
    (rebooted, back): (bool, bool),
    minutes: i64,
) -> Verdict {
    let ours = match holds {
        Ours(missing, failed, pending) => {
            let report = report("Install", "ours", 95, missing);
            Some(PatchSummary { failed, installed_pending_reboot: pending, ..report })
        }
        Old | Others | Later => None,
    };
    judge(Facts {
        kind,
        reboot_option,
        failure,
        report: ours.as_ref(),
        overwritten: matches!(holds, Others | Later),
        lost: matches!(holds, Later),
        rebooted,
        back,
        waited: SignedDuration::from_mins(minutes),
    })
}

#[test]
fn the_outcome_is_what_the_attempt_reported_and_the_commands_status_stands_beside_it() {
    // "Truth" in the design: our snapshot, the kind asked for, a fresh end (here `Ours`); the agent heard of after the end.
    let (away, back, rebooted_away) = ((false, false), (false, true), (true, false));
    for (asked, failure, holds, seen, minutes, expected) in [
        // A scan needs its report alone.
        (SCAN, None, Ours(7, 0, 0), away, 0, Succeeded("")),
        (SCAN, None, Old, back, 9, Wait),
        (SCAN, None, Old, back, 10, Unknown("NOT_REPORTED")),
        (SCAN, None, Others, back, 9, Wait),
        (SCAN, None, Others, back, 10, Unknown("OVERWRITTEN")),
        // What came after this run's end has taken its place for good.
        (SCAN, None, Later, back, 0, Unknown("OVERWRITTEN")),
        (SCAN, DISK, Old, back, 1, Wait),
        (SCAN, DISK, Old, back, 2, Failed(FailureClass::DiskFull)),
        (SCAN, DISK, Later, back, 0, Failed(FailureClass::DiskFull)),
        (SCAN, DISK, Ours(7, 0, 0), away, 0, Succeeded("COMMAND_ERROR")),
        (SCAN, TIMED_OUT, Old, away, 2, Failed(FailureClass::ExecutionTimedOut)),
        // An installation also needs its agent back.
        (INSTALL, None, Ours(0, 0, 0), back, 0, Succeeded("")),
        (INSTALL, None, Ours(0, 0, 0), away, 19, Wait),
        (INSTALL, None, Ours(0, 0, 0), away, 20, Failed(FailureClass::AgentNotBack)),
        (INSTALL, None, Ours(2, 0, 0), away, 19, Wait),
        (INSTALL, None, Ours(2, 0, 0), back, 0, Failed(FailureClass::PatchesMissing)),
        (INSTALL, None, Ours(2, 1, 0), back, 0, Failed(FailureClass::PatchesFailed)),
        (INSTALL, None, Later, back, 0, Unknown("OVERWRITTEN")),
        // Pending a reboot that should have been: perhaps the report from before it.
        (INSTALL, None, Ours(0, 0, 2), back, 9, Wait),
        (INSTALL, None, Ours(0, 0, 2), back, 10, Succeeded("REBOOT_PENDING")),
        (NO_REBOOT, None, Ours(0, 0, 2), back, 0, Succeeded("")),
        // The command failed before anything was reported.
        (INSTALL, DISK, Old, back, 1, Wait),
        (INSTALL, DISK, Old, back, 2, Failed(FailureClass::DiskFull)),
        (INSTALL, DISK, Old, away, 2, Failed(FailureClass::DiskFull)),
        (INSTALL, UNCLASSIFIED, Others, back, 2, Failed(FailureClass::Unclassified)),
        // It failed, and says why something is left undone; if it does not say, the report does.
        (INSTALL, DISK, Ours(2, 1, 0), away, 0, Failed(FailureClass::DiskFull)),
        (INSTALL, UNCLASSIFIED, Ours(2, 1, 0), away, 0, Failed(FailureClass::PatchesFailed)),
        (INSTALL, UNCLASSIFIED, Ours(2, 0, 0), back, 0, Failed(FailureClass::PatchesMissing)),
        // aws/amazon-ssm-agent#681: everything is installed, rebooted, and the command Failed all the same.
        (INSTALL, UNCLASSIFIED, Ours(0, 0, 0), back, 0, Succeeded("COMMAND_ERROR")),
        (INSTALL, UNCLASSIFIED, Ours(0, 0, 0), away, 19, Wait),
        (INSTALL, UNCLASSIFIED, Ours(0, 0, 0), away, 20, Failed(FailureClass::AgentNotBack)),
        // aws/amazon-ssm-agent#549, LanternOps/breeze#4228: the reboot that was asked for was skipped.
        (INSTALL, DISK, Ours(0, 0, 2), back, 9, Wait),
        (INSTALL, DISK, Ours(0, 0, 2), back, 10, Failed(FailureClass::RebootPending)),
        (NO_REBOOT, DISK, Ours(0, 0, 2), back, 0, Succeeded("COMMAND_ERROR")),
        // aws/amazon-ssm-agent#320: installed, rebooted, and the agent never started again: InProgress until it expired.
        (INSTALL, TIMED_OUT, Ours(0, 0, 2), rebooted_away, 19, Wait),
        (INSTALL, TIMED_OUT, Ours(0, 0, 2), rebooted_away, 20, Failed(FailureClass::AgentNotBack)),
        (INSTALL, TIMED_OUT, Old, rebooted_away, 19, Wait),
        (INSTALL, TIMED_OUT, Old, rebooted_away, 20, Failed(FailureClass::AgentNotBack)),
        // aws/amazon-ssm-agent#289: it did come back, half an hour late, and reported what it had done.
        (INSTALL, TIMED_OUT, Ours(0, 0, 0), (true, true), 5, Succeeded("COMMAND_ERROR")),
        (INSTALL, TIMED_OUT, Ours(0, 0, 2), (true, true), 10, Failed(FailureClass::RebootPending)),
        // Its agent lives, and its step was stopped.
        (INSTALL, TIMED_OUT, Old, back, 1, Wait),
        (INSTALL, TIMED_OUT, Old, back, 2, Failed(FailureClass::ExecutionTimedOut)),
        (INSTALL, TIMED_OUT, Old, away, 19, Wait),
        (INSTALL, TIMED_OUT, Old, away, 20, Failed(FailureClass::ExecutionTimedOut)),
        (INSTALL, TIMED_OUT, Ours(2, 0, 0), back, 0, Failed(FailureClass::ExecutionTimedOut)),
        (INSTALL, TIMED_OUT, Ours(2, 0, 0), away, 19, Wait),
        (INSTALL, TIMED_OUT, Ours(2, 0, 0), away, 20, Failed(FailureClass::AgentNotBack)),
    ] {
        let found = verdict(asked, failure, holds, seen, minutes);
        assert_eq!(found, expected, "{asked:?} {failure:?} {holds:?} rebooted/back {seen:?} after {minutes} min");
    }
}

#[test]
fn every_verdict_comes_in_time_whatever_the_facts_are() {
    for asked in [SCAN, INSTALL, NO_REBOOT] {
        for failure in [None, DISK, UNCLASSIFIED, TIMED_OUT] {
            for holds in [Ours(0, 0, 0), Ours(0, 0, 1), Ours(1, 0, 0), Ours(0, 1, 0), Old, Others, Later] {
                for seen in [(false, false), (false, true), (true, false), (true, true)] {
                    let facts = (asked, failure, holds, seen);
                    assert_ne!(verdict(asked, failure, holds, seen, 20), Wait, "{facts:?}");
                    // Good only by a report of this very attempt that leaves nothing undone.
                    for minutes in [0, 1, 5, 10, 20] {
                        let found = verdict(asked, failure, holds, seen, minutes);
                        let good = matches!(holds, Ours(0, 0, _)) || asked == SCAN && matches!(holds, Ours(..));
                        assert!(good || !matches!(found, Succeeded(_)), "{facts:?}: {found:?}");
                        assert!(seen.1 || asked == SCAN || !matches!(found, Succeeded(_)), "{facts:?}: {found:?}");
                    }
                }
            }
        }
    }
}

// === From progress to facts ===

fn invocation(status: &str, details: &str, code: i32, output: &str) -> Invocation {
    let step = StepResult {
        name: "PatchLinux".into(),
        status: if status == "Success" { "Success" } else { "Failed" }.into(),
        status_details: details.into(),
        response_code: code,
        started: Some(after(10)),
        finished: Some(after(100)),
        output: output.into(),
        skipped_by_platform: false,
    };
    Invocation {
        instance_id: id(0),
        status: InvocationStatus::parse(status),
        status_details: details.into(),
        steps: vec![step],
    }
}

/// An operation whose one target was sent a command at second 0.
fn sent(kind: Kind) -> (Saved, Target) {
    let mut saved = saved(kind, 1);
    let target = &mut saved.targets[0];
    target.attempt = 1;
    target.command_id = Some("c-1".into());
    target.dispatch_time = Some(after(0));
    target.become_(TargetState::Dispatched, "", "", after(0));
    let target = target.clone();
    (saved, target)
}

#[test]
fn a_failed_command_names_its_class_its_line_and_what_to_do() {
    let (saved, mut target) = sent(Kind::Install);
    let output = "working\n----------ERROR-------\nOSError: [Errno 28] No space left on device\n\
                  failed to run commands: exit status 1";
    observe(&mut target, &invocation("Failed", "Failed", 1, output), None, &saved.operation, after(101));
    assert_eq!(target.state, TargetState::Verifying, "what it reported may be good all the same");
    assert!(!verify(&mut target, None, Some(&node(102)), &saved.operation, after(200)));
    assert!(verify(&mut target, None, Some(&node(102)), &saved.operation, after(101 + 120)));
    assert_eq!((target.state, target.reason.as_str()), (TargetState::Failed, "DISK_FULL"));
    assert_eq!(target.explanation, "the command failed: exit status 1, OSError: [Errno 28] No space left on device");
    assert_eq!(target.retry, Some(Retry::AfterFix));
    assert_eq!(target.hint, FailureClass::DiskFull.hint());
    assert_eq!(target.command_status, "Failed");
}

#[test]
fn an_installation_that_is_complete_succeeds_although_its_command_failed() {
    let (saved, mut target) = sent(Kind::Install);
    let ours = report("Install", &saved.operation.snapshot_id, 95, 0);
    let failed = invocation("Failed", "Failed", 1, "something at the end\nfailed to run commands: exit status 1");
    observe(&mut target, &failed, Some(&ours), &saved.operation, after(101));
    assert!(verify(&mut target, Some(&ours), Some(&node(102)), &saved.operation, after(110)));
    assert_eq!((target.state, target.reason.as_str()), (TargetState::Succeeded, "COMMAND_ERROR"));
    assert_eq!(target.explanation, "the command failed: exit status 1, something at the end; nothing is missing");
    assert_eq!((target.retry, target.command_status.as_str()), (None, "Failed"));
    assert_eq!(target.after, Some(ours));
}

#[test]
fn what_never_reached_the_instance_ends_at_once_and_what_did_is_awaited() {
    for (status, details, delivered, state, reason) in [
        ("TimedOut", "DeliveryTimedOut", false, TargetState::TimedOut, "DELIVERY_TIMED_OUT"),
        ("TimedOut", "DeliveryTimedOut", true, TargetState::Verifying, ""),
        ("TimedOut", "ExecutionTimedOut", true, TargetState::Verifying, ""),
        ("Failed", "Undeliverable", false, TargetState::Failed, "UNDELIVERABLE"),
        ("Failed", "AccessDenied", false, TargetState::Failed, "NODE_ACCESS_DENIED"),
        ("Cancelled", "Cancelled", true, TargetState::Cancelled, "COMMAND_CANCELLED"),
        ("Cancelled", "Terminated", false, TargetState::Cancelled, "COMMAND_CANCELLED"),
    ] {
        let (saved, mut target) = sent(Kind::Install);
        let of = |status: &str, details: &str| Invocation { steps: vec![], ..invocation(status, details, -1, "") };
        if delivered {
            observe(&mut target, &of("InProgress", "InProgress"), None, &saved.operation, after(20));
        }
        observe(&mut target, &of(status, details), None, &saved.operation, after(101));
        assert_eq!((target.state, target.reason.as_str()), (state, reason), "{status} {details}");
        assert_eq!(target.retry.is_some(), state.is_terminal());
        if details == "DeliveryTimedOut" && delivered {
            // S 6.1.18: the same name for what was given up in progress.
            assert!(verify(&mut target, None, Some(&node(102)), &saved.operation, after(101 + 120)));
            assert_eq!(target.reason, "EXECUTION_TIMED_OUT");
        }
    }
}

#[test]
fn output_that_was_cut_is_read_once_and_tells_the_class() {
    let (saved, mut target) = sent(Kind::Scan);
    let cut = format!("{}\n---Output truncated---", "x".repeat(2_400));
    observe(&mut target, &invocation("Failed", "Failed", 1, &cut), None, &saved.operation, after(101));
    let failure = target.failure.clone().unwrap();
    assert_eq!((failure.class, failure.unread_step.as_deref()), (FailureClass::Unclassified, Some("PatchLinux")));
    let whole = StepOutput {
        status: "Failed".into(),
        status_details: "Failed".into(),
        response_code: 1,
        stdout: "a\nE: Unable to fetch some archives, maybe run apt-get update\nb".into(),
        stderr: "failed to run commands: exit status 1".into(),
        stdout_truncated: false,
        stderr_truncated: false,
        started: None,
        finished: None,
        elapsed_s: None,
        stdout_url: String::new(),
    };
    read_output(&mut target, Some(&whole));
    let failure = target.failure.clone().unwrap();
    assert_eq!((failure.class, failure.unread_step), (FailureClass::NoSource, None));
    assert_eq!(failure.evidence, "E: Unable to fetch some archives, maybe run apt-get update");

    // Where the list shows all of it, or AWS has no more, it is not asked for.
    let (saved, mut target) = sent(Kind::Scan);
    observe(&mut target, &invocation("Failed", "Failed", 146, "short"), None, &saved.operation, after(101));
    assert_eq!(target.failure.unwrap().unread_step, None);
    let (saved, mut target) = sent(Kind::Scan);
    observe(&mut target, &invocation("Failed", "Failed", 156, &cut), None, &saved.operation, after(101));
    read_output(&mut target, None);
    let failure = target.failure.unwrap();
    assert_eq!((failure.class, failure.unread_step), (FailureClass::PayloadDownloadFailed, None));
}

#[test]
fn a_report_that_was_seen_when_the_command_ended_is_the_outcome_even_if_it_is_overwritten_then() {
    let (saved, mut target) = sent(Kind::Install);
    let ours = report("Install", &saved.operation.snapshot_id, 95, 0);
    observe(&mut target, &invocation("Success", "Success", 0, ""), Some(&ours), &saved.operation, after(101));
    let others = report("Scan", "other", 130, 4);
    assert!(!is_overwritten(&target, Some(&others), &saved.operation, after(9999)));
    assert!(verify(&mut target, Some(&others), Some(&node(140)), &saved.operation, after(140)));
    assert_eq!((target.state, target.after.unwrap().missing), (TargetState::Succeeded, 0));
}

#[test]
fn the_snapshot_that_counts_is_the_one_the_command_was_sent_with() {
    let (mut saved, mut target) = sent(Kind::Install);
    target.snapshot_id.clone_from(&saved.operation.snapshot_id);
    let ours = report("Install", &saved.operation.snapshot_id, 95, 0);
    saved.operation.snapshot_id = "renewed".into();
    observe(&mut target, &invocation("Success", "Success", 0, ""), Some(&ours), &saved.operation, after(101));
    assert!(verify(&mut target, Some(&ours), Some(&node(140)), &saved.operation, after(140)));
    assert_eq!((target.state, target.reason.as_str()), (TargetState::Succeeded, ""));
}

#[test]
fn compliance_items_decide_only_where_all_of_them_are_of_our_command() {
    let item = |command: &str, state: PatchState| PatchItem {
        execution_id: command.into(),
        execution_time: Some(after(96)),
        state,
        baseline_id: "pb-0be8c61cde3be63f3".into(),
        patch_group: "web".into(),
    };
    let (saved, mut target) = sent(Kind::Install);
    observe(&mut target, &invocation("Success", "Success", 0, ""), None, &saved.operation, after(101));
    let (earlier, later) = (report("Scan", "other", 90, 4), report("Scan", "other", 130, 4));
    // Of a run that ended before ours only after a while, for ours may still come; of a later one at once.
    assert!(!is_overwritten(&target, Some(&earlier), &saved.operation, after(102)));
    assert!(is_overwritten(&target, Some(&earlier), &saved.operation, after(101 + 600)));
    assert!(is_overwritten(&target, Some(&later), &saved.operation, after(131)));

    let ours = [item("c-1", PatchState::Installed), item("c-1", PatchState::Missing)];
    let found = report_of_items(&ours, &target, &saved.operation).unwrap();
    assert_eq!((found.installed, found.missing, found.failed), (1, 1, 0));
    let mut judged = target.clone();
    assert!(verify(&mut judged, Some(&found), Some(&node(140)), &saved.operation, after(140)));
    assert_eq!((judged.state, judged.reason.as_str()), (TargetState::Failed, "PATCHES_MISSING"));

    assert_eq!(report_of_items(&[], &target, &saved.operation), None);
    let mixed = [item("c-1", PatchState::Installed), item("c-2", PatchState::Installed)];
    assert_eq!(report_of_items(&mixed, &target, &saved.operation), None);
    assert!(verify(&mut target, Some(&later), Some(&node(140)), &saved.operation, after(140)));
    assert_eq!((target.state, target.reason.as_str()), (TargetState::Unknown, "OVERWRITTEN"));
}

#[test]
fn the_instances_clock_neither_hastens_nor_delays_a_verdict() {
    for (finished, end) in [(-4000, 0), (5000, 101), (90, 90)] {
        let (saved, mut target) = sent(Kind::Install);
        let mut succeeded = invocation("Success", "Success", 0, "");
        succeeded.steps[0].finished = Some(after(finished));
        observe(&mut target, &succeeded, None, &saved.operation, after(101));
        assert_eq!(target.command_end, Some(after(end)), "finished at {finished}");
        // Ten minutes for the report, since this server saw the end.
        assert!(!verify(&mut target, None, Some(&node(102)), &saved.operation, after(101 + 599)));
        assert!(verify(&mut target, None, Some(&node(102)), &saved.operation, after(101 + 600)));
        assert_eq!(target.reason, "NOT_REPORTED");
    }
}
