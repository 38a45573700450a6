//! What the port asks of its user: how to perform an operation, and how to complete it.

use crate::attempt::Attempt;
use std::io;
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

/// What to do with the operations of one descriptor.
///
/// All methods run with no lock held that anybody waits for. A panic in one is caught and logged.
pub trait Handler: Sized + Send + Sync + 'static {
    /// What is registered: the registration keeps it until it is removed.
    type Descriptor: AsFd + Send + Sync + 'static;
    /// What waits in the queues.
    type Operation: Send + 'static;

    /// Looks at the descriptor before the port watches it.
    ///
    /// # Errors
    /// Why it is of no use; it is then not registered.
    fn prepare(&self, descriptor: &Self::Descriptor) -> io::Result<()> {
        let _ = descriptor;
        Ok(())
    }

    /// Attempts an operation without blocking, and says through `attempt` what came of it. Runs on the port's thread, never
    /// twice at once in the same direction. With [`Action::Abandoned`] it runs on the thread that removes the
    /// registration, must not touch the descriptor, and completes.
    ///
    /// An operation that is dropped here, by a panic for instance, is over, and nobody is called back.
    fn attempt(&self, operation: Self::Operation, action: Action, attempt: Attempt<'_, Self>);

    /// Whether an event that reports an error or a hang-up, and neither readable nor writable, really is one. Asked
    /// on the port's thread, once for all that wait, before they are told [`Action::Error`]; messages on a socket's error queue, for
    /// instance, are reported in the same way.
    fn is_error(&self, descriptor: &Self::Descriptor) -> bool {
        let _ = descriptor;
        true
    }

    /// The port has failed, because other code has closed its epoll instance or eventfd. Everything that waits is told
    /// [`Action::Error`] next, without a question to [`is_error`](Self::is_error), and is to be completed.
    fn port_failed(&self) {}

    /// What becomes of the descriptor after the registration's removal: it is dropped unless said.
    fn release(&self, descriptor: Self::Descriptor) {
        drop(descriptor);
    }
}

/// What can be queued as an operation `O`.
pub trait IntoOperation<O>: Sized {
    /// Becomes an operation in `room`, which is empty or has an emptied operation in it, perhaps of the right kind to be
    /// filled again. Runs inside the queue: it may allocate, but must not run foreign code.
    ///
    /// # Errors
    /// Itself, if there is no memory.
    fn put_into(self, room: &mut Option<O>) -> Result<(), Self>;
}

impl<O> IntoOperation<O> for O {
    fn put_into(self, room: &mut Option<O>) -> Result<(), Self> {
        *room = Some(self);
        Ok(())
    }
}
