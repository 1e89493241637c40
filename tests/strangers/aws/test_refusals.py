"""Requests that are wrong in one way each, made of the models; and those that are no requests at all."""

import collections
import copy
import datetime
import json

from fleet import ROOT
from wire import Model, authorization, ec2, matches, send, ssm, sts


def model(service):
    return Model(json.loads((ROOT / "server/sim/aws" / f"{service}-patch.json").read_text()))


def wrong(model, reference, path, depth=0):
    """What is wrong with a value of a shape: (how, the value, the constraint that is told, the path it is told of)."""
    shape = model.shape(reference)
    kind, sample = shape["type"], model.sample(reference)
    if sample is None:
        return
    mistyped = {"string": 7, "structure": "no", "list": "no", "map": "no"}.get(kind, {"no": 1})
    yield "wrong type", mistyped, None, path
    least, most, size = shape.get("min"), shape.get("max"), "Member must have length"
    if kind == "string":
        if least:
            yield "too short", "", f"{size} greater than or equal to {least}", path
        if most and most < 100_000:
            yield "too long", "a" * (most + 1), f"{size} less than or equal to {most}", path
        if shape.get("enum"):
            yield "wrong enum", "Nonsense", "Member must satisfy enum value set: [", path
        if pattern := shape.get("pattern"):
            odd = next((t for t in ["\0\0\0", "!,;" * 13, "!,;" * 7] if not matches(pattern, t)), None)
            if odd:
                yield "wrong pattern", odd, f"Member must satisfy regular expression pattern: {pattern}", path
    if kind in ("integer", "long"):
        if least is not None:
            yield "too small", least - 1, f"Member must have value greater than or equal to {least}", path
        if most is not None:
            yield "too large", most + 1, f"Member must have value less than or equal to {most}", path
    if kind == "list":
        if least:
            yield "too few", [], f"{size} greater than or equal to {least}", path
        if most and most <= 1000:
            yield "too many", [sample[0]] * (most + 1), f"{size} less than or equal to {most}", path
        if depth < 4:
            for how, value, text, at in wrong(model, shape["member"], f"{path}.1.member", depth + 1):
                yield how, [value] + sample[1:], text, at
    if kind == "structure" and depth < 4:
        yield from wrong_members(model, shape, path, sample, depth)


def wrong_members(model, shape, path, sample, depth=0):
    for name, member in shape.get("members", {}).items():
        at = (f"{path}." if path else "") + name[0].lower() + name[1:]
        if name in shape.get("required", []):
            lacking = {k: v for k, v in sample.items() if k != name}
            yield "missing", lacking, "Member must not be null", at
        for how, value, text, place in wrong(model, member, at, depth + 1):
            yield how, {**copy.deepcopy(sample), name: value}, text, place


def test_every_constraint_of_systems_managers_model_is_kept(sim):
    ssm_model = model("ssm")
    counts, failures = collections.Counter(), []
    for operation, described in ssm_model.operations.items():
        shape = ssm_model.shape(described["input"])
        sample = ssm_model.sample(described["input"])
        assert sample is not None, f"{operation}: no request is known that the model admits"
        for how, request, text, path in wrong_members(ssm_model, shape, "", sample):
            status, code, message = ssm(sim, operation, request)
            expected = "SerializationException" if text is None else "ValidationException"
            told = text is None or (" at '" + path + "' " in message and text in message and "detected: " in message)
            counts[how] += 1
            if (status, code) != (400, expected) or not told:
                failures.append(f"{operation}: {how} at {path}: {status} {code} {message[:200]}")
    print(f"Systems Manager: {counts.total()} bad requests: {dict(counts)}")
    assert not failures, f"{len(failures)} of {counts.total()}:\n" + "\n".join(failures[:30])
    assert counts.total() > 300 and len(counts) == 10


def test_several_violations_are_told_at_once_and_unknown_members_are_passed_over(sim):
    status, code, message = ssm(sim, "SendCommand", {"TimeoutSeconds": 5, "InstanceIds": ["x"], "Comment": "c" * 101})
    assert (status, code) == (400, "ValidationException") and message.startswith("4 validation errors detected: ")
    # AWS JSON ignores what it does not know.
    assert ssm(sim, "DescribePatchBaselines", {"Nonsense": [1, {}]})[0] == 200


