//! Lists of buffers that are refused, on open sockets: each with its reason and its index, and given back.

use async_socket_linux::{AsyncSocket, PayloadError, ReceiveError, SendError};
use integration_tests::call::{engine, open, receive, received};
use integration_tests::{NeverCalled, Transport, send_now};
use rstest::rstest;
use std::io::Write;
use std::sync::Arc;

const GIB: usize = 1 << 30;

// Tests_SRS_ASYNC_SOCKET_LINUX_11_045, Tests_SRS_ASYNC_SOCKET_LINUX_11_047, Tests_SRS_ASYNC_SOCKET_LINUX_11_048
#[rstest]
#[case::no_buffers(vec![], PayloadError::NoBuffers)]
#[case::first_empty(vec![0], PayloadError::EmptyBuffer { index: 0 })]
#[case::last_empty(vec![1, 2, 0], PayloadError::EmptyBuffer { index: 2 })]
#[case::one_too_many(vec![GIB, GIB, GIB, GIB], PayloadError::TooLong { index: 3 })]
#[case::one_byte_too_many(vec![GIB, GIB, GIB, GIB - 1, 1], PayloadError::TooLong { index: 4 })]
fn a_list_that_cannot_be_sent_is_refused(#[case] lengths: Vec<usize>, #[case] reason: PayloadError) {
    let never = NeverCalled::default();
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let socket = open(&engine(1), descriptor);
    // Untouched zeroed memory, for which the kernel provides no pages.
    let memory: Arc<Vec<u8>> = Arc::new(vec![0; GIB]);
    let list: Vec<Part> = lengths.iter().map(|length| Part(Arc::clone(&memory), *length)).collect();

    let refused = socket.send_async(list, never.callback()).unwrap_err();

    assert_eq!(refused.error, SendError::Payload(reason));
    assert_eq!(refused.returned.iter().map(|part| part.1).collect::<Vec<_>>(), lengths);
    assert_eq!(Arc::strong_count(&memory), 1 + lengths.len());
    send_now(&socket, b"fine");
    assert_eq!(peer.read_bytes(4), b"fine");
}

/// The beginning of shared memory.
struct Part(Arc<Vec<u8>>, usize);

impl async_socket_linux::IoBuf for Part {
    fn as_slice(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_066, Tests_SRS_ASYNC_SOCKET_LINUX_11_068, Tests_SRS_ASYNC_SOCKET_LINUX_11_069
#[rstest]
#[case::no_buffers(vec![], PayloadError::NoBuffers)]
#[case::first_empty(vec![0], PayloadError::EmptyBuffer { index: 0 })]
#[case::last_empty(vec![1, 2, 0], PayloadError::EmptyBuffer { index: 2 })]
#[case::four_gibibytes(vec![4 * GIB], PayloadError::TooLong { index: 0 })]
#[case::one_byte_too_many(vec![4 * GIB - 1, 1], PayloadError::TooLong { index: 1 })]
fn a_list_that_cannot_be_received_into_is_refused(#[case] lengths: Vec<usize>, #[case] reason: PayloadError) {
    let never = NeverCalled::default();
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let socket = open(&engine(1), descriptor);
    let list: Vec<Vec<u8>> = lengths.iter().map(|length| vec![0; *length]).collect();

    let refused = socket.receive_async(list, never.callback()).unwrap_err();

    assert_eq!(refused.error, ReceiveError::Payload(reason));
    assert_eq!(refused.returned.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
    let pending = receive(&socket, vec![0; 4]);
    peer.write_all(b"fine").unwrap();
    assert_eq!(received(&pending.only()), b"fine");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_069
#[test]
fn a_receive_of_the_greatest_length_is_accepted() {
    let (descriptor, mut peer) = Transport::TcpV4.pair();
    let socket = open(&engine(1), descriptor);
    let pending = receive(&socket, vec![vec![0; 4 * GIB - 2], vec![0; 1]]);

    peer.write_all(b"few bytes").unwrap();

    let completion = pending.only();
    assert_eq!(&completion.buffers[0][..completion.bytes_received as usize], b"few bytes");
}
