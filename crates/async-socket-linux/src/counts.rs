//! The counts of one socket, if it counts.
//!
//! Invariants:
//! * A socket that counts leaves the fast paths, so that the others pay nothing. Each operation of it is counted once, by the
//!   thread that calls back, before the callback runs.
//! * Every field is a sum or a maximum of its own. A reader sees each of them grow, but not all at one moment.

use crate::metrics::{OperationCounts, SocketCounts};
use crate::socket_core::SocketCore;
use crate::span::SocketSpan;
use async_socket_api::EndReason;
use completion_port::Direction;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Default)]
pub(crate) struct Counts {
    is_on: AtomicBool,
    receives: Ends,
    sends: Ends,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    sends_queued: AtomicU64,
    sends_refused: AtomicU64,
    /// In nanoseconds.
    longest_callback: AtomicU64,
}

/// How the operations of one direction ended.
#[derive(Default)]
struct Ends {
    completed: AtomicU64,
    abandoned: AtomicU64,
    cancelled: AtomicU64,
    timed_out: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    pub(crate) fn switch(&self, on: bool) {
        self.is_on.store(on, Ordering::Relaxed);
    }

    pub(crate) fn note_received(&self, bytes: u32) {
        add(&self.bytes_received, bytes.into());
    }

    pub(crate) fn note_sent(&self, bytes: u32) {
        add(&self.bytes_sent, bytes.into());
    }

    pub(crate) fn note_queued_send(&self) {
        add(&self.sends_queued, 1);
    }

    pub(crate) fn note_refused_send(&self) {
        add(&self.sends_refused, 1);
    }

    pub(crate) fn get(&self) -> SocketCounts {
        SocketCounts {
            receives: self.receives.get(),
            sends: self.sends.get(),
            bytes_received: value(&self.bytes_received),
            bytes_sent: value(&self.bytes_sent),
            sends_queued: value(&self.sends_queued),
            sends_refused: value(&self.sends_refused),
            longest_callback: Duration::from_nanos(value(&self.longest_callback)),
        }
    }
}

impl Ends {
    fn note(&self, reason: EndReason) {
        let counter = match reason {
            EndReason::Completed => &self.completed,
            EndReason::Cancelled => &self.cancelled,
            EndReason::TimedOut => &self.timed_out,
            EndReason::PeerFinished | EndReason::PeerReset | EndReason::Closed | EndReason::StreamBroken => {
                &self.abandoned
            }
            _ => &self.failed,
        };
        add(counter, 1);
    }

    fn get(&self) -> OperationCounts {
        OperationCounts {
            completed: value(&self.completed),
            abandoned: value(&self.abandoned),
            cancelled: value(&self.cancelled),
            timed_out: value(&self.timed_out),
            failed: value(&self.failed),
        }
    }
}

/// Runs the callback of an operation that has ended: inside the socket's span if it has one, and counted if it counts.
// Codes_SRS_SOCKET_01_121, Codes_SRS_SOCKET_01_123, Codes_SRS_SOCKET_01_126
pub(crate) fn run_watched<S>(core: &SocketCore<S>, direction: Direction, reason: EndReason, callback: impl FnOnce()) {
    if !core.is_watched() {
        return callback();
    }
    let span = core.span();
    let _entered = span.as_deref().map(SocketSpan::enter);
    let Some(counts) = core.counts() else { return callback() };
    match direction {
        Direction::In => counts.receives.note(reason),
        Direction::Out => counts.sends.note(reason),
    }
    let _timed = Timed { longest: &counts.longest_callback, since: Instant::now() };
    callback();
}

/// Notes how long a callback took, also if it panics.
struct Timed<'a> {
    longest: &'a AtomicU64,
    since: Instant,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        let took = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if took > self.longest.load(Ordering::Relaxed) {
            self.longest.fetch_max(took, Ordering::Relaxed);
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
