//! A descriptor on a port, for futures.
//!
//! Invariant: a system call is made only inside a poll that returns its result. So a future that is dropped loses no byte.

use crate::budget;
use crate::ready::Ready;
use crate::worker::Worker;
use completion_port::memory::TryArc;
use completion_port::process::Inherited;
use completion_port::{CompletionPort, Direction, Port, Token, is_port_thread};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, socket_linger};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, Waker, ready};

/// A descriptor that tasks can wait for.
pub(crate) struct Io<P: Port = CompletionPort> {
    ready: TryArc<Ready>,
    port: P,
    descriptor: Open,
}

/// The outcome of one try of an operation.
pub(crate) struct Tried<T> {
    pub(crate) value: T,
    /// The kernel has no more for now.
    pub(crate) drained: bool,
}

impl<P: Port> Io<P> {
    /// Puts a descriptor on a port. Sets it to non-blocking mode.
    pub(crate) fn on(port: P, descriptor: OwnedFd) -> io::Result<Self> {
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_032
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        let ready = TryArc::try_new(Ready::new()).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_032
        let token = port.attach(descriptor.as_fd(), ready.clone().into())?;
        ready.set_token(token);
        Ok(Self { ready, port, descriptor: Open(Some(descriptor)) })
    }

    /// A short read of this descriptor does not say that there is no more.
    pub(crate) fn short_reads_prove_nothing(&self) {
        self.ready.set_lasts();
    }

    /// Makes an attempt as soon as the direction is ready. `attempt` must not block.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_030, Codes_SRS_ASYNC_SOCKET_FUTURES_01_031
    #[inline(always)]
    pub(crate) fn poll<T>(
        &self,
        context: &Context<'_>,
        direction: Direction,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<Tried<T>>,
    ) -> Poll<io::Result<T>> {
        ready!(budget::poll_proceed(context));
        let mut known = self.ready.get();
        loop {
            if known.is(direction) {
                known = match attempt(self.descriptor.as_fd()) {
                    Ok(tried) => {
                        if tried.drained && !known.lasts() {
                            self.ready.clear(direction, known);
                        }
                        return Poll::Ready(Ok(tried.value));
                    }
                    Err(Errno::AGAIN) => self.ready.clear(direction, known),
                    Err(Errno::INTR) => self.ready.get(),
                    Err(error) => return Poll::Ready(Err(error.into())),
                };
            } else if self.ready.is_inherited() {
                // Codes_SRS_ASYNC_SOCKET_FUTURES_01_036
                return Poll::Ready(Err(Inherited.into()));
            } else if known.has_failed() {
                // As for a port that refuses a descriptor because it has failed.
                // Codes_SRS_ASYNC_SOCKET_FUTURES_01_036
                return Poll::Ready(Err(Errno::BADF.into()));
            } else {
                known = self.ready.wait(direction, context.waker());
                if !known.is(direction) {
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes the descriptor off the port. A task that waits is woken.
    pub(crate) fn into_descriptor(self) -> OwnedFd {
        let mut this = self;
        let descriptor = this.descriptor.0.take().expect("it is there until it is taken back");
        this.port.detach(descriptor.as_fd(), this.token());
        this.ready.end().into_iter().flatten().for_each(Waker::wake);
        descriptor
    }

    /// Makes this the waker of a direction that is not asked through [`poll`](Self::poll).
    pub(crate) fn store_waker(&self, direction: Direction, waker: &Waker) {
        self.ready.wait(direction, waker);
    }

    /// Whether the port has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.ready.get().has_failed()
    }

    /// The port.
    pub(crate) fn port(&self) -> &P {
        &self.port
    }

    /// The port's name for this. Scheduling it wakes the tasks whose directions are ready.
    pub(crate) fn token(&self) -> Token {
        self.ready.token()
    }
}

/// The port of the current task, or the one that the process uses outside of tasks.
pub(crate) fn current_port() -> io::Result<CompletionPort> {
    match Worker::current() {
        Some(worker) => Ok(worker.port().clone()),
        None => async_socket_linux::platform::get_completion_port().map_err(io::Error::from),
    }
}

impl<P: Port> AsFd for Io<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl<P: Port> Drop for Io<P> {
    fn drop(&mut self) {
        // Before the descriptor is closed, so that no late event arrives.
        if let Some(descriptor) = &self.descriptor.0 {
            self.port.detach(descriptor.as_fd(), self.token());
            drop(self.ready.end());
        }
    }
}

impl<P: Port> fmt::Debug for Io<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}

/// A descriptor until it is closed or taken back.
#[derive(Debug)]
struct Open(Option<OwnedFd>);

impl AsFd for Open {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect("it is there until it is taken back").as_fd()
    }
}

impl Drop for Open {
    /// On a port thread `close` must not wait for a peer, because all other tasks of the port would wait too. Without
    /// lingering it returns at once, and the kernel goes on sending.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_034
    fn drop(&mut self) {
        if let Some(descriptor) = &self.0
            && is_port_thread()
            && matches!(socket_linger(descriptor), Ok(Some(time)) if !time.is_zero())
        {
            let _ = set_socket_linger(descriptor, None);
        }
    }
}
