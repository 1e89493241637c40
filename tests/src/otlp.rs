//! A collector: takes what a server sends by OTLP, and tells it as text.

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data},
    resource::v1::Resource,
    trace::v1::Span,
};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What has arrived so far. Clones are the same collector.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Arrived>>);

#[derive(Default)]
struct Arrived {
    resources: Vec<Resource>,
    spans: Vec<Span>,
    metrics: Vec<Metric>,
}

impl Collector {
    /// Starts one, and gives its address.
    pub async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let serving = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        (collector, address)
    }

    pub fn spans(&self) -> Vec<Span> {
        let mut spans = self.0.lock().unwrap().spans.clone();
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }

    /// `service.name` of whoever sends.
    pub fn services(&self) -> BTreeSet<String> {
        let arrived = self.0.lock().unwrap();
        arrived.resources.iter().filter_map(|resource| attribute(&resource.attributes, "service.name")).collect()
    }

    /// The names of the metrics, and all their attributes as `name=value`.
    pub fn metrics(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let arrived = self.0.lock().unwrap();
        let names = arrived.metrics.iter().map(|metric| metric.name.clone()).collect();
        let mut attributes = BTreeSet::new();
        for metric in &arrived.metrics {
            let points: Vec<&Vec<KeyValue>> = match metric.data.as_ref().unwrap() {
                Data::Gauge(gauge) => gauge.data_points.iter().map(|point| &point.attributes).collect(),
                Data::Sum(sum) => sum.data_points.iter().map(|point| &point.attributes).collect(),
                Data::Histogram(histogram) => histogram.data_points.iter().map(|point| &point.attributes).collect(),
                Data::ExponentialHistogram(_) | Data::Summary(_) => panic!("{} is of an unknown kind", metric.name),
            };
            attributes.extend(points.into_iter().flatten().map(|pair| format!("{}={}", pair.key, text(pair))));
        }
        (names, attributes)
    }
}

/// An attribute of a span, as text.
pub fn said(span: &Span, key: &str) -> Option<String> {
    attribute(&span.attributes, key)
}

/// A span with all below it, a line each: indented, with the attributes named, when they are there.
pub fn tree(spans: &[Span], root: &Span, attributes: &[&str]) -> String {
    let mut told = String::new();
    branch(&mut told, spans, root, 0, attributes);
    told
}

fn branch(told: &mut String, spans: &[Span], span: &Span, depth: usize, attributes: &[&str]) {
    write!(told, "{:indent$}{}", "", span.name, indent = 2 * depth).unwrap();
    for key in attributes {
        if let Some(value) = said(span, key) {
            write!(told, "  {key}={value}").unwrap();
        }
    }
    told.push('\n');
    for child in spans.iter().filter(|child| child.trace_id == span.trace_id && child.parent_span_id == span.span_id) {
        branch(told, spans, child, depth + 1, attributes);
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    attributes.iter().find(|pair| pair.key == key).map(text)
}

fn text(pair: &KeyValue) -> String {
    match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut arrived = self.0.lock().unwrap();
        for of_resource in request.into_inner().resource_spans {
            arrived.resources.extend(of_resource.resource);
            arrived.spans.extend(of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let mut arrived = self.0.lock().unwrap();
        for of_resource in request.into_inner().resource_metrics {
            arrived.resources.extend(of_resource.resource);
            arrived.metrics.extend(of_resource.scope_metrics.into_iter().flat_map(|of_scope| of_scope.metrics));
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
