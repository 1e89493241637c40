//! What a baseline is to be: everything that CreatePatchBaseline takes, checked as AWS checks it (S 4.1, 4.3–4.5).
//!
//! What AWS surely refuses is refused here, with the field named; what is doubtful is left to [`crate::lints`].

use crate::{
    ApprovalDate, ApprovalRule, Baseline, BaselineId, BaselineOwner, BaselineSummary, Invalid, OperatingSystem,
    PatchFilter, PatchSource,
    vocabulary::{
        COMPLIANCE_LEVELS, CONSOLE_ALL, FILTER_KEYS, REJECTED_ACTIONS, SECURITY_UPDATES_STATUS, Values, filter_keys,
        filter_values, is_linux, is_undated, suggest,
    },
};
use jiff::civil::Date;

/// Everything about a baseline that its owner decides; not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineSpec {
    pub name: String,
    /// Empty means none.
    pub description: String,
    pub operating_system: OperatingSystem,
    pub global_filters: Vec<PatchFilter>,
    pub rules: Vec<ApprovalRule>,
    pub approved_patches: Vec<String>,
    pub approved_patches_compliance_level: String,
    pub approved_patches_enable_non_security: bool,
    pub rejected_patches: Vec<String>,
    pub rejected_patches_action: String,
    pub sources: Vec<PatchSource>,
    pub available_security_updates: Option<String>,
}

/// A spec that AWS takes, as far as its rules are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineDraft(BaselineSpec);

impl ApprovalDate {
    /// S 4.4.1: 0 to 360 days.
    pub fn after_days(field: &str, days: i32) -> Result<Self, Invalid> {
        match u16::try_from(days) {
            Ok(days @ 0..=360) => Ok(Self::AfterDays(days)),
            _ => Err(Invalid::new(field, "must be 0 to 360 days")),
        }
    }

    /// S 4.4.3: a day as `YYYY-MM-DD`.
    pub fn until(field: &str, text: &str) -> Result<Self, Invalid> {
        let day = Some(text).filter(|text| text.len() == 10).and_then(|text| text.parse::<Date>().ok());
        day.map(Self::Until).ok_or_else(|| Invalid::new(field, "must be a day as YYYY-MM-DD, such as 2026-11-30"))
    }
}

// === impl BaselineSpec ===

