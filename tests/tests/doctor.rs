//! `patchplane doctor` as operators run it: each thing that can stand in the way, planted, is found with what to do.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use jiff::SignedDuration;
use patchplane_aws::{Clock, Effect, calls};
use patchplane_server::store::Place;
use patchplane_tests::{
    ACCOUNT,
    postgres::Postgres,
    processes::{Home, Sim, patchplane},
    shell::Ended,
};
use serde_json::{Value, json};
use std::fs;

const ROLE: &str = "arn:aws:iam::111122223333:role/ops/patchplane";
const HERE: &str = "accounts/111122223333/regions/us-east-1";

fn examined(home: &Home, url: &str, options: &[&str]) -> Ended {
    Ended::of(home.doctor(url, options).output().unwrap())
}

/// A finding with this beginning, which comes with a fix that says this; the doctor ends so.
fn assert_found(ended: &Ended, code: i32, beginning: &str, fix: &str) {
    assert_eq!(ended.code, code, "{ended:?}");
    let mut lines = ended.stdout.lines();
    let found = lines.by_ref().find(|line| line.starts_with(beginning));
    assert!(found.is_some(), "nothing begins with {beginning:?}:\n{}", ended.stdout);
    let told = lines.next().unwrap_or_default();
    assert!(told.starts_with("      fix: ") && told.contains(fix), "{beginning:?} is not mended by {fix:?}: {told}");
}

