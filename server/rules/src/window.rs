//! Maintenance windows: when Systems Manager starts which tasks on which nodes, and what became of each run.

use crate::{InstanceId, Invalid, location::text};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// A window's id: `mw-` and 17 hex digits (S 9.1.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WindowId(String);

/// The id of one run of a window: a UUID (S 9.5.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WindowExecutionId(String);

/// What AWS takes as a window's name: 3 to 128 of `[a-zA-Z0-9_\-.]` (S 9.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WindowName(String);

/// How long a window is open, and how long before its end nothing more is started, in hours (S 9.1.1, 9.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowLength {
    duration: u8,
    cutoff: u8,
}

/// What MaxConcurrency and MaxErrors say: a number of nodes, or a share of them (S 6.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RateLimit {
    Count(u32),
    Percent(u8),
}

/// All that a window is made of, as CreateMaintenanceWindow takes it and UpdateMaintenanceWindow replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowDraft {
    pub name: String,
    /// At most 128 characters; AWS knows no empty one, only none.
    pub description: String,
    pub timing: WindowTiming,
    pub duration_hours: u8,
    pub cutoff_hours: u8,
    /// Whether tasks may name instances that are no target of the window (S 9.4.5).
    pub allow_unassociated_targets: bool,
}

/// When a window opens, in AWS's own texts: what this release cannot read is shown and kept all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowTiming {
    pub expression: String,
    /// An IANA name; `None` is UTC (S 9.2.9).
    pub time_zone: Option<String>,
    /// Days after each date of a cron expression, 1 to 6 (S 9.2.12).
    pub offset_days: Option<u8>,
    /// Nothing runs before it; rate expressions count from it (S 9.2.11).
    pub start: Option<String>,
    pub end: Option<String>,
}

/// A row of DescribeMaintenanceWindows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSummary {
    pub id: WindowId,
    pub name: String,
    pub description: String,
    pub enabled: bool,
    pub timing: WindowTiming,
    pub duration_hours: u8,
    pub cutoff_hours: u8,
    /// AWS's own forecast; `None` when the window will never run again (S 9.2.13).
    pub next_execution: Option<Timestamp>,
}

/// A whole window, as GetMaintenanceWindow tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub summary: WindowSummary,
    pub allow_unassociated_targets: bool,
    pub created: Option<Timestamp>,
    pub modified: Option<Timestamp>,
}

/// What a target or a task of a window points at: all of several terms, any value of one (S 6.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetTerm {
    /// `InstanceIds`, `tag:KEY`, `WindowTargetIds`, `resource-groups:Name`, …
    pub key: String,
    pub values: Vec<String>,
}

impl TargetTerm {
    /// Whether a node of this id and these tags is meant. `false` for what only AWS can look up: resource groups, and the
    /// targets that are registered with a window.
    pub fn covers(&self, id: &InstanceId, tags: &BTreeMap<String, String>) -> bool {
        match self.key.strip_prefix("tag:") {
            Some(key) => tags.get(key).is_some_and(|value| self.values.contains(value)),
            None if self.key == "tag-key" => self.values.iter().any(|key| tags.contains_key(key)),
            None => {
                self.key.eq_ignore_ascii_case("InstanceIds") && self.values.iter().any(|value| value == id.as_str())
            }
        }
    }
}

/// Nodes that are registered with a window (S 9.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowTarget {
    /// A UUID.
    pub id: String,
    /// `INSTANCE` or `RESOURCE_GROUP`.
    pub resource_type: String,
    pub terms: Vec<TargetTerm>,
    pub name: String,
    pub description: String,
    pub owner_information: String,
}

/// What a window runs (S 9.4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowTask {
    /// A UUID.
    pub id: String,
    /// `RUN_COMMAND`, `AUTOMATION`, `LAMBDA` or `STEP_FUNCTIONS`.
    pub task_type: String,
    /// For RUN_COMMAND the document's name; AWS does not check it (S 9.4.2).
    pub task_arn: String,
    pub targets: Vec<TargetTerm>,
    /// 0 goes first; equal ones run together (S 9.4.10).
    pub priority: u32,
    /// Empty where the task has no targets (S 9.4.3).
    pub max_concurrency: String,
    pub max_errors: String,
    /// Empty for Systems Manager's service-linked role (S 9.4.7).
    pub service_role_arn: String,
    /// `CONTINUE_TASK`, `CANCEL_TASK`, or empty for the first (S 9.4.11).
    pub cutoff_behavior: String,
    pub name: String,
    pub description: String,
    /// For RUN_COMMAND, and only where the whole task was read.
    pub command: Option<TaskCommand>,
}

/// What a RUN_COMMAND task sends (S 9.4.8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCommand {
    pub parameters: BTreeMap<String, Vec<String>>,
    /// How long AWS tries to deliver it (S 6.1.11).
    pub timeout_s: Option<u32>,
}

