"""The policies of docs/iam, judged by cfn-lint, which knows every action of AWS's and the resources it takes."""

import json
import pathlib
import subprocess
import sys

import yaml
from fleet import ROOT

IAM = ROOT / "docs" / "iam"
TEMPLATE = IAM / "patchplane-role.yaml"


def lint(template, *checks):
    program = pathlib.Path(sys.executable).with_name("cfn-lint")
    command = [program, "--include-checks", "W", *checks, "--", template]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, f"{template.name}: {ended.stdout}{ended.stderr}"


def allowed(document):
    return {action for statement in document["Statement"] for action in statement["Action"]}


def policies():
    files = [file for file in sorted(IAM.glob("*.json")) if not file.name.startswith("trust-")]
    return {file.name: json.loads(file.read_text()) for file in files}


def test_the_template_is_right():
    lint(TEMPLATE)


def test_the_template_allows_what_the_documents_allow():
    resources = yaml.safe_load(TEMPLATE.read_text())["Resources"].values()
    stack = [each["Properties"] for each in resources if each["Type"] == "AWS::IAM::ManagedPolicy"]
    in_stack = set().union(*(allowed(each["PolicyDocument"]) for each in stack))
    documents = {name: allowed(document) for name, document in policies().items() if name != "assume-role.json"}
    assert in_stack == set().union(*documents.values())
    assert len(stack) == len(documents)


def test_every_policy_as_such_is_right(tmp_path):
    """As a template of its own: actions that do not exist, and resources that an action does not take, are told."""
    for name, document in policies().items():
        template = tmp_path / f"{name}.yaml"
        policy = {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": document}}
        template.write_text(yaml.safe_dump({"Resources": {"Policy": policy}}))
        lint(template, "I3510")
        assert len("".join(json.dumps(document, separators=(",", ":")).split())) <= 6144