fn deny(sim: &Sim, operations: &[&str]) {
    let faults: Vec<Value> =
        operations.iter().map(|operation| json!({ "operation": operation, "kind": "deny", "times": 0 })).collect();
    sim.fate("POST", "faults", &json!({ "faults": faults }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_well_beside_a_running_server_and_nothing_is_changed() {
    let sim = Sim::for_looking(1).await;
    sim.makes_nodes(2);
    let home = Home::new(None, Some(ROLE));
    let before = examined(&home, &sim.url(), &[]);
    assert!(before.code == 0 && before.stdout.contains("there is none yet; `serve` makes it"), "{before:?}");
    let server = home.serves_by_the_system_s_time(&sim);
    server.tells("address=").await;

    let ended = examined(&home, &sim.url(), &[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.lines().all(|line| line.starts_with("ok    ")), "{ended:?}");
    for told in [
        "configuration: it is right",
        "its schema is this release's, it holds 0 operations, 0 of them unfinished",
        "they are arn:aws:sts::111122223333:assumed-role/patchplane/patchplane",
        &format!("clock against {HERE}: ours is 0 s off"),
        "are allowed",
        "not tried; `patchplane iam policy --for USE` says what they need: patch (2), reboot (2), baselines (5)",
    ] {
        assert!(ended.stdout.contains(told), "{told:?}: {ended:?}");
    }
    let machine = examined(&home, &sim.url(), &["--json"]);
    let told: Value = serde_json::from_str(&machine.stdout).unwrap();
    assert!(told["ok"] == true && told["findings"][0]["verdict"] == "ok", "{told}");
    for call in calls().iter().filter(|call| call.effect == Effect::Mutation) {
        assert_eq!(sim.requests(call.operation), 0, "{}", call.operation);
    }
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_are_lacking_are_named_with_the_policy_that_grants_them() {
    let sim = Sim::for_looking(1).await;
    deny(&sim, &["DescribeInstances", "DescribeMaintenanceWindows"]);
    let ended = examined(&Home::new(None, None), &sim.url(), &[]);
    let denied =
        format!("FAIL  reads in {HERE}: denied: ec2:DescribeInstances, ssm:DescribeMaintenanceWindows (docs/iam");
    assert_found(&ended, 1, &denied, "attach `patchplane iam policy --for read-only` to arn:aws:iam::111122223333:");

    deny(&sim, &["AssumeRole"]);
    let ended = examined(&Home::new(None, Some(ROLE)), &sim.url(), &[]);
    let fix = format!("patchplane iam policy --for assume-role --role {ROLE}");
    assert_found(&ended, 1, &format!("FAIL  credentials of {HERE}"), &fix);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_of_another_account_are_told_apart() {
    let sim = Sim::for_looking(1).await;
    let home = Home::new(None, None);
    home.rewrites(|config| config.replace(ACCOUNT, "444455556666"));
    let ended = examined(&home, &sim.url(), &[]);
    let check = "FAIL  credentials of accounts/444455556666/regions/us-east-1";
    assert_found(&ended, 1, check, "set `account = \"111122223333\"`, or `role_arn` of a role in 444455556666");
    assert!(!ended.stdout.contains("reads in"), "nothing is tried in a stranger's account: {ended:?}");

    let mut nobody = patchplane(&["doctor", "--config", &home.config(), "--aws-endpoint-url", &sim.url()]);
    nobody.env("AWS_EC2_METADATA_DISABLED", "true");
    assert_found(&Ended::of(nobody.output().unwrap()), 1, "FAIL  credentials", "AWS_PROFILE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aws_that_does_not_answer_is_told_with_the_way_to_it() {
    let home = Home::new(None, None);
    let ended = examined(&home, "http://127.0.0.1:1", &[]);
    assert_found(&ended, 1, &format!("FAIL  credentials of {HERE}"), "let AWS answer at http://127.0.0.1:1");
    let ended = examined(&home, "http://aws.example.com", &[]);
    assert_found(&ended, 1, "FAIL  aws_endpoint_url: ", "https");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_wrong_is_measured_against_aws_s() {
    let sim = Sim::for_looking(1).await;
    let home = Home::new(None, None);
    for (minutes, code, check) in [(3, 0, "warn  clock against"), (-6, 1, "FAIL  clock against")] {
        let clock = format!("{}@1", Clock::system().now() + SignedDuration::from_mins(minutes));
        assert_found(&examined(&home, &sim.url(), &["--clock", &clock]), code, check, "timedatectl set-ntp true");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_another_release_and_one_that_is_away_are_told() {
    let sim = Sim::for_looking(1).await;
    let postgres = Postgres::new();
    let Place::Postgres(url) = postgres.place() else { panic!("{:?} is no PostgreSQL", postgres.place()) };
    let home = Home::new(Some(&url), None);
    let migrated = Ended::of(patchplane(&["store", "migrate", "--store", &url]).output().unwrap());
    assert_eq!(migrated.code, 0, "{migrated:?}");
    postgres.psql("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)");
    let ended = examined(&home, &sim.url(), &[]);
    assert_found(&ended, 0, "warn  store: ", "patchplane store migrate");
    assert!(ended.stdout.contains("its schema lacks 1 steps of this release"), "{ended:?}");

    let postgres = Postgres::new();
    let Place::Postgres(url) = postgres.place() else { panic!("{:?} is no PostgreSQL", postgres.place()) };
    let home = Home::new(Some(&url), None);
    Ended::of(patchplane(&["store", "migrate", "--store", &url]).output().unwrap());
    postgres.psql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'of later', true, '\\x00', 0)",
    );
    let ended = examined(&home, &sim.url(), &[]);
    assert_found(&ended, 0, "warn  store: ", "run the release that made them");
    assert!(ended.stdout.contains("it has 1 steps of a later release"), "{ended:?}");

    let home = Home::new(Some("postgres://me:hush@127.0.0.1:1/patchplane"), None);
    let ended = examined(&home, &sim.url(), &[]);
    assert_found(&ended, 1, "FAIL  store: ", "set `store` to a PostgreSQL that answers from here");
    assert!(!format!("{ended:?}").contains("hush"), "{ended:?}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("patchplane.db");
    fs::write(&file, "this is no database, however long it may be, and however often it is opened").unwrap();
    let ended = examined(&Home::new(file.to_str(), None), &sim.url(), &[]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("FAIL  store: "), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_told_line_by_line() {
    let home = Home::new(None, None);
    home.rewrites(|config| format!("stroe = \"x\"\nlisten = \"nowhere\"\n{config}"));
    let ended = examined(&home, "http://127.0.0.1:1", &["--json"]);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, &told["ok"], told["findings"].as_array().unwrap().len()), (1, &json!(false), 2), "{told}");
    let ended = examined(&home, "http://127.0.0.1:1", &[]);
    assert_found(
        &ended,
        1,
        &format!("FAIL  configuration: {}:1: there is no key `stroe`", home.config()),
        "correct it",
    );
    assert!(ended.stdout.contains("did you mean `store`?") && ended.stdout.contains(":2: `listen`"), "{ended:?}");

    let sim = Sim::for_looking(1).await;
    let home = Home::new(None, None);
    let feed = "[[advisory_feeds]]\noperating_system = \"ROCKY_LINUX\"\nfile = \"/nowhere/updateinfo.xml\"\n";
    home.rewrites(|config| config + feed);
    assert_found(&examined(&home, &sim.url(), &[]), 0, "warn  advisory feed: /nowhere/", "updateinfo.xml");
}
