//! Many receives queued on one socket complete in order.

use async_socket_linux::{AsyncSocket, ReceiveCompletion, ReceiveResult};
use integration_tests::call::{engine, open};
use integration_tests::wire::pattern;
use integration_tests::{Transport, inbox, spawn};
use rstest::rstest;
use std::io::Write;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_073, Tests_SRS_ASYNC_SOCKET_LINUX_11_092, Tests_SRS_ASYNC_SOCKET_LINUX_11_102
#[rstest]
fn a_hundred_queued_receives_take_the_stream_in_the_order_they_were_queued_in(
    #[values(Transport::TcpV4, Transport::TcpV6, Transport::Unix)] transport: Transport,
    #[values(true, false)] all_at_once: bool,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let (done, arrived) = inbox();
    for number in 0..100_usize {
        let done = done.clone();
        let callback = move |completion: ReceiveCompletion<Vec<u8>>| done.put((number, completion));
        // No two neighbours alike.
        socket.receive_async(vec![0; 1 + (number * 37) % 50], callback).unwrap();
    }
    drop(done);
    let total = (0..100).map(|number| 1 + (number * 37) % 50).sum();

    let writing = spawn("write", move || {
        let bytes = pattern(0, total);
        for piece in bytes.chunks(if all_at_once { bytes.len() } else { 13 }) {
            peer.write_all(piece).expect("the peer writes");
        }
    });

    let mut bytes = Vec::new();
    for expected in 0..100 {
        let (number, completion) = arrived.next();
        assert_eq!((number, completion.result), (expected, ReceiveResult::Ok));
        bytes.extend_from_slice(&completion.buffers[..completion.bytes_received as usize]);
    }
    arrived.assert_dead();
    assert_eq!(bytes, pattern(0, bytes.len()));
    writing.join();
}