impl BaselineSpec {
    /// A baseline that says nothing yet but what S 4.1.10 fills in.
    pub fn new(name: impl Into<String>, operating_system: OperatingSystem) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            operating_system,
            global_filters: Vec::new(),
            rules: Vec::new(),
            approved_patches: Vec::new(),
            approved_patches_compliance_level: "UNSPECIFIED".to_owned(),
            approved_patches_enable_non_security: false,
            rejected_patches: Vec::new(),
            rejected_patches_action: "ALLOW_AS_DEPENDENCY".to_owned(),
            sources: Vec::new(),
            available_security_updates: None,
        }
    }

    /// What an existing baseline says.
    pub fn of(baseline: &Baseline) -> Self {
        Self {
            name: baseline.summary.name.clone(),
            description: baseline.summary.description.clone(),
            operating_system: baseline.summary.operating_system.clone(),
            global_filters: baseline.global_filters.clone(),
            rules: baseline.rules.clone(),
            approved_patches: baseline.approved_patches.clone(),
            approved_patches_compliance_level: baseline.approved_patches_compliance_level.clone(),
            approved_patches_enable_non_security: baseline.approved_patches_enable_non_security,
            rejected_patches: baseline.rejected_patches.clone(),
            rejected_patches_action: baseline.rejected_patches_action.clone(),
            sources: baseline.sources.clone(),
            available_security_updates: baseline.available_security_updates.clone(),
        }
    }

    /// As if it existed, to judge patches by.
    pub fn to_baseline(&self) -> Baseline {
        let spec = self.clone();
        Baseline {
            summary: BaselineSummary {
                id: BaselineId::none(),
                aws_id: String::new(),
                owner: BaselineOwner::Account,
                name: spec.name,
                description: spec.description,
                operating_system: spec.operating_system,
                default: false,
            },
            global_filters: spec.global_filters,
            rules: spec.rules,
            approved_patches: spec.approved_patches,
            approved_patches_compliance_level: spec.approved_patches_compliance_level,
            approved_patches_enable_non_security: spec.approved_patches_enable_non_security,
            rejected_patches: spec.rejected_patches,
            rejected_patches_action: spec.rejected_patches_action,
            sources: spec.sources,
            available_security_updates: spec.available_security_updates,
            patch_groups: Vec::new(),
            created: None,
            modified: None,
        }
    }

    /// Everything that AWS would refuse, in the order of the fields; paths are the API's.
    fn problems(&self) -> Vec<Invalid> {
        let mut found = Problems(Vec::new());
        found.name("display_name", &self.name, 3..=128);
        if self.description.chars().count() > 1024 {
            found.add("description", "must have at most 1024 characters");
        }
        found.filters("global_filters", self.operating_system.as_str(), &self.global_filters);
        found.at_most("approval_rules", self.rules.len(), 10);
        for (i, rule) in self.rules.iter().enumerate() {
            found.rule(&format!("approval_rules[{i}]"), self.operating_system.as_str(), rule);
        }
        found.list("approved_patches", &self.approved_patches);
        let level = &self.approved_patches_compliance_level;
        found.one_of("approved_patches_compliance_level", level, &COMPLIANCE_LEVELS);
        let linux = is_linux(self.operating_system.as_str());
        if self.approved_patches_enable_non_security && !linux {
            found.add("approved_patches_enable_non_security", LINUX_ONLY);
        }
        found.list("rejected_patches", &self.rejected_patches);
        found.one_of("rejected_patches_action", &self.rejected_patches_action, &REJECTED_ACTIONS);
        found.at_most("sources", self.sources.len(), 20);
        if !linux && !self.sources.is_empty() {
            found.add("sources", LINUX_ONLY);
        }
        for (i, source) in self.sources.iter().enumerate() {
            found.source(&format!("sources[{i}]"), source);
        }
        if let Some(status) = &self.available_security_updates {
            let field = "available_security_updates_compliance_status";
            found.one_of(field, status, &SECURITY_UPDATES_STATUS);
            if self.operating_system.as_str() != "WINDOWS" {
                found.add(field, "is for Windows only: leave it empty");
            }
        }
        found.0
    }
}

// === impl BaselineDraft ===

impl BaselineDraft {
    pub fn new(spec: BaselineSpec) -> Result<Self, Invalid> {
        match spec.problems().into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(Self(spec)),
        }
    }

    /// What `spec` makes of a baseline that AWS holds already: what that one says may stay, even if these rules do not
    /// know it.
    pub fn made_from(spec: BaselineSpec, original: &BaselineSpec) -> Result<Self, Invalid> {
        let held = original.problems();
        match spec.problems().into_iter().find(|problem| !held.contains(problem)) {
            Some(problem) => Err(problem),
            None => Ok(Self(spec)),
        }
    }

    pub fn spec(&self) -> &BaselineSpec {
        &self.0
    }
}

const LINUX_ONLY: &str = "is for Linux only: leave it unset";

struct Problems(Vec<Invalid>);

impl Problems {
    fn add(&mut self, field: &str, rule: impl Into<String>) {
        self.0.push(Invalid::new(field, rule));
    }

    /// S 4.1.5, 4.1.8: letters, digits, `_`, `-` and `.`.
    fn name(&mut self, field: &str, name: &str, length: std::ops::RangeInclusive<usize>) {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if name.is_empty() {
            self.add(field, "is required");
        } else if !length.contains(&name.len()) || !name.bytes().all(allowed) {
            let (least, most) = (length.start(), length.end());
            self.add(field, format!("must have {least} to {most} letters, digits, _, - or ., and no spaces"));
        }
    }

    fn at_most(&mut self, field: &str, length: usize, most: usize) {
        if length > most {
            self.add(field, format!("must hold at most {most}, not {length}"));
        }
    }

    fn one_of(&mut self, field: &str, text: &str, known: &[&str]) {
        if !known.contains(&text) {
            self.add(field, format!("does not take `{}`; {}", shown(text), suggest(text, known)));
        }
    }

    /// S 4.1.8: at most 50 entries of 1 to 100 characters.
    fn list(&mut self, field: &str, entries: &[String]) {
        self.at_most(field, entries.len(), 50);
        for (i, entry) in entries.iter().enumerate() {
            if !(1..=100).contains(&entry.chars().count()) {
                self.add(&format!("{field}[{i}]"), "must have 1 to 100 characters");
            }
        }
    }

