"""The AWS CLI's shorter walk: what an operator types."""

import json
import os
import pathlib
import subprocess
import sys

from fleet import launch

CLI = pathlib.Path(sys.executable).with_name("aws")


def aws(sim, *words, fails=False):
    """Runs the CLI against the simulation and answers with its JSON, or with its words if it should fail."""
    env = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "stranger",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": sim.url,
        "AWS_PAGER": "",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_MAX_ATTEMPTS": "1",
    }
    run = subprocess.run(
        [sys.executable, CLI, *words], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert (run.returncode != 0) == fails, f"{words}: {run.returncode} {run.stdout} {run.stderr}"
    return run.stderr if fails else json.loads(run.stdout or "{}")


def test_the_walk_of_the_command_line(sim):
    assert aws(sim, "sts", "get-caller-identity")["Account"] == "123456789012"
    launched = aws(
        sim, "ec2", "run-instances", "--image-id", "ami-0123456789abcdef0", "--count", "2", "--instance-type", "t3.micro",
        "--tag-specifications", "ResourceType=instance,Tags=[{Key=Patch Group,Value=web}]",
    )  # fmt: skip
    ids = [instance["InstanceId"] for instance in launched["Instances"]]
    sim.advance(30)
    aws(sim, "ec2", "wait", "instance-running", "--instance-ids", *ids)
    managed = aws(sim, "ssm", "describe-instance-information", "--query", "InstanceInformationList[].InstanceId")
    assert sorted(managed) == sorted(ids)
    baseline = aws(
        sim, "ssm", "create-patch-baseline", "--name", "ours", "--operating-system", "AMAZON_LINUX_2", "--approval-rules",
        "PatchRules=[{PatchFilterGroup={PatchFilters=[{Key=SEVERITY,Values=[Critical,Important]}]},ApproveAfterDays=1}]",
    )["BaselineId"]  # fmt: skip
    aws(
        sim, "ssm", "register-patch-baseline-for-patch-group", "--baseline-id", baseline, "--patch-group", "web"
    )  # fmt: skip
    command = aws(
        sim, "ssm", "send-command", "--document-name", "AWS-RunPatchBaseline", "--parameters", "Operation=Install",
        "--targets", "Key=tag:Patch Group,Values=web", "--timeout-seconds", "600",
    )["Command"]["CommandId"]  # fmt: skip
    sim.advance(1800)
    aws(
        sim, "ssm", "wait", "command-executed", "--command-id", command, "--instance-id", ids[0], "--plugin-name",
        "PatchLinux",
    )  # fmt: skip
    states = aws(sim, "ssm", "describe-instance-patch-states", "--instance-ids", *ids)["InstancePatchStates"]
    assert [(s["BaselineId"], s["MissingCount"], s["Operation"]) for s in states] == [(baseline, 0, "Install")] * 2
    refused = aws(sim, "ssm", "delete-patch-baseline", "--baseline-id", baseline, fails=True)
    assert "ResourceInUseException" in refused and "is used for Patch Group: web" in refused
    window = aws(
        sim, "ssm", "create-maintenance-window", "--name", "nightly", "--schedule", "cron(0 3 ? * * *)",
        "--schedule-timezone", "Asia/Tokyo", "--duration", "4", "--cutoff", "1", "--no-allow-unassociated-targets",
    )["WindowId"]  # fmt: skip
    listed = aws(sim, "ssm", "describe-maintenance-windows", "--page-size", "10")["WindowIdentities"]
    assert [w["WindowId"] for w in listed] == [window]
    assert listed[0]["NextExecutionTime"].endswith("T03:00+09:00")


def test_a_long_list_is_paged_by_itself(sim):
    launch(sim, 23)
    listed = aws(sim, "ssm", "describe-instance-information", "--page-size", "5")["InstanceInformationList"]
    assert len(listed) == len({i["InstanceId"] for i in listed}) == 23
