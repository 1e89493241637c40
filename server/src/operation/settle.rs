//! Sends whose fate nobody knows: found in AWS and adopted, proven never to have been accepted, or given up.

use super::{
    act::{Held, summaries},
    dispatch::{accepted, marker_of_operation},
    next::{LISTS_APART, Observed, Search, UNPROVEN_AFTER},
};
use crate::{
    Result,
    domain::operation::{Dispatch, DispatchOutcome, Kind, Operation, Target, TargetState},
    store::Saved,
    telemetry::metrics,
};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::{Aws, CommandRecord, SentCommand};
use std::{collections::HashMap, time::Duration};

/// How far before its signing a send is looked for in AWS's list.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(15);

/// What is said of targets that nobody can say anything of.
pub(super) const UNPROVEN: &str = "a command may or may not have been sent to it: the server stopped, or AWS's answer was lost, and AWS \
     lists no such command; look at the instance before trying again";
const TRACES: &str = "it shows traces of this operation's command, but AWS lists no such command; look at the instance before \
     trying again";

/// Looks for a send in AWS's whole list. Found: adopted. Not found: told to `observed`, and nothing is concluded yet. A list
/// that breaks off is an error, and no evidence.
pub(super) async fn settle(
    held: Held<'_>,
    aws: &Aws,
    saved: Saved,
    number: u32,
    observed: &mut Observed,
) -> Result<()> {
    let Saved { operation, targets, dispatches, .. } = saved;
    let Some(intent) = dispatches.into_iter().find(|dispatch| dispatch.batch == number) else { return Ok(()) };
    let since = intent.signed_at.checked_sub(LOOK_BACK).unwrap_or(intent.signed_at);
    // The time of the question counts: what AWS takes after it may be missing in the answer.
    let asked = held.inner.clock.now();
    let mut matches: Vec<CommandRecord> =
        listed(aws, &operation, since).await?.into_iter().filter(|command| is_ours(command, &intent)).collect();
    matches.sort_by_key(|command| command.requested);
    if matches.len() > 1 {
        metrics::dispatch("duplicate");
        tracing::error!(operation.id = %operation.id, batch = number, "DUPLICATE_DISPATCH: AWS lists one send twice");
    }
    match matches.into_iter().next() {
        Some(found) => adopt(held, operation, targets, intent, found).await,
        None => {
            let earlier = observed.searches.get(&number).copied();
            observed.searches.insert(number, missed(earlier, &intent, asked));
            Ok(())
        }
    }
}

/// AWS's whole list of commands of the documents that the operation sends.
async fn listed(aws: &Aws, operation: &Operation, since: Timestamp) -> Result<Vec<CommandRecord>> {
    Ok(match operation.spec.kind {
        Kind::Scan | Kind::Install => aws.patch_commands_since(since).await?,
        Kind::Reboot => aws.reboot_commands_since(since).await?,
    })
}

/// What a whole list without the send means for the search.
fn missed(earlier: Option<Search>, intent: &Dispatch, asked: Timestamp) -> Search {
    let dead = asked.duration_since(intent.signed_at) >= UNPROVEN_AFTER;
    let first = earlier.and_then(|search| search.absent_since);
    Search {
        last: asked,
        absent_since: first.or(dead.then_some(asked)),
        absent_again: first.is_some_and(|first| asked.duration_since(first) >= LISTS_APART),
    }
}

/// The last questions before a send counts as never accepted: invocations with our marker, and reports under our snapshot,
/// on its instances. Neither: its targets may be sent to again, for nothing can come of the old signature any more.
pub(super) async fn disprove(held: Held<'_>, aws: &Aws, saved: Saved, number: u32) -> Result<()> {
    let Saved { operation, targets, dispatches, .. } = saved;
    let Some(mut intent) = dispatches.iter().find(|dispatch| dispatch.batch == number).cloned() else { return Ok(()) };
    let since = intent.signed_at.checked_sub(LOOK_BACK).unwrap_or(intent.signed_at);
    for id in &intent.instance_ids {
        let marked = aws.commands_on(id, since).await?.into_iter().filter(|(_, comment)| *comment == intent.marker);
        for (command_id, _) in marked {
            match aws.command(&command_id).await? {
                Some(found) if is_ours(&found, &intent) => return adopt(held, operation, targets, intent, found).await,
                // Somebody has written our marker into a command of theirs.
                Some(_) => {}
                None => {
                    let saved = Saved { operation, targets, dispatches, ..saved };
                    return give_up(held, saved, number, TRACES, held.inner.clock.now()).await;
                }
            }
        }
    }
    let reported = summaries(aws, &intent.instance_ids).await?;
    let traces = reported.values().any(|report| report.snapshot_id == intent.snapshot_id);
    let now = held.inner.clock.now();
    if traces {
        return give_up(held, Saved { operation, targets, dispatches, ..saved }, number, TRACES, now).await;
    }
    metrics::dispatch("absent");
    tracing::warn!(operation.id = %operation.id, batch = number, "a send is proven never to have reached AWS");
    let explanation =
        "its signature is dead, two whole lists of AWS lack it, and none of its instances shows a trace of it";
    intent.outcome = DispatchOutcome::Absent { explanation: explanation.to_owned() };
    let mut batch = of_batch(targets, &intent);
    for target in &mut batch {
        let explanation = "the command never reached AWS, which is proven; another one may be sent";
        target.become_(TargetState::Pending, "", explanation, now);
    }
    held.save(operation, &batch, Some(&intent), now).await
}

