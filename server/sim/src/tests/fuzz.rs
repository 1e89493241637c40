//! Requests made of the models' shapes and of chance: each gets a documented answer, none a crash.

use super::*;
use crate::{
    dice::Dice,
    model::{Member, SSM},
};

const OPERATIONS: &[&str] = &[
    "GetServiceSetting",
    "DescribeAvailablePatches",
    "DescribeEffectivePatchesForPatchBaseline",
    "ListComplianceItems",
    "ListResourceComplianceSummaries",
    "ListComplianceSummaries",
    "DescribePatchProperties",
    "CreatePatchBaseline",
    "UpdatePatchBaseline",
    "DeletePatchBaseline",
    "RegisterDefaultPatchBaseline",
    "DescribePatchBaselines",
    "GetPatchBaseline",
    "GetDefaultPatchBaseline",
    "DescribePatchGroups",
    "GetPatchBaselineForPatchGroup",
    "RegisterPatchBaselineForPatchGroup",
    "DeregisterPatchBaselineForPatchGroup",
    "DescribePatchGroupState",
    "DescribeInstanceInformation",
    "DescribeInstancePatchStates",
    "DescribeInstancePatchStatesForPatchGroup",
    "DescribeInstancePatches",
    "SendCommand",
    "ListCommands",
    "ListCommandInvocations",
    "GetCommandInvocation",
    "CancelCommand",
    "AddTagsToResource",
    "RemoveTagsFromResource",
    "ListTagsForResource",
    "CreateMaintenanceWindow",
    "GetMaintenanceWindow",
    "UpdateMaintenanceWindow",
    "DeleteMaintenanceWindow",
    "DescribeMaintenanceWindows",
    "DescribeMaintenanceWindowsForTarget",
    "RegisterTargetWithMaintenanceWindow",
    "UpdateMaintenanceWindowTarget",
    "DeregisterTargetFromMaintenanceWindow",
    "DescribeMaintenanceWindowTargets",
    "RegisterTaskWithMaintenanceWindow",
    "UpdateMaintenanceWindowTask",
    "GetMaintenanceWindowTask",
    "DeregisterTaskFromMaintenanceWindow",
    "DescribeMaintenanceWindowTasks",
    "DescribeAssociation",
    "ListAssociations",
    "DescribeAssociationExecutions",
    "DescribeAssociationExecutionTargets",
    "DescribeEffectiveInstanceAssociations",
    "DescribeInstanceAssociationsStatus",
    "DescribeMaintenanceWindowSchedule",
    "DescribeMaintenanceWindowExecutions",
    "GetMaintenanceWindowExecution",
    "DescribeMaintenanceWindowExecutionTasks",
    "GetMaintenanceWindowExecutionTask",
    "DescribeMaintenanceWindowExecutionTaskInvocations",
    "GetMaintenanceWindowExecutionTaskInvocation",
    "CancelMaintenanceWindowExecution",
];

/// A value of a shape, mostly of its type.
fn made_up(member: &Member, words: &[String], dice: &mut Dice) -> Value {
    let Some(shape) = SSM.shape(member) else { return Value::Null };
    if dice.between(0, 99) == 0 {
        return json!({ "odd": [1, null] });
    }
    let some = |dice: &mut Dice| dice.between(0, 2);
    match shape.kind.as_str() {
        "structure" => {
            let mut fields = serde_json::Map::new();
            for (name, member) in &shape.members {
                let required = shape.required.contains(name);
                if dice.between(0, 9) < if required { 9 } else { 3 } {
                    fields.insert(name.clone(), made_up(member, words, dice));
                }
            }
            Value::Object(fields)
        }
        "list" => {
            let member = shape.member.as_ref().unwrap();
            (0..some(dice)).map(|_| made_up(member, words, dice)).collect()
        }
        "map" => {
            let names = ["Operation", "RebootOption", "SnapshotId", "BaselineOverride", "Nonsense"];
            let value = shape.value.as_ref().unwrap();
            let entry = |dice: &mut Dice| {
                let name = names[usize::try_from(dice.between(0, 4)).unwrap()];
                (name.to_owned(), made_up(value, words, dice))
            };
            Value::Object((0..some(dice)).map(|_| entry(dice)).collect())
        }
        "string" if !shape.values.is_empty() => {
            let last = shape.values.len() as u64 - 1;
            shape.values[usize::try_from(dice.between(0, last)).unwrap()].clone().into()
        }
        "integer" | "long" => dice.between(0, 60).into(),
        "boolean" => (dice.between(0, 1) == 1).into(),
        _ => words[usize::try_from(dice.between(0, words.len() as u64 - 1)).unwrap()].clone().into(),
    }
}

