//! Who waits for a single event, against the port's thread and a removal.

use crate::kernel::any_descriptor;
use crate::world::ModelPort;
use crate::{ANY, check};
use completion_port::{Action, Interest, OneShots, Readiness};
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use std::sync::Arc;

#[derive(Default)]
struct Seen {
    fired: AtomicUsize,
    removed: AtomicBool,
}

impl Seen {
    fn fire(&self) {
        self.fired.fetch_add(1, Ordering::Relaxed);
        // A step in the middle of the call-back.
        thread::yield_now();
        assert!(!self.removed.load(Ordering::Relaxed), "runs although the descriptor was removed");
    }
}

#[test]
fn an_event_under_way_meets_a_removal() {
    check("an_event_under_way_meets_a_removal", ANY, || {
        let (port, seen) = (ModelPort::default(), Arc::<Seen>::default());
        let waiting = OneShots::new(port.clone());
        for _ in 0..2 {
            let seen = Arc::clone(&seen);
            let waiter = move |_: Action| seen.fire();
            waiting.add(Interest::IN, (any_descriptor(), waiter)).expect("the model's port attaches everything");
        }
        port.report(Readiness::IN);
        let turn = thread::spawn(move || port.turn());
        waiting.remove(any_descriptor());
        seen.removed.store(true, Ordering::Relaxed);
        turn.join().expect("no panic");
        assert_eq!(seen.fired.load(Ordering::Relaxed), 2);
    });
}
