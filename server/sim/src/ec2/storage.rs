//! Images, volumes and snapshots (S 12.1–12.2).

use super::{Answer, Call, date_time, network::Kind, strings};
use crate::{
    account::Snapshot, clock::later, dice::Dice, error::AwsError, node::Node, platform::Platform, power::Power,
};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// How often a volume's snapshot can be taken (S 12.2; the interval is unverified).
const SNAPSHOT_EVERY: SignedDuration = SignedDuration::from_secs(15);

const IMAGES: Kind = Kind {
    member: "Images",
    ids: "ImageIds",
    prefix: "ami-",
    not_found: "InvalidAMIID.NotFound",
    malformed: "InvalidAMIID.Malformed",
    id: "ImageId",
    filters: &[
        ("image-id", "ImageId"),
        ("name", "Name"),
        ("description", "Description"),
        ("architecture", "Architecture"),
        ("platform", "Platform"),
        ("owner-id", "OwnerId"),
        ("owner-alias", "ImageOwnerAlias"),
        ("root-device-type", "RootDeviceType"),
        ("virtualization-type", "VirtualizationType"),
        ("is-public", "Public"),
        ("state", "State"),
        ("image-type", "ImageType"),
    ],
};

const VOLUMES: Kind = Kind {
    member: "Volumes",
    ids: "VolumeIds",
    prefix: "vol-",
    not_found: "InvalidVolume.NotFound",
    malformed: "InvalidParameterValue",
    id: "VolumeId",
    filters: &[
        ("volume-id", "VolumeId"),
        ("status", "State"),
        ("size", "Size"),
        ("volume-type", "VolumeType"),
        ("availability-zone", "AvailabilityZone"),
        ("encrypted", "Encrypted"),
        ("attachment.instance-id", "Attachments/*/InstanceId"),
        ("attachment.device", "Attachments/*/Device"),
        ("attachment.status", "Attachments/*/State"),
        ("attachment.delete-on-termination", "Attachments/*/DeleteOnTermination"),
    ],
};

const SNAPSHOTS: Kind = Kind {
    member: "Snapshots",
    ids: "SnapshotIds",
    prefix: "snap-",
    not_found: "InvalidSnapshot.NotFound",
    malformed: "InvalidSnapshotID.Malformed",
    id: "SnapshotId",
    filters: &[
        ("snapshot-id", "SnapshotId"),
        ("volume-id", "VolumeId"),
        ("volume-size", "VolumeSize"),
        ("status", "State"),
        ("progress", "Progress"),
        ("owner-id", "OwnerId"),
        ("description", "Description"),
        ("encrypted", "Encrypted"),
        ("start-time", "StartTime"),
        ("storage-tier", "StorageTier"),
    ],
};

