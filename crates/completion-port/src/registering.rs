//! The beginning of a registration, and its release in a child of `fork`. `removal.rs` has the end.
//!
//! Invariant: no reference to the descriptor outlives the phase `Registering`, except those in the two lanes. So a removal
//! that takes these two owns the descriptor.

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
    /// Locks a lane, after waiting until no other thread has it locked. The registration must be closed, and this thread
    /// must not have locked the lane itself.
    fn lock_lane<'a>(&'a self, cold: &mut MutexGuard<'_, ColdState<H>>, direction: Direction) -> Locked<'a, H> {
        loop {
            if let Some(locked) = self.lane(direction).try_lock() {
                return locked;
            }
            self.wait_for_change(cold);
        }
    }

    /// Registers the descriptor with `attach`, then runs the callback. The callback is counted before any thread can remove
    /// the registration. Returns `Ok(None)` if `attach` panics. An error is the phase that prevented the call of `attach`.
    // Codes_SRS_COMPLETION_PORT_01_100, Codes_SRS_COMPLETION_PORT_01_109
    pub(crate) fn register<E>(
        &self,
        attach: impl FnOnce(&H::Descriptor) -> Result<Token, E>,
        callback: impl FnOnce(),
    ) -> Result<Option<Result<(), E>>, Phase> {
        // Counted before the phase changes. So a thread that waits for the phase sees that another thread registers.
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
        // Dropped before the phase allows a removal, because the removal has to have the last reference to the descriptor.
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
        // The registration has been closed since its creation. So another thread that has locked the lane refuses its
        // operation.
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
        self.notify(&cold);
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

    /// Closes the child's copy of a descriptor that a parent of this process has registered. Touches nothing else, because
    /// a thread that does not exist here may have locked it or half changed it.
    // Codes_SRS_COMPLETION_PORT_01_083
    #[cold]
    pub(crate) fn release_inherited(this: &TryArc<Self>) {
        // The waiting operations belong to the parent, so they are not even dropped. Neither is a descriptor that
        // `release_in_child` has closed.
        mem::forget(this.clone());
        if this.set_flags(LaneFlags::RELEASED_IN_CHILD).contains(LaneFlags::RELEASED_IN_CHILD) {
            return;
        }
        match [Direction::In, Direction::Out].map(|direction| this.lane(direction).take_inherited()) {
            [Ok(Some(first)), Ok(Some(second))] => {
                drop(second);
                run_caught("release", || drop(first));
            }
            // A removal had both references, and may have closed the descriptor.
            [Ok(None), Ok(None)] => {}
            // A thread of the parent had one reference, so the descriptor was open. That reference is leaked.
            references => {
                mem::forget(references);
                close_inherited(this.number);
            }
        }
    }
}
