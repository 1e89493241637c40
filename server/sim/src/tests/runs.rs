//! Scans and installs, from SendCommand to the node's report.

use super::*;

#[test]
fn a_new_command_is_not_seen_for_a_moment_and_its_echo_has_the_empty_strings_of_aws() {
    // S 1.25 and the recorded answer of S 6.1.19; expiry: S 6.1.17.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).create();
    let request = json!({
        "DocumentName": "AWS-RunPatchBaseline", "InstanceIds": ids, "Parameters": { "Operation": ["Scan"] },
    });
    let command = wire.ok("SendCommand", request)["Command"].clone();
    for (member, expected) in [
        ("Status", json!("Pending")),
        ("StatusDetails", json!("Pending")),
        ("DocumentVersion", json!("")),
        ("OutputS3BucketName", json!("")),
        ("ServiceRole", json!("")),
        ("Targets", json!([])),
        ("MaxConcurrency", json!("50")),
        ("MaxErrors", json!("0")),
        ("TargetCount", json!(1)),
        ("CompletedCount", json!(0)),
        ("NotificationConfig", json!({ "NotificationArn": "", "NotificationEvents": [], "NotificationType": "" })),
        ("CloudWatchOutputConfig", json!({ "CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": false })),
    ] {
        assert_eq!(command[member], expected, "{member}");
    }
    let lifetime = command["ExpiresAfter"].as_f64().unwrap() - command["RequestedDateTime"].as_f64().unwrap();
    assert_eq!(lifetime, 10_800.0);
    let id = command["CommandId"].as_str().unwrap();
    let one = json!({ "CommandId": id, "InstanceId": ids[0], "PluginName": "PatchLinux" });
    wire.pass(1);
    assert_eq!(wire.ok("ListCommandInvocations", json!({ "CommandId": id }))["CommandInvocations"], json!([]));
    assert_eq!(wire.ok("ListCommands", json!({}))["Commands"], json!([]));
    assert_eq!(wire.error("GetCommandInvocation", one.clone()), "InvocationDoesNotExist");
    wire.pass(2);
    assert_eq!(wire.ok("ListCommands", json!({}))["Commands"][0]["CommandId"], id);
    let invocation = wire.ok("GetCommandInvocation", one);
    assert_eq!((&invocation["ResponseCode"], &invocation["ExecutionElapsedTime"]), (&json!(-1), &json!("")));
}

#[test]
fn a_scan_has_three_steps_of_which_two_are_skipped() {
    // S 7.1.3–5, 6.3.1.
    let wire = Wire::new();
    for (builder, own, skip) in [
        (
            wire.here().add_nodes(1),
            "PatchLinux",
            "unsatisfied preconditions: '\"StringEquals\": [platformType, Windows]'",
        ),
        (wire.here().add_nodes(1).windows_2019(), "PatchWindows", "unsupported plugin: aws:runShellScript"),
    ] {
        let ids = builder.missing_patches(2).create();
        let command = wire.run(&ids, json!({ "Operation": ["Scan"] }));
        wire.pass(60);
        let invocation = wire.invocation(&command);
        assert_eq!(invocation["Status"], "Success");
        let plugins = invocation["CommandPlugins"].as_array().unwrap();
        let names: Vec<_> = plugins.iter().map(|p| p["Name"].as_str().unwrap()).collect();
        assert_eq!(names, ["PatchWindows", "PatchLinux", "PatchMacOS"]);
        for plugin in plugins {
            assert_eq!((&plugin["Status"], &plugin["ResponseCode"]), (&json!("Success"), &json!(0)));
            let skipped = plugin["Output"].as_str().unwrap().contains("Step execution skipped");
            assert_eq!(skipped, plugin["Name"] != own, "{plugin}");
        }
        assert!(plugins.iter().any(|p| p["Output"].as_str().unwrap().contains(skip)));
        let one = json!({ "CommandId": command, "InstanceId": ids[0] });
        assert_eq!(wire.error("GetCommandInvocation", one), "InvalidPluginName");
        let summary = wire.ok("ListCommands", json!({ "CommandId": command }))["Commands"][0].clone();
        assert_eq!((&summary["Status"], &summary["CompletedCount"]), (&json!("Success"), &json!(1)));
    }
}

