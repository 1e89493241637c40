//! Changing, skipping and deleting schedules.

use super::{
    ScheduleChanged, Shown,
    creation::{notices, task_text, term_text},
    expect_etag,
};
use crate::{
    Error, Result,
    app::{
        App,
        mutations::{Begun, expect_plan},
    },
    auth::{Action, Caller},
    domain::{
        name::ScheduleName,
        operation::{Kind, RebootOption, TargetSelection},
        patch_schedule::{
            PatchAction, PatchSchedule, When, is_rate, start_that_skips, start_that_skips_nothing, terms, timetable,
        },
        plan::{Change, ChangeAction, Notice, Plan},
        request::Mutation,
    },
};
use jiff::Timestamp;
use patchplane_aws::TaskChange;
use patchplane_rules::{
    Invalid, RateLimit, Recurrence, Schedule, TargetTerm, TimeZoneName, WindowDraft, WindowLength, WindowName,
};
use uuid::Uuid;

/// What to make of a schedule: what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub name: Option<WindowName>,
    pub description: Option<String>,
    pub kind: Option<Kind>,
    pub reboot_option: Option<Option<RebootOption>>,
    pub targets: Option<TargetSelection>,
    pub recurrence: Option<Recurrence>,
    pub time_zone: Option<Option<TimeZoneName>>,
    pub enabled: Option<bool>,
    pub duration_hours: Option<i32>,
    pub cutoff_hours: Option<i32>,
    pub concurrency: Option<RateLimit>,
    pub max_errors: Option<RateLimit>,
    /// No run is left out any more.
    pub skip_nothing: bool,
}

/// A request to change a schedule.
pub struct UpdatePatchSchedule {
    pub asked: Asked,
    pub change: ChangeSchedule,
}

/// A request to leave out the next run.
pub struct SkipNextRun {
    pub change: ChangeSchedule,
}

/// A request to delete a schedule.
pub struct DeletePatchSchedule {
    pub allow_diverged: bool,
    pub change: ChangeSchedule,
}

/// The frame of all three.
pub struct ChangeSchedule {
    pub name: ScheduleName,
    pub etag: Option<String>,
    pub mutation: Mutation,
}

/// What is to be done at AWS, and how it is shown.
#[derive(Default)]
struct Work {
    plan: Plan,
    window: Option<(WindowDraft, bool)>,
    /// Targets to be registered.
    register: Vec<TargetTerm>,
    task: Option<(String, TaskChange)>,
    /// Targets that the task does not need any more.
    deregister: Vec<String>,
}

impl App {
    /// Changes a schedule. Each step says what is to be, so that a repetition after a crash does what is lacking.
    #[tracing::instrument(name = "app.update_patch_schedule", skip_all, fields(schedule = %update.change.name))]
    pub async fn update_patch_schedule(&self, who: &Caller, update: UpdatePatchSchedule) -> Result<ScheduleChanged> {
        let UpdatePatchSchedule { asked, change: ChangeSchedule { name, etag, mutation } } = update;
        who.may(Action::ChangePatchSchedules, &name.location)?;
        if mutation.validate_only {
            let now = self.schedule(&name).await?;
            expect_etag(etag.as_deref(), &now)?;
            if installs(&asked, &now) {
                who.may(Action::InstallPatches, &name.location)?;
            }
            let plan = work(&asked, &now)?.plan;
            return Ok(ScheduleChanged { schedule: Shown::Existing(Box::new(now)), plan, replayed: false });
        }
        let Begun::Go(mut progress) = self.begin(who, "UpdatePatchSchedule", &mutation).await? else {
            return self.replayed(&name).await;
        };
        let now = self.schedule(&name).await?;
        if installs(&asked, &now) {
            who.may(Action::InstallPatches, &name.location)?;
        }
        if !progress.continued() {
            expect_etag(etag.as_deref(), &now)?;
        }
        let work = work(&asked, &now)?;
        if !progress.continued() {
            expect_plan(&mutation, &work.plan)?;
        }
        // Once something may have changed, only a repetition can tell: the record stays.
        let mut begun = progress.continued();
        progress.record(&mutation).await?;
        if let Err(error) = self.carry_out(&name, &work, &mut begun).await {
            return Err(if begun { error } else { progress.failed(error).await });
        }
        progress.done(&name.to_string()).await?;
        let schedule = Shown::Existing(Box::new(self.schedule(&name).await?));
        Ok(ScheduleChanged { schedule, plan: work.plan, replayed: false })
    }

