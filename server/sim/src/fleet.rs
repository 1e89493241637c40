//! Builds nodes: what they run, what they lack, and what is wrong with them.

use crate::{
    SimLocation,
    account::Place,
    dice::Dice,
    network::Network,
    node::{Agent, LATEST_AGENT, Node, Package, Report, Volume},
    platform::Platform,
    power::Power,
    trouble::Trouble,
    window::Members,
};
use jiff::{SignedDuration, Timestamp};
use patchplane_rules::{AvailablePatch, PatchState, compare_versions, select};
use std::collections::BTreeMap;

/// Nodes to be created: running, managed Amazon Linux 2 instances that lack nothing, unless told otherwise.
#[derive(Clone, Debug)]
#[must_use = "nothing is there until create()"]
pub struct NodeBuilder {
    /// Unset for those of RunInstances, which are built where they are asked for.
    location: Option<SimLocation>,
    n: usize,
    name: String,
    platform: Platform,
    group: Option<String>,
    tags: BTreeMap<String, String>,
    missing: usize,
    missing_named: Vec<String>,
    running: bool,
    managed: bool,
    offline: bool,
    metadata_tags: bool,
    hybrid: bool,
    applications: Vec<String>,
    profile: bool,
    network: Network,
    agent_version: String,
    past: Option<Past>,
    past_days: Option<u64>,
    trouble: Option<Trouble>,
}

/// The device of a root volume.
pub(crate) const ROOT_DEVICE: &str = "/dev/xvda";

/// How the run ended that left the node's patch state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Past {
    Scan,
    FailedInstall,
    PendingReboot,
}

impl NodeBuilder {
    pub(crate) fn new(location: Option<SimLocation>, n: usize) -> Self {
        Self {
            location,
            n,
            name: "node".to_owned(),
            platform: Platform::AmazonLinux2,
            group: None,
            tags: BTreeMap::new(),
            missing: 0,
            missing_named: Vec::new(),
            running: true,
            managed: true,
            offline: false,
            metadata_tags: false,
            hybrid: false,
            applications: Vec::new(),
            profile: true,
            network: Network::default(),
            agent_version: LATEST_AGENT.to_owned(),
            past: None,
            past_days: None,
            trouble: None,
        }
    }

    /// The tag `Name`: the name itself for one node, `name-1`, `name-2` … for several.
    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    pub fn amazon_linux_2(self) -> Self {
        Self { platform: Platform::AmazonLinux2, ..self }
    }

    pub fn amazon_linux_2023(self) -> Self {
        Self { platform: Platform::AmazonLinux2023, ..self }
    }

    pub fn windows_2019(self) -> Self {
        Self { platform: Platform::Windows2019, ..self }
    }

    /// Its catalogue holds an update that replaces another.
    pub fn windows_2022(self) -> Self {
        Self { platform: Platform::Windows2022, ..self }
    }

    pub fn ubuntu(self) -> Self {
        Self { platform: Platform::Ubuntu2204, ..self }
    }

    /// Red Hat Enterprise Linux 8.6.
    pub fn rhel(self) -> Self {
        Self { platform: Platform::Rhel8, ..self }
    }

    /// Bottlerocket, which Patch Manager cannot patch: its runs fail with exit code 146.
    pub fn unsupported_os(self) -> Self {
        Self { platform: Platform::Bottlerocket, ..self }
    }

    /// Of one's own data centre: an `mi-` node that EC2 does not know, tagged in Systems Manager.
    pub fn hybrid(self) -> Self {
        Self { hybrid: true, ..self }
    }

    /// With one of Microsoft's applications, whose updates it lacks: `Office 2016`.
    pub fn with_application(mut self, product: &str) -> Self {
        self.applications.push(product.to_owned());
        self
    }

    /// No instance profile. It never registered, unless default host management is on or [`Self::offline`] says that
    /// it once did.
    pub fn without_profile(self) -> Self {
        Self { profile: false, ..self }
    }

