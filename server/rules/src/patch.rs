//! One patch on one node, and the states it can be in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A patch's state on a node (S 8.1). A state this release does not know is shown as AWS spells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PatchState {
    Installed,
    InstalledOther,
    InstalledPendingReboot,
    InstalledRejected,
    Missing,
    Failed,
    NotApplicable,
    AvailableSecurityUpdate,
    Unknown(String),
}

/// A row of DescribeInstancePatches (S 8.1.2–4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstancePatch {
    pub title: String,
    /// `KB4480979` on Windows, `name.arch` on Linux.
    pub kb_id: String,
    /// Empty where AWS sends an empty string.
    pub classification: String,
    pub severity: String,
    pub state: PatchState,
    /// `None` where AWS sends epoch 0 or a sentinel before it.
    pub installed_time: Option<Timestamp>,
    /// Known for missing and failed patches only (S 8.1.4).
    pub cve_ids: Vec<String>,
}

impl PatchState {
    /// Takes the model's spelling (`INSTALLED_OTHER`) and the one that AWS really sends (`InstalledOther`, S 8.1.1).
    pub fn parse(text: &str) -> Self {
        let letters: String = text.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect();
        match letters.as_str() {
            "installed" => Self::Installed,
            "installedother" => Self::InstalledOther,
            "installedpendingreboot" => Self::InstalledPendingReboot,
            "installedrejected" => Self::InstalledRejected,
            "missing" => Self::Missing,
            "failed" => Self::Failed,
            "notapplicable" => Self::NotApplicable,
            "availablesecurityupdate" => Self::AvailableSecurityUpdate,
            _ => Self::Unknown(text.to_owned()),
        }
    }

    /// As AWS prints it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Installed => "Installed",
            Self::InstalledOther => "InstalledOther",
            Self::InstalledPendingReboot => "InstalledPendingReboot",
            Self::InstalledRejected => "InstalledRejected",
            Self::Missing => "Missing",
            Self::Failed => "Failed",
            Self::NotApplicable => "NotApplicable",
            Self::AvailableSecurityUpdate => "AvailableSecurityUpdate",
            Self::Unknown(text) => text,
        }
    }
}

impl fmt::Display for PatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_understood_and_the_rest_is_kept() {
        // S 8.1: the enum of the model against what DescribeInstancePatches prints.
        for (model, printed) in [
            ("INSTALLED", "Installed"),
            ("INSTALLED_OTHER", "InstalledOther"),
            ("INSTALLED_PENDING_REBOOT", "InstalledPendingReboot"),
            ("INSTALLED_REJECTED", "InstalledRejected"),
            ("MISSING", "Missing"),
            ("FAILED", "Failed"),
            ("NOT_APPLICABLE", "NotApplicable"),
            ("AVAILABLE_SECURITY_UPDATE", "AvailableSecurityUpdate"),
        ] {
            assert_eq!(PatchState::parse(model), PatchState::parse(printed));
            assert_eq!(PatchState::parse(model).as_str(), printed);
        }
        assert_eq!(PatchState::parse("Superseded").as_str(), "Superseded");
    }
}
