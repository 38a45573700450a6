//! The end of a program: all sent bytes arrive, and everything is closed.

use super::actor::{close, destroy};
use super::ledger::Stream;
use super::net;
use super::operation::receive;
use super::simulation::{Place, Simulation};
use super::timers;
use integration_tests::wait::comes_true;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

/// The longest time without an arriving byte while a byte is missing.
const PATIENCE: Duration = Duration::from_secs(15);

/// The number of receives that wait at each end meanwhile.
const RECEIVES: i64 = 8;

/// Reads at every end until all bytes have arrived, except on connections that were cut. Returns the streams.
pub(super) fn settle(simulation: &Arc<Simulation>) -> Vec<Arc<Stream>> {
    let mut random = fastrand::Rng::with_seed(simulation.program.seed);
    let (mut last_arrival, mut arrived) = (Instant::now(), 0);
    simulation.finishing.store(true, SeqCst);
    loop {
        let unsettled: Vec<Place> = (0..simulation.places.len())
            .map(|place| simulation.at(place))
            .filter(|end| !step(simulation, end, &mut random))
            .collect();
        if unsettled.is_empty() || simulation.ledger.failed.load(SeqCst) {
            break;
        }
        let now = simulation.ledger.bytes.load(SeqCst);
        if now != arrived {
            (last_arrival, arrived) = (Instant::now(), now);
        } else if last_arrival.elapsed() > PATIENCE {
            simulation.ledger.violation(format!("hangs: {}", describe(&unsettled)));
            break;
        }
        thread::sleep(Duration::from_micros(200));
    }
    if simulation.ledger.failed.load(SeqCst) {
        return Vec::new();
    }
    let account = |place| match simulation.at(place) {
        Place::Library(end) => Some(Arc::clone(&end.account.incoming)),
        Place::Plain(peer) => Some(Arc::clone(&peer.account.incoming)),
        Place::Empty => None,
    };
    let streams: Vec<_> = (0..simulation.places.len()).filter_map(account).collect();
    streams.iter().for_each(|stream| stream.check_whole(&simulation.ledger));
    streams
}

/// Reads a little. Returns whether all bytes are there.
fn step(simulation: &Arc<Simulation>, end: &Place, random: &mut fastrand::Rng) -> bool {
    match end {
        Place::Empty => true,
        Place::Library(end) => {
            let settled = end.account.incoming.is_settled();
            let waiting = end.account.receives_pending.load(SeqCst);
            if !settled {
                (waiting..RECEIVES).for_each(|_| receive(simulation, end, random));
            }
            settled && end.account.outgoing.is_settled()
        }
        Place::Plain(peer) => {
            peer.finish(&simulation.ledger);
            peer.account.incoming.is_settled() && peer.account.outgoing.is_settled()
        }
    }
}

/// Closes all ends, including those that the last callbacks open meanwhile. Returns whether only the caller and the
/// reaper still hold the simulation.
pub(super) fn close_everything(simulation: &Arc<Simulation>) -> bool {
    comes_true(PATIENCE, || {
        timers::drop_all(simulation);
        net::end_all(simulation);
        close_all(simulation);
        Arc::strong_count(simulation) <= 2
    })
}

/// Ends all connections. Every third one is closed before it is destroyed.
fn close_all(simulation: &Simulation) {
    for (index, place) in simulation.places.iter().enumerate() {
        let end = mem::take(&mut *place.lock());
        if let (Place::Library(end), true) = (&end, index % 3 == 0) {
            close(simulation, end);
        }
        destroy(simulation, end);
    }
}

/// Describes the first few stuck ends in a readable form.
pub(super) fn describe(places: &[Place]) -> String {
    let text = |place: &Place| match place {
        Place::Empty => String::new(),
        Place::Library(end) => format!("\n  {:?} {:?}", end.socket, end.account),
        Place::Plain(peer) => format!("\n  plain {:?}", peer.account),
    };
    format!("{} ends are not done{}", places.len(), places.iter().take(3).map(text).collect::<String>())
}
