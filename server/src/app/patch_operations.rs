//! Patch operations: starting them and reading them. The engine does the rest.

pub mod control;
pub mod retry;

use super::{
    App,
    locations::{Chunk, ListPage, Query, Unreachable, slice},
    mutations::{Begun, InProgress, expect_plan},
};
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::{
        control::Control,
        event::Event,
        name::{OperationName, Parent, StepName},
        operation::{Operation, OperationId, Origin, OriginKind, Spec, State, Step, Target, TargetCounts},
        page::Paging,
        plan::Plan,
        request::Mutation,
    },
    operation::resolve,
    store::Listed,
    telemetry::{metrics, trace},
};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::StepOutput;
use patchplane_rules::{InstanceId, Location};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use ulid::Ulid;
use uuid::Uuid;

/// How long a request waits for its targets to be looked up; longer, the operation resolves by itself.
const RESOLVE_WITHIN: Duration = Duration::from_secs(20);

/// How long a reader waits for a look at what others did, and how old the last may be, by the clock.
const SEE_WITHIN: Duration = Duration::from_secs(5);
const SEEN_LATELY: SignedDuration = SignedDuration::from_mins(1);

/// A request to scan or patch instances of one location.
pub struct NewPatchOperation {
    pub location: Location,
    pub spec: Spec,
    pub retry_of: Option<OperationId>,
    pub mutation: Mutation,
}

/// An operation that was started, or with `validate_only` would be.
pub struct Created {
    pub listed: Listed,
    pub plan: Plan,
    pub replayed: bool,
    /// With `validate_only` there is nothing that has a name.
    pub exists: bool,
}

/// A question for operations.
pub struct ListPatchOperations {
    pub parent: Parent,
    pub origin: Option<OriginKind>,
    pub paging: Paging,
}

/// A question for the targets, or the events, of one operation.
pub struct ListTargets {
    pub operation: OperationName,
    pub paging: Paging,
}

/// What a step printed.
pub struct ReadOutput {
    pub name: StepName,
    pub step: Step,
    pub output: StepOutput,
    pub observe_time: Timestamp,
}

