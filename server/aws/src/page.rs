//! AWS's pages: one at a time, or all of them.

use crate::{Error, ErrorKind, Result, calls::Call};
use std::ops::RangeInclusive;

/// Which page to ask AWS for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Rows wanted; brought into the range that the operation takes (S 1.23), so that more rows than asked for may come.
    pub size: u32,
    /// AWS's own token of the page; `None` for the first.
    pub token: Option<String>,
}

/// One page of AWS's. It can be short, even empty, and still have a next one (S 1.22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOf<T> {
    pub items: Vec<T>,
    /// `None` at the end.
    pub next: Option<String>,
}

impl Page {
    pub(crate) fn size_within(&self, range: RangeInclusive<i32>) -> i32 {
        i32::try_from(self.size).unwrap_or(i32::MAX).clamp(*range.start(), *range.end())
    }
}

impl<T> PageOf<T> {
    /// An empty token ends a listing as an absent one does (S 1.21).
    pub(crate) fn new(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next: next.filter(|token| !token.is_empty()) }
    }
}

/// Every page to the last. A token that comes twice is an error: a listing cut short would pass for a whole one.
pub(crate) async fn all<T, F>(call: &'static Call, mut fetch: impl FnMut(Page) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<PageOf<T>>>,
{
    let mut items = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let page = fetch(Page { size: u32::MAX, token: token.clone() }).await?;
        items.extend(page.items);
        match page.next {
            None => return Ok(items),
            next if next == token => {
                let message = "AWS sent the same page token twice".to_owned();
                let kind = ErrorKind::Unreachable;
                return Err(Error { kind, action: call.action, code: None, message, request_id: None });
            }
            next => token = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::DESCRIBE_INSTANCES;

    #[tokio::test]
    async fn pages_are_followed_by_their_token_and_not_by_their_size() {
        let all = all(&DESCRIBE_INSTANCES, async |page: Page| {
            Ok(match page.token.as_deref() {
                None => PageOf::new(vec![], Some("1".to_owned())),
                Some("1") => PageOf::new(vec![1, 2], Some("2".to_owned())),
                _ => PageOf::new(vec![3], Some(String::new())),
            })
        });
        assert_eq!(all.await.unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_repeated_token_is_an_error_and_not_an_end() {
        let stuck = all(&DESCRIBE_INSTANCES, async |_| Ok(PageOf::new(vec![0], Some("same".to_owned()))));
        assert_eq!(stuck.await.unwrap_err().kind, ErrorKind::Unreachable);
    }

    #[test]
    fn page_sizes_are_brought_into_range() {
        let page = |size| Page { size, token: None }.size_within(10..=100);
        assert_eq!([page(0), page(10), page(55), page(101), page(u32::MAX)], [10, 10, 55, 100, 100]);
    }
}
