//! What the steps print, and how Run Command cuts it (S 6.3.3, 6.3.7, 7.1.4, 7.1.11–12).

use crate::node::{Node, Report};

/// How a step ends.
pub(crate) struct StepEnd {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The exit code of a failed step on Windows, and how it is printed (S 7.1.10). That the API shows it as a signed number
/// of 32 bits is unverified.
pub(crate) const WINDOWS_FAILURE: (i32, &str) = (-1, "4294967295");

/// What the agent says of a step that is not for its platform (S 7.1.4).
pub(crate) fn skipped(step: &str, own_step: &str) -> String {
    if own_step == "PatchWindows" {
        return format!("Step execution skipped due to unsupported plugin: aws:runShellScript. Step name: {step}");
    }
    let platform = step.trim_start_matches("Patch");
    format!(
        "Step execution skipped due to unsatisfied preconditions: '\"StringEquals\": [platformType, {platform}]'. \
         Step name: {step}"
    )
}

/// The end of a run that got to its report.
pub(crate) fn of_run(node: &Node, region: &str, report: &Report, installed: &[String], failed: &[String]) -> StepEnd {
    let mut stdout = if node.platform.is_windows() {
        windows_summary(node, region, report)
    } else {
        linux_lines(node, region, report)
    };
    for title in installed {
        stdout.push_str(&format!("Installed: {title}\n"));
    }
    if failed.is_empty() {
        return StepEnd { code: 0, stdout, stderr: String::new() };
    }
    let (code, status) = if node.platform.is_windows() { WINDOWS_FAILURE } else { (1, "1") };
    let mut stderr = String::new();
    // S 7.1.10–11; apt's own words.
    let why = match node.platform.package_manager() {
        _ if node.platform.is_windows() => "0x80240437",
        "apt" => "E: Unable to fetch some archives",
        _ => "[Errno 256] No more mirrors to try.",
    };
    for title in failed {
        stderr.push_str(&format!("Failed to install: {title}: {why}\n"));
    }
    stderr.push_str(&format!("failed to run commands: exit status {status}"));
    StepEnd { code, stdout, stderr }
}

fn linux_lines(node: &Node, region: &str, report: &Report) -> String {
    let manager = node.platform.package_manager();
    let plugins = match manager {
        "apt" => "",
        _ => "Loaded plugins: extras_suggestions, langpacks, priorities, update-motd\n",
    };
    let c = &report.counts;
    format!(
        "/usr/bin/python3\n/usr/bin/{manager}\nUsing {manager} on {}\n{plugins}Running with snapshot id = {} and operation = {}\nPatch group: {}\nBaseline: {}\n\
         Installed: {}, other: {}, pending reboot: {}, missing: {}, failed: {}\n",
        node.computer_name(region),
        report.snapshot_id,
        report.operation,
        report.patch_group,
        report.baseline_id,
        c.installed,
        c.installed_other,
        c.installed_pending_reboot,
        c.missing,
        c.failed,
    )
}

fn windows_summary(node: &Node, region: &str, report: &Report) -> String {
    let c = &report.counts;
    let lines = [
        ("PatchGroup", report.patch_group.clone()),
        ("BaselineId", report.baseline_id.clone()),
        ("Baseline", String::new()),
        ("SnapshotId", report.snapshot_id.clone()),
        ("RebootOption", report.reboot_option.clone()),
        ("OwnerInformation", report.owner_information.clone()),
        ("OperationType", report.operation.clone()),
        ("OperationStartTime", report.started.to_string()),
        ("OperationEndTime", report.ended.to_string()),
        ("InstalledCount", c.installed.to_string()),
        ("InstalledOtherCount", c.installed_other.to_string()),
        ("InstalledPendingRebootCount", c.installed_pending_reboot.to_string()),
        ("InstalledRejectedCount", c.installed_rejected.to_string()),
        ("MissingCount", c.missing.to_string()),
        ("FailedCount", c.failed.to_string()),
        ("NotApplicableCount", c.not_applicable.to_string()),
        ("UnreportedNotApplicableCount", "0".to_owned()),
    ];
    summary_lines(&node.computer_name(region), &lines)
}

/// What Windows prints when it cannot look for updates at all (S 7.1.10).
pub(crate) fn empty_windows_summary(computer_name: &str, install: bool) -> String {
    let counts = ["Installed", "InstalledRejected", "InstalledPendingReboot", "InstalledOther", "Failed", "Missing"];
    let counts = counts.into_iter().chain(["NotApplicable", "UnreportedNotApplicable"]);
    let counts: Vec<String> = counts.map(|count| format!("{count}Count")).collect();
    let text = |text: &str| text.to_owned();
    let operation = if install { "Install" } else { "Scan" };
    let mut lines = vec![
        ("PatchGroup", String::new()),
        ("BaselineId", String::new()),
        ("Baseline", text("null")),
        ("SnapshotId", String::new()),
        ("RebootOption", text("RebootIfNeeded")),
        ("OwnerInformation", String::new()),
        ("OperationType", text(operation)),
        ("OperationStartTime", text("1970-01-01T00:00:00.0000000Z")),
        ("OperationEndTime", text("1970-01-01T00:00:00.0000000Z")),
    ];
    lines.extend(counts.iter().map(|count| (count.as_str(), text("-1"))));
    summary_lines(computer_name, &lines)
}

fn summary_lines(computer_name: &str, lines: &[(&str, String)]) -> String {
    let lines = lines.iter().map(|(name, value)| format!("{name:<28}: {value}\n"));
    format!("\nPatch Summary for {computer_name}\n\n{}", lines.collect::<String>())
}

/// At most `limit` characters, of which the mark is part.
pub(crate) fn cut(text: &str, limit: usize, mark: &str) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit.saturating_sub(mark.chars().count())).collect();
    kept + mark
}

