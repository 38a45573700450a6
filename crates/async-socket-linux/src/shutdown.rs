//! Shutting down the sending half, behind the sends that wait.
//!
//! Invariant: from an accepted shutdown on, no send is accepted. If the shutdown ends other than well, sends are accepted
//! again.

use crate::counts::run_watched;
use crate::deadline::end_if_broken;
use crate::operation::{Kind, Progress, Queued, reason_of, store_in};
use crate::sending::{add_error, claim_error, send_error};
use crate::socket::AsyncSocketLinux;
use crate::socket_core::{SocketCore, state_in};
use crate::sys::{Errno, SocketSyscalls};
use crate::transfer::Fault;
use async_socket_api::{EndReason, SendCompletion, SendError};
use completion_port::sys::retry_interrupted;
use completion_port::{Attempt, Claim, ClaimError, Direction, IntoOperation, OperationId, Port};
use std::os::fd::{AsFd, BorrowedFd};

/// A shutdown that waits for the sends before it.
struct PendingShutdown<F> {
    on_complete: F,
}

impl<P: Port, S: SocketSyscalls> AsyncSocketLinux<P, S> {
    /// Ends the sending half of the connection (`shutdown(2)` with `SHUT_WR`), when the kernel has taken everything that
    /// was sent before. The peer then sees the end of the stream. Receiving goes on.
    ///
    /// It is a send of the end of the stream, and behaves as one. It waits behind the sends that wait. If there are none,
    /// it is done inside this call: the callback runs on this thread, and the result is `None`. Otherwise the result is its
    /// name, for [`cancel`](async_socket_api::AsyncSocket::cancel), and the callback runs on the port thread. A close
    /// abandons it. If the connect is still in progress, it waits for the connection.
    ///
    /// Sends after this call are refused with [`SendError::ShutDown`]. If the shutdown is cancelled or fails, they are
    /// accepted again.
    ///
    /// # Errors
    /// [`SendError`]: [`ShutDown`](SendError::ShutDown) if it was called before. The callback then never runs.
    ///
    /// ```
    /// use async_socket_linux::{AsyncSocket, AsyncSocketLinux};
    /// use std::{io::Read, os::unix::net::UnixStream};
    ///
    /// let (ours, mut theirs) = UnixStream::pair()?;
    /// let socket = AsyncSocketLinux::open(None, ours)?;
    /// socket.send_async("all there is", |_| {})?;
    /// socket.shutdown_async(|ended| println!("{}", ended.reason))?;
    ///
    /// let mut text = String::new();
    /// theirs.read_to_string(&mut text)?; // ends, because the stream does
    /// assert_eq!(text, "all there is");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    // Codes_SRS_SOCKET_01_076, Codes_SRS_SOCKET_01_077, Codes_SRS_SOCKET_01_078
    pub fn shutdown_async<F>(&self, on_complete: F) -> Result<Option<OperationId>, SendError>
    where
        F: FnOnce(SendCompletion<()>) + Send + 'static,
    {
        let shutdown = PendingShutdown { on_complete };
        match self.registration.try_claim(Direction::Out) {
            Ok(claim) => shut_down_at_once(self.registration.handler(), claim, shutdown),
            Err(why) => self.shut_down_later(why, shutdown),
        }
    }

    fn shut_down_later<F>(
        &self,
        why: ClaimError,
        shutdown: PendingShutdown<F>,
    ) -> Result<Option<OperationId>, SendError>
    where
        F: FnOnce(SendCompletion<()>) + Send + 'static,
    {
        let not_open = || SendError::NotOpen { state: state_in(self.registration.phase()) };
        if let Some(error) = claim_error(why, not_open) {
            return Err(error);
        }
        let core = self.registration.handler();
        begin(core)?;
        let added = self.registration.add(Direction::Out, shutdown).map(Some);
        end_if_broken(&self.registration);
        added.map_err(|refused| {
            core.revoke_shutdown();
            add_error(refused.error, not_open)
        })
    }
}

