//! The acts: on a thread of their own, and inside call-backs.
//!
//! Rules that the acts keep, because the library asks for them: a call-back closes and destroys its own socket and no
//! other, for two call-backs on different threads that close each other's sockets wait for each other. What else it lets
//! go of goes to the undertaker.

use super::operation::{Operation, receive, send};
use super::world::{End, Place, World};
use async_socket_linux::{AsyncSocket, SocketState};
use std::mem;
use std::sync::Arc;

/// One act of a thread.
pub(super) fn act(world: &Arc<World>, random: &mut fastrand::Rng) {
    let place = random.usize(..world.places.len());
    let calm = world.program.calm;
    match world.at(place) {
        Place::Empty => {
            let mut old = world.connect(place / 2, random);
            old.iter_mut().for_each(|old| destroy(world, mem::take(old)));
        }
        Place::Library(end) => match random.u16(..1000) {
            0..=9 if !calm => close(world, &end),
            10..=19 if !calm => {
                drop(end);
                let old = mem::take(&mut *world.places[place].lock());
                destroy(world, old);
            }
            0..500 => without_memory_at_times(world, random, |random| send(world, &end, random)),
            _ => without_memory_at_times(world, random, |random| receive(world, &end, random)),
        },
        Place::Plain(peer) => match random.u16(..1000) {
            0..=4 if !calm => peer.reset_on_close(),
            5..=9 if !calm => peer.shut(std::net::Shutdown::Write),
            10..=12 if !calm => peer.shut(std::net::Shutdown::Both),
            13..=25 if !calm => {
                let old = mem::take(&mut *world.places[place].lock());
                destroy(world, old);
            }
            _ => peer.stir(random, &world.ledger),
        },
    }
}

/// One act of a call-back.
pub(super) fn act_inside(world: &Arc<World>, operation: &Operation, random: &mut fastrand::Rng) {
    let calm = world.program.calm;
    let own = operation.end.upgrade();
    match (random.u16(..1000), own) {
        (0..=4, Some(own)) if !calm => {
            own.book.begins_to_close();
            own.socket.close();
        }
        // The last reference goes in here, if nobody else has one.
        (5..=9, Some(own)) if !calm => {
            let here = mem::take(&mut *world.places[own.book.place].lock());
            match here {
                Place::Library(end) if Arc::ptr_eq(&end, &own) => drop(end),
                other => world.bury(other),
            }
        }
        (0..350, Some(own)) => receive(world, &own, random),
        (350..550, Some(own)) => send(world, &own, random),
        (550..650, _) => {
            let place = world.at(random.usize(..world.places.len()));
            if let Place::Library(other) = &place {
                send(world, other, random);
                receive(world, other, random);
            }
            world.bury(place);
        }
        (650..653, _) => {
            let pair = random.usize(..world.places.len()) / 2;
            if !calm {
                world.connect(pair, random).into_iter().for_each(|old| world.bury(old));
            }
        }
        _ => {}
    }
}

/// Closes, and looks whether it kept its word.
pub(super) fn close(world: &World, end: &End) {
    let only = end.book.begins_to_close();
    end.socket.close();
    end.socket.close_and_wait();
    if only && end.socket.state() == SocketState::Closed {
        end.book.has_closed("close", false, &world.ledger);
    }
}

/// Lets go of an end outside of call-backs. What still waited must be called back by then, if nobody else has it.
pub(super) fn destroy(world: &World, place: Place) {
    let Place::Library(end) = place else { return };
    let Some(end) = Arc::into_inner(end) else { return };
    let (book, closes) = (Arc::clone(&end.book), end.socket.state() == SocketState::Open);
    drop(end);
    if closes {
        book.has_closed("destroy", true, &world.ledger);
    }
}

/// At times the library gets no memory for what the call wants to remember.
fn without_memory_at_times(world: &World, random: &mut fastrand::Rng, call: impl FnOnce(&mut fastrand::Rng)) {
    let memory = random.u16(..1000) >= world.program.no_memory;
    super::operation::SCARCE.set(!memory);
    call(random);
    super::operation::SCARCE.set(false);
}
