//! What is known of a descriptor's readiness, and the wakers of the tasks that wait for it.
//!
//! Invariants:
//! * A direction that is not ready has got `EAGAIN`, or was drained, and no event came since. So a later event reports it.
//! * In each direction one task waits, the one that polled last. It stores its waker, sets the direction's `WAITS` flag, and
//!   looks at the readiness in the same step; the port's thread notes the event and takes the flag in one step too. So one
//!   of the two sees the other.
//! * A waker is kept after it was used, because the task that waits next is usually the same one. While the port's thread
//!   wakes with it, it lies in that thread's hand; a task that runs inside the wake-up and waits again sets only the flag.

use crate::sync::{AtomicU32, Mutex, Ordering, per_thread};
use crate::worker::wake_in_dispatch;
use completion_port::process::Generation;
use completion_port::{Direction, Dispatch, Readiness, Source, Token};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::task::{RawWakerVTable, Waker};

per_thread! {
    /// The waker that this thread wakes with, inside [`Ready::on_ready`].
    static IN_HAND: Cell<InHand> = const { Cell::new(InHand::NOTHING) };
}

/// Names a waker, and the direction of a `Ready` that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
struct InHand {
    /// The address of the `Ready`, and the direction in its lowest bit. 0 if there is no waker.
    place: usize,
    data: *const (),
    vtable: *const RawWakerVTable,
}

impl InHand {
    const NOTHING: Self = Self { place: 0, data: ptr::null(), vtable: ptr::null() };

    #[inline]
    fn new(ready: &Ready, direction: Direction, waker: &Waker) -> Self {
        Self { place: ptr::from_ref(ready).addr() | direction as usize, data: waker.data(), vtable: waker.vtable() }
    }
}

/// Empties the thread's hand, also if the waker panics.
struct EmptiesHand;

impl Drop for EmptiesHand {
    #[inline]
    fn drop(&mut self) {
        IN_HAND.set(InHand::NOTHING);
    }
}

/// What is known of a descriptor. The port tells it about events. In this order, so that what a read looks at comes first.
#[repr(C)]
pub(crate) struct Ready {
    state: AtomicU32,
    made_in: Generation,
    /// By direction.
    waiters: Mutex<[Option<Waker>; 2]>,
    /// The port's name for this. Here rather than in `Io`, because a stream lies in the state of its task, of which each
    /// message touches nearly every line.
    token: AtomicU64,
}

/// A value of `Ready::state`: flags, and above them a count of events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(u32);

impl State {
    const READABLE: u32 = 1;
    const WRITABLE: u32 = 1 << 1;
    /// A task waits for a direction: `READABLE` and `WRITABLE`, moved by `TO_WAITS`.
    const TO_WAITS: u32 = 2;
    const WAITS: u32 = (Self::READABLE | Self::WRITABLE) << Self::TO_WAITS;
    /// After a short read more may come: an error, the end of the stream, or bytes behind an urgent one. Always for sockets
    /// whose reads can be short anyway.
    const LASTS: u32 = 1 << 4;
    /// The descriptor is off the port, so wakers are not kept any more.
    const ENDED: u32 = 1 << 5;
    /// The port has failed, so no event comes any more.
    const FAILED: u32 = 1 << 6;
    const EVENT: u32 = 1 << 7;

    #[inline]
    const fn flag(direction: Direction) -> u32 {
        match direction {
            Direction::In => Self::READABLE,
            Direction::Out => Self::WRITABLE,
        }
    }

    #[inline]
    const fn waits(direction: Direction) -> u32 {
        Self::flag(direction) << Self::TO_WAITS
    }

    /// Whether a direction is ready.
    #[inline]
    pub(crate) const fn is(self, direction: Direction) -> bool {
        self.0 & Self::flag(direction) != 0
    }

    /// Whether a short read proves nothing.
    #[inline]
    pub(crate) const fn lasts(self) -> bool {
        self.0 & Self::LASTS != 0
    }

    /// Whether the port has failed.
    #[inline]
    pub(crate) const fn has_failed(self) -> bool {
        self.0 & Self::FAILED != 0
    }

    /// After an event.
    #[inline]
    const fn merged(self, events: Readiness) -> Self {
        let broken = events.intersects(Readiness::ERROR.union(Readiness::HANG_UP));
        let mut flags = self.0;
        if broken || events.intersects(Readiness::IN.union(Readiness::READ_HANG_UP)) {
            flags |= Self::READABLE;
        }
        if broken || events.contains(Readiness::OUT) {
            flags |= Self::WRITABLE;
        }
        if broken || events.intersects(Readiness::READ_HANG_UP.union(Readiness::URGENT)) {
            flags |= Self::LASTS;
        }
        Self(flags.wrapping_add(Self::EVENT))
    }

    /// The `WAITS` flags of the directions that are ready.
    #[inline]
    const fn to_wake(self) -> u32 {
        self.0 & (self.0 << Self::TO_WAITS) & Self::WAITS
    }
}

