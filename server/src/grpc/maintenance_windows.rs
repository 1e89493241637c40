//! MaintenanceWindowService at the door.

use super::{
    Api, caller,
    convert::{count, page, paging, time},
    recurrence::{recurrence, upcoming, when},
};
use crate::{
    app::{
        baselines::Observed,
        maintenance_windows::{
            ListExecutions, ListMaintenanceWindows, ListUpcomingRuns, Preview, PreviewSchedule, WholeExecution,
            WholeWindow, WindowRun,
        },
    },
    domain::{
        name::{ExecutionName, Parent, WindowName},
        patch_schedule::timetable,
    },
    error::Error,
};
use jiff::Timestamp;
use patchplane_proto::v1 as pb;
use patchplane_rules::{
    Invalid, Location, Progress, TargetTerm, TaskExecution, TaskInvocation, WindowId, WindowSummary, WindowTarget,
    WindowTask,
};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl pb::maintenance_window_service_server::MaintenanceWindowService for Api {
    async fn list_maintenance_windows(
        &self,
        request: Request<pb::ListMaintenanceWindowsRequest>,
    ) -> Result<Response<pb::ListMaintenanceWindowsResponse>, Status> {
        let who = caller(&request)?;
        let list = ListMaintenanceWindows::try_from(request.into_inner()).map_err(Error::from)?;
        let found = self.app.list_maintenance_windows(&who, list).await?;
        let (maintenance_windows, next_page_token, unreachable) = page(found, |row| summary(&row));
        Ok(Response::new(pb::ListMaintenanceWindowsResponse { maintenance_windows, next_page_token, unreachable }))
    }

    async fn get_maintenance_window(
        &self,
        request: Request<pb::GetMaintenanceWindowRequest>,
    ) -> Result<Response<pb::GetMaintenanceWindowResponse>, Status> {
        let who = caller(&request)?;
        let pb::GetMaintenanceWindowRequest { name } = request.into_inner();
        let name = WindowName::parse("name", &name).map_err(Error::from)?;
        let found = self.app.get_maintenance_window(&who, name).await?;
        Ok(Response::new(pb::GetMaintenanceWindowResponse { maintenance_window: Some(window(found)) }))
    }

    async fn list_executions(
        &self,
        request: Request<pb::ListExecutionsRequest>,
    ) -> Result<Response<pb::ListExecutionsResponse>, Status> {
        let who = caller(&request)?;
        let list = ListExecutions::try_from(request.into_inner()).map_err(Error::from)?;
        let id = list.window.id.clone();
        let found = self.app.list_executions(&who, list).await?;
        let (executions, next_page_token, _) = page(found, |row| execution(&id, row));
        Ok(Response::new(pb::ListExecutionsResponse { executions, next_page_token }))
    }

    async fn get_execution(
        &self,
        request: Request<pb::GetExecutionRequest>,
    ) -> Result<Response<pb::GetExecutionResponse>, Status> {
        let who = caller(&request)?;
        let pb::GetExecutionRequest { name } = request.into_inner();
        let name = ExecutionName::parse("name", &name).map_err(Error::from)?;
        let id = name.window.id.clone();
        let found = self.app.get_execution(&who, name).await?;
        Ok(Response::new(pb::GetExecutionResponse { execution: Some(execution(&id, found)) }))
    }

    async fn list_upcoming_runs(
        &self,
        request: Request<pb::ListUpcomingRunsRequest>,
    ) -> Result<Response<pb::ListUpcomingRunsResponse>, Status> {
        let who = caller(&request)?;
        let list = ListUpcomingRuns::try_from(request.into_inner()).map_err(Error::from)?;
        let found = self.app.list_upcoming_runs(&who, list).await?;
        let (runs, next_page_token, unreachable) = page(found, window_run);
        Ok(Response::new(pb::ListUpcomingRunsResponse { runs, next_page_token, unreachable }))
    }

    async fn preview_schedule(
        &self,
        request: Request<pb::PreviewScheduleRequest>,
    ) -> Result<Response<pb::PreviewScheduleResponse>, Status> {
        let preview = PreviewSchedule::try_from(request.into_inner()).map_err(Error::from)?;
        Ok(Response::new(self.app.preview_schedule(preview).into()))
    }
}

