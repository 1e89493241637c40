//! When a call is sent again, and after how long.

use crate::{Error, Result};
use std::time::Duration;
use tonic::{Response, Status};

/// How often and how patiently a call is repeated. Only [transient](Error::is_transient) errors are repeated, so a
/// retry never does a thing twice: reads have no effect, and mutations carry one `request_id` through all attempts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Calls in all, the first one included; 1 means no repetition.
    pub attempts: u32,
    /// The wait after the first attempt; it doubles with each further one.
    pub initial_backoff: Duration,
    /// The longest wait of our own choice.
    pub max_backoff: Duration,
    /// The longest wait that the server may ask for; if it asks for more, the error is returned at once.
    pub max_server_delay: Duration,
}

impl Default for Retry {
    /// Four attempts, 0.2 s doubling to 5 s, as in the service configuration beside the protos.
    fn default() -> Self {
        Self {
            attempts: 4,
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(5),
            max_server_delay: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// The wait before the next attempt after `failures` failures in a row (from 1); none means that it is enough.
    /// `jitter` (0 to 1) spreads clients over the second half of the wait.
    fn delay(&self, failures: u32, error: &Error, jitter: f64) -> Option<Duration> {
        if failures >= self.attempts || !error.is_transient() {
            return None;
        }
        match error.retry_after() {
            Some(asked) if asked > self.max_server_delay => None,
            Some(asked) => Some(asked + self.initial_backoff.mul_f64(jitter)),
            None => Some(self.backoff(failures, jitter)),
        }
    }

    /// The wait after `failures` failures in a row, whatever they were.
    pub(crate) fn backoff(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = self.initial_backoff.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.max_backoff).mul_f64(0.5 + jitter / 2.0)
    }

    pub(crate) async fn run<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut failures = 0;
        loop {
            let error = match attempt().await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => Error::from(status),
            };
            failures += 1;
            match self.delay(failures, &error, rand::random()) {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt as _};

    const RETRY: Retry = Retry {
        attempts: 4,
        initial_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_millis(500),
        max_server_delay: Duration::from_secs(30),
    };

    fn unavailable(retry_after: Option<u64>) -> Error {
        let details = match retry_after {
            Some(seconds) => ErrorDetails::with_retry_info(Some(Duration::from_secs(seconds))),
            None => ErrorDetails::new(),
        };
        Status::with_error_details(Code::Unavailable, "later", details).into()
    }

    #[test]
    fn waits_double_up_to_the_limit_and_then_end() {
        let waits: Vec<_> = (1..=4).map(|failures| RETRY.delay(failures, &unavailable(None), 1.0)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(waits, [ms(200), ms(400), ms(500), None]);
    }

    #[test]
    fn the_server_s_delay_is_kept_and_a_long_one_is_left_to_the_caller() {
        assert_eq!(RETRY.delay(1, &unavailable(Some(7)), 0.0), Some(Duration::from_secs(7)));
        assert_eq!(RETRY.delay(1, &unavailable(Some(31)), 0.0), None);
    }

    #[test]
    fn refusals_are_not_repeated() {
        for code in [Code::InvalidArgument, Code::NotFound, Code::Internal, Code::Unknown, Code::DeadlineExceeded] {
            assert_eq!(RETRY.delay(1, &Status::new(code, "no").into(), 0.0), None, "{code:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_until_it_succeeds() {
        let mut calls = 0;
        let answer = RETRY
            .run(|| {
                calls += 1;
                let answer = if calls < 3 { Err(Status::unavailable("later")) } else { Ok(Response::new(calls)) };
                async move { answer }
            })
            .await;
        assert_eq!(answer.unwrap(), 3);
    }
}
