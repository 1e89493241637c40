//! What the layers promise, with services that do what a test wants.

use super::{super::methods::Methods, around};
use crate::config::Limits;
use axum::{Router, body::Body, extract::Request, response::Response, routing::any};
use bytesize::ByteSize;
use futures::stream;
use http_body_util::BodyExt as _;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

const UNARY: &str = "/patchplane.v1.PatchOperationService/GetPatchOperation";
const WAIT: &str = "/patchplane.v1.PatchOperationService/WaitPatchOperation";
const STREAM: &str = "/patchplane.v1.PatchOperationService/WatchPatchOperation";
const HEALTH: &str = "/grpc.health.v1.Health/Watch";

struct World {
    router: Router,
    drain: watch::Sender<bool>,
}

impl World {
    /// Services of which each answers as `answer` does, behind the layers.
    fn new<F: Future<Output = Response> + Send>(
        limits: Limits,
        answer: impl Fn(Request) -> F + Clone + Send + Sync + 'static,
    ) -> Self {
        let drain = watch::Sender::new(false);
        let mut router = Router::new();
        for path in [UNARY, WAIT, STREAM, HEALTH] {
            router = router.route(path, any(answer.clone()));
        }
        Self { router: around(router, Methods::served().unwrap(), limits, drain.subscribe()), drain }
    }

    async fn call(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = http::Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }
}

/// The status, wherever it stands; reads the answer to its end.
async fn status(answer: Response) -> Status {
    let (head, body) = answer.into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned();
    Status::from_header_map(&head.headers).or_else(|| Status::from_header_map(&trailers?)).unwrap()
}

async fn refused(answer: Response) -> (Code, String) {
    let status = status(answer).await;
    (status.code(), status.get_error_details().error_info().unwrap().reason.clone())
}

fn well() -> Response {
    Status::new(Code::Ok, "").into_http()
}

#[tokio::test]
async fn a_panic_ends_its_call_as_internal_and_no_other() {
    let world = World::new(Limits::default(), async |request: Request| match request.uri().path() {
        UNARY => panic!("the secret cause"),
        // In the midst of a stream.
        _ => Response::new(Body::from_stream(stream::poll_fn(
            |_| -> std::task::Poll<Option<Result<&str, axum::Error>>> { panic!("the secret cause") },
        ))),
    });
    for path in [UNARY, STREAM, UNARY] {
        let status = status(world.call(path, &[]).await).await;
        assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_by_the_earliest_deadline_and_says_so() {
    let limits = Limits {
        default_deadline: Duration::from_secs(60),
        max_deadline: Duration::from_secs(600),
        ..Limits::default()
    };
    let world = World::new(limits, async |_| std::future::pending().await);
    for (path, asked, seconds) in [
        (UNARY, None, 60),
        (UNARY, Some("5S"), 5),
        (UNARY, Some("9H"), 600),
        (WAIT, None, 600),
        (WAIT, Some("90S"), 90),
    ] {
        let begun = Instant::now();
        let headers: Vec<_> = asked.map(|asked| ("grpc-timeout", asked)).into_iter().collect();
        let answer = refused(world.call(path, &headers).await).await;
        assert_eq!(answer, (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
        let took = begun.elapsed().as_secs_f64();
        assert!(took < f64::from(seconds) && took > f64::from(seconds) - 0.1, "{path} {asked:?}: {took}");
    }
}

#[tokio::test]
async fn what_is_too_much_is_refused_at_once_and_no_probe_ever() {
    let (entered, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let answer = {
        let (entered, go) = (Arc::clone(&entered), Arc::clone(&go));
        move |request: Request| {
            let (entered, go) = (Arc::clone(&entered), Arc::clone(&go));
            async move {
                if request.uri().path() != HEALTH {
                    entered.notify_one();
                    go.notified().await;
                }
                well()
            }
        }
    };
    let world = World::new(Limits { concurrent_calls: 1, concurrent_streams: 1, ..Limits::default() }, answer);
    let first = tokio::spawn({
        let router = world.router.clone();
        async move { router.oneshot(http::Request::builder().uri(UNARY).body(Body::empty()).unwrap()).await.unwrap() }
    });
    entered.notified().await;
    assert_eq!(refused(world.call(UNARY, &[]).await).await, (Code::Unavailable, "OVERLOADED".into()));
    assert_eq!(status(world.call(HEALTH, &[]).await).await.code(), Code::Ok);
    go.notify_one();
    let answer = first.await.unwrap();
    // Its place is kept until the answer has gone out.
    assert_eq!(refused(world.call(UNARY, &[]).await).await.1, "OVERLOADED");
    assert_eq!(status(answer).await.code(), Code::Ok);
    go.notify_one();
    assert_eq!(status(world.call(UNARY, &[]).await).await.code(), Code::Ok);
    // Streams and waits have places of their own.
    go.notify_one();
    let stream = world.call(STREAM, &[]).await;
    assert_eq!(refused(world.call(WAIT, &[]).await).await.1, "OVERLOADED");
    drop(stream);
    go.notify_one();
    assert_eq!(status(world.call(WAIT, &[]).await).await.code(), Code::Ok);
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused_with_a_reason() {
    let world = World::new(Limits { header_size: ByteSize::kib(4), ..Limits::default() }, async |_| well());
    assert_eq!(status(world.call(UNARY, &[("x-note", &"x".repeat(4000))]).await).await.code(), Code::Ok);
    let answer = refused(world.call(UNARY, &[("x-note", &"x".repeat(4100))]).await).await;
    assert_eq!(answer, (Code::ResourceExhausted, "HEADERS_TOO_LARGE".into()));
}

#[tokio::test]
async fn errors_of_the_transport_have_a_reason_too() {
    let world =
        World::new(Limits::default(), async |_| Status::out_of_range("decoded message length too large").into_http());
    assert_eq!(refused(world.call(UNARY, &[]).await).await, (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into()));
    let world =
        World::new(Limits::default(), async |_| Status::internal("failed to decode Protobuf message").into_http());
    assert_eq!(refused(world.call(UNARY, &[]).await).await, (Code::InvalidArgument, "MESSAGE_UNREADABLE".into()));
}

#[tokio::test]
async fn a_watch_of_the_health_ends_when_the_server_drains() {
    let endless = || Response::new(Body::from_stream(stream::pending::<Result<&str, axum::Error>>()));
    let world = World::new(Limits::default(), move |_| std::future::ready(endless()));
    let watched = tokio::spawn(refused(world.call(HEALTH, &[]).await));
    world.drain.send_replace(true);
    assert_eq!(watched.await.unwrap(), (Code::Unavailable, "SERVER_DRAINING".into()));
}
