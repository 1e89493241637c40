//! Bad requests on every method: each gets its code, its reason and the name of the wrong field, and changes nothing.

use patchplane_client::api::{
    AddInstancesRequest, AttachBaselineRequest, BatchCheckReadinessRequest, CheckReadinessRequest,
    CreatePatchOperationRequest, DeletePatchScheduleRequest, DetachBaselineRequest, ExplainBaselineRequest,
    GetBaselineRequest, GetComplianceSummaryRequest, GetExecutionRequest, GetInstanceRequest,
    GetMaintenanceWindowRequest, GetPatchGroupRequest, GetPatchOperationRequest, GetPatchScheduleRequest,
    GetStepOutputRequest, InstanceLimit, ListBaselinesRequest, ListExecutionsRequest, ListInstanceComplianceRequest,
    ListInstancePatchesRequest, ListInstancesRequest, ListMaintenanceWindowsRequest, ListPatchGroupsRequest,
    ListPatchOperationTargetsRequest, ListPatchOperationsRequest, ListPatchSchedulesRequest, ListTagFindingsRequest,
    ListUpcomingRunsRequest, PatchOperation, PatchSchedule, Percent, RemoveInstancesRequest, Rollout,
    SkipNextRunRequest, TagMatch, TargetSelection, UpdatePatchScheduleRequest, WaitPatchOperationRequest,
    WatchPatchOperationRequest, instance_limit::Amount, patch_operation::RebootOption,
};
use patchplane_tests::{PARENT, World, install, refusal, scan};
use prost_types::Duration;
use tonic::Code;

/// Well-formed, and configured nowhere.
const ELSEWHERE: &str = "accounts/999999999999/regions/us-east-1";
const BASELINE: &str = "pb-0be8c61cde3be63f3";
const INSTANCE: &str = "i-0123456789abcdef0";
const WINDOW: &str = "mw-0123456789abcdef0";
const ULID: &str = "01KAT5Z0000000000000000000";

/// Names that are no location, and for a list neither.
const NO_LOCATIONS: [&str; 9] = [
    "",
    "accounts",
    "accounts/111122223333",
    "accounts/1111/regions/us-east-1",
    "accounts/111122223333/regions/Mars!",
    "accounts/111122223333/regions/",
    "accounts/111122223333/regions/us-east-1/",
    "accounts/111122223333/regions/us-east-1/baselines",
    "/accounts/111122223333/regions/us-east-1",
];

/// Calls a method with a request, and expects a refusal with this code, this reason and this field, which changed nothing.
macro_rules! refused {
    ($world:ident, $service:ident.$method:ident($request:expr), $code:ident $reason:literal $($field:expr)?) => {{
        let before = $world.fingerprint();
        let request = $request;
        let what = format!("{} {request:?}", stringify!($method));
        let what = what.chars().take(400).collect::<String>();
        match $world.client.$service().$method(request).await {
            Ok(_) => panic!("not refused: {what}"),
            Err(status) => {
                let expected: Vec<String> = Vec::from([$(String::from($field))?]);
                assert_eq!(refusal(&status), (Code::$code, $reason.to_owned(), expected), "{what}: {status:?}");
                assert!(!status.message().is_empty(), "{what}");
            }
        }
        assert_eq!($world.fingerprint(), before, "{what} changed something");
    }};
    ($world:ident, $service:ident.$method:ident($request:expr), $field:expr) => {
        refused!($world, $service.$method($request), InvalidArgument "INVALID_ARGUMENT" $field)
    };
}

/// A world with one ended operation, and that operation's name.
async fn world() -> (World, String) {
    let world = World::start().await;
    world.account().add_nodes(2).in_group("web").create();
    let operation = world.run(scan("web")).await.name;
    (world, operation)
}

/// Names below a location that cannot be right, whatever is there.
fn no_names(collection: &str, id: &str, wrong_ids: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = wrong_ids.iter().map(|id| format!("{PARENT}/{collection}/{id}")).collect();
    names.extend(NO_LOCATIONS.map(str::to_owned));
    names.push(format!("{PARENT}/{collection}/{id}/more"));
    names.push(format!("{PARENT}/others/{id}"));
    names.push(format!("accounts/-/regions/us-east-1/{collection}/{id}"));
    names.push(format!("accounts/111122223333/regions/-/{collection}/{id}"));
    names
}

