//! `Registration::try_claim` and `Claim`: the attempt on the caller's own thread.

use crate::common::{
    Attempted, Completed, Gate, Mocked, Progress, Scripted, mocked, on_another_thread, op, received, spawn,
};
use completion_port::{Action, ClaimError, Direction, Readiness, Registration};
use rstest::rstest;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};
use test_doubles::{MockPort, PortCall, any_descriptor};

const BOTH: [Direction; 2] = [Direction::In, Direction::Out];

fn refusal(registration: &Mocked, direction: Direction) -> Option<ClaimError> {
    registration.try_claim(direction).err()
}

// Tests_SRS_COMPLETION_PORT_01_020
#[test]
fn an_idle_direction_is_granted_again_and_again() {
    let (_port, registration) = mocked();
    for direction in BOTH {
        for _ in 0..3 {
            assert_eq!(refusal(&registration, direction), None);
        }
    }
}

// Tests_SRS_COMPLETION_PORT_01_020
#[test]
fn a_claimed_direction_is_refused_and_the_other_one_is_not() {
    let (_port, registration) = mocked();

    let claim = registration.try_claim(Direction::Out).unwrap();

    assert_eq!(refusal(&registration, Direction::Out), Some(ClaimError::InUse));
    assert_eq!(refusal(&registration, Direction::In), None);
    drop(claim);
    assert_eq!(refusal(&registration, Direction::Out), None);
}

// Tests_SRS_COMPLETION_PORT_01_020
#[test]
fn a_direction_in_which_something_waits_is_refused() {
    let (port, registration) = mocked();
    registration.add(Direction::Out, op("a")).unwrap();

    assert_eq!(refusal(&registration, Direction::Out), Some(ClaimError::InUse));

    port.fire(Action::Out);
    assert_eq!(refusal(&registration, Direction::Out), None);
}

// Tests_SRS_COMPLETION_PORT_01_020
#[test]
fn a_direction_that_the_port_is_at_work_on_is_refused() {
    let (port, registration) = mocked();
    let (gate, stop) = Gate::new();
    registration.add(Direction::Out, op("a").attempting_once(stop)).unwrap();
    let fired = spawn(move || port.fire(Action::Out));
    gate.wait();

    assert_eq!(registration.queued(Direction::Out), 1, "it is in the port's hands");
    assert_eq!(refusal(&registration, Direction::Out), Some(ClaimError::InUse));

    gate.open();
    received(&fired, "the end of the attempt");
    assert_eq!(refusal(&registration, Direction::Out), None);
}

// Tests_SRS_COMPLETION_PORT_01_020
#[test]
fn without_a_descriptor_a_claim_is_refused() {
    let registration = Registration::new(MockPort::new(), Scripted::default(), any_descriptor());
    assert_eq!(refusal(&registration, Direction::In), Some(ClaimError::NotRegistered));

    registration.register(|| ()).unwrap();
    assert!(registration.remove());

    assert_eq!(refusal(&registration, Direction::In), Some(ClaimError::NotRegistered));
}

// Tests_SRS_COMPLETION_PORT_01_020
#[test]
fn the_port_leaves_a_claimed_direction_alone_until_the_claim_ends() {
    let (port, registration) = mocked();
    let claim = registration.try_claim(Direction::In).unwrap();
    registration.add(Direction::In, op("a")).unwrap();

    port.fire(Action::In);
    assert!(registration.handler().seen().is_empty());

    drop(claim);
    assert_eq!(port.run_scheduled(), 1);
    assert_eq!(registration.handler().completed(), ["a"]);
}

// Tests_SRS_COMPLETION_PORT_01_021
#[rstest]
#[case::receiving(Direction::In, Action::In)]
#[case::sending(Direction::Out, Action::Out)]
fn what_a_claim_leaves_comes_before_what_others_added_meanwhile(#[case] direction: Direction, #[case] action: Action) {
    let (port, registration) = mocked();
    let claim = registration.try_claim(direction).unwrap();
    registration.add(direction, op("second")).unwrap();
    registration.add(direction, op("third")).unwrap();

    claim.queue(op("first")).unwrap();

    assert_eq!(registration.queued(direction), 3);
    port.fire(action);
    assert_eq!(registration.handler().completed(), ["first", "second", "third"]);
}

// Tests_SRS_COMPLETION_PORT_01_021
#[test]
fn what_a_claim_leaves_keeps_its_place_across_the_directions() {
    let (port, registration) = mocked();
    let claim = registration.try_claim(Direction::Out).unwrap();
    registration.add(Direction::In, op("second")).unwrap();
    claim.queue(op("first")).unwrap();

    port.fire(Action::Error);

    assert_eq!(registration.handler().completed(), ["first", "second"]);
}

