//! `async_socket_*`: the specification's functions, translated.

use crate::boundary::{Context, borrowed, guarded, reject};
use crate::platform::next_port;
use crate::types::{
    ASYNC_SOCKET_BUFFER, ASYNC_SOCKET_HANDLE, ASYNC_SOCKET_SEND_SYNC_RESULT, EXECUTION_ENGINE_HANDLE,
    ON_ASYNC_SOCKET_OPEN_COMPLETE, ON_ASYNC_SOCKET_RECEIVE_COMPLETE, ON_ASYNC_SOCKET_SEND_COMPLETE, SOCKET_HANDLE,
};
use crate::{kernel, log, version};
use ASYNC_SOCKET_SEND_SYNC_RESULT::{ASYNC_SOCKET_SEND_SYNC_ERROR, ASYNC_SOCKET_SEND_SYNC_OK};
use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, IoBufs, IoBufsMut, Kernel, PayloadError, RawBuffer, RawBuffers, RawSlice,
    ReceiveError, ReceiveResult, Refused, SendError, SendResult,
};
use completion_port::CompletionPort;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::slice;
use std::sync::Arc;

/// What a socket handle points to.
#[derive(Debug)]
pub struct ASYNC_SOCKET {
    socket: AsyncSocketLinux<CompletionPort<kernel::Kernel>>,
}

/// Creates a socket that owns `socket_handle` from then on. NULL if that is `INVALID_SOCKET` or `platform_init` has not
/// been called; the descriptor then stays the caller's.
///
/// # Safety
/// `socket_handle` is a descriptor that the caller owns, or negative.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_001, Codes_SRS_ASYNC_SOCKET_LINUX_11_002, Codes_SRS_ASYNC_SOCKET_LINUX_11_003
// Codes_SRS_ASYNC_SOCKET_LINUX_11_005, Codes_SRS_ASYNC_SOCKET_LINUX_11_006
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_create(
    execution_engine: EXECUTION_ENGINE_HANDLE,
    socket_handle: SOCKET_HANDLE,
) -> ASYNC_SOCKET_HANDLE {
    guarded(ptr::null_mut(), || {
        // The engines of C programs are not ours: every socket lives on the platform.
        let _ = execution_engine;
        if socket_handle < 0 {
            reject("async_socket_create", "socket_handle", "is no descriptor");
            return ptr::null_mut();
        }
        let Some(port) = next_port() else {
            reject(
                "async_socket_create",
                "execution_engine",
                "NULL means the platform, which is not started in this process",
            );
            return ptr::null_mut();
        };
        // SAFETY: not -1, and the caller's to give away.
        let socket = unsafe { OwnedFd::from_raw_fd(socket_handle) };
        let socket = AsyncSocketLinux::create_with(port.port.clone(), Kernel, socket);
        Arc::into_raw(Arc::new(ASYNC_SOCKET { socket })).cast_mut()
    })
}

/// Closes and frees a socket. NULL is ignored. When it returns, no callback of the socket runs or will run on any thread, but
/// for those that it is called from. So a callback may destroy its socket and free what the others use, also while
/// operations are pending: they are called back before this returns.
///
/// If another thread, or an outer frame of this one, is closing the socket, this completes what is not completed yet as
/// abandoned, and waits for the callback that the other thread is in. It does so on every thread, a port's too. Two callbacks
/// on two threads that close or destroy each other's sockets wait for each other for ever; one port and one sending thread
/// suffice. Do not hold a lock that a callback of the socket takes.
///
/// # Safety
/// `async_socket` is NULL or a handle that nobody uses again.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_019, Codes_SRS_ASYNC_SOCKET_LINUX_11_020, Codes_SRS_ASYNC_SOCKET_LINUX_11_021
// Codes_SRS_ASYNC_SOCKET_LINUX_11_022, Codes_SRS_ASYNC_SOCKET_LINUX_11_023
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_destroy(async_socket: ASYNC_SOCKET_HANDLE) {
    guarded((), || {
        if async_socket.is_null() {
            return reject("async_socket_destroy", "async_socket", "is NULL");
        }
        // SAFETY: it came from `Arc::into_raw`, and the caller gives it up.
        let handle = unsafe { Arc::from_raw(async_socket.cast_const()) };
        handle.socket.close_and_wait();
        drop(handle);
    });
}

