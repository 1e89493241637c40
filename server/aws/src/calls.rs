//! Every call that is made of AWS: one table, from which also the IAM policy documents come.

use crate::{
    Error, Result,
    iam::{Document, Grant, Resource},
};

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
    /// The policy documents that allow it, and on what. An action on several kinds of resources has a grant for each. None:
    /// AWS grants it to everybody, or the server does not ask for it (yet).
    pub grants: &'static [Grant],
}

/// Whether a call changes something in AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Read,
    Mutation,
}

macro_rules! table {
    ($($name:ident: $operation:literal, $action:literal, $effect:ident, $feature:literal,
        [$($document:ident: $resource:ident),*];)*) => {
        $(pub(crate) const $name: Call = Call {
            operation: $operation,
            action: $action,
            effect: Effect::$effect,
            feature: $feature,
            grants: &[$(Grant { document: Document::$document, resource: Resource::$resource }),*],
        };)*
        const CALLS: &[Call] = &[$($name),*];
    };
}

table! {
    DESCRIBE_PATCH_BASELINES:
        "DescribePatchBaselines", "ssm:DescribePatchBaselines", Read, "baselines", [ReadOnly: Any];
    GET_PATCH_BASELINE: "GetPatchBaseline", "ssm:GetPatchBaseline", Read, "baselines", [ReadOnly: Any];
    GET_DEFAULT_PATCH_BASELINE:
        "GetDefaultPatchBaseline", "ssm:GetDefaultPatchBaseline", Read, "baselines", [];
    CREATE_PATCH_BASELINE: "CreatePatchBaseline", "ssm:CreatePatchBaseline", Mutation, "baselines", [Baselines: Any];
    UPDATE_PATCH_BASELINE:
        "UpdatePatchBaseline", "ssm:UpdatePatchBaseline", Mutation, "baselines", [Baselines: Baselines];
    DELETE_PATCH_BASELINE:
        "DeletePatchBaseline", "ssm:DeletePatchBaseline", Mutation, "baselines", [Baselines: Baselines];
    REGISTER_DEFAULT_BASELINE:
        "RegisterDefaultPatchBaseline", "ssm:RegisterDefaultPatchBaseline",
        Mutation, "baselines", [Baselines: Baselines];
    DESCRIBE_PATCH_PROPERTIES:
        "DescribePatchProperties", "ssm:DescribePatchProperties", Read, "baselines", [ReadOnly: Any];
    DESCRIBE_AVAILABLE_PATCHES:
        "DescribeAvailablePatches", "ssm:DescribeAvailablePatches", Read, "baselines", [ReadOnly: Any];
    DESCRIBE_EFFECTIVE_PATCHES:
        "DescribeEffectivePatchesForPatchBaseline", "ssm:DescribeEffectivePatchesForPatchBaseline",
        Read, "baselines", [ReadOnly: Any];
    DESCRIBE_PATCH_GROUPS: "DescribePatchGroups", "ssm:DescribePatchGroups", Read, "patch-groups", [ReadOnly: Any];
    GET_BASELINE_FOR_GROUP:
        "GetPatchBaselineForPatchGroup", "ssm:GetPatchBaselineForPatchGroup", Read, "patch-groups", [ReadOnly: Any];
    REGISTER_BASELINE:
        "RegisterPatchBaselineForPatchGroup", "ssm:RegisterPatchBaselineForPatchGroup",
        Mutation, "patch-groups", [PatchGroups: Baselines];
    DEREGISTER_BASELINE:
        "DeregisterPatchBaselineForPatchGroup", "ssm:DeregisterPatchBaselineForPatchGroup",
        Mutation, "patch-groups", [PatchGroups: Baselines];
    DESCRIBE_PATCH_GROUP_STATE:
        "DescribePatchGroupState", "ssm:DescribePatchGroupState", Read, "compliance", [];
    CREATE_TAGS: "CreateTags", "ec2:CreateTags", Mutation, "patch-groups", [Members: TaggedInstances];
    DELETE_TAGS: "DeleteTags", "ec2:DeleteTags", Mutation, "patch-groups", [Members: TaggedInstances];
    ADD_TAGS_TO_RESOURCE:
        "AddTagsToResource", "ssm:AddTagsToResource",
        Mutation, "patch-groups", [Members: TaggedHybridNodes, Schedules: Windows, Baselines: Baselines];
    REMOVE_TAGS_FROM_RESOURCE:
        "RemoveTagsFromResource", "ssm:RemoveTagsFromResource",
        Mutation, "patch-groups", [Members: TaggedHybridNodes, Schedules: Windows];
    LIST_TAGS_FOR_RESOURCE: "ListTagsForResource", "ssm:ListTagsForResource", Read, "instances", [ReadOnly: Any];
    DESCRIBE_INSTANCES: "DescribeInstances", "ec2:DescribeInstances", Read, "instances", [ReadOnly: Any];
    DESCRIBE_ROUTE_TABLES: "DescribeRouteTables", "ec2:DescribeRouteTables", Read, "readiness", [ReadOnly: Any];
    DESCRIBE_SECURITY_GROUPS:
        "DescribeSecurityGroups", "ec2:DescribeSecurityGroups", Read, "readiness", [ReadOnly: Any];
    DESCRIBE_VPC_ENDPOINTS: "DescribeVpcEndpoints", "ec2:DescribeVpcEndpoints", Read, "readiness", [ReadOnly: Any];
    DESCRIBE_INSTANCE_INFORMATION:
        "DescribeInstanceInformation", "ssm:DescribeInstanceInformation", Read, "instances", [ReadOnly: Any];
    DESCRIBE_PATCH_STATES:
        "DescribeInstancePatchStates", "ssm:DescribeInstancePatchStates", Read, "compliance", [ReadOnly: Any];
    DESCRIBE_GROUP_PATCH_STATES:
        "DescribeInstancePatchStatesForPatchGroup", "ssm:DescribeInstancePatchStatesForPatchGroup",
        Read, "compliance", [];
    DESCRIBE_INSTANCE_PATCHES:
        "DescribeInstancePatches", "ssm:DescribeInstancePatches", Read, "compliance", [ReadOnly: Any];
    LIST_RESOURCE_COMPLIANCE:
        "ListResourceComplianceSummaries", "ssm:ListResourceComplianceSummaries", Read, "compliance", [ReadOnly: Any];
    SEND_COMMAND:
        "SendCommand", "ssm:SendCommand",
        Mutation, "operations", [Patch: PatchDocument, Patch: Nodes, Reboot: RebootDocuments, Reboot: Nodes];
    CANCEL_COMMAND: "CancelCommand", "ssm:CancelCommand", Mutation, "operations", [Patch: Any, Reboot: Any];
    LIST_COMMANDS: "ListCommands", "ssm:ListCommands", Read, "operations", [ReadOnly: Any];
    LIST_COMMAND_INVOCATIONS:
        "ListCommandInvocations", "ssm:ListCommandInvocations", Read, "operations", [ReadOnly: Any];
    LIST_COMPLIANCE_ITEMS: "ListComplianceItems", "ssm:ListComplianceItems", Read, "operations", [ReadOnly: Any];
    GET_COMMAND_INVOCATION: "GetCommandInvocation", "ssm:GetCommandInvocation", Read, "operations", [ReadOnly: Any];
    LIST_ASSOCIATIONS: "ListAssociations", "ssm:ListAssociations", Read, "operations", [ReadOnly: Any];
    DESCRIBE_ASSOCIATION_EXECUTIONS:
        "DescribeAssociationExecutions", "ssm:DescribeAssociationExecutions", Read, "operations", [ReadOnly: Any];
    DESCRIBE_ASSOCIATION_EXECUTION_TARGETS:
        "DescribeAssociationExecutionTargets", "ssm:DescribeAssociationExecutionTargets",
        Read, "operations", [ReadOnly: Any];
    DESCRIBE_WINDOWS: "DescribeMaintenanceWindows", "ssm:DescribeMaintenanceWindows", Read, "windows", [ReadOnly: Any];
    GET_WINDOW: "GetMaintenanceWindow", "ssm:GetMaintenanceWindow", Read, "windows", [ReadOnly: Any];
    DESCRIBE_WINDOW_TARGETS:
        "DescribeMaintenanceWindowTargets", "ssm:DescribeMaintenanceWindowTargets", Read, "windows", [ReadOnly: Any];
    DESCRIBE_WINDOW_TASKS:
        "DescribeMaintenanceWindowTasks", "ssm:DescribeMaintenanceWindowTasks", Read, "windows", [ReadOnly: Any];
    GET_WINDOW_TASK: "GetMaintenanceWindowTask", "ssm:GetMaintenanceWindowTask", Read, "windows", [ReadOnly: Any];
    DESCRIBE_WINDOW_EXECUTIONS:
        "DescribeMaintenanceWindowExecutions", "ssm:DescribeMaintenanceWindowExecutions",
        Read, "windows", [ReadOnly: Any];
    GET_WINDOW_EXECUTION:
        "GetMaintenanceWindowExecution", "ssm:GetMaintenanceWindowExecution", Read, "windows", [ReadOnly: Any];
    DESCRIBE_WINDOW_EXECUTION_TASKS:
        "DescribeMaintenanceWindowExecutionTasks", "ssm:DescribeMaintenanceWindowExecutionTasks",
        Read, "windows", [ReadOnly: Any];
    DESCRIBE_WINDOW_INVOCATIONS:
        "DescribeMaintenanceWindowExecutionTaskInvocations", "ssm:DescribeMaintenanceWindowExecutionTaskInvocations",
        Read, "windows", [ReadOnly: Any];
    DESCRIBE_WINDOW_SCHEDULE:
        "DescribeMaintenanceWindowSchedule", "ssm:DescribeMaintenanceWindowSchedule", Read, "windows", [];
    DESCRIBE_WINDOWS_FOR_TARGET:
        "DescribeMaintenanceWindowsForTarget", "ssm:DescribeMaintenanceWindowsForTarget",
        Read, "windows", [];
    CREATE_WINDOW: "CreateMaintenanceWindow", "ssm:CreateMaintenanceWindow", Mutation, "schedules", [Schedules: Any];
    UPDATE_WINDOW:
        "UpdateMaintenanceWindow", "ssm:UpdateMaintenanceWindow", Mutation, "schedules", [Schedules: Windows];
    DELETE_WINDOW:
        "DeleteMaintenanceWindow", "ssm:DeleteMaintenanceWindow", Mutation, "schedules", [Schedules: Windows];
    REGISTER_WINDOW_TARGET:
        "RegisterTargetWithMaintenanceWindow", "ssm:RegisterTargetWithMaintenanceWindow",
        Mutation, "schedules", [Schedules: Windows];
    DEREGISTER_WINDOW_TARGET:
        "DeregisterTargetFromMaintenanceWindow", "ssm:DeregisterTargetFromMaintenanceWindow",
        Mutation, "schedules", [Schedules: Windows, Schedules: WindowTargets];
    REGISTER_WINDOW_TASK:
        "RegisterTaskWithMaintenanceWindow", "ssm:RegisterTaskWithMaintenanceWindow",
        Mutation, "schedules", [Schedules: Windows];
    UPDATE_WINDOW_TASK:
        "UpdateMaintenanceWindowTask", "ssm:UpdateMaintenanceWindowTask",
        Mutation, "schedules", [Schedules: Windows, Schedules: WindowTasks];
    ASSUME_ROLE: "AssumeRole", "sts:AssumeRole", Read, "locations", [AssumeRole: Roles];
    // AWS grants this to everybody.
    GET_CALLER_IDENTITY: "GetCallerIdentity", "sts:GetCallerIdentity", Read, "locations", [];
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
