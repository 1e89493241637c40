//! Watching an operation: level-triggered. Each message brings what has changed at its newest state; a slow reader skips
//! steps and is never waited for.

use super::App;
use crate::{
    Error, Result,
    auth::{Action, Caller, Principal},
    domain::{name::OperationName, operation::Target},
    store::Listed,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::watch;

/// The most targets in one message.
const CHUNK: usize = 200;
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);

/// One message of a watch, and where to resume after it.
pub struct Watched {
    pub event: Event,
    pub resume_token: Option<String>,
}

pub enum Event {
    Snapshot { listed: Option<Box<Listed>>, targets: Vec<Target>, complete: bool },
    Update { listed: Box<Listed>, targets: Vec<Target> },
    Heartbeat { time: Timestamp },
}

#[derive(Serialize, Deserialize)]
struct Seen {
    revision: u64,
}

/// An open watch: ask it for one message after the other.
pub struct Watch {
    app: Arc<App>,
    principal: Principal,
    name: OperationName,
    revisions: watch::Receiver<u64>,
    seen: Option<u64>,
    ready: VecDeque<Watched>,
    ended: bool,
    draining: watch::Receiver<bool>,
}

impl App {
    /// Opens a watch, from now or from where a token was given.
    pub async fn watch_patch_operation(
        self: &Arc<Self>,
        who: &Caller,
        name: OperationName,
        resume_token: Option<String>,
    ) -> Result<Watch> {
        who.may(Action::ReadPatchOperations, &name.location)?;
        let name = OperationName { id: self.listed(&name).await?.operation.id, ..name };
        let seen = match resume_token {
            None => None,
            Some(token) => {
                let opened: Option<Seen> = self.sealer.open(&who.principal, &purpose(&name), &token, self.clock.now());
                Some(opened.ok_or(Error::ResumeToken)?.revision)
            }
        };
        Ok(Watch {
            app: Arc::clone(self),
            principal: who.principal.clone(),
            name,
            revisions: self.store.revisions(),
            seen,
            ready: VecDeque::new(),
            ended: false,
            draining: self.draining.subscribe(),
        })
    }
}

impl Watch {
    /// The next message; `None` after the operation's end. Waits for a change, or for the time of a heartbeat.
    pub async fn next(&mut self) -> Result<Option<Watched>> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            if self.ended {
                return Ok(None);
            }
            // Marked as seen before reading, so that a change in between wakes the next wait.
            self.revisions.borrow_and_update();
            self.read().await?;
            if !self.ready.is_empty() || self.ended {
                continue;
            }
            let wait = async {
                tokio::select! {
                    changed = self.revisions.changed() => changed.map_err(|_| Error::Draining),
                    _ = self.draining.wait_for(|draining| *draining) => Err(Error::Draining),
                }
            };
            match tokio::time::timeout(HEARTBEAT, wait).await {
                Ok(changed) => changed?,
                Err(_) => {
                    let time = self.app.clock.now();
                    let resume_token = self.token(self.seen.unwrap_or(0));
                    return Ok(Some(Watched { event: Event::Heartbeat { time }, resume_token }));
                }
            }
        }
    }

    async fn read(&mut self) -> Result<()> {
        let since = self.seen.unwrap_or(0);
        let mut changes = self.app.store.changes(self.name.id, since).await?;
        if changes.is_none() {
            // A command that turned out to be a run's: all of it was written anew under the run's name.
            self.name.id = self.app.listed(&self.name).await?.operation.id;
            changes = self.app.store.changes(self.name.id, since).await?;
        }
        let changes =
            changes.ok_or_else(|| Error::not_found("patch operation", "PATCH_OPERATION_NOT_FOUND", &self.name))?;
        if self.seen.is_some_and(|seen| seen > changes.revision) {
            // The store was brought back from an earlier time.
            return Err(Error::ResumeToken);
        }
        self.ended = changes.listed.operation.state.is_terminal();
        let first = self.seen.is_none();
        self.seen = Some(changes.revision);
        let token = self.token(changes.revision);
        let chunks: Vec<Vec<Target>> = changes.targets.chunks(CHUNK).map(<[Target]>::to_vec).collect();
        let listed = Box::new(changes.listed);
        if first {
            let event = Event::Snapshot { listed: Some(listed), targets: Vec::new(), complete: chunks.is_empty() };
            let resume_token = token.clone().filter(|_| chunks.is_empty());
            self.ready.push_back(Watched { event, resume_token });
            let last = chunks.len();
            for (i, targets) in chunks.into_iter().enumerate() {
                let complete = i + 1 == last;
                let event = Event::Snapshot { listed: None, targets, complete };
                self.ready.push_back(Watched { event, resume_token: token.clone().filter(|_| complete) });
            }
        } else if changes.any {
            let last = chunks.len().max(1);
            let chunks = if chunks.is_empty() { vec![Vec::new()] } else { chunks };
            for (i, targets) in chunks.into_iter().enumerate() {
                let event = Event::Update { listed: listed.clone(), targets };
                self.ready.push_back(Watched { event, resume_token: token.clone().filter(|_| i + 1 == last) });
            }
        }
        Ok(())
    }

    fn token(&self, revision: u64) -> Option<String> {
        self.app.sealer.seal(&self.principal, &purpose(&self.name), &Seen { revision }, self.app.clock.now())
    }
}

fn purpose(name: &OperationName) -> String {
    format!("watch {name}")
}
