//! One direction of a registration: its lock, and its oldest operation.
//!
//! Invariants:
//! * A thread works on the direction only while it has [locked](Lane::try_lock) the lane. The port thread locks it for an
//!   attempt, a sender for a claim, other threads to put an operation into the slot. A thread waits for the lock only at
//!   the beginning and the end of the registration, and every thread that unlocks notifies it. A system call needs the
//!   descriptor, which lies under the lock.
//! * The slot holds the oldest operation, unless the port thread has taken it out for an attempt. After the attempt, the
//!   slot can hold a recycled operation until the next operation is stored there.

use crate::action::IntoOperation;
use crate::memory::TryArc;
use crate::sync::{AtomicU64, MutexGuard, Ordering, TryMutex, TryMutexGuard};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// The number of no operation.
pub(crate) const NOTHING: u64 = u64::MAX;

/// Flag in the number of a suspended operation, which waits for something other than its descriptor. An operation with a
/// number below this can run.
pub(crate) const SUSPENDED: u64 = 1 << 63;

/// Numbers from here on belong to no operation: `NOTHING`, and the [mark](crate::callback::mark) of a thread that holds a
/// claim.
pub(crate) const NO_OPERATION: u64 = 3 << 62;

// The fields are in the order in which an attempt touches them.
#[repr(C)]
pub(crate) struct Lane<D, O> {
    state: TryMutex<LaneState<D, O>>,
    /// The number of the oldest operation, or a number from `NO_OPERATION` on. Written under the lock, read without it.
    oldest: AtomicU64,
}

/// What lies under the lock.
#[repr(C)]
pub(crate) struct LaneState<D, O> {
    /// None after a removal.
    pub(crate) descriptor: Option<TryArc<D>>,
    pub(crate) slot: Option<O>,
}

/// A locked lane. `Core::unlock` or a variant of it unlocks the lane. The guard stays on its thread, because the work after
/// the unlock depends on the callbacks that this thread is in.
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

    /// Takes the descriptor, in a child of `fork` that has inherited the lane. An error if a thread had the lane locked at
    /// the `fork`.
    pub(crate) fn take_inherited(&self) -> Result<Option<TryArc<D>>, ()> {
        self.state.try_lock_inherited().map(|mut state| state.descriptor.take()).ok_or(())
    }

    /// Whether there is an operation, as seen without the lock.
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
