//! Several ports in one engine: sockets are spread over the threads, and each stays on its own.

use async_socket_linux::{AsyncSocket, SendResult};
use integration_tests::call::{block_sending, engine, open, receive};
use integration_tests::process::{port_threads, this_thread};
use integration_tests::{Transport, inbox};
use rstest::rstest;
use std::collections::HashMap;
use std::io::Write;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_005
#[rstest]
fn sockets_take_the_next_thread_each_and_stay_there(#[values(1, 2, 4)] count: usize) {
    let engine = engine(count);
    assert_eq!(engine.threads(), count);
    let mut by_thread: HashMap<i32, usize> = HashMap::new();
    let mut connections = Vec::new();
    for _ in 0..4 * count {
        let (descriptor, peer) = Transport::TcpV4.pair();
        connections.push((open(&engine, descriptor), peer));
    }

    let mut order = Vec::new();
    for (socket, peer) in &mut connections {
        let mut threads = Vec::new();
        for _ in 0..20 {
            let (done, thread) = inbox();
            socket.receive_async([0_u8; 1], move |_| done.put(this_thread())).unwrap();
            peer.write_all(b"x").unwrap();
            threads.push(thread.only());
        }
        // Queued sends complete there too.
        let (blocked, position) = block_sending(socket);
        let (done, thread) = inbox();
        socket.send_async([0_u8; 1], move |_| done.put(this_thread())).unwrap();
        peer.read_pattern(position);
        assert_eq!(blocked.only().result, SendResult::Ok);
        threads.push(thread.only());
        threads.dedup();
        assert_eq!(threads.len(), 1, "one socket, one thread");
        *by_thread.entry(threads[0]).or_default() += 1;
        order.push(threads[0]);
    }

    assert_eq!(by_thread.len(), count);
    assert!(by_thread.values().all(|sockets| *sockets == 4), "{by_thread:?}");
    assert!(by_thread.keys().all(|thread| port_threads().contains(thread)));
    assert!(order.chunks(count).all(|round| round == &order[..count]), "in turn");
}

#[test]
fn a_callback_on_one_port_closes_sockets_of_all_others() {
    let engine = engine(4);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let first = open(&engine, descriptor);
    let mut others = Vec::new();
    let mut pending = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..8 {
        let (descriptor, peer) = Transport::Unix.pair();
        let socket = open(&engine, descriptor);
        pending.push(receive(&socket, vec![0; 1]));
        others.push(socket);
        peers.push(peer);
    }
    let (done, closed) = inbox();
    let callback = move |_| {
        others.iter().for_each(|socket| socket.close());
        done.put(());
    };
    first.receive_async([0_u8; 1], callback).unwrap();

    peer.write_all(b"x").unwrap();

    closed.only();
    for pending in pending {
        assert_eq!(pending.only().result, async_socket_linux::ReceiveResult::Abandoned);
    }
}
