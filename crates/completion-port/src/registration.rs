//! One descriptor on a port: the type that a user of the crate holds.

use crate::action::{Direction, IntoOperation};
use crate::admission::{After, NotQueued, Rejected};
use crate::callback::claims_refused;
use crate::cancel::{Cancel, OperationId};
use crate::claim::Claim;
use crate::core::{ColdState, Core};
use crate::handler::Handler;
use crate::memory::TryArc;
use crate::phase::Phase;
use crate::port::{CompletionPort, Port};
use crate::process::Inherited;
use crate::refusal::{AddError, ClaimError, Declined, NotMade, OutOfMemory, RegisterError, Unwatchable};
use crate::registering::Watched;
use crate::removal::Role;
use crate::sync::{MutexGuard, Ordering, fence};
use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::time::Instant;

/// One descriptor on a port, and the operations that wait for it.
///
/// All methods can be called from any thread, also from inside a callback or an attempt. Dropping the registration does
/// what [`remove_and_wait`](Self::remove_and_wait) does, and releases the descriptor.
pub struct Registration<H: Handler, P: Port = CompletionPort> {
    pub(crate) core: TryArc<Core<H>>,
    port: P,
}

impl<H: Handler, P: Port> Registration<H, P> {
    /// Takes a descriptor, which must be in non-blocking mode or be used with calls that do not block. The registration
    /// keeps the port alive, but the port does not watch the descriptor yet.
    ///
    /// If memory runs out, it ends the process, as `Box::new` does; [`try_new`](Self::try_new) does not.
    #[must_use]
    pub fn new(port: P, handler: H, descriptor: H::Descriptor) -> Self {
        Self::try_new(port, handler, descriptor).unwrap_or_else(|_| handle_alloc_error(Layout::new::<Core<H>>()))
    }

    /// [`new`](Self::new) that can fail.
    ///
    /// # Errors
    /// [`OutOfMemory`], and what was handed over.
    // Codes_SRS_COMPLETION_PORT_01_135
    pub fn try_new(port: P, handler: H, descriptor: H::Descriptor) -> Result<Self, NotMade<H, P>> {
        match Core::try_new(handler, descriptor) {
            Ok(core) => Ok(Self { core, port }),
            Err((handler, descriptor)) => Err(Declined { error: OutOfMemory, returned: (port, handler, descriptor) }),
        }
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

    /// The phase at this moment. Another thread may change it at any time. In a child of `fork`, an inherited registration
    /// is [`Phase::Removed`].
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.core.phase()
    }

    /// How many operations wait in a direction.
    #[must_use]
    pub fn queued(&self, direction: Direction) -> usize {
        self.core.queued(direction)
    }

    /// Starts to watch the descriptor, with one `epoll_ctl`, edge-triggered, for both directions. Then runs the callback on
    /// this thread. A removal on another thread waits for the callback; a removal inside the callback does not. A panic of
    /// the callback is caught and logged.
    ///
    /// # Errors
    /// [`RegisterError`]; the callback is then dropped. Another try is allowed, unless the error is
    /// [`RegisterError::AlreadyUsed`].
    // Codes_SRS_COMPLETION_PORT_01_006, Codes_SRS_COMPLETION_PORT_01_007, Codes_SRS_COMPLETION_PORT_01_008
    // Codes_SRS_COMPLETION_PORT_01_009
    pub fn register(&self, callback: impl FnOnce()) -> Result<(), RegisterError> {
        self.register_as(Watched::AtOnce, callback)
    }

    /// [`register`](Self::register) without a system call. The first [`add`](Self::add) or [`try_claim`](Self::try_claim) makes
    /// the `epoll_ctl`. If the registration is removed before, no `epoll_ctl` is made at all. Use it for a descriptor that may
    /// go unused, for instance a connection that only shows whether a server listens.
    ///
    /// Until the first operation, [`OneShots`](crate::OneShots) of the same port accept the descriptor too. While one of them
    /// watches it, operations are refused with `EEXIST`.
    ///
    /// # Errors
    /// Those of `register`. If the kernel refuses to watch the descriptor, the first operation gets
    /// [`AddError::NotWatched`] or [`ClaimError::NotWatched`].
    // Codes_SRS_COMPLETION_PORT_01_190
    pub fn register_lazily(&self, callback: impl FnOnce()) -> Result<(), RegisterError> {
        self.register_as(Watched::FromTheFirstOperationOn, callback)
    }

