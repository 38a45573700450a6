//! `event_complete_callback`: what happens when an operation's turn has come.

use crate::operation::{Ending, Queued};
use crate::sys::{Errno, SocketSyscalls};
use crate::transfer::ShortRead;
use async_socket_api::UnsupportedKind;
use completion_port::sys::retry_interrupted;
use completion_port::{Action, Attempt, Handler, is_port_thread};
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering};

/// What the operations of one socket share.
pub(crate) struct Core<S> {
    pub(crate) sys: S,
    /// The descriptor's number, for messages.
    pub(crate) descriptor: RawFd,
    /// A `ShortRead`, and in the bits above an error that a receive met after bytes had arrived: the next one reports it. 0
    /// for a TCP socket without one.
    receiving: AtomicU32,
    stream_broken: AtomicBool,
    /// What open learned of the descriptor: `CONNECTING`, or why it was refused, as an index into `KINDS` plus one.
    found_at_open: AtomicU8,
    /// What the last error event was about, as the kernel tells it only once; or why the connection could not be made. 0
    /// if the kernel did not say.
    event_error: AtomicU16,
}

/// In `found_at_open`: the connect was still in progress.
const CONNECTING: u8 = 1 << 7;

const KINDS: [UnsupportedKind; 6] = [
    UnsupportedKind::Datagram,
    UnsupportedKind::SequencedPackets,
    UnsupportedKind::Raw,
    UnsupportedKind::ReliableDatagram,
    UnsupportedKind::Listening,
    UnsupportedKind::Other,
];

/// What `prepare` says of a socket of an unsupported kind. No other call at open fails so.
const UNSUPPORTED: Errno = Errno::SOCKTNOSUPPORT;

impl<S: SocketSyscalls> Core<S> {
    pub(crate) fn new(sys: S, descriptor: RawFd) -> Self {
        Self {
            sys,
            descriptor,
            receiving: AtomicU32::new(ShortRead::ProvesNothing as u32),
            stream_broken: AtomicBool::new(false),
            found_at_open: AtomicU8::new(0),
            event_error: AtomicU16::new(0),
        }
    }

    /// Whether a receive has nothing to mind: a short read means that there is no more, and no error is kept.
    #[inline]
    pub(crate) fn receives_plainly(&self) -> bool {
        self.receiving.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn short_read(&self) -> ShortRead {
        const NO_MORE: u8 = ShortRead::Drained as u8;
        const UNLESS: u8 = ShortRead::DrainedUnlessFdsPassed as u8;
        match self.receiving.load(Ordering::Relaxed).to_le_bytes()[0] {
            NO_MORE => ShortRead::Drained,
            UNLESS => ShortRead::DrainedUnlessFdsPassed,
            _ => ShortRead::ProvesNothing,
        }
    }

    /// Notes a failure: after a part of a payload nothing may follow, or the peer would see a gap.
    pub(crate) fn send_failed(&self, bytes_sent: u32) {
        if bytes_sent > 0 {
            self.break_stream();
        }
    }

    /// A payload broke off in the middle, so nothing may be sent any more.
    pub(crate) fn break_stream(&self) {
        self.stream_broken.store(true, Ordering::Relaxed);
    }

    /// Read and written by whoever works on the sending direction, so never by two at once.
    pub(crate) fn is_stream_broken(&self) -> bool {
        self.stream_broken.load(Ordering::Relaxed)
    }

    /// Keeps an error for the next receive. Only ever called by the port's thread, like the next.
    pub(crate) fn keep_late_error(&self, errno: Errno) {
        self.set_receiving(self.short_read(), small(errno));
    }

    pub(crate) fn take_late_error(&self) -> Option<Errno> {
        let [_, low, high, _] = self.receiving.load(Ordering::Relaxed).to_le_bytes();
        let errno = errno_of(u16::from_le_bytes([low, high]))?;
        self.set_receiving(self.short_read(), 0);
        Some(errno)
    }

    /// The kind of socket for which `prepare` failed with `error`.
    pub(crate) fn unsupported_kind(&self, error: &io::Error) -> Option<UnsupportedKind> {
        if error.raw_os_error() != Some(UNSUPPORTED.raw_os_error()) {
            return None;
        }
        let index = usize::from(self.found_at_open.load(Ordering::Relaxed)).checked_sub(1)?;
        KINDS.get(index).copied()
    }

    fn was_connecting(&self) -> bool {
        self.found_at_open.load(Ordering::Relaxed) == CONNECTING
    }

    /// The kernel tells why a connection could not be made only once. What fails later of the same cause meets `EPIPE`, or
    /// an end of the stream without any bytes: this is the errno to report then.
    // Codes_SRS_SOCKET_01_015
    #[cold]
    pub(crate) fn cause_of(&self, errno: Option<Errno>) -> Option<Errno> {
        if !self.was_connecting() {
            return errno;
        }
        match errno {
            Some(Errno::CONNREFUSED | Errno::CONNRESET | Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH) => {
                self.event_error.store(errno.map_or(0, small), Ordering::Relaxed);
                errno
            }
            None | Some(Errno::PIPE) => errno_of(self.event_error.load(Ordering::Relaxed)).or(errno),
            Some(_) => errno,
        }
    }

    fn set_receiving(&self, short_read: ShortRead, late_error: u16) {
        self.receiving.store(u32::from(late_error) << 8 | short_read as u32, Ordering::Relaxed);
    }
}

impl<S: SocketSyscalls> Handler for Core<S> {
    type Descriptor = OwnedFd;
    type Operation = Queued<S>;

