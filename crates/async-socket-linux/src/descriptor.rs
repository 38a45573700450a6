//! The descriptor in the hands of the program: for a moment, or for good.
//!
//! Invariant: while a closure has the descriptor, it is not closed. A close meanwhile leaves it to the last of these
//! closures.
#![allow(
    unsafe_code,
    reason = "the registration has the descriptor, lends it only to operations, and releases it elsewhere"
)]

use crate::event::close;
use crate::extras::{Kept, More};
use crate::socket::AsyncSocketLinux;
use crate::socket_core::SocketCore;
use crate::sys::SocketSyscalls;
use async_socket_api::Refused;
use completion_port::{Direction, Phase, Port};
use rustix::net::SocketAddrAny;
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use thiserror::Error;

/// Why a descriptor is not given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IntoFdError {
    /// Operations wait. Cancel them, or wait for them.
    #[error("{receives} receives and {sends} sends wait")]
    OperationsWait {
        /// The number of receives.
        receives: usize,
        /// The number of sends, and of a shutdown that waits.
        sends: usize,
    },
    /// The socket was never opened. [`into_fd`](AsyncSocketLinux::into_fd) gives the descriptor back.
    #[error("the socket was never opened")]
    NotOpen,
    /// A closure of [`with_descriptor`](AsyncSocketLinux::with_descriptor) has the descriptor at this moment.
    #[error("a closure has the descriptor")]
    DescriptorLent,
    /// The socket was closed, and its descriptor with it, or is being closed.
    #[error("the socket was closed, its descriptor is gone")]
    DescriptorClosed,
    /// There is no memory for the way back.
    #[error("no memory to give the descriptor back")]
    OutOfMemory,
}

impl<P: Port, S: SocketSyscalls> AsyncSocketLinux<P, S> {
    /// Lends the descriptor to a closure, for instance to read or set an option with `socket2::SockRef` or `rustix`, beside
    /// the operations that run. `None` if the socket is not open, or if there is no memory.
    ///
    /// A close meanwhile does not wait for the closure. The descriptor is then closed when the closure returns, on its
    /// thread, and the peer learns of the close only then. The closure may call everything on the socket.
    ///
    /// Do not send or receive on the descriptor, nor shut it down or make it block: the socket would not know. The first call
    /// on a socket allocates about a hundred bytes, which stay. Options that are set before the open cost none.
    ///
    /// ```
    /// use async_socket_linux::AsyncSocketLinux;
    /// use socket2::SockRef;
    /// use std::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let socket = AsyncSocketLinux::open(None, TcpStream::connect(listener.local_addr()?)?)?;
    /// let set = socket.with_descriptor(|descriptor| SockRef::from(&descriptor).set_tcp_nodelay(true));
    /// set.expect("it is open")?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    // Codes_SRS_SOCKET_01_070
    pub fn with_descriptor<T>(&self, lend: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        // Codes_SRS_SOCKET_01_130
        self.registration.handler().publish();
        self.with_private_descriptor(lend)
    }

    /// The same for the library's own closures, which set no options.
    fn with_private_descriptor<T>(&self, lend: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        let core = self.registration.handler();
        let is_open = || self.registration.phase() == Phase::Registered;
        // In a child of `fork` this is false, and no lock is touched.
        if !is_open() {
            return None;
        }
        // Counted before the phase is looked at again, so that a close sees the borrower, or the borrower the close.
        let _borrower = Borrower::new(core)?;
        if !is_open() {
            return None;
        }
        // SAFETY: the descriptor was open after the borrower was counted, and is not closed while one is counted.
        let descriptor = unsafe { BorrowedFd::borrow_raw(core.descriptor()) };
        Some(lend(descriptor))
    }

