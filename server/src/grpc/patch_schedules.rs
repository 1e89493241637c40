//! PatchScheduleService at the door.

use super::{
    Api, caller,
    convert::{count, instance_ids, mutation, page, paging, time},
    maintenance_windows::status,
    recurrence::{recurrence, time_zone, upcoming, when, wire_recurrence},
};
use crate::{
    app::patch_schedules::{
        Asked, ChangeSchedule, CreatePatchSchedule, DeletePatchSchedule, ListPatchSchedules, ScheduleChanged, Shown,
        SkipNextRun, UpdatePatchSchedule,
    },
    domain::{
        name::{ExecutionName, Parent, ScheduleName, parse_location},
        operation::{Kind, RebootOption, TargetSelection},
        patch_schedule::{PatchAction, PatchSchedule, Rate, ScheduleSpec, terms},
        request::RequestId,
    },
    error::Error,
};
use patchplane_proto::v1 as pb;
use patchplane_rules::{Invalid, PatchGroupName, RateLimit, Recurrence, WindowLength, WindowName};
use tonic::{Request, Response, Status};

/// How many runs a schedule shows.
const NEXT_RUNS: usize = 3;
const MOST_SELECTORS: usize = 50;
const LONGEST_DESCRIPTION: usize = 128;

#[tonic::async_trait]
impl pb::patch_schedule_service_server::PatchScheduleService for Api {
    async fn create_patch_schedule(
        &self,
        request: Request<pb::CreatePatchScheduleRequest>,
    ) -> Result<Response<pb::CreatePatchScheduleResponse>, Status> {
        let who = caller(&request)?;
        let create = CreatePatchSchedule::try_from(request.into_inner())?;
        let ScheduleChanged { schedule, plan, replayed } = self.app.create_patch_schedule(&who, create).await?;
        let (patch_schedule, plan) = (Some(schedule.into()), Some(plan.into()));
        Ok(Response::new(pb::CreatePatchScheduleResponse { patch_schedule, plan, replayed }))
    }

    async fn get_patch_schedule(
        &self,
        request: Request<pb::GetPatchScheduleRequest>,
    ) -> Result<Response<pb::GetPatchScheduleResponse>, Status> {
        let who = caller(&request)?;
        let pb::GetPatchScheduleRequest { name } = request.into_inner();
        let name = ScheduleName::parse("name", &name).map_err(Error::from)?;
        let schedule = self.app.get_patch_schedule(&who, name).await?;
        Ok(Response::new(pb::GetPatchScheduleResponse { patch_schedule: Some(schedule.into()) }))
    }

    async fn list_patch_schedules(
        &self,
        request: Request<pb::ListPatchSchedulesRequest>,
    ) -> Result<Response<pb::ListPatchSchedulesResponse>, Status> {
        let who = caller(&request)?;
        let list = ListPatchSchedules::try_from(request.into_inner()).map_err(Error::from)?;
        let found = self.app.list_patch_schedules(&who, list).await?;
        let (patch_schedules, next_page_token, unreachable) = page(found, pb::PatchSchedule::from);
        Ok(Response::new(pb::ListPatchSchedulesResponse { patch_schedules, next_page_token, unreachable }))
    }

    async fn update_patch_schedule(
        &self,
        request: Request<pb::UpdatePatchScheduleRequest>,
    ) -> Result<Response<pb::UpdatePatchScheduleResponse>, Status> {
        let who = caller(&request)?;
        let update = UpdatePatchSchedule::try_from(request.into_inner())?;
        let ScheduleChanged { schedule, plan, replayed } = self.app.update_patch_schedule(&who, update).await?;
        let (patch_schedule, plan) = (Some(schedule.into()), Some(plan.into()));
        Ok(Response::new(pb::UpdatePatchScheduleResponse { patch_schedule, plan, replayed }))
    }

