//! Taking a waiting operation out of its queue.
//!
//! Invariant: an operation is cancelled only by the thread that takes it out of the slot or the backlog, with the lock that
//! guards the place. So an operation is either cancelled or completed, never both.
//!
//! A timer takes operations out in the same way. [`Handler::times_out`] runs before the place is unlocked, so its note is seen by
//! every thread that finds the place empty.

use crate::action::{Action, Direction};
use crate::admission::After;
use crate::callback::{enter, leave, run_caught};
use crate::core::Core;
use crate::handler::{Attempt, Handler};
use crate::lane::{NO_OPERATION, NOTHING, SUSPENDED};
use crate::sync::thread::yield_now;
use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Instant;

/// The name of an accepted operation. No other operation of the registration ever has the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OperationId(NonZeroU64);

impl OperationId {
    #[inline(always)]
    pub(crate) const fn new(number: u64, direction: Direction) -> Self {
        match NonZeroU64::new(number << 1 | direction as u64) {
            Some(id) => Self(id),
            // Numbers are never 0.
            None => Self(NonZeroU64::MAX),
        }
    }

    /// The id as a number, for an interface without types. It is never 0.
    #[must_use]
    pub const fn to_raw(self) -> u64 {
        self.0.get()
    }

    /// The id that [`to_raw`](Self::to_raw) gave. `None` for 0. A number that is no id of the registration names no
    /// operation.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Option<Self> {
        match NonZeroU64::new(raw) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    const fn number(self) -> u64 {
        self.0.get() >> 1
    }

    const fn direction(self) -> Direction {
        if self.0.get() & 1 == Direction::In as u64 { Direction::In } else { Direction::Out }
    }
}

/// The outcome of [`Registration::cancel`](crate::Registration::cancel).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub enum Cancel {
    /// The operation was completed with [`Action::Cancelled`].
    Cancelled,
    /// Nothing happened, because the operation is complete, or is being completed.
    NotWaiting,
    /// Nothing happened, because the handler wants the operation to go on, see
    /// [`Handler::can_cancel`](crate::Handler::can_cancel).
    Started,
}

impl<H: Handler> Core<H> {
    /// Takes an operation out of its queue and completes it. `do_after` does what is left after the unlock, before the
    /// callback runs.
    pub(crate) fn cancel(&self, id: OperationId, do_after: impl FnOnce(After)) -> Cancel {
        if self.is_inherited() {
            return Cancel::NotWaiting;
        }
        // Counted before the operation is taken out, so that a removal waits for the callback.
        let counted = self.count();
        let (taken, after) = self.take_waiting(id);
        enter(self.id());
        do_after(after);
        let cancel = match taken {
            Ok(operation) => {
                // Codes_SRS_COMPLETION_PORT_01_150
                self.end(operation, Action::Cancelled);
                Cancel::Cancelled
            }
            Err(cancel) => cancel,
        };
        leave();
        drop(counted);
        cancel
    }

    /// Completes an operation that was taken out of its queue.
    fn end(&self, operation: H::Operation, action: Action) {
        #[cfg(loom)]
        if crate::sync::injected_bug("notes after the unlock") && action == Action::TimedOut {
            self.handler.times_out(&operation);
        }
        let attempt = Attempt::abandoned(self);
        run_caught("callback", || self.handler.attempt(operation, action, attempt));
    }

    fn take_waiting(&self, id: OperationId) -> (Result<H::Operation, Cancel>, After) {
        let is_it = |number: u64, _: &H::Operation| number == id.number();
        // An operation goes from the backlog to the slot, never back, so the backlog is looked at first.
        if let Some(taken) = self.take_from_backlog(id.direction(), is_it) {
            return (taken, After::Nothing);
        }
        // Codes_SRS_COMPLETION_PORT_01_151
        let is_in_slot = |number| number == id.number();
        self.take_from_slot(id.direction(), is_in_slot, |_| true).unwrap_or((Err(Cancel::NotWaiting), After::Nothing))
    }

    /// `None` if no operation waits there that is wanted.
    fn take_from_slot(
        &self,
        direction: Direction,
        mut is_wanted: impl FnMut(u64) -> bool,
        mut and: impl FnMut(&H::Operation) -> bool,
    ) -> Option<(Result<H::Operation, Cancel>, After)> {
        let lane = self.lane(direction);
        while lane.oldest() < NO_OPERATION && is_wanted(lane.oldest() & !SUSPENDED) {
            if let Some(mut locked) = lane.try_lock() {
                let is_there = self.is_still_there(lane.oldest(), &mut is_wanted);
                let taken = match locked.slot() {
                    Some(operation) if is_there && and(operation) => {
                        // Codes_SRS_COMPLETION_PORT_01_152
                        if self.may_cancel(operation) {
                            lane.set_oldest(NOTHING);
                            locked.slot_mut().take().map(Ok)
                        } else {
                            Some(Err(Cancel::Started))
                        }
                    }
                    _ => None,
                };
                let after = self.unlock(direction, locked);
                return Some((taken.unwrap_or(Err(Cancel::NotWaiting)), after));
            }
            if self.has_locked(direction) {
                return None;
            }
            #[cfg(loom)]
            if crate::sync::injected_bug("gives up on a busy lane") {
                return None;
            }
            // Another thread attempts this operation. That takes no longer than a system call.
            yield_now();
        }
        None
    }

