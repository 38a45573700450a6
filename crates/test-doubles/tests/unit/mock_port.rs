//! `MockPort`: records its calls, and reports the events that the test fires, in that order and on that thread.

use completion_port::memory::TryArc;
use completion_port::{Action, Direction, Dispatch, Port, Readiness, Source, Token};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Mutex;
use test_doubles::{MockPort, PortCall, any_descriptor};

/// Records its events, and asks for as many more turns as it was made with.
struct Noting {
    port: MockPort,
    told: Mutex<Vec<(Readiness, bool)>>,
    more_turns: Mutex<usize>,
}

impl Noting {
    fn on(port: &MockPort, more_turns: usize) -> TryArc<Self> {
        TryArc::new(Self { port: port.clone(), told: Mutex::default(), more_turns: Mutex::new(more_turns) })
    }

    /// The events of each turn, and whether it counted as on the port's thread.
    fn told(&self) -> Vec<(Readiness, bool)> {
        self.told.lock().expect("not poisoned").clone()
    }
}

impl Source for Noting {
    fn on_ready(&self, events: Readiness) -> Dispatch {
        self.told.lock().expect("not poisoned").push((events, self.port.is_current_thread()));
        let mut more = self.more_turns.lock().expect("not poisoned");
        match more.checked_sub(1) {
            Some(left) => {
                *more = left;
                Dispatch::Yielded
            }
            None => Dispatch::Idle,
        }
    }

    fn queued(&self, direction: Direction) -> usize {
        if direction == Direction::In { 3 } else { 5 }
    }
}

fn attach(port: &MockPort, source: &TryArc<Noting>) -> (OwnedFd, Token) {
    let descriptor = any_descriptor();
    let token = port.attach(descriptor.as_fd(), source.clone().into()).expect("attached");
    (descriptor, token)
}

#[test]
fn what_is_fired_is_delivered_at_once_in_order_and_on_what_counts_as_the_ports_thread() {
    let port = MockPort::new();
    let source = Noting::on(&port, 0);
    let _attached = attach(&port, &source);

    for action in [Action::In, Action::Out, Action::RdHup, Action::Error] {
        port.fire(action);
    }
    port.deliver(Readiness::IN | Readiness::HANG_UP);

    let events =
        [Readiness::IN, Readiness::OUT, Readiness::READ_HANG_UP, Readiness::ERROR, Readiness::IN | Readiness::HANG_UP];
    assert_eq!(source.told(), events.map(|events| (events, true)));
    assert!(!port.is_current_thread(), "only while it fires");
}

#[test]
fn events_go_to_what_was_attached_last() {
    let port = MockPort::new();
    let (first, second) = (Noting::on(&port, 0), Noting::on(&port, 0));
    let _first = attach(&port, &first);
    let (descriptor, token) = attach(&port, &second);

    port.fire(Action::In);
    port.detach(descriptor.as_fd(), token);
    port.fire(Action::Out);

    assert_eq!(second.told(), [(Readiness::IN, true)]);
    assert_eq!(first.told(), [(Readiness::OUT, true)]);
    assert_eq!((port.queued(Direction::In), port.queued(Direction::Out)), (3, 5));
}

#[test]
fn what_was_scheduled_or_wants_another_turn_runs_when_told_to() {
    let port = MockPort::new();
    let source = Noting::on(&port, 2);
    let (_descriptor, token) = attach(&port, &source);

    port.schedule(token);
    assert_eq!(source.told(), [], "not before it is told to");
    assert_eq!(port.run_scheduled(), 3, "the one that was asked for and two more");

    assert_eq!(source.told(), [(Readiness::empty(), true); 3]);
    assert_eq!(port.run_scheduled(), 0);
}

#[test]
fn the_next_attachment_fails_once() {
    let port = MockPort::new();
    let source = Noting::on(&port, 0);
    let descriptor = any_descriptor();
    port.fail_next_attach(12);

    let error = port.attach(descriptor.as_fd(), source.clone().into()).expect_err("as told");
    assert_eq!(error.raw_os_error(), Some(12));
    assert_eq!(TryArc::references(&source), 1, "nothing is attached");
    port.attach(descriptor.as_fd(), source.into()).expect("only the next one");
}

#[test]
fn what_was_asked_is_recorded_in_order() {
    let port = MockPort::new();
    let source = Noting::on(&port, 0);
    let (descriptor, token) = attach(&port, &source);
    port.schedule(token);
    port.detach(descriptor.as_fd(), token);

    let number = descriptor.as_raw_fd();
    assert_eq!(port.calls(), [PortCall::Attach(number), PortCall::Schedule, PortCall::Detach(number)]);
}

#[test]
fn references_are_the_clones_that_are_alive() {
    let port = MockPort::new();
    let clone = port.clone();
    assert_eq!(port.references(), 2);

    drop(clone);
    assert_eq!(port.references(), 1);
}

#[test]
#[should_panic(expected = "a descriptor is attached")]
fn firing_at_nothing_is_the_tests_mistake() {
    MockPort::new().fire(Action::In);
}

#[test]
#[should_panic(expected = "close the socket")]
fn abandoning_cannot_be_fired() {
    let port = MockPort::new();
    let _attached = attach(&port, &Noting::on(&port, 0));

    port.fire(Action::Abandoned);
}
