//! Making, changing, starting and deleting State Manager associations (S 11.2).

use super::{Answer, Call, associations::associated, strings};
use crate::{
    account::Event,
    association::Association,
    clock::later,
    documents::{self, Document},
    error::AwsError,
    window::{Members, timetable},
};
use patchplane_rules::Timetable;
use serde_json::{Value, json};
use std::time::Duration;

/// S 3.2.
const MOST_ASSOCIATIONS: usize = 2000;

/// What both Create and Update take.
const MEMBERS: [&str; 15] = [
    "Name",
    "DocumentVersion",
    "Parameters",
    "Targets",
    "ScheduleExpression",
    "ScheduleOffset",
    "OutputLocation",
    "AssociationName",
    "AutomationTargetParameterName",
    "MaxErrors",
    "MaxConcurrency",
    "ComplianceSeverity",
    "SyncCompliance",
    "ApplyOnlyAtCronInterval",
    "CalendarNames",
];

impl Call<'_> {
    pub(super) fn create_association(&mut self) -> Answer {
        let mut members = self.association_members();
        let instance = self.text("InstanceId");
        if !instance.is_empty() {
            if !self.place.nodes.get(instance).is_some_and(|node| node.managed) {
                return Err(AwsError::new("InvalidInstanceId", ""));
            }
            if self.place.associations.iter().any(|other| other.is_legacy(self.text("Name"), instance)) {
                return Err(AwsError::bare("AssociationAlreadyExists"));
            }
            members.insert("Targets".to_owned(), json!([{ "Key": "InstanceIds", "Values": [instance] }]));
            members.insert("InstanceId".to_owned(), instance.into());
        }
        if self.place.associations.len() >= MOST_ASSOCIATIONS {
            return Err(AwsError::bare("AssociationLimitExceeded"));
        }
        let timetable = check(&members, self.now)?;
        let id = self.place.new_id("association").uuid();
        let tags = super::tags::tags_of(&self.request["Tags"], None)?;
        self.place.tags.insert(id.clone(), tags);
        self.place.associations.push(Association::new(&id, members, timetable, self.now));
        self.starts_soon(&id);
        let association = self.place.association(&id).ok_or_else(no_such_association)?;
        let mut answer = self.described(association);
        answer["Overview"] = json!({ "Status": "Pending", "DetailedStatus": "Creating" });
        // A target that is one instance is told in the older way as well (recorded examples of create-association).
        if let [target] = association.targets()
            && target["Key"] == "InstanceIds"
            && let [instance] = strings(&target["Values"])[..]
        {
            answer["InstanceId"] = instance.into();
            answer["Status"] = associated(association);
        }
        Ok(json!({ "AssociationDescription": answer }))
    }

    /// Every optional member that is not given becomes null, but for the document and the targets (S 11.2.4).
    pub(super) fn update_association(&mut self) -> Answer {
        let id = self.association()?.id.clone();
        let wanted = self.text("AssociationVersion");
        let mut members = self.association_members();
        let now = self.now;
        let association = self.place.association(&id).ok_or_else(no_such_association)?;
        if !matches!(wanted, "" | "$LATEST") && wanted != association.version.to_string() {
            return Err(AwsError::new("InvalidAssociationVersion", "The version is not the newest."));
        }
        for kept in ["Name", "Targets", "InstanceId"] {
            if let (None, Some(before)) = (members.get(kept), association.members.get(kept)) {
                members.insert(kept.to_owned(), before.clone());
            }
        }
        let timetable = check(&members, now)?;
        if let Some(association) = self.place.associations.iter_mut().find(|association| association.id == id) {
            association.change(members, timetable, now);
        }
        self.starts_soon(&id);
        let association = self.place.association(&id).ok_or_else(no_such_association)?;
        Ok(json!({ "AssociationDescription": self.described(association) }))
    }

    /// By its id, or by document and instance.
    pub(super) fn delete_association(&mut self) -> Answer {
        let (id, name, instance) = (self.text("AssociationId"), self.text("Name"), self.text("InstanceId"));
        let before = self.place.associations.len();
        self.place
            .associations
            .retain(|association| !(association.id == id || (id.is_empty() && association.is_legacy(name, instance))));
        if self.place.associations.len() == before { Err(no_such_association()) } else { Ok(json!({})) }
    }

    /// Runs them now (S 11.2.6).
    pub(super) fn start_associations_once(&mut self) -> Answer {
        let ids = strings(&self.request["AssociationIds"]);
        if ids.iter().any(|id| self.place.association(id).is_none()) {
            return Err(no_such_association());
        }
        for id in ids {
            self.place.run_association(id, self.now)?;
        }
        Ok(json!({}))
    }

    /// At once after it was made or changed, unless it runs by its schedule only (S 11.2.1).
    fn starts_soon(&mut self, id: &str) {
        let by_schedule = self.request["ApplyOnlyAtCronInterval"] == true;
        if by_schedule {
            return self.place.plan_association(id, self.now);
        }
        let soon = later(self.now, Duration::from_secs(1));
        if let Some(association) = self.place.associations.iter_mut().find(|association| association.id == id) {
            association.next = Some(soon);
        }
        self.place.queue(soon, Event::Associate { association: id.to_owned() });
    }

    fn association_members(&self) -> Members {
        let given = MEMBERS.into_iter().filter(|member| !self.request[*member].is_null());
        let mut members: Members = given.map(|member| (member.to_owned(), self.request[member].clone())).collect();
        for target in members.get_mut("Targets").and_then(Value::as_array_mut).into_iter().flatten() {
            if target["Key"].as_str().is_some_and(|key| key.eq_ignore_ascii_case("InstanceIds")) {
                target["Key"] = "InstanceIds".into();
            }
        }
        members
    }
}

