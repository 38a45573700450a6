//! The beginning and the end of a registration.
//!
//! Invariant: a removal closes the queues, takes both halves of the descriptor out of their lanes, and waits for the
//! call-backs of other threads, in this order. So nothing of the registration runs after it, and nothing is left behind.
//! Until whoever is inside a lane has left, it waits: who leaves a closed lane tells.

use crate::callback::{depth, run_caught};
use crate::handler::{Direction, Handler};
use crate::lane::{Inside, NOTHING, Numbered, SUSPENDED};
use crate::port::Token;
use crate::process::close_inherited;
use crate::queue::{CLOSED, Core, LET_GO, REMOVAL_WAITS, Rests, Slow};
use crate::sync::{Arc, MutexGuard, Ordering, full_fence, planted};
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

/// What a removal has taken.
pub(crate) struct Removal<H: Handler> {
    pub(crate) half: Arc<H::Descriptor>,
    second: Option<Arc<H::Descriptor>>,
    pub(crate) token: Token,
    slots: [Option<Numbered<H::Operation>>; 2],
    rests: Option<Box<[Rests<H::Operation>; 1]>>,
}

/// What was in a lane: the half, and the operation that waited.
type Emptied<H> = (Option<Arc<<H as Handler>::Descriptor>>, Option<Numbered<<H as Handler>::Operation>>);

impl<H: Handler> Core<H> {
    pub(crate) fn phase(&self) -> Phase {
        if self.is_inherited() {
            return Phase::Removed;
        }
        self.slow.lock().phase
    }

    /// Waits while another thread registers or removes, and then for the call-back from inside which that removed: for
    /// all others the removal has waited.
    // Codes_SRS_COMPLETION_PORT_01_058
    pub(crate) fn wait_until_settled(&self) {
        if self.is_inherited() {
            return;
        }
        let mut slow = self.slow.lock();
        while match slow.phase {
            Phase::Registering | Phase::Removing => true,
            Phase::Removed => self.running() > 0 && !planted("the call-back that removed is not waited for"),
            Phase::Unregistered | Phase::Registered => false,
        } {
            self.quiet.wait(&mut slow);
        }
    }

    /// How many call-backs run that are counted.
    fn running(&self) -> u32 {
        self.callbacks.load(Ordering::Acquire) & !REMOVAL_WAITS
    }

    /// Enters a lane when nobody else is inside. For who knows that the registration is closed, and has passed a full
    /// fence since, so that who leaves knows it too.
    fn enter<'a>(&'a self, slow: &mut MutexGuard<'_, Slow<H>>, direction: Direction) -> Inside<'a, H> {
        loop {
            if let Some(inside) = self.lane(direction).try_enter() {
                return inside;
            }
            self.quiet.wait(slow);
        }
    }

    /// Begins to register: the descriptor, or the phase that is in the way.
    pub(crate) fn begin_registering(&self) -> Result<Arc<H::Descriptor>, Phase> {
        let mut slow = self.slow.lock();
        if slow.phase != Phase::Unregistered {
            return Err(slow.phase);
        }
        slow.phase = Phase::Registering;
        // Until here it was never anything but closed. Inside are those whose operations are refused.
        let inside = self.enter(&mut slow, Direction::In);
        drop(slow);
        let half = inside.half.clone();
        self.leave_in_turn(Direction::In, inside);
        // Only a removal takes it.
        half.ok_or(Phase::Removed)
    }

    /// Ends it. With success a call-back is counted, before anyone can remove, so that a removal waits for it.
    pub(crate) fn end_registering(&self, token: Option<Token>) {
        if self.is_inherited() {
            return;
        }
        let mut slow = self.slow.lock();
        slow.phase = if token.is_some() { Phase::Registered } else { Phase::Unregistered };
        if let Some(token) = token {
            slow.token = token;
            self.announce_callback();
            self.signs.fetch_and(!CLOSED, Ordering::Release);
        }
        drop(slow);
        self.quiet.notify_all();
    }

    /// Waits until nothing of this registration runs on another thread, and takes everything.
    /// `None` if it is not registered, or being removed by somebody else.
    // Codes_SRS_COMPLETION_PORT_01_050, Codes_SRS_COMPLETION_PORT_01_051
    pub(crate) fn begin_removal(&self) -> Option<Removal<H>> {
        let mut slow = self.slow.lock();
        if slow.phase != Phase::Registered {
            return None;
        }
        slow.phase = Phase::Removing;
        self.signs.fetch_or(CLOSED, Ordering::Relaxed);
        full_fence("closes");
        let (token, rests) = (slow.token, slow.rests.take());
        let (half, input) = self.empty(&mut slow, Direction::In);
        let (second, output) = self.empty(&mut slow, Direction::Out);
        self.wait_for_callbacks(&mut slow);
        Some(Removal { half: half?, second, token, slots: [input, output], rests })
    }

