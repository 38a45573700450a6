//! A descriptor that always has work does not keep the others from their turn.

use crate::common::{Progress, Real, mocked, op, real, real_port, received};
use completion_port::{Action, Direction};
use parking_lot::Mutex;
use rstest::rstest;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Larger than any sensible bound.
const GENEROUS: usize = 1000;

// Tests_SRS_COMPLETION_PORT_01_040
#[rstest]
#[case::many_operations(GENEROUS * 4, 0)]
#[case::one_operation_in_many_parts(1, GENEROUS * 4)]
fn one_turn_makes_a_bounded_number_of_attempts(#[case] operations: usize, #[case] parts: usize) {
    let (port, registration) = mocked();
    for _ in 0..operations {
        registration.add(Direction::In, op("a").answers(vec![Progress::Partial; parts])).unwrap();
    }

    port.fire(Action::In);

    let first_turn = registration.handler().attempts().len();
    assert!((1..=GENEROUS).contains(&first_turn), "{first_turn} attempts in one turn");
    let turns = port.run_scheduled();
    assert!(turns >= 3, "{turns} more turns");
    assert_eq!(registration.handler().completed().len(), operations, "the rest runs without another event");
}

// Tests_SRS_COMPLETION_PORT_01_040
#[test]
fn a_turn_that_ends_with_the_work_asks_for_no_other() {
    let (port, registration) = mocked();
    for _ in 0..GENEROUS {
        registration.add(Direction::In, op("a")).unwrap();
    }
    port.fire(Action::In);
    port.run_scheduled();

    assert_eq!(registration.queued(Direction::In), 0);
    assert_eq!(port.run_scheduled(), 0);
}

/// Adds itself again from its own callback, until it is told to stop.
fn chain(registration: Weak<Real>, stop: Arc<AtomicBool>) {
    let Some(strong) = registration.upgrade() else { return };
    if !stop.load(Ordering::Relaxed) {
        let again = move || chain(registration, stop);
        strong.add(Direction::Out, op("busy").then(again)).expect("it is registered");
    }
}

// Tests_SRS_COMPLETION_PORT_01_040
#[test]
fn an_endless_chain_on_one_descriptor_does_not_starve_another() {
    let (_calls, port) = real_port();
    let ((busy, _busy_peer), (quiet, _quiet_peer)) = (real(&port), real(&port));
    let stop = Arc::new(AtomicBool::new(false));
    chain(Arc::downgrade(&busy), Arc::clone(&stop));

    for _ in 0..50 {
        let (operation, told) = op("quiet").told();
        quiet.add(Direction::Out, operation).unwrap();
        received(&told, "the quiet descriptor's turn");
    }

    stop.store(true, Ordering::Relaxed);
}

// Tests_SRS_COMPLETION_PORT_01_040
#[test]
fn two_busy_descriptors_alternate() {
    let (_calls, port) = real_port();
    let ((one, _one_peer), (two, _two_peer)) = (real(&port), real(&port));
    let order = Arc::new(Mutex::new(Vec::new()));
    let (gate, _occupied) = crate::common::occupy(&port);
    for (registration, name) in [(&one, "one"), (&two, "two")] {
        for _ in 0..GENEROUS {
            let order = Arc::clone(&order);
            registration.add(Direction::Out, op(name).then(move || order.lock().push(name))).unwrap();
        }
    }

    gate.open();

    crate::common::eventually("all are done", || order.lock().len() == 2 * GENEROUS);
    let changes = order.lock().windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes >= 4, "{changes} changes between the two");
}

// Tests_SRS_COMPLETION_PORT_01_040
#[test]
fn who_has_more_to_do_after_an_event_than_a_turn_allows_has_another_turn() {
    let (_, port) = real_port();
    let (registration, mut peer) = real(&port);
    let (last, told) = op("last").told();
    (0..GENEROUS).for_each(|_| _ = registration.add(Direction::In, op("more")).expect("it is registered"));
    registration.add(Direction::In, last).expect("it is registered");

    peer.write_all(b"x").expect("the socket has room");

    received(&told, "the last operation's callback");
    assert_eq!(registration.handler().completed().len(), GENEROUS + 1);
}
