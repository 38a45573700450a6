//! `async_socket_*`: the specification's functions.

use crate::boundary::{Context, guarded};
use crate::handle::{borrow, from_handle, into_handle};
use crate::platform::next_port;
use crate::refusal::{out_of_memory, reject, reject_buffers};
use crate::types::{
    ASYNC_SOCKET_BUFFER, ASYNC_SOCKET_SEND_SYNC_RESULT, ON_ASYNC_SOCKET_OPEN_COMPLETE,
    ON_ASYNC_SOCKET_RECEIVE_COMPLETE, ON_ASYNC_SOCKET_SEND_COMPLETE, SOCKET_HANDLE,
};
use crate::{kernel, version};
use ASYNC_SOCKET_SEND_SYNC_RESULT::{ASYNC_SOCKET_SEND_SYNC_ERROR, ASYNC_SOCKET_SEND_SYNC_OK};
use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, IoBufs, IoBufsMut, Kernel, PayloadError, RawBuffer, RawBuffers, RawSlice,
    ReceiveError, ReceiveResult, Refused, SendError, SendResult,
};
use completion_port::CompletionPort;
use completion_port::memory::Reserved;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::slice;

const SEND: &str = "async_socket_send_async";
const RECEIVE: &str = "async_socket_receive_async";

/// What a socket handle points to.
#[derive(Debug)]
pub struct ASYNC_SOCKET {
    pub(crate) socket: Socket,
}

/// A socket on a port of this library.
pub(crate) type Socket = AsyncSocketLinux<CompletionPort<kernel::Kernel>>;

/// A socket, from `async_socket_create` to `async_socket_destroy`.
pub type ASYNC_SOCKET_HANDLE = *mut ASYNC_SOCKET;

/// An execution engine of the program. It is accepted where the specification asks for one, and never dereferenced.
#[derive(Debug)]
pub struct EXECUTION_ENGINE_TAG(());

/// A pointer to an execution engine.
pub type EXECUTION_ENGINE_HANDLE = *mut EXECUTION_ENGINE_TAG;

/// Creates a socket, which owns `socket_handle` from then on. Returns NULL if `socket_handle` is `INVALID_SOCKET`, if
/// `platform_init` has not been called, or if there is no memory. Then the descriptor is still the caller's.
///
/// # Safety
/// `socket_handle` is a descriptor that the caller owns, or negative.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_001, Codes_SRS_ASYNC_SOCKET_LINUX_11_002, Codes_SRS_ASYNC_SOCKET_LINUX_11_005
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_create(
    execution_engine: EXECUTION_ENGINE_HANDLE,
    socket_handle: SOCKET_HANDLE,
) -> ASYNC_SOCKET_HANDLE {
    guarded(ptr::null_mut(), || {
        // A C program's engine is not this library's, so every socket uses the platform's ports.
        let _ = execution_engine;
        // SAFETY: the caller's promise.
        let created = unsafe { create("async_socket_create", socket_handle) };
        created.map_or(ptr::null_mut(), |(memory, socket)| into_handle(memory.fill(ASYNC_SOCKET { socket })))
    })
}

/// A socket on the platform's next port, and memory for its handle. `None` with a line in the log if that fails. The descriptor is then
/// still the caller's.
///
/// # Safety
/// `socket_handle` is a descriptor that the caller owns, or negative.
pub(crate) unsafe fn create(
    function: &'static str,
    socket_handle: SOCKET_HANDLE,
) -> Option<(Reserved<ASYNC_SOCKET>, Socket)> {
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_003
    if socket_handle.is_negative() {
        reject(function, "socket_handle", "is no descriptor");
        return None;
    }
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_006
    let Some(port) = next_port() else {
        reject(function, "execution_engine", "NULL means the platform, which is not started in this process");
        return None;
    };
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_006, Codes_SRS_C_LIBRARY_01_013
    let Some(memory) = Reserved::try_new() else {
        out_of_memory(function);
        return None;
    };
    // SAFETY: the number is not negative, and the caller gives the descriptor away.
    let socket = unsafe { OwnedFd::from_raw_fd(socket_handle) };
    match AsyncSocketLinux::try_create_with(port.port.clone(), Kernel, socket) {
        Ok(socket) => Some((memory, socket)),
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_006, Codes_SRS_C_LIBRARY_01_013
        Err(refused) => {
            // It stays the caller's.
            let _ = refused.returned.into_raw_fd();
            out_of_memory(function);
            None
        }
    }
}

