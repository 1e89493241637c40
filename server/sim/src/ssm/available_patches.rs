//! What there is to patch with: the catalogue, as far as the service shows it (S 4.8).

use super::{Answer, Call, baselines::does_not_exist, epoch};
use crate::{catalogue, error::AwsError, properties};
use jiff::Timestamp;
use patchplane_rules::{AvailablePatch, BaselineId, Judgement, PatchFilter, filter_matches, judge};
use serde_json::{Value, json};

const WINDOWS_KEYS: [&str; 6] =
    ["PATCH_SET", "PRODUCT", "PRODUCT_FAMILY", "MSRC_SEVERITY", "CLASSIFICATION", "PATCH_ID"];
const LINUX_KEYS: [&str; 11] = [
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
];

impl Call<'_> {
    /// Windows, and of Linux Amazon Linux 1 and 2 only, for which a product must be named (S 4.8.1–2). That another
    /// product gives an empty list is unverified.
    pub(super) fn describe_available_patches(&self) -> Answer {
        let filters: Vec<PatchFilter> = self
            .filters()
            .into_iter()
            .map(|(key, values)| PatchFilter {
                key: key.to_owned(),
                values: values.into_iter().map(str::to_owned).collect(),
            })
            .collect();
        let products = filters.iter().filter(|filter| filter.key == "PRODUCT").flat_map(|filter| &filter.values);
        let linux = products.clone().any(|product| product.starts_with("AmazonLinux"));
        let keys = if linux { &LINUX_KEYS[..] } else { &WINDOWS_KEYS[..] };
        if let Some(bad) = filters.iter().find(|filter| !keys.contains(&filter.key.as_str())) {
            let text = if LINUX_KEYS.contains(&bad.key.as_str()) && products.count() == 0 {
                format!("Filter {} needs a filter PRODUCT", bad.key)
            } else {
                format!("Invalid filter key: {}", bad.key)
            };
            return Err(AwsError::validation(text));
        }
        let listed = if linux { &["AmazonLinux2"][..] } else { &catalogue::WINDOWS[..] };
        let applications = filters.iter().any(|f| f.key == "PATCH_SET" && f.values.iter().any(|v| v == "APPLICATION"));
        let applications = catalogue::APPLICATIONS.iter().filter(|_| applications && !linux);
        let patches = listed.iter().chain(applications).flat_map(|product| catalogue::offers(product, self.now));
        let wanted = patches.filter(|patch| filters.iter().all(|filter| filter_matches(filter, patch)));
        let rows = wanted.map(|patch| (key(patch), if linux { linux_patch(patch) } else { windows_patch(patch) }));
        self.page("Patches", rows.collect(), 50)
    }

    /// For Windows baselines only (S 4.8.4). Replaced updates are gone (S 4.4.6).
    pub(super) fn describe_effective_patches_for_patch_baseline(&self) -> Answer {
        let id = self.text("BaselineId");
        if BaselineId::of_aws_id(id).is_err() {
            return Err(AwsError::bare("InvalidResourceId"));
        }
        let baseline = self.place.baseline(id).ok_or_else(does_not_exist)?;
        let system = &baseline.summary.operating_system;
        if system.as_str() != "WINDOWS" {
            let text = format!("The operation is not supported for {system}.");
            return Err(AwsError::new("UnsupportedOperatingSystem", text));
        }
        let status = |patch: &AvailablePatch| {
            let rule_from = match judge(baseline, patch, Timestamp::MIN) {
                Judgement::NotApproved { from } => from,
                _ => None,
            };
            let by_rule = |at: Timestamp, status: &str| match judge(baseline, patch, at) {
                Judgement::Approved { compliance_level, .. } => Some((status.to_owned(), compliance_level, rule_from)),
                _ => None,
            };
            match judge(baseline, patch, self.now) {
                Judgement::Approved { compliance_level, explicit: true } => {
                    Some(("EXPLICIT_APPROVED".to_owned(), compliance_level, None))
                }
                Judgement::Approved { .. } => by_rule(self.now, "APPROVED"),
                Judgement::Rejected => Some(("EXPLICIT_REJECTED".to_owned(), "UNSPECIFIED".to_owned(), None)),
                Judgement::NotApproved { from } => by_rule(from?, "PENDING_APPROVAL"),
            }
        };
        let patches = catalogue::WINDOWS
            .iter()
            .chain(&catalogue::APPLICATIONS)
            .flat_map(|product| catalogue::offers(product, self.now));
        let rows = patches.filter_map(|patch| {
            let (status, level, from) = status(patch)?;
            let mut json = json!({ "DeploymentStatus": status, "ComplianceLevel": level });
            if let Some(from) = from {
                json["ApprovalDate"] = epoch(from);
            }
            Some((key(patch), json!({ "Patch": windows_patch(patch), "PatchStatus": json })))
        });
        self.page("EffectivePatches", rows.collect(), 50)
    }

    /// One-entry maps (S 4.8.5). What is no property of the system is refused (unverified).
    pub(super) fn describe_patch_properties(&self) -> Answer {
        let (system, property) = (self.text("OperatingSystem"), self.text("Property"));
        let values = properties::listed(system, property, self.text("PatchSet")).ok_or_else(|| {
            AwsError::validation(format!("Invalid Property: {property} for OperatingSystem: {system}"))
        })?;
        let rows: Vec<(String, Value)> =
            values.into_iter().map(|name| (name.to_owned(), json!({ "Name": name }))).collect();
        self.page("Properties", rows, 50)
    }
}

fn key(patch: &AvailablePatch) -> String {
    format!("{}\n{}\n{:?}", patch.product, patch.title, patch.advisory_ids)
}

/// A Windows Patch, as recorded (S 4.8.3); undated ones are of 1970 (S 4.4.7).
fn windows_patch(patch: &AvailablePatch) -> Value {
    json!({
        "Id": catalogue::microsoft_id(&patch.kb_id),
        "ReleaseDate": epoch(patch.released.unwrap_or(Timestamp::UNIX_EPOCH)),
        "Title": patch.title,
        "Description": "Install this update to resolve issues in Windows. For a complete listing of the issues that \
                        are included in this update, see the associated Microsoft Knowledge Base article for more \
                        information. After you install this item, you may have to restart your computer.",
        "ContentUrl": format!("https://support.microsoft.com/en-us/kb/{}", patch.kb_id.trim_start_matches("KB")),
        "Vendor": "Microsoft",
        "ProductFamily": patch.product_family,
        "Product": patch.product,
        "Classification": patch.classification,
        "MsrcSeverity": patch.severity,
        "KbNumber": patch.kb_id,
        "MsrcNumber": "",
        "Language": "All",
    })
}

/// A Linux Patch; it has no date (S 4.8.3).
fn linux_patch(patch: &AvailablePatch) -> Value {
    json!({
        "Name": patch.name,
        "Epoch": patch.epoch.parse::<u32>().unwrap_or(0),
        "Version": patch.version,
        "Release": patch.release,
        "Arch": patch.arch,
        "Severity": patch.severity,
        "Classification": patch.classification,
        "Repository": patch.repository,
        "Product": patch.product,
        "AdvisoryIds": patch.advisory_ids,
        "CVEIds": patch.cve_ids,
        "BugzillaIds": patch.bugzilla_ids,
    })
}
