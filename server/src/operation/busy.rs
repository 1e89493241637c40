//! What keeps instances from being patched now: freezes, and runs that others have started.

use super::{Inner, dispatch::marker_of, history, senders};
use crate::{
    Result,
    domain::{
        freeze::Freeze,
        operation::{Kind, Operation},
        patch_schedule::{is_rate, timetable},
    },
};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::{Aws, ErrorKind, Invocation, PATCH_DOCUMENTS};
use patchplane_rules::{InstanceId, TargetTerm, WindowId, WindowSummary, WindowTarget, WindowTask};
use std::collections::{BTreeMap, HashMap};

/// How old a patch command of others can be and still run: delivery and execution fit well into it (S 6.1.17).
const LONGEST_RUN: SignedDuration = SignedDuration::from_hours(6);

/// How long before a window opens nothing more is installed on what it installs on: longer than most installations take, and
/// shorter than any window is long.
const BEFORE_WINDOW: SignedDuration = SignedDuration::from_mins(30);

/// How long after a window has opened its commands may not be listed yet: AWS starts tasks within moments, and lists a command
/// a moment later (S 1.25).
const AFTER_OPENING: SignedDuration = SignedDuration::from_mins(5);

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

/// Which of these instances a patch command works on at this moment that no operation here has sent, or for an installation
/// a maintenance window is about to, and what that is. Others may start something right after we looked: AWS offers no lock.
pub(super) async fn elsewhere(
    inner: &Inner,
    aws: &Aws,
    kind: Kind,
    instance_ids: &[InstanceId],
    now: Timestamp,
) -> Result<HashMap<InstanceId, String>> {
    let mut others = commands(inner, aws, instance_ids, now).await?;
    if kind != Kind::Scan {
        others.extend(windows(aws, now).await?);
    }
    let by_tags = |other: &Other| other.terms.iter().any(|term| term.key.starts_with("tag"));
    let mut tags = BTreeMap::new();
    if others.iter().any(by_tags) {
        tags = aws.sightings(instance_ids).await?.into_iter().map(|(id, seen)| (id, seen.tags)).collect();
    }
    let untagged = BTreeMap::new();
    let found = instance_ids.iter().filter_map(|id| {
        let tags = tags.get(id).unwrap_or(&untagged);
        let other = others.iter().find(|other| other.works_on(id, tags))?;
        Some((id.clone(), other.name.clone()))
    });
    Ok(found.collect())
}

/// Something of others that patches instances now, or soon.
struct Other {
    name: String,
    reached: Vec<InstanceId>,
    /// Those that it is meant for, where AWS has not shown yet which those are; all terms together.
    terms: Vec<TargetTerm>,
    /// Those that are done with it.
    ended: Vec<InstanceId>,
}

impl Other {
    fn works_on(&self, id: &InstanceId, tags: &BTreeMap<String, String>) -> bool {
        let meant = || !self.terms.is_empty() && self.terms.iter().all(|term| term.covers(id, tags));
        !self.ended.contains(id) && (self.reached.contains(id) || meant())
    }
}

async fn commands(inner: &Inner, aws: &Aws, instance_ids: &[InstanceId], now: Timestamp) -> Result<Vec<Other>> {
    let since = now.checked_sub(LONGEST_RUN).unwrap_or(now);
    let mut commands = aws.all_patch_commands_since(since).await?;
    let senders = senders::associations(inner, aws, since).await?;
    let ids = commands.iter().map(|command| &command.command_id).chain(senders.keys());
    let owners = inner.store.owners(&ids.map(String::as_str).collect::<Vec<_>>()).await?;
    commands.extend(history::unlisted(aws, &senders, &commands, &owners).await?);
    let ours = marker_of(inner);
    let mut others = Vec::new();
    for command in commands {
        let known = owners.get(&command.command_id).is_some_and(|owner| owner.id.is_ours());
        let elsewhere =
            !command.instance_ids.is_empty() && !instance_ids.iter().any(|id| command.instance_ids.contains(id));
        if command.ended || known || elsewhere {
            continue;
        }
        let invocations = match aws.invocations(&command.command_id).await {
            Err(error) if error.kind == ErrorKind::UnknownCommand => continue,
            invocations => invocations?,
        };
        let (ended, going_on): (Vec<_>, Vec<_>) =
            invocations.into_iter().partition(|invocation| invocation.status.is_terminal());
        let ids = |invocations: Vec<Invocation>| invocations.into_iter().map(|invocation| invocation.instance_id);
        // After a restored store there may be such, of operations that it has forgotten.
        let whose = if command.comment.starts_with(&ours) { "that this store does not know" } else { "of others" };
        others.push(Other {
            name: format!("the command {} {whose} works on it", command.command_id),
            // Right after it was sent AWS may show no invocation yet (S 1.25): the ids it was sent to count until it does.
            reached: ids(going_on).chain(command.instance_ids).collect(),
            terms: command.targets,
            ended: ids(ended).collect(),
        });
    }
    Ok(others)
}

/// The installations of windows that are about to open.
async fn windows(aws: &Aws, now: Timestamp) -> Result<Vec<Other>> {
    let mut others = Vec::new();
    for window in aws.windows().await? {
        let Some(at) = opening(&window, now).filter(|_| window.enabled) else { continue };
        let mut targets = None;
        for task in aws.window_tasks(&window.id).await? {
            if task.task_type != "RUN_COMMAND" || !installs(aws, &window.id, &task).await? {
                continue;
            }
            let other = |terms| Other {
                name: format!("the maintenance window {} ({}) installs on it at {at}", window.id, window.name),
                reached: Vec::new(),
                terms,
                ended: Vec::new(),
            };
            if targets.is_none() {
                targets = Some(aws.window_targets(&window.id).await?);
            }
            let named = |target: &&WindowTarget| {
                task.targets.iter().any(|term| term.key == "WindowTargetIds" && term.values.contains(&target.id))
            };
            let registered = targets.iter().flatten().filter(named).map(|target| other(target.terms.clone()));
            others.extend(registered);
            others.push(other(task.targets));
        }
    }
    Ok(others)
}

/// When a window opens soon, or has opened a moment ago: AWS's forecast names only the next time.
fn opening(window: &WindowSummary, now: Timestamp) -> Option<Timestamp> {
    let soon = now.checked_add(BEFORE_WINDOW).ok()?;
    let next = window.next_execution.filter(|at| now <= *at && *at <= soon);
    next.or_else(|| last_opening(window, now))
}

fn last_opening(window: &WindowSummary, now: Timestamp) -> Option<Timestamp> {
    let since = now.checked_sub(AFTER_OPENING).ok()?;
    let last = if is_rate(&window.timing.expression) {
        // As long before the next time as there is from that to the one after.
        let next = window.next_execution?;
        let following = timetable(&window.timing, Some(next)).ok()?.next_after(next)?.time;
        next.checked_sub(following.duration_since(next)).ok()?
    } else {
        timetable(&window.timing, None).ok()?.next_after(since)?.time
    };
    (since <= last && last <= now).then_some(last)
}

async fn installs(aws: &Aws, window: &WindowId, task: &WindowTask) -> Result<bool> {
    // A document may be named by its ARN, too.
    if !PATCH_DOCUMENTS.iter().any(|document| task.task_arn.rsplit('/').next() == Some(document)) {
        return Ok(false);
    }
    let command = aws.window_task(window, &task.id).await?.command.unwrap_or_default();
    Ok(command.parameters.get("Operation").is_some_and(|values| values.iter().any(|value| value == "Install")))
}
