//! Looks names up on threads of its own, because the system's resolver blocks.
//!
//! Invariants:
//! * At most `threads` threads exist at a time, and at most `queue` look-ups wait.
//! * A look-up is in the queue or in the hands of one thread. Dropping its [`Lookup`] takes it out of the queue.
//! * No thread is ever joined: one that hangs in the system's resolver ends when that returns.

use crate::caught::run_caught;
use completion_port::memory::try_box;
use completion_port::process::{Generation, Inherited, PerProcess};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;
use thiserror::Error;

/// How long a thread without work waits for some before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// Why a name has no addresses.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The resolver failed: the name does not exist, or no server answers.
    #[error("the resolver failed")]
    Failed(#[source] io::Error),
    /// The resolver knows the name, but no address of it.
    #[error("the name has no addresses")]
    NoAddress,
    /// All threads of the [`Resolver`] are busy, and its queue is full.
    #[error("too many look-ups wait already")]
    Busy,
    /// No thread could be started, or there is no memory.
    #[error("no thread could be started for the look-up")]
    NoThread(#[source] io::Error),
    /// The [`Resolver`] was made before `fork`, in a parent of this process.
    #[error(transparent)]
    Inherited(#[from] Inherited),
}

/// A bounded pool of threads that look names up with the system's resolver (`getaddrinfo(3)`).
///
/// A clone is another handle to the same pool. Threads start when they are needed and end after 10 s without work, or
/// when the last handle is dropped, which waits for none of them.
///
/// A [`Connector`](crate::Connector) without a resolver uses the process's, which has 4 threads and a queue of 1024.
#[derive(Clone)]
pub struct Resolver {
    handle: Arc<Handle>,
}

/// What the handles count.
struct Handle {
    pool: Arc<Pool>,
}

struct Pool {
    look_up: Box<Function>,
    threads: usize,
    queue: usize,
    made_in: Generation,
    state: Mutex<State>,
    work: Condvar,
}

type Function = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    next: u64,
    threads: usize,
    idle: usize,
    is_closed: bool,
}

struct Job {
    number: u64,
    host: String,
    port: u16,
    done: Box<dyn Done>,
}

/// What gets the answer.
trait Done: Send {
    fn call(self: Box<Self>, answer: io::Result<Vec<SocketAddr>>);
}

// An array, because `try_box` makes a box of one.
impl<F: FnOnce(io::Result<Vec<SocketAddr>>) + Send> Done for [F; 1] {
    fn call(self: Box<Self>, answer: io::Result<Vec<SocketAddr>>) {
        let [done] = *self;
        done(answer);
    }
}

/// A look-up that waits or runs. Dropping it takes it out of the queue; one that runs goes on without effect on anyone
/// but its thread.
pub(crate) struct Lookup {
    pool: Arc<Pool>,
    number: u64,
}

impl Resolver {
    /// A pool of at most `threads` threads, with at most `queue` look-ups that wait for one. 0 threads count as 1.
    #[must_use]
    pub fn new(threads: usize, queue: usize) -> Self {
        Self::with(threads, queue, |host, port| (host, port).to_socket_addrs().map(Iterator::collect))
    }

    /// A pool that asks `look_up` in place of the system's resolver. It may block.
    #[must_use]
    pub fn with(
        threads: usize,
        queue: usize,
        look_up: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        let pool = Pool {
            look_up: Box::new(look_up),
            threads: threads.max(1),
            queue,
            made_in: Generation::current(),
            state: Mutex::default(),
            work: Condvar::new(),
        };
        Self { handle: Arc::new(Handle { pool: Arc::new(pool) }) }
    }

    /// The process's resolver.
    pub(crate) fn of_process() -> io::Result<Self> {
        static RESOLVER: PerProcess<OnceLock<Resolver>> = PerProcess::new();
        Ok(RESOLVER.get()?.get_or_init(|| Self::new(4, 1024)).clone())
    }

    /// Looks a name up. `done` runs on a thread of the pool, unless the [`Lookup`] is dropped before.
    pub(crate) fn look_up(
        &self,
        host: String,
        port: u16,
        done: impl FnOnce(io::Result<Vec<SocketAddr>>) + Send + 'static,
    ) -> Result<Lookup, ResolveError> {
        let pool = &self.handle.pool;
        if pool.made_in.is_inherited() {
            return Err(Inherited.into());
        }
        let no_memory = || ResolveError::NoThread(io::ErrorKind::OutOfMemory.into());
        let done = try_box(done).map_err(|_| no_memory())?;
        let mut state = pool.state();
        state.jobs.try_reserve(1).map_err(|_| no_memory())?;
        if state.jobs.len() >= state.idle {
            match pool.start_thread(&mut state) {
                Ok(()) => {}
                Err(error) if state.threads == 0 => return Err(ResolveError::NoThread(error)),
                Err(_) => {}
            }
        }
        // Codes_SRS_ASYNC_SOCKET_NET_01_033
        let has_thread = state.jobs.len() < state.idle;
        // Codes_SRS_ASYNC_SOCKET_NET_01_033
        if !has_thread && state.jobs.len() - state.idle >= pool.queue {
            return Err(ResolveError::Busy);
        }
        let number = state.next;
        // Codes_SRS_ASYNC_SOCKET_NET_01_034
        state.next += 1;
        // Codes_SRS_ASYNC_SOCKET_NET_01_032
        state.jobs.push_back(Job { number, host, port, done });
        drop(state);
        pool.work.notify_one();
        Ok(Lookup { pool: Arc::clone(pool), number })
    }
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread, unless there are enough. It counts as idle until it takes a job.
    fn start_thread(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        // Codes_SRS_ASYNC_SOCKET_NET_01_033
        if state.threads == self.threads {
            return Ok(());
        }
        let pool = Arc::clone(self);
        thread::Builder::new().name("resolver".to_owned()).spawn(move || pool.run())?;
        state.threads += 1;
        state.idle += 1;
        Ok(())
    }

    fn run(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                state.idle -= 1;
                drop(state);
                self.run_job(job);
                state = self.state();
                state.idle += 1;
                continue;
            }
            if state.is_closed {
                break;
            }
            let (locked, waited) = self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = locked;
            if waited.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        state.idle -= 1;
        state.threads -= 1;
    }

    fn run_job(&self, job: Job) {
        let looked_up = run_caught("look-up", || (self.look_up)(&job.host, job.port));
        let result = looked_up.unwrap_or_else(|| Err(io::Error::other("the look-up panicked")));
        run_caught("look-up", || job.done.call(result));
    }
}

impl Drop for Handle {
    // Codes_SRS_ASYNC_SOCKET_NET_01_035
    fn drop(&mut self) {
        if !self.pool.made_in.is_inherited() {
            self.pool.state().is_closed = true;
            self.pool.work.notify_all();
        }
    }
}

impl Drop for Lookup {
    // Codes_SRS_ASYNC_SOCKET_NET_01_034
    fn drop(&mut self) {
        if self.pool.made_in.is_inherited() {
            return;
        }
        let mut state = self.pool.state();
        let index = state.jobs.binary_search_by_key(&self.number, |job| job.number);
        let job = index.ok().and_then(|index| state.jobs.remove(index));
        // What the job holds is dropped without the lock.
        drop(state);
        drop(job);
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pool = &self.handle.pool;
        f.debug_struct("Resolver").field("threads", &pool.threads).field("queue", &pool.queue).finish_non_exhaustive()
    }
}
