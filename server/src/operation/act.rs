//! Carries out one step of an operation: record, effect, record.

use super::{
    Inner,
    next::{Observed, Step, Which, next},
    outcome, resolve,
};
use crate::{
    Error, Result,
    domain::{
        operation::{
            Dispatch, DispatchOutcome, Kind, Operation, OperationId, RebootOption, State, Target, TargetState,
        },
        readiness::eligible,
    },
    store::{Saved, Tx},
};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::{Aws, CommandRecord, ErrorKind, Invocation, NodeFilter, PatchCommand, SendFailure, SentCommand};
use patchplane_rules::{InstanceId, ManagedNode, PatchSummary};
use std::collections::{BTreeMap, HashMap};

/// How far before its signing a send is looked for in AWS's list.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(15);

/// Reads the record, decides, and does it; answers what was done.
pub(super) async fn advance(inner: &Inner, id: OperationId, observed: &mut Observed) -> Result<Step> {
    let Some(saved) = inner.store.operation(id).await? else { return Ok(Step::Done) };
    let now = inner.clock.now();
    let step = next(&saved, observed, now);
    let Some(aws) = inner.locations.get(&saved.operation.location) else {
        // Taken out of the configuration: the operation waits for its location or its deadline.
        return Ok(match step {
            Step::Done | Step::EndTargets { .. } | Step::Become { .. } | Step::GiveUp { .. } => {
                work(inner, None, saved, step, observed).await?
            }
            _ => Step::Sleep { until: saved.operation.deadline },
        });
    };
    work(inner, Some(aws), saved, step, observed).await
}

async fn work(inner: &Inner, aws: Option<&Aws>, mut saved: Saved, step: Step, observed: &mut Observed) -> Result<Step> {
    let now = inner.clock.now();
    match (&step, aws) {
        (Step::Become { state, reason, explanation }, _) => {
            let operation = &mut saved.operation;
            operation.state = *state;
            (*reason).clone_into(&mut operation.reason);
            operation.explanation.clone_from(explanation);
            operation.end_time = state.is_terminal().then_some(now);
            if state.is_terminal() {
                tracing::info!(
                    operation.id = %operation.id, state = ?state, reason, explanation, "operation ended"
                );
            }
            save(inner, saved.operation, &[], None, now).await?;
        }
        (Step::EndTargets { state, reason, explanation, which }, _) => {
            let mut ended = saved.targets;
            ended.retain(|target| match which {
                Which::Pending => target.state == TargetState::Pending,
                Which::Active => target.state.is_active(),
            });
            for target in &mut ended {
                target.become_(*state, reason, explanation, now);
            }
            save(inner, saved.operation, &ended, None, now).await?;
        }
        (Step::GiveUp { batch }, _) => give_up(inner, saved, *batch, now).await?,
        (Step::Resolve, Some(aws)) => resolve_late(inner, aws, saved, now).await?,
        (Step::Dispatch { instance_ids, timeout_s }, Some(aws)) => {
            dispatch(inner, aws, saved, instance_ids, *timeout_s, observed).await?;
        }
        (Step::Settle { batch }, Some(aws)) => {
            observed.last_settle = Some(now);
            settle(inner, aws, saved, *batch, now).await?;
        }
        (Step::Look { command_ids, ended }, Some(aws)) => {
            observed.last_poll = Some(now);
            let mut changed = observe(inner, aws, &mut saved, command_ids).await?;
            changed.extend(verify(inner, aws, &saved, ended).await?);
            if !changed.is_empty() {
                save(inner, saved.operation, &changed, None, inner.clock.now()).await?;
            }
        }
        (Step::Sleep { .. } | Step::Done, _) | (_, None) => {}
    }
    Ok(step)
}

/// Writes an operation with what changed of it, in one transaction.
async fn save(
    inner: &Inner,
    mut operation: Operation,
    targets: &[Target],
    dispatch: Option<&Dispatch>,
    now: Timestamp,
) -> Result<()> {
    operation.update_time = now;
    let mut tx: Tx = inner.store.begin().await?;
    tx.put_operation(&operation).await?;
    tx.put_targets(operation.id, targets).await?;
    if let Some(dispatch) = dispatch {
        tx.put_dispatch(operation.id, dispatch).await?;
    }
    Ok(tx.commit().await?)
}

/// Resolution that did not end within the request.
async fn resolve_late(inner: &Inner, aws: &Aws, mut saved: Saved, now: Timestamp) -> Result<()> {
    match resolve::resolve(aws, &saved.operation.spec, now).await {
        Ok(targets) => {
            saved.operation.state = State::Running;
            save(inner, saved.operation, &targets, None, now).await
        }
        Err(error @ Error::Precondition { .. }) => {
            saved.operation.state = State::Failed;
            error.reason().clone_into(&mut saved.operation.reason);
            saved.operation.explanation = error.to_string();
            saved.operation.end_time = Some(now);
            save(inner, saved.operation, &[], None, now).await
        }
        Err(error) => Err(error),
    }
}

