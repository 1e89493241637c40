//! Resource names: `accounts/{account}/regions/{region}` and what lies below.

use crate::Error;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::{fmt, str::FromStr};

/// What may stand in a name's segment as it is: RFC 3986's unreserved characters.
const SEGMENT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An account in a Region, the parent of everything there. In lists `-` stands for every one configured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    account: String,
    region: String,
}

// === impl Location ===

impl Location {
    /// Takes an account id (twelve digits) and a Region's name, or `-` for either. The server checks them.
    pub fn new(account: impl Into<String>, region: impl Into<String>) -> Result<Self, Error> {
        let (account, region) = (account.into(), region.into());
        for (field, text) in [("account", &account), ("region", &region)] {
            if text.is_empty() || text.contains('/') {
                return Err(Error::invalid(field, format!("must be one segment of a name, not {text:?}")));
            }
        }
        Ok(Self { account, region })
    }

    /// Every location that the server has configured, for lists.
    pub fn all() -> Self {
        Self { account: "-".to_owned(), region: "-".to_owned() }
    }

    /// The account's id, or `-`.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The Region's name, or `-`.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Whether it names one location and not several.
    pub fn is_single(&self) -> bool {
        self.account != "-" && self.region != "-"
    }

    /// The name of a baseline, from its bare id `pb-…`.
    pub fn baseline(&self, id: &str) -> String {
        format!("{self}/baselines/{id}")
    }

    /// The name of an operating system's default baseline, from AWS's spelling of the system.
    pub fn default_baseline(&self, operating_system: &str) -> String {
        format!("{self}/defaultBaselines/{operating_system}")
    }

    /// The name of a patch group, from the group's name as it stands in the tag.
    pub fn patch_group(&self, raw: &str) -> String {
        format!("{self}/patchGroups/{}", utf8_percent_encode(raw, &SEGMENT))
    }

    /// The name of an instance, from its id `i-…` or `mi-…`.
    pub fn instance(&self, id: &str) -> String {
        format!("{self}/instances/{id}")
    }

    /// The name of an operation, from its ULID.
    pub fn patch_operation(&self, ulid: &str) -> String {
        format!("{self}/patchOperations/{ulid}")
    }

    /// The name of a maintenance window, from its id `mw-…`.
    pub fn maintenance_window(&self, id: &str) -> String {
        format!("{self}/maintenanceWindows/{id}")
    }

    /// The name of a patch schedule, from the id of its window `mw-…`.
    pub fn patch_schedule(&self, id: &str) -> String {
        format!("{self}/patchSchedules/{id}")
    }

    /// The location of any resource, from the resource's name.
    pub fn of(name: &str) -> Option<Self> {
        let mut segments = name.split('/');
        match (segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some("accounts"), Some(account), Some("regions"), Some(region)) => Self::new(account, region).ok(),
            _ => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accounts/{}/regions/{}", self.account, self.region)
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::of(text).filter(|location| location.to_string() == text).ok_or_else(|| {
            Error::invalid("location", format!("must be accounts/{{account}}/regions/{{region}}, not {text:?}"))
        })
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.to_string()
    }
}

/// A name's last segment, decoded: the id of the resource.
pub fn id(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    percent_decode_str(last).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_reads_back_as_it_is_written() {
        for good in ["accounts/111122223333/regions/us-east-1", "accounts/-/regions/-"] {
            assert_eq!(good.parse::<Location>().unwrap().to_string(), good);
        }
        for bad in ["", "111122223333", "accounts/1/regions", "accounts//regions/x", "accounts/1/regions/x/"] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
    }

    #[test]
    fn group_names_survive_their_way_through_a_resource_name() {
        let location = Location::new("111122223333", "us-east-1").unwrap();
        let name = location.patch_group("web/ä 1");
        assert_eq!(name, "accounts/111122223333/regions/us-east-1/patchGroups/web%2F%C3%A4%201");
        assert_eq!(id(&name), "web/ä 1");
        assert_eq!(Location::of(&name), Some(location));
    }
}
