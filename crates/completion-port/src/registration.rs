//! One descriptor on a port: what a user of the crate holds.

use crate::callback::claims_refused;
use crate::handler::{Direction, Handler, IntoOperation};
use crate::lane::Inside;
use crate::phase::Phase;
use crate::port::{CompletionPort, Port, Source};
use crate::process::Inherited;
use crate::queue::{Core, NotQueued, Rejected, Schedule, Taken};
use crate::sync::Arc;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use thiserror::Error;

/// A call that was refused: the reason, and what the caller had handed over.
pub struct Refused<T, E> {
    /// Why.
    pub error: E,
    /// What was handed over, untouched.
    pub returned: T,
}

// By hand, so that what comes back needs no `Debug`.
impl<T, E: fmt::Debug> fmt::Debug for Refused<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("error", &self.error).finish_non_exhaustive()
    }
}

/// Why a descriptor is not watched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The registration was made before `fork`, in a parent of this process.
    #[error(transparent)]
    Inherited(#[from] Inherited),
    /// It is watched already, or was.
    #[error("the registration is {0:?}, only one that is Unregistered can be registered")]
    AlreadyUsed(Phase),
    /// [`Handler::prepare`] refused the descriptor.
    #[error("the descriptor cannot be used")]
    Unusable(#[source] io::Error),
    /// The kernel refused: `EPERM` for a regular file, `EBADF`, `ENOMEM`, `ENOSPC`; see `epoll_ctl(2)`.
    #[error("epoll_ctl(EPOLL_CTL_ADD) failed")]
    Kernel(#[source] io::Error),
}

/// Why an operation was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddError {
    /// Nothing is registered: not yet, or not any more.
    #[error("no descriptor is registered")]
    NotRegistered,
    /// The queue could not grow.
    #[error("no memory to queue the operation")]
    OutOfMemory,
    /// The registration was made before `fork`, in a parent of this process.
    #[error(transparent)]
    Inherited(#[from] Inherited),
    /// Other code has closed the port's epoll instance or eventfd.
    #[error("the completion port has failed: other code has closed its epoll instance or eventfd")]
    PortFailed,
}

impl From<NotQueued> for AddError {
    fn from(error: NotQueued) -> Self {
        match error {
            NotQueued::NotRegistered => Self::NotRegistered,
            NotQueued::OutOfMemory => Self::OutOfMemory,
            NotQueued::Inherited => Self::Inherited(Inherited),
            NotQueued::PortFailed => Self::PortFailed,
        }
    }
}

/// Why a direction could not be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Nothing is registered: not yet, or not any more.
    #[error("no descriptor is registered")]
    NotRegistered,
    /// Somebody else is at work there, or something waits: [`add`](Registration::add) behind it.
    #[error("the direction is in use")]
    InUse,
    /// The registration was made before `fork`, in a parent of this process.
    #[error(transparent)]
    Inherited(#[from] Inherited),
    /// Other code has closed the port's epoll instance or eventfd.
    #[error("the completion port has failed: other code has closed its epoll instance or eventfd")]
    PortFailed,
}

/// One descriptor on a port, and the operations that wait for it.
///
/// All methods can be called from any thread, also from inside a call-back. Dropping the registration removes it and
/// releases the descriptor; no call-back runs then, but that in which it is dropped.
pub struct Registration<H: Handler, P: Port = CompletionPort> {
    core: Arc<Core<H>>,
    port: P,
}

impl<H: Handler, P: Port> Registration<H, P> {
    /// Takes a descriptor, which must be in non-blocking mode or be used with calls that do not block. The port does not
    /// watch it yet, but is kept alive.
    #[must_use]
    pub fn new(port: P, handler: H, descriptor: H::Descriptor) -> Self {
        Self { core: Arc::new(Core::new(handler, descriptor)), port }
    }

    /// The handler.
    #[must_use]
    pub fn handler(&self) -> &H {
        &self.core.handler
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> &P {
        &self.port
    }

    /// The phase at this moment; another thread may change it at any time. In a child of `fork` what it has inherited is
    /// [`Phase::Removed`].
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.core.phase()
    }

    /// How many operations wait in a direction.
    #[must_use]
    pub fn queued(&self, direction: Direction) -> usize {
        self.core.queued(direction)
    }

    /// Starts to watch the descriptor: one `epoll_ctl`, edge-triggered, for both directions. The call-back that is
    /// returned has been announced: a removal waits until it has run or is dropped.
    ///
    /// # Errors
    /// [`RegisterError`]. Another try is allowed, unless it is [`RegisterError::AlreadyUsed`].
    // Codes_SRS_COMPLETION_PORT_01_006, Codes_SRS_COMPLETION_PORT_01_007, Codes_SRS_COMPLETION_PORT_01_008
    // Codes_SRS_COMPLETION_PORT_01_009
    pub fn register(&self) -> Result<Announced<'_, H>, RegisterError> {
        if self.core.is_inherited() {
            return Err(Inherited.into());
        }
        let half = self.core.begin_registering().map_err(RegisterError::AlreadyUsed)?;
        let attached = self.core.handler.prepare(&half).map_err(RegisterError::Unusable).and_then(|()| {
            let source: Arc<dyn Source> = Arc::clone(&self.core) as _;
            self.port.attach(half.as_fd(), source).map_err(RegisterError::Kernel)
        });
        match attached {
            Ok(token) => {
                self.core.end_registering(Some(token));
                Ok(Announced { core: &self.core })
            }
            Err(error) => {
                self.core.end_registering(None);
                Err(error)
            }
        }
    }

    /// Queues an operation behind the others of its direction. No system call, unless the
    /// descriptor is ready already and the port's thread sleeps.
    ///
    /// # Errors
    /// [`AddError`] and what was to be queued.
    // Codes_SRS_COMPLETION_PORT_01_010
    #[inline]
    pub fn add<N: IntoOperation<H::Operation>>(
        &self,
        direction: Direction,
        new: N,
    ) -> Result<(), Refused<N, AddError>> {
        match self.core.push_back(direction, new) {
            Ok(schedule) => {
                self.schedule(&schedule);
                Ok(())
            }
            Err(Rejected { why, returned, schedule }) => {
                self.schedule(&schedule);
                Err(Refused { error: why.into(), returned })
            }
        }
    }

    /// Takes a direction for an attempt on the caller's own thread: granted only if nobody is at
    /// work there and nothing waits, so that order is kept.
    ///
    /// Inside a call-back that [`Claim::complete`] runs it is always [`ClaimError::InUse`]: an
    /// endless chain of them would otherwise need an endless stack.
    ///
    /// # Errors
    /// [`ClaimError`].
    // Codes_SRS_COMPLETION_PORT_01_020, Codes_SRS_COMPLETION_PORT_01_024
    #[inline(always)]
    pub fn try_claim(&self, direction: Direction) -> Result<Claim<'_, H, P>, ClaimError> {
        let (taken, schedule) = if claims_refused() { (None, Schedule(false)) } else { self.core.take(direction) };
        self.schedule(&schedule);
        match taken {
            Some(taken) => Ok(Claim { registration: self, direction, taken: Some(taken) }),
            None => Err(self.not_claimed()),
        }
    }

    #[cold]
    fn not_claimed(&self) -> ClaimError {
        if self.core.is_inherited() {
            return Inherited.into();
        }
        match self.phase() {
            Phase::Registered if self.core.has_port_failed() => ClaimError::PortFailed,
            Phase::Registered => ClaimError::InUse,
            _ => ClaimError::NotRegistered,
        }
    }

    /// Announces a call-back of this descriptor that the caller is about to run itself, such that
    /// [`remove`](Self::remove) on another thread waits for it and inside it does not.
    pub fn begin_callback(&self) -> Announced<'_, H> {
        self.core.announce_callback();
        Announced { core: &self.core }
    }

    /// What lets suspended operations run again. It keeps the port and the registration's memory.
    #[must_use]
    pub fn resumer(&self) -> Resumer<H, P> {
        Resumer { core: Arc::clone(&self.core), port: self.port.clone() }
    }

    /// Waits while another thread registers or removes, and until the call-back has returned from inside which that
    /// removed. Returns at once inside a call-back, for which that thread may be waiting, and on the port's thread.
    pub fn wait_until_settled(&self) {
        if !self.port.is_current_thread() && !self.core.is_in_callback() {
            self.core.wait_until_settled();
        }
    }

    /// Stops watching: waits for what runs on other threads, deletes the descriptor from epoll,
    /// completes everything that waits with [`Action::Abandoned`](crate::Action::Abandoned) in the
    /// order it was added, and [releases](Handler::release) the descriptor. No operation and no call-back of this
    /// registration runs afterwards. From inside a call-back it does not wait for that call-back.
    ///
    /// Returns `false` at once if nothing is registered or another thread is removing it. In a child of `fork`, what is
    /// inherited is not registered: `remove` only closes the child's copy of the descriptor.
    // Codes_SRS_COMPLETION_PORT_01_053, Codes_SRS_COMPLETION_PORT_01_056
    pub fn remove(&self) -> bool {
        if self.core.is_inherited() {
            self.core.release_inherited();
            return false;
        }
        let Some(removal) = self.core.begin_removal() else { return false };
        self.port.detach(removal.half.as_fd(), removal.token);
        self.core.finish_removal(removal);
        true
    }

    #[inline]
    fn schedule(&self, schedule: &Schedule) {
        if schedule.0 {
            self.schedule_now();
        }
    }

    #[cold]
    fn schedule_now(&self) {
        self.port.schedule(Arc::clone(&self.core) as _);
    }
}

