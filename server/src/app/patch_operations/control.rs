//! Cancelling, pausing and resuming: recorded beside the operation, in one write with the request; the engine obeys.

use super::super::{
    App,
    mutations::{Begun, expect_plan},
};
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::{
        control::{Cancel, CancelMode, Control, Pause},
        name::OperationName,
        operation::State,
        plan::{Change, ChangeAction, Plan},
        request::Mutation,
    },
    store::Listed,
};
use jiff::Timestamp;

/// What is asked of an operation that is under way.
pub enum Ask {
    Cancel { mode: CancelMode, note: String },
    Pause { note: String },
    Resume { renew_snapshot: bool },
}

/// A request to cancel, pause or resume.
pub struct ControlPatchOperation {
    pub name: OperationName,
    pub ask: Ask,
    pub mutation: Mutation,
}

/// The operation after it, and what was changed.
pub struct Controlled {
    pub listed: Listed,
    pub plan: Plan,
    pub replayed: bool,
}

impl App {
    /// Asks something of an operation. From the answer on nothing is sent that it forbids.
    #[tracing::instrument(name = "app.control_patch_operation", skip_all, fields(operation = %request.name))]
    pub async fn control_patch_operation(&self, who: &Caller, request: ControlPatchOperation) -> Result<Controlled> {
        let ControlPatchOperation { name, ask, mutation } = request;
        who.may(ask.action(), &name.location)?;
        if mutation.validate_only {
            let listed = self.listed(&name).await?;
            let (_, plan) = ask.of(&listed, who, self.clock.now())?;
            return Ok(Controlled { listed, plan, replayed: false });
        }
        let replay = async || {
            let listed = self.listed(&name).await?;
            Ok(Controlled { listed, plan: Plan::default(), replayed: true })
        };
        let progress = match self.begin(who, ask.method(), &mutation).await? {
            Begun::Replay(_) => return replay().await,
            Begun::Go(progress) => progress,
        };
        // All writers wait for each other: what is read now holds until the commit.
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        let listed = self.listed(&name).await?;
        let (control, plan) = ask.of(&listed, who, now)?;
        expect_plan(&mutation, &plan)?;
        let resource = name.to_string();
        if !tx.put_request(progress.key(), &mutation.fingerprint, Some(&resource), now).await? {
            drop(tx);
            return replay().await;
        }
        if control != listed.control {
            tx.put_control(name.id, &control).await?;
        }
        tx.commit().await?;
        tracing::info!(operation.id = %name.id, asked = ask.method(), by = %who.principal, "asked of an operation");
        self.engine.nudge(name.id);
        Ok(Controlled { listed: self.listed(&name).await?, plan, replayed: false })
    }
}

impl Ask {
    fn method(&self) -> &'static str {
        match self {
            Self::Cancel { .. } => "CancelPatchOperation",
            Self::Pause { .. } => "PausePatchOperation",
            Self::Resume { .. } => "ResumePatchOperation",
        }
    }

    fn action(&self) -> Action {
        match self {
            Self::Cancel { mode: CancelMode::InterruptRunning, .. } => Action::InterruptPatchOperations,
            _ => Action::ControlPatchOperations,
        }
    }

    /// What is asked of the operation afterwards, and how that differs; a refusal says why it cannot be.
    fn of(&self, listed: &Listed, who: &Caller, now: Timestamp) -> Result<(Control, Plan)> {
        let name = OperationName { location: listed.operation.location.clone(), id: listed.operation.id }.to_string();
        let refuse = |reason, message: &str| {
            Err(Error::Precondition { reason, message: format!("{name} {message}"), subject: name.clone() })
        };
        if !listed.operation.id.is_ours() {
            return refuse("OPERATION_READ_ONLY", "was started by others, and can only be read here");
        }
        if listed.operation.state.is_terminal() {
            return refuse("OPERATION_ENDED", "has ended; look at it, or retry what did not succeed");
        }
        let cancelled = listed.control.cancel.is_some() || listed.operation.state == State::Cancelling;
        if cancelled && !matches!(self, Self::Cancel { .. }) {
            return refuse("OPERATION_CANCELLED", "was cancelled: there is no way back");
        }
        let by = who.principal.to_string();
        let mut control = listed.control.clone();
        match self {
            Self::Cancel { mode, note } => {
                let before = control.cancel.as_ref().map(|cancel| cancel.mode);
                if before.is_none() || (before, *mode) == (Some(CancelMode::StopNew), CancelMode::InterruptRunning) {
                    control.cancel = Some(Cancel { mode: *mode, at: now, by, note: note.clone() });
                }
            }
            Self::Pause { note } => {
                let pause = || Pause { at: now, by, reason: String::new(), note: note.clone() };
                control.pause.get_or_insert_with(pause);
            }
            Self::Resume { renew_snapshot } => {
                control.pause = None;
                if *renew_snapshot {
                    control.renew_snapshot = Some(now);
                }
            }
        }
        let plan = Plan { changes: changes(&name, &listed.control, &control), ..Plan::default() };
        Ok((control, plan))
    }
}

fn changes(name: &str, before: &Control, after: &Control) -> Vec<Change> {
    let fields = |control: &Control| {
        [
            ("cancel", control.cancel.as_ref().map_or("", |cancel| cancel.mode.as_str())),
            ("pause", control.pause.as_ref().map_or("", |_| "paused")),
        ]
    };
    let mut changes = Vec::new();
    let mut change = |field: &str, before: &str, after: &str| {
        changes.push(Change {
            resource: name.to_owned(),
            action: ChangeAction::Update,
            field: field.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
            aws_operation: "",
        });
    };
    for ((field, before), (_, after)) in fields(before).into_iter().zip(fields(after)) {
        if before != after {
            change(field, before, after);
        }
    }
    if before.renew_snapshot != after.renew_snapshot {
        change("snapshot_id", "", "a new one");
    }
    changes
}
