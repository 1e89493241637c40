//! Maintenance windows as they are defined: the window, its targets and its tasks (S 9.1, 9.3, 9.4).

use crate::{account::Place, error::AwsError};
use jiff::Timestamp;
use patchplane_rules::{Schedule, Timetable};
use serde::Serialize;
use serde_json::{Map, Value};

/// Members of the API under their names, as they were given; what was not given is absent.
pub(crate) type Members = Map<String, Value>;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Window {
    pub(crate) id: String,
    pub(crate) created: Timestamp,
    pub(crate) modified: Timestamp,
    /// From when other operations find it (S 9.1.5).
    pub(crate) visible: Timestamp,
    pub(crate) members: Members,
    #[serde(skip)]
    pub(crate) timetable: Timetable,
    /// When it opens next; never, while it is disabled.
    pub(crate) next: Option<Timestamp>,
    pub(crate) targets: Vec<Part>,
    pub(crate) tasks: Vec<Part>,
}

/// A registered target or task.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Part {
    pub(crate) id: String,
    pub(crate) members: Members,
}

// === impl Window ===

impl Window {
    pub(crate) fn enabled(&self) -> bool {
        self.members["Enabled"] == true
    }

    pub(crate) fn name(&self) -> &str {
        self.members["Name"].as_str().unwrap_or_default()
    }

    pub(crate) fn hours(&self, member: &str) -> i64 {
        self.members.get(member).and_then(Value::as_i64).unwrap_or_default()
    }

    /// A time as the API writes it: in the window's zone, and without seconds that are zero (S 9.2.13).
    pub(crate) fn shown(&self, time: Timestamp) -> String {
        let time = time.to_zoned(self.timetable.time_zone.zone());
        let seconds = match (time.second(), time.subsec_nanosecond()) {
            (0, 0) => "",
            (_, 0) => ":%S",
            _ => ":%S%.3f",
        };
        let zone = if time.offset().seconds() == 0 { "Z" } else { "%:z" };
        time.strftime(&format!("%Y-%m-%dT%H:%M{seconds}{zone}")).to_string()
    }

    pub(crate) fn target(&self, id: &str) -> Option<&Part> {
        self.targets.iter().find(|target| target.id == id)
    }
}

impl Part {
    pub(crate) fn text(&self, member: &str) -> &str {
        self.members.get(member).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn list(&self, member: &str) -> &[Value] {
        self.members.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The values of a task's target key, `InstanceIds` or `WindowTargetIds`.
    pub(crate) fn target_values(&self, key: &str) -> Vec<&str> {
        let targets = self.list("Targets").iter().filter(|target| target["Key"] == key);
        targets.flat_map(|target| target["Values"].as_array()).flatten().filter_map(Value::as_str).collect()
    }

    /// 1 when it was not given (*unverified*).
    pub(crate) fn priority(&self) -> u64 {
        self.members.get("Priority").and_then(Value::as_u64).unwrap_or(1)
    }
}

/// What an update leaves: null members stay unless everything is replaced (S 9.1.3, 9.3.6).
pub(crate) fn merged(before: &Members, request: &Value, names: &[&str], replace: bool) -> Members {
    let kept = |name: &&str| before.get(*name).filter(|_| !replace).cloned();
    let value = |name: &&str| Some(request[*name].clone()).filter(|value| !value.is_null()).or_else(|| kept(name));
    names.iter().filter_map(|name| Some(((*name).to_owned(), value(name)?))).collect()
}

/// When a window with these members runs, if it can be so (S 9.1.2, 9.2). The texts but that about the cutoff are
/// unverified.
pub(crate) fn timetable(members: &Members, anchor: Timestamp) -> Result<Timetable, AwsError> {
    let text = |member: &str| members.get(member).and_then(Value::as_str);
    let hours = |member: &str| members.get(member).and_then(Value::as_i64).unwrap_or_default();
    let (duration, cutoff) = (hours("Duration"), hours("Cutoff"));
    if cutoff >= duration {
        let most = duration - 1;
        let text = format!("Cuttoff was {cutoff} but must be smaller than {most} (Duration - 1 )");
        return Err(AwsError::validation(text));
    }
    let refuse =
        |member: &str| AwsError::validation(format!("{member} is not valid: {}", text(member).unwrap_or_default()));
    let moment =
        |member: &str| text(member).map(|text| text.parse::<Timestamp>().map_err(|_| refuse(member))).transpose();
    let schedule: Schedule = text("Schedule").unwrap_or_default().parse().map_err(|_| refuse("Schedule"))?;
    let offset_days = members.get("ScheduleOffset").and_then(Value::as_u64).and_then(|days| u32::try_from(days).ok());
    let offset_days = offset_days.map(|days| schedule.offset_days(days)).transpose();
    Ok(Timetable {
        offset_days: offset_days.map_err(|_| AwsError::validation("ScheduleOffset goes with cron schedules only"))?,
        time_zone: text("ScheduleTimezone").unwrap_or("UTC").parse().map_err(|_| refuse("ScheduleTimezone"))?,
        start: moment("StartDate")?,
        end: moment("EndDate")?,
        schedule,
        anchor,
    })
}

impl Place {
    pub(crate) fn window(&self, id: &str) -> Option<&Window> {
        self.windows.iter().find(|window| window.id == id)
    }

    pub(crate) fn window_mut(&mut self, id: &str) -> Option<&mut Window> {
        self.windows.iter_mut().find(|window| window.id == id)
    }

    /// The managed nodes that targets select: different keys are ANDed, values of one key are ORed (S 6.1.2). There are
    /// no resource groups here, so a target by group selects nothing.
    pub(crate) fn selected(&self, targets: &[Value]) -> Vec<String> {
        let admits = |target: &Value, node: &crate::node::Node| {
            let key = target["Key"].as_str().unwrap_or_default();
            let mut values = target["Values"].as_array().into_iter().flatten().filter_map(Value::as_str);
            match key.strip_prefix("tag:") {
                Some(tag) => node.tags.get(tag).is_some_and(|tag| values.any(|value| value == tag)),
                None if key == "tag-key" => values.any(|tag| node.tags.contains_key(tag)),
                None => key.eq_ignore_ascii_case("InstanceIds") && values.any(|id| id == node.id),
            }
        };
        let nodes = self.nodes.values().filter(|node| node.managed && targets.iter().all(|t| admits(t, node)));
        nodes.map(|node| node.id.clone()).collect()
    }
}
