//! Making, changing and deleting baselines.

use super::{
    App,
    baselines::Observed,
    mutations::{Begun, expect_plan},
};
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::{
        baseline::{BaselineEdit, changes, etag},
        name::{BaselineName, GroupName},
        plan::{Change, ChangeAction, Notice, Plan},
        request::Mutation,
    },
};
use patchplane_aws::ErrorKind;
use patchplane_rules::{
    Baseline, BaselineDraft, BaselineOwner, BaselineSpec, Invalid, Location, PatchGroupName, lints,
};
use std::collections::BTreeSet;

/// A request to make a baseline, perhaps after another one.
pub struct CreateBaseline {
    pub location: Location,
    pub edit: BaselineEdit,
    pub clone_from: Option<BaselineName>,
    pub tags: Vec<(String, String)>,
    pub mutation: Mutation,
}

/// A request to change a baseline.
pub struct UpdateBaseline {
    pub name: BaselineName,
    pub edit: BaselineEdit,
    pub etag: Option<String>,
    pub mutation: Mutation,
}

/// A request to delete a baseline.
pub struct DeleteBaseline {
    pub name: BaselineName,
    pub etag: Option<String>,
    pub mutation: Mutation,
}

/// What was done, or with `validate_only` would be.
pub struct BaselineChanged {
    /// With `validate_only` a new baseline is one that does not exist yet. `None`: it was deleted by an earlier call.
    pub baseline: Option<Observed<Baseline>>,
    pub plan: Plan,
    pub replayed: bool,
}

impl App {
    /// Makes a baseline. AWS knows the request by its id, so that a repetition after a crash or a lost answer names the
    /// first one.
    #[tracing::instrument(name = "app.create_baseline", skip_all, fields(location = %create.location))]
    pub async fn create_baseline(&self, who: &Caller, create: CreateBaseline) -> Result<BaselineChanged> {
        let CreateBaseline { location, mutation, .. } = &create;
        who.may(Action::CreateBaseline, location)?;
        if mutation.validate_only {
            let (draft, plan) = self.plan_create(who, &create).await?;
            let baseline = Some(self.observed(location, draft.spec().to_baseline()));
            return Ok(BaselineChanged { baseline, plan, replayed: false });
        }
        let mut progress = match self.begin(who, "CreateBaseline", mutation).await? {
            Begun::Go(progress) => progress,
            Begun::Replay(resource) => {
                let name = BaselineName::parse("name", &resource)?;
                let baseline = Some(self.observed(location, self.baseline(&name).await?));
                return Ok(BaselineChanged { baseline, plan: Plan::default(), replayed: true });
            }
        };
        let (draft, plan) = self.plan_create(who, &create).await?;
        if !progress.continued() {
            expect_plan(mutation, &plan)?;
        }
        progress.record(mutation).await?;
        let aws = self.aws(location)?;
        let id = match aws.create_baseline(&draft, &mutation.request_id.to_string(), &create.tags).await {
            Ok(id) => id,
            Err(error) => return Err(progress.failed(error.into()).await),
        };
        let name = BaselineName { location: location.clone(), id };
        progress.done(&name.to_string()).await?;
        let baseline = Some(self.observed(location, self.baseline(&name).await?));
        Ok(BaselineChanged { baseline, plan, replayed: false })
    }

    async fn plan_create(&self, who: &Caller, create: &CreateBaseline) -> Result<(BaselineDraft, Plan)> {
        let CreateBaseline { location, edit, clone_from, tags, .. } = create;
        self.aws(location)?;
        let draft = match clone_from {
            None => edit.whole(),
            Some(name) => {
                who.may(Action::GetBaseline, &name.location)?;
                edit.of(&BaselineSpec::of(&self.baseline(name).await?))
            }
        };
        let draft = draft.map_err(within_baseline)?;
        if !draft.spec().sources.is_empty() {
            who.may(Action::UseCustomSources, location)?;
        }
        let resource = format!("{location}/baselines/-");
        let operation = "ssm:CreatePatchBaseline";
        let mut plan = Plan { changes: changes(&resource, None, draft.spec(), operation), ..noticed(draft.spec()) };
        plan.changes.extend(tags.iter().map(|(key, value)| Change {
            resource: resource.clone(),
            action: ChangeAction::Create,
            field: format!("tags[{key}]"),
            before: String::new(),
            after: value.clone(),
            aws_operation: operation,
        }));
        Ok((draft, plan))
    }

