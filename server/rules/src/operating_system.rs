//! The operating systems that baselines are made for, and how a node's platform maps to one.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An operating system in AWS's spelling, such as `AMAZON_LINUX_2`. A value this release does not know is carried along.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatingSystem(String);

/// All values of S 4.1.7.
const KNOWN: [&str; 15] = [
    "WINDOWS",
    "AMAZON_LINUX",
    "AMAZON_LINUX_2",
    "AMAZON_LINUX_2022",
    "AMAZON_LINUX_2023",
    "UBUNTU",
    "REDHAT_ENTERPRISE_LINUX",
    "SUSE",
    "CENTOS",
    "ORACLE_LINUX",
    "DEBIAN",
    "MACOS",
    "RASPBIAN",
    "ROCKY_LINUX",
    "ALMA_LINUX",
];

impl OperatingSystem {
    /// A value that AWS sent: kept as it is, known or not.
    pub fn observed(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A value that a caller sent: one of AWS's, else the nearest one as a suggestion.
    pub fn parse(text: &str) -> Result<Self, crate::Invalid> {
        if KNOWN.contains(&text) {
            return Ok(Self(text.to_owned()));
        }
        let hint = crate::vocabulary::suggest(text, &KNOWN);
        Err(crate::Invalid::new("operating_system", format!("is not one of AWS's operating systems; {hint}")))
    }

    pub fn known() -> impl Iterator<Item = Self> {
        KNOWN.iter().map(|&text| Self(text.to_owned()))
    }

    /// The baseline family of a node, from what its agent reports (S 10.1.9). `None`: no baseline fits this platform.
    pub fn of_platform(platform_type: &str, name: &str, version: &str) -> Option<Self> {
        let by_name = |name: &str| {
            Some(match name {
                n if n.starts_with("Amazon Linux AMI") || n.starts_with("Amazon Linux Bare Metal") => "AMAZON_LINUX",
                n if n.starts_with("Amazon Linux") => match version.split('.').next() {
                    Some("2022") => "AMAZON_LINUX_2022",
                    Some("2023") => "AMAZON_LINUX_2023",
                    _ => "AMAZON_LINUX_2",
                },
                n if n.starts_with("CentOS") => "CENTOS",
                n if n.starts_with("Debian GNU/Linux") => "DEBIAN",
                n if n.starts_with("Raspbian GNU/Linux") => "RASPBIAN",
                n if n.starts_with("Ubuntu") => "UBUNTU",
                n if n.starts_with("Oracle Linux Server") => "ORACLE_LINUX",
                n if n.starts_with("Red Hat Enterprise Linux") => "REDHAT_ENTERPRISE_LINUX",
                n if n.starts_with("SLES") => "SUSE",
                n if n.starts_with("Rocky Linux") => "ROCKY_LINUX",
                n if n.starts_with("AlmaLinux") => "ALMA_LINUX",
                _ => return None,
            })
        };
        let text = match platform_type {
            "Windows" => "WINDOWS",
            "MacOS" => "MACOS",
            _ => by_name(name)?,
        };
        Some(Self(text.to_owned()))
    }

    /// The step of AWS-RunPatchBaseline that acts on this system; the other two are skipped (S 6.3.2, 7.1.4).
    pub fn patch_step(&self) -> &'static str {
        match self.0.as_str() {
            "WINDOWS" => "PatchWindows",
            "MACOS" => "PatchMacOS",
            _ => "PatchLinux",
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperatingSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_map_to_baseline_families() {
        // Expected values: S 10.1.9.
        for (platform_type, name, version, expected) in [
            ("Linux", "Amazon Linux", "2", Some("AMAZON_LINUX_2")),
            ("Linux", "Amazon Linux", "2023", Some("AMAZON_LINUX_2023")),
            ("Linux", "Amazon Linux AMI", "2018.03", Some("AMAZON_LINUX")),
            ("Linux", "SLES", "15.1", Some("SUSE")),
            ("Linux", "Red Hat Enterprise Linux Server", "8.6", Some("REDHAT_ENTERPRISE_LINUX")),
            ("Windows", "Microsoft Windows Server 2019 Datacenter", "10.0.17763", Some("WINDOWS")),
            ("MacOS", "macOS", "14.1", Some("MACOS")),
            ("Linux", "Bottlerocket OS", "1.19", None),
        ] {
            let found = OperatingSystem::of_platform(platform_type, name, version);
            assert_eq!(found.as_ref().map(OperatingSystem::as_str), expected, "{name} {version}");
        }
    }

    #[test]
    fn a_misspelt_system_gets_a_suggestion() {
        let error = OperatingSystem::parse("AMAZON_LINUX2").unwrap_err();
        assert!(error.rule.contains("did you mean AMAZON_LINUX"), "{error}");
    }
}
