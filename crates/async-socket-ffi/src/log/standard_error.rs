//! Lines to standard error.

use super::line::Line;
use std::fmt::{self, Write as _};
use std::mem::MaybeUninit;
use std::ptr;

/// Writes a line with one `write(2)`, so that lines of several threads do not mix. Does nothing if standard error cannot be
/// written to.
// Codes_SRS_C_LIBRARY_01_011
pub(super) fn say(text: fmt::Arguments<'_>) {
    let mut line = Line::new();
    let _ = line.write_str("async_socket: ");
    let _ = line.write_fmt(text);
    line.end();
    without_sigpipe(|| {
        let bytes = line.as_bytes();
        // SAFETY: the pointer and the length are those of a slice.
        unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) };
    });
}

/// Runs `write` with `SIGPIPE` blocked and then taken, because the signal would end a C program that does not ignore it. A
/// signal that was pending before stays pending. `errno` is restored, because the program may be about to read it.
fn without_sigpipe(write: impl FnOnce()) {
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or_default();
    let (mut pipe, mut before, mut pending) = (empty_set(), empty_set(), empty_set());
    // SAFETY: a set and a signal.
    unsafe { libc::sigaddset(&raw mut pipe, libc::SIGPIPE) };
    // SAFETY: a set to write to.
    unsafe { libc::sigpending(&raw mut pending) };
    // SAFETY: a set and a signal.
    let was_pending = unsafe { libc::sigismember(&raw const pending, libc::SIGPIPE) } == 1;
    // SAFETY: two sets.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, &raw mut before) };
    write();
    if !was_pending {
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a set and a time; NULL leaves out the details of the signal.
        unsafe { libc::sigtimedwait(&raw const pipe, ptr::null_mut(), &raw const at_once) };
    }
    // SAFETY: the set that was there before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    // SAFETY: always succeeds.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: this thread's own `errno`, which is there as long as the thread.
    unsafe { *location = errno };
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: a set to write to.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: written just now.
    unsafe { set.assume_init() }
}
