//! Patch baselines: which patches are approved, and when.

use crate::{Invalid, OperatingSystem, PatchGroupName, location::text};
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A baseline's bare id: `pb-` and 17 hex digits (S 4.1.1). AWS's own baselines are *addressed* by ARN all the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaselineId(String);

/// Whose baseline it is: AWS's predefined ones cannot be changed or deleted (S 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BaselineOwner {
    Aws,
    Account,
}

/// A row of DescribePatchBaselines: everything but the rules (S 4.6.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineSummary {
    pub id: BaselineId,
    /// What AWS calls want: an ARN for AWS's own, the bare id otherwise (S 4.1.3).
    pub aws_id: String,
    pub owner: BaselineOwner,
    pub name: String,
    pub description: String,
    pub operating_system: OperatingSystem,
    /// Whether it is its operating system's default in this location.
    pub default: bool,
}

/// A whole baseline, as GetPatchBaseline tells it (S 4.1.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    pub summary: BaselineSummary,
    pub global_filters: Vec<PatchFilter>,
    pub rules: Vec<ApprovalRule>,
    pub approved_patches: Vec<String>,
    pub approved_patches_compliance_level: String,
    pub approved_patches_enable_non_security: bool,
    pub rejected_patches: Vec<String>,
    /// `ALLOW_AS_DEPENDENCY` or `BLOCK`.
    pub rejected_patches_action: String,
    /// Linux: the repositories to patch from instead of the node's own (S 4.5.10).
    pub sources: Vec<PatchSource>,
    /// Windows: `COMPLIANT` or `NON_COMPLIANT`, how security updates count that are out and not approved (S 4.4.10).
    pub available_security_updates: Option<String>,
    pub patch_groups: Vec<PatchGroupName>,
    pub created: Option<Timestamp>,
    pub modified: Option<Timestamp>,
}

/// A repository that takes the place of the nodes' own for the time of a run (S 4.5.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchSource {
    pub name: String,
    /// The releases of the operating system that it is for, such as `AmazonLinux2`.
    pub products: Vec<String>,
    /// The repository's configuration as the package manager takes it; may hold secrets.
    pub configuration: String,
}

/// All filters must match; within one, any value does (S 4.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchFilter {
    /// AWS's key, such as `CLASSIFICATION`.
    pub key: String,
    /// Exact values, or `*` for all (S 4.3.2).
    pub values: Vec<String>,
}

/// Approves what its filters match, once its date allows; rules are alternatives (S 4.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRule {
    pub filters: Vec<PatchFilter>,
    /// The severity reported for a patch that this rule approves and that is missing (S 4.4.8).
    pub compliance_level: String,
    /// `None` where AWS gave neither, as for systems whose repositories carry no dates (S 4.4.4).
    pub approval: Option<ApprovalDate>,
    pub enable_non_security: bool,
}

/// When a rule approves: exactly one of the two forms (S 4.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalDate {
    /// Approved once `now >= release + days * 24 h` (S 4.4.2); 0 to 360.
    AfterDays(u16),
    /// Approved if released on or before this UTC day, the whole day included (S 4.4.3).
    Until(Date),
}

impl FromStr for BaselineId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix("pb-") {
            Some(hex) if hex.len() == 17 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(Invalid::new("baseline", "must be a bare baseline id: pb- and 17 hex digits")),
        }
    }
}

impl BaselineId {
    /// The bare id of what AWS calls a baseline id: itself, or the last part of an ARN.
    pub fn of_aws_id(aws_id: &str) -> Result<Self, Invalid> {
        aws_id.rsplit('/').next().unwrap_or(aws_id).parse()
    }

    /// Stands for a baseline that does not exist yet.
    pub(crate) fn none() -> Self {
        Self("pb-00000000000000000".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text!(BaselineId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_id_is_the_end_of_the_arn() {
        let arn = "arn:aws:ssm:us-east-1:075727635805:patchbaseline/pb-0be8c61cde3be63f3";
        assert_eq!(BaselineId::of_aws_id(arn).unwrap().as_str(), "pb-0be8c61cde3be63f3");
        assert_eq!(BaselineId::of_aws_id("pb-0be8c61cde3be63f3").unwrap().as_str(), "pb-0be8c61cde3be63f3");
        assert!(BaselineId::of_aws_id("pb-xyz").is_err());
    }
}