/// A RUN_COMMAND task as it is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDraft {
    pub name: WindowName,
    pub document: String,
    pub command: TaskCommand,
    pub max_concurrency: RateLimit,
    pub max_errors: RateLimit,
}

/// One status for a run, its tasks and their invocations (S 9.5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowStatus {
    Pending,
    InProgress,
    Success,
    Failed,
    TimedOut,
    Cancelling,
    Cancelled,
    SkippedOverlapping,
    Unknown(String),
}

/// How far a run, a task of it, or an invocation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub status: WindowStatus,
    pub details: String,
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
}

/// One run of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowExecution {
    pub id: WindowExecutionId,
    pub progress: Progress,
}

/// One task of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskExecution {
    /// A UUID; AWS calls it TaskId in requests (S 9.5.3).
    pub id: String,
    pub task_type: String,
    pub task_arn: String,
    pub progress: Progress,
    /// Read apart; empty until then.
    pub invocations: Vec<TaskInvocation>,
}

/// One start of a task: one for each target of the window, not for each node (S 9.5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskInvocation {
    /// A UUID.
    pub id: String,
    /// For RUN_COMMAND the command's id; empty before it was sent (S 9.5.3).
    pub execution_id: String,
    pub task_type: String,
    /// The target of the window that it was for; empty where the task names instances.
    pub window_target_id: String,
    /// What was started, as JSON.
    pub parameters: String,
    pub progress: Progress,
}

/// A time in the forms that AWS uses for windows: with or without seconds, fractions, an offset or `Z` (S 9.2.13).
pub fn window_time(text: &str) -> Option<Timestamp> {
    text.trim().parse().ok()
}

// === impl ids ===

impl FromStr for WindowId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix("mw-") {
            Some(hex) if hex.len() == 17 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(Invalid::new("maintenance_window", "must be a window's id: mw- and 17 hex digits")),
        }
    }
}

impl FromStr for WindowExecutionId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let lengths = text.split('-').map(str::len);
        if lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("execution", "must be the UUID of one run of a window"))
        }
    }
}

impl FromStr for WindowName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if !(3..=128).contains(&text.chars().count()) {
            return Err(Invalid::new("name", "must have 3 to 128 characters"));
        }
        match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"_-.".contains(*c)) {
            None => Ok(Self(text.to_owned())),
            Some(c) => {
                Err(Invalid::new("name", format!("holds {c:?}, which AWS does not allow; letters, digits and _-. are")))
            }
        }
    }
}

macro_rules! as_str {
    ($($type:ident),*) => {
        $(impl $type {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        })*
    };
}

as_str!(WindowId, WindowExecutionId, WindowName);
text!(WindowId);
text!(WindowExecutionId);
text!(WindowName);

// === impl WindowLength ===

impl WindowLength {
    /// The cutoff must be smaller than the duration (S 9.1.2).
    pub fn new(duration_hours: i32, cutoff_hours: i32) -> Result<Self, Invalid> {
        let within = |hours: i32, range: std::ops::RangeInclusive<u8>| {
            u8::try_from(hours).ok().filter(|hours| range.contains(hours))
        };
        let duration = within(duration_hours, 1..=24);
        let duration = duration.ok_or_else(|| Invalid::new("duration_hours", "must be 1 to 24 hours"))?;
        let cutoff = within(cutoff_hours, 0..=duration - 1).ok_or_else(|| {
            let rule = format!("must be 0 to {}: less than the duration of {duration} h", duration - 1);
            Invalid::new("cutoff_hours", rule)
        })?;
        Ok(Self { duration, cutoff })
    }

    pub fn duration_hours(self) -> u8 {
        self.duration
    }

    pub fn cutoff_hours(self) -> u8 {
        self.cutoff
    }
}

// === impl RateLimit ===

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for RateLimit {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let limit = match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|percent| *percent <= 100).map(Self::Percent),
            None => text.parse().ok().map(Self::Count),
        };
        limit.ok_or_else(|| Invalid::new("limit", "must be a number of nodes such as 5, or a share such as 10%"))
    }
}

// === impl windows ===

impl WindowTiming {
    pub fn start_time(&self) -> Option<Timestamp> {
        self.start.as_deref().and_then(window_time)
    }

    pub fn end_time(&self) -> Option<Timestamp> {
        self.end.as_deref().and_then(window_time)
    }
}

impl Window {
    /// What would make it again, for a change of some of it: UpdateMaintenanceWindow can take a value away only by
    /// replacing all of them (S 9.1.3).
    pub fn draft(&self) -> WindowDraft {
        let WindowSummary { name, description, timing, duration_hours, cutoff_hours, .. } = self.summary.clone();
        let allow_unassociated_targets = self.allow_unassociated_targets;
        WindowDraft { name, description, timing, duration_hours, cutoff_hours, allow_unassociated_targets }
    }
}

