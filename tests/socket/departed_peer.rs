//! Sending to a peer that is gone.

use async_socket_linux::{AsyncSocket, ReceiveResult, SendError, SendSyncResult};
use integration_tests::call::{engine, open, receive, round_trip, try_send};
use integration_tests::wait::comes_true;
use integration_tests::{LIMIT, Transport, send_now};
use nix::libc::{ECONNRESET, ENOTCONN, EPIPE};
use rstest::rstest;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_054, Tests_SRS_ASYNC_SOCKET_LINUX_11_059
#[rstest]
fn after_the_peer_has_closed_a_send_is_refused_as_disconnected_with_its_buffers(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
    #[values(1, 3)] buffers: usize,
) {
    let (descriptor, peer) = transport.pair();
    let engine = engine(1);
    let socket = open(&engine, descriptor);
    send_now(&socket, b"one that arrives");
    drop(peer);
    round_trip(&engine);

    let mut refused = None;
    // The kernel may accept the first send, because only the peer's answer tells that the peer is gone.
    assert!(comes_true(LIMIT, || {
        refused = try_send(&socket, vec![[5_u8; 9]; buffers]).err();
        refused.is_some()
    }));

    for _ in 0..3 {
        let refused = refused.take().unwrap_or_else(|| try_send(&socket, vec![[5_u8; 9]; buffers]).unwrap_err());
        let SendError::Disconnected { os_error, bytes_sent: 0 } = refused.error else { panic!("{refused:?}") };
        assert!([EPIPE, ECONNRESET].contains(&os_error), "{os_error}");
        assert_eq!(refused.error.sync_result(), SendSyncResult::Abandoned);
        assert_eq!(refused.returned, vec![[5_u8; 9]; buffers]);
    }
    assert_eq!(receive(&socket, vec![0; 8]).only().result, ReceiveResult::Abandoned);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_059
#[rstest]
fn sending_on_a_socket_that_was_never_connected_is_refused_as_disconnected(
    #[values((socket2::Domain::IPV4, EPIPE), (socket2::Domain::UNIX, ENOTCONN))] case: (socket2::Domain, i32),
) {
    let (domain, errno) = case;
    let descriptor = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    let socket = open(&engine(1), descriptor.into());

    let refused = try_send(&socket, vec![1; 10]).unwrap_err();

    assert_eq!(refused.error, SendError::Disconnected { os_error: errno, bytes_sent: 0 });
    assert_eq!((refused.error.sync_result(), refused.returned), (SendSyncResult::Abandoned, vec![1; 10]));
    socket.close();
}
