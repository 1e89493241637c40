//! Freezes: times at which nothing is dispatched.

use jiff::Timestamp;
use patchplane_rules::{GROUP_TAG_KEYS, Location, PatchGroupName};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};
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

// === impl Freeze ===

impl Freeze {
    /// Whether it holds at this moment: from its start on, and up to its end.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }
}

impl FreezeScope {
    /// The one location it is about; `None`: any.
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::Everywhere => None,
            Self::Location(location) => Some(location),
            Self::PatchGroup { location, .. } | Self::Tag { location, .. } => location.as_ref(),
        }
    }

    /// Whether it covers anything there.
    pub fn concerns(&self, location: &Location) -> bool {
        self.location().is_none_or(|only| only == location)
    }

    /// Whether an instance's tags decide.
    pub fn goes_by_tags(&self) -> bool {
        matches!(self, Self::PatchGroup { .. } | Self::Tag { .. })
    }

    /// Whether it covers an instance with these tags, in a location that it concerns.
    pub fn covers(&self, tags: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Everywhere | Self::Location(_) => true,
            // Systems Manager reads both keys.
            Self::PatchGroup { group, .. } => {
                GROUP_TAG_KEYS.iter().any(|key| tags.get(*key).is_some_and(|value| value == group.as_str()))
            }
            Self::Tag { key, value, .. } => tags.get(key) == Some(value),
        }
    }
}

/// As those read it whose operations wait.
impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, scope, until, reason, creator, .. } = self;
        write!(f, "frozen by {creator} ({scope}): {reason}; freezes/{id} ")?;
        match until {
            Some(until) => write!(f, "ends at {until:.0}"),
            None => f.write_str("holds until it is deleted"),
        }
    }
}

impl fmt::Display for FreezeScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PatchGroup { group, .. } => write!(f, "the patch group `{group}` ")?,
            Self::Tag { key, value, .. } => write!(f, "the tag `{key}` = `{value}` ")?,
            Self::Everywhere | Self::Location(_) => {}
        }
        match self.location() {
            Some(location) => write!(f, "in {location}"),
            None => f.write_str("everywhere"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freeze_holds_from_its_start_up_to_its_end() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let freeze = Freeze {
            id: Ulid::from_parts(1, 1),
            scope: FreezeScope::Everywhere,
            from: at("2025-12-20T00:00:00Z"),
            until: Some(at("2026-01-02T00:00:00Z")),
            reason: "holidays".into(),
            creator: "local:0".into(),
            create_time: at("2025-12-01T00:00:00Z"),
        };
        for (now, active) in [
            ("2025-12-19T23:59:59Z", false),
            ("2025-12-20T00:00:00Z", true),
            ("2026-01-01T23:59:59Z", true),
            ("2026-01-02T00:00:00Z", false),
        ] {
            assert_eq!(freeze.is_active(at(now)), active, "{now}");
        }
        assert!(Freeze { until: None, ..freeze }.is_active(at("2030-01-01T00:00:00Z")));
    }

    #[test]
    fn groups_are_covered_under_both_of_their_keys() {
        let scope = FreezeScope::PatchGroup { location: None, group: "web".parse().unwrap() };
        let tags = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert!(scope.covers(&tags("Patch Group", "web")));
        assert!(scope.covers(&tags("PatchGroup", "web")));
        assert!(!scope.covers(&tags("Patch Group", "db")));
        assert!(!scope.covers(&tags("Name", "web")));
        let tag = FreezeScope::Tag { location: None, key: "Stage".into(), value: "prod".into() };
        assert!(tag.covers(&tags("Stage", "prod")));
        assert!(!tag.covers(&tags("stage", "prod")));
    }
}
