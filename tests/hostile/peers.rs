//! Peers that misbehave at random. Every accepted operation completes exactly once, and bytes stay in order.

use async_socket_linux::{AsyncSocket, ReceiveCompletion, ReceiveError, ReceiveResult, SendError};
use integration_tests::call::{engine, open, receive, received, round_trip};
use integration_tests::process::alone;
use integration_tests::wire::{PatternChecker, pattern};
use integration_tests::{Outbox, Peer, Socket, Transport, inbox, spawn};
use nix::libc::ECONNRESET;
use rstest::rstest;
use rustix::net::RecvFlags;
use socket2::SockRef;
use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A small generator with a seed, so that a round can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Writes the pattern in odd pieces, reads now and then, and ends the connection in one of five ways.
fn misbehave(mut peer: Peer, mut random: Random) -> Option<Peer> {
    let mut position = 0;
    for _ in 0..random.below(60) {
        match random.below(8) {
            0..=3 => {
                let length = usize::try_from(1 + random.below(5_000)).expect("small");
                if peer.write_all(&pattern(position, length)).is_err() {
                    return None;
                }
                position += length;
            }
            4..=6 => {
                let mut chunk = vec![0; 1 + usize::try_from(random.below(30_000)).expect("small")];
                // There may be nothing to read.
                let _ = rustix::net::recv(&peer, &mut chunk[..], RecvFlags::DONTWAIT);
            }
            _ => std::thread::yield_now(),
        }
    }
    match random.below(5) {
        0 => peer.reset(),
        1 => {
            let _ = SockRef::from(&peer).shutdown(Shutdown::Write);
            return Some(peer);
        }
        2 => {
            let _ = SockRef::from(&peer).shutdown(Shutdown::Read);
            return Some(peer);
        }
        3 => {
            let _ = SockRef::from(&peer).shutdown(Shutdown::Both);
            return Some(peer);
        }
        _ => drop(peer),
    }
    None
}

#[derive(Default)]
struct Count {
    accepted: AtomicUsize,
    completed: AtomicUsize,
    /// Receives that were refused although the socket was open.
    unexpected: AtomicUsize,
}

/// Receives until the end or wrong bytes. Reports whether all bytes were right.
fn take_all(socket: &Arc<Socket>, count: &Arc<Count>, mut checker: PatternChecker, done: Outbox<bool>, size: usize) {
    let again = Arc::clone(socket);
    let counted = Arc::clone(count);
    let callback = move |completion: ReceiveCompletion<Vec<u8>>| {
        counted.completed.fetch_add(1, Ordering::SeqCst);
        let right = checker.accepts(received(&completion));
        if right && completion.result == ReceiveResult::Ok {
            take_all(&again, &counted, checker, done, size);
        } else {
            done.put(right);
        }
    };
    count.accepted.fetch_add(1, Ordering::SeqCst);
    if let Err(refused) = socket.receive_async(vec![0; size], callback) {
        count.accepted.fetch_sub(1, Ordering::SeqCst);
        if !matches!(refused.error, ReceiveError::NotOpen { .. }) {
            count.unexpected.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[rstest]
fn peers_that_misbehave_at_random(#[values(Transport::TcpV4, Transport::Unix)] transport: Transport) {
    let _alone = alone();
    let engine = engine(2);
    for round in 0..250_u64 {
        let mut random = Random(round * 7_919 + 1);
        let (descriptor, peer) = transport.narrow_pair();
        let socket = open(&engine, descriptor);
        let count = Arc::new(Count::default());
        let (done, ended) = inbox();
        let size = usize::try_from(1 + random.below(9_000)).unwrap();
        take_all(&socket, &count, PatternChecker::default(), done, size);
        let actor = spawn("peer", move || misbehave(peer, Random(round)));
        for _ in 0..random.below(30) {
            let counted = Arc::clone(&count);
            let buffers = vec![
                vec![1; 1 + usize::try_from(random.below(9_000)).unwrap()];
                1 + usize::try_from(random.below(4)).unwrap()
            ];
            let callback = move |_| {
                counted.completed.fetch_add(1, Ordering::SeqCst);
            };
            match socket.send_async(buffers, callback) {
                Ok(_) => drop(count.accepted.fetch_add(1, Ordering::SeqCst)),
                Err(refused) => assert!(
                    matches!(refused.error, SendError::Disconnected { .. } | SendError::StreamBroken),
                    "{}",
                    refused.error
                ),
            }
        }
        let peer = actor.join();
        if random.below(2) == 0 && peer.is_none() {
            // The end comes by itself.
            assert!(ended.next(), "wrong bytes in round {round}");
        }
        socket.close();
        assert_ne!(ended.try_next(), Some(false), "wrong bytes in round {round}");
        ended.assert_dead();
        let (accepted, completed) = (count.accepted.load(Ordering::SeqCst), count.completed.load(Ordering::SeqCst));
        assert_eq!(accepted, completed, "round {round}");
        assert_eq!(count.unexpected.load(Ordering::SeqCst), 0, "round {round}");
    }
    for _ in 0..2 {
        let (descriptor, mut peer) = transport.pair();
        let socket = open(&engine, descriptor);
        peer.write_all(b"fine").unwrap();
        assert_eq!(received(&receive(&socket, vec![0; 8]).only()), b"fine");
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
fn a_peer_that_sends_one_byte_at_a_time(#[values(Transport::TcpV4, Transport::Unix)] transport: Transport) {
    let _alone = alone();
    const LENGTH: usize = 20_000;
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let writing = spawn("write", move || {
        for byte in pattern(0, LENGTH) {
            peer.write_all(&[byte]).expect("the peer writes");
        }
        peer
    });
    let mut checker = PatternChecker::default();
    while checker.position() < LENGTH {
        let list = receive(&socket, vec![[0_u8; 3]; 20]).only();
        assert_eq!(list.result, ReceiveResult::Ok);
        checker.check(&list.buffers.concat()[..list.bytes_received as usize]);
    }
    drop(writing.join());
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_090, Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[test]
fn a_reset_that_a_receive_meets_after_its_first_thousand_buffers_shows_on_the_next_one() {
    let _alone = alone();
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let engine = engine(1);
    let socket = open(&engine, descriptor);
    peer.write_all(&pattern(0, 1_024)).unwrap();
    peer.reset();
    round_trip(&engine);

    let completion = receive(&socket, vec![[0_u8; 1]; 1_100]).only();
    assert_eq!((completion.result, completion.bytes_received), (ReceiveResult::Ok, 1_024));
    assert_eq!(completion.buffers.concat()[..1_024], pattern(0, 1_024));

    let completion = receive(&socket, vec![0; 8]).only();
    assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Abandoned, Some(ECONNRESET)));
}
