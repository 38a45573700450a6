//! Receives from a pool on real sockets: many connections, few buffers, nothing lost.

use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, BufferPool, EndReason, ExecutionEngine, PooledCompletion, ReceiveError,
    ReceiveResult, SocketState,
};
use integration_tests::call::{block_sending, engine, open, round_trip};
use integration_tests::kernel::HeldKernel;
use integration_tests::wire::pattern;
use integration_tests::{Inbox, NeverCalled, Outbox, Peer, Socket, Transport, eventually, inbox, send};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn receive(socket: &Socket, pool: &BufferPool) -> Inbox<PooledCompletion> {
    let (done, received) = inbox();
    socket.receive_pooled_async(pool, move |completion| done.put(completion)).expect("accepted");
    received
}

// Tests_SRS_BUFFER_POOL_01_001, Tests_SRS_BUFFER_POOL_01_003, Tests_SRS_BUFFER_POOL_01_004
// Tests_SRS_BUFFER_POOL_01_014
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
    let metrics = pool.metrics();
    assert_eq!((metrics.limit, metrics.buffers_made, metrics.buffers_free), (1000, 1, 0));
}

// Tests_SRS_BUFFER_POOL_01_003
#[test]
fn a_receive_that_finds_nothing_gives_its_buffer_back_and_waits() {
    let (engine, pool) = (engine(1), BufferPool::new(4, 1).unwrap());
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let socket = open(&engine, descriptor);
    let first = receive(&socket, &pool);
    peer.write_all(b"four").unwrap();
    drop(first.only().buffer.expect("as many bytes as it has room for"));

    // More may be there behind a receive that was full, so the next one is tried at once.
    let second = receive(&socket, &pool);
    round_trip(&engine);

    assert!(second.is_pending());
    assert_eq!((pool.buffers_made(), pool.buffers_free()), (1, 1));
    peer.write_all(b"more").unwrap();
    assert_eq!(second.only().buffer.as_deref(), Some(b"more".as_slice()));
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

// Tests_SRS_BUFFER_POOL_01_001, Tests_SRS_BUFFER_POOL_01_005, Tests_SRS_COMPLETION_PORT_01_037
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
    eventually("the buffers are back", || pool.buffers_free() == pool.buffers_made());
}

/// Sockets of one engine, each with its peer.
fn connections<const COUNT: usize>(engine: &ExecutionEngine) -> [(Arc<Socket>, Peer); COUNT] {
    [(); COUNT].map(|()| {
        let (descriptor, peer) = Transport::TcpV4.pair();
        (open(engine, descriptor), peer)
    })
}

// Tests_SRS_BUFFER_POOL_01_006
#[test]
fn receives_that_find_the_pool_empty_are_served_in_turn_without_being_tried_meanwhile() {
    const WAITING: usize = 5;
    let (engine, pool) = (engine(1), BufferPool::new(16, 1).unwrap());
    let [mut holder] = connections(&engine);
    let held = receive(&holder.0, &pool);
    holder.1.write_all(b"x").unwrap();
    let held = held.only();
    let tried = Arc::new(AtomicUsize::new(0));
    let (done, served) = inbox();
    let mut waiting: Vec<_> = (0..WAITING)
        .map(|number| {
            let (descriptor, mut peer) = Transport::TcpV4.pair();
            let handle = descriptor.try_clone().unwrap();
            let kernel = HeldKernel { receives: Arc::clone(&tried), ..HeldKernel::default() };
            let socket = AsyncSocketLinux::create_with(engine.completion_port(), kernel, descriptor);
            socket.open_async(|_| {}).unwrap();
            let done = done.clone();
            let callback = move |completion: PooledCompletion| done.put((number, completion));
            socket.receive_pooled_async(&pool, callback).unwrap();
            peer.write_all(b"first ").unwrap();
            // This receive has found the pool empty before the next one asks.
            round_trip(&engine);
            (socket, peer, handle)
        })
        .collect();

    // More events change nothing: no receive is tried, and the kernel keeps the bytes.
    for (_, peer, handle) in &mut waiting {
        peer.write_all(b"more").unwrap();
        round_trip(&engine);
        assert_eq!(rustix::io::ioctl_fionread(&*handle), Ok(10));
    }
    assert_eq!(tried.load(Ordering::SeqCst), 0);
    assert!(served.is_pending());
    drop(held);

    for expected in 0..WAITING {
        let (number, completion) = served.next();
        assert_eq!((number, completion.buffer.as_deref()), (expected, Some(b"first more".as_slice())));
    }
}