impl TryFrom<pb::ListMaintenanceWindowsRequest> for ListMaintenanceWindows {
    type Error = Invalid;

    fn try_from(request: pb::ListMaintenanceWindowsRequest) -> Result<Self, Invalid> {
        let pb::ListMaintenanceWindowsRequest { parent, page_size, page_token } = request;
        Ok(Self { parent: Parent::parse("parent", &parent)?, paging: paging(page_size, page_token, 50, 200)? })
    }
}

impl TryFrom<pb::ListExecutionsRequest> for ListExecutions {
    type Error = Invalid;

    fn try_from(request: pb::ListExecutionsRequest) -> Result<Self, Invalid> {
        let pb::ListExecutionsRequest { parent, page_size, page_token } = request;
        Ok(Self { window: WindowName::parse("parent", &parent)?, paging: paging(page_size, page_token, 50, 200)? })
    }
}

impl TryFrom<pb::ListUpcomingRunsRequest> for ListUpcomingRuns {
    type Error = Invalid;

    fn try_from(request: pb::ListUpcomingRunsRequest) -> Result<Self, Invalid> {
        let pb::ListUpcomingRunsRequest { parent, page_size, page_token, days } = request;
        let days = match u32::try_from(days) {
            Ok(0) => 7,
            Ok(days @ 1..=60) => days,
            _ => return Err(Invalid::new("days", "must be 0 to 60")),
        };
        Ok(Self { parent: Parent::parse("parent", &parent)?, paging: paging(page_size, page_token, 50, 200)?, days })
    }
}

impl TryFrom<pb::PreviewScheduleRequest> for PreviewSchedule {
    type Error = Invalid;

    fn try_from(request: pb::PreviewScheduleRequest) -> Result<Self, Invalid> {
        let pb::PreviewScheduleRequest { recurrence: asked, time_zone, count, after_time } = request;
        let count = match usize::try_from(count) {
            Ok(0) => 10,
            Ok(count) => count.min(100),
            Err(_) => return Err(Invalid::new("count", "must not be negative")),
        };
        let moment = |wire: prost_types::Timestamp| {
            let moment = Timestamp::new(wire.seconds, wire.nanos).ok().filter(|_| wire.nanos >= 0);
            moment.ok_or_else(|| Invalid::new("after_time", "must be a time from year 1 to 9999"))
        };
        let after = after_time.map(moment).transpose()?;
        Ok(Self { when: when(recurrence(asked)?, &time_zone)?, count, after })
    }
}

// === Answers ===

fn terms(terms: Vec<TargetTerm>) -> Vec<pb::maintenance_window::Term> {
    terms.into_iter().map(|TargetTerm { key, values }| pb::maintenance_window::Term { key, values }).collect()
}

fn name(location: &Location, id: &WindowId) -> String {
    WindowName { location: location.clone(), id: id.clone() }.to_string()
}

fn summary(row: &Observed<WindowSummary>) -> pb::MaintenanceWindow {
    let WindowSummary { id, name: own, description, enabled, timing, duration_hours, cutoff_hours, next_execution } =
        row.value.clone();
    pb::MaintenanceWindow {
        name: name(&row.location, &id),
        window_id: id.to_string(),
        display_name: own,
        description,
        enabled,
        summary: match timetable(&timing, None) {
            Ok(table) => table.describe(),
            Err(invalid) => format!("cannot be read here: {invalid}"),
        },
        start_time: timing.start_time().map(time),
        end_time: timing.end_time().map(time),
        offset_days: count(timing.offset_days.unwrap_or(0)),
        time_zone: timing.time_zone.unwrap_or_default(),
        expression: timing.expression,
        duration_hours: count(duration_hours),
        cutoff_hours: count(cutoff_hours),
        next_execution_time: next_execution.map(time),
        observe_time: Some(time(row.time)),
        ..Default::default()
    }
}

