//! Trying an ended operation's failures again, as a new operation.

use super::{Created, NewPatchOperation};
use crate::{
    Error, Result,
    app::App,
    auth::{Action, Caller},
    domain::{
        name::OperationName,
        operation::{Kind, Spec, TargetSelection},
        request::Mutation,
    },
};

/// A request to try an operation's failures again.
pub struct RetryPatchOperation {
    pub name: OperationName,
    /// Also those of which nobody knows what became.
    pub include_unknown: bool,
    pub mutation: Mutation,
}

impl App {
    /// Creates an operation over those targets of another that are worth another attempt.
    #[tracing::instrument(name = "app.retry_patch_operation", skip_all, fields(operation = %retry.name))]
    pub async fn retry_patch_operation(&self, who: &Caller, retry: RetryPatchOperation) -> Result<Created> {
        let RetryPatchOperation { name, include_unknown, mutation } = retry;
        who.may(Action::ReadPatchOperations, &name.location)?;
        self.listed(&name).await?;
        let refuse = |reason, message: &str| {
            Err(Error::Precondition { reason, message: format!("{name} {message}"), subject: name.to_string() })
        };
        if !name.id.is_ours() {
            return refuse("OPERATION_READ_ONLY", "was started by others; create an operation of your own instead");
        }
        let saved = self.store.operation(name.id).await?;
        let saved = saved.ok_or_else(|| Error::not_found("patch operation", "PATCH_OPERATION_NOT_FOUND", &name))?;
        if !saved.operation.state.is_terminal() {
            return refuse("OPERATION_NOT_ENDED", "has not ended; wait for its end, or cancel it");
        }
        let worth = saved.targets.iter().filter(|target| target.worth_retrying(include_unknown));
        let instance_ids: Vec<_> = worth.map(|target| target.instance_id.clone()).collect();
        if instance_ids.is_empty() {
            let message = if saved.targets.iter().any(|target| target.worth_retrying(true)) {
                "leaves only targets of which nobody knows what became; look at them, then retry with include_unknown"
            } else {
                "leaves nothing to retry: every target succeeded or was left out on purpose"
            };
            return refuse("NOTHING_TO_RETRY", message);
        }
        let targets = TargetSelection { instance_ids, ..TargetSelection::default() };
        let spec = Spec { targets, ..saved.operation.spec };
        let retry_of = Some(name.id);
        self.create_patch_operation(who, NewPatchOperation { location: name.location, spec, retry_of, mutation }).await
    }
}

impl NewPatchOperation {
    /// Request ids are unique within a method.
    pub(super) fn method(&self) -> &'static str {
        match self.retry_of {
            None => "CreatePatchOperation",
            Some(_) => "RetryPatchOperation",
        }
    }

    /// What its caller must be allowed.
    pub(super) fn action(&self) -> Action {
        match self.spec.kind {
            Kind::Scan => Action::ScanInstances,
            Kind::Install => Action::InstallPatches,
            Kind::Reboot => Action::RebootInstances,
        }
    }
}
