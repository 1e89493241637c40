//! SendCommand (S 6.1, 7.1). There is no idempotency: each call is a new command.

use super::{Answer, Call, commands::command_json, strings};
use crate::{
    account::{Event, Place},
    clock::later,
    command::{Command, Invocation, Origin, RunParameters, STEP_TIMEOUT},
    dice::Dice,
    documents::{self, Document, RUN_PATCH_BASELINE},
    error::AwsError,
    model::matches_pattern,
};
use jiff::Timestamp;
use patchplane_rules::OperatingSystem;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, time::Duration};

/// The execution timeout of a document that does not patch (S 6.1.17).
const SCRIPT_TIMEOUT: u64 = 3600;
/// Between the waves in which a command goes out: to one node, to two more, to four more (S 6.1.14; the pace is unverified).
const WAVE_SECONDS: u64 = 2;

impl Call<'_> {
    pub(super) fn send_command(&mut self) -> Answer {
        let id = self.place.send(self.request, Origin::Caller, self.now)?;
        let command = self.place.command_mut(&id).ok_or_else(|| AwsError::bare("InvalidCommandId"))?;
        Ok(json!({ "Command": command_json(command) }))
    }
}

impl Place {
    /// Takes a command for delivery and answers with its id.
    pub(crate) fn send(&mut self, request: &Value, origin: Origin, now: Timestamp) -> Result<String, AwsError> {
        let name = request["DocumentName"].as_str().unwrap_or_default();
        let text = format!("Document with name {name} does not exist.");
        let document = documents::find(name).filter(|document| document.kind == "Command");
        let document = document.ok_or_else(|| AwsError::new("InvalidDocument", text))?;
        if !Document::has_version(request["DocumentVersion"].as_str().unwrap_or_default()) {
            return Err(AwsError::new("InvalidDocumentVersion", "The document version is not valid."));
        }
        let ids = self.targets(request)?;
        let fits = |id: &String| {
            self.nodes.get(id).is_some_and(|node| document.platforms.contains(&node.platform.platform_type()))
        };
        if request["InstanceIds"].as_array().is_some_and(|ids| !ids.is_empty()) && !ids.iter().all(fits) {
            let text = format!("{} is not for the platform of all instances.", document.name);
            return Err(AwsError::new("UnsupportedPlatformType", text));
        }
        let mut run = run_parameters(document, &request["Parameters"])?;
        if let Origin::Window { execution, .. } = &origin
            && run.patches
        {
            // S 7.1.6: all nodes of one execution share a snapshot.
            run.snapshot_id.get_or_insert_with(|| execution.clone());
        }
        let command = self.new_command(request, &ids, run, origin, now);
        let id = command.id.clone();
        self.queue(command.expires, Event::Expire { command: id.clone() });
        for (index, node) in ids.into_iter().enumerate() {
            let wave = u64::from((index + 1).ilog2()) * WAVE_SECONDS * 1000;
            let wait = wave + Dice::new(self.seed, &["deliver", &id, &node]).between(2000, 4000);
            let event = Event::Deliver { command: id.clone(), node };
            self.queue(later(now, Duration::from_millis(wait)), event);
        }
        self.keep(command);
        Ok(id)
    }

    fn targets(&self, request: &Value) -> Result<Vec<String>, AwsError> {
        let ids = strings(&request["InstanceIds"]);
        let targets = request["Targets"].as_array().map_or(&[][..], Vec::as_slice);
        if ids.is_empty() == targets.is_empty() {
            let text = "Please specify either InstanceIds or Targets, and at least one of them.";
            return Err(AwsError::validation(text));
        }
        if ids.is_empty() {
            return self.by_targets(targets);
        }
        if ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
            return Err(AwsError::bare("DuplicateInstanceId"));
        }
        let known = |id: &str| self.nodes.get(id).is_some_and(|node| node.managed);
        let bad: Vec<_> = ids.iter().copied().filter(|id| !known(id)).collect();
        if !bad.is_empty() {
            let bad = bad.join(", ");
            let text = format!("Instances [[{bad}]] not in a valid state for account {}", self.account);
            return Err(AwsError::new("InvalidInstanceId", text));
        }
        Ok(ids.into_iter().map(str::to_owned).collect())
    }

    /// That nothing matches is no error (S 6.1.6).
    fn by_targets(&self, given: &[Value]) -> Result<Vec<String>, AwsError> {
        let mut keys = given.iter().map(|target| target["Key"].as_str().unwrap_or_default());
        if let Some(key) = keys.find(|key| !key.eq_ignore_ascii_case("InstanceIds") && !key.starts_with("tag:")) {
            return Err(AwsError::validation(format!("Target key {key} is not supported")));
        }
        Ok(self.selected(given))
    }

    fn new_command(
        &self,
        request: &Value,
        ids: &[String],
        run: RunParameters,
        origin: Origin,
        now: Timestamp,
    ) -> Command {
        let mut dice = Dice::new(self.seed, &["command", &self.account, &self.region, &self.sent.to_string()]);
        let id = dice.uuid();
        let timeout = request["TimeoutSeconds"].as_u64().unwrap_or(3600);
        let share = |member: &str, default: &str, round_up: bool| {
            let text = request[member].as_str().unwrap_or(default);
            match text.strip_suffix('%').map(str::parse::<usize>) {
                Some(Ok(percent)) if round_up => (percent * ids.len()).div_ceil(100).max(1),
                Some(Ok(percent)) => percent * ids.len() / 100,
                _ => text.parse().unwrap_or(50),
            }
        };
        let invocations = ids.iter().filter_map(|id| self.nodes.get(id)).map(|node| {
            let snapshot = run.snapshot_id.clone().unwrap_or_else(|| dice.uuid());
            let step = match documents::find(run.document).and_then(|document| document.steps.last()) {
                Some((last, _)) if !run.patches => last,
                _ => OperatingSystem::observed(node.platform.system()).patch_step(),
            };
            let mut invocation = Invocation::new(&node.id, node.computer_name(&self.region), step, snapshot);
            if documents::find(run.document).is_some_and(|d| !d.platforms.contains(&node.platform.platform_type())) {
                invocation.close("Failed", "InvalidPlatform");
            }
            invocation
        });
        let invocations = invocations.collect();
        let moment = Duration::from_millis(dice.between(1500, 2500));
        Command {
            id,
            requested: now,
            visible: later(now, self.command_lag.unwrap_or(moment)),
            expires: later(now, Duration::from_secs(timeout + if run.patches { STEP_TIMEOUT } else { SCRIPT_TIMEOUT })),
            echo: echo(request, run.document, timeout),
            origin,
            run,
            concurrency: share("MaxConcurrency", "50", true),
            tolerated: share("MaxErrors", "0", false),
            cancel_requested: false,
            stopped_by_errors: false,
            invocations,
        }
    }
}