    /// Changes a baseline. AWS has no token for it: a repetition reads what became of the first attempt, and does what is
    /// left.
    #[tracing::instrument(name = "app.update_baseline", skip_all, fields(baseline = %update.name))]
    pub async fn update_baseline(&self, who: &Caller, update: UpdateBaseline) -> Result<BaselineChanged> {
        let UpdateBaseline { name, mutation, .. } = &update;
        who.may(Action::UpdateBaseline, &name.location)?;
        if mutation.validate_only {
            let (before, _, plan) = self.plan_update(who, &update, false).await?;
            let baseline = Some(self.observed(&name.location, before));
            return Ok(BaselineChanged { baseline, plan, replayed: false });
        }
        let Begun::Go(mut progress) = self.begin(who, "UpdateBaseline", mutation).await? else {
            let baseline = Some(self.observed(&name.location, self.baseline(name).await?));
            return Ok(BaselineChanged { baseline, plan: Plan::default(), replayed: true });
        };
        let (before, draft, plan) = self.plan_update(who, &update, progress.continued()).await?;
        if !progress.continued() {
            expect_plan(mutation, &plan)?;
        }
        progress.record(mutation).await?;
        let aws = self.aws(&name.location)?;
        if !plan.changes.is_empty()
            && let Err(error) = aws.update_baseline(&name.id, &BaselineSpec::of(&before), &draft).await
        {
            return Err(progress.failed(error.into()).await);
        }
        progress.done(&name.to_string()).await?;
        let baseline = Some(self.observed(&name.location, self.baseline(name).await?));
        Ok(BaselineChanged { baseline, plan, replayed: false })
    }

    /// The baseline as it is, what it is to say, and the difference. A `continued` attempt has had its etag checked, and
    /// may have changed the baseline itself since.
    async fn plan_update(
        &self,
        who: &Caller,
        update: &UpdateBaseline,
        continued: bool,
    ) -> Result<(Baseline, BaselineDraft, Plan)> {
        let UpdateBaseline { name, edit, etag, .. } = update;
        let before = self.own_baseline(name, if continued { None } else { etag.as_deref() }).await?;
        let said = BaselineSpec::of(&before);
        let draft = edit.of(&said).map_err(within_baseline)?;
        if draft.spec().sources != said.sources {
            who.may(Action::UseCustomSources, &name.location)?;
        }
        let resource = name.to_string();
        let mut plan = noticed(draft.spec());
        plan.changes = changes(&resource, Some(&said), draft.spec(), "ssm:UpdatePatchBaseline");
        if !plan.changes.is_empty() {
            plan.target_count = self.member_count(&name.location, &before.patch_groups).await?;
        }
        if before.summary.default {
            let os = &before.summary.operating_system;
            let message = format!("it is the default for {os}: instances without a group follow it, too");
            plan.notices.push(Notice { code: "IS_DEFAULT", message });
        }
        Ok((before, draft, plan))
    }

