//! Several stores on one PostgreSQL, as replicas have it: one writes at a time, a stale fence writes nothing, each hears of
//! the others' commits, and a database that went back in time is noticed.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_server::{
    domain::operation::Operation,
    store::{Error, Store},
};
use patchplane_tests::{
    postgres::Postgres,
    stored::{LEASE, OVER, operation, put},
};
use std::time::Duration;
use uuid::Uuid;

/// How long, in real time, what must happen may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long, in real time, what must not happen is waited for.
const QUIET: Duration = Duration::from_millis(300);

/// Two replicas, and an operation.
async fn two(postgres: &Postgres) -> (Store, Store) {
    let (one, other) =
        tokio::try_join!(Store::open(postgres.place(), None), Store::open(postgres.place(), None)).unwrap();
    put(&one, &operation(1), &[]).await;
    (one, other)
}

async fn claim(store: &Store, lease: Duration) -> Option<u64> {
    let claim = store.claim_one(operation(1).id, Uuid::new_v4(), lease).await.unwrap();
    claim.map(|claim| claim.fence)
}

async fn fenced(store: &Store, fence: u64) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    tx.fenced(operation(1).id, fence, OVER).await?;
    tx.put_operation(&Operation { explanation: format!("by {fence}"), ..operation(1) }).await?;
    tx.commit().await
}

