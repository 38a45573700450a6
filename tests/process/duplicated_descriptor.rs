//! A descriptor that has duplicates: closing ours ends the events, not the connection.

use async_socket_linux::{AsyncSocket, ReceiveResult};
use integration_tests::call::{engine, open, receive, received, round_trip};
use integration_tests::process::{alone, cpu_time, epoll_entries, is_open, this_thread};
use integration_tests::{Transport, inbox, send_now};
use rstest::rstest;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_039
#[rstest]
fn closing_while_a_duplicate_stays_open_brings_no_late_events_and_no_spinning(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let _alone = alone();
    let engine = engine(1);
    let (descriptor, mut peer) = transport.pair();
    let number = descriptor.as_raw_fd();
    let duplicate = descriptor.try_clone().unwrap();
    let socket = open(&engine, descriptor);
    let (done, thread) = inbox();
    socket.receive_async([0_u8; 1], move |_| done.put(this_thread())).unwrap();
    peer.write_all(b"x").unwrap();
    let thread = thread.only();
    let pending = receive(&socket, vec![0; 8]);

    socket.close();

    assert_eq!(pending.only().result, ReceiveResult::Abandoned);
    assert!(!is_open(number));
    assert!(epoll_entries(number).is_empty(), "watched on");
    let before = cpu_time(thread);
    for _ in 0..100 {
        peer.write_all(b"late").unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(cpu_time(thread) - before < Duration::from_millis(50));
    // The connection lives on.
    let mut duplicate = UnixStream::from(duplicate);
    let mut bytes = [0; 400];
    duplicate.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes[396..], b"late");
    duplicate.write_all(b"answer").unwrap();
    assert_eq!(peer.read_bytes(6), b"answer");
    round_trip(&engine);
}

#[test]
fn a_new_socket_with_the_old_number_gets_only_its_own_events() {
    let _alone = alone();
    let engine = engine(1);
    for _ in 0..50 {
        let (descriptor, mut old_peer) = Transport::Unix.pair();
        let number = descriptor.as_raw_fd();
        let _duplicate = descriptor.try_clone().unwrap();
        let socket = open(&engine, descriptor);
        drop(socket);
        let (descriptor, mut peer) = Transport::Unix.pair();
        assert!(descriptor.as_raw_fd() == number || peer_number(&peer) == number, "the number is used again");
        let socket = open(&engine, descriptor);
        let pending = receive(&socket, vec![0; 8]);

        old_peer.write_all(b"for the old").unwrap();
        round_trip(&engine);
        assert!(pending.is_pending());
        peer.write_all(b"new").unwrap();

        assert_eq!(received(&pending.only()), b"new");
        assert_eq!(epoll_entries(number).len(), usize::from(peer_number(&peer) != number));
    }
}

fn peer_number(peer: &integration_tests::Peer) -> i32 {
    std::os::fd::AsFd::as_fd(peer).as_raw_fd()
}

#[test]
fn two_sockets_on_duplicates_of_one_connection_share_the_stream() {
    let _alone = alone();
    let engine = engine(2);
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let duplicate = descriptor.try_clone().unwrap();
    let (one, other) = (open(&engine, descriptor), open(&engine, duplicate));
    let (from_one, from_other) = (receive(&one, vec![0; 4]), receive(&other, vec![0; 4]));

    peer.write_all(b"onceonce").unwrap();

    assert_eq!(received(&from_one.only()), b"once");
    assert_eq!(received(&from_other.only()), b"once");
    one.close();
    send_now(&other, b"still there");
    assert_eq!(peer.read_bytes(11), b"still there");
}
