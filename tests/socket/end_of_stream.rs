//! How a connection ends: FIN, RST and half-close, and the bytes that arrived before.

use async_socket_linux::{AsyncSocket, ReceiveResult, SendResult};
use integration_tests::call::{block_sending, engine, open, receive, received, round_trip};
use integration_tests::wire::pattern;
use integration_tests::{Outbox, Transport, inbox, send_now};
use nix::libc::ECONNRESET;
use rstest::rstest;
use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;

/// The possible orders of the receives and the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    ReceivesFirst,
    EndFirst,
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_091, Tests_SRS_ASYNC_SOCKET_LINUX_11_092, Tests_SRS_ASYNC_SOCKET_LINUX_11_093
#[rstest]
fn bytes_before_a_fin_arrive_first_and_every_receive_after_them_is_abandoned(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
    #[values(When::ReceivesFirst, When::EndFirst)] when: When,
    #[values(4, 10, 100)] size: usize,
) {
    let (descriptor, mut peer) = transport.pair();
    let engine = engine(1);
    let socket = open(&engine, descriptor);
    let mut end = Some(move || {
        peer.write_all(b"0123456789").expect("the peer writes");
        drop(peer);
    });
    if when == When::EndFirst {
        end.take().unwrap()();
        round_trip(&engine);
    }
    let pending: Vec<_> = (0..12).map(|_| receive(&socket, vec![0; size])).collect();
    if let Some(end) = end {
        end();
    }

    let mut bytes = Vec::new();
    let mut abandoned = 0;
    for completion in pending.into_iter().map(integration_tests::Inbox::only) {
        bytes.extend_from_slice(received(&completion));
        if completion.result == ReceiveResult::Ok {
            assert_eq!(abandoned, 0, "bytes after the end");
        } else {
            assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Abandoned, None));
            assert_eq!(completion.bytes_received, 0);
            abandoned += 1;
        }
    }
    assert_eq!(bytes, b"0123456789");
    assert!(abandoned >= 2);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_088, Tests_SRS_ASYNC_SOCKET_LINUX_11_090, Tests_SRS_ASYNC_SOCKET_LINUX_11_093
#[rstest]
fn a_reset_abandons_the_receives_and_says_so(
    #[values(When::ReceivesFirst, When::EndFirst)] when: When,
    #[values(0, 10)] bytes: usize,
) {
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let engine = engine(1);
    let socket = open(&engine, descriptor);
    let mut end = Some(move || {
        peer.write_all(&pattern(0, bytes)).expect("the peer writes");
        peer.reset();
    });
    if when == When::EndFirst {
        end.take().unwrap()();
        round_trip(&engine);
    }
    let pending: Vec<_> = (0..4).map(|_| receive(&socket, vec![0; 100])).collect();
    if let Some(end) = end {
        end();
    }

    let completions: Vec<_> = pending.into_iter().map(integration_tests::Inbox::only).collect();
    // The kernel hands out what was there before the reset.
    let data = usize::from(bytes > 0);
    if data == 1 {
        assert_eq!((completions[0].result, received(&completions[0])), (ReceiveResult::Ok, &pattern(0, bytes)[..]));
    }
    assert_eq!((completions[data].result, completions[data].os_error()), (ReceiveResult::Abandoned, Some(ECONNRESET)));
    for completion in &completions[data + 1..] {
        assert_eq!((completion.result, completion.bytes_received), (ReceiveResult::Abandoned, 0));
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_090
#[test]
fn a_unix_peer_that_closes_with_unread_bytes_is_a_reset_too() {
    let (descriptor, peer) = Transport::Unix.pair();
    let socket = open(&engine(1), descriptor);
    let pending = receive(&socket, vec![0; 100]);
    send_now(&socket, b"never read");

    drop(peer);

    let completion = pending.only();
    assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Abandoned, Some(ECONNRESET)));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_091
#[rstest]
fn after_the_peers_half_close_sending_goes_on(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    peer.finish();
    assert_eq!(receive(&socket, vec![0; 8]).only().result, ReceiveResult::Abandoned);

    let mut length = 0;
    for _ in 0..20 {
        send_now(&socket, pattern(length, 1_000));
        length += 1_000;
    }

    peer.read_pattern(length);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_096, Tests_SRS_ASYNC_SOCKET_LINUX_11_101
#[rstest]
fn the_peers_half_close_does_not_end_a_blocked_send(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
    #[values(false, true)] with_receives: bool,
) {
    let (descriptor, mut peer) = transport.narrow_pair();
    let engine = engine(1);
    let socket = open(&engine, descriptor);
    let (blocked, position) = block_sending(&socket);
    let receives: Vec<_> = (0..if with_receives { 3 } else { 0 }).map(|_| receive(&socket, vec![0; 8])).collect();

    peer.finish();
    for pending in receives {
        assert_eq!(pending.only().result, ReceiveResult::Abandoned);
    }
    round_trip(&engine);
    assert!(blocked.is_pending());

    peer.read_pattern(position);
    assert_eq!(blocked.only().result, SendResult::Ok);
    send_now(&socket, b"and more");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
fn after_our_own_half_close_receiving_goes_on(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let other_handle = descriptor.try_clone().unwrap();
    let socket = open(&engine(1), descriptor);
    let pending = receive(&socket, vec![0; 16]);
    send_now(&socket, b"request");

    socket2::SockRef::from(&other_handle).shutdown(Shutdown::Write).unwrap();
    assert_eq!(peer.read_rest(), b"request");
    peer.write_all(b"answer").unwrap();

    assert_eq!(received(&pending.only()), b"answer");
    peer.finish();
    assert_eq!(receive(&socket, vec![0; 16]).only().result, ReceiveResult::Abandoned);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_091, Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[test]
fn a_million_bytes_before_the_fin_arrive_through_small_receives() {
    for transport in [Transport::TcpV4, Transport::Unix] {
        let (descriptor, mut peer) = transport.pair();
        let socket = open(&engine(1), descriptor);
        let writing =
            integration_tests::spawn("write", move || peer.write_all(&pattern(0, 1_000_000)).expect("written"));
        let (done, arrived) = inbox();
        collect(&socket, Vec::new(), done);
        let bytes: Vec<u8> = arrived.next();
        assert!(bytes == pattern(0, 1_000_000), "{} bytes", bytes.len());
        writing.join();
    }
}

fn collect(socket: &Arc<integration_tests::Socket>, mut bytes: Vec<u8>, done: Outbox<Vec<u8>>) {
    let again = Arc::clone(socket);
    let callback = move |completion: async_socket_linux::ReceiveCompletion<Vec<u8>>| {
        bytes.extend_from_slice(received(&completion));
        match completion.result {
            ReceiveResult::Ok => collect(&again, bytes, done),
            _ => done.put(bytes),
        }
    };
    socket.receive_async(vec![0; 777], callback).expect("receive_async");
}
