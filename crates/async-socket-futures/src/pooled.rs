//! Receives that take a buffer of a pool when bytes have arrived, so that a task that waits holds no buffer.
//!
//! Invariant: a receive that finds the pool empty stores its waker and then asks the pool once more. The pool schedules the
//! stream on its port, which wakes the reader as for an event. So one of the two sees the other.

use crate::io::Tried;
use crate::stream::{Stream, is_short};
use async_socket_linux::{BufferPool, FromPool, PoolPlace, PooledBuffer, Resume};
use completion_port::memory::try_box;
use completion_port::{CompletionPort, Direction, Port, Token};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

impl<P: Port> Stream<P> {
    /// Receives into a buffer of a pool, which it takes when bytes have arrived. `None` is the end of the stream. Dropping
    /// the buffer gives it back to the pool. Sockets and streams can share a pool, and take its buffers in turn.
    ///
    /// Dropping the future loses no byte of the stream and no buffer of the pool.
    ///
    /// # Errors
    /// Those of `recv(2)`; `ENOMEM` if there is no buffer in use and no memory for one; in the child of a `fork`, that the
    /// pool was made in the parent.
    ///
    /// ```
    /// # use async_socket_futures::{Stream, block_on};
    /// # block_on(async {
    /// use async_socket_linux::BufferPool;
    ///
    /// let pool = BufferPool::new(16 * 1024, 100).map_err(std::io::Error::other)?;
    /// let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    /// let (ours, theirs) = (Stream::new(ours)?, Stream::new(theirs)?);
    /// ours.write_all(b"hello").await?;
    /// drop(ours);
    /// while let Some(bytes) = theirs.receive_pooled(&pool).await? {
    ///     assert_eq!(&*bytes, b"hello");
    /// }
    /// # Ok::<_, std::io::Error>(()) })??;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_039
    pub fn receive_pooled(&self, pool: &BufferPool) -> ReceivePooled<'_, P> {
        let place = pool.place().map_err(io::Error::from);
        ReceivePooled { stream: self, place }
    }
}

/// The future of [`Stream::receive_pooled`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct ReceivePooled<'a, P: Port = CompletionPort> {
    stream: &'a Stream<P>,
    place: io::Result<PoolPlace>,
}

impl<P: Port> Future for ReceivePooled<'_, P> {
    type Output = io::Result<Option<PooledBuffer>>;

    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_039
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { stream, place } = self.get_mut();
        let place = match place {
            Ok(place) => place,
            Err(error) => return Poll::Ready(Err(std::mem::replace(error, io::ErrorKind::Other.into()))),
        };
        let (io, mut is_stored) = (&stream.io, false);
        loop {
            let received = ready!(io.poll(context, Direction::In, |fd| {
                let note = || try_box(Note { port: io.port().clone(), token: io.token() }).ok();
                let mut buffer = match place.take(|| note().map(|note| note as Box<dyn Resume>)) {
                    FromPool::Buffer(buffer) => buffer,
                    FromPool::Empty => return Ok(Tried { value: None, drained: false }),
                    FromPool::OutOfMemory => return Err(Errno::NOMEM),
                };
                let room = buffer.room().len();
                // Without bytes the buffer goes back to the pool.
                let (count, _) = recv(fd, buffer.room(), RecvFlags::empty())?;
                buffer.set_filled(count);
                Ok(Tried { value: Some((count > 0).then_some(buffer)), drained: is_short(count, room) })
            }))?;
            match received {
                Some(received) => return Poll::Ready(Ok(received)),
                // No buffer wakes the task any more.
                // Codes_SRS_ASYNC_SOCKET_FUTURES_01_036
                None if io.has_failed() => return Poll::Ready(Err(Errno::BADF.into())),
                None if is_stored => return Poll::Pending,
                None => {
                    is_stored = true;
                    io.store_waker(Direction::In, context.waker());
                }
            }
        }
    }
}

/// What the pool keeps of a receive that waits for a buffer.
struct Note<P> {
    port: P,
    token: Token,
}

impl<P: Port> Resume for Note<P> {
    fn resume(&self) {
        self.port.schedule(self.token);
    }
}
