//! Cancelling, pausing, resuming and retrying operations, their events, and the watch over all of them, at the door.

use super::check_note;
use crate::{
    app::{
        patch_operations::{
            control::{Ask, ControlPatchOperation},
            retry::RetryPatchOperation,
        },
        watch_all::{EventOfAll, WatchAll, WatchedAll},
    },
    domain::{control::CancelMode, event::Event, name::OperationName, request::RequestId},
    error::Error,
    grpc::convert::{mutation, time},
};
use futures::{StreamExt as _, stream::BoxStream};
use patchplane_proto::v1 as pb;
use patchplane_rules::{InstanceId, Invalid};
use tonic::Status;

impl TryFrom<pb::CancelPatchOperationRequest> for ControlPatchOperation {
    type Error = Error;

    fn try_from(request: pb::CancelPatchOperationRequest) -> Result<Self, Error> {
        use pb::cancel_patch_operation_request::Mode;
        let content =
            pb::CancelPatchOperationRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::CancelPatchOperationRequest { name, mode, note, request_id, validate_only, expected_plan } = request;
        let name = OperationName::parse("name", &name)?;
        let mode = match Mode::try_from(mode) {
            Ok(Mode::Unspecified | Mode::StopNew) => CancelMode::StopNew,
            Ok(Mode::InterruptRunning) => CancelMode::InterruptRunning,
            Err(_) => return Err(Invalid::new("mode", "is not a value this server knows").into()),
        };
        check_note("note", &note)?;
        let request_id = RequestId::parse_or_new(&request_id)?;
        let ask = Ask::Cancel { mode, note };
        Ok(Self { name, ask, mutation: mutation(request_id, &content, validate_only, expected_plan) })
    }
}

impl TryFrom<pb::PausePatchOperationRequest> for ControlPatchOperation {
    type Error = Error;

    fn try_from(request: pb::PausePatchOperationRequest) -> Result<Self, Error> {
        let content =
            pb::PausePatchOperationRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::PausePatchOperationRequest { name, note, request_id, validate_only, expected_plan } = request;
        let name = OperationName::parse("name", &name)?;
        check_note("note", &note)?;
        let request_id = RequestId::parse_or_new(&request_id)?;
        let ask = Ask::Pause { note };
        Ok(Self { name, ask, mutation: mutation(request_id, &content, validate_only, expected_plan) })
    }
}

impl TryFrom<pb::ResumePatchOperationRequest> for ControlPatchOperation {
    type Error = Error;

    fn try_from(request: pb::ResumePatchOperationRequest) -> Result<Self, Error> {
        let content =
            pb::ResumePatchOperationRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::ResumePatchOperationRequest { name, renew_snapshot, request_id, validate_only, expected_plan } =
            request;
        let name = OperationName::parse("name", &name)?;
        let request_id = RequestId::parse_or_new(&request_id)?;
        let ask = Ask::Resume { renew_snapshot };
        Ok(Self { name, ask, mutation: mutation(request_id, &content, validate_only, expected_plan) })
    }
}

impl TryFrom<pb::RetryPatchOperationRequest> for RetryPatchOperation {
    type Error = Error;

    fn try_from(request: pb::RetryPatchOperationRequest) -> Result<Self, Error> {
        let content =
            pb::RetryPatchOperationRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::RetryPatchOperationRequest { name, include_unknown, request_id, validate_only, expected_plan } =
            request;
        let name = OperationName::parse("name", &name)?;
        // It starts work on hosts: the caller names it, unless nothing is done.
        let request_id = match (request_id.as_str(), validate_only) {
            ("", true) => RequestId::parse_or_new("")?,
            (text, _) => RequestId::parse(text)?,
        };
        let mutation = mutation(request_id, &content, validate_only, expected_plan);
        Ok(Self { name, include_unknown, mutation })
    }
}

impl From<Event> for pb::PatchOperationEvent {
    fn from(event: Event) -> Self {
        let Event { revision, seq: _, time: at, target, state, reason, explanation } = event;
        Self {
            time: Some(time(at)),
            instance_id: target.map(InstanceId::into).unwrap_or_default(),
            state: screaming(&state),
            reason,
            explanation,
            revision: revision.cast_signed(),
        }
    }
}

/// `CompletedWithFailures`, as the record names it, as `COMPLETED_WITH_FAILURES`.
fn screaming(camel: &str) -> String {
    let mut text = String::with_capacity(camel.len() + 4);
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

pub(super) fn stream(watch: WatchAll) -> BoxStream<'static, Result<pb::WatchPatchOperationsResponse, Status>> {
    futures::stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        match watch.next().await {
            Ok(message) => Some((Ok(watched(message)), Some(watch))),
            Err(error) => Some((Err(error.into()), None)),
        }
    })
    .boxed()
}

fn watched(message: WatchedAll) -> pb::WatchPatchOperationsResponse {
    use pb::watch_patch_operations_response as wire;
    let event = match message.event {
        EventOfAll::Snapshot { operations, complete } => wire::Event::Snapshot(wire::Snapshot {
            patch_operations: operations.into_iter().map(Into::into).collect(),
            complete,
        }),
        EventOfAll::Update { operations } => {
            let patch_operations = operations.into_iter().map(Into::into).collect();
            wire::Event::Update(wire::Update { patch_operations })
        }
        EventOfAll::Heartbeat { time: at } => wire::Event::Heartbeat(wire::Heartbeat { time: Some(time(at)) }),
    };
    pb::WatchPatchOperationsResponse { event: Some(event), resume_token: message.resume_token.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_named_as_the_enum_is() {
        assert_eq!(screaming("TimedOut"), "TIMED_OUT");
        assert_eq!(screaming("Running"), "RUNNING");
    }
}