/// Closes and frees a socket. NULL is ignored. When this returns, no callback of the socket runs or will run on any thread,
/// except those that this is called from. So a callback may destroy its socket and free what the others use. Operations that
/// are pending are called back before this returns.
///
/// If another thread, or an outer frame of this thread, is closing the socket, this completes as abandoned what is not completed
/// yet, and waits for the callback that the other thread is in. This holds on every thread, a port's too. Two callbacks on two
/// threads that close or destroy each other's sockets wait for each other for ever. One port and one thread that sends suffice
/// for that. Do not hold a lock that a callback of the socket takes.
///
/// # Safety
/// `async_socket` is NULL or a handle that the program does not use again.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_021, Codes_SRS_ASYNC_SOCKET_LINUX_11_023
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_destroy(async_socket: ASYNC_SOCKET_HANDLE) {
    guarded((), || {
        // SAFETY: NULL or a handle that the caller gives up.
        match unsafe { from_handle(async_socket) } {
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_020
            Some(handle) => handle.socket.close_and_wait(),
            None => reject("async_socket_destroy", "async_socket", "is NULL"),
        }
    });
}

/// Opens a socket. Returns 0 on success, after the callback has run, and otherwise non-zero without a callback.
///
/// # Safety
/// `async_socket` is NULL or a valid handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_open_async(
    async_socket: ASYNC_SOCKET_HANDLE,
    on_open_complete: ON_ASYNC_SOCKET_OPEN_COMPLETE,
    on_open_complete_context: *mut c_void,
) -> c_int {
    const NAME: &str = "async_socket_open_async";
    guarded(1, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(async_socket) }) else {
            reject(NAME, "async_socket", "is NULL");
            return 1;
        };
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_025
        let Some(on_open_complete) = on_open_complete else {
            reject(NAME, "on_open_complete", "is NULL");
            return 1;
        };
        let context = Context::new(on_open_complete_context);
        let opened = handle.socket.open_async(move |result| {
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_026
            // SAFETY: the caller allows this call.
            unsafe { on_open_complete(context.pointer(), result.into()) };
        });
        opened.map_or_else(
            |error| {
                let descriptor = handle.socket.descriptor_number();
                tracing::error!(descriptor, error = &error as &dyn std::error::Error, "{NAME}");
                1
            },
            |()| 0,
        )
    })
}

/// Closes a socket: waits for its callbacks on other threads, abandons what is pending, and returns when no callback of the
/// socket runs any more, except those that this is called from. Does nothing for NULL or a socket that is not open.
///
/// While another thread is closing the socket, a second close returns at once, and callbacks may still run. Destroy waits for
/// them. Two callbacks on two threads that close each other's sockets wait for each other for ever. One port and one thread
/// that sends suffice for that. Do not hold a lock that a callback of the socket takes.
///
/// # Safety
/// `async_socket` is NULL or a valid handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_close(async_socket: ASYNC_SOCKET_HANDLE) {
    guarded((), || {
        // SAFETY: NULL or a valid handle.
        match unsafe { borrow(async_socket) } {
            Some(handle) => handle.socket.close(),
            None => reject("async_socket_close", "async_socket", "is NULL"),
        }
    });
}