#[test]
fn whatever_is_asked_is_answered_or_refused_with_a_documented_error() {
    let wire = Wire(Simulation::showcase(SimClock::manual("2025-11-24T00:00:00Z".parse().unwrap()), 7));
    let id = wire.here().add_nodes(1).missing_patches(2).create().remove(0);
    let command = wire.run(std::slice::from_ref(&id), json!({ "Operation": ["Scan"] }));
    let association = wire.here().patch_now("Scan", std::slice::from_ref(&id)).unwrap();
    let window = wire.window(json!({ "AllowUnassociatedTargets": true }));
    let target = wire.window_target(&window, "InstanceIds", &id);
    let task = wire.window_task(&window, &target, json!({}));
    let mut words: Vec<String> = vec![id, command, AL2_BASELINE.to_owned(), window, target, task, association];
    words.extend(
        ["", "web", "db", "Scan", "Install", "*", "State", "Missing", "tag:Patch Group", "InstanceIds", "PatchLinux"]
            .map(str::to_owned),
    );
    words.extend(
        [
            "AWS-RunPatchBaseline",
            "NAME_PREFIX",
            "rate(1 day)",
            "WindowTargetIds",
            "größe",
            "10%",
            "PRODUCT",
            "AmazonLinux2",
            "ManagedInstance",
            "100",
            "x\u{0}\u{1F980}",
        ]
        .map(str::to_owned),
    );
    let mut dice = Dice::new(1, &["fuzz"]);
    let mut accepted = std::collections::BTreeSet::new();
    for round in 0..9600 {
        let operation = OPERATIONS[round % OPERATIONS.len()];
        let request = made_up(SSM.operations[operation].input.as_ref().unwrap(), &words, &mut dice);
        let (status, answer) = wire.ssm(operation, &request);
        if status == 200 {
            accepted.insert(operation);
            continue;
        }
        let code = answer["__type"].as_str().unwrap();
        let usual = ["ValidationException", "SerializationException"].contains(&code);
        // S 5.7: deregistering an unknown pair answers an error that the model does not list.
        let known = usual || SSM.models_error(operation, code) || code == "DoesNotExistException";
        assert!(status == 400 && known, "{operation} {request}: {status} {answer}");
        wire.pass(dice.between(0, 20));
    }
    assert!(accepted.len() >= 26, "chance gets past the checks often enough: {accepted:?}");
}

#[test]
fn odd_forms_and_headers_never_crash() {
    let wire = Wire::new();
    for form in [
        "",
        "&&&=",
        "Action=",
        "Action=DescribeInstances&Filter.1.Name=&Filter.1.Value.1=%FF",
        "Action=DescribeInstances&Filter.99999999999.Name=x",
        "Action=DescribeInstances&Filter=1",
        "Action=DescribeInstances&InstanceId.1=%F0%9F%A6%80",
        "Action=CreateTags&ResourceId.1=&Tag.1.Key=&Tag.1.Value=",
        "Action=DescribeTags&NextToken=%00&MaxResults=5",
        "Action=DescribeInstances&MaxResults=-1",
    ] {
        let (status, body) = wire.ec2(form);
        assert!(status == 200 || (status == 400 && body.contains("<Code>")), "{form}: {status} {body}");
    }
    for authorization in ["", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request", "Basic Og=="] {
        let request = Request::post("/").header("authorization", authorization).body(Bytes::new()).unwrap();
        assert_eq!(wire.send(request).0, 400, "{authorization}");
    }
    for (date, body) in [("20251124T000000Z", "[1]"), ("20251124T000000Z", "{"), ("yesterday", "{}"), ("", "{}")] {
        let signed = wire.signed("ssm", wire.0.clock().now()).header("x-amz-target", "AmazonSSM.ListCommands");
        let mut request = signed.body(Bytes::from(body)).unwrap();
        request.headers_mut().insert("x-amz-date", date.parse().unwrap());
        assert_eq!(wire.send(request).0, 400, "{date} {body}");
    }
}
