"""Every documented example of an operation of the account: its request is accepted, its answer has the recorded shape.

What an example names (instances, windows, baselines ..) is replaced by what this account has; values may differ, members and
JSON types may not.
"""

import copy
import datetime
import json

import pytest
import wire
from botocore import xform_name
from fleet import IMAGES, ROOT, launch, run

EXAMPLES = ROOT / "server/sim/aws/examples"

# Examples that are not replayed, and why.
NOT_REPLAYED = {
    "AddTagsToResource/02": "tags a parameter: Parameter Store is no part of the account",
    "AddTagsToResource/03": "tags a document of one's own: the account has AWS's documents only",
    "ListComplianceItems/06": "a filter of type NotEqual, which the model does not know (NOT_EQUAL)",
    "RegisterTargetWithMaintenanceWindow/03": "a target key `Role` without `tag:`, which the model's pattern refuses",
}

# Recorded members that the answer does not have, and why.
NOT_SHOWN = {
    "DescribeInstancePatchStatesForPatchGroup/03": {
        "a timestamp that nobody can read (2021-08-046T..) and that was left as it stands": ["OperationStartTime"],
    },
    "SendCommand/01": {
        "recorded examples disagree whether targets by id are told as InstanceIds; here as SendCommand/26 and /28 do": ["InstanceIds[]"],
    },
    "UpdateMaintenanceWindowTask/03": {"values as a string, where the model has a list": ["Targets[].Values"]},
    "DescribeInstances/01": {
        "public addresses: the instances have none": ["PublicIpAddress", "Association"],
    },
    "DescribeMaintenanceWindowTasks/05": {
        "members that the model does not know": ["TaskTargetId", "TaskTargetType"],
    },
    "ListInventoryEntries/02": {
        "the entries are of a type that only the example's author puts": ["Entries[]"],
    },
}


