//! Real system calls made unreliable at random, from a seed.
//!
//! Invariant: every lie is one that a kernel could tell. In particular an invented `EAGAIN` is followed by a
//! new edge, as the real one would be: the descriptor is re-armed with `EPOLL_CTL_MOD`, upon which the
//! kernel looks at its readiness anew.

use async_socket_linux::sys::{Errno, RecvFlags, SendFlags};
use async_socket_linux::{Kernel as SocketKernel, SocketSyscalls};
use completion_port::sys::{Event, EventData, EventFlags};
use completion_port::{Kernel as PortKernel, PortSyscalls};
use parking_lot::Mutex;
use rustix::event::epoll;
use std::collections::HashMap;
use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A transfer moves fewer bytes than it could.
    Short,
    /// `EINTR`
    Interrupted,
    /// `EAGAIN` although the socket is ready; a new event follows.
    Again,
    /// `ECONNRESET`
    Reset,
    /// `EPIPE`, sends only
    Pipe,
    /// `ENOBUFS`, sends only
    NoBuffers,
    /// `EMFILE` when a descriptor is made, `ENOMEM` when one is registered
    NoDescriptors,
}

/// How likely each fault is, in percent of the calls it can happen to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// [`Fault::Short`]
    pub short: u8,
    /// [`Fault::Interrupted`]
    pub interrupted: u8,
    /// [`Fault::Again`]
    pub again: u8,
    /// [`Fault::Reset`]
    pub reset: u8,
    /// [`Fault::Pipe`]
    pub pipe: u8,
    /// [`Fault::NoBuffers`]
    pub no_buffers: u8,
    /// [`Fault::NoDescriptors`]
    pub no_descriptors: u8,
}

impl Faults {
    /// Faults that lose nothing: every transfer must arrive whole in spite of them.
    #[must_use]
    pub fn harmless() -> Self {
        Self { short: 40, interrupted: 20, again: 20, ..Self::default() }
    }

    /// All faults: connections break, but every operation completes exactly once.
    #[must_use]
    pub fn all() -> Self {
        Self { reset: 2, pipe: 2, no_buffers: 2, no_descriptors: 5, ..Self::harmless() }
    }
}

/// The kernel's system calls with random faults; implements both [`SocketSyscalls`] and [`PortSyscalls`].
///
/// Give clones of one value to the port and to its sockets. When a test panics, the seed is printed; the
/// same seed makes the same choices for the same sequence of calls.
#[derive(Clone)]
pub struct FaultySyscalls {
    state: Arc<State>,
}

struct State {
    seed: u64,
    faults: Faults,
    random: Mutex<fastrand::Rng>,
    injected: Mutex<HashMap<Fault, usize>>,
    watched: Mutex<HashMap<RawFd, Watched>>,
}

/// What it takes to re-arm a descriptor.
struct Watched {
    epoll: OwnedFd,
    data: u64,
    flags: EventFlags,
}

impl FaultySyscalls {
    /// Faulty calls with a random seed.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        Self::with_seed(faults, fastrand::u64(..))
    }

    /// Faulty calls with the seed of an earlier run.
    #[must_use]
    pub fn with_seed(faults: Faults, seed: u64) -> Self {
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        let (injected, watched) = (Mutex::default(), Mutex::default());
        Self { state: Arc::new(State { seed, faults, random, injected, watched }) }
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.state.seed
    }

    /// How often a fault was injected.
    #[must_use]
    pub fn injected(&self, fault: Fault) -> usize {
        self.state.injected.lock().get(&fault).copied().unwrap_or_default()
    }

    /// How many faults were injected altogether.
    #[must_use]
    pub fn total_injected(&self) -> usize {
        self.state.injected.lock().values().sum()
    }

    fn happens(&self, fault: Fault) -> bool {
        let faults = &self.state.faults;
        let percent = match fault {
            Fault::Short => faults.short,
            Fault::Interrupted => faults.interrupted,
            Fault::Again => faults.again,
            Fault::Reset => faults.reset,
            Fault::Pipe => faults.pipe,
            Fault::NoBuffers => faults.no_buffers,
            Fault::NoDescriptors => faults.no_descriptors,
        };
        let happens = percent > 0 && self.state.random.lock().u8(..100) < percent;
        if happens {
            *self.state.injected.lock().entry(fault).or_default() += 1;
        }
        happens
    }

    fn fail(&self, fault: Fault, errno: Errno) -> Result<(), Errno> {
        if self.happens(fault) { Err(errno) } else { Ok(()) }
    }

    /// Decides the errors of a transfer.
    fn before_transfer(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.fail(Fault::Interrupted, Errno::INTR)?;
        self.fail(Fault::Reset, Errno::CONNRESET)?;
        if self.is_watched(fd) && self.happens(Fault::Again) {
            self.rearm(fd);
            return Err(Errno::AGAIN);
        }
        Ok(())
    }

    fn before_send(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.before_transfer(fd)?;
        self.fail(Fault::Pipe, Errno::PIPE)?;
        self.fail(Fault::NoBuffers, Errno::NOBUFS)
    }

    fn is_watched(&self, fd: BorrowedFd<'_>) -> bool {
        self.state.watched.lock().contains_key(&fd.as_raw_fd())
    }

    fn rearm(&self, fd: BorrowedFd<'_>) {
        if let Some(watched) = self.state.watched.lock().get(&fd.as_raw_fd()) {
            let _ = epoll::modify(&watched.epoll, fd, EventData::new_u64(watched.data), watched.flags);
        }
    }

    /// How many of `length` bytes a transfer may move: at least one.
    fn limit(&self, length: usize) -> usize {
        if length > 1 && self.happens(Fault::Short) { self.state.random.lock().usize(1..length) } else { length }
    }
}

