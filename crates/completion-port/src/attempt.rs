//! An attempt at an operation: the port hands the handler the operation and this, and the handler says through it what
//! came of it.

use crate::callback::run_caught;
use crate::handler::Handler;
use crate::lane::{Inside, SUSPENDED};
use crate::queue::Core;
use std::fmt;
use std::mem::ManuallyDrop;

/// The right to attempt one operation. Dropped unused, it ends the work on the operation without a call-back.
///
/// While it lives, the thread is inside the operation's lane. A removal that is called from there does not wait for that:
/// see [`Registration::remove`](crate::Registration::remove). Whatever the handler does after the attempt is still counted:
/// a removal on another thread waits until [`Handler::attempt`] has returned.
#[must_use = "say through it what came of the attempt"]
pub struct Attempt<'a, H: Handler> {
    core: &'a Core<H>,
    /// The lane that the operation is in, from inside. None once the attempt is over, and if the operation is abandoned,
    /// for its lane is gone. Which lane it is the core knows: two words are passed in registers.
    inside: Option<Inside<'a, H>>,
}

impl<'a, H: Handler> Attempt<'a, H> {
    #[inline]
    pub(crate) fn inside(core: &'a Core<H>, inside: Inside<'a, H>) -> Self {
        Self { core, inside: Some(inside) }
    }

    pub(crate) fn abandoned(core: &'a Core<H>) -> Self {
        Self { core, inside: None }
    }

    /// Makes the attempt on the descriptor. `None` if the operation is abandoned, which leaves the descriptor alone, or if
    /// the attempt panics, which is caught and logged.
    #[inline]
    pub fn run<T>(&self, call: impl FnOnce(&H::Descriptor) -> T) -> Option<T> {
        let descriptor = self.inside.as_ref()?.half.as_deref()?;
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

    /// The operation cannot go on for another reason than its descriptor: it stays at the front of its queue until
    /// [`Resumer::resume`](crate::Resumer::resume), which may have been called already since the attempt began.
    // Codes_SRS_COMPLETION_PORT_01_037
    #[cold]
    pub fn suspend(mut self, operation: H::Operation) {
        if self.inside.is_some() {
            let lane = self.core.lane(self.core.attempted());
            lane.set_oldest(lane.oldest() | SUSPENDED);
        }
        self.put_back(operation);
    }

    /// The operation is done: ends the work on it and then runs the call-back, which may do anything, also remove the
    /// registration and drop the port.
    ///
    /// `drained` says that the attempt took everything the kernel had, so the next one would only get `EAGAIN`: for
    /// instance a short read from a TCP socket. The next operation then waits for a new event. Say `false` if in doubt;
    /// that costs one system call.
    ///
    /// `emptied` is what is left of the operation, to be kept for the next one of its direction, which gets it in
    /// [`IntoOperation`](crate::IntoOperation) as its room. It must hold nothing whose drop is foreign code.
    // Codes_SRS_COMPLETION_PORT_01_034
    #[inline(always)]
    pub fn complete(self, drained: bool, emptied: Option<H::Operation>, call_back: impl FnOnce()) {
        // Once `inside` is taken there is nothing left to drop.
        let mut this = ManuallyDrop::new(self);
        let Some(inside) = this.inside.take() else { return call_back() };
        this.core.end_attempt(inside, drained, emptied);
        call_back();
    }

    fn put_back(&mut self, operation: H::Operation) {
        if let Some(mut inside) = self.inside.take() {
            inside.slot = Some(operation);
            self.core.end_unfinished(inside);
        }
    }

    #[cold]
    fn end_unused(&self, inside: Inside<'a, H>) {
        self.core.end_attempt(inside, false, None);
    }
}

impl<H: Handler> Drop for Attempt<'_, H> {
    fn drop(&mut self) {
        if let Some(inside) = self.inside.take() {
            self.end_unused(inside);
        }
    }
}

impl<H: Handler> fmt::Debug for Attempt<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("abandoned", &self.inside.is_none()).finish_non_exhaustive()
    }
}
