//! `TimerFired::end_waiting`: which operations a timer sees.

use crate::common::watch_over_all;
use completion_port::{Action, Attempt, Direction, Handler, Port, Registration, TimerFired};
use parking_lot::Mutex;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use test_doubles::{MockPort, any_descriptor};

const MS: Duration = Duration::from_millis(1);

type Held = Arc<Registration<Adds, MockPort>>;

/// Adds an operation before it looks, as another thread could, and one between two looks.
#[derive(Clone, Default)]
struct Adds(Arc<Shared>);

#[derive(Default)]
struct Shared {
    own: Mutex<Option<Held>>,
    ended: Mutex<Vec<(u64, Action)>>,
}

impl Adds {
    fn add(&self, direction: Direction, operation: u64) {
        let own = self.0.own.lock().clone().expect("set before the timer comes");
        own.add(direction, operation).expect("it is registered");
    }
}

impl Handler for Adds {
    type Descriptor = OwnedFd;
    type Operation = u64;

    fn attempt(&self, operation: u64, action: Action, attempt: Attempt<'_, Self>) {
        attempt.complete(false, None, || self.0.ended.lock().push((operation, action)));
    }

    fn timer_fired(&self, timer: &TimerFired<'_, Self>) -> Option<Instant> {
        let own = self.0.own.lock().clone().expect("set before the timer comes");
        self.add(Direction::In, 2);
        // What a claim leaves gets its number when the claim begins.
        let claim = own.try_claim(Direction::Out).expect("it is idle");
        timer.end_waiting(Direction::In, |_| true);
        self.add(Direction::In, 3);
        claim.queue(4).expect("there is memory");
        timer.end_waiting(Direction::In, |_| true);
        timer.end_waiting(Direction::Out, |_| true);
        None
    }
}

// Tests_SRS_COMPLETION_PORT_01_172
#[test]
fn a_timer_sees_what_was_added_before_it_looks_first_and_nothing_that_was_added_later() {
    watch_over_all();
    let (port, handler) = (MockPort::new(), Adds::default());
    let registration = Arc::new(Registration::new(port.clone(), handler.clone(), any_descriptor()));
    registration.register(|| ()).expect("the mock accepts every descriptor");
    *handler.0.own.lock() = Some(Arc::clone(&registration));
    handler.add(Direction::In, 1);

    registration.set_timer(Some(port.now())).expect("there is memory");
    port.advance(MS);

    assert_eq!(*handler.0.ended.lock(), [(1, Action::TimedOut), (2, Action::TimedOut)]);
    assert_eq!([Direction::In, Direction::Out].map(|direction| registration.queued(direction)), [1, 1]);
    *handler.0.own.lock() = None;
}

/// Lets another thread claim while it notes that an operation times out, and again while the operation is completed.
#[derive(Clone, Default)]
struct Claims(Arc<Claimed>);

#[derive(Default)]
struct Claimed {
    own: Mutex<Option<Arc<Registration<Claims, MockPort>>>>,
    /// When, and whether the claim was granted.
    seen: Mutex<Vec<(&'static str, bool)>>,
}

impl Claims {
    fn claim(&self, when: &'static str) {
        let own = self.0.own.lock().clone().expect("set before the timer comes");
        let granted = std::thread::spawn(move || own.try_claim(Direction::Out).is_ok()).join().expect("no panic");
        self.0.seen.lock().push((when, granted));
    }
}

impl Handler for Claims {
    type Descriptor = OwnedFd;
    type Operation = ();

    fn attempt(&self, (): (), action: Action, attempt: Attempt<'_, Self>) {
        assert_eq!(action, Action::TimedOut);
        self.claim("completed");
        attempt.complete(false, None, || ());
    }

    fn times_out(&self, (): &()) {
        self.claim("noted");
    }

    fn timer_fired(&self, timer: &TimerFired<'_, Self>) -> Option<Instant> {
        timer.end_waiting(Direction::Out, |()| true);
        None
    }
}

// Tests_SRS_COMPLETION_PORT_01_188
#[test]
fn what_a_time_out_notes_is_noted_before_another_thread_can_claim() {
    watch_over_all();
    let (port, handler) = (MockPort::new(), Claims::default());
    let registration = Arc::new(Registration::new(port.clone(), handler.clone(), any_descriptor()));
    registration.register(|| ()).expect("the mock accepts every descriptor");
    *handler.0.own.lock() = Some(Arc::clone(&registration));
    registration.add(Direction::Out, ()).expect("it is registered");

    registration.set_timer(Some(port.now())).expect("there is memory");
    port.advance(MS);

    assert_eq!(*handler.0.seen.lock(), [("noted", false), ("completed", true)]);
    *handler.0.own.lock() = None;
}
