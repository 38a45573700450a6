//! The operations of a direction that wait behind its slot. Few descriptors ever have one.

use crate::action::IntoOperation;
use std::collections::VecDeque;
use std::mem;

/// The most recycled operations that are kept for a descriptor with many operations under way.
const RECYCLED: usize = 32;

/// The most operations that an empty queue keeps room for.
const CAPACITY_KEPT: usize = 64;

/// The queue behind a slot.
///
/// Recycled operations and the queue's capacity are kept for the next operations. When the queue becomes empty, it keeps as
/// much as both of its last two fillings needed. That is everything if up to 32 operations are under way all the time, and
/// next to nothing after a burst.
pub(crate) struct Backlog<O> {
    queue: VecDeque<Numbered<O>>,
    recycled: Vec<O>,
    /// The most operations that waited since the queue was empty, and in the filling before that.
    peak: usize,
    last_peak: usize,
}

struct Numbered<O> {
    number: u64,
    operation: O,
}

impl<O> Backlog<O> {
    pub(crate) const fn new() -> Self {
        Self { queue: VecDeque::new(), recycled: Vec::new(), peak: 0, last_peak: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The operation comes back if there is no memory.
    pub(crate) fn push<N: IntoOperation<O>>(&mut self, number: u64, new: N) -> Result<(), N> {
        // Codes_SRS_COMPLETION_PORT_01_012
        if self.queue.try_reserve(1).is_err() {
            return Err(new);
        }
        let mut slot = self.recycled.pop();
        new.store_in(&mut slot)?;
        // Codes_SRS_COMPLETION_PORT_01_010
        self.queue.extend(slot.map(|operation| Numbered { number, operation }));
        self.peak = self.peak.max(self.queue.len());
        Ok(())
    }

    /// Puts the next operation into the slot, and keeps the recycled operation that was there. `None` if nothing waits.
    // Codes_SRS_COMPLETION_PORT_01_127
    pub(crate) fn pop(&mut self, slot: &mut Option<O>) -> Option<u64> {
        let Numbered { number, operation } = self.queue.pop_front()?;
        if let Some(recycled) = slot.replace(operation) {
            self.keep(recycled);
        }
        if self.queue.is_empty() {
            self.trim();
        }
        Some(number)
    }

    /// Takes an operation out of the middle of the queue. `None` if it is not there, and `Some(None)` if `may` forbids it.
    pub(crate) fn take(
        &mut self,
        mut is_wanted: impl FnMut(u64, &O) -> bool,
        may: impl FnOnce(&O) -> bool,
    ) -> Option<Option<O>> {
        let index = self.queue.iter().position(|waiting| is_wanted(waiting.number, &waiting.operation))?;
        if !may(&self.queue[index].operation) {
            return Some(None);
        }
        let taken = self.queue.remove(index).map(|waiting| waiting.operation);
        if self.queue.is_empty() {
            self.trim();
        }
        Some(taken)
    }

    /// Keeps a recycled operation, or frees it if there is no memory to keep it.
    fn keep(&mut self, recycled: O) {
        if self.recycled.len() < RECYCLED && self.recycled.try_reserve(1).is_ok() {
            self.recycled.push(recycled);
        }
    }

    /// Frees memory and allocates none. It does not shrink, because without memory even that would end the process.
    fn trim(&mut self) {
        let both = self.peak.min(self.last_peak);
        let kept = if both <= RECYCLED { both } else { 0 };
        self.recycled.truncate(kept);
        if self.recycled.is_empty() {
            self.recycled = Vec::new();
        }
        // A queue that grows has up to twice the room that it needs.
        if self.queue.capacity() > (2 * kept).clamp(4, CAPACITY_KEPT) {
            self.queue = VecDeque::new();
        }
        self.last_peak = mem::take(&mut self.peak);
    }
}
