//! Whose a command is: AWS tells it not of the command, but of the window or the association that sent it.

use super::Inner;
use crate::{
    Result,
    domain::operation::{OperationId, Origin},
};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::Aws;
use std::collections::HashMap;
use uuid::Uuid;

/// The longest that a window is open (S 9.1.1): its runs began at most that long before their commands.
const LONGEST_WINDOW: SignedDuration = SignedDuration::from_hours(24);
/// The same for a run of an association, which sends its commands when it begins.
const LONGEST_START: SignedDuration = SignedDuration::from_mins(30);

/// A run that sent a command.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) id: OperationId,
    pub(super) origin: Origin,
    /// Whether AWS says that the run is not over; of windows it is asked later.
    pub(super) going_on: bool,
}

/// By the commands' ids.
pub(super) type Senders = HashMap<String, Sender>;

/// The commands that windows have sent since then.
pub(super) async fn windows(inner: &Inner, aws: &Aws, since: Timestamp) -> Result<Senders> {
    let mut senders = Senders::new();
    for window in aws.windows().await? {
        for execution in aws.window_executions(&window.id, Some(since - LONGEST_WINDOW), None).await? {
            let Ok(uuid) = Uuid::parse_str(execution.id.as_str()) else { continue };
            let id = OperationId::Run(uuid);
            if over_before(inner, id, since).await? {
                continue;
            }
            let sender = Sender { id, origin: Origin::Window(window.id.clone()), going_on: false };
            let tasks = aws.execution_tasks(&execution.id).await?;
            let started = tasks.into_iter().flat_map(|task| task.invocations);
            senders.extend(started.map(|started| (started.execution_id, sender.clone())));
        }
    }
    Ok(senders)
}

/// The commands that associations have sent since then.
pub(super) async fn associations(inner: &Inner, aws: &Aws, since: Timestamp) -> Result<Senders> {
    let mut senders = Senders::new();
    for run in aws.patch_association_runs(since - LONGEST_START).await? {
        let Ok(uuid) = Uuid::parse_str(&run.id) else { continue };
        let id = OperationId::Association(uuid);
        if over_before(inner, id, since).await? {
            continue;
        }
        let origin = Origin::Association(run.association_id.clone());
        let sender = Sender { id, origin, going_on: !run.ended };
        let commands = aws.association_commands(&run).await?.into_iter();
        senders.extend(commands.map(|command| (command, sender.clone())));
    }
    Ok(senders)
}

/// Whether this run is known to have ended before then: it has sent nothing since.
async fn over_before(inner: &Inner, id: OperationId, time: Timestamp) -> Result<bool> {
    let known = inner.store.listed(id).await?;
    Ok(known.is_some_and(|known| known.operation.end_time.is_some_and(|end| end < time)))
}
