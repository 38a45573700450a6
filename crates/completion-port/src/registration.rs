//! One descriptor on a port: what a user of the crate holds.

use crate::callback::{Nesting, nesting_refused};
use crate::handler::{Direction, Handler};
use crate::port::{CompletionPort, Port, Source};
use crate::queue::{Core, NotQueued, Phase, Schedule, Taken};
use crate::sync::Arc;
use std::fmt;
use std::io;
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

/// Why a descriptor was not registered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// A registration watches one descriptor, once.
    #[error("the registration has been used already")]
    AlreadyUsed,
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
}

impl From<NotQueued> for AddError {
    fn from(error: NotQueued) -> Self {
        match error {
            NotQueued::NotRegistered => Self::NotRegistered,
            NotQueued::OutOfMemory => Self::OutOfMemory,
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
}

/// One descriptor on a port, and the operations that wait for it.
///
/// All methods can be called from any thread, also from inside [`Handler::complete`]. Dropping the
/// registration removes it and drops the descriptor.
pub struct Registration<H: Handler, P: Port = CompletionPort> {
    core: Arc<Core<H>>,
    port: P,
}

impl<H: Handler, P: Port> Registration<H, P> {
    /// A registration on `port` that watches nothing yet. It keeps the port alive.
    #[must_use]
    pub fn new(port: P, handler: H) -> Self {
        Self { core: Arc::new(Core::new(handler)), port }
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

    /// How many operations wait in a direction, not counting one that is being performed.
    #[must_use]
    pub fn queued(&self, direction: Direction) -> usize {
        self.core.queued(direction)
    }

    /// Starts to watch a descriptor, which must be in non-blocking mode or be used with calls that
    /// do not block. One `epoll_ctl`, edge-triggered, for both directions.
    ///
    /// # Errors
    /// [`RegisterError`] and the descriptor. After [`RegisterError::Kernel`] another try is allowed.
    // Codes_SRS_COMPLETION_PORT_01_006, Codes_SRS_COMPLETION_PORT_01_007, Codes_SRS_COMPLETION_PORT_01_008
    pub fn register(&self, descriptor: H::Descriptor) -> Result<(), Refused<H::Descriptor, RegisterError>> {
        if self.core.advance(Phase::Unregistered, Phase::Registering).is_err() {
            return Err(Refused { error: RegisterError::AlreadyUsed, returned: descriptor });
        }
        let source: Arc<dyn Source> = Arc::clone(&self.core) as _;
        match self.port.attach(descriptor.as_fd(), source) {
            Ok(token) => {
                self.core.registered(descriptor, token);
                Ok(())
            }
            Err(error) => {
                let _ = self.core.advance(Phase::Registering, Phase::Unregistered);
                Err(Refused { error: RegisterError::Kernel(error), returned: descriptor })
            }
        }
    }

    /// Queues an operation behind the others of its direction. No system call, unless the
    /// descriptor is ready already and the port's thread sleeps.
    ///
    /// The conversion happens once nothing can be refused any more, with the queue locked: it may allocate, but must
    /// not use this registration.
    ///
    /// # Errors
    /// [`AddError`] and the operation, not yet converted.
    // Codes_SRS_COMPLETION_PORT_01_010
    pub fn add<O: Into<H::Operation>>(&self, direction: Direction, operation: O) -> Result<(), Refused<O, AddError>> {
        match self.core.push_back(direction, operation) {
            Ok(schedule) => {
                self.schedule(&schedule);
                Ok(())
            }
            Err((error, returned)) => Err(Refused { error: error.into(), returned }),
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
    pub fn try_claim(&self, direction: Direction) -> Result<Claim<'_, H, P>, ClaimError> {
        if nesting_refused() {
            return match self.core.phase() {
                Phase::Registered => Err(ClaimError::InUse),
                _ => Err(ClaimError::NotRegistered),
            };
        }
        match self.core.take(direction) {
            Ok(Some(taken)) => Ok(Claim { registration: self, direction, taken: Some(taken) }),
            Ok(None) => Err(ClaimError::InUse),
            Err(_) => Err(ClaimError::NotRegistered),
        }
    }

    /// Announces a call-back of this descriptor that the caller is about to run itself, such that
    /// [`remove`](Self::remove) on another thread waits for it and inside it does not.
    pub fn begin_callback(&self) -> CallBack<'_, H> {
        self.core.begin_inline();
        CallBack { core: &self.core, nesting: Nesting::Allowed }
    }

    /// Whether the caller is inside a call-back of this registration, or on the port's thread, where it could be.
    #[must_use]
    pub fn is_in_callback(&self) -> bool {
        self.port.is_current_thread() || self.core.is_in_inline_callback()
    }

    /// Stops watching: waits for what runs on other threads, deletes the descriptor from epoll,
    /// completes everything that waits with [`Action::Abandoned`](crate::Action::Abandoned) in the
    /// order it was added, and gives the descriptor back. No operation and no call-back of this
    /// registration runs afterwards. From inside a call-back it does not wait for that call-back.
    ///
    /// Returns `None` at once if nothing is registered or another thread is removing it.
    // Codes_SRS_COMPLETION_PORT_01_053, Codes_SRS_COMPLETION_PORT_01_056
    pub fn remove(&self) -> Option<H::Descriptor> {
        let mut removal = self.core.begin_removal(self.port.is_current_thread())?;
        if let Some(token) = removal.token.take() {
            self.port.detach(removal.descriptor.as_fd(), token);
        }
        self.core.finish_removal(removal)
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
    // Codes_SRS_COMPLETION_PORT_01_055
    fn drop(&mut self) {
        self.remove();
    }
}

impl<H: Handler, P: Port> fmt::Debug for Registration<H, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("phase", &self.core.phase())
            .field("queued_in", &self.queued(Direction::In))
            .field("queued_out", &self.queued(Direction::Out))
            .finish_non_exhaustive()
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
    taken: Option<Taken<H>>,
}

impl<H: Handler, P: Port> Claim<'_, H, P> {
    /// The descriptor, to attempt a call on that does not block.
    ///
    /// # Panics
    /// Never: the descriptor is there until the claim ends, which consumes it.
    #[must_use]
    pub fn descriptor(&self) -> &H::Descriptor {
        &self.taken.as_ref().expect("a claim holds its half until it ends").descriptor
    }

    /// The attempt was the whole operation: ends the claim, then runs the call-back.
    // Codes_SRS_COMPLETION_PORT_01_023
    pub fn complete(mut self, callback: impl FnOnce()) {
        self.end(1);
        CallBack { core: &self.registration.core, nesting: Nesting::Refused }.run(callback);
    }

    /// The kernel said `EAGAIN`: leaves the operation, in front of what others added meanwhile, to
    /// the port's thread, which begins when the claim is dropped.
    ///
    /// # Errors
    /// [`AddError::OutOfMemory`] and the operation; the claim is still held.
    // Codes_SRS_COMPLETION_PORT_01_021
    pub fn queue<O: Into<H::Operation>>(&mut self, operation: O) -> Result<(), Refused<O, AddError>> {
        let Some(taken) = &self.taken else { return Ok(()) };
        self.registration
            .core
            .push_front(self.direction, taken, operation)
            .map_err(|(error, returned)| Refused { error: error.into(), returned })
    }

    #[inline]
    fn end(&mut self, callbacks: usize) {
        if let Some(taken) = self.taken.take() {
            let schedule = self.registration.core.give_back(self.direction, taken, callbacks);
            self.registration.schedule(&schedule);
        }
    }
}

impl<H: Handler, P: Port> Drop for Claim<'_, H, P> {
    fn drop(&mut self) {
        self.end(0);
    }
}

impl<H: Handler, P: Port> fmt::Debug for Claim<'_, H, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("direction", &self.direction).finish_non_exhaustive()
    }
}

/// A call-back that is about to run on its caller's thread; removal on other threads waits for it.
#[must_use = "removal waits until the call-back has run or this is dropped"]
pub struct CallBack<'a, H: Handler> {
    core: &'a Core<H>,
    nesting: Nesting,
}

impl<H: Handler> CallBack<'_, H> {
    /// Runs it; a panic is caught and logged.
    pub fn run(self, callback: impl FnOnce()) {
        self.core.run_inline(self.nesting, callback);
    }
}

impl<H: Handler> Drop for CallBack<'_, H> {
    fn drop(&mut self) {
        self.core.end_inline();
    }
}

impl<H: Handler> fmt::Debug for CallBack<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallBack").finish_non_exhaustive()
    }
}
