//! The state that the operations of one socket share.
//!
//! Invariant: this module knows numbers and errors, but no operations and no callbacks.

use crate::extras::{Extras, More};
use crate::sys::Errno;
use crate::transfer::ShortRead;
use async_socket_api::{SendError, SocketState, UnsupportedKind};
use completion_port::Phase;
use completion_port::memory::try_box;
use once_cell::race::OnceBox;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};

/// The state of one socket that is not in its registration.
pub(crate) struct SocketCore<S> {
    pub(crate) sys: S,
    /// The descriptor's number, for messages.
    pub(crate) descriptor: RawFd,
    /// See [`bits`].
    bits: AtomicU32,
    extras: OnceBox<[Extras; 1]>,
}

/// The parts of `SocketCore::bits`. They share a word because an idle socket should be small. Only rare events change
/// them.
///
/// The bits of `RECEIVING` are 0 if a receive has nothing else to check: it is a TCP socket without an idle time-out, and
/// no error is kept. Those of `SENDING` are 0 if a send has nothing to check.
mod bits {
    /// A `ShortRead`.
    pub(super) const SHORT_READ: u32 = 0b11;
    /// An error that a receive met after bytes had arrived. The next receive reports it.
    pub(super) const LATE_ERROR: Errno = Errno { shift: 2 };
    /// A message resets the idle time-out.
    pub(super) const TOUCHES: u32 = 1 << 13;
    pub(super) const RECEIVING: u32 = (1 << 14) - 1;

    /// A payload broke off in the middle.
    pub(super) const BROKEN: u32 = 1 << 14;
    /// The sending half is shut down, or will be, behind what is queued.
    pub(super) const SHUT_DOWN: u32 = 1 << 15;
    pub(super) const SENDING: u32 = TOUCHES | BROKEN | SHUT_DOWN;

    /// The program closes without waiting, so a close does not wait for the peer either.
    pub(super) const NEVER_LINGERS: u32 = 1 << 17;
    /// The connect was still in progress at open.
    pub(super) const CONNECTING: u32 = 1 << 18;
    /// The cause of the last error event, which the kernel reports only once, or the reason why the connection could
    /// not be made.
    pub(super) const EVENT_ERROR: Errno = Errno { shift: 20 };

    /// Room for an `errno`. 0 is none. Linux's numbers are below 1200 on every architecture.
    #[derive(Clone, Copy)]
    pub(super) struct Errno {
        shift: u32,
    }

    const LARGEST: u32 = (1 << 11) - 1;

    impl Errno {
        pub(super) fn get(self, bits: u32) -> Option<crate::sys::Errno> {
            match bits >> self.shift & LARGEST {
                0 => None,
                errno => Some(crate::sys::Errno::from_raw_os_error(errno.cast_signed())),
            }
        }

        pub(super) fn set(self, bits: u32, errno: Option<crate::sys::Errno>) -> u32 {
            let number = errno.map_or(0, |errno| errno.raw_os_error().unsigned_abs().min(LARGEST));
            bits & !(LARGEST << self.shift) | number << self.shift
        }
    }
}

const KINDS: [UnsupportedKind; 6] = [
    UnsupportedKind::Datagram,
    UnsupportedKind::SequencedPackets,
    UnsupportedKind::Raw,
    UnsupportedKind::ReliableDatagram,
    UnsupportedKind::Listening,
    UnsupportedKind::Other,
];

/// The error of an open of the first unsupported kind; the other kinds follow. No system call fails with these numbers.
const UNSUPPORTED: i32 = 1 << 20;

/// The error that an open of an unsupported kind fails with.
pub(crate) fn unsupported(kind: UnsupportedKind) -> io::Error {
    let index = KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len() - 1);
    // Six kinds fit.
    io::Error::from_raw_os_error(UNSUPPORTED + index as i32)
}

/// The kind of socket for which an open failed with `error`.
pub(crate) fn unsupported_kind(error: &io::Error) -> Option<UnsupportedKind> {
    let index = error.raw_os_error()?.checked_sub(UNSUPPORTED)?;
    KINDS.get(usize::try_from(index).ok()?).copied()
}

impl<S> SocketCore<S> {
    pub(crate) fn new(sys: S, descriptor: RawFd) -> Self {
        Self { sys, descriptor, bits: AtomicU32::new(ShortRead::ProvesNothing as u32), extras: OnceBox::new() }
    }

