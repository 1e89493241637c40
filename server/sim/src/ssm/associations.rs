//! Reading State Manager associations and their executions (S 11.2).

use super::{Answer, Call, epoch};
use crate::{
    association::{Association, AssociationRun},
    clock::later,
    command::{Command, Invocation},
    documents,
    error::AwsError,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Call<'_> {
    pub(super) fn describe_association(&self) -> Answer {
        let association = self.association()?;
        Ok(json!({ "AssociationDescription": self.described(association) }))
    }

    /// An AssociationDescription.
    pub(super) fn described(&self, association: &Association) -> Value {
        let mut description = self.association_json(association);
        description["Date"] = epoch(association.created);
        description["LastUpdateAssociationDate"] = epoch(association.updated);
        description["ApplyOnlyAtCronInterval"] = false.into();
        for (member, value) in &association.members {
            description[member] = value.clone();
        }
        if association.members.contains_key("InstanceId") {
            description["Status"] = associated(association);
        }
        let mut runs = association.runs(self.place);
        if let Some((run, _)) = runs.find(|(_, command)| command.status().0 == "Success") {
            description["LastSuccessfulExecutionDate"] = epoch(run.created);
        }
        description
    }

    /// By instance only associations of an older kind are found, those made for one instance (S 11.2.7).
    pub(super) fn list_associations(&self) -> Answer {
        let filters = self.request["AssociationFilterList"].as_array().map_or(&[][..], Vec::as_slice);
        let text = |filter: &Value, member: &str| filter[member].as_str().unwrap_or_default().to_owned();
        let filters: Vec<_> = filters.iter().map(|filter| (text(filter, "key"), text(filter, "value"))).collect();
        let admitted = |association: &&Association| {
            let last = association.runs(self.place).next();
            let ran = |test: fn(Timestamp, Timestamp) -> bool, value: &str| {
                value.parse().is_ok_and(|value| last.is_some_and(|(run, _)| test(run.created, value)))
            };
            filters.iter().all(|(key, value)| match key.as_str() {
                "Name" | "AssociationName" | "InstanceId" => association.text(key) == value,
                "AssociationId" => association.id == *value,
                "AssociationStatusName" => last.map_or("Pending", |(_, command)| status(command.status().0)) == value,
                "LastExecutedBefore" => ran(|at, limit| at <= limit, value),
                "LastExecutedAfter" => ran(|at, limit| at >= limit, value),
                _ => false,
            })
        };
        let rows = self.place.associations.iter().filter(admitted);
        let rows = rows.map(|association| (association.id.clone(), self.association_json(association))).collect();
        self.page("Associations", rows, 50)
    }

    pub(super) fn describe_association_executions(&self) -> Answer {
        let association = self.association()?;
        let filters = self.request["Filters"].as_array().map_or(&[][..], Vec::as_slice);
        let admitted = |(run, command): &(&AssociationRun, &Command)| {
            let listed = later(run.created, self.place.run_lag) <= self.now;
            listed
                && filters.iter().all(|filter| {
                    let value = filter["Value"].as_str().unwrap_or_default();
                    let order = match filter["Key"].as_str() {
                        Some("ExecutionId") => run.id.as_str().cmp(value),
                        Some("Status") => status(command.status().0).cmp(value),
                        _ => match value.parse::<Timestamp>() {
                            Ok(value) => run.created.cmp(&value),
                            Err(_) => return false,
                        },
                    };
                    match filter["Type"].as_str() {
                        Some("LESS_THAN") => order.is_lt(),
                        Some("GREATER_THAN") => order.is_gt(),
                        _ => order.is_eq(),
                    }
                })
        };
        let rows = association.runs(self.place).filter(admitted).map(|(run, command)| {
            let counts: Vec<String> =
                counts(command).into_iter().map(|(status, count)| format!("{status}={count}")).collect();
            let (state, details) = command.status();
            let row = json!({
                "AssociationId": association.id,
                "AssociationVersion": association.version.to_string(),
                "ExecutionId": run.id,
                "Status": status(state),
                "DetailedStatus": details,
                "CreatedTime": epoch(run.created),
                "LastExecutionDate": epoch(run.created),
                "ResourceCountByStatus": format!("{{{}}}", counts.join(", ")),
            });
            (run.id.clone(), row)
        });
        self.page("AssociationExecutions", rows.collect(), 50)
    }

    /// OutputSource gives the command's id (S 11.2.6).
    pub(super) fn describe_association_execution_targets(&self) -> Answer {
        let association = self.association()?;
        let id = self.text("ExecutionId");
        let found = association.runs(self.place).find(|(run, _)| run.id == id);
        let (run, command) = found.ok_or_else(|| {
            AwsError::new("AssociationExecutionDoesNotExist", format!("Execution {id} does not exist"))
        })?;
        let filters = self.request["Filters"].as_array().map_or(&[][..], Vec::as_slice);
        let admitted = |invocation: &&Invocation| {
            filters.iter().all(|filter| match filter["Key"].as_str() {
                Some("Status") => filter["Value"] == status(invocation.status),
                Some("ResourceId") => filter["Value"] == *invocation.instance_id,
                _ => filter["Value"] == "ManagedInstance",
            })
        };
        let rows = command.invocations.iter().filter(admitted).map(|invocation| {
            let row = json!({
                "AssociationId": association.id,
                "AssociationVersion": association.version.to_string(),
                "ExecutionId": run.id,
                "ResourceId": invocation.instance_id,
                "ResourceType": "ManagedInstance",
                "Status": status(invocation.status),
                "DetailedStatus": invocation.details,
                "LastExecutionDate": epoch(invocation.started.unwrap_or(run.created)),
                "OutputSource": { "OutputSourceId": command.id, "OutputSourceType": "RunCommand" },
            });
            (invocation.instance_id.clone(), row)
        });
        self.page("AssociationExecutionTargets", rows.collect(), 50)
    }

    /// With an outline of the document.
    pub(super) fn describe_effective_instance_associations(&self) -> Answer {
        let row = |association: &Association| {
            json!({
                "AssociationId": association.id,
                "InstanceId": self.text("InstanceId"),
                "Content": documents::find(association.text("Name")).map(|document| document.content().to_string()),
                "AssociationVersion": association.version.to_string(),
            })
        };
        let rows = self.associations_of_instance()?.into_iter();
        self.page("Associations", rows.map(|association| (association.id.clone(), row(association))).collect(), 5)
    }

    pub(super) fn describe_instance_associations_status(&self) -> Answer {
        let instance = self.text("InstanceId");
        let row = |association: &Association| {
            let ran = association.runs(self.place).find_map(|(run, c)| Some((run.created, c.invocation(instance)?)));
            let (state, details) = ran.map_or(("Pending", "Associated"), |(_, i)| (status(i.status), i.details));
            let mut row = json!({
                "AssociationId": association.id,
                "AssociationName": association.text("AssociationName"),
                "Name": association.text("Name"),
                "DocumentVersion": "1",
                "AssociationVersion": association.version.to_string(),
                "InstanceId": instance,
                "Status": state,
                "DetailedStatus": details,
            });
            if let Some((at, invocation)) = ran {
                row["ExecutionDate"] = epoch(invocation.started.unwrap_or(at));
                let (good, bad) = if invocation.status == "Success" { (1, 0) } else { (0, 1) };
                row["ExecutionSummary"] =
                    format!("1 out of 1 plugin processed, {good} success, {bad} failed, 0 timedout").into();
            }
            row
        };
        let rows = self.associations_of_instance()?.into_iter();
        let rows = rows.map(|association| (association.id.clone(), row(association))).collect();
        self.page("InstanceAssociationStatusInfos", rows, 50)
    }

    /// By its id, or by document and instance.
    pub(super) fn association(&self) -> Result<&Association, AwsError> {
        let (id, name, instance) = (self.text("AssociationId"), self.text("Name"), self.text("InstanceId"));
        let legacy = || self.place.associations.iter().find(|association| association.is_legacy(name, instance));
        let found = if id.is_empty() { legacy() } else { self.place.association(id) };
        found.ok_or_else(super::association_changes::no_such_association)
    }

    fn associations_of_instance(&self) -> Result<Vec<&Association>, AwsError> {
        let id = self.text("InstanceId");
        if !self.place.nodes.get(id).is_some_and(|node| node.managed) {
            return Err(AwsError::new("InvalidInstanceId", ""));
        }
        let touches = |a: &&Association| self.place.selected(a.targets()).iter().any(|node| node == id);
        Ok(self.place.associations.iter().filter(touches).collect())
    }

    /// What a list tells of an association.
    fn association_json(&self, association: &Association) -> Value {
        let mut json = json!({
            "AssociationId": association.id,
            "AssociationVersion": association.version.to_string(),
            "DocumentVersion": "$DEFAULT",
            "Name": association.text("Name"),
            "AssociationName": association.text("AssociationName"),
            "Targets": association.targets(),
            "Overview": { "Status": "Pending", "DetailedStatus": "Associated" },
        });
        for member in ["ScheduleExpression", "InstanceId"] {
            if let Some(value) = association.members.get(member) {
                json[member] = value.clone();
            }
        }
        if let Some((run, command)) = association.runs(self.place).next() {
            let (state, details) = command.status();
            json["LastExecutionDate"] = epoch(run.created);
            json["Overview"] = json!({
                "Status": status(state),
                "DetailedStatus": details,
                "AssociationStatusAggregatedCount": counts(command),
            });
        }
        json
    }
}

/// An AssociationStatus, of associations for one instance.
pub(super) fn associated(association: &Association) -> Value {
    json!({
        "Date": epoch(association.updated),
        "Name": "Associated",
        "Message": format!("Associated with {}", association.text("Name")),
    })
}

/// Run Command's statuses as State Manager says them (which of its own it uses otherwise is unverified).
fn status(of_command: &str) -> &str {
    match of_command {
        "Pending" | "Delayed" => "Pending",
        "InProgress" | "Cancelling" => "InProgress",
        "Success" => "Success",
        _ => "Failed",
    }
}

fn counts(command: &Command) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for invocation in &command.invocations {
        *counts.entry(status(invocation.status)).or_default() += 1;
    }
    counts
}
