//! The use-cases: may they, what follows. Knows no gRPC.

pub mod available_patches;
pub mod baseline_changes;
pub mod baselines;
pub mod compliance;
pub mod default_baselines;
pub mod freezes;
pub mod instances;
mod locations;
pub mod maintenance_windows;
mod mutations;
pub mod patch_groups;
pub mod patch_operations;
pub mod patch_schedules;
pub mod preview;
pub mod readiness;
mod seal;
pub mod watch;
pub mod watch_all;

use crate::{
    Error, Result,
    config::AdvisoryFeed,
    operation::{Engine, Settings},
    store::Store,
};
use patchplane_aws::{Aws, Clock};
use patchplane_rules::Location;
use std::{
    collections::{BTreeMap, HashSet},
    sync::Mutex,
};
use tokio::sync::{Semaphore, watch as channel};

pub use locations::{ListPage, Unreachable};

/// All use-cases, over AWS as seen from the configured locations and over the store.
pub struct App {
    clock: Clock,
    /// In name order, as lists walk them.
    locations: BTreeMap<Location, Aws>,
    store: Store,
    engine: Engine,
    sealer: seal::Sealer,
    /// The mutations under way in this process.
    running: Mutex<HashSet<crate::store::RequestKey>>,
    draining: channel::Sender<bool>,
    /// So many windows of a location are looked into at once, whoever asks: each takes six calls of AWS.
    window_reads: BTreeMap<Location, Semaphore>,
    /// For previews of baselines.
    feeds: Vec<AdvisoryFeed>,
}

impl App {
    pub fn new(clock: Clock, locations: BTreeMap<Location, Aws>, store: Store, settings: Settings) -> Result<Self> {
        let sealer = seal::Sealer::new(store.seal_key())
            .ok_or_else(|| Error::Internal("the store's seal key cannot be used".into()))?;
        let engine = Engine::new(clock.clone(), locations.clone(), store.clone(), settings);
        let window_reads =
            locations.keys().map(|location| (location.clone(), Semaphore::new(patch_schedules::AT_ONCE))).collect();
        Ok(Self {
            clock,
            locations,
            store,
            engine,
            sealer,
            running: Mutex::default(),
            draining: channel::Sender::new(false),
            window_reads,
            feeds: Vec::new(),
        })
    }

    /// The same with advisory files for previews of baselines.
    #[must_use]
    pub fn with_advisory_feeds(self, feeds: Vec<AdvisoryFeed>) -> Self {
        Self { feeds, ..self }
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Ends waits and watches, for the server stops.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// AWS as seen from a location, if this server is configured for it.
    fn aws(&self, location: &Location) -> Result<&Aws> {
        self.locations.get(location).ok_or_else(|| Error::not_found("location", "LOCATION_NOT_CONFIGURED", location))
    }
}
