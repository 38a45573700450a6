//! A slot that is empty for a moment, while another thread promotes the operation behind it.

use crate::check;
use crate::world::{End, World, join, op, op_on_credit, op_then, start};
use completion_port::Direction::{In, Out};
use completion_port::Readiness;

use End::{Broken, Done};

#[test]
fn an_error_is_told_to_all_who_waited() {
    check("an_error_is_told_to_all_who_waited", 3, || {
        let world = World::new();
        let kernel = world.port.clone();
        world.add(In, op_then('a', 1, move || kernel.report(Readiness::IN)));
        world.add(In, op('b', 1));
        world.arrive(0, Readiness::ERROR);
        let port = start(&world, |world| {
            world.port.turn();
            world.port.turn();
        });
        world.add(In, op('c', 1));
        join(port);
        let ended = world.ended();
        assert!(ended.contains(&('a', Broken)) && ended.contains(&('b', Broken)), "ended: {ended:?}");
    });
}

#[test]
fn a_suspended_operation_meets_its_resumption_and_a_removal() {
    check("a_suspended_operation_meets_its_resumption_and_a_removal", 2, || {
        let world = World::new();
        world.arrive(1, Readiness::IN);
        world.add(In, op_on_credit('a', 1));
        let port = start(&world, |world| world.port.turn());
        let remover = start(&world, |world| world.remove());
        world.give_credit(In);
        join(port);
        assert!(join(remover));
        assert_eq!(world.ended().len(), 1);
    });
}

#[test]
fn a_busy_lane_does_not_hold_up_the_other() {
    check("a_busy_lane_does_not_hold_up_the_other", 3, || {
        let world = World::new();
        world.add(In, op('a', 1));
        world.add(Out, op('b', 1));
        world.arrive(2, Readiness::IN | Readiness::OUT);
        let port = start(&world, |world| world.port.turn());
        world.add(In, op('c', 1));
        join(port);
        let ended = world.ended();
        assert!(ended.contains(&('a', Done)) && ended.contains(&('b', Done)), "ended: {ended:?}");
    });
}

#[test]
fn a_claim_an_add_and_an_event_meet() {
    check("a_claim_an_add_and_an_event_meet", 1, || {
        let world = World::new();
        let port = start(&world, |world| {
            world.arrive(2, Readiness::OUT);
            world.port.turn();
        });
        let adder = start(&world, |world| world.add(Out, op('b', 1)));
        world.send(Out, op('a', 1));
        join(adder);
        join(port);
        assert_eq!(world.ended().len(), 2);
    });
}

#[test]
fn a_resumption_meets_an_add_and_a_turn() {
    check("a_resumption_meets_an_add_and_a_turn", 2, || {
        let world = World::new();
        world.arrive(2, Readiness::IN);
        world.add(In, op_on_credit('a', 1));
        world.port.turn();
        let one = start(&world, |world| world.give_credit(In));
        let adder = start(&world, |world| world.add(In, op('b', 1)));
        world.port.turn();
        join(one);
        join(adder);
        assert_eq!(world.ended(), [('a', Done), ('b', Done)]);
    });
}

#[test]
fn claims_in_both_directions_meet_a_removal() {
    check("claims_in_both_directions_meet_a_removal", 2, || {
        let world = World::new();
        world.arrive(1, Readiness::IN | Readiness::OUT);
        world.port.turn();
        let remover = start(&world, |world| world.remove());
        let other = start(&world, |world| world.try_send(In, op('a', 1)));
        let accepted = world.try_send(Out, op('b', 1));
        assert!(join(remover));
        let others = join(other);
        assert_eq!(world.ended().len(), usize::from(others) + usize::from(accepted));
    });
}
