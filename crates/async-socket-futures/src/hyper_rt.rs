//! hyper's runtime traits: streams as connections, tasks of the current port, and timers.
#![allow(unsafe_code, reason = "hyper's buffer takes the number of bytes that were received on trust")]

use crate::engine::spawn_local;
use crate::stream::Stream;
use crate::time::{Sleep, sleep, sleep_until};
use completion_port::{Port, log_caught};
use hyper::rt::{Executor, Read, ReadBufCursor, Timer, Write};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

// Codes_SRS_ASYNC_SOCKET_FUTURES_01_060
impl<P: Port> Read for Stream<P> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let count = ready!(Stream::poll_read(&self, context, buffer.initialize_unfilled()))?;
        // SAFETY: the whole buffer is initialised, and `poll_read` has filled this many bytes of it.
        unsafe { buffer.advance(count) };
        Poll::Ready(Ok(()))
    }
}

// Codes_SRS_ASYNC_SOCKET_FUTURES_01_060
impl<P: Port> Write for Stream<P> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Stream::poll_write(&self, context, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write_vectored(&self, context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is buffered.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_close(self, context)
    }
}

/// Runs hyper's tasks, for instance those of HTTP/2, on the port of the task that begins them.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        if spawn_local(future).is_err() {
            log_caught(|| tracing::error!("hyper's task is dropped, because it was begun outside of tasks"));
        }
    }
}

/// hyper's timers, on the port of the current task.
#[derive(Debug, Clone, Copy, Default)]
pub struct PortTimer;

impl hyper::rt::Sleep for Sleep {}

impl Timer for PortTimer {
    fn sleep(&self, delay: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(sleep(delay))
    }

    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(sleep_until(at))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, at: Instant) {
        *sleep = self.sleep_until(at);
    }
}
