//! The thread of each callback, the callbacks that overlap, and the values that a pending receive keeps alive, as the
//! documentation of `AsyncSocket` promises.

use async_socket_linux::{AsyncSocket, ReceiveResult, SendResult};
use integration_tests::call::{block_sending, engine};
use integration_tests::{Inbox, LIMIT, Socket, Transport, eventually, inbox, open, spawn};
use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

/// Starts a receive. The inbox gets the thread on which its callback ran.
fn thread_of_receive(socket: &Socket) -> Inbox<(ThreadId, ReceiveResult)> {
    let (done, completed) = inbox();
    socket
        .receive_async(vec![0; 64], move |received| done.put((thread::current().id(), received.result)))
        .map_err(|refused| refused.error)
        .expect("receive_async");
    completed
}

fn thread_of_send(socket: &Socket) -> Inbox<(ThreadId, SendResult)> {
    let (done, completed) = inbox();
    socket.send_async("hello", move |sent| done.put((thread::current().id(), sent.result))).expect("send_async");
    completed
}

#[test]
fn sends_done_at_once_callback_on_the_caller_and_what_waited_on_the_port_thread() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.narrow_pair();
    let socket = open(&engine, descriptor);
    let caller = thread::current().id();

    assert_eq!(thread_of_send(&socket).only(), (caller, SendResult::Ok));
    let receiving = thread_of_receive(&socket);
    peer.write_all(b"hello").unwrap();
    let (port, result) = receiving.only();
    assert_eq!(result, ReceiveResult::Ok);
    assert_ne!(port, caller);

    let (blocked, ahead) = block_sending(&socket);
    let queued = thread_of_send(&socket);
    assert!(queued.is_pending());
    let mut arrived = vec![0; 5 + ahead + 5];
    peer.read_exact(&mut arrived).unwrap();
    assert_eq!(blocked.only().result, SendResult::Ok);
    assert_eq!(queued.only(), (port, SendResult::Ok));
}

#[test]
fn what_close_abandons_calls_back_on_the_thread_that_closes() {
    let engine = engine(1);
    let (descriptor, _peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);
    let receiving = thread_of_receive(&socket);

    socket.close();

    // The callback ran on this thread, so it ran inside the call.
    assert_eq!(receiving.only(), (thread::current().id(), ReceiveResult::Abandoned));
}

#[test]
fn a_close_inside_a_callback_runs_the_abandoned_callbacks_before_that_callback_goes_on() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);
    let events = Arc::new(Mutex::new(Vec::new()));
    let (done, closed) = inbox();
    let (inner, outer, closing) = (Arc::clone(&events), Arc::clone(&events), Arc::clone(&socket));
    socket
        .receive_async([0; 8], move |_| {
            outer.lock().unwrap().push("closing");
            closing.close();
            outer.lock().unwrap().push("closed");
            done.put(());
        })
        .unwrap();
    socket.receive_async([0; 8], move |_| inner.lock().unwrap().push("abandoned")).unwrap();

    peer.write_all(b"hello").unwrap();

    closed.only();
    assert_eq!(*events.lock().unwrap(), ["closing", "abandoned", "closed"]);
}

#[test]
fn callbacks_of_two_sends_overlap_and_end_in_the_other_order_while_their_bytes_are_in_order() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);
    let ((begun, first_has_begun), (ended, second_has_ended)) = (channel(), channel());
    let sender = Arc::clone(&socket);

    // The first callback ends only when the second has.
    let first = spawn("first sender", move || {
        sender
            .send_async("first", move |_| {
                begun.send(()).unwrap();
                second_has_ended.recv_timeout(LIMIT).expect("the second callback does not wait for the first");
            })
            .unwrap();
    });
    first_has_begun.recv_timeout(LIMIT).unwrap();
    socket.send_async("second", move |_| ended.send(()).unwrap()).unwrap();

    first.join();
    let mut arrived = [0; 11];
    peer.read_exact(&mut arrived).unwrap();
    assert_eq!(&arrived, b"firstsecond");
}

#[test]
fn a_pending_receive_that_captured_its_socket_keeps_it_open_until_close() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);
    let watch = Arc::downgrade(&socket);
    let kept = Arc::clone(&socket);
    let (done, ended) = inbox();
    socket.receive_async([0; 8], move |received| done.put((received.result, drop(kept)))).unwrap();

    drop(socket);

    let socket = watch.upgrade().expect("the callback keeps it");
    assert!(ended.is_pending());
    peer.write_all(b"still open").unwrap();
    assert_eq!(ended.only().0, ReceiveResult::Ok);
    let kept = Arc::clone(&socket);
    socket.receive_async([0; 2], |_| {}).unwrap();
    let (done, ended) = inbox();
    socket.receive_async([0; 8], move |received| done.put((received.result, drop(kept)))).unwrap();
    socket.close();
    assert_eq!(ended.only().0, ReceiveResult::Abandoned);
    drop(socket);
    eventually("the last reference goes", || watch.strong_count() == 0);
}

#[test]
fn a_pending_receive_that_captured_its_socket_weakly_ends_when_the_last_reference_goes() {
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);
    let weak = Arc::downgrade(&socket);
    let (done, ended) = inbox();
    socket.receive_async([0; 8], move |received| done.put((received.result, weak.strong_count()))).unwrap();

    drop(socket);

    assert_eq!(ended.only(), (ReceiveResult::Abandoned, 0));
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
}
