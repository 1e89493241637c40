"""patchplane in front of moto, a simulation of AWS that others made. Operations are never sent there: its SendCommand does not
look at the instances.
"""

import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import boto3
import pytest

PARENT = "accounts/123456789012/regions/us-east-1"
GROUP = f"{PARENT}/patchGroups/web"
WITH_READS = pathlib.Path(__file__).parent / "moto_with_reads.py"


class Moto:
    """A process of moto's server, and what it has logged."""

    def __init__(self, *program):
        line = [sys.executable, *program, "-H", "127.0.0.1", "-p", "0"]
        env = {**os.environ, "MOTO_EC2_LOAD_DEFAULT_AMIS": "false"}
        self.process = subprocess.Popen(line, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.log = []
        threading.Thread(target=self.listen).start()
        deadline = time.monotonic() + 60
        while not (address := re.search(r"http://[0-9.]+:[0-9]+", "".join(self.log))):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log
            time.sleep(0.05)
        self.url = address[0]

    def listen(self):
        with self.process.stderr as output:
            self.log.extend(iter(output.readline, ""))

    def client(self, service):
        keys = {"aws_access_key_id": "stranger", "aws_secret_access_key": "any"}
        return boto3.client(service, region_name="us-east-1", endpoint_url=self.url, **keys)

    def failures(self):
        return sum('HTTP/1.1" 500' in line for line in self.log)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)


@pytest.fixture
def start_moto():
    started = []

    def start_moto(*program):
        started.append(Moto(*program))
        return started[-1]

    yield start_moto
    for moto in started:
        moto.stop()


def test_what_moto_lacks_is_named_after_a_few_attempts(api, start_moto, serve, caller):
    moto = start_moto("-m", "moto.server")
    baseline = moto.client("ssm").create_patch_baseline(Name="fast", OperatingSystem="AMAZON_LINUX_2")["BaselineId"]
    call = caller(serve(moto.url))
    [listed] = call.ListBaselines(parent=PARENT, owner=api.Baseline.OWNER_SELF).baselines
    assert listed.name == f"{PARENT}/baselines/{baseline}"
    # What others did cannot be looked for, which is told, and hides nothing of ours.
    [unreachable] = call.ListPatchOperations(parent=PARENT).unreachable
    assert unreachable.reason == "AWS_UNIMPLEMENTED"
    lacking = [
        ("ListPatchGroups", {"parent": PARENT}, "ssm:DescribePatchGroups"),
        ("GetBaseline", {"name": listed.name}, "ssm:GetPatchBaseline"),
        ("ListInstances", {"parent": PARENT}, "ssm:DescribeInstanceInformation"),
    ]
    for method, fields, action in lacking:
        before = moto.failures()
        code, reason, details = call.refused(method, **fields)
        assert (code, reason) == ("UNIMPLEMENTED", "AWS_UNIMPLEMENTED")
        assert details["ErrorInfo"].metadata["aws_action"] == action
        assert 0 < moto.failures() - before <= 6, "three attempts, and as many of the sweep in the background"
    moto.stop()
    code, reason, _ = call.refused("ListBaselines", parent=PARENT)
    assert (code, reason) == ("UNAVAILABLE", "AWS_UNREACHABLE")


