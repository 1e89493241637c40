//! The account judged at the wire: requests that look signed in, HTTP answers out.

use super::*;
use http::Request;
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::time::Duration;

mod associations;
mod baselines;
mod catalogue;
mod faults;
mod fleet;
mod fuzz;
mod port;
mod runs;
mod sts;
mod troubles;
mod window_runs;
mod windows;

const ACCOUNT: &str = "111122223333";
const REGION: &str = "us-east-1";
const AL2_BASELINE: &str = "arn:aws:ssm:us-east-1:075727635805:patchbaseline/pb-0be8c61cde3be63f3";

struct Wire(Simulation);

impl Wire {
    fn new() -> Self {
        Self(Simulation::new(SimClock::manual("2025-11-24T00:00:00Z".parse().unwrap()), 7))
    }

    fn here(&self) -> SimLocation {
        self.0.at(ACCOUNT, REGION)
    }

    fn pass(&self, seconds: u64) {
        self.0.clock().advance(Duration::from_secs(seconds));
    }

    fn signed(&self, service: &str, at: Timestamp) -> http::request::Builder {
        let date = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{}/{}/{REGION}/{service}/aws4_request", Simulation::access_key(ACCOUNT), &date[..8]);
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00");
        Request::post("/").header("authorization", authorization).header("x-amz-date", date)
    }

    fn send(&self, request: Request<Bytes>) -> (u16, String) {
        let response = self.0.handle(request);
        assert!(response.headers().contains_key("x-amzn-requestid"), "S 1.20");
        (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
    }

    fn ssm(&self, operation: &str, body: &Value) -> (u16, Value) {
        let request = self.signed("ssm", self.0.clock().now()).header("x-amz-target", format!("AmazonSSM.{operation}"));
        let (status, body) = self.send(request.body(Bytes::from(body.to_string())).unwrap());
        (status, serde_json::from_str(&body).unwrap())
    }

    fn ok(&self, operation: &str, body: Value) -> Value {
        let (status, answer) = self.ssm(operation, &body);
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }

    fn error(&self, operation: &str, body: Value) -> String {
        let (status, answer) = self.ssm(operation, &body);
        assert_eq!(status, 400, "{operation}: {answer}");
        answer["__type"].as_str().unwrap().to_owned()
    }

    fn ec2(&self, form: &str) -> (u16, String) {
        let request = self.signed("ec2", self.0.clock().now());
        self.send(request.body(Bytes::from(format!("{form}&Version=2016-11-15"))).unwrap())
    }

    fn run(&self, ids: &[String], parameters: Value) -> String {
        let request = json!({
            "DocumentName": "AWS-RunPatchBaseline",
            "InstanceIds": ids,
            "Parameters": parameters,
        });
        self.ok("SendCommand", request)["Command"]["CommandId"].as_str().unwrap().to_owned()
    }

    fn invocation(&self, command: &str) -> Value {
        let answer = self.ok("ListCommandInvocations", json!({ "CommandId": command, "Details": true }));
        answer["CommandInvocations"][0].clone()
    }

    fn state(&self, id: &str) -> Value {
        self.ok("DescribeInstancePatchStates", json!({ "InstanceIds": [id] }))["InstancePatchStates"][0].clone()
    }
}

#[test]
fn a_list_of_nodes_is_paged_by_ten_and_its_token_is_for_the_same_query_only() {
    // S 10.1.5, 1.21.
    let wire = Wire::new();
    wire.here().add_nodes(12).create();
    let first = wire.ok("DescribeInstanceInformation", json!({}));
    assert_eq!(first["InstanceInformationList"].as_array().unwrap().len(), 10);
    let token = first["NextToken"].clone();
    let second = wire.ok("DescribeInstanceInformation", json!({ "NextToken": token }));
    assert_eq!(second["InstanceInformationList"].as_array().unwrap().len(), 2);
    assert!(second["NextToken"].is_null());
    let filters = json!([{ "Key": "PingStatus", "Values": ["Online"] }]);
    let other = json!({ "NextToken": token, "Filters": filters });
    assert_eq!(wire.error("DescribeInstanceInformation", other), "InvalidNextToken");
    assert_eq!(wire.error("DescribePatchBaselines", json!({ "NextToken": token })), "ValidationException");
}

#[test]
fn the_baseline_of_a_group_falls_back_to_the_default() {
    // S 5.3, 5.5, 5.8, 5.9, 4.1.2–3.
    let wire = Wire::new();
    let group = json!({ "PatchGroup": "web", "OperatingSystem": "AMAZON_LINUX_2" });
    assert_eq!(wire.ok("GetPatchBaselineForPatchGroup", group.clone())["BaselineId"], AL2_BASELINE);
    assert_eq!(wire.ok("DescribePatchGroups", json!({}))["Mappings"], json!([]));
    let pair = json!({ "BaselineId": AL2_BASELINE, "PatchGroup": "web" });
    wire.ok("RegisterPatchBaselineForPatchGroup", pair.clone());
    wire.ok("RegisterPatchBaselineForPatchGroup", pair.clone());
    let mappings = wire.ok("DescribePatchGroups", json!({}))["Mappings"].clone();
    assert_eq!(mappings[0]["BaselineIdentity"]["BaselineName"], "AWS-AmazonLinux2DefaultPatchBaseline");
    assert_eq!(wire.ok("GetPatchBaseline", json!({ "BaselineId": AL2_BASELINE }))["PatchGroups"], json!(["web"]));
    wire.ok("DeregisterPatchBaselineForPatchGroup", pair.clone());
    assert_eq!(wire.error("DeregisterPatchBaselineForPatchGroup", pair), "DoesNotExistException");
    let bare = json!({ "BaselineId": "pb-0be8c61cde3be63f3" });
    assert_eq!(wire.error("GetPatchBaseline", bare), "DoesNotExistException", "a bare id is looked up in one's own");
}

#[test]
fn a_second_baseline_of_the_same_system_is_refused_to_a_group() {
    // S 5.5.
    let wire = Wire::new();
    let filters = json!([{ "Key": "OPERATING_SYSTEM", "Values": ["WINDOWS"] }, { "Key": "OWNER", "Values": ["AWS"] }]);
    let windows = wire.ok("DescribePatchBaselines", json!({ "Filters": filters }))["BaselineIdentities"].clone();
    assert_eq!(windows.as_array().unwrap().len(), 3);
    let pair = |index: usize| json!({ "BaselineId": windows[index]["BaselineId"], "PatchGroup": "win" });
    wire.ok("RegisterPatchBaselineForPatchGroup", pair(0));
    assert_eq!(wire.error("RegisterPatchBaselineForPatchGroup", pair(1)), "AlreadyExistsException");
    let own = json!({ "Filters": [{ "Key": "OWNER", "Values": ["Self"] }] });
    assert_eq!(wire.ok("DescribePatchBaselines", own)["BaselineIdentities"], json!([]));
}

#[test]
fn old_signatures_and_unsigned_requests_are_refused() {
    // S 1.5, 1.18; the limit assumed there is 15 minutes.
    let wire = Wire::new();
    let now = wire.0.clock().now();
    for (minutes, expected) in [(-16, 400), (-15, 200), (15, 200), (16, 400)] {
        let at = now.saturating_add(SignedDuration::from_mins(minutes)).unwrap();
        let request = wire.signed("ssm", at).header("x-amz-target", "AmazonSSM.DescribePatchBaselines");
        let (status, body) = wire.send(request.body(Bytes::from_static(b"{}")).unwrap());
        assert_eq!(status, expected, "{minutes}: {body}");
        if minutes == -16 {
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["__type"], "InvalidSignatureException");
            assert!(body["message"].as_str().unwrap().starts_with("Signature expired: "), "{body}");
        }
    }
    let unsigned = Request::post("/").header("x-amz-target", "AmazonSSM.ListCommands").body(Bytes::new()).unwrap();
    assert!(wire.send(unsigned).1.contains("MissingAuthenticationTokenException"));
    let get = Request::get("/").body(Bytes::new()).unwrap();
    assert!(wire.send(get).1.contains("UnknownOperationException"));
    assert_eq!(wire.error("DescribeTheWeather", json!({})), "UnknownOperationException");
    assert!(wire.ec2("Action=DescribeTheWeather").1.contains("<Code>InvalidAction</Code>"));
}

