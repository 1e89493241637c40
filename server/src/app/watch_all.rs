//! Watching all operations of a location, or of all: level-triggered, as the watch over one is.

use super::{App, watch::HEARTBEAT};
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::name::Parent,
    store::Listed,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::watch;

/// The most operations in one message.
const CHUNK: usize = 200;

/// One message, and where to resume after it.
pub struct WatchedAll {
    pub event: EventOfAll,
    pub resume_token: Option<String>,
}

pub enum EventOfAll {
    Snapshot { operations: Vec<Listed>, complete: bool },
    Update { operations: Vec<Listed> },
    Heartbeat { time: Timestamp },
}

#[derive(Serialize, Deserialize)]
struct Seen {
    revision: u64,
}

/// An open watch: ask it for one message after the other.
pub struct WatchAll {
    app: Arc<App>,
    who: Caller,
    parent: Parent,
    revisions: watch::Receiver<u64>,
    seen: Option<u64>,
    ready: VecDeque<WatchedAll>,
    draining: watch::Receiver<bool>,
}

impl App {
    /// Opens a watch, from now or from where a token was given.
    pub async fn watch_patch_operations(
        self: &Arc<Self>,
        who: &Caller,
        parent: Parent,
        resume_token: Option<String>,
    ) -> Result<WatchAll> {
        if let Some(location) = parent.exact() {
            who.may(Action::ReadPatchOperations, &location)?;
            self.aws(&location)?;
        }
        let revisions = self.store.revisions();
        let seen = match resume_token {
            None => None,
            Some(token) => {
                let opened: Option<Seen> =
                    self.sealer.open(&who.principal, &purpose(&parent), &token, self.clock.now());
                Some(opened.ok_or(Error::ResumeToken)?.revision)
            }
        };
        Ok(WatchAll {
            app: Arc::clone(self),
            who: who.clone(),
            parent,
            revisions,
            seen,
            ready: VecDeque::new(),
            draining: self.draining.subscribe(),
        })
    }
}

impl WatchAll {
    /// The next message. Waits for a change, or for the time of a heartbeat.
    pub async fn next(&mut self) -> Result<WatchedAll> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(message);
            }
            // Marked as seen before reading, so that a change in between wakes the next wait.
            self.revisions.borrow_and_update();
            self.read().await?;
            if !self.ready.is_empty() {
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
                    return Ok(WatchedAll { event: EventOfAll::Heartbeat { time }, resume_token });
                }
            }
        }
    }

    async fn read(&mut self) -> Result<()> {
        let location = self.parent.exact();
        let Some(since) = self.seen else {
            let (mut operations, revision) = self.app.store.going_on(location.as_ref()).await?;
            operations.retain(|listed| self.shows(listed));
            let mut chunks: VecDeque<Vec<Listed>> = operations.chunks(CHUNK).map(<[Listed]>::to_vec).collect();
            if chunks.is_empty() {
                chunks.push_back(Vec::new());
            }
            while let Some(operations) = chunks.pop_front() {
                let complete = chunks.is_empty();
                let resume_token = self.token(revision).filter(|_| complete);
                self.ready.push_back(WatchedAll { event: EventOfAll::Snapshot { operations, complete }, resume_token });
            }
            self.seen = Some(revision);
            return Ok(());
        };
        // One message of changes at a time: a slow reader skips what is overwritten meanwhile.
        let (mut operations, revision) = self.app.store.changed_operations(location.as_ref(), since, CHUNK).await?;
        if revision < since {
            // The store was brought back from an earlier time.
            return Err(Error::ResumeToken);
        }
        operations.retain(|listed| self.shows(listed));
        self.seen = Some(revision);
        if !operations.is_empty() {
            let resume_token = self.token(revision);
            self.ready.push_back(WatchedAll { event: EventOfAll::Update { operations }, resume_token });
        }
        Ok(())
    }

    fn shows(&self, listed: &Listed) -> bool {
        let location = &listed.operation.location;
        self.parent.covers(location) && self.who.may(Action::ReadPatchOperations, location).is_ok()
    }

    fn token(&self, revision: u64) -> Option<String> {
        self.app.sealer.seal(&self.who.principal, &purpose(&self.parent), &Seen { revision }, self.app.clock.now())
    }
}

fn purpose(parent: &Parent) -> String {
    format!("watch all {parent}")
}
