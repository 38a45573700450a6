//! The port's demands on its user: to attempt an operation, and to complete it.
//!
//! The port hands the handler an operation and an [`Attempt`], through which the handler reports the result.
#![allow(unsafe_code, reason = "an attempt keeps its lane locked without the guard")]

use crate::action::{Action, Direction};
use crate::callback::run_caught;
use crate::cancel::TimerFired;
use crate::core::{Core, Locked};
use crate::lane::{LaneGuard, SUSPENDED};
use crate::sync::MutexGuard;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::time::Instant;

/// Attempts and completes the operations of one descriptor.
///
/// While a method runs, the port holds no lock that another thread waits for. A panic in a method is caught and logged.
pub trait Handler: Sized + Send + Sync + 'static {
    /// The descriptor that is registered. The registration keeps it until the removal.
    type Descriptor: AsFd + Send + Sync + 'static;
    /// What waits in the queues.
    type Operation: Send + 'static;

    /// Looks at the descriptor before the port watches it.
    ///
    /// # Errors
    /// The reason why the descriptor is of no use. It is then not registered.
    fn prepare(&self, descriptor: &Self::Descriptor) -> io::Result<()> {
        let _ = descriptor;
        Ok(())
    }

    /// Attempts an operation without blocking, and reports the result through `attempt`. Runs on the port's thread, never
    /// twice at once in the same direction. With [`Action::Abandoned`] it runs on the thread that removes the registration,
    /// and with [`Action::Cancelled`] on the thread that cancels the operation. With these, and with [`Action::TimedOut`], it must
    /// complete the operation without touching the descriptor.
    ///
    /// If the operation is dropped here, by a panic for instance, it is over and no callback runs.
    fn attempt(&self, operation: Self::Operation, action: Action, attempt: Attempt<'_, Self>);

    /// Whether an event that reports an error or a hang-up, but neither readable nor writable, means an error. Messages on
    /// a socket's error queue, for instance, are reported in the same way. The port's thread asks once for all waiting
    /// operations, before they get [`Action::Error`].
    fn is_error(&self, descriptor: &Self::Descriptor) -> bool {
        let _ = descriptor;
        true
    }

    /// The port has failed, because other code has closed its epoll instance or eventfd. Every waiting operation gets
    /// [`Action::Error`] next, without a call of [`is_error`](Self::is_error), and must be completed.
    fn port_failed(&self) {}

    /// Whether a waiting operation may be [cancelled](crate::Registration::cancel). A send of which bytes have gone out, for
    /// instance, must go on. Called with a lock held, so it must be short and run no foreign code. By default every
    /// operation may.
    fn can_cancel(&self, operation: &Self::Operation) -> bool {
        let _ = operation;
        true
    }

    /// [`TimerFired::end_waiting`] is about to take this operation out of its queue. Called with the queue's lock held, so it must
    /// be short and run no foreign code. A thread that claims or adds after that sees what is noted here.
    fn times_out(&self, operation: &Self::Operation) {
        let _ = operation;
    }

    /// The registration's [timer](crate::Registration::set_timer) has come, on the port's thread. Returns when it shall come
    /// next, if at all. It may come too early if it was moved meanwhile, so compare [`TimerFired::now`] with your own time.
    fn timer_fired(&self, timer: &TimerFired<'_, Self>) -> Option<Instant> {
        let _ = timer;
        None
    }

    /// Takes the descriptor after the registration's removal. By default it is dropped. Never called in a child of `fork` for a
    /// registration of the parent.
    fn release(&self, descriptor: Self::Descriptor) {
        drop(descriptor);
    }
}

/// The right to attempt one operation. Dropped unused, it ends the work on the operation without a callback.
///
/// While it lives, the operation's lane is locked. A removal called inside the attempt does not wait for that lock: see
/// [`Registration::remove`](crate::Registration::remove). A removal on another thread waits until [`Handler::attempt`] has
/// returned, even if the `Attempt` ended before.
#[must_use = "say through it what came of the attempt"]
pub struct Attempt<'a, H: Handler> {
    core: &'a Core<H>,
    /// The operation's lane, which is locked. `None` once the attempt is over, and for an abandoned operation, whose lane is
    /// gone. Without the lane's guard, an attempt is passed in two registers.
    locked: Option<Direction>,
    on_this_thread: PhantomData<MutexGuard<'a, ()>>,
}

