//! `patchctl scan`, `install`, `operations` and `output`.

use crate::{
    Context,
    args::{self, Change, Consent},
    failure::{Exit, Failure},
};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use futures::{FutureExt as _, TryStreamExt as _, future::BoxFuture};
use patchplane_client::{
    Followed, Listing,
    api::{self, PatchOperation, patch_operation, patch_operation::Kind, patch_operation_step},
    has_ended,
    view::{Progress, View},
};
use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};
use tokio::time::sleep;

/// How often a watched list is asked for.
const AGAIN: Duration = Duration::from_secs(2);
/// Puts the cursor home and clears the terminal.
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchctl scan --group web                             a patch group
  patchctl scan --instance i-0123456789abcdef0          one instance
  patchctl scan --tag env=test --exclude i-0123456789abcdef0
  patchctl scan --all --validate-only                   shows who would be scanned, and scans nobody")]
pub(crate) struct Scan {
    #[command(flatten)]
    spec: Spec,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Shows the plan and asks before it begins; what was shown is done, nothing else.

Examples:
  patchctl install --group web --reboot if-needed
  patchctl install --group web --reboot no --validate-only              shows the plan alone
  patchctl install --group web --reboot if-needed --concurrency 25% --max-failures 2
  patchctl install --group web --reboot if-needed --yes --no-wait       for scripts")]
pub(crate) struct Install {
    #[command(flatten)]
    spec: Spec,
    #[command(flatten)]
    consent: Consent,
    /// Whether instances reboot: `if-needed` when something was installed or waits for it; with `no` it stays pending.
    #[arg(long, value_enum)]
    reboot: Reboot,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Installs nothing. What waited for a reboot shows as installed after the next scan. Shows the plan and asks before it begins.

Examples:
  patchctl reboot --group web                           a tenth of them at a time
  patchctl reboot --instance i-0123456789abcdef0
  patchctl reboot --group web --concurrency 1 --validate-only")]
pub(crate) struct RebootInstances {
    #[command(flatten)]
    spec: Spec,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Reboot {
    IfNeeded,
    No,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnBusy {
    Wait,
    Skip,
    Fail,
}

impl From<OnBusy> for patch_operation::OnBusy {
    fn from(on_busy: OnBusy) -> Self {
        match on_busy {
            OnBusy::Wait => Self::Wait,
            OnBusy::Skip => Self::Skip,
            OnBusy::Fail => Self::Fail,
        }
    }
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true))]
struct Spec {
    /// Instances of this patch group; may be given several times, like --instance and --tag.
    #[arg(long = "group", value_name = "GROUP", group = "which")]
    groups: Vec<String>,
    /// This instance.
    #[arg(long = "instance", value_name = "ID", group = "which")]
    instances: Vec<String>,
    /// Instances with this tag.
    #[arg(long = "tag", value_name = "KEY=VALUE", group = "which", value_parser = args::tag)]
    tags: Vec<api::TagMatch>,
    /// All instances that Systems Manager manages.
    #[arg(long, group = "which", conflicts_with_all = ["groups", "instances", "tags"])]
    all: bool,
    /// Never this instance.
    #[arg(long = "exclude", value_name = "ID")]
    excluded: Vec<String>,
    /// How many at once: a number up to 50 or a share; 10% unless given.
    #[arg(long, value_name = "N|N%", value_parser = args::limit)]
    concurrency: Option<api::InstanceLimit>,
    /// Start nothing more after so many failed: a number or a share; 5%, at least 1, unless given.
    #[arg(long, value_name = "N|N%", value_parser = args::limit)]
    max_failures: Option<api::InstanceLimit>,
    /// What to do with an instance that another run works on: wait (the default), skip it, or count it as failed.
    #[arg(long, value_enum, value_name = "WHAT")]
    on_busy: Option<OnBusy>,
    /// Go on in spite of freezes; the server asks for a right of its own.
    #[arg(long)]
    override_freeze: bool,
    /// Why, for those who read the history.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// Do not follow the operation to its end.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  patchctl operations                                   everything, newest first
  patchctl operations --watch                           until everything has ended
  patchctl operations get last                          the newest
  patchctl operations get 01KB8Q2M4V5W6X7Y8Z9A0B1C2D --watch
  patchctl operations targets 01KB8Q2M4V5W6X7Y8Z9A0B1C2D

Ctrl-C ends the watching alone, with exit code 130: the operation goes on.")]
pub(crate) struct Operations {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists operations, newest first (the default).
    List(List),
    /// Shows one operation.
    Get {
        #[arg(value_name = "OPERATION", help = OPERATION)]
        id: String,
        /// Follow it to its end first, like `operations watch`.
        #[arg(short, long)]
        watch: bool,
    },
    /// Lists an operation's instances with their steps, also those left out.
    Targets {
        #[arg(value_name = "OPERATION", help = OPERATION)]
        id: String,
    },
    /// Follows an operation to its end, then lists its instances; with `-o json` one message a line.
    Watch {
        #[arg(value_name = "OPERATION", help = OPERATION)]
        id: String,
    },
    /// Waits for an operation's end without a word, then shows it.
    Wait {
        #[arg(value_name = "OPERATION", help = OPERATION)]
        id: String,
    },
}

pub(crate) const OPERATION: &str = "The operation's id, its resource name, or `last` for the newest";

#[derive(Debug, Args)]
struct List {
    /// Show the list again whenever it changes, until every operation has ended.
    #[arg(short, long)]
    watch: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchctl output 01KB8Q2M4V5W6X7Y8Z9A0B1C2D i-0123456789abcdef0
  patchctl output last i-0123456789abcdef0              of the newest operation")]
pub(crate) struct Output {
    #[arg(help = OPERATION)]
    operation: String,
    /// The instance's id.
    instance: String,
    /// PatchLinux, PatchWindows or PatchMacOS; unless given, the step that was not skipped.
    step: Option<String>,
}

impl Scan {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { spec, change } = self;
        let no_wait = spec.no_wait;
        let request = spec.request(context, Kind::Scan, patch_operation::RebootOption::Unspecified)?;
        let (validate_only, request) = (change.validate_only, framed(request, change));
        let created = context.client.create_patch_operation(request).await?;
        if !validate_only {
            context.note(created.plan.as_ref());
        }
        started(context, created, validate_only, no_wait).await
    }
}

impl RebootInstances {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        self.spec.start(context, self.consent, Kind::Reboot, patch_operation::RebootOption::Unspecified).await
    }
}

impl Install {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { spec, consent, reboot } = self;
        let reboot = match reboot {
            Reboot::IfNeeded => patch_operation::RebootOption::RebootIfNeeded,
            Reboot::No => patch_operation::RebootOption::NoReboot,
        };
        spec.start(context, consent, Kind::Install, reboot).await
    }
}

/// `Install on 12 instances, 2 at once, stop after 1 failed, reboot those that need it?`
pub(crate) fn question(created: &api::CreatePatchOperationResponse) -> String {
    let instances = created.plan.as_ref().map_or(0, |plan| plan.target_count);
    let operation = created.patch_operation.clone().unwrap_or_default();
    let rollout = operation.rollout.unwrap_or_default();
    let number = |limit: Option<api::InstanceLimit>| limit.map_or(0, |limit| args::number(&limit, instances));
    let plural = if instances == 1 { "" } else { "s" };
    if operation.kind() == Kind::Scan {
        return format!("Scan {instances} instance{plural}?");
    }
    let limits = format!("{} at once, stop after {} failed", number(rollout.concurrency), number(rollout.max_failures));
    if operation.kind() == Kind::Reboot {
        return format!("Reboot {instances} instance{plural}, {limits}?");
    }
    let reboot = match operation.reboot_option() {
        patch_operation::RebootOption::RebootIfNeeded => "reboot those that need it",
        _ => "reboot none",
    };
    format!("Install on {instances} instance{plural}, {limits}, {reboot}?")
}

pub(crate) fn framed(request: api::CreatePatchOperationRequest, change: Change) -> api::CreatePatchOperationRequest {
    let Change { validate_only, expected_plan, request_id } = change;
    api::CreatePatchOperationRequest { validate_only, expected_plan, request_id, ..request }
}

impl Spec {
    /// Starts it once the plan has been agreed to.
    async fn start(
        self,
        context: &Context,
        consent: Consent,
        kind: Kind,
        reboot: patch_operation::RebootOption,
    ) -> Result<Exit, Failure> {
        let (no_wait, validate_only) = (self.no_wait, consent.change.validate_only);
        let request = self.request(context, kind, reboot)?;
        let call = |change| context.client.create_patch_operation(framed(request.clone(), change));
        let created = context.with_consent(consent, call, |created| created.plan.as_ref(), question).await?;
        started(context, created, validate_only, no_wait).await
    }

