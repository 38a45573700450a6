//! `event_complete_callback`: what the socket does when the port dispatches one of its operations.

use crate::operation::{Failure, Queued};
use crate::socket_core::SocketCore;
use crate::sys::{Errno, SocketSyscalls};
use crate::transfer::ShortRead;
use completion_port::sys::retry_interrupted;
use completion_port::{Action, Attempt, Handler, is_port_thread};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

impl<S: SocketSyscalls> Handler for SocketCore<S> {
    type Descriptor = OwnedFd;
    type Operation = Queued<S>;

    /// Finds out what kind of socket it is.
    // Codes_SRS_SOCKET_01_010, Codes_SRS_SOCKET_01_030
    fn prepare(&self, descriptor: &OwnedFd) -> io::Result<()> {
        let fd = descriptor.as_fd();
        if let Some(kind) = retry_interrupted(|| self.sys.unsupported_kind(fd))? {
            return Err(self.refuse(kind).into());
        }
        self.set_connecting(retry_interrupted(|| self.sys.is_connecting(fd))?);
        self.set_short_read(if retry_interrupted(|| self.sys.short_read_drains(fd))? {
            ShortRead::Drained
        } else if retry_interrupted(|| self.sys.is_unix_stream(fd))? {
            ShortRead::DrainedUnlessFdsPassed
        } else {
            ShortRead::ProvesNothing
        });
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

    fn port_failed(&self) {
        self.note_event_error(Some(Errno::BADF));
    }

    /// On a port thread `close` must not wait for a peer, because all other sockets of the port would wait too. Without
    /// lingering, `close` returns at once and the kernel goes on sending.
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_023, Codes_SRS_ASYNC_SOCKET_LINUX_11_039, Codes_SRS_SOCKET_01_001, Codes_SRS_SOCKET_01_002, Codes_SRS_SOCKET_01_003
    fn release(&self, descriptor: OwnedFd) {
        let fd = descriptor.as_fd();
        if is_port_thread() && retry_interrupted(|| self.sys.lingers(fd)) == Ok(true) {
            // If the kernel refuses, nothing else can be done, because the descriptor has to be closed.
            let _ = retry_interrupted(|| self.sys.stop_lingering(fd));
        }
        self.sys.close(descriptor);
    }
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
        Action::In | Action::Out => operation.attempt(core, attempt),
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_085, Codes_SRS_ASYNC_SOCKET_LINUX_11_086
        Action::Error => operation.fail(core, Failure::Errno(core.event_error()), attempt),
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_080, Codes_SRS_ASYNC_SOCKET_LINUX_11_081
        Action::RdHup | Action::Abandoned | Action::Cancelled | Action::TimedOut => {
            operation.fail(core, Failure::Abandoned, attempt);
        }
    }
}