/// Opens a socket, and calls back before it returns. Returns 0 on success, otherwise non-zero without a call-back.
///
/// # Safety
/// `async_socket` is NULL or a valid handle.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_024, Codes_SRS_ASYNC_SOCKET_LINUX_11_025, Codes_SRS_ASYNC_SOCKET_LINUX_11_026
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_open_async(
    async_socket: ASYNC_SOCKET_HANDLE,
    on_open_complete: ON_ASYNC_SOCKET_OPEN_COMPLETE,
    on_open_complete_context: *mut c_void,
) -> c_int {
    const NAME: &str = "async_socket_open_async";
    guarded(1, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrowed(async_socket) }) else {
            reject(NAME, "async_socket", "is NULL");
            return 1;
        };
        let Some(on_open_complete) = on_open_complete else {
            reject(NAME, "on_open_complete", "is NULL");
            return 1;
        };
        let context = Context::new(on_open_complete_context);
        let opened = handle.socket.open_async(move |result| {
            // SAFETY: the caller gave the function to be called so.
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

/// Closes a socket: waits for callbacks of it that run on other threads, abandons what is pending, and returns when no callback
/// of it runs any more, but for those it is called from. Does nothing for NULL or a socket that is not open.
///
/// A second close returns at once while another thread is closing the socket, and callbacks may then still run; destroy waits
/// for them. Two callbacks on two threads that close each other's sockets wait for each other for ever; one port and one
/// sending thread suffice. Do not hold a lock that a callback of the socket takes.
///
/// # Safety
/// `async_socket` is NULL or a valid handle.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_035
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_close(async_socket: ASYNC_SOCKET_HANDLE) {
    guarded((), || {
        // SAFETY: NULL or a valid handle.
        match unsafe { borrowed(async_socket) } {
            Some(handle) => handle.socket.close(),
            None => reject("async_socket_close", "async_socket", "is NULL"),
        }
    });
}

/// Sends buffers in order as one payload. Only with `ASYNC_SOCKET_SEND_SYNC_OK` does the call-back run, exactly once,
/// possibly before this returns.
///
/// # Safety
/// `async_socket` is NULL or a valid handle; `buffers` is NULL or points to `buffer_count` of them, whose bytes may be
/// read until the call-back.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_043, Codes_SRS_ASYNC_SOCKET_LINUX_11_049, Codes_SRS_ASYNC_SOCKET_LINUX_11_050
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_send_async(
    async_socket: ASYNC_SOCKET_HANDLE,
    buffers: *const ASYNC_SOCKET_BUFFER,
    buffer_count: u32,
    on_send_complete: ON_ASYNC_SOCKET_SEND_COMPLETE,
    on_send_complete_context: *mut c_void,
) -> ASYNC_SOCKET_SEND_SYNC_RESULT {
    const NAME: &str = "async_socket_send_async";
    guarded(ASYNC_SOCKET_SEND_SYNC_ERROR, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrowed(async_socket) }) else {
            reject(NAME, "async_socket", "is NULL");
            return ASYNC_SOCKET_SEND_SYNC_ERROR;
        };
        let Some(on_send_complete) = on_send_complete else {
            reject(NAME, "on_send_complete", "is NULL");
            return ASYNC_SOCKET_SEND_SYNC_ERROR;
        };
        // SAFETY: NULL or `buffer_count` long.
        let Some(list) = (unsafe { list(NAME, buffers, buffer_count) }) else { return ASYNC_SOCKET_SEND_SYNC_ERROR };
        let context = Context::new(on_send_complete_context);
        let call_back = move |result: SendResult| {
            // SAFETY: the caller gave the function to be called so.
            unsafe { on_send_complete(context.pointer(), result.into()) };
        };
        match list {
            // SAFETY: the caller's promise about `buffers`.
            [one] => send(&handle, unsafe { RawSlice::checked(*one) }, call_back),
            // SAFETY: the caller's promise about `buffers`.
            several => unsafe { send_several(&handle, several, call_back) },
        }
    })
}

