//! AWS as a script: each request gets the answer that a function gives, and is kept.

use aws_smithy_async::{rt::sleep::TokioSleep, time::TimeSource};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use jiff::Timestamp;
use patchplane_aws::{Access, Aws, Clock, Credentials, SharedAsyncSleep, SharedTimeSource};
use patchplane_rules::Location;
use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// When every script begins.
pub(crate) const BEGIN: &str = "2026-01-15T10:00:00Z";

/// One answer of AWS, or none.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Http { status: u16, headers: Vec<(&'static str, String)>, body: String },
    Refused,
    Reset,
    Silence,
}

/// One request as AWS saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The operation, from the target header or the query's action.
    pub(crate) operation: String,
    pub(crate) signed_at: String,
    pub(crate) body: String,
}

#[derive(Clone)]
pub(crate) struct Script {
    answer: Arc<dyn Fn(&Seen) -> Answer + Send + Sync>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Answer {
    pub(crate) fn ok(body: &str) -> Self {
        Self::Http { status: 200, headers: vec![("x-amzn-requestid", "r-1".to_owned())], body: body.to_owned() }
    }

    pub(crate) fn error(status: u16, code: &str) -> Self {
        let body = format!(r#"{{"__type":"{code}","Message":"said AWS"}}"#);
        Self::Http { status, headers: vec![("x-amzn-requestid", "r-1".to_owned())], body }
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Http { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }

    pub(crate) fn without_request_id(mut self) -> Self {
        if let Self::Http { headers, .. } = &mut self {
            headers.retain(|(name, _)| *name != "x-amzn-requestid");
        }
        self
    }
}

impl Script {
    pub(crate) fn new(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), seen: Arc::default() }
    }

    /// A location of the scripted AWS; needs a paused Tokio clock.
    pub(crate) async fn aws(&self) -> Aws {
        let time = Began { at: Instant::now(), time: BEGIN.parse().unwrap() };
        let clock = Clock::new(SharedTimeSource::new(time), SharedAsyncSleep::new(TokioSleep::new()));
        let access = Access { clock, http: Some(self.http_client()), endpoint_url: None };
        let keys = Credentials::Static { access_key_id: "AKIDEXAMPLE".to_owned(), secret_access_key: "x".to_owned() };
        Aws::connect(&access, Location::new("123456789012", "eu-central-1").unwrap(), &keys).await.unwrap()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn http_client(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl HttpConnector for Script {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = String::from_utf8(request.body().bytes().unwrap_or_default().to_vec()).unwrap();
        let header = |name: &str| request.headers().get(name).unwrap_or_default().to_owned();
        let operation = match header("x-amz-target").split_once('.') {
            Some((_, operation)) => operation.to_owned(),
            None => body.split(['=', '&']).nth(1).unwrap_or_default().to_owned(),
        };
        let seen = Seen { operation, signed_at: header("x-amz-date"), body };
        let answer = (self.answer)(&seen);
        self.seen.lock().unwrap().push(seen);
        let broken = |kind: std::io::ErrorKind| Err(ConnectorError::io(std::io::Error::from(kind).into()));
        match answer {
            Answer::Refused => HttpConnectorFuture::ready(broken(std::io::ErrorKind::ConnectionRefused)),
            Answer::Reset => HttpConnectorFuture::ready(broken(std::io::ErrorKind::ConnectionReset)),
            Answer::Silence => HttpConnectorFuture::new(std::future::pending()),
            Answer::Http { status, headers, body } => {
                let mut response = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body));
                for (name, value) in headers {
                    response.headers_mut().insert(name, value);
                }
                HttpConnectorFuture::ready(Ok(response))
            }
        }
    }
}

/// Real time's stand-in: it begins at a fixed moment and goes on with Tokio's clock.
#[derive(Debug)]
struct Began {
    at: Instant,
    time: Timestamp,
}

impl TimeSource for Began {
    fn now(&self) -> SystemTime {
        SystemTime::from(self.time) + self.elapsed()
    }
}

impl Began {
    fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }
}
