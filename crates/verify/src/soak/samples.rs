//! The quantities that are measured each second, and the test whether each is flat.

use crate::memory::allocated;
use hdrhistogram::Histogram;
use integration_tests::process::{descriptors, resident_kib, threads};
use parking_lot::Mutex;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts that all threads add to.
pub(super) struct Counters {
    pub(super) connections: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) half_closes: AtomicU64,
    pub(super) slow_readers: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) wrong: AtomicU64,
    exchanges: AtomicU64,
    /// The latencies of this second in microseconds.
    latencies: Mutex<Histogram<u64>>,
}

impl Default for Counters {
    fn default() -> Self {
        let count = AtomicU64::default;
        Self {
            connections: count(),
            resets: count(),
            half_closes: count(),
            slow_readers: count(),
            bytes: count(),
            wrong: count(),
            exchanges: count(),
            latencies: Mutex::new(Histogram::new_with_max(60_000_000, 3).expect("valid bounds")),
        }
    }
}

impl Counters {
    pub(super) fn exchanged(&self, took: Duration) {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        self.latencies.lock().saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn wrong(&self) -> u64 {
        self.wrong.load(Ordering::Relaxed)
    }

    pub(super) fn totals(&self) -> String {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "{} connections ({} reset), {} exchanges, {} MiB echoed and right, {} half-closes, {} slow readers",
            of(&self.connections),
            of(&self.resets),
            of(&self.exchanges),
            of(&self.bytes) >> 20,
            of(&self.half_closes),
            of(&self.slow_readers)
        )
    }
}

/// One second.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub(super) seconds: f64,
    pub(super) resident_mib: f64,
    pub(super) allocated_mib: f64,
    pub(super) descriptors: f64,
    pub(super) connections: f64,
    pub(super) threads: f64,
    pub(super) exchanges: f64,
    /// In milliseconds.
    pub(super) median: f64,
    pub(super) p99: f64,
}

#[allow(clippy::cast_precision_loss, reason = "for drawing and comparing")]
impl Sample {
    pub(super) fn take(at: Duration, connections: usize, counters: &Counters) -> Self {
        let mut latencies = counters.latencies.lock();
        let milliseconds = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
        let (median, p99, exchanges) = (milliseconds(0.5), milliseconds(0.99), latencies.len() as f64);
        latencies.reset();
        drop(latencies);
        Self {
            seconds: at.as_secs_f64(),
            resident_mib: resident_kib() as f64 / 1024.0,
            allocated_mib: allocated() as f64 / f64::from(1 << 20),
            descriptors: descriptors() as f64,
            connections: connections as f64,
            threads: threads() as f64,
            exchanges,
            median,
            p99,
        }
    }
}

/// Whether something stayed as it was.
#[derive(Debug)]
pub(super) struct Verdict {
    what: &'static str,
    early: f64,
    late: f64,
    allowed: f64,
    pub(super) is_flat: bool,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, early, late, allowed, is_flat } = self;
        let verdict = if *is_flat { "flat" } else { "GROWS" };
        write!(f, "{verdict:6} {what:22} median {early:10.3} early, {late:10.3} late, at most {allowed:.3} allowed")
    }
}

/// Everything that has to be flat. Each may grow by a part of itself and by an amount.
pub(super) fn verdicts(samples: &[Sample]) -> Vec<Verdict> {
    let verdict = |what, of: fn(&Sample) -> f64, part, amount| {
        flat(what, &samples.iter().map(of).collect::<Vec<_>>(), part, amount)
    };
    vec![
        verdict("resident MiB", |sample| sample.resident_mib, 0.05, 4.0),
        verdict("allocated MiB", |sample| sample.allocated_mib, 0.05, 1.0),
        verdict("descriptors", |sample| sample.descriptors, 0.02, 40.0),
        verdict("threads", |sample| sample.threads, 0.0, 1.0),
        verdict("median latency in ms", |sample| sample.median, 1.0, 1.0),
        verdict("99th percentile in ms", |sample| sample.p99, 1.0, 20.0),
    ]
}

/// Compares the median of the last fifth with that of the second fifth. The first fifth is the warm-up.
fn flat(what: &'static str, series: &[f64], part: f64, amount: f64) -> Verdict {
    let fifth = series.len() / 5;
    let early = median(&series[fifth..2 * fifth]);
    let late = median(&series[series.len() - fifth..]);
    let allowed = early * (1.0 + part) + amount;
    // A series that is too short to judge is not flat.
    Verdict { what, early, late, allowed, is_flat: fifth > 0 && late <= allowed }
}

fn median(series: &[f64]) -> f64 {
    let mut sorted = series.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_flat(value: impl Fn(f64) -> f64) -> bool {
        let series: Vec<f64> = (0..100).map(|at| value(f64::from(at))).collect();
        flat("", &series, 0.05, 1.0).is_flat
    }

    #[test]
    fn what_stays_is_flat_however_it_began_and_whatever_peaks_it_has() {
        assert!(is_flat(|_| 100.0));
        assert!(is_flat(|at| (at * 10.0).min(100.0)), "it warms up");
        assert!(is_flat(|at| 100.0 + (at * 7.0) % 5.0), "noise");
        assert!(is_flat(|at| if at % 10.0 == 0.0 { 900.0 } else { 100.0 }), "peaks");
        assert!(is_flat(|at| 200.0 - at), "it shrinks");
    }

    #[test]
    fn what_grows_slowly_or_late_or_in_steps_is_not() {
        assert!(!is_flat(|at| 100.0 + at * 0.15), "a little each time");
        assert!(!is_flat(|at| if at < 80.0 { 100.0 } else { 110.0 }), "late");
        assert!(!is_flat(|at| 100.0 + (at / 20.0).floor() * 4.0), "in steps");
        assert!(!is_flat(|at| 100.0 + at * 0.15 + (at * 7.0) % 3.0), "under noise");
    }

    #[test]
    fn too_few_samples_are_not_flat() {
        assert!(!flat("", &[1.0; 4], 1.0, 1.0).is_flat);
        assert!(flat("", &[1.0; 5], 1.0, 1.0).is_flat);
    }
}
