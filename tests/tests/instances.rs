//! What is wrong with instances and their tags, which baseline they get, and how they comply, judged by the fleet.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use futures::TryStreamExt as _;
use patchplane_client::{
    Listing,
    api::{
        ApprovalRule, Baseline, BatchCheckReadinessRequest, BatchCheckReadinessResponse, CheckReadinessRequest,
        CreateBaselineRequest, ExplainBaselineRequest, ExplainBaselineResponse, GetComplianceSummaryRequest,
        InstanceCompliance, ListInstanceComplianceRequest, ListInstancePatchesRequest, ListTagFindingsRequest,
        ReadinessFinding, Remedy, TagFinding,
        explain_baseline_response::Source,
        instance_compliance::Status,
        readiness_finding::{Certainty, Code},
        remedy::Request,
        tag_finding::Code as Tag,
    },
    view,
};
use patchplane_sim::{FaultKind, NodeBuilder, SimLocation};
use patchplane_tests::{PARENT, World, baseline, fault, refusal, scan};
use std::collections::BTreeMap;

/// Of AWS's own in us-east-1 (S 4.2).
const AMAZON_LINUX_2: &str = "pb-0be8c61cde3be63f3";
const WINDOWS: &str = "pb-09ca3fb51f0412ec3";

fn one(builder: NodeBuilder) -> String {
    builder.create().remove(0)
}

/// Sends a remedy as it is.
async fn send(world: &World, remedy: Remedy) {
    match remedy.request.unwrap() {
        Request::AttachBaseline(request) => drop(world.client.attach_baseline(request).await.unwrap()),
        Request::DetachBaseline(request) => drop(world.client.detach_baseline(request).await.unwrap()),
        Request::AddInstances(request) => drop(world.client.add_instances(request).await.unwrap()),
        Request::RemoveInstances(request) => drop(world.client.remove_instances(request).await.unwrap()),
    }
}

// === Tags ===

async fn findings(world: &World) -> Vec<TagFinding> {
    let request = ListTagFindingsRequest { parent: PARENT.to_owned(), ..ListTagFindingsRequest::default() };
    Listing::collect(world.client.list_tag_findings(request)).await.unwrap().items
}

#[tokio::test]
async fn every_tag_that_is_not_effective_is_found_and_its_remedy_makes_it_so() {
    let world = World::start().await;
    let fleet = world.account();
    world.attach("web", AMAZON_LINUX_2).await;
    let nodes = || fleet.add_nodes(1);
    // S 5.1: keys are exact; S 5.2: metadata forbids the space, and of both keys nobody knows which wins.
    let mut misspelt = vec![
        (one(nodes().tagged("patch group", "web")), Tag::TagKeyWrong),
        (one(nodes().tagged("Patchgroup", "web")), Tag::TagKeyWrong),
        (one(nodes().tagged("Patch Group ", "web")), Tag::TagKeyWrong),
        (one(nodes().metadata_tags().tagged("patch-group", "web")), Tag::TagKeyBlockedByImds),
        (one(nodes().in_group("Web")), Tag::TagValueNearMiss),
        (one(nodes().in_group("web ")), Tag::TagValueNearMiss),
        (one(nodes().in_group("web").tagged("PatchGroup", "db")), Tag::PatchGroupAmbiguous),
        (one(nodes().in_group("db")), Tag::GroupWithoutBaseline),
    ];
    nodes().in_group("web").create();
    nodes().create();
    let found = findings(&world).await;
    let mut seen: Vec<(String, Tag)> =
        found.iter().flat_map(|finding| finding.instance_ids.iter().map(|id| (id.clone(), finding.code()))).collect();
    misspelt.sort();
    seen.sort();
    assert_eq!(seen, misspelt);
    for finding in found {
        assert!(!finding.evidence.is_empty() && !finding.fix.is_empty(), "{finding:?}");
        let remedy = finding.remedy.clone().unwrap_or_else(|| panic!("no remedy: {finding:?}"));
        let command = view::command(&remedy).unwrap();
        assert!(command.starts_with("patchctl groups ") && command.ends_with(PARENT), "{command}");
        send(&world, remedy).await;
    }
    assert_eq!(findings(&world).await, [], "every remedy did what it said");
    for (id, code) in misspelt {
        let tags = fleet.tags(&id);
        let group = tags.get("Patch Group").or(tags.get("PatchGroup")).map(String::as_str);
        let expected = if code == Tag::GroupWithoutBaseline { "db" } else { "web" };
        assert_eq!(group, Some(expected), "{code:?}");
    }
}

