//! The end of a registration.
//!
//! Invariants:
//! * A removal closes the queues, deletes the descriptor from the port, waits until no other thread is inside a lane or in
//!   a callback, abandons what waits, and releases the descriptor, in this order. How far it is lies under the lock, so
//!   that every thread that waits for the removal can go on with it.
//! * A thread never waits for itself: not for callbacks on its own stack, nor for a lane that it is inside of. If such a
//!   lane is all that is in the way, the removal is *left*: whoever leaves that lane, or ends a callback, goes on with it.
//! * Of two threads in callbacks of one registration, both of which wait for its end, neither waits for the other: who
//!   waits in `remove_and_wait` is *parked*, and what a parked thread is inside of is waited for by nobody.
//! * Whoever leaves a closed lane or ends a callback of a closed registration tells.

use crate::attempt::Attempt;
use crate::callback::{depth, enter, leave, run_caught};
use crate::handler::{Action, Direction, Handler};
use crate::lane::{Inside, NOTHING, SUSPENDED};
use crate::memory::TryArc;
use crate::phase::Phase;
use crate::queue::{CLOSED, Core, REMOVAL_WAITS, Slow, sign};
use crate::source::Token;
use crate::sync::{MutexGuard, Ordering, full_fence, injected_bug};

/// How far a removal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The descriptor is to be deleted from the port.
    Detach,
    /// A thread is about that.
    Detaching,
    /// Other threads may be inside a lane or in a callback.
    Quiesce,
    /// What waits is abandoned.
    Abandon,
    /// A thread releases the descriptor.
    Release,
}

/// How a thread comes to work on a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has begun it, and returns when it is over.
    Remover,
    /// It waits for it, whoever has begun it.
    Waiter,
    /// It has left a lane or ended a callback: it waits for nothing.
    Passer,
    /// It will pass again, and does what needs the port.
    Detacher,
}

/// Deletes a descriptor from the port.
pub(crate) type Detach<'a, D> = &'a dyn Fn(&D, Token);

/// A thread that works on a removal.
struct Worker<'a, D> {
    role: Role,
    detach: Option<Detach<'a, D>>,
    /// Those that wait have been told that this one is parked.
    has_told: bool,
    /// It is one of `Slow::workers`.
    is_counted: bool,
}

/// What a thread is to do about a removal.
enum Task<H: Handler> {
    Detach(TryArc<H::Descriptor>, Token),
    Abandon(H::Operation),
    Release(Option<TryArc<H::Descriptor>>),
    Wait,
    /// Nothing, now or at all.
    Stop,
}

impl<H: Handler> Core<H> {
    /// Begins a removal. False if nothing is registered.
    pub(crate) fn begin_removal(&self) -> bool {
        self.begin_removal_locked(&mut self.slow.lock())
    }

    fn begin_removal_locked(&self, slow: &mut MutexGuard<'_, Slow<H>>) -> bool {
        let is_registered = slow.phase == Phase::Registered;
        if is_registered {
            slow.phase = Phase::Removing;
            self.signs.fetch_or(CLOSED, Ordering::Relaxed);
            self.callbacks.fetch_or(REMOVAL_WAITS, Ordering::AcqRel);
            full_fence("closes");
        }
        is_registered
    }

    /// The same, after a registering that another thread is at.
    pub(crate) fn wait_for_registering_and_begin_removal(&self) {
        let mut slow = self.slow.lock();
        while slow.phase == Phase::Registering && self.do_others_run(&slow) {
            self.quiet.wait(&mut slow);
        }
        self.begin_removal_locked(&mut slow);
    }

    /// Does of a removal what can be done. Keeps little on the stack while it runs callbacks, for the callback of an
    /// abandoned operation can drop the next registration, and so on.
    // Codes_SRS_COMPLETION_PORT_01_050, Codes_SRS_COMPLETION_PORT_01_052, Codes_SRS_COMPLETION_PORT_01_101
    // Codes_SRS_COMPLETION_PORT_01_103
    pub(crate) fn go_on(&self, role: Role, detach: Option<Detach<'_, H::Descriptor>>) {
        let mut worker = Worker { role, detach, has_told: false, is_counted: false };
        loop {
            match self.next_task(&mut worker) {
                Task::Detach(descriptor, token) => self.detach(descriptor, token, detach),
                Task::Abandon(operation) => self.abandon(operation),
                Task::Release(last) => self.release_last(last),
                Task::Wait => {}
                Task::Stop => return,
            }
        }
    }

