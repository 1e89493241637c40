//! Maintenance windows: create, read, update, delete (S 9.1).

use super::{Answer, Call, epoch, present, tags::tags_of};
use crate::{
    clock::later,
    dice::Dice,
    error::AwsError,
    window::{self, Members, Window, merged},
};
use serde_json::{Value, json};

const MEMBERS: [&str; 11] = [
    "Name",
    "Description",
    "StartDate",
    "EndDate",
    "Schedule",
    "ScheduleTimezone",
    "ScheduleOffset",
    "Duration",
    "Cutoff",
    "AllowUnassociatedTargets",
    "Enabled",
];

/// What `Replace` demands (S 9.1.3).
const REQUIRED: [&str; 5] = ["Name", "Schedule", "Duration", "Cutoff", "AllowUnassociatedTargets"];

const MOST_WINDOWS: usize = 50;

impl Call<'_> {
    pub(super) fn create_maintenance_window(&mut self) -> Answer {
        self.once(|call| {
            let mut members = merged(&Members::new(), call.request, &MEMBERS, true);
            members.insert("Enabled".to_owned(), true.into());
            let timetable = window::timetable(&members, call.now)?;
            if call.place.windows.len() >= MOST_WINDOWS {
                return Err(limit_exceeded(format!("You can have at most {MOST_WINDOWS} maintenance windows")));
            }
            let tags = tags_of(&call.request["Tags"], None)?;
            let place = &mut *call.place;
            let id = format!("mw-0{}", place.new_id("window").hex(16));
            place.tags.insert(id.clone(), tags);
            place.windows.push(Window {
                id: id.clone(),
                created: call.now,
                modified: call.now,
                visible: later(call.now, place.window_lag),
                members,
                timetable,
                next: None,
                targets: Vec::new(),
                tasks: Vec::new(),
            });
            place.plan(&id, call.now);
            Ok(json!({ "WindowId": id }))
        })
    }

    pub(super) fn get_maintenance_window(&self) -> Answer {
        let window = self.window()?;
        let mut answer = self.window_json(window, &MEMBERS);
        answer["CreatedDate"] = epoch(window.created);
        answer["ModifiedDate"] = epoch(window.modified);
        Ok(answer)
    }

    pub(super) fn update_maintenance_window(&mut self) -> Answer {
        let replace = self.request["Replace"] == true;
        let window = self.window()?;
        if replace && let Some(missing) = REQUIRED.iter().find(|name| self.request[**name].is_null()) {
            return Err(AwsError::validation(format!("{missing} is required when Replace is true")));
        }
        let mut members = merged(&window.members, self.request, &MEMBERS, replace);
        members.entry("Enabled").or_insert_with(|| window.members["Enabled"].clone());
        // From when a rate counts anew is unverified: here from the change of what decides when the window runs.
        let decides = ["Schedule", "ScheduleTimezone", "ScheduleOffset", "StartDate"];
        let same = decides.iter().all(|member| members.get(*member) == window.members.get(*member));
        let timetable = window::timetable(&members, if same { window.timetable.anchor } else { self.now })?;
        let (id, now) = (window.id.clone(), self.now);
        let answer = present(&members, &MEMBERS);
        if let Some(window) = self.place.window_mut(&id) {
            (window.members, window.timetable, window.modified) = (members, timetable, now);
        }
        self.place.plan(&id, now);
        Ok(with_id(answer, &id))
    }

    /// That there is no such window is no error (S 9.1.4).
    pub(super) fn delete_maintenance_window(&mut self) -> Answer {
        let id = self.text("WindowId");
        self.place.windows.retain(|window| window.id != id);
        self.place.tags.remove(id);
        Ok(json!({ "WindowId": id }))
    }

    /// The filter Name means the beginning of it, as a recorded example shows.
    pub(super) fn describe_maintenance_windows(&self) -> Answer {
        let filters = self.known_filters(&["Name", "Enabled"])?;
        let admitted = |window: &&Window| {
            filters.iter().all(|(key, values)| match *key {
                "Name" => values.iter().any(|value| window.name().starts_with(value)),
                _ => values.iter().any(|value| value.eq_ignore_ascii_case(&window.enabled().to_string())),
            })
        };
        const SHOWN: [&str; 10] = [
            "Name",
            "Description",
            "StartDate",
            "EndDate",
            "Schedule",
            "ScheduleTimezone",
            "ScheduleOffset",
            "Duration",
            "Cutoff",
            "Enabled",
        ];
        let rows = self.visible_windows().filter(admitted);
        let rows = rows.map(|window| (window.id.clone(), self.window_json(window, &SHOWN))).collect();
        self.page("WindowIdentities", rows, 50)
    }

    /// The windows with a target that touches what is asked for, or a task that names it.
    pub(super) fn describe_maintenance_windows_for_target(&self) -> Answer {
        let rows = self.windows_for_target();
        let row = |window: &Window| json!({ "WindowId": window.id, "Name": window.name() });
        let rows = rows.into_iter().map(|window| (window.id.clone(), row(window))).collect();
        self.page("WindowIdentities", rows, 50)
    }

    pub(super) fn windows_for_target(&self) -> Vec<&Window> {
        let none = Vec::new();
        let wanted = self.request["Targets"].as_array().unwrap_or(&none);
        let nodes = self.place.selected(wanted);
        let touches = |window: &&Window| {
            let same_kind = |target: &&window::Part| target.text("ResourceType") == self.text("ResourceType");
            let by_target = window.targets.iter().filter(same_kind).any(|target| {
                let selected = self.place.selected(target.list("Targets"));
                target.list("Targets") == wanted.as_slice() || selected.iter().any(|id| nodes.contains(id))
            });
            let named = |task: &window::Part| {
                task.target_values("InstanceIds").iter().any(|id| nodes.iter().any(|node| node == id))
            };
            by_target || (self.text("ResourceType") == "INSTANCE" && window.tasks.iter().any(named))
        };
        self.visible_windows().filter(touches).collect()
    }

    /// The window that the request names.
    pub(super) fn window(&self) -> Result<&Window, AwsError> {
        let id = self.text("WindowId");
        let window = self.visible_windows().find(|window| window.id == id);
        window.ok_or_else(|| AwsError::new("DoesNotExistException", format!("Maintenance window {id} does not exist")))
    }

    pub(super) fn window_mut(&mut self) -> Result<&mut Window, AwsError> {
        let id = self.window()?.id.clone();
        self.place.window_mut(&id).ok_or_else(|| AwsError::bare("DoesNotExistException"))
    }

    pub(super) fn visible_windows(&self) -> impl Iterator<Item = &Window> {
        self.place.windows.iter().filter(|window| window.visible <= self.now)
    }

    /// With the time of its next run, if it has one: a disabled window shows none, as a recorded example does.
    fn window_json(&self, window: &Window, members: &[&str]) -> Value {
        let mut json = with_id(present(&window.members, members), &window.id);
        if let Some(next) = window.next {
            json["NextExecutionTime"] = window.shown(next).into();
        }
        json
    }

    /// The filters, of which each key must be one of these (that another is refused so is unverified).
    pub(super) fn known_filters(&self, known: &[&str]) -> Result<Vec<(&str, Vec<&str>)>, AwsError> {
        let filters = self.filters();
        match filters.iter().find(|(key, _)| !known.contains(key)) {
            Some((key, _)) => Err(AwsError::validation(format!("Invalid filter key: {key}"))),
            None => Ok(filters),
        }
    }
}

pub(super) fn with_id(mut answer: Value, window_id: &str) -> Value {
    answer["WindowId"] = window_id.into();
    answer
}

pub(super) fn limit_exceeded(text: String) -> AwsError {
    AwsError::new("ResourceLimitExceededException", text)
}

impl crate::account::Place {
    /// Dice for the id of the next new thing of a kind.
    pub(crate) fn new_id(&mut self, kind: &str) -> Dice {
        self.window_ids += 1;
        Dice::new(self.seed, &[kind, &self.account, &self.region, &self.window_ids.to_string()])
    }
}