/// Sends buffers in order as one payload. If this returns `ASYNC_SOCKET_SEND_SYNC_OK`, the callback runs exactly once, possibly
/// before this returns. Otherwise the callback does not run.
///
/// # Safety
/// `async_socket` is NULL or a valid handle; `buffers` is NULL or points to `buffer_count` buffers, whose bytes may be read
/// until the callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_send_async(
    async_socket: ASYNC_SOCKET_HANDLE,
    buffers: *const ASYNC_SOCKET_BUFFER,
    buffer_count: u32,
    on_send_complete: ON_ASYNC_SOCKET_SEND_COMPLETE,
    on_send_complete_context: *mut c_void,
) -> ASYNC_SOCKET_SEND_SYNC_RESULT {
    const NAME: &str = SEND;
    guarded(ASYNC_SOCKET_SEND_SYNC_ERROR, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(async_socket) }) else {
            reject(NAME, "async_socket", "is NULL");
            return ASYNC_SOCKET_SEND_SYNC_ERROR;
        };
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_049
        let Some(on_send_complete) = on_send_complete else {
            reject(NAME, "on_send_complete", "is NULL");
            return ASYNC_SOCKET_SEND_SYNC_ERROR;
        };
        // SAFETY: NULL or `buffer_count` long.
        let Some(list) = (unsafe { list(NAME, buffers, buffer_count) }) else { return ASYNC_SOCKET_SEND_SYNC_ERROR };
        let context = Context::new(on_send_complete_context);
        let callback = move |result: SendResult| {
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_050
            // SAFETY: the caller allows this call.
            unsafe { on_send_complete(context.pointer(), result.into()) };
        };
        match list {
            // SAFETY: the caller's promise about `buffers`.
            [one] => send(&handle, unsafe { RawSlice::checked(*one) }, callback),
            // SAFETY: the caller's promise about `buffers`.
            several => unsafe { send_several(&handle, several, callback) },
        }
    })
}

// Codes_SRS_ASYNC_SOCKET_LINUX_11_045, Codes_SRS_ASYNC_SOCKET_LINUX_11_046, Codes_SRS_ASYNC_SOCKET_LINUX_11_047
// Codes_SRS_ASYNC_SOCKET_LINUX_11_048
#[inline(always)]
fn send<B: IoBufs>(
    handle: &ASYNC_SOCKET,
    buffers: Result<B, PayloadError>,
    callback: impl FnOnce(SendResult) + Send + 'static,
) -> ASYNC_SOCKET_SEND_SYNC_RESULT {
    let buffers = match buffers {
        Ok(buffers) => buffers,
        Err(error) => return send_refused(SEND, handle, error.into()),
    };
    let sent = handle.socket.send_async(buffers, |completion| callback(completion.result));
    match sent {
        Ok(_) => ASYNC_SOCKET_SEND_SYNC_OK,
        Err(Refused { error, .. }) => send_refused(SEND, handle, error),
    }
}

/// # Safety
/// That of [`RawBuffers::copied`].
#[cold]
unsafe fn send_several(
    handle: &ASYNC_SOCKET,
    list: &[RawBuffer],
    callback: impl FnOnce(SendResult) + Send + 'static,
) -> ASYNC_SOCKET_SEND_SYNC_RESULT {
    // SAFETY: passed on.
    send(handle, unsafe { RawBuffers::copied(list) }, callback)
}

#[cold]
pub(crate) fn send_refused(
    function: &'static str,
    handle: &ASYNC_SOCKET,
    error: SendError,
) -> ASYNC_SOCKET_SEND_SYNC_RESULT {
    let descriptor = handle.socket.descriptor_number();
    match error {
        SendError::Payload(error) => reject_buffers(function, descriptor, error),
        SendError::Inherited | SendError::PortFailed => tracing::error!(descriptor, %error, "send refused"),
        error => tracing::debug!(descriptor, %error, "send refused"),
    }
    error.sync_result().into()
}

/// Receives at least one byte into buffers, in order. Returns 0 on success. Then the callback runs exactly once, on the
/// completion port's thread, or on the thread that closes the socket. Otherwise returns non-zero, and the callback does not run.
///
/// # Safety
/// `async_socket` is NULL or a valid handle; `buffers` is NULL or points to `buffer_count` buffers, which do not overlap, and
/// whose bytes nothing else touches until the callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_receive_async(
    async_socket: ASYNC_SOCKET_HANDLE,
    buffers: *mut ASYNC_SOCKET_BUFFER,
    buffer_count: u32,
    on_receive_complete: ON_ASYNC_SOCKET_RECEIVE_COMPLETE,
    on_receive_complete_context: *mut c_void,
) -> c_int {
    const NAME: &str = RECEIVE;
    guarded(1, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(async_socket) }) else {
            reject(NAME, "async_socket", "is NULL");
            return 1;
        };
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_070
        let Some(on_receive_complete) = on_receive_complete else {
            reject(NAME, "on_receive_complete", "is NULL");
            return 1;
        };
        // SAFETY: NULL or `buffer_count` long.
        let Some(list) = (unsafe { list(NAME, buffers, buffer_count) }) else { return 1 };
        let context = Context::new(on_receive_complete_context);
        let callback = move |result: ReceiveResult, bytes_received| {
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_071
            // SAFETY: the caller allows this call.
            unsafe { on_receive_complete(context.pointer(), result.into(), bytes_received) };
        };
        match list {
            // SAFETY: the caller's promise about `buffers`.
            [one] => receive(&handle, unsafe { RawSlice::checked(*one) }, callback),
            // SAFETY: the caller's promise about `buffers`.
            several => unsafe { receive_several(&handle, several, callback) },
        }
    })
}

