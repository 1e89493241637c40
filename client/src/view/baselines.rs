//! Baselines: one line each, or one explained rule by rule.

use super::{View, any_of, places, word};
use crate::{
    api::{self, ApprovalRule, Baseline, PatchFilter, approval_rule::Approval},
    name,
};
use std::fmt::Write as _;

impl View {
    /// One line for each baseline.
    pub fn baselines(&self, baselines: &[Baseline]) -> String {
        let mut table = self.table(&["Baseline", "Name", "Operating system", "Owner", "Default", "Location"]);
        let places = places(baselines.iter().map(|baseline| baseline.name.as_str()));
        for (baseline, place) in baselines.iter().zip(places) {
            table.add_row([
                name::id(&baseline.name),
                baseline.display_name.clone(),
                baseline.operating_system.clone(),
                word(baseline.owner().as_str_name(), "OWNER_").to_owned(),
                if baseline.default { "default" } else { "" }.to_owned(),
                place,
            ]);
        }
        self.render(table, &[0])
    }

    /// What a change of a baseline did, or with `validate_only` would do.
    pub fn baseline_change(
        &self,
        plan: Option<&api::Plan>,
        baseline: Option<&Baseline>,
        validate_only: bool,
    ) -> String {
        let plan = self.plan(&plan.cloned().unwrap_or_default());
        match baseline.filter(|_| !validate_only) {
            Some(baseline) => plan + "\n" + &self.baseline(baseline),
            None => plan,
        }
    }

    /// One line for each operating system.
    pub fn default_baselines(&self, defaults: &[api::DefaultBaseline]) -> String {
        let mut table = self.table(&["Operating system", "Baseline", "Name", "Owner", "Location"]);
        let places = places(defaults.iter().map(|default| default.name.as_str()));
        for (default, place) in defaults.iter().zip(places) {
            table.add_row([
                default.operating_system.clone(),
                name::id(&default.baseline),
                default.display_name.clone(),
                word(default.owner().as_str_name(), "OWNER_").to_owned(),
                place,
            ]);
        }
        self.render(table, &[1])
    }

    /// What one baseline says and the other does not, sentence by sentence.
    pub fn baseline_difference(&self, one: &Baseline, other: &Baseline) -> String {
        let (before, after) = (sentences(one), sentences(other));
        let title = |baseline: &Baseline| format!("{} {}", name::id(&baseline.name), baseline.display_name);
        let mut text = format!("- {}\n+ {}\n", title(one), title(other));
        for (sign, these, those) in [('-', &before, &after), ('+', &after, &before)] {
            for line in these.iter().filter(|line| !those.contains(line)) {
                let _ = writeln!(text, "{sign} {}", line.trim_start());
            }
        }
        if before == after {
            text += "Both say the same.\n";
        }
        text
    }

