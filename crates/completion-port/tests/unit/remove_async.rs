//! `Registration::remove_async`: a removal that does not wait, and says when it is over.

use crate::common::{
    Gate, Mocked, Scripted, mocked, mocked_with, op, real, real_port, received, spawn, stays_silent, watch_over_all,
};
use completion_port::{Action, AddError, Direction, Phase, Registration};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use test_doubles::{MockPort, PortCall, any_descriptor};

/// Begins the removal. The channel tells when it is over.
fn begin(registration: &Mocked) -> Receiver<()> {
    let (tell, told) = channel();
    registration.remove_async(move || tell.send(()).unwrap_or_default()).expect("it is registered");
    told
}

// Tests_SRS_COMPLETION_PORT_01_155
#[test]
fn it_abandons_releases_and_then_says_so() {
    let (handler, released) = Scripted::releasing();
    let (port, registration) = mocked_with(handler);
    registration.add(Direction::In, op("a")).unwrap();
    registration.add(Direction::Out, op("b")).unwrap();
    let (tell, told) = channel();

    registration.remove_async(move || tell.send(released.try_recv().is_ok()).unwrap()).unwrap();

    assert!(told.try_recv().unwrap(), "nothing was in the way, and the descriptor was released first");
    assert!(told.try_recv().is_err(), "once");
    assert_eq!(registration.phase(), Phase::Removed);
    assert_eq!(registration.handler().attempts(), [("a", Action::Abandoned), ("b", Action::Abandoned)]);
    assert!(port.calls().iter().any(|call| matches!(call, PortCall::Detach(_))));
}

// Tests_SRS_COMPLETION_PORT_01_155
#[test]
fn it_does_not_wait_for_a_callback_on_another_thread_which_ends_the_removal() {
    let (port, registration) = mocked();
    let (gate, stop) = Gate::new();
    registration.add(Direction::In, op("a").then(stop)).unwrap();
    registration.add(Direction::In, op("b")).unwrap();
    let fired = spawn(move || port.fire(Action::In));
    gate.wait();

    let over = begin(&registration);

    stays_silent(&over, "the removal, because a callback runs");
    assert_eq!(registration.phase(), Phase::Removing);
    assert_eq!(registration.add(Direction::In, op("c")).map_err(|it| it.error), Err(AddError::NotRegistered));
    gate.open();
    received(&over, "the end of the removal");
    received(&fired, "the port");
    assert_eq!(registration.handler().completed(), ["a", "b"]);
}

// Tests_SRS_COMPLETION_PORT_01_155
#[test]
fn it_does_not_wait_for_an_attempt_and_a_claim_on_other_threads() {
    let (port, registration) = mocked();
    let (gate, stop) = Gate::new();
    registration.add(Direction::In, op("a").attempting_once(stop)).unwrap();
    let fired = spawn(move || port.fire(Action::In));
    gate.wait();
    let (claiming, claimed) = channel();
    let (end, ended) = channel::<()>();
    let claimer = Arc::clone(&registration);
    let claim = spawn(move || {
        let claim = claimer.try_claim(Direction::Out).expect("nothing is sent");
        claiming.send(()).unwrap();
        ended.recv().unwrap();
        claim.complete(|| ());
    });
    received(&claimed, "the claim");

    let over = begin(&registration);

    stays_silent(&over, "the removal");
    gate.open();
    received(&fired, "the port");
    stays_silent(&over, "the removal, because of the claim");
    end.send(()).unwrap();
    received(&over, "the end of the removal");
    received(&claim, "the claim");
    assert_eq!(registration.phase(), Phase::Removed);
}

// Tests_SRS_COMPLETION_PORT_01_156
#[test]
fn two_callbacks_of_two_ports_remove_each_other() {
    let (left_port, left) = mocked();
    let (right_port, right) = mocked();
    let (both, arrived) = (Arc::new(std::sync::Barrier::new(2)), channel());
    let (tell, told) = arrived;
    let meet = |other: &Arc<Mocked>| {
        let (other, both, tell) = (Arc::downgrade(other), Arc::clone(&both), tell.clone());
        move || {
            both.wait();
            let tell = move || tell.send(()).unwrap();
            other.upgrade().unwrap().remove_async(tell).unwrap();
        }
    };
    left.add(Direction::In, op("a").then(meet(&right))).unwrap();
    right.add(Direction::In, op("b").then(meet(&left))).unwrap();

    let threads = [spawn(move || left_port.fire(Action::In)), spawn(move || right_port.fire(Action::In))];

    threads.iter().for_each(|thread| received(thread, "a port"));
    received(&told, "one removal");
    received(&told, "the other removal");
    assert_eq!([left.phase(), right.phase()], [Phase::Removed; 2]);
}

