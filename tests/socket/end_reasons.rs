//! Why an operation ended, on real connections.

use async_socket_linux::{AsyncSocket, EndReason, ReceiveResult, SendResult};
use integration_tests::call::{block_sending, engine, open, receive};
use integration_tests::{Transport, inbox, send, within};
use rstest::rstest;
use std::io::Write;
use std::time::Duration;

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

// Tests_SRS_SOCKET_01_061
#[test]
fn the_results_of_a_success_a_time_out_and_a_close_follow_from_these_reasons() {
    within("sends and receives that end", || {
        const SOON: Duration = Duration::from_millis(10);
        let (descriptor, mut peer) = Transport::Unix.narrow_pair();
        let socket = open(&engine(1), descriptor);
        assert_eq!(send(&socket, "x").only().result, SendResult::Ok);
        peer.write_all(b"y").expect("the socket receives");
        assert_eq!(receive(&socket, [0; 1]).only().result, ReceiveResult::Ok);
        let (blocked, _) = block_sending(&socket);
        let ((done, sent), (report, received)) = (inbox(), inbox());
        socket.send_async_within("z", SOON, move |it| done.put((it.result, it.reason))).expect("accepted");
        socket.receive_async_within([0; 1], SOON, move |it| report.put((it.result, it.reason))).expect("accepted");
        assert_eq!(sent.only(), (SendResult::Error, EndReason::TimedOut));
        assert_eq!(received.only(), (ReceiveResult::Error, EndReason::TimedOut));
        let waiting = receive(&socket, [0; 1]);

        socket.close();

        let (sent, received) = (blocked.only(), waiting.only());
        assert_eq!((sent.result, sent.reason), (SendResult::Abandoned, EndReason::Closed));
        assert_eq!((received.result, received.reason), (ReceiveResult::Abandoned, EndReason::Closed));
    });
}
