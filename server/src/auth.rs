//! Who calls, and what they may do. Every use-case asks [`Caller::may`] on its first line.

use crate::{Error, Result};
use patchplane_rules::Location;
use std::{fmt, sync::Arc};

/// Somebody who calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal(String);

/// A principal with the policy that speaks of it.
#[derive(Clone, Debug)]
pub struct Caller {
    pub principal: Principal,
    pub policy: Arc<Policy>,
}

/// What is done: one for each thing that can be allowed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    ListBaselines,
    GetBaseline,
    CreateBaseline,
    UpdateBaseline,
    DeleteBaseline,
    SetDefaultBaseline,
    /// Patching from repositories that a baseline names, on top of making or changing it.
    UseCustomSources,
    ListPatchProperties,
    ListAvailablePatches,
    PreviewBaseline,
    ListPatchGroups,
    GetPatchGroup,
    AttachBaseline,
    DetachBaseline,
    ChangeGroupMembers,
    ListTagFindings,
    ListInstances,
    GetInstance,
    CheckReadiness,
    ExplainBaseline,
    ListInstancePatches,
    GetComplianceSummary,
    ListInstanceCompliance,
    ScanInstances,
    InstallPatches,
    RebootInstances,
    ReadPatchOperations,
    /// Cancelling what has not begun, pausing, resuming.
    ControlPatchOperations,
    /// Cancelling also what runs on instances.
    InterruptPatchOperations,
    ReadFreezes,
    ManageFreezes,
    /// Sending commands although a freeze forbids it.
    OverrideFreezes,
    ReadStepOutput,
    ReadMaintenanceWindows,
    ReadPatchSchedules,
    ChangePatchSchedules,
}

/// Who may do what. For the present everybody who reaches the server may do everything: it listens on loopback only.
#[derive(Debug)]
pub enum Policy {
    Permissive,
}

// === impl Principal ===

impl Principal {
    /// The user this process runs as: who reaches a loopback port of it is taken for the same.
    pub fn local() -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let uid = std::fs::metadata("/proc/self").map_or_else(|_| "unknown".to_owned(), |own| own.uid().to_string());
        Self(format!("local:{uid}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Caller ===

impl Caller {
    /// Whether the caller may do this there; PERMISSION_DENIED otherwise, whether or not the thing exists.
    pub fn may(&self, action: Action, location: &Location) -> Result<()> {
        if self.policy.allows(&self.principal, action, location) {
            return Ok(());
        }
        Err(Error::Forbidden {
            principal: self.principal.to_string(),
            action: action.as_str(),
            resource: location.name(),
        })
    }
}

impl Policy {
    fn allows(&self, _principal: &Principal, _action: Action, _location: &Location) -> bool {
        match self {
            Self::Permissive => true,
        }
    }
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ListBaselines => "list baselines",
            Self::GetBaseline => "get baselines",
            Self::CreateBaseline => "create baselines",
            Self::UpdateBaseline => "change baselines",
            Self::DeleteBaseline => "delete baselines",
            Self::SetDefaultBaseline => "set default baselines",
            Self::UseCustomSources => "patch from custom sources",
            Self::ListPatchProperties => "list patch properties",
            Self::ListAvailablePatches => "list available patches",
            Self::PreviewBaseline => "preview baselines",
            Self::ListPatchGroups => "list patch groups",
            Self::GetPatchGroup => "get patch groups",
            Self::AttachBaseline => "attach baselines",
            Self::DetachBaseline => "detach baselines",
            Self::ChangeGroupMembers => "change patch groups",
            Self::ListTagFindings => "look for misspelt tags",
            Self::ListInstances => "list instances",
            Self::GetInstance => "get instances",
            Self::CheckReadiness => "check readiness",
            Self::ExplainBaseline => "explain baselines",
            Self::ListInstancePatches => "list patches",
            Self::GetComplianceSummary | Self::ListInstanceCompliance => "read compliance",
            Self::ScanInstances => "scan",
            Self::InstallPatches => "install patches",
            Self::RebootInstances => "reboot instances",
            Self::ReadPatchOperations => "read patch operations",
            Self::ControlPatchOperations => "cancel, pause or resume patch operations",
            Self::InterruptPatchOperations => "interrupt running installations",
            Self::ReadFreezes => "read freezes",
            Self::ManageFreezes => "create or delete freezes",
            Self::OverrideFreezes => "override freezes",
            Self::ReadStepOutput => "read step output",
            Self::ReadMaintenanceWindows => "read maintenance windows",
            Self::ReadPatchSchedules => "read patch schedules",
            Self::ChangePatchSchedules => "change patch schedules",
        }
    }
}
