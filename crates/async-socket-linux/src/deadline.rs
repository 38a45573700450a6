//! Operations with a deadline, and the registration's one timer, which ends them.
//!
//! Invariants:
//! * The timer comes at the earliest deadline of the operations that wait, at the next tick of the idle time-out, or
//!   before. A deadline is armed before its operation is queued, because that may need memory, and again afterwards,
//!   because the timer may have come in between.
//! * An operation is ended by the thread that takes it out of its queue, so it has one outcome. A receive is taken out
//!   before it is tried or after the try has found nothing, so no byte is lost.

use crate::extras::Extras;
use crate::idle::only_looks;
use crate::kinds::PendingReceive;
use crate::lent::{Lent, Room, is_boxed};
use crate::operation::{Kind, Progress, Queued, store_in};
use crate::pool::{BufferPool, PooledCompletion};
use crate::sending::{send_boxed_within, send_within};
use crate::socket::{AsyncSocketLinux, given_back};
use crate::socket_core::SocketCore;
use crate::sys::SocketSyscalls;
use async_socket_api::{
    EndReason, IoBufs, IoBufsMut, Payload, ReceiveCompletion, ReceiveError, Refused, SendCompletion, SendError,
};
use completion_port::{Attempt, Direction, IntoOperation, OperationId, Phase, Port, Registration, TimerFired};
use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

/// An operation with a deadline.
pub(crate) struct Within<K> {
    operation: K,
    deadline: Instant,
}

/// What waits longest: a time that no clock reaches.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl<P: Port, S: SocketSyscalls> AsyncSocketLinux<P, S> {
    /// [`receive_async`](async_socket_api::AsyncSocket::receive_async) that does not wait for ever. If no byte has arrived
    /// within this time, the receive ends as [`TimedOut`](EndReason::TimedOut), on the port thread, usually less than two
    /// milliseconds late and never early. The buffers come back, no byte is lost, and the socket goes on.
    ///
    /// The time also counts while earlier receives wait. Costs a reading of the clock, and a system call if the port thread
    /// sleeps longer than that. [`set_idle_timeout`](Self::set_idle_timeout) is cheaper for long times.
    ///
    /// # Errors
    /// Those of `receive_async`.
    ///
    /// ```
    /// use async_socket_linux::{AsyncSocketLinux, EndReason};
    /// use std::{os::unix::net::UnixStream, sync::mpsc::channel, time::Duration};
    ///
    /// let (ours, _silent) = UnixStream::pair()?;
    /// let socket = AsyncSocketLinux::open(None, ours)?;
    /// let (done, ended) = channel();
    /// let report = move |completion: async_socket_linux::ReceiveCompletion<_>| drop(done.send(completion.reason));
    /// socket.receive_async_within(vec![0; 64], Duration::from_millis(20), report)?;
    /// assert_eq!(ended.recv()?, EndReason::TimedOut);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn receive_async_within<B, F>(
        &self,
        buffers: B,
        within: Duration,
        on_receive_complete: F,
    ) -> Result<OperationId, Refused<B, ReceiveError>>
    where
        B: IoBufsMut,
        F: FnOnce(ReceiveCompletion<B>) + Send + 'static,
    {
        if const { !is_boxed::<B>() } {
            return self.receive_within(buffers, within, on_receive_complete);
        }
        let Some(room) = Room::new() else {
            return Err(Refused { error: ReceiveError::OutOfMemory, returned: buffers });
        };
        let on_complete = |received: ReceiveCompletion<Lent<B>>| {
            let buffers = received.buffers.into_inner();
            on_receive_complete(ReceiveCompletion::new(received.reason, received.bytes_received, buffers));
        };
        self.receive_within(room.fill(buffers), within, on_complete).map_err(given_back)
    }

    fn receive_within<B, F>(
        &self,
        buffers: B,
        within: Duration,
        on_complete: F,
    ) -> Result<OperationId, Refused<B, ReceiveError>>
    where
        B: IoBufsMut,
        F: FnOnce(ReceiveCompletion<B>) + Send + 'static,
    {
        let payload = Payload::to_receive_into(buffers).map_err(|refused| refused.map_error(ReceiveError::from))?;
        let receive = PendingReceive { buffers: payload.into_buffers(), on_complete };
        self.add_within(receive, within)
            .map_err(|refused| Refused { error: refused.error, returned: refused.returned.buffers })
    }

    /// [`receive_pooled_async`](Self::receive_pooled_async) that does not wait for ever, neither for bytes nor for a buffer;
    /// see [`receive_async_within`](Self::receive_async_within).
    ///
    /// # Errors
    /// Those of `receive_pooled_async`.
    pub fn receive_pooled_async_within<F>(
        &self,
        pool: &BufferPool,
        within: Duration,
        on_receive_complete: F,
    ) -> Result<OperationId, ReceiveError>
    where
        F: FnOnce(PooledCompletion) + Send + 'static,
    {
        let receive = self.pending_pooled(pool, on_receive_complete)?;
        self.add_within(receive, within).map_err(|refused| refused.error)
    }

    fn add_within<K>(&self, operation: K, within: Duration) -> Result<OperationId, Refused<K, ReceiveError>>
    where
        K: Kind<S>,
    {
        let deadline = deadline(&self.registration, within);
        if !arm(&self.registration, deadline) {
            return Err(Refused { error: ReceiveError::OutOfMemory, returned: operation });
        }
        match self.registration.add(Direction::In, Within { operation, deadline }) {
            Ok(id) => {
                arm(&self.registration, deadline);
                Ok(id)
            }
            Err(refused) => {
                Err(Refused { error: self.receive_error(refused.error), returned: refused.returned.operation })
            }
        }
    }

    /// [`send_async`](async_socket_api::AsyncSocket::send_async) that does not wait for ever. If the kernel has not taken
    /// every byte within this time, the send ends as [`TimedOut`](EndReason::TimedOut), on the port thread, usually less
    /// than two milliseconds late and never early.
    ///
    /// `bytes_sent` says how much went out. If that is not 0, the stream is broken, because the peer would see a gap: later
    /// sends are refused, and those that wait end as [`StreamBroken`](EndReason::StreamBroken) once the kernel would take
    /// more, or as [`Closed`](EndReason::Closed) if the socket is closed before.
    ///
    /// The time also counts while earlier sends wait. A send that is done at once costs nothing more than `send_async`.
    ///
    /// # Errors
    /// Those of `send_async`.
    pub fn send_async_within<B, F>(
        &self,
        buffers: B,
        within: Duration,
        on_send_complete: F,
    ) -> Result<Option<OperationId>, Refused<B, SendError>>
    where
        B: IoBufs,
        F: FnOnce(SendCompletion<B>) + Send + 'static,
    {
        if const { !is_boxed::<B>() } {
            return send_within(&self.registration, buffers, on_send_complete, Some(within));
        }
        let Some(room) = Room::new() else {
            return Err(Refused { error: SendError::OutOfMemory { bytes_sent: 0 }, returned: buffers });
        };
        send_boxed_within(&self.registration, room.fill(buffers), on_send_complete, Some(within)).map_err(given_back)
    }
}

