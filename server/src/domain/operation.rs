//! Patch operations: what was asked, and what became of it.

use super::outcome::Drift;
use jiff::{SignedDuration, Timestamp};
use patchplane_rules::{InstanceId, Invalid, Location, PatchGroupName, WindowId};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use ulid::Ulid;
use uuid::Uuid;

pub use super::target::{Step, StepState, Target, TargetCounts, TargetState};

/// AWS takes at most this many instance ids in one SendCommand (S 6.1.1).
pub const MAX_BATCH: usize = 50;

/// Which operation, within its location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OperationId {
    Ours(Ulid),
    /// A run of a maintenance window, by AWS's id of the execution.
    Run(Uuid),
    /// A run of an association, by AWS's id of the execution.
    Association(Uuid),
    /// A command that others sent, by AWS's id.
    Command(Uuid),
}

/// Who started an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The only one that the engine works on; the others are only followed.
    #[default]
    Patchplane,
    Window(WindowId),
    /// By AWS's id.
    Association(String),
    /// By AWS's id of its association.
    PatchPolicy(String),
    Command,
}

/// An origin without what it names: what lists are narrowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginKind {
    Patchplane,
    Window,
    Association,
    PatchPolicy,
    Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Scan,
    Install,
    /// Of the whole system, whatever waits for one.
    Reboot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RebootOption {
    RebootIfNeeded,
    NoReboot,
}

/// What was asked for, after the door: complete and within bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub kind: Kind,
    pub targets: TargetSelection,
    /// `None` for scans: a scan never reboots (S 7.2.3).
    pub reboot_option: Option<RebootOption>,
    pub concurrency: InstanceLimit,
    pub max_failures: InstanceLimit,
    pub max_duration: SignedDuration,
    pub max_targets: usize,
    /// What becomes of targets that another run works on.
    #[serde(default)]
    pub on_busy: OnBusy,
    /// Commands are sent although a freeze forbids it; a right of its own.
    #[serde(default)]
    pub override_freeze: bool,
    pub note: String,
}

/// What becomes of a target that another run works on when it is its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnBusy {
    /// It waits, until too little time is left.
    #[default]
    Wait,
    Skip,
    Fail,
}

/// The union of what is named, less the exclusions; never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSelection {
    pub patch_groups: Vec<PatchGroupName>,
    pub tags: Vec<(String, String)>,
    pub instance_ids: Vec<InstanceId>,
    pub all_managed: bool,
    pub excluded: Vec<InstanceId>,
}

/// A number of instances, absolute or as a share of the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceLimit {
    Count(u32),
    Percent(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Resolving,
    Running,
    Verifying,
    Cancelling,
    Succeeded,
    CompletedWithFailures,
    Failed,
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    pub id: OperationId,
    pub location: Location,
    pub spec: Spec,
    pub state: State,
    /// A stable code, or empty.
    pub reason: String,
    pub explanation: String,
    /// One for all commands of the operation: it freezes the baselines' content for three days (S 7.1.2).
    pub snapshot_id: String,
    /// When that snapshot was chosen, if that was after the creation: its three days were over, and it was renewed.
    #[serde(default)]
    pub snapshot_time: Option<Timestamp>,
    pub creator: String,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
    pub end_time: Option<Timestamp>,
    pub deadline: Timestamp,
    #[serde(default)]
    pub origin: Origin,
    /// The operation whose targets are tried again.
    #[serde(default)]
    pub retry_of: Option<OperationId>,
    /// What later batches got and earlier ones could not have.
    #[serde(default)]
    pub drift: Vec<Drift>,
    /// The span that created it, as `traceparent` writes it: what is done for it later links there.
    #[serde(default)]
    pub trace: Option<String>,
}

