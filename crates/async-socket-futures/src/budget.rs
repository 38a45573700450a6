//! A limit to what a task does before the others have their turn.
//!
//! A stream that always has data would keep its task running for ever. So each operation that is ready at once takes from
//! a budget. When it is used up, the operation says `Pending` and wakes its task, which then runs after the others.
//! Futures that other executors poll have no budget.

use crate::sync::per_thread;
use std::cell::Cell;
use std::task::{Context, Poll};

/// The number of operations that a task may complete in one run.
const OPERATIONS_PER_RUN: u8 = 128;

/// Outside of tasks.
const NO_LIMIT: u8 = u8::MAX;

per_thread! {
    static LEFT: Cell<u8> = const { Cell::new(NO_LIMIT) };
}

/// While it lives, this thread is in a task.
pub(crate) struct Running;

impl Running {
    #[inline]
    pub(crate) fn begin() -> Self {
        LEFT.set(OPERATIONS_PER_RUN);
        Self
    }
}

impl Drop for Running {
    #[inline]
    fn drop(&mut self) {
        LEFT.set(NO_LIMIT);
    }
}

/// Takes one operation from the budget.
// Codes_SRS_ASYNC_SOCKET_FUTURES_01_012
#[inline]
pub(crate) fn poll_proceed(context: &Context<'_>) -> Poll<()> {
    match LEFT.get() {
        NO_LIMIT => Poll::Ready(()),
        0 => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
        left => {
            LEFT.set(left - 1);
            Poll::Ready(())
        }
    }
}
