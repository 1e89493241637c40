//! A crash at each store write of an install, before and after the write took effect, and a restart: every node is
//! installed once, and every accepted operation succeeds.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_client::api::{
    CreatePatchOperationRequest, InstanceLimit, instance_limit::Amount, patch_operation::State,
    patch_operation_target::State as TargetState,
};
use patchplane_server::store::CrashPoint;
use patchplane_sim::{SimClock, Simulation};
use patchplane_tests::{ACCOUNT, REGION, World, full, install_by, postgres::Postgres};

const NODES: usize = 4;
/// The least time, in seconds, until a send is proven never to have reached AWS.
const PROOF: i64 = 26 * 60;
/// Three batches: two nodes, then one whenever a place is free.
const AT_ONCE: Amount = Amount::Count(2);

fn account() -> (Simulation, Vec<String>) {
    let clock = SimClock::manual(patchplane_server::server::simulated::START.parse().unwrap());
    let simulation = Simulation::new(clock, 1);
    let nodes = simulation.at(ACCOUNT, REGION).add_nodes(NODES).in_group("web").missing_patches(2).create();
    (simulation, nodes)
}

/// No failure stops it: every node's fate is to be seen.
fn request() -> CreatePatchOperationRequest {
    let mut request = install_by("web", AT_ONCE);
    let rollout = request.patch_operation.as_mut().unwrap().rollout.as_mut().unwrap();
    rollout.max_failures = Some(InstanceLimit { amount: Some(Amount::Count(50)) });
    request
}

/// How many commits an undisturbed run makes.
async fn undisturbed() -> u64 {
    let (simulation, nodes) = account();
    let world = World::around(simulation, None).await;
    let created = world.client.create_patch_operation(request()).await.unwrap();
    let name = created.patch_operation.unwrap().name;
    let operation = world.finish(&name).await;
    assert_eq!(operation.state(), State::Succeeded, "{}", operation.explanation);
    for node in &nodes {
        assert_eq!(world.account().installs(node), 1);
        assert_eq!(world.account().missing(node), 0);
    }
    world.store().commits()
}

/// Crashes there, and sees the operation to its end; answers whether that took a proof that a send never reached AWS.
async fn crashed_at(point: CrashPoint, postgres: Option<Postgres>) -> bool {
    let (simulation, nodes) = account();
    let world = match &postgres {
        Some(postgres) => World::kept_in(postgres.place(), simulation, Some(point)).await,
        None => World::around(simulation, Some(point)).await,
    };
    let request = request();
    // A caller that gets no answer sends the same again, also to the server that comes after the crash.
    let answer = world.client.patch_operations().create_patch_operation(request.clone()).await;
    assert_eq!(answer.is_ok(), point.commit > 1, "{point:?}: only the first commit is the request's");
    world.settle().await;
    while !world.has_crashed().await {
        assert!(world.step().await, "{point:?} is never reached");
    }
    let world = world.restart().await;
    let again = world.client.create_patch_operation(request).await.unwrap();
    assert_eq!(again.replayed, point.commit > 1 || point.committed, "{point:?}");
    let name = again.patch_operation.unwrap().name;
    if let Ok(first) = answer {
        assert_eq!(first.into_inner().patch_operation.unwrap().name, name, "{point:?}: another operation");
    }

    let operation = world.finish(&name).await;
    assert_eq!(operation.state(), State::Succeeded, "{point:?}: {}", operation.explanation);
    let targets = world.targets(&name).await;
    assert_eq!(targets.len(), NODES, "{point:?}");
    for (node, target) in nodes.iter().zip(&targets) {
        let id = &target.instance_id;
        assert_eq!((world.account().installs(id), world.account().missing(id)), (1, 0), "{point:?}: {node}");
        assert_eq!(target.state(), TargetState::Succeeded, "{point:?}: {node}: {}", target.explanation);
    }
    let waited = operation.end_time.unwrap().seconds - operation.create_time.unwrap().seconds;
    waited >= PROOF
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_store_write_installs_nothing_twice() {
    let commits = undisturbed().await;
    assert!(commits > 10, "an install of {NODES} nodes makes more than {commits} commits");
    let mut proven = Vec::new();
    for commit in 1..=commits {
        for committed in [false, true] {
            let point = CrashPoint { commit, committed };
            if Box::pin(crashed_at(point, None)).await {
                proven.push((commit, committed));
            }
        }
    }
    println!("{} crash points; a send was proven absent after those at {proven:?}", 2 * commits);
    // Only where the intent was recorded and the process died before sending: one point for each of the three batches.
    assert!(!proven.is_empty() && proven.len() <= 3, "{proven:?}");
    assert!(proven.iter().all(|(_, committed)| *committed), "{proven:?}");
}

/// The store promises the same on either database (`tests/tests/store.rs`); here the whole server relies on it. The long
/// form crashes at each write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_fifth_store_write_on_postgresql_installs_nothing_twice() {
    let commits = undisturbed().await;
    let points = (1..=commits).flat_map(|commit| [false, true].map(|committed| CrashPoint { commit, committed }));
    let mut count = 0;
    for point in points.step_by(if full() { 1 } else { 5 }) {
        Box::pin(crashed_at(point, Some(Postgres::new()))).await;
        count += 1;
    }
    println!("{count} crash points on PostgreSQL");
}
