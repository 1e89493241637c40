//! What happens on the nodes: delivery, scan, installation, reboot and the report, one event after the other.

use crate::{
    account::{Event, Place},
    clock::later,
    command::{Invocation, Origin, Phase},
    dice::Dice,
    node::Report,
    output,
};
use jiff::Timestamp;
use std::time::Duration;

impl Place {
    /// Lets one event happen at its time.
    pub(crate) fn happen(&mut self, event: Event, at: Timestamp) {
        match event {
            Event::Open { window } => self.open(&window, at),
            Event::Associate { association } => self.association_due(&association, at),
            Event::CutOff { execution } => self.cut_off(&execution, at),
            Event::Deliver { command, node } => {
                let invocation = self.command_mut(&command).and_then(|c| c.invocation_mut(&node));
                if let Some(invocation) = invocation
                    && matches!(invocation.phase, Phase::Waiting { .. })
                {
                    invocation.phase = Phase::Waiting { due: true };
                }
                self.deliver_due(at);
            }
            Event::Proceed { command, node } => {
                self.proceed(&command, &node, at);
                self.command_ended(&command, at);
            }
            Event::Expire { command } => {
                self.expire(&command, at);
                self.command_ended(&command, at);
            }
            Event::Ping { node } => {
                if let Some(node) = self.nodes.get_mut(&node).filter(|node| node.reachable()) {
                    node.agent.extra_ping = Some(at);
                }
            }
        }
    }

    /// Starts every run that waits for nothing any more: its time has come, its node listens, a slot is free.
    fn deliver_due(&mut self, at: Timestamp) {
        let mut started = Vec::new();
        let (commands, nodes) = self.open_commands();
        for command in commands {
            let mut free = command.concurrency.saturating_sub(command.running());
            for invocation in &mut command.invocations {
                let Some(node) = nodes.get_mut(&invocation.instance_id) else { continue };
                if invocation.phase != (Phase::Waiting { due: true }) || free == 0 {
                    continue;
                }
                if !node.reachable() {
                    (invocation.status, invocation.details) = ("Delayed", "Delayed");
                    continue;
                }
                free -= 1;
                *if command.run.install { &mut node.installs } else { &mut node.scans } += 1;
                (invocation.status, invocation.details) = ("InProgress", "InProgress");
                invocation.started = Some(at);
                let locked = node.agent.busy_with.is_some();
                if !locked {
                    node.agent.busy_with = Some(command.id.clone());
                }
                invocation.phase = if locked { Phase::Locked } else { Phase::Scanning };
                started.push((command.id.clone(), node.id.clone(), if locked { (5, 10) } else { (20, 40) }));
            }
        }
        for (command, node, seconds) in started {
            self.proceed_in(seconds, &command, &node, at);
        }
    }

    fn proceed_in(&mut self, (low, high): (u64, u64), command: &str, node: &str, at: Timestamp) {
        let mut dice = Dice::new(self.seed, &["proceed", command, node, &at.to_string()]);
        let when = later(at, Duration::from_millis(dice.between(low * 1000, high * 1000)));
        self.queue(when, Event::Proceed { command: command.to_owned(), node: node.to_owned() });
    }

    fn proceed(&mut self, command_id: &str, node_id: &str, at: Timestamp) {
        let Some(index) = self.commands.iter().rposition(|c| c.id == command_id) else { return };
        let run = self.commands[index].run.clone();
        let Some(invocation) = self.commands[index].invocation(node_id).cloned() else { return };
        match invocation.phase {
            Phase::Waiting { .. } | Phase::Ended => {}
            Phase::Locked => {
                self.finish(index, node_id, 1, String::new(), output::LOCKED.to_owned(), at);
            }
            Phase::Scanning if invocation.status == "Cancelling" => {
                self.release(index, node_id, at, |invocation| invocation.close("Cancelled", "Cancelled"));
                self.deliver_due(at);
            }
            Phase::Scanning if !self.nodes.get(node_id).is_some_and(|node| node.platform.is_supported()) => {
                self.finish(index, node_id, 146, String::new(), output::UNSUPPORTED.to_owned(), at);
            }
            Phase::Scanning if run.overridden => {
                self.finish(index, node_id, 160, String::new(), output::OVERRIDE.to_owned(), at);
            }
            Phase::Scanning if run.install => {
                let missing = self.missing(node_id, at);
                self.install_next(index, node_id, missing.iter().map(|(p, _)| p.kb_id.clone()).collect(), at);
            }
            Phase::Scanning => self.report(index, node_id, at),
            Phase::Installing(mut queue) => {
                let kb_id = queue.remove(0);
                self.install_one(index, node_id, &kb_id, at);
                self.install_next(index, node_id, queue, at);
            }
            Phase::Rebooting => {
                if let Some(node) = self.nodes.get_mut(node_id) {
                    node.reboots += 1;
                    node.agent.started = at;
                    node.agent.silent_since = None;
                    node.packages.values_mut().for_each(|package| package.since_boot = false);
                }
                self.set_phase(index, node_id, Phase::Verifying);
                self.proceed_in((8, 15), command_id, node_id, at);
                self.deliver_due(at);
            }
            Phase::Verifying => self.report(index, node_id, at),
        }
    }

