//! What a port has done so far, if it was created to count.
//!
//! Invariant: only the port's thread writes the counters, so a reader sees each grow, but not all at one moment.

use crate::sync::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts of a port since its creation. Read one after the other while the port works, so they may be off by a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PortMetrics {
    /// Rounds of the port's thread: calls of `epoll_wait(2)`, without those of busy polling.
    pub rounds: u64,
    /// Events that the kernel reported, wake-ups included.
    pub events: u64,
    /// The most events of one round. 512 is the limit, so more were waiting.
    pub most_events: u64,
    /// Rounds that a wake-up by another thread began.
    pub wake_ups: u64,
    /// Timers that have come.
    pub timers: u64,
    /// Timers that are armed at this moment: those of the program, of deadlines and of idle time-outs. One for each
    /// registration at most.
    pub timers_armed: u64,
    /// The longest time that the thread worked without asking for events: all callbacks of one round. Every descriptor and
    /// timer of the port waited that long.
    pub longest_round: Duration,
    /// The longest time that one callback on the thread took: an operation with its system call, a raw wait, posted work, or
    /// what one timer or the deadlines of one registration did at a time. Known when its round has ended. The tasks and
    /// connects of other crates count only where a timer runs them.
    pub longest_callback: Duration,
}

#[derive(Default)]
pub(crate) struct Counters {
    rounds: AtomicU64,
    events: AtomicU64,
    most_events: AtomicU64,
    wake_ups: AtomicU64,
    timers: AtomicU64,
    longest_round: AtomicU64,
    longest_callback: AtomicU64,
}

impl Counters {
    pub(crate) fn note_round(&self, events: usize, is_woken: bool) {
        let events = events as u64;
        add(&self.rounds, 1);
        add(&self.events, events);
        raise(&self.most_events, events);
        add(&self.wake_ups, is_woken.into());
    }

    pub(crate) fn note_timer(&self) {
        add(&self.timers, 1);
    }

    /// The thread has worked since then.
    pub(crate) fn note_work(&self, since: Instant, now: Instant) {
        raise(&self.longest_round, nanoseconds(now.saturating_duration_since(since)));
    }

    /// A callback has taken that long.
    pub(crate) fn note_callback(&self, took: Duration) {
        raise(&self.longest_callback, nanoseconds(took));
    }

    pub(crate) fn get(&self, timers_armed: u32) -> PortMetrics {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PortMetrics {
            rounds: of(&self.rounds),
            events: of(&self.events),
            most_events: of(&self.most_events),
            wake_ups: of(&self.wake_ups),
            timers: of(&self.timers),
            timers_armed: timers_armed.into(),
            longest_round: Duration::from_nanos(of(&self.longest_round)),
            longest_callback: Duration::from_nanos(of(&self.longest_callback)),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

// There is one writer, so no read-modify-write is needed.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

fn raise(counter: &AtomicU64, to: u64) {
    if to > counter.load(Ordering::Relaxed) {
        counter.store(to, Ordering::Relaxed);
    }
}
