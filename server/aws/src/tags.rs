//! The tags that put nodes into patch groups: EC2's for instances, Systems Manager's for hybrid nodes (S 10.1.10).

use crate::{
    Aws, Result,
    calls::{ADD_TAGS_TO_RESOURCE, CREATE_TAGS, DELETE_TAGS, LIST_TAGS_FOR_RESOURCE, REMOVE_TAGS_FROM_RESOURCE},
    connect::chunks_of_ids,
};
use aws_sdk_ec2::types as ec2;
use aws_sdk_ssm::types as ssm;
use patchplane_rules::InstanceId;
use std::collections::BTreeMap;

/// S 12.6.
const RESOURCES_A_CALL: usize = 1000;

impl Aws {
    /// Overwrites what the tag was. Safe to repeat; after an error some of the nodes may have it.
    pub async fn set_tag(&self, ids: &[InstanceId], key: &str, value: &str) -> Result<()> {
        let (hybrid, instances): (Vec<_>, Vec<_>) = ids.iter().cloned().partition(InstanceId::is_hybrid);
        for chunk in chunks_of_ids(&instances, RESOURCES_A_CALL) {
            let tag = ec2::Tag::builder().key(key).value(value).build();
            self.ask(&CREATE_TAGS, self.ec2().create_tags().set_resources(Some(chunk)).tags(tag).send()).await?;
        }
        for id in hybrid {
            let tag = ADD_TAGS_TO_RESOURCE.built(ssm::Tag::builder().key(key).value(value).build())?;
            let request = self.ssm().add_tags_to_resource().resource_type(ssm::ResourceTypeForTagging::ManagedInstance);
            self.ask(&ADD_TAGS_TO_RESOURCE, request.resource_id(id.as_str()).tags(tag).send()).await?;
        }
        Ok(())
    }

    /// Removes the tag from those that have it at this value. Safe to repeat; after an error some may have lost it.
    ///
    /// Systems Manager removes by key alone, so a hybrid node's value is read first.
    pub async fn clear_tag(&self, ids: &[InstanceId], key: &str, value: &str) -> Result<()> {
        let (hybrid, instances): (Vec<_>, Vec<_>) = ids.iter().cloned().partition(InstanceId::is_hybrid);
        for chunk in chunks_of_ids(&instances, RESOURCES_A_CALL) {
            let tag = ec2::Tag::builder().key(key).value(value).build();
            self.ask(&DELETE_TAGS, self.ec2().delete_tags().set_resources(Some(chunk)).tags(tag).send()).await?;
        }
        for id in hybrid {
            if self.hybrid_tags(&id).await?.get(key).is_none_or(|found| found != value) {
                continue;
            }
            let request =
                self.ssm().remove_tags_from_resource().resource_type(ssm::ResourceTypeForTagging::ManagedInstance);
            self.ask(&REMOVE_TAGS_FROM_RESOURCE, request.resource_id(id.as_str()).tag_keys(key).send()).await?;
        }
        Ok(())
    }

    /// A hybrid node's tags. `NotFound`: no such node.
    pub async fn hybrid_tags(&self, id: &InstanceId) -> Result<BTreeMap<String, String>> {
        let request = self.ssm().list_tags_for_resource().resource_type(ssm::ResourceTypeForTagging::ManagedInstance);
        let answer = self.ask(&LIST_TAGS_FOR_RESOURCE, request.resource_id(id.as_str()).send()).await?;
        Ok(answer.tag_list().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
    }
}
