//! Cancelling on real connections: no event is needed, no byte is lost, and of a cancel and a completion exactly one wins.

use async_socket_linux::{AsyncSocket, BufferPool, Cancel, EndReason, OperationId, ReceiveCompletion, SendCompletion};
use integration_tests::call::{block_sending, engine, open, receive, received};
use integration_tests::{Inbox, Socket, Transport, inbox, send, spawn, within};
use rstest::rstest;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

fn start_receive(socket: &Socket) -> (OperationId, Inbox<ReceiveCompletion<Vec<u8>>>) {
    let (done, ended) = inbox();
    (socket.receive_async(vec![0; 16], move |completion| done.put(completion)).expect("accepted"), ended)
}

// Tests_SRS_SOCKET_01_090, Tests_SRS_SOCKET_01_092
#[rstest]
fn a_receive_is_cancelled_though_the_peer_is_silent_and_the_next_gets_every_byte(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let (descriptor, mut peer) = transport.pair();
    let socket = open(&engine(1), descriptor);
    let (id, waiting) = start_receive(&socket);

    assert_eq!(socket.cancel(id), Cancel::Cancelled);
    assert_eq!(waiting.try_next().expect("inside the call").reason, EndReason::Cancelled);
    assert_eq!(socket.cancel(id), Cancel::NotWaiting);
    let next = receive(&socket, vec![0; 16]);
    peer.write_all(b"all of it").unwrap();

    assert_eq!(received(&next.only()), b"all of it");
}

// Tests_SRS_SOCKET_01_091, Tests_SRS_SOCKET_01_093
#[rstest]
fn of_queued_sends_only_those_of_which_nothing_went_out_are_cancelled(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    within("cancelled sends", move || {
        let (descriptor, mut peer) = transport.narrow_pair();
        let socket = open(&engine(1), descriptor);
        assert_eq!(socket.send_async("at once", drop).unwrap(), None);
        assert_eq!(peer.read_bytes(7), b"at once");
        let (blocked, position) = block_sending(&socket);
        let (done, ended) = inbox();
        let behind = socket.send_async(vec![1; 10_000], move |sent: SendCompletion<_>| done.put(sent.reason)).unwrap();
        let last = send(&socket, b"the end");

        assert_eq!(socket.cancel(behind.expect("it waits")), Cancel::Cancelled);
        assert_eq!(ended.only(), EndReason::Cancelled);
        peer.read_pattern(position);
        assert_eq!(peer.read_bytes(7), b"the end");

        assert_eq!((blocked.only().reason, last.only().reason), (EndReason::Completed, EndReason::Completed));
    });
}

// Tests_SRS_SOCKET_01_091
#[rstest]
fn a_send_of_which_bytes_have_gone_out_goes_on(#[values(Transport::TcpV4, Transport::Unix)] transport: Transport) {
    within("a started send", move || {
        const LENGTH: usize = 4 << 20;
        let (descriptor, mut peer) = transport.narrow_pair();
        let socket = open(&engine(1), descriptor);
        let (done, ended) = inbox();
        let report = move |sent: SendCompletion<_>| done.put((sent.reason, sent.bytes_sent as usize));
        let started = socket.send_async(vec![1; LENGTH], report).unwrap().expect("the kernel has no room for all");

        assert_eq!(socket.cancel(started), Cancel::Started);

        assert!(ended.is_pending());
        assert_eq!(peer.read_bytes(LENGTH).len(), LENGTH);
        assert_eq!(ended.only(), (EndReason::Completed, LENGTH));
    });
}

