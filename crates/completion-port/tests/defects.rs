//! DEFECTS: what the library does not do yet. Every test here fails today.

mod common;

use common::{mocked, op};
use completion_port::{Action, Direction};

// Tests_SRS_COMPLETION_PORT_01_032, Tests_SRS_COMPLETION_PORT_01_036
#[test]
#[ignore = "DEFECT: an error alone is forgotten once it was told: who comes later waits for an event that never comes"]
fn an_error_that_lasts_is_told_to_who_comes_later() {
    // The write end of a full pipe without reader reports EPOLLERR alone, once.
    let (port, registration) = mocked();
    port.fire(Action::Error);

    for name in ["first", "second"] {
        registration.add(Direction::Out, op(name)).unwrap();
        port.run_scheduled();
    }

    assert_eq!(registration.handler().completed(), ["first", "second"]);
}