#[test]
fn windows_prints_its_patch_summary() {
    // S 7.1.12.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).windows_2019().missing_patches(2).create();
    let command = wire.run(&ids, json!({ "Operation": ["Scan"] }));
    wire.pass(60);
    let one = json!({ "CommandId": command, "InstanceId": ids[0], "PluginName": "PatchWindows" });
    let output = wire.ok("GetCommandInvocation", one)["StandardOutputContent"].as_str().unwrap().to_owned();
    assert!(output.contains("Patch Summary for EC2AMAZ-"), "{output}");
    assert!(output.lines().any(|line| line.starts_with("MissingCount") && line.ends_with(": 2")), "{output}");
    assert_eq!(wire.state(&ids[0])["MissingCount"], 2);
}

#[test]
fn a_scan_reports_what_is_missing_and_overwrites_the_last_report() {
    // S 8.1.1–4, 8.2.1, 8.2.7, 8.3.7, 5.11.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).missing_patches(3).create();
    let states = wire.ok("DescribeInstancePatchStates", json!({ "InstanceIds": ids }));
    assert_eq!(states["InstancePatchStates"], json!([]), "no data, no row and no error");
    let snapshot = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    wire.run(&ids, json!({ "Operation": ["Scan"], "SnapshotId": [snapshot] }));
    wire.pass(60);
    let state = wire.state(&ids[0]);
    for (member, expected) in [
        ("PatchGroup", json!("")),
        ("BaselineId", json!("pb-0be8c61cde3be63f3")),
        ("SnapshotId", json!(snapshot)),
        ("Operation", json!("Scan")),
        ("MissingCount", json!(3)),
        ("CriticalNonCompliantCount", json!(0)),
        ("OwnerInformation", json!("")),
    ] {
        assert_eq!(state[member], expected, "{member}");
    }
    assert_eq!(wire.here().missing(&ids[0]), 3);
    let missing = json!({ "InstanceId": ids[0], "Filters": [{ "Key": "State", "Values": ["Missing"] }] });
    let patches = wire.ok("DescribeInstancePatches", missing)["Patches"].as_array().unwrap().clone();
    assert_eq!(patches.len(), 3);
    for patch in &patches {
        assert_eq!((&patch["State"], &patch["InstalledTime"]), (&json!("Missing"), &json!(0)));
        let (title, kb) = (patch["Title"].as_str().unwrap(), patch["KBId"].as_str().unwrap());
        assert!(title.starts_with(&format!("{kb}:")), "{title}");
    }
    let other = json!({ "InstanceId": ids[0], "Filters": [{ "Key": "State", "Values": ["InstalledOther"] }] });
    for patch in wire.ok("DescribeInstancePatches", other)["Patches"].as_array().unwrap() {
        assert_eq!((&patch["Classification"], &patch["Severity"]), (&json!(""), &json!("")));
    }
    wire.run(&ids, json!({ "Operation": ["Scan"] }));
    wire.pass(60);
    assert_ne!(wire.state(&ids[0])["SnapshotId"], snapshot);
    assert_eq!(wire.here().scans(&ids[0]), 2);
}

