//! The clock of a simulation: it runs faster than real time, or stands still until a test moves it.

use aws_smithy_async::{
    rt::sleep::{AsyncSleep, Sleep},
    time::TimeSource,
};
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

/// One time for the SDK, the code under test and the simulated account. Clones share it.
#[derive(Clone)]
pub struct SimClock(Arc<Mode>);

enum Mode {
    Scaled { start: Timestamp, begun: tokio::time::Instant, speed: f64, ahead: Mutex<Duration> },
    Manual(Mutex<Manual>),
}

struct Manual {
    now: Timestamp,
    next_id: u64,
    /// Futures that wait for a time, in the order of their deadlines.
    sleepers: BTreeMap<(Timestamp, u64), Option<Waker>>,
    /// Futures whose time has come and which were not dropped since: who was woken has gone on only then.
    woken: BTreeSet<u64>,
}

// === impl SimClock ===

impl SimClock {
    /// A clock that starts at `start` now and runs `speed` times as fast as real time.
    pub fn scaled(start: Timestamp, speed: f64) -> Self {
        let speed = if speed.is_finite() && speed > 0.0 { speed } else { 1.0 };
        let (begun, ahead) = (tokio::time::Instant::now(), Mutex::default());
        Self(Arc::new(Mode::Scaled { start, begun, speed, ahead }))
    }

    /// A clock that stands at `start` until it is advanced.
    pub fn manual(start: Timestamp) -> Self {
        let manual = Manual { now: start, next_id: 0, sleepers: BTreeMap::new(), woken: BTreeSet::new() };
        Self(Arc::new(Mode::Manual(Mutex::new(manual))))
    }

    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Mode::Scaled { start, begun, speed, ahead } => {
                later(*start, begun.elapsed().mul_f64(*speed).saturating_add(*lock(ahead)))
            }
            Mode::Manual(manual) => lock(manual).now,
        }
    }

    /// Moves the clock ahead. A manual one wakes those whose time has come. Whoever sleeps by a scaled one sleeps on for
    /// what was left, as timers do on a machine whose clock is set.
    pub fn advance(&self, by: Duration) {
        match &*self.0 {
            Mode::Scaled { ahead, .. } => {
                let mut ahead = lock(ahead);
                *ahead = ahead.saturating_add(by);
            }
            Mode::Manual(manual) => {
                let mut manual = lock(manual);
                let now = later(manual.now, by);
                manual.jump(now);
            }
        }
    }

    /// Moves a manual clock to the earliest sleeper's deadline and wakes those due then. `None`: nobody sleeps, or the
    /// clock is a scaled one.
    pub fn advance_to_next(&self) -> Option<Timestamp> {
        let Mode::Manual(manual) = &*self.0 else { return None };
        let mut manual = lock(manual);
        let (deadline, _) = *manual.sleepers.first_key_value()?.0;
        manual.jump(deadline);
        Some(deadline)
    }

    /// How many sleepers were woken and have not gone on since, dropping their sleep: a driver of a manual clock looks at
    /// the world when it is 0.
    pub fn unpolled_wakes(&self) -> usize {
        match &*self.0 {
            Mode::Scaled { .. } => 0,
            Mode::Manual(manual) => lock(manual).woken.len(),
        }
    }
}

impl TimeSource for SimClock {
    fn now(&self) -> SystemTime {
        Self::now(self).into()
    }
}

impl AsyncSleep for SimClock {
    fn sleep(&self, duration: Duration) -> Sleep {
        match &*self.0 {
            Mode::Scaled { speed, .. } => Sleep::new(tokio::time::sleep(duration.div_f64(*speed))),
            Mode::Manual(manual) => {
                let mut state = lock(manual);
                let id = state.next_id;
                state.next_id += 1;
                let deadline = later(state.now, duration);
                if deadline > state.now {
                    state.sleepers.insert((deadline, id), None);
                }
                drop(state);
                Sleep::new(ManualSleep { clock: self.clone(), deadline, id })
            }
        }
    }
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimClock({})", Self::now(self))
    }
}

impl Manual {
    fn jump(&mut self, now: Timestamp) {
        self.now = now;
        while let Some(entry) = self.sleepers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((_, id), waker) = entry.remove_entry();
            self.woken.insert(id);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// A sleeper of a manual clock.
struct ManualSleep {
    clock: SimClock,
    deadline: Timestamp,
    id: u64,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Mode::Manual(manual) = &*self.clock.0 else { return Poll::Ready(()) };
        let mut manual = lock(manual);
        if self.deadline <= manual.now {
            return Poll::Ready(());
        }
        manual.sleepers.insert((self.deadline, self.id), Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Mode::Manual(manual) = &*self.clock.0 {
            let mut manual = lock(manual);
            manual.sleepers.remove(&(self.deadline, self.id));
            manual.woken.remove(&self.id);
        }
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `from` plus `by`, at most the end of time.
pub(crate) fn later(from: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| from.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// `seconds` before `from`, at least the beginning of time.
pub(crate) fn earlier(from: Timestamp, seconds: u64) -> Timestamp {
    SignedDuration::try_from(Duration::from_secs(seconds))
        .ok()
        .and_then(|by| from.checked_sub(by).ok())
        .unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        "2025-11-24T00:00:00Z".parse().unwrap()
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_in_order_and_counts_those_not_yet_polled() {
        let clock = SimClock::manual(start());
        let sleeper = |seconds| tokio::spawn(clock.sleep(Duration::from_secs(seconds)));
        let (five, ten) = (sleeper(5), sleeper(10));
        tokio::task::yield_now().await;
        assert_eq!(clock.advance_to_next(), Some(later(start(), Duration::from_secs(5))));
        assert_eq!(clock.unpolled_wakes(), 1);
        five.await.unwrap();
        assert_eq!(clock.unpolled_wakes(), 0);
        assert!(!ten.is_finished());
        clock.advance(Duration::from_secs(60));
        ten.await.unwrap();
        assert_eq!(clock.now(), later(start(), Duration::from_secs(65)));
        assert_eq!(clock.advance_to_next(), None);
    }

    #[test]
    fn a_dropped_sleeper_is_forgotten() {
        let clock = SimClock::manual(start());
        let sleep = clock.sleep(Duration::from_secs(1));
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.unpolled_wakes(), 1);
        drop(sleep);
        assert_eq!(clock.unpolled_wakes(), 0);
        drop(clock.sleep(Duration::from_secs(1)));
        assert_eq!(clock.advance_to_next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_scaled_clock_runs_faster_than_the_real_one() {
        let clock = SimClock::scaled(start(), 60.0);
        clock.sleep(Duration::from_secs(120)).await;
        let passed = clock.now().duration_since(start()).as_secs_f64();
        assert!((120.0..121.0).contains(&passed), "{passed}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_scaled_clock_can_be_set_ahead_and_those_who_sleep_are_left_to_sleep() {
        let clock = SimClock::scaled(start(), 60.0);
        let sleep = clock.sleep(Duration::from_secs(120));
        clock.advance(Duration::from_secs(18 * 3600));
        let (hours, begun) =
            (|clock: &SimClock| clock.now().duration_since(start()).as_hours(), tokio::time::Instant::now());
        assert_eq!(hours(&clock), 18);
        sleep.await;
        assert_eq!(begun.elapsed().as_secs(), 2);
    }
}
