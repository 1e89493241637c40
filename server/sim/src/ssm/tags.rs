//! SSM's own tags (S 11.1). EC2 instances are tagged in EC2, and AWS's baselines cannot be tagged (unverified).

use super::{Answer, Call, strings};
use crate::error::AwsError;
use patchplane_rules::BaselineOwner;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Tags per resource (S 11.1.2).
const TAGS: usize = 50;

impl Call<'_> {
    /// Overwrites (S 11.1.3).
    pub(super) fn add_tags_to_resource(&mut self) -> Answer {
        let request = self.request;
        let tags = self.tags_mut()?;
        let all = tags_of(&request["Tags"], Some(tags))?;
        if all.len() > TAGS {
            return Err(AwsError::bare("TooManyTagsError"));
        }
        *tags = all;
        Ok(json!({}))
    }

    pub(super) fn remove_tags_from_resource(&mut self) -> Answer {
        let keys = strings(&self.request["TagKeys"]);
        self.tags_mut()?.retain(|key, _| !keys.contains(&key.as_str()));
        Ok(json!({}))
    }

    /// AWS's baselines carry none.
    pub(super) fn list_tags_for_resource(&mut self) -> Answer {
        let foreign = self.text("ResourceType") == "PatchBaseline"
            && self.place.baseline(self.text("ResourceId")).is_some_and(|b| b.summary.owner == BaselineOwner::Aws);
        let tags = if foreign { BTreeMap::new() } else { self.tags_mut()?.clone() };
        let tags: Vec<_> = tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        Ok(json!({ "TagList": tags }))
    }

    /// The tags of the resource that the request names, if it is there and can be tagged. A hybrid node's tags are
    /// SSM's (S 10.1.10).
    fn tags_mut(&mut self) -> Result<&mut BTreeMap<String, String>, AwsError> {
        let id = self.text("ResourceId").to_owned();
        let unknown = || AwsError::bare("InvalidResourceId");
        match self.text("ResourceType") {
            "PatchBaseline" => {
                let own = self.place.baseline(&id).filter(|b| b.summary.owner == BaselineOwner::Account);
                let id = own.ok_or_else(unknown)?.summary.aws_id.clone();
                Ok(self.place.tags.entry(id).or_default())
            }
            "MaintenanceWindow" => {
                let id = self.place.window(&id).ok_or_else(unknown)?.id.clone();
                Ok(self.place.tags.entry(id).or_default())
            }
            "Association" => {
                let id = self.place.association(&id).ok_or_else(unknown)?.id.clone();
                Ok(self.place.tags.entry(id).or_default())
            }
            "Automation" => {
                let id = self.place.automation(&id).ok_or_else(unknown)?.id.clone();
                Ok(self.place.tags.entry(id).or_default())
            }
            "ManagedInstance" => {
                let node = self.place.nodes.get_mut(&id).filter(|node| node.hybrid);
                Ok(&mut node.ok_or_else(unknown)?.tags)
            }
            _ => Err(unknown()),
        }
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
