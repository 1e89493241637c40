//! Who works on an operation, and what keeps it from going on: claims and fences, what callers ask, freezes, single flight; on
//! each database.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use jiff::SignedDuration;
use patchplane_rules::{InstanceId, Location};
use patchplane_server::{
    domain::{
        control::{Cancel, CancelMode, Control},
        freeze::{Freeze, FreezeScope},
        operation::{Operation, OperationId, Origin, State},
    },
    store::{Claim, Error, Store},
};
use patchplane_tests::stored::{Db, LEASE, OVER, instance, location, now, operation, put};
use std::time::Duration;
use ulid::Ulid;
use uuid::Uuid;

patchplane_tests::on_each_database! {
    what_is_asked_of_an_operation_and_what_the_engine_writes_do_not_overwrite_each_other,
    a_claim_is_one_owner_s_until_its_lease_ends,
    a_renewed_lease_is_held_and_a_released_one_is_free,
    only_unfinished_operations_of_ours_are_claimed,
    a_stale_fence_and_a_short_lease_write_nothing,
    who_creates_an_operation_has_it_from_the_first,
    a_store_that_was_brought_back_voids_every_claim_and_says_so,
    freezes_are_there_until_they_are_deleted,
    an_instance_is_one_operation_s_until_it_is_unlocked,
}

fn cancelled() -> Control {
    let cancel = Cancel { mode: CancelMode::StopNew, at: now(), by: "local:0".into(), note: String::new() };
    Control { cancel: Some(cancel), ..Control::default() }
}

async fn renewed(store: &Store, owner: Uuid) -> Vec<OperationId> {
    store.renew(owner, LEASE).await.unwrap().iter().map(|claim| claim.id).collect()
}

async fn what_is_asked_of_an_operation_and_what_the_engine_writes_do_not_overwrite_each_other(db: Db) {
    let store = db.open().await;
    let mut ours = operation(1);
    put(&store, &ours, &[]).await;
    assert_eq!(store.operation(ours.id).await.unwrap().unwrap().control, Control::default());
    let seen = *store.revisions().borrow();
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.control(ours.id).await.unwrap(), Some(Control::default()));
    assert_eq!(tx.control(operation(2).id).await.unwrap(), None);
    tx.put_control(ours.id, &cancelled()).await.unwrap();
    tx.commit().await.unwrap();
    assert!(store.changes(ours.id, seen).await.unwrap().unwrap().any, "watchers are told");

    ours.state = State::Verifying;
    put(&store, &ours, &[]).await;
    let saved = store.operation(ours.id).await.unwrap().unwrap();
    assert_eq!((saved.operation, saved.control), (ours.clone(), cancelled()));
    assert_eq!(store.listed(ours.id).await.unwrap().unwrap().control, cancelled());
}

async fn a_claim_is_one_owner_s_until_its_lease_ends(db: Db) {
    let store = db.open().await;
    for n in 1..=3 {
        put(&store, &operation(n), &[]).await;
    }
    let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
    let ids = |claims: &[Claim]| -> Vec<OperationId> { claims.iter().map(|claim| claim.id).collect() };
    let id = |n| operation(n).id;
    let first = store.claim(one, OVER, 2).await.unwrap();
    assert_eq!(ids(&first), [id(1), id(2)]);
    // Those leases have ended; each taking raises the fence.
    let second = store.claim(other, LEASE, 10).await.unwrap();
    assert_eq!(ids(&second), [id(1), id(2), id(3)]);
    assert!(second[0].fence > first[0].fence && second[1].fence > first[1].fence);
    assert_eq!(store.claim(one, LEASE, 10).await.unwrap(), []);
    assert_eq!(store.claim_one(id(1), one, LEASE).await.unwrap(), None);
    // Its own owner may begin anew.
    let again = store.claim_one(id(1), other, LEASE).await.unwrap().unwrap();
    assert!(again.fence > second[0].fence && !again.restored);
}

async fn a_renewed_lease_is_held_and_a_released_one_is_free(db: Db) {
    let store = db.open().await;
    put(&store, &operation(1), &[]).await;
    put(&store, &operation(2), &[]).await;
    let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
    store.claim(one, OVER, 10).await.unwrap();
    assert!(store.claim_one(operation(2).id, other, LEASE).await.unwrap().is_some());
    assert_eq!(renewed(&store, one).await, [operation(1).id], "the other has been taken away");
    assert_eq!(store.claim(other, LEASE, 10).await.unwrap(), []);
    store.release(one).await.unwrap();
    assert_eq!(renewed(&store, one).await, []);
    assert_eq!(store.claim(other, LEASE, 10).await.unwrap().len(), 1);
}

async fn only_unfinished_operations_of_ours_are_claimed(db: Db) {
    let store = db.open().await;
    put(&store, &Operation { state: State::Succeeded, ..operation(1) }, &[]).await;
    let foreign = OperationId::Command(Uuid::new_v4());
    put(&store, &Operation { id: foreign, origin: Origin::Command, ..operation(2) }, &[]).await;
    assert_eq!(store.claim(Uuid::new_v4(), LEASE, 10).await.unwrap(), []);
    for id in [operation(1).id, foreign, operation(3).id] {
        assert_eq!(store.claim_one(id, Uuid::new_v4(), LEASE).await.unwrap(), None);
    }
}

