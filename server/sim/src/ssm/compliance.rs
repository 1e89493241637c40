//! Compliance as the nodes' reports make it (S 8.3). Only type Patch has items here.

use super::{Answer, Call, epoch, strings};
use crate::{
    clock::later,
    error::AwsError,
    node::{Node, Report, ReportRow},
};
use patchplane_rules::{PatchState, is_non_compliant, level_rank};
use serde_json::{Value, json};

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
        let rows = node.and_then(|node| self.shown_report(node).map(|report| (node, report)));
        let items = rows
            .into_iter()
            .flat_map(|(node, report)| report.rows.iter().map(move |row| (row.kb_id.clone(), item(node, report, row))));
        let admitted = |item: &Value| filters.iter().all(|filter| filter.admits(item));
        self.page("ComplianceItems", items.filter(|(_, item)| admitted(item)).collect(), 50)
    }

    /// A row for each node with a report (S 8.3.3).
    pub(super) fn list_resource_compliance_summaries(&self) -> Answer {
        let filters = self.compliance_filters()?;
        let rows = self.place.nodes.values().filter(|node| node.managed);
        let rows = rows.filter_map(|node| {
            let summary = summary(node, self.shown_report(node)?);
            filters.iter().all(|filter| filter.admits(&summary)).then_some((node.id.clone(), shown(summary)))
        });
        self.page("ResourceComplianceSummaryItems", rows.collect(), 50)
    }

    /// Counts nodes, by their overall severity (S 8.3.4–5).
    pub(super) fn list_compliance_summaries(&self) -> Answer {
        let filters = self.compliance_filters()?;
        let nodes = self.place.nodes.values().filter(|node| node.managed);
        let summaries: Vec<Value> = nodes
            .filter_map(|node| Some(summary(node, self.shown_report(node)?)))
            .filter(|summary| filters.iter().all(|filter| filter.admits(summary)))
            .collect();
        let severities = |status: &str| -> Vec<&str> {
            let of_status = summaries.iter().filter(|summary| summary["Status"] == status);
            of_status.filter_map(|summary| summary["OverallSeverity"].as_str()).collect()
        };
        let row = json!({
            "ComplianceType": "Patch",
            "CompliantSummary": tally("CompliantCount", &severities("COMPLIANT")),
            "NonCompliantSummary": tally("NonCompliantCount", &severities("NON_COMPLIANT")),
        });
        let rows = if summaries.is_empty() { Vec::new() } else { vec![("Patch".to_owned(), row)] };
        self.page("ComplianceSummaryItems", rows, 50)
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

/// A ResourceComplianceSummaryItem, with what filters may ask for besides.
fn summary(node: &Node, report: &Report) -> Value {
    let of = |wanted: &str| -> Vec<&str> {
        let rows = report.rows.iter().filter(|row| status(report, row) == wanted);
        rows.map(|row| row.compliance_level.as_str()).collect()
    };
    let (good, bad) = (of("COMPLIANT"), of("NON_COMPLIANT"));
    // The rule is unverified (S 8.3.5).
    let worst = bad.iter().copied().max_by_key(|level| level_rank(level)).unwrap_or("UNSPECIFIED");
    json!({
        "ComplianceType": "Patch",
        "ResourceType": "ManagedInstance",
        "ResourceId": node.id,
        "Status": if bad.is_empty() { "COMPLIANT" } else { "NON_COMPLIANT" },
        "OverallSeverity": worst,
        "ExecutionSummary": execution(report),
        "CompliantSummary": tally("CompliantCount", &good),
        "NonCompliantSummary": tally("NonCompliantCount", &bad),
        "Details": {
            "InstanceId": node.id,
            "PatchGroup": report.patch_group,
            "PatchBaselineId": report.baseline_id,
            "AWS:InstanceInformation.PlatformType": node.platform.platform_type(),
            "AWS:InstanceInformation.PlatformName": node.platform.platform_name(),
        },
    })
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
