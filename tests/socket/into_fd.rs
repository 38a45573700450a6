//! From a descriptor to a socket in one call, and back.

use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, FreshStream, IntoFdError, Kernel, OpenError, SetUpError, SocketState,
};
use integration_tests::call::{block_sending, engine, open, receive};
use integration_tests::process::is_open;
use integration_tests::{Socket, Transport, send_now};
use rstest::rstest;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

// Tests_SRS_SOCKET_01_074, Tests_SRS_SOCKET_01_075, Tests_SRS_SOCKET_01_065
#[test]
fn a_descriptor_comes_back_connected_with_every_byte_that_was_not_received() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let number = ours.as_raw_fd();
    let engine = engine(1);
    let socket = AsyncSocketLinux::open(&engine, ours).unwrap();
    send_now(&socket, b"from the socket ");
    let waiting = receive(&socket, vec![0; 4]);

    let refused = socket.into_fd().unwrap_err();
    assert_eq!(refused.error, IntoFdError::OperationsWait { receives: 1, sends: 0 });
    theirs.write_all(b"four and more").unwrap();
    assert_eq!(waiting.only().received(), b"four");

    let mut ours = UnixStream::from(refused.returned.into_fd().expect("nothing waits"));
    assert_eq!(ours.as_raw_fd(), number);
    let mut rest = [0; 9];
    ours.read_exact(&mut rest).unwrap();
    assert_eq!(&rest, b" and more");
    ours.write_all(b"and by hand").unwrap();
    let mut all = [0; 27];
    theirs.read_exact(&mut all).unwrap();
    assert_eq!(&all, b"from the socket and by hand");

    // It can become a socket again.
    let again = AsyncSocketLinux::open(&engine, ours).unwrap();
    assert_eq!(again.state(), SocketState::Open);
}

// Tests_SRS_SOCKET_01_066
#[test]
fn what_cannot_be_opened_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = listener.as_raw_fd();

    let refused = AsyncSocketLinux::open(&engine(1), listener).unwrap_err();

    assert!(matches!(refused.error, SetUpError::Open(OpenError::UnsupportedKind { .. })), "{refused}");
    let listener = TcpListener::from(refused.returned.expect("there is memory"));
    assert!(listener.as_raw_fd() == number && is_open(number));
    assert!(listener.local_addr().is_ok());
}

// Tests_SRS_SOCKET_01_068
#[test]
fn what_is_known_to_be_connected_can_be_opened_without_being_asked_for() {
    let (ours, mut theirs) = Transport::TcpV4.pair();
    let port = engine(1).completion_port();
    let socket = AsyncSocketLinux::open_connected_with(port.clone(), Kernel, ours).unwrap();
    let received = receive(&socket, vec![0; 4]);
    theirs.write_all(b"four").unwrap();
    assert_eq!(received.only().received(), b"four");
    // A listener is not asked for its kind, so only its operations fail.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let copy = listener.try_clone().unwrap();
    let wrong = AsyncSocketLinux::open_connected_with(port.clone(), Kernel, listener).unwrap();
    assert!(wrong.send_async("x", |_| {}).is_err());
    AsyncSocketLinux::open_on(port, copy).expect_err("any other open asks");
}

// Tests_SRS_SOCKET_01_067
#[rstest]
fn a_socket_lives_on_the_port_that_was_chosen(#[values(0, 1, 2)] index: usize) {
    let engine = engine(3);
    let (descriptor, mut peer) = Transport::Unix.pair();
    let port = engine.port(index).unwrap();
    let first = Arc::new(AsyncSocketLinux::open_on(port, descriptor).unwrap());
    let (descriptor, mut other) = Transport::Unix.pair();
    let second = AsyncSocketLinux::open_on(first.port().clone(), descriptor).unwrap();
    let thread = |socket: &AsyncSocketLinux| {
        let (done, ran) = integration_tests::inbox();
        socket.receive_async([0; 1], move |_| done.put(std::thread::current().id())).unwrap();
        ran
    };
    let (one, two) = (thread(&first), thread(&second));
    peer.write_all(b"x").unwrap();
    other.write_all(b"x").unwrap();

    assert_eq!(one.only(), two.only(), "one thread for both");
    assert!(engine.port(3).is_none());
}

// Tests_SRS_SOCKET_01_128
#[test]
fn a_shared_socket_gives_its_descriptor_back_still_connected() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = Arc::new(AsyncSocketLinux::open(None, ours).unwrap());
    let shared = Arc::clone(&socket);
    theirs.write_all(b"kept").unwrap();

    let mut ours = UnixStream::from(socket.take_fd().expect("nothing waits"));

    assert_eq!(shared.state(), SocketState::Closed);
    drop((socket, shared));
    ours.set_nonblocking(false).unwrap();
    let mut bytes = [0; 4];
    ours.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"kept");
}

// Tests_SRS_SOCKET_01_128
#[test]
fn a_shared_socket_keeps_its_descriptor_while_anything_uses_it_and_if_it_is_not_open() {
    let (ours, mut theirs) = Transport::Unix.narrow_pair();
    let engine = engine(1);
    let socket = open(&engine, ours);
    let take = || socket.take_fd().map(drop);
    let waiting = receive(&socket, vec![0; 1]);
    assert_eq!(take(), Err(IntoFdError::OperationsWait { receives: 1, sends: 0 }));
    let (blocked, position) = block_sending(&socket);
    assert_eq!(take(), Err(IntoFdError::OperationsWait { receives: 1, sends: 1 }));
    theirs.write_all(b"x").unwrap();
    assert_eq!(waiting.only().received(), b"x");
    assert_eq!(take(), Err(IntoFdError::OperationsWait { receives: 0, sends: 1 }));
    theirs.read_pattern(position);
    drop(blocked.only());

    assert_eq!(socket.with_descriptor(|_| take()), Some(Err(IntoFdError::DescriptorLent)));

    assert_eq!((socket.state(), take()), (SocketState::Open, Ok(())));
    assert_eq!(take(), Err(IntoFdError::DescriptorClosed));
    let unopened = Socket::create(Some(&engine), Transport::Unix.pair().0).unwrap();
    assert_eq!(unopened.take_fd().map(drop), Err(IntoFdError::NotOpen));
}

// Tests_SRS_SOCKET_01_130
#[test]
fn a_fresh_socket_whose_number_the_program_has_does_not_linger_in_a_close_that_does_not_wait() {
    let (ours, _never_reads) = Transport::TcpV4.narrow_pair();
    let options = ours.try_clone().unwrap();
    let port = engine(1).completion_port();
    let socket = AsyncSocketLinux::open_fresh_with(port, Kernel, ours, FreshStream::Tcp).unwrap();
    assert!(is_open(socket.descriptor_number()));
    SockRef::from(&options).set_linger(Some(Duration::from_secs(4))).unwrap();
    drop(options);
    let _blocked = block_sending(&socket);
    let begin = Instant::now();

    socket.close_async(|| {}).unwrap();

    assert!(begin.elapsed() < Duration::from_secs(2), "it has lingered");
}