// Codes_SRS_ASYNC_SOCKET_LINUX_11_066, Codes_SRS_ASYNC_SOCKET_LINUX_11_067, Codes_SRS_ASYNC_SOCKET_LINUX_11_068
// Codes_SRS_ASYNC_SOCKET_LINUX_11_069
#[inline(always)]
fn receive<B: IoBufsMut>(
    handle: &ASYNC_SOCKET,
    buffers: Result<B, PayloadError>,
    callback: impl FnOnce(ReceiveResult, u32) + Send + 'static,
) -> c_int {
    let buffers = match buffers {
        Ok(buffers) => buffers,
        Err(error) => return receive_refused(RECEIVE, handle, error.into()),
    };
    let received =
        handle.socket.receive_async(buffers, |completion| callback(completion.result, completion.bytes_received));
    match received {
        Ok(_) => 0,
        Err(Refused { error, .. }) => receive_refused(RECEIVE, handle, error),
    }
}

/// # Safety
/// That of [`RawBuffers::copied`].
#[cold]
unsafe fn receive_several(
    handle: &ASYNC_SOCKET,
    list: &[RawBuffer],
    callback: impl FnOnce(ReceiveResult, u32) + Send + 'static,
) -> c_int {
    // SAFETY: passed on.
    receive(handle, unsafe { RawBuffers::copied(list) }, callback)
}

#[cold]
pub(crate) fn receive_refused(function: &'static str, handle: &ASYNC_SOCKET, error: ReceiveError) -> c_int {
    let descriptor = handle.socket.descriptor_number();
    match error {
        ReceiveError::Payload(error) => reject_buffers(function, descriptor, error),
        ReceiveError::Inherited | ReceiveError::PortFailed => tracing::error!(descriptor, %error, "receive refused"),
        error => tracing::debug!(descriptor, %error, "receive refused"),
    }
    1
}

/// The caller's list of buffers, or `None` with a line in the log. The buffers in it are not checked here.
///
/// # Safety
/// `buffers` is NULL or points to `count` buffers.
#[inline(always)]
pub(crate) unsafe fn list<'a>(
    function: &'static str,
    buffers: *const ASYNC_SOCKET_BUFFER,
    count: u32,
) -> Option<&'a [RawBuffer]> {
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_044, Codes_SRS_ASYNC_SOCKET_LINUX_11_065
    if buffers.is_null() {
        reject(function, "buffers", "is NULL");
        return None;
    }
    // SAFETY: the list is not NULL, and `count` long by the caller's promise. The two types have the same layout (types.rs).
    Some(unsafe { slice::from_raw_parts(buffers.cast::<RawBuffer>(), count as usize) })
}

// A static library must have these two functions in the object file of the socket's functions, so they are in this
// file. A program that calls them then does not link if another static library has already provided the socket's
// functions.

/// The version of the library that is linked. `ASYNC_SOCKET_VERSION` is the header's. The string is valid for ever.
// Codes_SRS_C_LIBRARY_01_004
#[unsafe(no_mangle)]
pub extern "C" fn async_socket_version() -> *const c_char {
    version::VERSION.as_ptr()
}

/// Non-zero if the functions that the program calls by these names are this library's. 0 if another library with the same names
/// was linked before this one, and one of the two is shared. If both are static and the other comes first, a program that
/// calls this function does not link.
// Codes_SRS_C_LIBRARY_01_005
#[unsafe(no_mangle)]
pub extern "C" fn async_socket_is_answering() -> c_int {
    let ours = [c"async_socket_create", c"async_socket_open_async", c"async_socket_close"];
    guarded(0, || c_int::from(version::is_reached(&ours)))
}
