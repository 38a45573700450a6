//! One direction of a registration: who may work on it, and its oldest operation.
//!
//! Invariants:
//! * Whoever works on the direction has [entered](Lane::try_enter) the lane: the port's thread for an attempt, a sender
//!   for a claim, others for as long as it takes to put an operation into the slot. Nobody waits to enter, but for the
//!   beginning and the end of the registration, which who leaves tells. Without the half of the descriptor that lies
//!   inside there is nothing to make a system call on.
//! * The slot holds the oldest operation, unless the port's thread has it in its hands. When it is done, its emptied room
//!   can lie there until the next is put in.

use crate::handler::{Handler, IntoOperation};
use crate::memory::TryArc;
use crate::sync::{AtomicU64, MutexGuard, Ordering, TryMutex, TryMutexGuard};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};

/// The number of no operation.
pub(crate) const NOTHING: u64 = u64::MAX;

/// Beside the number of an operation that waits for something else than its descriptor. Numbers below it can run.
pub(crate) const SUSPENDED: u64 = 1 << 63;

/// From here on a number is no operation's: it is `NOTHING`, or the [mark](crate::callback::mark) of the thread whose
/// claim is inside.
pub(crate) const NO_OPERATION: u64 = 3 << 62;

pub(crate) struct Lane<H: Handler> {
    work: TryMutex<Work<H>>,
    /// The number of the oldest operation, or one that is no operation's. Written by who is inside, read by all.
    oldest: AtomicU64,
}

/// What is inside.
pub(crate) struct Work<H: Handler> {
    /// None after a removal.
    pub(crate) half: Option<TryArc<H::Descriptor>>,
    pub(crate) slot: Option<H::Operation>,
}

/// The right of who has entered, to be given back through `Core::leave` or one like it. It does not leave its thread: what
/// there is to do then depends on whose call-back that is in.
pub(crate) struct Inside<'a, H: Handler> {
    work: TryMutexGuard<'a, Work<H>>,
    on_this_thread: PhantomData<MutexGuard<'a, ()>>,
}

impl<H: Handler> Deref for Inside<'_, H> {
    type Target = Work<H>;

    #[inline]
    fn deref(&self) -> &Work<H> {
        &self.work
    }
}

impl<H: Handler> DerefMut for Inside<'_, H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Work<H> {
        &mut self.work
    }
}

impl<H: Handler> Lane<H> {
    pub(crate) fn new(half: TryArc<H::Descriptor>) -> Self {
        Self { work: TryMutex::new(Work { half: Some(half), slot: None }), oldest: AtomicU64::new(NOTHING) }
    }

    /// Enters if nobody else is inside.
    #[inline]
    pub(crate) fn try_enter(&self) -> Option<Inside<'_, H>> {
        self.work.try_lock().map(|work| Inside { work, on_this_thread: PhantomData })
    }

    /// Whether the lane was made before a `fork`, in a parent of this process. It can then never be entered.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.work.is_inherited()
    }

    #[inline]
    pub(crate) fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Relaxed)
    }

    /// The half, in a child of `fork` that has inherited the lane; an error if a thread was at work on it at that moment.
    pub(crate) fn take_inherited(&self) -> Result<Option<TryArc<H::Descriptor>>, ()> {
        self.work.try_lock_inherited().map(|mut work| work.half.take()).ok_or(())
    }

    /// Whether there is an operation, as far as can be seen from outside.
    #[inline]
    pub(crate) fn has_operation(&self) -> bool {
        self.oldest() < NO_OPERATION
    }

    /// Says which operation is in the slot. For who is inside.
    #[inline]
    pub(crate) fn set_oldest(&self, number: u64) {
        self.oldest.store(number, Ordering::Relaxed);
    }

    /// Fills the slot. For who is inside.
    #[inline]
    pub(crate) fn fill<N: IntoOperation<H::Operation>>(
        &self,
        inside: &mut Inside<'_, H>,
        number: u64,
        new: N,
    ) -> Result<(), N> {
        new.put_into(&mut inside.slot)?;
        self.set_oldest(number);
        Ok(())
    }
}

/// What waits behind the slot: few descriptors ever have a second operation under way in one direction.
///
/// Emptied operations and the room of the queue are kept for the next operations. When the queue becomes empty, it keeps
/// what its last two fillings both needed: all of it if up to 32 operations are under way all the time, and next to
/// nothing after a burst.
pub(crate) struct Rest<O> {
    pub(crate) queue: VecDeque<Numbered<O>>,
    emptied: Vec<O>,
    /// How many operations waited at most since the queue was empty, and in the filling before that.
    peak: usize,
    last_peak: usize,
}

pub(crate) struct Numbered<O> {
    pub(crate) number: u64,
    pub(crate) operation: O,
}

/// How many emptied operations are kept for those who have many operations under way.
const KEPT: usize = 32;

/// How many operations an empty queue may have room for.
const ROOM_KEPT: usize = 64;

impl<O> Rest<O> {
    pub(crate) const fn new() -> Self {
        Self { queue: VecDeque::new(), emptied: Vec::new(), peak: 0, last_peak: 0 }
    }

    pub(crate) fn push<N: IntoOperation<O>>(&mut self, number: u64, new: N) -> Result<(), N> {
        if self.queue.try_reserve(1).is_err() {
            return Err(new);
        }
        let mut room = self.emptied.pop();
        new.put_into(&mut room)?;
        self.queue.extend(room.map(|operation| Numbered { number, operation }));
        self.peak = self.peak.max(self.queue.len());
        Ok(())
    }

    /// The next operation for the slot, whose emptied operation is kept. `None` if nothing waits.
    // Codes_SRS_COMPLETION_PORT_01_127
    pub(crate) fn pop(&mut self, slot: &mut Option<O>) -> Option<u64> {
        let Numbered { number, operation } = self.queue.pop_front()?;
        self.keep(slot.replace(operation));
        if self.queue.is_empty() {
            self.trim();
        }
        Some(number)
    }

    /// Keeps an emptied operation for the next one; without memory to keep it, it is freed.
    fn keep(&mut self, emptied: Option<O>) {
        if emptied.is_some() && self.emptied.len() < KEPT && self.emptied.try_reserve(1).is_ok() {
            self.emptied.extend(emptied);
        }
    }

    /// Nothing is allocated here, not even by shrinking: without memory that would end the process.
    fn trim(&mut self) {
        let both = self.peak.min(self.last_peak);
        let kept = if both <= KEPT { both } else { 0 };
        self.emptied.truncate(kept);
        if self.emptied.is_empty() {
            self.emptied = Vec::new();
        }
        // A queue that grows has up to twice the room that it needs.
        if self.queue.capacity() > (2 * kept).clamp(4, ROOM_KEPT) {
            self.queue = VecDeque::new();
        }
        self.last_peak = mem::take(&mut self.peak);
    }
}
