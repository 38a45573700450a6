//! One attempt to connect that is under way: it waits until the descriptor is writable, and asks how it went.

use crate::race::Race;
use crate::sys::{Errno, NetSyscalls};
use completion_port::memory::TryArc;
use completion_port::sys::retry_interrupted;
use completion_port::{Action, Attempt, Direction, Handler, Port, Registration};
use std::mem;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The registration's handler. It tells the race how the attempt went.
pub(crate) struct Dialer<P: Port, N: NetSyscalls> {
    race: TryArc<Race<P, N>>,
    /// The attempt's place in the race.
    index: usize,
    sys: N,
    port_failed: AtomicBool,
    descriptor: Mutex<Kept>,
}

/// What becomes of the descriptor at the end of the registration.
enum Kept {
    /// It is closed.
    No,
    /// It comes here.
    Wanted,
    Here(OwnedFd),
}

/// The operation that waits.
#[derive(Debug)]
pub(crate) struct Dialing;

impl<P: Port, N: NetSyscalls> Dialer<P, N> {
    /// Watches a descriptor whose connect is in progress.
    pub(crate) fn start(
        race: TryArc<Race<P, N>>,
        index: usize,
        sys: N,
        port: P,
        descriptor: OwnedFd,
    ) -> Result<Registration<Self, P>, Errno> {
        let dialer = Self { race, index, sys, port_failed: AtomicBool::new(false), descriptor: Mutex::new(Kept::No) };
        let registration = Registration::try_new(port, dialer, descriptor).map_err(|refused| {
            let (_, dialer, descriptor) = refused.returned;
            dialer.sys.close(descriptor);
            Errno::NOMEM
        })?;
        registration.register(|| ()).map_err(|error| match error {
            completion_port::RegisterError::Kernel(error) => Errno::from_io_error(&error).unwrap_or(Errno::NOMEM),
            _ => Errno::BADF,
        })?;
        registration.add(Direction::Out, Dialing).map_err(|_| Errno::NOMEM)?;
        Ok(registration)
    }

    /// Ends the registration of an attempt that has succeeded. Called on the port's thread, where nothing is in the way.
    pub(crate) fn finish(registration: &Registration<Self, P>) -> Option<OwnedFd> {
        let dialer = registration.handler();
        *dialer.kept() = Kept::Wanted;
        registration.remove();
        match mem::replace(&mut *dialer.kept(), Kept::No) {
            Kept::Here(descriptor) => Some(descriptor),
            Kept::No | Kept::Wanted => None,
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.descriptor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the attempt went. `None` if the kernel is still trying.
    fn outcome(&self, action: Action, asked: Result<Option<Errno>, Errno>) -> Option<Result<(), Errno>> {
        match asked {
            Ok(Some(errno)) | Err(errno) => Some(Err(errno)),
            Ok(None) if action == Action::Out => Some(Ok(())),
            Ok(None) if self.port_failed.load(Ordering::Relaxed) => Some(Err(Errno::BADF)),
            Ok(None) => None,
        }
    }
}

impl<P: Port, N: NetSyscalls> Handler for Dialer<P, N> {
    type Descriptor = OwnedFd;
    type Operation = Dialing;

    // Codes_SRS_ASYNC_SOCKET_NET_01_040
    fn attempt(&self, operation: Dialing, action: Action, attempt: Attempt<'_, Self>) {
        if matches!(action, Action::Abandoned | Action::Cancelled) {
            return attempt.complete(false, None, || ());
        }
        let take_error = |descriptor: &OwnedFd| retry_interrupted(|| self.sys.take_error(descriptor.as_fd()));
        let asked = attempt.run(take_error).unwrap_or(Err(Errno::IO));
        match self.outcome(action, asked) {
            Some(outcome) => attempt.complete(true, None, || self.race.settle(self.index, outcome)),
            None => attempt.pending(operation),
        }
    }

    fn port_failed(&self) {
        self.port_failed.store(true, Ordering::Relaxed);
    }

    // Codes_SRS_ASYNC_SOCKET_NET_01_041
    fn release(&self, descriptor: OwnedFd) {
        let mut kept = self.kept();
        if matches!(*kept, Kept::Wanted) {
            *kept = Kept::Here(descriptor);
        } else {
            drop(kept);
            self.sys.close(descriptor);
        }
    }
}
