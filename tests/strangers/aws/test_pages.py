"""Every paginator that boto3 has for an operation of the account, to its end with the smallest pages."""

import json

import botocore
import pytest
from botocore import xform_name
from fleet import ROOT, launch, run

MODELS = {
    service: json.loads((ROOT / "server/sim/aws" / f"{service}-patch.json").read_text())
    for service in ("ssm", "ec2", "sts")
}

# The smallest page where it is not 1 (the models' minima; EC2 takes 5 for instances and their like).
LEAST = {
    "DescribeInstanceInformation": 5,
    "DescribeInstanceProperties": 5,
    "DescribeInstancePatches": 10,
    "DescribeInstancePatchStates": 10,
    "DescribeInstancePatchStatesForPatchGroup": 10,
    "DescribeMaintenanceWindows": 10,
    "DescribeMaintenanceWindowExecutions": 10,
    "DescribeMaintenanceWindowExecutionTasks": 10,
    "DescribeMaintenanceWindowExecutionTaskInvocations": 10,
    "DescribeMaintenanceWindowTargets": 10,
    "DescribeMaintenanceWindowTasks": 10,
}

# Lists of which there are never more than a page of the least size, and why.
SHORT = {
    "DescribeInternetGateways": "a location has one",
    "DescribeNatGateways": "a location has one",
    "DescribeVpcs": "a location has two",
    "DescribeSubnets": "a location has three",
    "DescribeRouteTables": "a location has three",
    "DescribeSecurityGroups": "a location has three",
    "DescribeVpcEndpoints": "a location has four",
    "DescribeMaintenanceWindowExecutionTaskInvocations": "a task has ten window targets at most",
}


def paginators(sim):
    for service, model in MODELS.items():
        client = sim.client(service)
        for operation in model["operations"]:
            if client.can_paginate(xform_name(operation)):
                yield service, operation


def build(sim):
    """Enough of everything, and the request that lists it."""
    ec2, ssm = sim.client("ec2"), sim.client("ssm")
    ids = launch(sim, 12, "web", tags={"Name": "web", "Stack": "one"})
    run(sim, ids)
    for id in ids[:3]:
        run(sim, [id])
    one = ids[0]
    volumes = [v["VolumeId"] for v in ec2.describe_volumes()["Volumes"]]
    for volume in volumes[:11]:
        ec2.create_snapshot(VolumeId=volume)
    for number in range(12):
        name = f"group-{number}"
        baseline = ssm.create_patch_baseline(Name=name, OperatingSystem="AMAZON_LINUX_2")["BaselineId"]
        ssm.register_patch_baseline_for_patch_group(BaselineId=baseline, PatchGroup=name)
        items = [{"Id": str(i), "Title": "t", "Severity": "HIGH", "Status": "COMPLIANT"} for i in range(3)]
        if number < 10:
            ssm.put_compliance_items(
                ResourceId=one,
                ResourceType="ManagedInstance",
                ComplianceType=f"Custom:type{number}",
                ExecutionSummary={"ExecutionTime": 0},
                Items=items,
            )
    windows = [
        ssm.create_maintenance_window(
            Name=f"window-{n}", Schedule="rate(5 minutes)", Duration=1, Cutoff=0, AllowUnassociatedTargets=True
        )["WindowId"]
        for n in range(12)
    ]
    window = windows[0]
    targets = [
        ssm.register_target_with_maintenance_window(
            WindowId=window, ResourceType="INSTANCE", Targets=[{"Key": "InstanceIds", "Values": [id]}]
        )["WindowTargetId"]
        for id in ids
    ]
    ssm.register_target_with_maintenance_window(
        WindowId=windows[1], ResourceType="INSTANCE", Targets=[{"Key": "InstanceIds", "Values": [one]}]
    )
    for target in targets:
        ssm.register_task_with_maintenance_window(
            WindowId=window,
            TaskArn="arn:aws:lambda:us-east-1:123456789012:function:f",
            TaskType="LAMBDA",
            Targets=[{"Key": "WindowTargetIds", "Values": [target]}],
            MaxConcurrency="1",
            MaxErrors="1",
        )
    for number in range(6):
        association = ssm.create_association(
            Name="AWS-RunPatchBaseline",
            AssociationName=f"scan-{number}",
            Parameters={"Operation": ["Scan"]},
            Targets=[{"Key": "InstanceIds", "Values": [one, ids[1]]}],
        )["AssociationDescription"]["AssociationId"]
        restart = dict(DocumentName="AWS-RestartEC2Instance", Parameters={"InstanceId": [ids[-1]]})
        automation = ssm.start_automation_execution(**restart)["AutomationExecutionId"]
        sim.advance(300)
    ssm.start_associations_once(AssociationIds=[association])
    sim.advance(1800)
    sim.advance(1800)
    for made in windows[:2] + windows[3:]:
        ssm.update_maintenance_window(WindowId=made, Enabled=False)
    sim.advance(3600)
    execution = ssm.describe_maintenance_window_executions(WindowId=window)["WindowExecutions"][-1]
    execution = execution["WindowExecutionId"]
    task = ssm.describe_maintenance_window_execution_tasks(WindowExecutionId=execution)
    task = task["WindowExecutionTaskIdentities"][0]["TaskExecutionId"]
    runs = ssm.describe_association_executions(AssociationId=association)["AssociationExecutions"]
    windows_baseline = ssm.get_default_patch_baseline()["BaselineId"]
    return {
        "DescribeAssociationExecutions": {"AssociationId": association},
        "DescribeAssociationExecutionTargets": {
            "AssociationId": association,
            "ExecutionId": runs[0]["ExecutionId"],
        },
        "DescribeAutomationStepExecutions": {"AutomationExecutionId": automation},
        "DescribeAvailablePatches": {"Filters": [{"Key": "PRODUCT", "Values": ["AmazonLinux2"]}]},
        "DescribeEffectiveInstanceAssociations": {"InstanceId": one},
        "DescribeEffectivePatchesForPatchBaseline": {"BaselineId": windows_baseline},
        "DescribeInstanceAssociationsStatus": {"InstanceId": one},
        "DescribeInstancePatches": {"InstanceId": one},
        "DescribeInstancePatchStates": {"InstanceIds": ids},
        "DescribeInstancePatchStatesForPatchGroup": {"PatchGroup": "web"},
        "DescribeMaintenanceWindowExecutions": {"WindowId": window},
        "DescribeMaintenanceWindowExecutionTasks": {"WindowExecutionId": execution},
        "DescribeMaintenanceWindowExecutionTaskInvocations": {"WindowExecutionId": execution, "TaskId": task},
        "DescribeMaintenanceWindowSchedule": {"WindowId": windows[2]},
        "DescribeMaintenanceWindowsForTarget": {
            "ResourceType": "INSTANCE",
            "Targets": [{"Key": "InstanceIds", "Values": [one]}],
        },
        "DescribeMaintenanceWindowTargets": {"WindowId": window},
        "DescribeMaintenanceWindowTasks": {"WindowId": window},
        "DescribePatchProperties": {"OperatingSystem": "AMAZON_LINUX", "Property": "PRODUCT"},
        "ListComplianceItems": {"ResourceIds": [one], "ResourceTypes": ["ManagedInstance"]},
    }


