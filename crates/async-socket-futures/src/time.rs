//! Time for futures: on the timers of the port of the current task.

use crate::io::current_port;
use completion_port::{Port, PortExt, Timer};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Waits for a time. It is over never earlier, and usually less than two milliseconds later.
pub fn sleep(delay: Duration) -> Sleep {
    let now = Instant::now();
    // A time that no clock reaches.
    sleep_until(now.checked_add(delay).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 24 * 3600)))
}

/// Waits until a point in time.
pub fn sleep_until(at: Instant) -> Sleep {
    Sleep { at, timer: None, waiter: None }
}

/// The future of [`sleep`] and [`sleep_until`]. Its timer belongs to the port of the task that polls it first. Dropping it
/// disarms the timer.
///
/// # Panics
/// Polling it panics if the port has no memory for the timer or has failed.
#[must_use = "futures do nothing unless they are polled"]
pub struct Sleep {
    at: Instant,
    timer: Option<Timer>,
    waiter: Option<Arc<Mutex<Option<Waker>>>>,
}

impl Sleep {
    /// The point in time.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.at
    }

    /// Waits for another time from now on, also after it was over.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_051
    pub fn reset(&mut self, at: Instant) {
        self.at = at;
        // A timer that has fired cannot be moved: the next poll makes a new one.
        self.timer = self.timer.take().filter(|timer| timer.reset(at));
    }
}

impl Future for Sleep {
    type Output = ();

    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_050
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.at {
            self.timer = None;
            return Poll::Ready(());
        }
        let waiter = Arc::clone(self.waiter.get_or_insert_default());
        let old = lock(&waiter).replace(context.waker().clone());
        drop(old);
        if self.timer.is_none() {
            let waiting = Arc::clone(&waiter);
            let fire = move || {
                let waker = lock(&waiting).take();
                waker.into_iter().for_each(Waker::wake);
            };
            let timer = current_port().and_then(|port| Ok(port.at(self.at, fire)?));
            self.timer = Some(timer.expect("the port has memory for a timer"));
        }
        Poll::Pending
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("at", &self.at).finish_non_exhaustive()
    }
}

/// The error of [`timeout`]: the time was over before the future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the time is over")]
pub struct Elapsed;

impl From<Elapsed> for io::Error {
    fn from(_: Elapsed) -> Self {
        io::ErrorKind::TimedOut.into()
    }
}

pin_project! {
    /// The future of [`timeout`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are polled"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

/// Limits a future to a time. If both are over at once, the future wins.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep(limit) }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_052
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(this.sleep).poll(context).map(|()| Err(Elapsed))
    }
}

/// Ticks at regular times. A tick that comes late does not move the later ones; ticks that were missed are left out.
///
/// # Panics
/// If the period is zero.
#[must_use]
pub fn interval(period: Duration) -> Interval {
    assert!(!period.is_zero(), "the period of an interval is not zero");
    Interval { period, sleep: sleep(period) }
}

/// The ticks of [`interval`]. The first comes after one period.
#[derive(Debug)]
pub struct Interval {
    period: Duration,
    sleep: Sleep,
}

impl Interval {
    /// Waits for the next tick, and returns its time. Dropping the future loses no tick.
    pub async fn tick(&mut self) -> Instant {
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_053
        (&mut self.sleep).await;
        let at = self.sleep.deadline();
        let late = Instant::now().saturating_duration_since(at).as_nanos();
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_053
        let missed = u32::try_from(late / self.period.as_nanos()).unwrap_or(u32::MAX);
        let next =
            self.period.checked_mul(missed).and_then(|skipped| at.checked_add(skipped)?.checked_add(self.period));
        self.sleep.reset(next.unwrap_or(at + self.period));
        at
    }
}

/// The current time, by the clock of the timers.
#[must_use]
pub fn now() -> Instant {
    current_port().map_or_else(|_| Instant::now(), |port| port.now())
}
