//! AWS's predefined baselines: one default for each operating system, two more for Windows (S 4.1–4.2).

use crate::dice::Dice;
use jiff::Timestamp;
use patchplane_rules::{
    ApprovalDate, ApprovalRule, Baseline, BaselineOwner, BaselineSummary, OperatingSystem, PatchFilter,
};

struct Predefined {
    name: &'static str,
    system: &'static str,
    description: &'static str,
    /// The id in us-east-1; empty where no public source tells it.
    id: &'static str,
    rules: Rules,
}

#[derive(Clone, Copy)]
enum Rules {
    /// Security of these severities; with `true` also all Bugfix; after 7 days.
    Security(&'static [&'static str], bool),
    /// Everything, also what no security notice names, after 7 days.
    Everything,
    /// By package priority, at once.
    Priority,
    /// Everything that is current, at once.
    MacOs,
    /// Windows; with `true` also Microsoft's applications.
    Windows(bool),
}

const USUAL: Rules = Rules::Security(&["Critical", "Important"], true);

macro_rules! predefined {
    ($($name:literal $system:literal $id:literal $rules:expr, $description:literal;)*) => {
        [$(Predefined { name: $name, system: $system, description: $description, id: $id, rules: $rules }),*]
    };
}

/// S 4.2, in the order of its table; descriptions that no source tells follow the form of the others.
const PREDEFINED: [Predefined; 17] = predefined![
    "AWS-AlmaLinuxDefaultPatchBaseline" "ALMA_LINUX" "pb-0cb0c4966f86b059b" USUAL,
        "Default Patch Baseline for Alma Linux Provided by AWS.";
    "AWS-AmazonLinuxDefaultPatchBaseline" "AMAZON_LINUX" "pb-0c10e657807c7a700" USUAL,
        "Default Patch Baseline for Amazon Linux Provided by AWS.";
    "AWS-AmazonLinux2DefaultPatchBaseline" "AMAZON_LINUX_2" "pb-0be8c61cde3be63f3" USUAL,
        "Baseline containing all Security and Bugfix updates approved for Amazon Linux 2 instances";
    "AWS-AmazonLinux2022DefaultPatchBaseline" "AMAZON_LINUX_2022" "pb-0028ca011460d5eaf" USUAL,
        "Default Patch Baseline for Amazon Linux 2022 Provided by AWS.";
    "AWS-AmazonLinux2023DefaultPatchBaseline" "AMAZON_LINUX_2023" "pb-05c9c9bf778d4c4d0" USUAL,
        "Default Patch Baseline for Amazon Linux 2023 Provided by AWS.";
    "AWS-CentOSDefaultPatchBaseline" "CENTOS" "pb-03e3f588eec25344c" Rules::Everything,
        "Default Patch Baseline for CentOS Provided by AWS.";
    "AWS-DebianDefaultPatchBaseline" "DEBIAN" "pb-09a5f8eb62bde80b1" Rules::Priority,
        "Default Patch Baseline for Debian Provided by AWS.";
    "AWS-MacOSDefaultPatchBaseline" "MACOS" "pb-0ee4f94581368c0d4" Rules::MacOs,
        "Default Patch Baseline for MacOS Provided by AWS.";
    "AWS-OracleLinuxDefaultPatchBaseline" "ORACLE_LINUX" "pb-06bff38e95fe85c02"
        Rules::Security(&["Important", "Moderate"], true),
        "Default Patch Baseline for Oracle Linux Server Provided by AWS.";
    "AWS-DefaultRaspbianPatchBaseline" "RASPBIAN" "pb-0ec16280999c5c75e" Rules::Priority,
        "Default Patch Baseline for Raspbian Provided by AWS.";
    "AWS-RedHatDefaultPatchBaseline" "REDHAT_ENTERPRISE_LINUX" "pb-0cbb3a633de00f07c" USUAL,
        "Default Patch Baseline for Redhat Enterprise Linux Provided by AWS.";
    "AWS-RockyLinuxDefaultPatchBaseline" "ROCKY_LINUX" "pb-03ec98bc512aa3ac0" USUAL,
        "Default Patch Baseline for Rocky Linux Provided by AWS.";
    "AWS-SuseDefaultPatchBaseline" "SUSE" "pb-07d8884178197b66b" Rules::Security(&["Critical", "Important"], false),
        "Default Patch Baseline for Suse Provided by AWS.";
    "AWS-UbuntuDefaultPatchBaseline" "UBUNTU" "pb-0c7e89f711c3095f4" Rules::Priority,
        "Default Patch Baseline for Ubuntu Provided by AWS.";
    "AWS-DefaultPatchBaseline" "WINDOWS" "pb-09ca3fb51f0412ec3" Rules::Windows(false),
        "Default Patch Baseline Provided by AWS.";
    "AWS-WindowsPredefinedPatchBaseline-OS" "WINDOWS" "" Rules::Windows(false),
        "Default Patch Baseline for Windows OS Provided by AWS.";
    "AWS-WindowsPredefinedPatchBaseline-OS-Applications" "WINDOWS" "" Rules::Windows(true),
        "Default Patch Baseline for Windows OS and Applications Provided by AWS.";
];

