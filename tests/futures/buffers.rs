//! Buffers by value, and buffers of a pool that streams share with sockets.

use crate::tasks::Wakes;
use async_socket_futures::{Engine, Listener, Stream, block_on, spawn_local, timeout};
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, BufferPool};
use integration_tests::{LIMIT, eventually};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_035, Tests_SRS_ASYNC_SOCKET_FUTURES_01_038
#[test]
fn one_buffer_goes_round_and_lists_arrive_whole() {
    const SIZE: usize = 1 << 20;
    block_on(async {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = Stream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = listener.accept().await.unwrap();
        let mut receiving = server.receive(vec![0; 3_000]);
        assert!(timeout(Duration::ZERO, &mut receiving).await.is_err(), "nothing was sent");
        let mut buffer = receiving.into_parts().expect("it has not ended");
        let sending = spawn_local(async move {
            let byte = |at: usize| (at * 31 % 251) as u8;
            let list: Vec<Vec<u8>> =
                (0..SIZE).map(byte).collect::<Vec<_>>().chunks(5_000).map(<[u8]>::to_vec).collect();
            let (sent, back) = client.send_buffers(list.clone()).await;
            sent.unwrap();
            assert!(back == list);
        })
        .unwrap();
        let mut bytes = Vec::<u8>::new();
        loop {
            // A receive that is given up has the buffer, and no byte is lost.
            let mut receiving = server.receive(buffer);
            let received = timeout(Duration::from_micros(20), &mut receiving).await;
            let count;
            (count, buffer) = match received {
                Ok((count, buffer)) => (count.unwrap(), buffer),
                Err(_) => {
                    buffer = receiving.into_parts().expect("it has not ended");
                    continue;
                }
            };
            if count == 0 {
                break;
            }
            bytes.extend(&buffer[..count]);
        }
        assert!(bytes.len() == SIZE && bytes.iter().enumerate().all(|(at, byte)| *byte == (at * 31 % 251) as u8));
        sending.await.unwrap();
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_039
#[test]
fn while_the_pool_is_empty_a_receive_waits_and_other_tasks_run() {
    let pool = BufferPool::new(16, 1).unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = AsyncSocketLinux::open(None, ours).unwrap();
    let (done, is_done) = channel();
    socket.receive_pooled_async(&pool, move |completion| drop(done.send(completion.buffer))).unwrap();
    theirs.write_all(b"takes it").unwrap();
    let only = is_done.recv_timeout(LIMIT).unwrap().expect("bytes");
    let (for_stream, mut to_stream) = UnixStream::pair().unwrap();
    to_stream.write_all(b"waits").unwrap();
    let engine = Engine::builder().build().unwrap();
    let (of_stream, (got, is_got)) = (pool.clone(), channel());
    let task = engine.spawn(async move {
        let stream = Stream::new(for_stream).unwrap();
        got.send(stream.receive_pooled(&of_stream).await.unwrap().unwrap().to_vec()).unwrap();
    });

    // The task waits by now, because tasks run in the order in which they begin.
    let (ran, has_run) = channel();
    drop(engine.spawn(async move { ran.send(()).unwrap() }));
    has_run.recv_timeout(LIMIT).expect("the other task runs");
    assert!(is_got.try_recv().is_err(), "there is no buffer");
    drop(only);

    assert_eq!(is_got.recv_timeout(LIMIT).unwrap(), b"waits");
    block_on(task).unwrap().unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_039
#[test]
fn a_receive_that_finds_the_pool_empty_is_woken_when_the_buffer_comes_back() {
    let (engine, pool) = (Engine::builder().build().unwrap(), BufferPool::new(16, 1).unwrap());
    let [(one, mut to_one), (other, mut to_other)] = [0; 2].map(|_| UnixStream::pair().unwrap());
    let [one, other] = [one, other].map(|socket| Stream::on(engine.port(0), socket).unwrap());
    to_one.write_all(b"takes it").unwrap();
    let only = block_on(one.receive_pooled(&pool)).unwrap().unwrap().expect("bytes");
    to_other.write_all(b"waits").unwrap();
    let wakes = Arc::<Wakes>::default();
    let (waker, mut receiving) = (Waker::from(Arc::clone(&wakes)), other.receive_pooled(&pool));
    // This thread is in no task, so nothing else limits how often one poll asks the pool.
    let mut poll = || Pin::new(&mut receiving).poll(&mut Context::from_waker(&waker));
    eventually("the pool is found empty", || {
        assert!(poll().is_pending());
        pool.metrics().receives_waiting == 1
    });
    let before = wakes.0.load(Ordering::SeqCst);

    drop(only);

    eventually("the receive is woken", || wakes.0.load(Ordering::SeqCst) > before);
    let Poll::Ready(Ok(Some(bytes))) = poll() else { panic!("there is a buffer") };
    assert_eq!(&*bytes, b"waits");
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_039
#[test]
fn a_stream_and_a_socket_take_the_only_buffer_of_a_pool_in_turn() {
    let pool = BufferPool::new(16, 1).unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = AsyncSocketLinux::create(None, ours.into()).unwrap();
    socket.open_async(|_| {}).unwrap();
    let (for_stream, mut to_stream) = UnixStream::pair().unwrap();
    let engine = Engine::builder().build().unwrap();
    let of_stream = pool.clone();
    let (got, is_got) = channel();
    let (give_back, given_back) = channel::<()>();
    to_stream.write_all(b"first").unwrap();
    let task = engine.spawn(async move {
        let stream = Stream::new(for_stream).unwrap();
        let first = stream.receive_pooled(&of_stream).await.unwrap().unwrap();
        got.send(first.to_vec()).unwrap();
        // Only this task runs on the engine, so it may block.
        given_back.recv().unwrap();
        drop(first);
        // The buffer goes back at the end of this statement, because the next receive needs it.
        let second = stream.receive_pooled(&of_stream).await.unwrap().unwrap().to_vec();
        (second, stream.receive_pooled(&of_stream).await.unwrap().is_none())
    });
    assert_eq!(is_got.recv_timeout(LIMIT).unwrap(), b"first");
    theirs.write_all(b"socket").unwrap();
    to_stream.write_all(b"second").unwrap();
    drop(to_stream);
    let (done, is_done) = channel();
    socket.receive_pooled_async(&pool, move |completion| drop(done.send(completion.buffer))).unwrap();
    give_back.send(()).unwrap();

    let of_socket = is_done.recv_timeout(LIMIT).unwrap().expect("bytes");
    assert_eq!(&*of_socket, b"socket");
    drop(of_socket);
    assert_eq!(block_on(task).unwrap().unwrap(), (b"second".to_vec(), true));
    assert_eq!(pool.buffers_made(), 1);
}