    async fn skip_next_run(
        &self,
        request: Request<pb::SkipNextRunRequest>,
    ) -> Result<Response<pb::SkipNextRunResponse>, Status> {
        let who = caller(&request)?;
        let skip = SkipNextRun::try_from(request.into_inner()).map_err(Error::from)?;
        let ScheduleChanged { schedule, plan, replayed } = self.app.skip_next_run(&who, skip).await?;
        let (patch_schedule, plan) = (Some(schedule.into()), Some(plan.into()));
        Ok(Response::new(pb::SkipNextRunResponse { patch_schedule, plan, replayed }))
    }

    async fn delete_patch_schedule(
        &self,
        request: Request<pb::DeletePatchScheduleRequest>,
    ) -> Result<Response<pb::DeletePatchScheduleResponse>, Status> {
        let who = caller(&request)?;
        let delete = DeletePatchSchedule::try_from(request.into_inner()).map_err(Error::from)?;
        let (plan, replayed) = self.app.delete_patch_schedule(&who, delete).await?;
        Ok(Response::new(pb::DeletePatchScheduleResponse { plan: Some(plan.into()), replayed }))
    }
}

impl TryFrom<pb::ListPatchSchedulesRequest> for ListPatchSchedules {
    type Error = Invalid;

    fn try_from(request: pb::ListPatchSchedulesRequest) -> Result<Self, Invalid> {
        let pb::ListPatchSchedulesRequest { parent, page_size, page_token } = request;
        Ok(Self { parent: Parent::parse("parent", &parent)?, paging: paging(page_size, page_token, 50, 200)? })
    }
}

impl TryFrom<pb::CreatePatchScheduleRequest> for CreatePatchSchedule {
    type Error = Error;

    fn try_from(request: pb::CreatePatchScheduleRequest) -> Result<Self, Error> {
        let content =
            pb::CreatePatchScheduleRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::CreatePatchScheduleRequest { parent, patch_schedule, request_id, validate_only, expected_plan } =
            request;
        let location = parse_location("parent", &parent)?;
        let asked = patch_schedule.ok_or_else(|| Invalid::new("patch_schedule", "is required"))?;
        Ok(Self {
            location,
            spec: spec(asked)?,
            mutation: mutation(RequestId::parse_or_new(&request_id)?, &content, validate_only, expected_plan),
        })
    }
}

impl TryFrom<pb::UpdatePatchScheduleRequest> for UpdatePatchSchedule {
    type Error = Error;

    fn try_from(request: pb::UpdatePatchScheduleRequest) -> Result<Self, Error> {
        let content =
            pb::UpdatePatchScheduleRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::UpdatePatchScheduleRequest {
            patch_schedule,
            update_mask,
            request_id,
            validate_only,
            expected_plan,
            etag,
        } = request;
        let asked = patch_schedule.ok_or_else(|| Invalid::new("patch_schedule", "is required"))?;
        let name = ScheduleName::parse("patch_schedule.name", &asked.name)?;
        let mask = update_mask.map(|mask| mask.paths).unwrap_or_default();
        let mutation = mutation(RequestId::parse_or_new(&request_id)?, &content, validate_only, expected_plan);
        let change = ChangeSchedule { name, etag: Some(etag).filter(|etag| !etag.is_empty()), mutation };
        Ok(Self { asked: changes(asked, &mask)?, change })
    }
}

impl TryFrom<pb::SkipNextRunRequest> for SkipNextRun {
    type Error = Invalid;

    fn try_from(request: pb::SkipNextRunRequest) -> Result<Self, Invalid> {
        let content = pb::SkipNextRunRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::SkipNextRunRequest { name, request_id, validate_only, expected_plan } = request;
        let name = ScheduleName::parse("name", &name)?;
        let mutation = mutation(RequestId::parse_or_new(&request_id)?, &content, validate_only, expected_plan);
        Ok(Self { change: ChangeSchedule { name, etag: None, mutation } })
    }
}

