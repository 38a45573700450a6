//! Real system calls made unreliable at random, from a seed.
//!
//! Invariant: every lie is one that a kernel could tell. An invented `EAGAIN` is followed by a new edge, as the
//! real one would be: the descriptor is re-armed with `EPOLL_CTL_MOD`, upon which the kernel looks at its readiness
//! anew. An invented error that ends a connection does end it, with `shutdown`, and a receive meets it only where
//! the bytes end.

mod kinds;
mod port;
mod sockets;
mod watched;

pub use kinds::{Fault, Faults};

use async_socket_linux::sys::Errno;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;
use watched::Watched;

/// How many calls a storm of signals interrupts at most.
const LONGEST_STORM: i64 = 100;

/// The kernel's system calls with random faults; implements both
/// [`SocketSyscalls`](async_socket_linux::SocketSyscalls) and [`PortSyscalls`](completion_port::PortSyscalls).
///
/// Give clones of one value to the port and to its sockets. When a test panics, the seed is printed; the
/// same seed makes the same choices for the same sequence of calls. What it needs for itself it gets also from a
/// thread [without memory](crate::without_memory).
#[derive(Clone)]
pub struct FaultySyscalls {
    state: Arc<State>,
}

struct State {
    seed: u64,
    faults: Faults,
    random: Mutex<fastrand::Rng>,
    /// How many calls the storm of signals still interrupts; below 0 if several threads saw its end.
    storm: AtomicI64,
    injected: [AtomicU64; Fault::ALL.len()],
    watched: Mutex<Watched>,
}

impl FaultySyscalls {
    /// Faulty calls with a random seed.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        Self::with_seed(faults, fastrand::u64(..))
    }

    /// Faulty calls with the seed of an earlier run.
    #[must_use]
    pub fn with_seed(faults: Faults, seed: u64) -> Self {
        Self {
            state: Arc::new(State {
                seed,
                faults,
                random: Mutex::new(fastrand::Rng::with_seed(seed)),
                storm: AtomicI64::new(0),
                injected: Default::default(),
                watched: Mutex::default(),
            }),
        }
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.state.seed
    }

    /// How often a fault was injected.
    #[must_use]
    pub fn injected(&self, fault: Fault) -> u64 {
        self.state.injected[fault as usize].load(Ordering::Relaxed)
    }

    /// How many faults were injected altogether.
    #[must_use]
    pub fn total_injected(&self) -> u64 {
        Fault::ALL.iter().map(|fault| self.injected(*fault)).sum()
    }

    fn wants(&self, fault: Fault) -> bool {
        let thousandths = self.state.faults.of(fault);
        thousandths > 0 && self.state.random.lock().u16(..1000) < thousandths
    }

    fn count(&self, fault: Fault) {
        self.state.injected[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn happens(&self, fault: Fault) -> bool {
        let happens = self.wants(fault);
        if happens {
            self.count(fault);
        }
        happens
    }

    fn fail(&self, fault: Fault, errno: Errno) -> Result<(), Errno> {
        if self.happens(fault) { Err(errno) } else { Ok(()) }
    }

    /// `EINTR`, for once or as part of a storm. A storm is counted call by call.
    fn interrupt(&self) -> Result<(), Errno> {
        if self.wants(Fault::Storm) {
            let length = self.state.random.lock().i64(1..=LONGEST_STORM);
            self.state.storm.store(length, Ordering::Relaxed);
        }
        let storm = &self.state.storm;
        if storm.load(Ordering::Relaxed) > 0 && storm.fetch_sub(1, Ordering::Relaxed) > 0 {
            self.count(Fault::Storm);
            return Err(Errno::INTR);
        }
        self.fail(Fault::Interrupted, Errno::INTR)
    }

    /// One of several.
    fn one_of<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.state.random.lock().usize(..choices.len())]
    }
}

impl fmt::Debug for FaultySyscalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultySyscalls")
            .field("seed", &self.state.seed)
            .field("faults", &self.state.faults)
            .field("injected", &self.state.injected)
            .finish_non_exhaustive()
    }
}

impl Drop for FaultySyscalls {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("faulty system calls: seed {}, {:?}", self.state.seed, self.state.faults);
        }
    }
}
