//! Fleets by description: nodes as JSON tells them, and a mixed fleet of any size.

use crate::{NodeBuilder, SimLocation, Trouble, dice::Dice};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Nodes to be created, alike; what is not said is as [`SimLocation::add_nodes`] has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    #[serde(default = "one")]
    count: usize,
    name: Option<String>,
    platform: Option<PlatformName>,
    group: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    missing_patches: usize,
    /// Microsoft's, on Windows: `Office 2016`.
    #[serde(default)]
    applications: Vec<String>,
    /// By KB id, as `curl.x86_64`.
    #[serde(default)]
    missing_updates: Vec<String>,
    #[serde(default)]
    state: State,
    #[serde(default)]
    hybrid: bool,
    #[serde(default)]
    metadata_tags: bool,
    #[serde(default)]
    scanned: bool,
    trouble: Option<Trouble>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PlatformName {
    #[serde(rename = "amazon_linux_2")]
    AmazonLinux2,
    #[serde(rename = "amazon_linux_2023")]
    AmazonLinux2023,
    Ubuntu,
    Rhel,
    #[serde(rename = "windows_2019")]
    Windows2019,
    #[serde(rename = "windows_2022")]
    Windows2022,
    Bottlerocket,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    #[default]
    Running,
    Stopped,
    /// Known to EC2 only.
    Unmanaged,
    /// Registered, and not heard of for hours.
    Offline,
}

fn one() -> usize {
    1
}

impl NodeSpec {
    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

impl SimLocation {
    /// Nodes as described; nothing is there until [`NodeBuilder::create`].
    pub fn add(&self, spec: &NodeSpec) -> NodeBuilder {
        let mut nodes = self.add_nodes(spec.count).missing_patches(spec.missing_patches);
        nodes = match spec.platform {
            None | Some(PlatformName::AmazonLinux2) => nodes,
            Some(PlatformName::AmazonLinux2023) => nodes.amazon_linux_2023(),
            Some(PlatformName::Ubuntu) => nodes.ubuntu(),
            Some(PlatformName::Rhel) => nodes.rhel(),
            Some(PlatformName::Windows2019) => nodes.windows_2019(),
            Some(PlatformName::Windows2022) => nodes.windows_2022(),
            Some(PlatformName::Bottlerocket) => nodes.unsupported_os(),
        };
        nodes = match spec.state {
            State::Running => nodes,
            State::Stopped => nodes.stopped(),
            State::Unmanaged => nodes.unmanaged(),
            State::Offline => nodes.offline(),
        };
        let updates: Vec<&str> = spec.missing_updates.iter().map(String::as_str).collect();
        nodes = nodes.missing_updates(&updates);
        nodes = spec.applications.iter().fold(nodes, |nodes, application| nodes.with_application(application));
        nodes = spec.tags.iter().fold(nodes, |nodes, (key, value)| nodes.tagged(key, value));
        for (wanted, with) in [
            (spec.hybrid, NodeBuilder::hybrid as fn(NodeBuilder) -> NodeBuilder),
            (spec.metadata_tags, NodeBuilder::metadata_tags),
            (spec.scanned, NodeBuilder::already_scanned),
        ] {
            nodes = if wanted { with(nodes) } else { nodes };
        }
        nodes = spec.name.iter().fold(nodes, |nodes, name| nodes.named(name));
        nodes = spec.group.iter().fold(nodes, |nodes, group| nodes.in_group(group));
        spec.trouble.iter().fold(nodes, |nodes, trouble| nodes.troubled(trouble.clone()))
    }

    /// So many more nodes of a mixed fleet: web servers on Amazon Linux 2 above all, some databases on Amazon Linux 2023, some
    /// on Ubuntu and Windows, each in its patch group and lacking a few updates. Answers with their ids.
    pub fn populate(&self, instances: usize) -> Vec<String> {
        let mut dice = Dice::new(self.seed(), &["populate"]);
        let mut create = |number: usize| {
            let missing = usize::try_from(dice.between(1, 6)).unwrap_or(1);
            let nodes = self.add_nodes(1).missing_patches(missing);
            let (sixth, round) = (number % 6, number / 6);
            let (nodes, group, ordinal) = match sixth {
                0..3 => (nodes, "web", round * 3 + sixth),
                3 => (nodes.amazon_linux_2023(), "db", round),
                4 => (nodes.ubuntu(), "api", round),
                _ => (nodes.windows_2022(), "win", round),
            };
            nodes.named(&format!("{group}-{}", ordinal + 1)).in_group(group).create()
        };
        (0..instances).flat_map(&mut create).collect()
    }
}
