//! How much of a list is asked for.

use patchplane_rules::Invalid;

/// The number of rows of a page, after the rules of each list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// 0 means `default`, above `max` means `max`, negative is refused.
    pub fn parse(requested: i32, default: u32, max: u32) -> Result<Self, Invalid> {
        match u32::try_from(requested) {
            Ok(0) => Ok(Self(default)),
            Ok(size) => Ok(Self(size.min(max))),
            Err(_) => Err(Invalid::new("page_size", "must not be negative")),
        }
    }

    pub fn get(self) -> usize {
        self.0 as usize
    }
}

/// A list request's paging part; the token is still sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    pub size: PageSize,
    /// `None` asks for the first page.
    pub token: Option<String>,
}