/// Compares AWS's whole list with the record, and takes in the commands of this operation that the record lacks: the store
/// was restored from a copy that is older than they are.
pub(super) async fn reconcile(held: Held<'_>, aws: &Aws, saved: Saved, observed: &mut Observed) -> Result<()> {
    let Saved { mut operation, targets, mut dispatches, .. } = saved;
    let asked = held.inner.clock.now();
    let ours = marker_of_operation(held.inner, operation.id);
    let mut targets: HashMap<_, Target> =
        targets.into_iter().map(|target| (target.instance_id.clone(), target)).collect();
    let since = operation.create_time.checked_sub(LOOK_BACK).unwrap_or(operation.create_time);
    for command in listed(aws, &operation, since).await? {
        let known = dispatches.iter().any(|dispatch| dispatch.marker == command.comment);
        let Some(rest) = command.comment.strip_prefix(&ours).filter(|_| !known) else { continue };
        let Some((batch, attempt)) = rest.split_once('.').and_then(|(b, a)| Some((b.parse().ok()?, a.parse().ok()?)))
        else {
            continue;
        };
        let now = held.inner.clock.now();
        metrics::dispatch("adopted");
        tracing::warn!(operation.id = %operation.id, aws.command_id = %command.command_id, "a forgotten command is found");
        let mut intent = Dispatch {
            batch: if dispatches.iter().any(|dispatch| dispatch.batch == batch) {
                dispatches.last().map_or(1, |last| last.batch + 1)
            } else {
                batch
            },
            attempt,
            marker: command.comment.clone(),
            instance_ids: command.instance_ids.clone(),
            timeout_s: 600,
            snapshot_id: command.snapshot_id.clone(),
            signed_at: command.requested.unwrap_or(now),
            outcome: DispatchOutcome::Open,
        };
        let mut batch: Vec<Target> = command.instance_ids.iter().filter_map(|id| targets.remove(id)).collect();
        for target in &mut batch {
            target.attempt = target.attempt.max(attempt);
            target.snapshot_id.clone_from(&command.snapshot_id);
            target.dispatch_time = Some(intent.signed_at);
            target.become_(TargetState::Dispatched, "", "its command was found in AWS", now);
        }
        let sent = sent(command);
        accepted(&mut intent, &mut batch, sent, now);
        let mut tx = held.inner.store.begin().await?;
        tx.fenced(held.id, held.fence, Duration::ZERO).await?;
        // Whoever holds one of them meanwhile has waited for the command, or will see its outcome.
        tx.lock_instances(&operation.location, &intent.instance_ids, operation.id, None, now).await?;
        held.write(tx, operation.clone(), &batch, Some(&intent), now).await?;
        operation.update_time = now;
        dispatches.push(intent);
        dispatches.sort_by_key(|dispatch| dispatch.batch);
    }
    if let Some(restored) = &mut observed.restored {
        restored.compared = Some(asked);
        if restored.is_whole(asked) {
            let mut tx = held.inner.store.begin().await?;
            tx.fenced(held.id, held.fence, Duration::ZERO).await?;
            tx.reconciled(held.id).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}

async fn adopt(
    held: Held<'_>,
    operation: Operation,
    targets: Vec<Target>,
    mut intent: Dispatch,
    found: CommandRecord,
) -> Result<()> {
    metrics::dispatch("adopted");
    tracing::Span::current().record("aws.command_id", found.command_id.as_str());
    tracing::info!(operation.id = %operation.id, aws.command_id = %found.command_id, "command found and adopted");
    let mut batch = of_batch(targets, &intent);
    let now = held.inner.clock.now();
    accepted(&mut intent, &mut batch, sent(found), now);
    held.save(operation, &batch, Some(&intent), now).await
}

fn sent(found: CommandRecord) -> SentCommand {
    SentCommand { command_id: found.command_id, requested: found.requested, expires_after: found.expires_after }
}

/// A command is this send if marker, snapshot and instances all agree.
fn is_ours(command: &CommandRecord, intent: &Dispatch) -> bool {
    let mut listed = command.instance_ids.clone();
    let mut meant = intent.instance_ids.clone();
    listed.sort();
    meant.sort();
    command.comment == intent.marker && command.snapshot_id == intent.snapshot_id && listed == meant
}

/// Ends the targets of a send that nobody can prove.
pub(super) async fn give_up(
    held: Held<'_>,
    saved: Saved,
    number: u32,
    explanation: &str,
    now: Timestamp,
) -> Result<()> {
    let Saved { operation, targets, dispatches, .. } = saved;
    let Some(mut intent) = dispatches.into_iter().find(|dispatch| dispatch.batch == number) else { return Ok(()) };
    let mut batch = of_batch(targets, &intent);
    for target in &mut batch {
        target.become_(TargetState::Unknown, "DISPATCH_UNPROVEN", explanation, now);
    }
    metrics::dispatch("unproven");
    intent.outcome = DispatchOutcome::Unproven;
    held.save(operation, &batch, Some(&intent), now).await
}

fn of_batch(targets: Vec<Target>, intent: &Dispatch) -> Vec<Target> {
    targets.into_iter().filter(|target| intent.instance_ids.contains(&target.instance_id)).collect()
}
