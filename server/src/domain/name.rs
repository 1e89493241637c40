//! Resource names: `accounts/{account}/regions/{region}/…`, parsed once.

use patchplane_rules::{
    AccountId, BaselineId, InstanceId, Invalid, Location, OperatingSystem, PatchGroupName, Region, WindowExecutionId,
    WindowId,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;
use ulid::Ulid;

use super::operation::OperationId;

/// What a list is asked of: one location, or with `-` every configured one that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    pub account: Option<AccountId>,
    pub region: Option<Region>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineName {
    pub location: Location,
    pub id: BaselineId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultBaselineName {
    pub location: Location,
    pub operating_system: OperatingSystem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupName {
    pub location: Location,
    pub group: PatchGroupName,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceName {
    pub location: Location,
    pub id: InstanceId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationName {
    pub location: Location,
    pub id: OperationId,
}

/// A freeze is of the whole installation: `freezes/{id}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreezeName(pub Ulid);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowName {
    pub location: Location,
    pub id: WindowId,
}

/// One run of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionName {
    pub window: WindowName,
    pub id: WindowExecutionId,
}

/// A schedule is a window, and has its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleName {
    pub location: Location,
    pub id: WindowId,
}

/// A step of a command on one target of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepName {
    pub operation: OperationName,
    pub instance: InstanceId,
    pub step: String,
}

/// Unreserved characters of RFC 3986 stay as they are.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The ids of a name whose collections are `collections`, in order.
fn ids<'a, const N: usize>(field: &str, text: &'a str, collections: [&str; N]) -> Result<[&'a str; N], Invalid> {
    let form = || {
        let parts: Vec<String> = collections.iter().map(|c| format!("{c}/{{…}}")).collect();
        if text.is_empty() {
            Invalid::new(field, format!("is required: {}", parts.join("/")))
        } else {
            Invalid::new(field, format!("must have the form {}", parts.join("/")))
        }
    };
    let segments: Vec<&str> = text.split('/').collect();
    if segments.len() != 2 * N {
        return Err(form());
    }
    let mut found = [""; N];
    for (i, collection) in collections.iter().enumerate() {
        if segments[2 * i] != *collection || segments[2 * i + 1].is_empty() {
            return Err(form());
        }
        found[i] = segments[2 * i + 1];
    }
    Ok(found)
}

fn at(field: &str, invalid: Invalid) -> Invalid {
    Invalid::new(field, format!("names a wrong {}: it {}", invalid.field, invalid.rule))
}

fn location(field: &str, account: &str, region: &str) -> Result<Location, Invalid> {
    if account == "-" || region == "-" {
        return Err(Invalid::new(field, "must name one account and one Region; `-` is for lists only"));
    }
    Location::new(account, region).map_err(|invalid| at(field, invalid))
}

/// `accounts/{account}/regions/{region}` where `-` is not allowed.
pub fn parse_location(field: &str, text: &str) -> Result<Location, Invalid> {
    let [account, region] = ids(field, text, ["accounts", "regions"])?;
    location(field, account, region)
}

impl Parent {
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let [account, region] = ids(field, text, ["accounts", "regions"])?;
        let account = match account {
            "-" => None,
            text => Some(text.parse().map_err(|invalid| at(field, invalid))?),
        };
        let region = match region {
            "-" => None,
            text => Some(text.parse().map_err(|invalid| at(field, invalid))?),
        };
        Ok(Self { account, region })
    }

    /// The one that is this location.
    pub fn of(location: &Location) -> Self {
        Self { account: Some(location.account.clone()), region: Some(location.region.clone()) }
    }

    /// The location, if exactly one is named.
    pub fn exact(&self) -> Option<Location> {
        Some(Location { account: self.account.clone()?, region: self.region.clone()? })
    }

    pub fn covers(&self, location: &Location) -> bool {
        self.account.as_ref().is_none_or(|account| *account == location.account)
            && self.region.as_ref().is_none_or(|region| *region == location.region)
    }
}

impl BaselineName {
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let [account, region, id] = ids(field, text, ["accounts", "regions", "baselines"])?;
        let id = id.parse().map_err(|invalid| at(field, invalid))?;
        Ok(Self { location: location(field, account, region)?, id })
    }
}

impl DefaultBaselineName {
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let [account, region, system] = ids(field, text, ["accounts", "regions", "defaultBaselines"])?;
        let operating_system = OperatingSystem::parse(system).map_err(|invalid| at(field, invalid))?;
        Ok(Self { location: location(field, account, region)?, operating_system })
    }
}

impl GroupName {
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let [account, region, id] = ids(field, text, ["accounts", "regions", "patchGroups"])?;
        let raw =
            percent_decode_str(id).decode_utf8().map_err(|_| Invalid::new(field, "must be percent-encoded UTF-8"))?;
        let group = raw.parse().map_err(|invalid| at(field, invalid))?;
        Ok(Self { location: location(field, account, region)?, group })
    }
}

