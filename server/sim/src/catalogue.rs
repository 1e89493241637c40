//! The updates of the simulated world: real advisories (see `advisories/README.md`) and a few marked synthetic.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use patchplane_rules::AvailablePatch;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::LazyLock};

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::read);

/// The Windows products of the catalogue.
pub(crate) const WINDOWS: [&str; 2] = ["WindowsServer2019", "WindowsServer2022"];

/// Its applications of Microsoft's.
pub(crate) const APPLICATIONS: [&str; 1] = ["Office 2016"];

struct Catalogue {
    /// By AWS's product, such as `AmazonLinux2` (the platforms of `platform.rs`).
    by_product: BTreeMap<&'static str, Vec<AvailablePatch>>,
    /// KB to the KBs that it replaces.
    supersedes: BTreeMap<String, Vec<String>>,
    /// KB to Microsoft's id of the update, where a public source tells it.
    microsoft_ids: BTreeMap<String, String>,
}

/// The updates of a product that are out at `now`. Replaced Windows updates vanish (S 4.4.6).
pub(crate) fn offers(product: &str, now: Timestamp) -> Vec<&'static AvailablePatch> {
    let all = CATALOGUE.by_product.get(product).map_or(&[][..], Vec::as_slice);
    let out: Vec<_> = all.iter().filter(|patch| patch.released.is_none_or(|released| released <= now)).collect();
    let replacing = CATALOGUE.supersedes.iter().filter(|(id, _)| out.iter().any(|patch| patch.kb_id == **id));
    let replaced: Vec<_> = replacing.flat_map(|(_, replaced)| replaced).collect();
    out.into_iter().filter(|patch| !replaced.contains(&&patch.kb_id)).collect()
}

/// Microsoft's id of a Windows update (S 4.8.3); made up, and the same each time, where no source tells it.
pub(crate) fn microsoft_id(kb_id: &str) -> String {
    let known = CATALOGUE.microsoft_ids.get(kb_id).cloned();
    known.unwrap_or_else(|| uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, kb_id.as_bytes()).to_string())
}

#[derive(Default, Deserialize)]
struct AdvisoryFile {
    #[serde(default)]
    advisories: Vec<Advisory>,
    #[serde(default)]
    undated: Vec<Advisory>,
    #[serde(default, rename = "amazon-linux-2")]
    amazon_linux_2: Vec<Advisory>,
    #[serde(default, rename = "amazon-linux-2023")]
    amazon_linux_2023: Vec<Advisory>,
    #[serde(default)]
    ubuntu: Vec<Advisory>,
    #[serde(default)]
    windows: Vec<Advisory>,
}

#[derive(Deserialize)]
struct Advisory {
    id: String,
    title: String,
    #[serde(default, rename = "type")]
    kind: String,
    severity: Option<String>,
    updated: Option<String>,
    cves: Vec<String>,
    /// Ubuntu only.
    product: Option<String>,
    #[serde(default)]
    packages: Vec<Package>,
    kb: Option<String>,
    /// The family of an application; unset means Windows itself.
    family: Option<String>,
    classification: Option<String>,
    msrc_severity: Option<String>,
    release_date: Option<String>,
    #[serde(default)]
    products: Vec<String>,
    #[serde(default)]
    supersedes: Vec<String>,
    patch_id: Option<String>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    epoch: String,
    version: String,
    release: String,
    arch: Option<String>,
}

impl Catalogue {
    fn read() -> Self {
        let amazon_linux_2 = parse(include_str!("../advisories/amazon-linux-2.json")).advisories;
        let amazon_linux_2023 = parse(include_str!("../advisories/amazon-linux-2023.json")).advisories;
        let synthetic = parse(include_str!("../advisories/synthetic.json"));
        let windows = parse(include_str!("../advisories/windows.json"));
        let rhel = parse(include_str!("../advisories/rhel.json")).advisories;
        let mut ubuntu = parse(include_str!("../advisories/ubuntu.json")).advisories;
        ubuntu.retain(|advisory| advisory.product.as_deref() == Some("Ubuntu 22.04 LTS"));
        let linux = |product: &str, real: &[Advisory], synthetic: &[Advisory]| -> Vec<AvailablePatch> {
            real.iter().chain(synthetic).flat_map(|advisory| of_packages(advisory, product)).collect()
        };
        let all_windows: Vec<_> = windows.advisories.iter().chain(&windows.undated).chain(&synthetic.windows).collect();
        let of_windows = |product: &str| -> Vec<AvailablePatch> {
            all_windows.iter().filter_map(|advisory| of_article(advisory, product)).collect()
        };
        Self {
            by_product: BTreeMap::from([
                ("AmazonLinux2", linux("AmazonLinux2", &amazon_linux_2, &synthetic.amazon_linux_2)),
                ("AmazonLinux2023", linux("AmazonLinux2023", &amazon_linux_2023, &synthetic.amazon_linux_2023)),
                ("Ubuntu22.04", linux("Ubuntu22.04", &ubuntu, &synthetic.ubuntu)),
                ("RedhatEnterpriseLinux8.6", linux("RedhatEnterpriseLinux8.6", &rhel, &[])),
                ("WindowsServer2019", of_windows("WindowsServer2019")),
                ("WindowsServer2022", of_windows("WindowsServer2022")),
                ("Office 2016", of_windows("Office 2016")),
            ]),
            supersedes: all_windows
                .iter()
                .filter(|advisory| !advisory.supersedes.is_empty())
                .map(|advisory| (advisory.id.clone(), advisory.supersedes.clone()))
                .collect(),
            microsoft_ids: all_windows
                .iter()
                .filter_map(|advisory| Some((advisory.id.clone(), advisory.patch_id.clone()?)))
                .collect(),
        }
    }
}

