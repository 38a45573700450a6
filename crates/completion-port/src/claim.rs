//! The right to attempt an operation on the caller's own thread.

use crate::action::{Direction, IntoOperation};
use crate::admission::{After, ClaimedLane};
use crate::cancel::OperationId;
use crate::core::{Core, Locked};
use crate::handler::Handler;
use crate::port::{CompletionPort, Port};
use crate::refusal::{AddError, Declined};
use crate::registration::Registration;
use crate::removal::Role;
use std::fmt;
use std::mem::ManuallyDrop;

/// The right to attempt an operation at once, on the caller's own thread.
///
/// While the claim lives, no other thread works on that direction, and operations that other threads add wait. The claim
/// ends with [`complete`](Self::complete), with [`queue`](Self::queue), or when it is dropped.
#[must_use = "the direction stays blocked while the claim lives"]
pub struct Claim<'a, H: Handler, P: Port = CompletionPort> {
    registration: &'a Registration<H, P>,
    direction: Direction,
    /// There until the claim ends.
    claimed: Option<ClaimedLane<'a, H>>,
}

/// A claim, and the operation that it could not queue.
pub type Unqueued<'a, H, P, N> = Declined<(Claim<'a, H, P>, N), AddError>;

impl<'a, H: Handler, P: Port> Claim<'a, H, P> {
    #[inline(always)]
    pub(crate) fn new(registration: &'a Registration<H, P>, direction: Direction, claimed: ClaimedLane<'a, H>) -> Self {
        Self { registration, direction, claimed: Some(claimed) }
    }

    /// The descriptor, for a call that does not block.
    ///
    /// # Panics
    /// Never, because the descriptor is there until the claim ends, and the end consumes the claim.
    #[must_use]
    #[inline]
    pub fn descriptor(&self) -> &H::Descriptor {
        let descriptor = self.claimed.as_ref().and_then(|claimed| claimed.locked.descriptor());
        descriptor.expect("a claim is inside its lane until it ends")
    }

    /// The handler of the registration.
    ///
    /// # Panics
    /// Never, for the same reason.
    #[must_use]
    #[inline(always)]
    pub fn handler(&self) -> &'a H {
        &self.claimed.as_ref().expect("a claim is inside its lane until it ends").core.handler
    }

    /// Whether the descriptor may be ready in this direction. If not, a system call would only get `EAGAIN`, so it can be
    /// left out before [`queue`](Self::queue). A direction is not ready before its first event, which comes soon after the
    /// descriptor is watched.
    // Codes_SRS_COMPLETION_PORT_01_180
    #[must_use]
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.registration.core.latch.get().is_anything_for(self.direction)
    }

    /// A read has taken everything that the kernel had, as a short read from a TCP socket does. The direction is then not
    /// ready until the next event. Does nothing if an event came since the claim began, or if more may follow a short read,
    /// for instance an error. Only for [`Direction::In`]. If in doubt, do not call it.
    // Codes_SRS_COMPLETION_PORT_01_181
    #[inline]
    pub fn drained(&self) {
        if self.direction == Direction::In
            && let Some(claimed) = &self.claimed
        {
            self.registration.core.claim_drained(claimed);
        }
    }

    /// The attempt has completed the operation. Ends the claim, then runs the callback. A panic is caught and logged.
    // Codes_SRS_COMPLETION_PORT_01_023
    #[inline]
    pub fn complete(self, callback: impl FnOnce()) {
        // Once the claim has ended there is nothing left to drop.
        let mut this = ManuallyDrop::new(self);
        let Some(core) = this.claimed.as_ref().map(|claimed| claimed.core) else { return };
        core.run_claimed(|| this.end(Core::unlock_completed_claim, Role::Detacher), callback);
    }

    /// The kernel said `EAGAIN`. Leaves the operation to the port thread, in front of operations that other threads added
    /// meanwhile, and ends the claim.
    ///
    /// # Errors
    /// [`AddError::OutOfMemory`], with the claim, which is still held, and the operation.
    ///
    /// # Panics
    /// Never, because a claim holds its lane until it ends, and the end consumes the claim.
    pub fn queue<N: IntoOperation<H::Operation>>(mut self, new: N) -> Result<OperationId, Unqueued<'a, H, P, N>> {
        let claimed = self.claimed.as_mut().expect("a claim is inside its lane until it ends");
        match self.registration.core.push_front(self.direction, claimed, new) {
            // Dropping the claim ends it.
            Ok(id) => Ok(id),
            Err(returned) => Err(Declined { error: AddError::OutOfMemory, returned: (self, returned) }),
        }
    }

    #[inline]
    fn end(&mut self, unlock: impl FnOnce(&Core<H>, Direction, Locked<'_, H>) -> After, role: Role) {
        if let Some(claimed) = self.claimed.take() {
            let after = unlock(claimed.core, self.direction, claimed.locked);
            self.registration.do_after(after, role);
        }
    }
}

impl<H: Handler, P: Port> Drop for Claim<'_, H, P> {
    fn drop(&mut self) {
        self.end(Core::unlock_dropped_claim, Role::Passer);
    }
}

impl<H: Handler, P: Port> fmt::Debug for Claim<'_, H, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("direction", &self.direction).finish_non_exhaustive()
    }
}
