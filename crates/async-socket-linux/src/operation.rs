//! A send or a receive that waits: the specification's `io_context`.
//!
//! Invariant: an operation owns what was lent and the call-back, and lets go of both together, once. What is left then
//! is room for the next operation of the same kind, so that nothing is allocated per operation.

use crate::event::Core;
use crate::pool::{PoolPlace, PooledCompletion, Taken};
use crate::sys::{Errno, SocketSyscalls};
use crate::transfer::{
    Cursor, Fault, Received, Sent, ShortRead, receive, receive_beside_descriptors, receive_into,
    receive_into_beside_descriptors, send_some,
};
use async_socket_api::{IoBufs, IoBufsMut, Payload, ReceiveCompletion, ReceiveResult, SendCompletion, SendResult};
use completion_port::memory::try_box;
use completion_port::{Attempt, IntoOperation, Port, Resumer, log_caught};
use std::any::Any;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};

/// An operation of any kind, as it waits in a queue.
pub(crate) type Queued<S> = Box<dyn Operation<S>>;

/// What can be asked of it. Implemented by the room for one, which is empty once that has been completed.
pub(crate) trait Operation<S: SocketSyscalls>: Any + Send {
    /// Tries on, and calls back if it is done then.
    fn attempt(self: Box<Self>, core: &Core<S>, attempt: Attempt<'_, Core<S>>);
    /// Calls back without another try.
    fn end(self: Box<Self>, core: &Core<S>, how: Ending, attempt: Attempt<'_, Core<S>>);
}

/// How an operation ends other than well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The socket was closed, or the peer sends no more.
    Abandoned,
    Failed(Option<Errno>),
    /// A buffer shows another length than when it was checked.
    BuffersChanged,
}

impl From<Fault> for Ending {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Os(errno) => Self::Failed(Some(errno)),
            Fault::BuffersChanged => {
                tracing::error!("a buffer changed its length while it was lent");
                Self::BuffersChanged
            }
        }
    }
}

impl Ending {
    /// The end of the stream, which for a socket that was opened too early may be a connection that was never made.
    #[cold]
    fn of_stream<S: SocketSyscalls>(core: &Core<S>) -> Self {
        core.cause_of(None).map_or(Self::Abandoned, |errno| Self::Failed(Some(errno)))
    }

    /// The same with the errno that it comes from, see [`Core::cause_of`].
    fn traced<S: SocketSyscalls>(self, core: &Core<S>) -> Self {
        match self {
            Self::Failed(Some(errno)) => Self::Failed(core.cause_of(Some(errno))),
            other => other,
        }
    }

    /// A reset counts as abandoned, with its errno.
    fn is_abandoned(self) -> bool {
        matches!(self, Self::Abandoned | Self::Failed(Some(Errno::CONNRESET)))
    }

    fn os_error(self) -> Option<i32> {
        match self {
            Self::Abandoned | Self::BuffersChanged => None,
            Self::Failed(errno) => errno.map(Errno::raw_os_error),
        }
    }
}

/// A send and how far it is.
pub(crate) struct PendingSend<B, F> {
    pub(crate) payload: Payload<B>,
    pub(crate) on_complete: F,
    pub(crate) cursor: Cursor,
}

/// A receive.
pub(crate) struct PendingReceive<B, F> {
    /// Checked; their length is not needed any more.
    pub(crate) buffers: B,
    pub(crate) on_complete: F,
}

/// A receive that takes its buffer from a pool when bytes have arrived.
pub(crate) struct PendingPooled<S: SocketSyscalls, P: Port, F> {
    pub(crate) place: PoolPlace,
    pub(crate) resumer: Resumer<Core<S>, P>,
    pub(crate) on_complete: F,
}

