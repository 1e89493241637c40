//! What a baseline would do with a patch at some moment, by which of its parts, and why.

use crate::{
    ApprovalDate, AvailablePatch, Baseline, PatchFilter,
    approval::{RuleVerdict, WeighedRule, filter_matches, level_rank, weigh},
    vocabulary::is_undated,
};
use jiff::Timestamp;

/// What an absent release date means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undated {
    /// The source gives dates, and this patch has none: no delay (S 4.4.5, 4.4.7).
    NoDelay,
    /// The source gives no dates at all, so that a delay cannot be computed.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Approved,
    /// Approved from then on.
    Pending(Timestamp),
    /// A rule admits it; when is unknown, for want of a date.
    Undated,
    Rejected,
    /// Nothing admits it.
    Never,
}

/// The part of a baseline that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decider {
    /// The rule's place.
    Rule(usize),
    /// The entry of the list of approved patches.
    ApprovedList(String),
    /// The entry of the list of rejected patches.
    RejectedList(String),
    Nothing,
}

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub verdict: Verdict,
    pub decider: Decider,
    /// The severity reported while it is missing; empty unless it is approved, or will be.
    pub compliance_level: String,
    /// For people.
    pub why: String,
}

/// The API's name of what decides, such as `approval_rules[0]`; empty where nothing does.
impl std::fmt::Display for Decider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rule(place) => write!(f, "approval_rules[{place}]"),
            Self::ApprovedList(_) => f.write_str("approved_patches"),
            Self::RejectedList(_) => f.write_str("rejected_patches"),
            Self::Nothing => Ok(()),
        }
    }
}

/// Explains what [`crate::judge`] judges, and agrees with it wherever the date is known.
pub fn explain(baseline: &Baseline, patch: &AvailablePatch, undated: Undated, at: Timestamp) -> Explanation {
    let weighed = weigh(baseline, patch);
    if let Some(entry) = weighed.rejected_by {
        return Explanation {
            verdict: Verdict::Rejected,
            decider: Decider::RejectedList(entry.to_owned()),
            compliance_level: String::new(),
            why: format!("`{entry}` in rejected_patches names it, which beats everything else"),
        };
    }
    if let Some(entry) = weighed.approved_by {
        return Explanation {
            verdict: Verdict::Approved,
            decider: Decider::ApprovedList(entry.to_owned()),
            compliance_level: baseline.approved_patches_compliance_level.clone(),
            why: format!("`{entry}` in approved_patches names it, whatever the rules say"),
        };
    }
    if !weighed.globals {
        let filter = baseline.global_filters.iter().find(|filter| !filter_matches(filter, patch));
        let why = format!("global_filters keep it out: {}", mismatch(filter, patch));
        return never(why);
    }
    let dated = patch.released.is_some()
        || undated == Undated::NoDelay
        || is_undated(baseline.summary.operating_system.as_str());
    let verdict = |weighed: &WeighedRule<'_>| match (weighed.verdict, weighed.rule.approval) {
        (RuleVerdict::From(_), Some(ApprovalDate::AfterDays(1..) | ApprovalDate::Until(_))) if !dated => {
            Some(Verdict::Undated)
        }
        (RuleVerdict::From(from), _) if from <= at => Some(Verdict::Approved),
        (RuleVerdict::From(from), _) => Some(Verdict::Pending(from)),
        _ => None,
    };
    // Approved before undated before pending; of several approving rules the highest level, of pending ones the earliest.
    let best = weighed.rules.iter().enumerate().filter_map(|(place, weighed)| {
        let verdict = verdict(weighed)?;
        let level = weighed.rule.compliance_level.as_str();
        let order = match verdict {
            Verdict::Approved => (0, Timestamp::MIN, 5 - level_rank(level)),
            Verdict::Pending(from) => (2, from, 0),
            _ => (1, Timestamp::MIN, 5 - level_rank(level)),
        };
        Some((order, place, verdict, weighed.rule))
    });
    match best.min_by_key(|(order, place, ..)| (*order, *place)) {
        Some((_, place, verdict, rule)) => Explanation {
            verdict,
            decider: Decider::Rule(place),
            compliance_level: rule.compliance_level.clone(),
            why: admitted(place, verdict, rule.approval, patch.released),
        },
        None if weighed.rules.is_empty() => never("the baseline has no rules, and no list names it".to_owned()),
        None => {
            let reasons = weighed.rules.iter().enumerate().map(|(place, weighed)| refused(place, weighed, patch));
            never(reasons.collect::<Vec<_>>().join("; "))
        }
    }
}

fn never(why: String) -> Explanation {
    Explanation { verdict: Verdict::Never, decider: Decider::Nothing, compliance_level: String::new(), why }
}

