//! `Registration::remove` and drop wait for running callbacks and abandon waiting operations. Nothing comes afterwards.

use crate::common::{Attempted, Completed, DONE, Gate, Mocked, Progress, Scripted, mocked, op, pair, real, real_port};
use crate::common::{eventually, on_another_thread, received, round_trip, settled, spawn, stays_silent};
use completion_port::memory::TryArc;
use completion_port::{
    Action, ClaimError, CompletionPort, Direction, Dispatch, Phase, Port, Readiness, Registration, Source,
};
use parking_lot::Mutex;
use rstest::rstest;
use std::collections::HashSet;
use std::io::{Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Weak};
use std::thread;
use test_doubles::{MockPort, PortCall, PortSyscall, ScriptedPort, any_descriptor};

/// On another thread, starts work of the registration that stops in a gate.
type Start = fn(&MockPort, &Arc<Mocked>) -> (Gate, Receiver<()>);

fn attempt(port: &MockPort, registration: &Arc<Mocked>) -> (Gate, Receiver<()>) {
    let ((gate, stop), port) = (Gate::new(), port.clone());
    registration.add(Direction::Out, op("runs").attempting_once(stop)).expect("it is registered");
    (gate, spawn(move || port.fire(Action::Out)))
}

fn callback(port: &MockPort, registration: &Arc<Mocked>) -> (Gate, Receiver<()>) {
    let ((gate, stop), port) = (Gate::new(), port.clone());
    registration.add(Direction::Out, op("runs").then(stop)).expect("it is registered");
    (gate, spawn(move || port.fire(Action::Out)))
}

fn claims_callback(_: &MockPort, registration: &Arc<Mocked>) -> (Gate, Receiver<()>) {
    let ((gate, stop), registration) = (Gate::new(), Arc::clone(registration));
    (gate, spawn(move || registration.try_claim(Direction::Out).expect("it is idle").complete(stop)))
}

/// The callback of a claim of the receiving direction. Several can run at once.
fn another_callback(_: &MockPort, registration: &Arc<Mocked>) -> (Gate, Receiver<()>) {
    let ((gate, stop), registration) = (Gate::new(), Arc::clone(registration));
    let callback = move || {
        let claim = loop {
            if let Ok(claim) = registration.try_claim(Direction::In) {
                break claim;
            }
            thread::yield_now();
        };
        claim.complete(stop);
    };
    (gate, spawn(callback))
}

fn claim(_: &MockPort, registration: &Arc<Mocked>) -> (Gate, Receiver<()>) {
    let ((gate, stop), registration) = (Gate::new(), Arc::clone(registration));
    let hold = move || {
        let claim = registration.try_claim(Direction::Out).expect("it is idle");
        stop();
        drop(claim);
    };
    (gate, spawn(hold))
}

// Tests_SRS_COMPLETION_PORT_01_050
#[rstest]
#[case::attempt(attempt)]
#[case::callback(callback)]
#[case::claims_callback(claims_callback)]
#[case::another_callback(another_callback)]
#[case::claim(claim)]
fn remove_waits_for_what_runs_on_another_thread(#[case] start: Start) {
    let (port, registration) = mocked();
    let (gate, ended) = start(&port, &registration);
    gate.wait();
    let other = Arc::clone(&registration);

    let removed = spawn(move || other.remove());

    stays_silent(&removed, "the removal");
    gate.open();
    assert!(received(&removed, "the removal after that"));
    received(&ended, "its end");
}

// Tests_SRS_COMPLETION_PORT_01_050
#[test]
fn remove_waits_for_all_of_several_callbacks() {
    let (port, registration) = mocked();
    let starts: [Start; 3] = [callback, another_callback, another_callback];
    let started = starts.map(|start| start(&port, &registration));
    started.iter().for_each(|(gate, _)| gate.wait());
    let other = Arc::clone(&registration);
    let removed = spawn(move || other.remove());

    for (gate, ended) in &started {
        stays_silent(&removed, "the removal");
        gate.open();
        received(ended, "the end of a callback");
    }

    assert!(received(&removed, "the removal"));
}

