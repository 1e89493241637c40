//! What a server tells of itself, as a process: traces and metrics by OTLP to a collector, metrics to whoever scrapes, log
//! lines.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]
#![expect(clippy::print_stdout, reason = "what was measured is shown")]

use futures::StreamExt as _;
use opentelemetry_proto::tonic::trace::v1::Span;
use patchplane_client::{
    Client,
    api::{GetPatchOperationRequest, patch_operation::State},
};
use patchplane_tests::{
    ACCOUNT, REGION, install,
    otlp::{Collector, said, tree},
    processes::{Home, Process, Signal, Sim},
};
use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
};
use tonic::Code;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// An installation on two nodes that is followed to its end, by a server that tells everything; then the server ends.
struct Told {
    collector: Collector,
    metrics: String,
    lines: String,
    /// Of the command that was sent.
    command_id: String,
}

impl Told {
    async fn by_an_install() -> Self {
        let (collector, address) = Collector::start().await;
        let sim = Sim::start(1).await;
        sim.makes_nodes(2);
        let home = Home::new(None, None);
        home.says("[telemetry]\nprometheus = \"127.0.0.1:0\"\nlogs = \"json\"");
        let mut serve = home.serve_by_its_time(&sim);
        serve
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
            .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test");
        serve.env("OTEL_METRIC_EXPORT_INTERVAL", "60000");
        let server = Process::start(serve);
        let (address, scraped) = (told(&server, "address").await, told(&server, "metrics").await);
        let client = Client::connect(format!("http://{address}")).await.unwrap();

        let caller = client.in_trace(&format!("00-{TRACE}-{CALLER}-01"));
        let created = caller.create_patch_operation(install("web")).await.unwrap();
        let name = created.patch_operation.unwrap().name;
        let messages: Vec<_> = client.watch(name.clone()).collect().await;
        assert!(messages.iter().all(Result::is_ok), "{messages:?}");
        let operation = client.wait(name).await.unwrap();
        assert_eq!(operation.state(), State::Succeeded, "{operation:?}");
        let missing = client
            .get_patch_operation(GetPatchOperationRequest { name: format!("{}X", operation.name) })
            .await
            .unwrap_err();
        assert_eq!(missing.code(), Code::InvalidArgument);
        // The end of a wait is counted after its answer has gone out; the gauges are measured every 15 s.
        let metrics = scrape(&scraped);
        drop(client);
        server.signal(Signal::TERM);
        let (code, lines) = server.ends().await;
        assert_eq!(code, Some(0), "{lines}");
        Self { collector, metrics, lines, command_id: operation.command_ids[0].clone() }
    }
}

/// What the line that tells of its start says of this.
async fn told(server: &Process, field: &str) -> String {
    server.tells(&format!("\"{field}\":\"")).await.split('"').next().unwrap().to_owned()
}

fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn one_install_is_told_from_the_caller_s_span_to_the_command() {
    let Told { collector, metrics, lines, command_id } = Told::by_an_install().await;
    let spans = collector.spans();
    assert_eq!(collector.services(), BTreeSet::from(["patchplane".to_owned()]));

    // From the caller's span through the use-case to each call of AWS.
    let rpc = spans.iter().find(|span| hex(&span.parent_span_id) == CALLER).unwrap();
    assert_eq!(hex(&rpc.trace_id), TRACE);
    assert_eq!(rpc.name, "patchplane.v1.PatchOperationService/CreatePatchOperation");
    assert_eq!(said(rpc, "rpc.response.status_code").unwrap(), "OK");
    let in_trace = |span: &&Span| hex(&span.trace_id) == TRACE;
    let use_case = spans.iter().filter(in_trace).find(|span| span.parent_span_id == rpc.span_id).unwrap();
    assert_eq!(use_case.name, "app.create_patch_operation");
    let calls: Vec<&Span> =
        spans.iter().filter(in_trace).filter(|span| span.parent_span_id == use_case.span_id).collect();
    let names: BTreeSet<&str> = calls.iter().map(|span| span.name.as_str()).collect();
    assert!(
        names.is_superset(&BTreeSet::from(["ec2/DescribeInstances", "ssm/DescribeInstanceInformation"])),
        "{names:?}"
    );
    assert!(calls.iter().all(|span| said(span, "aws.request_id").is_some()), "{calls:?}");

    // And on, across time: each later step is a trace of its own that links back.
    let steps: Vec<&Span> = spans
        .iter()
        .filter(|span| span.links.iter().any(|link| hex(&link.trace_id) == TRACE && link.span_id == use_case.span_id))
        .collect();
    let dispatch = steps.iter().find(|span| said(span, "operation.step").as_deref() == Some("dispatch")).unwrap();
    assert_eq!(said(dispatch, "aws.command_id").unwrap(), command_id);
    assert_eq!(said(dispatch, "operation.id"), said(use_case, "operation.id"));
    let send = spans.iter().find(|span| span.name == "ssm/SendCommand").unwrap();
    assert_eq!((&send.trace_id, &send.parent_span_id), (&dispatch.trace_id, &dispatch.span_id));
    assert!(said(send, "aws.request_id").is_some());
    assert!(steps.iter().any(|span| said(span, "operation.step").as_deref() == Some("become")));

    shown_in_the_readme(&spans, rpc, dispatch);
    metrics_are_right(&collector, &metrics);
    lines_are_right(&lines, &command_id);
}

