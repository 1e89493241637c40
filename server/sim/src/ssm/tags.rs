//! SSM's own tags (S 11.1). EC2 instances are tagged in EC2, and AWS's baselines cannot be tagged (unverified).

use super::{Answer, Call, strings};
use crate::error::AwsError;
use patchplane_rules::{Baseline, BaselineOwner};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Tags per resource (S 11.1.2).
const TAGS: usize = 50;

impl Call<'_> {
    /// Overwrites (S 11.1.3).
    pub(super) fn add_tags_to_resource(&mut self) -> Answer {
        let id = self.taggable()?;
        let tags = tags_of(&self.request["Tags"], self.place.tags.get(&id))?;
        if tags.len() > TAGS {
            return Err(AwsError::bare("TooManyTagsError"));
        }
        self.place.tags.insert(id, tags);
        Ok(json!({}))
    }

    pub(super) fn remove_tags_from_resource(&mut self) -> Answer {
        let id = self.taggable()?;
        let keys = strings(&self.request["TagKeys"]);
        if let Some(tags) = self.place.tags.get_mut(&id) {
            tags.retain(|key, _| !keys.contains(&key.as_str()));
        }
        Ok(json!({}))
    }

    pub(super) fn list_tags_for_resource(&self) -> Answer {
        // AWS's baselines carry no tags.
        if self.text("ResourceType") == "PatchBaseline" && self.place.baseline(self.text("ResourceId")).is_some() {
            let tags = self.taggable().ok().and_then(|id| self.place.tags.get(&id));
            return Ok(json!({ "TagList": tag_list(tags) }));
        }
        let id = self.taggable()?;
        Ok(json!({ "TagList": tag_list(self.place.tags.get(&id)) }))
    }

    /// The resource that the request names, if it is there and can be tagged.
    fn taggable(&self) -> Result<String, AwsError> {
        let id = self.text("ResourceId");
        let own = |baseline: &&Baseline| baseline.summary.owner == BaselineOwner::Account;
        let found = match self.text("ResourceType") {
            "PatchBaseline" => self.place.baseline(id).filter(own).map(|baseline| baseline.summary.aws_id.clone()),
            "MaintenanceWindow" => self.place.window(id).map(|window| window.id.clone()),
            _ => None,
        };
        found.ok_or_else(|| AwsError::bare("InvalidResourceId"))
    }
}

/// A request's tags, over those that are there.
pub(super) fn tags_of(
    tags: &Value,
    before: Option<&BTreeMap<String, String>>,
) -> Result<BTreeMap<String, String>, AwsError> {
    let mut all = before.cloned().unwrap_or_default();
    for tag in tags.as_array().map_or(&[][..], Vec::as_slice) {
        let text = |member: &str| tag[member].as_str().unwrap_or_default().to_owned();
        if text("Key").starts_with("aws:") {
            return Err(AwsError::validation("Tag keys starting with 'aws:' are reserved for internal use"));
        }
        all.insert(text("Key"), text("Value"));
    }
    Ok(all)
}

fn tag_list(tags: Option<&BTreeMap<String, String>>) -> Vec<Value> {
    tags.into_iter().flatten().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
}
