//! Asks AWS what instances reported whose commands have ended, and judges them by it.

use super::{
    Inner,
    act::{nodes, summaries},
    drift, outcome,
};
use crate::{
    Result,
    domain::operation::{Operation, Target},
    store::Saved,
};
use jiff::Timestamp;
use patchplane_aws::{Aws, ErrorKind};
use patchplane_rules::{InstanceId, PatchSummary};

/// Judges targets whose commands have ended, and records on the operation what batches did not get alike; answers the
/// changed targets.
pub(super) async fn verify(inner: &Inner, aws: &Aws, saved: &mut Saved, ended: &[InstanceId]) -> Result<Vec<Target>> {
    if ended.is_empty() {
        return Ok(Vec::new());
    }
    let (summaries, nodes) = (summaries(aws, ended).await?, nodes(aws, ended).await?);
    let now = inner.clock.now();
    let mut changed = Vec::new();
    for target in saved.targets.iter_mut().filter(|target| ended.contains(&target.instance_id)) {
        let before = target.clone();
        read_output(aws, target).await?;
        let summary = summaries.get(&target.instance_id);
        let items = of_items(aws, target, summary, &saved.operation, now).await?;
        let summary = items.as_ref().or(summary);
        outcome::verify(target, summary, nodes.get(&target.instance_id), &saved.operation, now);
        if *target != before {
            changed.push(target.clone());
        }
    }
    let judged: Vec<Target> = changed.iter().filter(|target| target.state.is_terminal()).cloned().collect();
    drift::record(aws, saved, &judged).await?;
    Ok(changed)
}

/// Reads the whole output of a failed step if AWS's list has cut it: one call for each such target. What was read is
/// written with the target, and not asked for again.
async fn read_output(aws: &Aws, target: &mut Target) -> Result<()> {
    let step = target.failure.as_ref().and_then(|failure| failure.unread_step.clone());
    let (Some(step), Some(command_id)) = (step, &target.command_id) else { return Ok(()) };
    let output = match aws.step_output(command_id, &target.instance_id, &step).await {
        Ok(output) => Some(output),
        Err(error) if passes(error.kind) => return Err(error.into()),
        Err(_) => None,
    };
    outcome::read_output(target, output.as_ref());
    Ok(())
}

/// What this attempt reported, by the node's compliance items, where its patch state has been overwritten: one listing for
/// each such target, for the verdict follows at once.
async fn of_items(
    aws: &Aws,
    target: &Target,
    summary: Option<&PatchSummary>,
    operation: &Operation,
    now: Timestamp,
) -> Result<Option<PatchSummary>> {
    if !outcome::is_overwritten(target, summary, operation, now) {
        return Ok(None);
    }
    match aws.patch_items(&target.instance_id).await {
        Ok(items) => Ok(outcome::report_of_items(&items, target, operation)),
        Err(error) if passes(error.kind) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Whether a later look may find what this one did not.
pub(super) fn passes(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Throttled | ErrorKind::Unreachable | ErrorKind::Credentials)
}
