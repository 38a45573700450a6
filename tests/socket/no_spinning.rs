//! Conditions that last while nothing is pending: the port sleeps, and the next call reports them.

use async_socket_linux::{AsyncSocket, ReceiveResult, SendError, SendResult};
use integration_tests::call::{block_sending, engine, open, receive, received};
use integration_tests::process::{cpu_time, this_thread};
use integration_tests::{NeverCalled, Peer, Socket, Transport, inbox, send_now};
use nix::libc::{ECONNRESET, EPIPE};
use rstest::rstest;
use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

/// The time for which the port is watched, and the most processor time that it may use. A tick of the clock is 10 ms.
const WATCHED: Duration = Duration::from_millis(200);
const WORK: Duration = Duration::from_millis(50);

fn thread_of(socket: &Socket, peer: &mut Peer) -> i32 {
    let (done, thread) = inbox();
    socket.receive_async([0_u8; 1], move |_| done.put(this_thread())).expect("receive_async");
    peer.write_all(b"x").expect("the peer writes");
    thread.only()
}

fn assert_sleeps(thread: i32) {
    let before = cpu_time(thread);
    std::thread::sleep(WATCHED);
    let worked = cpu_time(thread) - before;
    assert!(worked < WORK, "the port's thread worked {worked:?} of {WATCHED:?}");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_079, Tests_SRS_ASYNC_SOCKET_LINUX_11_091
#[rstest]
fn a_half_close_while_nothing_is_pending_is_reported_by_the_next_receive(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let thread = thread_of(&socket, &mut peer);

    peer.finish();
    assert_sleeps(thread);

    for _ in 0..3 {
        let completion = receive(&socket, vec![0; 8]).only();
        assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Abandoned, None));
    }
    assert_sleeps(thread);
    send_now(&socket, b"still writable");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_090
#[test]
fn a_reset_while_nothing_is_pending_is_reported_by_the_next_receive() {
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let socket = open(&engine(1), descriptor);
    let thread = thread_of(&socket, &mut peer);

    peer.reset();
    assert_sleeps(thread);

    let completion = receive(&socket, vec![0; 8]).only();
    assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Abandoned, Some(ECONNRESET)));
    assert_sleeps(thread);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_091
#[rstest]
fn an_end_in_both_directions_while_nothing_is_pending(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let never = NeverCalled::default();
    let (descriptor, mut peer) = transport.pair();
    let other_handle = descriptor.try_clone().unwrap();
    let socket = open(&engine(1), descriptor);
    let thread = thread_of(&socket, &mut peer);

    socket2::SockRef::from(&other_handle).shutdown(Shutdown::Write).unwrap();
    drop(peer);
    assert_sleeps(thread);

    assert_eq!(receive(&socket, vec![0; 8]).only().result, ReceiveResult::Abandoned);
    let refused = socket.send_async(b"no", never.callback()).unwrap_err().error;
    assert_eq!(refused, SendError::Disconnected { os_error: EPIPE, bytes_sent: 0 });
    assert_sleeps(thread);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
fn unread_bytes_wait_for_the_next_receive(#[values(Transport::TcpV4, Transport::Unix)] transport: Transport) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let thread = thread_of(&socket, &mut peer);

    for _ in 0..10 {
        peer.write_all(b"unread").unwrap();
    }
    socket2::SockRef::from(&peer).send_out_of_band(b"!").unwrap();
    assert_sleeps(thread);

    let completion = receive(&socket, vec![0; 60]).only();
    assert_eq!(received(&completion), b"unread".repeat(10));
}

#[rstest]
fn a_blocked_send_to_a_peer_that_half_closed_sleeps(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
    #[values(false, true)] with_bytes: bool,
) {
    let (descriptor, mut peer) = transport.narrow_pair();
    let socket = open(&engine(1), descriptor);
    let thread = thread_of(&socket, &mut peer);
    let (blocked, position) = block_sending(&socket);

    if with_bytes {
        peer.write_all(b"unread").unwrap();
    }
    peer.finish();
    assert_sleeps(thread);

    assert!(blocked.is_pending());
    peer.read_pattern(position);
    assert_eq!(blocked.only().result, SendResult::Ok);
}
