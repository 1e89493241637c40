//! Resources as people call them: baselines, schedules and windows by the names that they were given, and the newest
//! operation as `last`.

use crate::{Context, failure::Failure, profiles::did_you_mean};
use futures::TryStreamExt as _;
use patchplane_client::{Listed, Listing, Location, api, name::id};

/// The newest operation of the location.
const LAST: &str = "last";

impl Context {
    /// The resource name of a baseline, which is given by that, by its id, or by what it is called.
    pub(crate) async fn baseline(&self, given: &str) -> Result<String, Failure> {
        if is_id(given, "pb-") {
            return self.scope.name(given, Location::baseline);
        }
        let request = api::ListBaselinesRequest { parent: self.scope.one()?.into(), ..Default::default() };
        let all = Listing::collect(self.client.list_baselines(request)).await?.items;
        called(given, "baseline", all.into_iter().map(|baseline| (baseline.display_name, baseline.name)))
    }

    /// The same of a schedule.
    pub(crate) async fn schedule(&self, given: &str) -> Result<String, Failure> {
        if is_id(given, "mw-") {
            return self.scope.name(given, Location::patch_schedule);
        }
        let request = api::ListPatchSchedulesRequest { parent: self.scope.one()?.into(), ..Default::default() };
        let all = Listing::collect(self.client.list_patch_schedules(request)).await?.items;
        called(given, "schedule", all.into_iter().map(|schedule| (schedule.display_name, schedule.name)))
    }

    /// The same of a maintenance window.
    pub(crate) async fn window(&self, given: &str) -> Result<String, Failure> {
        if is_id(given, "mw-") {
            return self.scope.name(given, Location::maintenance_window);
        }
        let request = api::ListMaintenanceWindowsRequest { parent: self.scope.one()?.into(), ..Default::default() };
        let all = Listing::collect(self.client.list_maintenance_windows(request)).await?.items;
        called(given, "window", all.into_iter().map(|window| (window.display_name, window.name)))
    }

    /// The resource name of an operation, which is given by that or by its id; `last` is the newest of the location,
    /// whoever started it.
    pub(crate) async fn operation(&self, given: &str) -> Result<String, Failure> {
        if given != LAST {
            return self.scope.name(given, Location::patch_operation);
        }
        let parent = self.scope.one()?.to_string();
        let request = api::ListPatchOperationsRequest { parent: parent.clone(), page_size: 1, ..Default::default() };
        let mut newest = self.client.list_patch_operations(request);
        while let Some(entry) = newest.try_next().await? {
            if let Listed::Item(operation) = entry {
                return Ok(operation.name);
            }
        }
        Err(Failure::Usage {
            what: format!("there is no operation in {parent} yet"),
            next: "`patchctl scan --group GROUP` starts one".to_owned(),
        })
    }
}

fn is_id(given: &str, prefix: &str) -> bool {
    given.starts_with(prefix) || Location::of(given).is_some()
}

/// The one of `all` (what it is called, its resource name) that is called so.
fn called(given: &str, what: &str, all: impl Iterator<Item = (String, String)>) -> Result<String, Failure> {
    let all: Vec<_> = all.collect();
    let found: Vec<&String> = all.iter().filter(|(called, _)| called == given).map(|(_, name)| name).collect();
    match found.as_slice() {
        [name] => Ok((*name).clone()),
        [] => Err(Failure::Usage {
            what: format!("no {what} is called {given:?}{}", did_you_mean(given, all.into_iter().map(|(it, _)| it))),
            next: format!("`patchctl {what}s` lists those there are"),
        }),
        several => Err(Failure::Usage {
            what: format!("{} {what}s are called {given:?}", several.len()),
            next: format!("give an id: {}", several.iter().map(|name| id(name)).collect::<Vec<_>>().join(" or ")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_resource_or_none() {
        let called = |given: &str| {
            let all = [("web", "a/pb-1"), ("nightly", "a/pb-2"), ("nightly", "a/pb-3")];
            super::called(given, "baseline", all.into_iter().map(|(it, name)| (it.to_owned(), name.to_owned())))
        };
        let told = |given: &str| match called(given) {
            Err(Failure::Usage { what, next }) => (what, next),
            other => unreachable!("{other:?}"),
        };
        assert_eq!(called("web").unwrap(), "a/pb-1");
        let (what, next) = told("nigthly");
        assert_eq!(what, r#"no baseline is called "nigthly"; did you mean "nightly"?"#);
        assert_eq!(next, "`patchctl baselines` lists those there are");
        let (what, next) = told("nightly");
        assert_eq!((what.as_str(), next.as_str()), (r#"2 baselines are called "nightly""#, "give an id: pb-2 or pb-3"));
    }

    #[test]
    fn ids_and_resource_names_are_never_looked_up() {
        assert!(is_id("pb-0be8c61cde3be63f3", "pb-") && is_id("accounts/1/regions/x/baselines/pb-1", "pb-"));
        assert!(!is_id("web-nightly", "mw-") && !is_id("mw-1", "pb-"));
    }
}
