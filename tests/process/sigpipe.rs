//! The library never raises `SIGPIPE`: a process that would die of it lives on.
#![allow(unsafe_code, reason = "the child restores the default action of a signal")]

use async_socket_linux::{AsyncSocket, SendResult, SendSyncResult};
use integration_tests::call::{block_sending, engine, open, try_send};
use integration_tests::process::{alone, is_child, run_child};
use integration_tests::{Transport, eventually, send};
use nix::sys::signal::{SigHandler, Signal, signal};
use std::net::Shutdown;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_052, Tests_SRS_ASYNC_SOCKET_LINUX_11_059
#[test]
fn a_process_that_would_die_of_sigpipe_survives_sends_to_closed_peers() {
    let _alone = alone();
    if !is_child() {
        return run_child("a_process_that_would_die_of_sigpipe_survives_sends_to_closed_peers", |_| {});
    }
    // SAFETY: the default action is no handler of ours.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.unwrap();
    let engine = engine(1);

    // On the caller's thread, through send and sendmsg.
    for transport in [Transport::TcpV4, Transport::Unix] {
        for buffers in [1, 5, 40] {
            let (descriptor, peer) = transport.pair();
            let socket = open(&engine, descriptor);
            drop(peer);
            let mut refused = None;
            eventually("the send is refused", || {
                refused = try_send(&socket, vec![[1_u8; 10]; buffers]).err();
                refused.is_some()
            });
            assert_eq!(refused.unwrap().error.sync_result(), SendSyncResult::Abandoned);
        }
    }
    // On the port's thread.
    for buffers in [1, 5, 40] {
        let (descriptor, mut peer) = Transport::TcpV4.narrow_pair();
        let other_handle = descriptor.try_clone().unwrap();
        let socket = open(&engine, descriptor);
        let (blocked, _) = block_sending(&socket);
        let behind = send(&socket, vec![vec![2; 100_000]; buffers]);
        socket2::SockRef::from(&other_handle).shutdown(Shutdown::Write).unwrap();
        let _ = peer.read_rest();
        assert_eq!(blocked.only().result, SendResult::Error);
        assert_ne!(behind.only().result, SendResult::Ok);
        socket.close();
    }
}
