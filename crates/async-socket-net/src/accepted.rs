//! A connection that a listener has accepted.

use crate::address::Address;
use crate::opening::open_socket;
use crate::sys::{Credentials, Kernel, NetSyscalls};
use async_socket_linux::{AsyncSocketLinux, SetUpError};
use completion_port::{CompletionPort, Port};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A new connection: a descriptor, non-blocking and close-on-exec, with the listener's options set. Dropping it closes the
/// connection.
pub struct Accepted<P: Port = CompletionPort, N: NetSyscalls = Kernel> {
    /// There until it is taken.
    descriptor: Option<OwnedFd>,
    peer: Address,
    port: P,
    sys: N,
}

impl<P: Port, N: NetSyscalls> Accepted<P, N> {
    pub(crate) fn new(descriptor: OwnedFd, peer: Address, port: P, sys: N) -> Self {
        Self { descriptor: Some(descriptor), peer, port, sys }
    }

    /// The address of the client. A client of a Unix socket usually has no name.
    #[must_use]
    pub fn peer(&self) -> &Address {
        &self.peer
    }

    /// The process, user and group of a Unix client, as they were when it connected.
    ///
    /// # Errors
    /// Those of `getsockopt(SO_PEERCRED)`. `ENOPROTOOPT` if the client is not a Unix client.
    pub fn credentials(&self) -> io::Result<Credentials> {
        // Codes_SRS_ASYNC_SOCKET_NET_01_007
        if self.peer.as_unix().is_none() {
            return Err(crate::sys::Errno::NOPROTOOPT.into());
        }
        Ok(self.sys.peer_credentials(self.as_fd())?)
    }

    /// An open socket on the next port of the listener's engine, or on the listener's own port if it was made for one.
    ///
    /// # Errors
    /// [`SetUpError`]; the connection is closed then.
    pub fn open(mut self) -> Result<AsyncSocketLinux<P>, SetUpError> {
        // Codes_SRS_ASYNC_SOCKET_NET_01_004
        let Some(descriptor) = self.descriptor.take() else { unreachable!("only the end of a value takes it") };
        open_socket(self.port.clone(), descriptor)
    }

    /// The descriptor. It is the caller's now.
    #[must_use]
    pub fn into_descriptor(mut self) -> OwnedFd {
        let Some(descriptor) = self.descriptor.take() else { unreachable!("only the end of a value takes it") };
        descriptor
    }
}

impl<P: Port, N: NetSyscalls> AsFd for Accepted<P, N> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let Some(descriptor) = &self.descriptor else { unreachable!("only the end of a value takes it") };
        descriptor.as_fd()
    }
}

impl<P: Port, N: NetSyscalls> From<Accepted<P, N>> for OwnedFd {
    fn from(accepted: Accepted<P, N>) -> Self {
        accepted.into_descriptor()
    }
}

impl<P: Port, N: NetSyscalls> Drop for Accepted<P, N> {
    fn drop(&mut self) {
        if let Some(descriptor) = self.descriptor.take() {
            self.sys.close(descriptor);
        }
    }
}

impl<P: Port, N: NetSyscalls> fmt::Debug for Accepted<P, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted")
            .field("descriptor", &self.descriptor)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
