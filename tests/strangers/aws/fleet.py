"""What the tests of this folder have in common: a fleet that is launched and tagged over EC2, and commands that are waited for."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[3]
REGION = "us-east-1"
IMAGES = {"linux": "ami-0123456789abcdef0", "windows": "ami-0d45e67f89a01b2c3"}


def launch(sim, count=2, group=None, image=IMAGES["linux"], tags=None, **options):
    """Launches instances and answers with their ids, once Systems Manager manages them."""
    ec2 = sim.client("ec2")
    all_tags = {**({"Patch Group": group} if group else {}), **(tags or {})}
    specification = [{"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in all_tags.items()]}]
    if all_tags:
        options["TagSpecifications"] = specification
    answer = ec2.run_instances(ImageId=image, MinCount=count, MaxCount=count, InstanceType="t3.micro", **options)
    sim.advance(30)
    return [instance["InstanceId"] for instance in answer["Instances"]]


def run(sim, ids, operation="Scan", document="AWS-RunPatchBaseline", **parameters):
    """Sends a patch command, lets it end, and answers with its id."""
    parameters = {name: [value] for name, value in {"Operation": operation, **parameters}.items()}
    command = sim.client("ssm").send_command(InstanceIds=ids, DocumentName=document, Parameters=parameters)
    sim.advance(1800)
    return command["Command"]["CommandId"]