#[test]
fn an_install_reboots_reruns_the_step_and_leaves_nothing_missing() {
    // S 7.2.1, 7.2.4, 8.2.8.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).missing_patches(4).create();
    let ping = || {
        let nodes = wire.ok("DescribeInstanceInformation", json!({}));
        let node = &nodes["InstanceInformationList"][0];
        assert_eq!(node["PingStatus"], "Online");
        node["LastPingDateTime"].as_f64().unwrap()
    };
    let command = wire.run(&ids, json!({ "Operation": ["Install"], "RebootOption": ["RebootIfNeeded"] }));
    let (mut longest_silence, mut ended) = (0.0_f64, None);
    for _ in 0..400 {
        wire.pass(1);
        let now = wire.0.clock().now().as_second() as f64;
        longest_silence = longest_silence.max(now - ping());
        match wire.invocation(&command)["Status"].as_str() {
            Some("Success") => {
                ended = Some(now);
                break;
            }
            status => assert!(matches!(status, None | Some("Pending" | "InProgress")), "{status:?}"),
        }
    }
    let ended = ended.expect("the run ends");
    assert_eq!((wire.here().installs(&ids[0]), wire.here().reboots(&ids[0])), (1, 1));
    assert_eq!(wire.here().missing(&ids[0]), 0);
    assert!(ended - ping() <= 16.0, "it pinged after its boot, before the invocation ended");
    wire.pass(30);
    assert!(ping() > ended, "and once more after it");
    let state = wire.state(&ids[0]);
    assert_eq!((&state["MissingCount"], &state["InstalledPendingRebootCount"]), (&json!(0), &json!(0)));
    assert_eq!(state["Operation"], "Install");
}

#[test]
fn without_a_reboot_the_patches_are_pending() {
    // S 7.2.2.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).missing_patches(3).create();
    wire.run(&ids, json!({ "Operation": ["Install"], "RebootOption": ["NoReboot"] }));
    wire.pass(300);
    let state = wire.state(&ids[0]);
    assert_eq!((&state["MissingCount"], &state["InstalledPendingRebootCount"]), (&json!(0), &json!(3)));
    assert_eq!(state["LastNoRebootInstallOperationTime"], state["OperationEndTime"]);
    assert_eq!(wire.here().reboots(&ids[0]), 0);
}

#[test]
fn failed_patches_are_failed_and_not_missing() {
    // S 8.2.8, 6.3.8; the command's errors: S 6.2.7.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).missing_patches(2).install_fails().create();
    let command = wire.run(&ids, json!({ "Operation": ["Install"] }));
    wire.pass(300);
    let invocation = wire.invocation(&command);
    assert_eq!((&invocation["Status"], &invocation["StatusDetails"]), (&json!("Failed"), &json!("Failed")));
    let output = invocation["CommandPlugins"][1]["Output"].as_str().unwrap().to_owned();
    assert!(output.ends_with("failed to run commands: exit status 1"), "{output}");
    let state = wire.state(&ids[0]);
    assert_eq!((&state["FailedCount"], &state["MissingCount"]), (&json!(2), &json!(0)));
    let summary = wire.ok("ListCommands", json!({ "CommandId": command }))["Commands"][0].clone();
    assert_eq!((&summary["Status"], &summary["ErrorCount"]), (&json!("Failed"), &json!(1)));
}

#[test]
fn two_runs_at_once_on_a_node_fight_for_the_lock() {
    // S 7.1.13; sending twice runs twice (S 3.1.8).
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).missing_patches(2).create();
    let first = wire.run(&ids, json!({ "Operation": ["Install"] }));
    let second = wire.run(&ids, json!({ "Operation": ["Install"] }));
    wire.pass(600);
    let mut states = [first, second].map(|command| wire.invocation(&command)["Status"].as_str().unwrap().to_owned());
    states.sort();
    assert_eq!(states, ["Failed", "Success"]);
    assert_eq!(wire.here().installs(&ids[0]), 2);
}

