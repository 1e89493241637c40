//! Nodes and agents that misbehave, and what the payload prints when it fails.
//!
//! The words are those of the user guide's page "Troubleshooting Patch Manager" (UG), of the document's script and of
//! the payload as publicly stored copies have them (NODE: its log goes to standard output, its last words to standard
//! error), of issues that quote them, and of the package managers themselves.

use crate::{
    node::Node,
    output::{self, StepEnd, WINDOWS_FAILURE},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What goes wrong on a node, in every run, until it is told otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Every installation of a patch fails.
    InstallsFail,
    /// The installation of one patch fails: by KB id, such as `curl.x86_64`.
    PatchFails(String),
    /// It goes down for a reboot and is not heard of again (aws/amazon-ssm-agent#320).
    NeverBack,
    /// A reboot takes this long instead of a minute (aws/amazon-ssm-agent#289).
    BackAfter(#[serde(with = "in_seconds")] Duration),
    /// The agent is heard of, but its run never ends: InProgress until the command expires.
    Hangs,
    /// The script is still at it when its step's time is over: ExecutionTimedOut.
    RunsTooLong,
    /// Somebody else holds the package manager's lock.
    Locked,
    /// No space is left for the payload: exit code 155.
    DiskFull,
    /// The payload cannot be read: exit code 152.
    PayloadBroken,
    /// The bucket with the payload cannot be reached: exit code 156.
    PayloadUnreachable,
    /// The repositories, or Windows Update, cannot be reached.
    SourceUnreachable,
    /// Systems Manager does not support the system: exit code 146. Of Windows no source tells; there nothing happens.
    UnsupportedOs,
    /// The hook before an installation fails.
    HookFails,
    /// As soon as an installation has ended, somebody else's scan overwrites what the node reported.
    ScannedByOthers,
}

/// A duration as a number of seconds.
mod in_seconds {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(duration.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// The payload of one of the stored copies.
const PAYLOAD: &str = "patch-baseline-operations-1.80.tar.gz";

impl Trouble {
    /// How a run on this node ends before it gets to a patch, if it does.
    pub(crate) fn failure(&self, node: &Node, region: &str, install: bool, at: Timestamp) -> Option<StepEnd> {
        match self {
            Self::Locked
            | Self::DiskFull
            | Self::PayloadBroken
            | Self::PayloadUnreachable
            | Self::SourceUnreachable => Some(match node.platform.is_windows() {
                true => self.on_windows(node, region, install),
                false => self.on_linux(node, region, install, at),
            }),
            Self::UnsupportedOs if !node.platform.is_windows() => Some(unsupported(at)),
            _ => None,
        }
    }

    fn on_linux(&self, node: &Node, region: &str, install: bool, at: Timestamp) -> StepEnd {
        let log = |level: &str, text: &str| logged(at, level, text);
        let bucket = format!("https://s3.dualstack.{region}.amazonaws.com/aws-ssm-{region}");
        let url = format!("{bucket}/patchbaselineoperations/linux/payloads/{PAYLOAD}");
        let path = format!("/var/log/amazon/ssm/patch-baseline-operations/{PAYLOAD}");
        let (code, stdout, stderr) = match (self, node.platform.package_manager()) {
            // UG; extract_tar of NODE, and Python's word for ENOSPC.
            (Self::DiskFull, _) => {
                let text = format!("Unable to extract tar file: {path}.");
                let stdout = log("ERROR", &text) + &log("ERROR", "[Errno 28] No space left on device");
                (155, stdout, text)
            }
            // UG.
            (Self::PayloadBroken, _) => {
                let text = "Unable to load and extract the content of payload, abort.";
                let missing = format!("[Errno 2] No such file or directory: '{PAYLOAD}'");
                (152, log("ERROR", text) + &log("ERROR", &missing), text.to_owned())
            }
            // UG; download_to of NODE, and curl's code for a time-out.
            (Self::PayloadUnreachable, _) => {
                let stdout = log("INFO", &format!("Downloading payload from {url}"));
                let stdout = stdout + &log("ERROR", "Error code returned from curl is 28");
                (156, stdout, format!("Unable to download payload: {url}."))
            }
            // UG: "install errors: dpkg: error: dpkg frontend is locked by another process", exit status 2.
            (Self::Locked, "apt") if install => {
                (2, String::new(), "install errors: dpkg: error: dpkg frontend is locked by another process\n".into())
            }
            // apt-get's own words.
            (Self::Locked, "apt") => {
                let held = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 2990 (apt-get)\n";
                (1, String::new(), format!("{held}E: Unable to lock directory /var/lib/apt/lists/\n"))
            }
            // UG; acquire_lock of NODE: a hundred tries, between which the pause grows from 1 s to 5 s; yum's own words.
            (Self::Locked, "yum") => {
                let wait =
                    |seconds: u32| format!("another process has acquired yum lock, waiting {seconds} s and retry.");
                let waits: String = [1, 1, 1, 1, 2, 2, 2, 3, 4].map(|seconds| log("INFO", &wait(seconds))).concat();
                let held = "Existing lock /var/run/yum.pid: another copy is running as pid 2990.";
                (1, waits + &log("INFO", &wait(5)).repeat(90) + &log("ERROR", held), String::new())
            }
            // dnf's and rpm's own words.
            (Self::Locked, _) => {
                let lock = "RPM: error: can't create transaction lock on /var/lib/rpm/.rpm.lock (Resource temporarily \
                            unavailable)\n";
                (1, "Waiting for process with pid 2990 to finish.\n".to_owned(), lock.to_owned())
            }
            // apt-get's own words.
            (_, "apt") => {
                let source = "http://archive.ubuntu.com/ubuntu/dists/jammy-security/InRelease";
                let failed = format!("E: Failed to fetch {source}  Could not connect to archive.ubuntu.com:80\n");
                let rest =
                    "E: Some index files failed to download. They have been ignored, or old ones used instead.\n";
                (1, String::new(), failed + rest)
            }
            // UG.
            (_, "yum") => {
                let failed = "failure: repodata/repomd.xml from amzn2-core: [Errno 256] No more mirrors to try.";
                (1, log("ERROR", &format!("NoMoreMirrorsRepoError: {failed}")), String::new())
            }
            // dnf's own words.
            _ => {
                let repository =
                    if node.platform.product().starts_with("AmazonLinux") { "amazonlinux" } else { "baseos" };
                let failed = format!("Error: Failed to download metadata for repo '{repository}': ");
                let why = "Cannot download repomd.xml: Cannot download repodata/repomd.xml: All mirrors were tried\n";
                (1, String::new(), failed + why)
            }
        };
        StepEnd { code, stdout, stderr: format!("{stderr}failed to run commands: exit status {code}") }
    }

    /// UG, and Microsoft's codes: 0x80240016 another installation is in progress, 0x80070070 the disk is full,
    /// 0x80072EE2 no answer in time.
    fn on_windows(&self, node: &Node, region: &str, install: bool) -> StepEnd {
        let (code, status) = WINDOWS_FAILURE;
        let exit = format!("failed to run commands: exit status {status}");
        let hresult = match self {
            Self::Locked => "0x80240016",
            Self::DiskFull => "0x80070070",
            Self::SourceUnreachable => "0x80072EE2",
            _ => {
                let stdout = "Preparing to download PatchBaselineOperations PowerShell module from S3.\n".to_owned();
                let failed = "An error occurred when executing PatchBaselineOperations: Unable to connect to the \
                              remote server\n";
                return StepEnd { code, stdout, stderr: format!("PatchWindows\\_script.ps1 : {failed}{exit}") };
            }
        };
        let searching = "An error occurred when attempting to search Windows Update.";
        let stderr = format!(
            "Invoke-PatchBaselineOperation : Exception Details: {searching}\nException Level 1:\n Error Message: \
             Exception from HRESULT: {hresult}\n Stack Trace: at WUApiLib.IUpdateSearcher.Search(String criteria)\n{exit}"
        );
        StepEnd { code, stdout: output::empty_windows_summary(&node.computer_name(region), install), stderr }
    }
}

/// On a system that Systems Manager does not know (aws/amazon-ssm-agent#453, #592; NODE).
pub(crate) fn unsupported(at: Timestamp) -> StepEnd {
    let refused = "An error occurred (UnsupportedOperatingSystem) when calling the GetDeployablePatchSnapshotForInstance \
                   operation: ";
    let raised = "patch_common.exceptions.PatchManagerError: ('Unsupported Operating System', 146)\n";
    StepEnd {
        code: 146,
        stdout: logged(at, "ERROR", refused) + raised,
        stderr: "failed to run commands: exit status 146".to_owned(),
    }
}

/// A line of the payload's log.
fn logged(at: Timestamp, level: &str, text: &str) -> String {
    format!("{} root [{level}]: {text}\n", at.strftime("%m/%d/%Y %H:%M:%S"))
}