fn admitted(place: usize, verdict: Verdict, approval: Option<ApprovalDate>, released: Option<Timestamp>) -> String {
    let release = released.map(|at| format!(" on {}", at.strftime("%Y-%m-%d"))).unwrap_or_default();
    let condition = match approval {
        Some(ApprovalDate::AfterDays(0)) | None => "as soon as it is released".to_owned(),
        Some(ApprovalDate::AfterDays(1)) => format!("1 day after its release{release}"),
        Some(ApprovalDate::AfterDays(days)) => format!("{days} days after its release{release}"),
        Some(ApprovalDate::Until(day)) => format!("for its release{release} is not after {day}"),
    };
    match verdict {
        Verdict::Pending(from) => {
            format!("approval_rules[{place}] approves it {condition}, from {}", from.strftime("%Y-%m-%dT%H:%M:%SZ"))
        }
        Verdict::Undated => match approval {
            Some(ApprovalDate::Until(day)) => {
                format!("approval_rules[{place}] approves it if it was released until {day}; the date is not known")
            }
            _ => format!("approval_rules[{place}] approves it {condition}; the date is not known"),
        },
        _ => format!("approval_rules[{place}] approves it {condition}"),
    }
}

fn refused(place: usize, weighed: &WeighedRule<'_>, patch: &AvailablePatch) -> String {
    let why = match weighed.verdict {
        RuleVerdict::NoMatch(filter) => mismatch(filter, patch),
        RuleVerdict::NotSecurity => "it takes security updates only (enable_non_security is not set)".to_owned(),
        RuleVerdict::TooLate | RuleVerdict::From(_) => match weighed.rule.approval {
            Some(ApprovalDate::Until(day)) => format!("it was released after {day}"),
            _ => String::new(),
        },
    };
    format!("approval_rules[{place}]: {why}")
}

