//! Whether an instance can be patched: decided from what EC2 and Systems Manager say of it, with evidence and a fix.

use super::{
    group_tags::{Groups, Membership, Misstep, Registrations, membership, missteps},
    remedy::Remedy,
};
use jiff::{SignedDuration, Timestamp};
use patchplane_rules::{
    AgentVersion, BaselineId, InstanceId, Invalid, Network, OperatingSystem, PatchSummary, PingStatus, PowerState,
    Sighting, VirtualMachine, unreached,
};
use std::collections::BTreeMap;

/// What keeps every operation of ours from acting on an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    NotFound,
    NotRunning(PowerState),
    NotManaged,
    AgentOffline { last_ping: String },
    AgentTooOld { version: String },
    GroupAmbiguous { spaced: String, unspaced: String },
    OsUnsupported { platform: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    NotFound,
    NotRunning,
    NotManaged,
    AgentOffline,
    AgentTooOld,
    PatchGroupAmbiguous,
    OsUnsupported,
    NoInstanceProfile,
    ProfileRights,
    NoRoute,
    TagKeyWrong,
    TagKeyBlockedByImds,
    NoPatchGroup,
    GroupWithoutBaseline,
    InAutoScalingGroup,
    LastRunFailed,
    PendingReboot,
    NeverScanned,
    StaleScan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    Observed,
    Inferred,
    NotVisible,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub code: Code,
    pub certainty: Certainty,
    pub evidence: String,
    pub fix: String,
    /// The request of ours that mends it, if there is one.
    pub remedy: Option<Remedy>,
    pub blocking: bool,
}

/// After how long a report says nothing of the present any more: 1 to 365 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleAfter(i64);

/// Something that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The IAM action that is needed for it.
    pub action: &'static str,
    /// As the reason of an error.
    pub reason: &'static str,
    pub message: String,
}

/// What was read besides EC2 and Systems Manager's own word on the instances, for all of them together.
pub struct Surroundings {
    pub registrations: Result<Registrations, Unread>,
    /// The default baselines, by operating system.
    pub defaults: Result<BTreeMap<OperatingSystem, BaselineId>, Unread>,
    pub summaries: Result<BTreeMap<InstanceId, PatchSummary>, Unread>,
    pub network: Result<Network, Unread>,
    pub stale_after: StaleAfter,
    pub now: Timestamp,
}

/// EC2 Auto Scaling's tag on its instances.
const AUTO_SCALING_TAG: &str = "aws:autoscaling:groupName";

/// What keeps us from acting on the instance, else its operating system.
pub fn eligible(seen: &Sighting) -> Result<OperatingSystem, Obstacle> {
    match (&seen.vm, &seen.node) {
        (None, None) => return Err(Obstacle::NotFound),
        (Some(vm), _) if vm.state != PowerState::Running => return Err(Obstacle::NotRunning(vm.state)),
        (Some(_), None) => return Err(Obstacle::NotManaged),
        (_, Some(node)) if node.ping != PingStatus::Online => {
            let last_ping = node.last_ping.map_or_else(|| "never".to_owned(), |time| format!("{time:.0}"));
            return Err(Obstacle::AgentOffline { last_ping });
        }
        _ => {}
    }
    if let Membership::Ambiguous { spaced, unspaced } = membership(&seen.tags) {
        return Err(Obstacle::GroupAmbiguous { spaced, unspaced });
    }
    let Some(node) = &seen.node else { return Err(Obstacle::NotManaged) };
    if AgentVersion::parse(&node.agent_version).is_some_and(|version| version < AgentVersion::FOR_PATCHING) {
        return Err(Obstacle::AgentTooOld { version: node.agent_version.clone() });
    }
    node.operating_system().ok_or_else(|| Obstacle::OsUnsupported {
        platform: format!("{} {}", node.platform_name, node.platform_version),
    })
}

