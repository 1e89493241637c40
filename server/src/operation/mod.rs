//! The engine: takes each unfinished operation to its end, whatever happens to the process meanwhile.
//!
//! One task for each operation that this process has claimed: read the record, decide ([`next`], pure), act ([`act`]),
//! record, again. Nothing is kept in memory that a restart could not do without. A claim is a lease: it is renewed while
//! the process lives, and whoever has lost it writes nothing more.

mod act;
mod busy;
mod dispatch;
mod drift;
mod fair;
mod history;
mod next;
mod outcome;
pub(crate) mod resolve;
mod senders;
mod settle;
mod verify;

#[cfg(test)]
mod tests;

use crate::{
    Error,
    domain::operation::OperationId,
    store::{self, Claim, Store},
};
use act::Held;
use fair::Gate;
use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use next::{Observed, Restored, Step};
use patchplane_aws::{Aws, Clock, ErrorKind};
use patchplane_rules::Location;
use std::{
    collections::{BTreeMap, HashMap},
    error::Error as _,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};
use uuid::Uuid;

/// After a step that failed for a reason that passes.
const PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// After a step that AWS denied: somebody must grant a right first.
const DENIED_PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// Between two looks at what others did, when nobody asks.
const SWEEP_EVERY: SignedDuration = SignedDuration::from_mins(3);

/// Between two looks whether all steps have ended.
const WIND_DOWN_LOOK: Duration = Duration::from_millis(20);

/// How many operations are claimed at once: the others are left to other servers until the next time.
const CLAIM_AT_ONCE: usize = 50;

/// How the engine holds operations, and what it does about sends that cannot be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For how long an operation is claimed, by the database's time: when a server dies, another goes on after it.
    pub lease: Duration,
    /// A send that is proven never to have reached AWS leaves its targets UNKNOWN all the same.
    pub never_resend: bool,
}

/// Works on operations. Clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    clock: Clock,
    locations: BTreeMap<Location, Aws>,
    gates: BTreeMap<Location, Gate>,
    store: Store,
    settings: Settings,
    /// When this process began.
    begun: Timestamp,
    /// This process, as the store knows who has claimed what.
    owner: Uuid,
    tasks: Mutex<HashMap<OperationId, Task>>,
    /// Renews the claims and takes up what others have left.
    keeper: Mutex<Option<JoinHandle<()>>>,
    /// How many operations are being worked on at this moment, those asleep not counted.
    busy: watch::Sender<usize>,
    /// Whether work ends: no step is begun any more.
    stopping: watch::Sender<bool>,
    /// When each location was last swept for what others did; held while one is.
    swept: BTreeMap<Location, tokio::sync::Mutex<Option<Timestamp>>>,
}

struct Task {
    /// The number under which it holds its operation.
    fence: u64,
    handle: JoinHandle<()>,
    nudge: Arc<Nudge>,
}

/// Wakes a task that sleeps.
#[derive(Default)]
struct Nudge {
    notify: Notify,
    /// Counted as work from the nudge on, until the task has seen it.
    given: AtomicBool,
}

/// Counts as work until dropped.
struct Busy<'a>(&'a watch::Sender<usize>);

impl Default for Settings {
    fn default() -> Self {
        Self { lease: Duration::from_secs(60), never_resend: false }
    }
}

impl Settings {
    /// How much of a lease must be left for a send: more than the send takes.
    fn send_margin(&self) -> Duration {
        self.lease / 2
    }

    /// Between two renewals; also how long it takes until a server sees what was asked of another one.
    fn renew_every(&self) -> Duration {
        (self.lease / 6).min(Duration::from_secs(5))
    }
}

impl Engine {
    pub(crate) fn new(clock: Clock, locations: BTreeMap<Location, Aws>, store: Store, settings: Settings) -> Self {
        let swept = locations.keys().map(|location| (location.clone(), tokio::sync::Mutex::default())).collect();
        let gates = locations.keys().map(|location| (location.clone(), Gate::default())).collect();
        Self(Arc::new(Inner {
            begun: clock.now(),
            clock,
            locations,
            gates,
            store,
            settings,
            owner: Uuid::new_v4(),
            tasks: Mutex::default(),
            keeper: Mutex::default(),
            busy: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            swept,
        }))
    }

