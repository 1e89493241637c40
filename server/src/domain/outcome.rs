//! How targets end that do not end well, whether they are tried again, and what batches of one operation did not get alike.

use super::operation::{Target, TargetState};
use jiff::Timestamp;
use patchplane_rules::{FailureClass, OperatingSystem};
use serde::{Deserialize, Serialize};

/// How a command ended on its target when it did not end well. What the instance reported may be a good outcome all the
/// same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandFailure {
    pub class: FailureClass,
    /// -1 when AWS does not know it.
    pub exit_code: i32,
    /// The line of the output by which the class was told; empty when there was none.
    pub evidence: String,
    /// The step whose output AWS cut in its list, until the whole of it was asked for, once.
    pub unread_step: Option<String>,
}

/// Builds that instances got which others of the same system and baseline, patched in an earlier batch, could not have: the
/// repositories went on meanwhile, or an approval came due. One snapshot freezes rules and lists, not those (S 7.1.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    pub operating_system: OperatingSystem,
    /// The bare id.
    pub baseline_id: String,
    /// The first batch that got them.
    pub batch: u32,
    /// At most [`Drift::MOST_TITLES`].
    pub titles: Vec<String>,
}

impl Drift {
    /// As many as anybody reads.
    pub const MOST_TITLES: usize = 100;
}

// === impl CommandFailure ===

impl CommandFailure {
    /// Such as `exit status 1, E: Unable to fetch some archives`.
    pub fn told(&self) -> String {
        match (self.exit_code, self.evidence.as_str()) {
            (..=0, "") => "it printed nothing".to_owned(),
            (..=0, line) => line.to_owned(),
            (code, "") => format!("exit status {code}, and it printed nothing"),
            (code, line) => format!("exit status {code}, {line}"),
        }
    }
}

// === impl Target ===

impl Target {
    /// Whether a new operation may do better. What was left out on purpose is not tried again, and what nobody knows the fate
    /// of only on demand.
    pub fn worth_retrying(&self, include_unknown: bool) -> bool {
        match self.state {
            TargetState::Failed | TargetState::TimedOut | TargetState::Cancelled => true,
            TargetState::Skipped => self.reason != "EXCLUDED",
            TargetState::Unknown => include_unknown,
            _ => false,
        }
    }

    /// Ends badly: the class says in which state, when to try again, and what to do first.
    pub fn fail(&mut self, class: FailureClass, explanation: impl Into<String>, now: Timestamp) {
        if self.state.is_terminal() {
            return;
        }
        let state = match class {
            FailureClass::CommandCancelled => TargetState::Cancelled,
            _ if class.is_time_out() => TargetState::TimedOut,
            _ => TargetState::Failed,
        };
        self.become_(state, class.as_str(), explanation, now);
        class.hint().clone_into(&mut self.hint);
        self.retry = Some(class.retry());
    }
}
