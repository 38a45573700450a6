//! Operations that have a name, a time limit, and a reason of their end: what the specification's send and receive leave out.

use crate::boundary::{Context, guarded};
use crate::end_reason::{ASYNC_SOCKET_END_REASON, ON_ASYNC_SOCKET_OPERATION_COMPLETE};
use crate::handle::borrow;
use crate::refusal::reject;
use crate::socket::{ASYNC_SOCKET, ASYNC_SOCKET_HANDLE, list, receive_refused, send_refused};
use crate::types::{ASYNC_SOCKET_BUFFER, ASYNC_SOCKET_SEND_SYNC_RESULT};
use ASYNC_SOCKET_CANCEL_RESULT::*;
use ASYNC_SOCKET_SEND_SYNC_RESULT::{ASYNC_SOCKET_SEND_SYNC_ERROR, ASYNC_SOCKET_SEND_SYNC_OK};
use async_socket_linux::{
    AsyncSocket, Cancel, EndReason, IoBufs, IoBufsMut, OperationId, RawBuffer, RawBuffers, RawSlice, ReceiveCompletion,
    ReceiveError, SendCompletion, SendError,
};
use completion_port::memory::TryArc;
use std::ffi::{c_int, c_void};
use std::time::Duration;

/// The name of an operation that waits, for `async_socket_cancel`. No other operation of the socket ever has the same name. 0
/// is no operation.
pub type ASYNC_SOCKET_OPERATION_ID = u64;

/// A time limit in milliseconds that never ends.
pub const ASYNC_SOCKET_NO_TIME_LIMIT: u32 = u32::MAX;

/// The outcome of `async_socket_cancel`.
#[allow(missing_docs, reason = "the function's documentation says it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ASYNC_SOCKET_CANCEL_RESULT {
    ASYNC_SOCKET_CANCEL_RESULT_INVALID = 0,
    ASYNC_SOCKET_CANCEL_OK = 1,
    ASYNC_SOCKET_CANCEL_NOT_WAITING = 2,
    ASYNC_SOCKET_CANCEL_STARTED = 3,
    ASYNC_SOCKET_CANCEL_ERROR = 4,
}

/// A C callback that learns the reason.
#[derive(Clone, Copy)]
struct Callback {
    on_complete: unsafe extern "C" fn(*mut c_void, ASYNC_SOCKET_END_REASON, c_int, u32),
    context: Context,
}

impl Callback {
    fn call(self, reason: EndReason, bytes: u32) {
        // Codes_SRS_C_LIBRARY_01_040
        let os_error = reason.os_error().unwrap_or(0);
        // Codes_SRS_C_LIBRARY_01_040
        // SAFETY: the caller that passed the callback allows this call.
        unsafe { (self.on_complete)(self.context.pointer(), reason.into(), os_error, bytes) };
    }
}

/// Stores the name of an accepted operation where the caller wants it. 0 if it has none.
///
/// # Safety
/// `place` is NULL or may be written.
pub(crate) unsafe fn store(place: *mut ASYNC_SOCKET_OPERATION_ID, id: Option<OperationId>) {
    if !place.is_null() {
        // SAFETY: the caller's promise.
        unsafe { place.write(id.map_or(0, OperationId::to_raw)) };
    }
}

/// What every call that begins an operation does first. `None` with a line in the log if an argument is NULL.
///
/// # Safety
/// `async_socket` is NULL or a valid handle; `operation_id` is NULL or may be written.
unsafe fn begin(
    function: &'static str,
    async_socket: ASYNC_SOCKET_HANDLE,
    on_complete: ON_ASYNC_SOCKET_OPERATION_COMPLETE,
    context: *mut c_void,
    operation_id: *mut ASYNC_SOCKET_OPERATION_ID,
) -> Option<(TryArc<ASYNC_SOCKET>, Callback)> {
    // Codes_SRS_C_LIBRARY_01_042
    // SAFETY: the caller's promise.
    unsafe { store(operation_id, None) };
    // SAFETY: the caller's promise.
    let Some(handle) = (unsafe { borrow(async_socket) }) else {
        reject(function, "async_socket", "is NULL");
        return None;
    };
    // Codes_SRS_C_LIBRARY_01_070
    let Some(on_complete) = on_complete else {
        reject(function, "on_complete", "is NULL");
        return None;
    };
    Some((handle, Callback { on_complete, context: Context::new(context) }))
}

// Codes_SRS_C_LIBRARY_01_043
pub(crate) fn limit(milliseconds: u32) -> Option<Duration> {
    (milliseconds != ASYNC_SOCKET_NO_TIME_LIMIT).then(|| Duration::from_millis(milliseconds.into()))
}

