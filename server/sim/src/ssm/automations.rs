//! Automation executions: start, stop, and what became of them (S 11.3).

use super::{Answer, Call, epoch};
use crate::{
    automation::{Automation, Step, inputs},
    error::AwsError,
};
use serde_json::{Value, json};

impl Call<'_> {
    /// A repetition under the same ClientToken answers as the first time.
    pub(super) fn start_automation_execution(&mut self) -> Answer {
        let by = self.place.executor();
        self.once(|call| {
            let id = call.place.automate(call.request, by, call.now)?;
            Ok(json!({ "AutomationExecutionId": id }))
        })
    }

    pub(super) fn stop_automation_execution(&mut self) -> Answer {
        let automation = self.automation()?;
        if automation.ended.is_some() {
            let text = format!("The automation execution is {} already.", automation.status);
            return Err(AwsError::new("InvalidAutomationStatusUpdateException", text));
        }
        let id = automation.id.clone();
        self.place.stop_automation(&id, self.now);
        Ok(json!({}))
    }

    pub(super) fn get_automation_execution(&self) -> Answer {
        let automation = self.automation()?;
        let mut json = self.automation_json(automation);
        json["StepExecutions"] = automation.steps.iter().map(|step| self.step_json(automation, step)).collect();
        json["StepExecutionsTruncated"] = false.into();
        json["Parameters"] = automation.given.get("Parameters").cloned().unwrap_or_else(|| json!({}));
        Ok(json!({ "AutomationExecution": json }))
    }

    /// Newest first.
    pub(super) fn describe_automation_executions(&self) -> Answer {
        let filters = self.filters();
        for (key, values) in &filters {
            let at = |value: &&str| value.parse::<jiff::Timestamp>().is_err();
            if ["StartTimeBefore", "StartTimeAfter"].contains(key) && values.iter().any(at) {
                return Err(AwsError::new("InvalidFilterValue", "The filter value is not a date."));
            }
        }
        let admitted = |automation: &&Automation| {
            filters.iter().all(|(key, values)| {
                let any = |test: &dyn Fn(&str) -> bool| values.iter().any(|value| test(value));
                let before = |value: &str| value.parse().is_ok_and(|at: jiff::Timestamp| automation.started <= at);
                match *key {
                    "DocumentNamePrefix" => any(&|value| automation.document.starts_with(value)),
                    "ExecutionStatus" => any(&|value| automation.status == value),
                    "ExecutionId" => any(&|value| automation.id == value),
                    "CurrentAction" => any(&|value| automation.current().is_some_and(|step| step.action == value)),
                    "StartTimeBefore" => any(&before),
                    "StartTimeAfter" => any(&|value| !before(value)),
                    "AutomationType" => any(&|value| value == "Local"),
                    _ => false,
                }
            })
        };
        let rows = self.place.automations.iter().rev().filter(admitted);
        let rows = rows.map(|automation| {
            let mut json = self.automation_json(automation);
            json["AutomationType"] = "Local".into();
            json["LogFile"] = "".into();
            (automation.id.clone(), json)
        });
        self.page("AutomationExecutionMetadataList", rows.collect(), 50)
    }

    pub(super) fn describe_automation_step_executions(&self) -> Answer {
        let automation = self.automation()?;
        let filters = self.filters();
        let admitted = |step: &&Step| {
            filters.iter().all(|(key, values)| match *key {
                "StepExecutionId" => values.contains(&step.id.as_str()),
                "StepName" => values.contains(&step.name),
                "Action" => values.contains(&step.action),
                "StepExecutionStatus" => values.contains(&step.status),
                _ => true,
            })
        };
        let steps = automation.steps.iter().filter(admitted);
        let mut rows: Vec<_> = steps.map(|step| (step.id.clone(), self.step_json(automation, step))).collect();
        if self.request["ReverseOrder"] == true {
            rows.reverse();
        }
        self.page("StepExecutions", rows, 50)
    }

    fn automation(&self) -> Result<&Automation, AwsError> {
        let id = self.text("AutomationExecutionId");
        let text = format!("Automation execution {id} does not exist.");
        self.place.automation(id).ok_or_else(|| AwsError::new("AutomationExecutionNotFoundException", text))
    }

    fn automation_json(&self, automation: &Automation) -> Value {
        let index = self.place.automations.iter().position(|other| other.id == automation.id).unwrap_or_default();
        let by_targets = !automation.given["Targets"].is_null();
        let resolved = if by_targets { self.place.automation_targets(index) } else { Vec::new() };
        let mut json = json!({
            "AutomationExecutionId": automation.id,
            "DocumentName": automation.document,
            "DocumentVersion": "1",
            "AutomationExecutionStatus": automation.status,
            "ExecutionStartTime": epoch(automation.started),
            "ExecutedBy": automation.executed_by,
            "Outputs": {},
            "Mode": automation.given.get("Mode").cloned().unwrap_or_else(|| "Auto".into()),
            "CurrentStepName": automation.current().map_or("", |step| step.name),
            "CurrentAction": automation.current().map_or("", |step| step.action),
            "ResolvedTargets": { "ParameterValues": resolved, "Truncated": false },
            "Targets": automation.given.get("Targets").cloned().unwrap_or_else(|| json!([])),
        });
        for member in ["TargetParameterName", "MaxConcurrency", "MaxErrors"] {
            if let Some(given) = automation.given.get(member) {
                json[member] = given.clone();
            }
        }
        if let Some(at) = automation.ended {
            json["ExecutionEndTime"] = epoch(at);
        }
        json
    }

    fn step_json(&self, automation: &Automation, step: &Step) -> Value {
        let index = self.place.automations.iter().position(|other| other.id == automation.id).unwrap_or_default();
        let next = automation.steps.iter().skip_while(|other| other.id != step.id).nth(1);
        let mut outputs = json!({});
        if let (Some(power), "Success") = (Automation::desired(step.name), step.status) {
            outputs["InstanceStates"] = json!([power.name()]);
        }
        let mut json = json!({
            "StepExecutionId": step.id,
            "StepName": step.name,
            "Action": step.action,
            "StepStatus": step.status,
            "Inputs": inputs(step, &self.place.automation_targets(index)),
            "Outputs": outputs,
            "OverriddenParameters": {},
        });
        for (member, at) in [("ExecutionStartTime", step.started), ("ExecutionEndTime", step.ended)] {
            if let Some(at) = at {
                json[member] = epoch(at);
            }
        }
        if let Some(next) = next {
            json["ValidNextSteps"] = json!([next.name]);
        }
        json
    }
}
