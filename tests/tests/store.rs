//! What the store promises of its records, on each database that it can be kept in.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use jiff::{SignedDuration, Timestamp};
use patchplane_rules::{InstanceId, Location};
use patchplane_server::{
    domain::{
        event::Event,
        operation::{
            Dispatch, DispatchOutcome, Operation, OperationId, Origin, OriginKind, State, Target, TargetState,
        },
        request::{Fingerprint, RequestId},
    },
    store::{CrashPoint, Error, Listed, RequestKey, RequestRecord, Store, Survey},
};
use patchplane_tests::{
    postgres::Postgres,
    stored::{Db, LEASE, instance, location, now, operation, put, sent},
};
use uuid::Uuid;

patchplane_tests::on_each_database! {
    a_crash_point_keeps_or_loses_the_commit_and_then_nothing_works,
    an_operation_is_read_as_it_was_written,
    lists_come_in_one_order_page_by_page,
    what_others_did_is_found_by_their_commands,
    a_request_is_recorded_once_and_forgotten_after_a_week,
    the_log_has_each_change_once_in_the_order_of_the_commits,
    changed_operations_come_in_order_and_none_is_left_out,
    what_has_ended_is_forgotten_after_its_time_and_nothing_else,
    everything_worth_keeping_is_exported_and_counted_beside_a_server,
    a_store_that_a_later_release_has_migrated_serves_this_one_still,
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

async fn an_operation_is_read_as_it_was_written(db: Db) {
    let store = db.open().await;
    let targets: Vec<Target> = (0..3).map(|n| Target::pending(instance(n), false, now())).collect();
    let open = Dispatch { outcome: DispatchOutcome::Open, ..sent(2, "") };
    let mut tx = store.begin().await.unwrap();
    tx.put_operation(&operation(1)).await.unwrap();
    tx.put_targets(operation(1).id, &targets).await.unwrap();
    tx.put_dispatch(operation(1).id, &open).await.unwrap();
    tx.put_dispatch(operation(1).id, &sent(1, "c-1")).await.unwrap();
    assert!(store.operation(operation(1).id).await.unwrap().is_none(), "not before the commit");
    tx.commit().await.unwrap();
    let saved = store.operation(operation(1).id).await.unwrap().unwrap();
    assert_eq!((saved.operation, saved.targets), (operation(1), targets.clone()));
    assert_eq!(saved.dispatches, [sent(1, "c-1"), open]);
    assert_eq!(saved.revision, *store.revisions().borrow());
    let listed = store.listed(operation(1).id).await.unwrap().unwrap();
    assert_eq!((listed.counts.pending, listed.command_ids), (3, vec!["c-1".to_owned()]));
    assert_eq!(store.target(operation(1).id, &instance(2)).await.unwrap().as_ref(), Some(&targets[2]));

    // Of a change only what has changed.
    let changed = Target { attempt: 1, ..targets[1].clone() };
    put(&store, &operation(1), std::slice::from_ref(&changed)).await;
    let changes = store.changes(operation(1).id, saved.revision).await.unwrap().unwrap();
    assert_eq!((changes.targets, changes.any), (vec![changed], true));
    assert!(!store.changes(operation(1).id, changes.revision).await.unwrap().unwrap().any);
    // What is dropped never was.
    let mut tx = store.begin().await.unwrap();
    tx.put_operation(&operation(2)).await.unwrap();
    drop(tx);
    assert!(store.operation(operation(2).id).await.unwrap().is_none());
}

async fn lists_come_in_one_order_page_by_page(db: Db) {
    let store = db.open().await;
    // Of either kind of id, and with every letter that ids may have.
    let mut ids: Vec<InstanceId> =
        ["mi-0a", "i-0f", "i-00", "mi-f0", "i-a0"].map(|id| format!("{id}{:0>15}", 0).parse().unwrap()).into();
    let targets: Vec<Target> = ids.iter().map(|id| Target::pending(id.clone(), false, now())).collect();
    put(&store, &operation(1), &targets).await;
    ids.sort();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.targets_after(operation(1).id, after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.instance_id.clone());
        found.extend(page.into_iter().map(|target| target.instance_id));
    }
    assert_eq!(found, ids);

    for n in 2..=40 {
        put(&store, &operation(n), &[]).await;
    }
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = store.operations_before(&location(), None, before, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.operation.place());
        found.extend(page.into_iter().map(|listed| listed.operation.id));
    }
    assert_eq!(found, (1..=40).rev().map(|n| operation(n).id).collect::<Vec<_>>(), "newest first");
    let others = store.operations_before(&location(), Some(OriginKind::Command), None, 7).await.unwrap();
    assert!(others.is_empty());
}

