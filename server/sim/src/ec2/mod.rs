//! EC2's operations behind the Query protocol: form parameters in, XML out (S 2).

mod instances;
mod launch;
mod network;
mod storage;
mod tags;

use crate::{account::Place, error::AwsError, model::EC2, page::Query, platform::Platform, query};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) type Answer = Result<Value, AwsError>;

/// One request in its location; `request` holds API member names.
pub(crate) struct Call<'a> {
    pub(crate) place: &'a mut Place,
    pub(crate) now: Timestamp,
    pub(crate) operation: &'a str,
    pub(crate) request: &'a Value,
}

pub(crate) const MUTATING: [&str; 10] = [
    "CreateSnapshot",
    "CreateSnapshots",
    "CreateTags",
    "DeleteSnapshot",
    "DeleteTags",
    "RebootInstances",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
];

/// Reads the request by the model and carries it out. `None`: this account does not know the operation.
pub(crate) fn answer(
    place: &mut Place,
    now: Timestamp,
    operation: &str,
    parameters: &BTreeMap<String, String>,
) -> Option<Answer> {
    let input = EC2.operations.get(operation)?.input.as_ref()?;
    let request = match query::decode(&EC2, input, parameters, query::Lists::Flattened) {
        Ok(request) => request,
        Err(error) => return Some(Err(error)),
    };
    if request["DryRun"] == true {
        let text = "Request would have succeeded, but DryRun flag is set.";
        return Some(Err(AwsError::new("DryRunOperation", text).with_status(412)));
    }
    let mut call = Call { place, now, operation, request: &request };
    Some(match operation {
        "DescribeInstances" => call.describe_instances(),
        "DescribeInstanceStatus" => call.describe_instance_status(),
        "RunInstances" => call.run_instances(),
        "StartInstances" => call.start_instances(),
        "StopInstances" => call.stop_instances(),
        "RebootInstances" => call.reboot_instances(),
        "TerminateInstances" => call.terminate_instances(),
        "DescribeImages" => call.describe_images(),
        "DescribeVolumes" => call.describe_volumes(),
        "DescribeSnapshots" => call.describe_snapshots(),
        "CreateSnapshot" => call.create_snapshot(),
        "CreateSnapshots" => call.create_snapshots(),
        "DeleteSnapshot" => call.delete_snapshot(),
        "DescribeTags" => call.describe_tags(),
        "CreateTags" => call.create_tags(),
        "DeleteTags" => call.delete_tags(),
        "DescribeRegions" => call.describe_regions(),
        "DescribeVpcs" => call.describe_vpcs(),
        "DescribeSubnets" => call.describe_subnets(),
        "DescribeRouteTables" => call.describe_route_tables(),
        "DescribeInternetGateways" => call.describe_internet_gateways(),
        "DescribeNatGateways" => call.describe_nat_gateways(),
        "DescribeVpcEndpoints" => call.describe_vpc_endpoints(),
        "DescribeSecurityGroups" => call.describe_security_groups(),
        "DescribeIamInstanceProfileAssociations" => call.describe_iam_instance_profile_associations(),
        _ => return None,
    })
}

impl Call<'_> {
    fn page(&self, items: Vec<(String, Value)>) -> Result<(Vec<Value>, Option<String>), AwsError> {
        if let Some(size) = self.request["MaxResults"].as_i64()
            && !(5..=1000).contains(&size)
        {
            let text =
                format!("Value ( {size} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.");
            return Err(AwsError::new("InvalidParameterValue", text));
        }
        let scope = format!("{}/{}", self.place.account, self.place.region);
        let query = Query { model: &EC2, scope: &scope, operation: self.operation, request: self.request };
        let page = query.page(items, 1000);
        page.map_err(|_| AwsError::new("InvalidParameterValue", "The token is invalid."))
    }

    /// Name and values of each filter.
    fn filters(&self) -> Vec<(&str, Vec<&str>)> {
        let filters = self.request["Filters"].as_array().or_else(|| self.request["Filter"].as_array());
        let filters = filters.map_or(&[][..], Vec::as_slice);
        filters.iter().map(|f| (f["Name"].as_str().unwrap_or_default(), strings(&f["Values"]))).collect()
    }

    /// One unknown id fails the whole call (S 2.12).
    fn known_instances(&self, ids: &[&str]) -> Result<(), AwsError> {
        if let Some(id) = ids.iter().find(|id| well_formed("i-", id).is_err()) {
            return Err(AwsError::new("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\"")));
        }
        let unknown: Vec<_> = ids.iter().copied().filter(|id| !self.place.nodes.contains_key(*id)).collect();
        if unknown.is_empty() { Ok(()) } else { Err(Self::not_found(&unknown)) }
    }

    /// The tags of what is no instance.
    fn tags_of(&self, id: &str) -> Value {
        let tags = self.place.ec2_tags.get(id).into_iter().flatten();
        tags.map(|(key, value)| tag_json(key, value)).collect()
    }

    fn not_found(ids: &[&str]) -> AwsError {
        let text = match ids {
            [id] => format!("The instance ID '{id}' does not exist"),
            ids => format!("The instance IDs '{}' do not exist", ids.join(", ")),
        };
        AwsError::new("InvalidInstanceID.NotFound", text)
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str).collect()
}

/// Whether an id is of a kind: its prefix and 8 or 17 hexadecimal digits.
fn well_formed(prefix: &str, id: &str) -> Result<(), ()> {
    let digits = id.strip_prefix(prefix).ok_or(())?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
    if hex && matches!(digits.len(), 8 | 17) { Ok(()) } else { Err(()) }
}

fn missing(parameter: &str) -> AwsError {
    AwsError::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
}

/// What instances of an image run.
fn image_platform(image: &str) -> Platform {
    let known = Platform::ALL.into_iter().find(|platform| platform.image() == image);
    known.unwrap_or(Platform::AmazonLinux2)
}

/// ISO-8601 with milliseconds (S 2.6).
fn date_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn bad_filter(name: &str) -> AwsError {
    AwsError::new("InvalidParameterValue", format!("The filter '{name}' is invalid"))
}

/// `*` is any text, `?` any character (S 2.13).
pub(crate) fn wildcard(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// Whether any value of a filter admits the text.
fn admits(values: &[&str], text: &str) -> bool {
    values.iter().any(|pattern| wildcard(pattern, text))
}

fn tag_json(key: &str, value: &str) -> Value {
    json!({ "Key": key, "Value": value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_know_wildcards() {
        // S 2.13.
        for (pattern, text, expected) in [
            ("web", "web", true),
            ("web", "Web", false),
            ("w*b", "wb", true),
            ("*", "", true),
            ("we?", "web", true),
            ("we?", "we", false),
            ("*-1*", "web-1", true),
            ("a*b*c", "axxbyy", false),
        ] {
            assert_eq!(wildcard(pattern, text), expected, "{pattern} {text}");
        }
    }
}