/// What the answer repeats, with empty strings for what was not given (S 1.11, 6.1.19).
fn echo(request: &Value, document: &str, timeout: u64) -> Map<String, Value> {
    let or = |member: &str, default: Value| match &request[member] {
        Value::Null => default,
        given => given.clone(),
    };
    let cloud_watch = json!({ "CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": false });
    let notification = json!({ "NotificationArn": "", "NotificationEvents": [], "NotificationType": "" });
    let echo = json!({
        "DocumentName": document,
        "DocumentVersion": or("DocumentVersion", "".into()),
        "Comment": or("Comment", "".into()),
        "Parameters": or("Parameters", json!({})),
        "InstanceIds": or("InstanceIds", json!([])),
        "Targets": or("Targets", json!([])),
        "OutputS3BucketName": or("OutputS3BucketName", "".into()),
        "OutputS3KeyPrefix": or("OutputS3KeyPrefix", "".into()),
        "MaxConcurrency": or("MaxConcurrency", "50".into()),
        "MaxErrors": or("MaxErrors", "0".into()),
        "ServiceRole": or("ServiceRoleArn", "".into()),
        "NotificationConfig": or("NotificationConfig", notification),
        "CloudWatchOutputConfig": or("CloudWatchOutputConfig", cloud_watch),
        "TimeoutSeconds": timeout,
    });
    match echo {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Checks names, required ones and allowed values (S 6.1.9, 7.1.2).
fn run_parameters(document: &'static Document, parameters: &Value) -> Result<RunParameters, AwsError> {
    const UUID: &str = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}";
    const URL: &str = "https://.+|s3://([^/]+)/(.*?([^/]+))";
    let none = Map::new();
    let given = parameters.as_object().unwrap_or(&none);
    let mut bad: Vec<&str> = document.odd_parameters(given);
    for (name, values) in
        given.iter().filter(|(name, _)| document.patches() && !bad.contains(&name.as_str())).collect::<Vec<_>>()
    {
        let values = strings(values);
        let fits = |value: &str| match name.as_str() {
            "Operation" => matches!(value, "Scan" | "Install"),
            "RebootOption" => matches!(value, "RebootIfNeeded" | "NoReboot"),
            "SnapshotId" | "AssociationId" => value.is_empty() || matches_pattern(UUID, value),
            "InstallOverrideList" | "BaselineOverride" => value.is_empty() || matches_pattern(URL, value),
            name if name.ends_with("HookDocName") => documents::find(value).is_some_and(|hook| hook.kind == "Command"),
            _ => true,
        };
        if !matches!(values[..], [value] if fits(value)) {
            bad.push(name);
        }
    }
    if !bad.is_empty() {
        let text = format!("The following SSM parameters are invalid: {}", bad.join(", "));
        return Err(AwsError::new("InvalidParameters", text));
    }
    let value = |name: &str| given.get(name).and_then(|values| values[0].as_str()).unwrap_or_default();
    let install = value("Operation") == "Install";
    Ok(RunParameters {
        document: document.name,
        patches: document.patches(),
        given: parameters.clone(),
        install,
        by_policy: document.name == RUN_PATCH_BASELINE && !value("AssociationId").is_empty(),
        no_reboot: value("RebootOption") == "NoReboot",
        snapshot_id: Some(value("SnapshotId")).filter(|id| !id.is_empty()).map(str::to_owned),
    })
}
