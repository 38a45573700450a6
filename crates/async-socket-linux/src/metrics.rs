//! What a socket and a pool hold at this moment. Nothing is counted per message, so this costs a message nothing.

use crate::pool::BufferPool;
use crate::socket::AsyncSocketLinux;
use crate::sys::SocketSyscalls;
use async_socket_api::SocketState;
use completion_port::{Direction, Port};

/// What a socket holds, see [`AsyncSocketLinux::metrics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketMetrics {
    /// Its state.
    pub state: SocketState,
    /// How many receives wait for bytes or for a buffer.
    pub receives_waiting: usize,
    /// How many sends wait, and a shutdown behind them.
    pub sends_waiting: usize,
    /// The bytes of these sends that the kernel has not taken.
    pub queued_bytes: usize,
}

/// What a pool holds, see [`BufferPool::metrics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolMetrics {
    /// How many buffers there can be.
    pub limit: usize,
    /// How many exist.
    pub buffers_made: usize,
    /// How many of these are not in use.
    pub buffers_free: usize,
    /// How many receives have found the pool empty and wait for a buffer.
    pub receives_waiting: usize,
}

impl<P: Port, S: SocketSyscalls> AsyncSocketLinux<P, S> {
    /// What the socket holds at this moment. Each number is exact; another thread may change one while the next is read.
    ///
    /// Messages and bytes are not counted, because that would cost every message some instructions.
    /// A program that wants such a count adds `bytes_received` and `bytes_sent` in its callbacks.
    // Codes_SRS_SOCKET_01_120
    #[must_use]
    pub fn metrics(&self) -> SocketMetrics {
        SocketMetrics {
            state: self.state(),
            receives_waiting: self.registration.queued(Direction::In),
            sends_waiting: self.registration.queued(Direction::Out),
            queued_bytes: self.queued_bytes(),
        }
    }
}

impl BufferPool {
    /// What the pool holds at this moment. All numbers are of the same moment. In a child of `fork`, an inherited pool holds
    /// nothing.
    // Codes_SRS_BUFFER_POOL_01_014
    #[must_use]
    pub fn metrics(&self) -> PoolMetrics {
        if self.is_inherited() { PoolMetrics::default() } else { self.counts() }
    }
}
