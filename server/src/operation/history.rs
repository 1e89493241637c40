//! What others scan and patch, taken into the same history: found among AWS's commands, followed to its end, never changed.

use super::{
    Inner, outcome,
    senders::{self, Sender, Senders},
};
use crate::{
    Result,
    domain::operation::{
        Dispatch, DispatchOutcome, InstanceLimit, Kind, OnBusy, Operation, OperationId, Origin, RebootOption, Spec,
        State, Target, TargetSelection, TargetState,
    },
};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::{Aws, CommandRecord, ErrorKind, Invocation, InvocationStatus};
use patchplane_rules::{InstanceId, Location};
use std::collections::{BTreeMap, HashMap, hash_map::Entry};
use uuid::Uuid;

/// How long AWS keeps commands (S 6.3.10).
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How far before the last sweep things are looked for again: AWS lists them late, and never in the order of their times.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(30);

const FOLLOWED: &str = "others have started it; it is followed here";

/// What of one operation a sweep has found.
#[derive(Default)]
struct Found {
    commands: Vec<CommandRecord>,
    /// The operations that these commands were taken for before their sender was known.
    replaces: Vec<OperationId>,
}

/// Finds what others have started since the last sweep, and sees how far everything of theirs is.
pub(super) async fn sweep(inner: &Inner, location: &Location, aws: &Aws, last: Option<Timestamp>) -> Result<()> {
    let now = inner.clock.now();
    let followed = inner.store.followed(location).await?;
    let since = last.map_or(now - KEPT, |last| last - LOOK_BACK);
    let since = followed.iter().map(|operation| operation.create_time - LOOK_BACK).fold(since, Timestamp::min);
    let since = since.max(now - KEPT);
    let ours = super::dispatch::marker_of(inner);
    let commands = aws.all_patch_commands_since(since).await?;
    let mut known: HashMap<OperationId, bool> = HashMap::new();
    let mut others = Vec::new();
    for command in commands {
        let sent_here = match operation_of(&command.comment, &ours) {
            None => false,
            Some(id) => match known.entry(id) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unasked) => *unasked.insert(inner.store.listed(id).await?.is_some()),
            },
        };
        if !sent_here {
            others.push(command);
        }
    }
    let mut commands = others;
    let mut senders = senders::associations(inner, aws, since).await?;
    let ids = commands.iter().map(|command| &command.command_id).chain(senders.keys());
    let owners = inner.store.owners(&ids.map(String::as_str).collect::<Vec<_>>()).await?;
    commands.extend(unlisted(aws, &senders, &commands, &owners).await?);
    commands.sort_by_key(|command| command.requested);

    let seen = last.or_else(|| owners.values().filter(|owner| !owner.id.is_ours()).map(|o| o.update_time).max());
    let undecided = |command: &&CommandRecord| match owners.get(&command.command_id) {
        _ if senders.contains_key(&command.command_id) => false,
        None => true,
        // A window may list its command later than AWS lists the command.
        Some(owner) => {
            matches!(owner.id, OperationId::Command(_))
                && seen.is_none_or(|seen| command.requested >= Some(seen - LOOK_BACK))
        }
    };
    if let Some(oldest) = commands.iter().filter(undecided).filter_map(|command| command.requested).min() {
        senders.extend(senders::windows(inner, aws, oldest).await?);
    }
    let mut found: BTreeMap<OperationId, Found> = BTreeMap::new();
    for command in commands {
        let sender = senders.get(&command.command_id);
        let own = || Uuid::parse_str(&command.command_id).ok().map(OperationId::Command);
        let (id, replaces) = match (owners.get(&command.command_id), sender) {
            (Some(owner), _) if owner.id.is_ours() => continue,
            (Some(owner), Some(sender)) if matches!(owner.id, OperationId::Command(_)) => (sender.id, Some(owner.id)),
            (Some(owner), _) if owner.state.is_terminal() => continue,
            (Some(owner), _) => (owner.id, None),
            (None, Some(sender)) => (sender.id, None),
            (None, None) => match own() {
                Some(id) => (id, None),
                None => continue,
            },
        };
        let found = found.entry(id).or_default();
        found.commands.push(command);
        found.replaces.extend(replaces);
    }
    let missed = |id: &OperationId| !found.contains_key(id) && !found.values().any(|found| found.replaces.contains(id));
    let missed: Vec<Operation> = followed.into_iter().filter(|operation| missed(&operation.id)).collect();
    for operation in missed {
        let commands = remembered(inner, aws, operation.id).await?;
        if commands.is_empty() {
            forgotten(inner, operation).await?;
        } else {
            found.insert(operation.id, Found { commands, replaces: Vec::new() });
        }
    }
    for (id, found) in found {
        follow(inner, location, aws, id, &found, &senders).await?;
    }
    Ok(())
}

/// The operation that a command with this comment belongs to, if the comment is a marker of this installation. After a store was
/// restored from a copy it may not know the operation.
fn operation_of(comment: &str, ours: &str) -> Option<OperationId> {
    let (id, _) = comment.strip_prefix(ours)?.split_once(':')?;
    id.parse().ok()
}

/// Commands that their association names and AWS does not list by document: what it lists are those that were asked for
/// by somebody, according to the model, and it is not documented whether State Manager is one.
pub(super) async fn unlisted(
    aws: &Aws,
    senders: &Senders,
    listed: &[CommandRecord],
    owners: &HashMap<String, Operation>,
) -> Result<Vec<CommandRecord>> {
    let mut commands = Vec::new();
    for id in senders.keys().filter(|id| listed.iter().all(|command| command.command_id != **id)) {
        if owners.get(id).is_none_or(|owner| !owner.state.is_terminal()) {
            commands.extend(aws.command(id).await?);
        }
    }
    Ok(commands)
}