#[tokio::test]
async fn instances_with_the_same_mistake_are_mended_by_one_request() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(60).tagged("patch group", "web").create();
    world.account().add_nodes(1).tagged("patch group", "db").create();
    let found = findings(&world).await;
    assert_eq!(found.iter().map(|finding| finding.instance_ids.len()).collect::<Vec<_>>(), [1, 60]);
    send(&world, found[1].remedy.clone().unwrap()).await;
    assert!(nodes.iter().all(|id| world.account().tags(id)["Patch Group"] == "web"));
}

// === Which baseline ===

async fn explain(world: &World, id: &str) -> ExplainBaselineResponse {
    let request = ExplainBaselineRequest { name: format!("{PARENT}/instances/{id}") };
    world.client.explain_baseline(request).await.unwrap()
}

#[tokio::test]
async fn a_baseline_is_explained_and_each_alternative_is_what_its_request_brings() {
    let world = World::start().await;
    let fleet = world.account();
    let id = one(fleet.add_nodes(1).windows_2019());
    // S 5.8, 5.10: without a group the default of the system.
    let alone = explain(&world, &id).await;
    assert_eq!((alone.source(), alone.patch_group.as_str()), (Source::AwsDefault, ""));
    assert_eq!(alone.display_name, "AWS-DefaultPatchBaseline");
    assert_eq!(alone.alternatives, [], "no group has a baseline yet");

    world.attach("win", WINDOWS).await;
    let alone = explain(&world, &id).await;
    assert_eq!(alone.alternatives.len(), 1, "it can join the group");
    send(&world, alone.alternatives[0].remedy.clone().unwrap()).await;
    let joined = explain(&world, &id).await;
    assert_eq!((joined.source(), joined.patch_group.as_str()), (Source::PatchGroup, "win"));
    assert!(joined.reasons.len() >= 3, "{:?}", joined.reasons);

    // Each way on, from the same start.
    let others = joined.alternatives;
    let labels: Vec<_> = others.iter().map(|other| other.display_name.as_str()).collect();
    assert!(labels.contains(&"AWS-WindowsPredefinedPatchBaseline-OS"), "{labels:?}");
    for other in others {
        let undo = world.account().tags(&id);
        send(&world, other.remedy.clone().unwrap()).await;
        let now = explain(&world, &id).await;
        assert_eq!((now.baseline, now.display_name), (other.baseline.clone(), other.display_name.clone()), "{other:?}");
        world.client.attach_baseline(replace("win", WINDOWS)).await.unwrap();
        if undo != world.account().tags(&id) {
            send(&world, alone.alternatives[0].remedy.clone().unwrap()).await;
        }
        assert_eq!(explain(&world, &id).await.source(), Source::PatchGroup);
    }

    // What judged it last is told beside what would judge it now.
    world.run(scan("win")).await;
    let judged = explain(&world, &id).await;
    assert_eq!(judged.last_report_baseline, format!("{PARENT}/baselines/{WINDOWS}"));
    assert!(judged.last_report_time.is_some());
}

fn replace(group: &str, baseline: &str) -> patchplane_client::api::AttachBaselineRequest {
    let (name, baseline) = (format!("{PARENT}/patchGroups/{group}"), format!("{PARENT}/baselines/{baseline}"));
    patchplane_client::api::AttachBaselineRequest { name, baseline, replace: true, ..Default::default() }
}

#[tokio::test]
async fn where_nobody_can_say_which_baseline_applies_the_answer_says_so() {
    let world = World::start().await;
    world.attach("web", AMAZON_LINUX_2).await;
    let both = one(world.account().add_nodes(1).in_group("web").tagged("PatchGroup", "db"));
    let answer = explain(&world, &both).await;
    assert_eq!((answer.source(), answer.baseline.as_str()), (Source::Unspecified, ""));
    assert_eq!(answer.alternatives.len(), 2, "one for each tag that can go");
    let unmanaged = one(world.account().add_nodes(1).unmanaged());
    let answer = explain(&world, &unmanaged).await;
    assert_eq!((answer.source(), answer.operating_system.as_str()), (Source::Unspecified, ""));
    assert!(!answer.reasons.is_empty());
    let name = format!("{PARENT}/instances/i-0123456789abcdef0");
    let refused = world.client.instances().explain_baseline(ExplainBaselineRequest { name }).await.unwrap_err();
    assert_eq!(refusal(&refused).1, "INSTANCE_NOT_FOUND");
}

