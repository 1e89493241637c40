//! Versions of the Systems Manager agent.

use std::fmt;

/// A version such as `3.3.40.0`, compared part by part as numbers (S 10.2, row 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentVersion([u32; 4]);

impl AgentVersion {
    /// The least one that carries out AWS-RunPatchBaseline (S 10.2, row 3).
    pub const FOR_PATCHING: Self = Self([2, 0, 834, 0]);

    /// Parts that are not given are 0. `None`: no version, such as an empty text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = [0; 4];
        let mut given = text.split('.');
        for part in &mut parts {
            match given.next() {
                Some(number) => *part = number.parse().ok()?,
                None => return Some(Self(parts)),
            }
        }
        given.next().is_none().then_some(Self(parts))
    }
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([major, minor, build, revision]) = self;
        write!(f, "{major}.{minor}.{build}.{revision}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |text| AgentVersion::parse(text).unwrap();
        assert!(version("2.0.833.0") < AgentVersion::FOR_PATCHING);
        assert!(version("2.0.834.0") == AgentVersion::FOR_PATCHING);
        assert!(version("10.0") > version("9.9.9.9"));
        assert_eq!(version("3.1").to_string(), "3.1.0.0");
        for none in ["", "latest", "1.2.3.4.5", "3.x", "-1"] {
            assert_eq!(AgentVersion::parse(none), None, "{none}");
        }
    }
}
