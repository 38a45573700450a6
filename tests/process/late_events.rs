//! Events that were under way when their socket was closed reach no callback, not even of a new socket with the old number.

use async_socket_linux::{AsyncSocket, ReceiveResult};
use integration_tests::call::{engine, hold, open, receive, received, round_trip};
use integration_tests::process::alone;
use integration_tests::{Inbox, Peer, Socket, Transport, inbox, send_now, within};
use rstest::rstest;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_039
#[rstest]
fn a_socket_that_goes_while_its_event_is_in_the_same_batch_gets_none_of_it(
    #[values(false, true)] drops: bool,
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let _alone = alone();
    within("a batch of events", move || {
        for _ in 0..30 {
            let engine = engine(1);
            let ((first, mut first_peer), (victim, mut victim_peer)) = (transport.pair(), transport.pair());
            let number = victim.as_raw_fd();
            let (first, victim) = (open(&engine, first), open(&engine, victim));
            let pending = receive(&victim, vec![0; 8]);
            round_trip(&engine);

            // The callback of `first` removes `victim` and puts a new socket in its place.
            let (done, arrived) = inbox();
            let on_engine = engine.clone();
            let callback = move |_| {
                if drops {
                    drop(victim);
                } else {
                    victim.close();
                }
                let (new, new_peer) = Transport::Unix.pair();
                let reused = new.as_raw_fd() == number || new_peer.as_fd().as_raw_fd() == number;
                let new = open(&on_engine, new);
                let new_pending = receive(&new, vec![0; 8]);
                done.put((new, new_peer, new_pending, reused));
            };
            first.receive_async([0_u8; 1], callback).unwrap();
            let held = hold(&engine);
            first_peer.write_all(b"x").unwrap();
            victim_peer.write_all(b"late").unwrap();
            held.release();

            let (new, mut new_peer, new_pending, reused): (Arc<Socket>, Peer, Inbox<_>, bool) = arrived.next();
            assert!(reused, "the number is used again");
            assert_eq!(pending.only().result, ReceiveResult::Abandoned);
            round_trip(&engine);
            assert!(new_pending.is_pending());
            new_peer.write_all(b"own").unwrap();
            assert_eq!(received(&new_pending.only()), b"own");
            send_now(&new, b"fine");
        }
    });
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037
#[test]
fn a_hundred_sockets_of_one_batch_that_all_close_each_other() {
    let _alone = alone();
    within("a batch of events", || {
        let engine = engine(1);
        let (sockets, mut peers): (Vec<_>, Vec<_>) = (0..100)
            .map(|_| {
                let (descriptor, peer) = Transport::Unix.pair();
                (open(&engine, descriptor), peer)
            })
            .unzip();
        let (done, ended) = inbox();
        for number in 0..100 {
            let (all, done) = (sockets.clone(), done.clone());
            let callback = move |completion: async_socket_linux::ReceiveCompletion<_>| {
                all.iter().for_each(|socket| socket.close());
                done.put((number, completion.result));
            };
            sockets[number].receive_async([0_u8; 1], callback).unwrap();
        }
        drop(done);
        let held = hold(&engine);
        for peer in &mut peers {
            peer.write_all(b"x").unwrap();
        }
        held.release();

        let mut results = ended.take(100);
        results.sort_unstable_by_key(|(number, _)| *number);
        assert!(results.iter().enumerate().all(|(index, (number, _))| index == *number), "each exactly once");
        assert_eq!(results.iter().filter(|(_, result)| *result == ReceiveResult::Ok).count(), 1);
        ended.assert_dead();
        round_trip(&engine);
    });
}