fn mismatch(filter: Option<&PatchFilter>, patch: &AvailablePatch) -> String {
    let Some(PatchFilter { key, values }) = filter else {
        return "it is one of Microsoft's applications, which need PATCH_SET=APPLICATION".to_owned();
    };
    let has = match key.as_str() {
        "PRODUCT" => &patch.product,
        "PRODUCT_FAMILY" => &patch.product_family,
        "PATCH_SET" => &patch.patch_set,
        "CLASSIFICATION" => &patch.classification,
        "SEVERITY" | "MSRC_SEVERITY" => &patch.severity,
        "PRIORITY" => &patch.priority,
        "SECTION" => &patch.section,
        _ => return format!("its {key} is not {}", values.join(" or ")),
    };
    let has = if has.is_empty() { "none" } else { has };
    format!("its {key} is {has}, not {}", values.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ApprovalRule, BaselineSpec, Judgement, OperatingSystem, judge};

    fn rule(filters: &[(&str, &[&str])], days: u16) -> ApprovalRule {
        let filter = |(key, values): &(&str, &[&str])| PatchFilter {
            key: (*key).to_owned(),
            values: values.iter().map(|&value| value.to_owned()).collect(),
        };
        ApprovalRule {
            filters: filters.iter().map(filter).collect(),
            compliance_level: "UNSPECIFIED".to_owned(),
            approval: Some(ApprovalDate::AfterDays(days)),
            enable_non_security: false,
        }
    }

    /// The rules of AWS-AmazonLinux2DefaultPatchBaseline (S 4.2).
    fn amazon_linux_2() -> BaselineSpec {
        let security: &[(&str, &[&str])] =
            &[("CLASSIFICATION", &["Security"]), ("SEVERITY", &["Critical", "Important"])];
        BaselineSpec {
            rules: vec![rule(security, 7), rule(&[("CLASSIFICATION", &["Bugfix"])], 7)],
            ..BaselineSpec::new("test", OperatingSystem::observed("AMAZON_LINUX_2"))
        }
    }

    fn patch(classification: &str, severity: &str, released: Option<&str>) -> AvailablePatch {
        AvailablePatch {
            kb_id: "curl.x86_64".into(),
            name: "curl".into(),
            version: "8.3.0".into(),
            release: "1.amzn2".into(),
            arch: "x86_64".into(),
            classification: classification.into(),
            severity: severity.into(),
            released: released.map(|at| at.parse().unwrap()),
            from_security_source: true,
            ..AvailablePatch::default()
        }
    }

    fn explained(spec: &BaselineSpec, patch: &AvailablePatch, at: &str) -> (Verdict, String, String) {
        let found = explain(&spec.to_baseline(), patch, Undated::Unknown, at.parse().unwrap());
        (found.verdict, found.decider.to_string(), found.why)
    }

    #[test]
    fn each_verdict_names_what_decides_and_why() {
        let baseline = amazon_linux_2();
        let november = Some("2025-11-09T18:00:00Z");
        let critical = patch("Security", "Critical", november);
        // S 4.4.2, AWS's own example.
        let (verdict, by, why) = explained(&baseline, &critical, "2025-11-16T17:59:59Z");
        assert_eq!(verdict, Verdict::Pending("2025-11-16T18:00:00Z".parse().unwrap()));
        assert_eq!(by, "approval_rules[0]");
        assert!(why.contains("7 days after its release on 2025-11-09, from 2025-11-16T18:00:00Z"), "{why}");
        let (verdict, by, _) = explained(&baseline, &critical, "2025-11-16T18:00:00Z");
        assert_eq!((verdict, by.as_str()), (Verdict::Approved, "approval_rules[0]"));
        let (verdict, by, _) = explained(&baseline, &patch("Bugfix", "Low", november), "2025-12-01T00:00:00Z");
        assert_eq!((verdict, by.as_str()), (Verdict::Approved, "approval_rules[1]"));
        let (verdict, by, why) = explained(&baseline, &patch("Security", "Low", november), "2025-12-01T00:00:00Z");
        assert_eq!((verdict, by.as_str()), (Verdict::Never, ""));
        assert!(why.contains("its SEVERITY is Low, not Critical or Important"), "{why}");
        assert!(why.contains("approval_rules[1]: its CLASSIFICATION is Security, not Bugfix"), "{why}");
        // S 4.5.5.
        let mut rejecting = baseline.clone();
        rejecting.rejected_patches = vec!["curl-*".into()];
        rejecting.approved_patches = vec!["curl-8.3.0-1.amzn2.x86_64".into()];
        let (verdict, by, why) = explained(&rejecting, &critical, "2025-12-01T00:00:00Z");
        assert_eq!((verdict, by.as_str()), (Verdict::Rejected, "rejected_patches"));
        assert!(why.contains("curl-*"), "{why}");
    }

    #[test]
    fn without_a_date_a_delay_is_neither_over_nor_not() {
        let undated = patch("Security", "Critical", None);
        let baseline = amazon_linux_2();
        assert_eq!(explained(&baseline, &undated, "2025-12-01T00:00:00Z").0, Verdict::Undated);
        // S 4.4.5: a node that finds no date waits for nothing.
        let known = explain(&baseline.to_baseline(), &undated, Undated::NoDelay, Timestamp::UNIX_EPOCH + week());
        assert_eq!(known.verdict, Verdict::Approved);
        let mut at_once = baseline;
        at_once.rules[0].approval = Some(ApprovalDate::AfterDays(0));
        assert_eq!(explained(&at_once, &undated, "2025-12-01T00:00:00Z").0, Verdict::Approved);
    }

    fn week() -> jiff::SignedDuration {
        jiff::SignedDuration::from_hours(7 * 24)
    }

    /// Every combination of a few words: what is explained is what is judged.
    #[test]
    fn an_explanation_agrees_with_the_judgement() {
        let at: Timestamp = "2025-11-20T00:00:00Z".parse().unwrap();
        let mut compared = 0;
        for (approved, rejected, global) in (0..8).map(|n| (n & 1 > 0, n & 2 > 0, n & 4 > 0)) {
            let mut spec = amazon_linux_2();
            spec.rules.push(ApprovalRule {
                compliance_level: "HIGH".into(),
                approval: Some(ApprovalDate::Until(jiff::civil::date(2025, 11, 10))),
                enable_non_security: true,
                ..rule(&[("SEVERITY", &["Critical", "Medium"])], 0)
            });
            if approved {
                spec.approved_patches = vec!["curl-8*".into()];
            }
            if rejected {
                spec.rejected_patches = vec!["*.aarch64".into()];
            }
            if global {
                spec.global_filters = vec![PatchFilter { key: "SEVERITY".into(), values: vec!["Critical".into()] }];
            }
            let baseline = spec.to_baseline();
            for classification in ["Security", "Bugfix", "Enhancement"] {
                for severity in ["Critical", "Medium", "Low"] {
                    for released in [Some("2025-11-01T00:00:00Z"), Some("2025-11-15T00:00:00Z"), None] {
                        for (arch, security) in [("x86_64", true), ("aarch64", true), ("x86_64", false)] {
                            let patch = AvailablePatch {
                                arch: arch.into(),
                                from_security_source: security,
                                ..patch(classification, severity, released)
                            };
                            let explained = explain(&baseline, &patch, Undated::NoDelay, at);
                            let level = explained.compliance_level.clone();
                            let judgement = match (explained.verdict, explained.decider) {
                                (Verdict::Approved, decider) => Judgement::Approved {
                                    compliance_level: level,
                                    explicit: matches!(decider, Decider::ApprovedList(_)),
                                },
                                (Verdict::Pending(from), _) => Judgement::NotApproved { from: Some(from) },
                                (Verdict::Rejected, _) => Judgement::Rejected,
                                (Verdict::Never, _) => Judgement::NotApproved { from: None },
                                (Verdict::Undated, _) => panic!("{patch:?} has a date, or needs none"),
                            };
                            assert_eq!(judgement, judge(&baseline, &patch, at), "{patch:?}\n{spec:?}");
                            compared += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(compared, 8 * 3 * 3 * 3 * 3);
    }
}
