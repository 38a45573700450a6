//! Flags through which threads see the state of a registration, or ask something of it, without a lock.

use crate::action::Direction;
use bitflags::bitflags;

bitflags! {
    /// Empty while a registration has nothing unusual about it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct LaneFlags: u8 {
        /// The lane has a backlog. A thread that sees this flag cleared also sees the slot that the last operation of the
        /// backlog went into.
        const BACKLOG_IN = 1;
        const BACKLOG_OUT = 1 << 1;
        /// Nothing is accepted: the registration is not registered yet, or its removal has begun.
        const CLOSED = 1 << 2;
        /// The lane's suspended operation is to run again.
        const RESUME_IN = 1 << 3;
        const RESUME_OUT = 1 << 4;
        /// Nothing is accepted, because the port has failed.
        const PORT_FAILED = 1 << 5;
        /// A child of `fork` has closed its copy of the descriptor.
        const RELEASED_IN_CHILD = 1 << 6;
        /// The port does not watch the descriptor yet. The first operation makes the `epoll_ctl`.
        const UNWATCHED = 1 << 7;
    }
}

impl LaneFlags {
    pub(crate) const fn backlog(direction: Direction) -> Self {
        match direction {
            Direction::In => Self::BACKLOG_IN,
            Direction::Out => Self::BACKLOG_OUT,
        }
    }

    pub(crate) const fn resume(direction: Direction) -> Self {
        match direction {
            Direction::In => Self::RESUME_IN,
            Direction::Out => Self::RESUME_OUT,
        }
    }
}

bitflags! {
    /// Some of the two lanes of a registration.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct LaneSet: u8 {
        const IN = 1;
        const OUT = 1 << 1;
    }
}

impl LaneSet {
    /// The lanes for which something is true.
    pub(crate) fn that(is: impl Fn(Direction) -> bool) -> Self {
        let mut lanes = Self::empty();
        lanes.set(Self::IN, is(Direction::In));
        lanes.set(Self::OUT, is(Direction::Out));
        lanes
    }
}
