//! The table of failures. Order matters: what is certain comes before what is likely, and a mere wait comes last.
//!
//! `payload`: the exit codes of the script that AWS delivers to Linux nodes (S 7.1.9). `guide`: the user guide's page
//! "Troubleshooting Patch Manager". A repository with a number is a public issue that quotes the output.

use super::{
    FailureClass::{self, *},
    PatchStep::{self, *},
};
use std::ops::RangeInclusive;

pub(super) struct Row {
    pub(super) class: FailureClass,
    /// Which steps it is about.
    pub(super) steps: &'static [PatchStep],
    /// Exit codes; empty: any.
    pub(super) codes: &'static [RangeInclusive<i32>],
    /// In lower case; all of them stand in one line. Empty: the code is enough.
    pub(super) words: &'static [&'static str],
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers, and for the test that holds the table to it"))]
    pub(super) source: &'static str,
    /// Step, exit code and output.
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers, and for the test that holds the table to it"))]
    pub(super) sample: (PatchStep, i32, &'static str),
}

impl Row {
    /// The line by which this row is told, or the last words where the code tells it; `None`: it is not this one. Takes the
    /// lines from the last to the first.
    pub(super) fn evidence<'a>(
        &self,
        step: PatchStep,
        exit_code: i32,
        mut lines: impl Iterator<Item = &'a str> + Clone,
    ) -> Option<&'a str> {
        // A step of an unknown name may be anybody's payload.
        let here = self.steps.contains(&step) || step == Other && self.class != HookFailed;
        let code = self.codes.is_empty() || self.codes.iter().any(|codes| codes.contains(&exit_code));
        if !here || !code {
            return None;
        }
        if self.words.is_empty() {
            return Some(super::last_words(lines));
        }
        lines.find(|line| {
            let line = line.to_lowercase();
            self.words.iter().all(|word| line.contains(word))
        })
    }
}

const UNIX: &[PatchStep] = &[Linux, MacOs];
const LINUX: &[PatchStep] = &[Linux];
const WINDOWS: &[PatchStep] = &[Windows];
const HOOK: &[PatchStep] = &[Hook];

