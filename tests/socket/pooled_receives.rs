//! Receives from a pool on real sockets: many connections, few buffers, nothing lost.

use async_socket_linux::{AsyncSocket, BufferPool, PooledCompletion, ReceiveError, ReceiveResult};
use integration_tests::call::{engine, open, round_trip};
use integration_tests::wire::pattern;
use integration_tests::{Inbox, Socket, Transport, inbox};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

fn receive(socket: &Socket, pool: &BufferPool) -> Inbox<PooledCompletion> {
    let (done, received) = inbox();
    socket.receive_pooled_async(pool, move |completion| done.put(completion)).expect("accepted");
    received
}

// Tests_SRS_BUFFER_POOL_01_001, Tests_SRS_BUFFER_POOL_01_003, Tests_SRS_BUFFER_POOL_01_004
#[test]
fn a_hundred_idle_connections_hold_no_buffer_and_the_first_bytes_take_one() {
    let (engine, pool) = (engine(1), BufferPool::new(4096, 1000).unwrap());
    let mut connections: Vec<_> = (0..100)
        .map(|_| {
            let (descriptor, peer) = Transport::Unix.pair();
            let socket = open(&engine, descriptor);
            let waiting = receive(&socket, &pool);
            (socket, peer, waiting)
        })
        .collect();
    round_trip(&engine);
    assert_eq!(pool.buffers_made(), 0);

    connections[7].1.write_all(b"hello").unwrap();

    let completion = connections[7].2.next();
    assert_eq!(completion.buffer.as_deref(), Some(b"hello".as_slice()));
    assert_eq!(pool.buffers_made(), 1);
}

// Tests_SRS_BUFFER_POOL_01_002
#[test]
fn a_pool_without_buffers_is_refused() {
    assert!(BufferPool::new(4096, 0).is_err() && BufferPool::new(0, 1).is_err());
}

/// Echoes until the stream ends.
fn echo(socket: &Arc<Socket>, pool: &BufferPool) {
    let (next, again) = (Arc::clone(socket), pool.clone());
    let _ = socket.receive_pooled_async(pool, move |completion| {
        if let Some(buffer) = completion.buffer {
            let socket = Arc::clone(&next);
            let _ = socket.send_async(buffer, move |sent| {
                drop(sent);
                echo(&next, &again);
            });
        }
    });
}

// Tests_SRS_BUFFER_POOL_01_005, Tests_SRS_BUFFER_POOL_01_006, Tests_SRS_COMPLETION_PORT_01_037
#[test]
fn fifty_connections_echo_through_three_buffers_and_no_byte_is_lost() {
    const BYTES: usize = 200_000;
    let (engine, pool) = (engine(2), BufferPool::new(1000, 3).unwrap());
    let clients: Vec<_> = (0..50)
        .map(|index| {
            let transport = if index % 2 == 0 { Transport::Unix } else { Transport::TcpV4 };
            let (descriptor, mut peer) = transport.pair();
            echo(&open(&engine, descriptor), &pool);
            let mut reader = peer.try_clone();
            let writes = integration_tests::spawn("client", move || peer.write_all(&pattern(index, BYTES)));
            let reads = integration_tests::spawn("client", move || {
                let mut bytes = vec![0; BYTES];
                reader.read_exact(&mut bytes).expect("everything comes back");
                assert!(bytes == pattern(index, BYTES), "client {index}");
                reader
            });
            (writes, reads)
        })
        .collect();

    let peers: Vec<_> = clients
        .into_iter()
        .map(|(writes, reads)| {
            writes.join().expect("everything is taken");
            reads.join()
        })
        .collect();

    assert!(pool.buffers_made() <= 3);
    drop(peers);
    integration_tests::eventually("the buffers are back", || pool.buffers_free() == pool.buffers_made());
}

// Tests_SRS_BUFFER_POOL_01_007, Tests_SRS_COMPLETION_PORT_01_037
#[test]
fn the_end_of_the_stream_comes_without_a_buffer_and_close_ends_who_waits_for_one() {
    let (engine, pool) = (engine(1), BufferPool::new(16, 1).unwrap());
    let [ended, mut holder, mut waiting] = [(); 3].map(|()| {
        let (descriptor, peer) = Transport::TcpV4.pair();
        (open(&engine, descriptor), peer)
    });
    let end = receive(&ended.0, &pool);
    ended.1.shutdown(Shutdown::Write);
    let end = end.only();
    assert_eq!((end.result, end.buffer.is_none()), (ReceiveResult::Abandoned, true));

    let held = receive(&holder.0, &pool);
    holder.1.write_all(b"x").unwrap();
    let held = held.only();
    let dry = receive(&waiting.0, &pool);
    waiting.1.write_all(b"y").unwrap();
    round_trip(&engine);
    assert!(dry.is_pending());

    waiting.0.close();

    assert_eq!(dry.only().result, ReceiveResult::Abandoned);
    drop(held);
    assert_eq!(pool.buffers_free(), 1);
}

// Tests_SRS_BUFFER_POOL_01_008
#[test]
fn a_closed_socket_refuses() {
    let pool = BufferPool::new(16, 1).unwrap();
    let socket = open(&engine(1), Transport::Unix.pair().0);
    socket.close();
    let refused = socket.receive_pooled_async(&pool, |_| panic!("called back"));
    assert!(matches!(refused, Err(ReceiveError::NotOpen { .. })));
}