/// The baselines that AWS provides in a Region. Their owner and ids differ per Region (S 4.1.2): those of us-east-1
/// are the real ones, the others are made up and stay the same.
pub(crate) fn baselines(region: &str) -> Vec<Baseline> {
    let owner = match region {
        "us-east-1" => "075727635805".to_owned(),
        "us-east-2" => "733109147000".to_owned(),
        _ => Dice::new(0, &["baseline-owner", region]).decimal(12),
    };
    let partition = match region {
        r if r.starts_with("cn-") => "aws-cn",
        r if r.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    let created = Timestamp::constant(1_576_800_000, 0);
    let build = |predefined: &Predefined| {
        let made_up = || format!("pb-0{}", Dice::new(0, &["baseline", region, predefined.name]).hex(16));
        let id = if region == "us-east-1" && !predefined.id.is_empty() { predefined.id.to_owned() } else { made_up() };
        Some(Baseline {
            summary: BaselineSummary {
                id: id.parse().ok()?,
                aws_id: format!("arn:{partition}:ssm:{region}:{owner}:patchbaseline/{id}"),
                owner: BaselineOwner::Aws,
                name: predefined.name.to_owned(),
                description: predefined.description.to_owned(),
                operating_system: OperatingSystem::observed(predefined.system),
                default: !predefined.name.starts_with("AWS-WindowsPredefined"),
            },
            global_filters: Vec::new(),
            rules: rules(predefined.rules),
            approved_patches: Vec::new(),
            approved_patches_compliance_level: "UNSPECIFIED".to_owned(),
            approved_patches_enable_non_security: false,
            rejected_patches: Vec::new(),
            rejected_patches_action: "ALLOW_AS_DEPENDENCY".to_owned(),
            sources: Vec::new(),
            available_security_updates: None,
            patch_groups: Vec::new(),
            created: Some(created),
            modified: Some(created),
        })
    };
    PREDEFINED.iter().filter_map(build).collect()
}

fn rules(kind: Rules) -> Vec<ApprovalRule> {
    let rule = |filters: &[(&str, &[&str])], days: u16, enable_non_security: bool| ApprovalRule {
        filters: filters
            .iter()
            .map(|(key, values)| PatchFilter {
                key: (*key).to_owned(),
                values: values.iter().map(|&value| value.to_owned()).collect(),
            })
            .collect(),
        compliance_level: "UNSPECIFIED".to_owned(),
        approval: Some(ApprovalDate::AfterDays(days)),
        enable_non_security,
    };
    let any = ("PRODUCT", &["*"][..]);
    match kind {
        Rules::Security(severities, bugfix) => {
            let mut rules = vec![rule(&[any, ("CLASSIFICATION", &["Security"]), ("SEVERITY", severities)], 7, false)];
            if bugfix {
                rules.push(rule(&[any, ("CLASSIFICATION", &["Bugfix"])], 7, false));
            }
            rules
        }
        Rules::Everything => vec![rule(&[any], 7, true)],
        Rules::Priority => {
            let priorities = ["Required", "Important", "Standard", "Optional", "Extra"];
            vec![rule(&[any, ("PRIORITY", &priorities)], 0, false)]
        }
        Rules::MacOs => vec![rule(&[any], 0, false)],
        Rules::Windows(applications) => {
            let classes = ["CriticalUpdates", "SecurityUpdates"];
            let severities = ["Critical", "Important"];
            let mut rules = vec![rule(&[("CLASSIFICATION", &classes), ("MSRC_SEVERITY", &severities)], 7, false)];
            if applications {
                rules.push(rule(&[("PATCH_SET", &["APPLICATION"]), ("PRODUCT_FAMILY", &["*"]), any], 7, false));
            }
            rules
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_operating_system_has_exactly_one_default_in_every_region() {
        // S 4.6.12.
        for region in ["us-east-1", "eu-central-1", "cn-north-1"] {
            let all = baselines(region);
            assert_eq!(all.len(), 17, "{region}");
            for system in OperatingSystem::known() {
                let of_system = all.iter().filter(|b| b.summary.operating_system == system && b.summary.default);
                assert_eq!(of_system.count(), 1, "{region} {system}");
            }
            let ids: BTreeSet<_> = all.iter().map(|b| b.summary.id.clone()).collect();
            assert_eq!(ids.len(), 17, "{region}");
        }
    }

    #[test]
    fn the_arn_names_the_account_of_the_region() {
        // S 4.1.2 and 4.2.
        let baseline = &baselines("us-east-1")[2];
        let arn = "arn:aws:ssm:us-east-1:075727635805:patchbaseline/pb-0be8c61cde3be63f3";
        assert_eq!(baseline.summary.aws_id, arn);
        assert!(baselines("us-east-2")[2].summary.aws_id.contains(":733109147000:"));
        assert!(baselines("eu-central-1")[2].summary.aws_id.starts_with("arn:aws:ssm:eu-central-1:"));
    }
}