    /// The socket's own address (`getsockname(2)`), if it is an Internet address.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the socket is not open,
    /// [`Unsupported`](io::ErrorKind::Unsupported) for another kind of address, and what the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address(S::local_address)
    }

    /// The peer's address (`getpeername(2)`), if it is an Internet address.
    ///
    /// # Errors
    /// Those of [`local_addr`](Self::local_addr).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.address(S::peer_address)
    }

    fn address(
        &self,
        ask: impl FnOnce(&S, BorrowedFd<'_>) -> Result<SocketAddrAny, crate::sys::Errno>,
    ) -> io::Result<SocketAddr> {
        let answer = self.with_private_descriptor(|fd| ask(&self.registration.handler().sys, fd));
        // Codes_SRS_SOCKET_01_072
        let Some(address) = answer else { return Err(io::ErrorKind::NotConnected.into()) };
        SocketAddr::try_from(address?).map_err(|_| io::ErrorKind::Unsupported.into())
    }

    /// Ends the socket and gives its descriptor back, as it is: still connected, still non-blocking. Like the drop, it
    /// first waits for callbacks of the socket on other threads. A socket that is not open needs no memory for that.
    ///
    /// Bytes that have arrived and were not received are still in the kernel.
    ///
    /// # Errors
    /// [`IntoFdError`] and the socket, which is unchanged.
    // Codes_SRS_SOCKET_01_074
    pub fn into_fd(self) -> Result<OwnedFd, Refused<Self, IntoFdError>> {
        if self.registration.phase() != Phase::Unregistered {
            // Codes_SRS_SOCKET_01_075
            return self.take_fd().map_err(|error| Refused { error, returned: self });
        }
        // Only the drop releases it, on this thread.
        let caught = Caught::new(self.name());
        // Codes_SRS_SOCKET_01_127
        drop(self);
        Ok(caught.take().unwrap_or_else(|| unreachable!("a descriptor that was never registered is released")))
    }

    /// [`into_fd`](Self::into_fd) of an open socket, for a program that shares the socket. It is closed afterwards. Operations
    /// that another thread begins meanwhile are abandoned.
    ///
    /// # Errors
    /// [`IntoFdError`]; nothing has changed then.
    // Codes_SRS_SOCKET_01_128
    pub fn take_fd(&self) -> Result<OwnedFd, IntoFdError> {
        // In a child of `fork` it is `Removed`, and no lock is touched.
        match self.registration.phase() {
            Phase::Registered => {}
            Phase::Unregistered | Phase::Registering => return Err(IntoFdError::NotOpen),
            Phase::Removing | Phase::Removed => return Err(IntoFdError::DescriptorClosed),
        }
        let core = self.registration.handler();
        let queued = |direction| self.registration.queued(direction);
        let (receives, sends) = (queued(Direction::In), queued(Direction::Out));
        if receives + sends > 0 {
            return Err(IntoFdError::OperationsWait { receives, sends });
        }
        let more = core.make_more().ok_or(IntoFdError::OutOfMemory)?;
        let kept = Kept::try_new().ok_or(IntoFdError::OutOfMemory)?;
        // Under the lock that counts the closures, so that none begins that would outlive the socket's ownership.
        let mut lent = more.lent();
        if lent.borrowers > 0 {
            return Err(IntoFdError::DescriptorLent);
        }
        if lent.is_given_back {
            return Err(IntoFdError::DescriptorClosed);
        }
        if !more.keep_descriptor_in(kept.clone()) {
            return Err(IntoFdError::OutOfMemory);
        }
        lent.is_given_back = true;
        drop(lent);
        self.registration.remove_and_wait();
        // There is none if the socket is used up inside one of its own attempts, or another thread has closed it meanwhile.
        kept.take().ok_or(IntoFdError::DescriptorClosed)
    }
}

thread_local! {
    /// The descriptor that the next release on this thread leaves to `into_fd`, instead of closing it. See [`Caught`].
    static CATCHES: Cell<Catches> = const { Cell::new(Catches::Nothing) };
}

#[derive(Clone, Copy)]
enum Catches {
    Nothing,
    /// It has not been released yet.
    Number(RawFd),
    /// It has been released, and belongs to the [`Caught`].
    Released(RawFd),
}

/// A descriptor that is about to be released on this thread. Needs no memory.
struct Caught(());

impl Caught {
    fn new(number: RawFd) -> Self {
        CATCHES.set(Catches::Number(number));
        Self(())
    }

    fn take(&self) -> Option<OwnedFd> {
        match CATCHES.replace(Catches::Nothing) {
            // SAFETY: the release has given it up.
            Catches::Released(number) => Some(unsafe { OwnedFd::from_raw_fd(number) }),
            _ => None,
        }
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Leaves a released descriptor to `into_fd`, if that waits for it. Otherwise gives it back.
pub(crate) fn unless_caught(descriptor: OwnedFd) -> Option<OwnedFd> {
    match CATCHES.get() {
        Catches::Number(number) if number == descriptor.as_raw_fd() => {
            CATCHES.set(Catches::Released(descriptor.into_raw_fd()));
            None
        }
        _ => Some(descriptor),
    }
}

/// A closure that has the descriptor.
struct Borrower<'a, S: SocketSyscalls> {
    core: &'a SocketCore<S>,
    more: &'a More,
}

impl<'a, S: SocketSyscalls> Borrower<'a, S> {
    /// `None` if there is no memory, or if the program takes the descriptor back at this moment.
    fn new(core: &'a SocketCore<S>) -> Option<Self> {
        let more = core.make_more()?;
        let mut lent = more.lent();
        if lent.is_given_back {
            return None;
        }
        lent.borrowers += 1;
        drop(lent);
        Some(Self { core, more })
    }
}

impl<S: SocketSyscalls> Drop for Borrower<'_, S> {
    fn drop(&mut self) {
        let mut lent = self.more.lent();
        lent.borrowers -= 1;
        // Codes_SRS_SOCKET_01_071
        let left = if lent.borrowers == 0 { lent.left.take() } else { None };
        drop(lent);
        if let Some(descriptor) = left {
            close(self.core, descriptor);
        }
    }
}
