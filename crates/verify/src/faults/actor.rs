//! The acts: on a thread of their own, and inside callbacks.
//!
//! Rules that the acts keep, because the library asks for them: a callback closes and destroys its own socket and no
//! other, for two callbacks on different threads that close each other's sockets wait for each other. What else it lets
//! go of goes to the reaper.

use super::operation::{Operation, receive, send};
use super::simulation::{End, Place, Simulation};
use async_socket_linux::{AsyncSocket, SocketState};
use std::mem;
use std::sync::Arc;

/// One act of a thread.
pub(super) fn act(simulation: &Arc<Simulation>, random: &mut fastrand::Rng) {
    let place = random.usize(..simulation.places.len());
    let calm = simulation.program.calm;
    match simulation.at(place) {
        Place::Empty => {
            let mut old = simulation.connect(place / 2, random);
            old.iter_mut().for_each(|old| destroy(simulation, mem::take(old)));
        }
        Place::Library(end) => match random.u16(..1000) {
            0..=9 if !calm => close(simulation, &end),
            10..=19 if !calm => {
                drop(end);
                let old = mem::take(&mut *simulation.places[place].lock());
                destroy(simulation, old);
            }
            0..500 => without_memory_at_times(simulation, random, |random| send(simulation, &end, random)),
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

/// One act of a callback.
pub(super) fn act_inside(simulation: &Arc<Simulation>, operation: &Operation, random: &mut fastrand::Rng) {
    let calm = simulation.program.calm;
    let own = operation.end.upgrade();
    match (random.u16(..1000), own) {
        (0..=4, Some(own)) if !calm => {
            own.account.begins_to_close();
            own.socket.close();
        }
        // The last reference goes in here, if nobody else has one.
        (5..=9, Some(own)) if !calm => {
            let here = mem::take(&mut *simulation.places[own.account.place].lock());
            match here {
                Place::Library(end) if Arc::ptr_eq(&end, &own) => drop(end),
                other => simulation.leave_to_reaper(other),
            }
        }
        (0..350, Some(own)) => receive(simulation, &own, random),
        (350..550, Some(own)) => send(simulation, &own, random),
        (550..650, _) => {
            let place = simulation.at(random.usize(..simulation.places.len()));
            if let Place::Library(other) = &place {
                send(simulation, other, random);
                receive(simulation, other, random);
            }
            simulation.leave_to_reaper(place);
        }
        (650..653, _) => {
            let pair = random.usize(..simulation.places.len()) / 2;
            if !calm {
                simulation.connect(pair, random).into_iter().for_each(|old| simulation.leave_to_reaper(old));
            }
        }
        _ => {}
    }
}

/// Closes, and looks whether it kept its word.
pub(super) fn close(simulation: &Simulation, end: &End) {
    let only = end.account.begins_to_close();
    end.socket.close();
    end.socket.close_and_wait();
    if only && end.socket.state() == SocketState::Closed {
        end.account.has_closed("close", false, &simulation.ledger);
    }
}

/// Lets go of an end outside of callbacks. What still waited must be called back by then, if nobody else has it.
pub(super) fn destroy(simulation: &Simulation, place: Place) {
    let Place::Library(end) = place else { return };
    let Some(end) = Arc::into_inner(end) else { return };
    let (account, closes) = (Arc::clone(&end.account), end.socket.state() == SocketState::Open);
    drop(end);
    if closes {
        account.has_closed("destroy", true, &simulation.ledger);
    }
}

/// At times the library gets no memory for what the call wants to remember.
fn without_memory_at_times(simulation: &Simulation, random: &mut fastrand::Rng, call: impl FnOnce(&mut fastrand::Rng)) {
    let memory = random.u16(..1000) >= simulation.program.no_memory;
    super::operation::SCARCE.set(!memory);
    call(random);
    super::operation::SCARCE.set(false);
}
