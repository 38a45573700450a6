//! The port's thread: it waits for events and calls the sources.

use crate::callback::{replace_longest, run_caught, timed};
use crate::clock::{Clock, Timers};
use crate::driver::Turn;
use crate::memory::{Room, TryArc};
use crate::process::{Generation, untouched};
use crate::readiness::Readiness;
use crate::shared::{PortFlags, Shared, WAKE};
use crate::source::{Dispatch, Source, SourceRef, Token};
use crate::sync::per_thread;
use crate::sys::{Errno, Event, LONGEST_WAIT, Milliseconds, PortSyscalls, SHORT_WAIT, milliseconds};
use crate::table::{Removed, Table};
use std::cell::Cell;
use std::mem;
use std::os::fd::AsFd;
use std::slice;
use std::time::{Duration, Instant};

/// How many timers fire before the events have their turn.
const TIMERS_PER_ROUND: usize = 256;

/// The port thread's own state.
pub(crate) struct Turns {
    table: Table,
    clock: Clock,
    /// The end of the last wait, if the port counts what it does.
    awake_since: Option<Instant>,
}

impl Turns {
    pub(crate) const fn new() -> Self {
        Self { table: Table::new(), clock: Clock::new(), awake_since: None }
    }

    /// Takes the last source out, at the end of the port.
    pub(crate) fn pop(&mut self) -> Option<Option<SourceRef>> {
        self.table.pop()
    }
}

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
#[must_use]
pub fn is_port_thread() -> bool {
    CURRENT.get() != 0 && CURRENT_SINCE.get().is_some_and(|generation| !generation.is_inherited())
}

/// While it lives, this thread is a port's thread.
pub(crate) struct Current(usize, Option<Generation>, Option<Duration>);

impl Current {
    pub(crate) fn enter<S: PortSyscalls>(shared: &Shared<S>) -> Self {
        let timed = shared.counters.as_ref().map(|_| Duration::ZERO);
        let outer = Self(CURRENT.get(), CURRENT_SINCE.get(), replace_longest(timed));
        // Codes_SRS_COMPLETION_PORT_01_061, Codes_SRS_COMPLETION_PORT_01_175, Codes_SRS_SOCKET_01_001
        CURRENT.set(shared.address());
        // Codes_SRS_COMPLETION_PORT_01_124
        CURRENT_SINCE.set(Some(shared.made_in));
        outer
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.set(self.0);
        CURRENT_SINCE.set(self.1);
        replace_longest(self.2);
    }
}

