//! What maintenance windows did and will do: runs with their tasks and invocations, and AWS's own forecasts.

use crate::{
    Aws, ErrorKind, Page, PageOf, Result,
    calls::{
        DESCRIBE_WINDOW_EXECUTION_TASKS, DESCRIBE_WINDOW_EXECUTIONS, DESCRIBE_WINDOW_INVOCATIONS,
        DESCRIBE_WINDOW_SCHEDULE, DESCRIBE_WINDOWS_FOR_TARGET, GET_WINDOW_EXECUTION,
    },
    page, values,
};
use aws_sdk_ssm::types;
use aws_smithy_types::DateTime;
use jiff::Timestamp;
use patchplane_rules::{
    InstanceId, Progress, TaskExecution, TaskInvocation, WindowExecution, WindowExecutionId, WindowId, WindowStatus,
    window_time,
};

/// A run that AWS foresees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeseenRun {
    pub window: WindowId,
    pub window_name: String,
    /// `None`: AWS's text does not read as a time.
    pub time: Option<Timestamp>,
}

impl Aws {
    /// A window's runs that began between the two, each open where `None`; AWS keeps some 30 days. `NotFound`: no such window.
    pub async fn window_executions(
        &self,
        id: &WindowId,
        after: Option<Timestamp>,
        before: Option<Timestamp>,
    ) -> Result<Vec<WindowExecution>> {
        let filter = |key: &str, time: Timestamp| {
            let text = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            types::MaintenanceWindowFilter::builder().key(key).values(text).build()
        };
        let filters: Vec<_> = after
            .map(|time| filter("ExecutedAfter", time))
            .into_iter()
            .chain(before.map(|time| filter("ExecutedBefore", time)))
            .collect();
        page::all(&DESCRIBE_WINDOW_EXECUTIONS, async |page: Page| {
            let request = self.ssm().describe_maintenance_window_executions().window_id(id.as_str());
            let request = request.set_filters(Some(filters.clone()).filter(|filters| !filters.is_empty()));
            let request = request.max_results(page.size_within(10..=100)).set_next_token(page.token);
            let answer = self.ask(&DESCRIBE_WINDOW_EXECUTIONS, request.send()).await?;
            Ok(PageOf::new(answer.window_executions().iter().filter_map(execution).collect(), answer.next_token))
        })
        .await
    }

