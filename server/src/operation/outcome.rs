//! What became of a target: from the command's progress while it runs, from what the instance reported once it ended.

#[cfg(test)]
mod tests;

use crate::domain::{
    operation::{Kind, Operation, RebootOption, Step, StepState, Target, TargetState},
    outcome::CommandFailure,
};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::{Invocation, InvocationStatus, PatchItem, StepOutput, StepResult};
use patchplane_rules::{FailureClass, ManagedNode, PatchState, PatchStep, PatchSummary, classify};

/// How long an agent may stay away after its command has ended.
pub(crate) const BACK_WITHIN: SignedDuration = SignedDuration::from_mins(20);
/// How long the patch state may take to show after the command has ended well.
const REPORTED_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// The same after it has failed: most such runs report nothing.
const FAILURE_REPORTED_WITHIN: SignedDuration = SignedDuration::from_mins(2);

/// What is said of a target that was only to reboot.
const REBOOTED: &str =
    "rebooted, and its agent is back; what it reports of patches is from before until it is scanned again";

/// The reason of a target that is as it was asked for although its command says otherwise.
const COMMAND_ERROR: &str = "COMMAND_ERROR";

// === While the command runs ===

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
    let ours = summary.filter(|summary| is_ours(summary, target, operation));
    match &invocation.status {
        InvocationStatus::Pending | InvocationStatus::Delayed => {}
        InvocationStatus::InProgress | InvocationStatus::Cancelling => {
            let rebooting = operation.spec.reboot_option == Some(RebootOption::RebootIfNeeded)
                && ours.is_some_and(|summary| summary.installed_pending_reboot > 0);
            let (state, explanation) = if operation.spec.kind == Kind::Reboot {
                (TargetState::Rebooting, "its agent has the command to reboot")
            } else if rebooting {
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
            target.command_end = Some(ended(target, invocation, now));
            target.after = ours.cloned();
            // The script ends well only if it was so.
            target.rebooted |= operation.spec.kind == Kind::Reboot;
            target.become_(TargetState::Verifying, "", "the command succeeded; its outcome is verified", now);
        }
        InvocationStatus::Failed | InvocationStatus::TimedOut => {
            target.command_end = Some(ended(target, invocation, now));
            target.after = ours.cloned();
            let mut failure = failure(invocation);
            let delivered = matches!(before_state, TargetState::Running | TargetState::Rebooting)
                || target.steps.iter().any(|step| step.started.is_some());
            // AWS gives up what is still in progress under the same name as what was never delivered (S 6.1.18).
            if failure.class == FailureClass::DeliveryTimedOut && delivered {
                failure.class = FailureClass::ExecutionTimedOut;
            }
            let never_began = failure.class.never_began();
            let explanation = format!("{}; what the instance reported is awaited", told(&failure));
            target.failure = Some(failure);
            target.become_(TargetState::Verifying, "", explanation, now);
            if never_began {
                take_for_failed(target, now);
            }
        }
        InvocationStatus::Cancelled => {
            target.fail(FailureClass::CommandCancelled, "the command was cancelled in AWS", now);
        }
        // A status of tomorrow: shown in `command_status`, decided by the deadline.
        InvocationStatus::Unknown(_) => {}
    }
}

/// Ends a target whose command did not end well by that alone: nothing was reported, or nobody asks for it.
pub(crate) fn take_for_failed(target: &mut Target, now: Timestamp) {
    if let Some(failure) = target.failure.clone() {
        target.fail(failure.class, told(&failure), now);
    }
}

/// Takes in the whole output of a failed step, of which AWS's list showed the beginning (S 6.3.7). `None`: no more of it
/// can be had. Either way it is not asked for again.
pub(crate) fn read_output(target: &mut Target, output: Option<&StepOutput>) {
    let Some(failure) = &mut target.failure else { return };
    let Some(step) = failure.unread_step.take() else { return };
    let Some(output) = output else { return };
    let whole = classify(PatchStep::named(&step), output.response_code, &output.stdout, &output.stderr);
    if whole.class != FailureClass::Unclassified || failure.class == FailureClass::Unclassified {
        (failure.class, failure.evidence) = (whole.class, whole.evidence);
    }
}

