//! The seam to the kernel: every system call on a socket, and nothing else.
//!
//! [`Kernel`] makes the real calls. Tests replace them through [`SocketSyscalls`], by scripted or faulty ones. An
//! implementation reports `EINTR` as the kernel does, and the socket makes the call again.

use crate::upper_layer::has_upper_layer;
use async_socket_api::UnsupportedKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{
    set_socket_linger, socket_acceptconn, socket_domain, socket_error, socket_linger, socket_protocol, socket_type,
};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, ReturnFlags, SendAncillaryBuffer, Shutdown, SocketType, getpeername,
    getsockname, ipproto,
};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};

pub use rustix::io::Errno;
pub use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};

/// The flags of every send: no `SIGPIPE`, and no blocking, whatever mode the descriptor is in.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_052
pub const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// The flags of every receive: no blocking, whatever mode the descriptor is in.
pub const RECEIVE_FLAGS: RecvFlags = RecvFlags::DONTWAIT;

/// A transfer of this many bytes or more says nothing about what is left, because Linux may have cut it short.
///
/// Linux moves at most `i32::MAX` bytes in one call, rounded down to whole pages (`MAX_RW_COUNT`, see `read(2)`). This is
/// that limit for pages of 1 MiB, the largest that any architecture has.
// Codes_SRS_SOCKET_01_032
pub const MAX_BYTES_PER_CALL: usize = 0x7ff0_0000;

/// The most buffers that one `sendmsg` or `recvmsg` takes (`IOV_MAX`, see `readv(2)`).
pub const MAX_BUFFERS_PER_CALL: usize = 1024;

