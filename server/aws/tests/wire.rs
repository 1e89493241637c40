//! Every call of this crate against the simulated account: requests that AWS's models admit, answers that are understood.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use jiff::Timestamp;
use patchplane_aws::{
    Access, Action, Aws, Clock, Credentials, ErrorKind, InvocationStatus, NodeFilter, Page, PatchCommand, SendFailure,
    SharedAsyncSleep, SharedTimeSource, VmFilter,
};
use patchplane_rules::{
    ApprovalDate, ApprovalRule, BaselineDraft, BaselineOwner, BaselineSpec, InstanceId, Location, OperatingSystem,
    PatchFilter, PatchGroupName, PatchSource, PatchState, PingStatus, PowerState,
};
use patchplane_sim::{Fault, FaultKind, SimClock, SimLocation, Simulation};
use std::{collections::BTreeSet, time::Duration};

const ACCOUNT: &str = "111122223333";
const REGION: &str = "us-east-1";
const SNAPSHOT: &str = "00000000-0000-4000-8000-000000000001";

/// An account whose clock runs with Tokio's, which stands still but for sleepers.
struct Stage {
    simulation: Simulation,
    clock: Clock,
    aws: Aws,
}

impl Stage {
    async fn new() -> Self {
        let sim_clock = SimClock::scaled("2025-11-24T00:00:00Z".parse().unwrap(), 1.0);
        let clock = Clock::new(SharedTimeSource::new(sim_clock.clone()), SharedAsyncSleep::new(sim_clock.clone()));
        let simulation = Simulation::new(sim_clock, 7);
        let access = Access { clock: clock.clone(), http: Some(simulation.http_client()), endpoint_url: None };
        let keys = Credentials::Static {
            access_key_id: Simulation::access_key(ACCOUNT),
            secret_access_key: "secret".to_owned(),
        };
        let aws = Aws::connect(&access, Location::new(ACCOUNT, REGION).unwrap(), &keys).await.unwrap();
        Self { simulation, clock, aws }
    }

    fn location(&self) -> SimLocation {
        self.simulation.at(ACCOUNT, REGION)
    }

    fn fault(&self, operation: &str, times: u32, kind: FaultKind) {
        let operation = Some(operation.to_owned());
        self.simulation.inject(Fault { location: None, operation, skip: 0, times, kind });
    }

    fn scan(&self, ids: &[InstanceId]) -> PatchCommand {
        PatchCommand {
            instance_ids: ids.to_vec(),
            action: Action::Patch { operation: "Scan", reboot_option: None },
            snapshot_id: SNAPSHOT.to_owned(),
            comment: "marker".to_owned(),
            timeout_s: 600,
            signed_at: self.clock.now(),
        }
    }

    /// Sends a scan and waits until it is over on each node.
    async fn scanned(&self, ids: &[InstanceId]) -> String {
        let sent = self.aws.send_patch_command(&self.scan(ids)).await.unwrap();
        for _ in 0..600 {
            self.clock.sleep(Duration::from_secs(5)).await;
            let found = self.aws.invocations(&sent.command_id).await.unwrap();
            if found.len() == ids.len() && found.iter().all(|invocation| invocation.status.is_terminal()) {
                return sent.command_id;
            }
        }
        panic!("the scan does not end");
    }
}

fn ids(created: Vec<String>) -> Vec<InstanceId> {
    created.iter().map(|id| id.parse().unwrap()).collect()
}

fn os(text: &str) -> OperatingSystem {
    OperatingSystem::observed(text)
}

fn first(size: u32) -> Page {
    Page { size, token: None }
}

fn web() -> PatchGroupName {
    "web".parse().unwrap()
}

