//! No thread waits for itself, wherever it removes a registration. On every thread, a removal waits for other threads.

mod common;

use common::{DONE, Gate, Mocked, Progress, Scripted, mocked, on_another_thread, op};
use common::{received, spawn, stays_silent};
use completion_port::{Action, AddError, Attempt, ClaimError, Direction, Handler, IntoOperation, Phase, RegisterError};
use completion_port::{Readiness, Registration};
use parking_lot::Mutex;
use rstest::rstest;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock, Weak};
use test_doubles::{MockPort, any_descriptor};

fn unregistered() -> Mocked {
    common::watch_over_all();
    Registration::new(MockPort::new(), Scripted::default(), any_descriptor())
}

/// Registers `left` registrations, each inside the callback of the one before, and removes all of them in the innermost
/// one.
fn register_inside(outer: &mut Vec<Arc<Mocked>>, left: usize) -> usize {
    let mut removed = 0;
    let own = Arc::new(unregistered());
    outer.push(Arc::clone(&own));
    let callback = || {
        removed = match left {
            1 => outer.iter().filter(|registration| registration.remove()).count(),
            _ => register_inside(outer, left - 1),
        }
    };
    own.register(callback).expect("the mock accepts every descriptor");
    removed
}

// Tests_SRS_COMPLETION_PORT_01_051, Tests_SRS_COMPLETION_PORT_01_100
#[test]
fn registers_inside_each_other_can_all_be_removed_in_the_innermost_callback() {
    assert_eq!(on_another_thread("the end of all callbacks", || register_inside(&mut Vec::new(), 200)), 200);
}

// Tests_SRS_COMPLETION_PORT_01_051, Tests_SRS_COMPLETION_PORT_01_100
#[test]
fn a_claim_that_is_completed_inside_another_claims_callback_can_remove_both() {
    let removed = on_another_thread("the end of both callbacks", || {
        let ((_port, one), (_other_port, other)) = (mocked(), mocked());
        let (outer, inner) = (one.try_claim(Direction::Out).unwrap(), other.try_claim(Direction::Out).unwrap());
        let mut removed = [false; 2];
        outer.complete(|| inner.complete(|| removed = [other.remove(), one.remove()]));
        removed
    });
    assert_eq!(removed, [true; 2]);
}

// Tests_SRS_COMPLETION_PORT_01_051, Tests_SRS_COMPLETION_PORT_01_100
#[test]
fn two_claims_of_one_registration_can_be_completed_inside_each_other_and_remove_it() {
    let removed = on_another_thread("the end of both callbacks", || {
        let (_port, registration) = mocked();
        let outer = registration.try_claim(Direction::Out).unwrap();
        let inner = registration.try_claim(Direction::In).unwrap();
        let mut removed = false;
        outer.complete(|| inner.complete(|| removed = registration.remove()));
        removed
    });
    assert!(removed);
}

// Tests_SRS_COMPLETION_PORT_01_024
#[test]
fn after_a_claim_inside_a_claims_callback_claims_are_still_refused_there() {
    let ((_port, one), (_other_port, other)) = (mocked(), mocked());
    let (outer, inner) = (one.try_claim(Direction::Out).unwrap(), other.try_claim(Direction::Out).unwrap());
    let mut refused = None;
    outer.complete(|| {
        inner.complete(|| ());
        refused = one.try_claim(Direction::In).err();
    });
    assert_eq!(refused, Some(ClaimError::InUse));
    assert!(one.try_claim(Direction::In).is_ok(), "granted again afterwards");
}

/// The end of an attempt that has removed its registration.
#[derive(Clone, Copy)]
enum Ends {
    Says(Progress),
    Panics,
}

