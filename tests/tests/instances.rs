//! What is wrong with instances and their tags, which baseline they get, and how they comply, judged by the fleet.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_client::{
    Listing,
    api::{ListTagFindingsRequest, Remedy, TagFinding, remedy::Request, tag_finding::Code as Tag},
    view,
};
use patchplane_sim::NodeBuilder;
use patchplane_tests::{PARENT, World};

/// Of AWS's own in us-east-1 (S 4.2).
const AMAZON_LINUX_2: &str = "pb-0be8c61cde3be63f3";

fn one(builder: NodeBuilder) -> String {
    builder.create().remove(0)
}

/// Sends a remedy as it is.
async fn send(world: &World, remedy: Remedy) {
    match remedy.request.unwrap() {
        Request::AttachBaseline(request) => drop(world.client.attach_baseline(request).await.unwrap()),
        Request::DetachBaseline(request) => drop(world.client.detach_baseline(request).await.unwrap()),
        Request::AddInstances(request) => drop(world.client.add_instances(request).await.unwrap()),
        Request::RemoveInstances(request) => drop(world.client.remove_instances(request).await.unwrap()),
    }
}

// === Tags ===

async fn findings(world: &World) -> Vec<TagFinding> {
    let request = ListTagFindingsRequest { parent: PARENT.to_owned(), ..ListTagFindingsRequest::default() };
    Listing::collect(world.client.list_tag_findings(request)).await.unwrap().items
}

#[tokio::test]
async fn every_tag_that_is_not_effective_is_found_and_its_remedy_makes_it_so() {
    let world = World::start().await;
    let fleet = world.account();
    world.attach("web", AMAZON_LINUX_2).await;
    let nodes = || fleet.add_nodes(1);
    // S 5.1: keys are exact; S 5.2: metadata forbids the space, and of both keys nobody knows which wins.
    let mut misspelt = vec![
        (one(nodes().tagged("patch group", "web")), Tag::TagKeyWrong),
        (one(nodes().tagged("Patchgroup", "web")), Tag::TagKeyWrong),
        (one(nodes().tagged("Patch Group ", "web")), Tag::TagKeyWrong),
        (one(nodes().metadata_tags().tagged("patch-group", "web")), Tag::TagKeyBlockedByImds),
        (one(nodes().in_group("Web")), Tag::TagValueNearMiss),
        (one(nodes().in_group("web ")), Tag::TagValueNearMiss),
        (one(nodes().in_group("web").tagged("PatchGroup", "db")), Tag::PatchGroupAmbiguous),
        (one(nodes().in_group("db")), Tag::GroupWithoutBaseline),
    ];
    nodes().in_group("web").create();
    nodes().create();
    let found = findings(&world).await;
    let mut seen: Vec<(String, Tag)> =
        found.iter().flat_map(|finding| finding.instance_ids.iter().map(|id| (id.clone(), finding.code()))).collect();
    misspelt.sort();
    seen.sort();
    assert_eq!(seen, misspelt);
    for finding in found {
        assert!(!finding.evidence.is_empty() && !finding.fix.is_empty(), "{finding:?}");
        let remedy = finding.remedy.clone().unwrap_or_else(|| panic!("no remedy: {finding:?}"));
        let command = view::command(&remedy).unwrap();
        assert!(command.starts_with("patchctl groups ") && command.ends_with(PARENT), "{command}");
        send(&world, remedy).await;
    }
    assert_eq!(findings(&world).await, [], "every remedy did what it said");
    for (id, code) in misspelt {
        let tags = fleet.tags(&id);
        let group = tags.get("Patch Group").or(tags.get("PatchGroup")).map(String::as_str);
        let expected = if code == Tag::GroupWithoutBaseline { "db" } else { "web" };
        assert_eq!(group, Some(expected), "{code:?}");
    }
}

#[tokio::test]
async fn instances_with_the_same_mistake_are_mended_by_one_request() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(60).tagged("patch group", "web").create();
    world.account().add_nodes(1).tagged("patch group", "db").create();
    let found = findings(&world).await;
    assert_eq!(found.iter().map(|finding| finding.instance_ids.len()).collect::<Vec<_>>(), [1, 60]);
    send(&world, found[1].remedy.clone().unwrap()).await;
    assert!(nodes.iter().all(|id| world.account().tags(id)["Patch Group"] == "web"));
}