    /// Finds out what kind of socket it is.
    // Codes_SRS_SOCKET_01_010, Codes_SRS_SOCKET_01_030
    fn prepare(&self, descriptor: &OwnedFd) -> io::Result<()> {
        let fd = descriptor.as_fd();
        if let Some(kind) = retry_interrupted(|| self.sys.unsupported_kind(fd))? {
            let index = KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len() - 1);
            // Six kinds fit.
            self.found_at_open.store(index as u8 + 1, Ordering::Relaxed);
            return Err(UNSUPPORTED.into());
        }
        let connecting = retry_interrupted(|| self.sys.is_connecting(fd))?;
        self.found_at_open.store(if connecting { CONNECTING } else { 0 }, Ordering::Relaxed);
        let short_read = if retry_interrupted(|| self.sys.short_read_drains(fd))? {
            ShortRead::Drained
        } else if retry_interrupted(|| self.sys.is_unix_stream(fd))? {
            ShortRead::DrainedUnlessFdsPassed
        } else {
            ShortRead::ProvesNothing
        };
        self.set_receiving(short_read, 0);
        Ok(())
    }

    #[inline(always)]
    fn attempt(&self, operation: Queued<S>, action: Action, attempt: Attempt<'_, Self>) {
        event_complete_callback(self, operation, action, attempt);
    }

    /// Notifications on the error queue (`MSG_ZEROCOPY`, time stamps) make the kernel report an error too. They are
    /// drained; somebody else may have done so before.
    fn is_error(&self, descriptor: &OwnedFd) -> bool {
        let fd = descriptor.as_fd();
        let errno = retry_interrupted(|| self.sys.take_error(fd)).unwrap_or_else(Some);
        if errno.is_some() || !self.was_connecting() {
            self.event_error.store(errno.map_or(0, small), Ordering::Relaxed);
        }
        if errno.is_some() {
            return true;
        }
        while retry_interrupted(|| self.sys.receive_error_message(fd)).is_ok() {}
        retry_interrupted(|| self.sys.is_broken(fd)).unwrap_or(true)
    }

    fn port_failed(&self) {
        self.event_error.store(small(Errno::BADF), Ordering::Relaxed);
    }

    /// On a port's thread `close` must not wait for one peer while all other sockets of the port wait for it. Without
    /// lingering it returns at once, and the kernel goes on sending.
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_039, Codes_SRS_SOCKET_01_001, Codes_SRS_SOCKET_01_002, Codes_SRS_SOCKET_01_003
    fn release(&self, descriptor: OwnedFd) {
        let fd = descriptor.as_fd();
        if is_port_thread() && retry_interrupted(|| self.sys.lingers(fd)) == Ok(true) {
            // If the kernel refuses, nothing else can be done: the descriptor has to be closed.
            let _ = retry_interrupted(|| self.sys.stop_lingering(fd));
        }
        self.sys.close(descriptor);
    }
}

/// Decides an operation's fate.
#[inline(always)]
fn event_complete_callback<S: SocketSyscalls>(
    core: &Core<S>,
    operation: Queued<S>,
    action: Action,
    attempt: Attempt<'_, Core<S>>,
) {
    if matches!(action, Action::In | Action::Out) {
        operation.attempt(core, attempt);
    } else {
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_080, Codes_SRS_ASYNC_SOCKET_LINUX_11_081
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_085, Codes_SRS_ASYNC_SOCKET_LINUX_11_086
        let is_error = action == Action::Error;
        let ending = if is_error {
            Ending::Failed(errno_of(core.event_error.load(Ordering::Relaxed)))
        } else {
            Ending::Abandoned
        };
        operation.end(core, ending, attempt);
    }
}

fn errno_of(stored: u16) -> Option<Errno> {
    match stored {
        0 => None,
        errno => Some(Errno::from_raw_os_error(errno.into())),
    }
}

/// The kernel's error numbers are below 4096.
fn small(errno: Errno) -> u16 {
    u16::try_from(errno.raw_os_error()).unwrap_or(u16::MAX)
}
