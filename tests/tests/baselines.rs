//! Baselines of one's own: previewed before they are made, followed by instances once attached, refused where they would
//! surprise.
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use futures::TryStreamExt as _;
use patchplane_client::api::{
    ApprovalRule, Baseline, CreateBaselineRequest, DeleteBaselineRequest, GetBaselineRequest, GetInstanceRequest,
    InstancePatch, ListAvailablePatchesRequest, ListDefaultBaselinesRequest, ListInstancePatchesRequest,
    ListPatchPropertiesRequest, PatchFilter, PatchOperation, PreviewBaselineRequest, PreviewBaselineResponse,
    PreviewedPatch, SetDefaultBaselineRequest, TargetSelection, UpdateBaselineRequest,
    approval_rule::Approval,
    patch_operation::{Kind, State as OperationState},
    preview_baseline_request::Subject,
    previewed_patch::{Basis, State},
};
use patchplane_rules::OperatingSystem;
use patchplane_server::config::AdvisoryFeed;
use patchplane_tests::{PARENT, World, baseline, refusal, request, scan};
use prost_types::Timestamp;
use std::collections::BTreeSet;
use tonic::Code;
use tonic_types::StatusExt as _;

/// Of AWS's own in us-east-1 (S 4.2).
const AMAZON_LINUX_2: &str = "accounts/111122223333/regions/us-east-1/baselines/pb-0be8c61cde3be63f3";
const AMAZON_LINUX_2023: &str = "accounts/111122223333/regions/us-east-1/baselines/pb-05c9c9bf778d4c4d0";
const WINDOWS: &str = "accounts/111122223333/regions/us-east-1/baselines/pb-09ca3fb51f0412ec3";

fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap()
}

fn at(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().unwrap();
    Some(Timestamp { seconds: at.as_second(), nanos: 0 })
}

fn filter(key: &str, values: &[&str]) -> PatchFilter {
    PatchFilter { key: key.to_owned(), values: values.iter().map(|&value| value.to_owned()).collect() }
}

async fn preview(world: &World, subject: Subject, more: PreviewBaselineRequest) -> PreviewBaselineResponse {
    let request =
        PreviewBaselineRequest { parent: PARENT.to_owned(), subject: Some(subject), max_patches: 1000, ..more };
    world.client.preview_baseline(request).await.unwrap()
}

fn existing(name: &str) -> Subject {
    Subject::Baseline(name.to_owned())
}

fn of<'a>(preview: &'a PreviewBaselineResponse, kb_id: &str) -> Vec<&'a PreviewedPatch> {
    preview.patches.iter().filter(|row| row.patch.as_ref().unwrap().kb_id == kb_id).collect()
}

async fn missing(world: &World, instance: &str) -> Vec<InstancePatch> {
    let parent = format!("{PARENT}/instances/{instance}");
    let request = ListInstancePatchesRequest { parent, state: "Missing".to_owned(), ..Default::default() };
    world.client.list_instance_patches(request).try_collect().await.unwrap()
}

fn titles(patches: &[InstancePatch]) -> BTreeSet<String> {
    patches.iter().map(|patch| patch.title.clone()).collect()
}

async fn delete(world: &World, name: &str) -> Result<(), tonic::Status> {
    let request = DeleteBaselineRequest { name: name.to_owned(), ..Default::default() };
    world.client.baselines().delete_baseline(request).await.map(|_| ())
}

async fn set_default(world: &World, os: &str, baseline: &str) {
    let name = format!("{PARENT}/defaultBaselines/{os}");
    let request = SetDefaultBaselineRequest { name, baseline: baseline.to_owned(), ..Default::default() };
    world.client.set_default_baseline(request).await.unwrap();
}

