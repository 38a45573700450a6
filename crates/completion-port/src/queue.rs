//! The core of a registration: two lanes, the latch, and what is rarely needed.
//!
//! Invariants:
//! * No lock is held while a callback runs. An attempt is made inside its lane, where nobody waits for it but a removal.
//! * An operation is in a lane's slot, in the rest behind it, or in the hands of the one who took it out for good and
//!   completes it.
//! * A waiting operation whose direction is ready has the port's thread on it or asked for, and a removal that waits to
//!   enter is told. A slot that is empty says nothing while its lane has a rest: another thread may be about to move an
//!   operation up. Four pairs of steps see to it, with a full fence between the steps of each, so that of two who meet
//!   at least one sees the other:
//!
//!   | one | the other |
//!   |---|---|
//!   | fills the slot and leaves; looks at the latch | (port) merges an event; looks at the slots |
//!   | leaves; looks at the latch | (port) merges an event; fails to enter |
//!   | leaves; looks whether there is a rest | adds to the rest; fails to enter |
//!   | leaves; looks whether it is closed | (removal) closes; fails to enter |

use crate::attempt::Attempt;
use crate::callback::{is_in_turn, mark, run_caught, run_in_claim, run_in_counted_claim, run_in_turn};
use crate::handler::{Action, Direction, Handler, IntoOperation};
use crate::lane::{Inside, Lane, NO_OPERATION, NOTHING, Rest, SUSPENDED};
use crate::memory::{TryArc, try_box};
use crate::phase::Phase;
use crate::readiness::{Latch, Readiness, Remembered};
use crate::removal::Step;
use crate::source::{Dispatch, Source, Token};
use crate::sync::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, Condvar, Mutex, Ordering, fence, full_fence, injected_bug,
};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// How many operations of one descriptor run before the others have their turn. With 64 KiB each that is more than a TCP
/// socket receives ahead, so that a turn ends because it has caught up: with fewer, eight busy connections take turns over
/// buffers and data that are cold again (`docs/performance.md`).
const OPERATIONS_PER_TURN: usize = 128;

pub(crate) struct Core<H: Handler> {
    pub(crate) handler: H,
    input: Lane<H>,
    output: Lane<H>,
    latch: Latch,
    /// What is to be seen without entering: see `sign`, `resume_sign` and `CLOSED`.
    pub(crate) signs: AtomicU8,
    /// The port has been asked to call `on_ready`.
    scheduled: AtomicBool,
    /// What the port's thread attempts: an `Action`, and `OF_OUTPUT` if that is the direction. 0 unless it is inside
    /// that lane.
    attempted: AtomicU8,
    /// How many callbacks, turns and steps run that a removal waits for; and `REMOVAL_WAITS`.
    pub(crate) callbacks: AtomicU32,
    /// The number of the next operation, counted in twos: one order across both directions.
    next: AtomicU64,
    /// Operations before this one waited when an error was found, and are told.
    error_end: AtomicU64,
    pub(crate) slow: Mutex<Slow<H>>,
    /// Signalled when the phase changes, or when a callback ends for which a removal waits.
    pub(crate) quiet: Condvar,
    /// The descriptor's, for a child of `fork` to close its copy.
    pub(crate) number: RawFd,
}

/// What is rarely needed.
pub(crate) struct Slow<H: Handler> {
    pub(crate) phase: Phase,
    /// How far the removal is.
    pub(crate) step: Step,
    /// How many threads are at a removal. While it is 0, whoever leaves a lane or ends a callback goes on with it.
    pub(crate) workers: u8,
    /// Of threads that wait in a [`remove_and_wait`](crate::Registration::remove_and_wait): which lanes they are inside
    /// of, by `sign`, and how many of the counted callbacks are theirs. These go on only when the wait is over.
    pub(crate) parked_lanes: u8,
    pub(crate) parked_callbacks: u32,
    pub(crate) token: Token,
    pub(crate) rests: Option<Box<[Rests<H::Operation>; 1]>>,
}

pub(crate) type Rests<O> = [Rest<O>; 2];

