//! A log subscriber that always panics. It needs a process of its own, because a subscriber is global to the process.

mod common;

use common::log::Log;
use common::{op, real, real_port, received};
use completion_port::Direction;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing::Event;

static PANICS: AtomicUsize = AtomicUsize::new(0);

fn panics(_: &Event<'_>) {
    PANICS.fetch_add(1, Ordering::Relaxed);
    panic!("a subscriber's panic, on purpose");
}

// Tests_SRS_COMPLETION_PORT_01_110
#[test]
fn the_ports_thread_survives_a_callback_and_a_log_that_panic() {
    tracing::subscriber::set_global_default(Log(panics)).expect("the first subscriber");
    let (_calls, port) = real_port();
    let (registration, _peer) = real(&port);
    for _ in 0..3 {
        registration.add(Direction::Out, op("bad").then(|| panic!("a callback's panic, on purpose"))).unwrap();
        let (operation, told) = op("good").told();
        registration.add(Direction::Out, operation).unwrap();
        received(&told, "the operation after the panic");
    }
    assert!(registration.remove());
    assert!(PANICS.load(Ordering::Relaxed) >= 4, "the subscriber was asked, first when the port was made");
}
