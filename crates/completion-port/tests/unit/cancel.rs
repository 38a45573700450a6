//! `Registration::cancel`: an operation that waits is taken out of its queue.

use crate::common::{
    Attempted, Completed, Gate, Mocked, Progress, Scripted, mocked, mocked_with, on_another_thread, op, received,
    spawn, stays_silent,
};
use completion_port::{Action, Cancel, Direction, OperationId};
use rstest::rstest;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use test_doubles::MockPort;

const BOTH: [Direction; 2] = [Direction::In, Direction::Out];

fn three(registration: &Mocked, direction: Direction) -> [OperationId; 3] {
    ["a", "b", "c"].map(|name| registration.add(direction, op(name)).expect("it is registered"))
}

// Tests_SRS_COMPLETION_PORT_01_150
#[rstest]
#[case::the_oldest(0, ["b", "c"])]
#[case::one_in_the_middle(1, ["a", "c"])]
#[case::the_youngest(2, ["a", "b"])]
fn a_waiting_operation_completes_as_cancelled_and_the_others_stay_in_order(
    #[case] cancelled: usize,
    #[case] others: [&str; 2],
    #[values(Direction::In, Direction::Out)] direction: Direction,
) {
    let (port, registration) = mocked();
    let ids = three(&registration, direction);
    let name = ["a", "b", "c"][cancelled];

    assert_eq!(registration.cancel(ids[cancelled]), Cancel::Cancelled);

    assert_eq!(registration.handler().seen(), [Attempted(name, Action::Cancelled), Completed(name)]);
    assert_eq!(registration.queued(direction), 2);
    port.fire(if direction == Direction::In { Action::In } else { Action::Out });
    assert_eq!(registration.handler().completed()[1..], others);
    assert_eq!(registration.queued(direction), 0);
}

// Tests_SRS_COMPLETION_PORT_01_151
#[test]
fn an_operation_is_cancelled_or_completed_but_never_both() {
    let (port, registration) = mocked();
    let [a, b, _] = three(&registration, Direction::In);

    assert_eq!(registration.cancel(a), Cancel::Cancelled);
    assert_eq!(registration.cancel(a), Cancel::NotWaiting, "it is complete");
    port.fire(Action::In);
    assert_eq!(registration.cancel(b), Cancel::NotWaiting, "it is complete");

    assert_eq!(registration.handler().completed(), ["a", "b", "c"]);
}

// Tests_SRS_COMPLETION_PORT_01_151
#[test]
fn a_recycled_name_does_not_exist() {
    let (port, registration) = mocked();
    let mut ids = Vec::new();
    for _ in 0..3 {
        for direction in BOTH {
            ids.push(registration.add(direction, op("added")).unwrap());
            port.fire(Action::In);
            port.fire(Action::Out);
            ids.push(registration.try_claim(direction).unwrap().queue(op("claimed")).unwrap());
            port.fire(Action::In);
            port.fire(Action::Out);
        }
    }
    let waits = registration.add(Direction::In, op("waits")).unwrap();

    for id in &ids {
        assert_eq!(registration.cancel(*id), Cancel::NotWaiting);
    }
    assert_eq!(registration.queued(Direction::In), 1);
    assert_eq!(registration.cancel(waits), Cancel::Cancelled);
    ids.push(waits);
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
}

// Tests_SRS_COMPLETION_PORT_01_150
#[test]
fn what_a_claim_has_queued_can_be_cancelled() {
    let (_port, registration) = mocked();
    let id = registration.try_claim(Direction::Out).unwrap().queue(op("a")).unwrap();

    assert_eq!(registration.cancel(id), Cancel::Cancelled);

    assert_eq!(registration.handler().attempts(), [("a", Action::Cancelled)]);
    assert!(registration.try_claim(Direction::Out).is_ok(), "the direction is idle again");
}

