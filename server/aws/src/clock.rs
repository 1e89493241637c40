//! One clock for the SDK, the engine and the simulated account.

use aws_smithy_async::{
    rt::sleep::{AsyncSleep, SharedAsyncSleep, TokioSleep},
    time::{SharedTimeSource, SystemTimeSource},
};
use jiff::Timestamp;
use std::time::Duration;

/// Where time comes from: the system, or a simulation that moves it on. Clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    pub(crate) time: SharedTimeSource,
    pub(crate) sleep: SharedAsyncSleep,
}

impl Clock {
    /// The system's time and Tokio's timers.
    pub fn system() -> Self {
        Self::new(SharedTimeSource::new(SystemTimeSource::new()), SharedAsyncSleep::new(TokioSleep::new()))
    }

    pub fn new(time: SharedTimeSource, sleep: SharedAsyncSleep) -> Self {
        Self { time, sleep }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::try_from(self.time.now()).unwrap_or(Timestamp::MAX)
    }

    /// A sleep that counts as woken until it is dropped.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.sleep.sleep(duration)
    }
}