// Tests_SRS_BUFFER_POOL_01_007, Tests_SRS_COMPLETION_PORT_01_037
#[test]
fn a_receive_that_ends_gets_no_buffer_and_leaves_the_one_it_waited_for_to_the_next() {
    let (engine, pool) = (engine(1), BufferPool::new(16, 1).unwrap());
    let [ended, mut holder, mut first, mut second] = connections(&engine);
    let end = receive(&ended.0, &pool);
    ended.1.shutdown(Shutdown::Write);
    let end = end.only();
    assert_eq!((end.result, end.buffer.is_none()), (ReceiveResult::Abandoned, true));

    let held = receive(&holder.0, &pool);
    holder.1.write_all(b"x").unwrap();
    let held = held.only();
    let [abandoned, next] = [(&mut first, b"y"), (&mut second, b"z")].map(|((socket, peer), byte)| {
        let waits = receive(socket, &pool);
        peer.write_all(byte).unwrap();
        round_trip(&engine);
        waits
    });
    assert!(abandoned.is_pending() && next.is_pending());

    first.0.close();

    let abandoned = abandoned.only();
    assert_eq!((abandoned.result, abandoned.buffer.is_none()), (ReceiveResult::Abandoned, true));
    assert!(next.is_pending());
    drop(held);
    assert_eq!(next.only().buffer.as_deref(), Some(b"z".as_slice()));
    assert_eq!((pool.buffers_made(), pool.buffers_free()), (1, 1));
}

// Tests_SRS_BUFFER_POOL_01_008
#[test]
fn a_closed_socket_refuses() {
    let never = NeverCalled::default();
    let pool = BufferPool::new(16, 1).unwrap();
    let socket = open(&engine(1), Transport::Unix.pair().0);
    socket.close();
    let refused = socket.receive_pooled_async(&pool, never.callback()).unwrap_err();
    assert_eq!(refused, ReceiveError::NotOpen { state: SocketState::Closed });
}

// Tests_SRS_BUFFER_POOL_01_013
#[test]
fn a_receive_that_waits_gets_the_buffer_of_a_send_that_a_close_ends() {
    let (engine, pool) = (engine(1), BufferPool::new(16, 1).unwrap());
    let [mut slow, mut other] = connections(&engine);
    let held = receive(&slow.0, &pool);
    slow.1.write_all(b"x").unwrap();
    let held = held.only().buffer.expect("the only buffer");
    let _blocked = block_sending(&slow.0);
    let sent = send(&slow.0, held);
    let waits = receive(&other.0, &pool);
    other.1.write_all(b"y").unwrap();
    eventually("it has found the pool empty", || pool.metrics().receives_waiting == 1);

    slow.0.close();

    assert_eq!(sent.only().reason, EndReason::Closed);
    assert_eq!(waits.only().buffer.as_deref(), Some(b"y".as_slice()));
}

/// Echoes with a deadline for each send, and closes a connection whose peer does not read.
fn echo_within(socket: &Arc<Socket>, pool: &BufferPool, within: Duration, cut_off: &Outbox<EndReason>) {
    let (next, again, cut_off) = (Arc::clone(socket), pool.clone(), cut_off.clone());
    let _ = socket.receive_pooled_async(pool, move |completion| {
        let Some(buffer) = completion.buffer else { return };
        let socket = Arc::clone(&next);
        let _ = socket.send_async_within(buffer, within, move |sent| {
            let reason = sent.reason;
            drop(sent);
            if reason == EndReason::Completed {
                echo_within(&next, &again, within, &cut_off);
            } else {
                cut_off.put(reason);
            }
        });
    });
}

// Tests_SRS_BUFFER_POOL_01_013
#[test]
fn peers_that_do_not_read_hold_the_pool_no_longer_than_their_deadline() {
    integration_tests::within("peers that do not read", || {
        let (engine, pool) = (engine(1), BufferPool::new(64 * 1024, 2).unwrap());
        let (cut, cut_off) = inbox();
        let mut slow = Vec::new();
        for _ in 0..2 {
            let (descriptor, peer) = Transport::Unix.narrow_pair();
            let socket = open(&engine, descriptor);
            echo_within(&socket, &pool, Duration::from_millis(100), &cut);
            // Never reads, and writes until its own end is full as well.
            let mut writer = peer.try_clone();
            let _ =
                integration_tests::spawn("a peer that writes", move || while writer.write_all(&[1; 4096]).is_ok() {});
            slow.push((socket, peer));
        }
        let (descriptor, mut peer) = Transport::Unix.pair();
        let quick = open(&engine, descriptor);
        assert_eq!(cut_off.take(2), [EndReason::TimedOut; 2]);

        echo_within(&quick, &pool, Duration::from_secs(10), &cut);
        peer.write_all(b"still served").unwrap();

        assert_eq!(peer.read_bytes(12), b"still served");
        for (socket, _) in slow {
            socket.close();
        }
        peer.finish();
    });
}
