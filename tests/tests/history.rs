//! What others scan and patch stands in the same history: runs of windows and commands that somebody sent.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use patchplane_aws::PatchCommand;
use patchplane_client::{
    Listing,
    api::{
        CreatePatchScheduleRequest, GetStepOutputRequest, ListPatchOperationsRequest, PatchOperation, PatchSchedule,
        Recurrence, TimeOfDay,
        patch_operation::{Kind, Origin, State},
        patch_operation_target::State as TargetState,
        patch_schedule::Targets,
        recurrence::{Daily, Kind as Recurs},
    },
};
use patchplane_rules::Location;
use patchplane_server::server::simulated;
use patchplane_tests::{ACCOUNT, PARENT, REGION, World, scan};
use std::time::Duration;
use tonic::Code;
use uuid::Uuid;

/// A scan that somebody sends with a program of theirs; answers with AWS's id of the command.
async fn scan_by_somebody(world: &World, nodes: &[String]) -> String {
    let (clock, locations) = simulated::connect(&world.simulation).await.unwrap();
    let command = PatchCommand {
        instance_ids: nodes.iter().map(|id| id.parse().unwrap()).collect(),
        operation: "Scan",
        snapshot_id: Uuid::new_v4().to_string(),
        reboot_option: None,
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

#[tokio::test]
async fn a_windows_run_is_one_operation_that_names_its_window() {
    let world = World::start().await;
    world.account().add_nodes(2).in_group("web").missing_patches(1).create();
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
    let schedule = world.client.create_patch_schedule(request).await.unwrap().patch_schedule.unwrap();
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
