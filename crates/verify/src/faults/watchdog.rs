//! Ends the process when a program hangs, and says where.

use super::finish;
use super::world::{Place, World};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// The exit code of a process whose program hangs.
const HANGS: i32 = 86;

/// How often is looked.
const GLANCE: Duration = Duration::from_secs(1);

/// How long a description may take.
const DESCRIPTION: Duration = Duration::from_secs(5);

/// Watches until what it returns is dropped; nothing may happen at all for as long as `bound`.
pub(super) fn watch(world: &Arc<World>, bound: Duration) -> Sender<()> {
    let (watched, over) = channel();
    let world = Arc::downgrade(world);
    thread::spawn(move || {
        let (mut before, mut idle) = (None, Duration::ZERO);
        while over.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
            let Some(world) = world.upgrade() else { return };
            let now = progress(&world);
            idle = if before == Some(now) { idle + GLANCE } else { Duration::ZERO };
            before = Some(now);
            if idle >= bound {
                give_up(&world, bound);
            }
        }
    });
    watched
}

fn progress(world: &World) -> [u64; 5] {
    let ledger = &world.ledger;
    [&ledger.accepted, &ledger.refused, &ledger.called_back, &ledger.bytes, &ledger.sockets]
        .map(|count| count.load(SeqCst))
}

fn give_up(world: &World, bound: Duration) {
    eprintln!("hangs: nothing happened for {bound:?}: {}: {:?}", world.program, world.ledger);
    // Whoever holds a lock for ever holds up the description too.
    thread::spawn(|| {
        thread::sleep(DESCRIPTION);
        std::process::exit(HANGS);
    });
    let busy = |place: &Place| match place {
        Place::Library(end) => end.book.pending.load(SeqCst) > 0,
        _ => false,
    };
    let places: Vec<Place> = (0..world.places.len()).map(|place| world.at(place)).filter(busy).collect();
    eprintln!("{}", finish::describe(&places));
    std::process::exit(HANGS);
}
