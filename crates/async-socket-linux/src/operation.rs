//! A send or a receive that waits: the specification's `io_context`.
//!
//! Invariant: an operation owns what was lent and the call-back, and lets go of both together, once.

use crate::event::Core;
use crate::sys::{Errno, SocketSyscalls};
use crate::transfer::{Cursor, Received, Sent, receive, send_some};
use async_socket_api::{IoBufs, IoBufsMut, Payload, ReceiveCompletion, ReceiveResult, SendCompletion, SendResult};
use completion_port::Progress;
use smallbox::{SmallBox, smallbox};
use std::os::fd::BorrowedFd;

/// Operations up to this size (buffers, call-back with what it captured, and what we note) are
/// stored in the queue itself; larger ones on the heap.
type Space = [usize; 12];

/// An operation of any kind, as it waits in a queue.
pub(crate) struct Queued<S>(SmallBox<dyn Operation<S>, Space>);

pub(crate) trait Operation<S>: Send {
    /// Tries on.
    fn attempt(&mut self, core: &Core<S>, fd: BorrowedFd<'_>) -> Progress;
    /// Notes that it ends without another attempt.
    fn end(&mut self, core: &Core<S>, how: Ending);
    /// Calls back with what was noted. Only the first call does.
    fn complete(&mut self);
}

/// How an operation ends other than well.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    Abandoned,
    Failed(Option<Errno>),
}

impl<S> Queued<S> {
    pub(crate) fn operation(&mut self) -> &mut dyn Operation<S> {
        &mut *self.0
    }
}

/// A send that is to be queued.
pub(crate) struct NewSend<B, F> {
    pub(crate) payload: Payload<B>,
    pub(crate) on_complete: F,
    /// How much went out already.
    pub(crate) cursor: Cursor,
}

/// A receive that is to be queued.
pub(crate) struct NewReceive<B, F> {
    pub(crate) payload: Payload<B>,
    pub(crate) on_complete: F,
}

/// What the caller lent, until it goes back.
struct Lent<B, F> {
    payload: Payload<B>,
    on_complete: F,
}

struct SendOperation<B, F> {
    lent: Option<Lent<B, F>>,
    cursor: Cursor,
    result: SendResult,
    errno: Option<Errno>,
}

struct ReceiveOperation<B, F> {
    lent: Option<Lent<B, F>>,
    bytes: u32,
    result: ReceiveResult,
    errno: Option<Errno>,
}

// Codes_SRS_ASYNC_SOCKET_LINUX_11_056
impl<S, B, F> From<NewSend<B, F>> for Queued<S>
where
    S: SocketSyscalls,
    B: IoBufs,
    F: FnOnce(SendCompletion<B>) + Send + 'static,
{
    fn from(NewSend { payload, on_complete, cursor }: NewSend<B, F>) -> Self {
        let lent = Some(Lent { payload, on_complete });
        Self(smallbox!(SendOperation { lent, cursor, result: SendResult::Error, errno: None }))
    }
}

// Codes_SRS_ASYNC_SOCKET_LINUX_11_073
impl<S, B, F> From<NewReceive<B, F>> for Queued<S>
where
    S: SocketSyscalls,
    B: IoBufsMut,
    F: FnOnce(ReceiveCompletion<B>) + Send + 'static,
{
    fn from(NewReceive { payload, on_complete }: NewReceive<B, F>) -> Self {
        let lent = Some(Lent { payload, on_complete });
        Self(smallbox!(ReceiveOperation { lent, bytes: 0, result: ReceiveResult::Error, errno: None }))
    }
}

impl<S, B, F> Operation<S> for SendOperation<B, F>
where
    S: SocketSyscalls,
    B: IoBufs,
    F: FnOnce(SendCompletion<B>) + Send,
{
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_094, Codes_SRS_ASYNC_SOCKET_LINUX_11_097
    fn attempt(&mut self, core: &Core<S>, fd: BorrowedFd<'_>) -> Progress {
        let Some(lent) = &self.lent else { return Progress::Complete { drained: false } };
        if core.is_stream_broken() {
            self.result = SendResult::Abandoned;
            return Progress::Complete { drained: false };
        }
        match send_some(&core.sys, fd, &lent.payload, &mut self.cursor) {
            Sent::All => self.result = SendResult::Ok,
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_101
            Sent::Some => return Progress::Partial,
            Sent::Blocked => return Progress::Pending,
            Sent::Failed(errno) => self.end(core, Ending::Failed(Some(errno))),
        }
        Progress::Complete { drained: false }
    }

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_098, Codes_SRS_ASYNC_SOCKET_LINUX_11_099
    fn end(&mut self, core: &Core<S>, how: Ending) {
        core.send_failed(self.cursor.bytes);
        (self.result, self.errno) = match how {
            Ending::Abandoned => (SendResult::Abandoned, None),
            Ending::Failed(reset @ Some(Errno::CONNRESET)) => (SendResult::Abandoned, reset),
            Ending::Failed(errno) => (SendResult::Error, errno),
        };
    }

    fn complete(&mut self) {
        if let Some(Lent { payload, on_complete }) = self.lent.take() {
            on_complete(SendCompletion::new(
                self.result,
                self.errno.map(Errno::raw_os_error),
                self.cursor.bytes,
                payload.into_buffers(),
            ));
        }
    }
}

impl<S, B, F> Operation<S> for ReceiveOperation<B, F>
where
    S: SocketSyscalls,
    B: IoBufsMut,
    F: FnOnce(ReceiveCompletion<B>) + Send,
{
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_082, Codes_SRS_ASYNC_SOCKET_LINUX_11_088
    fn attempt(&mut self, core: &Core<S>, fd: BorrowedFd<'_>) -> Progress {
        let Some(lent) = &mut self.lent else { return Progress::Complete { drained: false } };
        let received = match core.take_late_error() {
            Some(errno) => Received::Failed(errno),
            None => receive(&core.sys, fd, &mut lent.payload),
        };
        let mut drained = false;
        match received {
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_092
            Received::Bytes { bytes, short, late_error } => {
                drained = short && core.short_read_drains();
                if let Some(errno) = late_error {
                    core.keep_late_error(errno);
                }
                (self.result, self.bytes) = (ReceiveResult::Ok, bytes);
            }
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_089
            Received::Blocked => return Progress::Pending,
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_091
            Received::End => self.end(core, Ending::Abandoned),
            Received::Failed(errno) => self.end(core, Ending::Failed(Some(errno))),
        }
        Progress::Complete { drained }
    }

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_090, Codes_SRS_ASYNC_SOCKET_LINUX_11_095
    fn end(&mut self, _: &Core<S>, how: Ending) {
        (self.result, self.errno) = match how {
            Ending::Abandoned => (ReceiveResult::Abandoned, None),
            Ending::Failed(reset @ Some(Errno::CONNRESET)) => (ReceiveResult::Abandoned, reset),
            Ending::Failed(errno) => (ReceiveResult::Error, errno),
        };
    }

    fn complete(&mut self) {
        if let Some(Lent { payload, on_complete }) = self.lent.take() {
            on_complete(ReceiveCompletion::new(
                self.result,
                self.errno.map(Errno::raw_os_error),
                self.bytes,
                payload.into_buffers(),
            ));
        }
    }
}