impl Ready {
    pub(crate) fn new() -> Self {
        // A send nearly always works. If not, its `EAGAIN` says so.
        Self {
            state: AtomicU32::new(State::WRITABLE),
            made_in: Generation::current(),
            waiters: Mutex::new([None, None]),
            token: AtomicU64::new(0),
        }
    }

    /// The port's name for this, which [`set_token`](Self::set_token) has stored.
    pub(crate) fn token(&self) -> Token {
        Token(self.token.load(Ordering::Relaxed))
    }

    /// Stores the name that the port has given.
    pub(crate) fn set_token(&self, token: Token) {
        self.token.store(token.0, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.made_in.is_inherited()
    }

    #[inline]
    pub(crate) fn get(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    /// Makes short reads prove nothing from now on.
    pub(crate) fn set_lasts(&self) {
        self.state.fetch_or(State::LASTS, Ordering::Relaxed);
    }

    /// Notes that a direction is not ready, unless something came since `before`. Returns what is known now.
    ///
    /// If it is something other than an event, the direction stays ready, and the next try finds that it is not.
    #[inline]
    pub(crate) fn clear(&self, direction: Direction, before: State) -> State {
        let cleared = before.0 & !State::flag(direction);
        #[cfg(loom)]
        if crate::sync::injected_bug("clears a later event") {
            return State(self.state.fetch_and(!State::flag(direction), Ordering::AcqRel) & !State::flag(direction));
        }
        match self.state.compare_exchange(before.0, cleared, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => State(cleared),
            Err(now) => State(now),
        }
    }

    /// Notes that a task waits for a direction. Returns what is known then: if the direction is ready, an event has come,
    /// and perhaps nothing wakes the task.
    #[inline]
    pub(crate) fn wait(&self, direction: Direction, waker: &Waker) -> State {
        let flag = State::waits(direction);
        if IN_HAND.get() == InHand::new(self, direction, waker) {
            let before = self.state.fetch_or(flag, Ordering::AcqRel);
            if before & flag == 0 {
                return State(before);
            }
            // Another task has stored its waker since the wake-up. This one is later.
        }
        self.store(direction, waker);
        State(self.state.fetch_or(flag, Ordering::AcqRel))
    }

    #[inline(never)]
    fn store(&self, direction: Direction, waker: &Waker) {
        let mut waiters = self.waiters.lock();
        let stored = &mut waiters[direction as usize];
        if !stored.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
            let old = stored.replace(waker.clone());
            drop(waiters);
            // Dropped without the lock, because it may be foreign code.
            drop(old);
        }
    }

    /// Wakes the task that waits for a direction, and keeps its waker for the next time.
    #[inline]
    fn wake(&self, direction: Direction) {
        let waker = self.waiters.lock()[direction as usize].take();
        let Some(waker) = waker else { return };
        IN_HAND.set(InHand::new(self, direction, &waker));
        let empties = EmptiesHand;
        // Codes_SRS_ASYNC_SOCKET_FUTURES_01_013
        wake_in_dispatch(&waker);
        drop(empties);
        if self.get().0 & State::ENDED != 0 {
            return;
        }
        #[cfg(loom)]
        if crate::sync::injected_bug("forgets the waker in hand") {
            return;
        }
        let mut waiters = self.waiters.lock();
        let stored = &mut waiters[direction as usize];
        if stored.is_none() {
            *stored = Some(waker);
        } else {
            drop(waiters);
            drop(waker);
        }
    }

    /// The descriptor is off the port. Returns the wakers.
    pub(crate) fn end(&self) -> [Option<Waker>; 2] {
        self.state.fetch_or(State::ENDED, Ordering::AcqRel);
        std::mem::take(&mut *self.waiters.lock())
    }
}

impl Source for Ready {
    #[inline]
    fn on_ready(&self, events: Readiness) -> Dispatch {
        let mut before = self.state.load(Ordering::Acquire);
        let to_wake = loop {
            let now = State(before).merged(events);
            let to_wake = now.to_wake();
            let changed =
                self.state.compare_exchange_weak(before, now.0 & !to_wake, Ordering::AcqRel, Ordering::Acquire);
            match changed {
                Ok(_) => break to_wake,
                Err(changed) => before = changed,
            }
        };
        if to_wake & State::waits(Direction::In) != 0 {
            self.wake(Direction::In);
        }
        if to_wake & State::waits(Direction::Out) != 0 {
            self.wake(Direction::Out);
        }
        Dispatch::Idle
    }

    fn queued(&self, direction: Direction) -> usize {
        usize::from(self.get().0 & State::waits(direction) != 0)
    }

    /// Nothing reports readiness any more. So reads and writes go on until one would wait, and that one fails.
    // Codes_SRS_ASYNC_SOCKET_FUTURES_01_036
    fn on_port_failure(&self) {
        // Before the task that waits is woken.
        self.state.fetch_or(State::FAILED, Ordering::AcqRel);
        let _ = self.on_ready(Readiness::ERROR);
    }
}
