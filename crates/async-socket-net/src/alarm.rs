//! A timer that can be set again and again, and rings on the port's thread.

use crate::caught::run_caught;
use crate::port_timers as timers;
use completion_port::memory::TryArc;
use completion_port::{Direction, Dispatch, Port, Readiness, Source, Token};
use std::io;
use std::time::{Duration, Instant};

/// Rings once for each [`set`](Self::set), unless it is set anew before. Dropping it ends that.
pub(crate) struct Alarm<P: Port> {
    port: P,
    token: Token,
}

struct Bell<F>(F);

impl<P: Port> Alarm<P> {
    /// An alarm that is not set.
    pub(crate) fn try_new(port: P, ring: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let bell = TryArc::try_new(Bell(ring)).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let token = timers::insert(&port, bell.into())?;
        Ok(Self { port, token })
    }

    /// Rings after `delay`.
    pub(crate) fn set(&self, delay: Duration) -> io::Result<()> {
        let at = timers::now(&self.port).checked_add(delay);
        timers::set_timer(&self.port, self.token, at)
    }
}

impl<P: Port> Drop for Alarm<P> {
    fn drop(&mut self) {
        timers::forget(&self.port, self.token);
    }
}

impl<F: Fn() + Send + Sync> Source for Bell<F> {
    fn on_ready(&self, _: Readiness) -> Dispatch {
        run_caught("alarm", &self.0);
        Dispatch::Idle
    }

    fn queued(&self, _: Direction) -> usize {
        0
    }
}

const _: fn(Instant) = |_| ();
