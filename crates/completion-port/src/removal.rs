//! The end of a registration.
//!
//! Invariants:
//! * The steps of a removal, in this order: it closes the queues; deletes the descriptor from the port; waits until no
//!   other thread has a lane locked or is in a callback; abandons the waiting operations; releases the descriptor. Its
//!   progress is stored under a lock, so every thread that waits for the removal can continue it.
//! * A thread never waits for itself, that is, for a callback on its own stack or a lane that it has locked. If only such a
//!   lane is in the way, the removal is *left*: the thread that unlocks the lane or ends a callback continues it.
//! * A thread that waits in `remove_and_wait` is *parked*. No thread waits for a parked thread's callbacks. A remover, or a
//!   thread that has locked a lane itself, does not wait for a parked thread's lanes either. So two threads that wait for
//!   the end of a registration inside its callbacks do not wait for each other.
//! * A thread that unlocks a lane or ends a callback of a closed registration notifies the remover.
#![allow(unsafe_code, reason = "the descriptor is used without a lock while no step can take it")]

use crate::action::{Action, Direction};
use crate::backlog::Backlog;
use crate::callback::{depth, enter, leave, run_caught};
use crate::core::{ColdState, Core, Locked, REMOVAL_WAITS};
use crate::flags::{LaneFlags, LaneSet};
use crate::handler::{Attempt, Handler};
use crate::lane::{NOTHING, SUSPENDED};
use crate::phase::{Phase, Step};
use crate::source::Token;
use crate::sync::{MutexGuard, Ordering, full_fence};
use std::mem;
use std::os::fd::BorrowedFd;

/// How a thread comes to work on a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has begun the removal, and returns when the removal is over.
    Remover,
    /// It waits for the removal, whichever thread has begun it.
    Waiter,
    /// It has unlocked a lane or ended a callback, and waits for nothing.
    Passer,
    /// It only deletes the descriptor from the port, and comes back as a `Passer` for the rest.
    Detacher,
}

/// Deletes a descriptor from the port.
pub(crate) type Detach<'a, D> = &'a dyn Fn(&D, Token);

/// A thread that works on a removal.
struct Worker<'a, D> {
    role: Role,
    detach: Option<Detach<'a, D>>,
    /// This thread has notified the waiting threads that it is parked.
    has_notified: bool,
    /// It is one of `ColdState::workers`.
    is_counted: bool,
}

/// The next task of a thread that works on a removal.
enum Task<H: Handler> {
    Detach(Token),
    Abandon(H::Operation),
    Release(Option<H::Descriptor>),
    Wait,
    /// Nothing, now or at all.
    Stop,
}

impl<D> Worker<'_, D> {
    /// Whether this thread is parked while it waits: other threads then need not wait for its callbacks and lanes.
    fn parks(&self) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("nobody is parked") {
            return false;
        }
        self.role == Role::Waiter
    }
}

