//! Patch schedules: a maintenance window made of one task that patches, written from what was asked for and read back from
//! whatever AWS has.

use super::{
    name::ScheduleName,
    operation::{Kind, RebootOption, TargetSelection},
    plan::hex,
};
use jiff::Timestamp;
use patchplane_rules::{
    GROUP_TAG_KEYS, Invalid, RateLimit, Recurrence, Run, Schedule, TargetTerm, TaskCommand, TaskDraft, TimeZoneName,
    Timetable, Window, WindowDraft, WindowExecution, WindowLength, WindowName, WindowTarget, WindowTask, WindowTiming,
};
use std::collections::{BTreeMap, BTreeSet};

/// On every window that patchplane makes: which construction made it.
pub const MADE_BY: &str = "patchplane:schedule";
/// On a window whose construction has not ended.
pub const INCOMPLETE: &str = "patchplane:incomplete";

const DOCUMENT: &str = "AWS-RunPatchBaseline";
const OPERATION: &str = "Operation";
const REBOOT_OPTION: &str = "RebootOption";
/// How long AWS tries to deliver the command to an instance (S 6.1.11).
const DELIVERY_S: u32 = 600;
/// The guide's five, where the model says fifty (S 6.1.2).
const VALUES_A_TAG: usize = 5;
/// The model's limit of values (S 6.1.2).
const IDS_A_TARGET: usize = 50;
/// AWS's limit of targets for one task (S 9.4.4).
const MOST_TARGETS: usize = 10;
/// How far ahead a change of the clocks is told of.
const A_YEAR: jiff::SignedDuration = jiff::SignedDuration::from_hours(366 * 24);

/// A schedule as it was asked for, complete and within bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleSpec {
    pub name: WindowName,
    pub description: String,
    pub action: PatchAction,
    /// Patch groups, tags and ids; never empty, and no exclusions: AWS has none.
    pub targets: TargetSelection,
    pub when: When,
    pub enabled: bool,
    pub length: WindowLength,
    pub rate: Rate,
}

/// What is done to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchAction {
    pub kind: Kind,
    /// `None` for scans.
    pub reboot_option: Option<RebootOption>,
}

/// When it runs. The zone is there wherever local time matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    pub recurrence: Recurrence,
    pub time_zone: Option<TimeZoneName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub concurrency: RateLimit,
    pub max_errors: RateLimit,
}

/// A schedule as AWS has it.
#[derive(Clone, Debug)]
pub struct PatchSchedule {
    pub name: ScheduleName,
    pub window: Window,
    pub window_targets: Vec<WindowTarget>,
    /// The task that patches; `None` when the window has none, or several.
    pub task: Option<WindowTask>,
    pub reading: Reading,
    pub managed: bool,
    pub incomplete: bool,
    pub last_run: Option<WindowExecution>,
    pub observe_time: Timestamp,
}

/// What could be made out of a window, and what could not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub kind: Option<Kind>,
    pub reboot_option: Option<RebootOption>,
    pub targets: TargetSelection,
    /// Whether the targets say all there is.
    pub targets_are_whole: bool,
    /// What differs from a window made here, one sentence each.
    pub divergences: Vec<String>,
}

// === What is asked for, as AWS wants it ===

impl PatchAction {
    /// An installation must say whether instances reboot; a scan never reboots.
    pub fn new(kind: Kind, reboot_option: Option<RebootOption>) -> Result<Self, Invalid> {
        match (kind, reboot_option) {
            (Kind::Scan, Some(_)) => {
                Err(Invalid::new("patch_schedule.reboot_option", "must be unset for SCAN: a scan never reboots"))
            }
            (Kind::Reboot, _) => Err(Invalid::new("patch_schedule.kind", "must be KIND_SCAN or KIND_INSTALL")),
            (Kind::Install, None) => Err(Invalid::new(
                "patch_schedule.reboot_option",
                "is required for INSTALL: REBOOT_OPTION_REBOOT_IF_NEEDED or REBOOT_OPTION_NO_REBOOT",
            )),
            _ => Ok(Self { kind, reboot_option }),
        }
    }

