//! What stands in the way of serving, found by looking and never by changing: each check with what was found and what to do.

use crate::{
    config::{Config, ConfigError, LocationConfig},
    server,
    store::{Place, Schema, Store},
};
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use patchplane_aws::{
    Aws, Call, Clock, Error, ErrorKind, Identity, Seen, calls,
    iam::{Document, ON_BEHALF},
};
use serde::Serialize;
use std::{error::Error as StdError, fmt};

/// What one check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, such as `store`.
    pub check: String,
    pub verdict: Verdict,
    pub found: String,
    /// A command or a line of the configuration that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// It serves all the same.
    Warn,
    /// It does not serve, or not as configured.
    Fail,
}

/// From here on a clock is told to be wrong; AWS refuses signatures that are 15 minutes off.
const SKEW_TOLD: SignedDuration = SignedDuration::from_secs(60);
/// From here on it is too near to that.
const SKEW_REFUSED: SignedDuration = SignedDuration::from_secs(240);
/// How many reads are tried at once in a location.
const AT_ONCE: usize = 4;

/// What is wrong with a configuration, a finding each.
pub fn of_configuration(error: &ConfigError) -> Vec<Finding> {
    let fix =
        "correct it; docs/patchplane.example.toml has every key, and `patchplane config check` tells when it is right";
    error.faults().iter().map(|fault| Finding::new("configuration", fault).fails(fix)).collect()
}

/// Looks at everything that a configuration names.
pub async fn examine(config: &Config, clock: &Clock) -> Vec<Finding> {
    let locations = config.locations.len();
    let mut findings =
        vec![Finding::new("configuration", format!("it is right, and names {locations} account(s) and Region(s)"))];
    findings.push(store(&config.store).await);
    findings.extend(feeds(config));
    match server::connect(config, clock).await {
        Err(error) => {
            let fix = "set aws_endpoint_url to https, or to http on this machine, or leave it out";
            findings.push(Finding::new("aws_endpoint_url", format!("{error:#}")).fails(fix));
        }
        Ok(connected) => {
            for location in &config.locations {
                if let Some(aws) = connected.get(&location.location()) {
                    findings.extend(examine_location(config, location, aws, clock).await);
                }
            }
        }
    }
    findings
}

async fn store(place: &Place) -> Finding {
    let finding = |found: String| Finding::new("store", format!("{place}: {found}"));
    let migrate = "patchplane store migrate --config FILE, or start `serve`, which does it, too";
    match Store::schema(place).await {
        Ok(Schema::Missing) => finding("there is none yet; `serve` makes it".to_owned()),
        Ok(Schema::Behind(steps)) => finding(format!("its schema lacks {steps} steps of this release")).warns(migrate),
        Ok(schema @ (Schema::Current | Schema::Ahead(_))) => match look(place).await {
            Ok(held) => match schema {
                Schema::Ahead(steps) => finding(format!("it has {steps} steps of a later release; {held}")).warns(
                    "run the release that made them, or a later one: this one leaves alone what it does not know",
                ),
                _ => finding(held),
            },
            Err(error) => finding(chain(&error)).fails("patchplane store check --config FILE tells more"),
        },
        Err(error) => {
            let fix = match place {
                Place::File(_) => "set `store` to a file that this user may read and write",
                Place::Postgres(_) => {
                    "set `store` to a PostgreSQL that answers from here; its password by PGPASSWORD or PGPASSFILE"
                }
            };
            finding(chain(&error)).fails(fix)
        }
    }
}

/// What a store holds, read beside a server that may be running.
async fn look(place: &Place) -> crate::store::Result<String> {
    let store = Store::look(place).await?;
    let counts = store.counts().await;
    store.close().await;
    let (operations, unfinished) = counts?;
    Ok(format!("its schema is this release's, it holds {operations} operations, {unfinished} of them unfinished"))
}

fn feeds(config: &Config) -> impl Iterator<Item = Finding> {
    config.advisory_feeds.iter().map(|feed| {
        let finding = |found: String| Finding::new("advisory feed", format!("{}: {found}", feed.file.display()));
        let read = std::fs::read_to_string(&feed.file).map_err(|error| error.to_string());
        match read.and_then(|text| patchplane_rules::parse_advisories(&text).map_err(|invalid| invalid.to_string())) {
            Ok(patches) => finding(format!("it dates {} patches of {}", patches.len(), feed.operating_system)),
            Err(error) => finding(error)
                .warns("put updateinfo.xml or OSV's JSON there, unpacked, or take the [[advisory_feeds]] out"),
        }
    })
}

