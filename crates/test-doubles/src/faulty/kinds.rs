//! The kinds of faults, and how often they are injected.

use async_socket_linux::sys::Errno;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A transfer moves fewer bytes than it could.
    Short,
    /// `EINTR`
    Interrupted,
    /// A storm of signals: every call gets `EINTR`, up to a hundred in a row.
    Storm,
    /// `EAGAIN` although the socket is ready; a new event follows.
    Again,
    /// `ECONNRESET`: the connection is over.
    Reset,
    /// `EPIPE`, sends only: the connection is over.
    Pipe,
    /// `ETIMEDOUT`, `EHOSTUNREACH`, `ENETUNREACH`, `ENETDOWN` or `ENOTCONN`: the connection is over.
    Lost,
    /// `ENOBUFS`, sends only
    NoBuffers,
    /// `ENOMEM`: a transfer, a descriptor that is made or registered, a `poll`
    NoMemory,
    /// `EMFILE` or `ENFILE` when a descriptor is made, `ENOSPC` when one is registered
    NoDescriptors,
    /// An event of a descriptor that is not ready, or not any more.
    Spurious,
    /// An event that is returned by a later `epoll_wait` than the first that could have returned it.
    Late,
    /// An event that `epoll_wait` returns for a descriptor that was deleted during the call.
    Removed,
    /// `ECONNABORTED`, accepts only: the client's connection is over.
    Aborted,
    /// `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH` or `EHOSTUNREACH`, connects only.
    Refused,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::Short,
        Self::Interrupted,
        Self::Storm,
        Self::Again,
        Self::Reset,
        Self::Pipe,
        Self::Lost,
        Self::NoBuffers,
        Self::NoMemory,
        Self::NoDescriptors,
        Self::Spurious,
        Self::Late,
        Self::Removed,
        Self::Aborted,
        Self::Refused,
    ];

    /// The network ends the connection for good.
    pub(super) const LOST: [Errno; 5] =
        [Errno::TIMEDOUT, Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::NETDOWN, Errno::NOTCONN];
}

/// The probability of each fault, in thousandths of the calls in which it can happen.
///
/// ```
/// use test_doubles::{Fault, Faults};
///
/// let storms = Faults::none().with(Fault::Storm, 10);
/// assert_eq!((storms.of(Fault::Storm), storms.of(Fault::Short)), (10, 0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    thousandths: [u16; Fault::ALL.len()],
}

impl Faults {
    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Faults that lose nothing: every transfer must arrive whole in spite of them.
    #[must_use]
    pub fn harmless() -> Self {
        Self::none()
            .with(Fault::Short, 400)
            .with(Fault::Interrupted, 200)
            .with(Fault::Storm, 5)
            .with(Fault::Again, 200)
            .with(Fault::Spurious, 100)
            .with(Fault::Late, 100)
            .with(Fault::Removed, 200)
    }

    /// All faults: connections break, but every operation completes exactly once.
    #[must_use]
    pub fn all() -> Self {
        Self::harmless()
            .with(Fault::Reset, 20)
            .with(Fault::Pipe, 20)
            .with(Fault::Lost, 20)
            .with(Fault::NoBuffers, 20)
            .with(Fault::NoMemory, 20)
            .with(Fault::NoDescriptors, 50)
            .with(Fault::Aborted, 50)
            .with(Fault::Refused, 50)
    }

    /// The same, with another probability for one fault.
    #[must_use]
    pub fn with(mut self, fault: Fault, thousandths: u16) -> Self {
        self.thousandths[fault as usize] = thousandths;
        self
    }

    /// The probability of one fault.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u16 {
        self.thousandths[fault as usize]
    }
}