    /// Finds out what to do next, and waits for it if the role says so.
    #[inline(never)]
    fn next_task(&self, worker: &mut Worker<'_, H::Descriptor>) -> Task<H> {
        if self.is_inherited() {
            // A callback has forked, and this is the child: what still waits is the parent's to call.
            if worker.is_counted {
                self.let_go_of_inherited();
            }
            return Task::Stop;
        }
        let mut slow = self.slow.lock();
        let passes = matches!(worker.role, Role::Passer | Role::Detacher);
        if passes && !worker.is_counted && (slow.workers > 0 || injected_bug("what is left stays")) {
            return Task::Stop;
        }
        if !worker.is_counted {
            worker.is_counted = true;
            slow.workers = slow.workers.saturating_add(1);
        }
        let task = self.next_task_locked(&mut slow, worker);
        match task {
            Task::Detach(..) | Task::Abandon(_) | Task::Release(_) => {
                // Under the lock, so that no thread takes it for over.
                self.callbacks.fetch_add(1, Ordering::AcqRel);
                enter(self.id());
            }
            Task::Wait => self.wait(&mut slow, worker),
            // Of so many that they could not be counted the last one is not known.
            Task::Stop if slow.workers < u8::MAX => slow.workers -= 1,
            Task::Stop => {}
        }
        task
    }

    fn wait(&self, slow: &mut MutexGuard<'_, Slow<H>>, worker: &mut Worker<'_, H::Descriptor>) {
        let parks = worker.role == Role::Waiter && !injected_bug("nobody is parked");
        let (callbacks, lanes) = if parks { (depth(self.id()), self.own_lanes()) } else { (0, 0) };
        slow.parked_callbacks += callbacks;
        slow.parked_lanes |= lanes;
        if (callbacks > 0 || lanes != 0) && !worker.has_told {
            // Once is enough: a thread that is told and waits on has not changed anything.
            worker.has_told = true;
            self.quiet.notify_all();
        }
        self.quiet.wait(slow);
        slow.parked_callbacks -= callbacks;
        slow.parked_lanes &= !lanes;
    }

    fn next_task_locked(&self, slow: &mut MutexGuard<'_, Slow<H>>, worker: &Worker<'_, H::Descriptor>) -> Task<H> {
        let is_removing = slow.phase == Phase::Removing;
        if is_removing
            && slow.step == Step::Detach
            && worker.detach.is_some()
            && let Some(descriptor) = self.any_half()
        {
            slow.step = Step::Detaching;
            return Task::Detach(descriptor, slow.token);
        }
        if worker.role == Role::Detacher {
            return Task::Stop;
        }
        if is_removing
            && matches!(slow.step, Step::Quiesce | Step::Abandon)
            && let Some(task) = self.abandon_or_release(slow)
        {
            return task;
        }
        let waits = match slow.phase {
            Phase::Unregistered | Phase::Registering | Phase::Registered => false,
            Phase::Removing => self.do_others_run(slow) || self.are_others_inside(slow, worker.role),
            Phase::Removed => self.do_others_run(slow),
        };
        if waits && worker.role != Role::Passer { Task::Wait } else { Task::Stop }
    }

    /// The next step, if nothing is in its way.
    // Codes_SRS_COMPLETION_PORT_01_051, Codes_SRS_COMPLETION_PORT_01_054
    fn abandon_or_release(&self, slow: &mut MutexGuard<'_, Slow<H>>) -> Option<Task<H>> {
        let mut input = self.lane(Direction::In).try_enter()?;
        let mut output = self.lane(Direction::Out).try_enter()?;
        // After having entered, so that who has left before is counted.
        if slow.step == Step::Quiesce {
            if self.do_others_run(slow) {
                return None;
            }
            slow.step = Step::Abandon;
        }
        if let Some(operation) = self.pop_oldest(slow, &mut input, &mut output) {
            return Some(Task::Abandon(operation));
        }
        if self.do_others_run(slow) {
            return None;
        }
        slow.step = Step::Release;
        // What is left is room for operations, in which there is nothing to drop but memory.
        drop((slow.rests.take(), input.slot.take(), output.slot.take(), output.half.take()));
        Some(Task::Release(input.half.take()))
    }

