//! Whether AWS lets us in, and does what the table of calls needs: for `patchplane doctor`. Nothing here changes anything.

use crate::{Aws, Call, Result, calls::GET_CALLER_IDENTITY};
use aws_sdk_ssm::types as ssm;
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextRef},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{DateTime, config_bag::ConfigBag, date_time::Format};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};

/// As whom AWS knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub account: String,
    pub arn: String,
}

/// What became of asking who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub identity: Result<Identity>,
    /// What time it was for whoever answered, if somebody did; whole seconds.
    pub time: Option<Timestamp>,
}

/// Well-formed names of what does not exist: AWS looks at the rights before it looks for the thing.
const NO_INSTANCE: &str = "i-00000000000000000";
const NO_HYBRID_NODE: &str = "mi-00000000000000000";
const NO_BASELINE: &str = "pb-00000000000000000";
const NO_WINDOW: &str = "mw-00000000000000000";
const NO_ID: &str = "00000000-0000-4000-8000-000000000000";
const NO_GROUP: &str = "patchplane-doctor";

impl Aws {
    /// Who AWS says we are, and what time it is there. Everybody may ask that.
    pub async fn identity(&self) -> Seen {
        let heard = Heard::default();
        let request = self.sts().get_caller_identity().customize().interceptor(heard.clone());
        let identity = self.ask(&GET_CALLER_IDENTITY, request.send()).await.map(|answer| Identity {
            account: answer.account().unwrap_or_default().to_owned(),
            arn: answer.arn().unwrap_or_default().to_owned(),
        });
        let time = *heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        Seen { identity, time }
    }

    /// Makes a call that only reads, for the least that it can give. `None`: the call changes something, or is no such read.
    ///
    /// An error that is no refusal is as good as an answer: that something does not exist is told only to those who may ask.
    pub async fn try_read(&self, call: &Call) -> Option<Result<()>> {
        let (ssm, ec2) = (self.ssm(), self.ec2());
        macro_rules! ask {
            ($request:expr) => {
                self.ask(call, $request.send()).await.map(drop)
            };
        }
        // The least page that each takes (S 3.4).
        Some(match call.operation {
            "DescribePatchBaselines" => ask!(ssm.describe_patch_baselines().max_results(1)),
            "GetPatchBaseline" => ask!(ssm.get_patch_baseline().baseline_id(NO_BASELINE)),
            "DescribePatchProperties" => ask!(
                ssm.describe_patch_properties()
                    .operating_system(ssm::OperatingSystem::AmazonLinux2)
                    .property(ssm::PatchProperty::PatchSeverity)
            ),
            "DescribeAvailablePatches" => ask!(ssm.describe_available_patches().max_results(1)),
            "DescribeEffectivePatchesForPatchBaseline" => {
                ask!(ssm.describe_effective_patches_for_patch_baseline().baseline_id(NO_BASELINE).max_results(1))
            }
            "DescribePatchGroups" => ask!(ssm.describe_patch_groups().max_results(1)),
            "GetPatchBaselineForPatchGroup" => ask!(ssm.get_patch_baseline_for_patch_group().patch_group(NO_GROUP)),
            "ListTagsForResource" => ask!(
                ssm.list_tags_for_resource()
                    .resource_type(ssm::ResourceTypeForTagging::ManagedInstance)
                    .resource_id(NO_HYBRID_NODE)
            ),
            "DescribeInstances" => ask!(ec2.describe_instances().max_results(5)),
            "DescribeRouteTables" => ask!(ec2.describe_route_tables().max_results(5)),
            "DescribeSecurityGroups" => ask!(ec2.describe_security_groups().max_results(5)),
            "DescribeVpcEndpoints" => ask!(ec2.describe_vpc_endpoints().max_results(5)),
            "DescribeInstanceInformation" => ask!(ssm.describe_instance_information().max_results(5)),
            "DescribeInstancePatchStates" => ask!(ssm.describe_instance_patch_states().instance_ids(NO_INSTANCE)),
            "DescribeInstancePatches" => ask!(ssm.describe_instance_patches().instance_id(NO_INSTANCE)),
            "ListResourceComplianceSummaries" => ask!(ssm.list_resource_compliance_summaries().max_results(1)),
            "ListCommands" => ask!(ssm.list_commands().max_results(1)),
            "ListCommandInvocations" => ask!(ssm.list_command_invocations().max_results(1)),
            "ListComplianceItems" => {
                ask!(ssm.list_compliance_items().resource_ids(NO_INSTANCE).resource_types("ManagedInstance"))
            }
            "GetCommandInvocation" => {
                ask!(ssm.get_command_invocation().command_id(NO_ID).instance_id(NO_INSTANCE))
            }
            "ListAssociations" => ask!(ssm.list_associations().max_results(1)),
            "DescribeAssociationExecutions" => ask!(ssm.describe_association_executions().association_id(NO_ID)),
            "DescribeAssociationExecutionTargets" => {
                ask!(ssm.describe_association_execution_targets().association_id(NO_ID).execution_id(NO_ID))
            }
            "DescribeMaintenanceWindows" => ask!(ssm.describe_maintenance_windows().max_results(10)),
            "GetMaintenanceWindow" => ask!(ssm.get_maintenance_window().window_id(NO_WINDOW)),
            "DescribeMaintenanceWindowTargets" => {
                ask!(ssm.describe_maintenance_window_targets().window_id(NO_WINDOW))
            }
            "DescribeMaintenanceWindowTasks" => ask!(ssm.describe_maintenance_window_tasks().window_id(NO_WINDOW)),
            "GetMaintenanceWindowTask" => {
                ask!(ssm.get_maintenance_window_task().window_id(NO_WINDOW).window_task_id(NO_ID))
            }
            "DescribeMaintenanceWindowExecutions" => {
                ask!(ssm.describe_maintenance_window_executions().window_id(NO_WINDOW))
            }
            "GetMaintenanceWindowExecution" => {
                ask!(ssm.get_maintenance_window_execution().window_execution_id(NO_ID))
            }
            "DescribeMaintenanceWindowExecutionTasks" => {
                ask!(ssm.describe_maintenance_window_execution_tasks().window_execution_id(NO_ID))
            }
            "DescribeMaintenanceWindowExecutionTaskInvocations" => ask!(
                ssm.describe_maintenance_window_execution_task_invocations().window_execution_id(NO_ID).task_id(NO_ID)
            ),
            _ => return None,
        })
    }
}

/// Takes down the time of an answer.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Option<Timestamp>>>);

impl Intercept for Heard {
    fn name(&self) -> &'static str {
        "Heard"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let date =
            context.response().headers().get("date").and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        if let Some(time) = date.and_then(|date| Timestamp::from_second(date.secs()).ok()) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
        }
        Ok(())
    }
}
