//! Buffers that a receive takes only when bytes have arrived, so that a receive that waits holds no memory.
//!
//! Invariants:
//! * A buffer is in the pool, or in one [`PooledBuffer`].
//! * A receive that finds the pool empty is queued under the lock that also guards returned buffers, so it cannot miss one.
//! * A buffer that comes back is granted to the first receive in the queue, and no other receive takes it. A receive that
//!   ends leaves the queue, and its grant goes to the next.

use crate::metrics::PoolMetrics;
use crate::pool_waiters::{Note, PoolWaiters, Ticket};
use async_socket_api::{EndReason, IoBuf, ReceiveResult};
use completion_port::memory::TryArc;
use completion_port::process::{Generation, Inherited};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
    /// A pool needs at least one buffer.
    #[error("a pool of 0 buffers")]
    NoBuffers,
    /// There is no memory for the pool itself.
    #[error("no memory for a pool")]
    OutOfMemory,
}

/// A pool of equal buffers for [`receive_pooled_async`](crate::AsyncSocketLinux::receive_pooled_async). Any number of
/// sockets can share it.
///
/// Buffers are made when first needed, and kept. When all of them are in use, receives wait until one is dropped. They
/// get buffers in the order in which they found the pool empty. Nothing is lost, because what the peer sends stays with
/// the kernel. So the limit bounds the memory, whatever the number of connections. If the program keeps all buffers,
/// the receives wait for ever.
///
/// # Peers that do not read
/// A pool takes no buffer back. A program that sends its buffers on, such as an echo or a proxy, leaves them in sends that
/// wait if the peer does not read, and all connections that share the pool suffer. Bound both how many buffers a connection
/// can hold and for how long:
///
/// * [`set_high_water_mark`](crate::AsyncSocketLinux::set_high_water_mark)`(Some(1))` lets one send wait at most. The next
///   is refused, and its buffer goes back to the pool with the refusal.
/// * [`send_async_within`](crate::AsyncSocketLinux::send_async_within) or
///   [`set_idle_timeout`](crate::AsyncSocketLinux::set_idle_timeout) ends a send that waits for too long.
///
/// Then `limit` slow peers can stop a pool of `limit` buffers no longer than that time. A limit above the number of peers
/// that are slow at the same time is never reached by them.
///
/// # What a pool keeps alive
///
/// A receive that waits for a buffer keeps its port alive, as every pending operation does. Once it is done, or its
/// socket is closed, the pool keeps nothing of it.
///
/// A clone is another handle to the same pool.
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
    shared: TryArc<Shared>,
}

struct Shared {
    made_in: Generation,
    buffer_bytes: usize,
    limit: usize,
    /// The standard library's lock, because it allocates nothing when two threads want it at once.
    state: Mutex<State>,
}

impl Shared {
    /// Ignores poisoning. No code of the program runs with the lock held, so a panic leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct State {
    free: Vec<Box<[u8]>>,
    made: usize,
    waiters: PoolWaiters,
    /// How many receives have ever waited.
    delayed: u64,
}

/// The outcome of asking a pool for a buffer.
#[derive(Debug)]
pub enum FromPool {
    /// A buffer, which is empty: see [`PooledBuffer::room`].
    Buffer(PooledBuffer),
    /// There is no buffer now. The receive is queued, and will be resumed.
    Empty,
    /// There is no buffer, and no memory to make one or to queue the receive.
    OutOfMemory,
}

/// A receive's place in its pool, for code that makes receives of its own: [`BufferPool::place`] gives it. Dropping it
/// takes the receive out of the pool's queue, and a buffer that was granted to it goes to the next.
pub struct PoolPlace {
    pool: BufferPool,
    /// The place in the queue. It exists from when the receive finds the pool empty until the receive gets a buffer.
    ticket: Option<Ticket>,
}

impl PoolPlace {
    pub(crate) fn new(pool: &BufferPool) -> Self {
        Self { pool: pool.clone(), ticket: None }
    }

