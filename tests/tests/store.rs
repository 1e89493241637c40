//! What the store promises, of each database that it can be kept in.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use jiff::{SignedDuration, Timestamp};
use patchplane_rules::{InstanceId, Location};
use patchplane_server::{
    domain::{
        control::{Cancel, CancelMode, Control},
        freeze::{Freeze, FreezeScope},
        operation::{
            InstanceLimit, Kind, OnBusy, Operation, OperationId, Origin, Spec, State, Target, TargetSelection,
            TargetState,
        },
    },
    store::{Claim, CrashPoint, Error, Store},
};
use std::time::Duration;
use tempfile::TempDir;
use ulid::Ulid;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(3600);
/// A lease that has ended when the next write begins.
const OVER: Duration = Duration::ZERO;

/// Where a store is kept.
struct Db(TempDir);

impl Db {
    fn file() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> Store {
        self.try_open(None).await.unwrap()
    }

    async fn try_open(&self, crash: Option<CrashPoint>) -> Result<Store, Error> {
        Store::open(&self.0.path().join("patchplane.db"), crash).await
    }
}

/// Each of these is a test for each database.
macro_rules! suite {
    ($($promise:ident,)+) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Db::file()).await;
            })+
        }
    };
}

suite! {
    a_crash_point_keeps_or_loses_the_commit_and_then_nothing_works,
    what_is_asked_of_an_operation_and_what_the_engine_writes_do_not_overwrite_each_other,
    a_claim_is_one_owner_s_until_its_lease_ends,
    a_renewed_lease_is_held_and_a_released_one_is_free,
    only_unfinished_operations_of_ours_are_claimed,
    a_stale_fence_and_a_short_lease_write_nothing,
    who_creates_an_operation_has_it_from_the_first,
    freezes_are_there_until_they_are_deleted,
    the_log_has_each_change_once_in_the_order_of_the_commits,
    changed_operations_come_in_order_and_none_is_left_out,
    an_instance_is_one_operation_s_until_it_is_unlocked,
}

fn now() -> Timestamp {
    "2025-11-24T00:00:00Z".parse().unwrap()
}

fn location() -> Location {
    Location::new("123456789012", "us-east-1").unwrap()
}

fn instance(n: usize) -> InstanceId {
    format!("i-{n:017x}").parse().unwrap()
}

/// The n-th operation.
fn operation(n: u64) -> Operation {
    Operation {
        id: OperationId::Ours(Ulid::from_parts(n, u128::from(n))),
        location: location(),
        spec: Spec {
            kind: Kind::Install,
            targets: TargetSelection { all_managed: true, ..TargetSelection::default() },
            reboot_option: None,
            concurrency: InstanceLimit::Percent(10),
            max_failures: InstanceLimit::Percent(5),
            max_duration: Spec::DEFAULT_MAX_DURATION,
            max_targets: 500,
            on_busy: OnBusy::Wait,
            override_freeze: false,
            note: "héllo 'quoted' \u{0} ?".to_owned(),
        },
        state: State::Running,
        reason: String::new(),
        explanation: "begun".into(),
        snapshot_id: "11111111-2222-3333-4444-555555555555".into(),
        snapshot_time: None,
        creator: "local:0".into(),
        create_time: now(),
        update_time: now(),
        end_time: None,
        deadline: now() + Spec::DEFAULT_MAX_DURATION,
        origin: Origin::Patchplane,
        retry_of: None,
        drift: Vec::new(),
    }
}

async fn put(store: &Store, operation: &Operation, targets: &[Target]) {
    let mut tx = store.begin().await.unwrap();
    tx.put_operation(operation).await.unwrap();
    tx.put_targets(operation.id, targets).await.unwrap();
    tx.commit().await.unwrap();
}

fn cancelled() -> Control {
    let cancel = Cancel { mode: CancelMode::StopNew, at: now(), by: "local:0".into(), note: String::new() };
    Control { cancel: Some(cancel), ..Control::default() }
}