    /// `begun`: something may have changed.
    async fn carry_out(&self, name: &ScheduleName, work: &Work, begun: &mut bool) -> Result<()> {
        let aws = self.aws(&name.location)?;
        if let Some((draft, enabled)) = &work.window {
            aws.replace_window(&name.id, draft, *enabled).await?;
            *begun = true;
        }
        let mut registered = Vec::new();
        for term in &work.register {
            let own: WindowName = "patchplane".parse()?;
            let token = Uuid::new_v4().to_string();
            registered.push(aws.register_window_target(&name.id, &own, std::slice::from_ref(term), &token).await?);
            *begun = true;
        }
        if let Some((id, change)) = &work.task {
            let mut change = change.clone();
            change.target_ids.extend(registered);
            aws.change_window_task(&name.id, id, &change).await?;
            *begun = true;
        }
        for target in &work.deregister {
            aws.deregister_window_target(&name.id, target).await?;
            *begun = true;
        }
        Ok(())
    }

    /// Leaves out the next run. The new start date is recorded first: moved already, a repetition would leave out one more.
    #[tracing::instrument(name = "app.skip_next_run", skip_all, fields(schedule = %skip.change.name))]
    pub async fn skip_next_run(&self, who: &Caller, skip: SkipNextRun) -> Result<ScheduleChanged> {
        let ChangeSchedule { name, etag: _, mutation } = skip.change;
        who.may(Action::ChangePatchSchedules, &name.location)?;
        if mutation.validate_only {
            let now = self.schedule(&name).await?;
            let (plan, _) = skipping(&now)?;
            return Ok(ScheduleChanged { schedule: Shown::Existing(Box::new(now)), plan, replayed: false });
        }
        let Begun::Go(mut progress) = self.begin(who, "SkipNextRun", &mutation).await? else {
            return self.replayed(&name).await;
        };
        let now = self.schedule(&name).await?;
        let (plan, start) = match progress.intent() {
            Some(start) => (Plan::default(), start.to_owned()),
            None => {
                let (plan, start) = skipping(&now)?;
                expect_plan(&mutation, &plan)?;
                (plan, start.to_string())
            }
        };
        let first = !progress.continued();
        progress.record_intent(&mutation, &start).await?;
        let mut draft = now.window.draft();
        draft.timing.start = Some(start);
        let enabled = now.window.summary.enabled;
        if let Err(error) = self.aws(&name.location)?.replace_window(&name.id, &draft, enabled).await {
            return Err(if first { progress.failed(error.into()).await } else { error.into() });
        }
        progress.done(&name.to_string()).await?;
        let schedule = Shown::Existing(Box::new(self.schedule(&name).await?));
        Ok(ScheduleChanged { schedule, plan, replayed: false })
    }

