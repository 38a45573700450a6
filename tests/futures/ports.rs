//! What the crate promises of tasks, streams and time, on real ports.

use async_socket_futures::{Elapsed, Engine, JoinError, Listener, Stream, block_on, interval, sleep, timeout};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use std::future::pending;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

async fn tcp() -> (Stream, TcpStream) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().await.unwrap(), peer)
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_020, Tests_SRS_ASYNC_SOCKET_FUTURES_01_021, Tests_SRS_ASYNC_SOCKET_FUTURES_01_022
#[test]
fn a_task_on_a_stream_is_aborted_or_panics_and_its_peer_sees_the_end() {
    let engine = Engine::builder().build().unwrap();
    for panics in [false, true] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let task = engine.spawn(async move {
            let stream = Stream::new(ours).unwrap();
            stream.write_all(b"ready").await.unwrap();
            assert!(!panics, "on purpose");
            pending::<()>().await;
        });
        theirs.read_exact(&mut [0; 5]).unwrap();
        if !panics {
            task.abort();
        }
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        let ended = block_on(task).unwrap().unwrap_err();
        assert_eq!(matches!(ended, JoinError::Panicked(_)), panics);
        let any = Box::<dyn std::error::Error + Send + Sync>::from(ended);
        assert_eq!(any.to_string(), if panics { "the task panicked: on purpose" } else { "the task was aborted" });
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_005
#[test]
fn the_end_of_an_engine_closes_the_streams_of_its_tasks() {
    let engine = Engine::builder().threads(2).build().unwrap();
    let mut peers: Vec<_> = (0..8)
        .map(|_| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            drop(engine.spawn(async move {
                let stream = Stream::new(ours).unwrap();
                let _ = stream.read(&mut [0; 8]).await;
            }));
            theirs
        })
        .collect();
    peers.truncate(6);
    assert!(engine.shutdown(20 * MS) <= 6, "two tasks have seen the end of their peers");
    peers.iter_mut().for_each(|peer| assert_eq!(peer.read(&mut [0]).unwrap(), 0));
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_011, Tests_SRS_ASYNC_SOCKET_FUTURES_01_012
#[test]
fn a_stream_that_always_has_data_holds_up_no_other_task() {
    let engine = Engine::builder().build().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let flood = integration_tests::spawn("the flood", move || {
        let mut theirs = theirs;
        while theirs.write_all(&[0; 4096]).is_ok() {}
    });
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let reading = engine.spawn(async move {
        let stream = Stream::new(ours).unwrap();
        let mut buffer = [0; 16];
        loop {
            counted.fetch_add(stream.read(&mut buffer).await.unwrap(), Ordering::Relaxed);
        }
    });
    let other = engine.spawn(async {
        for _ in 0..20 {
            sleep(MS).await;
        }
    });
    block_on(other).unwrap().unwrap();
    assert!(count.load(Ordering::Relaxed) > 0);
    reading.abort();
    flood.join();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_031
#[test]
fn reads_that_time_out_again_and_again_lose_no_byte() {
    const BYTES: usize = 20_000;
    block_on(async {
        let (stream, mut peer) = tcp().await;
        let sending = integration_tests::spawn("the sender", move || {
            for number in 0..BYTES {
                peer.write_all(&[number as u8])?;
            }
            Ok::<_, std::io::Error>(peer)
        });
        let mut bytes: Vec<u8> = Vec::new();
        let mut given_up = 0;
        while bytes.len() < BYTES {
            let mut buffer = [0; 7];
            match timeout(Duration::from_micros(50), stream.read(&mut buffer)).await {
                Ok(count) => bytes.extend(&buffer[..count.unwrap()]),
                Err(Elapsed) => given_up += 1,
            }
        }
        assert!(bytes.iter().copied().eq((0..BYTES).map(|number| number as u8)), "given up {given_up} times");
        drop(sending.join().unwrap());
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030, Tests_SRS_ASYNC_SOCKET_FUTURES_01_035, Tests_SRS_ASYNC_SOCKET_FUTURES_01_037
#[test]
fn both_halves_move_megabytes_at_once() {
    const SIZE: usize = 8 << 20;
    block_on(async {
        let (stream, peer) = tcp().await;
        let (mut to_peer, mut from_peer) = (peer.try_clone().unwrap(), peer);
        let sending = integration_tests::spawn("the peer sends", move || to_peer.write_all(&vec![b'p'; SIZE]));
        let receiving = integration_tests::spawn("the peer receives", move || {
            let mut bytes = Vec::new();
            from_peer.read_to_end(&mut bytes).map(|_| bytes)
        });
        let (mut reading, writing) = stream.into_split();
        let writer = async_socket_futures::spawn_local(async move {
            let mut writing = writing;
            writing.write_all(&vec![b'o'; SIZE]).await.unwrap();
            writing.flush().await.unwrap();
        })
        .unwrap();
        let mut bytes = vec![0; SIZE];
        reading.read_exact(&mut bytes).await.unwrap();
        assert!(bytes.iter().all(|byte| *byte == b'p'));
        writer.await.unwrap();
        sending.join().unwrap();
        let received = receiving.join().unwrap();
        assert!(received.len() == SIZE && received.iter().all(|byte| *byte == b'o'));
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_032, Tests_SRS_ASYNC_SOCKET_FUTURES_01_033, Tests_SRS_ASYNC_SOCKET_FUTURES_01_040
#[test]
fn connects_and_accepts_meet() {
    block_on(async {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        for number in 0..50_u8 {
            let client = Stream::connect(address).await.unwrap();
            let server = listener.accept().await.unwrap();
            client.write_all(&[number]).await.unwrap();
            let mut byte = [0];
            assert_eq!(server.read(&mut byte).await.unwrap(), 1);
            assert_eq!(byte, [number]);
        }
        drop(listener);
        assert!(Stream::connect(address).await.is_err());
        assert!(Stream::new(std::fs::File::open("/dev/null").unwrap()).is_err(), "no socket");
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_034
#[test]
fn a_stream_that_lingers_is_dropped_at_once_and_the_peer_gets_all_the_same() {
    const SIZE: usize = 1 << 20;
    let engine = Engine::builder().build().unwrap();
    let begin = Instant::now();
    let task = engine.spawn(async move {
        let (stream, peer) = tcp().await;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::from_secs(10))).unwrap();
        let (sent, _) =
            timeout(Duration::from_millis(50), stream.send(vec![1; SIZE])).await.map_or((0, ()), |(sent, _)| {
                sent.unwrap();
                (SIZE, ())
            });
        (sent, peer)
    });
    let (sent, mut peer) = block_on(task).unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5));
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    assert!(bytes.len() >= sent);
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_041
#[test]
fn a_client_that_resets_does_not_end_the_listener() {
    block_on(async {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..20 {
            let gone = TcpStream::connect(address).unwrap();
            socket2::SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
        }
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"x").unwrap();
        loop {
            let stream = listener.accept().await.unwrap();
            if matches!(stream.read(&mut [0]).await, Ok(1)) {
                break;
            }
        }
    })
    .unwrap();
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_050, Tests_SRS_ASYNC_SOCKET_FUTURES_01_051, Tests_SRS_ASYNC_SOCKET_FUTURES_01_052
// Tests_SRS_ASYNC_SOCKET_FUTURES_01_053
#[test]
fn time_passes_beside_streams() {
    block_on(async {
        let (stream, mut peer) = tcp().await;
        assert_eq!(timeout(10 * MS, stream.read(&mut [0; 1])).await.map(drop), Err(Elapsed));
        peer.write_all(b"x").unwrap();
        let read = timeout(integration_tests::LIMIT, stream.read(&mut [0; 1])).await;
        assert_eq!(read.unwrap().unwrap(), 1);
        let mut ticks = interval(5 * MS);
        let begin = Instant::now();
        let first = ticks.tick().await;
        let second = ticks.tick().await;
        assert!(second > first && (second - first).as_millis() % 5 == 0, "{:?}", second - first);
        assert!(begin.elapsed() >= 10 * MS);
        std::thread::sleep(18 * MS);
        let (late, next) = (ticks.tick().await, ticks.tick().await);
        assert!(next - late >= 10 * MS && (next - late).as_millis() % 5 == 0, "{:?}", next - late);
        let mut moved = sleep(MS);
        moved.reset(Instant::now() + 10 * MS);
        let begin = Instant::now();
        moved.await;
        assert!(begin.elapsed() >= 9 * MS);
    })
    .unwrap();
}
