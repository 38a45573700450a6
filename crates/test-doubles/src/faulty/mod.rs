//! Real system calls made unreliable at random, from a seed.
//!
//! Invariant: a kernel could do everything that these calls do. A new edge follows an injected `EAGAIN`, as it follows
//! a real one: the descriptor is re-armed with `EPOLL_CTL_MOD`, so the kernel looks at its readiness again. An injected
//! error that ends a connection does end it, with `shutdown`. A receive gets that error only where the bytes end.

mod kinds;
mod port;
mod sockets;
mod watched;

pub use kinds::{Fault, Faults};

use async_socket_linux::sys::Errno;
use parking_lot::Mutex;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;
use watched::Watched;

/// The most calls that a storm of signals interrupts.
const LONGEST_STORM: i64 = 100;

/// The kernel's system calls with random faults; implements both
/// [`SocketSyscalls`](async_socket_linux::SocketSyscalls) and [`PortSyscalls`](completion_port::PortSyscalls).
///
/// Give clones of one value to the port and to its sockets. When a test panics, the seed is printed. The same seed
/// makes the same choices for the same sequence of calls. The value gets memory for its own use even on a thread
/// [without memory](crate::without_memory).
#[derive(Clone)]
pub struct FaultySyscalls {
    state: Arc<State>,
}

struct State {
    seed: u64,
    faults: Faults,
    random: Mutex<fastrand::Rng>,
    /// The number of calls that the storm of signals still interrupts. Below 0 if several threads saw its end.
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

    /// Faulty calls with a given seed, for instance that of an earlier run.
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

    /// The number of times that a fault was injected.
    #[must_use]
    pub fn injected(&self, fault: Fault) -> u64 {
        self.state.injected[fault as usize].load(Ordering::Relaxed)
    }

    /// The number of faults of all kinds that were injected.
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

    /// Decides whether a fault happens now, and counts it if so. For doubles of other system calls than these.
    #[must_use]
    pub fn happens(&self, fault: Fault) -> bool {
        let happens = self.wants(fault);
        if happens {
            self.count(fault);
        }
        happens
    }

    fn fail(&self, fault: Fault, errno: Errno) -> Result<(), Errno> {
        if self.happens(fault) { Err(errno) } else { Ok(()) }
    }

    /// `EINTR`, alone or as part of a storm. Each call of a storm is counted.
    ///
    /// # Errors
    /// `EINTR`, if the call is interrupted.
    pub fn interrupt(&self) -> Result<(), Errno> {
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

    /// `EAGAIN` although a watched descriptor is ready. A new event follows.
    ///
    /// # Errors
    /// `EAGAIN`, if that happens.
    pub fn again(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        if self.wants(Fault::Again) && self.state.watched.lock().rearm(fd) {
            self.count(Fault::Again);
            return Err(Errno::AGAIN);
        }
        Ok(())
    }

    /// A random one of several.
    ///
    /// # Panics
    /// If there are none.
    #[must_use]
    pub fn one_of<T: Copy>(&self, choices: &[T]) -> T {
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
