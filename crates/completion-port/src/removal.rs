//! The end of a registration.
//!
//! Invariants:
//! * A removal closes the queues, deletes the descriptor from the port, waits until no other thread has a lane locked or is in
//!   a callback, abandons what waits, and releases the descriptor, in this order. How far it is lies under a lock, so every
//!   thread that waits for the removal can go on with it.
//! * A thread never waits for itself: not for callbacks on its own stack, nor for a lane that it has locked. If such a lane is
//!   all that is in the way, the removal is *left*: the thread that unlocks the lane, or ends a callback, goes on with it.
//! * Of two threads in callbacks of one registration that both wait for its end, neither waits for the other: a thread that
//!   waits in `remove_and_wait` is *parked*, and no thread waits for what a parked thread is in.
//! * A thread that unlocks a lane or ends a callback of a closed registration notifies the remover.

use crate::action::{Action, Direction};
use crate::callback::{depth, enter, leave, run_caught};
use crate::core::{ColdState, Core, Locked, REMOVAL_WAITS};
use crate::flags::{LaneFlags, Lanes};
use crate::handler::{Attempt, Handler};
use crate::lane::{NOTHING, SUSPENDED};
use crate::memory::TryArc;
use crate::phase::{Phase, Step};
use crate::source::Token;
use crate::sync::{MutexGuard, Ordering, full_fence};

/// How a thread comes to work on a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has begun the removal, and returns when that is over.
    Remover,
    /// It waits for the removal, whichever thread has begun it.
    Waiter,
    /// It has unlocked a lane or ended a callback, and waits for nothing.
    Passer,
    /// It does only what needs the port, because it passes again.
    Detacher,
}

/// Deletes a descriptor from the port.
pub(crate) type Detach<'a, D> = &'a dyn Fn(&D, Token);

/// A thread that works on a removal.
struct Worker<'a, D> {
    role: Role,
    detach: Option<Detach<'a, D>>,
    /// The threads that wait were notified that this one is parked.
    has_notified: bool,
    /// It is one of `ColdState::workers`.
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

impl<D> Worker<'_, D> {
    /// Whether other threads need not wait for what this one is in while it waits.
    fn parks(&self) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("nobody is parked") {
            return false;
        }
        self.role == Role::Waiter
    }
}

impl<H: Handler> Core<H> {
    /// Begins a removal. False if nothing is registered.
    pub(crate) fn begin_removal(&self) -> bool {
        self.begin_removal_locked(&mut self.cold.lock())
    }

    fn begin_removal_locked(&self, cold: &mut MutexGuard<'_, ColdState<H>>) -> bool {
        let is_registered = cold.phase == Phase::Registered;
        if is_registered {
            cold.phase = Phase::Removing;
            self.set_flags(LaneFlags::CLOSED);
            self.callbacks.fetch_or(REMOVAL_WAITS, Ordering::AcqRel);
            full_fence("closes");
        }
        is_registered
    }

    /// The same, after a registering that runs on another thread.
    pub(crate) fn wait_for_registering_and_begin_removal(&self) {
        let mut cold = self.cold.lock();
        while cold.phase == Phase::Registering && self.do_others_run(&cold) {
            self.quiesced.wait(&mut cold);
        }
        self.begin_removal_locked(&mut cold);
    }