// === Readiness ===

async fn check(world: &World, id: &str) -> Vec<ReadinessFinding> {
    let name = format!("{PARENT}/instances/{id}");
    let request = CheckReadinessRequest { name, ..CheckReadinessRequest::default() };
    world.client.check_readiness(request).await.unwrap().findings
}

async fn check_many(world: &World, ids: &[String], group: &str) -> BatchCheckReadinessResponse {
    let (parent, instance_ids, patch_group) = (PARENT.to_owned(), ids.to_vec(), group.to_owned());
    let request = BatchCheckReadinessRequest { parent, instance_ids, patch_group, stale_after_days: 0 };
    world.client.batch_check_readiness(request).await.unwrap()
}

#[tokio::test]
async fn each_further_obstacle_is_found_with_its_certainty_and_its_fix() {
    use Certainty::{Inferred, NotVisible, Observed};
    let world = World::start().await;
    world.attach("web", AMAZON_LINUX_2).await;
    let nodes = || world.account().add_nodes(1).in_group("web").already_scanned();
    // S 10.2 by row: 3 the agent, 4 the profile, 5 to 7 the network, 10 the system; S 8.2 the report.
    for (builder, code, certainty, blocking) in [
        (nodes().agent_version("2.0.833.0"), Code::AgentTooOld, Observed, true),
        (nodes().unsupported_os(), Code::OsUnsupported, Observed, true),
        (nodes().without_profile(), Code::NoInstanceProfile, Inferred, false),
        (nodes().offline(), Code::ProfileRights, NotVisible, false),
        (nodes().without_route(), Code::NoRoute, Inferred, false),
        (nodes().without_route().offline(), Code::NoRoute, Inferred, false),
        (nodes().without_egress(), Code::NoRoute, Inferred, false),
        (nodes().in_auto_scaling_group("asg"), Code::InAutoScalingGroup, Observed, false),
        (nodes().last_run_failed(), Code::LastRunFailed, Observed, false),
        (nodes().pending_reboot(), Code::PendingReboot, Observed, false),
        (nodes().scanned_days_ago(8), Code::StaleScan, Observed, false),
        (
            world.account().add_nodes(1).metadata_tags().tagged("patch-group", "web"),
            Code::TagKeyBlockedByImds,
            Observed,
            false,
        ),
    ] {
        let findings = check(&world, &one(builder)).await;
        let finding = findings.iter().find(|finding| finding.code() == code);
        let finding = finding.unwrap_or_else(|| panic!("{code:?} is not among {findings:?}"));
        assert_eq!((finding.certainty(), finding.blocking), (certainty, blocking), "{finding:?}");
        assert!(!finding.evidence.is_empty() && !finding.fix.is_empty(), "{finding:?}");
    }
    for builder in [nodes(), nodes().behind_endpoints(), nodes().scanned_days_ago(6)] {
        assert_eq!(check(&world, &one(builder)).await, []);
    }
}

#[tokio::test]
async fn an_operation_leaves_out_what_readiness_calls_blocking() {
    let world = World::start().await;
    let nodes = || world.account().add_nodes(1).in_group("web");
    let ids = [nodes(), nodes().agent_version("2.0.1.0"), nodes().unsupported_os(), nodes().in_auto_scaling_group("a")];
    let ids = ids.map(one);
    let operation = world.run(scan("web")).await;
    let counts = operation.counts.unwrap();
    assert_eq!((counts.succeeded, counts.skipped), (2, 2), "{}", operation.explanation);
    let checked = check_many(&world, &ids, "").await;
    let ready: Vec<bool> = checked.results.iter().map(|result| result.ready).collect();
    assert_eq!(ready, [true, false, false, true]);
    for (id, ready) in ids.iter().zip(ready) {
        assert_eq!(world.account().scans(id) == 1, ready, "{id}");
    }
}

