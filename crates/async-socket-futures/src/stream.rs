//! Streams: TCP and Unix sockets for futures.

use crate::io::{Io, Tried, current_port};
use completion_port::{CompletionPort, Direction, Port};
use futures_io::{AsyncRead, AsyncWrite};
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketAddrAny, getpeername, getsockname, recv, send, shutdown};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

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
    io: Io<P>,
    /// A short read says that there is no more.
    short_read_drains: bool,
}

impl Stream {
    /// Makes a stream of a connected socket. Sets the descriptor to non-blocking mode.
    ///
    /// # Errors
    /// The kernel's: `ENOTSOCK`, `EMFILE`, `ENOMEM`, for instance. The descriptor is then closed.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_032
    pub fn new(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        Self::on(&current_port()?, socket)
    }

    /// Connects to a Unix path.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    pub async fn connect_unix(path: impl AsRef<std::path::Path>) -> io::Result<Self> {
        let address = rustix::net::SocketAddrUnix::new(path.as_ref())?;
        Self::connect_any(rustix::net::AddressFamily::UNIX, &address).await
    }

    /// Connects to an address.
    ///
    /// # Errors
    /// Those of `connect(2)`: `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`, for instance.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_033
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let family =
            if address.is_ipv4() { rustix::net::AddressFamily::INET } else { rustix::net::AddressFamily::INET6 };
        Self::connect_any(family, &address).await
    }

    async fn connect_any(
        family: rustix::net::AddressFamily,
        address: &impl rustix::net::addr::SocketAddrArg,
    ) -> io::Result<Self> {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, rustix::net::SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, address) {
            Ok(()) => return Self::new(socket),
            Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = Self::new(socket)?;
        poll_fn(|context| {
            stream.io.poll(context, Direction::Out, |fd| {
                rustix::net::sockopt::socket_error(fd)??;
                // Without an error and without a peer the connect is still in progress.
                match getpeername(fd) {
                    Ok(_) => Ok(Tried { value: (), drained: false }),
                    Err(rustix::io::Errno::NOTCONN) => Err(rustix::io::Errno::AGAIN),
                    Err(error) => Err(error),
                }
            })
        })
        .await?;
        Ok(stream)
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
        let short_read_drains = is_tcp && !has_upper_layer(&io);
        Ok(Self { io, short_read_drains })
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
            Ok(Tried { value: count, drained: count < room && count > 0 && self.short_read_drains })
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

    /// Writes a part of several buffers.
    ///
    /// # Errors
    /// Those of `sendmsg(2)`.
    pub fn poll_write_vectored(&self, context: &Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        const IOV_MAX: usize = 1024;
        let buffers = &buffers[..buffers.len().min(IOV_MAX)];
        self.io.poll(context, Direction::Out, |fd| {
            let mut control = rustix::net::SendAncillaryBuffer::new(&mut []);
            let value = rustix::net::sendmsg(fd, buffers, &mut control, SendFlags::NOSIGNAL)?;
            Ok(Tried { value, drained: false })
        })
    }

    /// Receives into a buffer that the caller lends, and gives it back.
    ///
    /// Dropping the future drops the buffer, and loses no byte of the stream.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_031
    pub async fn receive<B: AsMut<[u8]>>(&self, mut buffer: B) -> (io::Result<usize>, B) {
        let received = poll_fn(|context| self.poll_read(context, buffer.as_mut())).await;
        (received, buffer)
    }

    /// Sends all of a buffer that the caller lends, and gives it back. The future says how many bytes it has sent, so a
    /// caller that gives up before its end knows how much of the buffer went out.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_035
    pub fn send<B: AsRef<[u8]>>(&self, buffer: B) -> Send<'_, B, P> {
        Send { stream: self, buffer: Some(buffer), sent: 0 }
    }

    /// Ends the sending direction. The peer reads what was sent, and then the end of the stream. Receiving goes on.
    ///
    /// # Errors
    /// Those of `shutdown(2)`.
    pub fn shutdown(&self) -> io::Result<()> {
        Ok(shutdown(&self.io, Shutdown::Write)?)
    }

    /// The two directions, for two tasks. The stream is closed when both are dropped.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_037
    #[must_use]
    pub fn into_split(self) -> (ReadHalf<P>, WriteHalf<P>) {
        let stream = Arc::new(self);
        (ReadHalf(Arc::clone(&stream)), WriteHalf { stream, ends_direction: true })
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

    #[inline]
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

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.left.is_empty() {
            let sent = ready!(this.stream.poll_write(context, this.left))?;
            this.left = &this.left[sent..];
        }
        Poll::Ready(Ok(()))
    }
}

/// The future of [`Stream::send`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct Send<'a, B, P: Port = CompletionPort> {
    stream: &'a Stream<P>,
    /// There until the future ends.
    buffer: Option<B>,
    sent: usize,
}

impl<B, P: Port> Send<'_, B, P> {
    /// How many bytes of the buffer have been sent until now.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Gives up. Returns the buffer, unless the future has ended, and how much of it was sent.
    #[must_use]
    pub fn into_parts(self) -> (Option<B>, usize) {
        (self.buffer, self.sent)
    }
}

