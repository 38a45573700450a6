//! Close against four threads of sends and receives: every accepted operation completes exactly once, none later.

use async_socket_linux::{AsyncSocket, ReceiveError, SendError};
use integration_tests::call::{engine, open};
use integration_tests::{Socket, Transport, spawn};
use rstest::rstest;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

const ROUNDS: usize = 60;
const PER_THREAD: usize = 2_000;

#[derive(Default)]
struct Ledger {
    accepted: AtomicUsize,
    completed: AtomicUsize,
    closed: AtomicBool,
    late: AtomicUsize,
}

/// Counts the completions of one operation.
struct Entry {
    ledger: Arc<Ledger>,
    completions: Arc<AtomicU8>,
}

impl Entry {
    fn complete(&self) {
        assert_eq!(self.completions.fetch_add(1, Ordering::SeqCst), 0, "completed twice");
        if self.ledger.closed.load(Ordering::SeqCst) {
            self.ledger.late.fetch_add(1, Ordering::SeqCst);
        }
        self.ledger.completed.fetch_add(1, Ordering::SeqCst);
    }
}

fn entry(ledger: &Arc<Ledger>) -> (Entry, Arc<AtomicU8>) {
    let completions = Arc::new(AtomicU8::new(0));
    (Entry { ledger: Arc::clone(ledger), completions: Arc::clone(&completions) }, completions)
}

fn sends(socket: &Socket, ledger: &Arc<Ledger>) -> Vec<Arc<AtomicU8>> {
    let mut accepted = Vec::new();
    for number in 0..PER_THREAD {
        let (entry, completions) = entry(ledger);
        let buffers = vec![vec![1; 1 + number * 7 % 3_000], vec![2; 100]];
        match socket.send_async(buffers, move |_| entry.complete()) {
            Ok(_) => accepted.push(completions),
            Err(refused) => {
                assert!(matches!(refused.error, SendError::NotOpen { .. }), "{}", refused.error);
                assert_eq!(completions.load(Ordering::SeqCst), 0);
                break;
            }
        }
    }
    accepted
}

fn receives(socket: &Socket, ledger: &Arc<Ledger>) -> Vec<Arc<AtomicU8>> {
    let mut accepted = Vec::new();
    for number in 0..PER_THREAD {
        let (entry, completions) = entry(ledger);
        match socket.receive_async(vec![0; 1 + number % 500], move |_| entry.complete()) {
            Ok(_) => accepted.push(completions),
            Err(refused) => {
                assert!(matches!(refused.error, ReceiveError::NotOpen { .. }), "{}", refused.error);
                assert_eq!(completions.load(Ordering::SeqCst), 0);
                break;
            }
        }
    }
    accepted
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037, Tests_SRS_ASYNC_SOCKET_LINUX_11_051, Tests_SRS_ASYNC_SOCKET_LINUX_11_072
#[rstest]
fn close_races_with_sends_and_receives_and_each_accepted_one_completes_exactly_once(
    #[values(Transport::TcpV4, Transport::Unix)] transport: Transport,
) {
    let engine = engine(2);
    for round in 0..ROUNDS {
        let (descriptor, mut peer) = transport.pair();
        let socket = open(&engine, descriptor);
        let ledger = Arc::new(Ledger::default());
        let tasks: Vec<_> = [sends, receives, sends, receives]
            .into_iter()
            .map(|work| {
                let (socket, ledger) = (Arc::clone(&socket), Arc::clone(&ledger));
                spawn("worker", move || {
                    let accepted = work(&socket, &ledger);
                    ledger.accepted.fetch_add(accepted.len(), Ordering::SeqCst);
                    accepted
                })
            })
            .collect();
        let mut reader = peer.try_clone();
        // They end with errors when the socket is closed.
        let reading = spawn("read", move || while reader.read(&mut [0; 8_192]).is_ok_and(|read| read > 0) {});
        let writing = spawn("write", move || while peer.write(&[3; 3_000]).is_ok() {});

        std::thread::sleep(Duration::from_micros((round as u64 * 97) % 4_000));
        socket.close();
        ledger.closed.store(true, Ordering::SeqCst);

        let accepted: Vec<_> = tasks.into_iter().flat_map(integration_tests::Task::join).collect();
        assert_eq!(accepted.len(), ledger.accepted.load(Ordering::SeqCst));
        assert_eq!(ledger.completed.load(Ordering::SeqCst), accepted.len(), "round {round}");
        assert!(accepted.iter().all(|completions| completions.load(Ordering::SeqCst) == 1), "round {round}");
        assert_eq!(ledger.late.load(Ordering::SeqCst), 0, "callbacks after close returned, round {round}");
        reading.join();
        writing.join();
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037, Tests_SRS_ASYNC_SOCKET_LINUX_11_042
#[test]
fn four_threads_close_one_socket_at_the_same_time() {
    let engine = engine(1);
    for _ in 0..300 {
        let (descriptor, mut peer) = Transport::Unix.pair();
        let socket = open(&engine, descriptor);
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..10 {
            let count = Arc::clone(&count);
            socket
                .receive_async([0_u8; 1], move |_| {
                    count.fetch_add(1, Ordering::SeqCst);
                })
                .unwrap();
        }
        peer.write_all(b"four").unwrap();
        let closers: Vec<_> = (0..4)
            .map(|_| {
                let socket = Arc::clone(&socket);
                spawn("close", move || socket.close())
            })
            .collect();
        closers.into_iter().for_each(integration_tests::Task::join);
        assert_eq!(count.load(Ordering::SeqCst), 10);
        // If bytes were left unreceived, the end is a reset.
        assert_eq!(peer.read(&mut [0; 8]).unwrap_or(0), 0);
    }
}
