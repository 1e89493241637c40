//! Which instances an operation acts on, and which it leaves out and why.

use crate::{
    Error, Result,
    domain::{
        group_tags::near_miss_key,
        name::InstanceName,
        operation::{Kind, RebootOption, Spec, Target, TargetSelection, TargetState},
        plan::{Change, ChangeAction, Notice, Plan},
        readiness::eligible,
    },
};
use jiff::Timestamp;
use patchplane_aws::{Aws, NodeFilter, VmFilter};
use patchplane_rules::{GROUP_TAG_KEYS, InstanceId, Location, PatchGroupName, PowerState, Sighting, VirtualMachine};
use std::collections::{BTreeMap, BTreeSet};

/// The most tags named in a refusal.
const NEAR_MISSES: usize = 5;

/// The targets of a spec now: EC2 and Systems Manager united by id, those left out with their reason. None that is
/// eligible: FAILED_PRECONDITION NO_TARGETS, naming tags that nearly match.
pub(crate) async fn resolve(aws: &Aws, spec: &Spec, now: Timestamp) -> Result<Vec<Target>> {
    let selection = &spec.targets;
    let ids: Vec<InstanceId> = candidates(aws, selection).await?.into_iter().collect();
    let seen = aws.sightings(&ids).await?;
    let targets: Vec<Target> = seen.into_iter().map(|(id, seen)| target(id, &seen, selection, now)).collect();
    let eligible = targets.iter().filter(|target| target.state == TargetState::Pending).count();
    if eligible == 0 {
        return Err(no_targets(aws, selection, &targets).await);
    }
    if eligible > spec.max_targets {
        return Err(Error::Precondition {
            reason: "TOO_MANY_TARGETS",
            message: format!(
                "{eligible} instances are eligible, and max_targets is {}; name fewer, or raise max_targets",
                spec.max_targets
            ),
            subject: "patch_operation.max_targets".into(),
        });
    }
    Ok(targets)
}

/// The union of what is named, exclusions included: they are shown as left out.
pub(crate) async fn candidates(aws: &Aws, selection: &TargetSelection) -> Result<BTreeSet<InstanceId>> {
    let mut ids: BTreeSet<InstanceId> = selection.instance_ids.iter().cloned().collect();
    if selection.all_managed {
        ids.extend(aws.nodes(&NodeFilter::All).await?.into_iter().map(|node| node.id));
    }
    let groups =
        selection.patch_groups.iter().flat_map(|group| GROUP_TAG_KEYS.map(|key| (key.to_owned(), group.to_string())));
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in groups.chain(selection.tags.iter().cloned()) {
        values.entry(key).or_default().push(value);
    }
    for (key, values) in values {
        let gone = |vm: &VirtualMachine| matches!(vm.state, PowerState::Terminated | PowerState::ShuttingDown);
        let tagged = aws.vms(&VmFilter::Tag { key: key.clone(), values: values.clone() }).await?;
        ids.extend(tagged.into_iter().filter(|vm| !gone(vm)).map(|vm| vm.id));
        // Systems Manager takes one tag filter a call; EC2 instances were found above.
        for value in values {
            let tagged = aws.nodes(&NodeFilter::Tag { key: key.clone(), value }).await?;
            ids.extend(tagged.into_iter().map(|node| node.id).filter(InstanceId::is_hybrid));
        }
    }
    Ok(ids)
}

fn target(id: InstanceId, seen: &Sighting, selection: &TargetSelection, now: Timestamp) -> Target {
    let named = selection.instance_ids.contains(&id);
    let mut target = Target::pending(id, named, now);
    if selection.excluded.contains(&target.instance_id) {
        target.become_(TargetState::Skipped, "EXCLUDED", "the caller excluded it", now);
        return target;
    }
    match eligible(seen) {
        Ok(os) => target.operating_system = Some(os),
        Err(obstacle) => {
            target.become_(TargetState::Skipped, obstacle.code().as_str(), obstacle.evidence(), now);
        }
    }
    target
}

async fn no_targets(aws: &Aws, selection: &TargetSelection, left_out: &[Target]) -> Error {
    let mut message = "no eligible instance was found".to_owned();
    let reasons: Vec<String> = left_out
        .iter()
        .take(NEAR_MISSES)
        .map(|target| format!("{} is left out as {}: {}", target.instance_id, target.reason, target.explanation))
        .collect();
    if !reasons.is_empty() {
        message = format!("{message}; {}", reasons.join("; "));
    }
    // The search for near misses is a courtesy: without it the refusal stands all the same.
    let near = match aws.vms(&VmFilter::All).await {
        Ok(vms) => near_misses(&vms, selection),
        Err(_) => Vec::new(),
    };
    if !near.is_empty() {
        message = format!("{message}; near misses: {}", near.join(", "));
    }
    Error::Precondition { reason: "NO_TARGETS", message, subject: "patch_operation.targets".into() }
}

