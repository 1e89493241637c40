//! The nodes that are registered (S 10.1).

use super::{Answer, Call, epoch, strings};
use crate::{
    dice::Dice,
    error::AwsError,
    node::{LATEST_AGENT, Node},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Three missing reports.
const LOST_AFTER: SignedDuration = SignedDuration::from_mins(15);

impl Call<'_> {
    /// Stopped nodes and those that never registered are absent (S 10.1.1–2). An unknown but well-formed id in a
    /// filter matches nothing (S 10.1.4).
    pub(super) fn describe_instance_information(&self) -> Answer {
        let mut filters = self.filters();
        let legacy = self.request["InstanceInformationFilterList"].as_array().map_or(&[][..], Vec::as_slice);
        if !filters.is_empty() && !legacy.is_empty() {
            let text = "Filters and InstanceInformationFilterList cannot be used together";
            return Err(AwsError::validation(text));
        }
        filters.extend(legacy.iter().map(|f| (f["key"].as_str().unwrap_or_default(), strings(&f["valueSet"]))));
        if filters.len() > 1 && filters.iter().any(|(key, _)| key.starts_with("tag")) {
            return Err(AwsError::bare("InvalidFilterKey"));
        }
        for (key, values) in &filters {
            check(key, values)?;
        }
        let admitted = |node: &&Node| {
            node.managed && node.running() && filters.iter().all(|(key, values)| matches(node, key, values, self.now))
        };
        let rows = self.place.nodes.values().filter(admitted);
        let rows = rows.map(|node| (node.id.clone(), information(node, &self.place.region, self.now))).collect();
        self.page("InstanceInformationList", rows, 10)
    }

    /// Stopped nodes, too, with what EC2 says of them (S 10.1.11).
    pub(super) fn describe_instance_properties(&self) -> Answer {
        let filters = self.request["FiltersWithOperator"].as_array().map_or(&[][..], Vec::as_slice);
        let legacy = self.request["InstancePropertyFilterList"].as_array().map_or(&[][..], Vec::as_slice);
        if !filters.is_empty() && !legacy.is_empty() {
            let text = "FiltersWithOperator and InstancePropertyFilterList cannot be used together";
            return Err(AwsError::validation(text));
        }
        let with_operator =
            filters.iter().map(|f| (&f["Key"], &f["Values"], f["Operator"].as_str().unwrap_or("Equal")));
        let filters = with_operator.chain(legacy.iter().map(|f| (&f["key"], &f["valueSet"], "Equal")));
        let mut read = Vec::new();
        for (key, values, operator) in filters {
            let (key, values) = (key.as_str().unwrap_or_default(), strings(values));
            if key != "DocumentName" {
                check(key, &values).map_err(|error| match error.code.as_str() {
                    "InvalidInstanceInformationFilterValue" => {
                        AwsError::new("InvalidInstancePropertyFilterValue", error.message)
                    }
                    _ => error,
                })?;
            }
            read.push((key, values, operator));
        }
        let admitted = |node: &&Node| {
            node.managed
                && read.iter().all(|(key, values, operator)| match *operator {
                    "NotEqual" => !matches(node, key, values, self.now),
                    "BeginWith" => values.iter().any(|value| node.id.starts_with(value)),
                    _ => matches(node, key, values, self.now),
                })
        };
        let rows = self.place.nodes.values().filter(admitted).map(|node| {
            let mut row = information(node, &self.place.region, self.now);
            if !node.hybrid {
                row["InstanceState"] = node.power.name().into();
                row["InstanceType"] = node.launch.get("InstanceType").cloned().unwrap_or_else(|| "t3.medium".into());
                row["Architecture"] = "x86_64".into();
                row["LaunchTime"] = epoch(node.launched);
                row["AvailabilityZone"] = format!("{}a", self.place.region).into();
            }
            if let Some(name) = node.tags.get("Name") {
                row["Name"] = name.clone().into();
            }
            (node.id.clone(), row)
        });
        self.page("InstanceProperties", rows.collect(), 50)
    }

    /// For hybrid nodes only, by their ids' form (S 10.1.12).
    pub(super) fn deregister_managed_instance(&mut self) -> Answer {
        let id = self.text("InstanceId");
        match self.place.nodes.remove(id) {
            Some(_) => Ok(json!({})),
            None => Err(AwsError::new("InvalidInstanceId", "")),
        }
    }

    /// About Session Manager (S 10.1.13).
    pub(super) fn get_connection_status(&self) -> Answer {
        let id = self.text("Target");
        let connected = self.place.nodes.get(id).is_some_and(Node::reachable);
        Ok(json!({ "Target": id, "Status": if connected { "connected" } else { "notconnected" } }))
    }

    /// Meant for the node itself; here anybody may ask (S 4.8.6). The address leads nowhere.
    pub(super) fn get_deployable_patch_snapshot_for_instance(&self) -> Answer {
        let (id, snapshot) = (self.text("InstanceId"), self.text("SnapshotId"));
        let node = self.place.nodes.get(id).filter(|node| node.managed);
        let unknown = || AwsError::validation(format!("{id} is no managed node of this account"));
        let node = node.ok_or_else(unknown)?;
        if !node.platform.is_supported() {
            return Err(AwsError::new("UnsupportedOperatingSystem", "The operating system is not supported."));
        }
        let (region, system) = (&self.place.region, node.platform.system());
        let signed = self.now.strftime("%Y%m%dT%H%M%SZ");
        let signature = Dice::new(self.place.seed, &["snapshot", id, snapshot]).hex(64);
        let url = format!(
            "https://patch-baseline-snapshot-{region}.s3.amazonaws.com/{}/{system}-{snapshot}?X-Amz-Algorithm=\
             AWS4-HMAC-SHA256&X-Amz-Date={signed}&X-Amz-SignedHeaders=host&X-Amz-Expires=86400&X-Amz-Signature={signature}",
            self.place.account
        );
        Ok(json!({
            "InstanceId": id,
            "SnapshotId": snapshot,
            "Product": node.platform.product(),
            "SnapshotDownloadUrl": url,
        }))
    }
}

