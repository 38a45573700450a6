//! The seam to the kernel: every system call on a socket, and nothing else.
//!
//! [`Kernel`] makes the real ones. Tests script or break them through [`SocketSyscalls`]. An
//! implementation reports `EINTR` like the kernel does; the socket retries it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{socket_domain, socket_error, socket_protocol, socket_type};
use rustix::net::{AddressFamily, RecvAncillaryBuffer, ReturnFlags, SendAncillaryBuffer, SocketType, ipproto};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};

pub use rustix::io::Errno;
pub use rustix::net::{RecvFlags, SendFlags};

/// How every send is made: no `SIGPIPE`, and never blocking, whatever mode the descriptor is in.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_052
pub const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// How every receive is made: never blocking, whatever mode the descriptor is in.
pub const RECEIVE_FLAGS: RecvFlags = RecvFlags::DONTWAIT;

/// The most bytes that Linux moves in one call (`MAX_RW_COUNT`, see `read(2)`): a transfer of just so many
/// says nothing about what is left.
pub const MAX_BYTES_PER_CALL: usize = 0x7fff_f000;

/// The most buffers that one `sendmsg` or `recvmsg` takes (`IOV_MAX`, see `readv(2)`).
pub const MAX_BUFFERS_PER_CALL: usize = 1024;

/// The system calls of a socket.
///
/// Errors are those of the man page of the call that each method names.
#[allow(clippy::missing_errors_doc, reason = "said once, for the trait")]
pub trait SocketSyscalls: Send + Sync + 'static {
    /// `getsockopt(SO_PROTOCOL)`: whether a short read means that the socket has no more for now.
    /// True of TCP; not of Unix sockets, where a read also stops at passed descriptors, nor of datagrams.
    fn short_read_drains(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno>;
    /// `getsockopt(SO_DOMAIN)` and `SO_TYPE`: whether it is a Unix stream socket, whose reads stop short at passed
    /// descriptors or because there is no more for now. Asked if a short read alone does not say so.
    fn stops_at_descriptors(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        let _ = fd;
        Ok(false)
    }
    /// `recvmsg(2)` into one buffer, with no room for descriptors: the bytes, and whether some came along
    /// (`MSG_CTRUNC`). For sockets that stop at them.
    fn recv_beside_descriptors(
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
    /// `recvmsg(2)` with `MSG_ERRQUEUE`: takes one message from the error queue; `EAGAIN` if there is none.
    fn receive_error_message(&self, fd: BorrowedFd<'_>) -> Result<(), Errno>;
    /// `getsockopt(SO_ERROR)`: takes the socket's pending error, if it has one.
    fn take_error(&self, fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno>;
    /// `poll(2)` without waiting: whether the kernel reports a hang-up. An error beside it, of which `SO_ERROR` did not
    /// tell, is a message that has just come to the error queue, and an event of its own.
    fn is_broken(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno>;
    /// `close(2)`
    fn close(&self, fd: OwnedFd);
}

/// The real system calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kernel;

impl SocketSyscalls for Kernel {
    fn short_read_drains(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(socket_protocol(fd)? == Some(ipproto::TCP))
    }

    fn stops_at_descriptors(&self, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
        Ok(socket_domain(fd)? == AddressFamily::UNIX && socket_type(fd)? == SocketType::STREAM)
    }

    #[inline]
    fn recv_beside_descriptors(
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
        rustix::net::recv(fd, buffer, flags).map(|(bytes, _)| bytes)
    }

    #[inline]
    fn recvmsg(&self, fd: BorrowedFd<'_>, buffers: &mut [IoSliceMut<'_>], flags: RecvFlags) -> Result<usize, Errno> {
        rustix::net::recvmsg(fd, buffers, &mut RecvAncillaryBuffer::default(), flags).map(|message| message.bytes)
    }

    fn receive_error_message(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let flags = RecvFlags::ERRQUEUE | RecvFlags::DONTWAIT;
        let message = rustix::net::recvmsg(fd, &mut [], &mut RecvAncillaryBuffer::default(), flags)?;
        // A socket without an error queue, a Unix one for instance, takes no notice of the flag.
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
