"""A caller in Node, with the clients that `npm ci` installs."""

import json
import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent / "node"
PROTO = HERE.parents[3] / "proto"


@pytest.fixture
def node(tmp_path):
    """Where the test's program and all that it needs are."""
    for program in ("node", "npm"):
        assert shutil.which(program), f"{program} is not on the path: Node.js 18 or newer is needed (Debian: nodejs, npm)"
    folder = shutil.copytree(HERE, tmp_path / "node")
    install = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    subprocess.run(install, cwd=folder, check=True, timeout=300)
    return folder


def test_a_scan_is_followed_and_a_refusal_is_typed(node, start_sim, serve, known_protos):
    server = serve(start_sim("--instances", "3", "--speed", "60").url)
    line = ["node", "walk.mjs", server.address, PROTO, known_protos]
    walked = subprocess.run(line, cwd=node, capture_output=True, text=True, timeout=120)
    assert walked.returncode == 0, walked.stderr
    seen = json.loads(walked.stdout)
    assert len(seen["instances"]) == 3
    assert seen["refusal"]["code"] == 3
    details = seen["refusal"]["details"]
    assert details["google.rpc.ErrorInfo"]["domain"] == "patchplane.v1"
    assert details["google.rpc.BadRequest"]["field_violations"][0]["field"] == "parent"
    assert seen["events"][0] == "snapshot" and "update" in seen["events"]
    assert seen["state"] == "STATE_SUCCEEDED"
    assert seen["targets"] == dict.fromkeys(seen["instances"], "STATE_SUCCEEDED")