    /// Takes up every operation that an earlier process left unfinished, says how many there are, and from now on also
    /// those that other processes leave.
    pub async fn recover(&self) -> crate::Result<usize> {
        let claims = self.0.claim_all().await?;
        for claim in &claims {
            Inner::start(&self.0, *claim);
        }
        let inner = Arc::downgrade(&self.0);
        let keeper = tokio::spawn(keep(inner, self.0.settings.renew_every()));
        *self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper);
        Ok(claims.len())
    }

    /// Who claims operations here, and for how long: an operation is claimed in the write that creates it.
    pub(crate) fn claimant(&self) -> (Uuid, Duration) {
        (self.0.owner, self.0.settings.lease)
    }

    /// Works on this operation until it ends.
    pub(crate) fn start(&self, claim: Claim) {
        Inner::start(&self.0, claim);
    }

    /// Has an operation looked at now: something was asked of it. One that another process works on sees it there.
    pub(crate) fn nudge(&self, id: OperationId) {
        if let Some(task) = self.0.tasks().get(&id) {
            self.0.nudge(task);
        }
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

    /// Since when it is known what others did, by location; since the start of this process where it never was.
    pub(crate) fn swept(&self) -> BTreeMap<Location, Timestamp> {
        let mut known = BTreeMap::new();
        for (location, swept) in &self.0.swept {
            // One that is being swept at this moment is looked at again soon.
            if let Ok(swept) = swept.try_lock() {
                known.insert(location.clone(), swept.unwrap_or(self.0.begun));
            }
        }
        known
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

    /// How many operations this process has claimed and works on, those asleep too.
    pub fn working_on(&self) -> usize {
        self.0.tasks().values().filter(|task| !task.handle.is_finished()).count()
    }

    /// How many operations are being worked on, those asleep not counted. Tests move their clock when it is 0.
    pub fn busy(&self) -> watch::Receiver<usize> {
        self.0.busy.subscribe()
    }

    /// Lets steps under way end, so that no send is cut off, and begins no more; for so long at most. Claims are kept.
    pub async fn wind_down(&self, at_most: Duration) {
        self.0.stopping.send_replace(true);
        let ended = async {
            while self.working_on() > 0 {
                tokio::time::sleep(WIND_DOWN_LOOK).await;
            }
        };
        if tokio::time::timeout(at_most, ended).await.is_err() {
            tracing::warn!(operations = self.working_on(), "some steps of operations are cut off");
        }
    }

    /// Stops all work at once: what was begun is recorded, and goes on after the next start.
    pub fn stop(&self) {
        if let Some(keeper) = self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            keeper.abort();
        }
        for (_, task) in self.0.tasks().drain() {
            task.handle.abort();
        }
    }

    /// Stops, and leaves the claims to others at once.
    pub async fn release(&self) -> crate::Result<()> {
        self.stop();
        Ok(self.0.store.release(self.0.owner).await?)
    }
}

