"""A day with Patch Manager, by boto3 alone: a fleet is launched, tagged, scanned, patched and looked after."""

import datetime

import botocore.exceptions
import pytest
from fleet import IMAGES, launch, run


def test_a_fleet_of_ones_own_is_launched_scanned_patched_and_reported(sim):
    ec2, ssm = sim.client("ec2"), sim.client("ssm")
    reservation = ec2.run_instances(
        ImageId="ami-1a2b3c4d",
        MinCount=3,
        MaxCount=3,
        InstanceType="t3.small",
        KeyName="ours",
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]}],
    )
    ids = [instance["InstanceId"] for instance in reservation["Instances"]]
    assert {i["State"]["Name"] for i in reservation["Instances"]} == {"pending"}
    assert [i["AmiLaunchIndex"] for i in sorted(reservation["Instances"], key=lambda i: i["AmiLaunchIndex"])] == [0, 1, 2]
    assert ssm.describe_instance_information()["InstanceInformationList"] == []
    sim.advance(10)
    ec2.get_waiter("instance_running").wait(InstanceIds=ids)
    sim.advance(20)
    managed = ssm.describe_instance_information(Filters=[{"Key": "PingStatus", "Values": ["Online"]}])
    assert sorted(i["InstanceId"] for i in managed["InstanceInformationList"]) == sorted(ids)
    sim.advance(60)
    for waiter in ["instance_exists", "instance_status_ok", "system_status_ok"]:
        ec2.get_waiter(waiter).wait(InstanceIds=ids)

    ec2.create_tags(Resources=ids, Tags=[{"Key": "Patch Group", "Value": "web"}])
    baseline = ssm.create_patch_baseline(
        Name="Production",
        OperatingSystem="AMAZON_LINUX_2",
        ApprovalRules={
            "PatchRules": [
                {
                    "PatchFilterGroup": {"PatchFilters": [{"Key": "CLASSIFICATION", "Values": ["Security", "Bugfix"]}]},
                    "ApproveAfterDays": 7,
                    "ComplianceLevel": "CRITICAL",
                }
            ]
        },
    )["BaselineId"]
    ssm.register_patch_baseline_for_patch_group(BaselineId=baseline, PatchGroup="web")
    effective = ssm.get_patch_baseline_for_patch_group(PatchGroup="web", OperatingSystem="AMAZON_LINUX_2")
    assert effective["BaselineId"] == baseline

    command = ssm.send_command(
        Targets=[{"Key": "tag:Patch Group", "Values": ["web"]}],
        DocumentName="AWS-RunPatchBaseline",
        Parameters={"Operation": ["Scan"]},
    )["Command"]["CommandId"]
    sim.advance(300)
    for instance in ids:
        step = dict(CommandId=command, InstanceId=instance, PluginName="PatchLinux")
        ssm.get_waiter("command_executed").wait(**step)
        assert "Patch group: web" in ssm.get_command_invocation(**step)["StandardOutputContent"]
    states = ssm.describe_instance_patch_states(InstanceIds=ids)["InstancePatchStates"]
    assert len(states) == 3 and all(s["MissingCount"] > 0 and s["BaselineId"] == baseline for s in states)
    assert all(s["CriticalNonCompliantCount"] == s["MissingCount"] for s in states)
    missing = ssm.describe_instance_patches(InstanceId=ids[0], Filters=[{"Key": "State", "Values": ["Missing"]}])
    assert {patch["InstalledTime"] for patch in missing["Patches"]} == {
        datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    }

    run(sim, ids, "Install")
    state = ssm.describe_patch_group_state(PatchGroup="web")
    assert state["Instances"] == 3 and state["InstancesWithMissingPatches"] == 0
    items = ssm.list_compliance_items(ResourceIds=[ids[0]], ResourceTypes=["ManagedInstance"])["ComplianceItems"]
    assert items and {item["Status"] for item in items} == {"COMPLIANT"}
    summary = ssm.list_compliance_summaries()["ComplianceSummaryItems"][0]
    assert summary["CompliantSummary"]["CompliantCount"] == 3
    assert {node["reboots"] for node in sim.fate("installs")["nodes"]} == {1}


