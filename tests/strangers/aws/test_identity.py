"""Who one is, and that the whole thing answers at all."""


def test_the_access_key_names_the_account(sim):
    for key, account in [("stranger", "123456789012"), ("AKIA0000111122223333", "111122223333")]:
        identity = sim.client("sts", access_key=key).get_caller_identity()
        assert identity["Account"] == account


def test_an_empty_account_has_no_instances_and_a_baseline_for_each_system(sim):
    ssm = sim.client("ssm")
    assert ssm.describe_instance_information()["InstanceInformationList"] == []
    pages = ssm.get_paginator("describe_patch_baselines").paginate(PaginationConfig={"PageSize": 5})
    defaults = [b["OperatingSystem"] for page in pages for b in page["BaselineIdentities"] if b["DefaultBaseline"]]
    assert len(defaults) == len(set(defaults)) == 15
