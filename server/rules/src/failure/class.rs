//! The kinds of failure, when a new attempt can help, and what to do first.

use serde::{Deserialize, Serialize};
use std::fmt;

/// When another attempt may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    /// At once.
    Now,
    /// Some minutes later: what is in the way passes.
    AfterPause,
    /// Only after somebody has done what the hint says.
    AfterFix,
}

macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident $code:literal $retry:ident $hint:literal)*) => {
        /// Why a target failed or timed out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum FailureClass { $($(#[$doc])* $class,)* }

        impl FailureClass {
            pub const ALL: &[Self] = &[$(Self::$class),*];

            /// The stable code.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$class => $code,)* }
            }

            pub fn retry(self) -> Retry {
                match self { $(Self::$class => Retry::$retry,)* }
            }

            /// What to do, in a sentence.
            pub fn hint(self) -> &'static str {
                match self { $(Self::$class => $hint,)* }
            }
        }
    };
}

classes! {
    /// Told by AWS's status details, not by output (S 6.2).
    DeliveryTimedOut "DELIVERY_TIMED_OUT" AfterPause
        "Check the instance's readiness, and run it again once its agent is online: nothing was run."
    ExecutionTimedOut "EXECUTION_TIMED_OUT" AfterFix
        "Find out what the step waited for (its output, the package manager, a reboot), and scan the instance before installing again."
    Undeliverable "UNDELIVERABLE" AfterPause
        "Check the instance's readiness: its agent could not be reached at all, and nothing was run."
    InvalidPlatform "INVALID_PLATFORM" AfterFix
        "Leave the instance out: the command's document is not for its platform."
    NodeAccessDenied "NODE_ACCESS_DENIED" AfterFix
        "Let whoever sends the command run it on this instance: a policy or the instance's own settings forbid it."
    CommandCancelled "COMMAND_CANCELLED" Now
        "Somebody cancelled the command; scan the instance to see how far it came."
    /// Told by what the instance reported, and by when its agent was last heard of.
    AgentNotBack "AGENT_NOT_BACK" AfterFix
        "Look at the instance's status checks and console, and start the agent there; what the run reported of its patches still holds."
    PatchesFailed "PATCHES_FAILED" AfterFix
        "List the instance's patches in state Failed, and read the step's output for each; reject what cannot be installed, or mend its cause."
    PatchesMissing "PATCHES_MISSING" Now
        "Install again: the run ended before everything that is approved was installed."
    RebootPending "REBOOT_PENDING" Now
        "Install again with a reboot, or reboot the instance and scan it: its patches are installed and not yet in effect."
    /// Told by the output.
    UnsupportedOs "UNSUPPORTED_OS" AfterFix
        "Leave the instance out, or upgrade it: Patch Manager does not patch this version of its operating system, even if the agent runs on it."
    DiskFull "DISK_FULL" AfterFix
        "Free space on the instance, first of all under /var (on Windows on drive C:), then run it again."
    OutOfMemory "OUT_OF_MEMORY" AfterFix
        "Give the instance swap space or a larger type: its package manager ran out of memory."
    LockHeld "LOCK_HELD" AfterPause
        "Wait until the other process (an automatic upgrade, another patch run) has released the package manager, then run it again; keep their times apart."
    NoSource "NO_SOURCE" AfterFix
        "Make the instance's package sources reachable: check repositories, DNS, routes, proxies, and on Windows its update server."
    RepositoryKeyMissing "REPOSITORY_KEY_MISSING" AfterFix
        "Import or renew the signing key of the repository that the line names, or disable that repository."
    PackageConflict "PACKAGE_CONFLICT" AfterFix
        "Resolve the dependency that the line names on the instance: remove the lock or the conflicting package, or reject the patch in the baseline."
    PackagesHalfInstalled "PACKAGES_HALF_INSTALLED" AfterFix
        "Run `dpkg --configure -a` on the instance, then `apt --fix-broken install` if that is not enough."
    SnapshotFailed "SNAPSHOT_FAILED" AfterPause
        "Run it again: the instance could not get or keep its patch baseline; if it stays so, check its route to Systems Manager and its disk."
    SnapshotAccessDenied "SNAPSHOT_ACCESS_DENIED" AfterFix
        "Allow ssm:GetDeployablePatchSnapshotForInstance in the instance's role (AmazonSSMManagedInstanceCore has it)."
    BaselineLookupFailed "BASELINE_LOOKUP_FAILED" AfterFix
        "Check the association's baseline tags, and allow the instance's role to read associations, baselines and tags."
    MetadataUnreachable "METADATA_UNREACHABLE" AfterFix
        "Turn the instance's metadata service on, and let its host firewall pass 169.254.169.254."
    InventoryUploadFailed "INVENTORY_UPLOAD_FAILED" AfterPause
        "Scan the instance: patches may be installed and only the report is missing; keep two patch runs from meeting on it."
    BaselineOverride "BASELINE_OVERRIDE" AfterFix
        "Check the override file and the instance's right to read it from S3; patch policies add that right only when asked to."
    PayloadDownloadFailed "PAYLOAD_DOWNLOAD_FAILED" AfterFix
        "Let the instance reach S3 over port 443 (endpoint, gateway or NAT) and read AWS's patching bucket of the Region."
    PayloadNotExtracted "PAYLOAD_NOT_EXTRACTED" AfterPause
        "See that no other patch run was on the instance at the time and that /var has space, then run it again."
    PayloadNotExecutable "PAYLOAD_NOT_EXECUTABLE" AfterFix
        "Mount /var/lib/amazon with exec: the agent runs its scripts there."
    CurlUnusable "CURL_UNUSABLE" AfterFix
        "Put the package manager's own curl first in the PATH: another one, such as snap's, may not write where it must."
    PythonUnsupported "PYTHON_UNSUPPORTED" AfterFix
        "Install a Python that the patching script supports: Python 3 on Debian and Ubuntu."
    PythonTarFilter "PYTHON_TAR_FILTER" AfterFix
        "Allow the patching script to unpack itself with this Python: Red Hat's article 7004769 says how (CVE-2007-4559)."
    WindowsUpdateFailed "WINDOWS_UPDATE_FAILED" AfterFix
        "Look the HRESULT up among Microsoft's Windows Update error codes, and mend Windows Update on the instance."
    HookFailed "HOOK_FAILED" AfterFix
        "Read the hook's output, and mend its document or what it checks on the instance."
    Unclassified "UNCLASSIFIED" AfterFix
        "Read the step's output; the line shown is its last one."
}

