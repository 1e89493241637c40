//! What a caller may rely on when changing things: a repetition changes nothing, a plan shown is the plan done, and a crash
//! in the midst is mended by sending the same again.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_client::api::{
    AttachBaselineRequest, DetachBaselineRequest, ListBaselinesRequest, ListPatchOperationsRequest,
};
use patchplane_server::store::CrashPoint;
use patchplane_sim::FaultKind;
use patchplane_tests::{
    PARENT, World,
    changes::{
        AMAZON_LINUX_2, Change, WINDOWS, add, attach, changes, come_to_rest, detach, group, reason, remove, request_id,
        set_default, update,
    },
    fault, scan,
};
use tonic::Code;

// === Repetitions ===

#[tokio::test]
async fn a_repetition_names_the_same_resource_and_changes_nothing() {
    let mut world = World::start().await;
    for change in changes(&world).await {
        let before = world.simulation.fingerprint();
        let first = change.send(&world).await.unwrap();
        assert!(!first.replayed && !first.plan.changes.is_empty(), "{change:?}");
        come_to_rest(&world, &first).await;
        assert_ne!(world.simulation.fingerprint(), before, "{change:?}");
        for restarted in [false, true] {
            if restarted {
                world = world.restart().await;
            }
            let before = (world.fingerprint(), world.account().commands());
            let again = change.send(&world).await.unwrap();
            assert!(again.replayed, "{change:?}");
            assert_eq!(again.resource, first.resource);
            world.settle().await;
            assert_eq!((world.fingerprint(), world.account().commands()), before, "{change:?}");
        }
    }
}

#[tokio::test]
async fn a_repetition_while_the_operation_runs_shows_how_far_it_is() {
    let world = World::start().await;
    world.account().add_nodes(1).in_group("web").create();
    let change = Change::Create(Box::new(scan("web")));
    let first = change.send(&world).await.unwrap();
    world.step().await;
    let again = change.send(&world).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.resource, first.resource);
    come_to_rest(&world, &first).await;
    assert_eq!(world.account().commands(), 1);
}

#[tokio::test]
async fn a_request_id_belongs_to_one_request_of_one_method() {
    let world = World::start().await;
    for change in changes(&world).await {
        let first = change.send(&world).await.unwrap();
        come_to_rest(&world, &first).await;
        let before = world.fingerprint();
        let refused = change.clone().altered().send(&world).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::AlreadyExists, "REQUEST_ID_REUSED".to_owned()), "{change:?}");
        assert_eq!(world.fingerprint(), before, "{change:?}");
    }
    // Another method has ids of its own.
    let (nodes, shared) = (world.account().add_nodes(1).create(), request_id());
    let mut added = add("new", &nodes);
    added.request_id.clone_from(&shared);
    Change::Add(added).send(&world).await.unwrap();
    let mut removed = remove("new", &nodes);
    removed.request_id.clone_from(&shared);
    assert!(!Change::Remove(removed).send(&world).await.unwrap().replayed);
}

#[tokio::test]
async fn two_equal_requests_at_once_do_one_thing() {
    let world = World::start().await;
    for change in changes(&world).await {
        let commands = world.account().commands();
        let (one, other) = futures::join!(change.send(&world), change.send(&world));
        let answers = [one, other];
        let mut first = None;
        for answer in answers {
            match answer {
                Ok(changed) => {
                    assert!(first.is_none() || changed.replayed, "{change:?} was done twice");
                    first = Some(changed);
                }
                Err(refused) => {
                    assert_eq!(reason(&refused), (Code::Aborted, "REQUEST_IN_PROGRESS".to_owned()), "{change:?}");
                }
            }
        }
        let first = first.unwrap();
        come_to_rest(&world, &first).await;
        let again = change.send(&world).await.unwrap();
        assert!(again.replayed && again.resource == first.resource, "{change:?}");
        let sent = usize::from(matches!(change, Change::Create(_)));
        assert_eq!(world.account().commands(), commands + sent, "{change:?}");
    }
    let request = ListPatchOperationsRequest { parent: PARENT.to_owned(), ..Default::default() };
    let all = world.client.patch_operations().list_patch_operations(request).await.unwrap().into_inner();
    assert_eq!(all.patch_operations.len(), 1);
}

