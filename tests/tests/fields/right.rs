//! Right requests of each method, and the account that they are right for.

use futures::TryStreamExt as _;
use patchplane_client::api::{
    AddInstancesRequest, ApprovalRule, AttachBaselineRequest, Baseline, BaselineTag, BatchCheckReadinessRequest,
    CancelPatchOperationRequest, CheckReadinessRequest, CreateBaselineRequest, CreateFreezeRequest,
    CreatePatchOperationRequest, CreatePatchScheduleRequest, DayOfWeek, DeleteBaselineRequest, DeleteFreezeRequest,
    DeletePatchScheduleRequest, DetachBaselineRequest, ExplainBaselineRequest, Freeze, GetBaselineRequest,
    GetComplianceSummaryRequest, GetDefaultBaselineRequest, GetExecutionRequest, GetInstanceRequest,
    GetMaintenanceWindowRequest, GetPatchGroupRequest, GetPatchOperationRequest, GetPatchScheduleRequest,
    GetStepOutputRequest, InstanceLimit, ListAvailablePatchesRequest, ListBaselinesRequest,
    ListDefaultBaselinesRequest, ListExecutionsRequest, ListFreezesRequest, ListInstanceComplianceRequest,
    ListInstancePatchesRequest, ListInstancesRequest, ListMaintenanceWindowsRequest, ListPatchGroupsRequest,
    ListPatchOperationEventsRequest, ListPatchOperationTargetsRequest, ListPatchOperationsRequest,
    ListPatchPropertiesRequest, ListPatchSchedulesRequest, ListTagFindingsRequest, ListUpcomingRunsRequest,
    PatchFilter, PatchOperation, PatchSchedule, PatchSource, PausePatchOperationRequest, Percent,
    PreviewBaselineRequest, PreviewScheduleRequest, Recurrence, RemoveInstancesRequest, ResumePatchOperationRequest,
    RetryPatchOperationRequest, Rollout, SetDefaultBaselineRequest, SkipNextRunRequest, TagMatch, TargetSelection,
    TimeOfDay, UpdateBaselineRequest, UpdatePatchScheduleRequest, WaitPatchOperationRequest,
    WatchPatchOperationRequest, WatchPatchOperationsRequest,
    approval_rule::Approval,
    freeze::{Scope, scope::Selector},
    instance_limit::Amount,
    patch_operation::{Kind as Does, RebootOption},
    patch_schedule::Targets,
    preview_baseline_request::Subject,
    recurrence::{Daily, Expression, Kind as Recurs, MonthlyNth, Weekly},
};
use patchplane_tests::{
    PARENT, World, baseline,
    changes::{AMAZON_LINUX_2, WINDOWS, request_id},
    freeze, install, request, scan,
};
use prost::Message as _;
use std::{collections::BTreeMap, time::Duration};

// === Right requests ===

/// What there is, by name.
pub(crate) struct Names {
    pub(crate) own: String,
    pub(crate) node: String,
    pub(crate) outside: String,
    pub(crate) operation: String,
    pub(crate) running: String,
    pub(crate) failed: String,
    pub(crate) freeze: String,
    pub(crate) step: String,
    pub(crate) schedule: String,
    pub(crate) window: String,
    pub(crate) execution: String,
}

