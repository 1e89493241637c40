//! Instances as EC2 sees them, and nodes as Systems Manager does.

use crate::{
    Aws, ErrorKind, Page, PageOf, Result,
    calls::{DESCRIBE_INSTANCE_INFORMATION, DESCRIBE_INSTANCES},
    page, values,
};
use aws_sdk_ec2::types as ec2;
use aws_sdk_ssm::types as ssm;
use patchplane_rules::{InstanceId, ManagedNode, PingStatus, PowerState, Sighting, VirtualMachine};
use std::collections::BTreeMap;

/// EC2 takes 200 values for one filter.
const IDS_A_FILTER: usize = 200;
/// The page size of DescribeInstanceInformation, so that each chunk is one page (S 10.1.5).
const NODES_A_CALL: usize = 50;

/// Which instances of EC2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmFilter {
    All,
    /// Those of them that exist; hybrid ids never do (S 12.13).
    Ids(Vec<InstanceId>),
    /// With this tag at any of these values, exactly.
    Tag {
        key: String,
        values: Vec<String>,
    },
    /// With this tag, whatever its value.
    TagKey(String),
}

/// Which nodes of Systems Manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeFilter {
    All,
    /// Those outside EC2, `mi-…`.
    Hybrid,
    /// Those of them that are registered.
    Ids(Vec<InstanceId>),
    Tag {
        key: String,
        value: String,
    },
}

// === Both ===

impl Aws {
    /// What EC2 and Systems Manager know of these instances together: one entry for each id, empty for unknown ones.
    pub async fn sightings(&self, ids: &[InstanceId]) -> Result<BTreeMap<InstanceId, Sighting>> {
        let mut found: BTreeMap<InstanceId, Sighting> =
            ids.iter().map(|id| (id.clone(), Sighting::default())).collect();
        let vms = self.vms(&VmFilter::Ids(ids.to_vec())).await?;
        let nodes = self.nodes(&NodeFilter::Ids(ids.to_vec())).await?;
        self.unite(vms, nodes, &mut found).await?;
        Ok(found)
    }

    /// The same of every instance here, terminated ones included for as long as EC2 shows them.
    pub async fn fleet(&self) -> Result<BTreeMap<InstanceId, Sighting>> {
        let mut found = BTreeMap::new();
        let (vms, nodes) = (self.vms(&VmFilter::All).await?, self.nodes(&NodeFilter::All).await?);
        self.unite(vms, nodes, &mut found).await?;
        Ok(found)
    }

    /// A hybrid node's tags cost a call for each: Systems Manager tells them in no other way.
    async fn unite(
        &self,
        vms: Vec<VirtualMachine>,
        nodes: Vec<ManagedNode>,
        found: &mut BTreeMap<InstanceId, Sighting>,
    ) -> Result<()> {
        for vm in vms {
            let sighting = found.entry(vm.id.clone()).or_default();
            sighting.tags.clone_from(&vm.tags);
            sighting.vm = Some(vm);
        }
        for node in nodes {
            let sighting = found.entry(node.id.clone()).or_default();
            if node.id.is_hybrid() {
                sighting.tags = self.hybrid_tags(&node.id).await?;
            }
            sighting.node = Some(node);
        }
        Ok(())
    }
}

// === EC2 ===

impl Aws {
    /// Terminated ones included, for as long as EC2 shows them (S 2.14).
    pub async fn vms(&self, filter: &VmFilter) -> Result<Vec<VirtualMachine>> {
        let VmFilter::Ids(ids) = filter else {
            return page::all(&DESCRIBE_INSTANCES, |page| self.vms_page(filter, page)).await;
        };
        let mut vms = Vec::new();
        for chunk in ids.chunks(IDS_A_FILTER) {
            let filter = VmFilter::Ids(chunk.to_vec());
            vms.extend(page::all(&DESCRIBE_INSTANCES, |page| self.vms_page(&filter, page)).await?);
        }
        Ok(vms)
    }