impl<H: Handler, P: Port> Drop for Registration<H, P> {
    // Codes_SRS_COMPLETION_PORT_01_055, Codes_SRS_COMPLETION_PORT_01_058
    fn drop(&mut self) {
        if !self.remove() && !self.core.is_inherited() {
            self.core.release_unregistered();
            self.wait_until_settled();
        }
    }
}

impl<H: Handler, P: Port> fmt::Debug for Registration<H, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("phase", &self.phase())
            .field("queued_in", &self.queued(Direction::In))
            .field("queued_out", &self.queued(Direction::Out))
            .finish_non_exhaustive()
    }
}

/// Lets operations that were [suspended](crate::Attempt::suspend) run again.
pub struct Resumer<H: Handler, P: Port = CompletionPort> {
    core: Arc<Core<H>>,
    port: P,
}

impl<H: Handler, P: Port> Resumer<H, P> {
    /// Has the oldest operation of a direction attempted again, soon. Does nothing if it is not suspended; `false` if
    /// none waits at all.
    // Codes_SRS_COMPLETION_PORT_01_037
    pub fn resume(&self, direction: Direction) -> bool {
        let (waits, schedule) = self.core.resume(direction);
        if schedule.0 {
            self.port.schedule(Arc::clone(&self.core) as _);
        }
        waits
    }
}

