//! Maintenance windows as they are defined: create, read, change, refuse.

use super::*;

/// A documented request and its answer; see `aws/NOTICE`.
pub(super) fn example(text: &str) -> (Value, Value) {
    let mut example: Value = serde_json::from_str(text).unwrap();
    (example["request"].take(), example["response"].take())
}

/// The answer with our ids in the place of the example's.
pub(super) fn with_ids(answer: &Value, ids: &[(&str, &str)]) -> Value {
    let text = ids.iter().fold(answer.to_string(), |text, (theirs, ours)| text.replace(theirs, ours));
    serde_json::from_str(&text).unwrap()
}

impl Wire {
    pub(super) fn window(&self, changes: Value) -> String {
        let mut request = json!({
            "Name": "nightly", "Schedule": "cron(0 3 ? * * *)", "Duration": 4, "Cutoff": 1,
            "AllowUnassociatedTargets": false,
        });
        request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.ok("CreateMaintenanceWindow", request)["WindowId"].as_str().unwrap().to_owned()
    }

    pub(super) fn window_target(&self, window: &str, key: &str, value: &str) -> String {
        let request = json!({
            "WindowId": window, "ResourceType": "INSTANCE", "Targets": [{ "Key": key, "Values": [value] }],
        });
        let answer = self.ok("RegisterTargetWithMaintenanceWindow", request);
        answer["WindowTargetId"].as_str().unwrap().to_owned()
    }

    pub(super) fn window_task(&self, window: &str, target: &str, changes: Value) -> String {
        let answer = self.ok("RegisterTaskWithMaintenanceWindow", task(window, target, changes));
        answer["WindowTaskId"].as_str().unwrap().to_owned()
    }

    fn refusal(&self, operation: &str, request: Value) -> (String, String) {
        let (status, answer) = self.ssm(operation, &request);
        assert_eq!(status, 400, "{operation}: {answer}");
        let text = |member: &str| answer[member].as_str().map(str::to_owned);
        (text("__type").unwrap(), text("Message").or_else(|| text("message")).unwrap_or_default())
    }
}

pub(super) fn task(window: &str, target: &str, changes: Value) -> Value {
    let mut request = json!({
        "WindowId": window, "TaskType": "RUN_COMMAND", "TaskArn": "AWS-RunPatchBaseline",
        "Targets": [{ "Key": "WindowTargetIds", "Values": [target] }], "MaxConcurrency": "10%", "MaxErrors": "5%",
        "TaskInvocationParameters": { "RunCommand": { "Parameters": { "Operation": ["Install"] } } },
    });
    request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    request.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    request
}

#[test]
fn a_window_is_created_read_changed_replaced_and_deleted() {
    // S 9.1.1, 9.1.3, 9.1.4 and the recorded example of UpdateMaintenanceWindow.
    let wire = Wire::new();
    let (request, _) = example(include_str!("../../aws/examples/CreateMaintenanceWindow/01.json"));
    let id = wire.ok("CreateMaintenanceWindow", request)["WindowId"].as_str().unwrap().to_owned();
    assert!(id.starts_with("mw-") && id.len() == 20, "{id}");
    let named = json!({ "ResourceType": "MaintenanceWindow", "ResourceId": id });
    assert_eq!(
        wire.ok("ListTagsForResource", named.clone())["TagList"],
        json!([{ "Key": "Purpose", "Value": "Tutorial" }])
    );
    let before = wire.ok("GetMaintenanceWindow", json!({ "WindowId": id }));
    assert_eq!((&before["Enabled"], &before["CreatedDate"]), (&json!(true), &before["ModifiedDate"]));
    wire.pass(60);

    let changes = json!({ "WindowId": id, "Schedule": "cron(0 16 ? * TUE *)", "Duration": 4 });
    wire.ok("UpdateMaintenanceWindow", changes);
    let (mut request, answer) = example(include_str!("../../aws/examples/UpdateMaintenanceWindow/01.json"));
    request["WindowId"] = id.as_str().into();
    let expected = with_ids(&answer, &[("mw-1a2b3c4d5e6f7g8h9", &id)]);
    assert_eq!(wire.ok("UpdateMaintenanceWindow", request), expected);
    let after = wire.ok("GetMaintenanceWindow", json!({ "WindowId": id }));
    assert_ne!(after["ModifiedDate"], before["ModifiedDate"]);

    let replace = json!({ "WindowId": id, "Replace": true, "Name": "again" });
    assert_eq!(wire.refusal("UpdateMaintenanceWindow", replace).0, "ValidationException");
    wire.ok("UpdateMaintenanceWindow", json!({ "WindowId": id, "Description": "gone soon" }));
    let replace = json!({
        "WindowId": id, "Replace": true, "Name": "again", "Schedule": "rate(7 days)", "Duration": 2, "Cutoff": 1,
        "AllowUnassociatedTargets": false,
    });
    let replaced = wire.ok("UpdateMaintenanceWindow", replace);
    assert_eq!((&replaced["Description"], &replaced["Enabled"]), (&Value::Null, &json!(true)));

    for _ in 0..2 {
        assert_eq!(wire.ok("DeleteMaintenanceWindow", json!({ "WindowId": id })), json!({ "WindowId": id }));
    }
    let gone = wire.refusal("GetMaintenanceWindow", json!({ "WindowId": id }));
    assert_eq!(gone, ("DoesNotExistException".to_owned(), format!("Maintenance window {id} does not exist")));
    assert_eq!(wire.error("ListTagsForResource", named), "InvalidResourceId");
}

