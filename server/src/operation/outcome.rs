//! What became of a target: from the command's progress while it runs, from what the instance reported once it ended.

use crate::domain::operation::{Kind, Operation, RebootOption, Step, StepState, Target, TargetState};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::{Invocation, InvocationStatus, StepResult};
use patchplane_rules::{ManagedNode, PatchSummary};

/// How long an agent may stay away after its command has ended.
pub(crate) const BACK_WITHIN: SignedDuration = SignedDuration::from_mins(20);
/// How long the patch state may take to show after the command has ended.
const REPORTED_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// Takes in a command's progress on its target. `summary` is what Systems Manager holds of the node meanwhile: the
/// payload uploads its state before a reboot, so our snapshot with patches pending a reboot means that one is under way.
pub(crate) fn observe(
    target: &mut Target,
    invocation: &Invocation,
    summary: Option<&PatchSummary>,
    operation: &Operation,
    now: Timestamp,
) {
    if target.state.is_terminal() || target.state == TargetState::Verifying {
        return;
    }
    let steps: Vec<Step> = invocation.steps.iter().map(step).collect();
    let (before_state, before_steps) = (target.state, std::mem::replace(&mut target.steps, steps));
    if before_steps != target.steps || target.command_status != invocation.status_details {
        target.update_time = now;
    }
    target.command_status.clone_from(&invocation.status_details);
    let details = invocation.status_details.as_str();
    match &invocation.status {
        InvocationStatus::Pending | InvocationStatus::Delayed => {}
        InvocationStatus::InProgress | InvocationStatus::Cancelling => {
            let rebooting = operation.spec.reboot_option == Some(RebootOption::RebootIfNeeded)
                && summary.is_some_and(|s| is_ours(s, target, operation) && s.installed_pending_reboot > 0);
            let (state, explanation) = if rebooting {
                target.rebooted = true;
                (TargetState::Rebooting, "patches are installed; it reboots")
            } else {
                (TargetState::Running, "its agent works on the command")
            };
            if state != before_state {
                target.become_(state, "", explanation, now);
            }
        }
        InvocationStatus::Success => {
            target.command_end = Some(ended(invocation, now));
            target.become_(TargetState::Verifying, "", "the command succeeded; its outcome is verified", now);
        }
        InvocationStatus::Failed => {
            target.command_end = Some(ended(invocation, now));
            let evidence = evidence(invocation);
            target.become_(TargetState::Failed, "COMMAND_FAILED", format!("the command failed: {evidence}"), now);
        }
        InvocationStatus::TimedOut => {
            let (reason, explanation) = match details {
                "DeliveryTimedOut" => {
                    ("DELIVERY_TIMED_OUT", "the command was not delivered in time: its agent did not answer")
                }
                _ => ("EXECUTION_TIMED_OUT", "the command was delivered and did not end in time"),
            };
            target.become_(TargetState::TimedOut, reason, explanation, now);
        }
        InvocationStatus::Cancelled => {
            target.become_(TargetState::Cancelled, "COMMAND_CANCELLED", "the command was cancelled in AWS", now);
        }
        // A status of tomorrow: shown in `command_status`, decided by the deadline.
        InvocationStatus::Unknown(_) => {}
    }
}

