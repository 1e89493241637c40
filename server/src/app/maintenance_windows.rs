//! Maintenance windows as AWS has them: reading them, their runs, and the runs to come.

use super::{
    App,
    baselines::Observed,
    locations::{ListPage, Query, slice},
};
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::{
        name::{ExecutionName, Parent, WindowName},
        page::Paging,
        patch_schedule::{When, timetable},
    },
};
use jiff::{SignedDuration, Timestamp};
use patchplane_rules::{
    Invalid, Location, Run, TaskExecution, TimeZoneName, Timetable, Window, WindowExecution, WindowSummary,
    WindowTarget, WindowTask,
};

/// A question for windows.
pub struct ListMaintenanceWindows {
    pub parent: Parent,
    pub paging: Paging,
}

/// A question for the runs of a window.
pub struct ListExecutions {
    pub window: WindowName,
    pub paging: Paging,
}

/// A question for runs to come.
pub struct ListUpcomingRuns {
    pub parent: Parent,
    pub paging: Paging,
    pub days: u32,
}

/// A question for the runs of a schedule that need not exist.
pub struct PreviewSchedule {
    pub when: When,
    pub count: usize,
    /// `None`: now.
    pub after: Option<Timestamp>,
}

/// A window with all that it is made of.
#[derive(Clone, Debug)]
pub struct WholeWindow {
    pub window: Window,
    pub targets: Vec<WindowTarget>,
    pub tasks: Vec<WindowTask>,
}

/// A run with what it was made of.
#[derive(Clone, Debug)]
pub struct WholeExecution {
    pub execution: WindowExecution,
    pub tasks: Vec<TaskExecution>,
}

/// One run to come of one window.
#[derive(Clone, Debug)]
pub struct WindowRun {
    pub window: WindowName,
    pub window_name: String,
    /// As computed here, with the zone that it is told in; `None` where only AWS foresees one.
    pub run: Option<(Run, TimeZoneName)>,
    /// For a window's first run: when AWS foresees it.
    pub aws_time: Option<Timestamp>,
    /// For a window's first run: how the two differ, or empty.
    pub difference: String,
}

/// What a schedule comes to.
pub struct Preview {
    pub timetable: Timetable,
    pub runs: Vec<Run>,
}

impl App {
    #[tracing::instrument(name = "app.list_maintenance_windows", skip_all, fields(parent = %list.parent))]
    pub async fn list_maintenance_windows(
        &self,
        who: &Caller,
        list: ListMaintenanceWindows,
    ) -> Result<ListPage<Observed<WindowSummary>>> {
        let ListMaintenanceWindows { parent, paging } = list;
        let query = Query { action: Action::ReadMaintenanceWindows, parent: &parent, filter: String::new() };
        self.list(who, query, &paging, |location, room, inner| async move {
            let mut windows = self.aws(&location)?.windows().await?;
            windows.sort_by(|a, b| a.id.cmp(&b.id));
            let windows = windows.into_iter().map(|value| self.observed(&location, value)).collect();
            Ok(slice(windows, room, inner.as_deref(), |window| window.value.id.to_string()))
        })
        .await
    }

    #[tracing::instrument(name = "app.get_maintenance_window", skip_all, fields(window = %name))]
    pub async fn get_maintenance_window(&self, who: &Caller, name: WindowName) -> Result<Observed<WholeWindow>> {
        who.may(Action::ReadMaintenanceWindows, &name.location)?;
        let aws = self.aws(&name.location)?;
        let window = aws.window(&name.id).await?.ok_or_else(|| window_not_found(&name))?;
        let targets = aws.window_targets(&name.id).await?;
        let mut tasks = Vec::new();
        for row in aws.window_tasks(&name.id).await? {
            tasks.push(aws.window_task(&name.id, &row.id).await?);
        }
        tasks.sort_by(|a, b| (a.priority, &a.id).cmp(&(b.priority, &b.id)));
        Ok(self.observed(&name.location, WholeWindow { window, targets, tasks }))
    }