// === Plans ===

#[tokio::test]
async fn a_plan_changes_nothing_and_is_what_the_call_then_does() {
    let world = World::start().await;
    for change in changes(&world).await {
        let before = world.fingerprint();
        let planned = change.clone().validated().send(&world).await.unwrap();
        let again = change.clone().validated().send(&world).await.unwrap();
        world.settle().await;
        assert_eq!(world.fingerprint(), before, "{change:?}");
        assert!(!planned.plan.changes.is_empty() && !planned.replayed && !again.replayed, "{change:?}");
        assert_eq!(planned.plan.fingerprint, again.plan.fingerprint);
        assert!(planned.plan.changes.iter().all(|change| change.resource.starts_with(PARENT)), "{planned:?}");

        let done = change.clone().expecting(&planned.plan.fingerprint).send(&world).await.unwrap();
        assert!(!done.replayed, "{change:?}: a plan is no record of the request");
        assert_eq!(done.plan, planned.plan, "{change:?}");
        come_to_rest(&world, &done).await;
    }
}

#[tokio::test]
async fn a_plan_that_does_not_hold_any_more_is_refused() {
    let world = World::start().await;
    let mut changes = changes(&world).await;
    // Detaching has one plan, or is refused.
    changes.retain(|change| !matches!(change, Change::Detach(_)));
    let (outside, inside) = match &changes[..] {
        [_, Change::Add(added), Change::Remove(removed), ..] => {
            (added.instance_ids.clone(), removed.instance_ids.clone())
        }
        other => panic!("{other:?}"),
    };
    let (source, gone, chosen) = match &changes[..] {
        [.., Change::UpdateBaseline(source), Change::DeleteBaseline(gone), Change::SetDefault(chosen)] => {
            (source.baseline.clone().unwrap().name, gone.name.clone(), chosen.baseline.clone())
        }
        other => panic!("{other:?}"),
    };
    let mut plans = Vec::new();
    for mut change in changes {
        if let Change::DeleteBaseline(delete) = &mut change {
            // Its etag alone would tell.
            delete.etag.clear();
        }
        let planned = change.clone().validated().send(&world).await.unwrap();
        plans.push(change.expecting(&planned.plan.fingerprint));
    }
    // The world moves on: somebody else attaches, adds, removes, and starts a node.
    world.attach("web", AMAZON_LINUX_2).await;
    Change::Add(add("app", &outside[..1])).send(&world).await.unwrap();
    Change::Remove(remove("db", &inside[..1])).send(&world).await.unwrap();
    world.account().add_nodes(1).in_group("web").create();
    for change in [update(&source, "", "theirs"), update(&gone, "renamed", ""), set_default(&source)] {
        change.send(&world).await.unwrap();
    }
    assert_ne!(source, chosen);
    for change in plans {
        let before = world.fingerprint();
        let refused = change.send(&world).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::Aborted, "PLAN_CHANGED".to_owned()), "{change:?}");
        assert_eq!(world.fingerprint(), before, "{change:?}");
        // Looked at again, and done under the same request id.
        let change = change.expecting("");
        let planned = change.clone().validated().send(&world).await.unwrap();
        let done = change.expecting(&planned.plan.fingerprint).send(&world).await.unwrap();
        assert!(!done.replayed);
        come_to_rest(&world, &done).await;
    }
}