/// Records the intent, sends once, records the outcome. The process that commits the intent is the only one that ever
/// sends it; if the commit's outcome is unknown nothing is sent.
async fn dispatch(
    inner: &Inner,
    aws: &Aws,
    saved: Saved,
    instance_ids: &[InstanceId],
    timeout_s: u32,
    observed: &mut Observed,
) -> Result<()> {
    let Saved { operation, targets, dispatches, .. } = saved;
    let before = summaries(aws, instance_ids).await?;
    let mut batch: Vec<Target> =
        targets.into_iter().filter(|target| instance_ids.contains(&target.instance_id)).collect();

    let now = inner.clock.now();
    let number = dispatches.last().map_or(1, |last| last.batch + 1);
    for target in &mut batch {
        target.attempt += 1;
        target.before = before.get(&target.instance_id).cloned();
        target.dispatch_time = Some(now);
        target.become_(TargetState::Dispatched, "", "a command is sent to it", now);
    }
    let attempt = batch.iter().map(|target| target.attempt).max().unwrap_or(1);
    let mut intent = Dispatch {
        batch: number,
        attempt,
        marker: marker(inner, operation.id, number, attempt),
        instance_ids: instance_ids.to_vec(),
        timeout_s,
        signed_at: now,
        outcome: DispatchOutcome::Open,
    };
    save(inner, operation.clone(), &batch, Some(&intent), now).await?;

    let command = PatchCommand {
        instance_ids: instance_ids.to_vec(),
        operation: match operation.spec.kind {
            Kind::Scan => "Scan",
            Kind::Install => "Install",
        },
        snapshot_id: operation.snapshot_id.clone(),
        reboot_option: operation.spec.reboot_option.map(|option| {
            match option {
                RebootOption::RebootIfNeeded => "RebootIfNeeded",
                RebootOption::NoReboot => "NoReboot",
            }
            .to_owned()
        }),
        comment: intent.marker.clone(),
        timeout_s,
        signed_at: now,
    };
    let sent = aws.send_patch_command(&command).await;
    let now = inner.clock.now();
    match sent {
        Ok(sent) => {
            tracing::info!(operation.id = %operation.id, aws.command_id = %sent.command_id, "command sent");
            accepted(&mut intent, &mut batch, sent, now);
        }
        Err(SendFailure::Refused(error)) => {
            tracing::warn!(operation.id = %operation.id, error = %error, "AWS refused a command");
            observed.last_refusal = passes(&error).then_some(now);
            intent.outcome = DispatchOutcome::Refused { error: error.to_string() };
            refused(aws, &mut batch, &error, now).await;
        }
        Err(SendFailure::Unknown(error)) => {
            // The intent stays open: `Settle` asks AWS what became of it.
            tracing::warn!(operation.id = %operation.id, error = %error, "it is unknown whether AWS took a command");
            return Ok(());
        }
    }
    save(inner, operation, &batch, Some(&intent), now).await
}

/// `pp:` and what tells this send from every other one, at most 60 characters.
fn marker(inner: &Inner, id: OperationId, batch: u32, attempt: u32) -> String {
    format!("{}{id}:{batch}.{attempt}", marker_of(inner))
}

/// How the markers of this installation begin.
pub(super) fn marker_of(inner: &Inner) -> String {
    format!("pp:{}:", &inner.store.installation().simple().to_string()[..12])
}

