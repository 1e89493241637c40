"""An operator's first day from Python: each step a call, judged by what the simulated agents did."""

import uuid

import grpc
import pytest

PARENT = "accounts/123456789012/regions/us-east-1"
GROUP = f"{PARENT}/patchGroups/web"


@pytest.fixture
def sim(start_sim):
    return start_sim("--empty", "--speed", "60")


@pytest.fixture
def nodes(sim):
    """Two instances that lack two patches each and are in no group; the second forbids spaces in its tags' keys."""
    kinds = [{"name": "one", "missing_patches": 2}, {"name": "two", "missing_patches": 2, "metadata_tags": True}]
    return sim.fate("seed", {"nodes": kinds})["instance_ids"]


@pytest.fixture
def call(sim, serve, caller):
    return caller(serve(sim.url))


def states(api, message):
    return api.PatchOperation.State.Name(message.state)


def ended(api, operation):
    terminal = ("SUCCEEDED", "COMPLETED_WITH_FAILURES", "FAILED", "CANCELLED")
    return states(api, operation).removeprefix("STATE_") in terminal


def watch(api, call, name):
    """Follows an operation to its end; gives it, its targets, and the states that it was seen in."""
    operation, targets, seen, whole = None, {}, [], None
    for message in call.WatchPatchOperation(name=name):
        kind = message.WhichOneof("event")
        if kind == "heartbeat":
            continue
        event = getattr(message, kind)
        if kind == "snapshot" and event.complete:
            whole = message.resume_token
        if event.HasField("patch_operation"):
            operation = event.patch_operation
            seen.append(states(api, operation))
        targets.update((target.instance_id, target) for target in event.targets)
    assert ended(api, operation), "the stream ends when the operation has"
    # Taken up again after the snapshot, it begins with what has changed since.
    again = next(iter(call.WatchPatchOperation(name=name, resume_token=whole)))
    assert again.WhichOneof("event") == "update"
    return operation, targets, seen


def test_the_whole_walk(api, call, sim, nodes):
    # 1. Is the instance patchable?
    readiness = call.CheckReadiness(name=f"{PARENT}/instances/{nodes[0]}")
    codes = {api.ReadinessFinding.Code.Name(finding.code) for finding in readiness.findings}
    assert {"CODE_NO_PATCH_GROUP", "CODE_NEVER_SCANNED"} <= codes
    assert all(finding.evidence and finding.fix for finding in readiness.findings)

    # 2. The predefined baseline, and one of our own that differs in one thing.
    listed = call.ListBaselines(parent=PARENT, operating_system="AMAZON_LINUX_2", owner=api.Baseline.OWNER_AWS)
    [predefined] = listed.baselines
    assert predefined.display_name == "AWS-AmazonLinux2DefaultPatchBaseline"
    rule = api.ApprovalRule(
        filters=[
            api.PatchFilter(key="CLASSIFICATION", values=["Security"]),
            api.PatchFilter(key="SEVERITY", values=["Critical", "Important"]),
        ],
        approve_after_days=1,
    )
    draft = api.Baseline(display_name="security-fast", operating_system="AMAZON_LINUX_2", approval_rules=[rule])
    preview = call.PreviewBaseline(parent=PARENT, draft=draft, compare_to=predefined.name)
    assert preview.patches and preview.limits and preview.difference_count > 0
    planned = call.CreateBaseline(parent=PARENT, baseline=draft, validate_only=True)
    assert {change.aws_operation for change in planned.plan.changes} == {"ssm:CreatePatchBaseline"}
    created = call.CreateBaseline(parent=PARENT, baseline=draft, expected_plan=planned.plan.fingerprint)
    assert created.baseline.owner == api.Baseline.OWNER_SELF

    # 3. and 4. A patch group with that baseline, and instances in it, each by the key that works.
    assert call.AttachBaseline(name=GROUP, baseline=created.baseline.name).patch_group.baselines
    added = call.AddInstances(name=GROUP, instance_ids=nodes)
    assert [result.tag_key for result in added.results] == ["Patch Group", "PatchGroup"]

    # 5. and 6. A scan, and what it found.
    groups = api.TargetSelection(patch_groups=["web"])
    scan = api.PatchOperation(kind=api.PatchOperation.KIND_SCAN, targets=groups)
    name = call.CreatePatchOperation(parent=PARENT, patch_operation=scan).patch_operation.name
    operation, targets, seen = watch(api, call, name)
    assert states(api, operation) == "STATE_SUCCEEDED", operation.explanation
    assert seen[0] == "STATE_RUNNING" and set(targets) == set(nodes)
    for target in targets.values():
        steps = {step.step: api.PatchOperationStep.State.Name(step.state) for step in target.steps}
        skipped = {"PatchWindows": "STATE_SKIPPED", "PatchMacOS": "STATE_SKIPPED"}
        assert steps == {"PatchLinux": "STATE_SUCCEEDED", **skipped}
    [listed] = call.ListPatchOperations(parent=PARENT).patch_operations
    assert listed.name == name
    patches = call.ListInstancePatches(parent=f"{PARENT}/instances/{nodes[0]}", state="Missing").patches
    assert len(patches) == 2 and all(patch.classification == "Security" and patch.cve_ids for patch in patches)
    summary = call.GetComplianceSummary(parent=PARENT, patch_group="web").summary
    assert (summary.instance_count, summary.non_compliant_count) == (2, 2)

    # 7. An installation; the same request again is the same operation.
    install = api.PatchOperation(
        kind=api.PatchOperation.KIND_INSTALL,
        targets=groups,
        reboot_option=api.PatchOperation.REBOOT_OPTION_REBOOT_IF_NEEDED,
        rollout=api.Rollout(concurrency=api.InstanceLimit(count=2)),
    )
    request = {"parent": PARENT, "patch_operation": install, "request_id": str(uuid.uuid4())}
    name = call.CreatePatchOperation(**request).patch_operation.name
    again = call.CreatePatchOperation(**request)
    assert again.replayed and again.patch_operation.name == name
    operation, targets, _ = watch(api, call, name)
    assert states(api, operation) == "STATE_SUCCEEDED", operation.explanation
    assert operation.counts.succeeded == 2
    assert [node["installs"] for node in sim.fate("installs")["nodes"]] == [1, 1]
    summary = call.GetComplianceSummary(parent=PARENT, patch_group="web").summary
    assert (summary.compliant_count, summary.with_missing_count) == (2, 0)
    states_told = [event.state for event in call.ListPatchOperationEvents(parent=name).events if not event.instance_id]
    assert states_told[-1] == "SUCCEEDED", states_told

    # 8. Every night at three in Tokyo, both in one call.
    schedule = api.PatchSchedule(
        display_name="nightly",
        kind=api.PatchOperation.KIND_INSTALL,
        reboot_option=api.PatchOperation.REBOOT_OPTION_REBOOT_IF_NEEDED,
        targets=api.PatchSchedule.Targets(patch_groups=["web"]),
        recurrence=api.Recurrence(daily=api.Recurrence.Daily(time=api.TimeOfDay(hours=3))),
        time_zone="Asia/Tokyo",
    )
    schedule = call.CreatePatchSchedule(parent=PARENT, patch_schedule=schedule).patch_schedule
    assert {run.time.ToDatetime().strftime("%H:%M") for run in schedule.next_runs} == {"18:00"}
    [listed] = call.ListPatchSchedules(parent=PARENT).patch_schedules
    assert (listed.name, listed.etag) == (schedule.name, schedule.etag)
    call.DeletePatchSchedule(name=schedule.name)
    assert not call.ListPatchSchedules(parent=PARENT).patch_schedules


