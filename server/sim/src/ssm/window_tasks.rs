//! Tasks of maintenance windows (S 9.4).

use super::{Answer, Call, maintenance_windows::limit_exceeded, maintenance_windows::with_id, present, strings};
use crate::{
    error::AwsError,
    window::{Members, Part, Window, merged},
};
use serde_json::{Value, json};

const MEMBERS: [&str; 14] = [
    "Targets",
    "TaskArn",
    "ServiceRoleArn",
    "TaskType",
    "TaskParameters",
    "TaskInvocationParameters",
    "Priority",
    "MaxConcurrency",
    "MaxErrors",
    "LoggingInfo",
    "Name",
    "Description",
    "CutoffBehavior",
    "AlarmConfiguration",
];
const MOST_TASKS: usize = 20;
const MOST_WINDOW_TARGETS: usize = 10;

impl Call<'_> {
    pub(super) fn register_task_with_maintenance_window(&mut self) -> Answer {
        self.once(|call| {
            let window = call.window()?;
            let members = merged(&Members::new(), call.request, &MEMBERS, true);
            let mut task = Part { id: String::new(), members };
            check_task(window, &task)?;
            check_window_targets(window, &task)?;
            if window.tasks.len() >= MOST_TASKS {
                return Err(limit_exceeded(format!("A window can have at most {MOST_TASKS} tasks")));
            }
            let id = call.place.new_id("window task").uuid();
            task.id.clone_from(&id);
            call.window_mut()?.tasks.push(task);
            Ok(json!({ "WindowTaskId": id }))
        })
    }

    /// The type cannot be changed (S 9.4.2); TaskInvocationParameters are replaced whole (S 9.4.8).
    pub(super) fn update_maintenance_window_task(&mut self) -> Answer {
        let replace = self.request["Replace"] == true;
        let window = self.window()?;
        let before = self.window_task()?;
        if replace && let Some(name) = ["Targets", "TaskArn"].iter().find(|name| self.request[**name].is_null()) {
            return Err(AwsError::validation(format!("{name} is required when Replace is true")));
        }
        let mut members = merged(&before.members, self.request, &MEMBERS, replace);
        members.insert("TaskType".to_owned(), before.members["TaskType"].clone());
        let task = Part { id: before.id.clone(), members };
        check_task(window, &task)?;
        if !self.request["Targets"].is_null() {
            check_window_targets(window, &task)?;
        }
        let answer = self.task_json(&task, &MEMBERS);
        let window = self.window_mut()?;
        let answer = with_ids(answer, &window.id, &task.id);
        if let Some(place) = window.tasks.iter_mut().find(|before| before.id == task.id) {
            *place = task;
        }
        Ok(without(answer, "TaskType"))
    }

    pub(super) fn get_maintenance_window_task(&self) -> Answer {
        let (window, task) = (self.window()?, self.window_task()?);
        Ok(with_ids(self.task_json(task, &MEMBERS), &window.id, &task.id))
    }

    pub(super) fn deregister_task_from_maintenance_window(&mut self) -> Answer {
        let id = self.window_task()?.id.clone();
        let window = self.window_mut()?;
        window.tasks.retain(|task| task.id != id);
        Ok(with_ids(json!({}), &window.id, &id))
    }

    pub(super) fn describe_maintenance_window_tasks(&self) -> Answer {
        let window = self.window()?;
        let filters = self.known_filters(&["WindowTaskId", "TaskArn", "Priority", "TaskType"])?;
        let admitted = |task: &&Part| {
            filters.iter().all(|(key, values)| match *key {
                "WindowTaskId" => values.contains(&task.id.as_str()),
                "Priority" => values.contains(&task.priority().to_string().as_str()),
                key => values.contains(&task.text(key)),
            })
        };
        let row = |task: &Part| {
            let mut row = without(self.task_json(task, &MEMBERS), "TaskInvocationParameters");
            row["Type"] = task.members["TaskType"].clone();
            with_ids(without(row, "TaskType"), &window.id, &task.id)
        };
        let rows = window.tasks.iter().filter(admitted).map(|task| (task.id.clone(), row(task))).collect();
        self.page("Tasks", rows, 50)
    }

    fn window_task(&self) -> Result<&Part, AwsError> {
        let id = self.text("WindowTaskId");
        let task = self.window()?.tasks.iter().find(|task| task.id == id);
        task.ok_or_else(|| {
            AwsError::new("DoesNotExistException", format!("Maintenance window task {id} does not exist"))
        })
    }

    /// With what AWS fills in: the service-linked role (S 9.4.7), and 1 for the rates of a task without targets
    /// (S 9.4.3).
    fn task_json(&self, task: &Part, members: &[&str]) -> Value {
        let mut json = present(&task.members, members);
        let role = self.place.service_role();
        let defaults = [
            ("ServiceRoleArn", json!(role)),
            ("TaskParameters", json!({})),
            ("Priority", json!(task.priority())),
            ("MaxConcurrency", json!("1")),
            ("MaxErrors", json!("1")),
        ];
        for (name, value) in defaults {
            if json[name].is_null() {
                json[name] = value;
            }
        }
        json
    }
}

