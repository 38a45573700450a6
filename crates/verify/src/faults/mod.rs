//! Plays random programs over faulty system calls, and checks every promise of the library.
//!
//! The promises: an accepted operation is called back exactly once, a refused one never. Buffers come back. No byte is
//! lost, doubled or out of order. An operation ends for a reason that there was. When close or destroy returns, no operation waits and no callback runs. At the end no
//! descriptor, thread or memory is left. Nothing hangs.

mod actor;
mod acts;
mod buffer;
pub mod campaign;
mod finish;
mod kernel;
mod ledger;
mod message;
mod net;
mod net_kernel;
mod operation;
mod outcome;
mod panics;
mod plain;
mod program;
mod shutdown;
mod simulation;
mod stack;
mod timers;
mod watchdog;

pub use acts::{Act, Acts};
pub use kernel::Defect;
pub use program::{Overrides, Program, Setting};

use crate::memory::{allocated, settle_this_thread};
use integration_tests::process::{descriptors, threads};
use integration_tests::wait::comes_true;
use kernel::PortSys;
use simulation::{Place, Simulation};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;
use test_doubles::Fault;

/// The most memory by which a program may grow the process, because threads and locks keep some for the next program.
const MEMORY_MARGIN: usize = 128 * 1024;

/// The longest time in which descriptors, threads and callbacks may go away by themselves.
const PATIENCE: Duration = Duration::from_secs(10);

/// The outcome of programs that were played.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// The number of programs.
    pub programs: u64,
    /// The sockets that the programs opened with the library.
    pub sockets: u64,
    /// Accepted operations, all of which were called back.
    pub accepted: u64,
    /// Operations that were refused.
    pub refused: u64,
    /// Bytes that arrived and were right.
    pub bytes: u64,
    /// Faults, by kind.
    pub faults: [u64; Fault::ALL.len()],
    /// Operations that the library refused because it got no memory.
    pub without_memory: u64,
    /// The number of times that each act happened.
    pub acts: [u64; Act::ALL.len()],
}

impl Totals {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.programs += other.programs;
        self.sockets += other.sockets;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.bytes += other.bytes;
        self.without_memory += other.without_memory;
        self.acts.iter_mut().zip(other.acts).for_each(|(sum, more)| *sum += more);
        self.faults.iter_mut().zip(other.faults).for_each(|(sum, more)| *sum += more);
    }

    /// The acts that never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<Act> {
        Act::ALL.into_iter().filter(|act| self.acts[*act as usize] == 0).collect()
    }

    /// All faults together.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.faults.iter().sum::<u64>() + self.without_memory
    }
}

/// Plays a program.
///
/// # Errors
/// The promises that were broken.
pub fn play(program: &Program, setting: &Setting) -> Result<Totals, Vec<String>> {
    message::prepare();
    panics::subscribe(program.acts.has(Act::SubscriberPanic));
    let panics_before = panics::of_the_subscriber();
    let before = (descriptors(), threads(), allocated());
    let (reaper, left) = channel();
    let simulation = Arc::new(Simulation::new(program, setting.inject, reaper));
    let watchdog = watchdog::watch(&simulation, Duration::from_secs(setting.bound));
    let reaper = spawn_reaper(&simulation, left);
    run_actors(&simulation);
    let streams = finish::settle(&simulation);
    if !finish::close_everything(&simulation) {
        simulation.ledger.violation("something still holds on to callbacks");
    }
    simulation.dismiss_reaper();
    let _ = reaper.join();
    drop(watchdog);
    streams.into_iter().for_each(|stream| stream.check_no_more(&simulation.ledger));

    let mut totals = totals(&simulation);
    totals.acts[Act::SubscriberPanic as usize] = panics::of_the_subscriber() - panics_before;
    let ledger = &simulation.ledger;
    let (accepted, called_back) = (ledger.accepted.load(SeqCst), ledger.called_back.load(SeqCst));
    if accepted != called_back {
        ledger.violation(format!("{accepted} operations were accepted, {called_back} called back"));
    }
    let mut violations = ledger.violations();
    // Here and not in a callback, because dropping the simulation ends the ports.
    let ports = simulation.calls_of_ports();
    drop(simulation);
    violations.extend(left_behind(before, ports));
    if violations.is_empty() { Ok(totals) } else { Err(violations) }
}

fn run_actors(simulation: &Arc<Simulation>) {
    thread::scope(|scope| {
        for number in 0..simulation.program.threads {
            scope.spawn(move || {
                settle_this_thread();
                let mut random = fastrand::Rng::with_seed(simulation.program.seed ^ (number as u64 + 1) << 32);
                for _ in 0..simulation.program.steps {
                    if simulation.ledger.failed.load(SeqCst) {
                        break;
                    }
                    actor::act(simulation, &mut random);
                }
            });
        }
    });
}

fn spawn_reaper(simulation: &Arc<Simulation>, left: Receiver<Place>) -> thread::JoinHandle<()> {
    let simulation = Arc::clone(simulation);
    thread::spawn(move || left.into_iter().for_each(|place| actor::destroy(&simulation, place)))
}

fn totals(simulation: &Simulation) -> Totals {
    Totals {
        programs: 1,
        sockets: simulation.ledger.sockets.load(SeqCst),
        accepted: simulation.ledger.accepted.load(SeqCst),
        refused: simulation.ledger.refused.load(SeqCst),
        bytes: simulation.ledger.bytes.load(SeqCst),
        faults: Fault::ALL.map(|fault| simulation.sys.faulty.injected(fault)),
        without_memory: simulation.ledger.without_memory.load(SeqCst),
        acts: simulation.happened.counts(),
    }
}

/// Looks for descriptors, threads and memory that were not there before the program.
fn left_behind((open, running, memory): (usize, usize, usize), ports: Vec<PortSys>) -> Option<String> {
    // A joined thread stays visible for a moment.
    if comes_true(PATIENCE, || threads() <= running) {
        ports.iter().for_each(PortSys::close_lost);
    }
    drop(ports);
    if !comes_true(PATIENCE, || descriptors() <= open && threads() <= running) {
        return Some(format!(
            "{} descriptors are open where {open} were, {} threads run where {running} did",
            descriptors(),
            threads()
        ));
    }
    let grown = allocated().saturating_sub(memory);
    (grown > MEMORY_MARGIN).then(|| format!("{grown} bytes were not freed"))
}
