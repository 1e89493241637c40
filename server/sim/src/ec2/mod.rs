//! EC2's operations behind the Query protocol: form parameters in, XML out (S 2).

mod instances;
mod network;
mod tags;

use crate::{account::Place, error::AwsError, model::EC2, page::Query, query};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) type Answer = Result<Value, AwsError>;

/// One request in its location; `request` holds API member names.
pub(crate) struct Call<'a> {
    pub(crate) place: &'a mut Place,
    pub(crate) operation: &'a str,
    pub(crate) request: &'a Value,
}

pub(crate) const MUTATING: [&str; 2] = ["CreateTags", "DeleteTags"];

const KNOWN: [&str; 9] = [
    "DescribeInstances",
    "DescribeTags",
    "DescribeSubnets",
    "DescribeRouteTables",
    "DescribeVpcEndpoints",
    "DescribeSecurityGroups",
    "DescribeIamInstanceProfileAssociations",
    "CreateTags",
    "DeleteTags",
];

/// Reads the request by the model and carries it out. `None`: this account does not know the operation.
pub(crate) fn answer(place: &mut Place, operation: &str, parameters: &BTreeMap<String, String>) -> Option<Answer> {
    let input = EC2.operations.get(operation).filter(|_| KNOWN.contains(&operation))?.input.as_ref()?;
    let request = match query::decode(&EC2, input, parameters, query::Lists::Flattened) {
        Ok(request) => request,
        Err(error) => return Some(Err(error)),
    };
    if request["DryRun"] == true {
        let text = "Request would have succeeded, but DryRun flag is set.";
        return Some(Err(AwsError::new("DryRunOperation", text).with_status(412)));
    }
    let mut call = Call { place, operation, request: &request };
    Some(match operation {
        "DescribeInstances" => call.describe_instances(),
        "DescribeTags" => call.describe_tags(),
        "DescribeSubnets" => call.describe_subnets(),
        "DescribeRouteTables" => call.describe_route_tables(),
        "DescribeVpcEndpoints" => call.describe_vpc_endpoints(),
        "DescribeSecurityGroups" => call.describe_security_groups(),
        "DescribeIamInstanceProfileAssociations" => call.describe_iam_instance_profile_associations(),
        "CreateTags" => call.create_tags(),
        _ => call.delete_tags(),
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
        let filters = self.request["Filters"].as_array().map_or(&[][..], Vec::as_slice);
        filters.iter().map(|f| (f["Name"].as_str().unwrap_or_default(), strings(&f["Values"]))).collect()
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

fn bad_filter(name: &str) -> AwsError {
    AwsError::new("InvalidParameterValue", format!("The filter '{name}' is invalid"))
}

/// `*` is any text, `?` any character (S 2.13).
fn wildcard(pattern: &str, text: &str) -> bool {
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
