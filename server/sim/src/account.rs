//! What one account holds in one Region, and the queue of what will happen there.

use crate::{association::Association, command::Command, execution::Execution, node::Node, predefined, window::Window};
use jiff::{SignedDuration, Timestamp};
use patchplane_rules::{Baseline, BaselineOwner, OperatingSystem};
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Commands and executions of windows are forgotten after 30 days (S 3.2, 6.3.10).
const HISTORY: SignedDuration = SignedDuration::from_hours(30 * 24);

pub(crate) struct Place {
    pub(crate) seed: u64,
    pub(crate) account: String,
    pub(crate) region: String,
    /// By instance id.
    pub(crate) nodes: BTreeMap<String, Node>,
    /// AWS's, then the account's own in the order of their making.
    pub(crate) baselines: Vec<Baseline>,
    /// How many of its own were ever made; their ids come of it.
    pub(crate) baselines_made: u64,
    /// The role of default host management, if it is on (S 10.2).
    pub(crate) host_management: Option<String>,
    /// SSM's tags, by the id of what is tagged (S 11.1).
    pub(crate) tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Operation and ClientToken to the request and its answer (S 3.1.9).
    pub(crate) tokens: BTreeMap<(String, String), (Value, Value)>,
    /// Patch group and operating system to the id of the registered baseline, as AWS calls want it (S 5.3).
    pub(crate) groups: BTreeMap<(String, String), String>,
    /// Those of the last 30 days, oldest first.
    pub(crate) commands: VecDeque<Command>,
    /// How many commands were ever sent.
    pub(crate) sent: usize,
    /// So many of the oldest commands have ended.
    settled: usize,
    /// Maintenance windows, oldest first.
    pub(crate) windows: Vec<Window>,
    /// What windows ran in the last 30 days, oldest first.
    pub(crate) executions: VecDeque<Execution>,
    /// State Manager's, oldest first.
    pub(crate) associations: Vec<Association>,
    /// How long after its creation other operations find a window (S 9.1.5).
    pub(crate) window_lag: Duration,
    /// How long after their requests reads show commands, if not a moment after (S 1.25).
    pub(crate) command_lag: Option<Duration>,
    /// How long after a node's report its compliance items follow.
    pub(crate) compliance_lag: Duration,
    /// How long after their start the runs of windows and associations are listed.
    pub(crate) run_lag: Duration,
    /// Whether ListCommands leaves out what State Manager sent, unless it is asked for by its id (unverified either way).
    pub(crate) association_commands_hidden: bool,
    /// How many windows, targets, tasks and associations were ever made; their ids come of it.
    pub(crate) window_ids: u64,
    agenda: BTreeMap<(Timestamp, u64), Event>,
    queued: u64,
    /// What is older will be forgotten before anybody can look.
    pub(crate) horizon: Timestamp,
}

/// Something that happens at its time, whether anybody looks or not.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A command reaches its node's queue.
    Deliver {
        command: String,
        node: String,
    },
    /// The agent's run gets to its next phase.
    Proceed {
        command: String,
        node: String,
    },
    /// What of the command has not ended by now never will (S 6.1.18).
    Expire {
        command: String,
    },
    Ping {
        node: String,
    },
    /// A node that went down is up again.
    Boot {
        node: String,
    },
    /// Somebody else's scan of a node, which takes no time.
    ScanByOthers {
        node: String,
    },
    /// A maintenance window opens, if this is still its next time.
    Open {
        window: String,
    },
    /// A State Manager association runs.
    Associate {
        association: String,
    },
    /// A window's execution starts nothing more from now on.
    CutOff {
        execution: String,
    },
}

impl Place {
    pub(crate) fn new(seed: u64, account: &str, region: &str) -> Self {
        Self {
            seed,
            account: account.to_owned(),
            region: region.to_owned(),
            nodes: BTreeMap::new(),
            baselines: predefined::baselines(region),
            baselines_made: 0,
            host_management: None,
            tags: BTreeMap::new(),
            tokens: BTreeMap::new(),
            groups: BTreeMap::new(),
            commands: VecDeque::new(),
            sent: 0,
            settled: 0,
            windows: Vec::new(),
            executions: VecDeque::new(),
            associations: Vec::new(),
            window_lag: Duration::ZERO,
            command_lag: None,
            compliance_lag: Duration::ZERO,
            run_lag: Duration::ZERO,
            association_commands_hidden: false,
            window_ids: 0,
            agenda: BTreeMap::new(),
            queued: 0,
            horizon: Timestamp::MIN,
        }
    }

