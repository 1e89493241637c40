//! Reads a Query request: 1-based lists and dotted members (S 2.2–2.4).

use crate::{
    error::AwsError,
    model::{Member, Model, Shape, matches_pattern},
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// How lists travel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lists {
    /// `Filter.1.Name`: EC2's (S 2.3).
    Flattened,
    /// `Tags.member.1.Key`: those of the other Query services.
    Wrapped,
}

/// The form's parameters.
pub(crate) fn parameters(body: &[u8]) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let body = String::from_utf8_lossy(body);
    let pairs = body.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect()
}

/// The request in API member names. Mistyped parameters are refused, of EC2 unknown and missing ones, too.
pub(crate) fn decode(
    model: &Model,
    input: &Member,
    parameters: &BTreeMap<String, String>,
    lists: Lists,
) -> Result<Value, AwsError> {
    let seen = BTreeSet::from(["Action".to_owned(), "Version".to_owned()]);
    let mut reader = Reader { model, parameters, lists, seen };
    let request = reader.read(input, "")?.unwrap_or_else(|| Value::Object(Map::new()));
    if lists == Lists::Wrapped {
        return Ok(request);
    }
    if let Some(unknown) = parameters.keys().find(|key| !reader.seen.contains(*key)) {
        let text = format!("The parameter {unknown} is not recognized");
        return Err(AwsError::new("UnknownParameter", text));
    }
    let required = model.shape(input).map_or(&[][..], |shape| &shape.required);
    match required.iter().find(|name| request[name.as_str()].is_null()) {
        None => Ok(request),
        Some(missing) => {
            let name = model.shape(input).and_then(|s| s.members.get(missing)).map(|m| m.parameter(missing));
            let text = format!("The request must contain the parameter {}", name.unwrap_or_default());
            Err(AwsError::new("MissingParameter", text))
        }
    }
}

struct Reader<'a> {
    model: &'a Model,
    parameters: &'a BTreeMap<String, String>,
    lists: Lists,
    seen: BTreeSet<String>,
}

impl Reader<'_> {
    fn read(&mut self, member: &Member, at: &str) -> Result<Option<Value>, AwsError> {
        let model = self.model;
        let Some(shape) = model.shape(member) else { return Ok(None) };
        match shape.kind.as_str() {
            "structure" => {
                if !at.is_empty() && !self.mentioned(at) {
                    return Ok(None);
                }
                let mut fields = Map::new();
                for (name, member) in &shape.members {
                    let parameter = member.parameter(name);
                    let at = if at.is_empty() { parameter } else { format!("{at}.{parameter}") };
                    if let Some(value) = self.read(member, &at)? {
                        fields.insert(name.clone(), value);
                    }
                }
                let lacking = shape.required.iter().find(|name| !fields.contains_key(*name));
                match lacking.filter(|_| !at.is_empty() && self.lists == Lists::Flattened) {
                    Some(name) => {
                        let parameter = shape.members.get(name).map(|member| member.parameter(name));
                        let text =
                            format!("The request must contain the parameter {at}.{}", parameter.unwrap_or_default());
                        Err(AwsError::new("MissingParameter", text))
                    }
                    None => Ok(Some(Value::Object(fields))),
                }
            }
            "list" => {
                let mut items = Vec::new();
                let within = if self.lists == Lists::Wrapped { format!("{at}.member") } else { at.to_owned() };
                for index in self.indexes(&within) {
                    if let Some(member) = &shape.member
                        && let Some(item) = self.read(member, &format!("{within}.{index}"))?
                    {
                        items.push(item);
                    }
                }
                Ok(Some(Value::Array(items)).filter(|_| self.mentioned(at)))
            }
            kind => {
                let Some(text) = self.parameters.get(at) else { return Ok(None) };
                self.seen.insert(at.to_owned());
                let value = match kind {
                    "integer" | "long" => text.parse::<i64>().ok().map(Value::from),
                    "boolean" => text.parse::<bool>().ok().map(Value::from),
                    _ => Some(Value::from(text.clone())),
                };
                let bad =
                    || AwsError::new("InvalidParameterValue", format!("Value ({text}) for parameter {at} is invalid"));
                let value = value.ok_or_else(bad)?;
                // Other services' violations are told all at once, later.
                if self.lists == Lists::Flattened && !is_admitted(shape, &value) {
                    return Err(bad());
                }
                Ok(Some(value))
            }
        }
    }

    fn mentioned(&self, at: &str) -> bool {
        let prefix = format!("{at}.");
        self.parameters.keys().any(|key| key.starts_with(&prefix))
    }

    fn indexes(&self, at: &str) -> BTreeSet<u32> {
        let prefix = format!("{at}.");
        let index = |key: &String| key.strip_prefix(&prefix)?.split('.').next()?.parse().ok();
        self.parameters.keys().filter_map(index).collect()
    }
}

/// Enum, length, range and pattern.
fn is_admitted(shape: &Shape, value: &Value) -> bool {
    let within = |n: i64| shape.min.is_none_or(|min| n >= min) && shape.max.is_none_or(|max| n <= max);
    match value {
        Value::Number(number) => number.as_i64().is_some_and(within),
        Value::String(text) => {
            (shape.values.is_empty() || shape.values.contains(text))
                && within(i64::try_from(text.chars().count()).unwrap_or(i64::MAX))
                && shape.pattern.as_ref().is_none_or(|pattern| matches_pattern(pattern, text))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EC2, STS};
    use serde_json::json;

    fn read(operation: &str, body: &str) -> Result<Value, AwsError> {
        let input = EC2.operations[operation].input.as_ref().unwrap();
        decode(&EC2, input, &parameters(body.as_bytes()), Lists::Flattened)
    }

    #[test]
    fn the_lists_of_other_services_are_wrapped() {
        let body = "Action=AssumeRole&Tags.member.1.Key=a&Tags.member.1.Value=b&DurationSeconds=900&Odd=1";
        let input = STS.operations["AssumeRole"].input.as_ref().unwrap();
        let request = decode(&STS, input, &parameters(body.as_bytes()), Lists::Wrapped).unwrap();
        assert_eq!(request, json!({ "Tags": [{ "Key": "a", "Value": "b" }], "DurationSeconds": 900 }));
    }

    #[test]
    fn lists_are_flattened_and_one_based() {
        // S 2.2–2.3.
        let body = "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3APatch+Group&Filter.1.Value.1=web\
                    &Filter.1.Value.2=db&MaxResults=50&InstanceId.1=i-0123456789abcdef0";
        let expected = json!({
            "Filters": [{ "Name": "tag:Patch Group", "Values": ["web", "db"] }],
            "InstanceIds": ["i-0123456789abcdef0"],
            "MaxResults": 50,
        });
        assert_eq!(read("DescribeInstances", body).unwrap(), expected);
        let tags = "Action=DeleteTags&ResourceId.1=i-1&Tag.1.Key=a&Tag.1.Value=b";
        assert_eq!(
            read("DeleteTags", tags).unwrap(),
            json!({"Resources": ["i-1"], "Tags": [{"Key": "a", "Value": "b"}]})
        );
    }

    #[test]
    fn unknown_missing_and_mistyped_parameters_are_refused() {
        for (operation, body, code) in [
            ("DescribeInstances", "Action=DescribeInstances&Nonsense=1", "UnknownParameter"),
            ("DescribeInstances", "Action=DescribeInstances&MaxResults=many", "InvalidParameterValue"),
            ("CreateTags", "Action=CreateTags&ResourceId.1=i-1", "MissingParameter"),
        ] {
            assert_eq!(read(operation, body).unwrap_err().code, code, "{body}");
        }
    }
}
