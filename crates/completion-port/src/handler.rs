//! What the port asks of its user: how to perform an operation, and how to complete it.

use std::os::fd::AsFd;

/// The two directions of a descriptor. Each has a queue of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Operations that wait until the descriptor is readable.
    In,
    /// Operations that wait until the descriptor is writable.
    Out,
}

/// Why an operation's turn has come: the specification's `COMPLETION_PORT_EPOLL_ACTION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Action {
    /// The peer will send no more, and nothing is left to read. Only for [`Direction::In`].
    RdHup = 1,
    /// The descriptor is readable, or a read tells what is wrong.
    In = 2,
    /// The descriptor is writable, or a write tells what is wrong.
    Out = 3,
    /// The registration is being removed: complete without touching the descriptor.
    Abandoned = 4,
    /// The kernel reports a hang-up or an error and neither readable nor writable.
    Error = 5,
}

/// What became of an attempt at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The kernel said `EAGAIN` (or, after [`Action::Error`], that there is no error after all).
    /// The operation stays at the front of its queue until the next event.
    Pending,
    /// A part is done and the rest may follow at once. The operation stays at the front of its
    /// queue; the attempt counts towards the bound after which other descriptors have their turn.
    Partial,
    /// The operation is done; [`Handler::complete`] is next.
    Complete {
        /// The attempt took everything the kernel had, so the next one would only get `EAGAIN`:
        /// for instance a short read from a TCP socket. The next operation then waits for a new
        /// event. Say `false` if in doubt; that costs one system call.
        drained: bool,
    },
}

/// What to do with the operations of one descriptor.
///
/// Both methods run with no lock held. A panic in either is caught and logged; the operation
/// counts as done.
pub trait Handler: Send + Sync + 'static {
    /// What is registered: the registration keeps it until it is removed.
    type Descriptor: AsFd + Send + Sync + 'static;
    /// What waits in the queues.
    type Operation: Send + 'static;

    /// Attempts an operation without blocking and without call-backs. Runs on the port's thread,
    /// never twice at once in the same direction. With [`Action::Abandoned`] it runs on the thread that
    /// removes the registration, and its answer is ignored.
    fn perform(&self, descriptor: &Self::Descriptor, operation: &mut Self::Operation, action: Action) -> Progress;

    /// Whether an event that reports an error or a hang-up, and neither readable nor writable, really is one. Asked
    /// on the port's thread, once for all that wait, before they are told [`Action::Error`]; messages on a socket's error queue, for
    /// instance, are reported in the same way.
    fn is_error(&self, descriptor: &Self::Descriptor) -> bool {
        let _ = descriptor;
        true
    }

    /// Calls back: exactly once for each operation. May do anything, also remove the registration
    /// and drop the port.
    fn complete(&self, operation: Self::Operation);
}