    #[tracing::instrument(name = "app.list_executions", skip_all, fields(window = %list.window))]
    pub async fn list_executions(
        &self,
        who: &Caller,
        list: ListExecutions,
    ) -> Result<ListPage<Observed<WholeExecution>>> {
        let ListExecutions { window, paging } = list;
        let location = window.location.clone();
        who.may(Action::ReadMaintenanceWindows, &location)?;
        let parent = Parent { account: Some(location.account.clone()), region: Some(location.region.clone()) };
        let filter = format!("executions of {}", window.id);
        let query = Query { action: Action::ReadMaintenanceWindows, parent: &parent, filter };
        let id = &window.id;
        self.list(who, query, &paging, |location, room, inner| async move {
            let aws = self.aws(&location)?;
            if aws.window(id).await?.is_none() {
                return Err(window_not_found(&WindowName { location, id: id.clone() }));
            }
            let mut runs = aws.window_executions(id, None, None).await?;
            runs.sort_by_key(newest_first);
            let rows = runs
                .into_iter()
                .map(|execution| self.observed(&location, WholeExecution { execution, tasks: Vec::new() }));
            Ok(slice(rows.collect(), room, inner.as_deref(), |run| newest_first(&run.value.execution)))
        })
        .await
    }

    #[tracing::instrument(name = "app.get_execution", skip_all, fields(execution = %name))]
    pub async fn get_execution(&self, who: &Caller, name: ExecutionName) -> Result<Observed<WholeExecution>> {
        let location = &name.window.location;
        who.may(Action::ReadMaintenanceWindows, location)?;
        let aws = self.aws(location)?;
        let not_found = || Error::not_found("execution", "EXECUTION_NOT_FOUND", &name);
        let execution = aws.window_execution(&name.id).await?.ok_or_else(not_found)?;
        // AWS answers without saying whose run it is.
        let second = SignedDuration::from_secs(1);
        let around = execution
            .progress
            .started
            .and_then(|started| Some((started.checked_sub(second).ok()?, started.checked_add(second + second).ok()?)));
        let (after, before) = around.unzip();
        let own = aws.window_executions(&name.window.id, after, before).await;
        match own {
            Ok(own) if own.iter().any(|run| run.id == name.id) => {}
            Ok(_) => return Err(not_found()),
            Err(error) if error.kind == patchplane_aws::ErrorKind::NotFound => return Err(not_found()),
            Err(error) => return Err(error.into()),
        }
        let tasks = aws.execution_tasks(&name.id).await?;
        Ok(self.observed(location, WholeExecution { execution, tasks }))
    }

    #[tracing::instrument(name = "app.list_upcoming_runs", skip_all, fields(parent = %list.parent))]
    pub async fn list_upcoming_runs(&self, who: &Caller, list: ListUpcomingRuns) -> Result<ListPage<WindowRun>> {
        let ListUpcomingRuns { parent, paging, days } = list;
        let filter = format!("{days} days");
        let query = Query { action: Action::ReadMaintenanceWindows, parent: &parent, filter };
        let now = self.clock.now();
        let horizon = now.checked_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MAX);
        self.list(who, query, &paging, |location, room, inner| async move {
            let mut rows = self.runs_to_come(&location, now, horizon).await?;
            rows.sort_by_key(by_time);
            Ok(slice(rows, room, inner.as_deref(), by_time))
        })
        .await
    }

    async fn runs_to_come(&self, location: &Location, now: Timestamp, horizon: Timestamp) -> Result<Vec<WindowRun>> {
        let aws = self.aws(location)?;
        let mut rows = Vec::new();
        for summary in aws.windows().await?.into_iter().filter(|window| window.enabled) {
            // The list does not say when a window was made, from where rates count.
            let Some(window) = aws.window(&summary.id).await? else { continue };
            rows.extend(window_runs(location, &window, now, horizon));
        }
        Ok(rows)
    }

    /// Needs no right: it tells nothing about anybody.
    pub fn preview_schedule(&self, preview: PreviewSchedule) -> Preview {
        let PreviewSchedule { when, count, after } = preview;
        let after = after.unwrap_or_else(|| self.clock.now());
        let timetable = when.timetable(after);
        let runs = timetable.runs_after(after).take(count).collect();
        Preview { timetable, runs }
    }
}