async fn what_others_did_is_found_by_their_commands(db: Db) {
    let store = db.open().await;
    let foreign = Operation { id: OperationId::Command(Uuid::new_v4()), origin: Origin::Command, ..operation(1) };
    let ours = Operation { state: State::Succeeded, ..operation(2) };
    for (operation, command_id) in [(&foreign, "c-1"), (&ours, "c-2")] {
        let mut tx = store.begin().await.unwrap();
        tx.put_operation(operation).await.unwrap();
        tx.put_dispatch(operation.id, &sent(1, command_id)).await.unwrap();
        tx.commit().await.unwrap();
    }
    let owners = store.owners(&["c-1", "c-2", "c-3"]).await.unwrap();
    assert_eq!(owners.len(), 2);
    assert_eq!((&owners["c-1"], &owners["c-2"]), (&foreign, &ours));
    assert_eq!(store.followed(&location()).await.unwrap(), [foreign]);
}

async fn a_request_is_recorded_once_and_forgotten_after_a_week(db: Db) {
    let store = db.open().await;
    let key = |id: u128| RequestKey {
        principal: "local:0".into(),
        method: "CreatePatchOperation",
        id: RequestId::parse(&Uuid::from_u128(id).to_string()).unwrap(),
    };
    let record = |resource: Option<&str>, intent: Option<&str>| RequestRecord {
        fingerprint: Fingerprint("f".into()),
        resource: resource.map(Into::into),
        intent: intent.map(Into::into),
    };
    let fingerprint = Fingerprint("f".into());
    let mut tx = store.begin().await.unwrap();
    assert!(tx.put_request(&key(1), &fingerprint, Some("r"), now()).await.unwrap());
    assert!(!tx.put_request(&key(1), &Fingerprint("other".into()), None, now()).await.unwrap());
    assert!(tx.put_request(&key(2), &fingerprint, None, now()).await.unwrap());
    tx.put_intent(&key(2), "{}").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.request(&key(1)).await.unwrap(), Some(record(Some("r"), None)));
    assert_eq!(store.request(&key(2)).await.unwrap(), Some(record(None, Some("{}"))));
    assert_eq!(store.open_intents("CreatePatchOperation").await.unwrap(), [(key(2), "{}".to_owned())]);

    let mut tx = store.begin().await.unwrap();
    tx.close_request(&key(2), "made").await.unwrap();
    tx.forget_request(&key(1)).await.unwrap();
    let later = now() + SignedDuration::from_hours(7 * 24 + 1);
    tx.commit().await.unwrap();
    assert_eq!(store.request(&key(1)).await.unwrap(), None);
    assert_eq!(store.request(&key(2)).await.unwrap(), Some(record(Some("made"), Some("{}"))));
    assert_eq!(store.open_intents("CreatePatchOperation").await.unwrap(), []);
    let mut tx = store.begin().await.unwrap();
    tx.put_request(&key(3), &fingerprint, None, later).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.request(&key(2)).await.unwrap(), None);
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
        let after = paged.last().map(|event: &Event| (event.revision, event.seq));
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

    let ids = |listed: &[Listed]| -> Vec<OperationId> { listed.iter().map(|listed| listed.operation.id).collect() };
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

async fn what_has_ended_is_forgotten_after_its_time_and_nothing_else(db: Db) {
    let store = db.open().await;
    let targets = [Target::pending(instance(1), false, now())];
    let ended = |n| Operation { state: State::Succeeded, ..operation(n) };
    // The n-th began n milliseconds after the epoch. More than are forgotten in one go.
    for n in 1..=300 {
        put(&store, &ended(n), &targets).await;
    }
    put(&store, &operation(301), &targets).await;
    put(&store, &ended(400), &targets).await;
    let mut tx = store.begin().await.unwrap();
    tx.lock_instances(&location(), &[instance(1)], operation(7).id, None, now()).await.unwrap();
    tx.commit().await.unwrap();
    let before = Timestamp::from_millisecond(400).unwrap();
    assert_eq!(store.forget(before).await.unwrap(), 300);
    assert_eq!(store.forget(before).await.unwrap(), 0);
    assert!(store.operation(operation(1).id).await.unwrap().is_none());
    assert!(store.events_after(operation(1).id, None, 10).await.unwrap().is_empty());
    assert!(store.targets_after(operation(1).id, None, 10).await.unwrap().is_empty());
    for kept in [301, 400] {
        assert_eq!(store.operation(operation(kept).id).await.unwrap().unwrap().targets.len(), 1);
        assert_eq!(store.events_after(operation(kept).id, None, 10).await.unwrap().len(), 2);
    }
    let mut tx = store.begin().await.unwrap();
    let held = tx.lock_instances(&location(), &[instance(1)], operation(301).id, None, now()).await.unwrap();
    assert_eq!(held, [], "what is forgotten holds nothing");
}