/// The README shows these traces as they are, but for what is another each time.
fn shown_in_the_readme(spans: &[Span], rpc: &Span, dispatch: &Span) {
    let attributes = ["rpc.response.status_code", "operation.step", "aws.command_id", "aws.request_id"];
    let shown = format!("{}\n{}", tree(spans, rpc, &attributes), tree(spans, dispatch, &attributes));
    println!("{shown}");
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    for line in shown.lines().map(|line| neutral(line.trim())).filter(|line| !line.is_empty()) {
        assert!(readme.lines().any(|known| neutral(known.trim()) == line), "the README does not show: {line}\n{shown}");
    }
}

/// Without ids.
fn neutral(line: &str) -> String {
    let words = line.split(' ').map(|word| match word.split_once('=') {
        Some((key @ ("aws.command_id" | "aws.request_id"), _)) => format!("{key}="),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn metrics_are_right(collector: &Collector, scraped: &str) {
    let value = |name: &str, labels: &[&str]| -> f64 {
        let line = scraped
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label)));
        let line = line.unwrap_or_else(|| panic!("{name} {labels:?} is not there:\n{scraped}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let (account, region) = (format!("cloud_account_id=\"{ACCOUNT}\""), format!("cloud_region=\"{REGION}\""));
    let create = "rpc_method=\"patchplane.v1.PatchOperationService/CreatePatchOperation\"";
    let get = "rpc_method=\"patchplane.v1.PatchOperationService/GetPatchOperation\"";
    let ok = "rpc_response_status_code=\"OK\"";
    assert_eq!(value("rpc_server_call_duration_seconds_count", &[create, ok]), 1.0);
    let refused = "rpc_response_status_code=\"INVALID_ARGUMENT\"";
    assert_eq!(value("rpc_server_call_duration_seconds_count", &[get, refused]), 1.0);
    let sent = ["rpc_method=\"ssm/SendCommand\"", "patchplane_outcome=\"ok\"", &account, &region];
    assert!(value("rpc_client_call_duration_seconds_count", &sent) >= 1.0);
    let install = "kind=\"INSTALL\"";
    assert_eq!(value("patchplane_operations_started_total", &[install]), 1.0);
    assert_eq!(value("patchplane_operations_ended_total", &[install, "state=\"SUCCEEDED\""]), 1.0);
    assert_eq!(value("patchplane_targets_ended_total", &[install, "state=\"SUCCEEDED\""]), 2.0);
    assert!(value("patchplane_dispatches_total", &["outcome=\"sent\""]) >= 1.0);
    assert!(value("patchplane_location_wait_seconds_count", &[&account, &region]) >= 1.0);
    for access in ["access=\"read\"", "access=\"write\""] {
        assert!(value("patchplane_store_duration_seconds_count", &[access, "outcome=\"ok\""]) >= 1.0);
    }
    value("patchplane_operations_unfinished", &[install, "state=\"RUNNING\""]);
    assert!(value("patchplane_operations_stalled_seconds", &[]) < 60.0);
    value("patchplane_data_age_seconds", &[&account, &region]);
    value("patchplane_watchers", &[]);
    value("target_info", &["service_name=\"patchplane\"", "deployment_environment=\"test\""]);

    as_prometheus_is_told(scraped);

    // The same by OTLP; and of a secret or an instance nothing is told in either.
    let (names, attributes) = collector.metrics();
    for name in [
        "rpc.server.call.duration",
        "rpc.client.call.duration",
        "patchplane.operations.ended",
        "patchplane.store.duration",
    ] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
    let told = |text: &str| scraped.contains(text) || attributes.iter().any(|pair| pair.contains(text));
    assert!(told(ACCOUNT) && told("ssm/SendCommand"));
    assert!(!scraped.contains("\"i-") && !attributes.iter().any(|pair| pair.contains("=i-")), "{attributes:?}");
    assert!(!told("AKIA"));
}

/// Alerts and dashboard are made of `metrics.txt`: what is served stands there, with its kind and its labels.
fn as_prometheus_is_told(scraped: &str) {
    let list =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/prometheus/metrics.txt")).unwrap();
    let row = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let known: Vec<Vec<String>> = list.lines().filter(|line| !line.starts_with('#')).map(row).collect();
    for line in scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let row = known.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("metrics.txt has no {name}"));
        assert_eq!(row[1], kind, "{name}");
        let samples = scraped
            .lines()
            .filter(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name}_")));
        for (_, labels) in samples.filter_map(|line| line.split_once('{')).filter(|_| name != "target_info") {
            for label in labels
                .split("\",")
                .filter_map(|pair| pair.split_once('='))
                .map(|(label, _)| label.trim_start_matches(','))
            {
                let ours = ["le", "otel_scope_name"].contains(&label);
                assert!(ours || row[2..].iter().any(|known| known == label), "{name} has {label}: {labels}");
            }
        }
    }
}

fn lines_are_right(lines: &str, command_id: &str) {
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let sent = lines.iter().find(|line| line["message"] == "command sent").unwrap();
    assert_eq!(sent["aws.command_id"], command_id);
    assert_eq!(sent["level"], "INFO");
    assert_eq!(sent["openTelemetry"]["traceId"].as_str().unwrap().len(), 32, "{sent}");
    let accepted = lines.iter().find(|line| line["message"] == "operation accepted").unwrap();
    assert_eq!(accepted["openTelemetry"]["traceId"], TRACE);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
