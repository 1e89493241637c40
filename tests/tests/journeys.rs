//! The walk of an operator's first day up to the report, each step judged by what became of the fleet.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use futures::TryStreamExt as _;
use patchplane_client::{
    Listing,
    api::{
        AddInstancesRequest, AttachBaselineRequest, Baseline, CheckReadinessRequest, CheckReadinessResponse,
        GetBaselineRequest, GetComplianceSummaryRequest, GetPatchGroupRequest, GetStepOutputRequest, InstancePatch,
        ListBaselinesRequest, ListInstancePatchesRequest, RemoveInstancesRequest,
        approval_rule::Approval,
        baseline::Owner,
        instance_result::Outcome,
        patch_operation::State,
        patch_operation_step::State as StepState,
        patch_operation_target::State as TargetState,
        readiness_finding::{Certainty, Code as Finding},
    },
};
use patchplane_sim::{FaultKind, NodeBuilder};
use patchplane_tests::{PARENT, World, fault, refusal, scan};
use std::collections::{BTreeMap, BTreeSet};
use tonic::Code;

/// Of AWS's own in us-east-1 (S 4.2).
const AMAZON_LINUX_2: &str = "pb-0be8c61cde3be63f3";
const WINDOWS: &str = "pb-09ca3fb51f0412ec3";

fn one(builder: NodeBuilder) -> String {
    builder.create().remove(0)
}

fn group_name(group: &str) -> String {
    format!("{PARENT}/patchGroups/{group}")
}

async fn readiness(world: &World, id: &str) -> CheckReadinessResponse {
    let request = CheckReadinessRequest { name: format!("{PARENT}/instances/{id}"), ..Default::default() };
    world.client.check_readiness(request).await.unwrap()
}

async fn baselines(world: &World, operating_system: &str, owner: Owner) -> Vec<Baseline> {
    let request = ListBaselinesRequest {
        parent: PARENT.to_owned(),
        operating_system: operating_system.to_owned(),
        owner: owner.into(),
        ..ListBaselinesRequest::default()
    };
    let listing = Listing::collect(world.client.list_baselines(request)).await.unwrap();
    assert_eq!(listing.unreachable, []);
    listing.items
}

async fn patches(world: &World, id: &str, state: &str) -> Vec<InstancePatch> {
    let parent = format!("{PARENT}/instances/{id}");
    let request = ListInstancePatchesRequest { parent, state: state.to_owned(), ..Default::default() };
    world.client.list_instance_patches(request).try_collect().await.unwrap()
}

/// The outcomes of a change of members with their tag keys and reasons, by instance.
fn results(results: Vec<patchplane_client::api::InstanceResult>) -> BTreeMap<String, (Outcome, String, String)> {
    results.into_iter().map(|r| (r.instance_id.clone(), (r.outcome(), r.tag_key, r.reason))).collect()
}

fn result(outcome: Outcome, key: &str, reason: &str) -> (Outcome, String, String) {
    (outcome, key.to_owned(), reason.to_owned())
}

// === 1. Is it patchable? ===

#[tokio::test]
async fn readiness_names_each_obstacle_its_evidence_and_its_fix() {
    let world = World::start().await;
    let nodes = || world.account().add_nodes(1);
    let both = nodes().in_group("web").tagged("PatchGroup", "db");
    for (id, code, blocking) in [
        ("i-0123456789abcdef0".to_owned(), Finding::NotFound, true),
        (one(nodes().stopped()), Finding::NotRunning, true),
        (one(nodes().unmanaged()), Finding::NotManaged, true),
        (one(nodes().offline()), Finding::AgentOffline, true),
        (one(both), Finding::PatchGroupAmbiguous, true),
        (one(nodes()), Finding::NoPatchGroup, false),
        (one(nodes().tagged("patch group", "web")), Finding::TagKeyWrong, false),
        (one(nodes().in_group("web")), Finding::GroupWithoutBaseline, false),
        (one(nodes().in_group("web")), Finding::NeverScanned, false),
    ] {
        let found = readiness(&world, &id).await;
        let finding = found.findings.iter().find(|finding| finding.code() == code);
        let finding = finding.unwrap_or_else(|| panic!("{code:?} is not among {:?}", found.findings));
        assert_eq!((finding.blocking, finding.certainty()), (blocking, Certainty::Observed), "{finding:?}");
        assert!(!finding.evidence.is_empty() && !finding.fix.is_empty(), "{finding:?}");
        assert_eq!(found.ready, !blocking, "{code:?}");
        assert!(found.findings.is_sorted_by_key(|finding| !finding.blocking), "{:?}", found.findings);
    }
}

