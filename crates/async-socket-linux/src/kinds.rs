//! The three kinds of operation: a send, a receive, and a receive that takes its buffer from a pool.

use crate::operation::{Kind, Progress, Queued, reason_of, store_in};
use crate::pool::{FromPool, PoolPlace, PooledBuffer, PooledCompletion};
use crate::pool_waiters::{Note, Resume};
use crate::socket_core::SocketCore;
use crate::sys::{Errno, SocketSyscalls};
use crate::transfer::{
    Cursor, Fault, Received, Sent, ShortRead, receive, receive_into, receive_into_noting_scm_rights,
    receive_noting_scm_rights, send_some,
};
use async_socket_api::{EndReason, IoBufs, IoBufsMut, Payload, ReceiveCompletion, SendCompletion};
use completion_port::memory::try_box;
use completion_port::{Attempt, Direction, IntoOperation, Port, Resumer};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// A send and how far it is.
pub(crate) struct PendingSend<B, F> {
    pub(crate) payload: Payload<B>,
    pub(crate) on_complete: F,
    pub(crate) cursor: Cursor,
    /// Set when it is queued, if the send has a deadline.
    pub(crate) deadline: Option<Instant>,
}

impl<B: IoBufs, F> PendingSend<B, F> {
    pub(crate) fn unsent(&self) -> u32 {
        self.payload.total_length().saturating_sub(self.cursor.bytes)
    }
}

/// A receive.
pub(crate) struct PendingReceive<B, F> {
    /// The checked buffers. Their length is not needed any more.
    pub(crate) buffers: B,
    pub(crate) on_complete: F,
}

/// A receive that takes its buffer from a pool when bytes have arrived.
pub(crate) struct PendingPooled<S: SocketSyscalls, P: Port, F> {
    pub(crate) place: PoolPlace,
    pub(crate) resumer: Resumer<SocketCore<S>, P>,
    pub(crate) on_complete: F,
}

// Codes_SRS_ASYNC_SOCKET_LINUX_11_056
impl<S, B, F> IntoOperation<Queued<S>> for PendingSend<B, F>
where
    S: SocketSyscalls,
    B: IoBufs,
    F: FnOnce(SendCompletion<B>) + Send + 'static,
{
    fn store_in(self, recycled: &mut Option<Queued<S>>) -> Result<(), Self> {
        store_in(self, recycled)
    }
}

// Codes_SRS_ASYNC_SOCKET_LINUX_11_073
impl<S, B, F> IntoOperation<Queued<S>> for PendingReceive<B, F>
where
    S: SocketSyscalls,
    B: IoBufsMut,
    F: FnOnce(ReceiveCompletion<B>) + Send + 'static,
{
    #[inline(always)]
    fn store_in(self, recycled: &mut Option<Queued<S>>) -> Result<(), Self> {
        store_in(self, recycled)
    }
}

impl<S, P, F> IntoOperation<Queued<S>> for PendingPooled<S, P, F>
where
    S: SocketSyscalls,
    P: Port,
    F: FnOnce(PooledCompletion) + Send + 'static,
{
    fn store_in(self, recycled: &mut Option<Queued<S>>) -> Result<(), Self> {
        store_in(self, recycled)
    }
}