fn window_not_found(name: &WindowName) -> Error {
    Error::not_found("maintenance window", "MAINTENANCE_WINDOW_NOT_FOUND", name)
}

/// Sorts as the newest first; what has not begun is the newest.
fn newest_first(run: &WindowExecution) -> String {
    let began = run.progress.started.map_or(i64::MAX, Timestamp::as_millisecond);
    format!("{:020} {}", i64::MAX - began.max(0), run.id)
}

fn by_time(row: &WindowRun) -> String {
    let time = row.run.as_ref().map(|(run, _)| run.time).or(row.aws_time).unwrap_or(Timestamp::MAX);
    format!("{:020} {}", time.as_millisecond().max(0), row.window.id)
}

/// The runs of a window before the horizon; the first is compared with what AWS foresees (S 9.2.13).
fn window_runs(location: &Location, window: &Window, now: Timestamp, horizon: Timestamp) -> Vec<WindowRun> {
    let summary = &window.summary;
    let foreseen = summary.next_execution;
    let row = |run, aws_time, difference| WindowRun {
        window: WindowName { location: location.clone(), id: summary.id.clone() },
        window_name: summary.name.clone(),
        run,
        aws_time,
        difference,
    };
    let table: std::result::Result<Timetable, Invalid> = timetable(&summary.timing, window.created);
    let (first, difference) = match &table {
        Ok(table) => {
            let first = table.next_after(now);
            let difference = difference(first.as_ref().map(|run| run.time), foreseen);
            (first, difference)
        }
        Err(invalid) => (None, format!("cannot be computed here: {invalid}")),
    };
    match (table, first) {
        (Ok(table), Some(first)) if first.time < horizon => {
            let runs = table.runs_after(now).take_while(|run| run.time < horizon);
            let mut rows: Vec<WindowRun> =
                runs.map(|run| row(Some((run, table.time_zone.clone())), None, String::new())).collect();
            if let Some(first) = rows.first_mut() {
                (first.aws_time, first.difference) = (foreseen, difference);
            }
            rows
        }
        _ if foreseen.is_some_and(|time| time < horizon) => vec![row(None, foreseen, difference)],
        _ => Vec::new(),
    }
}

/// How our next run and AWS's differ; empty when they agree to the second.
fn difference(ours: Option<Timestamp>, theirs: Option<Timestamp>) -> String {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours.as_second() == theirs.as_second() => String::new(),
        (None, None) => String::new(),
        (Some(ours), Some(theirs)) => {
            let by = theirs.duration_since(ours).as_secs();
            let word = if by > 0 { "later" } else { "earlier" };
            format!("AWS foresees it {} minutes {word}, at {theirs:.0}", by.unsigned_abs().div_ceil(60))
        }
        (Some(_), None) => "AWS foresees no run".to_owned(),
        (None, Some(theirs)) => format!("AWS foresees a run at {theirs:.0}, none is computed here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_to_aws_is_told_and_agreement_is_not() {
        let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let ours = time("2026-11-24T18:00:00Z");
        // S 9.2.13: the same moment in AWS's texts, with and without fractions.
        assert_eq!(difference(ours, time("2026-11-25T03:00:00.2+09:00")), "");
        let hour = difference(ours, time("2026-11-24T19:00:00Z"));
        assert!(hour.contains("60 minutes later"), "{hour}");
        assert_eq!(difference(ours, None), "AWS foresees no run");
        assert!(difference(None, ours).contains("none is computed here"));
        assert_eq!(difference(None, None), "");
    }
}
