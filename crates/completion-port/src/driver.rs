//! A port without a thread of its own, which the caller drives.
//!
//! Invariant: while the driver runs, the calling thread is the port's thread: callbacks run on it, and scheduling a source
//! there needs no wake-up.

use crate::callback::{Suspended, run_caught};
use crate::dispatch::{Current, Turns};
use crate::memory::TryArc;
use crate::room::Room;
use crate::shared::{PortFlags, Shared};
use crate::sys::{Event, Kernel, PortSyscalls};
use std::fmt;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// The outcome of [`PortDriver::run_once`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Turn {
    /// Something was done.
    Worked,
    /// The time is over and there was nothing to do.
    Idle,
    /// The last reference to the port is gone, or this is the child of a `fork`. There is nothing to drive any more.
    Over,
}

/// Drives a port that has no thread of its own. [`CompletionPortBuilder::create_driven`] makes it.
///
/// The caller decides on which thread the port lives, and when it works: with [`run`](Self::run) until its end, or turn by
/// turn with [`run_once`](Self::run_once). Meanwhile that thread is the port's thread, with all that is said about it;
/// only its signal mask stays the caller's. Both can be called inside a callback of another port, which then waits.
///
/// # Inside another event loop
/// Wait until the descriptor of [`AsFd`] is readable, but no longer than [`time_to_wait`](Self::time_to_wait), and then call
/// `run_once(Some(Duration::ZERO))`.
///
/// # Dropping it
/// Dropping the driver before the last reference to the port is like a failure of the port: every waiting operation gets
/// [`Action::Error`](crate::Action::Error), posted work runs, and every new operation is refused. Armed timers never fire.
///
/// ```
/// use completion_port::{CompletionPort, PortExt};
///
/// let (port, mut driver) = CompletionPort::builder().create_driven()?;
/// let last = port.clone();
/// port.post(move || drop(last))?;
/// drop(port);
/// driver.run(); // until the work has dropped the last reference
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// [`CompletionPortBuilder::create_driven`]: crate::CompletionPortBuilder::create_driven
pub struct PortDriver<S: PortSyscalls = Kernel> {
    shared: TryArc<Shared<S>>,
    turns: Turns,
    events: Room<Event>,
}

impl<S: PortSyscalls> PortDriver<S> {
    pub(crate) fn new(shared: TryArc<Shared<S>>, events: Room<Event>) -> Self {
        Self { shared, turns: Turns::new(), events }
    }

    /// Serves the port on the calling thread until the last reference to the port is gone.
    pub fn run(&mut self) {
        // Codes_SRS_COMPLETION_PORT_01_175
        while self.run_once(None) != Turn::Over {}
    }

    /// Waits until there is something to do, for at most this time, and does it. `None` waits without a limit. Does not
    /// start a second round, so it returns even if there is always something to do.
    pub fn run_once(&mut self, at_most: Option<Duration>) -> Turn {
        let end = at_most.filter(|limit| !limit.is_zero()).and_then(|limit| self.shared.sys.now().checked_add(limit));
        let _suspended = Suspended::new();
        let _current = Current::enter(&*self.shared);
        let mut events = mem::take(&mut self.events).into_vec();
        let turn = loop {
            let left = match (at_most, end) {
                (Some(limit), None) if limit.is_zero() => Duration::ZERO,
                (_, None) => Duration::MAX,
                // Codes_SRS_COMPLETION_PORT_01_176
                (_, Some(end)) => end.saturating_duration_since(self.shared.sys.now()),
            };
            let turn = self.shared.turn(&mut self.turns, &mut events, left);
            if turn != Turn::Idle || left.is_zero() {
                break turn;
            }
        };
        self.events = Room::emptied(events);
        turn
    }

    /// How long the caller may wait before it calls [`run_once`](Self::run_once), unless the descriptor becomes readable
    /// before. `None` means without a limit. Zero means that there is something to do.
    // Codes_SRS_COMPLETION_PORT_01_177
    #[must_use]
    pub fn time_to_wait(&self) -> Option<Duration> {
        self.shared.time_to_wait(&self.turns)
    }
}

/// The epoll instance. It becomes readable when the port has something to do because of an event or of another thread.
// Codes_SRS_COMPLETION_PORT_01_177
impl<S: PortSyscalls> AsFd for PortDriver<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.epoll.as_fd()
    }
}

impl<S: PortSyscalls> Drop for PortDriver<S> {
    // Codes_SRS_COMPLETION_PORT_01_178
    fn drop(&mut self) {
        if self.shared.made_in.is_inherited() {
            mem::forget(mem::replace(&mut self.turns, Turns::new()));
            return mem::forget(self.shared.clone());
        }
        let _suspended = Suspended::new();
        let current = Current::enter(&*self.shared);
        if !self.shared.set_flags(PortFlags::DETACHED).contains(PortFlags::STOPPING) {
            self.shared.end_waiting(&mut self.turns);
        }
        while let Some(last) = self.turns.pop() {
            run_caught("drop", || drop(last));
        }
        drop(current);
        if self.shared.has_failed() {
            // Dropping it would close the descriptors' numbers, which may belong to other code by now.
            mem::forget(self.shared.clone());
        }
    }
}

impl<S: PortSyscalls> fmt::Debug for PortDriver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortDriver").field("epoll", &self.shared.epoll).finish_non_exhaustive()
    }
}
