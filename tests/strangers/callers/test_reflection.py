"""`buf curl` learns the API from the server alone, by reflection."""

import base64
import json
import shutil
import subprocess

import pytest
from google.rpc import error_details_pb2

PARENT = "accounts/123456789012/regions/us-east-1"


@pytest.fixture
def curl(start_sim, serve):
    buf = shutil.which("buf")
    assert buf, "buf is not on the path: .ci/run installs it, as .ci/tools.txt says"
    server = serve(start_sim("--instances", "3").url)

    def curl(method, request, *options):
        url = f"{server.url}/{method}"
        line = [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge", *options, "-d", json.dumps(request), url]
        return subprocess.run(line, capture_output=True, text=True, timeout=60)

    return curl


def test_a_call_is_made_without_any_proto(curl):
    listed = curl("patchplane.v1.InstanceService/ListInstances", {"parent": PARENT})
    assert listed.returncode == 0, listed.stderr
    instances = json.loads(listed.stdout)["instances"]
    assert len(instances) == 3 and all(instance["operatingSystem"] for instance in instances)
    health = curl("grpc.health.v1.Health/Check", {"service": "patchplane.v1.PatchOperationService"})
    assert json.loads(health.stdout) == {"status": "SERVING"}


def test_a_refusal_tells_its_reason(curl):
    refused = curl("patchplane.v1.InstanceService/ListInstances", {"parent": "accounts/1"})
    assert refused.returncode != 0
    told = json.loads(refused.stderr)
    assert told["code"] == "invalid_argument"
    details = {detail["type"]: base64.b64decode(detail["value"] + "==") for detail in told["details"]}
    assert error_details_pb2.ErrorInfo.FromString(details["google.rpc.ErrorInfo"]).domain == "patchplane.v1"
    wrong = error_details_pb2.BadRequest.FromString(details["google.rpc.BadRequest"])
    assert wrong.field_violations[0].field == "parent"
