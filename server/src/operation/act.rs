//! Carries out one step of an operation: record, effect, record.

use super::{
    Inner, dispatch,
    next::{Observed, Step, Which, next},
    outcome, resolve, settle, verify,
};
use crate::{
    Error, Result,
    domain::operation::{Dispatch, Kind, Operation, OperationId, State, Target, TargetState},
    store::{Saved, Tx},
    telemetry::{metrics, trace},
};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::{Aws, ErrorKind, Invocation, NodeFilter};
use patchplane_rules::{InstanceId, ManagedNode, PatchSummary};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field};
use uuid::Uuid;

/// How long a command may run on an instance where AWS did not tell: two hours of AWS-RunPatchBaseline's step (S 6.1.17).
const EXECUTION: SignedDuration = SignedDuration::from_hours(2);

/// An operation in this process's hands. Once another process has taken it over, nothing more is written of it.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) inner: &'a Inner,
    pub(super) id: OperationId,
    /// The number under which it was claimed.
    pub(super) fence: u64,
}

/// Reads the record, decides, and does it; answers what was done. `known` is the record as it was read last, so that of
/// thousands of targets only those are read that have changed.
pub(super) async fn advance(held: Held<'_>, observed: &mut Observed, known: &mut Option<Saved>) -> Result<Step> {
    let read = match known.take() {
        Some(earlier) => held.inner.store.refreshed(earlier).await?,
        None => held.inner.store.operation(held.id).await?,
    };
    let Some(saved) = read else { return Ok(Step::Done) };
    let step = next(&saved, observed, held.inner.clock.now());
    // A reconciliation writes sends that come before the newest one.
    *known = (step != Step::Reconcile).then(|| saved.clone());
    let Some(aws) = held.inner.locations.get(&saved.operation.location) else {
        // Taken out of the configuration: the operation waits for its location or its deadline.
        return match step {
            Step::Done | Step::EndTargets { .. } | Step::Become { .. } | Step::GiveUp { .. } => {
                work(held, None, saved, step, observed).await
            }
            Step::CancelCommands { .. } => {
                observed.last_cancel = Some(held.inner.clock.now());
                Ok(step)
            }
            _ => Ok(Step::Sleep { until: saved.operation.deadline }),
        };
    };
    let turn = match held.inner.gates.get(&saved.operation.location) {
        Some(gate) if step.asks_aws() => {
            let asked = Instant::now();
            let turn = gate.enter(&saved.operation.creator).await;
            metrics::location_wait(&saved.operation.location, asked.elapsed());
            Some(turn)
        }
        _ => None,
    };
    if *held.inner.stopping.borrow() {
        return Ok(Step::Done);
    }
    let span = span_of(&step, &saved.operation);
    let done = work(held, Some(aws), saved, step, observed).instrument(span).await?;
    if turn.is_some() {
        observed.denied = None;
    }
    Ok(done)
}

/// The span of a step: a trace of its own, for an operation goes on for hours, which links to the span that created the
/// operation. Where that was left out of the traces, so is this.
fn span_of(step: &Step, operation: &Operation) -> Span {
    let Some(name) = step.name() else { return Span::none() };
    if operation.trace.as_deref().is_some_and(|created| !trace::sampled(created)) {
        return Span::none();
    }
    let span = tracing::info_span!(
        parent: None,
        "operation.step",
        otel.name = format!("operation {name}"),
        operation.id = %operation.id,
        operation.kind = operation.spec.kind.as_str(),
        operation.step = name,
        aws.command_id = field::Empty,
    );
    if let Some(created) = &operation.trace {
        trace::link(&span, created);
    }
    span
}

async fn work(
    held: Held<'_>,
    aws: Option<&Aws>,
    mut saved: Saved,
    step: Step,
    observed: &mut Observed,
) -> Result<Step> {
    let now = held.inner.clock.now();
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
            let kind = saved.operation.spec.kind;
            held.save(saved.operation, &[], None, now).await?;
            if state.is_terminal() {
                ended(kind, *state, &saved.targets);
            }
        }
        (Step::EndTargets { state, reason, explanation, which }, _) => {
            let mut ended = saved.targets;
            ended.retain(|target| match which {
                Which::Pending => target.state == TargetState::Pending,
                Which::Active => target.state.is_active(),
            });
            for target in &mut ended {
                outcome::take_for_failed(target, now);
                target.become_(*state, reason, explanation, now);
            }
            held.save(saved.operation, &ended, None, now).await?;
        }
        (Step::GiveUp { batch }, _) => settle::give_up(held, saved, *batch, settle::UNPROVEN, now).await?,
        (Step::Resolve, Some(aws)) => resolve_late(held, aws, saved, now).await?,
        (Step::Dispatch { instance_ids, timeout_s }, Some(aws)) => {
            dispatch::dispatch(held, aws, saved, instance_ids, *timeout_s, observed).await?;
        }
        (Step::Settle { batch }, Some(aws)) => settle::settle(held, aws, saved, *batch, observed).await?,
        (Step::Disprove { batch }, Some(aws)) => settle::disprove(held, aws, saved, *batch).await?,
        (Step::Reconcile, Some(aws)) => settle::reconcile(held, aws, saved, observed).await?,
        (Step::RenewSnapshot, _) => {
            saved.operation.snapshot_id = Uuid::new_v4().to_string();
            saved.operation.snapshot_time = Some(now);
            held.save(saved.operation, &[], None, now).await?;
        }
        (Step::CancelCommands { commands }, Some(aws)) => {
            observed.last_cancel = Some(now);
            for (command_id, instance_ids) in commands {
                // Only an attempt, also where AWS accepts it (S 6.4): what became of it is seen by looking.
                if let Err(error) = aws.cancel_command(command_id, instance_ids).await {
                    tracing::warn!(operation.id = %held.id, aws.command_id = %command_id, %error, "cannot cancel a command");
                }
            }
        }
        (Step::Look { command_ids, ended }, Some(aws)) => {
            observed.last_poll = Some(now);
            let mut changed = observe(held.inner, aws, &mut saved, command_ids).await?;
            changed.extend(verify::verify(held.inner, aws, &mut saved, ended).await?);
            if !changed.is_empty() {
                held.save(saved.operation, &changed, None, held.inner.clock.now()).await?;
            }
        }
        (Step::Sleep { .. } | Step::Done, _) | (_, None) => {}
    }
    Ok(step)
}