// Tests_SRS_COMPLETION_PORT_01_050
#[test]
fn while_remove_waits_nothing_new_begins() {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("waits")).unwrap();
    let (gate, ended) = claims_callback(&port, &registration);
    gate.wait();
    let other = Arc::clone(&registration);
    let removed = spawn(move || other.remove());
    crate::common::eventually("the removal has begun", || registration.try_claim(Direction::Out).is_err());

    assert!(matches!(port.calls().last(), Some(PortCall::Detach(_))), "nothing is reported any more");
    registration.add(Direction::In, op("late")).expect_err("it is being removed");
    assert_eq!(registration.try_claim(Direction::In).err(), Some(ClaimError::NotRegistered));
    assert!(registration.handler().seen().is_empty());

    gate.open();
    assert!(received(&removed, "the removal"));
    received(&ended, "the end of the callback");
    assert_eq!(registration.handler().seen(), [Attempted("waits", Action::Abandoned), Completed("waits")]);
}

// Tests_SRS_COMPLETION_PORT_01_050, Tests_SRS_COMPLETION_PORT_01_052
#[rstest]
#[case::pending(Progress::Pending)]
#[case::partial(Progress::Partial)]
fn an_attempt_that_runs_when_remove_begins_is_abandoned_if_unfinished(#[case] answer: Progress) {
    let (port, registration) = mocked();
    let (gate, stop) = Gate::new();
    let operation = op("unfinished").attempting_once(stop).answers([answer, DONE]);
    registration.add(Direction::In, operation).unwrap();
    registration.add(Direction::In, op("behind")).unwrap();
    let ended = spawn(move || port.fire(Action::In));
    gate.wait();
    let other = Arc::clone(&registration);
    let removed = spawn(move || _ = other.remove());
    crate::common::eventually("the removal has begun", || registration.try_claim(Direction::Out).is_err());

    gate.open();

    received(&removed, "the removal");
    received(&ended, "the end of the attempt");
    let actions = [("unfinished", Action::In), ("unfinished", Action::Abandoned), ("behind", Action::Abandoned)];
    assert_eq!(registration.handler().attempts(), actions);
    assert_eq!(registration.handler().completed(), ["unfinished", "behind"]);
}

// Tests_SRS_COMPLETION_PORT_01_051
#[test]
fn remove_inside_the_ports_callback_does_not_wait_for_it() {
    let (port, registration) = mocked();
    let weak = Arc::downgrade(&registration);
    let (tell, told) = channel();
    let callback = move || tell.send(weak.upgrade().is_some_and(|it| it.remove())).expect("the test listens");
    registration.add(Direction::In, op("removes").then(callback)).unwrap();
    registration.add(Direction::In, op("waits")).unwrap();

    on_another_thread("the end of the turn", move || port.fire(Action::In));

    assert!(received(&told, "the removal"));
    assert_eq!(registration.handler().completed(), ["removes", "waits"]);
    assert_eq!(registration.handler().attempts()[1], ("waits", Action::Abandoned));
}

// Tests_SRS_COMPLETION_PORT_01_051
#[test]
fn remove_inside_a_claims_callback_does_not_wait_for_it() {
    let (_port, registration) = mocked();
    let removed = on_another_thread("the end of the callback", move || {
        let mut removed = false;
        registration.try_claim(Direction::Out).unwrap().complete(|| removed = registration.remove());
        removed
    });
    assert!(removed);
}

// Tests_SRS_COMPLETION_PORT_01_051
#[test]
fn remove_inside_callbacks_inside_each_other_waits_for_none_of_them() {
    let removed = on_another_thread("the end of all callbacks", || {
        let registration = Registration::new(MockPort::new(), Scripted::default(), any_descriptor());
        let mut removed = false;
        let inner = || registration.try_claim(Direction::Out).unwrap().complete(|| removed = registration.remove());
        registration.register(inner).unwrap();
        removed
    });
    assert!(removed);
}

