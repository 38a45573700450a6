//! The real system calls of a port, of which the test lets chosen ones fail.

use completion_port::sys::{Errno, Event, EventFlags};
use completion_port::{Kernel, PortSyscalls};
use parking_lot::Mutex;
use std::collections::HashMap;
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
    /// `epoll_ctl(EPOLL_CTL_DEL)`
    EpollDelete,
    /// `epoll_wait`
    EpollWait,
    /// `write` to the eventfd
    Wake,
}

/// Counts the system calls of a port and lets chosen ones fail; the others are made for real.
#[derive(Debug, Clone, Default)]
pub struct ScriptedPort {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    made: HashMap<PortSyscall, usize>,
    fails: HashMap<(PortSyscall, usize), Errno>,
}

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

    /// How often a call was made, failures included.
    #[must_use]
    pub fn made(&self, call: PortSyscall) -> usize {
        self.state.lock().made.get(&call).copied().unwrap_or_default()
    }

    fn step(&self, call: PortSyscall) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let made = state.made.entry(call).or_default();
        *made += 1;
        let nth = *made;
        state.fails.remove(&(call, nth)).map_or(Ok(()), Err)
    }
}

impl PortSyscalls for ScriptedPort {
    fn epoll_create(&self) -> Result<OwnedFd, Errno> {
        self.step(PortSyscall::EpollCreate)?;
        Kernel.epoll_create()
    }

    fn eventfd(&self) -> Result<OwnedFd, Errno> {
        self.step(PortSyscall::EventFd)?;
        Kernel.eventfd()
    }

    fn epoll_add(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, data: u64, flags: EventFlags) -> Result<(), Errno> {
        self.step(PortSyscall::EpollAdd)?;
        Kernel.epoll_add(epoll, fd, data, flags)
    }

    fn epoll_delete(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.step(PortSyscall::EpollDelete)?;
        Kernel.epoll_delete(epoll, fd)
    }

    fn epoll_wait(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, block: bool) -> Result<(), Errno> {
        self.step(PortSyscall::EpollWait)?;
        Kernel.epoll_wait(epoll, events, block)
    }

    fn wake(&self, eventfd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.step(PortSyscall::Wake)?;
        Kernel.wake(eventfd)
    }
}
