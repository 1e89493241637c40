//! What others scan and patch, taken into the same history: found among AWS's commands, followed to its end, never changed.

use super::{Inner, outcome};
use crate::{
    Result,
    domain::operation::{
        Dispatch, DispatchOutcome, InstanceLimit, Kind, Operation, OperationId, Origin, RebootOption, Spec, State,
        Target, TargetSelection, TargetState,
    },
};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::{Aws, CommandRecord, ErrorKind, Invocation, InvocationStatus};
use patchplane_rules::{InstanceId, Location, WindowId};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// How long AWS keeps commands (S 6.3.10).
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How far before the last sweep commands are looked for again: AWS lists them late, and never in the order of their times.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(30);
/// The longest that a window is open (S 9.1.1): its runs began at most that long before their commands.
const LONGEST_WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// Finds what others have started since the last sweep, and sees how far everything of theirs is.
pub(super) async fn sweep(inner: &Inner, location: &Location, aws: &Aws, last: Option<Timestamp>) -> Result<()> {
    let now = inner.clock.now();
    let followed = inner.store.followed(location).await?;
    let since = last.map_or(now - KEPT, |last| last - LOOK_BACK);
    let since = followed.iter().map(|operation| operation.create_time - LOOK_BACK).fold(since, Timestamp::min);
    let ours = super::act::marker_of(inner);
    let mut commands = aws.all_patch_commands_since(since.max(now - KEPT)).await?;
    commands.retain(|command| !command.comment.starts_with(&ours));
    commands.sort_by_key(|command| command.requested);
    let ids: Vec<&str> = commands.iter().map(|command| command.command_id.as_str()).collect();
    let owners = inner.store.owners(&ids).await?;
    commands.retain(|command| owners.get(&command.command_id).is_none_or(|(id, ended)| !id.is_ours() && !ended));

    let oldest = commands.iter().filter(|c| !owners.contains_key(&c.command_id)).filter_map(|c| c.requested).min();
    let runs = match oldest {
        Some(oldest) => runs_since(aws, oldest - LONGEST_WINDOW).await?,
        None => HashMap::new(),
    };
    let mut found: BTreeMap<OperationId, Vec<CommandRecord>> = BTreeMap::new();
    for command in commands {
        let known = owners.get(&command.command_id).map(|(id, _)| *id);
        let run = runs.get(&command.command_id).map(|(execution, _)| OperationId::Run(*execution));
        let own = || Uuid::parse_str(&command.command_id).ok().map(OperationId::Command);
        if let Some(id) = known.or(run).or_else(own) {
            found.entry(id).or_default().push(command);
        }
    }
    for operation in followed.into_iter().filter(|operation| !found.contains_key(&operation.id)) {
        forgotten(inner, operation).await?;
    }
    for (id, commands) in found {
        follow(inner, location, aws, id, &commands, &runs).await?;
    }
    Ok(())
}

/// Which run of which window each command belongs to.
async fn runs_since(aws: &Aws, since: Timestamp) -> Result<HashMap<String, (Uuid, WindowId)>> {
    let mut runs = HashMap::new();
    for window in aws.windows().await? {
        for execution in aws.window_executions(&window.id, Some(since), None).await? {
            let Ok(uuid) = Uuid::parse_str(execution.id.as_str()) else { continue };
            let tasks = aws.execution_tasks(&execution.id).await?;
            for started in tasks.into_iter().flat_map(|task| task.invocations) {
                runs.insert(started.execution_id, (uuid, window.id.clone()));
            }
        }
    }
    Ok(runs)
}

