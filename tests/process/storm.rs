//! Many threads and call-backs that open, send, receive, close and drop many sockets at random.

use async_socket_linux::{AsyncSocket, ExecutionEngine};
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
struct Field {
    places: Vec<Mutex<Place>>,
    engine: ExecutionEngine,
    accepted: AtomicUsize,
    completed: AtomicUsize,
}

/// A small generator, so that a thread's choices can be played again.
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

impl Field {
    fn socket(&self, random: &mut Random) -> Option<Arc<Socket>> {
        let place = self.places[random.size(PLACES) - 1].lock().expect("not poisoned");
        place.as_ref().map(|(socket, _)| Arc::clone(socket))
    }

    /// Replaces a connection; the old one is dropped once nobody uses it.
    fn replace(&self, random: &mut Random) {
        let transport = if random.below(2) == 0 { Transport::TcpV4 } else { Transport::Unix };
        let (descriptor, peer) = transport.pair();
        rustix::io::ioctl_fionbio(&peer, true).expect("O_NONBLOCK");
        let new = (open(&self.engine, descriptor), peer);
        let old = self.places[random.size(PLACES) - 1].lock().expect("not poisoned").replace(new);
        drop(old);
    }

    /// The peer reads and writes a little.
    fn stir(&self, random: &mut Random) {
        let mut place = self.places[random.size(PLACES) - 1].lock().expect("not poisoned");
        if let Some((_, peer)) = &mut *place {
            let _ = peer.write(&vec![1; random.size(2_000)]);
            let _ = peer.read(&mut vec![0; random.size(60_000)]);
        }
    }

    /// One random act. Closing belongs to threads of their own and to the port's: two call-backs on different
    /// threads that close each other's sockets would wait for each other.
    fn act(self: &Arc<Self>, random: &mut Random, may_close: bool) {
        let field = Arc::clone(self);
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
                    field.completed.fetch_add(1, Ordering::SeqCst);
                };
                if socket.send_async(buffers, callback).is_err() {
                    self.accepted.fetch_sub(1, Ordering::SeqCst);
                }
            }
            9..=15 => {
                let Some(socket) = self.socket(random) else { return };
                self.accepted.fetch_add(1, Ordering::SeqCst);
                let callback = move |_| {
                    field.completed.fetch_add(1, Ordering::SeqCst);
                    if then.below(3) == 0 {
                        let closes = then.below(10) == 0;
                        field.act(&mut then, closes);
                    }
                };
                if socket.receive_async(vec![0; random.size(2_000)], callback).is_err() {
                    self.accepted.fetch_sub(1, Ordering::SeqCst);
                }
            }
            _ => self.stir(random),
        }
    }
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_037
#[test]
fn in_a_storm_of_everything_each_accepted_operation_completes_exactly_once_and_nothing_is_left() {
    let _alone = alone();
    let before = descriptors();
    let engine = engine(1);
    let field = Arc::new(Field {
        places: (0..PLACES).map(|_| Mutex::new(None)).collect(),
        engine: engine.clone(),
        accepted: AtomicUsize::new(0),
        completed: AtomicUsize::new(0),
    });
    let threads: Vec<Task<()>> = (0..THREADS)
        .map(|number| {
            let field = Arc::clone(&field);
            spawn("actor", move || {
                let mut random = Random(number + 1);
                let start = Instant::now();
                while start.elapsed() < TIME {
                    field.act(&mut random, true);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(Task::join);

    for place in &field.places {
        let connection = place.lock().unwrap().take();
        if let Some((socket, peer)) = connection {
            spawn("close", move || socket.close()).join();
            drop(peer);
        }
    }
    round_trip(&engine);
    eventually("every operation completes", || {
        field.accepted.load(Ordering::SeqCst) == field.completed.load(Ordering::SeqCst)
    });
    assert!(field.completed.load(Ordering::SeqCst) > 1_000, "{:?}", field.completed);
    // What the call-backs opened meanwhile goes with the field.
    drop(engine);
    drop(field);
    eventually("all descriptors are closed", || descriptors() == before);
}
