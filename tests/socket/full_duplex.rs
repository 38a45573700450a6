//! Both directions at once: neither waits for the other, neither disturbs it.

use async_socket_linux::{AsyncSocket, ReceiveResult, SendResult};
use integration_tests::call::{engine, open, receive, received};
use integration_tests::wire::{PatternChecker, pattern};
use integration_tests::{Outbox, Socket, Transport, inbox, send, spawn};
use rstest::rstest;
use std::io::Write;
use std::sync::Arc;

const LENGTH: usize = 64 << 20;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_057, Tests_SRS_ASYNC_SOCKET_LINUX_11_082, Tests_SRS_ASYNC_SOCKET_LINUX_11_094
// Tests_SRS_ASYNC_SOCKET_LINUX_11_101
#[rstest]
fn receives_complete_while_a_send_of_64_mib_is_blocked(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let early = receive(&socket, vec![0; 16]);
    let blocked = send(&socket, pattern(0, LENGTH));

    peer.write_all(b"before").unwrap();
    assert_eq!(received(&early.only()), b"before");
    for _ in 0..100 {
        let late = receive(&socket, vec![0; 16]);
        peer.write_all(b"in the middle").unwrap();
        assert_eq!(received(&late.only()), b"in the middle");
    }
    assert!(blocked.is_pending());

    peer.read_pattern(LENGTH);
    let completion = blocked.only();
    assert_eq!((completion.result, completion.bytes_sent as usize), (SendResult::Ok, LENGTH));
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_102, Tests_SRS_ASYNC_SOCKET_LINUX_11_094
#[rstest]
fn a_send_of_64_mib_completes_while_a_receive_is_pending(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let pending = receive(&socket, vec![0; 16]);

    let sent = send(&socket, pattern(0, LENGTH));
    let mut reader = peer.try_clone();
    spawn("read", move || reader.read_pattern(LENGTH)).join();

    assert_eq!(sent.only().result, SendResult::Ok);
    assert!(pending.is_pending());
    peer.write_all(b"at last").unwrap();
    assert_eq!(received(&pending.only()), b"at last");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_082, Tests_SRS_ASYNC_SOCKET_LINUX_11_092, Tests_SRS_ASYNC_SOCKET_LINUX_11_096
// Tests_SRS_ASYNC_SOCKET_LINUX_11_101
#[rstest]
fn streams_of_64_mib_go_both_ways_at_once(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let (done, arrived) = inbox();
    take_all(&socket, PatternChecker::default(), done, vec![0; 100_000]);
    let sent = send(&socket, pattern(0, LENGTH));

    let mut writer = peer.try_clone();
    let writing = spawn("write", move || {
        writer.write_all(&pattern(0, LENGTH)).expect("the peer writes");
        writer.finish();
    });
    spawn("read", move || peer.read_pattern(LENGTH)).join();
    writing.join();

    assert_eq!(sent.only().result, SendResult::Ok);
    assert_eq!(arrived.next(), (ReceiveResult::Abandoned, LENGTH));
}

/// Receives until the end of the stream or wrong bytes. Reports which of the two came, and how many bytes were right.
fn take_all(socket: &Arc<Socket>, mut checker: PatternChecker, done: Outbox<(ReceiveResult, usize)>, buffer: Vec<u8>) {
    let again = Arc::clone(socket);
    let callback = move |completion: async_socket_linux::ReceiveCompletion<Vec<u8>>| {
        let right = checker.accepts(received(&completion));
        if right && completion.result == ReceiveResult::Ok {
            take_all(&again, checker, done, completion.buffers);
        } else {
            done.put((completion.result, checker.position()));
        }
    };
    socket.receive_async(buffer, callback).expect("receive_async");
}
