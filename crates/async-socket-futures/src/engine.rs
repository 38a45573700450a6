//! The executor: a set of ports with a thread each, on which tasks run, and `block_on` for the calling thread.

use crate::budget::Running;
use crate::task::{self, JoinHandle, Tasks, spawn};
use crate::worker::Worker;
use completion_port::memory::TryArc;
use completion_port::{
    CompletionPort, CompletionPortBuilder, CreatePortError, Direction, Dispatch, Port, PortExt, Readiness, Source,
    Token, Turn,
};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// Runs futures on completion ports: N ports with a thread each. A task stays on its port.
///
/// A clone is another handle. When the last handle is dropped, the tasks that have not ended are aborted; use
/// [`shutdown`](Self::shutdown) to let them end. A handle may be dropped on any thread, also in a task.
///
/// ```
/// use async_socket_futures::Engine;
///
/// let engine = Engine::builder().threads(2).build()?;
/// let task = engine.spawn(async { 6 * 7 });
/// assert_eq!(engine.block_on(task)??, 42);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    workers: Vec<Arc<Worker>>,
    tasks: Arc<Tasks>,
    next: AtomicUsize,
}

impl Engine {
    /// Gives a builder for an engine with one thread.
    pub fn builder() -> EngineBuilder {
        EngineBuilder { threads: 1, port: CompletionPort::builder() }
    }

    /// Runs a future as a task on the next port. After [`shutdown`](Self::shutdown) the task ends at once as aborted.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let next = self.inner.next.fetch_add(1, Ordering::Relaxed);
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_002
        self.spawn_on(next, future)
    }

    /// Runs a future as a task on the port with this index, counted from 0. An index that is too high wraps around.
    pub fn spawn_on<F>(&self, port: usize, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_002
        spawn(&self.inner.workers[port % self.threads()], future)
    }

    /// Makes a future that is not `Send` on the port with this index, and runs it there.
    ///
    /// # Errors
    /// If the port accepts no work, because there is no memory or because other code has closed its descriptors.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_003
    pub fn spawn_local_on<F>(&self, port: usize, make: impl FnOnce() -> F + Send + 'static) -> io::Result<()>
    where
        F: Future<Output = ()> + 'static,
    {
        let worker = Arc::clone(&self.inner.workers[port % self.threads()]);
        let of = Arc::clone(&worker);
        let begin = move || drop(task::spawn_local(&of, make()));
        Ok(worker.port().post(begin)?)
    }

    /// Runs a future on the calling thread until it ends, while the tasks of the engine run on its threads.
    ///
    /// # Errors
    /// As for [`block_on`].
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, CreatePortError> {
        block_on(future)
    }

    /// The number of ports. Each has one thread.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.inner.workers.len()
    }

    /// The port with this index. An index that is too high wraps around.
    #[must_use]
    pub fn port(&self, port: usize) -> &CompletionPort {
        self.inner.workers[port % self.threads()].port()
    }

    /// Lets no task begin any more, waits until the tasks have ended, and aborts those that have not ended when the time
    /// is over. Returns how many were aborted. Must not be called in a task, which it would wait for.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_005
    pub fn shutdown(&self, within: Duration) -> usize {
        let tasks = &self.inner.tasks;
        tasks.close();
        let left = tasks.wait(Instant::now().checked_add(within));
        if left > 0 {
            tasks.abort_all();
            tasks.wait(None);
        }
        left
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("workers", &self.inner.workers).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_006
    fn drop(&mut self) {
        self.tasks.close();
        self.tasks.abort_all();
        for worker in &self.workers {
            // The tasks that were aborted run once more before this.
            let stopped = Arc::clone(worker);
            // A port that takes no work because it has failed runs no task either.
            drop(worker.port().post(move || stopped.stop()));
        }
    }
}

/// Builds an [`Engine`].
#[derive(Debug, Clone)]
#[must_use]
pub struct EngineBuilder {
    threads: usize,
    port: CompletionPortBuilder,
}

impl EngineBuilder {
    /// Sets the number of ports, each with one thread. The default is 1, and 0 counts as 1.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Sets what each port is made with: the name of its thread, its stack, busy polling.
    pub fn port(mut self, port: CompletionPortBuilder) -> Self {
        self.port = port;
        self
    }

