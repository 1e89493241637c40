//! AWS's patching vocabulary as plain values that cannot be built wrong, and Patch Manager's rules as pure functions.
//!
//! This crate does no input or output and knows no clock: time is passed in. Facts are cited as `S 4.4.2`, a line of
//! the project's reference on AWS semantics (section, number).

mod advisory;
mod agent_version;
mod approval;
mod baseline;
mod compliance;
mod diff;
mod draft;
mod drift;
mod failure;
mod instance;
mod invalid;
mod lint;
mod location;
mod network;
mod operating_system;
mod patch;
mod preview;
mod schedule;
mod severity;
mod vocabulary;
mod window;

pub use advisory::parse_advisories;
pub use agent_version::AgentVersion;
pub use approval::{
    AvailablePatch, Judgement, approved_from, compare_versions, filter_matches, group_matches, judge, level_rank,
    select,
};
pub use baseline::{
    ApprovalDate, ApprovalRule, Baseline, BaselineId, BaselineOwner, BaselineSummary, PatchFilter, PatchSource,
};
pub use compliance::{Evidence, PatchCounts, ReportedPatch, count, is_non_compliant, state_of};
pub use diff::{FieldChange, diff, rule_text};
pub use draft::{BaselineDraft, BaselineSpec};
pub use drift::newer_builds;
pub use failure::{Classified, FailureClass, PatchStep, Retry, classify};
pub use instance::{
    GROUP_TAG_KEYS, InstanceId, ManagedNode, PatchGroupName, PatchSummary, PingStatus, PowerState, Sighting,
    VirtualMachine,
};
pub use invalid::Invalid;
pub use lint::{Lint, lints};
pub use location::{AccountId, Location, Region};
pub use network::{Network, Permission, RouteTable, SecurityGroup, Unreached, VpcEndpoint, unreached};
pub use operating_system::OperatingSystem;
pub use patch::{InstancePatch, PatchState};
pub use preview::{Decider, Explanation, Undated, Verdict, explain};
pub use schedule::{Nth, Recurrence, Run, Schedule, Shift, TimeZoneName, Timetable, WeekDays};
pub use severity::{ComplianceLevel, LevelCounts, NodeCompliance};
pub use vocabulary::{catalogue_keys, listable_properties, suggest};
pub use window::{
    Progress, RateLimit, TargetTerm, TaskCommand, TaskDraft, TaskExecution, TaskInvocation, Window, WindowDraft,
    WindowExecution, WindowExecutionId, WindowId, WindowLength, WindowName, WindowStatus, WindowSummary, WindowTarget,
    WindowTask, WindowTiming, window_time,
};
