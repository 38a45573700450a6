//! Calls that take buffers by value and give them back.
//!
//! Invariant: a future of these owns its buffers until it ends, and `into_parts` gives them back before that.

use crate::stream::Stream;
use async_socket_linux::IoBufs;
use completion_port::{CompletionPort, Port};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The most buffers that one system call sends.
const BUFFERS_PER_CALL: usize = 64;

/// The message of the panic that each of these futures documents.
const ENDED: &str = "polled after its end";

impl<P: Port> Stream<P> {
    /// Receives into a buffer that the caller lends, and gives it back with the number of bytes. 0 is the end of the
    /// stream.
    ///
    /// Dropping the future loses no byte of the stream. [`Receive::into_parts`] gives up and keeps the buffer.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_031, Codes_SRS_ASYNC_SOCKET_FUTURES_01_038
    pub fn receive<B: AsMut<[u8]>>(&self, buffer: B) -> Receive<'_, B, P> {
        Receive { stream: self, buffer: Some(buffer) }
    }

    /// Sends all of a buffer that the caller lends, and gives it back. The future says how many bytes it has sent, so a
    /// caller that gives up before its end knows how much of the buffer went out.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_035
    pub fn send<B: AsRef<[u8]>>(&self, buffer: B) -> Send<'_, B, P> {
        Send { stream: self, buffer: Some(buffer), sent: 0 }
    }

    /// [`send`](Self::send) for a list of buffers, as a `Vec` or an array. Up to 64 of them go out in one system call.
    ///
    /// ```
    /// # use async_socket_futures::{Stream, block_on};
    /// # block_on(async {
    /// let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    /// let (ours, theirs) = (Stream::new(ours)?, Stream::new(theirs)?);
    /// let (sent, [_head, _body]) = ours.send_buffers(["head ", "body"]).await;
    /// sent?;
    /// let (received, buffer) = theirs.receive(vec![0; 64]).await;
    /// assert_eq!(&buffer[..received?], b"head body");
    /// # Ok::<_, std::io::Error>(()) })??;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_035
    pub fn send_buffers<L: IoBufs>(&self, buffers: L) -> SendBuffers<'_, L, P> {
        SendBuffers { stream: self, buffers: Some(buffers), first: 0, offset: 0, sent: 0 }
    }
}

/// The future of [`Stream::receive`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct Receive<'a, B, P: Port = CompletionPort> {
    stream: &'a Stream<P>,
    /// There until the future ends.
    buffer: Option<B>,
}

impl<B, P: Port> Receive<'_, B, P> {
    /// Gives up. Returns the buffer, unless the future has ended. Nothing was received into it.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_038
    #[must_use]
    pub fn into_parts(self) -> Option<B> {
        self.buffer
    }
}

/// The buffer is never pinned.
impl<B, P: Port> Unpin for Receive<'_, B, P> {}

impl<B: AsMut<[u8]>, P: Port> Future for Receive<'_, B, P> {
    type Output = (io::Result<usize>, B);

    /// # Panics
    /// If it is polled after it has ended.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let received = ready!(this.stream.poll_read(context, this.buffer.as_mut().expect(ENDED).as_mut()));
        Poll::Ready((received, this.buffer.take().expect(ENDED)))
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
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_035
    #[must_use]
    pub fn into_parts(self) -> (Option<B>, usize) {
        (self.buffer, self.sent)
    }
}

/// The buffer is never pinned.
impl<B, P: Port> Unpin for Send<'_, B, P> {}

impl<B: AsRef<[u8]>, P: Port> Future for Send<'_, B, P> {
    type Output = (io::Result<()>, B);

    /// # Panics
    /// If it is polled after it has ended.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let sent = loop {
            let left = &this.buffer.as_ref().expect(ENDED).as_ref()[this.sent..];
            if left.is_empty() {
                break Ok(());
            }
            match ready!(this.stream.poll_write(context, left)) {
                // Codes_SRS_ASYNC_SOCKET_FUTURES_01_035
                Ok(count) => this.sent += count,
                Err(error) => break Err(error),
            }
        };
        Poll::Ready((sent, this.buffer.take().expect(ENDED)))
    }
}

/// The future of [`Stream::send_buffers`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct SendBuffers<'a, L, P: Port = CompletionPort> {
    stream: &'a Stream<P>,
    /// There until the future ends.
    buffers: Option<L>,
    /// The first buffer that is not sent, and how much of it is.
    first: usize,
    offset: usize,
    sent: usize,
}

impl<L, P: Port> SendBuffers<'_, L, P> {
    /// How many bytes of all buffers have been sent until now.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Gives up. Returns the buffers, unless the future has ended, and how many bytes of them were sent.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_035
    #[must_use]
    pub fn into_parts(self) -> (Option<L>, usize) {
        (self.buffers, self.sent)
    }
}

/// The buffers are never pinned.
impl<L, P: Port> Unpin for SendBuffers<'_, L, P> {}

impl<L: IoBufs, P: Port> Future for SendBuffers<'_, L, P> {
    type Output = (io::Result<()>, L);

    /// # Panics
    /// If it is polled after it has ended.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let sent = loop {
            let mut slices = [IoSlice::new(&[]); BUFFERS_PER_CALL];
            let mut count = 0;
            let unsent = this.buffers.as_ref().expect(ENDED).slices_from(this.first);
            for (slot, buffer) in slices.iter_mut().zip(unsent) {
                let offset = if count == 0 { this.offset } else { 0 };
                *slot = IoSlice::new(buffer.get(offset..).unwrap_or_default());
                count += 1;
            }
            let slices = &slices[..count];
            if slices.is_empty() {
                break Ok(());
            }
            // Buffers without bytes need no call.
            let mut moved = if slices.iter().all(|slice| slice.is_empty()) {
                0
            } else {
                match ready!(this.stream.poll_write_vectored(context, slices)) {
                    Ok(moved) => moved,
                    Err(error) => break Err(error),
                }
            };
            // Codes_SRS_ASYNC_SOCKET_FUTURES_01_035
            this.sent += moved;
            for slice in slices {
                if moved < slice.len() {
                    this.offset += moved;
                    break;
                }
                moved -= slice.len();
                this.first += 1;
                this.offset = 0;
            }
        };
        Poll::Ready((sent, this.buffers.take().expect(ENDED)))
    }
}
