//! Ends the process when a program hangs, and describes the hang.

use super::finish;
use super::simulation::{Place, Simulation};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// The exit code of a process whose program hangs.
const HANGS: i32 = 86;

/// The interval between two looks.
const GLANCE: Duration = Duration::from_secs(1);

/// The time limit of a description.
const DESCRIPTION: Duration = Duration::from_secs(5);

/// Watches until the returned sender is dropped. The program hangs if nothing happens for as long as `bound`.
pub(super) fn watch(simulation: &Arc<Simulation>, bound: Duration) -> Sender<()> {
    let (watched, over) = channel();
    let simulation = Arc::downgrade(simulation);
    thread::spawn(move || {
        let (mut before, mut idle) = (None, Duration::ZERO);
        while over.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
            let Some(simulation) = simulation.upgrade() else { return };
            let now = progress(&simulation);
            idle = if before == Some(now) { idle + GLANCE } else { Duration::ZERO };
            before = Some(now);
            if idle >= bound {
                give_up(&simulation, bound);
            }
        }
    });
    watched
}

fn progress(simulation: &Simulation) -> [u64; 5] {
    let ledger = &simulation.ledger;
    [&ledger.accepted, &ledger.refused, &ledger.called_back, &ledger.bytes, &ledger.sockets]
        .map(|count| count.load(SeqCst))
}

fn give_up(simulation: &Simulation, bound: Duration) {
    eprintln!("hangs: nothing happened for {bound:?}: {}: {:?}", simulation.program, simulation.ledger);
    // A thread that holds a lock for ever blocks the description too.
    thread::spawn(|| {
        thread::sleep(DESCRIPTION);
        std::process::exit(HANGS);
    });
    let busy = |place: &Place| match place {
        Place::Library(end) => end.account.pending.load(SeqCst) > 0,
        _ => false,
    };
    let places: Vec<Place> = (0..simulation.places.len()).map(|place| simulation.at(place)).filter(busy).collect();
    eprintln!("{}", finish::describe(&places));
    std::process::exit(HANGS);
}
