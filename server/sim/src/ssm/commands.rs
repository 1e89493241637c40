//! Reading and cancelling commands (S 6.2–6.4).

use super::{Answer, Call, epoch, strings};
use crate::{
    command::{Command, Invocation, Origin, Phase},
    error::AwsError,
    output,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

impl Call<'_> {
    /// Newest first (S 6.3.10).
    pub(super) fn list_commands(&self) -> Answer {
        let id = self.request["CommandId"].as_str();
        let instance = self.request["InstanceId"].as_str();
        let filters = self.command_filters(true)?;
        self.known_command(id)?;
        let hidden = |command: &Command| {
            let unasked = id.is_none() && self.place.association_commands_hidden;
            unasked && matches!(command.origin, Origin::Association { .. })
        };
        let rows = self.place.visible_commands(self.now).rev().filter(|command| {
            !hidden(command)
                && id.is_none_or(|id| command.id == id)
                && instance.is_none_or(|instance| command.invocation(instance).is_some())
                && filters.iter().all(|filter| filter.admits(command, command.status()))
        });
        let rows = rows.map(|command| (command.id.clone(), command_json(command))).collect();
        self.page("Commands", rows, 50)
    }

    pub(super) fn list_command_invocations(&self) -> Answer {
        let id = self.request["CommandId"].as_str();
        let instance = self.request["InstanceId"].as_str();
        let details = self.request["Details"].as_bool().unwrap_or(false);
        let filters = self.command_filters(false)?;
        self.known_command(id)?;
        let mut rows = Vec::new();
        for command in self.place.visible_commands(self.now).rev().filter(|c| id.is_none_or(|id| c.id == id)) {
            for invocation in &command.invocations {
                let wanted = instance.is_none_or(|instance| invocation.instance_id == instance);
                let state = (invocation.status, invocation.details);
                if wanted && filters.iter().all(|filter| filter.admits(command, state)) {
                    let key = format!("{}/{}", command.id, invocation.instance_id);
                    rows.push((key, invocation_json(command, invocation, details)));
                }
            }
        }
        self.page("CommandInvocations", rows, 50)
    }

    /// About one step; it must be named if the document has several (S 6.3.1).
    pub(super) fn get_command_invocation(&self) -> Answer {
        let id = self.text("CommandId");
        self.known_command(Some(id))?;
        let visible = self.place.visible_commands(self.now).find(|command| command.id == id);
        let found = visible.and_then(|command| Some((command, command.invocation(self.text("InstanceId"))?)));
        let (command, invocation) = found.ok_or_else(|| AwsError::bare("InvocationDoesNotExist"))?;
        let step = match (self.text("PluginName"), command.steps()) {
            ("", [(only, _)]) => *only,
            (named, steps) if steps.iter().any(|(step, _)| *step == named) => named,
            _ => return Err(AwsError::bare("InvalidPluginName")),
        };
        let plugin = Plugin::of(step, command, invocation);
        let (stdout, stderr) = output::of_invocation(&plugin.stdout, &plugin.stderr);
        let elapsed = plugin.started.zip(plugin.ended).map(|(start, end)| duration(end.duration_since(start)));
        let status = if plugin.step_is_own { invocation.status } else { plugin.status };
        Ok(json!({
            "CommandId": command.id,
            "InstanceId": invocation.instance_id,
            "Comment": command.echo["Comment"],
            "DocumentName": command.echo["DocumentName"],
            "DocumentVersion": command.echo["DocumentVersion"],
            "PluginName": step,
            "ResponseCode": plugin.code,
            "ExecutionStartDateTime": plugin.started.map(date_time).unwrap_or_default(),
            "ExecutionElapsedTime": elapsed.unwrap_or_default(),
            "ExecutionEndDateTime": plugin.ended.map(date_time).unwrap_or_default(),
            "Status": status,
            "StatusDetails": plugin.details,
            "StandardOutputContent": stdout,
            "StandardOutputUrl": "",
            "StandardErrorContent": stderr,
            "StandardErrorUrl": "",
            "CloudWatchOutputConfig": command.echo["CloudWatchOutputConfig"],
        }))
    }

    /// Only an attempt: what runs may still end by itself (S 6.4).
    pub(super) fn cancel_command(&mut self) -> Answer {
        let id = self.text("CommandId").to_owned();
        self.known_command(Some(&id))?;
        let only: Vec<String> = strings(&self.request["InstanceIds"]).into_iter().map(str::to_owned).collect();
        let command = self.place.command(&id).ok_or_else(|| AwsError::bare("InvalidCommandId"))?;
        if let Some(unknown) = only.iter().find(|id| command.invocation(id).is_none()) {
            return Err(AwsError::new("InvalidInstanceId", format!("{unknown} is not a target of the command")));
        }
        self.place.cancel_command(&id, &only, self.now);
        Ok(json!({}))
    }

    /// A command that was never sent is not known, one that is not visible yet is (S 1.25, 6.3.6).
    fn known_command(&self, id: Option<&str>) -> Result<(), AwsError> {
        let known = |id: &str| self.place.commands.iter().any(|command| command.id == id);
        if id.is_none_or(known) { Ok(()) } else { Err(AwsError::bare("InvalidCommandId")) }
    }

    fn command_filters(&self, of_commands: bool) -> Result<Vec<CommandFilter>, AwsError> {
        let filters = self.request["Filters"].as_array().map_or(&[][..], Vec::as_slice);
        let read = |filter: &Value| {
            let value = filter["value"].as_str().unwrap_or_default().to_owned();
            let at = || value.parse::<Timestamp>().map_err(|_| AwsError::validation("Invalid date in filter"));
            match filter["key"].as_str().unwrap_or_default() {
                "InvokedAfter" => Ok(CommandFilter::After(at()?)),
                "InvokedBefore" => Ok(CommandFilter::Before(at()?)),
                "Status" => Ok(CommandFilter::Status(value)),
                "DocumentName" => Ok(CommandFilter::Document(value)),
                "ExecutionStage" if of_commands => Ok(CommandFilter::Complete(value == "Complete")),
                _ => Err(AwsError::bare("InvalidFilterKey")),
            }
        };
        filters.iter().map(read).collect()
    }
}