/// Judges a target whose command has ended well by what its instance reported. `false`: not yet.
pub(crate) fn verify(
    target: &mut Target,
    summary: Option<&PatchSummary>,
    node: Option<&ManagedNode>,
    operation: &Operation,
    now: Timestamp,
) -> bool {
    let ended = target.command_end.unwrap_or(now);
    let waited = now.duration_since(ended);
    let Some(report) = summary.filter(|summary| is_ours(summary, target, operation)) else {
        if waited < REPORTED_WITHIN {
            return false;
        }
        let changed = summary.and_then(|s| s.operation_end) != target.before.as_ref().and_then(|s| s.operation_end);
        let (reason, explanation) = if changed {
            ("OVERWRITTEN", "another run has overwritten what this one reported")
        } else {
            ("NOT_REPORTED", "the command succeeded, but no patch state came of it")
        };
        target.become_(TargetState::Unknown, reason, explanation, now);
        return true;
    };
    if operation.spec.kind == Kind::Install {
        let back = node.and_then(|node| node.last_ping).is_some_and(|ping| ping > ended);
        if !back && waited < BACK_WITHIN {
            return false;
        }
        if !back {
            let explanation = format!("its agent was not heard of within {BACK_WITHIN:#} after the command's end");
            target.after = Some(report.clone());
            target.become_(TargetState::TimedOut, "AGENT_NOT_BACK", explanation, now);
            return true;
        }
    }
    target.after = Some(report.clone());
    let (state, reason, explanation) = match operation.spec.kind {
        Kind::Scan => (TargetState::Succeeded, "", scanned(report)),
        Kind::Install if report.failed > 0 => {
            (TargetState::Failed, "PATCHES_FAILED", format!("{} patches could not be installed", report.failed))
        }
        Kind::Install if report.missing > 0 => {
            (TargetState::Failed, "PATCHES_MISSING", format!("{} approved patches are still missing", report.missing))
        }
        Kind::Install => (TargetState::Succeeded, "", installed(target, report)),
    };
    target.become_(state, reason, explanation, now);
    true
}

/// Whether this report is the outcome of this attempt: our snapshot, the kind asked for, and an end that differs from
/// what was read before.
fn is_ours(report: &PatchSummary, target: &Target, operation: &Operation) -> bool {
    let kind = match operation.spec.kind {
        Kind::Scan => "Scan",
        Kind::Install => "Install",
    };
    let before = target.before.as_ref().and_then(|before| before.operation_end);
    report.snapshot_id == operation.snapshot_id
        && report.operation == kind
        && report.operation_end.is_some()
        && report.operation_end != before
}

fn scanned(report: &PatchSummary) -> String {
    match report.missing {
        0 => "scanned: nothing is missing".into(),
        1 => "scanned: 1 patch is missing".into(),
        missing => format!("scanned: {missing} patches are missing"),
    }
}

fn installed(target: &Target, report: &PatchSummary) -> String {
    let reboot = match (target.rebooted, report.installed_pending_reboot) {
        (true, _) => ", rebooted and back",
        (false, 0) => "",
        (false, _) => ", waiting for a reboot",
    };
    let before = target.before.as_ref().map_or(0, |before| before.missing);
    if before == 0 {
        return format!("nothing is missing{reboot}");
    }
    format!("nothing is missing ({before} were before){reboot}")
}

/// When the command's own step ended; now, if AWS does not say.
fn ended(invocation: &Invocation, now: Timestamp) -> Timestamp {
    invocation
        .steps
        .iter()
        .filter(|step| !step.skipped_by_platform)
        .filter_map(|step| step.finished)
        .max()
        .unwrap_or(now)
}

/// The last line that a failed step printed.
fn evidence(invocation: &Invocation) -> String {
    let failed = invocation.steps.iter().find(|step| step.status == "Failed");
    let line = failed.and_then(|step| step.output.lines().rev().find(|line| !line.trim().is_empty()));
    let code = failed.map_or(-1, |step| step.response_code);
    match line {
        Some(line) => format!("exit status {code}, {}", line.trim()),
        None => format!("exit status {code}, and it printed nothing"),
    }
}

fn step(result: &StepResult) -> Step {
    let state = match result.status.as_str() {
        _ if result.skipped_by_platform => StepState::Skipped,
        "Pending" => StepState::Pending,
        "Success" => StepState::Succeeded,
        "TimedOut" => StepState::TimedOut,
        "Cancelled" => StepState::Cancelled,
        "Failed" => StepState::Failed,
        _ => StepState::Running,
    };
    Step {
        name: result.name.clone(),
        state,
        status_details: result.status_details.clone(),
        response_code: result.response_code,
        started: result.started,
        finished: result.finished,
    }
}
