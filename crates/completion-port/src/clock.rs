//! The port thread's view of the time: how long it may sleep, and when it has to look at the timers.
//!
//! Invariant: a timer fires on time, although the thread does not read the clock before each wait. After a look, the sum of
//! the waits without another look is at most half of the time that is left until the next timer. So the thread is late only
//! if it also works for the other half without sleeping. Between two looks are at most 8 rounds, or, if the last rounds took
//! at most two milliseconds each, 128. These are so few that each may work for 8 ms without being late.

use crate::sys::{LONGEST_WAIT, SHORT_WAIT, milliseconds};
use std::time::{Duration, Instant};

/// How long a tick of the timers lasts. It bounds how late a timer is. A kernel without `epoll_pwait2(2)` adds up to a
/// millisecond.
const TICK: Duration = Duration::from_micros(250);

/// The most waits of a busy thread between two looks. Each takes at most `SHORT_WAIT`.
const MOST_WAITS: u32 = 128;

/// A thread is busy if a round takes at most this number of ticks on average, two milliseconds.
const BUSY: u64 = 8;

/// The number of waits between two looks of another thread, and the part of the remaining time that each may take.
const WAITS_PER_LOOK: u32 = 8;
const PART: u32 = 2 * WAITS_PER_LOOK;

/// Up to this time a thread that is not busy looks at the clock before each wait.
const SOON: Duration = Duration::from_millis(128);

/// The longest wait.
const LONGEST: Duration = Duration::from_millis(LONGEST_WAIT as u64);

/// Counts ticks from the first timer on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Epoch(Option<Instant>);

impl Epoch {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Begins the count, unless it has begun.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.0.get_or_insert(now);
    }

    /// The first tick that is not before `at`.
    pub(crate) fn tick_from(self, at: Instant) -> u64 {
        ticks(self.since(at) + (TICK - Duration::from_nanos(1)))
    }

    /// The last tick that is not after `now`.
    pub(crate) fn tick_until(self, now: Instant) -> u64 {
        ticks(self.since(now))
    }

    pub(crate) fn since(self, at: Instant) -> Duration {
        self.0.map_or(Duration::ZERO, |epoch| at.saturating_duration_since(epoch))
    }
}

/// How long it is until a tick, at a time since the beginning of the count.
pub(crate) fn until(tick: u64, now: Duration) -> Duration {
    Duration::from_nanos(tick.saturating_mul(nanos(TICK))).saturating_sub(now)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The last tick that is not after a time since the beginning of the count.
pub(crate) fn ticks(since: Duration) -> u64 {
    nanos(since) / nanos(TICK)
}

/// What a look at the timers has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timers {
    /// Nobody has looked yet.
    Unknown,
    /// None is armed.
    None,
    /// Some are due.
    Due,
    /// The next look is needed after the time `left`. `now` is the tick of this look.
    Next { left: Duration, now: u64 },
}

/// How long the thread may sleep.
#[derive(Debug)]
pub(crate) struct Clock {
    found: Timers,
    /// The waits until the next look: those of a busy thread, of `SHORT_WAIT`, or others, each of which may take `at_most`.
    short_waits: u32,
    waits: u32,
    at_most: Duration,
    /// The waits that the last look allowed, and its tick.
    allowed: u32,
    looked_at: u64,
}

impl Clock {
    pub(crate) const fn new() -> Self {
        Self { found: Timers::None, short_waits: 0, waits: 0, at_most: LONGEST, allowed: 0, looked_at: 0 }
    }