def test_every_paginator_comes_to_its_end_and_no_item_comes_twice_or_never(sim):
    requests = build(sim)
    seen = []
    for service, operation in paginators(sim):
        paginator = sim.client(service).get_paginator(xform_name(operation))
        request = requests.pop(operation, {})
        least = LEAST.get(operation, 5 if service == "ec2" else 1)
        walk = lambda size: paginator.paginate(**request, PaginationConfig={"PageSize": size} if size else {})
        def items(page):
            # EC2's pages count instances, and group them.
            rows = page[paginator.result_keys[0].expression]
            return [i for row in rows for i in row["Instances"]] if operation == "DescribeInstances" else rows
        pages = [items(page) for page in walk(least)]
        small = [json.dumps(item, default=str, sort_keys=True) for page in pages for item in page]
        whole = [json.dumps(item, default=str, sort_keys=True) for page in walk(None) for item in items(page)]
        assert sorted(small) == sorted(whole), f"{operation}: pages of {least} show something else than the whole"
        assert all(len(page) == least for page in pages[:-1]), operation
        if operation not in SHORT:
            assert len(pages) > 1, f"{operation}: {len(whole)} items are not more than a page of {least}"
        seen.append(operation)
    assert requests == {}, "a request for what boto3 does not page"
    print(f"{len(seen)} paginators")
    assert len(seen) == 45


def test_foreign_old_and_broken_page_tokens_are_refused(sim):
    ssm, ec2 = sim.client("ssm"), sim.client("ec2")
    launch(sim, 12, "web")
    page = ssm.describe_instance_information(MaxResults=5)
    token = page["NextToken"]
    assert ssm.describe_instance_information(MaxResults=5, NextToken=token)["InstanceInformationList"]
    online = [{"Key": "PingStatus", "Values": ["Online"]}]
    elsewhere = sim.client("ssm", region="eu-west-1")
    another = sim.client("ssm", access_key="AKIA0000111122223333")
    for client, request in [
        (ssm, dict(NextToken=token, Filters=online)),
        (ssm, dict(NextToken=token[:-1] + "x")),
        (ssm, dict(NextToken="nonsense")),
        (elsewhere, dict(NextToken=token)),
        (another, dict(NextToken=token)),
    ]:
        with pytest.raises(client.exceptions.InvalidNextToken):
            client.describe_instance_information(**request)
    # Where the model has no such error.
    with pytest.raises(botocore.exceptions.ClientError, match="ValidationException"):
        ssm.describe_patch_baselines(NextToken=token)
    first = ec2.describe_instances(MaxResults=5)
    assert ec2.describe_instances(MaxResults=5, NextToken=first["NextToken"])["Reservations"]
    for call, odd in [(ec2.describe_instances, token), (ec2.describe_tags, first["NextToken"])]:
        with pytest.raises(botocore.exceptions.ClientError, match="InvalidParameterValue"):
            call(MaxResults=5, NextToken=odd)
    # A token of a list whose last item of that page is gone.
    sim.fate("reset", {})
    with pytest.raises(ssm.exceptions.InvalidNextToken):
        ssm.describe_instance_information(MaxResults=5, NextToken=token)
