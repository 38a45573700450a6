//! The socket: its states, and the calls of the specification.
//!
//! Invariants:
//! * The registration owns the descriptor from create on, and releases it once everything has been completed.
//! * The socket's state is the registration's phase, so there is no second state that could contradict it.
//! * No call touches the socket after it has started a callback of the program.

use crate::engine::ExecutionEngine;
use crate::kinds::{PendingPooled, PendingReceive};
use crate::lent::{Lent, Room, is_boxed};
use crate::platform;
use crate::pool::{BufferPool, PoolPlace, PooledCompletion};
use crate::sending::{send_boxed_within, send_within};
use crate::socket_core::{SocketCore, state_in, unsupported_kind};
use crate::span::{SocketSpan, log_inside, run_in_span};
use crate::sys::{Kernel, SocketSyscalls};
use async_socket_api::{
    AsyncSocket, Cancel, IoBufs, IoBufsMut, OpenError, OpenResult, Payload, ReceiveCompletion, ReceiveError, Refused,
    SendCompletion, SendError, SocketState,
};
use completion_port::memory::TryArc;
use completion_port::{
    AddError, CompletionPort, CreatePortError, Direction, OperationId, Phase, Port, RegisterError, Registration,
    log_caught,
};
use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use thiserror::Error;

/// Why a socket could not be created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// There is no process-wide completion port yet, and none could be made.
    #[error("the process-wide completion port could not be created")]
    CompletionPort(#[from] CreatePortError),
    /// The execution engine was made before `fork`, in a parent of this process.
    #[error("the execution engine was made before fork, in the parent process: make a new one in this process")]
    Inherited,
    /// There is no memory for the socket.
    #[error("no memory for the socket")]
    OutOfMemory,
}

/// An asynchronous socket on epoll. The promises are those of [`AsyncSocket`].
///
/// # Which sockets
/// A stream: TCP, Unix, or any other of type `SOCK_STREAM`. Opening any other kind, or a listening socket, fails with
/// [`OpenError::UnsupportedKind`]. A socket whose connect is still in progress opens too. Its sends and receives wait
/// for the connection, and end with the errno of the connect if that fails. An upper layer such as kernel TLS has to be
/// set up before the socket is opened.
///
/// # Closing and `SO_LINGER`
/// A close in a callback on a port thread never waits for the peer, because every other socket of the port would wait too.
/// The socket therefore switches `SO_LINGER` with a time off before it closes the descriptor. No byte is lost, because the
/// kernel goes on sending. A duplicate of the descriptor does not linger any more either. A time of 0, which resets the
/// connection, is left as it is. On a thread of the program a close lingers as the program asked, also in a callback that
/// `send_async` runs there.
///
/// # Arrays by value
/// A lent array is moved, not copied, but the compiler has to put it somewhere meanwhile. An array of more than 16 KiB
/// needs this much stack, with optimisation:
///
/// | Where | How much |
/// |---|---|
/// | the thread that lends it | its size once, and twice more if the refusal is kept: `unwrap`, `?`, or a `match` that takes `returned` |
/// | the port thread, for the callback | its size once |
/// | the thread that closes the socket, for an abandoned callback | its size once |
///
/// So a thread with a stack of 2 MiB can lend 1 MiB, with `map_err(|refused| refused.error)` or `is_ok()`. Without
/// optimisation it can lend 128 KiB. Lend larger arrays as `Box<[u8; N]>`, `Box<[u8]>` or `Vec<u8>`, of which only a
/// pointer is moved.
///
/// An array of more than 16 KiB that is lent by value costs an allocation, because the socket puts it into a box. It is
/// sent by the port thread, not by the caller's thread.
///
/// # Ownership
/// The socket owns the descriptor from [`create`](Self::create) on. Dropping the socket closes it as
/// [`close_and_wait`](Self::close_and_wait) does: no callback of the socket runs or will run afterwards, except those
/// that it is dropped in. [`close`](AsyncSocket::close) returns at once if another thread is closing the socket, and
/// callbacks may then still run.
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
    // Dropping the registration closes the socket and gives up the port, whatever our own `drop` below does.
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_021, Codes_SRS_ASYNC_SOCKET_LINUX_11_022
    pub(crate) registration: Registration<SocketCore<S>, P>,
}

