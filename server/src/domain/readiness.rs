//! Whether an instance can be patched: decided from what EC2 and Systems Manager say of it, with evidence and a fix.

use super::group_tags::{Membership, membership, near_miss_key};
use patchplane_rules::{
    BaselineId, GROUP_TAG_KEYS, ManagedNode, OperatingSystem, PatchSummary, PingStatus, PowerState, Sighting,
};

/// What keeps every operation of ours from acting on an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    NotFound,
    NotRunning(PowerState),
    NotManaged,
    AgentOffline { last_ping: String },
    GroupAmbiguous { spaced: String, unspaced: String },
    OsUnsupported { platform: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    NotFound,
    NotRunning,
    NotManaged,
    AgentOffline,
    NoPatchGroup,
    TagKeyWrong,
    GroupWithoutBaseline,
    PatchGroupAmbiguous,
    OsUnsupported,
    NeverScanned,
    PendingReboot,
    NoInstanceProfile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub blocking: bool,
}

/// What was read about one instance.
pub struct Facts<'a> {
    pub seen: &'a Sighting,
    /// The baseline attached to its group for its system. `Err`: it could not be read, and why.
    pub attached: Result<Option<BaselineId>, String>,
    /// What its last run reported. `Err`: it could not be read, and why.
    pub summary: Result<Option<PatchSummary>, String>,
}

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
    node.operating_system().ok_or_else(|| Obstacle::OsUnsupported {
        platform: format!("{} {}", node.platform_name, node.platform_version),
    })
}

/// Everything worth saying about one instance, obstacles first.
pub fn assess(facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let os = match eligible(facts.seen) {
        Ok(os) => Some(os),
        Err(obstacle) => {
            let runs = facts.seen.vm.as_ref().is_some_and(|vm| vm.state == PowerState::Running);
            findings.push(obstacle.finding());
            if obstacle == Obstacle::NotFound {
                return findings;
            }
            if obstacle == Obstacle::NotManaged
                && runs
                && facts.seen.vm.as_ref().is_some_and(|vm| vm.instance_profile_arn.is_none())
            {
                findings.push(no_instance_profile());
            }
            facts.seen.node.as_ref().and_then(ManagedNode::operating_system)
        }
    };
    group_findings(facts, os.as_ref(), &mut findings);
    if facts.seen.node.is_some() {
        report_findings(facts, &mut findings);
    }
    findings.sort_by_key(|finding| !finding.blocking);
    findings
}

fn group_findings(facts: &Facts<'_>, os: Option<&OperatingSystem>, findings: &mut Vec<Finding>) {
    let near: Vec<&String> = facts.seen.tags.keys().filter(|key| near_miss_key(key)).collect();
    if let Some(key) = near.first() {
        let right = if facts.seen.vm.as_ref().is_some_and(|vm| vm.metadata_tags) {
            GROUP_TAG_KEYS[1]
        } else {
            GROUP_TAG_KEYS[0]
        };
        findings.push(Finding {
            code: Code::TagKeyWrong,
            certainty: Certainty::Observed,
            evidence: format!(
                "it has the tag `{key}` = `{}`, which Systems Manager does not read",
                facts.seen.tags[*key]
            ),
            fix: format!("write the tag `{right}` instead, for example with AddInstances: keys are case-sensitive"),
            blocking: false,
        });
    }
    match membership(&facts.seen.tags) {
        Membership::None => findings.push(Finding {
            code: Code::NoPatchGroup,
            certainty: Certainty::Observed,
            evidence: "neither `Patch Group` nor `PatchGroup` is among its tags".into(),
            fix: "put it into a group with AddInstances, or leave it to its operating system's default baseline".into(),
            blocking: false,
        }),
        Membership::In { group, .. } => {
            let Some(os) = os else { return };
            match &facts.attached {
                Ok(Some(_)) => {}
                Ok(None) => findings.push(Finding {
                    code: Code::GroupWithoutBaseline,
                    certainty: Certainty::Observed,
                    evidence: format!("the group `{group}` has no baseline for {os}"),
                    fix: format!("attach one with AttachBaseline, or leave it to the default baseline of {os}"),
                    blocking: false,
                }),
                Err(why) => findings.push(Finding {
                    code: Code::GroupWithoutBaseline,
                    certainty: Certainty::NotVisible,
                    evidence: format!("the group's baselines could not be read: {why}"),
                    fix: "see that this service may call ssm:DescribePatchGroups, and check again".into(),
                    blocking: false,
                }),
            }
        }
        Membership::Ambiguous { .. } => {}
    }
}

