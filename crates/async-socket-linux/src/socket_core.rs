//! The state that the operations of one socket share.
//!
//! Invariant: this module is a leaf. It knows numbers and errors, but no operations and no callbacks.

use crate::sys::Errno;
use crate::transfer::ShortRead;
use async_socket_api::{SocketState, UnsupportedKind};
use completion_port::Phase;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering};

/// The state of one socket that is not in its registration.
pub(crate) struct SocketCore<S> {
    pub(crate) sys: S,
    /// The descriptor's number, for messages.
    pub(crate) descriptor: RawFd,
    /// The lowest byte is a `ShortRead`. The bytes above it are an error that a receive met after bytes had arrived;
    /// the next receive reports it. The whole is 0 for a TCP socket without such an error.
    receiving: AtomicU32,
    stream_broken: AtomicBool,
    /// The outcome of open: `CONNECTING`, or the reason of a refusal as an index into `KINDS` plus one.
    found_at_open: AtomicU8,
    /// The cause of the last error event, which the kernel reports only once, or the reason why the connection could
    /// not be made. 0 if the kernel named none.
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

/// The error of an open of an unsupported kind. No other call at open fails with it.
const UNSUPPORTED: Errno = Errno::SOCKTNOSUPPORT;

impl<S> SocketCore<S> {
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

    // ---- receiving; used by the port thread only

    /// Whether a short read means that there is no more, and no error is kept. A receive then has nothing else to
    /// check.
    #[inline]
    pub(crate) fn is_fast_path(&self) -> bool {
        self.receiving.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn short_read(&self) -> ShortRead {
        const DRAINED: u8 = ShortRead::Drained as u8;
        const UNLESS_FDS_PASSED: u8 = ShortRead::DrainedUnlessFdsPassed as u8;
        match self.receiving.load(Ordering::Relaxed).to_le_bytes()[0] {
            DRAINED => ShortRead::Drained,
            UNLESS_FDS_PASSED => ShortRead::DrainedUnlessFdsPassed,
            _ => ShortRead::ProvesNothing,
        }
    }

    /// Notes at open what a short read means. There is no error yet.
    pub(crate) fn set_short_read(&self, short_read: ShortRead) {
        self.set_receiving(short_read, 0);
    }

    /// Keeps an error for the next receive.
    pub(crate) fn keep_late_error(&self, errno: Errno) {
        self.set_receiving(self.short_read(), small(errno));
    }

    pub(crate) fn take_late_error(&self) -> Option<Errno> {
        let [_, low, high, _] = self.receiving.load(Ordering::Relaxed).to_le_bytes();
        let errno = errno_of(u16::from_le_bytes([low, high]))?;
        self.set_receiving(self.short_read(), 0);
        Some(errno)
    }

    fn set_receiving(&self, short_read: ShortRead, late_error: u16) {
        self.receiving.store(u32::from(late_error) << 8 | short_read as u32, Ordering::Relaxed);
    }

    // ---- sending; used only by the thread that has the sending direction

    /// Notes that a send failed. If a part of its payload went out, nothing may follow, because the peer would see a
    /// gap.
    pub(crate) fn send_failed(&self, bytes_sent: u32) {
        if bytes_sent > 0 {
            self.break_stream();
        }
    }

    /// Notes that a payload broke off in the middle, so nothing may be sent any more.
    pub(crate) fn break_stream(&self) {
        self.stream_broken.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stream_broken(&self) -> bool {
        self.stream_broken.load(Ordering::Relaxed)
    }

    // ---- what the descriptor is

    /// Notes at open why the descriptor cannot be used. Returns the error to fail with.
    pub(crate) fn refuse(&self, kind: UnsupportedKind) -> Errno {
        let index = KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len() - 1);
        // Six kinds fit.
        self.found_at_open.store(index as u8 + 1, Ordering::Relaxed);
        UNSUPPORTED
    }

    /// The kind of socket for which an open failed with `error`.
    pub(crate) fn unsupported_kind(&self, error: &io::Error) -> Option<UnsupportedKind> {
        if error.raw_os_error() != Some(UNSUPPORTED.raw_os_error()) {
            return None;
        }
        let index = usize::from(self.found_at_open.load(Ordering::Relaxed)).checked_sub(1)?;
        KINDS.get(index).copied()
    }

    /// Notes at open whether the connect is still in progress.
    pub(crate) fn set_connecting(&self, connecting: bool) {
        self.found_at_open.store(if connecting { CONNECTING } else { 0 }, Ordering::Relaxed);
    }

    fn was_connecting(&self) -> bool {
        self.found_at_open.load(Ordering::Relaxed) == CONNECTING
    }

    // ---- errors that the kernel tells once

    /// Notes the cause of an error event, if the kernel named one. Without a cause it keeps the reason why a connection
    /// could not be made.
    pub(crate) fn note_event_error(&self, errno: Option<Errno>) {
        if errno.is_some() || !self.was_connecting() {
            self.event_error.store(errno.map_or(0, small), Ordering::Relaxed);
        }
    }

    pub(crate) fn event_error(&self) -> Option<Errno> {
        errno_of(self.event_error.load(Ordering::Relaxed))
    }

    /// The error to report for `errno`, or for the end of the stream if that is `None`.
    ///
    /// The kernel reports only once why a connection could not be made. Operations that fail later for the same reason
    /// get `EPIPE`, or an end of the stream without any bytes.
    // Codes_SRS_SOCKET_01_015
    #[cold]
    pub(crate) fn cause_of(&self, errno: Option<Errno>) -> Option<Errno> {
        if !self.was_connecting() {
            return errno;
        }
        match errno {
            Some(Errno::CONNREFUSED | Errno::CONNRESET | Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH) => {
                self.note_event_error(errno);
                errno
            }
            None | Some(Errno::PIPE) => self.event_error().or(errno),
            Some(_) => errno,
        }
    }
}

/// The socket's state is the phase of its registration.
pub(crate) fn state_in(phase: Phase) -> SocketState {
    match phase {
        Phase::Unregistered | Phase::Removed => SocketState::Closed,
        Phase::Registering => SocketState::Opening,
        Phase::Registered => SocketState::Open,
        Phase::Removing => SocketState::Closing,
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
