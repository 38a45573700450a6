//! The memory that remains after bursts and floods, and after connections that came and went.

use crate::{as_before, bytes};
use async_socket_linux::{AsyncSocket, BufferPool, ExecutionEngine, PooledCompletion, ReceiveResult};
use completion_port::{CompletionPort, Interest, OneShots};
use integration_tests::call::{block_sending, engine, open, receive, round_trip};
use integration_tests::process::{alone, port_threads};
use integration_tests::wire::{Peer, pattern};
use integration_tests::{Inbox, Socket, Transport, eventually, inbox, spawn};
use rstest::rstest;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An open socket and its peer, on an engine that has served a round trip.
fn used_socket() -> (ExecutionEngine, Arc<Socket>, Peer) {
    let engine = engine(1);
    let (descriptor, peer) = Transport::Unix.pair();
    let socket = open(&engine, descriptor);
    round_trip(&engine);
    (engine, socket, peer)
}

// Tests_SRS_COMPLETION_PORT_01_127
#[test]
fn a_burst_of_queued_sends_leaves_an_idle_socket_next_to_nothing() {
    const SENDS: usize = 20_000;
    let _alone = alone();
    let (_engine, socket, mut peer) = used_socket();
    // Makes the pattern that tests send, which stays.
    drop(pattern(0, 1));
    let before = bytes();
    for _ in 0..2 {
        let (blocked, expected) = block_sending(&socket);
        let (done, sent) = inbox();
        let left = Arc::new(AtomicUsize::new(SENDS));
        for _ in 0..SENDS {
            let (done, left) = (done.clone(), Arc::clone(&left));
            let last = move |_| {
                if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    done.put(());
                }
            };
            socket.send_async(b"a message".as_slice(), last).map_err(|refused| refused.error).expect("accepted");
        }
        let mut reader = peer.try_clone();
        let reads = spawn("peer", move || {
            let mut buffer = vec![0; 64 * 1024];
            let mut left = expected + SENDS * b"a message".len();
            while left > 0 {
                left -= reader.read(&mut buffer).expect("the peer reads");
            }
        });
        sent.next();
        reads.join();
        drop((blocked, done, sent));
        as_before(before, "after a burst");
    }
    peer.write_all(b"x").unwrap();
}

// Tests_SRS_COMPLETION_PORT_01_127
#[test]
fn lent_arrays_leave_an_idle_socket_none_of_their_memory() {
    let _alone = alone();
    let (_engine, socket, mut peer) = used_socket();
    let before = bytes();
    let (done, received) = inbox();
    for _ in 0..40 {
        let done = done.clone();
        let report = move |_| done.put(());
        socket.receive_async(vec![[0_u8; 1024]; 16], report).map_err(|refused| refused.error).expect("accepted");
    }
    peer.write_all(&vec![1; 40 * 16 * 1024]).unwrap();
    received.take(40);
    for _ in 0..40 {
        receive_array(&socket, &done);
    }
    peer.write_all(&vec![1; 40 * ARRAY]).unwrap();
    received.take(40);
    drop((done, received));
    as_before(before, "after forty arrays");
}

const ARRAY: usize = 16 * 1024;

fn receive_array(socket: &Socket, done: &integration_tests::Outbox<()>) {
    let done = done.clone();
    socket
        .receive_async([0_u8; ARRAY], move |received| {
            let _ = received;
            done.put(());
        })
        .map_err(|refused| refused.error)
        .expect("accepted");
}

fn pooled(socket: &Socket, pool: &BufferPool) -> Inbox<PooledCompletion> {
    let (done, received) = inbox();
    socket.receive_pooled_async(pool, move |completion| done.put(completion)).expect("accepted");
    received
}

// Tests_SRS_BUFFER_POOL_01_009
#[test]
fn connections_that_waited_for_a_buffer_and_were_closed_leave_neither_memory_nor_a_thread() {
    let _alone = alone();
    eventually("the other tests' threads end", || port_threads().is_empty());
    let (engine, pool) = (engine(1), BufferPool::new(1024, 1).unwrap());
    let (descriptor, mut peer) = Transport::Unix.pair();
    let holder = open(&engine, descriptor);
    let held = pooled(&holder, &pool);
    peer.write_all(b"x").unwrap();
    let held = held.only();
    let (descriptor, mut first_peer) = Transport::Unix.pair();
    let first = open(&engine, descriptor);
    let waits = pooled(&first, &pool);
    first_peer.write_all(b"x").unwrap();
    round_trip(&engine);
    let before = bytes();

    for _ in 0..500 {
        let (descriptor, mut peer) = Transport::Unix.pair();
        let socket = open(&engine, descriptor);
        let received = pooled(&socket, &pool);
        peer.write_all(b"x").unwrap();
        eventually("it has found the pool empty", || format!("{pool:?}").contains("waiting: 2"));
        socket.close();
        assert_eq!(received.only().result, ReceiveResult::Abandoned);
    }

    round_trip(&engine);
    as_before(before, "after 500 connections");
    drop((first, holder, engine));
    assert_eq!(waits.only().result, ReceiveResult::Abandoned);
    eventually("the port's thread ends", || port_threads().is_empty());
    drop(held);
    assert_eq!(pool.buffers_free(), 1);
}