    fn register_as(&self, watched: Watched, callback: impl FnOnce()) -> Result<(), RegisterError> {
        if self.core.is_inherited() {
            return Err(Inherited.into());
        }
        let attach = |descriptor: &H::Descriptor| {
            self.core.handler.prepare(descriptor).map_err(RegisterError::Unusable)?;
            // Codes_SRS_COMPLETION_PORT_01_189
            if self.port.counts_callbacks() {
                self.core.latch.time_callbacks();
            }
            let source = self.core.clone().into();
            let attached = match watched {
                Watched::AtOnce => self.port.attach(descriptor.as_fd(), source),
                // Codes_SRS_COMPLETION_PORT_01_190
                Watched::FromTheFirstOperationOn => self.port.insert(source),
            };
            attached.map_err(RegisterError::Kernel)
        };
        // A callback that is not called is dropped at the end, because its destructor is foreign code.
        let mut callback = Some(callback);
        match self.core.register(watched, attach, || callback.take().into_iter().for_each(|callback| callback())) {
            Ok(Some(attached)) => attached,
            // Codes_SRS_COMPLETION_PORT_01_109
            Ok(None) => Err(RegisterError::Unusable(io::ErrorKind::Other.into())),
            Err(phase) => Err(RegisterError::AlreadyUsed(phase)),
        }
    }

    /// Queues an operation behind the others of its direction, and returns its name for [`cancel`](Self::cancel). Makes no
    /// system call, unless the descriptor is ready already and the port's thread sleeps, or this is the first operation after
    /// [`register_lazily`](Self::register_lazily).
    ///
    /// # Errors
    /// [`AddError`] and what was to be queued.
    #[inline]
    pub fn add<N: IntoOperation<H::Operation>>(
        &self,
        direction: Direction,
        new: N,
    ) -> Result<OperationId, Declined<N, AddError>> {
        match self.push_back(direction, new) {
            Ok(id) => Ok(id),
            Err((why, returned)) => self.not_added(direction, why, returned),
        }
    }

    #[inline(always)]
    fn push_back<N: IntoOperation<H::Operation>>(
        &self,
        direction: Direction,
        new: N,
    ) -> Result<OperationId, (NotQueued, N)> {
        let services = ServicesOnPanic { registration: self, direction };
        let pushed = self.core.push_back(direction, new);
        mem::forget(services);
        match pushed {
            Ok((id, after)) => {
                self.do_after(after, Role::Passer);
                Ok(id)
            }
            Err(Rejected { why, returned, after }) => {
                self.do_after(after, Role::Passer);
                Err((why, returned))
            }
        }
    }

    #[cold]
    fn not_added<N: IntoOperation<H::Operation>>(
        &self,
        direction: Direction,
        why: NotQueued,
        returned: N,
    ) -> Result<OperationId, Declined<N, AddError>> {
        if why != NotQueued::Unwatched {
            return Err(Declined { error: why.into(), returned });
        }
        // Codes_SRS_COMPLETION_PORT_01_191
        match self.watch() {
            Ok(()) => {
                let pushed = self.push_back(direction, returned);
                pushed.map_err(|(why, returned)| Declined { error: why.into(), returned })
            }
            // Codes_SRS_COMPLETION_PORT_01_192
            Err(error) => Err(Declined { error: error.into(), returned }),
        }
    }

    #[cold]
    fn watch(&self) -> Result<(), Unwatchable> {
        let watched = self.core.watch(|descriptor, token| self.port.watch(descriptor, token));
        // Codes_SRS_COMPLETION_PORT_01_093
        watched.map_err(
            |errno| {
                if self.port.has_failed(errno) { Unwatchable::PortFailed } else { Unwatchable::Kernel(errno) }
            },
        )
    }

    /// Takes a waiting operation out of its queue. The handler then completes it with
    /// [`Action::Cancelled`](crate::Action::Cancelled), inside this call. Needs no event, no system call and no memory.
    ///
    /// If the operation is being attempted on another thread at this moment, the call first waits for the end of that
    /// attempt, which takes no longer than a system call. Inside the attempt or while the calling thread holds a [`Claim`]
    /// of the direction, an operation that is not in the way of either can be cancelled, the others are `NotWaiting`.
    pub fn cancel(&self, id: OperationId) -> Cancel {
        self.core.cancel(id, |after| self.do_after(after, Role::Detacher))
    }

