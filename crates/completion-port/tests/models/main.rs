//! Models of the concurrency core for loom, which runs each in every order of steps and with every value that the memory
//! model allows, up to a number of preemptions. They run the crate's own code: `src/sync` swaps what it is built with.
//!
//! `cargo xtask verify models` runs them, and again with each defect that the code can be given, which they must find.

#![cfg(loom)]
#![allow(unreachable_pub, reason = "modules of a test, not a crate")]

mod kernel;
mod port;
mod registration;
mod whole;
mod world;

use std::io::Write as _;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// Checks a model with at most so many preemptions, or with `LOOM_MAX_PREEMPTIONS`; with any number if `None`.
fn check(name: &'static str, preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    fail_at_the_first_panic();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.max_branches = 10_000;
    let start = std::time::Instant::now();
    COUNT.store(0, Ordering::Relaxed);
    builder.check(move || {
        COUNT.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let (count, bound, took) = (COUNT.load(Ordering::Relaxed), builder.preemption_bound, start.elapsed());
    println!("model {name}: {count} interleavings, preemptions {bound:?}, {took:.1?}");
}

/// The crate catches panics in call-backs, and loom's own panics may come there too; none may pass unnoticed.
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