impl App {
    /// Starts an operation, or finds the one already started under the same request id.
    #[tracing::instrument(
        name = "app.create_patch_operation", skip_all, fields(location = %new.location, operation.id)
    )]
    pub async fn create_patch_operation(&self, who: &Caller, new: NewPatchOperation) -> Result<Created> {
        who.may(new.action(), &new.location)?;
        if new.spec.override_freeze {
            who.may(Action::OverrideFreezes, &new.location)?;
        }
        self.aws(&new.location)?;
        if new.mutation.validate_only {
            let now = self.clock.now();
            let targets = resolve::resolve(self.aws(&new.location)?, &new.spec, now).await?;
            let plan = self.plan(&new, &targets).await?;
            let listed = listed(self.operation(who, &new, State::Running, now), &targets);
            return Ok(Created { listed, plan, replayed: false, exists: false });
        }
        match self.begin(who, new.method(), &new.mutation).await? {
            Begun::Go(progress) => self.submit(who, new, progress).await,
            Begun::Replay(_) => self.replay(who, new.method(), &new.mutation).await,
        }
    }

    async fn submit(&self, who: &Caller, new: NewPatchOperation, progress: InProgress<'_>) -> Result<Created> {
        let aws = self.aws(&new.location)?;
        let resolving = resolve::resolve(aws, &new.spec, self.clock.now());
        let (state, targets) = match tokio::time::timeout(RESOLVE_WITHIN, resolving).await {
            Ok(targets) => (State::Running, targets?),
            Err(_) => (State::Resolving, Vec::new()),
        };
        let plan = self.plan(&new, &targets).await?;
        if state == State::Running {
            expect_plan(&new.mutation, &plan)?;
        }
        let now = self.clock.now();
        let operation = self.operation(who, &new, state, now);
        let name = OperationName { location: new.location.clone(), id: operation.id };

        // The operation and the answer to its request id are there together, or not at all.
        let mut tx = self.store.begin().await?;
        let first = tx.put_request(progress.key(), &new.mutation.fingerprint, Some(&name.to_string()), now).await?;
        if !first {
            drop(tx);
            return self.replay(who, new.method(), &new.mutation).await;
        }
        tx.put_operation(&operation).await?;
        tx.put_targets(operation.id, &targets).await?;
        let (owner, lease) = self.engine.claimant();
        let claim = tx.claim(operation.id, owner, lease).await?;
        tx.commit().await?;
        metrics::operation_started(operation.spec.kind.as_str());
        tracing::Span::current().record("operation.id", tracing::field::display(operation.id));
        tracing::info!(operation.id = %operation.id, targets = plan.target_count, "operation accepted");
        if new.spec.override_freeze {
            tracing::warn!(operation.id = %operation.id, by = %who.principal, "freezes are overridden");
        }
        if let Some(claim) = claim {
            self.engine.start(claim);
        }
        Ok(Created { listed: listed(operation, &targets), plan, replayed: false, exists: true })
    }

    /// What the operation does to these targets, and what its caller should know besides.
    async fn plan(&self, new: &NewPatchOperation, targets: &[Target]) -> Result<Plan> {
        let mut plan = resolve::plan(&new.location, &new.spec, targets);
        plan.notices.extend(resolve::groups_without_baseline(self.aws(&new.location)?, &new.spec, targets).await);
        Ok(plan)
    }

    async fn replay(&self, who: &Caller, method: &'static str, mutation: &Mutation) -> Result<Created> {
        let key = crate::store::RequestKey { principal: who.principal.to_string(), method, id: mutation.request_id };
        let record = self.store.request(&key).await?;
        let record = record.ok_or_else(|| Error::Internal("a request that was there is gone".into()))?;
        if record.fingerprint != mutation.fingerprint {
            return Err(Error::RequestIdReused { request_id: mutation.request_id.to_string() });
        }
        let name = OperationName::parse("name", record.resource.as_deref().unwrap_or_default())?;
        let listed = self.listed(&name).await?;
        Ok(Created { listed, plan: Plan::default(), replayed: true, exists: true })
    }

    fn operation(&self, who: &Caller, new: &NewPatchOperation, state: State, now: Timestamp) -> Operation {
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        Operation {
            id: OperationId::Ours(Ulid::from_parts(millis, Uuid::new_v4().as_u128())),
            location: new.location.clone(),
            spec: new.spec.clone(),
            state,
            reason: String::new(),
            explanation: match state {
                State::Resolving => "its targets are looked up".into(),
                _ => "commands are sent and followed".into(),
            },
            snapshot_id: Uuid::new_v4().to_string(),
            snapshot_time: None,
            creator: who.principal.to_string(),
            create_time: now,
            update_time: now,
            end_time: None,
            deadline: now.checked_add(new.spec.max_duration).unwrap_or(Timestamp::MAX),
            origin: Origin::Patchplane,
            retry_of: new.retry_of,
            drift: Vec::new(),
            trace: trace::current(),
        }
    }

    #[tracing::instrument(name = "app.get_patch_operation", skip_all, fields(operation = %name))]
    pub async fn get_patch_operation(&self, who: &Caller, name: OperationName) -> Result<Listed> {
        who.may(Action::ReadPatchOperations, &name.location)?;
        if !name.id.is_ours() {
            // What is known from before is better than nothing.
            let _ = self.see_others(&name.location).await;
        }
        self.listed(&name).await
    }

    /// Looks for what others did, if nobody looked lately. Where that fails the history is as it was.
    async fn see_others(&self, location: &Location) -> std::result::Result<(), Unreachable> {
        let seen = tokio::time::timeout(SEE_WITHIN, self.engine.sweep(location, SEEN_LATELY)).await;
        let (reason, error) = match seen {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => (error.reason(), error.to_string()),
            Err(_) => ("AWS_UNREACHABLE", format!("AWS has not told everything within {} s", SEE_WITHIN.as_secs())),
        };
        tracing::warn!(%location, error, "what others did cannot be seen at the moment");
        let message = format!("what others started lately may be missing: {error}");
        Err(Unreachable { location: location.clone(), reason, message })
    }

    #[tracing::instrument(name = "app.list_patch_operations", skip_all, fields(parent = %list.parent))]
    pub async fn list_patch_operations(&self, who: &Caller, list: ListPatchOperations) -> Result<ListPage<Listed>> {
        let ListPatchOperations { parent, origin, paging } = list;
        let filter = origin.map(OriginKind::as_str).unwrap_or_default().to_owned();
        let query = Query { action: Action::ReadPatchOperations, parent: &parent, filter };
        // Named, and not left out: what is known of them from before is shown.
        let unseen = Mutex::new(Vec::new());
        let note = &unseen;
        let listing = self.list(who, query, &paging, |location, room, inner| async move {
            if inner.is_none()
                && origin != Some(OriginKind::Patchplane)
                && let Err(unreachable) = self.see_others(&location).await
            {
                note.lock().unwrap_or_else(PoisonError::into_inner).push(unreachable);
            }
            let before = inner.and_then(|place| Ulid::from_string(&place).ok());
            let mut items = self.store.operations_before(&location, origin, before, room + 1).await?;
            let more = items.len() > room;
            items.truncate(room);
            let next = items.last().filter(|_| more).map(|listed| listed.operation.place().to_string());
            Ok(Chunk { items, next })
        });
        let mut page = listing.await?;
        page.unreachable.extend(unseen.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(page)
    }

    /// Answers when the operation has ended, or after `timeout`, or when the server stops.
    #[tracing::instrument(name = "app.wait_patch_operation", skip_all, fields(operation = %name))]
    pub async fn wait_patch_operation(&self, who: &Caller, name: OperationName, timeout: Duration) -> Result<Listed> {
        who.may(Action::ReadPatchOperations, &name.location)?;
        let mut revisions = self.store.revisions();
        let mut draining = self.draining.subscribe();
        let end = tokio::time::Instant::now() + timeout;
        loop {
            let listed = self.listed(&name).await?;
            if listed.operation.state.is_terminal() {
                return Ok(listed);
            }
            let changed = tokio::select! {
                changed = tokio::time::timeout_at(end, revisions.changed()) => matches!(changed, Ok(Ok(()))),
                _ = draining.wait_for(|draining| *draining) => false,
            };
            if !changed {
                return self.listed(&name).await;
            }
        }
    }

    #[tracing::instrument(name = "app.list_targets", skip_all, fields(operation = %list.operation))]
    pub async fn list_targets(&self, who: &Caller, list: ListTargets) -> Result<ListPage<Target>> {
        let ListTargets { operation, paging } = list;
        who.may(Action::ReadPatchOperations, &operation.location)?;
        let id = self.listed(&operation).await?.operation.id;
        let parent = Parent {
            account: Some(operation.location.account.clone()),
            region: Some(operation.location.region.clone()),
        };
        let query = Query { action: Action::ReadPatchOperations, parent: &parent, filter: operation.to_string() };
        self.list(who, query, &paging, |_, room, inner| async move {
            let after: Option<InstanceId> = inner.and_then(|id| id.parse().ok());
            let rows = self.store.targets_after(id, after.as_ref(), room + 1).await?;
            Ok(slice(rows, room, None, |target| target.instance_id.to_string()))
        })
        .await
    }

    /// All that happened to an operation, oldest first.
    #[tracing::instrument(name = "app.list_events", skip_all, fields(operation = %list.operation))]
    pub async fn list_events(&self, who: &Caller, list: ListTargets) -> Result<ListPage<Event>> {
        let ListTargets { operation, paging } = list;
        who.may(Action::ReadPatchOperations, &operation.location)?;
        let id = self.listed(&operation).await?.operation.id;
        let parent = Parent {
            account: Some(operation.location.account.clone()),
            region: Some(operation.location.region.clone()),
        };
        let query =
            Query { action: Action::ReadPatchOperations, parent: &parent, filter: format!("events of {operation}") };
        self.list(who, query, &paging, |_, room, inner| async move {
            let after = inner.and_then(|at| {
                let (revision, seq) = at.split_once('.')?;
                Some((revision.parse().ok()?, seq.parse().ok()?))
            });
            let mut items = self.store.events_after(id, after, room + 1).await?;
            let more = items.len() > room;
            items.truncate(room);
            let next = items.last().filter(|_| more).map(|last| format!("{}.{}", last.revision, last.seq));
            Ok(Chunk { items, next })
        })
        .await
    }

    /// What a step printed, as far as AWS keeps it.
    #[tracing::instrument(name = "app.get_step_output", skip_all, fields(step = %name))]
    pub async fn get_step_output(&self, who: &Caller, name: StepName) -> Result<ReadOutput> {
        who.may(Action::ReadStepOutput, &name.operation.location)?;
        let id = self.listed(&name.operation).await?.operation.id;
        let target = self.store.target(id, &name.instance).await?;
        let found = target.and_then(|target| {
            let step = target.steps.iter().find(|step| step.name == name.step).cloned()?;
            Some((target.command_id?, step))
        });
        let Some((command_id, step)) = found else {
            return Err(Error::not_found("step", "STEP_NOT_FOUND", name));
        };
        let aws = self.aws(&name.operation.location)?;
        let output = aws.step_output(&command_id, &name.instance, &name.step).await?;
        Ok(ReadOutput { step, output, observe_time: self.clock.now(), name })
    }

    /// Finds an operation by its name, or by the id of a command of it: what others sent may have been taken for a command
    /// of its own before the run that it belongs to was known.
    pub(super) async fn listed(&self, name: &OperationName) -> Result<Listed> {
        let mut found = self.store.listed(name.id).await?;
        if let (None, OperationId::Command(command)) = (&found, name.id) {
            let command = command.to_string();
            if let Some(owner) = self.store.owners(&[&command]).await?.remove(&command) {
                found = self.store.listed(owner.id).await?;
            }
        }
        found
            .filter(|listed| listed.operation.location == name.location)
            .ok_or_else(|| Error::not_found("patch operation", "PATCH_OPERATION_NOT_FOUND", name))
    }
}

fn listed(operation: Operation, targets: &[Target]) -> Listed {
    let control = Control::default();
    Listed { operation, control, counts: TargetCounts::of(targets), command_ids: Vec::new() }
}
