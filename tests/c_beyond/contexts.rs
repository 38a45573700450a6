//! Callbacks whose context is NULL.

use crate::common::{Open, Platform, buffer};
use ASYNC_SOCKET_SEND_SYNC_RESULT::ASYNC_SOCKET_SEND_SYNC_OK;
use async_socket::*;
use integration_tests::eventually;
use std::ffi::{c_char, c_void};
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many callbacks have run.
static RAN: AtomicUsize = AtomicUsize::new(0);

fn note(context: *mut c_void) {
    assert!(context.is_null());
    RAN.fetch_add(1, Ordering::SeqCst);
}

/// Waits until this many callbacks have run.
fn wait_for(callbacks: usize) {
    eventually("the callback runs", || RAN.load(Ordering::SeqCst) == callbacks);
}

unsafe extern "C" fn done(context: *mut c_void) {
    note(context);
}

unsafe extern "C" fn ended(context: *mut c_void, _: ASYNC_SOCKET_END_REASON, _: i32, _: u32) {
    note(context);
}

unsafe extern "C" fn pooled(
    context: *mut c_void,
    _: ASYNC_SOCKET_END_REASON,
    _: i32,
    mut buffer: ASYNC_SOCKET_POOLED_BUFFER,
) {
    // SAFETY: this copy is the only one that is released.
    unsafe { async_socket_pooled_buffer_release(&raw mut buffer) };
    note(context);
}

unsafe extern "C" fn accepted(
    context: *mut c_void,
    _: ASYNC_SOCKET_ACCEPT_RESULT,
    socket: SOCKET_HANDLE,
    _: *const c_char,
    _: i32,
) {
    // SAFETY: it is ours.
    drop(unsafe { OwnedFd::from_raw_fd(socket) });
    note(context);
}

unsafe extern "C" fn connected(
    context: *mut c_void,
    _: ASYNC_SOCKET_CONNECT_RESULT,
    socket: ASYNC_SOCKET_HANDLE,
    _: *const c_char,
) {
    // SAFETY: it is ours.
    unsafe { async_socket_destroy(socket) };
    note(context);
}

// Tests_SRS_C_LIBRARY_01_070
#[test]
#[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason holds for all")]
fn every_callback_runs_with_a_context_that_is_null() {
    let _platform = Platform::start();
    let (mut socket, mut byte, null) = (Open::new(), [0], null_mut());
    let handle = socket.handle;
    let list = &mut [buffer(&mut byte)];
    let list = list.as_mut_ptr();
    // SAFETY: valid handles, NUL-terminated names, bytes that outlive the callbacks, and NULL where it is allowed.
    unsafe {
        let sent = async_socket_send_async_within(handle, list, 1, 20_000, Some(ended), null, null_mut());
        assert_eq!(sent, ASYNC_SOCKET_SEND_SYNC_OK);
        wait_for(1);
        assert_eq!(async_socket_receive_async_within(handle, list, 1, 20_000, Some(ended), null, null_mut()), 0);
        socket.write_from_peer(b"x");
        wait_for(2);
        let pool = async_socket_buffer_pool_create(1, 1);
        assert_eq!(async_socket_receive_pooled_async(handle, pool, 20_000, Some(pooled), null, null_mut()), 0);
        socket.write_from_peer(b"x");
        wait_for(3);
        async_socket_buffer_pool_destroy(pool);
        let shut = async_socket_shutdown_async(handle, Some(ended), null, null_mut());
        assert_eq!(shut, ASYNC_SOCKET_SEND_SYNC_OK);
        wait_for(4);
        assert_eq!(async_socket_close_async(handle, Some(done), null), 0);
        wait_for(5);

        assert_eq!(platform_post(null_mut(), Some(done), null), 0);
        wait_for(6);
        let timer = platform_timer_start(null_mut(), 1, Some(done), null);
        wait_for(7);
        platform_timer_cancel(timer);

        let host = c"127.0.0.1".as_ptr();
        let listener = async_socket_listener_start(host, 0, Some(accepted), null);
        assert_eq!(async_socket_listener_set_metrics(listener, 1), 0);
        let port = async_socket_listener_get_port(listener);
        assert_eq!(async_socket_connect_async(host, port, 20_000, Some(connected), null, null_mut()), 0);
        wait_for(9);
        assert_eq!(async_socket_listener_stop_async(listener, Some(done), null), 0);
        wait_for(10);
        async_socket_listener_destroy(listener);
    }
}
