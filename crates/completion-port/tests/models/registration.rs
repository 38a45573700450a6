//! A registration and its port's thread, against threads that add, claim, resume, register and remove.

use crate::world::{End, World, join, op, op_on_credit, op_then, start};
use crate::{ANY, check};
use completion_port::Direction::{In, Out};
use completion_port::{Phase, Readiness};
use loom::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use End::{Abandoned, Broken, Done};

/// A removal was at work: an operation that was accepted ended once, and a refused one never.
fn ended_as_accepted(world: &World, name: char, accepted: bool) {
    let ends = world.ended().into_iter().filter(|(ended, _)| *ended == name).count();
    assert_eq!(ends, usize::from(accepted), "{name} ended {ends} times, accepted: {accepted}");
}

#[test]
fn an_add_meets_an_event() {
    check("an_add_meets_an_event", ANY, || {
        let world = World::new();
        let peer = start(&world, |world| world.arrive(1, Readiness::IN));
        let port = start(&world, |world| world.port.turn());
        world.add(In, op('a', 1));
        join(peer);
        join(port);
        assert_eq!(world.ended(), [('a', Done)]);
    });
}

#[test]
fn an_add_meets_an_eagain_and_then_an_event() {
    check("an_add_meets_an_eagain_and_then_an_event", ANY, || {
        let world = World::with_false_hope(Readiness::IN);
        let peer = start(&world, |world| world.arrive(1, Readiness::IN));
        let port = start(&world, |world| [world.port.turn(), world.port.turn()]);
        world.add(In, op('a', 1));
        join(peer);
        join(port);
        assert_eq!(world.ended(), [('a', Done)]);
    });
}

#[test]
fn a_claim_that_gets_eagain_meets_an_event() {
    check("a_claim_that_gets_eagain_meets_an_event", ANY, || {
        let world = World::new();
        let peer = start(&world, |world| {
            world.arrive(1, Readiness::OUT);
            world.port.turn();
        });
        world.send(Out, op('a', 1));
        join(peer);
        assert_eq!(world.ended(), [('a', Done)]);
    });
}

#[test]
fn an_add_meets_the_end_of_a_claim() {
    check("an_add_meets_the_end_of_a_claim", 5, || {
        let world = World::new();
        world.arrive(2, Readiness::OUT);
        world.port.turn();
        let adder = start(&world, |world| world.add(Out, op('b', 1)));
        world.send(Out, op('a', 1));
        join(adder);
        let mut ended = world.ended();
        ended.sort_unstable_by_key(|(name, _)| *name);
        assert_eq!(ended, [('a', Done), ('b', Done)]);
    });
}

#[test]
fn an_add_meets_who_attends_to_another() {
    check("an_add_meets_who_attends_to_another", 4, || {
        let world = World::new();
        world.arrive(3, Readiness::OUT);
        world.port.turn();
        let other = start(&world, |world| world.add(Out, op('b', 1)));
        world.send(Out, op('a', 1));
        world.port.turn();
        world.add(Out, op('c', 1));
        join(other);
        assert_eq!(world.ended().len(), 3);
    });
}

#[test]
fn two_adds_meet_a_turn() {
    check("two_adds_meet_a_turn", 4, || {
        let world = World::with_false_hope(Readiness::IN);
        world.arrive(2, Readiness::IN);
        let port = start(&world, |world| world.port.turn());
        world.add(In, op('a', 1));
        world.add(In, op('b', 1));
        join(port);
        assert_eq!(world.ended(), [('a', Done), ('b', Done)]);
    });
}

#[test]
fn a_suspended_operation_meets_its_resumption() {
    check("a_suspended_operation_meets_its_resumption", ANY, || {
        let world = World::new();
        world.arrive(1, Readiness::IN);
        world.add(In, op_on_credit('a', 1));
        let port = start(&world, |world| world.port.turn());
        world.give_credit(In);
        join(port);
        assert_eq!(world.ended(), [('a', Done)]);
    });
}

#[test]
fn an_add_meets_an_error() {
    check("an_add_meets_an_error", ANY, || {
        let world = World::new();
        world.add(In, op('a', 1));
        world.arrive(0, Readiness::ERROR);
        let port = start(&world, |world| world.port.turn());
        world.add(Out, op('b', 1));
        join(port);
        let mut ended = world.ended();
        ended.sort_unstable_by_key(|(name, _)| *name);
        assert_eq!(ended, [('a', Broken), ('b', Broken)]);
    });
}

#[test]
fn bytes_of_two_sends_do_not_interleave() {
    check("bytes_of_two_sends_do_not_interleave", 2, || {
        let world = World::new();
        world.arrive(1, Readiness::OUT);
        world.port.turn();
        let other = start(&world, |world| world.send(Out, op('b', 2)));
        let port = start(&world, |world| {
            world.arrive(3, Readiness::OUT);
            world.port.turn();
        });
        world.send(Out, op('a', 2));
        join(other);
        join(port);
        assert_eq!(world.ended().len(), 2);
        let moved = world.moved();
        assert!(["aabb", "bbaa"].contains(&moved.as_str()), "the bytes went out as {moved}");
    });
}

#[test]
fn a_claim_does_not_overtake_what_was_added_before() {
    check("a_claim_does_not_overtake_what_was_added_before", 3, || {
        let world = World::new();
        world.arrive(3, Readiness::OUT);
        world.port.turn();
        let other = start(&world, |world| {
            world.add(Out, op('b', 1));
            world.send(Out, op('c', 1));
        });
        world.send(Out, op('a', 1));
        join(other);
        assert_eq!(world.ended().len(), 3);
        let moved = world.moved();
        assert!(moved.find('b') < moved.find('c'), "the bytes went out as {moved}");
    });
}

