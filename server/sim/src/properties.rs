//! What approval rules can filter by, for each operating system: keys, and the values that the service knows (S 4.3.4).
//!
//! The public texts give examples of products and no list; those here are made of them. Products of Amazon Linux 2023,
//! Rocky, Alma, Oracle, Debian, Raspberry Pi OS and macOS, and macOS's classifications, are unverified (S 15).

pub(crate) enum Values {
    Listed(Vec<&'static str>),
    /// Free text; only its length is looked at (S 4.3.5).
    Free,
}

/// A filter key with its values.
pub(crate) type Property = (&'static str, Values);

const PRIORITIES: [&str; 5] = ["Required", "Important", "Standard", "Optional", "Extra"];
const LINUX_CLASSES: [&str; 5] = ["Security", "Bugfix", "Enhancement", "Recommended", "Newpackage"];
const WINDOWS_CLASSES: [&str; 10] = [
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
const WINDOWS_PRODUCTS: [&str; 11] = [
    "Windows10",
    "Windows10LTSB",
    "Windows7",
    "Windows8.1",
    "WindowsServer2008",
    "WindowsServer2008R2",
    "WindowsServer2012",
    "WindowsServer2012R2",
    "WindowsServer2016",
    "WindowsServer2019",
    "WindowsServer2022",
];
/// Microsoft's applications: family and product (S 4.3.6 and the user guide's examples).
const APPLICATIONS: [(&str, &str); 5] = [
    ("Active Directory", "Active Directory Rights Management Services Client 2.0"),
    ("Office", "Office 2016"),
    ("Office", "Office 2019"),
    ("SQL Server", "Microsoft SQL Server 2017"),
    ("SQL Server", "Microsoft SQL Server 2019"),
];

/// The filter keys of an operating system.
pub(crate) fn of(system: &str) -> Vec<Property> {
    use Values::{Free, Listed};
    let product = || ("PRODUCT", Listed(os_products(system)));
    let usual = |classes: &[&'static str], severities: &[&'static str]| {
        vec![product(), ("CLASSIFICATION", Listed(classes.to_vec())), ("SEVERITY", Listed(severities.to_vec()))]
    };
    match system {
        "WINDOWS" => vec![
            ("PATCH_SET", Listed(vec!["OS", "APPLICATION"])),
            ("PRODUCT", Listed([os_products(system), applications("PRODUCT")].concat())),
            ("PRODUCT_FAMILY", Listed([vec!["Windows"], applications("PRODUCT_FAMILY")].concat())),
            ("CLASSIFICATION", Listed(WINDOWS_CLASSES.to_vec())),
            ("MSRC_SEVERITY", Listed(vec!["Critical", "Important", "Moderate", "Low", "Unspecified"])),
        ],
        "UBUNTU" | "DEBIAN" | "RASPBIAN" => {
            vec![product(), ("PRIORITY", Listed(PRIORITIES.to_vec())), ("SECTION", Free)]
        }
        "MACOS" => vec![product(), ("CLASSIFICATION", Listed(vec!["Security", "Recommended"]))],
        "SUSE" => usual(
            &["Security", "Recommended", "Optional", "Feature", "Document", "Yast"],
            &["Critical", "Important", "Moderate", "Low"],
        ),
        "ORACLE_LINUX" => usual(&LINUX_CLASSES, &["Critical", "Important", "Moderate", "Low"]),
        "AMAZON_LINUX_2022" | "AMAZON_LINUX_2023" => {
            usual(&LINUX_CLASSES, &["Critical", "Important", "Medium", "Low", "None"])
        }
        _ => usual(&LINUX_CLASSES, &["Critical", "Important", "Medium", "Low"]),
    }
}

/// What DescribePatchProperties lists of a key (S 4.8.5). `None`: not a property of this system.
pub(crate) fn listed(system: &str, key: &str, patch_set: &str) -> Option<Vec<&'static str>> {
    match (system, key, patch_set) {
        ("WINDOWS", "PRODUCT" | "PRODUCT_FAMILY", "APPLICATION") => return Some(applications(key)),
        ("WINDOWS", "PRODUCT", _) => return Some(os_products(system)),
        ("WINDOWS", "PRODUCT_FAMILY", _) => return Some(vec!["Windows"]),
        _ => {}
    }
    of(system).into_iter().find_map(|(name, values)| match values {
        Values::Listed(values) if name == key => Some(values),
        _ => None,
    })
}

fn applications(key: &str) -> Vec<&'static str> {
    let mut names: Vec<_> =
        APPLICATIONS.iter().map(|(family, product)| if key == "PRODUCT" { *product } else { *family }).collect();
    names.dedup();
    names
}

fn os_products(system: &str) -> Vec<&'static str> {
    match system {
        "WINDOWS" => WINDOWS_PRODUCTS.to_vec(),
        "AMAZON_LINUX" => split(
            "AmazonLinux2012.03 AmazonLinux2012.09 AmazonLinux2013.03 AmazonLinux2013.09 AmazonLinux2014.03 \
             AmazonLinux2014.09 AmazonLinux2015.03 AmazonLinux2015.09 AmazonLinux2016.03 AmazonLinux2016.09 \
             AmazonLinux2017.03 AmazonLinux2017.09 AmazonLinux2018.03",
        ),
        "AMAZON_LINUX_2" => split("AmazonLinux2 AmazonLinux2.0"),
        "AMAZON_LINUX_2022" => split("AmazonLinux2022"),
        "AMAZON_LINUX_2023" => split("AmazonLinux2023"),
        "UBUNTU" => split("Ubuntu14.04 Ubuntu16.04 Ubuntu18.04 Ubuntu20.04 Ubuntu22.04 Ubuntu24.04"),
        "REDHAT_ENTERPRISE_LINUX" => split(
            "RedhatEnterpriseLinux6.10 RedhatEnterpriseLinux7.8 RedhatEnterpriseLinux7.9 RedhatEnterpriseLinux8 \
             RedhatEnterpriseLinux8.5 RedhatEnterpriseLinux8.6 RedhatEnterpriseLinux8.8 RedhatEnterpriseLinux9 \
             RedhatEnterpriseLinux9.4",
        ),
        "SUSE" => split(
            "Suse12.0 Suse12.1 Suse12.2 Suse12.3 Suse12.4 Suse12.5 Suse12.6 Suse12.7 Suse12.8 Suse12.9 Suse15.0 \
             Suse15.1 Suse15.2 Suse15.3 Suse15.4 Suse15.5",
        ),
        "CENTOS" => split("CentOS6.10 CentOS7.4 CentOS7.8 CentOS7.9 CentOS8.3"),
        "ORACLE_LINUX" => split("OracleLinux7.5 OracleLinux7.9 OracleLinux8.5 OracleLinux9.0"),
        "DEBIAN" => split("Debian8 Debian9 Debian10 Debian11 Debian12"),
        "RASPBIAN" => split("Raspbian9 Raspbian10"),
        "MACOS" => split("MacOSX10.15.7 MacOSX11.6 MacOSX12.6 MacOSX13.1"),
        "ROCKY_LINUX" => split("RockyLinux8.4 RockyLinux8.5 RockyLinux9.0"),
        "ALMA_LINUX" => split("AlmaLinux8.3 AlmaLinux8.5 AlmaLinux9.0"),
        _ => Vec::new(),
    }
}

fn split(names: &'static str) -> Vec<&'static str> {
    names.split_whitespace().collect()
}
