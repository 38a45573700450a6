//! The events that the kernel reports about a descriptor, and the port's memory of them.

use crate::action::{Action, Direction};
use crate::sync::{AtomicU32, Ordering};
use crate::sys::EventFlags;
use bitflags::bitflags;

bitflags! {
    /// The events of one `epoll_wait`, with the kernel's values.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Readiness: u32 {
        /// `EPOLLIN`
        const IN = EventFlags::IN.bits();
        /// `EPOLLPRI`: a TCP urgent mark, which makes reads stop short.
        const URGENT = EventFlags::PRI.bits();
        /// `EPOLLOUT`
        const OUT = EventFlags::OUT.bits();
        /// `EPOLLERR`
        const ERROR = EventFlags::ERR.bits();
        /// `EPOLLHUP`
        const HANG_UP = EventFlags::HUP.bits();
        /// `EPOLLRDHUP`
        const READ_HANG_UP = EventFlags::RDHUP.bits();
    }
}

bitflags! {
    /// The events that a waiter can wait for, with the kernel's values; errors and hang-ups come unasked.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Interest: u32 {
        /// `EPOLLIN`
        const IN = Readiness::IN.bits();
        /// `EPOLLOUT`
        const OUT = Readiness::OUT.bits();
        /// `EPOLLRDHUP`, which a waiter for `IN` gets too.
        const READ_HANG_UP = Readiness::READ_HANG_UP.bits();
    }
}

impl Interest {
    /// The flags that ask the kernel for one event, and then nothing until it is asked again.
    pub(crate) fn once(self) -> EventFlags {
        let half_close = if self.contains(Self::IN) { EventFlags::RDHUP } else { EventFlags::empty() };
        let mut flags = EventFlags::from_bits_retain(self.bits()) | half_close;
        // Codes_SRS_COMPLETION_PORT_01_120
        flags.insert(EventFlags::ONESHOT);
        flags
    }
}

impl From<Direction> for Interest {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::In => Self::IN,
            Direction::Out => Self::OUT,
        }
    }
}

bitflags! {
    /// The readiness that is remembered between an edge and the `EAGAIN` that ends it. The bits above count the events.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Remembered: u32 {
        /// With the kernel's values for `EPOLLIN` and `EPOLLOUT`.
        const INPUT = Readiness::IN.bits();
        const OUTPUT = Readiness::OUT.bits();
        /// A hang-up, an error or urgent data was reported, so after a short read more may still come.
        const INPUT_LASTS = 1 << 1;
        /// Reported without `EPOLLIN`.
        const READ_HANG_UP = 1 << 3;
        /// Reported with neither `EPOLLIN` nor `EPOLLOUT`.
        const ERROR = 1 << 4;
        const HANG_UP = 1 << 5;
        /// An error was found, and some operations that waited at that time have not been told yet.
        const BROADCASTS_ERROR = 1 << 6;
        /// Urgent data was reported once. A read also stops at a mark whose byte has been taken, and no event reports such
        /// a mark. So from now on more may come after every short read.
        const WAS_URGENT = 1 << 7;
        /// Always, on a port that counts: how long each callback takes is measured. It is not measured on the fast path.
        const IS_TIMED = 1 << 8;
    }
}

/// One event more.
const TICK: u32 = 1 << 9;

impl Remembered {
    /// These are conditions, not edges: an event without one of them says that it is over.
    const CONDITIONS: Self = Self::READ_HANG_UP.union(Self::ERROR).union(Self::HANG_UP);

    #[inline]
    fn merged(self, events: Readiness) -> Self {
        let kept = self.difference(Self::CONDITIONS);
        let plain = (Readiness::IN | Readiness::OUT).contains(events);
        let news = if plain { Self::from_bits_retain(events.bits()) } else { Self::conditions_of(events) };
        // Codes_SRS_COMPLETION_PORT_01_036
        Self::from_bits_retain(kept.union(news).bits().wrapping_add(TICK))
    }

    #[cold]
    fn conditions_of(events: Readiness) -> Self {
        let mut news = Self::empty();
        let broken = events.intersects(Readiness::ERROR | Readiness::HANG_UP);
        let transfers = events.intersects(Readiness::IN | Readiness::OUT);
        // If IN or OUT is reported too, an attempt in either direction learns the error itself.
        // Codes_SRS_COMPLETION_PORT_01_031
        news.set(Self::INPUT, events.contains(Readiness::IN) || (transfers && broken));
        // Codes_SRS_COMPLETION_PORT_01_031
        news.set(Self::OUTPUT, events.contains(Readiness::OUT) || (transfers && broken));
        news.set(Self::INPUT_LASTS, broken || events.intersects(Readiness::READ_HANG_UP | Readiness::URGENT));
        // Codes_SRS_SOCKET_01_034
        news.set(Self::WAS_URGENT, events.contains(Readiness::URGENT));
        // Codes_SRS_COMPLETION_PORT_01_033
        news.set(Self::READ_HANG_UP, events.contains(Readiness::READ_HANG_UP) && !events.contains(Readiness::IN));
        // Codes_SRS_COMPLETION_PORT_01_032
        news.set(Self::ERROR, events.contains(Readiness::ERROR) && !transfers);
        // Codes_SRS_COMPLETION_PORT_01_032
        news.set(Self::HANG_UP, events.contains(Readiness::HANG_UP) && !transfers);
        news
    }

    /// Whether only readability and writability are remembered, and no callback is measured.
    #[inline]
    pub(crate) fn is_plain(self) -> bool {
        !self.intersects(Self::CONDITIONS.union(Self::BROADCASTS_ERROR).union(Self::IS_TIMED))
    }