/// Everything worth saying about one instance, obstacles first.
pub fn assess(id: &InstanceId, seen: &Sighting, around: &Surroundings) -> Vec<Finding> {
    let mut findings = Vec::new();
    match eligible(seen) {
        Err(Obstacle::NotFound) => return vec![Obstacle::NotFound.finding(id)],
        // Told with the other tags.
        Ok(_) | Err(Obstacle::GroupAmbiguous { .. }) => {}
        Err(obstacle) => findings.push(obstacle.finding(id)),
    }
    let heard = seen.node.as_ref().is_some_and(|node| node.ping == PingStatus::Online);
    if let Some(vm) = seen.vm.as_ref().filter(|vm| vm.state == PowerState::Running) {
        if !heard {
            findings.push(profile(vm));
        }
        findings.extend(route(vm, heard, around));
    }
    if let Some(group) = seen.tags.get(AUTO_SCALING_TAG) {
        findings.push(Finding {
            fix: "patch the image of the group's launch template instead; before a patch run that reboots, put the \
                  instance into standby with `aws autoscaling enter-standby`, or it may be replaced"
                .to_owned(),
            ..advice(Code::InAutoScalingGroup, format!("EC2 Auto Scaling keeps it, in the group `{group}`"))
        });
    }
    tag_findings(id, seen, around, &mut findings);
    if seen.node.is_some() {
        report_findings(id, around, &mut findings);
    }
    findings.sort_by_key(|finding| (!finding.blocking, finding.code));
    findings
}

// === What is checked ===

fn advice(code: Code, evidence: String) -> Finding {
    Finding { code, certainty: Certainty::Observed, evidence, fix: String::new(), remedy: None, blocking: false }
}

/// A check that could not be made: never shown as passed.
fn not_visible(code: Code, what: &str, unread: &Unread) -> Finding {
    Finding {
        certainty: Certainty::NotVisible,
        fix: format!("see that this service may call {}, and check again", unread.action),
        ..advice(code, format!("{what} could not be read: {}", unread.message))
    }
}

/// Why its agent may not be heard: without rights it cannot register.
fn profile(vm: &VirtualMachine) -> Finding {
    match &vm.instance_profile_arn {
        None => Finding {
            certainty: Certainty::Inferred,
            fix: format!(
                "attach a profile whose role has AmazonSSMManagedInstanceCore: `aws ec2 \
                 associate-iam-instance-profile --instance-id {} --iam-instance-profile Name=PROFILE`; or turn on Default \
                 Host Management",
                vm.id
            ),
            ..advice(Code::NoInstanceProfile, "EC2 shows no instance profile".to_owned())
        },
        Some(arn) => Finding {
            certainty: Certainty::NotVisible,
            fix: "see in IAM that the profile's role has AmazonSSMManagedInstanceCore, or the same rights".to_owned(),
            ..advice(Code::ProfileRights, format!("what {arn} allows is IAM's, which this service does not read"))
        },
    }
}

fn route(vm: &VirtualMachine, heard: bool, around: &Surroundings) -> Option<Finding> {
    let network = match &around.network {
        Ok(network) => network,
        Err(unread) => return Some(not_visible(Code::NoRoute, "its network", unread)),
    };
    let gaps = unreached(vm, network, heard);
    if gaps.is_empty() {
        return None;
    }
    let services: Vec<&str> = gaps.iter().map(|gap| gap.service).collect();
    let mut reasons: Vec<&str> = gaps.iter().map(|gap| gap.why.as_str()).collect();
    reasons.dedup();
    Some(Finding {
        certainty: Certainty::Inferred,
        fix: format!(
            "route {} to a NAT gateway, or give {} endpoints for {} that admit port 443 from the instance",
            vm.subnet_id,
            vm.vpc_id,
            services.join(", ")
        ),
        ..advice(
            Code::NoRoute,
            format!(
                "it seems not to reach {}: {} (network ACLs, firewalls, proxies, DNS and IPv6 were not looked at)",
                services.join(", "),
                reasons.join("; ")
            ),
        )
    })
}

