//! Maintenance windows as they run: when, what, in which order, and what becomes of it.

use super::{
    windows::{example, with_ids},
    *,
};

/// 00:00 UTC on the Monday at which [`Wire::new`] starts, in epoch seconds.
const START: i64 = 1_763_942_400;
const HOUR: u64 = 3600;

impl Wire {
    fn executions(&self, window: &str) -> Vec<Value> {
        let answer = self.ok("DescribeMaintenanceWindowExecutions", json!({ "WindowId": window }));
        answer["WindowExecutions"].as_array().unwrap().clone()
    }

    fn statuses(&self, window: &str) -> Vec<String> {
        self.executions(window).iter().map(|row| row["Status"].as_str().unwrap().to_owned()).collect()
    }

    fn tasks(&self, execution: &Value) -> Vec<Value> {
        let request = json!({ "WindowExecutionId": execution["WindowExecutionId"] });
        let answer = self.ok("DescribeMaintenanceWindowExecutionTasks", request);
        answer["WindowExecutionTaskIdentities"].as_array().unwrap().clone()
    }

    fn task_invocations(&self, task: &Value) -> Vec<Value> {
        let request = json!({ "WindowExecutionId": task["WindowExecutionId"], "TaskId": task["TaskExecutionId"] });
        let answer = self.ok("DescribeMaintenanceWindowExecutionTaskInvocations", request);
        answer["WindowExecutionTaskInvocationIdentities"].as_array().unwrap().clone()
    }

    fn next(&self, window: &str) -> Value {
        self.ok("GetMaintenanceWindow", json!({ "WindowId": window }))["NextExecutionTime"].clone()
    }

    /// A window that scans the group `web` and runs at 03:00 every night.
    fn nightly(&self, changes: Value) -> String {
        let window = self.window(changes);
        let target = self.window_target(&window, "tag:Patch Group", "web");
        self.window_task(&window, &target, scan());
        window
    }
}

fn scan() -> Value {
    json!({ "TaskInvocationParameters": { "RunCommand": { "Parameters": { "Operation": ["Scan"] } } } })
}

#[test]
fn a_window_patches_its_group_at_the_hour_of_its_zone_and_tells_the_whole_tree() {
    // S 7.1.6, 8.2.6, 9.2.9, 9.5.3–4, 9.5.6; 03:00 in Tokyo is 18:00 UTC of the day before.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(2).in_group("web").missing_patches(2).create();
    let other = wire.here().add_nodes(1).in_group("db").missing_patches(2).create().remove(0);
    let window = wire.window(json!({ "ScheduleTimezone": "Asia/Tokyo" }));
    let target = wire.ok(
        "RegisterTargetWithMaintenanceWindow",
        json!({
            "WindowId": window, "ResourceType": "INSTANCE", "OwnerInformation": "web team",
            "Targets": [{ "Key": "tag:Patch Group", "Values": ["web"] }],
        }),
    );
    let target = target["WindowTargetId"].as_str().unwrap();
    let parameters = json!({ "Operation": ["Install"], "SnapshotId": ["{{ aws:ORCHESTRATION_ID }}"] });
    let parameters = json!({ "RunCommand": { "Comment": "nightly", "Parameters": parameters } });
    wire.window_task(&window, target, json!({ "TaskInvocationParameters": parameters, "MaxConcurrency": "100%" }));
    assert_eq!(wire.next(&window), "2025-11-25T03:00+09:00");
    wire.pass(18 * HOUR - 1);
    assert!(wire.executions(&window).is_empty());
    wire.pass(1);
    let execution = wire.executions(&window).remove(0);
    assert_eq!((&execution["Status"], &execution["StartTime"]), (&json!("IN_PROGRESS"), &json!(START + 18 * 3600)));
    assert_eq!(wire.next(&window), "2025-11-26T03:00+09:00");
    wire.pass(HOUR);

    let execution = wire.executions(&window).remove(0);
    assert_eq!((&execution["Status"], &execution["WindowId"]), (&json!("SUCCESS"), &json!(window)));
    let id = execution["WindowExecutionId"].clone();
    let whole = wire.ok("GetMaintenanceWindowExecution", json!({ "WindowExecutionId": id }));
    let task = wire.tasks(&execution).remove(0);
    assert_eq!(whole["TaskIds"], json!([task["TaskExecutionId"]]));
    assert_eq!((&task["Status"], &task["TaskArn"]), (&json!("SUCCESS"), &json!("AWS-RunPatchBaseline")));
    let [invocation] = &wire.task_invocations(&task)[..] else { panic!("one for the one target") };
    for (member, expected) in [
        ("Status", json!("SUCCESS")),
        ("StatusDetails", json!("Success")),
        ("WindowTargetId", json!(target)),
        ("OwnerInformation", json!("web team")),
        ("TaskType", json!("RUN_COMMAND")),
    ] {
        assert_eq!(invocation[member], expected, "{member}");
    }
    let command = wire.ok("ListCommands", json!({ "CommandId": invocation["ExecutionId"] }))["Commands"][0].clone();
    assert_eq!((&command["Comment"], &command["TargetCount"]), (&json!("nightly"), &json!(2)));
    for node in &ids {
        let state = wire.state(node);
        assert_eq!((wire.here().installs(node), wire.here().missing(node)), (1, 0));
        assert_eq!((&state["SnapshotId"], &state["OwnerInformation"]), (&id, &json!("web team")));
    }
    assert_eq!(wire.here().installs(&other), 0);
}

