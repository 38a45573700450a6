//! Buffers that are taken only when bytes have arrived: receives that park no memory.
//!
//! Invariant: a buffer is in the pool, or in one [`PooledBuffer`]. Who finds the pool dry is noted under the same lock that
//! a buffer comes back under, so nobody waits while there is one.

use crate::event::Core;
use crate::sys::SocketSyscalls;
use async_socket_api::{IoBuf, ReceiveResult};
use completion_port::memory::try_box;
use completion_port::{Direction, Port, Resumer};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use thiserror::Error;

/// Why a pool cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PoolError {
    /// A buffer has between 1 and `u32::MAX` bytes.
    #[error("buffers of {buffer_bytes} bytes: must be 1 to {}", u32::MAX)]
    BufferBytes {
        /// What was asked for.
        buffer_bytes: usize,
    },
    /// A pool of no buffers would never be of use.
    #[error("a pool of 0 buffers")]
    NoBuffers,
}

/// A pool of equal buffers for [`receive_pooled_async`](crate::AsyncSocketLinux::receive_pooled_async), shared by as many
/// sockets as you like.
///
/// Buffers are made when first needed and kept. When all of them are in use, receives wait, in the order in which they found
/// the pool dry, until one is dropped: nothing is lost, for what the peer sends stays with the kernel. So the limit bounds
/// the memory, whatever the number of connections. A program that holds on to all buffers for ever waits for ever.
///
/// `clone` gives another handle to the same pool.
///
/// ```
/// use async_socket_linux::{AsyncSocket, AsyncSocketLinux, BufferPool};
/// use std::{io::Write, os::unix::net::UnixStream, sync::mpsc::channel};
///
/// let pool = BufferPool::new(64 * 1024, 100)?;
/// let (ours, mut theirs) = UnixStream::pair()?;
/// let socket = AsyncSocketLinux::create(None, ours.into())?;
/// socket.open_async(|_| {})?;
///
/// let (done, received) = channel();
/// socket.receive_pooled_async(&pool, move |completion| drop(done.send(completion.buffer)))?;
/// assert_eq!(pool.buffers_made(), 0); // waiting costs none
/// theirs.write_all(b"hello")?;
/// assert_eq!(received.recv()?.as_deref(), Some(b"hello".as_slice()));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct BufferPool {
    shared: Arc<Shared>,
}

struct Shared {
    buffer_bytes: usize,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: Vec<Box<[u8]>>,
    made: usize,
    dry: VecDeque<Box<dyn Waiting>>,
}

/// A receive that found the pool dry.
pub(crate) trait Waiting: Send {
    /// Has it try again. False if it is gone.
    fn resume(&self) -> bool;
}

impl<S: SocketSyscalls, P: Port> Waiting for [Resumer<Core<S>, P>; 1] {
    fn resume(&self) -> bool {
        self[0].resume(Direction::In)
    }
}

/// What came of asking the pool for a buffer.
pub(crate) enum Taken {
    Buffer(PooledBuffer),
    /// There is none; the receive will be resumed.
    Dry,
    /// There is none, and no memory for one or to note who waits.
    OutOfMemory,
}

impl BufferPool {
    /// A pool of at most `limit` buffers of `buffer_bytes` bytes, none of which is made yet.
    ///
    /// # Errors
    /// [`PoolError`]
    // Codes_SRS_BUFFER_POOL_01_001, Codes_SRS_BUFFER_POOL_01_002
    pub fn new(buffer_bytes: usize, limit: usize) -> Result<Self, PoolError> {
        if buffer_bytes == 0 || u32::try_from(buffer_bytes).is_err() {
            return Err(PoolError::BufferBytes { buffer_bytes });
        }
        if limit == 0 {
            return Err(PoolError::NoBuffers);
        }
        Ok(Self { shared: Arc::new(Shared { buffer_bytes, limit, state: Mutex::default() }) })
    }

    /// How many buffers there are, in use or not: at most the limit.
    #[must_use]
    pub fn buffers_made(&self) -> usize {
        self.shared.state.lock().made
    }

    /// How many buffers are not in use now, of those that were made.
    #[must_use]
    pub fn buffers_free(&self) -> usize {
        self.shared.state.lock().free.len()
    }