    /// In a subnet without a default route and without endpoints. It never registered, unless [`Self::offline`].
    pub fn without_route(self) -> Self {
        Self { network: Network::Isolated, ..self }
    }

    /// Its security group lets nothing out. It never registered, unless [`Self::offline`].
    pub fn without_egress(self) -> Self {
        Self { network: Network::Closed, ..self }
    }

    /// In a VPC without a default route that has endpoints for Systems Manager and S3.
    pub fn behind_endpoints(self) -> Self {
        Self { network: Network::Endpoints, ..self }
    }

    /// With the tag that Auto Scaling sets.
    pub fn in_auto_scaling_group(self, name: &str) -> Self {
        self.tagged("aws:autoscaling:groupName", name)
    }

    pub fn agent_version(self, version: &str) -> Self {
        Self { agent_version: version.to_owned(), ..self }
    }

    /// Tagged `Patch Group`, or `PatchGroup` where metadata tags forbid the space (S 5.2).
    pub fn in_group(self, group: &str) -> Self {
        Self { group: Some(group.to_owned()), ..self }
    }

    pub fn tagged(mut self, key: &str, value: &str) -> Self {
        self.tags.insert(key.to_owned(), value.to_owned());
        self
    }

    /// How many patches that the default baseline approves now are not installed; at most what the catalogue holds
    /// (about 100 for Amazon Linux 2, 40 for Amazon Linux 2023, 50 for Ubuntu, 12 for Red Hat Enterprise Linux, 5 for
    /// Windows 2019).
    pub fn missing_patches(self, k: usize) -> Self {
        Self { missing: k, ..self }
    }

    /// These updates are out and not installed, whatever the baseline says of them: by KB id, as `curl.x86_64`.
    pub fn missing_updates(mut self, kb_ids: &[&str]) -> Self {
        self.missing_named.extend(kb_ids.iter().map(|&id| id.to_owned()));
        self
    }

    pub fn stopped(self) -> Self {
        Self { running: false, ..self }
    }

    /// Known to EC2 only.
    pub fn unmanaged(self) -> Self {
        Self { managed: false, ..self }
    }

    /// Registered, but not heard of for hours: ConnectionLost.
    pub fn offline(self) -> Self {
        Self { offline: true, ..self }
    }

    /// Tags are readable in instance metadata, so that keys may hold no space.
    pub fn metadata_tags(self) -> Self {
        Self { metadata_tags: true, ..self }
    }

    /// There is a patch state from a scan some hours ago.
    pub fn already_scanned(self) -> Self {
        Self { past: self.past.or(Some(Past::Scan)), ..self }
    }

    /// The patch state is this old.
    pub fn scanned_days_ago(self, days: u64) -> Self {
        Self { past_days: Some(days), ..self.already_scanned() }
    }

    /// The patch state is of an installation in which the missing patches (at least one) failed.
    pub fn last_run_failed(self) -> Self {
        Self { past: Some(Past::FailedInstall), missing: self.missing.max(1), ..self }
    }

    /// The patch state is of an installation without a reboot, and a patch waits for one.
    pub fn pending_reboot(self) -> Self {
        Self { past: Some(Past::PendingReboot), ..self }
    }

    /// Every installation of a patch fails.
    pub fn install_fails(self) -> Self {
        self.troubled(Trouble::InstallsFail)
    }

    /// This goes wrong on them; see [`SimLocation::trouble`].
    pub fn troubled(self, trouble: Trouble) -> Self {
        Self { trouble: Some(trouble), ..self }
    }