// Tests_SRS_COMPLETION_PORT_01_102
#[rstest]
#[case::complete(Ends::Says(DONE))]
#[case::pending(Ends::Says(Progress::Pending))]
#[case::partial(Ends::Says(Progress::Partial))]
#[case::suspended(Ends::Says(Progress::Suspended))]
#[case::panic(Ends::Panics)]
fn remove_inside_an_attempt_is_finished_when_the_attempt_ends(#[case] ends: Ends) {
    let (port, registration) = mocked();
    let (tell, told) = channel();
    let inside = Arc::downgrade(&registration);
    let removes = move || {
        let registration = inside.upgrade().expect("the test keeps it");
        tell.send((registration.remove(), registration.phase())).expect("the test listens");
        if matches!(ends, Ends::Panics) {
            panic!("an attempt's panic, on purpose");
        }
    };
    let answers = if let Ends::Says(progress) = ends { Some(progress) } else { None };
    registration.add(Direction::In, op("removes").attempting_once(removes).answers(answers)).unwrap();
    registration.add(Direction::Out, op("other direction")).unwrap();
    registration.add(Direction::In, op("behind")).unwrap();

    on_another_thread("the end of the turn", move || port.fire(Action::In));

    assert_eq!(received(&told, "the removal"), (true, Phase::Removing));
    assert_eq!(registration.phase(), Phase::Removed);
    assert_eq!(registration.handler().completed(), ["removes", "other direction", "behind"]);
}

// Tests_SRS_COMPLETION_PORT_01_102
#[test]
fn a_registration_can_be_dropped_inside_an_attempt() {
    let (handler, released) = Scripted::releasing();
    let port = MockPort::new();
    let registration = Arc::new(Registration::new(port.clone(), handler.clone(), any_descriptor()));
    registration.register(|| ()).unwrap();
    let (give, given) = channel::<Arc<Mocked>>();
    let drops = move || drop(received(&given, "the registration"));
    registration.add(Direction::In, op("drops").attempting_once(drops).answers([Progress::Pending])).unwrap();
    registration.add(Direction::Out, op("waits")).unwrap();
    give.send(registration).unwrap();

    on_another_thread("the end of the turn", move || port.fire(Action::In));

    assert_eq!(handler.completed(), ["drops", "waits"]);
    received(&released, "the release");
}

// Tests_SRS_COMPLETION_PORT_01_050, Tests_SRS_COMPLETION_PORT_01_102
#[test]
fn remove_inside_an_attempt_waits_for_the_callback_of_another_thread() {
    let (port, registration) = mocked();
    let (gate, stop) = Gate::new();
    let claimer = Arc::clone(&registration);
    let ended = spawn(move || claimer.try_claim(Direction::Out).expect("nobody is at work").complete(stop));
    gate.wait();
    let inside = Arc::downgrade(&registration);
    let removes = move || _ = inside.upgrade().expect("the test keeps it").remove();
    registration.add(Direction::In, op("removes").attempting_once(removes)).unwrap();

    let turn = spawn(move || port.fire(Action::In));

    stays_silent(&turn, "the end of the turn");
    gate.open();
    received(&ended, "the end of the callback");
    received(&turn, "the end of the turn");
    assert_eq!(registration.phase(), Phase::Removed);
}

/// Ends a claim after the registration was removed during it.
fn complete(registration: &Mocked, direction: Direction) {
    let claim = registration.try_claim(direction).expect("nothing is at work");
    assert!(registration.remove());
    claim.complete(|| assert_eq!(registration.phase(), Phase::Removing));
}

fn queue(registration: &Mocked, direction: Direction) {
    let claim = registration.try_claim(direction).expect("nothing is at work");
    assert!(registration.remove());
    claim.queue(op("queued")).expect("there is memory");
}

fn give_up(registration: &Mocked, direction: Direction) {
    let claim = registration.try_claim(direction).expect("nothing is at work");
    registration.remove_and_wait();
    drop(claim);
}

fn give_up_both(registration: &Mocked, direction: Direction) {
    let other = if direction == Direction::In { Direction::Out } else { Direction::In };
    let (one, two) = (
        registration.try_claim(direction).expect("nothing is at work"),
        registration.try_claim(other).expect("nothing is at work"),
    );
    assert!(registration.remove());
    drop(one);
    assert_eq!(registration.phase(), Phase::Removing);
    drop(two);
}

