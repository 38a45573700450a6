//! The tasks of one port: a queue that the port's thread runs.
//!
//! Invariants:
//! * A round runs a bounded number of tasks. So tasks that are always ready do not hold up events and timers.
//! * A task of a worker runs on the thread of its port, and on no other.

use crate::budget::Running;
use crate::queue::{Pushed, RunQueue};
use crate::sync::per_thread;
use crate::task::Tasks;
use async_task::Runnable;
use completion_port::memory::TryArc;
use completion_port::{CompletionPort, Direction, Dispatch, Port, PortExt, Readiness, Source, Token, log_caught};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

/// The most tasks that run before the port looks at its events again.
const TASKS_PER_ROUND: usize = 128;

thread_local! {
    /// The worker of the port that this thread serves.
    static CURRENT: RefCell<Option<Arc<Worker>>> = const { RefCell::new(None) };
}

per_thread! {
    /// A port calls an [`Io`](crate::io::Io) of this crate, which wakes a task. The task can run at once.
    static MAY_RUN_AT_ONCE: Cell<bool> = const { Cell::new(false) };
}

/// Wakes a task from an event of its port. If the task belongs to this port, it runs at once, inside this call. So the
/// usual event costs no queueing.
#[inline]
pub(crate) fn wake_in_dispatch(waker: &Waker) {
    /// Ends the permission, also if the waker panics.
    struct Ends;

    impl Drop for Ends {
        #[inline]
        fn drop(&mut self) {
            MAY_RUN_AT_ONCE.set(false);
        }
    }

    MAY_RUN_AT_ONCE.set(true);
    let _ends = Ends;
    waker.wake_by_ref();
}

pub(crate) struct Worker {
    port: CompletionPort,
    token: OnceLock<Token>,
    queue: RunQueue<Runnable>,
    tasks: Arc<Tasks>,
}

impl Worker {
    /// Puts a worker on a port.
    pub(crate) fn start(port: CompletionPort, tasks: Arc<Tasks>) -> io::Result<Arc<Self>> {
        let worker = Arc::new(Self { port, token: OnceLock::new(), queue: RunQueue::default(), tasks });
        let source = TryArc::try_new(RunsTasks(Arc::clone(&worker)));
        let source = source.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let token = worker.port.insert(source.into())?;
        let _first = worker.token.set(token);
        Ok(worker)
    }

    pub(crate) fn port(&self) -> &CompletionPort {
        &self.port
    }

    /// The tasks among which those of this worker count.
    pub(crate) fn tasks(&self) -> &Arc<Tasks> {
        &self.tasks
    }

    /// The worker whose task or future the calling thread is in.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Queues a task that was woken.
    #[inline]
    pub(crate) fn schedule(&self, task: Runnable) {
        if MAY_RUN_AT_ONCE.get() && self.port.is_current_thread() {
            // Tasks that this one wakes are queued.
            MAY_RUN_AT_ONCE.set(false);
            // Codes_SRS_ASYNC_SOCKET_FUTURES_01_013
            return run(task);
        }
        self.push(task);
    }

    fn push(&self, task: Runnable) {
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_036
        if self.port.is_inherited() {
            // Nothing runs it in the child of a fork. It ends as aborted.
            return drop(task);
        }
        match self.queue.push(task) {
            // Codes_SRS_ASYNC_SOCKET_FUTURES_01_010
            Pushed::NeedsRound => self.token.get().into_iter().for_each(|token| self.port.schedule(*token)),
            Pushed::Queued => {}
            // Ends the task as aborted.
            Pushed::Refused(task) => drop(task),
        }
    }

    /// Makes this the current worker of the thread of its port, for as long as that thread lives.
    pub(crate) fn settle(self: &Arc<Self>) -> io::Result<()> {
        let own = Arc::clone(self);
        Ok(self.port.post(move || drop(CURRENT.replace(Some(own))))?)
    }

    /// Makes this the current worker of the calling thread.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        Entered(CURRENT.replace(Some(Arc::clone(self))))
    }

    /// Takes the worker off its port, and drops the tasks that wait. Only on the thread of the port, because tasks need
    /// not be `Send`.
    pub(crate) fn stop(&self) {
        // The worker would keep its port alive through it.
        let is_own = |current: &Option<Arc<Self>>| current.as_ref().is_some_and(|it| std::ptr::eq(&**it, self));
        if CURRENT.with_borrow(is_own) {
            drop(CURRENT.take());
        }
        if let Some(token) = self.token.get() {
            self.port.forget(*token);
        }
        loop {
            // Dropped without the lock, because dropping a task runs foreign code, which may wake other tasks.
            let tasks = self.queue.stop();
            if tasks.is_empty() {
                return;
            }
            drop(tasks);
        }
    }

    fn run_round(&self) -> Dispatch {
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_011
        for _ in 0..TASKS_PER_ROUND {
            let Some(task) = self.queue.pop() else { return Dispatch::Idle };
            // A task catches its own panics. This one is of a waker or of a destructor.
            // Codes_SRS_ASYNC_SOCKET_FUTURES_01_020
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| run(task))) {
                log_caught(|| tracing::error!("a task panicked while it was dropped"));
                std::mem::forget(payload);
            }
        }
        Dispatch::Yielded
    }
}

#[inline]
fn run(task: Runnable) {
    let _running = Running::begin();
    task.run();
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("port", &self.port).finish_non_exhaustive()
    }
}

/// While it lives, a worker is the current one.
pub(crate) struct Entered(Option<Arc<Worker>>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = CURRENT.replace(self.0.take());
        // Dropped without the borrow.
        drop(before);
    }
}

/// The source through which the port runs the queue.
struct RunsTasks(Arc<Worker>);

impl Source for RunsTasks {
    fn on_ready(&self, _: Readiness) -> Dispatch {
        self.0.run_round()
    }

    fn queued(&self, _: Direction) -> usize {
        0
    }
}