// === impl FailureClass ===

impl FailureClass {
    /// By AWS's status details of an invocation that did not end well (S 6.2); `None`: the output tells it.
    pub fn of_status(details: &str) -> Option<Self> {
        Some(match details {
            "DeliveryTimedOut" => Self::DeliveryTimedOut,
            "ExecutionTimedOut" => Self::ExecutionTimedOut,
            "Undeliverable" => Self::Undeliverable,
            "InvalidPlatform" => Self::InvalidPlatform,
            "AccessDenied" => Self::NodeAccessDenied,
            "Cancelled" | "Terminated" => Self::CommandCancelled,
            _ => return None,
        })
    }

    /// Whether the instance did not answer in time, rather than answered badly.
    pub fn is_time_out(self) -> bool {
        matches!(self, Self::DeliveryTimedOut | Self::ExecutionTimedOut | Self::AgentNotBack)
    }

    /// Whether nothing can have been run on the instance.
    pub fn never_began(self) -> bool {
        matches!(self, Self::DeliveryTimedOut | Self::Undeliverable | Self::InvalidPlatform | Self::NodeAccessDenied)
    }

    #[cfg(test)]
    pub(super) fn is_told_by_output(self) -> bool {
        let elsewhere = [
            Self::DeliveryTimedOut,
            Self::ExecutionTimedOut,
            Self::Undeliverable,
            Self::InvalidPlatform,
            Self::NodeAccessDenied,
            Self::CommandCancelled,
            Self::AgentNotBack,
            Self::PatchesFailed,
            Self::PatchesMissing,
            Self::RebootPending,
            Self::Unclassified,
        ];
        !elsewhere.contains(&self)
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_class_has_a_code_of_its_own_and_a_sentence_that_says_what_to_do() {
        let codes: BTreeSet<&str> = FailureClass::ALL.iter().map(|class| class.as_str()).collect();
        assert_eq!(codes.len(), FailureClass::ALL.len());
        for class in FailureClass::ALL {
            assert!(class.as_str().bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{class}");
            assert!(class.hint().ends_with('.') && class.hint().len() > 30, "{class}: {}", class.hint());
        }
    }

    #[test]
    fn status_details_that_need_no_output_are_classes() {
        // S 6.2, the row of invocations.
        for (details, class) in [
            ("DeliveryTimedOut", Some(FailureClass::DeliveryTimedOut)),
            ("ExecutionTimedOut", Some(FailureClass::ExecutionTimedOut)),
            ("Undeliverable", Some(FailureClass::Undeliverable)),
            ("InvalidPlatform", Some(FailureClass::InvalidPlatform)),
            ("AccessDenied", Some(FailureClass::NodeAccessDenied)),
            ("Terminated", Some(FailureClass::CommandCancelled)),
            ("Cancelled", Some(FailureClass::CommandCancelled)),
            ("Failed", None),
            ("Success", None),
        ] {
            assert_eq!(FailureClass::of_status(details), class, "{details}");
        }
    }
}