fn window(found: Observed<WholeWindow>) -> pb::MaintenanceWindow {
    let Observed { location, time: observed, value: WholeWindow { window, targets, tasks } } = found;
    let row = Observed { location, time: observed, value: window.summary };
    pb::MaintenanceWindow {
        allow_unassociated_targets: window.allow_unassociated_targets,
        targets: targets.into_iter().map(target).collect(),
        tasks: tasks.into_iter().map(task).collect(),
        create_time: window.created.map(time),
        update_time: window.modified.map(time),
        ..summary(&row)
    }
}

fn target(target: WindowTarget) -> pb::maintenance_window::Target {
    let WindowTarget { id, resource_type, terms: found, name, description, owner_information } = target;
    let (target_id, display_name, terms) = (id, name, terms(found));
    pb::maintenance_window::Target { target_id, resource_type, terms, display_name, description, owner_information }
}

fn task(task: WindowTask) -> pb::maintenance_window::Task {
    let parameters = task.command.map(|command| command.parameters).unwrap_or_default();
    pb::maintenance_window::Task {
        task_id: task.id,
        task_type: task.task_type,
        task_arn: task.task_arn,
        targets: terms(task.targets),
        priority: count(task.priority),
        max_concurrency: task.max_concurrency,
        max_errors: task.max_errors,
        service_role_arn: task.service_role_arn,
        cutoff_behavior: task.cutoff_behavior,
        display_name: task.name,
        description: task.description,
        parameters: terms(parameters.into_iter().map(|(key, values)| TargetTerm { key, values }).collect()),
    }
}

pub(super) fn status(progress: Progress) -> pb::ExecutionStatus {
    let Progress { status, details, started, ended } = progress;
    pb::ExecutionStatus {
        status: status.as_str().to_owned(),
        details,
        start_time: started.map(time),
        end_time: ended.map(time),
    }
}

fn execution(window: &WindowId, found: Observed<WholeExecution>) -> pb::Execution {
    let Observed { location, time: observed, value: WholeExecution { execution, tasks } } = found;
    let window = WindowName { location, id: window.clone() };
    let task = |found: TaskExecution| pb::execution::Task {
        task_execution_id: found.id,
        task_type: found.task_type,
        task_arn: found.task_arn,
        status: Some(status(found.progress)),
        invocations: found.invocations.into_iter().map(invocation).collect(),
    };
    pb::Execution {
        name: ExecutionName { window, id: execution.id }.to_string(),
        status: Some(status(execution.progress)),
        tasks: tasks.into_iter().map(task).collect(),
        observe_time: Some(time(observed)),
    }
}

fn invocation(found: TaskInvocation) -> pb::execution::Invocation {
    let TaskInvocation { id, execution_id, task_type, window_target_id, parameters, progress } = found;
    let is_command = task_type == "RUN_COMMAND";
    let (command_id, execution_id) =
        if is_command { (execution_id, String::new()) } else { (String::new(), execution_id) };
    pb::execution::Invocation {
        invocation_id: id,
        command_id,
        execution_id,
        window_target_id,
        parameters,
        status: Some(status(progress)),
    }
}

fn window_run(row: WindowRun) -> pb::WindowRun {
    let WindowRun { window, window_name, run, aws_time, difference } = row;
    pb::WindowRun {
        maintenance_window: window.to_string(),
        display_name: window_name,
        run: run.map(|(run, zone)| upcoming(&run, &zone)),
        aws_time: aws_time.map(time),
        difference,
    }
}

impl From<Preview> for pb::PreviewScheduleResponse {
    fn from(preview: Preview) -> Self {
        let Preview { timetable, runs } = preview;
        Self {
            expression: timetable.schedule.to_string(),
            offset_days: count(timetable.offset_days.unwrap_or(0)),
            summary: timetable.describe(),
            runs: runs.iter().map(|run| upcoming(run, &timetable.time_zone)).collect(),
        }
    }
}
