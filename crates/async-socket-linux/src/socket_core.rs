//! The state that the operations of one socket share.
//!
//! Invariant: this module knows numbers and errors, but no operations and no callbacks.

use crate::counts::Counts;
use crate::extras::{Extras, More};
use crate::span::SpanPlace;
use crate::sys::Errno;
use crate::transfer::ShortRead;
use async_socket_api::{SendError, SocketState, UnsupportedKind};
use completion_port::Phase;
use completion_port::memory::try_box;
use once_cell::race::OnceBox;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};

/// The state of one socket that is not in its registration.
// A message touches what follows `extras`. It lies at the end, because the registration's own fields come next.
#[repr(C)]
pub(crate) struct SocketCore<S> {
    extras: OnceBox<[Extras; 1]>,
    /// See [`flag`].
    flags: AtomicU8,
    /// A byte has moved since the last tick of the idle time-out.
    touched: AtomicBool,
    /// An error that a receive met after bytes had arrived. The next receive reports it. 0 is none.
    late_error: AtomicU8,
    /// The cause of the last error event, which the kernel reports only once, or the reason why the connection could not be
    /// made. 0 if the kernel named none.
    event_error: AtomicU8,
    number: Number,
    pub(crate) sys: S,
}

/// The descriptor's number. It is stored inverted, and so negative, while the program has never had the descriptor: then the
/// descriptor is still as the library has made it.
struct Number(AtomicI32);

impl Number {
    fn get(&self) -> RawFd {
        let stored = self.0.load(Ordering::Relaxed);
        if stored < 0 { !stored } else { stored }
    }

    fn is_private(&self) -> bool {
        self.0.load(Ordering::Relaxed) < 0
    }

    fn publish(&self) {
        if self.is_private() {
            self.0.store(self.get(), Ordering::Relaxed);
        }
    }
}

/// The bits of `SocketCore::flags`. Only rare events change them.
///
/// Those of `RECEIVING` are 0 if a receive has nothing else to check, as on a TCP socket. Those of `SENDING` are 0 if a send
/// has nothing to check.
mod flag {
    /// A `ShortRead`.
    pub(super) const SHORT_READ: u8 = 0b11;
    /// In the place of a `ShortRead`, before the open: the descriptor is a connected stream socket.
    pub(super) const KNOWN: u8 = 0b11;
    /// There is a late error.
    pub(super) const LATE_ERROR: u8 = 1 << 2;
    /// A message is counted, or calls back inside the socket's span.
    pub(super) const WATCHED: u8 = 1 << 3;
    /// A payload broke off in the middle.
    pub(super) const BROKEN: u8 = 1 << 4;
    /// The sending half is shut down, or will be, behind what is queued.
    pub(super) const SHUT_DOWN: u8 = 1 << 5;
    /// The program closes without waiting, so a close does not wait for the peer either.
    pub(super) const NEVER_LINGERS: u8 = 1 << 6;
    /// The connect was still in progress at open.
    pub(super) const CONNECTING: u8 = 1 << 7;

