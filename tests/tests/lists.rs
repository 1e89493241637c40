//! Lists, page by page: every row once and in order, tokens that fit their own list alone, and locations that cannot be
//! asked named instead of missing in silence.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]
#![expect(clippy::field_reassign_with_default, reason = "a macro sets fields of whichever request it was given")]

use patchplane_client::api::{
    CreatePatchScheduleRequest, ListAvailablePatchesRequest, ListBaselinesRequest, ListDefaultBaselinesRequest,
    ListExecutionsRequest, ListFreezesRequest, ListInstanceComplianceRequest, ListInstancePatchesRequest,
    ListInstancesRequest, ListMaintenanceWindowsRequest, ListPatchGroupsRequest, ListPatchOperationEventsRequest,
    ListPatchOperationTargetsRequest, ListPatchOperationsRequest, ListPatchPropertiesRequest,
    ListPatchSchedulesRequest, ListTagFindingsRequest, ListUpcomingRunsRequest, PatchFilter, PatchSchedule, Recurrence,
    Unreachable, baseline::Owner, patch_operation::Kind, patch_schedule::Targets, recurrence,
};
use patchplane_server::server::simulated::LOCATIONS;
use patchplane_sim::{Fault, FaultKind};
use patchplane_tests::{
    ACCOUNT, PARENT, REGION, World, freeze,
    raw::{descriptors, methods},
    refusal, scan,
    schedules::{made, nightly, pass},
};
use std::collections::BTreeSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const EVERYWHERE: &str = "accounts/-/regions/-";
const SIZES: [i32; 5] = [1, 2, 3, 0, i32::MAX];

/// A page: the names of its rows, the next token, and what was left out.
type Page = (Vec<String>, String, Vec<Unreachable>);

/// The lists over locations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Baselines,
    DefaultBaselines,
    Groups,
    Findings,
    Compliance,
    Instances,
    Operations,
    Windows,
    Runs,
    Schedules,
}

const LISTS: [List; 10] = [
    List::Baselines,
    List::DefaultBaselines,
    List::Groups,
    List::Findings,
    List::Compliance,
    List::Instances,
    List::Operations,
    List::Windows,
    List::Runs,
    List::Schedules,
];

/// Lists below one thing, each with a test of its pages at the foot of this file.
const OTHER_LISTS: [&str; 7] = [
    "ListFreezes",
    "ListPatchOperationEvents",
    "ListPatchOperationTargets",
    "ListInstancePatches",
    "ListExecutions",
    "ListPatchProperties",
    "ListAvailablePatches",
];

