//! `Debug`: says what something is, also while it is at work, and never waits for it.

mod common;

use common::{Scripted, mocked, on_another_thread, op};
use completion_port::{CompletionPort, Direction, Registration};
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
        let shown = [format!("{claim:?}"), format!("{:?}", registration.begin_callback()), format!("{registration:?}")];
        assert_eq!(shown[0], "Claim { direction: Out, .. }");
        assert_eq!(shown[1], "Announced { .. }");
        assert!(shown[2].starts_with("Registration"), "{}", shown[2]);
    });
}

#[test]
fn a_refusal_shows_why() {
    let registration = Registration::new(MockPort::new(), Scripted::default(), any_descriptor());
    let refused = registration.add(Direction::In, op("a")).unwrap_err();
    assert_eq!(format!("{refused:?}"), "Refused { error: NotRegistered, .. }");

    drop(registration.register().unwrap());
    assert_eq!(format!("{:?}", registration.register().unwrap_err()), "AlreadyUsed(Registered)");
}