    pub(crate) fn queue(&mut self, at: Timestamp, event: Event) {
        self.agenda.insert((at, self.queued), event);
        self.queued += 1;
    }

    /// Lets happen what was due until now, in the order of time.
    pub(crate) fn play(&mut self, now: Timestamp) {
        self.horizon = now.saturating_sub(HISTORY).unwrap_or(Timestamp::MIN);
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.happen(event, at);
        }
    }

    /// The baseline that nodes of this group and system use (S 5.10).
    pub(crate) fn baseline_for(&self, group: &str, system: &str) -> Option<&Baseline> {
        match self.groups.get(&(group.to_owned(), system.to_owned())) {
            Some(aws_id) => self.baseline(aws_id),
            None => self.default_baseline(system),
        }
    }

    pub(crate) fn default_baseline(&self, system: &str) -> Option<&Baseline> {
        let of_system = OperatingSystem::observed(system);
        self.baselines.iter().find(|b| b.summary.default && b.summary.operating_system == of_system)
    }

    /// By ARN, or by bare id among the account's own (S 4.1.1–2).
    pub(crate) fn baseline(&self, aws_id: &str) -> Option<&Baseline> {
        let mine = format!(":ssm:{}:{}:patchbaseline/", self.region, self.account);
        let bare = match aws_id.split_once(&mine) {
            Some((partition, bare)) if partition.starts_with("arn:aws") => bare,
            _ => aws_id,
        };
        self.baselines.iter().find(|baseline| baseline.summary.aws_id == bare)
    }

    pub(crate) fn own_baselines(&self) -> impl Iterator<Item = &Baseline> {
        self.baselines.iter().filter(|baseline| baseline.summary.owner == BaselineOwner::Account)
    }

    /// Whether nothing was ever made or changed here.
    pub(crate) fn is_untouched(&self) -> bool {
        self.nodes.is_empty()
            && self.groups.is_empty()
            && self.commands.is_empty()
            && self.windows.is_empty()
            && self.host_management.is_none()
            && self.associations.is_empty()
            && self.baselines == predefined::baselines(&self.region)
    }

    pub(crate) fn command(&self, id: &str) -> Option<&Command> {
        self.commands.iter().rfind(|command| command.id == id)
    }

    pub(crate) fn command_mut(&mut self, id: &str) -> Option<&mut Command> {
        self.commands.iter_mut().rfind(|command| command.id == id)
    }

    /// Adds a command, and forgets what is too old to be seen.
    pub(crate) fn keep(&mut self, command: Command) {
        let oldest = command.requested.saturating_sub(HISTORY).unwrap_or(Timestamp::MIN);
        while self.commands.front().is_some_and(|old| old.requested < oldest && old.has_ended()) {
            self.commands.pop_front();
            self.settled = self.settled.saturating_sub(1);
        }
        self.sent += 1;
        self.commands.push_back(command);
    }

    /// Forgets the executions of windows that are too old to be seen at this time.
    pub(crate) fn forget_executions(&mut self, at: Timestamp) {
        let oldest = at.saturating_sub(HISTORY).unwrap_or(Timestamp::MIN);
        while self.executions.front().is_some_and(|old| old.started < oldest && old.ended.is_some()) {
            self.executions.pop_front();
        }
    }

    /// The commands from the oldest that has not ended on, and the nodes.
    pub(crate) fn open_commands(&mut self) -> (impl Iterator<Item = &mut Command>, &mut BTreeMap<String, Node>) {
        while self.commands.get(self.settled).is_some_and(Command::has_ended) {
            self.settled += 1;
        }
        (self.commands.iter_mut().skip(self.settled), &mut self.nodes)
    }

    /// The commands that can be seen: not those of the last moments (S 1.25), nor those older than the history.
    pub(crate) fn visible_commands(&self, now: Timestamp) -> impl DoubleEndedIterator<Item = &Command> {
        self.commands.iter().filter(move |c| c.visible <= now && now.duration_since(c.requested) <= HISTORY)
    }
}