fn complete_inside_a_callback(registration: &Mocked, direction: Direction) {
    let other = if direction == Direction::In { Direction::Out } else { Direction::In };
    let (one, two) = (
        registration.try_claim(direction).expect("nothing is at work"),
        registration.try_claim(other).expect("nothing is at work"),
    );
    one.complete(|| {
        assert!(registration.remove());
        two.complete(|| ());
    });
}

// Tests_SRS_COMPLETION_PORT_01_102
#[rstest]
#[case::complete(complete, &[])]
#[case::queue(queue, &["queued"])]
#[case::drop(give_up, &[])]
#[case::drop_both(give_up_both, &[])]
#[case::complete_inside_a_callback(complete_inside_a_callback, &[])]
fn remove_while_the_thread_holds_a_claim_is_finished_when_that_ends(
    #[case] end: fn(&Mocked, Direction),
    #[case] completed: &'static [&'static str],
    #[values(Direction::In, Direction::Out)] direction: Direction,
) {
    let (handler, released) = Scripted::releasing();
    let registration = Registration::new(MockPort::new(), handler, any_descriptor());
    registration.register(|| ()).unwrap();

    let registration = on_another_thread("the end of the claim", move || {
        end(&registration, direction);
        registration
    });

    assert_eq!(registration.phase(), Phase::Removed);
    assert_eq!(registration.handler().completed(), completed);
    received(&released, "the release");
}

// Tests_SRS_COMPLETION_PORT_01_050
#[test]
fn what_a_handler_does_after_its_attempt_is_waited_for() {
    struct GoesOn(Mutex<Option<Box<dyn FnOnce() + Send>>>);
    impl Handler for GoesOn {
        type Descriptor = OwnedFd;
        type Operation = ();

        fn attempt(&self, (): (), action: Action, attempt: Attempt<'_, Self>) {
            if action == Action::Abandoned {
                return attempt.complete(false, None, || ());
            }
            attempt.pending(());
            self.0.lock().take().into_iter().for_each(|rest| rest());
        }
    }
    let ((gate, stop), port) = (Gate::new(), MockPort::new());
    let handler = GoesOn(Mutex::new(Some(Box::new(stop))));
    let registration = Arc::new(Registration::new(port.clone(), handler, any_descriptor()));
    registration.register(|| ()).unwrap();
    registration.add(Direction::In, ()).unwrap();
    let turn = spawn(move || port.fire(Action::In));
    gate.wait();

    let removed = spawn(move || registration.remove());

    stays_silent(&removed, "the removal");
    gate.open();
    received(&turn, "the end of the turn");
    assert!(received(&removed, "the removal"));
}

type Act = Box<dyn Fn(&Registration<Reentrant, MockPort>) + Send + Sync>;

/// A handler that uses its registration, or panics, in one of its methods.
struct Reentrant {
    own: OnceLock<Weak<Registration<Reentrant, MockPort>>>,
    place: &'static str,
    act: Mutex<Option<Act>>,
}

impl Reentrant {
    fn registered(place: &'static str, act: Act) -> (MockPort, Arc<Registration<Self, MockPort>>) {
        let (port, act) = (MockPort::new(), Mutex::new(Some(act)));
        let handler = Self { own: OnceLock::new(), place, act };
        let registration = Arc::new(Registration::new(port.clone(), handler, any_descriptor()));
        let _ = registration.handler().own.set(Arc::downgrade(&registration));
        (port, registration)
    }

    fn is_in(&self, place: &str) {
        let act = if place == self.place { self.act.lock().take() } else { None };
        if let (Some(act), Some(own)) = (act, self.own.get().and_then(Weak::upgrade)) {
            act(&own);
        }
    }
}

impl Handler for Reentrant {
    type Descriptor = OwnedFd;
    type Operation = ();

