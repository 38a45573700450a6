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

/// The readiness that is remembered between an edge and the `EAGAIN` that ends it.
///
/// Invariant: a direction that is not ready will be reported by a new edge, because its last
/// attempt got `EAGAIN` (or drained it), or because it has not been reported yet.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    input: bool,
    output: bool,
    /// A hang-up, an error or urgent data is about: a short read does not mean that no more is to come.
    input_lasts: bool,
    /// Reported without `EPOLLIN`.
    read_hang_up: bool,
    /// Reported with neither `EPOLLIN` nor `EPOLLOUT`.
    error: bool,
    hang_up: bool,
    /// An event arrived since the direction was claimed: the claim's `EAGAIN` may be older than it.
    input_fresh: bool,
    output_fresh: bool,
}

impl Latch {
    // Codes_SRS_COMPLETION_PORT_01_031, Codes_SRS_COMPLETION_PORT_01_032, Codes_SRS_COMPLETION_PORT_01_033
    pub(crate) fn merge(&mut self, events: Readiness) {
        if events.is_empty() {
            return;
        }
        let broken = events.intersects(Readiness::ERROR | Readiness::HANG_UP);
        let transfers = events.intersects(Readiness::IN | Readiness::OUT);
        // With IN or OUT beside it, an attempt in either direction learns the error itself.
        self.input |= events.contains(Readiness::IN) || (transfers && broken);
        self.output |= events.contains(Readiness::OUT) || (transfers && broken);
        self.input_lasts |= broken || events.intersects(Readiness::READ_HANG_UP | Readiness::URGENT);
        // Not edges but conditions: an event without them says that they are over.
        self.read_hang_up = events.contains(Readiness::READ_HANG_UP) && !events.contains(Readiness::IN);
        self.error = events.contains(Readiness::ERROR) && !transfers;
        self.hang_up = events.contains(Readiness::HANG_UP) && !transfers;
        self.input_fresh = true;
        self.output_fresh = true;
    }

    /// What to tell the next operation of a direction, if its turn has come.
    pub(crate) fn action(&self, direction: Direction) -> Option<Action> {
        match direction {
            Direction::In if self.input => Some(Action::In),
            Direction::In if self.read_hang_up => Some(Action::RdHup),
            Direction::Out if self.output => Some(Action::Out),
            _ => (self.error || self.hang_up).then_some(Action::Error),
        }
    }

    /// An attempt got `EAGAIN`.
    pub(crate) fn exhausted(&mut self, action: Action) {
        match action {
            // With EAGAIN the kernel also says that there is no end of the stream yet.
            Action::In | Action::RdHup => {
                self.input = false;
                self.input_lasts = false;
                self.read_hang_up = false;
            }
            Action::Out => self.output = false,
            // It was no error, then; a hang-up beside it is asked about next.
            Action::Error if self.error => self.error = false,
            Action::Error => self.hang_up = false,
            Action::Abandoned => {}
        }
    }

    /// An attempt took all there was.
    // Codes_SRS_COMPLETION_PORT_01_035
    pub(crate) fn drained(&mut self, direction: Direction) {
        match direction {
            Direction::In => self.input &= self.input_lasts,
            Direction::Out => self.output = false,
        }
    }

    pub(crate) fn begin_claim(&mut self, direction: Direction) {
        *self.fresh(direction) = false;
    }

    /// A claim's attempt got `EAGAIN`: believed unless an event came in between.
    // Codes_SRS_COMPLETION_PORT_01_022
    pub(crate) fn exhausted_by_claim(&mut self, direction: Direction) {
        if !*self.fresh(direction) {
            self.exhausted(if direction == Direction::In { Action::In } else { Action::Out });
        }
    }

    fn fresh(&mut self, direction: Direction) -> &mut bool {
        match direction {
            Direction::In => &mut self.input_fresh,
            Direction::Out => &mut self.output_fresh,
        }
    }
}
