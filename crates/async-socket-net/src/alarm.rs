//! A timer that can be set again and again, and rings on the port's thread.

use crate::caught::run_caught;
use completion_port::memory::TryArc;
use completion_port::{Direction, Dispatch, Port, Readiness, Source, Token};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Rings once for each [`set`](Self::set), unless it is set anew before. Dropping it ends that. It also rings when the port
/// fails, because the time would never come.
pub(crate) struct Alarm<P: Port> {
    port: P,
    token: Token,
}

struct Bell<F> {
    ring: F,
    port_failed: AtomicBool,
}

impl<P: Port> Alarm<P> {
    /// An alarm that is not set. The port reserves what the timer needs, so that setting it cannot fail for want of memory.
    pub(crate) fn try_new(port: P, ring: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let bell = TryArc::try_new(Bell { ring, port_failed: AtomicBool::new(false) })
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        let token = port.insert(bell.into())?;
        let alarm = Self { port, token };
        alarm.set(Duration::MAX)?;
        Ok(alarm)
    }

    /// Rings after `delay`. One of [`Duration::MAX`] never ends.
    pub(crate) fn set(&self, delay: Duration) -> io::Result<()> {
        let now = self.port.now();
        if let Some(at) = now.checked_add(delay) {
            return self.port.set_timer(self.token, Some(at));
        }
        // Arming comes first, because that is what reserves memory.
        self.port.set_timer(self.token, Some(now + A_WHILE))?;
        self.port.set_timer(self.token, None)
    }
}

/// Any time that is not due at once.
const A_WHILE: Duration = Duration::from_secs(3600);

impl<P: Port> Drop for Alarm<P> {
    fn drop(&mut self) {
        self.port.forget(self.token);
    }
}

impl<F: Fn() + Send + Sync> Source for Bell<F> {
    /// The port calls it after a failure.
    // Codes_SRS_ASYNC_SOCKET_NET_01_019
    fn on_ready(&self, _: Readiness) -> Dispatch {
        if self.port_failed.swap(false, Ordering::Relaxed) {
            run_caught("alarm", &self.ring);
        }
        Dispatch::Idle
    }

    fn on_timer(&self, _: Instant) -> (Dispatch, Option<Instant>) {
        run_caught("alarm", &self.ring);
        (Dispatch::Idle, None)
    }

    fn queued(&self, _: Direction) -> usize {
        0
    }

    fn on_port_failure(&self) {
        self.port_failed.store(true, Ordering::Relaxed);
    }
}
