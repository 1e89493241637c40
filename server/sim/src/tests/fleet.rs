//! Nodes of every kind: what the services say of them.

use super::*;

impl Wire {
    /// What DescribeInstanceInformation tells of a node, `Null` if nothing.
    fn information(&self, id: &str) -> Value {
        let request = json!({ "Filters": [{ "Key": "InstanceIds", "Values": [id] }] });
        self.ok("DescribeInstanceInformation", request)["InstanceInformationList"][0].clone()
    }

    /// The answer to an EC2 request with one filter.
    fn filtered(&self, operation: &str, name: &str, value: &str) -> String {
        let (status, xml) = self.ec2(&format!("Action={operation}&Filter.1.Name={name}&Filter.1.Value.1={value}"));
        assert_eq!(status, 200, "{xml}");
        xml
    }
}

/// The text of the first element of this name.
fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{name} in {xml}"));
    rest.split_once('<').unwrap().0
}

#[test]
fn every_platform_is_scanned_and_patched_in_its_own_format() {
    // Platforms: S 10.1.6, 10.1.9. KB ids and titles: S 8.1.3. Predefined baselines: S 4.2.
    let wire = Wire::new();
    let add = || wire.here().add_nodes(1);
    for (builder, name, version, step, kb_id) in [
        (add().amazon_linux_2023(), "Amazon Linux", "2023", "PatchLinux", ".x86_64"),
        (add().ubuntu(), "Ubuntu", "22.04", "PatchLinux", ".amd64"),
        (add().rhel(), "Red Hat Enterprise Linux", "8.6", "PatchLinux", "."),
        (add().windows_2022(), "Microsoft Windows Server 2022 Datacenter", "10.0.20348", "PatchWindows", "KB"),
    ] {
        let count = if step == "PatchWindows" { 1 } else { 3 };
        let ids = builder.missing_patches(count).create();
        let node = wire.information(&ids[0]);
        assert_eq!((&node["PlatformName"], &node["PlatformVersion"]), (&json!(name), &json!(version)));
        wire.run(&ids, json!({ "Operation": ["Scan"] }));
        wire.pass(60);
        assert_eq!(wire.state(&ids[0])["MissingCount"], count, "{name}");
        let missing = json!({ "InstanceId": ids[0], "Filters": [{ "Key": "State", "Values": ["Missing"] }] });
        for patch in wire.ok("DescribeInstancePatches", missing)["Patches"].as_array().unwrap() {
            let (kb, title) = (patch["KBId"].as_str().unwrap(), patch["Title"].as_str().unwrap());
            assert!(kb.contains(kb_id), "{patch}");
            assert!(step == "PatchWindows" || title.starts_with(&format!("{kb}:")), "{patch}");
            assert_eq!(patch["Classification"] == "", name == "Ubuntu", "{patch}");
        }
        let command = wire.run(&ids, json!({ "Operation": ["Install"] }));
        wire.pass(600);
        let invocation = wire.invocation(&command);
        assert_eq!(invocation["Status"], "Success");
        let ran = invocation["CommandPlugins"].as_array().unwrap().iter();
        let ran = ran.filter(|plugin| !plugin["Output"].as_str().unwrap().contains("skipped"));
        assert_eq!(ran.map(|plugin| plugin["Name"].as_str().unwrap()).collect::<Vec<_>>(), [step]);
        assert_eq!(wire.here().missing(&ids[0]), 0, "{name}");
    }
}

#[test]
fn a_system_that_patch_manager_does_not_know_fails() {
    // S 7.1.9: 146; S 10.2.4.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).unsupported_os().create();
    assert_eq!(wire.information(&ids[0])["PlatformName"], "Bottlerocket OS");
    let command = wire.run(&ids, json!({ "Operation": ["Scan"] }));
    wire.pass(60);
    let one = json!({ "CommandId": command, "InstanceId": ids[0], "PluginName": "PatchLinux" });
    let invocation = wire.ok("GetCommandInvocation", one);
    assert_eq!((&invocation["Status"], &invocation["ResponseCode"]), (&json!("Failed"), &json!(146)));
    assert_eq!(wire.state(&ids[0]), Value::Null);
}