impl<'a, H: Handler> Attempt<'a, H> {
    #[inline]
    pub(crate) fn of_locked(core: &'a Core<H>, locked: Locked<'a, H>) -> Self {
        Self { core, locked: Some(locked.leave_locked()), on_this_thread: PhantomData }
    }

    pub(crate) fn abandoned(core: &'a Core<H>) -> Self {
        Self { core, locked: None, on_this_thread: PhantomData }
    }

    /// The guard, once.
    #[inline(always)]
    fn take_guard(&mut self) -> Option<Locked<'a, H>> {
        let direction = self.locked.take()?;
        // SAFETY: `of_locked` left the lane locked, on this thread, and `locked` stood for its guard until now.
        Some(unsafe { LaneGuard::resume(&self.core.lanes, direction) })
    }

    /// Makes the attempt on the descriptor. Returns `None` if the operation is abandoned, which leaves the descriptor
    /// alone. Also returns `None` if the attempt panics; the panic is caught and logged.
    #[inline]
    pub fn run<T>(&self, call: impl FnOnce(&H::Descriptor) -> T) -> Option<T> {
        self.locked?;
        // SAFETY: a descriptor is taken only with both lanes locked, and this attempt has locked one.
        let descriptor = unsafe { self.core.lanes.descriptor() }?;
        run_caught("attempt", || call(descriptor))
    }

    /// The kernel said `EAGAIN` (or, after [`Action::Error`](crate::Action::Error), that there is no error after all).
    /// The operation stays at the front of its queue until the next event.
    // Codes_SRS_COMPLETION_PORT_01_030
    #[cold]
    pub fn pending(mut self, operation: H::Operation) {
        self.core.exhausted();
        self.put_back(operation);
    }

    /// A part is done and the rest may follow at once. The operation stays at the front of its queue; the attempt counts
    /// towards the bound after which other descriptors have their turn.
    pub fn partial(mut self, operation: H::Operation) {
        self.put_back(operation);
    }

    /// The operation waits for something other than its descriptor. It stays at the front of its queue until
    /// [`Resumer::resume`](crate::Resumer::resume). A call of `resume` since the attempt began counts already.
    // Codes_SRS_COMPLETION_PORT_01_037
    #[cold]
    pub fn suspend(mut self, operation: H::Operation) {
        if let Some(direction) = self.locked {
            let lane = self.core.lane(direction);
            lane.set_oldest(lane.oldest() | SUSPENDED);
        }
        self.put_back(operation);
    }

    /// The operation is done. Ends the work on it, then runs the callback. The callback may do anything, even remove the
    /// registration and drop the port.
    ///
    /// `drained` says that the attempt took everything the kernel had, for instance by a short read from a TCP socket.
    /// Another attempt would only get `EAGAIN`, so the next operation waits for a new event. Say `false` if in doubt; that
    /// costs one system call.
    ///
    /// `recycled` is the rest of the operation. The next operation of its direction gets it as its slot in
    /// [`IntoOperation`](crate::IntoOperation). It must hold nothing whose drop is foreign code.
    // Codes_SRS_COMPLETION_PORT_01_034
    #[inline(always)]
    pub fn complete(self, drained: bool, recycled: Option<H::Operation>, callback: impl FnOnce()) {
        // Once `locked` is taken there is nothing left to drop.
        let mut this = ManuallyDrop::new(self);
        let Some(locked) = this.take_guard() else { return callback() };
        this.core.end_attempt(locked, drained, recycled);
        callback();
    }

    fn put_back(&mut self, operation: H::Operation) {
        if let Some(mut locked) = self.take_guard() {
            *locked.slot_mut() = Some(operation);
            self.core.end_unfinished(locked);
        }
    }

    #[cold]
    fn end_unused(&self, locked: Locked<'a, H>) {
        self.core.end_attempt(locked, false, None);
    }
}

impl<H: Handler> Drop for Attempt<'_, H> {
    fn drop(&mut self) {
        if let Some(locked) = self.take_guard() {
            self.end_unused(locked);
        }
    }
}

impl<H: Handler> fmt::Debug for Attempt<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("abandoned", &self.locked.is_none()).finish_non_exhaustive()
    }
}
