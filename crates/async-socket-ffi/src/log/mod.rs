//! What the library says about itself: to standard error if `ASYNC_SOCKET_LOG` asks for it, and to a function of the
//! program.
//!
//! A program logs in its roughest moments: at exit, after a thread's variables have been destroyed, with a standard error
//! that is a closed pipe. So a line is put together on the stack, written by one `write(2)`, and needs no memory, no lock
//! that is held while anybody waits, and no thread-local variable with a destructor.

mod line;
mod standard_error;
mod subscriber;

use crate::boundary::{Context, guarded};
use parking_lot::Mutex;
use std::cell::Cell;
use std::env;
use std::ffi::{OsStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tracing::Level;
use tracing::level_filters::LevelFilter;

/// How much a line matters. As a limit, each level takes in those above it.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ASYNC_SOCKET_LOG_LEVEL {
    ASYNC_SOCKET_LOG_LEVEL_INVALID = 0,
    ASYNC_SOCKET_LOG_ERROR = 1,
    ASYNC_SOCKET_LOG_WARN = 2,
    ASYNC_SOCKET_LOG_INFO = 3,
    ASYNC_SOCKET_LOG_DEBUG = 4,
    ASYNC_SOCKET_LOG_TRACE = 5,
}

use ASYNC_SOCKET_LOG_LEVEL::{
    ASYNC_SOCKET_LOG_DEBUG, ASYNC_SOCKET_LOG_ERROR, ASYNC_SOCKET_LOG_INFO, ASYNC_SOCKET_LOG_TRACE,
    ASYNC_SOCKET_LOG_WARN,
};

/// By the value that C gives.
const LEVELS: [(ASYNC_SOCKET_LOG_LEVEL, Level); 5] = [
    (ASYNC_SOCKET_LOG_ERROR, Level::ERROR),
    (ASYNC_SOCKET_LOG_WARN, Level::WARN),
    (ASYNC_SOCKET_LOG_INFO, Level::INFO),
    (ASYNC_SOCKET_LOG_DEBUG, Level::DEBUG),
    (ASYNC_SOCKET_LOG_TRACE, Level::TRACE),
];

/// Called with one line of the log: NUL-terminated UTF-8 without a line break, valid until the function returns.
pub type ON_ASYNC_SOCKET_LOG =
    Option<unsafe extern "C" fn(context: *mut c_void, level: ASYNC_SOCKET_LOG_LEVEL, line: *const c_char)>;

/// The function of the program.
struct Sink {
    on_log: unsafe extern "C" fn(*mut c_void, ASYNC_SOCKET_LOG_LEVEL, *const c_char),
    context: Context,
    process: u32,
}

// SAFETY: the program lets its function be called with this context on any thread.
unsafe impl Sync for Sink {}

/// Locked only to take or replace what is in it. Whoever calls the function holds a reference for as long. Nobody waits for
/// the lock without limit: the child of a `fork` can inherit it locked by a thread that does not exist there.
static SINK: Mutex<Option<Arc<Sink>>> = Mutex::new(None);

const LOCK_LIMIT: Duration = Duration::from_millis(100);

/// The most detailed level that is printed, and that the function gets; 0 is none, 5 is everything.
static PRINTED: AtomicUsize = AtomicUsize::new(0);
static HANDED_OVER: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is inside the program's function. It has no destructor, so it is there until the thread's end.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Has every line of `level` and of the levels above it handed to `on_log`, in place of what an earlier call set; with NULL,
/// to nothing, and `level` is ignored. Returns 0 on success, otherwise non-zero and nothing has changed: `level` is none,
/// or this was called inside `on_log`.
///
/// The function is called on any thread: the program's, inside calls of the library, and the ports'. Two threads can be in it
/// at once. It must not call the library, nor wait for a thread that does, because the library may hold a lock. What the
/// library would log inside it is left out. When this returns, no other thread is in the earlier function any more, so its
/// context can be freed.
///
/// Works before `platform_init`, and needs none. What `ASYNC_SOCKET_LOG` asks for is printed all the same.
///
/// # Safety
/// `on_log` is NULL, or may be called with `context` on any thread until it is replaced.
// Codes_SRS_C_LIBRARY_01_006, Codes_SRS_C_LIBRARY_01_007, Codes_SRS_C_LIBRARY_01_008
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_set_log(
    on_log: ON_ASYNC_SOCKET_LOG,
    context: *mut c_void,
    level: MaybeUninit<ASYNC_SOCKET_LOG_LEVEL>,
) -> c_int {
    guarded(1, || {
        if INSIDE.get() {
            return 1;
        }
        // SAFETY: an enum of C has the size of an int, and the caller has given a value.
        let level = unsafe { level.as_ptr().cast::<c_int>().read() };
        let (sink, limit) = match on_log {
            None => (None, 0),
            Some(on_log) => {
                let Some(limit) = usize::try_from(level).ok().filter(|limit| (1..=LEVELS.len()).contains(limit)) else {
                    return 1;
                };
                let context = Context::new(context);
                (Some(Arc::new(Sink { on_log, context, process: std::process::id() })), limit)
            }
        };
        if limit > 0 && !subscriber::install() {
            return 1;
        }
        let Some(mut current) = SINK.try_lock_for(LOCK_LIMIT) else { return 1 };
        let earlier = std::mem::replace(&mut *current, sink);
        drop(current);
        HANDED_OVER.store(limit, Ordering::Relaxed);
        subscriber::levels_changed();
        if let Some(earlier) = earlier {
            wait_until_left(&earlier);
        }
        0
    })
}

