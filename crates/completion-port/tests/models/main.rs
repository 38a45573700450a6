//! Models of the concurrency core for loom, which runs each in every order of steps and with every value that the memory
//! model allows, up to a number of preemptions. They run the crate's own code: `src/sync` swaps what it is built with.
//!
//! `cargo xtask verify models` runs them, and again with each defect that the code can be given, which they must find.

#![cfg(loom)]
#![allow(unreachable_pub, reason = "modules of a test, not a crate")]

mod kernel;
mod one_shot;
mod port;
mod queued;
mod registration;
mod removal;
mod whole;
mod world;

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Instant;

/// So many preemptions that every order is among them. Without a bound, loom leaves out orders that it holds to be the same,
/// and what fences do it does not consider there.
const ANY: usize = 20;

/// Checks a model with at most so many preemptions, or `LOOM_MAX_PREEMPTIONS` if that is more.
fn check(name: &'static str, preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    fail_at_the_first_panic();
    let mut builder = loom::model::Builder::new();
    let bound = builder.preemption_bound.unwrap_or(0).max(preemptions);
    builder.preemption_bound = Some(bound);
    builder.max_branches = 10_000;
    let (count, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let counted = Arc::clone(&count);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!(
        "model {name}: {} interleavings, at most {bound} preemptions, {:.1?}",
        count.load(Ordering::Relaxed),
        start.elapsed()
    );
}

/// The crate catches panics in callbacks, and loom's own panics may come there too; none may pass unnoticed.
fn fail_at_the_first_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            // Past the capture of the test harness, which never prints what it has when the process ends here.
            let _ = writeln!(std::io::stderr(), "model failed: {panic}");
            std::process::exit(101);
        }));
    });
}
