//! The core of a registration: two queues, what is remembered of the descriptor's readiness, and
//! who may work on which direction.
//!
//! Invariants, all under one lock that is never held while foreign code runs:
//! * Whoever works on a direction has taken its half of the descriptor, so no two threads ever do,
//!   and removal, which needs both halves, comes after all of them.
//! * An operation is in a queue or in the hands of the one who works on it, never both, and is
//!   completed by whoever takes it for good.
//! * A queued operation whose direction is ready has the port's thread on it or scheduled.

use crate::callback::{Nesting, inline_depth, run_caught, run_inline};
use crate::handler::{Action, Direction, Handler, Progress};
use crate::port::{Source, Token, Turn};
use crate::readiness::{Latch, Readiness};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;

/// How many operations of one descriptor run before the others have their turn.
const OPERATIONS_PER_TURN: usize = 32;

pub(crate) struct Core<H: Handler> {
    pub(crate) handler: H,
    state: Mutex<State<H>>,
    /// Signalled whenever something ends that a removal may be waiting for.
    quiet: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Unregistered,
    Registering,
    Registered,
    Removing,
    Removed,
}

struct State<H: Handler> {
    phase: Phase,
    token: Option<Token>,
    input: Half<H>,
    output: Half<H>,
    latch: Latch,
    /// The number of the next operation: one order across both directions.
    next: u64,
    /// Operations before this one waited when an error was found, and are told.
    error_end: u64,
    /// The port's thread is in `on_ready` and will look at the queues again before it leaves.
    dispatching: bool,
    /// The port has been told to call `on_ready`.
    scheduled: bool,
    /// The port's thread is in an operation's call-back.
    port_callback: bool,
    /// Call-backs that run on the threads of their callers.
    inline_callbacks: usize,
}

/// One direction.
struct Half<H: Handler> {
    /// Taken by whoever works on this direction.
    descriptor: Option<Arc<H::Descriptor>>,
    queue: VecDeque<Entry<H::Operation>>,
}

struct Entry<O> {
    number: u64,
    operation: O,
}

/// Why an operation was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotQueued {
    NotRegistered,
    OutOfMemory,
}

/// Whether the port has to be told that there is work.
#[must_use]
pub(crate) struct Schedule(pub(crate) bool);

/// A direction taken for an attempt on the caller's own thread.
pub(crate) struct Taken<H: Handler> {
    pub(crate) descriptor: Arc<H::Descriptor>,
    number: u64,
}

/// What a removal leaves to be done without the lock.
pub(crate) struct Removal<H: Handler> {
    pub(crate) descriptor: Arc<H::Descriptor>,
    second: Arc<H::Descriptor>,
    pub(crate) token: Option<Token>,
    input: VecDeque<Entry<H::Operation>>,
    output: VecDeque<Entry<H::Operation>>,
}

impl<H: Handler> Removal<H> {
    /// The oldest operation of both directions.
    fn pop_oldest(&mut self) -> Option<H::Operation> {
        let number = |queue: &VecDeque<Entry<_>>| queue.front().map_or(u64::MAX, |entry| entry.number);
        let oldest = if number(&self.output) < number(&self.input) { &mut self.output } else { &mut self.input };
        oldest.pop_front().map(|entry| entry.operation)
    }
}

impl<H: Handler> State<H> {
    #[inline]
    fn half(&mut self, direction: Direction) -> &mut Half<H> {
        match direction {
            Direction::In => &mut self.input,
            Direction::Out => &mut self.output,
        }
    }

    #[inline]
    fn reserve(&mut self, direction: Direction) -> Result<(), NotQueued> {
        let Half { descriptor, queue } = self.half(direction);
        // The operation that is being worked on may come back, and must then find room.
        let room = if descriptor.is_none() { 2 } else { 1 };
        // The first operation gets room for just itself: most sockets never have a second one.
        let reserved = if queue.capacity() == 0 { queue.try_reserve_exact(room) } else { queue.try_reserve(room) };
        reserved.map_err(|_| NotQueued::OutOfMemory)
    }

    /// The action for the front of a direction's queue, if it can run now.
    #[inline]
    fn runnable(&self, direction: Direction) -> Option<(u64, Action)> {
        let half = if direction == Direction::In { &self.input } else { &self.output };
        let number = half.queue.front()?.number;
        half.descriptor.as_ref()?;
        let error = || (number < self.error_end).then_some(Action::Error);
        Some((number, self.latch.action(direction).or_else(error)?))
    }

    /// The oldest operation that can run now.
    #[inline]
    fn next_runnable(&self) -> Option<(Direction, Action)> {
        if self.phase != Phase::Registered {
            return None;
        }
        match (self.runnable(Direction::In), self.runnable(Direction::Out)) {
            (Some((input, _)), Some((output, action))) if output < input => Some((Direction::Out, action)),
            (Some((_, action)), _) => Some((Direction::In, action)),
            (None, Some((_, action))) => Some((Direction::Out, action)),
            (None, None) => None,
        }
    }

