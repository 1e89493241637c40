//! DescribeInstances (S 2.11–2.14, 12).

use super::{Answer, Call, admits, bad_filter, strings, tag_json};
use crate::{dice::Dice, error::AwsError, node::Node};
use jiff::Timestamp;
use serde_json::{Value, json};

impl Call<'_> {
    /// One unknown id fails the whole call; a filter `instance-id` does not (S 2.12).
    pub(super) fn describe_instances(&self) -> Answer {
        let ids = strings(&self.request["InstanceIds"]);
        if !ids.is_empty() && !self.request["MaxResults"].is_null() {
            let text = "The parameter instancesSet cannot be used with the parameter maxResults";
            return Err(AwsError::new("InvalidParameterCombination", text));
        }
        if let Some(id) =
            ids.iter().find(|id| !id.starts_with("i-") || id.parse::<patchplane_rules::InstanceId>().is_err())
        {
            return Err(AwsError::new("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\"")));
        }
        let unknown: Vec<_> = ids.iter().copied().filter(|id| !self.place.nodes.contains_key(*id)).collect();
        if !unknown.is_empty() {
            return Err(Self::not_found(&unknown));
        }
        let filters = self.filters();
        if let Some((name, _)) = filters.iter().find(|(name, _)| !known(name)) {
            return Err(bad_filter(name));
        }
        let wanted = |node: &&Node| {
            (ids.is_empty() || ids.contains(&node.id.as_str()))
                && filters.iter().all(|(name, values)| self.matches(node, name, values))
        };
        let rows = self.place.nodes.values().filter(|node| !node.hybrid).filter(wanted);
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

    fn instance(&self, node: &Node) -> Value {
        let region = &self.place.region;
        let network = |part: &str| self.place.network_id(part);
        let (group, group_name) = node.network.group();
        let (state, code) = if node.running { ("running", 16) } else { ("stopped", 80) };
        let windows = node.platform.is_windows();
        let reason = if node.running { "" } else { "User initiated" };
        json!({
            "InstanceId": node.id,
            "ImageId": node.platform.image(),
            "State": { "Code": code, "Name": state },
            "PrivateDnsName": node.dns_name(region),
            "PublicDnsName": "",
            "StateTransitionReason": reason,
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
            "RootDeviceName": "/dev/xvda",
            "BlockDeviceMappings": [],
            "VirtualizationType": "hvm",
            "Tags": node.tags.iter().map(|(key, value)| tag_json(key, value)).collect::<Vec<_>>(),
            "SecurityGroups": [{ "GroupName": group_name, "GroupId": network(group) }],
            "SourceDestCheck": true,
            "Hypervisor": "xen",
            "NetworkInterfaces": [],
            "IamInstanceProfile": node.profile.then(|| self.profile()),
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
        })
    }
}

impl Call<'_> {
    /// The profile of all instances that have one.
    pub(super) fn profile(&self) -> Value {
        let account = &self.place.account;
        json!({
            "Arn": format!("arn:aws:iam::{account}:instance-profile/AmazonSSMManagedInstanceCore"),
            "Id": format!("AIPA{}", Dice::new(self.place.seed, &["profile", account]).hex(16).to_uppercase()),
        })
    }
}

fn known(filter: &str) -> bool {
    const NAMES: [&str; 16] = [
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
    ];
    filter.starts_with("tag:") || NAMES.contains(&filter)
}

/// ISO-8601 with milliseconds (S 2.6).
fn date_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