impl InstanceName {
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let [account, region, id] = ids(field, text, ["accounts", "regions", "instances"])?;
        let id = id.parse().map_err(|invalid| at(field, invalid))?;
        Ok(Self { location: location(field, account, region)?, id })
    }
}

impl WindowName {
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let [account, region, id] = ids(field, text, ["accounts", "regions", "maintenanceWindows"])?;
        let id = id.parse().map_err(|invalid| at(field, invalid))?;
        Ok(Self { location: location(field, account, region)?, id })
    }
}

impl ExecutionName {
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let [account, region, window, id] =
            ids(field, text, ["accounts", "regions", "maintenanceWindows", "executions"])?;
        let window = window.parse().map_err(|invalid| at(field, invalid))?;
        let id = id.parse().map_err(|invalid| at(field, invalid))?;
        Ok(Self { window: WindowName { location: location(field, account, region)?, id: window }, id })
    }
}

impl ScheduleName {
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let [account, region, id] = ids(field, text, ["accounts", "regions", "patchSchedules"])?;
        let id = id.parse().map_err(|invalid| at(field, invalid))?;
        Ok(Self { location: location(field, account, region)?, id })
    }

    /// The window that it is made of.
    pub fn window(&self) -> WindowName {
        WindowName { location: self.location.clone(), id: self.id.clone() }
    }
}

fn operation_id(field: &str, text: &str) -> Result<OperationId, Invalid> {
    text.parse().map_err(|invalid: Invalid| Invalid::new(field, invalid.rule))
}

impl FreezeName {
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let [id] = ids(field, text, ["freezes"])?;
        let ulid = Ulid::from_string(id).ok().filter(|ulid| ulid.to_string() == id);
        let rule = "must be freezes/{id}, the id being a ULID of 26 upper-case characters";
        ulid.map(Self).ok_or_else(|| Invalid::new(field, rule))
    }
}

impl OperationName {
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let [account, region, id] = ids(field, text, ["accounts", "regions", "patchOperations"])?;
        Ok(Self { location: location(field, account, region)?, id: operation_id(field, id)? })
    }
}

impl StepName {
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        let [account, region, operation, instance, step] =
            ids(field, text, ["accounts", "regions", "patchOperations", "targets", "steps"])?;
        if step.len() > 64 || !step.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Invalid::new(field, "must end with a step's name, such as PatchLinux"));
        }
        Ok(Self {
            operation: OperationName {
                location: location(field, account, region)?,
                id: operation_id(field, operation)?,
            },
            instance: instance.parse().map_err(|invalid| at(field, invalid))?,
            step: step.to_owned(),
        })
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = self.account.as_ref().map_or("-", AccountId::as_str);
        let region = self.region.as_ref().map_or("-", Region::as_str);
        write!(f, "accounts/{account}/regions/{region}")
    }
}

impl fmt::Display for FreezeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "freezes/{}", self.0)
    }
}

impl fmt::Display for BaselineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/baselines/{}", self.location, self.id)
    }
}

impl fmt::Display for DefaultBaselineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/defaultBaselines/{}", self.location, self.operating_system)
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/patchGroups/{}", self.location, utf8_percent_encode(self.group.as_str(), SEGMENT))
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/instances/{}", self.location, self.id)
    }
}

impl fmt::Display for OperationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/patchOperations/{}", self.location, self.id)
    }
}

impl fmt::Display for WindowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/maintenanceWindows/{}", self.location, self.id)
    }
}

impl fmt::Display for ExecutionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/executions/{}", self.window, self.id)
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/patchSchedules/{}", self.location, self.id)
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/targets/{}/steps/{}", self.operation, self.instance, self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_names_survive_percent_encoding() {
        for raw in ["web", "Web Servers", "prod/eu:1", "größe", "50% no", "a+b"] {
            let Ok(group) = raw.parse() else { continue };
            let name = GroupName { location: Location::new("123456789012", "us-east-1").unwrap(), group };
            assert_eq!(GroupName::parse("name", &name.to_string()).unwrap(), name);
        }
    }

    #[test]
    fn wrong_names_name_the_field_and_the_form() {
        for bad in
            ["", "accounts/1/regions/us-east-1", "accounts/-/regions/us-east-1", "accounts/123456789012", "x", "////"]
        {
            assert_eq!(parse_location("parent", bad).unwrap_err().field, "parent", "{bad}");
        }
    }

    #[test]
    fn a_dash_stands_for_all() {
        let parent = Parent::parse("parent", "accounts/-/regions/us-east-1").unwrap();
        assert!(parent.covers(&Location::new("123456789012", "us-east-1").unwrap()));
        assert!(!parent.covers(&Location::new("123456789012", "eu-west-1").unwrap()));
        assert_eq!(parent.exact(), None);
    }
}
