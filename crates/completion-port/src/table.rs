//! What is watched, by token: the thread's own table, and what it has not heard of yet.

use crate::callback::run_caught;
use crate::port::{Source, Token};
use crate::sync::{Arc, planted};
use std::collections::VecDeque;
use std::mem;

/// Which places in the thread's table are free, and what it has not heard of yet.
#[derive(Default)]
pub(crate) struct News {
    pub(crate) changes: Vec<Change>,
    pub(crate) free: Vec<usize>,
    /// How many places there are.
    pub(crate) places: usize,
    pub(crate) generation: u32,
}

/// Somebody is watched from now on, or nobody any more, by a name.
pub(crate) struct Change {
    pub(crate) token: Token,
    pub(crate) source: Option<Arc<dyn Source>>,
}

/// What the thread alone has: its table, and how far it is with its turns.
#[derive(Default)]
pub(crate) struct Turns {
    /// Who is watched, by place.
    pub(crate) table: Vec<Change>,
    /// Who wanted another turn, or asked for one.
    pub(crate) again: VecDeque<Arc<dyn Source>>,
    /// How many of them have it now; who wants another has it after the next wait.
    pub(crate) due: usize,
}

impl News {
    pub(crate) fn new_token(&mut self) -> Token {
        self.generation = self.generation.wrapping_add(1);
        // The eventfd's token has all bits set.
        let generation = self.generation & (u32::MAX >> 1);
        let place = self.free.pop().unwrap_or_else(|| {
            self.places += 1;
            self.places - 1
        });
        Token(u64::from(generation) << 32 | place as u64)
    }
}

impl Turns {
    // Codes_SRS_COMPLETION_PORT_01_053
    #[inline]
    pub(crate) fn watched(&self, token: u64) -> Option<&Arc<dyn Source>> {
        let watched = self.table.get(Token(token).place())?;
        if watched.token.0 == token || planted("no generation") { watched.source.as_ref() } else { None }
    }

    /// Has a source end what waits.
    pub(crate) fn fail(&mut self, source: &Arc<dyn Source>) {
        run_caught("failure", || source.on_port_failure());
        self.again.push_back(Arc::clone(source));
    }

    /// Returns who was there before.
    pub(crate) fn enter(&mut self, place: usize, change: Change) -> Option<Change> {
        if let Some(watched) = self.table.get_mut(place) {
            return Some(mem::replace(watched, change));
        }
        if self.table.len() == self.table.capacity() {
            // A quarter more, not twice as much: with many thousands this is most of the memory that is not used.
            self.table.reserve_exact(self.table.len() / 4 + 16);
        }
        // Places are given one after the other, and heard of in the same order.
        self.table.push(change);
        None
    }
}

impl Change {
    pub(crate) fn is_source_of(&self, token: Token) -> bool {
        self.token == token && self.source.is_some()
    }
}