    fn rule(&mut self, at: &str, system: &str, rule: &ApprovalRule) {
        self.filters(&format!("{at}.filters"), system, &rule.filters);
        match rule.approval {
            // S 4.4.1: exactly one; S 4.4.4: elsewhere approval is immediate.
            None if !is_undated(system) => {
                self.add(&format!("{at}.approval"), "is required: approve_after_days or approve_until_date");
            }
            Some(ApprovalDate::AfterDays(361..)) => {
                self.add(&format!("{at}.approve_after_days"), "must be 0 to 360 days");
            }
            _ => {}
        }
        self.one_of(&format!("{at}.compliance_level"), &rule.compliance_level, &COMPLIANCE_LEVELS);
        if rule.enable_non_security && !is_linux(system) {
            self.add(&format!("{at}.enable_non_security"), LINUX_ONLY);
        }
    }

    fn filters(&mut self, at: &str, system: &str, filters: &[PatchFilter]) {
        self.at_most(at, filters.len(), 4);
        let keys = filter_keys(system);
        for (i, PatchFilter { key, values }) in filters.iter().enumerate() {
            let at = format!("{at}[{i}]");
            match keys {
                Some(keys) if !keys.contains(&key.as_str()) => {
                    let hint = suggest(key, keys);
                    self.add(&format!("{at}.key"), format!("does not take `{}` for {system}; {hint}", shown(key)));
                }
                None if !FILTER_KEYS.contains(&key.as_str()) => {
                    let hint = suggest(key, &FILTER_KEYS);
                    self.add(&format!("{at}.key"), format!("does not take `{}`; {hint}", shown(key)));
                }
                _ => self.values(&at, system, key, values),
            }
        }
    }

    fn values(&mut self, at: &str, system: &str, key: &str, values: &[String]) {
        let field = format!("{at}.values");
        if values.is_empty() {
            self.add(&field, "is required: the values of which any may match, or `*`");
        }
        self.at_most(&field, values.len(), 20);
        for (i, value) in values.iter().enumerate() {
            let field = format!("{field}[{i}]");
            if !(1..=64).contains(&value.chars().count()) {
                self.add(&field, "must have 1 to 64 characters");
            } else if value == CONSOLE_ALL && key != "SECTION" {
                self.add(&field, "must be `*` for all; `All` is the console's word");
            } else if let Values::All(known) = filter_values(system, key)
                && value != "*"
                && !known.contains(&value.as_str())
            {
                let hint = suggest(value, known);
                let value = shown(value);
                self.add(&field, format!("does not take `{value}` as {key} of {system}; {hint}"));
            }
        }
    }

    /// S 4.1.8.
    fn source(&mut self, at: &str, source: &PatchSource) {
        let PatchSource { name, products, configuration } = source;
        self.name(&format!("{at}.name"), name, 3..=50);
        if !(1..=20).contains(&products.len()) {
            self.add(&format!("{at}.products"), "must hold 1 to 20 products");
        }
        for (i, product) in products.iter().enumerate() {
            if !(1..=128).contains(&product.chars().count()) {
                self.add(&format!("{at}.products[{i}]"), "must have 1 to 128 characters");
            }
        }
        if !(1..=1024).contains(&configuration.chars().count()) {
            self.add(&format!("{at}.configuration"), "must have 1 to 1024 characters");
        }
    }
}

