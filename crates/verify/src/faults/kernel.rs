//! The kernel and the port below the library. They are faulty and, on demand, have a defect that the simulation must
//! notice.

use async_socket_linux::sys::{Errno, RecvFlags, SendFlags};
use async_socket_linux::{SocketSyscalls, UnsupportedKind};
use completion_port::PortSyscalls;
use completion_port::sys::{EpollOp, Event, Milliseconds};
use parking_lot::Mutex;
use std::cell::Cell;
use std::io::{IoSlice, IoSliceMut};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use test_doubles::{FaultySyscalls, with_memory};

/// A defect that the simulation must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Defect {
    /// A receive reports one byte less than it took.
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
    /// The ports' clock runs ahead at times, so timers and deadlines come early.
    RunsAhead,
}

/// A defect spoils one call in this many.
const SPOILED: u64 = 100;

/// How far a defective clock runs ahead.
const AHEAD: Duration = Duration::from_millis(20);

thread_local! {
    static SENT: Cell<u64> = const { Cell::new(0) };
}

/// Returns and resets the number of bytes that the kernel has taken from this thread.
pub(super) fn take_sent() -> u64 {
    SENT.take()
}

/// The loss that other code has caused to the descriptors of a port.
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
    defects: Defects,
}

/// The injected defect, if there is one.
#[derive(Debug, Clone)]
struct Defects {
    defect: Option<Defect>,
    calls: Arc<AtomicU64>,
}

impl Defects {
    fn is_spoiled(&self, defect: Defect) -> bool {
        self.defect == Some(defect) && self.calls.fetch_add(1, Ordering::Relaxed) % SPOILED == SPOILED - 1
    }
}

impl Sys {
    pub(super) fn new(faulty: FaultySyscalls, defect: Option<Defect>) -> Self {
        Self { faulty, defects: Defects { defect, calls: Arc::default() } }
    }

    /// Counts what the kernel took.
    fn count_sent(sent: Result<usize, Errno>) -> Result<usize, Errno> {
        sent.inspect(|bytes| SENT.set(SENT.get() + *bytes as u64))
    }

    /// Whether the defect spoils this call.
    pub(super) fn is_spoiled(&self, defect: Defect) -> bool {
        self.defects.is_spoiled(defect)
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

    fn shut_down_sending(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.faulty.shut_down_sending(fd)
    }

    fn close(&self, fd: OwnedFd) {
        if self.is_spoiled(Defect::LeaksDescriptors) {
            mem::forget(fd);
        } else {
            self.faulty.close(fd);
        }
    }
}

/// The system calls of one port, whose descriptors can be lost. They get the memory that they need even on a thread
/// without memory.
#[derive(Debug, Clone)]
pub(super) struct PortSys(Arc<PortState>);

#[derive(Debug)]
struct PortState {
    /// Taken away when the program is over, because the library never frees a port that has lost its descriptors.
    faulty: Mutex<Option<FaultySyscalls>>,
    /// A [`Lost`].
    lost: AtomicU8,
    /// Knows whether the clock runs ahead.
    defects: Defects,
    /// The numbers of the port's descriptors.
    numbers: Mutex<Vec<RawFd>>,
}

impl PortSys {
    pub(super) fn new(sys: &Sys) -> Self {
        Self(Arc::new(PortState {
            faulty: Mutex::new(Some(sys.faulty.clone())),
            defects: sys.defects.clone(),
            lost: AtomicU8::new(Lost::Nothing as u8),
            numbers: Mutex::default(),
        }))
    }

    /// Makes later calls fail as if other code had closed descriptors of the port.
    pub(super) fn lose(&self, lost: Lost) {
        self.0.lost.store(lost as u8, Ordering::SeqCst);
    }

    pub(super) fn has_lost(&self) -> bool {
        self.0.lost.load(Ordering::SeqCst) != Lost::Nothing as u8
    }

    /// Closes the descriptors that a port left open because it believed them lost. The port thread must have ended.
    pub(super) fn close_lost(&self) {
        if self.has_lost() {
            self.0.faulty.lock().take();
            self.0.numbers.lock().drain(..).for_each(|number| {
                let _ = nix::unistd::close(number);
            });
        }
    }

    /// The faulty calls, for a call on the epoll instance.
    fn on_epoll(&self) -> Result<FaultySyscalls, Errno> {
        if self.0.lost.load(Ordering::SeqCst) == Lost::Epoll as u8 { Err(Errno::BADF) } else { self.faulty() }
    }

    /// The faulty calls, for a call that also uses the eventfd.
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
        // A failed attempt to make a port has already closed its descriptors.
        self.0.numbers.lock().clear();
        self.note(self.faulty()?.epoll_create())
    }

    fn eventfd(&self) -> Result<OwnedFd, Errno> {
        self.note(self.faulty()?.eventfd())
    }

    fn epoll_ctl(&self, epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, op: EpollOp) -> Result<(), Errno> {
        match op {
            EpollOp::Add { .. } => with_memory(|| self.on_epoll()?.epoll_ctl(epoll, fd, op)),
            // The port modifies only its eventfd, because nothing here waits for single events.
            EpollOp::Modify { .. } => with_memory(|| self.on_eventfd()?.epoll_ctl(epoll, fd, op)),
            EpollOp::Delete => {
                // The faulty calls forget the descriptor, whatever result the port gets.
                let deleted = with_memory(|| self.faulty()?.epoll_ctl(epoll, fd, op));
                self.on_epoll().and(deleted)
            }
        }
    }

    fn epoll_wait(&self, epoll: BorrowedFd<'_>, events: &mut Vec<Event>, at_most: Milliseconds) -> Result<(), Errno> {
        self.on_epoll()?.epoll_wait(epoll, events, at_most)
    }

    fn now(&self) -> Instant {
        let ahead = self.0.defects.is_spoiled(Defect::RunsAhead);
        Instant::now() + if ahead { AHEAD } else { Duration::ZERO }
    }

    fn wake(&self, epoll: BorrowedFd<'_>, eventfd: BorrowedFd<'_>, data: u64) -> Result<(), Errno> {
        self.on_eventfd()?.wake(epoll, eventfd, data)
    }
}