class World:
    """One account in which all that the examples speak of is there."""

    def __init__(self, sim):
        self.sim, self.ec2, self.ssm = sim, sim.client("ec2"), sim.client("ssm")
        tags = {"Stack": "production", "Purpose": "test", "Name": "Test1", "Empty": "", "Env": "Dev", "Role": "WebServers"}
        self.instances = launch(sim, 3, "Production", tags={**tags, "PatchGroup": "Production"}, KeyName="my-key-pair",
                                ClientToken="world")
        (self.windows,) = launch(sim, 1, "Production", image=IMAGES["windows"])
        self.ec2.create_tags(Resources=[self.instances[0]], Tags=[{"Key": "Purpose", "Value": ""}])
        self.volume = self.ec2.describe_volumes()["Volumes"][0]["VolumeId"]
        everything = [self.volume, self.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]]
        self.ec2.create_tags(Resources=everything, Tags=[{"Key": "purpose", "Value": "prod"}])
        self.snapshot = self.new_snapshot()
        self.baseline = self.new_baseline()
        self.ssm.add_tags_to_resource(ResourceType="PatchBaseline", ResourceId=self.baseline,
                                      Tags=[{"Key": "Environment", "Value": "Production"}])
        self.group = self.new_group()
        self.window = self.new_window("MyMaintenanceWindow")
        self.target = self.new_target()
        self.task = self.new_task()
        self.new_task(3)
        self.disabled = self.new_window("My-Second")
        self.ssm.update_maintenance_window(WindowId=self.disabled, Enabled=False)
        self.association = self.new_association()
        self.ssm.put_compliance_items(
            ResourceId=self.instances[0], ResourceType="ManagedInstance", ComplianceType="Association",
            ExecutionSummary={"ExecutionTime": 0},
            Items=[{"Id": "1", "Title": "t", "Severity": "HIGH", "Status": "COMPLIANT",
                    "Details": {"DocumentName": "d", "DocumentVersion": "1", "PatchBaselineId": "pb"}}],
        )
        self.command = self.new_command("AWS-RunShellScript", {"commands": ["echo Hello"]})
        run(sim, self.instances[:2], "Install", RebootOption="NoReboot")
        run(sim, self.instances, "Scan")
        run(sim, [self.windows, self.instances[1]], "Install")
        self.failing = self.new_window("fails")
        self.ssm.register_task_with_maintenance_window(
            WindowId=self.failing, TaskArn="AWS-RunShellScript", TaskType="RUN_COMMAND", MaxConcurrency="1", MaxErrors="0",
            Targets=[{"Key": "InstanceIds", "Values": [self.instances[0]]}],
            TaskInvocationParameters={"RunCommand": {"Parameters": {"commands": ["exit 1"]}}},
        )  # fmt: skip
        sim.advance(3600)
        sim.advance(1800)
        executions = self.ssm.describe_maintenance_window_executions(WindowId=self.window)["WindowExecutions"]
        self.execution = executions[-1]["WindowExecutionId"]
        tasks = self.ssm.describe_maintenance_window_execution_tasks(WindowExecutionId=self.execution)
        self.executed_task = tasks["WindowExecutionTaskIdentities"][0]["TaskExecutionId"]
        invocations = self.ssm.describe_maintenance_window_execution_task_invocations(
            WindowExecutionId=self.execution, TaskId=self.executed_task
        )
        self.invocation = invocations["WindowExecutionTaskInvocationIdentities"][0]["InvocationId"]
        self.automation = self.new_automation()
        sim.advance(600)

    def new_snapshot(self):
        self.sim.advance(20)
        tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "Stack", "Value": "prod"}]}]
        return self.ec2.create_snapshot(VolumeId=self.volume, TagSpecifications=tags)["SnapshotId"]

    def new_baseline(self):
        rules = {"PatchRules": [{
            "PatchFilterGroup": {"PatchFilters": [{"Key": "MSRC_SEVERITY", "Values": ["Critical", "Important"]}]},
            "ApproveAfterDays": 5, "ComplianceLevel": "CRITICAL",
        }]}
        return self.ssm.create_patch_baseline(
            Name="Windows-Server-2012R2", Description="ours", ApprovalRules=rules, ApprovedPatches=["KB2124261"],
            RejectedPatches=["KB2032276"],
        )["BaselineId"]

    def new_group(self):
        self.ssm.register_patch_baseline_for_patch_group(BaselineId=self.baseline, PatchGroup="Servers")
        return "Servers"

    def new_window(self, name="another-window"):
        return self.ssm.create_maintenance_window(
            Name=name, Description="ours", Schedule="rate(1 hour)", ScheduleTimezone="UTC", Duration=2, Cutoff=1,
            AllowUnassociatedTargets=True, StartDate="2020-01-01T00:00:00Z", EndDate="2100-01-01T00:00:00Z",
        )["WindowId"]

    def new_target(self):
        return self.ssm.register_target_with_maintenance_window(
            WindowId=self.window, ResourceType="INSTANCE", OwnerInformation="CostCenter1", Name="ours", Description="ours",
            Targets=[{"Key": "InstanceIds", "Values": self.instances}],
        )["WindowTargetId"]

    def new_task(self, priority=1):
        parameters = {
            "Comment": "ours", "Parameters": {"commands": ["df"]}, "TimeoutSeconds": 600, "OutputS3BucketName": "bucket",
            "DocumentVersion": "$DEFAULT", "OutputS3KeyPrefix": "prefix", "ServiceRoleArn": "arn:aws:iam::123456789012:role/r",
            "NotificationConfig": {"NotificationArn": "arn:aws:sns:us-east-1:123456789012:t", "NotificationType": "Command",
                                   "NotificationEvents": ["All"]},
        }  # fmt: skip
        return self.ssm.register_task_with_maintenance_window(
            WindowId=self.window, TaskArn="AWS-RunPowerShellScript", TaskType="RUN_COMMAND", Priority=priority,
            Targets=[{"Key": "WindowTargetIds", "Values": [self.target]}], MaxConcurrency="1", MaxErrors="1",
            ServiceRoleArn="arn:aws:iam::123456789012:role/r", Name="ours", Description="ours",
            LoggingInfo={"S3BucketName": "bucket", "S3Region": "us-east-1"},
            TaskInvocationParameters={"RunCommand": parameters},
        )["WindowTaskId"]

    def new_association(self):
        parameters = ["applications", "awsComponents", "customInventory", "files", "instanceDetailedInformation",
                      "networkConfig", "services", "windowsRegistry", "windowsRoles", "windowsUpdates"]  # fmt: skip
        named = self.ssm.create_association(
            Name="AWS-GatherSoftwareInventory", AssociationName="ours", ScheduleExpression="rate(1 day)",
            Parameters={name: ["Enabled"] for name in parameters},
            Targets=[{"Key": "InstanceIds", "Values": self.instances}],
        )["AssociationDescription"]["AssociationId"]
        self.sim.advance(60)
        return named

    def new_legacy_association(self):
        made = self.ssm.create_association(
            Name="AWS-UpdateSSMAgent", InstanceId=self.instances[2], AssociationName="ours", ScheduleExpression="rate(1 day)"
        )
        self.sim.advance(60)
        return made["AssociationDescription"]["AssociationId"]

    def new_command(self, document, parameters):
        sent = self.ssm.send_command(
            InstanceIds=[self.instances[0]], DocumentName=document, Parameters=parameters, Comment="ours"
        )
        self.sim.advance(60)
        return sent["Command"]["CommandId"]

    def new_automation(self):
        return self.ssm.start_automation_execution(
            DocumentName="AWS-RestartEC2Instance", Parameters={"InstanceId": [self.instances[2]]}
        )["AutomationExecutionId"]


