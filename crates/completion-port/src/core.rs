//! The core of a registration: two lanes, the latch, and cold state. `admission.rs` lets operations in, `run.rs` runs them,
//! `registering.rs` begins and `removal.rs` ends a registration.
//!
//! Invariants:
//! * No lock is held while a callback runs. An attempt is made with its lane locked, for which only a removal waits.
//! * An operation is in a lane's slot, in the backlog behind it, or in the hands of the thread that has taken it out and
//!   completes it.
//! * If an operation waits and its direction is ready, the port thread is dispatching the registration or was scheduled to.
//!   If a removal waits for a lane, it is notified. An empty slot says nothing while its lane has a backlog, because another
//!   thread may be about to promote an operation. Four pairs of steps see to it, each with a full fence between the steps, so
//!   that of two threads that meet at least one sees the other:
//!
//!   | one | the other |
//!   |---|---|
//!   | fills the slot and unlocks; looks at the latch | (port) merges an event; looks at the slots |
//!   | unlocks; looks at the latch | (port) merges an event; fails to lock |
//!   | unlocks; looks whether there is a backlog | adds to the backlog; fails to lock |
//!   | unlocks; looks whether it is closed | (removal) closes; fails to lock |

use crate::action::Direction;
use crate::backlog::Backlog;
use crate::flags::{LaneFlags, Lanes};
use crate::handler::Handler;
use crate::lane::{Lane, LaneGuard};
use crate::memory::{TryArc, try_box};
use crate::phase::{Phase, Step};
use crate::readiness::Latch;
use crate::source::Token;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Condvar, Mutex, Ordering};
use std::os::fd::{AsFd, AsRawFd, RawFd};

pub(crate) type LaneOf<H> = Lane<<H as Handler>::Descriptor, <H as Handler>::Operation>;
pub(crate) type Locked<'a, H> = LaneGuard<'a, <H as Handler>::Descriptor, <H as Handler>::Operation>;

// What a message touches lies together and comes first: a receive up to the handler, a send from `next` on.
#[repr(C)]
pub(crate) struct Core<H: Handler> {
    pub(crate) latch: Latch,
    /// How many callbacks, dispatches and steps run that a removal waits for; and `REMOVAL_WAITS`.
    pub(crate) callbacks: AtomicU32,
    flags: AtomicU8,
    /// The port was asked to call `on_ready`.
    pub(crate) scheduled: AtomicBool,
    /// What the port thread attempts: an `Action`, and `OF_OUTPUT` if that is the direction. 0 if nothing.
    pub(crate) attempted: AtomicU8,
    input: LaneOf<H>,
    pub(crate) handler: H,
    /// The number of the next operation, counted in twos: one order across both directions.
    next: AtomicU64,
    output: LaneOf<H>,
    /// Operations before this one waited when an error was found, and are told.
    pub(crate) error_end: AtomicU64,
    pub(crate) cold: Mutex<ColdState<H>>,
    /// Signalled when the phase changes, or when a callback ends or a lane is unlocked for which a removal waits.
    pub(crate) quiesced: Condvar,
    /// The descriptor's, for a child of `fork` to close its copy.
    pub(crate) number: RawFd,
}

/// What is rarely needed.
pub(crate) struct ColdState<H: Handler> {
    pub(crate) phase: Phase,
    pub(crate) step: Step,
    /// How many threads work on a removal. While it is 0, a thread that unlocks a lane or ends a callback goes on with it.
    pub(crate) workers: u8,
    /// Of threads that wait in [`remove_and_wait`](crate::Registration::remove_and_wait): which lanes they have locked, and
    /// how many of the counted callbacks are theirs. These go on only when the wait is over.
    pub(crate) parked_lanes: Lanes,
    pub(crate) parked_callbacks: u32,
    pub(crate) token: Token,
    pub(crate) backlogs: Option<Box<[Backlogs<H::Operation>; 1]>>,
}

pub(crate) type Backlogs<O> = [Backlog<O>; 2];

/// In `callbacks`: a removal has begun, and is notified when one of them ends.
pub(crate) const REMOVAL_WAITS: u32 = 1 << 31;