// Tests_SRS_COMPLETION_PORT_01_150
#[test]
fn a_suspended_operation_can_be_cancelled_and_its_resume_wakes_nothing_else() {
    let (port, registration) = mocked();
    let id = registration.add(Direction::In, op("a").answers([Progress::Suspended])).unwrap();
    port.fire(Action::In);

    assert_eq!(registration.cancel(id), Cancel::Cancelled);

    assert!(!registration.resumer().resume(Direction::In));
    registration.add(Direction::In, op("b").answers([Progress::Suspended])).unwrap();
    port.fire(Action::In);
    port.run_scheduled();
    assert_eq!(registration.handler().completed(), ["a"]);
    assert!(registration.resumer().resume(Direction::In));
    port.run_scheduled();
    assert_eq!(registration.handler().completed(), ["a", "b"]);
}

// Tests_SRS_COMPLETION_PORT_01_152
#[test]
fn an_operation_that_the_handler_calls_started_goes_on() {
    let (port, registration) = mocked_with(Scripted::with_started("a"));
    let [first, second, third] = ["b", "a", "a"].map(|name| registration.add(Direction::Out, op(name)).unwrap());

    assert_eq!(registration.cancel(second), Cancel::Started, "in the backlog");
    assert_eq!(registration.cancel(first), Cancel::Cancelled);
    assert_eq!(registration.cancel(second), Cancel::Started, "in the slot");
    assert_eq!(registration.cancel(third), Cancel::Started);

    port.fire(Action::Out);
    assert_eq!(registration.handler().completed(), ["b", "a", "a"]);
}

// Tests_SRS_COMPLETION_PORT_01_151
#[test]
fn a_cancel_waits_for_the_attempt_that_another_thread_is_in() {
    let (port, registration) = mocked();
    let (gate, stop) = Gate::new();
    let id = registration.add(Direction::In, op("a").attempting_once(stop).answers([Progress::Pending])).unwrap();
    let fired = spawn(move || port.fire(Action::In));
    gate.wait();

    let (began, has_begun) = channel();
    let canceller = Arc::clone(&registration);
    let cancelled = spawn(move || {
        began.send(()).unwrap();
        canceller.cancel(id)
    });
    received(&has_begun, "the cancel");
    gate.open();
    received(&fired, "the end of the attempt");

    assert_eq!(received(&cancelled, "the cancel"), Cancel::Cancelled, "it was pending again");
    assert_eq!(registration.handler().attempts(), [("a", Action::In), ("a", Action::Cancelled)]);
}

// Tests_SRS_COMPLETION_PORT_01_151
#[test]
fn an_attempt_that_cancels_its_own_operation_does_not_wait_for_itself() {
    let (port, registration) = mocked();
    let (tell, told) = channel();
    let (give, given) = channel();
    let weak = Arc::downgrade(&registration);
    let cancels = move || {
        let registration = weak.upgrade().unwrap();
        let [own, other]: [OperationId; 2] = given.recv().unwrap();
        tell.send([registration.cancel(own), registration.cancel(other)]).unwrap();
    };
    let own = registration.add(Direction::In, op("a").attempting_once(cancels)).unwrap();
    let other = registration.add(Direction::In, op("b")).unwrap();
    give.send([own, other]).unwrap();

    port.fire(Action::In);

    assert_eq!(received(&told, "the attempt"), [Cancel::NotWaiting, Cancel::Cancelled]);
    assert_eq!(registration.handler().completed(), ["b", "a"]);
}

// Tests_SRS_COMPLETION_PORT_01_150
#[test]
fn the_callback_of_a_cancelled_operation_may_do_anything() {
    let (_port, registration) = mocked();
    let weak = Arc::downgrade(&registration);
    let callback = move || {
        let registration = weak.upgrade().unwrap();
        registration.add(Direction::In, op("next")).unwrap();
        assert!(registration.remove());
        panic!("and even panic");
    };
    let id = registration.add(Direction::In, op("a").then(callback)).unwrap();

    assert_eq!(registration.cancel(id), Cancel::Cancelled);

    assert_eq!(registration.handler().completed(), ["a", "next"]);
}

