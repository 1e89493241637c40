//! Judges a JSON request by its model, before anything else looks at it: all violations at once (S 1.19).

use crate::{
    error::AwsError,
    model::{Member, Model, Shape, matches_pattern},
};
use serde_json::Value;

/// Checks types (SerializationException), then required members, lengths, ranges, patterns and enums
/// (ValidationException).
pub(crate) fn validate(model: &Model, input: &Member, request: &Value) -> Result<(), AwsError> {
    let mut violations = Vec::new();
    check(model, input, request, "", &mut violations)?;
    match violations.len() {
        0 => Ok(()),
        1 => Err(AwsError::validation(format!("1 validation error detected: {}", violations[0]))),
        n => Err(AwsError::validation(format!("{n} validation errors detected: {}", violations.join("; ")))),
    }
}

fn check(model: &Model, member: &Member, value: &Value, path: &str, found: &mut Vec<String>) -> Result<(), AwsError> {
    let Some(shape) = model.shape(member) else { return Ok(()) };
    let constraint =
        |text: String| format!("Value '{}' at '{path}' failed to satisfy constraint: {text}", shown(value));
    match (shape.kind.as_str(), value) {
        ("structure", Value::Object(fields)) => {
            for name in &shape.required {
                if fields.get(name).is_none_or(Value::is_null) {
                    let at = join(path, name);
                    found.push(format!("Value null at '{at}' failed to satisfy constraint: Member must not be null"));
                }
            }
            for (name, member) in &shape.members {
                if let Some(value) = fields.get(name).filter(|v| !v.is_null()) {
                    check(model, member, value, &join(path, name), found)?;
                }
            }
        }
        ("list", Value::Array(items)) => {
            found.extend(size(shape, items.len()).map(constraint));
            for (index, item) in items.iter().enumerate() {
                if let Some(member) = &shape.member {
                    check(model, member, item, &format!("{path}.{}.member", index + 1), found)?;
                }
            }
        }
        ("map", Value::Object(entries)) => {
            found.extend(size(shape, entries.len()).map(constraint));
            for (key, item) in entries {
                if let Some(member) = &shape.value {
                    check(model, member, item, &format!("{path}.{key}.member"), found)?;
                }
            }
        }
        ("string", Value::String(text)) => {
            found.extend(size(shape, text.chars().count()).map(constraint));
            if let Some(pattern) = &shape.pattern
                && !matches_pattern(pattern, text)
            {
                found.push(constraint(format!("Member must satisfy regular expression pattern: {pattern}")));
            }
            if !shape.values.is_empty() && !shape.values.contains(text) {
                found.push(constraint(format!("Member must satisfy enum value set: [{}]", shape.values.join(", "))));
            }
        }
        ("integer" | "long", Value::Number(number)) => {
            let Some(number) = number.as_i64() else { return Err(mistyped(path, "a whole number")) };
            if shape.min.is_some_and(|min| number < min) {
                let min = shape.min.unwrap_or_default();
                found.push(constraint(format!("Member must have value greater than or equal to {min}")));
            }
            if shape.max.is_some_and(|max| number > max) {
                let max = shape.max.unwrap_or_default();
                found.push(constraint(format!("Member must have value less than or equal to {max}")));
            }
        }
        ("boolean", Value::Bool(_)) | ("timestamp", Value::Number(_)) | ("blob", Value::String(_)) => {}
        (kind, _) => return Err(mistyped(path, kind)),
    }
    Ok(())
}

fn size(shape: &Shape, len: usize) -> Option<String> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    match (shape.min, shape.max) {
        (Some(min), _) if len < min => Some(format!("Member must have length greater than or equal to {min}")),
        (_, Some(max)) if len > max => Some(format!("Member must have length less than or equal to {max}")),
        _ => None,
    }
}

/// Member paths are lowerCamelCase (S 1.19).
fn join(path: &str, name: &str) -> String {
    let (first, rest) = name.split_at(name.chars().next().map_or(0, char::len_utf8));
    let name = format!("{}{rest}", first.to_lowercase());
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// A value as Java prints it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries: Vec<_> = entries.iter().map(|(key, value)| format!("{key}={}", shown(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

fn mistyped(path: &str, wanted: &str) -> AwsError {
    AwsError::new("SerializationException", format!("{path} must be of type {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SSM;
    use serde_json::json;

    fn judge(operation: &str, request: Value) -> Result<(), AwsError> {
        validate(&SSM, SSM.operations[operation].input.as_ref().unwrap(), &request)
    }

    #[test]
    fn all_violations_are_told_at_once() {
        // The form of S 1.19.
        let error = judge("SendCommand", json!({"TimeoutSeconds": 5, "InstanceIds": ["i-1"]})).unwrap_err();
        assert_eq!(error.code, "ValidationException");
        assert_eq!(
            error.message,
            "3 validation errors detected: Value null at 'documentName' failed to satisfy constraint: Member must not \
             be null; Value 'i-1' at 'instanceIds.1.member' failed to satisfy constraint: Member must satisfy regular \
             expression pattern: (^i-(\\w{8}|\\w{17})$)|(^mi-\\w{17}$); Value '5' at 'timeoutSeconds' failed to satisfy \
             constraint: Member must have value greater than or equal to 30"
        );
    }

    #[test]
    fn page_sizes_have_the_ranges_of_the_model() {
        // S 1.23.
        for (operation, base, good, bad) in [
            ("DescribeInstanceInformation", json!({}), [5, 50], [4, 51]),
            ("DescribePatchBaselines", json!({}), [1, 100], [0, 101]),
            ("DescribeInstancePatchStates", json!({"InstanceIds": []}), [10, 100], [9, 101]),
            ("ListCommandInvocations", json!({}), [1, 50], [0, 51]),
        ] {
            let with = |size: i64| {
                let mut request = base.clone();
                request["MaxResults"] = size.into();
                judge(operation, request)
            };
            for size in good {
                assert!(with(size).is_ok(), "{operation} {size}");
            }
            for size in bad {
                assert_eq!(with(size).unwrap_err().code, "ValidationException", "{operation} {size}");
            }
        }
    }

    #[test]
    fn a_value_of_another_type_is_a_serialization_exception() {
        let error = judge("SendCommand", json!({"DocumentName": "AWS-RunPatchBaseline", "InstanceIds": "i-1"}));
        assert_eq!(error.unwrap_err().code, "SerializationException");
    }
}