    // Codes_SRS_COMPLETION_PORT_01_013
    #[inline]
    fn schedule(&mut self) -> Schedule {
        let needed = !self.dispatching && !self.scheduled && self.next_runnable().is_some();
        self.scheduled |= needed;
        Schedule(needed)
    }
}

impl<H: Handler> Core<H> {
    pub(crate) fn new(handler: H) -> Self {
        let half = || Half { descriptor: None, queue: VecDeque::new() };
        Self {
            handler,
            state: Mutex::new(State {
                phase: Phase::Unregistered,
                token: None,
                input: half(),
                output: half(),
                latch: Latch::empty(),
                next: 0,
                error_end: 0,
                dispatching: false,
                scheduled: false,
                port_callback: false,
                inline_callbacks: 0,
            }),
            quiet: Condvar::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    /// Moves from one phase to the next, or says which phase it is.
    pub(crate) fn advance(&self, from: Phase, to: Phase) -> Result<(), Phase> {
        let mut state = self.state.lock();
        if state.phase != from {
            return Err(state.phase);
        }
        state.phase = to;
        Ok(())
    }

    pub(crate) fn registered(&self, descriptor: H::Descriptor, token: Token) {
        let descriptor = Arc::new(descriptor);
        let mut state = self.state.lock();
        state.token = Some(token);
        state.input.descriptor = Some(Arc::clone(&descriptor));
        state.output.descriptor = Some(descriptor);
        state.phase = Phase::Registered;
    }

    // Codes_SRS_COMPLETION_PORT_01_010, Codes_SRS_COMPLETION_PORT_01_011, Codes_SRS_COMPLETION_PORT_01_012
    #[inline]
    pub(crate) fn push_back<O: Into<H::Operation>>(
        &self,
        direction: Direction,
        operation: O,
    ) -> Result<Schedule, (NotQueued, O)> {
        let mut state = self.state.lock();
        if state.phase != Phase::Registered {
            return Err((NotQueued::NotRegistered, operation));
        }
        if let Err(error) = state.reserve(direction) {
            return Err((error, operation));
        }
        let number = state.next;
        state.next += 1;
        state.half(direction).queue.push_back(Entry { number, operation: operation.into() });
        Ok(state.schedule())
    }

    /// Takes a direction that is idle: nobody works on it and nothing is queued. `Ok(None)` if it is not.
    // Codes_SRS_COMPLETION_PORT_01_020
    #[inline]
    pub(crate) fn take(&self, direction: Direction) -> Result<Option<Taken<H>>, NotQueued> {
        let mut state = self.state.lock();
        if state.phase != Phase::Registered {
            return Err(NotQueued::NotRegistered);
        }
        let half = state.half(direction);
        if !half.queue.is_empty() {
            return Ok(None);
        }
        let Some(descriptor) = half.descriptor.take() else { return Ok(None) };
        let number = state.next;
        state.next += 1;
        state.latch.begin_claim(direction);
        Ok(Some(Taken { descriptor, number }))
    }

    /// Puts an operation that got `EAGAIN` in front of the queue. Does not end the claim.
    // Codes_SRS_COMPLETION_PORT_01_021
    pub(crate) fn push_front<O: Into<H::Operation>>(
        &self,
        direction: Direction,
        taken: &Taken<H>,
        operation: O,
    ) -> Result<(), (NotQueued, O)> {
        let mut state = self.state.lock();
        if let Err(error) = state.reserve(direction) {
            return Err((error, operation));
        }
        let entry = Entry { number: taken.number, operation: operation.into() };
        state.half(direction).queue.push_front(entry);
        state.latch.exhausted_by_claim(direction);
        Ok(())
    }

    /// Ends a claim; `callbacks` more call-backs now run on the caller's thread.
    #[inline]
    pub(crate) fn give_back(&self, direction: Direction, taken: Taken<H>, callbacks: usize) -> Schedule {
        let mut state = self.state.lock();
        state.half(direction).descriptor = Some(taken.descriptor);
        state.inline_callbacks += callbacks;
        self.tell_removal(&state);
        state.schedule()
    }

    /// Counts a call-back that is about to run on the caller's thread.
    pub(crate) fn begin_inline(&self) {
        self.state.lock().inline_callbacks += 1;
    }

    /// Whether the caller is inside a call-back that was counted.
    pub(crate) fn is_in_inline_callback(&self) -> bool {
        inline_depth(self.id()) > 0
    }

    /// Runs a call-back that has been counted.
    #[inline]
    pub(crate) fn run_inline(&self, nesting: Nesting, call: impl FnOnce()) {
        run_inline(self.id(), nesting, call);
    }

    /// Counts it out again.
    #[inline]
    pub(crate) fn end_inline(&self) {
        let mut state = self.state.lock();
        state.inline_callbacks -= 1;
        self.tell_removal(&state);
    }

    /// Waits until nothing of this registration runs on another thread, then takes everything.
    /// `None` if it is not registered, or being removed by somebody else.
    // Codes_SRS_COMPLETION_PORT_01_050, Codes_SRS_COMPLETION_PORT_01_051
    pub(crate) fn begin_removal(&self, on_port_thread: bool) -> Option<Removal<H>> {
        let own_callbacks = inline_depth(self.id());
        let mut state = self.state.lock();
        if state.phase != Phase::Registered {
            return None;
        }
        state.phase = Phase::Removing;
        loop {
            let callbacks_done = state.inline_callbacks == own_callbacks && (on_port_thread || !state.port_callback);
            match (state.input.descriptor.take(), state.output.descriptor.take()) {
                (Some(descriptor), Some(second)) if callbacks_done => {
                    state.phase = Phase::Removed;
                    return Some(Removal {
                        descriptor,
                        second,
                        token: state.token.take(),
                        input: std::mem::take(&mut state.input.queue),
                        output: std::mem::take(&mut state.output.queue),
                    });
                }
                (input, output) => {
                    state.input.descriptor = input;
                    state.output.descriptor = output;
                }
            }
            self.quiet.wait(&mut state);
        }
    }

    /// Completes what was pending and gives the descriptor back.
    // Codes_SRS_COMPLETION_PORT_01_052, Codes_SRS_COMPLETION_PORT_01_054
    pub(crate) fn finish_removal(&self, mut removal: Removal<H>) -> Option<H::Descriptor> {
        while let Some(mut operation) = removal.pop_oldest() {
            self.perform(&removal.descriptor, &mut operation, Action::Abandoned);
            self.complete(operation);
        }
        drop(removal.second);
        Arc::into_inner(removal.descriptor)
    }

    #[inline]
    fn perform(&self, descriptor: &H::Descriptor, operation: &mut H::Operation, action: Action) -> Progress {
        run_caught("attempt", || self.handler.perform(descriptor, operation, action))
            .unwrap_or(Progress::Complete { drained: false })
    }

    #[inline]
    fn complete(&self, operation: H::Operation) {
        run_caught("call-back", || self.handler.complete(operation));
    }

    #[inline]
    fn tell_removal(&self, state: &State<H>) {
        if state.phase == Phase::Removing {
            self.quiet.notify_all();
        }
    }

    /// Performs the oldest operation that can run, with the lock open meanwhile. Whether there was one.
    #[inline]
    fn run_next<'a>(&'a self, mut state: MutexGuard<'a, State<H>>) -> (MutexGuard<'a, State<H>>, bool) {
        let Some((direction, action)) = state.next_runnable() else { return (state, false) };
        let error_end = state.error_end;
        let half = state.half(direction);
        if action == Action::Error && half.queue.front().is_some_and(|entry| entry.number >= error_end) {
            return (self.ask_for_error(state, direction), true);
        }
        let (Some(descriptor), Some(mut entry)) = (half.descriptor.take(), half.queue.pop_front()) else {
            return (state, false);
        };
        drop(state);

        let progress = self.perform(&descriptor, &mut entry.operation, action);

        let mut state = self.state.lock();
        state.half(direction).descriptor = Some(descriptor);
        match progress {
            // Codes_SRS_COMPLETION_PORT_01_030
            Progress::Pending => {
                state.half(direction).queue.push_front(entry);
                state.latch.exhausted(action);
                if action == Action::Error {
                    state.error_end = 0;
                }
            }
            Progress::Partial => state.half(direction).queue.push_front(entry),
            // Codes_SRS_COMPLETION_PORT_01_034
            Progress::Complete { drained } => {
                if drained {
                    state.latch.drained(direction);
                }
                state.port_callback = true;
                drop(state);
                self.complete(entry.operation);
                state = self.state.lock();
                state.port_callback = false;
            }
        }
        self.tell_removal(&state);
        (state, true)
    }

    /// Finds out whether an error event is about an error. If so, it is for everyone who waits now; who comes later asks
    /// again, for an error may last or be over.
    #[cold]
    fn ask_for_error<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<H>>,
        direction: Direction,
    ) -> MutexGuard<'a, State<H>> {
        let Some(descriptor) = state.half(direction).descriptor.take() else { return state };
        drop(state);
        let is_error = run_caught("question for an error", || self.handler.is_error(&descriptor)).unwrap_or(true);
        let mut state = self.state.lock();
        state.half(direction).descriptor = Some(descriptor);
        if is_error {
            state.error_end = state.next;
        } else {
            state.latch.exhausted(Action::Error);
        }
        self.tell_removal(&state);
        state
    }

    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<H: Handler> Source for Core<H> {
    // Codes_SRS_COMPLETION_PORT_01_036, Codes_SRS_COMPLETION_PORT_01_040
    fn on_ready(&self, events: Readiness) -> Turn {
        let mut state = self.state.lock();
        state.scheduled = false;
        state.latch.merge(events);
        state.dispatching = true;
        for _ in 0..OPERATIONS_PER_TURN {
            let ran;
            (state, ran) = self.run_next(state);
            if !ran {
                state.dispatching = false;
                return Turn::Over;
            }
        }
        state.dispatching = false;
        if state.schedule().0 { Turn::Again } else { Turn::Over }
    }

    fn queued(&self, direction: Direction) -> usize {
        self.state.lock().half(direction).queue.len()
    }
}
