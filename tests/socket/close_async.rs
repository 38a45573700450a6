//! A close that does not wait, on real connections and threads.

use async_socket_linux::{AsyncSocket, CloseError, EndReason, SocketState};
use integration_tests::call::{block_sending, engine, open, receive};
use integration_tests::wait::gate;
use integration_tests::{NeverCalled, Socket, Transport, inbox, send, send_now, within};
use rstest::rstest;
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

// Tests_SRS_SOCKET_01_095, Tests_SRS_SOCKET_01_096
#[rstest]
fn it_abandons_what_waits_and_the_peer_sees_the_end(#[values(Transport::TcpV4, Transport::Unix)] transport: Transport) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let (first, second) = (receive(&socket, vec![0; 1]), receive(&socket, vec![0; 1]));
    let (done, closed) = inbox();

    let state = Arc::clone(&socket);
    socket.close_async(move || done.put(state.state())).unwrap();

    assert_eq!((first.only().reason, second.only().reason), (EndReason::Closed, EndReason::Closed));
    assert_eq!(closed.only(), SocketState::Closed);
    assert_eq!(peer.read_rest(), b"");
}

// Tests_SRS_SOCKET_01_096
#[test]
fn it_does_not_wait_for_a_callback_of_another_thread() {
    within("a close beside a callback", || {
        let (descriptor, mut peer) = Transport::Unix.pair();
        let socket = open(&engine(1), descriptor);
        let (gate, barrier) = gate();
        socket.receive_async([0; 1], move |_| barrier.wait()).unwrap();
        peer.write_all(b"x").unwrap();
        gate.wait_for_arrival();
        let (done, closed) = inbox();

        socket.close_async(move || done.put(())).unwrap();

        assert!(closed.is_pending(), "the callback is still running");
        assert_eq!(socket.state(), SocketState::Closing);
        gate.open();
        closed.only();
    });
}

// Tests_SRS_SOCKET_01_096
#[rstest]
fn two_callbacks_on_two_threads_close_each_others_sockets(#[values(false, true)] one_thread_sends: bool) {
    within("callbacks that close each other's sockets", move || {
        for _ in 0..50 {
            let engine = engine(2);
            let ((one, mut to_one), (two, mut to_two)) = (Transport::Unix.pair(), Transport::TcpV4.pair());
            let (one, two) = (open(&engine, one), open(&engine, two));
            let both = Arc::new(Barrier::new(2));
            let (done, closed) = inbox();
            let close = |other: &Arc<integration_tests::Socket>| {
                let (other, both, done) = (Arc::clone(other), Arc::clone(&both), done.clone());
                move || {
                    both.wait();
                    let owned = Arc::clone(&other);
                    let accepted = other.close_async(move || {
                        drop(owned);
                        done.put(());
                    });
                    assert!(accepted.is_ok());
                }
            };
            let (closes_two, closes_one) = (close(&two), close(&one));
            one.receive_async([0; 1], move |_| closes_two()).unwrap();
            to_one.write_all(b"x").unwrap();
            if one_thread_sends {
                // The callback runs on this thread.
                two.send_async("x", move |_| closes_one()).unwrap();
            } else {
                two.receive_async([0; 1], move |_| closes_one()).unwrap();
                to_two.write_all(b"x").unwrap();
            }

            closed.next();
            closed.next();
            assert_eq!((one.state(), two.state()), (SocketState::Closed, SocketState::Closed));
        }
    });
}

// Tests_SRS_SOCKET_01_097
#[test]
fn it_never_waits_for_a_peer_that_does_not_read_although_the_socket_lingers() {
    let (descriptor, _peer) = Transport::TcpV4.narrow_pair();
    SockRef::from(&descriptor).set_linger(Some(Duration::from_secs(20))).unwrap();
    let socket = open(&engine(1), descriptor);
    let _blocked = block_sending(&socket);
    let (done, closed) = inbox();
    let begin = Instant::now();

    socket.close_async(move || done.put(())).unwrap();

    closed.only();
    assert!(begin.elapsed() < Duration::from_secs(10), "it has lingered");
}

// Tests_SRS_SOCKET_01_097
#[test]
fn a_linger_time_of_0_still_resets() {
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    SockRef::from(&descriptor).set_linger(Some(Duration::ZERO)).unwrap();
    let socket = open(&engine(1), descriptor);

    socket.close_async(|| {}).unwrap();

    assert_eq!(peer.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

// Tests_SRS_SOCKET_01_097
#[test]
fn after_a_refused_one_the_socket_lingers_as_the_program_asked() {
    let (descriptor, _never_reads) = Transport::TcpV4.narrow_pair();
    SockRef::from(&descriptor).set_linger(Some(Duration::from_secs(1))).unwrap();
    let socket = Socket::create(Some(&engine(1)), descriptor).unwrap();
    socket.close_async(|| {}).unwrap_err();
    socket.open_async(|_| {}).unwrap();
    let _blocked = send(&socket, vec![7; 8 << 20]);
    let begin = Instant::now();

    socket.close();

    assert!(begin.elapsed() >= Duration::from_millis(900), "closed after {:?}", begin.elapsed());
}

// Tests_SRS_SOCKET_01_095
#[test]
fn a_socket_that_is_not_open_refuses_it_and_stays_as_it_is() {
    let never = NeverCalled::default();
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = Socket::create(Some(&engine(1)), descriptor).unwrap();
    let callback = never.callback();

    let refused = socket.close_async(move || callback(())).unwrap_err();

    assert_eq!(refused.error, CloseError::NotOpen { state: SocketState::Closed });
    drop(refused);
    socket.open_async(|_| {}).unwrap();
    send_now(&socket, b"as before");
    assert_eq!(peer.read_bytes(9), b"as before");
}
