//! Thousands of sockets that come and go leave nothing behind: no memory, no descriptor, no thread.

use crate::{as_before, bytes};
use async_socket_linux::{AsyncSocket, ReceiveResult};
use integration_tests::call::{block_sending, engine, open, round_trip};
use integration_tests::process::{alone, descriptors, port_threads};
use integration_tests::{Socket, Transport, inbox};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Opens `count` sockets, each with a pending receive. Two of three are closed, every third is dropped.
fn cycles(engine: &async_socket_linux::ExecutionEngine, count: usize) {
    let completed = Arc::new(AtomicUsize::new(0));
    for cycle in 0..count {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let socket = Socket::create(Some(engine), ours.into()).expect("create");
        socket.open_async(|_| {}).expect("open_async");
        let completed = Arc::clone(&completed);
        let count = move |result| {
            assert_eq!(result, ReceiveResult::Abandoned);
            completed.fetch_add(1, Ordering::Relaxed);
        };
        // The first operation is on the heap, the second in the queue.
        if cycle % 2 == 0 {
            socket.receive_async([0_u8; 200], move |completion| count(completion.result)).expect("receive_async");
        } else {
            socket.receive_async(vec![0_u8; 20], move |completion| count(completion.result)).expect("receive_async");
        }
        if cycle % 5 == 0 {
            drop(theirs);
        }
        if cycle % 3 > 0 {
            socket.close();
        }
    }
    assert_eq!(completed.load(Ordering::Relaxed), count);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_023, Tests_SRS_ASYNC_SOCKET_LINUX_11_039, Tests_SRS_ASYNC_SOCKET_LINUX_11_084
#[test]
fn ten_thousand_cycles_of_open_receive_and_close_leave_memory_and_descriptors_flat() {
    let _alone = alone();
    let engine = engine(1);
    cycles(&engine, 500);
    round_trip(&engine);
    let (before, open, running) = (bytes(), descriptors(), port_threads().len());

    cycles(&engine, 10_000);

    round_trip(&engine);
    assert_eq!((descriptors(), port_threads().len()), (open, running));
    as_before(before, "after ten thousand cycles");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_084
#[test]
fn sockets_that_are_dropped_with_blocked_sends_leave_nothing_behind() {
    let _alone = alone();
    let engine = engine(1);
    let round = || {
        for transport in [Transport::TcpV4, Transport::Unix] {
            let (descriptor, peer) = transport.narrow_pair();
            let socket = open(&engine, descriptor);
            let (blocked, _) = block_sending(&socket);
            let (done, ended) = inbox();
            socket.send_async(vec![[0_u8; 1]; 3_000], move |_| done.put(())).unwrap();
            drop(peer);
            drop(socket);
            blocked.only();
            ended.only();
        }
    };
    (0..20).for_each(|_| round());
    round_trip(&engine);
    let (before, open) = (bytes(), descriptors());

    (0..500).for_each(|_| round());

    round_trip(&engine);
    assert_eq!(descriptors(), open);
    as_before(before, "after a thousand sockets");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_022
#[test]
fn engines_come_and_go_without_a_trace() {
    let _alone = alone();
    let round = || {
        let engine = engine(3);
        let (descriptor, _peer) = Transport::Unix.pair();
        let socket = open(&engine, descriptor);
        drop(engine);
        drop(socket);
    };
    (0..10).for_each(|_| round());
    integration_tests::eventually("the threads end", || port_threads().is_empty());
    let (before, open) = (bytes(), descriptors());

    (0..300).for_each(|_| round());

    assert_eq!(descriptors(), open);
    integration_tests::eventually("the threads end", || port_threads().is_empty());
    as_before(before, "after three hundred engines");
}