fn not_one_location() -> impl Iterator<Item = &'static str> {
    NO_LOCATIONS.into_iter().chain(["accounts/-/regions/us-east-1", "accounts/111122223333/regions/-"])
}

#[tokio::test]
async fn lists_refuse_bad_parents_sizes_tokens_and_filters() {
    let (world, operation) = world().await;
    let instance = format!("{PARENT}/instances/{INSTANCE}");
    macro_rules! list {
        ($service:ident.$method:ident($request:ident), $parent:expr) => {
            let good = || $request { parent: $parent.to_string(), ..$request::default() };
            for page_size in [-1, i32::MIN] {
                refused!(world, $service.$method($request { page_size, ..good() }), "page_size");
            }
            for page_token in ["x".to_owned(), "AAAA".repeat(20), "é".to_owned(), "A".repeat(5000)] {
                let request = $request { page_token, ..good() };
                refused!(world, $service.$method(request), InvalidArgument "PAGE_TOKEN_INVALID" "page_token");
            }
        };
        ($service:ident.$method:ident($request:ident)) => {
            list!($service.$method($request), PARENT);
            for parent in NO_LOCATIONS {
                let request = $request { parent: parent.to_owned(), ..$request::default() };
                refused!(world, $service.$method(request), "parent");
            }
            let request = $request { parent: ELSEWHERE.to_owned(), ..$request::default() };
            refused!(world, $service.$method(request), NotFound "LOCATION_NOT_CONFIGURED");
        };
    }
    list!(baselines.list_baselines(ListBaselinesRequest));
    list!(patch_groups.list_patch_groups(ListPatchGroupsRequest));
    list!(patch_groups.list_tag_findings(ListTagFindingsRequest));
    list!(instances.list_instances(ListInstancesRequest));
    list!(compliance.list_instance_compliance(ListInstanceComplianceRequest));
    let good = || ListInstanceComplianceRequest { parent: PARENT.to_owned(), ..Default::default() };
    for baseline_id in ["pb-1".to_owned(), format!("{PARENT}/baselines/{BASELINE}")] {
        let request = ListInstanceComplianceRequest { baseline_id, ..good() };
        refused!(world, compliance.list_instance_compliance(request), "baseline_id");
    }
    let request = ListInstanceComplianceRequest { operating_system: "linux".to_owned(), ..good() };
    refused!(world, compliance.list_instance_compliance(request), "operating_system");
    for severity in ["critical", "MODERATE"] {
        let request = ListInstanceComplianceRequest { severity: severity.to_owned(), ..good() };
        refused!(world, compliance.list_instance_compliance(request), "severity");
    }
    for status in [-1, 6] {
        let request = ListInstanceComplianceRequest { status, ..good() };
        refused!(world, compliance.list_instance_compliance(request), "status");
    }
    for stale_after_days in [-1, 366] {
        let request = ListInstanceComplianceRequest { stale_after_days, ..good() };
        refused!(world, compliance.list_instance_compliance(request), "stale_after_days");
        let parent = PARENT.to_owned();
        let request = GetComplianceSummaryRequest { parent, stale_after_days, ..Default::default() };
        refused!(world, compliance.get_compliance_summary(request), "stale_after_days");
    }
    list!(patch_operations.list_patch_operations(ListPatchOperationsRequest));
    list!(maintenance_windows.list_maintenance_windows(ListMaintenanceWindowsRequest));
    list!(maintenance_windows.list_upcoming_runs(ListUpcomingRunsRequest));
    list!(patch_schedules.list_patch_schedules(ListPatchSchedulesRequest));
    list!(maintenance_windows.list_executions(ListExecutionsRequest), format!("{PARENT}/maintenanceWindows/{WINDOW}"));
    for days in [-1, 61, i32::MIN, i32::MAX] {
        let request = ListUpcomingRunsRequest { parent: PARENT.to_owned(), days, ..Default::default() };
        refused!(world, maintenance_windows.list_upcoming_runs(request), "days");
    }
    list!(instances.list_instance_patches(ListInstancePatchesRequest), instance);
    list!(patch_operations.list_patch_operation_targets(ListPatchOperationTargetsRequest), operation);

    let baselines = |operating_system: &str, owner| {
        let (parent, operating_system) = (PARENT.to_owned(), operating_system.to_owned());
        ListBaselinesRequest { parent, operating_system, owner, ..Default::default() }
    };
    refused!(world, baselines.list_baselines(baselines("AMAZON_LINUX_3", 0)), "operating_system");
    refused!(world, baselines.list_baselines(baselines("amazon_linux_2", 0)), "operating_system");
    refused!(world, baselines.list_baselines(baselines("", 3)), "owner");
    refused!(world, baselines.list_baselines(baselines("", -1)), "owner");
    for group in ["a,b", "\n", &"x".repeat(257)] {
        let (parent, patch_group) = (PARENT.to_owned(), group.to_owned());
        let request = ListInstancesRequest { parent, patch_group, ..Default::default() };
        refused!(world, instances.list_instances(request), "patch_group");
        let (parent, patch_group) = (PARENT.to_owned(), group.to_owned());
        let request = GetComplianceSummaryRequest { parent, patch_group, ..Default::default() };
        refused!(world, compliance.get_compliance_summary(request.clone()), "patch_group");
        let (parent, patch_group) = (request.parent, request.patch_group);
        let request = ListInstanceComplianceRequest { parent, patch_group, ..Default::default() };
        refused!(world, compliance.list_instance_compliance(request), "patch_group");
    }
    for state in ["Mising", "MISSING ", "Gone"] {
        let request =
            ListInstancePatchesRequest { parent: instance.clone(), state: state.to_owned(), ..Default::default() };
        refused!(world, instances.list_instance_patches(request), "state");
    }
}