fn accepted(intent: &mut Dispatch, batch: &mut [Target], sent: SentCommand, now: Timestamp) {
    for target in batch {
        target.command_id = Some(sent.command_id.clone());
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

/// Looks for a send whose fate nobody knows. Found: adopted. Not found: nothing is concluded yet; AWS may still list it.
async fn settle(inner: &Inner, aws: &Aws, saved: Saved, number: u32, now: Timestamp) -> Result<()> {
    let Saved { operation, targets, dispatches, .. } = saved;
    let Some(mut intent) = dispatches.into_iter().find(|dispatch| dispatch.batch == number) else { return Ok(()) };
    let since = intent.signed_at.checked_sub(LOOK_BACK).unwrap_or(intent.signed_at);
    let mut matches: Vec<CommandRecord> = aws
        .patch_commands_since(since)
        .await?
        .into_iter()
        .filter(|command| is_ours(command, &intent, &operation))
        .collect();
    matches.sort_by_key(|command| command.requested);
    if matches.len() > 1 {
        tracing::error!(operation.id = %operation.id, batch = number, "DUPLICATE_DISPATCH: AWS lists one send twice");
    }
    let Some(found) = matches.into_iter().next() else { return Ok(()) };
    tracing::info!(operation.id = %operation.id, aws.command_id = %found.command_id, "command found and adopted");
    let mut batch = of_batch(targets, &intent);
    let sent =
        SentCommand { command_id: found.command_id, requested: found.requested, expires_after: found.expires_after };
    accepted(&mut intent, &mut batch, sent, now);
    save(inner, operation, &batch, Some(&intent), now).await
}

/// A command is this send if marker, snapshot and instances all agree.
fn is_ours(command: &CommandRecord, intent: &Dispatch, operation: &Operation) -> bool {
    let mut listed = command.instance_ids.clone();
    let mut meant = intent.instance_ids.clone();
    listed.sort();
    meant.sort();
    command.comment == intent.marker && command.snapshot_id == operation.snapshot_id && listed == meant
}

async fn give_up(inner: &Inner, saved: Saved, number: u32, now: Timestamp) -> Result<()> {
    let Saved { operation, targets, dispatches, .. } = saved;
    let Some(mut intent) = dispatches.into_iter().find(|dispatch| dispatch.batch == number) else { return Ok(()) };
    let mut batch = of_batch(targets, &intent);
    for target in &mut batch {
        let explanation = "a command may or may not have been sent to it: the server stopped, or AWS's answer was lost, \
                           and AWS lists no such command; look at the instance before trying again";
        target.become_(TargetState::Unknown, "DISPATCH_UNPROVEN", explanation, now);
    }
    intent.outcome = DispatchOutcome::Unproven;
    save(inner, operation, &batch, Some(&intent), now).await
}

fn of_batch(targets: Vec<Target>, intent: &Dispatch) -> Vec<Target> {
    targets.into_iter().filter(|target| intent.instance_ids.contains(&target.instance_id)).collect()
}

/// Reads the progress of commands, and of what their nodes uploaded meanwhile; answers the changed targets.
async fn observe(inner: &Inner, aws: &Aws, saved: &mut Saved, command_ids: &[String]) -> Result<Vec<Target>> {
    let Saved { operation, targets, .. } = saved;
    let mut changed: Vec<Target> = Vec::new();
    for command_id in command_ids {
        let mut of_command: Vec<&mut Target> =
            targets.iter_mut().filter(|target| target.command_id.as_ref() == Some(command_id)).collect();
        let invocations: Vec<Invocation> = match aws.invocations(command_id).await {
            Ok(invocations) => invocations,
            // AWS forgets commands after 30 days (S 6.3.10), and nobody can say any more what they did.
            Err(error) if error.kind == ErrorKind::UnknownCommand => {
                let now = inner.clock.now();
                for target in of_command.into_iter().filter(|target| !target.state.is_terminal()) {
                    target.become_(TargetState::Unknown, "COMMAND_GONE", "AWS does not know the command", now);
                    changed.push(target.clone());
                }
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let ids: Vec<InstanceId> = invocations.iter().map(|invocation| invocation.instance_id.clone()).collect();
        let summaries = match operation.spec.kind {
            Kind::Install => summaries(aws, &ids).await?,
            Kind::Scan => HashMap::new(),
        };
        let now = inner.clock.now();
        for invocation in &invocations {
            let id = &invocation.instance_id;
            let Some(target) = of_command.iter_mut().find(|target| target.instance_id == *id) else { continue };
            let before = target.clone();
            outcome::observe(target, invocation, summaries.get(id), operation, now);
            if **target != before {
                changed.push(target.clone());
            }
        }
    }
    Ok(changed)
}

/// Judges targets whose commands have ended; answers those of which something can be said.
async fn verify(inner: &Inner, aws: &Aws, saved: &Saved, ended: &[InstanceId]) -> Result<Vec<Target>> {
    if ended.is_empty() {
        return Ok(Vec::new());
    }
    let (summaries, nodes) = (summaries(aws, ended).await?, nodes(aws, ended).await?);
    let now = inner.clock.now();
    let mut judged: Vec<Target> =
        saved.targets.iter().filter(|target| ended.contains(&target.instance_id)).cloned().collect();
    judged.retain_mut(|target| {
        let id = target.instance_id.clone();
        outcome::verify(target, summaries.get(&id), nodes.get(&id), &saved.operation, now)
    });
    Ok(judged)
}

async fn summaries(aws: &Aws, ids: &[InstanceId]) -> Result<HashMap<InstanceId, PatchSummary>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(aws.patch_summaries(ids).await?.into_iter().map(|summary| (summary.id.clone(), summary)).collect())
}

async fn nodes(aws: &Aws, ids: &[InstanceId]) -> Result<BTreeMap<InstanceId, ManagedNode>> {
    let found = aws.nodes(&NodeFilter::Ids(ids.to_vec())).await?;
    Ok(found.into_iter().map(|node| (node.id.clone(), node)).collect())
}
