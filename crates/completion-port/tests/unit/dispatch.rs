//! Which operation gets which action, and when. The mock port fires the events by hand.

use crate::common::{
    Attempted, Completed, DRAINED, Gate, Operation, Progress, Scripted, Seen, mocked, op, received, spawn,
};
use completion_port::{Action, Attempt, Direction, Handler, Readiness, Registration};
use parking_lot::Mutex;
use rstest::rstest;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use test_doubles::{MockPort, PortCall, any_descriptor};

const NOTHING: [Seen; 0] = [];

/// Two operations for each direction, added alternately.
fn add_two_each(add: impl Fn(Direction, Operation)) {
    add(Direction::Out, op("out 1"));
    add(Direction::In, op("in 1"));
    add(Direction::Out, op("out 2"));
    add(Direction::In, op("in 2"));
}

// Tests_SRS_COMPLETION_PORT_01_030
#[rstest]
#[case::receiving(Direction::In, Action::In)]
#[case::sending(Direction::Out, Action::Out)]
#[case::half_close(Direction::In, Action::RdHup)]
#[case::false_alarm(Direction::In, Action::Error)]
fn an_operation_that_finds_nothing_stays_in_front_until_the_next_event(
    #[case] direction: Direction,
    #[case] action: Action,
) {
    let (port, registration) = mocked();
    registration.add(direction, op("first").answers([Progress::Pending])).unwrap();
    registration.add(direction, op("second")).unwrap();

    port.fire(action);

    assert_eq!(registration.handler().seen(), [Attempted("first", action)]);
    assert_eq!(port.run_scheduled(), 0, "nothing happens without an event");
    assert_eq!(registration.queued(direction), 2);

    port.fire(action);
    assert_eq!(registration.handler().completed(), ["first", "second"]);
}

// Tests_SRS_COMPLETION_PORT_01_030
#[rstest]
#[case::hang_up(Readiness::HANG_UP)]
#[case::hang_up_and_error(Readiness::HANG_UP | Readiness::ERROR)]
fn pending_after_a_hang_up_waits_for_the_next_event(#[case] events: Readiness) {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("a").answers([Progress::Pending; 100])).unwrap();

    port.deliver(events);

    let attempts = registration.handler().attempts();
    assert!((1..=2).contains(&attempts.len()), "one for each condition at most: {attempts:?}");
    assert!(attempts.iter().all(|attempt| *attempt == ("a", Action::Error)));
    assert_eq!(port.run_scheduled(), 0);
}

// Tests_SRS_COMPLETION_PORT_01_030
#[rstest]
#[case::hang_up(Readiness::HANG_UP)]
#[case::error(Readiness::ERROR)]
#[case::half_close(Readiness::READ_HANG_UP)]
fn what_a_newer_event_does_not_report_any_more_is_over(#[case] was: Readiness) {
    // For instance a FIFO that the next writer has opened, or an error queue that another reader has emptied.
    let (port, registration) = mocked();
    port.deliver(was);
    port.deliver(Readiness::IN);
    registration.add(Direction::In, op("a").answers([Progress::Pending; 5])).unwrap();

    port.run_scheduled();

    assert_eq!(registration.handler().attempts(), [("a", Action::In)]);
}

// Tests_SRS_COMPLETION_PORT_01_030
#[test]
fn one_directions_eagain_says_nothing_about_the_other() {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("in").answers([Progress::Pending])).unwrap();
    registration.add(Direction::Out, op("out")).unwrap();

    port.deliver(Readiness::IN | Readiness::OUT);

    assert_eq!(registration.handler().completed(), ["out"]);
    registration.add(Direction::Out, op("still writable")).unwrap();
    port.run_scheduled();
    assert_eq!(registration.handler().completed(), ["out", "still writable"]);
}