    fn request(
        self,
        context: &Context,
        kind: Kind,
        reboot: patch_operation::RebootOption,
    ) -> Result<api::CreatePatchOperationRequest, Failure> {
        let rollout = (self.concurrency.is_some() || self.max_failures.is_some())
            .then_some(api::Rollout { concurrency: self.concurrency, max_failures: self.max_failures });
        let patch_operation = PatchOperation {
            kind: kind.into(),
            targets: Some(api::TargetSelection {
                patch_groups: self.groups,
                tags: self.tags,
                instance_ids: self.instances,
                all_managed: self.all,
                excluded_instance_ids: self.excluded,
            }),
            reboot_option: reboot.into(),
            rollout,
            on_busy: self.on_busy.map_or(0, |on_busy| patch_operation::OnBusy::from(on_busy).into()),
            override_freeze: self.override_freeze,
            note: self.note,
            ..Default::default()
        };
        let parent = context.scope.one()?.into();
        Ok(api::CreatePatchOperationRequest { parent, patch_operation: Some(patch_operation), ..Default::default() })
    }
}

/// Shows what was started, or follows it to its end.
pub(crate) async fn started(
    context: &Context,
    created: api::CreatePatchOperationResponse,
    validate_only: bool,
    no_wait: bool,
) -> Result<Exit, Failure> {
    let operation = created.patch_operation.clone().unwrap_or_default();
    if validate_only || no_wait {
        context.out.show("CreatePatchOperationResponse", &created, |view| {
            let plan = created.plan.as_ref().map_or_else(String::new, |plan| view.plan(plan));
            if validate_only { plan } else { plan + "\n" + &view.operation(&operation) }
        })?;
        return Ok(Exit::Well);
    }
    // Only news: the answer itself comes on standard output.
    let _ = writeln!(io::stderr(), "{}", operation.name);
    let followed = follow(context, &operation.name, |_| Ok(())).await?;
    result(context, &followed)
}

impl Operations {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Context { client, out, .. } = context;
        match self.action.unwrap_or(Action::List(self.list)) {
            Action::List(List { watch: false }) => list(context).await,
            Action::List(List { watch: true }) => watch_list(context).await,
            Action::Get { id, watch: false } => {
                let request = api::GetPatchOperationRequest { name: context.operation(&id).await? };
                let operation = client.get_patch_operation(request).await?.patch_operation.unwrap_or_default();
                out.show("PatchOperation", &operation, |view| view.operation(&operation))?;
                Ok(Exit::of(&operation))
            }
            Action::Targets { id } => {
                let targets = targets(context, context.operation(&id).await?).await?;
                let all = api::ListPatchOperationTargetsResponse { targets, ..Default::default() };
                out.show("ListPatchOperationTargetsResponse", &all, |view| view.targets(&all.targets))?;
                Ok(Exit::Well)
            }
            Action::Get { id, watch: true } | Action::Watch { id } => {
                let followed = follow(context, &context.operation(&id).await?, |message| {
                    match out.json("WatchPatchOperationResponse", message)? {
                        Some(line) => out.write_line(&line),
                        None => Ok(()),
                    }
                })
                .await?;
                match &followed.operation {
                    Some(operation) if out.is_json() => Ok(Exit::of(operation)),
                    _ => result(context, &followed),
                }
            }
            Action::Wait { id } => {
                let name = context.operation(&id).await?;
                let operation = CtrlC::new().unless(client.wait(&name), &again(&name)).await??;
                out.show("PatchOperation", &operation, |view| view.operation(&operation))?;
                Ok(Exit::of(&operation))
            }
        }
    }
}