#[test]
fn an_add_meets_a_removal() {
    check("an_add_meets_a_removal", 4, || {
        let world = World::new();
        let remover = start(&world, |world| world.remove());
        let accepted = world.registration.add(In, op('a', 1)).is_ok();
        assert!(join(remover));
        ended_as_accepted(&world, 'a', accepted);
        assert_eq!(world.registration.phase(), Phase::Removed);
    });
}

#[test]
fn two_adds_and_a_turn_meet_a_removal() {
    check("two_adds_and_a_turn_meet_a_removal", 2, || {
        let world = World::new();
        world.arrive(1, Readiness::IN);
        let remover = start(&world, |world| world.remove());
        let port = start(&world, |world| world.port.turn());
        let accepted = [op('a', 1), op('b', 1)].map(|operation| world.registration.add(In, operation).is_ok());
        assert!(join(remover));
        join(port);
        ended_as_accepted(&world, 'a', accepted[0]);
        ended_as_accepted(&world, 'b', accepted[1]);
    });
}

#[test]
fn a_claim_meets_a_removal() {
    for room in [0, 1] {
        check("a_claim_meets_a_removal", 4, move || {
            let world = World::new();
            world.arrive(room, Readiness::OUT);
            let remover = start(&world, |world| world.remove());
            let accepted = world.try_send(Out, op('a', 1));
            assert!(join(remover));
            ended_as_accepted(&world, 'a', accepted);
        });
    }
}

#[test]
fn an_attempt_and_its_callback_meet_a_removal() {
    check("an_attempt_and_its_callback_meet_a_removal", 4, || {
        let world = World::new();
        world.add(In, op('a', 1));
        world.arrive(1, Readiness::IN);
        let port = start(&world, |world| world.port.turn());
        assert!(world.remove());
        join(port);
        ended_as_accepted(&world, 'a', true);
    });
}

#[test]
fn a_callback_that_adds_meets_a_removal() {
    check("a_callback_that_adds_meets_a_removal", 3, || {
        let world = World::new();
        let accepted = Arc::new(std::sync::Mutex::new(None));
        let adds = {
            let (registration, accepted) = (Arc::downgrade(&world.registration), Arc::clone(&accepted));
            move || {
                let registration = registration.upgrade().expect("the model keeps it");
                *accepted.lock().expect("no panic") = Some(registration.add(In, op('b', 1)).is_ok());
            }
        };
        world.add(In, op_then('a', 1, adds));
        world.arrive(2, Readiness::IN);
        let port = start(&world, |world| world.port.turn());
        assert!(world.remove());
        join(port);
        ended_as_accepted(&world, 'a', true);
        let accepted = accepted.lock().expect("no panic").expect("the callback has run");
        ended_as_accepted(&world, 'b', accepted);
    });
}

#[test]
fn removals_from_inside_two_callbacks_meet() {
    check("removals_from_inside_two_callbacks_meet", 3, || {
        let world = World::new();
        let removals = Arc::new(std::sync::Mutex::new(Vec::new()));
        let removes = || {
            let (registration, removals) = (Arc::downgrade(&world.registration), Arc::clone(&removals));
            move || {
                let removed = registration.upgrade().expect("the model keeps it").remove();
                removals.lock().expect("no panic").push(removed);
            }
        };
        let (on_port, on_sender) = (removes(), removes());
        world.add(In, op_then('a', 1, on_port));
        world.arrive(2, Readiness::IN | Readiness::OUT);
        let port = start(&world, |world| world.port.turn());
        let accepted = world.try_send(Out, op_then('b', 1, on_sender));
        join(port);
        ended_as_accepted(&world, 'a', true);
        ended_as_accepted(&world, 'b', accepted);
        let removals = removals.lock().expect("no panic");
        assert_eq!(removals.iter().filter(|removed| **removed).count(), 1, "one of them was the one");
    });
}

#[test]
fn a_removal_from_inside_a_callback_meets_who_waits_for_it() {
    check("a_removal_from_inside_a_callback_meets_who_waits_for_it", 3, || {
        let world = World::new();
        let over = Arc::new(AtomicBool::new(false));
        let (registration, last) = (Arc::downgrade(&world.registration), Arc::clone(&over));
        let removes = move || {
            registration.upgrade().expect("the model keeps it").remove();
            last.store(true, Ordering::SeqCst);
        };
        world.add(In, op_then('a', 1, removes));
        world.arrive(1, Readiness::IN);
        let port = start(&world, |world| world.port.turn());
        world.registration.remove_and_wait();
        assert!(over.load(Ordering::SeqCst), "the callback is over, whoever removed");
        join(port);
    });
}

#[test]
fn an_event_under_way_meets_a_removal() {
    check("an_event_under_way_meets_a_removal", 3, || {
        let world = World::new();
        world.add(Out, op('a', 1));
        world.arrive(0, Readiness::IN | Readiness::OUT);
        let port = start(&world, |world| [world.port.turn(), world.port.turn()]);
        assert!(world.remove());
        assert_eq!(world.registration.phase(), Phase::Removed);
        join(port);
        assert_eq!(world.ended(), [('a', Abandoned)]);
    });
}

#[test]
fn registering_meets_a_removal() {
    check("registering_meets_a_removal", 3, || {
        let world = World::unregistered();
        world.arrive(1, Readiness::IN);
        let remover = start(&world, |world| world.remove());
        world.registration.register(|| world.note('r')).expect("it was not registered before");
        let accepted = world.registration.add(In, op('a', 1)).is_ok();
        let removed = join(remover);
        assert_eq!(removed, world.registration.phase() == Phase::Removed);
        ended_as_accepted(&world, 'r', true);
        ended_as_accepted(&world, 'a', accepted);
        assert!(accepted || removed);
    });
}