/// The record of one send: written before it, completed after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// Counts the operation's sends from 1.
    pub batch: u32,
    /// The highest attempt among its targets.
    pub attempt: u32,
    /// Names this send in AWS's `Comment`, at most 60 characters.
    pub marker: String,
    pub instance_ids: Vec<InstanceId>,
    pub timeout_s: u32,
    /// The snapshot it is sent with.
    #[serde(default)]
    pub snapshot_id: String,
    /// The signing time of the one request sent under this record; AWS refuses it some minutes later.
    pub signed_at: Timestamp,
    pub outcome: DispatchOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DispatchOutcome {
    /// Meant to be sent; whoever finds this in the store never sends it, but asks AWS what happened.
    Open,
    Sent {
        command_id: String,
        expires_after: Option<Timestamp>,
    },
    /// AWS refused definitely: nothing was started.
    Refused {
        error: String,
    },
    /// Proven: it never reached AWS, and never will. Its targets may be sent to again.
    Absent {
        explanation: String,
    },
    /// Nobody can prove whether it was sent.
    Unproven,
}

// === impl Spec ===

impl Spec {
    pub const DEFAULT_MAX_DURATION: SignedDuration = SignedDuration::from_hours(6);
    pub const LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);
    pub const DEFAULT_MAX_TARGETS: usize = 500;
    pub const MOST_TARGETS: usize = 5000;
    /// Documents of AWS allow a patching step two hours (S 6.1.17), delivery takes up to ten minutes, verification twenty.
    pub const SHORTEST_INSTALL: SignedDuration = SignedDuration::from_hours(3);
    pub const SHORTEST_SCAN: SignedDuration = SignedDuration::from_mins(10);
    /// Ten minutes for delivery, thirty for the script, twenty for verification.
    pub const SHORTEST_REBOOT: SignedDuration = SignedDuration::from_hours(1);

    /// How many at once when nothing is said: a scan changes nothing, an install goes by tenths.
    pub fn default_concurrency(kind: Kind) -> InstanceLimit {
        match kind {
            Kind::Scan => InstanceLimit::Percent(100),
            Kind::Install | Kind::Reboot => InstanceLimit::Percent(10),
        }
    }

    /// How many may fail when nothing is said: a failing scan keeps no other from being made.
    pub fn default_max_failures(kind: Kind) -> InstanceLimit {
        match kind {
            Kind::Scan => InstanceLimit::Percent(100),
            Kind::Install | Kind::Reboot => InstanceLimit::Percent(5),
        }
    }

    /// How many targets are worked on at once.
    pub fn concurrency(&self, targets: usize) -> usize {
        self.concurrency.of(targets).clamp(1, MAX_BATCH)
    }

    /// How many targets may fail before nothing more is started.
    pub fn max_failures(&self, targets: usize) -> usize {
        self.max_failures.of(targets).max(1)
    }

    /// How long before the deadline the last command may be sent: an execution and its verification must fit.
    /// `allowance` is how long AWS lets a delivered command run, where an answer has told it (S 6.1.17).
    pub fn dispatch_cut_off(&self, allowance: Option<SignedDuration>) -> SignedDuration {
        let execution = match self.kind {
            Kind::Scan => return SignedDuration::from_mins(5),
            Kind::Install => SignedDuration::from_hours(2),
            Kind::Reboot => SignedDuration::from_mins(30),
        };
        allowance.unwrap_or(execution).max(SignedDuration::ZERO) + SignedDuration::from_mins(20)
    }
}

impl InstanceLimit {
    /// A share is rounded up to whole instances.
    pub fn of(self, targets: usize) -> usize {
        match self {
            Self::Count(count) => count as usize,
            Self::Percent(percent) => (targets * usize::from(percent)).div_ceil(100),
        }
    }

    pub fn parse_count(field: &str, count: i32) -> Result<Self, Invalid> {
        match u32::try_from(count) {
            Ok(count @ 1..=5000) => Ok(Self::Count(count)),
            _ => Err(Invalid::new(field, "must be 1 to 5000 instances")),
        }
    }

