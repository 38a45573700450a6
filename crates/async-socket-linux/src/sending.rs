//! `send_async`: sends at once on the caller's thread. The port thread sends the bytes that the kernel does not take at
//! once.
//!
//! Invariants:
//! * A send is tried at once only with a claim on the sending direction, so two payloads never mix.
//! * A refused send comes back whole, and is dropped after the claim has ended. Dropping it drops the values that its
//!   callback captured. These may close the socket, and the close waits for the claim.

use crate::counts::{Counts, run_watched};
use crate::deadline::{arm, deadline, end_if_broken};
use crate::kinds::PendingSend;
use crate::lent::Lent;
use crate::socket_core::{SocketCore, state_in};
use crate::sys::{Errno, SocketSyscalls};
use crate::transfer::{Cursor, Fault, Sent, send_once, send_rest};
use async_socket_api::{EndReason, IoBufs, Payload, Refused, SendCompletion, SendError};
use completion_port::{AddError, Claim, ClaimError, Direction, OperationId, Port, Registration};
use std::mem;
use std::os::fd::AsFd;
use std::time::Duration;

/// A send that was refused, and why.
type NotSent<B, F> = (SendError, PendingSend<B, F>);

/// Sends a payload, within a time if it must be.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_051, Codes_SRS_ASYNC_SOCKET_LINUX_11_062, Codes_SRS_ASYNC_SOCKET_LINUX_11_063
#[inline(always)]
pub(crate) fn send_within<P, S, B, F>(
    registration: &Registration<SocketCore<S>, P>,
    buffers: B,
    on_send_complete: F,
    within: Option<Duration>,
) -> Result<Option<OperationId>, Refused<B, SendError>>
where
    P: Port,
    S: SocketSyscalls,
    B: IoBufs,
    F: FnOnce(SendCompletion<B>) + Send + 'static,
{
    let payload = Payload::to_send(buffers).map_err(|refused| refused.map_error(SendError::from))?;
    match registration.try_claim(Direction::Out) {
        Ok(claim) => send_now(registration, payload, on_send_complete, within, claim),
        Err(why) => {
            let send = pending(registration, payload, on_send_complete, within);
            send_later(registration, why, send)
        }
    }
    .map_err(|(error, send)| refused(registration.handler(), error, send))
}

/// Leaves the whole send of a large value to the port thread. The caller's stack still holds the value, and has no room
/// for the completion.
#[inline(never)]
pub(crate) fn send_boxed_within<P, S, B, F>(
    registration: &Registration<SocketCore<S>, P>,
    buffers: Lent<B>,
    on_send_complete: F,
    within: Option<Duration>,
) -> Result<Option<OperationId>, Refused<Lent<B>, SendError>>
where
    P: Port,
    S: SocketSyscalls,
    B: IoBufs,
    F: FnOnce(SendCompletion<B>) + Send + 'static,
{
    let payload = Payload::to_send(buffers).map_err(|refused| refused.map_error(SendError::from))?;
    let on_complete = |sent: SendCompletion<Lent<B>>| {
        let buffers = sent.buffers.into_inner();
        on_send_complete(SendCompletion::new(sent.reason, sent.bytes_sent, buffers));
    };
    send_later(registration, ClaimError::InUse, pending(registration, payload, on_complete, within))
        .map_err(|(error, send)| refused(registration.handler(), error, send))
}

#[cold]
fn refused<S, B, F>(core: &SocketCore<S>, error: SendError, send: PendingSend<B, F>) -> Refused<B, SendError> {
    core.counts().into_iter().for_each(Counts::note_refused_send);
    Refused { error, returned: send.payload.into_buffers() }
}

/// Sends on the caller's thread. The port thread sends the bytes that the kernel does not take at once.
///
/// If a buffer panics, the panic unwinds to the caller. The claim is the last argument because the last one is dropped
/// first.
#[inline]
fn send_now<P, S, B, F>(
    registration: &Registration<SocketCore<S>, P>,
    payload: Payload<B>,
    on_complete: F,
    within: Option<Duration>,
    claim: Claim<'_, SocketCore<S>, P>,
) -> Result<Option<OperationId>, NotSent<B, F>>
where
    P: Port,
    S: SocketSyscalls,
    B: IoBufs,
    F: FnOnce(SendCompletion<B>) + Send + 'static,
{
    let core = claim.handler();
    let sent = if core.may_send() {
        Some(send_once(&core.sys, claim.descriptor().as_fd(), &payload, Cursor::default()))
    } else {
        None
    };
    if sent == Some(Ok(payload.total_length() as usize)) {
        // Codes_SRS_SOCKET_01_111
        core.touch();
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_061
        claim.complete(|| {
            let bytes = payload.total_length();
            on_complete(SendCompletion::new(EndReason::Completed, bytes, payload.into_buffers()));
        });
        // Codes_SRS_SOCKET_01_093
        return Ok(None);
    }
    let send = PendingSend { payload, on_complete, cursor: Cursor::default(), deadline: None };
    not_sent_at_once(registration, Unsent { claim, sent, send }, within)
}

