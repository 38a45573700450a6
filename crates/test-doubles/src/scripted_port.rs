//! The real system calls of a port. The test makes chosen ones fail.

use completion_port::sys::{EpollOp, Errno, Event, EventFlags, LONGEST_WAIT, Milliseconds};
use completion_port::{Kernel, PortSyscalls};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

/// The system calls of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortSyscall {
    /// `epoll_create1`
    EpollCreate,
    /// `eventfd`
    EventFd,
    /// `epoll_ctl(EPOLL_CTL_ADD)`
    EpollAdd,
    /// `epoll_ctl(EPOLL_CTL_MOD)`
    EpollModify,
    /// `epoll_ctl(EPOLL_CTL_DEL)`
    EpollDelete,
    /// `epoll_wait`
    EpollWait,
    /// `epoll_ctl(EPOLL_CTL_MOD)` on the eventfd
    Wake,
}

/// Counts the system calls of a port, makes chosen ones fail, and passes the others to the kernel.
#[derive(Clone, Default)]
pub struct ScriptedPort {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    made: HashMap<PortSyscall, usize>,
    fails: HashMap<(PortSyscall, usize), Errno>,
    before: HashMap<(PortSyscall, usize), Hook>,
    after: HashMap<(PortSyscall, usize), Hook>,
    interests: Vec<EventFlags>,
}

type Hook = Box<dyn FnOnce() + Send>;

impl ScriptedPort {
    /// All calls go to the kernel.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the `nth` call of a kind fail. The first is 1, counted from the beginning.
    pub fn fail(&self, call: PortSyscall, nth: usize, errno: Errno) {
        self.state.lock().fails.insert((call, nth), errno);
    }

    /// Runs `hook` after the kernel has done the `nth` call of a kind, and before the port sees the result.
    pub fn after(&self, call: PortSyscall, nth: usize, hook: impl FnOnce() + Send + 'static) {
        self.state.lock().after.insert((call, nth), Box::new(hook));
    }

    /// Runs `hook` before the kernel gets the `nth` call of a kind.
    pub fn before(&self, call: PortSyscall, nth: usize, hook: impl FnOnce() + Send + 'static) {
        self.state.lock().before.insert((call, nth), Box::new(hook));
    }

    /// The events that each `epoll_ctl(EPOLL_CTL_ADD)` asked for. The first is the port's own eventfd.
    #[must_use]
    pub fn interests(&self) -> Vec<EventFlags> {
        self.state.lock().interests.clone()
    }

    /// The number of calls of a kind, including those that failed.
    #[must_use]
    pub fn made(&self, call: PortSyscall) -> usize {
        self.state.lock().made.get(&call).copied().unwrap_or_default()
    }

    /// Counts a call and makes it, unless it is to fail.
    fn make<T>(&self, call: PortSyscall, real: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        let mut state = self.state.lock();
        let made = state.made.entry(call).or_default();
        *made += 1;
        let nth = *made;
        if let Some(errno) = state.fails.remove(&(call, nth)) {
            return Err(errno);
        }
        let before = state.before.remove(&(call, nth));
        drop(state);
        before.into_iter().for_each(|hook| hook());
        let result = real();
        let after = self.state.lock().after.remove(&(call, nth));
        after.into_iter().for_each(|hook| hook());
        result
    }
}

impl PortSyscalls for ScriptedPort {
    fn epoll_create(&self) -> Result<OwnedFd, Errno> {
        self.make(PortSyscall::EpollCreate, || Kernel.epoll_create())
    }

    fn eventfd(&self) -> Result<OwnedFd, Errno> {
        self.make(PortSyscall::EventFd, || Kernel.eventfd())
    }

    fn epoll_ctl(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, op: EpollOp) -> Result<(), Errno> {
        let call = match op {
            EpollOp::Add { flags, .. } => {
                self.state.lock().interests.push(flags);
                PortSyscall::EpollAdd
            }
            EpollOp::Modify { .. } => PortSyscall::EpollModify,
            EpollOp::Delete => PortSyscall::EpollDelete,
        };
        self.make(call, || Kernel.epoll_ctl(epoll, fd, op))
    }

    fn epoll_wait(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, at_most: Milliseconds) -> Result<(), Errno> {
        self.make(PortSyscall::EpollWait, || {
            // A longest wait that ends without an event counts as one with the waits that follow it.
            loop {
                Kernel.epoll_wait(epoll, events, at_most)?;
                if at_most < LONGEST_WAIT || !events.is_empty() {
                    return Ok(());
                }
            }
        })
    }

    fn wake(&self, epoll: BorrowedFd<'_>, eventfd: BorrowedFd<'_>, data: u64) -> Result<(), Errno> {
        self.make(PortSyscall::Wake, || Kernel.wake(epoll, eventfd, data))
    }
}

impl fmt::Debug for ScriptedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("ScriptedPort").field("made", &state.made).field("fails", &state.fails).finish_non_exhaustive()
    }
}
