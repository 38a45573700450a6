//! The idle time-out: ends the operations of a socket on which no byte moves.
//!
//! Invariants:
//! * A message costs a store, with a time-out and without: it sets `SocketCore::touched`. The registration's timer looks
//!   at the flag at each tick, an eighth of the time-out.
//! * Only time counts during which operations wait.

use crate::deadline::rearmed;
use crate::operation::Queued;
use crate::socket::AsyncSocketLinux;
use crate::socket_core::state_in;
use crate::sys::SocketSyscalls;
use async_socket_api::SocketState;
use completion_port::Port;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How many whole ticks without a byte make a time-out.
const TICKS: u32 = 8;

/// A number of ticks: no operation waited at the last one.
const NOTHING_WAITED: u32 = 15;

/// The bits of `IdleCount::tick` that are milliseconds. Those above are the number of ticks.
const MILLISECONDS: u32 = (1 << TICKS_SHIFT) - 1;
const TICKS_SHIFT: u32 = 28;

/// Why a time-out is not set.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TimeoutError {
    /// The socket is not open.
    #[error("the socket is {state}, not OPEN")]
    NotOpen {
        /// The state it is in.
        state: SocketState,
    },
    /// There is no memory for it.
    #[error("no memory for a time-out")]
    OutOfMemory,
}

/// [`OutOfMemory`](io::ErrorKind::OutOfMemory), or [`NotConnected`](io::ErrorKind::NotConnected) if it is not open.
// Codes_SRS_LENT_BUFFERS_01_009
impl From<TimeoutError> for io::Error {
    fn from(error: TimeoutError) -> Self {
        match error {
            TimeoutError::OutOfMemory => io::ErrorKind::OutOfMemory.into(),
            TimeoutError::NotOpen { .. } => Self::new(io::ErrorKind::NotConnected, error),
        }
    }
}

/// How long a socket has been idle, in ticks.
#[derive(Debug, Default)]
pub(crate) struct IdleCount {
    /// Milliseconds of a tick, or 0 if there is no time-out. Above them is the number of ticks since a byte moved or an
    /// operation began to wait, or `NOTHING_WAITED`. One word, because an idle connection should be small.
    tick: AtomicU32,
    /// When the next tick is due, in milliseconds by [`milliseconds`].
    next: AtomicU32,
}

impl IdleCount {
    fn tick(&self) -> Option<Duration> {
        Some(self.milliseconds()).filter(|tick| *tick > 0).map(|tick| Duration::from_millis(tick.into()))
    }

    fn milliseconds(&self) -> u32 {
        self.tick.load(Ordering::Relaxed) & MILLISECONDS
    }

    fn begin(&self, timeout: Duration, now: Instant) {
        let tick = timeout.as_nanos().div_ceil(u128::from(TICKS) * 1_000_000).clamp(1, MILLISECONDS.into());
        self.tick.store(NOTHING_WAITED << TICKS_SHIFT | tick as u32, Ordering::Relaxed);
        self.set_next(now);
    }

    fn end(&self) {
        self.tick.store(0, Ordering::Relaxed);
    }

    fn set_next(&self, now: Instant) {
        let tick = self.milliseconds();
        // One more, because `now` is rounded down. So no tick is too short.
        self.next.store(milliseconds(now).wrapping_add(tick + 1), Ordering::Relaxed);
    }

    /// Milliseconds until the next tick. 0 or less if it is due.
    fn left(&self, now: Instant) -> i32 {
        self.next.load(Ordering::Relaxed).wrapping_sub(milliseconds(now)).cast_signed()
    }

    /// When the next tick is due, if there is a time-out.
    pub(crate) fn next_tick(&self, now: Instant) -> Option<Instant> {
        self.tick()?;
        Some(now + Duration::from_millis(u64::try_from(self.left(now)).unwrap_or(0)))
    }