    /// The document's parameters (S 7.1.2). The snapshot is left to AWS, which takes one for each run (S 7.1.6).
    pub fn parameters(self) -> BTreeMap<String, Vec<String>> {
        let operation = match self.kind {
            // `new` lets no reboot in.
            Kind::Scan | Kind::Reboot => "Scan",
            Kind::Install => "Install",
        };
        let reboot = self.reboot_option.map(|option| match option {
            RebootOption::RebootIfNeeded => "RebootIfNeeded",
            RebootOption::NoReboot => "NoReboot",
        });
        let reboot = reboot.map(|reboot| (REBOOT_OPTION.to_owned(), vec![reboot.to_owned()]));
        std::iter::once((OPERATION.to_owned(), vec![operation.to_owned()])).chain(reboot).collect()
    }
}

impl When {
    /// Only a rate does without a zone: nobody gets UTC by saying nothing.
    pub fn new(recurrence: Recurrence, time_zone: Option<TimeZoneName>) -> Result<Self, Invalid> {
        let (schedule, _) = recurrence.schedule();
        if time_zone.is_none() && !is_rate(schedule.as_str()) {
            let rule = "is required: an IANA name such as Asia/Tokyo; if UTC is meant, say UTC";
            return Err(Invalid::new("time_zone", rule));
        }
        Ok(Self { recurrence, time_zone })
    }

    /// As a window of its own would have it, made at this moment.
    pub fn timetable(&self, anchor: Timestamp) -> Timetable {
        let (schedule, offset_days) = self.recurrence.schedule();
        let time_zone = self.time_zone.clone().unwrap_or_else(utc);
        Timetable { schedule, time_zone, offset_days, start: None, end: None, anchor }
    }
}

impl ScheduleSpec {
    pub fn window(&self) -> WindowDraft {
        let (schedule, offset_days) = self.when.recurrence.schedule();
        WindowDraft {
            name: self.name.to_string(),
            description: self.description.clone(),
            timing: WindowTiming {
                expression: schedule.to_string(),
                time_zone: self.when.time_zone.as_ref().map(ToString::to_string),
                offset_days,
                start: None,
                end: None,
            },
            duration_hours: self.length.duration_hours(),
            cutoff_hours: self.length.cutoff_hours(),
            allow_unassociated_targets: false,
        }
    }

    pub fn task(&self) -> TaskDraft {
        TaskDraft {
            name: self.name.clone(),
            document: DOCUMENT.to_owned(),
            command: TaskCommand { parameters: self.action.parameters(), timeout_s: Some(DELIVERY_S) },
            max_concurrency: self.rate.concurrency,
            max_errors: self.rate.max_errors,
        }
    }
}

/// The targets of the window, one for each term: several terms in one target would have to fit all together (S 6.1.2). A
/// patch group gets both tag keys, also the one that none of its instances carries yet, so that whoever joins is patched.
pub fn terms(selection: &TargetSelection) -> Result<Vec<TargetTerm>, Invalid> {
    let mut terms = Vec::new();
    let mut add = |key: &str, values: &[String], at_most: usize| {
        terms.extend(values.chunks(at_most).map(|chunk| TargetTerm { key: key.to_owned(), values: chunk.to_vec() }));
    };
    let groups: Vec<String> = selection.patch_groups.iter().map(ToString::to_string).collect();
    for key in GROUP_TAG_KEYS {
        add(&format!("tag:{key}"), &groups, VALUES_A_TAG);
    }
    let mut tags: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (i, (key, value)) in selection.tags.iter().enumerate() {
        if GROUP_TAG_KEYS.contains(&key.as_str()) {
            let rule =
                "is a patch group's tag; name the group in patch_groups, so that both of its tag keys are looked at";
            return Err(Invalid::new(format!("tags[{i}].key"), rule));
        }
        tags.entry(key).or_default().push(value.clone());
    }
    for (key, values) in tags {
        add(&format!("tag:{key}"), &values, VALUES_A_TAG);
    }
    let ids: Vec<String> = selection.instance_ids.iter().map(ToString::to_string).collect();
    add("InstanceIds", &ids, IDS_A_TARGET);
    if terms.len() > MOST_TARGETS {
        let rule = format!(
            "need {} targets, and AWS takes {MOST_TARGETS} for one task (5 groups fill two, 5 values of a tag or 50 \
             instances one); make several schedules",
            terms.len()
        );
        return Err(Invalid::new("", rule));
    }
    Ok(terms)
}

