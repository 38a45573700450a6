//! What a registration goes through.

/// The phases of a registration, in this order. If registering fails, it goes back to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The descriptor is not watched yet.
    Unregistered,
    /// [`Registration::register`](crate::Registration::register) is at work.
    Registering,
    /// Operations are accepted.
    Registered,
    /// [`Registration::remove`](crate::Registration::remove) is at work.
    Removing,
    /// The descriptor has been released.
    Removed,
}

/// How far a removal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The descriptor is to be deleted from the port.
    Detach,
    /// A thread is deleting it.
    Detaching,
    /// Other threads may have a lane locked or be in a callback.
    Quiesce,
    /// What waits is abandoned.
    Abandon,
    /// A thread releases the descriptor.
    Release,
}
