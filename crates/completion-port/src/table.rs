//! The sources that a port reports to: the port thread's own table, and the changes that the thread has not applied yet.
//!
//! Invariants:
//! * Inserting a source reserves everything that removing and scheduling need: an entry in `slots`, room in the thread's
//!   table, and the links of the lists, which lie in these entries. So only inserting can run out of memory.
//! * The thread frees an index only after it has applied the removal. So among the pending changes of one index, the
//!   insertion comes first.

use crate::clock::{Epoch, Timers, ticks, until};
use crate::room::growth;
use crate::source::{SourceRef, Token};
use crate::wheel::Wheel;
use std::time::Instant;

/// In `next`: the entry is in no list.
const UNLISTED: u32 = u32::MAX;
/// In `next`: the entry is the last of its list.
const END: u32 = u32::MAX - 1;
/// The generation of an entry without a source.
const NONE: u32 = 0;
/// The eventfd's token has all bits set.
const LAST_GENERATION: u32 = u32::MAX >> 1;

/// Changes to the table that the port's thread has not applied yet, and the list of free indices.
pub(crate) struct PendingChanges {
    /// One for each index that was ever in use.
    slots: Vec<Slot>,
    inserted: Vec<Inserted>,
    /// A larger table, into which the thread moves its own.
    larger_table: Vec<Entry>,
    /// The capacity of the thread's table, or the capacity that it will have after the move.
    table_capacity: usize,
    /// Indices that were removed or scheduled.
    dirty: List,
    /// The first free index; the others follow by `next`.
    free: u32,
    generation: u32,
    /// How many insertions and removals wait.
    changes: usize,
    timers: Wheel,
    epoch: Epoch,
    /// The tick at which the thread looks at the timers by itself.
    next_look: u64,
}

struct Slot {
    generation: u32,
    /// The next index in `dirty` or in the free list. An index is never in both.
    next: u32,
}

struct Inserted {
    token: Token,
    source: SourceRef,
}

/// A queue of indices, whose links lie in the entries.
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

impl List {
    const EMPTY: Self = Self { first: END, last: END };
}

/// Entries that can be in one list.
trait Linked {
    fn next(&mut self) -> &mut u32;
}

impl Linked for Slot {
    fn next(&mut self) -> &mut u32 {
        &mut self.next
    }
}

impl Linked for Entry {
    #[inline]
    fn next(&mut self) -> &mut u32 {
        &mut self.next
    }
}

impl List {
    #[inline]
    fn is_empty(self) -> bool {
        self.first == END
    }

    /// False if the entry is in a list already.
    fn push_back<L: Linked>(&mut self, entries: &mut [L], index: u32) -> bool {
        let next = entries[index as usize].next();
        if *next != UNLISTED {
            return false;
        }
        *next = END;
        if self.is_empty() {
            self.first = index;
        } else {
            *entries[self.last as usize].next() = index;
        }
        self.last = index;
        true
    }

    fn pop_front<L: Linked>(&mut self, entries: &mut [L]) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        let index = self.first;
        self.first = std::mem::replace(entries[index as usize].next(), UNLISTED);
        Some(index)
    }
}

