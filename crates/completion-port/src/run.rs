//! Runs the operations of one registration on the port thread.

use crate::action::{Action, Direction};
use crate::callback::{enter, is_in_dispatch, leave, mark, run_caught, run_in_dispatch, timed};
use crate::cancel::TimerFired;
use crate::core::{Core, LaneOf, Locked};
use crate::flags::LaneFlags;
use crate::handler::{Attempt, Handler};
use crate::lane::{NO_OPERATION, NOTHING, SUSPENDED};
use crate::readiness::{Readiness, Remembered};
use crate::source::{Dispatch, Source};
use crate::sync::{Ordering, fence, full_fence};
use std::mem;
use std::time::Instant;

/// The most operations of one descriptor that run before the other descriptors have their turn. With 64 KiB each that is
/// more than a TCP socket receives ahead, so a dispatch ends because it has caught up. With fewer, the buffers and data of
/// eight busy connections are out of the cache at each turn (`docs/performance.md`).
const DISPATCH_BUDGET: usize = 128;

/// In `attempted`.
const OF_OUTPUT: u8 = 1 << 7;

impl<H: Handler> Core<H> {
    /// Attempts the oldest operation that can run now. False if there is none, or if another thread has locked its lane.
    /// That thread then schedules the registration again.
    #[inline(always)]
    fn run_next(&self, remembered: Remembered) -> bool {
        if !remembered.is_plain() {
            return self.run_next_slow(remembered);
        }
        // Nearly always no send waits.
        if self.lane(Direction::Out).oldest() < SUSPENDED {
            return self.run_older(remembered);
        }
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_079
        let runs = remembered.contains(Remembered::INPUT) && self.lane(Direction::In).oldest() < SUSPENDED;
        runs && self.run_oldest(Direction::In, Action::In)
    }

    /// Whether there may be an operation that can run.
    #[inline]
    fn can_run(&self, remembered: Remembered) -> bool {
        let waits_for = |lane: LaneOf<'_, H>, event| remembered.contains(event) && lane.oldest() < SUSPENDED;
        !remembered.is_plain()
            || waits_for(self.lane(Direction::In), Remembered::INPUT)
            || waits_for(self.lane(Direction::Out), Remembered::OUTPUT)
    }

    /// Runs the operations after the first of a dispatch. A separate function, because most dispatches have only one
    /// operation and are shorter without a loop.
    #[cold]
    #[inline(never)]
    fn run_rest_of_budget(&self) -> Dispatch {
        for _ in 1..DISPATCH_BUDGET {
            if !self.run_next(self.latch.get()) {
                return Dispatch::Idle;
            }
        }
        Dispatch::Yielded
    }

    /// Attempts the oldest operation whose direction is ready.
    #[cold]
    #[inline(never)]
    fn run_older(&self, remembered: Remembered) -> bool {
        let (input, output) = (self.lane(Direction::In).oldest(), self.lane(Direction::Out).oldest());
        let output_waits = output < SUSPENDED && remembered.contains(Remembered::OUTPUT);
        if input < SUSPENDED && remembered.contains(Remembered::INPUT) && !(output_waits && output < input) {
            return self.run_oldest(Direction::In, Action::In);
        }
        output_waits && self.run_oldest(Direction::Out, Action::Out)
    }