// Tests_SRS_COMPLETION_PORT_01_050, Tests_SRS_COMPLETION_PORT_01_051
#[test]
fn remove_inside_one_callback_still_waits_for_another_threads() {
    let (port, registration) = mocked();
    let (gate, ended) = callback(&port, &registration);
    gate.wait();
    let other = Arc::clone(&registration);

    let removed = spawn(move || {
        let mut removed = false;
        other.try_claim(Direction::In).expect("it is idle").complete(|| removed = other.remove());
        removed
    });

    stays_silent(&removed, "the removal");
    gate.open();
    assert!(received(&removed, "the removal after that"));
    received(&ended, "the end of the other callback");
}

// Tests_SRS_COMPLETION_PORT_01_052
#[test]
fn everything_that_waits_is_abandoned_in_the_order_it_was_added() {
    let (_port, registration) = mocked();
    let claim = registration.try_claim(Direction::In).unwrap();
    for (direction, name) in [(Direction::Out, "2"), (Direction::In, "3"), (Direction::Out, "4"), (Direction::In, "5")]
    {
        registration.add(direction, op(name)).unwrap();
    }
    claim.queue(op("1")).unwrap();

    assert!(registration.remove());

    let order = ["1", "2", "3", "4", "5"];
    assert_eq!(registration.handler().attempts(), order.map(|name| (name, Action::Abandoned)));
    assert_eq!(registration.handler().completed(), order);
    assert_eq!((registration.queued(Direction::In), registration.queued(Direction::Out)), (0, 0));
}

// Tests_SRS_COMPLETION_PORT_01_052
#[rstest]
#[case::pending(Progress::Pending)]
#[case::partial(Progress::Partial)]
fn an_abandoned_operation_completes_whatever_its_attempt_says(#[case] answer: Progress) {
    let (_port, registration) = mocked();
    registration.add(Direction::In, op("a").answers([answer])).unwrap();

    assert!(registration.remove());

    assert_eq!(registration.handler().seen(), [Attempted("a", Action::Abandoned), Completed("a")]);
}

// Tests_SRS_COMPLETION_PORT_01_052
#[test]
fn an_abandoned_callback_may_use_the_registration() {
    let (_port, registration) = mocked();
    let (strong, (tell, told)) = (Arc::clone(&registration), channel());
    let callback = move || {
        let refused = strong.add(Direction::In, op("again")).is_err();
        tell.send((refused, !strong.remove())).expect("the test listens");
    };
    registration.add(Direction::In, op("a").then(callback)).unwrap();

    on_another_thread("the removal", move || _ = registration.remove());

    assert_eq!(received(&told, "the callback"), (true, true));
}

// Tests_SRS_COMPLETION_PORT_01_053
#[test]
fn the_descriptor_is_deleted_before_its_operations_are_abandoned() {
    let (port, descriptor) = (MockPort::new(), any_descriptor());
    let number = descriptor.as_raw_fd();
    let registration = Registration::new(port.clone(), Scripted::default(), descriptor);
    registration.register(|| ()).unwrap();
    let (seen, (tell, told)) = (port.clone(), channel());
    let callback = move || tell.send(seen.calls()).expect("the test listens");
    registration.add(Direction::In, op("a").then(callback)).unwrap();

    assert!(registration.remove());

    let calls = [PortCall::Attach(number), PortCall::Detach(number)];
    assert_eq!(received(&told, "the callback"), calls);
    assert_eq!(port.calls(), calls);
}

// Tests_SRS_COMPLETION_PORT_01_053
#[test]
fn removal_is_one_epoll_ctl_and_the_kernel_forgets_the_descriptor() {
    let (calls, port) = real_port();
    let ((own, mut peer), (handler, released)) = (pair(), Scripted::releasing());
    let registration = Registration::new(port.clone(), handler, own);
    registration.register(|| ()).unwrap();

    assert!(registration.remove());

    let descriptor = received(&released, "the release");

    assert_eq!(calls.made(PortSyscall::EpollDelete), 1);
    let waits = settled(&calls);
    peer.write_all(b"x").unwrap();
    assert_eq!(settled(&calls), waits, "no event wakes the thread");
    drop(descriptor);
}

