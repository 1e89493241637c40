//! The words that baselines are made of, by operating system (S 4.3.4), and the nearest one to a misspelt one.

use crate::OperatingSystem;

/// Which values AWS takes for a filter's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// Documented in full: AWS refuses any other (S 4.3.2).
    All(&'static [&'static str]),
    /// Documented in part: another one may be right.
    Some(&'static [&'static str]),
    /// Free, or too many and too new to be listed here.
    Open,
}

/// Every key that the API knows (S 4.3.1).
pub(crate) const FILTER_KEYS: [&str; 19] = [
    "ARCH",
    "ADVISORY_ID",
    "BUGZILLA_ID",
    "PATCH_SET",
    "PRODUCT",
    "PRODUCT_FAMILY",
    "CLASSIFICATION",
    "CVE_ID",
    "EPOCH",
    "MSRC_SEVERITY",
    "NAME",
    "PATCH_ID",
    "SECTION",
    "PRIORITY",
    "REPOSITORY",
    "RELEASE",
    "SEVERITY",
    "SECURITY",
    "VERSION",
];

/// S 4.4.8, highest first.
pub(crate) const COMPLIANCE_LEVELS: [&str; 6] = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNSPECIFIED"];
pub(crate) const REJECTED_ACTIONS: [&str; 2] = ["ALLOW_AS_DEPENDENCY", "BLOCK"];
pub(crate) const SECURITY_UPDATES_STATUS: [&str; 2] = ["COMPLIANT", "NON_COMPLIANT"];

/// The console's word for `*` (S 4.3.2).
pub(crate) const CONSOLE_ALL: &str = "All";

const YUM_KEYS: &[&str] = &["PRODUCT", "CLASSIFICATION", "SEVERITY"];
const APT_KEYS: &[&str] = &["PRODUCT", "PRIORITY", "SECTION"];
const WINDOWS_KEYS: &[&str] = &["PATCH_SET", "PRODUCT", "PRODUCT_FAMILY", "CLASSIFICATION", "MSRC_SEVERITY"];
const MACOS_KEYS: &[&str] = &["PRODUCT", "CLASSIFICATION"];

const YUM_CLASSIFICATIONS: &[&str] = &["Security", "Bugfix", "Enhancement", "Recommended", "Newpackage"];
const SUSE_CLASSIFICATIONS: &[&str] = &["Security", "Recommended", "Optional", "Feature", "Document", "Yast"];
const WINDOWS_CLASSIFICATIONS: &[&str] = &[
    "CriticalUpdates",
    "DefinitionUpdates",
    "Drivers",
    "FeaturePacks",
    "SecurityUpdates",
    "ServicePacks",
    "Tools",
    "UpdateRollups",
    "Updates",
    "Upgrades",
];
const PRIORITIES: &[&str] = &["Required", "Important", "Standard", "Optional", "Extra"];
const SEVERITIES: &[&str] = &["Critical", "Important", "Medium", "Low"];

/// The keys that rules may use on a system; `None` where the system itself is unknown here.
pub(crate) fn filter_keys(system: &str) -> Option<&'static [&'static str]> {
    Some(match system {
        "WINDOWS" => WINDOWS_KEYS,
        "MACOS" => MACOS_KEYS,
        "UBUNTU" | "DEBIAN" | "RASPBIAN" => APT_KEYS,
        "AMAZON_LINUX"
        | "AMAZON_LINUX_2"
        | "AMAZON_LINUX_2022"
        | "AMAZON_LINUX_2023"
        | "REDHAT_ENTERPRISE_LINUX"
        | "SUSE"
        | "CENTOS"
        | "ORACLE_LINUX"
        | "ROCKY_LINUX"
        | "ALMA_LINUX" => YUM_KEYS,
        _ => return None,
    })
}