    /// Creates the nodes and answers with their ids.
    pub fn create(self) -> Vec<String> {
        let Some(location) = self.location.clone() else { return Vec::new() };
        let now = location.now();
        location.with(|place| {
            let before = place.nodes_made;
            let launch = Dice::new(place.seed, &["launch", &place.account, &place.region, &before.to_string()]).hex(16);
            let mut ids = Vec::new();
            for index in 0..self.n {
                let name = if self.n == 1 { self.name.clone() } else { format!("{}-{}", self.name, index + 1) };
                let node = self.node(place, before + index, name, format!("r-0{launch}"), now);
                let id = node.id.clone();
                place.nodes_made += 1;
                place.nodes.insert(id.clone(), node);
                if let Some(past) = self.past {
                    run_in_the_past(place, &id, now, past, self.past_days);
                }
                ids.push(id);
            }
            ids
        })
    }

    pub(crate) fn of_platform(self, platform: Platform) -> Self {
        Self { platform, ..self }
    }

    pub(crate) fn in_network(self, network: Network) -> Self {
        Self { network, ..self }
    }

    pub(crate) fn node(
        &self,
        place: &Place,
        ordinal: usize,
        name: String,
        reservation: String,
        now: Timestamp,
    ) -> Node {
        let mut dice = Dice::new(place.seed, &["node", &place.account, &place.region, &ordinal.to_string()]);
        let ago = |seconds: u64| crate::clock::earlier(now, seconds);
        let mut tags = self.tags.clone();
        tags.insert("Name".to_owned(), name.clone());
        if let Some(group) = &self.group {
            let key = if self.metadata_tags { "PatchGroup" } else { "Patch Group" };
            tags.insert(key.to_owned(), group.clone());
        }
        let id = format!("{}-0{}", if self.hybrid { "mi" } else { "i" }, dice.hex(16));
        let root = Volume {
            id: format!("vol-0{}", Dice::new(place.seed, &["volume", &id]).hex(16)),
            device: ROOT_DEVICE.to_owned(),
            size: if self.platform.is_windows() { 30 } else { 8 },
            kind: "gp3".to_owned(),
            deleted_on_termination: true,
        };
        let launched = ago(dice.between(10 * 86_400, 300 * 86_400));
        let silent_since = match (self.running, self.offline) {
            (true, false) => None,
            _ => Some(ago(dice.between(3 * 3600, 9 * 3600))),
        };
        let profile = self.managed && self.profile && !self.hybrid;
        let role = place.host_management.clone().filter(|_| !profile && !self.hybrid);
        let registers = self.hybrid || (self.network.reaches_aws() && (profile || role.is_some()));
        let third = ordinal / 200 + if self.network == Network::Isolated { 16 } else { 0 };
        Node {
            id,
            name,
            platform: self.platform,
            reservation,
            private_ip: format!("{}.{third}.{}", self.network.prefix(), 10 + ordinal % 200),
            launched,
            power: if self.running { Power::Running } else { Power::Stopped },
            launch: Members::new(),
            volumes: vec![root],
            hybrid: self.hybrid,
            applications: self.applications.clone(),
            profile,
            network: self.network,
            role: role
                .or_else(|| self.hybrid.then(|| "service-role/AmazonEC2RunCommandRoleForManagedInstances".into())),
            managed: self.managed && (registers || self.offline),
            metadata_tags: self.metadata_tags,
            trouble: self.trouble.clone(),
            tags,
            packages: packages(place, self.platform, self.missing, &self.missing_named, now, &mut dice),
            agent: Agent {
                started: launched,
                extra_ping: None,
                silent_since,
                busy_with: None,
                resumes: None,
                version: self.agent_version.clone(),
            },
            report: None,
            before: None,
            installs: 0,
            scans: 0,
            reboots: 0,
        }
    }
}

