//! `event_complete_callback`: what the socket does when the port dispatches one of its operations.

use crate::deadline::{as_usual, ends_started, reason_of_timer, timer_fired};
use crate::descriptor::unless_caught;
use crate::operation::{Queued, reason_of};
use crate::socket_core::{SocketCore, unsupported};
use crate::sys::{Errno, SocketSyscalls};
use crate::transfer::{Fault, ShortRead};
use async_socket_api::EndReason;
use completion_port::sys::retry_interrupted;
use completion_port::{Action, Attempt, Handler, TimerFired, is_port_thread};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

impl<S: SocketSyscalls> Handler for SocketCore<S> {
    type Descriptor = OwnedFd;
    type Operation = Queued<S>;

    /// Finds out what kind of socket it is.
    fn prepare(&self, descriptor: &OwnedFd) -> io::Result<()> {
        let fd = descriptor.as_fd();
        // Codes_SRS_SOCKET_01_129
        if self.is_private() {
            self.begin_span(fd);
            return Ok(());
        }
        // Codes_SRS_SOCKET_01_068
        if !self.is_known() {
            // Codes_SRS_SOCKET_01_010
            if let Some(kind) = retry_interrupted(|| self.sys.unsupported_kind(fd))? {
                return Err(unsupported(kind));
            }
            self.set_connecting(retry_interrupted(|| self.sys.is_connecting(fd))?);
        }
        // Codes_SRS_SOCKET_01_030
        self.set_short_read(if retry_interrupted(|| self.sys.short_read_drains(fd))? {
            ShortRead::Drained
        } else if retry_interrupted(|| self.sys.is_unix_stream(fd))? {
            ShortRead::DrainedUnlessFdsPassed
        } else {
            ShortRead::ProvesNothing
        });
        self.begin_span(fd);
        Ok(())
    }

    #[inline(always)]
    fn attempt(&self, operation: Queued<S>, action: Action, attempt: Attempt<'_, Self>) {
        event_complete_callback(self, operation, action, attempt);
    }

    /// Notifications on the error queue (`MSG_ZEROCOPY`, time stamps) make the kernel report an error too. They are drained
    /// here, unless the program has done so before.
    fn is_error(&self, descriptor: &OwnedFd) -> bool {
        let fd = descriptor.as_fd();
        let errno = retry_interrupted(|| self.sys.take_error(fd)).unwrap_or_else(Some);
        self.note_event_error(errno);
        if errno.is_some() {
            return true;
        }
        while retry_interrupted(|| self.sys.receive_error_message(fd)).is_ok() {}
        retry_interrupted(|| self.sys.is_broken(fd)).unwrap_or(true)
    }

    // Codes_SRS_SOCKET_01_091
    fn can_cancel(&self, operation: &Queued<S>) -> bool {
        !operation.has_started() || ends_started()
    }

    /// Nothing may be sent behind a part of a payload.
    // Codes_SRS_SOCKET_01_102
    fn times_out(&self, operation: &Queued<S>) {
        if operation.has_started() {
            self.break_stream();
        }
    }

    fn timer_fired(&self, timer: &TimerFired<'_, Self>) -> Option<Instant> {
        timer_fired(self, timer)
    }

    fn port_failed(&self) {
        self.note_event_error(Some(Errno::BADF));
    }

    fn release(&self, descriptor: OwnedFd) {
        self.end_span();
        let Some(descriptor) = unless_caught(descriptor) else { return };
        if let Some(more) = self.more() {
            // Codes_SRS_SOCKET_01_074
            if let Some(kept) = more.kept() {
                return kept.put(descriptor);
            }
            let mut lent = more.lent();
            // Codes_SRS_SOCKET_01_071
            if lent.borrowers > 0 {
                lent.left = Some(descriptor);
                return;
            }
        }
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_023, Codes_SRS_ASYNC_SOCKET_LINUX_11_039
        close(self, descriptor);
    }
}

/// Closes the descriptor. On a port thread `close` must not wait for a peer, because all other sockets of the port would wait
/// too. Neither must a close that promises not to wait. Without lingering, `close` returns at once and the kernel goes on
/// sending.
pub(crate) fn close<S: SocketSyscalls>(core: &SocketCore<S>, descriptor: OwnedFd) {
    let fd = descriptor.as_fd();
    // Codes_SRS_SOCKET_01_001, Codes_SRS_SOCKET_01_097
    let must_not_linger = is_port_thread() || core.never_lingers();
    // Codes_SRS_SOCKET_01_130
    let may_linger = !core.is_private();
    // Codes_SRS_SOCKET_01_001, Codes_SRS_SOCKET_01_097
    if may_linger && must_not_linger && retry_interrupted(|| core.sys.lingers(fd)) == Ok(true) {
        // If the kernel refuses, nothing else can be done, because the descriptor has to be closed.
        let _ = retry_interrupted(|| core.sys.stop_lingering(fd));
    }
    // Codes_SRS_SOCKET_01_002, Codes_SRS_SOCKET_01_003
    core.sys.close(descriptor);
}

/// Decides an operation's fate.
#[inline(always)]
fn event_complete_callback<S: SocketSyscalls>(
    core: &SocketCore<S>,
    operation: Queued<S>,
    action: Action,
    attempt: Attempt<'_, SocketCore<S>>,
) {
    match action {
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_082, Codes_SRS_ASYNC_SOCKET_LINUX_11_094
        Action::In | Action::Out => operation.attempt(core, attempt),
        other => end_untried(core, operation, other, attempt),
    }
}

/// A separate function, because its code would keep the compiler from inlining the usual path.
#[cold]
#[inline(never)]
fn end_untried<S: SocketSyscalls>(
    core: &SocketCore<S>,
    operation: Queued<S>,
    action: Action,
    attempt: Attempt<'_, SocketCore<S>>,
) {
    let reason = reason_of_action(core, action);
    as_usual(|| operation.fail(core, reason, attempt));
}

/// Why an operation ends that is not tried.
fn reason_of_action<S>(core: &SocketCore<S>, action: Action) -> EndReason {
    match action {
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_080
        Action::RdHup => EndReason::PeerFinished,
        // Codes_SRS_SOCKET_01_090
        Action::Cancelled => EndReason::Cancelled,
        Action::TimedOut => reason_of_timer(),
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_080, Codes_SRS_ASYNC_SOCKET_LINUX_11_081, Codes_SRS_SOCKET_01_060
        Action::Abandoned => EndReason::Closed,
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_085, Codes_SRS_ASYNC_SOCKET_LINUX_11_086
        Action::Error | Action::In | Action::Out => {
            core.event_error().map_or(EndReason::HungUp, |errno| reason_of(Fault::Os(errno)))
        }
    }
}