/// Waits until no other thread is in a function that has been replaced. In the child of a fork there is no other thread.
fn wait_until_left(sink: &Arc<Sink>) {
    let mut pause = Duration::from_micros(1);
    while Arc::strong_count(sink) > 1 && sink.process == std::process::id() {
        thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(1));
    }
}

/// Reads `ASYNC_SOCKET_LOG`, the first time: `error`, `warn`, `info`, `debug` or `trace` prints to standard error.
// Codes_SRS_C_LIBRARY_01_009
pub(crate) fn start() {
    // Not a `Once`, which a child of `fork` can inherit while another thread is in it.
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.swap(true, Ordering::Relaxed) {
        return;
    }
    let Some(value) = env::var_os("ASYNC_SOCKET_LOG").filter(|value| !value.is_empty()) else { return };
    match level_named(&value) {
        Some(LevelFilter::OFF) => {}
        Some(level) => {
            // A Rust program around us may have its own subscriber; then that one is used.
            if subscriber::install() {
                PRINTED.store(number(level), Ordering::Relaxed);
                subscriber::levels_changed();
            }
        }
        None => standard_error::say(format_args!(
            "ASYNC_SOCKET_LOG={} is no level, so nothing is logged; use off, error, warn, info, debug or trace",
            value.to_string_lossy()
        )),
    }
}

fn level_named(value: &OsStr) -> Option<LevelFilter> {
    value.to_str()?.trim().parse().ok()
}

fn number(level: LevelFilter) -> usize {
    let found = LEVELS.iter().position(|(_, it)| LevelFilter::from_level(*it) == level);
    found.map_or(0, |position| position + 1)
}

/// The most detailed level that anybody wants.
fn limit() -> LevelFilter {
    let wanted = PRINTED.load(Ordering::Relaxed).max(HANDED_OVER.load(Ordering::Relaxed));
    let level = wanted.checked_sub(1).and_then(|index| LEVELS.get(index));
    level.map_or(LevelFilter::OFF, |(_, level)| LevelFilter::from_level(*level))
}

/// Takes one line to whoever wants it.
fn deliver(level: Level, line: &line::Line) {
    let Some(index) = LEVELS.iter().position(|(_, it)| *it == level) else { return };
    if index < PRINTED.load(Ordering::Relaxed) {
        standard_error::say(format_args!("{level} {}", line.as_str()));
    }
    if index < HANDED_OVER.load(Ordering::Relaxed) {
        hand_over(LEVELS[index].0, line);
    }
}

// Codes_SRS_C_LIBRARY_01_012
fn hand_over(level: ASYNC_SOCKET_LOG_LEVEL, line: &line::Line) {
    if INSIDE.get() {
        return;
    }
    let Some(sink) = SINK.try_lock_for(LOCK_LIMIT).and_then(|sink| sink.clone()) else { return };
    INSIDE.set(true);
    // SAFETY: the program gave the function to be called so; the line ends with a NUL.
    unsafe { (sink.on_log)(sink.context.pointer(), level, line.as_c_str().as_ptr()) };
    INSIDE.set(false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_values_are_the_levels_in_any_case() {
        for (name, level) in [("off", 0), ("error", 1), ("WARN", 2), ("Info", 3), (" debug ", 4), ("trace", 5)] {
            assert_eq!(level_named(OsStr::new(name)).map(number), Some(level), "{name}");
        }
        assert_eq!(level_named(OsStr::new("loud")), None);
    }
}