impl<H: Handler, P: Port> Clone for Resumer<H, P> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), port: self.port.clone() }
    }
}

impl<H: Handler, P: Port> fmt::Debug for Resumer<H, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumer").field("phase", &self.core.phase()).finish_non_exhaustive()
    }
}

/// The right to attempt an operation at once, on the caller's own thread.
///
/// While it lives nobody else works on that direction; what others add waits. End it with
/// [`complete`](Self::complete), or [`queue`](Self::queue) what is left and drop it.
#[must_use = "the direction stays blocked while the claim lives"]
pub struct Claim<'a, H: Handler, P: Port = CompletionPort> {
    registration: &'a Registration<H, P>,
    direction: Direction,
    /// There until the claim ends.
    taken: Option<Taken<'a, H>>,
}

impl<H: Handler, P: Port> Claim<'_, H, P> {
    /// The descriptor, to attempt a call on that does not block.
    ///
    /// # Panics
    /// Never: the descriptor is there until the claim ends, which consumes it.
    #[must_use]
    #[inline]
    pub fn descriptor(&self) -> &H::Descriptor {
        let half = self.taken.as_ref().and_then(|taken| taken.inside.half.as_ref());
        half.expect("a claim is inside its lane until it ends")
    }

    /// The attempt was the whole operation: ends the claim, then runs the call-back.
    // Codes_SRS_COMPLETION_PORT_01_023
    #[inline]
    pub fn complete(self, callback: impl FnOnce()) {
        // Once the claim has ended there is nothing left to drop.
        let mut this = ManuallyDrop::new(self);
        let core = &this.registration.core;
        core.run_claimed(|| this.end(Core::leave_empty), callback);
    }

    /// The kernel said `EAGAIN`: leaves the operation, in front of what others added meanwhile, to
    /// the port's thread, which begins when the claim is dropped.
    ///
    /// # Errors
    /// [`AddError::OutOfMemory`] and the operation; the claim is still held.
    // Codes_SRS_COMPLETION_PORT_01_021
    pub fn queue<N: IntoOperation<H::Operation>>(&mut self, new: N) -> Result<(), Refused<N, AddError>> {
        let Some(taken) = &mut self.taken else { return Ok(()) };
        self.registration
            .core
            .push_front(self.direction, taken, new)
            .map_err(|returned| Refused { error: AddError::OutOfMemory, returned })
    }

    #[inline]
    fn end(&mut self, leave: impl FnOnce(&Core<H>, Direction, Inside<'_, H>) -> Schedule) {
        if let Some(taken) = self.taken.take() {
            let schedule = leave(&self.registration.core, self.direction, taken.inside);
            self.registration.schedule(&schedule);
        }
    }
}

impl<H: Handler, P: Port> Drop for Claim<'_, H, P> {
    fn drop(&mut self) {
        self.end(Core::leave);
    }
}

impl<H: Handler, P: Port> fmt::Debug for Claim<'_, H, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("direction", &self.direction).finish_non_exhaustive()
    }
}

/// A call-back that runs on its caller's thread, and for which a removal on another thread waits.
#[must_use = "a removal waits until the call-back has run or this is dropped"]
pub struct Announced<'a, H: Handler> {
    core: &'a Core<H>,
}

impl<H: Handler> Announced<'_, H> {
    /// Runs it; a panic is caught and logged.
    pub fn run(self, callback: impl FnOnce()) {
        self.core.run_announced(callback);
    }
}

impl<H: Handler> Drop for Announced<'_, H> {
    fn drop(&mut self) {
        self.core.end_announced();
    }
}

impl<H: Handler> fmt::Debug for Announced<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announced").finish_non_exhaustive()
    }
}