def test_errors_tell_their_reason_and_the_field_as_messages(api, call, nodes):
    code, _, details = call.refused("GetPatchGroup", name="patchGroups/web")
    assert (code, details["BadRequest"].field_violations[0].field) == ("INVALID_ARGUMENT", "name")

    scan = api.PatchOperation(kind=api.PatchOperation.KIND_SCAN, targets=api.TargetSelection(patch_groups=["wbe"]))
    code, reason, details = call.refused("CreatePatchOperation", parent=PARENT, patch_operation=scan)
    assert (code, reason) == ("FAILED_PRECONDITION", "NO_TARGETS")
    assert "PreconditionFailure" in details

    unknown = f"{PARENT}/patchOperations/01JD9Y0000000000000000000A"
    assert call.refused("GetPatchOperation", name=unknown)[0] == "NOT_FOUND"

    request_id = str(uuid.uuid4())
    call.AddInstances(name=GROUP, instance_ids=nodes[:1], request_id=request_id)
    other = {"name": GROUP, "instance_ids": nodes[1:], "request_id": request_id}
    code, reason, _ = call.refused("AddInstances", **other)
    assert (code, reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


def test_what_aws_refuses_comes_with_its_reason(call, sim):
    sim.fate("faults", {"faults": [{"operation": "DescribePatchGroups", "kind": "deny", "times": 0}]})
    code, reason, details = call.refused("ListPatchGroups", parent=PARENT)
    assert (code, reason) == ("FAILED_PRECONDITION", "AWS_ACCESS_DENIED")
    assert "ssm:DescribePatchGroups" in str(details["ErrorInfo"].metadata)

    sim.fate("faults", {"faults": [{"operation": "DescribePatchBaselines", "kind": "throttle", "times": 0}]})
    with pytest.raises(grpc.RpcError) as refusal:
        call.methods["ListBaselines"](call.api.ListBaselinesRequest(parent=PARENT), timeout=20)
    assert refusal.value.code().name in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def test_pages_end(call, sim):
    sim.fate("seed", {"instances": 12})
    pages = [call.ListInstances(parent=PARENT, page_size=5)]
    while token := pages[-1].next_page_token:
        pages.append(call.ListInstances(parent=PARENT, page_size=5, page_token=token))
    listed = [instance.instance_id for page in pages for instance in page.instances]
    assert len(listed) == len(set(listed)) == 12 and len(pages) == 3