/// How often each operation of AWS was asked for during `call`.
async fn requests<T>(world: &World, call: impl Future<Output = T>) -> (T, BTreeMap<String, usize>) {
    let before = world.simulation.requests().len();
    let answer = call.await;
    let mut counts = BTreeMap::new();
    for request in world.simulation.requests().split_off(before) {
        *counts.entry(request.operation).or_default() += 1;
    }
    (answer, counts)
}

fn mixed(fleet: &SimLocation) -> Vec<String> {
    let mut ids = fleet.add_nodes(180).in_group("web").already_scanned().create();
    ids.extend(fleet.add_nodes(10).in_group("web").create());
    ids.extend(fleet.add_nodes(5).in_group("web").unmanaged().create());
    ids.extend(fleet.add_nodes(5).in_group("web").stopped().create());
    ids
}

#[tokio::test]
async fn many_instances_are_checked_with_few_requests_and_as_if_one_by_one() {
    let world = World::start().await;
    world.attach("web", AMAZON_LINUX_2).await;
    let ids = mixed(&world.account());
    let (many, asked) = requests(&world, check_many(&world, &ids, "")).await;
    assert_eq!((many.results.len(), many.ready_count, many.not_ready_count), (200, 190, 10));
    // The paging arithmetic: 200 ids a filter of EC2's, 50 a call of Systems Manager's (S 8.2.7, 10.1.5).
    let expected = [
        ("DescribeInstanceInformation", 4),
        ("DescribeInstancePatchStates", 4),
        ("DescribeInstances", 1),
        ("DescribePatchBaselines", 1),
        ("DescribePatchGroups", 1),
        ("DescribeRouteTables", 1),
        ("DescribeSecurityGroups", 1),
        ("DescribeVpcEndpoints", 1),
    ];
    assert_eq!(asked, expected.map(|(operation, times)| (operation.to_owned(), times)).into());
    let counts: BTreeMap<Code, i32> = many.counts.iter().map(|count| (count.code(), count.instance_count)).collect();
    for (code, number) in [(Code::NeverScanned, 10), (Code::NotManaged, 5), (Code::NotRunning, 5)] {
        assert_eq!(counts[&code], number, "{counts:?}");
    }
    for (id, result) in ids.iter().zip(&many.results).step_by(31) {
        assert_eq!(result.findings, check(&world, id).await, "in the order of the request, and the same");
    }
    let by_group = check_many(&world, &[], "web").await;
    assert_eq!((by_group.ready_count, by_group.not_ready_count, by_group.counts), (190, 10, many.counts));
}

#[tokio::test]
async fn a_read_that_fails_is_named_once_and_no_check_of_it_passes() {
    let world = World::start().await;
    world.attach("web", AMAZON_LINUX_2).await;
    let ids = world.account().add_nodes(3).in_group("web").already_scanned().create();
    for (operation, code) in [
        ("DescribePatchGroups", Code::GroupWithoutBaseline),
        ("DescribeInstancePatchStates", Code::NeverScanned),
        ("DescribeRouteTables", Code::NoRoute),
        ("DescribeSecurityGroups", Code::NoRoute),
        ("DescribeVpcEndpoints", Code::NoRoute),
    ] {
        world.inject(fault(operation, FaultKind::Deny, 1));
        let many = check_many(&world, &ids, "").await;
        assert_eq!(many.unmade_checks.len(), 1, "{operation}");
        let unmade = &many.unmade_checks[0];
        assert!(unmade.aws_action.ends_with(operation) && unmade.codes().any(|unmade| unmade == code), "{unmade:?}");
        assert_eq!(unmade.reason, "AWS_ACCESS_DENIED");
        for result in &many.results {
            let seen: Vec<_> = result.findings.iter().map(|found| (found.code(), found.certainty())).collect();
            assert_eq!(seen, [(code, Certainty::NotVisible)], "{operation}");
        }
    }
    // Without the instances themselves there is nothing to say.
    world.inject(fault("DescribeInstances", FaultKind::Deny, 1));
    let request = BatchCheckReadinessRequest {
        parent: PARENT.to_owned(),
        instance_ids: ids,
        ..BatchCheckReadinessRequest::default()
    };
    let refused = world.client.instances().batch_check_readiness(request).await.unwrap_err();
    assert_eq!(refusal(&refused).1, "AWS_ACCESS_DENIED");
}

// === Compliance ===

