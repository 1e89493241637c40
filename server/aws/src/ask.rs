//! The one road by which AWS is asked: every call is timed, traced and counted, and takes no longer than its caller waits.

use crate::{Aws, Call, Error, ErrorKind, Result, error};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeTransmitInterceptorContextRef},
        orchestrator::{HttpResponse, Metadata},
        result::SdkError,
        retries::RequestAttempts,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{config_bag::ConfigBag, error::metadata::ProvideErrorMetadata};
use aws_types::request_id::RequestId;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use std::{error::Error as StdError, future::Future, pin::Pin, sync::LazyLock};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field};

/// Seconds, as the conventions for RPCs advise.
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

static DURATION: LazyLock<Histogram<f64>> = LazyLock::new(|| {
    let meter = opentelemetry::global::meter("patchplane");
    let duration = meter.f64_histogram("rpc.client.call.duration").with_unit("s").with_boundaries(BUCKETS.to_vec());
    duration.with_description("How long calls of AWS take, retries included").build()
});

static RETRIES: LazyLock<Counter<u64>> = LazyLock::new(|| {
    let meter = opentelemetry::global::meter("patchplane");
    meter.u64_counter("patchplane.aws.retries").with_description("Attempts at calls of AWS after the first").build()
});

tokio::task_local! {
    static DEADLINE: Instant;
}

/// Does some work in which no call of AWS lasts beyond the deadline: it fails as [`ErrorKind::Deadline`] then.
pub async fn within<F: Future>(deadline: Instant, work: F) -> F::Output {
    DEADLINE.scope(deadline, work).await
}

/// The deadline of the work that one is in, if it has one.
pub fn deadline() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok()
}

impl Aws {
    /// Makes a call, and tells a failure as this call's. Behind a pointer: the SDK's futures are large.
    pub(crate) fn ask<'a, T, E>(
        &'a self,
        call: &'a Call,
        request: impl Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
    ) -> Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>
    where
        T: RequestId + Send + 'a,
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let answer = async move {
            let answer = match deadline() {
                None => request.await,
                Some(deadline) => tokio::time::timeout_at(deadline, request).await.map_err(|_| too_late(call))?,
            };
            answer.map_err(|failure| error::of_sdk(call, &failure))
        };
        Box::pin(self.observe(call, answer, |error| error))
    }

    /// Times, traces and counts a call, whose failure holds an [`Error`].
    pub(crate) async fn observe<T: RequestId, F>(
        &self,
        call: &Call,
        request: impl Future<Output = std::result::Result<T, F>>,
        error: impl Fn(&F) -> &Error + Send,
    ) -> std::result::Result<T, F> {
        let mut observed = Observed::begin(self, call);
        let answer = request.instrument(observed.span.clone()).await;
        match &answer {
            Ok(answer) => observed.end("ok", answer.request_id()),
            Err(failure) => {
                let Error { kind, code, request_id, .. } = error(failure);
                observed.span.record("error.type", code.as_deref().unwrap_or_else(|| kind.name()));
                observed.span.record("otel.status_code", "ERROR");
                observed.end(kind.name(), request_id.as_deref());
            }
        }
        answer
    }
}

/// A call under way; one that is dropped before its end counts as abandoned.
struct Observed {
    span: Span,
    begun: Instant,
    attributes: [KeyValue; 4],
    ended: bool,
}

impl Observed {
    fn begin(aws: &Aws, call: &Call) -> Self {
        let (location, method) = (aws.location(), call.action.replace(':', "/"));
        let span = tracing::info_span!(
            "aws.call",
            otel.name = method,
            otel.kind = "client",
            otel.status_code = field::Empty,
            rpc.system.name = "aws-api",
            rpc.method = method,
            cloud.account.id = location.account.as_str(),
            cloud.region = location.region.as_str(),
            aws.request_id = field::Empty,
            error.r#type = field::Empty,
        );
        let attributes = [
            KeyValue::new("rpc.system.name", "aws-api"),
            KeyValue::new("rpc.method", method),
            KeyValue::new("cloud.account.id", location.account.as_str().to_owned()),
            KeyValue::new("cloud.region", location.region.as_str().to_owned()),
        ];
        Self { span, begun: Instant::now(), attributes, ended: false }
    }

    fn end(&mut self, outcome: &'static str, request_id: Option<&str>) {
        self.ended = true;
        if let Some(id) = request_id {
            self.span.record("aws.request_id", id);
        }
        let [system, method, account, region] = self.attributes.clone();
        let outcome = KeyValue::new("patchplane.outcome", outcome);
        DURATION.record(self.begun.elapsed().as_secs_f64(), &[system, method, account, region, outcome]);
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if !self.ended {
            self.end("abandoned", None);
        }
    }
}

fn too_late(call: &Call) -> Error {
    let message = "the deadline of the caller came first".to_owned();
    Error { kind: ErrorKind::Deadline, action: call.action, code: None, message, request_id: None }
}

/// Counts the attempts that the SDK makes by itself.
#[derive(Debug)]
pub(crate) struct Retries;

impl Intercept for Retries {
    fn name(&self) -> &'static str {
        "Retries"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        if config.load::<RequestAttempts>().is_some_and(|attempts| attempts.attempts() > 1) {
            let method = config.load::<Metadata>().map(|of| format!("{}/{}", of.service().to_lowercase(), of.name()));
            RETRIES.add(1, &[KeyValue::new("rpc.method", method.unwrap_or_default())]);
        }
        Ok(())
    }
}
