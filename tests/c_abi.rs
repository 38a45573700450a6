//! The C ABI on real sockets: a refused call disturbs nothing that is under way, and raw waits follow their rules.
#![allow(unsafe_code, reason = "calls the C ABI")]

#[path = "../crates/async-socket-ffi/tests/common/mod.rs"]
mod common;

use ASYNC_SOCKET_RECEIVE_RESULT::{ASYNC_SOCKET_RECEIVE_ABANDONED, ASYNC_SOCKET_RECEIVE_OK};
use ASYNC_SOCKET_SEND_RESULT::ASYNC_SOCKET_SEND_OK;
use ASYNC_SOCKET_SEND_SYNC_RESULT::{
    ASYNC_SOCKET_SEND_SYNC_ABANDONED, ASYNC_SOCKET_SEND_SYNC_ERROR, ASYNC_SOCKET_SEND_SYNC_OK,
};
use COMPLETION_PORT_EPOLL_ACTION::{
    COMPLETION_PORT_EPOLL_ABANDONED, COMPLETION_PORT_EPOLL_EPOLLIN, COMPLETION_PORT_EPOLL_EPOLLOUT,
};
use async_socket::*;
use common::{Call, Calls, Open, Platform, bad_list, buffer, on_event, on_open, on_receive, on_send, pair};
use rstest::rstest;
use std::ffi::c_void;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::{dangling_mut, null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const IN: i32 = 0x1;
const OUT: i32 = 0x4;

/// A receive is pending while `call` runs, and both directions work afterwards.
fn undisturbed(call: impl FnOnce(&Open, &Calls)) {
    let _platform = Platform::start();
    let (mut socket, refused) = (Open::new(), Calls::new());
    let (received, sent) = (Calls::new(), Calls::new());
    let (mut input, mut output) = ([0; 8], *b"output");
    assert_eq!(socket.receive(&mut [buffer(&mut input)], &received), 0);

    call(&socket, &refused);

    assert!(refused.none(), "a refused call runs no callback");
    assert!(received.none(), "what was accepted waits still");
    assert_eq!(socket.send(&[buffer(&mut output)], &sent), ASYNC_SOCKET_SEND_SYNC_OK);
    assert_eq!(sent.next(), Call::Sent(ASYNC_SOCKET_SEND_OK));
    socket.write_from_peer(b"input");
    assert_eq!(received.next(), Call::Received(ASYNC_SOCKET_RECEIVE_OK, 5));
    let mut got = [0; 6];
    socket.peer.read_exact(&mut got).expect("the peer reads");
    assert_eq!((&input[..5], &got), (&b"input"[..], b"output"));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_001, Tests_SRS_ASYNC_SOCKET_LINUX_11_002, Tests_SRS_ASYNC_SOCKET_LINUX_11_005
#[rstest]
#[case::null(null_mut())]
#[case::never_dereferenced(dangling_mut())]
fn a_socket_of_any_engine_lives_on_a_port_of_the_platform(#[case] engine: EXECUTION_ENGINE_HANDLE) {
    let _platform = Platform::start();
    let ((descriptor, peer), calls) = (pair(), Calls::new());
    // SAFETY: the descriptor is given away.
    let handle = unsafe { async_socket_create(engine, descriptor) };
    assert!(!handle.is_null());
    // SAFETY: a valid handle; the context outlives the call.
    assert_eq!(unsafe { async_socket_open_async(handle, Some(on_open), calls.context()) }, 0);
    assert_eq!(calls.next(), Call::Opened(ASYNC_SOCKET_OPEN_RESULT::ASYNC_SOCKET_OPEN_OK));
    let (mut socket, mut bytes) = (Open { handle, peer }, [0; 8]);
    assert_eq!(socket.receive(&mut [buffer(&mut bytes)], &calls), 0);
    socket.write_from_peer(b"event");
    assert_eq!(calls.next(), Call::Received(ASYNC_SOCKET_RECEIVE_OK, 5));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_003, Tests_SRS_ASYNC_SOCKET_LINUX_11_006
#[test]
fn an_invalid_socket_is_refused_beside_sockets_that_work() {
    undisturbed(|_, _| {
        // SAFETY: -1.
        assert!(unsafe { async_socket_create(null_mut(), INVALID_SOCKET) }.is_null());
    });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_019, Tests_SRS_ASYNC_SOCKET_LINUX_11_035
#[test]
fn destroying_and_closing_null_is_nothing() {
    undisturbed(|_, _| {
        // SAFETY: NULL is allowed.
        unsafe { async_socket_close(null_mut()) };
        // SAFETY: NULL is allowed.
        unsafe { async_socket_destroy(null_mut()) };
    });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_021, Tests_SRS_ASYNC_SOCKET_LINUX_11_023
#[test]
fn destroying_an_open_socket_abandons_what_waits_and_closes_the_descriptor() {
    let _platform = Platform::start();
    let (socket, received, mut bytes) = (Open::new(), Calls::new(), [0; 8]);
    assert_eq!(socket.receive(&mut [buffer(&mut bytes)], &received), 0);
    let mut peer = socket.peer.try_clone().expect("a second descriptor of the peer");

    drop(socket);

    assert_eq!(received.next(), Call::Received(ASYNC_SOCKET_RECEIVE_ABANDONED, 0));
    peer.set_read_timeout(Some(common::LIMIT)).expect("a time-out");
    assert_eq!(peer.read(&mut [0]).expect("the end of the stream"), 0);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_024, Tests_SRS_ASYNC_SOCKET_LINUX_11_025
#[test]
fn an_open_without_socket_or_callback_fails() {
    undisturbed(|socket, calls| {
        // SAFETY: NULL is allowed.
        assert_ne!(unsafe { async_socket_open_async(null_mut(), Some(on_open), calls.context()) }, 0);
        // SAFETY: a valid handle.
        assert_ne!(unsafe { async_socket_open_async(socket.handle, None, calls.context()) }, 0);
    });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_043, Tests_SRS_ASYNC_SOCKET_LINUX_11_044, Tests_SRS_ASYNC_SOCKET_LINUX_11_049
#[test]
fn a_send_without_socket_list_or_callback_is_an_error() {
    undisturbed(|socket, calls| {
        let (mut bytes, context) = (*b"x", calls.context());
        let list = [buffer(&mut bytes)];
        // SAFETY: NULL is allowed.
        let sent = unsafe { async_socket_send_async(null_mut(), list.as_ptr(), 1, Some(on_send), context) };
        assert_eq!(sent, ASYNC_SOCKET_SEND_SYNC_ERROR);
        // SAFETY: a valid handle; NULL is allowed.
        let sent = unsafe { async_socket_send_async(socket.handle, null(), 1, Some(on_send), context) };
        assert_eq!(sent, ASYNC_SOCKET_SEND_SYNC_ERROR);
        // SAFETY: a valid handle.
        let sent = unsafe { async_socket_send_async(socket.handle, list.as_ptr(), 1, None, context) };
        assert_eq!(sent, ASYNC_SOCKET_SEND_SYNC_ERROR);
    });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_064, Tests_SRS_ASYNC_SOCKET_LINUX_11_065, Tests_SRS_ASYNC_SOCKET_LINUX_11_070
#[test]
fn a_receive_without_socket_list_or_callback_fails() {
    undisturbed(|socket, calls| {
        let (mut bytes, context) = (*b"x", calls.context());
        let mut list = [buffer(&mut bytes)];
        let list = list.as_mut_ptr();
        // SAFETY: NULL is allowed.
        assert_ne!(unsafe { async_socket_receive_async(null_mut(), list, 1, Some(on_receive), context) }, 0);
        // SAFETY: a valid handle; NULL is allowed.
        assert_ne!(unsafe { async_socket_receive_async(socket.handle, null_mut(), 1, Some(on_receive), context) }, 0);
        // SAFETY: a valid handle.
        assert_ne!(unsafe { async_socket_receive_async(socket.handle, list, 1, None, context) }, 0);
    });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_045, Tests_SRS_ASYNC_SOCKET_LINUX_11_046, Tests_SRS_ASYNC_SOCKET_LINUX_11_047
// Tests_SRS_ASYNC_SOCKET_LINUX_11_048, Tests_SRS_ASYNC_SOCKET_LINUX_11_066, Tests_SRS_ASYNC_SOCKET_LINUX_11_067
// Tests_SRS_ASYNC_SOCKET_LINUX_11_068, Tests_SRS_ASYNC_SOCKET_LINUX_11_069
#[rstest]
fn an_unacceptable_list_is_refused_both_ways(
    #[values("no buffers", "one null buffer", "one empty buffer", "null buffer", "empty buffer", "too long")]
    what: &str,
) {
    undisturbed(|socket, calls| {
        let mut bytes = *b"x";
        assert_eq!(socket.send(&bad_list(what, &mut bytes), calls), ASYNC_SOCKET_SEND_SYNC_ERROR);
        assert_ne!(socket.receive(&mut bad_list(what, &mut bytes), calls), 0);
    });
}

/// An operation on one buffer and an operation on several buffers have different types. Neither fits into the room that
/// the other leaves.
#[rstest]
fn one_buffer_and_several_take_turns_in_one_direction(#[values(false, true)] both_wait: bool) {
    let _platform = Platform::start();
    let (mut socket, received, sent) = (Open::new(), Calls::new(), Calls::new());
    for message in 1..=6 {
        let (mut one, mut first, mut second) = ([0; 2], [0; 1], [0; 3]);
        assert_eq!(socket.receive(&mut [buffer(&mut one)], &received), 0);
        let mut several = [buffer(&mut first), buffer(&mut second)];
        if both_wait {
            assert_eq!(socket.receive(&mut several, &received), 0);
        }
        socket.write_from_peer(&[message; 2]);
        assert_eq!(received.next(), Call::Received(ASYNC_SOCKET_RECEIVE_OK, 2));
        if !both_wait {
            assert_eq!(socket.receive(&mut several, &received), 0);
        }
        socket.write_from_peer(&[message; 4]);
        assert_eq!(received.next(), Call::Received(ASYNC_SOCKET_RECEIVE_OK, 4));
        assert_eq!((one, first, second), ([message; 2], [message; 1], [message; 3]));

        assert_eq!(socket.send(&[buffer(&mut one)], &sent), ASYNC_SOCKET_SEND_SYNC_OK);
        assert_eq!(socket.send(&several, &sent), ASYNC_SOCKET_SEND_SYNC_OK);
        for _ in 0..2 {
            assert_eq!(sent.next(), Call::Sent(ASYNC_SOCKET_SEND_OK));
        }
        let mut echoed = [0; 6];
        socket.peer.read_exact(&mut echoed).expect("the peer reads");
        assert_eq!(echoed, [message; 6]);
    }
}

static NULL_CONTEXTS: AtomicUsize = AtomicUsize::new(0);

fn count(context: *mut c_void) {
    assert!(context.is_null());
    NULL_CONTEXTS.fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C" fn opened_with_null(context: *mut c_void, _: ASYNC_SOCKET_OPEN_RESULT) {
    count(context);
}

unsafe extern "C" fn sent_with_null(context: *mut c_void, _: ASYNC_SOCKET_SEND_RESULT) {
    count(context);
}

unsafe extern "C" fn received_with_null(context: *mut c_void, _: ASYNC_SOCKET_RECEIVE_RESULT, _: u32) {
    count(context);
}

unsafe extern "C" fn event_with_null(context: *mut c_void, _: COMPLETION_PORT_EPOLL_ACTION) {
    count(context);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_026, Tests_SRS_ASYNC_SOCKET_LINUX_11_050, Tests_SRS_ASYNC_SOCKET_LINUX_11_071
#[test]
fn every_callback_may_have_null_as_its_context() {
    let _platform = Platform::start();
    let (descriptor, mut peer) = pair();
    let mut bytes = *b"x";
    let mut list = [buffer(&mut bytes)];
    let port = completion_port_create();
    // SAFETY: the descriptor is given away.
    let socket = unsafe { async_socket_create(null_mut(), descriptor) };
    // SAFETY: a valid handle.
    assert_eq!(unsafe { async_socket_open_async(socket, Some(opened_with_null), null_mut()) }, 0);
    // SAFETY: a valid handle; the byte is sent at once.
    let sent = unsafe { async_socket_send_async(socket, list.as_ptr(), 1, Some(sent_with_null), null_mut()) };
    assert_eq!(sent, ASYNC_SOCKET_SEND_SYNC_OK);
    let received = Some(received_with_null as unsafe extern "C" fn(_, _, _));
    // SAFETY: a valid handle; the buffer lives until destroy has returned.
    assert_eq!(unsafe { async_socket_receive_async(socket, list.as_mut_ptr(), 1, received, null_mut()) }, 0);
    let (watched, _other) = UnixStream::pair().unwrap();
    // SAFETY: our reference, an open descriptor.
    let added = unsafe { completion_port_add(port, IN, watched.as_raw_fd(), Some(event_with_null), null_mut()) };
    assert_eq!(added, 0);

    peer.read_exact(&mut [0]).unwrap();
    // SAFETY: the handle is not used again.
    unsafe { async_socket_destroy(socket) };
    // SAFETY: our reference, not used again.
    unsafe { completion_port_dec_ref(port) };
    assert_eq!(NULL_CONTEXTS.load(Ordering::Relaxed), 4);
}

fn add(port: COMPLETION_PORT_HANDLE, events: i32, descriptor: RawFd, calls: &Calls) -> i32 {
    // SAFETY: the tests have a reference, and keep the context until the callback.
    unsafe { completion_port_add(port, events, descriptor, Some(on_event), calls.context()) }
}

fn remove(port: COMPLETION_PORT_HANDLE, descriptor: RawFd) {
    // SAFETY: the tests have a reference.
    unsafe { completion_port_remove(port, descriptor) };
}

fn give_up(port: COMPLETION_PORT_HANDLE) {
    // SAFETY: the tests do not use it again.
    unsafe { completion_port_dec_ref(port) };
}

#[test]
fn a_wait_for_in_and_one_for_out_on_one_descriptor_both_fire() {
    let port = completion_port_create();
    let (own, mut peer) = UnixStream::pair().unwrap();
    let (readable, writable) = (Calls::new(), Calls::new());
    assert_eq!(add(port, IN, own.as_raw_fd(), &readable), 0);
    assert_eq!(add(port, OUT, own.as_raw_fd(), &writable), 0);
    assert_eq!(writable.next(), Call::Event(COMPLETION_PORT_EPOLL_EPOLLOUT));
    assert!(readable.none());
    peer.write_all(b"x").unwrap();
    assert_eq!(readable.next(), Call::Event(COMPLETION_PORT_EPOLL_EPOLLIN));
    give_up(port);
}

/// Closes `descriptor` and puts another one under its number.
fn replace(descriptor: RawFd, by: &OwnedFd) {
    // SAFETY: two open descriptors of this test; the first is closed and replaced in one step.
    let mut replaced = unsafe { OwnedFd::from_raw_fd(descriptor) };
    rustix::io::dup2(by, &mut replaced).expect("dup2");
    std::mem::forget(replaced);
}

#[rstest]
#[case::socket(false)]
#[case::eventfd(true)]
fn a_number_that_was_closed_and_came_back_can_be_waited_for(#[case] eventfd: bool) {
    let make = || -> (OwnedFd, OwnedFd) {
        if eventfd {
            let flags = rustix::event::EventfdFlags::NONBLOCK;
            let one = rustix::event::eventfd(0, flags).unwrap();
            (one.try_clone().unwrap(), one)
        } else {
            let (own, peer) = UnixStream::pair().unwrap();
            (own.into(), peer.into())
        }
    };
    let port = completion_port_create();
    let (first, _first_peer) = make();
    let number = first.as_raw_fd();
    std::mem::forget(first);
    let (old, new) = (Calls::new(), Calls::new());
    assert_eq!(add(port, IN, number, &old), 0);

    let (second, second_peer) = make();
    replace(number, &second);
    assert_eq!(add(port, IN, number, &new), 0);
    assert_eq!(old.next(), Call::Event(COMPLETION_PORT_EPOLL_ABANDONED));
    rustix::io::write(&second_peer, &1_u64.to_ne_bytes()).unwrap();
    assert_eq!(new.next(), Call::Event(COMPLETION_PORT_EPOLL_EPOLLIN));

    give_up(port);
    // SAFETY: the number is this test's.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}

#[test]
fn what_waits_is_abandoned_by_remove_and_by_the_last_reference() {
    let port = completion_port_create();
    let ((one, _peer), (two, _other)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let (removed, left) = (Calls::new(), Calls::new());
    assert_eq!(add(port, IN, one.as_raw_fd(), &removed), 0);
    assert_eq!(add(port, IN, two.as_raw_fd(), &left), 0);
    remove(port, one.as_raw_fd());
    assert_eq!(removed.next(), Call::Event(COMPLETION_PORT_EPOLL_ABANDONED));
    assert!(left.none());
    give_up(port);
    assert_eq!(left.next(), Call::Event(COMPLETION_PORT_EPOLL_ABANDONED));
}

#[test]
fn the_platform_stops_promptly_and_its_sockets_live_on() {
    let platform = Platform::start();
    let (mut socket, calls, mut bytes) = (Open::new(), Calls::new(), [0; 8]);
    assert_eq!(socket.receive(&mut [buffer(&mut bytes)], &calls), 0);
    let start = Instant::now();
    drop(platform);
    assert!(start.elapsed() < Duration::from_millis(100));

    socket.write_from_peer(b"still");
    assert_eq!(calls.next(), Call::Received(ASYNC_SOCKET_RECEIVE_OK, 5));
    assert_eq!(socket.receive(&mut [buffer(&mut bytes)], &calls), 0);
    drop(socket);
    assert_eq!(calls.next(), Call::Received(ASYNC_SOCKET_RECEIVE_ABANDONED, 0));
}

/// The context of a receive whose callback closes a socket, and is then held.
struct Held {
    calls: Calls,
    closes: ASYNC_SOCKET_HANDLE,
    entered: std::sync::mpsc::Sender<()>,
    until: std::sync::mpsc::Receiver<()>,
}

unsafe extern "C" fn hold(context: *mut c_void, result: ASYNC_SOCKET_RECEIVE_RESULT, bytes: u32) {
    // SAFETY: the context of the test below, which waits for this callback.
    let held = unsafe { &*context.cast::<Held>() };
    // SAFETY: NULL, or the socket that the test destroys, which waits for this callback.
    unsafe { async_socket_close(held.closes) };
    let _ = held.entered.send(());
    let _ = held.until.recv_timeout(common::LIMIT);
    // SAFETY: as above.
    unsafe { on_receive(held.calls.context(), result, bytes) };
}

unsafe extern "C" fn ignore(_: *mut c_void, _: ASYNC_SOCKET_SEND_RESULT) {}

/// Returns when another thread is closing the socket, which then refuses sends.
fn wait_until_closing(socket: ASYNC_SOCKET_HANDLE) {
    let deadline = Instant::now() + common::LIMIT;
    let mut byte = *b"x";
    let list = [buffer(&mut byte)];
    // SAFETY: a valid handle; the byte is read within the call.
    while unsafe { async_socket_send_async(socket, list.as_ptr(), 1, Some(ignore), null_mut()) }
        != ASYNC_SOCKET_SEND_SYNC_ABANDONED
    {
        assert!(Instant::now() < deadline, "the other thread does not close the socket");
        thread::sleep(Duration::from_millis(1));
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_020, Tests_SRS_COMPLETION_PORT_01_058
#[rstest]
#[case::of_another_thread(false)]
#[case::of_the_callback_itself(true)]
fn destroy_waits_for_a_callback_that_runs_during_the_close(#[case] inside: bool) {
    let _platform = Platform::start();
    let (mut socket, mut bytes) = (Open::new(), [0; 8]);
    let ((entered, is_entered), (open_gate, until)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let closes = if inside { socket.handle } else { null_mut() };
    let held = Box::new(Held { calls: Calls::new(), closes, entered, until });
    let mut list = [buffer(&mut bytes)];
    let context = (&raw const *held).cast_mut().cast();
    // SAFETY: a valid handle; `held` and the buffer outlive the callback.
    assert_eq!(unsafe { async_socket_receive_async(socket.handle, list.as_mut_ptr(), 1, Some(hold), context) }, 0);
    socket.write_from_peer(b"x");
    is_entered.recv_timeout(common::LIMIT).expect("the callback runs");

    let address = socket.handle.expose_provenance();
    let closer = (!inside).then(|| {
        thread::spawn(move || {
            // SAFETY: destroy waits for this close.
            unsafe { async_socket_close(std::ptr::with_exposed_provenance_mut(address)) };
        })
    });
    wait_until_closing(socket.handle);
    let opens = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        let opened = Instant::now();
        let _ = open_gate.send(());
        opened
    });
    drop(socket);
    let destroyed = Instant::now();

    assert!(destroyed >= opens.join().unwrap(), "destroy returned while a callback was held");
    assert_eq!(held.calls.next(), Call::Received(ASYNC_SOCKET_RECEIVE_OK, 1));
    closer.into_iter().for_each(|closer| closer.join().unwrap());
}
