//! Many threads do everything at once, at random from a seed; every accepted operation completes exactly once.
//!
//! To run it again, give it the seed that it printed:
//! `COMPLETION_PORT_STRESS_SEED=1234 cargo test -p integration-tests --test process port_stress`.

use completion_port::sys::Errno;
use completion_port::{CompletionPort, Direction};
use fastrand::Rng;
use integration_tests::port::{Operation, Watched, port, reads, socket, writes};
use integration_tests::process::{alone, descriptors};
use integration_tests::{spawn, within};
use rustix::io::{read, write};
use std::io::{Read, Write};
use std::mem;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use test_doubles::ScriptedPort;

const THREADS: u64 = 6;
const SOCKETS: usize = 12;
const TIME: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicUsize,
    completed: AtomicUsize,
    /// Dropped without having been called.
    lost: AtomicUsize,
}

/// What an operation's callback owns.
struct Receipt {
    counts: Arc<Counts>,
    is_settled: bool,
}

impl Receipt {
    fn new(counts: &Arc<Counts>) -> Self {
        Self { counts: Arc::clone(counts), is_settled: false }
    }

    fn complete(mut self) {
        self.is_settled = true;
        self.counts.completed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.is_settled {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One socket of many, which is replaced now and then.
struct Slot {
    registration: Arc<Watched>,
    peer: UnixStream,
}

fn slot(port: &CompletionPort<ScriptedPort>) -> Slot {
    let (registration, peer) = socket(port);
    peer.set_nonblocking(true).expect("a socket can be made non-blocking");
    Slot { registration, peer }
}

struct Simulation {
    port: CompletionPort<ScriptedPort>,
    slots: Vec<RwLock<Slot>>,
    counts: Arc<Counts>,
}

impl Simulation {
    fn act(&self, random: &mut Rng) {
        let slot = &self.slots[random.usize(..SOCKETS)];
        let (registration, peer) = {
            let slot = slot.read().expect("nobody panics with it");
            (Arc::clone(&slot.registration), slot.peer.try_clone().expect("a descriptor is free"))
        };
        match random.u8(..100) {
            0..30 => self.add(&registration, random),
            30..60 => self.claim(&registration, random),
            60..75 => drop((&peer).write(&[0; 600][..random.usize(1..600)])),
            75..94 => drop((&peer).read(&mut [0; 4000])),
            94..97 => drop(registration.remove()),
            _ => drop(mem::replace(&mut *slot.write().expect("nobody panics with it"), self::slot(&self.port))),
        }
    }

    fn operation(&self, direction: Direction, random: &mut Rng) -> Operation {
        let (receipt, size) = (Receipt::new(&self.counts), random.usize(1..900));
        let operation = if direction == Direction::In { reads(size) } else { writes(vec![0; size]) };
        operation.then(move |_| receipt.complete())
    }

    /// Counts an operation as accepted unless it was refused.
    fn note<T, E>(&self, added: Result<(), completion_port::Declined<T, E>>) {
        self.counts.accepted.fetch_add(1, Ordering::Relaxed);
        if let Err(refused) = added {
            drop(refused); // counts as lost
            self.counts.accepted.fetch_sub(1, Ordering::Relaxed);
            self.counts.lost.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn add(&self, registration: &Watched, random: &mut Rng) {
        let direction = if random.bool() { Direction::In } else { Direction::Out };
        self.note(registration.add(direction, self.operation(direction, random)).map(drop));
    }

    fn claim(&self, registration: &Arc<Watched>, random: &mut Rng) {
        let direction = if random.bool() { Direction::In } else { Direction::Out };
        let Ok(claim) = registration.try_claim(direction) else { return };
        let attempt = match direction {
            Direction::In => read(claim.descriptor(), &mut [0; 100][..]),
            Direction::Out => write(claim.descriptor(), &[0; 2000]),
        };
        match attempt {
            Err(Errno::AGAIN) => self.note(claim.queue(self.operation(direction, random)).map(drop)),
            _ => {
                let receipt = Receipt::new(&self.counts);
                self.counts.accepted.fetch_add(1, Ordering::Relaxed);
                let removes = random.u8(..50) == 0;
                claim.complete(|| {
                    receipt.complete();
                    if removes {
                        registration.remove();
                    }
                });
            }
        }
    }
}

// Tests_SRS_COMPLETION_PORT_01_034, Tests_SRS_COMPLETION_PORT_01_050, Tests_SRS_COMPLETION_PORT_01_052
#[test]
fn every_accepted_operation_completes_exactly_once() {
    let _alone = alone();
    let seed = std::env::var("COMPLETION_PORT_STRESS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("COMPLETION_PORT_STRESS_SEED={seed}");
    let before = descriptors();
    let (port, counts) = (port().1, Arc::new(Counts::default()));
    let slots = (0..SOCKETS).map(|_| RwLock::new(slot(&port))).collect();
    let simulation = Arc::new(Simulation { port, slots, counts: Arc::clone(&counts) });

    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (simulation, mut random) = (Arc::clone(&simulation), Rng::with_seed(seed.wrapping_add(thread)));
            spawn("stress", move || {
                let start = Instant::now();
                while start.elapsed() < TIME {
                    (0..100).for_each(|_| simulation.act(&mut random));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(integration_tests::Task::join);
    within("the end", move || drop(simulation));

    let [accepted, completed, lost] =
        [&counts.accepted, &counts.completed, &counts.lost].map(|count| count.load(Ordering::Relaxed));
    assert!(accepted > 1000, "only {accepted} operations");
    assert_eq!((completed, lost), (accepted, 0));
    assert_eq!(descriptors(), before);
}