#[tokio::test]
async fn an_etag_guards_against_what_others_did_meanwhile() {
    let world = World::start().await;
    world.account().add_nodes(1).in_group("web").create();
    let seen = world.attach("web", AMAZON_LINUX_2).await.etag;
    world.attach("web", WINDOWS).await;
    let request = AttachBaselineRequest { etag: seen, ..attach("web", AMAZON_LINUX_2) };
    let before = world.fingerprint();
    let refused = Change::Attach(request.clone()).send(&world).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Aborted, "ETAG_MISMATCH".to_owned()));
    assert_eq!(world.fingerprint(), before);
    let etag = group(&world, "web").await.etag;
    let done = Change::Attach(AttachBaselineRequest { etag, ..request }).send(&world).await.unwrap();
    assert!(!done.replayed && done.plan.changes.is_empty(), "it is attached already");

    let seen = group(&world, "web").await.etag;
    Change::Detach(detach("web", WINDOWS)).send(&world).await.unwrap();
    let request = DetachBaselineRequest { etag: seen, ..detach("web", AMAZON_LINUX_2) };
    let before = world.fingerprint();
    let refused = Change::Detach(request.clone()).send(&world).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Aborted, "ETAG_MISMATCH".to_owned()));
    assert_eq!(world.fingerprint(), before);
    let etag = group(&world, "web").await.etag;
    Change::Detach(DetachBaselineRequest { etag, ..request }).send(&world).await.unwrap();
    assert_eq!(attached(&world, "web").await, [""; 0]);
}

// === Refusals are not kept ===

#[tokio::test]
async fn a_refusal_of_aws_is_not_kept_under_the_request_id() {
    let world = World::start().await;
    let denied = [
        "RegisterPatchBaselineForPatchGroup",
        "DeregisterPatchBaselineForPatchGroup",
        "CreateTags",
        "DeleteTags",
        "DescribeInstances",
        "CreatePatchBaseline",
        "UpdatePatchBaseline",
        "DeletePatchBaseline",
        "RegisterDefaultPatchBaseline",
    ];
    for (change, operation) in changes(&world).await.into_iter().zip(denied) {
        world.inject(fault(operation, FaultKind::Deny, 1));
        let before = world.simulation.fingerprint();
        let refused = change.send(&world).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::FailedPrecondition, "AWS_ACCESS_DENIED".to_owned()), "{change:?}");
        assert!(refused.message().contains(operation), "{refused:?} names the right that is lacking");
        assert_eq!(world.simulation.fingerprint(), before, "{change:?}");
        let done = change.clone().altered().send(&world).await.unwrap();
        assert!(!done.replayed, "{change:?}: the refused one left nothing behind");
        come_to_rest(&world, &done).await;
    }
}

#[tokio::test]
async fn the_same_request_succeeds_once_the_cause_of_its_refusal_is_gone() {
    let world = World::start().await;
    let change = Change::Create(Box::new(scan("web")));
    let refused = change.send(&world).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "NO_TARGETS".to_owned()));
    world.account().add_nodes(1).in_group("web").create();
    let done = change.send(&world).await.unwrap();
    assert!(!done.replayed);
    come_to_rest(&world, &done).await;

    world.attach("web", WINDOWS).await;
    let other = other_windows_baseline(&world).await;
    let change = Change::Attach(attach("web", &other));
    let refused = change.send(&world).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "OTHER_BASELINE_ATTACHED".to_owned()));
    let done = change.altered().send(&world).await.unwrap();
    assert!(!done.replayed);
    assert_eq!(attached(&world, "web").await, [other]);
}

