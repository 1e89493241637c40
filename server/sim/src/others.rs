//! What other people and services do in a location, so that it is not only the client that changes it.

use crate::{SimLocation, command::Command, error::AwsError, model::SSM, ssm, validation::validate};
use serde_json::{Value, json};

impl SimLocation {
    /// A call of Systems Manager's API by somebody else: checked as on the wire, but past faults and the log of
    /// requests. The error is AWS's code and message.
    pub fn by_others(&self, operation: &str, request: &Value) -> Result<Value, String> {
        let now = self.now();
        let input = SSM.operations.get(operation).and_then(|operation| operation.input.as_ref());
        let input = input.ok_or_else(|| format!("UnknownOperationException: {operation}"))?;
        validate(&SSM, input, request).map_err(|error| told(&error))?;
        let answer = self.with(|place| ssm::answer(ssm::Call { place, now, operation, request }));
        answer.ok_or_else(|| format!("UnknownOperationException: {operation}"))?.map_err(|error| told(&error))
    }

    /// Somebody else's Run Command of AWS-RunPatchBaseline: `Scan` or `Install`. Answers with the command's id.
    pub fn runs_elsewhere(&self, operation: &str, instance_ids: &[String]) -> Result<String, String> {
        let request = json!({
            "DocumentName": "AWS-RunPatchBaseline",
            "InstanceIds": instance_ids,
            "Comment": "started elsewhere",
            "Parameters": { "Operation": [operation] },
        });
        let answer = self.by_others("SendCommand", &request)?;
        Ok(answer["Command"]["CommandId"].as_str().unwrap_or_default().to_owned())
    }

    /// The console's "Patch now": `Scan` or `Install`, at once. Answers with the association's id.
    pub fn patch_now(&self, operation: &str, instance_ids: &[String]) -> Result<String, String> {
        let now = self.now();
        self.with(|place| place.patch_now(operation, instance_ids, now)).map_err(|error| told(&error))
    }

    /// A patch policy of Quick Setup: `Scan` or `Install` by a schedule, for a target such as `("tag:env", "prod")`.
    /// Answers with the association's id.
    pub fn patch_policy(&self, operation: &str, schedule: &str, target: (&str, &str)) -> Result<String, String> {
        let now = self.now();
        self.with(|place| place.patch_policy(operation, schedule, target, now)).map_err(|error| told(&error))
    }

    /// The ids of all commands that were sent here in the last 30 days, oldest first.
    pub fn command_ids(&self) -> Vec<String> {
        let id = |command: &Command| command.id.clone();
        self.with(|place| place.commands.iter().map(id).collect())
    }
}

fn told(error: &AwsError) -> String {
    format!("{}: {}", error.code, error.message)
}
