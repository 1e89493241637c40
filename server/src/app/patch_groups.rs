//! Patch groups: reading them; their baselines, their members and their misspelt tags are in the modules below.

mod baselines;
mod findings;
mod members;

pub use baselines::{AttachBaseline, Attached, DetachBaseline};
pub use findings::ListTagFindings;
pub use members::{ChangeMembers, InstanceResult, MemberChange, MemberOutcome, MembersChanged};

use super::{
    App,
    locations::{ListPage, Query, slice},
};
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::{
        name::{GroupName, Parent},
        page::Paging,
        plan::hex,
    },
};
use jiff::Timestamp;
use patchplane_aws::{GroupMapping, VmFilter};
use patchplane_rules::{
    BaselineSummary, GROUP_TAG_KEYS, InstanceId, Location, PatchGroupName, PowerState, VirtualMachine,
};
use std::collections::{BTreeMap, BTreeSet};

/// A question for patch groups.
pub struct ListPatchGroups {
    pub parent: Parent,
    pub paging: Paging,
}

/// A patch group with its baselines and the number of its EC2 instances.
#[derive(Clone, Debug)]
pub struct PatchGroup {
    pub name: GroupName,
    /// By operating system.
    pub baselines: Vec<BaselineSummary>,
    pub instance_count: usize,
    pub observe_time: Timestamp,
}

impl PatchGroup {
    /// A hash of the attached baselines.
    pub fn etag(&self) -> String {
        let mut rows: Vec<String> = self.baselines.iter().map(|b| format!("{}={}", b.operating_system, b.id)).collect();
        rows.sort();
        hex(&format!("{}\n{}", self.name, rows.join("\n")))[..32].to_owned()
    }
}

impl App {
    #[tracing::instrument(name = "app.list_patch_groups", skip_all, fields(parent = %list.parent))]
    pub async fn list_patch_groups(&self, who: &Caller, list: ListPatchGroups) -> Result<ListPage<PatchGroup>> {
        let ListPatchGroups { parent, paging } = list;
        let query = Query { action: Action::ListPatchGroups, parent: &parent, filter: String::new() };
        self.list(who, query, &paging, |location, room, inner| async move {
            let groups = self.patch_groups(&location).await?;
            Ok(slice(groups, room, inner.as_deref(), |group| group.name.group.to_string()))
        })
        .await
    }

    #[tracing::instrument(name = "app.get_patch_group", skip_all, fields(group = %name))]
    pub async fn get_patch_group(&self, who: &Caller, name: GroupName) -> Result<PatchGroup> {
        who.may(Action::GetPatchGroup, &name.location)?;
        let group = self.patch_group(&name).await?;
        if group.baselines.is_empty() && group.instance_count == 0 {
            return Err(Error::not_found("patch group", "PATCH_GROUP_NOT_FOUND", name));
        }
        Ok(group)
    }

    pub(super) async fn patch_group(&self, name: &GroupName) -> Result<PatchGroup> {
        let aws = self.aws(&name.location)?;
        let baselines = aws
            .group_mappings()
            .await?
            .into_iter()
            .filter(|mapping| mapping.group == name.group)
            .map(|mapping| mapping.baseline)
            .collect();
        let members = self.members(name).await?;
        Ok(PatchGroup { name: name.clone(), baselines, instance_count: members.len(), observe_time: self.clock.now() })
    }

    /// The EC2 instances that carry the group's tag and are not terminated.
    pub(super) async fn members(&self, name: &GroupName) -> Result<BTreeSet<InstanceId>> {
        let aws = self.aws(&name.location)?;
        let mut members = BTreeSet::new();
        for key in GROUP_TAG_KEYS {
            let filter = VmFilter::Tag { key: key.to_owned(), values: vec![name.group.to_string()] };
            members.extend(aws.vms(&filter).await?.into_iter().filter(is_there).map(|vm| vm.id));
        }
        Ok(members)
    }

    /// All groups of a location, by name: those with a baseline and those that exist as tags only.
    async fn patch_groups(&self, location: &Location) -> Result<Vec<PatchGroup>> {
        let aws = self.aws(location)?;
        let mut groups: BTreeMap<PatchGroupName, (Vec<BaselineSummary>, BTreeSet<InstanceId>)> = BTreeMap::new();
        for GroupMapping { group, baseline } in aws.group_mappings().await? {
            groups.entry(group).or_default().0.push(baseline);
        }
        for key in GROUP_TAG_KEYS {
            for vm in aws.vms(&VmFilter::TagKey(key.to_owned())).await?.into_iter().filter(is_there) {
                if let Some(Ok(group)) = vm.tags.get(key).map(|value| value.parse()) {
                    groups.entry(group).or_default().1.insert(vm.id);
                }
            }
        }
        let observe_time = self.clock.now();
        Ok(groups
            .into_iter()
            .map(|(group, (baselines, members))| PatchGroup {
                name: GroupName { location: location.clone(), group },
                baselines,
                instance_count: members.len(),
                observe_time,
            })
            .collect())
    }
}

fn is_there(vm: &VirtualMachine) -> bool {
    !matches!(vm.state, PowerState::Terminated | PowerState::ShuttingDown)
}
