//! Which patches a baseline approves, and from when (S 4.3–4.7).

use crate::{ApprovalDate, ApprovalRule, Baseline, OperatingSystem, PatchFilter};
use jiff::{SignedDuration, Timestamp, civil::Time, tz::TimeZone};
use std::{cmp::Ordering, collections::BTreeMap};

/// An update as a node's repositories or Microsoft's catalogue offer it: what baselines look at (S 4.7.12–13).
/// Attributes that the source does not give are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AvailablePatch {
    /// `name.arch` on Linux, `KB4480979` on Windows (S 8.1.3).
    pub kb_id: String,
    /// `name.arch:epoch:version-release` on Linux, the article's title on Windows.
    pub title: String,
    /// The package's name; the KB number on Windows.
    pub name: String,
    pub epoch: String,
    pub version: String,
    pub release: String,
    pub arch: String,
    /// AWS's product, such as `AmazonLinux2`.
    pub product: String,
    pub product_family: String,
    /// Windows: `OS` or `APPLICATION`.
    pub patch_set: String,
    pub classification: String,
    /// The vendor's severity; on Windows the MSRC severity.
    pub severity: String,
    pub priority: String,
    pub section: String,
    pub repository: String,
    pub advisory_ids: Vec<String>,
    pub cve_ids: Vec<String>,
    pub bugzilla_ids: Vec<String>,
    /// The date that delays count from: the notice's *updated* date on Linux (S 4.4.5), the release date on Windows.
    pub released: Option<Timestamp>,
    /// Whether it counts without `EnableNonSecurity`: named by a notice in `updateinfo.xml` (yum, dnf), out of a
    /// security repository (apt), always on SLES, macOS and Windows (S 4.7.4, 4.7.14).
    pub from_security_source: bool,
}

/// What a baseline says of a patch at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    Approved {
        /// The highest level among what approves it (S 4.4.8).
        compliance_level: String,
        /// By the baseline's list rather than by a rule.
        explicit: bool,
    },
    Rejected,
    /// No rule admits it, or one will at this time (S 4.4.2).
    NotApproved {
        from: Option<Timestamp>,
    },
}

/// Orders compliance levels: CRITICAL 5 down to UNSPECIFIED 0 (S 4.4.8); unknown levels count as UNSPECIFIED.
pub fn level_rank(level: &str) -> u8 {
    match level {
        "CRITICAL" => 5,
        "HIGH" => 4,
        "MEDIUM" => 3,
        "LOW" => 2,
        "INFORMATIONAL" => 1,
        _ => 0,
    }
}

/// From when a rule with this date approves a patch; `None` is never. Undated patches count from 1970 (S 4.4.5, 4.4.7);
/// systems whose repositories carry no reliable dates are approved at once (S 4.4.4).
pub fn approved_from(
    system: &OperatingSystem,
    date: Option<ApprovalDate>,
    released: Option<Timestamp>,
) -> Option<Timestamp> {
    let released = released.unwrap_or(Timestamp::UNIX_EPOCH);
    if matches!(system.as_str(), "DEBIAN" | "UBUNTU" | "RASPBIAN") {
        return Some(released);
    }
    match date {
        None => Some(released),
        Some(ApprovalDate::AfterDays(days)) => {
            Some(released.saturating_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MAX))
        }
        Some(ApprovalDate::Until(day)) => {
            let end = day.to_datetime(Time::constant(23, 59, 59, 999_999_999)).to_zoned(TimeZone::UTC).ok()?;
            (released <= end.timestamp()).then_some(released)
        }
    }
}

/// Whether all filters of a group admit the patch (S 4.3.3). Without PATCH_SET, Windows means the set `OS` (S 4.3.6).
pub fn group_matches(filters: &[PatchFilter], patch: &AvailablePatch) -> bool {
    let applications_meant = filters.iter().any(|f| f.key == "PATCH_SET");
    (applications_meant || patch.patch_set != "APPLICATION") && filters.iter().all(|f| filter_matches(f, patch))
}

