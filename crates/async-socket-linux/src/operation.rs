//! A send or a receive that waits: the specification's `io_context`.
//!
//! Each [`Kind`] of operation defines how it is tried, and what its callback gets. The code here is common to all
//! kinds.
//!
//! Invariant: an operation owns the lent buffers and the callback, and gives up both together, once. Its slot is then
//! kept for the next operation of the same kind, so that nothing is allocated per operation.

use crate::counts::run_watched;
use crate::socket_core::SocketCore;
use crate::sys::{Errno, SocketSyscalls};
use crate::transfer::Fault;
use async_socket_api::EndReason;
use completion_port::memory::try_box;
use completion_port::{Attempt, Direction, log_caught};
use std::any::Any;
use std::mem;
use std::time::Instant;

/// An operation of any kind, as it waits in a queue.
pub(crate) type Queued<S> = Box<dyn Operation<S>>;

/// The port's calls to an operation. The operation's slot implements them. The slot is empty once the operation is
/// complete.
pub(crate) trait Operation<S: SocketSyscalls>: Any + Send {
    /// Tries the operation, and calls back if that completes it.
    fn attempt(self: Box<Self>, core: &SocketCore<S>, attempt: Attempt<'_, SocketCore<S>>);
    /// Whether bytes have gone out.
    fn has_started(&self) -> bool;
    /// When it is over.
    fn deadline(&self) -> Option<Instant>;
    /// Calls back without another try.
    fn fail(self: Box<Self>, core: &SocketCore<S>, reason: EndReason, attempt: Attempt<'_, SocketCore<S>>);
}

/// A kind of operation.
pub(crate) trait Kind<S: SocketSyscalls>: Sized + Send + 'static {
    /// What the log says when one fails.
    const FAILED: &'static str;
    /// The direction that its end is counted for.
    const DIRECTION: Direction;
    /// The outcome of a successful try, for the callback.
    type Done;
    /// What the callback gets.
    type Completion;
    type Callback: FnOnce(Self::Completion);

    /// Whether a try is to take its fast path, on which nothing is counted.
    #[inline(always)]
    fn is_fast_path(core: &SocketCore<S>) -> bool {
        !core.is_watched()
    }

    /// Makes one try. `is_fast_path` is a constant at each call.
    fn attempt(
        &mut self,
        core: &SocketCore<S>,
        attempt: &Attempt<'_, SocketCore<S>>,
        is_fast_path: bool,
    ) -> Progress<Self::Done>;

    /// Returns the callback and what it gets. The completion is made before the operation leaves its slot. They are not one
    /// closure, because that would be copied.
    fn succeed(self, done: Self::Done) -> (Self::Callback, Self::Completion);

    /// The number of bytes that went out, if the operation is a send.
    fn bytes_sent(&self) -> Option<u32> {
        None
    }

    /// When the operation is over, if it has a deadline.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Notes in `core` that the operation fails. Runs before the callback.
    fn note_failure(&self, core: &SocketCore<S>) {
        let _ = core;
    }

    /// Calls back with a failure.
    fn fail(self, reason: EndReason);
}

/// The outcome of one try.
pub(crate) enum Progress<D> {
    /// The operation is done.
    Done {
        done: D,
        /// The kernel has no more for now, so the next operation waits for an event.
        drained: bool,
    },
    /// A part is done, and the rest may follow at once.
    Part,
    /// The operation waits for an event.
    Blocked,
    /// The operation waits for something else, which resumes it.
    Suspended,
    Failed(EndReason),
}

/// The reason that a fault stands for. Writes to the log if the program's buffers are to blame.
pub(crate) fn reason_of(fault: Fault) -> EndReason {
    match fault {
        Fault::Os(errno) => EndReason::of_os_error(errno.raw_os_error()),
        Fault::BuffersChanged => {
            log_caught(|| tracing::error!("a buffer changed its length while it was lent"));
            EndReason::BuffersChanged
        }
    }
}

/// The reason behind `reason`: the errno of its cause, see [`SocketCore::cause_of`].
fn traced<S>(reason: EndReason, core: &SocketCore<S>) -> EndReason {
    let errno = reason.os_error().map(Errno::from_raw_os_error);
    errno.and_then(|errno| core.cause_of(Some(errno))).map_or(reason, |errno| reason_of(Fault::Os(errno)))
}

/// The place of one operation: full while it waits, and empty once it is complete. It is an array of one, because
/// [`try_box`] can allocate such a box without ending the process when memory runs out.
pub(crate) type Slot<K> = [Option<K>; 1];

/// The size in bytes up to which an empty slot is kept for the next operation. A larger slot has room for lent arrays.
/// Moving these costs more than a new allocation, and an idle socket must not hold their memory.
const LARGEST_KEPT: usize = 2 * 1024;

/// The slot of a completed operation, if it is small enough to be kept.
#[inline(always)]
fn recycled<S, K>(slot: Box<Slot<K>>) -> Option<Queued<S>>
where
    S: SocketSyscalls,
    K: Kind<S>,
{
    // The compiler knows the size.
    if size_of::<Slot<K>>() <= LARGEST_KEPT { Some(slot) } else { None }
}

/// Puts an operation into the slot that another of its kind has left in `recycled`, or into a new one.
#[inline(always)]
pub(crate) fn store_in<S, K>(operation: K, recycled: &mut Option<Queued<S>>) -> Result<(), K>
where
    S: SocketSyscalls,
    K: Kind<S>,
{
    if let Some(emptied) = recycled
        && let Some([left]) = (&mut **emptied as &mut dyn Any).downcast_mut::<Slot<K>>()
    {
        // The slot is empty, so there is nothing to drop.
        mem::forget(left.replace(operation));
        return Ok(());
    }
    store_in_new(Some(operation), recycled)
}

// Codes_SRS_SOCKET_01_050
#[cold]
fn store_in_new<S, K>(operation: Option<K>, recycled: &mut Option<Queued<S>>) -> Result<(), K>
where
    S: SocketSyscalls,
    K: Kind<S>,
{
    match try_box(operation) {
        Ok(new) => {
            *recycled = Some(new);
            Ok(())
        }
        Err(returned) => returned.map_or_else(|| unreachable!("it was put in"), Err),
    }
}

impl<S: SocketSyscalls, K: Kind<S>> Operation<S> for Slot<K> {
    #[inline]
    fn attempt(self: Box<Self>, core: &SocketCore<S>, attempt: Attempt<'_, SocketCore<S>>) {
        if K::is_fast_path(core) {
            go_on(self, core, attempt, true);
        } else {
            take_slow_path(self, core, attempt);
        }
    }

