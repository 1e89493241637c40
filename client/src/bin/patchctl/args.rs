//! What is read from the command line: locations, resources, limits and tags.

use crate::{GLOBAL, failure::Failure};
use clap::Args;
use patchplane_client::{
    Location,
    api::{InstanceLimit, Percent, TagMatch, instance_limit::Amount},
};

/// How a change is made: of every command that changes something.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Change {
    /// Show the plan as a difference (+ comes, - goes, ~ becomes another, > runs there, ! is left out), and change nothing.
    #[arg(long)]
    pub(crate) validate_only: bool,
    /// Go on only if the plan still has this fingerprint, as `--validate-only -o json` showed it.
    #[arg(long, value_name = "FINGERPRINT", default_value = "", hide_default_value = true)]
    pub(crate) expected_plan: String,
    /// A UUID for this change: running the command again with it changes nothing more.
    #[arg(long, value_name = "UUID", default_value = "", hide_default_value = true)]
    pub(crate) request_id: String,
}

/// How a change is made that asks first: of commands that install or delete.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Consent {
    #[command(flatten)]
    pub(crate) change: Change,
    /// Do not ask; needed where standard input is no terminal.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// Where to look or act.
#[derive(Debug, Args)]
pub(crate) struct Scope {
    /// `accounts/{account}/regions/{region}`; wins over --account and --region.
    #[arg(long, value_name = "NAME", global = true, help_heading = GLOBAL, value_parser = location)]
    location: Option<Location>,
    /// The AWS account's id; `-` or unset means all, in lists.
    #[arg(long, env = "PATCHPLANE_ACCOUNT", value_name = "ID", global = true, help_heading = GLOBAL)]
    account: Option<String>,
    /// The AWS Region; `-` or unset means all, in lists.
    #[arg(long, env = "PATCHPLANE_REGION", value_name = "REGION", global = true, help_heading = GLOBAL)]
    region: Option<String>,
}

impl Scope {
    /// The same, where nothing was said, with what a profile says.
    pub(crate) fn or(self, account: Option<String>, region: Option<String>) -> Self {
        let Self { location, account: own_account, region: own_region } = self;
        Self { location, account: own_account.or(account), region: own_region.or(region) }
    }

    /// Where a list looks: everywhere unless something else was said.
    pub(crate) fn any(&self) -> Result<Location, Failure> {
        let part = |given: &Option<String>| given.clone().unwrap_or_else(|| "-".to_owned());
        match &self.location {
            Some(location) => Ok(location.clone()),
            None => Ok(Location::new(part(&self.account), part(&self.region))?),
        }
    }

    /// Where a call acts that needs exactly one location.
    pub(crate) fn one(&self) -> Result<Location, Failure> {
        let location = self.any()?;
        if location.is_single() {
            return Ok(location);
        }
        Err(Failure::Usage {
            what: "this needs exactly one location".to_owned(),
            next:
                "give --account and --region, set PATCHPLANE_ACCOUNT and PATCHPLANE_REGION, or write a profile (`patchctl \
                   profiles` shows how); against the simulated account for example --account 111122223333 --region us-east-1"
                    .to_owned(),
        })
    }

    /// A resource's name from what was given: the whole name, or an id in the one location.
    pub(crate) fn name(&self, given: &str, build: fn(&Location, &str) -> String) -> Result<String, Failure> {
        match Location::of(given) {
            Some(_) => Ok(given.to_owned()),
            None => Ok(build(&self.one()?, given)),
        }
    }
}

fn location(text: &str) -> Result<Location, String> {
    text.parse().map_err(|_| "must be accounts/{account}/regions/{region}".to_owned())
}

/// `5` or `10%`.
pub(crate) fn limit(text: &str) -> Result<InstanceLimit, String> {
    let rule = || "must be a number of instances from 1, such as 5, or a share from 1% to 100%".to_owned();
    let amount = match text.strip_suffix('%') {
        Some(share) => {
            let value = share.trim().parse().ok().filter(|value| (1..=100).contains(value)).ok_or_else(rule)?;
            Amount::Percent(Percent { value })
        }
        None => Amount::Count(text.parse().ok().filter(|count| *count >= 1).ok_or_else(rule)?),
    };
    Ok(InstanceLimit { amount: Some(amount) })
}

/// How many of so many instances a limit means: a share is rounded up.
pub(crate) fn number(limit: &InstanceLimit, instances: i32) -> i32 {
    match &limit.amount {
        Some(Amount::Count(count)) => *count,
        Some(Amount::Percent(Percent { value })) => (instances * value + 99) / 100,
        None => 0,
    }
}

/// `KEY=VALUE`; the value may hold further equals signs, a key cannot.
pub(crate) fn tag(text: &str) -> Result<TagMatch, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(TagMatch { key: key.to_owned(), value: value.to_owned() }),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_or_shares() {
        let amount = |text| limit(text).unwrap().amount.unwrap();
        assert_eq!(amount("5"), Amount::Count(5));
        assert_eq!(amount("10%"), Amount::Percent(Percent { value: 10 }));
        assert_eq!(amount("100 %"), Amount::Percent(Percent { value: 100 }));
        for wrong in ["", "0", "-1", "0%", "101%", "%", "ten", "1.5%", "5 instances"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_are_rounded_up_to_at_least_one_instance() {
        for (text, instances, number_of) in [("10%", 12, 2), ("10%", 1, 1), ("100%", 7, 7), ("5", 3, 5)] {
            assert_eq!(number(&limit(text).unwrap(), instances), number_of, "{text} of {instances}");
        }
    }

    #[test]
    fn tags_are_split_at_the_first_equals_sign() {
        let parts = |text| tag(text).map(|tag| (tag.key, tag.value));
        assert_eq!(parts("Patch Group=web"), Ok(("Patch Group".to_owned(), "web".to_owned())));
        assert_eq!(parts("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(parts("a="), Ok(("a".to_owned(), String::new())));
        assert!(tag("a").is_err() && tag("=b").is_err());
    }

    #[test]
    fn lists_look_everywhere_and_actions_need_one_location() {
        let scope = |account: Option<&str>, region: Option<&str>| Scope {
            location: None,
            account: account.map(str::to_owned),
            region: region.map(str::to_owned),
        };
        assert_eq!(scope(None, None).any().unwrap().to_string(), "accounts/-/regions/-");
        assert_eq!(scope(Some("1"), None).any().unwrap().to_string(), "accounts/1/regions/-");
        let filled = scope(Some("1"), None).or(Some("2".to_owned()), Some("x".to_owned()));
        assert_eq!(filled.any().unwrap().to_string(), "accounts/1/regions/x");
        assert!(matches!(scope(Some("1"), None).one(), Err(Failure::Usage { .. })));
        let one = scope(Some("1"), Some("x"));
        assert_eq!(one.name("i-1", Location::instance).unwrap(), "accounts/1/regions/x/instances/i-1");
        let whole = "accounts/2/regions/y/instances/i-2";
        assert_eq!(one.name(whole, Location::instance).unwrap(), whole);
    }
}
