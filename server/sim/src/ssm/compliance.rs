//! Compliance: what the nodes' reports make of it, and what PutComplianceItems says (S 8.3).

use super::{Answer, Call, epoch, strings};
use crate::{
    account::{Place, PutItems},
    clock::later,
    command::RunParameters,
    error::AwsError,
    node::{Node, Report, ReportRow},
};
use patchplane_rules::{PatchState, is_non_compliant, level_rank};
use serde_json::{Value, json};

/// Types of items a node may have besides AWS's (S 8.3.8).
const MOST_TYPES: usize = 10;
const SEVERITIES: [&str; 6] = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNSPECIFIED"];

impl Call<'_> {
    /// Of one resource a call (S 8.3.1). That an unknown one has no items and is no error is unverified.
    pub(super) fn list_compliance_items(&self) -> Answer {
        let types = strings(&self.request["ResourceTypes"]);
        if types.iter().any(|kind| *kind != "ManagedInstance") {
            return Err(AwsError::bare("InvalidResourceType"));
        }
        let [id] = strings(&self.request["ResourceIds"])[..] else {
            return Err(AwsError::validation("Exactly one resource id must be specified."));
        };
        let filters = self.compliance_filters()?;
        let node = self.place.nodes.get(id).filter(|node| node.managed);
        let kinds = node.map(|node| self.compliance_of(node)).unwrap_or_default();
        let items = kinds.into_iter().flat_map(|kind| kind.items);
        let admitted = |item: &Value| filters.iter().all(|filter| filter.admits(item));
        let items = items.filter(admitted).map(|item| (format!("{}/{}", item["ComplianceType"], item["Id"]), item));
        self.page("ComplianceItems", items.collect(), 50)
    }

    /// A row for each node and type with a report (S 8.3.3).
    pub(super) fn list_resource_compliance_summaries(&self) -> Answer {
        let filters = self.compliance_filters()?;
        let rows = self.summaries().into_iter().filter(|summary| filters.iter().all(|filter| filter.admits(summary)));
        let rows = rows.map(|row| (format!("{}/{}", row["ResourceId"], row["ComplianceType"]), shown(row)));
        self.page("ResourceComplianceSummaryItems", rows.collect(), 50)
    }

    /// Counts nodes of each type, by their overall severity (S 8.3.4–5).
    pub(super) fn list_compliance_summaries(&self) -> Answer {
        let filters = self.compliance_filters()?;
        let mut summaries = self.summaries();
        summaries.retain(|summary| filters.iter().all(|filter| filter.admits(summary)));
        let mut kinds: Vec<&str> = summaries.iter().filter_map(|summary| summary["ComplianceType"].as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let severities = |kind: &str, status: &str| -> Vec<&str> {
            let of_status = summaries.iter().filter(|s| s["ComplianceType"] == kind && s["Status"] == status);
            of_status.filter_map(|summary| summary["OverallSeverity"].as_str()).collect()
        };
        let rows = kinds.into_iter().map(|kind| {
            let row = json!({
                "ComplianceType": kind,
                "CompliantSummary": tally("CompliantCount", &severities(kind, "COMPLIANT")),
                "NonCompliantSummary": tally("NonCompliantCount", &severities(kind, "NON_COMPLIANT")),
            });
            (kind.to_owned(), row)
        });
        self.page("ComplianceSummaryItems", rows.collect(), 50)
    }

    /// Replaces the items of a type, or with UploadType PARTIAL those of the same ids (S 8.3.8).
    pub(super) fn put_compliance_items(&mut self) -> Answer {
        if self.text("ResourceType") != "ManagedInstance" {
            return Err(AwsError::bare("InvalidResourceType"));
        }
        let id = self.text("ResourceId");
        if !self.place.nodes.get(id).is_some_and(|node| node.managed) {
            return Err(AwsError::bare("InvalidResourceId"));
        }
        let key = (id.to_owned(), self.text("ComplianceType").to_owned());
        let types = self.place.compliance.keys().filter(|(node, kind)| node == id && *kind != key.1).count();
        if types >= MOST_TYPES {
            let text = format!("A resource can have at most {MOST_TYPES} compliance types.");
            return Err(AwsError::new("ComplianceTypeCountLimitExceededException", text));
        }
        let mut items: Vec<Value> = self.request["Items"].as_array().cloned().unwrap_or_default();
        let put = self.place.compliance.entry(key).or_default();
        if self.request["UploadType"] == "PARTIAL" {
            let mut kept = std::mem::take(&mut put.items);
            kept.retain(|before| !items.iter().any(|item| item["Id"] == before["Id"]));
            kept.append(&mut items);
            items = kept;
        }
        *put = PutItems { execution: self.request["ExecutionSummary"].clone(), items };
        Ok(json!({}))
    }

    /// The items of a node, by type.
    fn compliance_of(&self, node: &Node) -> Vec<Kind> {
        let patch = self.shown_report(node).map(|report| Kind {
            name: "Patch".to_owned(),
            execution: execution(report),
            items: report.rows.iter().map(|row| item(node, report, row)).collect(),
            report: json!({ "PatchGroup": report.patch_group, "PatchBaselineId": report.baseline_id }),
        });
        let of_node = self.place.compliance.iter().filter(|((id, _), _)| *id == node.id);
        let put = of_node.map(|((_, name), put)| Kind {
            name: name.clone(),
            execution: put.execution.clone(),
            items: put.items.iter().map(|item| put_item(node, name, &put.execution, item)).collect(),
            report: json!({}),
        });
        patch.into_iter().chain(put).collect()
    }

    fn summaries(&self) -> Vec<Value> {
        let nodes = self.place.nodes.values().filter(|node| node.managed);
        nodes.flat_map(|node| self.compliance_of(node).into_iter().map(move |kind| kind.summary(node))).collect()
    }

    /// The report that compliance shows by now.
    fn shown_report<'n>(&self, node: &'n Node) -> Option<&'n Report> {
        let is_new = |report: &Report| later(report.ended, self.place.compliance_lag) > self.now;
        if node.report.as_ref().is_some_and(is_new) { node.before.as_ref() } else { node.report.as_ref() }
    }

    fn compliance_filters(&self) -> Result<Vec<Filter<'_>>, AwsError> {
        let filters = self.request["Filters"].as_array().map_or(&[][..], Vec::as_slice);
        filters.iter().map(Filter::read).collect()
    }
}