// Tests_SRS_SOCKET_01_090
#[test]
fn a_receive_that_waits_for_a_buffer_is_cancelled() {
    let (descriptor, mut peer) = Transport::Unix.pair();
    let (engine, pool) = (engine(1), BufferPool::new(4, 1).unwrap());
    let socket = open(&engine, descriptor);
    let start = |pool| {
        let (done, ended) = inbox();
        (socket.receive_pooled_async(pool, move |completion| done.put(completion)).unwrap(), ended)
    };
    peer.write_all(b"onetwo").unwrap();
    let (_, first) = start(&pool);
    let held = first.only().buffer.expect("the only buffer");
    let (id, suspended) = start(&pool);
    integration_tests::call::round_trip(&engine);

    assert_eq!(socket.cancel(id), Cancel::Cancelled);
    let completion = suspended.only();
    assert_eq!((completion.reason, completion.buffer.is_none()), (EndReason::Cancelled, true));
    drop(held);

    assert_eq!(start(&pool).1.only().buffer.as_deref(), Some(b"wo".as_slice()));
}

/// Receives one byte at a time, while four threads cancel whatever they find. Every byte must arrive, in order, in exactly
/// one completion.
// Tests_SRS_SOCKET_01_092, Tests_SRS_SOCKET_01_090
#[test]
fn four_threads_that_cancel_race_with_completions_and_neither_a_byte_nor_an_operation_is_lost() {
    const ROUNDS: u64 = 100_000;
    within("100,000 rounds", || {
        let (descriptor, mut peer) = Transport::Unix.pair();
        let socket = open(&engine(1), descriptor);
        // The index of the operation that waits, and the operations' names.
        let (started, cancelled) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let names: Arc<Vec<std::sync::OnceLock<OperationId>>> =
            Arc::new((0..=ROUNDS).map(|_| std::sync::OnceLock::new()).collect());
        let cancellers: Vec<_> = (0..4)
            .map(|_| {
                let (socket, started, names) = (Arc::clone(&socket), Arc::clone(&started), Arc::clone(&names));
                let cancelled = Arc::clone(&cancelled);
                spawn("cancel", move || {
                    loop {
                        let index = started.load(Ordering::SeqCst);
                        if index >= ROUNDS {
                            return;
                        }
                        if let Some(id) = names.get(index as usize).and_then(|name| name.get())
                            && socket.cancel(*id) == Cancel::Cancelled
                        {
                            cancelled.fetch_add(1, Ordering::SeqCst);
                        } else {
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let writes = spawn("the peer", move || {
            for round in 0..ROUNDS {
                // The peer has gone when the rounds are over.
                if peer.write_all(&[round as u8]).is_err() {
                    break;
                }
            }
            peer
        });

        let (mut bytes, mut ended) = (0_u64, 0_usize);
        for index in 0..ROUNDS {
            let (done, end) = inbox();
            let id = socket.receive_async([0_u8; 1], move |completion| done.put(completion)).unwrap();
            names[index as usize].set(id).unwrap();
            started.store(index, Ordering::SeqCst);
            let completion: ReceiveCompletion<[u8; 1]> = end.only();
            match completion.reason {
                EndReason::Completed => {
                    assert_eq!(completion.buffers, [bytes as u8], "bytes arrive in order");
                    bytes += 1;
                }
                EndReason::Cancelled => ended += 1,
                other => panic!("{other}"),
            }
        }
        started.store(ROUNDS, Ordering::SeqCst);
        cancellers.into_iter().for_each(integration_tests::Task::join);

        assert_eq!(ended, cancelled.load(Ordering::SeqCst), "who cancels is told the truth");
        assert_eq!(bytes + ended as u64, ROUNDS);
        // What was not received is still there.
        let rest = spawn("the rest", move || {
            let mut descriptor = std::os::unix::net::UnixStream::from(
                Arc::into_inner(socket).expect("the only reference").into_fd().expect("nothing waits"),
            );
            descriptor.set_nonblocking(false).unwrap();
            let mut rest = vec![0; (ROUNDS - bytes) as usize];
            descriptor.read_exact(&mut rest).unwrap();
            assert!(rest.iter().zip(bytes..).all(|(byte, index)| *byte == index as u8));
        });
        rest.join();
        drop(writes.join());
    });
}
