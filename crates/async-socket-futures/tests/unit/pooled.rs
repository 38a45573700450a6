//! Receives into buffers of a pool.

use crate::{Wakes, poll_once, unix};
use async_socket_futures::{Stream, block_on, spawn_local};
use async_socket_linux::BufferPool;
use completion_port::Readiness;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::task::Poll;
use test_doubles::MockPort;

/// A stream that knows of its one byte.
fn with_a_byte(byte: &[u8; 1]) -> (MockPort, Stream<MockPort>, UnixStream) {
    let (port, stream, mut peer) = unix();
    peer.write_all(byte).expect("the pair has room");
    port.deliver(Readiness::IN);
    (port, stream, peer)
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_039
#[test]
fn a_receive_that_waits_holds_no_buffer() {
    let (port, stream, mut peer) = unix();
    let (wakes, waker) = Wakes::new();
    let pool = BufferPool::new(16, 4).unwrap();
    let mut receiving = stream.receive_pooled(&pool);
    assert!(poll_once(&mut receiving, &waker).is_pending());
    port.deliver(Readiness::IN);
    assert_eq!(wakes.taken(), 1);
    assert!(poll_once(&mut receiving, &waker).is_pending(), "there was nothing");
    assert_eq!(pool.buffers_made(), pool.buffers_free());
    peer.write_all(b"abc").unwrap();
    port.deliver(Readiness::IN);

    let Poll::Ready(Ok(Some(bytes))) = poll_once(&mut receiving, &waker) else { panic!("there are bytes") };

    assert_eq!(&*bytes, b"abc");
    assert_eq!(pool.buffers_free(), 0);
    drop(bytes);
    assert_eq!(pool.buffers_free(), 1);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_039
#[test]
fn a_receive_waits_for_a_buffer_and_is_woken_when_one_comes_back() {
    let pool = BufferPool::new(16, 1).unwrap();
    let [(_first, one, _to_one), (second, other, _to_other)] = [with_a_byte(b"1"), with_a_byte(b"2")];
    let (wakes, waker) = Wakes::new();
    let Poll::Ready(Ok(Some(held))) = poll_once(&mut one.receive_pooled(&pool), &waker) else { panic!("a buffer") };
    let mut waiting = other.receive_pooled(&pool);
    assert!(poll_once(&mut waiting, &waker).is_pending());
    assert_eq!(wakes.taken(), 0);

    drop(held);
    second.run_scheduled();

    assert_eq!(wakes.taken(), 1);
    let Poll::Ready(Ok(Some(bytes))) = poll_once(&mut waiting, &waker) else { panic!("a buffer") };
    assert_eq!(&*bytes, b"2");
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_036
#[test]
fn a_receive_that_waits_for_a_buffer_fails_with_its_port() {
    let pool = BufferPool::new(16, 1).unwrap();
    let [(_first, one, _to_one), (second, other, _to_other)] = [with_a_byte(b"1"), with_a_byte(b"2")];
    let (wakes, waker) = Wakes::new();
    let Poll::Ready(Ok(Some(_held))) = poll_once(&mut one.receive_pooled(&pool), &waker) else { panic!("a buffer") };
    let mut waiting = other.receive_pooled(&pool);
    assert!(poll_once(&mut waiting, &waker).is_pending());

    second.fail();

    assert_eq!(wakes.taken(), 1);
    let Poll::Ready(Err(error)) = poll_once(&mut waiting, &waker) else { panic!("no buffer wakes it any more") };
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_039
#[test]
fn the_buffer_of_a_receive_that_is_dropped_goes_to_the_next() {
    let pool = BufferPool::new(16, 1).unwrap();
    let streams = [unix(), unix(), unix()];
    for (port, _, peer) in &streams {
        let mut peer = peer;
        peer.write_all(b"x").unwrap();
        port.deliver(Readiness::IN);
    }
    let (wakes, waker) = Wakes::new();
    let Poll::Ready(Ok(held)) = poll_once(&mut streams[0].1.receive_pooled(&pool), &waker) else { panic!("a buffer") };
    let mut dropped = streams[1].1.receive_pooled(&pool);
    let mut next = streams[2].1.receive_pooled(&pool);
    assert!(poll_once(&mut dropped, &waker).is_pending());
    assert!(poll_once(&mut next, &waker).is_pending());
    drop(held);
    streams[1].0.run_scheduled();
    assert_eq!(wakes.taken(), 1);

    drop(dropped);

    streams[2].0.run_scheduled();
    assert_eq!(wakes.taken(), 1);
    assert!(matches!(poll_once(&mut next, &waker), Poll::Ready(Ok(Some(_)))));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_039
#[test]
fn the_end_of_the_stream_takes_no_buffer() {
    let (port, stream, peer) = unix();
    let (_, waker) = Wakes::new();
    let pool = BufferPool::new(16, 1).unwrap();
    drop(peer);
    port.deliver(Readiness::IN | Readiness::READ_HANG_UP);
    assert!(matches!(poll_once(&mut stream.receive_pooled(&pool), &waker), Poll::Ready(Ok(None))));
    assert_eq!(pool.buffers_free(), 1);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_039
#[test]
fn many_tasks_share_two_buffers() {
    const TASKS: usize = 20;
    const MESSAGES: usize = 50;
    let pool = BufferPool::new(64, 2).unwrap();
    block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let pool = pool.clone();
                let (ours, theirs) = UnixStream::pair().unwrap();
                spawn_local(async move {
                    let stream = Stream::new(ours).unwrap();
                    let peer = Stream::new(theirs).unwrap();
                    let sending = spawn_local(async move {
                        for _ in 0..MESSAGES {
                            peer.write_all(b"message").await.unwrap();
                        }
                    });
                    let mut total = 0;
                    while let Some(bytes) = stream.receive_pooled(&pool).await.unwrap() {
                        // Another task has its turn while this one holds the buffer.
                        spawn_local(async {}).unwrap().await.unwrap();
                        total += bytes.len();
                    }
                    sending.unwrap().await.unwrap();
                    total
                })
                .unwrap()
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), MESSAGES * b"message".len());
        }
    })
    .unwrap();
    assert!(pool.buffers_made() <= 2);
}