    /// Creates the ports and their threads.
    ///
    /// # Errors
    /// [`CreatePortError`] of the first port that could not be created.
    pub fn build(self) -> Result<Engine, CreatePortError> {
        let tasks = Arc::<Tasks>::default();
        let worker = |_| {
            let port = self.port.clone().create()?;
            let started = Worker::start(port, Arc::clone(&tasks)).and_then(|worker| worker.settle().map(|()| worker));
            started.map_err(|source| CreatePortError { call: "malloc", source })
        };
        let workers = (0..self.threads).map(worker).collect::<Result<_, _>>()?;
        Ok(Engine { inner: Arc::new(Inner { workers, tasks, next: AtomicUsize::new(0) }) })
    }
}

/// Runs a future as a task on the port whose task the caller is in.
///
/// # Errors
/// [`NoEngine`] outside of tasks and of [`block_on`].
// Codes_SRS_ASYNC_SOCKET_FUTURES_01_003
pub fn spawn_local<F>(future: F) -> Result<JoinHandle<F::Output>, NoEngine>
where
    F: Future<Output: 'static> + 'static,
{
    let worker = Worker::current().ok_or(NoEngine)?;
    Ok(task::spawn_local(&worker, future))
}

/// The error of [`spawn_local`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not in a task of an engine and not in block_on")]
pub struct NoEngine;

/// Runs a future on the calling thread until it ends, on a port of its own that this thread drives. Streams and timers that
/// are made inside belong to that port, so nothing wakes the thread but the kernel.
///
/// Tasks that the future began with [`spawn_local`] run while it runs. Those that have not ended are dropped with it.
///
/// # Errors
/// [`CreatePortError`] if the port cannot be created, for instance because the process has no descriptor left.
///
/// ```
/// use async_socket_futures::{block_on, sleep};
/// use std::time::Duration;
///
/// let answer = block_on(async {
///     sleep(Duration::from_millis(5)).await;
///     42
/// })?;
/// assert_eq!(answer, 42);
/// # Ok::<_, completion_port::CreatePortError>(())
/// ```
// Codes_SRS_ASYNC_SOCKET_FUTURES_01_001
pub fn block_on<F: Future>(future: F) -> Result<F::Output, CreatePortError> {
    let no_memory = |source| CreatePortError { call: "malloc", source };
    let (port, mut driver) = CompletionPort::builder().create_driven()?;
    let worker = Worker::start(port.clone(), Arc::default()).map_err(no_memory)?;
    let main = Arc::new(Main { is_woken: AtomicBool::new(true), port: port.clone(), token: OnceLock::new() });
    let token = TryArc::try_new(Nothing).map_err(|_| io::ErrorKind::OutOfMemory.into());
    let token = token.and_then(|source| port.insert(source.into())).map_err(no_memory)?;
    let _first = main.token.set(token);
    let stopped = Stopped { worker: Arc::clone(&worker), port, token };
    let entered = worker.enter();
    let waker = Waker::from(Arc::clone(&main));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let output = loop {
        if main.is_woken.swap(false, Ordering::AcqRel) {
            let running = Running::begin();
            let polled = future.as_mut().poll(&mut context);
            drop(running);
            if let Poll::Ready(output) = polled {
                break output;
            }
        }
        // Nothing is left to wait for if it was woken meanwhile.
        let at_most = main.is_woken.load(Ordering::Acquire).then_some(Duration::ZERO);
        if driver.run_once(at_most) == Turn::Over {
            unreachable!("this function holds a reference to the port");
        }
    };
    drop(stopped);
    drop(entered);
    Ok(output)
}

/// Takes the worker of a `block_on` off its port, also if the future panics.
struct Stopped {
    worker: Arc<Worker>,
    port: CompletionPort,
    token: Token,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.port.forget(self.token);
        let tasks = self.worker.tasks();
        tasks.close();
        // This queues the tasks that wait, so that they are dropped.
        tasks.abort_all();
        self.worker.stop();
    }
}

/// Wakes the future of a `block_on`.
struct Main {
    is_woken: AtomicBool,
    port: CompletionPort,
    token: OnceLock<Token>,
}

impl Wake for Main {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel)
            && let Some(token) = self.token.get()
        {
            // Ends the wait of the driver.
            self.port.schedule(*token);
        }
    }
}

/// A source that exists to be scheduled.
struct Nothing;

impl Source for Nothing {
    fn on_ready(&self, _: Readiness) -> Dispatch {
        Dispatch::Idle
    }

    fn queued(&self, _: Direction) -> usize {
        0
    }
}
