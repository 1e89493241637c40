//! What others scan and patch stands in the same history: runs of windows and commands that somebody sent.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_aws::{Action, PatchCommand};
use patchplane_client::{
    Listing,
    api::{
        CreatePatchScheduleRequest, GetStepOutputRequest, ListPatchOperationsRequest, PatchOperation, PatchSchedule,
        Recurrence, TimeOfDay, WatchPatchOperationRequest,
        patch_operation::{Kind, Origin, State},
        patch_operation_target::State as TargetState,
        patch_schedule::Targets,
        recurrence::{Daily, Kind as Recurs},
        watch_patch_operation_response::Event,
    },
};
use patchplane_rules::Location;
use patchplane_server::server::simulated;
use patchplane_sim::FaultKind;
use patchplane_tests::{ACCOUNT, PARENT, REGION, World, fault, scan};
use std::time::Duration;
use tonic::Code;
use uuid::Uuid;

/// A scan that somebody sends with a program of theirs; answers with AWS's id of the command.
async fn scan_by_somebody(world: &World, nodes: &[String]) -> String {
    let (clock, locations) = simulated::connect(&world.simulation).await.unwrap();
    let command = PatchCommand {
        instance_ids: nodes.iter().map(|id| id.parse().unwrap()).collect(),
        action: Action::Patch { operation: "Scan", reboot_option: None },
        snapshot_id: Uuid::new_v4().to_string(),
        comment: "monthly check".to_owned(),
        timeout_s: 600,
        signed_at: clock.now(),
    };
    let aws = &locations[&Location::new(ACCOUNT, REGION).unwrap()];
    aws.send_patch_command(&command).await.unwrap().command_id
}

async fn history(world: &World, origin: Origin, page_size: i32) -> Vec<PatchOperation> {
    let request = ListPatchOperationsRequest {
        parent: PARENT.to_owned(),
        origin: origin.into(),
        page_size,
        ..Default::default()
    };
    Listing::collect(world.client.list_patch_operations(request)).await.unwrap().items
}

fn advance(world: &World, minutes: u64) {
    world.simulation.clock().advance(Duration::from_secs(60 * minutes));
}

#[tokio::test]
async fn somebodys_command_is_followed_to_its_end_and_stays_after_a_restart() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(2).in_group("web").missing_patches(1).create();
    let command_id = scan_by_somebody(&world, &nodes).await;
    advance(&world, 1);

    let found = history(&world, Origin::Unspecified, 0).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].name, format!("{PARENT}/patchOperations/cmd-{command_id}"));
    assert_eq!((found[0].origin(), found[0].kind()), (Origin::Command, Kind::Scan));
    assert_eq!(found[0].command_ids, [command_id]);
    assert_eq!((found[0].creator.as_str(), &found[0].rollout), ("", &None));

    advance(&world, 30);
    let ended = world.operation(&found[0].name).await;
    assert_eq!(ended.state(), State::Succeeded, "{ended:?}");
    assert_eq!(ended.create_time, found[0].create_time);
    let targets = world.targets(&ended.name).await;
    let states: Vec<_> = targets.iter().map(|target| (target.instance_id.clone(), target.state())).collect();
    let mut expected: Vec<_> = nodes.into_iter().map(|id| (id, TargetState::Succeeded)).collect();
    expected.sort();
    assert_eq!(states, expected);
    let step = targets[0].steps.iter().find(|step| step.step == "PatchLinux").unwrap();
    let output = world.client.get_step_output(GetStepOutputRequest { name: step.name.clone() }).await.unwrap();
    assert!(output.stdout.contains("Scan"), "{}", output.stdout);

    let commits = world.store().commits();
    advance(&world, 5);
    assert_eq!(history(&world, Origin::Unspecified, 0).await, std::slice::from_ref(&ended));
    assert_eq!(world.store().commits(), commits, "nothing new is nothing to write");
    let world = world.restart().await;
    assert_eq!(history(&world, Origin::Unspecified, 0).await, [ended]);
}

