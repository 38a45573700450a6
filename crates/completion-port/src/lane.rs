//! The two directions of a registration: the lock and the oldest operation of each, and the descriptor of both.
//!
//! Invariants:
//! * A thread works on a direction only while it has [locked](Lane::try_lock) the lane. The port thread locks it for an
//!   attempt, a sender for a claim, other threads to put an operation into the slot. A thread waits for the lock only at
//!   the beginning and the end of the registration, and every thread that unlocks notifies it.
//! * The slot holds the oldest operation, unless the port thread has taken it out for an attempt. After the attempt, the
//!   slot can hold a recycled operation until the next operation is stored there.
//! * A slot is accessed only with its lane locked. The descriptor is read with one lane locked, and taken with both.
#![allow(unsafe_code, reason = "the slots and the descriptor lie beside other fields, so no lock can contain them")]

use crate::action::{Direction, IntoOperation};
use crate::flags::LaneFlags;
use crate::process::Generation;
use crate::sync::{AtomicU8, AtomicU64, MutexGuard, Ordering, TryLock};
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem;
use std::ptr;

/// The number of no operation.
pub(crate) const NOTHING: u64 = u64::MAX;

/// Flag in the number of a suspended operation, which waits for something other than its descriptor. An operation with a
/// number below this can run.
pub(crate) const SUSPENDED: u64 = 1 << 63;

/// Numbers from here on belong to no operation: `NOTHING`, and the [mark](crate::callback::mark) of a thread that holds a
/// claim.
pub(crate) const NO_OPERATION: u64 = 3 << 62;

/// Both lanes of a registration. What a message touches lies together; the end is touched by few.
#[repr(C)]
pub(crate) struct Lanes<D, O> {
    input: UnsafeCell<Option<O>>,
    /// The number of the oldest operation of each direction, or a number from `NO_OPERATION` on. Written with the lane
    /// locked, read without it.
    oldest: [AtomicU64; 2],
    locks: [TryLock; 2],
    /// `LaneFlags`.
    pub(crate) flags: AtomicU8,
    /// The `Action` that the port thread attempts, with a flag if the direction is output. 0 if it attempts nothing.
    pub(crate) attempted: AtomicU8,
    /// `None` after a removal.
    descriptor: UnsafeCell<Option<D>>,
    output: UnsafeCell<Option<O>>,
    made_in: Generation,
}

// SAFETY: one thread at a time has a lane locked and with it the slot, whose operation it may take to itself. Two threads,
// one for each lane, can use the descriptor at the same time, and a thread with both lanes locked may take it.
unsafe impl<D: Send + Sync, O: Send> Sync for Lanes<D, O> {}

impl<D, O> Lanes<D, O> {
    pub(crate) fn new(descriptor: D) -> Self {
        Self {
            input: UnsafeCell::new(None),
            oldest: [AtomicU64::new(NOTHING), AtomicU64::new(NOTHING)],
            locks: [TryLock::new(), TryLock::new()],
            // Codes_SRS_COMPLETION_PORT_01_011
            flags: AtomicU8::new(LaneFlags::CLOSED.bits()),
            attempted: AtomicU8::new(0),
            descriptor: UnsafeCell::new(Some(descriptor)),
            output: UnsafeCell::new(None),
            made_in: Generation::current(),
        }
    }

    #[inline(always)]
    pub(crate) fn of(&self, direction: Direction) -> Lane<'_, D, O> {
        Lane { lanes: self, direction }
    }

    /// Whether the lanes were made before a `fork`, in a parent of this process. They can then never be locked.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        TryLock::is_inherited(&self.made_in)
    }

    /// The descriptor of lanes that no other thread knows any more.
    pub(crate) fn into_descriptor(self) -> Option<D> {
        self.descriptor.into_inner()
    }

    /// The descriptor, without a lock.
    ///
    /// # Safety
    /// It is not taken while the reference lives.
    pub(crate) unsafe fn descriptor(&self) -> Option<&D> {
        // SAFETY: the only writer is `take_descriptor`, which the caller excludes.
        unsafe { (*self.descriptor.get()).as_ref() }
    }

    /// Takes the descriptor for good. `None` if it was taken.
    ///
    /// # Panics
    /// If these are not the guards of both lanes.
    pub(crate) fn take_descriptor(&self, input: LaneGuard<'_, D, O>, output: LaneGuard<'_, D, O>) -> Option<D> {
        let are_both = input.is_of(self, Direction::In) && output.is_of(self, Direction::Out);
        assert!(are_both, "the descriptor is taken with both lanes locked");
        // SAFETY: with both lanes locked, no other thread has a guard, and this thread gives its own up. `descriptor`
        // excludes this call.
        let taken = unsafe { (*self.descriptor.get()).take() };
        drop((input, output));
        taken
    }

    /// The guards of both lanes, in a child of `fork` that has inherited them. `None` if a thread had locked one at the
    /// `fork`.
    pub(crate) fn try_lock_inherited(&self) -> Option<[LaneGuard<'_, D, O>; 2]> {
        let lock =
            |direction| self.locks[direction as usize].try_lock_inherited().then(|| LaneGuard::new(self, direction));
        Some([lock(Direction::In)?, lock(Direction::Out)?])
    }

    /// How many of its first bytes a message touches.
    #[cfg(test)]
    pub(crate) const TOUCHED: usize = mem::offset_of!(Self, output);

    const fn slot(&self, direction: Direction) -> &UnsafeCell<Option<O>> {
        match direction {
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_102
            Direction::In => &self.input,
            Direction::Out => &self.output,
        }
    }
}

