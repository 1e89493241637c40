//! How two baselines differ, field by field.

use crate::{ApprovalDate, ApprovalRule, BaselineSpec, PatchFilter, PatchSource};

/// One difference; empty texts mean "none".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// The API's path, such as `approval_rules[1]` or `rejected_patches`.
    pub field: String,
    pub before: String,
    pub after: String,
}

/// What must change for `before` to become `after`, or what a new baseline says where there is no `before`. The order of
/// rules, filters and entries means nothing (S 4.3.3), and is no difference. `conceal` stands for a repository's
/// configuration, which may hold secrets.
pub fn diff(before: Option<&BaselineSpec>, after: &BaselineSpec, conceal: impl Fn(&str) -> String) -> Vec<FieldChange> {
    let mut changes = Changes(Vec::new());
    let was = |field: fn(&BaselineSpec) -> &str| before.map_or("", field);
    changes.text("display_name", was(|spec| &spec.name), &after.name);
    changes.text("description", was(|spec| &spec.description), &after.description);
    changes.text("operating_system", was(|spec| spec.operating_system.as_str()), after.operating_system.as_str());
    let blank = BaselineSpec::new("", after.operating_system.clone());
    let base = before.unwrap_or(&blank);
    changes.set("global_filters", &base.global_filters, &after.global_filters, filter_text);
    changes.rules(&base.rules, &after.rules);
    changes.set("approved_patches", &base.approved_patches, &after.approved_patches, String::clone);
    changes.text(
        "approved_patches_compliance_level",
        &base.approved_patches_compliance_level,
        &after.approved_patches_compliance_level,
    );
    let (was, is) = (base.approved_patches_enable_non_security, after.approved_patches_enable_non_security);
    changes.text("approved_patches_enable_non_security", &was.to_string(), &is.to_string());
    changes.set("rejected_patches", &base.rejected_patches, &after.rejected_patches, String::clone);
    changes.text("rejected_patches_action", &base.rejected_patches_action, &after.rejected_patches_action);
    changes.set("sources", &base.sources, &after.sources, |source| source_text(source, &conceal));
    changes.text(
        "available_security_updates_compliance_status",
        base.available_security_updates.as_deref().unwrap_or_default(),
        after.available_security_updates.as_deref().unwrap_or_default(),
    );
    changes.0
}

/// A rule in one line, such as `CLASSIFICATION=Security, SEVERITY=Critical|Important; after 7 days`.
pub fn rule_text(rule: &ApprovalRule) -> String {
    let mut text = rule.filters.iter().map(filter_text).collect::<Vec<_>>().join(", ");
    if text.is_empty() {
        "everything".clone_into(&mut text);
    }
    match rule.approval {
        Some(ApprovalDate::AfterDays(1)) => text += "; after 1 day",
        Some(ApprovalDate::AfterDays(days)) => text += &format!("; after {days} days"),
        Some(ApprovalDate::Until(day)) => text += &format!("; released until {day}"),
        None => text += "; at once",
    }
    if rule.enable_non_security {
        text += "; non-security included";
    }
    if rule.compliance_level != "UNSPECIFIED" {
        text += &format!("; reported as {}", rule.compliance_level);
    }
    text
}

fn filter_text(PatchFilter { key, values }: &PatchFilter) -> String {
    format!("{key}={}", values.join("|"))
}

fn source_text(source: &PatchSource, conceal: impl Fn(&str) -> String) -> String {
    let PatchSource { name, products, configuration } = source;
    format!("{name} for {}; configuration {}", products.join(", "), conceal(configuration))
}

struct Changes(Vec<FieldChange>);

impl Changes {
    fn text(&mut self, field: &str, before: &str, after: &str) {
        if before != after {
            self.0.push(FieldChange { field: field.to_owned(), before: before.to_owned(), after: after.to_owned() });
        }
    }