#[tokio::test]
async fn our_own_commands_are_in_the_history_once() {
    let world = World::start().await;
    world.account().add_nodes(3).in_group("web").create();
    let ours = world.create(scan("web")).await;
    for minutes in [1, 2, 30] {
        world.settle().await;
        advance(&world, minutes);
        let found = history(&world, Origin::Unspecified, 0).await;
        assert_eq!(found.iter().map(|operation| &operation.name).collect::<Vec<_>>(), [&ours.name]);
    }
    assert_eq!(history(&world, Origin::Command, 0).await, []);
    assert_eq!(history(&world, Origin::Patchplane, 0).await.len(), 1);
}

/// A schedule that scans `web` daily at 03:00 in Tokyo.
async fn nightly_scan(world: &World) -> PatchSchedule {
    let schedule = PatchSchedule {
        display_name: "web-nightly".to_owned(),
        kind: Kind::Scan.into(),
        targets: Some(Targets { patch_groups: vec!["web".to_owned()], ..Default::default() }),
        recurrence: Some(Recurrence {
            kind: Some(Recurs::Daily(Daily { time: Some(TimeOfDay { hours: 3, ..Default::default() }) })),
        }),
        time_zone: "Asia/Tokyo".to_owned(),
        ..Default::default()
    };
    let request = CreatePatchScheduleRequest {
        parent: PARENT.to_owned(),
        patch_schedule: Some(schedule),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    world.client.create_patch_schedule(request).await.unwrap().patch_schedule.unwrap()
}

#[tokio::test]
async fn a_windows_run_is_one_operation_that_names_its_window() {
    let world = World::start().await;
    world.account().add_nodes(2).in_group("web").missing_patches(1).create();
    let schedule = nightly_scan(&world).await;
    // From midnight UTC: 03:00 in Tokyo is 18:00.
    advance(&world, 18 * 60 + 5);
    let found = history(&world, Origin::Window, 0).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let window = schedule.name.replace("patchSchedules", "maintenanceWindows");
    assert_eq!(found[0].source, window);
    assert!(found[0].name.contains("/patchOperations/run-"), "{}", found[0].name);
    // A day later it has ended, and the second run is another operation.
    advance(&world, 24 * 60);
    let found = history(&world, Origin::Unspecified, 0).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[1].state(), State::Succeeded, "{:?}", found[1]);
    assert_eq!(world.targets(&found[1].name).await.len(), 2);
    assert_eq!(history(&world, Origin::Command, 0).await, []);
}

#[tokio::test]
async fn a_command_that_turns_out_to_be_a_windows_run_moves_there_and_is_found_under_both_names() {
    for restarted in [false, true] {
        let mut world = World::start().await;
        let nodes = world.account().add_nodes(2).in_group("web").missing_patches(1).create();
        nightly_scan(&world).await;
        world.account().runs_appear_after(Duration::from_secs(20 * 60));
        advance(&world, 18 * 60 + 10);
        let early = history(&world, Origin::Unspecified, 0).await;
        // One command for each of the two tag keys, of which one reaches nobody.
        assert!(!early.is_empty() && early.iter().all(|operation| operation.origin() == Origin::Command), "{early:?}");
        let early = early
            .into_iter()
            .find(|operation| !operation.command_ids.is_empty() && operation.counts.unwrap().succeeded == 2)
            .unwrap();
        assert_eq!(early.name, format!("{PARENT}/patchOperations/cmd-{}", early.command_ids[0]));
        assert_eq!(early.state(), State::Succeeded, "ended, and still not known for what it is");

        advance(&world, 15);
        if restarted {
            world = world.restart().await;
        }
        let [run] = &history(&world, Origin::Unspecified, 0).await[..] else { panic!("it appears twice, or not") };
        assert!(run.name.contains("/patchOperations/run-"), "{}", run.name);
        assert_eq!((run.origin(), run.state()), (Origin::Window, State::Succeeded));
        assert!(run.command_ids.contains(&early.command_ids[0]));
        assert_eq!(history(&world, Origin::Command, 0).await, []);
        assert_eq!(world.operation(&early.name).await, *run, "its first name finds it, too");
        let targets: Vec<_> = world.targets(&early.name).await.into_iter().map(|target| target.instance_id).collect();
        let mut expected = nodes;
        expected.sort();
        assert_eq!(targets, expected);
        // And nothing of it is written again.
        let commits = world.store().commits();
        advance(&world, 5);
        assert_eq!(history(&world, Origin::Unspecified, 0).await, std::slice::from_ref(run));
        assert_eq!(world.store().commits(), commits);
    }
}