    /// [`run_next`](Self::run_next) if the kernel has reported more than readability and writability, or the port counts.
    #[cold]
    fn run_next_slow(&self, remembered: Remembered) -> bool {
        let error_end = self.error_end.load(Ordering::Relaxed);
        // Read before the slots, so that an operation that leaves the backlog meanwhile is seen in its slot.
        // Codes_SRS_COMPLETION_PORT_01_108
        let flags = self.flags_before_the_slots();
        let runnable = |direction| {
            let number = self.lane(direction).oldest();
            let error = || (number < error_end).then_some(Action::Error);
            let action = (number < SUSPENDED).then(|| remembered.action(direction).or_else(error)).flatten()?;
            Some((number, direction, action))
        };
        // Another thread is about to promote an operation. That operation may have waited when the error was found, and may
        // be older than the oldest of the other direction.
        let is_promoted =
            |direction| flags.contains(LaneFlags::backlog(direction)) && !self.lane(direction).has_operation();
        let promotes = Direction::BOTH.into_iter().any(is_promoted);
        let is_to_be_told = |direction| {
            let number = self.lane(direction).oldest();
            number < NO_OPERATION && number & !SUSPENDED < error_end
        };
        if !promotes && !Direction::BOTH.into_iter().any(is_to_be_told) {
            self.latch.end_error_broadcast();
        }
        let oldest = Direction::BOTH.into_iter().filter_map(runnable).min_by_key(|it| it.0);
        // The thread that promotes schedules the registration again.
        oldest
            .filter(|(_, _, action)| !promotes || *action != Action::Error)
            .is_some_and(|(_, direction, action)| timed(|| self.run_oldest(direction, action)))
    }

    fn flags_before_the_slots(&self) -> LaneFlags {
        #[cfg(loom)]
        if crate::sync::injected_bug("overlooks a promotion") {
            return LaneFlags::empty();
        }
        self.flags_acquired()
    }

    /// Attempts the oldest operation of a lane. False if another thread has locked the lane, or if a removal waits for it.
    #[inline(always)]
    fn run_oldest(&self, direction: Direction, action: Action) -> bool {
        let lane = self.lane(direction);
        let Some(mut locked) = lane.try_lock() else { return false };
        if self.flags().contains(LaneFlags::CLOSED) {
            // The removal that waits for the lane abandons it.
            self.unlock_in_dispatch(direction, locked);
            return false;
        }
        if action == Action::Error && lane.oldest() >= self.error_end.load(Ordering::Relaxed) {
            self.ask_for_error(direction, locked);
        } else if let Some(operation) = locked.slot_mut().take() {
            self.note_attempt(direction, action);
            let attempt = Attempt::of_locked(self, locked);
            run_caught("callback", || self.handler.attempt(operation, action, attempt));
        }
        true
    }

    /// Notes the direction and the action of an attempt. The direction tells a removal inside the attempt which lane this
    /// thread has locked. The action does not lie in the `Attempt`, because that is passed in two registers.
    #[inline(always)]
    fn note_attempt(&self, direction: Direction, action: Action) {
        let of = if direction == Direction::Out { OF_OUTPUT } else { 0 };
        self.lanes.attempted.store(action as u8 | of, Ordering::Relaxed);
    }

    /// Whether this thread has locked a lane: for an attempt in its dispatch, or with a claim.
    pub(crate) fn has_locked(&self, direction: Direction) -> bool {
        let attempted = self.lanes.attempted.load(Ordering::Relaxed);
        let attempts = attempted != 0 && (attempted & OF_OUTPUT != 0) == (direction == Direction::Out);
        let has_claimed = mark() != 0 && self.lane(direction).oldest() == mark();
        has_claimed || (attempts && is_in_dispatch(self.id()))
    }

    /// Ends the work on an operation that is done.
    #[inline(always)]
    pub(crate) fn end_attempt(&self, locked: Locked<'_, H>, drained: bool, recycled: Option<H::Operation>) {
        match locked.direction() {
            Direction::In => self.end_attempt_of(Direction::In, locked, drained, recycled),
            Direction::Out => self.end_output_attempt(locked, drained, recycled),
        }
    }

    /// A cold function, because the port thread sends only messages that the kernel did not take at once.
    #[cold]
    fn end_output_attempt(&self, locked: Locked<'_, H>, drained: bool, recycled: Option<H::Operation>) {
        self.end_attempt_of(Direction::Out, locked, drained, recycled);
    }

