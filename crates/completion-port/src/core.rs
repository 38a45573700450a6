//! The core of a registration: two lanes, the latch, and cold state. `admission.rs` lets operations in, `run.rs` runs them,
//! `registering.rs` begins and `removal.rs` ends a registration.
//!
//! Invariants:
//! * No lock is held while a callback runs. An attempt runs with its lane locked. Only a removal waits for that lock.
//! * An operation is in its lane's slot, in the backlog behind that slot, or held by the thread that has taken it out to
//!   complete it.
//! * If an operation waits and its direction is ready, the port thread is dispatching the registration or was scheduled to.
//!   If a removal waits for a lane, it is notified. While a lane has a backlog, an empty slot does not mean that nothing
//!   waits, because another thread may be about to promote an operation. Four pairs of steps ensure this. Each thread puts
//!   a full fence between its two steps, so that of two threads that meet at least one sees the other:
//!
//!   | one | the other |
//!   |---|---|
//!   | fills the slot and unlocks; looks at the latch | (port) merges an event; looks at the slots |
//!   | unlocks; looks at the latch | (port) merges an event; fails to lock |
//!   | unlocks; looks whether there is a backlog | adds to the backlog; fails to lock |
//!   | unlocks; looks whether it is closed | (removal) closes; fails to lock |

use crate::action::Direction;
use crate::backlog::Backlog;
use crate::flags::{LaneFlags, LaneSet};
use crate::handler::Handler;
use crate::lane::{Lane, LaneGuard, Lanes};
use crate::memory::{TryArc, try_box};
use crate::phase::{Phase, Step};
use crate::readiness::Latch;
use crate::remove_async::Ending;
use crate::source::Token;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};
use std::os::fd::{AsFd, AsRawFd, RawFd};

pub(crate) type LaneOf<'a, H> = Lane<'a, <H as Handler>::Descriptor, <H as Handler>::Operation>;
pub(crate) type Locked<'a, H> = LaneGuard<'a, <H as Handler>::Descriptor, <H as Handler>::Operation>;

// A message touches the end of `handler` and what follows it up to the descriptor in `lanes`: 64 bytes, which in a socket
// are one cache line (`docs/performance.md`).
#[repr(C)]
pub(crate) struct Core<H: Handler> {
    pub(crate) cold: Mutex<ColdState<H>>,
    /// Signalled when the phase changes. While a removal waits, also signalled when a callback ends or a lane is unlocked.
    quiesced: Condvar,
    /// The descriptor's number, with which a child of `fork` closes its copy.
    pub(crate) number: RawFd,
    /// Operations with a lower number waited when an error was found. Each of them gets `Action::Error`.
    pub(crate) error_end: AtomicU64,
    pub(crate) handler: H,
    pub(crate) latch: Latch,
    /// The number of running callbacks, dispatches and steps that a removal waits for, and the flag `REMOVAL_WAITS`.
    pub(crate) callbacks: AtomicU32,
    /// The number of the next operation. It is counted in twos, and gives one order across both directions.
    next: AtomicU64,
    pub(crate) lanes: Lanes<H::Descriptor, H::Operation>,
    /// The port was asked to call `on_ready`.
    pub(crate) scheduled: AtomicBool,
    /// A thread has waited for a change since the last one. Part of `cold`, but here it takes no memory.
    is_awaited: AtomicBool,
}

/// What is rarely needed.
pub(crate) struct ColdState<H: Handler> {
    pub(crate) phase: Phase,
    pub(crate) step: Step,
    /// The number of threads that work on a removal. While it is 0, a thread that unlocks a lane or ends a callback
    /// continues the removal.
    pub(crate) workers: u8,
    /// The lanes that threads waiting in [`remove_and_wait`](crate::Registration::remove_and_wait) have locked, and the
    /// number of counted callbacks on their stacks. Neither ends before the wait is over.
    pub(crate) parked_lanes: LaneSet,
    pub(crate) parked_callbacks: u32,
    pub(crate) token: Token,
    /// What few registrations ever have.
    rare: Option<Box<[Rare<H>; 1]>>,
}