    /// One baseline with what it approves, in sentences.
    pub fn baseline(&self, baseline: &Baseline) -> String {
        let owner = match baseline.owner() {
            api::baseline::Owner::Aws => "AWS, which alone can change it",
            _ => "this account",
        };
        let default = if baseline.default { ", its default here" } else { "" };
        let mut text = self.properties(&[
            ("Name", baseline.display_name.clone()),
            ("Baseline", name::id(&baseline.name)),
            ("Operating system", format!("{}{default}", baseline.operating_system)),
            ("Owner", owner.to_owned()),
            ("Description", baseline.description.clone()),
            ("Patch groups", baseline.patch_groups.join(", ")),
            ("Changed", self.moment(baseline.update_time.as_ref())),
        ]);
        for line in sentences(baseline) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// What a baseline approves, a line for each rule and list.
fn sentences(baseline: &Baseline) -> Vec<String> {
    let mut lines = Vec::new();
    if !baseline.global_filters.is_empty() {
        lines.push(format!("Looks only at {}.", patches(&baseline.global_filters).to_lowercase_first()));
    }
    if baseline.approval_rules.is_empty() && baseline.approved_patches.is_empty() {
        lines.push("Approves nothing.".to_owned());
    } else {
        lines.push("Approves".to_owned());
    }
    lines.extend(baseline.approval_rules.iter().map(|rule| format!("  - {}", rule_sentence(rule))));
    if !baseline.approved_patches.is_empty() {
        let level = level(&baseline.approved_patches_compliance_level);
        lines.push(format!("  - by name: {}{level}", baseline.approved_patches.join(", ")));
    }
    for source in &baseline.sources {
        let products = source.products.join(", ");
        lines.push(format!("Patches {products} from {} instead of the instances' own repositories.", source.name));
    }
    if !baseline.rejected_patches.is_empty() {
        let action = match baseline.rejected_patches_action.as_str() {
            "ALLOW_AS_DEPENDENCY" => "except as a dependency of another",
            _ => "not even as a dependency",
        };
        lines.push(format!("Never approves, {action}: {}", baseline.rejected_patches.join(", ")));
    }
    lines
}

/// A rule as a sentence without its full stop, such as
/// `Security with severity Critical or Important, 7 days after release`.
pub fn rule_sentence(rule: &ApprovalRule) -> String {
    let when = match &rule.approval {
        Some(Approval::ApproveAfterDays(0)) => ", as soon as released".to_owned(),
        Some(Approval::ApproveAfterDays(1)) => ", 1 day after release".to_owned(),
        Some(Approval::ApproveAfterDays(days)) => format!(", {days} days after release"),
        Some(Approval::ApproveUntilDate(date)) => format!(", if released by {date} (UTC)"),
        None => String::new(),
    };
    let more = if rule.enable_non_security { ", non-security patches included" } else { "" };
    format!("{}{when}{more}{}", patches(&rule.filters), level(&rule.compliance_level))
}

fn level(level: &str) -> String {
    match level {
        "" | "UNSPECIFIED" => String::new(),
        level => format!("; reported as {level} while missing"),
    }
}

/// The patches that pass all these filters.
fn patches(filters: &[PatchFilter]) -> String {
    let mut what = "Patches".to_owned();
    let mut conditions = String::new();
    for PatchFilter { key, values } in filters {
        let any = values.iter().any(|value| value == "*");
        let values = any_of(values);
        match key.as_str() {
            "CLASSIFICATION" if any => what = "Patches of every classification".to_owned(),
            "CLASSIFICATION" => what = values,
            _ if any => {}
            "SEVERITY" | "MSRC_SEVERITY" => conditions += &format!(" with severity {values}"),
            "PRIORITY" => conditions += &format!(" with priority {values}"),
            "SECTION" => conditions += &format!(" in section {values}"),
            "PRODUCT" => conditions += &format!(" for {values}"),
            "PRODUCT_FAMILY" => conditions += &format!(" of the family {values}"),
            "PATCH_SET" if values == "OS" => {}
            "PATCH_SET" => conditions += &format!(" in the set {values}"),
            key => conditions += &format!(" with {key} {values}"),
        }
    }
    what + &conditions
}

trait LowercaseFirst {
    fn to_lowercase_first(&self) -> String;
}

impl LowercaseFirst for str {
    /// `Patches for X` within a sentence; classifications such as `Security` keep AWS's spelling.
    fn to_lowercase_first(&self) -> String {
        self.strip_prefix("Patches").map_or_else(|| self.to_owned(), |rest| format!("patches{rest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(filters: &[(&str, &[&str])], approval: Approval) -> ApprovalRule {
        let filter = |(key, values): &(&str, &[&str])| PatchFilter {
            key: (*key).to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        ApprovalRule {
            filters: filters.iter().map(filter).collect(),
            approval: Some(approval),
            compliance_level: "UNSPECIFIED".to_owned(),
            enable_non_security: false,
        }
    }

    /// The rules of AWS-AmazonLinux2DefaultPatchBaseline and others as S 4.2 tells them.
    #[test]
    fn rules_read_as_sentences() {
        let after = Approval::ApproveAfterDays;
        let cases = [
            (
                rule(&[("CLASSIFICATION", &["Security"]), ("SEVERITY", &["Critical", "Important"])], after(7)),
                "Security with severity Critical or Important, 7 days after release",
            ),
            (rule(&[("PRODUCT", &["*"]), ("CLASSIFICATION", &["Bugfix"])], after(7)), "Bugfix, 7 days after release"),
            (
                rule(&[("PRIORITY", &["Required", "Important", "Extra"])], after(0)),
                "Patches with priority Required, Important or Extra, as soon as released",
            ),
            (
                rule(
                    &[
                        ("PATCH_SET", &["OS"]),
                        ("CLASSIFICATION", &["CriticalUpdates", "SecurityUpdates"]),
                        ("MSRC_SEVERITY", &["Critical"]),
                    ],
                    Approval::ApproveUntilDate("2026-10-31".to_owned()),
                ),
                "CriticalUpdates or SecurityUpdates with severity Critical, if released by 2026-10-31 (UTC)",
            ),
            (
                ApprovalRule {
                    compliance_level: "HIGH".to_owned(),
                    enable_non_security: true,
                    ..rule(&[("CLASSIFICATION", &["*"])], after(1))
                },
                "Patches of every classification, 1 day after release, non-security patches included; \
                 reported as HIGH while missing",
            ),
            (rule(&[("NEW_KEY", &["a", "b"])], after(2)), "Patches with NEW_KEY a or b, 2 days after release"),
        ];
        for (rule, sentence) in cases {
            assert_eq!(rule_sentence(&rule), sentence);
        }
    }

    #[test]
    fn a_baseline_tells_its_lists_too() {
        let baseline = Baseline {
            approved_patches: vec!["KB1".to_owned()],
            rejected_patches: vec!["KB2".to_owned()],
            rejected_patches_action: "BLOCK".to_owned(),
            global_filters: vec![PatchFilter { key: "PRODUCT".to_owned(), values: vec!["AmazonLinux2".to_owned()] }],
            ..Default::default()
        };
        assert_eq!(
            sentences(&baseline),
            [
                "Looks only at patches for AmazonLinux2.",
                "Approves",
                "  - by name: KB1",
                "Never approves, not even as a dependency: KB2"
            ]
        );
        assert_eq!(sentences(&Baseline::default()), ["Approves nothing."]);
    }
}
