//! State that a port's thread and the references to the port share.
//!
//! Invariants:
//! * The port's thread does not sleep while `NOTIFIED` is set, and applies the pending changes after clearing it. So
//!   another thread that finds it set need not wake the port's thread.
//! * In a child of `fork`, a thread never looks into the epoll set that the child shares with the parent, because
//!   `process::untouched` then differs from every value of `flags`.

use crate::builder::Settings;
use crate::callback::run_caught;
use crate::membership::{Epoll, Membership};
use crate::metrics::Counters;
use crate::process::{Generation, Inherited};
use crate::readiness::Interest;
use crate::source::{SourceRef, Token};
use crate::sync::{AtomicU8, Condvar, Mutex, Ordering};
use crate::sys::{Errno, PortSyscalls};
use crate::table::PendingChanges;
use bitflags::bitflags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The token of the eventfd.
pub(crate) const WAKE: Token = Token(u64::MAX);

bitflags! {
    /// Changes that the thread has not seen yet, and states that it has to know before it sleeps. Empty if it can sleep.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct PortFlags: u8 {
        /// A source was scheduled.
        const NOTIFIED = 1;
        /// Sources were inserted or removed.
        const TABLE_DIRTY = 1 << 1;
        /// The last reference is gone.
        const STOPPING = 1 << 2;
        /// Always: the thread polls before it sleeps, or counts what it does.
        const IS_UNUSUAL = 1 << 3;
        /// The epoll instance or the eventfd is gone.
        const FAILED = 1 << 4;
        /// The thread knows of the failure, and waits without the kernel's objects; or the driver was dropped, and nothing
        /// serves the port.
        const DETACHED = 1 << 5;
        /// A timer is armed, or was at the thread's last look.
        const HAS_TIMERS = 1 << 6;
    }
}

impl PortFlags {
    pub(crate) const PENDING: Self = Self::NOTIFIED.union(Self::TABLE_DIRTY);
}

pub(crate) struct Shared<S> {
    pub(crate) sys: S,
    pub(crate) epoll: OwnedFd,
    pub(crate) eventfd: OwnedFd,
    pub(crate) made_in: Generation,
    pub(crate) pending: Mutex<PendingChanges>,
    pub(crate) members: Mutex<Membership>,
    /// Signalled instead of the eventfd once the thread is `DETACHED`, with the lock of `pending`.
    pub(crate) notified: Condvar,
    flags: AtomicU8,
    /// The time for which the thread polls before it sleeps.
    pub(crate) busy_poll: Option<Duration>,
    pub(crate) counters: Option<Counters>,
}

impl<S: PortSyscalls> Shared<S> {
    pub(crate) fn new(
        sys: S,
        [epoll, eventfd]: [OwnedFd; 2],
        made_in: Generation,
        members: Membership,
        settings: &Settings,
    ) -> Self {
        let busy_poll = (settings.busy_poll > Duration::ZERO).then_some(settings.busy_poll);
        let counters = settings.counts.then(Counters::default);
        let is_unusual = busy_poll.is_some() || counters.is_some();
        let flags = if is_unusual { PortFlags::IS_UNUSUAL } else { PortFlags::empty() };
        Self {
            sys,
            epoll,
            eventfd,
            made_in,
            pending: Mutex::new(PendingChanges::new()),
            members: Mutex::new(members),
            notified: Condvar::new(),
            flags: AtomicU8::new(flags.bits()),
            busy_poll,
            counters,
        }
    }

    #[inline]
    pub(crate) fn flags(&self) -> PortFlags {
        PortFlags::from_bits_retain(self.flags.load(Ordering::Acquire))
    }

    /// Returns the previous flags.
    #[inline]
    pub(crate) fn set_flags(&self, flags: PortFlags) -> PortFlags {
        PortFlags::from_bits_retain(self.flags.fetch_or(flags.bits(), Ordering::AcqRel))
    }

    pub(crate) fn clear_flags(&self, flags: PortFlags) {
        self.flags.fetch_and(flags.complement().bits(), Ordering::AcqRel);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.flags().contains(PortFlags::FAILED)
    }

    #[inline]
    pub(crate) fn has_pending(&self) -> bool {
        self.flags().intersects(PortFlags::PENDING)
    }

    /// The port, if anything can be attached to it.
    pub(crate) fn usable(&self) -> io::Result<&Self> {
        // Codes_SRS_COMPLETION_PORT_01_082
        if self.made_in.is_inherited() {
            return Err(Inherited.into());
        }
        // Codes_SRS_COMPLETION_PORT_01_093
        if self.flags().intersects(PortFlags::FAILED | PortFlags::DETACHED) {
            return Err(Errno::BADF.into());
        }
        Ok(self)
    }

    pub(crate) fn insert(&self, source: SourceRef) -> io::Result<Token> {
        let inserted = self.pending.lock().insert(source);
        // A source that comes back is dropped without the lock.
        let token = inserted.map_err(|_source| Errno::NOMEM)?;
        self.set_table_dirty();
        Ok(token)
    }

    /// Returns how many changes the thread has not applied.
    pub(crate) fn remove(&self, token: Token) -> usize {
        let (changes, unused) = self.pending.lock().remove(token);
        self.set_table_dirty();
        run_caught("drop", || drop(unused));
        changes
    }

    /// Notes a change that lies in `pending`. If the flag is set, the thread will clear it, and then look into `pending`: had it
    /// looked before the change was put there, the lock of `pending` would have shown the flag as cleared.
    fn set_table_dirty(&self) {
        if !self.flags().contains(PortFlags::TABLE_DIRTY) {
            self.set_flags(PortFlags::TABLE_DIRTY);
        }
    }

    /// Makes the port's thread apply the pending changes. If the caller is that thread, no wake-up is needed.
    pub(crate) fn notify_unless(&self, is_current_thread: bool) {
        let before = self.set_flags(PortFlags::NOTIFIED);
        if !before.contains(PortFlags::NOTIFIED) && !is_current_thread {
            self.wake(before);
        }
    }

    pub(crate) fn rearm(&self, descriptor: BorrowedFd<'_>, token: Token, interest: Interest) -> io::Result<()> {
        let modified = self.members.lock().modify_lent(&self.epoll(), descriptor, token, interest.once());
        modified.map_err(|error| {
            self.look_into(error);
            // `ENOENT` would mean another descriptor.
            if self.has_failed() { Errno::BADF.into() } else { error.into() }
        })
    }

    pub(crate) fn epoll(&self) -> Epoll<'_, S> {
        Epoll { sys: &self.sys, instance: self.epoll.as_fd() }
    }
}
