//! Every key of the configuration: how its value looks, in which range, and what holds when nobody says it.

use crate::store::Place;
use bytesize::ByteSize;
use patchplane_rules::{AccountId, OperatingSystem, Region};
use std::{fmt, net::SocketAddr, time::Duration};
use toml::Value;

/// One key, and what is known of its value.
#[derive(Clone, Copy)]
pub struct Key {
    /// From the root, such as `limits.max_deadline`; `locations[].account` is a key of each table of a list.
    pub path: &'static str,
    pub unset: Unset,
    kind: Kind,
    shown: Shown,
}

/// What it means that nobody says a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unset {
    /// This holds, as TOML writes it.
    Default(&'static str),
    /// The feature is off, or the environment decides.
    Means,
    /// It must be said.
    Refused,
}

#[derive(Clone, Copy)]
enum Kind {
    Truth,
    /// A number from the first to the second.
    Count(i64, i64),
    /// With its unit, from the first to the second.
    Span(&'static str, &'static str),
    /// In bytes, with its unit, from the first to the second.
    Size(&'static str, &'static str),
    OneOf(&'static [&'static str]),
    /// A text that this takes; else it says what the text must be.
    Text(fn(&str) -> Result<(), String>),
    /// A list of tables, whose keys have rows of their own.
    Tables,
}

/// How much of a value is shown to people.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Whole,
    /// A place without its password.
    Place,
    Never,
}

/// The prefix of variables of the environment.
pub(super) const PREFIX: &str = "PATCHPLANE_";

/// Sorted as TOML needs it: what belongs to no table comes first.
pub const KEYS: &[Key] = &[
    key("listen", Kind::Text(address), Unset::Default("\"127.0.0.1:50051\"")),
    key("unauthenticated_network", Kind::Truth, Unset::Default("false")),
    Key { shown: Shown::Place, ..key("store", Kind::Text(place), Unset::Refused) },
    key("retention", Kind::Span("31d", "3650d"), Unset::Default("\"400d\"")),
    key("aws_endpoint_url", Kind::Text(any), Unset::Means),
    key("dispatch.resend", Kind::OneOf(&["proven", "never"]), Unset::Default("\"proven\"")),
    key("dispatch.lease", Kind::Span("10s", "10m"), Unset::Default("\"60s\"")),
    key("limits.default_deadline", Kind::Span("1s", "24h"), Unset::Default("\"60s\"")),
    key("limits.max_deadline", Kind::Span("1s", "24h"), Unset::Default("\"10m\"")),
    key("limits.concurrent_calls", Kind::Count(1, 1_000_000), Unset::Default("256")),
    key("limits.concurrent_streams", Kind::Count(1, 1_000_000), Unset::Default("2000")),
    key("limits.message_size", Kind::Size("64KiB", "64MiB"), Unset::Default("\"1MiB\"")),
    key("limits.header_size", Kind::Size("4KiB", "1MiB"), Unset::Default("\"16KiB\"")),
    key("limits.connection_age", Kind::Span("1m", "7d"), Unset::Default("\"30m\"")),
    key("limits.keepalive_interval", Kind::Span("1s", "1h"), Unset::Default("\"30s\"")),
    key("limits.keepalive_timeout", Kind::Span("1s", "1h"), Unset::Default("\"20s\"")),
    key("drain.lame_duck", Kind::Span("0s", "5m"), Unset::Default("\"5s\"")),
    key("drain.timeout", Kind::Span("1s", "10m"), Unset::Default("\"15s\"")),
    key("telemetry.prometheus", Kind::Text(address), Unset::Means),
    key("telemetry.logs", Kind::OneOf(&["text", "json"]), Unset::Default("\"text\"")),
    key("locations", Kind::Tables, Unset::Refused),
    key("locations[].account", Kind::Text(account), Unset::Refused),
    key("locations[].region", Kind::Text(region), Unset::Refused),
    key("locations[].role_arn", Kind::Text(role_arn), Unset::Means),
    Key { shown: Shown::Never, ..key("locations[].external_id", Kind::Text(any), Unset::Means) },
    key("advisory_feeds", Kind::Tables, Unset::Means),
    key("advisory_feeds[].operating_system", Kind::Text(operating_system), Unset::Refused),
    key("advisory_feeds[].file", Kind::Text(any), Unset::Refused),
    key("advisory_feeds[].product", Kind::Text(any), Unset::Means),
];

const fn key(path: &'static str, kind: Kind, unset: Unset) -> Key {
    Key { path, unset, kind, shown: Shown::Whole }
}

// === impl Key ===

