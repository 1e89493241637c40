//! PatchOperationService at the door.

use super::{
    Api, caller,
    convert::{count, instance_ids, mutation, page, paging, patch_state, time},
};
use crate::{
    app::{
        patch_operations::{Created, ListPatchOperations, ListTargets, NewPatchOperation, ReadOutput},
        watch::{Event, Watch, Watched},
    },
    domain::{
        name::{OperationName, Parent, StepName, parse_location},
        operation::{
            InstanceLimit, Kind, Origin, OriginKind, RebootOption, Spec, State, Step, StepState, Target, TargetCounts,
            TargetSelection, TargetState,
        },
        plan::hex,
        request::RequestId,
    },
    error::Error,
    store::Listed,
};
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

    async fn get_step_output(
        &self,
        request: Request<pb::GetStepOutputRequest>,
    ) -> Result<Response<pb::GetStepOutputResponse>, Status> {
        let who = caller(&request)?;
        let pb::GetStepOutputRequest { name } = request.into_inner();
        let name = StepName::parse("name", &name).map_err(Error::from)?;
        let ReadOutput { name, step, output, observe_time } = self.app.get_step_output(&who, name).await?;
        Ok(Response::new(pb::GetStepOutputResponse {
            step: Some(self::step(&name, step)),
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
        Ok(pb::patch_operation::Kind::Unspecified) => {
            return Err(Invalid::new(field("kind"), "is required: KIND_SCAN or KIND_INSTALL").into());
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
    if asked.note.chars().count() > LONGEST_NOTE {
        return Err(Invalid::new(field("note"), "must have at most 500 characters").into());
    }
    Ok(Spec {
        kind,
        targets: selection(targets)?,
        reboot_option,
        concurrency: concurrency.unwrap_or(Spec::default_concurrency(kind)),
        max_failures: max_failures.unwrap_or(Spec::default_max_failures(kind)),
        max_duration: max_duration(kind, asked.max_duration)?,
        max_targets,
        note: asked.note,
    })
}

fn reboot_option(kind: Kind, asked: i32) -> Result<Option<RebootOption>, Invalid> {
    use pb::patch_operation::RebootOption as Wire;
    let wrong = |rule: &str| Err(Invalid::new("patch_operation.reboot_option", rule));
    match (kind, Wire::try_from(asked)) {
        (_, Err(_)) => wrong("is not a value this server knows"),
        (Kind::Scan, Ok(Wire::Unspecified)) => Ok(None),
        (Kind::Scan, Ok(_)) => wrong("must be unset for SCAN: a scan never reboots"),
        (Kind::Install, Ok(Wire::Unspecified)) => {
            wrong("is required for INSTALL: REBOOT_OPTION_REBOOT_IF_NEEDED or REBOOT_OPTION_NO_REBOOT")
        }
        (Kind::Install, Ok(Wire::RebootIfNeeded)) => Ok(Some(RebootOption::RebootIfNeeded)),
        (Kind::Install, Ok(Wire::NoReboot)) => Ok(Some(RebootOption::NoReboot)),
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
    let tag = |(i, tag): (usize, pb::TagMatch)| -> Result<(String, String), Invalid> {
        let pb::TagMatch { key, value } = tag;
        let wrong = |part: &str, rule: &str| Err(Invalid::new(field(&format!("tags[{i}].{part}")), rule));
        if !(1..=128).contains(&key.chars().count()) || key.chars().any(char::is_control) {
            return wrong("key", "must have 1 to 128 printable characters");
        }
        if value.chars().count() > 256 || value.chars().any(char::is_control) {
            return wrong("value", "must have at most 256 printable characters");
        }
        Ok((key, value))
    };
    Ok(TargetSelection {
        patch_groups: patch_groups.into_iter().enumerate().map(group).collect::<Result<_, _>>()?,
        tags: tags.into_iter().enumerate().map(tag).collect::<Result<_, _>>()?,
        instance_ids: instance_ids(&field("instance_ids"), ids, false)?,
        all_managed,
        excluded: instance_ids(&field("excluded_instance_ids"), excluded_instance_ids, false)?,
    })
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

fn origin(origin: OriginKind) -> pb::patch_operation::Origin {
    use pb::patch_operation::Origin as Wire;
    match origin {
        OriginKind::Patchplane => Wire::Patchplane,
        OriginKind::Window => Wire::Window,
        OriginKind::Association => Wire::Association,
        OriginKind::PatchPolicy => Wire::PatchPolicy,
        OriginKind::Command => Wire::Command,
    }
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

// === Answers ===

impl From<Created> for pb::CreatePatchOperationResponse {
    fn from(created: Created) -> Self {
        let Created { listed, plan, replayed, exists } = created;
        let mut operation = pb::PatchOperation::from(listed);
        if !exists {
            operation.name.clear();
            operation.etag.clear();
            operation.snapshot_id.clear();
        }
        Self { patch_operation: Some(operation), plan: Some(plan.into()), replayed }
    }
}

impl From<Listed> for pb::PatchOperation {
    fn from(listed: Listed) -> Self {
        let etag = hex(&format!("{listed:?}"))[..32].to_owned();
        let Listed { operation, control: _, counts, command_ids } = listed;
        let name = OperationName { location: operation.location, id: operation.id };
        let Spec { kind, targets, reboot_option, concurrency, max_failures, max_duration, max_targets, note } =
            operation.spec;
        let ours = name.id.is_ours();
        Self {
            name: name.to_string(),
            kind: match kind {
                Kind::Scan => pb::patch_operation::Kind::Scan,
                Kind::Install => pb::patch_operation::Kind::Install,
            }
            .into(),
            targets: Some(targets.into()),
            reboot_option: match reboot_option {
                None => pb::patch_operation::RebootOption::Unspecified,
                Some(RebootOption::RebootIfNeeded) => pb::patch_operation::RebootOption::RebootIfNeeded,
                Some(RebootOption::NoReboot) => pb::patch_operation::RebootOption::NoReboot,
            }
            .into(),
            // What others started has no limits of ours.
            rollout: ours.then(|| pb::Rollout {
                concurrency: Some(concurrency.into()),
                max_failures: Some(max_failures.into()),
            }),
            max_duration: ours
                .then(|| prost_types::Duration { seconds: max_duration.as_secs(), nanos: max_duration.subsec_nanos() }),
            max_targets: if ours { count(max_targets) } else { 0 },
            note,
            state: state(operation.state).into(),
            state_reason: operation.reason,
            explanation: operation.explanation,
            counts: Some(counts.into()),
            create_time: Some(time(operation.create_time)),
            update_time: Some(time(operation.update_time)),
            end_time: operation.end_time.map(time),
            deadline_time: ours.then(|| time(operation.deadline)),
            snapshot_id: operation.snapshot_id,
            creator: operation.creator,
            origin: origin(operation.origin.kind()).into(),
            command_ids,
            etag,
            source: match operation.origin {
                Origin::Patchplane | Origin::Command => String::new(),
                Origin::Window(id) => format!("{}/maintenanceWindows/{id}", name.location),
                Origin::Association(id) | Origin::PatchPolicy(id) => id,
            },
        }
    }
}

fn state(state: State) -> pb::patch_operation::State {
    use pb::patch_operation::State as Wire;
    match state {
        State::Resolving => Wire::Resolving,
        State::Running => Wire::Running,
        State::Verifying => Wire::Verifying,
        State::Succeeded => Wire::Succeeded,
        State::CompletedWithFailures => Wire::CompletedWithFailures,
        State::Failed => Wire::Failed,
    }
}

impl From<TargetSelection> for pb::TargetSelection {
    fn from(selection: TargetSelection) -> Self {
        let TargetSelection { patch_groups, tags, instance_ids, all_managed, excluded } = selection;
        Self {
            patch_groups: patch_groups.into_iter().map(String::from).collect(),
            tags: tags.into_iter().map(|(key, value)| pb::TagMatch { key, value }).collect(),
            instance_ids: instance_ids.into_iter().map(String::from).collect(),
            all_managed,
            excluded_instance_ids: excluded.into_iter().map(String::from).collect(),
        }
    }
}

impl From<InstanceLimit> for pb::InstanceLimit {
    fn from(limit: InstanceLimit) -> Self {
        use pb::instance_limit::Amount;
        let amount = match limit {
            InstanceLimit::Count(number) => Amount::Count(count(number)),
            InstanceLimit::Percent(percent) => Amount::Percent(pb::Percent { value: percent.into() }),
        };
        Self { amount: Some(amount) }
    }
}

impl From<TargetCounts> for pb::TargetCounts {
    fn from(counts: TargetCounts) -> Self {
        let TargetCounts {
            pending,
            dispatched,
            running,
            rebooting,
            verifying,
            succeeded,
            failed,
            timed_out,
            cancelled,
            skipped,
            unknown,
        } = counts;
        Self {
            pending: count(pending),
            dispatched: count(dispatched),
            running: count(running),
            rebooting: count(rebooting),
            verifying: count(verifying),
            succeeded: count(succeeded),
            failed: count(failed),
            timed_out: count(timed_out),
            cancelled: count(cancelled),
            skipped: count(skipped),
            unknown: count(unknown),
        }
    }
}

fn target(operation: &OperationName, target: Target) -> pb::PatchOperationTarget {
    use pb::patch_operation_target::State as Wire;
    let name = |step: String| StepName { operation: operation.clone(), instance: target.instance_id.clone(), step };
    let steps = target.steps.iter().map(|found| step(&name(found.name.clone()), found.clone())).collect();
    pb::PatchOperationTarget {
        name: format!("{operation}/targets/{}", target.instance_id),
        instance_id: target.instance_id.to_string(),
        state: match target.state {
            TargetState::Pending => Wire::Pending,
            TargetState::Dispatched => Wire::Dispatched,
            TargetState::Running => Wire::Running,
            TargetState::Rebooting => Wire::Rebooting,
            TargetState::Verifying => Wire::Verifying,
            TargetState::Succeeded => Wire::Succeeded,
            TargetState::Failed => Wire::Failed,
            TargetState::TimedOut => Wire::TimedOut,
            TargetState::Cancelled => Wire::Cancelled,
            TargetState::Skipped => Wire::Skipped,
            TargetState::Unknown => Wire::Unknown,
        }
        .into(),
        reason: target.reason,
        explanation: target.explanation,
        command_id: target.command_id.unwrap_or_default(),
        command_status: target.command_status,
        steps,
        before: target.before.as_ref().map(patch_state),
        after: target.after.as_ref().map(patch_state),
        rebooted: target.rebooted,
        dispatch_time: target.dispatch_time.map(time),
        end_time: target.end_time.map(time),
        update_time: Some(time(target.update_time)),
    }
}

fn step(name: &StepName, step: Step) -> pb::PatchOperationStep {
    use pb::patch_operation_step::State as Wire;
    pb::PatchOperationStep {
        name: name.to_string(),
        step: step.name,
        state: match step.state {
            StepState::Pending => Wire::Pending,
            StepState::Running => Wire::Running,
            StepState::Succeeded => Wire::Succeeded,
            StepState::Failed => Wire::Failed,
            StepState::TimedOut => Wire::TimedOut,
            StepState::Cancelled => Wire::Cancelled,
            StepState::Skipped => Wire::Skipped,
        }
        .into(),
        status_details: step.status_details,
        response_code: step.response_code,
        start_time: step.started.map(time),
        end_time: step.finished.map(time),
    }
}

fn watched(name: &OperationName, message: Watched) -> pb::WatchPatchOperationResponse {
    use pb::watch_patch_operation_response as wire;
    let rows = |targets: Vec<Target>| targets.into_iter().map(|row| target(name, row)).collect();
    let event = match message.event {
        Event::Snapshot { listed, targets, complete } => wire::Event::Snapshot(wire::Snapshot {
            patch_operation: listed.map(|listed| (*listed).into()),
            targets: rows(targets),
            complete,
        }),
        Event::Update { listed, targets } => {
            wire::Event::Update(wire::Update { patch_operation: Some((*listed).into()), targets: rows(targets) })
        }
        Event::Heartbeat { time: at } => wire::Event::Heartbeat(wire::Heartbeat { time: Some(time(at)) }),
    };
    pb::WatchPatchOperationResponse { event: Some(event), resume_token: message.resume_token.unwrap_or_default() }
}