/// Step 2 of the walk: a clone of AWS's baseline with no Bugfix, and only Critical after a day.
#[tokio::test]
async fn a_clone_does_what_its_preview_said() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(3).in_group("web").missing_patches(6).create();
    world.run(scan("web")).await;
    let mut before = Vec::new();
    for node in &nodes {
        before.push(missing(&world, node).await);
    }
    assert!(before.iter().flatten().any(|patch| patch.classification == "Bugfix"), "{before:?}");

    let changed = baseline("critical-after-a-day", &["Critical"], 1);
    let more = PreviewBaselineRequest { patch_group: "web".to_owned(), ..Default::default() };
    let seen = preview(&world, Subject::Draft(changed.clone()), more).await;
    assert!(seen.patches.iter().all(|row| row.basis() == Basis::Catalogue), "S 4.8.1: Amazon Linux 2 has a catalogue");
    assert!(seen.limits.iter().any(|limit| limit.contains("no release dates")), "S 4.8.3: {:?}", seen.limits);
    let counts = seen.counts.unwrap();
    assert_eq!(
        (counts.approved, counts.pending),
        (0, 0),
        "without dates nothing can be told to be approved after a day"
    );
    assert!(counts.undated > 0 && counts.never > 0, "{counts:?}");
    let impact = seen.impact.unwrap();
    assert_eq!((impact.instances_examined, impact.current_baseline.as_str()), (3, AMAZON_LINUX_2));

    let request = CreateBaselineRequest {
        parent: PARENT.to_owned(),
        baseline: Some(Baseline { operating_system: String::new(), ..changed }),
        clone_from: AMAZON_LINUX_2.to_owned(),
        ..Default::default()
    };
    let created = world.client.create_baseline(request).await.unwrap();
    let made = created.baseline.unwrap();
    assert_eq!((made.operating_system.as_str(), made.approval_rules.len()), ("AMAZON_LINUX_2", 1));
    assert!(!made.default && made.patch_groups.is_empty());
    world.attach("web", id(&made.name)).await;
    world.run(scan("web")).await;

    for (node, before) in nodes.iter().zip(before) {
        let after = missing(&world, node).await;
        assert!(after.iter().all(|patch| patch.severity == "Critical"), "{after:?}");
        let critical = before.iter().filter(|patch| patch.classification == "Security" && patch.severity == "Critical");
        assert_eq!(titles(&after), titles(&critical.cloned().collect::<Vec<_>>()), "{node}");
        // What the preview said would go has gone, and nothing else.
        let told = impact.instances.iter().find(|told| id(&told.instance) == node);
        let gone: BTreeSet<_> = titles(&before).difference(&titles(&after)).cloned().collect();
        let said: BTreeSet<_> = told.into_iter().flat_map(|told| told.no_longer_missing.clone()).collect();
        assert_eq!(said, gone, "{node}");
    }
}

#[tokio::test]
async fn a_draft_that_approves_more_tells_what_instances_would_lack() {
    let world = World::start().await;
    let own = world.own_baseline("critical", &["Critical"]).await;
    world.attach("web", id(&own.name)).await;
    let nodes = world.account().add_nodes(1).in_group("web").missing_patches(6).create();
    world.run(scan("web")).await;
    let before = titles(&missing(&world, &nodes[0]).await);

    let wider = Baseline {
        approval_rules: vec![ApprovalRule {
            filters: vec![filter("PRODUCT", &["*"])],
            approval: Some(Approval::ApproveAfterDays(0)),
            ..Default::default()
        }],
        ..baseline("wider", &[], 0)
    };
    let more = PreviewBaselineRequest { patch_group: "web".to_owned(), ..Default::default() };
    let impact = preview(&world, Subject::Draft(wider.clone()), more).await.impact.unwrap();
    let request = CreateBaselineRequest { parent: PARENT.to_owned(), baseline: Some(wider), ..Default::default() };
    let wider = world.client.create_baseline(request).await.unwrap().baseline.unwrap();
    let update = UpdateBaselineRequest {
        baseline: Some(Baseline { name: own.name.clone(), approval_rules: wider.approval_rules, ..Default::default() }),
        ..Default::default()
    };
    let updated = world.client.update_baseline(update).await.unwrap();
    assert_eq!(updated.plan.unwrap().target_count, 1, "the group's instance follows");
    world.run(scan("web")).await;
    let after = titles(&missing(&world, &nodes[0]).await);
    assert!(after.len() > before.len());
    let said: BTreeSet<_> = impact.instances.iter().flat_map(|told| told.newly_missing.clone()).collect();
    assert_eq!(said, after.difference(&before).cloned().collect());
}