def test_a_window_patches_at_its_hour_and_tells_of_it(sim):
    ssm = sim.client("ssm")
    ids = launch(sim, 2, "web")
    window = ssm.create_maintenance_window(
        Name="nightly", Schedule="rate(1 hour)", Duration=2, Cutoff=1, AllowUnassociatedTargets=False
    )["WindowId"]
    target = ssm.register_target_with_maintenance_window(
        WindowId=window,
        ResourceType="INSTANCE",
        OwnerInformation="ours",
        Targets=[{"Key": "tag:Patch Group", "Values": ["web"]}],
    )["WindowTargetId"]
    task = ssm.register_task_with_maintenance_window(
        WindowId=window,
        TaskArn="AWS-RunPatchBaseline",
        TaskType="RUN_COMMAND",
        Targets=[{"Key": "WindowTargetIds", "Values": [target]}],
        MaxConcurrency="100%",
        MaxErrors="0",
        TaskInvocationParameters={"RunCommand": {"Parameters": {"Operation": ["Install"]}, "TimeoutSeconds": 600}},
    )["WindowTaskId"]
    assert ssm.describe_maintenance_windows_for_target(
        ResourceType="INSTANCE", Targets=[{"Key": "InstanceIds", "Values": [ids[0]]}]
    )["WindowIdentities"] == [{"WindowId": window, "Name": "nightly"}]
    assert ssm.describe_maintenance_window_schedule(WindowId=window)["ScheduledWindowExecutions"]
    sim.advance(3700)
    sim.advance(1800)
    (execution,) = ssm.describe_maintenance_window_executions(WindowId=window)["WindowExecutions"]
    assert execution["Status"] == "SUCCESS"
    execution = execution["WindowExecutionId"]
    (run_task,) = ssm.describe_maintenance_window_execution_tasks(WindowExecutionId=execution)[
        "WindowExecutionTaskIdentities"
    ]
    assert run_task["TaskArn"] == "AWS-RunPatchBaseline"
    (invocation,) = ssm.describe_maintenance_window_execution_task_invocations(
        WindowExecutionId=execution, TaskId=run_task["TaskExecutionId"]
    )["WindowExecutionTaskInvocationIdentities"]
    command = ssm.list_commands(CommandId=invocation["ExecutionId"])["Commands"][0]
    assert (command["Status"], command["TargetCount"]) == ("Success", 2)
    states = ssm.describe_instance_patch_states(InstanceIds=ids)["InstancePatchStates"]
    assert {(s["SnapshotId"], s["OwnerInformation"], s["MissingCount"]) for s in states} == {(execution, "ours", 0)}
    with pytest.raises(ssm.exceptions.TargetInUseException):
        ssm.deregister_target_from_maintenance_window(WindowId=window, WindowTargetId=target, Safe=True)
    ssm.deregister_task_from_maintenance_window(WindowId=window, WindowTaskId=task)
    ssm.deregister_target_from_maintenance_window(WindowId=window, WindowTargetId=target, Safe=True)
    for _ in range(2):
        assert ssm.delete_maintenance_window(WindowId=window)["WindowId"] == window


