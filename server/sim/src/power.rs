//! EC2 instances from their launch to their end: what StartInstances and its like begin, and events finish (S 12.3–12.5).

use crate::{
    account::{Event, Place},
    clock::later,
    command::Phase,
    dice::Dice,
    node::Node,
    trouble::Trouble,
};
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// An instance's state (S 12.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Power {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

/// Terminated instances stay visible about this long (S 2.14).
const LINGERS: Duration = Duration::from_secs(3600);

impl Power {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

impl Place {
    /// Brings an instance into a passing state, which ends by itself.
    pub(crate) fn change_power(&mut self, id: &str, to: Power, at: Timestamp) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.power = to;
        let seconds = match to {
            Power::Pending => (3, 6),
            _ => {
                node.agent.silent_since.get_or_insert(at);
                (20, 40)
            }
        };
        let when = self.in_some_time("power", seconds, id, at);
        self.queue(when, Event::Power { node: id.to_owned() });
    }

    /// The passing state ends.
    pub(crate) fn power_changed(&mut self, id: &str, at: Timestamp) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        match node.power {
            Power::Pending => {
                node.power = Power::Running;
                node.launched = at;
                self.up(id, at);
                let when = self.in_some_time("register", (5, 9), id, at);
                self.queue(when, Event::Register { node: id.to_owned() });
            }
            Power::Stopping => node.power = Power::Stopped,
            Power::ShuttingDown => {
                (node.power, node.managed) = (Power::Terminated, false);
                self.queue(later(at, LINGERS), Event::Forget { node: id.to_owned() });
            }
            Power::Running | Power::Terminated | Power::Stopped => {}
        }
    }

    /// The agent of a launched instance registers. One without a profile gets the account's, as Quick Setup's host
    /// management attaches it.
    pub(crate) fn register(&mut self, id: &str, at: Timestamp) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        if node.power == Power::Running && !node.managed && node.network.reaches_aws() {
            (node.managed, node.profile, node.agent.started) = (true, true, at);
        }
    }

    /// The system goes down at once and comes up again, whatever the agent was at (S 12.3).
    pub(crate) fn reboot_by_ec2(&mut self, id: &str, at: Timestamp) {
        let usual = self.in_some_time("reboot", (60, 90), id, at);
        let node = self.nodes.get_mut(id).filter(|node| node.power == Power::Running);
        let Some(node) = node.filter(|node| node.agent.silent_since.is_none()) else { return };
        node.agent.silent_since = Some(at);
        let up = match &node.trouble {
            Some(Trouble::NeverBack) => return,
            Some(Trouble::BackAfter(time)) => later(at, *time),
            _ => usual,
        };
        self.queue(up, Event::Boot { node: id.to_owned() });
    }

    /// The system is up: its agent listens, and begins anew what was cut off.
    pub(crate) fn up(&mut self, id: &str, at: Timestamp) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        (node.agent.started, node.agent.silent_since) = (at, None);
        node.packages.values_mut().for_each(|package| package.since_boot = false);
        let cut_off = node.agent.busy_with.clone().filter(|_| node.agent.resumes.is_none());
        if let Some(command) = cut_off {
            let invocation = self.command_mut(&command).and_then(|command| command.invocation_mut(id));
            let begun = |phase: &Phase| matches!(phase, Phase::Scanning | Phase::Installing(_));
            if let Some(invocation) = invocation.filter(|invocation| begun(&invocation.phase)) {
                invocation.phase = Phase::Scanning;
                let when = self.in_some_time("again", (20, 40), id, at);
                self.queue(when, Event::Proceed { command, node: id.to_owned() });
            }
        }
    }

    fn in_some_time(&self, what: &str, (low, high): (u64, u64), id: &str, at: Timestamp) -> Timestamp {
        let mut dice = Dice::new(self.seed, &[what, id, &at.to_string()]);
        later(at, Duration::from_millis(dice.between(low * 1000, high * 1000)))
    }

    /// The instances that EC2 knows.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| !node.hybrid)
    }
}