// Tests_SRS_COMPLETION_PORT_01_031
#[rstest]
#[case::readable_hang_up(Readiness::IN | Readiness::HANG_UP)]
#[case::readable_error(Readiness::IN | Readiness::ERROR)]
#[case::writable_hang_up(Readiness::OUT | Readiness::HANG_UP)]
#[case::writable_error(Readiness::OUT | Readiness::ERROR)]
#[case::reset(Readiness::IN | Readiness::OUT | Readiness::ERROR | Readiness::HANG_UP | Readiness::READ_HANG_UP)]
fn what_can_be_read_or_written_comes_before_hang_up_and_error(#[case] events: Readiness) {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("in")).unwrap();
    registration.add(Direction::Out, op("out")).unwrap();

    port.deliver(events);

    assert_eq!(registration.handler().attempts(), [("in", Action::In), ("out", Action::Out)]);
}

// Tests_SRS_COMPLETION_PORT_01_031, Tests_SRS_COMPLETION_PORT_01_032, Tests_SRS_COMPLETION_PORT_01_033
#[rstest]
#[case::readable(Readiness::IN | Readiness::READ_HANG_UP | Readiness::URGENT, &[("in 1", Action::In), ("in 2", Action::In)])]
#[case::writable(Readiness::OUT | Readiness::URGENT, &[("out 1", Action::Out), ("out 2", Action::Out)])]
#[case::neither(Readiness::URGENT, &[])]
fn what_is_not_reported_is_told_to_nobody(
    #[case] events: Readiness,
    #[case] expected: &'static [(&'static str, Action)],
) {
    let (port, registration) = mocked();
    add_two_each(|direction, operation| _ = registration.add(direction, operation).unwrap());

    port.deliver(events);

    assert_eq!(registration.handler().attempts(), expected);
}

// Tests_SRS_COMPLETION_PORT_01_031
#[test]
fn both_directions_of_one_event_are_served_oldest_first() {
    let (port, registration) = mocked();
    add_two_each(|direction, operation| _ = registration.add(direction, operation).unwrap());

    port.deliver(Readiness::IN | Readiness::OUT);

    assert_eq!(registration.handler().completed(), ["out 1", "in 1", "out 2", "in 2"]);
}

// Tests_SRS_COMPLETION_PORT_01_031
#[test]
fn a_hang_up_alone_after_readable_is_reported_when_all_is_read() {
    let (port, registration) = mocked();
    port.fire(Action::In); // unread when the hang-up comes
    port.deliver(Readiness::HANG_UP);

    registration.add(Direction::In, op("bytes")).unwrap();
    registration.add(Direction::In, op("end").answers([Progress::Pending])).unwrap();
    port.run_scheduled();

    let expected = [("bytes", Action::In), ("end", Action::In), ("end", Action::Error)];
    assert_eq!(registration.handler().attempts(), expected);
}

// Tests_SRS_COMPLETION_PORT_01_032
#[rstest]
#[case::hang_up(Readiness::HANG_UP)]
#[case::error(Readiness::ERROR)]
#[case::both(Readiness::HANG_UP | Readiness::ERROR)]
fn a_hang_up_or_error_alone_reaches_everyone_in_one_order(#[case] events: Readiness) {
    let (port, registration) = mocked();
    add_two_each(|direction, operation| _ = registration.add(direction, operation).unwrap());

    port.deliver(events);

    let expected = ["out 1", "in 1", "out 2", "in 2"].map(|name| (name, Action::Error));
    assert_eq!(registration.handler().attempts(), expected);
    assert_eq!(registration.handler().completed(), expected.map(|(name, _)| name));
}

// Tests_SRS_COMPLETION_PORT_01_030, Tests_SRS_COMPLETION_PORT_01_032
#[test]
fn an_error_event_about_no_error_is_asked_about_once_and_told_to_nobody() {
    let (port, (handler, asked)) = (MockPort::new(), Scripted::with_false_alarms());
    let registration = Registration::new(port.clone(), handler, any_descriptor());
    registration.register(|| ()).unwrap();
    add_two_each(|direction, operation| _ = registration.add(direction, operation).unwrap());

    port.fire(Action::Error);

    assert_eq!(registration.handler().seen(), NOTHING);
    assert_eq!((asked.load(Ordering::Relaxed), port.run_scheduled()), (1, 0));
    port.fire(Action::In);
    assert_eq!(registration.handler().completed(), ["in 1", "in 2"]);
}