fn check(key: &str, values: &[&str]) -> Result<(), AwsError> {
    let bad_value = |allowed: &[&str]| {
        let bad = values.iter().find(|value| !allowed.contains(value))?;
        Some(AwsError::new("InvalidInstanceInformationFilterValue", format!("{bad} is not valid for {key}")))
    };
    let bad = match key {
        "PingStatus" => bad_value(&["Online", "ConnectionLost", "Inactive"]),
        "PlatformTypes" => bad_value(&["Windows", "Linux", "MacOS"]),
        "InstanceIds" => {
            let malformed = values.iter().any(|id| id.parse::<patchplane_rules::InstanceId>().is_err());
            malformed.then(|| AwsError::new("InvalidInstanceId", ""))
        }
        "ActivationIds" | "AgentVersion" | "AssociationStatus" | "IamRole" | "ResourceType" | "SourceIds"
        | "SourceTypes" | "tag-key" => None,
        _ if key.starts_with("tag:") => None,
        _ => Some(AwsError::bare("InvalidFilterKey")),
    };
    bad.map_or(Ok(()), Err)
}

fn matches(node: &Node, key: &str, values: &[&str], now: Timestamp) -> bool {
    let is = |text: &str| values.contains(&text);
    match key {
        "InstanceIds" => is(&node.id),
        "PingStatus" => is(ping_status(node, now)),
        "PlatformTypes" => is(node.platform.platform_type()),
        "AgentVersion" => is(&node.agent.version),
        "ResourceType" => is(resource_type(node)),
        "SourceIds" => is(&node.id),
        "SourceTypes" => is(source_type(node)),
        "IamRole" => node.role.as_deref().is_some_and(is),
        "tag-key" => node.tags.keys().any(|tag| is(tag)),
        _ => key.strip_prefix("tag:").and_then(|tag| node.tags.get(tag)).is_some_and(|value| is(value)),
    }
}

fn resource_type(node: &Node) -> &'static str {
    if node.hybrid { "ManagedInstance" } else { "EC2Instance" }
}

fn source_type(node: &Node) -> &'static str {
    if node.hybrid { "AWS::SSM::ManagedInstance" } else { "AWS::EC2::Instance" }
}

/// A reboot is too short for the ping status to change (S 14.14); after how many missing reports it does is unverified
/// (S 10.1.8).
fn ping_status(node: &Node, now: Timestamp) -> &'static str {
    let silent = node.agent.silent_since.is_some_and(|since| now.duration_since(since) >= LOST_AFTER);
    if silent { "ConnectionLost" } else { "Online" }
}

fn information(node: &Node, region: &str, now: Timestamp) -> Value {
    let mut json = json!({
        "InstanceId": node.id,
        "PingStatus": ping_status(node, now),
        "LastPingDateTime": epoch(node.last_ping(now)),
        "AgentVersion": node.agent.version,
        "IsLatestVersion": node.agent.version == LATEST_AGENT,
        "PlatformType": node.platform.platform_type(),
        "PlatformName": node.platform.platform_name(),
        "PlatformVersion": node.platform.platform_version(),
        "ResourceType": resource_type(node),
        "IPAddress": node.private_ip,
        "ComputerName": node.computer_name(region),
        "SourceId": node.id,
        "SourceType": source_type(node),
    });
    // S 10.1.7.
    if let Some(role) = &node.role {
        json["IamRole"] = role.clone().into();
    }
    if node.hybrid {
        json["Name"] = node.name.clone().into();
        json["ActivationId"] = Dice::new(0, &["activation", &node.id]).uuid().into();
        json["RegistrationDate"] = epoch(node.launched);
    }
    json
}
