//! What maintenance windows ran and will run (S 9.2.15, 9.5).

use super::{Answer, Call, epoch};
use crate::{
    clock::later,
    error::AwsError,
    execution::{Execution, TaskExecution, TaskInvocation},
    window::{Members, Window},
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// How many runs of one window are foreseen; how far AWS looks ahead is not documented.
const FORESEEN: usize = 200;

impl Call<'_> {
    /// Of one window, of those that touch a target, or of all, in the order of time.
    pub(super) fn describe_maintenance_window_schedule(&self) -> Answer {
        let filters = self.known_filters(&["ScheduledBefore", "ScheduledAfter"])?;
        let (before, after) = (moment(&filters, "ScheduledBefore")?, moment(&filters, "ScheduledAfter")?);
        let windows: Vec<&Window> = if !self.request["WindowId"].is_null() {
            vec![self.window()?]
        } else if !self.request["Targets"].is_null() {
            self.windows_for_target()
        } else {
            self.visible_windows().collect()
        };
        let after = after.map_or(self.now, |after| after.max(self.now));
        let mut runs: Vec<(Timestamp, &Window)> = Vec::new();
        for window in windows.into_iter().filter(|window| window.enabled()) {
            let times = window.timetable.runs_after(after).map(|run| run.time).take(FORESEEN);
            runs.extend(
                times.take_while(|time| before.is_none_or(|before| *time <= before)).map(|time| (time, window)),
            );
        }
        runs.sort_by_key(|(time, window)| (*time, &window.id));
        let rows = runs.into_iter().map(|(time, window)| {
            let row = json!({ "WindowId": window.id, "Name": window.name(), "ExecutionTime": window.shown(time) });
            (format!("{time}/{}", window.id), row)
        });
        self.page("ScheduledWindowExecutions", rows.collect(), 50)
    }

    /// Newest first; of an unknown window none (S 9.5.9 and the model, which has no error for it).
    pub(super) fn describe_maintenance_window_executions(&self) -> Answer {
        let filters = self.known_filters(&["ExecutedBefore", "ExecutedAfter"])?;
        let (before, after) = (moment(&filters, "ExecutedBefore")?, moment(&filters, "ExecutedAfter")?);
        let window = self.text("WindowId");
        let rows = self.executions().rev().filter(|execution| {
            execution.window == window
                && later(execution.started, self.place.run_lag) <= self.now
                && before.is_none_or(|before| execution.started <= before)
                && after.is_none_or(|after| execution.started >= after)
        });
        let row = |execution: &Execution| {
            let mut row = state(execution.status, &execution.details, Some(execution.started), execution.ended);
            row["WindowId"] = execution.window.as_str().into();
            row["WindowExecutionId"] = execution.id.as_str().into();
            row
        };
        self.page("WindowExecutions", rows.map(|execution| (execution.id.clone(), row(execution))).collect(), 50)
    }

    pub(super) fn get_maintenance_window_execution(&self) -> Answer {
        let execution = self.execution()?;
        let mut answer = state(execution.status, &execution.details, Some(execution.started), execution.ended);
        answer["WindowExecutionId"] = execution.id.as_str().into();
        answer["TaskIds"] = execution.tasks.iter().map(|task| task.id.as_str()).collect();
        Ok(answer)
    }

    pub(super) fn describe_maintenance_window_execution_tasks(&self) -> Answer {
        let execution = self.execution()?;
        let filters = self.known_filters(&["STATUS"])?;
        let rows = execution.tasks.iter().filter(|task| has_status(&filters, task.status)).map(|task| {
            let mut row = task_state(execution, task);
            row["TaskType"] = task.task.text("TaskType").into();
            (task.id.clone(), row)
        });
        self.page("WindowExecutionTaskIdentities", rows.collect(), 50)
    }

    pub(super) fn get_maintenance_window_execution_task(&self) -> Answer {
        let (execution, task) = self.task_execution()?;
        let mut answer = task_state(execution, task);
        let role = Some(task.task.text("ServiceRoleArn")).filter(|role| !role.is_empty());
        let values = |(name, values): (&String, &Value)| (name.clone(), json!({ "Values": values }));
        let mut parameters: Members =
            task.document_parameters().as_object().into_iter().flatten().map(values).collect();
        let nodes: Vec<_> = task.invocations.iter().flat_map(|invocation| &invocation.nodes).collect();
        parameters.insert("aws:InstanceId".to_owned(), json!({ "Values": nodes }));
        answer["Type"] = task.task.text("TaskType").into();
        answer["ServiceRole"] = role.map_or_else(|| self.place.service_role(), str::to_owned).into();
        answer["Priority"] = task.task.priority().into();
        answer["TaskParameters"] = json!([parameters]);
        for rate in ["MaxConcurrency", "MaxErrors"] {
            answer[rate] = Some(task.task.text(rate)).filter(|rate| !rate.is_empty()).unwrap_or("1").into();
        }
        Ok(answer)
    }

    pub(super) fn describe_maintenance_window_execution_task_invocations(&self) -> Answer {
        let (execution, task) = self.task_execution()?;
        let filters = self.known_filters(&["STATUS"])?;
        let started = task.invocations.iter().filter(|i| i.started.is_some() && has_status(&filters, i.status));
        let rows = started.map(|i| (i.id.clone(), invocation_json(execution, task, i)));
        self.page("WindowExecutionTaskInvocationIdentities", rows.collect(), 50)
    }

    pub(super) fn get_maintenance_window_execution_task_invocation(&self) -> Answer {
        let (execution, task) = self.task_execution()?;
        let id = self.text("InvocationId");
        let invocation = task.invocations.iter().find(|invocation| invocation.id == id);
        let invocation = invocation.ok_or_else(|| does_not_exist("execution task invocation", id))?;
        Ok(invocation_json(execution, task, invocation))
    }

    pub(super) fn cancel_maintenance_window_execution(&mut self) -> Answer {
        let id = self.text("WindowExecutionId");
        match self.place.cancel_execution(id, self.now) {
            true => Ok(json!({ "WindowExecutionId": id })),
            false => Err(does_not_exist("execution", id)),
        }
    }

    fn executions(&self) -> impl DoubleEndedIterator<Item = &Execution> {
        self.place.executions.iter().filter(|execution| execution.started >= self.place.horizon)
    }

    fn execution(&self) -> Result<&Execution, AwsError> {
        let id = self.text("WindowExecutionId");
        let found = self.executions().rfind(|execution| execution.id == id);
        found.ok_or_else(|| does_not_exist("execution", id))
    }

    fn task_execution(&self) -> Result<(&Execution, &TaskExecution), AwsError> {
        let execution = self.execution()?;
        let id = self.text("TaskId");
        let task = execution.tasks.iter().find(|task| task.id == id);
        task.map(|task| (execution, task)).ok_or_else(|| does_not_exist("execution task", id))
    }
}