// === impl Held ===

impl Held<'_> {
    /// Writes an operation with what changed of it, in one transaction, unless another process has taken it over.
    pub(super) async fn save(
        self,
        operation: Operation,
        targets: &[Target],
        dispatch: Option<&Dispatch>,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.inner.store.begin().await?;
        tx.fenced(self.id, self.fence, Duration::ZERO).await?;
        self.write(tx, operation, targets, dispatch, now).await
    }

    /// The same in a transaction that was begun, and in which the fence was found to hold.
    pub(super) async fn write(
        self,
        mut tx: Tx,
        mut operation: Operation,
        targets: &[Target],
        dispatch: Option<&Dispatch>,
        now: Timestamp,
    ) -> Result<()> {
        operation.update_time = now;
        tx.put_operation(&operation).await?;
        tx.put_targets(operation.id, targets).await?;
        if let Some(dispatch) = dispatch {
            tx.put_dispatch(operation.id, dispatch).await?;
        }
        // The single flight of an instance ends with its target; where its command may still run, when it no longer can.
        let (mut free, mut kept) = (Vec::new(), BTreeMap::<Timestamp, Vec<InstanceId>>::new());
        for target in targets.iter().filter(|target| target.attempt > 0 && target.state.is_terminal()) {
            match runs_until(target) {
                Some(until) if until > now => kept.entry(until).or_default().push(target.instance_id.clone()),
                _ => free.push(target.instance_id.clone()),
            }
        }
        tx.unlock_instances(&operation.location, &free, operation.id).await?;
        for (until, ids) in kept {
            tx.lock_instances(&operation.location, &ids, operation.id, Some(until), now).await?;
        }
        Ok(tx.commit().await?)
    }
}

/// Counts what an operation came to.
fn ended(kind: Kind, state: State, targets: &[Target]) {
    metrics::operation_ended(kind.as_str(), state.as_str());
    for target in targets {
        metrics::target_ended(kind.as_str(), target.state.as_str());
        if target.state != TargetState::Succeeded {
            metrics::target_failed(&target.reason);
        }
    }
}

/// Until when the last command of an ended target may run on its instance; `None` when it has ended there.
fn runs_until(target: &Target) -> Option<Timestamp> {
    let open = matches!(target.reason.as_str(), "DEADLINE" | "DISPATCH_UNPROVEN" | "COMMAND_GONE");
    let sent = target.dispatch_time.filter(|_| open)?;
    // Where AWS has told nothing: signed at `sent`, delivered within ten minutes of the signature's last moment.
    target.expire_time.or_else(|| sent.checked_add(SignedDuration::from_mins(15 + 10) + EXECUTION).ok())
}

/// Resolution that did not end within the request.
async fn resolve_late(held: Held<'_>, aws: &Aws, mut saved: Saved, now: Timestamp) -> Result<()> {
    match resolve::resolve(aws, &saved.operation.spec, now).await {
        Ok(targets) => {
            saved.operation.state = State::Running;
            held.save(saved.operation, &targets, None, now).await
        }
        Err(error @ Error::Precondition { .. }) => {
            saved.operation.state = State::Failed;
            error.reason().clone_into(&mut saved.operation.reason);
            saved.operation.explanation = error.to_string();
            saved.operation.end_time = Some(now);
            held.save(saved.operation, &[], None, now).await
        }
        Err(error) => Err(error),
    }
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
            Kind::Scan | Kind::Reboot => HashMap::new(),
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

pub(super) async fn summaries(aws: &Aws, ids: &[InstanceId]) -> Result<HashMap<InstanceId, PatchSummary>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(aws.patch_summaries(ids).await?.into_iter().map(|summary| (summary.id.clone(), summary)).collect())
}

pub(super) async fn nodes(aws: &Aws, ids: &[InstanceId]) -> Result<BTreeMap<InstanceId, ManagedNode>> {
    let found = aws.nodes(&NodeFilter::Ids(ids.to_vec())).await?;
    Ok(found.into_iter().map(|node| (node.id.clone(), node)).collect())
}