    pub(super) const RECEIVING: u8 = SHORT_READ | LATE_ERROR | WATCHED;
    pub(super) const SENDING: u8 = WATCHED | BROKEN | SHUT_DOWN;
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
        Self::with(sys, Number(AtomicI32::new(descriptor)), ShortRead::ProvesNothing)
    }

    /// Of a connected stream socket that the program has never had.
    pub(crate) fn private(sys: S, descriptor: RawFd, short_read: ShortRead) -> Self {
        Self::with(sys, Number(AtomicI32::new(!descriptor)), short_read)
    }

    fn with(sys: S, number: Number, short_read: ShortRead) -> Self {
        Self {
            sys,
            number,
            flags: AtomicU8::new(short_read as u8),
            touched: AtomicBool::new(false),
            late_error: AtomicU8::new(0),
            event_error: AtomicU8::new(0),
            extras: OnceBox::new(),
        }
    }

    #[inline(always)]
    fn has(&self, flags: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flags != 0
    }

    /// Sets or clears flags. Returns whether one of them was set.
    fn set(&self, flags: u8, to: bool) -> bool {
        let before = if to {
            self.flags.fetch_or(flags, Ordering::AcqRel)
        } else {
            self.flags.fetch_and(!flags, Ordering::AcqRel)
        };
        before & flags != 0
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

    // ---- the idle time-out

    /// A byte has moved. Every message says so, because the store costs less than to ask whether there is a time-out.
    #[inline(always)]
    pub(crate) fn touch(&self) {
        self.touched.store(true, Ordering::Relaxed);
    }

    /// Whether a byte has moved since the last call.
    pub(crate) fn take_touched(&self) -> bool {
        self.touched.swap(false, Ordering::Relaxed)
    }

    // ---- the counts and the span

    /// Whether a message is counted, or calls back inside a span.
    #[inline(always)]
    pub(crate) fn is_watched(&self) -> bool {
        self.has(flag::WATCHED)
    }

    pub(crate) fn set_watched(&self, watched: bool) {
        self.set(flag::WATCHED, watched);
        // Looked at after the flag was cleared, so that it cannot miss what another thread has switched on meanwhile.
        if !watched && self.has_watcher() {
            self.set(flag::WATCHED, true);
        }
    }

    /// Whether there is a span, or the socket counts.
    fn has_watcher(&self) -> bool {
        let Some(more) = self.more() else { return false };
        more.counts().is_some_and(Counts::is_on) || more.span_place().is_some_and(SpanPlace::is_full)
    }

    /// The counts, if the socket counts now.
    #[inline]
    pub(crate) fn counts(&self) -> Option<&Counts> {
        if self.is_watched() { self.switched_on() } else { None }
    }

    #[cold]
    fn switched_on(&self) -> Option<&Counts> {
        self.more()?.counts().filter(|counts| counts.is_on())
    }

    /// Bytes were received, on a path that checks for more than the fast path does.
    pub(crate) fn note_received(&self, bytes: u32) {
        self.counts().into_iter().for_each(|counts| counts.note_received(bytes));
    }

    /// The kernel has taken bytes of a send, on a path that checks for more than the fast path does.
    pub(crate) fn note_sent(&self, bytes: u32) {
        if bytes > 0 {
            // Codes_SRS_SOCKET_01_111
            self.touch();
            self.counts().into_iter().for_each(|counts| counts.note_sent(bytes));
        }
    }

    // ---- receiving; changed by the port thread only

    /// Whether a receive has nothing to check: a short read means that there is no more, no error is kept, and nothing watches
    /// the socket.
    #[inline(always)]
    pub(crate) fn is_fast_path(&self) -> bool {
        !self.has(flag::RECEIVING)
    }

    pub(crate) fn short_read(&self) -> ShortRead {
        const DRAINED: u8 = ShortRead::Drained as u8;
        const UNLESS_FDS_PASSED: u8 = ShortRead::DrainedUnlessFdsPassed as u8;
        match self.flags.load(Ordering::Relaxed) & flag::SHORT_READ {
            DRAINED => ShortRead::Drained,
            UNLESS_FDS_PASSED => ShortRead::DrainedUnlessFdsPassed,
            _ => ShortRead::ProvesNothing,
        }
    }

    /// Notes at open what a short read means.
    pub(crate) fn set_short_read(&self, short_read: ShortRead) {
        self.set(flag::SHORT_READ, false);
        self.set(short_read as u8, true);
    }

    /// Keeps an error for the next receive.
    pub(crate) fn keep_late_error(&self, errno: Errno) {
        self.late_error.store(small(errno), Ordering::Relaxed);
        self.set(flag::LATE_ERROR, true);
    }

    pub(crate) fn take_late_error(&self) -> Option<Errno> {
        if !self.has(flag::LATE_ERROR) {
            return None;
        }
        self.set(flag::LATE_ERROR, false);
        errno_of(self.late_error.load(Ordering::Relaxed))
    }

    // ---- sending

    /// Whether a send has nothing to check: the stream is whole, its end is not sent, and nothing watches the socket.
    #[inline(always)]
    pub(crate) fn may_send(&self) -> bool {
        !self.has(flag::SENDING)
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
        self.set(flag::BROKEN, true);
    }

    pub(crate) fn is_stream_broken(&self) -> bool {
        self.has(flag::BROKEN)
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.has(flag::SHUT_DOWN)
    }

    /// Notes that nothing is sent after what is queued. False if that was so already.
    pub(crate) fn begin_shutdown(&self) -> bool {
        !self.set(flag::SHUT_DOWN, true)
    }

    /// The shutdown was not made.
    pub(crate) fn revoke_shutdown(&self) {
        self.set(flag::SHUT_DOWN, false);
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
        !self.set(flag::NEVER_LINGERS, never)
    }

    pub(crate) fn never_lingers(&self) -> bool {
        self.has(flag::NEVER_LINGERS)
    }

    // ---- what the descriptor is

    /// The descriptor's number, for messages.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.number.get()
    }

    /// The program gets the descriptor or its number, so it may set options from now on.
    pub(crate) fn publish(&self) {
        self.number.publish();
    }

    /// Whether the descriptor is as the library has made it, because the program has never had it.
    pub(crate) fn is_private(&self) -> bool {
        self.number.is_private()
    }

    /// Notes before the open that the descriptor is a connected stream socket.
    pub(crate) fn set_known(&self) {
        self.set(flag::KNOWN, true);
    }

    pub(crate) fn is_known(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & flag::KNOWN == flag::KNOWN
    }

    /// Notes at open whether the connect is still in progress.
    pub(crate) fn set_connecting(&self, connecting: bool) {
        self.set(flag::CONNECTING, connecting);
    }

    pub(crate) fn was_connecting(&self) -> bool {
        self.has(flag::CONNECTING)
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

fn errno_of(stored: u8) -> Option<Errno> {
    match stored {
        0 => None,
        errno => Some(Errno::from_raw_os_error(errno.into())),
    }
}

/// The numbers of errors that sockets have are below 256 on every architecture.
fn small(errno: Errno) -> u8 {
    u8::try_from(errno.raw_os_error()).unwrap_or(u8::MAX)
}