impl Call<'_> {
    /// AWS's own. Of a well-formed id that is none of them it says what RunInstances makes of it.
    pub(super) fn describe_images(&self) -> Answer {
        let mut rows: Vec<Value> = Platform::ALL.iter().map(|platform| image(*platform, platform.image())).collect();
        for id in strings(&self.request["ImageIds"]) {
            if !rows.iter().any(|row| row["ImageId"] == id) {
                rows.push(image(Platform::AmazonLinux2, id));
            }
        }
        let owners = strings(&self.request["Owners"]);
        rows.retain(|row| owners.is_empty() || owners.iter().any(|o| *o == "amazon" || row["OwnerId"] == *o));
        self.list(&IMAGES, rows)
    }

    pub(super) fn describe_volumes(&self) -> Answer {
        self.no_page_of_ids(&VOLUMES)?;
        let rows = self.place.instances().filter(|node| node.power != Power::Terminated);
        self.list(&VOLUMES, rows.flat_map(|node| self.volumes(node)).collect())
    }

    /// The account's own only: those that others share are not simulated.
    pub(super) fn describe_snapshots(&self) -> Answer {
        let owners = strings(&self.request["OwnerIds"]);
        let own = owners.is_empty() || owners.iter().any(|owner| *owner == "self" || *owner == self.place.account);
        let rows = self.place.snapshots.iter().filter(|_| own).map(|snapshot| self.snapshot(snapshot)).collect();
        self.list(&SNAPSHOTS, rows)
    }

    pub(super) fn create_snapshot(&mut self) -> Answer {
        let id = self.request["VolumeId"].as_str().unwrap_or_default().to_owned();
        let text = format!("The volume '{id}' does not exist.");
        let volume = self.place.instances().filter(|node| node.power != Power::Terminated).find_map(|node| {
            node.volumes.iter().find(|volume| volume.id == id).map(|volume| (volume.id.clone(), volume.size))
        });
        let volume = volume.ok_or_else(|| AwsError::new("InvalidVolume.NotFound", text))?;
        let tags = self.given_tags("snapshot")?;
        let snapshot = self.take(volume, tags)?;
        Ok(self.snapshot(&snapshot))
    }

    /// Of all volumes of an instance at once (S 12.1).
    pub(super) fn create_snapshots(&mut self) -> Answer {
        let of = &self.request["InstanceSpecification"];
        let id = of["InstanceId"].as_str().ok_or_else(|| super::missing("InstanceSpecification.InstanceId"))?;
        self.known_instances(&[id])?;
        let excluded = strings(&of["ExcludeDataVolumeIds"]);
        let tags = self.given_tags("snapshot")?;
        let copied = self.request["CopyTagsFromSource"] == "volume";
        let volumes = self.place.nodes.get(id).map_or(&[][..], |node| &node.volumes);
        let without_root = usize::from(of["ExcludeBootVolume"] == true);
        let volumes: Vec<_> =
            volumes.iter().skip(without_root).filter(|v| !excluded.contains(&v.id.as_str())).collect();
        let volumes: Vec<_> = volumes.into_iter().map(|volume| (volume.id.clone(), volume.size)).collect();
        let mut rows = Vec::new();
        for volume in volumes {
            let mut all = self.place.ec2_tags.get(&volume.0).filter(|_| copied).cloned().unwrap_or_default();
            all.extend(tags.clone());
            let snapshot = self.take(volume, all)?;
            rows.push(self.snapshot(&snapshot));
        }
        Ok(json!({ "Snapshots": rows }))
    }

    pub(super) fn delete_snapshot(&mut self) -> Answer {
        let id = self.request["SnapshotId"].as_str().unwrap_or_default();
        if super::well_formed("snap-", id).is_err() {
            return Err(AwsError::new("InvalidSnapshotID.Malformed", format!("Invalid id: \"{id}\"")));
        }
        let before = self.place.snapshots.len();
        self.place.snapshots.retain(|snapshot| snapshot.id != id);
        if self.place.snapshots.len() == before {
            return Err(AwsError::new("InvalidSnapshot.NotFound", format!("The snapshot '{id}' does not exist.")));
        }
        self.place.ec2_tags.remove(id);
        Ok(json!({}))
    }

    fn take(&mut self, (volume, size): (String, i64), tags: BTreeMap<String, String>) -> Result<Snapshot, AwsError> {
        let last = self.place.snapshots.iter().rfind(|snapshot| snapshot.volume == volume);
        if last.is_some_and(|last| self.now.duration_since(last.started) < SNAPSHOT_EVERY) {
            let text = "The maximum per volume CreateSnapshot request rate has been exceeded.";
            return Err(AwsError::new("SnapshotCreationPerVolumeRateExceeded", text));
        }
        let mut dice = self.place.new_id("snapshot");
        let snapshot = Snapshot {
            id: format!("snap-0{}", dice.hex(16)),
            volume,
            size,
            description: self.request["Description"].as_str().unwrap_or_default().to_owned(),
            started: self.now,
            completes: later(self.now, Duration::from_secs(dice.between(30, 60))),
        };
        if !tags.is_empty() {
            self.place.ec2_tags.insert(snapshot.id.clone(), tags);
        }
        self.place.snapshots.push(snapshot.clone());
        Ok(snapshot)
    }

    fn snapshot(&self, snapshot: &Snapshot) -> Value {
        let done = snapshot.completes <= self.now;
        json!({
            "SnapshotId": snapshot.id,
            "VolumeId": snapshot.volume,
            "VolumeSize": snapshot.size,
            "Description": snapshot.description,
            "State": if done { "completed" } else { "pending" },
            "Progress": if done { "100%" } else { "0%" },
            "StartTime": date_time(snapshot.started),
            "OwnerId": self.place.account,
            "Encrypted": false,
            "StorageTier": "standard",
            "Tags": self.tags_of(&snapshot.id),
        })
    }

    fn volumes(&self, node: &Node) -> Vec<Value> {
        let row = |volume: &crate::node::Volume| {
            json!({
                "VolumeId": volume.id,
                "Size": volume.size,
                "VolumeType": volume.kind,
                "State": "in-use",
                "Encrypted": false,
                "SnapshotId": format!("snap-0{}", Dice::new(self.place.seed, &["image", node.platform.image()]).hex(16)),
                "AvailabilityZone": format!("{}a", self.place.region),
                "CreateTime": date_time(node.launched),
                "Iops": 3000,
                "MultiAttachEnabled": false,
                "Attachments": [{
                    "VolumeId": volume.id,
                    "InstanceId": node.id,
                    "Device": volume.device,
                    "State": "attached",
                    "AttachTime": date_time(node.launched),
                    "DeleteOnTermination": volume.deleted_on_termination,
                }],
                "Tags": [],
            })
        };
        node.volumes.iter().map(row).collect()
    }
}

fn image(platform: Platform, id: &str) -> Value {
    let name = platform.image_name();
    let windows = platform.is_windows();
    let snapshot = format!("snap-0{}", Dice::new(0, &["image", id]).hex(16));
    json!({
        "ImageId": id,
        "Name": name,
        "Description": format!("{} {}", platform.platform_name(), platform.platform_version()),
        "ImageLocation": format!("amazon/{name}"),
        "ImageOwnerAlias": "amazon",
        "ImageType": "machine",
        "OwnerId": "137112412989",
        "Public": true,
        "State": "available",
        "Architecture": "x86_64",
        "CreationDate": "2025-10-14T18:21:03.000Z",
        "Platform": windows.then_some("windows"),
        "PlatformDetails": if windows { "Windows" } else { "Linux/UNIX" },
        "UsageOperation": if windows { "RunInstances:0002" } else { "RunInstances" },
        "EnaSupport": true,
        "SriovNetSupport": "simple",
        "Hypervisor": "xen",
        "VirtualizationType": "hvm",
        "RootDeviceType": "ebs",
        "RootDeviceName": crate::fleet::ROOT_DEVICE,
        "BlockDeviceMappings": [{
            "DeviceName": crate::fleet::ROOT_DEVICE,
            "Ebs": {
                "SnapshotId": snapshot,
                "VolumeSize": if windows { 30 } else { 8 },
                "VolumeType": "gp3",
                "DeleteOnTermination": true,
                "Encrypted": false,
            },
        }],
        "Tags": [],
    })
}
