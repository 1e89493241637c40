//! What identifies a mutation, so that calling again does nothing twice.

use patchplane_rules::Invalid;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// A UUID, one for each intended mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestId(Uuid);

/// SHA-256 of a request's content less its id, in hex: the same id with other content is a mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(pub String);

/// How a mutation is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    pub request_id: RequestId,
    pub fingerprint: Fingerprint,
    pub validate_only: bool,
    /// The fingerprint of the plan that the caller has seen.
    pub expected_plan: Option<String>,
}

impl RequestId {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::new("request_id", "is required: a UUID, one for each intended operation"));
        }
        match Uuid::try_parse(text) {
            Ok(uuid) if !uuid.is_nil() && text.len() == 36 => Ok(Self(uuid)),
            _ => Err(Invalid::new("request_id", "must be a UUID such as 6f1c9c1e-3f0a-4e2b-9d6e-0f4f0c8c3a11")),
        }
    }

    /// For mutations that may go without: a new one when `text` is empty.
    pub fn parse_or_new(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() { Ok(Self(Uuid::new_v4())) } else { Self::parse(text) }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}
