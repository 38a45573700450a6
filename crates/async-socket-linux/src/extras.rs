//! What few sockets need. It is made when it is first needed, because an idle socket should be small.
//!
//! Invariant: `queued_bytes` is the sum of the unsent bytes of the sends that wait. It is raised before a send is queued,
//! and lowered before its callback runs.

use crate::counts::Counts;
use crate::idle::IdleCount;
use crate::span::SpanPlace;
use completion_port::memory::{TryArc, try_box};
use once_cell::race::OnceBox;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What few sockets need: the count of the idle time-out, and [`More`] that even fewer need.
#[derive(Default)]
pub(crate) struct Extras {
    more: OnceBox<[More; 1]>,
    pub(crate) idle: IdleCount,
}

pub(crate) struct More {
    /// The unsent bytes of sends that wait.
    queued_bytes: AtomicUsize,
    /// From this number of queued bytes on, sends are refused.
    high_water_mark: AtomicUsize,
    /// The earliest deadline of the operations that wait. The registration's timer comes then or earlier.
    armed: Mutex<Option<Instant>>,
    lent: Mutex<LentDescriptor>,
    /// Where the descriptor is left at the end, if the program wants it back.
    kept: OnceBox<[Kept; 1]>,
    /// Made when the socket is first asked to count.
    counts: OnceBox<[Counts; 1]>,
    /// Made when a subscriber first wants the socket's span.
    span: OnceBox<[SpanPlace; 1]>,
}

/// The descriptor in the hands of the program.
#[derive(Default)]
pub(crate) struct LentDescriptor {
    /// The number of closures that have it.
    pub(crate) borrowers: u32,
    /// The descriptor, if the socket was closed meanwhile. The last borrower closes it.
    pub(crate) left: Option<OwnedFd>,
    /// It is being given back to the program, so no further closure gets it.
    pub(crate) is_given_back: bool,
}

/// A place for a descriptor that the program takes back.
#[derive(Clone)]
pub(crate) struct Kept(TryArc<Mutex<Option<OwnedFd>>>);

impl Kept {
    pub(crate) fn try_new() -> Option<Self> {
        TryArc::try_new(Mutex::new(None)).ok().map(Self)
    }

    pub(crate) fn put(&self, descriptor: OwnedFd) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(descriptor);
    }

    pub(crate) fn take(&self) -> Option<OwnedFd> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Extras {
    pub(crate) fn more(&self) -> Option<&More> {
        self.more.get().map(|[more]| more)
    }

    /// `None` if there is no memory.
    pub(crate) fn make_more(&self) -> Option<&More> {
        let [more] = self.more.get_or_try_init(|| try_box(More::default())).ok()?;
        Some(more)
    }
}

impl Default for More {
    fn default() -> Self {
        Self {
            queued_bytes: AtomicUsize::new(0),
            high_water_mark: AtomicUsize::new(usize::MAX),
            armed: Mutex::new(None),
            lent: Mutex::default(),
            kept: OnceBox::new(),
            counts: OnceBox::new(),
            span: OnceBox::new(),
        }
    }
}

impl More {
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn high_water_mark(&self) -> Option<usize> {
        Some(self.high_water_mark.load(Ordering::Relaxed)).filter(|mark| *mark != usize::MAX)
    }

    pub(crate) fn set_high_water_mark(&self, mark: Option<usize>) {
        self.high_water_mark.store(mark.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Counts a send that is about to be queued. Returns the number of bytes that were queued before it.
    pub(crate) fn add_queued(&self, bytes: u32) -> usize {
        self.queued_bytes.fetch_add(bytes as usize, Ordering::Relaxed)
    }

    /// Bytes of a queued send went out, or will not go out any more.
    pub(crate) fn remove_queued(&self, bytes: u32) {
        self.queued_bytes.fetch_sub(bytes as usize, Ordering::Relaxed);
    }

    pub(crate) fn armed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lent(&self) -> MutexGuard<'_, LentDescriptor> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the descriptor in `kept` at the end. False if there is no memory, or another place.
    pub(crate) fn keep_descriptor_in(&self, kept: Kept) -> bool {
        try_box(kept).is_ok_and(|kept| self.kept.set(kept).is_ok())
    }

    pub(crate) fn counts(&self) -> Option<&Counts> {
        self.counts.get().map(|[counts]| counts)
    }

    /// `None` if there is no memory.
    pub(crate) fn make_counts(&self) -> Option<&Counts> {
        let [counts] = self.counts.get_or_try_init(|| try_box(Counts::default()).map_err(|_| ())).ok()?;
        Some(counts)
    }

    pub(crate) fn span_place(&self) -> Option<&SpanPlace> {
        self.span.get().map(|[place]| place)
    }

    /// `None` if there is no memory.
    pub(crate) fn make_span_place(&self) -> Option<&SpanPlace> {
        let [place] = self.span.get_or_try_init(|| try_box(SpanPlace::default())).ok()?;
        Some(place)
    }

    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.kept.get().map(|[kept]| kept)
    }
}