    /// Counts a tick, if one is due. Returns whether the socket has been idle for too long.
    // Codes_SRS_SOCKET_01_110
    pub(crate) fn is_over(
        &self,
        now: Instant,
        take_touched: impl FnOnce() -> bool,
        waits: impl FnOnce() -> bool,
    ) -> bool {
        if self.tick().is_none() || self.left(now) > 0 {
            return false;
        }
        self.set_next(now);
        // Codes_SRS_SOCKET_01_111
        let touched = take_touched();
        let before = self.tick.load(Ordering::Relaxed);
        let ticks = match (waits(), before >> TICKS_SHIFT) {
            (false, _) => NOTHING_WAITED,
            (true, NOTHING_WAITED) => 0,
            (true, _) if touched => 0,
            (true, ticks) => ticks + 1,
        };
        let is_over = ticks == TICKS;
        let ticks = if is_over { NOTHING_WAITED } else { ticks };
        let after = ticks << TICKS_SHIFT | before & MILLISECONDS;
        // If the program changes the time-out at this moment, the count begins anew.
        self.tick.compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed).is_ok() && is_over
    }
}

/// Milliseconds since some time. They wrap.
fn milliseconds(now: Instant) -> u32 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let begin = *BEGIN.get_or_init(|| now);
    let since = now.saturating_duration_since(begin).as_millis();
    // The lowest bits suffice, because only differences are used.
    since as u32
}

impl<P: Port, S: SocketSyscalls> AsyncSocketLinux<P, S> {
    /// Ends the operations of a socket on which nothing happens. When operations have waited for `timeout` and no byte was
    /// received or sent meanwhile, all that wait end as [`TimedOut`](async_socket_api::EndReason::TimedOut), receives and
    /// sends, on the port thread. The socket stays open; a program that gives the peer up closes it. If bytes of a send had
    /// gone out, the stream is broken, and later sends are refused.
    ///
    /// Time during which no operation waits does not count, because then the program is what keeps the connection idle. A
    /// receive that waits for a buffer of a pool does wait.
    ///
    /// The socket is looked at eight times in this time, so the operations end after `timeout` and less than an eighth
    /// more, apart from some milliseconds. It is rounded up to a multiple of 8 ms, and 24 days are the most. A message sets a flag, and reads no clock. `None`, the default,
    /// ends it.
    ///
    /// # Errors
    /// [`TimeoutError`]; the time-out is unchanged.
    ///
    /// ```
    /// use async_socket_linux::{AsyncSocket, AsyncSocketLinux, EndReason};
    /// use std::{os::unix::net::UnixStream, sync::mpsc::channel, time::Duration};
    ///
    /// let (ours, _silent) = UnixStream::pair()?;
    /// let socket = AsyncSocketLinux::open(None, ours)?;
    /// socket.set_idle_timeout(Some(Duration::from_millis(50)))?;
    ///
    /// let (done, ended) = channel();
    /// socket.receive_async(vec![0; 64], move |completion| drop(done.send(completion.reason)))?;
    /// assert_eq!(ended.recv()?, EndReason::TimedOut);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_idle_timeout(&self, timeout: Option<Duration>) -> Result<(), TimeoutError> {
        let core = self.registration.handler();
        // Codes_SRS_SOCKET_01_112
        let Some(timeout) = timeout else {
            // The timer goes on until it comes. Then it is not armed again.
            core.extras().into_iter().for_each(|extras| extras.idle.end());
            return Ok(());
        };
        // Codes_SRS_SOCKET_01_112
        if state_in(self.registration.phase()) != SocketState::Open {
            return Err(TimeoutError::NotOpen { state: self.state() });
        }
        let extras = core.make_extras().ok_or(TimeoutError::OutOfMemory)?;
        let now = self.registration.port().now();
        let tick_before = extras.idle.tick();
        // Codes_SRS_SOCKET_01_110, Codes_SRS_SOCKET_01_112
        extras.idle.begin(timeout, now);
        self.registration.set_timer(rearmed(extras, now)).map_err(|error| {
            if tick_before.is_none() {
                extras.idle.end();
            }
            match error.kind() {
                io::ErrorKind::NotConnected => TimeoutError::NotOpen { state: self.state() },
                _ => TimeoutError::OutOfMemory,
            }
        })
    }
}

/// Whether an operation waits. For [`TimerFired::end_waiting`](completion_port::TimerFired::end_waiting), which it makes end
/// none.
pub(crate) fn only_looks<S>(waits: &mut bool) -> impl FnMut(&Queued<S>) -> bool {
    |_| {
        *waits = true;
        false
    }
}