// Tests_SRS_COMPLETION_PORT_01_053
#[test]
fn an_event_that_is_under_way_reaches_neither_the_removed_nor_its_successor() {
    let (calls, port) = real_port();
    let next = settled(&calls);
    let (gate, stop) = Gate::new();
    calls.after(PortSyscall::EpollWait, next, stop);
    let (own, mut peer) = pair();
    peer.write_all(b"x").unwrap();
    let removed = Registration::new(port.clone(), Scripted::default(), own);
    removed.register(|| ()).unwrap();
    gate.wait(); // The thread holds an event with IN and OUT, and has not looked yet for whom it is.

    assert!(removed.remove());
    let (reader, _writer) = std::io::pipe().unwrap(); // never ready by itself
    let successor = Registration::new(port.clone(), Scripted::default(), OwnedFd::from(reader));
    successor.register(|| ()).unwrap();
    successor.add(Direction::In, op("in")).unwrap();
    successor.add(Direction::Out, op("out")).unwrap();
    gate.open();
    round_trip(&port);

    assert!(successor.handler().seen().is_empty(), "{:?}", successor.handler().seen());
    assert!(removed.handler().seen().is_empty());
}

// Tests_SRS_COMPLETION_PORT_01_053
#[test]
fn what_was_removed_in_the_same_round_has_no_turn_any_more() {
    let (calls, port) = real_port();
    let ((one, _one_peer), (two, _two_peer)) = (real(&port), real(&port));
    settled(&calls);
    // Each callback removes the other registration. The first one in the round wins.
    let (blocked, _occupied) = crate::common::occupy(&port);
    for (own, other) in [(&one, &two), (&two, &one)] {
        let other = Arc::clone(other);
        own.add(Direction::Out, op("removes").then(move || _ = other.remove())).unwrap();
    }

    blocked.open();
    round_trip(&port);

    let attempts = [one.handler().attempts(), two.handler().attempts()].concat();
    assert_eq!(attempts, [("removes", Action::Out), ("removes", Action::Abandoned)]);
}

// Tests_SRS_COMPLETION_PORT_01_054
#[test]
fn remove_releases_the_descriptor_last_and_it_works() {
    let (_calls, port) = real_port();
    let ((own, mut peer), (handler, released)) = (pair(), Scripted::releasing());
    let number = own.as_raw_fd();
    let registration = Registration::new(port, handler, own);
    registration.register(|| ()).unwrap();
    let (tell, told) = channel();
    let callback = move || tell.send(released.try_recv().is_err().then_some(released)).expect("the test listens");
    registration.add(Direction::In, op("waits").then(callback)).unwrap();

    assert!(registration.remove());

    let released = received(&told, "the callback").expect("not released before the callback");
    let descriptor = received(&released, "the release");
    assert_eq!(descriptor.as_raw_fd(), number);
    peer.write_all(b"hello").unwrap();
    let mut bytes = [0; 5];
    std::os::unix::net::UnixStream::from(descriptor).read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

// Tests_SRS_COMPLETION_PORT_01_055
#[test]
fn dropping_a_registration_removes_it_and_closes_the_descriptor() {
    let (port, (own, mut peer)) = (MockPort::new(), pair());
    let (handler, number) = (Scripted::default(), own.as_raw_fd());
    let registration = Registration::new(port.clone(), handler.clone(), own);
    registration.register(|| ()).unwrap();
    registration.add(Direction::In, op("waits")).unwrap();

    drop(registration);

    assert_eq!(port.calls(), [PortCall::Attach(number), PortCall::Detach(number)]);
    assert_eq!(handler.seen(), [Attempted("waits", Action::Abandoned), Completed("waits")]);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "the other end sees the end of the stream");
    assert_eq!(port.references(), 1, "the registration's reference is gone");
}

