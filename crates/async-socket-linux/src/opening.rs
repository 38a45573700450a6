//! Creating and opening a socket in one call.

use crate::engine::ExecutionEngine;
use crate::socket::{AsyncSocketLinux, CreateError};
use crate::socket_core::SocketCore;
use crate::sys::SocketSyscalls;
use crate::transfer::ShortRead;
use async_socket_api::{AsyncSocket, OpenError, Refused};
use completion_port::{CompletionPort, Port};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use thiserror::Error;

/// Why [`AsyncSocketLinux::open`] gives no socket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SetUpError {
    /// The socket could not be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The socket could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// As the error inside converts.
// Codes_SRS_LENT_BUFFERS_01_009
impl From<SetUpError> for io::Error {
    fn from(error: SetUpError) -> Self {
        match error {
            SetUpError::Create(error) => error.into(),
            SetUpError::Open(error) => error.into(),
        }
    }
}

impl AsyncSocketLinux {
    /// Makes an open socket of a connected descriptor, on the next port of an engine. `None` means the process-wide
    /// engine.
    ///
    /// # Errors
    /// [`SetUpError`] and the descriptor.
    ///
    /// ```
    /// use async_socket_linux::{AsyncSocket, AsyncSocketLinux, ExecutionEngine};
    /// use std::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let engine = ExecutionEngine::builder().build()?;
    /// let client = AsyncSocketLinux::open(&engine, TcpStream::connect(listener.local_addr()?)?)?;
    /// let server = AsyncSocketLinux::open(None, listener.accept()?.0)?;
    /// client.send_async("hello", |_| {})?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn open<'e>(
        on: impl Into<Option<&'e ExecutionEngine>>,
        descriptor: impl Into<OwnedFd>,
    ) -> Result<Self, Refused<Option<OwnedFd>, SetUpError>> {
        opened(Self::create(on.into(), descriptor.into()))
    }

    /// [`open`](Self::open) on a chosen port.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    // Codes_SRS_SOCKET_01_067
    pub fn open_on(
        port: CompletionPort,
        descriptor: impl Into<OwnedFd>,
    ) -> Result<Self, Refused<Option<OwnedFd>, SetUpError>> {
        opened(Self::create_on(port, descriptor.into()))
    }
}

impl<P: Port, S: SocketSyscalls> AsyncSocketLinux<P, S> {
    /// Makes an open socket of a descriptor that is known to be a connected stream socket, as one is that `accept` gave or
    /// that this program has connected. The kernel is not asked about that, which saves three system calls.
    ///
    /// If the descriptor is something else, the operations fail as the kernel has it.
    ///
    /// # Errors
    /// [`SetUpError`] and the descriptor.
    // Codes_SRS_SOCKET_01_068
    pub fn open_connected_with(
        port: P,
        sys: S,
        descriptor: impl Into<OwnedFd>,
    ) -> Result<Self, Refused<Option<OwnedFd>, SetUpError>> {
        let created = Self::try_create_with(port, sys, descriptor.into());
        if let Ok(socket) = &created {
            socket.registration.handler().set_known();
        }
        opened(created)
    }
}

/// A stream socket that this program has made, and that nothing but the library has had since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FreshStream {
    /// TCP, over IPv4 or IPv6. It has no upper layer.
    Tcp,
    /// A Unix stream.
    Unix,
    /// Any other, for instance `AF_VSOCK`. A short read then does not mean that nothing is left.
    Other,
}

impl<P: Port, S: SocketSyscalls> AsyncSocketLinux<P, S> {
    /// [`open_connected_with`](Self::open_connected_with) for a descriptor that nothing else has had since it was made, as a
    /// connector opens it. The kernel is asked nothing, neither now nor, before the close, whether `SO_LINGER` is on: the
    /// program can set that only after it has asked for the [descriptor](Self::with_descriptor) or its
    /// [number](Self::descriptor_number).
    ///
    /// The port watches the descriptor from the first operation on. If the kernel refuses that, the operation is refused
    /// ([`SendError::Os`](async_socket_api::SendError::Os), [`ReceiveError::Os`](async_socket_api::ReceiveError::Os)), and the
    /// next one tries again.
    ///
    /// The caller must not have set `TCP_ULP` or `SO_LINGER`.
    ///
    /// # Errors
    /// [`SetUpError`] and the descriptor.
    // Codes_SRS_SOCKET_01_129
    pub fn open_fresh_with(
        port: P,
        sys: S,
        descriptor: impl Into<OwnedFd>,
        stream: FreshStream,
    ) -> Result<Self, Refused<Option<OwnedFd>, SetUpError>> {
        let descriptor = descriptor.into();
        let short_read = match stream {
            FreshStream::Tcp => ShortRead::Drained,
            FreshStream::Unix => ShortRead::DrainedUnlessFdsPassed,
            FreshStream::Other => ShortRead::ProvesNothing,
        };
        let core = SocketCore::private(sys, descriptor.as_raw_fd(), short_read);
        opened(Self::try_create_of(port, core, descriptor))
    }
}

fn opened<P: Port, S: SocketSyscalls>(
    created: Result<AsyncSocketLinux<P, S>, Refused<OwnedFd, CreateError>>,
) -> Result<AsyncSocketLinux<P, S>, Refused<Option<OwnedFd>, SetUpError>> {
    let socket =
        created.map_err(|refused| Refused { error: refused.error.into(), returned: Some(refused.returned) })?;
    // Codes_SRS_SOCKET_01_065
    if let Err(error) = socket.open_async(|_| {}) {
        // Codes_SRS_SOCKET_01_066
        return Err(Refused { error: error.into(), returned: socket.into_fd().ok() });
    }
    Ok(socket)
}
