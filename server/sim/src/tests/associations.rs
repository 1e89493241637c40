//! What others do in the account: their commands, "Patch now" and patch policies.

use super::*;

#[test]
fn a_command_of_somebody_else_is_listed_like_any_other() {
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).missing_patches(2).create();
    let command = wire.here().runs_elsewhere("Install", &ids).unwrap();
    assert!(wire.here().runs_elsewhere("Install", &["i-00000000000000000".to_owned()]).is_err());
    wire.pass(600);
    let listed = wire.ok("ListCommands", json!({ "CommandId": command }))["Commands"][0].clone();
    assert_eq!((&listed["Comment"], &listed["Status"]), (&json!("started elsewhere"), &json!("Success")));
    assert_eq!((wire.here().installs(&ids[0]), wire.here().missing(&ids[0])), (1, 0));
    assert!(wire.0.requests().iter().all(|request| request.operation != "SendCommand"), "it was not the client's");
}

#[test]
fn patch_now_is_an_association_whose_execution_names_its_command() {
    // S 11.4.1–2, 11.2.6–7; members and forms as in aws-cli's example of describe-association-execution-targets.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(2).missing_patches(1).create();
    let association = wire.here().patch_now("Install", &ids).unwrap();
    let named = json!({ "AssociationId": association });
    wire.pass(20);
    let listed = wire.ok("ListAssociations", json!({}))["Associations"][0].clone();
    assert_eq!(listed["AssociationName"], "AWS-PatchNowAssociation");
    assert_eq!(listed["Overview"]["Status"], "InProgress");
    let by_instance = json!({ "AssociationFilterList": [{ "key": "InstanceId", "value": ids[0] }] });
    assert_eq!(wire.ok("ListAssociations", by_instance)["Associations"], json!([]));
    wire.pass(900);
    let description = wire.ok("DescribeAssociation", named.clone())["AssociationDescription"].clone();
    assert_eq!(description["Parameters"]["Operation"], json!(["Install"]));
    assert_eq!((&description["MaxConcurrency"], &description["MaxErrors"]), (&json!("1"), &json!("1")));
    assert_eq!(description["Overview"]["AssociationStatusAggregatedCount"], json!({ "Success": 2 }));
    let executions = wire.ok("DescribeAssociationExecutions", named)["AssociationExecutions"].clone();
    assert_eq!(executions.as_array().unwrap().len(), 1);
    assert_eq!(executions[0]["ResourceCountByStatus"], "{Success=2}");
    let request = json!({ "AssociationId": association, "ExecutionId": executions[0]["ExecutionId"] });
    let targets = wire.ok("DescribeAssociationExecutionTargets", request)["AssociationExecutionTargets"].clone();
    assert_eq!(targets.as_array().unwrap().len(), 2);
    let source = &targets[0]["OutputSource"];
    assert_eq!(source["OutputSourceType"], "RunCommand");
    let command = wire.ok("ListCommands", json!({ "CommandId": source["OutputSourceId"] }))["Commands"][0].clone();
    assert_eq!((&command["Status"], &command["TargetCount"]), (&json!("Success"), &json!(2)));
    let instance = json!({ "InstanceId": ids[0] });
    let effective = wire.ok("DescribeEffectiveInstanceAssociations", instance.clone())["Associations"].clone();
    assert_eq!(effective[0]["AssociationId"], json!(association));
    let status = wire.ok("DescribeInstanceAssociationsStatus", instance)["InstanceAssociationStatusInfos"].clone();
    assert_eq!((&status[0]["Status"], &status[0]["Name"]), (&json!("Success"), &json!("AWS-RunPatchBaseline")));
    assert!(ids.iter().all(|id| wire.here().installs(id) == 1));
}

#[test]
fn a_patch_policy_runs_by_its_schedule_and_its_results_say_so() {
    // S 7.1.2, 8.3.2, 11.4.3: its command carries the association's id and an override from its bucket.
    let wire = Wire::new();
    let id = wire.here().add_nodes(1).tagged("env", "prod").missing_patches(2).create().remove(0);
    let policy = wire.here().patch_policy("Scan", "cron(0 1 ? * * *)", ("tag:env", "prod")).unwrap();
    assert!(wire.here().patch_policy("Scan", "daily", ("tag:env", "prod")).is_err());
    wire.pass(3600 - 1);
    assert_eq!(wire.here().commands(), 0);
    let description = wire.ok("DescribeAssociation", json!({ "AssociationId": policy }));
    assert_eq!(description["AssociationDescription"]["Overview"]["Status"], "Pending");
    wire.pass(24 * 3600 + 300);
    assert_eq!((wire.here().commands(), wire.here().scans(&id)), (2, 2));
    let command = wire.ok("ListCommands", json!({}))["Commands"][0].clone();
    assert_eq!(command["Parameters"]["AssociationId"], json!([policy]));
    let bucket = command["Parameters"]["BaselineOverride"][0].as_str().unwrap();
    assert!(bucket.starts_with(&format!("s3://aws-quicksetup-patchpolicy-{ACCOUNT}-")), "{bucket}");
    assert_eq!(command["Status"], "Success");
    let items = json!({ "ResourceIds": [id], "ResourceTypes": ["ManagedInstance"] });
    let item = wire.ok("ListComplianceItems", items)["ComplianceItems"][0].clone();
    assert_eq!(item["ExecutionSummary"]["ExecutionType"], "PatchPolicy");
    let unknown = json!({ "AssociationId": "3f2504e0-4f89-41d3-9a0c-0305e82c3301" });
    assert_eq!(wire.error("DescribeAssociation", unknown), "AssociationDoesNotExist");
}