// Tests_SRS_COMPLETION_PORT_01_032
#[test]
fn a_handler_that_does_not_look_has_every_error_event_told() {
    struct DoesNotLook;
    impl Handler for DoesNotLook {
        type Descriptor = OwnedFd;
        type Operation = Sender<Action>;

        fn attempt(&self, operation: Sender<Action>, action: Action, attempt: Attempt<'_, Self>) {
            attempt.complete(false, None, || operation.send(action).unwrap_or_default());
        }
    }
    let (port, (tell, told)) = (MockPort::new(), channel());
    let registration = Registration::new(port.clone(), DoesNotLook, any_descriptor());
    registration.register(|| ()).unwrap();
    registration.add(Direction::In, tell).unwrap();

    port.fire(Action::Error);

    assert_eq!(told.try_recv(), Ok(Action::Error));
}

// Tests_SRS_COMPLETION_PORT_01_032
#[test]
fn an_error_is_told_to_who_waited_although_the_first_callback_adds_more() {
    let (port, registration) = mocked();
    let weak = Arc::downgrade(&registration);
    let adds =
        move || _ = weak.upgrade().unwrap().add(Direction::Out, op("added").answers([Progress::Pending])).unwrap();
    registration.add(Direction::Out, op("first").then(adds)).unwrap();
    registration.add(Direction::In, op("second")).unwrap();

    port.fire(Action::Error);

    assert_eq!(registration.handler().attempts()[..2], [("first", Action::Error), ("second", Action::Error)]);
}

// Tests_SRS_COMPLETION_PORT_01_032
#[test]
fn an_error_that_is_over_between_two_turns_is_told_to_who_waited_still() {
    let (port, registration) = mocked();
    for _ in 0..1000 {
        registration.add(Direction::In, op("waited")).unwrap();
    }
    port.deliver(Readiness::ERROR);
    assert!(registration.handler().attempts().len() < 1000, "one turn is too short for all");

    port.deliver(Readiness::OUT);
    while port.run_scheduled() > 0 {}

    assert_eq!(registration.handler().attempts(), [("waited", Action::Error); 1000]);
}

#[test]
fn after_an_error_that_is_told_and_over_nobody_asks_for_a_turn_that_is_of_no_use() {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("waited")).unwrap();
    port.deliver(Readiness::ERROR);
    port.deliver(Readiness::OUT);

    registration.add(Direction::In, op("later")).unwrap();

    assert_eq!((port.run_scheduled(), registration.handler().completed()), (0, vec!["waited"]));
}

// Tests_SRS_COMPLETION_PORT_01_032
#[test]
fn what_a_claim_leaves_that_began_after_an_error_was_found_is_asked_about_anew() {
    let (port, (handler, asked)) = (MockPort::new(), Scripted::counting_errors());
    let registration = Registration::new(port.clone(), handler, any_descriptor());
    registration.register(|| ()).unwrap();
    registration.add(Direction::In, op("waited")).unwrap();
    port.fire(Action::Error);
    assert_eq!(asked.load(Ordering::Relaxed), 1);

    let claim = registration.try_claim(Direction::Out).unwrap();
    claim.queue(op("later")).unwrap();
    port.run_scheduled();

    assert_eq!((registration.handler().completed(), asked.load(Ordering::Relaxed)), (vec!["waited", "later"], 2));
}

// Tests_SRS_COMPLETION_PORT_01_033
#[rstest]
#[case::alone(Readiness::READ_HANG_UP)]
#[case::with_urgent_data(Readiness::READ_HANG_UP | Readiness::URGENT)]
fn a_half_close_alone_reaches_the_receiving_direction_only(#[case] events: Readiness) {
    let (port, registration) = mocked();
    add_two_each(|direction, operation| _ = registration.add(direction, operation).unwrap());

    port.deliver(events);

    assert_eq!(registration.handler().attempts(), [("in 1", Action::RdHup), ("in 2", Action::RdHup)]);
    assert_eq!(registration.queued(Direction::Out), 2);
}

