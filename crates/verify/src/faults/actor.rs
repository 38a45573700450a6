//! The acts of a program's threads and of its callbacks.
//!
//! [`stack`] decides which ends a callback may close. A callback leaves every other reference to the reaper.

use super::acts::Act;
use super::net::act_on_net;
use super::operation::{Operation, call, cancel, receive, send};
use super::shutdown::{set_idle_timeout, shut_down};
use super::simulation::{End, Place, Simulation};
use super::stack;
use super::timers::act_on_timers;
use async_socket_linux::{AsyncSocket, SocketState};
use completion_port::is_port_thread;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// The consecutive acts, over all threads, that meet at one place.
const ACTS_AT_ONE_PLACE: usize = 256;

/// One act of a thread.
pub(super) fn act(simulation: &Arc<Simulation>, random: &mut fastrand::Rng) {
    let place = choose(simulation, random);
    let calm = simulation.program.calm;
    if random.u16(..2000) == 0 {
        simulation.lose_a_port(random);
    }
    match random.u16(..100) {
        0..3 => without_memory_at_times(simulation, random, |random| act_on_timers(simulation, random)),
        3..5 => without_memory_at_times(simulation, random, |random| act_on_net(simulation, random)),
        _ => {}
    }
    match simulation.at(place) {
        Place::Empty => {
            without_memory_at_times(simulation, random, |random| {
                let mut old = simulation.connect(place / 2, random);
                old.iter_mut().for_each(|old| destroy(simulation, mem::take(old)));
            });
        }
        Place::Library(end) => match random.u16(..1000) {
            0..=9 if !calm => {
                if end.account.running.load(SeqCst) > 0 {
                    simulation.happened.note(Act::CloseBesideCallback);
                }
                without_memory_at_times(simulation, random, |_| close(simulation, &end));
            }
            10..=19 if !calm => {
                drop(end);
                let old = mem::take(&mut *simulation.places[place].lock());
                without_memory_at_times(simulation, random, |_| destroy(simulation, old));
            }
            30..500 => without_memory_at_times(simulation, random, |random| send(simulation, &end, random)),
            // Most of its sends come before.
            20..22 => without_memory_at_times(simulation, random, |random| shut_down(simulation, &end, random)),
            22..30 => without_memory_at_times(simulation, random, |random| set_idle_timeout(simulation, &end, random)),
            500..520 => without_memory_at_times(simulation, random, |_| cancel(simulation, &end)),
            520..600 if simulation.program.acts.has(Act::AddBesideBacklog) => {
                (0..random.u8(2..8)).for_each(|_| receive(simulation, &end, random));
            }
            _ => without_memory_at_times(simulation, random, |random| receive(simulation, &end, random)),
        },
        Place::Plain(peer) => match random.u16(..1000) {
            0..=4 if !calm => peer.reset_on_close(),
            5..=9 if !calm => peer.shut(std::net::Shutdown::Write),
            10..=12 if !calm => peer.shut(std::net::Shutdown::Both),
            13..=25 if !calm => {
                let old = mem::take(&mut *simulation.places[place].lock());
                destroy(simulation, old);
            }
            _ => peer.transfer_some(random, &simulation.ledger),
        },
    }
}

/// Chooses a place. If the program wants threads to meet, half of the choices are the common place.
fn choose(simulation: &Simulation, random: &mut fastrand::Rng) -> usize {
    let places = simulation.places.len();
    let acted = simulation.acted.fetch_add(1, SeqCst);
    let meets = simulation.program.acts.has(Act::AddBesideBacklog) && random.bool();
    if meets { acted / ACTS_AT_ONE_PLACE % places } else { random.usize(..places) }
}

/// One act of a callback.
pub(super) fn act_inside(simulation: &Arc<Simulation>, operation: &Operation, random: &mut fastrand::Rng) {
    let own = operation.end.upgrade();
    if !simulation.program.calm && close_inside(simulation, own.as_ref(), random) {
        return own.into_iter().for_each(|own| drop_inside(simulation, own));
    }
    match (random.u16(..1000), &own) {
        (0..350, Some(own)) => receive(simulation, own, random),
        (350..536, Some(own)) => send(simulation, own, random),
        (536..538, _) => act_on_timers(simulation, random),
        (538..540, _) => act_on_net(simulation, random),
        (540..550, Some(own)) => cancel(simulation, own),
        (550..552, Some(own)) => shut_down(simulation, own, random),
        (552..556, Some(own)) => set_idle_timeout(simulation, own, random),
        (556..650, _) => {
            let place = simulation.at(random.usize(..simulation.places.len()));
            if let Place::Library(other) = &place {
                send(simulation, other, random);
                receive(simulation, other, random);
            }
            simulation.leave_to_reaper(place);
        }
        (650..653, _) => {
            let pair = random.usize(..simulation.places.len()) / 2;
            if !simulation.program.calm {
                simulation.connect(pair, random).into_iter().for_each(|old| simulation.leave_to_reaper(old));
            }
        }
        _ => {}
    }
    own.into_iter().for_each(|own| simulation.let_go(own));
}

