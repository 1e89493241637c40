//! Configuration: one typed tree from a file, the environment and the command line, or all that is wrong with it.
//!
//! A key is a field here, a row of `KEYS` and a line of `docs/patchplane.example.toml`; tests hold the three together.

mod effective;
mod keys;
mod layers;

pub use effective::Effective;
pub use keys::{KEYS, Key, Unset};
pub use layers::Layers;

use crate::{operation::Settings, store::Place};
use bytesize::ByteSize;
use jiff::SignedDuration;
use patchplane_aws::Credentials;
use patchplane_rules::{AccountId, Location, OperatingSystem, Region};
use serde::Deserialize;
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

/// What `serve` needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Unset means 127.0.0.1:50051.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Listen beyond loopback although callers are not authenticated. Unset means false.
    #[serde(default)]
    pub unauthenticated_network: bool,
    /// A file, made when missing, or `postgres://user@host/database`; its password may come by PGPASSWORD or PGPASSFILE.
    pub store: Place,
    /// How long after its beginning an operation that has ended is forgotten. Unset means 400 days; the least is 31, for
    /// what AWS still lists would be found again.
    #[serde(default = "default_retention", with = "humantime_serde")]
    pub retention: Duration,
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
    /// How long a call may take whose caller sets no deadline. Streams have none, and waits the longest.
    #[serde(with = "humantime_serde")]
    pub default_deadline: Duration,
    /// The longest deadline of a call that is no stream; a caller's longer one is cut to it.
    #[serde(with = "humantime_serde")]
    pub max_deadline: Duration,
    /// How many calls are worked on at once, streams not counted; what is beyond is refused at once, as UNAVAILABLE.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DispatchConfig {
    /// What follows when a command is proven never to have reached AWS. Unset means `proven`.
    pub resend: Resend,
    /// For how long a server has an operation to itself, 10 s to 10 min. When it dies, another one on the same store goes on
    /// after that time. Unset means a minute.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        Self { resend: Resend::default(), lease: Settings::default().lease }
    }
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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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

/// All that is wrong with a configuration, a line each: where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(Vec<String>);

impl ConfigError {
    pub fn faults(&self) -> &[String] {
        &self.0
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 50051))
}

fn default_retention() -> Duration {
    Duration::from_secs(400 * 24 * 3600)
}

impl Config {
    /// A configuration from this text alone.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Layers::default().text(None, text).load().map(|(config, _)| config)
    }

    pub fn retention(&self) -> SignedDuration {
        SignedDuration::try_from(self.retention).unwrap_or(SignedDuration::MAX)
    }

    /// Values that are right alone and not together.
    fn contradictions(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let Self { listen, locations, limits, .. } = self;
        if !listen.ip().is_loopback() && !self.unauthenticated_network {
            faults.push(format!(
                "`listen` is {listen}, which is not a loopback address, and callers are not authenticated: everybody who \
                 reaches the port could patch; listen on 127.0.0.1, or say `unauthenticated_network = true` \
                 (--unauthenticated-network)"
            ));
        }
        if limits.default_deadline > limits.max_deadline {
            faults.push("`limits.default_deadline` must not be longer than `limits.max_deadline`".to_owned());
        }
        if locations.is_empty() {
            faults.push("`locations` must name at least one account and Region".to_owned());
        }
        let mut seen = BTreeMap::new();
        for (i, location) in locations.iter().enumerate() {
            if location.external_id.is_some() && location.role_arn.is_none() {
                faults.push(format!("`locations[{i}].external_id` is only for a role: set `role_arn`, too"));
            }
            if let Some(first) = seen.insert(location.location(), i) {
                faults.push(format!(
                    "`locations[{i}]` says {} again, which stands at `locations[{first}]`",
                    location.location()
                ));
            }
        }
        faults
    }
}