// === What AWS has ===

/// Whether a task patches. Where a list leaves its type out, its document's name is enough to read the whole of it.
pub fn patches(task: &WindowTask) -> bool {
    matches!(task.task_type.as_str(), "RUN_COMMAND" | "") && task.task_arn.rsplit('/').next() == Some(DOCUMENT)
}

/// When a window runs, as far as its texts can be read.
pub fn timetable(timing: &WindowTiming, created: Option<Timestamp>) -> Result<Timetable, Invalid> {
    let schedule: Schedule = timing.expression.parse()?;
    let time_zone = timing.time_zone.as_deref().map_or_else(|| Ok(utc()), str::parse)?;
    Ok(Timetable {
        schedule,
        time_zone,
        offset_days: timing.offset_days,
        start: timing.start_time(),
        end: timing.end_time(),
        anchor: created.unwrap_or(Timestamp::UNIX_EPOCH),
    })
}

pub fn is_rate(expression: &str) -> bool {
    expression.starts_with("rate(")
}

fn utc() -> TimeZoneName {
    #[expect(clippy::expect_used, reason = "the bundled database knows UTC; tested")]
    "UTC".parse().expect("UTC is a zone")
}

/// Reads what a window does.
pub fn read(window: &Window, targets: &[WindowTarget], tasks: usize, task: Option<&WindowTask>) -> Reading {
    let mut reading = Reading { targets_are_whole: true, ..Reading::default() };
    let timing = &window.summary.timing;
    if let Err(invalid) = timetable(timing, None) {
        reading.divergences.push(format!("its schedule cannot be read here: {invalid}"));
    } else if timing.time_zone.is_none() && !is_rate(&timing.expression) {
        reading.divergences.push("it names no time zone, so its times are UTC".to_owned());
    }
    if tasks != 1 {
        reading.divergences.push(format!("it has {tasks} tasks, and a schedule has one"));
    }
    match task {
        Some(task) => {
            read_command(&mut reading, task);
            read_targets(&mut reading, targets, task);
        }
        None if tasks == 1 => reading.divergences.push(format!("its task does not run {DOCUMENT}")),
        None => {}
    }
    reading
}

fn read_command(reading: &mut Reading, task: &WindowTask) {
    let parameters = task.command.as_ref().map(|command| command.parameters.clone()).unwrap_or_default();
    let value = |name: &str| parameters.get(name).and_then(|values| values.first()).map_or("", String::as_str);
    match value(OPERATION) {
        "Scan" => reading.kind = Some(Kind::Scan),
        "Install" => {
            reading.kind = Some(Kind::Install);
            // S 7.1.2 for what silence means.
            reading.reboot_option = Some(match value(REBOOT_OPTION) {
                "NoReboot" => RebootOption::NoReboot,
                _ => RebootOption::RebootIfNeeded,
            });
        }
        other => reading.divergences.push(format!("its task's Operation is {other:?}, neither Scan nor Install")),
    }
    for (name, values) in &parameters {
        let said = values.iter().any(|value| !value.is_empty() && !value.contains("ORCHESTRATION_ID"));
        if said && ![OPERATION, REBOOT_OPTION].contains(&name.as_str()) {
            reading.divergences.push(format!("its task also sets {name}"));
        }
    }
}

