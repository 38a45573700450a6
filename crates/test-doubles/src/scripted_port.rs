//! The real system calls of a port, of which the test lets chosen ones fail.

use completion_port::sys::{EpollOp, Errno, Event, EventFlags};
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

/// Counts the system calls of a port and lets chosen ones fail; the others are made for real.
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
    /// Calls that all work.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the `nth` call of a kind (the first is 1, counted from the beginning) fail.
    pub fn fail(&self, call: PortSyscall, nth: usize, errno: Errno) {
        self.state.lock().fails.insert((call, nth), errno);
    }

    /// Runs something after the `nth` call of a kind was made for real and before the port sees the result.
    pub fn after(&self, call: PortSyscall, nth: usize, hook: impl FnOnce() + Send + 'static) {
        self.state.lock().after.insert((call, nth), Box::new(hook));
    }

    /// Runs something before the `nth` call of a kind is made for real.
    pub fn before(&self, call: PortSyscall, nth: usize, hook: impl FnOnce() + Send + 'static) {
        self.state.lock().before.insert((call, nth), Box::new(hook));
    }

    /// What each `epoll_ctl(EPOLL_CTL_ADD)` asked to be told about; the first is the port's own eventfd.
    #[must_use]
    pub fn interests(&self) -> Vec<EventFlags> {
        self.state.lock().interests.clone()
    }

    /// How often a call was made, failures included.
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

    fn epoll_wait(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, block: bool) -> Result<(), Errno> {
        self.make(PortSyscall::EpollWait, || {
            // A wait that has lasted long enough to end without an event counts as one with those that follow.
            loop {
                Kernel.epoll_wait(epoll, events, block)?;
                if !block || !events.is_empty() {
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