    /// Takes a buffer that is granted to this receive, or one that no receive waits for. Otherwise queues the receive
    /// with a `note`, unless it is queued already. `None` means that there was no memory for the note.
    ///
    /// The pool resumes a note when a buffer is granted to its receive, which then asks again.
    pub fn take(&mut self, note: impl FnOnce() -> Option<Note>) -> FromPool {
        let shared = &*self.pool.shared;
        let mut state = shared.lock();
        let Some(ticket) = self.ticket else {
            // Codes_SRS_BUFFER_POOL_01_005
            if state.waiters.waiting() == 0
                // Codes_SRS_BUFFER_POOL_01_010
                && state.spare(shared.limit) > 0
                && let Some(bytes) = state.take(shared.buffer_bytes)
            {
                drop(state);
                return FromPool::Buffer(self.pool.wrap(bytes));
            }
            // Codes_SRS_BUFFER_POOL_01_006
            self.ticket = state.wait(note);
            return if self.ticket.is_some() { FromPool::Empty } else { FromPool::OutOfMemory };
        };
        if !state.waiters.is_granted(ticket) {
            return FromPool::Empty;
        }
        let Some(bytes) = state.take(shared.buffer_bytes) else {
            // There was no memory for a new buffer. Another receive has a buffer, which will come back.
            state.waiters.take_grant_back(ticket);
            return FromPool::Empty;
        };
        let note = state.waiters.remove(ticket);
        state.grant_free(shared.limit);
        drop(state);
        drop(note);
        self.ticket = None;
        FromPool::Buffer(self.pool.wrap(bytes))
    }
}

impl fmt::Debug for PoolPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolPlace").field("waits", &self.ticket.is_some()).finish_non_exhaustive()
    }
}

impl Drop for PoolPlace {
    // Codes_SRS_BUFFER_POOL_01_007, Codes_SRS_BUFFER_POOL_01_009
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let shared = &*self.pool.shared;
            let mut state = shared.lock();
            let note = state.waiters.remove(ticket);
            state.grant_free(shared.limit);
            drop(state);
            drop(note);
        }
    }
}

impl BufferPool {
    /// Makes a pool of at most `limit` buffers of `buffer_bytes` bytes each, and none of the buffers yet.
    ///
    /// # Errors
    /// [`PoolError`]
    pub fn new(buffer_bytes: usize, limit: usize) -> Result<Self, PoolError> {
        // Codes_SRS_BUFFER_POOL_01_002
        if buffer_bytes == 0 || u32::try_from(buffer_bytes).is_err() {
            return Err(PoolError::BufferBytes { buffer_bytes });
        }
        // Codes_SRS_BUFFER_POOL_01_002
        if limit == 0 {
            return Err(PoolError::NoBuffers);
        }
        let shared = Shared { made_in: Generation::current(), buffer_bytes, limit, state: Mutex::default() };
        // Codes_SRS_BUFFER_POOL_01_012
        let Some(shared) = TryArc::try_new(shared).ok() else { return Err(PoolError::OutOfMemory) };
        Ok(Self { shared })
    }

    /// A place for a receive that is not one of an [`AsyncSocketLinux`](crate::AsyncSocketLinux).
    ///
    /// # Errors
    /// [`Inherited`] if the pool is.
    pub fn place(&self) -> Result<PoolPlace, Inherited> {
        if self.is_inherited() { Err(Inherited) } else { Ok(PoolPlace::new(self)) }
    }

    /// Whether the pool was made in a parent of this process, before a `fork`. The pool may have been locked at that
    /// moment. So receives from it are refused, and buffers that are dropped are freed.
    // Codes_SRS_COMPLETION_PORT_01_086
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.shared.made_in.is_inherited()
    }

    /// The number of buffers that exist, in use or not: at most the limit. 0 if the pool is inherited.
    #[must_use]
    pub fn buffers_made(&self) -> usize {
        if self.is_inherited() {
            return 0;
        }
        self.shared.lock().made
    }

    /// The number of existing buffers that are not in use now. 0 if the pool is inherited.
    #[must_use]
    pub fn buffers_free(&self) -> usize {
        if self.is_inherited() {
            return 0;
        }
        self.shared.lock().free.len()
    }

    pub(crate) fn counts(&self) -> PoolMetrics {
        let state = self.shared.lock();
        PoolMetrics {
            limit: self.shared.limit,
            buffers_made: state.made,
            buffers_free: state.free.len(),
            receives_waiting: state.waiters.waiting() + state.waiters.granted(),
            receives_delayed: state.delayed,
        }
    }

    fn wrap(&self, bytes: Box<[u8]>) -> PooledBuffer {
        PooledBuffer { bytes, filled: 0, pool: self.shared.clone() }
    }
}

