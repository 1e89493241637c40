//! The engine: takes each unfinished operation to its end, whatever happens to the process meanwhile.
//!
//! One task for each operation: read the record, decide ([`next`], pure), act ([`act`]), record, again. Nothing is kept in
//! memory that a restart could not do without.

mod act;
mod history;
mod next;
mod outcome;
pub(crate) mod resolve;
mod senders;

#[cfg(test)]
mod tests;

use crate::{domain::operation::OperationId, store::Store};
use jiff::{SignedDuration, Timestamp};
use next::{Observed, Step};
use patchplane_aws::{Aws, Clock};
use patchplane_rules::Location;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};

/// After a step that failed for a reason that passes.
const PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// Between two looks at what others did, when nobody asks.
const SWEEP_EVERY: SignedDuration = SignedDuration::from_mins(3);

/// Works on operations. Clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    clock: Clock,
    locations: BTreeMap<Location, Aws>,
    store: Store,
    tasks: Mutex<HashMap<OperationId, JoinHandle<()>>>,
    /// How many operations are being worked on at this moment, those asleep not counted.
    busy: watch::Sender<usize>,
    /// When each location was last swept for what others did; held while one is.
    swept: BTreeMap<Location, tokio::sync::Mutex<Option<Timestamp>>>,
}

/// Counts as work until dropped.
struct Busy<'a>(&'a watch::Sender<usize>);

impl Engine {
    pub(crate) fn new(clock: Clock, locations: BTreeMap<Location, Aws>, store: Store) -> Self {
        let swept = locations.keys().map(|location| (location.clone(), tokio::sync::Mutex::default())).collect();
        let inner = Inner { clock, locations, store, tasks: Mutex::default(), busy: watch::Sender::new(0), swept };
        Self(Arc::new(inner))
    }

    /// Takes up every operation that an earlier process left unfinished, and says how many there are.
    pub async fn recover(&self) -> crate::Result<usize> {
        let unfinished = self.0.store.unfinished().await?;
        for id in &unfinished {
            self.start(*id);
        }
        Ok(unfinished.len())
    }

    /// Works on this operation until it ends.
    pub(crate) fn start(&self, id: OperationId) {
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|_, task| !task.is_finished());
        let inner = Arc::clone(&self.0);
        // Counted from this moment on, so that nobody sees an idle engine with new work.
        self.0.busy.send_modify(|busy| *busy += 1);
        let task = tokio::spawn(async move {
            let busy = Busy(&inner.busy);
            drive(&inner, id, busy).await;
        });
        tasks.insert(id, task);
    }

    /// Sees what others have started in a location, unless somebody did so within `unless_within`.
    pub(crate) async fn sweep(&self, location: &Location, unless_within: SignedDuration) -> crate::Result<()> {
        let (Some(aws), Some(swept)) = (self.0.locations.get(location), self.0.swept.get(location)) else {
            return Ok(());
        };
        let mut last = swept.lock().await;
        let now = self.0.clock.now();
        if last.is_none_or(|last| now.duration_since(last) >= unless_within) {
            history::sweep(&self.0, location, aws, *last).await?;
            *last = Some(now);
        }
        Ok(())
    }

    /// Sweeps all locations, again and again: AWS forgets after 30 days, and watchers want to see changes.
    pub async fn sweep_for_ever(&self) {
        loop {
            for location in self.0.locations.keys() {
                if let Err(error) = self.sweep(location, SWEEP_EVERY).await {
                    tracing::warn!(%location, %error, "what others did cannot be seen at the moment");
                }
            }
            self.0.rest(self.0.clock.now().checked_add(SWEEP_EVERY).unwrap_or(Timestamp::MAX)).await;
        }
    }

    /// How many operations are being worked on, those asleep not counted. Tests move their clock when it is 0.
    pub fn busy(&self) -> watch::Receiver<usize> {
        self.0.busy.subscribe()
    }

    /// Stops all work at once: what was begun is recorded, and goes on after the next start.
    pub fn stop(&self) {
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, task) in tasks.drain() {
            task.abort();
        }
    }
}

impl Inner {
    /// Sleeps as one who does not work.
    fn rest(&self, until: Timestamp) -> impl Future<Output = ()> + Send + use<> {
        let wait = until.duration_since(self.clock.now());
        self.clock.sleep(Duration::try_from(wait).unwrap_or(Duration::ZERO))
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|busy| *busy -= 1);
    }
}

async fn drive(inner: &Inner, id: OperationId, busy: Busy<'_>) {
    let mut busy = Some(busy);
    let mut observed = Observed::default();
    loop {
        let until = match act::advance(inner, id, &mut observed).await {
            Ok(Step::Done) => return,
            Ok(Step::Sleep { until }) => until,
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(
                    operation.id = %id,
                    error = %error,
                    cause = error.source().map(tracing::field::display),
                    "an operation cannot go on at the moment"
                );
                inner.clock.now().checked_add(PAUSE).unwrap_or(Timestamp::MAX)
            }
        };
        // The sleep is entered before the work is counted off, and left after it is counted on: whoever looks sees one of
        // the two.
        let mut sleep = std::pin::pin!(inner.rest(until));
        let entered = futures::poll!(sleep.as_mut()).is_ready();
        if !entered {
            drop(busy.take());
            sleep.as_mut().await;
            inner.busy.send_modify(|count| *count += 1);
            busy = Some(Busy(&inner.busy));
        }
    }
}

use std::error::Error as _;