/// State with an allocation of its own, so that the other registrations need no memory for it.
pub(crate) struct Rare<H: Handler> {
    pub(crate) backlogs: [Backlog<H::Operation>; 2],
    /// The callback of a removal that no thread waits for.
    pub(crate) ending: Option<Box<dyn Ending<H::Descriptor>>>,
}

/// Flag in `callbacks`: a removal has begun, and every callback that ends notifies it.
pub(crate) const REMOVAL_WAITS: u32 = 1 << 31;

impl<H: Handler> Core<H> {
    /// Gives the handler and the descriptor back if there is no memory.
    pub(crate) fn try_new(handler: H, descriptor: H::Descriptor) -> Result<TryArc<Self>, (H, H::Descriptor)> {
        TryArc::try_new(Self::new(handler, descriptor)).map_err(Self::into_parts)
    }

    /// What an unused core was made of.
    fn into_parts(self) -> (H, H::Descriptor) {
        let descriptor = self.lanes.into_descriptor();
        (self.handler, descriptor.expect("the lanes of an unused core have the descriptor"))
    }

    fn new(handler: H, descriptor: H::Descriptor) -> Self {
        let number = descriptor.as_fd().as_raw_fd();
        Self {
            cold: Mutex::new(ColdState {
                phase: Phase::Unregistered,
                step: Step::Detach,
                workers: 0,
                parked_lanes: LaneSet::empty(),
                parked_callbacks: 0,
                token: Token(0),
                rare: None,
            }),
            quiesced: Condvar::new(),
            number,
            error_end: AtomicU64::new(0),
            handler,
            latch: Latch::default(),
            callbacks: AtomicU32::new(0),
            next: AtomicU64::new(2),
            lanes: Lanes::new(descriptor),
            scheduled: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(crate) fn lane(&self, direction: Direction) -> LaneOf<'_, H> {
        self.lanes.of(direction)
    }

    /// The port's name for the registration, once it is registered.
    pub(crate) fn token(&self) -> Token {
        self.cold.lock().token
    }

    /// Waits for the next [`notify`](Self::notify).
    pub(crate) fn wait_for_change(&self, cold: &mut MutexGuard<'_, ColdState<H>>) {
        self.is_awaited.store(true, Ordering::Relaxed);
        self.quiesced.wait(cold);
    }

    /// Wakes the threads that wait for a change of this registration. Without one, which is usual, there is no system call.
    /// The caller has the lock, so no thread is about to wait.
    pub(crate) fn notify(&self, _: &ColdState<H>) {
        if self.is_awaited.load(Ordering::Relaxed) {
            self.is_awaited.store(false, Ordering::Relaxed);
            self.quiesced.notify_all();
        }
    }

    /// Whether the registration was made before a `fork`, in a parent of this process.
    // Codes_SRS_COMPLETION_PORT_01_081
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.lanes.is_inherited()
    }

    pub(crate) fn phase(&self) -> Phase {
        // Codes_SRS_COMPLETION_PORT_01_086
        if self.is_inherited() {
            return Phase::Removed;
        }
        self.cold.lock().phase
    }

    pub(crate) fn has_port_failed(&self) -> bool {
        // Codes_SRS_COMPLETION_PORT_01_093
        self.flags().contains(LaneFlags::PORT_FAILED)
    }

    /// Whether the port does not watch the descriptor yet.
    #[inline]
    pub(crate) fn is_unwatched(&self) -> bool {
        self.flags().contains(LaneFlags::UNWATCHED)
    }

    #[inline]
    pub(crate) fn flags(&self) -> LaneFlags {
        LaneFlags::from_bits_retain(self.lanes.flags.load(Ordering::Relaxed))
    }

    /// Also sees every store that preceded the clearing of a flag.
    pub(crate) fn flags_acquired(&self) -> LaneFlags {
        LaneFlags::from_bits_retain(self.lanes.flags.load(Ordering::Acquire))
    }