    /// A line for each thing that goes or comes.
    fn set<T: PartialEq>(&mut self, field: &str, before: &[T], after: &[T], text: impl Fn(&T) -> String) {
        for (_, gone) in missing_from(before, after) {
            self.text(field, &text(gone), "");
        }
        for (_, new) in missing_from(after, before) {
            self.text(field, "", &text(new));
        }
    }

    /// Rules that go and rules that come are paired, in their order.
    fn rules(&mut self, before: &[ApprovalRule], after: &[ApprovalRule]) {
        let (gone, new) = (missing_from(before, after), missing_from(after, before));
        for i in 0..gone.len().max(new.len()) {
            let text = |rules: &[(usize, &ApprovalRule)]| rules.get(i).map(|(_, rule)| rule_text(rule));
            let place = new.get(i).or(gone.get(i)).map_or(0, |(place, _)| *place);
            let (before, after) = (text(&gone).unwrap_or_default(), text(&new).unwrap_or_default());
            self.text(&format!("approval_rules[{place}]"), &before, &after);
        }
    }
}

/// What is in `these` and not, or less often, in `those`; with its place.
fn missing_from<'a, T: PartialEq>(these: &'a [T], those: &[T]) -> Vec<(usize, &'a T)> {
    let mut left: Vec<&T> = those.iter().collect();
    let taken = |(_, this): &(usize, &T)| match left.iter().position(|that| that == this) {
        Some(place) => {
            left.remove(place);
            false
        }
        None => true,
    };
    these.iter().enumerate().filter(taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OperatingSystem;

    fn spec() -> BaselineSpec {
        let rule = |value: &str| ApprovalRule {
            filters: vec![PatchFilter { key: "CLASSIFICATION".into(), values: vec![value.into()] }],
            compliance_level: "UNSPECIFIED".into(),
            approval: Some(ApprovalDate::AfterDays(7)),
            enable_non_security: false,
        };
        BaselineSpec {
            rules: vec![rule("Security"), rule("Bugfix")],
            ..BaselineSpec::new("mine", OperatingSystem::observed("AMAZON_LINUX_2"))
        }
    }

    fn changes(before: Option<&BaselineSpec>, after: &BaselineSpec) -> Vec<(String, String, String)> {
        let changes = diff(before, after, |text| format!("of {} characters", text.len()));
        changes.into_iter().map(|c| (c.field, c.before, c.after)).collect()
    }

    #[test]
    fn equal_baselines_do_not_differ_and_order_is_no_difference() {
        let mut turned = spec();
        turned.rules.reverse();
        assert_eq!(changes(Some(&spec()), &spec()), []);
        assert_eq!(changes(Some(&spec()), &turned), []);
    }

    #[test]
    fn a_changed_rule_is_one_line_and_a_dropped_one_another() {
        let mut after = spec();
        after.rules.remove(1);
        after.rules[0].approval = Some(ApprovalDate::AfterDays(1));
        after.rejected_patches.push("curl-*".into());
        let line = |field: &str, before: &str, after: &str| (field.to_owned(), before.to_owned(), after.to_owned());
        assert_eq!(
            changes(Some(&spec()), &after),
            [
                line(
                    "approval_rules[0]",
                    "CLASSIFICATION=Security; after 7 days",
                    "CLASSIFICATION=Security; after 1 day"
                ),
                line("approval_rules[1]", "CLASSIFICATION=Bugfix; after 7 days", ""),
                line("rejected_patches", "", "curl-*"),
            ]
        );
    }

    #[test]
    fn a_new_baseline_tells_what_it_says_and_no_secret() {
        let mut new = spec();
        let configuration = "password=hunter2".to_owned();
        new.sources = vec![PatchSource { name: "main".into(), products: vec!["AmazonLinux2".into()], configuration }];
        let changes = changes(None, &new);
        let fields: Vec<_> = changes.iter().map(|(field, ..)| field.as_str()).collect();
        assert_eq!(fields, ["display_name", "operating_system", "approval_rules[0]", "approval_rules[1]", "sources"]);
        assert!(!format!("{changes:?}").contains("hunter2"));
    }
}
