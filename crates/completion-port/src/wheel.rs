//! The timers of a port: a hierarchical timing wheel, in which a source has at most one timer.
//!
//! Arming, disarming and moving a timer take constant time. A timer that is moved to a later time stays where it is, and
//! is put into its new place when the wheel comes to the old one.
//!
//! Invariants:
//! * An entry is in exactly one list: that of a slot, or `due`; or it is unarmed.
//! * A slot of level `n` holds timers that are less than `64^(n + 1)` ticks away. When the wheel comes to it, its timers go
//!   to lower levels or become due, so no timer is ever early.
//! * Only growing `entries` needs memory. So a source that has had a timer can always have one again.

use crate::room::growth;

/// In `next` and `prev`: no entry.
const END: u32 = u32::MAX;
const SLOTS: usize = 64;
const SLOT_BITS: u32 = SLOTS.ilog2();
const LEVELS: usize = 6;
/// A timer that is further away waits in the last slot, and is put there again when the wheel comes to it.
const HORIZON: u64 = 1 << (SLOT_BITS * LEVELS as u32);

/// Where an entry is: the number of a slot, counted over all levels, or one of these.
const UNARMED: u16 = u16::MAX;
const DUE: u16 = u16::MAX - 1;

pub(crate) struct Wheel {
    /// One for each index of the table of sources that ever had a timer, and those below.
    entries: Vec<Entry>,
    levels: [Level; LEVELS],
    due: List,
    /// The tick up to which the wheel has turned.
    now: u64,
    armed: u32,
}

/// 16 bytes, because each idle connection with a time-out has one.
#[derive(Clone)]
struct Entry {
    /// The tick, in two parts.
    at_low: u32,
    at_high: u16,
    place: u16,
    next: u32,
    prev: u32,
}

/// The last tick that an entry can say, in two thousand years.
const LAST: u64 = (1 << 48) - 1;

impl Entry {
    const NEW: Self = Self { at_low: 0, at_high: 0, place: UNARMED, next: END, prev: END };

    fn at(&self) -> u64 {
        u64::from(self.at_high) << 32 | u64::from(self.at_low)
    }

    fn set_at(&mut self, at: u64) {
        (self.at_high, self.at_low) = ((at >> 32) as u16, at as u32);
    }
}

struct Level {
    /// One bit for each slot that is not empty.
    occupied: u64,
    slots: [List; SLOTS],
}

#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

const EMPTY: List = List { first: END, last: END };

impl Wheel {
    pub(crate) const fn new() -> Self {
        const LEVEL: Level = Level { occupied: 0, slots: [EMPTY; SLOTS] };
        Self { entries: Vec::new(), levels: [LEVEL; LEVELS], due: EMPTY, now: 0, armed: 0 }
    }

    /// Whether no timer is armed.
    pub(crate) fn is_idle(&self) -> bool {
        self.armed == 0
    }

    /// How many timers are armed.
    pub(crate) fn armed(&self) -> u32 {
        self.armed
    }

    /// Arms or moves the timer of the source with this index. False if there is no memory.
    pub(crate) fn arm(&mut self, index: u32, at: u64) -> bool {
        if !self.has_room(index) {
            return false;
        }
        let at = at.min(LAST);
        let entry = &mut self.entries[index as usize];
        let stays = entry.place < DUE && entry.at() <= at;
        if stays {
            entry.set_at(at);
        } else {
            self.disarm(index);
            self.entries[index as usize].set_at(at);
            self.insert(index);
        }
        true
    }

    /// The time for which the timer of a source is armed.
    pub(crate) fn armed_for(&self, index: u32) -> Option<u64> {
        self.entries.get(index as usize).filter(|entry| entry.place != UNARMED).map(Entry::at)
    }