impl DispatchConfig {
    pub fn settings(&self) -> Settings {
        Settings { lease: self.lease, never_resend: self.resend == Resend::Never }
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
    fn a_misspelt_or_former_key_is_refused_with_the_nearest_known_one() {
        for (line, meant) in [
            ("stroe = \"x.db\"", "store"),
            ("retention_days = 400", "retention"),
            ("dispatch.lease_seconds = 60", "lease"),
            ("telemetry.log = \"json\"", "logs"),
            ("max_deadline = \"1m\"", "limits.max_deadline"),
        ] {
            let told = Config::parse(&format!("{line}\n{GOOD}")).unwrap_err().to_string();
            assert!(told.contains("line 1: ") && told.contains(&format!("did you mean `{meant}`?")), "{told}");
        }
    }

    #[test]
    fn a_store_is_a_file_or_a_postgresql() {
        let store = |place: &str| Config::parse(&GOOD.replace("patchplane.db", place)).map(|config| config.store);
        assert_eq!(store("data/x.db").unwrap(), Place::File("data/x.db".into()));
        assert!(matches!(store("postgres://patchplane@db/patchplane").unwrap(), Place::Postgres(_)));
        assert!(store("mysql://db/patchplane").unwrap_err().to_string().contains("postgres://"));
    }

    #[test]
    fn values_out_of_range_are_refused_by_their_whole_path() {
        // Each with the nearest value that is taken.
        for (path, bad, good) in [
            // Nothing is forgotten while AWS still lists it.
            ("retention", "\"30d\"", "\"31d\""),
            ("dispatch.lease", "\"9s\"", "\"10s\""),
            ("dispatch.lease", "\"601s\"", "\"10m\""),
            ("limits.max_deadline", "\"86401s\"", "\"24h\""),
            ("limits.default_deadline", "\"999ms\"", "\"1s\""),
            ("limits.default_deadline", "\"601s\"", "\"10m\""),
            ("limits.concurrent_calls", "0", "1"),
            ("limits.concurrent_streams", "0", "1"),
            ("limits.message_size", "\"65535B\"", "\"64KiB\""),
            ("limits.message_size", "\"65MiB\"", "\"64MiB\""),
            ("limits.header_size", "\"4095B\"", "\"4KiB\""),
            ("limits.header_size", "\"1025KiB\"", "\"1MiB\""),
            ("limits.keepalive_interval", "\"0s\"", "\"1s\""),
            ("limits.keepalive_timeout", "20", "\"20s\""),
            ("drain.lame_duck", "\"301s\"", "\"5m\""),
            ("drain.timeout", "\"0s\"", "\"1s\""),
            ("telemetry.prometheus", "\"9464\"", "\"127.0.0.1:9464\""),
            ("telemetry.logs", "\"xml\"", "\"json\""),
            ("listen", "\"0.0.0.0:50051\"", "\"[::1]:50051\""),
        ] {
            let parse = |value: &str| Config::parse(&format!("{path} = {value}\n{GOOD}"));
            parse(good).unwrap_or_else(|error| panic!("{path} = {good}: {error}"));
            let told = parse(bad).expect_err(bad).to_string();
            assert!(told.contains(&format!("`{path}`")), "{path} = {bad}: {told}");
        }
        let open = format!("listen = \"0.0.0.0:50051\"\nunauthenticated_network = true\n{GOOD}");
        assert!(Config::parse(&open).is_ok());
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
    fn wrong_or_repeated_locations_are_refused() {
        for (good, bad) in [("123456789012", "1234"), ("eu-central-1", "Frankfurt")] {
            assert!(Config::parse(&GOOD.replace(good, bad)).is_err(), "{bad}");
        }
        let twice = format!("{GOOD}\n[[locations]]\naccount = \"123456789012\"\nregion = \"eu-central-1\"\n");
        assert!(Config::parse(&twice).unwrap_err().to_string().contains("which stands at `locations[0]`"));
        assert!(Config::parse("store = \"x.db\"\nlocations = []").is_err());
        let role = |line: &str| Config::parse(&format!("{GOOD}\n{line}\n"));
        assert!(role("external_id = \"x\"").unwrap_err().to_string().contains("role_arn"));
        assert!(role("role_arn = \"patchplane\"").is_err());
        assert!(role("role_arn = \"arn:aws-cn:iam::123456789012:role/ops/patchplane\"").is_ok());
    }

    /// The example, with every commented line that is a key or a table's head taken in.
    fn uncommented(keep: impl Fn(&str) -> bool) -> String {
        let line =
            |line: &str| match line.strip_prefix('#').filter(|line| line.starts_with(|c: char| !c.is_whitespace())) {
                Some(line) if keep(line) => line.to_owned(),
                Some(_) => String::new(),
                None => line.to_owned(),
            };
        EXAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    const EXAMPLE: &str = include_str!("../../docs/patchplane.example.toml");

    #[test]
    fn the_example_is_right_as_it_stands_and_with_all_its_keys() {
        Config::parse(EXAMPLE).unwrap();
        Config::parse(&uncommented(|_| true)).unwrap();
    }

    #[test]
    fn the_example_has_every_key_with_its_default() {
        let whole: toml::Table = uncommented(|_| true).parse().unwrap();
        for key in KEYS {
            let value = key
                .path
                .split('.')
                .try_fold(&toml::Value::Table(whole.clone()), |value, name| match name.strip_suffix("[]") {
                    Some(list) => value.get(list)?.as_array()?.last(),
                    None => value.get(name),
                })
                .cloned();
            let value = value.unwrap_or_else(|| panic!("docs/patchplane.example.toml lacks {}", key.path));
            if let Unset::Default(default) = key.unset {
                assert_eq!(value.to_string(), default, "{}", key.path);
            }
        }
    }

    #[test]
    fn the_defaults_of_the_example_change_nothing() {
        let has_default = |line: &str| {
            let name = line.split(" =").next().unwrap();
            let default =
                |key: &Key| matches!(key.unset, Unset::Default(_)) && key.path.rsplit('.').next() == Some(name);
            line.starts_with('[') && !line.starts_with("[[") || KEYS.iter().any(default)
        };
        let (bare, whole) = (Config::parse(EXAMPLE).unwrap(), Config::parse(&uncommented(has_default)).unwrap());
        assert_eq!(bare, whole);
    }
}