impl TryFrom<pb::DeletePatchScheduleRequest> for DeletePatchSchedule {
    type Error = Invalid;

    fn try_from(request: pb::DeletePatchScheduleRequest) -> Result<Self, Invalid> {
        let content =
            pb::DeletePatchScheduleRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::DeletePatchScheduleRequest { name, allow_diverged, request_id, validate_only, expected_plan, etag } =
            request;
        let name = ScheduleName::parse("name", &name)?;
        let mutation = mutation(RequestId::parse_or_new(&request_id)?, &content, validate_only, expected_plan);
        let etag = Some(etag).filter(|etag| !etag.is_empty());
        Ok(Self { allow_diverged, change: ChangeSchedule { name, etag, mutation } })
    }
}

// === What is asked for ===

fn field(name: &str) -> String {
    format!("patch_schedule.{name}")
}

/// What is asked for; output-only fields are ignored.
fn spec(asked: pb::PatchSchedule) -> Result<ScheduleSpec, Error> {
    let within = |invalid: Invalid| invalid.within("patch_schedule");
    let kind = kind(asked.kind)?;
    let action = PatchAction::new(kind, reboot_option(asked.reboot_option)?)?;
    let duration = if asked.duration_hours == 0 { 4 } else { asked.duration_hours };
    let cutoff = asked.cutoff_hours.unwrap_or(if duration == 1 { 0 } else { 1 });
    let (concurrency, max_errors) = rollout(asked.rollout)?;
    Ok(ScheduleSpec {
        name: display_name(&asked.display_name)?,
        description: description(asked.description)?,
        action,
        targets: targets(asked.targets)?,
        when: when(recurrence(asked.recurrence).map_err(within)?, &asked.time_zone).map_err(within)?,
        enabled: asked.enabled.unwrap_or(true),
        length: WindowLength::new(duration, cutoff).map_err(within)?,
        rate: Rate {
            concurrency: concurrency.unwrap_or(RateLimit::Percent(10)),
            max_errors: max_errors.unwrap_or(RateLimit::Percent(5)),
        },
    })
}

/// What is to be changed: the fields of the mask, or those that are populated.
fn changes(asked: pb::PatchSchedule, mask: &[String]) -> Result<Asked, Error> {
    const FIELDS: [&str; 12] = [
        "display_name",
        "description",
        "kind",
        "reboot_option",
        "targets",
        "recurrence",
        "time_zone",
        "enabled",
        "duration_hours",
        "cutoff_hours",
        "rollout",
        "skipped_until",
    ];
    if let Some(i) = mask.iter().position(|path| !FIELDS.contains(&path.as_str())) {
        let rule = format!("names what cannot be changed; these can: {}", FIELDS.join(", "));
        return Err(Invalid::new(format!("update_mask.paths[{i}]"), rule).into());
    }
    let wanted = |name: &str, populated: bool| {
        if mask.is_empty() { populated } else { mask.iter().any(|path| path == name) }
    };
    let within = |invalid: Invalid| invalid.within("patch_schedule");
    let mut changes = Asked::default();
    if wanted("display_name", !asked.display_name.is_empty()) {
        changes.name = Some(display_name(&asked.display_name)?);
    }
    if wanted("description", !asked.description.is_empty()) {
        changes.description = Some(description(asked.description)?);
    }
    if wanted("kind", asked.kind != 0) {
        changes.kind = Some(kind(asked.kind)?);
    }
    if wanted("reboot_option", asked.reboot_option != 0) {
        changes.reboot_option = Some(reboot_option(asked.reboot_option)?);
    }
    if wanted("targets", asked.targets.is_some()) {
        changes.targets = Some(targets(asked.targets)?);
    }
    if wanted("recurrence", asked.recurrence.is_some()) {
        changes.recurrence = Some(recurrence(asked.recurrence).map_err(within)?);
    }
    if wanted("time_zone", !asked.time_zone.is_empty()) {
        changes.time_zone = Some(time_zone(&asked.time_zone).map_err(within)?);
    }
    if wanted("enabled", asked.enabled.is_some()) {
        changes.enabled = Some(asked.enabled.unwrap_or(true));
    }
    if wanted("duration_hours", asked.duration_hours != 0) {
        changes.duration_hours = Some(if asked.duration_hours == 0 { 4 } else { asked.duration_hours });
    }
    if wanted("cutoff_hours", asked.cutoff_hours.is_some()) {
        changes.cutoff_hours = Some(asked.cutoff_hours.unwrap_or(1));
    }
    if wanted("rollout", asked.rollout.is_some()) {
        let (concurrency, max_errors) = rollout(asked.rollout)?;
        changes.concurrency = Some(concurrency.unwrap_or(RateLimit::Percent(10)));
        changes.max_errors = Some(max_errors.unwrap_or(RateLimit::Percent(5)));
    }
    if !mask.is_empty() && wanted("skipped_until", false) {
        if asked.skipped_until.is_some() {
            let rule = "must be unset: runs are left out by SkipNextRun, and all taken back here";
            return Err(Invalid::new(field("skipped_until"), rule).into());
        }
        changes.skip_nothing = true;
    }
    if changes == Asked::default() {
        let rule = "must populate a field that can be changed, or name one in update_mask";
        return Err(Invalid::new("patch_schedule", rule).into());
    }
    Ok(changes)
}