// Tests_SRS_COMPLETION_PORT_01_055
#[test]
fn dropping_a_registration_that_was_never_registered_releases_the_descriptor() {
    let ((own, _peer), (handler, released)) = (pair(), Scripted::releasing());
    let number = own.as_raw_fd();

    drop(Registration::new(MockPort::new(), handler, own));

    assert_eq!(received(&released, "the release").as_raw_fd(), number);
}

// Tests_SRS_COMPLETION_PORT_01_051, Tests_SRS_COMPLETION_PORT_01_055
#[test]
fn a_registration_can_be_dropped_inside_its_own_callback() {
    let (port, registration) = mocked();
    let handler = registration.handler().clone();
    let (give, given) = channel::<Arc<Mocked>>();
    registration.add(Direction::In, op("drops").then(move || drop(received(&given, "the registration")))).unwrap();
    registration.add(Direction::In, op("waits")).unwrap();
    give.send(registration).unwrap();

    let turn = port.clone();
    on_another_thread("the end of the turn", move || turn.fire(Action::In));

    assert_eq!(handler.completed(), ["drops", "waits"]);
    assert!(matches!(port.calls().last(), Some(PortCall::Detach(_))));
}

// Tests_SRS_COMPLETION_PORT_01_056
#[test]
fn removing_what_is_not_registered_does_nothing() {
    let port = MockPort::new();
    let registration = Registration::new(port.clone(), Scripted::default(), any_descriptor());
    assert!(!registration.remove(), "never registered");

    port.fail_next_attach(1);
    registration.register(|| ()).unwrap_err();
    assert!(!registration.remove(), "not registered successfully");

    registration.register(|| ()).expect("not used up by that");
    assert!(registration.remove());
    assert!(!registration.remove(), "removed already");
    let detached = port.calls().iter().filter(|call| matches!(call, PortCall::Detach(_))).count();
    assert_eq!(detached, 1);
}

// Tests_SRS_COMPLETION_PORT_01_056
#[test]
fn a_second_remove_does_not_wait_for_the_first() {
    let (port, registration) = mocked();
    let (gate, ended) = another_callback(&port, &registration);
    gate.wait();
    let first = Arc::clone(&registration);
    let first = spawn(move || first.remove());
    crate::common::eventually("the first has begun", || registration.try_claim(Direction::Out).is_err());

    let second = Arc::clone(&registration);
    assert!(on_another_thread("the second", move || !second.remove()));

    gate.open();
    assert!(received(&first, "the first"));
    received(&ended, "the end of the callback");
}

// Tests_SRS_COMPLETION_PORT_01_052
#[test]
fn remembered_readiness_does_not_change_that_the_rest_is_abandoned() {
    let (port, registration) = mocked();
    port.deliver(Readiness::IN | Readiness::OUT | Readiness::HANG_UP);
    registration.add(Direction::In, op("a")).unwrap();

    assert!(registration.remove());
    port.run_scheduled(); // the turn that `add` had asked for

    assert_eq!(registration.handler().seen(), [Attempted("a", Action::Abandoned), Completed("a")]);
}

// Tests_SRS_COMPLETION_PORT_01_050
#[test]
fn remove_waits_for_a_claims_callback_that_is_about_to_begin() {
    let (gate, stop) = Gate::new();
    let (port, registration) = mocked();
    port.fire(Action::Out);
    port.before_next_schedule(stop);
    let claimer = Arc::clone(&registration);
    let ended = spawn(move || {
        let claim = claimer.try_claim(Direction::Out).expect("it is idle");
        // Makes the end of the claim schedule the registration, and stop there.
        claimer.add(Direction::Out, op("behind")).expect("it is registered");
        let mut called = false;
        claim.complete(|| called = true);
        called
    });
    gate.wait();

    let removed = spawn(move || registration.remove());

    stays_silent(&removed, "the removal");
    gate.open();
    assert!(received(&ended, "the callback"));
    assert!(received(&removed, "the removal after that"));
}