#[test]
fn targets_and_tasks_read_as_recorded() {
    // The recorded examples of DescribeMaintenanceWindowTargets, GetMaintenanceWindowTask and
    // UpdateMaintenanceWindowTask.
    let wire = Wire::new();
    let id = wire.window(json!({}));
    let (_, answer) = example(include_str!("../../aws/examples/DescribeMaintenanceWindowTargets/01.json"));
    let mut ids = vec![("mw-06cf17cbefEXAMPLE".to_owned(), id.clone())];
    for row in answer["Targets"].as_array().unwrap() {
        let mut request = row.clone();
        request["WindowId"] = id.as_str().into();
        request.as_object_mut().unwrap().remove("WindowTargetId");
        let target = wire.ok("RegisterTargetWithMaintenanceWindow", request)["WindowTargetId"].clone();
        ids.push((row["WindowTargetId"].as_str().unwrap().to_owned(), target.as_str().unwrap().to_owned()));
    }
    let pairs: Vec<_> = ids.iter().map(|(theirs, ours)| (theirs.as_str(), ours.as_str())).collect();
    let listed = wire.ok("DescribeMaintenanceWindowTargets", json!({ "WindowId": id }));
    assert_eq!(listed, with_ids(&answer, &pairs));
    let single = json!({ "WindowId": id, "Filters": [{ "Key": "OwnerInformation", "Values": ["Single instance"] }] });
    assert_eq!(wire.ok("DescribeMaintenanceWindowTargets", single)["Targets"].as_array().unwrap().len(), 1);

    let target = ids[1].1.as_str();
    for text in [
        include_str!("../../aws/examples/GetMaintenanceWindowTask/01.json"),
        include_str!("../../aws/examples/UpdateMaintenanceWindowTask/01.json"),
    ] {
        let (_, answer) = example(text);
        let task = wire.window_task(
            &id,
            target,
            json!({
                "TaskArn": answer["TaskArn"], "Name": answer["Name"], "Description": answer["Description"],
                "TaskInvocationParameters": answer["TaskInvocationParameters"], "MaxConcurrency": "1", "MaxErrors": "1",
            }),
        );
        let theirs = |value: &Value| value.as_str().unwrap().to_owned();
        let (window, target_id) = (theirs(&answer["WindowId"]), theirs(&answer["Targets"][0]["Values"][0]));
        let task_id = theirs(&answer["WindowTaskId"]);
        let mut expected = with_ids(&answer, &[(&window, &id), (&target_id, target), (&task_id, &task)]);
        expected["ServiceRoleArn"] =
            format!("arn:aws:iam::{ACCOUNT}:role/aws-service-role/ssm.amazonaws.com/AWSServiceRoleForAmazonSSM").into();
        let request = json!({ "WindowId": id, "WindowTaskId": task });
        let operation =
            if answer["TaskType"].is_null() { "UpdateMaintenanceWindowTask" } else { "GetMaintenanceWindowTask" };
        assert_eq!(wire.ok(operation, request), expected, "{operation}");
    }
    let filters =
        json!([{ "Key": "TaskArn", "Values": ["AWS-UpdateEC2Config"] }, { "Key": "Priority", "Values": ["1"] }]);
    let tasks = wire.ok("DescribeMaintenanceWindowTasks", json!({ "WindowId": id, "Filters": filters }));
    assert_eq!((&tasks["Tasks"][0]["Type"], &tasks["Tasks"][1]), (&json!("RUN_COMMAND"), &Value::Null));
    assert!(tasks["Tasks"][0]["TaskInvocationParameters"].is_null());
}

