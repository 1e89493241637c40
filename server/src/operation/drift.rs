//! Whether later batches of an operation got what earlier ones could not have.
//!
//! Looked at when a target of a second or later batch has been judged. Calls of AWS, with R rows of patches a node: ⌈R/100⌉
//! for each such target on which something was installed, and as many for one target of the first batch in each look, system
//! and baseline. Nothing for scans, for operations of one batch, for Windows, and for what had nothing missing.

use super::verify::passes;
use crate::{
    Result,
    domain::{
        operation::{DispatchOutcome, Kind, Target, TargetState},
        outcome::Drift,
    },
    store::Saved,
};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::Aws;
use patchplane_rules::{InstanceId, InstancePatch, newer_builds};
use std::collections::HashMap;

/// How far an instance's clock may be behind ours: AWS refuses its agent's signatures beyond (S 1.5).
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

/// What a target is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparison {
    batch: u32,
    /// Not before this it got what this operation installed.
    since: Timestamp,
    earlier: InstanceId,
}

/// Reads what the targets that were just judged have got, and records on the operation what is drift. `saved` holds them
/// as they were judged. One that ends after all of a later batch is compared with nobody.
pub(super) async fn record(aws: &Aws, saved: &mut Saved, judged: &[Target]) -> Result<()> {
    let mut read: HashMap<InstanceId, Vec<InstancePatch>> = HashMap::new();
    for target in judged {
        let Some(Comparison { batch, since, earlier }) = compare(saved, target) else { continue };
        let Some(got) = patches(aws, &target.instance_id).await? else { continue };
        if !got.iter().any(|patch| patch.installed_time >= Some(since)) {
            continue;
        }
        if !read.contains_key(&earlier)
            && let Some(held) = patches(aws, &earlier).await?
        {
            read.insert(earlier.clone(), held);
        }
        let titles = read.get(&earlier).map(|held| newer_builds(&got, since, held)).unwrap_or_default();
        add(&mut saved.operation.drift, target, batch, titles);
    }
    Ok(())
}

/// `None`: AWS refuses to tell, and a target's outcome does not wait for it.
async fn patches(aws: &Aws, id: &InstanceId) -> Result<Option<Vec<InstancePatch>>> {
    match aws.instance_patches(id).await {
        Ok(patches) => Ok(Some(patches)),
        Err(error) if passes(error.kind) => Err(error.into()),
        Err(error) => {
            tracing::warn!(instance.id = %id, %error, "batches are not compared with each other");
            Ok(None)
        }
    }
}

/// With whom a target is compared: one of its system and baseline that succeeded in the earliest batch before its own.
fn compare(saved: &Saved, target: &Target) -> Option<Comparison> {
    let sent = || saved.dispatches.iter().filter(|send| matches!(send.outcome, DispatchOutcome::Sent { .. }));
    // As callers count: only what AWS took.
    let batch_of = |id: &InstanceId| (1..).zip(sent()).filter(|(_, send)| send.instance_ids.contains(id)).last();
    let batch_of = |id: &InstanceId| batch_of(id).map(|(batch, _)| batch);
    let (system, report) = (target.operating_system.as_ref()?, target.after.as_ref()?);
    let changed = target.before.as_ref().is_none_or(|before| before.missing > 0 || before.failed > 0);
    if saved.operation.spec.kind != Kind::Install || !changed || system.as_str() == "WINDOWS" {
        return None;
    }
    let batch = batch_of(&target.instance_id)?;
    let alike = saved.targets.iter().filter(|other| {
        other.state == TargetState::Succeeded
            && other.operating_system.as_ref() == Some(system)
            && other.after.as_ref().is_some_and(|other| other.baseline_id == report.baseline_id)
    });
    let earlier = alike.filter_map(|other| Some((batch_of(&other.instance_id)?, &other.instance_id)));
    let (_, earlier) = earlier.filter(|(of, _)| *of < batch).min()?;
    let since = target.dispatch_time?.checked_sub(CLOCKS).ok()?;
    Some(Comparison { batch, since, earlier: earlier.clone() })
}

