//! Patch operations, their targets and what became of them, as messages.

use crate::{
    app::{
        patch_operations::Created,
        watch::{Event, Watched},
    },
    domain::{
        name::{OperationName, StepName},
        operation::{
            InstanceLimit, Kind, OnBusy, Origin, OriginKind, RebootOption, Spec, State, Step, StepState, Target,
            TargetCounts, TargetSelection, TargetState,
        },
        outcome::Drift,
        plan::hex,
    },
    grpc::convert::{count, patch_state, time},
    store::Listed,
};
use patchplane_proto::v1 as pb;
use patchplane_rules::{Location, Retry};

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
        let Listed { mut operation, control, counts, command_ids } = listed;
        // What was asked is shown from the answer on, also before the engine has seen it.
        match (&control.cancel, &control.pause, operation.state) {
            (Some(cancel), _, State::Resolving | State::Running | State::Verifying) => {
                operation.state = State::Cancelling;
                operation.explanation = cancel.explanation();
            }
            (None, Some(pause), State::Running) if operation.reason != "PAUSED" => {
                "PAUSED".clone_into(&mut operation.reason);
                operation.explanation = pause.explanation();
            }
            _ => {}
        }
        let name = OperationName { location: operation.location, id: operation.id };
        let Spec {
            kind,
            targets,
            reboot_option,
            concurrency,
            max_failures,
            max_duration,
            max_targets,
            on_busy,
            override_freeze,
            note,
        } = operation.spec;
        let ours = name.id.is_ours();
        Self {
            name: name.to_string(),
            kind: match kind {
                Kind::Scan => pb::patch_operation::Kind::Scan,
                Kind::Install => pb::patch_operation::Kind::Install,
                Kind::Reboot => pb::patch_operation::Kind::Reboot,
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
            on_busy: match on_busy {
                _ if !ours => pb::patch_operation::OnBusy::Unspecified,
                OnBusy::Wait => pb::patch_operation::OnBusy::Wait,
                OnBusy::Skip => pb::patch_operation::OnBusy::Skip,
                OnBusy::Fail => pb::patch_operation::OnBusy::Fail,
            }
            .into(),
            override_freeze,
            retry_of: operation
                .retry_of
                .map(|id| OperationName { location: name.location.clone(), id }.to_string())
                .unwrap_or_default(),
            source: match operation.origin {
                Origin::Patchplane | Origin::Command => String::new(),
                Origin::Window(id) => format!("{}/maintenanceWindows/{id}", name.location),
                Origin::Association(id) | Origin::PatchPolicy(id) => id,
            },
            drift: operation.drift.into_iter().map(|found| drift(&name.location, found)).collect(),
        }
    }
}

fn drift(location: &Location, drift: Drift) -> pb::PatchDrift {
    let Drift { operating_system, baseline_id, batch, titles } = drift;
    pb::PatchDrift {
        operating_system: operating_system.as_str().to_owned(),
        baseline: format!("{location}/baselines/{baseline_id}"),
        batch: count(batch),
        titles,
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
        State::Cancelling => Wire::Cancelling,
        State::Cancelled => Wire::Cancelled,
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

pub(super) fn target(operation: &OperationName, target: Target) -> pb::PatchOperationTarget {
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
        hint: target.hint,
        retry: match target.retry {
            None => pb::patch_operation_target::Retry::Unspecified,
            Some(Retry::Now) => pb::patch_operation_target::Retry::Now,
            Some(Retry::AfterPause) => pb::patch_operation_target::Retry::AfterPause,
            Some(Retry::AfterFix) => pb::patch_operation_target::Retry::AfterFix,
        }
        .into(),
    }
}

pub(super) fn step(name: &StepName, step: Step) -> pb::PatchOperationStep {
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

pub(super) fn watched(name: &OperationName, message: Watched) -> pb::WatchPatchOperationResponse {
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
