//! Every call that is made of AWS: one table, from which also the IAM policy documents come.

use crate::{Error, Result};

/// One operation of AWS, and what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// AWS's name of it, such as `SendCommand`.
    pub operation: &'static str,
    /// The IAM action that allows it, such as `ssm:SendCommand`.
    pub action: &'static str,
    pub effect: Effect,
    /// What of patchplane needs it.
    pub feature: &'static str,
}

/// Whether a call changes something in AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Read,
    Mutation,
}

macro_rules! table {
    ($($name:ident: $operation:literal, $action:literal, $effect:ident, $feature:literal;)*) => {
        $(pub(crate) const $name: Call =
            Call { operation: $operation, action: $action, effect: Effect::$effect, feature: $feature };)*
        const CALLS: &[Call] = &[$($name),*];
    };
}

table! {
    DESCRIBE_PATCH_BASELINES: "DescribePatchBaselines", "ssm:DescribePatchBaselines", Read, "baselines";
    GET_PATCH_BASELINE: "GetPatchBaseline", "ssm:GetPatchBaseline", Read, "baselines";
    GET_DEFAULT_PATCH_BASELINE: "GetDefaultPatchBaseline", "ssm:GetDefaultPatchBaseline", Read, "baselines";
    CREATE_PATCH_BASELINE: "CreatePatchBaseline", "ssm:CreatePatchBaseline", Mutation, "baselines";
    UPDATE_PATCH_BASELINE: "UpdatePatchBaseline", "ssm:UpdatePatchBaseline", Mutation, "baselines";
    DELETE_PATCH_BASELINE: "DeletePatchBaseline", "ssm:DeletePatchBaseline", Mutation, "baselines";
    REGISTER_DEFAULT_BASELINE:
        "RegisterDefaultPatchBaseline", "ssm:RegisterDefaultPatchBaseline", Mutation, "baselines";
    DESCRIBE_PATCH_PROPERTIES: "DescribePatchProperties", "ssm:DescribePatchProperties", Read, "baselines";
    DESCRIBE_AVAILABLE_PATCHES: "DescribeAvailablePatches", "ssm:DescribeAvailablePatches", Read, "baselines";
    DESCRIBE_EFFECTIVE_PATCHES:
        "DescribeEffectivePatchesForPatchBaseline", "ssm:DescribeEffectivePatchesForPatchBaseline", Read, "baselines";
    DESCRIBE_PATCH_GROUPS: "DescribePatchGroups", "ssm:DescribePatchGroups", Read, "patch-groups";
    GET_BASELINE_FOR_GROUP: "GetPatchBaselineForPatchGroup", "ssm:GetPatchBaselineForPatchGroup", Read, "patch-groups";
    REGISTER_BASELINE:
        "RegisterPatchBaselineForPatchGroup", "ssm:RegisterPatchBaselineForPatchGroup", Mutation, "patch-groups";
    DEREGISTER_BASELINE:
        "DeregisterPatchBaselineForPatchGroup", "ssm:DeregisterPatchBaselineForPatchGroup", Mutation, "patch-groups";
    DESCRIBE_PATCH_GROUP_STATE: "DescribePatchGroupState", "ssm:DescribePatchGroupState", Read, "compliance";
    CREATE_TAGS: "CreateTags", "ec2:CreateTags", Mutation, "patch-groups";
    DELETE_TAGS: "DeleteTags", "ec2:DeleteTags", Mutation, "patch-groups";
    ADD_TAGS_TO_RESOURCE: "AddTagsToResource", "ssm:AddTagsToResource", Mutation, "patch-groups";
    REMOVE_TAGS_FROM_RESOURCE: "RemoveTagsFromResource", "ssm:RemoveTagsFromResource", Mutation, "patch-groups";
    LIST_TAGS_FOR_RESOURCE: "ListTagsForResource", "ssm:ListTagsForResource", Read, "instances";
    DESCRIBE_INSTANCES: "DescribeInstances", "ec2:DescribeInstances", Read, "instances";
    DESCRIBE_ROUTE_TABLES: "DescribeRouteTables", "ec2:DescribeRouteTables", Read, "readiness";
    DESCRIBE_SECURITY_GROUPS: "DescribeSecurityGroups", "ec2:DescribeSecurityGroups", Read, "readiness";
    DESCRIBE_VPC_ENDPOINTS: "DescribeVpcEndpoints", "ec2:DescribeVpcEndpoints", Read, "readiness";
    DESCRIBE_INSTANCE_INFORMATION: "DescribeInstanceInformation", "ssm:DescribeInstanceInformation", Read, "instances";
    DESCRIBE_PATCH_STATES: "DescribeInstancePatchStates", "ssm:DescribeInstancePatchStates", Read, "compliance";
    DESCRIBE_GROUP_PATCH_STATES:
        "DescribeInstancePatchStatesForPatchGroup", "ssm:DescribeInstancePatchStatesForPatchGroup", Read, "compliance";
    DESCRIBE_INSTANCE_PATCHES: "DescribeInstancePatches", "ssm:DescribeInstancePatches", Read, "compliance";
    LIST_RESOURCE_COMPLIANCE: "ListResourceComplianceSummaries", "ssm:ListResourceComplianceSummaries", Read, "compliance";
    SEND_COMMAND: "SendCommand", "ssm:SendCommand", Mutation, "operations";
    CANCEL_COMMAND: "CancelCommand", "ssm:CancelCommand", Mutation, "operations";
    LIST_COMMANDS: "ListCommands", "ssm:ListCommands", Read, "operations";
    LIST_COMMAND_INVOCATIONS: "ListCommandInvocations", "ssm:ListCommandInvocations", Read, "operations";
    LIST_COMPLIANCE_ITEMS: "ListComplianceItems", "ssm:ListComplianceItems", Read, "operations";
    GET_COMMAND_INVOCATION: "GetCommandInvocation", "ssm:GetCommandInvocation", Read, "operations";
    LIST_ASSOCIATIONS: "ListAssociations", "ssm:ListAssociations", Read, "operations";
    DESCRIBE_ASSOCIATION_EXECUTIONS:
        "DescribeAssociationExecutions", "ssm:DescribeAssociationExecutions", Read, "operations";
    DESCRIBE_ASSOCIATION_EXECUTION_TARGETS:
        "DescribeAssociationExecutionTargets", "ssm:DescribeAssociationExecutionTargets", Read, "operations";
    DESCRIBE_WINDOWS: "DescribeMaintenanceWindows", "ssm:DescribeMaintenanceWindows", Read, "windows";
    GET_WINDOW: "GetMaintenanceWindow", "ssm:GetMaintenanceWindow", Read, "windows";
    DESCRIBE_WINDOW_TARGETS:
        "DescribeMaintenanceWindowTargets", "ssm:DescribeMaintenanceWindowTargets", Read, "windows";
    DESCRIBE_WINDOW_TASKS: "DescribeMaintenanceWindowTasks", "ssm:DescribeMaintenanceWindowTasks", Read, "windows";
    GET_WINDOW_TASK: "GetMaintenanceWindowTask", "ssm:GetMaintenanceWindowTask", Read, "windows";
    DESCRIBE_WINDOW_EXECUTIONS:
        "DescribeMaintenanceWindowExecutions", "ssm:DescribeMaintenanceWindowExecutions", Read, "windows";
    GET_WINDOW_EXECUTION:
        "GetMaintenanceWindowExecution", "ssm:GetMaintenanceWindowExecution", Read, "windows";
    DESCRIBE_WINDOW_EXECUTION_TASKS:
        "DescribeMaintenanceWindowExecutionTasks", "ssm:DescribeMaintenanceWindowExecutionTasks", Read, "windows";
    DESCRIBE_WINDOW_INVOCATIONS:
        "DescribeMaintenanceWindowExecutionTaskInvocations",
        "ssm:DescribeMaintenanceWindowExecutionTaskInvocations", Read, "windows";
    DESCRIBE_WINDOW_SCHEDULE:
        "DescribeMaintenanceWindowSchedule", "ssm:DescribeMaintenanceWindowSchedule", Read, "windows";
    DESCRIBE_WINDOWS_FOR_TARGET:
        "DescribeMaintenanceWindowsForTarget", "ssm:DescribeMaintenanceWindowsForTarget", Read, "windows";
    CREATE_WINDOW: "CreateMaintenanceWindow", "ssm:CreateMaintenanceWindow", Mutation, "schedules";
    UPDATE_WINDOW: "UpdateMaintenanceWindow", "ssm:UpdateMaintenanceWindow", Mutation, "schedules";
    DELETE_WINDOW: "DeleteMaintenanceWindow", "ssm:DeleteMaintenanceWindow", Mutation, "schedules";
    REGISTER_WINDOW_TARGET:
        "RegisterTargetWithMaintenanceWindow", "ssm:RegisterTargetWithMaintenanceWindow", Mutation, "schedules";
    DEREGISTER_WINDOW_TARGET:
        "DeregisterTargetFromMaintenanceWindow", "ssm:DeregisterTargetFromMaintenanceWindow", Mutation, "schedules";
    REGISTER_WINDOW_TASK:
        "RegisterTaskWithMaintenanceWindow", "ssm:RegisterTaskWithMaintenanceWindow", Mutation, "schedules";
    UPDATE_WINDOW_TASK:
        "UpdateMaintenanceWindowTask", "ssm:UpdateMaintenanceWindowTask", Mutation, "schedules";
    ASSUME_ROLE: "AssumeRole", "sts:AssumeRole", Read, "locations";
}

/// Every call this crate makes.
pub fn calls() -> &'static [Call] {
    CALLS
}

impl Call {
    /// What the SDK's builders do not let us make is told as this call's failure.
    pub(crate) fn built<T>(
        &self,
        built: std::result::Result<T, aws_smithy_types::error::operation::BuildError>,
    ) -> Result<T> {
        built.map_err(|failure| self.refuse(failure.to_string()))
    }

    /// A request that never left: it is wrong as it stands.
    pub(crate) fn refuse(&self, message: impl Into<String>) -> Error {
        let kind = crate::ErrorKind::Invalid;
        Error { kind, action: self.action, code: None, message: message.into(), request_id: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_named_once_and_its_action_names_it() {
        for (at, call) in calls().iter().enumerate() {
            let (service, operation) = call.action.split_once(':').unwrap();
            assert_eq!(operation, call.operation);
            assert!(["ssm", "ec2", "sts"].contains(&service), "{call:?}");
            assert!(calls()[..at].iter().all(|other| other.action != call.action), "{call:?}");
        }
    }
}