/// Writes what AWS says now about one operation of others, if that is anything new.
async fn follow(
    inner: &Inner,
    location: &Location,
    aws: &Aws,
    id: OperationId,
    commands: &[CommandRecord],
    runs: &HashMap<String, (Uuid, WindowId)>,
) -> Result<()> {
    let now = inner.clock.now();
    let Some(first) = commands.first() else { return Ok(()) };
    let saved = inner.store.operation(id).await?;
    let before = saved.clone();
    let (mut operation, mut targets, mut dispatches) = match saved {
        Some(saved) => (saved.operation, saved.targets, saved.dispatches),
        None => (started(location, id, first, origin(first, runs), now), Vec::new(), Vec::new()),
    };
    let mut going_on = false;
    for command in commands {
        let invocations = match aws.invocations(&command.command_id).await {
            Ok(invocations) => invocations,
            Err(error) if error.kind == ErrorKind::UnknownCommand => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        going_on |= !command.ended || invocations.iter().any(|invocation| !invocation.status.is_terminal());
        for invocation in &invocations {
            take_in(&mut targets, command, invocation, &operation, now);
        }
        let ids: Vec<InstanceId> = invocations.into_iter().map(|invocation| invocation.instance_id).collect();
        operation.spec.targets.instance_ids.extend(ids.iter().cloned());
        if command.operation == "Install" {
            operation.spec.kind = Kind::Install;
        }
        if !dispatches.iter().any(|dispatch| names(dispatch, command)) {
            let batch = dispatches.last().map_or(1, |last| last.batch + 1);
            dispatches.push(dispatch(command, batch, ids, now));
        }
    }
    operation.spec.targets.instance_ids.sort();
    operation.spec.targets.instance_ids.dedup();
    let execution = match id {
        OperationId::Run(uuid) => match uuid.to_string().parse() {
            Ok(execution) => aws.window_execution(&execution).await?,
            Err(_) => None,
        },
        _ => None,
    };
    // A window may start more until its run has ended.
    going_on |= execution.is_some_and(|execution| execution.progress.ended.is_none());
    if !going_on {
        end(&mut operation, &targets, now);
    }
    let changed: Vec<Target> = targets
        .into_iter()
        .filter(|target| before.as_ref().is_none_or(|before| !before.targets.contains(target)))
        .collect();
    let new = before.as_ref().map_or(0, |before| before.dispatches.len());
    let same = before.as_ref().is_some_and(|before| before.operation == operation);
    if same && changed.is_empty() && dispatches.len() == new {
        return Ok(());
    }
    operation.update_time = now;
    let mut tx = inner.store.begin().await?;
    tx.put_operation(&operation).await?;
    tx.put_targets(id, &changed).await?;
    for dispatch in &dispatches[new..] {
        tx.put_dispatch(id, dispatch).await?;
    }
    Ok(tx.commit().await?)
}

fn origin(command: &CommandRecord, runs: &HashMap<String, (Uuid, WindowId)>) -> Origin {
    let association = &command.association_id;
    match runs.get(&command.command_id) {
        Some((_, window)) => Origin::Window(window.clone()),
        None if association.is_empty() => Origin::Command,
        // S 7.3.2 and the parameter's own description: policies run AWS-RunPatchBaseline.
        None if command.document == "AWS-RunPatchBaselineAssociation" => Origin::Association(association.clone()),
        None => Origin::PatchPolicy(association.clone()),
    }
}

fn started(location: &Location, id: OperationId, first: &CommandRecord, origin: Origin, now: Timestamp) -> Operation {
    let kind = if first.operation == "Install" { Kind::Install } else { Kind::Scan };
    let created = first.requested.unwrap_or(now);
    Operation {
        id,
        location: location.clone(),
        spec: Spec {
            kind,
            targets: TargetSelection::default(),
            reboot_option: match (kind, first.reboot_option.as_str()) {
                (Kind::Scan, _) => None,
                (Kind::Install, "NoReboot") => Some(RebootOption::NoReboot),
                // The document's default (S 7.2.1).
                (Kind::Install, _) => Some(RebootOption::RebootIfNeeded),
            },
            concurrency: InstanceLimit::Percent(100),
            max_failures: InstanceLimit::Percent(100),
            max_duration: Spec::LONGEST,
            max_targets: Spec::MOST_TARGETS,
            note: String::new(),
        },
        state: State::Running,
        reason: String::new(),
        explanation: "others have started it; it is followed here".to_owned(),
        snapshot_id: first.snapshot_id.clone(),
        creator: String::new(),
        create_time: created,
        update_time: now,
        end_time: None,
        deadline: first.expires_after.unwrap_or(created),
        origin,
    }
}

/// What one node says of a command; where two commands of a run reach it, the later counts.
fn take_in(
    targets: &mut Vec<Target>,
    command: &CommandRecord,
    invocation: &Invocation,
    operation: &Operation,
    now: Timestamp,
) {
    let id = &invocation.instance_id;
    let of_command = |target: &&mut Target| target.instance_id == *id;
    let known = targets.iter_mut().find(of_command);
    if known.as_ref().is_some_and(|known| known.dispatch_time > command.requested) {
        return;
    }
    let mut target = match known {
        Some(known) if known.command_id.as_ref() == Some(&command.command_id) => known.clone(),
        _ => Target { dispatch_time: command.requested, ..Target::pending(id.clone(), false, now) },
    };
    if target.command_id.is_none() {
        target.command_id = Some(command.command_id.clone());
        target.attempt = 1;
        target.become_(TargetState::Dispatched, "", "the command is on its way", now);
    }
    outcome::observe(&mut target, invocation, None, operation, now);
    if invocation.status == InvocationStatus::Success {
        let explanation = "the command succeeded; what it changed is in the instance's patches";
        target.become_(TargetState::Succeeded, "", explanation, now);
    }
    if target.state.is_terminal() && target.end_time == Some(now) {
        let finished = target.steps.iter().filter_map(|step| step.finished).max();
        target.end_time = target.command_end.or(finished).or(target.end_time);
    }
    match targets.iter_mut().find(|known| known.instance_id == *id) {
        Some(known) => *known = target,
        None => targets.push(target),
    }
}

fn end(operation: &mut Operation, targets: &[Target], now: Timestamp) {
    let succeeded = targets.iter().filter(|target| target.state == TargetState::Succeeded).count();
    let (state, reason, explanation) = match targets.len() {
        0 => (State::Failed, "NO_TARGETS", "it reached no instance".to_owned()),
        all if all == succeeded => (State::Succeeded, "", format!("its commands succeeded on all {all} instances")),
        all => (State::CompletedWithFailures, "", format!("its commands succeeded on {succeeded} of {all} instances")),
    };
    operation.state = state;
    reason.clone_into(&mut operation.reason);
    operation.explanation = explanation;
    operation.end_time = Some(targets.iter().filter_map(|target| target.end_time).max().unwrap_or(now));
}

/// AWS lists it no more: nobody can say how it ended.
async fn forgotten(inner: &Inner, mut operation: Operation) -> Result<()> {
    let now = inner.clock.now();
    let Some(saved) = inner.store.operation(operation.id).await? else { return Ok(()) };
    let mut targets = saved.targets;
    targets.retain(|target| !target.state.is_terminal());
    for target in &mut targets {
        target.become_(TargetState::Unknown, "COMMAND_GONE", "AWS does not know the command", now);
    }
    operation.state = State::CompletedWithFailures;
    "COMMAND_GONE".clone_into(&mut operation.reason);
    "AWS lists it no more, and nobody has seen its end".clone_into(&mut operation.explanation);
    (operation.end_time, operation.update_time) = (Some(now), now);
    let mut tx = inner.store.begin().await?;
    tx.put_operation(&operation).await?;
    tx.put_targets(operation.id, &targets).await?;
    Ok(tx.commit().await?)
}

fn names(dispatch: &Dispatch, command: &CommandRecord) -> bool {
    matches!(&dispatch.outcome, DispatchOutcome::Sent { command_id, .. } if *command_id == command.command_id)
}

fn dispatch(command: &CommandRecord, batch: u32, instance_ids: Vec<InstanceId>, now: Timestamp) -> Dispatch {
    Dispatch {
        batch,
        attempt: 1,
        marker: command.comment.clone(),
        instance_ids,
        timeout_s: 0,
        signed_at: command.requested.unwrap_or(now),
        outcome: DispatchOutcome::Sent { command_id: command.command_id.clone(), expires_after: command.expires_after },
    }
}