#[test]
fn instances_travel_as_xml_with_the_models_element_names() {
    // S 2.5–2.6, 2.12; the terminal state of a stopped one: S 12.5.
    let wire = Wire::new();
    let ids = wire.here().add_nodes(2).named("web & co").in_group("web").create();
    wire.here().add_nodes(1).named("idle").stopped().create();
    let (status, xml) = wire.ec2("Action=DescribeInstances&Filter.1.Name=tag%3APatch%20Group&Filter.1.Value.1=web");
    assert_eq!(status, 200);
    for part in [
        "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>",
        "<reservationSet><item><reservationId>",
        &format!("<instanceId>{}</instanceId>", ids[0]),
        "<instanceState><code>16</code><name>running</name></instanceState>",
        "<item><key>Name</key><value>web &amp; co-1</value></item>",
        "<item><key>Patch Group</key><value>web</value></item>",
        "<instanceMetadataTags>disabled</instanceMetadataTags>",
    ] {
        assert!(xml.contains(part), "{part} in {xml}");
    }
    assert!(!xml.contains("idle"));
    let (status, xml) = wire.ec2("Action=DescribeInstances&InstanceId.1=i-00000000000000000");
    assert_eq!(status, 400);
    assert!(xml.contains("<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code>"), "{xml}");
    let (_, xml) = wire.ec2("Action=DescribeInstances&Filter.1.Name=instance-id&Filter.1.Value.1=i-00000000000000000");
    assert!(xml.contains("<reservationSet></reservationSet>"), "{xml}");
    let (_, xml) = wire.ec2("Action=DescribeInstances&Filter.1.Name=instance-state-name&Filter.1.Value.1=stopped");
    assert!(xml.contains("<name>stopped</name>") && !xml.contains("<name>running</name>"), "{xml}");
}