const fn coded(
    class: FailureClass,
    codes: &'static [RangeInclusive<i32>],
    source: &'static str,
    sample: (PatchStep, i32, &'static str),
) -> Row {
    Row { class, steps: UNIX, codes, words: &[], source, sample }
}

const fn worded(
    class: FailureClass,
    steps: &'static [PatchStep],
    words: &'static [&'static str],
    source: &'static str,
    sample: (PatchStep, i32, &'static str),
) -> Row {
    Row { class, steps, codes: &[], words, source, sample }
}

pub(super) const ROWS: &[Row] = &[
    Row {
        class: HookFailed,
        steps: HOOK,
        codes: &[],
        words: &[],
        source: "guide, AWS-RunPatchBaselineWithHooks: a failing hook ends the run (S 7.3.1); the step's name is unverified",
        sample: (Hook, 1, "the service could not be drained\nfailed to run commands: exit status 1"),
    },
    // A full disk breaks whatever comes next, so its words count more than any code.
    worded(
        DiskFull,
        UNIX,
        &["no space left on device"],
        "adoptium/infrastructure#460",
        (Linux, 1, "Could not create lock at /var/run/yum.pid: [Errno 28] No space left on device"),
    ),
    worded(
        DiskFull,
        LINUX,
        &["insufficient space in download directory"],
        "yum, its own text; CentOS/sig-cloud-instance-images#17",
        (Linux, 1, "Insufficient space in download directory /var/cache/yum/x86_64/2/amzn2-core/packages"),
    ),
    worded(
        DiskFull,
        LINUX,
        &["more space needed on the", "filesystem"],
        "dnf; AlmaLinux/leapp-data#11",
        (Linux, 1, "Error: At least 1288MB more space needed on the / filesystem."),
    ),
    worded(
        DiskFull,
        LINUX,
        &["you don't have enough free space in"],
        "apt; MichaIng/DietPi#5427",
        (Linux, 1, "E: You don't have enough free space in /var/cache/apt/archives/."),
    ),
    worded(
        DiskFull,
        WINDOWS,
        &["0x80070070"],
        "Microsoft, Win32 error 112 (ERROR_DISK_FULL) as an HRESULT",
        (Windows, -1, "Error Message: Exception from HRESULT: 0x80070070"),
    ),
    worded(
        OutOfMemory,
        UNIX,
        &["cannot allocate memory"],
        "guide, 'Errors were encountered while downloading packages'",
        (Linux, 1, "u'libxslt-1.1.28-6.el7.x86_64: [Errno 5] [Errno 12] Cannot allocate memory'"),
    ),
    coded(
        OutOfMemory,
        &[137..=137],
        "bash, 128 + 9: killed, on Linux mostly for lack of memory; the payload has the code for associations only",
        (Linux, 137, "Killed\nfailed to run commands: exit status 137"),
    ),
    // Locks that cannot be waited for; dpkg ends with 2, which means something else in the payload.
    worded(
        LockHeld,
        LINUX,
        &["dpkg frontend", "locked by another process"],
        "guide, 'dpkg frontend is locked by another process'",
        (
            Linux,
            2,
            "install errors: dpkg: error: dpkg frontend is locked by another process\n\
             failed to run commands: exit status 2",
        ),
    ),
    worded(
        LockHeld,
        LINUX,
        &["could not get lock /var/lib/"],
        "apt; servo/ci-runners#57, runs-on/runs-on#385",
        (Linux, 1, "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 2448 (unattended-upgr)"),
    ),
    worded(
        LockHeld,
        LINUX,
        &["system management is locked by the application"],
        "zypper; SUSE-Cloud/automation#3797",
        (Linux, 1, "System management is locked by the application with pid 14689 (/usr/bin/zypper)."),
    ),
    worded(
        LockHeld,
        LINUX,
        &["can't create transaction lock on", "resource temporarily unavailable"],
        "rpm; github-aws-runners/terraform-aws-github-runner#3614",
        (
            Linux,
            1,
            "RPM: error: can't create transaction lock on /var/lib/rpm/.rpm.lock (Resource temporarily unavailable)",
        ),
    ),
    worded(
        LockHeld,
        WINDOWS,
        &["0x80240016"],
        "Microsoft, WU_E_INSTALL_NOT_ALLOWED: another installation is in progress",
        (Windows, -1, "Error Message: Exception from HRESULT: 0x80240016"),
    ),
    // What the payload's own codes tell.
    coded(
        UnsupportedOs,
        &[146..=146],
        "payload; aws/amazon-ssm-agent#453 and #592",
        (Linux, 146, "patch_common.exceptions.PatchManagerError: ('Unsupported Operating System', 146)"),
    ),
    coded(
        SnapshotAccessDenied,
        &[145..=145],
        "payload",
        (Linux, 145, "root [ERROR]: Get Snapshot failed\nfailed to run commands: exit status 145"),
    ),
    coded(
        SnapshotFailed,
        &[143..=144, 147..=147, 150..=150],
        "payload",
        (Linux, 144, "root [ERROR]: Get Snapshot failed\nfailed to run commands: exit status 144"),
    ),
    coded(MetadataUnreachable, &[148..=148], "payload", (Linux, 148, "failed to run commands: exit status 148")),
    coded(
        InventoryUploadFailed,
        &[149..=149],
        "payload",
        (Linux, 149, "root [ERROR]: Unable to upload the inventory.\nfailed to run commands: exit status 149"),
    ),
    coded(BaselineOverride, &[160..=167], "payload", (Linux, 167, "failed to run commands: exit status 167")),
    coded(
        BaselineLookupFailed,
        &[130..=142, 153..=153],
        "payload, for AWS-RunPatchBaselineAssociation",
        (Linux, 135, "failed to run commands: exit status 135"),
    ),
    coded(
        PayloadDownloadFailed,
        &[156..=156],
        "guide, 'Unable to download payload'",
        (
            Linux,
            156,
            "Unable to download payload: https://s3.dualstack.eu-west-1.amazonaws.com/aws-ssm-eu-west-1/\
             patchbaselineoperations/linux/payloads/patch-baseline-operations-1.83.tar.gz.\
             failed to run commands: exit status 156",
        ),
    ),
    coded(
        PayloadNotExtracted,
        &[152..=152, 154..=155],
        "guide, 'No such file or directory': two runs at once, or /var is full",
        (
            Linux,
            155,
            "Unable to extract tar file: /var/log/amazon/ssm/patch-baseline-operations/\
             patch-baseline-operations-1.75.tar.gz.failed to run commands: exit status 155",
        ),
    ),
    coded(
        PayloadNotExecutable,
        &[126..=126],
        "guide, 'Permission denied / failed to run commands'",
        (Linux, 126, "_script.sh: Permission denied\nfailed to run commands: exit status 126"),
    ),
    // Other words of the same, where the code was lost on the way.
    worded(
        UnsupportedOs,
        UNIX,
        &["unsupportedoperatingsystem"],
        "aws/amazon-ssm-agent#457, #485 and #592, amazonlinux/amazon-linux-2023#877",
        (
            Linux,
            1,
            "root [ERROR]: An error occurred (UnsupportedOperatingSystem) when calling the \
             GetDeployablePatchSnapshotForInstance operation:",
        ),
    ),
    worded(
        PythonUnsupported,
        LINUX,
        &["unsupported package manager and python version combination"],
        "guide, 'unsupported package manager and python version combination'",
        (
            Linux,
            1,
            "An unsupported package manager and python version combination was found. Apt requires Python3 to be installed.",
        ),
    ),
    worded(
        PayloadDownloadFailed,
        UNIX,
        &["unable to download payload"],
        "guide, 'Unable to download payload'",
        (Linux, 1, "Unable to download payload: https://s3.amazonaws.com/aws-ssm-us-east-1/patchbaselineoperations"),
    ),
    worded(
        PayloadDownloadFailed,
        WINDOWS,
        &["patchbaselineoperations", "unable to connect to the remote server"],
        "guide, 'PatchBaselineOperations PowerShell module is not downloadable'",
        (
            Windows,
            -1,
            "_script.ps1 : An error occurred when executing PatchBaselineOperations: Unable to connect to the remote server",
        ),
    ),
    worded(
        PayloadNotExtracted,
        UNIX,
        &["no such file or directory", "patch-baseline-operations"],
        "guide, 'No such file or directory'",
        (Linux, 1, "IOError: [Errno 2] No such file or directory: 'patch-baseline-operations-1.75.tar.gz'"),
    ),
    worded(
        InventoryUploadFailed,
        UNIX,
        &["service side error when uploading the inventory"],
        "guide, 'Encounter service side error when uploading the inventory'",
        (Linux, 1, "Encounter service side error when uploading the inventory"),
    ),
    worded(
        BaselineOverride,
        UNIX,
        &["unable to download file from s3", "baseline_overrides"],
        "guide, 'Unable to download file from S3'",
        (
            Linux,
            1,
            "[ERROR]: Unable to download file from S3: s3://aws-quicksetup-patchpolicy-123456789012-abcde/baseline_overrides.json.",
        ),
    ),
    worded(
        BaselineOverride,
        WINDOWS,
        &["invoke-patchbaselineoperation", "access denied"],
        "guide, 'Invoke-PatchBaselineOperation : Access Denied'",
        (Windows, -1, "Invoke-PatchBaselineOperation : Access Denied\nfailed to run commands: exit status 0xffffffff"),
    ),
    worded(
        CurlUnusable,
        UNIX,
        &["error code returned from curl is 23"],
        "guide, 'Error code returned from curl is 23'",
        (Linux, 1, "05/01/2025 17:04:30 root [ERROR]: Error code returned from curl is 23"),
    ),
    // The package manager's reasons.
    worded(
        PackagesHalfInstalled,
        LINUX,
        &["dpkg was interrupted"],
        "guide, 'dpkg was interrupted'",
        (Linux, 1, "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem."),
    ),
    worded(
        RepositoryKeyMissing,
        LINUX,
        &["no_pubkey"],
        "guide, 'signatures couldn't be verified because the public key is not available'",
        (
            Linux,
            1,
            "root [ERROR]: W:GPG error: http://repo.mysql.com/apt/ubuntu bionic InRelease: The following signatures \
             couldn't be verified because the public key is not available: NO_PUBKEY 467B942D3A79BD29",
        ),
    ),
    worded(
        NoSource,
        LINUX,
        &["no more mirrors to try"],
        "guide, 'No more mirrors to try' and 'NoMoreMirrorsRepoError'",
        (
            Linux,
            1,
            "NoMoreMirrorsRepoError: failure: repodata/repomd.xml from pgdg94: [Errno 256] No more mirrors to try.",
        ),
    ),
    worded(
        NoSource,
        LINUX,
        &["failed to download metadata for repo"],
        "dnf; amazonlinux/amazon-linux-2023#1084",
        (
            Linux,
            1,
            "Error: Failed to download metadata for repo 'amazonlinux': Cannot prepare internal mirrorlist: Status code: 403",
        ),
    ),
    worded(
        NoSource,
        LINUX,
        &["errors during downloading metadata for repository"],
        "dnf; amazonlinux/amazon-linux-2023#747",
        (Linux, 1, "Errors during downloading metadata for repository 'amazonlinux':"),
    ),
    worded(
        NoSource,
        LINUX,
        &["unable to fetch some archives"],
        "apt; delphix/appliance-build#146",
        (Linux, 1, "E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?"),
    ),
    worded(
        NoSource,
        LINUX,
        &["some index files failed to download"],
        "apt, its own text",
        (Linux, 1, "E: Some index files failed to download. They have been ignored, or old ones used instead."),
    ),
    worded(
        NoSource,
        LINUX,
        &["valid metadata not found at specified url"],
        "zypper; openSUSE/MirrorCache#403",
        (Linux, 1, "[backports|http://download.opensuse.org/update/] Valid metadata not found at specified URL"),
    ),
    worded(
        NoSource,
        WINDOWS,
        &["0x80072ee2"],
        "guide, 'managed node doesn't have access to Windows Update Catalog or WSUS'",
        (Windows, -1, "Error Message: Exception from HRESULT: 0x80072EE2"),
    ),
    worded(
        NoSource,
        WINDOWS,
        &["0x80072ef"],
        "Microsoft, 'Windows Update common errors': 0x80072EFD and 0x80072EFE, firewall or proxy",
        (Windows, -1, "Error Message: Exception from HRESULT: 0x80072EFD"),
    ),
    worded(
        NoSource,
        WINDOWS,
        &["0x8024402c"],
        "Microsoft, WU_E_PT_WINHTTP_NAME_NOT_RESOLVED: proxy or update server is not found",
        (Windows, -1, "Error Message: Exception from HRESULT: 0x8024402C"),
    ),
    worded(
        PackageConflict,
        LINUX,
        &["update failed with result code", " requires "],
        "guide, 'The package manager utility can't resolve a package dependency'",
        (
            Linux,
            1,
            "09/22/2020 08:56:09 root [ERROR]: yum update failed with result code: 1, message: \
             [u'rpm-python-4.11.3-25.amzn2.0.3.x86_64 requires rpm = 4.11.3-25.amzn2.0.3']",
        ),
    ),
    worded(
        PackageConflict,
        LINUX,
        &["nothing provides", "needed by"],
        "dnf; pulibrary/princeton_ansible#5635",
        (
            Linux,
            1,
            "- nothing provides sssd-common = 2.9.5-4.el9_5.4 needed by sssd-proxy-2.9.5-4.el9_5.4.x86_64 from rhel-9",
        ),
    ),
    worded(
        PackageConflict,
        LINUX,
        &["unmet dependencies"],
        "apt; MichaIng/DietPi#3535",
        (Linux, 1, "E: Unmet dependencies. Try 'apt --fix-broken install' with no packages (or specify a solution)."),
    ),
    worded(
        PackageConflict,
        LINUX,
        &["this requirement cannot be provided"],
        "guide, 'Zypper package lock dependency failures on SLES managed nodes'",
        (Linux, 1, "Problem: a-0.2.0-21.noarch requires b = 0.2.0, but this requirement cannot be provided"),
    ),
    worded(
        PackageConflict,
        LINUX,
        &["dependency check failure during commit process"],
        "guide, 'Zypper package lock dependency failures on SLES managed nodes'",
        (Linux, 1, "CLIInvokerError(error_message='Dependency check failure during commit process', error_code='4')"),
    ),
    worded(
        PackageConflict,
        LINUX,
        &["error unpacking rpm package"],
        "guide, 'Error unpacking rpm package'",
        (Linux, 1, "Error : Error unpacking rpm package python-urllib3-1.25.9-1.amzn2.0.2.noarch"),
    ),
    coded(
        PackageConflict,
        &[2..=2, 196..=196],
        "payload (dependency check failed); aws/amazon-ssm-agent#345",
        (Linux, 196, "[ERROR]: Patching Operation failed with exit code 196 but instance needs reboot"),
    ),
    worded(
        WindowsUpdateFailed,
        WINDOWS,
        &["exception from hresult"],
        "guide, 'AWS-RunPatchBaseline output returns an HRESULT'",
        (Windows, -1, "Searching for updates resulted in error: Exception from HRESULT: 0x80240437"),
    ),
    worded(
        WindowsUpdateFailed,
        WINDOWS,
        &["0x8024"],
        "Microsoft, 'Windows Update error codes by component': the facility of Windows Update",
        (Windows, -1, "Failed to install: 2026-08 Cumulative Update: 0x80240437"),
    ),
    // Warnings and waits: the reason only where nothing else is said.
    worded(
        PythonTarFilter,
        LINUX,
        &["default behavior of tarfile extraction has been changed"],
        "aws/amazon-ssm-agent#574",
        (
            Linux,
            1,
            "tarfile.py:2253: RuntimeWarning: The default behavior of tarfile extraction has been changed to disallow \
             common exploits (including CVE-2007-4559).",
        ),
    ),
    worded(
        LockHeld,
        LINUX,
        &["existing lock", "another copy is running"],
        "yum; aws/amazon-ssm-agent#428, aws-samples/vpn-gateway-strongswan#23",
        (Linux, 1, "Existing lock /var/run/yum.pid: another copy is running as pid 5775."),
    ),
    worded(
        LockHeld,
        LINUX,
        &["another process has acquired", "lock"],
        "guide, 'another process has acquired yum lock'",
        (Linux, 1, "12/20/2019 21:41:48 root [INFO]: another process has acquired yum lock, waiting 2 s and retry."),
    ),
];
