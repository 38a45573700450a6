//! What the kernel reports about a descriptor, and what the port remembers of it.

use crate::handler::{Action, Direction};
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
    /// The readiness that is remembered between an edge and the `EAGAIN` that ends it.
    ///
    /// Invariant: a direction that is not ready will be reported by a new edge, because its last
    /// attempt got `EAGAIN` (or drained it), or because it has not been reported yet.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Latch: u8 {
        const INPUT = 1;
        const OUTPUT = 1 << 1;
        /// A hang-up, an error or urgent data is about: a short read does not mean that no more is to come.
        const INPUT_LASTS = 1 << 2;
        /// Reported without `EPOLLIN`.
        const READ_HANG_UP = 1 << 3;
        /// Reported with neither `EPOLLIN` nor `EPOLLOUT`.
        const ERROR = 1 << 4;
        const HANG_UP = 1 << 5;
        /// An event arrived since the direction was claimed: the claim's `EAGAIN` may be older than it.
        const INPUT_FRESH = 1 << 6;
        const OUTPUT_FRESH = 1 << 7;
    }
}

impl Latch {
    // Codes_SRS_COMPLETION_PORT_01_031, Codes_SRS_COMPLETION_PORT_01_032, Codes_SRS_COMPLETION_PORT_01_033
    #[inline]
    pub(crate) fn merge(&mut self, events: Readiness) {
        if events.is_empty() {
            return;
        }
        let broken = events.intersects(Readiness::ERROR | Readiness::HANG_UP);
        let transfers = events.intersects(Readiness::IN | Readiness::OUT);
        // Not edges but conditions: an event without them says that they are over.
        self.remove(Self::READ_HANG_UP | Self::ERROR | Self::HANG_UP);
        self.insert(Self::INPUT_FRESH | Self::OUTPUT_FRESH);
        let mut insert_if = |latch, condition| self.insert(if condition { latch } else { Self::empty() });
        // With IN or OUT beside it, an attempt in either direction learns the error itself.
        insert_if(Self::INPUT, events.contains(Readiness::IN) || (transfers && broken));
        insert_if(Self::OUTPUT, events.contains(Readiness::OUT) || (transfers && broken));
        insert_if(Self::INPUT_LASTS, broken || events.intersects(Readiness::READ_HANG_UP | Readiness::URGENT));
        insert_if(Self::READ_HANG_UP, events.contains(Readiness::READ_HANG_UP) && !events.contains(Readiness::IN));
        insert_if(Self::ERROR, events.contains(Readiness::ERROR) && !transfers);
        insert_if(Self::HANG_UP, events.contains(Readiness::HANG_UP) && !transfers);
    }

    /// What to tell the next operation of a direction, if its turn has come.
    #[inline]
    pub(crate) fn action(self, direction: Direction) -> Option<Action> {
        match direction {
            Direction::In if self.contains(Self::INPUT) => Some(Action::In),
            Direction::In if self.contains(Self::READ_HANG_UP) => Some(Action::RdHup),
            Direction::Out if self.contains(Self::OUTPUT) => Some(Action::Out),
            _ => self.intersects(Self::ERROR | Self::HANG_UP).then_some(Action::Error),
        }
    }

    /// An attempt got `EAGAIN`.
    pub(crate) fn exhausted(&mut self, action: Action) {
        self.remove(match action {
            // With EAGAIN the kernel also says that there is no end of the stream yet.
            Action::In | Action::RdHup => Self::INPUT | Self::INPUT_LASTS | Self::READ_HANG_UP,
            Action::Out => Self::OUTPUT,
            // It was no error, then; a hang-up beside it is asked about next.
            Action::Error if self.contains(Self::ERROR) => Self::ERROR,
            Action::Error => Self::HANG_UP,
            Action::Abandoned => Self::empty(),
        });
    }

    /// An attempt took all there was.
    // Codes_SRS_COMPLETION_PORT_01_035
    #[inline]
    pub(crate) fn drained(&mut self, direction: Direction) {
        match direction {
            Direction::In if self.contains(Self::INPUT_LASTS) => {}
            Direction::In => self.remove(Self::INPUT),
            Direction::Out => self.remove(Self::OUTPUT),
        }
    }

    #[inline]
    pub(crate) fn begin_claim(&mut self, direction: Direction) {
        self.remove(Self::fresh(direction));
    }

    /// A claim's attempt got `EAGAIN`: believed unless an event came in between.
    // Codes_SRS_COMPLETION_PORT_01_022
    pub(crate) fn exhausted_by_claim(&mut self, direction: Direction) {
        if !self.contains(Self::fresh(direction)) {
            self.exhausted(if direction == Direction::In { Action::In } else { Action::Out });
        }
    }

    fn fresh(direction: Direction) -> Self {
        match direction {
            Direction::In => Self::INPUT_FRESH,
            Direction::Out => Self::OUTPUT_FRESH,
        }
    }
}
