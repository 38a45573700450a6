//! The kernel and the port under the library: faulty, and on demand with a defect that the simulation must notice.

use async_socket_linux::sys::{Errno, RecvFlags, SendFlags};
use async_socket_linux::{SocketSyscalls, UnsupportedKind};
use completion_port::PortSyscalls;
use completion_port::sys::{Event, EventFlags};
use parking_lot::Mutex;
use std::cell::Cell;
use std::io::{IoSlice, IoSliceMut};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use test_doubles::{FaultySyscalls, with_memory};

/// A defect that is injected to see whether it is noticed.
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
    /// A callback runs after close has returned.
    CallsBackLate,
    /// A callback never returns.
    NeverReturns,
}

/// One of how many calls a defect spoils.
const SPOILED: u64 = 100;

thread_local! {
    static SENT: Cell<u64> = const { Cell::new(0) };
}

/// How many bytes the kernel has taken from this thread since the last time this was asked.
pub(super) fn take_sent() -> u64 {
    SENT.take()
}

/// What other code has done to the descriptors of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nothing.
    Nothing,
    /// The epoll instance is closed.
    Epoll,
    /// Only the eventfd is closed.
    Eventfd,
}

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

    /// Counts what the kernel took.
    fn count_sent(sent: Result<usize, Errno>) -> Result<usize, Errno> {
        sent.inspect(|bytes| SENT.set(SENT.get() + *bytes as u64))
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
        Self::count_sent(self.faulty.send(fd, bytes, flags))
    }

    fn sendmsg(&self, fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, Errno> {
        Self::count_sent(self.faulty.sendmsg(fd, buffers, flags))
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

/// The system calls of one port, whose descriptors can be lost. What they need for themselves they get also from a thread
/// that has no memory.
#[derive(Debug, Clone)]
pub(super) struct PortSys(Arc<PortState>);

#[derive(Debug)]
struct PortState {
    /// Taken away when the program is over, because the library never frees a port that has lost its descriptors.
    faulty: Mutex<Option<FaultySyscalls>>,
    /// A [`Lost`].
    lost: AtomicU8,
    /// The numbers of the port's descriptors.
    numbers: Mutex<Vec<RawFd>>,
}

impl PortSys {
    pub(super) fn new(faulty: FaultySyscalls) -> Self {
        Self(Arc::new(PortState {
            faulty: Mutex::new(Some(faulty)),
            lost: AtomicU8::new(Lost::Nothing as u8),
            numbers: Mutex::default(),
        }))
    }

    /// From now on, calls fail as if descriptors of the port were closed.
    pub(super) fn lose(&self, lost: Lost) {
        self.0.lost.store(lost as u8, Ordering::SeqCst);
    }

    pub(super) fn has_lost(&self) -> bool {
        self.0.lost.load(Ordering::SeqCst) != Lost::Nothing as u8
    }

    /// Closes what a port has left open because it took its descriptors for lost. The port's thread must have ended.
    pub(super) fn close_lost(&self) {
        if self.has_lost() {
            self.0.faulty.lock().take();
            self.0.numbers.lock().drain(..).for_each(|number| {
                let _ = nix::unistd::close(number);
            });
        }
    }

    /// For a call on the epoll instance.
    fn on_epoll(&self) -> Result<FaultySyscalls, Errno> {
        if self.0.lost.load(Ordering::SeqCst) == Lost::Epoll as u8 { Err(Errno::BADF) } else { self.faulty() }
    }

    /// For a call on the eventfd too.
    fn on_eventfd(&self) -> Result<FaultySyscalls, Errno> {
        if self.has_lost() { Err(Errno::BADF) } else { self.faulty() }
    }

    fn faulty(&self) -> Result<FaultySyscalls, Errno> {
        self.0.faulty.lock().clone().ok_or(Errno::BADF)
    }

    fn note(&self, made: Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
        made.inspect(|descriptor| self.0.numbers.lock().push(descriptor.as_raw_fd()))
    }
}

impl PortSyscalls for PortSys {
    fn epoll_create(&self) -> Result<OwnedFd, Errno> {
        // An attempt to make a port that failed has closed what it had made.
        self.0.numbers.lock().clear();
        self.note(self.faulty()?.epoll_create())
    }

    fn eventfd(&self) -> Result<OwnedFd, Errno> {
        self.note(self.faulty()?.eventfd())
    }

    fn epoll_add(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, data: u64, flags: EventFlags) -> Result<(), Errno> {
        with_memory(|| self.on_epoll()?.epoll_add(epoll, fd, data, flags))
    }

    fn epoll_modify(
        &self,
        epoll: BorrowedFd<'_>,
        fd: BorrowedFd<'_>,
        data: u64,
        flags: EventFlags,
    ) -> Result<(), Errno> {
        // The port modifies nothing but its eventfd, because nothing here waits for single events.
        with_memory(|| self.on_eventfd()?.epoll_modify(epoll, fd, data, flags))
    }

    fn epoll_delete(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        // The faulty calls forget the descriptor, whatever the port is told.
        let deleted = with_memory(|| self.faulty()?.epoll_delete(epoll, fd));
        self.on_epoll().and(deleted)
    }

    fn epoll_wait(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, block: bool) -> Result<(), Errno> {
        self.on_epoll()?.epoll_wait(epoll, events, block)
    }

    fn wake(&self, epoll: BorrowedFd<'_>, eventfd: BorrowedFd<'_>, data: u64) -> Result<(), Errno> {
        self.on_eventfd()?.wake(epoll, eventfd, data)
    }
}
