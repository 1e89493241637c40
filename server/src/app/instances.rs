//! Instances, their readiness and their patches.

use super::{
    App,
    baselines::Observed,
    locations::{Chunk, ListPage, Query, slice},
};
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::{
        name::{InstanceName, Parent},
        page::Paging,
    },
};
use patchplane_aws::{Aws, NodeFilter, Page, VmFilter};
use patchplane_rules::{
    GROUP_TAG_KEYS, InstanceId, InstancePatch, Location, PatchGroupName, PatchState, PatchSummary, PowerState,
    Sighting, VirtualMachine,
};
use std::collections::{BTreeMap, BTreeSet};

/// A question for instances.
pub struct ListInstances {
    pub parent: Parent,
    pub paging: Paging,
    pub patch_group: Option<PatchGroupName>,
}

/// A question for the patches of one instance.
pub struct ListInstancePatches {
    pub instance: InstanceName,
    pub paging: Paging,
    pub state: Option<PatchState>,
}

/// An instance as EC2 and Systems Manager know it together.
#[derive(Clone, Debug)]
pub struct Instance {
    pub id: InstanceId,
    pub seen: Sighting,
    pub summary: Option<PatchSummary>,
}

impl App {
    #[tracing::instrument(name = "app.list_instances", skip_all, fields(parent = %list.parent))]
    pub async fn list_instances(&self, who: &Caller, list: ListInstances) -> Result<ListPage<Observed<Instance>>> {
        let ListInstances { parent, paging, patch_group } = list;
        let query = Query { action: Action::ListInstances, parent: &parent, filter: format!("{patch_group:?}") };
        let patch_group = patch_group.as_ref();
        self.list(who, query, &paging, |location, room, inner| async move {
            let aws = self.aws(&location)?;
            let ids: Vec<InstanceId> = instance_ids(aws, patch_group).await?.into_iter().collect();
            let chunk = slice(ids, room, inner.as_deref(), ToString::to_string);
            let items = self.observe(&location, &chunk.items).await?;
            Ok(Chunk { items, next: chunk.next })
        })
        .await
    }

    #[tracing::instrument(name = "app.get_instance", skip_all, fields(instance = %name))]
    pub async fn get_instance(&self, who: &Caller, name: InstanceName) -> Result<Observed<Instance>> {
        who.may(Action::GetInstance, &name.location)?;
        let found = self.observe(&name.location, std::slice::from_ref(&name.id)).await?.pop();
        found.ok_or_else(|| Error::not_found("instance", "INSTANCE_NOT_FOUND", name))
    }

    #[tracing::instrument(name = "app.list_instance_patches", skip_all, fields(instance = %list.instance))]
    pub async fn list_instance_patches(
        &self,
        who: &Caller,
        list: ListInstancePatches,
    ) -> Result<ListPage<Observed<InstancePatch>>> {
        let ListInstancePatches { instance, paging, state } = list;
        let parent =
            Parent { account: Some(instance.location.account.clone()), region: Some(instance.location.region.clone()) };
        let query = Query {
            action: Action::ListInstancePatches,
            parent: &parent,
            filter: format!("{} {state:?}", instance.id),
        };
        who.may(Action::ListInstancePatches, &instance.location)?;
        if paging.token.is_none()
            && self.observe(&instance.location, std::slice::from_ref(&instance.id)).await?.is_empty()
        {
            return Err(Error::not_found("instance", "INSTANCE_NOT_FOUND", instance));
        }
        let (instance, state) = (&instance, state.as_ref());
        self.list(who, query, &paging, |location, room, inner| async move {
            // A page of AWS is this list's page: nothing is to be added to it.
            let page = Page { size: u32::try_from(room).unwrap_or(u32::MAX), token: inner };
            let found = self.aws(&location)?.instance_patches_page(&instance.id, state, page).await?;
            let time = self.clock.now();
            let observe = |value| Observed { location: location.clone(), time, value };
            Ok(Chunk { items: found.items.into_iter().map(observe).collect(), next: found.next })
        })
        .await
    }

    /// What is known of these instances, those left out that nobody knows.
    pub(super) async fn observe(&self, location: &Location, ids: &[InstanceId]) -> Result<Vec<Observed<Instance>>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let aws = self.aws(location)?;
        let mut summaries: BTreeMap<InstanceId, PatchSummary> =
            aws.patch_summaries(ids).await?.into_iter().map(|summary| (summary.id.clone(), summary)).collect();
        let seen = aws.sightings(ids).await?;
        let time = self.clock.now();
        let known = seen.into_iter().filter(|(_, seen)| seen.is_known());
        Ok(known
            .map(|(id, seen)| {
                let summary = summaries.remove(&id);
                Observed { location: location.clone(), time, value: Instance { id, seen, summary } }
            })
            .collect())
    }
}

/// The ids of a location's instances, or of one group's: EC2's that are not terminated, and hybrid nodes.
pub(crate) async fn instance_ids(aws: &Aws, group: Option<&PatchGroupName>) -> Result<BTreeSet<InstanceId>> {
    let mut ids = BTreeSet::new();
    let there = |vm: &VirtualMachine| vm.state != PowerState::Terminated;
    match group {
        None => {
            ids.extend(aws.vms(&VmFilter::All).await?.into_iter().filter(there).map(|vm| vm.id));
            ids.extend(aws.nodes(&NodeFilter::Hybrid).await?.into_iter().map(|node| node.id));
        }
        Some(group) => {
            for key in GROUP_TAG_KEYS {
                let tag = VmFilter::Tag { key: key.to_owned(), values: vec![group.to_string()] };
                ids.extend(aws.vms(&tag).await?.into_iter().filter(there).map(|vm| vm.id));
                let tag = NodeFilter::Tag { key: key.to_owned(), value: group.to_string() };
                ids.extend(aws.nodes(&tag).await?.into_iter().map(|node| node.id).filter(InstanceId::is_hybrid));
            }
        }
    }
    Ok(ids)
}
