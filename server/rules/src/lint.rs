//! What is worth knowing about a baseline that AWS takes and that hardly does what was meant.

use crate::{
    ApprovalDate, BaselineSpec, PatchFilter,
    approval::wildcard,
    vocabulary::{Values, filter_values, is_undated},
};

/// Something worth knowing; never a reason for refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// Stable, in UPPER_SNAKE_CASE.
    pub code: &'static str,
    pub message: String,
}

/// Microsoft replaces its cumulative updates every month, of which the shortest has so many days (S 4.4.6).
const SHORTEST_MONTH: u16 = 28;

/// All that is to be said about a baseline, in the order of its fields.
pub fn lints(spec: &BaselineSpec) -> Vec<Lint> {
    let mut found = Lints(Vec::new());
    let system = spec.operating_system.as_str();
    found.values("global_filters", system, &spec.global_filters);
    for (i, rule) in spec.rules.iter().enumerate() {
        let at = format!("approval_rules[{i}]");
        found.values(&format!("{at}.filters"), system, &rule.filters);
        if let Some(why) = never_matches(&rule.filters) {
            found.add("RULE_MATCHES_NOTHING", format!("{at} matches nothing: {why}"));
        }
        if has(&rule.filters, "PRODUCT_FAMILY") && !has(&rule.filters, "PATCH_SET") {
            let message = "names a PRODUCT_FAMILY without PATCH_SET=APPLICATION, so it looks at Windows itself only";
            found.add("PATCH_SET_MISSING", format!("{at} {message}"));
        }
        match rule.approval {
            Some(ApprovalDate::AfterDays(days)) if system == "WINDOWS" && days >= SHORTEST_MONTH => {
                let message =
                    "a monthly update may be replaced by the next before it is approved, and never be installed";
                found.add("DELAY_CAN_STARVE", format!("{at} waits {days} days: {message}"));
            }
            Some(ApprovalDate::AfterDays(1..) | ApprovalDate::Until(_)) if is_undated(system) => {
                let message = "its repositories carry no reliable dates, approval is immediate";
                found
                    .add("DELAY_HAS_NO_EFFECT", format!("{at} has a date, which means nothing on {system}: {message}"));
            }
            _ => {}
        }
    }
    // S 4.7.11.
    if system == "CENTOS" && !spec.rules.is_empty() && !spec.rules.iter().any(|rule| rule.enable_non_security) {
        let message = "CentOS's own repositories name no security updates, so that rules without enable_non_security \
                       find nothing";
        found.add("NON_SECURITY_NEEDED", message);
    }
    let idle = spec.rules.iter().all(|rule| never_matches(&rule.filters).is_some());
    let shadowed = |entry: &String| spec.rejected_patches.iter().any(|rejected| wildcard(rejected, entry));
    if idle && spec.approved_patches.iter().all(shadowed) {
        found.add("APPROVES_NOTHING", "no rule and no list approves any patch: nothing will ever be installed");
    }
    for entry in spec.approved_patches.iter().filter(|entry| shadowed(entry)) {
        let message = format!("`{entry}` is approved and rejected: rejected wins");
        found.add("REJECT_SHADOWS_APPROVE", message);
    }
    found.entries("approved_patches", spec, &spec.approved_patches, true);
    found.entries("rejected_patches", spec, &spec.rejected_patches, false);
    if !spec.sources.is_empty() {
        let message = "the instances' own repositories are not used while they are patched from these sources";
        found.add("SOURCES_REPLACE_REPOSITORIES", message);
    }
    found.0
}

fn has(filters: &[PatchFilter], key: &str) -> bool {
    filters.iter().any(|filter| filter.key == key)
}

/// Why no patch can pass all these filters: two of them ask for different values of one attribute.
fn never_matches(filters: &[PatchFilter]) -> Option<String> {
    let any = |filter: &PatchFilter| filter.values.iter().any(|value| value == "*");
    filters.iter().enumerate().find_map(|(i, one)| {
        let disjoint = |other: &&PatchFilter| {
            other.key == one.key
                && !any(one)
                && !any(other)
                && !other.values.iter().any(|value| one.values.contains(value))
        };
        let other = filters[i + 1..].iter().find(disjoint)?;
        Some(format!("{} cannot be {} and {} at once", one.key, one.values.join(" or "), other.values.join(" or ")))
    })
}