    /// Disarms the timer of the source with this index, if it has one.
    pub(crate) fn disarm(&mut self, index: u32) {
        let Some(entry) = self.entries.get_mut(index as usize) else { return };
        let place = std::mem::replace(&mut entry.place, UNARMED);
        let (next, prev) = (entry.next, entry.prev);
        if place == UNARMED {
            return;
        }
        self.armed -= 1;
        match prev {
            END => self.list(place).first = next,
            prev => self.entries[prev as usize].next = next,
        }
        match next {
            END => self.list(place).last = prev,
            next => self.entries[next as usize].prev = prev,
        }
        if place != DUE && self.list(place).first == END {
            let (level, slot) = (usize::from(place) / SLOTS, usize::from(place) % SLOTS);
            self.levels[level].occupied &= !(1 << slot);
        }
    }

    /// Turns the wheel. Timers whose time has come become due. Returns the tick at which the wheel has to be turned next, if
    /// none is due. Then a timer becomes due, or moves to a lower level.
    pub(crate) fn turn_to(&mut self, now: u64) -> Option<u64> {
        let mut next = self.next_slot();
        while let Some((level, slot, at)) = next
            && at <= now
        {
            self.now = self.now.max(at);
            while self.levels[level].slots[slot].first != END {
                let index = self.levels[level].slots[slot].first;
                self.disarm(index);
                self.insert(index);
            }
            next = self.next_slot();
        }
        self.now = self.now.max(now);
        next.map(|(_, _, at)| at)
    }

    /// Takes a timer out that is due, the earliest first.
    pub(crate) fn pop_due(&mut self) -> Option<u32> {
        let index = self.due.first;
        if index == END {
            return None;
        }
        self.disarm(index);
        Some(index)
    }

    pub(crate) fn has_due(&self) -> bool {
        self.due.first != END
    }

    fn has_room(&mut self, index: u32) -> bool {
        let length = self.entries.len();
        let missing = (index as usize + 1).saturating_sub(length);
        let is_full = length + missing > self.entries.capacity();
        if is_full && self.entries.try_reserve_exact(missing.max(growth(length))).is_err() {
            return false;
        }
        self.entries.extend(std::iter::repeat_n(Entry::NEW, missing));
        true
    }

    /// Puts an unarmed entry where its time says.
    fn insert(&mut self, index: u32) {
        let at = self.entries[index as usize].at();
        let place = self.place_of(at);
        let list = self.list(place);
        let prev = std::mem::replace(&mut list.last, index);
        if prev == END {
            list.first = index;
        } else {
            self.entries[prev as usize].next = index;
        }
        let entry = &mut self.entries[index as usize];
        (entry.prev, entry.next, entry.place) = (prev, END, place);
        if place != DUE {
            let (level, slot) = (usize::from(place) / SLOTS, usize::from(place) % SLOTS);
            self.levels[level].occupied |= 1 << slot;
        }
        self.armed += 1;
    }

    fn place_of(&self, at: u64) -> u16 {
        if at <= self.now {
            return DUE;
        }
        let at = at.min(self.now + HORIZON - 1);
        // The highest bit in which the two differ says how far the level has to reach.
        let differing = (at ^ self.now) | (SLOTS as u64 - 1);
        let level = (u64::BITS - 1 - differing.leading_zeros()) / SLOT_BITS;
        // Beyond the last level's turn, its slot of the next turn.
        let level = level.min(LEVELS as u32 - 1);
        let slot = (at >> (level * SLOT_BITS)) as usize % SLOTS;
        u16::try_from(level as usize * SLOTS + slot).unwrap_or(DUE)
    }

    fn list(&mut self, place: u16) -> &mut List {
        if place == DUE {
            return &mut self.due;
        }
        &mut self.levels[usize::from(place) / SLOTS].slots[usize::from(place) % SLOTS]
    }