#[tokio::test]
#[expect(clippy::needless_update, reason = "the macro serves requests with and without other fields")]
async fn reads_refuse_wrong_names_and_say_what_does_not_exist() {
    let (world, operation) = world().await;
    macro_rules! read {
        ($service:ident.$method:ident($request:ident.$field:ident), $names:expr, $absent:expr, $reason:literal) => {
            for name in $names {
                let request = $request { $field: name.to_string(), ..$request::default() };
                refused!(world, $service.$method(request), stringify!($field));
            }
            let request = $request { $field: $absent, ..$request::default() };
            refused!(world, $service.$method(request), NotFound $reason);
        };
    }
    let elsewhere = |rest: &str| format!("{ELSEWHERE}/{rest}");

    let names = || no_names("baselines", BASELINE, &["", "-", "pb-1", "PB-0be8c61cde3be63f3", "arn:aws:ssm"]);
    let absent = format!("{PARENT}/baselines/pb-00000000000000000");
    read!(baselines.get_baseline(GetBaselineRequest.name), names(), absent, "BASELINE_NOT_FOUND");
    let absent = elsewhere(&format!("baselines/{BASELINE}"));
    read!(baselines.get_baseline(GetBaselineRequest.name), names(), absent, "LOCATION_NOT_CONFIGURED");

    let too_long = "x".repeat(257);
    let names = || no_names("patchGroups", "web", &["", "a%2Cb", "%FF", "%0A", &too_long]);
    let absent = format!("{PARENT}/patchGroups/Web");
    read!(patch_groups.get_patch_group(GetPatchGroupRequest.name), names(), absent, "PATCH_GROUP_NOT_FOUND");
    let absent = elsewhere("patchGroups/web");
    read!(patch_groups.get_patch_group(GetPatchGroupRequest.name), names(), absent, "LOCATION_NOT_CONFIGURED");

    let wrong_ids = ["", "i-0", "i-0123456789ABCDEF0", "vm-0123456789abcdef0", "mi-01234567"];
    let names = || no_names("instances", INSTANCE, &wrong_ids);
    let absent = || format!("{PARENT}/instances/{INSTANCE}");
    let away = || elsewhere(&format!("instances/{INSTANCE}"));
    read!(instances.get_instance(GetInstanceRequest.name), names(), absent(), "INSTANCE_NOT_FOUND");
    read!(instances.get_instance(GetInstanceRequest.name), names(), away(), "LOCATION_NOT_CONFIGURED");
    read!(instances.check_readiness(CheckReadinessRequest.name), names(), away(), "LOCATION_NOT_CONFIGURED");
    read!(instances.explain_baseline(ExplainBaselineRequest.name), names(), absent(), "INSTANCE_NOT_FOUND");
    read!(instances.explain_baseline(ExplainBaselineRequest.name), names(), away(), "LOCATION_NOT_CONFIGURED");
    read!(instances.list_instance_patches(ListInstancePatchesRequest.parent), names(), absent(), "INSTANCE_NOT_FOUND");
    let absent = ELSEWHERE.to_owned();
    read!(
        compliance.get_compliance_summary(GetComplianceSummaryRequest.parent),
        not_one_location(),
        absent,
        "LOCATION_NOT_CONFIGURED"
    );

    let wrong_ids = ["", "mw-", "mw-0123456789ABCDEF0", "pb-0123456789abcdef0", "mw-0123456789abcdef"];
    let names = || no_names("maintenanceWindows", WINDOW, &wrong_ids);
    let absent = || format!("{PARENT}/maintenanceWindows/{WINDOW}");
    read!(
        maintenance_windows.get_maintenance_window(GetMaintenanceWindowRequest.name),
        names(),
        absent(),
        "MAINTENANCE_WINDOW_NOT_FOUND"
    );
    read!(
        maintenance_windows.list_executions(ListExecutionsRequest.parent),
        names(),
        absent(),
        "MAINTENANCE_WINDOW_NOT_FOUND"
    );
    let execution = |id: &str| format!("{}/executions/{id}", absent());
    let wrong = ["", "x", "6f1c9c1e-3f0a-4e2b-9d6e-0f4f0c8c3a1", "6f1c9c1e3f0a4e2b9d6e0f4f0c8c3a11"].map(execution);
    let gone = execution("6f1c9c1e-3f0a-4e2b-9d6e-0f4f0c8c3a11");
    read!(maintenance_windows.get_execution(GetExecutionRequest.name), &wrong, gone, "EXECUTION_NOT_FOUND");
    let names = || no_names("patchSchedules", WINDOW, &wrong_ids);
    let absent = || format!("{PARENT}/patchSchedules/{WINDOW}");
    read!(
        patch_schedules.get_patch_schedule(GetPatchScheduleRequest.name),
        names(),
        absent(),
        "PATCH_SCHEDULE_NOT_FOUND"
    );
    read!(patch_schedules.skip_next_run(SkipNextRunRequest.name), names(), absent(), "PATCH_SCHEDULE_NOT_FOUND");
    read!(
        patch_schedules.delete_patch_schedule(DeletePatchScheduleRequest.name),
        names(),
        absent(),
        "PATCH_SCHEDULE_NOT_FOUND"
    );
    for path in ["", "name", "next_runs", "targets.tags", "*"] {
        let paths = vec![path.to_owned()];
        let patch_schedule = Some(PatchSchedule { name: absent(), ..Default::default() });
        let update_mask = Some(prost_types::FieldMask { paths });
        let request = UpdatePatchScheduleRequest { patch_schedule, update_mask, ..Default::default() };
        refused!(world, patch_schedules.update_patch_schedule(request), "update_mask.paths[0]");
    }

    let lower = ULID.to_lowercase();
    let names = || no_names("patchOperations", ULID, &["", "x", &lower, "cmd-1", &ULID[1..]]);
    // One of another location is not there, even under its own id.
    for absent in [format!("{PARENT}/patchOperations/{ULID}"), operation.replace("us-east-1", "eu-central-1")] {
        macro_rules! read_operation {
            ($method:ident($request:ident.$field:ident)) => {
                let absent = absent.clone();
                read!(patch_operations.$method($request.$field), names(), absent, "PATCH_OPERATION_NOT_FOUND");
            };
        }
        read_operation!(get_patch_operation(GetPatchOperationRequest.name));
        read_operation!(watch_patch_operation(WatchPatchOperationRequest.name));
        read_operation!(wait_patch_operation(WaitPatchOperationRequest.name));
        read_operation!(list_patch_operation_targets(ListPatchOperationTargetsRequest.parent));
    }
    let target = &world.targets(&operation).await[0].name;
    let long = format!("{target}/steps/{}", "x".repeat(65));
    let steps =
        [operation.clone(), target.clone(), format!("{target}/steps/"), format!("{target}/steps/Patch-Linux"), long];
    let absent = format!("{target}/steps/PatchSolaris");
    read!(patch_operations.get_step_output(GetStepOutputRequest.name), &steps, absent, "STEP_NOT_FOUND");
    let absent = format!("{operation}/targets/{INSTANCE}/steps/PatchLinux");
    read!(patch_operations.get_step_output(GetStepOutputRequest.name), &steps, absent, "STEP_NOT_FOUND");
}