/// Now and then closes or destroys something, often in a callback that a close runs. Returns whether it did.
fn close_inside(simulation: &Arc<Simulation>, own: Option<&Arc<End>>, random: &mut fastrand::Rng) -> bool {
    let acts = simulation.program.acts;
    if own.is_some_and(|own| own.socket.state() == SocketState::Closing) && random.u8(..4) == 0 {
        let below = if acts.has(Act::DestroyEachOther) { stack::below() } else { None };
        if let Some(below) = below {
            if destroy_inside(simulation, &below) {
                simulation.happened.note(Act::DestroyEachOther);
            }
            simulation.let_go(below);
            return true;
        }
        let act = if is_port_thread() { Act::DestroyInAbandonedOnPort } else { Act::DestroyInAbandonedOnPlain };
        if acts.has(act) && own.is_some_and(|own| destroy_inside(simulation, own)) {
            simulation.happened.note(act);
        }
        return true;
    }
    match random.u16(..1000) {
        0..=4 => own.is_some_and(|own| {
            let may = stack::may_close(simulation, &own.account);
            if may {
                own.account.begins_to_close();
                own.socket.close();
                own.account.has_closed("close in a callback", false, &simulation.ledger);
            }
            may
        }),
        // Drops the place's reference, and then perhaps the last reference.
        5..=9 => {
            if let Some(own) = own {
                let here = mem::take(&mut *simulation.places[own.account.place].lock());
                match here {
                    Place::Library(end) if Arc::ptr_eq(&end, own) => simulation.let_go(end),
                    other => simulation.leave_to_reaper(other),
                }
            }
            own.is_some()
        }
        10..=14 if acts.has(Act::DestroyOther) || acts.has(Act::DestroyEachOther) => {
            let place = simulation.at(random.usize(..simulation.places.len()));
            let is_other = |end: &Arc<End>| own.is_none_or(|own| own.account.serial != end.account.serial);
            if let Place::Library(other) = &place
                && is_other(other)
                && destroy_inside(simulation, other)
            {
                simulation.happened.note(Act::DestroyOther);
            }
            simulation.leave_to_reaper(place);
            true
        }
        // Allowed for every end, whatever callbacks this thread is in.
        15..=19 if acts.has(Act::CloseAsync) => {
            let place = simulation.at(random.usize(..simulation.places.len()));
            if let Place::Library(other) = &place {
                close_async(simulation, other);
            }
            simulation.leave_to_reaper(place);
            true
        }
        _ => false,
    }
}

/// Closes an end without waiting. Its callback counts as that of an operation.
pub(super) fn close_async(simulation: &Arc<Simulation>, end: &End) {
    let (account, ledger) = (Arc::clone(&end.account), Arc::clone(simulation));
    // Counted before it can be called back.
    simulation.ledger.accepted.fetch_add(1, SeqCst);
    account.begins_to_close();
    let done = move || {
        account.has_closed("close_async", false, &ledger.ledger);
        ledger.ledger.called_back.fetch_add(1, SeqCst);
    };
    if end.socket.close_async(done).is_ok() {
        simulation.happened.note(Act::CloseAsync);
    } else {
        simulation.ledger.accepted.fetch_sub(1, SeqCst);
    }
}

/// Does the same as destroying a socket, if this callback may. Returns whether it did.
fn destroy_inside(simulation: &Simulation, end: &Arc<End>) -> bool {
    let may = stack::may_close(simulation, &end.account);
    if may {
        end.account.begins_to_close();
        end.socket.close_and_wait();
        end.account.has_closed("destroy in a callback", false, &simulation.ledger);
    }
    may
}

/// Drops a callback's reference to its own end.
fn drop_inside(simulation: &Simulation, own: Arc<End>) {
    if !stack::may_close(simulation, &own.account) {
        return simulation.leave_to_reaper(Place::Library(own));
    }
    if let Some(last) = Arc::into_inner(own) {
        simulation.happened.note(Act::LastDropInCallback);
        drop(last);
    }
}

/// Closes an end outside of callbacks and checks that the close has waited.
pub(super) fn close(simulation: &Simulation, end: &End) {
    let only = end.account.begins_to_close();
    call(|| end.socket.close());
    call(|| end.socket.close_and_wait());
    if only && end.socket.state() == SocketState::Closed {
        end.account.has_closed("close", false, &simulation.ledger);
    }
}

/// Drops a reference to an end outside of callbacks. The last drop must call all waiting operations back before it
/// returns.
pub(super) fn destroy(simulation: &Simulation, place: Place) {
    let Place::Library(end) = place else { return };
    let Some(end) = Arc::into_inner(end) else { return };
    let (account, closes) = (Arc::clone(&end.account), end.socket.state() == SocketState::Open);
    call(|| drop(end));
    if closes {
        account.has_closed("destroy", true, &simulation.ledger);
    }
}

/// At times denies the library the memory that the call needs.
fn without_memory_at_times(simulation: &Simulation, random: &mut fastrand::Rng, call: impl FnOnce(&mut fastrand::Rng)) {
    let memory = random.u16(..1000) >= simulation.program.no_memory;
    super::operation::SCARCE.set(!memory);
    call(random);
    super::operation::SCARCE.set(false);
}
