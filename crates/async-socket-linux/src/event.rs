//! `event_complete_callback`: what happens when an operation's turn has come.

use crate::operation::{Ending, Operation, Queued};
use crate::sys::{Errno, SocketSyscalls, retry_interrupted};
use completion_port::{Action, Handler, Progress};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// What the operations of one socket share.
pub(crate) struct Core<S> {
    pub(crate) sys: S,
    short_read_drains: AtomicBool,
    stream_broken: AtomicBool,
}

impl<S: SocketSyscalls> Core<S> {
    pub(crate) fn new(sys: S) -> Self {
        Self { sys, short_read_drains: AtomicBool::new(false), stream_broken: AtomicBool::new(false) }
    }

    /// Finds out what kind of socket it is.
    pub(crate) fn learn(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let drains = retry_interrupted(|| self.sys.short_read_drains(fd))?;
        self.short_read_drains.store(drains, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn short_read_drains(&self) -> bool {
        self.short_read_drains.load(Ordering::Relaxed)
    }

    /// Notes a failure: after a part of a payload nothing may follow, or the peer would see a gap.
    pub(crate) fn send_failed(&self, bytes_sent: u32) {
        if bytes_sent > 0 {
            self.stream_broken.store(true, Ordering::Relaxed);
        }
    }

    /// Read and written by whoever works on the sending direction, so never by two at once.
    pub(crate) fn is_stream_broken(&self) -> bool {
        self.stream_broken.load(Ordering::Relaxed)
    }

    /// Takes notifications (`MSG_ZEROCOPY`, time stamps) off the error queue, which make the kernel report an
    /// error without there being one. Whether that was all.
    fn was_only_notifications(&self, fd: BorrowedFd<'_>) -> bool {
        let mut taken = 0;
        while retry_interrupted(|| self.sys.receive_error_message(fd)).is_ok() {
            taken += 1;
        }
        tracing::trace!(taken, "error queue drained");
        taken > 0
    }
}

impl<S: SocketSyscalls> Handler for Core<S> {
    type Descriptor = OwnedFd;
    type Operation = Queued<S>;

    fn perform(&self, descriptor: &OwnedFd, operation: &mut Queued<S>, action: Action) -> Progress {
        event_complete_callback(self, descriptor.as_fd(), operation.operation(), action)
    }

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_084, Codes_SRS_ASYNC_SOCKET_LINUX_11_087
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_093, Codes_SRS_ASYNC_SOCKET_LINUX_11_100
    fn complete(&self, mut operation: Queued<S>) {
        tracing::trace!("completed");
        operation.operation().complete();
    }
}

/// Decides an operation's fate; the port calls it back and frees it unless the answer is
/// [`Progress::Pending`] or [`Progress::Partial`].
fn event_complete_callback<S: SocketSyscalls>(
    core: &Core<S>,
    fd: BorrowedFd<'_>,
    operation: &mut dyn Operation<S>,
    action: Action,
) -> Progress {
    match action {
        Action::In | Action::Out => return operation.attempt(core, fd),
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_080, Codes_SRS_ASYNC_SOCKET_LINUX_11_081
        Action::RdHup | Action::Abandoned => operation.end(Ending::Abandoned),
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_085, Codes_SRS_ASYNC_SOCKET_LINUX_11_086
        Action::Error => {
            let errno = retry_interrupted(|| core.sys.take_error(fd)).unwrap_or_else(Some);
            if errno.is_none() && core.was_only_notifications(fd) {
                return Progress::Pending;
            }
            operation.end(Ending::Error(errno));
        }
    }
    Progress::Complete { drained: false }
}
