//! What the SDK does with our calls when AWS is slow, gone, or says no, and with windows: judged by the requests that AWS sees.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scripted;
mod windows;

use jiff::Timestamp;
use patchplane_aws::{
    Access, Action, Aws, Clock, Credentials, ErrorKind, NodeFilter, PatchCommand, SendFailure, VmFilter,
};
use patchplane_rules::{InstanceId, Location};
use scripted::{Answer, BEGIN, Script, Seen};
use std::time::Duration;
use tokio::{net::TcpListener, time::Instant};

const SENT: &str = r#"{"Command":{"CommandId":"11111111-2222-4333-8444-555555555555",
    "RequestedDateTime":1768471200.5,"ExpiresAfter":1768482000.5,"OutputS3BucketName":""}}"#;

const NO_VMS: &str = r#"<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
    <requestId>r-1</requestId><reservationSet/></DescribeInstancesResponse>"#;

fn id(digit: char) -> InstanceId {
    format!("i-{}", digit.to_string().repeat(17)).parse().unwrap()
}

fn scan(signed_at: &str) -> PatchCommand {
    PatchCommand {
        instance_ids: vec![id('a'), id('b')],
        action: Action::Patch { operation: "Scan", reboot_option: Some("NoReboot") },
        snapshot_id: "00000000-0000-4000-8000-000000000001".to_owned(),
        comment: "marker".to_owned(),
        timeout_s: 600,
        signed_at: signed_at.parse().unwrap(),
    }
}

/// What becomes of a send that AWS answers so, and how many requests it saw.
async fn outcome_of(answer: Answer) -> (Result<String, SendFailure>, usize) {
    let script = Script::new(move |_| answer.clone());
    let sent = script.aws().await.send_patch_command(&scan(BEGIN)).await;
    (sent.map(|sent| sent.command_id), script.seen().len())
}