/// An account in which something of everything is there.
pub(crate) async fn furnished() -> (World, Names) {
    let world = World::start().await;
    let node = world.account().add_nodes(1).in_group("web").missing_patches(1).create().remove(0);
    let outside = world.account().add_nodes(1).create().remove(0);
    let own = world.own_baseline("own", &["Critical"]).await.name;
    world.attach("old", WINDOWS).await;
    let operation = world.run(scan("web")).await.name;
    let step = world.targets(&operation).await[0].steps[1].name.clone();
    world.account().add_nodes(1).in_group("bad").missing_patches(1).install_fails().create();
    let failed = world.run(install("bad")).await.name;
    let frozen = world.client.create_freeze(freeze("nobody")).await.unwrap().freeze.unwrap().name;
    let create = CreatePatchScheduleRequest {
        parent: PARENT.to_owned(),
        patch_schedule: Some(schedules().remove(0)),
        ..Default::default()
    };
    let made = world.client.create_patch_schedule(create).await.unwrap().patch_schedule.unwrap();
    for _ in 0..24 {
        world.simulation.clock().advance(Duration::from_secs(3600));
        world.settle().await;
    }
    let (schedule, window) = (made.name, made.maintenance_window);
    let request = ListExecutionsRequest { parent: window.clone(), ..Default::default() };
    let runs: Vec<_> = world.client.list_executions(request).try_collect().await.unwrap();
    let execution = runs[0].name.clone();
    let running = world.create(install("web")).await.name;
    world.settle().await;
    let freeze = frozen;
    // Looks for what others did now, and not while something is refused.
    world.client.patch_operations().list_patch_operations(operations_of(PARENT)).await.unwrap();
    (world, Names { own, node, outside, operation, running, failed, freeze, step, schedule, window, execution })
}

fn operations_of(parent: &str) -> ListPatchOperationsRequest {
    ListPatchOperationsRequest { parent: parent.to_owned(), ..Default::default() }
}

/// One with everything that can be said.
fn full_baseline() -> Baseline {
    let filter = |key: &str, value: &str| PatchFilter { key: key.to_owned(), values: vec![value.to_owned()] };
    let one = baseline("fullone", &["Critical"], 7);
    let until = ApprovalRule {
        approval: Some(Approval::ApproveUntilDate("2026-01-31".to_owned())),
        ..one.approval_rules[0].clone()
    };
    Baseline {
        description: "everything".to_owned(),
        global_filters: vec![filter("PRODUCT", "AmazonLinux2")],
        approval_rules: vec![one.approval_rules[0].clone(), until],
        approved_patches: vec!["kernel*".to_owned()],
        rejected_patches: vec!["bind*".to_owned()],
        sources: vec![PatchSource {
            name: "mirror".to_owned(),
            products: vec!["AmazonLinux2".to_owned()],
            configuration: "[mirror]\nname=Mirror\nbaseurl=https://mirror.example/".to_owned(),
        }],
        ..one
    }
}

fn limits(amount: Amount) -> Option<Rollout> {
    let limit = Some(InstanceLimit { amount: Some(amount) });
    Some(Rollout { concurrency: limit, max_failures: limit })
}

/// A schedule for each kind of recurrence, which install with each kind of limit.
fn schedules() -> Vec<PatchSchedule> {
    let time = Some(TimeOfDay { hours: 3, ..Default::default() });
    let kinds = [
        Recurs::Daily(Daily { time }),
        Recurs::Weekly(Weekly { days: vec![DayOfWeek::Monday.into()], time }),
        Recurs::MonthlyNth(MonthlyNth { nth: 2, weekday: DayOfWeek::Tuesday.into(), offset_days: 1, time }),
        Recurs::Expression(Expression { expression: "cron(0 3 ? * * *)".to_owned(), offset_days: 0 }),
    ];
    let amounts = [Amount::Count(2), Amount::Percent(Percent { value: 10 })];
    kinds
        .into_iter()
        .zip(amounts.into_iter().cycle())
        .map(|(kind, amount)| PatchSchedule {
            display_name: "web-nightly".to_owned(),
            kind: Does::Install.into(),
            reboot_option: RebootOption::RebootIfNeeded.into(),
            targets: Some(Targets {
                patch_groups: vec!["web".to_owned()],
                tags: vec![TagMatch { key: "env".to_owned(), value: "prod".to_owned() }],
                ..Default::default()
            }),
            recurrence: Some(Recurrence { kind: Some(kind) }),
            time_zone: "Asia/Tokyo".to_owned(),
            rollout: limits(amount),
            ..Default::default()
        })
        .collect()
}