    /// Deletes the window with all that it has.
    #[tracing::instrument(name = "app.delete_patch_schedule", skip_all, fields(schedule = %delete.change.name))]
    pub async fn delete_patch_schedule(&self, who: &Caller, delete: DeletePatchSchedule) -> Result<(Plan, bool)> {
        let DeletePatchSchedule { allow_diverged, change: ChangeSchedule { name, etag, mutation } } = delete;
        who.may(Action::ChangePatchSchedules, &name.location)?;
        if mutation.validate_only {
            let now = self.schedule(&name).await?;
            expect_etag(etag.as_deref(), &now)?;
            return Ok((deletion(&now, allow_diverged)?, false));
        }
        let Begun::Go(mut progress) = self.begin(who, "DeletePatchSchedule", &mutation).await? else {
            return Ok((Plan::default(), true));
        };
        let plan = match self.find(name.clone()).await? {
            // Our own earlier attempt may have deleted it.
            None if progress.continued() => Plan::default(),
            None => return Err(Error::not_found("patch schedule", "PATCH_SCHEDULE_NOT_FOUND", &name)),
            Some(now) => {
                if !progress.continued() {
                    expect_etag(etag.as_deref(), &now)?;
                }
                deletion(&now, allow_diverged)?
            }
        };
        if !progress.continued() {
            expect_plan(&mutation, &plan)?;
        }
        progress.record(&mutation).await?;
        if let Err(error) = self.aws(&name.location)?.delete_window(&name.id).await {
            return Err(progress.failed(error.into()).await);
        }
        progress.done(&name.to_string()).await?;
        Ok((plan, false))
    }

    async fn replayed(&self, name: &ScheduleName) -> Result<ScheduleChanged> {
        let schedule = Shown::Existing(Box::new(self.schedule(name).await?));
        Ok(ScheduleChanged { schedule, plan: Plan::default(), replayed: true })
    }
}

fn installs(asked: &Asked, now: &PatchSchedule) -> bool {
    asked.kind.or(now.reading.kind) == Some(Kind::Install)
}

fn diverged(now: &PatchSchedule, what: &str) -> Error {
    Error::Precondition {
        reason: "SCHEDULE_DIVERGED",
        message: format!("{what}: {}", now.reading.divergences.join("; ")),
        subject: now.name.to_string(),
    }
}

fn change(now: &PatchSchedule, field: &str, before: String, after: String, aws_operation: &'static str) -> Change {
    let action = ChangeAction::Update;
    Change { resource: now.name.to_string(), action, field: field.to_owned(), before, after, aws_operation }
}

/// What is to be done, from what is asked and what is there.
fn work(asked: &Asked, now: &PatchSchedule) -> Result<Work> {
    let mut work = Work::default();
    window_work(&mut work, asked, now)?;
    let task_asked = asked.kind.is_some()
        || asked.reboot_option.is_some()
        || asked.targets.is_some()
        || asked.concurrency.is_some()
        || asked.max_errors.is_some();
    if task_asked {
        task_work(&mut work, asked, now)?;
    }
    Ok(work)
}

fn window_work(work: &mut Work, asked: &Asked, now: &PatchSchedule) -> Result<()> {
    let summary = &now.window.summary;
    let before = now.window.draft();
    let mut draft = before.clone();
    if let Some(name) = &asked.name {
        draft.name = name.to_string();
    }
    if let Some(description) = &asked.description {
        draft.description.clone_from(description);
    }
    if asked.recurrence.is_some() || asked.time_zone.is_some() {
        let when = when(asked, &before)?;
        let (schedule, offset_days) = when.recurrence.schedule();
        draft.timing.expression = schedule.to_string();
        draft.timing.offset_days = offset_days;
        draft.timing.time_zone = when.time_zone.map(|zone| zone.to_string());
    }
    if asked.duration_hours.is_some() || asked.cutoff_hours.is_some() {
        let duration = asked.duration_hours.unwrap_or(draft.duration_hours.into());
        let cutoff = asked.cutoff_hours.unwrap_or(draft.cutoff_hours.into());
        let length = WindowLength::new(duration, cutoff).map_err(|invalid| invalid.within("patch_schedule"))?;
        (draft.duration_hours, draft.cutoff_hours) = (length.duration_hours(), length.cutoff_hours());
    }
    if asked.skip_nothing && now.skipped_until().is_some() {
        let table = now.timetable()?;
        draft.timing.start = start_that_skips_nothing(&table, now.observe_time).map(|start| start.to_string());
    }
    let enabled = asked.enabled.unwrap_or(summary.enabled);
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let offset = |days: Option<u8>| days.map(|days| days.to_string()).unwrap_or_default();
    for (field, old, new) in [
        ("display_name", before.name.clone(), draft.name.clone()),
        ("description", before.description.clone(), draft.description.clone()),
        ("expression", before.timing.expression.clone(), draft.timing.expression.clone()),
        ("offset_days", offset(before.timing.offset_days), offset(draft.timing.offset_days)),
        ("time_zone", text(&before.timing.time_zone), text(&draft.timing.time_zone)),
        ("skipped_until", text(&before.timing.start), text(&draft.timing.start)),
        ("duration_hours", before.duration_hours.to_string(), draft.duration_hours.to_string()),
        ("cutoff_hours", before.cutoff_hours.to_string(), draft.cutoff_hours.to_string()),
        ("enabled", summary.enabled.to_string(), enabled.to_string()),
    ] {
        if old != new {
            work.plan.changes.push(change(now, field, old, new, "ssm:UpdateMaintenanceWindow"));
        }
    }
    if work.plan.changes.is_empty() {
        return Ok(());
    }
    if let Ok(table) = timetable(&draft.timing, now.window.created)
        && enabled
    {
        work.plan.notices = notices(&table, now.observe_time);
        if let Some(until) = table.start.filter(|start| *start > now.observe_time) {
            let message = format!("nothing runs before {until:.0}, its start date");
            work.plan.notices.push(Notice { code: "STARTS_LATER", message });
        }
    }
    work.window = Some((draft, enabled));
    Ok(())
}

