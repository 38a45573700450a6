//! Why a connect did not end with a socket.

use crate::address::Address;
use crate::resolver::ResolveError;
use crate::sys::Errno;
use crate::target::TargetError;
use async_socket_linux::SetUpError;
use std::fmt;
use std::io;
use std::time::Duration;
use thiserror::Error;

/// Why there is no connection. [`kind`](Self::kind) tells the usual causes apart.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The target names nothing that can be connected to.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The host name has no addresses.
    #[error("{host} could not be resolved")]
    Resolver {
        /// The host name.
        host: String,
        /// Why.
        source: ResolveError,
    },
    /// Each address was tried, and none of them connected.
    #[error("not connected: {attempts}")]
    Failed {
        /// The error of each attempt, in the order in which they began.
        attempts: Attempts,
    },
    /// The time was over first.
    #[error("not connected within {} ms{}", within.as_millis(), attempts.after_colon())]
    TimedOut {
        /// The time that the program gave.
        within: Duration,
        /// The attempts that had failed, and those that were under way, in the order in which they began. Empty if the host
        /// name was not resolved in time.
        attempts: Attempts,
    },
    /// The [`Connecting`](crate::Connecting) was dropped.
    #[error("the connect was cancelled")]
    Cancelled,
    /// The connection was made, but did not become a socket.
    #[error("the connection could not be opened")]
    Open(#[source] SetUpError),
    /// The completion port has failed or was made before a `fork`, or there is no memory.
    #[error("the completion port refused the connect")]
    Port(#[source] io::Error),
}

/// The usual causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The target names nothing that can be connected to.
    InvalidTarget,
    /// The host name could not be resolved.
    NotResolved,
    /// A host answered that no program listens (`ECONNREFUSED`), or the path of a Unix socket does not exist (`ENOENT`).
    Refused,
    /// No route to the address (`ENETUNREACH`, `EHOSTUNREACH`).
    Unreachable,
    /// No answer, within the program's time or the kernel's (`ETIMEDOUT`).
    TimedOut,
    /// The program has cancelled it.
    Cancelled,
    /// Anything else; the error says what.
    Other,
}

/// One address that was tried.
#[derive(Debug, Error)]
#[error("{address}: {call}: {source}")]
pub struct AttemptError {
    /// The address.
    pub address: Address,
    /// The system call that failed, or `connect` while the kernel was still trying.
    pub call: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

/// The attempts of a connect, in the order in which they began.
#[derive(Debug, Default)]
pub struct Attempts(pub(crate) Vec<AttemptError>);

impl Attempts {
    /// The attempts.
    pub fn iter(&self) -> std::slice::Iter<'_, AttemptError> {
        self.0.iter()
    }

    fn after_colon(&self) -> String {
        if self.0.is_empty() { String::new() } else { format!(": {self}") }
    }
}

impl<'a> IntoIterator for &'a Attempts {
    type Item = &'a AttemptError;
    type IntoIter = std::slice::Iter<'a, AttemptError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, attempt) in self.0.iter().enumerate() {
            write!(f, "{}{attempt}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl AttemptError {
    pub(crate) fn new(address: Address, call: &'static str, errno: Errno) -> Self {
        Self { address, call, source: errno.into() }
    }

    /// The usual causes.
    #[must_use]
    pub fn kind(&self) -> ConnectErrorKind {
        match Errno::from_io_error(&self.source) {
            // Codes_SRS_ASYNC_SOCKET_NET_01_045
            Some(Errno::CONNREFUSED | Errno::NOENT) => ConnectErrorKind::Refused,
            Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN | Errno::HOSTDOWN) => {
                ConnectErrorKind::Unreachable
            }
            Some(Errno::TIMEDOUT) => ConnectErrorKind::TimedOut,
            _ => ConnectErrorKind::Other,
        }
    }
}

impl ConnectError {
    /// The usual causes. If several addresses failed in different ways, the cause is that of the attempt that came furthest:
    /// refused, then timed out, then unreachable.
    #[must_use]
    pub fn kind(&self) -> ConnectErrorKind {
        match self {
            // Codes_SRS_ASYNC_SOCKET_NET_01_045
            Self::Target(_) => ConnectErrorKind::InvalidTarget,
            // Codes_SRS_ASYNC_SOCKET_NET_01_045
            Self::Resolver { .. } => ConnectErrorKind::NotResolved,
            // Codes_SRS_ASYNC_SOCKET_NET_01_045
            Self::Failed { attempts } => furthest(attempts),
            // Codes_SRS_ASYNC_SOCKET_NET_01_045
            Self::TimedOut { .. } => ConnectErrorKind::TimedOut,
            // Codes_SRS_ASYNC_SOCKET_NET_01_045
            Self::Cancelled => ConnectErrorKind::Cancelled,
            Self::Open(_) | Self::Port(_) => ConnectErrorKind::Other,
        }
    }

    /// The attempts that were made.
    // Codes_SRS_ASYNC_SOCKET_NET_01_044
    #[must_use]
    pub fn attempts(&self) -> &[AttemptError] {
        match self {
            Self::Failed { attempts } | Self::TimedOut { attempts, .. } => &attempts.0,
            _ => &[],
        }
    }
}

// Codes_SRS_ASYNC_SOCKET_NET_01_045
fn furthest(attempts: &Attempts) -> ConnectErrorKind {
    let by_distance = [ConnectErrorKind::Refused, ConnectErrorKind::TimedOut, ConnectErrorKind::Unreachable];
    let was = |kind: &ConnectErrorKind| attempts.iter().any(|attempt| attempt.kind() == *kind);
    by_distance.into_iter().find(was).unwrap_or(ConnectErrorKind::Other)
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        let kind = match error.kind() {
            ConnectErrorKind::InvalidTarget => io::ErrorKind::InvalidInput,
            ConnectErrorKind::NotResolved => io::ErrorKind::NotFound,
            ConnectErrorKind::Refused => io::ErrorKind::ConnectionRefused,
            ConnectErrorKind::Unreachable => io::ErrorKind::HostUnreachable,
            ConnectErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ConnectErrorKind::Cancelled => io::ErrorKind::Interrupted,
            ConnectErrorKind::Other => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