fn set(ids: impl IntoIterator<Item = InstanceId>) -> BTreeSet<InstanceId> {
    ids.into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn baselines_are_listed_whole_and_one_is_read_by_the_id_that_aws_lists() {
    let aws = Stage::new().await.aws;
    let all = aws.baselines().await.unwrap();
    let known: BTreeSet<_> = all.iter().map(|row| row.operating_system.clone()).collect();
    assert_eq!(known, OperatingSystem::known().collect(), "S 4.2");
    let row = all.iter().find(|row| row.name == "AWS-AmazonLinux2DefaultPatchBaseline").unwrap();
    assert_eq!((row.owner, row.default), (BaselineOwner::Aws, true));
    assert!(row.aws_id.starts_with("arn:aws:ssm:us-east-1:"), "{}", row.aws_id);
    assert_eq!(aws.default_baseline_id(&os("AMAZON_LINUX_2")).await.unwrap(), row.id);

    // S 4.2: Security with Critical or Important, all Bugfix, after seven days.
    let baseline = aws.baseline(&row.id).await.unwrap().unwrap();
    assert_eq!(baseline.summary, *row);
    assert!(!baseline.rules.is_empty());
    assert!(baseline.rules.iter().all(|rule| rule.approval == Some(ApprovalDate::AfterDays(7))), "{baseline:?}");
    assert_eq!(baseline.rejected_patches_action, "ALLOW_AS_DEPENDENCY");
    assert_eq!(aws.baseline(&"pb-00000000000000000".parse().unwrap()).await.unwrap(), None);

    let windows = aws.baselines_page(Some(&os("WINDOWS")), Some(BaselineOwner::Aws), first(2)).await.unwrap();
    assert_eq!(windows.items.len(), 2);
    let rest = Page { size: 2, token: windows.next };
    let rest = aws.baselines_page(Some(&os("WINDOWS")), Some(BaselineOwner::Aws), rest).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));
    assert_eq!(aws.baselines_page(None, Some(BaselineOwner::Account), first(100)).await.unwrap().items, []);
    let bad = Page { size: 2, token: Some("x".to_owned()) };
    let error = aws.baselines_page(None, None, bad).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::BadToken | ErrorKind::Invalid), "S 1.21: {error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_takes_one_baseline_for_each_system_and_falls_back_to_the_default() {
    let aws = Stage::new().await.aws;
    let all = aws.baselines().await.unwrap();
    let named = |name: &str| all.iter().find(|row| row.name == name).unwrap().clone();
    let (default, other) = (named("AWS-DefaultPatchBaseline"), named("AWS-WindowsPredefinedPatchBaseline-OS"));
    let windows = os("WINDOWS");
    assert_eq!(aws.baseline_for_group(&web(), &windows).await.unwrap(), default.id);
    aws.register_baseline(&web(), &other.aws_id).await.unwrap();
    assert_eq!(aws.baseline_for_group(&web(), &windows).await.unwrap(), other.id);
    let mappings = aws.group_mappings().await.unwrap();
    assert_eq!(mappings.iter().map(|row| (&row.group, &row.baseline)).collect::<Vec<_>>(), [(&web(), &other)]);
    assert_eq!(aws.baseline(&other.id).await.unwrap().unwrap().patch_groups, [web()]);
    let error = aws.register_baseline(&web(), &default.aws_id).await.unwrap_err();
    assert_eq!((error.kind, error.action), (ErrorKind::AlreadyExists, "ssm:RegisterPatchBaselineForPatchGroup"));
    assert!(error.request_id.is_some());
    aws.deregister_baseline(&web(), &other.aws_id).await.unwrap();
    assert_eq!(aws.group_mappings().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn instances_and_nodes_are_found_by_id_and_by_tag() {
    let Stage { simulation, aws, .. } = Stage::new().await;
    let account = simulation.at(ACCOUNT, REGION);
    let fleet = ids(account.add_nodes(60).named("web").in_group("web").create());
    let stopped = ids(account.add_nodes(1).in_group("db").stopped().create());
    let unmanaged = ids(account.add_nodes(1).unmanaged().metadata_tags().in_group("web").create());
    let offline = ids(account.add_nodes(1).windows_2019().offline().create());
    let everybody: Vec<_> = [&fleet, &stopped, &unmanaged, &offline].into_iter().flatten().cloned().collect();
    let stranger: InstanceId = "i-0000000000000dead".parse().unwrap();

    let vms = aws.vms(&VmFilter::All).await.unwrap();
    assert_eq!(set(vms.iter().map(|vm| vm.id.clone())), set(everybody.clone()));
    let vm = |id: &InstanceId| vms.iter().find(|vm| vm.id == *id).unwrap();
    assert_eq!((vm(&fleet[0]).state, vm(&stopped[0]).state), (PowerState::Running, PowerState::Stopped));
    assert_eq!(vm(&fleet[0]).tags["Patch Group"], "web");
    assert!(vm(&unmanaged[0]).metadata_tags && !vm(&fleet[0]).metadata_tags);
    assert!(vm(&fleet[0]).instance_profile_arn.is_some() && vm(&unmanaged[0]).instance_profile_arn.is_none());
    assert!(vm(&fleet[0]).launch_time.is_some_and(|at| at < "2025-11-24T00:00:00Z".parse::<Timestamp>().unwrap()));
    assert!(vm(&fleet[0]).private_ip.is_some() && !vm(&fleet[0]).image_id.is_empty());

    let by_id = VmFilter::Ids(everybody.iter().cloned().chain([stranger.clone()]).collect());
    assert_eq!(aws.vms(&by_id).await.unwrap().len(), everybody.len());
    let by_tag = VmFilter::Tag { key: "Patch Group".to_owned(), values: vec!["web".to_owned(), "db".to_owned()] };
    assert_eq!(aws.vms(&by_tag).await.unwrap().len(), 61);
    assert_eq!(aws.vms(&VmFilter::TagKey("PatchGroup".to_owned())).await.unwrap()[0].id, unmanaged[0]);
    let page = aws.vms_page(&VmFilter::All, first(5)).await.unwrap();
    assert_eq!((page.items.len(), page.next.is_some()), (5, true));

    let nodes = aws.nodes(&NodeFilter::All).await.unwrap();
    let registered = set(fleet.iter().chain(&offline).cloned());
    assert_eq!(set(nodes.iter().map(|node| node.id.clone())), registered, "S 10.1.1, 10.1.2");
    let node = |id: &InstanceId| nodes.iter().find(|node| node.id == *id).unwrap();
    assert_eq!((node(&fleet[0]).ping, node(&offline[0]).ping), (PingStatus::Online, PingStatus::ConnectionLost));
    assert_eq!(node(&fleet[0]).operating_system(), Some(os("AMAZON_LINUX_2")));
    assert_eq!(node(&offline[0]).operating_system(), Some(os("WINDOWS")));
    assert!(node(&fleet[0]).last_ping.is_some());
    let by_id = NodeFilter::Ids(everybody.into_iter().chain([stranger]).collect());
    assert_eq!(set(aws.nodes(&by_id).await.unwrap().into_iter().map(|node| node.id)), registered);
    let by_tag = NodeFilter::Tag { key: "Patch Group".to_owned(), value: "web".to_owned() };
    assert_eq!(aws.nodes(&by_tag).await.unwrap().len(), 60);
    assert_eq!(aws.nodes(&NodeFilter::Hybrid).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_set_overwritten_and_cleared_only_at_its_value() {
    let stage = Stage::new().await;
    let fleet = ids(stage.location().add_nodes(2).create());
    let tag = |id: &InstanceId| stage.location().tags(id.as_str()).get("Patch Group").cloned();
    stage.aws.set_tag(&fleet, "Patch Group", "web").await.unwrap();
    stage.aws.set_tag(&fleet[..1], "Patch Group", "db").await.unwrap();
    assert_eq!((tag(&fleet[0]).as_deref(), tag(&fleet[1]).as_deref()), (Some("db"), Some("web")));
    stage.aws.clear_tag(&fleet, "Patch Group", "web").await.unwrap();
    assert_eq!((tag(&fleet[0]).as_deref(), tag(&fleet[1])), (Some("db"), None));
    let stranger = "i-0000000000000dead".parse().unwrap();
    assert_eq!(stage.aws.set_tag(&[stranger], "a", "b").await.unwrap_err().kind, ErrorKind::NotFound);
    let hybrid = "mi-0000000000000dead".parse().unwrap();
    assert_eq!(stage.aws.hybrid_tags(&hybrid).await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_scan_is_followed_from_its_send_to_each_patch() {
    let stage = Stage::new().await;
    let Stage { aws, clock, .. } = &stage;
    let fleet = ids(stage.location().add_nodes(3).in_group("web").missing_patches(4).create());
    assert_eq!(aws.patch_summaries(&fleet).await.unwrap(), [], "never scanned: left out (S 8.2.7)");
    let began = clock.now();
    let command_id = stage.scanned(&fleet).await;

    let commands = aws.patch_commands_since(began - jiff::SignedDuration::from_mins(15)).await.unwrap();
    let [command] = commands.as_slice() else { panic!("{commands:?}") };
    assert_eq!((&command.command_id, command.comment.as_str()), (&command_id, "marker"));
    assert_eq!(command.snapshot_id, SNAPSHOT);
    assert_eq!(set(command.instance_ids.iter().cloned()), set(fleet.iter().cloned()));
    assert!(command.requested.is_some_and(|at| at >= began) && command.expires_after > command.requested);
    let later = clock.now() + jiff::SignedDuration::from_hours(1);
    assert_eq!(aws.patch_commands_since(later).await.unwrap(), []);

    let invocations = aws.invocations(&command_id).await.unwrap();
    assert_eq!(invocations.len(), 3);
    for invocation in &invocations {
        assert_eq!(invocation.status, InvocationStatus::Success);
        let steps: Vec<_> = invocation.steps.iter().map(|s| (s.name.as_str(), s.skipped_by_platform)).collect();
        assert_eq!(steps, [("PatchWindows", true), ("PatchLinux", false), ("PatchMacOS", true)], "S 7.1.3, 7.1.4");
        let step = &invocation.steps[1];
        assert!(step.started.is_some() && step.finished > step.started && step.response_code == 0, "{step:?}");
    }
    let output = aws.step_output(&command_id, &fleet[0], "PatchLinux").await.unwrap();
    assert_eq!((output.status.as_str(), output.response_code), ("Success", 0));
    assert!(!output.stdout.is_empty() && output.started.is_some() && output.elapsed_s.is_some_and(|s| s > 0.0));

    let summaries = aws.patch_summaries(&fleet).await.unwrap();
    assert_eq!(summaries.len(), 3);
    for summary in &summaries {
        assert_eq!((summary.operation.as_str(), summary.snapshot_id.as_str()), ("Scan", SNAPSHOT));
        assert_eq!((summary.patch_group.as_str(), summary.missing), ("web", 4));
        assert!(summary.operation_end > summary.operation_start && !summary.is_compliant());
        assert_eq!(summary.baseline_id, aws.default_baseline_id(&os("AMAZON_LINUX_2")).await.unwrap().as_str());
    }
    assert_eq!(aws.group_patch_summaries(&web()).await.unwrap().len(), 3);
    let state = aws.group_state(&web()).await.unwrap();
    assert_eq!((state.instances, state.with_missing, state.with_failed), (3, 3, 0));
    assert_eq!(aws.group_state(&"nobody".parse().unwrap()).await.unwrap(), patchplane_aws::GroupState::default());

    let missing = aws.instance_patches_page(&fleet[0], Some(&PatchState::Missing), first(100)).await.unwrap();
    assert_eq!(missing.items.len(), 4);
    assert!(missing.items.iter().all(|p| p.state == PatchState::Missing && p.installed_time.is_none()));
    let mut all = Vec::new();
    let mut page = first(10);
    loop {
        let found = aws.instance_patches_page(&fleet[0], None, page).await.unwrap();
        all.extend(found.items);
        match found.next {
            next @ Some(_) => page = Page { size: 10, token: next },
            None => break,
        }
    }
    let installed = all.iter().filter(|p| p.state == PatchState::Installed).count();
    let summary = summaries.iter().find(|summary| summary.id == fleet[0]).unwrap();
    assert_eq!(u32::try_from(installed).unwrap(), summary.installed);
    assert!(all.iter().any(|p| p.installed_time.is_some()));
    assert_eq!(aws.instance_patches(&fleet[0]).await.unwrap(), all);

    // S 8.3.2: each item names the command that made it.
    let items = aws.patch_items(&fleet[0]).await.unwrap();
    assert_eq!(items.len(), all.len());
    for item in &items {
        assert_eq!((&item.execution_id, item.execution_time), (&command_id, summary.operation_end));
        assert_eq!((&item.baseline_id, item.patch_group.as_str()), (&summary.baseline_id, "web"));
    }
    assert_eq!(items.iter().filter(|item| item.state == PatchState::Missing).count(), 4);
    assert_eq!(aws.patch_items(&"i-0000000000000dead".parse().unwrap()).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_nobody_knows_and_one_not_yet_seen_are_told_apart() {
    let stage = Stage::new().await;
    let node = ids(stage.location().add_nodes(1).create());
    let unknown = "11111111-2222-4333-8444-555555555555";
    let error = stage.aws.step_output(unknown, &node[0], "PatchLinux").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::UnknownCommand | ErrorKind::NotYet), "S 6.3.6: {error:?}");
    let command_id = stage.scanned(&node).await;
    let stranger = "i-0000000000000dead".parse().unwrap();
    let error = stage.aws.step_output(&command_id, &stranger, "PatchLinux").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::NotYet | ErrorKind::InvalidInstance), "S 6.3.6: {error:?}");
    let error = stage.aws.step_output(&command_id, &node[0], "NoSuchStep").await.unwrap_err();
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Invalid, Some("InvalidPluginName")));
}

#[tokio::test(start_paused = true)]
async fn a_refused_send_leaves_no_command_and_a_lost_answer_leaves_one() {
    let stage = Stage::new().await;
    let node = ids(stage.location().add_nodes(1).create());
    let unmanaged = ids(stage.location().add_nodes(1).unmanaged().create());
    let refused = stage.aws.send_patch_command(&stage.scan(&unmanaged)).await;
    assert!(
        matches!(&refused, Err(SendFailure::Refused(error)) if error.kind == ErrorKind::InvalidInstance),
        "S 6.1.4: {refused:?}"
    );
    let stale = stage.clock.now() - jiff::SignedDuration::from_mins(20);
    let refused = stage.aws.send_patch_command(&PatchCommand { signed_at: stale, ..stage.scan(&node) }).await;
    assert!(
        matches!(&refused, Err(SendFailure::Refused(error)) if error.kind == ErrorKind::Credentials),
        "S 1.5: {refused:?}"
    );
    for kind in [FaultKind::Throttle, FaultKind::Deny, FaultKind::Unreachable] {
        stage.fault("SendCommand", 1, kind);
        let refused = stage.aws.send_patch_command(&stage.scan(&node)).await;
        assert!(matches!(&refused, Err(SendFailure::Refused(_))), "{kind:?}: {refused:?}");
    }
    assert_eq!(stage.location().commands(), 0);

    for (kind, commands) in
        [(FaultKind::ServerError, 0), (FaultKind::LoseAnswer, 1), (FaultKind::Delay(Duration::from_secs(60)), 1)]
    {
        stage.fault("SendCommand", 1, kind);
        let unknown = stage.aws.send_patch_command(&stage.scan(&node)).await;
        assert!(matches!(&unknown, Err(SendFailure::Unknown(_))), "{kind:?}: {unknown:?}");
        assert_eq!(stage.location().commands(), commands, "{kind:?}");
    }
    let since = stage.clock.now() - jiff::SignedDuration::from_mins(15);
    assert_eq!(stage.aws.patch_commands_since(since).await.unwrap().len(), 1, "the lost one is found by listing");
}

#[tokio::test(start_paused = true)]
async fn reads_outlast_two_failures_of_aws_and_not_three() {
    let stage = Stage::new().await;
    for kind in [FaultKind::Throttle, FaultKind::ServerError, FaultKind::Unreachable] {
        stage.fault("DescribePatchGroups", 2, kind);
        assert_eq!(stage.aws.group_mappings().await.unwrap(), [], "{kind:?}");
    }
    for (kind, expected) in [
        (FaultKind::Throttle, ErrorKind::Throttled),
        (FaultKind::ServerError, ErrorKind::Unreachable),
        (FaultKind::Unreachable, ErrorKind::Unreachable),
    ] {
        stage.fault("DescribeInstances", 3, kind);
        let error = stage.aws.vms(&VmFilter::All).await.unwrap_err();
        assert_eq!(error.kind, expected, "{error:?}");
    }
    stage.fault("DescribeInstances", 1, FaultKind::Deny);
    let error = stage.aws.vms(&VmFilter::All).await.unwrap_err();
    assert_eq!((error.kind, error.action), (ErrorKind::Denied, "ec2:DescribeInstances"));
    assert!(error.request_id.is_some() && !error.message.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_baseline_of_one_s_own_is_made_once_changed_and_deleted() {
    let stage = Stage::new().await;
    let aws = &stage.aws;
    let rule = ApprovalRule {
        filters: vec![PatchFilter { key: "SEVERITY".to_owned(), values: vec!["Critical".to_owned()] }],
        compliance_level: "HIGH".to_owned(),
        approval: Some(ApprovalDate::AfterDays(1)),
        enable_non_security: false,
    };
    let spec = BaselineSpec {
        description: "mine".to_owned(),
        rules: vec![rule],
        rejected_patches: vec!["curl-*".to_owned()],
        sources: vec![PatchSource {
            name: "main".to_owned(),
            products: vec!["AmazonLinux2".to_owned()],
            configuration: "[main]".to_owned(),
        }],
        ..BaselineSpec::new("mine", os("AMAZON_LINUX_2"))
    };
    let draft = BaselineDraft::new(spec.clone()).unwrap();
    let tags = [("team".to_owned(), "web".to_owned())];
    let id = aws.create_baseline(&draft, "token-1", &tags).await.unwrap();
    assert_eq!(aws.create_baseline(&draft, "token-1", &tags).await.unwrap(), id, "the token names the first");
    let made = aws.baseline(&id).await.unwrap().unwrap();
    assert_eq!(BaselineSpec::of(&made), spec);
    assert_eq!((made.summary.owner, made.summary.default), (BaselineOwner::Account, false));

    // Emptying needs a whole replacement, which must not lose the rest (S 4.6.1).
    for description in ["theirs", ""] {
        let before = BaselineSpec::of(&aws.baseline(&id).await.unwrap().unwrap());
        let after = BaselineSpec { description: description.to_owned(), approved_patches: vec![], ..before.clone() };
        aws.update_baseline(&id, &before, &BaselineDraft::new(after.clone()).unwrap()).await.unwrap();
        assert_eq!(BaselineSpec::of(&aws.baseline(&id).await.unwrap().unwrap()), after, "{description}");
    }

    aws.register_default_baseline(id.as_str()).await.unwrap();
    assert_eq!(aws.default_baseline_id(&os("AMAZON_LINUX_2")).await.unwrap(), id);
    let error = aws.delete_baseline(&id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InUse, "S 4.6.5: {error:?}");
    let all = aws.baselines().await.unwrap();
    let own = all.iter().find(|row| row.name == "AWS-AmazonLinux2DefaultPatchBaseline").unwrap();
    aws.register_default_baseline(&own.aws_id).await.unwrap();
    aws.delete_baseline(&id).await.unwrap();
    assert_eq!(aws.baseline(&id).await.unwrap(), None);
    aws.delete_baseline(&id).await.unwrap();
    let products = aws.patch_properties(&os("AMAZON_LINUX_2"), "PRODUCT", None).await.unwrap();
    assert!(products.contains(&"AmazonLinux2".to_owned()), "S 4.3.4: {products:?}");
}
