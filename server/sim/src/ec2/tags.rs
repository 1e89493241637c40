//! Tags of instances (S 12.6–12.8).

use super::{Answer, Call, admits, bad_filter, strings};
use crate::error::AwsError;
use serde_json::{Value, json};

/// Tags per resource, resources per call (S 12.6).
const TAGS: usize = 50;
const RESOURCES: usize = 1000;

impl Call<'_> {
    pub(super) fn describe_tags(&self) -> Answer {
        let filters = self.filters();
        let known = ["key", "value", "resource-id", "resource-type"];
        if let Some((name, _)) = filters.iter().find(|(name, _)| !known.contains(name) && !name.starts_with("tag:")) {
            return Err(bad_filter(name));
        }
        let mut rows = Vec::new();
        for node in self.place.nodes.values().filter(|node| !node.hybrid) {
            for (key, value) in &node.tags {
                let admitted = filters.iter().all(|(name, values)| match *name {
                    "key" => admits(values, key),
                    "value" => admits(values, value),
                    "resource-id" => admits(values, &node.id),
                    "resource-type" => admits(values, "instance"),
                    _ => *name == format!("tag:{key}") && admits(values, value),
                });
                if admitted {
                    let row = json!({ "Key": key, "ResourceId": node.id, "ResourceType": "instance", "Value": value });
                    rows.push((format!("{}\n{key}", node.id), row));
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
        for node in resources.iter().filter_map(|id| self.place.nodes.get(id)) {
            if let Some((key, _)) = tags.iter().find(|(key, _)| node.metadata_tags && !fits_metadata(key)) {
                let text = format!(
                    "'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and \
                     must not be a reserved name ('.', '..', '_index')"
                );
                return Err(AwsError::new("InvalidParameterValue", text));
            }
            let new = tags.iter().filter(|(key, _)| !node.tags.contains_key(*key)).count();
            if node.tags.len() + new > TAGS {
                let text = format!("More than {TAGS} tags specified for resource '{}'", node.id);
                return Err(AwsError::new("TagLimitExceeded", text));
            }
        }
        for id in resources {
            if let Some(node) = self.place.nodes.get_mut(&id) {
                node.tags.extend(tags.iter().map(|(k, v)| ((*k).to_owned(), v.unwrap_or_default().to_owned())));
            }
        }
        Ok(json!({}))
    }

    /// With a value a tag goes only if it has that value; without tags all go (S 12.6).
    pub(super) fn delete_tags(&mut self) -> Answer {
        let resources = self.resources()?;
        let tags = tags(&self.request["Tags"]);
        for id in resources {
            if let Some(node) = self.place.nodes.get_mut(&id) {
                node.tags.retain(|key, value| {
                    let named = tags.iter().any(|(k, v)| k == key && v.is_none_or(|v| v == value));
                    !(named || tags.is_empty()) || key.starts_with("aws:")
                });
            }
        }
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
        if let Some(id) =
            ids.iter().find(|id| !id.starts_with("i-") || id.parse::<patchplane_rules::InstanceId>().is_err())
        {
            return Err(AwsError::new("InvalidID", format!("The ID '{id}' is not valid")));
        }
        let unknown: Vec<_> = ids.iter().copied().filter(|id| !self.place.nodes.contains_key(*id)).collect();
        if unknown.is_empty() {
            Ok(ids.into_iter().map(str::to_owned).collect())
        } else {
            Err(Self::not_found(&unknown))
        }
    }
}

/// Key, and value if one is given.
fn tags(value: &Value) -> Vec<(&str, Option<&str>)> {
    let tags = value.as_array().map_or(&[][..], Vec::as_slice);
    tags.iter().filter_map(|tag| Some((tag["Key"].as_str()?, tag["Value"].as_str()))).collect()
}

fn check(key: &str, value: &str) -> Result<(), AwsError> {
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
