//! A process without memory: an operation that cannot be accepted is an error result, and nothing is lost by it.
#![allow(unsafe_code, reason = "calls of the C ABI")]

mod common;

use ASYNC_SOCKET_RECEIVE_RESULT::ASYNC_SOCKET_RECEIVE_OK;
use ASYNC_SOCKET_SEND_RESULT::ASYNC_SOCKET_SEND_OK;
use ASYNC_SOCKET_SEND_SYNC_RESULT::{ASYNC_SOCKET_SEND_SYNC_ERROR, ASYNC_SOCKET_SEND_SYNC_OK};
use async_socket::*;
use common::{Call, Calls, Open, Platform, buffer};
use test_doubles::{FailingAllocator, without_memory};

#[global_allocator]
static ALLOCATOR: FailingAllocator = FailingAllocator;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_078
#[test]
fn a_receive_that_cannot_be_queued_fails_and_the_next_one_works() {
    let _platform = Platform::start();
    let (mut socket, calls) = (Open::new(), Calls::new());
    let (mut bytes, mut more) = ([0; 8], [0; 8]);
    assert_ne!(without_memory(|| socket.receive(&mut [buffer(&mut bytes)], &calls)), 0);
    let mut list = [buffer(&mut bytes), buffer(&mut more)];
    assert_ne!(without_memory(|| socket.receive(&mut list, &calls)), 0);
    assert!(calls.none());

    socket.write_from_peer(b"later");
    assert_eq!(socket.receive(&mut list, &calls), 0);
    assert_eq!(calls.next(), Call::Received(ASYNC_SOCKET_RECEIVE_OK, 5));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_063
#[test]
fn a_list_of_buffers_that_cannot_be_copied_is_an_error_and_nothing_is_sent() {
    let _platform = Platform::start();
    let (socket, calls, mut one, mut two) = (Open::new(), Calls::new(), *b"one", *b"two");
    let list = [buffer(&mut one), buffer(&mut two)];
    assert_eq!(without_memory(|| socket.send(&list, &calls)), ASYNC_SOCKET_SEND_SYNC_ERROR);
    assert!(calls.none());
    assert_eq!(socket.send(&list, &calls), ASYNC_SOCKET_SEND_SYNC_OK);
    assert_eq!(calls.next(), Call::Sent(ASYNC_SOCKET_SEND_OK));
}

#[test]
fn a_refused_argument_needs_no_memory() {
    let _platform = Platform::start();
    let (socket, calls) = (Open::new(), Calls::new());
    assert_eq!(without_memory(|| socket.send(&[], &calls)), ASYNC_SOCKET_SEND_SYNC_ERROR);
    // SAFETY: NULL is allowed.
    without_memory(|| unsafe { async_socket_destroy(std::ptr::null_mut()) });
}
