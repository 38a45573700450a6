//! `set_metrics` on real sockets: what is counted is what the peer has seen.

use async_socket_linux::{AsyncSocket, BufferPool, EndReason, SocketCounts};
use integration_tests::call::{block_sending, engine, open, receive};
use integration_tests::{Socket, Transport, eventually, inbox, spawn};
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

fn counts(socket: &Socket) -> SocketCounts {
    socket.metrics().counts.expect("it counts")
}

fn echo(socket: &Arc<Socket>, ended: impl FnOnce(EndReason) + Send + 'static) {
    let next = Arc::clone(socket);
    let received = move |completion: async_socket_linux::ReceiveCompletion<Vec<u8>>| {
        if completion.reason != EndReason::Completed {
            return ended(completion.reason);
        }
        let received = completion.into_received();
        let again = Arc::clone(&next);
        next.send_async(received, move |_| echo(&again, ended)).expect("accepted");
    };
    socket.receive_async(vec![0; 1000], received).expect("accepted");
}

// Tests_SRS_SOCKET_01_121, Tests_SRS_SOCKET_01_123
#[test]
fn an_echo_has_counted_every_byte_both_ways_and_its_one_end() {
    const BYTES: usize = 100_000;
    let (engine, (descriptor, mut peer)) = (engine(1), Transport::TcpV4.pair());
    let socket = open(&engine, descriptor);
    socket.set_metrics(true).expect("there is memory");
    let (done, ended) = inbox();
    echo(&socket, move |reason| done.put(reason));
    let mut writer = peer.try_clone();
    let writer = spawn("the writer", move || {
        writer.write_all(&vec![7; BYTES]).expect("the echo reads");
        writer.finish();
    });
    peer.read_exact(&mut vec![0; BYTES]).expect("the echo sends");
    writer.join();
    assert_eq!(ended.only(), EndReason::PeerFinished);

    let counts = counts(&socket);
    assert_eq!((counts.bytes_received, counts.bytes_sent), (BYTES as u64, BYTES as u64));
    assert_eq!((counts.receives.abandoned, counts.receives.total()), (1, counts.receives.completed + 1));
    assert_eq!((counts.sends.completed, counts.sends.total()), (counts.receives.completed, counts.sends.completed));
    assert!(counts.longest_callback > Duration::ZERO);
}

// Tests_SRS_SOCKET_01_121, Tests_SRS_SOCKET_01_122
#[test]
fn what_waits_is_counted_when_it_ends_though_counting_began_later() {
    let (engine, (descriptor, _peer)) = (engine(1), Transport::Unix.pair());
    let socket = open(&engine, descriptor);
    let (_blocked, _) = block_sending(&socket);
    let _waits = receive(&socket, [0; 1]);
    assert_eq!(socket.metrics().counts, None);
    socket.set_metrics(true).expect("there is memory");
    let (done, ended) = inbox();
    let id = socket.receive_async([0; 1], move |it| done.put(it.reason)).expect("accepted");
    let _ = socket.cancel(id);
    assert_eq!(ended.only(), EndReason::Cancelled);

    socket.close();

    let counts = counts(&socket);
    assert_eq!((counts.receives.cancelled, counts.receives.abandoned, counts.receives.total()), (1, 1, 2));
    assert_eq!((counts.sends.abandoned, counts.sends.total()), (1, 1));
}

// Tests_SRS_BUFFER_POOL_01_015
#[test]
fn a_pool_counts_the_receives_that_found_it_empty() {
    let (engine, pool) = (engine(1), BufferPool::new(16, 1).expect("a pool"));
    let receive_one = || {
        let (descriptor, mut peer) = Transport::Unix.pair();
        peer.write_all(b"x").expect("there is room");
        let (socket, (done, received)) = (open(&engine, descriptor), inbox());
        socket.receive_pooled_async(&pool, move |it| done.put(it.buffer)).expect("accepted");
        (socket, peer, received)
    };
    let (_holds, _peer, first) = receive_one();
    let buffer = first.only();
    assert_eq!(pool.metrics().receives_delayed, 0);
    let (_waits, _peer, second) = receive_one();
    eventually("it has found the pool empty", || pool.metrics().receives_waiting == 1);
    assert_eq!(pool.metrics().receives_delayed, 1);
    drop(buffer);
    assert_eq!(second.only().as_deref(), Some(b"x".as_slice()));
}
