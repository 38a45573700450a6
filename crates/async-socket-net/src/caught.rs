//! Runs the program's code: a panic is logged and ends here, so that it does not end the port's thread.

use completion_port::log_caught;
use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a callback of the program. `None` if it panicked.
// Codes_SRS_ASYNC_SOCKET_NET_01_080
pub(crate) fn run_caught<T>(what: &'static str, call: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => Some(value),
        Err(payload) => {
            log_caught(|| tracing::error!(what, message = message(&*payload), "panic caught"));
            // The payload's destructor is the program's code too.
            if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                mem::forget(another);
            }
            None
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
