//! The port's thread: it waits for events and calls the sources.

use crate::callback::run_caught;
use crate::memory::{Room, TryArc};
use crate::process::{Generation, untouched};
use crate::readiness::Readiness;
use crate::shared::{PortFlags, Shared};
use crate::source::{Dispatch, Source, Token};
use crate::sync::per_thread;
use crate::sys::{Event, PortSyscalls, retry_interrupted};
use crate::table::{Scheduled, Table, TableOp};
use std::cell::Cell;
use std::mem;
use std::os::fd::AsFd;
use std::slice;
use std::time::Instant;

/// How many events one `epoll_wait` can return.
pub(crate) const EVENTS_PER_WAIT: usize = 512;

per_thread! {
    /// The port that this thread belongs to, as the address of its `Shared`. 0 if none.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
    /// The generation in which `CURRENT` was set. In a child of `fork`, the copy of the thread belongs to no port.
    static CURRENT_SINCE: Cell<Option<Generation>> = const { Cell::new(None) };
}

/// Whether the caller is on the thread of any [`CompletionPort`](crate::CompletionPort), for instance in a callback. Code
/// that blocks there holds up every descriptor of that port.
// Codes_SRS_SOCKET_01_001
#[must_use]
pub fn is_port_thread() -> bool {
    CURRENT.get() != 0 && CURRENT_SINCE.get().is_some_and(|generation| !generation.is_inherited())
}

impl<S: PortSyscalls> Shared<S> {
    pub(crate) fn is_current_thread(&self) -> bool {
        CURRENT.get() == self.address()
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The thread's whole life. `events` has room for the events of one wait.
    pub(crate) fn run(this: TryArc<Self>, events: Room<Event>) {
        CURRENT.set(this.address());
        CURRENT_SINCE.set(Some(this.made_in));
        let mut table = Table::new();
        this.serve(&mut table, events.into_vec());
        if this.made_in.is_inherited() {
            // A callback has forked, and this is the child.
            mem::forget(table);
            return mem::forget(this);
        }
        while let Some(last) = table.pop() {
            run_caught("drop", || drop(last));
        }
        if this.has_failed() {
            // Dropping it would close the descriptors' numbers, which may belong to other code by now.
            mem::forget(this);
        }
    }

    // Codes_SRS_COMPLETION_PORT_01_085
    fn serve(&self, table: &mut Table, mut events: Vec<Event>) {
        loop {
            let flags = self.flags();
            if flags.bits() == untouched() && !table.has_queued() {
                self.wait(&mut events, true);
            } else if flags.contains(PortFlags::STOPPING) || self.made_in.is_inherited() {
                return;
            } else {
                self.prepare_to_wait(table, &mut events);
            }
            if self.has_pending() {
                // A source that was inserted before an event came must be in the table when the event is looked up.
                self.apply_pending(table);
            }
            let mut events = events.iter();
            // Dropping the last reference to a source runs user destructors. If one panics, the remaining sources still
            // get their turn.
            while run_caught("dispatch", || self.dispatch_events(table, &mut events)).is_none() {}
        }
    }

    /// Calls the sources that have events, and the sources of this round that have yielded or were scheduled.
    fn dispatch_events(&self, table: &mut Table, events: &mut slice::Iter<'_, Event>) {
        for event in events {
            let (token, flags) = (Token(event.data.u64()), event.flags);
            if let Some(source) = table.source_at(token) {
                match source.on_ready(Readiness::from_bits_retain(flags.bits())) {
                    Dispatch::Idle => {}
                    Dispatch::Yielded => table.enqueue(token.index()),
                    Dispatch::Rearm => self.rearm_source(&**source),
                }
            }
        }
        if table.remaining > 0 || self.has_pending() {
            self.dispatch_scheduled(table);
        }
    }

    #[cold]
    #[inline(never)]
    fn dispatch_scheduled(&self, table: &mut Table) {
        if self.made_in.is_inherited() {
            return;
        }
        if self.has_pending() {
            self.apply_pending(table);
        }
        while table.remaining > 0 {
            if let Some(index) = table.next_of_round()
                && let Some(source) = table.source(index)
            {
                match source.on_ready(Readiness::empty()) {
                    Dispatch::Idle => {}
                    Dispatch::Yielded => table.enqueue(index),
                    Dispatch::Rearm => self.rearm_source(&**source),
                }
            }
        }
    }

    #[cold]
    fn rearm_source(&self, source: &dyn Source) {
        source.rearm(&|descriptor, token, interest| match self.rearm(descriptor, token, interest) {
            // The waiters are told next that the port has failed.
            Err(_) if self.has_failed() => Ok(()),
            rearmed => rearmed,
        });
    }

    /// Asks for events, and sleeps only if there is nothing else to do.
    #[cold]
    #[inline(never)]
    fn prepare_to_wait(&self, table: &mut Table, events: &mut Vec<Event>) {
        if self.flags_before_sleep().intersects(PortFlags::PENDING) {
            // Drops the sources that were removed in the last round, instead of keeping them until the next event.
            self.apply_pending(table);
        }
        // Read again, because a handler that was dropped there may have scheduled a source. It may also have dropped the
        // last reference to the port, which wakes no thread if the port thread drops it.
        let flags = self.flags_before_sleep();
        table.begin_round();
        let notified = flags.intersects(PortFlags::NOTIFIED | PortFlags::STOPPING);
        let idle = table.remaining == 0 && !notified;
        if flags.contains(PortFlags::FAILED) {
            events.clear();
            self.wait_detached(table, !flags.contains(PortFlags::DETACHED), idle);
        } else if !(idle && flags.contains(PortFlags::POLLS) && self.is_busy(events)) {
            self.wait(events, idle);
        }
    }

    fn flags_before_sleep(&self) -> PortFlags {
        #[cfg(loom)]
        if crate::sync::injected_bug("sleeps though notified") {
            return self.flags().difference(PortFlags::NOTIFIED);
        }
        self.flags()
    }

    /// Applies the pending changes to the table, and queues the scheduled sources.
    // Codes_SRS_COMPLETION_PORT_01_057
    #[cold]
    fn apply_pending(&self, table: &mut Table) {
        self.clear_flags(PortFlags::PENDING);
        let mut scheduled = Scheduled::new();
        loop {
            let Some(op) = table.apply_next(&mut self.pending.lock(), &mut scheduled) else { break };
            if let TableOp::Drop(source) = op {
                run_caught("drop", || drop(source));
            }
        }
        table.queue_scheduled(&scheduled);
        #[cfg(loom)]
        if crate::sync::injected_bug("notified is cleared late") {
            self.clear_flags(PortFlags::NOTIFIED);
        }
        if table.take_has_new() && self.has_failed() {
            self.fail_sources(table);
        }
    }

    /// Asks for events without sleeping. Returns whether there was something to do before the time was over.
    // Codes_SRS_COMPLETION_PORT_01_064
    #[cold]
    fn is_busy(&self, events: &mut Vec<Event>) -> bool {
        let start = Instant::now();
        loop {
            self.wait(events, false);
            if !events.is_empty() || self.flags().intersects(PortFlags::NOTIFIED | PortFlags::STOPPING) {
                return true;
            }
            if self.busy_poll.is_none_or(|limit| start.elapsed() >= limit) {
                return false;
            }
        }
    }

    // Codes_SRS_COMPLETION_PORT_01_063
    #[inline(always)]
    fn wait(&self, events: &mut Vec<Event>, block: bool) {
        events.clear();
        if let Err(error) = retry_interrupted(|| self.sys.epoll_wait(self.epoll.as_fd(), events, block)) {
            self.wait_failed(error);
        }
    }
}