def test_what_moto_has_is_seen_and_changed_there(api, start_moto, serve, caller):
    moto = start_moto(WITH_READS)
    ec2, ssm = moto.client("ec2"), moto.client("ssm")
    launched = ec2.run_instances(ImageId="ami-12345678", MinCount=3, MaxCount=3)["Instances"]
    ids = sorted(instance["InstanceId"] for instance in launched)
    call = caller(serve(moto.url))

    # The inventory of EC2, none of which Systems Manager knows, and tags.
    listed = call.ListInstances(parent=PARENT).instances
    assert [(i.instance_id, i.power_state, i.ping_status) for i in listed] == [(id, "running", "") for id in ids]
    added = call.AddInstances(name=GROUP, instance_ids=[*ids[:2], "i-0123456789abcdef0"])
    outcomes = [api.InstanceResult.Outcome.Name(result.outcome) for result in added.results]
    assert outcomes == ["OUTCOME_ADDED", "OUTCOME_ADDED", "OUTCOME_REFUSED"]
    tags = ec2.describe_tags(Filters=[{"Name": "key", "Values": ["Patch Group"]}])["Tags"]
    assert sorted((tag["ResourceId"], tag["Value"]) for tag in tags) == [(id, "web") for id in ids[:2]]
    call.RemoveInstances(name=GROUP, instance_ids=ids[:1])
    assert call.GetPatchGroup(name=GROUP).patch_group.instance_count == 1
    findings = call.CheckReadiness(name=f"{PARENT}/instances/{ids[0]}").findings
    assert {api.ReadinessFinding.Code.Name(f.code) for f in findings} >= {"CODE_NOT_MANAGED", "CODE_NO_PATCH_GROUP"}
    # Nothing there can be patched, and nothing is sent.
    scan = api.PatchOperation(kind=api.PatchOperation.KIND_SCAN, targets=api.TargetSelection(patch_groups=["web"]))
    code, reason, _ = call.refused("CreatePatchOperation", parent=PARENT, patch_operation=scan)
    assert (code, reason) == ("FAILED_PRECONDITION", "NO_TARGETS")

    # Two baselines are made and listed, one is deleted, the other attached to a group for the first time. (moto answers to
    # its being taken off again, and does nothing.)
    rule = api.ApprovalRule(
        filters=[api.PatchFilter(key="CLASSIFICATION", values=["Security"])],
        approve_after_days=1,
        compliance_level="HIGH",
    )
    draft = api.Baseline(display_name="fast", operating_system="AMAZON_LINUX_2", approval_rules=[rule])
    baseline, other = [call.CreateBaseline(parent=PARENT, baseline=draft).baseline for _ in range(2)]
    assert baseline.approval_rules == draft.approval_rules
    own = lambda: [b.name for b in call.ListBaselines(parent=PARENT, owner=api.Baseline.OWNER_SELF).baselines]
    assert sorted(own()) == sorted([baseline.name, other.name])
    call.DeleteBaseline(name=other.name)
    assert own() == [baseline.name]
    group = call.AttachBaseline(name=GROUP, baseline=baseline.name).patch_group
    assert [attached.baseline for attached in group.baselines] == [baseline.name]
    registered = ssm.get_patch_baseline_for_patch_group(PatchGroup="web", OperatingSystem="AMAZON_LINUX_2")
    assert baseline.name.endswith(registered["BaselineId"])
    assert call.refused("DeleteBaseline", name=baseline.name)[1] == "BASELINE_IN_USE"

    # A schedule is a window with its targets and its task.
    schedule = api.PatchSchedule(
        display_name="nightly",
        kind=api.PatchOperation.KIND_SCAN,
        targets=api.PatchSchedule.Targets(patch_groups=["web"]),
        recurrence=api.Recurrence(daily=api.Recurrence.Daily(time=api.TimeOfDay(hours=3))),
        time_zone="Asia/Tokyo",
    )
    schedule = call.CreatePatchSchedule(parent=PARENT, patch_schedule=schedule).patch_schedule
    window = schedule.maintenance_window.rsplit("/")[-1]
    assert ssm.get_maintenance_window(WindowId=window)["ScheduleTimezone"] == "Asia/Tokyo"
    targets = ssm.describe_maintenance_window_targets(WindowId=window)["Targets"]
    assert {"Key": "tag:Patch Group", "Values": ["web"]} in [term for target in targets for term in target["Targets"]]
    [task] = ssm.describe_maintenance_window_tasks(WindowId=window)["Tasks"]
    assert task["TaskArn"] == "AWS-RunPatchBaseline"
    [listed] = call.ListPatchSchedules(parent=PARENT).patch_schedules
    assert (listed.name, listed.divergences, listed.incomplete) == (schedule.name, [], False)
    assert call.ListUpcomingRuns(parent=PARENT, days=2).runs[0].maintenance_window == schedule.maintenance_window
    call.DeletePatchSchedule(name=schedule.name)
    assert ssm.describe_maintenance_windows()["WindowIdentities"] == []
