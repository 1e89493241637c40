//! Nodes and agents that misbehave: what the API says of them, and when.

use super::*;

const INSTALL: &str = "Install";
/// RequestedDateTime + TimeoutSeconds + the step's timeout (S 6.1.17).
const LIFETIME: u64 = 10_800;

impl Wire {
    /// A node with updates missing and this trouble, and an operation begun on it.
    fn troubled(&self, trouble: Trouble, operation: &str) -> (String, String) {
        let id = self.here().add_nodes(1).missing_patches(2).troubled(trouble).create().remove(0);
        let command = self.run(std::slice::from_ref(&id), json!({ "Operation": [operation] }));
        (id, command)
    }

    fn details(&self, command: &str) -> (String, String) {
        let invocation = self.invocation(command);
        let text = |member: &str| invocation[member].as_str().unwrap().to_owned();
        (text("Status"), text("StatusDetails"))
    }

    fn ping(&self, id: &str) -> (String, f64) {
        let filters = json!([{ "Key": "InstanceIds", "Values": [id] }]);
        let node =
            self.ok("DescribeInstanceInformation", json!({ "Filters": filters }))["InstanceInformationList"][0].clone();
        (node["PingStatus"].as_str().unwrap().to_owned(), node["LastPingDateTime"].as_f64().unwrap())
    }

    fn output(&self, command: &str, id: &str, step: &str) -> (i64, String, String) {
        let one = json!({ "CommandId": command, "InstanceId": id, "PluginName": step });
        let answer = self.ok("GetCommandInvocation", one);
        let text = |member: &str| answer[member].as_str().unwrap().to_owned();
        (answer["ResponseCode"].as_i64().unwrap(), text("StandardOutputContent"), text("StandardErrorContent"))
    }
}

fn is(status: &str, details: &str) -> (String, String) {
    (status.to_owned(), details.to_owned())
}

#[test]
fn a_node_that_does_not_come_back_leaves_its_command_in_progress_until_it_expires() {
    // S 6.2.5, 6.1.18; aws/amazon-ssm-agent#320.
    let wire = Wire::new();
    let (id, command) = wire.troubled(Trouble::NeverBack, INSTALL);
    wire.pass(600);
    let (status, last) = wire.ping(&id);
    assert_eq!(status, "Online", "S 14.14");
    assert_eq!(wire.state(&id)["InstalledPendingRebootCount"], 2, "what it did is known");
    wire.pass(LIFETIME - 601);
    assert_eq!((wire.details(&command), wire.here().reboots(&id)), (is("InProgress", "InProgress"), 0));
    wire.pass(1);
    assert_eq!(wire.details(&command), is("TimedOut", "DeliveryTimedOut"));
    assert_eq!(wire.ping(&id), ("ConnectionLost".to_owned(), last));
    wire.here().comes_back(&id);
    wire.pass(60);
    assert_eq!(wire.details(&command), is("TimedOut", "DeliveryTimedOut"), "what has ended stays so");
    assert_eq!((wire.here().reboots(&id), wire.here().missing(&id)), (1, 0));
    assert_eq!(wire.state(&id)["InstalledPendingRebootCount"], 0, "the step ran again, late");
    assert_eq!(wire.ping(&id).0, "Online");
}

#[test]
fn a_node_that_comes_back_late_ends_well_if_its_command_still_lives() {
    // S 7.2.4; aws/amazon-ssm-agent#289.
    let wire = Wire::new();
    let late = |minutes: u64| Trouble::BackAfter(Duration::from_secs(minutes * 60));
    let (id, command) = wire.troubled(late(40), INSTALL);
    wire.pass(40 * 60);
    assert_eq!(
        (wire.details(&command), wire.ping(&id).0),
        (is("InProgress", "InProgress"), "ConnectionLost".to_owned())
    );
    wire.pass(240);
    assert_eq!((wire.details(&command), wire.ping(&id).0), (is("Success", "Success"), "Online".to_owned()));
    let (id, command) = wire.troubled(late(240), INSTALL);
    wire.pass(LIFETIME);
    assert_eq!(wire.details(&command), is("TimedOut", "DeliveryTimedOut"));
    wire.pass(2 * 3600);
    assert_eq!((wire.details(&command), wire.ping(&id).0), (is("TimedOut", "DeliveryTimedOut"), "Online".to_owned()));
    assert_eq!(wire.state(&id)["InstalledPendingRebootCount"], 0);
    assert_eq!(wire.here().installs(&id), 1);
}

