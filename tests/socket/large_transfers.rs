//! Large payloads in many uneven buffers, to slow readers and from slow writers.

use async_socket_linux::{AsyncSocket, ReceiveResult, SendResult};
use integration_tests::call::{engine, open, receive};
use integration_tests::process::this_thread;
use integration_tests::wire::{PatternChecker, pattern};
use integration_tests::{Transport, inbox, send};
use rstest::rstest;
use std::io::{Read, Write};

/// More than `IOV_MAX`.
const MANY: usize = 3_000;

/// Buffers of the pattern with these lengths.
fn buffers(lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut position = 0;
    lengths
        .iter()
        .map(|length| {
            position += length;
            pattern(position - length, *length)
        })
        .collect()
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_053, Tests_SRS_ASYNC_SOCKET_LINUX_11_056, Tests_SRS_ASYNC_SOCKET_LINUX_11_096
// Tests_SRS_ASYNC_SOCKET_LINUX_11_101
#[rstest]
fn nine_uneven_buffers_of_64_mib_reach_a_slow_reader_and_complete_once(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
) {
    const TOTAL: usize = 64 << 20;
    let mut lengths = vec![1, 7, 4_096, 1_000_003, 20 << 20, 3, 65_536, 13 << 20];
    lengths.push(TOTAL - lengths.iter().sum::<usize>());
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);

    let sent = send(&socket, buffers(&lengths));

    // Slow: bits of odd sizes, and a pause now and then.
    let mut checker = PatternChecker::default();
    let mut chunk = vec![0; 300_007];
    while checker.position() < TOTAL {
        let size = 1 + checker.position() % chunk.len();
        let read = peer.read(&mut chunk[..size]).unwrap();
        assert_ne!(read, 0);
        checker.check(&chunk[..read]);
        if checker.position() % 97 == 0 {
            std::thread::yield_now();
        }
    }
    let completion = sent.only();
    assert_eq!((completion.result, completion.bytes_sent as usize), (SendResult::Ok, TOTAL));
    assert_eq!(completion.buffers.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_052, Tests_SRS_ASYNC_SOCKET_LINUX_11_053
#[rstest]
fn more_buffers_than_one_call_takes_are_sent_in_order(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
    #[values(1, 1_000)] size: usize,
) {
    let lengths: Vec<usize> = (0..MANY).map(|index| 1 + index % size).collect();
    let total: usize = lengths.iter().sum();
    let (descriptor, mut peer) = transport.narrow_pair();
    let socket = open(&engine(1), descriptor);

    let sent = send(&socket, buffers(&lengths));
    peer.read_pattern(total);

    let completion = sent.only();
    assert_eq!((completion.result, completion.bytes_sent as usize), (SendResult::Ok, total));
    assert_eq!(completion.buffers.len(), MANY);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092
#[rstest]
fn one_receive_fills_more_buffers_than_one_call_takes(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
    #[values(3_000, 2_999, 1_024, 1_025)] bytes: usize,
) {
    let (descriptor, mut peer) = transport.pair();
    let engine = engine(1);
    let socket = open(&engine, descriptor);
    // All bytes are there when the receive begins.
    peer.write_all(&pattern(0, bytes)).unwrap();

    let completion = receive(&socket, vec![[0_u8; 1]; MANY]).only();

    assert_eq!((completion.result, completion.bytes_received as usize), (ReceiveResult::Ok, bytes));
    assert_eq!(completion.buffers.concat()[..bytes], pattern(0, bytes));
    // The socket works on.
    let next = receive(&socket, vec![[0_u8; 1]; MANY]);
    peer.write_all(b"next").unwrap();
    assert_eq!(next.only().bytes_received, 4);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092, Tests_SRS_ASYNC_SOCKET_LINUX_11_083
#[rstest]
fn sixty_four_mib_arrive_through_lists_of_uneven_buffers(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    const TOTAL: usize = 64 << 20;
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let writing = integration_tests::spawn("write", move || peer.write_all(&pattern(0, TOTAL)).expect("written"));

    let mut checker = PatternChecker::default();
    let mut list: Vec<Vec<u8>> = [1, 2, 3, 100, 1_000, 65_537, 200_000, 9, 50_000].map(|length| vec![0; length]).into();
    while checker.position() < TOTAL {
        let (done, arrived) = inbox();
        socket.receive_async(list, move |completion| done.put((completion, this_thread()))).unwrap();
        let completion = arrived.only().0;
        assert_eq!(completion.result, ReceiveResult::Ok);
        let mut left = completion.bytes_received as usize;
        for buffer in &completion.buffers {
            let filled = left.min(buffer.len());
            checker.check(&buffer[..filled]);
            left -= filled;
        }
        list = completion.buffers;
        list.rotate_left(1);
    }
    writing.join();
}