/// When an operation that begins now is over.
pub(crate) fn deadline<P: Port, S: SocketSyscalls>(
    registration: &Registration<SocketCore<S>, P>,
    within: Duration,
) -> Instant {
    let now = registration.port().now();
    now.checked_add(within).unwrap_or_else(|| now + NEVER)
}

/// Makes the timer come at `deadline` or earlier. False if there is no memory. That cannot be so the second time, because the
/// timer then has an entry in the port. A socket that is not open needs no timer.
pub(crate) fn arm<P: Port, S: SocketSyscalls>(
    registration: &Registration<SocketCore<S>, P>,
    deadline: Instant,
) -> bool {
    // This is also so in a child of `fork`, where no lock may be touched.
    if registration.phase() != Phase::Registered {
        return true;
    }
    let core = registration.handler();
    let (Some(extras), Some(more)) = (core.make_extras(), core.make_more()) else { return false };
    let mut armed = more.armed();
    if armed.is_some_and(|armed| armed <= deadline) {
        return true;
    }
    let now = registration.port().now();
    // A tick that comes first looks at the deadlines too.
    if extras.idle.next_tick(now).is_none_or(|tick| deadline < tick)
        && let Err(error) = registration.set_timer(Some(deadline))
    {
        return error.kind() == io::ErrorKind::NotConnected;
    }
    *armed = Some(deadline);
    true
}

/// When the timer has to come next: at the next tick, or at the earliest deadline that is armed.
pub(crate) fn rearmed(extras: &Extras, now: Instant) -> Option<Instant> {
    let armed = extras.more().and_then(|more| *more.armed());
    armed.into_iter().chain(extras.idle.next_tick(now)).min()
}

thread_local! {
    /// Why the timer that this thread is in ends operations. `None` inside a callback.
    static ENDING: Cell<Option<EndReason>> = const { Cell::new(None) };
}

/// Whether this thread may end a send of which bytes have gone out.
pub(crate) fn ends_started() -> bool {
    ENDING.get().is_some()
}

/// Why the operation ends that the timer has taken out of its queue.
pub(crate) fn reason_of_timer() -> EndReason {
    ENDING.get().unwrap_or(EndReason::TimedOut)
}

/// Runs `callback`, in which a started send can only be cancelled as usual.
pub(crate) fn as_usual(callback: impl FnOnce()) {
    let _set = Ending::set(None);
    callback();
}

