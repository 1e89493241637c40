//! A simulated node: an EC2 instance, its agent and its packages.

use crate::{catalogue, network::Network, platform::Platform, power::Power, trouble::Trouble, window::Members};
use jiff::{SignedDuration, Timestamp};
use patchplane_rules::{AvailablePatch, GROUP_TAG_KEYS, PatchCounts, PatchState};
use serde::Serialize;
use std::collections::BTreeMap;

/// The agent reports every 5 minutes (S 10.1.8).
const PING_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// The agent's newest release.
pub(crate) const LATEST_AGENT: &str = "3.3.1611.0";

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    /// The name in its `Name` tag, and the first part of its host name.
    pub(crate) name: String,
    pub(crate) platform: Platform,
    pub(crate) reservation: String,
    pub(crate) private_ip: String,
    pub(crate) launched: Timestamp,
    pub(crate) power: Power,
    /// What RunInstances was told, under the names of an answer; empty for a node that was always there.
    pub(crate) launch: Members,
    /// The root volume first.
    pub(crate) volumes: Vec<Volume>,
    /// Not of EC2: an `mi-` node (S 10.1.1).
    pub(crate) hybrid: bool,
    /// Microsoft's applications on it, by their products.
    pub(crate) applications: Vec<String>,
    /// Has an instance profile.
    pub(crate) profile: bool,
    pub(crate) network: Network,
    /// The host management role under which it registered, without a profile (S 10.2).
    pub(crate) role: Option<String>,
    /// Registered with Systems Manager.
    pub(crate) managed: bool,
    /// Tags readable in instance metadata, so that keys may hold no space (S 12.7).
    pub(crate) metadata_tags: bool,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) tags: BTreeMap<String, String>,
    /// By KB id: `name.arch` on Linux, the KB number on Windows.
    pub(crate) packages: BTreeMap<String, Package>,
    pub(crate) agent: Agent,
    pub(crate) report: Option<Report>,
    /// The report before that.
    pub(crate) before: Option<Report>,
    pub(crate) installs: u32,
    pub(crate) scans: u32,
    pub(crate) reboots: u32,
}

/// An EBS volume of an instance.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) device: String,
    /// In GiB.
    pub(crate) size: i64,
    pub(crate) kind: String,
    pub(crate) deleted_on_termination: bool,
}

/// A package or update on the node.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Package {
    pub(crate) epoch: String,
    pub(crate) version: String,
    pub(crate) release: String,
    pub(crate) installed: Timestamp,
    /// Installed after the last boot.
    pub(crate) since_boot: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Agent {
    pub(crate) started: Timestamp,
    /// A ping outside the five-minute rhythm.
    pub(crate) extra_ping: Option<Timestamp>,
    /// Since when it is not heard: offline, or its node reboots.
    pub(crate) silent_since: Option<Timestamp>,
    pub(crate) version: String,
    /// The command whose run is at it.
    pub(crate) busy_with: Option<String>,
    /// The command whose step runs again after the reboot (S 6.2.5), whatever became of the command meanwhile.
    pub(crate) resumes: Option<String>,
}

/// What Systems Manager keeps of the last patch operation (S 8.2).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) patch_group: String,
    pub(crate) baseline_id: String,
    pub(crate) snapshot_id: String,
    /// That of a maintenance window's target, else empty (S 8.2.6).
    pub(crate) owner_information: String,
    /// The command that made it (S 8.3.2).
    pub(crate) command_id: String,
    /// Whether a patch policy ran it (S 7.1.2).
    pub(crate) by_policy: bool,
    pub(crate) operation: String,
    /// Its address, if one was given (S 8.2.6).
    pub(crate) install_override_list: String,
    pub(crate) reboot_option: String,
    pub(crate) started: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) last_no_reboot_install: Option<Timestamp>,
    #[serde(skip)]
    pub(crate) counts: PatchCounts,
    pub(crate) rows: Vec<ReportRow>,
    /// Whether the baseline counted unapproved security updates as non-compliant (S 8.2.5).
    pub(crate) security_updates_count: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ReportRow {
    pub(crate) title: String,
    pub(crate) kb_id: String,
    pub(crate) classification: String,
    pub(crate) severity: String,
    pub(crate) state: PatchState,
    pub(crate) installed: Option<Timestamp>,
    pub(crate) cve_ids: Vec<String>,
    /// What the baseline makes of it: `CRITICAL` … `UNSPECIFIED` (S 4.4.8).
    pub(crate) compliance_level: String,
}

