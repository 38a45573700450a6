//! Posted work and timers of the ports. Each closure runs once, or is dropped once by a cancel; never both.

use super::actor::close_async;
use super::acts::Act;
use super::operation::{call, cancel, receive, send};
use super::panics::panic_quietly;
use super::simulation::{Place, PortOf, Simulation};
use completion_port::{PortExt, Timer};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::time::{Duration, Instant};
use test_doubles::with_memory;

/// The most timers that are armed at a time.
const MOST_ARMED: usize = 100;

/// The longest time of a timer, in milliseconds.
const LONGEST: u64 = 40;

/// The timers that are armed, or have fired and were not dropped yet.
#[derive(Default)]
pub(super) struct Timers(Mutex<Vec<Armed>>);

struct Armed {
    timer: Timer<PortOf>,
    fate: Arc<Fate>,
}

/// What has become of a closure.
struct Fate {
    steps: AtomicU8,
    /// The closure must not run earlier.
    at: Mutex<Instant>,
}

/// The port refused the closure, or the timer is being dropped.
const GIVEN_UP: u8 = 1;
/// The port did not take it.
const REFUSED: u8 = 2;
const RAN: u8 = 4;
/// A cancel has said that it does not run.
const CANCELLED: u8 = 8;

impl Fate {
    fn note(&self, step: u8) -> u8 {
        self.steps.fetch_or(step, SeqCst)
    }

    fn has(&self, step: u8) -> bool {
        self.steps.load(SeqCst) & step != 0
    }
}

/// What a closure owns.
struct Closure {
    simulation: Arc<Simulation>,
    fate: Arc<Fate>,
    seed: u64,
}

impl Closure {
    fn new(simulation: &Arc<Simulation>, at: Instant, random: &mut fastrand::Rng) -> Self {
        // Counted before it can run.
        simulation.ledger.accepted.fetch_add(1, SeqCst);
        let fate = Arc::new(Fate { steps: AtomicU8::new(0), at: Mutex::new(at) });
        Self { simulation: Arc::clone(simulation), fate, seed: random.u64(..) }
    }

    fn run(self, act: Act) {
        let simulation = &self.simulation;
        if Instant::now() < *self.fate.at.lock() {
            simulation.ledger.violation("a timer fired early");
        }
        if self.fate.note(RAN) & (RAN | CANCELLED) != 0 {
            simulation.ledger.violation("a closure ran twice, or after it was cancelled");
        }
        simulation.happened.note(act);
        if simulation.finishing.load(SeqCst) {
            return;
        }
        let mut random = fastrand::Rng::with_seed(self.seed);
        let place = simulation.at(random.usize(..simulation.places.len()));
        if let Place::Library(end) = &place {
            match random.u8(..10) {
                0..4 => send(simulation, end, &mut random),
                4..8 => receive(simulation, end, &mut random),
                8 => cancel(simulation, end),
                _ if simulation.program.acts.has(Act::CloseAsync) => close_async(simulation, end),
                _ => {}
            }
        }
        simulation.leave_to_reaper(place);
        if random.u8(..4) == 0 {
            act_on_timers(simulation, &mut random);
        }
        if simulation.program.acts.has(Act::CallbackPanic) && random.u8(..50) == 0 {
            simulation.happened.note(Act::CallbackPanic);
            panic_quietly();
        }
    }
}

impl Drop for Closure {
    fn drop(&mut self) {
        let ledger = &self.simulation.ledger;
        if self.fate.has(REFUSED) {
            ledger.accepted.fetch_sub(1, SeqCst);
            return;
        }
        if !self.fate.has(RAN) && !self.fate.has(GIVEN_UP) {
            with_memory(|| ledger.violation("a closure was dropped that should have run"));
        }
        ledger.called_back.fetch_add(1, SeqCst);
    }
}

