//! What can be asked of operations under way, from the command line: cancel, pause, resume, retry, watch, freeze.

use patchplane_client::api::{instance_limit::Amount, patch_operation::State, patch_operation_target};
use patchplane_tests::{World, install, install_by, shell::User};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

/// With an installation on three nodes of `web`, one at a time, that works on the first.
async fn under_way() -> (User, Vec<String>, String) {
    let world = World::start().await;
    let nodes = world.account().add_nodes(3).in_group("web").missing_patches(1).create();
    let name = world.create(install_by("web", Amount::Count(1))).await.name;
    let running = |target: &patchplane_client::api::PatchOperationTarget| {
        target.state() == patch_operation_target::State::Running
    };
    while !world.targets(&name).await.iter().any(running) {
        assert!(world.step().await, "it never runs");
    }
    (User::new(world).await, nodes, name)
}

fn installs(user: &User, nodes: &[String]) -> Vec<u32> {
    let mut installs: Vec<u32> = nodes.iter().map(|node| user.world.account().installs(node)).collect();
    installs.sort_unstable();
    installs
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_paused_resumed_cancelled_and_tried_again() {
    let (user, nodes, name) = under_way().await;
    let planned = user.at_once(&["pause", "last", "--note", "lunch", "--validate-only"]).await;
    assert_eq!(planned.code, 0, "{planned:?}");
    assert!(planned.stdout.contains("pause"), "{planned:?}");
    let paused = user.at_once(&["pause", "last", "--note", "lunch"]).await;
    assert_eq!(paused.code, 0, "{paused:?}");
    assert!(paused.stdout.contains("PAUSED") && paused.stdout.contains("lunch"), "{paused:?}");
    user.world.settle().await;
    assert!(user.at_once(&["operations"]).await.stdout.contains("RUNNING (PAUSED)"));
    let resumed = user.at_once(&["resume", "last"]).await;
    assert!(resumed.code == 0 && !resumed.stdout.contains("RUNNING (PAUSED)"), "{resumed:?}");

    // What has not begun can be stopped without much ado; what runs only with consent.
    user.at_once(&["cancel", "last", "--interrupt"]).await.refused(2, &["consent", "add --yes"]);
    let cancelled = user.at_once(&["cancel", "last", "--note", "called off"]).await;
    assert_eq!(cancelled.code, 0, "{cancelled:?}");
    assert!(cancelled.stdout.contains("CANCELLING"), "{cancelled:?}");
    assert_eq!(user.world.finish(&name).await.state(), State::Cancelled);
    assert_eq!(installs(&user, &nodes), [0, 0, 1], "what had begun was finished, and no more");
    assert_eq!(user.at_once(&["operations", "get", "last"]).await.code, 1);
    user.at_once(&["cancel", "last"]).await.refused(3, &["OPERATION_ENDED", "next:  `patchctl retry OPERATION`"]);

    let events = user.at_once(&["events", "last"]).await.stdout;
    for told in ["When (UTC)", "CANCELLED", "called off"] {
        assert!(events.contains(told), "{told}: {events}");
    }
    let of_one: Value =
        serde_json::from_str(&user.at_once(&["events", "last", "--instance", &nodes[0], "-o", "json"]).await.stdout)
            .unwrap();
    let of_one = of_one["events"].as_array().unwrap();
    assert!(!of_one.is_empty() && of_one.iter().all(|event| event["instanceId"] == nodes[0].as_str()), "{of_one:?}");

    user.at_once(&["retry", "last"]).await.refused(2, &["consent"]);
    let again = user.runs(&["retry", "last", "--yes"]).await;
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stdout.contains("Retry of") && again.stdout.contains("SUCCEEDED"), "{again:?}");
    assert_eq!(installs(&user, &nodes), [1, 1, 1]);
    user.at_once(&["retry", "last", "--yes"]).await.refused(3, &["NOTHING_TO_RETRY", "next:  "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupting_stops_also_what_runs() {
    let (user, nodes, name) = under_way().await;
    let interrupted = user.at_once(&["cancel", &name, "--interrupt", "--yes"]).await;
    assert_eq!(interrupted.code, 0, "{interrupted:?}");
    assert_eq!(user.world.finish(&name).await.state(), State::Cancelled);
    assert!(nodes.iter().all(|node| user.world.account().missing(node) == 1), "nothing was installed");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_watched_until_ctrl_c() {
    let (user, nodes, name) = under_way().await;
    let mut watch = user.command(&["watch"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(tell.send(line))));
    let first = told.recv().await.unwrap();
    assert!(
        first.contains("111122223333/us-east-1") && first.contains("RUNNING: ") | first.contains("RUNNING  "),
        "{first}"
    );
    user.world.finish(&name).await;
    // Another one begins meanwhile; both are told to their ends.
    let second = user.world.run(install("web")).await.name;
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let line = told.recv().await.unwrap();
        let of = [&name, &second].into_iter().find(|name| line.contains(name.rsplit('/').next().unwrap())).unwrap();
        if line.contains("SUCCEEDED") {
            assert!(line.contains(&format!("{} succeeded", nodes.len())), "{line}");
            ended.push(of.clone());
        }
    }
    assert_eq!(ended, [name, second]);
    assert!(Command::new("kill").args(["-INT", &watch.id().to_string()]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(move || watch.wait_with_output().unwrap()).await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("look again with `patchctl watch`"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_holds_back_what_is_not_under_way_until_it_is_deleted() {
    let (user, nodes) = User::with_web().await;
    assert!(user.gets(&["freezes"]).await.contains("Nothing is frozen"));
    let create = ["freezes", "create", "--reason", "stock-taking", "--group", "web"];
    user.at_once(&[&create[..], &["--region", "-"]].concat()).await.refused(2, &["exactly one location"]);
    user.at_once(&[&create[..], &["--until", "noon"]].concat()).await.refused(2, &["\"noon\" is no moment", "--tz"]);
    let until = ["--until", "2025-11-25 03:00", "--tz", "Asia/Tokyo", "-o", "json"];
    let frozen = user.json(&[&create[..], &until].concat()).await;
    assert_eq!(frozen["freeze"]["endTime"], "2025-11-24T18:00:00Z", "{frozen}");
    let listed = user.gets(&["freezes"]).await;
    for told in ["frozen", "group web in 111122223333/us-east-1", "2025-11-24 18:00", "stock-taking"] {
        assert!(listed.contains(told), "{told}: {listed}");
    }

    let started = user.at_once(&["scan", "--group", "web", "--no-wait"]).await;
    assert_eq!(started.code, 0, "{started:?}");
    user.world.settle().await;
    assert!(user.at_once(&["operations"]).await.stdout.contains("RUNNING (FROZEN)"));
    assert_eq!(user.world.account().scans(&nodes[0]), 0);
    let overriding = user.runs(&["scan", "--instance", &nodes[0], "--override-freeze", "--on-busy", "skip"]).await;
    assert_eq!(overriding.code, 0, "it does not wait: {overriding:?}");
    assert!(overriding.stdout.contains("overridden") && user.world.account().scans(&nodes[0]) == 1, "{overriding:?}");

    let id = frozen["freeze"]["name"].as_str().unwrap().rsplit('/').next().unwrap();
    let deleted = user.at_once(&["freezes", "delete", id]).await;
    assert_eq!(deleted.code, 0, "{deleted:?}");
    let first =
        user.json(&["operations", "-o", "json"]).await["patchOperations"][1]["name"].as_str().unwrap().to_owned();
    assert_eq!(user.world.finish(&first).await.state(), State::Succeeded);
    user.at_once(&["freezes", "delete", id]).await.refused(3, &["FREEZE_NOT_FOUND", "next:  `patchctl freezes`"]);
}