#[test]
fn the_same_client_token_makes_one_window_and_another_request_under_it_is_refused() {
    // S 3.1.9.
    let wire = Wire::new();
    let id = wire.window(json!({ "ClientToken": "a" }));
    assert_eq!(wire.window(json!({ "ClientToken": "a" })), id);
    assert_ne!(wire.window(json!({ "ClientToken": "b" })), id);
    let other = json!({
        "Name": "other", "Schedule": "rate(1 day)", "Duration": 2, "Cutoff": 1, "AllowUnassociatedTargets": true,
        "ClientToken": "a",
    });
    assert_eq!(wire.error("CreateMaintenanceWindow", other), "IdempotentParameterMismatch");
    let register = |value: &str| {
        let targets = json!([{ "Key": "tag:Patch Group", "Values": [value] }]);
        json!({ "WindowId": id, "ResourceType": "INSTANCE", "Targets": targets, "ClientToken": "a" })
    };
    let target = wire.ok("RegisterTargetWithMaintenanceWindow", register("web"))["WindowTargetId"].clone();
    assert_eq!(wire.ok("RegisterTargetWithMaintenanceWindow", register("web"))["WindowTargetId"], target);
    assert_eq!(wire.error("RegisterTargetWithMaintenanceWindow", register("db")), "IdempotentParameterMismatch");
    assert_eq!(wire.ok("DescribeMaintenanceWindows", json!({}))["WindowIdentities"].as_array().unwrap().len(), 2);
}

#[test]
fn what_aws_refuses_is_refused_in_its_words() {
    // S 9.1.2, 9.3.1–2, 9.4.3–5; the texts: S 13.
    let wire = Wire::new();
    let id = wire.window(json!({}));
    let target = wire.window_target(&id, "tag:Patch Group", "web");
    let create = json!({
        "Name": "bad", "Schedule": "rate(1 day)", "Duration": 6, "Cutoff": 12, "AllowUnassociatedTargets": true,
    });
    let no_values = json!([{ "Key": "tag:Patch Group", "Values": [] }]);
    let no_values = json!({ "WindowId": id, "ResourceType": "INSTANCE", "Targets": no_values });
    let bare_key = json!([{ "Key": "Patch Group", "Values": ["web"] }]);
    let bare_key = json!({ "WindowId": id, "ResourceType": "INSTANCE", "Targets": bare_key });
    let eleven: Vec<_> = (0..11).map(|_| target.clone()).collect();
    let eleven = task(&id, &target, json!({ "Targets": [{ "Key": "WindowTargetIds", "Values": eleven }] }));
    let without = |changes: Value| {
        let mut all = json!({ "TaskType": "AUTOMATION", "TaskArn": "AWS-RestartEC2Instance", "Targets": null });
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        task(&id, &target, all)
    };
    let nobody = json!({ "TaskType": "RUN_COMMAND", "MaxErrors": null, "MaxConcurrency": null });
    let direct = json!({ "Targets": [{ "Key": "InstanceIds", "Values": ["i-0123456789abcdef0"] }] });
    for (operation, request, expected) in [
        ("CreateMaintenanceWindow", create, "Cuttoff was 12 but must be smaller than 5 (Duration - 1 )"),
        (
            "RegisterTargetWithMaintenanceWindow",
            no_values,
            "Please specify at least one target.  Filter values can't be null and tag:Patch Group is.",
        ),
        ("RegisterTargetWithMaintenanceWindow", bare_key, "Target key Patch Group is not supported"),
        ("RegisterTaskWithMaintenanceWindow", eleven, "The maximum number of window targets is 10"),
        (
            "RegisterTaskWithMaintenanceWindow",
            without(json!({})),
            "Maintenance window tasks without targets do not support MaxErrors values. Maintenance window tasks \
             without targets do not support MaxConcurrency values.",
        ),
        (
            "RegisterTaskWithMaintenanceWindow",
            without(nobody),
            "Maintenance window tasks of type RUN_COMMAND need at least one target.",
        ),
        (
            "RegisterTaskWithMaintenanceWindow",
            task(&id, &target, json!({ "MaxConcurrency": null })),
            "Maintenance window tasks with targets need MaxConcurrency.",
        ),
        (
            "RegisterTaskWithMaintenanceWindow",
            task(&id, &target, direct),
            "Targets that are not registered with the maintenance window are not allowed.",
        ),
    ] {
        let refusal = wire.refusal(operation, request);
        assert_eq!(refusal, ("ValidationException".to_owned(), expected.to_owned()));
    }
    let unknown = task(&id, "3f2504e0-4f89-41d3-9a0c-0305e82c3301", json!({}));
    assert_eq!(wire.error("RegisterTaskWithMaintenanceWindow", unknown), "DoesNotExistException");
    let bad_filter = json!({ "Filters": [{ "Key": "Weather", "Values": ["fine"] }] });
    assert_eq!(wire.error("DescribeMaintenanceWindows", bad_filter), "ValidationException");
    let alone =
        wire.ok("RegisterTaskWithMaintenanceWindow", without(json!({ "MaxErrors": null, "MaxConcurrency": null })));
    let alone = json!({ "WindowId": id, "WindowTaskId": alone["WindowTaskId"] });
    assert_eq!(wire.ok("GetMaintenanceWindowTask", alone)["MaxErrors"], "1", "reported so, though it was not given");
}