impl<H: Handler> Core<H> {
    /// The handler and the descriptor come back if there is no memory.
    pub(crate) fn try_new(handler: H, descriptor: H::Descriptor) -> Result<TryArc<Self>, (H, H::Descriptor)> {
        let descriptor = match TryArc::try_new(descriptor) {
            Ok(descriptor) => descriptor,
            Err(descriptor) => return Err((handler, descriptor)),
        };
        TryArc::try_new(Self::new(handler, descriptor)).map_err(Self::into_parts)
    }

    /// What an unused core was made of.
    fn into_parts(self) -> (H, H::Descriptor) {
        let both = [&self.input, &self.output].map(|lane| lane.try_lock().and_then(|mut it| it.descriptor.take()));
        let descriptor = both.into_iter().flatten().find_map(TryArc::into_inner);
        (self.handler, descriptor.expect("the lanes of an unused core have the descriptor"))
    }

    fn new(handler: H, descriptor: TryArc<H::Descriptor>) -> Self {
        let number = descriptor.as_fd().as_raw_fd();
        Self {
            latch: Latch::default(),
            callbacks: AtomicU32::new(0),
            flags: AtomicU8::new(LaneFlags::CLOSED.bits()),
            scheduled: AtomicBool::new(false),
            attempted: AtomicU8::new(0),
            input: Lane::new(descriptor.clone()),
            handler,
            next: AtomicU64::new(2),
            output: Lane::new(descriptor),
            error_end: AtomicU64::new(0),
            cold: Mutex::new(ColdState {
                phase: Phase::Unregistered,
                step: Step::Detach,
                workers: 0,
                parked_lanes: Lanes::empty(),
                parked_callbacks: 0,
                token: Token(0),
                backlogs: None,
            }),
            quiesced: Condvar::new(),
            number,
        }
    }

    #[inline]
    pub(crate) fn lane(&self, direction: Direction) -> &LaneOf<H> {
        match direction {
            Direction::In => &self.input,
            Direction::Out => &self.output,
        }
    }

    /// The port's name for the registration, once it is registered.
    pub(crate) fn token(&self) -> Token {
        self.cold.lock().token
    }

    /// Whether the registration was made before a `fork`, in a parent of this process.
    // Codes_SRS_COMPLETION_PORT_01_081
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.input.is_inherited()
    }

    pub(crate) fn phase(&self) -> Phase {
        if self.is_inherited() {
            return Phase::Removed;
        }
        self.cold.lock().phase
    }

    pub(crate) fn has_port_failed(&self) -> bool {
        self.flags().contains(LaneFlags::PORT_FAILED)
    }

    #[inline]
    pub(crate) fn flags(&self) -> LaneFlags {
        LaneFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// What was stored before the flags were cleared is seen too.
    pub(crate) fn flags_acquired(&self) -> LaneFlags {
        LaneFlags::from_bits_retain(self.flags.load(Ordering::Acquire))
    }

    /// Returns the flags of before. What has to be seen with them needs a fence.
    pub(crate) fn set_flags(&self, flags: LaneFlags) -> LaneFlags {
        LaneFlags::from_bits_retain(self.flags.fetch_or(flags.bits(), Ordering::Relaxed))
    }

    pub(crate) fn clear_flags(&self, flags: LaneFlags) {
        self.flags.fetch_and(flags.complement().bits(), Ordering::Release);
    }

    #[inline]
    pub(crate) fn take_number(&self) -> u64 {
        self.next.fetch_add(2, Ordering::Relaxed)
    }

    /// A number behind those that were taken before, and in front of those that are taken from now on.
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
    /// The backlog of a direction; `None` if there is no memory for it.
    pub(crate) fn backlog(&mut self, direction: Direction) -> Option<&mut Backlog<H::Operation>> {
        let backlogs = match &mut self.backlogs {
            Some(backlogs) => backlogs,
            none => none.insert(try_box([Backlog::new(), Backlog::new()]).ok()?),
        };
        Some(&mut backlogs[0][direction as usize])
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
