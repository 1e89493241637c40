//! Patch schedules and maintenance windows: when they run, what they ran, and how it went.

use super::{View, coloured, places, times::took, word};
use crate::{
    api::{Execution, MaintenanceWindow, PatchSchedule, UpcomingRun, WindowRun, instance_limit::Amount},
    name,
};
use comfy_table::Cell;

impl View {
    /// One line for each schedule.
    pub fn schedules(&self, schedules: &[PatchSchedule]) -> String {
        let mut table =
            self.table(&["Schedule", "Name", "Does", "On", "When", "State", "Next run", "Last run", "Location"]);
        let places = places(schedules.iter().map(|schedule| schedule.name.as_str()));
        for (schedule, place) in schedules.iter().zip(places) {
            table.add_row([
                Cell::new(name::id(&schedule.name)),
                Cell::new(&schedule.display_name),
                Cell::new(word(schedule.kind().as_str_name(), "KIND_")),
                Cell::new(targets(schedule)),
                Cell::new(&schedule.summary),
                coloured(state(schedule)),
                Cell::new(schedule.next_runs.first().map(local).unwrap_or_default()),
                coloured(last_run(schedule)),
                Cell::new(place),
            ]);
        }
        self.render(table, &[0])
    }

    /// One schedule, with its next runs.
    pub fn schedule(&self, schedule: &PatchSchedule) -> String {
        let rollout = schedule.rollout.unwrap_or_default();
        let limit = |limit: Option<crate::api::InstanceLimit>| match limit.and_then(|limit| limit.amount) {
            Some(Amount::Count(count)) => count.to_string(),
            Some(Amount::Percent(percent)) => format!("{}%", percent.value),
            None => "?".to_owned(),
        };
        let reboot = word(schedule.reboot_option().as_str_name(), "REBOOT_OPTION_").replace("UNSPECIFIED", "");
        let mut text = self.properties(&[
            ("Schedule", name::id(&schedule.name)),
            ("Name", schedule.display_name.clone()),
            ("Description", schedule.description.clone()),
            ("State", state(schedule).to_owned()),
            ("Does", format!("{} {reboot}", word(schedule.kind().as_str_name(), "KIND_")).trim().to_owned()),
            ("On", targets(schedule)),
            ("When", format!("{} = {}", schedule.summary, schedule.expression)),
            ("Time zone", schedule.time_zone.clone()),
            (
                "Open for",
                format!(
                    "{} h, nothing is started in the last {} h",
                    schedule.duration_hours,
                    schedule.cutoff_hours.unwrap_or_default()
                ),
            ),
            ("At once", format!("{}, stops after {} failed", limit(rollout.concurrency), limit(rollout.max_failures))),
            ("Left out until", self.moment(schedule.skipped_until.as_ref())),
            ("Last run", last_run(schedule)),
            ("Execution", schedule.last_run.as_ref().map(|run| name::id(&run.execution)).unwrap_or_default()),
        ]);
        for divergence in &schedule.divergences {
            text += &format!("Differs: {divergence}\n");
        }
        if schedule.incomplete {
            text += "Its creation was not completed: send the same request again, or delete it.\n";
        }
        if !schedule.next_runs.is_empty() {
            text += &format!("\n{}\n{}", self.heading("Next runs"), self.upcoming(&schedule.next_runs));
        }
        text
    }

    /// Runs to come, on the schedule's own clocks and in UTC.
    pub fn upcoming(&self, runs: &[UpcomingRun]) -> String {
        let mut table = self.table(&["Local time", "UTC", "Clocks"]);
        for run in runs {
            table.add_row([local(run), utc(run), run.note.clone()]);
        }
        self.render(table, &[0, 1])
    }

    /// Runs to come of several windows, with what AWS foresees.
    pub fn window_runs(&self, runs: &[WindowRun]) -> String {
        let mut table = self.table(&["Local time", "UTC", "Window", "Name", "Clocks", "Differs from AWS"]);
        for row in runs {
            let run = row.run.clone().unwrap_or_default();
            let difference = row.difference.clone();
            let window = name::id(&row.maintenance_window);
            table.add_row([local(&run), utc(&run), window, row.display_name.clone(), run.note.clone(), difference]);
        }
        self.render(table, &[0, 1, 2])
    }

    /// One line for each window.
    pub fn windows(&self, windows: &[MaintenanceWindow]) -> String {
        let next = self.zoned("Next run, as AWS says");
        let mut table = self.table(&["Window", "Name", "Enabled", "When", next.as_str(), "Open for", "Location"]);
        let places = places(windows.iter().map(|window| window.name.as_str()));
        for (window, place) in windows.iter().zip(places) {
            table.add_row([
                Cell::new(&window.window_id),
                Cell::new(&window.display_name),
                coloured(if window.enabled { "yes" } else { "no" }),
                Cell::new(&window.summary),
                Cell::new(self.minute(window.next_execution_time.as_ref())),
                Cell::new(format!("{} h", window.duration_hours)),
                Cell::new(place),
            ]);
        }
        self.render(table, &[0])
    }

