//! A deterministic AWS account that answers at the wire, for demonstrations and tests.
//!
//! It knows AWS and Patch Manager's rules, and nothing of patchplane. It is lazy: it owns no task and no thread; each
//! request first plays what was due until the clock's present time, in the order of time. All chance comes from the
//! seed. Facts are cited as `S 6.1.4`, a line of the project's reference on AWS semantics.

mod account;
mod agent;
mod association;
mod automation;
mod catalogue;
mod clock;
mod command;
mod connector;
mod control;
mod dice;
mod documents;
mod ec2;
mod error;
mod evaluation;
mod execution;
mod fault;
mod fleet;
mod location;
mod model;
mod network;
mod node;
mod others;
mod output;
mod overrides;
mod page;
mod platform;
mod port;
mod power;
mod predefined;
mod properties;
mod query;
mod seeding;
mod showcase;
mod signature;
mod ssm;
mod sts;
mod throttle;
mod travel;
mod trouble;
mod validation;
mod window;
mod wire;
mod xml;

#[cfg(test)]
mod tests;

pub use clock::SimClock;
pub use fault::{Fault, FaultKind};
pub use fleet::NodeBuilder;
pub use location::{NodeCounts, SimLocation};
pub use seeding::NodeSpec;
pub use signature::DEFAULT_ACCOUNT;
pub use trouble::Trouble;

use account::Place;
use bytes::Bytes;
use dice::Dice;
use fault::Faults;
use http::{Request, Response, StatusCode};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use throttle::Throttle;
use travel::{Sent, Traffic};

/// Simulated AWS accounts; clones are the same accounts.
#[derive(Clone)]
pub struct Simulation {
    clock: SimClock,
    world: Arc<Mutex<World>>,
}

/// A request that arrived, whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRequest {
    pub time: Timestamp,
    pub account: String,
    pub region: String,
    /// `ssm`, `ec2` or `sts`.
    pub service: String,
    pub operation: String,
    /// Whether the operation changes something when it succeeds.
    pub mutating: bool,
}

pub(crate) struct World {
    seed: u64,
    /// The clock by which requests are signed, if it is another.
    callers: Option<SimClock>,
    places: BTreeMap<(String, String), Place>,
    faults: Faults,
    throttle: Throttle,
    log: Vec<SeenRequest>,
    traffic: Traffic,
    answered: u64,
}

// === impl Simulation ===

impl Simulation {
    /// Accounts that exist from their first use on, with AWS's baselines and no instances.
    pub fn new(clock: SimClock, seed: u64) -> Self {
        Self { clock, world: Arc::new(Mutex::new(World::new(seed))) }
    }

    /// The fleets of the demonstration: two accounts with two Regions each.
    pub fn showcase(clock: SimClock, seed: u64) -> Self {
        let simulation = Self::new(clock, seed);
        showcase::build(&simulation);
        simulation
    }

    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// Requests come from outside and are signed by this clock: what is fresh by it is taken, too.
    pub fn accept_signatures_by(&self, clock: SimClock) {
        self.lock().callers = Some(clock);
    }

    /// Forgets everything but its time: no instances, no faults, nothing on its way. With a seed, chance is new as well.
    pub fn reset(&self, seed: Option<u64>) {
        let mut world = self.lock();
        let (callers, traffic) = (world.callers.take(), world.traffic.cleared());
        let throttle = Throttle::new(world.throttle.on);
        *world = World { callers, traffic, throttle, ..World::new(seed.unwrap_or(world.seed)) };
    }

    pub fn seed(&self) -> u64 {
        self.lock().seed
    }

    /// The access key that signs for an account; any secret goes with it.
    pub fn access_key(account: &str) -> String {
        format!("AKIA0000{account}")
    }

    /// One account in one Region, to build its fleet and to look at it from outside.
    pub fn at(&self, account: &str, region: &str) -> SimLocation {
        SimLocation::new(self.clone(), account, region)
    }

    /// Answers a request at the level of plain HTTP. Faults that break the connection or delay the request become
    /// an empty HTTP 503 here.
    pub fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        let broken = || {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        };
        match self.send(request) {
            Sent::Answered(response) => response,
            Sent::Refused | Sent::Broken | Sent::Travelling(..) | Sent::Late(..) => broken(),
        }
    }

    /// The whole state (fleet, tags, baselines, groups, commands, windows) at the clock's present time, to compare before and
    /// after. Reading changes nothing in it.
    pub fn fingerprint(&self) -> serde_json::Value {
        let (mut world, now) = self.present();
        world.places.values_mut().for_each(|place| place.play(now));
        world.places.values().filter(|place| !place.is_untouched()).map(location::state).collect()
    }

    /// All requests that arrived, oldest first.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.present().0.log.clone()
    }

    /// Lets something go wrong from now on. Of several faults that match a request the oldest applies.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.inject(fault, None);
    }

    /// The same for so many per cent of the requests that match, as the seed has it; `times` counts those that it strikes.
    pub fn inject_by_chance(&self, fault: Fault, percent: f64) {
        self.lock().faults.inject(fault, Some(percent));
    }

    /// Whether AWS's published request rates bind, each for an account and a Region (S 3.2, 3.3). They do not at first.
    pub fn throttle(&self, on: bool) {
        self.lock().throttle.on = on;
    }

    /// How many requests have met a fault.
    pub fn faults_met(&self) -> u64 {
        self.lock().faults.met
    }

    /// Nothing goes wrong any more, but what is on its way.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// The world at the clock's present time: what travelled until now has arrived.
    pub(crate) fn present(&self) -> (MutexGuard<'_, World>, Timestamp) {
        let now = self.clock.now();
        let mut world = self.lock();
        world.arrive(now);
        (world, now)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Simulation")
    }
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            callers: None,
            places: BTreeMap::new(),
            faults: Faults::default(),
            throttle: Throttle::default(),
            log: Vec::new(),
            traffic: Traffic::default(),
            answered: 0,
        }
    }

    pub(crate) fn place(&mut self, account: &str, region: &str) -> &mut Place {
        let seed = self.seed;
        let key = (account.to_owned(), region.to_owned());
        self.places.entry(key).or_insert_with(|| Place::new(seed, account, region))
    }

    pub(crate) fn next_request_id(&mut self) -> String {
        self.answered += 1;
        Dice::new(self.seed, &["request", &self.answered.to_string()]).uuid()
    }
}