/// Whether any value of the filter is one of the patch's, or `*` (S 4.3.2).
pub fn filter_matches(filter: &PatchFilter, patch: &AvailablePatch) -> bool {
    let one = std::slice::from_ref::<String>;
    let attribute = match filter.key.as_str() {
        "ARCH" => one(&patch.arch),
        "ADVISORY_ID" => &patch.advisory_ids,
        "BUGZILLA_ID" => &patch.bugzilla_ids,
        "PATCH_SET" => one(&patch.patch_set),
        "PRODUCT" => one(&patch.product),
        "PRODUCT_FAMILY" => one(&patch.product_family),
        "CLASSIFICATION" => one(&patch.classification),
        "CVE_ID" => &patch.cve_ids,
        "EPOCH" => one(&patch.epoch),
        "MSRC_SEVERITY" | "SEVERITY" => one(&patch.severity),
        "NAME" => one(&patch.name),
        "PATCH_ID" => one(&patch.kb_id),
        "SECTION" => one(&patch.section),
        "PRIORITY" => one(&patch.priority),
        "REPOSITORY" => one(&patch.repository),
        "RELEASE" => one(&patch.release),
        "VERSION" => one(&patch.version),
        _ => &[],
    };
    filter.values.iter().any(|value| value == "*" || attribute.contains(value))
}

/// Judges one patch. Rejected beats approved beats rules (S 4.5.5); the approved list also beats global filters (S 4.5.6).
pub fn judge(baseline: &Baseline, patch: &AvailablePatch, now: Timestamp) -> Judgement {
    let Weighed { rejected_by, approved_by, globals, rules } = weigh(baseline, patch);
    if rejected_by.is_some() {
        return Judgement::Rejected;
    }
    if approved_by.is_some() {
        let compliance_level = baseline.approved_patches_compliance_level.clone();
        return Judgement::Approved { compliance_level, explicit: true };
    }
    if !globals {
        return Judgement::NotApproved { from: None };
    }
    let dated = rules.iter().filter_map(|weighed| match weighed.verdict {
        RuleVerdict::From(from) => Some((from, weighed.rule)),
        _ => None,
    });
    let dated: Vec<(Timestamp, &ApprovalRule)> = dated.collect();
    let in_force = dated.iter().filter(|(from, _)| *from <= now).map(|(_, rule)| rule.compliance_level.as_str());
    match in_force.max_by_key(|level| level_rank(level)) {
        Some(level) => Judgement::Approved { compliance_level: level.to_owned(), explicit: false },
        None => Judgement::NotApproved { from: dated.iter().map(|(from, _)| *from).min() },
    }
}

/// What each part of a baseline says of a patch, whatever beats what.
pub(crate) struct Weighed<'a> {
    /// The entry of the list of rejected patches that names it.
    pub(crate) rejected_by: Option<&'a str>,
    /// The entry of the list of approved patches that names it.
    pub(crate) approved_by: Option<&'a str>,
    /// Whether the global filters let it through.
    pub(crate) globals: bool,
    pub(crate) rules: Vec<WeighedRule<'a>>,
}

pub(crate) struct WeighedRule<'a> {
    pub(crate) rule: &'a ApprovalRule,
    pub(crate) verdict: RuleVerdict<'a>,
}

/// What one rule says of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleVerdict<'a> {
    /// A filter keeps it out; none is named where the set of Microsoft's applications was not asked for.
    NoMatch(Option<&'a PatchFilter>),
    /// It counts as no security update, and the rule takes no others.
    NotSecurity,
    /// It came out after the rule's last day.
    TooLate,
    /// Approved from then on.
    From(Timestamp),
}

