"""Requests as bytes, for what no client library would send."""

import datetime
import json
import re
import urllib.error
import urllib.parse
import urllib.request
import uuid

REGION = "us-east-1"


def authorization(service, date=None, key="stranger"):
    """A signature's header as it must look; that the simulation does not recompute it is documented."""
    date = date or datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{key}/{date[:8]}/{REGION}/{service}/aws4_request"
    signature = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
    return {"Authorization": signature, "X-Amz-Date": date}


def send(sim, headers, body=b"", method="POST"):
    """Status and text of the answer."""
    request = urllib.request.Request(sim.url + "/", data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def ssm(sim, operation, body):
    """Status, code and message; no code if all is well."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"AmazonSSM.{operation}"}
    status, text = send(sim, {**headers, **authorization("ssm")}, body)
    answer = json.loads(text)
    return status, answer.get("__type"), answer.get("message") or answer.get("Message") or ""


def form(sim, service, version, operation, parameters):
    """The same of a Query service."""
    body = urllib.parse.urlencode({"Action": operation, "Version": version, **parameters}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", **authorization(service)}
    status, text = send(sim, headers, body)
    code, message = re.search("<Code>(.*)</Code>", text), re.search("<Message>(.*)</Message>", text, re.DOTALL)
    return status, code and code[1], message and message[1] or ""


def ec2(sim, operation, parameters):
    return form(sim, "ec2", "2016-11-15", operation, parameters)


def sts(sim, operation, parameters):
    return form(sim, "sts", "2011-06-15", operation, parameters)


# === Values that a model admits ===

CANDIDATES = [
    "i-0123456789abcdef0",
    "mi-0123456789abcdef0",
    "mw-0123456789abcdef0",
    "pb-0123456789abcdef0",
    str(uuid.UUID(int=1)),
    "10",
    "AWS-RunPatchBaseline",
    "arn:aws:iam::123456789012:role/ours",
    "$LATEST",
    "InstanceIds",
    "Custom:abc",
    "AWS:Application",
    "2020-01-01",
    "2020-01-01T00:00:00Z",
    "s3://bucket/key",
    "https://example.com/list",
    "us-east-1",
    "123456789012",
    "NAME_PREFIX",
    "abc",
    "a",
    "x" * 64,
]


class Model:
    def __init__(self, document):
        self.operations, self.shapes = document["operations"], document["shapes"]

    def name(self, reference):
        return reference if isinstance(reference, str) else reference["shape"]

    def shape(self, reference):
        return self.shapes[self.name(reference)]

    def parameter(self, name, reference):
        """The name of a member in an EC2 form."""
        traits = reference if isinstance(reference, dict) else {}
        if "queryName" in traits:
            return traits["queryName"]
        location = traits.get("locationName")
        return location[0].upper() + location[1:] if location else name

    def fits(self, shape, text):
        pattern = shape.get("pattern")
        if shape.get("min", 0) > len(text) or len(text) > shape.get("max", 1 << 30):
            return False
        return pattern is None or matches(pattern, text)

    def sample(self, reference, depth=0):
        """A value that the model admits; None if we know of none."""
        shape = self.shape(reference)
        kind = shape["type"]
        if kind == "structure":
            if depth > 6:
                return None
            needed = {name: self.sample(shape["members"][name], depth + 1) for name in shape.get("required", [])}
            return None if None in needed.values() else needed
        if kind == "list":
            item = self.sample(shape["member"], depth + 1)
            return None if item is None else [item] * max(1, shape.get("min", 1))
        if kind == "map":
            value = self.sample(shape["value"], depth + 1)
            return None if value is None else {"Operation": value}
        if kind == "string":
            if shape.get("enum"):
                return shape["enum"][0]
            return next((text for text in CANDIDATES if self.fits(shape, text)), None)
        if kind in ("integer", "long"):
            return max(shape.get("min", 1), 1)
        return {"boolean": True, "timestamp": 1_500_000_000, "blob": "e30="}.get(kind)


def matches(pattern, text):
    """Java's patterns in Python's words; one that cannot be said so admits everything."""
    for letter, characters in [("L", "A-Za-z"), ("N", "0-9"), ("Z", " ")]:
        pattern = pattern.replace(rf"\p{{{letter}}}", characters)
    try:
        return re.fullmatch(pattern, text, re.ASCII) is not None
    except re.error:
        return True