#[tokio::test]
async fn a_ready_node_has_nothing_against_it_and_names_its_baseline() {
    let world = World::start().await;
    let id = one(world.account().add_nodes(1).in_group("web").already_scanned());
    world.attach("web", AMAZON_LINUX_2).await;
    let found = readiness(&world, &id).await;
    assert!(found.ready);
    assert_eq!(found.findings, []);
    assert_eq!(found.baseline, format!("{PARENT}/baselines/{AMAZON_LINUX_2}"));
    assert_eq!(found.patch_group, "web");

    let alone = one(world.account().add_nodes(1).windows_2019().already_scanned());
    let found = readiness(&world, &alone).await;
    assert_eq!(found.baseline, format!("{PARENT}/baselines/{WINDOWS}"), "without a group the default applies");
}

#[tokio::test]
async fn a_check_that_could_not_be_made_is_not_shown_as_passed() {
    let world = World::start().await;
    let id = one(world.account().add_nodes(1).in_group("web").already_scanned());
    world.attach("web", AMAZON_LINUX_2).await;
    for (operation, code) in
        [("DescribePatchGroups", Finding::GroupWithoutBaseline), ("DescribeInstancePatchStates", Finding::NeverScanned)]
    {
        world.inject(fault(operation, FaultKind::Deny, 1));
        let found = readiness(&world, &id).await;
        let seen: Vec<_> = found.findings.iter().map(|finding| (finding.code(), finding.certainty())).collect();
        assert_eq!(seen, [(code, Certainty::NotVisible)], "{operation} is denied");
    }
}

// === 2. The baseline ===

#[tokio::test]
async fn predefined_baselines_are_listed_by_system_and_owner() {
    // S 4.2: seventeen, of which three are for Windows; S 4.6.12: one default a system.
    let world = World::start().await;
    let all = baselines(&world, "", Owner::Unspecified).await;
    assert_eq!(all.len(), 17);
    assert!(all.iter().all(|baseline| baseline.owner() == Owner::Aws && baseline.approval_rules.is_empty()));
    assert_eq!(baselines(&world, "", Owner::Aws).await.len(), 17);
    assert_eq!(baselines(&world, "", Owner::Self_).await, []);
    let windows = baselines(&world, "WINDOWS", Owner::Aws).await;
    let defaults: Vec<_> = windows.iter().filter(|b| b.default).map(|b| b.display_name.as_str()).collect();
    assert_eq!((windows.len(), defaults), (3, vec!["AWS-DefaultPatchBaseline"]));
    let linux = baselines(&world, "AMAZON_LINUX_2", Owner::Unspecified).await;
    assert_eq!(linux.len(), 1);
    assert_eq!(linux[0].display_name, "AWS-AmazonLinux2DefaultPatchBaseline");
    assert_eq!(linux[0].name, format!("{PARENT}/baselines/{AMAZON_LINUX_2}"));
}