#[tokio::test]
async fn a_baseline_in_use_is_not_deleted() {
    let world = World::start().await;
    let own = world.own_baseline("mine", &["Critical"]).await;
    world.attach("web", id(&own.name)).await;
    world.attach("db", id(&own.name)).await;
    let refused = delete(&world, &own.name).await.unwrap_err();
    assert_eq!(refusal(&refused).1, "BASELINE_IN_USE");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("`web`") && refused.message().contains("`db`"), "{refused:?}");

    let other = world.own_baseline("other", &["Critical"]).await;
    set_default(&world, "AMAZON_LINUX_2", &other.name).await;
    let refused = delete(&world, &other.name).await.unwrap_err();
    assert_eq!(refusal(&refused).1, "BASELINE_IN_USE");
    assert!(refused.message().contains("default"), "{refused:?}");
    set_default(&world, "AMAZON_LINUX_2", AMAZON_LINUX_2).await;
    delete(&world, &other.name).await.unwrap();
    let request = GetBaselineRequest { name: other.name };
    let gone = world.client.baselines().get_baseline(request).await.unwrap_err();
    assert_eq!(refusal(&gone).1, "BASELINE_NOT_FOUND");

    for refused in [delete(&world, AMAZON_LINUX_2).await.unwrap_err(), {
        let baseline = Baseline { name: AMAZON_LINUX_2.to_owned(), description: "x".to_owned(), ..Default::default() };
        let request = UpdateBaselineRequest { baseline: Some(baseline), ..Default::default() };
        world.client.baselines().update_baseline(request).await.unwrap_err()
    }] {
        assert_eq!((refused.code(), refusal(&refused).1.as_str()), (Code::FailedPrecondition, "BASELINE_NOT_YOURS"));
        assert!(refused.message().contains("clone it"), "{refused:?}");
    }
}

#[tokio::test]
async fn a_default_is_what_a_node_without_a_group_gets() {
    let world = World::start().await;
    let node = world.account().add_nodes(1).missing_patches(4).create().remove(0);
    let scan = || {
        let targets = TargetSelection { instance_ids: vec![node.clone()], ..Default::default() };
        request(PatchOperation { kind: Kind::Scan.into(), targets: Some(targets), ..Default::default() })
    };
    let used = async || {
        assert_eq!(world.run(scan()).await.state(), OperationState::Succeeded);
        let request = GetInstanceRequest { name: format!("{PARENT}/instances/{node}") };
        let instance = world.client.get_instance(request).await.unwrap().instance.unwrap();
        (instance.patch_state.unwrap().baseline_id, missing(&world, &node).await.len())
    };
    assert_eq!(used().await, (id(AMAZON_LINUX_2).to_owned(), 4));
    let strict = world.own_baseline("nothing-low", &["Low"]).await;
    set_default(&world, "AMAZON_LINUX_2", &strict.name).await;
    let (baseline, lacking) = used().await;
    assert_eq!(baseline, id(&strict.name));
    assert!(lacking < 4);

    let request = ListDefaultBaselinesRequest { parent: PARENT.to_owned(), ..Default::default() };
    let defaults =
        world.client.baselines().list_default_baselines(request).await.unwrap().into_inner().default_baselines;
    assert_eq!(defaults.len(), OperatingSystem::known().count(), "S 4.6.12: one for each system");
    let own: Vec<_> = defaults.iter().filter(|default| default.baseline == strict.name).collect();
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].operating_system, "AMAZON_LINUX_2");
}

