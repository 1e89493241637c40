//! Systems Manager's operations behind the JSON protocol: a validated request in, an answer or an error out.

mod association_changes;
mod associations;
mod automations;
mod available_patches;
mod baseline_changes;
pub(crate) mod baseline_content;
mod baselines;
mod commands;
mod compliance;
mod documents;
mod inventory;
mod maintenance_windows;
mod nodes;
mod patch_groups;
mod patch_states;
mod send_command;
mod settings;
mod tags;
mod window_executions;
mod window_targets;
mod window_tasks;

use crate::{
    account::Place,
    error::AwsError,
    model::{Model, SSM},
    page::Query,
    window::Members,
};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) type Answer = Result<Value, AwsError>;

/// One request in its location.
pub(crate) struct Call<'a> {
    pub(crate) place: &'a mut Place,
    pub(crate) now: Timestamp,
    pub(crate) operation: &'a str,
    pub(crate) request: &'a Value,
}

/// Operations that change something.
pub(crate) const MUTATING: &[&str] = &[
    "CreatePatchBaseline",
    "UpdatePatchBaseline",
    "DeletePatchBaseline",
    "RegisterDefaultPatchBaseline",
    "SendCommand",
    "CancelCommand",
    "RegisterPatchBaselineForPatchGroup",
    "DeregisterPatchBaselineForPatchGroup",
    "AddTagsToResource",
    "RemoveTagsFromResource",
    "CreateMaintenanceWindow",
    "UpdateMaintenanceWindow",
    "DeleteMaintenanceWindow",
    "RegisterTargetWithMaintenanceWindow",
    "UpdateMaintenanceWindowTarget",
    "DeregisterTargetFromMaintenanceWindow",
    "RegisterTaskWithMaintenanceWindow",
    "UpdateMaintenanceWindowTask",
    "DeregisterTaskFromMaintenanceWindow",
    "CancelMaintenanceWindowExecution",
    "CreateAssociation",
    "UpdateAssociation",
    "DeleteAssociation",
    "StartAssociationsOnce",
    "StartAutomationExecution",
    "StopAutomationExecution",
    "PutComplianceItems",
    "UpdateServiceSetting",
    "ResetServiceSetting",
    "DeregisterManagedInstance",
];

/// Carries out one operation. `None`: this account does not know it.
pub(crate) fn answer(mut call: Call<'_>) -> Option<Answer> {
    Some(match call.operation {
        "DescribePatchBaselines" => call.describe_patch_baselines(),
        "GetPatchBaseline" => call.get_patch_baseline(),
        "GetDefaultPatchBaseline" => call.get_default_patch_baseline(),
        "CreatePatchBaseline" => call.create_patch_baseline(),
        "UpdatePatchBaseline" => call.update_patch_baseline(),
        "DeletePatchBaseline" => call.delete_patch_baseline(),
        "RegisterDefaultPatchBaseline" => call.register_default_patch_baseline(),
        "DescribeAvailablePatches" => call.describe_available_patches(),
        "DescribeEffectivePatchesForPatchBaseline" => call.describe_effective_patches_for_patch_baseline(),
        "DescribePatchProperties" => call.describe_patch_properties(),
        "DescribePatchGroups" => call.describe_patch_groups(),
        "GetPatchBaselineForPatchGroup" => call.get_patch_baseline_for_patch_group(),
        "RegisterPatchBaselineForPatchGroup" => call.register_patch_baseline_for_patch_group(),
        "DeregisterPatchBaselineForPatchGroup" => call.deregister_patch_baseline_for_patch_group(),
        "DescribePatchGroupState" => call.describe_patch_group_state(),
        "DescribeInstanceInformation" => call.describe_instance_information(),
        "DescribeInstancePatchStates" => call.describe_instance_patch_states(),
        "DescribeInstancePatchStatesForPatchGroup" => call.describe_instance_patch_states_for_patch_group(),
        "DescribeInstancePatches" => call.describe_instance_patches(),
        "GetServiceSetting" => call.get_service_setting(),
        "ListComplianceItems" => call.list_compliance_items(),
        "ListResourceComplianceSummaries" => call.list_resource_compliance_summaries(),
        "ListComplianceSummaries" => call.list_compliance_summaries(),
        "SendCommand" => call.send_command(),
        "ListCommands" => call.list_commands(),
        "ListCommandInvocations" => call.list_command_invocations(),
        "GetCommandInvocation" => call.get_command_invocation(),
        "CancelCommand" => call.cancel_command(),
        "AddTagsToResource" => call.add_tags_to_resource(),
        "RemoveTagsFromResource" => call.remove_tags_from_resource(),
        "ListTagsForResource" => call.list_tags_for_resource(),
        "DescribeAssociation" => call.describe_association(),
        "ListAssociations" => call.list_associations(),
        "DescribeAssociationExecutions" => call.describe_association_executions(),
        "DescribeAssociationExecutionTargets" => call.describe_association_execution_targets(),
        "DescribeEffectiveInstanceAssociations" => call.describe_effective_instance_associations(),
        "DescribeInstanceAssociationsStatus" => call.describe_instance_associations_status(),
        "CreateMaintenanceWindow" => call.create_maintenance_window(),
        "GetMaintenanceWindow" => call.get_maintenance_window(),
        "UpdateMaintenanceWindow" => call.update_maintenance_window(),
        "DeleteMaintenanceWindow" => call.delete_maintenance_window(),
        "DescribeMaintenanceWindows" => call.describe_maintenance_windows(),
        "DescribeMaintenanceWindowsForTarget" => call.describe_maintenance_windows_for_target(),
        "RegisterTargetWithMaintenanceWindow" => call.register_target_with_maintenance_window(),
        "UpdateMaintenanceWindowTarget" => call.update_maintenance_window_target(),
        "DeregisterTargetFromMaintenanceWindow" => call.deregister_target_from_maintenance_window(),
        "DescribeMaintenanceWindowTargets" => call.describe_maintenance_window_targets(),
        "RegisterTaskWithMaintenanceWindow" => call.register_task_with_maintenance_window(),
        "UpdateMaintenanceWindowTask" => call.update_maintenance_window_task(),
        "GetMaintenanceWindowTask" => call.get_maintenance_window_task(),
        "DeregisterTaskFromMaintenanceWindow" => call.deregister_task_from_maintenance_window(),
        "DescribeMaintenanceWindowTasks" => call.describe_maintenance_window_tasks(),
        "DescribeMaintenanceWindowSchedule" => call.describe_maintenance_window_schedule(),
        "DescribeMaintenanceWindowExecutions" => call.describe_maintenance_window_executions(),
        "GetMaintenanceWindowExecution" => call.get_maintenance_window_execution(),
        "DescribeMaintenanceWindowExecutionTasks" => call.describe_maintenance_window_execution_tasks(),
        "GetMaintenanceWindowExecutionTask" => call.get_maintenance_window_execution_task(),
        "DescribeMaintenanceWindowExecutionTaskInvocations" => {
            call.describe_maintenance_window_execution_task_invocations()
        }
        "GetMaintenanceWindowExecutionTaskInvocation" => call.get_maintenance_window_execution_task_invocation(),
        "CancelMaintenanceWindowExecution" => call.cancel_maintenance_window_execution(),
        "DescribeInstanceProperties" => call.describe_instance_properties(),
        "DeregisterManagedInstance" => call.deregister_managed_instance(),
        "GetConnectionStatus" => call.get_connection_status(),
        "GetDeployablePatchSnapshotForInstance" => call.get_deployable_patch_snapshot_for_instance(),
        "DescribeDocument" => call.describe_document(),
        "GetDocument" => call.get_document(),
        "GetInventory" => call.get_inventory(),
        "ListInventoryEntries" => call.list_inventory_entries(),
        "UpdateServiceSetting" => call.update_service_setting(),
        "ResetServiceSetting" => call.reset_service_setting(),
        "PutComplianceItems" => call.put_compliance_items(),
        "CreateAssociation" => call.create_association(),
        "UpdateAssociation" => call.update_association(),
        "DeleteAssociation" => call.delete_association(),
        "StartAssociationsOnce" => call.start_associations_once(),
        "StartAutomationExecution" => call.start_automation_execution(),
        "StopAutomationExecution" => call.stop_automation_execution(),
        "GetAutomationExecution" => call.get_automation_execution(),
        "DescribeAutomationExecutions" => call.describe_automation_executions(),
        "DescribeAutomationStepExecutions" => call.describe_automation_step_executions(),
        _ => return None,
    })
}

