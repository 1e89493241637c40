//! DescribeInstances (S 2.11–2.14, 12).

use super::{Answer, Call, admits, bad_filter, date_time, strings, tag_json};
use crate::{dice::Dice, error::AwsError, node::Node, power::Power};
use serde_json::{Value, json};

impl Call<'_> {
    /// One unknown id fails the whole call; a filter `instance-id` does not (S 2.12).
    pub(super) fn describe_instances(&self) -> Answer {
        let ids = strings(&self.request["InstanceIds"]);
        if !ids.is_empty() && !self.request["MaxResults"].is_null() {
            let text = "The parameter instancesSet cannot be used with the parameter maxResults";
            return Err(AwsError::new("InvalidParameterCombination", text));
        }
        self.known_instances(&ids)?;
        let filters = self.filters();
        if let Some((name, _)) = filters.iter().find(|(name, _)| !known(name)) {
            return Err(bad_filter(name));
        }
        let wanted = |node: &&Node| {
            (ids.is_empty() || ids.contains(&node.id.as_str()))
                && filters.iter().all(|(name, values)| self.matches(node, name, values))
        };
        let rows = self.place.instances().filter(wanted);
        let rows = rows.map(|node| (node.id.clone(), json!([node.reservation, self.instance(node)]))).collect();
        let (page, token) = self.page(rows)?;
        let mut reservations: Vec<Value> = Vec::new();
        for row in page {
            let known = reservations.iter_mut().find(|reservation| reservation["ReservationId"] == row[0]);
            match known.and_then(|reservation| reservation["Instances"].as_array_mut()) {
                Some(instances) => instances.push(row[1].clone()),
                None => reservations.push(json!({
                    "ReservationId": row[0],
                    "OwnerId": self.place.account,
                    "Groups": [],
                    "Instances": [row[1]],
                })),
            }
        }
        Ok(json!({ "Reservations": reservations, "NextToken": token }))
    }

    fn matches(&self, node: &Node, name: &str, values: &[&str]) -> bool {
        if let Some(key) = name.strip_prefix("tag:") {
            return node.tags.get(key).is_some_and(|value| admits(values, value));
        }
        match name {
            "tag-key" => node.tags.keys().any(|key| admits(values, key)),
            "tag-value" => node.tags.values().any(|value| admits(values, value)),
            _ => {
                let instance = self.instance(node);
                let attribute = match name {
                    "instance-id" => &instance["InstanceId"],
                    "instance-state-name" => &instance["State"]["Name"],
                    "instance-state-code" => &instance["State"]["Code"],
                    "instance-type" => &instance["InstanceType"],
                    "image-id" => &instance["ImageId"],
                    "private-ip-address" => &instance["PrivateIpAddress"],
                    "private-dns-name" => &instance["PrivateDnsName"],
                    "subnet-id" => &instance["SubnetId"],
                    "vpc-id" => &instance["VpcId"],
                    "availability-zone" => &instance["Placement"]["AvailabilityZone"],
                    "platform" => &instance["Platform"],
                    "key-name" => &instance["KeyName"],
                    "client-token" => &instance["ClientToken"],
                    "instance.group-id" => &instance["SecurityGroups"][0]["GroupId"],
                    "metadata-options.instance-metadata-tags" => &instance["MetadataOptions"]["InstanceMetadataTags"],
                    "reservation-id" => return admits(values, &node.reservation),
                    "owner-id" => return admits(values, &self.place.account),
                    _ => &instance["IamInstanceProfile"]["Arn"],
                };
                match attribute {
                    Value::String(text) => admits(values, text),
                    Value::Null => false,
                    other => admits(values, &other.to_string()),
                }
            }
        }
    }

    pub(super) fn instance(&self, node: &Node) -> Value {
        let region = &self.place.region;
        let network = |part: &str| self.place.network_id(part);
        let (group, group_name) = node.network.group();
        let windows = node.platform.is_windows();
        let by_user = matches!(node.power, Power::ShuttingDown | Power::Terminated | Power::Stopping | Power::Stopped);
        let groups = json!([{ "GroupName": group_name, "GroupId": network(group) }]);
        let mut hex = Dice::new(self.place.seed, &["interface", &node.id]);
        let volumes = node.volumes.iter().map(|volume| {
            json!({
                "DeviceName": volume.device,
                "Ebs": {
                    "VolumeId": volume.id,
                    "Status": "attached",
                    "AttachTime": date_time(node.launched),
                    "DeleteOnTermination": volume.deleted_on_termination,
                },
            })
        });
        let gone = node.power == Power::Terminated;
        let interface = json!({
            "NetworkInterfaceId": format!("eni-0{}", hex.hex(16)),
            "Attachment": {
                "AttachmentId": format!("eni-attach-0{}", hex.hex(16)),
                "AttachTime": date_time(node.launched),
                "DeleteOnTermination": true,
                "DeviceIndex": 0,
                "Status": "attached",
                "NetworkCardIndex": 0,
            },
            "Description": "",
            "Groups": groups,
            "InterfaceType": "interface",
            "Ipv6Addresses": [],
            "MacAddress": format!("02:{}", [hex.hex(2), hex.hex(2), hex.hex(2), hex.hex(2), hex.hex(2)].join(":")),
            "OwnerId": self.place.account,
            "PrivateDnsName": node.dns_name(region),
            "PrivateIpAddress": node.private_ip,
            "PrivateIpAddresses": [{
                "Primary": true,
                "PrivateDnsName": node.dns_name(region),
                "PrivateIpAddress": node.private_ip,
            }],
            "SourceDestCheck": true,
            "Status": "in-use",
            "SubnetId": network(node.network.subnet()),
            "VpcId": network(node.network.vpc()),
        });
        let mut instance = json!({
            "InstanceId": node.id,
            "ImageId": node.platform.image(),
            "State": { "Code": node.power.code(), "Name": node.power.name() },
            "PrivateDnsName": node.dns_name(region),
            "PublicDnsName": "",
            "StateTransitionReason": if by_user { "User initiated" } else { "" },
            "AmiLaunchIndex": 0,
            "ProductCodes": [],
            "InstanceType": "t3.medium",
            "LaunchTime": date_time(node.launched),
            "Placement": { "AvailabilityZone": format!("{region}a"), "GroupName": "", "Tenancy": "default" },
            "Platform": windows.then_some("windows"),
            "PlatformDetails": if windows { "Windows" } else { "Linux/UNIX" },
            "Monitoring": { "State": "disabled" },
            "SubnetId": network(node.network.subnet()),
            "VpcId": network(node.network.vpc()),
            "PrivateIpAddress": node.private_ip,
            "Architecture": "x86_64",
            "RootDeviceType": "ebs",
            "RootDeviceName": crate::fleet::ROOT_DEVICE,
            "BlockDeviceMappings": if gone { json!([]) } else { volumes.collect() },
            "VirtualizationType": "hvm",
            "Tags": node.tags.iter().map(|(key, value)| tag_json(key, value)).collect::<Vec<_>>(),
            "SecurityGroups": groups,
            "SourceDestCheck": true,
            "Hypervisor": "xen",
            "NetworkInterfaces": if gone { json!([]) } else { json!([interface]) },
            "IamInstanceProfile": node.profile.then(|| self.profile(node)),
            "EbsOptimized": false,
            "EnaSupport": true,
            "MetadataOptions": {
                "State": "applied",
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": 2,
                "HttpEndpoint": "enabled",
                "HttpProtocolIpv6": "disabled",
                "InstanceMetadataTags": if node.metadata_tags { "enabled" } else { "disabled" },
            },
        });
        let always = json!({
            "ClientToken": "",
            "CpuOptions": { "CoreCount": 1, "ThreadsPerCore": 2 },
            "CapacityReservationSpecification": { "CapacityReservationPreference": "open" },
            "HibernationOptions": { "Configured": false },
            "EnclaveOptions": { "Enabled": false },
            "UsageOperation": if windows { "RunInstances:0002" } else { "RunInstances" },
            "UsageOperationUpdateTime": date_time(node.launched),
            "PrivateDnsNameOptions": {
                "HostnameType": "ip-name",
                "EnableResourceNameDnsARecord": false,
                "EnableResourceNameDnsAAAARecord": false,
            },
            "MaintenanceOptions": { "AutoRecovery": "default" },
        });
        if let (Value::Object(instance), Value::Object(always)) = (&mut instance, always) {
            instance.extend(always);
        }
        for (name, value) in node.launch.iter().filter(|(name, _)| *name != "ProfileName") {
            match (&mut instance[name], value) {
                (Value::Object(members), Value::Object(told)) => members.extend(told.clone()),
                (member, told) => *member = told.clone(),
            }
        }
        instance
    }

    /// The account's profile, unless the instance was launched with another.
    pub(super) fn profile(&self, node: &Node) -> Value {
        let account = &self.place.account;
        let name = node.launch.get("ProfileName").and_then(Value::as_str).unwrap_or("AmazonSSMManagedInstanceCore");
        json!({
            "Arn": format!("arn:aws:iam::{account}:instance-profile/{name}"),
            "Id": format!("AIPA{}", Dice::new(self.place.seed, &["profile", account]).hex(16).to_uppercase()),
        })
    }
}

fn known(filter: &str) -> bool {
    const NAMES: [&str; 20] = [
        "tag-key",
        "tag-value",
        "instance-id",
        "instance-state-name",
        "instance-state-code",
        "instance-type",
        "image-id",
        "private-ip-address",
        "private-dns-name",
        "subnet-id",
        "vpc-id",
        "availability-zone",
        "platform",
        "reservation-id",
        "owner-id",
        "iam-instance-profile.arn",
        "key-name",
        "client-token",
        "instance.group-id",
        "metadata-options.instance-metadata-tags",
    ];
    filter.starts_with("tag:") || NAMES.contains(&filter)
}
