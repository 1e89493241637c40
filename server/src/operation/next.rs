//! What an operation does next: decided from what is recorded and what was observed, at a time that is passed in.
//!
//! The order of the questions is the order of their weight: an end that is due, a send whose fate is unknown, the
//! threshold, new sends, progress, verification. Waves, gates and pauses belong before the new sends; a proof that a
//! command was never accepted belongs where an open send is settled.

use crate::domain::operation::{
    Dispatch, DispatchOutcome, Kind, MAX_BATCH, Operation, State, Target, TargetCounts, TargetState,
};
use crate::store::Saved;
use jiff::{SignedDuration, Timestamp};
use patchplane_rules::InstanceId;

/// Between two looks at commands while something changes.
pub(crate) const BUSY_POLL: SignedDuration = SignedDuration::from_secs(5);
/// Between two looks while nothing changes.
pub(crate) const QUIET_POLL: SignedDuration = SignedDuration::from_secs(60);
/// For how long nothing must have changed for a quiet pace.
const QUIET_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// A send whose answer was lost is looked for this long after its signing: AWS refuses its signature after 15 minutes,
/// and lists an accepted command within 10 more.
pub(crate) const UNPROVEN_AFTER: SignedDuration = SignedDuration::from_mins(25);
/// Between two searches for such a send.
const SETTLE_EVERY: SignedDuration = SignedDuration::from_secs(30);
/// After a refusal that says "later".
const REFUSAL_PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look up the targets.
    Resolve,
    /// Record the intent for these instances and send it.
    Dispatch { instance_ids: Vec<InstanceId>, timeout_s: u32 },
    /// Ask AWS whether this send was accepted: nobody knows.
    Settle { batch: u32 },
    /// Nobody can prove this send any more: its targets are UNKNOWN.
    GiveUp { batch: u32 },
    /// Read the progress of these commands, and what these instances reported whose commands have ended.
    Look { command_ids: Vec<String>, ended: Vec<InstanceId> },
    /// End targets without waiting any longer; then look again.
    EndTargets { state: TargetState, reason: &'static str, explanation: String, which: Which },
    /// The operation moves on to this state.
    Become { state: State, reason: &'static str, explanation: String },
    /// Nothing to do before then.
    Sleep { until: Timestamp },
    /// It has ended.
    Done,
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
    pub(crate) last_settle: Option<Timestamp>,
    /// When AWS last asked for a slower pace.
    pub(crate) last_refusal: Option<Timestamp>,
}

/// The next step of an operation.
pub(crate) fn next(saved: &Saved, observed: &Observed, now: Timestamp) -> Step {
    let Saved { operation, targets, dispatches, .. } = saved;
    if operation.state.is_terminal() {
        return Step::Done;
    }
    if now >= operation.deadline {
        return at_deadline(operation, targets, dispatches);
    }
    if operation.state == State::Resolving {
        return Step::Resolve;
    }

    let mut wake = operation.deadline;
    if let Some(open) = dispatches.iter().find(|dispatch| dispatch.outcome == DispatchOutcome::Open) {
        if now >= due(Some(open.signed_at), UNPROVEN_AFTER) && observed.last_settle.is_some() {
            return Step::GiveUp { batch: open.batch };
        }
        let at = observed.last_settle.map_or(now, |last| due(Some(last), SETTLE_EVERY));
        if at <= now {
            return Step::Settle { batch: open.batch };
        }
        wake = wake.min(at);
    }

    let stopped = over_threshold(operation, targets);
    let pending = targets.iter().any(|target| target.state == TargetState::Pending);
    if pending {
        let cut_off = operation.deadline - operation.spec.dispatch_cut_off();
        if let Some(explanation) = stopped {
            return skip_pending("THRESHOLD_EXCEEDED", explanation);
        }
        if targets.iter().any(|target| target.reason == "AWS_ACCESS_DENIED") {
            return skip_pending("AWS_ACCESS_DENIED", "AWS denies this service the right to send commands".into());
        }
        if now >= cut_off {
            return skip_pending("DEADLINE", "too little time was left to send it a command".into());
        }
        let not_before = due(observed.last_refusal, REFUSAL_PAUSE);
        if observed.last_refusal.is_some() && now < not_before {
            wake = wake.min(not_before);
        } else if let Some(step) = dispatch(operation, targets, cut_off, now) {
            return step;
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

fn dispatch(operation: &Operation, targets: &[Target], cut_off: Timestamp, now: Timestamp) -> Option<Step> {
    let active = targets.iter().filter(|target| target.state.is_active()).count();
    let free = operation.spec.concurrency(eligible_count(targets)).checked_sub(active).filter(|free| *free > 0)?;
    let mut pending = targets.iter().filter(|target| target.state == TargetState::Pending).peekable();
    // A batch that AWS refused as a whole is tried again in halves.
    let most = pending.peek()?.max_batch;
    let instance_ids: Vec<InstanceId> = pending
        .take_while(|target| target.max_batch == most)
        .take(free.min(most).min(MAX_BATCH))
        .map(|target| target.instance_id.clone())
        .collect();
    // AWS takes 30 seconds at least (S 6.1.11).
    let left = cut_off.duration_since(now).as_secs().clamp(30, 600);
    Some(Step::Dispatch { instance_ids, timeout_s: u32::try_from(left).unwrap_or(600) })
}

fn at_deadline(operation: &Operation, targets: &[Target], dispatches: &[Dispatch]) -> Step {
    if let Some(open) = dispatches.iter().find(|dispatch| dispatch.outcome == DispatchOutcome::Open) {
        return Step::GiveUp { batch: open.batch };
    }
    if targets.iter().any(|target| target.state == TargetState::Pending) {
        return skip_pending("DEADLINE", "the operation's time was over before it was its turn".into());
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
    let explanation = format!("its time, {:#}, was over", operation.spec.max_duration);
    Step::Become { state: State::Failed, reason: "DEADLINE", explanation }
}

fn finish(operation: &Operation, targets: &[Target]) -> Step {
    let counts = TargetCounts::of(targets);
    let stopped = |reason| targets.iter().any(|t| t.state == TargetState::Skipped && t.reason == reason);
    let done = match operation.spec.kind {
        Kind::Scan => "scanned",
        Kind::Install => "patched",
    };
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
