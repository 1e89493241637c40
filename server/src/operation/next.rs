//! What an operation does next: decided from what is recorded and what was observed, at a time that is passed in.
//!
//! The order of the questions is the order of their weight: an end that is due, a cancellation, a send whose fate is
//! unknown, what keeps new sends back, new sends, progress, verification.

use crate::domain::{
    control::CancelMode,
    operation::{Dispatch, DispatchOutcome, Kind, MAX_BATCH, Operation, State, Target, TargetCounts, TargetState},
};
use crate::store::Saved;
use jiff::{SignedDuration, Timestamp};
use patchplane_rules::InstanceId;
use std::collections::BTreeMap;

/// Between two looks at commands while something changes.
pub(crate) const BUSY_POLL: SignedDuration = SignedDuration::from_secs(5);
/// Between two looks while nothing changes.
pub(crate) const QUIET_POLL: SignedDuration = SignedDuration::from_secs(60);
/// For how long nothing must have changed for a quiet pace.
const QUIET_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// From then on a send whose answer was lost can no longer take effect, and would be listed if it had: AWS refuses its
/// signature after 15 minutes, and lists an accepted command within 10 more. Both are assumptions, told in the README.
pub(crate) const UNPROVEN_AFTER: SignedDuration = SignedDuration::from_mins(25);
/// Between two searches for such a send.
const SETTLE_EVERY: SignedDuration = SignedDuration::from_secs(30);
/// Between the two whole lists that must lack a send before it counts as never accepted.
pub(crate) const LISTS_APART: SignedDuration = SignedDuration::from_secs(60);
/// After a refusal that says "later".
const REFUSAL_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// How long after one batch a much smaller one waits for more free places.
const FILL_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// Between two attempts to cancel what AWS still shows as running.
const CANCEL_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// How long AWS freezes a baseline's content under a snapshot id (S 7.1.2).
pub(crate) const SNAPSHOT_LASTS: SignedDuration = SignedDuration::from_hours(72);

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look up the targets.
    Resolve,
    /// Record the intent for these instances and send it.
    Dispatch { instance_ids: Vec<InstanceId>, timeout_s: u32 },
    /// Ask AWS whether this send was accepted: nobody knows.
    Settle { batch: u32 },
    /// AWS's lists lack this send: look for traces of it on its instances, and without any let them be sent to again.
    Disprove { batch: u32 },
    /// Nobody can prove this send any more: its targets are UNKNOWN.
    GiveUp { batch: u32 },
    /// The store is older than what was sent: find the commands it does not know.
    Reconcile,
    /// The three days of the snapshot are over, and somebody has asked for a new one.
    RenewSnapshot,
    /// Ask AWS to cancel these commands on these instances.
    CancelCommands { commands: BTreeMap<String, Vec<InstanceId>> },
    /// Read the progress of these commands, and what these instances reported whose commands have ended.
    Look { command_ids: Vec<String>, ended: Vec<InstanceId> },
    /// End targets without waiting any longer; then look again.
    EndTargets { state: TargetState, reason: &'static str, explanation: String, which: Which },
    /// The operation moves on to this state, or says what it waits for in the state it is in.
    Become { state: State, reason: &'static str, explanation: String },
    /// Nothing to do before then.
    Sleep { until: Timestamp },
    /// It has ended.
    Done,
}

impl Step {
    /// As traces name it; `None` where nothing is done.
    pub(crate) fn name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Resolve => "resolve",
            Self::Dispatch { .. } => "dispatch",
            Self::Settle { .. } => "settle",
            Self::Disprove { .. } => "disprove",
            Self::GiveUp { .. } => "give_up",
            Self::Reconcile => "reconcile",
            Self::RenewSnapshot => "renew_snapshot",
            Self::CancelCommands { .. } => "cancel_commands",
            Self::Look { .. } => "look",
            Self::EndTargets { .. } => "end_targets",
            Self::Become { .. } => "become",
            Self::Sleep { .. } | Self::Done => return None,
        })
    }

    /// Whether it takes calls of AWS.
    pub(crate) fn asks_aws(&self) -> bool {
        match self {
            Self::Resolve
            | Self::Dispatch { .. }
            | Self::Settle { .. }
            | Self::Disprove { .. }
            | Self::Reconcile
            | Self::CancelCommands { .. }
            | Self::Look { .. } => true,
            Self::GiveUp { .. }
            | Self::RenewSnapshot
            | Self::EndTargets { .. }
            | Self::Become { .. }
            | Self::Sleep { .. }
            | Self::Done => false,
        }
    }
}