    /// Deletes a baseline that nothing uses. A repetition that finds it gone has done what was asked.
    #[tracing::instrument(name = "app.delete_baseline", skip_all, fields(baseline = %delete.name))]
    pub async fn delete_baseline(&self, who: &Caller, delete: DeleteBaseline) -> Result<BaselineChanged> {
        let DeleteBaseline { name, etag, mutation } = &delete;
        who.may(Action::DeleteBaseline, &name.location)?;
        if mutation.validate_only {
            let (before, plan) = self.plan_delete(name, etag.as_deref()).await?;
            let baseline = Some(self.observed(&name.location, before));
            return Ok(BaselineChanged { baseline, plan, replayed: false });
        }
        let Begun::Go(mut progress) = self.begin(who, "DeleteBaseline", mutation).await? else {
            return Ok(BaselineChanged { baseline: None, plan: Plan::default(), replayed: true });
        };
        let etag = if progress.continued() { None } else { etag.as_deref() };
        let (before, plan) = match self.plan_delete(name, etag).await {
            Ok((before, plan)) => (Some(before), plan),
            Err(Error::NotFound { .. }) if progress.continued() => (None, Plan::default()),
            Err(error) => return Err(error),
        };
        if !progress.continued() {
            expect_plan(mutation, &plan)?;
        }
        progress.record(mutation).await?;
        if before.is_some()
            && let Err(error) = self.aws(&name.location)?.delete_baseline(&name.id).await
        {
            let in_use = error.kind == ErrorKind::InUse;
            let error = progress.failed(error.into()).await;
            // Somebody has attached it since it was looked at.
            return Err(if in_use { used(name, "somebody has taken it into use just now".to_owned()) } else { error });
        }
        progress.done(&name.to_string()).await?;
        let baseline = before.map(|before| self.observed(&name.location, before));
        Ok(BaselineChanged { baseline, plan, replayed: false })
    }

    async fn plan_delete(&self, name: &BaselineName, etag: Option<&str>) -> Result<(Baseline, Plan)> {
        let before = self.own_baseline(name, etag).await?;
        if !before.patch_groups.is_empty() {
            let group = |group: &PatchGroupName| format!("`{group}`");
            let groups = before.patch_groups.iter().map(group).collect::<Vec<_>>().join(", ");
            return Err(used(name, format!("these patch groups have it: {groups}; attach another one to them first")));
        }
        if before.summary.default {
            let os = &before.summary.operating_system;
            return Err(used(name, format!("it is the default for {os}; make another one the default first")));
        }
        let change = Change {
            resource: name.to_string(),
            action: ChangeAction::Delete,
            field: String::new(),
            before: before.summary.name.clone(),
            after: String::new(),
            aws_operation: "ssm:DeletePatchBaseline",
        };
        Ok((before, Plan { changes: vec![change], ..Plan::default() }))
    }

    /// A baseline that may be changed, at the etag that was seen.
    async fn own_baseline(&self, name: &BaselineName, seen: Option<&str>) -> Result<Baseline> {
        let baseline = self.baseline(name).await?;
        if baseline.summary.owner == BaselineOwner::Aws {
            return Err(Error::Precondition {
                reason: "BASELINE_NOT_YOURS",
                message: format!("{} is AWS's own, which nobody can change; clone it instead", baseline.summary.name),
                subject: name.to_string(),
            });
        }
        if seen.is_some_and(|seen| seen != etag(&baseline)) {
            return Err(Error::Aborted {
                reason: "ETAG_MISMATCH",
                message: format!("{name} has changed since its etag was read; read it again"),
                retry_after: None,
            });
        }
        Ok(baseline)
    }

    /// How many EC2 instances are in any of these groups.
    async fn member_count(&self, location: &Location, groups: &[PatchGroupName]) -> Result<usize> {
        let mut members = BTreeSet::new();
        for group in groups {
            members.extend(self.members(&GroupName { location: location.clone(), group: group.clone() }).await?);
        }
        Ok(members.len())
    }
}

fn within_baseline(invalid: Invalid) -> Invalid {
    // The mask stands beside the baseline.
    if invalid.field.starts_with("update_mask") { invalid } else { invalid.within("baseline") }
}

fn noticed(spec: &BaselineSpec) -> Plan {
    let notices = lints(spec).into_iter().map(Notice::from).collect();
    Plan { notices, ..Plan::default() }
}

fn used(name: &BaselineName, why: String) -> Error {
    let message = format!("{name} cannot be deleted: {why}");
    Error::Precondition { reason: "BASELINE_IN_USE", message, subject: name.to_string() }
}