    // Codes_SRS_SOCKET_01_091
    #[cold]
    fn has_started(&self) -> bool {
        self[0].as_ref().and_then(Kind::bytes_sent).is_some_and(|bytes| bytes > 0)
    }

    #[cold]
    fn deadline(&self) -> Option<Instant> {
        self[0].as_ref().and_then(Kind::deadline)
    }

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_084, Codes_SRS_ASYNC_SOCKET_LINUX_11_087, Codes_SRS_ASYNC_SOCKET_LINUX_11_093
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_100
    #[cold]
    #[inline(never)]
    fn fail(mut self: Box<Self>, core: &SocketCore<S>, reason: EndReason, attempt: Attempt<'_, SocketCore<S>>) {
        let Some(operation) = self[0].take() else { return };
        let bytes_sent = operation.bytes_sent();
        operation.note_failure(core);
        // The next operation has not waited yet.
        core.touch();
        let reason = traced(reason, core);
        core.log(|| tracing::trace!(descriptor = core.descriptor(), ?reason, bytes_sent, "{}", K::FAILED));
        attempt.complete(false, recycled(self), || {
            run_watched(core, K::DIRECTION, reason, || operation.fail(reason));
        });
    }
}

/// A separate function, because its code would double the size of the fast path.
#[inline(never)]
fn take_slow_path<S: SocketSyscalls, K: Kind<S>>(
    slot: Box<Slot<K>>,
    core: &SocketCore<S>,
    attempt: Attempt<'_, SocketCore<S>>,
) {
    go_on(slot, core, attempt, false);
}

/// Makes one try and handles its outcome.
// Codes_SRS_ASYNC_SOCKET_LINUX_11_093, Codes_SRS_ASYNC_SOCKET_LINUX_11_100
#[inline(always)]
fn go_on<S: SocketSyscalls, K: Kind<S>>(
    mut slot: Box<Slot<K>>,
    core: &SocketCore<S>,
    attempt: Attempt<'_, SocketCore<S>>,
    is_fast_path: bool,
) {
    let [Some(operation)] = &mut *slot else { return };
    match operation.attempt(core, &attempt, is_fast_path) {
        Progress::Done { done, drained } => {
            let Some(operation) = slot[0].take() else { return };
            let (callback, completion) = operation.succeed(done);
            attempt.complete(drained, recycled(slot), || ());
            if is_fast_path {
                callback(completion);
            } else {
                run_watched(core, K::DIRECTION, EndReason::Completed, || callback(completion));
            }
        }
        Progress::Part => attempt.partial(slot),
        Progress::Blocked => attempt.pending(slot),
        Progress::Suspended => attempt.suspend(slot),
        Progress::Failed(reason) => slot.fail(core, reason, attempt),
    }
}
