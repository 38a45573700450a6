//! The kernel and the port under the library: faulty, and on demand with a defect that the simulation must notice.

use async_socket_linux::sys::{Errno, RecvFlags, SendFlags};
use async_socket_linux::{SocketSyscalls, UnsupportedKind};
use completion_port::sys::{EpollOp, Event};
use completion_port::{CompletionPort, PortSyscalls};
use std::io::{IoSlice, IoSliceMut};
use std::mem;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use test_doubles::FaultySyscalls;

/// Something that is wrong on purpose, to see whether it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Defect {
    /// A receive says one byte less than it took.
    LosesBytes,
    /// A send sends its first byte twice.
    DoublesBytes,
    /// `EAGAIN` with no edge to come.
    SwallowsEdges,
    /// A descriptor is not closed.
    LeaksDescriptors,
    /// An accepted operation is never called back.
    DropsCompletions,
    /// Memory is not freed.
    LeaksMemory,
    /// A call-back runs after close has returned.
    CallsBackLate,
    /// A call-back never returns.
    NeverReturns,
}

/// One of how many calls a defect spoils.
const SPOILED: u64 = 100;

/// Faulty system calls, perhaps with a defect.
#[derive(Debug, Clone)]
pub(super) struct Sys {
    pub(super) faulty: FaultySyscalls,
    defect: Option<Defect>,
    calls: Arc<AtomicU64>,
}

impl Sys {
    pub(super) fn new(faulty: FaultySyscalls, defect: Option<Defect>) -> Self {
        Self { faulty, defect, calls: Arc::default() }
    }

    /// Whether this call is one that the defect spoils.
    pub(super) fn is_spoiled(&self, defect: Defect) -> bool {
        self.defect == Some(defect) && self.calls.fetch_add(1, Ordering::Relaxed) % SPOILED == SPOILED - 1
    }

    fn before_receive(&self) -> Result<(), Errno> {
        if self.is_spoiled(Defect::SwallowsEdges) { Err(Errno::AGAIN) } else { Ok(()) }
    }

    fn after_receive(&self, bytes: usize) -> usize {
        if bytes > 1 && self.is_spoiled(Defect::LosesBytes) { bytes - 1 } else { bytes }
    }
}

impl SocketSyscalls for Sys {
    fn unsupported_kind(&self, fd: BorrowedFd<'_>) -> Result<Option<UnsupportedKind>, Errno> {
        self.faulty.unsupported_kind(fd)
    }

    fn is_connecting(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.faulty.is_connecting(fd)
    }

    fn lingers(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.faulty.lingers(fd)
    }

    fn stop_lingering(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.faulty.stop_lingering(fd)
    }

    fn short_read_drains(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.faulty.short_read_drains(fd)
    }

    fn send(&self, fd: BorrowedFd<'_>, bytes: &[u8], flags: SendFlags) -> Result<usize, Errno> {
        if self.is_spoiled(Defect::DoublesBytes) {
            self.faulty.send(fd, &bytes[..1], flags)?;
        }
        self.faulty.send(fd, bytes, flags)
    }

    fn sendmsg(&self, fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, Errno> {
        self.faulty.sendmsg(fd, buffers, flags)
    }

    fn recv(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
        self.before_receive()?;
        self.faulty.recv(fd, buffer, flags).map(|bytes| self.after_receive(bytes))
    }

    fn recvmsg(&self, fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>], flags: RecvFlags) -> Result<usize, Errno> {
        self.before_receive()?;
        self.faulty.recvmsg(fd, buffers, flags).map(|bytes| self.after_receive(bytes))
    }

    fn receive_error_message(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.faulty.receive_error_message(fd)
    }

    fn take_error(&self, fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        self.faulty.take_error(fd)
    }

    fn is_broken(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.faulty.is_broken(fd)
    }

    fn close(&self, fd: OwnedFd) {
        if self.is_spoiled(Defect::LeaksDescriptors) {
            mem::forget(fd);
        } else {
            self.faulty.close(fd);
        }
    }
}

impl PortSyscalls for Sys {
    fn epoll_create(&self) -> Result<OwnedFd, Errno> {
        self.faulty.epoll_create()
    }

    fn eventfd(&self) -> Result<OwnedFd, Errno> {
        self.faulty.eventfd()
    }

    fn epoll_ctl(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, op: EpollOp) -> Result<(), Errno> {
        self.faulty.epoll_ctl(epoll, fd, op)
    }

    fn epoll_wait(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, block: bool) -> Result<(), Errno> {
        self.faulty.epoll_wait(epoll, events, block)
    }

    fn wake(&self, epoll: BorrowedFd<'_>, eventfd: BorrowedFd<'_>, data: u64) -> Result<(), Errno> {
        self.faulty.wake(epoll, eventfd, data)
    }
}

/// The ports of the simulation.
pub(super) type SimPort = CompletionPort<Sys>;
