//! `patchctl scan`, `install`, `operations` and `output`.

use crate::{
    Context, args,
    failure::{Exit, Failure},
};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use futures::TryStreamExt as _;
use patchplane_client::{
    Followed, Listing, Location,
    api::{self, PatchOperation, patch_operation, patch_operation::Kind, patch_operation_step},
    view::Progress,
};
use std::io::{self, Write as _};

#[derive(Debug, Args)]
pub(crate) struct Scan {
    #[command(flatten)]
    spec: Spec,
}

#[derive(Debug, Args)]
pub(crate) struct Install {
    #[command(flatten)]
    spec: Spec,
    /// Whether instances reboot: `if-needed` when something was installed or waits for it; with `no` it stays pending.
    #[arg(long, value_enum)]
    reboot: Reboot,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Reboot {
    IfNeeded,
    No,
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
    /// Why, for those who read the history.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// A UUID for this operation: running the command again with it starts nothing more.
    #[arg(long, value_name = "UUID", default_value = "", hide_default_value = true)]
    request_id: String,
    /// Show which instances would be acted on, and start nothing.
    #[arg(long)]
    validate_only: bool,
    /// Do not follow the operation to its end.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Operations {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists operations, newest first (the default).
    List,
    /// Shows one operation.
    Get { operation: String },
    /// Lists an operation's instances with their steps, also those left out.
    Targets { operation: String },
    /// Follows an operation to its end, then lists its instances; with `-o json` one message a line.
    Watch { operation: String },
    /// Waits for an operation's end, then shows it.
    Wait { operation: String },
}

#[derive(Debug, Args)]
pub(crate) struct Output {
    /// The operation's ULID or name.
    operation: String,
    /// The instance's id.
    instance: String,
    /// PatchLinux, PatchWindows or PatchMacOS; unless given, the step that was not skipped.
    step: Option<String>,
}

impl Scan {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        self.spec.run(context, Kind::Scan, patch_operation::RebootOption::Unspecified).await
    }
}

impl Install {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let reboot = match self.reboot {
            Reboot::IfNeeded => patch_operation::RebootOption::RebootIfNeeded,
            Reboot::No => patch_operation::RebootOption::NoReboot,
        };
        self.spec.run(context, Kind::Install, reboot).await
    }
}

impl Spec {
    async fn run(self, context: &Context, kind: Kind, reboot: patch_operation::RebootOption) -> Result<Exit, Failure> {
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
            note: self.note,
            ..Default::default()
        };
        let request = api::CreatePatchOperationRequest {
            parent: context.scope.one()?.into(),
            patch_operation: Some(patch_operation),
            request_id: self.request_id,
            validate_only: self.validate_only,
            ..Default::default()
        };
        let created = context.client.create_patch_operation(request).await?;
        let (operation, plan) = (created.patch_operation.clone().unwrap_or_default(), created.plan.clone());
        if self.validate_only || self.no_wait {
            context.out.show("CreatePatchOperationResponse", &created, |view| {
                let plan = view.plan(&plan.unwrap_or_default());
                if self.validate_only { plan } else { plan + "\n" + &view.operation(&operation) }
            })?;
            return Ok(Exit::Well);
        }
        // Only news: the answer itself comes on standard output.
        let _ = writeln!(io::stderr(), "{}", operation.name);
        let followed = follow(context, &operation.name, |_| Ok(())).await?;
        result(context, &followed)
    }
}

impl Operations {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Context { client, scope, out } = context;
        let named = |operation: &str| scope.name(operation, Location::patch_operation);
        match self.action.unwrap_or(Action::List) {
            Action::List => list(context).await,
            Action::Get { operation } => {
                let request = api::GetPatchOperationRequest { name: named(&operation)? };
                let operation = client.get_patch_operation(request).await?.patch_operation.unwrap_or_default();
                out.show("PatchOperation", &operation, |view| view.operation(&operation))?;
                Ok(Exit::of(&operation))
            }
            Action::Targets { operation } => {
                let targets = targets(context, named(&operation)?).await?;
                let all = api::ListPatchOperationTargetsResponse { targets, ..Default::default() };
                out.show("ListPatchOperationTargetsResponse", &all, |view| view.targets(&all.targets))?;
                Ok(Exit::Well)
            }
            Action::Watch { operation } => {
                let followed = follow(context, &named(&operation)?, |message| {
                    match out.json("WatchPatchOperationResponse", message)? {
                        Some(line) => out.write(&format!("{line}\n")),
                        None => Ok(()),
                    }
                })
                .await?;
                match &followed.operation {
                    Some(operation) if out.is_json() => Ok(Exit::of(operation)),
                    _ => result(context, &followed),
                }
            }
            Action::Wait { operation } => {
                let operation = client.wait(named(&operation)?).await?;
                out.show("PatchOperation", &operation, |view| view.operation(&operation))?;
                Ok(Exit::of(&operation))
            }
        }
    }
}

impl Output {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let operation = context.scope.name(&self.operation, Location::patch_operation)?;
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
    let request = api::ListPatchOperationsRequest { parent: context.scope.any()?.into(), ..Default::default() };
    let Listing { items, unreachable } = Listing::collect(context.client.list_patch_operations(request)).await?;
    let exit = context.out.warn(&unreachable);
    let all = api::ListPatchOperationsResponse { patch_operations: items, unreachable, ..Default::default() };
    context.out.show("ListPatchOperationsResponse", &all, |view| match all.patch_operations.as_slice() {
        [] => "No operations yet.\n".to_owned(),
        operations => view.operations(operations),
    })?;
    Ok(exit)
}

async fn targets(context: &Context, parent: String) -> Result<Vec<api::PatchOperationTarget>, Failure> {
    let request = api::ListPatchOperationTargetsRequest { parent, page_size: 200, ..Default::default() };
    Ok(context.client.list_patch_operation_targets(request).try_collect().await?)
}

/// Watches the operation to its end, with progress on standard error; `message` sees every message.
async fn follow(
    context: &Context,
    name: &str,
    message: impl Fn(&api::WatchPatchOperationResponse) -> Result<(), Failure>,
) -> Result<Followed, Failure> {
    let mut followed = Followed::default();
    let mut progress = Progress::stderr();
    let mut watch = context.client.watch(name);
    loop {
        let next = tokio::select! {
            next = watch.try_next() => next?,
            _ = tokio::signal::ctrl_c() => return Err(Failure::Interrupted { operation: name.to_owned() }),
        };
        let Some(news) = next else { return Ok(followed) };
        message(&news)?;
        if followed.apply(news) {
            progress.show(&followed);
        }
    }
}

/// Shows what became of an operation and of each instance.
fn result(context: &Context, followed: &Followed) -> Result<Exit, Failure> {
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
