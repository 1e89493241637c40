//! Bounds: deadlines, how many calls at once, and the size of headers. What is beyond is refused at once, with a reason.

use super::body::Guarded;
use crate::{
    Error,
    config::Limits,
    grpc::methods::{Kind, Methods},
    telemetry::metrics,
};
use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::HeaderMap;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::Status;

/// So much before the caller's deadline calls of AWS are given up, that the caller still hears why: a tenth of the
/// time, but no more than this.
const MARGIN: Duration = Duration::from_millis(250);

/// So much before the deadline it is answered for the caller, who would stop listening in that moment.
const NOTICE: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub(super) struct Bounds {
    pub(super) methods: Methods,
    pub(super) limits: Limits,
    pub(super) calls: Arc<Semaphore>,
    pub(super) streams: Arc<Semaphore>,
}

pub(super) async fn bound(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    let kind = bounds.methods.at(request.uri().path()).kind;
    if kind == Kind::Probe {
        return next.run(request).await;
    }
    match bounds.admit(kind, request.headers()) {
        Err(refused) => Status::from(refused).into_http(),
        Ok(permit) => {
            let answer = match bounds.limits.time(kind, timeout(request.headers())) {
                None => next.run(request).await,
                Some(time) => in_time(time, next.run(request)).await,
            };
            answer.map(|body| Body::new(Guarded { body, _kept: permit }))
        }
    }
}

async fn in_time(time: Duration, work: impl Future<Output = Response>) -> Response {
    let (begun, notice) = (Instant::now(), NOTICE.min(time / 10));
    let work = patchplane_aws::within(begun + (time - MARGIN.min(time / 10) - notice), work);
    tokio::time::timeout_at(begun + (time - notice), work)
        .await
        .unwrap_or_else(|_| Status::from(Error::Deadline).into_http())
}

impl Bounds {
    fn admit(&self, kind: Kind, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, Error> {
        let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let most = self.limits.header_size.as_u64();
        if u64::try_from(size).is_ok_and(|size| size > most) {
            return Err(Error::HeadersTooLarge { most });
        }
        let places = match kind {
            Kind::Unary | Kind::Probe => &self.calls,
            Kind::Wait | Kind::Stream => &self.streams,
        };
        Arc::clone(places).try_acquire_owned().map_err(|_| {
            metrics::shed();
            Error::Overloaded
        })
    }
}

impl Limits {
    /// How long a call may last whose caller says this.
    fn time(&self, kind: Kind, asked: Option<Duration>) -> Option<Duration> {
        match kind {
            Kind::Stream | Kind::Probe => None,
            Kind::Wait => Some(asked.unwrap_or(self.max_deadline).min(self.max_deadline)),
            Kind::Unary => Some(asked.unwrap_or(self.default_deadline).min(self.max_deadline)),
        }
    }
}

/// The caller's `grpc-timeout`: at most eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8 && digits.bytes().all(|c| c.is_ascii_digit()))?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_deadline_counts_within_the_most_and_streams_have_none() {
        let limits = Limits::default();
        let (short, long) = (Duration::from_secs(5), Duration::from_secs(999_999));
        assert_eq!(limits.time(Kind::Unary, None), Some(limits.default_deadline));
        assert_eq!(limits.time(Kind::Unary, Some(short)), Some(short));
        assert_eq!(limits.time(Kind::Unary, Some(long)), Some(limits.max_deadline));
        assert_eq!(limits.time(Kind::Wait, None), Some(limits.max_deadline));
        assert_eq!(limits.time(Kind::Stream, Some(short)), None);
    }

    #[test]
    fn a_timeout_is_read_as_grpc_writes_it() {
        let read = |text: &str| {
            let value = http::HeaderValue::from_str(text).unwrap();
            timeout(&HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), value)]))
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        for wrong in ["", "S", "5", "5s", "+5S", "123456789S", "5 S"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