/// Which targets are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Pending,
    Active,
}

/// What this process has seen besides the record; empty after a restart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) last_poll: Option<Timestamp>,
    /// By batch: the search for a send whose answer was lost.
    pub(crate) searches: BTreeMap<u32, Search>,
    /// When AWS last asked for a slower pace.
    pub(crate) last_refusal: Option<Timestamp>,
    pub(crate) last_cancel: Option<Timestamp>,
    /// Set when the store was restored from a copy, so that sends may be missing in it.
    pub(crate) restored: Option<Restored>,
    /// What AWS denies this service, since a step that needs it failed.
    pub(crate) denied: Option<String>,
    /// Whether a send that is proven absent leaves its targets UNKNOWN all the same: `dispatch.resend = "never"`.
    pub(crate) never_resend: bool,
}

/// A search for a send in AWS's whole list of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) last: Timestamp,
    /// The first list without it after `UNPROVEN_AFTER`.
    pub(crate) absent_since: Option<Timestamp>,
    /// A second one, `LISTS_APART` later or more.
    pub(crate) absent_again: bool,
}

/// How far the commands are known that a restored store does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restored {
    /// When this process took the operation up.
    pub(crate) at: Timestamp,
    /// The last whole list that was compared.
    pub(crate) compared: Option<Timestamp>,
}

impl Restored {
    /// Whether a list of that time shows all that may have been sent before this process took the operation up.
    pub(crate) fn is_whole(&self, listed: Timestamp) -> bool {
        listed >= due(Some(self.at), UNPROVEN_AFTER)
    }
}