/// The service's own checks, which come after the model's.
fn check(members: &Members, now: jiff::Timestamp) -> Result<Option<Timetable>, AwsError> {
    let text = |member: &str| members.get(member).and_then(Value::as_str).unwrap_or_default();
    let name = text("Name");
    let unknown = format!("Document with name {name} does not exist.");
    let document = documents::find(name).ok_or_else(|| AwsError::new("InvalidDocument", unknown))?;
    if !Document::has_version(text("DocumentVersion")) {
        return Err(AwsError::new("InvalidDocumentVersion", "The document version is not valid."));
    }
    let targets = members.get("Targets").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let odd = |target: &Value| {
        let key = target["Key"].as_str().unwrap_or_default();
        let known = ["InstanceIds", "tag-key", "ParameterValues"].contains(&key);
        !(known || key.starts_with("tag:") || key.starts_with("resource-groups:"))
    };
    if targets.is_empty() || targets.iter().any(odd) {
        return Err(AwsError::new("InvalidTarget", "The target is not valid."));
    }
    let given = members.get("Parameters").and_then(Value::as_object).cloned().unwrap_or_default();
    let target = text("AutomationTargetParameterName");
    let odd: Vec<_> = document.odd_parameters(&given).into_iter().filter(|name| *name != target).collect();
    if !odd.is_empty() {
        return Err(AwsError::new(
            "InvalidParameters",
            format!("The following SSM parameters are invalid: {}", odd.join(", ")),
        ));
    }
    let schedule = text("ScheduleExpression");
    if schedule.is_empty() {
        return Ok(None);
    }
    let invalid = || AwsError::new("InvalidSchedule", format!("The schedule {schedule} is not valid."));
    // Half an hour at least, less than 31 days (S 11.2.2).
    if let Some(rate) = schedule.strip_prefix("rate(").and_then(|rest| rest.strip_suffix(')')) {
        let (count, unit) = rate.split_once(' ').ok_or_else(invalid)?;
        let unit = match unit.trim_end_matches('s') {
            "minute" => 1,
            "hour" => 60,
            "day" => 24 * 60,
            _ => return Err(invalid()),
        };
        let minutes = count.parse::<u64>().ok().and_then(|count| count.checked_mul(unit)).ok_or_else(invalid)?;
        if !(30..31 * 24 * 60).contains(&minutes) {
            return Err(invalid());
        }
    }
    let window = json!({
        "Schedule": schedule, "ScheduleOffset": members.get("ScheduleOffset"), "Duration": 1, "Cutoff": 0,
    });
    timetable(&window.as_object().cloned().unwrap_or_default(), now).map(Some).map_err(|_| invalid())
}

pub(super) fn no_such_association() -> AwsError {
    AwsError::new("AssociationDoesNotExist", "The specified association does not exist.")
}