    /// Whether a dispatch could be of use to a direction.
    #[inline]
    pub(crate) fn is_anything_for(self, direction: Direction) -> bool {
        let of_both = Self::ERROR.union(Self::HANG_UP).union(Self::BROADCASTS_ERROR);
        // Codes_SRS_COMPLETION_PORT_01_036
        self.intersects(match direction {
            Direction::In => of_both.union(Self::INPUT).union(Self::READ_HANG_UP),
            Direction::Out => of_both.union(Self::OUTPUT),
        })
    }

    /// The action for the next operation of a direction, if it can run.
    #[inline]
    pub(crate) fn action(self, direction: Direction) -> Option<Action> {
        match direction {
            Direction::In if self.contains(Self::INPUT) => Some(Action::In),
            Direction::In if self.contains(Self::READ_HANG_UP) => Some(Action::RdHup),
            Direction::Out if self.contains(Self::OUTPUT) => Some(Action::Out),
            _ => self.intersects(Self::ERROR | Self::HANG_UP).then_some(Action::Error),
        }
    }

    /// Removes the readiness that `action` stands for, after an attempt with it got `EAGAIN`.
    fn exhausted(self, action: Action) -> Self {
        self.difference(match action {
            // `EAGAIN` also says that the end of the stream has not come yet.
            Action::In | Action::RdHup => Self::INPUT | Self::INPUT_LASTS | Self::READ_HANG_UP,
            Action::Out => Self::OUTPUT,
            // So there was no error. If a hang-up was reported too, the port asks about that next.
            Action::Error if self.contains(Self::ERROR) => Self::ERROR,
            Action::Error => Self::HANG_UP,
            Action::Abandoned | Action::Cancelled | Action::TimedOut => Self::empty(),
        })
    }

    /// Whether no event came between the two.
    fn is_as_old_as(self, before: Self) -> bool {
        #[cfg(loom)]
        if crate::sync::injected_bug("no count of events") {
            return true;
        }
        self.ticks() == before.ticks()
    }

    fn ticks(self) -> u32 {
        self.bits() / TICK
    }
}

/// The readiness of a descriptor, as far as it is known.
///
/// Invariant: a new edge will report a direction that is not ready, because its last attempt got `EAGAIN` (or drained it),
/// or because it has not been reported yet.
///
/// Only the port thread merges events. A thread that works on a direction clears that direction. The count of events keeps
/// an `EAGAIN` that is older than an event from clearing the readiness that the event has reported.
#[derive(Debug, Default)]
pub(crate) struct Latch(AtomicU32);

impl Latch {
    #[inline]
    pub(crate) fn get(&self) -> Remembered {
        Remembered::from_bits_retain(self.0.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn merge(&self, events: Readiness) -> Remembered {
        self.change(|remembered| remembered.merged(events))
    }

    /// From now on every callback is measured.
    pub(crate) fn time_callbacks(&self) {
        self.0.fetch_or(Remembered::IS_TIMED.bits(), Ordering::Relaxed);
    }

    /// An attempt on the port's thread got `EAGAIN`.
    pub(crate) fn exhausted(&self, action: Action) {
        self.change(|remembered| remembered.exhausted(action));
    }

    /// An attempt on another thread got `EAGAIN`. It is ignored if an event came since.
    pub(crate) fn exhausted_since(&self, before: Remembered, direction: Direction) {
        let action = if direction == Direction::In { Action::In } else { Action::Out };
        self.change(|now| {
            // Codes_SRS_COMPLETION_PORT_01_022
            if now.is_as_old_as(before) { now.exhausted(action) } else { now }
        });
    }

    /// An attempt took all there was.
    // Codes_SRS_COMPLETION_PORT_01_035
    #[inline]
    pub(crate) fn drained(&self, direction: Direction) {
        const MAY_BE_MORE: Remembered = Remembered::INPUT_LASTS.union(Remembered::WAS_URGENT);
        let drained = match direction {
            Direction::In if self.get().intersects(MAY_BE_MORE) => return,
            Direction::In => Remembered::INPUT,
            Direction::Out => Remembered::OUTPUT,
        };
        self.0.fetch_and(!drained.bits(), Ordering::AcqRel);
    }

    /// An attempt on any thread took all there was. It is ignored if an event came since.
    // Codes_SRS_COMPLETION_PORT_01_181
    #[inline]
    pub(crate) fn drained_since(&self, before: Remembered) {
        const MAY_BE_MORE: Remembered = Remembered::INPUT_LASTS.union(Remembered::WAS_URGENT);
        let is_all = |now: Remembered| now.is_as_old_as(before) && !now.intersects(MAY_BE_MORE);
        self.change(|now| if is_all(now) { now.difference(Remembered::INPUT) } else { now });
    }

    /// An error was found: every operation that waits is to be told.
    pub(crate) fn begin_error_broadcast(&self) {
        self.0.fetch_or(Remembered::BROADCASTS_ERROR.bits(), Ordering::AcqRel);
    }

    /// Every operation that waited has been told.
    pub(crate) fn end_error_broadcast(&self) {
        self.0.fetch_and(!Remembered::BROADCASTS_ERROR.bits(), Ordering::AcqRel);
    }

    #[inline]
    fn change(&self, change: impl Fn(Remembered) -> Remembered) -> Remembered {
        let mut old = self.0.load(Ordering::Relaxed);
        loop {
            let new = change(Remembered::from_bits_retain(old));
            match self.0.compare_exchange_weak(old, new.bits(), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return new,
                Err(current) => old = current,
            }
        }
    }
}
