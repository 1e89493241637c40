//! Inventory that the nodes' agents collect: the instance, its packages, its patch state (S 11.5.3).

use super::{Answer, Call, strings};
use crate::{error::AwsError, node::Node};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const TYPES: [&str; 3] = ["AWS:Application", "AWS:InstanceInformation", "AWS:PatchSummary"];

impl Call<'_> {
    pub(super) fn list_inventory_entries(&self) -> Answer {
        let (id, kind) = (self.text("InstanceId"), self.text("TypeName"));
        let node = self.place.nodes.get(id).filter(|node| node.managed);
        let node = node.ok_or_else(|| AwsError::new("InvalidInstanceId", ""))?;
        if kind.starts_with("AWS:") && !TYPES.contains(&kind) {
            return Err(AwsError::new("InvalidTypeNameException", format!("The type {kind} is not valid.")));
        }
        let filters = self.inventory_filters(&self.request["Filters"])?;
        let admitted = |entry: &Value| filters.iter().all(|filter| filter.admits_entry(kind, entry));
        let entries = self.entries(node, kind).into_iter().filter(admitted);
        let rows = entries.enumerate().map(|(index, entry)| (index.to_string(), entry)).collect();
        let mut answer = self.page("Entries", rows, 50)?;
        for (name, value) in [("TypeName", kind), ("InstanceId", id), ("SchemaVersion", "1.0")] {
            answer[name] = value.into();
        }
        answer["CaptureTime"] = captured(node, self.now).into();
        Ok(answer)
    }

    /// Of each node what ResultAttributes names, else its instance information; or counts, with aggregators.
    pub(super) fn get_inventory(&self) -> Answer {
        let filters = self.inventory_filters(&self.request["Filters"])?;
        let wanted = self.request["ResultAttributes"][0]["TypeName"].as_str().unwrap_or("AWS:InstanceInformation");
        if wanted.starts_with("AWS:") && !TYPES.contains(&wanted) {
            return Err(AwsError::new("InvalidTypeNameException", format!("The type {wanted} is not valid.")));
        }
        let nodes = self.place.nodes.values().filter(|node| node.managed);
        let nodes: Vec<&Node> = nodes.filter(|node| filters.iter().all(|filter| filter.admits(self, node))).collect();
        let aggregators = self.request["Aggregators"].as_array().map_or(&[][..], Vec::as_slice);
        if !aggregators.is_empty() {
            return self.aggregated(aggregators, &nodes);
        }
        let rows = nodes.into_iter().map(|node| {
            let data = json!({ wanted: {
                "TypeName": wanted,
                "SchemaVersion": "1.0",
                "CaptureTime": captured(node, self.now),
                "Content": self.entries(node, wanted),
            } });
            (node.id.clone(), json!({ "Id": node.id, "Data": data }))
        });
        self.page("Entities", rows.collect(), 50)
    }

    /// An entity whose data hold a count for each value, or how many nodes match a group.
    fn aggregated(&self, aggregators: &[Value], nodes: &[&Node]) -> Answer {
        let mut data = Map::new();
        for aggregator in aggregators {
            for group in aggregator["Groups"].as_array().into_iter().flatten() {
                let filters = self.inventory_filters(&group["Filters"])?;
                let matching =
                    nodes.iter().filter(|node| filters.iter().all(|filter| filter.admits(self, node))).count();
                let content = json!([
                    { "matchingCount": matching.to_string() },
                    { "notMatchingCount": (nodes.len() - matching).to_string() },
                ]);
                let name = group["Name"].as_str().unwrap_or_default().to_owned();
                data.insert(name, json!({ "Content": content }));
            }
            let Some(expression) = aggregator["Expression"].as_str() else { continue };
            let (kind, _) = attribute(expression)?;
            let mut expressions = vec![expression];
            let nested = aggregator["Aggregators"].as_array().into_iter().flatten();
            expressions.extend(nested.filter_map(|nested| nested["Expression"].as_str()));
            let mut counts: BTreeMap<Vec<(String, String)>, usize> = BTreeMap::new();
            for entry in nodes.iter().flat_map(|node| self.entries(node, kind)) {
                let mut values = Vec::new();
                for expression in &expressions {
                    let (_, name) = attribute(expression)?;
                    values.push((name.to_owned(), entry[name].as_str().unwrap_or_default().to_owned()));
                }
                *counts.entry(values).or_default() += 1;
            }
            let content = counts.into_iter().map(|(values, count)| {
                let mut row: Map<_, _> = values.into_iter().map(|(name, value)| (name, value.into())).collect();
                row.insert("Count".to_owned(), count.to_string().into());
                Value::from(row)
            });
            data.insert(kind.to_owned(), json!({ "Content": content.collect::<Vec<_>>() }));
        }
        Ok(json!({ "Entities": [{ "Data": data }] }))
    }

    fn entries(&self, node: &Node, kind: &str) -> Vec<Value> {
        match kind {
            "AWS:InstanceInformation" => vec![json!({
                "AgentType": "amazon-ssm-agent",
                "AgentVersion": node.agent.version,
                "ComputerName": node.computer_name(&self.place.region),
                "InstanceId": node.id,
                "IpAddress": node.private_ip,
                "PlatformName": node.platform.platform_name(),
                "PlatformType": node.platform.platform_type(),
                "PlatformVersion": node.platform.platform_version(),
                "ResourceType": if node.hybrid { "ManagedInstance" } else { "EC2Instance" },
            })],
            "AWS:Application" if !node.platform.is_windows() => {
                let row = |(kb_id, package): (&String, &crate::node::Package)| {
                    let (name, arch) = kb_id.rsplit_once('.').unwrap_or((kb_id, ""));
                    json!({
                        "Name": name, "Architecture": arch, "Version": package.version, "Release": package.release,
                        "Epoch": package.epoch, "ApplicationType": "", "Publisher": "", "PackageId": kb_id,
                        "InstalledTime": package.installed.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                    })
                };
                node.packages.iter().map(row).collect()
            }
            "AWS:PatchSummary" => node
                .report
                .iter()
                .map(|report| {
                    let counts = &report.counts;
                    json!({
                        "PatchGroup": report.patch_group,
                        "BaselineId": report.baseline_id,
                        "SnapshotId": report.snapshot_id,
                        "OwnerInformation": report.owner_information,
                        "InstalledCount": counts.installed.to_string(),
                        "InstalledOtherCount": counts.installed_other.to_string(),
                        "MissingCount": counts.missing.to_string(),
                        "FailedCount": counts.failed.to_string(),
                        "OperationType": report.operation,
                        "OperationStartTime": report.started.to_string(),
                        "OperationEndTime": report.ended.to_string(),
                    })
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn inventory_filters<'v>(&self, filters: &'v Value) -> Result<Vec<Filter<'v>>, AwsError> {
        let read = |filter: &'v Value| {
            let key = filter["Key"].as_str().unwrap_or_default();
            let values = strings(&filter["Values"]);
            if values.is_empty() || (key != "TypeName" && attribute(key).is_err()) {
                return Err(AwsError::new("InvalidFilter", format!("The filter {key} is not valid.")));
            }
            Ok(Filter { key, values, kind: filter["Type"].as_str().unwrap_or("Equal") })
        };
        filters.as_array().map_or(&[][..], Vec::as_slice).iter().map(read).collect()
    }
}

