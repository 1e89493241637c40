//! Nodes: what EC2 and Systems Manager each know of an instance, and the patch group it is in.

use crate::{Invalid, OperatingSystem, location::text};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// The tag keys that make a patch group, case-sensitive (S 5.1).
pub const GROUP_TAG_KEYS: [&str; 2] = ["Patch Group", "PatchGroup"];

/// An EC2 instance (`i-…`) or a hybrid node (`mi-…`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(String);

/// A patch group's name, which is a tag value: 1 to 256 of `[\p{L}\p{Z}\p{N}_.:/=+\-@]` (S 5.4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PatchGroupName(String);

/// EC2's instance states (S 12.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerState {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

/// What EC2 knows of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualMachine {
    pub id: InstanceId,
    pub state: PowerState,
    pub tags: BTreeMap<String, String>,
    /// Whether tags are readable in instance metadata, which forbids spaces in tag keys (S 12.7).
    pub metadata_tags: bool,
    pub instance_profile_arn: Option<String>,
    pub image_id: String,
    pub instance_type: String,
    pub private_ip: Option<String>,
    pub public_ip: Option<String>,
    pub vpc_id: String,
    pub subnet_id: String,
    pub security_group_ids: Vec<String>,
    pub launch_time: Option<Timestamp>,
}

/// Whether the agent was heard of lately (S 10.1.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PingStatus {
    Online,
    ConnectionLost,
    Inactive,
}

/// What Systems Manager knows of a node that registered with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedNode {
    pub id: InstanceId,
    pub ping: PingStatus,
    pub last_ping: Option<Timestamp>,
    pub agent_version: String,
    /// `Linux`, `Windows` or `MacOS`.
    pub platform_type: String,
    pub platform_name: String,
    pub platform_version: String,
    pub computer_name: String,
    pub ip_address: String,
}

/// What EC2 and Systems Manager know of one instance together; all empty when neither knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    pub vm: Option<VirtualMachine>,
    pub node: Option<ManagedNode>,
    /// EC2's tags, or for hybrid nodes Systems Manager's (S 10.1.10).
    pub tags: BTreeMap<String, String>,
}

/// The last patch operation's summary that Systems Manager keeps for a node (S 8.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchSummary {
    pub id: InstanceId,
    /// Empty when the node had no group at the time.
    pub patch_group: String,
    /// Always the bare id (S 4.1.4).
    pub baseline_id: String,
    /// `Scan` or `Install`.
    pub operation: String,
    pub operation_start: Option<Timestamp>,
    pub operation_end: Option<Timestamp>,
    pub snapshot_id: String,
    pub reboot_option: String,
    pub installed: u32,
    pub installed_other: u32,
    pub installed_pending_reboot: u32,
    pub installed_rejected: u32,
    pub missing: u32,
    pub failed: u32,
    pub not_applicable: u32,
    pub available_security_updates: u32,
    pub critical_non_compliant: u32,
    pub security_non_compliant: u32,
    pub other_non_compliant: u32,
}

// === impl InstanceId ===

impl FromStr for InstanceId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let hex = |digits: &str, lengths: &[usize]| {
            lengths.contains(&digits.len()) && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let well_formed = match text.split_once('-') {
            Some(("i", digits)) => hex(digits, &[8, 17]),
            Some(("mi", digits)) => hex(digits, &[17]),
            _ => false,
        };
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("instance", "must be an instance id: i- with 8 or 17 hex digits, or mi- with 17"))
        }
    }
}

impl InstanceId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A node outside EC2, known to Systems Manager alone.
    pub fn is_hybrid(&self) -> bool {
        self.0.starts_with("mi-")
    }
}

text!(InstanceId);

// === impl PatchGroupName ===

impl FromStr for PatchGroupName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed =
            |c: char| c.is_alphabetic() || c.is_numeric() || c == ' ' || c == '\u{a0}' || "_.:/=+-@".contains(c);
        if !(1..=256).contains(&text.chars().count()) {
            return Err(Invalid::new("patch_group", "must have 1 to 256 characters"));
        }
        match text.chars().find(|&c| !allowed(c)) {
            None => Ok(Self(text.to_owned())),
            Some(c) => Err(Invalid::new(
                "patch_group",
                format!("holds {c:?}, which AWS does not allow; letters, digits, spaces and _.:/=+-@ are"),
            )),
        }
    }
}

impl PatchGroupName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text!(PatchGroupName);

// === impl VirtualMachine ===

impl VirtualMachine {
    /// One of which nothing else is known.
    pub fn new(id: InstanceId, state: PowerState) -> Self {
        Self {
            id,
            state,
            tags: BTreeMap::new(),
            metadata_tags: false,
            instance_profile_arn: None,
            image_id: String::new(),
            instance_type: String::new(),
            private_ip: None,
            public_ip: None,
            vpc_id: String::new(),
            subnet_id: String::new(),
            security_group_ids: Vec::new(),
            launch_time: None,
        }
    }
}

// === impl ManagedNode ===

impl ManagedNode {
    /// `None`: no baseline fits this platform.
    pub fn operating_system(&self) -> Option<OperatingSystem> {
        OperatingSystem::of_platform(&self.platform_type, &self.platform_name, &self.platform_version)
    }
}

// === impl Sighting ===

impl Sighting {
    /// Whether anybody knows the instance.
    pub fn is_known(&self) -> bool {
        self.vm.is_some() || self.node.is_some()
    }
}

// === impl PatchSummary ===

impl PatchSummary {
    /// One in which nothing is counted.
    pub fn of(id: InstanceId) -> Self {
        Self {
            id,
            patch_group: String::new(),
            baseline_id: String::new(),
            operation: String::new(),
            operation_start: None,
            operation_end: None,
            snapshot_id: String::new(),
            reboot_option: String::new(),
            installed: 0,
            installed_other: 0,
            installed_pending_reboot: 0,
            installed_rejected: 0,
            missing: 0,
            failed: 0,
            not_applicable: 0,
            available_security_updates: 0,
            critical_non_compliant: 0,
            security_non_compliant: 0,
            other_non_compliant: 0,
        }
    }

    /// Missing, failed, rejected and not yet rebooted patches make a node non-compliant (S 8.2.4); a security update that
    /// the baseline counts as non-compliant does, too (S 8.2.5).
    pub fn is_compliant(&self) -> bool {
        self.missing + self.failed + self.installed_rejected + self.installed_pending_reboot == 0
            && self.critical_non_compliant + self.security_non_compliant + self.other_non_compliant == 0
    }
}

impl fmt::Display for PowerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_names_follow_the_pattern_of_the_model() {
        for good in ["web", "Web Servers", "prod/eu-1", "größe", "a@b:c=d+e"] {
            assert!(good.parse::<PatchGroupName>().is_ok(), "{good}");
        }
        for bad in ["", "a,b", "tab\there", "semi;colon", &"x".repeat(257)] {
            assert!(bad.parse::<PatchGroupName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn instance_ids_are_ec2s_or_hybrid() {
        for good in ["i-1234abcd", "i-0123456789abcdef0", "mi-0123456789abcdef0"] {
            assert!(good.parse::<InstanceId>().is_ok(), "{good}");
        }
        for bad in ["", "i-", "i-123", "I-1234abcd", "i-1234ABCD", "mi-1234abcd", "web-1", "i-0123456789abcdefg"] {
            assert!(bad.parse::<InstanceId>().is_err(), "{bad}");
        }
    }
}
