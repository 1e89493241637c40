//! Every finding, from what AWS says.

use super::*;
use patchplane_rules::ManagedNode;

fn id() -> InstanceId {
    "i-0123456789abcdef0".parse().unwrap()
}

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

/// A node that runs, is heard, is in a group with a baseline, and was scanned an hour ago.
pub(in crate::domain) fn healthy() -> (Sighting, Surroundings) {
    let tags = BTreeMap::from([("Patch Group".to_owned(), "web".to_owned())]);
    let vm = VirtualMachine {
        tags: tags.clone(),
        instance_profile_arn: Some("arn:aws:iam::111122223333:instance-profile/x".into()),
        vpc_id: "vpc-1".into(),
        subnet_id: "subnet-1".into(),
        security_group_ids: vec!["sg-1".into()],
        ..VirtualMachine::new(id(), PowerState::Running)
    };
    let node = ManagedNode {
        id: id(),
        ping: PingStatus::Online,
        last_ping: Some(now()),
        agent_version: "3.3.40.0".into(),
        platform_type: "Linux".into(),
        platform_name: "Amazon Linux".into(),
        platform_version: "2".into(),
        computer_name: String::new(),
        ip_address: String::new(),
    };
    let os = OperatingSystem::parse("AMAZON_LINUX_2").unwrap();
    let baseline = patchplane_rules::BaselineSummary {
        id: "pb-0be8c61cde3be63f3".parse().unwrap(),
        aws_id: String::new(),
        owner: patchplane_rules::BaselineOwner::Aws,
        name: String::new(),
        description: String::new(),
        operating_system: os.clone(),
        default: true,
    };
    let out = patchplane_rules::Permission {
        protocol: "-1".into(),
        ports: None,
        cidrs: vec!["0.0.0.0/0".into()],
        group_ids: vec![],
        prefix_lists: false,
    };
    let table = patchplane_rules::RouteTable {
        id: "rtb-1".into(),
        vpc_id: "vpc-1".into(),
        main: true,
        subnet_ids: vec![],
        default_routes: vec!["nat-1".into()],
    };
    let group = patchplane_rules::SecurityGroup { ingress: vec![], egress: vec![out] };
    let around = Surroundings {
        registrations: Ok(BTreeMap::from([(("web".parse().unwrap(), os.clone()), baseline.clone())])),
        defaults: Ok(BTreeMap::from([(os, baseline.id)])),
        summaries: Ok(BTreeMap::from([(id(), summary("2026-11-24T11:00:00Z"))])),
        network: Ok(Network {
            route_tables: vec![table],
            endpoints: vec![],
            security_groups: BTreeMap::from([("sg-1".to_owned(), group)]),
        }),
        stale_after: StaleAfter::DEFAULT,
        now: now(),
    };
    (Sighting { vm: Some(vm), node: Some(node), tags }, around)
}

fn summary(ended: &str) -> PatchSummary {
    PatchSummary { operation: "Scan".into(), operation_end: ended.parse().ok(), ..PatchSummary::of(id()) }
}

fn change_summary(around: &mut Surroundings, change: impl FnOnce(&mut PatchSummary)) {
    change(around.summaries.as_mut().unwrap().get_mut(&id()).unwrap());
}

type Change = fn(&mut Sighting, &mut Surroundings);

#[test]
fn a_healthy_node_has_nothing_against_it() {
    let (seen, around) = healthy();
    assert_eq!(assess(&id(), &seen, &around), []);
}