    #[inline(always)]
    fn bits(&self) -> u32 {
        self.bits.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl Fn(u32) -> u32) {
        // Always succeeds.
        let _ = self.bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some(change(bits)));
    }

    /// What few sockets need, if this one has ever needed it.
    pub(crate) fn extras(&self) -> Option<&Extras> {
        self.extras.get().map(|[extras]| extras)
    }

    /// The same. It is made if there is memory.
    pub(crate) fn make_extras(&self) -> Option<&Extras> {
        let [extras] = self.extras.get_or_try_init(|| try_box(Extras::default())).ok()?;
        Some(extras)
    }

    pub(crate) fn more(&self) -> Option<&More> {
        self.extras()?.more()
    }

    pub(crate) fn make_more(&self) -> Option<&More> {
        self.make_extras()?.make_more()
    }

    /// Whether a message resets the idle time-out.
    #[inline(always)]
    pub(crate) fn touches(&self) -> bool {
        self.bits() & bits::TOUCHES != 0
    }

    pub(crate) fn set_touches(&self, touches: bool) {
        self.change(|bits| bits & !bits::TOUCHES | if touches { bits::TOUCHES } else { 0 });
    }

    // ---- receiving; changed by the port thread only

    /// Whether a short read means that there is no more, and no error is kept. A receive then has nothing else to
    /// check.
    #[inline(always)]
    pub(crate) fn is_fast_path(&self) -> bool {
        self.bits() & bits::RECEIVING == 0
    }

    pub(crate) fn short_read(&self) -> ShortRead {
        const DRAINED: u32 = ShortRead::Drained as u32;
        const UNLESS_FDS_PASSED: u32 = ShortRead::DrainedUnlessFdsPassed as u32;
        match self.bits() & bits::SHORT_READ {
            DRAINED => ShortRead::Drained,
            UNLESS_FDS_PASSED => ShortRead::DrainedUnlessFdsPassed,
            _ => ShortRead::ProvesNothing,
        }
    }

    /// Notes at open what a short read means.
    pub(crate) fn set_short_read(&self, short_read: ShortRead) {
        self.change(|bits| bits & !bits::SHORT_READ | short_read as u32);
    }

    /// Keeps an error for the next receive.
    pub(crate) fn keep_late_error(&self, errno: Errno) {
        self.change(|bits| bits::LATE_ERROR.set(bits, Some(errno)));
    }

    pub(crate) fn take_late_error(&self) -> Option<Errno> {
        let errno = bits::LATE_ERROR.get(self.bits())?;
        self.change(|bits| bits::LATE_ERROR.set(bits, None));
        Some(errno)
    }

    // ---- sending

    /// Whether a send has nothing to check: the stream is whole, its end is not sent, and there is no idle time-out.
    #[inline(always)]
    pub(crate) fn may_send(&self) -> bool {
        self.bits() & bits::SENDING == 0
    }

    /// Notes that a send failed. If a part of its payload went out, nothing may follow, because the peer would see a
    /// gap.
    pub(crate) fn send_failed(&self, bytes_sent: u32) {
        if bytes_sent > 0 {
            self.break_stream();
        }
    }

    /// Notes that a payload broke off in the middle, so nothing may be sent any more.
    pub(crate) fn break_stream(&self) {
        self.bits.fetch_or(bits::BROKEN, Ordering::Relaxed);
    }

    pub(crate) fn is_stream_broken(&self) -> bool {
        self.bits() & bits::BROKEN != 0
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.bits() & bits::SHUT_DOWN != 0
    }

    /// Notes that nothing is sent after what is queued. False if that was so already.
    pub(crate) fn begin_shutdown(&self) -> bool {
        self.bits.fetch_or(bits::SHUT_DOWN, Ordering::Relaxed) & bits::SHUT_DOWN == 0
    }

    /// The shutdown was not made.
    pub(crate) fn revoke_shutdown(&self) {
        self.bits.fetch_and(!bits::SHUT_DOWN, Ordering::Relaxed);
    }

    /// Why nothing is accepted for sending.
    pub(crate) fn refuses_sends(&self) -> Option<SendError> {
        if self.is_stream_broken() {
            return Some(SendError::StreamBroken);
        }
        self.is_shut_down().then_some(SendError::ShutDown)
    }

    /// Bytes of a queued send went out, or will not go out any more.
    pub(crate) fn note_dequeued(&self, bytes: u32) {
        if bytes > 0
            && let Some(more) = self.more()
        {
            more.remove_queued(bytes);
        }
    }

    // ---- closing

    /// Notes that a close must not wait for the peer, whichever thread ends it. False if that was noted already.
    pub(crate) fn set_never_lingers(&self, never: bool) -> bool {
        let set = if never {
            self.bits.fetch_or(bits::NEVER_LINGERS, Ordering::Relaxed)
        } else {
            self.bits.fetch_and(!bits::NEVER_LINGERS, Ordering::Relaxed)
        };
        set & bits::NEVER_LINGERS == 0
    }

    pub(crate) fn never_lingers(&self) -> bool {
        self.bits() & bits::NEVER_LINGERS != 0
    }

    // ---- what the descriptor is

    /// Notes at open whether the connect is still in progress.
    pub(crate) fn set_connecting(&self, connecting: bool) {
        self.change(|bits| bits & !bits::CONNECTING | if connecting { bits::CONNECTING } else { 0 });
    }

    pub(crate) fn was_connecting(&self) -> bool {
        self.bits() & bits::CONNECTING != 0
    }

    // ---- errors that the kernel tells once

    /// Notes the cause of an error event, if the kernel named one. Without a cause it keeps the reason why a connection
    /// could not be made.
    pub(crate) fn note_event_error(&self, errno: Option<Errno>) {
        if errno.is_some() || !self.was_connecting() {
            self.change(|bits| bits::EVENT_ERROR.set(bits, errno));
        }
    }

    pub(crate) fn event_error(&self) -> Option<Errno> {
        bits::EVENT_ERROR.get(self.bits())
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
