//! Reading State Manager associations and their executions (S 11.2).

use super::{Answer, Call, epoch};
use crate::{
    association::{Association, AssociationRun},
    clock::later,
    command::{Command, Invocation},
    error::AwsError,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Call<'_> {
    pub(super) fn describe_association(&self) -> Answer {
        let association = self.association()?;
        let mut description = self.association_json(association);
        description["Date"] = epoch(association.created);
        description["LastUpdateAssociationDate"] = epoch(association.created);
        for member in ["Parameters", "MaxConcurrency", "MaxErrors", "ApplyOnlyAtCronInterval"] {
            if let Some(value) = association.members.get(member) {
                description[member] = value.clone();
            }
        }
        let mut runs = association.runs(self.place);
        if let Some((run, _)) = runs.find(|(_, command)| command.status().0 == "Success") {
            description["LastSuccessfulExecutionDate"] = epoch(run.created);
        }
        Ok(json!({ "AssociationDescription": description }))
    }

    /// By instance only associations of an older kind are found (S 11.2.7), of which there are none here.
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
                "Name" | "AssociationName" => association.text(key) == value,
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
                "AssociationVersion": "1",
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
                "AssociationVersion": "1",
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

    /// Without the document's content, which is AWS's.
    pub(super) fn describe_effective_instance_associations(&self) -> Answer {
        let row = |association: &Association| {
            json!({
                "AssociationId": association.id,
                "InstanceId": self.text("InstanceId"),
                "AssociationVersion": "1",
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
                "AssociationVersion": "1",
                "InstanceId": instance,
                "Status": state,
                "DetailedStatus": details,
            });
            if let Some((at, invocation)) = ran {
                row["ExecutionDate"] = epoch(invocation.started.unwrap_or(at));
            }
            row
        };
        let rows = self.associations_of_instance()?.into_iter();
        let rows = rows.map(|association| (association.id.clone(), row(association))).collect();
        self.page("InstanceAssociationStatusInfos", rows, 50)
    }

    fn association(&self) -> Result<&Association, AwsError> {
        let id = self.text("AssociationId");
        let text = "The specified association does not exist.";
        self.place.association(id).ok_or_else(|| AwsError::new("AssociationDoesNotExist", text))
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
            "AssociationVersion": "1",
            "DocumentVersion": "$DEFAULT",
            "Name": association.text("Name"),
            "AssociationName": association.text("AssociationName"),
            "Targets": association.targets(),
            "Overview": { "Status": "Pending", "DetailedStatus": "Associated" },
        });
        if let Some(schedule) = association.members.get("ScheduleExpression") {
            json["ScheduleExpression"] = schedule.clone();
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
