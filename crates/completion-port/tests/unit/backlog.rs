//! The operations that a registration keeps for reuse: enough for a user that always has several under way, and next to
//! nothing after a burst.

use completion_port::{Action, Attempt, Direction, Handler, Registration};
use rstest::rstest;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use test_doubles::{MockPort, any_descriptor};

/// Gives back the rest of each operation.
struct Recycles;

/// An operation. The living ones are counted.
type Counted = Arc<()>;

impl Handler for Recycles {
    type Descriptor = OwnedFd;
    type Operation = Counted;

    fn attempt(&self, operation: Counted, _: Action, attempt: Attempt<'_, Self>) {
        attempt.complete(false, Some(operation), || {});
    }
}

/// Makes `count` operations wait at once and completes them. Returns how many of them are kept then.
fn fill_and_drain(port: &MockPort, registration: &Registration<Recycles, MockPort>, count: usize) -> usize {
    // No operation runs while the lane is claimed.
    let claim = registration.try_claim(Direction::In).expect("the lane is idle");
    let alive = Arc::new(());
    for _ in 0..count {
        registration.add(Direction::In, Arc::clone(&alive)).expect("it is registered");
    }
    drop(claim);
    port.fire(Action::In);
    port.run_scheduled();
    assert_eq!(registration.queued(Direction::In), 0);
    Arc::strong_count(&alive) - 1
}

fn registered() -> (MockPort, Registration<Recycles, MockPort>) {
    let port = MockPort::new();
    let registration = Registration::new(port.clone(), Recycles, any_descriptor());
    registration.register(|| ()).expect("the mock accepts every descriptor");
    (port, registration)
}

// Tests_SRS_COMPLETION_PORT_01_127
#[rstest]
#[case::one(1)]
#[case::several(20)]
#[case::many(1000)]
fn a_burst_leaves_one_emptied_operation(#[case] burst: usize) {
    let (port, registration) = registered();
    assert_eq!(fill_and_drain(&port, &registration, burst), 1, "the one in the slot");
}

// Tests_SRS_COMPLETION_PORT_01_127
#[test]
fn who_always_has_several_operations_under_way_keeps_them_for_the_next() {
    let (port, registration) = registered();
    fill_and_drain(&port, &registration, 20);

    let kept = fill_and_drain(&port, &registration, 20);

    assert_eq!(kept, 20);
}

// Tests_SRS_COMPLETION_PORT_01_127
#[test]
fn bursts_that_come_again_and_again_leave_one_emptied_operation_each_time() {
    let (port, registration) = registered();
    for _ in 0..4 {
        assert_eq!(fill_and_drain(&port, &registration, 500), 1);
    }
}
