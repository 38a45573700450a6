//! The beginning of a registration, and its release in a child of `fork`. `removal.rs` has the end.
//!
//! Invariants:
//! * While the descriptor is attached to the port, its input lane is locked, so nothing takes the descriptor.
//! * While a lazy registration begins to be watched, its cold state is locked, so no removal begins, and no user code runs.
//!   Neither lane has had an operation before.

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
use crate::sys::Errno;
use std::io;
use std::mem;
use std::os::fd::BorrowedFd;

/// When the port begins to watch a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    AtOnce,
    FromTheFirstOperationOn,
}

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
    pub(crate) fn register<E>(
        &self,
        watched: Watched,
        attach: impl FnOnce(&H::Descriptor) -> Result<Token, E>,
        callback: impl FnOnce(),
    ) -> Result<Option<Result<(), E>>, Phase> {
        // Counted before the phase changes. So a thread that waits for the phase sees that another thread registers.
        let counted = self.count();
        // Codes_SRS_COMPLETION_PORT_01_100
        enter(self.id());
        let result = self.register_counted(watched, attach, callback);
        leave();
        drop(counted);
        result
    }

    fn register_counted<E>(
        &self,
        watched: Watched,
        attach: impl FnOnce(&H::Descriptor) -> Result<Token, E>,
        callback: impl FnOnce(),
    ) -> Result<Option<Result<(), E>>, Phase> {
        let locked = self.begin_registering()?;
        // Only a removal takes the descriptor.
        let Some(descriptor) = locked.descriptor() else { return Err(Phase::Removed) };
        let attached = run_caught("preparation", || attach(descriptor));
        self.unlock_in_dispatch(Direction::In, locked);
        self.end_registering(watched, attached.as_ref().and_then(|attached| attached.as_ref().ok().copied()));
        if let Some(Ok(_)) = attached {
            run_caught("callback", callback);
        }
        Ok(attached.map(|attached| attached.map(drop)))
    }

    fn begin_registering(&self) -> Result<Locked<'_, H>, Phase> {
        let mut cold = self.cold.lock();
        if cold.phase != Phase::Unregistered {
            return Err(cold.phase);
        }
        cold.phase = Phase::Registering;
        // The registration has been closed since its creation. So another thread that has locked the lane refuses its
        // operation.
        Ok(self.lock_lane(&mut cold, Direction::In))
    }

    fn end_registering(&self, watched: Watched, token: Option<Token>) {
        if self.is_inherited() {
            return;
        }
        let mut cold = self.cold.lock();
        // Codes_SRS_COMPLETION_PORT_01_007, Codes_SRS_COMPLETION_PORT_01_109, Codes_SRS_SOCKET_01_011
        cold.phase = if token.is_some() { Phase::Registered } else { Phase::Unregistered };
        if let Some(token) = token {
            cold.token = token;
            if watched == Watched::FromTheFirstOperationOn {
                self.set_flags(LaneFlags::UNWATCHED);
            }
            self.clear_flags(LaneFlags::CLOSED);
        }
        self.notify(&cold);
    }

    /// Begins to watch the descriptor of a lazy registration, unless another thread has. If the registration accepts nothing, the
    /// caller's operation finds that out.
    pub(crate) fn watch(&self, watch: impl FnOnce(BorrowedFd<'_>, Token) -> io::Result<()>) -> Result<(), Errno> {
        if self.is_inherited() {
            return Ok(());
        }
        let cold = self.cold.lock();
        // Codes_SRS_COMPLETION_PORT_01_191
        if !self.is_still_unwatched() || self.has_port_failed() {
            return Ok(());
        }
        // Codes_SRS_COMPLETION_PORT_01_193
        let Some(descriptor) = self.descriptor_while_registered(&cold) else { return Ok(()) };
        // Codes_SRS_COMPLETION_PORT_01_192
        watch(descriptor, cold.token).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        self.clear_flags(LaneFlags::UNWATCHED);
        Ok(())
    }

    fn is_still_unwatched(&self) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("watches twice") {
            return true;
        }
        self.is_unwatched()
    }

    /// Releases the descriptor of a registration that was never registered.
    pub(crate) fn release_unregistered(&self) {
        let mut cold = self.cold.lock();
        if cold.phase != Phase::Unregistered {
            return;
        }
        let both = [Direction::In, Direction::Out].map(|direction| self.lock_lane(&mut cold, direction));
        let [input, output] = both;
        let descriptor = self.lanes.take_descriptor(input, output);
        drop(cold);
        self.release(descriptor);
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
        match this.lanes.try_lock_inherited() {
            // A removal may have taken the descriptor, and closed it.
            Some([input, output]) => {
                let descriptor = this.lanes.take_descriptor(input, output);
                run_caught("release", || drop(descriptor));
            }
            // A thread of the parent used the descriptor, so it was open.
            None => close_inherited(this.number),
        }
    }
}
