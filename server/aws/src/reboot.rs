//! The scripts of AWS-RunShellScript and AWS-RunPowerShellScript that reboot a node, and end well only if it has rebooted.
//!
//! Both ask the agent for the reboot by their exit code: the invocation stays InProgress meanwhile, and the step runs again
//! afterwards (S 6.2.5). The first run writes down by which boot the system runs, the second one compares. What is written
//! stays for a month: a document that an agent runs a second time from its beginning (aws/amazon-ssm-agent#169) does not
//! reboot again.

/// For Linux and macOS, and for Windows.
pub(crate) const DOCUMENTS: [&str; 2] = [SHELL, POWER_SHELL];
const SHELL: &str = "AWS-RunShellScript";
const POWER_SHELL: &str = "AWS-RunPowerShellScript";
/// For how long AWS lets the script run, its second run included.
const EXECUTION_TIMEOUT_S: u32 = 1_800;
/// How the script's first line begins, in which the snapshot id stands.
const FIRST_LINE: &str = "# patchplane ";

pub(crate) fn document(windows: bool) -> &'static str {
    if windows { POWER_SHELL } else { SHELL }
}

/// The document's parameters. `marker` tells this send from every other one.
pub(crate) fn parameters(windows: bool, snapshot_id: &str, marker: &str) -> [(&'static str, Vec<String>); 2] {
    let file: String = marker.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect();
    let script = if windows { POWER_SHELL_SCRIPT } else { SHELL_SCRIPT };
    let lines = script.lines().map(|line| line.replace("MARKER", &file));
    let commands = std::iter::once(format!("{FIRST_LINE}{snapshot_id}")).chain(lines).collect();
    [("commands", commands), ("executionTimeout", vec![EXECUTION_TIMEOUT_S.to_string()])]
}

/// The snapshot id that a script was sent with; `None` for a script of others.
pub(crate) fn snapshot_id(commands: &[String]) -> Option<&str> {
    commands.first()?.strip_prefix(FIRST_LINE)
}

const SHELL_SCRIPT: &str = r#"folder=/var/lib/patchplane
mark=$folder/reboot-MARKER
boot() { cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.boottime; }
if [ ! -e "$mark" ]; then
  mkdir -p -m 700 "$folder" && find "$folder" -name 'reboot-*' -mtime +30 -delete && boot > "$mark" || exit 1
  exit 194
fi
if [ "$(cat "$mark")" = "$(boot)" ]; then echo 'it has not rebooted' >&2; exit 1; fi
echo 'it has rebooted'"#;

const POWER_SHELL_SCRIPT: &str = r#"$ErrorActionPreference = 'Stop'
$folder = "$env:ProgramData\patchplane"
$mark = "$folder\reboot-MARKER"
$boot = (Get-CimInstance Win32_OperatingSystem).LastBootUpTime.ToFileTimeUtc()
if (-not (Test-Path $mark)) {
  New-Item -ItemType Directory -Force $folder | Out-Null
  Get-ChildItem "$folder\reboot-*" | Where-Object LastWriteTime -lt (Get-Date).AddDays(-30) | Remove-Item
  Set-Content $mark $boot
  exit 3010
}
if ("$(Get-Content $mark)" -eq "$boot") { [Console]::Error.WriteLine('it has not rebooted'); exit 1 }
Write-Output 'it has rebooted'"#;

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command};

    #[test]
    fn a_script_names_its_snapshot_and_marker() {
        for windows in [false, true] {
            let [(name, commands), timeout] = parameters(windows, "1-2", "pp:a:B:1.1");
            assert_eq!((name, timeout), ("commands", ("executionTimeout", vec!["1800".to_owned()])));
            assert_eq!(snapshot_id(&commands), Some("1-2"));
            assert!(commands.iter().any(|line| line.contains("reboot-pp-a-B-1-1")), "{commands:?}");
        }
        assert_eq!(snapshot_id(&["echo".to_owned()]), None);
        assert_eq!(snapshot_id(&[]), None);
    }

    /// The shell's own word on it: asks for a reboot once, tells that none came, and then that one did.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_shell_script_asks_once_and_sees_whether_the_system_rebooted() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        let [(_, commands), _] = parameters(false, "1-2", "pp:a:B:1.1");
        let script = commands.join("\n").replace("/var/lib/patchplane", kept.to_str().unwrap());
        let run = || Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(run().status.code(), Some(194));
        let again = run();
        assert_eq!(
            (again.status.code(), String::from_utf8_lossy(&again.stderr).trim()),
            (Some(1), "it has not rebooted")
        );
        fs::write(kept.join("reboot-pp-a-B-1-1"), "another boot\n").unwrap();
        let after = run();
        assert_eq!((after.status.code(), String::from_utf8_lossy(&after.stdout).trim()), (Some(0), "it has rebooted"));
        assert_eq!(run().status.code(), Some(0), "and it does not ask again");
    }
}
