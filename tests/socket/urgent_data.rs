//! Urgent data (`MSG_OOB`) in the middle of a stream makes reads stop short; the receiver must not stall.

use async_socket_linux::ReceiveResult;
use integration_tests::call::{engine, open, receive};
use integration_tests::{Socket, Transport};
use rstest::rstest;
use socket2::SockRef;
use std::io::Write;

/// Receives until so many bytes are there; each receive is pending before the next one starts.
fn collect(socket: &Socket, buffers: usize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let completion = receive(socket, vec![vec![0; 50]; buffers]).only();
        assert_eq!(completion.result, ReceiveResult::Ok);
        bytes.extend_from_slice(&completion.buffers.concat()[..completion.bytes_received as usize]);
    }
    bytes
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
fn urgent_data_does_not_stall_the_receiver(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
    #[values(1, 3)] buffers: usize,
    #[values(false, true)] inline: bool,
) {
    let (descriptor, mut peer) = transport.pair();
    if transport != Transport::Unix {
        SockRef::from(&descriptor).set_out_of_band_inline(inline).unwrap();
    } else if inline {
        return;
    }
    let socket = open(&engine(1), descriptor);
    for round in 0..300 {
        peer.write_all(b"before ").unwrap();
        if SockRef::from(&peer).send_out_of_band(b"!").is_err() {
            // A kernel without urgent data on Unix sockets.
            return;
        }
        peer.write_all(b"after").unwrap();

        let expected: &[u8] = if inline { b"before !after" } else { b"before after" };
        let bytes = collect(&socket, buffers, expected.len());
        assert_eq!(bytes, expected, "round {round}");
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
        if SockRef::from(&peer).send_out_of_band(b"!").is_err() {
            return;
        }
        let before = first.only();
        assert_eq!(&before.buffers[..before.bytes_received as usize], b"before");
        peer.write_all(b"after").unwrap();
        let after = second.only();
        assert_eq!(&after.buffers[..after.bytes_received as usize], b"after");
    }
}
