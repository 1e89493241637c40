"""Callers of patchplane's API that share no code with it: their stubs are made from `proto/` by plain compilers."""

import importlib
import pathlib
import sys
import uuid

import google.rpc
import grpc
import grpc_tools
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROTO = ROOT / "proto"
PARENT = "accounts/123456789012/regions/us-east-1"


@pytest.fixture(scope="session")
def api(tmp_path_factory):
    """Messages and stubs by their names, such as `api.InstanceServiceStub`, in Python."""
    out = tmp_path_factory.mktemp("stubs")
    files = sorted(str(file) for file in (PROTO / "patchplane" / "v1").glob("*.proto"))
    known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    line = ["protoc", f"-I{PROTO}", f"-I{known}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    assert protoc.main(line) == 0
    sys.path.insert(0, str(out))
    names = {}
    for file in sorted((out / "patchplane" / "v1").glob("*.py")):
        names.update(vars(importlib.import_module(f"patchplane.v1.{file.stem}")))
    sys.path.remove(str(out))
    return type("Api", (), names)


@pytest.fixture
def serve(start, tmp_path):
    """Starts `patchplane serve` in front of an AWS at a URL, such as `serve(sim.url)`."""

    def serve(aws):
        account, region = PARENT.split("/")[1::2]
        config = tmp_path / "patchplane.toml"
        location = f'[[locations]]\naccount = "{account}"\nregion = "{region}"\n'
        config.write_text(f'store = "{tmp_path / "patchplane.db"}"\n{location}')
        aws_env = {"AWS_ACCESS_KEY_ID": "stranger", "AWS_SECRET_ACCESS_KEY": "any", "AWS_EC2_METADATA_DISABLED": "true"}
        options = ("--config", config, "--listen", "127.0.0.1:0", "--aws-endpoint-url", aws)
        return start("serve", *options, env={**aws_env, "NO_COLOR": "1"})

    return serve


class Caller:
    """Calls methods by their names: `caller.ListInstances(parent=..)`; each mutation gets a request id of its own."""

    def __init__(self, api, address):
        self.api = api
        # Tells which methods may be tried again, and for how long each is waited for.
        config = (PROTO / "service_config.json").read_text()
        self.channel = grpc.insecure_channel(address, options=[("grpc.service_config", config)])
        self.methods = {}
        for name, stub in vars(api).items():
            if name.endswith("ServiceStub"):
                self.methods.update(vars(stub(self.channel)))

    def __getattr__(self, method):
        call, request = self.methods[method], getattr(self.api, f"{method}Request")
        wants_id = "request_id" in request.DESCRIPTOR.fields_by_name

        def send(**fields):
            if wants_id:
                fields.setdefault("request_id", str(uuid.uuid4()))
            return call(request(**fields))

        return send

    def refused(self, method, **fields):
        """The call's code and its typed details, by type, of one that must fail."""
        with pytest.raises(grpc.RpcError) as refusal:
            getattr(self, method)(**fields)
        status = rpc_status.from_call(refusal.value)
        details = {}
        for packed in status.details:
            kind = getattr(error_details_pb2, packed.TypeName().rsplit(".")[-1])
            details[kind.__name__] = kind()
            assert packed.Unpack(details[kind.__name__])
        info = details["ErrorInfo"]
        assert info.domain == "patchplane.v1"
        return refusal.value.code().name, info.reason, details


@pytest.fixture
def caller(api):
    """Makes a caller of a server."""
    callers = []

    def caller(server):
        callers.append(Caller(api, server.address))
        return callers[-1]

    yield caller
    for each in callers:
        each.channel.close()


@pytest.fixture(scope="session")
def known_protos():
    """A folder with google/rpc/error_details.proto and its like."""
    return pathlib.Path(google.rpc.__path__[0]).parents[1]
