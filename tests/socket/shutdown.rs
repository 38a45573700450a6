//! The end of the sending half on real connections.

use crate::kinds::waiting_for_room;
use async_socket_linux::{AsyncSocket, Cancel, EndReason, SendError};
use integration_tests::call::{block_sending, engine, open, receive, try_send};
use integration_tests::{Inbox, Socket, Transport, inbox, send, within};
use rstest::rstest;
use std::io::{Read, Write};

fn shut_down(socket: &Socket) -> Inbox<EndReason> {
    let (done, ended) = inbox();
    socket.shutdown_async(move |completion| done.put(completion.reason)).expect("accepted");
    ended
}

// Tests_SRS_SOCKET_01_076, Tests_SRS_SOCKET_01_077
#[rstest]
fn the_peer_gets_everything_that_was_sent_and_then_the_end_and_may_still_answer(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
) {
    within("a half-close", move || {
        let (descriptor, mut peer) = transport.narrow_pair();
        let socket = open(&engine(1), descriptor);
        let (blocked, position) = block_sending(&socket);
        let last = send(&socket, b"the last words");

        let ended = shut_down(&socket);
        assert!(ended.is_pending(), "sends wait before it");
        assert_eq!(try_send(&socket, b"late").unwrap_err().error, SendError::ShutDown);
        assert_eq!(socket.shutdown_async(|_| {}).unwrap_err(), SendError::ShutDown);
        peer.read_pattern(position);
        assert_eq!(peer.read_rest(), b"the last words");

        assert_eq!((blocked.only().reason, last.only().reason), (EndReason::Completed, EndReason::Completed));
        assert_eq!(ended.only(), EndReason::Completed);
        let answer = receive(&socket, vec![0; 16]);
        peer.write_all(b"an answer").unwrap();
        assert_eq!(answer.only().received(), b"an answer");
    });
}

// Tests_SRS_SOCKET_01_078
#[test]
fn a_close_abandons_a_shutdown_that_waits() {
    let (descriptor, _peer) = Transport::Unix.narrow_pair();
    let socket = open(&engine(1), descriptor);
    let _blocked = block_sending(&socket);
    let ended = shut_down(&socket);

    socket.close();

    assert_eq!(ended.only(), EndReason::Closed);
}

// Tests_SRS_SOCKET_01_078
#[test]
fn after_a_shutdown_that_was_cancelled_sends_are_accepted_again() {
    within("a cancelled shutdown", || {
        let (descriptor, mut peer) = Transport::Unix.narrow_pair();
        let socket = open(&engine(1), descriptor);
        let (_blocked, position) = block_sending(&socket);
        let (done, ended) = inbox();
        let shutdown = socket.shutdown_async(move |completion| done.put(completion.reason)).expect("accepted");

        assert_eq!(socket.cancel(shutdown.expect("it waits")), Cancel::Cancelled);

        assert_eq!(ended.only(), EndReason::Cancelled);
        let last = send(&socket, b"after all");
        peer.read_pattern(position);
        assert_eq!(peer.read_bytes(9), b"after all");
        assert_eq!(last.only().reason, EndReason::Completed);
    });
}

// Tests_SRS_SOCKET_01_079
#[rstest]
fn it_waits_for_the_connection_or_ends_with_the_errno_of_the_connect(#[values(true, false)] is_accepted: bool) {
    within("a shutdown while connecting", move || {
        let (listener, fillers, descriptor) = waiting_for_room();
        let socket = open(&engine(1), descriptor);
        let ended = shut_down(&socket);
        assert!(ended.is_pending(), "the connect is in progress");

        // The kernel tries to connect again after a second.
        if !is_accepted {
            drop(listener);
            return assert_eq!(ended.only(), EndReason::Os(nix::libc::ECONNREFUSED));
        }
        for _ in &fillers {
            listener.accept().expect("one of those that fill the queue");
        }
        let (mut peer, _) = listener.accept().expect("the socket's own connection");

        assert_eq!(ended.only(), EndReason::Completed);
        assert_eq!(peer.read(&mut [0; 1]).expect("the peer sees the end"), 0);
    });
}
