//! Changes of baselines, interrupted: a crash at any write, a lost answer, or somebody else's change in between.

use patchplane_client::api::{DeleteBaselineRequest, UpdateBaselineRequest};
use patchplane_server::store::CrashPoint;
use patchplane_sim::FaultKind;
use patchplane_tests::{
    World,
    changes::{Change, baseline_changes, own_baselines, reason, request_id, update},
    fault,
};
use tonic::Code;

#[tokio::test]
async fn a_crash_at_any_store_write_of_a_baseline_s_change_is_mended_by_the_same_request() {
    for which in 0..4 {
        let mut commit = 0;
        loop {
            commit += 1;
            let mut reached = false;
            for committed in [false, true] {
                let point = CrashPoint { commit, committed };
                let undisturbed = World::start().await;
                baseline_changes(&undisturbed).await[which].send(&undisturbed).await.unwrap();
                let expected = own_baselines(&undisturbed).await;

                let world = World::start().await;
                let mut change = baseline_changes(&world).await.remove(which);
                let planned = change.clone().validated().send(&world).await.unwrap();
                change = change.expecting(&planned.plan.fingerprint);
                let world = world.restart_with(Some(point)).await;
                let answer = change.send(&world).await;
                reached = world.has_crashed().await;
                assert_eq!(answer.is_err(), reached, "{change:?} {point:?}: {answer:?}");
                let world = world.restart().await;
                let again = change.send(&world).await.unwrap();
                assert_eq!(own_baselines(&world).await, expected, "{change:?} {point:?}");
                assert_eq!(again.replayed, !reached || commit == 2 && committed, "{change:?} {point:?}");
                assert!(change.send(&world).await.unwrap().replayed, "{change:?} {point:?}");
            }
            if !reached {
                break;
            }
        }
        assert_eq!(commit, 3, "the intent, the outcome, and no third write");
    }
}

#[tokio::test]
async fn a_lost_answer_of_a_baseline_s_change_is_mended_by_the_same_request() {
    let operations =
        ["CreatePatchBaseline", "UpdatePatchBaseline", "DeletePatchBaseline", "RegisterDefaultPatchBaseline"];
    for (which, operation) in operations.into_iter().enumerate() {
        let undisturbed = World::start().await;
        baseline_changes(&undisturbed).await[which].send(&undisturbed).await.unwrap();
        let expected = own_baselines(&undisturbed).await;
        for kind in [FaultKind::LoseAnswer, FaultKind::Unreachable, FaultKind::Throttle] {
            for times in [1, 3] {
                let world = World::start().await;
                let change = baseline_changes(&world).await.remove(which);
                world.inject(fault(operation, kind, times));
                let mut attempts = 0;
                while let Err(refused) = world.patiently(change.send(&world)).await {
                    attempts += 1;
                    assert!(attempts <= times, "{operation} {kind:?}: {refused:?}");
                }
                assert_eq!(own_baselines(&world).await, expected, "{operation} {kind:?} {times} times");
                assert!(change.send(&world).await.unwrap().replayed);
            }
        }
    }
}

#[tokio::test]
async fn an_etag_guards_a_baseline_against_what_others_did_meanwhile() {
    let world = World::start().await;
    let seen = world.own_baseline("mine", &["Critical"]).await;
    update(&seen.name, "", "theirs").send(&world).await.unwrap();
    let before = world.fingerprint();
    let guarded = |etag: &str| match update(&seen.name, "", "mine") {
        Change::UpdateBaseline(request) => {
            Change::UpdateBaseline(Box::new(UpdateBaselineRequest { etag: etag.to_owned(), ..*request }))
        }
        other => panic!("{other:?}"),
    };
    let delete = DeleteBaselineRequest {
        name: seen.name.clone(),
        etag: seen.etag.clone(),
        request_id: request_id(),
        ..DeleteBaselineRequest::default()
    };
    for change in [guarded(&seen.etag), Change::DeleteBaseline(delete)] {
        let refused = change.send(&world).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::Aborted, "ETAG_MISMATCH".to_owned()), "{change:?}");
        assert_eq!(world.fingerprint(), before, "{change:?}");
    }
    let request = patchplane_client::api::GetBaselineRequest { name: seen.name.clone() };
    let now = world.client.get_baseline(request).await.unwrap().baseline.unwrap();
    guarded(&now.etag).send(&world).await.unwrap();
}