fn display_name(text: &str) -> Result<WindowName, Invalid> {
    text.parse().map_err(|invalid: Invalid| Invalid::new(field("display_name"), invalid.rule))
}

fn description(text: String) -> Result<String, Invalid> {
    if text.chars().count() > LONGEST_DESCRIPTION || text.chars().any(char::is_control) {
        return Err(Invalid::new(field("description"), "must have at most 128 printable characters"));
    }
    Ok(text)
}

fn kind(asked: i32) -> Result<Kind, Invalid> {
    use pb::patch_operation::Kind as Wire;
    match Wire::try_from(asked) {
        Ok(Wire::Scan) => Ok(Kind::Scan),
        Ok(Wire::Install) => Ok(Kind::Install),
        Ok(Wire::Unspecified) => Err(Invalid::new(field("kind"), "is required: KIND_SCAN or KIND_INSTALL")),
        Ok(Wire::Reboot) => Err(Invalid::new(field("kind"), "must be KIND_SCAN or KIND_INSTALL")),
        Err(_) => Err(Invalid::new(field("kind"), "is not a value this server knows")),
    }
}

fn reboot_option(asked: i32) -> Result<Option<RebootOption>, Invalid> {
    use pb::patch_operation::RebootOption as Wire;
    match Wire::try_from(asked) {
        Ok(Wire::Unspecified) => Ok(None),
        Ok(Wire::RebootIfNeeded) => Ok(Some(RebootOption::RebootIfNeeded)),
        Ok(Wire::NoReboot) => Ok(Some(RebootOption::NoReboot)),
        Err(_) => Err(Invalid::new(field("reboot_option"), "is not a value this server knows")),
    }
}

fn rollout(asked: Option<pb::Rollout>) -> Result<(Option<RateLimit>, Option<RateLimit>), Invalid> {
    use pb::instance_limit::Amount;
    let pb::Rollout { concurrency, max_failures } = asked.unwrap_or_default();
    let limit = |name: &str, asked: Option<pb::InstanceLimit>| -> Result<Option<RateLimit>, Invalid> {
        let field = field(&format!("rollout.{name}"));
        let Some(asked) = asked else { return Ok(None) };
        let limit = match asked.amount {
            None => return Err(Invalid::new(field, "must hold a count or a percent")),
            Some(Amount::Count(count)) => {
                u32::try_from(count).ok().filter(|count| (1..=5000).contains(count)).map(RateLimit::Count)
            }
            Some(Amount::Percent(pb::Percent { value })) => {
                u8::try_from(value).ok().filter(|value| (1..=100).contains(value)).map(RateLimit::Percent)
            }
        };
        limit.map(Some).ok_or_else(|| Invalid::new(field, "must be 1 to 5000 instances, or 1 to 100 percent"))
    };
    Ok((limit("concurrency", concurrency)?, limit("max_failures", max_failures)?))
}

