//! Patch schedules: reading them. Making and changing them is in the modules below.

mod changes;
mod creation;

pub use changes::{Asked, ChangeSchedule, DeletePatchSchedule, SkipNextRun, UpdatePatchSchedule};
pub use creation::CreatePatchSchedule;

use super::{
    App,
    locations::{Chunk, ListPage, Query, slice},
};
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::{
        name::{Parent, ScheduleName},
        page::Paging,
        patch_schedule::{INCOMPLETE, MADE_BY, PatchSchedule, ScheduleSpec, patches, read},
        plan::Plan,
    },
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use patchplane_aws::{Aws, ErrorKind};
use patchplane_rules::{Location, WindowExecution};

/// How many windows of a location are read at once.
pub(super) const AT_ONCE: usize = 4;

/// A question for schedules.
pub struct ListPatchSchedules {
    pub parent: Parent,
    pub paging: Paging,
}

/// What was done, or with `validate_only` would be.
pub struct ScheduleChanged {
    pub schedule: Shown,
    pub plan: Plan,
    pub replayed: bool,
}

/// A schedule as AWS has it, or as it would be.
pub enum Shown {
    Existing(Box<PatchSchedule>),
    Planned(Box<ScheduleSpec>),
}

impl App {
    #[tracing::instrument(name = "app.list_patch_schedules", skip_all, fields(parent = %list.parent))]
    pub async fn list_patch_schedules(
        &self,
        who: &Caller,
        list: ListPatchSchedules,
    ) -> Result<ListPage<PatchSchedule>> {
        let ListPatchSchedules { parent, paging } = list;
        let query = Query { action: Action::ReadPatchSchedules, parent: &parent, filter: String::new() };
        self.list(who, query, &paging, |location, room, inner| async move {
            let mut windows = self.aws(&location)?.windows().await?;
            windows.sort_by(|a, b| a.id.cmp(&b.id));
            // Most windows are schedules or few: a page is cut before they are looked into, and can come out short.
            let Chunk { items, next } = slice(windows, room, inner.as_deref(), |window| window.id.to_string());
            let names = items.into_iter().map(|window| ScheduleName { location: location.clone(), id: window.id });
            let found: Vec<Option<PatchSchedule>> =
                stream::iter(names.map(|name| self.find(name))).buffered(AT_ONCE).try_collect().await?;
            Ok(Chunk { items: found.into_iter().flatten().collect(), next })
        })
        .await
    }

    #[tracing::instrument(name = "app.get_patch_schedule", skip_all, fields(schedule = %name))]
    pub async fn get_patch_schedule(&self, who: &Caller, name: ScheduleName) -> Result<PatchSchedule> {
        who.may(Action::ReadPatchSchedules, &name.location)?;
        self.schedule(&name).await
    }

    async fn schedule(&self, name: &ScheduleName) -> Result<PatchSchedule> {
        let found = self.find(name.clone()).await?;
        found.ok_or_else(|| Error::not_found("patch schedule", "PATCH_SCHEDULE_NOT_FOUND", name))
    }

    /// `None`: no such window, or none that patches.
    async fn find(&self, name: ScheduleName) -> Result<Option<PatchSchedule>> {
        let aws = self.aws(&name.location)?;
        // Never closed: an absent permit is a location that is not configured, which is refused above.
        let _permit = match self.window_reads.get(&name.location) {
            Some(reads) => reads.acquire().await.ok(),
            None => None,
        };
        match self.look_into(aws, name).await {
            // Deleted in the midst of it.
            Err(Error::Aws(error)) if error.kind == ErrorKind::NotFound => Ok(None),
            found => found,
        }
    }

    async fn look_into(&self, aws: &Aws, name: ScheduleName) -> Result<Option<PatchSchedule>> {
        let id = &name.id;
        let Some(window) = aws.window(id).await? else { return Ok(None) };
        let (tasks, tags) = futures::try_join!(aws.window_tasks(id), aws.window_tags(id))?;
        let task = match tasks.as_slice() {
            [task] if patches(task) => Some(aws.window_task(id, &task.id).await?),
            _ => None,
        };
        let managed = tags.contains_key(MADE_BY);
        if task.is_none() && !managed {
            return Ok(None);
        }
        let (window_targets, runs) = futures::try_join!(aws.window_targets(id), aws.window_executions(id, None, None))?;
        let reading = read(&window, &window_targets, tasks.len(), task.as_ref());
        Ok(Some(PatchSchedule {
            name,
            window,
            window_targets,
            task,
            reading,
            managed,
            incomplete: tags.contains_key(INCOMPLETE),
            last_run: runs.into_iter().max_by_key(began),
            observe_time: self.clock.now(),
        }))
    }
}

fn began(run: &WindowExecution) -> i64 {
    run.progress.started.map_or(i64::MAX, jiff::Timestamp::as_millisecond)
}

/// Guards a change with the etag that its caller has seen.
fn expect_etag(seen: Option<&str>, schedule: &PatchSchedule) -> Result<()> {
    if seen.is_none_or(|seen| seen == schedule.etag()) {
        return Ok(());
    }
    Err(Error::Aborted {
        reason: "ETAG_MISMATCH",
        message: format!("{} has changed since its etag was read; read it again", schedule.name),
        retry_after: None,
    })
}

/// The location of a window as a resource's parent.
fn place(location: &Location) -> String {
    format!("{location}/patchSchedules/-")
}
