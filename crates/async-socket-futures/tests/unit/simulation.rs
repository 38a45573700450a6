//! Tasks over a port whose system calls are unreliable: storms of signals, spurious and late events, failing waits. Clients
//! echo; some reads are dropped at random and some tasks are aborted.

use async_socket_futures::{Engine, JoinError, Stream, block_on};
use completion_port::CompletionPort;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;
use test_doubles::{Faults, FaultySyscalls};

const CONNECTIONS: usize = 8;
const MESSAGES: usize = 100;
const LIMIT: Duration = Duration::from_secs(60);

type Faulty = Stream<CompletionPort<FaultySyscalls>>;

/// Reads, and drops the future again and again before it is ready.
async fn read_in_many_tries(stream: &Faulty, buffer: &mut [u8], random: &mut fastrand::Rng) -> std::io::Result<usize> {
    loop {
        let mut patience = random.u8(0..4);
        let mut reading = pin!(stream.read(buffer));
        let tried = poll_fn(|context| match reading.as_mut().poll(context) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending if patience == 1 => Poll::Ready(None),
            Poll::Pending => {
                patience = patience.saturating_sub(1);
                Poll::Pending
            }
        });
        match tried.await {
            Some(read) => return read,
            // Whatever else a task would do. Its waker belongs to no stream.
            None => async_socket_futures::sleep(Duration::from_micros(100)).await,
        }
    }
}

async fn echo(stream: Faulty, mut random: fastrand::Rng) -> std::io::Result<usize> {
    let (mut buffer, mut total) = ([0; 64], 0);
    loop {
        let count = read_in_many_tries(&stream, &mut buffer, &mut random).await?;
        if count == 0 {
            return Ok(total);
        }
        stream.write_all(&buffer[..count]).await?;
        total += count;
    }
}

fn client(mut peer: UnixStream, number: usize) -> usize {
    peer.set_read_timeout(Some(LIMIT)).expect("it is not zero");
    let mut echoed = 0;
    for message in 0..MESSAGES {
        let sent = vec![(number + message) as u8; 1 + message % 60];
        let mut received = vec![0; sent.len()];
        // The task at the other end may have been aborted.
        if peer.write_all(&sent).and_then(|()| peer.read_exact(&mut received)).is_err() {
            break;
        }
        assert_eq!(received, sent);
        echoed += sent.len();
    }
    echoed
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_010, Tests_SRS_ASYNC_SOCKET_FUTURES_01_021, Tests_SRS_ASYNC_SOCKET_FUTURES_01_031
#[test]
fn tasks_over_unreliable_system_calls_echo_everything() {
    let faulty = FaultySyscalls::new(Faults::harmless());
    let port = CompletionPort::create_with(faulty.clone()).unwrap();
    let mut random = fastrand::Rng::with_seed(faulty.seed());
    let engine = Engine::builder().threads(2).build().unwrap();
    let running: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let stream = Stream::on(&port, ours).unwrap();
            let task = engine.spawn(echo(stream, random.fork()));
            (number, task, thread::spawn(move || client(theirs, number)))
        })
        .collect();
    for (number, task, client) in running {
        let is_aborted = number % 4 == 3;
        if is_aborted {
            task.abort();
        }
        let echoed = client.join().unwrap();
        match block_on(task).unwrap() {
            Ok(total) => assert_eq!(total.unwrap(), echoed, "seed {}", faulty.seed()),
            Err(JoinError::Aborted) => assert!(is_aborted),
            Err(error) => panic!("{error}"),
        }
        if !is_aborted {
            assert_eq!(echoed, (0..MESSAGES).map(|message| 1 + message % 60).sum::<usize>());
        }
    }
}