async fn examine_location(config: &Config, location: &LocationConfig, aws: &Aws, clock: &Clock) -> Vec<Finding> {
    let Seen { identity, time } = aws.identity().await;
    let name = location.location().to_string();
    let mut findings: Vec<Finding> = time.map(|time| of_clock(&name, clock.now(), time)).into_iter().collect();
    match identity {
        Err(error) => findings.push(of_refusal(location, config.aws_endpoint_url.as_deref(), &error)),
        Ok(identity) => {
            let right = of_account(location, &identity);
            let is_ours = right.verdict == Verdict::Ok;
            findings.push(right);
            if is_ours {
                findings.extend(of_reads(&name, &identity.arn, &tried(aws).await));
                findings.push(of_changes(&name));
            }
        }
    }
    findings
}

/// Each read, and what became of it.
async fn tried(aws: &Aws) -> Vec<(&'static Call, Result<(), Error>)> {
    let reads = stream::iter(calls()).map(|call| async move { Some((call, aws.try_read(call).await?)) });
    reads.buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}

// === What follows from what was seen ===

fn of_clock(location: &str, ours: Timestamp, theirs: Timestamp) -> Finding {
    let skew = ours.duration_since(theirs);
    let seconds = skew.as_secs();
    let finding = Finding::new(&format!("clock against {location}"), format!("ours is {seconds} s off AWS's"));
    let fix = "set this machine's clock and keep it so: `timedatectl set-ntp true`, or `chronyc makestep`";
    match skew.abs() {
        skew if skew > SKEW_REFUSED => finding.fails(fix),
        skew if skew > SKEW_TOLD => finding.warns(fix),
        _ => finding,
    }
}

fn of_account(location: &LocationConfig, identity: &Identity) -> Finding {
    let Identity { account, arn } = identity;
    let check = format!("credentials of {}", location.location());
    if *account == location.account.as_str() {
        return Finding::new(&check, format!("they are {arn}"));
    }
    Finding::new(&check, format!("they are {arn}, which belongs to account {account}")).fails(format!(
        "set `account = \"{account}\"`, or `role_arn` of a role in {}, such as arn:aws:iam::{}:role/patchplane",
        location.account.as_str(),
        location.account.as_str()
    ))
}

/// Nobody was let in: why, as far as it can be told.
fn of_refusal(location: &LocationConfig, endpoint: Option<&str>, error: &Error) -> Finding {
    let finding =
        Finding::new(&format!("credentials of {}", location.location()), format!("{error}: {}", error.message));
    let region = location.region.as_str();
    match (error.kind, &location.role_arn) {
        (ErrorKind::Unreachable | ErrorKind::Unimplemented, _) => match endpoint {
            Some(url) => finding.fails(format!("let AWS answer at {url}, or leave `aws_endpoint_url` out")),
            None => finding.fails(format!(
                "let this machine reach https://sts.{region}.amazonaws.com, https://ssm.{region}.amazonaws.com and \
                 https://ec2.{region}.amazonaws.com: a route to the internet, or VPC endpoints"
            )),
        },
        (ErrorKind::Throttled, _) => finding.fails("run it again: AWS asks for a slower pace"),
        (_, Some(role)) => finding.fails(format!(
            "let the process assume {role} (`patchplane iam policy --for assume-role --role {role}`), and let the role trust \
             it, with the same external_id (docs/iam/trust-role.json)"
        )),
        (_, None) => finding.fails(
            "give credentials of this account to the process (AWS_PROFILE, or a container's or instance's role), or set \
             `role_arn`",
        ),
    }
}