// Tests_SRS_COMPLETION_PORT_01_033
#[test]
fn a_half_close_beside_writable_is_told_to_each_direction_in_its_way() {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("in")).unwrap();
    registration.add(Direction::Out, op("out")).unwrap();

    port.deliver(Readiness::READ_HANG_UP | Readiness::OUT);

    assert_eq!(registration.handler().attempts(), [("in", Action::RdHup), ("out", Action::Out)]);
}

// Tests_SRS_COMPLETION_PORT_01_034
#[test]
fn every_operation_completes_once_and_in_order() {
    let (port, registration) = mocked();
    let answers = [
        ("done", vec![]),
        ("partial", vec![Progress::Partial, Progress::Partial]),
        ("pending", vec![Progress::Pending]),
        ("drained", vec![DRAINED]),
        ("last", vec![]),
    ];
    for (name, answers) in answers.clone() {
        registration.add(Direction::In, op(name).answers(answers)).unwrap();
    }

    for _ in 0..4 {
        port.fire(Action::In);
    }

    assert_eq!(registration.handler().completed(), answers.map(|(name, _)| name));
    let mut attempts = HashMap::new();
    for (name, _) in registration.handler().attempts() {
        *attempts.entry(name).or_insert(0) += 1;
    }
    assert_eq!((attempts["partial"], attempts["pending"], attempts["last"]), (3, 2, 1));
}

// Tests_SRS_COMPLETION_PORT_01_034
#[test]
fn an_operation_is_completed_before_the_next_one_is_attempted() {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("first")).unwrap();
    registration.add(Direction::In, op("second")).unwrap();

    port.fire(Action::In);

    let expected =
        [Attempted("first", Action::In), Completed("first"), Attempted("second", Action::In), Completed("second")];
    assert_eq!(registration.handler().seen(), expected);
}

// Tests_SRS_COMPLETION_PORT_01_034
#[rstest]
#[case::in_an_attempt(true)]
#[case::in_a_callback(false)]
fn no_lock_is_held_while_foreign_code_runs(#[case] in_attempt: bool) {
    let (port, registration) = mocked();
    let (gate, stop) = Gate::new();
    let mut stop = Some(stop);
    let mut attempt = move |()| stop.take().into_iter().for_each(|stop| stop());
    let operation =
        if in_attempt { op("a").attempting(move |_| attempt(())) } else { op("a").then(move || attempt(())) };
    registration.add(Direction::In, operation).unwrap();
    let fired = spawn({
        let port = port.clone();
        move || port.fire(Action::In)
    });
    gate.wait();

    let other = Arc::clone(&registration);
    let used = spawn(move || {
        other.add(Direction::In, op("b")).expect("it is registered");
        other.add(Direction::Out, op("c")).expect("it is registered");
        (format!("{other:?}"), other.queued(Direction::In))
    });

    let waiting = if in_attempt { 2 } else { 1 };
    assert_eq!(received(&used, "the use of the registration meanwhile").1, waiting);
    gate.open();
    received(&fired, "the end of the turn");
}

// Tests_SRS_COMPLETION_PORT_01_035
#[test]
fn after_a_drained_receive_the_next_one_waits_for_an_event() {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("first").answers([DRAINED])).unwrap();
    registration.add(Direction::In, op("second")).unwrap();

    port.fire(Action::In);
    assert_eq!(registration.handler().attempts(), [("first", Action::In)]);
    assert_eq!(port.run_scheduled(), 0);

    port.fire(Action::In);
    assert_eq!(registration.handler().completed(), ["first", "second"]);
}

