//! Configuration: one typed tree from a TOML file. Unknown keys are refused with the nearest known one.

use crate::{operation::Settings, store::Place};
use bytesize::ByteSize;
use jiff::SignedDuration;
use patchplane_aws::Credentials;
use patchplane_rules::{AccountId, Location, OperatingSystem, Region};
use serde::Deserialize;
use std::{collections::BTreeMap, net::SocketAddr, path::Path, path::PathBuf, time::Duration};

/// What `serve --config` needs to know.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Unset means 127.0.0.1:50051.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// A file, made when missing, or `postgres://user@host/database`; its password may come by PGPASSWORD or PGPASSFILE.
    pub store: Place,
    /// How many days after its beginning an operation that has ended is forgotten. Unset means 400; the least is 31, for
    /// what AWS still lists would be found again.
    #[serde(default = "default_retention_days")]
    pub retention_days: u32,
    /// Another endpoint for all AWS calls, such as a test double. Plain http is taken on loopback only.
    #[serde(default)]
    pub aws_endpoint_url: Option<String>,
    /// The accounts and Regions to work with: at least one.
    pub locations: Vec<LocationConfig>,
    /// Advisory files that tell when patches came out, for previews of baselines.
    #[serde(default)]
    pub advisory_feeds: Vec<AdvisoryFeed>,
    /// How commands are sent. Unset means the defaults.
    #[serde(default)]
    pub dispatch: DispatchConfig,
    /// What callers may ask at most. Unset means the defaults.
    #[serde(default)]
    pub limits: Limits,
    /// How the server ends.
    #[serde(default)]
    pub drain: Drain,
    /// What the server tells of itself, beside what the variables `OTEL_*` say.
    #[serde(default)]
    pub telemetry: Telemetry,
}

/// What callers may ask at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How long a call may take whose caller sets no deadline. Streams and waits have none then.
    #[serde(with = "humantime_serde")]
    pub default_deadline: Duration,
    /// The longest deadline of a call that is no stream; a caller's longer one is cut to it.
    #[serde(with = "humantime_serde")]
    pub max_deadline: Duration,
    /// How many calls are worked on at once, streams not counted; what is beyond is refused with RESOURCE_EXHAUSTED.
    pub concurrent_calls: usize,
    /// How many streams are open at once.
    pub concurrent_streams: usize,
    /// The largest request.
    pub message_size: ByteSize,
    /// The largest headers of a request, all together.
    pub header_size: ByteSize,
    /// After which time a connection is asked to be made anew (GOAWAY), so that callers spread over new servers.
    #[serde(with = "humantime_serde")]
    pub connection_age: Duration,
    /// Between two pings on a connection on which nothing else is heard.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// How long the answer to a ping may take before the connection is given up.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
}

/// How the server ends after SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// For how long it goes on serving while its health says NOT_SERVING, so that balancers send callers elsewhere.
    #[serde(with = "humantime_serde")]
    pub lame_duck: Duration,
    /// How long calls under way may take after that.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

/// What the server tells of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Where Prometheus finds `/metrics`. Unset: nowhere.
    pub prometheus: Option<SocketAddr>,
    /// How log lines look. Unset means `text`.
    pub logs: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    /// A line of JSON each.
    Json,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            default_deadline: Duration::from_secs(60),
            max_deadline: Duration::from_secs(600),
            concurrent_calls: 256,
            concurrent_streams: 2000,
            message_size: ByteSize::mib(1),
            header_size: ByteSize::kib(16),
            connection_age: Duration::from_secs(1800),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { lame_duck: Duration::from_secs(5), timeout: Duration::from_secs(15) }
    }
}

/// How commands are sent, and by which of several servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DispatchConfig {
    /// What follows when a command is proven never to have reached AWS. Unset means `proven`.
    #[serde(default)]
    pub resend: Resend,
    /// For how long a server has an operation to itself, in seconds: 10 to 600. When it dies, another one on the same store
    /// goes on after that time. Unset means 60.
    #[serde(default)]
    pub lease_seconds: Option<u32>,
}

/// What follows a proof that a command never reached AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resend {
    /// Another one is sent.
    #[default]
    Proven,
    /// Its targets end UNKNOWN, and a person decides.
    Never,
}

/// A file of advisories: `updateinfo.xml` as yum and dnf have it, or OSV's JSON. It is read anew for each preview.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdvisoryFeed {
    /// In AWS's spelling, such as `REDHAT_ENTERPRISE_LINUX`.
    pub operating_system: OperatingSystem,
    /// AWS's product, such as `RedhatEnterpriseLinux9`. Unset: filters on products are taken to match.
    #[serde(default)]
    pub product: String,
    pub file: PathBuf,
}

/// One account in one Region, and how to get in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocationConfig {
    pub account: AccountId,
    pub region: Region,
    /// The role to assume there. Unset: the credentials that the environment gives, which must be this account's.
    #[serde(default)]
    pub role_arn: Option<String>,
    /// For roles that ask for one.
    #[serde(default)]
    pub external_id: Option<String>,
}

/// What is wrong with a configuration; the text says where and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

pub fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 50051))
}

fn default_retention_days() -> u32 {
    400
}