/// When it is to run: what is asked, and for the rest what it has.
fn when(asked: &Asked, before: &WindowDraft) -> Result<When> {
    let within = |invalid: Invalid| invalid.within("patch_schedule");
    let recurrence = match &asked.recurrence {
        Some(recurrence) => recurrence.clone(),
        None => {
            let schedule: Schedule = before.timing.expression.parse()?;
            Recurrence::of(&schedule, before.timing.offset_days)
        }
    };
    let time_zone = match &asked.time_zone {
        Some(zone) => zone.clone(),
        None => before.timing.time_zone.as_deref().map(str::parse).transpose().map_err(within)?,
    };
    Ok(When::new(recurrence, time_zone).map_err(within)?)
}

fn task_work(work: &mut Work, asked: &Asked, now: &PatchSchedule) -> Result<()> {
    let Some(task) = &now.task else {
        return Err(diverged(now, "its window has not the one task that patches"));
    };
    let unclear = || diverged(now, "its task cannot be changed without losing something");
    let kind = asked.kind.or(now.reading.kind).ok_or_else(unclear)?;
    let reboot_option = match (asked.reboot_option, kind) {
        (Some(option), _) => option,
        (None, Kind::Scan | Kind::Reboot) => None,
        (None, Kind::Install) => now.reading.reboot_option,
    };
    let action = PatchAction::new(kind, reboot_option)?;
    let old = task.command.as_ref().map(|command| command.parameters.clone()).unwrap_or_default();
    let mut parameters = old.clone();
    parameters.remove("RebootOption");
    parameters.extend(action.parameters());
    let limit = |text: &str| text.parse::<RateLimit>().map_err(|_| unclear());
    let (before_concurrency, before_errors) = (limit(&task.max_concurrency)?, limit(&task.max_errors)?);
    let max_concurrency = asked.concurrency.unwrap_or(before_concurrency);
    let max_errors = asked.max_errors.unwrap_or(before_errors);
    // What an installation does when nothing is said is what it is when it is said (S 7.1.2).
    let unchanged = now.reading.kind == Some(kind) && now.reading.reboot_option == reboot_option;
    if unchanged {
        parameters.clone_from(&old);
    }
    let before = task_text(&old, before_concurrency, before_errors);
    let after = task_text(&parameters, max_concurrency, max_errors);
    if before != after {
        work.plan.changes.push(change(now, "task", before, after, "ssm:UpdateMaintenanceWindowTask"));
    }
    let own: Vec<String> =
        task.targets.iter().filter(|term| term.key == "WindowTargetIds").flat_map(|term| term.values.clone()).collect();
    let mut target_ids = own.clone();
    if let Some(targets) = &asked.targets {
        target_ids = Vec::new();
        for term in terms(targets).map_err(|invalid| invalid.within("patch_schedule.targets"))? {
            let there = now
                .window_targets
                .iter()
                .find(|target| target.terms == std::slice::from_ref(&term) && !target_ids.contains(&target.id));
            match there {
                Some(target) => target_ids.push(target.id.clone()),
                None => {
                    let after = term_text(&term);
                    let made = change(now, "targets", String::new(), after, "ssm:RegisterTargetWithMaintenanceWindow");
                    work.plan.changes.push(Change { action: ChangeAction::Create, ..made });
                    work.register.push(term);
                }
            }
        }
        for target in now.window_targets.iter().filter(|target| !target_ids.contains(&target.id)) {
            let before: Vec<String> = target.terms.iter().map(term_text).collect();
            let (before, operation) = (before.join(" and "), "ssm:DeregisterTargetFromMaintenanceWindow");
            let gone = change(now, "targets", before, String::new(), operation);
            work.plan.changes.push(Change { action: ChangeAction::Delete, ..gone });
            work.deregister.push(target.id.clone());
        }
    } else if own.is_empty() {
        return Err(unclear());
    }
    let retold = work.plan.changes.iter().any(|change| change.field == "task");
    if retold || target_ids != own || !work.register.is_empty() {
        let change = TaskChange { target_ids, parameters, max_concurrency, max_errors };
        work.task = Some((task.id.clone(), change));
    }
    Ok(())
}

