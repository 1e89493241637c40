//! `patchctl schedules`.

use crate::{
    Context,
    args::{Change, Consent, limit, tag},
    failure::{Exit, Failure},
};
use clap::{Args, Subcommand, ValueEnum};
use patchplane_client::{
    Listing,
    api::{self, InstanceLimit, TagMatch, patch_operation, recurrence},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchctl schedules                                          what runs when, and how the last run went
  patchctl schedules preview --daily 03:00 --zone Asia/Tokyo   the next runs, of a schedule that need not exist
  patchctl schedules create web-nightly --install --reboot if-needed --group web --daily 03:00 --zone Asia/Tokyo
  patchctl schedules create db-scan --scan --group db --weekly mon,thu --at 22:30 --zone Europe/Berlin
  patchctl schedules create patch-tuesday --install --reboot no --tag env=test --nth 2 --weekday tue --offset 2 --at 02:00 --zone UTC
  patchctl schedules update web-nightly --daily 04:00 --zone Europe/Berlin
  patchctl schedules pause mw-0123456789abcdef0                by its id, where two have one name
  patchctl schedules resume mw-0123456789abcdef0
  patchctl schedules skip web-nightly                         leaves out the next run
  patchctl schedules delete web-nightly --yes")]
pub(crate) struct Schedules {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the schedules (the default).
    List,
    /// Shows one schedule with its next runs.
    Get {
        /// mw-…, its name, or the resource name.
        schedule: String,
    },
    /// Makes a schedule; AWS carries it out by itself.
    Create(Box<Create>),
    /// Changes a schedule; what is not said stays.
    Update(Box<Update>),
    /// Keeps a schedule from running until it is resumed.
    Pause {
        /// mw-…, its name, or the resource name.
        schedule: String,
        #[command(flatten)]
        change: Change,
    },
    /// Lets a paused schedule run again.
    Resume {
        /// mw-…, its name, or the resource name.
        schedule: String,
        #[command(flatten)]
        change: Change,
    },
    /// Leaves out the next run, or takes that back.
    Skip {
        /// mw-…, its name, or the resource name.
        schedule: String,
        /// Leave out nothing any more.
        #[arg(long)]
        undo: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Deletes a schedule.
    Delete {
        /// mw-…, its name, or the resource name.
        schedule: String,
        /// Also where its window does more than the schedule shows.
        #[arg(long)]
        allow_diverged: bool,
        #[command(flatten)]
        consent: Consent,
    },
    /// Shows the next runs of a schedule that need not exist.
    Preview {
        #[command(flatten)]
        when: When,
        /// How many runs, at most 100.
        #[arg(long, default_value_t = 10)]
        count: i32,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// 3 to 128 letters, digits and _-.
    name: String,
    #[command(flatten)]
    does: Does,
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    settings: Settings,
    /// Make it paused.
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, Args)]
struct Update {
    /// mw-…, its name, or the resource name.
    schedule: String,
    /// Another name.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    does: Does,
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    consent: Consent,
}

/// What is done.
#[derive(Debug, Args)]
struct Does {
    /// Compare with the baselines; change nothing.
    #[arg(long)]
    scan: bool,
    /// Install what is approved and missing; needs --reboot.
    #[arg(long, conflicts_with = "scan")]
    install: bool,
    /// Whether instances reboot after an installation.
    #[arg(long, value_enum)]
    reboot: Option<Reboot>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Reboot {
    /// When something was installed, or a reboot is pending.
    IfNeeded,
    /// Never.
    No,
}

/// Whom it acts on.
#[derive(Debug, Args)]
struct On {
    /// The instances of this patch group; can be given several times.
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// The instances with this tag; can be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    tag: Vec<TagMatch>,
    /// This instance; can be given several times.
    #[arg(long, value_name = "ID")]
    instance: Vec<String>,
}

/// When it runs.
#[derive(Debug, Args)]
struct When {
    /// Every day at this time.
    #[arg(long, value_name = "HH:MM", value_parser = clock, conflicts_with_all = ["weekly", "nth", "expression"])]
    daily: Option<api::TimeOfDay>,
    /// Every week on these days, such as mon,thu; needs --at.
    #[arg(long, value_name = "DAYS", value_delimiter = ',', value_parser = day, requires = "at", conflicts_with_all = ["nth", "expression"])]
    weekly: Vec<i32>,
    /// Every month on the nth --weekday, 1 to 5, or -1 for the last; needs --weekday and --at.
    #[arg(long, allow_hyphen_values = true, requires_all = ["weekday", "at"], conflicts_with = "expression")]
    nth: Option<i32>,
    /// The weekday of --nth, such as tue.
    #[arg(long, value_name = "DAY", value_parser = day, requires = "nth")]
    weekday: Option<i32>,
    /// How many days after the date of --nth or --expression, 1 to 6.
    #[arg(long, value_name = "DAYS", default_value_t = 0, hide_default_value = true)]
    offset: i32,
    /// At what time, with --weekly and --nth.
    #[arg(long, value_name = "HH:MM", value_parser = clock)]
    at: Option<api::TimeOfDay>,
    /// cron(...), rate(...) or at(...).
    #[arg(long)]
    expression: Option<String>,
    /// The zone whose clocks are meant, such as Asia/Tokyo; needed but for rates. For a new schedule and a preview --tz does as well.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

/// How it proceeds.
#[derive(Debug, Args)]
struct Settings {
    /// How long commands may be started, in hours; 4 unless said.
    #[arg(long, value_name = "HOURS")]
    duration: Option<i32>,
    /// How long before the end nothing more is started, in hours; 1 unless said.
    #[arg(long, value_name = "HOURS")]
    cutoff: Option<i32>,
    /// How many at once: 5, or 10%.
    #[arg(long, value_name = "LIMIT", value_parser = limit)]
    concurrency: Option<InstanceLimit>,
    /// How many may fail before nothing more is started: 1, or 5%.
    #[arg(long, value_name = "LIMIT", value_parser = limit)]
    max_failures: Option<InstanceLimit>,
    /// A few words about it.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl Schedules {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Context { client, out, .. } = context;
        match self.action.unwrap_or(Action::List) {
            Action::List => list(context).await,
            Action::Get { schedule } => {
                let request = api::GetPatchScheduleRequest { name: context.schedule(&schedule).await? };
                let schedule = client.get_patch_schedule(request).await?.patch_schedule.unwrap_or_default();
                out.show("PatchSchedule", &schedule, |view| view.schedule(&schedule))?;
                Ok(Exit::Well)
            }
            Action::Create(create) => create.run(context).await,
            Action::Update(update) => update.run(context).await,
            Action::Pause { schedule, change } => {
                enable(context, context.schedule(&schedule).await?, false, change).await
            }
            Action::Resume { schedule, change } => {
                enable(context, context.schedule(&schedule).await?, true, change).await
            }
            Action::Skip { schedule, undo: true, change } => {
                let schedule = api::PatchSchedule { name: context.schedule(&schedule).await?, ..Default::default() };
                update(context, schedule, &["skipped_until"], Consent { change, yes: true }).await
            }
            Action::Skip { schedule, undo: false, change } => {
                let Change { validate_only, expected_plan, request_id } = change;
                let name = context.schedule(&schedule).await?;
                let request = api::SkipNextRunRequest { name, request_id, validate_only, expected_plan };
                let answer = client.skip_next_run(request).await?;
                out.show("SkipNextRunResponse", &answer, |view| {
                    let plan = view.plan(&answer.plan.clone().unwrap_or_default());
                    let schedule = view.schedule(&answer.patch_schedule.clone().unwrap_or_default());
                    if validate_only { plan } else { plan + "\n" + &schedule }
                })?;
                Ok(Exit::Well)
            }
            Action::Delete { schedule, allow_diverged, consent } => {
                let name = context.schedule(&schedule).await?;
                let call = |change: Change| {
                    let Change { validate_only, expected_plan, request_id } = change;
                    let (name, etag) = (name.clone(), String::new());
                    client.delete_patch_schedule(api::DeletePatchScheduleRequest {
                        name,
                        allow_diverged,
                        request_id,
                        validate_only,
                        expected_plan,
                        etag,
                    })
                };
                let question = |_: &_| "Delete the schedule?".to_owned();
                let answer = context.with_consent(consent, call, |answer| answer.plan.as_ref(), question).await?;
                let plan = answer.plan.clone().unwrap_or_default();
                out.show("DeletePatchScheduleResponse", &answer, |view| view.plan(&plan))?;
                Ok(Exit::Well)
            }
            Action::Preview { when, count } => {
                let time_zone = when.zone.clone().or_else(|| context.out.tz.clone()).unwrap_or_default();
                let (recurrence, after_time) = (when.recurrence()?, None);
                let request = api::PreviewScheduleRequest { recurrence, time_zone, count, after_time };
                let answer = client.preview_schedule(request).await?;
                out.show("PreviewScheduleResponse", &answer, |view| {
                    let expression = view.aside(&format!("{} = {}", answer.summary, answer.expression));
                    format!("{expression}\n{}", view.upcoming(&answer.runs))
                })?;
                Ok(Exit::Well)
            }
        }
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let request = api::ListPatchSchedulesRequest { parent: context.scope.any()?.into(), ..Default::default() };
    let Listing { items, unreachable } = Listing::collect(context.client.list_patch_schedules(request)).await?;
    let exit = context.out.warn(&unreachable);
    let all = api::ListPatchSchedulesResponse { patch_schedules: items, unreachable, ..Default::default() };
    context.out.show("ListPatchSchedulesResponse", &all, |view| view.schedules(&all.patch_schedules))?;
    Ok(exit)
}

async fn enable(context: &Context, name: String, enabled: bool, change: Change) -> Result<Exit, Failure> {
    let schedule = api::PatchSchedule { name, enabled: Some(enabled), ..Default::default() };
    update(context, schedule, &["enabled"], Consent { change, yes: true }).await
}

async fn update(
    context: &Context,
    schedule: api::PatchSchedule,
    paths: &[&str],
    consent: Consent,
) -> Result<Exit, Failure> {
    let validate_only = consent.change.validate_only;
    let mask = prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
    let call = |change: Change| {
        let Change { validate_only, expected_plan, request_id } = change;
        context.client.update_patch_schedule(api::UpdatePatchScheduleRequest {
            patch_schedule: Some(schedule.clone()),
            update_mask: Some(mask.clone()),
            request_id,
            validate_only,
            expected_plan,
            etag: String::new(),
        })
    };
    let question = |_: &_| "Change the schedule?".to_owned();
    let answer = context.with_consent(consent, call, |answer| answer.plan.as_ref(), question).await?;
    context.out.show("UpdatePatchScheduleResponse", &answer, |view| {
        let plan = view.plan(&answer.plan.clone().unwrap_or_default());
        let schedule = view.schedule(&answer.patch_schedule.clone().unwrap_or_default());
        if validate_only { plan } else { plan + "\n" + &schedule }
    })?;
    Ok(Exit::Well)
}

impl Create {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { name, does, on, when, settings, paused, consent } = self;
        let validate_only = consent.change.validate_only;
        let parent = context.scope.one()?.to_string();
        let Settings { duration, cutoff, concurrency, max_failures, description } = settings;
        let schedule = api::PatchSchedule {
            display_name: name,
            kind: does.kind(),
            reboot_option: does.reboot_option(),
            targets: on.targets(),
            recurrence: when.recurrence()?,
            time_zone: when.zone.or_else(|| context.out.tz.clone()).unwrap_or_default(),
            enabled: Some(!paused),
            duration_hours: duration.unwrap_or_default(),
            cutoff_hours: cutoff,
            rollout: Some(api::Rollout { concurrency, max_failures }),
            description: description.unwrap_or_default(),
            ..Default::default()
        };
        let call = |change: Change| {
            let Change { validate_only, expected_plan, request_id } = change;
            context.client.create_patch_schedule(api::CreatePatchScheduleRequest {
                parent: parent.clone(),
                patch_schedule: Some(schedule.clone()),
                request_id,
                validate_only,
                expected_plan,
            })
        };
        let question = |_: &_| "Make the schedule?".to_owned();
        let answer = context.with_consent(consent, call, |answer| answer.plan.as_ref(), question).await?;
        context.out.show("CreatePatchScheduleResponse", &answer, |view| {
            let plan = view.plan(&answer.plan.clone().unwrap_or_default());
            let schedule = view.schedule(&answer.patch_schedule.clone().unwrap_or_default());
            if validate_only { plan } else { plan + "\n" + &schedule }
        })?;
        Ok(Exit::Well)
    }
}

impl Update {
    async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { schedule, name, does, on, when, settings, consent } = self;
        let Settings { duration, cutoff, concurrency, max_failures, description } = settings;
        let (kind, reboot_option, targets, recurrence) =
            (does.kind(), does.reboot_option(), on.targets(), when.recurrence()?);
        let rollout = Some(api::Rollout { concurrency, max_failures });
        let rollout = rollout.filter(|rollout| rollout.concurrency.is_some() || rollout.max_failures.is_some());
        let said = [
            ("display_name", name.is_some()),
            ("description", description.is_some()),
            ("kind", kind != 0),
            ("reboot_option", reboot_option != 0),
            ("targets", targets.is_some()),
            ("recurrence", recurrence.is_some()),
            ("time_zone", when.zone.is_some()),
            ("duration_hours", duration.is_some()),
            ("cutoff_hours", cutoff.is_some()),
            ("rollout", rollout.is_some()),
        ];
        let paths: Vec<&str> = said.iter().filter(|(_, said)| *said).map(|(path, _)| *path).collect();
        if paths.is_empty() {
            return Err(Failure::Usage {
                what: "nothing is to be changed".to_owned(),
                next: "say what, for example --daily 04:00 or --zone Asia/Tokyo".to_owned(),
            });
        }
        let schedule = api::PatchSchedule {
            name: context.schedule(&schedule).await?,
            display_name: name.unwrap_or_default(),
            kind,
            reboot_option,
            targets,
            recurrence,
            time_zone: when.zone.unwrap_or_default(),
            duration_hours: duration.unwrap_or_default(),
            cutoff_hours: cutoff,
            rollout,
            description: description.unwrap_or_default(),
            ..Default::default()
        };
        update(context, schedule, &paths, consent).await
    }
}

impl Does {
    fn kind(&self) -> i32 {
        match (self.scan, self.install) {
            (true, _) => patch_operation::Kind::Scan,
            (_, true) => patch_operation::Kind::Install,
            _ => patch_operation::Kind::Unspecified,
        }
        .into()
    }

    fn reboot_option(&self) -> i32 {
        match self.reboot {
            None => patch_operation::RebootOption::Unspecified,
            Some(Reboot::IfNeeded) => patch_operation::RebootOption::RebootIfNeeded,
            Some(Reboot::No) => patch_operation::RebootOption::NoReboot,
        }
        .into()
    }
}

impl On {
    fn targets(self) -> Option<api::patch_schedule::Targets> {
        let Self { group: patch_groups, tag: tags, instance: instance_ids } = self;
        let targets = api::patch_schedule::Targets { patch_groups, tags, instance_ids };
        Some(targets).filter(|targets| *targets != Default::default())
    }
}

impl When {
    fn recurrence(&self) -> Result<Option<api::Recurrence>, Failure> {
        use recurrence::{Daily, Expression, Kind, MonthlyNth, Weekly};
        let offset_days = self.offset;
        let kind = if let Some(time) = self.daily {
            Kind::Daily(Daily { time: Some(time) })
        } else if !self.weekly.is_empty() {
            Kind::Weekly(Weekly { days: self.weekly.clone(), time: self.at })
        } else if let Some(nth) = self.nth {
            Kind::MonthlyNth(MonthlyNth { nth, weekday: self.weekday.unwrap_or_default(), offset_days, time: self.at })
        } else if let Some(expression) = self.expression.clone() {
            Kind::Expression(Expression { expression, offset_days })
        } else if self.at.is_some() || offset_days != 0 {
            return Err(Failure::Usage {
                what: "--at and --offset say only part of when it runs".to_owned(),
                next: "add --weekly, --nth with --weekday, or --expression".to_owned(),
            });
        } else {
            return Ok(None);
        };
        Ok(Some(api::Recurrence { kind: Some(kind) }))
    }
}

/// `03:00` or `03:00:30`.
fn clock(text: &str) -> Result<api::TimeOfDay, String> {
    let rule = || "must be a time such as 03:00".to_owned();
    let parts: Vec<i32> = text.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| rule())?;
    match parts[..] {
        [hours @ 0..=23, minutes @ 0..=59] => Ok(api::TimeOfDay { hours, minutes, seconds: 0 }),
        [hours @ 0..=23, minutes @ 0..=59, seconds @ 0..=59] => Ok(api::TimeOfDay { hours, minutes, seconds }),
        _ => Err(rule()),
    }
}

/// `mon`, `Monday`.
fn day(text: &str) -> Result<i32, String> {
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let start: String = text.to_ascii_lowercase().chars().take(3).collect();
    let number = days.iter().position(|day| *day == start).and_then(|index| i32::try_from(index + 1).ok());
    number.ok_or_else(|| "must be a day of the week, such as mon".to_owned())
}