/// GetCommandInvocation's limits (S 6.3.3).
pub(crate) fn of_invocation(stdout: &str, stderr: &str) -> (String, String) {
    const MARK: &str = "\n--output truncated--";
    (cut(stdout, 24_000, MARK), cut(stderr, 8_000, MARK))
}

/// The Output of a CommandPlugin: both streams in 2,500 characters (S 6.3.7).
pub(crate) fn of_plugin(stdout: &str, stderr: &str) -> String {
    const LIMIT: usize = 2_500;
    const TITLE: &str = "\n----------ERROR-------\n";
    if stderr.is_empty() {
        return cut(stdout, LIMIT, "\n---Output truncated---");
    }
    let stderr = cut(stderr, LIMIT / 2 - TITLE.len(), "\n---Error truncated----");
    let room = LIMIT - TITLE.len() - stderr.chars().count();
    format!("{}{TITLE}{stderr}", cut(stdout, room, "\n---Output truncated---"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_at_the_limits_with_the_right_marks() {
        // S 6.3.3 and 6.3.7.
        let long = "x".repeat(30_000);
        let (stdout, stderr) = of_invocation(&long, &long);
        assert_eq!((stdout.len(), stderr.len()), (24_000, 8_000));
        assert!(stdout.ends_with("--output truncated--") && stderr.ends_with("--output truncated--"));
        let both = of_plugin(&long, &long);
        assert_eq!(both.len(), 2_500);
        assert!(both.contains("\n---Output truncated---\n----------ERROR-------\n"), "{both}");
        assert!(both.ends_with("\n---Error truncated----"));
        assert_eq!(of_plugin("fine", ""), "fine");
    }

    #[test]
    fn foreign_steps_are_skipped_with_the_words_of_the_agent() {
        // S 7.1.4.
        assert_eq!(
            skipped("PatchWindows", "PatchLinux"),
            "Step execution skipped due to unsatisfied preconditions: '\"StringEquals\": [platformType, Windows]'. \
             Step name: PatchWindows"
        );
        assert_eq!(
            skipped("PatchLinux", "PatchWindows"),
            "Step execution skipped due to unsupported plugin: aws:runShellScript. Step name: PatchLinux"
        );
    }
}
