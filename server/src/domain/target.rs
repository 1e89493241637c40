//! A target of a patch operation: one instance, and what became of it.

use super::{operation::MAX_BATCH, outcome::CommandFailure};
use jiff::Timestamp;
use patchplane_rules::{InstanceId, OperatingSystem, PatchSummary, Retry};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetState {
    Pending,
    Dispatched,
    Running,
    Rebooting,
    Verifying,
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
    Skipped,
    Unknown,
}

/// One instance within an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub instance_id: InstanceId,
    /// Asked for by its id: then leaving it out counts as a failure to do what was asked.
    pub named: bool,
    /// `None` when it was left out before its platform was known.
    pub operating_system: Option<OperatingSystem>,
    pub state: TargetState,
    /// A stable code, or empty.
    pub reason: String,
    pub explanation: String,
    /// What to do first; empty when there is nothing to do.
    #[serde(default)]
    pub hint: String,
    /// When another attempt may succeed; `None` unless it failed, timed out or was cancelled.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// How often a command was meant for it; 0 before the first.
    pub attempt: u32,
    /// The greatest batch it may be in: halved when AWS refuses a whole batch without naming the culprit.
    pub max_batch: usize,
    /// Pending, and not to be sent to before then: it is busy or frozen, or AWS asked for a pause.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
    /// The snapshot that its command was sent with.
    #[serde(default)]
    pub snapshot_id: String,
    pub command_id: Option<String>,
    /// When AWS gives up what is still running of its command.
    #[serde(default)]
    pub expire_time: Option<Timestamp>,
    pub command_status: String,
    /// Why its command did not end well, also where the outcome is good all the same.
    #[serde(default)]
    pub failure: Option<CommandFailure>,
    pub steps: Vec<Step>,
    /// What Systems Manager kept before the attempt: the outcome must differ from it.
    pub before: Option<PatchSummary>,
    /// The outcome, once verified.
    pub after: Option<PatchSummary>,
    pub rebooted: bool,
    pub dispatch_time: Option<Timestamp>,
    /// When the command ended on the instance.
    pub command_end: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
    pub update_time: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepState {
    Pending,
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
    Skipped,
}

/// One step of a command on one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    pub state: StepState,
    pub status_details: String,
    pub response_code: i32,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
}

/// Numbers of targets by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetCounts {
    pub pending: usize,
    pub dispatched: usize,
    pub running: usize,
    pub rebooting: usize,
    pub verifying: usize,
    pub succeeded: usize,
    pub failed: usize,
    pub timed_out: usize,
    pub cancelled: usize,
    pub skipped: usize,
    pub unknown: usize,
}

// === impl TargetState ===

impl TargetState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Dispatched => "DISPATCHED",
            Self::Running => "RUNNING",
            Self::Rebooting => "REBOOTING",
            Self::Verifying => "VERIFYING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Cancelled => "CANCELLED",
            Self::Skipped => "SKIPPED",
            Self::Unknown => "UNKNOWN",
        }
    }

    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Dispatched | Self::Running | Self::Rebooting | Self::Verifying => false,
            Self::Succeeded | Self::Failed | Self::TimedOut | Self::Cancelled | Self::Skipped | Self::Unknown => true,
        }
    }

    /// A command of ours was meant for it, and has not ended in a known outcome.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Dispatched | Self::Running | Self::Rebooting | Self::Verifying)
    }
}

// === impl Target ===

impl Target {
    pub fn runs_windows(&self) -> bool {
        self.operating_system.as_ref().is_some_and(|system| system.as_str() == "WINDOWS")
    }

    pub fn pending(instance_id: InstanceId, named: bool, now: Timestamp) -> Self {
        Self {
            instance_id,
            named,
            operating_system: None,
            state: TargetState::Pending,
            reason: String::new(),
            explanation: String::new(),
            hint: String::new(),
            retry: None,
            attempt: 0,
            max_batch: MAX_BATCH,
            retry_at: None,
            snapshot_id: String::new(),
            command_id: None,
            expire_time: None,
            command_status: String::new(),
            failure: None,
            steps: Vec::new(),
            before: None,
            after: None,
            rebooted: false,
            dispatch_time: None,
            command_end: None,
            end_time: None,
            update_time: now,
        }
    }

    /// Stays pending, with the reason, and is not sent to before `until`.
    pub fn wait(&mut self, reason: &str, explanation: impl Into<String>, until: Timestamp, now: Timestamp) {
        self.become_(TargetState::Pending, reason, explanation, now);
        self.retry_at = Some(until);
    }

    /// Moves on, with a stable code and a sentence; a terminal state is never left.
    pub fn become_(&mut self, state: TargetState, reason: &str, explanation: impl Into<String>, now: Timestamp) {
        if self.state.is_terminal() {
            return;
        }
        self.state = state;
        reason.clone_into(&mut self.reason);
        self.explanation = explanation.into();
        self.update_time = now;
        if state.is_terminal() {
            self.end_time = Some(now);
        }
    }

    /// A skip that keeps the operation from being a success: the caller named this very instance, or AWS refused it.
    pub fn skip_matters(&self) -> bool {
        self.state == TargetState::Skipped && self.reason != "EXCLUDED" && (self.named || self.attempt > 0)
    }
}

impl TargetCounts {
    pub fn of<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Self {
        let mut counts = Self::default();
        for target in targets {
            *counts.slot(target.state) += 1;
        }
        counts
    }

    pub fn slot(&mut self, state: TargetState) -> &mut usize {
        match state {
            TargetState::Pending => &mut self.pending,
            TargetState::Dispatched => &mut self.dispatched,
            TargetState::Running => &mut self.running,
            TargetState::Rebooting => &mut self.rebooting,
            TargetState::Verifying => &mut self.verifying,
            TargetState::Succeeded => &mut self.succeeded,
            TargetState::Failed => &mut self.failed,
            TargetState::TimedOut => &mut self.timed_out,
            TargetState::Cancelled => &mut self.cancelled,
            TargetState::Skipped => &mut self.skipped,
            TargetState::Unknown => &mut self.unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_target_stays_as_it_is() {
        let now = Timestamp::UNIX_EPOCH;
        let mut target = Target::pending("i-0123456789abcdef0".parse().unwrap(), false, now);
        target.become_(TargetState::Unknown, "DISPATCH_UNPROVEN", "nobody knows", now);
        target.become_(TargetState::Succeeded, "", "", now);
        assert_eq!(target.state, TargetState::Unknown);
    }
}
