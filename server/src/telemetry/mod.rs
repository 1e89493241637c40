//! What the server tells of itself: log lines, traces, metrics. Traces and metrics go out by OTLP where the environment
//! says so (`OTEL_EXPORTER_OTLP_ENDPOINT` and the other standard variables), metrics also to whoever scrapes them.
//!
//! No secret is told, and no id of an instance is a label: labels are methods, locations, states and reasons.

pub mod metrics;
mod scrape;
pub mod trace;

use crate::config::LogFormat;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::{
    Resource, metrics::SdkMeterProvider, propagation::TraceContextPropagator, trace::SdkTracerProvider,
};
use std::{collections::BTreeMap, env, net::SocketAddr, panic};
use tokio::{net::TcpListener, task::JoinHandle};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// What is told, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub logs: LogFormat,
    /// Whether traces and metrics are made at all.
    pub signals: bool,
    /// Where Prometheus finds `/metrics`.
    pub prometheus: Option<SocketAddr>,
    /// The least level of log lines, where PATCHPLANE_LOG says none.
    pub level: &'static str,
}

/// Telemetry at work. What was not sent yet is lost without [`Telemetry::flush`].
pub struct Telemetry {
    tracers: Option<SdkTracerProvider>,
    meters: Option<SdkMeterProvider>,
    /// Where `/metrics` is; port 0 took a free one.
    pub prometheus: Option<SocketAddr>,
    scraped: Option<JoinHandle<()>>,
}

/// Starts telling. Once for each process, within its runtime.
pub async fn start(options: Options) -> anyhow::Result<Telemetry> {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let sends = |signal: &str| sends(signal, variable);
    let tracers = if options.signals && sends("TRACES") { Some(tracers()?) } else { None };
    let registry = options.prometheus.map(|_| prometheus::Registry::new());
    let meters = if options.signals && (registry.is_some() || sends("METRICS")) {
        Some(meters(registry.as_ref(), sends("METRICS"))?)
    } else {
        None
    };
    if let Some(meters) = &meters {
        opentelemetry::global::set_meter_provider(meters.clone());
    }
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());

    let lines = match options.logs {
        LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).boxed(),
        LogFormat::Json => json_subscriber::layer()
            .with_writer(std::io::stderr)
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_opentelemetry_ids(true)
            .boxed(),
    };
    let filter = EnvFilter::try_from_env("PATCHPLANE_LOG").unwrap_or_else(|_| EnvFilter::new(options.level));
    // Spans of ours, whatever the log lines are filtered by; those of libraries would tell everything twice.
    let ours = Targets::new().with_target("patchplane", tracing::Level::INFO);
    let traces = tracers.as_ref().map(|tracers| {
        let layer = tracing_opentelemetry::layer().with_tracer(tracers.tracer("patchplane"));
        layer
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(ours)
    });
    tracing_subscriber::registry().with(traces).with(lines.with_filter(filter)).try_init()?;
    panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or_default();
        tracing::error!(at, message, "a panic");
    }));

    let mut telemetry = Telemetry { tracers, meters, prometheus: None, scraped: None };
    if let (Some(address), Some(registry)) = (options.prometheus, registry) {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| anyhow::anyhow!("telemetry.prometheus: {address} cannot be listened on: {error}"))?;
        telemetry.prometheus = Some(listener.local_addr()?);
        telemetry.scraped = Some(tokio::spawn(scrape::serve(listener, registry)));
    }
    Ok(telemetry)
}

impl Telemetry {
    /// Sends what is left, for the process ends.
    pub async fn flush(self) {
        let Self { tracers, meters, scraped, .. } = self;
        // The exporters wait for their threads, which need this runtime.
        let flushed = tokio::task::spawn_blocking(move || {
            let tracers = tracers.map(|tracers| tracers.shutdown());
            let meters = meters.map(|meters| meters.shutdown());
            [tracers, meters].into_iter().flatten().collect::<Result<Vec<()>, _>>()
        });
        match flushed.await {
            Ok(Err(error)) => tracing::warn!(%error, "some telemetry could not be sent"),
            Err(error) => tracing::warn!(%error, "some telemetry could not be sent"),
            Ok(Ok(_)) => {}
        }
        if let Some(scraped) = scraped {
            scraped.abort();
        }
    }
}

/// Whether the environment wants a signal sent: there is an endpoint, and nothing says no.
fn sends(signal: &str, variable: impl Fn(&str) -> Option<String>) -> bool {
    let off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || variable(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|value| value == "none");
    let endpoint =
        variable("OTEL_EXPORTER_OTLP_ENDPOINT").or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")));
    endpoint.is_some() && !off
}

/// `service.name` and `service.version`, unless the environment names others.
fn resource() -> Resource {
    let variables =
        ["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"].map(|name| (name, env::var(name).unwrap_or_default()));
    let said: BTreeMap<&str, String> = variables.into_iter().collect();
    let named = !said["OTEL_SERVICE_NAME"].is_empty() || said["OTEL_RESOURCE_ATTRIBUTES"].contains("service.name=");
    let resource =
        Resource::builder().with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if named { resource.build() } else { resource.with_service_name("patchplane").build() }
}

fn tracers() -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder().with_tonic().build()?;
    Ok(SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build())
}

fn meters(registry: Option<&prometheus::Registry>, send: bool) -> anyhow::Result<SdkMeterProvider> {
    let mut meters = SdkMeterProvider::builder().with_resource(resource());
    if let Some(registry) = registry {
        meters = meters.with_reader(opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?);
    }
    if send {
        meters = meters.with_periodic_exporter(MetricExporter::builder().with_tonic().build()?);
    }
    Ok(meters.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_sent_only_where_the_environment_wants_them() {
        let sends = |signal: &str, variables: &[(&str, &str)]| {
            let found =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            sends(signal, found)
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
        assert!(!sends("TRACES", &[]));
        assert!(sends("TRACES", &[endpoint]));
        assert!(!sends("TRACES", &[endpoint, ("OTEL_TRACES_EXPORTER", "none")]));
        assert!(sends("METRICS", &[endpoint, ("OTEL_TRACES_EXPORTER", "none")]));
        assert!(!sends("METRICS", &[endpoint, ("OTEL_SDK_DISABLED", "true")]));
        assert!(!sends("METRICS", &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4317")]));
    }
}
