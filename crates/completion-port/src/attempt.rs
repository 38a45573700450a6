//! An attempt at an operation: the port hands the handler the operation and this, and the handler says through it what
//! came of it.

use crate::callback::run_caught;
use crate::handler::{Action, Direction, Handler};
use crate::lane::{Inside, Lane, SUSPENDED};
use crate::queue::Core;
use std::fmt;
use std::mem::ManuallyDrop;

/// The right to attempt one operation. Dropped unused, it ends the work on the operation without a call-back.
#[must_use = "say through it what came of the attempt"]
pub struct Attempt<'a, H: Handler> {
    core: &'a Core<H>,
    action: Action,
    place: Place<'a, H>,
}

enum Place<'a, H: Handler> {
    /// On the port's thread, inside a lane.
    Inside(Direction, &'a Lane<H>, Inside<'a, H>),
    /// The operation is abandoned, and the lane is gone.
    Abandoned(&'a H::Descriptor),
    /// The attempt is over.
    Nowhere,
}

impl<'a, H: Handler> Attempt<'a, H> {
    #[inline]
    pub(crate) fn inside(
        core: &'a Core<H>,
        action: Action,
        direction: Direction,
        lane: &'a Lane<H>,
        inside: Inside<'a, H>,
    ) -> Self {
        Self { core, action, place: Place::Inside(direction, lane, inside) }
    }

    pub(crate) fn abandoned(core: &'a Core<H>, descriptor: &'a H::Descriptor) -> Self {
        Self { core, action: Action::Abandoned, place: Place::Abandoned(descriptor) }
    }

    /// Makes the attempt on the descriptor; a panic is caught and logged, and gives `None`.
    #[inline]
    pub fn run<T>(&self, call: impl FnOnce(&H::Descriptor) -> T) -> Option<T> {
        let descriptor = match &self.place {
            Place::Inside(.., inside) => inside.half.as_deref()?,
            Place::Abandoned(descriptor) => descriptor,
            Place::Nowhere => return None,
        };
        run_caught("attempt", || call(descriptor))
    }

    /// The kernel said `EAGAIN` (or, after [`Action::Error`], that there is no error after all). The operation stays at
    /// the front of its queue until the next event.
    // Codes_SRS_COMPLETION_PORT_01_030
    #[cold]
    pub fn pending(mut self, operation: H::Operation) {
        self.core.exhausted(self.action);
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
        if let Place::Inside(_, lane, _) = &self.place {
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
        // There is nothing left to drop once the place is taken.
        let mut this = ManuallyDrop::new(self);
        let core = this.core;
        let Place::Inside(direction, lane, inside) = std::mem::replace(&mut this.place, Place::Nowhere) else {
            return call_back();
        };
        let counted = core.end_attempt(direction, lane, inside, drained, emptied);
        call_back();
        drop(counted);
    }

    #[cold]
    fn end_unused(&self, direction: Direction, lane: &Lane<H>, inside: Inside<'a, H>) {
        drop(self.core.end_attempt(direction, lane, inside, false, None));
    }

    fn put_back(&mut self, operation: H::Operation) {
        if let Place::Inside(direction, _, mut inside) = std::mem::replace(&mut self.place, Place::Nowhere) {
            inside.slot = Some(operation);
            self.core.leave_in_turn(direction, inside);
        }
    }
}

impl<H: Handler> Drop for Attempt<'_, H> {
    fn drop(&mut self) {
        if let Place::Inside(direction, lane, inside) = std::mem::replace(&mut self.place, Place::Nowhere) {
            self.end_unused(direction, lane, inside);
        }
    }
}

impl<H: Handler> fmt::Debug for Attempt<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("action", &self.action).finish_non_exhaustive()
    }
}
