//! Runs models of concurrent code under loom.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Instant;

/// Checks a model with at most `preemptions` preemptions, or `LOOM_MAX_PREEMPTIONS` if that is more.
pub fn check_model(name: &'static str, preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
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

/// The crates catch panics in callbacks and tasks, and loom's own panics may come there too. None may pass unnoticed.
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
