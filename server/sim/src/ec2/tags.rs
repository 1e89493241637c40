//! Tags of instances, images, volumes, snapshots and networks (S 12.6–12.8).

use super::{Answer, Call, admits, bad_filter, strings};
use crate::error::AwsError;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Tags per resource, resources per call (S 12.6).
pub(super) const TAGS: usize = 50;
const RESOURCES: usize = 1000;
/// How ids of a type of resource begin, its name, and the error for an unknown one.
const KINDS: [(&str, &str, &str); 11] = [
    ("i-", "instance", "InvalidInstanceID.NotFound"),
    ("ami-", "image", "InvalidAMIID.NotFound"),
    ("vol-", "volume", "InvalidVolume.NotFound"),
    ("snap-", "snapshot", "InvalidSnapshot.NotFound"),
    ("subnet-", "subnet", "InvalidSubnetID.NotFound"),
    ("rtb-", "route-table", "InvalidRouteTableID.NotFound"),
    ("sg-", "security-group", "InvalidGroup.NotFound"),
    ("vpce-", "vpc-endpoint", "InvalidVpcEndpointId.NotFound"),
    ("vpc-", "vpc", "InvalidVpcID.NotFound"),
    ("igw-", "internet-gateway", "InvalidInternetGatewayID.NotFound"),
    ("nat-", "natgateway", "NatGatewayNotFound"),
];

