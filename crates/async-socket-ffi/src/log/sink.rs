//! The program's log function.

use super::levels::ASYNC_SOCKET_LOG_LEVEL;
use super::line::Line;
use crate::boundary::Context;
use completion_port::memory::{Reserved, TryArc};
use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// Called with one line of the log: NUL-terminated UTF-8 without a line break, valid until the function returns.
pub type ON_ASYNC_SOCKET_LOG =
    Option<unsafe extern "C" fn(context: *mut c_void, level: ASYNC_SOCKET_LOG_LEVEL, line: *const c_char)>;

/// A log function, its context, and the process that set it.
pub(super) struct Sink {
    on_log: unsafe extern "C" fn(*mut c_void, ASYNC_SOCKET_LOG_LEVEL, *const c_char),
    context: Context,
    process: u32,
}

// SAFETY: the program allows its function to be called with this context on any thread.
unsafe impl Sync for Sink {}

/// A thread holds the lock only to copy or replace the reference. A thread that calls the function has a reference of
/// its own.
static SINK: Mutex<Option<TryArc<Sink>>> = Mutex::new(None);

thread_local! {
    /// Whether this thread is inside the program's function. It has no destructor, so it exists until the thread ends.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn is_inside() -> bool {
    INSIDE.get()
}

impl Sink {
    /// `None` if there is no memory.
    pub(super) fn new(
        on_log: unsafe extern "C" fn(*mut c_void, ASYNC_SOCKET_LOG_LEVEL, *const c_char),
        context: *mut c_void,
    ) -> Option<TryArc<Self>> {
        let sink = Self { on_log, context: Context::new(context), process: std::process::id() };
        Some(Reserved::try_new()?.fill(sink))
    }
}

/// Replaces the function. Returns the earlier one, or `None` if the lock could not be taken in time.
pub(super) fn replace(sink: Option<TryArc<Sink>>) -> Option<Option<TryArc<Sink>>> {
    lock().map(|mut current| std::mem::replace(&mut *current, sink))
}

/// Waits until no other thread is in a function that has been replaced. The child of a `fork` has no other thread.
pub(super) fn wait_until_left(sink: &TryArc<Sink>) {
    let mut pause = Duration::from_micros(1);
    while TryArc::references(sink) > 1 && sink.process == std::process::id() {
        thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(1));
    }
}

// Codes_SRS_C_LIBRARY_01_012
pub(super) fn hand_over(level: ASYNC_SOCKET_LOG_LEVEL, line: &Line) {
    if is_inside() {
        return;
    }
    let Some(sink) = lock().and_then(|sink| sink.clone()) else { return };
    INSIDE.set(true);
    // SAFETY: the program allows this call, and the line ends with a NUL.
    unsafe { (sink.on_log)(sink.context.pointer(), level, line.as_c_str().as_ptr()) };
    INSIDE.set(false);
}

/// Tries to take the lock for a limited time, because the child of a `fork` can inherit it locked by a thread that does
/// not exist there. It does not block on the lock, because that may allocate.
fn lock() -> Option<MutexGuard<'static, Option<TryArc<Sink>>>> {
    const LIMIT: Duration = Duration::from_millis(100);
    const PAUSE: Duration = Duration::from_micros(20);
    let mut began = None;
    loop {
        match SINK.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
        if began.get_or_insert_with(Instant::now).elapsed() >= LIMIT {
            return None;
        }
        thread::sleep(PAUSE);
    }
}
