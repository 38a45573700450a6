//! The seam to the kernel: every system call of a listener and of a connect, and nothing else.
//!
//! [`Kernel`] makes the real calls. Tests replace them through [`NetSyscalls`]. An implementation reports `EINTR` as the
//! kernel does; the callers know what it means for each call.

use crate::address::{Address, Family};
use crate::options::SocketOption;
use crate::raw::peer_credentials;
use async_socket_linux::UnsupportedKind;
use rustix::net::sockopt::{
    self, set_socket_keepalive, set_socket_recv_buffer_size, set_socket_reuseaddr, set_socket_reuseport,
    set_socket_send_buffer_size, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl, set_tcp_nodelay,
    set_tcp_user_timeout, socket_acceptconn, socket_domain, socket_error, socket_type,
};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, acceptfrom_with, getsockname, socket_with};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

pub use crate::raw::Credentials;
pub use rustix::io::Errno;

/// The flags of every new descriptor: non-blocking, and closed by `exec`.
// Codes_SRS_ASYNC_SOCKET_NET_01_003, Codes_SRS_ASYNC_SOCKET_NET_01_039
fn flags_of_new_descriptors() -> SocketFlags {
    SocketFlags::NONBLOCK | SocketFlags::CLOEXEC
}

/// What a descriptor that shall be listened on is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// A stream socket of this family that listens.
    Listening(Family),
    /// A stream socket on which `listen(2)` was not called.
    NotListening,
    /// A listening stream socket of another family, such as vsock.
    OtherFamily,
    /// A socket of another type.
    Unsupported(UnsupportedKind),
}