// Codes_SRS_ASYNC_SOCKET_LINUX_11_045, Codes_SRS_ASYNC_SOCKET_LINUX_11_046, Codes_SRS_ASYNC_SOCKET_LINUX_11_047
// Codes_SRS_ASYNC_SOCKET_LINUX_11_048
#[inline(always)]
fn send<B: IoBufs>(
    handle: &ASYNC_SOCKET,
    buffers: Result<B, PayloadError>,
    call_back: impl FnOnce(SendResult) + Send + 'static,
) -> ASYNC_SOCKET_SEND_SYNC_RESULT {
    let buffers = match buffers {
        Ok(buffers) => buffers,
        Err(error) => return send_refused(handle, error.into()),
    };
    let sent = handle.socket.send_async(buffers, |completion| call_back(completion.result));
    match sent {
        Ok(()) => ASYNC_SOCKET_SEND_SYNC_OK,
        Err(Refused { error, .. }) => send_refused(handle, error),
    }
}

/// # Safety
/// That of [`RawBuffers::copied`].
#[cold]
unsafe fn send_several(
    handle: &ASYNC_SOCKET,
    list: &[RawBuffer],
    call_back: impl FnOnce(SendResult) + Send + 'static,
) -> ASYNC_SOCKET_SEND_SYNC_RESULT {
    // SAFETY: passed on.
    send(handle, unsafe { RawBuffers::copied(list) }, call_back)
}

#[cold]
fn send_refused(handle: &ASYNC_SOCKET, error: SendError) -> ASYNC_SOCKET_SEND_SYNC_RESULT {
    let descriptor = handle.socket.descriptor_number();
    match error {
        SendError::Payload(error) => reject_buffers("async_socket_send_async", descriptor, error),
        SendError::Inherited | SendError::PortFailed => tracing::error!(descriptor, %error, "send refused"),
        error => tracing::debug!(descriptor, %error, "send refused"),
    }
    error.sync_result().into()
}

/// Receives at least one byte into buffers, in order. Returns 0 on success; then the call-back runs exactly once, on the
/// completion port's thread, or on the thread that closes the socket.
///
/// # Safety
/// `async_socket` is NULL or a valid handle; `buffers` is NULL or points to `buffer_count` of them, which do not overlap
/// and whose bytes nobody else touches until the call-back.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_064, Codes_SRS_ASYNC_SOCKET_LINUX_11_070, Codes_SRS_ASYNC_SOCKET_LINUX_11_071
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_receive_async(
    async_socket: ASYNC_SOCKET_HANDLE,
    buffers: *mut ASYNC_SOCKET_BUFFER,
    buffer_count: u32,
    on_receive_complete: ON_ASYNC_SOCKET_RECEIVE_COMPLETE,
    on_receive_complete_context: *mut c_void,
) -> c_int {
    const NAME: &str = "async_socket_receive_async";
    guarded(1, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrowed(async_socket) }) else {
            reject(NAME, "async_socket", "is NULL");
            return 1;
        };
        let Some(on_receive_complete) = on_receive_complete else {
            reject(NAME, "on_receive_complete", "is NULL");
            return 1;
        };
        // SAFETY: NULL or `buffer_count` long.
        let Some(list) = (unsafe { list(NAME, buffers, buffer_count) }) else { return 1 };
        let context = Context::new(on_receive_complete_context);
        let call_back = move |result: ReceiveResult, bytes_received| {
            // SAFETY: the caller gave the function to be called so.
            unsafe { on_receive_complete(context.pointer(), result.into(), bytes_received) };
        };
        match list {
            // SAFETY: the caller's promise about `buffers`.
            [one] => receive(&handle, unsafe { RawSlice::checked(*one) }, call_back),
            // SAFETY: the caller's promise about `buffers`.
            several => unsafe { receive_several(&handle, several, call_back) },
        }
    })
}