/// The system calls of a socket.
///
/// Errors are those of the man page of the call that each method names.
#[allow(clippy::missing_errors_doc, reason = "said once, for the trait")]
pub trait SocketSyscalls: Send + Sync + 'static {
    /// `getsockopt(SO_TYPE)` and `SO_ACCEPTCONN`: why the socket cannot be opened, if it is no stream. By default every
    /// socket can be opened.
    fn unsupported_kind(&self, fd: BorrowedFd<'_>) -> Result<Option<UnsupportedKind>, Errno> {
        let _ = fd;
        Ok(None)
    }
    /// `getpeername(2)`: whether the socket has no peer yet, because its connect is still in progress.
    fn is_connecting(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        let _ = fd;
        Ok(false)
    }
    /// `getsockopt(SO_LINGER)`: whether `close` may wait for the peer.
    fn lingers(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        let _ = fd;
        Ok(false)
    }
    /// `setsockopt(SO_LINGER)`: makes `close` return at once, while the kernel goes on sending.
    fn stop_lingering(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let _ = fd;
        Ok(())
    }
    /// `getsockopt(SO_PROTOCOL)` and `TCP_ULP`: whether a short read means that the socket has no more for now. This is true
    /// of TCP without an upper layer. It is not true of kernel TLS, whose reads stop at records, nor of Unix sockets, whose
    /// reads stop at passed descriptors.
    fn short_read_drains(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno>;
    /// `getsockopt(SO_DOMAIN)` and `SO_TYPE`: whether it is a Unix stream socket. Its reads are short either at passed
    /// descriptors or because there is no more for now. Asked only if [`short_read_drains`](Self::short_read_drains) is
    /// false.
    fn is_unix_stream(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        let _ = fd;
        Ok(false)
    }
    /// `recvmsg(2)` into one buffer, with no room for descriptors: how many bytes, and whether descriptors came along
    /// (`MSG_CTRUNC`). For Unix streams.
    fn recv_noting_scm_rights(
        &self,
        fd: BorrowedFd<'_>,
        buffer: &mut [u8],
        flags: RecvFlags,
    ) -> Result<(usize, bool), Errno> {
        self.recv(fd, buffer, flags).map(|bytes| (bytes, true))
    }
    /// `send(2)`
    fn send(&self, fd: BorrowedFd<'_>, bytes: &[u8], flags: SendFlags) -> Result<usize, Errno>;
    /// `sendmsg(2)` of at most [`MAX_BUFFERS_PER_CALL`] buffers.
    fn sendmsg(&self, fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, Errno>;
    /// `recv(2)`
    fn recv(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno>;
    /// `recvmsg(2)` into at most [`MAX_BUFFERS_PER_CALL`] buffers.
    fn recvmsg(&self, fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>], flags: RecvFlags) -> Result<usize, Errno>;
    /// `recvmsg(2)` with `MSG_ERRQUEUE`: takes one message from the error queue. `EAGAIN` if there is no message or no
    /// queue.
    fn receive_error_message(&self, fd: BorrowedFd<'_>) -> Result<(), Errno>;
    /// `getsockopt(SO_ERROR)`: takes the socket's pending error, if it has one.
    fn take_error(&self, fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno>;
    /// `poll(2)` without waiting: whether the kernel reports a hang-up. If `poll` reports an error that `SO_ERROR` did
    /// not report, a message has just come to the error queue. It has an event of its own.
    fn is_broken(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno>;
    /// `getsockname(2)`. By default it is the real call.
    fn local_address(&self, fd: BorrowedFd<'_>) -> Result<SocketAddrAny, Errno> {
        getsockname(fd)
    }
    /// `getpeername(2)`. By default it is the real call.
    fn peer_address(&self, fd: BorrowedFd<'_>) -> Result<SocketAddrAny, Errno> {
        getpeername(fd)?.ok_or(Errno::AFNOSUPPORT)
    }
    /// `shutdown(2)` with `SHUT_WR`. By default it is the real call.
    fn shut_down_sending(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        rustix::net::shutdown(fd, Shutdown::Write)
    }
    /// `close(2)`
    fn close(&self, fd: OwnedFd);
}

/// The real system calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kernel;

impl SocketSyscalls for Kernel {
    // Codes_SRS_SOCKET_01_010
    fn unsupported_kind(&self, fd: BorrowedFd<'_>) -> Result<Option<UnsupportedKind>, Errno> {
        Ok(match socket_type(fd)? {
            SocketType::STREAM if socket_acceptconn(fd)? => Some(UnsupportedKind::Listening),
            SocketType::STREAM => None,
            SocketType::DGRAM => Some(UnsupportedKind::Datagram),
            SocketType::SEQPACKET => Some(UnsupportedKind::SequencedPackets),
            SocketType::RAW => Some(UnsupportedKind::Raw),
            SocketType::RDM => Some(UnsupportedKind::ReliableDatagram),
            _ => Some(UnsupportedKind::Other),
        })
    }

    fn is_connecting(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(matches!(getpeername(fd), Err(Errno::NOTCONN)))
    }

    fn lingers(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        // With a time of 0, `close` resets the connection and does not wait.
        Ok(socket_linger(fd)?.is_some_and(|time| !time.is_zero()))
    }

    fn stop_lingering(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        set_socket_linger(fd, None)
    }

    // Codes_SRS_SOCKET_01_031
    fn short_read_drains(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(socket_protocol(fd)? == Some(ipproto::TCP) && !has_upper_layer(fd)?)
    }

    fn is_unix_stream(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(socket_domain(fd)? == AddressFamily::UNIX && socket_type(fd)? == SocketType::STREAM)
    }

    #[inline]
    fn recv_noting_scm_rights(
        &self,
        fd: BorrowedFd<'_>,
        buffer: &mut [u8],
        flags: RecvFlags,
    ) -> Result<(usize, bool), Errno> {
        let message =
            rustix::net::recvmsg(fd, &mut [IoSliceMut::new(buffer)], &mut RecvAncillaryBuffer::default(), flags)?;
        Ok((message.bytes, message.flags.contains(ReturnFlags::CTRUNC)))
    }

    #[inline]
    fn send(&self, fd: BorrowedFd<'_>, bytes: &[u8], flags: SendFlags) -> Result<usize, Errno> {
        rustix::net::send(fd, bytes, flags)
    }

    #[inline]
    fn sendmsg(&self, fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, Errno> {
        rustix::net::sendmsg(fd, buffers, &mut SendAncillaryBuffer::default(), flags)
    }

    #[inline]
    fn recv(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
        // The second number is the kernel's. The first is the same, compared with the room once more.
        rustix::net::recv(fd, buffer, flags).map(|(_, bytes)| bytes)
    }

    #[inline]
    fn recvmsg(&self, fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>], flags: RecvFlags) -> Result<usize, Errno> {
        rustix::net::recvmsg(fd, buffers, &mut RecvAncillaryBuffer::default(), flags).map(|message| message.bytes)
    }

    fn receive_error_message(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        // Sockets of other families ignore the flag. From a Unix socket the call would take the first thing in its
        // queue, for instance passed descriptors.
        // Codes_SRS_SOCKET_01_033
        if !matches!(socket_domain(fd)?, AddressFamily::INET | AddressFamily::INET6 | AddressFamily::VSOCK) {
            return Err(Errno::AGAIN);
        }
        let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
        let message = rustix::net::recvmsg(fd, &mut [], &mut RecvAncillaryBuffer::default(), flags)?;
        // An older vsock has no queue and ignores the flag.
        if message.flags.contains(ReturnFlags::ERRQUEUE) { Ok(()) } else { Err(Errno::AGAIN) }
    }

    fn take_error(&self, fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
        Ok(socket_error(fd)?.err())
    }

    fn is_broken(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(polled[0].revents().contains(PollFlags::HUP))
    }

    fn close(&self, fd: OwnedFd) {
        completion_port::process::close(fd);
    }
}