fn report_findings(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    match &facts.summary {
        Ok(None) => findings.push(Finding {
            code: Code::NeverScanned,
            certainty: Certainty::Observed,
            evidence: "Systems Manager holds no patch state of it".into(),
            fix: "run a SCAN operation".into(),
            blocking: false,
        }),
        Ok(Some(summary)) if summary.installed_pending_reboot > 0 => findings.push(Finding {
            code: Code::PendingReboot,
            certainty: Certainty::Observed,
            evidence: format!("{} installed patches wait for a reboot", summary.installed_pending_reboot),
            fix: "reboot it and scan again".into(),
            blocking: false,
        }),
        Ok(Some(_)) => {}
        Err(why) => findings.push(Finding {
            code: Code::NeverScanned,
            certainty: Certainty::NotVisible,
            evidence: format!("its patch state could not be read: {why}"),
            fix: "see that this service may call ssm:DescribeInstancePatchStates, and check again".into(),
            blocking: false,
        }),
    }
}

fn no_instance_profile() -> Finding {
    Finding {
        code: Code::NoInstanceProfile,
        certainty: Certainty::Inferred,
        evidence: "EC2 shows no instance profile".into(),
        fix: "attach a profile with AmazonSSMManagedInstanceCore, or turn on Default Host Management".into(),
        blocking: false,
    }
}

impl Obstacle {
    /// The stable code: a target's reason, and a finding's.
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::NotRunning(_) => Code::NotRunning,
            Self::NotManaged => Code::NotManaged,
            Self::AgentOffline { .. } => Code::AgentOffline,
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
            Self::GroupAmbiguous { spaced, unspaced } => {
                format!("`Patch Group` says `{spaced}`, `PatchGroup` says `{unspaced}`")
            }
            Self::OsUnsupported { platform } => format!("no patch baseline fits {platform}"),
        }
    }

    fn finding(&self) -> Finding {
        let fix = match self {
            Self::NotFound => "check the id, the account and the Region",
            Self::NotRunning(PowerState::Terminated | PowerState::ShuttingDown) => "nothing: it is gone",
            Self::NotRunning(_) => "start it and wait until its agent has registered",
            Self::NotManaged => {
                "install the agent, let it reach the Systems Manager endpoints on port 443, and give it an instance \
                 profile with AmazonSSMManagedInstanceCore; it can take minutes to appear"
            }
            Self::AgentOffline { .. } => {
                "see that the agent runs and reaches the Systems Manager endpoints on port 443"
            }
            Self::GroupAmbiguous { .. } => "remove one of the two tags, for example with RemoveInstances",
            Self::OsUnsupported { .. } => "patch it by other means: Patch Manager does not support this platform",
        };
        Finding {
            code: self.code(),
            certainty: Certainty::Observed,
            evidence: self.evidence(),
            fix: fix.into(),
            blocking: true,
        }
    }
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::NotRunning => "NOT_RUNNING",
            Self::NotManaged => "NOT_MANAGED",
            Self::AgentOffline => "AGENT_OFFLINE",
            Self::NoPatchGroup => "NO_PATCH_GROUP",
            Self::TagKeyWrong => "TAG_KEY_WRONG",
            Self::GroupWithoutBaseline => "GROUP_WITHOUT_BASELINE",
            Self::PatchGroupAmbiguous => "PATCH_GROUP_AMBIGUOUS",
            Self::OsUnsupported => "OS_UNSUPPORTED",
            Self::NeverScanned => "NEVER_SCANNED",
            Self::PendingReboot => "PENDING_REBOOT",
            Self::NoInstanceProfile => "NO_INSTANCE_PROFILE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_instance_has_one_finding() {
        let seen = Sighting::default();
        let facts = Facts { seen: &seen, attached: Ok(None), summary: Err(String::new()) };
        let codes: Vec<Code> = assess(&facts).iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [Code::NotFound]);
    }
}
