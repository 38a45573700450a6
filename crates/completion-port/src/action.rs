//! The types that the port, its handlers and its users share.

/// The two directions of a descriptor. Each has a queue of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Operations that wait until the descriptor is readable.
    In,
    /// Operations that wait until the descriptor is writable.
    Out,
}

impl Direction {
    pub(crate) const BOTH: [Self; 2] = [Self::In, Self::Out];
}

/// Why an operation is attempted: the specification's `COMPLETION_PORT_EPOLL_ACTION`.
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
    /// The kernel reports a hang-up or an error, but neither readable nor writable.
    Error = 5,
    /// [`Registration::cancel`](crate::Registration::cancel) has taken the operation out of its queue: complete without
    /// touching the descriptor.
    Cancelled = 6,
    /// The handler has ended the operation in [`Handler::timer_fired`](crate::Handler::timer_fired): complete without
    /// touching the descriptor.
    TimedOut = 7,
}

/// A value that can be queued as an operation `O`.
pub trait IntoOperation<O>: Sized {
    /// Becomes an operation in `slot`. The slot is empty or has a recycled operation in it, perhaps of the right kind to be
    /// filled again. Runs inside the queue: it may allocate, but must not run foreign code.
    ///
    /// # Errors
    /// Itself, if there is no memory.
    fn store_in(self, slot: &mut Option<O>) -> Result<(), Self>;
}

impl<O> IntoOperation<O> for O {
    fn store_in(self, slot: &mut Option<O>) -> Result<(), Self> {
        *slot = Some(self);
        Ok(())
    }
}
