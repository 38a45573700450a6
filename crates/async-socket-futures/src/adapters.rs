//! The traits through which other crates read and write: of `futures-io`, of tokio, and of hyper. All go to the methods of
//! [`Stream`].

use crate::halves::{ReadHalf, WriteHalf};
use crate::stream::Stream;
use completion_port::Port;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Implements a reading trait. `$read` takes the stream, the context and the trait's buffer.
macro_rules! reads {
    ($trait:path, $buffer:ty => $output:ty, $read:path: $($name:ty, $self:ident => $stream:expr;)+) => {$(
        impl<P: Port> $trait for $name {
            #[inline]
            fn poll_read($self: Pin<&mut Self>, context: &mut Context<'_>, buffer: $buffer) -> Poll<io::Result<$output>> {
                $read($stream, context, buffer)
            }
        }
    )+};
}

/// Implements a writing trait whose last method is `$close`. The traits differ in its name, and in whether they ask if
/// vectored writes are worth while.
macro_rules! writes {
    ($trait:path, $close:ident $(, $is_vectored:ident)?: $name:ty, $self:ident => $stream:expr) => {
        impl<P: Port> $trait for $name {
            #[inline]
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

            $(fn $is_vectored(&self) -> bool {
                true
            })?

            /// Nothing is buffered.
            #[inline]
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            /// Ends the sending direction.
            fn $close($self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(match Stream::shutdown($stream) {
                    // The peer is gone, so there is nothing left to end.
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                    ended => ended,
                })
            }
        }
    };
}

reads! { futures_io::AsyncRead, &mut [u8] => usize, Stream::poll_read:
    Stream<P>, self => &self;
    &Stream<P>, self => &self;
    ReadHalf<P>, self => &self.0;
}
writes!(futures_io::AsyncWrite, poll_close: Stream<P>, self => &self);
writes!(futures_io::AsyncWrite, poll_close: &Stream<P>, self => &self);
writes!(futures_io::AsyncWrite, poll_close: WriteHalf<P>, self => &self.stream);

// Codes_SRS_ASYNC_SOCKET_FUTURES_01_061
#[cfg(feature = "tokio")]
mod for_tokio {
    use super::{Context, IoSlice, Pin, Poll, Port, ReadHalf, Stream, WriteHalf, io};
    use std::task::ready;
    use tokio::io::ReadBuf;

    fn read<P: Port>(stream: &Stream<P>, context: &Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = ready!(stream.poll_read(context, buffer.initialize_unfilled()))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }

    reads! { tokio::io::AsyncRead, &mut ReadBuf<'_> => (), read:
        Stream<P>, self => &self;
        ReadHalf<P>, self => &self.0;
    }
    writes!(tokio::io::AsyncWrite, poll_shutdown, is_write_vectored: Stream<P>, self => &self);
    writes!(tokio::io::AsyncWrite, poll_shutdown, is_write_vectored: WriteHalf<P>, self => &self.stream);
}

// Codes_SRS_ASYNC_SOCKET_FUTURES_01_060
#[cfg(feature = "hyper")]
mod for_hyper {
    #![allow(unsafe_code, reason = "hyper's buffer takes the number of bytes that were received on trust")]

    use super::{Context, IoSlice, Pin, Poll, Port, Stream, io};
    use hyper::rt::ReadBufCursor;
    use std::task::ready;

    fn read<P: Port>(stream: &Stream<P>, context: &Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        // SAFETY: nothing is written to it but what was received.
        let room = unsafe { buffer.as_mut() };
        let count = ready!(stream.poll_read_uninit(context, room))?;
        // SAFETY: this many bytes were received into the front of it.
        unsafe { buffer.advance(count) };
        Poll::Ready(Ok(()))
    }

    reads! { hyper::rt::Read, ReadBufCursor<'_> => (), read:
        Stream<P>, self => &self;
    }
    writes!(hyper::rt::Write, poll_shutdown, is_write_vectored: Stream<P>, self => &self);
}