#[tokio::test]
async fn a_watch_goes_on_when_a_command_turns_out_to_be_a_windows_run() {
    let world = World::start().await;
    world.account().add_nodes(1).in_group("web").missing_patches(1).create();
    nightly_scan(&world).await;
    world.account().runs_appear_after(Duration::from_secs(60));
    advance(&world, 18 * 60);
    world.simulation.clock().advance(Duration::from_secs(10));
    let early = history(&world, Origin::Command, 0).await;
    let early = early.into_iter().find(|operation| operation.counts.unwrap() != Default::default()).unwrap();
    assert_eq!(early.state(), State::Running);
    let request = WatchPatchOperationRequest { name: early.name, ..Default::default() };
    let mut watch = world.client.patch_operations().watch_patch_operation(request).await.unwrap().into_inner();
    let complete = |event: &Option<Event>| matches!(event, Some(Event::Snapshot(part)) if part.complete);
    while !complete(&watch.message().await.unwrap().unwrap().event) {}
    advance(&world, 30);
    history(&world, Origin::Unspecified, 0).await;
    let mut last = None;
    while let Some(message) = watch.message().await.unwrap() {
        last = message.event;
    }
    let Some(Event::Update(update)) = last else { panic!("{last:?}") };
    let last = update.patch_operation.unwrap();
    assert!(last.name.contains("/run-") && last.state() == State::Succeeded, "{last:?}");
}

/// AWS's id of the last run of an association, as somebody with rights there sees it.
fn last_execution(world: &World, association: &str) -> String {
    let request = serde_json::json!({ "AssociationId": association });
    let answer = world.account().by_others("DescribeAssociationExecutions", &request).unwrap();
    answer["AssociationExecutions"][0]["ExecutionId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn patch_now_is_a_run_of_its_association() {
    // Whether or not AWS lists State Manager's commands with the others.
    for hidden in [false, true] {
        let world = World::start().await;
        if hidden {
            world.account().hide_association_commands();
        }
        let nodes = world.account().add_nodes(2).in_group("web").missing_patches(1).create();
        let association = world.account().patch_now("Install", &nodes).unwrap();
        advance(&world, 1);
        let [found] = &history(&world, Origin::Unspecified, 0).await[..] else { panic!("not one operation") };
        let execution = last_execution(&world, &association);
        assert_eq!(found.name, format!("{PARENT}/patchOperations/assoc-{execution}"));
        assert_eq!((found.origin(), found.kind(), found.state()), (Origin::Association, Kind::Install, State::Running));
        assert_eq!(found.source, association);

        // One node after the other (S 11.4.2), so that it takes its time.
        advance(&world, 60);
        let ended = world.operation(&found.name).await;
        assert_eq!(ended.state(), State::Succeeded, "{ended:?}");
        assert!(ended.explanation.contains("not verified here"), "{}", ended.explanation);
        let targets = world.targets(&found.name).await;
        assert_eq!(targets.len(), 2);
        assert!(targets.iter().all(|target| target.explanation.contains("its own word")), "{targets:?}");
        assert_eq!(history(&world, Origin::Association, 0).await, std::slice::from_ref(&ended));
        let world = world.restart().await;
        assert_eq!(history(&world, Origin::Unspecified, 0).await, [ended]);
    }
}

#[tokio::test]
async fn patch_now_is_followed_to_its_end_when_nothing_lists_it_any_more() {
    let world = World::start().await;
    world.account().hide_association_commands();
    let nodes = world.account().add_nodes(1).in_group("web").missing_patches(1).create();
    world.account().patch_now("Install", &nodes).unwrap();
    advance(&world, 1);
    let [found] = &history(&world, Origin::Association, 0).await[..] else { panic!("not one operation") };
    assert_eq!(found.state(), State::Running);
    // As if the association were deleted: only the command's id leads to it.
    world.account().runs_appear_after(Duration::from_secs(30 * 24 * 3600));
    advance(&world, 60);
    let ended = world.operation(&found.name).await;
    assert_eq!((ended.state(), ended.state_reason.as_str()), (State::Succeeded, ""), "{ended:?}");
}

#[tokio::test]
async fn patch_now_is_named_for_what_it_is_also_when_its_run_is_listed_late() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(1).in_group("web").create();
    world.account().runs_appear_after(Duration::from_secs(5 * 60));
    let association = world.account().patch_now("Scan", &nodes).unwrap();
    advance(&world, 3);
    let [early] = &history(&world, Origin::Unspecified, 0).await[..] else { panic!("not one operation") };
    assert_eq!((early.origin(), early.state()), (Origin::Command, State::Succeeded));
    advance(&world, 5);
    let [late] = &history(&world, Origin::Unspecified, 0).await[..] else { panic!("not one operation") };
    assert_eq!((late.origin(), &late.source), (Origin::Association, &association));
    assert_eq!(world.operation(&early.name).await, *late);
}

