//! What a baseline would do: its verdict on every patch that a source tells of, compared with another's, and what that
//! means for one instance. Pure: what was read goes in.

use jiff::Timestamp;
use patchplane_rules::{
    AvailablePatch, Baseline, Explanation, InstancePatch, PatchFilter, PatchState, Undated, Verdict, compare_versions,
    explain,
};
use std::collections::{BTreeMap, BTreeSet};

/// Where a verdict is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// AWS's own evaluation of an existing Windows baseline.
    AwsEffective,
    /// Our evaluation of AWS's catalogue.
    Catalogue,
    /// Our evaluation of an advisory file of the operators.
    AdvisoryFeed,
    /// Our evaluation of what instances reported.
    Fleet,
}

/// A patch with what a baseline makes of it, and another one if asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub patch: AvailablePatch,
    pub basis: Basis,
    pub found: Explanation,
    /// From when it is approved, where that is known.
    pub approval: Option<Timestamp>,
    pub compared: Option<Explanation>,
}

/// How many patches got which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub approved: usize,
    pub pending: usize,
    pub undated: usize,
    pub rejected: usize,
    pub never: usize,
}

/// What would change on one instance: titles of patches that it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceImpact {
    pub newly_missing: Vec<String>,
    pub no_longer_missing: Vec<String>,
}

impl Row {
    /// Whether one of the two approves it now, and the other does not.
    pub fn differs(&self) -> bool {
        let approves = |found: &Explanation| found.verdict == Verdict::Approved;
        self.compared.as_ref().is_some_and(|compared| {
            approves(compared) != approves(&self.found)
                // Without a date, "perhaps" against "no" is a difference, too.
                || (compared.verdict == Verdict::Undated) != (self.found.verdict == Verdict::Undated)
        })
    }
}

impl Counts {
    pub fn of<'a>(found: impl IntoIterator<Item = &'a Explanation>) -> Self {
        let mut counts = Self::default();
        for Explanation { verdict, .. } in found {
            *match verdict {
                Verdict::Approved => &mut counts.approved,
                Verdict::Pending(_) => &mut counts.pending,
                Verdict::Undated => &mut counts.undated,
                Verdict::Rejected => &mut counts.rejected,
                Verdict::Never => &mut counts.never,
            } += 1;
        }
        counts
    }
}

/// Judges patches by a baseline, and by another one if there is one.
pub fn rows(
    patches: Vec<AvailablePatch>,
    baseline: &Baseline,
    other: Option<&Baseline>,
    basis: Basis,
    undated: Undated,
    at: Timestamp,
) -> Vec<Row> {
    let row = |patch: AvailablePatch| {
        let found = explain(baseline, &patch, undated, at);
        let approval = match found.verdict {
            Verdict::Pending(from) => Some(from),
            _ => None,
        };
        let compared = other.map(|other| explain(other, &patch, undated, at));
        Row { patch, basis, found, approval, compared }
    };
    patches.into_iter().map(row).collect()
}

/// Approved first, then pending, undated, rejected, and what nothing admits; within these by name.
pub fn sort(rows: &mut [Row]) {
    let rank = |row: &Row| match row.found.verdict {
        Verdict::Approved => 0,
        Verdict::Pending(_) => 1,
        Verdict::Undated => 2,
        Verdict::Rejected => 3,
        Verdict::Never => 4,
    };
    let key = |row: &Row| (rank(row), row.patch.kb_id.clone(), row.patch.title.clone(), row.patch.product.clone());
    rows.sort_by_cached_key(key);
}

/// The filters' keys of which these patches tell nothing at all. A filter on them would keep out every patch.
pub fn untold(patches: &[AvailablePatch], baseline: &Baseline) -> BTreeSet<String> {
    let told = |key: &str| {
        patches.iter().any(|patch| match key {
            "PRODUCT" => !patch.product.is_empty(),
            "PRODUCT_FAMILY" => !patch.product_family.is_empty(),
            "PATCH_SET" => !patch.patch_set.is_empty(),
            "CLASSIFICATION" => !patch.classification.is_empty(),
            "SEVERITY" | "MSRC_SEVERITY" => !patch.severity.is_empty(),
            "PRIORITY" => !patch.priority.is_empty(),
            "SECTION" => !patch.section.is_empty(),
            _ => true,
        })
    };
    let filters = baseline.rules.iter().flat_map(|rule| &rule.filters).chain(&baseline.global_filters);
    let narrow = filters.filter(|filter| !filter.values.iter().any(|value| value == "*"));
    narrow.filter(|filter| !told(&filter.key)).map(|filter| filter.key.clone()).collect()
}