impl List {
    /// What a page holds at most, and what it holds when nothing is said.
    fn most(self) -> usize {
        if self == Self::Baselines { 100 } else { 200 }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Baselines => "ListBaselines",
            Self::DefaultBaselines => "ListDefaultBaselines",
            Self::Groups => "ListPatchGroups",
            Self::Findings => "ListTagFindings",
            Self::Compliance => "ListInstanceCompliance",
            Self::Instances => "ListInstances",
            Self::Operations => "ListPatchOperations",
            Self::Windows => "ListMaintenanceWindows",
            Self::Runs => "ListUpcomingRuns",
            Self::Schedules => "ListPatchSchedules",
        }
    }

    async fn page(self, world: &World, parent: &str, page_size: i32, page_token: &str) -> Result<Page, Status> {
        let (parent, page_token) = (parent.to_owned(), page_token.to_owned());
        macro_rules! page {
            ($service:ident.$method:ident($request:ident) -> $rows:ident) => {
                page!($service.$method($request) -> $rows, |row| row.name)
            };
            ($service:ident.$method:ident($request:ident) -> $rows:ident, |$row:ident| $name:expr) => {{
                let request = $request { parent, page_size, page_token, ..Default::default() };
                let page = world.patiently(world.client.$service().$method(request)).await?.into_inner();
                Ok((page.$rows.into_iter().map(|$row| $name).collect(), page.next_page_token, page.unreachable))
            }};
        }
        #[expect(clippy::needless_update, reason = "the macro serves requests with and without filters")]
        match self {
            Self::Baselines => page!(baselines.list_baselines(ListBaselinesRequest) -> baselines),
            Self::DefaultBaselines => {
                page!(baselines.list_default_baselines(ListDefaultBaselinesRequest) -> default_baselines)
            }
            Self::Groups => page!(patch_groups.list_patch_groups(ListPatchGroupsRequest) -> patch_groups),
            Self::Findings => page!(
                patch_groups.list_tag_findings(ListTagFindingsRequest) -> findings,
                |row| format!("{}/{:?}/{}", row.location, row.code(), row.instance_ids[0])
            ),
            Self::Compliance => {
                page!(compliance.list_instance_compliance(ListInstanceComplianceRequest) -> instances)
            }
            Self::Instances => page!(instances.list_instances(ListInstancesRequest) -> instances),
            Self::Operations => {
                page!(patch_operations.list_patch_operations(ListPatchOperationsRequest) -> patch_operations)
            }
            Self::Windows => {
                page!(maintenance_windows.list_maintenance_windows(ListMaintenanceWindowsRequest) -> maintenance_windows)
            }
            Self::Runs => page!(
                maintenance_windows.list_upcoming_runs(ListUpcomingRunsRequest) -> runs,
                |row| format!("{} {}", row.maintenance_window, row.run.unwrap().local_time)
            ),
            Self::Schedules => {
                page!(patch_schedules.list_patch_schedules(ListPatchSchedulesRequest) -> patch_schedules)
            }
        }
    }

    /// All pages, one after the other.
    async fn all(self, world: &World, parent: &str, page_size: i32) -> (Vec<String>, Vec<Unreachable>) {
        let most = match page_size {
            0 => 50,
            size => usize::try_from(size).unwrap().min(self.most()),
        };
        let (mut rows, mut gaps, mut token) = (Vec::new(), Vec::new(), String::new());
        loop {
            let (page, next, unreachable) = self.page(world, parent, page_size, &token).await.unwrap();
            assert!(page.len() <= most, "{self:?}: {} rows on a page of {most}", page.len());
            rows.extend(page);
            gaps.extend(unreachable);
            if next.is_empty() {
                return (rows, gaps);
            }
            assert_ne!(next, token);
            token = next;
        }
    }
}

fn location(account: &str, region: &str) -> String {
    format!("accounts/{account}/regions/{region}")
}

/// The showcase with two operations in each location that has groups, each at a time of its own, and three schedules.
async fn world() -> World {
    let world = World::showcase().await;
    for _ in 0..2 {
        for (account, region, group) in
            [(ACCOUNT, REGION, "db"), (ACCOUNT, "eu-central-1", "shop"), ("444455556666", "eu-central-1", "data")]
        {
            let mut request = scan(group);
            request.parent = location(account, region);
            let name = world.create(request).await.name;
            world.finish(&name).await;
        }
    }
    for (account, region, n) in [(ACCOUNT, REGION, 0), (ACCOUNT, REGION, 1), (ACCOUNT, "eu-central-1", 2)] {
        let rate = recurrence::Expression { expression: "rate(5 days)".to_owned(), offset_days: 0 };
        let schedule = PatchSchedule {
            display_name: format!("weekly-{n}"),
            kind: Kind::Scan.into(),
            targets: Some(Targets { patch_groups: vec!["db".to_owned()], ..Default::default() }),
            recurrence: Some(Recurrence { kind: Some(recurrence::Kind::Expression(rate)) }),
            ..Default::default()
        };
        let (parent, patch_schedule) = (location(account, region), Some(schedule));
        let request = CreatePatchScheduleRequest { parent, patch_schedule, ..Default::default() };
        world.client.create_patch_schedule(request).await.unwrap();
    }
    world
}

