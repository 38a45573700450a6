//! Options and addresses of an open socket, beside its operations and a close.

use async_socket_linux::AsyncSocket;
use integration_tests::call::{engine, open, receive};
use integration_tests::{Peer, Transport, spawn, within};
use socket2::SockRef;
use std::io::{ErrorKind, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

// Tests_SRS_SOCKET_01_070
#[test]
fn options_are_set_while_a_receive_waits() {
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let socket = open(&engine(1), descriptor);
    let waiting = receive(&socket, vec![0; 8]);

    let keepalive = socket.with_descriptor(|descriptor| {
        let options = SockRef::from(&descriptor);
        options.set_keepalive(true)?;
        options.keepalive()
    });

    assert!(keepalive.expect("it is open").unwrap());
    peer.write_all(b"bytes").unwrap();
    assert_eq!(waiting.only().received(), b"bytes");
    socket.close();
    assert!(socket.with_descriptor(|_| ()).is_none());
}

// Tests_SRS_SOCKET_01_072
#[test]
fn addresses_are_those_that_the_peer_sees() {
    let (descriptor, peer) = Transport::TcpV4.pair();
    let socket = open(&engine(1), descriptor);
    let Peer::Tcp(stream) = &peer else { panic!("a TCP connection") };

    assert_eq!(socket.local_addr().unwrap(), stream.peer_addr().unwrap());
    assert_eq!(socket.peer_addr().unwrap(), stream.local_addr().unwrap());

    let (descriptor, _peer) = Transport::Unix.pair();
    let socket = open(&engine(1), descriptor);
    assert_eq!(socket.local_addr().unwrap_err().kind(), ErrorKind::Unsupported);
}

// Tests_SRS_SOCKET_01_071
#[test]
fn a_closure_never_sees_another_file_under_the_number_although_the_socket_is_closed_meanwhile() {
    within("closures that race with a close", || {
        let engine = engine(1);
        for _ in 0..200 {
            let (descriptor, _peer) = Transport::Unix.pair();
            let own = rustix::fs::fstat(&descriptor).unwrap().st_ino;
            let socket = open(&engine, descriptor);
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let socket = Arc::clone(&socket);
                    spawn("closures", move || {
                        while let Some(seen) = socket.with_descriptor(|it| rustix::fs::fstat(it).unwrap().st_ino) {
                            assert_eq!(seen, own);
                        }
                    })
                })
                .collect();
            std::thread::yield_now();
            socket.close();
            // Takes the number, as soon as it is free.
            let others: Vec<OwnedFd> = (0..4)
                .flat_map(|_| {
                    let (one, two) = UnixStream::pair().unwrap();
                    [one.into(), two.into()]
                })
                .collect();
            readers.into_iter().for_each(integration_tests::Task::join);
            drop(others);
        }
    });
}

// Tests_SRS_SOCKET_01_071
#[test]
fn the_last_closure_closes_what_was_closed_meanwhile_and_nothing_is_kept_for_a_closure_that_has_returned() {
    within("a close in a closure", || {
        let (engine, (descriptor, mut peer)) = (engine(1), Transport::Unix.pair());
        let socket = open(&engine, descriptor);
        let inode = |descriptor: BorrowedFd<'_>| rustix::fs::fstat(descriptor).map(|seen| seen.st_ino);
        let outer = socket.with_descriptor(|descriptor| {
            let own = inode(descriptor);
            socket.with_descriptor(|_| socket.close()).expect("it is open");
            assert_eq!(inode(descriptor), own, "this closure still has it");
        });
        outer.expect("it was open");
        assert_eq!(peer.read_rest(), b"");

        let (descriptor, mut peer) = Transport::Unix.pair();
        let socket = open(&engine, descriptor);
        socket.with_descriptor(|_| ()).expect("it is open");
        socket.close();
        assert_eq!(peer.read_rest(), b"");
    });
}