/// Does nothing, and is seen to be dropped.
struct Idle(#[expect(dead_code, reason = "only its drop matters")] Arc<()>);

impl Source for Idle {
    fn on_ready(&self, _: Readiness) -> Dispatch {
        Dispatch::Idle
    }

    fn queued(&self, _: Direction) -> usize {
        0
    }
}

/// Attaches sources to a descriptor that has no events and detaches them. The `Weak` counts the sources that are left.
fn attached_and_detached(port: &CompletionPort<ScriptedPort>, count: usize) -> Weak<()> {
    let (silent, _writer) = pipe().expect("a pipe is made");
    let alive = Arc::new(());
    for _ in 0..count {
        let idle = TryArc::new(Idle(Arc::clone(&alive)));
        let token = port.attach(silent.as_fd(), idle.into()).expect("a pipe can be watched");
        port.detach(silent.as_fd(), token);
    }
    Arc::downgrade(&alive)
}

// Tests_SRS_COMPLETION_PORT_01_057
#[test]
fn what_was_removed_is_dropped_when_the_thread_next_runs() {
    let (_, port) = real_port();
    let alive = attached_and_detached(&port, 1);
    round_trip(&port);
    assert_eq!(alive.strong_count(), 0);
}

// Tests_SRS_COMPLETION_PORT_01_057
#[test]
fn a_thread_that_sleeps_is_woken_to_drop_what_sixty_four_removals_have_left() {
    let (calls, port) = real_port();
    settled(&calls);
    let alive = attached_and_detached(&port, 64);
    // The thread drops at least the sources that it was woken for.
    eventually("the thread runs", || alive.strong_count() < 64);
}

/// Runs something in its first turn.
struct Runs(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Source for Runs {
    fn on_ready(&self, _: Readiness) -> Dispatch {
        let first = self.0.lock().take();
        first.into_iter().for_each(|first| first());
        Dispatch::Idle
    }

    fn queued(&self, _: Direction) -> usize {
        0
    }
}

// Tests_SRS_COMPLETION_PORT_01_057
#[test]
fn what_is_removed_on_the_ports_thread_is_dropped_before_that_sleeps() {
    let (calls, port) = real_port();
    settled(&calls);
    let ((tell, told), inside) = (channel(), port.clone());
    let remove = move || tell.send(attached_and_detached(&inside, 1)).expect("the test listens");

    let (pipe, _writer) = pipe().expect("a pipe is made");
    let runs = TryArc::new(Runs(Mutex::new(Some(Box::new(remove)))));
    port.schedule(port.attach(pipe.as_fd(), runs.into()).expect("a pipe can be watched"));

    let alive = received(&told, "the turn");
    eventually("it is dropped", || alive.strong_count() == 0);
}

// Tests_SRS_COMPLETION_PORT_01_057
#[test]
fn a_thread_that_sleeps_is_not_woken_for_one_removal() {
    let (calls, port) = real_port();
    settled(&calls);
    let alive = attached_and_detached(&port, 1);
    // The thread has never seen it, so it is not needed for the drop either.
    assert_eq!((calls.made(PortSyscall::Wake), alive.strong_count()), (0, 0));
}

// Tests_SRS_COMPLETION_PORT_01_053
#[test]
fn a_source_that_is_forgotten_twice_takes_nobody_elses_place() {
    let (_, port) = real_port();
    let (silent, _writer) = pipe().expect("a pipe is made");
    let token = port.attach(silent.as_fd(), TryArc::new(Idle(Arc::default())).into()).expect("a pipe can be watched");
    port.detach(silent.as_fd(), token);
    port.forget(token);
    round_trip(&port);
    port.forget(token);
    round_trip(&port);
    // More registrations than there are free indices.
    let three = [(); 3].map(|()| real(&port));
    for (registration, mut peer) in three {
        let (operation, told) = op("reads").told();
        registration.add(Direction::In, operation).expect("the registration accepts operations");
        peer.write_all(b"x").expect("the socket has room");
        received(&told, "the read");
    }
}

#[test]
fn remove_and_wait_waits_for_the_removal_on_another_thread() {
    let (port, registration) = mocked();
    let (gate, ended) = callback(&port, &registration);
    gate.wait();
    let removing = Arc::clone(&registration);
    let removed = spawn(move || removing.remove());
    eventually("the removal begins", || registration.phase() == Phase::Removing);

    let waiting = Arc::clone(&registration);
    let settled = spawn(move || {
        waiting.remove_and_wait();
        waiting.phase()
    });

    stays_silent(&settled, "who waits");
    gate.open();
    received(&ended, "the callback");
    assert!(received(&removed, "the removal"));
    assert_eq!(received(&settled, "who waits, after that"), Phase::Removed);
}

/// Removes the registration inside a callback, which then stops in the gate.
fn removed_inside(port: &MockPort, registration: &Arc<Mocked>) -> (Gate, Receiver<()>) {
    let ((gate, stop), port) = (Gate::new(), port.clone());
    let inside = Arc::clone(registration);
    let callback = move || {
        assert!(inside.remove());
        drop(inside);
        stop();
    };
    registration.add(Direction::Out, op("removes").then(callback)).expect("it is registered");
    (gate, spawn(move || port.fire(Action::Out)))
}

// Tests_SRS_COMPLETION_PORT_01_051, Tests_SRS_COMPLETION_PORT_01_058
#[rstest]
#[case::remove_and_wait(|registration: Arc<Mocked>| registration.remove_and_wait())]
#[case::drop(|registration| drop(registration))]
fn a_callback_from_inside_which_was_removed_is_waited_for(#[case] wait: fn(Arc<Mocked>)) {
    let (port, registration) = mocked();
    let (gate, ended) = removed_inside(&port, &registration);
    gate.wait();
    assert_eq!(registration.phase(), Phase::Removed);

    let waited = spawn(move || wait(registration));

    stays_silent(&waited, "who waits");
    gate.open();
    received(&ended, "the callback");
    received(&waited, "who waits, after that");
}

// Tests_SRS_COMPLETION_PORT_01_051, Tests_SRS_COMPLETION_PORT_01_101
#[test]
fn inside_a_callback_that_a_removal_waits_for_remove_and_wait_does_what_the_removal_would() {
    let (_port, registration) = mocked();
    let claimed = Arc::clone(&registration);
    let callback = move || {
        let removing = Arc::clone(&claimed);
        let removed = spawn(move || removing.remove());
        eventually("the removal begins", || claimed.phase() == Phase::Removing);
        claimed.remove_and_wait();
        (removed, claimed.phase())
    };

    let (removed, phase) = on_another_thread("the callback", move || {
        let (tell, told) = channel();
        let claim = registration.try_claim(Direction::Out).expect("nobody is at work");
        claim.complete(move || tell.send(callback()).expect("the test listens"));
        received(&told, "what the callback saw")
    });

    assert_eq!(phase, Phase::Removed);
    assert!(received(&removed, "the removal"));
}

// Tests_SRS_COMPLETION_PORT_01_053
#[test]
fn no_two_sources_that_have_an_index_after_each_other_have_one_token() {
    let (_, port) = real_port();
    let (silent, _writer) = pipe().expect("a pipe is made");
    let (registration, _peer) = real(&port);
    round_trip(&port);
    let mut names = Vec::new();
    for _ in 0..16 {
        let token =
            port.attach(silent.as_fd(), TryArc::new(Idle(Arc::default())).into()).expect("a pipe can be watched");
        port.detach(silent.as_fd(), token);
        // The thread runs and applies the removal, so the index is free.
        let (operation, told) = op("runs").told();
        registration.add(Direction::Out, operation).expect("the registration accepts operations");
        received(&told, "the operation");
        assert!(!names.contains(&token), "{token:?} of {names:?}");
        names.push(token);
    }
    let indices: HashSet<u64> = names.iter().map(|token| token.0 >> 32).collect();
    assert!(indices.len() < names.len(), "no index was used again: {names:?}");
}