impl Call<'_> {
    pub(super) fn describe_tags(&self) -> Answer {
        let filters = self.filters();
        let known = ["key", "value", "resource-id", "resource-type"];
        if let Some((name, _)) = filters.iter().find(|(name, _)| !known.contains(name) && !name.starts_with("tag:")) {
            return Err(bad_filter(name));
        }
        let mut rows = Vec::new();
        let instances = self.place.instances().map(|node| (&node.id, &node.tags));
        for (id, tags) in instances.chain(&self.place.ec2_tags) {
            let kind = KINDS.iter().find(|(prefix, ..)| id.starts_with(prefix)).map_or("", |(_, kind, _)| kind);
            for (key, value) in tags {
                let admitted = filters.iter().all(|(name, values)| match *name {
                    "key" => admits(values, key),
                    "value" => admits(values, value),
                    "resource-id" => admits(values, id),
                    "resource-type" => admits(values, kind),
                    _ => *name == format!("tag:{key}") && admits(values, value),
                });
                if admitted {
                    let row = json!({ "Key": key, "ResourceId": id, "ResourceType": kind, "Value": value });
                    rows.push((format!("{id}\n{key}"), row));
                }
            }
        }
        let (tags, token) = self.page(rows)?;
        Ok(json!({ "Tags": tags, "NextToken": token }))
    }

    /// All or nothing.
    pub(super) fn create_tags(&mut self) -> Answer {
        let resources = self.resources()?;
        let tags = tags(&self.request["Tags"]);
        if tags.is_empty() {
            return Err(AwsError::new("MissingParameter", "The request must contain the parameter Tag"));
        }
        for (key, value) in &tags {
            check(key, value.unwrap_or_default())?;
        }
        for id in &resources {
            let held = self.tags_mut(id);
            if held.len() + tags.iter().filter(|(key, _)| !held.contains_key(*key)).count() > TAGS {
                let text = format!("More than {TAGS} tags specified for resource '{id}'");
                return Err(AwsError::new("TagLimitExceeded", text));
            }
            let Some(node) = self.place.nodes.get(id) else { continue };
            if let Some((key, _)) = tags.iter().find(|(key, _)| node.metadata_tags && !fits_metadata(key)) {
                let text = format!(
                    "'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and \
                     must not be a reserved name ('.', '..', '_index')"
                );
                return Err(AwsError::new("InvalidParameterValue", text));
            }
        }
        for id in resources {
            let held = self.tags_mut(&id);
            held.extend(tags.iter().map(|(k, v)| ((*k).to_owned(), v.unwrap_or_default().to_owned())));
        }
        Ok(json!({}))
    }

    /// With a value a tag goes only if it has that value; without tags all go (S 12.6).
    pub(super) fn delete_tags(&mut self) -> Answer {
        let resources = self.resources()?;
        let tags = tags(&self.request["Tags"]);
        for id in resources {
            self.tags_mut(&id).retain(|key, value| {
                let named = tags.iter().any(|(k, v)| k == key && v.is_none_or(|v| v == value));
                !(named || tags.is_empty()) || key.starts_with("aws:")
            });
        }
        self.place.ec2_tags.retain(|_, tags| !tags.is_empty());
        Ok(json!({}))
    }

    fn resources(&self) -> Result<Vec<String>, AwsError> {
        let ids = strings(&self.request["Resources"]);
        if ids.is_empty() {
            return Err(AwsError::new("MissingParameter", "The request must contain the parameter resourceIdSet"));
        }
        if ids.len() > RESOURCES {
            let text = format!("More than {RESOURCES} resources in one request");
            return Err(AwsError::new("InvalidParameterValue", text));
        }
        let known = |id: &str| {
            let (prefix, _, code) = KINDS.into_iter().find(|(prefix, ..)| id.starts_with(prefix))?;
            super::well_formed(prefix, id).ok()?;
            Some((self.exists(prefix, id), code))
        };
        let mut unknown = Vec::new();
        for id in &ids {
            match known(id) {
                None => return Err(AwsError::new("InvalidID", format!("The ID '{id}' is not valid"))),
                Some((true, _)) => {}
                Some((false, "InvalidInstanceID.NotFound")) => unknown.push(*id),
                Some((false, code)) => return Err(AwsError::new(code, format!("The ID '{id}' does not exist"))),
            }
        }
        if unknown.is_empty() {
            Ok(ids.into_iter().map(str::to_owned).collect())
        } else {
            Err(Self::not_found(&unknown))
        }
    }

    /// Any well-formed AMI is taken to be the account's own.
    fn exists(&self, prefix: &str, id: &str) -> bool {
        let place = &self.place;
        let holds = |rows: Vec<Value>, member: &str| rows.iter().any(|row| row[member] == id);
        match prefix {
            "i-" => place.nodes.contains_key(id),
            "ami-" => true,
            "vol-" => place.instances().any(|node| node.volumes.iter().any(|volume| volume.id == id)),
            "snap-" => place.snapshots.iter().any(|snapshot| snapshot.id == id),
            "subnet-" => holds(place.subnets(), "SubnetId"),
            "rtb-" => holds(place.route_tables(), "RouteTableId"),
            "sg-" => holds(place.security_groups(), "GroupId"),
            "vpce-" => holds(place.vpc_endpoints(), "VpcEndpointId"),
            "vpc-" => holds(place.vpcs(), "VpcId"),
            "igw-" => holds(place.internet_gateways(), "InternetGatewayId"),
            _ => holds(place.nat_gateways(), "NatGatewayId"),
        }
    }

    fn tags_mut(&mut self, id: &str) -> &mut BTreeMap<String, String> {
        match self.place.nodes.get_mut(id) {
            Some(node) => &mut node.tags,
            None => self.place.ec2_tags.entry(id.to_owned()).or_default(),
        }
    }
}

/// Key, and value if one is given.
pub(super) fn tags(value: &Value) -> Vec<(&str, Option<&str>)> {
    let tags = value.as_array().map_or(&[][..], Vec::as_slice);
    tags.iter().filter_map(|tag| Some((tag["Key"].as_str()?, tag["Value"].as_str()))).collect()
}

pub(super) fn check(key: &str, value: &str) -> Result<(), AwsError> {
    let wrong = if key.is_empty() || key.chars().count() > 128 {
        "Tag keys must be between 1 and 128 characters in length"
    } else if value.chars().count() > 256 {
        "Tag value exceeds the maximum length of 256 characters"
    } else if key.to_ascii_lowercase().starts_with("aws:") {
        "Tag keys starting with 'aws:' are reserved for internal use"
    } else {
        return Ok(());
    };
    Err(AwsError::new("InvalidParameterValue", wrong))
}

/// With tags in instance metadata, keys may hold no space and no slash (S 12.7; EC2 user guide).
fn fits_metadata(key: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_+=,.@:".contains(c);
    key.chars().all(allowed) && !matches!(key, "." | ".." | "_index")
}
