//! Where AWS keeps things: an account and a Region.

use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// An AWS account id: twelve digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(String);

/// An AWS Region's name, such as `eu-central-1`. Any well-formed name is taken: new Regions appear without a release of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(String);

/// One account in one Region; ordered by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    pub account: AccountId,
    pub region: Region,
}

// === impl AccountId ===

impl FromStr for AccountId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("account", "must be an AWS account id of twelve digits"))
        }
    }
}

impl AccountId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl Region ===

impl FromStr for Region {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parts: Vec<&str> = text.split('-').collect();
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return Err(Invalid::new("region", "must be an AWS Region such as eu-central-1"));
        };
        let well_formed = (3..=5).contains(&parts.len())
            && first.len() == 2
            && parts[..parts.len() - 1].iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase()))
            && (1..=2).contains(&last.len())
            && last.bytes().all(|b| b.is_ascii_digit())
            && text.len() <= 32;
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("region", "must be an AWS Region such as eu-central-1"))
        }
    }
}

impl Region {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl Location ===

impl Location {
    pub fn new(account: &str, region: &str) -> Result<Self, Invalid> {
        Ok(Self { account: account.parse()?, region: region.parse()? })
    }

    /// The resource name: `accounts/{account}/regions/{region}`.
    pub fn name(&self) -> String {
        format!("accounts/{}/regions/{}", self.account.0, self.region.0)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accounts/{}/regions/{}", self.account.0, self.region.0)
    }
}

macro_rules! text {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $type {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0
            }
        }
    };
}
pub(crate) use text;

text!(AccountId);
text!(Region);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_of_every_partition_are_accepted_and_other_text_is_not() {
        for good in ["us-east-1", "ap-northeast-1", "us-gov-west-1", "cn-north-1", "us-iso-east-1", "eu-isoe-west-1"] {
            assert!(good.parse::<Region>().is_ok(), "{good}");
        }
        for bad in ["", "-", "us", "us-east", "US-EAST-1", "us-east-1/", "eu--1", "us-east-123", "us-1"] {
            assert!(bad.parse::<Region>().is_err(), "{bad}");
        }
    }

    #[test]
    fn accounts_are_twelve_digits() {
        assert!("123456789012".parse::<AccountId>().is_ok());
        for bad in ["", "-", "12345678901", "1234567890123", "12345678901a"] {
            assert!(bad.parse::<AccountId>().is_err(), "{bad}");
        }
    }
}