    /// Arms the registration's timer, moves it, or disarms it with `None`. When it comes,
    /// [`Handler::timer_fired`](crate::Handler::timer_fired) runs on the port's thread: not before that time, and usually
    /// within two milliseconds. Moving it to a later time costs least. Removing the registration disarms it.
    ///
    /// # Errors
    /// `ENOMEM`, only for the registration's first timer. `NotConnected` if nothing is registered.
    // Codes_SRS_COMPLETION_PORT_01_170
    pub fn set_timer(&self, at: Option<Instant>) -> io::Result<()> {
        if self.phase() != Phase::Registered {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.port.set_timer(self.core.token(), at)
    }

    /// Claims a direction for an attempt on the caller's own thread. To keep the order, this succeeds only if no other
    /// thread works on the direction and no operation waits.
    ///
    /// Inside a callback that [`Claim::complete`] runs, it always fails with [`ClaimError::InUse`], because an endless
    /// chain of such callbacks would need an endless stack.
    ///
    /// # Errors
    /// [`ClaimError`].
    // Codes_SRS_COMPLETION_PORT_01_020
    #[inline(always)]
    pub fn try_claim(&self, direction: Direction) -> Result<Claim<'_, H, P>, ClaimError> {
        // Codes_SRS_COMPLETION_PORT_01_191
        if self.core.is_unwatched() {
            // Codes_SRS_COMPLETION_PORT_01_192
            self.watch()?;
        }
        // Codes_SRS_COMPLETION_PORT_01_024
        let (claimed, after) = if claims_refused() { (None, After::Nothing) } else { self.core.claim(direction) };
        self.do_after(after, Role::Passer);
        match claimed {
            Some(claimed) => Ok(Claim::new(self, direction, claimed)),
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

    /// A handle that lets suspended operations run again. It keeps the port and the registration's memory alive.
    #[must_use]
    pub fn resumer(&self) -> Resumer<H, P> {
        Resumer { core: self.core.clone(), port: self.port.clone() }
    }

    /// Stops watching. Deletes the descriptor from epoll, waits for operations and callbacks on other threads, completes
    /// every waiting operation with [`Action::Abandoned`](crate::Action::Abandoned) in the order it was added, and
    /// [releases](Handler::release) the descriptor. Afterwards no operation and no callback of this registration runs on
    /// another thread.
    ///
    /// Returns `false` at once if nothing is registered or another thread is removing the registration. Callbacks may then
    /// still run; [`remove_and_wait`](Self::remove_and_wait) waits for them. In a child of `fork`, an inherited
    /// registration counts as not registered: `remove` only closes the child's copy of the descriptor.
    ///
    /// It never waits for the calling thread: inside a callback, it does not wait for that callback. Inside an
    /// [attempt](Handler::attempt), or while the calling thread holds a [`Claim`] of this registration, it leaves two steps
    /// until the attempt and the claim have ended: abandoning the waiting operations and releasing the descriptor.
    ///
    /// Two callbacks on two threads that each remove the other's registration wait for each other for ever. One port and
    /// one thread that claims are enough for this. The same happens if the calling thread holds a lock that a callback
    /// waits for.
    // Codes_SRS_COMPLETION_PORT_01_050, Codes_SRS_COMPLETION_PORT_01_053, Codes_SRS_COMPLETION_PORT_01_056
    pub fn remove(&self) -> bool {
        if self.core.is_inherited() {
            Core::release_inherited(&self.core);
            return false;
        }
        let Some(cold) = self.core.begin_removal() else { return false };
        self.go_on(Role::Remover, Some(cold));
        true
    }

    /// [Removes](Self::remove) the registration. If another thread is removing it already, this call helps by completing
    /// operations that the other thread has not completed yet. Returns when no callback of the registration runs or will
    /// run, except those that the caller is in. This holds on every thread, including a port's. The deadlocks that `remove`
    /// describes can happen here too.
    ///
    /// First waits for a [`register`](Self::register) on another thread. Does nothing if nothing is registered.
    ///
    /// If two threads call it from inside callbacks of this registration, neither waits for the other's callback.
    // Codes_SRS_COMPLETION_PORT_01_058, Codes_SRS_COMPLETION_PORT_01_101
    pub fn remove_and_wait(&self) {
        if self.core.is_inherited() {
            return Core::release_inherited(&self.core);
        }
        let cold = self.core.wait_for_registering_and_begin_removal();
        self.go_on(Role::Waiter, Some(cold));
    }

    /// [Removes](Self::remove) the registration without waiting. The calling thread does what can be done at once:
    /// callbacks of abandoned operations may run inside this call. If attempts or callbacks on other threads are in the
    /// way, the last of them does the rest. `done` runs once, after the descriptor was released, perhaps inside this call.
    /// No callback of the registration runs on another thread then.
    ///
    /// It is safe in every callback on every thread: two callbacks can remove each other's registrations.
    ///
    /// # Errors
    /// [`AddError::NotRegistered`] if nothing is registered or a removal has begun, `Inherited` in a child of `fork`, which
    /// then has closed its copy of the descriptor, and `OutOfMemory`. The callback comes back, and nothing else has
    /// happened.
    // Codes_SRS_COMPLETION_PORT_01_155, Codes_SRS_COMPLETION_PORT_01_156
    pub fn remove_async<F: FnOnce() + Send + 'static>(&self, done: F) -> Result<(), Declined<F, AddError>> {
        if self.core.is_inherited() {
            Core::release_inherited(&self.core);
            return Err(Declined { error: Inherited.into(), returned: done });
        }
        let removed = self.core.remove_async(self.port.clone(), done);
        removed.map_err(|(error, returned)| Declined { error, returned })
    }

    #[inline(never)]
    fn go_on<'a>(&'a self, role: Role, cold: Option<MutexGuard<'a, ColdState<H>>>) {
        let detach = |descriptor: &H::Descriptor, token| self.port.detach(descriptor.as_fd(), token);
        self.core.go_on(role, Some(&detach), cold);
    }