fn targets(asked: Option<pb::patch_schedule::Targets>) -> Result<TargetSelection, Error> {
    let pb::patch_schedule::Targets { patch_groups, tags, instance_ids: ids } = asked.unwrap_or_default();
    let field = |name: &str| field(&format!("targets{name}"));
    if patch_groups.is_empty() && tags.is_empty() && ids.is_empty() {
        return Err(Invalid::new(field(""), "must name patch groups, tags or instances").into());
    }
    for (name, number) in [(".patch_groups", patch_groups.len()), (".tags", tags.len())] {
        if number > MOST_SELECTORS {
            return Err(Invalid::new(field(name), "must hold at most 50").into());
        }
    }
    let group = |(i, text): (usize, String)| -> Result<PatchGroupName, Invalid> {
        text.parse().map_err(|wrong: Invalid| Invalid::new(field(&format!(".patch_groups[{i}]")), wrong.rule))
    };
    let tag = |(i, tag): (usize, pb::TagMatch)| -> Result<(String, String), Invalid> {
        let pb::TagMatch { key, value } = tag;
        let wrong = |part: &str, rule: &str| Err(Invalid::new(field(&format!(".tags[{i}].{part}")), rule));
        // What a target's key may hold: the API model, TargetKey.
        let allowed = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=-@".contains(c);
        if !(1..=128).contains(&key.chars().count()) || !key.chars().all(allowed) {
            return wrong("key", "must have 1 to 128 letters, digits, spaces and _.:/=-@");
        }
        if !(1..=256).contains(&value.chars().count()) || value.chars().any(char::is_control) {
            return wrong("value", "must have 1 to 256 printable characters");
        }
        Ok((key, value))
    };
    let selection = TargetSelection {
        patch_groups: patch_groups.into_iter().enumerate().map(group).collect::<Result<_, _>>()?,
        tags: tags.into_iter().enumerate().map(tag).collect::<Result<_, _>>()?,
        instance_ids: instance_ids(&field(".instance_ids"), ids, false)?,
        ..TargetSelection::default()
    };
    terms(&selection).map_err(|invalid| invalid.within("patch_schedule.targets"))?;
    Ok(selection)
}

// === Answers ===

fn wire_kind(kind: Option<Kind>) -> i32 {
    use pb::patch_operation::Kind as Wire;
    match kind {
        None => Wire::Unspecified,
        Some(Kind::Scan) => Wire::Scan,
        Some(Kind::Install) => Wire::Install,
        Some(Kind::Reboot) => Wire::Reboot,
    }
    .into()
}

fn wire_reboot_option(option: Option<RebootOption>) -> i32 {
    use pb::patch_operation::RebootOption as Wire;
    match option {
        None => Wire::Unspecified,
        Some(RebootOption::RebootIfNeeded) => Wire::RebootIfNeeded,
        Some(RebootOption::NoReboot) => Wire::NoReboot,
    }
    .into()
}

fn wire_targets(selection: TargetSelection) -> pb::patch_schedule::Targets {
    let TargetSelection { patch_groups, tags, instance_ids, all_managed: _, excluded: _ } = selection;
    pb::patch_schedule::Targets {
        patch_groups: patch_groups.into_iter().map(String::from).collect(),
        tags: tags.into_iter().map(|(key, value)| pb::TagMatch { key, value }).collect(),
        instance_ids: instance_ids.into_iter().map(String::from).collect(),
    }
}