fn tag_findings(id: &InstanceId, seen: &Sighting, around: &Surroundings, findings: &mut Vec<Finding>) {
    let (no_registrations, no_defaults) = (Registrations::new(), BTreeMap::new());
    let registrations = around.registrations.as_ref().unwrap_or(&no_registrations);
    let defaults = around.defaults.as_ref().unwrap_or(&no_defaults);
    let groups = Groups::of(std::iter::empty(), registrations);
    for misstep in missteps(seen, &groups, registrations, defaults) {
        let code = match &misstep {
            Misstep::KeyWrong { .. } => Code::TagKeyWrong,
            Misstep::KeyBlocked { .. } => Code::TagKeyBlockedByImds,
            Misstep::Ambiguous { .. } => Code::PatchGroupAmbiguous,
            Misstep::ValueInvalid { .. } => Code::NoPatchGroup,
            Misstep::ValueNear { .. } | Misstep::NoBaseline { .. } => Code::GroupWithoutBaseline,
        };
        findings.push(Finding {
            fix: misstep.fix(),
            remedy: misstep.remedy(std::slice::from_ref(id)),
            blocking: code == Code::PatchGroupAmbiguous,
            ..advice(code, misstep.evidence())
        });
    }
    match membership(&seen.tags) {
        Membership::None if !findings.iter().any(|finding| finding.code == Code::NoPatchGroup) => {
            findings.push(Finding {
                fix: format!(
                    "put it into a group with `patchctl groups add GROUP {id}`, or leave it to its operating system's \
                     default baseline"
                ),
                ..advice(Code::NoPatchGroup, "neither `Patch Group` nor `PatchGroup` is among its tags".to_owned())
            });
        }
        Membership::In { .. } => {
            findings.retain(|finding| around.registrations.is_ok() || finding.code != Code::GroupWithoutBaseline);
            if let Err(unread) = &around.registrations {
                findings.push(not_visible(Code::GroupWithoutBaseline, "the group's baselines", unread));
            }
        }
        Membership::None | Membership::Ambiguous { .. } => {}
    }
}

fn report_findings(id: &InstanceId, around: &Surroundings, findings: &mut Vec<Finding>) {
    let scan = || format!("`patchctl scan --instance {id}`");
    let summary = match &around.summaries {
        Ok(summaries) => summaries.get(id),
        Err(unread) => {
            findings.push(not_visible(Code::NeverScanned, "its patch state", unread));
            return;
        }
    };
    let Some(summary) = summary else {
        let evidence = "Systems Manager holds no patch state of it".to_owned();
        findings.push(Finding { fix: scan(), ..advice(Code::NeverScanned, evidence) });
        return;
    };
    if summary.failed > 0 {
        let ended = summary.operation_end.map_or_else(String::new, |end| format!(" that ended at {end:.0}"));
        findings.push(Finding {
            fix: format!(
                "see why with `patchctl instances patches {id} --state Failed` and the output of that run, then run it \
                 again"
            ),
            ..advice(
                Code::LastRunFailed,
                format!("{} patches failed in the {}{ended}", summary.failed, summary.operation),
            )
        });
    }
    if summary.installed_pending_reboot > 0 {
        findings.push(Finding {
            fix: format!("reboot it with `aws ec2 reboot-instances --instance-ids {id}`, then {}", scan()),
            ..advice(
                Code::PendingReboot,
                format!("{} installed patches wait for a reboot", summary.installed_pending_reboot),
            )
        });
    }
    if around.stale_after.is_stale(summary, around.now) {
        let told = summary.operation_end.map_or_else(|| "at no known time".to_owned(), |end| format!("at {end:.0}"));
        let evidence = format!("its last report is more than {} days old: it ended {told}", around.stale_after.days());
        findings.push(Finding { fix: scan(), ..advice(Code::StaleScan, evidence) });
    }
}

// === impl StaleAfter ===

impl StaleAfter {
    /// A week: scans are a daily or weekly matter.
    pub const DEFAULT: Self = Self(7);

    /// 0 means the default.
    pub fn parse(field: &str, days: i32) -> Result<Self, Invalid> {
        match days {
            0 => Ok(Self::DEFAULT),
            1..=365 => Ok(Self(days.into())),
            _ => Err(Invalid::new(field, "must be 1 to 365 days, or 0 for 7")),
        }
    }

    pub fn days(self) -> i64 {
        self.0
    }

