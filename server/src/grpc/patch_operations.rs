//! PatchOperationService at the door.

mod answers;
mod control;

use super::{
    Api, caller,
    convert::{instance_ids, mutation, page, paging, time},
};
use crate::{
    app::{
        patch_operations::{
            ListPatchOperations, ListTargets, NewPatchOperation, ReadOutput,
            control::{ControlPatchOperation, Controlled},
            retry::RetryPatchOperation,
        },
        watch::Watch,
    },
    domain::{
        name::{OperationName, Parent, StepName, parse_location},
        operation::{InstanceLimit, Kind, OnBusy, OriginKind, RebootOption, Spec, TargetSelection},
        request::RequestId,
    },
    error::Error,
};
use answers::{target, watched};
use futures::{StreamExt as _, stream::BoxStream};
use jiff::SignedDuration;
use patchplane_proto::v1 as pb;
use patchplane_rules::{Invalid, PatchGroupName};
use std::time::Duration;
use tonic::{Request, Response, Status};

/// The longest WaitPatchOperation, and how long it waits when nothing is said.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// The most groups, or tags, of one operation.
const MOST_SELECTORS: usize = 50;
const LONGEST_NOTE: usize = 500;

#[tonic::async_trait]
impl pb::patch_operation_service_server::PatchOperationService for Api {
    async fn create_patch_operation(
        &self,
        request: Request<pb::CreatePatchOperationRequest>,
    ) -> Result<Response<pb::CreatePatchOperationResponse>, Status> {
        let who = caller(&request)?;
        let new = NewPatchOperation::try_from(request.into_inner())?;
        let created = self.app.create_patch_operation(&who, new).await?;
        Ok(Response::new(created.into()))
    }

    async fn get_patch_operation(
        &self,
        request: Request<pb::GetPatchOperationRequest>,
    ) -> Result<Response<pb::GetPatchOperationResponse>, Status> {
        let who = caller(&request)?;
        let pb::GetPatchOperationRequest { name } = request.into_inner();
        let name = OperationName::parse("name", &name).map_err(Error::from)?;
        let listed = self.app.get_patch_operation(&who, name).await?;
        Ok(Response::new(pb::GetPatchOperationResponse { patch_operation: Some(listed.into()) }))
    }

    async fn list_patch_operations(
        &self,
        request: Request<pb::ListPatchOperationsRequest>,
    ) -> Result<Response<pb::ListPatchOperationsResponse>, Status> {
        let who = caller(&request)?;
        let pb::ListPatchOperationsRequest { parent, page_size, page_token, origin } = request.into_inner();
        let parent = Parent::parse("parent", &parent).map_err(Error::from)?;
        let origin = asked_origin(origin).map_err(Error::from)?;
        let paging = paging(page_size, page_token, 50, 200).map_err(Error::from)?;
        let found = self.app.list_patch_operations(&who, ListPatchOperations { parent, origin, paging }).await?;
        let (patch_operations, next_page_token, unreachable) = page(found, pb::PatchOperation::from);
        Ok(Response::new(pb::ListPatchOperationsResponse { patch_operations, next_page_token, unreachable }))
    }

    type WatchPatchOperationStream = BoxStream<'static, Result<pb::WatchPatchOperationResponse, Status>>;

    async fn watch_patch_operation(
        &self,
        request: Request<pb::WatchPatchOperationRequest>,
    ) -> Result<Response<Self::WatchPatchOperationStream>, Status> {
        let who = caller(&request)?;
        let pb::WatchPatchOperationRequest { name, resume_token } = request.into_inner();
        let name = OperationName::parse("name", &name).map_err(Error::from)?;
        let token = Some(resume_token).filter(|token| !token.is_empty());
        let watch = self.app.watch_patch_operation(&who, name.clone(), token).await?;
        Ok(Response::new(stream(watch, name)))
    }

    async fn wait_patch_operation(
        &self,
        request: Request<pb::WaitPatchOperationRequest>,
    ) -> Result<Response<pb::WaitPatchOperationResponse>, Status> {
        let who = caller(&request)?;
        let pb::WaitPatchOperationRequest { name, timeout } = request.into_inner();
        let name = OperationName::parse("name", &name).map_err(Error::from)?;
        let timeout = wait(timeout).map_err(Error::from)?;
        let listed = self.app.wait_patch_operation(&who, name, timeout).await?;
        Ok(Response::new(pb::WaitPatchOperationResponse { patch_operation: Some(listed.into()) }))
    }