impl<S, B, F> Kind<S> for PendingSend<B, F>
where
    S: SocketSyscalls,
    B: IoBufs,
    F: FnOnce(SendCompletion<B>) + Send + 'static,
{
    const FAILED: &'static str = "send ended";
    const DIRECTION: Direction = Direction::Out;
    type Done = ();
    type Completion = SendCompletion<B>;
    type Callback = F;

    #[inline]
    fn attempt(&mut self, core: &SocketCore<S>, attempt: &Attempt<'_, SocketCore<S>>, _: bool) -> Progress<()> {
        if core.is_stream_broken() {
            return Progress::Failed(EndReason::StreamBroken);
        }
        let before = self.cursor.bytes;
        let sent = attempt.run(|fd| send_some(&core.sys, fd.as_fd(), &self.payload, &mut self.cursor));
        core.note_dequeued(self.cursor.bytes - before);
        core.note_sent(self.cursor.bytes - before);
        match sent {
            Some(Sent::All) => Progress::Done { done: (), drained: false },
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_101
            Some(Sent::Some) => Progress::Part,
            Some(Sent::Blocked) => Progress::Blocked,
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_097
            Some(Sent::Failed(fault)) => Progress::Failed(reason_of(fault)),
            None => Progress::Failed(EndReason::BufferPanicked),
        }
    }

    #[inline(always)]
    fn succeed(self, (): ()) -> (F, SendCompletion<B>) {
        let Self { payload, on_complete, cursor, .. } = self;
        (on_complete, SendCompletion::new(EndReason::Completed, cursor.bytes, payload.into_buffers()))
    }

    fn bytes_sent(&self) -> Option<u32> {
        Some(self.cursor.bytes)
    }

    // Codes_SRS_SOCKET_01_100
    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn note_failure(&self, core: &SocketCore<S>) {
        core.send_failed(self.cursor.bytes);
        core.note_dequeued(self.unsent());
    }

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_098, Codes_SRS_ASYNC_SOCKET_LINUX_11_099
    fn fail(self, reason: EndReason) {
        let buffers = self.payload.into_buffers();
        (self.on_complete)(SendCompletion::new(reason, self.cursor.bytes, buffers));
    }
}

impl<S, B, F> Kind<S> for PendingReceive<B, F>
where
    S: SocketSyscalls,
    B: IoBufsMut,
    F: FnOnce(ReceiveCompletion<B>) + Send + 'static,
{
    const FAILED: &'static str = "receive ended";
    const DIRECTION: Direction = Direction::In;
    /// How many bytes arrived.
    type Done = u32;
    type Completion = ReceiveCompletion<B>;
    type Callback = F;

    #[inline(always)]
    fn is_fast_path(core: &SocketCore<S>) -> bool {
        core.is_fast_path()
    }

    #[inline(always)]
    fn attempt(
        &mut self,
        core: &SocketCore<S>,
        attempt: &Attempt<'_, SocketCore<S>>,
        is_fast_path: bool,
    ) -> Progress<u32> {
        if is_fast_path {
            return self.receive_with(core, attempt, true, receive);
        }
        if let Some(errno) = core.take_late_error() {
            return Progress::Failed(reason_of(Fault::Os(errno)));
        }
        let short_read = core.short_read();
        let short_drains = short_read != ShortRead::ProvesNothing;
        let progress = self.receive_with(core, attempt, short_drains, |sys, fd, buffers| match short_read {
            ShortRead::DrainedUnlessFdsPassed => receive_noting_scm_rights(sys, fd, buffers),
            _ => receive(sys, fd, buffers),
        });
        if let Progress::Done { done: bytes, .. } = progress {
            core.note_received(bytes);
        }
        progress
    }

    #[inline(always)]
    fn succeed(self, bytes: u32) -> (F, ReceiveCompletion<B>) {
        let Self { buffers, on_complete } = self;
        (on_complete, ReceiveCompletion::new(EndReason::Completed, bytes, buffers))
    }

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_090, Codes_SRS_ASYNC_SOCKET_LINUX_11_095
    fn fail(self, reason: EndReason) {
        (self.on_complete)(ReceiveCompletion::new(reason, 0, self.buffers));
    }
}