impl PendingChanges {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            inserted: Vec::new(),
            larger_table: Vec::new(),
            table_capacity: 0,
            dirty: List::EMPTY,
            free: END,
            generation: NONE,
            changes: 0,
            timers: Wheel::new(),
            epoch: Epoch::new(),
            next_look: u64::MAX,
        }
    }

    /// Gives a source a token. The source comes back if there is no memory.
    pub(crate) fn insert(&mut self, source: SourceRef) -> Result<Token, SourceRef> {
        // Codes_SRS_COMPLETION_PORT_01_135
        let Some(index) = self.free_index() else { return Err(source) };
        self.generation = if self.generation == LAST_GENERATION { 1 } else { self.generation + 1 };
        let token = Token::new(self.generation, index);
        self.slots[index as usize] = Slot { generation: self.generation, next: UNLISTED };
        self.inserted.push(Inserted { token, source });
        self.changes += 1;
        Ok(token)
    }

    /// A free index. Room for it in the thread's table and in `inserted` is reserved.
    fn free_index(&mut self) -> Option<u32> {
        self.inserted.try_reserve(1).ok()?;
        if self.free == END {
            self.free = self.new_index()?;
        }
        let index = self.free;
        self.free = self.slots[index as usize].next;
        Some(index)
    }

    fn new_index(&mut self) -> Option<u32> {
        let indices = self.slots.len();
        let index = u32::try_from(indices).ok().filter(|index| *index < END)?;
        if indices == self.slots.capacity() {
            self.slots.try_reserve_exact(growth(indices)).ok()?;
        }
        if indices >= self.table_capacity {
            let mut larger = Vec::new();
            larger.try_reserve_exact(indices + growth(indices)).ok()?;
            self.table_capacity = larger.capacity();
            self.larger_table = larger;
        }
        self.slots.push(Slot { generation: NONE, next: END });
        Some(index)
    }

    /// Notes that a source is removed, and disarms its timer. Returns how many changes wait, and the source if the thread
    /// has never seen it.
    pub(crate) fn remove(&mut self, token: Token) -> (usize, Option<SourceRef>) {
        let index = token.index();
        let Some(slot) = self.slot(token) else { return (self.changes, None) };
        slot.generation = NONE;
        let is_listed = slot.next != UNLISTED;
        self.timers.disarm(index);
        if !is_listed && self.inserted.last().is_some_and(|last| last.token == token) {
            self.slots[index as usize].next = std::mem::replace(&mut self.free, index);
            self.changes -= 1;
            return (self.changes, self.inserted.pop().map(|last| last.source));
        }
        self.dirty.push_back(&mut self.slots, index);
        self.changes += 1;
        (self.changes, None)
    }

    /// Arms or moves the timer of a source. Returns whether the thread has to look at the timers earlier than it would by
    /// itself. `None` if there is no memory.
    // Codes_SRS_COMPLETION_PORT_01_165
    pub(crate) fn arm(&mut self, token: Token, at: Instant, now: impl FnOnce() -> Instant) -> Option<bool> {
        if self.slot(token).is_none() {
            return Some(false);
        }
        if self.timers.is_idle() {
            let now = now();
            self.epoch.begin(now);
            self.timers.turn_to(self.epoch.tick_until(now));
        }
        let tick = self.epoch.tick_from(at);
        if !self.timers.arm(token.index(), tick) {
            return None;
        }
        let is_earlier = self.is_before_next_look(tick);
        self.next_look = self.next_look.min(tick);
        Some(is_earlier)
    }

    fn is_before_next_look(&self, tick: u64) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("a timer wakes nobody") {
            return false;
        }
        tick < self.next_look
    }

    /// Arms a timer again that has come, unless another thread has armed it for an earlier time meanwhile.
    pub(crate) fn arm_again(&mut self, token: Token, at: Instant, now: impl FnOnce() -> Instant) {
        let tick = self.epoch.tick_from(at);
        if self.timers.armed_for(token.index()).is_none_or(|armed| tick < armed) {
            // The entry of the timer is there, so this needs no memory.
            let _ = self.arm(token, at, now);
        }
    }

    pub(crate) fn disarm(&mut self, token: Token) {
        if self.slot(token).is_some() {
            self.timers.disarm(token.index());
        }
    }

    /// Whether a timer is armed.
    pub(crate) fn has_timers(&self) -> bool {
        !self.timers.is_idle()
    }

    /// Turns the timers' wheel.
    pub(crate) fn look_at_timers(&mut self, now: impl FnOnce() -> Instant) -> Timers {
        self.next_look = u64::MAX;
        if self.timers.is_idle() {
            return Timers::None;
        }
        let since = self.epoch.since(now());
        let now = ticks(since);
        let next = self.timers.turn_to(now);
        if self.timers.has_due() {
            // The thread looks again before it sleeps.
            self.next_look = 0;
            return Timers::Due;
        }
        let Some(next) = next else { return Timers::None };
        self.next_look = next;
        Timers::Next { left: until(next, since), now }
    }

    pub(crate) fn armed_timers(&self) -> u32 {
        self.timers.armed()
    }

    /// Takes a timer out that is due.
    pub(crate) fn pop_due_timer(&mut self) -> Option<Token> {
        let index = self.timers.pop_due()?;
        // Removing a source disarms its timer, so the index still belongs to the timer's source.
        Some(Token::new(self.slots[index as usize].generation, index))
    }

    /// Notes that a source wants to be called. Returns whether the source is in the table.
    // Codes_SRS_COMPLETION_PORT_01_136
    pub(crate) fn schedule(&mut self, token: Token) -> bool {
        let is_there = self.slot(token).is_some();
        if is_there {
            self.dirty.push_back(&mut self.slots, token.index());
        }
        is_there
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(token.index() as usize)?;
        (slot.generation == token.generation() && slot.generation != NONE).then_some(slot)
    }
}