    fn prepare(&self, _: &OwnedFd) -> io::Result<()> {
        self.is_in("prepare");
        Ok(())
    }

    fn attempt(&self, (): (), _: Action, attempt: Attempt<'_, Self>) {
        attempt.complete(false, None, || ());
    }

    fn is_error(&self, _: &OwnedFd) -> bool {
        self.is_in("is_error");
        true
    }

    fn release(&self, _: OwnedFd) {
        self.is_in("release");
    }
}

// Tests_SRS_COMPLETION_PORT_01_102
#[rstest]
fn every_method_of_a_handler_may_remove(
    #[values("prepare", "is_error", "release")] place: &'static str,
    #[values(false, true)] waits: bool,
) {
    let act: Act =
        Box::new(move |registration| if waits { registration.remove_and_wait() } else { _ = registration.remove() });
    let phase = on_another_thread("the end", move || {
        let (port, registration) = Reentrant::registered(place, act);
        registration.register(|| ()).expect("the mock accepts every descriptor");
        registration.add(Direction::In, ()).expect("it is registered");
        port.fire(Action::Error);
        if place != "is_error" {
            assert!(registration.remove());
        }
        registration.phase()
    });
    assert_eq!(phase, Phase::Removed);
}

// Tests_SRS_COMPLETION_PORT_01_109
#[test]
fn a_panic_in_prepare_refuses_the_register_and_leaves_the_registration_as_it_was() {
    on_another_thread("the end", || {
        let (_port, registration) = Reentrant::registered("prepare", Box::new(|_| panic!("on purpose")));

        let refused = registration.register(|| panic!("it is not called")).expect_err("prepare panics");

        assert!(matches!(refused, RegisterError::Unusable(_)), "{refused:?}");
        assert_eq!(registration.phase(), Phase::Unregistered);
        registration.register(|| ()).expect("another try is allowed");
        assert!(registration.remove());
    });
}

// Tests_SRS_COMPLETION_PORT_01_101
#[test]
fn what_a_removal_has_not_abandoned_yet_is_completed_by_who_waits_inside_an_abandoned_callback() {
    let (_port, registration) = mocked();
    let ((give, given), handler) = (channel::<Arc<Mocked>>(), registration.handler().clone());
    let (seen, (tell, told)) = (handler.clone(), channel());
    let waits = move || {
        received(&given, "the registration").remove_and_wait();
        tell.send(seen.completed()).expect("the test listens");
    };
    registration.add(Direction::In, op("waits").then(waits)).unwrap();
    registration.add(Direction::In, op("second")).unwrap();
    registration.add(Direction::Out, op("third")).unwrap();
    give.send(Arc::clone(&registration)).unwrap();

    on_another_thread("the removal", move || registration.remove());

    assert_eq!(received(&told, "the first callback"), ["waits", "second", "third"]);
}

// Tests_SRS_COMPLETION_PORT_01_058, Tests_SRS_COMPLETION_PORT_01_101
#[test]
fn on_a_ports_thread_who_waits_helps_and_then_waits_for_the_callback_that_the_remover_is_in() {
    let ((_port, closing), (port, other)) = (mocked(), mocked());
    let (gate, stop) = Gate::new();
    closing.add(Direction::In, op("first").then(stop)).unwrap();
    let (second, helped) = op("second").told();
    closing.add(Direction::In, second).unwrap();
    let remover = Arc::clone(&closing);
    let removed = spawn(move || remover.remove());
    gate.wait();
    let waits = Arc::clone(&closing);
    other.add(Direction::In, op("waits").then(move || waits.remove_and_wait())).unwrap();

    let turn = spawn(move || port.fire(Action::In));

    received(&helped, "the second callback, on the port's thread");
    stays_silent(&turn, "the end of the turn");
    gate.open();
    received(&turn, "the end of the turn");
    assert!(received(&removed, "the removal"));
}

