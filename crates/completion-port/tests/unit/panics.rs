//! A panic in foreign code ends where it began.

use crate::common::{Operation, Scripted, log, mocked, op, real, real_port, received, round_trip};
use completion_port::memory::TryArc;
use completion_port::{Action, Direction, Dispatch, Port, Readiness, Registration, Source};
use rstest::rstest;
use std::io::pipe;
use std::os::fd::AsFd;
use std::sync::mpsc::{Sender, channel};
use test_doubles::{MockPort, any_descriptor};

fn panics_in_attempt() -> Operation {
    op("bad").attempting(|_| panic!("an attempt's panic, on purpose"))
}

fn panics_in_callback() -> Operation {
    op("bad").then(|| panic!("a callback's panic, on purpose"))
}

// Tests_SRS_COMPLETION_PORT_01_041
#[rstest]
#[case::attempt(panics_in_attempt())]
#[case::callback(panics_in_callback())]
fn the_other_operations_of_the_descriptor_go_on(#[case] bad: Operation) {
    let (port, registration) = mocked();
    registration.add(Direction::In, bad).unwrap();
    registration.add(Direction::In, op("good")).unwrap();
    registration.add(Direction::Out, op("other direction")).unwrap();

    port.fire(Action::In);
    port.fire(Action::Out);

    assert_eq!(registration.handler().completed(), ["bad", "good", "other direction"]);
}

// Tests_SRS_COMPLETION_PORT_01_041
#[rstest]
#[case::attempt(panics_in_attempt())]
#[case::callback(panics_in_callback())]
fn the_thread_and_the_other_descriptors_go_on(#[case] bad: Operation) {
    let (_calls, port) = real_port();
    let ((broken, _peer), (other, _other_peer)) = (real(&port), real(&port));
    broken.add(Direction::Out, bad).unwrap();

    for registration in [&broken, &other] {
        let (operation, told) = op("good").told();
        registration.add(Direction::Out, operation).unwrap();
        received(&told, "an operation after the panic");
    }
}

// Tests_SRS_COMPLETION_PORT_01_041
#[rstest]
#[case::attempt(panics_in_attempt())]
#[case::callback(panics_in_callback())]
fn abandoning_goes_on_after_a_panic(#[case] bad: Operation) {
    let (_port, registration) = mocked();
    registration.add(Direction::In, bad).unwrap();
    registration.add(Direction::In, op("good")).unwrap();

    assert!(registration.remove());

    assert_eq!(registration.handler().completed(), ["bad", "good"]);
}

// Tests_SRS_COMPLETION_PORT_01_041
#[test]
fn a_panic_in_a_callback_does_not_reach_its_caller() {
    let registration = Registration::new(MockPort::new(), Scripted::default(), any_descriptor());

    registration.register(|| panic!("on purpose")).unwrap();
    registration.try_claim(Direction::In).unwrap().complete(|| panic!("on purpose"));

    // Both callbacks are over: removing does not wait for them.
    assert!(crate::common::on_another_thread("the removal", move || registration.remove()));
}

// Tests_SRS_COMPLETION_PORT_01_041
#[rstest]
#[case::text("the text of this panic", || panic!("the text of this panic"))]
#[case::formatted("the number is 7312", || panic!("the number is {}", 7300 + 12))]
#[case::anything("(no message)", || std::panic::panic_any(7))]
fn a_panic_is_logged_with_its_message(#[case] message: &str, #[case] panic: fn()) {
    log::listen();
    let (port, registration) = mocked();
    registration.add(Direction::In, op("bad").then(panic)).unwrap();

    port.fire(Action::In);

    assert!(log::errors_with(message) >= 1);
}

/// A panic's payload that panics when it is dropped.
struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the payload's panic, on purpose");
        }
    }
}

// Tests_SRS_COMPLETION_PORT_01_041
#[test]
fn a_panic_with_a_payload_that_panics_leaves_the_thread_alive() {
    let (_calls, port) = real_port();
    let ((bad, _bad_peer), (good, _good_peer)) = (real(&port), real(&port));
    // Leaked, so that on failure the assertion fails and no drop hangs.
    let (bad, good) = (Box::leak(Box::new(bad)), Box::leak(Box::new(good)));
    Box::leak(Box::new(port));
    bad.add(Direction::Out, op("bad").then(|| std::panic::panic_any(PanicsAgain))).unwrap();

    let (operation, told) = op("good").told();
    good.add(Direction::Out, operation).unwrap();

    received(&told, "the operation after the panic");
}

/// A handler's destructor is foreign code too.
struct BadHandler(Sender<()>);

impl Drop for BadHandler {
    fn drop(&mut self) {
        self.0.send(()).expect("the test listens");
        panic!("a handler's panic, on purpose");
    }
}

impl Source for BadHandler {
    fn on_ready(&self, _: Readiness) -> Dispatch {
        Dispatch::Idle
    }

    fn queued(&self, _: Direction) -> usize {
        0
    }
}

// Tests_SRS_COMPLETION_PORT_01_041
#[test]
fn a_handler_that_panics_when_dropped_leaves_the_thread_alive() {
    let (_calls, port) = real_port();
    let (good, _peer) = real(&port);
    let (port, good) = (Box::leak(Box::new(port)), Box::leak(Box::new(good)));
    let (tell, dropped) = channel();
    let (silent, _writer) = pipe().expect("a pipe is made");
    let bad = port.attach(silent.as_fd(), TryArc::new(BadHandler(tell)).into()).expect("a pipe can be watched");
    port.detach(silent.as_fd(), bad);
    round_trip(port);
    received(&dropped, "the drop of the handler");

    let (operation, told) = op("good").told();
    good.add(Direction::Out, operation).unwrap();

    received(&told, "the operation after the panic");
}
