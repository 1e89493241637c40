//! Time zones by their IANA names, out of the database that is compiled in.

use crate::{Invalid, location::text};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::LazyLock};

/// An IANA zone name, such as `Asia/Tokyo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeZoneName(String, TimeZone);

/// The same on every machine, whatever `/usr/share/zoneinfo` holds there.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// How alike a known name must be to be suggested.
const ALIKE: f64 = 0.8;

impl FromStr for TimeZoneName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // The database takes any case; AWS is given the name as the database spells it.
        match DATABASE.get(text) {
            Ok(zone) if zone.iana_name() == Some(text) => Ok(Self(text.to_owned(), zone)),
            _ => Err(Invalid::new("time_zone", refusal(text))),
        }
    }
}

impl TimeZoneName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn zone(&self) -> TimeZone {
        self.1.clone()
    }
}

text!(TimeZoneName);

fn refusal(text: &str) -> String {
    let wanted = text.to_lowercase().replace(' ', "_");
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        let city = name.rsplit('/').next().unwrap_or_default();
        strsim::jaro_winkler(&name, &wanted).max(strsim::jaro_winkler(city, &wanted))
    };
    let known = DATABASE.available().map(|name| (likeness(name.as_str()), name));
    let nearest = known.filter(|(likeness, _)| *likeness >= ALIKE).max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((_, name)) => format!("is {text}, which is no IANA time zone; did you mean {name}?"),
        None => format!("is {text}, which is no IANA time zone; write a name such as Asia/Tokyo or Europe/Berlin"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_database_are_zones() {
        for name in ["UTC", "Etc/UTC", "Asia/Tokyo", "America/Los_Angeles", "America/Argentina/Buenos_Aires"] {
            assert_eq!(name.parse::<TimeZoneName>().unwrap().zone().iana_name(), Some(name));
        }
    }

    #[test]
    fn an_unknown_zone_gets_the_nearest_name() {
        for (text, advice) in [
            ("Asia/Tokio", "did you mean Asia/Tokyo?"),
            ("asia/tokyo", "did you mean Asia/Tokyo?"),
            ("Tokyo", "did you mean Asia/Tokyo?"),
            ("Berlin", "did you mean Europe/Berlin?"),
            ("los angeles", "did you mean America/Los_Angeles?"),
            ("Amerika/New_York", "did you mean America/New_York?"),
            ("utc", "did you mean UTC?"),
            ("+09:00", "such as Asia/Tokyo"),
            ("", "such as Asia/Tokyo"),
        ] {
            let refused = text.parse::<TimeZoneName>().unwrap_err();
            assert_eq!(refused.field, "time_zone");
            assert!(refused.rule.contains(advice), "{refused}");
        }
    }
}
