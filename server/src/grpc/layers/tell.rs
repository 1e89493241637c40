//! Tells of every call: a span in the caller's trace, a metric, and what became of it. A panic ends the call as INTERNAL,
//! and nothing else.

use crate::{
    Error,
    grpc::{
        methods::{Kind, Method, Methods},
        status,
    },
    telemetry::{metrics, trace},
};
use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{sync::watch, time::Instant};
use tonic::{Code, Status};
use tracing::{Instrument as _, Span, field};

#[derive(Clone)]
pub(super) struct Teller {
    pub(super) methods: Methods,
    pub(super) draining: watch::Receiver<bool>,
}

pub(super) async fn tell(State(teller): State<Teller>, request: Request, next: Next) -> Response {
    let method = teller.methods.at(request.uri().path());
    let mut call = Call::begin(method, request.headers());
    let work = AssertUnwindSafe(next.run(request).instrument(call.span.clone()));
    let answer = match work.catch_unwind().await {
        Ok(answer) => complete(answer),
        Err(panic) => status_of(panic).into_http(),
    };
    // An error, or a stream that ends before it begins, has its status among the headers.
    call.hear(answer.headers());
    // Probes know nothing of a drain, and some callers watch the health for as long as they live.
    let ending = (method.kind == Kind::Probe).then(|| ending(teller.draining.clone()));
    answer.map(|body| Body::new(Told { body, call, ending, ended: false }))
}

/// A call under way; dropped before its status is known it was cancelled.
struct Call {
    method: Arc<str>,
    span: Span,
    begun: Instant,
    code: Option<Code>,
    watcher: bool,
}

impl Call {
    fn begin(method: &Method, headers: &HeaderMap) -> Self {
        let span = match method.kind {
            // Balancers ask all the time.
            Kind::Probe => Span::none(),
            _ => tracing::info_span!(
                "rpc",
                otel.name = &*method.name,
                otel.kind = "server",
                otel.status_code = field::Empty,
                rpc.system.name = "grpc",
                rpc.method = &*method.name,
                rpc.response.status_code = field::Empty,
            ),
        };
        trace::continue_from(&span, headers);
        let watcher = method.kind == Kind::Stream;
        if watcher {
            metrics::watchers(1);
        }
        Self { method: Arc::clone(&method.name), span, begun: Instant::now(), code: None, watcher }
    }

    fn hear(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.code = Some(status.code());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        use Code::{Cancelled, DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
        let code = self.code.unwrap_or(Cancelled);
        let name = status::name(code);
        self.span.record("rpc.response.status_code", name);
        // Those that are the server's fault, as the conventions for RPCs list them.
        if matches!(code, Unknown | DeadlineExceeded | Unimplemented | Internal | Unavailable | DataLoss) {
            self.span.record("otel.status_code", "ERROR");
        }
        metrics::rpc(&self.method, name, self.begun.elapsed());
        if self.watcher {
            metrics::watchers(-1);
        }
    }
}

/// Hears the status at the end of the answer. Code that panics in the midst of a stream ends the stream.
struct Told {
    body: Body,
    call: Call,
    /// When the stream is ended for its handler.
    ending: Option<BoxFuture<'static, ()>>,
    ended: bool,
}

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let Call { span, .. } = &this.call;
        let body = &mut this.body;
        let polled = catch_unwind(AssertUnwindSafe(|| span.in_scope(|| Pin::new(body).poll_frame(context))));
        match polled {
            Err(panic) => this.end(status_of(panic)),
            // What was to be said before the end is said first.
            Ok(Poll::Pending) => {
                let ended = this.ending.as_mut().is_some_and(|ending| ending.as_mut().poll(context).is_ready());
                if ended { this.end(Error::Draining.into()) } else { Poll::Pending }
            }
            Ok(Poll::Ready(frame)) => {
                if let Some(Ok(frame)) = &frame
                    && let Some(trailers) = frame.trailers_ref()
                {
                    this.call.hear(trailers);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Told {
    fn end(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.ended = true;
        self.call.code = Some(status.code());
        let mut trailers = HeaderMap::new();
        // What cannot be written as a header leaves the stream without a status, which callers take for a failure, too.
        status.add_header(&mut trailers).ok();
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

async fn wait_for_the_end(mut draining: watch::Receiver<bool>) {
    draining.wait_for(|draining| *draining).await.ok();
}

fn ending(draining: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
    wait_for_the_end(draining).boxed()
}

/// Errors of the transport itself, such as a message that cannot be read, get a reason like all others.
fn complete(answer: Response) -> Response {
    match Status::from_header_map(answer.headers()) {
        Some(status) if status.code() != Code::Ok && status.details().is_empty() => {
            status::with_reason(&status).into_http()
        }
        _ => answer,
    }
}

fn status_of(panic: Box<dyn Any + Send>) -> Status {
    let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Error::Internal(format!("a panic: {message}").into()).into()
}
