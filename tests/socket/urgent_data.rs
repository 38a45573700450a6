//! Urgent data (`MSG_OOB`) in the middle of a stream makes reads stop short; the receiver must not stall.

use async_socket_linux::ReceiveResult;
use integration_tests::call::{engine, open, receive, received};
use integration_tests::{Peer, Socket, Transport};
use nix::libc::EOPNOTSUPP;
use rstest::rstest;
use socket2::SockRef;
use std::io::Write;

/// Receives until `length` bytes are there. Each receive is pending before the next one starts.
fn collect(socket: &Socket, buffers: usize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let completion = receive(socket, vec![vec![0; 50]; buffers]).only();
        assert_eq!(completion.result, ReceiveResult::Ok);
        bytes.extend_from_slice(&completion.buffers.concat()[..completion.bytes_received as usize]);
    }
    bytes
}

/// Sends an urgent byte, and returns whether it went out. Older kernels refuse urgent data on Unix sockets.
fn send_urgent(peer: &Peer) -> bool {
    match SockRef::from(peer).send_out_of_band(b"!") {
        Ok(sent) => sent == 1,
        Err(error) => {
            assert!(matches!(peer, Peer::Unix(_)), "{error}");
            assert_eq!(error.raw_os_error(), Some(EOPNOTSUPP));
            false
        }
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
fn urgent_data_does_not_stall_the_receiver(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
    #[values(1, 3)] buffers: usize,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    for round in 0..300 {
        peer.write_all(b"before ").unwrap();
        send_urgent(&peer);
        peer.write_all(b"after").unwrap();

        assert_eq!(collect(&socket, buffers, 12), b"before after", "round {round}");
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
fn urgent_data_inline_is_received_in_its_place(
    #[values(Transport::TcpV4, Transport::TcpV6)] transport: Transport,
    #[values(1, 3)] buffers: usize,
) {
    let (descriptor, mut peer) = transport.pair();
    SockRef::from(&descriptor).set_out_of_band_inline(true).unwrap();
    let socket = open(&engine(1), descriptor);
    for round in 0..300 {
        peer.write_all(b"before ").unwrap();
        assert!(send_urgent(&peer));
        peer.write_all(b"after").unwrap();

        assert_eq!(collect(&socket, buffers, 13), b"before !after", "round {round}");
    }
}

#[rstest]
fn urgent_data_that_meets_a_pending_receive_does_not_stall_it(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    for _ in 0..300 {
        // Both wait when the mark arrives; the first stops short of it.
        let (first, second) = (receive(&socket, vec![0; 50]), receive(&socket, vec![0; 50]));
        peer.write_all(b"before").unwrap();
        send_urgent(&peer);
        assert_eq!(received(&first.only()), b"before");
        peer.write_all(b"after").unwrap();
        assert_eq!(received(&second.only()), b"after");
    }
}