impl<'a> Call<'a> {
    /// A string member; empty when it is not given.
    fn text(&self, member: &str) -> &'a str {
        self.request[member].as_str().unwrap_or_default()
    }

    /// Carries out a creation once for each ClientToken, and answers a repetition as the first time (S 3.1.9). How long
    /// AWS keeps a token is unverified; here it is for ever.
    fn once(&mut self, create: impl FnOnce(&mut Self) -> Answer) -> Answer {
        let key = (self.operation.to_owned(), self.text("ClientToken").to_owned());
        if let Some((request, answer)) = self.place.tokens.get(&key) {
            let text = "The request uses the same client token as a previous, but non-identical request.";
            let mismatch = || AwsError::new("IdempotentParameterMismatch", text);
            return if request == self.request { Ok(answer.clone()) } else { Err(mismatch()) };
        }
        let answer = create(self)?;
        if !key.1.is_empty() {
            self.place.tokens.insert(key, (self.request.clone(), answer.clone()));
        }
        Ok(answer)
    }

    /// The answer that holds a page of a list under `member`.
    fn page(&self, member: &str, items: Vec<(String, Value)>, default_size: usize) -> Answer {
        let model: &Model = &SSM;
        let scope = format!("{}/{}", self.place.account, self.place.region);
        let query = Query { model, scope: &scope, operation: self.operation, request: self.request };
        let (items, token) = query.page(items, default_size)?;
        let mut answer = json!({ member: items });
        if let Some(token) = token {
            answer["NextToken"] = token.into();
        }
        Ok(answer)
    }

    /// The members `Key` and `Values` of each filter.
    fn filters(&self) -> Vec<(&str, Vec<&str>)> {
        let filters = self.request["Filters"].as_array().map_or(&[][..], Vec::as_slice);
        filters.iter().map(|f| (f["Key"].as_str().unwrap_or_default(), strings(&f["Values"]))).collect()
    }
}

/// The strings of a list.
pub(crate) fn strings(value: &Value) -> Vec<&str> {
    value.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str).collect()
}

/// Timestamps travel as epoch seconds with a fraction (S 1.6).
fn epoch(at: Timestamp) -> Value {
    let millis = at.as_millisecond();
    if millis % 1000 == 0 { json!(millis / 1000) } else { json!(millis as f64 / 1000.0) }
}

/// Those of the members that are there.
fn present(members: &Members, names: &[&str]) -> Value {
    names.iter().filter_map(|name| Some(((*name).to_owned(), members.get(*name)?.clone()))).collect::<Members>().into()
}