/// Whether an entry has one of the forms that the lists take (S 4.5.1–4).
fn is_understood(system: &str, entry: &str, approved: bool) -> bool {
    let wildcards = entry.matches('*').count();
    let advisory = |text: &str| {
        let (kind, rest) = text.split_once('-').unwrap_or_default();
        matches!(kind, "RHSA" | "RHBA" | "RHEA" | "ELSA" | "ELBA" | "ELEA" | "RLSA" | "RLBA" | "ALSA" | "ALBA")
            || (kind.starts_with("ALAS") && rest.bytes().any(|b| b.is_ascii_digit()) && !text.contains('.'))
    };
    let by_notice = entry.bytes().all(|b| b.is_ascii_digit()) || entry.starts_with("CVE-") || advisory(entry);
    match system {
        // Some take it for a separator.
        _ if entry.contains(',') => false,
        "WINDOWS" => ["KB", "MS"].iter().any(|start| {
            let number = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit() || b == b'-');
            entry.strip_prefix(start).is_some_and(number)
        }),
        "UBUNTU" | "DEBIAN" | "RASPBIAN" => {
            entry.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
        }
        "MACOS" => wildcards == 0,
        "SUSE" => wildcards <= 1,
        _ if by_notice => approved,
        // A full package name is `name-version-release.arch`.
        _ => wildcards == 1 || (wildcards == 0 && entry.matches('-').count() >= 2),
    }
}

struct Lints(Vec<Lint>);

impl Lints {
    fn add(&mut self, code: &'static str, message: impl Into<String>) {
        self.0.push(Lint { code, message: message.into() });
    }

    fn values(&mut self, at: &str, system: &str, filters: &[PatchFilter]) {
        for (i, PatchFilter { key, values }) in filters.iter().enumerate() {
            let Values::Some(known) = filter_values(system, key) else { continue };
            for value in values.iter().filter(|value| *value != "*" && !known.contains(&value.as_str())) {
                let message =
                    format!("{at}[{i}] names the {key} `{value}`; documented for {system} are {}", known.join(", "));
                self.add("VALUE_NOT_DOCUMENTED", message);
            }
        }
    }

