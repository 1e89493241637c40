//! The policies of docs/iam put to the test: a role that has just these walks its own way, and is denied every other.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use futures::TryStreamExt as _;
use patchplane_aws::calls;
use patchplane_client::{
    Listing,
    api::{
        AddInstancesRequest, AttachBaselineRequest, CheckReadinessRequest, CreateBaselineRequest,
        GetComplianceSummaryRequest, ListBaselinesRequest, ListInstancesRequest, ListMaintenanceWindowsRequest,
        ListPatchOperationsRequest, patch_operation::State,
    },
};
use patchplane_sim::FaultKind;
use patchplane_tests::{PARENT, World, baseline, fault, install, schedules};
use serde_json::Value;
use std::{collections::BTreeSet, path::Path};

/// Of AWS's own in us-east-1 (S 4.2).
const AMAZON_LINUX_2: &str = "pb-0be8c61cde3be63f3";

/// What these documents allow.
fn actions(documents: &[&str]) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/iam");
    let allowed = documents.iter().flat_map(|name| {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let statements = document["Statement"].as_array().unwrap().clone();
        statements.into_iter().flat_map(|statement| statement["Action"].as_array().unwrap().clone())
    });
    allowed.map(|action| action.as_str().unwrap().to_owned()).collect()
}

/// A world whose server has these rights in AWS, and two nodes that lack patches.
async fn world(documents: &[&str]) -> World {
    let world = World::start().await;
    world.account().add_nodes(2).in_group("web").missing_patches(1).create();
    world.account().add_nodes(1).create();
    let allowed = actions(documents);
    for call in calls().iter().filter(|call| !allowed.contains(call.action)) {
        world.inject(fault(call.operation, FaultKind::Deny, u32::MAX));
    }
    world
}

/// Each thing that can be done, by the document that allows it; the reason of a refusal.
async fn attempt(world: &World, what: &str) -> Result<(), String> {
    let denied = |error: patchplane_client::Error| error.reason().unwrap_or_default().to_owned();
    match what {
        "patch" => {
            let operation = world.run(install("web")).await;
            if operation.state() == State::Succeeded { Ok(()) } else { Err(operation.state_reason) }
        }
        "baselines" => {
            let request = CreateBaselineRequest {
                parent: PARENT.to_owned(),
                baseline: Some(baseline("mine", &["Critical"], 1)),
                ..Default::default()
            };
            world.client.create_baseline(request).await.map(drop).map_err(denied)
        }
        "patch-groups" => {
            let request = AttachBaselineRequest {
                name: format!("{PARENT}/patchGroups/web"),
                baseline: format!("{PARENT}/baselines/{AMAZON_LINUX_2}"),
                ..Default::default()
            };
            world.client.attach_baseline(request).await.map(drop).map_err(denied)
        }
        "members" => {
            let mut plain = world.account().add_nodes(1).create();
            plain.extend(world.account().add_nodes(1).hybrid().create());
            let name = format!("{PARENT}/patchGroups/web");
            let request = AddInstancesRequest { name, instance_ids: plain, ..Default::default() };
            world.client.add_instances(request).await.map(drop).map_err(denied)
        }
        "schedules" => {
            let request = schedules::create(schedules::nightly());
            world.client.create_patch_schedule(request).await.map(drop).map_err(denied)
        }
        other => unreachable!("{other}"),
    }
}

#[tokio::test]
async fn a_role_does_what_its_policy_is_for_and_nothing_else() {
    let uses = ["baselines", "patch-groups", "members", "schedules", "patch"];
    for granted in uses {
        let world = world(&["read-only", granted]).await;
        for what in uses {
            let became = attempt(&world, what).await;
            let expected = if what == granted { Ok(()) } else { Err("AWS_ACCESS_DENIED".to_owned()) };
            assert_eq!(became, expected, "{what} by a role for {granted}");
        }
        if granted != "patch" {
            assert!(world.simulation.counts().iter().all(|node| node.installs == 0), "{granted}");
        }
    }
}

#[tokio::test]
async fn a_role_that_may_only_look_sees_everything() {
    let world = world(&["read-only"]).await;
    let parent = PARENT.to_owned();
    let (client, before) = (&world.client, world.simulation.fingerprint());
    let listed =
        Listing::collect(client.list_instances(ListInstancesRequest { parent, ..Default::default() })).await.unwrap();
    assert_eq!((listed.items.len(), listed.unreachable.len()), (3, 0));
    let id = listed.items[0].name.clone();
    client.check_readiness(CheckReadinessRequest { name: id, ..Default::default() }).await.unwrap();
    let parent = || PARENT.to_owned();
    let baselines = ListBaselinesRequest { parent: parent(), ..Default::default() };
    assert!(!Listing::collect(client.list_baselines(baselines)).await.unwrap().items.is_empty());
    let windows = ListMaintenanceWindowsRequest { parent: parent(), ..Default::default() };
    assert_eq!(Listing::collect(client.list_maintenance_windows(windows)).await.unwrap().unreachable, []);
    let operations = ListPatchOperationsRequest { parent: parent(), ..Default::default() };
    assert_eq!(Listing::collect(client.list_patch_operations(operations)).await.unwrap().unreachable, []);
    let summary = GetComplianceSummaryRequest { parent: parent(), ..Default::default() };
    client.get_compliance_summary(summary).await.unwrap();
    assert!(world.simulation.fingerprint() == before);
    for what in ["baselines", "patch-groups", "schedules", "patch"] {
        assert_eq!(attempt(&world, what).await, Err("AWS_ACCESS_DENIED".to_owned()), "{what}");
    }
    let mutating = |request: &patchplane_sim::SeenRequest| request.mutating;
    let tried: BTreeSet<_> =
        world.simulation.requests().into_iter().filter(mutating).map(|seen| seen.operation).collect();
    assert!(!tried.is_empty(), "it was AWS that refused");
}

#[tokio::test]
async fn everything_that_is_asked_of_aws_is_in_the_table_of_calls() {
    let world = World::start().await;
    world.account().add_nodes(2).in_group("web").missing_patches(1).create();
    for what in ["baselines", "patch-groups", "members", "schedules", "patch"] {
        assert_eq!(attempt(&world, what).await, Ok(()), "{what}");
    }
    let all: Vec<_> = Listing::collect(
        world.client.list_instances(ListInstancesRequest { parent: PARENT.to_owned(), ..Default::default() }),
    )
    .await
    .unwrap()
    .items;
    assert_eq!(all.len(), 4);
    for seen in world.simulation.requests() {
        let action = format!("{}:{}", seen.service, seen.operation);
        assert!(calls().iter().any(|call| call.action == action), "{action}");
    }
    let listed: Vec<_> = world
        .client
        .list_instance_patches(patchplane_client::api::ListInstancePatchesRequest {
            parent: all[0].name.clone(),
            ..Default::default()
        })
        .try_collect()
        .await
        .unwrap();
    assert!(!listed.is_empty());
}
