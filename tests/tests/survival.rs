//! An installation in three batches, and everything that can befall it: a process that dies in the midst of any call of AWS,
//! any fault of any call, several at random. However it goes, no node is installed twice, and the operation ends and says why.
//! The short forms try every so many calls with one of the mishaps in turn, the long ones (`PATCHPLANE_TESTS=full`) each with each.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_client::api::{
    CancelPatchOperationRequest, CreatePatchOperationRequest, PatchOperation, PausePatchOperationRequest,
    ResumePatchOperationRequest, instance_limit::Amount, patch_operation::State, patch_operation_target,
};
use patchplane_sim::{Fault, FaultKind, SimClock, Simulation, Trouble};
use patchplane_tests::{ACCOUNT, REGION, World, full, install_by, scan, unstopped};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use std::time::Duration;

const NODES: usize = 5;
/// Every how manieth call the short forms try.
const STRIDE: u32 = 8;

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// Nothing, a late arrival of what the dead had sent, one too late to count, and an effect without a hearer.
const DEATHS: [FaultKind; 4] = [
    FaultKind::LoseRequest,
    FaultKind::Delay(minutes(5)),
    FaultKind::Delay(minutes(16)),
    FaultKind::DelayAnswer(minutes(60)),
];

const FAULTS: [FaultKind; 9] = [
    FaultKind::Throttle,
    FaultKind::ServerError,
    FaultKind::ServerErrorAfterEffect,
    FaultKind::Unreachable,
    FaultKind::LoseRequest,
    FaultKind::LoseAnswer,
    FaultKind::GarbleAnswer,
    FaultKind::Delay(minutes(5)),
    FaultKind::DelayAnswer(minutes(5)),
];

const TROUBLES: [Trouble; 8] = [
    Trouble::InstallsFail,
    Trouble::NeverBack,
    Trouble::BackAfter(minutes(45)),
    Trouble::Hangs,
    Trouble::RunsTooLong,
    Trouble::Locked,
    Trouble::DiskFull,
    Trouble::ScannedByOthers,
];

fn account(seed: u64) -> (Simulation, Vec<String>) {
    let clock = SimClock::manual(patchplane_server::server::simulated::START.parse().unwrap());
    let simulation = Simulation::new(clock, seed);
    let nodes = simulation.at(ACCOUNT, REGION).add_nodes(NODES).in_group("web").missing_patches(1).create();
    (simulation, nodes)
}

/// How many calls of AWS an undisturbed installation takes.
async fn undisturbed() -> u32 {
    let (simulation, nodes) = account(1);
    let world = World::around(simulation, None).await;
    let name = world.create(unstopped()).await.name;
    let ended = world.finish(&name).await;
    assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
    assert!(world.account().commands() >= 3, "three batches");
    assert!(nodes.iter().all(|id| world.account().installs(id) == 1));
    u32::try_from(world.simulation.requests().len()).unwrap()
}

/// Every node was installed once, and that is known.
async fn all_is_well(world: &World, ended: &PatchOperation, nodes: &[String], case: &str) {
    for id in nodes {
        assert_eq!(world.account().installs(id), 1, "{case}: {id}");
    }
    assert_eq!(ended.state(), State::Succeeded, "{case}: {}", ended.explanation);
}

