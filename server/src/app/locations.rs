//! Lists: page tokens, and `-` parents walked location by location.

use super::App;
use crate::{
    Error, Result,
    auth::{Action, Caller},
    domain::{name::Parent, page::Paging},
};
use patchplane_aws::ErrorKind;
use patchplane_rules::Location;
use serde::{Deserialize, Serialize};
use std::future::Future;
use tokio::time::Instant;

/// A location that could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    pub location: Location,
    pub reason: &'static str,
    pub message: String,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct ListPage<T> {
    pub items: Vec<T>,
    /// Sealed; `None` on the last page.
    pub next: Option<String>,
    pub unreachable: Vec<Unreachable>,
}

/// Some rows of one location, and where to go on there.
pub(super) struct Chunk<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// Where a list goes on.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    location: Location,
    /// Within the location: what its list made of it.
    inner: Option<String>,
}

/// A list's question, as page tokens are bound to it.
pub(super) struct Query<'a> {
    pub(super) action: Action,
    pub(super) parent: &'a Parent,
    /// Whatever else must be the same from page to page.
    pub(super) filter: String,
}

impl App {
    /// A page of a list over the locations that `query.parent` covers, in name order. `fetch` answers at most as many
    /// rows as it is asked for, from where its own last answer said. A location that fails is skipped and named, unless it
    /// is the only one asked for.
    pub(super) async fn list<T, F>(
        &self,
        who: &Caller,
        query: Query<'_>,
        paging: &Paging,
        mut fetch: impl FnMut(Location, usize, Option<String>) -> F,
    ) -> Result<ListPage<T>>
    where
        F: Future<Output = Result<Chunk<T>>>,
    {
        let purpose = format!("{:?}\u{1f}{}\u{1f}{}", query.action, query.parent, query.filter);
        let exact = query.parent.exact();
        if let Some(location) = &exact {
            who.may(query.action, location)?;
            self.aws(location)?;
        }
        let mut position = match &paging.token {
            Some(token) => {
                let now = self.clock.now();
                Some(self.sealer.open(&who.principal, &purpose, token, now).ok_or(Error::PageToken)?)
            }
            None => self.first(who, &query, None),
        };
        let mut page = ListPage { items: Vec::new(), next: None, unreachable: Vec::new() };
        while let Some(Position { location, inner }) = position {
            let room = paging.size.get() - page.items.len();
            let chunk = if room == 0 {
                Ok(Chunk { items: Vec::new(), next: inner })
            } else {
                self.share(who, &query, &location, Box::pin(fetch(location.clone(), room, inner))).await
            };
            let next = match chunk {
                Ok(chunk) => {
                    page.items.extend(chunk.items);
                    // A page ends where AWS ended one, so that it never grows beyond what was asked for.
                    if room == 0 || chunk.next.is_some() {
                        let at = Position { location, inner: chunk.next };
                        page.next = self.sealer.seal(&who.principal, &purpose, &at, self.clock.now());
                        return Ok(page);
                    }
                    self.first(who, &query, Some(&location))
                }
                Err(Error::Aws(error)) if error.kind == ErrorKind::BadToken => return Err(Error::PageToken),
                Err(error @ Error::Aws(_)) if exact.is_none() => {
                    page.unreachable.push(Unreachable {
                        location: location.clone(),
                        reason: error.reason(),
                        message: error.to_string(),
                    });
                    self.first(who, &query, Some(&location))
                }
                Err(error) => return Err(error),
            };
            position = next;
        }
        Ok(page)
    }

    /// Asks a location within its share of the time that is left, so that one that does not answer leaves some to those
    /// after it.
    async fn share<T>(
        &self,
        who: &Caller,
        query: &Query<'_>,
        location: &Location,
        fetch: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(deadline) = patchplane_aws::deadline() else { return fetch.await };
        let to_come = self.locations.keys().filter(|other| *other >= location);
        let to_come =
            to_come.filter(|other| query.parent.covers(other) && who.may(query.action, other).is_ok()).count();
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / u32::try_from(to_come.max(1)).unwrap_or(u32::MAX);
        patchplane_aws::within(now + share, fetch).await
    }

    /// The first location after `after` that the query covers and the caller may see.
    fn first(&self, who: &Caller, query: &Query<'_>, after: Option<&Location>) -> Option<Position> {
        self.locations
            .keys()
            .filter(|location| after.is_none_or(|after| *location > after))
            .find(|location| query.parent.covers(location) && who.may(query.action, location).is_ok())
            .map(|location| Position { location: location.clone(), inner: None })
    }
}

/// The rows after the one named `after`, at most `room`, of rows that are sorted by `name`.
pub(super) fn slice<T>(rows: Vec<T>, room: usize, after: Option<&str>, name: impl Fn(&T) -> String) -> Chunk<T> {
    let mut rest = rows.into_iter().filter(|row| after.is_none_or(|after| name(row).as_str() > after));
    let items: Vec<T> = rest.by_ref().take(room).collect();
    let next = rest.next().and_then(|_| items.last().map(name));
    Chunk { items, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_go_on_after_the_last_name() {
        let rows = || vec!["a", "b", "c"];
        let name = |row: &&str| (*row).to_owned();
        let first = slice(rows(), 2, None, name);
        assert_eq!((first.items, first.next.as_deref()), (vec!["a", "b"], Some("b")));
        let second = slice(rows(), 2, Some("b"), name);
        assert_eq!((second.items, second.next), (vec!["c"], None));
    }
}
