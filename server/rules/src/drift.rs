//! Builds that one node got and another, patched before it by the same rules, could not have.

use crate::{AvailablePatch, InstancePatch, PatchState, compare_versions};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The titles that a node installed since `since` and of which another holds an older build, though its own run left
/// nothing missing: that build was not offered or not approved yet. Packages that the other does not hold tell nothing. For
/// Linux and macOS; on Windows the snapshot freezes the approved list itself (S 7.1.6).
pub fn newer_builds(got: &[InstancePatch], since: Timestamp, earlier: &[InstancePatch]) -> Vec<String> {
    let mut held: BTreeMap<&str, AvailablePatch> = BTreeMap::new();
    for patch in earlier.iter().filter(|patch| is_installed(&patch.state)) {
        let Some(build) = build(patch) else { continue };
        // Of a package that is there in several builds, such as the kernel, the newest counts.
        let newest = held.entry(&patch.kb_id).or_insert_with(|| build.clone());
        if compare_versions(&build, newest).is_gt() {
            *newest = build;
        }
    }
    let new = got.iter().filter(|patch| is_installed(&patch.state) && patch.installed_time >= Some(since));
    let newer = new.filter(|patch| {
        let (Some(build), Some(other)) = (build(patch), held.get(patch.kb_id.as_str())) else { return false };
        compare_versions(&build, other).is_gt()
    });
    newer.map(|patch| patch.title.clone()).collect()
}

fn is_installed(state: &PatchState) -> bool {
    matches!(state, PatchState::Installed | PatchState::InstalledOther | PatchState::InstalledPendingReboot)
}

/// From a title such as `name.arch:epoch:version-release` (S 8.1.3); `None`: it is not of that form.
fn build(patch: &InstancePatch) -> Option<AvailablePatch> {
    let build = patch.title.strip_prefix(&patch.kb_id)?.strip_prefix(':')?;
    let (epoch, build) = build.split_once(':')?;
    let (version, release) = build.rsplit_once('-').unwrap_or((build, ""));
    Some(AvailablePatch {
        epoch: epoch.to_owned(),
        version: version.to_owned(),
        release: release.to_owned(),
        ..AvailablePatch::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(kb_id: &str, build: &str, state: PatchState, day: i8) -> InstancePatch {
        InstancePatch {
            title: format!("{kb_id}:{build}"),
            kb_id: kb_id.to_owned(),
            classification: String::new(),
            severity: String::new(),
            state,
            installed_time: format!("2026-01-{day:02}T00:00:00Z").parse().ok(),
            cve_ids: vec![],
        }
    }

    #[test]
    fn only_what_was_got_in_this_run_and_is_newer_than_the_others_build_counts() {
        // Titles: S 8.1.3.
        let since: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
        let earlier = [
            patch("kernel.x86_64", "0:4.14.350-266.564.amzn2", PatchState::Installed, 1),
            patch("kernel.x86_64", "0:4.14.352-267.564.amzn2", PatchState::Installed, 9),
            patch("curl.x86_64", "0:8.3.0-1.amzn2.0.7", PatchState::Installed, 1),
            patch("openssl.x86_64", "1:1.0.2k-24.amzn2.0.14", PatchState::Missing, 1),
        ];
        use PatchState::{Failed, Installed, InstalledOther, InstalledPendingReboot};
        for (kb_id, build, state, day, drifts) in [
            ("curl.x86_64", "0:8.3.0-1.amzn2.0.8", Installed, 10, true),
            ("curl.x86_64", "0:8.3.0-1.amzn2.0.8", InstalledOther, 11, true),
            ("curl.x86_64", "1:7.0-1", InstalledPendingReboot, 11, true),
            // There before this run, not installed, the same build, an older one.
            ("curl.x86_64", "0:8.3.0-1.amzn2.0.8", Installed, 9, false),
            ("curl.x86_64", "0:8.3.0-1.amzn2.0.8", Failed, 11, false),
            ("curl.x86_64", "0:8.3.0-1.amzn2.0.7", Installed, 11, false),
            ("curl.x86_64", "0:8.2.0-9", Installed, 11, false),
            // Against the newest of several.
            ("kernel.x86_64", "0:4.14.352-267.564.amzn2", Installed, 11, false),
            ("kernel.x86_64", "0:4.14.353-1.amzn2", Installed, 11, true),
            // The other does not hold it; it has another title.
            ("openssl.x86_64", "1:1.0.2k-24.amzn2.0.15", Installed, 11, false),
            ("vim.x86_64", "2:9.0-1", Installed, 11, false),
            ("curl.x86_64", "no build", Installed, 11, false),
        ] {
            let got = [patch(kb_id, build, state.clone(), day)];
            let found = newer_builds(&got, since, &earlier);
            assert_eq!(!found.is_empty(), drifts, "{kb_id} {build} {state:?} on day {day}");
        }
    }
}