// Codes_SRS_ASYNC_SOCKET_LINUX_11_056
impl<S, B, F> IntoOperation<Queued<S>> for PendingSend<B, F>
where
    S: SocketSyscalls,
    B: IoBufs,
    F: FnOnce(SendCompletion<B>) + Send + 'static,
{
    fn store_in(self, room: &mut Option<Queued<S>>) -> Result<(), Self> {
        store_in(self, room)
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
    fn store_in(self, room: &mut Option<Queued<S>>) -> Result<(), Self> {
        store_in(self, room)
    }
}

impl<S, P, F> IntoOperation<Queued<S>> for PendingPooled<S, P, F>
where
    S: SocketSyscalls,
    P: Port,
    F: FnOnce(PooledCompletion) + Send + 'static,
{
    fn store_in(self, room: &mut Option<Queued<S>>) -> Result<(), Self> {
        store_in(self, room)
    }
}

/// Puts an operation into the room that another of its kind has left, or into a new one.
#[inline(always)]
fn store_in<S, T>(operation: T, room: &mut Option<Queued<S>>) -> Result<(), T>
where
    S: SocketSyscalls,
    T: 'static,
    [Option<T>; 1]: Operation<S>,
{
    if let Some(emptied) = room
        && let Some([left]) = (&mut **emptied as &mut dyn Any).downcast_mut::<[Option<T>; 1]>()
    {
        // It is empty, so there is nothing to drop.
        mem::forget(left.replace(operation));
        return Ok(());
    }
    put_into_new(Some(operation), room)
}

#[cold]
fn put_into_new<S, T>(operation: Option<T>, room: &mut Option<Queued<S>>) -> Result<(), T>
where
    S: SocketSyscalls,
    [Option<T>; 1]: Operation<S>,
{
    match try_box(operation) {
        Ok(new) => {
            *room = Some(new);
            Ok(())
        }
        Err(returned) => returned.map_or_else(|| unreachable!("it was put in"), Err),
    }
}

/// Up to how many bytes an emptied operation is kept for the next one. A larger one holds lent arrays: moving those costs
/// more than allocating anew, and an idle socket shall not hold their memory.
const LARGEST_KEPT: usize = 2 * 1024;

/// What is left of an operation for the next one of its kind.
#[inline(always)]
fn recycled<S: SocketSyscalls, T>(room: Box<[Option<T>; 1]>) -> Option<Queued<S>>
where
    [Option<T>; 1]: Operation<S>,
{
    // Known when it is compiled.
    if size_of::<[Option<T>; 1]>() <= LARGEST_KEPT { Some(room) } else { None }
}

impl<S, B, F> Operation<S> for [Option<PendingSend<B, F>>; 1]
where
    S: SocketSyscalls,
    B: IoBufs,
    F: FnOnce(SendCompletion<B>) + Send + 'static,
{
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_094, Codes_SRS_ASYNC_SOCKET_LINUX_11_097
    fn attempt(mut self: Box<Self>, core: &Core<S>, attempt: Attempt<'_, Core<S>>) {
        let Some(send) = &mut self[0] else { return };
        if core.is_stream_broken() {
            return self.end(core, Ending::Abandoned, attempt);
        }
        let sent = attempt.run(|fd| send_some(&core.sys, fd.as_fd(), &send.payload, &mut send.cursor));
        match sent {
            Some(Sent::All) => {
                if let Some(PendingSend { payload, on_complete, cursor }) = self[0].take() {
                    let sent = SendCompletion::new(SendResult::Ok, None, cursor.bytes, payload.into_buffers());
                    attempt.complete(false, recycled(self), || on_complete(sent));
                }
            }
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_101
            Some(Sent::Some) => attempt.partial(self),
            Some(Sent::Blocked) => attempt.pending(self),
            Some(Sent::Failed(fault)) => self.end(core, fault.into(), attempt),
            None => self.end(core, Ending::Failed(None), attempt),
        }
    }

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_084, Codes_SRS_ASYNC_SOCKET_LINUX_11_087, Codes_SRS_ASYNC_SOCKET_LINUX_11_098
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_099, Codes_SRS_ASYNC_SOCKET_LINUX_11_100
    #[cold]
    fn end(mut self: Box<Self>, core: &Core<S>, how: Ending, attempt: Attempt<'_, Core<S>>) {
        let Some(PendingSend { payload, on_complete, cursor }) = self[0].take() else { return };
        core.send_failed(cursor.bytes);
        let how = how.traced(core);
        let result = if how.is_abandoned() { SendResult::Abandoned } else { SendResult::Error };
        log_caught(|| tracing::trace!(descriptor = core.descriptor, ?how, bytes_sent = cursor.bytes, "send ended"));
        attempt.complete(false, recycled(self), || {
            on_complete(SendCompletion::new(result, how.os_error(), cursor.bytes, payload.into_buffers()));
        });
    }
}

impl<S, B, F> Operation<S> for [Option<PendingReceive<B, F>>; 1]
where
    S: SocketSyscalls,
    B: IoBufsMut,
    F: FnOnce(ReceiveCompletion<B>) + Send + 'static,
{
    #[inline]
    fn attempt(self: Box<Self>, core: &Core<S>, attempt: Attempt<'_, Core<S>>) {
        if core.receives_plainly() {
            receive_by(self, core, attempt, true, receive::<S, B>);
        } else {
            receive_mindfully(self, core, attempt);
        }
    }

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_084, Codes_SRS_ASYNC_SOCKET_LINUX_11_087, Codes_SRS_ASYNC_SOCKET_LINUX_11_090
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_093, Codes_SRS_ASYNC_SOCKET_LINUX_11_095
    #[cold]
    fn end(mut self: Box<Self>, core: &Core<S>, how: Ending, attempt: Attempt<'_, Core<S>>) {
        let Some(PendingReceive { buffers, on_complete }) = self[0].take() else { return };
        let how = how.traced(core);
        let result = if how.is_abandoned() { ReceiveResult::Abandoned } else { ReceiveResult::Error };
        log_caught(|| tracing::trace!(descriptor = core.descriptor, ?how, "receive ended"));
        attempt.complete(false, recycled(self), || {
            on_complete(ReceiveCompletion::new(result, how.os_error(), 0, buffers));
        });
    }
}

/// Apart, for it would double what the others run through.
#[inline(never)]
fn receive_mindfully<S, B, F>(
    room: Box<[Option<PendingReceive<B, F>>; 1]>,
    core: &Core<S>,
    attempt: Attempt<'_, Core<S>>,
) where
    S: SocketSyscalls,
    B: IoBufsMut,
    F: FnOnce(ReceiveCompletion<B>) + Send + 'static,
{
    if let Some(errno) = core.take_late_error() {
        return room.end(core, Ending::Failed(Some(errno)), attempt);
    }
    let short_read = core.short_read();
    receive_by(room, core, attempt, short_read != ShortRead::Nothing, |sys, fd, buffers| match short_read {
        ShortRead::NoMoreUnlessDescriptors => receive_beside_descriptors(sys, fd, buffers),
        _ => receive(sys, fd, buffers),
    });
}

// Codes_SRS_ASYNC_SOCKET_LINUX_11_082, Codes_SRS_ASYNC_SOCKET_LINUX_11_088
#[inline(always)]
fn receive_by<S, B, F>(
    mut room: Box<[Option<PendingReceive<B, F>>; 1]>,
    core: &Core<S>,
    attempt: Attempt<'_, Core<S>>,
    short_drains: bool,
    read: impl FnOnce(&S, BorrowedFd<'_>, &mut B) -> Received,
) where
    S: SocketSyscalls,
    B: IoBufsMut,
    F: FnOnce(ReceiveCompletion<B>) + Send + 'static,
{
    let Some(operation) = &mut room[0] else { return };
    match attempt.run(|fd| read(&core.sys, fd.as_fd(), &mut operation.buffers)) {
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_092, Codes_SRS_ASYNC_SOCKET_LINUX_11_093
        Some(Received::Bytes { bytes, short, late_error }) => {
            if let Some(errno) = late_error {
                core.keep_late_error(errno);
            }
            if let Some(PendingReceive { buffers, on_complete }) = room[0].take() {
                let received = ReceiveCompletion::new(ReceiveResult::Ok, None, bytes, buffers);
                attempt.complete(short && short_drains, recycled(room), || on_complete(received));
            }
        }
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_089
        Some(Received::Blocked) => attempt.pending(room),
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_091
        Some(Received::End) => room.end(core, Ending::of_stream(core), attempt),
        Some(Received::Failed(fault)) => room.end(core, fault.into(), attempt),
        None => room.end(core, Ending::Failed(None), attempt),
    }
}

impl<S, P, F> Operation<S> for [Option<PendingPooled<S, P, F>>; 1]
where
    S: SocketSyscalls,
    P: Port,
    F: FnOnce(PooledCompletion) + Send + 'static,
{
    // Codes_SRS_BUFFER_POOL_01_003, Codes_SRS_BUFFER_POOL_01_004, Codes_SRS_BUFFER_POOL_01_006
    fn attempt(mut self: Box<Self>, core: &Core<S>, attempt: Attempt<'_, Core<S>>) {
        let Some(receive) = &mut self[0] else { return };
        if let Some(errno) = core.take_late_error() {
            return self.end(core, Ending::Failed(Some(errno)), attempt);
        }
        let mut buffer = match receive.place.take(&receive.resumer) {
            Taken::Buffer(buffer) => buffer,
            Taken::Empty => return attempt.suspend(self),
            Taken::OutOfMemory => return self.end(core, Ending::Failed(Some(Errno::NOMEM)), attempt),
        };
        let beside = core.short_read() == ShortRead::NoMoreUnlessDescriptors;
        let read = if beside { receive_into_beside_descriptors::<S> } else { receive_into::<S> };
        let received = attempt.run(|fd| read(&core.sys, fd.as_fd(), buffer.room()));
        if let Some(Received::Bytes { bytes, short, .. }) = received {
            buffer.set_filled(bytes as usize);
            if let Some(PendingPooled { on_complete, .. }) = self[0].take() {
                let drained = short && core.short_read() != ShortRead::Nothing;
                attempt.complete(drained, recycled(self), || {
                    on_complete(PooledCompletion { result: ReceiveResult::Ok, os_error: None, buffer: Some(buffer) });
                });
            }
            return;
        }
        // Codes_SRS_BUFFER_POOL_01_011
        drop(buffer);
        match received {
            Some(Received::Blocked) => attempt.pending(self),
            Some(Received::End) => self.end(core, Ending::of_stream(core), attempt),
            Some(Received::Failed(fault)) => self.end(core, fault.into(), attempt),
            _ => self.end(core, Ending::Failed(None), attempt),
        }
    }

    // Codes_SRS_BUFFER_POOL_01_007
    #[cold]
    fn end(mut self: Box<Self>, core: &Core<S>, how: Ending, attempt: Attempt<'_, Core<S>>) {
        let Some(PendingPooled { place, on_complete, .. }) = self[0].take() else { return };
        let how = how.traced(core);
        let result = if how.is_abandoned() { ReceiveResult::Abandoned } else { ReceiveResult::Error };
        log_caught(|| tracing::trace!(descriptor = core.descriptor, ?how, "pooled receive ended"));
        attempt.complete(false, recycled(self), || {
            // It may have been granted a buffer, which the next one shall have.
            drop(place);
            on_complete(PooledCompletion { result, os_error: how.os_error(), buffer: None });
        });
    }
}
