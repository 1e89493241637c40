//! Making a schedule: several calls of AWS that come out as one complete window or none, also across a crash.
//!
//! What is to be made is recorded first. The window is born with two tags: one that says which construction made it and
//! stays, one that says it is incomplete and goes last. Whoever goes on after a crash finds the window by the first tag, or
//! makes it under the same ClientToken, and adds what is lacking. Without its task a window runs nothing.

use super::{ScheduleChanged, Shown, place};
use crate::{
    Error, Result,
    app::{
        App,
        mutations::{Begun, expect_plan},
    },
    auth::{Action, Caller},
    domain::{
        name::ScheduleName,
        operation::Kind,
        patch_schedule::{INCOMPLETE, MADE_BY, ScheduleSpec, first_shift, terms},
        plan::{Change, ChangeAction, Notice, Plan},
        request::Mutation,
    },
    operation::resolve::{candidates, near_misses},
};
use jiff::Timestamp;
use patchplane_aws::{Aws, ErrorKind, VmFilter};
use patchplane_rules::{Location, Shift, TargetTerm, TaskDraft, Timetable, WindowDraft, WindowId};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

const METHOD: &str = "CreatePatchSchedule";
/// How long the start of the server waits for what an earlier process left open; the rest waits for its request.
const RECOVERY: Duration = Duration::from_secs(20);
/// How often AWS may not know a window that it has just made (S 9.1.5), and the pause between.
const PATIENCE: usize = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// A request for a schedule.
pub struct CreatePatchSchedule {
    pub location: Location,
    pub spec: ScheduleSpec,
    pub mutation: Mutation,
}

/// All that is to be made, as it is recorded before the first call.
#[derive(Debug, Serialize, Deserialize)]
struct Construction {
    location: Location,
    /// Names this construction; the tokens of its calls derive from it. A request that was refused and is sent again
    /// gets another: AWS would answer the old one with a window that is gone.
    id: Uuid,
    window: WindowDraft,
    enabled: bool,
    terms: Vec<TargetTerm>,
    task: TaskDraft,
}

/// What stopped a construction, and the window that it had come to.
struct Stopped {
    window: Option<WindowId>,
    error: patchplane_aws::Error,
}

impl App {
    #[tracing::instrument(name = "app.create_patch_schedule", skip_all, fields(location = %create.location))]
    pub async fn create_patch_schedule(&self, who: &Caller, create: CreatePatchSchedule) -> Result<ScheduleChanged> {
        who.may(Action::ChangePatchSchedules, &create.location)?;
        if create.spec.action.kind == Kind::Install {
            who.may(Action::InstallPatches, &create.location)?;
        }
        let CreatePatchSchedule { location, spec, mutation } = create;
        self.aws(&location)?;
        if mutation.validate_only {
            let plan = self.plan_creation(&location, &spec).await?;
            return Ok(ScheduleChanged { schedule: Shown::Planned(Box::new(spec)), plan, replayed: false });
        }
        let mut progress = match self.begin(who, METHOD, &mutation).await? {
            Begun::Go(progress) => progress,
            Begun::Replay(resource) => {
                let name = ScheduleName::parse("name", &resource)?;
                let schedule = Shown::Existing(Box::new(self.schedule(&name).await?));
                return Ok(ScheduleChanged { schedule, plan: Plan::default(), replayed: true });
            }
        };
        let plan = self.plan_creation(&location, &spec).await?;
        let construction = match progress.intent() {
            Some(intent) => parse(intent)?,
            None => {
                expect_plan(&mutation, &plan)?;
                let id = Uuid::new_v5(&Uuid::new_v4(), mutation.request_id.to_string().as_bytes());
                Construction {
                    location: location.clone(),
                    id,
                    window: spec.window(),
                    enabled: spec.enabled,
                    terms: terms(&spec.targets)?,
                    task: spec.task(),
                }
            }
        };
        let continued = progress.continued();
        let intent = serde_json::to_string(&construction).map_err(|error| Error::Internal(error.into()))?;
        progress.record_intent(&mutation, &intent).await?;
        let id = match self.construct(&construction, continued).await {
            Ok(id) => id,
            Err(stopped) => {
                return Err(match self.dismantle(&construction.location, &stopped).await {
                    true => progress.failed(stopped.error.into()).await,
                    // A repetition, or the next start, goes on from here.
                    false => stopped.error.into(),
                });
            }
        };
        let name = ScheduleName { location, id };
        progress.done(&name.to_string()).await?;
        let schedule = Shown::Existing(Box::new(self.schedule(&name).await?));
        Ok(ScheduleChanged { schedule, plan, replayed: false })
    }

