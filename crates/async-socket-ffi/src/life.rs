//! The life of a socket beside the specification's: created and opened in one call, closed without waiting.

use crate::boundary::{Context, guarded};
use crate::handle::{borrow, into_handle};
use crate::refusal::reject;
use crate::socket::{ASYNC_SOCKET, ASYNC_SOCKET_HANDLE, EXECUTION_ENGINE_HANDLE, create};
use crate::types::{INVALID_SOCKET, SOCKET_HANDLE};
use async_socket_linux::AsyncSocket;
use std::ffi::{c_int, c_void};
use std::mem;
use std::os::fd::IntoRawFd;
use std::ptr;

/// Called when a close has ended: the descriptor is closed, and no other callback of the socket runs or will run.
pub type ON_ASYNC_SOCKET_CLOSE_COMPLETE = Option<unsafe extern "C" fn(context: *mut c_void)>;

/// `async_socket_create` and `async_socket_open_async` in one call, without a callback: a socket that is open. Returns
/// NULL if one of the two fails. Then the descriptor is still the caller's.
///
/// # Safety
/// `socket_handle` is a descriptor that the caller owns, or negative.
// Codes_SRS_C_LIBRARY_01_051
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_create_and_open(
    execution_engine: EXECUTION_ENGINE_HANDLE,
    socket_handle: SOCKET_HANDLE,
) -> ASYNC_SOCKET_HANDLE {
    const NAME: &str = "async_socket_create_and_open";
    guarded(ptr::null_mut(), || {
        let _ = execution_engine;
        // SAFETY: the caller's promise.
        let Some((memory, created)) = (unsafe { create(NAME, socket_handle) }) else { return ptr::null_mut() };
        let Err(error) = created.open_async(|_| ()) else {
            return into_handle(memory.fill(ASYNC_SOCKET { socket: created }));
        };
        tracing::error!(descriptor = socket_handle, error = &error as &dyn std::error::Error, "{NAME}");
        match created.into_fd() {
            // It stays the caller's.
            Ok(descriptor) => drop(descriptor.into_raw_fd()),
            // Does not happen to a socket that was never open. Dropping it would close the caller's descriptor.
            Err(refused) => mem::forget(refused),
        }
        ptr::null_mut()
    })
}

/// Ends an open socket and returns its descriptor, which is the caller's from then on, as it is: still connected, still
/// non-blocking. Bytes that have arrived and were not received are still in the kernel. The socket is closed afterwards, and its
/// handle has to be destroyed as always.
///
/// Returns `INVALID_SOCKET`, and nothing has changed, if operations wait (cancel them, or wait for them), if another thread asks
/// for an address of the socket at this moment, if the socket is not open, for NULL, or without memory. Waits for callbacks of the socket on other threads, as `async_socket_close` does.
/// Operations that another thread begins meanwhile are abandoned.
///
/// # Safety
/// `async_socket` is NULL or a valid handle.
// Codes_SRS_C_LIBRARY_01_072
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_release_descriptor(async_socket: ASYNC_SOCKET_HANDLE) -> SOCKET_HANDLE {
    const NAME: &str = "async_socket_release_descriptor";
    guarded(INVALID_SOCKET, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(async_socket) }) else {
            reject(NAME, "async_socket", "is NULL");
            return INVALID_SOCKET;
        };
        match handle.socket.take_fd() {
            Ok(descriptor) => descriptor.into_raw_fd(),
            Err(error) => {
                let descriptor = handle.socket.descriptor_number();
                tracing::debug!(descriptor, %error, "{NAME}");
                INVALID_SOCKET
            }
        }
    })
}

/// Closes a socket as `async_socket_close` does, but never waits: neither for callbacks on other threads nor for the peer.
/// It is safe in every callback on every thread, so two callbacks can close each other's sockets.
///
/// Returns 0 on success. The operations that wait are abandoned, oldest first, and then `on_close_complete` runs, exactly
/// once. If callbacks of the socket run on other threads, the last of them does that when it ends, on its thread.
/// Otherwise it happens inside this call. Otherwise returns non-zero, and nothing has changed: a NULL argument, the socket
/// is not open or is being closed already, or no memory. `async_socket_close` needs none.
///
/// To free the socket without waiting, destroy it in `on_close_complete`. Destroying it before waits as always. If
/// `SO_LINGER` is on with a time other than 0, it is switched off, and the kernel goes on sending what it has.
///
/// # Safety
/// `async_socket` is NULL or a valid handle; `on_close_complete` may be called with its context on another thread.
// Codes_SRS_C_LIBRARY_01_046
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_close_async(
    async_socket: ASYNC_SOCKET_HANDLE,
    on_close_complete: ON_ASYNC_SOCKET_CLOSE_COMPLETE,
    on_close_complete_context: *mut c_void,
) -> c_int {
    const NAME: &str = "async_socket_close_async";
    guarded(1, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(async_socket) }) else {
            reject(NAME, "async_socket", "is NULL");
            return 1;
        };
        // Codes_SRS_C_LIBRARY_01_070
        let Some(on_close_complete) = on_close_complete else {
            reject(NAME, "on_close_complete", "is NULL");
            return 1;
        };
        let context = Context::new(on_close_complete_context);
        let done = move || {
            // SAFETY: the caller allows this call.
            unsafe { on_close_complete(context.pointer()) };
        };
        match handle.socket.close_async(done) {
            Ok(()) => 0,
            Err(refused) => {
                let descriptor = handle.socket.descriptor_number();
                tracing::debug!(descriptor, error = %refused.error, "{NAME}");
                1
            }
        }
    })
}