// Codes_SRS_ASYNC_SOCKET_LINUX_11_066, Codes_SRS_ASYNC_SOCKET_LINUX_11_067, Codes_SRS_ASYNC_SOCKET_LINUX_11_068
// Codes_SRS_ASYNC_SOCKET_LINUX_11_069
#[inline(always)]
fn receive<B: IoBufsMut>(
    handle: &ASYNC_SOCKET,
    buffers: Result<B, PayloadError>,
    call_back: impl FnOnce(ReceiveResult, u32) + Send + 'static,
) -> c_int {
    let buffers = match buffers {
        Ok(buffers) => buffers,
        Err(error) => return receive_refused(handle, error.into()),
    };
    let received =
        handle.socket.receive_async(buffers, |completion| call_back(completion.result, completion.bytes_received));
    match received {
        Ok(()) => 0,
        Err(Refused { error, .. }) => receive_refused(handle, error),
    }
}

/// # Safety
/// That of [`RawBuffers::copied`].
#[cold]
unsafe fn receive_several(
    handle: &ASYNC_SOCKET,
    list: &[RawBuffer],
    call_back: impl FnOnce(ReceiveResult, u32) + Send + 'static,
) -> c_int {
    // SAFETY: passed on.
    receive(handle, unsafe { RawBuffers::copied(list) }, call_back)
}

#[cold]
fn receive_refused(handle: &ASYNC_SOCKET, error: ReceiveError) -> c_int {
    let descriptor = handle.socket.descriptor_number();
    match error {
        ReceiveError::Payload(error) => reject_buffers("async_socket_receive_async", descriptor, error),
        ReceiveError::Inherited | ReceiveError::PortFailed => tracing::error!(descriptor, %error, "receive refused"),
        error => tracing::debug!(descriptor, %error, "receive refused"),
    }
    1
}

/// The caller's list of buffers; says so if there is none. What is in it is checked when it is taken over.
///
/// # Safety
/// `buffers` is NULL or points to `count` of them.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_044, Codes_SRS_ASYNC_SOCKET_LINUX_11_065
#[inline(always)]
unsafe fn list<'a>(function: &'static str, buffers: *const ASYNC_SOCKET_BUFFER, count: u32) -> Option<&'a [RawBuffer]> {
    if buffers.is_null() {
        reject(function, "buffers", "is NULL");
        return None;
    }
    // SAFETY: not NULL and `count` long, by the caller's promise; the two types have the same layout (types.rs).
    Some(unsafe { slice::from_raw_parts(buffers.cast::<RawBuffer>(), count as usize) })
}

#[cold]
fn reject_buffers(function: &'static str, descriptor: RawFd, error: PayloadError) {
    log::start();
    tracing::error!(function, descriptor, %error, "bad argument: buffers");
}

// Here, so that a static library has these in the object file of the functions they are about: a program that calls them does
// not link if another static library has given it those already.

/// The version of the library that is linked, as `ASYNC_SOCKET_VERSION` is that of the header. Valid for ever.
// Codes_SRS_C_LIBRARY_01_004
#[unsafe(no_mangle)]
pub extern "C" fn async_socket_version() -> *const c_char {
    version::VERSION.as_ptr()
}

/// Whether the functions that the program calls by these names are this library's: non-zero if so. 0 if another library with
/// the same names was linked before this one, and one of the two is shared. If both are static, a program that calls this
/// function does not link with the other one first.
// Codes_SRS_C_LIBRARY_01_005
#[unsafe(no_mangle)]
pub extern "C" fn async_socket_is_answering() -> c_int {
    let ours = [c"async_socket_create", c"async_socket_open_async", c"async_socket_close"];
    guarded(0, || c_int::from(version::is_reached(&ours)))
}
