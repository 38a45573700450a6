//! Tasks: futures that a worker runs to their end.
//!
//! Invariant: a task ends once: with the future's value, its panic, or because it was aborted. Its [`JoinHandle`] gets
//! exactly that.

use crate::abort::{Abort, Aborts};
use crate::worker::Worker;
use async_task::FallibleTask;
use completion_port::log_caught;
use pin_project_lite::pin_project;
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;
use thiserror::Error;

#[cfg(not(loom))]
static ABORTS: Aborts = Aborts::new();
#[cfg(loom)]
loom::lazy_static! { static ref ABORTS: Aborts = Aborts::default(); }

/// Why a task has no value.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It was aborted, by its handle or by the end of its engine.
    #[error("the task was aborted")]
    Aborted,
    /// It panicked.
    #[error("the task panicked: {0}")]
    Panicked(Panic),
}

/// What a task panicked with.
///
/// It is `Sync`, which a panic's payload need not be. So a [`JoinError`] goes through `?` into
/// `Box<dyn Error + Send + Sync>` and the like.
// Codes_SRS_ASYNC_SOCKET_FUTURES_01_022
pub struct Panic(Mutex<Box<dyn Any + Send>>);

impl Panic {
    /// The payload, for instance to go on with the panic through [`std::panic::resume_unwind`].
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_022
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Panic {
    /// The message of the panic.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_022
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(message(&self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

fn message(payload: &Box<dyn Any + Send>) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

type Outcome<T> = Result<T, JoinError>;

/// Waits for a task. Dropping the handle does not stop the task.
///
/// As a future it gives the task's value, or [`JoinError`] if the task panicked or was aborted.
#[must_use = "to let a task run on its own, drop its handle with `drop`"]
pub struct JoinHandle<T> {
    /// There until the handle is dropped.
    task: Option<FallibleTask<Outcome<T>>>,
    abort: Arc<Abort>,
}

impl<T> JoinHandle<T> {
    /// Ends the task. Its future is dropped on the task's own thread, when it is at an `await`, and the handle gets
    /// [`JoinError::Aborted`]. Does nothing to a task that has ended.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_021
    pub fn abort(&self) {
        self.abort.abort(&ABORTS);
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.as_ref().is_none_or(FallibleTask::is_finished)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Outcome<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome<T>> {
        let Some(task) = &mut self.task else { return Poll::Ready(Err(JoinError::Aborted)) };
        // A task that never ran to its end was dropped with its engine.
        let outcome = ready!(Pin::new(task).poll(context)).unwrap_or(Err(JoinError::Aborted));
        Poll::Ready(outcome)
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("is_finished", &self.is_finished()).finish_non_exhaustive()
    }
}

/// The tasks of an engine that have not ended.
#[derive(Default)]
pub(crate) struct Tasks {
    state: Mutex<Live>,
    ended: Condvar,
}

#[derive(Default)]
struct Live {
    tasks: Vec<Option<Arc<Abort>>>,
    free: Vec<usize>,
    count: usize,
    /// No task may begin any more.
    is_closed: bool,
}

impl Tasks {
    fn live(&self) -> MutexGuard<'_, Live> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a task that begins. `None` if the engine has ended.
    fn add(self: &Arc<Self>, abort: &Arc<Abort>) -> Option<Member> {
        let mut live = self.live();
        if live.is_closed {
            return None;
        }
        live.count += 1;
        let index = live.free.pop().unwrap_or(live.tasks.len());
        if index == live.tasks.len() {
            live.tasks.push(None);
        }
        live.tasks[index] = Some(Arc::clone(abort));
        Some(Member { tasks: Arc::clone(self), index })
    }

    /// Lets no task begin any more. Returns how many have not ended.
    pub(crate) fn close(&self) -> usize {
        let mut live = self.live();
        live.is_closed = true;
        live.count
    }

    pub(crate) fn abort_all(&self) {
        let all: Vec<_> = self.live().tasks.iter().flatten().cloned().collect();
        all.iter().for_each(|task| task.abort(&ABORTS));
    }

    /// Waits until all tasks have ended, but not after `until`. Returns how many have not ended.
    pub(crate) fn wait(&self, until: Option<Instant>) -> usize {
        let mut live = self.live();
        while live.count > 0 {
            live = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.ended.wait(live).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => break,
                Some(left) => self.ended.wait_timeout(live, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        live.count
    }
}

/// A task's place among those of its engine, until the task's future is dropped.
struct Member {
    tasks: Arc<Tasks>,
    index: usize,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut live = self.tasks.live();
        let abort = live.tasks[self.index].take();
        live.free.push(self.index);
        live.count -= 1;
        let is_last = live.count == 0;
        drop(live);
        // Its waker is foreign code.
        drop(abort);
        if is_last {
            self.tasks.ended.notify_all();
        }
    }
}

/// Notes the end of a task when it is dropped.
struct Ends(Arc<Abort>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end(&ABORTS);
    }
}

pin_project! {
    /// A task's future, which catches its panics and can be aborted. In this order, so that what each poll touches comes
    /// right behind the header of the task; the rest is for its end.
    #[repr(C)]
    struct Guarded<F> {
        #[pin]
        future: F,
        abort: Ends,
        member: Option<Member>,
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = Outcome<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_021
        if this.abort.0.is_wanted(&ABORTS) {
            return Poll::Ready(Err(JoinError::Aborted));
        }
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_020
        match catch_unwind(AssertUnwindSafe(|| this.future.poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => {
                log_caught(|| tracing::error!(message = message(&payload), "a task panicked"));
                Poll::Ready(Err(JoinError::Panicked(Panic(Mutex::new(payload)))))
            }
        }
    }
}

/// Begins a task that may be dropped on any thread.
pub(crate) fn spawn<F>(worker: &Arc<Worker>, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let (guarded, abort) = guard(worker, future);
    let of = Arc::clone(worker);
    let (runnable, task) = async_task::spawn(guarded, move |runnable| of.schedule(runnable));
    begin(&abort, runnable);
    JoinHandle { task: Some(task.fallible()), abort }
}

/// Begins a task on the calling thread, which is the thread of the worker's port.
pub(crate) fn spawn_local<F>(worker: &Arc<Worker>, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: 'static> + 'static,
{
    let (guarded, abort) = guard(worker, future);
    let of = Arc::clone(worker);
    let (runnable, task) = async_task::spawn_local(guarded, move |runnable| of.schedule(runnable));
    begin(&abort, runnable);
    JoinHandle { task: Some(task.fallible()), abort }
}

fn guard<F>(worker: &Worker, future: F) -> (Guarded<F>, Arc<Abort>) {
    let abort = Arc::<Abort>::default();
    // In the child of a fork, a thread of the parent may have held the lock.
    let member = if worker.port().is_inherited() { None } else { worker.tasks().add(&abort) };
    if member.is_none() {
        // It was begun after the end of its engine.
        abort.abort(&ABORTS);
    }
    (Guarded { future, abort: Ends(Arc::clone(&abort)), member }, abort)
}

fn begin(abort: &Abort, runnable: async_task::Runnable) {
    abort.begin(runnable.waker());
    runnable.schedule();
}