    /// 5 to 1000 rows. Ids beyond 200 are more than EC2 takes at once: `vms` divides them.
    pub async fn vms_page(&self, filter: &VmFilter, page: Page) -> Result<PageOf<VirtualMachine>> {
        // The InstanceIds member would fail the whole call for one unknown id (S 2.12), and takes no page size (S 2.11).
        let filter = match filter {
            VmFilter::All => None,
            VmFilter::Ids(ids) => {
                let ids: Vec<_> = ids.iter().filter(|id| !id.is_hybrid()).map(|id| id.as_str().to_owned()).collect();
                Some(("instance-id".to_owned(), ids))
            }
            VmFilter::Tag { key, values } => Some((format!("tag:{key}"), values.iter().map(|v| literal(v)).collect())),
            VmFilter::TagKey(key) => Some(("tag-key".to_owned(), vec![literal(key)])),
        };
        let mut request =
            self.ec2().describe_instances().max_results(page.size_within(5..=1000)).set_next_token(page.token);
        if let Some((name, values)) = filter {
            if values.is_empty() {
                return Ok(PageOf::new(Vec::new(), None));
            }
            request = request.filters(ec2::Filter::builder().name(name).set_values(Some(values)).build());
        }
        let answer = self.ask(&DESCRIBE_INSTANCES, request.send()).await?;
        let instances = answer.reservations().iter().flat_map(|reservation| reservation.instances());
        Ok(PageOf::new(instances.filter_map(virtual_machine).collect(), answer.next_token))
    }
}

/// `*` and `?` are wildcards in EC2's filters (S 2.13) unless a backslash precedes them.
fn literal(value: &str) -> String {
    let escaped = |c: char| matches!(c, '*' | '?' | '\\').then_some('\\').into_iter().chain([c]);
    value.chars().flat_map(escaped).collect()
}

fn virtual_machine(row: &ec2::Instance) -> Option<VirtualMachine> {
    let id = values::key(row.instance_id())?;
    let Some(state) = power_state(row.state()) else {
        tracing::warn!(instance.id = %id, state = ?row.state(), "left out an instance in an unknown state");
        return None;
    };
    let tags = row.tags().iter().map(|tag| (values::text(tag.key()), values::text(tag.value())));
    let options = row.metadata_options().and_then(|options| options.instance_metadata_tags());
    Some(VirtualMachine {
        id,
        state,
        tags: tags.collect(),
        metadata_tags: options == Some(&ec2::InstanceMetadataTagsState::Enabled),
        instance_profile_arn: row.iam_instance_profile().and_then(|profile| profile.arn()).map(str::to_owned),
        image_id: values::text(row.image_id()),
        instance_type: values::text(row.instance_type().map(|kind| kind.as_str())),
        private_ip: row.private_ip_address().map(str::to_owned),
        public_ip: row.public_ip_address().map(str::to_owned).filter(|ip| !ip.is_empty()),
        vpc_id: values::text(row.vpc_id()),
        subnet_id: values::text(row.subnet_id()),
        security_group_ids: row.security_groups().iter().filter_map(|g| g.group_id()).map(str::to_owned).collect(),
        launch_time: values::timestamp(row.launch_time()),
    })
}

/// Only the low byte of the code counts (S 12.5).
fn power_state(state: Option<&ec2::InstanceState>) -> Option<PowerState> {
    Some(match state?.code()? & 0xff {
        0 => PowerState::Pending,
        16 => PowerState::Running,
        32 => PowerState::ShuttingDown,
        48 => PowerState::Terminated,
        64 => PowerState::Stopping,
        80 => PowerState::Stopped,
        _ => return None,
    })
}

// === Systems Manager ===

impl Aws {
    /// Stopped and terminated instances are not among them, nor are those that never registered (S 10.1.1, 10.1.2).
    pub async fn nodes(&self, filter: &NodeFilter) -> Result<Vec<ManagedNode>> {
        match filter {
            NodeFilter::All => self.nodes_where(None).await,
            NodeFilter::Hybrid => {
                self.nodes_where(Some(("ResourceType".to_owned(), vec!["ManagedInstance".to_owned()]))).await
            }
            NodeFilter::Tag { key, value } => self.nodes_where(Some((format!("tag:{key}"), vec![value.clone()]))).await,
            NodeFilter::Ids(ids) => self.nodes_by_id(ids).await,
        }
    }

