//! Cancelling against everything that can happen to the operation at the same time, and removals that do not wait.

use crate::check;
use crate::world::{End, World, join, op, op_during, op_on_credit, op_then, start};
use completion_port::Direction::{In, Out};
use completion_port::{Cancel, Phase, Readiness};
use std::sync::Arc;

use End::{Abandoned, Cancelled, Done};

/// How an operation with one byte ends after a `cancel` that returned this.
fn end_after(cancel: Cancel) -> End {
    if cancel == Cancel::Cancelled { Cancelled } else { Done }
}

#[test]
fn a_cancel_meets_the_event_that_completes_the_operation() {
    check("a_cancel_meets_the_event_that_completes_the_operation", 3, || {
        let world = World::new();
        let id = world.add(In, op('a', 1));
        let port = start(&world, |world| {
            world.arrive(1, Readiness::IN);
            world.port.turn();
        });
        let cancelled = world.registration.cancel(id);
        join(port);
        assert_eq!(world.ended(), [('a', end_after(cancelled))]);
        assert_eq!(world.moved(), if cancelled == Cancel::Cancelled { "" } else { "a" });
        // No byte is lost: the next operation gets what the cancelled one did not take.
        if cancelled == Cancel::Cancelled {
            world.add(In, op('b', 1));
            assert_eq!(world.ended()[1..], [('b', Done)]);
        }
    });
}

#[test]
fn a_cancel_meets_the_promotion_of_the_operation() {
    check("a_cancel_meets_the_promotion_of_the_operation", 2, || {
        let world = World::new();
        world.add(In, op('a', 1));
        let id = world.add(In, op('b', 1));
        world.add(In, op('c', 1));
        let port = start(&world, |world| {
            world.arrive(1, Readiness::IN);
            world.port.turn();
        });
        let cancelled = world.registration.cancel(id);
        join(port);
        assert_eq!(cancelled, Cancel::Cancelled, "it has nothing to move, so it waits all the time");
        world.arrive(1, Readiness::IN);
        let mut ended = world.ended();
        ended.sort_unstable_by_key(|end| end.0);
        assert_eq!(ended, [('a', Done), ('b', Cancelled), ('c', Done)]);
    });
}

#[test]
fn a_cancel_meets_the_completion_while_another_operation_waits() {
    check("a_cancel_meets_the_completion_while_another_operation_waits", 2, || {
        let world = World::new();
        let id = world.add(In, op('a', 1));
        world.add(In, op('b', 1));
        let port = start(&world, |world| {
            world.arrive(1, Readiness::IN);
            world.port.turn();
        });
        let cancelled = world.registration.cancel(id);
        join(port);
        world.arrive(1, Readiness::IN);
        let mut ended = world.ended();
        ended.sort_unstable_by_key(|end| end.0);
        assert_eq!(ended, [('a', end_after(cancelled)), ('b', Done)]);
    });
}

#[test]
fn two_cancels_meet() {
    check("two_cancels_meet", 3, || {
        let world = World::new();
        let first = world.add(In, op('a', 1));
        let id = world.add(In, op('b', 1));
        let other = start(&world, move |world| (world.registration.cancel(first), world.registration.cancel(id)));
        let one = world.registration.cancel(id);
        let (head, two) = join(other);
        assert_eq!(head, Cancel::Cancelled);
        assert!((one == Cancel::Cancelled) != (two == Cancel::Cancelled), "{one:?} and {two:?}");
        assert_eq!(world.ended().len(), 2);
    });
}

#[test]
fn a_cancel_meets_an_add_behind_it() {
    check("a_cancel_meets_an_add_behind_it", 3, || {
        let world = World::new();
        world.arrive(1, Readiness::IN);
        world.port.turn();
        let id = world.add(Out, op('a', 1));
        let adder = start(&world, |world| _ = world.add(Out, op('b', 1)));
        let cancelled = world.registration.cancel(id);
        join(adder);
        world.port.report(Readiness::OUT);
        let ended = world.ended();
        assert_eq!(cancelled, Cancel::Cancelled);
        assert!(ended.contains(&('a', Cancelled)) && ended.contains(&('b', Done)), "{ended:?}");
    });
}

