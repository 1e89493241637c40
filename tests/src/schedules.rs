//! Patch schedules as tests make, change and look at them.

use crate::{PARENT, World, refusal};
use futures::TryStreamExt as _;
use patchplane_client::{
    Listing,
    api::{
        CreatePatchScheduleRequest, Execution, GetMaintenanceWindowRequest, GetPatchScheduleRequest,
        ListExecutionsRequest, ListMaintenanceWindowsRequest, ListPatchSchedulesRequest, PatchSchedule, Recurrence,
        SkipNextRunRequest, TimeOfDay, UpdatePatchScheduleRequest, UpdatePatchScheduleResponse,
        patch_operation::{Kind, RebootOption},
        patch_schedule::Targets,
        recurrence::{Daily, Kind as Recurs},
    },
};
use std::time::Duration;
use tonic::{Code, Status};
use uuid::Uuid;

pub fn clock(hours: i32, minutes: i32) -> Option<TimeOfDay> {
    Some(TimeOfDay { hours, minutes, seconds: 0 })
}

pub fn recurs(kind: Recurs) -> Option<Recurrence> {
    Some(Recurrence { kind: Some(kind) })
}

pub fn daily(hours: i32, minutes: i32) -> Option<Recurrence> {
    recurs(Recurs::Daily(Daily { time: clock(hours, minutes) }))
}

/// Install on the group `web`, daily at 03:00 in Tokyo.
pub fn nightly() -> PatchSchedule {
    PatchSchedule {
        display_name: "web-nightly".to_owned(),
        kind: Kind::Install.into(),
        reboot_option: RebootOption::RebootIfNeeded.into(),
        targets: Some(Targets { patch_groups: vec!["web".to_owned()], ..Default::default() }),
        recurrence: daily(3, 0),
        time_zone: "Asia/Tokyo".to_owned(),
        ..Default::default()
    }
}

pub fn create(schedule: PatchSchedule) -> CreatePatchScheduleRequest {
    CreatePatchScheduleRequest {
        parent: PARENT.to_owned(),
        patch_schedule: Some(schedule),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    }
}

pub async fn made(world: &World, schedule: PatchSchedule) -> PatchSchedule {
    world.client.create_patch_schedule(create(schedule)).await.unwrap().patch_schedule.unwrap()
}

pub async fn get(world: &World, name: &str) -> PatchSchedule {
    let request = GetPatchScheduleRequest { name: name.to_owned() };
    world.client.get_patch_schedule(request).await.unwrap().patch_schedule.unwrap()
}

pub async fn all(world: &World) -> Vec<PatchSchedule> {
    let request = ListPatchSchedulesRequest { parent: PARENT.to_owned(), ..Default::default() };
    Listing::collect(world.client.list_patch_schedules(request)).await.unwrap().items
}

pub async fn windows(world: &World) -> usize {
    let request = ListMaintenanceWindowsRequest { parent: PARENT.to_owned(), ..Default::default() };
    Listing::collect(world.client.list_maintenance_windows(request)).await.unwrap().items.len()
}

pub async fn update(world: &World, schedule: PatchSchedule, paths: &[&str]) -> UpdatePatchScheduleResponse {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = UpdatePatchScheduleRequest {
        patch_schedule: Some(schedule),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..Default::default()
    };
    world.client.update_patch_schedule(request).await.unwrap()
}

pub fn skip(name: &str) -> SkipNextRunRequest {
    SkipNextRunRequest { name: name.to_owned(), request_id: Uuid::new_v4().to_string(), ..Default::default() }
}

/// The next runs on the schedule's own clocks.
pub fn local(schedule: &PatchSchedule) -> Vec<&str> {
    schedule.next_runs.iter().map(|run| run.local_time.as_str()).collect()
}

pub fn reason(status: &Status) -> (Code, String) {
    let (code, reason, _) = refusal(status);
    (code, reason)
}

/// The schedule with all that a whole one has: both targets, the task, no mark that anything is lacking.
pub async fn assert_whole(world: &World, schedule: &PatchSchedule) {
    assert!(schedule.managed && !schedule.incomplete, "{schedule:?}");
    assert_eq!(schedule.divergences, Vec::<String>::new());
    let request = GetMaintenanceWindowRequest { name: schedule.maintenance_window.clone() };
    let window = world.client.get_maintenance_window(request).await.unwrap().maintenance_window.unwrap();
    assert_eq!((window.targets.len(), window.tasks.len()), (2, 1), "{window:?}");
}

pub async fn executions(world: &World, schedule: &PatchSchedule) -> Vec<Execution> {
    let request = ListExecutionsRequest { parent: schedule.maintenance_window.clone(), ..Default::default() };
    world.client.list_executions(request).try_collect().await.unwrap()
}

/// Lets the account's clock pass.
pub async fn pass(world: &World, hours: u64) {
    for _ in 0..hours * 6 {
        world.settle().await;
        world.simulation.clock().advance(Duration::from_secs(600));
    }
    world.settle().await;
}