impl fmt::Debug for FaultySyscalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultySyscalls")
            .field("seed", &self.state.seed)
            .field("faults", &self.state.faults)
            .field("injected", &*self.state.injected.lock())
            .finish_non_exhaustive()
    }
}

impl Drop for FaultySyscalls {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("faulty system calls: seed {}, {:?}", self.state.seed, self.state.faults);
        }
    }
}

impl SocketSyscalls for FaultySyscalls {
    fn short_read_drains(&self, _: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.fail(Fault::Interrupted, Errno::INTR)?;
        // Reads are short at random here.
        Ok(false)
    }

    fn send(&self, fd: BorrowedFd<'_>, bytes: &[u8], flags: SendFlags) -> Result<usize, Errno> {
        self.before_send(fd)?;
        SocketKernel.send(fd, &bytes[..self.limit(bytes.len())], flags)
    }

    fn sendmsg(&self, fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, Errno> {
        self.before_send(fd)?;
        let mut room = self.limit(buffers.iter().map(|buffer| buffer.len()).sum());
        let mut cut = Vec::new();
        for buffer in buffers {
            let length = buffer.len().min(room);
            room -= length;
            if length > 0 {
                cut.push(IoSlice::new(&buffer[..length]));
            }
        }
        SocketKernel.sendmsg(fd, &cut, flags)
    }

    fn recv(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
        self.before_transfer(fd)?;
        let limit = self.limit(buffer.len());
        SocketKernel.recv(fd, &mut buffer[..limit], flags)
    }

    fn recvmsg(&self, fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>], flags: RecvFlags) -> Result<usize, Errno> {
        self.before_transfer(fd)?;
        let mut room = self.limit(buffers.iter().map(|buffer| buffer.len()).sum());
        let mut cut = Vec::new();
        for buffer in buffers.iter_mut() {
            let length = buffer.len().min(room);
            room -= length;
            if length > 0 {
                cut.push(IoSliceMut::new(&mut buffer[..length]));
            }
        }
        SocketKernel.recvmsg(fd, &mut cut, flags)
    }

    fn receive_error_message(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.fail(Fault::Interrupted, Errno::INTR)?;
        SocketKernel.receive_error_message(fd)
    }

    fn take_error(&self, fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        self.fail(Fault::Interrupted, Errno::INTR)?;
        SocketKernel.take_error(fd)
    }

    fn is_broken(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.fail(Fault::Interrupted, Errno::INTR)?;
        SocketKernel.is_broken(fd)
    }

    fn close(&self, fd: OwnedFd) {
        SocketKernel.close(fd);
    }
}

impl PortSyscalls for FaultySyscalls {
    fn epoll_create(&self) -> Result<OwnedFd, Errno> {
        self.fail(Fault::NoDescriptors, Errno::MFILE)?;
        PortKernel.epoll_create()
    }

    fn eventfd(&self) -> Result<OwnedFd, Errno> {
        self.fail(Fault::NoDescriptors, Errno::MFILE)?;
        PortKernel.eventfd()
    }

    fn epoll_add(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, data: u64, flags: EventFlags) -> Result<(), Errno> {
        self.fail(Fault::Interrupted, Errno::INTR)?;
        self.fail(Fault::NoDescriptors, Errno::NOMEM)?;
        let own = epoll.try_clone_to_owned().map_err(|_| Errno::NOMEM)?;
        self.state.watched.lock().insert(fd.as_raw_fd(), Watched { epoll: own, data, flags });
        PortKernel.epoll_add(epoll, fd, data, flags)
    }

    fn epoll_modify(
        &self,
        epoll: BorrowedFd<'_>,
        fd: BorrowedFd<'_>,
        data: u64,
        flags: EventFlags,
    ) -> Result<(), Errno> {
        self.fail(Fault::Interrupted, Errno::INTR)?;
        PortKernel.epoll_modify(epoll, fd, data, flags)
    }

    fn epoll_delete(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.fail(Fault::Interrupted, Errno::INTR)?;
        self.state.watched.lock().remove(&fd.as_raw_fd());
        PortKernel.epoll_delete(epoll, fd)
    }

    fn epoll_wait(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, block: bool) -> Result<(), Errno> {
        self.fail(Fault::Interrupted, Errno::INTR)?;
        PortKernel.epoll_wait(epoll, events, block)
    }

    fn wake(&self, eventfd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.fail(Fault::Interrupted, Errno::INTR)?;
        PortKernel.wake(eventfd)
    }
}
