//! The seam to the kernel: every system call of the port, and nothing else.
//!
//! [`Kernel`] makes the real ones. Tests script or break them through [`PortSyscalls`]. An
//! implementation reports `EINTR` like the kernel does; the port retries it.

use crate::precise_wait::REFUSED;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

pub use rustix::event::epoll::{Event, EventData, EventFlags};
pub use rustix::io::Errno;

/// A time-out of `epoll_wait(2)`.
pub type Milliseconds = u32;

/// The longest wait. It is limited because a sleeping thread does not notice that its epoll instance was closed.
pub const LONGEST_WAIT: Milliseconds = 1_000;

/// A wait of a busy port whose next timer is far away.
pub(crate) const SHORT_WAIT: Milliseconds = 8;

/// The time-out of a wait that may take so long: rounded up, so that no wait ends too early, but never more than the longest.
pub(crate) fn milliseconds(at_most: Duration) -> Milliseconds {
    // The longest is a second.
    if at_most.as_secs() > 0 { LONGEST_WAIT } else { at_most.subsec_nanos().div_ceil(1_000_000) }
}

/// What `epoll_ctl(2)` does with a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpollOp {
    /// `EPOLL_CTL_ADD`
    Add {
        /// Comes back with each event.
        data: u64,
        /// The events to report.
        flags: EventFlags,
    },
    /// `EPOLL_CTL_MOD`
    Modify {
        /// Comes back with each event.
        data: u64,
        /// The events to report.
        flags: EventFlags,
    },
    /// `EPOLL_CTL_DEL`
    Delete,
}

/// The system calls of a completion port.
///
/// Errors are those of the man page of the call that each method names.
#[allow(clippy::missing_errors_doc, reason = "said once, for the trait")]
pub trait PortSyscalls: Send + Sync + 'static {
    /// `epoll_create1(2)`, close-on-exec.
    fn epoll_create(&self) -> Result<OwnedFd, Errno>;
    /// `eventfd(2)`, non-blocking, close-on-exec.
    fn eventfd(&self) -> Result<OwnedFd, Errno>;
    /// `epoll_ctl(2)`.
    fn epoll_ctl(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, op: EpollOp) -> Result<(), Errno>;
    /// `epoll_wait(2)` into the spare capacity of `events`. Waits for an event for at most this time, and then returns
    /// none. Ports ask for 0, for [`LONGEST_WAIT`], or for less than the time until the next timer.
    fn epoll_wait(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, at_most: Milliseconds) -> Result<(), Errno>;
    /// The same for a time that is no whole number of milliseconds: `epoll_pwait2(2)`. By default it is
    /// [`epoll_wait`](Self::epoll_wait), with the time rounded up.
    fn epoll_wait_precisely(
        &self,
        epoll: BorrowedFd<'_>,
        events: &mut Vec<Event>,
        at_most: Duration,
    ) -> Result<(), Errno> {
        self.epoll_wait(epoll, events, milliseconds(at_most))
    }
    /// `clock_gettime(2)` of `CLOCK_MONOTONIC`. Ports ask only while a timer is armed.
    fn now(&self) -> Instant {
        Instant::now()
    }
    /// Makes the epoll instance report the eventfd: `epoll_ctl(2)` with `EPOLL_CTL_MOD`. Returns an error if another
    /// descriptor has taken over one of the two numbers. Unlike a write, the call leaves that descriptor alone.
    fn wake(&self, epoll: BorrowedFd<'_>, eventfd: BorrowedFd<'_>, data: u64) -> Result<(), Errno>;
}

/// The real system calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kernel;

impl PortSyscalls for Kernel {
    fn epoll_create(&self) -> Result<OwnedFd, Errno> {
        epoll::create(epoll::CreateFlags::CLOEXEC)
    }

    fn eventfd(&self) -> Result<OwnedFd, Errno> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
    }

    fn epoll_ctl(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, op: EpollOp) -> Result<(), Errno> {
        match op {
            EpollOp::Add { data, flags } => epoll::add(epoll, fd, EventData::new_u64(data), flags),
            EpollOp::Modify { data, flags } => epoll::modify(epoll, fd, EventData::new_u64(data), flags),
            EpollOp::Delete => epoll::delete(epoll, fd),
        }
    }

    fn epoll_wait(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, at_most: Milliseconds) -> Result<(), Errno> {
        const LONGEST: Timespec = Timespec { tv_sec: LONGEST_WAIT as i64 / 1000, tv_nsec: 0 };
        const SHORT: Timespec = Timespec { tv_sec: 0, tv_nsec: SHORT_WAIT as i64 * 1_000_000 };
        const NOT_AT_ALL: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let room = rustix::buffer::spare_capacity(events);
        // Several calls, so that the usual timeouts are constants to their calls.
        match at_most {
            0 => epoll::wait(epoll, room, Some(&NOT_AT_ALL)),
            LONGEST_WAIT => epoll::wait(epoll, room, Some(&LONGEST)),
            SHORT_WAIT => epoll::wait(epoll, room, Some(&SHORT)),
            other => {
                let at_most = Timespec { tv_sec: i64::from(other / 1000), tv_nsec: (other % 1000 * 1_000_000).into() };
                epoll::wait(epoll, room, Some(&at_most))
            }
        }
        .map(drop)
    }

    fn epoll_wait_precisely(
        &self,
        epoll: BorrowedFd<'_>,
        events: &mut Vec<Event>,
        at_most: Duration,
    ) -> Result<(), Errno> {
        // Codes_SRS_COMPLETION_PORT_01_187
        let waited = REFUSED.unless(epoll, events, at_most);
        waited.unwrap_or_else(|| self.epoll_wait(epoll, events, milliseconds(at_most)))
    }

    fn wake(&self, epoll: BorrowedFd<'_>, eventfd: BorrowedFd<'_>, data: u64) -> Result<(), Errno> {
        epoll::modify(epoll, eventfd, EventData::new_u64(data), WAKE_UP)
    }
}

/// The one place where `EINTR` is handled: the call is made again.
///
/// # Errors
/// The error of the last call, which is not `EINTR`.
// Codes_SRS_COMPLETION_PORT_01_062
#[inline]
pub fn retry_interrupted<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// The events that the eventfd is watched for from the first wake-up on. It is always writable.
pub(crate) const WAKE_UP: EventFlags = EventFlags::OUT.union(EventFlags::ET);

/// How long the thread pauses after an unexplained failure of `epoll_wait`.
pub(crate) const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);