impl Key {
    pub(super) fn of(path: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.path == path)
    }

    /// The variable that says it; tables of a list have none for each key.
    pub fn variable(&self) -> Option<String> {
        let name = || format!("{PREFIX}{}", self.path.to_uppercase().replace('.', "__"));
        (!self.path.contains("[]")).then(name)
    }

    pub(super) fn is_tables(&self) -> bool {
        matches!(self.kind, Kind::Tables)
    }

    /// The keys of each table, if it is a list of tables.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&'static str, &'static Self)> + use<> {
        let prefix = format!("{}[].", self.path);
        KEYS.iter().filter_map(move |key| Some((key.path.strip_prefix(&prefix)?, key)))
    }

    /// What a text from the environment or the command line says, where TOML has more than texts.
    pub(super) fn read(&self, text: &str) -> Value {
        let read = match self.kind {
            Kind::Truth => text.parse().ok().map(Value::Boolean),
            Kind::Count(..) => text.parse().ok().map(Value::Integer),
            _ => None,
        };
        read.unwrap_or_else(|| Value::String(text.to_owned()))
    }

    /// What is wrong with a value: the end of a sentence that begins with its path.
    pub(super) fn fault(&self, value: &Value) -> Option<String> {
        let rule = match self.rule(value) {
            Ok(()) => return None,
            Err(rule) => rule,
        };
        Some(match (self.shown, value) {
            (Shown::Whole, Value::Table(_) | Value::Array(_)) | (Shown::Place | Shown::Never, _) => rule,
            (Shown::Whole, value) => format!("is {value}, and {rule}"),
        })
    }

    /// A value as people may see it.
    pub(super) fn shown(&self, value: &Value) -> Value {
        match (self.shown, value) {
            (Shown::Whole, value) => value.clone(),
            (Shown::Place, Value::String(text)) if let Ok(place) = text.parse::<Place>() => {
                Value::String(place.to_string())
            }
            (Shown::Place | Shown::Never, _) => Value::String("(not shown)".to_owned()),
        }
    }

    fn rule(&self, value: &Value) -> Result<(), String> {
        let right = match (&self.kind, value) {
            (Kind::Truth, Value::Boolean(_)) | (Kind::Tables, Value::Array(_)) => true,
            (Kind::Count(least, most), Value::Integer(count)) => (least..=most).contains(&count),
            (Kind::Span(least, most), Value::String(text)) => within::<Span>(text, least, most),
            (Kind::Size(least, most), Value::String(text)) => within::<ByteSize>(text, least, most),
            (Kind::OneOf(words), Value::String(text)) => words.contains(&text.as_str()),
            (Kind::Text(takes), Value::String(text)) => return takes(text),
            _ => false,
        };
        if right { Ok(()) } else { Err(format!("must be {}", self.kind)) }
    }
}

/// What a value must be.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truth => f.write_str("true or false"),
            Self::Count(least, most) => write!(f, "a number from {least} to {most}"),
            Self::Span(least, most) => write!(f, "a duration with its unit, such as \"90s\", from {least} to {most}"),
            Self::Size(least, most) => write!(f, "a size with its unit, such as \"256KiB\", from {least} to {most}"),
            Self::OneOf(words) => write!(f, "\"{}\"", words.join("\" or \"")),
            Self::Text(_) => f.write_str("a text in quotes"),
            Self::Tables => f.write_str("a list of tables"),
        }
    }
}

#[derive(PartialEq, PartialOrd)]
struct Span(Duration);

impl std::str::FromStr for Span {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self)
    }
}

fn within<T: std::str::FromStr + PartialOrd>(text: &str, least: &str, most: &str) -> bool {
    match (text.parse::<T>(), least.parse::<T>(), most.parse::<T>()) {
        (Ok(value), Ok(least), Ok(most)) => least <= value && value <= most,
        _ => false,
    }
}

// === What texts must be ===

fn any(_: &str) -> Result<(), String> {
    Ok(())
}

fn address(text: &str) -> Result<(), String> {
    let wrong = |_| "must be an address and a port, such as \"127.0.0.1:50051\" or \"[::1]:50051\"".to_owned();
    text.parse::<SocketAddr>().map(drop).map_err(wrong)
}

fn place(text: &str) -> Result<(), String> {
    text.parse::<Place>().map(drop).map_err(|wrong| wrong.to_string())
}

fn account(text: &str) -> Result<(), String> {
    text.parse::<AccountId>().map(drop).map_err(|wrong| wrong.rule)
}

fn region(text: &str) -> Result<(), String> {
    text.parse::<Region>().map(drop).map_err(|wrong| wrong.rule)
}

fn operating_system(text: &str) -> Result<(), String> {
    OperatingSystem::parse(text).map(drop).map_err(|wrong| wrong.rule)
}

fn role_arn(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "iam", "", account, role] if account.parse::<AccountId>().is_ok() && role.starts_with("role/") => {
            Ok(())
        }
        _ => Err("must be the ARN of a role, such as \"arn:aws:iam::111122223333:role/patchplane\"".to_owned()),
    }
}