async fn a_crash_point_keeps_or_loses_the_commit_and_then_nothing_works(db: Db) {
    for committed in [false, true] {
        let store = db.try_open(Some(CrashPoint { commit: 1, committed })).await.unwrap();
        let before = *store.revisions().borrow();
        assert!(matches!(store.begin().await.unwrap().commit().await, Err(Error::Crashed)));
        assert!(matches!(store.begin().await, Err(Error::Crashed)));
        assert!(matches!(store.operation(operation(1).id).await, Err(Error::Crashed)));
        store.close().await;
        let reopened = db.open().await;
        let after = *reopened.revisions().borrow();
        assert_eq!(after > before, committed);
        reopened.close().await;
    }
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
    assert_eq!(store.renew(one, LEASE).await.unwrap(), [operation(1).id], "the other has been taken away");
    assert_eq!(store.claim(other, LEASE, 10).await.unwrap(), []);
    store.release(one).await.unwrap();
    assert_eq!(store.renew(one, LEASE).await.unwrap(), []);
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

async fn the_log_has_each_change_once_in_the_order_of_the_commits(db: Db) {
    let store = db.open().await;
    let mut ours = operation(1);
    let mut targets: Vec<Target> = (0..3).map(|n| Target::pending(instance(n), false, now())).collect();
    put(&store, &ours, &targets).await;
    // Nothing of this is new, whatever else of the rows is.
    targets[0].attempt = 1;
    put(&store, &ours, &targets).await;
    let later = now() + SignedDuration::from_secs(5);
    targets[1].become_(TargetState::Skipped, "NOT_RUNNING", "it's \"stopped\"", later);
    targets[2].reason = "WAITS".into();
    ours.explanation = "goes on".into();
    put(&store, &ours, &targets).await;

    let events = store.events_after(ours.id, None, 100).await.unwrap();
    let said: Vec<_> = events.iter().map(|e| (e.target.clone(), e.state.as_str(), e.reason.as_str())).collect();
    assert_eq!(
        said,
        [
            (None, "Running", ""),
            (Some(instance(0)), "Pending", ""),
            (Some(instance(1)), "Pending", ""),
            (Some(instance(2)), "Pending", ""),
            (None, "Running", ""),
            (Some(instance(1)), "Skipped", "NOT_RUNNING"),
            (Some(instance(2)), "Pending", "WAITS"),
        ]
    );
    assert_eq!((events[4].explanation.as_str(), events[5].explanation.as_str()), ("goes on", "it's \"stopped\""));
    assert_eq!((events[0].time, events[5].time), (now(), later));
    let places: Vec<(u64, u32)> = events.iter().map(|event| (event.revision, event.seq)).collect();
    assert!(places.is_sorted_by(|one, next| one < next), "{places:?}");
    assert_eq!(places[3].0, places[0].0, "one revision for what one commit brought");
    assert_eq!(places.last().unwrap().0, *store.revisions().borrow());
    // In pages.
    let mut paged = Vec::new();
    loop {
        let after = paged.last().map(|event: &patchplane_server::domain::event::Event| (event.revision, event.seq));
        let page = store.events_after(ours.id, after, 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, events);
    assert_eq!(store.events_after(operation(2).id, None, 10).await.unwrap(), []);
}

async fn changed_operations_come_in_order_and_none_is_left_out(db: Db) {
    let store = db.open().await;
    let elsewhere = Location::new("123456789012", "eu-central-1").unwrap();
    let mut tx = store.begin().await.unwrap();
    for n in 1..=3 {
        tx.put_operation(&operation(n)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let began = *store.revisions().borrow();
    put(&store, &Operation { location: elsewhere.clone(), ..operation(4) }, &[]).await;
    put(&store, &operation(5), &[]).await;
    // A target's change is its operation's.
    let mut tx = store.begin().await.unwrap();
    tx.put_targets(operation(2).id, &[Target::pending(instance(1), false, now())]).await.unwrap();
    tx.commit().await.unwrap();
    let newest = *store.revisions().borrow();

    let ids = |listed: &[patchplane_server::store::Listed]| -> Vec<OperationId> {
        listed.iter().map(|listed| listed.operation.id).collect()
    };
    let id = |n| operation(n).id;
    let (changed, seen) = store.changed_operations(None, began, 10).await.unwrap();
    assert_eq!((ids(&changed), seen), (vec![id(4), id(5), id(2)], newest));
    assert_eq!(changed[2].counts.pending, 1);
    let (changed, seen) = store.changed_operations(Some(&elsewhere), 0, 10).await.unwrap();
    assert_eq!((ids(&changed), seen), (vec![id(4)], newest));
    // The first commit's are not torn apart, though fewer are asked for.
    let (mut all, mut since) = (Vec::new(), 0);
    loop {
        let (changed, seen) = store.changed_operations(None, since, 1).await.unwrap();
        if changed.is_empty() {
            break;
        }
        assert!(seen > since);
        all.extend(ids(&changed));
        since = seen;
    }
    all[..2].sort();
    assert_eq!(all, [id(1), id(3), id(4), id(5), id(2)]);
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

#[tokio::test]
async fn a_second_opener_of_a_file_is_refused_until_the_first_is_gone() {
    let db = Db::file();
    let first = db.open().await;
    let installation = first.installation();
    put(&first, &operation(1), &[]).await;
    let held = first.claim(Uuid::new_v4(), LEASE, 1).await.unwrap();
    assert!(matches!(db.try_open(None).await, Err(Error::InUse(_))));
    first.close().await;
    let second = db.open().await;
    assert_eq!(second.installation(), installation);
    let taken = second.claim(Uuid::new_v4(), LEASE, 1).await.unwrap();
    // Whoever held a lease is gone, for the file has one process.
    assert!(taken[0].fence > held[0].fence);
}