#[tokio::test]
async fn a_windows_baseline_is_evaluated_by_aws_replaced_updates_gone() {
    let world = World::start().await;
    let now = preview(&world, existing(WINDOWS), PreviewBaselineRequest::default()).await;
    assert!(now.patches.iter().all(|row| row.basis() == Basis::AwsEffective), "S 4.8.4");
    assert!(now.limits.iter().any(|limit| limit.starts_with("AWS lists the updates")), "{:?}", now.limits);
    // Synthetic: of November, it replaces that of October (S 4.4.6).
    assert_eq!(of(&now, "KB9900001").len(), 0);
    let [row] = of(&now, "KB9900002")[..] else { panic!("{now:?}") };
    assert_eq!((row.state(), row.decided_by.as_str()), (State::Approved, "approval_rules[0]"));
    // Released on 2025-11-11T18:00:00Z, approved seven days later (S 4.2, 4.4.2).
    let more = PreviewBaselineRequest { at: at("2025-11-18T17:59:59Z"), ..Default::default() };
    let earlier = preview(&world, existing(WINDOWS), more).await;
    let [row] = of(&earlier, "KB9900002")[..] else { panic!("{earlier:?}") };
    assert_eq!((row.state(), row.approve_time), (State::Pending, at("2025-11-18T18:00:00Z")));

    let twin = CreateBaselineRequest {
        parent: PARENT.to_owned(),
        baseline: Some(Baseline {
            display_name: "without-november".to_owned(),
            rejected_patches: vec!["KB9900002".to_owned()],
            ..Default::default()
        }),
        clone_from: WINDOWS.to_owned(),
        ..Default::default()
    };
    let twin = world.client.create_baseline(twin).await.unwrap().baseline.unwrap();
    let more = PreviewBaselineRequest { compare_to: WINDOWS.to_owned(), differences_only: true, ..Default::default() };
    let compared = preview(&world, existing(&twin.name), more).await;
    let rows: Vec<_> = compared.patches.iter().map(|row| (row.state(), row.compared_state(), row.differs)).collect();
    assert_eq!(rows, [(State::Rejected, State::Approved, true)]);
    assert_eq!(compared.difference_count, 1);
    assert_eq!(compared.compared_counts.unwrap().approved, now.counts.unwrap().approved);
}

#[tokio::test]
async fn a_draft_for_windows_is_previewed_by_date_from_the_catalogue() {
    let world = World::start().await;
    let draft = || {
        let rule = ApprovalRule {
            filters: vec![filter("CLASSIFICATION", &["SecurityUpdates"]), filter("PRODUCT", &["WindowsServer2022"])],
            approval: Some(Approval::ApproveAfterDays(10)),
            ..Default::default()
        };
        Subject::Draft(Baseline {
            display_name: "ten-days".to_owned(),
            operating_system: "WINDOWS".to_owned(),
            approval_rules: vec![rule],
            ..Default::default()
        })
    };
    // Released on 2025-11-11T18:00:00Z.
    for (moment, state) in [("2025-11-21T17:59:59Z", State::Pending), ("2025-11-21T18:00:00Z", State::Approved)] {
        let seen = preview(&world, draft(), PreviewBaselineRequest { at: at(moment), ..Default::default() }).await;
        let [row] = of(&seen, "KB9900002")[..] else { panic!("{seen:?}") };
        assert_eq!((row.state(), row.basis()), (state, Basis::Catalogue), "{moment}");
        assert!(seen.limits.iter().any(|limit| limit == "Only patches of WindowsServer2022 were looked at."));
    }
    // Against AWS's own, patch by patch.
    let more = PreviewBaselineRequest {
        compare_to: WINDOWS.to_owned(),
        at: at("2025-11-20T00:00:00Z"),
        products: vec!["WindowsServer2022".to_owned()],
        ..Default::default()
    };
    let seen = preview(&world, draft(), more).await;
    let [row] = of(&seen, "KB9900002")[..] else { panic!("{seen:?}") };
    assert_eq!((row.state(), row.compared_state(), row.differs), (State::Pending, State::Approved, true));
}

