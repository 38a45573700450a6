//! Receiving: never inside the call, always on the port's thread, and into as many buffers as the bytes fill.

use async_socket_linux::{AsyncSocket, PayloadError, ReceiveCompletion, ReceiveError, ReceiveResult, SocketState};
use integration_tests::call::{engine, open, receive, received, round_trip};
use integration_tests::process::this_thread;
use integration_tests::wire::pattern;
use integration_tests::{NeverCalled, Socket, Transport, eventually, inbox, send_now};
use rstest::rstest;
use std::io::Write;
use std::sync::Arc;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_072
#[test]
fn a_socket_that_is_not_open_refuses_and_gives_the_buffers_back() {
    let never = NeverCalled::default();
    let (descriptor, _peer) = Transport::Unix.pair();
    let socket = Socket::create(Some(&engine(1)), descriptor).unwrap();
    let refuses = |socket: &Socket| {
        let lent = vec![7; 100];
        let address = lent.as_ptr();
        let refused = socket.receive_async(lent, never.callback()).unwrap_err();
        assert_eq!(refused.error, ReceiveError::NotOpen { state: SocketState::Closed });
        assert_eq!((refused.returned.as_ptr(), refused.returned), (address, vec![7; 100]));
    };

    refuses(&socket);
    socket.open_async(|_| {}).unwrap();
    socket.close();
    refuses(&socket);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_073, Tests_SRS_ASYNC_SOCKET_LINUX_11_077, Tests_SRS_ASYNC_SOCKET_LINUX_11_102
// Tests_SRS_ASYNC_SOCKET_LINUX_11_082, Tests_SRS_ASYNC_SOCKET_LINUX_11_083, Tests_SRS_ASYNC_SOCKET_LINUX_11_093
#[rstest]
fn a_receive_completes_on_the_ports_thread_even_if_the_bytes_were_there_before(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    for round in 0..100 {
        let (done, arrived) = inbox();
        let callback = move |completion| done.put((completion, this_thread()));
        if round % 2 == 0 {
            peer.write_all(b"hello").unwrap();
        }

        socket.receive_async(vec![9; 8], callback).unwrap();
        if round % 2 == 1 {
            assert!(arrived.is_pending());
            peer.write_all(b"hello").unwrap();
        }

        let (completion, thread): (ReceiveCompletion<Vec<u8>>, _) = arrived.only();
        assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Ok, None));
        assert_eq!((completion.bytes_received, completion.buffers.as_slice()), (5, b"hello\x09\x09\x09".as_slice()));
        assert_ne!(thread, this_thread());
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_092, Tests_SRS_ASYNC_SOCKET_LINUX_11_074, Tests_SRS_ASYNC_SOCKET_LINUX_11_083
#[rstest]
fn bytes_fill_the_buffers_in_order_and_the_rest_stays_untouched(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
    #[values(2, 16, 17, 100)] buffers: usize,
    #[values(1, 29, 30, 31, 60)] bytes: usize,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let lent: Vec<Vec<u8>> = vec![vec![0xEE; 30]; buffers];
    let addresses: Vec<_> = lent.iter().map(|buffer| buffer.as_ptr().addr()).collect();
    let pending = receive(&socket, lent);

    peer.write_all(&pattern(0, bytes)).unwrap();

    let completion = pending.only();
    assert_eq!((completion.result, completion.bytes_received as usize), (ReceiveResult::Ok, bytes));
    let all = completion.buffers.concat();
    assert_eq!(all[..bytes], pattern(0, bytes));
    assert!(all[bytes..].iter().all(|byte| *byte == 0xEE));
    let returned: Vec<_> = completion.buffers.iter().map(|buffer| buffer.as_ptr().addr()).collect();
    assert_eq!(returned, addresses);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_088, Tests_SRS_ASYNC_SOCKET_LINUX_11_089, Tests_SRS_ASYNC_SOCKET_LINUX_11_093
#[rstest]
fn a_receive_whose_bytes_an_earlier_one_took_stays_pending(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let engine = engine(1);
    let socket = open(&engine, descriptor);
    // The bytes fill the buffer, so only EAGAIN tells that there are no more.
    let (first, second) = (receive(&socket, vec![0; 5]), receive(&socket, vec![0; 5]));
    peer.write_all(b"first").unwrap();
    assert_eq!(received(&first.only()), b"first");
    // The port has tried the second receive before it serves this round trip.
    round_trip(&engine);
    assert!(second.is_pending());

    peer.write_all(b"later").unwrap();

    assert_eq!(received(&second.only()), b"later");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_078
#[test]
fn a_refused_payload_comes_back_while_the_socket_works_on() {
    let never = NeverCalled::default();
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine(1), descriptor);
    let lent = vec![vec![1; 10], vec![]];
    let address = lent[0].as_ptr();

    let refused = socket.receive_async(lent, never.callback()).unwrap_err();

    assert_eq!(refused.error, ReceiveError::Payload(PayloadError::EmptyBuffer { index: 1 }));
    assert_eq!(refused.returned[0].as_ptr(), address);
    let pending = receive(&socket, vec![0; 4]);
    peer.write_all(b"fine").unwrap();
    assert_eq!(received(&pending.only()), b"fine");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_095
#[test]
fn receiving_on_a_socket_that_was_never_connected_is_an_error() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let socket = open(&engine(1), socket.into());

    let completion = receive(&socket, vec![0; 8]).only();

    assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Error, Some(nix::libc::ENOTCONN)));
    assert_eq!(completion.bytes_received, 0);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_093
#[test]
fn what_a_callback_captured_is_freed_when_it_has_run() {
    let (descriptor, mut peer) = Transport::Unix.pair();
    let socket = open(&engine(1), descriptor);
    // The operation is larger than the queue's room for one, so it is on the heap.
    let captured = Arc::new([0_u64; 64]);
    let (done, arrived) = inbox();
    let (held, big) = (Arc::clone(&captured), [1_u64; 64]);
    let callback = move |_| done.put((held.len(), big.len()));
    socket.receive_async([0_u8; 1_000], callback).unwrap();
    assert_eq!(Arc::strong_count(&captured), 2);

    peer.write_all(b"x").unwrap();

    assert_eq!(arrived.only(), (64, 64));
    // The callback has reported, but may not have returned yet.
    eventually("what was captured is freed", || Arc::strong_count(&captured) == 1);
    send_now(&socket, b"y");
}
