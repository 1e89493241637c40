//! State Manager associations, as callers, "Patch now" and patch policies make them (S 11.2, 11.4).

use crate::{
    account::{Event, Place},
    command::{Command, Origin},
    dice::Dice,
    error::AwsError,
    window::{Members, timetable},
};
use jiff::Timestamp;
use patchplane_rules::Timetable;
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Association {
    pub(crate) id: String,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) version: u32,
    /// AssociationName, Name (of the document), Parameters, Targets, ScheduleExpression, MaxConcurrency, MaxErrors, and what
    /// else was given.
    pub(crate) members: Members,
    #[serde(skip)]
    timetable: Option<Timetable>,
    /// When it runs next by itself.
    pub(crate) next: Option<Timestamp>,
    /// Newest last.
    pub(crate) runs: Vec<AssociationRun>,
}

/// An execution. Its command is one for all targets (unverified: recorded examples show several commands, too).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AssociationRun {
    pub(crate) id: String,
    pub(crate) created: Timestamp,
    pub(crate) command: String,
}

impl Association {
    pub(crate) fn new(id: &str, members: Members, timetable: Option<Timetable>, now: Timestamp) -> Self {
        let (id, runs) = (id.to_owned(), Vec::new());
        Self { id, created: now, updated: now, version: 1, members, timetable, next: None, runs }
    }

    pub(crate) fn change(&mut self, members: Members, timetable: Option<Timetable>, now: Timestamp) {
        (self.members, self.timetable, self.updated, self.next) = (members, timetable, now, None);
        self.version += 1;
    }

    /// Made for one instance, in the older way.
    pub(crate) fn is_legacy(&self, name: &str, instance: &str) -> bool {
        self.members.contains_key("InstanceId") && self.text("Name") == name && self.text("InstanceId") == instance
    }

    pub(crate) fn text(&self, member: &str) -> &str {
        self.members.get(member).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn targets(&self) -> &[Value] {
        self.members.get("Targets").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The executions that are remembered, newest first, each with its command.
    pub(crate) fn runs<'p>(&'p self, place: &'p Place) -> impl Iterator<Item = (&'p AssociationRun, &'p Command)> {
        let command = |run: &AssociationRun| place.commands.iter().rfind(|command| command.id == run.command);
        let seen = self.runs.iter().rev().filter(|run| run.created >= place.horizon);
        seen.filter_map(move |run| Some((run, command(run)?)))
    }
}

impl Place {
    /// Makes "Patch now"'s association, which runs once, at once, with its own rate control (S 11.4.1–2).
    pub(crate) fn patch_now(&mut self, operation: &str, ids: &[String], now: Timestamp) -> Result<String, AwsError> {
        let (concurrency, errors) = match (operation, ids.len()) {
            ("Scan", _) => ("1000", "1000"),
            (_, 0..25) => ("1", "1"),
            (_, 25..=100) => ("5%", "5"),
            (_, 101..=1000) => ("8%", "10"),
            _ => ("10%", "10"),
        };
        // The association's name is the one that the console shows.
        let members = json!({
            "AssociationName": "AWS-PatchNowAssociation",
            "Targets": [{ "Key": "InstanceIds", "Values": ids }],
            "Parameters": { "Operation": [operation], "RebootOption": ["RebootIfNeeded"] },
            "MaxConcurrency": concurrency,
            "MaxErrors": errors,
        });
        let id = self.new_id("association").uuid();
        self.associate(&id, &members, now)?;
        self.run_association(&id, now)?;
        Ok(id)
    }

    /// Makes a patch policy's association, which runs by its schedule only (S 11.4.3; the names are unverified).
    pub(crate) fn patch_policy(
        &mut self,
        operation: &str,
        schedule: &str,
        target: (&str, &str),
        now: Timestamp,
    ) -> Result<String, AwsError> {
        let mut dice = self.new_id("association");
        let (id, policy) = (dice.uuid(), dice.hex(5));
        let bucket = format!("aws-quicksetup-patchpolicy-{}-{policy}", self.account);
        let kind = if operation == "Scan" { "ScanForPatches" } else { "InstallPatches" };
        let members = json!({
            "AssociationName": format!("AWS-QuickSetup-PatchPolicy-{kind}-LA-{policy}"),
            "Targets": [{ "Key": target.0, "Values": [target.1] }],
            "ScheduleExpression": schedule,
            "ApplyOnlyAtCronInterval": true,
            "Parameters": {
                "Operation": [operation],
                "RebootOption": ["RebootIfNeeded"],
                "BaselineOverride": [format!("s3://{bucket}/baseline_overrides.json")],
                "AssociationId": [id],
            },
            "MaxConcurrency": "10%",
            "MaxErrors": "2%",
        });
        self.associate(&id, &members, now)?;
        self.plan_association(&id, now);
        Ok(id)
    }

    fn associate(&mut self, id: &str, members: &Value, now: Timestamp) -> Result<(), AwsError> {
        let mut members = members.as_object().cloned().unwrap_or_default();
        members.insert("Name".to_owned(), "AWS-RunPatchBaseline".into());
        let scheduled = members.get("ScheduleExpression").map(|schedule| {
            let window = json!({ "Schedule": schedule, "Duration": 1, "Cutoff": 0 });
            timetable(&window.as_object().cloned().unwrap_or_default(), now)
        });
        let timetable = scheduled.transpose()?;
        self.associations.push(Association::new(id, members, timetable, now));
        Ok(())
    }

    pub(crate) fn plan_association(&mut self, id: &str, after: Timestamp) {
        let Some(association) = self.associations.iter_mut().find(|association| association.id == id) else { return };
        let timetable = association.timetable.as_ref();
        association.next = timetable.and_then(|timetable| timetable.next_after(after)).map(|run| run.time);
        if let Some(next) = association.next {
            self.queue(next, Event::Associate { association: id.to_owned() });
        }
    }

    pub(crate) fn association_due(&mut self, id: &str, at: Timestamp) {
        if self.association(id).is_none_or(|association| association.next != Some(at)) {
            return;
        }
        // A refusal would be the same each time; the builders let none pass.
        let _ = self.run_association(id, at);
        self.plan_association(id, at);
    }

    pub(crate) fn run_association(&mut self, id: &str, at: Timestamp) -> Result<(), AwsError> {
        let Some(association) = self.association(id) else { return Ok(()) };
        let mut request = json!({ "DocumentName": association.text("Name") });
        for member in ["Targets", "Parameters", "MaxConcurrency", "MaxErrors"] {
            request[member] = association.members.get(member).cloned().unwrap_or_default();
        }
        let targets = request["Targets"].as_array_mut().into_iter().flatten();
        for target in targets.filter(|target| target["Values"] == json!(["*"])) {
            target["Values"] = self.nodes.values().filter(|node| node.managed).map(|node| node.id.clone()).collect();
        }
        let command = self.send(&request, Origin::Association { association: id.to_owned() }, at)?;
        let run = Dice::new(self.seed, &["association run", id, &at.to_string()]).uuid();
        let horizon = self.horizon;
        if let Some(association) = self.associations.iter_mut().find(|association| association.id == id) {
            association.runs.retain(|run| run.created >= horizon);
            association.runs.push(AssociationRun { id: run, created: at, command });
        }
        Ok(())
    }

    pub(crate) fn association(&self, id: &str) -> Option<&Association> {
        self.associations.iter().find(|association| association.id == id)
    }
}