// Tests_SRS_BUFFER_POOL_01_006, Tests_SRS_BUFFER_POOL_01_010
#[rstest]
fn a_buffer_goes_to_the_first_that_waits_though_a_later_event_is_served_before(#[values(1, 2)] waiters: usize) {
    let _alone = alone();
    let (engine, pool) = (engine(1), BufferPool::new(64, 1).unwrap());
    let make = || {
        let (descriptor, peer) = Transport::Unix.pair();
        (open(&engine, descriptor), peer)
    };
    let (tell, served) = inbox();
    let (mut gate, mut dropper, mut late, mut holder) = (make(), make(), make(), make());
    let held = pooled(&holder.0, &pool);
    holder.1.write_all(b"x").unwrap();
    let held = held.only();
    assert!(held.buffer.is_some());
    let receive_named = |name: &'static str, socket: &Socket| {
        let tell = tell.clone();
        socket.receive_pooled_async(&pool, move |completion| tell.put((name, completion))).expect("accepted");
    };
    let names = ["first", "second"].into_iter().take(waiters);
    let begin = |name| {
        let mut waiter = make();
        receive_named(name, &waiter.0);
        waiter.1.write_all(b"x").unwrap();
        round_trip(&engine);
        waiter
    };
    let mut waiting: Vec<_> = names.clone().map(begin).collect();
    // One batch of events: the buffer comes back, and then another receive asks for one.
    let (hold, barrier) = integration_tests::wait::gate();
    gate.0.receive_async([0_u8; 1], move |_| barrier.wait()).map_err(|refused| refused.error).expect("accepted");
    dropper.0.receive_async([0_u8; 1], move |_| drop(held)).map_err(|refused| refused.error).expect("accepted");
    receive_named("late", &late.0);
    gate.1.write_all(b"x").unwrap();
    hold.wait_for_arrival();
    dropper.1.write_all(b"x").unwrap();
    late.1.write_all(b"x").unwrap();
    hold.open();

    for expected in names.chain(["late"]) {
        let (name, completion) = served.next();
        assert_eq!((name, completion.buffer.as_deref()), (expected, Some(b"x".as_slice())));
    }
    waiting.iter_mut().for_each(|(_, peer)| peer.write_all(b"y").unwrap());
}

// Tests_SRS_BUFFER_POOL_01_011
#[test]
fn at_the_end_of_a_stream_the_buffer_is_back_before_the_callback_runs() {
    let _alone = alone();
    let (engine, pool) = (engine(1), BufferPool::new(16, 1).unwrap());
    let (descriptor, peer) = Transport::TcpV4.pair();
    let socket = open(&engine, descriptor);
    let (tell, seen) = inbox();
    let shared = pool.clone();
    socket.receive_pooled_async(&pool, move |_| tell.put((shared.buffers_made(), shared.buffers_free()))).unwrap();

    drop(peer);

    assert_eq!(seen.only(), (1, 1));
}

#[test]
fn many_waits_for_one_descriptor_leave_next_to_nothing() {
    let _alone = alone();
    let waiting = OneShots::new(CompletionPort::create().unwrap());
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let ours = Arc::new(ours);
    let (tell, told) = inbox();
    let wait = || {
        let tell = tell.clone();
        let waiter = (Arc::clone(&ours), move |action| tell.put(action));
        waiting.add(Interest::IN, waiter).expect("the kernel accepts it");
    };
    wait();
    peer.write_all(b"x").unwrap();
    told.next();
    (&*ours).read_exact(&mut [0]).unwrap();
    let before = bytes();

    (0..5000).for_each(|_| wait());
    peer.write_all(b"x").unwrap();
    drop(told.take(5000));

    as_before(before, "after 5000 waits");
}

// Tests_SRS_COMPLETION_PORT_01_127
#[test]
fn a_receive_that_is_always_under_way_leaves_nothing_behind() {
    let _alone = alone();
    let (_engine, socket, mut peer) = used_socket();
    let before = bytes();
    for _ in 0..100 {
        let received = receive(&socket, vec![0; 100]);
        peer.write_all(b"x").unwrap();
        drop(received.only());
    }
    as_before(before, "after a hundred messages");
}