/// A send that its first call did not complete, and the outcome of that call: `None` if there is something to check first.
/// Both are one value, so that a send that completes at once keeps neither in memory.
struct Unsent<'a, P: Port, S: SocketSyscalls, B, F> {
    claim: Claim<'a, SocketCore<S>, P>,
    sent: Option<Result<usize, Fault>>,
    send: PendingSend<B, F>,
}

/// Sends the rest, or queues it.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_054
#[cold]
fn not_sent_at_once<P, S, B, F>(
    registration: &Registration<SocketCore<S>, P>,
    unsent: Unsent<'_, P, S, B, F>,
    within: Option<Duration>,
) -> Result<Option<OperationId>, NotSent<B, F>>
where
    P: Port,
    S: SocketSyscalls,
    B: IoBufs,
    F: FnOnce(SendCompletion<B>) + Send + 'static,
{
    // In this order, so that the claim is dropped first if a buffer panics.
    let mut send = unsent.send;
    let claim = unsent.claim;
    let core = registration.handler();
    let sent = match unsent.sent {
        Some(sent) => sent,
        None => {
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_052
            if let Some(error) = core.refuses_sends() {
                return Err((error, send));
            }
            send_once(&core.sys, claim.descriptor().as_fd(), &send.payload, Cursor::default())
        }
    };
    let on_panic = BreakStream(core);
    let sent = send_rest(&core.sys, claim.descriptor().as_fd(), &send.payload, &mut send.cursor, sent);
    mem::forget(on_panic);
    core.note_sent(send.cursor.bytes);
    match sent {
        Sent::All => {
            let PendingSend { payload, on_complete, cursor, .. } = send;
            let sent = SendCompletion::new(EndReason::Completed, cursor.bytes, payload.into_buffers());
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_061
            claim.complete(|| run_watched(core, Direction::Out, EndReason::Completed, || on_complete(sent)));
            // Codes_SRS_SOCKET_01_093
            Ok(None)
        }
        Sent::Failed(fault) => {
            core.send_failed(send.cursor.bytes);
            Err((send_error(core, fault, send.cursor.bytes), send))
        }
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_055, Codes_SRS_ASYNC_SOCKET_LINUX_11_057, Codes_SRS_SOCKET_01_014
        Sent::Some | Sent::Blocked => {
            core.log(|| {
                tracing::trace!(descriptor = core.descriptor(), bytes_sent = send.cursor.bytes, "send blocked");
            });
            let bytes_sent = send.cursor.bytes;
            let no_memory = SendError::OutOfMemory { bytes_sent };
            // Codes_SRS_SOCKET_01_100
            send.deadline = within.map(|within| deadline(registration, within));
            let is_armed = send.deadline.is_none_or(|deadline| arm(registration, deadline));
            let Some(more) = core.make_more().filter(|_| is_armed) else {
                // The claim is held until the stream is known to be broken.
                core.send_failed(bytes_sent);
                return Err((no_memory, send));
            };
            more.add_queued(send.unsent());
            let deadline = send.deadline;
            // Codes_SRS_SOCKET_01_093
            let queued = claim.queue(send).map(Some);
            if let Some(deadline) = deadline {
                arm(registration, deadline);
            }
            queued.inspect(|_| note_queued(core)).map_err(|failed| {
                let (_claim, send) = failed.returned;
                more.remove_queued(send.unsent());
                core.send_failed(bytes_sent);
                (no_memory, send)
            })
        }
    }
}

/// A send of which nothing is sent yet.
fn pending<P, S, B, F>(
    registration: &Registration<SocketCore<S>, P>,
    payload: Payload<B>,
    on_complete: F,
    within: Option<Duration>,
) -> PendingSend<B, F>
where
    P: Port,
    S: SocketSyscalls,
{
    let deadline = within.map(|within| deadline(registration, within));
    PendingSend { payload, on_complete, cursor: Cursor::default(), deadline }
}

