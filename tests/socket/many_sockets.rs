//! A thousand sockets on one port.

use async_socket_linux::{AsyncSocket, ReceiveResult};
use integration_tests::call::{engine, open, receive};
use integration_tests::process::{port_threads, this_thread};
use integration_tests::{Peer, Transport, inbox, send_now, spawn};
use rstest::rstest;
use std::collections::HashSet;
use std::io::Write;

const SOCKETS: usize = 1_000;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_005, Tests_SRS_ASYNC_SOCKET_LINUX_11_082
#[rstest]
fn a_thousand_sockets_on_one_port_each_get_their_own_bytes(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, limit(), limit()).unwrap();
    let engine = engine(1);
    let (sockets, peers): (Vec<_>, Vec<Peer>) = (0..SOCKETS)
        .map(|_| {
            let (descriptor, peer) = transport.pair();
            (open(&engine, descriptor), peer)
        })
        .unzip();

    let (done, arrived) = inbox();
    for (number, socket) in sockets.iter().enumerate() {
        let done = done.clone();
        let callback = move |completion: async_socket_linux::ReceiveCompletion<[u8; 8]>| {
            done.put((number, completion.result, u64::from_be_bytes(completion.buffers), this_thread()));
        };
        socket.receive_async([0; 8], callback).unwrap();
    }
    drop(done);
    let writing = spawn("write", move || {
        // Not in the order of the sockets.
        let mut peers: Vec<_> = peers.into_iter().enumerate().collect();
        peers.rotate_left(SOCKETS / 3);
        for (number, peer) in &mut peers {
            peer.write_all(&(*number as u64).to_be_bytes()).expect("the peer writes");
        }
        peers.sort_unstable_by_key(|(number, _)| *number);
        peers.into_iter().map(|(_, peer)| peer).collect::<Vec<_>>()
    });

    let mut numbers = HashSet::new();
    let mut threads = HashSet::new();
    for (number, result, bytes, thread) in arrived.take(SOCKETS) {
        assert_eq!((result, bytes), (ReceiveResult::Ok, number as u64));
        numbers.insert(number);
        threads.insert(thread);
    }
    assert_eq!((numbers.len(), threads.len()), (SOCKETS, 1));
    assert!(threads.is_subset(&port_threads().into_iter().collect()));

    // The other direction, and then the end of all connections at once.
    let mut peers = writing.join();
    for (number, socket) in sockets.iter().enumerate() {
        send_now(socket, (number as u64).to_be_bytes());
    }
    for (number, peer) in peers.iter_mut().enumerate() {
        assert_eq!(peer.read_bytes(8), (number as u64).to_be_bytes());
    }
    let ends: Vec<_> = sockets.iter().map(|socket| receive(socket, vec![0; 1])).collect();
    drop(peers);
    for end in ends {
        assert_eq!(end.only().result, ReceiveResult::Abandoned);
    }
}

/// A socket and its peer are two descriptors, and two of these tests run at once.
fn limit() -> nix::sys::resource::rlim_t {
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("the limit");
    hard
}