    /// A report without a time is stale: nobody knows what it speaks of.
    pub fn is_stale(self, summary: &PatchSummary, now: Timestamp) -> bool {
        let age = summary.operation_end.map(|end| now.duration_since(end));
        age.is_none_or(|age| age > SignedDuration::from_hours(24 * self.0))
    }
}

// === impl Obstacle ===

impl Obstacle {
    /// The stable code: a target's reason, and a finding's.
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::NotRunning(_) => Code::NotRunning,
            Self::NotManaged => Code::NotManaged,
            Self::AgentOffline { .. } => Code::AgentOffline,
            Self::AgentTooOld { .. } => Code::AgentTooOld,
            Self::GroupAmbiguous { .. } => Code::PatchGroupAmbiguous,
            Self::OsUnsupported { .. } => Code::OsUnsupported,
        }
    }

    pub fn evidence(&self) -> String {
        match self {
            Self::NotFound => "neither EC2 nor Systems Manager knows it in this account and Region".into(),
            Self::NotRunning(state) => format!("EC2 says it is {state}"),
            Self::NotManaged => "it runs in EC2, but has not registered with Systems Manager".into(),
            Self::AgentOffline { last_ping } => format!("its agent was last heard of at {last_ping}"),
            Self::AgentTooOld { version } => {
                format!("its agent is {version}, and AWS-RunPatchBaseline needs {}", AgentVersion::FOR_PATCHING)
            }
            Self::GroupAmbiguous { spaced, unspaced } => {
                format!("`Patch Group` says `{spaced}`, `PatchGroup` says `{unspaced}`")
            }
            Self::OsUnsupported { platform } => format!("no patch baseline fits {platform}"),
        }
    }

    fn finding(&self, id: &InstanceId) -> Finding {
        let fix = match self {
            Self::NotFound => "check the id, the account and the Region".into(),
            Self::NotRunning(PowerState::Terminated | PowerState::ShuttingDown) => "nothing: it is gone".into(),
            Self::NotRunning(_) => {
                format!("`aws ec2 start-instances --instance-ids {id}`, and wait until its agent has registered")
            }
            Self::NotManaged => {
                "install the agent, let it reach the Systems Manager endpoints on port 443, and give it an instance \
                 profile with AmazonSSMManagedInstanceCore; it can take minutes to appear"
                    .into()
            }
            Self::AgentOffline { .. } => {
                "see that the agent runs and reaches the Systems Manager endpoints on port 443".into()
            }
            Self::AgentTooOld { .. } => {
                format!("`aws ssm send-command --document-name AWS-UpdateSSMAgent --instance-ids {id}`")
            }
            Self::GroupAmbiguous { .. } => "remove one of the two tags, for example with RemoveInstances".into(),
            Self::OsUnsupported { .. } => {
                "patch it by other means: Patch Manager does not support this platform".into()
            }
        };
        Finding { fix, blocking: true, ..advice(self.code(), self.evidence()) }
    }
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::NotRunning => "NOT_RUNNING",
            Self::NotManaged => "NOT_MANAGED",
            Self::AgentOffline => "AGENT_OFFLINE",
            Self::AgentTooOld => "AGENT_TOO_OLD",
            Self::PatchGroupAmbiguous => "PATCH_GROUP_AMBIGUOUS",
            Self::OsUnsupported => "OS_UNSUPPORTED",
            Self::NoInstanceProfile => "NO_INSTANCE_PROFILE",
            Self::ProfileRights => "PROFILE_RIGHTS",
            Self::NoRoute => "NO_ROUTE",
            Self::TagKeyWrong => "TAG_KEY_WRONG",
            Self::TagKeyBlockedByImds => "TAG_KEY_BLOCKED_BY_IMDS",
            Self::NoPatchGroup => "NO_PATCH_GROUP",
            Self::GroupWithoutBaseline => "GROUP_WITHOUT_BASELINE",
            Self::InAutoScalingGroup => "IN_AUTO_SCALING_GROUP",
            Self::LastRunFailed => "LAST_RUN_FAILED",
            Self::PendingReboot => "PENDING_REBOOT",
            Self::NeverScanned => "NEVER_SCANNED",
            Self::StaleScan => "STALE_SCAN",
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