    pub fn parse_percent(field: &str, percent: i32) -> Result<Self, Invalid> {
        match u8::try_from(percent) {
            Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
            _ => Err(Invalid::new(field, "must be 1 to 100 percent")),
        }
    }
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Scan, Self::Install, Self::Reboot];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scan => "SCAN",
            Self::Install => "INSTALL",
            Self::Reboot => "REBOOT",
        }
    }
}

impl State {
    /// Those of an operation that has not ended.
    pub const UNFINISHED: [Self; 4] = [Self::Resolving, Self::Running, Self::Verifying, Self::Cancelling];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolving => "RESOLVING",
            Self::Running => "RUNNING",
            Self::Verifying => "VERIFYING",
            Self::Cancelling => "CANCELLING",
            Self::Succeeded => "SUCCEEDED",
            Self::CompletedWithFailures => "COMPLETED_WITH_FAILURES",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    pub fn is_terminal(self) -> bool {
        match self {
            Self::Resolving | Self::Running | Self::Verifying | Self::Cancelling => false,
            Self::Succeeded | Self::CompletedWithFailures | Self::Failed | Self::Cancelled => true,
        }
    }
}

// === impl Operation ===

impl Operation {
    /// Its place in the history, by the time of its creation; each has its own.
    pub fn place(&self) -> Ulid {
        match self.id {
            OperationId::Ours(ulid) => ulid,
            OperationId::Run(uuid) | OperationId::Association(uuid) | OperationId::Command(uuid) => {
                let millis = u64::try_from(self.create_time.as_millisecond()).unwrap_or(0);
                Ulid::from_parts(millis, uuid.as_u128())
            }
        }
    }
}

// === impl Origin ===

impl Origin {
    pub fn kind(&self) -> OriginKind {
        match self {
            Self::Patchplane => OriginKind::Patchplane,
            Self::Window(_) => OriginKind::Window,
            Self::Association(_) => OriginKind::Association,
            Self::PatchPolicy(_) => OriginKind::PatchPolicy,
            Self::Command => OriginKind::Command,
        }
    }
}

impl OriginKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Patchplane => "PATCHPLANE",
            Self::Window => "WINDOW",
            Self::Association => "ASSOCIATION",
            Self::PatchPolicy => "PATCH_POLICY",
            Self::Command => "COMMAND",
        }
    }
}

// === impl OperationId ===

impl OperationId {
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Ours(_))
    }
}

impl FromStr for OperationId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let uuid = |text: &str| Uuid::parse_str(text).ok();
        let id = match text.split_once('-') {
            Some(("run", rest)) => uuid(rest).map(Self::Run),
            Some(("assoc", rest)) => uuid(rest).map(Self::Association),
            Some(("cmd", rest)) => uuid(rest).map(Self::Command),
            _ => Ulid::from_string(text).ok().map(Self::Ours),
        };
        // One spelling for each.
        id.filter(|id| id.to_string() == text).ok_or_else(|| {
            let rule = "must end with an operation's id: a ULID of 26 upper-case characters, run-{uuid}, assoc-{uuid} or \
                        cmd-{uuid}";
            Invalid::new("patch_operation", rule)
        })
    }
}

impl TryFrom<String> for OperationId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<OperationId> for String {
    fn from(id: OperationId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(ulid) => ulid.fmt(f),
            Self::Run(uuid) => write!(f, "run-{uuid}"),
            Self::Association(uuid) => write!(f, "assoc-{uuid}"),
            Self::Command(uuid) => write!(f, "cmd-{uuid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_up_to_whole_instances() {
        for (limit, targets, expected) in [
            (InstanceLimit::Percent(10), 1, 1),
            (InstanceLimit::Percent(10), 10, 1),
            (InstanceLimit::Percent(10), 11, 2),
            (InstanceLimit::Percent(100), 7, 7),
            (InstanceLimit::Count(3), 100, 3),
        ] {
            assert_eq!(limit.of(targets), expected, "{limit:?} of {targets}");
        }
    }
}