impl Config {
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("{} cannot be read: {error}", path.display())))?;
        Self::parse(&text).map_err(|error| ConfigError(format!("{}: {error}", path.display())))
    }

    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError(explain(&error.to_string())))?;
        if config.locations.is_empty() {
            return Err(ConfigError("`locations` must name at least one account and Region".into()));
        }
        for (i, feed) in config.advisory_feeds.iter().enumerate() {
            OperatingSystem::parse(feed.operating_system.as_str())
                .map_err(|invalid| ConfigError(format!("advisory_feeds[{i}].{invalid}")))?;
        }
        if config.dispatch.lease_seconds.is_some_and(|seconds| !(10..=600).contains(&seconds)) {
            return Err(ConfigError("dispatch.lease_seconds must be 10 to 600".into()));
        }
        if config.retention_days < 31 {
            return Err(ConfigError("`retention_days` must be at least 31: AWS lists commands for 30 days".into()));
        }
        let mut seen = BTreeMap::new();
        for (i, location) in config.locations.iter().enumerate() {
            if location.external_id.is_some() && location.role_arn.is_none() {
                return Err(ConfigError(format!("locations[{i}]: external_id is only for a role: set role_arn, too")));
            }
            if let Some(first) = seen.insert(location.location(), i) {
                return Err(ConfigError(format!(
                    "locations[{i}]: {} stands already at locations[{first}]",
                    location.location()
                )));
            }
        }
        Ok(config)
    }

    pub fn retention(&self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.retention_days))
    }
}

impl DispatchConfig {
    pub fn settings(&self) -> Settings {
        let defaults = Settings::default();
        Settings {
            lease: self.lease_seconds.map_or(defaults.lease, |seconds| Duration::from_secs(seconds.into())),
            never_resend: self.resend == Resend::Never,
        }
    }
}

impl LocationConfig {
    pub fn location(&self) -> Location {
        Location { account: self.account.clone(), region: self.region.clone() }
    }

    pub fn credentials(&self) -> Credentials {
        match &self.role_arn {
            None => Credentials::Ambient,
            Some(role_arn) => Credentials::AssumeRole {
                role_arn: role_arn.clone(),
                external_id: self.external_id.clone(),
                session_name: "patchplane".to_owned(),
            },
        }
    }
}

/// Adds the nearest known key to serde's refusal of an unknown one.
fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.contains("unknown field").then(|| quoted.next()).flatten();
    let nearest = unknown.and_then(|unknown| {
        let far = |known: &&str| strsim::jaro_winkler(unknown, known);
        quoted.max_by(|a, b| far(a).total_cmp(&far(b)))
    });
    match nearest {
        Some(known) => format!("{}\ndid you mean `{known}`?", message.trim_end()),
        None => message.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        store = "patchplane.db"
        [[locations]]
        account = "123456789012"
        region = "eu-central-1"
    "#;

    #[test]
    fn the_defaults_are_loopback_and_ambient_credentials() {
        let config = Config::parse(GOOD).unwrap();
        assert!(config.listen.ip().is_loopback());
        assert!(matches!(config.locations[0].credentials(), Credentials::Ambient));
        assert_eq!(config.retention(), SignedDuration::from_hours(400 * 24));
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_nearest_known_one() {
        let error = Config::parse(&GOOD.replace("store =", "stroe =")).unwrap_err().to_string();
        assert!(error.contains("did you mean `store`?"), "{error}");
    }

    #[test]
    fn a_store_is_a_file_or_a_postgresql() {
        let store = |place: &str| Config::parse(&GOOD.replace("patchplane.db", place)).map(|config| config.store);
        assert_eq!(store("data/x.db").unwrap(), Place::File("data/x.db".into()));
        assert!(matches!(store("postgres://patchplane@db/patchplane").unwrap(), Place::Postgres(_)));
        assert!(store("mysql://db/patchplane").unwrap_err().to_string().contains("postgres://"));
    }

    #[test]
    fn nothing_is_forgotten_while_aws_still_lists_it() {
        assert!(Config::parse(&format!("retention_days = 31\n{GOOD}")).is_ok());
        assert!(Config::parse(&format!("retention_days = 30\n{GOOD}")).is_err());
    }

    #[test]
    fn an_advisory_feed_is_for_one_of_aws_s_systems() {
        let feed =
            |os: &str| format!("{GOOD}\n[[advisory_feeds]]\noperating_system = \"{os}\"\nfile = \"updateinfo.xml\"\n");
        assert_eq!(Config::parse(&feed("ROCKY_LINUX")).unwrap().advisory_feeds.len(), 1);
        let error = Config::parse(&feed("ROCKY")).unwrap_err().to_string();
        assert!(error.contains("advisory_feeds[0].operating_system") && error.contains("ROCKY_LINUX"), "{error}");
    }

    #[test]
    fn wrong_values_and_repeated_locations_are_refused() {
        for (good, bad) in [("123456789012", "1234"), ("eu-central-1", "Frankfurt")] {
            assert!(Config::parse(&GOOD.replace(good, bad)).is_err(), "{bad}");
        }
        let twice = format!("{GOOD}\n[[locations]]\naccount = \"123456789012\"\nregion = \"eu-central-1\"\n");
        assert!(Config::parse(&twice).unwrap_err().to_string().contains("stands already"));
    }
}
