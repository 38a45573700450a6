//! Payloads of several threads on one socket: each goes out in one piece, in the order of each thread.

use async_socket_linux::{AsyncSocket, SendResult};
use integration_tests::call::{engine, open};
use integration_tests::{Transport, inbox, spawn};
use rstest::rstest;
use std::io::Read;
use std::sync::Arc;

const THREADS: u8 = 8;
const MESSAGES: u32 = 100;

/// A message in several buffers: head with thread, number and length; body; tail.
fn message(thread: u8, number: u32) -> Vec<Vec<u8>> {
    let length = (u32::from(thread) * 7_919 + number * 104_729) % 3_000 + 1;
    let mut head = vec![thread];
    head.extend_from_slice(&number.to_be_bytes());
    head.extend_from_slice(&length.to_be_bytes());
    let body = vec![thread ^ number.to_be_bytes()[3]; length as usize];
    let (front, back) = body.split_at(body.len() / 2);
    let parts = [&head[..1], &head[1..], front, back, b"!"];
    parts.into_iter().filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_052, Tests_SRS_ASYNC_SOCKET_LINUX_11_056, Tests_SRS_ASYNC_SOCKET_LINUX_11_057
// Tests_SRS_ASYNC_SOCKET_LINUX_11_061, Tests_SRS_ASYNC_SOCKET_LINUX_11_101
#[rstest]
fn eight_threads_send_messages_of_several_buffers_without_interleaving(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.narrow_pair();
    let socket = open(&engine(1), descriptor);
    let (done, sent) = inbox();
    let senders: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (socket, done) = (Arc::clone(&socket), done.clone());
            spawn("sender", move || {
                for number in 0..MESSAGES {
                    let done = done.clone();
                    let buffers = message(thread, number);
                    let length: usize = buffers.iter().map(Vec::len).sum();
                    let callback = move |completion: async_socket_linux::SendCompletion<_>| {
                        assert_eq!(completion.bytes_sent as usize, length);
                        done.put((thread, number, completion.result));
                    };
                    socket.send_async(buffers, callback).expect("send_async");
                }
            })
        })
        .collect();
    drop(done);

    let mut next = [0; THREADS as usize];
    for _ in 0..u32::from(THREADS) * MESSAGES {
        let mut head = [0; 9];
        peer.read_exact(&mut head).unwrap();
        let thread = head[0];
        assert!(thread < THREADS, "no head where one should be: {head:?}");
        let number = u32::from_be_bytes(head[1..5].try_into().unwrap());
        assert_eq!(number, next[thread as usize], "thread {thread}");
        next[thread as usize] += 1;
        let expected = message(thread, number).concat();
        let rest = peer.read_bytes(expected.len() - head.len());
        assert!(rest == expected[head.len()..], "message {number} of thread {thread} is torn");
    }

    for sender in senders {
        sender.join();
    }
    let mut completed = [0; THREADS as usize];
    for (thread, number, result) in sent.take(usize::from(THREADS) * MESSAGES as usize) {
        assert_eq!(result, SendResult::Ok);
        assert!(number < MESSAGES);
        completed[thread as usize] += 1;
    }
    assert_eq!(completed, [MESSAGES; THREADS as usize]);
    sent.assert_dead();
}