#[tokio::test]
async fn pages_of_any_size_bring_every_row_once_and_in_order() {
    let world = world().await;
    for (list, expected) in [
        (List::Baselines, 4 * 17),
        (List::DefaultBaselines, 4 * 15),
        (List::Groups, 6),
        // Of 444455556666 also: three more systems in `data` and one in `lab` without a baseline, and a node in two groups.
        (List::Findings, 7 + 3 + 1 + 1),
        (List::Instances, 17 + 3 + 11 + 7),
        (List::Compliance, 17 + 3 + 11 + 7),
        (List::Operations, 6),
        (List::Windows, 3),
        (List::Runs, 3),
        (List::Schedules, 3),
    ] {
        let (whole, gaps) = list.all(&world, EVERYWHERE, i32::MAX).await;
        assert_eq!((whole.len(), gaps), (expected, vec![]), "{list:?}: {whole:#?}");
        let unique: BTreeSet<&String> = whole.iter().collect();
        assert_eq!(unique.len(), whole.len(), "{list:?}");
        for page_size in SIZES {
            assert_eq!(list.all(&world, EVERYWHERE, page_size).await.0, whole, "{list:?} by {page_size}");
        }

        // Locations follow each other by name, and each location's part is what it answers alone.
        let mut parts = Vec::new();
        for (account, region) in LOCATIONS {
            let parent = location(account, region);
            let (part, _) = list.all(&world, &parent, 2).await;
            assert!(part.iter().all(|name| name.starts_with(&format!("{parent}/"))));
            match list {
                List::Operations => assert!(part.is_sorted_by(|a, b| a > b), "newest first: {part:?}"),
                List::DefaultBaselines
                | List::Groups
                | List::Instances
                | List::Compliance
                | List::Windows
                | List::Schedules => {
                    assert!(part.is_sorted(), "{part:?}")
                }
                List::Baselines | List::Findings | List::Runs => {}
            }
            parts.extend(part);
        }
        assert_eq!(parts, whole, "{list:?}");
        let (account, _) = list.all(&world, &format!("accounts/{ACCOUNT}/regions/-"), 3).await;
        let own = |name: &&String| name.starts_with(&format!("accounts/{ACCOUNT}/"));
        assert_eq!(account, whole.iter().filter(own).cloned().collect::<Vec<_>>(), "{list:?}");
    }
}

#[tokio::test]
async fn a_token_goes_on_in_its_own_list_alone() {
    let world = world().await;
    for list in LISTS {
        let (_, token, _) = list.page(&world, EVERYWHERE, 1, "").await.unwrap();
        assert!(!token.is_empty(), "{list:?}");
        // The size of the page may change, the question may not.
        let (rest, _, _) = list.page(&world, EVERYWHERE, i32::MAX, &token).await.unwrap();
        assert!(!rest.is_empty());
        for parent in [PARENT.to_owned(), format!("accounts/{ACCOUNT}/regions/-")] {
            bad_token(list.page(&world, &parent, 1, &token).await.map(|_| ()));
        }
        for other in LISTS.into_iter().filter(|other| *other != list) {
            bad_token(other.page(&world, EVERYWHERE, 1, &token).await.map(|_| ()));
        }
        let mut forged = token.clone().into_bytes();
        forged[20] = if forged[20] == b'A' { b'B' } else { b'A' };
        bad_token(list.page(&world, EVERYWHERE, 1, &String::from_utf8(forged).unwrap()).await.map(|_| ()));
    }

    // Filters belong to the question, too.
    let (_, token, _) = List::Baselines.page(&world, EVERYWHERE, 1, "").await.unwrap();
    let request = ListBaselinesRequest {
        parent: EVERYWHERE.to_owned(),
        page_token: token,
        owner: Owner::Aws.into(),
        ..ListBaselinesRequest::default()
    };
    bad_token(world.client.baselines().list_baselines(request).await.map(|_| ()));
    let (_, page_token, _) = List::Instances.page(&world, PARENT, 1, "").await.unwrap();
    let (parent, patch_group) = (PARENT.to_owned(), "db".to_owned());
    let request = ListInstancesRequest { parent, page_token, patch_group, ..ListInstancesRequest::default() };
    bad_token(world.client.instances().list_instances(request).await.map(|_| ()));
}

