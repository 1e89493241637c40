//! Targets of maintenance windows (S 9.3).

use super::{Answer, Call, maintenance_windows::limit_exceeded, maintenance_windows::with_id, present, strings};
use crate::{
    error::AwsError,
    window::{Members, Part, merged},
};
use serde_json::{Value, json};

const MEMBERS: [&str; 5] = ["ResourceType", "Targets", "OwnerInformation", "Name", "Description"];
const MOST_TARGETS: usize = 100;

impl Call<'_> {
    pub(super) fn register_target_with_maintenance_window(&mut self) -> Answer {
        self.once(|call| {
            let window = call.window()?;
            check_targets(&call.request["Targets"])?;
            if window.targets.len() >= MOST_TARGETS {
                return Err(limit_exceeded(format!("A window can have at most {MOST_TARGETS} targets")));
            }
            let id = call.place.new_id("window target").uuid();
            let members = merged(&Members::new(), call.request, &MEMBERS, true);
            call.window_mut()?.targets.push(Part { id: id.clone(), members });
            Ok(json!({ "WindowTargetId": id }))
        })
    }

    /// The resource type cannot be changed (S 9.3.6).
    pub(super) fn update_maintenance_window_target(&mut self) -> Answer {
        let replace = self.request["Replace"] == true;
        let target = self.window_target()?;
        if replace || !self.request["Targets"].is_null() {
            check_targets(&self.request["Targets"])?;
        }
        let mut members = merged(&target.members, self.request, &MEMBERS, replace);
        members.insert("ResourceType".to_owned(), target.members["ResourceType"].clone());
        let id = target.id.clone();
        let answer = present(&members, &MEMBERS[1..]);
        let window = self.window_mut()?;
        if let Some(target) = window.targets.iter_mut().find(|target| target.id == id) {
            target.members = members;
        }
        Ok(with_ids(answer, &window.id, &id))
    }

    /// Unless Safe is asked for, tasks keep the id of a target that is gone (S 9.3.5).
    pub(super) fn deregister_target_from_maintenance_window(&mut self) -> Answer {
        let id = self.window_target()?.id.clone();
        let window = self.window()?;
        let in_use = window.tasks.iter().any(|task| task.target_values("WindowTargetIds").contains(&id.as_str()));
        if in_use && self.request["Safe"] == true {
            return Err(AwsError::new("TargetInUseException", format!("Target {id} is in use by a task")));
        }
        let window = self.window_mut()?;
        window.targets.retain(|target| target.id != id);
        Ok(with_ids(json!({}), &window.id, &id))
    }

    pub(super) fn describe_maintenance_window_targets(&self) -> Answer {
        let window = self.window()?;
        let filters = self.known_filters(&["Type", "WindowTargetId", "OwnerInformation"])?;
        let admitted = |target: &&Part| {
            filters.iter().all(|(key, values)| {
                values.contains(&match *key {
                    "Type" => target.text("ResourceType"),
                    "WindowTargetId" => &target.id,
                    _ => target.text("OwnerInformation"),
                })
            })
        };
        let row = |target: &Part| with_ids(present(&target.members, &MEMBERS), &window.id, &target.id);
        let rows = window.targets.iter().filter(admitted).map(|target| (target.id.clone(), row(target))).collect();
        self.page("Targets", rows, 50)
    }

    fn window_target(&self) -> Result<&Part, AwsError> {
        let id = self.text("WindowTargetId");
        self.window()?.target(id).ok_or_else(|| no_such_target(id))
    }
}

/// The text is unverified.
pub(super) fn no_such_target(id: &str) -> AwsError {
    AwsError::new("DoesNotExistException", format!("Maintenance window target {id} does not exist"))
}

fn with_ids(answer: Value, window_id: &str, target_id: &str) -> Value {
    let mut answer = with_id(answer, window_id);
    answer["WindowTargetId"] = target_id.into();
    answer
}

/// S 9.3.1–2; that anything matches is not looked at (S 9.3.3).
fn check_targets(targets: &Value) -> Result<(), AwsError> {
    const KEYS: [&str; 4] = ["InstanceIds", "tag-key", "resource-groups:Name", "resource-groups:ResourceTypeFilters"];
    let targets = targets.as_array().map_or(&[][..], Vec::as_slice);
    if targets.is_empty() {
        return Err(AwsError::validation("Please specify at least one target."));
    }
    for target in targets {
        let key = target["Key"].as_str().unwrap_or_default();
        if !KEYS.contains(&key) && !key.starts_with("tag:") {
            return Err(AwsError::validation(format!("Target key {key} is not supported")));
        }
        if strings(&target["Values"]).is_empty() {
            let text = format!("Please specify at least one target.  Filter values can't be null and {key} is.");
            return Err(AwsError::validation(text));
        }
    }
    Ok(())
}