async fn compliance(world: &World, asked: ListInstanceComplianceRequest) -> Vec<InstanceCompliance> {
    let request = ListInstanceComplianceRequest { parent: PARENT.to_owned(), page_size: 3, ..asked };
    Listing::collect(world.client.list_instance_compliance(request)).await.unwrap().items
}

#[tokio::test]
async fn each_instance_stands_in_one_class_and_stale_ones_are_never_compliant() {
    let world = World::start().await;
    world.attach("web", AMAZON_LINUX_2).await;
    let nodes = |group: &str| world.account().add_nodes(1).in_group(group);
    let mut expected: Vec<(String, Status)> = vec![
        (one(nodes("web").already_scanned()), Status::Compliant),
        (one(nodes("web").missing_patches(2).already_scanned()), Status::NonCompliant),
        (one(nodes("web").scanned_days_ago(8)), Status::Stale),
        (one(nodes("db").scanned_days_ago(6)), Status::Compliant),
        (one(nodes("db").last_run_failed()), Status::NonCompliant),
        (one(nodes("db").windows_2019().already_scanned()), Status::Compliant),
        (one(nodes("db")), Status::NeverReported),
        (one(nodes("db").unmanaged()), Status::NotManaged),
    ];
    expected.sort();
    let all = compliance(&world, ListInstanceComplianceRequest::default()).await;
    let seen: Vec<_> = all.iter().map(|row| (row.instance_id.clone(), row.status())).collect();
    assert_eq!(seen, expected);
    assert!(all.iter().all(|row| row.observe_time.is_some()));

    // Filters, alone and together.
    let of = |wanted: Status| expected.iter().filter(|(_, status)| *status == wanted).count();
    for status in [Status::Compliant, Status::NonCompliant, Status::Stale, Status::NeverReported, Status::NotManaged] {
        let asked = ListInstanceComplianceRequest { status: status.into(), ..Default::default() };
        let found = compliance(&world, asked).await;
        assert_eq!(found.len(), of(status), "{status:?}");
        assert!(found.iter().all(|row| row.status() == status && all.contains(row)));
    }
    let (patch_group, operating_system) = ("db".to_owned(), "WINDOWS".to_owned());
    let asked = ListInstanceComplianceRequest { patch_group, operating_system, ..Default::default() };
    assert_eq!(compliance(&world, asked).await.len(), 1);
    let baseline_id = AMAZON_LINUX_2.to_owned();
    let judged = compliance(&world, ListInstanceComplianceRequest { baseline_id, ..Default::default() }).await;
    assert_eq!(judged.len(), 5);
    assert!(judged.iter().all(|row| row.baseline.ends_with(AMAZON_LINUX_2)));
    let patient = ListInstanceComplianceRequest { stale_after_days: 9, ..Default::default() };
    assert!(compliance(&world, patient).await.iter().all(|row| row.status() != Status::Stale));

    // The summary says the same, as a whole and in parts.
    let request = GetComplianceSummaryRequest { parent: PARENT.to_owned(), ..Default::default() };
    let summary = world.client.get_compliance_summary(request).await.unwrap().summary.unwrap();
    let classes = (summary.compliant_count, summary.non_compliant_count, summary.stale_count, summary.unreported_count);
    assert_eq!((summary.instance_count, classes, summary.unmanaged_count), (7, (3, 2, 1, 1), 1));
    // S 8.3.7: AWS's own baselines report nothing as CRITICAL.
    assert_eq!((summary.with_missing_count, summary.with_failed_count, summary.with_critical_count), (1, 1, 0));
    for (parts, keys) in [
        (&summary.by_patch_group, 2),
        // AWS's two, and none.
        (&summary.by_baseline, 3),
        // Two systems, and the unmanaged node's.
        (&summary.by_operating_system, 3),
    ] {
        assert_eq!(parts.len(), keys, "{parts:?}");
        let sum = |of: fn(&patchplane_client::api::ComplianceTally) -> i32| -> i32 {
            parts.iter().map(|part| of(part.tally.as_ref().unwrap())).sum()
        };
        assert_eq!(sum(|tally| tally.instance_count), 7, "{parts:?}");
        assert_eq!(sum(|tally| tally.compliant_count), 3);
        assert_eq!(sum(|tally| tally.stale_count), 1);
        assert_eq!(sum(|tally| tally.unmanaged_count), 1);
    }
}