/// One direction.
pub(crate) struct Lane<'a, D, O> {
    lanes: &'a Lanes<D, O>,
    direction: Direction,
}

impl<D, O> Clone for Lane<'_, D, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D, O> Copy for Lane<'_, D, O> {}

impl<'a, D, O> Lane<'a, D, O> {
    /// Locks the lane unless another thread has.
    #[inline(always)]
    pub(crate) fn try_lock(self) -> Option<LaneGuard<'a, D, O>> {
        let lock = &self.lanes.locks[self.direction as usize];
        if lock.try_lock(&self.lanes.made_in) { Some(LaneGuard::new(self.lanes, self.direction)) } else { None }
    }

    #[inline(always)]
    pub(crate) fn oldest(self) -> u64 {
        self.lanes.oldest[self.direction as usize].load(Ordering::Relaxed)
    }

    /// Whether there is an operation, as seen without the lock.
    #[inline]
    pub(crate) fn has_operation(self) -> bool {
        self.oldest() < NO_OPERATION
    }

    /// Says which operation is in the slot. Only under the lock.
    #[inline(always)]
    pub(crate) fn set_oldest(self, number: u64) {
        self.lanes.oldest[self.direction as usize].store(number, Ordering::Relaxed);
    }

    /// Fills the slot. Only under the lock.
    #[inline(always)]
    pub(crate) fn fill<N: IntoOperation<O>>(
        self,
        locked: &mut LaneGuard<'_, D, O>,
        number: u64,
        new: N,
    ) -> Result<(), N> {
        // Codes_SRS_COMPLETION_PORT_01_010
        new.store_in(locked.slot_mut())?;
        self.set_oldest(number);
        Ok(())
    }
}

/// A locked lane. `Core::unlock` or a variant of it unlocks the lane. The guard stays on its thread, because the work after
/// the unlock depends on the callbacks that this thread is in.
pub(crate) struct LaneGuard<'a, D, O> {
    lanes: &'a Lanes<D, O>,
    direction: Direction,
    on_this_thread: PhantomData<MutexGuard<'a, ()>>,
}

impl<'a, D, O> LaneGuard<'a, D, O> {
    #[inline(always)]
    const fn new(lanes: &'a Lanes<D, O>, direction: Direction) -> Self {
        Self { lanes, direction, on_this_thread: PhantomData }
    }

    /// Leaves the lane locked.
    #[inline(always)]
    pub(crate) fn leave_locked(self) -> Direction {
        let direction = self.direction;
        mem::forget(self);
        direction
    }

    /// The guard of a lane that was left locked.
    ///
    /// # Safety
    /// The lane of this direction was [left locked](Self::leave_locked) by this thread, and has no other guard since.
    #[inline(always)]
    pub(crate) const unsafe fn resume(lanes: &'a Lanes<D, O>, direction: Direction) -> Self {
        Self::new(lanes, direction)
    }

    #[inline(always)]
    pub(crate) const fn direction(&self) -> Direction {
        self.direction
    }

    #[inline(always)]
    pub(crate) fn slot(&self) -> &Option<O> {
        // SAFETY: this thread has locked the lane.
        unsafe { &*self.lanes.slot(self.direction).get() }
    }

    #[inline(always)]
    pub(crate) fn slot_mut(&mut self) -> &mut Option<O> {
        // SAFETY: this thread has locked the lane, and a lane has one guard.
        unsafe { &mut *self.lanes.slot(self.direction).get() }
    }

    #[inline(always)]
    pub(crate) fn descriptor(&self) -> Option<&D> {
        // SAFETY: it is taken only with the guards of both lanes.
        unsafe { self.lanes.descriptor() }
    }

    fn is_of(&self, lanes: &Lanes<D, O>, direction: Direction) -> bool {
        ptr::eq(self.lanes, lanes) && self.direction == direction
    }
}

impl<D, O> Drop for LaneGuard<'_, D, O> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lanes.locks[self.direction as usize].unlock();
    }
}