#[tokio::test]
async fn each_run_of_a_patch_policy_is_an_operation_of_its_own() {
    let world = World::start().await;
    world.account().add_nodes(1).tagged("env", "prod").missing_patches(1).create();
    let policy = world.account().patch_policy("Scan", "cron(0 1 ? * * *)", ("tag:env", "prod")).unwrap();
    advance(&world, 65);
    assert_eq!(history(&world, Origin::PatchPolicy, 0).await.len(), 1);
    advance(&world, 24 * 60);
    let runs = history(&world, Origin::PatchPolicy, 0).await;
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert_eq!(runs[0].name, format!("{PARENT}/patchOperations/assoc-{}", last_execution(&world, &policy)));
    assert!(runs.iter().all(|run| run.source == policy && run.name.contains("/assoc-")));
    assert_eq!(history(&world, Origin::Unspecified, 0).await, runs);
}

#[tokio::test]
async fn what_is_known_of_others_is_shown_while_their_location_cannot_be_asked() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(1).in_group("web").create();
    scan_by_somebody(&world, &nodes).await;
    advance(&world, 5);
    let known = history(&world, Origin::Unspecified, 0).await;
    assert_eq!(known.len(), 1);
    world.inject(fault("ListCommands", FaultKind::Deny, 1));
    let list = |origin: Origin| {
        let parent = PARENT.to_owned();
        let request = ListPatchOperationsRequest { parent, origin: origin.into(), ..Default::default() };
        async { world.client.patch_operations().list_patch_operations(request).await.unwrap().into_inner() }
    };
    advance(&world, 5);
    // Our own are not looked for, and nothing of them can be missing.
    assert_eq!(list(Origin::Patchplane).await.unreachable, []);
    let page = list(Origin::Unspecified).await;
    assert_eq!(page.patch_operations, known);
    let [unreachable] = &page.unreachable[..] else { panic!("{page:?}") };
    assert_eq!((unreachable.location.as_str(), unreachable.reason.as_str()), (PARENT, "AWS_ACCESS_DENIED"));
    assert!(unreachable.message.contains("may be missing"), "{}", unreachable.message);
    let page = list(Origin::Unspecified).await;
    assert_eq!((page.patch_operations, page.unreachable), (known, vec![]));
}

#[tokio::test]
async fn pages_stay_whole_while_more_is_found() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(1).in_group("web").create();
    for _ in 0..3 {
        scan_by_somebody(&world, &nodes).await;
        advance(&world, 10);
    }
    let page = |token: String| ListPatchOperationsRequest {
        parent: PARENT.to_owned(),
        page_size: 2,
        page_token: token,
        ..Default::default()
    };
    let mut raw = patchplane_client::api::patch_operation_service_client::PatchOperationServiceClient::new(
        world.channel().await.0,
    );
    let first = raw.list_patch_operations(page(String::new())).await.unwrap().into_inner();
    // Found only by the next first page, and newer than all.
    scan_by_somebody(&world, &nodes).await;
    advance(&world, 10);
    let all = history(&world, Origin::Unspecified, 0).await;
    assert_eq!(all.len(), 4);
    let second = raw.list_patch_operations(page(first.next_page_token.clone())).await.unwrap().into_inner();
    let seen: Vec<_> = first.patch_operations.iter().chain(&second.patch_operations).map(|o| &o.name).collect();
    assert_eq!(seen, all[1..].iter().map(|operation| &operation.name).collect::<Vec<_>>());
    // A token belongs to its question.
    let other = ListPatchOperationsRequest { origin: Origin::Command.into(), ..page(first.next_page_token) };
    assert_eq!(raw.list_patch_operations(other).await.unwrap_err().code(), Code::InvalidArgument);
}