@pytest.fixture(scope="module")
def world(shared_sim):
    shared_sim.fate("reset", {})
    return World(shared_sim)


DOCUMENTS = {
    "ExampleDocument", "documentName", "Name", "My-Document", "package-name", "AutoTestDoc",
}  # fmt: skip


def replaced(world, operation, member, value, within):
    """A value of an example, with this account's name for what it names."""
    ids = {
        "InstanceId": world.instances[0],
        "Target": world.instances[0],
        "VolumeId": world.volume,
        "WindowId": world.window,
        "WindowTargetId": world.target,
        "WindowTaskId": world.task,
        "WindowExecutionId": world.execution,
        "TaskId": world.executed_task,
        "InvocationId": world.invocation,
        "CommandId": world.command,
        "AssociationId": world.association,
        "AutomationExecutionId": world.automation,
    }
    if member == "SourceAmiId" or not isinstance(value, (str, list)):
        return value
    if member in ids and isinstance(value, str):
        return ids[member]
    if member in ("InstanceIds", "InstanceId"):
        return world.instances[: len(value)] if len(value) < 9 else world.instances
    if member == "ImageIds":
        return [IMAGES["linux"]]
    if member == "SnapshotIds":
        return [world.snapshot]
    if member == "OwnerIds":
        return ["123456789012"]
    if member == "ResourceIds":
        return [world.instances[0]]
    if member == "Resources":
        return [world.instances[0] if value.startswith("i-") else value for value in value]
    if member == "BaselineId":
        of_aws = value.startswith("arn:aws:ssm:us-east-2:733109147000")
        return world.ssm.get_default_patch_baseline()["BaselineId"] if of_aws else world.baseline
    if member == "ResourceId":
        kinds = {"pb": world.baseline, "mw": world.window, "i-": world.instances[0]}
        return kinds.get(value[:2], value)
    if member in ("DocumentName", "Name") and operation not in ("CreateMaintenanceWindow", "CreatePatchBaseline"):
        bare = value.rsplit("/", 1)[-1]
        own = "AWS-RestartEC2Instance" if operation == "StartAutomationExecution" else "AWS-UpdateSSMAgent"
        own = "AWS-RunShellScript" if "Parameters" in within else own
        return value.replace(bare, own) if bare in DOCUMENTS else value
    if member == "OutputS3Region":
        return "us-east-1"
    if member == "valueSet":
        return [world.instances[0]]
    if member == "Values" and isinstance(value, list):
        key = (within.get("Key") or within.get("Name") or "").lower()
        if key in ("instanceids", "resource-id", "attachment.instance-id"):
            return world.instances[: len(value)]
        if key == "parametervalues":
            return world.instances[: len(value)]
        if key == "windowtargetids":
            return [world.target]
        return {
            "volume-id": [world.volume],
            "vpc-id": [world.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]],
            "executionid": [world.automation],
            "patch_id": ["KB4470788"],
            "storage-tier": ["standard"],
            "instance-type": ["t3.micro"],
        }.get(key, value)
    return value


