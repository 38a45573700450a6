//! hyper's runtime: tasks of the current port, and timers.

use crate::engine::spawn_local;
use crate::time::{Sleep, sleep, sleep_until};
use completion_port::log_caught;
use hyper::rt::{Executor, Timer};
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

/// Runs hyper's tasks, for instance those of HTTP/2, on the port of the task that begins them.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        if spawn_local(future).is_err() {
            log_caught(|| tracing::error!("hyper's task is dropped, because it was begun outside of tasks"));
        }
    }
}

/// hyper's timers, on the port of the current task.
#[derive(Debug, Clone, Copy, Default)]
pub struct PortTimer;

impl hyper::rt::Sleep for Sleep {}

impl Timer for PortTimer {
    fn sleep(&self, delay: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(sleep(delay))
    }

    fn sleep_until(&self, at: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(sleep_until(at))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn hyper::rt::Sleep>>, at: Instant) {
        *sleep = self.sleep_until(at);
    }
}