pub(crate) fn weigh<'a>(baseline: &'a Baseline, patch: &AvailablePatch) -> Weighed<'a> {
    let system = &baseline.summary.operating_system;
    let counts = |enable_non_security: bool| patch.from_security_source || enable_non_security;
    let named = |entries: &'a [String], list: List| {
        entries.iter().find(|entry| names(system, entry, patch, list)).map(String::as_str)
    };
    let approved_by = named(&baseline.approved_patches, List::Approved);
    let verdict = |rule: &'a ApprovalRule| {
        if !group_matches(&rule.filters, patch) {
            RuleVerdict::NoMatch(rule.filters.iter().find(|filter| !filter_matches(filter, patch)))
        } else if !counts(rule.enable_non_security) {
            RuleVerdict::NotSecurity
        } else {
            approved_from(system, rule.approval, patch.released).map_or(RuleVerdict::TooLate, RuleVerdict::From)
        }
    };
    Weighed {
        rejected_by: named(&baseline.rejected_patches, List::Rejected),
        approved_by: approved_by.filter(|_| counts(baseline.approved_patches_enable_non_security)),
        globals: baseline.global_filters.is_empty() || group_matches(&baseline.global_filters, patch),
        rules: baseline.rules.iter().map(|rule| WeighedRule { rule, verdict: verdict(rule) }).collect(),
    }
}

/// What a node would install of the offered updates: of several approved versions of a package the newest (S 4.7.7),
/// with its compliance level; ordered by KB id.
pub fn select<'a>(
    baseline: &Baseline,
    offers: impl IntoIterator<Item = &'a AvailablePatch>,
    now: Timestamp,
) -> Vec<(&'a AvailablePatch, String)> {
    let mut newest: BTreeMap<&str, (&AvailablePatch, String)> = BTreeMap::new();
    for patch in offers {
        let Judgement::Approved { compliance_level, .. } = judge(baseline, patch, now) else { continue };
        let best = newest.get(patch.kb_id.as_str());
        if best.is_none_or(|(best, _)| compare_versions(patch, best).is_gt()) {
            newest.insert(&patch.kb_id, (patch, compliance_level));
        }
    }
    newest.into_values().collect()
}

/// Orders two builds of a package by epoch, version and release, as rpm does.
pub fn compare_versions(a: &AvailablePatch, b: &AvailablePatch) -> Ordering {
    let epoch = |patch: &AvailablePatch| patch.epoch.parse::<u64>().unwrap_or(0);
    epoch(a)
        .cmp(&epoch(b))
        .then_with(|| compare_segments(&a.version, &b.version))
        .then_with(|| compare_segments(&a.release, &b.release))
}

