//! What a baseline is to say, read from the command line: rules in short, lists, or a whole baseline from a file.

use crate::failure::Failure;
use clap::Args;
use patchplane_client::api::{ApprovalRule, Baseline, PatchFilter, approval_rule::Approval};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use std::path::{Path, PathBuf};

/// The options that say what a baseline approves; those not given stay as they are.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Spec {
    /// Approves what matches, such as `CLASSIFICATION=Security; SEVERITY=Critical,Important; after 7 days`. Instead of days
    /// `until 2026-11-30`; further parts are `level HIGH` and `non-security`. Repeat it for several rules: any may match.
    #[arg(long = "rule", value_name = "RULE", value_parser = rule)]
    rules: Vec<ApprovalRule>,
    /// Only patches that match are looked at, such as `PRODUCT=AmazonLinux2`; repeatable: all must match.
    #[arg(long = "only", value_name = "KEY=VALUES", value_parser = filter)]
    global_filters: Vec<PatchFilter>,
    /// Approves this patch whatever the rules say; repeatable.
    #[arg(long, value_name = "PATCH")]
    approve: Vec<String>,
    /// Never approves this patch; repeatable.
    #[arg(long, value_name = "PATCH")]
    reject: Vec<String>,
    /// What becomes of rejected patches that others depend on: ALLOW_AS_DEPENDENCY or BLOCK.
    #[arg(long, value_name = "ACTION", default_value = "", hide_default_value = true)]
    reject_action: String,
    /// The severity reported for missing patches that --approve names: CRITICAL, HIGH, MEDIUM, LOW, INFORMATIONAL, UNSPECIFIED.
    #[arg(long, value_name = "LEVEL", default_value = "", hide_default_value = true)]
    approve_level: String,
    /// Free text.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// A file with a baseline as `patchctl baselines get -o json` shows it; the other options win over it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Empties a field that has a value, such as approved_patches or approval_rules; repeatable.
    #[arg(long, value_name = "FIELD")]
    clear: Vec<String>,
}

impl Spec {
    /// Whether nothing was said.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { rules, global_filters, approve, reject, file, clear, .. } = self;
        let texts = [&self.reject_action, &self.approve_level, &self.description];
        rules.is_empty()
            && global_filters.is_empty()
            && approve.is_empty()
            && reject.is_empty()
            && file.is_none()
            && clear.is_empty()
            && texts.iter().all(|text| text.is_empty())
    }

    /// What was said, over `base`, with the mask that also empties what is to be cleared.
    pub(crate) fn over(self, base: Baseline) -> Result<(Baseline, Option<prost_types::FieldMask>), Failure> {
        let mut baseline = match &self.file {
            Some(file) => merge(base, read(file)?),
            None => base,
        };
        let Self { rules, global_filters, approve, reject, reject_action, approve_level, description, clear, file: _ } =
            self;
        for field in &clear {
            empty(&mut baseline, field);
        }
        if !rules.is_empty() {
            baseline.approval_rules = rules;
        }
        if !global_filters.is_empty() {
            baseline.global_filters = global_filters;
        }
        if !approve.is_empty() {
            baseline.approved_patches = approve;
        }
        if !reject.is_empty() {
            baseline.rejected_patches = reject;
        }
        for (field, text) in [
            (&mut baseline.rejected_patches_action, reject_action),
            (&mut baseline.approved_patches_compliance_level, approve_level),
            (&mut baseline.description, description),
        ] {
            if !text.is_empty() {
                *field = text;
            }
        }
        let mask =
            (!clear.is_empty()).then(|| prost_types::FieldMask { paths: [populated(&baseline), clear].concat() });
        Ok((baseline, mask))
    }
}

/// Other fields the server knows, or refuses.
fn empty(baseline: &mut Baseline, field: &str) {
    match field {
        "description" => baseline.description.clear(),
        "global_filters" => baseline.global_filters.clear(),
        "approval_rules" => baseline.approval_rules.clear(),
        "approved_patches" => baseline.approved_patches.clear(),
        "rejected_patches" => baseline.rejected_patches.clear(),
        "sources" => baseline.sources.clear(),
        _ => {}
    }
}

/// The fields with a value, as a mask names them.
fn populated(baseline: &Baseline) -> Vec<String> {
    let fields = [
        ("display_name", !baseline.display_name.is_empty()),
        ("description", !baseline.description.is_empty()),
        ("global_filters", !baseline.global_filters.is_empty()),
        ("approval_rules", !baseline.approval_rules.is_empty()),
        ("approved_patches", !baseline.approved_patches.is_empty()),
        ("approved_patches_compliance_level", !baseline.approved_patches_compliance_level.is_empty()),
        ("approved_patches_enable_non_security", baseline.approved_patches_enable_non_security),
        ("rejected_patches", !baseline.rejected_patches.is_empty()),
        ("rejected_patches_action", !baseline.rejected_patches_action.is_empty()),
        ("sources", !baseline.sources.is_empty()),
        (
            "available_security_updates_compliance_status",
            !baseline.available_security_updates_compliance_status.is_empty(),
        ),
    ];
    fields.into_iter().filter(|(_, said)| *said).map(|(field, _)| field.to_owned()).collect()
}