    async fn list_patch_operation_targets(
        &self,
        request: Request<pb::ListPatchOperationTargetsRequest>,
    ) -> Result<Response<pb::ListPatchOperationTargetsResponse>, Status> {
        let who = caller(&request)?;
        let pb::ListPatchOperationTargetsRequest { parent, page_size, page_token } = request.into_inner();
        let operation = OperationName::parse("parent", &parent).map_err(Error::from)?;
        let paging = paging(page_size, page_token, 50, 200).map_err(Error::from)?;
        let found = self.app.list_targets(&who, ListTargets { operation: operation.clone(), paging }).await?;
        let (targets, next_page_token, _) = page(found, |row| target(&operation, row));
        Ok(Response::new(pb::ListPatchOperationTargetsResponse { targets, next_page_token }))
    }

    async fn cancel_patch_operation(
        &self,
        request: Request<pb::CancelPatchOperationRequest>,
    ) -> Result<Response<pb::CancelPatchOperationResponse>, Status> {
        let who = caller(&request)?;
        let request = ControlPatchOperation::try_from(request.into_inner())?;
        let Controlled { listed, plan, replayed } = self.app.control_patch_operation(&who, request).await?;
        let (patch_operation, plan) = (Some(listed.into()), Some(plan.into()));
        Ok(Response::new(pb::CancelPatchOperationResponse { patch_operation, plan, replayed }))
    }

    async fn pause_patch_operation(
        &self,
        request: Request<pb::PausePatchOperationRequest>,
    ) -> Result<Response<pb::PausePatchOperationResponse>, Status> {
        let who = caller(&request)?;
        let request = ControlPatchOperation::try_from(request.into_inner())?;
        let Controlled { listed, plan, replayed } = self.app.control_patch_operation(&who, request).await?;
        let (patch_operation, plan) = (Some(listed.into()), Some(plan.into()));
        Ok(Response::new(pb::PausePatchOperationResponse { patch_operation, plan, replayed }))
    }

    async fn resume_patch_operation(
        &self,
        request: Request<pb::ResumePatchOperationRequest>,
    ) -> Result<Response<pb::ResumePatchOperationResponse>, Status> {
        let who = caller(&request)?;
        let request = ControlPatchOperation::try_from(request.into_inner())?;
        let Controlled { listed, plan, replayed } = self.app.control_patch_operation(&who, request).await?;
        let (patch_operation, plan) = (Some(listed.into()), Some(plan.into()));
        Ok(Response::new(pb::ResumePatchOperationResponse { patch_operation, plan, replayed }))
    }

    async fn retry_patch_operation(
        &self,
        request: Request<pb::RetryPatchOperationRequest>,
    ) -> Result<Response<pb::RetryPatchOperationResponse>, Status> {
        let who = caller(&request)?;
        let retry = RetryPatchOperation::try_from(request.into_inner())?;
        let created = self.app.retry_patch_operation(&who, retry).await?;
        let pb::CreatePatchOperationResponse { patch_operation, plan, replayed } = created.into();
        Ok(Response::new(pb::RetryPatchOperationResponse { patch_operation, plan, replayed }))
    }

    type WatchPatchOperationsStream = BoxStream<'static, Result<pb::WatchPatchOperationsResponse, Status>>;

    async fn watch_patch_operations(
        &self,
        request: Request<pb::WatchPatchOperationsRequest>,
    ) -> Result<Response<Self::WatchPatchOperationsStream>, Status> {
        let who = caller(&request)?;
        let pb::WatchPatchOperationsRequest { parent, resume_token } = request.into_inner();
        let parent = Parent::parse("parent", &parent).map_err(Error::from)?;
        let token = Some(resume_token).filter(|token| !token.is_empty());
        let watch = self.app.watch_patch_operations(&who, parent, token).await?;
        Ok(Response::new(control::stream(watch)))
    }