#[tokio::test]
async fn a_lost_answer_or_a_break_in_the_midst_is_mended_by_the_same_request() {
    let replaced = ["DeregisterPatchBaselineForPatchGroup", "RegisterPatchBaselineForPatchGroup"];
    for operation in replaced {
        for kind in [FaultKind::LoseAnswer, FaultKind::Unreachable, FaultKind::Throttle, FaultKind::Deny] {
            // Once is made good by the SDK, for ever is not; a refusal it does not repeat.
            for times in [1, 3] {
                let world = World::start().await;
                world.attach("web", WINDOWS).await;
                let other = other_windows_baseline(&world).await;
                let change = Change::Attach(AttachBaselineRequest { replace: true, ..attach("web", &other) });
                world.inject(fault(operation, kind, times));
                let mut attempts = 0;
                while let Err(refused) = world.patiently(change.send(&world)).await {
                    attempts += 1;
                    assert!(attempts <= times, "{operation} {kind:?}: {refused:?}");
                }
                assert_eq!(attached(&world, "web").await, [other], "{operation} {kind:?} {times} times");
                assert!(change.send(&world).await.unwrap().replayed);
            }
        }
    }
}

// === Crashes ===

async fn other_windows_baseline(world: &World) -> String {
    let (parent, operating_system) = (PARENT.to_owned(), "WINDOWS".to_owned());
    let request = ListBaselinesRequest { parent, operating_system, ..ListBaselinesRequest::default() };
    let found = world.client.baselines().list_baselines(request).await.unwrap().into_inner().baselines;
    let other = found.iter().find(|baseline| !baseline.default).unwrap();
    other.name.rsplit('/').next().unwrap().to_owned()
}

/// The ids of the baselines attached to a group.
async fn attached(world: &World, name: &str) -> Vec<String> {
    let baselines = group(world, name).await.baselines;
    baselines.iter().map(|b| b.baseline.rsplit('/').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_crash_at_any_store_write_of_a_replacement_is_mended_by_the_same_request() {
    for guarded in [false, true] {
        let mut commit = 0;
        loop {
            commit += 1;
            let mut reached = false;
            for committed in [false, true] {
                let point = CrashPoint { commit, committed };
                let world = World::start().await;
                let etag = world.attach("web", WINDOWS).await.etag;
                let other = other_windows_baseline(&world).await;
                let mut request = AttachBaselineRequest { replace: true, ..attach("web", &other) };
                if guarded {
                    let planned = Change::Attach(request.clone()).validated().send(&world).await.unwrap();
                    (request.etag, request.expected_plan) = (etag, planned.plan.fingerprint);
                }
                let change = Change::Attach(request);
                let world = world.restart_with(Some(point)).await;
                let answer = change.send(&world).await;
                reached = world.has_crashed().await;
                assert_eq!(answer.is_err(), reached, "{point:?}: {answer:?}");
                let world = world.restart().await;
                let again = change.send(&world).await.unwrap();
                assert_eq!(attached(&world, "web").await, [other], "{point:?}");
                assert_eq!(again.replayed, !reached || commit == 2 && committed, "{point:?}");
                assert!(change.send(&world).await.unwrap().replayed, "{point:?}");
            }
            if !reached {
                break;
            }
        }
        assert_eq!(commit, 3, "the intent, the outcome, and no third write");
    }
}

#[tokio::test]
async fn a_crash_at_any_store_write_of_a_detachment_is_mended_by_the_same_request() {
    for commit in 1.. {
        let mut reached = false;
        for committed in [false, true] {
            let point = CrashPoint { commit, committed };
            let world = World::start().await;
            world.account().add_nodes(1).in_group("web").create();
            let etag = world.attach("web", WINDOWS).await.etag;
            let change = Change::Detach(DetachBaselineRequest { etag, ..detach("web", WINDOWS) });
            let world = world.restart_with(Some(point)).await;
            let answer = change.send(&world).await;
            reached = world.has_crashed().await;
            assert_eq!(answer.is_err(), reached, "{point:?}: {answer:?}");
            let world = world.restart().await;
            let again = change.send(&world).await.unwrap();
            assert_eq!(attached(&world, "web").await, [""; 0], "{point:?}");
            assert_eq!(again.replayed, !reached || commit == 2 && committed, "{point:?}");
            assert!(change.send(&world).await.unwrap().replayed, "{point:?}");
        }
        if !reached {
            assert_eq!(commit, 3, "the intent, the outcome, and no third write");
            return;
        }
    }
}