// Tests_SRS_COMPLETION_PORT_01_101
#[test]
fn of_two_callbacks_of_one_registration_that_both_wait_for_its_end_neither_waits_for_the_other() {
    let (port, registration) = mocked();
    let (gate, stop) = Gate::new();
    let (on_port, on_claimer) = (Arc::downgrade(&registration), Arc::clone(&registration));
    let waits = move || {
        stop();
        on_port.upgrade().expect("the test keeps it").remove_and_wait();
    };
    registration.add(Direction::In, op("waits").then(waits)).unwrap();
    let turn = spawn(move || port.fire(Action::In));
    gate.wait();
    let claimed = spawn(move || {
        on_claimer.try_claim(Direction::Out).expect("nobody is at work").complete(|| on_claimer.remove_and_wait());
    });
    common::eventually("the second callback waits", || registration.phase() == Phase::Removing);

    gate.open();

    received(&turn, "the end of the turn");
    received(&claimed, "the end of the claim");
    assert_eq!(registration.phase(), Phase::Removed);
}

// Tests_SRS_COMPLETION_PORT_01_108
#[test]
fn a_suspended_operation_is_told_of_an_error_that_was_found_while_it_waited() {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("suspended").answers([Progress::Suspended])).unwrap();
    registration.add(Direction::Out, op("other direction")).unwrap();
    // The next event says that this is over, so the direction is not ready any more.
    port.deliver(Readiness::READ_HANG_UP);
    // The attempt above is suspended until `resume`. The operation of the other direction gets the error.
    port.deliver(Readiness::ERROR);
    port.deliver(Readiness::OUT);

    registration.resumer().resume(Direction::In);
    port.run_scheduled();

    let expected = [("suspended", Action::RdHup), ("other direction", Action::Error), ("suspended", Action::Error)];
    assert_eq!(registration.handler().attempts(), expected);
    assert_eq!(registration.handler().completed(), ["other direction", "suspended"]);
}

/// Becomes no operation.
struct Panics;

impl IntoOperation<common::Operation> for Panics {
    fn store_in(self, _: &mut Option<common::Operation>) -> Result<(), Self> {
        panic!("on purpose");
    }
}

// Tests_SRS_COMPLETION_PORT_01_111
#[rstest]
fn a_panic_of_what_is_queued_leaves_the_direction_usable(#[values(false, true)] behind_another: bool) {
    let (port, registration) = mocked();
    if behind_another {
        registration.add(Direction::In, op("first")).unwrap();
    }
    let adding = std::panic::AssertUnwindSafe(|| registration.add(Direction::In, Panics).map_err(|it| it.error));

    std::panic::catch_unwind(adding).expect_err("it panics");

    assert_eq!(registration.add(Direction::In, op("last")).map(drop).map_err(|it| it.error), Ok::<(), AddError>(()));
    port.fire(Action::In);
    port.fire(Action::In);
    assert_eq!(registration.handler().completed().last(), Some(&"last"));
    assert!(on_another_thread("the removal", move || registration.remove()));
}

/// Does something while it is stored, and becomes no operation.
struct PanicsAfter<F>(F);

impl<F: FnOnce()> IntoOperation<common::Operation> for PanicsAfter<F> {
    fn store_in(self, _: &mut Option<common::Operation>) -> Result<(), Self> {
        (self.0)();
        panic!("on purpose");
    }
}

// Tests_SRS_COMPLETION_PORT_01_111
#[test]
fn what_another_thread_adds_while_what_is_queued_panics_does_not_get_stuck() {
    let (port, registration) = mocked();
    let other = Arc::clone(&registration);
    let adds = || {
        on_another_thread("the other add", move || {
            other.add(Direction::In, op("other")).map(drop).expect("registered");
        });
    };
    let adding =
        std::panic::AssertUnwindSafe(|| registration.add(Direction::In, PanicsAfter(adds)).map_err(|it| it.error));

    std::panic::catch_unwind(adding).expect_err("it panics");

    port.fire(Action::In);
    assert_eq!(registration.handler().completed(), ["other"]);
}