async fn a_stale_fence_and_a_short_lease_write_nothing(db: Db) {
    let store = db.open().await;
    let ours = operation(1);
    put(&store, &ours, &[]).await;
    let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
    let stale = store.claim_one(ours.id, one, OVER).await.unwrap().unwrap().fence;
    let fresh = store.claim_one(ours.id, other, LEASE).await.unwrap().unwrap().fence;
    let fenced = async |fence, at_least: Duration| {
        let mut tx = store.begin().await.unwrap();
        let answer = tx.fenced(ours.id, fence, at_least).await;
        // What comes before or after a refusal is dropped with the transaction.
        if answer.is_ok() {
            tx.commit().await.unwrap();
        }
        answer
    };
    assert_eq!(fenced(fresh, LEASE / 2).await.unwrap(), Control::default());
    assert!(matches!(fenced(stale, OVER).await, Err(Error::Fenced)), "another has taken it since");
    assert!(matches!(fenced(fresh, LEASE * 2).await, Err(Error::Fenced)), "too little of the lease is left");
    let mut tx = store.begin().await.unwrap();
    tx.put_control(ours.id, &cancelled()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(fenced(fresh, LEASE / 2).await.unwrap(), cancelled());
    store.release(other).await.unwrap();
    assert!(matches!(fenced(fresh, OVER).await, Err(Error::Fenced)), "it has been given back");
}

async fn who_creates_an_operation_has_it_from_the_first(db: Db) {
    let store = db.open().await;
    let mut tx = store.begin().await.unwrap();
    tx.put_operation(&operation(1)).await.unwrap();
    let claim = tx.claim(operation(1).id, Uuid::new_v4(), LEASE).await.unwrap().unwrap();
    tx.fenced(claim.id, claim.fence, LEASE / 2).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.claim(Uuid::new_v4(), LEASE, 10).await.unwrap(), []);
}

async fn a_store_that_was_brought_back_voids_every_claim_and_says_so(db: Db) {
    let store = db.open().await;
    put(&store, &operation(1), &[]).await;
    put(&store, &Operation { state: State::Succeeded, ..operation(2) }, &[]).await;
    let held = store.claim(Uuid::new_v4(), LEASE, 10).await.unwrap()[0];
    let before = *store.revisions().borrow();
    assert_eq!(store.generation().await.unwrap(), 1);
    assert_eq!(store.restored().await.unwrap(), 2);
    let mut tx = store.begin().await.unwrap();
    assert!(matches!(tx.fenced(held.id, held.fence, OVER).await, Err(Error::Fenced)));
    drop(tx);
    put(&store, &operation(3), &[]).await;
    assert!(*store.revisions().borrow() > before + 1_000_000, "no revision is given out a second time");

    let restored = async || -> Vec<bool> {
        let claims = store.claim(Uuid::new_v4(), OVER, 10).await.unwrap();
        claims.into_iter().map(|claim| claim.restored).collect()
    };
    assert_eq!(restored().await, [true, false], "what came after is as AWS has it");
    assert_eq!(restored().await, [true, false], "until somebody has reconciled it");
    let mut tx = store.begin().await.unwrap();
    tx.reconciled(operation(1).id).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(restored().await, [false, false]);
}

async fn freezes_are_there_until_they_are_deleted(db: Db) {
    let store = db.open().await;
    let freeze = |n, scope| Freeze {
        id: Ulid::from_parts(n, 0),
        scope,
        from: now(),
        until: None,
        reason: "year's end".into(),
        creator: "local:0".into(),
        create_time: now(),
    };
    let group = FreezeScope::PatchGroup { location: Some(location()), group: "web".parse().unwrap() };
    let both = [freeze(1, FreezeScope::Everywhere), freeze(2, group)];
    let mut tx = store.begin().await.unwrap();
    for freeze in &both {
        tx.put_freeze(freeze).await.unwrap();
    }
    assert_eq!(tx.freezes().await.unwrap(), both);
    tx.commit().await.unwrap();
    assert_eq!(store.freezes().await.unwrap(), both);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.delete_freeze(both[0].id).await.unwrap());
    assert!(!tx.delete_freeze(both[0].id).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.freezes().await.unwrap(), both[1..]);
}

async fn an_instance_is_one_operation_s_until_it_is_unlocked(db: Db) {
    let store = db.open().await;
    let (one, other) = (operation(1).id, operation(2).id);
    let ids = [instance(1), instance(2), instance(3)];
    let later = now() + SignedDuration::from_mins(5);
    let lock = async |ids: &[InstanceId], operation, until, now| {
        let mut tx = store.begin().await.unwrap();
        let held = tx.lock_instances(&location(), ids, operation, until, now).await.unwrap();
        tx.commit().await.unwrap();
        held
    };
    assert_eq!(lock(&ids[..2], one, None, now()).await, []);
    assert_eq!(lock(&ids[..2], one, None, now()).await, [], "again is no harm");
    assert_eq!(lock(&ids, other, None, now()).await, [(ids[0].clone(), one), (ids[1].clone(), one)]);
    assert_eq!(lock(&ids[2..], one, None, now()).await, [(ids[2].clone(), other)], "what was free was taken");

    let mut tx = store.begin().await.unwrap();
    tx.unlock_instances(&location(), &ids, one).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(lock(&ids[..1], other, Some(later), now()).await, []);
    assert_eq!(lock(&ids[2..], one, None, now()).await, [(ids[2].clone(), other)], "only its own were unlocked");
    assert_eq!(lock(&ids[..1], one, None, now()).await, [(ids[0].clone(), other)]);
    assert_eq!(lock(&ids[..1], one, None, later).await, [], "held until then and no longer");
    // Elsewhere the same id is another instance.
    let mut tx = store.begin().await.unwrap();
    let elsewhere = Location::new("123456789012", "eu-central-1").unwrap();
    assert_eq!(tx.lock_instances(&elsewhere, &ids, other, None, now()).await.unwrap(), []);
}