// Tests_SRS_COMPLETION_PORT_01_035
#[test]
fn after_a_drained_send_the_next_one_waits_for_an_event() {
    let (port, registration) = mocked();
    registration.add(Direction::Out, op("first").answers([DRAINED])).unwrap();
    registration.add(Direction::Out, op("second")).unwrap();

    port.fire(Action::Out);

    assert_eq!(registration.handler().completed(), ["first"]);
}

// Tests_SRS_COMPLETION_PORT_01_035
#[rstest]
#[case::half_close(Readiness::READ_HANG_UP)]
#[case::hang_up(Readiness::HANG_UP)]
#[case::error(Readiness::ERROR)]
#[case::urgent_data(Readiness::URGENT)]
fn a_drained_receive_is_not_believed_when_more_was_reported(#[case] also: Readiness) {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("first").answers([DRAINED])).unwrap();
    registration.add(Direction::In, op("second")).unwrap();

    port.deliver(Readiness::IN | also);

    assert_eq!(registration.handler().completed(), ["first", "second"]);
}

// Tests_SRS_COMPLETION_PORT_01_035
#[test]
fn once_the_kernel_said_eagain_a_drained_receive_is_believed_again() {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("first").answers([Progress::Pending, DRAINED])).unwrap();
    registration.add(Direction::In, op("second")).unwrap();
    port.deliver(Readiness::IN | Readiness::READ_HANG_UP);

    port.fire(Action::In);

    assert_eq!(registration.handler().completed(), ["first"]);
}

// Tests_SRS_COMPLETION_PORT_01_036
#[test]
fn readiness_that_finds_no_operation_is_remembered_and_asks_for_no_turn() {
    let (port, registration) = mocked();

    port.deliver(Readiness::IN | Readiness::OUT);

    assert!(!port.calls().contains(&PortCall::Schedule));
    assert_eq!(port.run_scheduled(), 0);
    assert_eq!(registration.handler().seen(), NOTHING);
    registration.add(Direction::Out, op("out")).unwrap();
    registration.add(Direction::In, op("in")).unwrap();
    assert_eq!(port.run_scheduled(), 1);
    assert_eq!(registration.handler().completed(), ["out", "in"]);
}

// Tests_SRS_COMPLETION_PORT_01_036
#[test]
fn readiness_is_remembered_across_operations_and_other_events() {
    let (port, registration) = mocked();
    port.fire(Action::In);
    port.fire(Action::Out);

    registration.add(Direction::In, op("in 1")).unwrap();
    port.run_scheduled();
    registration.add(Direction::In, op("in 2")).unwrap();
    port.run_scheduled();

    assert_eq!(registration.handler().completed(), ["in 1", "in 2"]);
}

// Tests_SRS_COMPLETION_PORT_01_036
#[test]
fn a_remembered_hang_up_with_nothing_waiting_lets_the_thread_sleep() {
    let (calls, port) = crate::common::real_port();
    let (registration, peer) = crate::common::real(&port);
    drop(peer);

    let waits = crate::common::settled(&calls);
    assert!(waits < 20, "{waits} times epoll_wait");
    let (operation, told) = op("a").told();
    registration.add(Direction::In, operation).unwrap();
    received(&told, "the operation on the remembered hang-up");
}

// Tests_SRS_COMPLETION_PORT_01_032, Tests_SRS_COMPLETION_PORT_01_036
#[test]
fn an_error_that_lasts_is_told_to_who_comes_later() {
    // The write end of a full pipe without a reader reports only EPOLLERR, once.
    let (port, registration) = mocked();
    port.fire(Action::Error);

    for name in ["first", "second"] {
        registration.add(Direction::Out, op(name)).unwrap();
        port.run_scheduled();
    }

    assert_eq!(registration.handler().completed(), ["first", "second"]);
}