def test_instances_are_stopped_started_rebooted_backed_up_and_terminated(sim):
    ec2, ssm = sim.client("ec2"), sim.client("ssm")
    image = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "platform", "Values": ["windows"]}])["Images"][-1]
    (windows,) = launch(sim, 1, image=image["ImageId"])
    (linux,) = launch(
        sim,
        1,
        tags={"Name": "db"},
        BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 100, "VolumeType": "io2"}}],
        IamInstanceProfile={"Name": "ours"},
    )
    describe = lambda id: ec2.describe_instances(InstanceIds=[id])["Reservations"][0]["Instances"][0]
    assert describe(windows)["Platform"] == "windows"
    assert describe(linux)["IamInstanceProfile"]["Arn"].endswith(":instance-profile/ours")

    volumes = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [linux]}])["Volumes"]
    assert sorted(v["Size"] for v in volumes) == [8, 100]
    ec2.get_waiter("volume_in_use").wait(VolumeIds=[v["VolumeId"] for v in volumes])
    backup = [{"ResourceType": "snapshot", "Tags": [{"Key": "of", "Value": "db"}]}]
    whole = dict(InstanceSpecification={"InstanceId": linux, "ExcludeBootVolume": True}, TagSpecifications=backup)
    (snapshot,) = ec2.create_snapshots(**whole)["Snapshots"]
    assert (snapshot["State"], snapshot["VolumeSize"]) == ("pending", 100)
    with pytest.raises(botocore.exceptions.ClientError, match="SnapshotCreationPerVolumeRateExceeded"):
        ec2.create_snapshot(VolumeId=snapshot["VolumeId"])
    sim.advance(120)
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot["SnapshotId"]])
    found = ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": "tag:of", "Values": ["db"]}])["Snapshots"]
    assert [s["SnapshotId"] for s in found] == [snapshot["SnapshotId"]]
    ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])

    change = ec2.stop_instances(InstanceIds=[linux])["StoppingInstances"][0]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "stopping")
    with pytest.raises(botocore.exceptions.ClientError, match="IncorrectInstanceState"):
        ec2.start_instances(InstanceIds=[linux])
    sim.advance(60)
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[linux])
    managed = {i["InstanceId"] for i in ssm.describe_instance_information()["InstanceInformationList"]}
    assert managed == {windows}
    properties = ssm.describe_instance_properties()["InstanceProperties"]
    assert {p["InstanceId"]: p["InstanceState"] for p in properties} == {linux: "stopped", windows: "running"}
    waiting = ssm.send_command(
        InstanceIds=[linux], DocumentName="AWS-RunPatchBaseline", Parameters={"Operation": ["Scan"]}
    )["Command"]["CommandId"]
    sim.advance(60)
    invocation = ssm.list_command_invocations(CommandId=waiting)["CommandInvocations"][0]
    assert invocation["Status"] == "Delayed"
    ec2.start_instances(InstanceIds=[linux])
    sim.advance(300)
    assert ssm.list_commands(CommandId=waiting)["Commands"][0]["Status"] == "Success"
    ec2.reboot_instances(InstanceIds=[linux])
    assert ssm.get_connection_status(Target=linux)["Status"] == "notconnected"
    sim.advance(120)
    assert ssm.get_connection_status(Target=linux)["Status"] == "connected"

    ec2.terminate_instances(InstanceIds=[linux, windows])
    sim.advance(60)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[linux, windows])
    with pytest.raises(ssm.exceptions.InvalidInstanceId):
        run(sim, [linux])
    sim.advance(3700)
    with pytest.raises(botocore.exceptions.ClientError, match="InvalidInstanceID.NotFound"):
        describe(linux)