impl<B: AsRef<[u8]> + Unpin, P: Port> Future for Send<'_, B, P> {
    type Output = (io::Result<()>, B);

    /// # Panics
    /// If it is polled after it has ended.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let sent = loop {
            let buffer = this.buffer.as_ref().expect("polled after its end");
            let left = &buffer.as_ref()[this.sent..];
            if left.is_empty() {
                break Ok(());
            }
            match this.stream.poll_write(context, left) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) => this.sent += count,
                Poll::Ready(Err(error)) => break Err(error),
            }
        };
        let buffer = this.buffer.take().expect("polled after its end");
        Poll::Ready((sent, buffer))
    }
}

/// The receiving direction of a [`Stream`].
#[derive(Debug)]
pub struct ReadHalf<P: Port = CompletionPort>(Arc<Stream<P>>);

/// The sending direction of a [`Stream`]. Dropping it ends the direction.
#[derive(Debug)]
pub struct WriteHalf<P: Port = CompletionPort> {
    stream: Arc<Stream<P>>,
    /// What its drop does.
    ends_direction: bool,
}

impl<P: Port> ReadHalf<P> {
    /// Puts the stream together again. `None` if the halves are of two streams; both are then dropped.
    #[must_use]
    pub fn reunite(self, mut other: WriteHalf<P>) -> Option<Stream<P>> {
        if !Arc::ptr_eq(&self.0, &other.stream) {
            return None;
        }
        let stream = self.0;
        other.ends_direction = false;
        drop(other);
        Arc::into_inner(stream)
    }
}

impl<P: Port> Drop for WriteHalf<P> {
    fn drop(&mut self) {
        if self.ends_direction {
            // An error means that the peer has closed the connection already.
            let _ = self.stream.shutdown();
        }
    }
}

/// Implements the traits of `futures-io` through the shared methods of a stream.
macro_rules! through_a_stream {
    (read $name:ty, $self:ident => $stream:expr) => {
        impl<P: Port> AsyncRead for $name {
            fn poll_read(
                $self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                Stream::poll_read($stream, context, buffer)
            }
        }
    };
    (write $name:ty, $self:ident => $stream:expr) => {
        impl<P: Port> AsyncWrite for $name {
            fn poll_write($self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
                Stream::poll_write($stream, context, buffer)
            }

            fn poll_write_vectored(
                $self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffers: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Stream::poll_write_vectored($stream, context, buffers)
            }

            /// Nothing is buffered.
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            /// Ends the sending direction.
            fn poll_close($self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(match Stream::shutdown($stream) {
                    // The peer is gone, so there is nothing left to end.
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                    ended => ended,
                })
            }
        }
    };
}

through_a_stream!(read Stream<P>, self => &self);
through_a_stream!(write Stream<P>, self => &self);
through_a_stream!(read &Stream<P>, self => &self);
through_a_stream!(write &Stream<P>, self => &self);
through_a_stream!(read ReadHalf<P>, self => &self.0);
through_a_stream!(write WriteHalf<P>, self => &self.stream);

// Codes_SRS_ASYNC_SOCKET_FUTURES_01_061
#[cfg(feature = "tokio")]
mod for_tokio {
    use super::{ReadHalf, Stream, WriteHalf};
    use completion_port::Port;
    use std::io::{self, IoSlice};
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    macro_rules! through_a_stream {
        (read $name:ty, $self:ident => $stream:expr) => {
            impl<P: Port> AsyncRead for $name {
                fn poll_read(
                    $self: Pin<&mut Self>,
                    context: &mut Context<'_>,
                    buffer: &mut ReadBuf<'_>,
                ) -> Poll<io::Result<()>> {
                    let count = ready!(Stream::poll_read($stream, context, buffer.initialize_unfilled()))?;
                    buffer.advance(count);
                    Poll::Ready(Ok(()))
                }
            }
        };
        (write $name:ty, $self:ident => $stream:expr) => {
            impl<P: Port> AsyncWrite for $name {
                fn poll_write(
                    $self: Pin<&mut Self>,
                    context: &mut Context<'_>,
                    buffer: &[u8],
                ) -> Poll<io::Result<usize>> {
                    Stream::poll_write($stream, context, buffer)
                }

                fn poll_write_vectored(
                    $self: Pin<&mut Self>,
                    context: &mut Context<'_>,
                    buffers: &[IoSlice<'_>],
                ) -> Poll<io::Result<usize>> {
                    Stream::poll_write_vectored($stream, context, buffers)
                }

                fn is_write_vectored(&self) -> bool {
                    true
                }

                fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                    Poll::Ready(Ok(()))
                }

                fn poll_shutdown($self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                    futures_io::AsyncWrite::poll_close($self, context)
                }
            }
        };
    }

    through_a_stream!(read Stream<P>, self => &self);
    through_a_stream!(write Stream<P>, self => &self);
    through_a_stream!(read ReadHalf<P>, self => &self.0);
    through_a_stream!(write WriteHalf<P>, self => &self.stream);
}