fn wire_limit(limit: RateLimit) -> pb::InstanceLimit {
    use pb::instance_limit::Amount;
    let amount = match limit {
        RateLimit::Count(number) => Amount::Count(count(number)),
        RateLimit::Percent(percent) => Amount::Percent(pb::Percent { value: percent.into() }),
    };
    pb::InstanceLimit { amount: Some(amount) }
}

impl From<Shown> for pb::PatchSchedule {
    fn from(shown: Shown) -> Self {
        match shown {
            Shown::Existing(schedule) => (*schedule).into(),
            Shown::Planned(spec) => (*spec).into(),
        }
    }
}

impl From<ScheduleSpec> for pb::PatchSchedule {
    fn from(spec: ScheduleSpec) -> Self {
        let ScheduleSpec { name, description, action, targets, when, enabled, length, rate } = spec;
        let (schedule, _) = when.recurrence.schedule();
        Self {
            display_name: name.to_string(),
            description,
            kind: wire_kind(Some(action.kind)),
            reboot_option: wire_reboot_option(action.reboot_option),
            targets: Some(wire_targets(targets)),
            recurrence: Some(wire_recurrence(&when.recurrence)),
            time_zone: when.time_zone.as_ref().map(ToString::to_string).unwrap_or_default(),
            enabled: Some(enabled),
            duration_hours: count(length.duration_hours()),
            cutoff_hours: Some(count(length.cutoff_hours())),
            rollout: Some(pb::Rollout {
                concurrency: Some(wire_limit(rate.concurrency)),
                max_failures: Some(wire_limit(rate.max_errors)),
            }),
            expression: schedule.to_string(),
            managed: true,
            ..Default::default()
        }
    }
}

impl From<PatchSchedule> for pb::PatchSchedule {
    fn from(found: PatchSchedule) -> Self {
        let (etag, skipped_until, table) = (found.etag(), found.skipped_until(), found.timetable());
        let PatchSchedule { name, window, task, reading, managed, incomplete, last_run, observe_time, .. } = found;
        let patchplane_rules::Window { summary, created, modified, .. } = window;
        let limit = |text: &str| text.parse().ok().map(wire_limit);
        let (next_runs, recurrence, told) = match &table {
            Ok(table) => {
                let runs = table.runs_after(observe_time).take(if summary.enabled { NEXT_RUNS } else { 0 });
                let recurrence = Recurrence::of(&table.schedule, table.offset_days);
                let runs = runs.map(|run| upcoming(&run, &table.time_zone)).collect();
                (runs, Some(wire_recurrence(&recurrence)), table.describe())
            }
            Err(invalid) => (Vec::new(), None, format!("cannot be read here: {invalid}")),
        };
        let window_name = name.window();
        let last_run = last_run.map(|run| pb::patch_schedule::LastRun {
            execution: ExecutionName { window: window_name.clone(), id: run.id }.to_string(),
            status: Some(status(run.progress)),
        });
        Self {
            name: name.to_string(),
            display_name: summary.name,
            kind: wire_kind(reading.kind),
            reboot_option: wire_reboot_option(reading.reboot_option),
            targets: Some(wire_targets(reading.targets)),
            recurrence,
            time_zone: summary.timing.time_zone.clone().unwrap_or_default(),
            enabled: Some(summary.enabled),
            duration_hours: count(summary.duration_hours),
            cutoff_hours: Some(count(summary.cutoff_hours)),
            rollout: task.map(|task| pb::Rollout {
                concurrency: limit(&task.max_concurrency),
                max_failures: limit(&task.max_errors),
            }),
            description: summary.description,
            next_runs,
            skipped_until: skipped_until.map(time),
            last_run,
            summary: told,
            divergences: reading.divergences,
            managed,
            incomplete,
            maintenance_window: window_name.to_string(),
            expression: summary.timing.expression,
            create_time: created.map(time),
            update_time: modified.map(time),
            observe_time: Some(time(observe_time)),
            etag,
        }
    }
}
