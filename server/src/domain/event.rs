//! The log of an operation: each change of a state, a reason or an explanation.

use jiff::Timestamp;
use patchplane_rules::InstanceId;
use serde::Serialize;

/// One change, at its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The store's revision that brought the change, as watches have it.
    pub revision: u64,
    /// Its place among the changes of that revision.
    pub seq: u32,
    pub time: Timestamp,
    /// `None`: the operation as a whole.
    pub target: Option<InstanceId>,
    /// The new state, named as in the record: `Running`, `Succeeded`.
    pub state: String,
    /// A stable code, or empty.
    pub reason: String,
    pub explanation: String,
}
