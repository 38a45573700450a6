//! Why an operation ended, on real connections.

use async_socket_linux::{AsyncSocket, EndReason, ReceiveResult};
use integration_tests::call::{block_sending, engine, open, receive};
use integration_tests::{Transport, within};
use rstest::rstest;

// Tests_SRS_SOCKET_01_060, Tests_SRS_SOCKET_01_061
#[rstest]
fn a_peer_that_finishes_one_that_leaves_and_our_own_close_are_told_apart(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
) {
    let engine = engine(1);
    let ((one, finishing), (two, _silent)) = (transport.pair(), transport.pair());
    let (one, two) = (open(&engine, one), open(&engine, two));
    let (first, second) = (receive(&one, vec![0; 8]), receive(&two, vec![0; 8]));

    finishing.finish();
    let first = first.only();
    two.close();

    assert_eq!((first.result, first.reason), (ReceiveResult::Abandoned, EndReason::PeerFinished));
    assert_eq!(first.io_result().unwrap(), 0);
    let second = second.only();
    assert_eq!((second.result, second.reason), (ReceiveResult::Abandoned, EndReason::Closed));
}

// Tests_SRS_SOCKET_01_060
#[test]
fn a_reset_is_the_reason_of_one_operation_and_keeps_its_errno() {
    within("a reset", || {
        let engine = engine(1);
        let (descriptor, peer) = Transport::TcpV4.narrow_pair();
        let socket = open(&engine, descriptor);
        let received = receive(&socket, vec![0; 8]);
        let (sent, _) = block_sending(&socket);

        peer.reset();

        let reasons = [received.only().reason, sent.only().reason];
        assert!(reasons.contains(&EndReason::PeerReset), "{reasons:?}");
        assert_eq!(EndReason::PeerReset.os_error(), Some(nix::libc::ECONNRESET));
    });
}
