//! Freezes: times at which nothing is dispatched.

use jiff::Timestamp;
use patchplane_rules::{Location, PatchGroupName};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// Nothing is dispatched within the scope, from a time until another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    pub id: Ulid,
    pub scope: FreezeScope,
    pub from: Timestamp,
    /// `None`: until it is deleted.
    pub until: Option<Timestamp>,
    pub reason: String,
    /// Who made it, as a principal.
    pub creator: String,
    pub create_time: Timestamp,
}

/// What a freeze covers; no location means all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FreezeScope {
    Everywhere,
    Location(Location),
    PatchGroup { location: Option<Location>, group: PatchGroupName },
    Tag { location: Option<Location>, key: String, value: String },
}