    /// With a constant direction it is shorter.
    #[inline(always)]
    fn end_attempt_of(
        &self,
        direction: Direction,
        mut locked: Locked<'_, H>,
        drained: bool,
        recycled: Option<H::Operation>,
    ) {
        if drained {
            self.latch.drained(direction);
        }
        self.lane(direction).set_oldest(NOTHING);
        // The slot is empty since the operation was taken out, so there is nothing to drop.
        mem::forget(mem::replace(locked.slot_mut(), recycled));
        self.lanes.attempted.store(0, Ordering::Relaxed);
        self.unlock_in_dispatch(direction, locked);
    }

    /// Ends the work on an operation that is back in its slot.
    pub(crate) fn end_unfinished(&self, locked: Locked<'_, H>) {
        let direction = locked.direction();
        self.lanes.attempted.store(0, Ordering::Relaxed);
        self.unlock_in_dispatch(direction, locked);
    }

    /// An attempt on the port thread got `EAGAIN`.
    pub(crate) fn exhausted(&self) {
        let action = match self.lanes.attempted.load(Ordering::Relaxed) & !OF_OUTPUT {
            action if action == Action::RdHup as u8 => Action::RdHup,
            action if action == Action::In as u8 => Action::In,
            action if action == Action::Out as u8 => Action::Out,
            _ => Action::Error,
        };
        self.latch.exhausted(action);
        if action == Action::Error {
            self.error_end.store(0, Ordering::Relaxed);
            self.latch.end_error_broadcast();
        }
    }

    /// Asks the handler whether an error event means an error. If so, every operation that waits now gets the error. An
    /// operation added later asks again, because an error may persist or be over.
    #[cold]
    fn ask_for_error(&self, direction: Direction, locked: Locked<'_, H>) {
        let Some(descriptor) = locked.descriptor() else { return self.unlock_in_dispatch(direction, locked) };
        self.note_attempt(direction, Action::Error);
        if run_caught("question for an error", || self.handler.is_error(descriptor)).unwrap_or(true) {
            // Takes a number, so that a claim that begins now gets a higher one.
            // Codes_SRS_COMPLETION_PORT_01_108
            self.error_end.store(self.take_number(), Ordering::Relaxed);
            // Codes_SRS_COMPLETION_PORT_01_108
            self.latch.begin_error_broadcast();
        } else {
            self.latch.exhausted(Action::Error);
        }
        self.end_unfinished(locked);
    }
}

impl<H: Handler> Source for Core<H> {
    fn on_ready(&self, events: Readiness) -> Dispatch {
        let remembered = if events.is_empty() {
            self.scheduled.swap(false, Ordering::AcqRel);
            self.latch.get()
        } else {
            self.latch.merge(events)
        };
        // The whole dispatch is counted, including everything a handler does after its attempt.
        let counted = self.count();
        full_fence("merges an event");
        let dispatch = run_in_dispatch(self.id(), || {
            if self.run_next(remembered) && self.can_run(self.latch.get()) {
                self.run_rest_of_budget()
            } else {
                Dispatch::Idle
            }
        });
        drop(counted);
        dispatch
    }

    fn on_timer(&self, now: Instant) -> (Dispatch, Option<Instant>) {
        let counted = self.count();
        enter(self.id());
        // Codes_SRS_COMPLETION_PORT_01_170
        let again = run_caught("timer", || self.handler.timer_fired(&TimerFired::new(self, now))).flatten();
        leave();
        drop(counted);
        // An operation that was behind those that ended may be able to run.
        (Dispatch::Yielded, again)
    }

    fn queued(&self, direction: Direction) -> usize {
        Core::queued(self, direction)
    }

    fn on_port_failure(&self) {
        self.handler.port_failed();
        // Codes_SRS_COMPLETION_PORT_01_091
        // Every operation, now or later, has a number below this.
        self.error_end.store(SUSPENDED, Ordering::Relaxed);
        self.set_flags(LaneFlags::PORT_FAILED | LaneFlags::RESUME_IN | LaneFlags::RESUME_OUT);
        self.latch.begin_error_broadcast();
        fence(Ordering::SeqCst);
        self.service_flags(Direction::In);
        self.service_flags(Direction::Out);
    }
}