/// The port thread's own state: its table, and the sources to be called without an event.
pub(crate) struct Table {
    entries: Vec<Entry>,
    /// Sources that were scheduled, which go first, and sources that have yielded.
    scheduled: List,
    yielded: List,
    queued: usize,
    /// The number of sources of both lists still to be called in this round. A source that yields in this round is
    /// called in the next.
    pub(crate) remaining: usize,
    /// Sources were inserted since [`take_has_new`](Self::take_has_new).
    has_new: bool,
}

struct Entry {
    source: Option<SourceRef>,
    generation: u32,
    /// The next index in one of the two lists. It outlives the source. A successor that is called once too often finds nothing to
    /// do.
    next: u32,
}

impl Entry {
    #[inline]
    fn is_of(&self, token: Token) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("no generation") {
            return true;
        }
        self.generation == token.generation()
    }
}

/// Removed sources that the thread has to drop without a lock, because one may be the last reference to a user's handler.
pub(crate) type Removed = [Option<SourceRef>; 4];

impl Table {
    pub(crate) const fn new() -> Self {
        let (scheduled, yielded) = (List::EMPTY, List::EMPTY);
        Self { entries: Vec::new(), scheduled, yielded, queued: 0, remaining: 0, has_new: false }
    }

    // Codes_SRS_COMPLETION_PORT_01_053
    #[inline]
    pub(crate) fn source_at(&self, token: Token) -> Option<&SourceRef> {
        let entry = self.entries.get(token.index() as usize)?;
        if entry.is_of(token) { entry.source.as_ref() } else { None }
    }

    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(END)
    }

    #[inline]
    pub(crate) fn source(&self, index: u32) -> Option<&SourceRef> {
        self.entries.get(index as usize)?.source.as_ref()
    }

    #[inline]
    pub(crate) fn has_queued(&self) -> bool {
        self.queued > 0
    }

    /// Begins a round, which calls every source that is in a list now.
    pub(crate) fn begin_round(&mut self) {
        self.remaining = self.queued;
    }

    /// Notes that a source has yielded, unless it is in a list already.
    ///
    /// Not inlined, because in the loop over the events it would cost every event five more instructions.
    #[cold]
    #[inline(never)]
    pub(crate) fn enqueue(&mut self, index: u32) {
        self.queued += usize::from(self.yielded.push_back(&mut self.entries, index));
    }

    /// The next index of this round.
    pub(crate) fn next_of_round(&mut self) -> Option<u32> {
        self.remaining = self.remaining.checked_sub(1)?;
        let entries = &mut self.entries;
        let index = self.scheduled.pop_front(entries).or_else(|| self.yielded.pop_front(entries))?;
        self.queued -= 1;
        Some(index)
    }

    /// Applies changes, until there is none or `removed` is full. Returns whether there is none. Allocates nothing and runs no
    /// foreign code.
    pub(crate) fn apply(&mut self, pending: &mut PendingChanges, removed: &mut Removed) -> bool {
        self.insert_all(pending);
        for place in removed {
            while let Some(index) = pending.dirty.pop_front(&mut pending.slots) {
                let slot = &mut pending.slots[index as usize];
                let entry = &mut self.entries[index as usize];
                if slot.generation == NONE {
                    entry.generation = NONE;
                    slot.next = std::mem::replace(&mut pending.free, index);
                    *place = entry.source.take();
                    break;
                }
                let listed = self.scheduled.push_back(&mut self.entries, index);
                self.queued += usize::from(listed);
                self.remaining += usize::from(listed);
            }
        }
        let is_done = pending.dirty.is_empty();
        if is_done {
            pending.changes = 0;
        }
        is_done
    }

    fn insert_all(&mut self, pending: &mut PendingChanges) {
        if pending.inserted.is_empty() {
            return;
        }
        if pending.larger_table.capacity() > self.entries.capacity() {
            let mut larger = std::mem::take(&mut pending.larger_table);
            larger.append(&mut self.entries);
            self.entries = larger;
        }
        self.has_new = true;
        // Freed rather than kept, because it is as large as the largest burst of insertions.
        for Inserted { token, source } in std::mem::take(&mut pending.inserted) {
            let index = token.index() as usize;
            while self.entries.len() <= index {
                self.entries.push(Entry { source: None, generation: NONE, next: UNLISTED });
            }
            let entry = &mut self.entries[index];
            entry.generation = token.generation();
            entry.source = Some(source);
        }
    }

    /// Whether sources were inserted since the last call.
    pub(crate) fn take_has_new(&mut self) -> bool {
        std::mem::take(&mut self.has_new)
    }

    /// Takes the last source out, at the end of the port.
    pub(crate) fn pop(&mut self) -> Option<Option<SourceRef>> {
        self.entries.pop().map(|entry| entry.source)
    }
}