#[test]
fn a_cancel_meets_the_resumption_of_the_operation() {
    check("a_cancel_meets_the_resumption_of_the_operation", 2, || {
        let world = World::new();
        world.arrive(1, Readiness::IN);
        let id = world.add(In, op_on_credit('a', 1));
        world.port.turn();
        let resumer = start(&world, |world| world.give_credit(In));
        let port = start(&world, |world| _ = world.port.turn());
        let cancelled = world.registration.cancel(id);
        join(resumer);
        join(port);
        assert_eq!(world.ended(), [('a', end_after(cancelled))]);
    });
}

#[test]
fn a_cancel_meets_a_removal() {
    check("a_cancel_meets_a_removal", 3, || {
        let world = World::new();
        let id = world.add(In, op('a', 1));
        world.add(In, op('b', 1));
        let canceller = start(&world, move |world| world.registration.cancel(id));
        world.remove_and_wait();
        let end = if join(canceller) == Cancel::Cancelled { Cancelled } else { Abandoned };
        let ended = world.ended_so_far();
        assert!(ended.contains(&('a', end)) && ended.contains(&('b', Abandoned)) && ended.len() == 2, "{ended:?}");
    });
}

#[test]
fn a_removal_that_does_not_wait_meets_a_turn_and_a_send() {
    check("a_removal_that_does_not_wait_meets_a_turn_and_a_send", 1, || {
        let world = World::new();
        world.add(In, op('a', 1));
        world.arrive(2, Readiness::IN | Readiness::OUT);
        let port = start(&world, |world| _ = world.port.turn());
        let sender = start(&world, |world| world.try_send(Out, op('b', 1)));
        assert!(world.remove_async());
        join(port);
        let accepted = join(sender);
        assert!(world.is_over(), "no thread has ended the removal");
        assert_eq!(world.registration.phase(), Phase::Removed);
        assert_eq!(world.ended().len(), 1 + usize::from(accepted));
    });
}

#[test]
fn two_callbacks_remove_each_other() {
    check("two_callbacks_remove_each_other", 2, || {
        let (left, right) = (World::new(), World::new());
        let (of_left, of_right) = (Arc::downgrade(&right), Arc::downgrade(&left));
        left.add(In, op_then('a', 1, move || assert!(of_left.upgrade().expect("kept").remove_async_in_callback())));
        right.add(In, op_then('b', 1, move || assert!(of_right.upgrade().expect("kept").remove_async_in_callback())));
        left.arrive(1, Readiness::IN);
        right.arrive(1, Readiness::IN);
        let port = start(&left, |left| _ = left.port.turn());
        right.port.turn();
        join(port);
        for world in [left, right] {
            // A removal may have come before the event, and then the other callback was abandoned but ran all the same.
            assert!(world.is_over() && world.ended_so_far().len() == 1);
        }
    });
}

#[test]
fn a_removal_inside_an_attempt_that_does_not_wait_meets_a_claim() {
    check("a_removal_inside_an_attempt_that_does_not_wait_meets_a_claim", 2, || {
        let world = World::new();
        let weak = Arc::downgrade(&world);
        world.add(In, op_during('a', 1, move || assert!(weak.upgrade().expect("kept").remove_async_in_callback())));
        world.arrive(2, Readiness::IN | Readiness::OUT);
        let sender = start(&world, |world| world.try_send(Out, op('b', 1)));
        world.port.turn();
        let accepted = join(sender);
        assert!(world.is_over(), "no thread has ended the removal");
        assert_eq!(world.ended().len(), 1 + usize::from(accepted));
    });
}
