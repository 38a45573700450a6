//! The beginning and the end of a registration of a real socket.

use completion_port::{Action, Attempt, CompletionPort, Direction, Handler, Phase, RegisterError, Registration};
use integration_tests::port::{A_WHILE, Watched, port, socket, writes};
use integration_tests::{Outbox, inbox, spawn, wait};
use rstest::rstest;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Panics when it first sees its descriptor, and tells of the release.
struct Panics {
    has_panicked: AtomicBool,
    released: Outbox<()>,
}

impl Panics {
    fn new(released: Outbox<()>) -> Self {
        Self { has_panicked: AtomicBool::new(false), released }
    }
}

impl Handler for Panics {
    type Descriptor = OwnedFd;
    type Operation = ();

    fn prepare(&self, _: &OwnedFd) -> io::Result<()> {
        assert!(self.has_panicked.swap(true, Ordering::Relaxed), "on purpose");
        Ok(())
    }

    fn attempt(&self, (): (), _: Action, attempt: Attempt<'_, Self>) {
        attempt.complete(false, None, || ());
    }

    fn release(&self, _: OwnedFd) {
        self.released.put(());
    }
}

// Tests_SRS_COMPLETION_PORT_01_109
#[test]
fn after_a_panic_in_prepare_the_registration_is_as_before() {
    let (ours, _peer) = UnixStream::pair().unwrap();
    let (tell, _released) = inbox();
    let registration = Registration::new(CompletionPort::create().unwrap(), Panics::new(tell), OwnedFd::from(ours));

    let refused = registration.register(|| panic!("it is not called")).expect_err("prepare panics");

    assert!(matches!(refused, RegisterError::Unusable(_)), "{refused:?}");
    assert_eq!(registration.phase(), Phase::Unregistered);
    registration.register(|| ()).expect("another try is allowed");
    assert!(registration.remove());
}

// Tests_SRS_COMPLETION_PORT_01_055
#[test]
fn dropping_what_was_never_registered_releases_the_descriptor() {
    let (ours, _peer) = UnixStream::pair().unwrap();
    let (tell, released) = inbox();
    let registration = Registration::new(CompletionPort::create().unwrap(), Panics::new(tell), OwnedFd::from(ours));

    drop(registration);

    assert!(released.try_next().is_some());
}

// Tests_SRS_COMPLETION_PORT_01_058
#[rstest]
#[case::a_removal(|registration: Arc<Watched>| registration.remove_and_wait())]
#[case::a_drop(drop)]
fn the_end_waits_for_the_callback_that_runs_on_the_ports_thread(#[case] end: fn(Arc<Watched>)) {
    let (registration, _peer) = socket(&port().1);
    let (gate, barrier) = wait::gate();
    registration.add(Direction::Out, writes("x").then(move |_| barrier.wait())).unwrap();
    gate.wait_for_arrival();

    let ending = spawn("the end", move || end(registration));

    assert!(ending.still_runs_after(A_WHILE));
    gate.open();
    ending.join();
}
