//! Step 8: a schedule in Tokyo's time, and its run in the same history as everything else.

use super::{GROUP, Walk};
use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use patchplane_client::{
    Listing,
    api::{self, PatchOperation, PatchSchedule, UpcomingRun, patch_operation, patch_operation_target, recurrence},
    has_ended,
    name::id,
};
use std::{collections::BTreeSet, io::Write};

const ZONE: &str = "Asia/Tokyo";
/// At three in the morning.
const HOUR: i8 = 3;
/// How long after its time the run is first looked at: it has begun, and goes on.
const SOON: SignedDuration = SignedDuration::from_mins(1);
/// How long it may take: as long as its window starts commands.
const LONGEST: SignedDuration = SignedDuration::from_hours(4);

impl<W: Write> Walk<'_, W> {
    /// Makes the schedule in one call; answers with it and the time of its next run.
    pub(super) async fn schedule(&mut self) -> Result<(PatchSchedule, Timestamp)> {
        self.ask(&format!(
            "PatchScheduleService.CreatePatchSchedule(kind: KIND_INSTALL, targets: {{patch_groups: [{GROUP}]}}, daily: 03:00, \
             time_zone: {ZONE})"
        ))?;
        let time = Some(api::TimeOfDay { hours: HOUR.into(), ..Default::default() });
        let schedule = PatchSchedule {
            display_name: "web-nightly".to_owned(),
            kind: patch_operation::Kind::Install.into(),
            reboot_option: patch_operation::RebootOption::RebootIfNeeded.into(),
            targets: Some(api::patch_schedule::Targets { patch_groups: vec![GROUP.to_owned()], ..Default::default() }),
            recurrence: Some(api::Recurrence { kind: Some(recurrence::Kind::Daily(recurrence::Daily { time })) }),
            time_zone: ZONE.to_owned(),
            ..Default::default()
        };
        let request = api::CreatePatchScheduleRequest {
            parent: self.location.to_string(),
            patch_schedule: Some(schedule),
            ..Default::default()
        };
        let answer = self.client.create_patch_schedule(request).await?;
        self.answer(&self.view.plan(&answer.plan.context("a plan should be answered")?))?;
        let schedule = answer.patch_schedule.context("a schedule should be answered")?;
        self.answer(&self.view.schedule(&schedule))?;
        ensure!(schedule.time_zone == ZONE, "the schedule should go by the clocks of {ZONE}");
        let next = self.three_nights(&schedule.next_runs)?;
        Ok((schedule, next))
    }

    /// The next three runs are those that a calendar says; answers with the first.
    fn three_nights(&self, runs: &[UpcomingRun]) -> Result<Timestamp> {
        let tokyo = TimeZone::get(ZONE)?;
        let times: Vec<Timestamp> = runs.iter().map(time_of).collect::<Result<_>>()?;
        let [first, ..] = times[..] else { anyhow::bail!("the next three runs should be told, not {}", runs.len()) };
        let mut date = first.to_zoned(tokyo.clone()).date();
        for (run, time) in runs.iter().zip(&times) {
            let expected = date.to_datetime(civil::time(HOUR, 0, 0, 0)).to_zoned(tokyo.clone())?;
            ensure!(*time == expected.timestamp(), "a run should be at {expected}, not {}", run.local_time);
            let local = expected.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
            ensure!(run.local_time == local, "{} should be told as {local}", run.local_time);
            date = date.tomorrow()?;
        }
        ensure!(times.len() == 3, "the next three runs should be told, not {}", times.len());
        Ok(first)
    }

    /// Lets the night pass and finds its run in the history: first going on, then well ended.
    pub(super) async fn night(
        &mut self,
        schedule: &PatchSchedule,
        next: Timestamp,
        members: &BTreeSet<String>,
        pass: &impl Fn(Timestamp),
    ) -> Result<()> {
        let windows = |operations: &[PatchOperation]| -> Vec<PatchOperation> {
            let of_window = |operation: &&PatchOperation| operation.origin() == patch_operation::Origin::Window;
            operations.iter().filter(of_window).cloned().collect()
        };
        let mut at = next + SOON;
        pass(at);
        let found = windows(&self.history(&[]).await?);
        let [run] = found.as_slice() else { anyhow::bail!("one run of a window should be seen, not {}", found.len()) };
        ensure!(run.source == schedule.maintenance_window, "it should be the schedule's, not of {}", run.source);
        ensure!(run.kind() == patch_operation::Kind::Install, "it should be an installation");
        let began = run.create_time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
        ensure!(began.is_some_and(|began| next <= began && began <= at), "it should have begun at 03:00 in Tokyo");

        let mut run = run.clone();
        while !has_ended(&run) {
            at += SignedDuration::from_mins(10);
            ensure!(at < next + LONGEST, "the run should have ended, but is {:?}", run.state());
            pass(at);
            let request = api::GetPatchOperationRequest { name: run.name.clone() };
            run = self.client.get_patch_operation(request).await?.patch_operation.context("it should be there")?;
        }
        self.history(&[run.name.clone()]).await?;
        self.ask(&format!("PatchOperationService.GetPatchOperation(name: …/patchOperations/{})", id(&run.name)))?;
        let in_tokyo = self.view.clone().in_zone(TimeZone::get(ZONE)?);
        self.answer(&in_tokyo.operation(&run))?;
        ensure!(run.state() == patch_operation::State::Succeeded, "it should have succeeded: {}", run.explanation);
        let targets = self.targets(&run).await?;
        let ids: BTreeSet<String> = targets.iter().map(|target| target.instance_id.clone()).collect();
        ensure!(ids == *members, "it should have reached the members of the group");
        for target in &targets {
            let well = target.state() == patch_operation_target::State::Succeeded;
            ensure!(well, "{} should have succeeded: {}", target.instance_id, target.explanation);
        }
        Ok(())
    }

    /// Shows the history, which holds these.
    pub(super) async fn history(&mut self, names: &[String]) -> Result<Vec<PatchOperation>> {
        self.ask(&format!("PatchOperationService.ListPatchOperations(parent: {})", self.location))?;
        let request = api::ListPatchOperationsRequest { parent: self.location.to_string(), ..Default::default() };
        let listing = Listing::collect(self.client.list_patch_operations(request)).await?;
        self.answer(&self.view.operations(&listing.items))?;
        for name in names {
            ensure!(listing.items.iter().any(|operation| operation.name == *name), "the history should hold {name}");
        }
        Ok(listing.items)
    }
}

fn time_of(run: &UpcomingRun) -> Result<Timestamp> {
    let time = run.time.context("a run should have a time")?;
    Ok(Timestamp::new(time.seconds, time.nanos)?)
}