/// Arms, moves or drops a timer, or posts work.
pub(super) fn act_on_timers(simulation: &Arc<Simulation>, random: &mut fastrand::Rng) {
    let acts = simulation.program.acts;
    if !acts.has(Act::Timer) {
        return;
    }
    match random.u8(..10) {
        0..4 => arm(simulation, random),
        4..6 => post(simulation, random),
        6 | 7 => {
            if let Some(armed) = simulation.timers.take_any(random) {
                give_up(simulation, armed, random.bool());
            }
        }
        _ => {
            if let Some(armed) = simulation.timers.take_any(random) {
                reset(simulation, armed, random);
            }
        }
    }
}

fn arm(simulation: &Arc<Simulation>, random: &mut fastrand::Rng) {
    let delay = Duration::from_micros(random.u64(..LONGEST * 1000));
    let at = Instant::now() + delay;
    let closure = Closure::new(simulation, at, random);
    let fate = Arc::clone(&closure.fate);
    let port = simulation.any_port(random);
    let fire = move || closure.run(Act::Timer);
    let armed = if random.bool() { call(|| port.after(delay, fire)) } else { call(|| port.at(at, fire)) };
    match armed {
        Ok(timer) => {
            if let Some(oldest) = simulation.timers.keep(Armed { timer, fate }) {
                give_up(simulation, oldest, true);
            }
        }
        Err(refused) => note_refused(simulation, &fate, &refused.error),
    }
}

fn post(simulation: &Arc<Simulation>, random: &mut fastrand::Rng) {
    let closure = Closure::new(simulation, Instant::now(), random);
    let fate = Arc::clone(&closure.fate);
    let port = simulation.any_port(random);
    if let Err(refused) = call(|| port.post(move || closure.run(Act::Post))) {
        note_refused(simulation, &fate, &refused.error);
    }
}

/// The closure is dropped after this.
fn note_refused(simulation: &Simulation, fate: &Fate, error: &io::Error) {
    simulation.ledger.refused.fetch_add(1, SeqCst);
    if fate.note(REFUSED) & RAN != 0 {
        simulation.ledger.violation("a closure was refused and ran");
    }
    match error.kind() {
        io::ErrorKind::OutOfMemory => drop(simulation.ledger.without_memory.fetch_add(1, SeqCst)),
        _ if simulation.has_lost_a_port() => {}
        _ => simulation.ledger.violation(format!("a closure was refused: {error}")),
    }
}

/// Drops a timer, or cancels it and checks the answer.
fn give_up(simulation: &Simulation, Armed { timer, fate }: Armed, asks: bool) {
    fate.note(GIVEN_UP);
    if !asks {
        return call(|| drop(timer));
    }
    if call(|| timer.cancel()) {
        simulation.happened.note(Act::CancelTimer);
        if fate.note(CANCELLED) & RAN != 0 {
            simulation.ledger.violation("a timer ran and was cancelled");
        }
    }
}

fn reset(simulation: &Simulation, armed: Armed, random: &mut fastrand::Rng) {
    let at = Instant::now() + Duration::from_micros(random.u64(..LONGEST * 1000));
    let before = *armed.fate.at.lock();
    // Until the answer is known, either time is right.
    *armed.fate.at.lock() = before.min(at);
    if call(|| armed.timer.reset(at)) {
        *armed.fate.at.lock() = at;
        simulation.happened.note(Act::ResetTimer);
    }
    if let Some(oldest) = simulation.timers.keep(armed) {
        give_up(simulation, oldest, false);
    }
}

impl Timers {
    fn take_any(&self, random: &mut fastrand::Rng) -> Option<Armed> {
        let mut armed = self.0.lock();
        let any = random.usize(..armed.len().max(1));
        if armed.is_empty() { None } else { Some(armed.swap_remove(any)) }
    }

    /// Gives the oldest one back if there are too many.
    fn keep(&self, new: Armed) -> Option<Armed> {
        let mut armed = self.0.lock();
        armed.push(new);
        if armed.len() > MOST_ARMED { Some(armed.swap_remove(0)) } else { None }
    }
}

/// Drops all timers. Call it when no thread acts any more.
pub(super) fn drop_all(simulation: &Simulation) {
    let all = std::mem::take(&mut *simulation.timers.0.lock());
    for (index, armed) in all.into_iter().enumerate() {
        give_up(simulation, armed, index % 2 == 0);
    }
}