    /// Returns the previous flags. Ordering other accesses with it needs a fence.
    pub(crate) fn set_flags(&self, flags: LaneFlags) -> LaneFlags {
        LaneFlags::from_bits_retain(self.lanes.flags.fetch_or(flags.bits(), Ordering::Relaxed))
    }

    pub(crate) fn clear_flags(&self, flags: LaneFlags) {
        self.lanes.flags.fetch_and(flags.complement().bits(), Ordering::Release);
    }

    #[inline]
    pub(crate) fn take_number(&self) -> u64 {
        self.next.fetch_add(2, Ordering::Relaxed)
    }

    /// A number above all numbers taken before, and below all numbers taken from now on.
    #[inline]
    pub(crate) fn number_between(&self) -> u64 {
        self.next.load(Ordering::Relaxed) - 1
    }

    /// Counts a callback, a dispatch or a step: a removal waits until the guard is dropped.
    #[inline]
    pub(crate) fn count(&self) -> CallbackGuard<'_, H> {
        self.callbacks.fetch_add(1, Ordering::AcqRel);
        CallbackGuard(self)
    }

    #[inline]
    pub(crate) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<H: Handler> ColdState<H> {
    /// The rare state, which is made if it is not there. `None` if there is no memory for it.
    pub(crate) fn make_rare(&mut self) -> Option<&mut Rare<H>> {
        let rare = match &mut self.rare {
            Some(rare) => rare,
            none => none.insert(try_box(Rare { backlogs: [Backlog::new(), Backlog::new()], ending: None }).ok()?),
        };
        Some(&mut rare[0])
    }

    pub(crate) fn rare(&mut self) -> Option<&mut Rare<H>> {
        self.rare.as_mut().map(|rare| &mut rare[0])
    }

    /// The backlog of a direction, if it was ever needed.
    pub(crate) fn backlog(&mut self, direction: Direction) -> Option<&mut Backlog<H::Operation>> {
        self.rare().map(|rare| &mut rare.backlogs[direction as usize])
    }

    /// The callback of a removal that no thread waits for.
    pub(crate) fn take_ending(&mut self) -> Option<Box<dyn Ending<H::Descriptor>>> {
        self.rare()?.ending.take()
    }

    pub(crate) fn has_ending(&self) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("nobody can detach") {
            return false;
        }
        self.rare.as_ref().is_some_and(|rare| rare[0].ending.is_some())
    }
}

/// Something that a removal waits for.
#[must_use]
pub(crate) struct CallbackGuard<'a, H: Handler>(&'a Core<H>);

impl<H: Handler> Drop for CallbackGuard<'_, H> {
    #[inline]
    fn drop(&mut self) {
        if self.0.callbacks.fetch_sub(1, Ordering::AcqRel) & REMOVAL_WAITS != 0 {
            self.0.count_has_dropped();
        }
    }
}

#[cfg(all(test, target_pointer_width = "64", not(loom)))]
mod tests {
    use super::*;
    use crate::action::Action;
    use crate::handler::Attempt;
    use std::any::Any;
    use std::mem::offset_of;
    use std::os::fd::OwnedFd;

    /// Of the size of a socket, which a message touches in the second half.
    struct LikeASocket([u64; 2]);

    impl Handler for LikeASocket {
        type Descriptor = OwnedFd;
        type Operation = Box<dyn Any + Send>;

        fn attempt(&self, _: Self::Operation, _: Action, _: Attempt<'_, Self>) {}
    }

    #[test]
    fn what_a_message_touches_of_a_socket_is_one_cache_line() {
        const COUNTER: usize = size_of::<usize>();
        let second_half = COUNTER + offset_of!(Core<LikeASocket>, handler) + offset_of!(LikeASocket, 0) + 8;
        let end = COUNTER + offset_of!(Core<LikeASocket>, lanes) + Lanes::<OwnedFd, Box<dyn Any + Send>>::TOUCHED;
        assert_eq!((second_half, end), (64, 128));
    }
}