#[test]
fn quotas_of_windows_targets_and_tasks_are_enforced() {
    // S 3.2, 9.1.6, 9.3.4, 9.4.4.
    let wire = Wire::new();
    let ids: Vec<_> = (0..50).map(|_| wire.window(json!({}))).collect();
    let one_more = json!({
        "Name": "one-more", "Schedule": "rate(1 day)", "Duration": 2, "Cutoff": 1, "AllowUnassociatedTargets": true,
    });
    assert_eq!(wire.error("CreateMaintenanceWindow", one_more), "ResourceLimitExceededException");
    let targets: Vec<_> = (0..100).map(|_| wire.window_target(&ids[0], "tag:Patch Group", "web")).collect();
    let target = json!({
        "WindowId": ids[0], "ResourceType": "INSTANCE", "Targets": [{ "Key": "tag-key", "Values": ["Name"] }],
    });
    assert_eq!(wire.error("RegisterTargetWithMaintenanceWindow", target), "ResourceLimitExceededException");
    for _ in 0..20 {
        wire.window_task(&ids[0], &targets[0], json!({}));
    }
    let task = task(&ids[0], &targets[0], json!({}));
    assert_eq!(wire.error("RegisterTaskWithMaintenanceWindow", task), "ResourceLimitExceededException");
    let first = wire.ok("DescribeMaintenanceWindowTargets", json!({ "WindowId": ids[0], "MaxResults": 60 }));
    let second = json!({ "WindowId": ids[0], "NextToken": first["NextToken"] });
    assert_eq!(wire.ok("DescribeMaintenanceWindowTargets", second)["Targets"].as_array().unwrap().len(), 40);
}

#[test]
fn a_target_in_use_goes_unless_safety_is_asked_for_and_leaves_its_id_behind() {
    // S 9.3.5–6.
    let wire = Wire::new();
    let id = wire.window(json!({}));
    let target = wire.window_target(&id, "tag:Patch Group", "web");
    let task = wire.window_task(&id, &target, json!({}));
    let update = json!({ "WindowId": id, "WindowTargetId": target, "OwnerInformation": "web team" });
    let updated = wire.ok("UpdateMaintenanceWindowTarget", update);
    assert_eq!(updated["Targets"], json!([{ "Key": "tag:Patch Group", "Values": ["web"] }]));
    let request = |safe: bool| json!({ "WindowId": id, "WindowTargetId": target, "Safe": safe });
    assert_eq!(wire.error("DeregisterTargetFromMaintenanceWindow", request(true)), "TargetInUseException");
    wire.ok("DeregisterTargetFromMaintenanceWindow", request(false));
    assert_eq!(wire.error("DeregisterTargetFromMaintenanceWindow", request(false)), "DoesNotExistException");
    let task = json!({ "WindowId": id, "WindowTaskId": task, "Priority": 3 });
    let left = wire.ok("UpdateMaintenanceWindowTask", task.clone());
    assert_eq!(left["Targets"][0]["Values"][0], json!(target));
    wire.ok("DeregisterTaskFromMaintenanceWindow", json!({ "WindowId": id, "WindowTaskId": task["WindowTaskId"] }));
    assert_eq!(wire.error("GetMaintenanceWindowTask", task), "DoesNotExistException");
}

