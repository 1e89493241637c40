//! Steps 5 and 7: scanning and installing, each watched to its end.

use super::{GROUP, Walk};
use anyhow::{Context as _, Result, bail, ensure};
use futures::TryStreamExt as _;
use patchplane_client::{
    Followed,
    api::{
        self, PatchOperation, PatchOperationTarget, patch_operation, patch_operation_step,
        patch_operation_target::State,
    },
    has_ended,
    name::id,
    view::{Progress, progress_line},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

impl<W: Write> Walk<'_, W> {
    pub(super) async fn scan(&mut self, members: &BTreeSet<String>) -> Result<String> {
        self.ask(&format!(
            "PatchOperationService.CreatePatchOperation(kind: KIND_SCAN, targets: {{patch_groups: [{GROUP}]}}, rollout: {{concurrency: 50 %}})"
        ))?;
        let scan = PatchOperation { kind: patch_operation::Kind::Scan.into(), ..self.operation() };
        let (followed, _) = self.follow(scan).await?;
        self.outcome(&followed, members).await
    }

    pub(super) async fn refused_without_reboot_option(&mut self) -> Result<()> {
        self.ask("PatchOperationService.CreatePatchOperation(kind: KIND_INSTALL, …) without reboot_option")?;
        let install = PatchOperation { kind: patch_operation::Kind::Install.into(), ..self.operation() };
        let Err(error) = self.client.create_patch_operation(self.creation(install)).await else {
            bail!("an installation without reboot_option should be refused");
        };
        self.answer(&format!("{error}\n"))?;
        let named = error.field_violations().iter().any(|violation| violation.field.ends_with("reboot_option"));
        ensure!(
            error.code() == tonic::Code::InvalidArgument && named,
            "the refusal should name reboot_option: {error}"
        );
        Ok(())
    }

    pub(super) async fn install(&mut self, members: &BTreeSet<String>) -> Result<String> {
        self.ask(&format!(
            "PatchOperationService.CreatePatchOperation(kind: KIND_INSTALL, targets: {{patch_groups: [{GROUP}]}}, \
             reboot_option: REBOOT_IF_NEEDED, rollout: {{concurrency: 50 %}})"
        ))?;
        let install = PatchOperation {
            kind: patch_operation::Kind::Install.into(),
            reboot_option: patch_operation::RebootOption::RebootIfNeeded.into(),
            ..self.operation()
        };
        let (followed, reboot_seen) = self.follow(install).await?;
        let name = self.outcome(&followed, members).await?;
        ensure!(reboot_seen, "the watch should have shown a target REBOOTING");
        ensure!(followed.targets.values().any(|target| target.rebooted), "at least one target should have rebooted");
        Ok(name)
    }

    /// What scan and installation have in common: the group, half of it at once.
    fn operation(&self) -> PatchOperation {
        let half = api::instance_limit::Amount::Percent(api::Percent { value: 50 });
        let concurrency = Some(api::InstanceLimit { amount: Some(half) });
        PatchOperation {
            targets: Some(api::TargetSelection { patch_groups: vec![GROUP.to_owned()], ..Default::default() }),
            rollout: Some(api::Rollout { concurrency, ..Default::default() }),
            note: "the demo".to_owned(),
            ..Default::default()
        }
    }

    fn creation(&self, operation: PatchOperation) -> api::CreatePatchOperationRequest {
        let parent = self.location.to_string();
        api::CreatePatchOperationRequest { parent, patch_operation: Some(operation), ..Default::default() }
    }

    /// Starts an operation and watches it to its end; tells also whether a target was seen to reboot.
    async fn follow(&mut self, operation: PatchOperation) -> Result<(Followed, bool)> {
        let created = self.client.create_patch_operation(self.creation(operation)).await?;
        let name = created.patch_operation.context("the operation should be answered")?.name;
        self.ask(&format!("PatchOperationService.WatchPatchOperation(name: …/patchOperations/{})", id(&name)))?;
        let (mut followed, mut reboot_seen, mut written) = (Followed::default(), false, String::new());
        let mut progress = Progress::stderr();
        let mut watch = self.client.watch(name);
        while let Some(message) = watch.try_next().await? {
            if !followed.apply(message) {
                continue;
            }
            reboot_seen |= followed.any(State::Rebooting);
            let line = progress_line(&followed);
            if progress.is_live() {
                progress.show(&followed);
            } else if line != written {
                writeln!(self.out, "  {line}")?;
                written = line;
            }
        }
        drop(progress);
        Ok((followed, reboot_seen))
    }

    /// Shows how an operation ended and what became of each target; all must have succeeded.
    pub(super) async fn outcome(&mut self, followed: &Followed, members: &BTreeSet<String>) -> Result<String> {
        let operation = followed.operation.as_ref().context("the watch should have brought the operation")?;
        self.answer(&format!("\n{}", self.view.operation(operation)))?;
        let targets = self.targets(operation).await?;

        ensure!(has_ended(operation), "the watch should end with the operation");
        let state = operation.state();
        ensure!(state == patch_operation::State::Succeeded, "it should have succeeded: {}", operation.explanation);
        let ids: BTreeSet<String> = targets.iter().map(|target| target.instance_id.clone()).collect();
        ensure!(ids == *members, "the targets should be the members of the group");
        for target in &targets {
            let instance = &target.instance_id;
            ensure!(target.state() == State::Succeeded, "{instance} should have succeeded: {}", target.explanation);
            ensure!(target.after.is_some(), "{instance} should be verified");
            let steps: BTreeMap<&str, _> = target.steps.iter().map(|step| (step.step.as_str(), step.state())).collect();
            let (ran, left_out) = (patch_operation_step::State::Succeeded, patch_operation_step::State::Skipped);
            let expected = [("PatchLinux", ran), ("PatchMacOS", left_out), ("PatchWindows", left_out)];
            ensure!(steps == BTreeMap::from(expected), "{instance} should have run PatchLinux alone, not {steps:?}");
        }
        Ok(operation.name.clone())
    }

    /// Shows and answers what became of each instance.
    pub(super) async fn targets(&mut self, operation: &PatchOperation) -> Result<Vec<PatchOperationTarget>> {
        self.ask(&format!(
            "PatchOperationService.ListPatchOperationTargets(parent: …/patchOperations/{})",
            id(&operation.name)
        ))?;
        let request = api::ListPatchOperationTargetsRequest { parent: operation.name.clone(), ..Default::default() };
        let targets: Vec<_> = self.client.list_patch_operation_targets(request).try_collect().await?;
        self.answer(&self.view.targets(&targets))?;
        Ok(targets)
    }
}