    /// Completes what an earlier process began, or takes it away where AWS refuses it. Bounded, so that AWS being away does
    /// not keep the server from starting.
    pub async fn recover_schedules(&self) -> Result<()> {
        let open = self.store.open_intents(METHOD).await?;
        if open.is_empty() {
            return Ok(());
        }
        let recovery = async {
            for (key, intent) in open {
                let progress = self.resume(key);
                if let Err(error) = self.recover_schedule(progress, &intent).await {
                    tracing::warn!(error = %error, "a schedule that was begun is not completed yet");
                }
            }
        };
        let limit = self.clock.sleep(RECOVERY);
        futures::future::select(std::pin::pin!(recovery), std::pin::pin!(limit)).await;
        Ok(())
    }

    async fn recover_schedule(&self, progress: crate::app::mutations::InProgress<'_>, intent: &str) -> Result<()> {
        let construction = parse(intent)?;
        match self.construct(&construction, true).await {
            Ok(id) => {
                let name = ScheduleName { location: construction.location, id };
                tracing::info!(schedule = %name, "a schedule that was begun is complete");
                progress.done(&name.to_string()).await
            }
            Err(stopped) => Err(match self.dismantle(&construction.location, &stopped).await {
                true => progress.failed(stopped.error.into()).await,
                false => stopped.error.into(),
            }),
        }
    }

    /// Makes what is lacking. `continued`: an earlier attempt may have made some of it.
    async fn construct(&self, made: &Construction, continued: bool) -> std::result::Result<WindowId, Stopped> {
        let none = |error| Stopped { window: None, error };
        let aws = self.aws_of(&made.location).map_err(none)?;
        let found = if continued { find(aws, made).await.map_err(none)? } else { None };
        let id = match found {
            Some(id) => id,
            None => {
                let own = made.id.to_string();
                let tags = [(MADE_BY, own.as_str()), (INCOMPLETE, own.as_str())];
                aws.create_window(&made.window, &tags, &made.token("window")).await.map_err(none)?
            }
        };
        match self.furnish(aws, made, &id).await {
            Ok(()) => Ok(id),
            Err(error) => Err(Stopped { window: Some(id), error }),
        }
    }

    /// Gives a window its state, its targets and its task; the tag that says it is incomplete goes last.
    async fn furnish(&self, aws: &Aws, made: &Construction, id: &WindowId) -> patchplane_aws::Result<()> {
        // Tokens may be forgotten by AWS (S 3.1.9), what is there is not.
        let present = self.once_known(|| aws.window_targets(id)).await?;
        if !made.enabled {
            self.once_known(|| aws.replace_window(id, &made.window, false)).await?;
        }
        let mut target_ids = Vec::new();
        for (i, term) in made.terms.iter().enumerate() {
            let same = |terms: &[TargetTerm]| terms == std::slice::from_ref(term);
            let there = present.iter().find(|target| same(&target.terms)).map(|target| target.id.clone());
            target_ids.push(match there {
                Some(id) => id,
                None => {
                    let (terms, token) = (std::slice::from_ref(term), made.token(&format!("target {i}")));
                    self.once_known(|| aws.register_window_target(id, &made.task.name, terms, &token)).await?
                }
            });
        }
        if self.once_known(|| aws.window_tasks(id)).await?.is_empty() {
            let token = made.token("task");
            self.once_known(|| aws.register_window_task(id, &made.task, &target_ids, &token)).await?;
        }
        aws.remove_window_tag(id, INCOMPLETE).await
    }

    /// Asks again where AWS does not know a window that it has just made (S 9.1.5).
    async fn once_known<T, F>(&self, call: impl Fn() -> F) -> patchplane_aws::Result<T>
    where
        F: Future<Output = patchplane_aws::Result<T>>,
    {
        for _ in 1..PATIENCE {
            match call().await {
                Err(error) if error.kind == ErrorKind::NotFound => self.clock.sleep(PAUSE).await,
                answer => return answer,
            }
        }
        call().await
    }