    /// One window with its targets and tasks.
    pub fn window(&self, window: &MaintenanceWindow) -> String {
        let mut text = self.windows(std::slice::from_ref(window));
        let terms = |terms: &[crate::api::maintenance_window::Term]| {
            let terms: Vec<String> =
                terms.iter().map(|term| format!("{} = {}", term.key, term.values.join(", "))).collect();
            terms.join("; ")
        };
        let mut table = self.table(&["Target", "Instances", "Name"]);
        for target in &window.targets {
            table.add_row([target.target_id.clone(), terms(&target.terms), target.display_name.clone()]);
        }
        text += &format!("\n{}\n{}", self.heading("Targets"), self.render(table, &[0]));
        let mut table = self.table(&["Task", "Type", "Runs", "Parameters", "At once", "May fail"]);
        for task in &window.tasks {
            table.add_row([
                task.task_id.clone(),
                task.task_type.clone(),
                task.task_arn.clone(),
                terms(&task.parameters),
                task.max_concurrency.clone(),
                task.max_errors.clone(),
            ]);
        }
        text + &format!("\n{}\n{}", self.heading("Tasks"), self.render(table, &[0]))
    }

    /// One line for each run of a window.
    pub fn executions(&self, executions: &[Execution]) -> String {
        let began = self.zoned("Began");
        let mut table = self.table(&["Execution", "Status", began.as_str(), "Took", "Details"]);
        for execution in executions {
            let status = execution.status.clone().unwrap_or_default();
            table.add_row([
                Cell::new(name::id(&execution.name)),
                coloured(&status.status),
                Cell::new(self.time(status.start_time.as_ref())),
                Cell::new(took(status.start_time.as_ref(), status.end_time.as_ref())),
                Cell::new(&status.details),
            ]);
        }
        self.render(table, &[0])
    }

    /// One run with its tasks, their invocations and their commands.
    pub fn execution(&self, execution: &Execution) -> String {
        let mut table = self.table(&["Task", "Status", "Command", "Window target", "Took", "Details"]);
        for task in &execution.tasks {
            let status = task.status.clone().unwrap_or_default();
            let took_all = took(status.start_time.as_ref(), status.end_time.as_ref());
            let none = String::new();
            table.add_row([
                Cell::new(&task.task_arn),
                coloured(&status.status),
                Cell::new(&none),
                Cell::new(&none),
                Cell::new(took_all),
                Cell::new(&status.details),
            ]);
            for invocation in &task.invocations {
                let status = invocation.status.clone().unwrap_or_default();
                let started =
                    if invocation.command_id.is_empty() { &invocation.execution_id } else { &invocation.command_id };
                table.add_row([
                    Cell::new(&none),
                    coloured(&status.status),
                    Cell::new(started),
                    Cell::new(&invocation.window_target_id),
                    Cell::new(took(status.start_time.as_ref(), status.end_time.as_ref())),
                    Cell::new(&status.details),
                ]);
            }
        }
        format!("{}\n{}", self.executions(std::slice::from_ref(execution)), self.render(table, &[2]))
    }
}

fn state(schedule: &PatchSchedule) -> &'static str {
    match schedule {
        schedule if schedule.incomplete => "INCOMPLETE",
        schedule if schedule.enabled == Some(false) => "PAUSED",
        schedule if !schedule.divergences.is_empty() => "DIVERGED",
        schedule if schedule.skipped_until.is_some() => "SKIPPING",
        _ => "ENABLED",
    }
}

fn targets(schedule: &PatchSchedule) -> String {
    let targets = schedule.targets.clone().unwrap_or_default();
    let groups = targets.patch_groups.iter().map(|group| format!("group {group}"));
    let tags = targets.tags.iter().map(|tag| format!("{}={}", tag.key, tag.value));
    groups.chain(tags).chain(targets.instance_ids.iter().cloned()).collect::<Vec<_>>().join(", ")
}

fn last_run(schedule: &PatchSchedule) -> String {
    let status = schedule.last_run.as_ref().and_then(|run| run.status.as_ref());
    status.map(|status| status.status.clone()).unwrap_or_default()
}

/// `2026-11-25 03:00:00 +09:00`.
fn local(run: &UpcomingRun) -> String {
    match run.local_time.split_at_checked(19) {
        Some((clock, offset)) => format!("{} {offset}", clock.replace('T', " ")),
        None => run.local_time.clone(),
    }
}

fn utc(run: &UpcomingRun) -> String {
    let time = run.time.as_ref().and_then(|time| jiff::Timestamp::new(time.seconds, time.nanos).ok());
    time.map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}