def rewritten(world, operation, value, member="", within=None):
    value = replaced(world, operation, member, value, within or {})
    if isinstance(value, dict):
        return {name: rewritten(world, operation, inner, name, value) for name, inner in value.items()}
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        return [rewritten(world, operation, inner, "", None) for inner in value]
    return value


def at(moment, seconds=0):
    return (moment + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def request_of(world, name, example):
    """The request, and whatever it needs before."""
    operation = example["operation"]
    request = rewritten(world, operation, copy.deepcopy(example["request"]))
    now = datetime.datetime.fromisoformat(world.sim.fate("health")["time"].split(".")[0].rstrip("Z") + "+00:00")
    if operation == "CancelCommand":
        request["CommandId"] = world.ssm.send_command(
            InstanceIds=[world.instances[0]], DocumentName="AWS-RunPatchBaseline", Parameters={"Operation": ["Scan"]}
        )["Command"]["CommandId"]
    elif operation == "DeleteMaintenanceWindow":
        request["WindowId"] = world.new_window()
    elif operation == "DeletePatchBaseline":
        request["BaselineId"] = world.new_baseline()
    elif operation == "UpdatePatchBaseline":
        request["BaselineId"] = world.new_baseline()
    elif operation == "DeregisterTargetFromMaintenanceWindow":
        request["WindowTargetId"] = world.new_target()
    elif operation in ("DeregisterTaskFromMaintenanceWindow", "UpdateMaintenanceWindowTask"):
        request["WindowTaskId"] = world.new_task()
    elif operation == "UpdateMaintenanceWindowTarget":
        request["WindowTargetId"] = world.new_target()
    elif operation == "UpdateMaintenanceWindow":
        request["WindowId"] = world.new_window()
    elif operation == "DeregisterPatchBaselineForPatchGroup":
        world.ssm.register_patch_baseline_for_patch_group(
            BaselineId=request["BaselineId"], PatchGroup=request["PatchGroup"]
        )
    elif operation == "RegisterPatchBaselineForPatchGroup":
        request["PatchGroup"] += f" of {name}"
        request["PatchGroup"] = request["PatchGroup"].replace("/", "-")
    elif operation == "CancelMaintenanceWindowExecution":
        world.sim.advance(3600)
        executions = world.ssm.describe_maintenance_window_executions(WindowId=world.window)["WindowExecutions"]
        request["WindowExecutionId"] = executions[0]["WindowExecutionId"]
    elif operation == "DeleteAssociation":
        if "AssociationId" in request:
            request["AssociationId"] = world.new_association()
        else:
            world.new_legacy_association()
            request = {"Name": "AWS-UpdateSSMAgent", "InstanceId": world.instances[2]}
    elif operation == "CreateAssociation" and "InstanceId" in request:
        request["InstanceId"] = world.instances[1]
    elif operation == "ListAssociations":
        world.new_legacy_association()
    elif operation == "StopAutomationExecution":
        request["AutomationExecutionId"] = world.new_automation()
    elif name == "DescribeAutomationStepExecutions/02":
        steps = world.ssm.describe_automation_step_executions(AutomationExecutionId=world.automation)["StepExecutions"]
        request["Filters"][0]["Values"] = [steps[0]["StepExecutionId"]]
    elif operation == "DescribeMaintenanceWindowExecutions" and "Filters" not in request:
        request["WindowId"] = world.failing
    elif operation == "DescribeMaintenanceWindowExecutions":
        request["WindowId"] = world.failing
        before = request["Filters"][0]["Key"] == "ExecutedBefore"
        request["Filters"][0]["Values"] = [at(now, 60) if before else at(now, -86_400 * 20)]
    elif operation == "DescribeMaintenanceWindowTasks" and name.endswith("/05"):
        request["WindowId"] = world.window
    elif operation in ("CreateSnapshot", "CreateSnapshots"):
        world.sim.advance(30)
        if operation == "CreateSnapshots":
            world.ec2.create_tags(
                Resources=[v["VolumeId"] for v in world.ec2.describe_volumes()["Volumes"]],
                Tags=[{"Key": "of", "Value": "volume"}],
            )
    elif operation == "DescribeInstancePatches":
        request["InstanceId"] = world.instances[2]
    elif name == "DescribeTags/07":
        world.ec2.create_tags(Resources=[world.instances[0]], Tags=[{"Key": "Purpose", "Value": ""}])
    elif name == "StartAutomationExecution/02":
        # Its document is its author's own; ours needs an instance.
        request["Parameters"] = {"InstanceId": [world.instances[0]]}
    elif operation == "GetPatchBaselineForPatchGroup":
        request["PatchGroup"] = "Servers"
    elif operation == "SendCommand" and "NotificationConfig" in request:
        request["ServiceRoleArn"] = "arn:aws:iam::123456789012:role/ours"
    return request


def shape(value, path="", found=None):
    """The paths of a value with their JSON types; the items of a list are laid over one another."""
    found = {} if found is None else found
    if isinstance(value, dict):
        if path.removesuffix("[]").endswith("Parameters"):
            # The names are the document's.
            found.setdefault(path, set()).add("map")
            return found
        for name, inner in value.items():
            shape(inner, f"{path}.{name}" if path else name, found)
    elif isinstance(value, list):
        found.setdefault(path, set()).add("list")
        for inner in value:
            shape(inner, f"{path}[]", found)
    else:
        kind = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}.get(type(value), "date")
        found.setdefault(path, set()).add(kind)
    return found


