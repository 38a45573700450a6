//! A registration whose first operation watches the descriptor, against other operations, events and a removal.

use crate::world::{End, World, join, op, start};
use crate::{ANY, check};
use completion_port::Direction::{In, Out};
use completion_port::Readiness;

use End::Done;

#[test]
fn a_first_add_meets_another() {
    check("a_first_add_meets_another", 4, || {
        let world = World::lazy();
        world.arrive(2, Readiness::IN | Readiness::OUT);
        let other = start(&world, |world| world.add(Out, op('b', 1)));
        world.add(In, op('a', 1));
        join(other);
        let mut ended = world.ended();
        ended.sort_unstable_by_key(|(name, _)| *name);
        assert_eq!(ended, [('a', Done), ('b', Done)]);
    });
}

#[test]
fn a_first_add_meets_an_event() {
    check("a_first_add_meets_an_event", ANY, || {
        let world = World::lazy();
        let peer = start(&world, |world| world.arrive(1, Readiness::IN));
        let port = start(&world, |world| world.port.turn());
        world.add(In, op('a', 1));
        join(peer);
        join(port);
        assert_eq!(world.ended(), [('a', Done)]);
    });
}

#[test]
fn a_first_claim_meets_an_add() {
    check("a_first_claim_meets_an_add", 3, || {
        let world = World::lazy();
        world.arrive(2, Readiness::OUT);
        let adder = start(&world, |world| world.add(Out, op('b', 1)));
        world.send(Out, op('a', 1));
        join(adder);
        let mut ended = world.ended();
        ended.sort_unstable_by_key(|(name, _)| *name);
        assert_eq!(ended, [('a', Done), ('b', Done)]);
    });
}

#[test]
fn a_first_add_meets_a_removal() {
    check("a_first_add_meets_a_removal", 4, || {
        let world = World::lazy();
        let adder = start(&world, |world| world.registration.add(In, op('a', 1)).is_ok());
        assert!(world.remove());
        let accepted = join(adder);
        assert_eq!(world.ended().len(), usize::from(accepted));
    });
}

#[test]
fn a_first_claim_meets_a_removal() {
    check("a_first_claim_meets_a_removal", 3, || {
        let world = World::lazy();
        let sender = start(&world, |world| drop(world.registration.try_claim(Out)));
        assert!(world.remove());
        join(sender);
        assert!(world.released());
    });
}

#[test]
fn a_first_add_meets_a_removal_that_does_not_wait() {
    check("a_first_add_meets_a_removal_that_does_not_wait", 3, || {
        let world = World::lazy();
        let adder = start(&world, |world| world.registration.add(In, op('a', 1)).is_ok());
        assert!(world.remove_async());
        let accepted = join(adder);
        assert_eq!(world.ended().len(), usize::from(accepted));
        assert!(world.is_over());
    });
}