#[test]
fn a_node_that_does_not_listen_times_out_at_the_commands_expiry() {
    // S 6.1.5, 6.1.17–18; neither kind counts as an error (S 6.1.16).
    let wire = Wire::new();
    let mut ids = wire.here().add_nodes(1).stopped().create();
    ids.extend(wire.here().add_nodes(1).offline().create());
    let command = wire.run(&ids, json!({ "Operation": ["Scan"] }));
    wire.pass(10_799);
    let pending = wire.ok("ListCommands", json!({ "CommandId": command }))["Commands"][0].clone();
    assert_eq!((&pending["Status"], &pending["CompletedCount"]), (&json!("Pending"), &json!(0)));
    wire.pass(1);
    let done = wire.ok("ListCommands", json!({ "CommandId": command }))["Commands"][0].clone();
    assert_eq!((&done["StatusDetails"], &done["DeliveryTimedOutCount"]), (&json!("DeliveryTimedOut"), &json!(2)));
    assert_eq!(done["ErrorCount"], 0);
}

#[test]
fn one_bad_id_refuses_the_whole_command() {
    // S 6.1.4 and 6.1.7.
    let wire = Wire::new();
    let good = wire.here().add_nodes(1).create();
    let unmanaged = wire.here().add_nodes(1).unmanaged().create();
    let unknown = "i-00000000000000000";
    let request = |ids: Value| json!({ "DocumentName": "AWS-RunPatchBaseline", "InstanceIds": ids, "Parameters": { "Operation": ["Scan"] } });
    let (status, answer) = wire.ssm("SendCommand", &request(json!([good[0], unknown, unmanaged[0]])));
    let expected = format!("Instances [[{unknown}, {}]] not in a valid state for account {ACCOUNT}", unmanaged[0]);
    assert_eq!((status, &answer["__type"], &answer["Message"]), (400, &json!("InvalidInstanceId"), &json!(expected)));
    assert_eq!(wire.error("SendCommand", request(json!([good[0], good[0]]))), "DuplicateInstanceId");
    assert_eq!(wire.here().commands(), 0);
}

#[test]
fn documents_and_parameters_are_checked() {
    // S 6.1.9 and 7.1.2.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).create();
    for (document, parameters, expected) in [
        ("No-Such-Document", json!({ "Operation": ["Scan"] }), "InvalidDocument"),
        ("AWS-RunPatchBaseline", json!({}), "InvalidParameters"),
        ("AWS-RunPatchBaseline", json!({ "Operation": ["scan"] }), "InvalidParameters"),
        ("AWS-RunPatchBaseline", json!({ "Operation": ["Scan"], "LevelUp": ["1"] }), "InvalidParameters"),
        ("AWS-RunPatchBaseline", json!({ "Operation": ["Scan"], "SnapshotId": ["1"] }), "InvalidParameters"),
        ("AWS-RunPatchBaseline", json!({ "Operation": ["Scan", "Install"] }), "InvalidParameters"),
        ("AWS-RunPatchBaseline", json!({ "Operation": "Scan" }), "SerializationException"),
    ] {
        let request = json!({ "DocumentName": document, "InstanceIds": ids, "Parameters": parameters });
        assert_eq!(wire.error("SendCommand", request), expected, "{document} {parameters}");
    }
}

#[test]
fn cancelling_spares_what_has_not_begun() {
    // S 6.4.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).create();
    let command = wire.run(&ids, json!({ "Operation": ["Scan"] }));
    assert_eq!(wire.ok("CancelCommand", json!({ "CommandId": command })), json!({}));
    wire.pass(60);
    assert_eq!(wire.invocation(&command)["Status"], "Cancelled");
    assert_eq!(wire.here().scans(&ids[0]), 0);
    let unknown = json!({ "CommandId": "3f2504e0-4f89-41d3-9a0c-0305e82c3301" });
    assert_eq!(wire.error("CancelCommand", unknown), "InvalidCommandId");
}

#[test]
fn five_hundred_nodes_are_patched_by_ten_commands() {
    // S 6.1.1: 50 ids a call.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(500).missing_patches(3).create();
    for batch in ids.chunks(50) {
        wire.run(batch, json!({ "Operation": ["Install"] }));
    }
    wire.pass(600);
    assert!(ids.iter().all(|id| wire.here().missing(id) == 0 && wire.here().installs(id) == 1));
}