impl<B: IoBufsMut, F> PendingReceive<B, F> {
    #[inline(always)]
    fn receive_with<S: SocketSyscalls>(
        &mut self,
        core: &SocketCore<S>,
        attempt: &Attempt<'_, SocketCore<S>>,
        short_drains: bool,
        read: impl FnOnce(&S, BorrowedFd<'_>, &mut B) -> Received,
    ) -> Progress<u32> {
        match attempt.run(|fd| read(&core.sys, fd.as_fd(), &mut self.buffers)) {
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_092
            Some(Received::Bytes { bytes, short, late_error }) => {
                if let Some(errno) = late_error {
                    core.keep_late_error(errno);
                }
                // Codes_SRS_SOCKET_01_111
                core.touch();
                // Codes_SRS_SOCKET_01_030
                Progress::Done { done: bytes, drained: short && short_drains }
            }
            nothing => without_bytes(core, nothing),
        }
    }
}

impl<S, P, F> Kind<S> for PendingPooled<S, P, F>
where
    S: SocketSyscalls,
    P: Port,
    F: FnOnce(PooledCompletion) + Send + 'static,
{
    const FAILED: &'static str = "pooled receive ended";
    const DIRECTION: Direction = Direction::In;
    /// The bytes that arrived.
    type Done = PooledBuffer;
    type Completion = PooledCompletion;
    type Callback = F;

    #[inline]
    fn attempt(
        &mut self,
        core: &SocketCore<S>,
        attempt: &Attempt<'_, SocketCore<S>>,
        _: bool,
    ) -> Progress<PooledBuffer> {
        if let Some(errno) = core.take_late_error() {
            return Progress::Failed(reason_of(Fault::Os(errno)));
        }
        let mut buffer = match self.place.take(|| try_box(self.resumer.clone()).ok().map(|note| note as Note)) {
            FromPool::Buffer(buffer) => buffer,
            // Codes_SRS_BUFFER_POOL_01_006
            FromPool::Empty => return Progress::Suspended,
            FromPool::OutOfMemory => return Progress::Failed(reason_of(Fault::Os(Errno::NOMEM))),
        };
        let short_read = core.short_read();
        let read = match short_read {
            ShortRead::DrainedUnlessFdsPassed => receive_into_noting_scm_rights::<S>,
            _ => receive_into::<S>,
        };
        match attempt.run(|fd| read(&core.sys, fd.as_fd(), buffer.room())) {
            Some(Received::Bytes { bytes, short, .. }) => {
                // Codes_SRS_BUFFER_POOL_01_004
                buffer.set_filled(bytes as usize);
                // Codes_SRS_SOCKET_01_111
                core.touch();
                core.note_received(bytes);
                Progress::Done { done: buffer, drained: short && short_read != ShortRead::ProvesNothing }
            }
            // The buffer goes back to its pool at the end of this function, before the callback.
            nothing => without_bytes(core, nothing),
        }
    }

    #[inline]
    fn succeed(self, buffer: PooledBuffer) -> (F, PooledCompletion) {
        (self.on_complete, PooledCompletion::new(EndReason::Completed, Some(buffer)))
    }

    // Codes_SRS_BUFFER_POOL_01_007
    fn fail(self, reason: EndReason) {
        let Self { place, on_complete, .. } = self;
        // If the receive was granted a buffer, the next receive in the queue gets it.
        drop(place);
        on_complete(PooledCompletion::new(reason, None));
    }
}

/// A receive got no bytes.
#[inline(always)]
fn without_bytes<S, D>(core: &SocketCore<S>, received: Option<Received>) -> Progress<D> {
    match received {
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_089
        Some(Received::Blocked) => Progress::Blocked,
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_091, Codes_SRS_SOCKET_01_060
        Some(Received::End) => Progress::Failed(end_of_stream(core)),
        Some(Received::Failed(fault)) => Progress::Failed(reason_of(fault)),
        Some(Received::Bytes { .. }) | None => Progress::Failed(EndReason::BufferPanicked),
    }
}

/// The end of the stream. If the socket was opened while its connect was in progress, there may never have been a
/// connection.
#[cold]
fn end_of_stream<S>(core: &SocketCore<S>) -> EndReason {
    core.cause_of(None).map_or(EndReason::PeerFinished, |errno| reason_of(Fault::Os(errno)))
}

impl<S: SocketSyscalls, P: Port> Resume for Resumer<SocketCore<S>, P> {
    fn resume(&self) {
        Resumer::resume(self, Direction::In);
    }
}