#[tokio::test]
async fn readiness_refuses_what_cannot_be_checked() {
    let (world, _) = world().await;
    let name = format!("{PARENT}/instances/{INSTANCE}");
    let good = || BatchCheckReadinessRequest {
        parent: PARENT.to_owned(),
        instance_ids: vec![INSTANCE.to_owned()],
        ..BatchCheckReadinessRequest::default()
    };
    for stale_after_days in [-1, 366, i32::MIN, i32::MAX] {
        let request = CheckReadinessRequest { name: name.clone(), stale_after_days };
        refused!(world, instances.check_readiness(request), "stale_after_days");
        let request = BatchCheckReadinessRequest { stale_after_days, ..good() };
        refused!(world, instances.batch_check_readiness(request), "stale_after_days");
    }
    for parent in not_one_location().map(str::to_owned) {
        refused!(world, instances.batch_check_readiness(BatchCheckReadinessRequest { parent, ..good() }), "parent");
    }
    for (instance_ids, field) in bad_instance_ids(true) {
        let request = BatchCheckReadinessRequest { instance_ids, ..good() };
        refused!(world, instances.batch_check_readiness(request), field);
    }
    let request = BatchCheckReadinessRequest { patch_group: "web".to_owned(), ..good() };
    refused!(world, instances.batch_check_readiness(request), "patch_group");
    let request = BatchCheckReadinessRequest { instance_ids: vec![], patch_group: "a,b".to_owned(), ..good() };
    refused!(world, instances.batch_check_readiness(request), "patch_group");
    let request = BatchCheckReadinessRequest { parent: ELSEWHERE.to_owned(), ..good() };
    refused!(world, instances.batch_check_readiness(request), NotFound "LOCATION_NOT_CONFIGURED");
    world.account().add_nodes(1001).in_group("crowd").create();
    let request = BatchCheckReadinessRequest { instance_ids: vec![], patch_group: "crowd".to_owned(), ..good() };
    refused!(world, instances.batch_check_readiness(request), FailedPrecondition "TOO_MANY_INSTANCES");
}