def differences(recorded, answer):
    """What of the recorded shape the answer lacks or shows otherwise."""
    ours = shape(answer)
    for path, kinds in shape(recorded).items():
        if path == "NextToken":
            continue  # Those who recorded asked for little; pages have tests of their own.
        got = ours.get(path)
        if got is None:
            yield f"{path} is missing"
        elif not (kinds & got or "null" in kinds or ("date" in got and kinds & {"string", "number"})):
            yield f"{path} is {got}, recorded {kinds}"


def examples():
    for path in sorted(EXAMPLES.glob("*/*.json")):
        yield f"{path.parent.name}/{path.stem}"


def call(world, example, request):
    if example["service"] == "ssm":
        status, text = wire.send(
            world.sim,
            {"X-Amz-Target": f"AmazonSSM.{example['operation']}", **wire.authorization("ssm")},
            json.dumps(request).encode(),
        )
        assert status == 200, f"{text} to {json.dumps(request)}"
        return json.loads(text)
    answer = getattr(world.ec2, xform_name(example["operation"]))(**request)
    answer.pop("ResponseMetadata")
    return answer


@pytest.mark.parametrize("name", list(examples()))
def test_an_example_replays(world, name):
    example = json.loads((EXAMPLES / f"{name}.json").read_text())
    if name in NOT_REPLAYED:
        with pytest.raises(AssertionError, match="__type"):
            call(world, example, request_of(world, name, example))
        return
    answer = call(world, example, request_of(world, name, example))
    if example["response"] is None:
        return
    hidden = [member for members in NOT_SHOWN.get(name, {}).values() for member in members]
    lacking = [text for text in differences(example["response"], answer) if not any(h in text for h in hidden)]
    assert not lacking, f"{lacking} in {json.dumps(answer, default=str)[:3000]}"


def test_no_exception_is_made_for_what_is_not_there():
    known = set(examples())
    assert len(known) >= 264 and set(NOT_REPLAYED) | set(NOT_SHOWN) <= known