#[test]
fn a_tag_target_that_matches_nothing_is_no_error() {
    // S 6.1.6.
    let wire = Wire::new();
    let id = wire.here().add_nodes(1).in_group("web").create().remove(0);
    let send = |group: &str| {
        let request = json!({
            "DocumentName": "AWS-RunPatchBaseline",
            "Targets": [{ "Key": "tag:Patch Group", "Values": [group] }],
            "Parameters": { "Operation": ["Scan"] },
        });
        let command = wire.ok("SendCommand", request)["Command"]["CommandId"].clone();
        wire.pass(60);
        wire.ok("ListCommands", json!({ "CommandId": command }))["Commands"][0].clone()
    };
    let nobody = send("wbe");
    assert_eq!((&nobody["StatusDetails"], &nobody["TargetCount"]), (&json!("NoInstancesInTag"), &json!(0)));
    assert_eq!(send("web")["StatusDetails"], "Success");
    assert_eq!(wire.here().scans(&id), 1);
}

#[test]
fn a_node_is_tried_only_once_a_slot_is_free_and_not_at_all_after_too_many_errors() {
    // S 6.1.12–15.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(3).missing_patches(1).install_fails().create();
    let request = json!({
        "DocumentName": "AWS-RunPatchBaseline", "InstanceIds": ids, "MaxConcurrency": "1", "MaxErrors": "1",
        "Parameters": { "Operation": ["Install"] },
    });
    let command = wire.ok("SendCommand", request)["Command"]["CommandId"].clone();
    wire.pass(600);
    let answer = wire.ok("ListCommandInvocations", json!({ "CommandId": command }));
    let details: Vec<_> =
        answer["CommandInvocations"].as_array().unwrap().iter().map(|i| &i["StatusDetails"]).collect();
    assert_eq!(details, ["Failed", "Failed", "Terminated"]);
    assert_eq!(wire.ok("ListCommands", json!({}))["Commands"][0]["Status"], "Failed");
    assert_eq!(wire.here().installs(&ids[2]), 0);
}

#[test]
fn a_command_goes_out_to_one_node_then_to_two_then_to_four() {
    // S 6.1.14; the pace of two seconds is unverified.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(10).create();
    let request = json!({
        "DocumentName": "AWS-RunPatchBaseline", "InstanceIds": ids, "MaxConcurrency": "9",
        "Parameters": { "Operation": ["Scan"] },
    });
    let command = wire.ok("SendCommand", request)["Command"]["CommandId"].clone();
    for (seconds, begun) in [(4, 1), (2, 3), (2, 7), (2, 9)] {
        wire.pass(seconds);
        let answer = wire.ok("ListCommandInvocations", json!({ "CommandId": command }));
        let invocations = answer["CommandInvocations"].as_array().unwrap().iter();
        assert_eq!(invocations.filter(|i| i["Status"] == "InProgress").count(), begun, "after {seconds} s more");
    }
}

#[test]
fn a_document_that_does_not_patch_runs_its_script_and_leaves_no_trace_of_patching() {
    let wire = Wire::new();
    let id = wire.here().add_nodes(1).create().remove(0);
    for (line, status, code, output) in [("echo hello", "Success", 0, "hello\n"), ("exit 3", "Failed", 3, "")] {
        let request = json!({
            "DocumentName": "AWS-RunShellScript", "InstanceIds": [id], "Parameters": { "commands": [line] },
        });
        let command = wire.ok("SendCommand", request)["Command"]["CommandId"].clone();
        wire.pass(10);
        // One step, which need not be named (S 6.3.1–2).
        let answer = wire.ok("GetCommandInvocation", json!({ "CommandId": command, "InstanceId": id }));
        assert_eq!(answer["PluginName"], "aws:runShellScript");
        assert_eq!((&answer["Status"], &answer["ResponseCode"]), (&json!(status), &json!(code)));
        assert_eq!(answer["StandardOutputContent"], output);
    }
    assert_eq!((wire.here().scans(&id), wire.state(&id)), (0, Value::Null));
}
