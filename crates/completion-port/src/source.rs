//! The sources that a port reports events to.

use crate::action::Direction;
use crate::readiness::{Interest, Readiness};
use crate::try_arc::TryArc;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// Something that a port reports events to.
pub trait Source: Send + Sync {
    /// Merges the events and runs the operations that can run.
    fn on_ready(&self, events: Readiness) -> Dispatch;

    /// Asks `port` for one event more, after a dispatch that ended with [`Dispatch::Rearm`].
    fn rearm(&self, port: &Rearm<'_>) {
        let _ = port;
    }

    /// The source's timer has come. Returns whether something is left to run, and when the timer shall come next.
    ///
    /// A timer that is moved while it comes may come once too early, so the source compares `now` with its own time.
    fn on_timer(&self, now: Instant) -> (Dispatch, Option<Instant>) {
        let _ = now;
        (Dispatch::Idle, None)
    }

    /// How many operations wait in a direction.
    fn queued(&self, direction: Direction) -> usize;

    /// Called when the port has lost its epoll instance or its eventfd, because other code has closed it. No event will
    /// come any more. The source ends its waiting operations with an error in the next dispatch, and accepts no new ones.
    /// May be called several times.
    fn on_port_failure(&self) {}
}

/// A port's reference to a source.
pub type SourceRef = TryArc<dyn Source>;

/// [`Port::rearm`](crate::Port::rearm) of the port that calls a source.
pub type Rearm<'a> = dyn Fn(BorrowedFd<'_>, Token, Interest) -> io::Result<()> + 'a;

/// A source's wish after it was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Dispatch {
    /// Nothing is left to run.
    Idle,
    /// Something is left: call again after the others had their turn.
    Yielded,
    /// Nothing is left to run, but more events are waited for than the one that was reported: call [`Source::rearm`] now.
    Rearm,
}

/// A port's name for an attached source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

impl Token {
    pub(crate) const fn new(generation: u32, index: u32) -> Self {
        Self((index as u64) << 32 | generation as u64)
    }

    /// The index in the port's table.
    #[inline]
    pub(crate) const fn index(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Tells sources apart that use the same index one after the other. Never 0 in a token that a port has given.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the half of a token that is the generation")]
    pub(crate) const fn generation(self) -> u32 {
        self.0 as u32
    }
}
