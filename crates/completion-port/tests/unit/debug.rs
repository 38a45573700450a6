//! `Debug` describes a value, also while the value is at work, and never waits for it.

use crate::common::{Scripted, mocked, on_another_thread, op};
use completion_port::{Action, Attempt, CompletionPort, Direction, Handler, Readiness, Registration};
use parking_lot::Mutex;
use std::os::fd::OwnedFd;
use test_doubles::{MockPort, any_descriptor};

#[test]
fn a_port_shows_its_references() {
    let port = CompletionPort::create().unwrap();
    let clone = port.clone();

    let shown = format!("{port:?}");

    assert!(shown.starts_with("CompletionPort") && shown.contains("references: 2"), "{shown}");
    drop(clone);
}

#[test]
fn what_is_at_work_can_be_shown() {
    on_another_thread("the text", || {
        let (_port, registration) = mocked();
        let claim = registration.try_claim(Direction::Out).unwrap();
        let shown = [format!("{claim:?}"), format!("{registration:?}")];
        assert_eq!(shown[0], "Claim { direction: Out, .. }");
        assert!(shown[1].starts_with("Registration"), "{}", shown[1]);
    });
}

#[test]
fn a_resumer_shows_the_phase() {
    let (_port, registration) = mocked();
    assert_eq!(format!("{:?}", registration.resumer()), "Resumer { phase: Registered, .. }");
}

/// Shows its attempts.
struct Shows(Mutex<Vec<String>>);

impl Handler for Shows {
    type Descriptor = OwnedFd;
    type Operation = ();

    fn attempt(&self, (): (), _: Action, attempt: Attempt<'_, Self>) {
        self.0.lock().push(format!("{attempt:?}"));
        attempt.complete(false, None, || {});
    }
}

#[test]
fn an_attempt_shows_whether_it_is_none() {
    let port = MockPort::new();
    let registration = Registration::new(port.clone(), Shows(Mutex::default()), any_descriptor());
    registration.register(|| ()).unwrap();
    for _ in 0..2 {
        registration.add(Direction::In, ()).unwrap();
    }
    let once = Readiness::IN;
    port.deliver(once);
    registration.add(Direction::Out, ()).unwrap();

    registration.remove();

    let shown = registration.handler().0.lock().clone();
    let [attempted, abandoned] = ["false", "true"].map(|it| format!("Attempt {{ abandoned: {it}, .. }}"));
    assert_eq!(shown, [attempted.clone(), attempted, abandoned]);
}

#[test]
fn a_refusal_shows_why() {
    let registration = Registration::new(MockPort::new(), Scripted::default(), any_descriptor());
    let refused = registration.add(Direction::In, op("a")).unwrap_err();
    assert_eq!(format!("{refused:?}"), "Declined { error: NotRegistered, .. }");

    registration.register(|| ()).unwrap();
    assert_eq!(format!("{:?}", registration.register(|| ()).unwrap_err()), "AlreadyUsed(Registered)");
}
