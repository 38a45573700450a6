//! The beginning of a registration, and the names of what it goes through; `removal.rs` is the end.
//!
//! Invariant: no other reference to the descriptor than those in the two lanes outlives the phase `Registering`. So the
//! removal that takes these two has the descriptor.

use crate::callback::{enter, leave, run_caught};
use crate::handler::{Direction, Handler};
use crate::lane::Inside;
use crate::memory::TryArc;
use crate::process::close_inherited;
use crate::queue::{CLOSED, Core, LET_GO, Slow};
use crate::source::Token;
use crate::sync::{MutexGuard, Ordering};
use std::mem;

/// What a registration goes through, in this order. A registering that fails goes back to the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The descriptor is not watched yet.
    Unregistered,
    /// [`Registration::register`](crate::Registration::register) is at work.
    Registering,
    /// Operations are accepted.
    Registered,
    /// [`Registration::remove`](crate::Registration::remove) is at work.
    Removing,
    /// The descriptor has been released.
    Removed,
}

impl<H: Handler> Core<H> {
    pub(crate) fn phase(&self) -> Phase {
        if self.is_inherited() {
            return Phase::Removed;
        }
        self.slow.lock().phase
    }

    /// Enters a lane when no other thread is inside. Only for lanes of a closed registration that this thread is not
    /// inside of itself.
    fn enter_lane<'a>(&'a self, slow: &mut MutexGuard<'_, Slow<H>>, direction: Direction) -> Inside<'a, H> {
        loop {
            if let Some(inside) = self.lane(direction).try_enter() {
                return inside;
            }
            self.quiet.wait(slow);
        }
    }

    /// Registers: `attach` is given the descriptor. Then runs the callback, which is counted before anyone can remove.
    /// `Ok(None)` if `attach` panics; the phase that is in the way if it is not called.
    // Codes_SRS_COMPLETION_PORT_01_100, Codes_SRS_COMPLETION_PORT_01_109
    pub(crate) fn register<E>(
        &self,
        attach: impl FnOnce(&H::Descriptor) -> Result<Token, E>,
        callback: impl FnOnce(),
    ) -> Result<Option<Result<(), E>>, Phase> {
        // Before the phase says so, such that who waits for the phase sees that it is another thread's.
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
        let mut slow = self.slow.lock();
        if slow.phase != Phase::Unregistered {
            return Err(slow.phase);
        }
        slow.phase = Phase::Registering;
        // Until here it was never anything but closed. Inside are those whose operations are refused.
        let inside = self.enter_lane(&mut slow, Direction::In);
        drop(slow);
        let half = inside.half.clone();
        self.leave_in_turn(Direction::In, inside);
        // Only a removal takes it.
        half.ok_or(Phase::Removed)
    }

    fn end_registering(&self, token: Option<Token>) {
        if self.is_inherited() {
            return;
        }
        let mut slow = self.slow.lock();
        slow.phase = if token.is_some() { Phase::Registered } else { Phase::Unregistered };
        if let Some(token) = token {
            slow.token = token;
            self.signs.fetch_and(!CLOSED, Ordering::Release);
        }
        drop(slow);
        self.quiet.notify_all();
    }

    /// For who drops a registration that was never registered.
    pub(crate) fn release_unregistered(&self) {
        let mut slow = self.slow.lock();
        if slow.phase != Phase::Unregistered {
            return;
        }
        let half = self.enter_lane(&mut slow, Direction::In).half.take();
        let second = self.enter_lane(&mut slow, Direction::Out).half.take();
        drop((slow, second));
        self.release(half);
    }

    /// Closes the child's copy of the descriptor when a callback of a removal has forked. The halves are leaked.
    #[cold]
    pub(crate) fn let_go_of_inherited(&self) {
        if self.signs.fetch_or(LET_GO, Ordering::Relaxed) & LET_GO == 0 {
            close_inherited(self.number);
        }
    }

    /// Lets go of what a parent of this process has registered: closes the child's copy of the descriptor. Nothing else: it
    /// may be locked, or half changed, by a thread that does not exist here.
    // Codes_SRS_COMPLETION_PORT_01_083
    #[cold]
    pub(crate) fn release_inherited(this: &TryArc<Self>) {
        if this.signs.fetch_or(LET_GO, Ordering::Relaxed) & LET_GO != 0 {
            return;
        }
        // What waits is the parent's: it is not even dropped.
        mem::forget(this.clone());
        match [Direction::In, Direction::Out].map(|direction| this.lane(direction).take_inherited()) {
            [Ok(Some(half)), Ok(Some(second))] => {
                drop(second);
                run_caught("release", || drop(half));
            }
            // A removal had both, and may have closed it.
            [Ok(None), Ok(None)] => {}
            // A thread of the parent had one of them, so it was open; that thread's half is leaked.
            halves => {
                mem::forget(halves);
                close_inherited(this.number);
            }
        }
    }
}
