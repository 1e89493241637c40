//! What one account holds in one Region, and the queue of what will happen there.

use crate::{
    association::Association, automation::Automation, command::Command, execution::Execution, node::Node,
    overrides::Frozen, predefined, window::Window,
};
use jiff::{SignedDuration, Timestamp};
use patchplane_rules::{Baseline, BaselineOwner, OperatingSystem};
use serde::Serialize;
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
    /// How many there ever were; their ids come of it.
    pub(crate) nodes_made: usize,
    /// Of volumes, oldest first.
    pub(crate) snapshots: Vec<Snapshot>,
    /// EC2's tags of what is no instance, by id.
    pub(crate) ec2_tags: BTreeMap<String, BTreeMap<String, String>>,
    /// AWS's, then the account's own in the order of their making.
    pub(crate) baselines: Vec<Baseline>,
    /// How many of its own were ever made; their ids come of it.
    pub(crate) baselines_made: u64,
    /// The role of default host management, if it is on (S 10.2).
    pub(crate) host_management: Option<String>,
    /// SSM's tags, by the id of what is tagged (S 11.1).
    pub(crate) tags: BTreeMap<String, BTreeMap<String, String>>,
    /// What snapshot ids stand for, by group and system (S 7.1.5).
    pub(crate) frozen: BTreeMap<(String, String, String), Frozen>,
    /// What nodes can fetch: override lists and baselines, by URL.
    pub(crate) files: BTreeMap<String, String>,
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
    /// The ids of those that have not ended, oldest first; some may have ended since.
    pub(crate) open_executions: Vec<String>,
    /// State Manager's, oldest first.
    pub(crate) associations: Vec<Association>,
    /// Runbooks that were started, oldest first.
    pub(crate) automations: Vec<Automation>,
    /// Compliance items that others put, by node and type (S 8.3.8).
    pub(crate) compliance: BTreeMap<(String, String), PutItems>,
    /// Service settings that were changed, by path, and when (S 11.5.1).
    pub(crate) settings: BTreeMap<String, (String, Timestamp)>,
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

/// What PutComplianceItems said last of a node and a type.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct PutItems {
    /// An ExecutionSummary.
    pub(crate) execution: Value,
    /// With Id, Title, Severity, Status, Details.
    pub(crate) items: Vec<Value>,
}

/// A snapshot of a volume.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) volume: String,
    pub(crate) size: i64,
    pub(crate) description: String,
    pub(crate) started: Timestamp,
    pub(crate) completes: Timestamp,
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
    /// An instance's passing state ends.
    Power {
        node: String,
    },
    /// The agent of a launched instance registers.
    Register {
        node: String,
    },
    /// A terminated instance is shown no more.
    Forget {
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
    /// A runbook's step ends.
    Automate {
        automation: String,
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
            nodes_made: 0,
            snapshots: Vec::new(),
            ec2_tags: BTreeMap::new(),
            baselines: predefined::baselines(region),
            baselines_made: 0,
            host_management: None,
            tags: BTreeMap::new(),
            frozen: BTreeMap::new(),
            files: BTreeMap::new(),
            tokens: BTreeMap::new(),
            groups: BTreeMap::new(),
            commands: VecDeque::new(),
            sent: 0,
            settled: 0,
            windows: Vec::new(),
            executions: VecDeque::new(),
            open_executions: Vec::new(),
            associations: Vec::new(),
            automations: Vec::new(),
            compliance: BTreeMap::new(),
            settings: BTreeMap::new(),
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
            && self.snapshots.is_empty()
            && self.ec2_tags.is_empty()
            && self.groups.is_empty()
            && self.commands.is_empty()
            && self.windows.is_empty()
            && self.host_management.is_none()
            && self.associations.is_empty()
            && self.automations.is_empty()
            && self.compliance.is_empty()
            && self.settings.is_empty()
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
