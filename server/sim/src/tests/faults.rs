//! What goes wrong on request: the requests, their answers, and what is listed late.

use super::*;
use aws_smithy_runtime_api::client::{
    http::HttpConnector,
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use std::time::Duration;

const EVER: u32 = u32::MAX;

fn fault(kind: FaultKind, times: u32) -> Fault {
    Fault { location: None, operation: None, skip: 0, times, kind }
}

impl Wire {
    /// A scan as the SDK would send it, signed now.
    async fn connect(&self, ids: &[String]) -> Result<HttpResponse, ConnectorError> {
        let body = json!({
            "DocumentName": "AWS-RunPatchBaseline", "InstanceIds": ids, "Parameters": { "Operation": ["Scan"] },
        });
        let request = self.signed("ssm", self.0.clock().now()).header("x-amz-target", "AmazonSSM.SendCommand");
        let request = request.body(aws_smithy_types::body::SdkBody::from(body.to_string())).unwrap();
        connector::Connector(self.0.clone()).call(HttpRequest::try_from(request).unwrap()).await
    }
}

#[test]
fn faults_strike_as_often_as_told() {
    // S 3.1.1.
    let wire = Wire::new();
    let location = Some((ACCOUNT.to_owned(), REGION.to_owned()));
    let operation = Some("ListCommands".to_owned());
    wire.0.inject(Fault { location, operation, skip: 1, times: 1, kind: FaultKind::Throttle });
    wire.ok("ListCommands", json!({}));
    wire.ok("DescribePatchGroups", json!({}));
    let (status, answer) = wire.ssm("ListCommands", &json!({}));
    assert_eq!((status, &answer["message"]), (400, &json!("Rate exceeded")));
    wire.ok("ListCommands", json!({}));
    assert_eq!(wire.0.requests().len(), 4);
}

#[test]
fn faults_by_chance_strike_as_the_seed_has_it() {
    let struck = |seed| {
        let wire = Wire(Simulation::new(SimClock::manual("2025-11-24T00:00:00Z".parse().unwrap()), seed));
        wire.0.inject_by_chance(fault(FaultKind::Throttle, EVER), 25.0);
        (0..400).map(|_| wire.ssm("ListCommands", &json!({})).0 == 400).collect::<Vec<_>>()
    };
    let first = struck(7);
    let count = first.iter().filter(|struck| **struck).count();
    assert!((70..=130).contains(&count), "about a quarter of 400: {count}");
    assert_eq!(first, struck(7), "the same seed, the same luck");
    assert_ne!(first, struck(8));
    let wire = Wire::new();
    wire.0.inject_by_chance(fault(FaultKind::Deny, 2), 100.0);
    let statuses = [0, 1, 2].map(|_| wire.ssm("ListCommands", &json!({})).0);
    assert_eq!(statuses, [400, 400, 200], "times counts those that it strikes");
    wire.0.inject(fault(FaultKind::Deny, EVER));
    wire.0.clear_faults();
    wire.ok("ListCommands", json!({}));
}

#[tokio::test]
async fn each_fault_lets_the_request_take_effect_or_not_and_tells_the_sender_no_more_than_a_network_would() {
    // Effect, and what the sender sees: a status, or how the connection ends.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).create();
    for (kind, effect, seen) in [
        (FaultKind::Throttle, 0, Some(400)),
        (FaultKind::Deny, 0, Some(400)),
        (FaultKind::ServerError, 0, Some(500)),
        (FaultKind::ServerErrorAfterEffect, 1, Some(500)),
        (FaultKind::Unreachable, 0, None),
        (FaultKind::LoseRequest, 0, None),
        (FaultKind::LoseAnswer, 1, None),
        (FaultKind::GarbleAnswer, 1, Some(200)),
    ] {
        let before = wire.here().commands();
        wire.0.inject(fault(kind, 1));
        match (wire.connect(&ids).await, seen) {
            (Ok(response), Some(status)) => {
                assert_eq!(response.status().as_u16(), status, "{kind:?}");
                let body: Result<Value, _> = serde_json::from_slice(response.body().bytes().unwrap());
                assert_eq!(body.is_err(), kind == FaultKind::GarbleAnswer, "{kind:?}");
            }
            (Err(error), None) => assert!(error.is_io(), "{kind:?}: {error:?}"),
            (got, _) => panic!("{kind:?}: {got:?}"),
        }
        assert_eq!(wire.here().commands() - before, effect, "{kind:?}");
    }
    wire.0.inject(fault(FaultKind::GarbleAnswer, 1));
    let (_, xml) = wire.ec2("Action=DescribeInstances");
    assert!(!xml.contains("</DescribeInstancesResponse>"), "{xml}");
}

#[tokio::test]
async fn a_delayed_request_takes_effect_though_nobody_waits_any_more_unless_its_signature_has_aged() {
    // S 1.5: what arrives more than 15 minutes after its signing is refused.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).create();
    for (minutes, sent) in [(10, 1), (16, 1)] {
        wire.0.inject(fault(FaultKind::Delay(Duration::from_secs(minutes * 60)), 1));
        assert!(tokio::time::timeout(Duration::from_millis(1), wire.connect(&ids)).await.is_err(), "it travels");
        assert_eq!(wire.here().commands(), if minutes == 10 { 0 } else { 1 });
        wire.pass(minutes * 60);
        assert_eq!(wire.here().commands(), sent, "{minutes} minutes");
    }
    wire.0.inject(fault(FaultKind::DelayAnswer(Duration::from_secs(60)), 1));
    assert!(tokio::time::timeout(Duration::from_millis(1), wire.connect(&ids)).await.is_err(), "the answer travels");
    assert_eq!(wire.here().commands(), 2, "it took effect at once");
    assert_eq!(wire.connect(&ids).await.unwrap().status().as_u16(), 200);
}

#[test]
fn a_command_can_be_listed_so_late_that_it_has_run_before() {
    // S 1.25: how late is not documented. What is not listed can be cancelled, since its id is known (S 6.3.6).
    let wire = Wire::new();
    let ids = wire.here().add_nodes(1).create();
    wire.here().commands_appear_after(Duration::from_secs(600));
    let command = wire.run(&ids, json!({ "Operation": ["Scan"] }));
    let one = json!({ "CommandId": command, "InstanceId": ids[0], "PluginName": "PatchLinux" });
    let listed = || {
        let of_command = wire.ok("ListCommandInvocations", json!({ "CommandId": command }));
        let all = wire.ok("ListCommands", json!({}));
        [&of_command["CommandInvocations"], &all["Commands"]].map(|list| list.as_array().unwrap().len())
    };
    wire.pass(599);
    assert_eq!((wire.here().scans(&ids[0]), listed()), (1, [0, 0]));
    assert_eq!(wire.state(&ids[0])["Operation"], "Scan", "the node's report is there");
    assert_eq!(wire.error("GetCommandInvocation", one.clone()), "InvocationDoesNotExist");
    wire.ok("CancelCommand", json!({ "CommandId": command }));
    wire.pass(1);
    assert_eq!(listed(), [1, 1]);
    assert_eq!(wire.ok("GetCommandInvocation", one)["Status"], "Success");
    wire.0.at(ACCOUNT, "eu-central-1").commands_appear_after(Duration::ZERO);
    wire.here().commands_appear_after(Duration::ZERO);
    let command = wire.run(&ids, json!({ "Operation": ["Scan"] }));
    assert_eq!(wire.invocation(&command)["Status"], "Pending", "each location has its own lag");
}