// Tests_SRS_COMPLETION_PORT_01_037
#[rstest]
#[case::receiving(Direction::In, Action::In)]
#[case::sending(Direction::Out, Action::Out)]
fn a_suspended_operation_waits_until_it_is_resumed_whatever_is_reported(
    #[case] direction: Direction,
    #[case] action: Action,
) {
    let (port, registration) = mocked();
    registration.add(direction, op("a").answers([Progress::Suspended])).unwrap();
    registration.add(direction, op("b")).unwrap();

    for _ in 0..3 {
        port.fire(action);
    }
    port.deliver(Readiness::HANG_UP | Readiness::ERROR);

    assert_eq!(registration.handler().attempts(), [("a", action)]);
    assert_eq!((registration.queued(direction), port.run_scheduled()), (2, 0));
    assert!(registration.resumer().resume(direction));
    assert_eq!(port.run_scheduled(), 1);
    assert_eq!(registration.handler().completed(), ["a", "b"]);
    assert!(!registration.resumer().resume(direction), "nothing waits any more");
}

// Tests_SRS_COMPLETION_PORT_01_037
#[test]
fn a_resumption_during_the_attempt_is_not_lost() {
    let (port, registration) = mocked();
    let resumer = registration.resumer();
    let operation =
        op("a").attempting_once(move || assert!(resumer.resume(Direction::In))).answers([Progress::Suspended]);
    registration.add(Direction::In, operation).unwrap();

    port.fire(Action::In);

    assert_eq!(registration.handler().attempts().len(), 2);
    assert_eq!(registration.handler().completed(), ["a"]);
}

// Tests_SRS_COMPLETION_PORT_01_037
#[test]
fn a_suspended_operation_is_abandoned_by_a_removal_in_its_place() {
    let (port, registration) = mocked();
    registration.add(Direction::In, op("first").answers([Progress::Suspended])).unwrap();
    registration.add(Direction::Out, op("second")).unwrap();
    registration.add(Direction::In, op("third")).unwrap();
    port.fire(Action::In);

    assert!(registration.remove());

    assert_eq!(registration.handler().completed(), ["first", "second", "third"]);
}

/// Forgets to report the result of an operation that is `false`.
struct Forgetful(Mutex<usize>);

impl Handler for Forgetful {
    type Descriptor = OwnedFd;
    type Operation = bool;

    fn attempt(&self, operation: bool, _: Action, attempt: Attempt<'_, Self>) {
        if operation {
            attempt.complete(false, None, || *self.0.lock() += 1);
        }
    }
}

#[test]
fn an_attempt_of_which_nothing_is_said_is_over_and_the_next_one_follows() {
    let port = MockPort::new();
    let registration = Registration::new(port.clone(), Forgetful(Mutex::new(0)), any_descriptor());
    registration.register(|| ()).unwrap();
    for said in [false, true, false, true] {
        registration.add(Direction::In, said).unwrap();
    }

    port.fire(Action::In);

    assert_eq!(*registration.handler().0.lock(), 2);
    assert_eq!(registration.queued(Direction::In), 0);
    assert!(registration.remove());
}

/// Reports that every operation goes on, even an abandoned one.
struct Stubborn;

impl Handler for Stubborn {
    type Descriptor = OwnedFd;
    type Operation = (Progress, Arc<()>);

    fn attempt(&self, operation: Self::Operation, _: Action, attempt: Attempt<'_, Self>) {
        match operation.0 {
            Progress::Pending => attempt.pending(operation),
            Progress::Partial => attempt.partial(operation),
            Progress::Suspended => attempt.suspend(operation),
            Progress::Complete { drained } => attempt.complete(drained, None, || {}),
        }
    }
}

// Tests_SRS_COMPLETION_PORT_01_052
#[rstest]
fn an_abandoned_operation_is_over_whatever_is_said_of_it(
    #[values(Progress::Pending, Progress::Partial, Progress::Suspended)] said: Progress,
) {
    let registration = Registration::new(MockPort::new(), Stubborn, any_descriptor());
    registration.register(|| ()).unwrap();
    let kept = Arc::new(());
    registration.add(Direction::In, (said, Arc::clone(&kept))).unwrap();

    assert!(registration.remove());

    assert_eq!((Arc::strong_count(&kept), registration.queued(Direction::In)), (1, 0));
}