fn at_call(skip: u32, kind: FaultKind) -> Fault {
    Fault { location: None, operation: None, skip, times: 1, kind }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_midst_of_any_call_of_aws_installs_nothing_twice() {
    let calls = undisturbed().await;
    let mut cases = 0;
    for call in 0..calls {
        for (turn, death) in DEATHS.into_iter().enumerate() {
            if !full() && (call % STRIDE != 0 || turn != (call / STRIDE) as usize % DEATHS.len()) {
                continue;
            }
            let case = format!("{death:?} at call {call}");
            let (simulation, nodes) = account(1);
            simulation.inject(at_call(call, death));
            let world = World::around(simulation, None).await;
            let (request, mut operations) = (unstopped(), world.client.patch_operations());
            let asked = tokio::spawn({
                let request = request.clone();
                async move { operations.create_patch_operation(request).await }
            });
            let struck = |simulation: &Simulation| simulation.faults_met() > 0;
            while !asked.is_finished() && !struck(&world.simulation) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if !world.play_until(struck).await {
                // How often it is looked how far commands are differs a little from run to run: this one had ended before.
                assert!(call > calls / 2, "{case}: it never came to that");
                continue;
            }
            asked.abort();
            let world = world.restart().await;
            world.simulation.clear_faults();
            let answer = world.client.create_patch_operation(request).await.unwrap();
            let ended = world.finish(&answer.patch_operation.unwrap().name).await;
            all_is_well(&world, &ended, &nodes, &case).await;
            cases += 1;
        }
    }
    assert!(cases >= calls / STRIDE / 2, "only {cases} crashes came about");
    println!("{calls} calls, {cases} crashes: no node installed twice, no operation lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_fault_at_any_call_of_aws_is_survived() {
    let calls = undisturbed().await;
    let mut cases = 0;
    for call in 0..calls {
        for (turn, fault) in FAULTS.into_iter().enumerate() {
            if !full() && (call % STRIDE != 0 || turn != (call / STRIDE) as usize % FAULTS.len()) {
                continue;
            }
            let case = format!("{fault:?} at call {call}");
            let (simulation, nodes) = account(1);
            let world = World::around(simulation, None).await;
            world.inject(at_call(call, fault));
            let mut ask = unstopped();
            let name = loop {
                // A caller whose call fails sends the same again.
                let answer = world.patiently(world.client.create_patch_operation(ask.clone())).await;
                match answer {
                    Ok(answer) => break answer.patch_operation.unwrap().name,
                    Err(_) => ask = CreatePatchOperationRequest { ..ask },
                }
            };
            let ended = world.finish(&name).await;
            all_is_well(&world, &ended, &nodes, &case).await;
            cases += 1;
        }
    }
    println!("{calls} calls, {cases} faults: no node installed twice, no operation lost");
}

#[tokio::test]
async fn a_command_that_aws_lists_late_is_found_and_not_sent_again() {
    for lag in [1, 5, 10] {
        let (simulation, nodes) = account(1);
        let world = World::around(simulation, None).await;
        world.account().commands_appear_after(minutes(lag));
        world.inject(Fault { operation: Some("SendCommand".into()), ..at_call(0, FaultKind::LoseAnswer) });
        let name = world.create(unstopped()).await.name;
        let ended = world.finish(&name).await;
        all_is_well(&world, &ended, &nodes, &format!("{lag} min")).await;
    }
}

#[tokio::test]
async fn a_foreign_command_with_our_comment_is_not_taken_for_ours() {
    let (simulation, nodes) = account(1);
    let world = World::around(simulation, None).await;
    world.inject(Fault { operation: Some("SendCommand".into()), ..at_call(0, FaultKind::LoseRequest) });
    let name = world.create(unstopped()).await.name;
    world.play_until(|simulation| simulation.faults_met() > 0).await;
    let targets = world.targets(&name).await;
    let batch: Vec<&str> = targets
        .iter()
        .filter(|target| target.state() == patch_operation_target::State::Dispatched)
        .map(|target| target.instance_id.as_str())
        .collect();
    let installation = world.store().installation().simple().to_string();
    let id = name.rsplit('/').next().unwrap();
    let theirs = serde_json::json!({
        "DocumentName": "AWS-RunPatchBaseline", "InstanceIds": batch, "Parameters": { "Operation": ["Scan"] },
        "Comment": format!("pp:{}:{id}:1.1", &installation[..12]),
    });
    world.account().by_others("SendCommand", &theirs).unwrap();
    let ended = world.finish(&name).await;
    all_is_well(&world, &ended, &nodes, "a foreign command").await;
}

/// Random specs, fleets, faults, crashes and changes of mind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_comes_together_the_invariants_hold() {
    let rounds = if full() { 400 } else { 25 };
    let mut ends = std::collections::BTreeMap::new();
    for seed in 0..rounds {
        let state = Box::pin(at_random(seed)).await;
        *ends.entry(state).or_insert(0) += 1;
    }
    println!("{rounds} rounds ended {ends:?}");
}

async fn at_random(seed: u64) -> &'static str {
    let mut random = StdRng::seed_from_u64(seed);
    let clock = SimClock::manual(patchplane_server::server::simulated::START.parse().unwrap());
    let simulation = Simulation::new(clock, seed);
    let account = simulation.at(ACCOUNT, REGION);
    let mut nodes = Vec::new();
    for _ in 0..random.random_range(1..6) {
        let mut builder = account.add_nodes(random.random_range(1..3)).in_group("web");
        builder = builder.missing_patches(random.random_range(0..3));
        if random.random_bool(0.25) {
            builder = builder.troubled(TROUBLES.choose(&mut random).unwrap().clone());
        }
        nodes.extend(builder.create());
    }
    let mut world = World::around(simulation, None).await;
    let chance = *[0.0, 2.0, 10.0].choose(&mut random).unwrap();
    let kind = *FAULTS.choose(&mut random).unwrap();
    let everywhere = Fault { times: 40, ..at_call(0, kind) };
    let installs = random.random_bool(0.8);
    let mut request = if installs { install_by("web", Amount::Count(random.random_range(1..5))) } else { scan("web") };
    let asked = request.patch_operation.as_mut().unwrap();
    asked.max_duration = Some(prost_types::Duration { seconds: random.random_range(4..30) * 3600, nanos: 0 });
    let case = format!("seed {seed}: {} nodes, {kind:?} at {chance} %, {request:?}", nodes.len());
    let name = world.create(request).await.name;
    world.inject_by_chance(everywhere, chance);

    for _ in 0..random.random_range(0..4) {
        for _ in 0..random.random_range(0..30) {
            world.step().await;
        }
        let named = name.clone();
        // Refusals are as good here: it may have ended.
        match random.random_range(0..4) {
            0 => world = world.restart().await,
            1 => {
                let request = PausePatchOperationRequest { name: named, ..Default::default() };
                world.client.pause_patch_operation(request).await.ok();
            }
            2 if random.random_bool(0.3) => {
                let mode = random.random_range(1..3);
                let request = CancelPatchOperationRequest { name: named, mode, ..Default::default() };
                world.client.cancel_patch_operation(request).await.ok();
            }
            _ => {
                let request = ResumePatchOperationRequest { name: named, ..Default::default() };
                world.client.resume_patch_operation(request).await.ok();
            }
        }
    }
    let ended = world.finish(&name).await;
    assert!(!ended.explanation.is_empty(), "{case}");
    for target in world.targets(&name).await {
        let (id, state) = (&target.instance_id, target.state());
        let times = world.account().installs(id);
        assert!(times <= u32::from(installs), "{case}: {id} was installed {times} times");
        assert!(!target.explanation.is_empty() && target.end_time.is_some(), "{case}: {target:?}");
        if state == patch_operation_target::State::Succeeded && installs {
            assert_eq!((times, world.account().missing(id)), (1, 0), "{case}: {target:?}");
        }
    }
    ended.state().as_str_name()
}