/// The baseline with filters on these keys opened to all.
pub fn opened(baseline: &Baseline, keys: &BTreeSet<String>) -> Baseline {
    let open = |filter: &mut PatchFilter| {
        if keys.contains(&filter.key) {
            filter.values = vec!["*".to_owned()];
        }
    };
    let mut opened = baseline.clone();
    opened.global_filters.iter_mut().for_each(open);
    opened.rules.iter_mut().flat_map(|rule| &mut rule.filters).for_each(open);
    opened
}

/// A reported patch as a baseline sees it. `None`: it is in no baseline, so that nothing is told of it (S 8.1.2).
pub fn as_available(patch: &InstancePatch, windows: bool) -> Option<AvailablePatch> {
    if patch.classification.is_empty() && patch.severity.is_empty() {
        return None;
    }
    let mut available = AvailablePatch {
        kb_id: patch.kb_id.clone(),
        title: patch.title.clone(),
        name: patch.kb_id.clone(),
        classification: patch.classification.clone(),
        severity: patch.severity.clone(),
        cve_ids: patch.cve_ids.clone(),
        from_security_source: true,
        ..AvailablePatch::default()
    };
    if windows {
        "OS".clone_into(&mut available.patch_set);
    } else if let Some(package) = package(&patch.title) {
        let AvailablePatch { name, epoch, version, release, arch, .. } = package;
        available = AvailablePatch { name, epoch, version, release, arch, ..available };
    }
    Some(available)
}

/// `name.arch:epoch:version-release` taken apart (S 8.1.3).
fn package(title: &str) -> Option<AvailablePatch> {
    let mut parts = title.splitn(3, ':');
    let (name, arch) = parts.next()?.rsplit_once('.')?;
    let epoch = parts.next()?;
    let (version, release) = parts.next()?.split_once('-')?;
    let own = str::to_owned;
    let (name, arch) = (own(name), own(arch));
    Some(AvailablePatch {
        kb_id: format!("{name}.{arch}"),
        name,
        arch,
        epoch: own(epoch),
        version: own(version),
        release: own(release),
        ..AvailablePatch::default()
    })
}