#[tokio::test]
async fn a_predefined_baseline_is_read_by_its_bare_id_with_its_rules() {
    // S 4.1.2, 4.1.3 and 4.2: Security with Critical or Important, and all Bugfix, after 7 days.
    let world = World::start().await;
    let request = GetBaselineRequest { name: format!("{PARENT}/baselines/{AMAZON_LINUX_2}") };
    let baseline = world.client.get_baseline(request).await.unwrap().baseline.unwrap();
    assert_eq!(baseline.display_name, "AWS-AmazonLinux2DefaultPatchBaseline");
    assert_eq!(baseline.aws_id, format!("arn:aws:ssm:us-east-1:075727635805:patchbaseline/{AMAZON_LINUX_2}"));
    assert_eq!((baseline.owner(), baseline.default), (Owner::Aws, true));
    let filters = |rule: usize, key: &str| -> Vec<&str> {
        let filters = baseline.approval_rules[rule].filters.iter();
        filters.filter(|f| f.key == key).flat_map(|f| &f.values).map(String::as_str).collect()
    };
    assert_eq!(baseline.approval_rules.len(), 2);
    assert_eq!(filters(0, "CLASSIFICATION"), ["Security"]);
    assert_eq!(filters(0, "SEVERITY"), ["Critical", "Important"]);
    assert_eq!(filters(1, "CLASSIFICATION"), ["Bugfix"]);
    assert!(filters(1, "SEVERITY").is_empty());
    for rule in &baseline.approval_rules {
        assert_eq!(rule.approval, Some(Approval::ApproveAfterDays(7)));
        assert_eq!(rule.compliance_level, "UNSPECIFIED");
    }
    assert!(!baseline.etag.is_empty());
}

// === 3. Attach it ===

#[tokio::test]
async fn a_baseline_is_attached_and_read_back() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(2).in_group("web").create();
    let attached = world.attach("web", AMAZON_LINUX_2).await;
    world.attach("web", WINDOWS).await;
    let request = GetPatchGroupRequest { name: group_name("web") };
    let group = world.client.get_patch_group(request).await.unwrap().patch_group.unwrap();
    let systems: BTreeSet<_> = group.baselines.iter().map(|b| b.operating_system.as_str()).collect();
    assert_eq!(systems, BTreeSet::from(["AMAZON_LINUX_2", "WINDOWS"]), "one for each system");
    assert_eq!((group.patch_group.as_str(), group.instance_count), ("web", 2));
    assert_ne!(group.etag, attached.etag, "the etag follows the baselines");
    let request = GetBaselineRequest { name: format!("{PARENT}/baselines/{AMAZON_LINUX_2}") };
    let baseline = world.client.get_baseline(request).await.unwrap().baseline.unwrap();
    assert_eq!(baseline.patch_groups, [group_name("web")]);
    for id in nodes {
        assert_eq!(readiness(&world, &id).await.baseline, baseline.name);
    }
}

#[tokio::test]
async fn another_baseline_of_the_same_system_takes_its_place_only_when_asked_to() {
    let world = World::start().await;
    world.attach("win", WINDOWS).await;
    let windows = baselines(&world, "WINDOWS", Owner::Aws).await;
    let other = windows.iter().find(|b| b.display_name == "AWS-WindowsPredefinedPatchBaseline-OS").unwrap();
    let request = AttachBaselineRequest { name: group_name("win"), baseline: other.name.clone(), ..Default::default() };

    let before = world.fingerprint();
    let refused = world.client.patch_groups().attach_baseline(request.clone()).await.unwrap_err();
    let (code, reason, _) = refusal(&refused);
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "OTHER_BASELINE_ATTACHED"));
    assert!(refused.message().contains(WINDOWS), "{refused:?} names the one in its place");
    assert_eq!(world.fingerprint(), before);

    let request = AttachBaselineRequest { replace: true, ..request };
    let group = world.client.attach_baseline(request).await.unwrap().patch_group.unwrap();
    let names: Vec<_> = group.baselines.iter().map(|b| b.baseline.as_str()).collect();
    assert_eq!(names, [other.name.as_str()]);
}

// === 4. Put instances into the group ===

