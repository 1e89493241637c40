//! What maintenance windows run: executions, their tasks, and an invocation for each target (S 9.5).

use crate::{
    account::{Event, Place},
    clock::later,
    command::Origin,
    dice::Dice,
    window::{Part, Window},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{collections::VecDeque, time::Duration};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Execution {
    pub(crate) id: String,
    pub(crate) window: String,
    pub(crate) status: &'static str,
    pub(crate) details: String,
    pub(crate) started: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    /// In the order of their priority.
    pub(crate) tasks: Vec<TaskExecution>,
}

/// A task of an execution, as it was when the window opened.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TaskExecution {
    pub(crate) id: String,
    pub(crate) task: Part,
    pub(crate) status: &'static str,
    pub(crate) details: String,
    pub(crate) started: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    /// One for each window target, and one for all nodes that the task names itself (S 9.5.4).
    pub(crate) invocations: Vec<TaskInvocation>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct TaskInvocation {
    pub(crate) id: String,
    pub(crate) window_target: Option<String>,
    pub(crate) owner_information: String,
    targets: Vec<Value>,
    pub(crate) nodes: Vec<String>,
    /// The command's id, for a Run Command task.
    pub(crate) execution: Option<String>,
    pub(crate) parameters: String,
    pub(crate) status: &'static str,
    pub(crate) details: String,
    pub(crate) started: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
}

/// How many executions run at a time in a location (S 3.2).
const MOST_AT_ONCE: usize = 5;

/// Why an execution or a task failed, in the words of a recorded example (S 9.5.5).
const FAILED: &str = "One or more tasks in the orchestration failed.";

// === impl Execution ===

impl Execution {
    fn new(seed: u64, window: &Window, at: Timestamp) -> Self {
        let mut dice = Dice::new(seed, &["execution", &window.id, &at.to_string()]);
        let id = dice.uuid();
        let mut tasks: Vec<&Part> = window.tasks.iter().collect();
        tasks.sort_by_key(|task| task.priority());
        let tasks = tasks.into_iter().map(|task| TaskExecution::new(window, task, &mut dice)).collect();
        Self {
            id,
            window: window.id.clone(),
            status: "PENDING",
            details: String::new(),
            started: at,
            ended: None,
            tasks,
        }
    }

    fn end(&mut self, status: &'static str, details: &str, at: Timestamp) {
        (self.status, self.details, self.ended) = (status, details.to_owned(), Some(at));
    }

    /// Ends it if all its tasks have ended.
    fn settle(&mut self, at: Timestamp) {
        if self.ended.is_some() || self.tasks.iter().any(|task| task.ended.is_none()) {
            return;
        }
        let worst = worst(self.tasks.iter().map(|task| task.status));
        // What refuses a command is told of the execution, too.
        let refused = self.tasks.iter().flat_map(|task| &task.invocations).find(|i| i.refused());
        match (self.status, worst) {
            ("CANCELLING", _) => self.end("CANCELLED", "", at),
            (_, "FAILED") => {
                let details = refused.map_or(FAILED.to_owned(), |invocation| invocation.details.clone());
                self.end("FAILED", &details, at);
            }
            (_, status) => self.end(status, "", at),
        }
    }
}

impl TaskExecution {
    fn new(window: &Window, task: &Part, dice: &mut Dice) -> Self {
        let id = dice.uuid();
        let mut invocation = |window_target: Option<&Part>, targets: Vec<Value>| TaskInvocation {
            id: dice.uuid(),
            window_target: window_target.map(|target| target.id.clone()),
            owner_information: window_target.map_or("", |target| target.text("OwnerInformation")).to_owned(),
            targets,
            nodes: Vec::new(),
            execution: None,
            parameters: String::new(),
            status: "PENDING",
            details: String::new(),
            started: None,
            ended: None,
        };
        // A target that is gone starts nothing (S 9.3.5; unverified).
        let registered = task.target_values("WindowTargetIds").into_iter().filter_map(|id| window.target(id));
        let mut invocations: Vec<_> =
            registered.map(|target| invocation(Some(target), target.list("Targets").to_vec())).collect();
        let direct: Vec<Value> = task.list("Targets").iter().filter(|t| t["Key"] == "InstanceIds").cloned().collect();
        if !direct.is_empty() || task.list("Targets").is_empty() {
            invocations.push(invocation(None, direct));
        }
        Self {
            id,
            task: task.clone(),
            status: "PENDING",
            details: String::new(),
            started: None,
            ended: None,
            invocations,
        }
    }

    fn end(&mut self, status: &'static str, details: &str, at: Timestamp) {
        (self.status, self.details, self.ended) = (status, details.to_owned(), Some(at));
    }

    /// Ends it if all its invocations have ended.
    fn settle(&mut self, at: Timestamp) {
        if self.invocations.iter().any(|invocation| invocation.ended.is_none()) {
            return;
        }
        let worst = worst(self.invocations.iter().map(|invocation| invocation.status));
        let decisive = self.invocations.iter().find(|invocation| invocation.status == worst);
        // That nothing was touched is said so in users' reports; with which status is unverified.
        let details = decisive.map_or("No invocations to execute.", |invocation| &invocation.details).to_owned();
        self.end(worst, &details, at);
    }

    fn cancels_at_cutoff(&self) -> bool {
        self.task.text("CutoffBehavior") == "CANCEL_TASK"
    }

    /// The parameters of its document; those of TaskInvocationParameters win over the old ones (S 9.4.8).
    pub(crate) fn document_parameters(&self) -> Value {
        let old = self.task.members.get("TaskParameters").and_then(Value::as_object);
        let old = old.into_iter().flatten().map(|(name, value)| (name.clone(), value["Values"].clone()));
        let old: Map<String, Value> = old.collect();
        let new = self.task.members.get("TaskInvocationParameters").map(|all| all["RunCommand"]["Parameters"].clone());
        new.filter(|parameters| !parameters.is_null()).unwrap_or(Value::Object(old))
    }
}

impl TaskInvocation {
    fn end(&mut self, status: &'static str, details: &str, at: Timestamp) {
        (self.status, self.details, self.ended) = (status, details.to_owned(), Some(at));
    }

    /// Whether it ended without having started anything.
    fn refused(&self) -> bool {
        self.status == "FAILED" && self.execution.is_none()
    }
}

/// The status of a whole of which these are the parts' (how AWS weighs them is unverified).
fn worst(statuses: impl Iterator<Item = &'static str> + Clone) -> &'static str {
    let order = ["FAILED", "TIMED_OUT", "CANCELLED"];
    order.into_iter().find(|status| statuses.clone().any(|s| s == *status)).unwrap_or("SUCCESS")
}

// === impl Place ===

impl Place {
    /// Decides anew when a window opens next.
    pub(crate) fn plan(&mut self, window_id: &str, after: Timestamp) {
        let Some(window) = self.window_mut(window_id) else { return };
        window.next = window.enabled().then(|| window.timetable.next_after(after)).flatten().map(|run| run.time);
        if let Some(next) = window.next {
            self.queue(next, Event::Open { window: window_id.to_owned() });
        }
    }

    /// Disabled and deleted windows start nothing (S 9.5.10).
    pub(crate) fn open(&mut self, window_id: &str, at: Timestamp) {
        let (seed, horizon) = (self.seed, self.horizon);
        let Some(window) = self.window(window_id).filter(|window| window.next == Some(at)) else { return };
        if window.tasks.is_empty() && at < horizon {
            // Nobody can see any more that it did nothing.
            return self.plan(window_id, horizon);
        }
        let mut execution = Execution::new(seed, window, at);
        let left = (window.hours("Duration") - window.hours("Cutoff")) * 3600;
        let cutoff = later(at, Duration::from_secs(left.unsigned_abs()));
        let id = execution.id.clone();
        // S 9.5.2, 9.5.11.
        let ran = |other: &&Execution| other.window == window_id && other.status != "SKIPPED_OVERLAPPING";
        if self.executions.iter().rev().find(ran).is_some_and(|other| other.ended.is_none()) {
            execution.tasks.clear();
            execution.end("SKIPPED_OVERLAPPING", "", at);
        } else if execution.tasks.is_empty() {
            execution.end("SUCCESS", "No tasks to execute.", at);
        }
        let runs = execution.ended.is_none();
        self.forget_executions(at);
        self.executions.push_back(execution);
        if runs {
            self.queue(cutoff, Event::CutOff { execution: id.clone() });
            self.open_executions.push(id);
            self.begin_executions(at);
        }
        self.plan(window_id, at);
    }

    /// Lets as many run as may at a time; the others wait for a place until their cutoff (S 9.5.2, that they wait is unverified).
    fn begin_executions(&mut self, at: Timestamp) {
        let find = |executions: &VecDeque<Execution>, id: &str| executions.iter().rposition(|e| e.id == id);
        let executions = &self.executions;
        self.open_executions.retain(|id| find(executions, id).is_some_and(|index| executions[index].ended.is_none()));
        let open: Vec<usize> = self.open_executions.iter().filter_map(|id| find(&self.executions, id)).collect();
        let (waiting, running): (Vec<usize>, Vec<usize>) =
            open.into_iter().partition(|index| self.executions[*index].status == "PENDING");
        if let Some(&next) = waiting.first().filter(|_| running.len() < MOST_AT_ONCE) {
            self.executions[next].status = "IN_PROGRESS";
            let id = self.executions[next].id.clone();
            // Its end, or what follows below, lets the next begin.
            self.proceed_execution(&id, at);
            self.begin_executions(at);
        }
    }

    /// Starts what is due: the tasks of the lowest number at the same time, their targets one after the other
    /// (S 9.4.10).
    fn proceed_execution(&mut self, id: &str, at: Timestamp) {
        let Some(index) = self.executions.iter().rposition(|execution| execution.id == id) else { return };
        loop {
            let execution = &mut self.executions[index];
            let mut waits = true;
            let open = execution.tasks.iter().filter(|task| task.ended.is_none());
            let Some(priority) = open.map(|task| task.task.priority()).min() else { break };
            for number in 0..self.executions[index].tasks.len() {
                let task = &mut self.executions[index].tasks[number];
                if task.ended.is_some() || task.task.priority() != priority {
                    continue;
                }
                if task.started.is_none() {
                    (task.status, task.started) = ("IN_PROGRESS", Some(at));
                }
                if task.invocations.iter().any(|i| i.started.is_some() && i.ended.is_none()) {
                    continue;
                }
                waits = false;
                match task.invocations.iter().position(|invocation| invocation.started.is_none()) {
                    Some(next) => self.start_invocation(index, number, next, at),
                    None => task.settle(at),
                }
            }
            if waits {
                break;
            }
        }
        self.executions[index].settle(at);
        if self.executions[index].ended.is_some() && self.open_executions.len() > MOST_AT_ONCE {
            self.begin_executions(at);
        }
    }

    fn start_invocation(&mut self, index: usize, number: usize, next: usize, at: Timestamp) {
        let execution = &self.executions[index];
        let (execution_id, task) = (execution.id.clone(), &execution.tasks[number]);
        let invocation = &task.invocations[next];
        let nodes = self.selected(&invocation.targets);
        let with_targets = !task.task.list("Targets").is_empty();
        if nodes.is_empty() && with_targets {
            self.executions[index].tasks[number].invocations.remove(next);
            return;
        }
        let names = [
            ("aws:ORCHESTRATION_ID", execution_id.as_str()),
            ("WINDOW_EXECUTION_ID", &execution_id),
            ("WINDOW_ID", &execution.window),
            ("WINDOW_TASK_ID", &task.task.id),
            ("WINDOW_TARGET_ID", invocation.window_target.as_deref().unwrap_or_default()),
            ("TASK_EXECUTION_ID", &task.id),
            ("INVOCATION_ID", &invocation.id),
        ];
        let parameters = substituted(&task.document_parameters(), &names);
        let kind = task.task.text("TaskType").to_owned();
        let started = if kind == "RUN_COMMAND" {
            let request = command_request(&task.task, &nodes, parameters);
            let owner_information = invocation.owner_information.clone();
            let origin = Origin::Window { execution: execution_id.clone(), owner_information };
            let told = invocation_parameters(&request);
            self.send(&request, origin, at).map_err(|error| (error, told.clone())).map(|id| (id, told))
        } else if kind == "AUTOMATION" {
            let with = substituted(&task.task.members["TaskInvocationParameters"]["Automation"]["Parameters"], &names);
            let with = with_nodes(with, &nodes);
            let request = json!({ "DocumentName": task.task.text("TaskArn"), "Parameters": with });
            let told = with.to_string();
            let by = self.service_role();
            self.automate(&request, by, at).map_err(|error| (error, told.clone())).map(|id| (id, told))
        } else {
            // Functions and state machines are called and do nothing here: they succeed at once.
            let id = Dice::new(self.seed, &["call", &invocation.id]).uuid();
            Ok((id, json!({ "parameters": parameters }).to_string()))
        };
        let invocation = &mut self.executions[index].tasks[number].invocations[next];
        (invocation.status, invocation.started, invocation.nodes) = ("IN_PROGRESS", Some(at), nodes);
        match started {
            Ok((id, told)) => {
                (invocation.parameters, invocation.execution) = (told, Some(id));
                if !["RUN_COMMAND", "AUTOMATION"].contains(&kind.as_str()) {
                    invocation.end("SUCCESS", "Success", at);
                }
            }
            Err((error, told)) => {
                invocation.parameters = told;
                let text = if error.message.is_empty() { &error.code } else { &error.message };
                invocation.end("FAILED", text, at);
            }
        }
    }

    /// Tells the execution that waits for a command of its end.
    pub(crate) fn command_ended(&mut self, command_id: &str, at: Timestamp) {
        let Some(command) = self.command_mut(command_id).filter(|command| command.has_ended()) else { return };
        let Origin::Window { execution: id, .. } = command.origin.clone() else { return };
        let (status, details) = command.status();
        let status = match status {
            "Success" => "SUCCESS",
            "TimedOut" => "TIMED_OUT",
            "Cancelled" => "CANCELLED",
            _ => "FAILED",
        };
        self.invocation_ended(&id, command_id, status, details, at);
    }

    /// Tells the execution that waits for a runbook of its end.
    pub(crate) fn automation_ended(&mut self, automation_id: &str, at: Timestamp) {
        let Some(status) = self.automation(automation_id).map(|automation| automation.status) else { return };
        let of_it = |execution: &&Execution| {
            let mut invocations = execution.tasks.iter().flat_map(|task| &task.invocations);
            invocations.any(|invocation| invocation.execution.as_deref() == Some(automation_id))
        };
        let Some(id) = self.executions.iter().rfind(of_it).map(|execution| execution.id.clone()) else { return };
        let ended = match status {
            "Success" => "SUCCESS",
            "Cancelled" => "CANCELLED",
            _ => "FAILED",
        };
        self.invocation_ended(&id, automation_id, ended, status, at);
    }

    fn invocation_ended(&mut self, id: &str, of: &str, status: &'static str, details: &str, at: Timestamp) {
        let execution = self.executions.iter_mut().rfind(|execution| execution.id == id);
        let tasks = execution.into_iter().flat_map(|execution| &mut execution.tasks);
        let mut invocations = tasks.flat_map(|task| &mut task.invocations);
        if let Some(invocation) = invocations.find(|i| i.execution.as_deref() == Some(of) && i.ended.is_none()) {
            invocation.end(status, details, at);
            self.proceed_execution(id, at);
        }
    }

    /// From now on no task starts; those that run go on, unless they are to be cancelled (S 9.4.11, 9.5.7).
    pub(crate) fn cut_off(&mut self, id: &str, at: Timestamp) {
        let Some(execution) = self.executions.iter_mut().rfind(|execution| execution.id == id) else { return };
        let mut cancelled = Vec::new();
        for task in execution.tasks.iter_mut().filter(|task| task.ended.is_none()) {
            if task.started.is_none() {
                task.invocations.clear();
                task.end("TIMED_OUT", "", at);
            } else if task.cancels_at_cutoff() {
                task.invocations.retain(|invocation| invocation.started.is_some());
                for invocation in task.invocations.iter_mut().filter(|invocation| invocation.ended.is_none()) {
                    invocation.end("TIMED_OUT", "", at);
                    cancelled.extend(invocation.execution.clone());
                }
                task.end("TIMED_OUT", "", at);
            }
        }
        for command in cancelled {
            self.cancel_command(&command, &[], at);
        }
        self.proceed_execution(id, at);
    }

    /// What has not started is cancelled, what runs ends by itself (S 9.5.8). `false`: there is no such execution.
    pub(crate) fn cancel_execution(&mut self, id: &str, at: Timestamp) -> bool {
        let Some(execution) = self.executions.iter_mut().rfind(|execution| execution.id == id) else { return false };
        if execution.ended.is_none() {
            execution.status = "CANCELLING";
            for task in execution.tasks.iter_mut().filter(|task| task.started.is_none()) {
                task.invocations.clear();
                task.end("CANCELLED", "", at);
            }
            self.proceed_execution(id, at);
        }
        true
    }
}

/// The SendCommand of a Run Command task.
fn command_request(task: &Part, nodes: &[String], parameters: Value) -> Value {
    let given = task.members.get("TaskInvocationParameters").map(|all| all["RunCommand"].clone());
    let mut request = given.filter(Value::is_object).unwrap_or_else(|| json!({}));
    request["DocumentName"] = task.text("TaskArn").into();
    request["InstanceIds"] = nodes.into();
    request["Parameters"] = parameters;
    for rate in ["MaxConcurrency", "MaxErrors"] {
        request[rate] = task.text(rate).into();
    }
    request
}

/// A runbook's parameters: `{{RESOURCE_ID}}` and `{{TARGET_ID}}` stand for the nodes (S 9.4.9).
fn with_nodes(mut parameters: Value, nodes: &[String]) -> Value {
    let stands_for_nodes = |value: &Value| {
        let text = value.as_str().unwrap_or_default().replace(' ', "");
        text == "{{RESOURCE_ID}}" || text == "{{TARGET_ID}}"
    };
    for values in parameters.as_object_mut().into_iter().flat_map(|members| members.values_mut()) {
        if values.as_array().is_some_and(|values| values.iter().any(stands_for_nodes)) && !nodes.is_empty() {
            *values = nodes.into();
        }
    }
    parameters
}

/// What an invocation tells of its command: a text, with the members in lower camel case (S 9.5.4).
fn invocation_parameters(request: &Value) -> String {
    let members =
        ["Comment", "DocumentName", "InstanceIds", "MaxConcurrency", "MaxErrors", "Parameters", "TimeoutSeconds"];
    let given = members.into_iter().filter(|member| !request[*member].is_null());
    let told = given.map(|member| {
        let (first, rest) = member.split_at(1);
        (first.to_lowercase() + rest, request[member].clone())
    });
    Value::Object(told.collect()).to_string()
}

/// Parameters with the pseudo parameters' values (S 7.1.6, 9.4.9).
fn substituted(parameters: &Value, names: &[(&str, &str)]) -> Value {
    match parameters {
        Value::String(text) => {
            let with = |text: String, (name, value): &(&str, &str)| {
                text.replace(&format!("{{{{ {name} }}}}"), value).replace(&format!("{{{{{name}}}}}"), value)
            };
            names.iter().fold(text.clone(), with).into()
        }
        Value::Array(items) => items.iter().map(|item| substituted(item, names)).collect(),
        Value::Object(entries) => {
            entries.iter().map(|(key, item)| (key.clone(), substituted(item, names))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}