/// Input as it can be repeated in a message.
fn shown(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(system: &str) -> BaselineSpec {
        BaselineSpec::new("my-baseline", OperatingSystem::parse(system).unwrap())
    }

    type Filters = &'static [(&'static str, &'static [&'static str])];

    fn rule(filters: &[(&str, &[&str])], approval: Option<ApprovalDate>) -> ApprovalRule {
        let filter = |(key, values): &(&str, &[&str])| PatchFilter {
            key: (*key).to_owned(),
            values: values.iter().map(|&value| value.to_owned()).collect(),
        };
        ApprovalRule {
            filters: filters.iter().map(filter).collect(),
            compliance_level: "UNSPECIFIED".to_owned(),
            approval,
            enable_non_security: false,
        }
    }

    fn with(system: &str, filters: &[(&str, &[&str])]) -> BaselineSpec {
        BaselineSpec { rules: vec![rule(filters, Some(ApprovalDate::AfterDays(7)))], ..spec(system) }
    }

    #[test]
    fn what_aws_s_own_examples_and_baselines_hold_is_taken() {
        // Recorded CreatePatchBaseline requests (create-patch-baseline.rst; patch-manager-patching-windows-applications)
        // and the rules of S 4.2.
        let recorded: [(&str, Filters); 8] = [
            (
                "WINDOWS",
                &[
                    ("MSRC_SEVERITY", &["Critical", "Important", "Moderate"]),
                    ("CLASSIFICATION", &["SecurityUpdates", "Updates", "UpdateRollups", "CriticalUpdates"]),
                ],
            ),
            (
                "AMAZON_LINUX",
                &[
                    ("SEVERITY", &["Important", "Critical"]),
                    ("CLASSIFICATION", &["Security", "Bugfix"]),
                    ("PRODUCT", &["AmazonLinux2017.09"]),
                ],
            ),
            ("WINDOWS", &[("PRODUCT", &["Office 2016"]), ("PATCH_SET", &["APPLICATION"])]),
            (
                "WINDOWS",
                &[
                    ("PRODUCT_FAMILY", &["Active Directory"]),
                    ("PRODUCT", &["Active Directory Rights Management Services Client 2.0"]),
                    ("PATCH_SET", &["APPLICATION"]),
                ],
            ),
            ("UBUNTU", &[("PRIORITY", &["Required", "Important", "Standard", "Optional", "Extra"])]),
            ("ORACLE_LINUX", &[("CLASSIFICATION", &["Security"]), ("SEVERITY", &["Important", "Moderate"])]),
            ("SUSE", &[("CLASSIFICATION", &["Security"]), ("SEVERITY", &["Critical", "Important"])]),
            ("CENTOS", &[("PRODUCT", &["*"])]),
        ];
        for (system, filters) in recorded {
            assert_eq!(BaselineDraft::new(with(system, filters)).map(|_| ()), Ok(()), "{system} {filters:?}");
        }
        let lists = BaselineSpec {
            approved_patches: vec!["CVE-2018-1234567,example-pkg-EE-2018*.amzn1.noarch".to_owned()],
            approved_patches_compliance_level: "HIGH".to_owned(),
            approved_patches_enable_non_security: true,
            ..spec("AMAZON_LINUX")
        };
        assert!(BaselineDraft::new(lists).is_ok());
    }

    #[test]
    fn each_thing_that_aws_refuses_names_its_field() {
        let ok: &[(&str, &[&str])] = &[("CLASSIFICATION", &["Security"])];
        let many = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        let source = |name: &str| PatchSource {
            name: name.to_owned(),
            products: vec!["AmazonLinux2".to_owned()],
            configuration: "[main]".to_owned(),
        };
        let al2 = || with("AMAZON_LINUX_2", ok);
        let cases = [
            // S 4.1.5, 4.1.8.
            (BaselineSpec { name: String::new(), ..al2() }, "display_name"),
            (BaselineSpec { name: "my baseline".to_owned(), ..al2() }, "display_name"),
            (BaselineSpec { description: "x".repeat(1025), ..al2() }, "description"),
            (BaselineSpec { rules: vec![al2().rules[0].clone(); 11], ..al2() }, "approval_rules"),
            (BaselineSpec { approved_patches: many(51), ..al2() }, "approved_patches"),
            (BaselineSpec { rejected_patches: vec!["x".repeat(101)], ..al2() }, "rejected_patches[0]"),
            (BaselineSpec { sources: vec![source("ab")], ..al2() }, "sources[0].name"),
            // S 4.3.1, 4.3.2, 4.3.4.
            (with("AMAZON_LINUX_2", &[("MSRC_SEVERITY", &["Critical"])]), "approval_rules[0].filters[0].key"),
            (with("AMAZON_LINUX_2", &[("PRIORITY", &["Required"])]), "approval_rules[0].filters[0].key"),
            (with("WINDOWS", &[("SEVERITY", &["Critical"])]), "approval_rules[0].filters[0].key"),
            (with("UBUNTU", &[("CLASSIFICATION", &["Security"])]), "approval_rules[0].filters[0].key"),
            (with("AMAZON_LINUX_2", &[("CLASSIFICATION", &["security"])]), "approval_rules[0].filters[0].values[0]"),
            (with("SUSE", &[("SEVERITY", &["Critical", "Medium"])]), "approval_rules[0].filters[0].values[1]"),
            (with("AMAZON_LINUX_2", &[("PRODUCT", &["All"])]), "approval_rules[0].filters[0].values[0]"),
            (with("AMAZON_LINUX_2", &[("PRODUCT", &[])]), "approval_rules[0].filters[0].values"),
            (with("AMAZON_LINUX_2", &[("PRODUCT", &["*"][..]); 5]), "approval_rules[0].filters"),
            // S 4.4.1.
            (BaselineSpec { rules: vec![rule(ok, None)], ..al2() }, "approval_rules[0].approval"),
            (
                BaselineSpec { rules: vec![rule(ok, Some(ApprovalDate::AfterDays(361)))], ..al2() },
                "approval_rules[0].approve_after_days",
            ),
            (
                BaselineSpec { approved_patches_compliance_level: "SEVERE".to_owned(), ..al2() },
                "approved_patches_compliance_level",
            ),
            (BaselineSpec { rejected_patches_action: "DENY".to_owned(), ..al2() }, "rejected_patches_action"),
            // S 4.4.9, 4.4.10, 4.5.10.
            (BaselineSpec { sources: vec![source("main")], ..spec("WINDOWS") }, "sources"),
            (
                BaselineSpec { approved_patches_enable_non_security: true, ..spec("WINDOWS") },
                "approved_patches_enable_non_security",
            ),
            (
                BaselineSpec { available_security_updates: Some("COMPLIANT".to_owned()), ..al2() },
                "available_security_updates_compliance_status",
            ),
        ];
        for (spec, field) in cases {
            let refused = BaselineDraft::new(spec.clone());
            assert_eq!(refused.as_ref().map_err(|invalid| invalid.field.as_str()).err(), Some(field), "{spec:?}");
        }
        // S 4.4.4: no approval date on systems without dates.
        assert!(BaselineDraft::new(BaselineSpec { rules: vec![rule(&[], None)], ..spec("DEBIAN") }).is_ok());
    }

    #[test]
    fn misspelt_words_get_the_nearest_right_one() {
        let hint = |spec: BaselineSpec| BaselineDraft::new(spec).unwrap_err().to_string();
        assert!(hint(with("AMAZON_LINUX_2", &[("SEVERTY", &["Low"])])).contains("did you mean SEVERITY?"));
        assert!(hint(with("SUSE", &[("SEVERITY", &["Medium"])])).contains("did you mean Moderate?"));
        assert!(hint(with("WINDOWS", &[("CLASSIFICATION", &["Security"])])).contains("did you mean SecurityUpdates?"));
        assert!(hint(with("AMAZON_LINUX_2", &[("PRODUCT", &["All"])])).contains("must be `*` for all"));
    }

    #[test]
    fn what_aws_holds_already_may_stay_and_nothing_like_it_may_be_added() {
        let held = with("AMAZON_LINUX_2", &[("CLASSIFICATION", &["Livepatch"])]);
        let renamed = BaselineSpec { name: "renamed".to_owned(), ..held.clone() };
        assert!(BaselineDraft::made_from(renamed, &held).is_ok());
        let mut more = held.clone();
        more.rules.push(rule(&[("CLASSIFICATION", &["Bugfixes"])], Some(ApprovalDate::AfterDays(0))));
        let refused = BaselineDraft::made_from(more, &held).unwrap_err();
        assert_eq!(refused.field, "approval_rules[1].filters[0].values[0]");
    }

    #[test]
    fn days_and_dates_are_read_strictly() {
        assert_eq!(ApprovalDate::after_days("x", 360), Ok(ApprovalDate::AfterDays(360)));
        assert!(ApprovalDate::after_days("x", -1).is_err() && ApprovalDate::after_days("x", 361).is_err());
        assert!(ApprovalDate::until("x", "2026-11-30").is_ok());
        for wrong in ["", "2026-02-30", "20261130", "2026-11-30T00:00", "30.11.2026"] {
            assert!(ApprovalDate::until("x", wrong).is_err(), "{wrong}");
        }
    }
}
