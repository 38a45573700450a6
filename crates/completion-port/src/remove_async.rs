//! A removal that does not wait, and says when it is over.
//!
//! Invariant: whatever is in the way of the removal continues it. The callback lies in the registration together with a
//! reference to the port, so every thread that continues the removal can also delete the descriptor from the port.

use crate::core::Core;
use crate::handler::Handler;
use crate::phase::Phase;
use crate::port::Port;
use crate::refusal::AddError;
use crate::removal::Role;
use crate::room::try_box;
use crate::source::Token;
use std::os::fd::AsFd;

/// What a removal needs in order to end on any thread.
pub(crate) trait Ending<D>: Send {
    fn detach(&self, descriptor: &D, token: Token);
    /// Calls back.
    fn done(self: Box<Self>);
}

struct OnPort<P, F> {
    port: P,
    done: F,
}

// An array, because `try_box` makes a box of one.
impl<D: AsFd, P: Port, F: FnOnce() + Send> Ending<D> for [OnPort<P, F>; 1] {
    fn detach(&self, descriptor: &D, token: Token) {
        self[0].port.detach(descriptor.as_fd(), token);
    }

    fn done(self: Box<Self>) {
        let [OnPort { port: _port, done }] = *self;
        done();
    }
}

impl<H: Handler> Core<H> {
    /// Begins a removal that no thread waits for.
    // Codes_SRS_COMPLETION_PORT_01_155, Codes_SRS_COMPLETION_PORT_01_156, Codes_SRS_COMPLETION_PORT_01_157
    pub(crate) fn remove_async<P, F>(&self, port: P, done: F) -> Result<(), (AddError, F)>
    where
        P: Port,
        F: FnOnce() + Send + 'static,
    {
        let ending = try_box(OnPort { port, done }).map_err(|it| (AddError::OutOfMemory, it.done))?;
        let mut cold = self.cold.lock();
        let is_registered = cold.phase == Phase::Registered;
        let rare = if is_registered { cold.make_rare() } else { None };
        let Some(rare) = rare else {
            drop(cold);
            let [OnPort { port: _port, done }] = *ending;
            return Err((if is_registered { AddError::OutOfMemory } else { AddError::NotRegistered }, done));
        };
        // Codes_SRS_SOCKET_01_095
        rare.ending = Some(ending);
        self.begin_removal_locked(&mut cold);
        // Codes_SRS_SOCKET_01_096
        self.go_on(Role::Passer, None, Some(cold));
        Ok(())
    }
}