/// Puts back what was there, also if a callback panics.
struct Ending(Option<EndReason>);

impl Ending {
    fn set(reason: Option<EndReason>) -> Self {
        Self(ENDING.replace(reason))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        ENDING.set(self.0);
    }
}

/// A send was queued. If the stream broke meanwhile, the timer ends the send, because there may never be room for it.
///
/// No fence is needed between the two. The timer notes the broken stream with the queue's lock held
/// ([`Handler::times_out`](completion_port::Handler::times_out)) and then looks at the queue again. Either it finds the send, or
/// this finds the broken stream (model `a_time_out_in_the_middle_of_a_payload_meets_a_send`).
pub(crate) fn end_if_broken<P: Port, S: SocketSyscalls>(registration: &Registration<SocketCore<S>, P>) {
    // Codes_SRS_SOCKET_01_104
    if registration.handler().is_stream_broken() {
        // Without memory for the timer it waits for room or for the close.
        let _ = arm(registration, registration.port().now());
    }
}

/// Ends what has waited for too long. Returns when the timer has to come next.
pub(crate) fn timer_fired<S: SocketSyscalls>(
    core: &SocketCore<S>,
    timer: &TimerFired<'_, SocketCore<S>>,
) -> Option<Instant> {
    let extras = core.extras()?;
    let now = timer.now();
    let was_broken = core.is_stream_broken();
    // Deadlines that are armed from now on are kept.
    let more = extras.more().inspect(|more| *more.armed() = None);
    let both = [Direction::In, Direction::Out];
    let waits = || {
        // A send of which bytes have gone out waits too.
        let _set = Ending::set(Some(EndReason::TimedOut));
        let mut waits = false;
        for direction in both {
            timer.end_waiting(direction, only_looks(&mut waits));
        }
        waits
    };
    // Codes_SRS_SOCKET_01_110
    let is_idle = extras.idle.is_over(now, || core.take_touched(), waits);
    let mut earliest = None::<Instant>;
    if is_idle || more.is_some() {
        let _set = Ending::set(Some(EndReason::TimedOut));
        for direction in both {
            timer.end_waiting(direction, |operation| {
                let deadline = operation.deadline();
                // Codes_SRS_SOCKET_01_100, Codes_SRS_SOCKET_01_101, Codes_SRS_SOCKET_01_102, Codes_SRS_SOCKET_01_103
                let is_over = is_idle || deadline.is_some_and(|deadline| deadline <= now);
                if !is_over {
                    earliest = earliest.into_iter().chain(deadline).min();
                }
                is_over
            });
        }
    }
    // Codes_SRS_SOCKET_01_104
    if core.is_stream_broken() {
        let _set = Ending::set(Some(EndReason::StreamBroken));
        timer.end_waiting(Direction::Out, |_| true);
    }
    if let (Some(more), Some(earliest)) = (extras.more(), earliest) {
        let mut armed = more.armed();
        *armed = Some(armed.map_or(earliest, |armed| armed.min(earliest)));
    }
    // A send that was added since the first look is left alone by this timer, and no room may ever come for it.
    let breaks = core.is_stream_broken() && !was_broken;
    if breaks { Some(now) } else { rearmed(extras, now) }
}

impl<S: SocketSyscalls, K: Kind<S>> IntoOperation<Queued<S>> for Within<K> {
    fn store_in(self, recycled: &mut Option<Queued<S>>) -> Result<(), Self> {
        store_in(self, recycled)
    }
}

impl<S: SocketSyscalls, K: Kind<S>> Kind<S> for Within<K> {
    const FAILED: &'static str = K::FAILED;
    const DIRECTION: Direction = K::DIRECTION;
    type Done = K::Done;
    type Completion = K::Completion;
    type Callback = K::Callback;

    #[inline(always)]
    fn is_fast_path(core: &SocketCore<S>) -> bool {
        K::is_fast_path(core)
    }

    #[inline(always)]
    fn attempt(
        &mut self,
        core: &SocketCore<S>,
        attempt: &Attempt<'_, SocketCore<S>>,
        is_fast_path: bool,
    ) -> Progress<K::Done> {
        self.operation.attempt(core, attempt, is_fast_path)
    }

    fn succeed(self, done: K::Done) -> (K::Callback, K::Completion) {
        self.operation.succeed(done)
    }

    fn bytes_sent(&self) -> Option<u32> {
        self.operation.bytes_sent()
    }

    // Codes_SRS_SOCKET_01_100
    fn deadline(&self) -> Option<Instant> {
        Some(self.deadline)
    }

    fn note_failure(&self, core: &SocketCore<S>) {
        self.operation.note_failure(core);
    }

    fn fail(self, reason: EndReason) {
        self.operation.fail(reason);
    }
}