// Tests_SRS_COMPLETION_PORT_01_021, Tests_SRS_COMPLETION_PORT_01_030
#[rstest]
#[case::receiving(Direction::In, Action::In)]
#[case::sending(Direction::Out, Action::Out)]
fn the_claims_eagain_means_waiting_for_a_new_event(#[case] direction: Direction, #[case] action: Action) {
    let (port, registration) = mocked();
    port.deliver(Readiness::IN | Readiness::OUT); // older than the claim
    let claim = registration.try_claim(direction).unwrap();

    claim.queue(op("a")).unwrap();

    assert!(!port.calls().contains(&PortCall::Schedule));
    assert_eq!(registration.queued(direction), 1);
    port.fire(action);
    assert_eq!(registration.handler().completed(), ["a"]);
}

// Tests_SRS_COMPLETION_PORT_01_022
#[rstest]
#[case::receiving(Direction::In, Readiness::IN, Action::In)]
#[case::sending(Direction::Out, Readiness::OUT, Action::Out)]
#[case::half_close(Direction::In, Readiness::READ_HANG_UP, Action::RdHup)]
#[case::hang_up_receiving(Direction::In, Readiness::HANG_UP, Action::Error)]
#[case::error_sending(Direction::Out, Readiness::ERROR, Action::Error)]
fn an_event_during_the_claim_wins_over_its_eagain(
    #[case] direction: Direction,
    #[case] events: Readiness,
    #[case] action: Action,
    #[values(false, true)] reported_before: bool,
) {
    let (port, registration) = mocked();
    if reported_before {
        port.deliver(events);
    }
    let claim = registration.try_claim(direction).unwrap();
    // The attempt gets EAGAIN here. Then the descriptor becomes ready, and the port learns of it before the claim ends.
    port.deliver(events);

    claim.queue(op("a")).unwrap();

    assert_eq!(port.run_scheduled(), 1);
    assert_eq!(registration.handler().seen(), [Attempted("a", action), Completed("a")]);
}

// Tests_SRS_COMPLETION_PORT_01_022
#[test]
fn an_eagain_counts_although_that_of_the_other_direction_came_meanwhile() {
    let (port, registration) = mocked();
    port.deliver(Readiness::IN | Readiness::OUT);
    let claim = registration.try_claim(Direction::Out).unwrap();
    registration.add(Direction::In, op("in").answers([Progress::Pending])).unwrap();
    port.run_scheduled();

    claim.queue(op("out")).unwrap();

    assert_eq!((port.run_scheduled(), registration.handler().attempts()), (0, vec![("in", Action::In)]));
    port.fire(Action::Out);
    assert_eq!(registration.handler().completed(), ["out"]);
}

// Tests_SRS_COMPLETION_PORT_01_022
#[test]
fn an_event_that_finds_the_direction_claimed_is_not_lost() {
    let (port, registration) = mocked();
    let claim = registration.try_claim(Direction::In).unwrap();

    port.fire(Action::In);
    assert!(registration.handler().seen().is_empty());
    claim.queue(op("a")).unwrap();

    port.run_scheduled();
    assert_eq!(registration.handler().completed(), ["a"]);
}

// Tests_SRS_COMPLETION_PORT_01_023
#[test]
fn another_thread_can_claim_while_the_callback_runs() {
    let (_port, registration) = mocked();
    let claim = registration.try_claim(Direction::Out).unwrap();
    let (tell, told) = channel();

    claim.complete(|| {
        let other = Arc::clone(&registration);
        let refusal = on_another_thread("the other claim", move || refusal(&other, Direction::Out));
        tell.send(refusal).unwrap();
    });

    assert_eq!(received(&told, "the callback"), None);
}

// Tests_SRS_COMPLETION_PORT_01_023
#[test]
fn what_was_added_during_the_claim_runs_while_the_callback_runs() {
    let (port, registration) = mocked();
    port.fire(Action::Out);
    let claim = registration.try_claim(Direction::Out).unwrap();
    registration.add(Direction::Out, op("a")).unwrap();

    claim.complete(|| {
        on_another_thread("the other operation", move || port.run_scheduled());
    });

    assert_eq!(registration.handler().completed(), ["a"]);
}

// Tests_SRS_COMPLETION_PORT_01_024
#[test]
fn inside_its_callback_every_claim_is_refused() {
    let ((_port, registration), (_other_port, other)) = (mocked(), mocked());
    let refusals = |registration: &Mocked| BOTH.map(|direction| refusal(registration, direction));
    let (tell, told) = channel();

    registration.try_claim(Direction::Out).unwrap().complete(|| {
        other.try_claim(Direction::In).expect_err("all claims are refused here");
        tell.send((refusals(&registration), refusals(&other))).unwrap();
    });

    let in_use = [Some(ClaimError::InUse); 2];
    assert_eq!(received(&told, "the callback"), (in_use, in_use));
    assert_eq!((refusals(&registration), refusals(&other)), ([None; 2], [None; 2]), "granted again afterwards");
}

// Tests_SRS_COMPLETION_PORT_01_024
#[test]
fn the_callback_of_a_register_may_claim() {
    let registration = Registration::new(MockPort::new(), Scripted::default(), any_descriptor());
    let mut refused = Some(ClaimError::InUse);

    registration.register(|| refused = refusal(&registration, Direction::Out)).unwrap();

    assert_eq!(refused, None);
}

