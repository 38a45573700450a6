//! Each argument that the specification refuses or allows, on real sockets. A call that is refused changes nothing and runs no
//! callback.
#![allow(unsafe_code, reason = "calls the C ABI")]

mod common;

use ASYNC_SOCKET_RECEIVE_RESULT::{ASYNC_SOCKET_RECEIVE_ABANDONED, ASYNC_SOCKET_RECEIVE_OK};
use ASYNC_SOCKET_SEND_RESULT::ASYNC_SOCKET_SEND_OK;
use ASYNC_SOCKET_SEND_SYNC_RESULT::ASYNC_SOCKET_SEND_SYNC_OK;
use ASYNC_SOCKET_SEND_SYNC_RESULT::{ASYNC_SOCKET_SEND_SYNC_ABANDONED, ASYNC_SOCKET_SEND_SYNC_ERROR};
use COMPLETION_PORT_EPOLL_ACTION::COMPLETION_PORT_EPOLL_EPOLLIN;
use async_socket::*;
use common::{Call, Calls, Open, Platform, bad_list, buffer, on_event, on_open, on_receive, on_send, pair};
use rstest::rstest;
use std::ffi::c_void;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::{dangling_mut, null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};

// Tests_SRS_ASYNC_SOCKET_LINUX_11_003
#[rstest]
fn create_refuses_what_is_no_descriptor(#[values(INVALID_SOCKET, -2, i32::MIN)] descriptor: SOCKET_HANDLE) {
    let _platform = Platform::start();
    // SAFETY: negative.
    assert!(unsafe { async_socket_create(null_mut(), descriptor) }.is_null());
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_002, Tests_SRS_ASYNC_SOCKET_LINUX_11_001
#[rstest]
#[case::null(null_mut())]
#[case::never_dereferenced(dangling_mut())]
fn create_takes_any_execution_engine(#[case] engine: EXECUTION_ENGINE_HANDLE) {
    let _platform = Platform::start();
    let (descriptor, mut peer) = pair();
    // SAFETY: the descriptor is given away.
    let socket = unsafe { async_socket_create(engine, descriptor) };
    assert!(!socket.is_null());
    // SAFETY: a valid handle, not used again.
    unsafe { async_socket_destroy(socket) };
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "destroy closes the descriptor");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_019
#[test]
fn destroying_null_does_nothing() {
    // SAFETY: NULL is allowed.
    unsafe { async_socket_destroy(null_mut()) };
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_035
#[test]
fn closing_null_does_nothing() {
    // SAFETY: NULL is allowed.
    unsafe { async_socket_close(null_mut()) };
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_024
#[test]
fn opening_null_fails_without_a_callback() {
    let calls = Calls::new();
    // SAFETY: NULL is allowed.
    assert_ne!(unsafe { async_socket_open_async(null_mut(), Some(on_open), calls.context()) }, 0);
    assert!(calls.none());
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_025
#[test]
fn opening_without_a_callback_fails_and_may_be_tried_again() {
    let _platform = Platform::start();
    let (descriptor, _peer) = pair();
    let calls = Calls::new();
    // SAFETY: the descriptor is given away.
    let socket = unsafe { async_socket_create(null_mut(), descriptor) };
    // SAFETY: a valid handle.
    assert_ne!(unsafe { async_socket_open_async(socket, None, calls.context()) }, 0);
    // SAFETY: a valid handle, and a context that outlives the call.
    assert_eq!(unsafe { async_socket_open_async(socket, Some(on_open), calls.context()) }, 0);
    assert_eq!(calls.next(), Call::Opened(ASYNC_SOCKET_OPEN_RESULT::ASYNC_SOCKET_OPEN_OK));
    // SAFETY: the handle is not used again.
    unsafe { async_socket_destroy(socket) };
}

/// The callbacks, by kind, that got NULL as their context.
static NULLS: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

fn count(kind: usize, context: *mut c_void) {
    assert!(context.is_null());
    NULLS[kind].fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C" fn open_with_null(context: *mut c_void, _: ASYNC_SOCKET_OPEN_RESULT) {
    count(0, context);
}

unsafe extern "C" fn send_with_null(context: *mut c_void, _: ASYNC_SOCKET_SEND_RESULT) {
    count(1, context);
}

unsafe extern "C" fn receive_with_null(context: *mut c_void, _: ASYNC_SOCKET_RECEIVE_RESULT, _: u32) {
    count(2, context);
}

unsafe extern "C" fn event_with_null(context: *mut c_void, _: COMPLETION_PORT_EPOLL_ACTION) {
    count(3, context);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_026
#[test]
fn the_context_of_an_open_may_be_null() {
    let _platform = Platform::start();
    let (descriptor, _peer) = pair();
    // SAFETY: the descriptor is given away.
    let socket = unsafe { async_socket_create(null_mut(), descriptor) };
    // SAFETY: a valid handle.
    assert_eq!(unsafe { async_socket_open_async(socket, Some(open_with_null), null_mut()) }, 0);
    assert_eq!(NULLS[0].load(Ordering::Relaxed), 1);
    // SAFETY: the handle is not used again.
    unsafe { async_socket_destroy(socket) };
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_050
#[test]
fn the_context_of_a_send_may_be_null() {
    let _platform = Platform::start();
    let socket = Open::new();
    let mut bytes = *b"x";
    let list = [buffer(&mut bytes)];
    // SAFETY: a valid handle; the socket takes one byte at once.
    let sent = unsafe { async_socket_send_async(socket.handle, list.as_ptr(), 1, Some(send_with_null), null_mut()) };
    assert_eq!(sent, ASYNC_SOCKET_SEND_SYNC_OK);
    assert_eq!(NULLS[1].load(Ordering::Relaxed), 1);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_071
#[test]
fn the_context_of_a_receive_may_be_null() {
    let _platform = Platform::start();
    let socket = Open::new();
    let mut bytes = [0; 4];
    let mut list = [buffer(&mut bytes)];
    let receive = Some(receive_with_null as unsafe extern "C" fn(_, _, _));
    // SAFETY: a valid handle; close waits for the callback, and the buffer outlives it.
    assert_eq!(unsafe { async_socket_receive_async(socket.handle, list.as_mut_ptr(), 1, receive, null_mut()) }, 0);
    socket.close();
    assert_eq!(NULLS[2].load(Ordering::Relaxed), 1);
}

#[test]
fn the_context_of_a_raw_event_may_be_null_and_is_handed_back_unseen() {
    let port = completion_port_create();
    let (descriptor, _peer) = pair();
    // SAFETY: a reference that we have, and an open descriptor.
    let added = unsafe { completion_port_add(port, 1, descriptor, Some(event_with_null), null_mut()) };
    assert_eq!(added, 0);
    // SAFETY: as above; it abandons the wait before it returns.
    unsafe { completion_port_remove(port, descriptor) };
    assert_eq!(NULLS[3].load(Ordering::Relaxed), 1);
    // SAFETY: our reference, not used again.
    unsafe { completion_port_dec_ref(port) };
}

/// Returns after the one port of the platform has seen every event that came before.
fn round_trip_on_the_port() {
    let (port, calls) = (platform_get_completion_port(), Calls::new());
    let (readable, mut peer) = UnixStream::pair().expect("a pair");
    peer.write_all(b"x").expect("the peer writes");
    // SAFETY: a reference that we have, an open descriptor, and a context that outlives the callback.
    let added = unsafe { completion_port_add(port, 1, readable.as_raw_fd(), Some(on_event), calls.context()) };
    assert_eq!(added, 0);
    assert_eq!(calls.next(), Call::Event(COMPLETION_PORT_EPOLL_EPOLLIN));
    // SAFETY: our reference, not used again.
    unsafe { completion_port_dec_ref(port) };
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_079
#[test]
fn an_event_that_nothing_waits_for_does_nothing_and_loses_nothing() {
    let _platform = Platform::start();
    let mut socket = Open::new();
    let calls = Calls::new();
    socket.write_from_peer(b"early");
    round_trip_on_the_port();
    assert!(calls.none());
    let mut bytes = [0; 8];
    assert_eq!(socket.receive(&mut [buffer(&mut bytes)], &calls), 0);
    assert_eq!(calls.next(), Call::Received(ASYNC_SOCKET_RECEIVE_OK, 5));
    assert_eq!(&bytes[..5], b"early");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_043
#[test]
fn sending_on_null_is_an_error() {
    let (calls, mut bytes) = (Calls::new(), *b"x");
    let list = [buffer(&mut bytes)];
    // SAFETY: NULL is allowed.
    let sent = unsafe { async_socket_send_async(null_mut(), list.as_ptr(), 1, Some(on_send), calls.context()) };
    assert_eq!(sent, ASYNC_SOCKET_SEND_SYNC_ERROR);
    assert!(calls.none());
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_044
#[test]
fn sending_from_no_list_is_an_error() {
    let _platform = Platform::start();
    let (socket, calls) = (Open::new(), Calls::new());
    // SAFETY: a NULL list is allowed.
    let sent = unsafe { async_socket_send_async(socket.handle, null(), 1, Some(on_send), calls.context()) };
    assert_eq!(sent, ASYNC_SOCKET_SEND_SYNC_ERROR);
    assert!(calls.none());
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_045, Tests_SRS_ASYNC_SOCKET_LINUX_11_046
// Tests_SRS_ASYNC_SOCKET_LINUX_11_047, Tests_SRS_ASYNC_SOCKET_LINUX_11_048
#[rstest]
fn sending_an_unacceptable_list_is_an_error_and_sends_nothing(
    #[values("no buffers", "one null buffer", "one empty buffer", "null buffer", "empty buffer", "too long")]
    what: &str,
) {
    let _platform = Platform::start();
    let (mut socket, calls, mut bytes) = (Open::new(), Calls::new(), *b"bytes");
    assert_eq!(socket.send(&bad_list(what, &mut bytes), &calls), ASYNC_SOCKET_SEND_SYNC_ERROR);
    assert!(calls.none());
    assert_eq!(socket.send(&[buffer(&mut bytes)], &calls), ASYNC_SOCKET_SEND_SYNC_OK);
    assert_eq!(calls.next(), Call::Sent(ASYNC_SOCKET_SEND_OK));
    socket.close();
    let mut got = Vec::new();
    socket.peer.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"bytes");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_049
#[test]
fn sending_without_a_callback_is_an_error() {
    let _platform = Platform::start();
    let (socket, calls, mut bytes) = (Open::new(), Calls::new(), *b"x");
    let list = [buffer(&mut bytes)];
    // SAFETY: a valid handle; nothing is sent.
    let sent = unsafe { async_socket_send_async(socket.handle, list.as_ptr(), 1, None, calls.context()) };
    assert_eq!(sent, ASYNC_SOCKET_SEND_SYNC_ERROR);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_051, Tests_SRS_ASYNC_SOCKET_LINUX_11_072
#[test]
fn a_closed_socket_refuses_and_runs_no_callback() {
    let _platform = Platform::start();
    let (socket, calls, mut bytes) = (Open::new(), Calls::new(), *b"x");
    socket.close();
    assert_eq!(socket.send(&[buffer(&mut bytes)], &calls), ASYNC_SOCKET_SEND_SYNC_ABANDONED);
    assert_ne!(socket.receive(&mut [buffer(&mut bytes)], &calls), 0);
    assert!(calls.none());
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_064
#[test]
fn receiving_on_null_fails() {
    let (calls, mut bytes) = (Calls::new(), *b"x");
    let mut list = [buffer(&mut bytes)];
    let (list, context) = (list.as_mut_ptr(), calls.context());
    // SAFETY: NULL is allowed.
    assert_ne!(unsafe { async_socket_receive_async(null_mut(), list, 1, Some(on_receive), context) }, 0);
    assert!(calls.none());
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_065
#[test]
fn receiving_into_no_list_fails() {
    let _platform = Platform::start();
    let (socket, calls) = (Open::new(), Calls::new());
    let context = calls.context();
    // SAFETY: a NULL list is allowed.
    assert_ne!(unsafe { async_socket_receive_async(socket.handle, null_mut(), 1, Some(on_receive), context) }, 0);
    socket.close();
    assert!(calls.none());
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_066, Tests_SRS_ASYNC_SOCKET_LINUX_11_067
// Tests_SRS_ASYNC_SOCKET_LINUX_11_068, Tests_SRS_ASYNC_SOCKET_LINUX_11_069
#[rstest]
fn receiving_into_an_unacceptable_list_fails_and_takes_nothing(
    #[values("no buffers", "one null buffer", "one empty buffer", "null buffer", "empty buffer", "too long")]
    what: &str,
) {
    let _platform = Platform::start();
    let (mut socket, calls, mut bytes) = (Open::new(), Calls::new(), [0; 8]);
    socket.write_from_peer(b"bytes");
    assert_ne!(socket.receive(&mut bad_list(what, &mut bytes), &calls), 0);
    assert!(calls.none());
    assert_eq!(socket.receive(&mut [buffer(&mut bytes)], &calls), 0);
    assert_eq!(calls.next(), Call::Received(ASYNC_SOCKET_RECEIVE_OK, 5));
    assert_eq!(&bytes[..5], b"bytes");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_070
#[test]
fn receiving_without_a_callback_fails() {
    let _platform = Platform::start();
    let (socket, calls, mut bytes) = (Open::new(), Calls::new(), *b"x");
    let mut list = [buffer(&mut bytes)];
    let list = list.as_mut_ptr();
    // SAFETY: a valid handle; nothing is received.
    assert_ne!(unsafe { async_socket_receive_async(socket.handle, list, 1, None, calls.context()) }, 0);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_074
#[test]
fn the_callers_list_may_be_gone_after_the_call() {
    let _platform = Platform::start();
    let (mut socket, calls) = (Open::new(), Calls::new());
    let (mut first, mut second) = ([0; 2], [0; 4]);
    let mut list = vec![buffer(&mut first), buffer(&mut second)];
    assert_eq!(socket.receive(&mut list, &calls), 0);
    list.fill(ASYNC_SOCKET_BUFFER { buffer: null_mut(), length: u32::MAX });
    drop(list);
    socket.write_from_peer(b"12345");
    assert_eq!(calls.next(), Call::Received(ASYNC_SOCKET_RECEIVE_OK, 5));
    assert_eq!((&first, &second[..3]), (b"12", &b"345"[..]));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_021, Tests_SRS_ASYNC_SOCKET_LINUX_11_023
#[test]
fn destroying_an_open_socket_abandons_what_is_pending() {
    let _platform = Platform::start();
    let (socket, calls, mut bytes) = (Open::new(), Calls::new(), [0; 8]);
    assert_eq!(socket.receive(&mut [buffer(&mut bytes)], &calls), 0);
    // Otherwise the end of the peer would abandon the receive.
    let mut peer = socket.peer.try_clone().unwrap();
    drop(socket);
    assert_eq!(calls.next(), Call::Received(ASYNC_SOCKET_RECEIVE_ABANDONED, 0));
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "destroy closes the descriptor");
}

#[rstest]
#[case::no_port(false, 1, true, false)]
#[case::no_event(true, 0, true, false)]
#[case::no_known_event(true, 2, true, false)]
#[case::no_callback(true, 1, false, false)]
#[case::no_descriptor(true, 1, true, true)]
fn a_raw_wait_is_refused_without_a_callback(
    #[case] has_port: bool,
    #[case] events: i32,
    #[case] has_callback: bool,
    #[case] invalid: bool,
) {
    let (port, calls) = (completion_port_create(), Calls::new());
    let (_own, peer) = pair();
    let descriptor = if invalid { INVALID_SOCKET } else { peer.as_raw_fd() };
    let callback = has_callback.then_some(on_event as unsafe extern "C" fn(_, _));
    let used = if has_port { port } else { null_mut() };
    // SAFETY: NULL or a reference that we have; an open descriptor or -1.
    assert_ne!(unsafe { completion_port_add(used, events, descriptor, callback, calls.context()) }, 0);
    // SAFETY: our reference, not used again.
    unsafe { completion_port_dec_ref(port) };
    assert!(calls.none());
}

#[test]
fn the_port_functions_ignore_null() {
    // SAFETY: NULL is allowed.
    unsafe { completion_port_inc_ref(null_mut()) };
    // SAFETY: NULL is allowed.
    unsafe { completion_port_dec_ref(null_mut()) };
    // SAFETY: NULL is allowed.
    unsafe { completion_port_remove(null_mut(), 0) };
}