    /// The slot that the wheel comes to next, and when.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let of_level = |(level, it): (usize, &Level)| {
            let shift = SLOT_BITS * level as u32;
            let current = (self.now >> shift) % SLOTS as u64;
            // The slots in the order in which the wheel comes to them. The current one is the last, a whole turn away.
            let after = it.occupied.rotate_right(u32::try_from(current + 1).unwrap_or(0));
            let distance = u64::from(after.trailing_zeros()) + 1;
            (it.occupied != 0).then(|| {
                let turns = (self.now >> shift) + distance;
                (level, (turns % SLOTS as u64) as usize, turns << shift)
            })
        };
        self.levels.iter().enumerate().filter_map(of_level).min_by_key(|it| it.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns to the next slot again and again. The ticks at which timers became due.
    fn run(wheel: &mut Wheel) -> Vec<(u64, u32)> {
        let mut fired = Vec::new();
        loop {
            while let Some(due) = wheel.pop_due() {
                fired.push((wheel.now, due));
            }
            let Some((_, _, next)) = wheel.next_slot() else { return fired };
            assert!(next > wheel.now, "the wheel always turns on");
            wheel.turn_to(next);
        }
    }

    #[test]
    fn every_timer_is_due_at_its_tick() {
        for start in [0, 1, 63, 64, 4095, 4096, 123_456_789] {
            let mut wheel = Wheel::new();
            wheel.turn_to(start);
            let ats: Vec<u64> = [
                1,
                2,
                62,
                63,
                64,
                65,
                100,
                4094,
                4095,
                4096,
                4097,
                262_143,
                262_144,
                20_000_000,
                HORIZON - 1,
                HORIZON,
                3 * HORIZON,
            ]
            .map(|after| start + after)
            .into();
            for (index, at) in ats.iter().enumerate() {
                assert!(wheel.arm(index as u32, *at));
            }
            let expected: Vec<_> = ats.iter().copied().zip(0..).collect();
            assert_eq!(run(&mut wheel), expected, "from {start}");
            assert!(wheel.is_idle());
        }
    }

    /// A random number of random size.
    fn up_to(random: &mut fastrand::Rng, bits: u32) -> u64 {
        let bits = random.u32(..bits);
        random.u64(..1 << bits)
    }

    #[test]
    fn random_timers_agree_with_a_sorted_list() {
        let mut random = fastrand::Rng::with_seed(16);
        for _ in 0..200 {
            let mut wheel = Wheel::new();
            wheel.turn_to(up_to(&mut random, 40));
            let mut expected = std::collections::BTreeMap::new();
            for _ in 0..100 {
                let index = random.u32(..30);
                let at = wheel.now + up_to(&mut random, 38);
                match random.u32(..4) {
                    0 => {
                        wheel.disarm(index);
                        expected.remove(&index);
                    }
                    1 => {
                        let to = wheel.now + up_to(&mut random, 20);
                        wheel.turn_to(to);
                        while let Some(due) = wheel.pop_due() {
                            assert!(expected.remove(&due).is_some_and(|at| at <= to));
                        }
                        assert!(expected.values().all(|at| *at > to), "all that are due have come");
                    }
                    _ => {
                        assert!(wheel.arm(index, at));
                        expected.insert(index, at);
                    }
                }
                assert_eq!(wheel.is_idle(), expected.is_empty());
            }
            let late = wheel.now;
            let mut fired = run(&mut wheel);
            fired.sort_unstable();
            // One that was armed for the present tick is due at once.
            let mut left: Vec<_> = expected.into_iter().map(|(index, at)| (at.max(late), index)).collect();
            left.sort_unstable();
            assert_eq!(fired, left);
        }
    }

    #[test]
    fn a_later_time_moves_nothing_until_the_wheel_comes_to_the_old_place() {
        let mut wheel = Wheel::new();
        wheel.arm(0, 10);
        let place = wheel.entries[0].place;
        wheel.arm(0, 1_000_000);
        assert_eq!(wheel.entries[0].place, place);
        assert_eq!(run(&mut wheel), [(1_000_000, 0)]);
    }

    #[test]
    fn an_earlier_time_moves_at_once() {
        let mut wheel = Wheel::new();
        wheel.arm(0, 1_000_000);
        wheel.arm(0, 10);
        assert_eq!(run(&mut wheel), [(10, 0)]);
    }

    #[test]
    fn a_time_that_is_over_is_due_at_once() {
        let mut wheel = Wheel::new();
        wheel.turn_to(100);
        wheel.arm(3, 99);
        assert!(wheel.has_due());
        assert_eq!(wheel.pop_due(), Some(3));
        assert_eq!(wheel.pop_due(), None);
    }
}