/// An own baseline that has each vendor's severity reported at a level of its own.
fn levelled() -> Baseline {
    let rules = [("Critical", "CRITICAL"), ("Important", "HIGH"), ("Medium", "MEDIUM"), ("Low", "LOW")];
    let rules = rules.map(|(severity, level)| {
        let one = baseline("one", &[severity], 0).approval_rules.remove(0);
        ApprovalRule { compliance_level: level.to_owned(), ..one }
    });
    Baseline { approval_rules: rules.to_vec(), ..baseline("levels", &[], 0) }
}

#[tokio::test]
async fn patches_are_summed_up_by_the_level_that_their_baseline_gives_them() {
    let world = World::start().await;
    let request = CreateBaselineRequest { parent: PARENT.to_owned(), baseline: Some(levelled()), ..Default::default() };
    let own = world.client.create_baseline(request).await.unwrap().baseline.unwrap();
    world.attach("web", own.name.rsplit('/').next().unwrap()).await;
    for missing in [0, 2, 30] {
        one(world.account().add_nodes(1).in_group("web").missing_patches(missing));
    }
    // AWS's own baseline has everything reported as UNSPECIFIED (S 8.3.7).
    one(world.account().add_nodes(1).in_group("db").missing_patches(3));
    for group in ["web", "db"] {
        world.run(scan(group)).await;
    }
    let all = compliance(&world, ListInstanceComplianceRequest::default()).await;

    // What the instances say one by one.
    let (mut patches, mut worst) = (BTreeMap::<&str, i32>::new(), BTreeMap::<&str, Vec<&str>>::new());
    for row in &all {
        let request =
            ListInstancePatchesRequest { parent: row.name.clone(), state: "Missing".to_owned(), ..Default::default() };
        let missing: Vec<_> = world.client.list_instance_patches(request).try_collect().await.unwrap();
        let levels: Vec<&str> = missing
            .iter()
            .map(|patch| match patch.severity.as_str() {
                _ if row.patch_group == "db" => "UNSPECIFIED",
                "Critical" => "CRITICAL",
                "Important" => "HIGH",
                "Medium" => "MEDIUM",
                "Low" => "LOW",
                other => panic!("{other}"),
            })
            .collect();
        for level in &levels {
            *patches.entry(level).or_default() += 1;
        }
        let order = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "UNSPECIFIED"];
        if let Some(level) = order.into_iter().find(|level| levels.contains(level)) {
            worst.entry(level).or_default().push(&row.instance_id);
        }
    }
    assert!(patches.len() >= 4 && worst.len() >= 2, "a fleet that tells levels apart: {patches:?} {worst:?}");

    let summary = async |patch_group: &str| {
        let (parent, patch_group) = (PARENT.to_owned(), patch_group.to_owned());
        let request = GetComplianceSummaryRequest { parent, patch_group, ..Default::default() };
        world.client.get_compliance_summary(request).await.unwrap().summary.unwrap()
    };
    let whole = summary("").await;
    let order = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNSPECIFIED"];
    assert_eq!(whole.by_severity.iter().map(|level| level.severity.as_str()).collect::<Vec<_>>(), order);
    for level in &whole.by_severity {
        let name = level.severity.as_str();
        assert_eq!(level.non_compliant_patch_count, patches.get(name).copied().unwrap_or(0), "{name}");
        let instances = worst.get(name).map_or(0, Vec::len);
        assert_eq!(level.non_compliant_instance_count, i32::try_from(instances).unwrap(), "{name}");
        let listed = ListInstanceComplianceRequest { severity: name.to_owned(), ..Default::default() };
        let listed: Vec<String> = compliance(&world, listed).await.into_iter().map(|row| row.instance_id).collect();
        // Every instance with such a patch, not only those of which it is the worst.
        assert!(worst.get(name).into_iter().flatten().all(|id| listed.iter().any(|listed| listed == id)), "{name}");
        assert_eq!(listed.is_empty(), level.non_compliant_patch_count == 0, "{name}");
    }
    let counts = whole.patches.unwrap();
    let compliant: i32 = whole.by_severity.iter().map(|level| level.compliant_patch_count).sum();
    assert_eq!(compliant, counts.installed + counts.installed_other, "the rest complies");
    // A group by itself.
    let of_db = summary("db").await.by_severity;
    assert_eq!(of_db.iter().map(|level| level.non_compliant_patch_count).collect::<Vec<_>>(), [0, 0, 0, 0, 0, 3]);
}
