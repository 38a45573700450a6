//! Streams: TCP and Unix sockets for futures.

use crate::io::{Io, Tried, current_port};
use completion_port::{CompletionPort, Direction, Port};
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketAddrAny, getpeername, getsockname, recv, send, shutdown};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The most bytes of several buffers that are copied into one before they are sent.
const SMALL: usize = 512;

thread_local! {
    /// Where they are copied to. Not on the stack, where each write would have to clear it first.
    static GATHERED: RefCell<[u8; SMALL]> = const { RefCell::new([0; SMALL]) };
}

/// A connected TCP or Unix stream socket.
///
/// It belongs to the port of the task that makes it: events wake that task without a system call. It can be polled on any
/// thread and by any executor, and read and written by two tasks at once, because `&Stream` is a reader and a writer too.
/// In each direction the task that polled last is the one that is woken.
///
/// Options of the socket are set through [`AsFd`], for instance `socket2::SockRef::from(&stream).set_tcp_nodelay(true)`.
///
/// # Dropping a future
/// Bytes are taken from the kernel only by the poll that returns them. So a read that is dropped, by a `select` or a time-out
/// for instance, loses nothing. A write that is dropped has sent nothing unless it was ready. [`send`](Self::send) says how
/// much it has sent.
///
/// # Closing
/// Dropping the stream closes it and never waits for the peer on a port's thread.
#[derive(Debug)]
pub struct Stream<P: Port = CompletionPort> {
    pub(crate) io: Io<P>,
}

impl Stream {
    /// Makes a stream of a connected socket. Sets the descriptor to non-blocking mode.
    ///
    /// # Errors
    /// The kernel's: `ENOTSOCK`, `EMFILE`, `ENOMEM`, for instance. The descriptor is then closed.
    pub fn new(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        Self::on(&current_port()?, socket)
    }
}

impl<P: Port> Stream<P> {
    /// [`new`](Stream::new) on a chosen port.
    ///
    /// # Errors
    /// As for `new`.
    pub fn on(port: &P, socket: impl Into<OwnedFd>) -> io::Result<Self> {
        Self::of(Io::on(port.clone(), socket.into())?)
    }

    fn of(io: Io<P>) -> io::Result<Self> {
        // TCP without an upper layer such as kernel TLS, in which a record can end early.
        let is_tcp = matches!(
            rustix::net::sockopt::socket_domain(&io)?,
            rustix::net::AddressFamily::INET | rustix::net::AddressFamily::INET6
        );
        if !is_tcp || has_upper_layer(&io) {
            io.short_reads_prove_nothing();
        }
        Ok(Self { io })
    }

    /// Reads into a buffer. 0 is the end of the stream.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    #[inline]
    pub fn poll_read(&self, context: &Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let room = buffer.len();
        self.io.poll(context, Direction::In, |fd| {
            let (count, _) = recv(fd, &mut *buffer, RecvFlags::empty())?;
            Ok(Tried { value: count, drained: is_short(count, room) })
        })
    }

    /// [`poll_read`](Self::poll_read) into memory that need not be initialised. The front of it, as many bytes as this
    /// returns, is initialised then.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    #[inline]
    pub fn poll_read_uninit(&self, context: &Context<'_>, buffer: &mut [MaybeUninit<u8>]) -> Poll<io::Result<usize>> {
        let room = buffer.len();
        self.io.poll(context, Direction::In, |fd| {
            let ((received, _), _) = recv(fd, &mut *buffer, RecvFlags::empty())?;
            Ok(Tried { value: received.len(), drained: is_short(received.len(), room) })
        })
    }

