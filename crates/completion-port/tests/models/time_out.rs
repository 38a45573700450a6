//! `TimerFired::end_waiting` against everything that can happen to the operations at the same time. The handler follows the
//! protocol of a socket's deadlines: after an add, the timer is armed, unless it is about to come.

use crate::check;
use crate::world::{End, World, join, op, op_late, op_late_on_credit, start};
use completion_port::Direction::{In, Out};
use completion_port::{Cancel, Readiness};

use End::{Abandoned, Cancelled, Done, TimedOut};

/// How the operations ended, by their names, once the timer has come as often as it was armed.
fn ended(world: &World) -> Vec<(char, End)> {
    world.tick_while_armed();
    let mut ended = world.ended();
    ended.sort_unstable_by_key(|end| end.0);
    ended
}

#[test]
fn a_time_out_meets_an_add_that_relies_on_it() {
    check("a_time_out_meets_an_add_that_relies_on_it", 3, || {
        let world = World::new();
        // The timer was armed for an operation that is gone.
        world.arm();
        let port = start(&world, |world| world.port.tick());
        world.add(In, op_late('a', 1));
        world.arm();
        join(port);
        assert_eq!(ended(&world), [('a', TimedOut)]);
    });
}

#[test]
fn a_time_out_meets_an_add_behind_the_operation() {
    check("a_time_out_meets_an_add_behind_the_operation", 3, || {
        let world = World::new();
        world.add(In, op_late('a', 1));
        world.arm();
        let port = start(&world, |world| world.port.tick());
        world.add(In, op('b', 1));
        join(port);
        world.arrive(1, Readiness::IN);
        assert_eq!(ended(&world), [('a', TimedOut), ('b', Done)]);
    });
}

#[test]
fn a_time_out_meets_a_cancel() {
    check("a_time_out_meets_a_cancel", 3, || {
        let world = World::new();
        let first = world.add(In, op_late('a', 1));
        let second = world.add(In, op_late('b', 1));
        world.arm();
        let port = start(&world, |world| world.port.tick());
        let cancelled = [first, second].map(|id| world.registration.cancel(id));
        join(port);
        let end = |cancel| if cancel == Cancel::Cancelled { Cancelled } else { TimedOut };
        assert_eq!(ended(&world), [('a', end(cancelled[0])), ('b', end(cancelled[1]))]);
    });
}

#[test]
fn a_time_out_meets_the_promotion_of_the_operation() {
    check("a_time_out_meets_the_promotion_of_the_operation", 3, || {
        let world = World::new();
        let first = world.add(In, op('a', 1));
        world.add(In, op_late('b', 1));
        world.arm();
        let port = start(&world, |world| world.port.tick());
        // This thread moves the other operation from the backlog to the slot, and nothing arms the timer again.
        let cancelled = world.registration.cancel(first);
        join(port);
        assert_eq!(cancelled, Cancel::Cancelled);
        assert_eq!(ended(&world), [('a', Cancelled), ('b', TimedOut)]);
    });
}

#[test]
fn a_time_out_meets_the_resumption_of_the_operation() {
    check("a_time_out_meets_the_resumption_of_the_operation", 2, || {
        let world = World::new();
        world.arrive(2, Readiness::IN);
        world.add(In, op_late_on_credit('a', 1));
        world.add(In, op('b', 1));
        world.port.turn();
        world.arm();
        let port = start(&world, |world| {
            world.port.tick();
            world.port.turn();
        });
        world.give_credit(In);
        join(port);
        let ended = ended(&world);
        // Resumed or not, it has one end, and the operation behind it goes on.
        assert!(ended == [('a', TimedOut), ('b', Done)] || ended == [('a', Done), ('b', Done)], "{ended:?}");
    });
}

#[test]
fn a_time_out_meets_a_send_on_its_callers_thread() {
    check("a_time_out_meets_a_send_on_its_callers_thread", 3, || {
        let world = World::new();
        world.arm();
        let port = start(&world, |world| world.port.tick());
        world.send(Out, op_late('a', 1));
        world.arm();
        join(port);
        assert_eq!(ended(&world), [('a', TimedOut)]);
    });
}

#[test]
fn a_time_out_in_the_middle_of_a_payload_meets_a_send() {
    check("a_time_out_in_the_middle_of_a_payload_meets_a_send", 3, || {
        let world = World::new();
        world.begin_to_tear('a');
        world.make_room(1);
        let port = start(&world, |world| world.port.tick());
        let accepted = world.send_unless_torn(op('b', 1));
        join(port);
        let ended = ended(&world);
        assert_eq!(world.moved(), "a", "the peer takes it for the rest of the payload");
        assert_eq!(ended.len(), 1 + usize::from(accepted), "one waits for ever");
        assert!(ended.iter().all(|(_, end)| *end == TimedOut), "{ended:?}");
    });
}

#[test]
fn a_time_out_in_the_middle_of_a_payload_meets_two_sends() {
    check("a_time_out_in_the_middle_of_a_payload_meets_two_sends", 1, || {
        let world = World::new();
        world.begin_to_tear('a');
        let port = start(&world, |world| world.port.tick());
        let other = start(&world, |world| world.send_unless_torn(op('b', 1)));
        let accepted = [world.send_unless_torn(op('c', 1)), join(other)];
        join(port);
        let ended = ended(&world);
        assert_eq!(ended.len(), 1 + accepted.into_iter().filter(|accepted| *accepted).count(), "one waits for ever");
    });
}

#[test]
fn a_time_out_meets_a_removal() {
    check("a_time_out_meets_a_removal", 3, || {
        let world = World::new();
        world.add(In, op_late('a', 1));
        world.add(In, op('b', 1));
        world.arm();
        let port = start(&world, |world| world.port.tick());
        world.remove_and_wait();
        join(port);
        let mut ended = world.ended_so_far();
        ended.sort_unstable_by_key(|end| end.0);
        assert!(matches!(ended[..], [('a', TimedOut | Abandoned), ('b', Abandoned)]), "{ended:?}");
    });
}