fn read_targets(reading: &mut Reading, targets: &[WindowTarget], task: &WindowTask) {
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let mut by_key: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut odd = Vec::new();
    for term in &task.targets {
        match term.key.as_str() {
            "WindowTargetIds" => named.extend(term.values.iter().map(String::as_str)),
            "InstanceIds" => {
                by_key.entry("InstanceIds").or_default().extend(term.values.iter().map(String::as_str));
                odd.push("its task names instances by itself, not through a target of the window".to_owned());
            }
            key => odd.push(format!("its task acts on {key}")),
        }
    }
    for target in targets {
        if !named.remove(target.id.as_str()) {
            odd.push(format!("its target {} is not acted on", target.id));
            continue;
        }
        match target.terms.as_slice() {
            [term]
                if target.resource_type == "INSTANCE"
                    && (term.key == "InstanceIds" || term.key.starts_with("tag:")) =>
            {
                by_key.entry(&term.key).or_default().extend(term.values.iter().map(String::as_str));
            }
            terms => {
                let terms: Vec<String> =
                    terms.iter().map(|term| format!("{}={}", term.key, term.values.join(","))).collect();
                odd.push(format!("its target {} is {} {}", target.id, target.resource_type, terms.join(" and ")));
            }
        }
    }
    odd.extend(named.into_iter().map(|id| format!("its task acts on the target {id}, which the window does not have")));
    reading.targets_are_whole = odd.is_empty();
    reading.divergences.extend(odd);

    let [spaced, unspaced] = GROUP_TAG_KEYS.map(|key| by_key.remove(format!("tag:{key}").as_str()).unwrap_or_default());
    for group in spaced.union(&unspaced) {
        for (key, groups) in GROUP_TAG_KEYS.into_iter().zip([&spaced, &unspaced]) {
            if !groups.contains(group) {
                reading.divergences.push(format!("instances of {group} that carry the tag key `{key}` are left out"));
            }
        }
        match group.parse() {
            Ok(group) => reading.targets.patch_groups.push(group),
            Err(_) => reading.targets_are_whole = false,
        }
    }
    for (key, values) in by_key {
        match key.strip_prefix("tag:") {
            Some(key) => {
                reading.targets.tags.extend(values.into_iter().map(|value| (key.to_owned(), value.to_owned())))
            }
            None => {
                for id in values {
                    match id.parse() {
                        Ok(id) => reading.targets.instance_ids.push(id),
                        Err(_) => reading.targets_are_whole = false,
                    }
                }
            }
        }
    }
}

impl PatchSchedule {
    pub fn timetable(&self) -> Result<Timetable, Invalid> {
        timetable(&self.window.summary.timing, self.window.created)
    }

    /// The moment before which nothing runs, if that leaves out a run.
    pub fn skipped_until(&self) -> Option<Timestamp> {
        let now = self.observe_time;
        let table = self.timetable().ok()?;
        let start = table.start.filter(|start| *start > now)?;
        let free = Timetable { start: None, ..table };
        free.next_after(now).filter(|run| run.time < start).map(|_| start)
    }

    /// A hash of everything that a change could concern.
    pub fn etag(&self) -> String {
        let Self { name, window, window_targets, task, .. } = self;
        let content = format!("{name}\n{:?}\n{}\n{window_targets:?}\n{task:?}", window.draft(), window.summary.enabled);
        hex(&content)[..32].to_owned()
    }
}

/// The start date that leaves out the next run after `now` and no other; `None` when nothing would be left to run.
pub fn start_that_skips(table: &Timetable, now: Timestamp) -> Option<Timestamp> {
    let mut runs = table.runs_after(now);
    let (next, following) = (runs.next()?, runs.next()?);
    // Rates count from their start (S 9.2.11): there it must be a run. Cron's dates are where they are.
    let start = match is_rate(table.schedule.as_str()) {
        true => following.time,
        false => Timestamp::from_second(next.time.as_second() + 1).ok()?,
    };
    let moved = Timetable { start: Some(start), ..table.clone() };
    (moved.next_after(now)?.time == following.time).then_some(start)
}