fn bad_token(answer: Result<(), Status>) {
    let expected = (Code::InvalidArgument, "PAGE_TOKEN_INVALID".to_owned(), vec!["page_token".to_owned()]);
    assert_eq!(refusal(&answer.unwrap_err()), expected);
}

#[tokio::test]
async fn a_token_is_good_after_a_restart_and_for_a_day() {
    let world = world().await;
    let mut tokens = Vec::new();
    for list in LISTS {
        let (_, token, _) = list.page(&world, EVERYWHERE, 1, "").await.unwrap();
        tokens.push((list, token.clone(), list.page(&world, EVERYWHERE, 2, &token).await.unwrap().0));
    }
    let world = world.restart().await;
    let hour = std::time::Duration::from_secs(3600);
    for (hours, good) in [(0, true), (23, true), (2, false)] {
        world.simulation.clock().advance(hour * hours);
        for (list, token, expected) in &tokens {
            match list.page(&world, EVERYWHERE, 2, token).await {
                Ok((rows, _, _)) => assert!(good && rows == *expected, "{list:?}"),
                Err(refused) => {
                    assert!(!good, "{list:?}: {refused:?}");
                    bad_token(Err(refused));
                }
            }
        }
    }
}

#[tokio::test]
async fn a_location_that_cannot_be_asked_is_named_and_the_others_are_there() {
    // The table of errors of the design: code and reason of each failure of AWS.
    for (kind, code, reason) in [
        (FaultKind::Unreachable, Code::Unavailable, "AWS_UNREACHABLE"),
        (FaultKind::ServerError, Code::Unavailable, "AWS_UNREACHABLE"),
        (FaultKind::Throttle, Code::Unavailable, "AWS_THROTTLED"),
        (FaultKind::Deny, Code::FailedPrecondition, "AWS_ACCESS_DENIED"),
    ] {
        let world = world().await;
        let lost = location(ACCOUNT, REGION);
        let mut complete = Vec::new();
        for list in LISTS {
            complete.push((list, list.all(&world, EVERYWHERE, 0).await.0));
        }
        let here = Some((ACCOUNT.to_owned(), REGION.to_owned()));
        world.inject(Fault { location: here, operation: None, skip: 0, times: u32::MAX, kind });
        for (list, complete) in complete {
            if list == List::Operations {
                // Our own records are all there; what others did meanwhile may be missing, and that is said.
                world.simulation.clock().advance(std::time::Duration::from_secs(120));
                for parent in [EVERYWHERE, &lost] {
                    let (rows, gaps) = list.all(&world, parent, 2).await;
                    let expected = complete.iter().filter(|name| parent == EVERYWHERE || name.starts_with(&lost));
                    assert!(rows.iter().eq(expected), "{kind:?}: {rows:?}");
                    let gaps: Vec<_> = gaps.iter().map(|gap| (gap.location.as_str(), gap.reason.as_str())).collect();
                    assert_eq!(gaps, [(lost.as_str(), reason)], "{kind:?}");
                }
                continue;
            }
            let others: Vec<_> = complete.into_iter().filter(|name| !name.starts_with(&format!("{lost}/"))).collect();
            for page_size in [0, 2] {
                let (rows, gaps) = list.all(&world, EVERYWHERE, page_size).await;
                assert_eq!(rows, others, "{list:?} {kind:?}");
                let gaps: Vec<_> = gaps.iter().map(|gap| (gap.location.as_str(), gap.reason.as_str())).collect();
                assert_eq!(gaps, [(lost.as_str(), reason)], "{list:?} {kind:?}");
            }
            let refused = list.page(&world, &lost, 0, "").await.unwrap_err();
            assert_eq!(refusal(&refused), (code, reason.to_owned(), vec![]), "{list:?} {kind:?}");
            let details = refused.get_error_details();
            let action = &details.error_info().unwrap().metadata["aws_action"];
            assert!(action.starts_with("ssm:") || action.starts_with("ec2:"), "{action}");
            assert_eq!(details.retry_info().is_some(), code == Code::Unavailable, "{refused:?}");
            assert_eq!(details.precondition_failure().is_some(), code == Code::FailedPrecondition, "{refused:?}");
        }
    }
}