#[tokio::test]
async fn systems_without_a_catalogue_are_previewed_by_what_their_instances_reported() {
    let world = World::start().await;
    let nodes = world.account().add_nodes(2).amazon_linux_2023().in_group("api").missing_patches(2).create();
    world.run(scan("api")).await;
    let seen = preview(&world, existing(AMAZON_LINUX_2023), PreviewBaselineRequest::default()).await;
    assert!(!seen.patches.is_empty());
    assert!(seen.patches.iter().all(|row| row.basis() == Basis::Fleet), "S 4.8.1");
    assert!(seen.limits.iter().any(|limit| limit.contains("2 of 2 instances reported")), "{:?}", seen.limits);
    for patch in missing(&world, &nodes[0]).await {
        let row = seen.patches.iter().find(|row| row.patch.as_ref().unwrap().title == patch.title).unwrap();
        assert_eq!(row.state(), State::Undated, "approved after seven days, of a date that nobody tells: {row:?}");
    }
}

/// In the form of Amazon Linux's repositories, with a reserved id.
const UPDATEINFO: &str = r#"<updates><update type="security"><id>ALAS2023-2099-900</id>
  <issued date="2025-11-01 00:00"/><updated date="2025-11-20 12:00:00"/><severity>important</severity>
  <pkglist><collection><package name="curl" epoch="0" version="99" release="1.amzn2023" arch="x86_64"/></collection></pkglist>
</update></updates>"#;

#[tokio::test]
async fn an_advisory_file_gives_dates_where_aws_gives_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("updateinfo.xml");
    std::fs::write(&file, UPDATEINFO).unwrap();
    let operating_system = OperatingSystem::parse("AMAZON_LINUX_2023").unwrap();
    let feed = |name: &str| AdvisoryFeed {
        operating_system: operating_system.clone(),
        product: String::new(),
        file: folder.path().join(name),
    };
    let world = World::with_feeds(vec![feed("updateinfo.xml"), feed("absent.json")]).await;
    // Seven days after the notice was updated (S 4.2, 4.4.5).
    for (moment, state) in [("2025-11-27T11:59:59Z", State::Pending), ("2025-11-27T12:00:00Z", State::Approved)] {
        let more = PreviewBaselineRequest { at: at(moment), ..Default::default() };
        let seen = preview(&world, existing(AMAZON_LINUX_2023), more).await;
        let [row] = &seen.patches[..] else { panic!("{seen:?}") };
        assert_eq!((row.state(), row.basis()), (state, Basis::AdvisoryFeed), "{moment}");
        assert!(seen.limits.iter().any(|limit| limit.contains("updateinfo.xml, the latest of 2025-11-20")), "{seen:?}");
        assert!(seen.limits.iter().any(|limit| limit.contains("absent.json cannot be used")), "{seen:?}");
        assert!(!seen.limits.iter().any(|limit| limit.contains(&folder.path().display().to_string())));
    }
}

#[tokio::test]
async fn what_is_refused_names_the_field_and_the_right_word() {
    let world = World::start().await;
    type Case = (fn(&mut Baseline), &'static str, &'static str);
    let cases: [Case; 6] = [
        (|b| b.display_name.clear(), "baseline.display_name", "is required"),
        (|b| b.operating_system.clear(), "baseline.operating_system", "AMAZON_LINUX_2"),
        (
            |b| b.approval_rules[0].filters[1].values[0] = "Critcal".to_owned(),
            "baseline.approval_rules[0].filters[1].values[0]",
            "did you mean Critical?",
        ),
        (
            |b| b.approval_rules[0].filters[0].key = "MSRC_SEVERITY".to_owned(),
            "baseline.approval_rules[0].filters[0].key",
            "did you mean SEVERITY?",
        ),
        (|b| b.approval_rules[0].approval = None, "baseline.approval_rules[0].approval", "approve_after_days"),
        (
            |b| b.approval_rules[0].approval = Some(Approval::ApproveAfterDays(-1)),
            "baseline.approval_rules[0].approve_after_days",
            "0 to 360",
        ),
    ];
    for (change, field, hint) in cases {
        let mut wrong = baseline("mine", &["Critical"], 7);
        change(&mut wrong);
        let before = world.fingerprint();
        let request = CreateBaselineRequest { parent: PARENT.to_owned(), baseline: Some(wrong), ..Default::default() };
        let refused = world.client.baselines().create_baseline(request).await.unwrap_err();
        assert_eq!(refusal(&refused), (Code::InvalidArgument, "INVALID_ARGUMENT".to_owned(), vec![field.to_owned()]));
        let violation = refused.get_error_details().bad_request().unwrap().field_violations[0].description.clone();
        assert!(violation.contains(hint), "{violation}");
        assert_eq!(world.fingerprint(), before);
    }
}