    async fn list_patch_operation_events(
        &self,
        request: Request<pb::ListPatchOperationEventsRequest>,
    ) -> Result<Response<pb::ListPatchOperationEventsResponse>, Status> {
        let who = caller(&request)?;
        let pb::ListPatchOperationEventsRequest { parent, page_size, page_token } = request.into_inner();
        let operation = OperationName::parse("parent", &parent).map_err(Error::from)?;
        let paging = paging(page_size, page_token, 100, 1000).map_err(Error::from)?;
        let found = self.app.list_events(&who, ListTargets { operation, paging }).await?;
        let (events, next_page_token, _) = page(found, pb::PatchOperationEvent::from);
        Ok(Response::new(pb::ListPatchOperationEventsResponse { events, next_page_token }))
    }

    async fn get_step_output(
        &self,
        request: Request<pb::GetStepOutputRequest>,
    ) -> Result<Response<pb::GetStepOutputResponse>, Status> {
        let who = caller(&request)?;
        let pb::GetStepOutputRequest { name } = request.into_inner();
        let name = StepName::parse("name", &name).map_err(Error::from)?;
        let ReadOutput { name, step, output, observe_time } = self.app.get_step_output(&who, name).await?;
        Ok(Response::new(pb::GetStepOutputResponse {
            step: Some(answers::step(&name, step)),
            stdout: output.stdout,
            stdout_truncated: output.stdout_truncated,
            stderr: output.stderr,
            stderr_truncated: output.stderr_truncated,
            observe_time: Some(time(observe_time)),
        }))
    }
}

fn stream(watch: Watch, name: OperationName) -> BoxStream<'static, Result<pb::WatchPatchOperationResponse, Status>> {
    futures::stream::unfold(Some(watch), move |watch| {
        let name = name.clone();
        async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(Some(message)) => Some((Ok(watched(&name, message)), Some(watch))),
                Ok(None) => None,
                Err(error) => Some((Err(error.into()), None)),
            }
        }
    })
    .boxed()
}

// === Requests ===

impl TryFrom<pb::CreatePatchOperationRequest> for NewPatchOperation {
    type Error = Error;

    fn try_from(request: pb::CreatePatchOperationRequest) -> Result<Self, Error> {
        let content =
            pb::CreatePatchOperationRequest { request_id: String::new(), validate_only: false, ..request.clone() };
        let pb::CreatePatchOperationRequest { parent, patch_operation, request_id, validate_only, expected_plan } =
            request;
        let location = parse_location("parent", &parent)?;
        let asked = patch_operation.ok_or_else(|| Invalid::new("patch_operation", "is required"))?;
        let request_id = match (request_id.as_str(), validate_only) {
            ("", true) => RequestId::parse_or_new("")?,
            (text, _) => RequestId::parse(text)?,
        };
        Ok(Self {
            location,
            spec: spec(asked)?,
            retry_of: None,
            mutation: mutation(request_id, &content, validate_only, expected_plan),
        })
    }
}

/// What is asked for; output-only fields are ignored.
fn spec(asked: pb::PatchOperation) -> Result<Spec, Error> {
    let field = |name: &str| format!("patch_operation.{name}");
    let kind = match pb::patch_operation::Kind::try_from(asked.kind) {
        Ok(pb::patch_operation::Kind::Scan) => Kind::Scan,
        Ok(pb::patch_operation::Kind::Install) => Kind::Install,
        Ok(pb::patch_operation::Kind::Reboot) => Kind::Reboot,
        Ok(pb::patch_operation::Kind::Unspecified) => {
            return Err(Invalid::new(field("kind"), "is required: KIND_SCAN, KIND_INSTALL or KIND_REBOOT").into());
        }
        Err(_) => return Err(Invalid::new(field("kind"), "is not a value this server knows").into()),
    };
    let reboot_option = reboot_option(kind, asked.reboot_option)?;
    let targets = asked.targets.ok_or_else(|| Invalid::new(field("targets"), "is required"))?;
    let rollout = asked.rollout.unwrap_or_default();
    let (concurrency, max_failures) =
        (limit("rollout.concurrency", rollout.concurrency)?, limit("rollout.max_failures", rollout.max_failures)?);
    if let Some(InstanceLimit::Count(51..)) = concurrency {
        return Err(Invalid::new(field("rollout.concurrency"), "must be at most 50 instances").into());
    }
    let max_targets = match usize::try_from(asked.max_targets) {
        Ok(0) => Spec::DEFAULT_MAX_TARGETS,
        Ok(most @ 1..=Spec::MOST_TARGETS) => most,
        _ => return Err(Invalid::new(field("max_targets"), "must be 0 to 5000").into()),
    };
    check_note(&field("note"), &asked.note)?;
    Ok(Spec {
        kind,
        targets: selection(targets)?,
        reboot_option,
        concurrency: concurrency.unwrap_or(Spec::default_concurrency(kind)),
        max_failures: max_failures.unwrap_or(Spec::default_max_failures(kind)),
        max_duration: max_duration(kind, asked.max_duration)?,
        max_targets,
        on_busy: on_busy(asked.on_busy)?,
        override_freeze: asked.override_freeze,
        note: asked.note,
    })
}

