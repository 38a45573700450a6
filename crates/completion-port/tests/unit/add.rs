//! `Registration::add` queues at the end, makes no system call, and notices earlier readiness.

use crate::common::{Attempted, Completed, Progress, Scripted, mocked, op, real, real_port, received, settled};
use completion_port::{Action, AddError, Direction, IntoOperation, Readiness, Registration};
use rstest::rstest;
use std::sync::Arc;
use std::sync::mpsc::channel;
use test_doubles::{MockPort, PortCall, PortSyscall, any_descriptor};

// Tests_SRS_COMPLETION_PORT_01_010
#[rstest]
#[case::receiving(Direction::In, Action::In)]
#[case::sending(Direction::Out, Action::Out)]
fn operations_wait_at_the_end_of_their_direction(#[case] direction: Direction, #[case] action: Action) {
    let (port, registration) = mocked();
    let asked = port.calls();

    for name in ["first", "second", "third"] {
        registration.add(direction, op(name)).unwrap();
    }

    assert_eq!(registration.queued(direction), 3);
    assert_eq!(port.calls(), asked, "the port is not asked for anything");
    assert!(registration.handler().seen().is_empty());
    port.fire(action);
    assert_eq!(registration.handler().completed(), ["first", "second", "third"]);
}

// Tests_SRS_COMPLETION_PORT_01_010
#[test]
fn the_directions_do_not_wait_for_each_other() {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("in")).unwrap();
    registration.add(Direction::Out, op("out")).unwrap();

    port.fire(Action::Out);

    assert_eq!(registration.handler().completed(), ["out"]);
    assert_eq!((port.queued(Direction::In), port.queued(Direction::Out)), (1, 0));
}

// Tests_SRS_COMPLETION_PORT_01_010
#[test]
fn no_system_call_is_made_for_an_operation_that_waits() {
    let (calls, port) = real_port();
    let (registration, _peer) = real(&port);
    settled(&calls);
    let made = || [PortSyscall::EpollAdd, PortSyscall::EpollDelete, PortSyscall::Wake].map(|call| calls.made(call));
    let before = made();

    for _ in 0..1000 {
        registration.add(Direction::In, op("waits")).unwrap();
    }

    assert_eq!(made(), before);
}

// Tests_SRS_COMPLETION_PORT_01_010
#[test]
fn an_operation_that_can_run_costs_a_wake_up_and_nothing_else() {
    let (calls, port) = real_port();
    let (registration, _peer) = real(&port);
    settled(&calls);
    let watched = || (calls.made(PortSyscall::EpollAdd), calls.made(PortSyscall::EpollDelete));
    let (before, woken) = (watched(), calls.made(PortSyscall::Wake));

    let (operation, told) = op("a").told();
    registration.add(Direction::Out, operation).unwrap();
    received(&told, "the operation");

    assert_eq!(watched(), before);
    assert_eq!(calls.made(PortSyscall::Wake), woken + 1);
}

/// Something that becomes an operation when it is accepted.
#[derive(Debug, PartialEq, Eq)]
struct Convertible(&'static str);

impl IntoOperation<crate::common::Operation> for Convertible {
    fn store_in(self, room: &mut Option<crate::common::Operation>) -> Result<(), Self> {
        *room = Some(op(self.0));
        Ok(())
    }
}

// Tests_SRS_COMPLETION_PORT_01_011
#[rstest]
#[case::before_register(|registration: &crate::common::Mocked| assert!(!registration.remove()))]
#[case::after_a_failed_register(|registration: &crate::common::Mocked| {
    registration.port().fail_next_attach(1);
    registration.register(|| ()).expect_err("the mock was told to fail");
})]
#[case::after_remove(|registration: &crate::common::Mocked| {
    registration.register(|| ()).expect("the mock accepts every descriptor");
    assert!(registration.remove());
})]
fn without_a_descriptor_the_operation_comes_back(#[case] prepare: fn(&crate::common::Mocked)) {
    let registration = Registration::new(MockPort::new(), Scripted::default(), any_descriptor());
    prepare(&registration);

    let refused = registration.add(Direction::In, Convertible("mine")).expect_err("nothing is registered");

    assert_eq!(refused.error, AddError::NotRegistered);
    assert_eq!(refused.returned, Convertible("mine"));
    assert_eq!(registration.queued(Direction::In), 0);
    assert!(registration.handler().seen().is_empty());
}

