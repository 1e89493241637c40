//! Numbers by the level at which a baseline has its patches reported.

use crate::{InstanceId, Invalid, suggest, vocabulary::COMPLIANCE_LEVELS};
use std::ops::AddAssign;

/// `CRITICAL` to `UNSPECIFIED` (S 4.4.8): what baselines say of a patch, not what its vendor does. The worst is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComplianceLevel(usize);

/// A number for each level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelCounts([u32; COMPLIANCE_LEVELS.len()]);

/// How many patches a node has reported at each level, by whether they comply (S 8.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCompliance {
    pub id: InstanceId,
    pub compliant: LevelCounts,
    pub non_compliant: LevelCounts,
}

impl ComplianceLevel {
    /// The worst first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..COMPLIANCE_LEVELS.len()).map(Self)
    }

    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let found = Self::all().find(|level| level.as_str() == text);
        found.ok_or_else(|| Invalid::new(field, format!("is no level; {}", suggest(text, &COMPLIANCE_LEVELS))))
    }

    pub fn as_str(self) -> &'static str {
        COMPLIANCE_LEVELS[self.0]
    }
}

impl LevelCounts {
    /// From numbers in the order of the levels, the worst first.
    pub fn new(counts: [u32; COMPLIANCE_LEVELS.len()]) -> Self {
        Self(counts)
    }

    pub fn of(&self, level: ComplianceLevel) -> u32 {
        self.0[level.0]
    }

    pub fn add(&mut self, level: ComplianceLevel, more: u32) {
        self.0[level.0] += more;
    }

    /// The worst level with a number.
    pub fn worst(&self) -> Option<ComplianceLevel> {
        ComplianceLevel::all().find(|level| self.of(*level) > 0)
    }
}

impl AddAssign for LevelCounts {
    fn add_assign(&mut self, other: Self) {
        for level in ComplianceLevel::all() {
            self.add(level, other.of(level));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_level_is_the_first_that_has_a_number() {
        // S 4.4.8: Critical, High, Medium, Low, Informational, Unspecified.
        let mut counts = LevelCounts::default();
        assert_eq!(counts.worst(), None);
        for (at, level) in ["UNSPECIFIED", "LOW", "HIGH", "CRITICAL"].into_iter().enumerate() {
            let level = ComplianceLevel::parse("severity", level).unwrap();
            counts.add(level, u32::try_from(at).unwrap() + 1);
            assert_eq!(counts.worst(), Some(level));
        }
        counts += counts;
        assert_eq!(counts, LevelCounts::new([8, 6, 0, 4, 0, 2]));
    }

    #[test]
    fn a_misspelt_level_is_told_the_right_ones() {
        let refused = ComplianceLevel::parse("severity", "Critical").unwrap_err();
        assert_eq!(refused.field, "severity");
        assert!(refused.rule.contains("did you mean CRITICAL?"), "{}", refused.rule);
    }
}