/// rpm's comparison: runs of digits or letters in turn, numbers above letters, `~` below everything.
fn compare_segments(a: &str, b: &str) -> Ordering {
    let separator = |c: char| !c.is_ascii_alphanumeric() && c != '~';
    let (mut a, mut b) = (a, b);
    loop {
        a = a.trim_start_matches(separator);
        b = b.trim_start_matches(separator);
        match (a.strip_prefix('~'), b.strip_prefix('~')) {
            (Some(rest_a), Some(rest_b)) => {
                (a, b) = (rest_a, rest_b);
                continue;
            }
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => {}
        }
        let (Some(first_a), Some(first_b)) = (a.chars().next(), b.chars().next()) else {
            return a.len().min(1).cmp(&b.len().min(1));
        };
        let run = |text: &str, digits: bool| {
            text.find(|c: char| if digits { !c.is_ascii_digit() } else { !c.is_ascii_alphabetic() })
                .unwrap_or(text.len())
        };
        let digits = first_a.is_ascii_digit();
        if digits != first_b.is_ascii_digit() {
            return if digits { Ordering::Greater } else { Ordering::Less };
        }
        let (segment_a, rest_a) = a.split_at(run(a, digits));
        let (segment_b, rest_b) = b.split_at(run(b, digits));
        let order = if digits {
            let (x, y) = (segment_a.trim_start_matches('0'), segment_b.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            segment_a.cmp(segment_b)
        };
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum List {
    Approved,
    Rejected,
}

/// Whether an entry of an approved or rejected list means this patch (S 4.5.1–4).
fn names(system: &OperatingSystem, entry: &str, patch: &AvailablePatch, list: List) -> bool {
    let AvailablePatch { name, version, release, arch, .. } = patch;
    let full = format!("{name}-{version}-{release}.{arch}");
    match system.as_str() {
        "WINDOWS" => entry == patch.kb_id || patch.advisory_ids.iter().any(|id| id == entry),
        "UBUNTU" | "DEBIAN" | "RASPBIAN" => entry == name,
        "MACOS" => entry == patch.kb_id || entry == full || entry == format!("{name}.{version}"),
        "SUSE" => patch.advisory_ids.iter().any(|id| wildcard(entry, id)) || wildcard(entry, &full),
        _ => {
            let by_notice = || {
                [&patch.bugzilla_ids, &patch.cve_ids, &patch.advisory_ids]
                    .iter()
                    .any(|ids| ids.iter().any(|id| id == entry))
            };
            wildcard(entry, &full) || (list == List::Approved && by_notice())
        }
    }
}

/// An exact match, or one with a single `*`.
pub(crate) fn wildcard(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BaselineOwner, BaselineSummary};

    fn baseline(system: &str, rules: Vec<ApprovalRule>) -> Baseline {
        Baseline {
            summary: BaselineSummary {
                id: "pb-0be8c61cde3be63f3".parse().unwrap(),
                aws_id: "pb-0be8c61cde3be63f3".into(),
                owner: BaselineOwner::Account,
                name: "test".into(),
                description: String::new(),
                operating_system: OperatingSystem::parse(system).unwrap(),
                default: false,
            },
            global_filters: vec![],
            rules,
            approved_patches: vec![],
            approved_patches_compliance_level: "UNSPECIFIED".into(),
            approved_patches_enable_non_security: false,
            rejected_patches: vec![],
            rejected_patches_action: "ALLOW_AS_DEPENDENCY".into(),
            sources: vec![],
            available_security_updates: None,
            patch_groups: vec![],
            created: None,
            modified: None,
        }
    }

    fn rule(filters: &[(&str, &[&str])], approval: Option<ApprovalDate>) -> ApprovalRule {
        let filter = |(key, values): &(&str, &[&str])| PatchFilter {
            key: (*key).into(),
            values: values.iter().map(|v| (*v).into()).collect(),
        };
        ApprovalRule {
            filters: filters.iter().map(filter).collect(),
            compliance_level: "UNSPECIFIED".into(),
            approval,
            enable_non_security: false,
        }
    }

    /// AWS-AmazonLinux2DefaultPatchBaseline (S 4.2).
    fn amazon_linux_2() -> Baseline {
        let week = Some(ApprovalDate::AfterDays(7));
        let security: &[(&str, &[&str])] =
            &[("CLASSIFICATION", &["Security"]), ("SEVERITY", &["Critical", "Important"])];
        baseline("AMAZON_LINUX_2", vec![rule(security, week), rule(&[("CLASSIFICATION", &["Bugfix"])], week)])
    }

    fn patch(classification: &str, severity: &str, released: &str) -> AvailablePatch {
        AvailablePatch {
            kb_id: "curl.x86_64".into(),
            title: "curl.x86_64:0:8.3.0-1.amzn2".into(),
            name: "curl".into(),
            epoch: "0".into(),
            version: "8.3.0".into(),
            release: "1.amzn2".into(),
            arch: "x86_64".into(),
            product: "AmazonLinux2".into(),
            classification: classification.into(),
            severity: severity.into(),
            advisory_ids: vec!["ALAS2-2023-2287".into()],
            cve_ids: vec!["CVE-2023-38545".into()],
            released: Some(released.parse().unwrap()),
            from_security_source: true,
            ..AvailablePatch::default()
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn approved(baseline: &Baseline, patch: &AvailablePatch, now: &str) -> bool {
        matches!(judge(baseline, patch, at(now)), Judgement::Approved { .. })
    }

    #[test]
    fn days_count_from_the_second_of_the_release() {
        // S 4.4.2, AWS's own example; the rule is `now >= release + N * 24 h`.
        let patch = patch("Security", "Critical", "2025-11-09T18:00:00Z");
        assert_eq!(
            judge(&amazon_linux_2(), &patch, at("2025-11-16T17:59:59Z")),
            Judgement::NotApproved { from: Some(at("2025-11-16T18:00:00Z")) }
        );
        assert!(approved(&amazon_linux_2(), &patch, "2025-11-16T18:00:00Z"));
    }

    #[test]
    fn a_cutoff_date_includes_its_whole_utc_day() {
        // S 4.4.3.
        let until = Some(ApprovalDate::Until(jiff::civil::date(2025, 11, 9)));
        let baseline = baseline("AMAZON_LINUX_2", vec![rule(&[], until)]);
        for (released, expected) in
            [("2025-11-09T00:00:00Z", true), ("2025-11-09T23:59:59Z", true), ("2025-11-10T00:00:00Z", false)]
        {
            assert_eq!(
                approved(&baseline, &patch("Security", "Low", released), "2026-01-01T00:00:00Z"),
                expected,
                "{released}"
            );
        }
    }

    #[test]
    fn the_predefined_amazon_linux_2_baseline_approves_what_its_table_says() {
        // S 4.2: Security with Critical or Important; all Bugfix; 7 days.
        for (classification, severity, expected) in [
            ("Security", "Critical", true),
            ("Security", "Important", true),
            ("Security", "Medium", false),
            ("Security", "Low", false),
            ("Bugfix", "Low", true),
            ("Enhancement", "Critical", false),
        ] {
            let patch = patch(classification, severity, "2025-01-01T00:00:00Z");
            assert_eq!(
                approved(&amazon_linux_2(), &patch, "2025-02-01T00:00:00Z"),
                expected,
                "{classification} {severity}"
            );
        }
    }

    #[test]
    fn undated_patches_and_undated_systems_are_approved_at_once() {
        // S 4.4.5 and 4.4.7: no date counts as no delay; S 4.4.4: Ubuntu's delays mean nothing.
        let undated = AvailablePatch { released: None, ..patch("Security", "Critical", "2025-01-01T00:00:00Z") };
        assert!(approved(&amazon_linux_2(), &undated, "2025-01-01T00:00:00Z"));
        let ubuntu = baseline("UBUNTU", vec![rule(&[("PRIORITY", &["Required"])], Some(ApprovalDate::AfterDays(30)))]);
        let today = AvailablePatch { priority: "Required".into(), ..patch("", "", "2025-01-01T00:00:00Z") };
        assert!(approved(&ubuntu, &today, "2025-01-01T00:00:00Z"));
    }

    #[test]
    fn what_no_notice_names_counts_only_with_enable_non_security() {
        // S 4.7.4, 4.7.11: a CentOS baseline without the flag finds nothing.
        let plain = AvailablePatch { from_security_source: false, ..patch("", "", "2025-01-01T00:00:00Z") };
        let mut baseline = baseline("CENTOS", vec![rule(&[("PRODUCT", &["*"])], Some(ApprovalDate::AfterDays(7)))]);
        assert!(!approved(&baseline, &plain, "2025-02-01T00:00:00Z"));
        baseline.rules[0].enable_non_security = true;
        assert!(approved(&baseline, &plain, "2025-02-01T00:00:00Z"));
    }

    #[test]
    fn rejected_beats_approved_beats_filters_and_rules() {
        // S 4.5.5–6.
        let low = patch("Security", "Low", "2025-01-01T00:00:00Z");
        let now = "2025-02-01T00:00:00Z";
        let mut baseline = amazon_linux_2();
        baseline.global_filters = vec![PatchFilter { key: "SEVERITY".into(), values: vec!["Critical".into()] }];
        assert!(!approved(&baseline, &patch("Security", "Important", "2025-01-01T00:00:00Z"), now));
        baseline.approved_patches = vec!["CVE-2023-38545".into()];
        assert!(approved(&baseline, &low, now));
        baseline.rejected_patches = vec!["curl-*".into()];
        assert_eq!(judge(&baseline, &low, at(now)), Judgement::Rejected);
    }

    #[test]
    fn list_entries_are_read_as_each_family_reads_them() {
        // S 4.5.1–4.
        let curl = patch("Security", "Low", "2025-01-01T00:00:00Z");
        let kb = AvailablePatch { kb_id: "KB4480979".into(), name: "KB4480979".into(), ..AvailablePatch::default() };
        for (system, patch, list, entry, expected) in [
            ("AMAZON_LINUX_2", &curl, List::Approved, "ALAS2-2023-2287", true),
            ("AMAZON_LINUX_2", &curl, List::Rejected, "ALAS2-2023-2287", false),
            ("AMAZON_LINUX_2", &curl, List::Approved, "curl-8.3.0-1.amzn2.x86_64", true),
            ("AMAZON_LINUX_2", &curl, List::Rejected, "curl-8.3.*", true),
            ("AMAZON_LINUX_2", &curl, List::Rejected, "*.x86_64", true),
            ("AMAZON_LINUX_2", &curl, List::Rejected, "curl", false),
            ("UBUNTU", &curl, List::Approved, "curl", true),
            ("UBUNTU", &curl, List::Approved, "curl-*", false),
            ("WINDOWS", &kb, List::Approved, "KB4480979", true),
            ("WINDOWS", &kb, List::Approved, "KB448*", false),
        ] {
            let system = OperatingSystem::parse(system).unwrap();
            assert_eq!(names(&system, entry, patch, list), expected, "{system} {entry}");
        }
    }

    #[test]
    fn application_patches_need_their_patch_set_named() {
        // S 4.3.6.
        let office = AvailablePatch { patch_set: "APPLICATION".into(), ..AvailablePatch::default() };
        let any = PatchFilter { key: "PRODUCT".into(), values: vec!["*".into()] };
        let applications = PatchFilter { key: "PATCH_SET".into(), values: vec!["APPLICATION".into()] };
        assert!(!group_matches(std::slice::from_ref(&any), &office));
        assert!(group_matches(&[any, applications], &office));
    }

    #[test]
    fn the_highest_level_of_the_approving_rules_wins() {
        // S 4.4.8.
        let mut baseline = amazon_linux_2();
        let mut second = baseline.rules[0].clone();
        second.compliance_level = "HIGH".into();
        baseline.rules.insert(0, second);
        let judged =
            judge(&baseline, &patch("Security", "Critical", "2025-01-01T00:00:00Z"), at("2025-02-01T00:00:00Z"));
        assert_eq!(judged, Judgement::Approved { compliance_level: "HIGH".into(), explicit: false });
    }

    #[test]
    fn of_several_approved_versions_the_newest_is_selected() {
        // S 4.7.7; the one of the last days is not approved yet (S 4.4.2).
        let build = |version: &str, released: &str| AvailablePatch {
            version: version.into(),
            ..patch("Security", "Critical", released)
        };
        let offers = [
            build("8.9.0", "2025-01-01T00:00:00Z"),
            build("8.10.0", "2025-01-05T00:00:00Z"),
            build("8.11.0", "2025-01-30T00:00:00Z"),
        ];
        let selected = select(&amazon_linux_2(), &offers, at("2025-02-01T00:00:00Z"));
        let versions: Vec<_> = selected.iter().map(|(patch, _)| patch.version.as_str()).collect();
        assert_eq!(versions, ["8.10.0"]);
    }

    #[test]
    fn versions_compare_as_rpm_compares_them() {
        // The cases of rpm's own test suite (tests/rpmvercmp.at).
        for (a, b, expected) in [
            ("1.0", "1.0", Ordering::Equal),
            ("1.0", "2.0", Ordering::Less),
            ("2.0.1a", "2.0.1", Ordering::Greater),
            ("5.5p1", "5.5p10", Ordering::Less),
            ("10xyz", "10.1xyz", Ordering::Less),
            ("xyz10", "xyz10.1", Ordering::Less),
            ("1.0~rc1", "1.0", Ordering::Less),
            ("20101121", "20101122", Ordering::Less),
            ("2_0", "2.0", Ordering::Equal),
            ("1.05", "1.5", Ordering::Equal),
        ] {
            assert_eq!(compare_segments(a, b), expected, "{a} {b}");
            assert_eq!(compare_segments(b, a), expected.reverse(), "{b} {a}");
        }
    }
}