fn operations() -> [CreatePatchOperationRequest; 2] {
    [Amount::Count(2), Amount::Percent(Percent { value: 10 })].map(|amount| {
        request(PatchOperation {
            kind: Does::Install.into(),
            targets: Some(TargetSelection {
                patch_groups: vec!["web".to_owned()],
                tags: vec![TagMatch { key: "env".to_owned(), value: "prod".to_owned() }],
                ..TargetSelection::default()
            }),
            reboot_option: RebootOption::NoReboot.into(),
            rollout: limits(amount),
            ..PatchOperation::default()
        })
    })
}

/// Right requests of each method: one, or as many as it takes to have every message in them.
pub(crate) fn requests(names: &Names) -> BTreeMap<&'static str, Vec<Vec<u8>>> {
    let Names { own, node, outside, operation, running, failed, freeze, step, schedule, window, execution } = names;
    let parent = || PARENT.to_owned();
    let (instance, group) = (format!("{PARENT}/instances/{node}"), format!("{PARENT}/patchGroups/web"));
    let predefined = format!("{PARENT}/baselines/{AMAZON_LINUX_2}");
    let default = format!("{PARENT}/defaultBaselines/AMAZON_LINUX_2");
    let linux = "AMAZON_LINUX_2".to_owned();
    let product = PatchFilter { key: "PRODUCT".to_owned(), values: vec!["AmazonLinux2".to_owned()] };
    macro_rules! one {
        ($($method:ident: $request:ident { $($field:ident: $value:expr),* };)*) => {
            [$((stringify!($method), vec![$request { $($field: $value.into(),)* ..Default::default() }.encode_to_vec()])),*]
        };
    }
    #[expect(clippy::needless_update, reason = "the macro serves requests with and without other fields")]
    let single = one! {
        ListBaselines: ListBaselinesRequest { parent: parent() };
        GetBaseline: GetBaselineRequest { name: predefined.clone() };
        DeleteBaseline: DeleteBaselineRequest { name: own.clone() };
        GetDefaultBaseline: GetDefaultBaselineRequest { name: default.clone() };
        ListDefaultBaselines: ListDefaultBaselinesRequest { parent: parent() };
        SetDefaultBaseline: SetDefaultBaselineRequest { name: default.clone(), baseline: own.clone() };
        ListPatchProperties: ListPatchPropertiesRequest {
            parent: parent(), operating_system: "WINDOWS", property: "PRODUCT", patch_set: "OS"
        };
        ListAvailablePatches: ListAvailablePatchesRequest {
            parent: parent(), operating_system: linux.clone(), filters: vec![product]
        };
        GetComplianceSummary: GetComplianceSummaryRequest { parent: parent() };
        ListInstanceCompliance: ListInstanceComplianceRequest { parent: parent() };
        ListInstances: ListInstancesRequest { parent: parent() };
        GetInstance: GetInstanceRequest { name: instance.clone() };
        CheckReadiness: CheckReadinessRequest { name: instance.clone() };
        BatchCheckReadiness: BatchCheckReadinessRequest { parent: parent(), instance_ids: vec![node.clone()] };
        ExplainBaseline: ExplainBaselineRequest { name: instance.clone() };
        ListInstancePatches: ListInstancePatchesRequest { parent: instance.clone() };
        ListMaintenanceWindows: ListMaintenanceWindowsRequest { parent: parent() };
        GetMaintenanceWindow: GetMaintenanceWindowRequest { name: window.clone() };
        ListExecutions: ListExecutionsRequest { parent: window.clone() };
        GetExecution: GetExecutionRequest { name: execution.clone() };
        ListUpcomingRuns: ListUpcomingRunsRequest { parent: parent() };
        ListPatchGroups: ListPatchGroupsRequest { parent: parent() };
        GetPatchGroup: GetPatchGroupRequest { name: group.clone() };
        AttachBaseline: AttachBaselineRequest { name: group.clone(), baseline: predefined.clone() };
        DetachBaseline: DetachBaselineRequest {
            name: format!("{PARENT}/patchGroups/old"), baseline: format!("{PARENT}/baselines/{WINDOWS}")
        };
        AddInstances: AddInstancesRequest { name: group.clone(), instance_ids: vec![outside.clone()] };
        RemoveInstances: RemoveInstancesRequest { name: group.clone(), instance_ids: vec![node.clone()] };
        ListTagFindings: ListTagFindingsRequest { parent: parent() };
        GetPatchOperation: GetPatchOperationRequest { name: operation.clone() };
        ListPatchOperations: ListPatchOperationsRequest { parent: parent() };
        WatchPatchOperation: WatchPatchOperationRequest { name: operation.clone() };
        WaitPatchOperation: WaitPatchOperationRequest { name: operation.clone() };
        ListPatchOperationTargets: ListPatchOperationTargetsRequest { parent: operation.clone() };
        CancelPatchOperation: CancelPatchOperationRequest { name: running.clone() };
        PausePatchOperation: PausePatchOperationRequest { name: running.clone() };
        ResumePatchOperation: ResumePatchOperationRequest { name: running.clone() };
        RetryPatchOperation: RetryPatchOperationRequest { name: failed.clone(), request_id: request_id() };
        WatchPatchOperations: WatchPatchOperationsRequest { parent: parent() };
        ListPatchOperationEvents: ListPatchOperationEventsRequest { parent: operation.clone() };
        ListFreezes: ListFreezesRequest {};
        DeleteFreeze: DeleteFreezeRequest { name: freeze.clone() };
        GetStepOutput: GetStepOutputRequest { name: step.clone() };
        GetPatchSchedule: GetPatchScheduleRequest { name: schedule.clone() };
        ListPatchSchedules: ListPatchSchedulesRequest { parent: parent() };
        SkipNextRun: SkipNextRunRequest { name: schedule.clone() };
        DeletePatchSchedule: DeletePatchScheduleRequest { name: schedule.clone() };
    };
    let mut all = BTreeMap::from(single);

    let tags = vec![BaselineTag { key: "team".to_owned(), value: "web".to_owned() }];
    let create =
        CreateBaselineRequest { parent: parent(), baseline: Some(full_baseline()), tags, ..Default::default() };
    all.insert("CreateBaseline", vec![create.encode_to_vec()]);
    let changed = Baseline { name: own.clone(), ..full_baseline() };
    let update = UpdateBaselineRequest { baseline: Some(changed), ..Default::default() };
    all.insert("UpdateBaseline", vec![update.encode_to_vec()]);
    let subjects = [Subject::Draft(full_baseline()), Subject::Baseline(own.clone())];
    let previews = subjects.map(|subject| {
        let request = PreviewBaselineRequest { parent: parent(), subject: Some(subject), ..Default::default() };
        request.encode_to_vec()
    });
    all.insert("PreviewBaseline", previews.to_vec());
    let tag = TagMatch { key: "env".to_owned(), value: "prod".to_owned() };
    for selector in [Selector::PatchGroup("web".to_owned()), Selector::Tag(tag)] {
        let scope = Some(Scope { location: PARENT.to_owned(), selector: Some(selector) });
        let freeze = Some(Freeze { scope, reason: "stock-taking".to_owned(), ..Default::default() });
        let request = CreateFreezeRequest { freeze, ..Default::default() };
        all.entry("CreateFreeze").or_default().push(request.encode_to_vec());
    }
    all.insert("CreatePatchOperation", operations().map(|request| request.encode_to_vec()).to_vec());
    for asked in schedules() {
        let (recurrence, time_zone) = (asked.recurrence.clone(), asked.time_zone.clone());
        let preview = PreviewScheduleRequest { recurrence, time_zone, ..Default::default() };
        all.entry("PreviewSchedule").or_default().push(preview.encode_to_vec());
        let patch_schedule = Some(PatchSchedule { name: schedule.clone(), ..asked.clone() });
        let update = UpdatePatchScheduleRequest { patch_schedule, ..Default::default() };
        all.entry("UpdatePatchSchedule").or_default().push(update.encode_to_vec());
        let create = CreatePatchScheduleRequest { parent: parent(), patch_schedule: Some(asked), ..Default::default() };
        all.entry("CreatePatchSchedule").or_default().push(create.encode_to_vec());
    }
    all
}