/// The caller's words.
pub(super) fn check_note(field: &str, note: &str) -> Result<(), Invalid> {
    let fits = note.chars().count() <= LONGEST_NOTE;
    fits.then_some(()).ok_or_else(|| Invalid::new(field, "must have at most 500 characters"))
}

fn reboot_option(kind: Kind, asked: i32) -> Result<Option<RebootOption>, Invalid> {
    use pb::patch_operation::RebootOption as Wire;
    let wrong = |rule: &str| Err(Invalid::new("patch_operation.reboot_option", rule));
    match (kind, Wire::try_from(asked)) {
        (_, Err(_)) => wrong("is not a value this server knows"),
        (Kind::Scan | Kind::Reboot, Ok(Wire::Unspecified)) => Ok(None),
        (Kind::Scan, Ok(_)) => wrong("must be unset for SCAN: a scan never reboots"),
        (Kind::Reboot, Ok(_)) => wrong("must be unset for REBOOT: that is what it does"),
        (Kind::Install, Ok(Wire::Unspecified)) => {
            wrong("is required for INSTALL: REBOOT_OPTION_REBOOT_IF_NEEDED or REBOOT_OPTION_NO_REBOOT")
        }
        (Kind::Install, Ok(Wire::RebootIfNeeded)) => Ok(Some(RebootOption::RebootIfNeeded)),
        (Kind::Install, Ok(Wire::NoReboot)) => Ok(Some(RebootOption::NoReboot)),
    }
}

fn on_busy(asked: i32) -> Result<OnBusy, Invalid> {
    use pb::patch_operation::OnBusy as Wire;
    match Wire::try_from(asked) {
        Ok(Wire::Unspecified | Wire::Wait) => Ok(OnBusy::Wait),
        Ok(Wire::Skip) => Ok(OnBusy::Skip),
        Ok(Wire::Fail) => Ok(OnBusy::Fail),
        Err(_) => Err(Invalid::new("patch_operation.on_busy", "is not a value this server knows")),
    }
}

fn limit(name: &str, asked: Option<pb::InstanceLimit>) -> Result<Option<InstanceLimit>, Invalid> {
    use pb::instance_limit::Amount;
    let field = format!("patch_operation.{name}");
    match asked {
        None => Ok(None),
        Some(pb::InstanceLimit { amount: None }) => Err(Invalid::new(field, "must hold a count or a percent")),
        Some(pb::InstanceLimit { amount: Some(Amount::Count(count)) }) => {
            InstanceLimit::parse_count(&field, count).map(Some)
        }
        Some(pb::InstanceLimit { amount: Some(Amount::Percent(pb::Percent { value })) }) => {
            InstanceLimit::parse_percent(&field, value).map(Some)
        }
    }
}

fn max_duration(kind: Kind, asked: Option<prost_types::Duration>) -> Result<SignedDuration, Invalid> {
    let Some(asked) = asked else { return Ok(Spec::DEFAULT_MAX_DURATION) };
    let least = match kind {
        Kind::Scan => Spec::SHORTEST_SCAN,
        Kind::Install => Spec::SHORTEST_INSTALL,
        Kind::Reboot => Spec::SHORTEST_REBOOT,
    };
    let wrong = || {
        let rule = format!("must be {least:#} to 7 days for this kind: delivery, execution and verification must fit");
        Invalid::new("patch_operation.max_duration", rule)
    };
    duration(asked).filter(|duration| (least..=Spec::LONGEST).contains(duration)).ok_or_else(wrong)
}