    /// `None`: there is none, or AWS has forgotten it.
    pub async fn window_execution(&self, id: &WindowExecutionId) -> Result<Option<WindowExecution>> {
        let request = self.ssm().get_maintenance_window_execution().window_execution_id(id.as_str());
        match self.ask(&GET_WINDOW_EXECUTION, request.send()).await {
            Ok(found) => Ok(Some(WindowExecution {
                id: id.clone(),
                progress: progress(found.status(), found.status_details(), found.start_time(), found.end_time()),
            })),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The tasks of a run, each with its invocations.
    pub async fn execution_tasks(&self, id: &WindowExecutionId) -> Result<Vec<TaskExecution>> {
        let mut tasks: Vec<TaskExecution> = page::all(&DESCRIBE_WINDOW_EXECUTION_TASKS, async |page: Page| {
            let request = self.ssm().describe_maintenance_window_execution_tasks().window_execution_id(id.as_str());
            let request = request.max_results(page.size_within(10..=100)).set_next_token(page.token);
            let answer = self.ask(&DESCRIBE_WINDOW_EXECUTION_TASKS, request.send()).await?;
            let rows = answer.window_execution_task_identities().iter().map(task);
            Ok(PageOf::new(rows.collect(), answer.next_token))
        })
        .await?;
        for task in &mut tasks {
            task.invocations = self.execution_invocations(id, &task.id).await?;
        }
        Ok(tasks)
    }

    async fn execution_invocations(&self, id: &WindowExecutionId, task_id: &str) -> Result<Vec<TaskInvocation>> {
        page::all(&DESCRIBE_WINDOW_INVOCATIONS, async |page: Page| {
            let request = self
                .ssm()
                .describe_maintenance_window_execution_task_invocations()
                .window_execution_id(id.as_str())
                .task_id(task_id)
                .max_results(page.size_within(10..=100))
                .set_next_token(page.token);
            let answer = self.ask(&DESCRIBE_WINDOW_INVOCATIONS, request.send()).await?;
            let rows = answer.window_execution_task_invocation_identities().iter().map(invocation);
            Ok(PageOf::new(rows.collect(), answer.next_token))
        })
        .await
    }

    /// What AWS foresees of one window, or of all, up to `most` runs (S 9.2.15).
    pub async fn foreseen_runs(&self, id: Option<&WindowId>, most: usize) -> Result<Vec<ForeseenRun>> {
        let mut runs: Vec<ForeseenRun> = Vec::new();
        let mut token = None;
        loop {
            let rest = i32::try_from(most.saturating_sub(runs.len())).unwrap_or(i32::MAX);
            let request = self.ssm().describe_maintenance_window_schedule().max_results(rest.clamp(1, 100));
            let request = request.set_window_id(id.map(|id| id.as_str().to_owned())).set_next_token(token);
            let answer = self.ask(&DESCRIBE_WINDOW_SCHEDULE, request.send()).await?;
            runs.extend(answer.scheduled_window_executions().iter().filter_map(foreseen));
            token = answer.next_token.filter(|token| !token.is_empty());
            if token.is_none() || runs.len() >= most {
                runs.truncate(most);
                return Ok(runs);
            }
        }
    }

    /// The windows, with their names, that would touch this node (S 9.2.15).
    pub async fn windows_for(&self, node: &InstanceId) -> Result<Vec<(WindowId, String)>> {
        let target = types::Target::builder().key("InstanceIds").values(node.as_str()).build();
        page::all(&DESCRIBE_WINDOWS_FOR_TARGET, async |page: Page| {
            let request = self
                .ssm()
                .describe_maintenance_windows_for_target()
                .resource_type(types::MaintenanceWindowResourceType::Instance)
                .targets(target.clone())
                .max_results(page.size_within(1..=100))
                .set_next_token(page.token);
            let answer = self.ask(&DESCRIBE_WINDOWS_FOR_TARGET, request.send()).await?;
            let rows = answer.window_identities().iter();
            let rows = rows.filter_map(|row| Some((values::key(row.window_id())?, values::text(row.name()))));
            Ok(PageOf::new(rows.collect(), answer.next_token))
        })
        .await
    }
}

// === from the SDK ===

fn progress(
    status: Option<&types::MaintenanceWindowExecutionStatus>,
    details: Option<&str>,
    started: Option<&DateTime>,
    ended: Option<&DateTime>,
) -> Progress {
    Progress {
        status: WindowStatus::parse(status.map_or("", |status| status.as_str())),
        details: values::text(details),
        started: values::timestamp(started),
        ended: values::timestamp(ended),
    }
}

fn execution(row: &types::MaintenanceWindowExecution) -> Option<WindowExecution> {
    Some(WindowExecution {
        id: values::key(row.window_execution_id())?,
        progress: progress(row.status(), row.status_details(), row.start_time(), row.end_time()),
    })
}

fn task(row: &types::MaintenanceWindowExecutionTaskIdentity) -> TaskExecution {
    TaskExecution {
        id: values::text(row.task_execution_id()),
        task_type: values::text(row.task_type().map(|kind| kind.as_str())),
        task_arn: values::text(row.task_arn()),
        progress: progress(row.status(), row.status_details(), row.start_time(), row.end_time()),
        invocations: Vec::new(),
    }
}

fn invocation(row: &types::MaintenanceWindowExecutionTaskInvocationIdentity) -> TaskInvocation {
    TaskInvocation {
        id: values::text(row.invocation_id()),
        execution_id: values::text(row.execution_id()),
        task_type: values::text(row.task_type().map(|kind| kind.as_str())),
        window_target_id: values::text(row.window_target_id()),
        parameters: values::text(row.parameters()),
        progress: progress(row.status(), row.status_details(), row.start_time(), row.end_time()),
    }
}

fn foreseen(row: &types::ScheduledWindowExecution) -> Option<ForeseenRun> {
    Some(ForeseenRun {
        window: values::key(row.window_id())?,
        window_name: values::text(row.name()),
        time: row.execution_time().and_then(window_time),
    })
}