/// The system calls of listeners and connects.
///
/// Errors are those of the man page of the call that each method names. A clone makes the same calls.
#[allow(clippy::missing_errors_doc, reason = "said once, for the trait")]
pub trait NetSyscalls: Clone + Send + Sync + 'static {
    /// `getsockopt(SO_TYPE)`, `SO_ACCEPTCONN` and `SO_DOMAIN`.
    fn listener_kind(&self, fd: BorrowedFd<'_>) -> Result<ListenerKind, Errno>;
    /// `ioctl(FIONBIO)`: makes the calls on a descriptor, and on its duplicates, return at once.
    fn set_nonblocking(&self, fd: BorrowedFd<'_>) -> Result<(), Errno>;
    /// `accept4(2)`: the next connection, non-blocking and close-on-exec, and the address of its peer.
    fn accept(&self, fd: BorrowedFd<'_>) -> Result<(OwnedFd, Address), Errno>;
    /// `socket(2)`: a stream socket, non-blocking and close-on-exec.
    fn socket(&self, family: Family) -> Result<OwnedFd, Errno>;
    /// `bind(2)`
    fn bind(&self, fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno>;
    /// `listen(2)`
    fn listen(&self, fd: BorrowedFd<'_>, backlog: i32) -> Result<(), Errno>;
    /// `connect(2)`
    fn connect(&self, fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno>;
    /// `connect(2)` once more, for a connect that is in progress: `EALREADY` if it still is, and otherwise how it went.
    fn connect_again(&self, fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno>;
    /// `getsockopt(SO_ERROR)`: takes the socket's pending error, if it has one.
    fn take_error(&self, fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno>;
    /// `setsockopt(2)`
    fn set_option(&self, fd: BorrowedFd<'_>, option: SocketOption) -> Result<(), Errno>;
    /// `getsockname(2)`
    fn local_address(&self, fd: BorrowedFd<'_>) -> Result<Address, Errno>;
    /// `getsockopt(SO_PEERCRED)`
    fn peer_credentials(&self, fd: BorrowedFd<'_>) -> Result<Credentials, Errno>;
    /// `close(2)`
    fn close(&self, fd: OwnedFd);
}

/// The real system calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kernel;

impl NetSyscalls for Kernel {
    fn listener_kind(&self, fd: BorrowedFd<'_>) -> Result<ListenerKind, Errno> {
        let unsupported = match socket_type(fd)? {
            SocketType::STREAM if !socket_acceptconn(fd)? => return Ok(ListenerKind::NotListening),
            SocketType::STREAM => {
                return Ok(match socket_domain(fd)? {
                    AddressFamily::INET => ListenerKind::Listening(Family::V4),
                    AddressFamily::INET6 => ListenerKind::Listening(Family::V6),
                    AddressFamily::UNIX => ListenerKind::Listening(Family::Unix),
                    _ => ListenerKind::OtherFamily,
                });
            }
            SocketType::DGRAM => UnsupportedKind::Datagram,
            SocketType::SEQPACKET => UnsupportedKind::SequencedPackets,
            SocketType::RAW => UnsupportedKind::Raw,
            SocketType::RDM => UnsupportedKind::ReliableDatagram,
            _ => UnsupportedKind::Other,
        };
        Ok(ListenerKind::Unsupported(unsupported))
    }

    fn set_nonblocking(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        rustix::io::ioctl_fionbio(fd, true)
    }

    fn accept(&self, fd: BorrowedFd<'_>) -> Result<(OwnedFd, Address), Errno> {
        let (descriptor, peer) = acceptfrom_with(fd, flags_of_new_descriptors())?;
        Ok((descriptor, peer.and_then(Address::of_kernel).unwrap_or_else(Address::unnamed)))
    }

    fn socket(&self, family: Family) -> Result<OwnedFd, Errno> {
        let family = match family {
            Family::V4 => AddressFamily::INET,
            Family::V6 => AddressFamily::INET6,
            Family::Unix => AddressFamily::UNIX,
        };
        socket_with(family, SocketType::STREAM, flags_of_new_descriptors(), None)
    }

    fn bind(&self, fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno> {
        match address {
            Address::Inet(address) => net::bind(fd, address),
            Address::Unix(address) => net::bind(fd, &address.to_kernel()?),
        }
    }

    fn listen(&self, fd: BorrowedFd<'_>, backlog: i32) -> Result<(), Errno> {
        net::listen(fd, backlog)
    }

    fn connect(&self, fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno> {
        match address {
            Address::Inet(address) => net::connect(fd, address),
            Address::Unix(address) => net::connect(fd, &address.to_kernel()?),
        }
    }

    fn connect_again(&self, fd: BorrowedFd<'_>, address: &Address) -> Result<(), Errno> {
        self.connect(fd, address)
    }

    fn take_error(&self, fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        Ok(socket_error(fd)?.err())
    }

    fn set_option(&self, fd: BorrowedFd<'_>, option: SocketOption) -> Result<(), Errno> {
        match option {
            SocketOption::NoDelay(on) => set_tcp_nodelay(fd, on),
            SocketOption::KeepAlive(on) => set_socket_keepalive(fd, on),
            SocketOption::KeepAliveIdle(idle) => set_tcp_keepidle(fd, idle),
            SocketOption::KeepAliveInterval(interval) => set_tcp_keepintvl(fd, interval),
            SocketOption::KeepAliveProbes(probes) => set_tcp_keepcnt(fd, probes),
            SocketOption::UserTimeout(timeout) => set_tcp_user_timeout(fd, milliseconds(timeout)),
            SocketOption::SendBuffer(bytes) => set_socket_send_buffer_size(fd, bytes),
            SocketOption::ReceiveBuffer(bytes) => set_socket_recv_buffer_size(fd, bytes),
            SocketOption::ReuseAddress(on) => set_socket_reuseaddr(fd, on),
            SocketOption::ReusePort(on) => set_socket_reuseport(fd, on),
            SocketOption::V6Only(on) => sockopt::set_ipv6_v6only(fd, on),
        }
    }

    fn local_address(&self, fd: BorrowedFd<'_>) -> Result<Address, Errno> {
        Address::of_kernel(getsockname(fd)?).ok_or(Errno::AFNOSUPPORT)
    }

    fn peer_credentials(&self, fd: BorrowedFd<'_>) -> Result<Credentials, Errno> {
        peer_credentials(fd)
    }

    fn close(&self, fd: OwnedFd) {
        completion_port::process::close(fd);
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// The error of a call for which there is no memory.
pub(crate) fn no_memory() -> io::Error {
    io::ErrorKind::OutOfMemory.into()
}