    /// `None` if no operation waits there that is wanted.
    fn take_from_backlog(
        &self,
        direction: Direction,
        is_wanted: impl FnMut(u64, &H::Operation) -> bool,
    ) -> Option<Result<H::Operation, Cancel>> {
        let mut cold = self.cold.lock();
        let backlog = cold.backlog(direction)?;
        let taken = backlog.take(is_wanted, |operation| self.may_cancel(operation))?;
        Some(taken.ok_or(Cancel::Started))
    }

    /// Whether the slot's operation is the wanted one, as seen with the lane locked.
    fn is_still_there(&self, number: u64, is_wanted: &mut impl FnMut(u64) -> bool) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("cancels whatever is there") {
            return true;
        }
        number < NO_OPERATION && is_wanted(number & !SUSPENDED)
    }

    /// A panic of the handler is caught.
    fn note_time_out(&self, operation: &H::Operation) {
        #[cfg(loom)]
        if crate::sync::injected_bug("notes after the unlock") {
            return;
        }
        run_caught("note", || self.handler.times_out(operation));
    }

    /// A panic of the handler counts as no.
    fn may_cancel(&self, operation: &H::Operation) -> bool {
        run_caught("question", || self.handler.can_cancel(operation)).unwrap_or(false)
    }
}

/// A timer of a registration that has come. With it, the handler can end operations that have waited too long.
pub struct TimerFired<'a, H: Handler> {
    core: &'a Core<H>,
    now: Instant,
    /// Operations with a higher number were added after the handler's first look.
    newest: Cell<Option<u64>>,
}

impl<'a, H: Handler> TimerFired<'a, H> {
    pub(crate) fn new(core: &'a Core<H>, now: Instant) -> Self {
        let newest = Cell::new(None);
        #[cfg(loom)]
        if crate::sync::injected_bug("looks before the handler notes it") {
            newest.set(Some(core.number_between()));
        }
        Self { core, now, newest }
    }

    /// The time, read for this timer.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Takes the waiting operations out of a queue for which `is_over` says so, and completes each with
    /// [`Action::TimedOut`]. Operations for which [`Handler::can_cancel`] says no stay, and so do those that were added
    /// after the first call for this timer began, in a callback of it for instance. An operation that another thread is attempting is waited for.
    ///
    /// A thread that adds an operation sees afterwards what [`Handler::times_out`] has noted, or this call finds the operation.
    ///
    /// `is_over` may be asked several times about one operation. It is called with a lock held, so it must be short and run
    /// no foreign code.
    pub fn end_waiting(&self, direction: Direction, mut is_over: impl FnMut(&H::Operation) -> bool) {
        // The slot's operation is older than those of the backlog, and these move up.
        // Taken at the first call, so that the handler can note before it that it looks.
        let newest = self.newest.get().unwrap_or_else(|| self.core.number_between());
        // Codes_SRS_COMPLETION_PORT_01_172
        self.newest.set(Some(newest));
        // Codes_SRS_COMPLETION_PORT_01_172
        let is_old = |number| number < newest;
        let mut times_out = |operation: &H::Operation| {
            let is_over = self.core.may_cancel(operation) && is_over(operation);
            if is_over {
                // Codes_SRS_COMPLETION_PORT_01_188
                self.core.note_time_out(operation);
            }
            is_over
        };
        self.end_in_slot(direction, is_old, &mut times_out);
        while let Some(Ok(operation)) =
            self.core.take_from_backlog(direction, |number, operation| is_old(number) && times_out(operation))
        {
            // Codes_SRS_COMPLETION_PORT_01_171
            self.core.end(operation, Action::TimedOut);
        }
        #[cfg(loom)]
        if crate::sync::injected_bug("looks at the slot once") {
            return;
        }
        // Another thread may have moved an operation from the backlog to the slot between the two looks.
        self.end_in_slot(direction, is_old, &mut times_out);
    }

    fn end_in_slot(
        &self,
        direction: Direction,
        is_old: impl Fn(u64) -> bool,
        mut times_out: impl FnMut(&H::Operation) -> bool,
    ) {
        while let Some((Ok(operation), after)) = self.core.take_from_slot(direction, &is_old, &mut times_out) {
            // The port calls the registration again after this.
            let _ = after;
            // Codes_SRS_COMPLETION_PORT_01_171
            self.core.end(operation, Action::TimedOut);
        }
    }
}

impl<H: Handler> fmt::Debug for TimerFired<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerFired").field("now", &self.now).finish_non_exhaustive()
    }
}