fn of_reads(location: &str, arn: &str, tried: &[(&'static Call, Result<(), Error>)]) -> Vec<Finding> {
    let failed = |which: fn(ErrorKind) -> bool| -> Vec<&str> {
        let of = |(call, answer): &(&'static Call, Result<(), Error>)| {
            answer.as_ref().is_err_and(|error| which(error.kind)).then_some(call.action)
        };
        tried.iter().filter_map(of).collect()
    };
    let denied = failed(|kind| kind == ErrorKind::Denied);
    let silent = failed(|kind| matches!(kind, ErrorKind::Unreachable | ErrorKind::Throttled | ErrorKind::Credentials));
    let unknown = failed(|kind| kind == ErrorKind::Unimplemented);
    let check = format!("reads in {location}");
    let mut findings = Vec::new();
    if !denied.is_empty() {
        let found = format!("denied: {} (docs/iam/read-only.json grants them)", denied.join(", "));
        let fix = format!("attach `patchplane iam policy --for read-only` to {arn}");
        findings.push(Finding::new(&check, found).fails(fix));
    }
    if !silent.is_empty() {
        let found = format!("no answer: {}", silent.join(", "));
        findings.push(Finding::new(&check, found).warns("run it again; if it stays so, let this machine reach AWS"));
    }
    if !unknown.is_empty() {
        let found = format!("whoever answers does not know {}", unknown.join(", "));
        findings.push(Finding::new(&check, found).warns("leave `aws_endpoint_url` out, unless it is a test double"));
    }
    if findings.is_empty() {
        findings.push(Finding::new(&check, format!("all {} are allowed", tried.len())));
    }
    findings
}

fn of_changes(location: &str) -> Finding {
    let others = Document::ALL.iter().filter(|use_| !matches!(use_, Document::ReadOnly | Document::AssumeRole));
    let uses: Vec<String> = others
        .map(|document| {
            let ours =
                document.actions().into_iter().filter(|action| ON_BEHALF.iter().all(|(other, ..)| other != action));
            format!("{} ({})", document.name(), ours.count())
        })
        .collect();
    let found = format!("not tried; `patchplane iam policy --for USE` says what they need: {}", uses.join(", "));
    Finding::new(&format!("changes in {location}"), found)
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

// === impl Finding ===

impl Finding {
    fn new(check: &str, found: impl Into<String>) -> Self {
        // What others say may have several lines.
        let found = found.into().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { check: check.to_owned(), verdict: Verdict::Ok, found, fix: None }
    }

    fn warns(self, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, fix: Some(fix.into()), ..self }
    }

    fn fails(self, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, fix: Some(fix.into()), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<4}  {}: {}", self.verdict, self.check, self.found)?;
        match &self.fix {
            Some(fix) => write!(f, "\n      fix: {fix}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_when_it_is_a_minute_off_and_fails_after_four() {
        let theirs: Timestamp = "2025-11-24T00:00:00Z".parse().unwrap();
        for (seconds, verdict) in [
            (0, Verdict::Ok),
            (60, Verdict::Ok),
            (-61, Verdict::Warn),
            (240, Verdict::Warn),
            (241, Verdict::Fail),
            (-3600, Verdict::Fail),
        ] {
            let found = of_clock("here", theirs + SignedDuration::from_secs(seconds), theirs);
            assert_eq!((found.verdict, found.fix.is_some()), (verdict, verdict != Verdict::Ok), "{seconds}");
        }
    }

    #[test]
    fn whatever_is_not_well_comes_with_a_fix() {
        let location = |role: &str| LocationConfig {
            account: "111122223333".parse().unwrap(),
            region: "us-east-1".parse().unwrap(),
            role_arn: Some(role.to_owned()).filter(|role| !role.is_empty()),
            external_id: None,
        };
        let error = |kind| Error {
            kind,
            action: "sts:GetCallerIdentity",
            code: None,
            message: String::new(),
            request_id: None,
        };
        let fix = |role: &str, endpoint, kind| of_refusal(&location(role), endpoint, &error(kind)).fix.unwrap();
        assert!(fix("", None, ErrorKind::Unreachable).contains("https://ssm.us-east-1.amazonaws.com"));
        assert!(fix("", Some("http://[::1]:1"), ErrorKind::Unreachable).contains("aws_endpoint_url"));
        assert!(fix("", None, ErrorKind::Credentials).contains("AWS_PROFILE"));
        let role = "arn:aws:iam::111122223333:role/p";
        assert!(fix(role, None, ErrorKind::Credentials).contains(&format!("--for assume-role --role {role}")));
    }
}