def test_waiters_of_what_is_always_there(sim):
    ec2 = sim.client("ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    gateways = ec2.describe_internet_gateways()["InternetGateways"]
    nats = ec2.describe_nat_gateways()["NatGateways"]
    groups = ec2.describe_security_groups()["SecurityGroups"]
    for waiter, ids in {
        "vpc_exists": {"VpcIds": [vpc]},
        "vpc_available": {"VpcIds": [vpc]},
        "subnet_available": {"SubnetIds": [subnet["SubnetId"] for subnet in subnets]},
        "internet_gateway_exists": {"InternetGatewayIds": [gateways[0]["InternetGatewayId"]]},
        "nat_gateway_available": {"NatGatewayIds": [nats[0]["NatGatewayId"]]},
        "security_group_exists": {"GroupIds": [groups[0]["GroupId"]]},
        "image_exists": {"ImageIds": [IMAGES["windows"]]},
        "image_available": {"ImageIds": [IMAGES["windows"]]},
    }.items():
        ec2.get_waiter(waiter).wait(**ids)
    names = {region["RegionName"] for region in ec2.describe_regions()["Regions"]}
    assert {"us-east-1", "ap-northeast-1"} < names and "af-south-1" not in names


def test_what_does_not_exist_or_is_in_use_is_a_typed_error(sim):
    ssm = sim.client("ssm")
    (instance,) = launch(sim, 1)
    baseline = ssm.create_patch_baseline(Name="ours", OperatingSystem="AMAZON_LINUX_2")["BaselineId"]
    ssm.register_patch_baseline_for_patch_group(BaselineId=baseline, PatchGroup="web")
    other = ssm.create_patch_baseline(Name="other", OperatingSystem="AMAZON_LINUX_2")["BaselineId"]
    command, uuid = run(sim, [instance]), "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    window = dict(Name="w12", Schedule="rate(1 day)", Duration=2, Cutoff=1, AllowUnassociatedTargets=True)
    ssm.create_maintenance_window(**window, ClientToken="1")
    unknown_window, unknown_baseline = "mw-00000000000000000", "pb-00000000000000000"
    scan = dict(DocumentName="AWS-RunPatchBaseline", Parameters={"Operation": ["Scan"]})
    errors = ssm.exceptions
    for error, call, request in [
        (errors.ResourceInUseException, ssm.delete_patch_baseline, dict(BaselineId=baseline)),
        (errors.AlreadyExistsException, ssm.register_patch_baseline_for_patch_group,
         dict(BaselineId=other, PatchGroup="web")),
        (errors.DoesNotExistException, ssm.get_patch_baseline, dict(BaselineId=unknown_baseline)),
        (errors.DoesNotExistException, ssm.update_patch_baseline, dict(BaselineId=unknown_baseline, Name="new")),
        (errors.DoesNotExistException, ssm.register_default_patch_baseline, dict(BaselineId=unknown_baseline)),
        (errors.DoesNotExistException, ssm.get_maintenance_window, dict(WindowId=unknown_window)),
        (errors.DoesNotExistException, ssm.update_maintenance_window, dict(WindowId=unknown_window)),
        (errors.DoesNotExistException, ssm.describe_maintenance_window_tasks, dict(WindowId=unknown_window)),
        (errors.DoesNotExistException, ssm.get_maintenance_window_execution, dict(WindowExecutionId=uuid)),
        (errors.IdempotentParameterMismatch, ssm.create_maintenance_window,
         dict(window, Name="another", ClientToken="1")),
        (errors.InvalidInstanceId, ssm.send_command, dict(scan, InstanceIds=["i-00000000000000000"])),
        (errors.DuplicateInstanceId, ssm.send_command, dict(scan, InstanceIds=[instance, instance])),
        (errors.InvalidDocument, ssm.send_command, dict(scan, DocumentName="Nothing", InstanceIds=[instance])),
        (errors.InvalidDocumentVersion, ssm.send_command, dict(scan, DocumentVersion="7", InstanceIds=[instance])),
        (errors.InvalidParameters, ssm.send_command, dict(scan, Parameters={}, InstanceIds=[instance])),
        (errors.UnsupportedPlatformType, ssm.send_command,
         dict(DocumentName="AWS-RunShellScript", Parameters={"commands": ["ls"]}, InstanceIds=launch(
             sim, 1, image=IMAGES["windows"]))),
        (errors.InvalidCommandId, ssm.cancel_command, dict(CommandId=uuid)),
        (errors.InvalidCommandId, ssm.list_command_invocations, dict(CommandId=uuid)),
        (errors.InvalidPluginName, ssm.get_command_invocation, dict(CommandId=command, InstanceId=instance)),
        (errors.InvocationDoesNotExist, ssm.get_command_invocation,
         dict(CommandId=command, InstanceId="i-00000000000000000", PluginName="PatchLinux")),
        (errors.InvalidInstanceId, ssm.describe_instance_patches, dict(InstanceId="i-00000000000000000")),
        (errors.InvalidResourceId, ssm.add_tags_to_resource,
         dict(ResourceType="PatchBaseline", ResourceId=unknown_baseline, Tags=[{"Key": "a", "Value": "b"}])),
        (errors.InvalidResourceType, ssm.list_compliance_items,
         dict(ResourceIds=[instance], ResourceTypes=["Printer"])),
        (errors.InvalidResourceId, ssm.put_compliance_items,
         dict(ResourceId="i-00000000000000000", ResourceType="ManagedInstance", ComplianceType="Custom:x1",
              ExecutionSummary={"ExecutionTime": 0}, Items=[])),
        (errors.AssociationDoesNotExist, ssm.describe_association, dict(AssociationId=uuid)),
        (errors.InvalidSchedule, ssm.create_association,
         dict(Name="AWS-UpdateSSMAgent", Targets=[{"Key": "InstanceIds", "Values": ["*"]}],
              ScheduleExpression="rate(5 minutes)")),
        (errors.InvalidTarget, ssm.create_association, dict(Name="AWS-UpdateSSMAgent")),
        (errors.AutomationDefinitionNotFoundException, ssm.start_automation_execution, dict(DocumentName="Nothing")),
        (errors.AutomationExecutionNotFoundException, ssm.get_automation_execution, dict(AutomationExecutionId=uuid)),
        (errors.InvalidAutomationExecutionParametersException, ssm.start_automation_execution,
         dict(DocumentName="AWS-StopEC2Instance", Parameters={"Nonsense": ["1"]})),
        (errors.ServiceSettingNotFound, ssm.get_service_setting, dict(SettingId="/ssm/nothing/at-all")),
        (errors.InvalidDocument, ssm.describe_document, dict(Name="Nothing")),
        (errors.InvalidFilterKey, ssm.describe_instance_information,
         dict(Filters=[{"Key": "Weather", "Values": ["fine"]}])),
        (errors.InvalidNextToken, ssm.describe_instance_information, dict(NextToken="foreign")),
        (errors.UnsupportedOperatingSystem, ssm.describe_effective_patches_for_patch_baseline,
         dict(BaselineId=baseline)),
    ]:
        with pytest.raises(error):
            call(**request)


def test_hooks_overrides_and_frozen_snapshots(sim):
    ssm = sim.client("ssm")
    (instance,) = launch(sim, 1)
    state = lambda: ssm.describe_instance_patch_states(InstanceIds=[instance])["InstancePatchStates"]
    missing = lambda: {
        patch["KBId"]
        for patch in ssm.describe_instance_patches(
            InstanceId=instance, Filters=[{"Key": "State", "Values": ["Missing"]}]
        )["Patches"]
    }
    invocation = lambda command: ssm.get_command_invocation(
        CommandId=command, InstanceId=instance, PluginName="PatchLinux"
    )
    # A baseline of the run's own: its result is in the output only.
    sim.fate("files", {"files": {"s3://ours/none.json": '[{"OperatingSystem": "AMAZON_LINUX_2", "Name": "none"}]'}})
    command = run(sim, [instance], BaselineOverride="s3://ours/none.json")
    assert invocation(command)["Status"] == "Success" and state() == []
    # Both overrides, and one that cannot be had.
    both = run(sim, [instance], "Install", BaselineOverride="s3://ours/none.json", InstallOverrideList="s3://ours/l")
    assert invocation(both)["ResponseCode"] == 167
    assert invocation(run(sim, [instance], BaselineOverride="s3://ours/nothing"))["ResponseCode"] == 160
    # A snapshot id freezes the baseline's content for three days.
    snapshot = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    run(sim, [instance], SnapshotId=snapshot)
    before = missing()
    assert before
    strict = ssm.create_patch_baseline(Name="nothing", OperatingSystem="AMAZON_LINUX_2")["BaselineId"]
    ssm.register_default_patch_baseline(BaselineId=strict)
    run(sim, [instance], SnapshotId=snapshot)
    assert missing() == before
    run(sim, [instance])
    assert missing() == set()
    sim.advance(3 * 86_400)
    run(sim, [instance], SnapshotId=snapshot)
    assert missing() == set()
    # What a list names is installed although no baseline approves it.
    wanted = sorted(before)[0]
    sim.fate("files", {"files": {"https://ours/list.yaml": f"patches:\n  - id: '{wanted}'\n"}})
    command = run(sim, [instance], "Install", InstallOverrideList="https://ours/list.yaml")
    assert invocation(command)["Status"] == "Success"
    assert state()[0]["InstallOverrideList"] == "https://ours/list.yaml"
    others = ssm.describe_instance_patches(
        InstanceId=instance, Filters=[{"Key": "State", "Values": ["InstalledOther"]}]
    )["Patches"]
    assert wanted in {patch["KBId"] for patch in others}
    # Hooks.
    hooked = run(sim, [instance], "Install", "AWS-RunPatchBaselineWithHooks", PreInstallHookDocName="AWS-Noop")
    assert invocation(hooked)["Status"] == "Success"
    sim.fate("faults", {"nodes": [{"instance_id": instance, "trouble": "hook_fails"}]})
    hooked = run(sim, [instance], "Install", "AWS-RunPatchBaselineWithHooks", PreInstallHookDocName="AWS-Noop")
    assert invocation(hooked)["Status"] == "Failed"
    with pytest.raises(ssm.exceptions.InvalidParameters):
        run(sim, [instance], "Install", "AWS-RunPatchBaselineWithHooks", PreInstallHookDocName="Nothing")


def test_associations_run_when_made_when_changed_and_by_schedule(sim):
    ssm = sim.client("ssm")
    ids = launch(sim, 2, "web")
    tagged = [{"Key": "tag:Patch Group", "Values": ["web"]}]
    made = ssm.create_association(
        Name="AWS-RunPatchBaseline",
        AssociationName="scan-web",
        Parameters={"Operation": ["Scan"]},
        Targets=tagged,
        ScheduleExpression="rate(1 day)",
        MaxErrors="1",
    )["AssociationDescription"]
    association = made["AssociationId"]
    runs = lambda: ssm.describe_association_executions(AssociationId=association)["AssociationExecutions"]
    sim.advance(600)
    assert [(r["Status"], r["ResourceCountByStatus"]) for r in runs()] == [("Success", "{Success=2}")]
    sim.advance(86_400)
    assert len(runs()) == 2
    changed = ssm.update_association(AssociationId=association, Parameters={"Operation": ["Install"]})
    changed = changed["AssociationDescription"]
    assert "MaxErrors" not in changed and "ScheduleExpression" not in changed and changed["Targets"] == tagged
    sim.advance(1800)
    assert len(runs()) == 3 and {n["installs"] for n in sim.fate("installs")["nodes"]} == {1}
    ssm.start_associations_once(AssociationIds=[association])
    sim.advance(1800)
    assert len(runs()) == 4
    effective = ssm.describe_effective_instance_associations(InstanceId=ids[0])["Associations"]
    assert [a["AssociationId"] for a in effective] == [association]
    ssm.delete_association(AssociationId=association)
    with pytest.raises(ssm.exceptions.AssociationDoesNotExist):
        ssm.describe_association(AssociationId=association)

    legacy = ssm.create_association(Name="AWS-UpdateSSMAgent", InstanceId=ids[0])["AssociationDescription"]
    with pytest.raises(ssm.exceptions.AssociationAlreadyExists):
        ssm.create_association(Name="AWS-UpdateSSMAgent", InstanceId=ids[0])
    by_instance = [{"key": "InstanceId", "value": ids[0]}]
    listed = ssm.list_associations(AssociationFilterList=by_instance)["Associations"]
    assert [a["AssociationId"] for a in listed] == [legacy["AssociationId"]]

    # The document for associations leaves an item of its association, and no patch state.
    (fresh,) = launch(sim, 1, "fresh")
    own = ssm.create_association(
        Name="AWS-RunPatchBaselineAssociation",
        AssociationName="ours",
        Parameters={"Operation": ["Scan"], "AssociationId": ["3f2504e0-4f89-41d3-9a0c-0305e82c3301"]},
        Targets=[{"Key": "InstanceIds", "Values": [fresh]}],
    )["AssociationDescription"]["AssociationId"]
    sim.advance(600)
    assert ssm.describe_association_executions(AssociationId=own)["AssociationExecutions"][0]["Status"] == "Success"
    assert ssm.describe_instance_patch_states(InstanceIds=[fresh])["InstancePatchStates"] == []
    items = ssm.list_compliance_items(ResourceIds=[fresh], ResourceTypes=["ManagedInstance"])["ComplianceItems"]
    assert [(i["ComplianceType"], i["Status"]) for i in items] == [("Association", "NON_COMPLIANT")]


def test_runbooks_restart_instances_also_from_windows(sim):
    ec2, ssm = sim.client("ec2"), sim.client("ssm")
    (instance,) = launch(sim, 1)
    restart = dict(DocumentName="AWS-RestartEC2Instance", Parameters={"InstanceId": [instance]})
    token = "11111111-2222-3333-4444-555555555555"
    execution = ssm.start_automation_execution(**restart, ClientToken=token)["AutomationExecutionId"]
    assert ssm.start_automation_execution(**restart, ClientToken=token)["AutomationExecutionId"] == execution
    status = lambda: ssm.get_automation_execution(AutomationExecutionId=execution)["AutomationExecution"]
    assert status()["AutomationExecutionStatus"] == "InProgress"
    sim.advance(20)
    state = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"]
    assert state in ("stopping", "stopped")
    sim.advance(120)
    assert status()["AutomationExecutionStatus"] == "Success"
    steps = ssm.describe_automation_step_executions(AutomationExecutionId=execution)["StepExecutions"]
    assert [(s["StepName"], s["StepStatus"]) for s in steps] == [
        ("stopInstances", "Success"),
        ("startInstances", "Success"),
    ]
    waits = ssm.start_automation_execution(
        DocumentName="AWS-StartEC2InstanceWithApproval",
        Parameters={"InstanceId": [instance], "Approvers": ["arn:aws:iam::123456789012:role/Administrator"]},
    )["AutomationExecutionId"]
    sim.advance(60)
    listed = ssm.describe_automation_executions(Filters=[{"Key": "ExecutionStatus", "Values": ["Waiting"]}])
    assert [e["AutomationExecutionId"] for e in listed["AutomationExecutionMetadataList"]] == [waits]
    ssm.stop_automation_execution(AutomationExecutionId=waits)
    with pytest.raises(ssm.exceptions.InvalidAutomationStatusUpdateException):
        ssm.stop_automation_execution(AutomationExecutionId=waits)

    window = ssm.create_maintenance_window(
        Name="restarts", Schedule="rate(1 hour)", Duration=2, Cutoff=1, AllowUnassociatedTargets=True
    )["WindowId"]
    for kind, arn, parameters in [
        ("AUTOMATION", "AWS-RestartEC2Instance", {"Automation": {"Parameters": {"InstanceId": ["{{RESOURCE_ID}}"]}}}),
        ("LAMBDA", "arn:aws:lambda:us-east-1:123456789012:function:f", {"Lambda": {"Payload": b"{}"}}),
        ("STEP_FUNCTIONS", "arn:aws:states:us-east-1:123456789012:stateMachine:m", {"StepFunctions": {"Input": "{}"}}),
    ]:
        ssm.register_task_with_maintenance_window(
            WindowId=window,
            TaskArn=arn,
            TaskType=kind,
            Targets=[{"Key": "InstanceIds", "Values": [instance]}],
            MaxConcurrency="1",
            MaxErrors="1",
            TaskInvocationParameters=parameters,
        )
    sim.advance(3600)
    sim.advance(600)
    (execution,) = ssm.describe_maintenance_window_executions(WindowId=window)["WindowExecutions"]
    assert execution["Status"] == "SUCCESS"
    tasks = ssm.describe_maintenance_window_execution_tasks(WindowExecutionId=execution["WindowExecutionId"])
    assert {t["Status"] for t in tasks["WindowExecutionTaskIdentities"]} == {"SUCCESS"}
    restarts = ssm.describe_automation_executions(
        Filters=[{"Key": "DocumentNamePrefix", "Values": ["AWS-Restart"]}]
    )["AutomationExecutionMetadataList"]
    assert [r["AutomationExecutionStatus"] for r in restarts] == ["Success", "Success"]


def test_what_is_throttled_and_when_it_is_not(start_sim):
    bound = start_sim("--empty", "--throttle")
    ssm, ec2 = bound.client("ssm"), bound.client("ec2")
    uuid = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"

    def many(call, times, **request):
        codes = []
        for _ in range(times):
            try:
                call(**request)
            except botocore.exceptions.ClientError as error:
                codes.append((error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]))
        return codes

    assert ("ThrottlingException", 400) in many(ssm.get_automation_execution, 30, AutomationExecutionId=uuid)
    assert ("RequestLimitExceeded", 503) in many(ec2.describe_instances, 300)
    assert many(ssm.describe_patch_baselines, 60) == []
    # A client that retries as AWS's SDKs do gets through.
    patient = bound.client("ssm", retries=10)
    assert many(patient.list_associations, 12) == []
    bound.fate("throttling", {"on": False})
    assert many(ssm.list_associations, 60) == []