    fn empty(&self, slow: &mut MutexGuard<'_, Slow<H>>, direction: Direction) -> Emptied<H> {
        let lane = self.lane(direction);
        let mut inside = self.enter(slow, direction);
        let number = lane.oldest();
        lane.set_oldest(NOTHING);
        let slot = inside.slot.take().filter(|_| number != NOTHING);
        (inside.half.take(), slot.map(|operation| Numbered { number: number & !SUSPENDED, operation }))
    }

    fn wait_for_callbacks(&self, slow: &mut MutexGuard<'_, Slow<H>>) {
        let own = if planted("own call-back is waited for") { 0 } else { depth(self.id()) };
        self.callbacks.fetch_or(REMOVAL_WAITS, Ordering::AcqRel);
        while self.running() != own && !planted("call-backs are not waited for") {
            self.quiet.wait(slow);
        }
    }

    /// A call-back has ended, or a lane was left, for which a removal may wait.
    #[cold]
    pub(crate) fn tell_removal(&self) {
        if self.is_inherited() {
            return;
        }
        drop(self.slow.lock());
        self.quiet.notify_all();
    }

    /// Completes what was pending and releases the descriptor.
    // Codes_SRS_COMPLETION_PORT_01_052, Codes_SRS_COMPLETION_PORT_01_054
    pub(crate) fn finish_removal(&self, mut removal: Removal<H>) {
        while let Some(operation) = removal.pop_oldest() {
            self.abandon(operation);
            if self.is_inherited() {
                // The call-back has forked, and this is the child: the others are the parent's to call.
                mem::forget(removal);
                return close_inherited(self.number);
            }
        }
        drop(removal.second);
        self.release(removal.half);
        self.slow.lock().phase = Phase::Removed;
        self.quiet.notify_all();
    }

    /// For who drops a registration that was never registered.
    pub(crate) fn release_unregistered(&self) {
        let mut slow = self.slow.lock();
        let half = self.enter(&mut slow, Direction::In).half.take();
        let second = self.enter(&mut slow, Direction::Out).half.take();
        drop((slow, second));
        if let Some(half) = half {
            self.release(half);
        }
    }

    /// Lets go of what a parent of this process has registered: closes the child's copy of the descriptor. Nothing else: it may be locked, or half changed, by a thread that does not exist here.
    // Codes_SRS_COMPLETION_PORT_01_083
    #[cold]
    pub(crate) fn release_inherited(self: &Arc<Self>) {
        if self.signs.fetch_or(LET_GO, Ordering::Relaxed) & LET_GO != 0 {
            return;
        }
        // What waits is the parent's: it is not even dropped.
        mem::forget(Arc::clone(self));
        match [Direction::In, Direction::Out].map(|direction| self.lane(direction).take_inherited()) {
            [Ok(Some(half)), Ok(Some(second))] => {
                drop(second);
                run_caught("release", || drop(half));
            }
            // A removal had both, and may have closed it.
            [Ok(None), Ok(None)] => {}
            // A thread of the parent had one of them, so it was open; that thread's half is leaked.
            halves => {
                mem::forget(halves);
                close_inherited(self.number);
            }
        }
    }

    fn release(&self, last_half: Arc<H::Descriptor>) {
        if let Some(descriptor) = Arc::into_inner(last_half) {
            run_caught("release", || self.handler.release(descriptor));
        }
    }
}

impl<H: Handler> Removal<H> {
    /// The oldest operation of both directions.
    fn pop_oldest(&mut self) -> Option<H::Operation> {
        if let Some([rests]) = self.rests.as_deref_mut() {
            for (slot, rest) in self.slots.iter_mut().zip(rests) {
                *slot = slot.take().or_else(|| rest.queue.pop_front());
            }
        }
        let oldest = self.slots.iter_mut().filter(|slot| slot.is_some());
        let oldest = oldest.min_by_key(|slot| slot.as_ref().map(|oldest| oldest.number))?;
        oldest.take().map(|oldest| oldest.operation)
    }
}
