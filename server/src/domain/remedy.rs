//! Requests, ready to be sent, that mend what was found or change what would happen.

use patchplane_rules::{BaselineId, InstanceId, PatchGroupName};

/// One mutation of ours, less what only its sender can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    AttachBaseline { group: PatchGroupName, baseline: BaselineId, replace: bool },
    DetachBaseline { group: PatchGroupName, baseline: BaselineId },
    AddInstances { group: PatchGroupName, ids: Vec<InstanceId>, allow_move: bool },
    RemoveInstances { group: PatchGroupName, ids: Vec<InstanceId> },
}