impl AsyncSocketLinux {
    /// Makes a socket of a connected descriptor, on the next port of `execution_engine`. `None` means the process-wide
    /// engine.
    ///
    /// The descriptor may be in blocking or non-blocking mode. No call of the library blocks on it.
    ///
    /// # Errors
    /// [`CreateError`] and the descriptor. Only [`open_async`](AsyncSocket::open_async) finds out whether the descriptor can
    /// be used.
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
            Ok(port) => Self::create_on(port, socket),
            Err(error) => Err(Refused { error: error.into(), returned: socket }),
        }
    }

    /// [`create`](Self::create) on a chosen port, for instance [`ExecutionEngine::port`] or the
    /// [port of another socket](Self::port).
    ///
    /// # Errors
    /// [`CreateError`] and the descriptor.
    // Codes_SRS_SOCKET_01_067
    pub fn create_on(port: CompletionPort, socket: OwnedFd) -> Result<Self, Refused<OwnedFd, CreateError>> {
        // Codes_SRS_PLATFORM_01_006
        if port.is_inherited() {
            return Err(Refused { error: CreateError::Inherited, returned: socket });
        }
        Self::try_create_with(port, Kernel, socket)
    }
}

impl<P: Port, S: SocketSyscalls> AsyncSocketLinux<P, S> {
    /// [`create`](AsyncSocketLinux::create) on a given port, with given system calls.
    ///
    /// Without memory it ends the process, as `Box::new` does; [`try_create_with`](Self::try_create_with) does not.
    pub fn create_with(port: P, sys: S, socket: OwnedFd) -> Self {
        Self::try_create_with(port, sys, socket).unwrap_or_else(|_| handle_alloc_error(Layout::new::<SocketCore<S>>()))
    }

    /// [`create_with`](Self::create_with) that can fail.
    ///
    /// # Errors
    /// [`CreateError::OutOfMemory`] and the descriptor.
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_006
    pub fn try_create_with(port: P, sys: S, socket: OwnedFd) -> Result<Self, Refused<OwnedFd, CreateError>> {
        let core = SocketCore::new(sys, socket.as_raw_fd());
        Self::try_create_of(port, core, socket)
    }

    pub(crate) fn try_create_of(
        port: P,
        core: SocketCore<S>,
        socket: OwnedFd,
    ) -> Result<Self, Refused<OwnedFd, CreateError>> {
        let descriptor = socket.as_raw_fd();
        match Registration::try_new(port, core, socket) {
            Ok(registration) => {
                log_caught(|| tracing::debug!(descriptor, "socket created"));
                Ok(Self { registration })
            }
            Err(refused) => Err(Refused { error: CreateError::OutOfMemory, returned: refused.returned.2 }),
        }
    }

    /// Receives at least one byte into a buffer of `pool`. The buffer is taken only when bytes have arrived, so a
    /// receive that waits holds no payload memory. In everything else this is
    /// [`receive_async`](AsyncSocket::receive_async), and both wait in one queue.
    ///
    /// The buffer goes back to the pool when it is dropped, for instance after it was sent. A receive that finds the pool
    /// empty waits for a buffer, see [`BufferPool`].
    ///
    /// # Errors
    /// [`ReceiveError`]; the callback then never runs.
    pub fn receive_pooled_async<F>(
        &self,
        pool: &BufferPool,
        on_receive_complete: F,
    ) -> Result<OperationId, ReceiveError>
    where
        F: FnOnce(PooledCompletion) + Send + 'static,
    {
        let receive = self.pending_pooled(pool, on_receive_complete)?;
        self.registration.add(Direction::In, receive).map_err(|refused| self.receive_error(refused.error))
    }

    pub(crate) fn pending_pooled<F>(
        &self,
        pool: &BufferPool,
        on_complete: F,
    ) -> Result<PendingPooled<S, P, F>, ReceiveError> {
        if pool.is_inherited() {
            return Err(ReceiveError::Inherited);
        }
        Ok(PendingPooled { place: PoolPlace::new(pool), resumer: self.registration.resumer(), on_complete })
    }

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_077, Codes_SRS_ASYNC_SOCKET_LINUX_11_078
    #[inline(always)]
    fn receive<B, F>(&self, buffers: B, on_receive_complete: F) -> Result<OperationId, Refused<B, ReceiveError>>
    where
        B: IoBufsMut,
        F: FnOnce(ReceiveCompletion<B>) + Send + 'static,
    {
        let payload = Payload::to_receive_into(buffers).map_err(|refused| refused.map_error(ReceiveError::from))?;
        let receive = PendingReceive { buffers: payload.into_buffers(), on_complete: on_receive_complete };
        self.registration
            .add(Direction::In, receive)
            .map_err(|refused| Refused { error: self.receive_error(refused.error), returned: refused.returned.buffers })
    }