/// Why a command did not end well, as far as AWS's list of invocations tells.
fn failure(invocation: &Invocation) -> CommandFailure {
    let failed = invocation.steps.iter().find(|step| matches!(step.status.as_str(), "Failed" | "TimedOut"));
    let exit_code = failed.map_or(-1, |step| step.response_code);
    let of_status = match invocation.status {
        InvocationStatus::TimedOut => {
            let class = FailureClass::of_status(&invocation.status_details);
            Some(class.unwrap_or(FailureClass::ExecutionTimedOut))
        }
        _ => FailureClass::of_status(&invocation.status_details),
    };
    match (of_status, failed) {
        (Some(class), _) => CommandFailure { class, exit_code, evidence: String::new(), unread_step: None },
        (None, Some(step)) => {
            let told = classify(PatchStep::named(&step.name), exit_code, &step.output, "");
            let unread_step = step.output_is_cut().then(|| step.name.clone());
            CommandFailure { class: told.class, exit_code, evidence: told.evidence, unread_step }
        }
        (None, None) => {
            let evidence = String::new();
            CommandFailure { class: FailureClass::Unclassified, exit_code, evidence, unread_step: None }
        }
    }
}

fn told(failure: &CommandFailure) -> String {
    match failure.class {
        FailureClass::DeliveryTimedOut => "the command was not delivered in time: its agent did not answer".to_owned(),
        FailureClass::ExecutionTimedOut => "the command was delivered, and did not end in time".to_owned(),
        FailureClass::Undeliverable => "the command could not be delivered to its agent".to_owned(),
        FailureClass::InvalidPlatform => "the command is not for its platform".to_owned(),
        FailureClass::NodeAccessDenied => "whoever sent the command may not run it on this instance".to_owned(),
        _ => format!("the command failed: {}", failure.told()),
    }
}

