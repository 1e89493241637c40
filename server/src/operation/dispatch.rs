//! Sending a command to a batch: the intent is recorded before, the outcome after, and nothing is ever sent twice.

use super::{
    Inner,
    act::{Held, summaries},
    busy,
    next::Observed,
};
use crate::{
    Result,
    domain::{
        operation::{
            Dispatch, DispatchOutcome, Kind, OnBusy, Operation, OperationId, RebootOption, Target, TargetState,
        },
        readiness::eligible,
    },
    store::{Saved, Tx},
    telemetry::metrics,
};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::{Action, Aws, ErrorKind, PatchCommand, SendFailure, SentCommand};
use patchplane_rules::InstanceId;
use std::collections::HashMap;

/// How long a target waits that is busy or frozen, before it is looked at again.
const WAIT: SignedDuration = SignedDuration::from_secs(60);

/// Records the intent, sends once, records the outcome. The process that commits the intent is the only one that ever
/// sends it; if the commit's outcome is unknown nothing is sent.
///
/// One transaction finds that the operation is still this process's, with lease enough for the send, and neither
/// cancelled nor paused; takes the instances, which no other operation may hold; and compares the freezes with those
/// that the batch was held against. All writers wait for each other, so that nothing slips in between.
pub(super) async fn dispatch(
    held: Held<'_>,
    aws: &Aws,
    saved: Saved,
    instance_ids: &[InstanceId],
    timeout_s: u32,
    observed: &mut Observed,
) -> Result<()> {
    let inner = held.inner;
    let Saved { operation, targets, dispatches, .. } = saved;
    // What waits for another operation of ours need not ask AWS anything: the store knows.
    let held_by = inner.store.lock_holders(&operation.location, instance_ids, operation.id, inner.clock.now()).await?;
    let mut elsewhere: HashMap<InstanceId, String> =
        held_by.into_iter().map(|(id, holder)| (id, works_on_it(holder))).collect();
    let asked: Vec<InstanceId> = instance_ids.iter().filter(|id| !elsewhere.contains_key(*id)).cloned().collect();
    let freezes = inner.store.freezes().await?;
    let (mut before, mut frozen) = (HashMap::new(), HashMap::new());
    if !asked.is_empty() {
        before = summaries(aws, &asked).await?;
        frozen = busy::frozen(aws, &operation, &asked, &freezes, inner.clock.now()).await?;
        elsewhere.extend(busy::elsewhere(inner, aws, operation.spec.kind, &asked, inner.clock.now()).await?);
    }

    let now = inner.clock.now();
    let mut batch: Vec<Target> =
        targets.into_iter().filter(|target| instance_ids.contains(&target.instance_id)).collect();
    let mut tx: Tx = inner.store.begin().await?;
    let control = tx.fenced(operation.id, held.fence, inner.settings.send_margin()).await?;
    if control.cancel.is_some() || control.pause.is_some() || tx.freezes().await? != freezes {
        // The next look at the record sees why.
        return Ok(());
    }
    let free: Vec<InstanceId> = batch
        .iter()
        .map(|target| target.instance_id.clone())
        .filter(|id| !frozen.contains_key(id) && !elsewhere.contains_key(id))
        .collect();
    for (id, holder) in tx.lock_instances(&operation.location, &free, operation.id, None, now).await? {
        elsewhere.insert(id, works_on_it(holder));
    }
    let waiting = hold_back(&mut batch, &frozen, &elsewhere, operation.spec.on_busy, now);
    if batch.is_empty() {
        return held.write(tx, operation, &waiting, None, now).await;
    }

    let number = dispatches.last().map_or(1, |last| last.batch + 1);
    for target in &mut batch {
        target.attempt += 1;
        target.before = before.get(&target.instance_id).cloned();
        target.dispatch_time = Some(now);
        target.retry_at = None;
        target.snapshot_id.clone_from(&operation.snapshot_id);
        target.become_(TargetState::Dispatched, "", "a command is sent to it", now);
    }
    let attempt = batch.iter().map(|target| target.attempt).max().unwrap_or(1);
    let mut intent = Dispatch {
        batch: number,
        attempt,
        marker: marker(inner, operation.id, number, attempt),
        instance_ids: batch.iter().map(|target| target.instance_id.clone()).collect(),
        timeout_s,
        snapshot_id: operation.snapshot_id.clone(),
        signed_at: now,
        outcome: DispatchOutcome::Open,
    };
    let written: Vec<Target> = batch.iter().chain(&waiting).cloned().collect();
    held.write(tx, operation.clone(), &written, Some(&intent), now).await?;

    let sent = aws.send_patch_command(&command(&operation, &intent, &batch)).await;
    let now = inner.clock.now();
    match sent {
        Ok(sent) => {
            metrics::dispatch("sent");
            tracing::Span::current().record("aws.command_id", sent.command_id.as_str());
            tracing::info!(operation.id = %operation.id, aws.command_id = %sent.command_id, "command sent");
            accepted(&mut intent, &mut batch, sent, now);
        }
        Err(SendFailure::Refused(error)) => {
            metrics::dispatch("refused");
            tracing::warn!(operation.id = %operation.id, error = %error, "AWS refused a command");
            observed.last_refusal = passes(&error).then_some(now);
            intent.outcome = DispatchOutcome::Refused { error: error.to_string() };
            refused(aws, &mut batch, &error, now).await;
        }
        Err(SendFailure::Unknown(error)) => {
            // The intent stays open: `Settle` asks AWS what became of it.
            metrics::dispatch("unknown");
            tracing::warn!(operation.id = %operation.id, error = %error, "it is unknown whether AWS took a command");
            return Ok(());
        }
    }
    held.save(operation, &batch, Some(&intent), now).await
}