/// How to look at an operation again.
fn again(name: &str) -> String {
    format!("patchctl operations watch {name}")
}

/// Ctrl-C from the first waiting on: none is missed between two.
pub(crate) struct CtrlC(BoxFuture<'static, io::Result<()>>);

impl CtrlC {
    pub(crate) fn new() -> Self {
        Self(tokio::signal::ctrl_c().boxed())
    }

    /// Awaits it unless the user has had enough; `again` is the command to look again.
    pub(crate) async fn unless<T>(&mut self, it: impl Future<Output = T>, again: &str) -> Result<T, Failure> {
        tokio::select! {
            biased;
            _ = &mut self.0 => Err(Failure::Interrupted { again: again.to_owned() }),
            done = it => Ok(done),
        }
    }
}

impl Output {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let operation = context.operation(&self.operation).await?;
        let step = match self.step {
            Some(step) => step,
            None => step_that_ran(context, &operation, &self.instance).await?,
        };
        let name = format!("{operation}/targets/{}/steps/{step}", self.instance);
        let answer = context.client.get_step_output(api::GetStepOutputRequest { name }).await?;
        context.out.show("GetStepOutputResponse", &answer, |_| answer.stdout.clone())?;
        if !context.out.is_json() {
            let mut stderr = io::stderr();
            stderr.write_all(answer.stderr.as_bytes())?;
            if answer.stdout_truncated || answer.stderr_truncated {
                writeln!(stderr, "\nAWS kept only the beginning of this output.")?;
            }
        }
        Ok(Exit::Well)
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let all = all(context).await?;
    let exit = context.out.warn(&all.unreachable);
    context.out.show("ListPatchOperationsResponse", &all, |view| listed(view, &all))?;
    Ok(exit)
}

/// The list again whenever it has changed, until all has ended: on a terminal in one place, else one below the other.
async fn watch_list(context: &Context) -> Result<Exit, Failure> {
    let (mut shown, mut ctrl_c, again) = (None, CtrlC::new(), "patchctl operations --watch");
    loop {
        let all = ctrl_c.unless(all(context), again).await??;
        if shown.as_ref() != Some(&all) {
            let in_place = shown.is_some() && io::stdout().is_terminal();
            match context.out.json("ListPatchOperationsResponse", &all)? {
                Some(value) => context.out.write_line(&value)?,
                None if in_place => context.out.write(&format!("{CLEAR}{}", listed(&context.out.view, &all)))?,
                None if shown.is_some() => context.out.write(&format!("\n{}", listed(&context.out.view, &all)))?,
                None => context.out.write(&listed(&context.out.view, &all))?,
            }
        }
        if all.patch_operations.iter().all(has_ended) {
            return Ok(context.out.warn(&all.unreachable));
        }
        shown = Some(all);
        ctrl_c.unless(sleep(AGAIN), again).await?;
    }
}

fn listed(view: &View, all: &api::ListPatchOperationsResponse) -> String {
    match all.patch_operations.as_slice() {
        [] => "No operations yet.\n".to_owned(),
        operations => view.operations(operations),
    }
}

async fn all(context: &Context) -> Result<api::ListPatchOperationsResponse, Failure> {
    let request = api::ListPatchOperationsRequest { parent: context.scope.any()?.into(), ..Default::default() };
    let Listing { items, unreachable } = Listing::collect(context.client.list_patch_operations(request)).await?;
    Ok(api::ListPatchOperationsResponse { patch_operations: items, unreachable, ..Default::default() })
}

async fn targets(context: &Context, parent: String) -> Result<Vec<api::PatchOperationTarget>, Failure> {
    let request = api::ListPatchOperationTargetsRequest { parent, page_size: 200, ..Default::default() };
    Ok(context.client.list_patch_operation_targets(request).try_collect().await?)
}

/// Watches the operation to its end, with progress on standard error; `message` sees every message.
pub(crate) async fn follow(
    context: &Context,
    name: &str,
    message: impl Fn(&api::WatchPatchOperationResponse) -> Result<(), Failure>,
) -> Result<Followed, Failure> {
    let mut followed = Followed::default();
    let mut progress = Progress::stderr();
    let mut watch = context.client.watch(name);
    let (mut ctrl_c, again) = (CtrlC::new(), again(name));
    loop {
        let Some(news) = ctrl_c.unless(watch.try_next(), &again).await?? else { return Ok(followed) };
        message(&news)?;
        if followed.apply(news) {
            progress.show(&followed);
        }
    }
}

/// Shows what became of an operation and of each instance.
pub(crate) fn result(context: &Context, followed: &Followed) -> Result<Exit, Failure> {
    let out = &context.out;
    let operation = followed.operation.clone().unwrap_or_default();
    if let Some(operation) = out.json("PatchOperation", &operation)? {
        let targets = followed.targets.values().map(|target| out.json("PatchOperationTarget", target));
        let targets = targets.collect::<Result<Option<Vec<_>>, _>>()?;
        out.write_json(&serde_json::json!({ "patchOperation": operation, "targets": targets }))?;
    } else {
        out.write(&(out.view.operation(&operation) + "\n" + &out.view.targets(followed.targets.values())))?;
    }
    Ok(Exit::of(&operation))
}

/// The name of the step that was meant for the instance's platform.
async fn step_that_ran(context: &Context, operation: &str, instance: &str) -> Result<String, Failure> {
    let targets = targets(context, operation.to_owned()).await?;
    let Some(target) = targets.into_iter().find(|target| target.instance_id == instance) else {
        return Err(Failure::Usage {
            what: format!("{instance} is no target of this operation"),
            next: "`patchctl operations targets OPERATION` lists its targets".to_owned(),
        });
    };
    let ran = target.steps.into_iter().find(|step| step.state() != patch_operation_step::State::Skipped);
    ran.map(|step| step.step).ok_or_else(|| Failure::Usage {
        what: format!("no step ran on {instance}: {}", target.explanation),
        next: "`patchctl operations targets OPERATION` shows what became of each".to_owned(),
    })
}