// Tests_SRS_COMPLETION_PORT_01_150
#[test]
fn a_removal_waits_for_the_callback_of_a_cancelled_operation() {
    let (_port, registration) = mocked();
    let (gate, stop) = Gate::new();
    let id = registration.add(Direction::In, op("a").then(stop)).unwrap();
    let canceller = Arc::clone(&registration);
    let cancelled = spawn(move || canceller.cancel(id));
    gate.wait();

    let removed = spawn(move || registration.remove_and_wait());
    stays_silent(&removed, "the removal, because the callback still runs");
    gate.open();

    assert_eq!(received(&cancelled, "the cancel"), Cancel::Cancelled);
    received(&removed, "the removal");
}

// Tests_SRS_COMPLETION_PORT_01_151
#[test]
fn after_a_removal_nothing_waits() {
    let (_port, registration) = mocked();
    let [a, ..] = three(&registration, Direction::In);
    registration.remove();

    assert_eq!(registration.cancel(a), Cancel::NotWaiting);
    assert_eq!(registration.handler().completed(), ["a", "b", "c"]);
}

// Tests_SRS_COMPLETION_PORT_01_151
#[test]
fn cancels_from_four_threads_race_with_completions_and_each_operation_ends_once() {
    const ROUNDS: usize = if cfg!(miri) { 20 } else { 20_000 };
    let (port, registration) = mocked();
    let ended = Arc::new(AtomicUsize::new(0));
    let cancelled = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicUsize::new(0));
    let firing = {
        let (port, stop): (MockPort, _) = (port, Arc::clone(&stop));
        spawn(move || {
            while stop.load(Ordering::Relaxed) < 4 {
                port.fire(Action::In);
                port.run_scheduled();
            }
            port.fire(Action::In);
        })
    };
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (registration, ended, cancelled, stop) =
                (Arc::clone(&registration), Arc::clone(&ended), Arc::clone(&cancelled), Arc::clone(&stop));
            spawn(move || {
                for _ in 0..ROUNDS {
                    let ended = Arc::clone(&ended);
                    let count = move || _ = ended.fetch_add(1, Ordering::Relaxed);
                    let id = registration.add(Direction::In, op("a").then(count)).unwrap();
                    if registration.cancel(id) == Cancel::Cancelled {
                        cancelled.fetch_add(1, Ordering::Relaxed);
                    }
                }
                stop.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    threads.iter().for_each(|thread| received(thread, "a thread"));
    received(&firing, "the port");

    assert_eq!(ended.load(Ordering::Relaxed), 4 * ROUNDS);
    let by_cancel = registration.handler().attempts().iter().filter(|(_, action)| *action == Action::Cancelled).count();
    assert_eq!(by_cancel, cancelled.load(Ordering::Relaxed));
    assert_eq!(registration.queued(Direction::In), 0);
}

// Tests_SRS_COMPLETION_PORT_01_150
#[test]
fn a_cancel_on_another_thread_calls_back_on_that_thread() {
    let (_port, registration) = mocked();
    let (tell, told) = channel();
    let id =
        registration.add(Direction::In, op("a").then(move || tell.send(std::thread::current().id()).unwrap())).unwrap();

    let canceller = on_another_thread("the cancel", move || {
        assert_eq!(registration.cancel(id), Cancel::Cancelled);
        std::thread::current().id()
    });

    assert_eq!(received(&told, "the callback"), canceller);
}

// Tests_SRS_COMPLETION_PORT_01_151
#[test]
fn an_id_goes_through_a_number_and_a_made_up_number_names_nothing() {
    let (_port, registration) = mocked();
    let [a, ..] = three(&registration, Direction::In);
    assert_eq!(OperationId::from_raw(a.to_raw()), Some(a));
    assert_eq!(OperationId::from_raw(0), None);
    for raw in [1, 2, 3, u64::MAX, u64::MAX >> 1] {
        assert_eq!(registration.cancel(OperationId::from_raw(raw).unwrap()), Cancel::NotWaiting);
    }
    assert_eq!(registration.queued(Direction::In), 3);
}
