//! A queue that cannot grow. In a binary of its own, for its allocator.

mod common;

use common::{Gate, Operation, Progress, mocked, op, received, spawn};
use completion_port::memory::try_box;
use completion_port::{Action, AddError, Direction, IntoOperation};
use rstest::rstest;
use test_doubles::{FailingAllocator, set_memory, without_memory};

#[global_allocator]
static ALLOCATOR: FailingAllocator = FailingAllocator;

/// An operation that needs memory of its own to be queued.
struct Large(Operation);

impl IntoOperation<Operation> for Large {
    fn put_into(self, room: &mut Option<Operation>) -> Result<(), Self> {
        let [operation] = *try_box(self)?;
        *room = Some(operation.0);
        Ok(())
    }
}

// Tests_SRS_COMPLETION_PORT_01_012
#[rstest]
#[case::receiving(Direction::In, Action::In)]
#[case::sending(Direction::Out, Action::Out)]
fn the_first_operation_comes_back_and_can_be_added_later(#[case] direction: Direction, #[case] action: Action) {
    let (port, registration) = mocked();
    let operation = Large(op("a"));

    let refused = without_memory(|| registration.add(direction, operation)).expect_err("there is no memory");

    assert_eq!(refused.error, AddError::OutOfMemory);
    assert_eq!(registration.queued(direction), 0);
    registration.add(direction, refused.returned).unwrap();
    port.fire(action);
    assert_eq!(registration.handler().completed(), ["a"]);
}

// Tests_SRS_COMPLETION_PORT_01_012
#[rstest]
#[case::that_has_no_room_yet(1)]
#[case::that_is_full(2)]
fn a_queue_that_cannot_grow_keeps_what_it_has(#[case] before: usize) {
    let (port, registration) = mocked();
    (0..before).for_each(|_| registration.add(Direction::In, op("accepted")).unwrap());
    let operations: Vec<Operation> = (0..1000).map(|_| op("tried")).collect();

    let (accepted, refused) = without_memory(|| {
        let mut accepted = before;
        for operation in operations {
            match registration.add(Direction::In, operation) {
                Ok(()) => accepted += 1,
                Err(refused) => return (accepted, Some(refused)),
            }
        }
        (accepted, None)
    });

    assert_eq!(refused.expect("a queue without memory is full some time").error, AddError::OutOfMemory);
    assert_eq!(registration.queued(Direction::In), accepted);
    port.fire(Action::In);
    port.run_scheduled();
    assert_eq!(registration.handler().completed().len(), accepted);
}

// Tests_SRS_COMPLETION_PORT_01_012
#[test]
fn what_a_claim_cannot_queue_comes_back_and_the_claim_is_held_still() {
    let (port, registration) = mocked();
    let mut claim = registration.try_claim(Direction::Out).unwrap();
    let operation = Large(op("a"));

    let refused = without_memory(|| claim.queue(operation)).expect_err("there is no memory");

    assert_eq!(refused.error, AddError::OutOfMemory);
    registration.try_claim(Direction::Out).expect_err("the first claim is held");
    claim.queue(refused.returned).unwrap();
    drop(claim);
    port.fire(Action::Out);
    assert_eq!(registration.handler().completed(), ["a"]);
}

// Tests_SRS_COMPLETION_PORT_01_012, Tests_SRS_COMPLETION_PORT_01_030
#[test]
fn what_is_being_attempted_finds_room_when_it_comes_back() {
    let (port, registration) = mocked();
    let (gate, stop) = Gate::new();
    let attempt = move || {
        stop();
        set_memory(false);
    };
    registration.add(Direction::In, op("first").attempting_once(attempt).answers([Progress::Pending])).unwrap();
    let fired = spawn({
        let port = port.clone();
        move || {
            port.fire(Action::In);
            set_memory(true);
        }
    });
    gate.wait();

    registration.add(Direction::In, op("second")).unwrap(); // does not get the place that the first one had
    gate.open();

    received(&fired, "the end of the attempt");
    port.fire(Action::In);
    assert_eq!(registration.handler().completed(), ["first", "second"]);
}
