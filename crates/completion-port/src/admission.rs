//! Adding operations to a registration, and unlocking lanes: `core.rs` has the invariants.

use crate::action::{Direction, IntoOperation};
use crate::callback::{is_in_dispatch, mark, run_in_claim, run_in_counted_claim};
use crate::cancel::OperationId;
use crate::core::{ColdState, Core, Locked};
use crate::flags::LaneFlags;
use crate::handler::Handler;
use crate::lane::{NO_OPERATION, NOTHING, SUSPENDED};
use crate::phase::Phase;
use crate::readiness::Remembered;
use crate::sync::{Ordering, full_fence};

/// Why an operation was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotQueued {
    NotRegistered,
    Inherited,
    PortFailed,
    OutOfMemory,
    /// The port has to watch the descriptor first.
    Unwatched,
}

/// The work that remains after an unlock, for a caller that has the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum After {
    Nothing,
    /// Schedule the registration: no other thread will.
    Schedule,
    /// The registration is closed. Its removal may have been left to this thread.
    Closed,
}

/// What could not be queued, and why.
pub(crate) struct Rejected<N> {
    pub(crate) why: NotQueued,
    pub(crate) returned: N,
    pub(crate) after: After,
}

/// A lane that is locked for an attempt on the caller's own thread.
pub(crate) struct ClaimedLane<'a, H: Handler> {
    pub(crate) core: &'a Core<H>,
    pub(crate) locked: Locked<'a, H>,
    number: u64,
    before: Remembered,
}

impl<H: Handler> Core<H> {
    /// Whether an operation may begin in a locked lane: nothing waits, and operations are accepted.
    #[inline(always)]
    fn is_vacant(&self, direction: Direction) -> bool {
        let refuses = Self::refusing_flags(direction);
        self.is_slot_vacant(direction) && !self.flags().intersects(refuses)
    }

