//! Descriptors that cannot be used: open returns a typed error that names the cause, and the socket keeps the
//! descriptor.
#![allow(unsafe_code, reason = "makes descriptors that are closed already")]

use async_socket_linux::{AsyncSocket, OpenError, SendError, SocketState};
use integration_tests::call::{engine, receive, received, round_trip};
use integration_tests::process::{alone, descriptors, is_open, port_threads};
use integration_tests::{NeverCalled, Socket, Transport, send_now};
use nix::libc::{EBADF, ENOTSOCK};
use rstest::rstest;
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

fn not_a_socket(opened: Result<(), OpenError>) -> (RawFd, Option<i32>) {
    match opened {
        Err(OpenError::NotASocket { descriptor, source }) => (descriptor, source.raw_os_error()),
        other => panic!("{other:?}"),
    }
}

fn regular_file() -> OwnedFd {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("a_regular_file");
    File::create(path).expect("a file").into()
}

fn pipe() -> OwnedFd {
    std::io::pipe().expect("a pipe").0.into()
}

fn directory() -> OwnedFd {
    File::open("/").expect("a directory").into()
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_034, Tests_SRS_ASYNC_SOCKET_LINUX_11_023
#[rstest]
#[case::regular_file(regular_file)]
#[case::pipe(pipe)]
#[case::directory(directory)]
fn what_is_no_socket_is_an_error_at_open_and_closed_at_the_end(#[case] make: fn() -> OwnedFd) {
    let never = NeverCalled::default();
    let _alone = alone();
    let engine = engine(1);
    // After that the thread has its name, by which `port_threads` counts it.
    round_trip(&engine);
    let before = (descriptors(), port_threads().len());
    let descriptor = make();
    let number = descriptor.as_raw_fd();
    let socket = Socket::create(Some(&engine), descriptor).unwrap();

    for _ in 0..3 {
        let opened = socket.open_async(never.callback());
        assert!(opened.as_ref().unwrap_err().to_string().contains(&format!("descriptor {number}")), "{opened:?}");
        let source = opened.as_ref().unwrap_err().source().map(ToString::to_string);
        assert!(source.is_some_and(|source| source.contains("ocket")), "{opened:?}");
        assert_eq!(not_a_socket(opened), (number, Some(ENOTSOCK)));
        assert_eq!(socket.state(), SocketState::Closed);
        assert!(is_open(number));
        let refused = socket.send_async(b"no", never.callback()).unwrap_err().error;
        assert_eq!(refused, SendError::NotOpen { state: SocketState::Closed });
        socket.close();
    }
    drop(socket);

    assert!(!is_open(number));
    assert_eq!((descriptors(), port_threads().len()), before);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_034
#[test]
fn an_open_that_failed_may_be_tried_again() {
    let never = NeverCalled::default();
    let _alone = alone();
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let number = rustix::io::fcntl_dupfd_cloexec(&descriptor, 500).unwrap().as_raw_fd();
    assert!(!is_open(number));

    // SAFETY: broken on purpose. The number has no owner until the socket is put there. In between only open sees the
    // number.
    let closed = unsafe { OwnedFd::from_raw_fd(number) };
    let socket = Socket::create(Some(&engine), closed).unwrap();
    for _ in 0..3 {
        assert_eq!(not_a_socket(socket.open_async(never.callback())), (number, Some(EBADF)));
        assert_eq!(socket.state(), SocketState::Closed);
    }
    round_trip(&engine);

    let again = rustix::io::fcntl_dupfd_cloexec(&descriptor, number).unwrap();
    assert_eq!(std::os::fd::IntoRawFd::into_raw_fd(again), number);
    drop(descriptor);
    socket.open_async(|_| {}).unwrap();
    send_now(&socket, b"at last");
    assert_eq!(peer.read_bytes(7), b"at last");
    let pending = receive(&socket, vec![0; 8]);
    peer.write_all(b"both ways").unwrap();
    assert_eq!(received(&pending.only()), b"both way");
    drop(socket);
    assert!(!is_open(number));
}