#[test]
fn each_thing_that_is_wrong_has_its_finding() {
    use Certainty::{Inferred, NotVisible, Observed};
    // S 10.2 (prerequisites, by row), 5.1, 5.2, 5.8 (groups), 8.1, 8.2 (reports), 12.7 (metadata).
    type Case = (Change, &'static [(Code, Certainty, bool)]);
    let cases: &[Case] = &[
        (|seen, _| *seen = Sighting::default(), &[(Code::NotFound, Observed, true)]),
        (|seen, _| seen.vm.as_mut().unwrap().state = PowerState::Stopped, &[(Code::NotRunning, Observed, true)]),
        (|seen, _| seen.node = None, &[(Code::NotManaged, Observed, true), (Code::ProfileRights, NotVisible, false)]),
        (
            |seen, _| {
                seen.node = None;
                seen.vm.as_mut().unwrap().instance_profile_arn = None;
            },
            &[(Code::NotManaged, Observed, true), (Code::NoInstanceProfile, Inferred, false)],
        ),
        (
            |seen, _| seen.node.as_mut().unwrap().ping = PingStatus::ConnectionLost,
            &[(Code::AgentOffline, Observed, true), (Code::ProfileRights, NotVisible, false)],
        ),
        (
            |seen, _| seen.node.as_mut().unwrap().agent_version = "2.0.833.9".into(),
            &[(Code::AgentTooOld, Observed, true)],
        ),
        (|seen, _| seen.node.as_mut().unwrap().agent_version = "2.0.834.0".into(), &[]),
        (|seen, _| seen.node.as_mut().unwrap().agent_version = "10.0".into(), &[]),
        (
            |seen, _| seen.node.as_mut().unwrap().platform_name = "Bottlerocket OS".into(),
            &[(Code::OsUnsupported, Observed, true)],
        ),
        (
            |_, around| around.network.as_mut().unwrap().route_tables[0].default_routes.clear(),
            &[(Code::NoRoute, Inferred, false)],
        ),
        (
            |seen, _| drop(seen.tags.insert("PatchGroup".into(), "db".into())),
            &[(Code::PatchGroupAmbiguous, Observed, true)],
        ),
        (|seen, _| seen.tags.clear(), &[(Code::NoPatchGroup, Observed, false)]),
        (
            |seen, _| seen.tags = BTreeMap::from([("patch group".to_owned(), "web".to_owned())]),
            &[(Code::TagKeyWrong, Observed, false), (Code::NoPatchGroup, Observed, false)],
        ),
        (
            |seen, _| {
                seen.vm.as_mut().unwrap().metadata_tags = true;
                seen.tags = BTreeMap::from([("patch-group".to_owned(), "web".to_owned())]);
            },
            &[(Code::TagKeyBlockedByImds, Observed, false), (Code::NoPatchGroup, Observed, false)],
        ),
        (
            |seen, _| drop(seen.tags.insert("Patch Group".into(), "db".into())),
            &[(Code::GroupWithoutBaseline, Observed, false)],
        ),
        (
            |seen, _| drop(seen.tags.insert("Patch Group".into(), "Web".into())),
            &[(Code::GroupWithoutBaseline, Observed, false)],
        ),
        (
            |seen, _| drop(seen.tags.insert(AUTO_SCALING_TAG.into(), "asg".into())),
            &[(Code::InAutoScalingGroup, Observed, false)],
        ),
        (|_, around| change_summary(around, |summary| summary.failed = 1), &[(Code::LastRunFailed, Observed, false)]),
        (
            |_, around| change_summary(around, |summary| summary.installed_pending_reboot = 2),
            &[(Code::PendingReboot, Observed, false)],
        ),
        (|_, around| around.summaries = Ok(BTreeMap::new()), &[(Code::NeverScanned, Observed, false)]),
        (|_, around| change_summary(around, |s| *s = summary("2026-11-17T12:00:00Z")), &[]),
        (
            |_, around| change_summary(around, |s| *s = summary("2026-11-17T11:59:59Z")),
            &[(Code::StaleScan, Observed, false)],
        ),
        (|_, around| change_summary(around, |s| s.operation_end = None), &[(Code::StaleScan, Observed, false)]),
    ];
    for (number, (change, expected)) in cases.iter().enumerate() {
        let (mut seen, mut around) = healthy();
        change(&mut seen, &mut around);
        let findings = assess(&id(), &seen, &around);
        let found: Vec<_> = findings.iter().map(|f| (f.code, f.certainty, f.blocking)).collect();
        assert_eq!(found, *expected, "case {number}: {findings:?}");
        assert!(findings.iter().all(|f| !f.evidence.is_empty() && !f.fix.is_empty()), "case {number}: {findings:?}");
    }
}

#[test]
fn a_check_that_could_not_be_made_is_never_shown_as_passed() {
    let unread = || Unread { action: "ssm:X", reason: "AWS_ACCESS_DENIED", message: "denied".into() };
    type Case = (fn(&mut Surroundings, Unread), Code);
    let cases: &[Case] = &[
        (|around, unread| around.registrations = Err(unread), Code::GroupWithoutBaseline),
        (|around, unread| around.summaries = Err(unread), Code::NeverScanned),
        (|around, unread| around.network = Err(unread), Code::NoRoute),
    ];
    for (change, code) in cases {
        let (seen, mut around) = healthy();
        change(&mut around, unread());
        let found: Vec<_> = assess(&id(), &seen, &around).iter().map(|f| (f.code, f.certainty)).collect();
        assert_eq!(found, [(*code, Certainty::NotVisible)]);
    }
}
