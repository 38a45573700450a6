//! No descriptors left: creating fails with the cause, the descriptor comes back, nothing leaks.

use async_socket_linux::{AsyncSocket, CreateError, ExecutionEngine};
use integration_tests::call::{engine, receive, received};
use integration_tests::process::{alone, descriptors, is_child, run_child, threads};
use integration_tests::{Socket, Transport, send_now};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::error::Error;
use std::io::Write;
use std::os::fd::AsRawFd;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_006
#[test]
fn create_fails_for_want_of_descriptors_and_gives_the_callers_back() {
    let _alone = alone();
    if !is_child() {
        return run_child("create_fails_for_want_of_descriptors_and_gives_the_callers_back", |_| {});
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let number = descriptor.as_raw_fd();
    let mut descriptor = Some(descriptor);
    let before = (descriptors(), threads());
    let spare = std::fs::File::open("/dev/null").unwrap();
    let next = u64::try_from(spare.as_raw_fd()).unwrap();
    drop(spare);

    // A port needs two descriptors: the epoll instance and the eventfd.
    for (left, call) in [(0, "epoll_create1"), (1, "eventfd")] {
        for _ in 0..20 {
            setrlimit(Resource::RLIMIT_NOFILE, next + left, hard).unwrap();
            let created = Socket::create(None, descriptor.take().unwrap());
            let built = ExecutionEngine::builder().threads(3).build();
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();

            let refused = created.unwrap_err();
            let CreateError::CompletionPort(error) = &refused.error else { panic!("{refused:?}") };
            assert_eq!((error.call, error.source.raw_os_error()), (call, Some(nix::libc::EMFILE)));
            assert!(refused.error.source().is_some_and(|source| source.to_string().contains(call)));
            assert_eq!(refused.returned.as_raw_fd(), number);
            descriptor = Some(refused.returned);
            let error = built.unwrap_err();
            assert_eq!((error.call, error.source.raw_os_error()), (call, Some(nix::libc::EMFILE)));
            assert_eq!((descriptors(), threads()), before);
        }
    }

    // The descriptor works as before.
    let socket = Socket::create(None, descriptor.take().unwrap()).unwrap();
    socket.open_async(|_| {}).unwrap();
    send_now(&socket, b"works");
    assert_eq!(peer.read_bytes(5), b"works");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_005
#[test]
fn a_socket_on_a_port_that_exists_needs_no_descriptor_but_its_own() {
    let _alone = alone();
    if !is_child() {
        return run_child("a_socket_on_a_port_that_exists_needs_no_descriptor_but_its_own", |_| {});
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let engine = engine(1);
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();

    let socket = Socket::create(Some(&engine), descriptor).unwrap();
    socket.open_async(|_| {}).unwrap();
    let pending = receive(&socket, vec![0; 8]);
    peer.write_all(b"ping").unwrap();
    assert_eq!(received(&pending.only()), b"ping");
    send_now(&socket, b"pong");
    socket.close();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!(peer.read_rest(), b"pong");
}