#[test]
fn a_run_that_hangs_is_in_progress_until_its_command_expires_and_cannot_be_cancelled() {
    // S 6.1.18, 6.4.2.
    let wire = Wire::new();
    let (id, command) = wire.troubled(Trouble::Hangs, "Scan");
    wire.pass(3600);
    assert_eq!(wire.details(&command), is("InProgress", "InProgress"));
    let heard = wire.0.clock().now().as_second() as f64 - wire.ping(&id).1;
    assert!(heard <= 300.0, "its agent is heard of: {heard}");
    wire.ok("CancelCommand", json!({ "CommandId": command }));
    wire.here().trouble(&id, None);
    wire.pass(LIFETIME - 3601);
    assert_eq!(wire.details(&command), is("Cancelling", "Cancelling"));
    wire.pass(1);
    assert_eq!(wire.details(&command), is("TimedOut", "DeliveryTimedOut"));
    let command = wire.run(std::slice::from_ref(&id), json!({ "Operation": ["Scan"] }));
    wire.pass(60);
    assert_eq!(wire.details(&command), is("Success", "Success"), "the next run goes well");
}

#[test]
fn a_script_that_runs_too_long_is_stopped_by_its_agent_or_by_a_cancellation() {
    // S 6.1.17, 6.2, 6.2.7: ExecutionTimedOut counts as an error.
    let wire = Wire::new();
    let (id, command) = wire.troubled(Trouble::RunsTooLong, "Scan");
    wire.pass(7200);
    assert_eq!(wire.details(&command), is("InProgress", "InProgress"));
    wire.pass(4);
    assert_eq!(wire.details(&command), is("TimedOut", "ExecutionTimedOut"));
    assert_eq!(wire.output(&command, &id, "PatchLinux").0, 137);
    assert_eq!(wire.ok("ListCommands", json!({}))["Commands"][0]["ErrorCount"], 1);
    let command = wire.run(std::slice::from_ref(&id), json!({ "Operation": ["Scan"] }));
    wire.pass(60);
    wire.ok("CancelCommand", json!({ "CommandId": command }));
    assert_eq!(wire.details(&command), is("Cancelling", "Cancelling"));
    wire.pass(5);
    assert_eq!(wire.details(&command), is("Cancelled", "Cancelled"));
}

#[test]
fn failures_before_any_patch_have_the_codes_and_the_words_of_their_sources() {
    // The user guide's page "Troubleshooting Patch Manager", S 7.1.9–11 and the issues named in `trouble.rs`.
    let wire = Wire::new();
    type Platform = fn(NodeBuilder) -> NodeBuilder;
    let linux: Platform = NodeBuilder::amazon_linux_2;
    let of: [(Platform, Trouble, i64, &str, &str); 12] = [
        (linux, Trouble::Locked, 1, "root [INFO]: another process has acquired yum lock, waiting 2 s and retry.", ""),
        (
            NodeBuilder::ubuntu,
            Trouble::Locked,
            2,
            "",
            "install errors: dpkg: error: dpkg frontend is locked by another process",
        ),
        (
            NodeBuilder::amazon_linux_2023,
            Trouble::Locked,
            1,
            "",
            "can't create transaction lock on /var/lib/rpm/.rpm.lock",
        ),
        (
            linux,
            Trouble::DiskFull,
            155,
            "No space left on device",
            "/var/log/amazon/ssm/patch-baseline-operations/patch-baseline-operations-1.80.tar.gz.failed to run commands: exit status 155",
        ),
        (
            linux,
            Trouble::PayloadBroken,
            152,
            "",
            "Unable to load and extract the content of payload, abort.failed to run commands: exit status 152",
        ),
        (
            linux,
            Trouble::PayloadUnreachable,
            156,
            "Error code returned from curl",
            "Unable to download payload: https://s3.dualstack.us-east-1.amazonaws.com/aws-ssm-us-east-1/patchbaselineoperations/linux/payloads/patch-baseline-operations-1.80.tar.gz.failed to run commands: exit status 156",
        ),
        (linux, Trouble::SourceUnreachable, 1, "[Errno 256] No more mirrors to try.", ""),
        (NodeBuilder::ubuntu, Trouble::SourceUnreachable, 1, "", "E: Some index files failed to download."),
        (NodeBuilder::rhel, Trouble::SourceUnreachable, 1, "", "Error: Failed to download metadata for repo"),
        (
            linux,
            Trouble::UnsupportedOs,
            146,
            "An error occurred (UnsupportedOperatingSystem) when calling the GetDeployablePatchSnapshotForInstance operation: ",
            "",
        ),
        (
            NodeBuilder::windows_2022,
            Trouble::SourceUnreachable,
            -1,
            "InstalledCount              : -1",
            "Exception from HRESULT: 0x80072EE2",
        ),
        (
            NodeBuilder::windows_2022,
            Trouble::Locked,
            -1,
            "OperationStartTime          : 1970-01-01",
            "Exception from HRESULT: 0x80240016",
        ),
    ];
    for (platform, trouble, code, stdout, stderr) in of {
        let builder = platform(wire.here().add_nodes(1).missing_patches(1));
        let id = builder.troubled(trouble.clone()).create().remove(0);
        let command = wire.run(std::slice::from_ref(&id), json!({ "Operation": [INSTALL] }));
        wire.pass(600);
        assert_eq!(wire.details(&command), is("Failed", "Failed"), "{trouble:?}");
        let step = if code == -1 { "PatchWindows" } else { "PatchLinux" };
        let found = wire.output(&command, &id, step);
        assert_eq!(found.0, code, "{trouble:?}");
        assert!(found.1.contains(stdout) && found.2.contains(stderr), "{trouble:?}: {found:?}");
        let status = if code == -1 { "4294967295".to_owned() } else { code.to_string() };
        assert!(found.2.ends_with(&format!("failed to run commands: exit status {status}")), "S 6.3.8: {found:?}");
        let states = wire.ok("DescribeInstancePatchStates", json!({ "InstanceIds": [id] }));
        assert_eq!(states["InstancePatchStates"], json!([]), "{trouble:?}: nothing was reported");
        wire.here().trouble(&id, None);
        let command = wire.run(std::slice::from_ref(&id), json!({ "Operation": [INSTALL] }));
        wire.pass(600);
        assert_eq!(wire.details(&command), is("Success", "Success"), "{trouble:?} is over");
    }
}

