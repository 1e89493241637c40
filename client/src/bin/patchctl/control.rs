//! `patchctl cancel`, `pause`, `resume`, `retry`, `events` and `watch`: what can be asked of operations, and what they tell.

use crate::{
    Context,
    args::{Change, Consent},
    failure::{Exit, Failure},
    operations::{CtrlC, OPERATION, question, started},
};
use clap::Args;
use futures::TryStreamExt as _;
use patchplane_client::{
    api::{self, cancel_patch_operation_request::Mode, watch_patch_operations_response::Event},
    view::View,
};
use std::collections::HashMap;

#[derive(Debug, Args)]
#[command(after_help = "\
Nothing more is started from the answer on; what runs on an instance finishes and is verified. There is no way back.

Examples:
  patchctl cancel last --note 'the release is called off'
  patchctl cancel 01KB8Q2M4V5W6X7Y8Z9A0B1C2D --interrupt      cancels also what runs")]
pub(crate) struct Cancel {
    #[arg(help = OPERATION)]
    operation: String,
    /// Cancel also the commands that run on instances, which may leave one half installed; asks first.
    #[arg(long)]
    interrupt: bool,
    /// Why; shown with the operation.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Nothing more is started until it is resumed; what runs goes on, and so does the time until its deadline.

Examples:
  patchctl pause last --note 'looking at the first two'")]
pub(crate) struct Pause {
    #[arg(help = OPERATION)]
    operation: String,
    /// Why; shown with the operation.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchctl resume last
  patchctl resume 01KB8Q2M4V5W6X7Y8Z9A0B1C2D --renew-snapshot   after three days: by the baselines as they are now")]
pub(crate) struct Resume {
    #[arg(help = OPERATION)]
    operation: String,
    /// Patch by the baselines as they are now from here on; wanted where it waits with SNAPSHOT_EXPIRED.
    #[arg(long)]
    renew_snapshot: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A new operation over the instances that did not succeed and are worth another attempt; everything else is as it was.

Examples:
  patchctl retry last
  patchctl retry 01KB8Q2M4V5W6X7Y8Z9A0B1C2D --include-unknown --yes")]
pub(crate) struct Retry {
    #[arg(help = OPERATION)]
    operation: String,
    /// Also instances of which nobody knows what became: look at them first, they may have been patched.
    #[arg(long)]
    include_unknown: bool,
    /// Do not follow the operation to its end.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchctl events last
  patchctl events 01KB8Q2M4V5W6X7Y8Z9A0B1C2D -o json")]
pub(crate) struct Events {
    #[arg(help = OPERATION)]
    operation: String,
    /// Only those of this instance.
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A line for each operation that has not ended, then one for each change, until Ctrl-C. `patchctl operations watch` follows one
operation to its end.

Examples:
  patchctl watch                                       of every location, or as --account and --region say
  patchctl watch -o json                               one message of the API a line")]
pub(crate) struct Watch {}

impl Cancel {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { operation, interrupt, note, consent } = self;
        let name = context.operation(&operation).await?;
        let mode = if interrupt { Mode::InterruptRunning } else { Mode::StopNew };
        let validate_only = consent.change.validate_only;
        let call = |Change { validate_only, expected_plan, request_id }| {
            context.client.cancel_patch_operation(api::CancelPatchOperationRequest {
                name: name.clone(),
                mode: mode.into(),
                note: note.clone(),
                request_id,
                validate_only,
                expected_plan,
            })
        };
        // To stop what has not begun is no risk, and may be urgent.
        let consent = Consent { yes: consent.yes || !interrupt, ..consent };
        let question = |_: &_| "Cancel it, and what runs on instances too?".to_owned();
        let answer = context.with_consent(consent, call, |answer| answer.plan.as_ref(), question).await?;
        context.out.show("CancelPatchOperationResponse", &answer, |view| {
            controlled(view, answer.plan.as_ref(), answer.patch_operation.as_ref(), validate_only)
        })?;
        Ok(Exit::Well)
    }
}

impl Pause {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { operation, note, change: Change { validate_only, expected_plan, request_id } } = self;
        let name = context.operation(&operation).await?;
        let request = api::PausePatchOperationRequest { name, note, request_id, validate_only, expected_plan };
        let answer = context.client.pause_patch_operation(request).await?;
        context.out.show("PausePatchOperationResponse", &answer, |view| {
            controlled(view, answer.plan.as_ref(), answer.patch_operation.as_ref(), validate_only)
        })?;
        Ok(Exit::Well)
    }
}

impl Resume {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { operation, renew_snapshot, change: Change { validate_only, expected_plan, request_id } } = self;
        let name = context.operation(&operation).await?;
        let request =
            api::ResumePatchOperationRequest { name, renew_snapshot, request_id, validate_only, expected_plan };
        let answer = context.client.resume_patch_operation(request).await?;
        context.out.show("ResumePatchOperationResponse", &answer, |view| {
            controlled(view, answer.plan.as_ref(), answer.patch_operation.as_ref(), validate_only)
        })?;
        Ok(Exit::Well)
    }
}

/// What was changed, and how the operation is now.
fn controlled(
    view: &View,
    plan: Option<&api::Plan>,
    operation: Option<&api::PatchOperation>,
    validate_only: bool,
) -> String {
    let plan = view.plan(&plan.cloned().unwrap_or_default());
    match operation.filter(|_| !validate_only) {
        Some(operation) => plan + "\n" + &view.operation(operation),
        None => plan,
    }
}

impl Retry {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { operation, include_unknown, no_wait, consent } = self;
        let name = context.operation(&operation).await?;
        let validate_only = consent.change.validate_only;
        let call = async |Change { validate_only, expected_plan, request_id }: Change| {
            let request = api::RetryPatchOperationRequest {
                name: name.clone(),
                include_unknown,
                request_id,
                validate_only,
                expected_plan,
            };
            let answer = context.client.retry_patch_operation(request).await?;
            let api::RetryPatchOperationResponse { patch_operation, plan, replayed } = answer;
            Ok(api::CreatePatchOperationResponse { patch_operation, plan, replayed })
        };
        let created = context.with_consent(consent, call, |created| created.plan.as_ref(), question).await?;
        started(context, created, validate_only, no_wait).await
    }
}

impl Events {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { operation, instance } = self;
        let parent = context.operation(&operation).await?;
        let request = api::ListPatchOperationEventsRequest { parent, page_size: 1000, ..Default::default() };
        let mut events: Vec<_> = context.client.list_patch_operation_events(request).try_collect().await?;
        events.retain(|event| instance.as_ref().is_none_or(|instance| event.instance_id == *instance));
        let all = api::ListPatchOperationEventsResponse { events, ..Default::default() };
        context.out.show("ListPatchOperationEventsResponse", &all, |view| view.events(&all.events))?;
        Ok(Exit::Well)
    }
}

impl Watch {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut messages = context.client.watch_all(context.scope.any()?);
        let (mut ctrl_c, again) = (CtrlC::new(), "patchctl watch");
        let mut lines = HashMap::new();
        loop {
            let Some(message) = ctrl_c.unless(messages.try_next(), again).await?? else { return Ok(Exit::Well) };
            if let Some(line) = context.out.json("WatchPatchOperationsResponse", &message)? {
                context.out.write_line(&line)?;
                continue;
            }
            let operations = match message.event {
                Some(Event::Snapshot(part)) => part.patch_operations,
                Some(Event::Update(update)) => update.patch_operations,
                Some(Event::Heartbeat(_)) | None => Vec::new(),
            };
            for operation in operations {
                // A change that the line does not show is no news here.
                let line = context.out.view.operation_line(&operation);
                if lines.insert(operation.name.clone(), line.clone()).as_ref() != Some(&line) {
                    context.out.write(&line)?;
                }
            }
        }
    }
}