    #[inline(always)]
    fn is_slot_vacant(&self, direction: Direction) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("overlooks the slot") {
            return true;
        }
        self.lane(direction).oldest() == NOTHING
    }

    #[inline(always)]
    fn refusing_flags(direction: Direction) -> LaneFlags {
        let backlog = LaneFlags::backlog(direction);
        #[cfg(loom)]
        if crate::sync::injected_bug("overlooks the end") {
            return backlog | LaneFlags::PORT_FAILED | LaneFlags::UNWATCHED;
        }
        #[cfg(loom)]
        if crate::sync::injected_bug("overlooks the backlog") {
            return LaneFlags::CLOSED | LaneFlags::PORT_FAILED | LaneFlags::UNWATCHED;
        }
        LaneFlags::CLOSED.union(LaneFlags::PORT_FAILED).union(LaneFlags::UNWATCHED).union(backlog)
    }

    #[inline(always)]
    pub(crate) fn push_back<N: IntoOperation<H::Operation>>(
        &self,
        direction: Direction,
        new: N,
    ) -> Result<(OperationId, After), Rejected<N>> {
        let lane = self.lane(direction);
        if let Some(mut locked) = lane.try_lock()
            && self.is_vacant(direction)
        {
            let number = self.take_number();
            return match lane.fill(&mut locked, number, new) {
                Ok(()) => Ok((OperationId::new(number, direction), self.unlock(direction, locked))),
                Err(returned) => {
                    let after = self.unlock(direction, locked);
                    Err(Rejected { why: NotQueued::OutOfMemory, returned, after })
                }
            };
        }
        // If this thread has locked the lane without using it, `push_backlog` services the lane's flags.
        self.push_backlog(direction, new)
    }

    #[cold]
    fn push_backlog<N: IntoOperation<H::Operation>>(
        &self,
        direction: Direction,
        new: N,
    ) -> Result<(OperationId, After), Rejected<N>> {
        if self.is_inherited() {
            return Err(Rejected { why: NotQueued::Inherited, returned: new, after: After::Nothing });
        }
        let mut cold = self.cold.lock();
        let pushed = if cold.phase == Phase::Registered && self.has_port_failed() {
            Err((NotQueued::PortFailed, new))
        } else if cold.phase == Phase::Registered && self.is_unwatched() {
            Err((NotQueued::Unwatched, new))
        } else if cold.phase == Phase::Registered {
            self.set_flags(LaneFlags::backlog(direction));
            let number = self.take_number();
            match cold.make_rare() {
                Some(rare) => rare.backlogs[direction as usize].push(number, new),
                // Codes_SRS_COMPLETION_PORT_01_012
                None => Err(new),
            }
            .map(|()| OperationId::new(number, direction))
            .map_err(|new| (NotQueued::OutOfMemory, new))
        } else {
            // Codes_SRS_COMPLETION_PORT_01_011
            Err((NotQueued::NotRegistered, new))
        };
        drop(cold);
        full_fence("adds to the backlog");
        let after = self.service_flags_and_schedule(direction);
        match pushed {
            Ok(id) => Ok((id, after)),
            Err((why, returned)) => Err(Rejected { why, returned, after }),
        }
    }

    /// Locks an idle lane: no thread works on it and nothing is queued. `None` if the lane is not idle.
    // Codes_SRS_COMPLETION_PORT_01_020
    #[inline(always)]
    pub(crate) fn claim(&self, direction: Direction) -> (Option<ClaimedLane<'_, H>>, After) {
        let lane = self.lane(direction);
        let Some(locked) = lane.try_lock() else { return (None, After::Nothing) };
        // A claim need not look for the descriptor again.
        if !self.is_vacant(direction) || locked.descriptor().is_none() {
            return (None, self.unlock(direction, locked));
        }
        let number = self.number_between();
        // With the mark, a removal that this thread begins meanwhile knows that it must not wait for this lane.
        // Codes_SRS_COMPLETION_PORT_01_102
        lane.set_oldest(mark());
        (Some(ClaimedLane { core: self, locked, number, before: self.latch.get() }), After::Nothing)
    }

    /// The attempt of a claim has read everything.
    #[inline]
    pub(crate) fn claim_drained(&self, claimed: &ClaimedLane<'_, H>) {
        self.latch.drained_since(claimed.before);
    }

    /// Puts an operation that got `EAGAIN` into the slot. Does not end the claim.
    pub(crate) fn push_front<N: IntoOperation<H::Operation>>(
        &self,
        direction: Direction,
        claimed: &mut ClaimedLane<'_, H>,
        new: N,
    ) -> Result<OperationId, N> {
        // Codes_SRS_COMPLETION_PORT_01_021, Codes_SRS_COMPLETION_PORT_01_107
        self.lane(direction).fill(&mut claimed.locked, claimed.number, new)?;
        self.latch.exhausted_since(claimed.before, direction);
        // The next claim gets another number.
        self.take_number();
        Ok(OperationId::new(claimed.number, direction))
    }

    /// Runs the callback of a claim that has done its work.
    // Codes_SRS_COMPLETION_PORT_01_023
    #[inline]
    pub(crate) fn run_claimed(&self, end_claim: impl FnOnce(), call: impl FnOnce()) {
        // If the caller is in a dispatch of this registration, that dispatch is counted already.
        if is_in_dispatch(self.id()) {
            run_in_claim(end_claim, call);
        } else {
            let _counted = self.count();
            run_in_counted_claim(self.id(), end_claim, call);
        }
    }

    /// Ends a claim that leaves nothing in the slot.
    #[inline]
    pub(crate) fn unlock_completed_claim(&self, direction: Direction, locked: Locked<'_, H>) -> After {
        self.lane(direction).set_oldest(NOTHING);
        self.unlock_empty(direction, locked)
    }

    /// Ends a claim that may have left something.
    pub(crate) fn unlock_dropped_claim(&self, direction: Direction, locked: Locked<'_, H>) -> After {
        if !self.lane(direction).has_operation() {
            self.lane(direction).set_oldest(NOTHING);
        }
        self.unlock(direction, locked)
    }

    /// Unlocks a lane and services the flags that other threads set meanwhile.
    #[inline]
    pub(crate) fn unlock(&self, direction: Direction, locked: Locked<'_, H>) -> After {
        drop(locked);
        full_fence("unlocks");
        if self.flags().is_empty() { self.needs_wakeup(direction) } else { self.service_flags_and_schedule(direction) }
    }

    /// [`unlock`](Self::unlock) on the port thread. It schedules nothing, because the dispatch looks at the lane again.
    #[inline]
    pub(crate) fn unlock_in_dispatch(&self, direction: Direction, locked: Locked<'_, H>) {
        drop(locked);
        full_fence("unlocks");
        if !self.flags().is_empty() {
            self.service_flags(direction);
        }
    }

    /// Unlocks a lane whose slot is empty. The registration needs scheduling only if another thread has set a flag.
    #[inline]
    fn unlock_empty(&self, direction: Direction, locked: Locked<'_, H>) -> After {
        drop(locked);
        full_fence("unlocks");
        if self.flags().is_empty() { After::Nothing } else { self.service_flags_and_schedule(direction) }
    }

    #[cold]
    pub(crate) fn service_flags_and_schedule(&self, direction: Direction) -> After {
        self.service_flags(direction);
        if self.flags().contains(LaneFlags::CLOSED) { After::Closed } else { self.needs_wakeup(direction) }
    }

    /// Whether the registration has to be scheduled.
    #[inline]
    fn needs_wakeup(&self, direction: Direction) -> After {
        // Codes_SRS_COMPLETION_PORT_01_010
        if self.latch.get().is_anything_for(direction) && self.is_first_to_schedule(direction) {
            After::Schedule
        } else {
            After::Nothing
        }
    }

    #[cold]
    fn is_first_to_schedule(&self, direction: Direction) -> bool {
        let waits = self.lane(direction).oldest() < SUSPENDED;
        // In its own dispatch the port looks anyway.
        waits && !is_in_dispatch(self.id()) && !self.scheduled.swap(true, Ordering::AcqRel)
    }

    /// Lets a suspended operation run again. Returns whether the lane has an operation, as seen without the lock.
    pub(crate) fn resume(&self, direction: Direction) -> (bool, After) {
        if self.is_inherited() {
            return (false, After::Nothing);
        }
        let waits = self.lane(direction).has_operation();
        self.set_flags(LaneFlags::resume(direction));
        full_fence("asks to resume");
        (waits, self.service_flags_and_schedule(direction))
    }

    /// Services the lane's flags: resumes a suspended operation and, if the slot is empty, promotes the next operation from
    /// the backlog. If another thread has locked the lane, that thread does this when it unlocks. Finally notifies a
    /// removal.
    #[cold]
    pub(crate) fn service_flags(&self, direction: Direction) {
        let lane = self.lane(direction);
        let is_set = |flag: LaneFlags| self.flags().contains(flag);
        let promotes = || is_set(LaneFlags::backlog(direction)) && lane.oldest() == NOTHING;
        let resumes = || is_set(LaneFlags::resume(direction));
        while (promotes() || resumes())
            && let Some(mut locked) = lane.try_lock()
        {
            if resumes() {
                self.clear_flags(LaneFlags::resume(direction));
                if lane.has_operation() {
                    lane.set_oldest(lane.oldest() & !SUSPENDED);
                }
            }
            if promotes() {
                self.promote_from_backlog(&mut self.cold.lock(), direction, &mut locked);
            }
            drop(locked);
            full_fence("unlocks after servicing");
            #[cfg(loom)]
            if crate::sync::injected_bug("services only once") {
                break;
            }
        }
        if self.has_port_failed() {
            // An operation may have been added after the failure was broadcast.
            self.latch.begin_error_broadcast();
        }
        if self.flags().contains(LaneFlags::CLOSED) {
            self.notify_remover_of_unlock();
        }
    }

    fn notify_remover_of_unlock(&self) {
        #[cfg(loom)]
        if crate::sync::injected_bug("notifies no remover") {
            return;
        }
        self.notify_remover();
    }

    /// Fills an empty slot from the backlog. The caller holds the lane's lock.
    pub(crate) fn promote_from_backlog(
        &self,
        cold: &mut ColdState<H>,
        direction: Direction,
        locked: &mut Locked<'_, H>,
    ) {
        if self.lane(direction).oldest() != NOTHING {
            return;
        }
        if let Some(backlog) = cold.backlog(direction) {
            if let Some(number) = backlog.pop(locked.slot_mut()) {
                self.lane(direction).set_oldest(number);
            }
            if !backlog.is_empty() {
                return;
            }
        }
        // It is set under this lock too.
        if self.flags().contains(LaneFlags::backlog(direction)) {
            self.clear_flags(LaneFlags::backlog(direction));
        }
    }

    /// How many operations wait in a direction.
    pub(crate) fn queued(&self, direction: Direction) -> usize {
        if self.is_inherited() {
            return 0;
        }
        // Under this lock nothing is promoted.
        let mut cold = self.cold.lock();
        let behind = cold.backlog(direction).map_or(0, |backlog| backlog.len());
        behind + usize::from(self.lane(direction).oldest() < NO_OPERATION)
    }
}
