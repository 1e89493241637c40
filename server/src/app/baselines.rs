//! Reading baselines.

use super::{
    App,
    locations::{Chunk, ListPage, Query},
};
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::{
        name::{BaselineName, Parent},
        page::Paging,
    },
};
use jiff::Timestamp;
use patchplane_aws::Page;
use patchplane_rules::{Baseline, BaselineOwner, BaselineSummary, Location, OperatingSystem};

/// A question for baselines.
pub struct ListBaselines {
    pub parent: Parent,
    pub paging: Paging,
    pub operating_system: Option<OperatingSystem>,
    pub owner: Option<BaselineOwner>,
}

/// A value as AWS told it, where and when.
#[derive(Clone, Debug)]
pub struct Observed<T> {
    pub location: Location,
    pub time: Timestamp,
    pub value: T,
}

impl App {
    #[tracing::instrument(name = "app.list_baselines", skip_all, fields(parent = %list.parent))]
    pub async fn list_baselines(
        &self,
        who: &Caller,
        list: ListBaselines,
    ) -> Result<ListPage<Observed<BaselineSummary>>> {
        let ListBaselines { parent, paging, operating_system, owner } = list;
        let query =
            Query { action: Action::ListBaselines, parent: &parent, filter: format!("{operating_system:?} {owner:?}") };
        let operating_system = operating_system.as_ref();
        self.list(who, query, &paging, |location, room, inner| async move {
            let page = Page { size: u32::try_from(room).unwrap_or(u32::MAX), token: inner };
            let found = self.aws(&location)?.baselines_page(operating_system, owner, page).await?;
            let time = self.clock.now();
            let observe = |value| Observed { location: location.clone(), time, value };
            Ok(Chunk { items: found.items.into_iter().map(observe).collect(), next: found.next })
        })
        .await
    }

    #[tracing::instrument(name = "app.get_baseline", skip_all, fields(baseline = %name))]
    pub async fn get_baseline(&self, who: &Caller, name: BaselineName) -> Result<Observed<Baseline>> {
        who.may(Action::GetBaseline, &name.location)?;
        let value = self.baseline(&name).await?;
        Ok(Observed { location: name.location, time: self.clock.now(), value })
    }

    /// A value that AWS has told just now.
    pub(super) fn observed<T>(&self, location: &Location, value: T) -> Observed<T> {
        Observed { location: location.clone(), time: self.clock.now(), value }
    }

    pub(super) async fn baseline(&self, name: &BaselineName) -> Result<Baseline> {
        self.aws(&name.location)?
            .baseline(&name.id)
            .await?
            .ok_or_else(|| Error::not_found("baseline", "BASELINE_NOT_FOUND", name))
    }
}