/// What an instance that reported `reported` would be told to install by the previewed baseline and is not by the one that
/// it has, and the other way round. `rows` are the previewed verdicts; those on the patches of `current` are alike.
pub fn impact(
    reported: &[InstancePatch],
    rows: &[Row],
    previewed: &Baseline,
    current: &Baseline,
    undated: Undated,
    at: Timestamp,
) -> InstanceImpact {
    let windows = current.summary.operating_system.as_str() == "WINDOWS";
    let same = |row: &&Row, patch: &InstancePatch| {
        row.patch.kb_id == patch.kb_id && (windows || row.patch.title == patch.title)
    };
    let mut before: BTreeMap<String, AvailablePatch> = BTreeMap::new();
    let mut after = before.clone();
    let keep = |side: &mut BTreeMap<String, AvailablePatch>, patch: &AvailablePatch| {
        // Of several approved versions of a package the newest (S 4.7.7).
        if side.get(&patch.kb_id).is_none_or(|best| compare_versions(patch, best).is_gt()) {
            side.insert(patch.kb_id.clone(), patch.clone());
        }
    };
    // Undated patches stay as they are: nobody knows.
    let approves = |verdict: Verdict, now: bool| match verdict {
        Verdict::Approved => true,
        Verdict::Undated => now,
        _ => false,
    };
    for patch in reported {
        let lacking =
            matches!(patch.state, PatchState::Missing | PatchState::Failed | PatchState::AvailableSecurityUpdate);
        if !lacking {
            continue;
        }
        let now = patch.state != PatchState::AvailableSecurityUpdate;
        let row = rows.iter().find(|row| same(row, patch));
        let Some(available) = row.map(|row| row.patch.clone()).or_else(|| as_available(patch, windows)) else {
            continue;
        };
        let verdict = row.map_or_else(|| explain(previewed, &available, undated, at).verdict, |row| row.found.verdict);
        if now {
            keep(&mut before, &available);
        }
        if approves(verdict, now) {
            keep(&mut after, &available);
        }
    }
    let has = [PatchState::Installed, PatchState::InstalledOther, PatchState::InstalledPendingReboot];
    let installed: BTreeMap<String, AvailablePatch> = reported
        .iter()
        .filter(|patch| !windows && has.contains(&patch.state))
        .filter_map(|patch| package(&patch.title).map(|package| (patch.kb_id.clone(), package)))
        .collect();
    for row in rows {
        let newer = installed.get(&row.patch.kb_id).is_some_and(|own| compare_versions(&row.patch, own).is_gt());
        if !newer || reported.iter().any(|patch| same(&row, patch)) {
            continue;
        }
        let now = explain(current, &row.patch, undated, at).verdict == Verdict::Approved;
        if now {
            keep(&mut before, &row.patch);
        }
        if approves(row.found.verdict, now) {
            keep(&mut after, &row.patch);
        }
    }
    let titles = |side: BTreeMap<String, AvailablePatch>| -> BTreeSet<String> {
        side.into_values().map(|patch| patch.title).collect()
    };
    let (before, after) = (titles(before), titles(after));
    InstanceImpact {
        newly_missing: after.difference(&before).cloned().collect(),
        no_longer_missing: before.difference(&after).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchplane_rules::{ApprovalDate, ApprovalRule, BaselineSpec, OperatingSystem};

    fn baseline(severities: &[&str]) -> Baseline {
        let rule = ApprovalRule {
            filters: vec![
                PatchFilter { key: "PRODUCT".into(), values: vec!["AmazonLinux2".into()] },
                PatchFilter { key: "SEVERITY".into(), values: severities.iter().map(|&s| s.into()).collect() },
            ],
            compliance_level: "UNSPECIFIED".into(),
            approval: Some(ApprovalDate::AfterDays(0)),
            enable_non_security: false,
        };
        let os = OperatingSystem::observed("AMAZON_LINUX_2");
        BaselineSpec { rules: vec![rule], ..BaselineSpec::new("test", os) }.to_baseline()
    }

    fn reported(title: &str, severity: &str, state: PatchState) -> InstancePatch {
        InstancePatch {
            title: title.into(),
            kb_id: title.split(':').next().unwrap().into(),
            classification: if severity.is_empty() { "" } else { "Security" }.into(),
            severity: severity.into(),
            state,
            installed_time: None,
            cve_ids: vec![],
        }
    }

    #[test]
    fn what_a_source_does_not_tell_is_not_held_against_its_patches() {
        let patch = as_available(&reported("curl.x86_64:0:8.3.0-1.amzn2", "Low", PatchState::Missing), false).unwrap();
        assert_eq!((patch.name.as_str(), patch.version.as_str(), patch.release.as_str()), ("curl", "8.3.0", "1.amzn2"));
        let patches = [patch];
        let keys = untold(&patches, &baseline(&["Low"]));
        assert_eq!(keys.iter().map(String::as_str).collect::<Vec<_>>(), ["PRODUCT"]);
        let at = Timestamp::UNIX_EPOCH;
        let judged = |baseline: &Baseline| {
            rows(patches.to_vec(), baseline, None, Basis::Fleet, Undated::Unknown, at)[0].found.verdict
        };
        assert_eq!(judged(&baseline(&["Low"])), Verdict::Never);
        assert_eq!(judged(&opened(&baseline(&["Low"]), &keys)), Verdict::Approved);
        assert_eq!(judged(&opened(&baseline(&["Critical"]), &keys)), Verdict::Never);
    }

    #[test]
    fn an_instance_loses_what_is_not_approved_any_more_and_gains_what_is_newer_than_its_own() {
        let offer = |name: &str, version: &str, severity: &str| AvailablePatch {
            kb_id: format!("{name}.x86_64"),
            title: format!("{name}.x86_64:0:{version}-1.amzn2"),
            version: version.into(),
            release: "1.amzn2".into(),
            epoch: "0".into(),
            product: "AmazonLinux2".into(),
            classification: "Security".into(),
            severity: severity.into(),
            from_security_source: true,
            ..AvailablePatch::default()
        };
        let (now, then) = (baseline(&["Critical"]), baseline(&["Low"]));
        let offers = vec![offer("curl", "2", "Critical"), offer("zlib", "2", "Low"), offer("vim", "2", "Low")];
        let rows = rows(offers, &then, None, Basis::Catalogue, Undated::NoDelay, Timestamp::UNIX_EPOCH);
        let reports = [
            reported("curl.x86_64:0:2-1.amzn2", "Critical", PatchState::Missing),
            reported("zlib.x86_64:0:1-1.amzn2", "", PatchState::InstalledOther),
            reported("vim.x86_64:0:3-1.amzn2", "", PatchState::InstalledOther),
        ];
        let impact = impact(&reports, &rows, &then, &now, Undated::NoDelay, Timestamp::UNIX_EPOCH);
        assert_eq!(impact.newly_missing, ["zlib.x86_64:0:2-1.amzn2"]);
        assert_eq!(impact.no_longer_missing, ["curl.x86_64:0:2-1.amzn2"]);
    }
}
