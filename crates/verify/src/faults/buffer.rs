//! A buffer that misbehaves while it is lent.

use super::acts::Act;
use super::panics::panic_quietly;
use super::simulation::Simulation;
use async_socket_linux::{IoBuf, IoBufMut};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// The most requests that a buffer answers before it misbehaves: at its check, at each call, and in between.
const LONGEST_PATIENCE: u8 = 7;

/// A buffer that behaves for its first few requests.
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    act: Act,
    /// The requests that it still answers properly.
    patience: AtomicU8,
    simulation: Arc<Simulation>,
}

impl Buffer {
    /// A buffer that misbehaves in a way that the program allows.
    pub(super) fn new(simulation: &Arc<Simulation>, bytes: Vec<u8>, random: &mut fastrand::Rng) -> Self {
        let acts = simulation.program.acts;
        let act = if acts.has(Act::BufferPanic) && (random.bool() || !acts.has(Act::BufferChange)) {
            Act::BufferPanic
        } else {
            Act::BufferChange
        };
        // A changed length shows only after the length was checked once.
        let first = u8::from(act == Act::BufferChange);
        let patience = AtomicU8::new(random.u8(first..LONGEST_PATIENCE));
        Self { bytes, act, patience, simulation: Arc::clone(simulation) }
    }

    /// The number of bytes that it shows.
    fn length(&self) -> usize {
        let behaves = self.patience.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        if behaves {
            return self.bytes.len();
        }
        self.simulation.happened.note(self.act);
        if self.act == Act::BufferPanic {
            panic_quietly();
        }
        self.bytes.len() / 2
    }
}

impl IoBuf for Buffer {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length()]
    }
}

impl IoBufMut for Buffer {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        let length = self.length();
        &mut self.bytes[..length]
    }
}

/// Two buffers, of which each may misbehave.
pub(super) fn two(mut buffer: Buffer, random: &mut fastrand::Rng) -> Vec<Buffer> {
    let mut bytes = mem::take(&mut buffer.bytes);
    let tail = bytes.split_off(bytes.len() / 2);
    let simulation = Arc::clone(&buffer.simulation);
    buffer.bytes = tail;
    vec![Buffer::new(&simulation, bytes, random), buffer]
}

/// Cuts one buffer into a list of a few.
pub(super) fn split(mut bytes: Vec<u8>, random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let mut list = Vec::new();
    while bytes.len() > 1 && list.len() < 5 {
        let tail = bytes.split_off(random.usize(1..bytes.len()));
        list.push(mem::replace(&mut bytes, tail));
    }
    list.push(bytes);
    list
}