// === impl Node ===

impl Node {
    /// `ip-10-0-1-7.eu-central-1.compute.internal`; in us-east-1 `ip-10-0-1-7.ec2.internal`.
    pub(crate) fn dns_name(&self, region: &str) -> String {
        let zone = if region == "us-east-1" { "ec2.internal".to_owned() } else { format!("{region}.compute.internal") };
        format!("ip-{}.{zone}", self.private_ip.replace('.', "-"))
    }

    /// The DNS name, on Windows a NetBIOS one.
    pub(crate) fn computer_name(&self, region: &str) -> String {
        if self.platform.is_windows() {
            return format!("EC2AMAZ-{}", self.id[self.id.len().saturating_sub(7)..].to_uppercase());
        }
        self.dns_name(region)
    }

    /// The tag value that makes its patch group (S 5.1); empty without one. With both keys the one without a space
    /// wins, which is one of the two possibilities that S 5.2 leaves open.
    pub(crate) fn patch_group(&self) -> &str {
        GROUP_TAG_KEYS.iter().rev().find_map(|&key| self.tags.get(key)).map_or("", String::as_str)
    }

    pub(crate) fn running(&self) -> bool {
        self.power == Power::Running
    }

    /// Whether a command can reach its agent now.
    pub(crate) fn reachable(&self) -> bool {
        self.running() && self.managed && self.agent.silent_since.is_none()
    }

    /// When the agent was last heard of.
    pub(crate) fn last_ping(&self, now: Timestamp) -> Timestamp {
        let until = self.agent.silent_since.map_or(now, |silent| silent.min(now));
        let awake = until.duration_since(self.agent.started).as_secs().max(0);
        let rhythm = SignedDuration::from_secs(awake - awake % PING_EVERY.as_secs());
        let regular = self.agent.started.saturating_add(rhythm).unwrap_or(until);
        self.agent.extra_ping.map_or(regular, |extra| extra.max(regular))
    }

    /// The updates out at `now` that concern what is installed here; on Windows all of its product.
    pub(crate) fn offers(&self, now: Timestamp) -> Vec<&'static AvailablePatch> {
        let mut offers = catalogue::offers(self.platform.product(), now);
        offers.extend(self.applications.iter().flat_map(|application| catalogue::offers(application, now)));
        offers.retain(|patch| self.platform.is_windows() || self.packages.contains_key(&patch.kb_id));
        offers
    }

    pub(crate) fn install(&mut self, patch: &AvailablePatch, now: Timestamp) {
        let package = Package::of(patch, now);
        self.packages.insert(patch.kb_id.clone(), Package { since_boot: true, ..package });
    }
}

impl Package {
    pub(crate) fn of(patch: &AvailablePatch, installed: Timestamp) -> Self {
        Self {
            epoch: patch.epoch.clone(),
            version: patch.version.clone(),
            release: patch.release.clone(),
            installed,
            since_boot: false,
        }
    }

    /// The same build as an update, to compare it.
    pub(crate) fn as_patch(&self, kb_id: &str) -> AvailablePatch {
        let (name, arch) = kb_id.rsplit_once('.').unwrap_or((kb_id, ""));
        let Self { epoch, version, release, .. } = self;
        AvailablePatch {
            kb_id: kb_id.to_owned(),
            title: if arch.is_empty() { kb_id.to_owned() } else { format!("{kb_id}:{epoch}:{version}-{release}") },
            name: name.to_owned(),
            epoch: epoch.clone(),
            version: version.clone(),
            release: release.clone(),
            arch: arch.to_owned(),
            ..AvailablePatch::default()
        }
    }
}
