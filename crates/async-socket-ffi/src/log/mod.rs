//! The library's log: to standard error if `ASYNC_SOCKET_LOG` asks for it, and to a function of the program.
//!
//! A program may log at exit, after a thread's variables have been destroyed, or with a standard error that is a closed
//! pipe. So a line is put together on the stack and written by one `write(2)`. That takes no memory, no thread-local
//! variable with a destructor, and no lock that is held while a thread waits.

mod levels;
mod line;
mod sink;
mod standard_error;
mod subscriber;

pub use levels::ASYNC_SOCKET_LOG_LEVEL;
pub(crate) use line::Line;
pub use sink::ON_ASYNC_SOCKET_LOG;

use crate::boundary::guarded;
use levels::{HANDED_OVER, LEVELS, PRINTED, level_named, number};
use sink::Sink;
use std::ffi::{CStr, OsStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::level_filters::LevelFilter;

/// Hands every line of `level`, and of the levels above it, to `on_log`, in place of the function of an earlier call. NULL
/// removes that function, and `level` is then ignored. Returns 0 on success. Otherwise returns non-zero, and nothing has
/// changed: `level` is no level, this was called inside `on_log`, or there is no memory.
///
/// The function is called on any thread: the program's, inside calls of the library, and the ports'. Two threads can be in it
/// at once. It must not call the library, nor wait for a thread that does, because the library may hold a lock. The library
/// leaves out what it would log inside the function. When this returns 0, no other thread is in the earlier function, so its
/// context can be freed.
///
/// Works before `platform_init`. What `ASYNC_SOCKET_LOG` asks for is printed as well.
///
/// # Safety
/// `on_log` is NULL, or may be called with `context` on any thread until it is replaced.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_set_log(
    on_log: ON_ASYNC_SOCKET_LOG,
    context: *mut c_void,
    level: MaybeUninit<ASYNC_SOCKET_LOG_LEVEL>,
) -> c_int {
    guarded(1, || {
        // Codes_SRS_C_LIBRARY_01_008
        if sink::is_inside() {
            return 1;
        }
        // SAFETY: an enum of C has the size of an int, and the caller has given a value.
        let level = unsafe { level.as_ptr().cast::<c_int>().read() };
        let (sink, limit) = match on_log {
            None => (None, 0),
            Some(on_log) => {
                // Codes_SRS_C_LIBRARY_01_008
                let Some(limit) = usize::try_from(level).ok().filter(|limit| (1..=LEVELS.len()).contains(limit)) else {
                    return 1;
                };
                // Codes_SRS_C_LIBRARY_01_013
                let Some(sink) = Sink::new(on_log, context) else { return 1 };
                (Some(sink), limit)
            }
        };
        if limit > 0 && !subscriber::install() {
            return 1;
        }
        // Codes_SRS_C_LIBRARY_01_006
        let Some(earlier) = sink::replace(sink) else { return 1 };
        // Codes_SRS_C_LIBRARY_01_006
        HANDED_OVER.store(limit, Ordering::Relaxed);
        subscriber::levels_changed();
        // Codes_SRS_C_LIBRARY_01_007
        if let Some(earlier) = earlier {
            sink::wait_until_left(&earlier);
        }
        0
    })
}

/// Reads `ASYNC_SOCKET_LOG`, once: `error`, `warn`, `info`, `debug` or `trace` prints to standard error.
// Codes_SRS_C_LIBRARY_01_009
pub(crate) fn start() {
    // Not a `Once`, because a child of `fork` can inherit it while another thread is in it.
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.swap(true, Ordering::Relaxed) {
        return;
    }
    let Some(value) = variable() else { return };
    match level_named(value) {
        Some(LevelFilter::OFF) => {}
        Some(level) => {
            // If a Rust program around the library has a subscriber of its own, that subscriber gets the events.
            if subscriber::install() {
                PRINTED.store(number(level), Ordering::Relaxed);
                subscriber::levels_changed();
            } else {
                // There may be memory the next time.
                STARTED.store(false, Ordering::Relaxed);
            }
        }
        None => standard_error::say(format_args!(
            "ASYNC_SOCKET_LOG={} is no level, so nothing is logged; use off, error, warn, info, debug or trace",
            value.display()
        )),
    }
}

/// The variable's value, unless it is empty. `std::env` would need memory for a copy of it.
fn variable() -> Option<&'static OsStr> {
    // SAFETY: the name ends with a NUL. A program that changes its environment does so while no other thread reads it.
    let value = unsafe { libc::getenv(c"ASYNC_SOCKET_LOG".as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: it ends with a NUL, and stays as long as the environment is not changed.
    let value = unsafe { CStr::from_ptr(value) };
    Some(OsStr::from_bytes(value.to_bytes())).filter(|value| !value.is_empty())
}
