//! The socket: its states, and the calls of the specification.
//!
//! Invariants:
//! * The descriptor is in `unopened` from create until open and with the registration from then on; close takes
//!   it from there once everything has been completed. There is never a second owner.
//! * The state is [`SocketState::Open`] only while the registration is registered.
//! * No call touches the socket after it has started a user's call-back.

use crate::engine::ExecutionEngine;
use crate::event::Core;
use crate::operation::{NewReceive, NewSend};
use crate::platform;
use crate::sys::{Errno, Kernel, SocketSyscalls};
use crate::transfer::{Cursor, Sent, send_all};
use async_socket_api::{
    AsyncSocket, IoBufs, IoBufsMut, OpenError, OpenResult, Payload, ReceiveCompletion, ReceiveError, Refused,
    SendCompletion, SendError, SendResult, SocketState,
};
use completion_port::{
    AddError, Claim, ClaimError, CompletionPort, CreatePortError, Direction, Port, RegisterError, Registration,
};
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use thiserror::Error;

/// Why a socket could not be created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// There is no process-wide completion port yet, and none could be made.
    #[error("the process-wide completion port could not be created")]
    CompletionPort(#[from] CreatePortError),
}

/// An asynchronous socket on epoll. The promises are those of [`AsyncSocket`].
///
/// It owns the descriptor from [`create`](Self::create) on. Dropping it closes it, which abandons
/// what is pending and waits for call-backs that run on other threads.
///
/// ```
/// use async_socket_linux::{AsyncSocket, AsyncSocketLinux, OpenResult};
/// use std::os::unix::net::UnixStream;
///
/// let (ours, _theirs) = UnixStream::pair()?;
/// let socket = AsyncSocketLinux::create(None, ours.into())?;
/// socket.open_async(|result| assert_eq!(result, OpenResult::Ok))?;
/// socket.close();
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct AsyncSocketLinux<P: Port = CompletionPort, S: SocketSyscalls = Kernel> {
    registration: Registration<Core<S>, P>,
    state: AtomicU8,
    unopened: Mutex<Option<OwnedFd>>,
    /// Signalled, with `unopened` locked, when an open or a close is over.
    settled: Condvar,
}

impl AsyncSocketLinux {
    /// Makes a socket of a connected descriptor, on the next port of `execution_engine`, or of the
    /// process-wide one if that is `None`.
    ///
    /// The descriptor should be in non-blocking mode; one in blocking mode works too, since no
    /// call of ours ever blocks on it.
    ///
    /// # Errors
    /// [`CreateError`] and the descriptor. Whether the descriptor can be used shows on
    /// [`open_async`](AsyncSocket::open_async).
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_001, Codes_SRS_ASYNC_SOCKET_LINUX_11_002
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_005, Codes_SRS_ASYNC_SOCKET_LINUX_11_006
    pub fn create(
        execution_engine: Option<&ExecutionEngine>,
        socket: OwnedFd,
    ) -> Result<Self, Refused<OwnedFd, CreateError>> {
        let port = match execution_engine {
            Some(engine) => Ok(engine.completion_port()),
            None => platform::get_completion_port(),
        };
        match port {
            Ok(port) => Ok(Self::create_with(port, Kernel, socket)),
            Err(error) => Err(Refused { error: error.into(), returned: socket }),
        }
    }
}

impl<P: Port, S: SocketSyscalls> AsyncSocketLinux<P, S> {
    /// [`create`](AsyncSocketLinux::create) on a given port, with given system calls.
    pub fn create_with(port: P, sys: S, socket: OwnedFd) -> Self {
        tracing::debug!(descriptor = socket.as_raw_fd(), "created");
        Self {
            registration: Registration::new(port, Core::new(sys)),
            state: AtomicU8::new(SocketState::Closed as u8),
            unopened: Mutex::new(Some(socket)),
            settled: Condvar::new(),
        }
    }

    /// The state at this moment; another thread may change it at any time.
    #[must_use]
    pub fn state(&self) -> SocketState {
        from_u8(self.state.load(Ordering::Acquire))
    }

    fn advance(&self, from: SocketState, to: SocketState) -> Result<(), SocketState> {
        self.state
            .compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
            .map_err(from_u8)
    }

    /// Waits while another thread opens or closes the socket, for who shares it by other means than references and is
    /// about to let go of it. Returns at once inside a call-back, for which that thread may be waiting.
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_020
    pub fn wait_until_settled(&self) {
        if self.registration.is_in_callback() {
            return;
        }
        let mut unopened = self.unopened.lock();
        while matches!(self.state(), SocketState::Opening | SocketState::Closing) {
            self.settled.wait(&mut unopened);
        }
    }