    /// Reads into a buffer. 0 is the end of the stream.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    pub fn read<'a>(&'a self, buffer: &'a mut [u8]) -> Read<'a, P> {
        Read { stream: self, buffer }
    }

    /// Writes all of a buffer. If the future is dropped before its end, a part of the buffer may have been sent; use
    /// [`send`](Self::send) to know how much.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub fn write_all<'a>(&'a self, buffer: &'a [u8]) -> WriteAll<'a, P> {
        WriteAll { stream: self, left: buffer }
    }

    /// Looks at the bytes that come next, and leaves them in the kernel.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| {
            self.io.poll(context, Direction::In, |fd| {
                let (count, _) = recv(fd, &mut *buffer, RecvFlags::PEEK)?;
                Ok(Tried { value: count, drained: false })
            })
        })
        .await
    }

    /// Writes a part of a buffer. Never raises `SIGPIPE`.
    ///
    /// # Errors
    /// Those of `send(2)`.
    #[inline]
    pub fn poll_write(&self, context: &Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.io.poll(context, Direction::Out, |fd| {
            let value = send(fd, buffer, SendFlags::NOSIGNAL)?;
            Ok(Tried { value, drained: false })
        })
    }

    /// Writes a part of several buffers. Up to 512 bytes are copied together first, because that costs less than a list of
    /// buffers costs the kernel.
    ///
    /// # Errors
    /// Those of `sendmsg(2)`.
    pub fn poll_write_vectored(&self, context: &Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        const IOV_MAX: usize = 1024;
        self.io.poll(context, Direction::Out, |fd| {
            let value = GATHERED.with_borrow_mut(|room| match gather(buffers, room) {
                Some(few) => send(fd, few, SendFlags::NOSIGNAL),
                None => {
                    let buffers = &buffers[..buffers.len().min(IOV_MAX)];
                    let mut control = rustix::net::SendAncillaryBuffer::new(&mut []);
                    rustix::net::sendmsg(fd, buffers, &mut control, SendFlags::NOSIGNAL)
                }
            })?;
            Ok(Tried { value, drained: false })
        })
    }

    /// Ends the sending direction. The peer reads what was sent, and then the end of the stream. Receiving goes on.
    ///
    /// # Errors
    /// Those of `shutdown(2)`.
    pub fn shutdown(&self) -> io::Result<()> {
        Ok(shutdown(&self.io, Shutdown::Write)?)
    }

    /// Takes the descriptor back, which stays in non-blocking mode.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.io.into_descriptor()
    }

    /// The own address.
    ///
    /// # Errors
    /// Those of `getsockname(2)`. `InvalidInput` for a Unix socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        of_ip(getsockname(&self.io)?)
    }

    /// The peer's address.
    ///
    /// # Errors
    /// Those of `getpeername(2)`. `InvalidInput` for a Unix socket.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        of_ip(getpeername(&self.io)?.ok_or(io::ErrorKind::InvalidInput)?)
    }

    /// The port that the stream belongs to.
    #[must_use]
    pub fn port(&self) -> &P {
        self.io.port()
    }
}

/// Copies buffers one behind the other, unless they are too long.
#[inline]
fn gather<'a>(buffers: &[IoSlice<'_>], room: &'a mut [u8; SMALL]) -> Option<&'a [u8]> {
    let mut end = 0;
    for buffer in buffers {
        room.get_mut(end..end + buffer.len())?.copy_from_slice(buffer);
        end += buffer.len();
    }
    Some(&room[..end])
}

/// Whether a read has found less than there was room for, so that the kernel has no more. The end of the stream has no end.
#[inline]
pub(crate) fn is_short(count: usize, room: usize) -> bool {
    count < room && count > 0
}

fn of_ip(address: SocketAddrAny) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(address)?)
}

/// Unknown to be without one counts as with one.
fn has_upper_layer(io: &impl AsFd) -> bool {
    async_socket_linux::sys::SocketSyscalls::short_read_drains(&async_socket_linux::Kernel, io.as_fd()) != Ok(true)
}

impl TryFrom<TcpStream> for Stream {
    type Error = io::Error;

    fn try_from(stream: TcpStream) -> io::Result<Self> {
        Self::new(stream)
    }
}

impl TryFrom<UnixStream> for Stream {
    type Error = io::Error;

    fn try_from(stream: UnixStream) -> io::Result<Self> {
        Self::new(stream)
    }
}

impl<P: Port> AsFd for Stream<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

/// The future of [`Stream::read`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct Read<'a, P: Port = CompletionPort> {
    stream: &'a Stream<P>,
    buffer: &'a mut [u8],
}

impl<P: Port> Future for Read<'_, P> {
    type Output = io::Result<usize>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.stream.poll_read(context, this.buffer)
    }
}

/// The future of [`Stream::write_all`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct WriteAll<'a, P: Port = CompletionPort> {
    stream: &'a Stream<P>,
    left: &'a [u8],
}

impl<P: Port> Future for WriteAll<'_, P> {
    type Output = io::Result<()>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.left.is_empty() {
            let sent = ready!(this.stream.poll_write(context, this.left))?;
            this.left = &this.left[sent..];
        }
        Poll::Ready(Ok(()))
    }
}