    // Codes_SRS_BUFFER_POOL_01_003, Codes_SRS_BUFFER_POOL_01_005, Codes_SRS_BUFFER_POOL_01_006
    pub(crate) fn take<S: SocketSyscalls, P: Port>(&self, resumer: &Resumer<Core<S>, P>) -> Taken {
        let mut state = self.shared.state.lock();
        if let Some(bytes) = state.free.pop() {
            drop(state);
            return Taken::Buffer(self.filled_later(bytes));
        }
        if state.made < self.shared.limit
            && let Some(bytes) = state.make(self.shared.buffer_bytes)
        {
            return Taken::Buffer(self.filled_later(bytes));
        }
        // A buffer that is in use will come back.
        let comes_back = state.made > 0;
        if !comes_back || state.dry.try_reserve(1).is_err() {
            return Taken::OutOfMemory;
        }
        match try_box(resumer.clone()) {
            Ok(waiting) => {
                state.dry.push_back(waiting);
                Taken::Dry
            }
            Err(_) => Taken::OutOfMemory,
        }
    }

    /// If there is a buffer after all, whoever waits longest shall have it: for a receive that ended while it waited.
    // Codes_SRS_BUFFER_POOL_01_007
    pub(crate) fn pass_on(&self) {
        self.shared.resume_next();
    }

    fn filled_later(&self, bytes: Box<[u8]>) -> PooledBuffer {
        PooledBuffer { bytes, filled: 0, pool: Arc::clone(&self.shared) }
    }
}

impl State {
    fn make(&mut self, buffer_bytes: usize) -> Option<Box<[u8]>> {
        // It will come back, and must then find room.
        self.free.try_reserve(self.made + 1).ok()?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(buffer_bytes).ok()?;
        bytes.resize(buffer_bytes, 0);
        self.made += 1;
        Some(bytes.into_boxed_slice())
    }
}

impl Shared {
    fn resume_next(&self) {
        loop {
            let mut state = self.state.lock();
            let waiting = if state.free.is_empty() && state.made >= self.limit { None } else { state.dry.pop_front() };
            drop(state);
            // Resumed without the lock, for that may wake a thread.
            match waiting {
                Some(waiting) if !waiting.resume() => {}
                _ => return,
            }
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("BufferPool")
            .field("buffer_bytes", &self.shared.buffer_bytes)
            .field("limit", &self.shared.limit)
            .field("made", &state.made)
            .field("free", &state.free.len())
            .field("waiting", &state.dry.len())
            .finish()
    }
}

/// Received bytes in a buffer of a [`BufferPool`]; dropping it gives the buffer back. Can be sent as it is.
pub struct PooledBuffer {
    bytes: Box<[u8]>,
    filled: usize,
    pool: Arc<Shared>,
}

impl PooledBuffer {
    /// All of the buffer, to receive into.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(crate) fn set_filled(&mut self, filled: usize) {
        self.filled = filled;
    }
}

impl Deref for PooledBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

impl DerefMut for PooledBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.filled).unwrap_or_default()
    }
}

impl IoBuf for PooledBuffer {
    fn as_slice(&self) -> &[u8] {
        self
    }
}

impl Drop for PooledBuffer {
    // Codes_SRS_BUFFER_POOL_01_005, Codes_SRS_BUFFER_POOL_01_006
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut state = self.pool.state.lock();
        state.free.push(bytes);
        let waited_for = !state.dry.is_empty();
        drop(state);
        if waited_for {
            self.pool.resume_next();
        }
    }
}

impl fmt::Debug for PooledBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledBuffer").field("filled", &self.filled).finish_non_exhaustive()
    }
}

/// What a pooled receive's call-back gets.
#[derive(Debug)]
#[non_exhaustive]
pub struct PooledCompletion {
    /// How it ended.
    pub result: ReceiveResult,
    /// The `errno` behind a result other than [`ReceiveResult::Ok`], if a system call gave one.
    pub os_error: Option<i32>,
    /// The bytes, with [`ReceiveResult::Ok`].
    pub buffer: Option<PooledBuffer>,
}