/// `async_socket_send_async` with a time limit, a name, and a callback that learns the reason of the end. Both kinds of
/// sends wait in one queue, and everything else is as there.
///
/// If the kernel has not taken every byte within `within_milliseconds`, the send ends as `…_TIMED_OUT` on the port's
/// thread, never early and usually less than two milliseconds late. `bytes` then says how much went out. If that is not 0,
/// the stream is broken: later sends are refused, and those that wait end as `…_STREAM_BROKEN`.
/// `ASYNC_SOCKET_NO_TIME_LIMIT` is no limit.
///
/// `operation_id` may be NULL. Otherwise the name of the send is stored there, or 0 if it is complete already or was
/// refused. It is stored before this returns, but the callback may run before that. So point it to a variable of the
/// caller, not into something that the callback frees.
///
/// # Safety
/// That of `async_socket_send_async`; `operation_id` is NULL or can be written until this returns.
// Codes_SRS_C_LIBRARY_01_040
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_send_async_within(
    async_socket: ASYNC_SOCKET_HANDLE,
    buffers: *const ASYNC_SOCKET_BUFFER,
    buffer_count: u32,
    within_milliseconds: u32,
    on_complete: ON_ASYNC_SOCKET_OPERATION_COMPLETE,
    on_complete_context: *mut c_void,
    operation_id: *mut ASYNC_SOCKET_OPERATION_ID,
) -> ASYNC_SOCKET_SEND_SYNC_RESULT {
    const NAME: &str = "async_socket_send_async_within";
    guarded(ASYNC_SOCKET_SEND_SYNC_ERROR, || {
        // SAFETY: the caller's promise.
        let begun = unsafe { begin(NAME, async_socket, on_complete, on_complete_context, operation_id) };
        let Some((handle, callback)) = begun else { return ASYNC_SOCKET_SEND_SYNC_ERROR };
        // SAFETY: NULL or `buffer_count` long.
        let Some(list) = (unsafe { list(NAME, buffers, buffer_count) }) else { return ASYNC_SOCKET_SEND_SYNC_ERROR };
        // SAFETY: the caller's promise about `buffers`.
        let sent = unsafe { send(&handle, list, limit(within_milliseconds), callback) };
        match sent {
            Ok(id) => {
                // Codes_SRS_C_LIBRARY_01_042
                // SAFETY: NULL or a place that can be written.
                unsafe { store(operation_id, id) };
                ASYNC_SOCKET_SEND_SYNC_OK
            }
            Err(error) => send_refused(NAME, &handle, error),
        }
    })
}

/// # Safety
/// That of [`RawBuffers::copied`].
unsafe fn send(
    handle: &ASYNC_SOCKET,
    list: &[RawBuffer],
    within: Option<Duration>,
    callback: Callback,
) -> Result<Option<OperationId>, SendError> {
    match list {
        // SAFETY: the caller's promise.
        [one] => send_buffers(handle, unsafe { RawSlice::checked(*one) }?, within, callback),
        // SAFETY: the caller's promise.
        several => send_buffers(handle, unsafe { RawBuffers::copied(several) }?, within, callback),
    }
}

fn send_buffers<B: IoBufs>(
    handle: &ASYNC_SOCKET,
    buffers: B,
    within: Option<Duration>,
    callback: Callback,
) -> Result<Option<OperationId>, SendError> {
    let done = move |sent: SendCompletion<B>| callback.call(sent.reason, sent.bytes_sent);
    match within {
        None => handle.socket.send_async(buffers, done),
        Some(within) => handle.socket.send_async_within(buffers, within, done),
    }
    .map_err(|refused| refused.error)
}

/// `async_socket_receive_async` with a time limit, a name, and a callback that learns the reason of the end. Both kinds of
/// receives wait in one queue, and everything else is as there.
///
/// If no byte has arrived within `within_milliseconds`, the receive ends as `…_TIMED_OUT` on the port's thread, never
/// early and usually less than two milliseconds late. No byte is lost, and the socket goes on.
/// `ASYNC_SOCKET_NO_TIME_LIMIT` is no limit. `async_socket_set_idle_timeout` is cheaper for long times.
///
/// `operation_id` is as for `async_socket_send_async_within`. Returns 0 on success, otherwise non-zero without a callback.
///
/// # Safety
/// That of `async_socket_receive_async`; `operation_id` is NULL or can be written until this returns.
// Codes_SRS_C_LIBRARY_01_040
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_receive_async_within(
    async_socket: ASYNC_SOCKET_HANDLE,
    buffers: *mut ASYNC_SOCKET_BUFFER,
    buffer_count: u32,
    within_milliseconds: u32,
    on_complete: ON_ASYNC_SOCKET_OPERATION_COMPLETE,
    on_complete_context: *mut c_void,
    operation_id: *mut ASYNC_SOCKET_OPERATION_ID,
) -> c_int {
    const NAME: &str = "async_socket_receive_async_within";
    guarded(1, || {
        // SAFETY: the caller's promise.
        let begun = unsafe { begin(NAME, async_socket, on_complete, on_complete_context, operation_id) };
        let Some((handle, callback)) = begun else { return 1 };
        // SAFETY: NULL or `buffer_count` long.
        let Some(list) = (unsafe { list(NAME, buffers, buffer_count) }) else { return 1 };
        // SAFETY: the caller's promise about `buffers`.
        let received = unsafe { receive(&handle, list, limit(within_milliseconds), callback) };
        match received {
            Ok(id) => {
                // Codes_SRS_C_LIBRARY_01_042
                // SAFETY: NULL or a place that can be written.
                unsafe { store(operation_id, Some(id)) };
                0
            }
            Err(error) => receive_refused(NAME, &handle, error),
        }
    })
}