impl<H: Handler> Core<H> {
    /// Begins a removal, unless nothing is registered. Returns the lock, to go on with.
    pub(crate) fn begin_removal(&self) -> Option<MutexGuard<'_, ColdState<H>>> {
        let mut cold = self.cold.lock();
        self.begin_removal_locked(&mut cold).then_some(cold)
    }

    pub(crate) fn begin_removal_locked(&self, cold: &mut MutexGuard<'_, ColdState<H>>) -> bool {
        let is_registered = cold.phase == Phase::Registered;
        if is_registered {
            cold.phase = Phase::Removing;
            // Codes_SRS_COMPLETION_PORT_01_011
            self.set_flags(LaneFlags::CLOSED);
            self.callbacks.fetch_or(REMOVAL_WAITS, Ordering::AcqRel);
            full_fence("closes");
        }
        is_registered
    }

    /// Like [`begin_removal`](Self::begin_removal), but first waits for a `register` that runs on another thread. Returns the
    /// lock in any case.
    pub(crate) fn wait_for_registering_and_begin_removal(&self) -> MutexGuard<'_, ColdState<H>> {
        let mut cold = self.cold.lock();
        while cold.phase == Phase::Registering && self.do_others_run(&cold) {
            self.wait_for_change(&mut cold);
        }
        self.begin_removal_locked(&mut cold);
        cold
    }

    /// Continues a removal as far as possible. A caller that has the lock hands it over. Keeps little on the stack while a
    /// callback runs, because the callback of an abandoned operation can drop the next registration, and so on.
    // Codes_SRS_COMPLETION_PORT_01_050, Codes_SRS_COMPLETION_PORT_01_052, Codes_SRS_COMPLETION_PORT_01_101
    // Codes_SRS_COMPLETION_PORT_01_103
    pub(crate) fn go_on<'a>(
        &'a self,
        role: Role,
        detach: Option<Detach<'_, H::Descriptor>>,
        mut cold: Option<MutexGuard<'a, ColdState<H>>>,
    ) {
        let mut worker = Worker { role, detach, has_notified: false, is_counted: false };
        loop {
            match self.next_task(&mut worker, cold.take()) {
                Task::Detach(token) => cold = self.detach(token, detach),
                Task::Abandon(operation) => self.abandon(operation),
                Task::Release(descriptor) => cold = self.release_taken(descriptor),
                Task::Wait => {}
                Task::Stop => return,
            }
        }
    }

    /// Decides on the next task. If that is `Task::Wait`, waits here.
    #[inline(never)]
    fn next_task(&self, worker: &mut Worker<'_, H::Descriptor>, cold: Option<MutexGuard<'_, ColdState<H>>>) -> Task<H> {
        if self.is_inherited() {
            // A callback has forked, and this is the child. The operations that still wait belong to the parent.
            if worker.is_counted {
                self.release_in_child();
            }
            return Task::Stop;
        }
        let mut cold = cold.unwrap_or_else(|| self.cold.lock());
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
            Task::Detach(_) | Task::Abandon(_) | Task::Release(_) => {
                // Counted under the lock, so that no thread takes the removal for finished.
                self.callbacks.fetch_add(1, Ordering::AcqRel);
                enter(self.id());
            }
            Task::Wait => self.wait(&mut cold, worker),
            // A saturated counter stays, because it cannot tell which worker is the last.
            Task::Stop if cold.workers < u8::MAX => cold.workers -= 1,
            Task::Stop => {}
        }
        task
    }

    fn wait(&self, cold: &mut MutexGuard<'_, ColdState<H>>, worker: &mut Worker<'_, H::Descriptor>) {
        let parks = worker.parks();
        let (callbacks, lanes) = if parks { (depth(self.id()), self.own_lanes()) } else { (0, LaneSet::empty()) };
        cold.parked_callbacks += callbacks;
        cold.parked_lanes |= lanes;
        if (callbacks > 0 || !lanes.is_empty()) && !worker.has_notified {
            // Once is enough, because a notified thread that waits again has changed nothing.
            worker.has_notified = true;
            self.notify(cold);
        }
        self.wait_for_change(cold);
        cold.parked_callbacks -= callbacks;
        cold.parked_lanes.remove(lanes);
    }

    fn next_task_locked(&self, cold: &mut MutexGuard<'_, ColdState<H>>, worker: &Worker<'_, H::Descriptor>) -> Task<H> {
        let is_removing = cold.phase == Phase::Removing;
        if is_removing && cold.step == Step::Detach && (worker.detach.is_some() || cold.has_ending()) {
            cold.step = Step::Detaching;
            return Task::Detach(cold.token);
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
    fn abandon_or_release(&self, cold: &mut MutexGuard<'_, ColdState<H>>) -> Option<Task<H>> {
        let mut input = self.lane(Direction::In).try_lock()?;
        let mut output = self.lane(Direction::Out).try_lock()?;
        // Checked after locking, because a callback that began under the lock was counted before the unlock.
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
        // Only recycled operations are left. Dropping them only frees memory.
        if let Some(rare) = cold.rare() {
            rare.backlogs = [Backlog::new(), Backlog::new()];
        }
        drop((input.slot_mut().take(), output.slot_mut().take()));
        Some(Task::Release(self.lanes.take_descriptor(input, output)))
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
        if direction == Direction::In { input.slot_mut().take() } else { output.slot_mut().take() }
    }

    /// Whether other threads work on the removal. They then see everything that this thread would see.
    fn others_go_on(cold: &ColdState<H>) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("what is left stays") {
            return true;
        }
        cold.workers > 0
    }

    /// Whether this thread has to wait for callbacks or steps of other threads.
    pub(crate) fn do_others_run(&self, cold: &ColdState<H>) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("callbacks are not waited for") {
            return false;
        }
        let running = self.callbacks.load(Ordering::Acquire) & !REMOVAL_WAITS;
        running > self.own_callbacks() + cold.parked_callbacks
    }

    /// The number of counted callbacks on this thread's stack.
    fn own_callbacks(&self) -> u32 {
        #[cfg(loom)]
        if crate::sync::injected_bug("own callback is waited for") {
            return 0;
        }
        // Codes_SRS_COMPLETION_PORT_01_051
        depth(self.id())
    }

    /// Whether this thread has to wait for a lane that another thread has locked.
    fn have_others_locked(&self, cold: &ColdState<H>, role: Role) -> bool {
        if matches!(cold.step, Step::Detaching | Step::Release) {
            // The step is taken by another thread, which is counted, or by this thread in an outer frame.
            return false;
        }
        let own = self.own_lanes();
        let occupied = LaneSet::that(|direction| self.lane(direction).try_lock().is_none());
        if occupied.is_empty() {
            // All have unlocked since: look again.
            return true;
        }
        // All threads wait for the lanes of parked threads, except a remover and a thread that has locked a lane itself.
        let ignores_parked = role == Role::Remover || !own.is_empty();
        let parked = if ignores_parked { cold.parked_lanes } else { LaneSet::empty() };
        !occupied.difference(own | parked).is_empty()
    }

    /// The lanes that this thread has locked.
    fn own_lanes(&self) -> LaneSet {
        LaneSet::that(|direction| self.has_locked(direction))
    }

    /// The descriptor, if it is registered. While the caller has the lock, no removal begins. It is made of the number, because
    /// `as_fd` is the user's code.
    pub(crate) fn descriptor_while_registered<'a>(&'a self, cold: &'a ColdState<H>) -> Option<BorrowedFd<'a>> {
        let is_registered = cold.phase == Phase::Registered;
        #[cfg(loom)]
        let is_registered = is_registered || crate::sync::injected_bug("watches what is removed");
        // SAFETY: it is open, because it is released only after the phase has changed, under this lock.
        is_registered.then(|| unsafe { BorrowedFd::borrow_raw(self.number) })
    }

    /// Returns the lock, unless this is a child of `fork`.
    #[inline(never)]
    fn detach(&self, token: Token, detach: Option<Detach<'_, H::Descriptor>>) -> Option<MutexGuard<'_, ColdState<H>>> {
        let ending = if detach.is_none() { self.cold.lock().take_ending() } else { None };
        // SAFETY: the descriptor is taken in the step `Release`, which comes only after the next step, set below.
        let descriptor = unsafe { self.lanes.descriptor() };
        run_caught("detaching", || match (descriptor, &ending, detach) {
            (Some(descriptor), Some(ending), _) => ending.detach(descriptor, token),
            (Some(descriptor), None, Some(detach)) => detach(descriptor, token),
            _ => {}
        });
        if self.is_inherited() {
            // The callback is the parent's.
            mem::forget(ending);
            self.end_task();
            return None;
        }
        let mut cold = self.cold.lock();
        cold.step = Step::Quiesce;
        if let Some(rare) = cold.rare() {
            rare.ending = ending.or(rare.ending.take());
        }
        self.end_task_locked(&cold);
        Some(cold)
    }

    /// Completes an operation that is abandoned.
    #[inline(never)]
    fn abandon(&self, operation: H::Operation) {
        let attempt = Attempt::abandoned(self);
        run_caught("callback", || self.handler.attempt(operation, Action::Abandoned, attempt));
        self.end_task();
    }

    /// Returns the lock, unless a callback had to run or this is a child of `fork`.
    #[inline(never)]
    fn release_taken(&self, descriptor: Option<H::Descriptor>) -> Option<MutexGuard<'_, ColdState<H>>> {
        self.release(descriptor);
        if self.is_inherited() {
            self.end_task();
            return None;
        }
        let mut cold = self.cold.lock();
        cold.phase = Phase::Removed;
        let Some(ending) = cold.take_ending() else {
            self.end_task_locked(&cold);
            return Some(cold);
        };
        drop(cold);
        run_caught("callback", || ending.done());
        self.end_task();
        None
    }

    /// Passes the descriptor to the handler.
    pub(crate) fn release(&self, descriptor: Option<H::Descriptor>) {
        // Codes_SRS_COMPLETION_PORT_01_054
        if let Some(descriptor) = descriptor {
            run_caught("release", || self.handler.release(descriptor));
        }
    }

    fn end_task(&self) {
        leave();
        self.callbacks.fetch_sub(1, Ordering::AcqRel);
        self.notify_remover();
    }

    /// The same with the lock, which saves taking it twice.
    fn end_task_locked(&self, cold: &ColdState<H>) {
        leave();
        self.callbacks.fetch_sub(1, Ordering::AcqRel);
        self.notify(cold);
    }

    /// Notifies a removal, which may wait for the callback that has ended or the lane that was unlocked.
    #[cold]
    pub(crate) fn notify_remover(&self) {
        if self.is_inherited() {
            return;
        }
        self.notify(&self.cold.lock());
    }

    /// Called when a callback, a dispatch or a step ends after a removal has begun.
    #[cold]
    pub(crate) fn count_has_dropped(&self) {
        self.notify_remover();
        // Codes_SRS_COMPLETION_PORT_01_102
        self.go_on(Role::Passer, None, None);
    }
}