/// In `signs`: nothing is accepted. The lanes' own signs are `1 << direction`.
pub(crate) const CLOSED: u8 = 1 << 2;

/// In `signs`: nothing is accepted, for the port has failed.
const FAILED: u8 = 1 << 5;

/// In `signs`: a child of `fork` has closed its copy of the descriptor.
pub(crate) const LET_GO: u8 = 1 << 6;

/// In `callbacks`: a removal has begun, and is told when one of them ends.
pub(crate) const REMOVAL_WAITS: u32 = 1 << 31;

/// In `attempted`.
const OF_OUTPUT: u8 = 1 << 7;

/// Why an operation was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotQueued {
    NotRegistered,
    Inherited,
    PortFailed,
    OutOfMemory,
}

/// What is left to do by whoever has left a lane, and has a port at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum After {
    Nothing,
    /// The port has to be asked for a turn: nobody else will.
    Schedule,
    /// The registration is closed, and its removal may have been left to this thread.
    Closed,
}

/// What could not be queued, and why.
pub(crate) struct Rejected<N> {
    pub(crate) why: NotQueued,
    pub(crate) returned: N,
    pub(crate) after: After,
}

/// A lane entered for an attempt on the caller's own thread.
pub(crate) struct Taken<'a, H: Handler> {
    pub(crate) inside: Inside<'a, H>,
    number: u64,
    before: Remembered,
}

impl<H: Handler> Core<H> {
    /// The handler and the descriptor come back if there is no memory.
    pub(crate) fn try_new(handler: H, descriptor: H::Descriptor) -> Result<TryArc<Self>, (H, H::Descriptor)> {
        let half = match TryArc::try_new(descriptor) {
            Ok(half) => half,
            Err(descriptor) => return Err((handler, descriptor)),
        };
        TryArc::try_new(Self::new(handler, half)).map_err(Self::into_parts)
    }

    /// What an unused core was made of.
    fn into_parts(self) -> (H, H::Descriptor) {
        let halves = [&self.input, &self.output].map(|lane| lane.try_enter().and_then(|mut inside| inside.half.take()));
        let descriptor = halves.into_iter().flatten().find_map(TryArc::into_inner);
        (self.handler, descriptor.expect("each of the two lanes of an unused core has its half"))
    }

    fn new(handler: H, half: TryArc<H::Descriptor>) -> Self {
        let number = half.as_fd().as_raw_fd();
        Self {
            handler,
            input: Lane::new(half.clone()),
            output: Lane::new(half),
            latch: Latch::default(),
            signs: AtomicU8::new(CLOSED),
            scheduled: AtomicBool::new(false),
            attempted: AtomicU8::new(0),
            callbacks: AtomicU32::new(0),
            next: AtomicU64::new(2),
            error_end: AtomicU64::new(0),
            slow: Mutex::new(Slow {
                phase: Phase::Unregistered,
                step: Step::Detach,
                workers: 0,
                parked_lanes: 0,
                parked_callbacks: 0,
                token: Token(0),
                rests: None,
            }),
            quiet: Condvar::new(),
            number,
        }
    }

    #[inline]
    pub(crate) fn lane(&self, direction: Direction) -> &Lane<H> {
        match direction {
            Direction::In => &self.input,
            Direction::Out => &self.output,
        }
    }

    /// The port's name for the registration, once it is registered.
    pub(crate) fn token(&self) -> Token {
        self.slow.lock().token
    }

