//! AWS's catalogue of patches, and the words that describe it.

use super::{
    App,
    locations::{Chunk, ListPage, Query},
};
use crate::{
    Result,
    auth::{Action, Caller},
    domain::{name::Parent, page::Paging},
};
use patchplane_aws::Page;
use patchplane_rules::{AvailablePatch, Location, OperatingSystem, PatchFilter};

/// A question for the values of a filter.
pub struct ListPatchProperties {
    pub location: Location,
    pub operating_system: OperatingSystem,
    pub property: String,
    pub patch_set: Option<String>,
    pub paging: Paging,
}

/// A question for the catalogue.
pub struct ListAvailablePatches {
    pub location: Location,
    pub operating_system: OperatingSystem,
    pub filters: Vec<PatchFilter>,
    pub paging: Paging,
}

impl App {
    #[tracing::instrument(name = "app.list_patch_properties", skip_all, fields(location = %list.location))]
    pub async fn list_patch_properties(&self, who: &Caller, list: ListPatchProperties) -> Result<ListPage<String>> {
        let ListPatchProperties { location, operating_system, property, patch_set, paging } = list;
        let parent = Parent::of(&location);
        let filter = format!("{operating_system} {property} {patch_set:?}");
        let query = Query { action: Action::ListPatchProperties, parent: &parent, filter };
        let (os, property, set) = (&operating_system, property.as_str(), patch_set.as_deref());
        self.list(who, query, &paging, |location, room, inner| async move {
            let found = self.aws(&location)?.patch_properties_page(os, property, set, at(room, inner)).await?;
            Ok(Chunk { items: found.items, next: found.next })
        })
        .await
    }

    #[tracing::instrument(name = "app.list_available_patches", skip_all, fields(location = %list.location))]
    pub async fn list_available_patches(
        &self,
        who: &Caller,
        list: ListAvailablePatches,
    ) -> Result<ListPage<AvailablePatch>> {
        let ListAvailablePatches { location, operating_system, filters, paging } = list;
        let parent = Parent::of(&location);
        let filter = format!("{operating_system} {filters:?}");
        let query = Query { action: Action::ListAvailablePatches, parent: &parent, filter };
        let (os, filters) = (&operating_system, filters.as_slice());
        self.list(who, query, &paging, |location, room, inner| async move {
            let found = self.aws(&location)?.available_patches_page(os, filters, at(room, inner)).await?;
            Ok(Chunk { items: found.items, next: found.next })
        })
        .await
    }
}

fn at(room: usize, token: Option<String>) -> Page {
    Page { size: u32::try_from(room).unwrap_or(u32::MAX), token }
}
