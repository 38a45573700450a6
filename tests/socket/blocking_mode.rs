//! A descriptor that was left in blocking mode blocks no thread of ours.

use async_socket_linux::{ReceiveResult, SendResult};
use integration_tests::call::{engine, hold, open, receive, received, round_trip};
use integration_tests::wire::pattern;
use integration_tests::{Transport, eventually, send, within};
use rstest::rstest;
use std::io::Write;
use std::os::fd::OwnedFd;

fn make_blocking(descriptor: &OwnedFd) {
    socket2::SockRef::from(descriptor).set_nonblocking(false).expect("O_NONBLOCK");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_052, Tests_SRS_ASYNC_SOCKET_LINUX_11_055, Tests_SRS_ASYNC_SOCKET_LINUX_11_101
#[rstest]
fn a_send_of_64_mib_on_a_blocking_descriptor_blocks_neither_the_caller_nor_the_port(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
    #[values(1, 3)] buffers: usize,
) {
    const LENGTH: usize = 64 << 20;
    let (descriptor, mut peer) = transport.pair();
    make_blocking(&descriptor);
    let engine = engine(1);
    let socket = open(&engine, descriptor);
    let mut payload = vec![pattern(0, LENGTH)];
    for _ in 1..buffers {
        let half = payload[0].len() / 2;
        let rest = payload[0].split_off(half);
        payload.insert(1, rest);
    }

    let sent = within("send_async on a blocking descriptor", move || {
        let sent = send(&socket, payload);
        (sent, socket)
    });
    round_trip(&engine);
    assert!(sent.0.is_pending());
    // The peer makes too little room. The port goes on sending, and must not block either.
    peer.read_pattern(LENGTH / 2);
    round_trip(&engine);

    let mut rest = vec![0; LENGTH / 2];
    std::io::Read::read_exact(&mut peer, &mut rest).unwrap();
    assert!(rest == pattern(LENGTH / 2, LENGTH / 2));
    assert_eq!(sent.0.only().result, SendResult::Ok);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_083, Tests_SRS_ASYNC_SOCKET_LINUX_11_089, Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
fn receives_on_a_blocking_descriptor_do_not_block_the_port(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
    #[values(1, 3, 3_000)] buffers: usize,
) {
    let (descriptor, mut peer) = transport.pair();
    make_blocking(&descriptor);
    let handle = descriptor.try_clone().unwrap();
    let engine = engine(1);
    let socket = open(&engine, descriptor);
    let held = hold(&engine);
    // The bytes fill the first receive completely, so the port tries the second and finds that nothing is left.
    let (first, second) = (receive(&socket, vec![[0_u8; 4]; buffers]), receive(&socket, vec![0; 4]));
    peer.write_all(&pattern(0, 4 * buffers)).unwrap();
    eventually("all bytes have arrived", || rustix::io::ioctl_fionread(&handle) == Ok(4 * buffers as u64));

    held.release();

    let completion = first.only();
    assert_eq!((completion.result, completion.bytes_received as usize), (ReceiveResult::Ok, 4 * buffers));
    round_trip(&engine);
    assert!(second.is_pending());
    peer.write_all(b"last").unwrap();
    assert_eq!(received(&second.only()), b"last");
}