    /// Takes away what a construction came to, if AWS refused it definitely, and says whether nothing is left.
    async fn dismantle(&self, location: &Location, stopped: &Stopped) -> bool {
        if matches!(stopped.error.kind, ErrorKind::Unreachable | ErrorKind::Deadline | ErrorKind::Throttled) {
            return false;
        }
        let Some(id) = &stopped.window else { return true };
        let deleted = match self.aws_of(location) {
            Ok(aws) => aws.delete_window(id).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &deleted {
            tracing::warn!(window = %id, %error, "an incomplete window stays; it is completed or deleted later");
        }
        deleted.is_ok()
    }

    fn aws_of(&self, location: &Location) -> patchplane_aws::Result<&Aws> {
        self.locations.get(location).ok_or_else(|| patchplane_aws::Error {
            // As if it did not answer: a location that is not configured now can be later.
            kind: ErrorKind::Unreachable,
            action: "ssm:CreateMaintenanceWindow",
            code: None,
            message: format!("{location} is not configured"),
            request_id: None,
        })
    }

    /// What is made, call by call, and what its owner should know.
    async fn plan_creation(&self, location: &Location, spec: &ScheduleSpec) -> Result<Plan> {
        let aws = self.aws(location)?;
        let (window, task) = (spec.window(), spec.task());
        let made = |action, field: String, after: String, aws_operation| Change {
            resource: place(location),
            action,
            field,
            before: String::new(),
            after,
            aws_operation,
        };
        let now = self.clock.now();
        let table = spec.when.timetable(now);
        let length = format!("open {} h, nothing started in the last {} h", window.duration_hours, window.cutoff_hours);
        let after = format!("{}: {} ({}), {length}", window.name, table.describe(), window.timing.expression);
        let mut changes = vec![made(ChangeAction::Create, String::new(), after, "ssm:CreateMaintenanceWindow")];
        if !spec.enabled {
            changes.push(made(ChangeAction::Update, "enabled".into(), "false".into(), "ssm:UpdateMaintenanceWindow"));
        }
        for (i, term) in terms(&spec.targets)?.iter().enumerate() {
            let after = term_text(term);
            let field = format!("targets[{i}]");
            changes.push(made(ChangeAction::Create, field, after, "ssm:RegisterTargetWithMaintenanceWindow"));
        }
        let after = task_text(&task.command.parameters, task.max_concurrency, task.max_errors);
        changes.push(made(ChangeAction::Create, "task".into(), after, "ssm:RegisterTaskWithMaintenanceWindow"));
        let members = candidates(aws, &spec.targets).await?;
        let mut notices = notices(&table, now);
        if members.is_empty() {
            let near = near_misses(&aws.vms(&VmFilter::All).await?, &spec.targets);
            let near = if near.is_empty() { String::new() } else { format!("; near misses: {}", near.join(", ")) };
            let message = format!("no instance is in what is named, so that runs would patch nothing{near}");
            notices.push(Notice { code: "NO_INSTANCES", message });
        }
        Ok(Plan { changes, notices, target_count: members.len() })
    }
}

impl Construction {
    fn token(&self, step: &str) -> String {
        Uuid::new_v5(&self.id, step.as_bytes()).to_string()
    }
}

fn parse(intent: &str) -> Result<Construction> {
    serde_json::from_str(intent).map_err(|error| Error::Internal(error.into()))
}

/// The window of this construction, if it is there: complete or not.
async fn find(aws: &Aws, made: &Construction) -> patchplane_aws::Result<Option<WindowId>> {
    for window in aws.windows().await?.into_iter().filter(|window| window.name == made.window.name) {
        match aws.window_tags(&window.id).await {
            Ok(tags) if tags.get(MADE_BY).is_some_and(|id| *id == made.id.to_string()) => return Ok(Some(window.id)),
            Ok(_) => {}
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

pub(super) fn term_text(term: &TargetTerm) -> String {
    format!("{} = {}", term.key, term.values.join(", "))
}

pub(super) fn task_text(
    parameters: &std::collections::BTreeMap<String, Vec<String>>,
    concurrency: impl ToString,
    errors: impl ToString,
) -> String {
    let parameters: Vec<String> =
        parameters.iter().map(|(name, values)| format!("{name}={}", values.join(","))).collect();
    let (concurrency, errors) = (concurrency.to_string(), errors.to_string());
    format!("AWS-RunPatchBaseline {}, {concurrency} at once, {errors} may fail", parameters.join(" "))
}

/// When it runs next, and where a change of the clocks meets it.
pub(super) fn notices(table: &Timetable, now: Timestamp) -> Vec<Notice> {
    let mut notices = Vec::new();
    let zone = &table.time_zone;
    match table.next_after(now) {
        Some(run) => {
            let local = run.time.to_zoned(zone.zone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
            let message = format!("{}; the next run is at {local} in {zone}, {:.0}", table.describe(), run.time);
            notices.push(Notice { code: "NEXT_RUN", message });
        }
        None => notices.push(Notice { code: "NEVER_RUNS", message: "it never runs: its time has passed".into() }),
    }
    if let Some(run) = first_shift(table, now) {
        let (code, what) = match run.shift {
            Some(Shift::Doubled) => ("LOCAL_TIME_DOUBLED", "occurs twice, and it is taken to run at the earlier"),
            _ => ("LOCAL_TIME_SKIPPED", "does not exist, and it is taken to run at the first instant after"),
        };
        let local = run.local.strftime("%Y-%m-%d %H:%M:%S");
        let message = format!("clocks change: {local} in {zone} {what} ({:.0}); AWS does not document this", run.time);
        notices.push(Notice { code, message });
    }
    notices
}
