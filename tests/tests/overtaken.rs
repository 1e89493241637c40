//! A replica that sleeps between the commit of an intent and its send, until another has taken its operation over and asked
//! AWS: it sends all the same, for it cannot know, and still there is one command.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_client::api::{PatchOperation, patch_operation::State};
use patchplane_sim::{FaultKind, SimClock, Simulation};
use patchplane_tests::{ACCOUNT, REGION, World, fault, install, postgres::Postgres, wire::Wire};
use std::time::Duration;

const NODES: usize = 3;
/// How long, in real time, what must happen may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two replicas on one database, and one simulated AWS with one clock.
struct Two {
    simulation: Simulation,
    nodes: Vec<String>,
    wire: Wire,
    /// Reaches the database by the wire.
    sleeper: World,
    other: World,
}

impl Two {
    async fn start() -> Self {
        let clock = SimClock::manual(patchplane_server::server::simulated::START.parse().unwrap());
        let simulation = Simulation::new(clock, 1);
        let nodes = simulation.at(ACCOUNT, REGION).add_nodes(NODES).in_group("web").missing_patches(1).create();
        let postgres = Postgres::new();
        let wire = Wire::to(&postgres);
        let sleeper = World::kept_in(wire.place(), simulation.clone(), None).await;
        let other = World::kept_in(postgres.place(), simulation.clone(), None).await;
        Self { simulation, nodes, wire, sleeper, other }
    }

    /// The sleeper has committed an intent and not sent it; the other has the operation, and has found no such command.
    async fn falls_asleep(&self) -> String {
        // Every marker begins so.
        self.wire.keep_back("\"pp:");
        let name = self.sleeper.create(install("web")).await.name;
        self.wire.keeps_back().await;
        soon(|| self.other.working_on() == 1).await;
        self.other.settle().await;
        assert!(self.asked("ListCommands") > 0);
        assert_eq!((self.sends(), self.commands()), (0, 0));
        name
    }

    fn asked(&self, operation: &str) -> usize {
        self.simulation.requests().iter().filter(|request| request.operation == operation).count()
    }

    /// How many requests to send a command were not too old, and how many commands there are.
    fn sends(&self) -> usize {
        self.asked("SendCommand")
    }

    fn commands(&self) -> usize {
        self.simulation.at(ACCOUNT, REGION).commands()
    }

    async fn all_is_well(&self, ended: &PatchOperation) {
        assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
        assert_eq!(self.commands(), 1);
        for node in &self.nodes {
            assert_eq!(self.simulation.at(ACCOUNT, REGION).installs(node), 1);
        }
        soon(|| self.sleeper.working_on() == 0).await;
        assert_eq!(self.sleeper.operation(&ended.name).await.state(), State::Succeeded, "it has not come to harm");
    }
}

/// Waits, in real time, until this is so.
async fn soon(reached: impl Fn() -> bool) {
    let waits = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_send_is_adopted_by_whoever_has_the_operation() {
    let two = Two::start().await;
    let name = two.falls_asleep().await;
    two.wire.let_go();
    soon(|| two.sends() == 1).await;
    let ended = two.other.finish(&name).await;
    assert_eq!(two.sends(), 1);
    two.all_is_well(&ended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_comes_after_the_proof_of_its_absence_is_too_old_for_aws() {
    let two = Two::start().await;
    let name = two.falls_asleep().await;
    while two.commands() == 0 {
        assert!(two.other.step().await, "nobody sends it again");
    }
    // Nothing goes wrong; but it tells that a request has arrived, of which AWS keeps no trace when it refuses the signature.
    two.simulation.inject(fault("SendCommand", FaultKind::DelayAnswer(Duration::ZERO), 1));
    two.wire.let_go();
    soon(|| two.simulation.faults_met() == 1).await;
    let ended = two.other.finish(&name).await;
    two.all_is_well(&ended).await;
}

/// The caller gives up in the very moment that its operation is committed, so that nobody here begins to work on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_whose_caller_is_gone_before_the_answer_goes_on_all_the_same() {
    let simulation = Simulation::new(SimClock::manual(patchplane_server::server::simulated::START.parse().unwrap()), 1);
    let nodes = simulation.at(ACCOUNT, REGION).add_nodes(NODES).in_group("web").missing_patches(1).create();
    let postgres = Postgres::new();
    let wire = Wire::to(&postgres);
    let world = World::kept_in(wire.place(), simulation.clone(), None).await;
    wire.keep_back("INSERT INTO operations");
    let client = world.client.clone();
    let calling = tokio::spawn(async move { client.create_patch_operation(install("web")).await });
    wire.keeps_back().await;
    calling.abort();
    assert!(calling.await.unwrap_err().is_cancelled());
    wire.let_go();
    // Its claim lasts as long as the process, which alone can take it up.
    soon(|| world.working_on() == 1).await;
    let (operations, _) = world.store().going_on(None).await.unwrap();
    let name = format!("{}/patchOperations/{}", patchplane_tests::PARENT, operations[0].operation.id);
    let ended = world.finish(&name).await;
    assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
    for node in &nodes {
        assert_eq!(simulation.at(ACCOUNT, REGION).installs(node), 1);
    }
}