def wrong_parameters(model, reference, at, value_of_siblings, depth=0):
    """(how, parameters, code) of what is wrong in a form."""
    shape = model.shape(reference)
    kind = shape["type"]
    bad = "InvalidParameterValue"
    if kind == "structure":
        for name in shape.get("members", {}) if depth < 4 else []:
            parameter = model.parameter(name, shape["members"][name])
            inner = f"{at}.{parameter}" if at else parameter
            yield from wrong_parameters(model, shape["members"][name], inner, value_of_siblings, depth + 1)
    elif kind == "list":
        yield from wrong_parameters(model, shape["member"], f"{at}.1", value_of_siblings, depth + 1)
    elif kind in ("integer", "long"):
        yield "wrong type", {at: "many"}, bad
        for bound, by in [("min", -1), ("max", 1)]:
            if bound in shape:
                yield "out of range", {at: str(shape[bound] + by)}, bad
    elif kind == "boolean":
        yield "wrong type", {at: "perhaps"}, bad
    elif kind == "string":
        if shape.get("enum"):
            yield "wrong enum", {at: "Nonsense"}, bad
        if shape.get("min"):
            yield "too short", {at: ""}, bad
        if shape.get("max"):
            yield "too long", {at: "x" * (shape["max"] + 1)}, bad


def flat(model, reference, value, at=""):
    """The parameters of a value."""
    shape = model.shape(reference)
    if shape["type"] == "structure":
        found = {}
        for name, inner in value.items():
            parameter = model.parameter(name, shape["members"][name])
            found |= flat(model, shape["members"][name], inner, f"{at}.{parameter}" if at else parameter)
        return found
    if shape["type"] == "list":
        found = {}
        for index, inner in enumerate(value, 1):
            found |= flat(model, shape["member"], inner, f"{at}.{index}")
        return found
    return {at: str(value).lower() if isinstance(value, bool) else str(value)}


def test_every_constraint_of_ec2s_model_is_kept(sim):
    ec2_model = model("ec2")
    counts, failures = collections.Counter(), []

    def judge(operation, how, parameters, expected):
        status, code, message = ec2(sim, operation, parameters)
        counts[how] += 1
        if (status, code) != (400, expected):
            failures.append(f"{operation}: {how} {parameters}: {status} {code} {message[:100]}")

    for operation, described in ec2_model.operations.items():
        shape = ec2_model.shape(described["input"])
        sample = flat(ec2_model, described["input"], ec2_model.sample(described["input"]))
        judge(operation, "unknown member", {**sample, "Nonsense": "1"}, "UnknownParameter")
        for name in shape.get("required", []):
            parameter = ec2_model.parameter(name, shape["members"][name])
            lacking = {k: v for k, v in sample.items() if k.split(".")[0] != parameter}
            judge(operation, "missing", lacking, "MissingParameter")
        for how, parameters, code in wrong_parameters(ec2_model, described["input"], "", sample):
            # Of a list, the first is the odd one.
            judge(operation, how, {**sample, **parameters}, code)
    print(f"EC2: {counts.total()} bad requests: {dict(counts)}")
    assert not failures, f"{len(failures)} of {counts.total()}:\n" + "\n".join(failures[:30])
    assert counts.total() > 150 and len(counts) == 5


def test_every_constraint_of_the_token_services_model_is_kept(sim):
    role = {"RoleArn": "arn:aws:iam::123456789012:role/ours", "RoleSessionName": "session"}
    assert sts(sim, "AssumeRole", role)[0] == 200
    for odd in [
        {**role, "RoleArn": "short"},
        {**role, "RoleArn": "a" * 2049},
        {**role, "RoleSessionName": "x"},
        {**role, "RoleSessionName": "x" * 65},
        {**role, "RoleSessionName": "no spaces"},
        {**role, "DurationSeconds": "899"},
        {**role, "DurationSeconds": "43201"},
        {**role, "ExternalId": "x"},
        {**role, "SerialNumber": "short"},
        {**role, "TokenCode": "12345"},
        {"RoleArn": role["RoleArn"]},
        {"RoleSessionName": "session"},
        {},
    ]:
        status, code, _ = sts(sim, "AssumeRole", odd)
        assert (status, code) == (400, "ValidationError"), odd
    status, code, _ = sts(sim, "AssumeRole", {**role, "DurationSeconds": "long"})
    assert status == 400 and code in ("ValidationError", "InvalidParameterValue", "MalformedInput")
    assert sts(sim, "AssumeNothing", {})[:2] == (400, "InvalidAction")