/// What keeps pending targets back.
enum Hold {
    /// Something is to be done first, or the way is free: then it is the dispatch.
    Act(Step),
    /// A wait with a name; looked at again then.
    Wait { reason: &'static str, explanation: String, until: Timestamp },
    /// No place is free, or the pause after a refusal lasts; nothing to tell.
    Later(Timestamp),
}

/// The next step of an operation.
pub(crate) fn next(saved: &Saved, observed: &Observed, now: Timestamp) -> Step {
    let Saved { operation, targets, dispatches, control, .. } = saved;
    if operation.state.is_terminal() {
        return Step::Done;
    }
    if now >= operation.deadline {
        return at_deadline(saved, observed);
    }
    if let Some(cancel) = control.cancel.as_ref().filter(|_| operation.state != State::Cancelling) {
        let explanation = cancel.explanation();
        return Step::Become { state: State::Cancelling, reason: "CANCEL_REQUESTED", explanation };
    }
    if operation.state == State::Resolving {
        return Step::Resolve;
    }

    if let Some(denied) = observed.denied.as_ref().filter(|_| operation.reason != "AWS_ACCESS_DENIED") {
        let explanation = format!("it waits for a right: {denied}");
        return Step::Become { state: operation.state, reason: "AWS_ACCESS_DENIED", explanation };
    }

    let mut wake = operation.deadline;
    for open in dispatches.iter().filter(|dispatch| dispatch.outcome == DispatchOutcome::Open) {
        match settle(open, observed, now) {
            Ok(step) => return step,
            Err(at) => wake = wake.min(at),
        }
    }

    let pending = targets.iter().any(|target| target.state == TargetState::Pending);
    let mut waits_for = None;
    if pending {
        match hold(saved, observed, now) {
            Hold::Act(step) => return step,
            Hold::Later(until) => wake = wake.min(until),
            Hold::Wait { reason, explanation, until } => {
                wake = wake.min(until);
                waits_for = Some((reason, explanation));
            }
        }
    }
    if operation.state == State::Running && observed.denied.is_none() {
        let (reason, explanation) = waits_for.unwrap_or(("", "commands are sent and followed".to_owned()));
        if operation.reason != reason {
            return Step::Become { state: State::Running, reason, explanation };
        }
    }

    if let Some(cancel) = &control.cancel {
        let commands = cancellable(targets, cancel.mode);
        let at = observed.last_cancel.map_or(now, |last| due(Some(last), CANCEL_EVERY));
        if !commands.is_empty() && at <= now {
            return Step::CancelCommands { commands };
        }
    }

    let command_ids = running_commands(targets);
    let verifying: Vec<&Target> = targets.iter().filter(|target| target.state == TargetState::Verifying).collect();
    if !command_ids.is_empty() || !verifying.is_empty() {
        let at = observed.last_poll.map_or(now, |last| due(Some(last), pace(targets, now)));
        if at > now {
            return Step::Sleep { until: wake.min(at) };
        }
        if operation.state == State::Running && !pending && !targets.iter().any(is_dispatched) {
            let explanation = "all commands have ended; what they did is verified".into();
            return Step::Become { state: State::Verifying, reason: "", explanation };
        }
        let ended = verifying.iter().map(|target| target.instance_id.clone()).collect();
        return Step::Look { command_ids, ended };
    }
    if targets.iter().all(|target| target.state.is_terminal()) {
        return finish(operation, targets);
    }
    Step::Sleep { until: wake }
}

/// What is done about a send whose fate is unknown, or when something is.
fn settle(open: &Dispatch, observed: &Observed, now: Timestamp) -> Result<Step, Timestamp> {
    let batch = open.batch;
    let Some(search) = observed.searches.get(&batch) else { return Ok(Step::Settle { batch }) };
    if search.absent_since.is_some() && observed.never_resend {
        return Ok(Step::GiveUp { batch });
    }
    if search.absent_again {
        return Ok(Step::Disprove { batch });
    }
    let pause = if search.absent_since.is_some() { LISTS_APART } else { SETTLE_EVERY };
    let at = due(Some(search.last), pause);
    if at <= now { Ok(Step::Settle { batch }) } else { Err(at) }
}

/// Why nothing new is sent, or what is. Asked only when targets are pending.
fn hold(saved: &Saved, observed: &Observed, now: Timestamp) -> Hold {
    let Saved { operation, targets, dispatches, control, .. } = saved;
    if observed.restored.is_some_and(|restored| restored.compared.is_none()) {
        return Hold::Act(Step::Reconcile);
    }
    if control.cancel.is_some() {
        let explanation = "the operation was cancelled before it was its turn".into();
        let which = Which::Pending;
        return Hold::Act(Step::EndTargets { state: TargetState::Cancelled, reason: "CANCELLED", explanation, which });
    }
    if let Some(explanation) = over_threshold(operation, targets) {
        return Hold::Act(skip_pending("THRESHOLD_EXCEEDED", explanation));
    }
    if targets.iter().any(|target| target.state == TargetState::Skipped && target.reason == "AWS_ACCESS_DENIED") {
        let explanation = "AWS denies this service the right to send commands".into();
        return Hold::Act(skip_pending("AWS_ACCESS_DENIED", explanation));
    }
    let cut_off = operation.deadline - operation.spec.dispatch_cut_off(allowance(dispatches));
    if now >= cut_off {
        return Hold::Act(skip_pending("DEADLINE", "too little time was left to send it a command".into()));
    }
    if let Some(restored) = observed.restored {
        match restored.compared {
            None => return Hold::Act(Step::Reconcile),
            Some(last) if restored.is_whole(last) => {}
            Some(_) if restored.is_whole(now) => return Hold::Act(Step::Reconcile),
            Some(_) => {
                let whole = due(Some(restored.at), UNPROVEN_AFTER);
                let explanation = "the store was restored from a copy: what was sent since is looked for in AWS".into();
                return Hold::Wait { reason: "RECONCILING", explanation, until: whole };
            }
        }
    }
    if let Some(pause) = &control.pause {
        return Hold::Wait { reason: "PAUSED", explanation: pause.explanation(), until: cut_off };
    }
    let chosen = operation.snapshot_time.unwrap_or(operation.create_time);
    if operation.spec.kind != Kind::Reboot && now >= due(Some(chosen), SNAPSHOT_LASTS) {
        if control.renew_snapshot.is_some_and(|asked| asked > chosen) {
            return Hold::Act(Step::RenewSnapshot);
        }
        let explanation = "the baselines' snapshot is three days old, and AWS would use newer content from now on; resume with \
             renew_snapshot to patch by it";
        return Hold::Wait { reason: "SNAPSHOT_EXPIRED", explanation: explanation.into(), until: cut_off };
    }
    let not_before = due(observed.last_refusal, REFUSAL_PAUSE);
    if observed.last_refusal.is_some() && now < not_before {
        return Hold::Later(not_before);
    }
    dispatch(saved, cut_off, now)
}

/// How long AWS lets a delivered command run, as its answers tell: the longest seen.
fn allowance(dispatches: &[Dispatch]) -> Option<SignedDuration> {
    let told = dispatches.iter().filter_map(|dispatch| match dispatch.outcome {
        DispatchOutcome::Sent { expires_after: Some(expires), .. } => {
            Some(expires.duration_since(dispatch.signed_at) - SignedDuration::from_secs(dispatch.timeout_s.into()))
        }
        _ => None,
    });
    told.max()
}

/// The time `after` a moment; the far future if that cannot be told.
fn due(moment: Option<Timestamp>, after: SignedDuration) -> Timestamp {
    moment.and_then(|moment| moment.checked_add(after).ok()).unwrap_or(Timestamp::MAX)
}

fn is_dispatched(target: &Target) -> bool {
    matches!(target.state, TargetState::Dispatched | TargetState::Running | TargetState::Rebooting)
}

fn running_commands(targets: &[Target]) -> Vec<String> {
    let mut ids: Vec<String> =
        targets.iter().filter(|target| is_dispatched(target)).filter_map(|target| target.command_id.clone()).collect();
    ids.sort();
    ids.dedup();
    ids
}

fn pace(targets: &[Target], now: Timestamp) -> SignedDuration {
    let last_change = targets.iter().filter(|target| target.state.is_active()).map(|target| target.update_time).max();
    match last_change {
        Some(last) if now.duration_since(last) >= QUIET_AFTER => QUIET_POLL,
        _ => BUSY_POLL,
    }
}

fn eligible_count(targets: &[Target]) -> usize {
    targets.iter().filter(|target| target.state != TargetState::Skipped || target.attempt > 0).count()
}

fn over_threshold(operation: &Operation, targets: &[Target]) -> Option<String> {
    let counts = TargetCounts::of(targets);
    let failed = counts.failed + counts.timed_out + counts.unknown;
    let allowed = operation.spec.max_failures(eligible_count(targets));
    (failed > allowed).then(|| format!("{failed} targets did not succeed, and max_failures allows {allowed}"))
}

fn skip_pending(reason: &'static str, explanation: String) -> Step {
    Step::EndTargets { state: TargetState::Skipped, reason, explanation, which: Which::Pending }
}

fn dispatch(saved: &Saved, cut_off: Timestamp, now: Timestamp) -> Hold {
    let Saved { operation, targets, dispatches, .. } = saved;
    let active = targets.iter().filter(|target| target.state.is_active()).count();
    let concurrency = operation.spec.concurrency(eligible_count(targets));
    let free = concurrency.saturating_sub(active);
    if free == 0 {
        return Hold::Later(cut_off);
    }
    let all = || targets.iter().filter(|target| target.state == TargetState::Pending);
    let mut ready = all().filter(|target| target.retry_at.is_none_or(|at| at <= now)).peekable();
    let Some(first) = ready.peek() else {
        let until = all().filter_map(|target| target.retry_at).min().unwrap_or(cut_off).min(cut_off);
        let Some(waiting) = all().next() else { return Hold::Later(until) };
        let frozen = waiting.reason == "FROZEN";
        let reason = if frozen { "FROZEN" } else { "QUEUED" };
        let explanation = format!("{} targets wait; {}: {}", all().count(), waiting.instance_id, waiting.explanation);
        return Hold::Wait { reason, explanation, until };
    };
    // A dozen calls come with each batch, so that a fifth of the places is worth a short wait.
    let filled = dispatches.last().map_or(now, |last| due(Some(last.signed_at), FILL_WITHIN));
    let pending = all().count();
    if free < concurrency.div_ceil(5).min(pending) && now < filled {
        return Hold::Later(filled.min(cut_off));
    }
    // A batch that AWS refused as a whole is tried again in halves.
    let (most, windows) = (first.max_batch, first.runs_windows());
    let instance_ids: Vec<InstanceId> = ready
        .take_while(|target| target.max_batch == most)
        // Windows reboots by another document.
        .filter(|target| operation.spec.kind != Kind::Reboot || target.runs_windows() == windows)
        .take(free.min(most).min(MAX_BATCH))
        .map(|target| target.instance_id.clone())
        .collect();
    // AWS takes 30 seconds at least (S 6.1.11).
    let left = cut_off.duration_since(now).as_secs().clamp(30, 600);
    Hold::Act(Step::Dispatch { instance_ids, timeout_s: u32::try_from(left).unwrap_or(600) })
}

/// What can be cancelled: commands that have not reached their instance; with `InterruptRunning` also those that have.
fn cancellable(targets: &[Target], mode: CancelMode) -> BTreeMap<String, Vec<InstanceId>> {
    let mut commands: BTreeMap<String, Vec<InstanceId>> = BTreeMap::new();
    for target in targets {
        let wanted = match mode {
            CancelMode::StopNew => target.state == TargetState::Dispatched,
            CancelMode::InterruptRunning => is_dispatched(target),
        };
        if let Some(command_id) = target.command_id.as_ref().filter(|_| wanted) {
            commands.entry(command_id.clone()).or_default().push(target.instance_id.clone());
        }
    }
    commands
}

fn at_deadline(saved: &Saved, observed: &Observed) -> Step {
    let Saved { operation, targets, dispatches, .. } = saved;
    if let Some(open) = dispatches.iter().find(|dispatch| dispatch.outcome == DispatchOutcome::Open) {
        return Step::GiveUp { batch: open.batch };
    }
    if targets.iter().any(|target| target.state == TargetState::Pending) {
        return skip_pending("DEADLINE", "the operation's time was over before it was its turn".into());
    }
    let commands = cancellable(targets, CancelMode::StopNew);
    if !commands.is_empty() && observed.last_cancel.is_none_or(|last| last < operation.deadline) {
        return Step::CancelCommands { commands };
    }
    if targets.iter().any(|target| target.state.is_active()) {
        let explanation =
            "the operation's time was over before the outcome was known; the command may still run".into();
        return Step::EndTargets {
            state: TargetState::TimedOut,
            reason: "DEADLINE",
            explanation,
            which: Which::Active,
        };
    }
    if operation.state == State::Cancelling {
        return finish(operation, targets);
    }
    let explanation = format!("its time, {:#}, was over", operation.spec.max_duration);
    Step::Become { state: State::Failed, reason: "DEADLINE", explanation }
}

fn finish(operation: &Operation, targets: &[Target]) -> Step {
    let counts = TargetCounts::of(targets);
    let stopped = |reason| targets.iter().any(|t| t.state == TargetState::Skipped && t.reason == reason);
    let done = match operation.spec.kind {
        Kind::Scan => "scanned",
        Kind::Install => "patched",
        Kind::Reboot => "rebooted",
    };
    if operation.state == State::Cancelling {
        let explanation = format!(
            "cancelled: {} {done}, {} cancelled, {} failed, {} timed out, {} unknown, {} left out",
            counts.succeeded, counts.cancelled, counts.failed, counts.timed_out, counts.unknown, counts.skipped
        );
        return Step::Become { state: State::Cancelled, reason: "CANCELLED", explanation };
    }
    if stopped("THRESHOLD_EXCEEDED") {
        let explanation = format!(
            "stopped: too many targets did not succeed; {} {done}, {} were not begun",
            counts.succeeded, counts.skipped
        );
        return Step::Become { state: State::Failed, reason: "THRESHOLD_EXCEEDED", explanation };
    }
    if stopped("DEADLINE") {
        let explanation = format!("stopped: too little time was left; {} {done}", counts.succeeded);
        return Step::Become { state: State::Failed, reason: "DEADLINE", explanation };
    }
    if stopped("AWS_ACCESS_DENIED") {
        let explanation = "AWS denies this service the right to send commands".into();
        return Step::Become { state: State::Failed, reason: "AWS_ACCESS_DENIED", explanation };
    }
    let not_done = counts.failed + counts.timed_out + counts.cancelled + counts.unknown;
    let skips = targets.iter().filter(|target| target.skip_matters()).count();
    let left_out = counts.skipped - skips;
    let tail = if left_out > 0 { format!("; {left_out} left out") } else { String::new() };
    if not_done + skips == 0 && counts.succeeded > 0 {
        let explanation = format!("{} {done}{tail}", counts.succeeded);
        return Step::Become { state: State::Succeeded, reason: "", explanation };
    }
    let explanation = format!(
        "{} {done}, {} failed, {} timed out, {} cancelled, {} unknown, {skips} could not be done{tail}",
        counts.succeeded, counts.failed, counts.timed_out, counts.cancelled, counts.unknown
    );
    Step::Become { state: State::CompletedWithFailures, reason: "TARGETS_NOT_DONE", explanation }
}
