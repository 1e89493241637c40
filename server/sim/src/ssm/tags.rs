//! SSM's own tags (S 11.1). EC2 instances are tagged in EC2, and AWS's baselines cannot be tagged: as this account
//! holds neither hybrid nodes nor baselines of its own, there is nothing to tag yet.

use super::{Answer, Call};
use crate::error::AwsError;
use serde_json::json;

impl Call<'_> {
    pub(super) fn add_tags_to_resource(&self) -> Answer {
        Err(AwsError::bare("InvalidResourceId"))
    }

    pub(super) fn remove_tags_from_resource(&self) -> Answer {
        Err(AwsError::bare("InvalidResourceId"))
    }

    /// AWS's baselines carry no tags.
    pub(super) fn list_tags_for_resource(&self) -> Answer {
        match (self.text("ResourceType"), self.place.baseline(self.text("ResourceId"))) {
            ("PatchBaseline", Some(_)) => Ok(json!({ "TagList": [] })),
            _ => Err(AwsError::bare("InvalidResourceId")),
        }
    }
}
