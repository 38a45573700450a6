//! A queue that cannot grow. The test is a binary of its own because of its allocator.

mod common;

use common::{Gate, Operation, Progress, mocked, op, received, spawn};
use completion_port::memory::try_box;
use completion_port::sys::Errno;
use completion_port::{
    Action, AddError, Attempt, Direction, Handler, Interest, IntoOperation, OneShots, Readiness, Registration,
};
use parking_lot::Mutex;
use rstest::rstest;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use test_doubles::{FailingAllocator, MockPort, Number, any_descriptor, set_memory, without_memory};

#[global_allocator]
static ALLOCATOR: FailingAllocator = FailingAllocator;

/// An operation that needs memory of its own to be queued.
struct Large(Operation);

impl IntoOperation<Operation> for Large {
    fn store_in(self, room: &mut Option<Operation>) -> Result<(), Self> {
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
    (0..before).for_each(|_| _ = registration.add(Direction::In, op("accepted")).unwrap());
    let operations: Vec<Operation> = (0..1000).map(|_| op("tried")).collect();

    let (accepted, refused) = without_memory(|| {
        let mut accepted = before;
        for operation in operations {
            match registration.add(Direction::In, operation) {
                Ok(_) => accepted += 1,
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

// Tests_SRS_COMPLETION_PORT_01_012, Tests_SRS_COMPLETION_PORT_01_107
#[test]
#[allow(clippy::result_large_err, reason = "there is no memory for a box")]
fn what_a_claim_cannot_queue_comes_back_and_the_claim_is_held_still() {
    let (port, registration) = mocked();
    let claim = registration.try_claim(Direction::Out).unwrap();
    let operation = Large(op("a"));

    let refused = without_memory(|| claim.queue(operation)).expect_err("there is no memory");

    assert_eq!(refused.error, AddError::OutOfMemory);
    registration.try_claim(Direction::Out).expect_err("the first claim is held");
    let (claim, operation) = refused.returned;
    claim.queue(operation).unwrap();
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

/// An operation that needs memory unless it reuses a recycled operation.
struct Refilled(u32);

impl IntoOperation<Box<[u32; 1]>> for Refilled {
    fn store_in(self, room: &mut Option<Box<[u32; 1]>>) -> Result<(), Self> {
        match room {
            Some(left) => left[0] = self.0,
            None => *room = Some(try_box(self.0).map_err(Self)?),
        }
        Ok(())
    }
}

/// Recycles each operation, and notes it.
#[derive(Default)]
struct Refilling(Mutex<Vec<u32>>);

impl Handler for Refilling {
    type Descriptor = OwnedFd;
    type Operation = Box<[u32; 1]>;

    fn attempt(&self, operation: Self::Operation, _: Action, attempt: Attempt<'_, Self>) {
        let number = operation[0];
        attempt.complete(false, Some(operation), || self.0.lock().push(number));
    }
}

#[test]
fn what_operations_have_left_is_filled_again_without_memory_up_to_a_limit() {
    let port = MockPort::new();
    let registration = Registration::new(port.clone(), Refilling::default(), any_descriptor());
    registration.register(|| ()).unwrap();
    // The backlog keeps as much as both of its last two fillings needed.
    for filling in 0..2 {
        let numbers = filling * 33..(filling + 1) * 33;
        numbers
            .for_each(|number| _ = registration.add(Direction::In, Refilled(number)).map_err(|it| it.error).unwrap());
        port.fire(Action::In);
        while port.run_scheduled() > 0 {}
    }
    assert_eq!(*registration.handler().0.lock(), Vec::from_iter(0..66));
    registration.handler().0.lock().reserve(100);

    port.deliver(Readiness::empty());
    let accepted =
        without_memory(|| (1000..1100).take_while(|it| registration.add(Direction::In, Refilled(*it)).is_ok()).count());

    // One in the slot, and thirty-two behind it.
    assert_eq!(accepted, 33);
}

// Tests_SRS_COMPLETION_PORT_01_126
#[test]
fn a_wait_without_memory_is_refused_and_leaves_the_earlier_ones() {
    let port = MockPort::new();
    let waiting = OneShots::new(port.clone());
    let descriptor = any_descriptor();
    let fired = Arc::new(AtomicUsize::new(0));
    let wait = |memory: bool| {
        let (number, fired) = (Number::of(&descriptor), Arc::clone(&fired));
        let waiter = (number, move |_: Action| {
            fired.fetch_add(1, Ordering::Relaxed);
        });
        set_memory(memory);
        let added = waiting.add(Interest::IN, waiter);
        set_memory(true);
        added.map_err(|error| error.raw_os_error())
    };
    let no_memory = Err(Some(Errno::NOMEM.raw_os_error()));
    assert_eq!(wait(false), no_memory, "the first");
    let mut accepted = 0;
    while wait(accepted == 0) == Ok(()) {
        accepted += 1;
        assert!(accepted < 1000, "no queue has room for ever");
    }
    assert!(accepted > 0);

    port.fire(Action::In);

    assert_eq!(fired.load(Ordering::Relaxed), accepted);
    assert_eq!(wait(true), Ok(()));
}