// Tests_SRS_COMPLETION_PORT_01_155
#[test]
fn inside_its_own_callback_it_ends_at_once() {
    let (port, registration) = mocked();
    let weak = Arc::downgrade(&registration);
    let (tell, told) = channel();
    let removes = move || weak.upgrade().unwrap().remove_async(move || tell.send(()).unwrap()).unwrap();
    registration.add(Direction::In, op("a").then(removes)).unwrap();

    port.fire(Action::In);

    received(&told, "the end of the removal");
    assert_eq!(registration.phase(), Phase::Removed);
}

// Tests_SRS_COMPLETION_PORT_01_156
#[test]
fn inside_an_attempt_it_leaves_the_rest_to_the_end_of_the_attempt() {
    let (port, registration) = mocked();
    let weak = Arc::downgrade(&registration);
    let (tell, told) = channel();
    let removes = move || weak.upgrade().unwrap().remove_async(move || tell.send(()).unwrap()).unwrap();
    registration.add(Direction::In, op("a").attempting_once(removes)).unwrap();

    port.fire(Action::In);

    received(&told, "the end of the removal");
    assert_eq!(registration.handler().completed(), ["a"]);
    assert_eq!(registration.phase(), Phase::Removed);
}

// Tests_SRS_COMPLETION_PORT_01_155
#[test]
fn the_callback_may_drop_the_registration() {
    let (_port, registration) = mocked();
    let own = Arc::clone(&registration);
    let (tell, told) = channel();

    registration
        .remove_async(move || {
            drop(own);
            tell.send(()).unwrap();
        })
        .unwrap();

    received(&told, "the callback");
}

// Tests_SRS_COMPLETION_PORT_01_155
#[test]
fn a_panic_of_the_callback_ends_there() {
    let (_port, registration) = mocked();

    registration.remove_async(|| panic!("in the callback")).unwrap();

    assert_eq!(registration.phase(), Phase::Removed);
    registration.remove_and_wait();
}

// Tests_SRS_COMPLETION_PORT_01_157
#[test]
fn what_is_not_registered_is_refused_and_the_callback_comes_back() {
    watch_over_all();
    let registration = Registration::new(MockPort::new(), Scripted::default(), any_descriptor());
    let refused = registration.remove_async(|| ()).unwrap_err();
    assert_eq!(refused.error, AddError::NotRegistered);
    registration.register(|| ()).unwrap();
    assert!(registration.remove());

    let (tell, told) = channel();
    let refused = registration.remove_async(move || tell.send(()).unwrap()).unwrap_err();

    assert_eq!(refused.error, AddError::NotRegistered);
    (refused.returned)();
    received(&told, "the callback, which came back");
}

// Tests_SRS_COMPLETION_PORT_01_155
#[test]
fn a_wait_for_the_removal_waits_for_its_callback_too() {
    let (_port, registration) = mocked();
    let (gate, stop) = Gate::new();
    let remover = Arc::clone(&registration);
    let removed = spawn(move || remover.remove_async(stop).unwrap());
    gate.wait();

    let waited = spawn(move || registration.remove_and_wait());

    stays_silent(&waited, "the wait");
    gate.open();
    received(&removed, "the removal");
    received(&waited, "the wait");
}

// Tests_SRS_COMPLETION_PORT_01_155
#[test]
fn the_registration_keeps_its_port_until_the_callback_has_run() {
    let (_calls, port) = real_port();
    let (registration, _peer) = real(&port);
    drop(port);
    let (tell, told) = channel();

    registration.remove_async(move || tell.send(()).unwrap()).unwrap();
    drop(registration);

    received(&told, "the callback");
}
