//! Step 8 and the end: every night, the history, and how to take everything back.

use super::Tour;
use crate::{args::Change, failure::Failure};
use patchplane_client::{
    Listing,
    api::{self, Baseline, patch_operation::Kind, patch_operation::RebootOption, recurrence},
    name::id,
    view::quoted,
};

impl Tour<'_> {
    /// Makes the nightly schedule, unless there is one; gives its id.
    pub(super) async fn schedule(&self) -> Result<Option<String>, Failure> {
        let zone = &self.zone;
        self.title(&format!("8. Every night: install daily at 03:00 in {zone}"))?;
        self.say(
            "A schedule is one call here, and a maintenance window of Systems Manager there, which runs also while patchplane \
             is down. AWS takes times for UTC unless told otherwise; here the zone must be said, and the next runs are \
             shown on its clocks with UTC beside them.",
        )?;
        self.command(&format!("schedules preview --daily 03:00 --zone {zone} --count 3"))?;
        let time = api::TimeOfDay { hours: 3, minutes: 0, seconds: 0 };
        let daily = recurrence::Kind::Daily(recurrence::Daily { time: Some(time) });
        let recurrence = Some(api::Recurrence { kind: Some(daily) });
        let request = api::PreviewScheduleRequest {
            recurrence: recurrence.clone(),
            time_zone: zone.clone(),
            count: 3,
            after_time: None,
        };
        let runs = self.context.client.preview_schedule(request).await?.runs;
        self.show(&self.context.out.view.upcoming(&runs))?;

        let name = self.group.replace(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)), "-") + "-nightly";
        let request = api::ListPatchSchedulesRequest { parent: self.location.to_string(), ..Default::default() };
        let all = Listing::collect(self.context.client.list_patch_schedules(request)).await?.items;
        if let Some(schedule) = all.iter().find(|schedule| schedule.display_name == name) {
            self.command(&format!("schedules get {}", id(&schedule.name)))?;
            self.show(&self.context.out.view.schedule(schedule))?;
            return Ok(Some(id(&schedule.name)));
        }
        let group = quoted(&self.group);
        let does = format!("--install --reboot if-needed --group {group} --daily 03:00 --zone {zone}");
        self.command(&format!("schedules create {name} {does}"))?;
        let patch_groups = vec![self.group.clone()];
        let schedule = api::PatchSchedule {
            display_name: name,
            kind: Kind::Install.into(),
            reboot_option: RebootOption::RebootIfNeeded.into(),
            targets: Some(api::patch_schedule::Targets { patch_groups, ..Default::default() }),
            recurrence,
            time_zone: zone.clone(),
            ..Default::default()
        };
        let call = |Change { validate_only, expected_plan, request_id }| {
            self.context.client.create_patch_schedule(api::CreatePatchScheduleRequest {
                parent: self.location.to_string(),
                patch_schedule: Some(schedule.clone()),
                request_id,
                validate_only,
                expected_plan,
            })
        };
        let done = self.change(call, |answer| answer.plan.as_ref(), |_| "Make this schedule?".to_owned()).await?;
        let Some(schedule) = done.and_then(|answer| answer.patch_schedule) else { return Ok(None) };
        self.show(&self.context.out.view.schedule(&schedule))?;
        let schedule = id(&schedule.name);
        self.say("Time and zone can be changed later, a night be left out, the whole be paused:")?;
        self.command(&format!("schedules update {schedule} --daily 04:00 --zone Europe/Berlin"))?;
        self.command(&format!("schedules skip {schedule}"))?;
        self.command(&format!("schedules pause {schedule}"))?;
        Ok(Some(schedule))
    }

    pub(super) async fn history(
        &self,
        baseline: &Baseline,
        members: &[String],
        schedule: Option<String>,
    ) -> Result<(), Failure> {
        self.title("The history")?;
        self.command("operations")?;
        let request = api::ListPatchOperationsRequest { parent: self.location.to_string(), ..Default::default() };
        let all = Listing::collect(self.context.client.list_patch_operations(request)).await?.items;
        self.show(&self.context.out.view.operations(&all))?;
        let (group, members) = (quoted(&self.group), members.join(" "));
        self.say(&format!(
            "That was the day. The instances are still in the group {:?}, with {} attached. To take everything back:",
            self.group, baseline.display_name,
        ))?;
        if let Some(schedule) = schedule {
            self.command(&format!("schedules delete {schedule}"))?;
        }
        self.command(&format!("groups remove {group} {members}"))?;
        self.command(&format!("groups detach {group} {}", id(&baseline.name)))?;
        match baseline.owner() {
            api::baseline::Owner::Self_ => self.command(&format!("baselines delete {}", id(&baseline.name))),
            _ => Ok(()),
        }
    }
}