/// Tags that look like what was asked for: a key that is nearly the group's, or a value that is nearly the group.
pub(crate) fn near_misses(vms: &[VirtualMachine], selection: &TargetSelection) -> Vec<String> {
    let mut wanted: Vec<(String, String)> = selection.tags.clone();
    for group in &selection.patch_groups {
        wanted.push((GROUP_TAG_KEYS[0].to_owned(), group.to_string()));
    }
    let mut found = BTreeSet::new();
    for vm in vms.iter().filter(|vm| vm.state != PowerState::Terminated) {
        for (key, value) in &vm.tags {
            for (wanted_key, wanted_value) in &wanted {
                let key_fits = key == wanted_key
                    || GROUP_TAG_KEYS.contains(&key.as_str()) && GROUP_TAG_KEYS.contains(&wanted_key.as_str());
                let key_near = key_fits
                    || near_miss_key(key) && GROUP_TAG_KEYS.contains(&wanted_key.as_str())
                    || key.eq_ignore_ascii_case(wanted_key);
                let value_near =
                    value.eq_ignore_ascii_case(wanted_value) || strsim::jaro_winkler(value, wanted_value) > 0.87;
                if key_near && value_near && !(key_fits && value == wanted_value) {
                    found.insert(format!("tag `{key}` = `{value}` on {}", vm.id));
                }
            }
        }
    }
    found.into_iter().take(NEAR_MISSES).collect()
}

/// What an operation does to these targets.
pub(crate) fn plan(location: &Location, spec: &Spec, targets: &[Target]) -> Plan {
    let run = match (spec.kind, spec.reboot_option) {
        (Kind::Scan, _) => "Scan".to_owned(),
        (Kind::Reboot, _) => "Reboot".to_owned(),
        (Kind::Install, Some(RebootOption::NoReboot)) => "Install, NoReboot".to_owned(),
        (Kind::Install, _) => "Install, RebootIfNeeded".to_owned(),
    };
    let changes: Vec<Change> = targets
        .iter()
        .map(|target| {
            let pending = target.state == TargetState::Pending;
            Change {
                resource: InstanceName { location: location.clone(), id: target.instance_id.clone() }.to_string(),
                action: if pending { ChangeAction::Run } else { ChangeAction::Skip },
                field: String::new(),
                before: String::new(),
                after: if pending { run.clone() } else { format!("{}: {}", target.reason, target.explanation) },
                aws_operation: if pending { "ssm:SendCommand" } else { "" },
            }
        })
        .collect();
    let target_count = targets.iter().filter(|target| target.state == TargetState::Pending).count();
    let mut notices = Vec::new();
    if target_count < targets.len() {
        let message = format!("{} of {} instances are left out", targets.len() - target_count, targets.len());
        notices.push(Notice { code: "LEFT_OUT", message });
    }
    Plan { changes, notices, target_count }
}

/// Groups that were named and have no baseline for any of these targets: the defaults apply there, silently. When AWS does
/// not say what is registered, neither do we: it is a courtesy, and nothing hangs on it.
pub(crate) async fn groups_without_baseline(aws: &Aws, spec: &Spec, targets: &[Target]) -> Vec<Notice> {
    let groups = &spec.targets.patch_groups;
    let systems: BTreeSet<_> = targets.iter().filter_map(|target| target.operating_system.as_ref()).collect();
    if groups.is_empty() || systems.is_empty() || spec.kind == Kind::Reboot {
        return Vec::new();
    }
    let Ok(mappings) = aws.group_mappings().await else { return Vec::new() };
    let has_one = |group: &PatchGroupName| {
        mappings.iter().any(|mapping| mapping.group == *group && systems.contains(&mapping.baseline.operating_system))
    };
    let names: Vec<&str> = systems.iter().map(|system| system.as_str()).collect();
    let without = groups.iter().filter(|group| !has_one(group));
    without
        .map(|group| Notice {
            code: "GROUP_WITHOUT_BASELINE",
            message: format!(
                "the group `{group}` has no baseline for {}, so that the default applies; AttachBaseline gives it one",
                names.join(" or ")
            ),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(id: &str, key: &str, value: &str) -> VirtualMachine {
        VirtualMachine {
            tags: BTreeMap::from([(key.to_owned(), value.to_owned())]),
            ..VirtualMachine::new(id.parse().unwrap(), PowerState::Running)
        }
    }

    #[test]
    fn near_misses_are_keys_and_values_that_look_alike() {
        let fleet = [
            vm("i-00000000000000001", "patch group", "web"),
            vm("i-00000000000000002", "Patch Group", "Web"),
            vm("i-00000000000000003", "Patch Group", "database"),
            vm("i-00000000000000004", "Name", "web"),
        ];
        let selection = TargetSelection { patch_groups: vec!["web".parse().unwrap()], ..TargetSelection::default() };
        let near = near_misses(&fleet, &selection);
        assert_eq!(near.len(), 2, "{near:?}");
        assert!(near.iter().any(|text| text.contains("`patch group` = `web`")), "{near:?}");
        assert!(near.iter().any(|text| text.contains("`Patch Group` = `Web`")), "{near:?}");
    }
}