    /// The oldest operation of both directions.
    fn pop_oldest(
        &self,
        slow: &mut MutexGuard<'_, Slow<H>>,
        input: &mut Inside<'_, H>,
        output: &mut Inside<'_, H>,
    ) -> Option<H::Operation> {
        self.move_up(slow, Direction::In, input);
        self.move_up(slow, Direction::Out, output);
        let number = |direction| {
            let lane = self.lane(direction);
            lane.has_operation().then(|| (lane.oldest() & !SUSPENDED, direction))
        };
        let (_, direction) =
            [number(Direction::In), number(Direction::Out)].into_iter().flatten().min_by_key(|it| it.0)?;
        self.lane(direction).set_oldest(NOTHING);
        if direction == Direction::In { input.slot.take() } else { output.slot.take() }
    }

    /// Whether callbacks run, or steps are taken, that this thread has to wait for.
    fn do_others_run(&self, slow: &Slow<H>) -> bool {
        let running = self.callbacks.load(Ordering::Acquire) & !REMOVAL_WAITS;
        let own = if injected_bug("own callback is waited for") { 0 } else { depth(self.id()) };
        running > own + slow.parked_callbacks && !injected_bug("callbacks are not waited for")
    }

    /// Whether another thread is inside a lane and has to be waited for.
    fn are_others_inside(&self, slow: &Slow<H>, role: Role) -> bool {
        if matches!(slow.step, Step::Detaching | Step::Release) {
            // Another thread, which is counted, or this one in an outer frame.
            return false;
        }
        let own = self.own_lanes();
        let all =
            [Direction::In, Direction::Out].into_iter().filter(|direction| self.lane(*direction).try_enter().is_none());
        let occupied = all.fold(0, |lanes, direction| lanes | sign(direction));
        let others = occupied & !own;
        if occupied == 0 {
            // All have left since: look again.
            return true;
        }
        // A thread that waits from inside its lane is not waited for, unless by one that has nothing in its own way.
        let parked = if role == Role::Remover || own != 0 { slow.parked_lanes } else { 0 };
        others & !parked != 0
    }

    /// The lanes that this thread is inside of, by `sign`.
    fn own_lanes(&self) -> u8 {
        let own = [Direction::In, Direction::Out].into_iter().filter(|direction| self.is_inside(*direction));
        own.fold(0, |lanes, direction| lanes | sign(direction))
    }

    fn any_half(&self) -> Option<TryArc<H::Descriptor>> {
        let of = |direction| self.lane(direction).try_enter().and_then(|inside| inside.half.clone());
        of(Direction::In).or_else(|| of(Direction::Out))
    }

    #[inline(never)]
    fn detach(&self, descriptor: TryArc<H::Descriptor>, token: Token, detach: Option<Detach<'_, H::Descriptor>>) {
        if let Some(detach) = detach {
            run_caught("detaching", || detach(&descriptor, token));
        }
        // The last ones are those in the lanes again.
        drop(descriptor);
        if !self.is_inherited() {
            self.slow.lock().step = Step::Quiesce;
        }
        self.end_task();
    }

    /// Completes an operation that is abandoned.
    #[inline(never)]
    fn abandon(&self, operation: H::Operation) {
        let attempt = Attempt::abandoned(self);
        run_caught("callback", || self.handler.attempt(operation, Action::Abandoned, attempt));
        self.end_task();
    }

    #[inline(never)]
    fn release_last(&self, last: Option<TryArc<H::Descriptor>>) {
        self.release(last);
        if !self.is_inherited() {
            self.slow.lock().phase = Phase::Removed;
        }
        self.end_task();
    }

    /// Gives the handler the descriptor: there is no other reference to it.
    pub(crate) fn release(&self, last: Option<TryArc<H::Descriptor>>) {
        if let Some(descriptor) = last.and_then(TryArc::into_inner) {
            run_caught("release", || self.handler.release(descriptor));
        }
    }

    fn end_task(&self) {
        leave();
        self.callbacks.fetch_sub(1, Ordering::AcqRel);
        self.tell_removal();
    }

    /// A callback has ended, or a lane was left, for which a removal may wait.
    #[cold]
    pub(crate) fn tell_removal(&self) {
        if self.is_inherited() {
            return;
        }
        drop(self.slow.lock());
        self.quiet.notify_all();
    }

    /// A callback, a turn or a step has ended while a removal is at work or after it.
    // Codes_SRS_COMPLETION_PORT_01_102
    #[cold]
    pub(crate) fn count_has_dropped(&self) {
        self.tell_removal();
        self.go_on(Role::Passer, None);
    }
}
