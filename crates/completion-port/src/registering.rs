//! The beginning of a registration, and what a child of `fork` does with one; `removal.rs` has the end.
//!
//! Invariant: no reference to the descriptor outlives the phase `Registering`, except those in the two lanes. So the removal
//! that takes these two has the descriptor.

use crate::action::Direction;
use crate::callback::{enter, leave, run_caught};
use crate::core::{ColdState, Core, Locked};
use crate::flags::LaneFlags;
use crate::handler::Handler;
use crate::memory::TryArc;
use crate::phase::Phase;
use crate::process::close_inherited;
use crate::source::Token;
use crate::sync::MutexGuard;
use std::mem;

impl<H: Handler> Core<H> {
    /// Locks a lane as soon as no other thread has. Only for lanes of a closed registration that this thread has not locked
    /// itself.
    fn lock_lane<'a>(&'a self, cold: &mut MutexGuard<'_, ColdState<H>>, direction: Direction) -> Locked<'a, H> {
        loop {
            if let Some(locked) = self.lane(direction).try_lock() {
                return locked;
            }
            self.quiesced.wait(cold);
        }
    }

    /// Registers: `attach` gets the descriptor. Then runs the callback, which is counted before any thread can remove.
    /// `Ok(None)` if `attach` panics. An error is the phase because of which `attach` was not called.
    // Codes_SRS_COMPLETION_PORT_01_100, Codes_SRS_COMPLETION_PORT_01_109
    pub(crate) fn register<E>(
        &self,
        attach: impl FnOnce(&H::Descriptor) -> Result<Token, E>,
        callback: impl FnOnce(),
    ) -> Result<Option<Result<(), E>>, Phase> {
        // Before the phase says so: a thread that waits for the phase sees that another thread registers.
        let counted = self.count();
        enter(self.id());
        let result = self.register_counted(attach, callback);
        leave();
        drop(counted);
        result
    }

    fn register_counted<E>(
        &self,
        attach: impl FnOnce(&H::Descriptor) -> Result<Token, E>,
        callback: impl FnOnce(),
    ) -> Result<Option<Result<(), E>>, Phase> {
        let descriptor = self.begin_registering()?;
        let attached = run_caught("preparation", || attach(&descriptor));
        // Before the phase allows a removal, which has to have the last reference to the descriptor.
        drop(descriptor);
        self.end_registering(attached.as_ref().and_then(|attached| attached.as_ref().ok().copied()));
        if let Some(Ok(_)) = attached {
            run_caught("callback", callback);
        }
        Ok(attached.map(|attached| attached.map(drop)))
    }

    fn begin_registering(&self) -> Result<TryArc<H::Descriptor>, Phase> {
        let mut cold = self.cold.lock();
        if cold.phase != Phase::Unregistered {
            return Err(cold.phase);
        }
        cold.phase = Phase::Registering;
        // Until here it was closed from the beginning. A thread that has locked the lane is one whose operation is refused.
        let locked = self.lock_lane(&mut cold, Direction::In);
        drop(cold);
        let descriptor = locked.descriptor.clone();
        self.unlock_in_dispatch(Direction::In, locked);
        // Only a removal takes it.
        descriptor.ok_or(Phase::Removed)
    }

    fn end_registering(&self, token: Option<Token>) {
        if self.is_inherited() {
            return;
        }
        let mut cold = self.cold.lock();
        cold.phase = if token.is_some() { Phase::Registered } else { Phase::Unregistered };
        if let Some(token) = token {
            cold.token = token;
            self.clear_flags(LaneFlags::CLOSED);
        }
        drop(cold);
        self.quiesced.notify_all();
    }

    /// Releases the descriptor of a registration that was never registered.
    pub(crate) fn release_unregistered(&self) {
        let mut cold = self.cold.lock();
        if cold.phase != Phase::Unregistered {
            return;
        }
        let first = self.lock_lane(&mut cold, Direction::In).descriptor.take();
        let second = self.lock_lane(&mut cold, Direction::Out).descriptor.take();
        drop((cold, second));
        self.release(first);
    }

    /// Closes the child's copy of the descriptor when a callback of a removal has forked. The references are leaked.
    #[cold]
    pub(crate) fn release_in_child(&self) {
        if !self.set_flags(LaneFlags::RELEASED_IN_CHILD).contains(LaneFlags::RELEASED_IN_CHILD) {
            close_inherited(self.number);
        }
    }

    /// Closes the child's copy of a descriptor that a parent of this process has registered, and touches nothing else: it may
    /// be locked, or half changed, by a thread that does not exist here.
    // Codes_SRS_COMPLETION_PORT_01_083
    #[cold]
    pub(crate) fn release_inherited(this: &TryArc<Self>) {
        if this.set_flags(LaneFlags::RELEASED_IN_CHILD).contains(LaneFlags::RELEASED_IN_CHILD) {
            return;
        }
        // What waits is the parent's: it is not even dropped.
        mem::forget(this.clone());
        match [Direction::In, Direction::Out].map(|direction| this.lane(direction).take_inherited()) {
            [Ok(Some(first)), Ok(Some(second))] => {
                drop(second);
                run_caught("release", || drop(first));
            }
            // A removal had both, and may have closed it.
            [Ok(None), Ok(None)] => {}
            // A thread of the parent had one of them, so it was open; that thread's reference is leaked.
            references => {
                mem::forget(references);
                close_inherited(this.number);
            }
        }
    }
}