#[tokio::test(start_paused = true)]
async fn a_command_carries_its_batch_and_asks_for_no_thresholds_of_aws() {
    let script = Script::new(|_| Answer::ok(SENT));
    let sent = script.aws().await.send_patch_command(&scan(BEGIN)).await.unwrap();
    assert_eq!(sent.command_id, "11111111-2222-4333-8444-555555555555");
    assert_eq!(sent.requested, Some("2026-01-15T10:00:00.5Z".parse::<Timestamp>().unwrap()));
    assert_eq!(sent.expires_after, Some("2026-01-15T13:00:00.5Z".parse::<Timestamp>().unwrap()));
    let seen = &script.seen()[0];
    assert_eq!(seen.operation, "SendCommand");
    for part in [
        r#""DocumentName":"AWS-RunPatchBaseline""#,
        r#""InstanceIds":["i-aaaaaaaaaaaaaaaaa","i-bbbbbbbbbbbbbbbbb"]"#,
        r#""MaxConcurrency":"2""#,
        r#""MaxErrors":"100%""#,
        r#""TimeoutSeconds":600"#,
        r#""Comment":"marker""#,
        r#""Operation":["Scan"]"#,
        r#""SnapshotId":["00000000-0000-4000-8000-000000000001"]"#,
        r#""RebootOption":["NoReboot"]"#,
    ] {
        assert!(seen.body.contains(part), "{part} in {}", seen.body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_is_signed_with_its_own_time_however_late_it_leaves() {
    // An answer from a server ten minutes ahead teaches the SDK a clock skew, which must not reach the command.
    let script = Script::new(|seen| match seen.operation.as_str() {
        "SendCommand" => Answer::ok(SENT),
        _ => Answer::ok(r#"{"BaselineIdentities":[]}"#).with_header("date", "Thu, 15 Jan 2026 10:10:00 GMT"),
    });
    let aws = script.aws().await;
    aws.baselines().await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    aws.send_patch_command(&scan("2026-01-15T09:59:58.9Z")).await.unwrap();
    aws.baselines().await.unwrap();
    let signed: Vec<_> = script.seen().into_iter().map(|seen| seen.signed_at).collect();
    assert_eq!(signed[..2], ["20260115T100000Z", "20260115T095958Z"]);
    assert_eq!(signed[2], "20260115T101500Z", "other calls go by the clock, skew corrected");
}

#[tokio::test(start_paused = true)]
async fn only_a_4xx_with_a_request_id_or_a_connection_never_made_is_a_refusal() {
    for (answer, kind) in [
        (Answer::error(400, "InvalidInstanceId"), ErrorKind::InvalidInstance),
        (Answer::error(400, "ThrottlingException"), ErrorKind::Throttled),
        (Answer::error(400, "InvalidSignatureException"), ErrorKind::Credentials),
        (Answer::Refused, ErrorKind::Unreachable),
    ] {
        let (sent, requests) = outcome_of(answer.clone()).await;
        assert!(matches!(&sent, Err(SendFailure::Refused(error)) if error.kind == kind), "{answer:?}: {sent:?}");
        assert_eq!(requests, 1, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_else_happens_leaves_the_outcome_unknown_after_one_request() {
    for answer in [
        Answer::error(400, "InvalidInstanceId").without_request_id(),
        Answer::error(500, "InternalServerError"),
        Answer::error(503, "ServiceUnavailable"),
        Answer::ok("{\"Command\":{\"CommandId\":"),
        Answer::ok("{}"),
        Answer::Reset,
        Answer::Silence,
    ] {
        let (sent, requests) = outcome_of(answer.clone()).await;
        assert!(matches!(&sent, Err(SendFailure::Unknown(_))), "{answer:?}: {sent:?}");
        assert_eq!(requests, 1, "{answer:?}");
    }
}

#[tokio::test]
async fn on_a_real_socket_a_closed_port_refuses_and_a_dropped_connection_leaves_it_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint_url = Some(format!("http://{}", listener.local_addr().unwrap()));
    let clock = Clock::system();
    let keys = Credentials::Static { access_key_id: "AKIDEXAMPLE".to_owned(), secret_access_key: "x".to_owned() };
    let command = scan(&clock.now().to_string());
    let access = Access { clock, http: None, endpoint_url };
    let aws = Aws::connect(&access, Location::new("123456789012", "eu-central-1").unwrap(), &keys).await.unwrap();
    let (sent, ()) = tokio::join!(aws.send_patch_command(&command), async { drop(listener.accept().await.unwrap()) });
    assert!(matches!(&sent, Err(SendFailure::Unknown(_))), "{sent:?}");
    drop(listener);
    let sent = aws.send_patch_command(&command).await;
    assert!(matches!(&sent, Err(SendFailure::Refused(_))), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_send_without_an_answer_is_given_up_after_twenty_seconds() {
    let began = Instant::now();
    outcome_of(Answer::Silence).await.0.unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_read_is_tried_three_times_and_within_thirty_seconds() {
    for (answer, kind, code, requests) in [
        (Answer::error(400, "ThrottlingException"), ErrorKind::Throttled, Some("ThrottlingException"), 3),
        (Answer::error(500, "InternalServerError"), ErrorKind::Unreachable, Some("InternalServerError"), 3),
        (Answer::error(400, "AccessDeniedException"), ErrorKind::Denied, Some("AccessDeniedException"), 1),
        (
            Answer::error(404, "UnknownOperationException"),
            ErrorKind::Unimplemented,
            Some("UnknownOperationException"),
            1,
        ),
    ] {
        let script = Script::new(move |_| answer.clone());
        let error = script.aws().await.baselines().await.unwrap_err();
        assert_eq!((error.kind, error.code.as_deref()), (kind, code));
        assert_eq!((error.action, error.request_id.as_deref()), ("ssm:DescribePatchBaselines", Some("r-1")));
        assert_eq!(script.seen().len(), requests, "{kind}");
    }
    let began = Instant::now();
    let error = Script::new(|_| Answer::Silence).aws().await.baselines().await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Unreachable, None));
    assert!(began.elapsed().as_secs() <= 30, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nodes_that_aws_does_not_know_are_left_out_and_cost_the_others_nothing() {
    // S 10.1.4: by the text of the API one unknown id fails the call.
    let unknown = ["i-3", "i-7"];
    let script = Script::new(move |seen| {
        if unknown.iter().any(|id| seen.body.contains(id)) {
            return Answer::error(400, "InvalidInstanceId");
        }
        let ids = seen.body.split('"').filter(|part| part.starts_with("i-"));
        let rows: Vec<_> = ids.map(|id| format!(r#"{{"InstanceId":"{id}","PingStatus":"Online"}}"#)).collect();
        Answer::ok(&format!(r#"{{"InstanceInformationList":[{}]}}"#, rows.join(",")))
    });
    let ids: Vec<_> = ('0'..='9').map(id).collect();
    let found = script.aws().await.nodes(&NodeFilter::Ids(ids.clone())).await.unwrap();
    let expected: Vec<_> = ids.into_iter().filter(|id| !unknown.iter().any(|u| id.as_str().starts_with(u))).collect();
    assert_eq!(found.into_iter().map(|node| node.id).collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn instances_are_asked_for_by_filter_in_chunks_of_two_hundred() {
    let script = Script::new(|_| Answer::ok(NO_VMS));
    let aws = script.aws().await;
    let ids: Vec<InstanceId> = (0..201).map(|n| format!("i-{n:017x}").parse().unwrap()).collect();
    aws.vms(&VmFilter::Ids(ids)).await.unwrap();
    let hybrid = "mi-0123456789abcdef0".parse().unwrap();
    aws.vms(&VmFilter::Ids(vec![hybrid])).await.unwrap();
    let values = |seen: &Seen| seen.body.matches("Filter.1.Value.").count();
    assert_eq!(script.seen().iter().map(values).collect::<Vec<_>>(), [200, 1], "a hybrid id is nothing to ask EC2 for");
    assert!(script.seen()[0].body.contains("Filter.1.Name=instance-id"));
    assert!(!script.seen()[0].body.contains("InstanceId."));
}