/// S 6.3.9.
enum CommandFilter {
    After(Timestamp),
    Before(Timestamp),
    Status(String),
    Document(String),
    Complete(bool),
}

impl CommandFilter {
    fn admits(&self, command: &Command, (status, details): (&str, &str)) -> bool {
        match self {
            Self::After(at) => command.requested >= *at,
            Self::Before(at) => command.requested <= *at,
            Self::Status(wanted) => wanted == status || wanted == details,
            Self::Document(name) => command.echo["DocumentName"] == **name,
            Self::Complete(wanted) => *wanted == (command.completed() == command.invocations.len()),
        }
    }
}

pub(super) fn command_json(command: &Command) -> Value {
    let (status, details) = command.status();
    let mut members = command.echo.clone();
    let computed = json!({
        "CommandId": command.id,
        "RequestedDateTime": epoch(command.requested),
        "ExpiresAfter": epoch(command.expires),
        "Status": status,
        "StatusDetails": details,
        "TargetCount": command.invocations.len(),
        "CompletedCount": command.completed(),
        "ErrorCount": command.errors(),
        "DeliveryTimedOutCount": command.count(&["DeliveryTimedOut"]),
    });
    if let Value::Object(computed) = computed {
        members.extend(computed);
    }
    Value::Object(members)
}

fn invocation_json(command: &Command, invocation: &Invocation, details: bool) -> Value {
    let steps = command.steps().iter().filter(|_| details);
    let plugins = steps.map(|(step, _)| Plugin::of(step, command, invocation).json(step));
    json!({
        "CommandId": command.id,
        "InstanceId": invocation.instance_id,
        "InstanceName": invocation.computer_name,
        "Comment": command.echo["Comment"],
        "DocumentName": command.echo["DocumentName"],
        "DocumentVersion": command.echo["DocumentVersion"],
        "RequestedDateTime": epoch(command.requested),
        "Status": invocation.status,
        "StatusDetails": invocation.details,
        "StandardOutputUrl": "",
        "StandardErrorUrl": "",
        "CommandPlugins": plugins.collect::<Vec<_>>(),
        "ServiceRole": command.echo["ServiceRole"],
        "NotificationConfig": command.echo["NotificationConfig"],
        "CloudWatchOutputConfig": command.echo["CloudWatchOutputConfig"],
    })
}

/// One step of an invocation. The steps of other platforms are skipped, which looks like success (S 7.1.4): those
/// before the node's own when it starts, those after it when it ends.
struct Plugin {
    step_is_own: bool,
    status: &'static str,
    details: &'static str,
    code: i32,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    stdout: String,
    stderr: String,
}

impl Plugin {
    fn of(step: &str, command: &Command, invocation: &Invocation) -> Self {
        let position = |step: &str| command.steps().iter().position(|(s, _)| *s == step);
        if step == invocation.own_step {
            let (status, details) = match (invocation.status, invocation.details) {
                ("Delayed", _) => ("Pending", "Pending"),
                ("Cancelling", _) => ("InProgress", "InProgress"),
                other => other,
            };
            return Self {
                step_is_own: true,
                status,
                details,
                code: invocation.code,
                started: invocation.started,
                ended: invocation.ended,
                stdout: invocation.stdout.clone(),
                stderr: invocation.stderr.clone(),
            };
        }
        let at = if position(step) < position(invocation.own_step) { invocation.started } else { invocation.ended };
        match at {
            Some(at) => Self {
                step_is_own: false,
                status: "Success",
                details: "Success",
                code: 0,
                started: Some(at),
                ended: Some(at),
                stdout: if command.run.patches { output::skipped(step, invocation.own_step) } else { String::new() },
                stderr: String::new(),
            },
            None => {
                let ended = invocation.phase == Phase::Ended;
                let (status, details) =
                    if ended { (invocation.status, invocation.details) } else { ("Pending", "Pending") };
                Self {
                    step_is_own: false,
                    status,
                    details,
                    code: -1,
                    started: None,
                    ended: None,
                    stdout: String::new(),
                    stderr: String::new(),
                }
            }
        }
    }

    fn json(&self, step: &str) -> Value {
        let mut json = json!({
            "Name": step,
            "Status": self.status,
            "StatusDetails": self.details,
            "ResponseCode": self.code,
            "Output": output::of_plugin(&self.stdout, &self.stderr),
            "StandardOutputUrl": "",
            "StandardErrorUrl": "",
            "OutputS3Region": "",
            "OutputS3BucketName": "",
            "OutputS3KeyPrefix": "",
        });
        for (member, at) in [("ResponseStartDateTime", self.started), ("ResponseFinishDateTime", self.ended)] {
            if let Some(at) = at {
                json[member] = epoch(at);
            }
        }
        json
    }
}

/// `2020-02-19T18:18:03.419Z` (S 1.7).
fn date_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// An ISO-8601 duration such as `PT1M2.5S` (S 1.8).
fn duration(elapsed: SignedDuration) -> String {
    let millis = elapsed.as_millis().max(0);
    let (minutes, seconds) = (millis / 60_000, (millis % 60_000) as f64 / 1000.0);
    if minutes > 0 { format!("PT{minutes}M{seconds}S") } else { format!("PT{seconds}S") }
}
