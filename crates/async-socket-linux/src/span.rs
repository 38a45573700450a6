//! A socket's span of `tracing`, from its open to its close, if a subscriber wants it.
//!
//! Invariants:
//! * Without a subscriber an open looks at one variable, and everything else at a flag that is off.
//! * A subscriber is foreign code. It is called without a lock, and its panics end here, so they cost nothing but the log.

use crate::extras::More;
use crate::socket_core::SocketCore;
use crate::sys::SocketSyscalls;
use completion_port::log_caught;
use completion_port::memory::TryArc;
use rustix::net::SocketAddrAny;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tracing::Span;
use tracing::field::{Empty, display};

/// A span whose end a panicking subscriber does not disturb.
pub(crate) struct SocketSpan(Span);

impl SocketSpan {
    /// Writes to the log inside the span.
    pub(crate) fn log(&self, event: impl FnOnce()) {
        log_caught(|| self.0.in_scope(|| log_caught(event)));
    }

    /// Enters the span until the result is dropped.
    pub(crate) fn enter(&self) -> Entered<'_> {
        log_caught(|| {
            self.0.with_subscriber(|(id, subscriber)| subscriber.enter(id));
        });
        Entered(&self.0)
    }
}

impl Drop for SocketSpan {
    fn drop(&mut self) {
        let span = std::mem::replace(&mut self.0, Span::none());
        log_caught(|| drop(span));
    }
}

pub(crate) struct Entered<'a>(&'a Span);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        log_caught(|| {
            self.0.with_subscriber(|(id, subscriber)| subscriber.exit(id));
        });
    }
}

/// Writes to the log, inside the span if there is one.
pub(crate) fn log_inside(span: Option<&SocketSpan>, event: impl FnOnce()) {
    match span {
        Some(span) => span.log(event),
        None => log_caught(event),
    }
}

/// Runs a callback of the program, inside the socket's span if it has one.
// Codes_SRS_SOCKET_01_126
pub(crate) fn run_in_span<S>(core: &SocketCore<S>, callback: impl FnOnce()) {
    let span = core.span();
    let _entered = span.as_deref().map(SocketSpan::enter);
    callback();
}

/// Where a socket keeps its span.
#[derive(Default)]
pub(crate) struct SpanPlace {
    is_full: AtomicBool,
    span: Mutex<Option<TryArc<SocketSpan>>>,
}

impl SpanPlace {
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<TryArc<SocketSpan>>> {
        self.span.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, span: Option<TryArc<SocketSpan>>) -> Option<TryArc<SocketSpan>> {
        self.is_full.store(span.is_some(), Ordering::Relaxed);
        std::mem::replace(&mut *self.lock(), span)
    }
}

impl<S> SocketCore<S> {
    /// The span, if the socket has one. Not in a child of `fork`, where another thread may have held the lock.
    pub(crate) fn span(&self) -> Option<TryArc<SocketSpan>> {
        if self.is_watched() { self.kept_span() } else { None }
    }

    #[cold]
    fn kept_span(&self) -> Option<TryArc<SocketSpan>> {
        self.more()?.span_place().filter(|place| place.is_full())?.lock().clone()
    }

    /// Writes to the log, inside the span if there is one.
    pub(crate) fn log(&self, event: impl FnOnce()) {
        log_inside(self.span().as_deref(), event);
    }

    /// The socket is closed. Whoever still writes into its span ends it.
    // Codes_SRS_SOCKET_01_125
    pub(crate) fn end_span(&self) {
        if let Some(place) = self.more().and_then(More::span_place).filter(|place| place.is_full()) {
            let ended = place.replace(None);
            self.set_watched(false);
            drop(ended);
        }
    }

    /// Says on which port the socket lives, if it has a span.
    pub(crate) fn note_port(&self, number: Option<RawFd>) {
        if let (Some(span), Some(number)) = (self.span(), number) {
            log_caught(|| {
                span.0.record("port", number);
            });
        }
    }
}

impl<S: SocketSyscalls> SocketCore<S> {
    /// Begins the span of a socket that is being opened, if a subscriber wants it and there is memory.
    // Codes_SRS_SOCKET_01_125
    pub(crate) fn begin_span(&self, fd: BorrowedFd<'_>) {
        let descriptor = self.descriptor();
        let mut span = Span::none();
        log_caught(|| span = tracing::debug_span!("socket", descriptor, peer = Empty, port = Empty));
        if span.is_disabled() {
            return;
        }
        let span = SocketSpan(span);
        if let Some(peer) = self.sys.peer_address(fd).ok().map(Peer) {
            log_caught(|| {
                span.0.record("peer", display(peer));
            });
        }
        let Some(place) = self.make_more().and_then(More::make_span_place) else { return };
        if let Ok(span) = TryArc::try_new(span) {
            drop(place.replace(Some(span)));
            self.set_watched(true);
        }
    }
}

/// An Internet address as usual, any other by its family.
struct Peer(SocketAddrAny);

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match SocketAddr::try_from(self.0.clone()) {
            Ok(address) => address.fmt(f),
            Err(_) if self.0.address_family() == rustix::net::AddressFamily::UNIX => f.write_str("unix"),
            Err(_) => write!(f, "family {}", self.0.address_family().as_raw()),
        }
    }
}