/// The start date that leaves out the next run.
fn skipping(now: &PatchSchedule) -> Result<(Plan, Timestamp)> {
    let none =
        |message: String| Error::Precondition { reason: "NO_RUN_TO_SKIP", message, subject: now.name.to_string() };
    let summary = &now.window.summary;
    if !summary.enabled {
        return Err(none("it is paused, so that nothing runs".to_owned()));
    }
    let table = now.timetable().map_err(|invalid| none(format!("its schedule cannot be read here: {invalid}")))?;
    let at = now.observe_time;
    let next = table.next_after(at).ok_or_else(|| none("it never runs again".to_owned()))?;
    let start = start_that_skips(&table, at)
        .ok_or_else(|| none("no run would be left; pause or delete the schedule instead".to_owned()))?;
    let before = summary.timing.start.clone().unwrap_or_default();
    let changes = vec![change(now, "skipped_until", before, start.to_string(), "ssm:UpdateMaintenanceWindow")];
    let local = |time: Timestamp| time.to_zoned(table.time_zone.zone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let zone = &table.time_zone;
    let mut message = format!("the run at {} in {zone} ({:.0}) is left out", local(next.time), next.time);
    if let Some(following) = table.next_after(next.time) {
        message += &format!("; the next one is at {} ({:.0})", local(following.time), following.time);
    }
    let mut notices = vec![Notice { code: "RUN_LEFT_OUT", message }];
    if is_rate(&summary.timing.expression) {
        let message = "a rate counts from its start date, which now is its next run".to_owned();
        notices.push(Notice { code: "COUNTS_FROM_START", message });
    }
    Ok((Plan { changes, notices, target_count: 0 }, start))
}

fn deletion(now: &PatchSchedule, allow_diverged: bool) -> Result<Plan> {
    let more = now.task.is_none() && !now.incomplete;
    if more && !allow_diverged {
        return Err(diverged(
            now,
            "deleting it would delete more than this schedule shows; set allow_diverged to do so",
        ));
    }
    let summary = &now.window.summary;
    let mut plan = Plan::default();
    plan.changes.push(Change {
        resource: now.name.to_string(),
        action: ChangeAction::Delete,
        field: String::new(),
        before: format!("{}: {}", summary.name, summary.timing.expression),
        after: String::new(),
        aws_operation: "ssm:DeleteMaintenanceWindow",
    });
    Ok(plan)
}
