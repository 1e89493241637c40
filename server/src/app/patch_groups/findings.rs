//! Tags that look like patch groups and are not effective.

use crate::{
    Result,
    app::{
        App,
        baselines::Observed,
        locations::{ListPage, Query, slice},
        readiness::{default_ids, registrations},
    },
    auth::{Action, Caller},
    domain::{
        group_tags::{TagFinding, tag_findings},
        name::Parent,
        page::Paging,
    },
};
use patchplane_rules::Location;

/// A question for tags that are not effective.
pub struct ListTagFindings {
    pub parent: Parent,
    pub paging: Paging,
}

impl App {
    /// The findings of each location, by what is wrong.
    #[tracing::instrument(name = "app.list_tag_findings", skip_all, fields(parent = %list.parent))]
    pub async fn list_tag_findings(
        &self,
        who: &Caller,
        list: ListTagFindings,
    ) -> Result<ListPage<Observed<TagFinding>>> {
        let ListTagFindings { parent, paging } = list;
        let query = Query { action: Action::ListTagFindings, parent: &parent, filter: String::new() };
        self.list(who, query, &paging, |location, room, inner| async move {
            let mut found = self.tag_findings(&location).await?;
            found.sort_by_key(|finding| row(&finding.value));
            Ok(slice(found, room, inner.as_deref(), |finding| row(&finding.value)))
        })
        .await
    }

    async fn tag_findings(&self, location: &Location) -> Result<Vec<Observed<TagFinding>>> {
        let aws = self.aws(location)?;
        let fleet = aws.fleet().await?;
        let found = tag_findings(&fleet, &registrations(aws).await?, &default_ids(&aws.baselines().await?));
        let time = self.clock.now();
        Ok(found.into_iter().map(|value| Observed { location: location.clone(), time, value }).collect())
    }
}

/// What a finding is known by from page to page.
fn row(finding: &TagFinding) -> String {
    format!("{} {:?} {:?}", finding.misstep.code(), finding.misstep, finding.ids.first())
}
