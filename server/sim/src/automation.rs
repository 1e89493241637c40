//! Automation: runbooks that start, stop and restart instances, and others whose steps change nothing (S 11.3).

use crate::{
    account::{Event, Place},
    clock::later,
    dice::Dice,
    documents::{self, Document},
    error::AwsError,
    power::Power,
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// How many may run at a time (S 3.2).
const MOST_AT_ONCE: usize = 100;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Automation {
    pub(crate) id: String,
    pub(crate) document: &'static str,
    /// Parameters, Targets, TargetParameterName, Mode, MaxConcurrency, MaxErrors, as they were given.
    pub(crate) given: Value,
    pub(crate) status: &'static str,
    pub(crate) executed_by: String,
    pub(crate) started: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) id: String,
    pub(crate) name: &'static str,
    pub(crate) action: &'static str,
    pub(crate) status: &'static str,
    pub(crate) started: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
}

impl Automation {
    /// The step that runs, or else the last.
    pub(crate) fn current(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.ended.is_none()).or(self.steps.last())
    }

    fn end(&mut self, status: &'static str, at: Timestamp) {
        (self.status, self.ended) = (status, Some(at));
        for step in self.steps.iter_mut().filter(|step| step.ended.is_none() && step.started.is_some()) {
            (step.status, step.ended) = (status, Some(at));
        }
    }

    pub(crate) fn desired(step: &str) -> Option<Power> {
        match step {
            "startInstances" => Some(Power::Running),
            "stopInstances" => Some(Power::Stopped),
            _ => None,
        }
    }
}

impl Place {
    /// Starts a runbook and answers with the execution's id.
    pub(crate) fn automate(&mut self, request: &Value, by: String, now: Timestamp) -> Result<String, AwsError> {
        let name = request["DocumentName"].as_str().unwrap_or_default();
        let text = format!("Automation document {name} does not exist.");
        let document = documents::find(name).filter(|document| document.kind == "Automation");
        let document = document.ok_or_else(|| AwsError::new("AutomationDefinitionNotFoundException", text))?;
        if !Document::has_version(request["DocumentVersion"].as_str().unwrap_or_default()) {
            let text = "The version of the automation document does not exist.";
            return Err(AwsError::new("AutomationDefinitionVersionNotFoundException", text));
        }
        let given = request["Parameters"].as_object().cloned().unwrap_or_default();
        let target = request["TargetParameterName"].as_str();
        let odd: Vec<_> = document.odd_parameters(&given).into_iter().filter(|name| target != Some(*name)).collect();
        if !odd.is_empty() {
            let text = format!("The following parameters are invalid or missing: {}", odd.join(", "));
            return Err(AwsError::new("InvalidAutomationExecutionParametersException", text));
        }
        if self.automations.iter().filter(|automation| automation.ended.is_none()).count() >= MOST_AT_ONCE {
            let text = format!("At most {MOST_AT_ONCE} automations run at a time.");
            return Err(AwsError::new("AutomationExecutionLimitExceededException", text));
        }
        let mut dice = self.new_id("automation");
        let id = dice.uuid();
        let step = |(name, action): &(&'static str, &'static str)| Step {
            id: dice.uuid(),
            name,
            action,
            status: "Pending",
            started: None,
            ended: None,
        };
        let steps = document.steps.iter().map(step).collect();
        let members = ["Parameters", "Targets", "TargetParameterName", "Mode", "MaxConcurrency", "MaxErrors"];
        let given = members.into_iter().filter(|member| !request[*member].is_null());
        self.automations.push(Automation {
            id: id.clone(),
            document: document.name,
            given: given.map(|member| (member.to_owned(), request[member].clone())).collect(),
            status: "InProgress",
            executed_by: by,
            started: now,
            ended: None,
            steps,
        });
        self.queue(later(now, Duration::from_secs(1)), Event::Automate { automation: id.clone() });
        Ok(id)
    }

    /// A step ends and the next begins, or the whole ends.
    pub(crate) fn automation_due(&mut self, id: &str, at: Timestamp) {
        let Some(index) = self.automations.iter().position(|automation| automation.id == id) else { return };
        let automation = &mut self.automations[index];
        if automation.ended.is_some() {
            return;
        }
        if let Some(running) = automation.steps.iter_mut().find(|step| step.status == "InProgress") {
            (running.status, running.ended) = ("Success", Some(at));
        }
        let Some(step) = automation.steps.iter_mut().find(|step| step.started.is_none()) else {
            automation.end("Success", at);
            return self.automation_ended(id, at);
        };
        step.started = Some(at);
        let (name, action) = (step.name, step.action);
        if action == "aws:approve" {
            // Nobody approves it here.
            (step.status, automation.status) = ("Waiting", "Waiting");
            return;
        }
        step.status = "InProgress";
        let ids = self.automation_targets(index);
        if let Some(wanted) = Automation::desired(name) {
            if ids.iter().any(|id| self.nodes.get(id).is_none_or(|node| node.hybrid)) {
                self.automations[index].end("Failed", at);
                return self.automation_ended(id, at);
            }
            for id in &ids {
                match (self.nodes.get(id).map(|node| node.power), wanted) {
                    (Some(Power::Stopped), Power::Running) => self.change_power(id, Power::Pending, at),
                    (Some(Power::Running), Power::Stopped) => self.change_power(id, Power::Stopping, at),
                    _ => {}
                }
            }
        }
        let seconds = if Automation::desired(name).is_some() { 45 } else { 5 };
        self.queue(later(at, Duration::from_secs(seconds)), Event::Automate { automation: id.to_owned() });
    }

    /// The instances that it works on: those of its parameter, and those of its targets.
    pub(crate) fn automation_targets(&self, index: usize) -> Vec<String> {
        let given = &self.automations[index].given;
        let named = given["Parameters"]["InstanceId"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut ids: Vec<String> = named.map(str::to_owned).collect();
        if let Some(targets) = given["Targets"].as_array() {
            let values = targets.iter().filter(|target| target["Key"] == "ParameterValues");
            let values = values.flat_map(|target| target["Values"].as_array()).flatten().filter_map(Value::as_str);
            ids.extend(values.map(str::to_owned));
            if targets.iter().all(|target| target["Key"] != "ParameterValues") {
                ids.extend(self.selected(targets));
            }
        }
        ids
    }

    /// `Cancel` ends what runs; `Complete` lets the step end (S 11.3.4).
    pub(crate) fn stop_automation(&mut self, id: &str, at: Timestamp) {
        if let Some(automation) = self.automations.iter_mut().find(|automation| automation.id == id) {
            automation.end("Cancelled", at);
        }
        self.automation_ended(id, at);
    }

    pub(crate) fn automation(&self, id: &str) -> Option<&Automation> {
        self.automations.iter().find(|automation| automation.id == id)
    }

    /// The user or service that starts automations here.
    pub(crate) fn executor(&self) -> String {
        let id = Dice::new(self.seed, &["executor", &self.account]).hex(4);
        format!("arn:aws:iam::{}:user/simulated-{id}", self.account)
    }
}

/// What a step was told, as the API shows it: JSON in strings.
pub(crate) fn inputs(step: &Step, ids: &[String]) -> Value {
    match Automation::desired(step.name) {
        Some(power) => json!({
            "DesiredState": format!("\"{}\"", power.name()),
            "InstanceIds": serde_json::to_string(ids).unwrap_or_default(),
        }),
        None => json!({}),
    }
}