// Tests_SRS_COMPLETION_PORT_01_013
#[rstest]
#[case::receiving(Direction::In, Action::In)]
#[case::sending(Direction::Out, Action::Out)]
#[case::half_closed(Direction::In, Action::RdHup)]
#[case::broken_receiving(Direction::In, Action::Error)]
#[case::broken_sending(Direction::Out, Action::Error)]
fn a_ready_direction_serves_an_operation_without_another_event(#[case] direction: Direction, #[case] action: Action) {
    let (port, registration) = mocked();
    port.fire(action);

    registration.add(direction, op("a")).unwrap();

    assert!(registration.handler().seen().is_empty(), "nothing runs inside the call");
    assert_eq!(port.calls().last(), Some(&PortCall::Schedule));
    assert_eq!(port.run_scheduled(), 1);
    assert_eq!(registration.handler().seen(), [Attempted("a", action), Completed("a")]);
}

// Tests_SRS_COMPLETION_PORT_01_013
#[test]
fn a_turn_is_asked_for_once_however_many_operations_wait() {
    let (port, registration) = mocked();
    port.fire(Action::In);

    for name in ["first", "second", "third"] {
        registration.add(Direction::In, op(name)).unwrap();
    }

    assert_eq!(port.calls().iter().filter(|call| **call == PortCall::Schedule).count(), 1);
    port.run_scheduled();
    assert_eq!(registration.handler().completed(), ["first", "second", "third"]);
}

// Tests_SRS_COMPLETION_PORT_01_013
#[test]
fn a_turn_can_be_asked_for_again_after_the_last_one() {
    let (port, registration) = mocked();
    port.fire(Action::In);

    for _ in 0..3 {
        registration.add(Direction::In, op("a")).unwrap();
        assert_eq!(port.run_scheduled(), 1);
    }

    assert_eq!(registration.handler().completed(), ["a", "a", "a"]);
}

// Tests_SRS_COMPLETION_PORT_01_013
#[rstest]
#[case::same_direction(Direction::In)]
#[case::other_direction(Direction::Out)]
fn what_a_callback_adds_runs_in_the_same_turn(#[case] direction: Direction) {
    let (port, registration) = mocked();
    let weak = Arc::downgrade(&registration);
    let callback = move || _ = weak.upgrade().unwrap().add(direction, op("second")).unwrap();
    registration.add(Direction::In, op("first").then(callback)).unwrap();

    port.deliver(Readiness::IN | Readiness::OUT);

    assert_eq!(registration.handler().completed(), ["first", "second"]);
    assert!(!port.calls().contains(&PortCall::Schedule));
}

// Tests_SRS_COMPLETION_PORT_01_013
#[test]
fn an_event_before_the_descriptor_is_fully_registered_is_remembered() {
    // The kernel reports a ready descriptor before `epoll_ctl` has returned.
    let (calls, port) = real_port();
    let (other, _other_peer) = real(&port);
    let (tell, told_inside) = channel();
    let inside = Arc::clone(&other);
    // The first two `EPOLL_CTL_ADD` were for the eventfd and the other descriptor.
    calls.after(PortSyscall::EpollAdd, 3, move || {
        for _ in 0..2 {
            let (operation, told) = op("round trip").told();
            inside.add(Direction::Out, operation).unwrap();
            received(&told, "the port's round trip");
        }
        tell.send(()).unwrap();
    });

    let (registration, _peer) = real(&port);

    told_inside.try_recv().expect("the round trips were made inside");
    let (operation, told) = op("a").told();
    registration.add(Direction::Out, operation).unwrap();
    received(&told, "the operation on a descriptor that was ready before");
}

// Tests_SRS_COMPLETION_PORT_01_013
#[test]
fn a_direction_that_is_not_ready_any_more_does_not_wake_the_port() {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("first").answers([Progress::Pending])).unwrap();
    port.fire(Action::In);

    registration.add(Direction::In, op("second")).unwrap();

    assert!(!port.calls().contains(&PortCall::Schedule));
}