impl<S: PortSyscalls> Shared<S> {
    pub(crate) fn is_current_thread(&self) -> bool {
        // Codes_SRS_COMPLETION_PORT_01_061
        CURRENT.get() == self.address()
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The thread's whole life. `events` has room for the events of one wait.
    pub(crate) fn run(this: TryArc<Self>, events: Room<Event>) {
        let _current = Current::enter(&*this);
        let mut turns = Turns::new();
        this.serve(&mut turns, events.into_vec());
        if this.made_in.is_inherited() {
            // A callback has forked, and this is the child.
            mem::forget(turns);
            return mem::forget(this);
        }
        while let Some(last) = turns.pop() {
            run_caught("drop", || drop(last));
        }
        // Codes_SRS_COMPLETION_PORT_01_094
        if this.has_failed() {
            // Dropping it would close the descriptors' numbers, which may belong to other code by now.
            mem::forget(this);
        }
    }

    fn serve(&self, turns: &mut Turns, mut events: Vec<Event>) {
        loop {
            let (flags, untouched) = (self.flags(), untouched());
            if turns.table.has_queued() {
                if !self.serve_unusual(turns, &mut events, flags) {
                    return;
                }
            } else if flags.bits() == untouched {
                self.wait(&mut events, LONGEST_WAIT);
            } else if flags.bits() == untouched | PortFlags::HAS_TIMERS.bits() && turns.clock.takes_short_wait() {
                self.wait(&mut events, SHORT_WAIT);
                self.look_if_idle(&mut turns.clock, &events);
            } else if !self.serve_unusual(turns, &mut events, flags) {
                return;
            }
            self.dispatch(turns, &events);
        }
    }

    /// Waits if there is more to do than that, or to look at first. False if there is nothing to serve any more.
    #[cold]
    #[inline(never)]
    fn serve_unusual(&self, turns: &mut Turns, events: &mut Vec<Event>, flags: PortFlags) -> bool {
        // Codes_SRS_COMPLETION_PORT_01_085
        if flags.contains(PortFlags::STOPPING) || self.made_in.is_inherited() {
            return false;
        }
        if flags.bits() == PortFlags::HAS_TIMERS.bits() && !turns.table.has_queued() {
            self.wait_for_timers(turns, events);
        } else {
            self.prepare_to_wait(turns, events, None);
        }
        true
    }

    /// One turn of a port that the caller drives.
    pub(crate) fn turn(&self, turns: &mut Turns, events: &mut Vec<Event>, at_most: Duration) -> Turn {
        // Codes_SRS_COMPLETION_PORT_01_175
        if self.flags().contains(PortFlags::STOPPING) || self.made_in.is_inherited() {
            return Turn::Over;
        }
        let fired = self.prepare_to_wait(turns, events, Some(at_most));
        let works = fired || !events.is_empty() || turns.table.remaining > 0 || self.has_pending();
        // Codes_SRS_COMPLETION_PORT_01_175
        self.dispatch(turns, events);
        self.note_longest_callback();
        // Codes_SRS_COMPLETION_PORT_01_176
        if works { Turn::Worked } else { Turn::Idle }
    }

    /// How long a driven port may wait.
    pub(crate) fn time_to_wait(&self, turns: &Turns) -> Option<Duration> {
        let has_work = self.flags().intersects(PortFlags::PENDING | PortFlags::STOPPING) || turns.table.has_queued();
        if has_work || self.made_in.is_inherited() {
            return Some(Duration::ZERO);
        }
        match self.pending.lock().look_at_timers(|| self.sys.now()) {
            Timers::None => None,
            Timers::Next { left, .. } => Some(left),
            Timers::Due | Timers::Unknown => Some(Duration::ZERO),
        }
    }

    /// Ends everything that waits, because nothing drives the port any more.
    // Codes_SRS_COMPLETION_PORT_01_178
    pub(crate) fn end_waiting(&self, turns: &mut Turns) {
        self.apply_pending(turns);
        self.fail_sources(&mut turns.table);
        while turns.table.has_queued() || self.has_pending() {
            turns.table.begin_round();
            self.dispatch(turns, &[]);
        }
    }

    #[inline(always)]
    fn dispatch(&self, turns: &mut Turns, events: &[Event]) {
        if self.has_pending() {
            // A source that was inserted before an event came must be in the table when the event is looked up.
            self.apply_pending(turns);
        }
        let mut events = events.iter();
        // Dropping the last reference to a source runs user destructors. If one panics, the remaining sources still get
        // their turn.
        while run_caught("dispatch", || self.dispatch_events(turns, &mut events)).is_none() {}
    }

    /// Calls the sources that have events, and the sources of this round that have yielded or were scheduled.
    fn dispatch_events(&self, turns: &mut Turns, events: &mut slice::Iter<'_, Event>) {
        let table = &mut turns.table;
        for event in events {
            let (token, flags) = (Token(event.data.u64()), event.flags);
            if let Some(source) = table.source_at(token) {
                match source.on_ready(Readiness::from_bits_retain(flags.bits())) {
                    Dispatch::Idle => {}
                    // Codes_SRS_COMPLETION_PORT_01_040
                    Dispatch::Yielded => table.enqueue(token.index()),
                    Dispatch::Rearm => self.rearm_source(&**source),
                }
            }
        }
        if table.remaining > 0 || self.has_pending() {
            self.dispatch_scheduled(turns);
        }
    }

    #[cold]
    #[inline(never)]
    fn dispatch_scheduled(&self, turns: &mut Turns) {
        if self.made_in.is_inherited() {
            return;
        }
        if self.has_pending() {
            self.apply_pending(turns);
        }
        let table = &mut turns.table;
        while table.remaining > 0 {
            if let Some(index) = table.next_of_round()
                && let Some(source) = table.source(index)
            {
                match source.on_ready(Readiness::empty()) {
                    Dispatch::Idle => {}
                    // Codes_SRS_COMPLETION_PORT_01_040
                    Dispatch::Yielded => table.enqueue(index),
                    Dispatch::Rearm => self.rearm_source(&**source),
                }
            }
        }
    }

    /// Calls the sources whose timers are due, up to a number, so that events are not held up.
    #[cold]
    fn dispatch_timers(&self, turns: &mut Turns) {
        for _ in 0..TIMERS_PER_ROUND {
            // Codes_SRS_COMPLETION_PORT_01_166
            let Some(token) = self.pending.lock().pop_due_timer() else { break };
            if turns.table.source_at(token).is_none() {
                // The timer's source was inserted after the last look.
                self.apply_pending(turns);
            }
            let Some(source) = turns.table.source_at(token) else { continue };
            if let Some(counters) = &self.counters {
                counters.note_timer();
            }
            let (dispatch, again) = timed(|| source.on_timer(self.sys.now()));
            if dispatch == Dispatch::Yielded {
                turns.table.enqueue(token.index());
            }
            // Codes_SRS_COMPLETION_PORT_01_170
            if let Some(again) = again {
                self.pending.lock().arm_again(token, again, || self.sys.now());
            }
        }
        turns.clock.look_again();
    }

    #[cold]
    fn rearm_source(&self, source: &dyn Source) {
        source.rearm(&|descriptor, token, interest| match self.rearm(descriptor, token, interest) {
            // The waiters are told next that the port has failed.
            Err(_) if self.has_failed() => Ok(()),
            rearmed => rearmed,
        });
    }

    /// Asks for events, and sleeps only if there is nothing else to do. With a limit, it does not sleep after timers have
    /// fired, because the caller wants to know. Returns whether there were any.
    #[cold]
    #[inline(never)]
    fn prepare_to_wait(&self, turns: &mut Turns, events: &mut Vec<Event>, limit: Option<Duration>) -> bool {
        if self.flags_before_sleep().intersects(PortFlags::PENDING) {
            // Drops the sources that were removed in the last round, instead of keeping them until the next event.
            self.apply_pending(turns);
        }
        let fired = self.fire_timers(turns);
        self.note_end_of_round(turns);
        let at_most = limit.map_or(Duration::MAX, |limit| if fired { Duration::ZERO } else { limit });
        let Turns { table, clock, .. } = turns;
        // Read again, because a handler that was dropped there may have scheduled a source. It may also have dropped the
        // last reference to the port, which wakes no thread if the port thread drops it.
        let flags = self.flags_before_sleep();
        table.begin_round();
        let notified = flags.intersects(PortFlags::NOTIFIED | PortFlags::STOPPING);
        let idle = table.remaining == 0 && !notified;
        if flags.contains(PortFlags::FAILED) {
            events.clear();
            let at_most = if idle { clock.next_wait().min(at_most) } else { Duration::ZERO };
            self.wait_detached(table, !flags.contains(PortFlags::DETACHED), at_most);
            clock.look_again();
        } else if !(idle && self.busy_poll.is_some() && self.is_busy(events)) {
            self.wait_up_to(events, if idle { clock.next_wait().min(at_most) } else { Duration::ZERO });
            self.look_if_idle(clock, events);
        }
        self.note_round(turns, events);
        fired
    }

    /// Counts a round that has ended.
    #[inline]
    fn note_end_of_round(&self, turns: &Turns) {
        if let Some(counters) = &self.counters
            && let Some(since) = turns.awake_since
        {
            counters.note_work(since, self.sys.now());
            self.note_longest_callback();
        }
    }

    fn note_longest_callback(&self) {
        if let Some(counters) = &self.counters
            && let Some(longest) = replace_longest(Some(Duration::ZERO))
        {
            counters.note_callback(longest);
        }
    }

    /// Counts a round that begins with these events.
    // Codes_SRS_COMPLETION_PORT_01_185
    #[inline]
    fn note_round(&self, turns: &mut Turns, events: &[Event]) {
        if let Some(counters) = &self.counters {
            counters.note_round(events.len(), events.iter().any(|event| event.data.u64() == WAKE.0));
            turns.awake_since = Some(self.sys.now());
        }
    }

    /// Waits while a timer is armed and nothing else is unusual.
    #[inline(never)]
    fn wait_for_timers(&self, turns: &mut Turns, events: &mut Vec<Event>) {
        self.fire_timers(turns);
        // A timer may have left something to do.
        let idle = !turns.table.has_queued() && !self.flags().intersects(PortFlags::PENDING | PortFlags::STOPPING);
        self.wait_up_to(events, if idle { turns.clock.next_wait() } else { Duration::ZERO });
        self.look_if_idle(&mut turns.clock, events);
    }

    /// Looks at the timers if it is time for that, and fires those that are due. Returns whether there were any.
    #[inline]
    fn fire_timers(&self, turns: &mut Turns) -> bool {
        self.look_at_timers(&mut turns.clock);
        let are_due = turns.clock.has_due();
        if are_due {
            // If a timer panics, the remaining timers still fire.
            while run_caught("timer", || self.dispatch_timers(turns)).is_none() {}
            self.look_at_timers(&mut turns.clock);
        }
        are_due
    }

    #[inline]
    fn look_at_timers(&self, clock: &mut Clock) {
        if clock.needs_look() {
            clock.set(self.pending.lock().look_at_timers(|| self.sys.now()));
            self.note_whether_there_are_timers(clock);
        }
    }

    /// Lets the thread wait without a look at the clock if no timer is armed. A timer that another thread arms meanwhile
    /// notifies the thread, which then sets the flag.
    #[inline]
    fn note_whether_there_are_timers(&self, clock: &Clock) {
        if clock.is_idle() {
            self.clear_flags(PortFlags::HAS_TIMERS);
        }
    }

    /// Looks at the timers if a wait has ended without an event.
    #[inline(always)]
    fn look_if_idle(&self, clock: &mut Clock, events: &[Event]) {
        if events.is_empty() {
            self.look_because_idle(clock);
        }
    }

    #[cold]
    #[inline(never)]
    fn look_because_idle(&self, clock: &mut Clock) {
        if !clock.is_idle() {
            clock.woke_idle(self.pending.lock().look_at_timers(|| self.sys.now()));
            self.note_whether_there_are_timers(clock);
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
    fn apply_pending(&self, turns: &mut Turns) {
        self.clear_flags(PortFlags::PENDING);
        let table = &mut turns.table;
        let mut removed = Removed::default();
        let has_timers = loop {
            let mut pending = self.pending.lock();
            let is_done = table.apply(&mut pending, &mut removed);
            let has_timers = pending.has_timers();
            drop(pending);
            for source in removed.iter_mut().filter_map(Option::take) {
                run_caught("drop", || drop(source));
            }
            // What the drops have changed has set a flag again.
            if is_done {
                break has_timers;
            }
        };
        if has_timers {
            // One of them may be new.
            turns.clock.look_again();
            self.set_flags(PortFlags::HAS_TIMERS);
        }
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
            self.wait(events, 0);
            if !events.is_empty() || self.flags().intersects(PortFlags::NOTIFIED | PortFlags::STOPPING) {
                return true;
            }
            if self.busy_poll.is_none_or(|limit| start.elapsed() >= limit) {
                return false;
            }
        }
    }

    // Codes_SRS_COMPLETION_PORT_01_062, Codes_SRS_COMPLETION_PORT_01_063
    #[inline(always)]
    fn wait(&self, events: &mut Vec<Event>, at_most: Milliseconds) {
        events.clear();
        self.waited(self.sys.epoll_wait(self.epoll.as_fd(), events, at_most));
    }

    /// Waits, for whole milliseconds with the call that every kernel has, and otherwise so that timers are on time.
    fn wait_up_to(&self, events: &mut Vec<Event>, at_most: Duration) {
        let rounded = milliseconds(at_most);
        if Duration::from_millis(rounded.into()) <= at_most {
            return self.wait(events, rounded);
        }
        events.clear();
        self.waited(self.sys.epoll_wait_precisely(self.epoll.as_fd(), events, at_most));
    }

    #[inline(always)]
    fn waited(&self, result: Result<(), Errno>) {
        match result {
            // After a signal the thread waits again, but first looks whether a timer is due.
            Ok(()) | Err(Errno::INTR) => {}
            Err(error) => self.wait_failed(error),
        }
    }
}