impl State {
    /// The number of buffers that are free or can be made, without those that are granted to receives.
    fn spare(&self, limit: usize) -> usize {
        // Codes_SRS_BUFFER_POOL_01_001
        (self.free.len() + limit - self.made).saturating_sub(self.waiters.granted())
    }

    fn take(&mut self, buffer_bytes: usize) -> Option<Box<[u8]>> {
        self.free.pop().or_else(|| self.make(buffer_bytes))
    }

    // Codes_SRS_SOCKET_01_050
    fn make(&mut self, buffer_bytes: usize) -> Option<Box<[u8]>> {
        // Reserves room for the buffer's return, so that the return needs no memory.
        self.free.try_reserve(self.made + 1).ok()?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(buffer_bytes).ok()?;
        bytes.resize(buffer_bytes, 0);
        self.made += 1;
        Some(bytes.into_boxed_slice())
    }

    /// Queues a receive until a buffer in use comes back. `None` if no buffer is in use, or if there is no memory.
    #[cold]
    fn wait(&mut self, note: impl FnOnce() -> Option<Note>) -> Option<Ticket> {
        let ticket = if self.made > 0 { self.waiters.push(note) } else { None };
        // Codes_SRS_BUFFER_POOL_01_015
        self.delayed += u64::from(ticket.is_some());
        ticket
    }

    /// Grants the free buffers to waiting receives, and resumes these. Resumes one more receive if another buffer may
    /// be made: there was no memory for that buffer before, and the receive tries again.
    ///
    /// The lock is held meanwhile, so that no receive leaves the queue. Resuming runs no code of the program.
    fn grant_free(&mut self, limit: usize) {
        let available = self.free.len() + usize::from(self.made < limit);
        while self.waiters.waiting() > 0 && self.waiters.granted() < available && self.waiters.wake_next() {}
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_inherited() {
            return f.debug_struct("BufferPool").field("inherited", &true).finish_non_exhaustive();
        }
        let state = self.shared.lock();
        f.debug_struct("BufferPool")
            .field("buffer_bytes", &self.shared.buffer_bytes)
            .field("limit", &self.shared.limit)
            .field("made", &state.made)
            .field("free", &state.free.len())
            .field("waiting", &(state.waiters.waiting() + state.waiters.granted()))
            .finish()
    }
}

/// Received bytes in a buffer of a [`BufferPool`]. It can be sent as it is. Dropping it gives the buffer back to the pool.
pub struct PooledBuffer {
    bytes: Box<[u8]>,
    filled: usize,
    pool: TryArc<Shared>,
}

impl PooledBuffer {
    /// All of the buffer, to receive into.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Says how many bytes at the front of [`room`](Self::room) are the received ones. More than there are count as none.
    pub fn set_filled(&mut self, filled: usize) {
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
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if self.pool.made_in.is_inherited() {
            return;
        }
        let mut state = self.pool.lock();
        // Codes_SRS_BUFFER_POOL_01_003, Codes_SRS_BUFFER_POOL_01_005, Codes_SRS_BUFFER_POOL_01_011
        state.free.push(bytes);
        // Codes_SRS_BUFFER_POOL_01_006, Codes_SRS_BUFFER_POOL_01_010, Codes_SRS_BUFFER_POOL_01_013
        state.grant_free(self.pool.limit);
    }
}

impl fmt::Debug for PooledBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledBuffer").field("filled", &self.filled).finish_non_exhaustive()
    }
}

/// What a pooled receive's callback gets.
#[derive(Debug)]
#[non_exhaustive]
pub struct PooledCompletion {
    /// How it ended.
    pub result: ReceiveResult,
    /// Why it ended so.
    pub reason: EndReason,
    /// The bytes, with [`ReceiveResult::Ok`].
    pub buffer: Option<PooledBuffer>,
}

impl PooledCompletion {
    pub(crate) fn new(reason: EndReason, buffer: Option<PooledBuffer>) -> Self {
        Self { result: reason.receive_result(), reason, buffer }
    }

    /// The `errno` behind a result other than [`ReceiveResult::Ok`], if a system call gave one.
    #[must_use]
    pub fn os_error(&self) -> Option<i32> {
        self.reason.os_error()
    }
}
