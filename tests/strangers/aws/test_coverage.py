"""docs/simulation-coverage.md says of each operation what these tests hold it to; this one keeps it true.

COVERAGE=write pytest tests/strangers/aws/test_coverage.py writes the table anew.
"""

import os

import boto3
from botocore import xform_name
from fleet import REGION, ROOT
from test_examples import NOT_REPLAYED, examples
from test_refusals import flat, model, wrong_members, wrong_parameters

PAGE = ROOT / "docs" / "simulation-coverage.md"
BEGIN, END = "<!-- the table: written by tests/strangers/aws/test_coverage.py -->\n", "<!-- the end of the table -->\n"
SERVICES = {"ssm": "Systems Manager", "ec2": "EC2", "sts": "STS"}


def bad_requests(service, described):
    """How many requests the tests make that are wrong in one way each."""
    of = described["input"]
    models = model(service)
    if service == "ssm":
        return sum(1 for _ in wrong_members(models, models.shape(of), "", models.sample(of)))
    if service == "ec2":
        sample = flat(models, of, models.sample(of))
        return 1 + len(models.shape(of).get("required", [])) + sum(1 for _ in wrong_parameters(models, of, "", sample))
    return 14 if "RoleArn" in models.shape(of).get("members", {}) else 0


def table():
    replayed = list(examples())
    bad, paginators, served = 0, 0, 0
    yield "| operation | bad requests refused | paged to the end | examples replayed |"
    yield "| --- | --- | --- | --- |"
    for service, title in SERVICES.items():
        client = boto3.client(service, region_name=REGION, aws_access_key_id="any", aws_secret_access_key="any")
        yield f"| **{title}** | | | |"
        for operation, described in sorted(model(service).operations.items()):
            own = [name for name in replayed if name.split("/")[0] == operation]
            good = [name for name in own if name not in NOT_REPLAYED]
            paged = "yes" if client.can_paginate(xform_name(operation)) else ""
            shown = f"{len(good)} of {len(own)}" if own else ""
            refused = bad_requests(service, described)
            bad, paginators, served = bad + refused, paginators + bool(paged), served + 1
            yield f"| {operation} | {refused or ''} | {paged} | {shown} |"
    good = len(replayed) - len(NOT_REPLAYED)
    yield f"| **all {served}** | {bad} | {paginators} | {good} of {len(replayed)} |"


def test_the_page_on_coverage_is_true():
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    new = before + BEGIN + "\n".join(table()) + "\n" + END + after
    if os.environ.get("COVERAGE") == "write":
        PAGE.write_text(new)
    assert PAGE.read_text() == new, "COVERAGE=write writes the table anew"