#[test]
fn an_update_outside_the_security_repository_needs_enable_non_security() {
    // S 4.7.4 for apt; 4.4.4: the delay means nothing.
    let wire = Wire::new();
    let id = wire.here().add_nodes(1).ubuntu().missing_updates(&["tzdata.amd64"]).create().remove(0);
    for (enabled, missing) in [(false, 0), (true, 1)] {
        let rule = json!({
            "PatchFilterGroup": { "PatchFilters": [{ "Key": "PRIORITY", "Values": ["Optional"] }] },
            "ApproveAfterDays": 7, "EnableNonSecurity": enabled,
        });
        let rules = json!({ "PatchRules": [rule] });
        let request = json!({ "Name": "mine", "OperatingSystem": "UBUNTU", "ApprovalRules": rules });
        wire.ok("RegisterDefaultPatchBaseline", wire.ok("CreatePatchBaseline", request));
        assert_eq!(wire.here().missing(&id), missing, "{enabled}");
    }
}

#[test]
fn a_hybrid_node_is_systems_managers_alone() {
    // S 10.1.1, 10.1.7, 10.1.10, 11.1, 12.13.
    let wire = Wire::new();
    let id = wire.here().add_nodes(1).named("office").hybrid().missing_patches(2).create().remove(0);
    assert!(id.starts_with("mi-") && id.len() == 20, "{id}");
    let node = wire.information(&id);
    assert_eq!((&node["ResourceType"], &node["Name"]), (&json!("ManagedInstance"), &json!("office")));
    assert!(!wire.ec2("Action=DescribeInstances").1.contains(&id));
    assert!(wire.ec2(&format!("Action=DescribeInstances&InstanceId.1={id}")).1.contains("InvalidInstanceID.Malformed"));
    let tag = json!([{ "Key": "Patch Group", "Value": "web" }]);
    wire.ok("AddTagsToResource", json!({ "ResourceType": "ManagedInstance", "ResourceId": id, "Tags": tag }));
    assert!(!wire.ec2("Action=DescribeTags").1.contains(&id));
    wire.run(std::slice::from_ref(&id), json!({ "Operation": ["Scan"] }));
    wire.pass(60);
    let state = wire.state(&id);
    assert_eq!((&state["PatchGroup"], &state["MissingCount"]), (&json!("web"), &json!(2)));
    let ec2 = wire.here().add_nodes(1).create().remove(0);
    let wrong = json!({ "ResourceType": "ManagedInstance", "ResourceId": ec2, "Tags": tag });
    assert_eq!(wire.error("AddTagsToResource", wrong), "InvalidResourceId");
}

#[test]
fn without_a_profile_a_node_registers_under_default_host_management_only() {
    // S 10.2, line 4; 11.5.1.
    let wire = Wire::new();
    let setting = json!({ "SettingId": "/ssm/managed-instance/default-ec2-instance-management-role" });
    let get = || wire.ok("GetServiceSetting", setting.clone())["ServiceSetting"].clone();
    assert_eq!((&get()["SettingValue"], &get()["Status"]), (&json!("$None"), &json!("Default")));
    let bare = wire.here().add_nodes(1).without_profile().create().remove(0);
    let usual = wire.here().add_nodes(1).create().remove(0);
    assert_eq!(wire.information(&bare), Value::Null);
    let profiles = wire.ec2("Action=DescribeIamInstanceProfileAssociations").1;
    assert!(profiles.contains(&usual) && !profiles.contains(&bare), "{profiles}");
    assert!(!wire.filtered("DescribeInstances", "instance-id", &bare).contains("iamInstanceProfile"));
    wire.here().use_host_management("service-role/AWSSystemsManagerDefaultEC2InstanceManagementRole");
    let managed = wire.here().add_nodes(1).without_profile().create().remove(0);
    let role = "service-role/AWSSystemsManagerDefaultEC2InstanceManagementRole";
    assert_eq!((&wire.information(&managed)["IamRole"], &get()["SettingValue"]), (&json!(role), &json!(role)));
    let arn = json!({ "SettingId": format!("arn:aws:ssm:{REGION}:{ACCOUNT}:servicesetting/ssm/managed-instance/activation-tier") });
    assert_eq!(wire.ok("GetServiceSetting", arn)["ServiceSetting"]["SettingValue"], "standard");
    assert_eq!(wire.error("GetServiceSetting", json!({ "SettingId": "/ssm/weather" })), "ServiceSettingNotFound");
}