#[tokio::test]
async fn replicas_that_start_together_share_one_store() {
    let postgres = Postgres::new();
    let opened = futures::future::join_all((0..4).map(|_| Store::open(postgres.place(), None))).await;
    let stores: Vec<Store> = opened.into_iter().map(Result::unwrap).collect();
    put(&stores[0], &operation(1), &[]).await;
    for store in &stores {
        assert_eq!(store.installation(), stores[0].installation());
        assert_eq!(store.seal_key(), stores[0].seal_key());
        assert!(store.operation(operation(1).id).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_replica_that_was_overtaken_writes_nothing() {
    let postgres = Postgres::new();
    let (one, other) = two(&postgres).await;
    let stale = claim(&one, OVER).await.unwrap();
    let fresh = claim(&other, LEASE).await.unwrap();
    assert!(matches!(fenced(&one, stale).await, Err(Error::Fenced)));
    fenced(&other, fresh).await.unwrap();
    let saved = one.operation(operation(1).id).await.unwrap().unwrap();
    assert_eq!(saved.operation.explanation, format!("by {fresh}"));
}

#[tokio::test]
async fn a_lease_ends_by_the_database_s_time() {
    let postgres = Postgres::new();
    let (one, other) = two(&postgres).await;
    let fence = claim(&one, LEASE).await.unwrap();
    let set = |seconds: i64| {
        let until = format!("(extract(epoch FROM clock_timestamp()) * 1000)::bigint + 1000 * {seconds}");
        postgres.psql(&format!("UPDATE operations SET lease_until = {until}"));
    };
    set(60);
    assert_eq!(claim(&other, LEASE).await, None);
    fenced(&one, fence).await.unwrap();
    set(-1);
    assert!(matches!(fenced(&one, fence).await, Err(Error::Fenced)));
    assert!(claim(&other, LEASE).await.unwrap() > fence);
}

#[tokio::test]
async fn nobody_takes_an_operation_between_the_check_of_a_fence_and_its_commit() {
    let postgres = Postgres::new();
    let (one, other) = two(&postgres).await;
    let stale = claim(&one, Duration::from_millis(500)).await.unwrap();
    let mut tx = one.begin().await.unwrap();
    tx.fenced(operation(1).id, stale, OVER).await.unwrap();
    // The lease ends meanwhile; who would take it must wait.
    let taking = claim(&other, LEASE);
    let mut taking = std::pin::pin!(taking);
    assert!(tokio::time::timeout(2 * QUIET, taking.as_mut()).await.is_err(), "it was taken under the writer's hands");
    tx.put_operation(&Operation { explanation: "committed".into(), ..operation(1) }).await.unwrap();
    tx.commit().await.unwrap();
    assert!(taking.await.unwrap() > stale);
    let saved = other.operation(operation(1).id).await.unwrap().unwrap();
    assert_eq!(saved.operation.explanation, "committed");
    assert!(matches!(fenced(&one, stale).await, Err(Error::Fenced)));
}

#[tokio::test]
async fn a_read_of_several_statements_sees_one_revision() {
    let postgres = Postgres::new();
    let (one, other) = two(&postgres).await;
    let writing = async {
        for n in 0..100 {
            put(&one, &Operation { explanation: n.to_string(), ..operation(1) }, &[]).await;
        }
    };
    let reading = async {
        let (mut seen, mut last) = (0, 0);
        while last < 99 {
            let changes = other.changes(operation(1).id, seen).await.unwrap().unwrap();
            // Every write changes this operation: a newer revision brings a newer content, and nothing is skipped over.
            assert_eq!(changes.any, changes.revision > seen, "revision {} after {seen}", changes.revision);
            seen = changes.revision;
            last = changes.listed.operation.explanation.parse().unwrap_or(0);
        }
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(writing, reading) }).await.unwrap();
}

#[tokio::test]
async fn a_commit_wakes_the_other_replica_s_watchers_at_once() {
    const ROUNDS: u32 = 8;
    let postgres = Postgres::new();
    let (one, other) = two(&postgres).await;
    let mut revisions = other.revisions();
    announced(&postgres, &other).await;
    let begun = tokio::time::Instant::now();
    for _ in 0..ROUNDS {
        put(&one, &operation(1), &[]).await;
        let newest = *one.revisions().borrow();
        tokio::time::timeout(PATIENCE, revisions.wait_for(|seen| *seen >= newest)).await.unwrap().unwrap();
    }
    // Looking alone finds a commit every two seconds.
    assert!(begun.elapsed() < ROUNDS * Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// Waits until a replica hears what is announced: it connects for that after it was opened.
async fn announced(postgres: &Postgres, store: &Store) {
    let now = *store.revisions().borrow();
    let mut revisions = store.revisions();
    for ahead in 1..600 {
        postgres.psql(&format!("NOTIFY patchplane, '{}'", now + ahead));
        let heard = revisions.wait_for(|seen| *seen >= now + ahead);
        if tokio::time::timeout(Duration::from_millis(100), heard).await.is_ok() {
            // Real commits are to be newer than what was made up.
            postgres.psql(&format!("UPDATE meta SET value = '{}' WHERE key = 'revision'", now + ahead));
            return;
        }
    }
    unreachable!("announcements are not heard");
}

#[tokio::test]
async fn a_commit_is_found_when_announcements_are_lost() {
    let postgres = Postgres::new();
    let (one, other) = two(&postgres).await;
    postgres.psql("ALTER TABLE meta DISABLE TRIGGER announce_revision");
    put(&one, &operation(1), &[]).await;
    let newest = *one.revisions().borrow();
    let mut revisions = other.revisions();
    let seen = revisions.wait_for(|seen| *seen == newest);
    tokio::time::timeout(PATIENCE, seen).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_renewal_wakes_no_watcher() {
    let postgres = Postgres::new();
    let (one, other) = two(&postgres).await;
    announced(&postgres, &other).await;
    let owner = Uuid::new_v4();
    one.claim(owner, LEASE, 1).await.unwrap();
    let before = (*one.revisions().borrow(), one.commits());
    let mut revisions = other.revisions();
    revisions.mark_unchanged();
    one.renew(owner, LEASE).await.unwrap();
    assert!(tokio::time::timeout(QUIET, revisions.changed()).await.is_err());
    assert_eq!((*one.revisions().borrow(), one.commits()), before);
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let postgres = Postgres::new();
    let (one, other) = two(&postgres).await;
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let mut tx = one.begin().await.unwrap();
    postgres.psql(terminate);
    assert!(tx.put_operation(&operation(1)).await.is_err(), "what was under way is lost");
    drop(tx);
    put(&one, &operation(1), &[]).await;
    assert!(other.operation(operation(1).id).await.unwrap().is_some());
    assert_eq!(one.generation().await.unwrap(), 1, "the same server answers");
    announced(&postgres, &other).await;
}

#[tokio::test]
async fn a_database_that_went_back_voids_every_claim_and_is_told() {
    let postgres = Postgres::new();
    let (one, other) = two(&postgres).await;
    let owner = Uuid::new_v4();
    let held = one.claim(owner, LEASE, 1).await.unwrap()[0];
    assert!(!held.restored);
    let before = *one.revisions().borrow();
    // As after a failover: connections end, and another server than the one that is remembered answers.
    postgres.psql("UPDATE meta SET value = 'another' WHERE key = 'database'");
    postgres.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'");
    let mut refused = one.begin().await;
    while refused.is_err() {
        refused = one.begin().await;
    }
    let mut tx = refused.unwrap();
    assert!(matches!(tx.fenced(held.id, held.fence, OVER).await, Err(Error::Fenced)));
    drop(tx);
    assert_eq!(one.renew(owner, LEASE).await.unwrap(), []);
    assert_eq!(one.generation().await.unwrap(), 2);
    assert_eq!(other.generation().await.unwrap(), 2, "once, whoever notices it");

    let again = other.claim(Uuid::new_v4(), LEASE, 1).await.unwrap()[0];
    assert!(again.restored && again.fence > held.fence);
    // A worker that dies before it has reconciled leaves that to the next.
    postgres.psql("UPDATE operations SET lease_until = 0");
    let again = other.claim(Uuid::new_v4(), LEASE, 1).await.unwrap()[0];
    assert!(again.restored);
    let mut tx = other.begin().await.unwrap();
    tx.fenced(again.id, again.fence, OVER).await.unwrap();
    tx.reconciled(again.id).await.unwrap();
    tx.commit().await.unwrap();
    postgres.psql("UPDATE operations SET lease_until = 0");
    assert!(!one.claim(Uuid::new_v4(), LEASE, 1).await.unwrap()[0].restored);
    // No revision is given out a second time.
    put(&one, &operation(1), &[]).await;
    assert!(*one.revisions().borrow() > before + 1_000_000);
}

#[tokio::test]
async fn a_promoted_standby_is_another_database() {
    let postgres = Postgres::alone();
    let store = Store::open(postgres.place(), None).await.unwrap();
    put(&store, &operation(1), &[]).await;
    let fence = claim(&store, LEASE).await.unwrap();
    postgres.restart();
    fenced(&store, fence).await.unwrap();
    assert_eq!(store.generation().await.unwrap(), 1, "a restart is none");
    postgres.promote();
    assert!(matches!(fenced(&store, fence).await, Err(Error::Fenced)));
    assert_eq!(store.generation().await.unwrap(), 2);
}

#[tokio::test]
async fn a_postgresql_that_may_lose_commits_is_refused() {
    let postgres = Postgres::new();
    postgres.psql(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$",
    );
    let refused = Store::open(postgres.place(), None).await.unwrap_err();
    assert!(refused.to_string().contains("synchronous_commit"), "{refused}");
}