    /// Goes on with the next update, or reboots, or ends.
    fn install_next(&mut self, index: usize, node_id: &str, queue: Vec<String>, at: Timestamp) {
        let command_id = self.commands[index].id.clone();
        if !queue.is_empty() {
            self.set_phase(index, node_id, Phase::Installing(queue));
            return self.proceed_in((5, 15), &command_id, node_id, at);
        }
        // S 7.2.1: whether a patch needs the reboot is not looked at.
        let pending = self.nodes.get(node_id).is_some_and(|node| node.packages.values().any(|p| p.since_boot));
        if !pending || self.commands[index].run.no_reboot {
            return self.report(index, node_id, at);
        }
        // The payload uploads what it did before it asks for the reboot, and again when the step has run anew (S 7.2.4 for
        // the latter; that it does so before is unverified, and a client must be right either way).
        self.upload(index, node_id, at);
        self.set_phase(index, node_id, Phase::Rebooting);
        if let Some(node) = self.nodes.get_mut(node_id) {
            node.agent.silent_since = Some(at);
        }
        self.proceed_in((60, 90), &command_id, node_id, at);
    }

    fn install_one(&mut self, index: usize, node_id: &str, kb_id: &str, at: Timestamp) {
        let missing = self.missing(node_id, at).into_iter().find(|(patch, _)| patch.kb_id == kb_id);
        let Some((patch, _)) = missing else { return };
        let need = self.rejected_need(node_id, patch, at);
        let Some(node) = self.nodes.get_mut(node_id) else { return };
        let fails = node.install_fails || need.is_some_and(|(_, blocked)| blocked);
        if !fails {
            node.install(patch, at);
            if let Some((library, _)) = need {
                node.install(library, at);
            }
        }
        if let Some(invocation) = self.commands[index].invocation_mut(node_id) {
            if fails { &mut invocation.failed } else { &mut invocation.installed }.push(patch.title.clone());
        }
    }

    /// Uploads the node's state and ends the step.
    fn report(&mut self, index: usize, node_id: &str, at: Timestamp) {
        let Some((code, stdout, stderr)) = self.upload(index, node_id, at) else { return };
        self.finish(index, node_id, code, stdout, stderr, at);
    }

    /// Uploads the node's state, overwriting the last (S 8.2.1); answers the step's exit code and output.
    fn upload(&mut self, index: usize, node_id: &str, at: Timestamp) -> Option<(i32, String, String)> {
        let run = self.commands[index].run.clone();
        let invocation = self.commands[index].invocation(node_id).cloned()?;
        let found = self.evaluate(node_id, at, &invocation.failed)?;
        let owner_information = match &self.commands[index].origin {
            Origin::Window { owner_information, .. } => owner_information.clone(),
            Origin::Caller | Origin::Association { .. } => String::new(),
        };
        let node = self.nodes.get_mut(node_id)?;
        let started = invocation.started.unwrap_or(at);
        let report = Report {
            patch_group: node.patch_group().to_owned(),
            owner_information,
            snapshot_id: invocation.snapshot_id,
            command_id: self.commands[index].id.clone(),
            by_policy: run.by_policy,
            operation: if run.install { "Install" } else { "Scan" }.to_owned(),
            reboot_option: if run.no_reboot { "NoReboot" } else { "RebootIfNeeded" }.to_owned(),
            started,
            ended: at,
            last_no_reboot_install: match (run.install && run.no_reboot, &node.report) {
                (true, _) => Some(at),
                (false, before) => before.as_ref().and_then(|report| report.last_no_reboot_install),
            },
            ..found
        };
        let code = i32::from(!invocation.failed.is_empty());
        let (stdout, stderr) = output::of_run(node, &self.region, &report, &invocation.installed, &invocation.failed);
        node.report = Some(report);
        Some((code, stdout, stderr))
    }

    fn finish(&mut self, index: usize, node_id: &str, code: i32, stdout: String, stderr: String, at: Timestamp) {
        self.release(index, node_id, at, |invocation| {
            invocation.code = code;
            (invocation.stdout, invocation.stderr) = (stdout, stderr);
            let status = if code == 0 { "Success" } else { "Failed" };
            invocation.close(status, status);
        });
        let command = &mut self.commands[index];
        if command.errors() > command.tolerated && !command.stopped_by_errors {
            command.stopped_by_errors = true;
            let waiting = command.invocations.iter_mut().filter(|i| matches!(i.phase, Phase::Waiting { .. }));
            waiting.for_each(|invocation| invocation.close("Cancelled", "Terminated"));
        }
        self.deliver_due(at);
    }

    /// Ends an invocation, frees its node, and lets the agent ping soon after.
    fn release(&mut self, index: usize, node_id: &str, at: Timestamp, close: impl FnOnce(&mut Invocation)) {
        let command = &mut self.commands[index];
        if let Some(invocation) = command.invocation_mut(node_id) {
            invocation.ended = Some(at);
            close(invocation);
        }
        let id = command.id.clone();
        if let Some(node) = self.nodes.get_mut(node_id)
            && node.agent.busy_with.as_ref() == Some(&id)
        {
            node.agent.busy_with = None;
        }
        let wait = Dice::new(self.seed, &["ping", &id, node_id]).between(3, 25);
        self.queue(later(at, Duration::from_secs(wait)), Event::Ping { node: node_id.to_owned() });
    }

    fn expire(&mut self, command_id: &str, at: Timestamp) {
        let Some(command) = self.command_mut(command_id) else { return };
        for invocation in command.invocations.iter_mut().filter(|i| i.phase != Phase::Ended) {
            invocation.close("TimedOut", "DeliveryTimedOut");
        }
        for node in self.nodes.values_mut().filter(|n| n.agent.busy_with.as_deref() == Some(command_id)) {
            node.agent.busy_with = None;
        }
        self.deliver_due(at);
    }

    fn set_phase(&mut self, index: usize, node_id: &str, phase: Phase) {
        if let Some(invocation) = self.commands[index].invocation_mut(node_id) {
            invocation.phase = phase;
        }
    }
}