/// The files are part of this crate; a test reads them all.
fn parse(text: &str) -> AdvisoryFile {
    serde_json::from_str(text).unwrap_or_default()
}

/// A patch a package; what the notice says, its packages inherit (S 4.7.12).
fn of_packages(advisory: &Advisory, product: &str) -> Vec<AvailablePatch> {
    // The notices of Red Hat Enterprise Linux are for several releases; those of others are for one.
    let red_hat = product.starts_with("RedhatEnterpriseLinux");
    let packages = advisory.packages.iter().filter(|package| !red_hat || package.release.contains("el8"));
    let bugfix = advisory.kind == "bugfix";
    let patch = |package: &Package| {
        let Package { name, epoch, version, release, arch } = package;
        let arch = arch.as_deref().unwrap_or("x86_64");
        AvailablePatch {
            kb_id: format!("{name}.{arch}"),
            title: format!("{name}.{arch}:{epoch}:{version}-{release}"),
            name: name.clone(),
            epoch: epoch.clone(),
            version: version.clone(),
            release: release.clone(),
            arch: arch.to_owned(),
            product: product.to_owned(),
            repository: if product == "AmazonLinux2" { "Core" } else { "" }.to_owned(),
            classification: if bugfix { "Bugfix" } else { "Security" }.to_owned(),
            // Systems Manager's word for Red Hat's Moderate (the table of S 4.3.4).
            severity: advisory.severity.clone().unwrap_or_default().replace("Moderate", "Medium"),
            advisory_ids: vec![advisory.id.clone()],
            cve_ids: advisory.cves.clone(),
            released: advisory.updated.as_deref().and_then(timestamp),
            from_security_source: true,
            ..AvailablePatch::default()
        }
    };
    let patches = packages.map(patch);
    if product.starts_with("Ubuntu") { patches.map(|patch| of_apt(patch, bugfix)).collect() } else { patches.collect() }
}

/// What is different with apt: no dates (S 4.4.4), no classification but a priority, and only the security repository
/// counts as a security source (S 4.7.4). No advisory tells priorities: these are made up. That the priority is shown
/// as severity is unverified.
fn of_apt(patch: AvailablePatch, bugfix: bool) -> AvailablePatch {
    let required = ["libc", "libpam"].iter().any(|start| patch.name.starts_with(start));
    let priority = if required { "Required" } else { "Optional" };
    let AvailablePatch { name, epoch, version, release, .. } = &patch;
    AvailablePatch {
        kb_id: format!("{name}.amd64"),
        title: format!("{name}.amd64:{epoch}:{version}-{release}"),
        arch: "amd64".to_owned(),
        repository: if bugfix { "jammy-updates" } else { "jammy-security" }.to_owned(),
        classification: String::new(),
        severity: priority.to_owned(),
        priority: priority.to_owned(),
        section: "misc".to_owned(),
        released: None,
        from_security_source: !bugfix,
        ..patch
    }
}

/// `None`: not for this product. The malicious-software tool names no product and is for all.
fn of_article(advisory: &Advisory, product: &str) -> Option<AvailablePatch> {
    let squeezed: Vec<String> = advisory.products.iter().map(|name| name.replace(' ', "")).collect();
    let application = APPLICATIONS.contains(&product);
    if (application && squeezed.is_empty()) || (!squeezed.is_empty() && !squeezed.contains(&product.replace(' ', ""))) {
        return None;
    }
    let kb = advisory.kb.clone()?;
    Some(AvailablePatch {
        kb_id: kb.clone(),
        title: advisory.title.clone(),
        name: kb,
        arch: "x86_64".to_owned(),
        product: product.to_owned(),
        product_family: advisory.family.clone().unwrap_or_else(|| "Windows".to_owned()),
        patch_set: if application { "APPLICATION" } else { "OS" }.to_owned(),
        classification: advisory.classification.clone().unwrap_or_default(),
        severity: advisory.msrc_severity.clone().unwrap_or_else(|| "Unspecified".to_owned()),
        cve_ids: advisory.cves.clone(),
        released: advisory.release_date.as_deref().and_then(timestamp),
        from_security_source: true,
        ..AvailablePatch::default()
    })
}

/// An instant, or a day as its first second.
fn timestamp(text: &str) -> Option<Timestamp> {
    let midnight = || Some(text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
    text.parse().ok().or_else(midnight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_advisory_is_read_and_dated() {
        // Counts: advisories/README.md (62 + 15) and the synthetic file (2 + 1); the two undated KBs carry no date.
        let advisories = |product: &str| {
            let mut ids: Vec<_> =
                CATALOGUE.by_product[product].iter().flat_map(|patch| patch.advisory_ids.clone()).collect();
            ids.sort();
            ids.dedup();
            ids.len()
        };
        assert_eq!((advisories("AmazonLinux2"), advisories("AmazonLinux2023")), (64, 16));
        // Ubuntu: 13, of which one is for 20.04, and a synthetic one; Red Hat: those with builds for RHEL 8.
        assert_eq!((advisories("Ubuntu22.04"), advisories("RedhatEnterpriseLinux8.6")), (13, 11));
        let windows = WINDOWS.iter().flat_map(|product| &CATALOGUE.by_product[product]);
        let undated = windows.filter(|patch| patch.released.is_none());
        let mut undated: Vec<_> = undated.map(|patch| patch.kb_id.as_str()).collect();
        undated.dedup();
        assert_eq!(undated, ["KB4589208", "KB890830"]);
    }

    #[test]
    fn an_update_is_not_offered_before_it_is_out() {
        let before = offers("AmazonLinux2", "2025-10-30T23:14:59Z".parse().unwrap()).len();
        assert!(before < offers("AmazonLinux2", "2025-10-30T23:15:00Z".parse().unwrap()).len());
    }
}