/// The text is unverified.
fn does_not_exist(what: &str, id: &str) -> AwsError {
    AwsError::new("DoesNotExistException", format!("Maintenance window {what} {id} does not exist"))
}

/// The time in a filter, if it is there.
fn moment(filters: &[(&str, Vec<&str>)], key: &str) -> Result<Option<Timestamp>, AwsError> {
    let value = filters.iter().find(|(k, _)| *k == key).map(|(_, values)| values.first().copied().unwrap_or_default());
    let invalid = || AwsError::validation(format!("Invalid date in filter {key}"));
    value.map(|text| text.parse().map_err(|_| invalid())).transpose()
}

fn has_status(filters: &[(&str, Vec<&str>)], status: &str) -> bool {
    filters.iter().all(|(_, values)| values.contains(&status))
}

/// Details are only there for some states (API model, MaintenanceWindowExecution).
fn state(status: &str, details: &str, started: Option<Timestamp>, ended: Option<Timestamp>) -> Value {
    let mut json = json!({ "Status": status });
    if !details.is_empty() {
        json["StatusDetails"] = details.chars().take(250).collect::<String>().into();
    }
    for (member, at) in [("StartTime", started), ("EndTime", ended)] {
        if let Some(at) = at {
            json[member] = epoch(at);
        }
    }
    json
}

fn task_state(execution: &Execution, task: &TaskExecution) -> Value {
    let mut json = state(task.status, &task.details, task.started, task.ended);
    json["WindowExecutionId"] = execution.id.as_str().into();
    json["TaskExecutionId"] = task.id.as_str().into();
    json["TaskArn"] = task.task.text("TaskArn").into();
    json
}

fn invocation_json(execution: &Execution, task: &TaskExecution, invocation: &TaskInvocation) -> Value {
    let mut json = state(invocation.status, &invocation.details, invocation.started, invocation.ended);
    json["WindowExecutionId"] = execution.id.as_str().into();
    json["TaskExecutionId"] = task.id.as_str().into();
    json["InvocationId"] = invocation.id.as_str().into();
    json["TaskType"] = task.task.text("TaskType").into();
    json["Parameters"] = invocation.parameters.as_str().into();
    let owner = Some(&invocation.owner_information).filter(|owner| !owner.is_empty());
    let optional = [
        ("ExecutionId", invocation.execution.as_ref()),
        ("WindowTargetId", invocation.window_target.as_ref()),
        ("OwnerInformation", owner),
    ];
    for (member, value) in optional {
        if let Some(value) = value {
            json[member] = value.as_str().into();
        }
    }
    json
}