#[tokio::test]
async fn waits_and_watches_refuse_times_and_tokens_that_cannot_be() {
    let (world, operation) = world().await;
    for (seconds, nanos) in [(-1, 0), (61, 0), (60, 1), (0, -1), (i64::MAX, 0), (i64::MIN, 999_999_999)] {
        let timeout = Some(Duration { seconds, nanos });
        let request = WaitPatchOperationRequest { name: operation.clone(), timeout };
        refused!(world, patch_operations.wait_patch_operation(request), "timeout");
    }
    for resume_token in ["x".to_owned(), "AAAA".repeat(20), "A".repeat(5000)] {
        let request = WatchPatchOperationRequest { name: operation.clone(), resume_token };
        refused!(world, patch_operations.watch_patch_operation(request), OutOfRange "RESUME_TOKEN_EXPIRED");
    }
}

#[tokio::test]
async fn changes_of_groups_refuse_what_cannot_be_meant() {
    let (world, _) = world().await;
    let group = format!("{PARENT}/patchGroups/web");
    let baseline = format!("{PARENT}/baselines/{BASELINE}");
    let absent = format!("{PARENT}/baselines/pb-00000000000000000");
    macro_rules! baseline {
        ($method:ident($request:ident), $absent:ident $reason:literal) => {
            let good = || $request { name: group.clone(), baseline: baseline.clone(), ..Default::default() };
            for name in no_names("patchGroups", "web", &["", "a%2Cb", "%FF"]) {
                refused!(world, patch_groups.$method($request { name, ..good() }), "name");
            }
            let arn = format!("arn:aws:ssm:us-east-1:075727635805:patchbaseline/{BASELINE}");
            let elsewhere = format!("accounts/111122223333/regions/eu-central-1/baselines/{BASELINE}");
            let wrong = no_names("baselines", BASELINE, &["", "pb-1"]).into_iter();
            for baseline in wrong.chain([BASELINE.to_owned(), arn, elsewhere]) {
                refused!(world, patch_groups.$method($request { baseline, ..good() }), "baseline");
            }
            let request = $request { baseline: absent.clone(), ..good() };
            refused!(world, patch_groups.$method(request), $absent $reason);
            let (name, baseline) =
                (format!("{ELSEWHERE}/patchGroups/web"), format!("{ELSEWHERE}/baselines/{BASELINE}"));
            let request = $request { name, baseline, ..good() };
            refused!(world, patch_groups.$method(request), NotFound "LOCATION_NOT_CONFIGURED");
            let request = $request { etag: "x".to_owned(), ..good() };
            refused!(world, patch_groups.$method(request), Aborted "ETAG_MISMATCH");
            let request = $request { expected_plan: "x".to_owned(), ..good() };
            refused!(world, patch_groups.$method(request), Aborted "PLAN_CHANGED");
            for request_id in BAD_REQUEST_IDS.map(str::to_owned) {
                refused!(world, patch_groups.$method($request { request_id, ..good() }), "request_id");
            }
        };
    }
    baseline!(attach_baseline(AttachBaselineRequest), NotFound "BASELINE_NOT_FOUND");
    world.attach("web", BASELINE).await;
    baseline!(detach_baseline(DetachBaselineRequest), FailedPrecondition "BASELINE_NOT_ATTACHED");

    macro_rules! members {
        ($method:ident($request:ident)) => {
            let (name, ids) = (group.clone(), vec![INSTANCE.to_owned()]);
            let good = || $request { name: name.clone(), instance_ids: ids.clone(), ..$request::default() };
            for name in no_names("patchGroups", "web", &["", "a%2Cb", "%FF"]) {
                refused!(world, patch_groups.$method($request { name, ..good() }), "name");
            }
            for (instance_ids, field) in bad_instance_ids(true) {
                refused!(world, patch_groups.$method($request { instance_ids, ..good() }), field);
            }
            for request_id in BAD_REQUEST_IDS.map(str::to_owned) {
                refused!(world, patch_groups.$method($request { request_id, ..good() }), "request_id");
            }
            let request = $request { name: format!("{ELSEWHERE}/patchGroups/web"), ..good() };
            refused!(world, patch_groups.$method(request), NotFound "LOCATION_NOT_CONFIGURED");
            let request = $request { expected_plan: "x".to_owned(), ..good() };
            refused!(world, patch_groups.$method(request), Aborted "PLAN_CHANGED");
        };
    }
    members!(add_instances(AddInstancesRequest));
    members!(remove_instances(RemoveInstancesRequest));
}