#[tokio::test]
async fn patches_and_targets_come_in_pages_too() {
    let world = World::start().await;
    world.account().add_nodes(7).in_group("web").missing_patches(15).create();
    let operation = world.run(scan("web")).await.name;
    let targets: Vec<String> = world.targets(&operation).await.into_iter().map(|target| target.name).collect();
    assert_eq!(targets.len(), 7);
    assert!(targets.is_sorted());
    for page_size in SIZES {
        let (mut rows, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListPatchOperationTargetsRequest {
                parent: operation.clone(),
                page_size,
                page_token: page_token.clone(),
            };
            let answer = world.client.patch_operations().list_patch_operation_targets(request).await.unwrap();
            let page = answer.into_inner();
            assert!(page_size == 0 || page.targets.len() <= usize::try_from(page_size).unwrap());
            rows.extend(page.targets.into_iter().map(|target| target.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(rows, targets, "by {page_size}");
    }

    let id = targets[0].rsplit('/').next().unwrap();
    let mut whole = Vec::new();
    // AWS answers 10 to 100 (S 1.23).
    for (page_size, most) in [(i32::MAX, 100), (1, 10), (10, 10), (11, 11), (0, 50)] {
        let (mut rows, mut page_token) = (Vec::new(), String::new());
        loop {
            let parent = format!("{PARENT}/instances/{id}");
            let state = String::new();
            let request = ListInstancePatchesRequest { parent, page_size, page_token, state };
            let page = world.client.instances().list_instance_patches(request).await.unwrap().into_inner();
            assert!(page.patches.len() <= most);
            rows.extend(page.patches);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert!(rows.len() > 20, "more than one page of ten: {}", rows.len());
        if whole.is_empty() {
            whole.clone_from(&rows);
        }
        assert_eq!(rows, whole, "by {page_size}");
    }

    // A token of one node's patches, or of one operation's targets, is not good for another's.
    let request = ListPatchOperationTargetsRequest { parent: operation.clone(), page_size: 1, ..Default::default() };
    let page = world.client.patch_operations().list_patch_operation_targets(request).await.unwrap().into_inner();
    let other = world.run(scan("web")).await.name;
    let page_token = page.next_page_token;
    let request = ListPatchOperationTargetsRequest { parent: other, page_token, ..Default::default() };
    bad_token(world.client.patch_operations().list_patch_operation_targets(request).await.map(|_| ()));
    let patches = |n: usize, page_token: String| ListInstancePatchesRequest {
        parent: format!("{PARENT}/instances/{}", targets[n].rsplit('/').next().unwrap()),
        page_size: 10,
        page_token,
        ..ListInstancePatchesRequest::default()
    };
    let page = world.client.instances().list_instance_patches(patches(0, String::new())).await.unwrap().into_inner();
    bad_token(world.client.instances().list_instance_patches(patches(1, page.next_page_token)).await.map(|_| ()));
}

#[test]
fn every_list_of_the_api_is_tested_here() {
    let paged = |method: &prost_reflect::MethodDescriptor| method.input().get_field_by_name("page_token").is_some();
    let all: BTreeSet<String> =
        methods(&descriptors()).iter().filter(|method| paged(method)).map(|method| method.name().to_owned()).collect();
    let tested = LISTS.into_iter().map(List::method).chain(OTHER_LISTS);
    assert_eq!(all, tested.map(str::to_owned).collect::<BTreeSet<_>>());
}

/// All rows of a list below one thing, which is the same by pages of any size.
macro_rules! same_by_any_size {
    ($world:ident, $service:ident.$method:ident($request:expr) -> $rows:ident, at most $most:literal, more than $least:literal $(, not for $other:expr)?) => {{
        let mut whole = None;
        for page_size in SIZES {
            let (mut rows, mut page_token) = (Vec::new(), String::new());
            loop {
                let mut request = $request;
                (request.page_size, request.page_token) = (page_size, page_token.clone());
                let page = $world.client.$service().$method(request).await.unwrap().into_inner();
                assert!(page.$rows.len() <= $most, "{} rows", page.$rows.len());
                rows.extend(page.$rows);
                if page.next_page_token.is_empty() {
                    break;
                }
                assert_ne!(page.next_page_token, page_token);
                page_token = page.next_page_token;
            }
            assert!(rows.len() > $least, "{} rows", rows.len());
            assert_eq!(*whole.get_or_insert_with(|| rows.clone()), rows, "by {page_size}");
        }
        // A token of this question is not good for another one.
        let mut first = $request;
        first.page_size = 1;
        let page_token = $world.client.$service().$method(first).await.unwrap().into_inner().next_page_token;
        assert!(!page_token.is_empty());
        $(
            let mut other = $other;
            other.page_token = page_token;
            bad_token($world.client.$service().$method(other).await.map(|_| ()));
        )?
    }};
}

#[tokio::test]
async fn the_catalogue_and_its_words_come_in_pages_too() {
    let world = World::start().await;
    let properties = |property: &str| ListPatchPropertiesRequest {
        parent: PARENT.to_owned(),
        operating_system: "WINDOWS".to_owned(),
        property: property.to_owned(),
        ..Default::default()
    };
    same_by_any_size!(
        world, baselines.list_patch_properties(properties("PRODUCT")) -> values,
        at most 50, more than 1, not for properties("CLASSIFICATION")
    );
    let available = |operating_system: &str, product: &str| ListAvailablePatchesRequest {
        parent: PARENT.to_owned(),
        operating_system: operating_system.to_owned(),
        filters: vec![PatchFilter { key: "PRODUCT".to_owned(), values: vec![product.to_owned()] }],
        ..Default::default()
    };
    same_by_any_size!(
        world, baselines.list_available_patches(available("AMAZON_LINUX_2", "AmazonLinux2")) -> patches,
        at most 100, more than 100, not for available("WINDOWS", "WindowsServer2019")
    );
}

#[tokio::test]
async fn runs_events_and_freezes_come_in_pages_too() {
    let world = World::start().await;
    world.account().add_nodes(1).in_group("web").create();
    let (schedule, other) = (made(&world, nightly()).await, made(&world, nightly()).await);
    pass(&world, 5 * 24).await;
    let runs = |parent: &str| ListExecutionsRequest { parent: parent.to_owned(), ..Default::default() };
    same_by_any_size!(
        world, maintenance_windows.list_executions(runs(&schedule.maintenance_window)) -> executions,
        at most 200, more than 4, not for runs(&other.maintenance_window)
    );
    let (one, another) = (world.run(scan("web")).await.name, world.run(scan("web")).await.name);
    let events = |parent: &str| ListPatchOperationEventsRequest { parent: parent.to_owned(), ..Default::default() };
    same_by_any_size!(
        world, patch_operations.list_patch_operation_events(events(&one)) -> events,
        at most 200, more than 4, not for events(&another)
    );
    for group in ["a", "b", "c", "d"] {
        world.client.create_freeze(freeze(group)).await.unwrap();
    }
    same_by_any_size!(
        world, freezes.list_freezes(ListFreezesRequest::default()) -> freezes, at most 200, more than 3
    );
}