/// # Safety
/// That of [`RawBuffers::copied`].
unsafe fn receive(
    handle: &ASYNC_SOCKET,
    list: &[RawBuffer],
    within: Option<Duration>,
    callback: Callback,
) -> Result<OperationId, ReceiveError> {
    match list {
        // SAFETY: the caller's promise.
        [one] => receive_buffers(handle, unsafe { RawSlice::checked(*one) }?, within, callback),
        // SAFETY: the caller's promise.
        several => receive_buffers(handle, unsafe { RawBuffers::copied(several) }?, within, callback),
    }
}

fn receive_buffers<B: IoBufsMut>(
    handle: &ASYNC_SOCKET,
    buffers: B,
    within: Option<Duration>,
    callback: Callback,
) -> Result<OperationId, ReceiveError> {
    let done = move |received: ReceiveCompletion<B>| callback.call(received.reason, received.bytes_received);
    match within {
        None => handle.socket.receive_async(buffers, done),
        Some(within) => handle.socket.receive_async_within(buffers, within, done),
    }
    .map_err(|refused| refused.error)
}

/// Ends an operation that waits. The socket goes on, no byte is lost, and the order of the other operations stays.
///
/// `ASYNC_SOCKET_CANCEL_OK`: the callback has run inside this call, with `ASYNC_SOCKET_END_CANCELLED`. No other outcome
/// runs it: `…_NOT_WAITING`: the operation is complete, or its callback runs or is about to. `…_STARTED`: it is a send of
/// which bytes have gone out, and it goes on, because the peer would see a gap. `…_ERROR`: a NULL handle, or the id 0.
///
/// Needs no memory and no event. If another thread tries the operation, this waits for the end of that system call. Hold
/// no lock that the operation's callback takes.
///
/// # Safety
/// `async_socket` is NULL or a valid handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_cancel(
    async_socket: ASYNC_SOCKET_HANDLE,
    operation_id: ASYNC_SOCKET_OPERATION_ID,
) -> ASYNC_SOCKET_CANCEL_RESULT {
    const NAME: &str = "async_socket_cancel";
    guarded(ASYNC_SOCKET_CANCEL_ERROR, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(async_socket) }) else {
            reject(NAME, "async_socket", "is NULL");
            return ASYNC_SOCKET_CANCEL_ERROR;
        };
        let Some(id) = OperationId::from_raw(operation_id) else {
            reject(NAME, "operation_id", "is 0");
            return ASYNC_SOCKET_CANCEL_ERROR;
        };
        match handle.socket.cancel(id) {
            // Codes_SRS_C_LIBRARY_01_044
            Cancel::Cancelled => ASYNC_SOCKET_CANCEL_OK,
            // Codes_SRS_C_LIBRARY_01_044
            Cancel::NotWaiting => ASYNC_SOCKET_CANCEL_NOT_WAITING,
            // Codes_SRS_C_LIBRARY_01_044
            Cancel::Started => ASYNC_SOCKET_CANCEL_STARTED,
        }
    })
}

/// Ends the sending half of the connection (`shutdown(2)` with `SHUT_WR`) when the kernel has taken everything that was
/// sent before. The peer then sees the end of the stream. Receiving goes on.
///
/// It is a send of the end of the stream, and behaves as one: it waits behind the sends that wait, it can be cancelled,
/// and a close abandons it. If nothing waits, the callback runs inside this call, otherwise on the port's thread. `bytes`
/// is 0. Sends after this call are refused with `ASYNC_SOCKET_SEND_SYNC_ABANDONED`, and so is a second shutdown. If the
/// shutdown is cancelled or fails, sends are accepted again. `operation_id` is as for `async_socket_send_async_within`.
///
/// # Safety
/// `async_socket` is NULL or a valid handle; `operation_id` is NULL or can be written until this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_shutdown_async(
    async_socket: ASYNC_SOCKET_HANDLE,
    on_complete: ON_ASYNC_SOCKET_OPERATION_COMPLETE,
    on_complete_context: *mut c_void,
    operation_id: *mut ASYNC_SOCKET_OPERATION_ID,
) -> ASYNC_SOCKET_SEND_SYNC_RESULT {
    const NAME: &str = "async_socket_shutdown_async";
    guarded(ASYNC_SOCKET_SEND_SYNC_ERROR, || {
        // SAFETY: the caller's promise.
        let begun = unsafe { begin(NAME, async_socket, on_complete, on_complete_context, operation_id) };
        let Some((handle, callback)) = begun else { return ASYNC_SOCKET_SEND_SYNC_ERROR };
        match handle.socket.shutdown_async(move |ended| callback.call(ended.reason, 0)) {
            Ok(id) => {
                // Codes_SRS_C_LIBRARY_01_042
                // SAFETY: NULL or a place that can be written.
                unsafe { store(operation_id, id) };
                ASYNC_SOCKET_SEND_SYNC_OK
            }
            // Codes_SRS_C_LIBRARY_01_045
            Err(error) => send_refused(NAME, &handle, error),
        }
    })
}