impl WindowStatus {
    pub fn parse(text: &str) -> Self {
        match text {
            "PENDING" => Self::Pending,
            "IN_PROGRESS" => Self::InProgress,
            "SUCCESS" => Self::Success,
            "FAILED" => Self::Failed,
            "TIMED_OUT" => Self::TimedOut,
            "CANCELLING" => Self::Cancelling,
            "CANCELLED" => Self::Cancelled,
            "SKIPPED_OVERLAPPING" => Self::SkippedOverlapping,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// As AWS spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "PENDING",
            Self::InProgress => "IN_PROGRESS",
            Self::Success => "SUCCESS",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Cancelling => "CANCELLING",
            Self::Cancelled => "CANCELLED",
            Self::SkippedOverlapping => "SKIPPED_OVERLAPPING",
            Self::Unknown(text) => text,
        }
    }

    /// Whether nothing more will change; a status that we do not know may.
    pub fn is_terminal(&self) -> bool {
        use WindowStatus::*;
        matches!(self, Success | Failed | TimedOut | Cancelled | SkippedOverlapping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_follow_the_patterns_of_the_model() {
        // S 9.1.1, 9.5.3.
        for good in ["web", "My-First-Maintenance-Window", "a.b_c", &"x".repeat(128)] {
            assert!(good.parse::<WindowName>().is_ok(), "{good}");
        }
        for bad in ["", "ab", "web nightly", "größe", "a/b", &"x".repeat(129)] {
            assert!(bad.parse::<WindowName>().is_err(), "{bad}");
        }
        assert!("mw-0ecb1226dd7b2e9a6".parse::<WindowId>().is_ok());
        for bad in ["", "mw-", "mw-0c50858d01EXAMPLE", "pb-0ecb1226dd7b2e9a6", "mw-0ECB1226DD7B2E9A6"] {
            assert!(bad.parse::<WindowId>().is_err(), "{bad}");
        }
        assert!("14bea65d-5ccc-462d-a2f3-e99c8aaaaaaa".parse::<WindowExecutionId>().is_ok());
        for bad in ["", "14bea65d", "14bea65d-5ccc-462d-a2f3-e99c8EXAMPLE", "14bea65d5ccc462da2f3e99c8aaaaaaa"] {
            assert!(bad.parse::<WindowExecutionId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_cutoff_is_smaller_than_the_duration() {
        // S 9.1.2: Duration 2 with Cutoff 1 is accepted, Duration 5 with Cutoff 12 is not.
        for (duration, cutoff, field) in [
            (2, 1, None),
            (1, 0, None),
            (24, 23, None),
            (0, 0, Some("duration_hours")),
            (25, 0, Some("duration_hours")),
            (-1, 0, Some("duration_hours")),
            (5, 12, Some("cutoff_hours")),
            (1, 1, Some("cutoff_hours")),
            (2, -1, Some("cutoff_hours")),
            (i32::MAX, i32::MIN, Some("duration_hours")),
        ] {
            let refused = WindowLength::new(duration, cutoff).err().map(|invalid| invalid.field);
            assert_eq!(refused.as_deref(), field, "{duration} {cutoff}");
        }
    }

    #[test]
    fn the_odd_time_texts_of_windows_are_read() {
        // S 9.2.13, 9.2.10: recorded texts of NextExecutionTime, ExecutionTime and StartDate.
        for (text, time) in [
            ("2020-02-12T23:19:20.596Z", "2020-02-12T23:19:20.596Z"),
            ("2019-10-20T05:34:56-07:00", "2019-10-20T12:34:56Z"),
            ("2019-02-03T02:00-08:00", "2019-02-03T10:00:00Z"),
            ("2020-02-26T16:00Z", "2020-02-26T16:00:00Z"),
            ("2021-01-01T00:00:00-08:00", "2021-01-01T08:00:00Z"),
        ] {
            assert_eq!(window_time(text), Some(time.parse().unwrap()), "{text}");
        }
        for none in ["", "tomorrow", "2020-02-26"] {
            assert_eq!(window_time(none), None, "{none}");
        }
    }

    #[test]
    fn limits_are_written_as_aws_reads_them() {
        for text in ["1", "50", "10%", "100%", "0"] {
            assert_eq!(text.parse::<RateLimit>().unwrap().to_string(), text);
        }
        for bad in ["", "%", "101%", "-1", "ten", "1.5%"] {
            assert!(bad.parse::<RateLimit>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_status_that_is_new_to_us_is_shown_and_may_change() {
        for text in ["PENDING", "IN_PROGRESS", "CANCELLING", "NEW_ONE"] {
            assert_eq!(WindowStatus::parse(text).as_str(), text);
            assert!(!WindowStatus::parse(text).is_terminal(), "{text}");
        }
        for text in ["SUCCESS", "FAILED", "TIMED_OUT", "CANCELLED", "SKIPPED_OVERLAPPING"] {
            assert!(WindowStatus::parse(text).is_terminal(), "{text}");
        }
    }
}
