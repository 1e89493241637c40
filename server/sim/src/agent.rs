//! What happens on the nodes: delivery, scan, installation, reboot and the report, one event after the other.

use crate::{
    account::{Event, Place},
    clock::later,
    command::{Invocation, Origin, Phase, STEP_TIMEOUT},
    dice::Dice,
    documents::{self, FOR_ASSOCIATIONS, WITH_HOOKS},
    node::Report,
    output::{self, StepEnd},
    trouble::{self, Trouble},
};
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

impl Place {
    /// Lets one event happen at its time.
    pub(crate) fn happen(&mut self, event: Event, at: Timestamp) {
        match event {
            Event::Open { window } => self.open(&window, at),
            Event::Associate { association } => self.association_due(&association, at),
            Event::Automate { automation } => {
                self.automation_due(&automation, at);
                self.deliver_due(at);
            }
            Event::CutOff { execution } => self.cut_off(&execution, at),
            Event::Deliver { command, node } => {
                let invocation = self.command_mut(&command).and_then(|c| c.invocation_mut(&node));
                if let Some(invocation) = invocation
                    && matches!(invocation.phase, Phase::Waiting { .. })
                {
                    invocation.phase = Phase::Waiting { due: true };
                }
                self.deliver_due(at);
                self.command_ended(&command, at);
            }
            Event::Proceed { command, node } => {
                self.proceed(&command, &node, at);
                self.command_ended(&command, at);
            }
            Event::Expire { command } => {
                self.expire(&command, at);
                self.command_ended(&command, at);
            }
            Event::Boot { node } => self.boot(&node, at),
            Event::Power { node } => {
                self.power_changed(&node, at);
                self.deliver_due(at);
            }
            Event::Register { node } => self.register(&node, at),
            Event::Forget { node } => drop(self.nodes.remove(&node)),
            Event::ScanByOthers { node } => self.scan_by_others(&node, at),
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
                if command.run.patches {
                    *if command.run.install { &mut node.installs } else { &mut node.scans } += 1;
                }
                (invocation.status, invocation.details) = ("InProgress", "InProgress");
                invocation.started = Some(at);
                // Only what patches fights for the package manager.
                let races = command.run.patches && node.agent.busy_with.is_some();
                if command.run.patches && !races {
                    node.agent.busy_with = Some(command.id.clone());
                }
                invocation.phase = if races { Phase::Racing } else { Phase::Scanning };
                let seconds = match &node.trouble {
                    _ if races => Some((5, 10)),
                    _ if !command.run.patches => Some((1, 3)),
                    Some(Trouble::Hangs) => None,
                    Some(Trouble::RunsTooLong) => Some((STEP_TIMEOUT, STEP_TIMEOUT)),
                    // A hundred tries, up to 5 s apart (`trouble.rs`).
                    Some(Trouble::Locked) => Some((460, 490)),
                    _ => Some((20, 40)),
                };
                started.extend(seconds.map(|seconds| (command.id.clone(), node.id.clone(), seconds)));
            }
        }
        for (command, node, seconds) in started {
            self.proceed_in(seconds, &command, &node, at);
        }
    }

    fn proceed_in(&mut self, seconds: (u64, u64), command: &str, node: &str, at: Timestamp) {
        let when = self.some_time(seconds, command, node, at);
        self.queue(when, Event::Proceed { command: command.to_owned(), node: node.to_owned() });
    }

    /// So many seconds after `at`.
    fn some_time(&self, (low, high): (u64, u64), command: &str, node: &str, at: Timestamp) -> Timestamp {
        let mut dice = Dice::new(self.seed, &["proceed", command, node, &at.to_string()]);
        later(at, Duration::from_millis(dice.between(low * 1000, high * 1000)))
    }

    fn proceed(&mut self, command_id: &str, node_id: &str, at: Timestamp) {
        let Some(index) = self.commands.iter().rposition(|c| c.id == command_id) else { return };
        let run = self.commands[index].run.clone();
        let Some(invocation) = self.commands[index].invocation(node_id).cloned() else { return };
        let frozen = match invocation.phase {
            Phase::Scanning if run.patches => self.freeze(node_id, &run, &invocation.snapshot_id, at),
            _ => Ok(()),
        };
        let Some(node) = self.nodes.get(node_id) else { return };
        let resumes = node.agent.resumes.as_deref() == Some(command_id);
        if !node.reachable() && matches!(invocation.phase, Phase::Racing | Phase::Scanning | Phase::Installing(_)) {
            // It went down under the script: on with it when it is up again, if ever.
            return;
        }
        let too_long = node.trouble == Some(Trouble::RunsTooLong);
        // A script asks for a reboot by it (S 6.2.5).
        let reboot_code = if node.platform.is_windows() { 3010 } else { 194 };
        let failure = match (&invocation.phase, &node.trouble) {
            // S 7.1.13; the guide names this error for two runs at once, too.
            (Phase::Racing, _) => {
                let clash = if node.platform.is_windows() { Trouble::Locked } else { Trouble::PayloadBroken };
                clash.failure(node, &self.region, run.install, at)
            }
            (Phase::Scanning, _) if run.patches && !node.platform.is_supported() => Some(trouble::unsupported(at)),
            (Phase::Scanning, _) if !run.patches => Some(documents::run_script(&run.given)),
            (Phase::Scanning, _) if frozen.is_err() => frozen.err(),
            (Phase::Scanning, Some(Trouble::HookFails)) if run.install && run.document == WITH_HOOKS => {
                Some(documents::failed_hook(run.text("PreInstallHookDocName")))
            }
            (Phase::Scanning, Some(trouble)) => trouble.failure(node, &self.region, run.install, at),
            _ => None,
        };
        match (invocation.phase, failure) {
            (Phase::Ended, _) if resumes => self.resume(index, node_id, at),
            (Phase::Verifying, _) => self.resume(index, node_id, at),
            (Phase::Waiting { .. } | Phase::Rebooting | Phase::Ended, _) => {}
            (Phase::Scanning, _) if invocation.status == "Cancelling" => {
                self.release(index, node_id, at, |invocation| invocation.close("Cancelled", "Cancelled"));
                self.deliver_due(at);
            }
            (Phase::Scanning, _) if too_long && run.patches => self.run_out(index, node_id, at),
            (Phase::Scanning, Some(end)) if !run.patches && end.code == reboot_code => {
                self.set_phase(index, node_id, Phase::Rebooting);
                self.reboot(command_id, node_id, at);
            }
            (Phase::Scanning | Phase::Racing, Some(failure)) => self.finish(index, node_id, failure, at),
            (Phase::Racing, None) => {}
            (Phase::Scanning, None) if run.install => {
                let queue = match run.install_override() {
                    true => self.listed(node_id, &run, at).iter().map(|patch| patch.kb_id.clone()).collect(),
                    false => {
                        let missing = self.missing_by(node_id, &invocation.snapshot_id, at);
                        missing.iter().map(|(patch, _)| patch.kb_id.clone()).collect()
                    }
                };
                self.install_next(index, node_id, queue, at);
            }
            (Phase::Scanning, None) => self.report(index, node_id, at),
            (Phase::Installing(mut queue), _) => {
                let kb_id = queue.remove(0);
                self.install_one(index, node_id, &kb_id, at);
                self.install_next(index, node_id, queue, at);
            }
        }
    }

    /// The step's time is over: the agent stops the script (S 6.2; exit codes: appconfig of the agent's sources).
    fn run_out(&mut self, index: usize, node_id: &str, at: Timestamp) {
        let windows = self.nodes.get(node_id).is_some_and(|node| node.platform.is_windows());
        let end = StepEnd { code: if windows { -1 } else { 137 }, stdout: String::new(), stderr: String::new() };
        self.end(index, node_id, end, ("TimedOut", "ExecutionTimedOut"), at);
    }

    /// The step runs again after the reboot and uploads the final state (S 7.2.4), even if its command has expired
    /// meanwhile (aws/amazon-ssm-agent#289).
    fn resume(&mut self, index: usize, node_id: &str, at: Timestamp) {
        if let Some(node) = self.nodes.get_mut(node_id) {
            node.agent.resumes = None;
        }
        let ended = self.commands[index].invocation(node_id).is_some_and(|invocation| invocation.phase == Phase::Ended);
        if !self.commands[index].run.patches {
            // A script that asked for a reboot is taken to find in its second run that all is done.
            let end = StepEnd { code: 0, stdout: String::new(), stderr: String::new() };
            if !ended {
                self.finish(index, node_id, end, at);
            }
            return;
        }
        if ended {
            self.upload(index, node_id, at);
        } else {
            self.report(index, node_id, at);
        }
    }

    /// A node is up again.
    pub(crate) fn boot(&mut self, node_id: &str, at: Timestamp) {
        let node = self.nodes.get_mut(node_id).filter(|node| node.running() && node.agent.silent_since.is_some());
        let Some(node) = node else { return };
        node.reboots += 1;
        let resumes = node.agent.resumes.clone();
        self.up(node_id, at);
        if let Some(command) = resumes {
            let invocation = self.command_mut(&command).and_then(|command| command.invocation_mut(node_id));
            if let Some(invocation) = invocation.filter(|invocation| invocation.phase == Phase::Rebooting) {
                invocation.phase = Phase::Verifying;
            }
            self.proceed_in((8, 15), &command, node_id, at);
        }
        self.deliver_due(at);
    }

    fn reboot(&mut self, command_id: &str, node_id: &str, at: Timestamp) {
        let usual = self.some_time((60, 90), command_id, node_id, at);
        let Some(node) = self.nodes.get_mut(node_id) else { return };
        node.agent.silent_since = Some(at);
        node.agent.resumes = Some(command_id.to_owned());
        let up = match &node.trouble {
            Some(Trouble::NeverBack) => return,
            Some(Trouble::BackAfter(time)) => later(at, *time),
            _ => usual,
        };
        self.queue(up, Event::Boot { node: node_id.to_owned() });
    }

    /// A command like any other, but for its haste: nobody can read what the node reported before.
    fn scan_by_others(&mut self, node_id: &str, at: Timestamp) {
        let request = json!({
            "DocumentName": "AWS-RunPatchBaseline",
            "InstanceIds": [node_id],
            "Comment": "scanned by somebody else",
            "Parameters": { "Operation": ["Scan"] },
        });
        let Ok(id) = self.send(&request, Origin::Caller, at) else { return };
        let Some(index) = self.commands.iter().rposition(|command| command.id == id) else { return };
        if let (Some(node), Some(invocation)) =
            (self.nodes.get_mut(node_id), self.commands[index].invocation_mut(node_id))
        {
            node.scans += 1;
            invocation.started = Some(at);
        }
        self.report(index, node_id, at);
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
        self.reboot(&command_id, node_id, at);
    }

    fn install_one(&mut self, index: usize, node_id: &str, kb_id: &str, at: Timestamp) {
        let run = &self.commands[index].run;
        let snapshot = self.commands[index].invocation(node_id).map_or("", |i| i.snapshot_id.as_str());
        let patch = match run.install_override() {
            true => self.listed(node_id, run, at).into_iter().find(|patch| patch.kb_id == kb_id),
            false => self.missing_by(node_id, snapshot, at).into_iter().map(|(p, _)| p).find(|p| p.kb_id == kb_id),
        };
        let Some(patch) = patch else { return };
        let need = self.rejected_need(node_id, patch, snapshot, at);
        let Some(node) = self.nodes.get_mut(node_id) else { return };
        let troubled = match &node.trouble {
            Some(Trouble::InstallsFail) => true,
            Some(Trouble::PatchFails(id)) => id == kb_id,
            _ => false,
        };
        let fails = troubled || need.is_some_and(|(_, blocked)| blocked);
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
        let Some(end) = self.upload(index, node_id, at) else { return };
        self.finish(index, node_id, end, at);
        let overwritten = self.nodes.get(node_id).is_some_and(|node| node.trouble == Some(Trouble::ScannedByOthers));
        if overwritten && self.commands[index].run.install {
            self.queue(at, Event::ScanByOthers { node: node_id.to_owned() });
        }
    }

    /// Uploads the node's state, overwriting the last (S 8.2.1); answers how the step ends by it.
    fn upload(&mut self, index: usize, node_id: &str, at: Timestamp) -> Option<StepEnd> {
        let run = self.commands[index].run.clone();
        let invocation = self.commands[index].invocation(node_id).cloned()?;
        let found = self.evaluate_by(node_id, &invocation.snapshot_id, at, &invocation.failed)?;
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
            install_override_list: if run.install { run.text("InstallOverrideList").to_owned() } else { String::new() },
            reboot_option: if run.no_reboot { "NoReboot" } else { "RebootIfNeeded" }.to_owned(),
            started,
            ended: at,
            last_no_reboot_install: match (run.install && run.no_reboot, &node.report) {
                (true, _) => Some(at),
                (false, before) => before.as_ref().and_then(|report| report.last_no_reboot_install),
            },
            ..found
        };
        let told = output::of_run(node, &self.region, &report, &invocation.installed, &invocation.failed);
        if run.baseline_override() {
            // Not uploaded: only standard output has it (S 7.1.8).
            let rows = report.rows.iter().filter(|row| patchplane_rules::is_non_compliant(&row.state));
            let rows: String =
                rows.map(|row| format!("{} {} NON_COMPLIANT\n", row.title, row.state.as_str())).collect();
            return Some(StepEnd { stdout: told.stdout + &rows, ..told });
        }
        if run.document == FOR_ASSOCIATIONS {
            self.put_association_compliance(node_id, &run, &report);
            return Some(told);
        }
        node.before = node.report.replace(report);
        Some(told)
    }

    fn finish(&mut self, index: usize, node_id: &str, end: StepEnd, at: Timestamp) {
        let status = if end.code == 0 { "Success" } else { "Failed" };
        self.end(index, node_id, end, (status, status), at);
    }

    /// Ends the step, and all that waits if there were too many errors (S 6.1.13, 6.1.15).
    fn end(
        &mut self,
        index: usize,
        node_id: &str,
        end: StepEnd,
        (status, details): (&'static str, &'static str),
        at: Timestamp,
    ) {
        self.release(index, node_id, at, |invocation| {
            invocation.code = end.code;
            (invocation.stdout, invocation.stderr) = (end.stdout, end.stderr);
            invocation.close(status, details);
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

    /// Cancels what has not begun; what runs may end so (S 6.4). A script that is still at it is stopped.
    pub(crate) fn cancel_command(&mut self, id: &str, only: &[String], at: Timestamp) {
        let Some(command) = self.command_mut(id) else { return };
        command.cancel(only);
        let stopped = command.invocations.iter().filter(|i| i.status == "Cancelling" && i.phase == Phase::Scanning);
        let stopped: Vec<String> = stopped.map(|invocation| invocation.instance_id.clone()).collect();
        for node in stopped {
            if self.nodes.get(&node).is_some_and(|node| node.trouble == Some(Trouble::RunsTooLong)) {
                self.proceed_in((2, 5), id, &node, at);
            }
        }
        self.command_ended(id, at);
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