/// Breaks the stream if a buffer panics between two parts of a payload. The buffers are read only after a part went
/// out.
struct BreakStream<'a, S>(&'a SocketCore<S>);

impl<S> Drop for BreakStream<'_, S> {
    fn drop(&mut self) {
        // Codes_SRS_SOCKET_01_043
        self.0.break_stream();
    }
}

/// Queues a send behind earlier sends if these hold the direction. For any other `why`, returns the error.
#[cold]
fn send_later<P, S, B, F>(
    registration: &Registration<SocketCore<S>, P>,
    why: ClaimError,
    send: PendingSend<B, F>,
) -> Result<Option<OperationId>, NotSent<B, F>>
where
    P: Port,
    S: SocketSyscalls,
    B: IoBufs,
    F: FnOnce(SendCompletion<B>) + Send + 'static,
{
    let not_open = || SendError::NotOpen { state: state_in(registration.phase()) };
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_052
    if let Some(error) = claim_error(why, not_open) {
        return Err((error, send));
    }
    let core = registration.handler();
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_052
    if let Some(error) = core.refuses_sends() {
        return Err((error, send));
    }
    let length = send.payload.total_length();
    let Some(more) = core.make_more() else { return Err((SendError::OutOfMemory { bytes_sent: 0 }, send)) };
    // Codes_SRS_SOCKET_01_081
    let queued_bytes = more.add_queued(length);
    if queued_bytes > 0 && more.high_water_mark().is_some_and(|mark| queued_bytes >= mark) {
        more.remove_queued(length);
        return Err((SendError::TooMuchQueued { queued_bytes }, send));
    }
    // Codes_SRS_SOCKET_01_100
    let deadline = send.deadline;
    if deadline.is_some_and(|deadline| !arm(registration, deadline)) {
        more.remove_queued(length);
        return Err((SendError::OutOfMemory { bytes_sent: 0 }, send));
    }
    let added = registration.add(Direction::Out, send).map(Some);
    if let Some(deadline) = deadline {
        arm(registration, deadline);
    }
    end_if_broken(registration);
    added.inspect(|_| note_queued(core)).map_err(|refused| {
        more.remove_queued(length);
        (add_error(refused.error, not_open), refused.returned)
    })
}

fn note_queued<S>(core: &SocketCore<S>) {
    core.counts().into_iter().for_each(Counts::note_queued_send);
}

/// Why the sending direction could not be claimed. `None` if it is only in use.
pub(crate) fn claim_error(error: ClaimError, not_open: impl FnOnce() -> SendError) -> Option<SendError> {
    match error {
        ClaimError::InUse => None,
        ClaimError::Inherited(_) => Some(SendError::Inherited),
        ClaimError::PortFailed => Some(SendError::PortFailed),
        // Codes_SRS_SOCKET_01_132
        ClaimError::NotWatched(errno) => Some(SendError::Os { os_error: errno.raw_os_error(), bytes_sent: 0 }),
        _ => Some(not_open()),
    }
}

/// Why an operation could not be queued for sending.
pub(crate) fn add_error(error: AddError, not_open: impl FnOnce() -> SendError) -> SendError {
    match error {
        AddError::OutOfMemory => SendError::OutOfMemory { bytes_sent: 0 },
        AddError::Inherited(_) => SendError::Inherited,
        AddError::PortFailed => SendError::PortFailed,
        // Codes_SRS_SOCKET_01_132
        AddError::NotWatched(errno) => SendError::Os { os_error: errno.raw_os_error(), bytes_sent: 0 },
        _ => not_open(),
    }
}

pub(crate) fn send_error<S>(core: &SocketCore<S>, fault: Fault, bytes_sent: u32) -> SendError {
    let errno = match fault {
        Fault::Os(errno) => core.cause_of(Some(errno)).unwrap_or(errno),
        Fault::BuffersChanged => return SendError::BuffersChanged { bytes_sent },
    };
    let os_error = errno.raw_os_error();
    match errno {
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_059
        Errno::CONNRESET | Errno::NOTCONN | Errno::PIPE => SendError::Disconnected { os_error, bytes_sent },
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_060
        _ => SendError::Os { os_error, bytes_sent },
    }
}
