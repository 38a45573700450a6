//! `injected-bug race|leak|use-after-free`: a program with that bug. `cargo xtask verify` runs it first, to show that a
//! sanitizer would report such a bug.

use std::env;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::thread;

fn main() -> ExitCode {
    match env::args().nth(1).as_deref() {
        Some("race") => race(),
        Some("leak") => leak(),
        Some("use-after-free") => use_after_free(),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

/// Two threads write one variable, and nothing orders them.
fn race() {
    static mut SHARED: u64 = 0;
    static THERE: AtomicU8 = AtomicU8::new(0);
    let write = || {
        // The threads wait for each other. Otherwise the first could end before the second begins, and the standard
        // library might then order the two. `Relaxed` adds no order.
        THERE.fetch_add(1, Relaxed);
        while THERE.load(Relaxed) < 2 {
            thread::yield_now();
        }
        for value in 0..1000 {
            // SAFETY: none; this is the defect.
            unsafe { (&raw mut SHARED).write_volatile(value) };
        }
    };
    thread::scope(|scope| {
        scope.spawn(write);
        scope.spawn(write);
    });
}

/// Memory that nothing points to any more.
fn leak() {
    // On a thread that has ended, because a stale copy of the pointer on a live stack could hide the leak.
    let leaks = || black_box(Box::leak(black_box(Box::new([7_u8; 4321])))[0]);
    let _ = thread::spawn(leaks).join();
}

/// Reads memory that was given back.
fn use_after_free() {
    let pointer = Box::into_raw(Box::new(7_u64));
    // SAFETY: it came from `Box::into_raw`.
    drop(unsafe { Box::from_raw(black_box(pointer)) });
    // SAFETY: none; this is the defect.
    black_box(unsafe { black_box(pointer).read_volatile() });
}