    /// Whether the registration was made before a `fork`, in a parent of this process.
    // Codes_SRS_COMPLETION_PORT_01_081
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.input.is_inherited()
    }

    pub(crate) fn has_port_failed(&self) -> bool {
        self.signs() & FAILED != 0
    }

    #[inline]
    fn take_number(&self) -> u64 {
        self.next.fetch_add(2, Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn signs(&self) -> u8 {
        self.signs.load(Ordering::Relaxed)
    }

    /// Whether a newcomer who is inside may begin: nothing waits, and operations are accepted.
    #[inline(always)]
    fn is_vacant(&self, direction: Direction) -> bool {
        let closed = if injected_bug("overlooks the end") { 0 } else { CLOSED };
        let rest = if injected_bug("overlooks the rest") { 0 } else { sign(direction) };
        let slot_is_empty = self.lane(direction).oldest() == NOTHING || injected_bug("overlooks the slot");
        slot_is_empty && self.signs() & (closed | rest | FAILED) == 0
    }

    // Codes_SRS_COMPLETION_PORT_01_010, Codes_SRS_COMPLETION_PORT_01_011, Codes_SRS_COMPLETION_PORT_01_012
    #[inline]
    pub(crate) fn push_back<N: IntoOperation<H::Operation>>(
        &self,
        direction: Direction,
        new: N,
    ) -> Result<After, Rejected<N>> {
        let lane = self.lane(direction);
        if let Some(mut inside) = lane.try_enter()
            && self.is_vacant(direction)
        {
            return match lane.fill(&mut inside, self.take_number(), new) {
                Ok(()) => Ok(self.leave(direction, inside)),
                Err(returned) => {
                    let after = self.leave(direction, inside);
                    Err(Rejected { why: NotQueued::OutOfMemory, returned, after })
                }
            };
        }
        // Who was inside for nothing does there what others have left to it meanwhile.
        self.push_rest(direction, new)
    }

    #[cold]
    fn push_rest<N: IntoOperation<H::Operation>>(&self, direction: Direction, new: N) -> Result<After, Rejected<N>> {
        if self.is_inherited() {
            return Err(Rejected { why: NotQueued::Inherited, returned: new, after: After::Nothing });
        }
        let mut slow = self.slow.lock();
        let pushed = if slow.phase == Phase::Registered && self.has_port_failed() {
            Err((NotQueued::PortFailed, new))
        } else if slow.phase == Phase::Registered {
            self.signs.fetch_or(sign(direction), Ordering::Relaxed);
            match slow.rest(direction) {
                Some(rest) => rest.push(self.take_number(), new),
                None => Err(new),
            }
            .map_err(|new| (NotQueued::OutOfMemory, new))
        } else {
            Err((NotQueued::NotRegistered, new))
        };
        drop(slow);
        full_fence("adds to the rest");
        let after = self.attend_and_ask(direction);
        match pushed {
            Ok(()) => Ok(after),
            Err((why, returned)) => Err(Rejected { why, returned, after }),
        }
    }

    /// Enters a lane that is idle: nobody is inside and nothing is queued. `None` if it is not.
    // Codes_SRS_COMPLETION_PORT_01_020
    #[inline(always)]
    pub(crate) fn take(&self, direction: Direction) -> (Option<Taken<'_, H>>, After) {
        let lane = self.lane(direction);
        let Some(inside) = lane.try_enter() else { return (None, After::Nothing) };
        // Who is granted the lane need not look for its half again.
        if !self.is_vacant(direction) || inside.half.is_none() {
            return (None, self.leave(direction, inside));
        }
        // Behind what was added before, in front of what is added from now on.
        let number = self.next.load(Ordering::Relaxed) - 1;
        // So that a removal which this thread begins meanwhile does not wait for it to leave.
        lane.set_oldest(mark());
        (Some(Taken { inside, number, before: self.latch.get() }), After::Nothing)
    }

    /// Puts an operation that got `EAGAIN` into the slot. Does not end the claim.
    // Codes_SRS_COMPLETION_PORT_01_021
    pub(crate) fn push_front<N: IntoOperation<H::Operation>>(
        &self,
        direction: Direction,
        taken: &mut Taken<'_, H>,
        new: N,
    ) -> Result<(), N> {
        self.lane(direction).fill(&mut taken.inside, taken.number, new)?;
        self.latch.exhausted_since(taken.before, direction);
        Ok(())
    }

    /// Runs the callback of a claim that has done its work.
    // Codes_SRS_COMPLETION_PORT_01_023
    #[inline]
    pub(crate) fn run_claimed(&self, end_claim: impl FnOnce(), call: impl FnOnce()) {
        // The turn of this registration, if the caller is in one, is counted already.
        if is_in_turn(self.id()) {
            run_in_claim(end_claim, call);
        } else {
            let _counted = self.count();
            run_in_counted_claim(self.id(), end_claim, call);
        }
    }

    /// Ends a claim that leaves nothing in the slot.
    #[inline]
    pub(crate) fn leave_claim(&self, direction: Direction, inside: Inside<'_, H>) -> After {
        self.lane(direction).set_oldest(NOTHING);
        self.leave_empty(direction, inside)
    }

    /// Ends a claim that may have left something.
    pub(crate) fn drop_claim(&self, direction: Direction, inside: Inside<'_, H>) -> After {
        if !self.lane(direction).has_operation() {
            self.lane(direction).set_oldest(NOTHING);
        }
        self.leave(direction, inside)
    }

    /// Leaves a lane, and does what others have left to us meanwhile.
    #[inline]
    pub(crate) fn leave(&self, direction: Direction, inside: Inside<'_, H>) -> After {
        drop(inside);
        full_fence("leaves");
        if self.signs() == 0 { self.ask_for_turn(direction) } else { self.attend_and_ask(direction) }
    }

    /// The same on the port's thread, which will look at the lane again anyway.
    #[inline]
    pub(crate) fn leave_in_turn(&self, direction: Direction, inside: Inside<'_, H>) {
        drop(inside);
        full_fence("leaves");
        if self.signs() != 0 {
            self.attend(direction);
        }
    }

    /// Leaves a lane with nothing in its slot: only what others have left to us can need the port.
    #[inline]
    fn leave_empty(&self, direction: Direction, inside: Inside<'_, H>) -> After {
        drop(inside);
        full_fence("leaves");
        if self.signs() == 0 { After::Nothing } else { self.attend_and_ask(direction) }
    }

    #[cold]
    pub(crate) fn attend_and_ask(&self, direction: Direction) -> After {
        self.attend(direction);
        if self.signs() & CLOSED != 0 { After::Closed } else { self.ask_for_turn(direction) }
    }

    /// Whether the port has to be asked for a turn.
    // Codes_SRS_COMPLETION_PORT_01_013
    #[inline]
    fn ask_for_turn(&self, direction: Direction) -> After {
        if self.latch.get().is_anything_for(direction) && self.is_first_to_ask(direction) {
            After::Schedule
        } else {
            After::Nothing
        }
    }

    #[cold]
    fn is_first_to_ask(&self, direction: Direction) -> bool {
        let waits = self.lane(direction).oldest() < SUSPENDED;
        // In its own turn the port will look anyway.
        waits && !is_in_turn(self.id()) && !self.scheduled.swap(true, Ordering::AcqRel)
    }

    /// Lets a suspended operation run again. Whether there is one, as far as can be seen from outside.
    pub(crate) fn resume(&self, direction: Direction) -> (bool, After) {
        if self.is_inherited() {
            return (false, After::Nothing);
        }
        let waits = self.lane(direction).has_operation();
        self.signs.fetch_or(resume_sign(direction), Ordering::Relaxed);
        full_fence("asks to resume");
        (waits, self.attend_and_ask(direction))
    }

    /// Does what the signs ask for, or leaves that to who is inside: resumes what is suspended, and moves the rest up if
    /// the slot is empty. Tells a removal that nobody is inside any more.
    #[cold]
    fn attend(&self, direction: Direction) {
        let lane = self.lane(direction);
        let rest_moves = || self.signs() & sign(direction) != 0 && lane.oldest() == NOTHING;
        let resumes = || self.signs() & resume_sign(direction) != 0;
        while (rest_moves() || resumes())
            && let Some(mut inside) = lane.try_enter()
        {
            if resumes() {
                self.signs.fetch_and(!resume_sign(direction), Ordering::Relaxed);
                if lane.has_operation() {
                    lane.set_oldest(lane.oldest() & !SUSPENDED);
                }
            }
            if rest_moves() {
                self.refill(direction, &mut inside);
            }
            drop(inside);
            full_fence("leaves after attending");
            if injected_bug("attends only once") {
                break;
            }
        }
        if self.has_port_failed() {
            // It may have been added when the failure had been told.
            self.latch.tell();
        }
        self.tell_if_closed();
    }

    /// Tells whoever waits for a removal that a lane was left.
    fn tell_if_closed(&self) {
        if self.signs() & CLOSED != 0 && !injected_bug("leaves without a word") {
            self.tell_removal();
        }
    }

    fn refill(&self, direction: Direction, inside: &mut Inside<'_, H>) {
        self.move_up(&mut self.slow.lock(), direction, inside);
    }

    /// Fills a slot from the rest behind it, if it is empty. For who is inside the lane.
    pub(crate) fn move_up(&self, slow: &mut Slow<H>, direction: Direction, inside: &mut Inside<'_, H>) {
        if self.lane(direction).oldest() != NOTHING {
            return;
        }
        // The end of a removal has taken all, if there are none.
        if let Some(rests) = &mut slow.rests {
            let rest = &mut rests[0][direction as usize];
            if let Some(number) = rest.pop(&mut inside.slot) {
                self.lane(direction).set_oldest(number);
            }
            if !rest.queue.is_empty() {
                return;
            }
        }
        // Whoever sees that there is no rest sees what was in it in the slot.
        self.signs.fetch_and(!sign(direction), Ordering::Release);
    }

    /// Attempts the oldest operation that can run now. False if there is none, or if somebody else is inside its lane,
    /// who will ask for another turn.
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_079
    #[inline(always)]
    fn run_next(&self, remembered: Remembered) -> bool {
        if !remembered.is_plain() {
            return self.run_next_of_any_kind(remembered);
        }
        let (input, output) = (self.input.oldest(), self.output.oldest());
        let output_waits = output < SUSPENDED && remembered.contains(Remembered::OUTPUT);
        if input < SUSPENDED && remembered.contains(Remembered::INPUT) && !(output_waits && output < input) {
            return self.run_oldest(Direction::In, Action::In);
        }
        output_waits && self.run_oldest(Direction::Out, Action::Out)
    }

    /// Whether there may be an operation that can run.
    #[inline]
    fn can_run(&self, remembered: Remembered) -> bool {
        let waits_for = |lane: &Lane<H>, event| remembered.contains(event) && lane.oldest() < SUSPENDED;
        !remembered.is_plain()
            || waits_for(&self.input, Remembered::INPUT)
            || waits_for(&self.output, Remembered::OUTPUT)
    }

    /// What a turn does after its first operation. Apart, for most turns have only one, and are shorter without a loop.
    #[cold]
    #[inline(never)]
    fn run_others(&self) -> Dispatch {
        for _ in 1..OPERATIONS_PER_TURN {
            if !self.run_next(self.latch.get()) {
                return Dispatch::Idle;
            }
        }
        Dispatch::Yielded
    }

    // Codes_SRS_COMPLETION_PORT_01_108
    #[cold]
    fn run_next_of_any_kind(&self, remembered: Remembered) -> bool {
        let error_end = self.error_end.load(Ordering::Relaxed);
        // Looked at before the slots: what leaves a rest meanwhile is in its slot then.
        let signs = if injected_bug("overlooks what moves up") { 0 } else { self.signs.load(Ordering::Acquire) };
        let runnable = |direction| {
            let number = self.lane(direction).oldest();
            let error = || (number < error_end).then_some(Action::Error);
            let action = (number < SUSPENDED).then(|| remembered.action(direction).or_else(error)).flatten()?;
            Some((number, direction, action))
        };
        // Another thread is about to move an operation from the rest into the slot. It may have waited when the error was
        // found, and longer than the other direction's.
        let moves_up = |direction| signs & sign(direction) != 0 && !self.lane(direction).has_operation();
        let moves_up = moves_up(Direction::In) || moves_up(Direction::Out);
        let is_to_be_told = |direction| {
            let number = self.lane(direction).oldest();
            number < NO_OPERATION && number & !SUSPENDED < error_end
        };
        if !moves_up && !is_to_be_told(Direction::In) && !is_to_be_told(Direction::Out) {
            self.latch.told();
        }
        let oldest = [runnable(Direction::In), runnable(Direction::Out)].into_iter().flatten().min_by_key(|it| it.0);
        // That thread asks for another turn.
        oldest
            .filter(|(_, _, action)| !moves_up || *action != Action::Error)
            .is_some_and(|(_, direction, action)| self.run_oldest(direction, action))
    }

    /// Attempts the oldest operation of a lane. False if somebody else is inside or wants to be.
    #[inline(always)]
    fn run_oldest(&self, direction: Direction, action: Action) -> bool {
        let lane = self.lane(direction);
        let Some(mut inside) = lane.try_enter() else { return false };
        if self.signs() & CLOSED != 0 {
            // The removal that waits to enter abandons it.
            self.leave_in_turn(direction, inside);
            return false;
        }
        if action == Action::Error && lane.oldest() >= self.error_end.load(Ordering::Relaxed) {
            self.ask_for_error(direction, inside);
        } else if let Some(operation) = inside.slot.take() {
            self.enter_attempt(direction, action);
            let attempt = Attempt::inside(self, inside);
            run_caught("callback", || self.handler.attempt(operation, action, attempt));
        }
        true
    }

    #[inline(always)]
    fn enter_attempt(&self, direction: Direction, action: Action) {
        let of = if direction == Direction::Out { OF_OUTPUT } else { 0 };
        self.attempted.store(action as u8 | of, Ordering::Relaxed);
    }

    /// Whether this thread is inside a lane: for an attempt in its turn, or with a claim.
    pub(crate) fn is_inside(&self, direction: Direction) -> bool {
        let attempts = self.attempted.load(Ordering::Relaxed) != 0 && self.attempted() == direction;
        let has_claimed = mark() != 0 && self.lane(direction).oldest() == mark();
        has_claimed || (attempts && is_in_turn(self.id()))
    }

    /// The direction of what the port's thread attempts.
    #[inline]
    pub(crate) fn attempted(&self) -> Direction {
        if self.attempted.load(Ordering::Relaxed) & OF_OUTPUT == 0 { Direction::In } else { Direction::Out }
    }

    /// Ends the work on an operation that is done.
    #[inline(always)]
    pub(crate) fn end_attempt(&self, mut inside: Inside<'_, H>, drained: bool, emptied: Option<H::Operation>) {
        let direction = self.attempted();
        match direction {
            Direction::In => self.note_done(Direction::In, drained),
            Direction::Out => self.output_done(drained),
        }
        // Nothing has been there since the operation was taken out, so there is nothing to drop.
        mem::forget(mem::replace(&mut inside.slot, emptied));
        self.attempted.store(0, Ordering::Relaxed);
        self.leave_in_turn(direction, inside);
    }

    /// Ends the work on an operation that is back in its slot.
    pub(crate) fn end_unfinished(&self, inside: Inside<'_, H>) {
        let direction = self.attempted();
        self.attempted.store(0, Ordering::Relaxed);
        self.leave_in_turn(direction, inside);
    }

    #[inline(always)]
    fn note_done(&self, direction: Direction, drained: bool) {
        if drained {
            self.latch.drained(direction);
        }
        self.lane(direction).set_oldest(NOTHING);
    }

    /// Apart, for the port's thread sends only what the kernel did not take at once.
    #[cold]
    fn output_done(&self, drained: bool) {
        self.note_done(Direction::Out, drained);
    }

    /// An attempt on the port's thread got `EAGAIN`.
    pub(crate) fn exhausted(&self) {
        let action = match self.attempted.load(Ordering::Relaxed) & !OF_OUTPUT {
            action if action == Action::RdHup as u8 => Action::RdHup,
            action if action == Action::In as u8 => Action::In,
            action if action == Action::Out as u8 => Action::Out,
            _ => Action::Error,
        };
        self.latch.exhausted(action);
        if action == Action::Error {
            self.error_end.store(0, Ordering::Relaxed);
            self.latch.told();
        }
    }

    /// Finds out whether an error event is about an error. If so, it is for everyone who waits now; who comes later asks
    /// again, for an error may last or be over.
    #[cold]
    fn ask_for_error(&self, direction: Direction, inside: Inside<'_, H>) {
        let Some(half) = &inside.half else { return self.leave_in_turn(direction, inside) };
        self.enter_attempt(direction, Action::Error);
        if run_caught("question for an error", || self.handler.is_error(half)).unwrap_or(true) {
            // A number of its own, so that a claim that begins now comes after it.
            self.error_end.store(self.take_number(), Ordering::Relaxed);
            self.latch.tell();
        } else {
            self.latch.exhausted(Action::Error);
        }
        self.end_unfinished(inside);
    }

    /// How many operations wait in a direction.
    pub(crate) fn queued(&self, direction: Direction) -> usize {
        if self.is_inherited() {
            return 0;
        }
        // Under the lock nothing moves from the rest into the slot.
        let slow = self.slow.lock();
        let rest = slow.rests.as_ref().map_or(0, |rests| rests[0][direction as usize].queue.len());
        rest + usize::from(self.lane(direction).has_operation())
    }

    /// Counts a callback, turn or step, such that a removal waits until the count is dropped.
    #[inline]
    pub(crate) fn count(&self) -> Counted<'_, H> {
        self.callbacks.fetch_add(1, Ordering::AcqRel);
        Counted(self)
    }

    pub(crate) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<H: Handler> Slow<H> {
    /// The rest of a direction; `None` if there is no memory for it.
    fn rest(&mut self, direction: Direction) -> Option<&mut Rest<H::Operation>> {
        let rests = match &mut self.rests {
            Some(rests) => rests,
            none => none.insert(try_box([Rest::new(), Rest::new()]).ok()?),
        };
        Some(&mut rests[0][direction as usize])
    }
}

/// In `signs`: the lane has a rest.
pub(crate) const fn sign(direction: Direction) -> u8 {
    1 << direction as u8
}

/// In `signs`: what is suspended in the lane shall run again.
const fn resume_sign(direction: Direction) -> u8 {
    1 << 3 << direction as u8
}

impl<H: Handler> Source for Core<H> {
    // Codes_SRS_COMPLETION_PORT_01_036, Codes_SRS_COMPLETION_PORT_01_040
    fn on_ready(&self, events: Readiness) -> Dispatch {
        let remembered = if events.is_empty() {
            self.scheduled.swap(false, Ordering::AcqRel);
            self.latch.get()
        } else {
            self.latch.merge(events)
        };
        // All of it, so also what a handler does after an attempt.
        let counted = self.count();
        full_fence("merges an event");
        let turn = run_in_turn(self.id(), || {
            if self.run_next(remembered) && self.can_run(self.latch.get()) { self.run_others() } else { Dispatch::Idle }
        });
        drop(counted);
        turn
    }

    fn queued(&self, direction: Direction) -> usize {
        Core::queued(self, direction)
    }

    // Codes_SRS_COMPLETION_PORT_01_091, Codes_SRS_COMPLETION_PORT_01_093
    fn on_port_failure(&self) {
        self.handler.port_failed();
        // The numbers of all that will ever wait are below that.
        self.error_end.store(SUSPENDED, Ordering::Relaxed);
        self.signs.fetch_or(FAILED | resume_sign(Direction::In) | resume_sign(Direction::Out), Ordering::Relaxed);
        self.latch.tell();
        fence(Ordering::SeqCst);
        self.attend(Direction::In);
        self.attend(Direction::Out);
    }
}

/// Something that is counted.
#[must_use]
pub(crate) struct Counted<'a, H: Handler>(&'a Core<H>);

impl<H: Handler> Drop for Counted<'_, H> {
    #[inline]
    fn drop(&mut self) {
        if self.0.callbacks.fetch_sub(1, Ordering::AcqRel) & REMOVAL_WAITS != 0 {
            self.0.count_has_dropped();
        }
    }
}