fn begin<S>(core: &SocketCore<S>) -> Result<(), SendError> {
    if core.is_stream_broken() {
        return Err(SendError::StreamBroken);
    }
    if core.begin_shutdown() { Ok(()) } else { Err(SendError::ShutDown) }
}

/// The claim is the parameter before the shutdown's own value is taken apart, so that it ends before the callback is
/// dropped. What the callback has captured may close the socket, and the close waits for the claim.
fn shut_down_at_once<P, S, F>(
    core: &SocketCore<S>,
    claim: Claim<'_, SocketCore<S>, P>,
    shutdown: PendingShutdown<F>,
) -> Result<Option<OperationId>, SendError>
where
    P: Port,
    S: SocketSyscalls,
    F: FnOnce(SendCompletion<()>) + Send + 'static,
{
    if let Err(error) = begin(core) {
        drop(claim);
        return Err(error);
    }
    match shut_down(core, claim.descriptor().as_fd()) {
        Ok(true) => {
            claim.complete(|| {
                run_watched(core, Direction::Out, EndReason::Completed, || {
                    (shutdown.on_complete)(SendCompletion::new(EndReason::Completed, 0, ()));
                });
            });
            Ok(None)
        }
        Ok(false) => claim.queue(shutdown).map(Some).map_err(|refused| {
            core.revoke_shutdown();
            let (claim, shutdown) = refused.returned;
            drop(claim);
            drop(shutdown);
            SendError::OutOfMemory { bytes_sent: 0 }
        }),
        Err(errno) => {
            core.revoke_shutdown();
            drop(claim);
            Err(send_error(core, Fault::Os(errno), 0))
        }
    }
}

/// Makes the call. False if it has to wait, because a shutdown would end a connect that is in progress.
// Codes_SRS_SOCKET_01_079
fn shut_down<S: SocketSyscalls>(core: &SocketCore<S>, fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    if core.was_connecting() && retry_interrupted(|| core.sys.is_connecting(fd))? {
        if let Some(errno) = retry_interrupted(|| core.sys.take_error(fd))? {
            core.note_event_error(Some(errno));
        }
        return core.event_error().map_or(Ok(false), Err);
    }
    retry_interrupted(|| core.sys.shut_down_sending(fd)).map(|()| true)
}

impl<S, F> IntoOperation<Queued<S>> for PendingShutdown<F>
where
    S: SocketSyscalls,
    F: FnOnce(SendCompletion<()>) + Send + 'static,
{
    fn store_in(self, recycled: &mut Option<Queued<S>>) -> Result<(), Self> {
        store_in(self, recycled)
    }
}

impl<S, F> Kind<S> for PendingShutdown<F>
where
    S: SocketSyscalls,
    F: FnOnce(SendCompletion<()>) + Send + 'static,
{
    const FAILED: &'static str = "shutdown ended";
    const DIRECTION: Direction = Direction::Out;
    type Done = ();
    type Completion = SendCompletion<()>;
    type Callback = F;

    // Codes_SRS_SOCKET_01_076
    fn attempt(&mut self, core: &SocketCore<S>, attempt: &Attempt<'_, SocketCore<S>>, _: bool) -> Progress<()> {
        if core.is_stream_broken() {
            return Progress::Failed(EndReason::StreamBroken);
        }
        match attempt.run(|fd| shut_down(core, fd.as_fd())) {
            Some(Ok(true)) => Progress::Done { done: (), drained: false },
            Some(Ok(false)) => Progress::Blocked,
            Some(Err(errno)) => Progress::Failed(reason_of(Fault::Os(errno))),
            None => Progress::Failed(EndReason::HungUp),
        }
    }

    fn succeed(self, (): ()) -> (F, SendCompletion<()>) {
        (self.on_complete, SendCompletion::new(EndReason::Completed, 0, ()))
    }

    // Codes_SRS_SOCKET_01_078
    fn note_failure(&self, core: &SocketCore<S>) {
        core.revoke_shutdown();
    }

    fn fail(self, reason: EndReason) {
        (self.on_complete)(SendCompletion::new(reason, 0, ()));
    }
}