async fn everything_worth_keeping_is_exported_and_counted_beside_a_server(db: Db) {
    assert!(matches!(Store::look(db.place()).await, Err(Error::Unfit(_) | Error::Unavailable(_))), "nothing is there");
    let store = db.open().await;
    let targets: Vec<Target> = (0..3).map(|n| Target::pending(instance(n), false, now())).collect();
    // More than are read at a time.
    for n in 1..=250 {
        put(&store, &operation(n), &[]).await;
    }
    put(&store, &Operation { state: State::Succeeded, ..operation(251) }, &targets).await;

    let reader = Store::look(db.place()).await.unwrap();
    let mut lines = Vec::new();
    let line = |piece| -> Result<(), Error> {
        lines.push(serde_json::to_value(&piece)?);
        Ok(())
    };
    reader.export(line).await.unwrap();
    assert_eq!(lines[0]["store"]["installation"], store.installation().to_string());
    let count = |kind: &str| lines.iter().filter(|line| line.get(kind).is_some()).count();
    assert_eq!((count("operation"), count("target"), count("event")), (251, 3, 254));
    let target = lines.iter().find(|line| line.get("target").is_some()).unwrap();
    assert_eq!(target["target"]["operation"], operation(251).id.to_string());
    assert_eq!(target["target"]["record"]["instance_id"], instance(0).to_string());

    let survey = reader.survey().await.unwrap();
    let expected = Survey { operations: 251, unfinished: 250, targets: 3, events: 254, ..Survey::default() };
    assert_eq!(survey, expected);
    reader.close().await;
    put(&store, &operation(252), &[]).await;
}

/// As a release after this one would leave it: a step of the schema more, another column and table, and an operation in a
/// form of its own.
async fn a_store_that_a_later_release_has_migrated_serves_this_one_still(db: Db) {
    let store = db.open().await;
    put(&store, &operation(1), &[Target::pending(instance(1), false, now())]).await;
    put(&store, &operation(2), &[]).await;
    store.close().await;
    let no_bytes = if matches!(db, Db::File(_)) { "X'00'" } else { "'\\x00'::bytea" };
    db.sql(&format!(
        "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) \
         VALUES (9000, 'later', CURRENT_TIMESTAMP, true, {no_bytes}, 0);
         ALTER TABLE operations ADD COLUMN later TEXT;
         CREATE TABLE later (name TEXT PRIMARY KEY);
         UPDATE operations SET later = 'x', body = '{{\"invented\":{{\"by\":\"a later release\"}},' || substr(body, 2);
         UPDATE operations SET written_by = '2' WHERE id LIKE '%2';"
    ));

    let store = db.open().await;
    let taken: Vec<OperationId> =
        store.claim(Uuid::new_v4(), LEASE, 10).await.unwrap().iter().map(|claim| claim.id).collect();
    assert_eq!(taken, [operation(1).id], "what the later release wrote is left to it");
    for known in [operation(1), operation(2)] {
        assert_eq!(store.listed(known.id).await.unwrap().unwrap().operation, known, "what it added is passed over");
    }
    let mut ended = operation(1);
    ended.state = State::Cancelled;
    put(&store, &ended, &[]).await;
    put(&store, &operation(3), &[]).await;
    assert_eq!(store.listed(ended.id).await.unwrap().unwrap().operation, ended);
    assert_eq!(store.survey().await.unwrap().unknown, 1);
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

#[tokio::test]
async fn a_survey_names_what_cannot_be_read() {
    let postgres = Postgres::new();
    let store = Store::open(postgres.place(), None).await.unwrap();
    put(&store, &operation(1), &[Target::pending(instance(1), false, now())]).await;
    put(&store, &operation(2), &[]).await;
    postgres.psql("UPDATE targets SET body = '{}'; UPDATE operations SET written_by = '2' WHERE id LIKE '%2'");
    let survey = store.survey().await.unwrap();
    assert_eq!((survey.operations, survey.unfinished, survey.unknown), (2, 1, 1));
    assert_eq!(survey.faults.len(), 1);
    assert!(survey.faults[0].contains(&operation(1).id.to_string()), "{:?}", survey.faults);
    assert_eq!(store.claim(Uuid::new_v4(), LEASE, 10).await.unwrap().len(), 1, "another release's is left alone");
}