// Tests_SRS_COMPLETION_PORT_01_024
#[test]
fn after_a_callback_that_panicked_claims_are_granted() {
    let (_port, registration) = mocked();

    registration.try_claim(Direction::Out).unwrap().complete(|| panic!("on purpose"));

    assert_eq!(refusal(&registration, Direction::Out), None);
}

/// Sends that each start the next one from their callback: at once if the claim is granted, otherwise through the queue.
fn chain(registration: &Weak<Mocked>, left: usize, deepest: &Arc<AtomicUsize>, depth: usize) {
    deepest.fetch_max(depth, Ordering::Relaxed);
    let Some(strong) = registration.upgrade().filter(|_| left > 0) else { return };
    match strong.try_claim(Direction::Out) {
        Ok(claim) => claim.complete(|| chain(registration, left - 1, deepest, depth + 1)),
        Err(_) => {
            let (registration, deepest) = (registration.clone(), Arc::clone(deepest));
            let next = move || chain(&registration, left - 1, &deepest, 1);
            strong.add(Direction::Out, op("queued").then(next)).expect("it is registered");
        }
    }
}

// Tests_SRS_COMPLETION_PORT_01_024
#[test]
fn an_endless_chain_runs_in_constant_stack() {
    let (port, registration) = mocked();
    port.fire(Action::Out);
    let deepest = Arc::new(AtomicUsize::new(0));

    chain(&Arc::downgrade(&registration), 100_000, &deepest, 0);
    port.run_scheduled();

    assert!(registration.handler().completed().len() >= 30_000, "the chain ran to its end");
    assert_eq!(registration.queued(Direction::Out), 0);
    assert!(deepest.load(Ordering::Relaxed) <= 2, "{deepest:?}");
}

// Tests_SRS_COMPLETION_PORT_01_021
#[test]
fn what_a_claim_left_is_attempted_by_the_port_like_any_other() {
    let (port, registration) = mocked();
    let claim = registration.try_claim(Direction::Out).unwrap();
    claim.queue(op("a").answers([Progress::Partial, Progress::Pending])).unwrap();

    port.fire(Action::Out);
    assert_eq!((registration.handler().attempts().len(), registration.queued(Direction::Out)), (2, 1));

    port.fire(Action::Out);
    assert_eq!(registration.handler().completed(), ["a"]);
}

// Tests_SRS_COMPLETION_PORT_01_180
#[rstest]
#[case::receiving(Direction::In, Action::In)]
#[case::sending(Direction::Out, Action::Out)]
fn a_direction_is_ready_from_its_event_until_its_eagain(#[case] direction: Direction, #[case] event: Action) {
    let (port, registration) = mocked();
    assert!(!registration.try_claim(direction).unwrap().is_ready(), "no event yet");

    port.fire(event);
    let claim = registration.try_claim(direction).unwrap();
    assert!(claim.is_ready());
    claim.queue(op("a")).unwrap();

    let _ = registration.cancel(registration.add(direction, op("b")).unwrap());
    assert_eq!(registration.queued(direction), 1);
    port.fire(event);
    assert!(registration.try_claim(direction).unwrap().is_ready(), "the operation has left the readiness");
}

// Tests_SRS_COMPLETION_PORT_01_181
#[test]
fn what_is_drained_is_not_ready_until_the_next_event() {
    let (port, registration) = mocked();
    port.fire(Action::In);
    registration.try_claim(Direction::In).unwrap().drained();

    let claim = registration.try_claim(Direction::In).unwrap();
    assert!(!claim.is_ready());
    claim.queue(op("a")).unwrap();
    port.fire(Action::In);

    assert_eq!(registration.handler().completed(), ["a"]);
}

// Tests_SRS_COMPLETION_PORT_01_181
#[rstest]
#[case::an_event_since(Readiness::IN, true)]
#[case::half_close(Readiness::IN | Readiness::READ_HANG_UP, false)]
#[case::hang_up(Readiness::IN | Readiness::HANG_UP, false)]
#[case::error(Readiness::IN | Readiness::ERROR, false)]
#[case::urgent(Readiness::IN | Readiness::URGENT, false)]
fn a_drained_direction_stays_ready_if_more_may_follow(#[case] reported: Readiness, #[case] during: bool) {
    let (port, registration) = mocked();
    port.deliver(if during { Readiness::IN } else { reported });
    let claim = registration.try_claim(Direction::In).unwrap();
    if during {
        port.deliver(reported);
    }

    claim.drained();

    assert!(claim.is_ready());
}

// Tests_SRS_COMPLETION_PORT_01_181
#[test]
fn only_receiving_is_drained() {
    let (port, registration) = mocked();
    port.fire(Action::Out);
    let claim = registration.try_claim(Direction::Out).unwrap();
    claim.drained();
    assert!(claim.is_ready());
}
