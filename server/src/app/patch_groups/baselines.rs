//! Attaching baselines to patch groups, and taking them off.

use super::PatchGroup;
use crate::{
    Error, Result,
    app::{
        App,
        mutations::{Begun, expect_plan},
    },
    auth::{Action, Caller},
    domain::{
        name::{BaselineName, GroupName},
        plan::{Change, ChangeAction, Notice, Plan},
        request::Mutation,
    },
};
use patchplane_rules::BaselineSummary;

/// A request to attach a baseline to a group.
pub struct AttachBaseline {
    pub group: GroupName,
    pub baseline: BaselineName,
    pub replace: bool,
    pub etag: Option<String>,
    pub mutation: Mutation,
}

/// A request to take a baseline off a group.
pub struct DetachBaseline {
    pub group: GroupName,
    pub baseline: BaselineName,
    pub etag: Option<String>,
    pub mutation: Mutation,
}

/// What was done to the group's baselines, or with `validate_only` would be.
pub struct Attached {
    pub group: PatchGroup,
    pub plan: Plan,
    pub replayed: bool,
}

impl App {
    /// Attaches a baseline; a repetition, or one after a crash, goes on where the first stopped: both steps at AWS are
    /// harmless to repeat.
    #[tracing::instrument(name = "app.attach_baseline", skip_all, fields(group = %attach.group))]
    pub async fn attach_baseline(&self, who: &Caller, attach: AttachBaseline) -> Result<Attached> {
        who.may(Action::AttachBaseline, &attach.group.location)?;
        if attach.mutation.validate_only {
            let (plan, ..) = self.plan_attach(&attach, false).await?;
            return Ok(Attached { group: self.patch_group(&attach.group).await?, plan, replayed: false });
        }
        let Begun::Go(mut progress) = self.begin(who, "AttachBaseline", &attach.mutation).await? else {
            let group = self.patch_group(&attach.group).await?;
            return Ok(Attached { group, plan: Plan::default(), replayed: true });
        };
        let (plan, baseline, replaced) = self.plan_attach(&attach, progress.continued()).await?;
        if !progress.continued() {
            expect_plan(&attach.mutation, &plan)?;
        }
        progress.record(&attach.mutation).await?;
        let aws = self.aws(&attach.group.location)?;
        let group = &attach.group.group;
        let effects = async {
            if let Some(old) = &replaced {
                aws.deregister_baseline(group, &old.aws_id).await?;
            }
            aws.register_baseline(group, &baseline.aws_id).await
        };
        if !plan.changes.is_empty()
            && let Err(error) = effects.await
        {
            // Once the old one may be off, only a repetition can tell: the record stays.
            return Err(if replaced.is_some() { error.into() } else { progress.failed(error.into()).await });
        }
        progress.done(&attach.group.to_string()).await?;
        Ok(Attached { group: self.patch_group(&attach.group).await?, plan, replayed: false })
    }

    /// What attaching would change, the baseline, and the one that it takes the place of. A `continued` attempt has had its
    /// etag checked, and may have changed the group itself since.
    async fn plan_attach(
        &self,
        attach: &AttachBaseline,
        continued: bool,
    ) -> Result<(Plan, BaselineSummary, Option<BaselineSummary>)> {
        let AttachBaseline { group, baseline: name, replace, etag, .. } = attach;
        let baseline = self.baseline(name).await?.summary;
        let now = self.patch_group(group).await?;
        if !continued {
            expect_etag(etag.as_deref(), &now)?;
        }
        let old = now.baselines.iter().find(|b| b.operating_system == baseline.operating_system);
        let mut plan = Plan { target_count: now.instance_count, ..Plan::default() };
        let mut replaced = None;
        match old {
            Some(old) if old.id == baseline.id => {}
            Some(old) if !replace => {
                return Err(Error::Precondition {
                    reason: "OTHER_BASELINE_ATTACHED",
                    message: format!(
                        "{group} already has {} ({}) for {}; set `replace` to take it off",
                        old.name, old.id, old.operating_system
                    ),
                    subject: group.to_string(),
                });
            }
            Some(old) => {
                plan.notices.push(Notice {
                    code: "DEFAULT_BASELINE_MEANWHILE",
                    message: "between the two steps the operating system's default baseline applies".into(),
                });
                plan.changes.push(taken_off(group, old));
                replaced = Some(old.clone());
            }
            None => {}
        }
        if old.is_none_or(|old| old.id != baseline.id) {
            plan.changes.push(Change {
                resource: group.to_string(),
                action: ChangeAction::Create,
                field: format!("baselines[{}]", baseline.operating_system),
                before: String::new(),
                after: baseline.id.to_string(),
                aws_operation: "ssm:RegisterPatchBaselineForPatchGroup",
            });
        }
        if now.instance_count == 0 {
            plan.notices.push(Notice {
                code: "NO_INSTANCES",
                message: format!("no instance carries the tag of {} yet", group.group),
            });
        }
        Ok((plan, baseline, replaced))
    }

