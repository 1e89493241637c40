//! Patch groups: which baseline each is registered with, and how its nodes fare.

use crate::{
    Aws, Page, PageOf, Result,
    calls::{
        DEREGISTER_BASELINE, DESCRIBE_PATCH_GROUP_STATE, DESCRIBE_PATCH_GROUPS, GET_BASELINE_FOR_GROUP,
        REGISTER_BASELINE,
    },
    page,
    values::{self, count},
};
use patchplane_rules::{BaselineId, BaselineSummary, OperatingSystem, PatchGroupName};

/// A group's registration with one baseline; a group has one for each operating system at most (S 5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMapping {
    pub group: PatchGroupName,
    pub baseline: BaselineSummary,
}

/// Numbers of nodes with at least one such patch: they overlap, and do not add up to `instances` (S 5.13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    pub instances: u32,
    pub with_missing: u32,
    pub with_failed: u32,
    pub with_installed_pending_reboot: u32,
    pub with_installed_rejected: u32,
    pub with_critical_non_compliant: u32,
    pub with_security_non_compliant: u32,
    pub with_other_non_compliant: u32,
}

impl Aws {
    /// Every registration here. Groups that are only tags have none (S 5.9).
    pub async fn group_mappings(&self) -> Result<Vec<GroupMapping>> {
        page::all(&DESCRIBE_PATCH_GROUPS, |page| self.group_mappings_page(page)).await
    }

    async fn group_mappings_page(&self, page: Page) -> Result<PageOf<GroupMapping>> {
        let request =
            self.ssm().describe_patch_groups().max_results(page.size_within(1..=100)).set_next_token(page.token);
        let answer = self.ask(&DESCRIBE_PATCH_GROUPS, request.send()).await?;
        let items = answer.mappings().iter().filter_map(|row| {
            let group = values::key(row.patch_group())?;
            Some(GroupMapping { group, baseline: self.summary(row.baseline_identity()?)? })
        });
        Ok(PageOf::new(items.collect(), answer.next_token))
    }

    /// What nodes of a group use on one operating system: its registration, else the default (S 5.8).
    pub async fn baseline_for_group(&self, group: &PatchGroupName, os: &OperatingSystem) -> Result<BaselineId> {
        let request = self.ssm().get_patch_baseline_for_patch_group().patch_group(group.as_str());
        let answer = self.ask(&GET_BASELINE_FOR_GROUP, request.operating_system(os.as_str().into()).send()).await?;
        let id = BaselineId::of_aws_id(answer.baseline_id().unwrap_or_default());
        id.map_err(|invalid| GET_BASELINE_FOR_GROUP.refuse(format!("answer: {invalid}")))
    }

    /// `AlreadyExists`: the group has another baseline of the same operating system (S 5.5).
    pub async fn register_baseline(&self, group: &PatchGroupName, aws_id: &str) -> Result<()> {
        let request = self.ssm().register_patch_baseline_for_patch_group().patch_group(group.as_str());
        self.ask(&REGISTER_BASELINE, request.baseline_id(aws_id).send()).await?;
        Ok(())
    }

    /// Until another one is registered, the group's nodes use the default (S 5.6).
    pub async fn deregister_baseline(&self, group: &PatchGroupName, aws_id: &str) -> Result<()> {
        let request = self.ssm().deregister_patch_baseline_for_patch_group().patch_group(group.as_str());
        self.ask(&DEREGISTER_BASELINE, request.baseline_id(aws_id).send()).await?;
        Ok(())
    }

    /// All zero for a group that nobody knows (S 5.14).
    pub async fn group_state(&self, group: &PatchGroupName) -> Result<GroupState> {
        let request = self.ssm().describe_patch_group_state().patch_group(group.as_str());
        let state = self.ask(&DESCRIBE_PATCH_GROUP_STATE, request.send()).await?;
        Ok(GroupState {
            instances: count(state.instances()),
            with_missing: count(state.instances_with_missing_patches()),
            with_failed: count(state.instances_with_failed_patches()),
            with_installed_pending_reboot: count(state.instances_with_installed_pending_reboot_patches()),
            with_installed_rejected: count(state.instances_with_installed_rejected_patches()),
            with_critical_non_compliant: count(state.instances_with_critical_non_compliant_patches()),
            with_security_non_compliant: count(state.instances_with_security_non_compliant_patches()),
            with_other_non_compliant: count(state.instances_with_other_non_compliant_patches()),
        })
    }
}