/// The start date that leaves out nothing and keeps the beat: none for cron, for rates the first beat to come.
pub fn start_that_skips_nothing(table: &Timetable, now: Timestamp) -> Option<Timestamp> {
    let start = table.start.filter(|_| is_rate(table.schedule.as_str()))?;
    let interval = table.next_after(start)?.time.duration_since(start);
    let beats = start.duration_since(now).as_nanos().max(1) - 1;
    let beats = i32::try_from(beats / interval.as_nanos()).ok()?;
    start.checked_sub(interval.checked_mul(beats)?).ok()
}

/// The first run within a year that a change of the clocks concerns.
pub fn first_shift(table: &Timetable, now: Timestamp) -> Option<Run> {
    let until = now.checked_add(A_YEAR).ok()?;
    table.runs_after(now).take_while(|run| run.time < until).find(|run| run.shift.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchplane_rules::WindowSummary;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn table(expression: &str, zone: &str, start: Option<&str>) -> Timetable {
        let timing = WindowTiming {
            expression: expression.to_owned(),
            time_zone: Some(zone.to_owned()),
            start: start.map(str::to_owned),
            ..WindowTiming::default()
        };
        timetable(&timing, Some(time("2026-01-01T00:00:00Z"))).unwrap()
    }

    fn selection(groups: usize, tags: &[(&str, &str)]) -> TargetSelection {
        TargetSelection {
            patch_groups: (0..groups).map(|i| format!("group-{i}").parse().unwrap()).collect(),
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..TargetSelection::default()
        }
    }

    #[test]
    fn utc_is_a_zone() {
        assert_eq!(utc().as_str(), "UTC");
    }

    #[test]
    fn groups_go_by_both_keys_and_as_many_values_as_aws_takes() {
        // S 5.1 for the keys, S 6.1.2 for five values, S 9.4.4 for ten targets.
        let one = terms(&selection(1, &[])).unwrap();
        assert_eq!(one.iter().map(|term| term.key.as_str()).collect::<Vec<_>>(), ["tag:Patch Group", "tag:PatchGroup"]);
        let six: Vec<usize> = terms(&selection(6, &[])).unwrap().iter().map(|term| term.values.len()).collect();
        assert_eq!(six, [5, 1, 5, 1]);
        assert_eq!(terms(&selection(25, &[])).unwrap().len(), 10);
        assert!(terms(&selection(26, &[])).unwrap_err().rule.contains("several schedules"));
        let tagged = terms(&selection(0, &[("env", "a"), ("team", "x"), ("env", "b")])).unwrap();
        assert_eq!(tagged[0].values, ["a", "b"], "values of one key are alternatives, keys are targets of their own");
        assert_eq!(terms(&selection(0, &[("PatchGroup", "web")])).unwrap_err().field, "tags[0].key");
    }

    #[test]
    fn what_was_written_is_read_back_and_nothing_differs() {
        let selection = TargetSelection {
            instance_ids: vec!["i-0123456789abcdef0".parse().unwrap()],
            ..selection(6, &[("env", "test")])
        };
        let action = PatchAction::new(Kind::Install, Some(RebootOption::NoReboot)).unwrap();
        let spec = ScheduleSpec {
            name: "web".parse().unwrap(),
            description: String::new(),
            action,
            targets: selection.clone(),
            when: When::new(
                Recurrence::of(&"cron(0 3 ? * * *)".parse().unwrap(), None),
                Some("Asia/Tokyo".parse().unwrap()),
            )
            .unwrap(),
            enabled: true,
            length: WindowLength::new(4, 1).unwrap(),
            rate: Rate { concurrency: RateLimit::Percent(10), max_errors: RateLimit::Percent(5) },
        };
        let (draft, task) = (spec.window(), spec.task());
        let targets: Vec<WindowTarget> = terms(&selection)
            .unwrap()
            .into_iter()
            .enumerate()
            .map(|(i, term)| WindowTarget {
                id: format!("target-{i}"),
                resource_type: "INSTANCE".to_owned(),
                terms: vec![term],
                name: String::new(),
                description: String::new(),
                owner_information: String::new(),
            })
            .collect();
        let window = Window {
            summary: WindowSummary {
                id: "mw-00000000000000000".parse().unwrap(),
                name: draft.name,
                description: draft.description,
                enabled: true,
                timing: draft.timing,
                duration_hours: draft.duration_hours,
                cutoff_hours: draft.cutoff_hours,
                next_execution: None,
            },
            allow_unassociated_targets: false,
            created: None,
            modified: None,
        };
        let ids = targets.iter().map(|target| target.id.clone()).collect();
        let mut registered = WindowTask {
            id: "task".to_owned(),
            task_type: "RUN_COMMAND".to_owned(),
            task_arn: task.document,
            targets: vec![TargetTerm { key: "WindowTargetIds".to_owned(), values: ids }],
            priority: 1,
            max_concurrency: task.max_concurrency.to_string(),
            max_errors: task.max_errors.to_string(),
            service_role_arn: String::new(),
            cutoff_behavior: String::new(),
            name: String::new(),
            description: String::new(),
            command: Some(task.command),
        };
        let reading = read(&window, &targets, 1, Some(&registered));
        assert_eq!(reading.divergences, Vec::<String>::new());
        assert_eq!((reading.kind, reading.reboot_option), (Some(Kind::Install), Some(RebootOption::NoReboot)));
        assert_eq!(reading.targets, selection);

        // One target less on either side is told.
        let less = read(&window, &targets[1..], 1, Some(&registered));
        assert!(less.divergences.iter().any(|told| told.contains("target-0")), "{:?}", less.divergences);
        registered.targets[0].values.pop();
        let idle = read(&window, &targets, 1, Some(&registered));
        assert!(idle.divergences.iter().any(|told| told.contains("is not acted on")), "{:?}", idle.divergences);
    }

    #[test]
    fn a_skip_leaves_out_one_run_and_keeps_the_beat() {
        let now = time("2026-03-01T12:00:00Z");
        // Cron: just after the next run, which is 03:00 in Tokyo.
        let cron = table("cron(0 3 ? * * *)", "Asia/Tokyo", None);
        assert_eq!(start_that_skips(&cron, now), Some(time("2026-03-01T18:00:01Z")));
        assert_eq!(start_that_skips_nothing(&cron, now), None);
        // Once more: the run after that.
        let skipped = table("cron(0 3 ? * * *)", "Asia/Tokyo", Some("2026-03-01T18:00:01Z"));
        assert_eq!(start_that_skips(&skipped, now), Some(time("2026-03-02T18:00:01Z")));
        // Rate: S 9.2.11, the run after the next, which is a beat of the same rate.
        let rate = table("rate(6 hours)", "UTC", None);
        assert_eq!(start_that_skips(&rate, now), Some(time("2026-03-02T00:00:00Z")));
        let skipped = table("rate(6 hours)", "UTC", Some("2026-03-02T00:00:00Z"));
        assert_eq!(start_that_skips_nothing(&skipped, now), Some(time("2026-03-01T18:00:00Z")));
        // Nothing would be left.
        assert_eq!(start_that_skips(&table("at(2026-04-01T00:00:00)", "UTC", None), now), None);
        assert_eq!(start_that_skips(&table("at(2020-04-01T00:00:00)", "UTC", None), now), None);
    }

    #[test]
    fn nobody_gets_utc_by_saying_nothing() {
        let recurrence = |text: &str| Recurrence::of(&text.parse().unwrap(), None);
        for text in ["cron(0 3 ? * * *)", "at(2026-04-01T00:00:00)"] {
            assert_eq!(When::new(recurrence(text), None).unwrap_err().field, "time_zone", "{text}");
        }
        assert!(When::new(recurrence("rate(1 day)"), None).is_ok());
    }
}
