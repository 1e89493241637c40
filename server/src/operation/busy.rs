//! What keeps instances from being patched now: freezes, and runs that others have started.

use super::{Inner, dispatch::marker_of};
use crate::{
    Result,
    domain::{freeze::Freeze, operation::Operation},
};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::{Aws, ErrorKind};
use patchplane_rules::InstanceId;
use std::collections::{BTreeMap, HashMap};

/// How old a patch command of others can be and still run: delivery and execution fit well into it (S 6.1.17).
const LONGEST_RUN: SignedDuration = SignedDuration::from_hours(6);

/// Which of these instances a freeze covers, and why. Their tags are asked for only when a freeze goes by tags.
pub(super) async fn frozen(
    aws: &Aws,
    operation: &Operation,
    instance_ids: &[InstanceId],
    freezes: &[Freeze],
    now: Timestamp,
) -> Result<HashMap<InstanceId, String>> {
    let here = |freeze: &&Freeze| freeze.is_active(now) && freeze.scope.concerns(&operation.location);
    let active: Vec<&Freeze> = freezes.iter().filter(here).collect();
    if active.is_empty() || operation.spec.override_freeze {
        return Ok(HashMap::new());
    }
    let mut tags = BTreeMap::new();
    if active.iter().any(|freeze| freeze.scope.goes_by_tags()) {
        tags = aws.sightings(instance_ids).await?.into_iter().map(|(id, seen)| (id, seen.tags)).collect();
    }
    let untagged = BTreeMap::new();
    let found = instance_ids.iter().filter_map(|id| {
        let tags = tags.get(id).unwrap_or(&untagged);
        let freeze = active.iter().find(|freeze| freeze.scope.covers(tags))?;
        Some((id.clone(), freeze.to_string()))
    });
    Ok(found.collect())
}

/// Which of these instances a patch command of others works on at this moment, and which command. Others may start one right
/// after we looked: AWS offers no lock.
pub(super) async fn elsewhere(
    inner: &Inner,
    aws: &Aws,
    instance_ids: &[InstanceId],
    now: Timestamp,
) -> Result<HashMap<InstanceId, String>> {
    let ours = marker_of(inner);
    let mut busy = HashMap::new();
    let since = now.checked_sub(LONGEST_RUN).unwrap_or(now);
    let commands = aws.all_patch_commands_since(since).await?;
    for command in commands.iter().filter(|command| !command.ended && !command.comment.starts_with(&ours)) {
        let invocations = match aws.invocations(&command.command_id).await {
            Err(error) if error.kind == ErrorKind::UnknownCommand => continue,
            invocations => invocations?,
        };
        // Right after it was sent AWS may show no invocation yet (S 1.25): the ids it was sent to count until it does.
        let ended = |id: &InstanceId| {
            invocations.iter().any(|invocation| invocation.instance_id == *id && invocation.status.is_terminal())
        };
        let reached = invocations.iter().map(|invocation| &invocation.instance_id).chain(&command.instance_ids);
        for id in reached.filter(|id| instance_ids.contains(id) && !ended(id)) {
            busy.insert(id.clone(), format!("the command {} of others works on it", command.command_id));
        }
    }
    Ok(busy)
}