#[test]
fn an_executed_task_and_its_invocation_read_as_recorded() {
    // The recorded examples of GetMaintenanceWindowExecutionTask and GetMaintenanceWindowExecutionTaskInvocation:
    // which members there are, and their forms.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(3).in_group("web").create();
    let (_, answer) = example(include_str!("../../aws/examples/GetMaintenanceWindowExecutionTask/01.json"));
    let recorded = answer["TaskParameters"][0].as_object().unwrap().clone();
    let given = recorded.iter().filter(|(name, _)| *name != "aws:InstanceId");
    let given: serde_json::Map<_, _> = given.map(|(name, value)| (name.clone(), value["Values"].clone())).collect();
    let window = wire.window(json!({}));
    let target = wire.window_target(&window, "tag:Patch Group", "web");
    let run = json!({ "RunCommand": { "Comment": "", "TimeoutSeconds": 600, "Parameters": given } });
    wire.window_task(
        &window,
        &target,
        json!({
            "TaskInvocationParameters": run, "Priority": 1, "MaxConcurrency": "1", "MaxErrors": "3",
        }),
    );
    wire.pass(4 * HOUR);
    let execution = wire.executions(&window).remove(0);
    let task = wire.tasks(&execution).remove(0);
    let request = json!({ "WindowExecutionId": task["WindowExecutionId"], "TaskId": task["TaskExecutionId"] });
    let ours = wire.ok("GetMaintenanceWindowExecutionTask", request.clone());
    let mut expected = with_ids(&answer, &[("111222333444", ACCOUNT)]);
    for member in ["WindowExecutionId", "TaskExecutionId", "StartTime", "EndTime"] {
        assert!(!ours[member].is_null(), "{member}");
        expected[member] = ours[member].clone();
    }
    expected["StatusDetails"] = "Success".into();
    let mut nodes = ids.clone();
    nodes.sort();
    expected["TaskParameters"][0]["aws:InstanceId"]["Values"] = json!(nodes);
    assert_eq!(ours, expected);

    let (_, answer) = example(include_str!("../../aws/examples/GetMaintenanceWindowExecutionTaskInvocation/01.json"));
    let mut request = request;
    request["InvocationId"] = wire.task_invocations(&task)[0]["InvocationId"].clone();
    let ours = wire.ok("GetMaintenanceWindowExecutionTaskInvocation", request);
    let missing = answer.as_object().unwrap().keys().find(|member| ours[*member].is_null());
    assert_eq!(missing, None);
    let members = |value: &Value| {
        let parameters: Value = serde_json::from_str(value["Parameters"].as_str().unwrap()).unwrap();
        parameters.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(members(&ours), members(&answer));
}

#[test]
fn next_times_are_written_as_aws_writes_them() {
    // S 9.2.11, 9.2.13: the forms of the recorded examples; rates count from the creation, with its milliseconds.
    let wire = Wire::new();
    wire.0.clock().advance(Duration::from_millis(596));
    for (changes, expected) in [
        (json!({ "Schedule": "rate(180 minutes)" }), json!("2025-11-24T03:00:00.596Z")),
        (json!({ "Schedule": "cron(0 16 ? * WED *)" }), json!("2025-11-26T16:00Z")),
        (
            json!({ "Schedule": "cron(56 34 5 ? * SUN *)", "ScheduleTimezone": "America/Los_Angeles" }),
            json!("2025-11-30T05:34:56-08:00"),
        ),
        (
            json!({ "Schedule": "cron(0 2 ? * SUN *)", "ScheduleTimezone": "America/Los_Angeles" }),
            json!("2025-11-30T02:00-08:00"),
        ),
        (json!({ "Schedule": "cron(0 3 ? * TUE#2 *)", "ScheduleOffset": 4 }), json!("2025-12-13T03:00Z")),
        (json!({ "StartDate": "2026-01-01T00:00:00-08:00" }), json!("2026-01-02T03:00Z")),
        (json!({ "EndDate": "2025-11-24T02:00:00Z" }), Value::Null),
        (json!({ "Schedule": "at(2025-11-01T00:00:00)" }), Value::Null),
        (
            json!({ "Schedule": "at(2025-12-24T18:00:00)", "ScheduleTimezone": "Asia/Tokyo" }),
            json!("2025-12-24T18:00+09:00"),
        ),
    ] {
        let window = wire.window(changes.clone());
        assert_eq!(wire.next(&window), expected, "{changes}");
    }
    for bad in [
        json!({ "Schedule": "cron(0 3 * * * *)" }),
        json!({ "Schedule": "rate(1 hours)" }),
        json!({ "ScheduleTimezone": "Mars/Olympus" }),
        json!({ "StartDate": "soon" }),
        json!({ "Schedule": "rate(1 day)", "ScheduleOffset": 1 }),
    ] {
        let mut request = json!({
            "Name": "bad", "Schedule": "rate(1 day)", "Duration": 2, "Cutoff": 1, "AllowUnassociatedTargets": true,
        });
        request.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        assert_eq!(wire.error("CreateMaintenanceWindow", request), "ValidationException", "{bad}");
    }
}

#[test]
fn disabled_and_deleted_windows_start_nothing_and_a_changed_one_runs_at_its_new_time() {
    // S 9.5.10; NextExecutionTime of a disabled window: absent in a recorded example.
    let wire = Wire::new();
    let id = wire.here().add_nodes(1).in_group("web").create().remove(0);
    let (off, gone, moved) = (wire.nightly(json!({})), wire.nightly(json!({})), wire.nightly(json!({})));
    wire.ok("UpdateMaintenanceWindow", json!({ "WindowId": off, "Enabled": false }));
    wire.ok("DeleteMaintenanceWindow", json!({ "WindowId": gone }));
    wire.ok("UpdateMaintenanceWindow", json!({ "WindowId": moved, "Schedule": "cron(0 5 ? * * *)" }));
    assert!(wire.next(&off).is_null());
    wire.pass(4 * HOUR);
    assert_eq!(wire.here().commands(), 0);
    wire.pass(20 * HOUR);
    assert_eq!((wire.statuses(&moved), wire.here().scans(&id)), (vec!["SUCCESS".to_owned()], 1));
    assert_eq!(wire.executions(&moved)[0]["StartTime"], START + 5 * 3600);
    assert!(wire.statuses(&off).is_empty() && wire.statuses(&gone).is_empty());
    wire.ok("UpdateMaintenanceWindow", json!({ "WindowId": off, "Enabled": true }));
    wire.pass(24 * HOUR);
    assert_eq!(wire.statuses(&off), ["SUCCESS"]);
}

#[test]
fn a_jump_of_days_catches_up_every_night_as_if_somebody_had_looked() {
    let story = |looks: u64| {
        let wire = Wire::new();
        let ids = wire.here().add_nodes(2).in_group("web").missing_patches(2).create();
        let window = wire.nightly(json!({}));
        for _ in 0..looks {
            wire.pass(10 * 24 * HOUR / looks);
            wire.executions(&window);
        }
        assert_eq!(wire.statuses(&window), ["SUCCESS"; 10]);
        assert!(ids.iter().all(|id| wire.here().scans(id) == 10));
        wire.0.fingerprint()
    };
    assert_eq!(story(1), story(240));
}

#[test]
fn years_of_frequent_windows_are_caught_up_quickly_and_only_a_month_is_remembered() {
    // The histories' length: S 3.2.
    let wire = Wire::new();
    let id = wire.here().add_nodes(1).in_group("web").create().remove(0);
    let empty = wire.window(json!({ "Schedule": "rate(5 minutes)" }));
    let busy = wire.nightly(json!({ "Schedule": "rate(12 hours)" }));
    wire.pass((3 * 365 * 24 + 1) * HOUR);
    assert_eq!(wire.executions(&empty).len(), 50, "a page");
    assert_eq!(wire.executions(&busy).len(), 50);
    assert_eq!(wire.here().scans(&id), 3 * 365 * 2);
    let mut commands = 0;
    let mut token = Value::Null;
    loop {
        let page = wire.ok("ListCommands", json!({ "NextToken": token, "MaxResults": 50 }));
        commands += page["Commands"].as_array().unwrap().len();
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(commands, 60, "30 days of two a day");
}

#[test]
fn nothing_to_do_overlap_and_refusal_have_their_own_words() {
    // S 9.5.2, 9.5.5, 9.5.11, 9.4.2.
    let wire = Wire::new();
    let silent = wire.here().add_nodes(1).in_group("web").offline().create().remove(0);
    let empty = wire.window(json!({}));
    let nobody = wire.window(json!({}));
    let target = wire.window_target(&nobody, "tag:Patch Group", "wbe");
    wire.window_task(&nobody, &target, scan());
    let refused = wire.window(json!({}));
    let target = wire.window_target(&refused, "tag:Patch Group", "web");
    let bad = json!({ "RunCommand": { "Parameters": { "Operation": ["Scan"], "LevelUp": ["1"] } } });
    wire.window_task(&refused, &target, json!({ "TaskInvocationParameters": bad }));
    let long = wire.nightly(json!({ "Schedule": "rate(1 hour)", "Duration": 1, "Cutoff": 0 }));
    wire.pass(3 * HOUR);
    let only = |window: &str| wire.executions(window).remove(0);
    assert_eq!(
        (&only(&empty)["Status"], &only(&empty)["StatusDetails"]),
        (&json!("SUCCESS"), &json!("No tasks to execute."))
    );
    assert_eq!(only(&nobody)["Status"], "SUCCESS");
    assert_eq!(wire.tasks(&only(&nobody))[0]["StatusDetails"], "No invocations to execute.");
    let text = "The following SSM parameters are invalid: LevelUp";
    assert_eq!((&only(&refused)["Status"], &only(&refused)["StatusDetails"]), (&json!("FAILED"), &json!(text)));
    let task = wire.tasks(&only(&refused)).remove(0);
    let invocation = wire.task_invocations(&task).remove(0);
    assert_eq!((&invocation["Status"], &invocation["ExecutionId"]), (&json!("FAILED"), &Value::Null));
    // The command to a node that does not listen waits for three hours (S 6.1.17–18).
    assert_eq!(wire.statuses(&long), ["SKIPPED_OVERLAPPING", "SKIPPED_OVERLAPPING", "IN_PROGRESS"]);
    wire.pass(HOUR);
    assert_eq!(wire.statuses(&long).last().unwrap(), "TIMED_OUT");
    assert_eq!(wire.here().scans(&silent), 0);
}

#[test]
fn a_failed_command_fails_its_window_and_keeps_to_the_rates_of_its_task() {
    // S 9.4.3, 9.5.5, 6.1.13–15.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(4).in_group("web").missing_patches(1).install_fails().create();
    let window = wire.window(json!({}));
    let target = wire.window_target(&window, "tag:Patch Group", "web");
    wire.window_task(&window, &target, json!({ "MaxConcurrency": "1", "MaxErrors": "1" }));
    wire.pass(5 * HOUR);
    let execution = wire.executions(&window).remove(0);
    assert_eq!(
        (&execution["Status"], &execution["StatusDetails"]),
        (&json!("FAILED"), &json!("One or more tasks in the orchestration failed."))
    );
    assert_eq!(ids.iter().map(|id| wire.here().installs(id)).sum::<u32>(), 2, "the second error was one too many");
}

#[test]
fn tasks_run_by_priority_and_the_targets_of_one_after_the_other() {
    // S 9.4.10.
    let wire = Wire::new();
    wire.here().add_nodes(1).in_group("web").create();
    wire.here().add_nodes(1).in_group("db").create();
    let window = wire.window(json!({}));
    let targets = ["web", "db"].map(|group| wire.window_target(&window, "tag:Patch Group", group));
    let both = json!([{ "Key": "WindowTargetIds", "Values": targets }]);
    let with = |changes: Value| {
        let mut all = scan();
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        all
    };
    let later = wire.window_task(&window, &targets[0], with(json!({ "Priority": 5, "Name": "later" })));
    wire.window_task(&window, "", with(json!({ "Priority": 0, "Targets": both })));
    wire.pass(3 * HOUR);
    let execution = wire.executions(&window).remove(0);
    let [first, second] = &wire.tasks(&execution)[..] else { panic!("two tasks") };
    assert_eq!((&first["Status"], &second["Status"]), (&json!("IN_PROGRESS"), &json!("PENDING")), "{later}");
    assert_eq!(wire.task_invocations(first).len(), 1);
    assert!(second["StartTime"].is_null());
    wire.pass(HOUR);
    let times = |row: &Value| ["StartTime", "EndTime"].map(|member| row[member].as_f64().unwrap());
    let [one, two] = &wire.task_invocations(first)[..] else { panic!("two invocations") };
    assert_eq!([&one["WindowTargetId"], &two["WindowTargetId"]], [&json!(targets[0]), &json!(targets[1])]);
    assert!(times(two)[0] >= times(one)[1]);
    let second = wire.tasks(&execution).remove(1);
    assert!(times(&second)[0] >= times(two)[1]);
    assert_eq!(wire.executions(&window)[0]["Status"], "SUCCESS");
}

#[test]
fn at_the_cutoff_nothing_more_starts_and_what_runs_is_cancelled_if_told_so() {
    // S 9.4.11, 9.5.7.
    for (behavior, commands, ended) in [("CONTINUE_TASK", 2, false), ("CANCEL_TASK", 1, true)] {
        let wire = Wire::new();
        wire.here().add_nodes(1).in_group("web").offline().create();
        wire.here().add_nodes(1).in_group("db").create();
        let window = wire.window(json!({ "Duration": 2, "Cutoff": 1 }));
        let targets = ["web", "db"].map(|group| wire.window_target(&window, "tag:Patch Group", group));
        let both = json!([{ "Key": "WindowTargetIds", "Values": targets }]);
        wire.window_task(&window, "", json!({ "Targets": both, "CutoffBehavior": behavior, "Priority": 0 }));
        wire.window_task(&window, &targets[1], json!({ "Priority": 9 }));
        wire.pass(4 * HOUR - 1);
        assert_eq!(wire.statuses(&window), ["IN_PROGRESS"]);
        wire.pass(1);
        let execution = wire.executions(&window).remove(0);
        assert_eq!(execution["Status"] == "TIMED_OUT", ended, "{behavior}: {execution}");
        let [first, second] = &wire.tasks(&execution)[..] else { panic!("two tasks") };
        assert_eq!(first["Status"], if ended { "TIMED_OUT" } else { "IN_PROGRESS" });
        assert_eq!(second["Status"], "TIMED_OUT");
        wire.pass(3 * HOUR);
        assert_eq!(wire.statuses(&window), ["TIMED_OUT"]);
        assert_eq!(wire.here().commands(), commands, "{behavior}");
        let command = wire.ok("ListCommands", json!({}))["Commands"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(command["Status"], if ended { "Cancelled" } else { "TimedOut" });
    }
}

#[test]
fn a_cancelled_execution_lets_end_what_runs_and_starts_nothing_more() {
    // S 9.5.8.
    let wire = Wire::new();
    let id = wire.here().add_nodes(1).in_group("web").create().remove(0);
    let window = wire.window(json!({}));
    let target = wire.window_target(&window, "tag:Patch Group", "web");
    for priority in [0, 1] {
        let mut task = scan();
        task["Priority"] = priority.into();
        wire.window_task(&window, &target, task);
    }
    wire.pass(3 * HOUR + 10);
    let execution = wire.executions(&window)[0]["WindowExecutionId"].clone();
    let request = json!({ "WindowExecutionId": execution });
    assert_eq!(wire.ok("CancelMaintenanceWindowExecution", request.clone()), request);
    assert_eq!(wire.statuses(&window), ["CANCELLING"]);
    wire.pass(HOUR);
    assert_eq!(wire.statuses(&window), ["CANCELLED"]);
    let statuses: Vec<_> = wire.tasks(&wire.executions(&window)[0]).iter().map(|task| task["Status"].clone()).collect();
    assert_eq!((statuses, wire.here().scans(&id)), (vec![json!("SUCCESS"), json!("CANCELLED")], 1));
    let unknown = json!({ "WindowExecutionId": "3f2504e0-4f89-41d3-9a0c-0305e82c3301" });
    assert_eq!(wire.error("CancelMaintenanceWindowExecution", unknown), "DoesNotExistException");
}

#[test]
fn upcoming_runs_are_foreseen_for_a_window_for_a_node_and_within_a_time() {
    // S 9.2.15 and the recorded example: seconds that are zero are left out.
    let wire = Wire::new();
    let id = wire.here().add_nodes(1).in_group("web").create().remove(0);
    let night = wire.nightly(json!({ "Name": "night" }));
    let week = wire.window(json!({ "Name": "week", "Schedule": "cron(0 16 ? * WED *)" }));
    let times = |request: Value| {
        let answer = wire.ok("DescribeMaintenanceWindowSchedule", request);
        let rows = answer["ScheduledWindowExecutions"].as_array().unwrap().clone();
        rows.iter().map(|row| row["ExecutionTime"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let two = times(json!({ "WindowId": week, "MaxResults": 2 }));
    assert_eq!(two, ["2025-11-26T16:00Z", "2025-12-03T16:00Z"]);
    let within = json!([
        { "Key": "ScheduledAfter", "Values": ["2025-11-26T00:00:00Z"] },
        { "Key": "ScheduledBefore", "Values": ["2025-11-27T00:00:00Z"] },
    ]);
    assert_eq!(times(json!({ "Filters": within })), ["2025-11-26T03:00Z", "2025-11-26T16:00Z"]);
    let touching = json!({
        "ResourceType": "INSTANCE", "Targets": [{ "Key": "InstanceIds", "Values": [id] }], "MaxResults": 1,
    });
    assert_eq!(times(touching), ["2025-11-24T03:00Z"]);
    wire.ok("UpdateMaintenanceWindow", json!({ "WindowId": night, "Enabled": false }));
    assert!(times(json!({ "WindowId": night })).is_empty());
}

#[test]
fn five_executions_run_at_a_time_and_the_sixth_waits_for_a_place() {
    // S 3.2, 9.5.2; that the sixth waits is unverified.
    let wire = Wire::new();
    let id = wire.here().add_nodes(1).missing_patches(1).create().remove(0);
    let windows: Vec<String> = (0..6)
        .map(|_| {
            let window = wire.window(json!({ "Schedule": "rate(1 hour)", "AllowUnassociatedTargets": true }));
            let target = wire.window_target(&window, "InstanceIds", &id);
            wire.window_task(&window, &target, json!({}));
            window
        })
        .collect();
    let statuses = || -> Vec<String> {
        let status = |window: &String| {
            let answer = wire.ok("DescribeMaintenanceWindowExecutions", json!({ "WindowId": window }));
            answer["WindowExecutions"][0]["Status"].as_str().unwrap().to_owned()
        };
        let mut all: Vec<String> = windows.iter().map(status).collect();
        all.sort();
        all
    };
    wire.pass(3601);
    let mut expected = vec!["IN_PROGRESS"; 5];
    expected.push("PENDING");
    assert_eq!(statuses(), expected);
    wire.pass(1800);
    assert!(statuses().iter().all(|status| !["IN_PROGRESS", "PENDING"].contains(&status.as_str())));
}