def test_applications_on_windows_are_patched_by_baselines_that_mean_them(sim):
    ssm = sim.client("ssm")
    seeded = sim.fate("seed", {"nodes": [{"platform": "windows_2022", "group": "office", "applications": ["Office 2016"]}]})
    (instance,) = seeded["instance_ids"]
    ids = lambda: {patch["KBId"] for patch in ssm.describe_instance_patches(InstanceId=instance)["Patches"]}
    run(sim, [instance])
    assert not ids() & {"KB9900011", "KB9900012"}, "a baseline of the operating system does not mean them"
    filters = [
        {"Key": "PATCH_SET", "Values": ["APPLICATION"]},
        {"Key": "PRODUCT_FAMILY", "Values": ["Office"]},
        {"Key": "PRODUCT", "Values": ["Office 2016"]},
    ]
    listed = ssm.describe_available_patches(Filters=filters)["Patches"]
    assert {patch["KbNumber"] for patch in listed} == {"KB9900011", "KB9900012"}
    rules = {"PatchRules": [{"PatchFilterGroup": {"PatchFilters": filters}, "ApproveAfterDays": 5}]}
    baseline = ssm.create_patch_baseline(Name="office", ApprovalRules=rules)["BaselineId"]
    effective = ssm.describe_effective_patches_for_patch_baseline(BaselineId=baseline)["EffectivePatches"]
    assert {e["Patch"]["KbNumber"] for e in effective} == {"KB9900011", "KB9900012"}
    ssm.register_patch_baseline_for_patch_group(BaselineId=baseline, PatchGroup="office")
    run(sim, [instance])
    state = ssm.describe_instance_patch_states(InstanceIds=[instance])["InstancePatchStates"][0]
    assert state["MissingCount"] == 2
    run(sim, [instance], "Install")
    state = ssm.describe_instance_patch_states(InstanceIds=[instance])["InstancePatchStates"][0]
    assert (state["MissingCount"], state["InstalledCount"]) == (0, 2)


