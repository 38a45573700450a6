//! A consumer that is too slow: easy to see, and to cut off.

use async_socket_linux::{EndReason, SendError, SocketState};
use integration_tests::call::{block_sending, engine, open, receive, try_send};
use integration_tests::wait::eventually;
use integration_tests::{Transport, inbox, within};
use rstest::rstest;

// Tests_SRS_SOCKET_01_080, Tests_SRS_SOCKET_01_081, Tests_SRS_SOCKET_01_120
#[rstest]
fn what_a_peer_does_not_read_is_counted_and_from_the_mark_on_refused(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    within("a slow consumer", move || {
        let (descriptor, mut peer) = transport.narrow_pair();
        let socket = open(&engine(1), descriptor);
        assert_eq!(socket.queued_bytes(), 0);
        let (_blocked, position) = block_sending(&socket);
        let queued = socket.queued_bytes();
        assert!((1..=64 * 1024).contains(&queued), "{queued}");
        socket.set_high_water_mark(Some(queued + 2_000)).unwrap();

        let accepted = (0..).map_while(|_| try_send(&socket, vec![7; 1_000]).ok()).collect::<Vec<_>>();
        assert_eq!((accepted.len(), socket.queued_bytes()), (2, queued + 2_000));
        let _receives = receive(&socket, vec![0; 1]);
        let metrics = socket.metrics();
        assert_eq!((metrics.state, metrics.receives_waiting), (SocketState::Open, 1));
        assert_eq!((metrics.sends_waiting, metrics.queued_bytes), (3, queued + 2_000));
        let refused = try_send(&socket, vec![7; 1_000]).unwrap_err();
        assert_eq!(refused.error, SendError::TooMuchQueued { queued_bytes: queued + 2_000 });
        assert_eq!(refused.returned, vec![7; 1_000]);

        peer.read_pattern(position);
        assert_eq!(peer.read_bytes(2_000), vec![7; 2_000]);
        eventually("nothing is queued", || socket.queued_bytes() == 0);
        assert!(try_send(&socket, b"again").is_ok());
        assert_eq!(peer.read_bytes(5), b"again");
    });
}

// Tests_SRS_SOCKET_01_080, Tests_SRS_SOCKET_01_081
#[test]
fn a_slow_consumer_is_cut_off_in_the_refusal() {
    let (descriptor, _peer) = Transport::Unix.narrow_pair();
    let socket = open(&engine(1), descriptor);
    socket.set_high_water_mark(Some(100_000)).unwrap();
    let (done, closed) = inbox();
    let mut waiting = Vec::new();

    while let Ok(sent) = try_send(&socket, vec![0; 50_000]) {
        waiting.push(sent);
    }
    socket.close_async(move || done.put(())).unwrap();

    closed.only();
    assert_eq!(socket.queued_bytes(), 0);
    let reasons: Vec<_> = waiting.into_iter().map(|sent| sent.only().reason).collect();
    assert_eq!(reasons.last(), Some(&EndReason::Closed));
}
