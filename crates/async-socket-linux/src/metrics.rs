//! What a socket and a pool hold at this moment, and what a socket has done.
//!
//! What they hold is known anyway. What a socket does is counted only if the program asks for it, see [`counts`](crate::counts).

use crate::counts::Counts;
use crate::extras::More;
use crate::pool::BufferPool;
use crate::socket::AsyncSocketLinux;
use crate::sys::SocketSyscalls;
use async_socket_api::SocketState;
use completion_port::{Direction, OutOfMemory, Port};
use std::time::Duration;

/// What a socket holds and has done, see [`AsyncSocketLinux::metrics`].
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
    /// What it has done. `None` unless [`set_metrics`](AsyncSocketLinux::set_metrics) is on.
    pub counts: Option<SocketCounts>,
}

/// What a socket has done while it counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SocketCounts {
    /// The receives that have called back, those from a pool included. Every receive waits first, so the number of those that
    /// were accepted is the sum of these and of [`receives_waiting`](SocketMetrics::receives_waiting).
    pub receives: OperationCounts,
    /// The sends that have called back, and shutdowns. A send that the kernel takes at once is one of them.
    pub sends: OperationCounts,
    /// The bytes that receives have got.
    pub bytes_received: u64,
    /// The bytes that the kernel has taken, those of sends that failed afterwards included.
    pub bytes_sent: u64,
    /// The sends that had to wait, because the kernel did not take all bytes at once, or behind such a send.
    pub sends_queued: u64,
    /// The sends that were refused without a callback, for instance at the high-water mark, apart from those with buffers that
    /// make no sense.
    pub sends_refused: u64,
    /// The longest time that one callback of the socket took. On a port thread, all its other sockets waited that long.
    pub longest_callback: Duration,
}

/// How operations ended. Each operation is counted once, just before its callback runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OperationCounts {
    /// Successfully.
    pub completed: u64,
    /// Because the peer finished or reset the connection, the program closed the socket, or an earlier send broke off.
    pub abandoned: u64,
    /// Because the program cancelled them.
    pub cancelled: u64,
    /// Because their deadline or the idle time-out was over.
    pub timed_out: u64,
    /// For any other reason, an `errno` for instance.
    pub failed: u64,
}

impl OperationCounts {
    /// How many operations have ended.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.completed + self.abandoned + self.cancelled + self.timed_out + self.failed
    }
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
    /// How many receives have found the pool empty since it was made. A figure that grows says that the limit is low.
    pub receives_delayed: u64,
}

impl<P: Port, S: SocketSyscalls> AsyncSocketLinux<P, S> {
    /// What the socket holds at this moment, and what it has done if it counts. Each number is exact; another thread may change
    /// one while the next is read.
    ///
    /// ```
    /// use async_socket_linux::{AsyncSocket, AsyncSocketLinux};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (ours, _theirs) = UnixStream::pair()?;
    /// let socket = AsyncSocketLinux::open(None, ours)?;
    /// assert_eq!(socket.metrics().counts, None);
    ///
    /// socket.set_metrics(true)?;
    /// socket.send_async("hello", |_| {})?;
    /// let counts = socket.metrics().counts.expect("it counts");
    /// assert_eq!((counts.sends.completed, counts.bytes_sent), (1, 5));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn metrics(&self) -> SocketMetrics {
        SocketMetrics {
            state: self.state(),
            // Codes_SRS_SOCKET_01_120
            receives_waiting: self.registration.queued(Direction::In),
            // Codes_SRS_SOCKET_01_120
            sends_waiting: self.registration.queued(Direction::Out),
            // Codes_SRS_SOCKET_01_120
            queued_bytes: self.queued_bytes(),
            counts: self.registration.handler().counts().map(Counts::get),
        }
    }

    /// Switches the [counts](SocketMetrics::counts) on or off. The default is off, and then they cost nothing. On, they cost
    /// about 300 bytes of memory, and each operation two readings of the clock, which makes about 350 instructions in all.
    ///
    /// It can be called at any time, from any thread, also in callbacks. Operations that wait at that moment are counted when
    /// they end. Counts that are switched on again go on from what they were.
    ///
    /// # Errors
    /// [`OutOfMemory`], only when they are first switched on; they stay off.
    // Codes_SRS_SOCKET_01_122
    pub fn set_metrics(&self, on: bool) -> Result<(), OutOfMemory> {
        let core = self.registration.handler();
        if on {
            let counts = core.make_more().and_then(More::make_counts).ok_or(OutOfMemory)?;
            counts.switch(true);
            core.set_watched(true);
        } else if let Some(counts) = core.more().and_then(More::counts) {
            counts.switch(false);
            core.set_watched(false);
        }
        Ok(())
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
