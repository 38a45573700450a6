//! What a program asks and sets of an open socket: the idle time-out, the high-water mark, the descriptor.

use crate::boundary::guarded;
use crate::handle::borrow;
use crate::refusal::{out_of_memory, reject};
use crate::socket::{ASYNC_SOCKET, ASYNC_SOCKET_HANDLE};
use crate::types::{INVALID_SOCKET, SOCKET_HANDLE};
use async_socket_linux::SocketState;
use completion_port::memory::TryArc;
use std::ffi::c_int;
use std::time::Duration;

/// # Safety
/// `async_socket` is NULL or a valid handle.
unsafe fn known(function: &'static str, async_socket: ASYNC_SOCKET_HANDLE) -> Option<TryArc<ASYNC_SOCKET>> {
    // SAFETY: the caller's promise.
    let handle = unsafe { borrow(async_socket) };
    if handle.is_none() {
        reject(function, "async_socket", "is NULL");
    }
    handle
}

/// Ends the operations of a socket on which nothing happens. When operations have waited for `milliseconds` and no byte
/// was received or sent meanwhile, all that wait end, receives and sends, on the port's thread: those of `…_within` as
/// `…_TIMED_OUT`, the others with `…_ERROR`. The socket stays open; a program that gives the peer up closes it. If bytes
/// of a send had gone out, the stream is broken, and later sends are refused.
///
/// Time during which no operation waits does not count. The operations end after the time and less than an eighth more,
/// apart from some milliseconds. The time is rounded up to a multiple of 8 ms, and 24 days are the most. A message costs a
/// store. 0, the default, is no time-out.
///
/// Returns 0 on success. Otherwise returns non-zero, and nothing has changed: NULL, not open, or no memory. Works inside
/// every callback.
///
/// # Safety
/// `async_socket` is NULL or a valid handle.
// Codes_SRS_C_LIBRARY_01_047
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_set_idle_timeout(async_socket: ASYNC_SOCKET_HANDLE, milliseconds: u32) -> c_int {
    const NAME: &str = "async_socket_set_idle_timeout";
    guarded(1, || {
        // SAFETY: the caller's promise.
        let Some(handle) = (unsafe { known(NAME, async_socket) }) else { return 1 };
        let timeout = (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()));
        match handle.socket.set_idle_timeout(timeout) {
            Ok(()) => 0,
            Err(error) => {
                let descriptor = handle.socket.descriptor_number();
                tracing::debug!(descriptor, %error, "{NAME}");
                1
            }
        }
    })
}

/// How many bytes of accepted sends the kernel has not taken yet. A figure that grows belongs to a peer that reads too
/// slowly, or is gone. 0 for NULL. Works inside every callback.
///
/// # Safety
/// `async_socket` is NULL or a valid handle.
// Codes_SRS_C_LIBRARY_01_048
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_queued_bytes(async_socket: ASYNC_SOCKET_HANDLE) -> usize {
    guarded(0, || {
        // SAFETY: the caller's promise.
        let handle = unsafe { known("async_socket_queued_bytes", async_socket) };
        handle.map_or(0, |handle| handle.socket.queued_bytes())
    })
}

/// Refuses sends, with `ASYNC_SOCKET_SEND_SYNC_ERROR`, while this many bytes or more wait. So at most the mark and one
/// payload wait, or several payloads if several threads send at the same time. A send that finds nothing waiting is never
/// refused. 0, the default, is no mark. `async_socket_queued_bytes` tells this refusal from others.
///
/// Returns 0 on success. Otherwise returns non-zero, and the mark is unchanged: NULL, or no memory. Works inside every
/// callback.
///
/// # Safety
/// `async_socket` is NULL or a valid handle.
// Codes_SRS_C_LIBRARY_01_049
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_set_high_water_mark(async_socket: ASYNC_SOCKET_HANDLE, bytes: usize) -> c_int {
    const NAME: &str = "async_socket_set_high_water_mark";
    guarded(1, || {
        // SAFETY: the caller's promise.
        let Some(handle) = (unsafe { known(NAME, async_socket) }) else { return 1 };
        match handle.socket.set_high_water_mark((bytes > 0).then_some(bytes)) {
            Ok(()) => 0,
            Err(_) => {
                out_of_memory(NAME);
                1
            }
        }
    })
}

/// The socket's descriptor, to read or set options or to ask for addresses. `INVALID_SOCKET` if the socket is not open, or
/// for NULL.
///
/// It stays the socket's. Do not close it, send or receive on it, shut it down, or make it block. A close on another
/// thread ends it, and its number may then be another file's. So use it in a callback of the socket that a close waits
/// for, or where the program knows that nothing closes the socket. Works inside every callback.
///
/// # Safety
/// `async_socket` is NULL or a valid handle.
// Codes_SRS_C_LIBRARY_01_050
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_get_descriptor(async_socket: ASYNC_SOCKET_HANDLE) -> SOCKET_HANDLE {
    guarded(INVALID_SOCKET, || {
        // SAFETY: the caller's promise.
        let handle = unsafe { known("async_socket_get_descriptor", async_socket) };
        let is_open = |handle: &TryArc<ASYNC_SOCKET>| handle.socket.state() == SocketState::Open;
        handle.filter(is_open).map_or(INVALID_SOCKET, |handle| handle.socket.descriptor_number())
    })
}