    #[inline(never)]
    fn receive_boxed<B, F>(
        &self,
        buffers: Lent<B>,
        on_receive_complete: F,
    ) -> Result<OperationId, Refused<Lent<B>, ReceiveError>>
    where
        B: IoBufsMut,
        F: FnOnce(ReceiveCompletion<B>) + Send + 'static,
    {
        self.receive(buffers, |received: ReceiveCompletion<Lent<B>>| {
            let buffers = received.buffers.into_inner();
            on_receive_complete(ReceiveCompletion::new(received.reason, received.bytes_received, buffers));
        })
    }

    #[cold]
    pub(crate) fn receive_error(&self, error: AddError) -> ReceiveError {
        match error {
            AddError::OutOfMemory => ReceiveError::OutOfMemory,
            AddError::Inherited(_) => ReceiveError::Inherited,
            AddError::PortFailed => ReceiveError::PortFailed,
            // Codes_SRS_SOCKET_01_132
            AddError::NotWatched(errno) => ReceiveError::Os { os_error: errno.raw_os_error() },
            // Codes_SRS_ASYNC_SOCKET_LINUX_11_072, Codes_SRS_BUFFER_POOL_01_008
            _ => ReceiveError::NotOpen { state: self.state() },
        }
    }

    /// The port that the socket lives on. With it another socket can be created on the same thread.
    #[must_use]
    pub fn port(&self) -> &P {
        self.registration.port()
    }

    /// The state at this moment. Another thread may change it at any time.
    #[must_use]
    pub fn state(&self) -> SocketState {
        state_in(self.registration.phase())
    }

    /// The number of the descriptor that the socket was created with, to name the socket in a log. Once the socket is
    /// closed, the number may be another descriptor's.
    // Codes_SRS_C_LIBRARY_01_010
    #[must_use]
    pub fn descriptor_number(&self) -> RawFd {
        // The program could set an option by the number.
        // Codes_SRS_SOCKET_01_130
        self.registration.handler().publish();
        self.name()
    }

    /// The number for the library's own messages.
    pub(crate) fn name(&self) -> RawFd {
        self.registration.handler().descriptor()
    }

    /// The span of an open socket. In a child of `fork`, where another thread may have held its lock, no socket is open.
    pub(crate) fn span(&self) -> Option<TryArc<SocketSpan>> {
        let core = self.registration.handler();
        if core.is_watched() && self.registration.phase() == Phase::Registered { core.span() } else { None }
    }

    /// Does the same as the drop, for a program that shares the socket by other means than references. It closes the
    /// socket, and returns when no callback of the socket runs or will run on any thread. The callbacks that the caller
    /// is inside of are excepted.
    ///
    /// If another thread is closing the socket, this call helps. It completes the remaining operations as abandoned on
    /// the calling thread, and waits for the callback that the other thread is in. If another thread is opening the
    /// socket, this call first waits for the open. All this holds on every thread, also on a port thread.
    ///
    /// # Deadlocks
    /// Two callbacks on two threads that close or drop each other's sockets wait for each other for ever. One port
    /// thread and one thread that sends suffice. The same happens if a callback waits for a lock that the caller holds.
    pub fn close_and_wait(&self) {
        let was_open = self.registration.phase() == Phase::Registered;
        let span = self.span();
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_020
        self.registration.remove_and_wait();
        if was_open {
            log_inside(span.as_deref(), || tracing::debug!(descriptor = self.name(), "socket closed"));
        }
    }
}

impl<P: Port, S: SocketSyscalls> AsyncSocket for AsyncSocketLinux<P, S> {
    type OperationId = OperationId;

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_027, Codes_SRS_ASYNC_SOCKET_LINUX_11_028, Codes_SRS_ASYNC_SOCKET_LINUX_11_031
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_032, Codes_SRS_ASYNC_SOCKET_LINUX_11_033, Codes_SRS_ASYNC_SOCKET_LINUX_11_034
    fn open_async<F>(&self, on_open_complete: F) -> Result<(), OpenError>
    where
        F: FnOnce(OpenResult) + Send + 'static,
    {
        let core = self.registration.handler();
        let on_open = || {
            core.note_port(self.registration.port().number());
            core.log(|| tracing::debug!(descriptor = core.descriptor(), "socket opened"));
            run_in_span(core, || on_open_complete(OpenResult::Ok));
        };
        // Codes_SRS_SOCKET_01_131
        let is_fresh = core.is_private();
        let opened =
            if is_fresh { self.registration.register_lazily(on_open) } else { self.registration.register(on_open) };
        opened.map_err(|error| {
            let descriptor = self.name();
            let error = open_error(error, descriptor);
            // Codes_SRS_SOCKET_01_125
            if self.registration.phase() == Phase::Unregistered {
                let core = self.registration.handler();
                core.log(|| tracing::debug!(descriptor, %error, "socket not opened"));
                core.end_span();
            } else {
                log_caught(|| tracing::debug!(descriptor, %error, "socket not opened"));
            }
            error
        })
    }

