//! The receives that found a pool empty, in that order.
//!
//! Invariant: a waiter keeps its place until it gets a buffer or leaves. A grant is the right to one buffer, which no other
//! receive may take. A waiter with a grant still has its place.

use std::collections::VecDeque;
use std::num::NonZeroU64;

/// The most waiters that an empty queue keeps room for.
const ROOM_KEPT: usize = 64;

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(NonZeroU64);

/// Resumes a receive that waits for a buffer.
pub trait Resume: Send {
    /// Lets the receive ask its [`PoolPlace`](crate::PoolPlace) again, later or on another thread. It is called with the
    /// pool's lock held, so it must not use the pool, and runs no code of the program: it schedules a source of a port,
    /// for instance.
    fn resume(&self);
}

/// What `try_box` makes a box of.
impl<R: Resume> Resume for [R; 1] {
    fn resume(&self) {
        self[0].resume();
    }
}

/// Resumes one waiter.
pub(crate) type Note = Box<dyn Resume>;

pub(crate) struct PoolWaiters {
    /// Sorted by ticket. A waiter that leaves is only marked, so that leaving is cheap.
    queue: VecDeque<PoolWaiter>,
    next: NonZeroU64,
    /// No waiter with a ticket below this waits for a grant.
    first_waiting: NonZeroU64,
    waiting: usize,
    granted: usize,
}

struct PoolWaiter {
    ticket: Ticket,
    granted: bool,
    /// `None` if it has left.
    note: Option<Note>,
}

impl Default for PoolWaiters {
    fn default() -> Self {
        let first = NonZeroU64::MIN;
        Self { queue: VecDeque::new(), next: first, first_waiting: first, waiting: 0, granted: 0 }
    }
}

impl PoolWaiters {
    /// How many waiters have no grant.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The number of waiters with a grant that they have not used yet.
    pub(crate) fn granted(&self) -> usize {
        self.granted
    }

    /// Appends a waiter. `None` if there is no memory.
    pub(crate) fn push(&mut self, note: impl FnOnce() -> Option<Note>) -> Option<Ticket> {
        self.queue.try_reserve(1).ok()?;
        let note = note()?;
        let ticket = Ticket(self.next);
        self.next = self.next.saturating_add(1);
        self.queue.push_back(PoolWaiter { ticket, granted: false, note: Some(note) });
        self.waiting += 1;
        Some(ticket)
    }

    /// Grants a buffer to the first waiter without a grant, and resumes it. False if there is none.
    pub(crate) fn wake_next(&mut self) -> bool {
        let start = self.queue.partition_point(|waiter| waiter.ticket.0 < self.first_waiting);
        let mut rest = self.queue.range_mut(start..);
        let Some(next) = rest.find(|waiter| waiter.note.is_some() && !waiter.granted) else {
            self.first_waiting = self.next;
            return false;
        };
        next.granted = true;
        self.first_waiting = next.ticket.0.saturating_add(1);
        self.waiting -= 1;
        self.granted += 1;
        if let Some(note) = &next.note {
            note.resume();
        }
        true
    }

    pub(crate) fn is_granted(&self, ticket: Ticket) -> bool {
        self.find(ticket).and_then(|index| self.queue.get(index)).is_some_and(|waiter| waiter.granted)
    }

    /// Takes back a grant for which there was no buffer. The waiter keeps its place and waits for another grant.
    pub(crate) fn take_grant_back(&mut self, ticket: Ticket) {
        if let Some(waiter) = self.find(ticket).and_then(|index| self.queue.get_mut(index))
            && waiter.granted
        {
            waiter.granted = false;
            self.granted -= 1;
            self.waiting += 1;
            self.first_waiting = self.first_waiting.min(ticket.0);
        }
    }

    /// Takes a waiter out. The caller drops its note without the pool's lock.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Note> {
        let waiter = self.find(ticket).and_then(|index| self.queue.get_mut(index))?;
        let note = waiter.note.take()?;
        if waiter.granted {
            self.granted -= 1;
        } else {
            self.waiting -= 1;
        }
        self.tidy();
        Some(note)
    }

    fn find(&self, ticket: Ticket) -> Option<usize> {
        self.queue.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()
    }

    /// Removes the waiters that are marked as left, before they are more than half of the queue.
    fn tidy(&mut self) {
        while self.queue.front().is_some_and(|waiter| waiter.note.is_none()) {
            self.queue.pop_front();
        }
        if self.queue.len() > 2 * (self.waiting + self.granted) {
            self.queue.retain(|waiter| waiter.note.is_some());
        }
        if self.queue.is_empty() && self.queue.capacity() > ROOM_KEPT {
            self.queue = VecDeque::new();
        }
    }
}
