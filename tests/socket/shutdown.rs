//! The end of the sending half on real connections.

use async_socket_linux::{AsyncSocket, EndReason, SendError};
use integration_tests::call::{block_sending, engine, open, receive, try_send};
use integration_tests::{Inbox, Socket, Transport, inbox, send, within};
use rstest::rstest;
use std::io::Write;

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

// Tests_SRS_SOCKET_01_079
#[test]
fn it_waits_for_the_connection_or_ends_with_the_errno_of_the_connect() {
    within("a shutdown while connecting", || {
        let engine = engine(1);
        // Takes the next connection only when the first is accepted.
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address);
            socket
        };
        let socket = open(&engine, connect().into());
        let ended = shut_down(&socket);
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(ended.only(), EndReason::Completed);
        assert_eq!(std::io::Read::read(&mut &accepted, &mut [0; 1]).unwrap(), 0, "the peer sees the end");

        drop(listener);
        let refused = connect();
        let socket = open(&engine, refused.into());
        let (done, ended) = inbox();
        match socket.shutdown_async(move |completion| done.put(completion.reason)) {
            Ok(_) => assert_eq!(ended.only(), EndReason::Os(nix::libc::ECONNREFUSED)),
            Err(error) => assert!(std::io::Error::from(error).raw_os_error().is_some(), "{error}"),
        }
    });
}