def test_who_does_not_sign_or_signs_badly_is_refused(sim):
    target = {"X-Amz-Target": "AmazonSSM.ListCommands"}
    now = datetime.datetime.now(datetime.timezone.utc)
    old = (now - datetime.timedelta(minutes=16)).strftime("%Y%m%dT%H%M%SZ")
    early = (now + datetime.timedelta(hours=7)).strftime("%Y%m%dT%H%M%SZ")
    good = authorization("ssm")
    for headers, expected in [
        ({}, "MissingAuthenticationTokenException"),
        (authorization("ssm", old), "InvalidSignatureException"),
        (authorization("ssm", early), "InvalidSignatureException"),
        ({**good, "Authorization": "AWS4-HMAC-SHA256 Credential=stranger"}, "IncompleteSignature"),
        ({**good, "Authorization": "AWS4-HMAC-SHA256 Credential=a/b/c/ssm/aws5_request"}, "IncompleteSignature"),
        ({**good, "Authorization": "Basic Og=="}, "IncompleteSignature"),
        ({**good, "X-Amz-Date": "yesterday"}, "IncompleteSignature"),
    ]:
        status, text = send(sim, {**headers, **target}, b"{}")
        assert (status, json.loads(text)["__type"]) == (400, expected), headers
    form = b"Action=DescribeInstances&Version=2016-11-15"
    status, text = send(sim, {}, form)
    assert status == 401 and "AuthFailure" in text
    status, text = send(sim, {}, b"Action=GetCallerIdentity&Version=2011-06-15")
    assert status == 403 and "MissingAuthenticationToken" in text


def test_what_is_no_request_is_refused_too(sim):
    signed = authorization("ssm")
    targeted = lambda target: {**signed, "X-Amz-Target": target}
    for headers, body, method, expected in [
        (targeted("AmazonSSM.Nothing"), b"{}", "POST", "UnknownOperationException"),
        (targeted("AmazonSSM."), b"{}", "POST", "UnknownOperationException"),
        (targeted("OtherService.ListCommands"), b"{}", "POST", "UnknownOperationException"),
        (signed, b"{}", "POST", "UnknownOperationException"),
        (targeted("AmazonSSM.ListCommands"), None, "GET", "UnknownOperationException"),
        (targeted("AmazonSSM.ListCommands"), b"{}", "PUT", "UnknownOperationException"),
        (targeted("AmazonSSM.ListCommands"), b"{", "POST", "SerializationException"),
        (targeted("AmazonSSM.ListCommands"), b"[]", "POST", "SerializationException"),
        (targeted("AmazonSSM.ListCommands"), b'{"MaxResults": 1e400}', "POST", "SerializationException"),
        (targeted("AmazonSSM.ListCommands"), b'{"MaxResults": 1.5}', "POST", "SerializationException"),
        (targeted("AmazonSSM.ListCommands"), b"\xff\xfe", "POST", "SerializationException"),
        (targeted("AmazonSSM.ListCommands"), b"[" * 100_000, "POST", "SerializationException"),
    ]:
        status, text = send(sim, headers, body, method)
        assert (status, json.loads(text)["__type"]) == (400, expected), (headers, body, method)
    assert ec2(sim, "Nothing", {})[:2] == (400, "InvalidAction")
    status, _ = send(sim, targeted("AmazonSSM.ListCommands"), b"x" * (5 << 20))
    assert status == 413


def test_every_operation_of_the_models_is_served(sim):
    """Nothing that the models hold is unknown here. An operation that is not to be served would stand in a list, reasoned."""
    for service, call in [("ssm", ssm), ("ec2", ec2), ("sts", sts)]:
        models = model(service)
        for operation, described in models.operations.items():
            # A request that the model admits: what it does not is refused before anybody looks who serves it.
            request = models.sample(described["input"])
            _, code, _ = call(sim, operation, request if service == "ssm" else flat(models, described["input"], request))
            assert code not in ("UnknownOperationException", "InvalidAction"), operation
