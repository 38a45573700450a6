//! The end of a registration: threads that help each other with it, and threads that must not wait for themselves.

use crate::check;
use crate::world::{End, World, join, op, op_during, op_then, start};
use completion_port::Direction::{In, Out};
use completion_port::{Phase, Readiness};
use std::sync::Arc;

use End::{Abandoned, Done};

#[test]
fn a_failed_register_meets_a_removal() {
    check("a_failed_register_meets_a_removal", 3, || {
        let world = World::unregistered();
        world.port.fail_once();
        let failing = start(&world, |world| drop(world.registration.register(|| ())));
        let registered = world.registration.register(|| ()).is_ok();
        if registered && world.registration.remove() {
            assert!(world.released(), "removed, but the handler has not got the descriptor to release");
        }
        join(failing);
    });
}

#[test]
fn who_waits_for_a_removal_helps_and_nothing_runs_afterwards() {
    check("who_waits_for_a_removal_helps_and_nothing_runs_afterwards", 2, || {
        let world = World::new();
        world.add(In, op('a', 1));
        world.add(Out, op('b', 1));
        let remover = start(&world, |world| world.registration.remove());
        world.remove_and_wait();
        assert_eq!((world.registration.phase(), world.released()), (Phase::Removed, true));
        assert_eq!(world.ended_so_far().len(), 2);
        join(remover);
    });
}

#[test]
fn a_removal_inside_an_attempt_meets_who_waits_for_it() {
    check("a_removal_inside_an_attempt_meets_who_waits_for_it", 2, || {
        let world = World::new();
        let registration = Arc::downgrade(&world.registration);
        let removes = move || _ = registration.upgrade().expect("the model keeps it").remove();
        world.add(In, op_during('a', 1, removes));
        world.add(In, op('b', 1));
        world.arrive(2, Readiness::IN);
        let port = start(&world, |world| world.port.turn());
        world.remove_and_wait();
        join(port);
        assert_eq!((world.registration.phase(), world.released()), (Phase::Removed, true));
        assert_eq!(world.ended().len(), 2);
    });
}

#[test]
fn a_removal_inside_an_attempt_is_finished_by_whoever_ends_last() {
    check("a_removal_inside_an_attempt_is_finished_by_whoever_ends_last", 3, || {
        let world = World::new();
        let registration = Arc::downgrade(&world.registration);
        let removes = move || _ = registration.upgrade().expect("the model keeps it").remove();
        world.add(In, op_during('a', 1, removes));
        world.arrive(1, Readiness::IN);
        let port = start(&world, |world| world.port.turn());
        let accepted = world.try_send(Out, op('b', 1));
        join(port);
        assert_eq!((world.registration.phase(), world.released()), (Phase::Removed, true));
        assert_eq!(world.ended().len(), 1 + usize::from(accepted));
    });
}

#[test]
fn a_removal_while_a_claim_is_held_is_finished_when_that_ends() {
    check("a_removal_while_a_claim_is_held_is_finished_when_that_ends", 3, || {
        let world = World::new();
        let adder = start(&world, |world| world.registration.add(In, op('a', 1)).is_ok());
        let claim = world.registration.try_claim(Out).expect("nobody is at work");
        assert!(world.registration.remove());
        drop(claim);
        let accepted = join(adder);
        assert_eq!((world.registration.phase(), world.released()), (Phase::Removed, true));
        assert_eq!(world.ended().len(), usize::from(accepted));
    });
}

#[test]
fn a_claim_inside_a_claims_callback_removes() {
    check("a_claim_inside_a_claims_callback_removes", 3, || {
        let (outer, inner) = (World::new(), World::new());
        let port = start(&outer, |outer| outer.port.turn());
        let first = outer.registration.try_claim(Out).expect("nobody is at work");
        let second = inner.registration.try_claim(Out).expect("nobody is at work");
        first.complete(|| {
            second.complete(|| {
                assert!(outer.registration.remove());
                assert!(inner.registration.remove());
            });
        });
        join(port);
        assert!(outer.released() && inner.released());
    });
}

#[test]
fn of_two_callbacks_one_removes_and_one_waits() {
    check("of_two_callbacks_one_removes_and_one_waits", 2, || {
        let world = World::new();
        let registration = Arc::downgrade(&world.registration);
        let removes = move || _ = registration.upgrade().expect("the model keeps it").remove();
        world.add(In, op_then('a', 1, removes));
        world.arrive(1, Readiness::IN);
        let port = start(&world, |world| world.port.turn());
        if let Ok(claim) = world.registration.try_claim(Out) {
            claim.complete(|| world.registration.remove_and_wait());
        }
        join(port);
        assert_eq!((world.registration.phase(), world.released()), (Phase::Removed, true));
        assert!([vec![('a', Done)], vec![('a', Abandoned)]].contains(&world.ended()));
    });
}