#[tokio::test]
async fn a_plan_warns_of_what_hardly_can_be_meant_and_hides_secrets() {
    let world = World::start().await;
    let plan = async |baseline: Baseline| {
        let (parent, baseline) = (PARENT.to_owned(), Some(baseline));
        let request = CreateBaselineRequest { parent, baseline, validate_only: true, ..Default::default() };
        world.client.create_baseline(request).await.unwrap()
    };
    let nothing = plan(Baseline { approval_rules: vec![], ..baseline("nothing", &[], 0) }).await;
    let codes = |plan: &patchplane_client::api::Plan| plan.notices.iter().map(|n| n.code.clone()).collect::<Vec<_>>();
    assert_eq!(codes(nothing.plan.as_ref().unwrap()), ["APPROVES_NOTHING"]);
    assert_eq!(nothing.baseline.unwrap().name, "", "it is only planned");
    let source = patchplane_client::api::PatchSource {
        name: "main".to_owned(),
        products: vec!["AmazonLinux2".to_owned()],
        configuration: "password=hunter2".to_owned(),
    };
    let sourced = plan(Baseline { sources: vec![source], ..baseline("sourced", &["Critical"], 1) }).await.plan.unwrap();
    assert_eq!(codes(&sourced), ["SOURCES_REPLACE_REPOSITORIES"]);
    assert!(!format!("{sourced:?}").contains("hunter2"));
}

#[tokio::test]
async fn the_catalogue_and_its_words_are_listed_page_by_page() {
    let world = World::start().await;
    let request = ListPatchPropertiesRequest {
        parent: PARENT.to_owned(),
        operating_system: "AMAZON_LINUX".to_owned(),
        property: "PRODUCT".to_owned(),
        page_size: 5,
        ..Default::default()
    };
    let products: Vec<String> = world.client.list_patch_properties(request).try_collect().await.unwrap();
    assert!(products.len() > 5 && products.contains(&"AmazonLinux2018.03".to_owned()), "S 4.8.5: {products:?}");
    let request = ListAvailablePatchesRequest {
        parent: PARENT.to_owned(),
        operating_system: "AMAZON_LINUX_2".to_owned(),
        filters: vec![filter("PRODUCT", &["AmazonLinux2"]), filter("SEVERITY", &["Critical"])],
        page_size: 2,
        ..Default::default()
    };
    let patches: Vec<_> = world.client.list_available_patches(request).try_collect().await.unwrap();
    assert!(patches.len() > 2);
    assert!(patches.iter().all(|patch| patch.severity == "Critical" && patch.release_time.is_none()), "S 4.8.3");
    for (os, filters, field) in [
        ("AMAZON_LINUX_2023", vec![], "operating_system"),
        ("AMAZON_LINUX_2", vec![], "filters"),
        ("WINDOWS", vec![filter("SEVERITY", &["Critical"])], "filters[0].key"),
        ("WINDOWS", vec![filter("PRODUCT", &[])], "filters[0].values"),
    ] {
        let (parent, operating_system) = (PARENT.to_owned(), os.to_owned());
        let request = ListAvailablePatchesRequest { parent, operating_system, filters, ..Default::default() };
        let refused = world.client.baselines().list_available_patches(request).await.unwrap_err();
        assert_eq!(refusal(&refused).2, [field], "{refused:?}");
    }
}
