//! Many threads and callbacks that open, send, receive, close and drop many sockets at random.

use async_socket_linux::{AsyncSocket, ExecutionEngine, ReceiveError, SendError};
use integration_tests::call::{engine, open, round_trip};
use integration_tests::process::{alone, descriptors};
use integration_tests::{Peer, Socket, Task, Transport, eventually, spawn};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PLACES: u64 = 24;
const THREADS: u64 = 6;
const TIME: Duration = Duration::from_millis(1_500);

/// Where a connection can be.
type Place = Option<(Arc<Socket>, Peer)>;

/// The sockets of one test, each with its peer.
struct Simulation {
    places: Vec<Mutex<Place>>,
    engine: ExecutionEngine,
    accepted: AtomicUsize,
    completed: AtomicUsize,
    /// Calls that were refused although the socket and its peer are not gone. They are counted, because acts run in
    /// callbacks too, and the library catches a callback's panic.
    unexpected: AtomicUsize,
}

/// A small generator with a seed, so that a thread's choices can be repeated.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn size(&mut self, bound: u64) -> usize {
        1 + usize::try_from(self.below(bound)).expect("small")
    }
}

impl Simulation {
    fn socket(&self, random: &mut Random) -> Option<Arc<Socket>> {
        let place = self.places[random.size(PLACES) - 1].lock().expect("not poisoned");
        place.as_ref().map(|(socket, _)| Arc::clone(socket))
    }

    /// Replaces a connection. The old one is dropped once no thread uses it.
    fn replace(&self, random: &mut Random) {
        let transport = if random.below(2) == 0 { Transport::TcpV4 } else { Transport::Unix };
        let (descriptor, peer) = transport.pair();
        rustix::io::ioctl_fionbio(&peer, true).expect("O_NONBLOCK");
        let new = (open(&self.engine, descriptor), peer);
        let old = self.places[random.size(PLACES) - 1].lock().expect("not poisoned").replace(new);
        drop(old);
    }

    /// A peer reads and writes a little.
    fn move_peer_bytes(&self, random: &mut Random) {
        let mut place = self.places[random.size(PLACES) - 1].lock().expect("not poisoned");
        if let Some((_, peer)) = &mut *place {
            let _ = peer.write(&vec![1; random.size(2_000)]);
            let _ = peer.read(&mut vec![0; random.size(60_000)]);
        }
    }

    /// One random act. Only threads of the test and the port's thread close sockets. Two callbacks on different threads
    /// that close each other's sockets would wait for each other.
    fn act(self: &Arc<Self>, random: &mut Random, may_close: bool) {
        let simulation = Arc::clone(self);
        let mut then = Random(random.below(u64::MAX >> 34));
        match random.below(20) {
            0 => self.replace(random),
            1 if may_close => {
                if let Some(socket) = self.socket(random) {
                    socket.close();
                }
            }
            2..=8 => {
                let Some(socket) = self.socket(random) else { return };
                self.accepted.fetch_add(1, Ordering::SeqCst);
                let buffers = vec![vec![2; random.size(3_000)]; random.size(4)];
                let callback = move |_| {
                    simulation.completed.fetch_add(1, Ordering::SeqCst);
                };
                if let Err(refused) = socket.send_async(buffers, callback) {
                    self.accepted.fetch_sub(1, Ordering::SeqCst);
                    let gone = matches!(
                        refused.error,
                        SendError::NotOpen { .. } | SendError::Disconnected { .. } | SendError::StreamBroken
                    );
                    self.unexpected.fetch_add(usize::from(!gone), Ordering::SeqCst);
                }
            }
            9..=15 => {
                let Some(socket) = self.socket(random) else { return };
                self.accepted.fetch_add(1, Ordering::SeqCst);
                let callback = move |_| {
                    simulation.completed.fetch_add(1, Ordering::SeqCst);
                    if then.below(3) == 0 {
                        let closes = then.below(10) == 0;
                        simulation.act(&mut then, closes);
                    }
                };
                if let Err(refused) = socket.receive_async(vec![0; random.size(2_000)], callback) {
                    self.accepted.fetch_sub(1, Ordering::SeqCst);
                    let closed = matches!(refused.error, ReceiveError::NotOpen { .. });
                    self.unexpected.fetch_add(usize::from(!closed), Ordering::SeqCst);
                }
            }
            _ => self.move_peer_bytes(random),
        }
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037
#[test]
fn in_a_storm_of_everything_each_accepted_operation_completes_exactly_once_and_nothing_is_left() {
    let _alone = alone();
    let before = descriptors();
    let engine = engine(1);
    let simulation = Arc::new(Simulation {
        places: (0..PLACES).map(|_| Mutex::new(None)).collect(),
        engine: engine.clone(),
        accepted: AtomicUsize::new(0),
        completed: AtomicUsize::new(0),
        unexpected: AtomicUsize::new(0),
    });
    let threads: Vec<Task<()>> = (0..THREADS)
        .map(|number| {
            let simulation = Arc::clone(&simulation);
            spawn("actor", move || {
                let mut random = Random(number + 1);
                let start = Instant::now();
                while start.elapsed() < TIME {
                    simulation.act(&mut random, true);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(Task::join);

    for place in &simulation.places {
        let connection = place.lock().unwrap().take();
        if let Some((socket, peer)) = connection {
            spawn("close", move || socket.close()).join();
            drop(peer);
        }
    }
    round_trip(&engine);
    eventually("every operation completes", || {
        simulation.accepted.load(Ordering::SeqCst) == simulation.completed.load(Ordering::SeqCst)
    });
    assert!(simulation.completed.load(Ordering::SeqCst) > 1_000, "{:?}", simulation.completed);
    assert_eq!(simulation.unexpected.load(Ordering::SeqCst), 0);
    // The sockets that callbacks opened meanwhile are dropped with the simulation.
    drop(engine);
    drop(simulation);
    eventually("all descriptors are closed", || descriptors() == before);
}