#[tokio::test]
async fn instances_get_the_key_that_their_metadata_options_allow() {
    let world = World::start().await;
    let fleet = world.account();
    let (plain, metadata) = (one(fleet.add_nodes(1)), one(fleet.add_nodes(1).metadata_tags()));
    let (member, gone) = (one(fleet.add_nodes(1).in_group("web")), "i-0123456789abcdef0".to_owned());
    let request = AddInstancesRequest {
        name: group_name("web"),
        instance_ids: vec![plain.clone(), metadata.clone(), member.clone(), gone.clone()],
        ..AddInstancesRequest::default()
    };
    let added = world.client.add_instances(request).await.unwrap();
    let order: Vec<_> = added.results.iter().map(|result| result.instance_id.as_str()).collect();
    assert_eq!(order, [&plain, &metadata, &member, &gone], "in the order of the request");
    let results = results(added.results);
    assert_eq!(results[&plain], result(Outcome::Added, "Patch Group", ""));
    assert_eq!(results[&metadata], result(Outcome::Added, "PatchGroup", ""));
    assert_eq!(results[&member], result(Outcome::Unchanged, "Patch Group", ""));
    assert_eq!(results[&gone], result(Outcome::Refused, "", "NOT_FOUND"));
    assert_eq!(added.patch_group.unwrap().instance_count, 3);
    assert_eq!(fleet.tags(&plain)["Patch Group"], "web");
    assert_eq!(fleet.tags(&metadata)["PatchGroup"], "web");
    assert!(!fleet.tags(&metadata).contains_key("Patch Group"));
}

#[tokio::test]
async fn an_instance_is_moved_only_when_asked_to_and_removed_from_its_own_group_alone() {
    let world = World::start().await;
    let id = one(world.account().add_nodes(1).in_group("db"));
    let ids = vec![id.clone()];
    let add =
        AddInstancesRequest { name: group_name("web"), instance_ids: ids.clone(), ..AddInstancesRequest::default() };
    let answer = world.client.add_instances(add.clone()).await.unwrap();
    assert_eq!(results(answer.results)[&id], result(Outcome::Refused, "", "IN_OTHER_GROUP"));
    assert_eq!(world.account().tags(&id)["Patch Group"], "db");

    let answer = world.client.add_instances(AddInstancesRequest { allow_move: true, ..add }).await.unwrap();
    assert_eq!(results(answer.results)[&id], result(Outcome::Moved, "Patch Group", ""));
    assert_eq!(world.account().tags(&id)["Patch Group"], "web");

    let remove = |group: &str| {
        let name = group_name(group);
        RemoveInstancesRequest { name, instance_ids: ids.clone(), ..RemoveInstancesRequest::default() }
    };
    let answer = world.client.remove_instances(remove("db")).await.unwrap();
    assert_eq!(results(answer.results)[&id], result(Outcome::Refused, "", "NOT_IN_GROUP"));
    let answer = world.client.remove_instances(remove("web")).await.unwrap();
    assert_eq!(results(answer.results)[&id], result(Outcome::Removed, "Patch Group", ""));
    assert!(!world.account().tags(&id).contains_key("Patch Group"));
    let answer = world.client.remove_instances(remove("web")).await.unwrap();
    assert_eq!(results(answer.results)[&id], result(Outcome::Unchanged, "", ""));
}

// === 5. Scan ===

#[tokio::test]
async fn a_scan_looks_at_every_node_once_and_changes_none() {
    let world = World::start().await;
    let fleet = world.account();
    let mut nodes = fleet.add_nodes(3).in_group("web").missing_patches(2).create();
    let windows = one(fleet.add_nodes(1).windows_2019().in_group("web").missing_patches(1));
    nodes.push(windows.clone());
    let operation = world.run(scan("web")).await;
    assert_eq!(operation.state(), State::Succeeded, "{}", operation.explanation);
    assert_eq!(operation.counts.as_ref().unwrap().succeeded, 4);
    assert!(operation.end_time.is_some() && !operation.explanation.is_empty());
    let targets = world.targets(&operation.name).await;
    assert_eq!(targets.len(), nodes.len());
    for target in &targets {
        let id = &target.instance_id;
        assert_eq!(target.state(), TargetState::Succeeded, "{}", target.explanation);
        assert!(operation.command_ids.contains(&target.command_id));
        // S 7.1.3: three steps, of which only the platform's own does something.
        let own = if *id == windows { "PatchWindows" } else { "PatchLinux" };
        let steps: Vec<_> = target.steps.iter().map(|step| (step.step.as_str(), step.state())).collect();
        let state = |step| if step == own { StepState::Succeeded } else { StepState::Skipped };
        assert_eq!(steps, ["PatchWindows", "PatchLinux", "PatchMacOS"].map(|step| (step, state(step))));
        let counts = target.after.as_ref().unwrap().counts.as_ref().unwrap();
        assert_eq!(usize::try_from(counts.missing).unwrap(), fleet.missing(id));
        assert_eq!((fleet.scans(id), fleet.installs(id), fleet.reboots(id)), (1, 0, 0));
        assert_eq!(fleet.missing(id), if *id == windows { 1 } else { 2 });
    }
}