    /// One unknown id may fail its whole chunk (S 10.1.4, unverified): halves are asked for until it is alone.
    async fn nodes_by_id(&self, ids: &[InstanceId]) -> Result<Vec<ManagedNode>> {
        let mut nodes = Vec::new();
        let mut chunks: Vec<&[InstanceId]> = ids.chunks(NODES_A_CALL).rev().collect();
        while let Some(chunk) = chunks.pop() {
            let values = chunk.iter().map(|id| id.as_str().to_owned()).collect();
            match self.nodes_where(Some(("InstanceIds".to_owned(), values))).await {
                Ok(found) => nodes.extend(found),
                Err(error) if error.kind != ErrorKind::InvalidInstance => return Err(error),
                Err(_) if chunk.len() == 1 => {}
                Err(_) => {
                    let (first, second) = chunk.split_at(chunk.len() / 2);
                    chunks.extend([second, first]);
                }
            }
        }
        Ok(nodes)
    }

    async fn nodes_where(&self, filter: Option<(String, Vec<String>)>) -> Result<Vec<ManagedNode>> {
        let call = &DESCRIBE_INSTANCE_INFORMATION;
        let filter = filter.map(|(key, values)| {
            ssm::InstanceInformationStringFilter::builder().key(key).set_values(Some(values)).build()
        });
        let filter = filter.map(|filter| call.built(filter)).transpose()?;
        page::all(call, async |page: Page| {
            let request = self.ssm().describe_instance_information().max_results(page.size_within(5..=50));
            let request = request.set_filters(filter.clone().map(|filter| vec![filter])).set_next_token(page.token);
            let answer = self.ask(call, request.send()).await?;
            let items = answer.instance_information_list().iter().filter_map(managed_node).collect();
            Ok(PageOf::new(items, answer.next_token))
        })
        .await
    }
}

fn managed_node(row: &ssm::InstanceInformation) -> Option<ManagedNode> {
    Some(ManagedNode {
        id: values::key(row.instance_id())?,
        // A status that we do not know is not taken for a node that answers.
        ping: match row.ping_status() {
            Some(ssm::PingStatus::Online) => PingStatus::Online,
            Some(ssm::PingStatus::Inactive) => PingStatus::Inactive,
            _ => PingStatus::ConnectionLost,
        },
        last_ping: values::timestamp(row.last_ping_date_time()),
        agent_version: values::text(row.agent_version()),
        platform_type: values::text(row.platform_type().map(|kind| kind.as_str())),
        platform_name: values::text(row.platform_name()),
        platform_version: values::text(row.platform_version()),
        computer_name: values::text(row.computer_name()),
        ip_address: values::text(row.ip_address()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_byte_of_the_code_is_the_state() {
        // S 12.5.
        let state = |code| power_state(Some(&ec2::InstanceState::builder().code(code).build()));
        assert_eq!(state(16), Some(PowerState::Running));
        assert_eq!(state(0x0100 | 80), Some(PowerState::Stopped));
        assert_eq!(state(17), None);
        assert_eq!(power_state(None), None);
    }

    #[test]
    fn wildcards_in_a_value_are_taken_literally() {
        assert_eq!(literal(r"web-*?\1"), r"web-\*\?\\1");
        assert_eq!(literal("Patch Group"), "Patch Group");
    }

    #[test]
    fn an_instance_with_a_strange_id_is_left_out() {
        let running = ec2::InstanceState::builder().code(16).build();
        let row = |id: &str| ec2::Instance::builder().instance_id(id).state(running.clone()).build();
        assert!(virtual_machine(&row("i-0123456789abcdef0")).is_some());
        assert!(virtual_machine(&row("vm-1")).is_none());
    }
}
