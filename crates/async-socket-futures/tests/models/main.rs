//! Models of a stream's readiness, of the queue of tasks and of an abort, for loom: each runs in every order of steps, up to
//! a number of preemptions.
//!
//! `cargo xtask verify models` runs them. It then runs them again with each defect that can be injected, and they must find
//! it. The bytes are in real sockets, which are no steps of a model.

#![cfg(loom)]

mod abort;
mod queue;
mod ready;

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::task::{Wake, Waker};
use std::time::Instant;

/// Checks a model with at most `preemptions` preemptions, or `LOOM_MAX_PREEMPTIONS` if that is more.
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

/// The crate catches panics of tasks, and loom's own panics may come there too. None may pass unnoticed.
fn fail_at_the_first_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            // Written past the test harness's capture, which is never printed when the process ends here.
            let _ = writeln!(std::io::stderr(), "model failed: {panic}");
            std::process::exit(101);
        }));
    });
}

/// Counts wake-ups, which are no steps of a model.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::<Self>::default();
        (Arc::clone(&wakes), Waker::from(wakes))
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