const BAD_REQUEST_IDS: [&str; 4] = [
    "x",
    "00000000-0000-0000-0000-000000000000",
    "6f1c9c1e3f0a4e2b9d6e0f4f0c8c3a11",
    "{6f1c9c1e-3f0a-4e2b-9d6e-0f4f0c8c3a11}",
];

/// Lists of instance ids that are refused, and the field that is named below `instance_ids`.
fn bad_instance_ids(required: bool) -> Vec<(Vec<String>, String)> {
    let ids = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<String>>();
    let at = |place: &str| format!("instance_ids{place}");
    let mut bad = vec![
        ((0..1001).map(|n| format!("i-{n:017x}")).collect(), at("")),
        (ids(&[INSTANCE, INSTANCE]), at("[1]")),
        (ids(&[INSTANCE, "i-1"]), at("[1]")),
        (ids(&[""]), at("[0]")),
        (ids(&["I-0123456789abcdef0"]), at("[0]")),
    ];
    if required {
        bad.push((Vec::new(), at("")));
    }
    bad
}

#[tokio::test]
async fn a_new_operation_refuses_each_field_that_is_wrong() {
    let (world, _) = world().await;
    macro_rules! create {
        ($request:expr, $field:expr) => {
            let request = $request;
            refused!(world, patch_operations.create_patch_operation(request.clone()), $field);
            // Also when only a plan is asked for.
            let request = CreatePatchOperationRequest { validate_only: true, ..request };
            refused!(world, patch_operations.create_patch_operation(request), $field);
        };
    }
    for parent in not_one_location() {
        create!(CreatePatchOperationRequest { parent: parent.to_owned(), ..scan("web") }, "parent");
    }
    create!(CreatePatchOperationRequest { patch_operation: None, ..scan("web") }, "patch_operation");
    for request_id in BAD_REQUEST_IDS.map(str::to_owned) {
        create!(CreatePatchOperationRequest { request_id, ..scan("web") }, "request_id");
    }
    let request = CreatePatchOperationRequest { request_id: String::new(), ..scan("web") };
    refused!(world, patch_operations.create_patch_operation(request), "request_id");
    let request = CreatePatchOperationRequest { parent: ELSEWHERE.to_owned(), ..scan("web") };
    refused!(world, patch_operations.create_patch_operation(request), NotFound "LOCATION_NOT_CONFIGURED");
    let request = CreatePatchOperationRequest { expected_plan: "x".to_owned(), ..scan("web") };
    refused!(world, patch_operations.create_patch_operation(request), Aborted "PLAN_CHANGED");

    // What is wrong with the operation itself, and the field below `patch_operation`.
    type Change = Box<dyn Fn(&mut PatchOperation)>;
    let change = |field: &str, change: fn(&mut PatchOperation)| (field.to_owned(), Box::new(change) as Change);
    let mut scans = vec![
        change("kind", |asked| asked.kind = 0),
        change("kind", |asked| asked.kind = 4),
        change("kind", |asked| asked.kind = -1),
        change("reboot_option", |asked| asked.reboot_option = RebootOption::RebootIfNeeded.into()),
        change("reboot_option", |asked| asked.reboot_option = RebootOption::NoReboot.into()),
        change("reboot_option", |asked| asked.reboot_option = 3),
        change("max_targets", |asked| asked.max_targets = -1),
        change("max_targets", |asked| asked.max_targets = 5001),
        change("note", |asked| asked.note = "é".repeat(501)),
        change("targets", |asked| asked.targets = None),
        change("targets", |asked| asked.targets = Some(TargetSelection::default())),
        change("targets.all_managed", |asked| asked.targets.as_mut().unwrap().all_managed = true),
    ];
    let mut installs = vec![
        change("reboot_option", |asked| asked.reboot_option = 0),
        change("reboot_option", |asked| asked.reboot_option = 9),
    ];

    let mut select = |field: &str, selection: TargetSelection| {
        let change = move |asked: &mut PatchOperation| asked.targets = Some(selection.clone());
        scans.push((format!("targets.{field}"), Box::new(change)));
    };
    let groups = |groups: Vec<String>| TargetSelection { patch_groups: groups, ..TargetSelection::default() };
    select("patch_groups[0]", groups(vec!["a,b".to_owned()]));
    select("patch_groups[1]", groups(vec!["web".to_owned(), String::new()]));
    select("patch_groups[0]", groups(vec!["x".repeat(257)]));
    select("patch_groups", groups((0..51).map(|n| format!("g{n}")).collect()));
    let tags = |tags: Vec<(&str, String)>| TargetSelection {
        tags: tags.into_iter().map(|(key, value)| TagMatch { key: key.to_owned(), value }).collect(),
        ..TargetSelection::default()
    };
    select("tags[0].key", tags(vec![("", "web".to_owned())]));
    select("tags[0].key", tags(vec![("a\nb", "web".to_owned())]));
    select("tags[1].value", tags(vec![("a", "web".to_owned()), ("a", "x".repeat(257))]));
    select("tags", tags(vec![("a", "b".to_owned()); 51]));
    for (instance_ids, field) in bad_instance_ids(false) {
        select(&field, TargetSelection { instance_ids: instance_ids.clone(), ..TargetSelection::default() });
        let (all_managed, excluded_instance_ids) = (true, instance_ids);
        let selection = TargetSelection { all_managed, excluded_instance_ids, ..TargetSelection::default() };
        select(&format!("excluded_{field}"), selection);
    }

    let percent = |value| Some(Amount::Percent(Percent { value }));
    let amounts =
        [None, Some(Amount::Count(0)), Some(Amount::Count(-1)), Some(Amount::Count(5001)), percent(0), percent(101)];
    for amount in amounts.into_iter().chain([Some(Amount::Count(51))]) {
        let limit = Some(InstanceLimit { amount });
        let rollout = Rollout { concurrency: limit, max_failures: None };
        let change = move |asked: &mut PatchOperation| asked.rollout = Some(rollout);
        scans.push(("rollout.concurrency".to_owned(), Box::new(change)));
    }
    for amount in amounts {
        let rollout = Rollout { concurrency: None, max_failures: Some(InstanceLimit { amount }) };
        let change = move |asked: &mut PatchOperation| asked.rollout = Some(rollout);
        scans.push(("rollout.max_failures".to_owned(), Box::new(change)));
    }

    // At least 10 minutes for a scan and 3 hours for an installation, at most 7 days.
    const WEEK: i64 = 7 * 24 * 3600;
    let never =
        [(-1, 0), (0, 0), (WEEK, 1), (WEEK + 1, 0), (i64::MAX, 0), (3600, -1), (WEEK, -1), (4 * 3600, 1_000_000_000)];
    let duration = |seconds, nanos| {
        let change = move |asked: &mut PatchOperation| asked.max_duration = Some(Duration { seconds, nanos });
        ("max_duration".to_owned(), Box::new(change) as Change)
    };
    scans.extend(never.into_iter().chain([(599, 999_999_999)]).map(|(seconds, nanos)| duration(seconds, nanos)));
    installs.extend(never.into_iter().chain([(3 * 3600 - 1, 0)]).map(|(seconds, nanos)| duration(seconds, nanos)));

    for (changes, good) in [(scans, scan("web")), (installs, install("web"))] {
        for (field, change) in changes {
            let mut request = good.clone();
            change(request.patch_operation.as_mut().unwrap());
            create!(request, format!("patch_operation.{field}"));
        }
    }
}

#[tokio::test]
async fn what_stands_just_within_the_bounds_is_taken() {
    let (world, _) = world().await;
    let changes: [fn(&mut PatchOperation); 6] = [
        |asked| asked.max_targets = 5000,
        |asked| asked.note = "é".repeat(500),
        |asked| asked.max_duration = Some(Duration { seconds: 600, nanos: 0 }),
        |asked| asked.max_duration = Some(Duration { seconds: 7 * 24 * 3600, nanos: 0 }),
        |asked| {
            let limit = |amount| Some(InstanceLimit { amount: Some(amount) });
            let (all, most) = (Amount::Percent(Percent { value: 100 }), Amount::Count(5000));
            asked.rollout = Some(Rollout { concurrency: limit(all), max_failures: limit(most) });
        },
        |asked| asked.targets.as_mut().unwrap().patch_groups.extend((1..50).map(|n| format!("g{n}"))),
    ];
    for change in changes {
        let mut request = CreatePatchOperationRequest { validate_only: true, ..scan("web") };
        change(request.patch_operation.as_mut().unwrap());
        let planned = world.client.create_patch_operation(request).await.unwrap();
        assert_eq!(planned.plan.unwrap().target_count, 2);
    }
}