/// A ComplianceItem (S 8.3.2).
fn item(node: &Node, report: &Report, row: &ReportRow) -> Value {
    json!({
        "ComplianceType": "Patch",
        "ResourceType": "ManagedInstance",
        "ResourceId": node.id,
        "Id": row.kb_id,
        "Title": row.title,
        "Status": status(report, row),
        "Severity": row.compliance_level,
        "ExecutionSummary": execution(report),
        "Details": {
            "PatchState": row.state.as_str(),
            "PatchSeverity": row.severity,
            "Classification": row.classification,
            "PatchBaselineId": report.baseline_id,
            "PatchGroup": report.patch_group,
            "InstalledTime": row.installed.map_or(String::new(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            "DocumentName": "AWS-RunPatchBaseline",
            "DocumentVersion": "1",
        },
    })
}

/// Empty for an update that is not applicable (S 8.3.2).
fn status(report: &Report, row: &ReportRow) -> &'static str {
    match &row.state {
        PatchState::NotApplicable => "",
        PatchState::AvailableSecurityUpdate if report.security_updates_count => "NON_COMPLIANT",
        state if is_non_compliant(state) => "NON_COMPLIANT",
        _ => "COMPLIANT",
    }
}

fn execution(report: &Report) -> Value {
    let kind = if report.by_policy { "PatchPolicy" } else { "Command" };
    json!({ "ExecutionTime": epoch(report.ended), "ExecutionId": report.command_id, "ExecutionType": kind })
}

/// What is known of a node under one type.
struct Kind {
    name: String,
    execution: Value,
    items: Vec<Value>,
    /// What filters may ask for besides.
    report: Value,
}

impl Kind {
    /// A ResourceComplianceSummaryItem, with what filters may ask for besides.
    fn summary(self, node: &Node) -> Value {
        let of = |wanted: &str| -> Vec<&str> {
            let items = self.items.iter().filter(|item| item["Status"] == wanted);
            items.filter_map(|item| item["Severity"].as_str()).collect()
        };
        let (good, bad) = (of("COMPLIANT"), of("NON_COMPLIANT"));
        // The rule is unverified (S 8.3.5).
        let worst = bad.iter().copied().max_by_key(|level| level_rank(level)).unwrap_or("UNSPECIFIED");
        json!({
            "ComplianceType": self.name,
            "ResourceType": "ManagedInstance",
            "ResourceId": node.id,
            "Status": if bad.is_empty() { "COMPLIANT" } else { "NON_COMPLIANT" },
            "OverallSeverity": worst,
            "ExecutionSummary": self.execution,
            "CompliantSummary": tally("CompliantCount", &good),
            "NonCompliantSummary": tally("NonCompliantCount", &bad),
            "Details": {
                "InstanceId": node.id,
                "PatchGroup": self.report["PatchGroup"],
                "PatchBaselineId": self.report["PatchBaselineId"],
                "AWS:InstanceInformation.PlatformType": node.platform.platform_type(),
                "AWS:InstanceInformation.PlatformName": node.platform.platform_name(),
            },
        })
    }
}

/// A ComplianceItem that others put.
fn put_item(node: &Node, kind: &str, execution: &Value, item: &Value) -> Value {
    json!({
        "ComplianceType": kind,
        "ResourceType": "ManagedInstance",
        "ResourceId": node.id,
        "Id": item["Id"].as_str().unwrap_or_default(),
        "Title": item["Title"].as_str().unwrap_or_default(),
        "Status": item["Status"],
        "Severity": item["Severity"],
        "ExecutionSummary": execution,
        "Details": if item["Details"].is_object() { item["Details"].clone() } else { json!({}) },
    })
}

impl Place {
    /// What AWS-RunPatchBaselineAssociation leaves: an item for its association, and no details of patches (S 7.3.2).
    pub(crate) fn put_association_compliance(&mut self, node_id: &str, run: &RunParameters, report: &Report) {
        let id = run.text("AssociationId");
        let title = self.association(id).map_or("", |association| association.text("AssociationName")).to_owned();
        let missing = report.rows.iter().any(|row| is_non_compliant(&row.state));
        let item = json!({
            "Id": id,
            "Title": title,
            "Severity": "UNSPECIFIED",
            "Status": if missing { "NON_COMPLIANT" } else { "COMPLIANT" },
            "Details": {
                "DocumentName": run.document,
                "DocumentVersion": "1",
                "PatchBaselineId": report.baseline_id,
            },
        });
        let put = self.compliance.entry((node_id.to_owned(), "Association".to_owned())).or_default();
        put.items.retain(|before| before["Id"] != id);
        put.items.push(item);
        put.execution = execution(report);
    }
}

fn shown(mut summary: Value) -> Value {
    if let Some(members) = summary.as_object_mut() {
        members.remove("Details");
    }
    summary
}

fn tally(count: &str, severities: &[&str]) -> Value {
    let of = |wanted: &str| severities.iter().filter(|severity| **severity == wanted).count();
    let name = |severity: &str| {
        let (first, rest) = severity.split_at(1);
        format!("{first}{}Count", rest.to_lowercase())
    };
    let by_severity: serde_json::Map<_, _> = SEVERITIES.iter().map(|s| (name(s), of(s).into())).collect();
    json!({ count: severities.len(), "SeveritySummary": by_severity })
}

/// A ComplianceStringFilter (S 8.3.6).
struct Filter<'a> {
    key: &'a str,
    values: Vec<&'a str>,
    kind: &'a str,
}