#[test]
fn the_way_of_a_node_to_aws_can_be_followed() {
    // S 10.2.5–7, 12.9–10.
    let wire = Wire::new();
    let add = || wire.here().add_nodes(1);
    let nodes = [add().create(), add().without_route().create(), add().behind_endpoints().create()];
    let [usual, dark, endpoints] = nodes.map(|ids| wire.filtered("DescribeInstances", "instance-id", &ids[0]));
    let table = |instance: &str| {
        let own = wire.filtered("DescribeRouteTables", "association.subnet-id", element(instance, "subnetId"));
        if own.contains("<routeTableId>") {
            return own;
        }
        let of_vpc = format!("&Filter.2.Name=vpc-id&Filter.2.Value.1={}", element(instance, "vpcId"));
        wire.ec2(&format!("Action=DescribeRouteTables&Filter.1.Name=association.main&Filter.1.Value.1=true{of_vpc}")).1
    };
    assert!(table(&usual).contains("<natGatewayId>nat-"));
    assert!(!table(&dark).contains("0.0.0.0/0") && !table(&endpoints).contains("0.0.0.0/0"));
    let found = |instance: &str| wire.filtered("DescribeVpcEndpoints", "vpc-id", element(instance, "vpcId"));
    assert!(!found(&dark).contains("<serviceName>"));
    for part in ["us-east-1.ssm<", "us-east-1.ssmmessages<", "us-east-1.s3<", "<privateDnsEnabled>true<", ">available<"]
    {
        assert!(found(&endpoints).contains(part), "{part}");
    }
    let subnet = wire.ec2(&format!("Action=DescribeSubnets&SubnetId.1={}", element(&dark, "subnetId"))).1;
    assert_eq!(element(&subnet, "vpcId"), element(&usual, "vpcId"));
    let closed = add().without_egress().create();
    let closed = wire.filtered("DescribeInstances", "instance-id", &closed[0]);
    let group = |xml: &str| wire.filtered("DescribeSecurityGroups", "group-id", element(xml, "groupId"));
    assert!(group(&usual).contains("<ipPermissionsEgress><item>"), "{}", group(&usual));
    assert!(!group(&closed).contains("<ipPermissionsEgress><item>"));
    let (status, xml) = wire.ec2("Action=DescribeSubnets&SubnetId.1=subnet-00000000000000000");
    assert!(status == 400 && xml.contains("<Code>InvalidSubnetID.NotFound</Code>"), "{xml}");
    let (_, xml) = wire.ec2("Action=DescribeSubnets&Filter.1.Name=weather&Filter.1.Value.1=rain");
    assert!(xml.contains("<Code>InvalidParameterValue</Code>"), "{xml}");
}

#[test]
fn a_node_can_have_a_past() {
    // S 8.1, 8.2.6, 8.2.8.
    let wire = Wire::new();
    let add = || wire.here().add_nodes(1);
    let now = wire.0.clock().now().as_second();
    let failed = wire.state(&add().last_run_failed().create()[0]);
    assert_eq!((&failed["Operation"], &failed["FailedCount"]), (&json!("Install"), &json!(1)));
    let waits = add().pending_reboot().create();
    let state = wire.state(&waits[0]);
    assert_eq!((&state["InstalledPendingRebootCount"], &state["MissingCount"]), (&json!(1), &json!(0)));
    assert_eq!(state["LastNoRebootInstallOperationTime"], state["OperationEndTime"]);
    let old = wire.state(&add().scanned_days_ago(40).create()[0]);
    assert_eq!((&old["OperationEndTime"], &old["Operation"]), (&json!(now - 40 * 86_400), &json!("Scan")));
    let outdated = add().agent_version("2.0.822.0").in_auto_scaling_group("web").create();
    let node = wire.information(&outdated[0]);
    assert_eq!((&node["AgentVersion"], &node["IsLatestVersion"]), (&json!("2.0.822.0"), &json!(false)));
    assert_eq!(wire.here().tags(&outdated[0])["aws:autoscaling:groupName"], "web");
    // What waits for a reboot gets it with the next installation (S 7.2.1).
    wire.run(&waits, json!({ "Operation": ["Install"] }));
    wire.pass(600);
    assert_eq!(wire.here().reboots(&waits[0]), 1);
    assert_eq!(wire.state(&waits[0])["InstalledPendingRebootCount"], 0);
}