#[test]
fn windows_are_found_by_name_state_and_the_nodes_they_touch() {
    // The filter Name takes the beginning of a name: recorded example 07 of DescribeMaintenanceWindows.
    let wire = Wire::new();
    let web = wire.here().add_nodes(1).in_group("web").create().remove(0);
    let night = wire.window(json!({ "Name": "My-Night" }));
    let off = wire.window(json!({ "Name": "My-Off" }));
    let direct = wire.window(json!({ "Name": "Direct", "AllowUnassociatedTargets": true }));
    wire.ok("UpdateMaintenanceWindow", json!({ "WindowId": off, "Enabled": false }));
    let names = |operation: &str, request: Value| {
        let answer = wire.ok(operation, request);
        let rows = answer["WindowIdentities"].as_array().unwrap().clone();
        rows.iter().map(|row| row["Name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let filter = |key: &str, value: &str| json!({ "Filters": [{ "Key": key, "Values": [value] }] });
    assert_eq!(names("DescribeMaintenanceWindows", filter("Name", "My")), ["My-Night", "My-Off"]);
    assert_eq!(names("DescribeMaintenanceWindows", filter("Enabled", "False")), ["My-Off"]);
    wire.window_target(&night, "tag:Patch Group", "web");
    wire.window_target(&off, "tag:Patch Group", "db");
    wire.window_task(&direct, "", json!({ "Targets": [{ "Key": "InstanceIds", "Values": [web] }] }));
    let touching =
        |key: &str, value: &str| json!({ "ResourceType": "INSTANCE", "Targets": [{ "Key": key, "Values": [value] }] });
    assert_eq!(names("DescribeMaintenanceWindowsForTarget", touching("InstanceIds", &web)), ["My-Night", "Direct"]);
    assert_eq!(names("DescribeMaintenanceWindowsForTarget", touching("tag:Patch Group", "db")), ["My-Off"]);
}

#[test]
fn a_new_window_may_not_be_found_at_first() {
    // S 9.1.5.
    let wire = Wire::new();
    wire.here().windows_appear_after(Duration::from_secs(3));
    let id = wire.window(json!({}));
    let targets = json!([{ "Key": "tag:Patch Group", "Values": ["web"] }]);
    let request = json!({ "WindowId": id, "ResourceType": "INSTANCE", "Targets": targets });
    let refusal = wire.refusal("RegisterTargetWithMaintenanceWindow", request.clone());
    assert_eq!(refusal.1, format!("Maintenance window {id} does not exist"));
    assert_eq!(wire.ok("DescribeMaintenanceWindows", json!({}))["WindowIdentities"], json!([]));
    wire.pass(3);
    wire.ok("RegisterTargetWithMaintenanceWindow", request);
}

#[test]
fn tags_of_windows_are_added_overwritten_and_removed() {
    // S 11.1.
    let wire = Wire::new();
    let id = wire.window(json!({ "Tags": [{ "Key": "team", "Value": "a" }] }));
    let named = |more: Value| {
        let mut request = json!({ "ResourceType": "MaintenanceWindow", "ResourceId": id });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let tags = json!([{ "Key": "team", "Value": "b" }, { "Key": "stage", "Value": "test" }]);
    assert_eq!(wire.ok("AddTagsToResource", named(json!({ "Tags": tags }))), json!({}));
    assert_eq!(wire.ok("RemoveTagsFromResource", named(json!({ "TagKeys": ["stage", "none"] }))), json!({}));
    let listed = wire.ok("ListTagsForResource", named(json!({})));
    assert_eq!(listed["TagList"], json!([{ "Key": "team", "Value": "b" }]));
    let many: Vec<_> = (0..50).map(|n| json!({ "Key": format!("k{n}"), "Value": "" })).collect();
    assert_eq!(wire.error("AddTagsToResource", named(json!({ "Tags": many }))), "TooManyTagsError");
}