    #[inline]
    pub(crate) fn do_after(&self, after: After, role: Role) {
        if after != After::Nothing {
            self.do_what_is_left(after, role);
        }
    }

    #[cold]
    fn do_what_is_left(&self, after: After, role: Role) {
        match after {
            After::Nothing => {}
            // Codes_SRS_COMPLETION_PORT_01_013
            After::Schedule => self.port.schedule(self.core.token()),
            After::Closed => self.go_on(role, None),
        }
    }
}

/// Services the flags of a lane in which user code has panicked.
struct ServicesOnPanic<'a, H: Handler, P: Port> {
    registration: &'a Registration<H, P>,
    direction: Direction,
}

impl<H: Handler, P: Port> Drop for ServicesOnPanic<'_, H, P> {
    // Codes_SRS_COMPLETION_PORT_01_111
    #[cold]
    fn drop(&mut self) {
        fence(Ordering::SeqCst);
        let after = self.registration.core.service_flags_and_schedule(self.direction);
        self.registration.do_after(after, Role::Passer);
    }
}

impl<H: Handler, P: Port> Drop for Registration<H, P> {
    fn drop(&mut self) {
        if self.core.is_inherited() {
            return Core::release_inherited(&self.core);
        }
        let cold = self.core.wait_for_registering_and_begin_removal();
        match cold.phase {
            // Codes_SRS_COMPLETION_PORT_01_055, Codes_SRS_ASYNC_SOCKET_LINUX_11_023
            Phase::Unregistered => {
                drop(cold);
                self.core.release_unregistered();
            }
            // The owner has usually removed it before.
            Phase::Removed if !self.core.do_others_run(&cold) => {}
            // Codes_SRS_COMPLETION_PORT_01_055, Codes_SRS_COMPLETION_PORT_01_058
            _ => self.go_on(Role::Waiter, Some(cold)),
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
    core: TryArc<Core<H>>,
    port: P,
}

impl<H: Handler, P: Port> Resumer<H, P> {
    /// Makes the port attempt the oldest operation of a direction again soon. Does nothing if the operation is not
    /// suspended. Returns `false` if no operation waits.
    // Codes_SRS_COMPLETION_PORT_01_037
    pub fn resume(&self, direction: Direction) -> bool {
        let (waits, after) = self.core.resume(direction);
        match after {
            After::Nothing => {}
            After::Schedule => self.port.schedule(self.core.token()),
            After::Closed => self.core.go_on(Role::Passer, None, None),
        }
        waits
    }
}

impl<H: Handler, P: Port> Clone for Resumer<H, P> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), port: self.port.clone() }
    }
}

impl<H: Handler, P: Port> fmt::Debug for Resumer<H, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumer").field("phase", &self.core.phase()).finish_non_exhaustive()
    }
}
