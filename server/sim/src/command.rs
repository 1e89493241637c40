//! Run Command's side of a command: its invocations, and the states that are derived from them (S 6.2).

use crate::documents;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

/// The step timeout of AWS-RunPatchBaseline, in seconds (S 6.1.17).
pub(crate) const STEP_TIMEOUT: u64 = 7200;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Command {
    pub(crate) id: String,
    pub(crate) requested: Timestamp,
    /// From when reads show it.
    pub(crate) visible: Timestamp,
    pub(crate) expires: Timestamp,
    /// The members that the answer echoes as they were given.
    pub(crate) echo: Map<String, Value>,
    pub(crate) origin: Origin,
    pub(crate) run: RunParameters,
    /// How many nodes run at once.
    pub(crate) concurrency: usize,
    /// How many errors are tolerated (S 6.1.13).
    pub(crate) tolerated: usize,
    pub(crate) cancel_requested: bool,
    pub(crate) stopped_by_errors: bool,
    pub(crate) invocations: Vec<Invocation>,
}

/// Who sent a command. No answer of the API tells it of the command itself (S 6.2, 9.5.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Origin {
    Caller,
    /// An execution of a maintenance window, for one of the window's targets.
    Window {
        execution: String,
        owner_information: String,
    },
    /// State Manager, for one of its associations.
    Association {
        association: String,
    },
}

/// What is run: a document, and of those that patch how (S 7.1.2).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunParameters {
    pub(crate) document: &'static str,
    pub(crate) patches: bool,
    /// As they were given.
    pub(crate) given: Value,
    pub(crate) install: bool,
    pub(crate) no_reboot: bool,
    pub(crate) snapshot_id: Option<String>,
    /// AssociationId is given: a patch policy's run.
    pub(crate) by_policy: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Invocation {
    pub(crate) instance_id: String,
    pub(crate) computer_name: String,
    pub(crate) status: &'static str,
    pub(crate) details: &'static str,
    pub(crate) phase: Phase,
    /// The step that this node's platform runs.
    pub(crate) own_step: &'static str,
    pub(crate) started: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    /// -1 until the step has ended (S 6.3.5).
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) snapshot_id: String,
    pub(crate) installed: Vec<String>,
    pub(crate) failed: Vec<String>,
}

/// Where an agent is in its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Phase {
    /// Not delivered: `due` once it waits for nothing but its node or a free slot.
    Waiting {
        due: bool,
    },
    /// Another run was there first.
    Racing,
    Scanning,
    /// The updates still to be installed, by KB id.
    Installing(Vec<String>),
    Rebooting,
    /// The step's second run, after the reboot.
    Verifying,
    Ended,
}

impl RunParameters {
    /// The first value of a parameter; empty when it is not given.
    pub(crate) fn text(&self, parameter: &str) -> &str {
        self.given[parameter][0].as_str().unwrap_or_default()
    }

    pub(crate) fn install_override(&self) -> bool {
        self.install && !self.text("InstallOverrideList").is_empty()
    }

    /// A policy's nodes have its baselines; here those are the default ones.
    pub(crate) fn baseline_override(&self) -> bool {
        !self.by_policy && !self.text("BaselineOverride").is_empty()
    }
}

impl Command {
    /// Names and actions of the document's steps.
    pub(crate) fn steps(&self) -> &'static [(&'static str, &'static str)] {
        documents::find(self.run.document).map_or(&[], |document| document.steps)
    }

    pub(crate) fn invocation(&self, node: &str) -> Option<&Invocation> {
        self.invocations.iter().find(|invocation| invocation.instance_id == node)
    }

    pub(crate) fn invocation_mut(&mut self, node: &str) -> Option<&mut Invocation> {
        self.invocations.iter_mut().find(|invocation| invocation.instance_id == node)
    }

    pub(crate) fn running(&self) -> usize {
        self.invocations.iter().filter(|i| !matches!(i.phase, Phase::Waiting { .. } | Phase::Ended)).count()
    }

    /// Failed and ExecutionTimedOut count as errors (S 6.1.16).
    pub(crate) fn errors(&self) -> usize {
        self.count(&["Failed", "ExecutionTimedOut"])
    }

    pub(crate) fn completed(&self) -> usize {
        self.invocations.iter().filter(|invocation| invocation.phase == Phase::Ended).count()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.completed() == self.invocations.len()
    }

    pub(crate) fn count(&self, details: &[&str]) -> usize {
        self.invocations.iter().filter(|invocation| details.contains(&invocation.details)).count()
    }

    /// Spares the nodes that have not begun; those that run may still end by themselves (S 6.4). No ids: all nodes.
    pub(crate) fn cancel(&mut self, only: &[String]) {
        self.cancel_requested |= !self.has_ended();
        for invocation in &mut self.invocations {
            if !only.is_empty() && !only.contains(&invocation.instance_id) {
                continue;
            }
            match invocation.phase {
                Phase::Waiting { .. } => invocation.close("Cancelled", "Cancelled"),
                Phase::Ended => {}
                _ => (invocation.status, invocation.details) = ("Cancelling", "Cancelling"),
            }
        }
    }

    /// The command's Status and StatusDetails (S 6.1.6, 6.1.15, 6.2.2–3).
    pub(crate) fn status(&self) -> (&'static str, &'static str) {
        let all = self.invocations.len();
        if all == 0 {
            return ("Success", "NoInstancesInTag");
        }
        if self.completed() < all {
            return match self.invocations.iter().all(|i| matches!(i.phase, Phase::Waiting { .. })) {
                _ if self.cancel_requested => ("Cancelling", "Cancelling"),
                true => ("Pending", "Pending"),
                false => ("InProgress", "InProgress"),
            };
        }
        match self.count(&["Success"]) {
            successes if successes == all => ("Success", "Success"),
            _ if self.errors() > self.tolerated => ("Failed", "Failed"),
            _ if self.cancel_requested => ("Cancelled", "Cancelled"),
            _ if self.count(&["DeliveryTimedOut"]) == all => ("TimedOut", "DeliveryTimedOut"),
            _ => ("Failed", "Incomplete"),
        }
    }
}

impl Invocation {
    pub(crate) fn new(instance_id: &str, computer_name: String, own_step: &'static str, snapshot_id: String) -> Self {
        Self {
            instance_id: instance_id.to_owned(),
            computer_name,
            status: "Pending",
            details: "Pending",
            phase: Phase::Waiting { due: false },
            own_step,
            started: None,
            ended: None,
            code: -1,
            stdout: String::new(),
            stderr: String::new(),
            snapshot_id,
            installed: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Ends it without a result of the step.
    pub(crate) fn close(&mut self, status: &'static str, details: &'static str) {
        self.status = status;
        self.details = details;
        self.phase = Phase::Ended;
    }
}