#[tokio::test]
async fn what_a_step_printed_can_be_read() {
    let world = World::start().await;
    let id = one(world.account().add_nodes(1).in_group("web").missing_patches(2));
    let name = world.create(scan("web")).await.name;
    let step = GetStepOutputRequest { name: format!("{name}/targets/{id}/steps/PatchLinux") };
    let early = world.client.patch_operations().get_step_output(step.clone()).await.unwrap_err();
    assert_eq!(early.code(), Code::NotFound, "before AWS shows a step there is none: {early:?}");
    let operation = world.finish(&name).await;
    let read = world.client.get_step_output(step).await.unwrap();
    assert_eq!(read.step.unwrap().state(), StepState::Succeeded);
    let snapshot = format!("Running with snapshot id = {} and operation = Scan", operation.snapshot_id);
    assert!(read.stdout.contains(&snapshot), "{}", read.stdout);
    assert_eq!((read.stdout_truncated, read.stderr.as_str()), (false, ""));
}

// === 6. The report ===

#[tokio::test]
async fn the_report_lists_what_each_node_lacks_and_sums_it_up() {
    let world = World::start().await;
    let fleet = world.account();
    let mut nodes = fleet.add_nodes(2).in_group("web").missing_patches(3).create();
    nodes.push(one(fleet.add_nodes(1).in_group("web")));
    fleet.add_nodes(1).in_group("web").unmanaged().create();
    let summarise = async || {
        let request = GetComplianceSummaryRequest {
            parent: PARENT.to_owned(),
            patch_group: "web".to_owned(),
            ..GetComplianceSummaryRequest::default()
        };
        world.client.get_compliance_summary(request).await.unwrap().summary.unwrap()
    };
    let before = summarise().await;
    assert_eq!((before.instance_count, before.unreported_count, before.unmanaged_count), (3, 3, 1));
    assert_eq!((before.compliant_count, before.non_compliant_count), (0, 0), "nothing is known yet");
    for id in &nodes {
        assert_eq!(patches(&world, id, "").await, []);
    }

    world.run(scan("web")).await;
    for id in &nodes {
        let all = patches(&world, id, "").await;
        let missing = patches(&world, id, "Missing").await;
        assert_eq!(missing.len(), fleet.missing(id), "{id}");
        assert!(missing.iter().all(|patch| all.contains(patch) && patch.state == "Missing"));
        for patch in &missing {
            // S 4.2: only these are approved; S 8.1.3: the title begins with `name.arch`.
            assert!(["Security", "Bugfix"].contains(&patch.classification.as_str()), "{patch:?}");
            assert!(patch.title.starts_with(&format!("{}:", patch.kb_id)), "{patch:?}");
            assert_eq!(patch.installed_time, None);
        }
        let states: BTreeSet<_> = all.iter().map(|patch| patch.state.as_str()).collect();
        assert!(states.contains("Installed") && states.contains("InstalledOther"), "{states:?}");
    }
    let after = summarise().await;
    assert_eq!((after.instance_count, after.unreported_count, after.unmanaged_count), (3, 0, 1));
    assert_eq!((after.compliant_count, after.non_compliant_count, after.with_missing_count), (1, 2, 2));
    assert_eq!((after.patches.unwrap().missing, after.with_failed_count), (6, 0));
    assert!(after.oldest_report_time.is_some());
}
