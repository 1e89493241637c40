//! The port as plain HTTP: bytes in, bytes out.

use super::*;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

struct Port {
    simulation: Simulation,
    address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Port {
    /// On a clock that stands still.
    async fn open() -> Self {
        let simulation = Simulation::new(SimClock::manual("2025-11-24T00:00:00Z".parse().unwrap()), 7);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = simulation.clone();
        let serving = tokio::spawn(async move { served.serve(listener, std::future::pending()).await });
        Self { simulation, address, serving }
    }

    /// All that comes back until the connection closes.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        String::from_utf8(answer).unwrap()
    }

    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        let answer = self.raw(request.as_bytes()).await;
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { return (0, answer) };
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// A request of Systems Manager's in 123456789012/us-east-1.
    async fn ssm(&self, operation: &str, body: Value) -> (u16, String) {
        let date = self.simulation.clock().now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("test/{}/us-east-1/ssm/aws4_request", &date[..8]);
        let headers = format!(
            "authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00\r\nx-amz-date: {date}\r\n\
             x-amz-target: AmazonSSM.{operation}\r\ncontent-type: application/x-amz-json-1.1\r\n"
        );
        self.send("POST", "/", &headers, &body.to_string()).await
    }

    async fn sim(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.send(method, &format!("/_sim/{path}"), "", &body).await;
        (status, serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{method} {path}: {answer}")))
    }
}

#[tokio::test]
async fn whatever_comes_is_answered_and_never_with_a_fault_of_the_servers() {
    let port = Port::open().await;
    for (bytes, expected) in [
        (&b"NONSENSE\r\n\r\n"[..], 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 400),
        (b"DELETE /x?y=z HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\ncontent-length: 5\r\n\r\n\xff\xfe\xfd\x00{", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\nauthorization: \xff\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400),
        (b"PUT /_sim/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 405),
        (b"GET /_sim/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404),
    ] {
        let answer = port.raw(bytes).await;
        let shown = String::from_utf8_lossy(bytes);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")) || answer.starts_with(&format!("HTTP/1.0 {expected} ")), "{shown:?}: {answer:?}");
    }
    let (status, body) = port.send("POST", "/", "", &"x".repeat((4 << 20) + 1)).await;
    assert_eq!(status, 413, "{body}");
    assert_eq!(port.sim("GET", "health", Value::Null).await.0, 200, "and it serves on");
}

#[tokio::test]
async fn an_account_is_seeded_patched_and_counted_over_http_alone() {
    let port = Port::open().await;
    let (status, made) = port
        .sim("POST", "seed", json!({ "nodes": [{ "count": 2, "name": "web", "group": "web", "missing_patches": 2 }] }))
        .await;
    assert_eq!(status, 200, "{made}");
    let request = json!({
        "DocumentName": "AWS-RunPatchBaseline", "InstanceIds": made["instance_ids"], "Parameters": { "Operation": ["Install"] },
    });
    assert_eq!(port.ssm("SendCommand", request).await.0, 200);
    let (_, time) = port.sim("POST", "advance", json!({ "seconds": 600 })).await;
    assert_eq!(time, json!({ "time": "2025-11-24T00:10:00Z" }));
    let (_, installs) = port.sim("GET", "installs", Value::Null).await;
    assert_eq!((&installs["most"], installs["nodes"].as_array().unwrap().len()), (&json!(1), 2));
    let node = &installs["nodes"][0];
    assert_eq!((&node["account"], &node["region"]), (&json!("123456789012"), &json!("us-east-1")));
    assert_eq!((&node["installs"], &node["scans"], &node["reboots"]), (&json!(1), &json!(0), &json!(1)));
    assert_eq!(port.sim("GET", "requests", Value::Null).await.1, json!({ "SendCommand": 1 }));
    let (_, more) = port.sim("POST", "seed", json!({ "instances": 6, "region": "eu-central-1" })).await;
    assert_eq!(more["instance_ids"].as_array().unwrap().len(), 6);
    assert_eq!(port.sim("GET", "health", Value::Null).await.1["instances"], 8);
    assert_eq!(port.sim("POST", "reset", json!({ "seed": 8 })).await.0, 200);
    let (_, health) = port.sim("GET", "health", Value::Null).await;
    assert_eq!((&health["instances"], &health["seed"]), (&json!(0), &json!(8)));
    assert_eq!(health["time"], "2025-11-24T00:10:00Z");
}

#[tokio::test]
async fn faults_are_played_over_http_and_break_real_connections() {
    let port = Port::open().await;
    let (_, made) = port.sim("POST", "seed", json!({ "nodes": [{ "missing_patches": 1 }] })).await;
    let ids = &made["instance_ids"];
    let scan = || json!({ "DocumentName": "AWS-RunPatchBaseline", "InstanceIds": ids, "Parameters": { "Operation": ["Scan"] } });
    let here = port.simulation.at("123456789012", "us-east-1");
    for (fault, status, commands) in [
        (json!({ "kind": "throttle" }), 400, 0),
        (json!({ "kind": "server_error", "operation": "SendCommand" }), 500, 0),
        (json!({ "kind": "lose_request", "region": "us-east-1" }), 0, 0),
        (json!({ "kind": "lose_answer", "account": "123456789012" }), 0, 1),
        (json!({ "kind": "garble_answer", "percent": 100 }), 200, 1),
        (json!({ "kind": "deny", "region": "eu-central-1" }), 200, 1),
    ] {
        let before = here.commands();
        assert_eq!(port.sim("POST", "faults", json!({ "faults": [fault] })).await, (200, json!({})));
        assert_eq!(port.ssm("SendCommand", scan()).await.0, status, "{fault}");
        assert_eq!(here.commands() - before, commands, "{fault}");
    }
    port.sim("DELETE", "faults", Value::Null).await;
    let lasting = json!({
        "nodes": [{ "instance_id": ids[0], "trouble": { "back_after": 600 } }],
        "lags": [{ "commands_seconds": 60 }],
    });
    assert_eq!(port.sim("POST", "faults", lasting).await.0, 200);
    port.ssm("SendCommand", scan()).await;
    port.simulation.clock().advance(Duration::from_secs(59));
    let (_, listed) = port.ssm("ListCommands", json!({})).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["Commands"].as_array().unwrap().len(), here.commands() - 1);
    let before = here.commands();
    port.simulation.inject(Fault {
        location: None,
        operation: None,
        skip: 0,
        times: 1,
        kind: FaultKind::Delay(Duration::from_secs(60)),
    });
    let sent = tokio::time::timeout(Duration::from_millis(200), port.ssm("SendCommand", scan())).await;
    assert!(sent.is_err() && here.commands() == before, "it travels");
    port.simulation.clock().advance(Duration::from_secs(60));
    assert_eq!(here.commands(), before + 1, "it arrived although its sender hung up");
}

#[tokio::test]
async fn what_is_wrong_with_an_order_is_said_and_nothing_of_it_done() {
    let port = Port::open().await;
    for (path, body, part) in [
        ("seed", json!({ "instance": 3 }), "unknown field `instance`"),
        ("seed", json!({ "nodes": [{ "platform": "beos" }] }), "unknown variant `beos`"),
        ("seed", json!({ "instances": 20_000 }), "at most 10000"),
        ("seed", json!({ "account": "12", "instances": 1 }), "account"),
        ("advance", json!({}), "missing field `seconds`"),
        ("advance", json!({ "seconds": -1 }), "no number of seconds"),
        ("faults", json!({ "faults": [{ "kind": "throttle" }, { "kind": "delay" }] }), "a delay needs `seconds`"),
        ("faults", json!({ "faults": [{ "kind": "throttle", "operations": "x" }] }), "unknown field `operations`"),
        (
            "faults",
            json!({ "faults": [{ "kind": "throttle" }], "nodes": [{ "instance_id": "i-1" }] }),
            "no instance i-1",
        ),
        ("faults", json!({ "nodes": [{ "instance_id": "i-1", "trouble": "sulks" }] }), "unknown variant `sulks`"),
        ("nonsense", json!({}), "only: health"),
    ] {
        let (status, answer) = port.sim("POST", path, body.clone()).await;
        assert!(status == 400 || status == 404, "{path} {body}: {status} {answer}");
        assert!(answer["error"].as_str().unwrap().contains(part), "{path} {body}: {answer}");
    }
    assert_eq!(port.ssm("ListCommands", json!({})).await.0, 200, "no fault came to be");
}