/// What is installed: of the approved updates all but `missing` and those named (these in an older build), and some
/// others.
fn packages(
    place: &Place,
    platform: Platform,
    missing: usize,
    named: &[String],
    now: Timestamp,
    dice: &mut Dice,
) -> BTreeMap<String, Package> {
    let offers = crate::catalogue::offers(platform.product(), now);
    let Some(baseline) = place.default_baseline(platform.system()) else { return BTreeMap::new() };
    let mut approved: Vec<&AvailablePatch> =
        select(baseline, offers.iter().copied(), now).into_iter().map(|(patch, _)| patch).collect();
    // A live patch is for one kernel only; the simulated nodes run none.
    approved.retain(|patch| !patch.name.contains("livepatch"));
    let mut others: Vec<&AvailablePatch> =
        offers.iter().copied().filter(|o| !approved.iter().any(|a| a.kb_id == o.kb_id)).collect();
    dice.shuffle(&mut approved);
    dice.shuffle(&mut others);
    let (mut installed, mut other) = (dice.between(8, 14), dice.between(3, 6));
    if platform.is_windows() {
        (installed, other) = (u64::MAX, u64::MAX);
    }
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let is_named = |patch: &&AvailablePatch| named.contains(&patch.kb_id);
    approved.retain(|patch| !is_named(patch));
    others.retain(|patch| !is_named(patch));
    let lacking = missing.min(approved.len());
    let mut packages = BTreeMap::new();
    let when = |dice: &mut Dice| crate::clock::earlier(now, dice.between(2 * 86_400, 90 * 86_400));
    let mut wanted: BTreeMap<&str, &AvailablePatch> = BTreeMap::new();
    for patch in offers.iter().copied().filter(is_named) {
        let newest = wanted.entry(&patch.kb_id).or_insert(patch);
        if compare_versions(patch, newest).is_gt() {
            *newest = patch;
        }
    }
    for patch in approved[..lacking].iter().copied().chain(wanted.into_values()) {
        if platform.is_windows() {
            continue;
        }
        let older = offers.iter().filter(|o| o.kb_id == patch.kb_id && compare_versions(o, patch).is_lt());
        let older = older.max_by(|a, b| compare_versions(a, b));
        let package = match older {
            Some(older) => Package::of(older, when(dice)),
            None => Package { release: "0".to_owned(), ..Package::of(patch, when(dice)) },
        };
        packages.insert(patch.kb_id.clone(), package);
    }
    let whole = approved[lacking..].iter().take(count(installed)).chain(others.iter().take(count(other)));
    for patch in whole {
        packages.insert(patch.kb_id.clone(), Package::of(patch, when(dice)));
    }
    packages
}

/// Leaves the report of a run that ended one to six hours ago, or days.
fn run_in_the_past(place: &mut Place, id: &str, now: Timestamp, past: Past, days: Option<u64>) {
    let mut dice = Dice::new(place.seed, &["earlier scan", id]);
    let hours = dice.between(3600, 6 * 3600);
    let ended = crate::clock::earlier(now, days.map_or(hours, |days| days * 86_400));
    let (snapshot_id, command_id) = (dice.uuid(), dice.uuid());
    if past == Past::PendingReboot {
        let before = place.evaluate(id, now, &[]);
        let installed = before.iter().flat_map(|report| &report.rows).find(|row| row.state == PatchState::Installed);
        if let (Some(row), Some(node)) = (installed, place.nodes.get_mut(id))
            && let Some(package) = node.packages.get_mut(&row.kb_id)
        {
            (package.since_boot, package.installed) = (true, ended);
        }
    }
    let missing = if past == Past::FailedInstall { place.missing(id, now) } else { Vec::new() };
    let failed: Vec<_> = missing.into_iter().map(|(patch, _)| patch.title.clone()).collect();
    let Some(found) = place.evaluate(id, now, &failed) else { return };
    if let Some(node) = place.nodes.get_mut(id) {
        node.report = Some(Report {
            patch_group: node.patch_group().to_owned(),
            snapshot_id,
            command_id,
            operation: if past == Past::Scan { "Scan" } else { "Install" }.to_owned(),
            reboot_option: if past == Past::FailedInstall { "RebootIfNeeded" } else { "NoReboot" }.to_owned(),
            started: ended.saturating_sub(SignedDuration::from_secs(31)).unwrap_or(ended),
            ended,
            last_no_reboot_install: (past == Past::PendingReboot).then_some(ended),
            ..found
        });
    }
}
