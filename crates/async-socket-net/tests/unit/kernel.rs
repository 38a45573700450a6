//! The real system calls.

use async_socket_net::sys::{Kernel, NetSyscalls as _};
use async_socket_net::{Address, Family};
use rstest::rstest;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};

/// Asserts that a descriptor is non-blocking and is closed by `exec`. The numbers are those of Linux.
fn assert_flags(descriptor: &OwnedFd) {
    const NON_BLOCKING: u32 = 0o4_000;
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd())).expect("/proc");
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("the flags");
    let flags = u32::from_str_radix(flags.trim(), 8).expect("an octal number");
    assert_eq!(flags & (NON_BLOCKING | CLOSE_ON_EXEC), NON_BLOCKING | CLOSE_ON_EXEC, "{flags:o}");
}

// Tests_SRS_ASYNC_SOCKET_NET_01_003
#[test]
fn an_accepted_descriptor_has_its_flags_and_its_peer_from_the_beginning() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();

    let (descriptor, peer) = Kernel.accept(listener.as_fd()).unwrap();

    assert_flags(&descriptor);
    assert_eq!(peer, Address::from(client.local_addr().unwrap()));
}

// Tests_SRS_ASYNC_SOCKET_NET_01_039
#[rstest]
fn a_new_socket_has_its_flags_from_the_beginning(#[values(Family::V4, Family::Unix)] family: Family) {
    let sockets = [(); 2].map(|()| Kernel.socket(family).unwrap());

    sockets.iter().for_each(assert_flags);
    assert_ne!(sockets[0].as_raw_fd(), sockets[1].as_raw_fd());
}