/// The values of a key on a system, `*` aside.
pub(crate) fn filter_values(system: &str, key: &str) -> Values {
    match (key, system) {
        ("PATCH_SET", _) => Values::All(&["OS", "APPLICATION"]),
        ("PRIORITY", _) => Values::All(PRIORITIES),
        ("MSRC_SEVERITY", _) => Values::All(&["Critical", "Important", "Moderate", "Low", "Unspecified"]),
        ("CLASSIFICATION", "WINDOWS") => Values::All(WINDOWS_CLASSIFICATIONS),
        ("CLASSIFICATION", "SUSE") => Values::All(SUSE_CLASSIFICATIONS),
        ("CLASSIFICATION", "AMAZON_LINUX" | "AMAZON_LINUX_2" | "REDHAT_ENTERPRISE_LINUX" | "CENTOS") => {
            Values::All(YUM_CLASSIFICATIONS)
        }
        ("CLASSIFICATION", "MACOS") => Values::Some(&["Security", "Recommended"]),
        ("CLASSIFICATION", _) => Values::Some(YUM_CLASSIFICATIONS),
        ("SEVERITY", "SUSE") => Values::All(&["Critical", "Important", "Moderate", "Low"]),
        ("SEVERITY", "AMAZON_LINUX" | "AMAZON_LINUX_2" | "REDHAT_ENTERPRISE_LINUX" | "CENTOS") => {
            Values::All(SEVERITIES)
        }
        ("SEVERITY", "AMAZON_LINUX_2022" | "AMAZON_LINUX_2023") => {
            Values::All(&["Critical", "Important", "Medium", "Low", "None"])
        }
        ("SEVERITY", "ORACLE_LINUX") => Values::Some(&["Critical", "Important", "Moderate", "Low"]),
        ("SEVERITY", _) => Values::Some(SEVERITIES),
        _ => Values::Open,
    }
}

/// The filters whose values AWS can list for a system (S 4.3.4, 4.8.5).
pub fn listable_properties(os: &OperatingSystem) -> Vec<&'static str> {
    let keys = filter_keys(os.as_str()).unwrap_or(&["PRODUCT", "CLASSIFICATION", "SEVERITY"]);
    keys.iter().copied().filter(|key| !matches!(*key, "PATCH_SET" | "SECTION")).collect()
}

/// The filters of AWS's catalogue for a system; none where it has no catalogue (S 4.8.1–2).
pub fn catalogue_keys(os: &OperatingSystem) -> &'static [&'static str] {
    match os.as_str() {
        "WINDOWS" => &["PATCH_SET", "PRODUCT", "PRODUCT_FAMILY", "MSRC_SEVERITY", "CLASSIFICATION", "PATCH_ID"],
        "AMAZON_LINUX" | "AMAZON_LINUX_2" => &[
            "PRODUCT",
            "NAME",
            "SEVERITY",
            "EPOCH",
            "VERSION",
            "RELEASE",
            "ARCH",
            "REPOSITORY",
            "ADVISORY_ID",
            "CVE_ID",
            "BUGZILLA_ID",
        ],
        _ => &[],
    }
}

/// `did you mean X?` for the nearest of the known words, whatever their case, and all of them where they are few.
pub fn suggest(text: &str, known: &[&str]) -> String {
    let upper = text.to_uppercase();
    let likeness = |word: &&&str| strsim::jaro_winkler(&upper, &word.to_uppercase());
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        Some(word) if known.len() > 10 => format!("did you mean {word}?"),
        Some(word) => format!("did you mean {word}? It takes {}", known.join(", ")),
        None => String::new(),
    }
}

/// Systems whose repositories carry no reliable dates: whatever is approved is so at once (S 4.4.4).
pub(crate) fn is_undated(system: &str) -> bool {
    matches!(system, "DEBIAN" | "UBUNTU" | "RASPBIAN")
}

/// Systems that are no Linux.
pub(crate) fn is_linux(system: &str) -> bool {
    !matches!(system, "WINDOWS" | "MACOS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_has_keys_and_every_key_is_one_of_the_api_s() {
        for system in OperatingSystem::known() {
            let keys = filter_keys(system.as_str()).unwrap();
            assert!(keys.contains(&"PRODUCT"), "{system}");
            assert!(keys.iter().all(|key| FILTER_KEYS.contains(key)), "{system}");
        }
        assert_eq!(filter_keys("PLAN_9"), None);
    }

    #[test]
    fn the_nearest_word_is_found_whatever_its_case() {
        assert!(suggest("security", YUM_CLASSIFICATIONS).starts_with("did you mean Security?"));
        assert!(suggest("Medium", &["Critical", "Important", "Moderate", "Low"]).contains("did you mean Moderate?"));
        assert_eq!(suggest("SEVERTY", &FILTER_KEYS), "did you mean SEVERITY?");
    }
}
