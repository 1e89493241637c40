//! Lists as streams: pages are fetched while the stream is read.

use crate::{Client, Error, Result, api};
use futures::{Stream, StreamExt as _, TryStreamExt as _, future, stream};

/// An entry of a list over several locations.
#[derive(Clone, Debug, PartialEq)]
pub enum Listed<T> {
    /// What was listed.
    Item(T),
    /// A location that could not be asked, so that its part is missing.
    Unreachable(api::Unreachable),
}

/// A whole list, with the locations that it lacks.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing<T> {
    pub items: Vec<T>,
    /// Empty when the list is complete.
    pub unreachable: Vec<api::Unreachable>,
}

impl<T> Listing<T> {
    /// Reads a list to its end.
    pub async fn collect(entries: impl Stream<Item = Result<Listed<T>>>) -> Result<Self> {
        let empty = Self { items: Vec::new(), unreachable: Vec::new() };
        entries
            .try_fold(empty, |mut all, entry| {
                match entry {
                    Listed::Item(item) => all.items.push(item),
                    Listed::Unreachable(location) => all.unreachable.push(location),
                }
                future::ok(all)
            })
            .await
    }
}

/// Follows `next_page_token`; `page` fetches one page and gives its entries with the token of the next.
fn pages<T, F>(page: impl Fn(String) -> F) -> impl Stream<Item = Result<T>>
where
    F: Future<Output = Result<(Vec<T>, String)>>,
{
    // The token of the page to fetch; none after the last.
    let tokens = stream::try_unfold((page, Some(String::new())), |(page, token)| async move {
        let Some(token) = token else { return Ok::<_, Error>(None) };
        let (entries, next) = page(token).await?;
        let next = (!next.is_empty()).then_some(next);
        Ok(Some((stream::iter(entries.into_iter().map(Ok)), (page, next))))
    });
    tokens.try_flatten()
}

macro_rules! lists {
    ($($(#[$doc:meta])* $method:ident($request:ident) -> $item:ident by $page:ident . $field:ident $(, $unreachable:ident)?;)*) => {
        impl Client {
            $(
                $(#[$doc])*
                pub fn $method(&self, request: api::$request) -> lists!(@stream $item $($unreachable)?) {
                    let client = self.clone();
                    pages(move |page_token| {
                        let request = api::$request { page_token, ..request.clone() };
                        let client = client.clone();
                        async move {
                            let page = client.$page(request).await?;
                            let token = page.next_page_token;
                            Ok((lists!(@entries page.$field $(, page.$unreachable)?), token))
                        }
                    })
                    .boxed()
                }
            )*
        }
    };
    (@stream $item:ident) => { stream::BoxStream<'static, Result<api::$item>> };
    (@stream $item:ident $unreachable:ident) => { stream::BoxStream<'static, Result<Listed<api::$item>>> };
    (@entries $items:expr) => { $items };
    (@entries $items:expr, $unreachable:expr) => {
        $items.into_iter().map(Listed::Item).chain($unreachable.into_iter().map(Listed::Unreachable)).collect()
    };
}

lists! {
    /// Lists baselines, without their rules; `parent` may use `-`.
    list_baselines(ListBaselinesRequest) -> Baseline by baselines_page.baselines, unreachable;
    /// Lists default baselines, one for each operating system; `parent` may use `-`.
    list_default_baselines(ListDefaultBaselinesRequest) -> DefaultBaseline
        by default_baselines_page.default_baselines, unreachable;
    /// Lists what AWS's catalogue has.
    list_available_patches(ListAvailablePatchesRequest) -> AvailablePatch by available_patches_page.patches;
    /// Lists patch groups; `parent` may use `-`.
    list_patch_groups(ListPatchGroupsRequest) -> PatchGroup by patch_groups_page.patch_groups, unreachable;
    /// Lists tags that look like a patch group and are not effective; `parent` may use `-`.
    list_tag_findings(ListTagFindingsRequest) -> TagFinding by tag_findings_page.findings, unreachable;
    /// Lists instances; `parent` may use `-`.
    list_instances(ListInstancesRequest) -> Instance by instances_page.instances, unreachable;
    /// Lists how instances comply; `parent` may use `-`.
    list_instance_compliance(ListInstanceComplianceRequest) -> InstanceCompliance by compliance_page.instances, unreachable;
    /// Lists operations, newest first within a location; `parent` may use `-`.
    list_patch_operations(ListPatchOperationsRequest) -> PatchOperation by operations_page.patch_operations, unreachable;
    /// Lists the patches that an instance's last scan or installation reported.
    list_instance_patches(ListInstancePatchesRequest) -> InstancePatch by patches_page.patches;
    /// Lists an operation's targets by instance id.
    list_patch_operation_targets(ListPatchOperationTargetsRequest) -> PatchOperationTarget by targets_page.targets;
    /// Lists all that happened to an operation and its targets, oldest first.
    list_patch_operation_events(ListPatchOperationEventsRequest) -> PatchOperationEvent by events_page.events;
    /// Lists freezes, oldest first.
    list_freezes(ListFreezesRequest) -> Freeze by freezes_page.freezes;
    /// Lists maintenance windows, without targets and tasks; `parent` may use `-`.
    list_maintenance_windows(ListMaintenanceWindowsRequest) -> MaintenanceWindow by windows_page.maintenance_windows, unreachable;
    /// Lists the runs of a maintenance window, newest first.
    list_executions(ListExecutionsRequest) -> Execution by executions_page.executions;
    /// Lists patch schedules; `parent` may use `-`.
    list_patch_schedules(ListPatchSchedulesRequest) -> PatchSchedule by schedules_page.patch_schedules, unreachable;
    /// Lists the runs to come of all maintenance windows, by time within a location; `parent` may use `-`.
    list_upcoming_runs(ListUpcomingRunsRequest) -> WindowRun by upcoming_page.runs, unreachable;
}

impl Client {
    /// Lists the values of a filter.
    pub fn list_patch_properties(
        &self,
        request: api::ListPatchPropertiesRequest,
    ) -> stream::BoxStream<'static, Result<String>> {
        let client = self.clone();
        pages(move |page_token| {
            let request = api::ListPatchPropertiesRequest { page_token, ..request.clone() };
            let client = client.clone();
            async move {
                let page = client.patch_properties_page(request).await?;
                Ok((page.values, page.next_page_token))
            }
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_are_followed_to_the_last_also_over_empty_ones() {
        let pages = pages(|token| async move {
            Ok(match token.as_str() {
                "" => (vec![1, 2], "a".to_owned()),
                "a" => (vec![], "b".to_owned()),
                "b" => (vec![3], String::new()),
                other => unreachable!("token {other}"),
            })
        });
        assert_eq!(pages.try_collect::<Vec<_>>().await.unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn locations_that_were_not_reached_are_kept_apart() {
        let away = api::Unreachable { location: "accounts/1/regions/x".to_owned(), ..Default::default() };
        let entries = [Listed::Item(1), Listed::Unreachable(away.clone()), Listed::Item(2)];
        let all = Listing::collect(stream::iter(entries.map(Ok))).await.unwrap();
        assert_eq!(all, Listing { items: vec![1, 2], unreachable: vec![away] });
    }
}
