//! Taking a waiting operation out of its queue.
//!
//! Invariant: an operation is cancelled only by the thread that takes it out of the slot or the backlog, with the lock that
//! guards the place. So an operation is either cancelled or completed, never both.

use crate::action::{Action, Direction};
use crate::admission::After;
use crate::callback::{enter, leave, run_caught};
use crate::core::Core;
use crate::handler::{Attempt, Handler};
use crate::lane::{NO_OPERATION, NOTHING, SUSPENDED};
use crate::sync::thread::yield_now;

/// The name of an accepted operation. No other operation of the registration ever has the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OperationId(u64);

impl OperationId {
    #[inline(always)]
    pub(crate) const fn new(number: u64, direction: Direction) -> Self {
        Self(number << 1 | direction as u64)
    }

    const fn number(self) -> u64 {
        self.0 >> 1
    }

    const fn direction(self) -> Direction {
        if self.0 & 1 == Direction::In as u64 { Direction::In } else { Direction::Out }
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

/// A waiting operation, as [`Core::take_waiting`] finds it.
type Taken<O> = Result<O, Cancel>;

impl<H: Handler> Core<H> {
    /// Takes an operation out of its queue and completes it. `schedule` does what is left after the unlock, before the
    /// callback runs.
    // Codes_SRS_COMPLETION_PORT_01_150, Codes_SRS_COMPLETION_PORT_01_151, Codes_SRS_COMPLETION_PORT_01_152
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
                let attempt = Attempt::abandoned(self);
                run_caught("callback", || self.handler.attempt(operation, Action::Cancelled, attempt));
                Cancel::Cancelled
            }
            Err(cancel) => cancel,
        };
        leave();
        drop(counted);
        cancel
    }

    fn take_waiting(&self, id: OperationId) -> (Taken<H::Operation>, After) {
        let direction = id.direction();
        // An operation goes from the backlog to the slot, never back, so the backlog is looked at first.
        if let Some(taken) = self.take_from_backlog(id) {
            return (taken, After::Nothing);
        }
        let lane = self.lane(direction);
        while lane.oldest() < NO_OPERATION && lane.oldest() & !SUSPENDED == id.number() {
            if let Some(mut locked) = lane.try_lock() {
                let taken = match &locked.slot {
                    // The slot has a recycled operation if another thread was faster.
                    Some(operation) if lane.oldest() & !SUSPENDED == id.number() => {
                        if self.may_cancel(operation) {
                            Ok(())
                        } else {
                            Err(Cancel::Started)
                        }
                    }
                    _ => Err(Cancel::NotWaiting),
                };
                let taken = taken.and_then(|()| {
                    lane.set_oldest(NOTHING);
                    locked.slot.take().ok_or(Cancel::NotWaiting)
                });
                return (taken, self.unlock(direction, locked));
            }
            if self.has_locked(direction) {
                break;
            }
            // Another thread attempts this operation. That takes no longer than a system call.
            yield_now();
        }
        (Err(Cancel::NotWaiting), After::Nothing)
    }

    /// A panic of the handler counts as no.
    fn may_cancel(&self, operation: &H::Operation) -> bool {
        run_caught("question", || self.handler.can_cancel(operation)).unwrap_or(false)
    }

    fn take_from_backlog(&self, id: OperationId) -> Option<Taken<H::Operation>> {
        let mut cold = self.cold.lock();
        let backlog = &mut cold.backlogs.as_mut()?[0][id.direction() as usize];
        backlog.take(id.number(), |operation| self.may_cancel(operation)).map(|taken| taken.ok_or(Cancel::Started))
    }
}