#[test]
fn one_patch_can_fail_among_others() {
    // S 8.2.8.
    let wire = Wire::new();
    let updates = ["curl.x86_64", "openssl.x86_64"];
    let builder =
        wire.here().add_nodes(1).missing_updates(&updates).troubled(Trouble::PatchFails(updates[0].to_owned()));
    let id = builder.create().remove(0);
    let before = wire.here().missing(&id);
    let command = wire.run(std::slice::from_ref(&id), json!({ "Operation": [INSTALL] }));
    wire.pass(600);
    assert_eq!(wire.details(&command), is("Failed", "Failed"));
    assert_eq!((&wire.state(&id)["FailedCount"], &wire.state(&id)["MissingCount"]), (&json!(1), &json!(0)));
    assert!(before > 1, "{before}");
    assert_eq!(wire.here().missing(&id), 1);
}

#[test]
fn a_scan_by_others_can_overwrite_an_installations_report_before_anybody_reads_it() {
    // S 8.2.1, 8.3.2: one record a node; compliance items name the command.
    let wire = Wire::new();
    let snapshot = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    let id = wire.here().add_nodes(1).missing_patches(2).troubled(Trouble::ScannedByOthers).create().remove(0);
    wire.here().compliance_appears_after(Duration::from_secs(3600));
    let command = wire.run(std::slice::from_ref(&id), json!({ "Operation": [INSTALL], "SnapshotId": [snapshot] }));
    wire.pass(5);
    while wire.details(&command).0 != "Success" {
        wire.pass(1);
        let states = wire.ok("DescribeInstancePatchStates", json!({ "InstanceIds": [id] }));
        let state = &states["InstancePatchStates"][0];
        let ours = state["SnapshotId"] == snapshot;
        assert!(!ours || state["InstalledPendingRebootCount"] == 2, "ours is seen only before the reboot: {state}");
    }
    let state = wire.state(&id);
    assert_eq!((&state["Operation"], &state["MissingCount"]), (&json!("Scan"), &json!(0)));
    assert_eq!((wire.here().installs(&id), wire.here().scans(&id)), (1, 1));
    let executions = || {
        let items = wire.ok("ListComplianceItems", json!({ "ResourceIds": [id] }))["ComplianceItems"].clone();
        items[0]["ExecutionSummary"]["ExecutionId"].as_str().unwrap().to_owned()
    };
    assert_eq!(executions(), command, "the items of the installation are still there");
    wire.pass(3600);
    let newest = wire.ok("ListCommands", json!({}))["Commands"][0].clone();
    assert_eq!(
        (executions(), &newest["Comment"]),
        (newest["CommandId"].as_str().unwrap().to_owned(), &json!("scanned by somebody else"))
    );
}