impl<'a> Filter<'a> {
    fn read(filter: &'a Value) -> Result<Self, AwsError> {
        const KEYS: [&str; 21] = [
            "ComplianceType",
            "ResourceType",
            "ResourceId",
            "InstanceId",
            "Id",
            "Title",
            "Status",
            "Severity",
            "OverallSeverity",
            "ExecutionTime",
            "ExecutionId",
            "ExecutionType",
            "DocumentName",
            "DocumentVersion",
            "PatchState",
            "PatchSeverity",
            "Classification",
            "PatchBaselineId",
            "PatchGroup",
            "AWS:InstanceInformation.PlatformType",
            "AWS:InstanceInformation.PlatformName",
        ];
        let key = filter["Key"].as_str().unwrap_or_default();
        let values = strings(&filter["Values"]);
        if !KEYS.contains(&key) || values.is_empty() {
            return Err(AwsError::new("InvalidFilter", format!("The filter {key} is not valid.")));
        }
        Ok(Self { key, values, kind: filter["Type"].as_str().unwrap_or("EQUAL") })
    }

    fn admits(&self, item: &Value) -> bool {
        let found = [item, &item["ExecutionSummary"], &item["Details"]].into_iter().map(|part| &part[self.key]);
        let found = match found.into_iter().find(|value| !value.is_null()) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => return false,
        };
        let compared = |value: &str| match (found.parse::<f64>(), number(value)) {
            (Ok(found), Some(value)) => found.partial_cmp(&value),
            _ => Some(found.as_str().cmp(value)),
        };
        let any = |test: &dyn Fn(&str) -> bool| self.values.iter().any(|value| test(value));
        match self.kind {
            "NOT_EQUAL" => !any(&|value| value == found),
            "BEGIN_WITH" => any(&|value| found.starts_with(value)),
            "LESS_THAN" => any(&|value| compared(value).is_some_and(std::cmp::Ordering::is_lt)),
            "GREATER_THAN" => any(&|value| compared(value).is_some_and(std::cmp::Ordering::is_gt)),
            _ => any(&|value| value == found),
        }
    }
}

/// Epoch seconds, also of an ISO-8601 time.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().or_else(|| Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond() as f64 / 1000.0))
}