fn works_on_it(holder: OperationId) -> String {
    format!("the operation {holder} works on it")
}

/// Takes out of a batch what is frozen or busy, and says of each what it waits for.
fn hold_back(
    batch: &mut Vec<Target>,
    frozen: &HashMap<InstanceId, String>,
    elsewhere: &HashMap<InstanceId, String>,
    on_busy: OnBusy,
    now: Timestamp,
) -> Vec<Target> {
    let until = now.checked_add(WAIT).unwrap_or(now);
    let mut waiting = Vec::new();
    batch.retain_mut(|target| {
        match (frozen.get(&target.instance_id), elsewhere.get(&target.instance_id), on_busy) {
            (None, None, _) => return true,
            (Some(freeze), ..) => target.wait("FROZEN", freeze, until, now),
            (None, Some(holder), OnBusy::Wait) => target.wait("BUSY", holder, until, now),
            (None, Some(holder), OnBusy::Skip) => target.become_(TargetState::Skipped, "BUSY", holder, now),
            (None, Some(holder), OnBusy::Fail) => target.become_(TargetState::Failed, "BUSY", holder, now),
        }
        waiting.push(target.clone());
        false
    });
    waiting
}

fn command(operation: &Operation, intent: &Dispatch, batch: &[Target]) -> PatchCommand {
    let reboot_option = operation.spec.reboot_option.map(|option| match option {
        RebootOption::RebootIfNeeded => "RebootIfNeeded",
        RebootOption::NoReboot => "NoReboot",
    });
    PatchCommand {
        instance_ids: intent.instance_ids.clone(),
        action: match operation.spec.kind {
            Kind::Scan => Action::Patch { operation: "Scan", reboot_option },
            Kind::Install => Action::Patch { operation: "Install", reboot_option },
            Kind::Reboot => Action::Reboot { windows: batch.iter().any(Target::runs_windows) },
        },
        snapshot_id: intent.snapshot_id.clone(),
        comment: intent.marker.clone(),
        timeout_s: intent.timeout_s,
        signed_at: intent.signed_at,
    }
}

/// `pp:` and what tells this send from every other one, at most 60 characters.
fn marker(inner: &Inner, id: OperationId, batch: u32, attempt: u32) -> String {
    format!("{}{batch}.{attempt}", marker_of_operation(inner, id))
}

/// How the markers of one operation begin.
pub(super) fn marker_of_operation(inner: &Inner, id: OperationId) -> String {
    format!("{}{id}:", marker_of(inner))
}

/// How the markers of this installation begin.
pub(super) fn marker_of(inner: &Inner) -> String {
    format!("pp:{}:", &inner.store.installation().simple().to_string()[..12])
}

pub(super) fn accepted(intent: &mut Dispatch, batch: &mut [Target], sent: SentCommand, now: Timestamp) {
    for target in batch {
        target.command_id = Some(sent.command_id.clone());
        target.expire_time = sent.expires_after;
        "Pending".clone_into(&mut target.command_status);
        "the command is on its way".clone_into(&mut target.explanation);
        target.update_time = now;
    }
    intent.outcome = DispatchOutcome::Sent { command_id: sent.command_id, expires_after: sent.expires_after };
}

/// Whether the reason of a refusal passes by itself.
fn passes(error: &patchplane_aws::Error) -> bool {
    matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unreachable | ErrorKind::Credentials)
}

/// AWS refused definitely, so nothing was started. What becomes of the targets depends on why.
async fn refused(aws: &Aws, batch: &mut [Target], error: &patchplane_aws::Error, now: Timestamp) {
    if error.kind == ErrorKind::InvalidInstance {
        return invalid_instances(aws, batch, error, now).await;
    }
    for target in batch {
        match error.kind {
            _ if passes(error) => target.become_(TargetState::Pending, error_code(error), error.to_string(), now),
            ErrorKind::Denied => target.become_(TargetState::Skipped, "AWS_ACCESS_DENIED", error.to_string(), now),
            _ => target.become_(TargetState::Skipped, "AWS_REFUSED", error.to_string(), now),
        }
    }
}

fn error_code(error: &patchplane_aws::Error) -> &'static str {
    match error.kind {
        ErrorKind::Throttled => "AWS_THROTTLED",
        ErrorKind::Credentials => "AWS_CREDENTIALS",
        _ => "AWS_UNREACHABLE",
    }
}

/// AWS refuses a whole batch for one bad id (S 6.1.4): the bad ones are dropped, the others tried again; where all look
/// good, or cannot be looked at, the batch is halved, and a single refused one is dropped.
async fn invalid_instances(aws: &Aws, batch: &mut [Target], error: &patchplane_aws::Error, now: Timestamp) {
    let ids: Vec<InstanceId> = batch.iter().map(|target| target.instance_id.clone()).collect();
    let mut dropped = 0;
    if let Ok(seen) = aws.sightings(&ids).await {
        for target in batch.iter_mut() {
            if let Some(Err(obstacle)) = seen.get(&target.instance_id).map(eligible) {
                target.become_(TargetState::Skipped, obstacle.code().as_str(), obstacle.evidence(), now);
                dropped += 1;
            }
        }
    }
    let size = batch.len();
    for target in batch {
        if dropped == 0 && size == 1 {
            target.become_(TargetState::Skipped, "AWS_REFUSED", error.to_string(), now);
            continue;
        }
        if dropped == 0 {
            target.max_batch = size.div_ceil(2);
        }
        target.become_(TargetState::Pending, "", "AWS refused its batch; it is tried again in another", now);
    }
}