def test_quotas_are_kept(sim):
    ssm = sim.client("ssm")
    baselines = [ssm.create_patch_baseline(Name=f"ours-{n}")["BaselineId"] for n in range(50)]
    with pytest.raises(ssm.exceptions.ResourceLimitExceededException):
        ssm.create_patch_baseline(Name="one-more")
    for number in range(25):
        ssm.register_patch_baseline_for_patch_group(BaselineId=baselines[0], PatchGroup=f"group-{number}")
    with pytest.raises(ssm.exceptions.ResourceLimitExceededException):
        ssm.register_patch_baseline_for_patch_group(BaselineId=baselines[0], PatchGroup="one-more")
    window = dict(Schedule="rate(1 day)", Duration=2, Cutoff=1, AllowUnassociatedTargets=True)
    for number in range(50):
        ssm.create_maintenance_window(Name=f"ours-{number}", **window)
    with pytest.raises(ssm.exceptions.ResourceLimitExceededException):
        ssm.create_maintenance_window(Name="one-more", **window)
    (instance,) = launch(sim, 1)
    restart = dict(DocumentName="AWS-StopEC2Instance", Parameters={"InstanceId": [instance]})
    for _ in range(100):
        ssm.start_automation_execution(**restart)
    with pytest.raises(ssm.exceptions.AutomationExecutionLimitExceededException):
        ssm.start_automation_execution(**restart)