impl Inner {
    fn tasks(&self) -> MutexGuard<'_, HashMap<OperationId, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn claim_all(&self) -> crate::Result<Vec<Claim>> {
        let mut claims = Vec::new();
        loop {
            let more = self.store.claim(self.owner, self.settings.lease, CLAIM_AT_ONCE).await?;
            let last = more.len() < CLAIM_AT_ONCE;
            claims.extend(more);
            if last {
                return Ok(claims);
            }
        }
    }

    fn start(this: &Arc<Self>, claim: Claim) {
        let mut tasks = this.tasks();
        tasks.retain(|_, task| !task.handle.is_finished());
        if tasks.get(&claim.id).is_some_and(|task| task.fence == claim.fence) {
            return;
        }
        // Counted from this moment on, so that nobody sees an idle engine with new work.
        this.busy.send_modify(|busy| *busy += 1);
        let nudge = Arc::new(Nudge::default());
        let (inner, nudged) = (Arc::clone(this), Arc::clone(&nudge));
        let handle = tokio::spawn(async move {
            let busy = Busy(&inner.busy);
            let driven = AssertUnwindSafe(drive(&inner, claim, &nudged, busy)).catch_unwind().await;
            inner.seen(&nudged);
            if driven.is_err() {
                // Told by the panic itself. The claim is kept, and its keeper takes it up again.
                tracing::error!(operation.id = %claim.id, "a step of an operation broke off");
            }
        });
        if let Some(earlier) = tasks.insert(claim.id, Task { fence: claim.fence, handle, nudge }) {
            earlier.handle.abort();
        }
    }

    fn nudge(&self, task: &Task) {
        if task.handle.is_finished() || task.nudge.given.swap(true, Ordering::SeqCst) {
            return;
        }
        self.busy.send_modify(|busy| *busy += 1);
        task.nudge.notify.notify_one();
    }

    /// A task has seen what it was nudged for, or will with its next look.
    fn seen(&self, nudge: &Nudge) {
        if nudge.given.swap(false, Ordering::SeqCst) {
            self.busy.send_modify(|busy| *busy -= 1);
        }
    }

    /// Renews what this process has claimed, drops what it has lost, and takes what others have left. What it has claimed
    /// and nobody works on is taken up: its task broke off, or the call ended in the moment that created it.
    async fn keep_claims(this: &Arc<Self>) -> crate::Result<()> {
        let kept: HashMap<OperationId, Claim> = {
            let kept = this.store.renew(this.owner, this.settings.lease).await?;
            kept.into_iter().map(|claim| (claim.id, claim)).collect()
        };
        for (id, task) in this.tasks().iter().filter(|(id, _)| !kept.contains_key(id)) {
            if !task.handle.is_finished() {
                tracing::warn!(operation.id = %id, "another process has taken the operation over");
                task.handle.abort();
            }
        }
        if *this.stopping.borrow() {
            return Ok(());
        }
        for claim in kept.into_values() {
            Self::start(this, claim);
        }
        for claim in this.claim_all().await? {
            tracing::info!(operation.id = %claim.id, "an operation that another process left goes on here");
            Self::start(this, claim);
        }
        Ok(())
    }

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

/// Leases run by the database's time, so this does too.
async fn keep(inner: Weak<Inner>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = Inner::keep_claims(&inner).await {
            tracing::warn!(%error, "the store does not renew the claims on operations");
        }
    }
}

async fn drive(inner: &Inner, claim: Claim, nudge: &Nudge, busy: Busy<'_>) {
    let mut busy = Some(busy);
    let held = Held { inner, id: claim.id, fence: claim.fence };
    let restored = claim.restored.then(|| Restored { at: inner.clock.now(), compared: None });
    let mut known = None;
    let mut observed = Observed { restored, never_resend: inner.settings.never_resend, ..Observed::default() };
    let mut stopping = inner.stopping.subscribe();
    loop {
        inner.seen(nudge);
        if *stopping.borrow() {
            return;
        }
        let until = match act::advance(held, &mut observed, &mut known).await {
            Ok(Step::Done) => return,
            Ok(Step::Sleep { until }) => until,
            Ok(_) => continue,
            Err(Error::Store(store::Error::Fenced)) => {
                tracing::warn!(operation.id = %claim.id, "another process works on the operation");
                return;
            }
            Err(error) => {
                tracing::warn!(
                    operation.id = %claim.id,
                    error = %error,
                    cause = error.source().map(tracing::field::display),
                    "an operation cannot go on at the moment"
                );
                let pause = match &error {
                    Error::Aws(aws) if matches!(aws.kind, ErrorKind::Denied | ErrorKind::Credentials) => {
                        // The record says so, too: its readers can do something about it.
                        if observed.denied.replace(aws.to_string()).is_none() {
                            continue;
                        }
                        DENIED_PAUSE
                    }
                    _ => PAUSE,
                };
                inner.clock.now().checked_add(pause).unwrap_or(Timestamp::MAX)
            }
        };
        // The sleep is entered before the work is counted off, and left after it is counted on: whoever looks sees one of
        // the two.
        let mut sleep = std::pin::pin!(inner.rest(until));
        let entered = futures::poll!(sleep.as_mut()).is_ready();
        if !entered {
            drop(busy.take());
            tokio::select! {
                () = sleep.as_mut() => {}
                () = nudge.notify.notified() => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
            inner.busy.send_modify(|count| *count += 1);
            busy = Some(Busy(&inner.busy));
        }
    }
}
