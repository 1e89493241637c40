//! A look at one simulated location from outside, past every protocol.

use crate::{NodeBuilder, Simulation, Trouble, account::Place, node::Node};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// One account in one Region of a [`Simulation`].
#[derive(Clone, Debug)]
pub struct SimLocation {
    simulation: Simulation,
    account: String,
    region: String,
}

/// What a node's agent was at: runs that it began, each once a command, not again after a reboot; and reboots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeCounts {
    pub account: String,
    pub region: String,
    pub instance_id: String,
    pub name: String,
    pub installs: u32,
    pub scans: u32,
    pub reboots: u32,
}

impl Simulation {
    /// The counts of all nodes, by account, Region and instance id.
    pub fn counts(&self) -> Vec<NodeCounts> {
        let (mut world, now) = self.present();
        world.places.values_mut().for_each(|place| place.play(now));
        let of_place = |place: &Place| {
            let (account, region) = (place.account.clone(), place.region.clone());
            let count = move |node: &Node| NodeCounts {
                account: account.clone(),
                region: region.clone(),
                instance_id: node.id.clone(),
                name: node.name.clone(),
                installs: node.installs,
                scans: node.scans,
                reboots: node.reboots,
            };
            place.nodes.values().map(count).collect::<Vec<_>>()
        };
        world.places.values().flat_map(of_place).collect()
    }
}

impl SimLocation {
    pub(crate) fn new(simulation: Simulation, account: &str, region: &str) -> Self {
        Self { simulation, account: account.to_owned(), region: region.to_owned() }
    }

    /// Describes `n` new nodes alike; nothing is there until [`NodeBuilder::create`].
    pub fn add_nodes(&self, n: usize) -> NodeBuilder {
        NodeBuilder::new(Some(self.clone()), n)
    }

    /// Turns default host management on: nodes created from now on register without an instance profile, too (S 10.2).
    pub fn use_host_management(&self, role: &str) {
        self.with(|place| place.host_management = Some(role.to_owned()));
    }

    /// How many Install commands the node's agent began: once a command, not again after its reboot.
    pub fn installs(&self, instance_id: &str) -> u32 {
        self.node(instance_id, |node| node.installs).unwrap_or(0)
    }

    /// How many Scan commands the node's agent began.
    pub fn scans(&self, instance_id: &str) -> u32 {
        self.node(instance_id, |node| node.scans).unwrap_or(0)
    }

    pub fn reboots(&self, instance_id: &str) -> u32 {
        self.node(instance_id, |node| node.reboots).unwrap_or(0)
    }

    /// How many commands were ever sent here.
    pub fn commands(&self) -> usize {
        self.with(|place| place.sent)
    }

    pub fn tags(&self, instance_id: &str) -> BTreeMap<String, String> {
        self.node(instance_id, |node| node.tags.clone()).unwrap_or_default()
    }

    /// How many approved, applicable patches are not installed right now.
    pub fn missing(&self, instance_id: &str) -> usize {
        let now = self.simulation.clock().now();
        self.with(|place| place.missing(instance_id, now).len())
    }

    /// From now on this goes wrong on the node, or nothing any more. A run that hangs already does so until it expires, a
    /// node that is away stays away until [`Self::comes_back`].
    pub fn trouble(&self, instance_id: &str, trouble: Option<Trouble>) {
        self.with(|place| {
            if let Some(node) = place.nodes.get_mut(instance_id) {
                node.trouble = trouble;
            }
        });
    }

    /// What nodes can fetch at an address from now on, such as an InstallOverrideList; nothing, if there is no content.
    pub fn put_file(&self, url: &str, content: Option<String>) {
        self.with(|place| match content {
            Some(content) => drop(place.files.insert(url.to_owned(), content)),
            None => drop(place.files.remove(url)),
        });
    }

    /// The node is cut off: nobody hears of its agent, and nothing is delivered to it, until [`Self::comes_back`].
    pub fn falls_silent(&self, instance_id: &str) {
        let now = self.now();
        self.with(|place| {
            if let Some(node) = place.nodes.get_mut(instance_id) {
                node.agent.silent_since = Some(now);
            }
        });
    }

    /// A silent node boots now, and its agent goes on with what it was at.
    pub fn comes_back(&self, instance_id: &str) {
        let now = self.now();
        self.with(|place| place.boot(instance_id, now));
    }

    /// From now on, compliance items and summaries follow what nodes report only so much later (how late AWS shows them
    /// is not documented).
    pub fn compliance_appears_after(&self, lag: Duration) {
        self.with(|place| place.compliance_lag = lag);
    }

    /// From now on, the runs of windows and associations are listed only so long after their start: later than the commands
    /// that they send.
    pub fn runs_appear_after(&self, lag: Duration) {
        self.with(|place| place.run_lag = lag);
    }

    /// From now on, ListCommands does not list by itself what State Manager sent: the API model calls what it lists
    /// "requested by users of the account", and which of the two AWS does is unverified.
    pub fn hide_association_commands(&self) {
        self.with(|place| place.association_commands_hidden = true);
    }

    /// AWS remembers no ClientToken any more: for how long it does is unverified (S 3.1.9).
    pub fn forget_tokens(&self) {
        self.with(|place| place.tokens.clear());
    }

    /// From now on, operations find a new maintenance window only so long after its creation (S 9.1.5).
    pub fn windows_appear_after(&self, lag: Duration) {
        self.with(|place| place.window_lag = lag);
    }

    /// From now on, lists and look-ups show a new command only so long after its request, however long it has run by then
    /// (S 1.25 names no limit).
    pub fn commands_appear_after(&self, lag: Duration) {
        self.with(|place| place.command_lag = Some(lag));
    }

    /// Whether there is such a node.
    pub fn has(&self, instance_id: &str) -> bool {
        self.node(instance_id, |_| ()).is_some()
    }

    pub(crate) fn seed(&self) -> u64 {
        self.simulation.seed()
    }

    fn node<T>(&self, id: &str, look: impl FnOnce(&Node) -> T) -> Option<T> {
        self.with(|place| place.nodes.get(id).map(look))
    }

    /// Brings the location up to the present time and acts on it.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Place) -> T) -> T {
        let (mut world, now) = self.simulation.present();
        let place = world.place(&self.account, &self.region);
        place.play(now);
        act(place)
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.simulation.clock().now()
    }
}

/// Everything that a location holds, for a fingerprint.
pub(crate) fn state(place: &Place) -> Value {
    let baselines: Vec<_> = place.baselines.iter().map(|b| format!("{b:?}")).collect();
    let groups: Vec<_> = place.groups.iter().map(|((group, system), id)| json!([group, system, id])).collect();
    let put: Vec<_> = place.compliance.iter().collect();
    json!({
        "account": place.account,
        "region": place.region,
        "nodes": place.nodes,
        "snapshots": place.snapshots,
        "ec2_tags": place.ec2_tags,
        "baselines": baselines,
        "tags": place.tags,
        "host_management": place.host_management,
        "groups": groups,
        "commands": place.commands,
        "windows": place.windows,
        "executions": place.executions,
        "associations": place.associations,
        "automations": place.automations,
        "compliance": put,
        "settings": place.settings,
    })
}