    /// Does what can be done of a removal. Keeps little on the stack while it runs callbacks, because the callback of an
    /// abandoned operation can drop the next registration, and so on.
    // Codes_SRS_COMPLETION_PORT_01_050, Codes_SRS_COMPLETION_PORT_01_052, Codes_SRS_COMPLETION_PORT_01_101
    // Codes_SRS_COMPLETION_PORT_01_103
    pub(crate) fn go_on(&self, role: Role, detach: Option<Detach<'_, H::Descriptor>>) {
        let mut worker = Worker { role, detach, has_notified: false, is_counted: false };
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
                self.release_in_child();
            }
            return Task::Stop;
        }
        let mut cold = self.cold.lock();
        let passes = matches!(worker.role, Role::Passer | Role::Detacher);
        if passes && !worker.is_counted && Self::others_go_on(&cold) {
            return Task::Stop;
        }
        if !worker.is_counted {
            worker.is_counted = true;
            cold.workers = cold.workers.saturating_add(1);
        }
        let task = self.next_task_locked(&mut cold, worker);
        match task {
            Task::Detach(..) | Task::Abandon(_) | Task::Release(_) => {
                // Under the lock, so that no thread takes the removal to be over.
                self.callbacks.fetch_add(1, Ordering::AcqRel);
                enter(self.id());
            }
            Task::Wait => self.wait(&mut cold, worker),
            // Of more than can be counted, which thread is the last is not known.
            Task::Stop if cold.workers < u8::MAX => cold.workers -= 1,
            Task::Stop => {}
        }
        task
    }

    fn wait(&self, cold: &mut MutexGuard<'_, ColdState<H>>, worker: &mut Worker<'_, H::Descriptor>) {
        let parks = worker.parks();
        let (callbacks, lanes) = if parks { (depth(self.id()), self.own_lanes()) } else { (0, Lanes::empty()) };
        cold.parked_callbacks += callbacks;
        cold.parked_lanes |= lanes;
        if (callbacks > 0 || !lanes.is_empty()) && !worker.has_notified {
            // Once is enough: a thread that is notified and waits on has not changed anything.
            worker.has_notified = true;
            self.quiesced.notify_all();
        }
        self.quiesced.wait(cold);
        cold.parked_callbacks -= callbacks;
        cold.parked_lanes.remove(lanes);
    }

    fn next_task_locked(&self, cold: &mut MutexGuard<'_, ColdState<H>>, worker: &Worker<'_, H::Descriptor>) -> Task<H> {
        let is_removing = cold.phase == Phase::Removing;
        if is_removing
            && cold.step == Step::Detach
            && worker.detach.is_some()
            && let Some(descriptor) = self.a_descriptor()
        {
            cold.step = Step::Detaching;
            return Task::Detach(descriptor, cold.token);
        }
        if worker.role == Role::Detacher {
            return Task::Stop;
        }
        if is_removing
            && matches!(cold.step, Step::Quiesce | Step::Abandon)
            && let Some(task) = self.abandon_or_release(cold)
        {
            return task;
        }
        let waits = match cold.phase {
            Phase::Unregistered | Phase::Registering | Phase::Registered => false,
            Phase::Removing => self.do_others_run(cold) || self.have_others_locked(cold, worker.role),
            Phase::Removed => self.do_others_run(cold),
        };
        if waits && worker.role != Role::Passer { Task::Wait } else { Task::Stop }
    }

    /// The next step, if nothing is in its way.
    // Codes_SRS_COMPLETION_PORT_01_051, Codes_SRS_COMPLETION_PORT_01_054
    fn abandon_or_release(&self, cold: &mut MutexGuard<'_, ColdState<H>>) -> Option<Task<H>> {
        let mut input = self.lane(Direction::In).try_lock()?;
        let mut output = self.lane(Direction::Out).try_lock()?;
        // After locking, because a callback that began under the lock was counted before the unlock.
        if cold.step == Step::Quiesce {
            if self.do_others_run(cold) {
                return None;
            }
            cold.step = Step::Abandon;
        }
        if let Some(operation) = self.pop_oldest(cold, &mut input, &mut output) {
            return Some(Task::Abandon(operation));
        }
        if self.do_others_run(cold) {
            return None;
        }
        cold.step = Step::Release;
        // What is left are recycled operations, in which there is nothing to drop but memory.
        drop((cold.backlogs.take(), input.slot.take(), output.slot.take(), output.descriptor.take()));
        Some(Task::Release(input.descriptor.take()))
    }

    /// The oldest operation of both directions.
    fn pop_oldest(
        &self,
        cold: &mut MutexGuard<'_, ColdState<H>>,
        input: &mut Locked<'_, H>,
        output: &mut Locked<'_, H>,
    ) -> Option<H::Operation> {
        self.promote_from_backlog(cold, Direction::In, input);
        self.promote_from_backlog(cold, Direction::Out, output);
        let number = |direction| {
            let lane = self.lane(direction);
            lane.has_operation().then(|| (lane.oldest() & !SUSPENDED, direction))
        };
        let (_, direction) =
            [number(Direction::In), number(Direction::Out)].into_iter().flatten().min_by_key(|it| it.0)?;
        self.lane(direction).set_oldest(NOTHING);
        if direction == Direction::In { input.slot.take() } else { output.slot.take() }
    }

    /// Whether other threads work on the removal, which then see what this one would.
    fn others_go_on(cold: &ColdState<H>) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("what is left stays") {
            return true;
        }
        cold.workers > 0
    }

    /// Whether callbacks run, or steps are taken, that this thread has to wait for.
    fn do_others_run(&self, cold: &ColdState<H>) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("callbacks are not waited for") {
            return false;
        }
        let running = self.callbacks.load(Ordering::Acquire) & !REMOVAL_WAITS;
        running > self.own_callbacks() + cold.parked_callbacks
    }

    /// How many of the counted callbacks are on this thread's stack.
    fn own_callbacks(&self) -> u32 {
        #[cfg(loom)]
        if crate::sync::injected_bug("own callback is waited for") {
            return 0;
        }
        depth(self.id())
    }

    /// Whether another thread has locked a lane and has to be waited for.
    fn have_others_locked(&self, cold: &ColdState<H>, role: Role) -> bool {
        if matches!(cold.step, Step::Detaching | Step::Release) {
            // Another thread, which is counted, or this one in an outer frame.
            return false;
        }
        let own = self.own_lanes();
        let occupied = Lanes::that(|direction| self.lane(direction).try_lock().is_none());
        if occupied.is_empty() {
            // All have unlocked since: look again.
            return true;
        }
        // A thread that waits with its lane locked is not waited for, unless by one that has nothing in its own way.
        let ignores_parked = role == Role::Remover || !own.is_empty();
        let parked = if ignores_parked { cold.parked_lanes } else { Lanes::empty() };
        !occupied.difference(own | parked).is_empty()
    }

    /// The lanes that this thread has locked.
    fn own_lanes(&self) -> Lanes {
        Lanes::that(|direction| self.has_locked(direction))
    }

    fn a_descriptor(&self) -> Option<TryArc<H::Descriptor>> {
        let of = |direction| self.lane(direction).try_lock().and_then(|locked| locked.descriptor.clone());
        of(Direction::In).or_else(|| of(Direction::Out))
    }

    #[inline(never)]
    fn detach(&self, descriptor: TryArc<H::Descriptor>, token: Token, detach: Option<Detach<'_, H::Descriptor>>) {
        if let Some(detach) = detach {
            run_caught("detaching", || detach(&descriptor, token));
        }
        // Only the references in the lanes are left again.
        drop(descriptor);
        if !self.is_inherited() {
            self.cold.lock().step = Step::Quiesce;
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
            self.cold.lock().phase = Phase::Removed;
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
        self.notify_remover();
    }

    /// Notifies a removal that may wait for a callback that has ended or for a lane that was unlocked.
    #[cold]
    pub(crate) fn notify_remover(&self) {
        if self.is_inherited() {
            return;
        }
        drop(self.cold.lock());
        self.quiesced.notify_all();
    }

    /// A callback, a dispatch or a step has ended while a removal is at work or after it.
    // Codes_SRS_COMPLETION_PORT_01_102
    #[cold]
    pub(crate) fn count_has_dropped(&self) {
        self.notify_remover();
        self.go_on(Role::Passer, None);
    }
}