/// An InventoryFilter: an attribute as `AWS:Application.Name`, or `TypeName`.
struct Filter<'v> {
    key: &'v str,
    values: Vec<&'v str>,
    kind: &'v str,
}

impl Filter<'_> {
    fn admits(&self, call: &Call<'_>, node: &Node) -> bool {
        if self.key == "TypeName" {
            let any = self.values.iter().any(|kind| !call.entries(node, kind).is_empty());
            return any == (self.kind != "NotEqual");
        }
        let Ok((kind, _)) = attribute(self.key) else { return false };
        call.entries(node, kind).iter().any(|entry| self.admits_entry(kind, entry))
    }

    fn admits_entry(&self, kind: &str, entry: &Value) -> bool {
        let Ok((of, name)) = attribute(self.key) else { return true };
        let Some(found) = entry[name].as_str().filter(|_| of == kind) else { return false };
        let any = |test: &dyn Fn(&str) -> bool| self.values.iter().any(|value| test(value));
        match self.kind {
            "NotEqual" => !any(&|value| value == found),
            "BeginWith" => any(&|value| found.starts_with(value)),
            "LessThan" => any(&|value| found < value),
            "GreaterThan" => any(&|value| found > value),
            "Exists" => true,
            _ => any(&|value| value == found),
        }
    }
}

/// The type and the name of `AWS:InstanceInformation.PlatformType`.
fn attribute(expression: &str) -> Result<(&str, &str), AwsError> {
    let known = |kind: &str| TYPES.contains(&kind) || kind.starts_with("Custom:");
    let parts = expression.split_once('.').filter(|(kind, name)| known(kind) && !name.is_empty());
    let text = || format!("The expression {expression} is not valid.");
    parts.ok_or_else(|| AwsError::new("InvalidAggregatorException", text()))
}

/// The agent collects when it pings.
fn captured(node: &Node, now: Timestamp) -> String {
    node.last_ping(now).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