    /// Takes a baseline off; a repetition, or one after a crash, goes on where the first stopped.
    #[tracing::instrument(name = "app.detach_baseline", skip_all, fields(group = %detach.group))]
    pub async fn detach_baseline(&self, who: &Caller, detach: DetachBaseline) -> Result<Attached> {
        who.may(Action::DetachBaseline, &detach.group.location)?;
        if detach.mutation.validate_only {
            let (group, plan, _) = self.plan_detach(&detach, false).await?;
            return Ok(Attached { group, plan, replayed: false });
        }
        let Begun::Go(mut progress) = self.begin(who, "DetachBaseline", &detach.mutation).await? else {
            let group = self.patch_group(&detach.group).await?;
            return Ok(Attached { group, plan: Plan::default(), replayed: true });
        };
        let (_, plan, attached) = self.plan_detach(&detach, progress.continued()).await?;
        if !progress.continued() {
            expect_plan(&detach.mutation, &plan)?;
        }
        progress.record(&detach.mutation).await?;
        if let Some(attached) = attached {
            let aws = self.aws(&detach.group.location)?;
            if let Err(error) = aws.deregister_baseline(&detach.group.group, &attached.aws_id).await {
                return Err(progress.failed(error.into()).await);
            }
        }
        progress.done(&detach.group.to_string()).await?;
        Ok(Attached { group: self.patch_group(&detach.group).await?, plan, replayed: false })
    }

    /// The group as it is, what detaching would change, and the baseline if it is attached. A `continued` attempt may
    /// have taken it off itself.
    async fn plan_detach(
        &self,
        detach: &DetachBaseline,
        continued: bool,
    ) -> Result<(PatchGroup, Plan, Option<BaselineSummary>)> {
        let DetachBaseline { group, baseline, etag, .. } = detach;
        let now = self.patch_group(group).await?;
        if !continued {
            expect_etag(etag.as_deref(), &now)?;
        }
        let mut plan = Plan { target_count: now.instance_count, ..Plan::default() };
        let Some(attached) = now.baselines.iter().find(|attached| attached.id == baseline.id).cloned() else {
            if continued {
                return Ok((now, plan, None));
            }
            let others: Vec<String> = now.baselines.iter().map(|b| format!("{} ({})", b.name, b.id)).collect();
            let there = if others.is_empty() { "no baseline".to_owned() } else { others.join(", ") };
            return Err(Error::Precondition {
                reason: "BASELINE_NOT_ATTACHED",
                message: format!("{} is not attached to {group}, which has {there}", baseline.id),
                subject: group.to_string(),
            });
        };
        plan.changes.push(taken_off(group, &attached));
        let defaults = self.aws(&group.location)?.baselines().await?;
        let default = defaults.iter().find(|b| b.default && b.operating_system == attached.operating_system);
        plan.notices.extend(default.map(|default| Notice {
            code: "DEFAULT_BASELINE_APPLIES",
            message: format!(
                "from then on the default of {} applies to the group: {} ({})",
                attached.operating_system, default.name, default.id
            ),
        }));
        Ok((now, plan, Some(attached)))
    }
}

fn expect_etag(etag: Option<&str>, now: &PatchGroup) -> Result<()> {
    match etag {
        Some(etag) if *etag != now.etag() => Err(Error::Aborted {
            reason: "ETAG_MISMATCH",
            message: format!("{} has changed since its etag was read; read it again", now.name),
            retry_after: None,
        }),
        _ => Ok(()),
    }
}

fn taken_off(group: &GroupName, baseline: &BaselineSummary) -> Change {
    Change {
        resource: group.to_string(),
        action: ChangeAction::Delete,
        field: format!("baselines[{}]", baseline.operating_system),
        before: baseline.id.to_string(),
        after: String::new(),
        aws_operation: "ssm:DeregisterPatchBaselineForPatchGroup",
    }
}
