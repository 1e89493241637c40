//! What a patch baseline says, between its JSON form and the form that nodes evaluate; with the service's own checks,
//! which come after the model's (S 4.1.10, 4.3–4.5).

use super::{epoch, strings};
use crate::{
    error::AwsError,
    properties::{self, Values},
};
use jiff::civil::Date;
use patchplane_rules::{ApprovalDate, ApprovalRule, Baseline, BaselineSummary, PatchFilter, PatchSource};
use serde_json::{Value, json};

/// The members of a request that make a baseline's content; both Create and Update have them.
pub(super) const MEMBERS: [&str; 12] = [
    "Name",
    "Description",
    "GlobalFilters",
    "ApprovalRules",
    "ApprovedPatches",
    "ApprovedPatchesComplianceLevel",
    "ApprovedPatchesEnableNonSecurity",
    "RejectedPatches",
    "RejectedPatchesAction",
    "Sources",
    "AvailableSecurityUpdatesComplianceStatus",
    "OperatingSystem",
];

/// Takes the content from a request that the model admits. Name and description are the content's, the rest of the
/// summary is given.
pub(crate) fn read(content: &Value, summary: BaselineSummary) -> Result<Baseline, AwsError> {
    let system = summary.operating_system.as_str();
    let owned = |member: &str| strings(&content[member]).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let text = |member: &str, default: &str| content[member].as_str().unwrap_or(default).to_owned();
    let rules = list(&content["ApprovalRules"]["PatchRules"]);
    Ok(Baseline {
        global_filters: filters(system, &content["GlobalFilters"])?,
        rules: rules.iter().map(|rule| read_rule(system, rule)).collect::<Result<_, _>>()?,
        approved_patches: owned("ApprovedPatches"),
        approved_patches_compliance_level: text("ApprovedPatchesComplianceLevel", "UNSPECIFIED"),
        approved_patches_enable_non_security: content["ApprovedPatchesEnableNonSecurity"] == true,
        rejected_patches: owned("RejectedPatches"),
        rejected_patches_action: text("RejectedPatchesAction", "ALLOW_AS_DEPENDENCY"),
        sources: list(&content["Sources"]).iter().map(source).collect(),
        available_security_updates: content["AvailableSecurityUpdatesComplianceStatus"].as_str().map(str::to_owned),
        patch_groups: Vec::new(),
        created: None,
        modified: None,
        summary: BaselineSummary { name: text("Name", ""), description: text("Description", ""), ..summary },
    })
}

/// GetPatchBaseline's answer but for the groups, with the defaults filled in (S 4.1.10).
pub(super) fn whole(baseline: &Baseline) -> Value {
    let group = |filters: &[PatchFilter]| {
        let filters: Vec<_> = filters.iter().map(|f| json!({ "Key": f.key, "Values": f.values })).collect();
        json!({ "PatchFilters": filters })
    };
    let rule = |rule: &ApprovalRule| {
        let mut json = json!({
            "PatchFilterGroup": group(&rule.filters),
            "ComplianceLevel": rule.compliance_level,
            "EnableNonSecurity": rule.enable_non_security,
        });
        match rule.approval {
            Some(ApprovalDate::AfterDays(days)) => json["ApproveAfterDays"] = days.into(),
            Some(ApprovalDate::Until(day)) => json["ApproveUntilDate"] = day.to_string().into(),
            None => {}
        }
        json
    };
    let source = |source: &PatchSource| json!({ "Name": source.name, "Products": source.products, "Configuration": source.configuration });
    let mut json = json!({
        "BaselineId": baseline.summary.aws_id,
        "Name": baseline.summary.name,
        "OperatingSystem": baseline.summary.operating_system,
        "GlobalFilters": group(&baseline.global_filters),
        "ApprovalRules": { "PatchRules": baseline.rules.iter().map(rule).collect::<Vec<_>>() },
        "ApprovedPatches": baseline.approved_patches,
        "ApprovedPatchesComplianceLevel": baseline.approved_patches_compliance_level,
        "ApprovedPatchesEnableNonSecurity": baseline.approved_patches_enable_non_security,
        "RejectedPatches": baseline.rejected_patches,
        "RejectedPatchesAction": baseline.rejected_patches_action,
        "CreatedDate": baseline.created.map(epoch),
        "ModifiedDate": baseline.modified.map(epoch),
        "Sources": baseline.sources.iter().map(source).collect::<Vec<_>>(),
    });
    if !baseline.summary.description.is_empty() {
        json["Description"] = baseline.summary.description.clone().into();
    }
    if let Some(status) = &baseline.available_security_updates {
        json["AvailableSecurityUpdatesComplianceStatus"] = status.clone().into();
    }
    json
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[][..], Vec::as_slice)
}

fn source(source: &Value) -> PatchSource {
    PatchSource {
        name: source["Name"].as_str().unwrap_or_default().to_owned(),
        products: strings(&source["Products"]).into_iter().map(str::to_owned).collect(),
        configuration: source["Configuration"].as_str().unwrap_or_default().to_owned(),
    }
}

fn read_rule(system: &str, rule: &Value) -> Result<ApprovalRule, AwsError> {
    // Exactly one of the two (S 4.4.1; the words are unverified).
    let approval = match (rule["ApproveAfterDays"].as_u64(), rule["ApproveUntilDate"].as_str()) {
        (Some(days), None) => ApprovalDate::AfterDays(u16::try_from(days).unwrap_or(u16::MAX)),
        (None, Some(day)) => ApprovalDate::Until(date(day).ok_or_else(|| {
            AwsError::validation(format!("Invalid ApproveUntilDate: {day}, the format is YYYY-MM-DD"))
        })?),
        _ => {
            let text = "Exactly one of ApproveAfterDays and ApproveUntilDate must be specified in a PatchRule";
            return Err(AwsError::validation(text));
        }
    };
    Ok(ApprovalRule {
        filters: filters(system, &rule["PatchFilterGroup"])?,
        compliance_level: rule["ComplianceLevel"].as_str().unwrap_or("UNSPECIFIED").to_owned(),
        approval: Some(approval),
        enable_non_security: rule["EnableNonSecurity"] == true,
    })
}

fn date(text: &str) -> Option<Date> {
    Some(text).filter(|text| text.len() == 10).and_then(|text| Date::strptime("%Y-%m-%d", text).ok())
}

/// The keys must be the system's, the values known or `*` (S 4.3.1–2; the words about keys are unverified).
fn filters(system: &str, group: &Value) -> Result<Vec<PatchFilter>, AwsError> {
    let properties = properties::of(system);
    let read = |filter: &Value| {
        let key = filter["Key"].as_str().unwrap_or_default();
        let values = strings(&filter["Values"]);
        let Some((_, known)) = properties.iter().find(|(name, _)| *name == key) else {
            let names: Vec<_> = properties.iter().map(|(name, _)| *name).collect();
            let text = format!(
                "Invalid Filter Key: {key} for OperatingSystem: {system}, valid keys are: {}",
                names.join(", ")
            );
            return Err(AwsError::validation(text));
        };
        if let Values::Listed(known) = known
            && let Some(bad) = values.iter().find(|value| **value != "*" && !known.contains(value))
        {
            let known = known.join(", ");
            let text = format!("Invalid Filter Value: {bad} for Key: {key}, valid values are: {known}");
            return Err(AwsError::validation(text));
        }
        Ok(PatchFilter { key: key.to_owned(), values: values.into_iter().map(str::to_owned).collect() })
    };
    list(&group["PatchFilters"]).iter().map(read).collect()
}