/// When the command's own step ended, by the instance's clock, which is right to some minutes: AWS refuses the agent's
/// signatures otherwise (S 1.5). Never before it was sent, nor in the future; now, if AWS does not say.
fn ended(target: &Target, invocation: &Invocation, now: Timestamp) -> Timestamp {
    let steps = invocation.steps.iter().filter(|step| !step.skipped_by_platform);
    let end = steps.filter_map(|step| step.finished).max().unwrap_or(now);
    end.max(target.dispatch_time.unwrap_or(end)).min(now)
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

// === After it has ended ===

/// What is said of a target in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Wait,
    /// With a code that is empty when there is nothing to add.
    Succeeded(&'static str),
    Failed(FailureClass),
    Unknown(&'static str),
}

/// What a verdict is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) kind: Kind,
    pub(crate) reboot_option: Option<RebootOption>,
    /// Why the command did not end well; `None` when it did.
    pub(crate) failure: Option<FailureClass>,
    /// What this attempt reported.
    pub(crate) report: Option<&'a PatchSummary>,
    /// There is another report than before the attempt, which is not this attempt's.
    pub(crate) overwritten: bool,
    /// That report is of a run that ended after this one: this attempt's own can come no more.
    pub(crate) lost: bool,
    /// It was seen to go down for a reboot.
    pub(crate) rebooted: bool,
    /// Its agent was heard of after the command's end.
    pub(crate) back: bool,
    /// Since the command was seen to have ended.
    pub(crate) waited: SignedDuration,
}

/// Judges a target whose command has ended by what its instance reported. `false`: not yet.
pub(crate) fn verify(
    target: &mut Target,
    summary: Option<&PatchSummary>,
    node: Option<&ManagedNode>,
    operation: &Operation,
    now: Timestamp,
) -> bool {
    let report = summary.filter(|summary| is_ours(summary, target, operation)).or(target.after.as_ref()).cloned();
    let command_end = target.command_end.unwrap_or(now);
    let failure = target.failure.as_ref();
    let verdict = judge(Facts {
        kind: operation.spec.kind,
        reboot_option: operation.spec.reboot_option,
        failure: failure.map(|failure| failure.class),
        report: report.as_ref(),
        overwritten: has_changed(summary, target),
        lost: summary.and_then(|summary| summary.operation_end).is_some_and(|end| end > command_end),
        rebooted: target.rebooted,
        back: node.and_then(|node| node.last_ping).is_some_and(|ping| ping > command_end),
        waited: waited(target, now),
    });
    let said = failure.map(told);
    let found = match (&report, &verdict) {
        (Some(report), _) => Some(reported(target, report, operation)),
        (None, Verdict::Succeeded(_)) => Some(REBOOTED.to_owned()),
        (None, _) => None,
    };
    let explanation = [said, found].into_iter().flatten().collect::<Vec<_>>().join("; ");
    target.after = report;
    match verdict {
        Verdict::Wait => return false,
        Verdict::Succeeded(reason) => {
            target.become_(TargetState::Succeeded, reason, explanation, now);
            if let Some(failure) = &target.failure {
                failure.class.hint().clone_into(&mut target.hint);
            }
        }
        Verdict::Failed(FailureClass::AgentNotBack) => {
            let away = format!("its agent was not heard of within {BACK_WITHIN:#} after the command's end");
            let explanation = if explanation.is_empty() { away } else { format!("{away}; {explanation}") };
            target.fail(FailureClass::AgentNotBack, explanation, now);
        }
        Verdict::Failed(class) => target.fail(class, explanation, now),
        Verdict::Unknown(reason) => {
            let explanation = match reason {
                "OVERWRITTEN" => {
                    "another run has overwritten what this one reported; scan the instance to see how it is"
                }
                _ => "the command succeeded, but no patch state came of it; scan the instance to see how it is",
            };
            target.become_(TargetState::Unknown, reason, explanation, now);
        }
    }
    true
}

/// Decides by the facts alone. The outcome is what this attempt reported; the command's own status only where it reported
/// nothing, or where something is left undone.
pub(crate) fn judge(facts: Facts<'_>) -> Verdict {
    let Facts { kind, reboot_option, failure, report, overwritten, lost, rebooted, back, waited } = facts;
    let timed_out = failure.is_some_and(FailureClass::is_time_out);
    let installs = kind == Kind::Install;
    if kind == Kind::Reboot {
        let away = !back && waited < BACK_WITHIN;
        return match failure {
            Some(class) if !timed_out => Verdict::Failed(class),
            _ if away => Verdict::Wait,
            _ if !back => Verdict::Failed(FailureClass::AgentNotBack),
            // It may have rebooted, and the script was not there to see it.
            Some(class) => Verdict::Failed(class),
            None => Verdict::Succeeded(""),
        };
    }
    let Some(report) = report else {
        return match failure {
            None if waited < REPORTED_WITHIN && !lost => Verdict::Wait,
            None if overwritten => Verdict::Unknown("OVERWRITTEN"),
            None => Verdict::Unknown("NOT_REPORTED"),
            // A node that comes back late runs its step again, and may report after all.
            Some(_) if timed_out && installs && !back && waited < BACK_WITHIN => Verdict::Wait,
            Some(_) if timed_out && installs && !back && rebooted => Verdict::Failed(FailureClass::AgentNotBack),
            Some(_) if waited < FAILURE_REPORTED_WITHIN && !lost => Verdict::Wait,
            Some(class) => Verdict::Failed(class),
        };
    };
    if !installs {
        return Verdict::Succeeded(if failure.is_some() { COMMAND_ERROR } else { "" });
    }
    let undone = match report {
        _ if report.failed > 0 => Some(FailureClass::PatchesFailed),
        _ if report.missing > 0 => Some(FailureClass::PatchesMissing),
        _ => None,
    };
    // Which patches are left undone is known; a command that failed and did not lose its agent says better why.
    if let (Some(undone), Some(class)) = (undone, failure)
        && !timed_out
    {
        return Verdict::Failed(if class == FailureClass::Unclassified { undone } else { class });
    }
    if !back {
        return if waited < BACK_WITHIN { Verdict::Wait } else { Verdict::Failed(FailureClass::AgentNotBack) };
    }
    let pending = reboot_option == Some(RebootOption::RebootIfNeeded) && report.installed_pending_reboot > 0;
    match (undone, failure) {
        (Some(undone), None) => Verdict::Failed(undone),
        (Some(_), Some(class)) => Verdict::Failed(class),
        // The report may still be the one from before the reboot.
        (None, _) if pending && waited < REPORTED_WITHIN => Verdict::Wait,
        (None, None) if pending => Verdict::Succeeded(FailureClass::RebootPending.as_str()),
        (None, Some(_)) if pending => Verdict::Failed(FailureClass::RebootPending),
        (None, None) => Verdict::Succeeded(""),
        (None, Some(_)) => Verdict::Succeeded(COMMAND_ERROR),
    }
}

/// Whether it is time to ask what the node's compliance items say: its patch state is another run's, and of ours nothing
/// more can come.
pub(crate) fn is_overwritten(
    target: &Target,
    summary: Option<&PatchSummary>,
    operation: &Operation,
    now: Timestamp,
) -> bool {
    let ours = target.after.is_some() || summary.is_some_and(|summary| is_ours(summary, target, operation));
    let lost = summary.and_then(|summary| summary.operation_end) > target.command_end;
    operation.spec.kind != Kind::Reboot
        && !ours
        && has_changed(summary, target)
        && (lost || waited(target, now) >= REPORTED_WITHIN)
}

/// What this attempt reported, by the node's compliance items: only if all of them are of its command (S 8.3.2), for
/// otherwise some are missing.
pub(crate) fn report_of_items(items: &[PatchItem], target: &Target, operation: &Operation) -> Option<PatchSummary> {
    let first = items.first()?;
    let command_id = target.command_id.as_ref()?;
    if items.iter().any(|item| item.execution_id != *command_id) {
        return None;
    }
    let count =
        |state: PatchState| u32::try_from(items.iter().filter(|item| item.state == state).count()).unwrap_or(u32::MAX);
    Some(PatchSummary {
        id: target.instance_id.clone(),
        patch_group: first.patch_group.clone(),
        baseline_id: first.baseline_id.clone(),
        operation: operation_of(operation.spec.kind).to_owned(),
        operation_start: None,
        operation_end: first.execution_time,
        snapshot_id: snapshot_of(target, operation).to_owned(),
        reboot_option: String::new(),
        installed: count(PatchState::Installed),
        installed_other: count(PatchState::InstalledOther),
        installed_pending_reboot: count(PatchState::InstalledPendingReboot),
        installed_rejected: count(PatchState::InstalledRejected),
        missing: count(PatchState::Missing),
        failed: count(PatchState::Failed),
        not_applicable: count(PatchState::NotApplicable),
        available_security_updates: count(PatchState::AvailableSecurityUpdate),
        critical_non_compliant: 0,
        security_non_compliant: 0,
        other_non_compliant: 0,
    })
}

/// Since the command was seen to have ended: by this server's clock, for the end itself is by the instance's.
fn waited(target: &Target, now: Timestamp) -> SignedDuration {
    now.duration_since(target.update_time.max(target.command_end.unwrap_or(target.update_time)))
}

fn has_changed(summary: Option<&PatchSummary>, target: &Target) -> bool {
    summary.and_then(|summary| summary.operation_end) != target.before.as_ref().and_then(|before| before.operation_end)
}

/// Whether this report is the outcome of this attempt: our snapshot, the kind asked for, and an end that differs from
/// what was read before.
fn is_ours(report: &PatchSummary, target: &Target, operation: &Operation) -> bool {
    let before = target.before.as_ref().and_then(|before| before.operation_end);
    report.snapshot_id == snapshot_of(target, operation)
        && report.operation == operation_of(operation.spec.kind)
        && report.operation_end.is_some()
        && report.operation_end != before
}

/// The snapshot that its command was sent with: the operation's own may have been renewed since. Records of older releases
/// name the operation's alone.
fn snapshot_of<'a>(target: &'a Target, operation: &'a Operation) -> &'a str {
    if target.snapshot_id.is_empty() { &operation.snapshot_id } else { &target.snapshot_id }
}

/// As patch states spell it (S 8.2.2).
fn operation_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Scan => "Scan",
        Kind::Install => "Install",
        // Reports nothing.
        Kind::Reboot => "",
    }
}

/// What a report says, in a sentence.
fn reported(target: &Target, report: &PatchSummary, operation: &Operation) -> String {
    let patches = |count: u32| if count == 1 { "1 patch".to_owned() } else { format!("{count} patches") };
    let scans = operation.spec.kind == Kind::Scan;
    match (report.failed, report.missing) {
        (_, 0) if scans => "scanned: nothing is missing".to_owned(),
        (_, 1) if scans => "scanned: 1 patch is missing".to_owned(),
        (_, missing) if scans => format!("scanned: {missing} patches are missing"),
        (0, 0) => installed(target, report),
        (0, missing) => format!("{} approved and still missing", patches(missing)),
        (failed, _) => format!("{} could not be installed", patches(failed)),
    }
}

fn installed(target: &Target, report: &PatchSummary) -> String {
    let reboot = match (report.installed_pending_reboot, target.rebooted) {
        (0, true) => ", rebooted and back",
        (0, false) => "",
        _ => ", waiting for a reboot",
    };
    let before = target.before.as_ref().map_or(0, |before| before.missing);
    if before == 0 {
        return format!("nothing is missing{reboot}");
    }
    format!("nothing is missing ({before} were before){reboot}")
}