    // Codes_SRS_ASYNC_SOCKET_LINUX_11_036, Codes_SRS_ASYNC_SOCKET_LINUX_11_037, Codes_SRS_ASYNC_SOCKET_LINUX_11_041
    // Codes_SRS_ASYNC_SOCKET_LINUX_11_042
    fn close(&self) {
        let span = self.span();
        if self.registration.remove() {
            log_inside(span.as_deref(), || tracing::debug!(descriptor = self.name(), "socket closed"));
        }
    }

    #[inline(always)]
    fn send_async<B, F>(&self, buffers: B, on_send_complete: F) -> Result<Option<OperationId>, Refused<B, SendError>>
    where
        B: IoBufs,
        F: FnOnce(SendCompletion<B>) + Send + 'static,
    {
        // Codes_SRS_SOCKET_01_020
        if const { !is_boxed::<B>() } {
            return send_within(&self.registration, buffers, on_send_complete, None);
        }
        // Codes_SRS_SOCKET_01_020
        let Some(room) = Room::new() else {
            return Err(Refused { error: SendError::OutOfMemory { bytes_sent: 0 }, returned: buffers });
        };
        // Codes_SRS_SOCKET_01_021
        send_boxed_within(&self.registration, room.fill(buffers), on_send_complete, None).map_err(given_back)
    }

    #[inline(always)]
    fn receive_async<B, F>(&self, buffers: B, on_receive_complete: F) -> Result<OperationId, Refused<B, ReceiveError>>
    where
        B: IoBufsMut,
        F: FnOnce(ReceiveCompletion<B>) + Send + 'static,
    {
        if const { !is_boxed::<B>() } {
            return self.receive(buffers, on_receive_complete);
        }
        // Codes_SRS_SOCKET_01_020
        let Some(room) = Room::new() else {
            return Err(Refused { error: ReceiveError::OutOfMemory, returned: buffers });
        };
        // Codes_SRS_SOCKET_01_021
        self.receive_boxed(room.fill(buffers), on_receive_complete).map_err(given_back)
    }

    fn cancel(&self, operation: OperationId) -> Cancel {
        match self.registration.cancel(operation) {
            // Codes_SRS_SOCKET_01_090
            completion_port::Cancel::Cancelled => Cancel::Cancelled,
            // Codes_SRS_SOCKET_01_092
            completion_port::Cancel::NotWaiting => Cancel::NotWaiting,
            // Codes_SRS_SOCKET_01_091
            completion_port::Cancel::Started => Cancel::Started,
        }
    }
}

#[inline(always)]
pub(crate) fn given_back<B, E>(refused: Refused<Lent<B>, E>) -> Refused<B, E> {
    Refused { error: refused.error, returned: refused.returned.into_inner() }
}

impl<P: Port, S: SocketSyscalls> Drop for AsyncSocketLinux<P, S> {
    /// The specification's `async_socket_destroy`. The registration's own drop would close the socket too. It is done here
    /// so that the log says so afterwards.
    fn drop(&mut self) {
        let span = self.span();
        self.registration.remove_and_wait();
        log_inside(span.as_deref(), || {
            tracing::debug!(descriptor = self.name(), "socket destroyed");
        });
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

fn open_error(error: RegisterError, descriptor: RawFd) -> OpenError {
    match error {
        RegisterError::Inherited(_) => OpenError::Inherited,
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_030
        RegisterError::AlreadyUsed(Phase::Removed) => OpenError::DescriptorClosed,
        // Codes_SRS_ASYNC_SOCKET_LINUX_11_029
        RegisterError::AlreadyUsed(phase) => OpenError::NotClosed { state: state_in(phase) },
        RegisterError::Unusable(source) => match unsupported_kind(&source) {
            // Codes_SRS_SOCKET_01_010
            Some(kind) => OpenError::UnsupportedKind { descriptor, kind },
            None => OpenError::NotASocket { descriptor, source },
        },
        RegisterError::Kernel(source) => OpenError::NotRegistered { descriptor, source },
        // Leaves out the error itself, because that would need memory.
        // Codes_SRS_SOCKET_01_050
        _ => OpenError::NotRegistered { descriptor, source: io::ErrorKind::Other.into() },
    }
}