    fn entries(&mut self, list: &str, spec: &BaselineSpec, entries: &[String], approved: bool) {
        let system = spec.operating_system.as_str();
        let forms = match system {
            "WINDOWS" => "KB1234567 or MS12-345",
            "UBUNTU" | "DEBIAN" | "RASPBIAN" => "a package's plain name",
            "MACOS" => "a package's full name, without `*`",
            "SUSE" => "a patch's name or a package's file name, with at most one `*`",
            _ if approved => "a package's full name or one with one `*`, a CVE, an advisory or a Bugzilla id",
            _ => "a package's full name, or one with one `*`",
        };
        for (i, entry) in entries.iter().enumerate().filter(|(_, entry)| !is_understood(system, entry, approved)) {
            let message = format!("{list}[{i}] `{entry}` may match nothing: {system} takes {forms}");
            self.add("LIST_ENTRY_NOT_UNDERSTOOD", message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ApprovalRule, OperatingSystem};

    fn spec(system: &str, filters: &[(&str, &[&str])], days: u16) -> BaselineSpec {
        let filter = |(key, values): &(&str, &[&str])| PatchFilter {
            key: (*key).to_owned(),
            values: values.iter().map(|&value| value.to_owned()).collect(),
        };
        let rule = ApprovalRule {
            filters: filters.iter().map(filter).collect(),
            compliance_level: "UNSPECIFIED".to_owned(),
            approval: Some(ApprovalDate::AfterDays(days)),
            enable_non_security: false,
        };
        BaselineSpec { rules: vec![rule], ..BaselineSpec::new("test", OperatingSystem::observed(system)) }
    }

    fn codes(spec: &BaselineSpec) -> Vec<&'static str> {
        lints(spec).iter().map(|lint| lint.code).collect()
    }

    #[test]
    fn what_can_hardly_be_meant_is_told() {
        let any: &[(&str, &[&str])] = &[("PRODUCT", &["*"])];
        let empty = BaselineSpec { rules: vec![], ..spec("AMAZON_LINUX_2", any, 0) };
        let family: &[(&str, &[&str])] = &[("PRODUCT_FAMILY", &["Office"])];
        let torn: &[(&str, &[&str])] = &[("SEVERITY", &["Low"]), ("SEVERITY", &["Critical"])];
        for (spec, expected) in [
            (spec("AMAZON_LINUX_2", any, 7), &[][..]),
            (empty, &["APPROVES_NOTHING"]),
            // S 4.7.11.
            (spec("CENTOS", any, 7), &["NON_SECURITY_NEEDED"]),
            // S 4.4.6.
            (spec("WINDOWS", any, 28), &["DELAY_CAN_STARVE"]),
            (spec("WINDOWS", any, 27), &[]),
            // S 4.4.4.
            (spec("UBUNTU", any, 1), &["DELAY_HAS_NO_EFFECT"]),
            (spec("UBUNTU", any, 0), &[]),
            // S 4.3.6.
            (spec("WINDOWS", family, 7), &["PATCH_SET_MISSING"]),
            // S 4.3.3.
            (spec("AMAZON_LINUX_2", torn, 7), &["RULE_MATCHES_NOTHING", "APPROVES_NOTHING"]),
            // S 4.3.4: unverified for these systems.
            (spec("ROCKY_LINUX", &[("SEVERITY", &["Moderate"])], 7), &["VALUE_NOT_DOCUMENTED"]),
        ] {
            assert_eq!(codes(&spec), expected, "{spec:?}");
        }
    }

    #[test]
    fn what_is_approved_and_rejected_is_told() {
        let mut spec = spec("AMAZON_LINUX_2", &[("PRODUCT", &["*"])], 7);
        spec.approved_patches = vec!["curl-8.3.0-1.amzn2.x86_64".to_owned(), "zlib-1.2.7-19.amzn2.x86_64".to_owned()];
        spec.rejected_patches = vec!["curl-*".to_owned()];
        assert_eq!(codes(&spec), ["REJECT_SHADOWS_APPROVE"]);
        assert!(lints(&spec)[0].message.contains("curl-8.3.0"), "{:?}", lints(&spec));
        spec.rules.clear();
        spec.approved_patches.pop();
        assert_eq!(codes(&spec), ["APPROVES_NOTHING", "REJECT_SHADOWS_APPROVE"]);
    }

    #[test]
    fn list_entries_are_told_apart_by_system() {
        // S 4.5.1–4, with their own examples.
        for (system, entry, approved, rejected) in [
            ("AMAZON_LINUX_2", "CVE-2018-1234567", true, false),
            ("AMAZON_LINUX_2", "ALAS-2018-123", true, false),
            ("REDHAT_ENTERPRISE_LINUX", "RHSA-2017:0864", true, false),
            ("AMAZON_LINUX_2", "1234567", true, false),
            ("AMAZON_LINUX_2", "example-pkg-0.710.10-2.7.abcd.x86_64", true, true),
            ("AMAZON_LINUX_2", "pkg-example-EE-*.amzn1.noarch", true, true),
            ("AMAZON_LINUX_2", "CVE-2018-1234567,example-pkg-EE-2018*.amzn1.noarch", false, false),
            ("AMAZON_LINUX_2", "*pkg*", false, false),
            ("AMAZON_LINUX_2", "curl", false, false),
            ("UBUNTU", "openssl", true, true),
            ("UBUNTU", "openssl-*", false, false),
            ("SUSE", "SUSE-SLE-Example-Package-12-2018-123", true, true),
            ("MACOS", "XProtectPlistConfigData", true, true),
            ("MACOS", "XProtect*", false, false),
            ("WINDOWS", "KB2032276", true, true),
            ("WINDOWS", "MS10-048", true, true),
            ("WINDOWS", "kb2032276", false, false),
        ] {
            let found = [is_understood(system, entry, true), is_understood(system, entry, false)];
            assert_eq!(found, [approved, rejected], "{system} {entry}");
        }
    }
}