    /// Whether no timer is armed, so that nothing of this matters.
    #[inline(always)]
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.found, Timers::None)
    }

    pub(crate) fn has_due(&self) -> bool {
        self.found == Timers::Due
    }

    /// The next wait needs a look at the timers.
    pub(crate) fn look_again(&mut self) {
        self.found = Timers::Unknown;
        self.allowed = self.rounds();
        (self.short_waits, self.waits) = (0, 0);
    }

    /// The number of waits since the last look.
    const fn rounds(&self) -> u32 {
        self.allowed - self.short_waits - self.waits
    }

    /// Whether the timers have to be looked at before the next wait.
    pub(crate) fn needs_look(&self) -> bool {
        self.waits == 0 && self.short_waits == 0
    }

    /// Notes what a look has found.
    pub(crate) fn set(&mut self, found: Timers) {
        self.found = found;
        let (short_waits, waits, at_most) = match found {
            Timers::None => (0, 1, LONGEST),
            Timers::Unknown | Timers::Due => (0, 1, Duration::ZERO),
            Timers::Next { left, now } => {
                let short_waits = u32::try_from(left.as_millis() / (2 * u128::from(SHORT_WAIT))).unwrap_or(MOST_WAITS);
                let is_busy = self.is_busy(now);
                self.looked_at = now;
                match left {
                    _ if is_busy && short_waits > 0 => (short_waits.min(MOST_WAITS), 0, Duration::ZERO),
                    _ if left < SOON => (0, 1, left),
                    // Whole milliseconds, because none of these waits has to end on time.
                    _ => (0, WAITS_PER_LOOK, Duration::from_millis(milliseconds(left / PART).into())),
                }
            }
        };
        self.allow(short_waits, waits, at_most);
    }

    /// Whether the rounds since the last look were short.
    fn is_busy(&self, now: u64) -> bool {
        let rounds = self.rounds();
        rounds > 0 && now.saturating_sub(self.looked_at) <= u64::from(rounds) * BUSY
    }

    fn allow(&mut self, short_waits: u32, waits: u32, at_most: Duration) {
        (self.short_waits, self.waits, self.at_most) = (short_waits, waits, at_most.min(LONGEST));
        self.allowed = short_waits + waits;
    }

    /// Whether the next wait takes at most `SHORT_WAIT` and needs no look. The wait is then counted.
    #[inline(always)]
    pub(crate) const fn takes_short_wait(&mut self) -> bool {
        let Some(left) = self.short_waits.checked_sub(1) else { return false };
        self.short_waits = left;
        true
    }

    /// How long the next wait may take. The wait is counted.
    pub(crate) fn next_wait(&mut self) -> Duration {
        if self.takes_short_wait() {
            return Duration::from_millis(SHORT_WAIT as u64);
        }
        if !self.is_idle() {
            self.waits = self.waits.saturating_sub(1);
        }
        self.at_most
    }

    /// A wait has ended without an event, so it took as long as it was allowed to. The thread is idle, and need not wake
    /// in between any more.
    pub(crate) fn woke_idle(&mut self, found: Timers) {
        self.set(found);
        if let Timers::Next { left, .. } = found {
            self.allow(0, 1, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a thread does with a timer: each round waits for at most so long, and works for so long.
    struct Thread {
        clock: Clock,
        now: Duration,
        /// When the timer is due.
        due: Duration,
        looks: u32,
        waits: u32,
        empty_waits: u32,
    }

    impl Thread {
        fn new(due: Duration) -> Self {
            let mut clock = Clock::new();
            clock.look_again();
            Self { clock, now: Duration::ZERO, due, looks: 0, waits: 0, empty_waits: 0 }
        }

        fn look(&mut self) -> Timers {
            self.looks += 1;
            match self.due.checked_sub(self.now) {
                Some(left) if !left.is_zero() => Timers::Next { left, now: ticks(self.now) },
                _ => Timers::Due,
            }
        }

        /// One round, with an event after `gap` and then `work`. False if the timer has come.
        fn round(&mut self, gap: Duration, work: Duration) -> bool {
            if self.clock.needs_look() {
                let found = self.look();
                self.clock.set(found);
            }
            if self.clock.has_due() {
                return false;
            }
            let at_most = self.clock.next_wait();
            self.waits += 1;
            self.now += gap.min(at_most);
            if gap > at_most {
                self.empty_waits += 1;
                let found = self.look();
                self.clock.woke_idle(found);
            } else {
                self.now += work;
            }
            true
        }

        fn run(&mut self, gap: Duration, work: Duration) {
            while self.round(gap, work) {}
        }

        fn lateness(&self) -> Duration {
            self.now.saturating_sub(self.due)
        }
    }

    const fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    // Tests_SRS_COMPLETION_PORT_01_165
    #[test]
    fn a_busy_thread_looks_at_the_clock_rarely_and_is_not_late() {
        for gap in [0, 20, 300, 900] {
            let mut thread = Thread::new(Duration::from_secs(8));
            thread.run(micros(gap), micros(40));
            assert!(thread.lateness() <= micros(gap + 1040), "{gap}: {:?}", thread.lateness());
            assert!(thread.looks <= thread.waits / 32, "{gap}: {} of {}", thread.looks, thread.waits);
        }
    }

    // Tests_SRS_COMPLETION_PORT_01_165
    #[test]
    fn a_thread_that_begins_to_work_long_is_not_late() {
        let mut thread = Thread::new(Duration::from_secs(8));
        while thread.now < Duration::from_secs(4) {
            thread.round(micros(20), micros(40));
        }
        let work = Duration::from_millis(8);
        thread.run(Duration::ZERO, work);
        assert!(thread.lateness() <= work, "{:?}", thread.lateness());
    }

    // Tests_SRS_COMPLETION_PORT_01_167
    #[test]
    fn a_thread_with_an_event_now_and_then_rarely_wakes_for_nothing() {
        for gap in [10, 50] {
            let mut thread = Thread::new(Duration::from_secs(8));
            thread.run(Duration::from_millis(gap), micros(40));
            assert!(thread.lateness() <= Duration::from_millis(1), "{gap}: {:?}", thread.lateness());
            let more = thread.waits / 16;
            assert!(thread.empty_waits <= more + 2, "{gap}: {} of {}", thread.empty_waits, thread.waits);
        }
    }

    // Tests_SRS_COMPLETION_PORT_01_167
    #[test]
    fn after_a_burst_a_thread_wakes_for_nothing_once() {
        let mut thread = Thread::new(Duration::from_secs(8));
        for _ in 0..1000 {
            thread.round(micros(20), micros(40));
        }
        let before = thread.empty_waits;
        thread.run(Duration::MAX, Duration::ZERO);
        // One for each second that a wait may take at most, one for the burst, and the timer's own.
        assert!(thread.empty_waits - before <= 8 + 2, "{}", thread.empty_waits - before);
        assert!(thread.lateness() <= Duration::from_millis(1), "{:?}", thread.lateness());
    }
}