#[test]
fn tags_are_written_and_a_key_with_a_space_is_refused_where_metadata_shows_tags() {
    // S 12.6–12.8, 5.2, 2.7, 2.10.
    let wire = Wire::new();
    let plain = wire.here().add_nodes(1).create().remove(0);
    let shown = wire.here().add_nodes(1).metadata_tags().create().remove(0);
    let create = |id: &str, key: &str| format!("Action=CreateTags&ResourceId.1={id}&Tag.1.Key={key}&Tag.1.Value=web");
    assert_eq!(wire.ec2(&(create(&plain, "Patch%20Group") + "&DryRun=true")).0, 412);
    let (status, xml) = wire.ec2(&create(&plain, "Patch%20Group"));
    assert!(status == 200 && xml.contains("<return>true</return>"), "{xml}");
    assert_eq!(wire.here().tags(&plain)["Patch Group"], "web");
    let both = create(&shown, "Patch%20Group") + &format!("&ResourceId.2={plain}");
    assert!(wire.ec2(&both).1.contains("<Code>InvalidParameterValue</Code>"));
    assert_eq!(wire.ec2(&create(&shown, "PatchGroup")).0, 200);
    let (_, xml) = wire.ec2("Action=DescribeTags&Filter.1.Name=key&Filter.1.Value.1=Patch*Group");
    assert!(xml.contains(&format!("<resourceId>{plain}</resourceId>")), "{xml}");
    let delete =
        |value: &str| format!("Action=DeleteTags&ResourceId.1={plain}&Tag.1.Key=Patch%20Group&Tag.1.Value={value}");
    wire.ec2(&delete("other"));
    assert!(wire.here().tags(&plain).contains_key("Patch Group"));
    wire.ec2(&delete("web"));
    assert!(!wire.here().tags(&plain).contains_key("Patch Group"));
}

#[test]
fn stopped_and_unmanaged_nodes_are_not_managed_and_a_silent_one_has_lost_its_connection() {
    // S 10.1.1–2, 10.1.8.
    let wire = Wire::new();
    wire.here().add_nodes(1).stopped().create();
    wire.here().add_nodes(1).unmanaged().create();
    let lost = wire.here().add_nodes(1).offline().create();
    let nodes = wire.ok("DescribeInstanceInformation", json!({}))["InstanceInformationList"].clone();
    assert_eq!(nodes.as_array().unwrap().len(), 1);
    assert_eq!((&nodes[0]["InstanceId"], &nodes[0]["PingStatus"]), (&json!(lost[0]), &json!("ConnectionLost")));
    let mixed = json!({ "Filters": [
        { "Key": "tag:Name", "Values": ["node"] }, { "Key": "PingStatus", "Values": ["Online"] },
    ] });
    assert_eq!(wire.error("DescribeInstanceInformation", mixed), "InvalidFilterKey");
}

#[test]
fn reading_changes_nothing_and_the_same_seed_gives_the_same_fleet() {
    let showcase = || Wire(Simulation::showcase(SimClock::manual("2025-11-24T00:00:00Z".parse().unwrap()), 7));
    let wire = showcase();
    let before = wire.0.fingerprint();
    wire.ok("DescribeInstanceInformation", json!({}));
    wire.ok("DescribePatchBaselines", json!({}));
    wire.ec2("Action=DescribeInstances");
    wire.0.at("999999999999", "ap-northeast-1").commands();
    assert_eq!(before, wire.0.fingerprint());
    assert_eq!(before, showcase().0.fingerprint());
    assert_eq!(before[0]["nodes"].as_object().unwrap().len() + before[1]["nodes"].as_object().unwrap().len(), 20);
    let id = before[1]["nodes"].as_object().unwrap().keys().next().unwrap().clone();
    wire.ec2(&format!("Action=CreateTags&ResourceId.1={id}&Tag.1.Key=a&Tag.1.Value=b"));
    assert_ne!(before, wire.0.fingerprint());
}

#[test]
fn group_states_count_nodes_and_filter_by_counts() {
    // S 5.13–5.15.
    let wire = Wire::new();
    wire.here().add_nodes(2).in_group("db").missing_patches(2).already_scanned().create();
    wire.here().add_nodes(1).in_group("db").already_scanned().create();
    let state = wire.ok("DescribePatchGroupState", json!({ "PatchGroup": "db" }));
    assert_eq!((&state["Instances"], &state["InstancesWithMissingPatches"]), (&json!(3), &json!(2)));
    let filters = |key: &str| json!([{ "Key": key, "Type": "GreaterThan", "Values": ["0"] }]);
    let request = |key: &str| json!({ "PatchGroup": "db", "Filters": filters(key) });
    let states = wire.ok("DescribeInstancePatchStatesForPatchGroup", request("MissingCount"));
    assert_eq!(states["InstancePatchStates"].as_array().unwrap().len(), 2);
    assert_eq!(wire.error("DescribeInstancePatchStatesForPatchGroup", request("Weather")), "InvalidFilter");
    let unknown = wire.ok("DescribePatchGroupState", json!({ "PatchGroup": "nobody" }));
    assert_eq!(unknown["Instances"], 0);
}
