//! Many at once: instances in one operation, operations, watchers. What they are told is what became of the fleet.

use futures::{TryStreamExt as _, future::join_all};
use patchplane_client::{
    Followed,
    api::{
        WatchPatchOperationRequest, instance_limit::Amount, patch_operation::State,
        patch_operation_service_client::PatchOperationServiceClient,
    },
};
use patchplane_tests::{World, full, install, install_by, scan};
use std::{collections::BTreeMap, time::Duration};

/// A scan; in the long form an installation, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_operation_works_on_two_thousand_instances() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(2_000).in_group("web").missing_patches(1).create();
    let requests = if full() { vec![scan("web"), install("web")] } else { vec![scan("web")] };
    for mut request in requests {
        let asked = request.patch_operation.as_mut().unwrap();
        asked.max_targets = 2_000;
        asked.max_duration = Some(prost_types::Duration { seconds: 24 * 3600, nanos: 0 });
        let calls = world.simulation.requests().len();
        let ended = world.run(request).await;
        assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
        assert_eq!(ended.counts.unwrap().succeeded, 2_000);
        let clock = ended.end_time.unwrap().seconds - ended.create_time.unwrap().seconds;
        let calls = world.simulation.requests().len() - calls;
        let mut by_operation = BTreeMap::new();
        for request in world.simulation.requests() {
            *by_operation.entry(request.operation).or_insert(0) += 1;
        }
        println!("{:?}: {by_operation:?}", ended.kind());
        println!("{:?}: {calls} calls of AWS, {clock} s by the clock", ended.kind());
    }
    let once = |id: &String| (world.account().scans(id), world.account().installs(id)) == (1, u32::from(full()));
    assert!(nodes.iter().all(once));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_operations_at_once_end_and_none_meets_another_on_an_instance() {
    let world = World::start().await;
    let mut nodes = Vec::new();
    for group in 0..10 {
        nodes.extend(world.account().add_nodes(2).in_group(&format!("g{group}")).missing_patches(1).create());
    }
    // Five for each group: they wait for each other.
    let requests = (0..50).map(|n| {
        let mut request = install_by(&format!("g{}", n % 10), Amount::Count(1));
        let asked = request.patch_operation.as_mut().unwrap();
        asked.max_duration = Some(prost_types::Duration { seconds: 24 * 3600, nanos: 0 });
        request
    });
    let created = join_all(requests.map(|request| world.create(request))).await;
    let mut runs: Vec<(String, i64, i64)> = Vec::new();
    for operation in created {
        let ended = world.finish(&operation.name).await;
        assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
        let targets = world.targets(&operation.name).await;
        runs.extend(targets.into_iter().map(|target| {
            (target.instance_id, target.dispatch_time.unwrap().seconds, target.end_time.unwrap().seconds)
        }));
    }
    runs.sort();
    assert_eq!(runs.len(), 100);
    assert!(runs.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].2 <= pair[1].1), "two met on an instance");
    assert!(nodes.iter().all(|id| (world.account().installs(id), world.account().missing(id)) == (5, 0)));
}

/// Five hundred in CI, a thousand in the long form; each is told the end, and the end is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_watchers_are_told_everything_and_slow_ones_hold_nobody_up() {
    let watchers = if full() { 1_000 } else { 500 };
    let world = World::start().await;
    world.account().add_nodes(5).in_group("web").missing_patches(1).create();
    let name = world.create(install("web")).await.name;
    let mut streams = Vec::new();
    for _ in 0..watchers / 100 {
        // A connection carries some two hundred streams.
        let mut watching = PatchOperationServiceClient::new(world.channel().await.0);
        for _ in 0..100 {
            let request = WatchPatchOperationRequest { name: name.clone(), resume_token: String::new() };
            streams.push(watching.watch_patch_operation(request).await.unwrap().into_inner());
        }
    }
    // Every tenth reads nothing until all is over.
    let (slow, quick): (Vec<_>, Vec<_>) = streams.into_iter().enumerate().partition(|(n, _)| n % 10 == 0);
    let follow = |stream: tonic::Streaming<_>| async move {
        stream
            .try_fold(Followed::default(), async |mut followed, message| {
                followed.apply(message);
                Ok(followed)
            })
            .await
    };
    let quick: Vec<_> = quick.into_iter().map(|(_, stream)| tokio::spawn(follow(stream))).collect();
    let ended = world.finish(&name).await;
    assert_eq!(ended.state(), State::Succeeded, "{}", ended.explanation);
    let told =
        tokio::time::timeout(Duration::from_secs(60), join_all(quick)).await.expect("the quick ones do not wait");
    let late = join_all(slow.into_iter().map(|(_, stream)| tokio::spawn(follow(stream)))).await;
    let targets = world.targets(&name).await;
    for followed in told.into_iter().chain(late) {
        let followed = followed.unwrap().unwrap();
        assert_eq!(followed.operation.as_ref(), Some(&ended));
        assert!(followed.targets.values().eq(&targets), "each is told every target's end");
    }
}
