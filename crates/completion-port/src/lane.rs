//! One direction of a registration: its lock, and its oldest operation.
//!
//! Invariants:
//! * A thread that works on the direction has [locked](Lane::try_lock) the lane: the port thread for an attempt, a sender for
//!   a claim, other threads for as long as it takes to put an operation into the slot. No thread waits for the lock, except at
//!   the beginning and the end of the registration; a thread that unlocks notifies those. A system call needs the descriptor,
//!   which lies under the lock.
//! * The slot holds the oldest operation, unless the port thread has taken it out to attempt it. When that is done, the
//!   recycled operation can lie in the slot until the next one is stored there.

use crate::action::IntoOperation;
use crate::memory::TryArc;
use crate::sync::{AtomicU64, MutexGuard, Ordering, TryMutex, TryMutexGuard};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// The number of no operation.
pub(crate) const NOTHING: u64 = u64::MAX;

/// Beside the number of an operation that waits for something else than its descriptor. Numbers below it can run.
pub(crate) const SUSPENDED: u64 = 1 << 63;

/// Numbers from here on are no operation's: `NOTHING`, and the [mark](crate::callback::mark) of a thread that holds a claim.
pub(crate) const NO_OPERATION: u64 = 3 << 62;

// The order is that in which an attempt touches the fields.
#[repr(C)]
pub(crate) struct Lane<D, O> {
    state: TryMutex<LaneState<D, O>>,
    /// The number of the oldest operation, or one that is no operation's. Written under the lock, read by all.
    oldest: AtomicU64,
}

/// What lies under the lock.
#[repr(C)]
pub(crate) struct LaneState<D, O> {
    /// None after a removal.
    pub(crate) descriptor: Option<TryArc<D>>,
    pub(crate) slot: Option<O>,
}

/// A locked lane, to be unlocked through `Core::unlock` or one like it. It does not leave its thread: what there is to do
/// then depends on the callbacks that the thread is in.
pub(crate) struct LaneGuard<'a, D, O> {
    state: TryMutexGuard<'a, LaneState<D, O>>,
    on_this_thread: PhantomData<MutexGuard<'a, ()>>,
}

impl<D, O> Deref for LaneGuard<'_, D, O> {
    type Target = LaneState<D, O>;

    #[inline]
    fn deref(&self) -> &LaneState<D, O> {
        &self.state
    }
}

impl<D, O> DerefMut for LaneGuard<'_, D, O> {
    #[inline]
    fn deref_mut(&mut self) -> &mut LaneState<D, O> {
        &mut self.state
    }
}

impl<D, O> Lane<D, O> {
    pub(crate) fn new(descriptor: TryArc<D>) -> Self {
        let state = LaneState { descriptor: Some(descriptor), slot: None };
        Self { state: TryMutex::new(state), oldest: AtomicU64::new(NOTHING) }
    }

    /// Locks the lane unless another thread has.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<LaneGuard<'_, D, O>> {
        self.state.try_lock().map(|state| LaneGuard { state, on_this_thread: PhantomData })
    }

    /// Whether the lane was made before a `fork`, in a parent of this process. It can then never be locked.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.state.is_inherited()
    }

    #[inline]
    pub(crate) fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Relaxed)
    }

    /// Takes the descriptor, in a child of `fork` that has inherited the lane. An error if a thread had locked the lane at the
    /// `fork`.
    pub(crate) fn take_inherited(&self) -> Result<Option<TryArc<D>>, ()> {
        self.state.try_lock_inherited().map(|mut state| state.descriptor.take()).ok_or(())
    }

    /// Whether there is an operation, as far as can be seen without the lock.
    #[inline]
    pub(crate) fn has_operation(&self) -> bool {
        self.oldest() < NO_OPERATION
    }

    /// Says which operation is in the slot. Only under the lock.
    #[inline]
    pub(crate) fn set_oldest(&self, number: u64) {
        self.oldest.store(number, Ordering::Relaxed);
    }

    /// Fills the slot. Only under the lock.
    #[inline]
    pub(crate) fn fill<N: IntoOperation<O>>(
        &self,
        locked: &mut LaneGuard<'_, D, O>,
        number: u64,
        new: N,
    ) -> Result<(), N> {
        new.store_in(&mut locked.slot)?;
        self.set_oldest(number);
        Ok(())
    }
}
