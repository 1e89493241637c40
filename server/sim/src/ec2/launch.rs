//! RunInstances, and the operations that start, stop, reboot and terminate instances (S 12.3–12.5).

use super::{Answer, Call, image_platform, strings, tags};
use crate::{
    dice::Dice,
    error::AwsError,
    fleet::{NodeBuilder, ROOT_DEVICE},
    network::Network,
    node::{Node, Volume},
    power::Power,
    window::Members,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// More than an account may launch at once.
const MOST_INSTANCES: u64 = 1000;

impl Call<'_> {
    /// Any well-formed AMI id will do: one that is none of DescribeImages' is Amazon Linux 2. The instances are pending for
    /// some seconds; some more, and they are managed.
    pub(super) fn run_instances(&mut self) -> Answer {
        let request = self.request;
        let token = request["ClientToken"].as_str().unwrap_or_default();
        let key = ("RunInstances".to_owned(), token.to_owned());
        if let Some((before, answer)) = self.place.tokens.get(&key).filter(|_| !token.is_empty()) {
            let text = "The request uses the same client token as a previous, but non-identical request.";
            let mismatch = || AwsError::new("IdempotentParameterMismatch", text);
            let reservation = answer["ReservationId"].clone();
            return if before == request { Ok(self.reservation(&reservation)) } else { Err(mismatch()) };
        }
        if !request["LaunchTemplate"].is_null() {
            let text = "The specified launch template does not exist.";
            return Err(AwsError::new("InvalidLaunchTemplateName.NotFoundException", text));
        }
        let image = request["ImageId"].as_str().ok_or_else(|| super::missing("ImageId"))?;
        super::well_formed("ami-", image)
            .map_err(|()| AwsError::new("InvalidAMIID.Malformed", format!("Invalid id: \"{image}\"")))?;
        let count = |member: &str| request[member].as_u64().unwrap_or_default();
        let (least, most) = (count("MinCount"), count("MaxCount"));
        if least == 0 || least > most {
            let text = format!("Value ({least}) for parameter minCount is invalid. It must be 1 to maxCount ({most}).");
            return Err(AwsError::new("InvalidParameterValue", text));
        }
        if least > MOST_INSTANCES {
            let text =
                format!("You have requested more instances ({least}) than your limit of {MOST_INSTANCES} allows.");
            return Err(AwsError::new("InstanceLimitExceeded", text));
        }
        let network = self.launch_network()?;
        let given = self.given_tags("instance")?;
        let of_volumes = self.given_tags("volume")?;
        let volumes = self.launch_volumes();
        let launch = self.launch_members();
        let reservation = format!("r-0{}", self.place.new_id("reservation").hex(16));
        let platform = image_platform(image);
        for index in 0..most.min(MOST_INSTANCES) {
            let ordinal = self.place.nodes_made;
            self.place.nodes_made += 1;
            let mut dice = Dice::new(self.place.seed, &["launched", &ordinal.to_string()]);
            let missing = usize::try_from(dice.between(1, 6)).unwrap_or(1);
            let builder = NodeBuilder::new(None, 1).of_platform(platform).in_network(network).missing_patches(missing);
            let name = given.get("Name").cloned().unwrap_or_default();
            let mut node = builder.node(self.place, ordinal, name, reservation.clone(), self.now);
            node.launched = self.now;
            (node.managed, node.profile, node.role) = (false, !request["IamInstanceProfile"].is_null(), None);
            node.metadata_tags = request["MetadataOptions"]["InstanceMetadataTags"] == "enabled";
            node.agent.started = self.now;
            node.tags.clone_from(&given);
            node.launch.clone_from(&launch);
            node.launch.insert("AmiLaunchIndex".to_owned(), index.into());
            self.fit_volumes(&mut node, &volumes, &of_volumes);
            let id = node.id.clone();
            self.place.nodes.insert(id.clone(), node);
            self.place.change_power(&id, Power::Pending, self.now);
        }
        let answer = self.reservation(&reservation.clone().into());
        if !token.is_empty() {
            self.place.tokens.insert(key, (request.clone(), json!({ "ReservationId": reservation })));
        }
        Ok(answer)
    }

    fn reservation(&self, id: &Value) -> Value {
        let instances: Vec<Value> =
            self.place.instances().filter(|node| node.reservation == *id).map(|node| self.instance(node)).collect();
        json!({ "ReservationId": id, "OwnerId": self.place.account, "Groups": [], "Instances": instances })
    }

    /// That of the subnet and the security groups, which must be there.
    fn launch_network(&self) -> Result<Network, AwsError> {
        let interface = &self.request["NetworkInterfaces"][0];
        let subnet = self.request["SubnetId"].as_str().or(interface["SubnetId"].as_str());
        let all = [Network::Nat, Network::Isolated, Network::Endpoints];
        let network = match subnet {
            None => Network::Nat,
            Some(id) => {
                let text = format!("The subnet ID '{id}' does not exist");
                let network = all.into_iter().find(|network| self.place.network_id(network.subnet()) == id);
                network.ok_or_else(|| AwsError::new("InvalidSubnetID.NotFound", text))?
            }
        };
        let (closed, _) = Network::Closed.group();
        let ids = strings(&self.request["SecurityGroupIds"]).into_iter().chain(strings(&interface["Groups"]));
        let groups = self.place.security_groups();
        let mut is_closed = false;
        for id in ids {
            if !groups.iter().any(|group| group["GroupId"] == id) {
                let text = format!("The security group '{id}' does not exist");
                return Err(AwsError::new("InvalidGroup.NotFound", text));
            }
            is_closed |= id == self.place.network_id(closed);
        }
        Ok(if is_closed && network == Network::Nat { Network::Closed } else { network })
    }

    /// What the request says of an instance, under the names of an answer.
    fn launch_members(&self) -> Members {
        let mut launch = Members::new();
        for name in
            ["ImageId", "InstanceType", "KeyName", "ClientToken", "EbsOptimized", "CpuOptions", "MetadataOptions"]
        {
            if !self.request[name].is_null() {
                launch.insert(name.to_owned(), self.request[name].clone());
            }
        }
        launch.entry("InstanceType").or_insert_with(|| "m1.small".into());
        let profile = &self.request["IamInstanceProfile"];
        if let Some(name) = profile["Name"].as_str().or_else(|| profile["Arn"].as_str()?.rsplit('/').next()) {
            launch.insert("ProfileName".to_owned(), name.into());
        }
        launch
    }

    /// Device, size in GiB, type, and whether it goes with the instance.
    fn launch_volumes(&self) -> Vec<(String, Option<i64>, String, bool)> {
        let mappings = self.request["BlockDeviceMappings"].as_array().map_or(&[][..], Vec::as_slice);
        let with_volume = mappings.iter().filter(|mapping| mapping["Ebs"].is_object());
        let read = |mapping: &Value| {
            let ebs = &mapping["Ebs"];
            let kind = ebs["VolumeType"].as_str().unwrap_or("gp3").to_owned();
            let device = mapping["DeviceName"].as_str().unwrap_or(ROOT_DEVICE).to_owned();
            (device, ebs["VolumeSize"].as_i64(), kind, ebs["DeleteOnTermination"].as_bool().unwrap_or(true))
        };
        with_volume.map(read).collect()
    }

    fn fit_volumes(
        &mut self,
        node: &mut Node,
        volumes: &[(String, Option<i64>, String, bool)],
        tags: &BTreeMap<String, String>,
    ) {
        for (device, size, kind, deleted_on_termination) in volumes.iter().cloned() {
            if device == ROOT_DEVICE {
                let root = &mut node.volumes[0];
                (root.size, root.kind, root.deleted_on_termination) =
                    (size.unwrap_or(root.size), kind, deleted_on_termination);
            } else {
                let id = format!("vol-0{}", Dice::new(self.place.seed, &["volume", &node.id, &device]).hex(16));
                node.volumes.push(Volume { id, device, size: size.unwrap_or(8), kind, deleted_on_termination });
            }
        }
        if !tags.is_empty() {
            for volume in &node.volumes {
                self.place.ec2_tags.insert(volume.id.clone(), tags.clone());
            }
        }
    }

    pub(super) fn start_instances(&mut self) -> Answer {
        let allowed = [Power::Stopped, Power::Running, Power::Pending];
        self.change("StartingInstances", Power::Pending, &allowed, Power::Stopped, "started")
    }

    pub(super) fn stop_instances(&mut self) -> Answer {
        let allowed = [Power::Stopped, Power::Running, Power::Stopping];
        self.change("StoppingInstances", Power::Stopping, &allowed, Power::Running, "stopped")
    }

    pub(super) fn terminate_instances(&mut self) -> Answer {
        let all = [Power::Pending, Power::Running, Power::Stopping, Power::Stopped];
        self.change_from("TerminatingInstances", Power::ShuttingDown, &all)
    }

    /// Says nothing about success; what is not running is left alone (S 12.3).
    pub(super) fn reboot_instances(&mut self) -> Answer {
        for id in self.instance_ids()? {
            self.place.reboot_by_ec2(&id, self.now);
        }
        Ok(json!({}))
    }

    /// All or nothing: an instance in another state than the allowed ones refuses the whole request.
    fn change(&mut self, member: &str, to: Power, allowed: &[Power], from: Power, word: &str) -> Answer {
        for id in self.instance_ids()? {
            if self.place.nodes.get(&id).is_some_and(|node| !allowed.contains(&node.power)) {
                let text = format!("The instance '{id}' is not in a state from which it can be {word}.");
                return Err(AwsError::new("IncorrectInstanceState", text));
            }
        }
        self.change_from(member, to, &[from])
    }

    fn change_from(&mut self, member: &str, to: Power, from: &[Power]) -> Answer {
        let state = |power: Power| json!({ "Code": power.code(), "Name": power.name() });
        let mut changes = Vec::new();
        for id in self.instance_ids()? {
            let Some(before) = self.place.nodes.get(&id).map(|node| node.power) else { continue };
            if from.contains(&before) {
                self.place.change_power(&id, to, self.now);
            }
            let after = self.place.nodes.get(&id).map_or(before, |node| node.power);
            changes.push(json!({ "InstanceId": id, "PreviousState": state(before), "CurrentState": state(after) }));
        }
        Ok(json!({ member: changes }))
    }

    fn instance_ids(&self) -> Result<Vec<String>, AwsError> {
        let ids = strings(&self.request["InstanceIds"]);
        if ids.is_empty() {
            return Err(super::missing("InstanceId"));
        }
        self.known_instances(&ids)?;
        Ok(ids.into_iter().map(str::to_owned).collect())
    }

    /// The tags that a creation gives to resources of this type.
    pub(super) fn given_tags(&self, of: &str) -> Result<BTreeMap<String, String>, AwsError> {
        let specifications = self.request["TagSpecifications"].as_array().map_or(&[][..], Vec::as_slice);
        let mut all = BTreeMap::new();
        for specification in specifications {
            for (key, value) in tags::tags(&specification["Tags"]) {
                tags::check(key, value.unwrap_or_default())?;
                if specification["ResourceType"] == of {
                    all.insert(key.to_owned(), value.unwrap_or_default().to_owned());
                }
            }
        }
        if all.len() > tags::TAGS {
            return Err(AwsError::new("TagLimitExceeded", format!("More than {} tags specified", tags::TAGS)));
        }
        Ok(all)
    }
}