/// Adds what is not recorded yet of the target's system and baseline.
fn add(drift: &mut Vec<Drift>, target: &Target, batch: u32, mut titles: Vec<String>) {
    let (Some(system), Some(report)) = (&target.operating_system, &target.after) else { return };
    let alike = |drift: &Drift| drift.operating_system == *system && drift.baseline_id == report.baseline_id;
    titles.retain(|title| !drift.iter().any(|entry| alike(entry) && entry.titles.contains(title)));
    if titles.is_empty() {
        return;
    }
    let at = drift.iter().position(|entry| alike(entry) && entry.batch == batch).unwrap_or_else(|| {
        let (operating_system, baseline_id) = (system.clone(), report.baseline_id.clone());
        drift.push(Drift { operating_system, baseline_id, batch, titles: Vec::new() });
        drift.len() - 1
    });
    let known = &mut drift[at].titles;
    known.append(&mut titles);
    known.sort();
    known.truncate(Drift::MOST_TITLES);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::operation::Dispatch;
    use crate::operation::tests::{after, id, report, saved};
    use patchplane_rules::OperatingSystem;

    /// An installation of batches of one instance each, all of one system and baseline, all succeeded with one patch.
    fn succeeded(batches: u32) -> Saved {
        let mut saved = saved(Kind::Install, batches as usize);
        for (batch, target) in (1..).zip(&mut saved.targets) {
            target.operating_system = Some(OperatingSystem::observed("AMAZON_LINUX_2"));
            target.dispatch_time = Some(after(1000));
            target.before = Some(report("Scan", "other", 1, 1));
            target.after = Some(report("Install", "ours", 1100, 0));
            target.become_(TargetState::Succeeded, "", "", after(1200));
            saved.dispatches.push(Dispatch {
                batch,
                attempt: 1,
                marker: String::new(),
                instance_ids: vec![target.instance_id.clone()],
                timeout_s: 600,
                snapshot_id: String::new(),
                signed_at: after(1000),
                outcome: DispatchOutcome::Sent { command_id: format!("c-{batch}"), expires_after: None },
            });
        }
        saved
    }

    #[test]
    fn a_target_is_compared_with_one_of_the_first_batch_of_its_system_and_baseline() {
        let saved = succeeded(3);
        let mut saved = saved;
        // A send that AWS refused is no batch.
        let refused =
            Dispatch { outcome: DispatchOutcome::Refused { error: String::new() }, ..saved.dispatches[1].clone() };
        saved.dispatches.insert(1, refused);
        let third = compare(&saved, &saved.targets[2]).unwrap();
        // Five minutes before the send: the instance's clock may be that far behind.
        assert_eq!(third, Comparison { batch: 3, since: after(700), earlier: id(0) });
        assert_eq!(compare(&saved, &saved.targets[0]), None, "nothing is earlier than the first batch");

        type Change = fn(&mut Saved);
        let changes: [(&str, Change, Option<InstanceId>); 7] = [
            ("a scan", |saved| saved.operation.spec.kind = Kind::Scan, None),
            ("Windows", |saved| saved.targets[2].operating_system = Some(OperatingSystem::observed("WINDOWS")), None),
            ("nothing was missing", |saved| saved.targets[2].before = Some(report("Scan", "other", 1, 0)), None),
            ("nothing is known of before", |saved| saved.targets[2].before = None, Some(id(0))),
            ("the first of another system", |saved| saved.targets[0].operating_system = None, Some(id(1))),
            ("the first failed", |saved| saved.targets[0].state = TargetState::Failed, Some(id(1))),
            (
                "the first of another baseline",
                |saved| saved.targets[0].after.as_mut().unwrap().baseline_id = "pb-1".to_owned(),
                Some(id(1)),
            ),
        ];
        for (what, change, earlier) in changes {
            let mut saved = succeeded(3);
            change(&mut saved);
            let found = compare(&saved, &saved.targets[2]).map(|comparison| comparison.earlier);
            assert_eq!(found, earlier, "{what}");
        }
    }

    #[test]
    fn each_title_is_recorded_once_with_the_first_batch_that_got_it() {
        let saved = succeeded(3);
        let mut drift = Vec::new();
        let titles = |titles: &[&str]| titles.iter().map(|&title| title.to_owned()).collect::<Vec<_>>();
        add(&mut drift, &saved.targets[1], 2, titles(&["b", "a"]));
        add(&mut drift, &saved.targets[1], 2, titles(&["c", "a"]));
        add(&mut drift, &saved.targets[2], 3, titles(&["a"]));
        add(&mut drift, &saved.targets[2], 3, titles(&["d"]));
        let found: Vec<_> = drift.iter().map(|entry| (entry.batch, entry.titles.join(""))).collect();
        assert_eq!(found, [(2, "abc".to_owned()), (3, "d".to_owned())]);
        let many: Vec<String> = (0..1000).map(|n| format!("t{n}")).collect();
        add(&mut drift, &saved.targets[2], 3, many);
        assert_eq!(drift[1].titles.len(), Drift::MOST_TITLES);
    }
}