/// The commands of an operation that AWS knows by their ids, though it lists them no more.
async fn remembered(inner: &Inner, aws: &Aws, id: OperationId) -> Result<Vec<CommandRecord>> {
    let mut commands = Vec::new();
    for dispatch in inner.store.operation(id).await?.into_iter().flat_map(|saved| saved.dispatches) {
        if let DispatchOutcome::Sent { command_id, .. } = dispatch.outcome {
            commands.extend(aws.command(&command_id).await?);
        }
    }
    Ok(commands)
}

/// Writes what AWS says now about one operation of others, if that is anything new.
async fn follow(
    inner: &Inner,
    location: &Location,
    aws: &Aws,
    id: OperationId,
    found: &Found,
    senders: &Senders,
) -> Result<()> {
    let now = inner.clock.now();
    let Found { commands, replaces } = found;
    let Some(first) = commands.first() else { return Ok(()) };
    let saved = inner.store.operation(id).await?;
    let before = saved.clone();
    let (mut operation, mut targets, mut dispatches) = match saved {
        Some(saved) => (saved.operation, saved.targets, saved.dispatches),
        None => {
            let origin = origin(first, senders.get(&first.command_id));
            (started(location, id, first, origin, now), Vec::new(), Vec::new())
        }
    };
    // An association's run may wait for instances that are away; nobody waits longer than its command would.
    let run_goes_on = |command: &CommandRecord| senders.get(&command.command_id).is_some_and(|s| s.going_on);
    let mut going_on = now < operation.deadline && commands.iter().any(run_goes_on);
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
    if going_on && operation.state.is_terminal() {
        // Its end was seen, and then more of it was found.
        (operation.state, operation.end_time) = (State::Running, None);
        FOLLOWED.clone_into(&mut operation.explanation);
    }
    if !going_on {
        end(&mut operation, &targets, now);
    }
    let changed: Vec<Target> = targets
        .into_iter()
        .filter(|target| before.as_ref().is_none_or(|before| !before.targets.contains(target)))
        .collect();
    let new = before.as_ref().map_or(0, |before| before.dispatches.len());
    let same = before.as_ref().is_some_and(|before| before.operation == operation);
    if same && changed.is_empty() && dispatches.len() == new && replaces.is_empty() {
        return Ok(());
    }
    operation.update_time = now;
    let mut tx = inner.store.begin().await?;
    for replaced in replaces {
        tx.delete_operation(*replaced).await?;
    }
    tx.put_operation(&operation).await?;
    tx.put_targets(id, &changed).await?;
    for dispatch in &dispatches[new..] {
        tx.put_dispatch(id, dispatch).await?;
    }
    Ok(tx.commit().await?)
}

fn origin(command: &CommandRecord, sender: Option<&Sender>) -> Origin {
    // S 7.3.2 and the parameter's own description: policies run AWS-RunPatchBaseline, and name their association.
    let policy = command.document != "AWS-RunPatchBaselineAssociation" && !command.association_id.is_empty();
    match sender.map(|sender| sender.origin.clone()) {
        Some(Origin::Association(_)) | None if policy => Origin::PatchPolicy(command.association_id.clone()),
        Some(origin) => origin,
        None if command.association_id.is_empty() => Origin::Command,
        None => Origin::Association(command.association_id.clone()),
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
                (Kind::Scan | Kind::Reboot, _) => None,
                (Kind::Install, "NoReboot") => Some(RebootOption::NoReboot),
                // The document's default (S 7.2.1).
                (Kind::Install, _) => Some(RebootOption::RebootIfNeeded),
            },
            concurrency: InstanceLimit::Percent(100),
            max_failures: InstanceLimit::Percent(100),
            max_duration: Spec::LONGEST,
            max_targets: Spec::MOST_TARGETS,
            on_busy: OnBusy::Wait,
            override_freeze: false,
            note: String::new(),
        },
        state: State::Running,
        reason: String::new(),
        explanation: FOLLOWED.to_owned(),
        snapshot_id: first.snapshot_id.clone(),
        snapshot_time: None,
        creator: String::new(),
        create_time: created,
        update_time: now,
        end_time: None,
        deadline: first.expires_after.unwrap_or(created),
        origin,
        retry_of: None,
        drift: Vec::new(),
        trace: None,
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
        let explanation = match operation.spec.kind {
            Kind::Scan | Kind::Reboot => "the command reported success; what it found is in the instance's patches",
            Kind::Install => {
                "the command reported success, which is its own word: not verified here is what is installed, and whether \
                 the agent came back"
            }
        };
        target.become_(TargetState::Succeeded, "", explanation, now);
    }
    outcome::take_for_failed(&mut target, now);
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
    let verified = match operation.spec.kind {
        Kind::Scan | Kind::Reboot => "",
        Kind::Install => "; what they installed was not verified here",
    };
    let (state, reason, explanation) = match targets.len() {
        0 => (State::Failed, "NO_TARGETS", "it reached no instance".to_owned()),
        all if all == succeeded => {
            (State::Succeeded, "", format!("its commands reported success on all {all} instances{verified}"))
        }
        all => {
            let explanation = format!("its commands reported success on {succeeded} of {all} instances{verified}");
            (State::CompletedWithFailures, "", explanation)
        }
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
        snapshot_id: command.snapshot_id.clone(),
        signed_at: command.requested.unwrap_or(now),
        outcome: DispatchOutcome::Sent { command_id: command.command_id.clone(), expires_after: command.expires_after },
    }
}