fn selection(asked: pb::TargetSelection) -> Result<TargetSelection, Error> {
    let pb::TargetSelection { patch_groups, tags, instance_ids: ids, all_managed, excluded_instance_ids } = asked;
    let field = |name: &str| format!("patch_operation.targets.{name}");
    let named = !patch_groups.is_empty() || !tags.is_empty() || !ids.is_empty();
    if !named && !all_managed {
        let rule = "must name patch groups, tags or instances, or set all_managed";
        return Err(Invalid::new("patch_operation.targets", rule).into());
    }
    if named && all_managed {
        return Err(Invalid::new(field("all_managed"), "excludes patch groups, tags and instances").into());
    }
    if patch_groups.len() > MOST_SELECTORS {
        return Err(Invalid::new(field("patch_groups"), "must hold at most 50 patch groups").into());
    }
    if tags.len() > MOST_SELECTORS {
        return Err(Invalid::new(field("tags"), "must hold at most 50 tags").into());
    }
    let group = |(i, text): (usize, String)| -> Result<PatchGroupName, Invalid> {
        text.parse().map_err(|wrong: Invalid| Invalid::new(field(&format!("patch_groups[{i}]")), wrong.rule))
    };
    let tag = |(i, tag)| tag_match(&field(&format!("tags[{i}]")), tag);
    Ok(TargetSelection {
        patch_groups: patch_groups.into_iter().enumerate().map(group).collect::<Result<_, _>>()?,
        tags: tags.into_iter().enumerate().map(tag).collect::<Result<_, _>>()?,
        instance_ids: instance_ids(&field("instance_ids"), ids, false)?,
        all_managed,
        excluded: instance_ids(&field("excluded_instance_ids"), excluded_instance_ids, false)?,
    })
}

/// A key and a value as instances can carry them.
pub(super) fn tag_match(field: &str, tag: pb::TagMatch) -> Result<(String, String), Invalid> {
    let pb::TagMatch { key, value } = tag;
    let wrong = |part: &str, rule: &str| Err(Invalid::new(format!("{field}.{part}"), rule));
    if !(1..=128).contains(&key.chars().count()) || key.chars().any(char::is_control) {
        return wrong("key", "must have 1 to 128 printable characters");
    }
    if value.chars().count() > 256 || value.chars().any(char::is_control) {
        return wrong("value", "must have at most 256 printable characters");
    }
    Ok((key, value))
}

fn asked_origin(asked: i32) -> Result<Option<OriginKind>, Invalid> {
    use pb::patch_operation::Origin as Wire;
    Ok(Some(match Wire::try_from(asked) {
        Ok(Wire::Unspecified) => return Ok(None),
        Ok(Wire::Patchplane) => OriginKind::Patchplane,
        Ok(Wire::Window) => OriginKind::Window,
        Ok(Wire::Association) => OriginKind::Association,
        Ok(Wire::PatchPolicy) => OriginKind::PatchPolicy,
        Ok(Wire::Command) => OriginKind::Command,
        Err(_) => return Err(Invalid::new("origin", "is not a value this server knows")),
    }))
}

fn wait(timeout: Option<prost_types::Duration>) -> Result<Duration, Invalid> {
    let Some(timeout) = timeout else { return Ok(DEFAULT_WAIT) };
    let timeout = duration(timeout).and_then(|timeout| Duration::try_from(timeout).ok());
    let allowed = timeout.filter(|timeout| *timeout <= LONGEST_WAIT);
    allowed.ok_or_else(|| Invalid::new("timeout", "must be 0 to 60 seconds"))
}

/// A duration that is not negative. prost's own conversion panics at the far end of the seconds.
fn duration(wire: prost_types::Duration) -> Option<SignedDuration> {
    let normal = wire.seconds >= 0 && (0..1_000_000_000).contains(&wire.nanos);
    normal.then(|| SignedDuration::new(wire.seconds, wire.nanos))
}
