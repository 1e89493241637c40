//! The baselines of instances that no patch group gives one.

use super::{
    App,
    baselines::Observed,
    locations::{ListPage, Query, slice},
    mutations::{Begun, expect_plan},
};
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::{
        name::{BaselineName, DefaultBaselineName, Parent},
        page::Paging,
        plan::{Change, ChangeAction, Notice, Plan},
        request::Mutation,
    },
};
use patchplane_rules::{BaselineSummary, Invalid, Location};

/// A request to choose a default.
pub struct SetDefaultBaseline {
    pub name: DefaultBaselineName,
    pub baseline: BaselineName,
    pub mutation: Mutation,
}

/// What was done, or with `validate_only` would be.
pub struct DefaultBaselineSet {
    pub default: Observed<BaselineSummary>,
    pub plan: Plan,
    pub replayed: bool,
}

impl App {
    #[tracing::instrument(name = "app.get_default_baseline", skip_all, fields(default = %name))]
    pub async fn get_default_baseline(
        &self,
        who: &Caller,
        name: DefaultBaselineName,
    ) -> Result<Observed<BaselineSummary>> {
        who.may(Action::GetBaseline, &name.location)?;
        self.default_baseline(&name).await
    }

    #[tracing::instrument(name = "app.list_default_baselines", skip_all, fields(parent = %parent))]
    pub async fn list_default_baselines(
        &self,
        who: &Caller,
        parent: Parent,
        paging: Paging,
    ) -> Result<ListPage<Observed<BaselineSummary>>> {
        let query = Query { action: Action::ListBaselines, parent: &parent, filter: "defaults".to_owned() };
        self.list(who, query, &paging, |location, room, inner| async move {
            let defaults = self.defaults(&location).await?;
            Ok(slice(defaults, room, inner.as_deref(), |default| default.value.operating_system.to_string()))
        })
        .await
    }

    /// Makes a baseline its operating system's default; at AWS that is harmless to repeat.
    #[tracing::instrument(name = "app.set_default_baseline", skip_all, fields(default = %set.name))]
    pub async fn set_default_baseline(&self, who: &Caller, set: SetDefaultBaseline) -> Result<DefaultBaselineSet> {
        let SetDefaultBaseline { name, mutation, .. } = &set;
        who.may(Action::SetDefaultBaseline, &name.location)?;
        if mutation.validate_only {
            let (_, plan) = self.plan_default(&set).await?;
            return Ok(DefaultBaselineSet { default: self.default_baseline(name).await?, plan, replayed: false });
        }
        let Begun::Go(mut progress) = self.begin(who, "SetDefaultBaseline", mutation).await? else {
            let default = self.default_baseline(name).await?;
            return Ok(DefaultBaselineSet { default, plan: Plan::default(), replayed: true });
        };
        let (chosen, plan) = self.plan_default(&set).await?;
        if !progress.continued() {
            expect_plan(mutation, &plan)?;
        }
        progress.record(mutation).await?;
        if !plan.changes.is_empty()
            && let Err(error) = self.aws(&name.location)?.register_default_baseline(&chosen.aws_id).await
        {
            return Err(progress.failed(error.into()).await);
        }
        progress.done(&name.to_string()).await?;
        Ok(DefaultBaselineSet { default: self.default_baseline(name).await?, plan, replayed: false })
    }

    async fn plan_default(&self, set: &SetDefaultBaseline) -> Result<(BaselineSummary, Plan)> {
        let SetDefaultBaseline { name, baseline, .. } = set;
        let chosen = self.baseline(baseline).await?.summary;
        if chosen.operating_system != name.operating_system {
            let rule =
                format!("is for {}, and cannot be the default for {}", chosen.operating_system, name.operating_system);
            return Err(Invalid::new("baseline", rule).into());
        }
        let now = self.default_baseline(name).await?.value;
        let mut plan = Plan::default();
        if now.id != chosen.id {
            plan.changes.push(Change {
                resource: name.to_string(),
                action: ChangeAction::Update,
                field: "baseline".to_owned(),
                before: now.id.to_string(),
                after: chosen.id.to_string(),
                aws_operation: "ssm:RegisterDefaultPatchBaseline",
            });
            plan.notices.push(Notice {
                code: "DEFAULT_FOR_ALL_OTHERS",
                message: format!(
                    "every {} instance without a patch group, or in a group without a baseline of its own, follows it \
                     from its next scan or installation on",
                    name.operating_system
                ),
            });
        }
        Ok((chosen, plan))
    }

    async fn default_baseline(&self, name: &DefaultBaselineName) -> Result<Observed<BaselineSummary>> {
        let defaults = self.defaults(&name.location).await?;
        let found = defaults.into_iter().find(|default| default.value.operating_system == name.operating_system);
        found.ok_or_else(|| Error::not_found("default baseline", "DEFAULT_BASELINE_NOT_FOUND", name))
    }

    /// Those of a location, by operating system; AWS marks exactly one for each (S 4.6.12).
    async fn defaults(&self, location: &Location) -> Result<Vec<Observed<BaselineSummary>>> {
        let all = self.aws(location)?.baselines().await?.into_iter();
        let mut defaults: Vec<_> = all.filter(|row| row.default).map(|row| self.observed(location, row)).collect();
        defaults.sort_by(|a, b| a.value.operating_system.cmp(&b.value.operating_system));
        Ok(defaults)
    }
}
