//! The end of a program: what was sent arrives, everything is closed.

use super::actor::{close, destroy};
use super::books::Stream;
use super::operation::receive;
use super::world::{Place, World};
use integration_tests::wait::comes_true;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

/// How long no byte may arrive while one is missing.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many receives wait at an end meanwhile.
const RECEIVES: i64 = 8;

/// Reads at every end until all that was sent and need not be lost has arrived. Which streams there were.
pub(super) fn settle(world: &Arc<World>) -> Vec<Arc<Stream>> {
    let mut random = fastrand::Rng::with_seed(world.program.seed);
    let (mut last_arrival, mut arrived) = (Instant::now(), 0);
    world.finishing.store(true, SeqCst);
    loop {
        let unsettled: Vec<Place> =
            (0..world.places.len()).map(|place| world.at(place)).filter(|end| !step(world, end, &mut random)).collect();
        if unsettled.is_empty() || world.ledger.failed.load(SeqCst) {
            break;
        }
        let now = world.ledger.bytes.load(SeqCst);
        if now != arrived {
            (last_arrival, arrived) = (Instant::now(), now);
        } else if last_arrival.elapsed() > PATIENCE {
            world.ledger.violation(format!("hangs: {}", describe(&unsettled)));
            break;
        }
        thread::sleep(Duration::from_micros(200));
    }
    if world.ledger.failed.load(SeqCst) {
        return Vec::new();
    }
    let book = |place| match world.at(place) {
        Place::Library(end) => Some(Arc::clone(&end.book.incoming)),
        Place::Plain(peer) => Some(Arc::clone(&peer.book.incoming)),
        Place::Empty => None,
    };
    let streams: Vec<_> = (0..world.places.len()).filter_map(book).collect();
    streams.iter().for_each(|stream| stream.check_whole(&world.ledger));
    streams
}

/// Reads a little. Whether everything is there.
fn step(world: &Arc<World>, end: &Place, random: &mut fastrand::Rng) -> bool {
    match end {
        Place::Empty => true,
        Place::Library(end) => {
            let settled = end.book.incoming.is_settled();
            let waiting = end.book.receives_pending.load(SeqCst);
            if !settled {
                (waiting..RECEIVES).for_each(|_| receive(world, end, random));
            }
            settled && end.book.outgoing.is_settled()
        }
        Place::Plain(peer) => {
            peer.finish(&world.ledger);
            peer.book.incoming.is_settled() && peer.book.outgoing.is_settled()
        }
    }
}

/// Ends everything, also what the last call-backs opened meanwhile. Whether nobody but the caller and the undertaker has
/// the world any more.
pub(super) fn close_everything(world: &Arc<World>) -> bool {
    comes_true(PATIENCE, || {
        close_all(world);
        Arc::strong_count(world) <= 2
    })
}

/// Ends what is there, by close and by destroy in turn.
fn close_all(world: &World) {
    for (index, place) in world.places.iter().enumerate() {
        let end = mem::take(&mut *place.lock());
        if let (Place::Library(end), true) = (&end, index % 3 == 0) {
            close(world, end);
        }
        destroy(world, end);
    }
}

/// For people: the first few ends that are stuck.
pub(super) fn describe(places: &[Place]) -> String {
    let text = |place: &Place| match place {
        Place::Empty => String::new(),
        Place::Library(end) => format!("\n  {:?} {:?}", end.socket, end.book),
        Place::Plain(peer) => format!("\n  plain {:?}", peer.book),
    };
    format!("{} ends are not done{}", places.len(), places.iter().take(3).map(text).collect::<String>())
}
