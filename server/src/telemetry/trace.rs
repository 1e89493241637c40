//! Traces that go on: from the caller's span into ours, and from the span that created an operation to all its later steps,
//! whichever process takes them.

use http::HeaderMap;
use opentelemetry::{
    global,
    propagation::Extractor,
    trace::{SpanContext, TraceContextExt as _},
};
use std::collections::HashMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The header of W3C's Trace Context.
const HEADER: &str = "traceparent";

/// Makes `span` a part of the caller's trace, if its headers name one.
pub(crate) fn continue_from(span: &Span, headers: &HeaderMap) {
    if !span.is_disabled() && headers.contains_key(HEADER) {
        let caller = global::get_text_map_propagator(|propagator| propagator.extract(&Headers(headers)));
        // Refused where no traces are made.
        span.set_parent(caller).ok();
    }
}

/// The span that one is in, as `traceparent` writes it; `None` where no traces are made.
pub(crate) fn current() -> Option<String> {
    let mut carrier = HashMap::new();
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut carrier));
    carrier.remove(HEADER)
}

/// Links `span` with one of earlier.
pub(crate) fn link(span: &Span, traceparent: &str) {
    span.add_link(parse(traceparent));
}

/// Whether the trace of earlier is recorded at all.
pub(crate) fn sampled(traceparent: &str) -> bool {
    parse(traceparent).is_sampled()
}

fn parse(traceparent: &str) -> SpanContext {
    let carrier = HashMap::from([(HEADER.to_owned(), traceparent.to_owned())]);
    global::get_text_map_propagator(|propagator| propagator.extract(&carrier)).span().span_context().clone()
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