impl crate::account::Place {
    /// The role that windows use when a task names none (S 9.4.7).
    pub(crate) fn service_role(&self) -> String {
        let account = &self.account;
        format!("arn:aws:iam::{account}:role/aws-service-role/ssm.amazonaws.com/AWSServiceRoleForAmazonSSM")
    }
}

fn with_ids(answer: Value, window_id: &str, task_id: &str) -> Value {
    let mut answer = with_id(answer, window_id);
    answer["WindowTaskId"] = task_id.into();
    answer
}

fn without(mut answer: Value, member: &str) -> Value {
    if let Value::Object(members) = &mut answer {
        members.remove(member);
    }
    answer
}

/// S 9.4.3–6. TaskArn is not looked at (S 9.4.2). Codes and texts without a source are unverified.
fn check_task(window: &Window, task: &Part) -> Result<(), AwsError> {
    let targets = task.list("Targets");
    let keys: Vec<&str> = targets.iter().filter_map(|target| target["Key"].as_str()).collect();
    if let Some(key) = keys.iter().find(|key| !["InstanceIds", "WindowTargetIds"].contains(key)) {
        return Err(AwsError::validation(format!("Target key {key} is not supported for tasks")));
    }
    let missing = |member: &str| !task.members.contains_key(member);
    if targets.iter().all(|target| strings(&target["Values"]).is_empty()) {
        if task.text("TaskType") == "RUN_COMMAND" {
            return Err(AwsError::validation("Maintenance window tasks of type RUN_COMMAND need at least one target."));
        }
        let given = ["MaxErrors", "MaxConcurrency"].into_iter().filter(|member| !missing(member));
        let refused: Vec<String> = given
            .map(|member| format!("Maintenance window tasks without targets do not support {member} values."))
            .collect();
        return if refused.is_empty() { Ok(()) } else { Err(AwsError::validation(refused.join(" "))) };
    }
    if task.target_values("WindowTargetIds").len() > MOST_WINDOW_TARGETS {
        return Err(AwsError::validation(format!("The maximum number of window targets is {MOST_WINDOW_TARGETS}")));
    }
    if window.members["AllowUnassociatedTargets"] != true && keys.contains(&"InstanceIds") {
        let text = "Targets that are not registered with the maintenance window are not allowed.";
        return Err(AwsError::validation(text));
    }
    match ["MaxConcurrency", "MaxErrors"].into_iter().find(|member| missing(member)) {
        Some(member) => Err(AwsError::validation(format!("Maintenance window tasks with targets need {member}."))),
        None => Ok(()),
    }
}

fn check_window_targets(window: &Window, task: &Part) -> Result<(), AwsError> {
    let ids = task.target_values("WindowTargetIds");
    let unknown = ids.iter().find(|id| window.target(id).is_none());
    unknown.map_or(Ok(()), |id| Err(super::window_targets::no_such_target(id)))
}