/// What the file says, with the names that the command line gave.
fn merge(base: Baseline, file: Baseline) -> Baseline {
    let or = |given: String, read: String| if given.is_empty() { read } else { given };
    Baseline {
        name: base.name,
        display_name: or(base.display_name, file.display_name),
        operating_system: or(base.operating_system, file.operating_system),
        ..file
    }
}

fn read(file: &Path) -> Result<Baseline, Failure> {
    let unreadable = |error: String| Failure::Usage {
        what: format!("{} is no baseline: {error}", file.display()),
        next: "write one with `patchctl baselines get BASELINE -o json`, and change it".to_owned(),
    };
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    let pool = DescriptorPool::decode(patchplane_proto::FILE_DESCRIPTOR_SET).map_err(|e| unreadable(e.to_string()))?;
    let kind =
        pool.get_message_by_name("patchplane.v1.Baseline").ok_or_else(|| unreadable("no such type".to_owned()))?;
    let mut json = serde_json::Deserializer::from_str(&text);
    let message = DynamicMessage::deserialize(kind, &mut json).map_err(|error| unreadable(error.to_string()))?;
    Baseline::decode(message.encode_to_vec().as_slice()).map_err(|error| unreadable(error.to_string()))
}

/// `KEY=VALUE,VALUE`; the server knows which.
pub(crate) fn filter(text: &str) -> Result<PatchFilter, String> {
    let (key, values) = text.split_once('=').ok_or("must be KEY=VALUE,VALUE, such as SEVERITY=Critical,Important")?;
    let values = values.split([',', '|']).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    Ok(PatchFilter { key: key.trim().to_owned(), values: values.collect() })
}

fn rule(text: &str) -> Result<ApprovalRule, String> {
    let mut rule = ApprovalRule::default();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (word, rest) = part.split_once(' ').map_or((part, ""), |(word, rest)| (word, rest.trim()));
        match word {
            _ if part.contains('=') => rule.filters.push(filter(part)?),
            "after" => {
                let days = rest.trim_end_matches("days").trim_end_matches("day").trim();
                let days = days.parse().map_err(|_| format!("`{part}` must be like `after 7 days`"))?;
                rule.approval = Some(Approval::ApproveAfterDays(days));
            }
            "until" => rule.approval = Some(Approval::ApproveUntilDate(rest.to_owned())),
            "level" => rest.clone_into(&mut rule.compliance_level),
            "non-security" => rule.enable_non_security = true,
            _ => {
                return Err(format!(
                    "`{part}` is neither KEY=VALUES, `after N days`, `until YYYY-MM-DD`, `level LEVEL` nor `non-security`"
                ));
            }
        }
    }
    Ok(rule)
}

/// A rule as `--rule` takes it.
pub(crate) fn in_short(rule: &ApprovalRule) -> String {
    let mut parts: Vec<String> = rule.filters.iter().map(|f| format!("{}={}", f.key, f.values.join(","))).collect();
    match &rule.approval {
        Some(Approval::ApproveAfterDays(1)) => parts.push("after 1 day".to_owned()),
        Some(Approval::ApproveAfterDays(days)) => parts.push(format!("after {days} days")),
        Some(Approval::ApproveUntilDate(date)) => parts.push(format!("until {date}")),
        None => {}
    }
    if !rule.compliance_level.is_empty() {
        parts.push(format!("level {}", rule.compliance_level));
    }
    if rule.enable_non_security {
        parts.push("non-security".to_owned());
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_written_in_short() {
        let rule = rule("CLASSIFICATION=Security; SEVERITY=Critical,Important; after 1 day; level HIGH; non-security")
            .unwrap();
        let filters: Vec<_> = rule.filters.iter().map(|f| (f.key.as_str(), f.values.join("|"))).collect();
        assert_eq!(filters, [("CLASSIFICATION", "Security".to_owned()), ("SEVERITY", "Critical|Important".to_owned())]);
        assert_eq!(rule.approval, Some(Approval::ApproveAfterDays(1)));
        assert_eq!((rule.compliance_level.as_str(), rule.enable_non_security), ("HIGH", true));
        for text in [
            "CLASSIFICATION=Security; SEVERITY=Critical,Important; after 1 day; level HIGH; non-security",
            "until 2026-11-30",
            "A=b; after 7 days",
        ] {
            assert_eq!(in_short(&super::rule(text).unwrap()), text);
        }
        let until = super::rule("PRODUCT=Office 2016; until 2026-11-30").unwrap();
        assert_eq!(until.filters[0].values, ["Office 2016"]);
        assert_eq!(until.approval, Some(Approval::ApproveUntilDate("2026-11-30".to_owned())));
        for wrong in ["Security", "after a week", "after", "PRODUCT=x; sometimes"] {
            assert!(super::rule(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_cleared_is_in_the_mask_beside_what_is_said() {
        let spec =
            Spec { reject: vec!["curl-*".to_owned()], clear: vec!["approved_patches".to_owned()], ..Spec::default() };
        assert!(!spec.is_empty() && Spec::default().is_empty());
        let (baseline, mask) = spec.over(Baseline::default()).unwrap();
        assert_eq!(baseline.rejected_patches, ["curl-*"]);
        assert_eq!(mask.unwrap().paths, ["rejected_patches", "approved_patches"]);
        assert_eq!(Spec::default().over(Baseline::default()).unwrap().1, None);
    }
}
