"""Programs that know nothing of patchplane's sources: each test runs the built binary, and speaks to it as a stranger.

PATCHPLANE_BIN names the binary; unset, it is the one that `cargo build` makes.
"""

import json
import os
import pathlib
import re
import subprocess
import threading
import urllib.request

import boto3
import botocore.config
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REGION = "us-east-1"


def binary():
    """Where the built `patchplane` is."""
    built = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "debug" / "patchplane"
    path = pathlib.Path(os.environ.get("PATCHPLANE_BIN") or built)
    assert path.is_file(), f"{path} is not there: `cargo build` makes it, and PATCHPLANE_BIN may name another"
    return path


class Process:
    """A process of the binary that says at which address it listens."""

    def __init__(self, *arguments, env=None):
        command = [binary(), *arguments]
        env = {**os.environ, **(env or {})}
        outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, env=env, text=True, **outputs)
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if address := re.search(r"(?:http://|address=)([0-9.]+:[0-9]+)", line):
                self.address = address[1]
                # A full pipe would stop it.
                threading.Thread(target=self.drain).start()
                return
        self.stop()
        raise AssertionError(f"{command} names no address: {lines}")

    def drain(self):
        with self.process.stdout as output:
            for _ in output:
                pass

    @property
    def url(self):
        return f"http://{self.address}"

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class Sim(Process):
    """A simulated AWS of its own, without instances unless asked for, on a free port."""

    def __init__(self, *options):
        options = options or ("--empty",)
        super().__init__("sim", "--listen", "127.0.0.1:0", *options)

    def fate(self, path, body=None, method=None):
        """Asks /_sim/ for something: POST with a body, GET without."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_sim/{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def advance(self, seconds):
        self.fate("advance", {"seconds": seconds})

    def client(self, service, region=REGION, access_key="stranger", retries=1, **options):
        """A boto3 client that tries once, so that a test sees each answer."""
        config = botocore.config.Config(retries={"total_max_attempts": retries}, **options)
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=access_key,
            aws_secret_access_key="any",
            config=config,
        )


@pytest.fixture(scope="session")
def shared_sim():
    """One process for the tests that begin by emptying it."""
    sim = Sim("--empty")
    yield sim
    sim.stop()


@pytest.fixture
def sim(shared_sim):
    """A simulated AWS without anything in it, as good as new."""
    shared_sim.fate("reset", {})
    return shared_sim


@pytest.fixture
def start():
    """Starts a process of the binary with arguments, such as `start("serve", ..)`; it is stopped at the end of the test."""
    started = []

    def start(*arguments, kind=Process, **options):
        started.append(kind(*arguments, **options))
        return started[-1]

    yield start
    for process in reversed(started):
        process.stop()


@pytest.fixture
def start_sim(start):
    """Starts a simulated AWS with options of its own, such as `start_sim("--instances", "12")`."""
    return lambda *options: start(*options, kind=Sim)