    /// Ends an open or a close.
    fn settle(&self, state: SocketState) {
        let unopened = self.unopened.lock();
        self.state.store(state as u8, Ordering::Release);
        drop(unopened);
        self.settled.notify_all();
    }

    /// Adds the descriptor to epoll, or leaves it where it was.
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_030, Codes_SRS_ASYNC_SOCKET_LINUX_11_031, Codes_SRS_ASYNC_SOCKET_LINUX_11_034
    fn register(&self) -> Result<(), OpenError> {
        let mut unopened = self.unopened.lock();
        let socket = unopened.take().ok_or(OpenError::DescriptorClosed)?;
        let descriptor = socket.as_raw_fd();
        if let Err(errno) = self.registration.handler().learn(socket.as_fd()) {
            *unopened = Some(socket);
            return Err(OpenError::NotASocket { descriptor, source: errno.into() });
        }
        self.registration.register(socket).map_err(|refused| {
            *unopened = Some(refused.returned);
            let source = match refused.error {
                RegisterError::Kernel(source) => source,
                error => io::Error::other(error),
            };
            OpenError::NotRegistered { descriptor, source }
        })
    }

    /// Sends on the caller's thread, and leaves what the kernel does not take at once to the port's.
    ///
    /// A send that is refused comes back whole, so that it goes after the claim has ended: what its call-back captured
    /// may close the socket.
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_054
    fn send_now<B, F>(&self, mut claim: Claim<'_, Core<S>, P>, mut send: NewSend<B, F>) -> Result<(), NotSent<B, F>>
    where
        B: IoBufs,
        F: FnOnce(SendCompletion<B>) + Send + 'static,
    {
        let core = self.registration.handler();
        if core.is_stream_broken() {
            return Err((SendError::StreamBroken, send));
        }
        match send_all(&core.sys, claim.descriptor().as_fd(), &send.payload, &mut send.cursor) {
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_061
            Sent::All => {
                claim.complete(|| {
                    let NewSend { payload, on_complete, cursor } = send;
                    on_complete(SendCompletion::new(SendResult::Ok, None, cursor.bytes, payload.into_buffers()));
                });
                Ok(())
            }
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_055, Codes_SRS_ASYNC_SOCKET_LINUX_11_057
            Sent::Blocked | Sent::Some => {
                tracing::trace!(bytes_sent = send.cursor.bytes, "send blocked");
                claim.queue(send).map_err(|failed| {
                    let bytes_sent = failed.returned.cursor.bytes;
                    core.send_failed(bytes_sent);
                    (SendError::OutOfMemory { bytes_sent }, failed.returned)
                })
            }
            Sent::Failed(errno) => {
                core.send_failed(send.cursor.bytes);
                Err((send_error(errno, send.cursor.bytes), send))
            }
        }
    }

    /// Queues a send behind the ones that were accepted before it.
    fn send_later<B, F>(&self, send: NewSend<B, F>) -> Result<(), NotSent<B, F>>
    where
        B: IoBufs,
        F: FnOnce(SendCompletion<B>) + Send + 'static,
    {
        if self.registration.handler().is_stream_broken() {
            return Err((SendError::StreamBroken, send));
        }
        self.registration.add(Direction::Out, send).map_err(|refused| {
            let error = match refused.error {
                AddError::OutOfMemory => SendError::OutOfMemory { bytes_sent: 0 },
                _ => SendError::NotOpen { state: self.state() },
            };
            (error, refused.returned)
        })
    }
}

/// A send that was refused, and why.
type NotSent<B, F> = (SendError, NewSend<B, F>);

impl<P: Port, S: SocketSyscalls> AsyncSocket for AsyncSocketLinux<P, S> {
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_027, Codes_SRS_ASYNC_SOCKET_LINUX_11_028, Codes_SRS_ASYNC_SOCKET_LINUX_11_029
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_032, Codes_SRS_ASYNC_SOCKET_LINUX_11_033
    fn open_async<F>(&self, on_open_complete: F) -> Result<(), OpenError>
    where
        F: FnOnce(OpenResult) + Send + 'static,
    {
        self.advance(SocketState::Closed, SocketState::Opening).map_err(|state| OpenError::NotClosed { state })?;
        if let Err(error) = self.register() {
            self.settle(SocketState::Closed);
            tracing::debug!(%error, "not opened");
            return Err(error);
        }
        // Announced before anyone can close, so that a close waits for it.
        let callback = self.registration.begin_callback();
        self.settle(SocketState::Open);
        tracing::debug!("opened");
        callback.run(|| on_open_complete(OpenResult::Ok));
        Ok(())
    }

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_036, Codes_SRS_ASYNC_SOCKET_LINUX_11_037, Codes_SRS_ASYNC_SOCKET_LINUX_11_039
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_041, Codes_SRS_ASYNC_SOCKET_LINUX_11_042
    fn close(&self) {
        if self.advance(SocketState::Open, SocketState::Closing).is_err() {
            return;
        }
        if let Some(socket) = self.registration.remove() {
            self.registration.handler().sys.close(socket);
        }
        self.settle(SocketState::Closed);
        tracing::debug!("closed");
    }

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_051, Codes_SRS_ASYNC_SOCKET_LINUX_11_062, Codes_SRS_ASYNC_SOCKET_LINUX_11_063
    fn send_async<B, F>(&self, buffers: B, on_send_complete: F) -> Result<(), Refused<B, SendError>>
    where
        B: IoBufs,
        F: FnOnce(SendCompletion<B>) + Send + 'static,
    {
        let payload = Payload::to_send(buffers).map_err(|refused| refused.map_error(SendError::from))?;
        let send = NewSend { payload, on_complete: on_send_complete, cursor: Cursor::default() };
        match self.registration.try_claim(Direction::Out) {
            Ok(claim) => self.send_now(claim, send),
            Err(ClaimError::InUse) => self.send_later(send),
            Err(_) => Err((SendError::NotOpen { state: self.state() }, send)),
        }
        .map_err(|(error, send)| Refused { error, returned: send.payload.into_buffers() })
    }

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_072, Codes_SRS_ASYNC_SOCKET_LINUX_11_077
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_078, Codes_SRS_ASYNC_SOCKET_LINUX_11_102
    fn receive_async<B, F>(&self, buffers: B, on_receive_complete: F) -> Result<(), Refused<B, ReceiveError>>
    where
        B: IoBufsMut,
        F: FnOnce(ReceiveCompletion<B>) + Send + 'static,
    {
        let payload = Payload::to_receive_into(buffers).map_err(|refused| refused.map_error(ReceiveError::from))?;
        let receive = NewReceive { payload, on_complete: on_receive_complete };
        self.registration.add(Direction::In, receive).map_err(|refused| {
            let error = match refused.error {
                AddError::OutOfMemory => ReceiveError::OutOfMemory,
                _ => ReceiveError::NotOpen { state: self.state() },
            };
            Refused { error, returned: refused.returned.payload.into_buffers() }
        })
    }
}

impl<P: Port, S: SocketSyscalls> Drop for AsyncSocketLinux<P, S> {
    /// The specification's `async_socket_destroy`. That nobody opens or closes the socket meanwhile is what owning it means.
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_020, Codes_SRS_ASYNC_SOCKET_LINUX_11_021
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_022, Codes_SRS_ASYNC_SOCKET_LINUX_11_023
    fn drop(&mut self) {
        self.close();
        if let Some(socket) = self.unopened.get_mut().take() {
            self.registration.handler().sys.close(socket);
        }
        tracing::debug!("destroyed");
    }
}

impl<P: Port, S: SocketSyscalls> fmt::Debug for AsyncSocketLinux<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncSocketLinux")
            .field("state", &self.state())
            .field("receives_queued", &self.registration.queued(Direction::In))
            .field("sends_queued", &self.registration.queued(Direction::Out))
            .finish_non_exhaustive()
    }
}

// Codes_SRS_ASYNC_SOCKET_LINUX_11_059, Codes_SRS_ASYNC_SOCKET_LINUX_11_060
fn send_error(errno: Errno, bytes_sent: u32) -> SendError {
    let os_error = errno.raw_os_error();
    match errno {
        Errno::CONNRESET | Errno::NOTCONN | Errno::PIPE => SendError::Disconnected { os_error, bytes_sent },
        _ => SendError::Os { os_error, bytes_sent },
    }
}

fn from_u8(state: u8) -> SocketState {
    const STATES: [SocketState; 4] =
        [SocketState::Closed, SocketState::Opening, SocketState::Open, SocketState::Closing];
    STATES[usize::from(state) % STATES.len()]
}
