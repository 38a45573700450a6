//! The queue of tasks that are to run.
//!
//! Invariant: while a task is in the queue, a round was asked for or runs. The thread that runs a round finds the queue
//! empty and notes the end of the round in one step. So no task stays behind.
#![allow(unreachable_pub, reason = "a model of `tests/models` checks it")]

use crate::sync::Mutex;
use std::collections::VecDeque;

/// Tasks that are to run, oldest first.
pub struct RunQueue<T>(Mutex<Queue<T>>);

struct Queue<T> {
    tasks: VecDeque<T>,
    /// A round was asked for, or runs.
    has_round: bool,
    /// Nothing runs any more.
    is_stopped: bool,
}

/// The outcome of [`RunQueue::push`].
pub enum Pushed<T> {
    /// The caller asks for a round.
    NeedsRound,
    /// A round was asked for, or runs.
    Queued,
    /// The queue was stopped.
    Refused(T),
}

impl<T> Default for RunQueue<T> {
    fn default() -> Self {
        Self(Mutex::new(Queue { tasks: VecDeque::new(), has_round: false, is_stopped: false }))
    }
}

impl<T> RunQueue<T> {
    /// Appends a task.
    pub fn push(&self, task: T) -> Pushed<T> {
        let mut queue = self.0.lock();
        if queue.is_stopped {
            return Pushed::Refused(task);
        }
        queue.tasks.push_back(task);
        if std::mem::replace(&mut queue.has_round, true) { Pushed::Queued } else { Pushed::NeedsRound }
    }

    /// Takes the oldest task. `None` ends the round.
    pub fn pop(&self) -> Option<T> {
        let mut queue = self.0.lock();
        let task = queue.tasks.pop_front();
        #[cfg(loom)]
        if crate::sync::injected_bug("ends the round late") {
            drop(queue);
            queue = self.0.lock();
        }
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_010
        queue.has_round = task.is_some();
        task
    }

    /// Refuses tasks from now on. Returns those that are queued.
    pub fn stop(&self) -> VecDeque<T> {
        let mut queue = self.0.lock();
        queue.is_stopped = true;
        std::mem::take(&mut queue.tasks)
    }
}
