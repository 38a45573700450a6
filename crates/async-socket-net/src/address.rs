//! The addresses that streams are accepted from and connected to.

use rustix::net::{SocketAddrAny, SocketAddrUnix};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net as unix;
use std::path::Path;

/// An address of a stream socket: IPv4, IPv6 or Unix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// IPv4 or IPv6.
    Inet(SocketAddr),
    /// A path, an abstract name, or no name. A client of a Unix socket usually has none.
    Unix(UnixAddress),
}

/// The kinds of [`Address`] that the kernel tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `AF_INET`
    V4,
    /// `AF_INET6`
    V6,
    /// `AF_UNIX`
    Unix,
}

/// An address of a Unix socket, see `unix(7)`. It needs no allocation.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnixAddress(SocketAddrUnix);

impl Address {
    /// The address as IPv4 or IPv6.
    #[must_use]
    pub fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The address as a Unix address.
    #[must_use]
    pub fn as_unix(&self) -> Option<&UnixAddress> {
        match self {
            Self::Inet(_) => None,
            Self::Unix(address) => Some(address),
        }
    }

    /// The kind of socket that the address needs.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Inet(SocketAddr::V4(_)) => Family::V4,
            Self::Inet(SocketAddr::V6(_)) => Family::V6,
            Self::Unix(_) => Family::Unix,
        }
    }

    /// What `getsockname`, `accept` and others return. `None` for an address of another family.
    pub(crate) fn of_kernel(address: SocketAddrAny) -> Option<Self> {
        if let Ok(inet) = SocketAddr::try_from(address.clone()) {
            return Some(Self::Inet(inet));
        }
        SocketAddrUnix::try_from(address).ok().map(|unix| Self::Unix(UnixAddress(unix)))
    }

    pub(crate) fn unnamed() -> Self {
        Self::Unix(UnixAddress(SocketAddrUnix::new_unnamed()))
    }
}

impl UnixAddress {
    /// The address of a path.
    ///
    /// # Errors
    /// The path is longer than 107 bytes (`ENAMETOOLONG`), is empty, or contains a zero byte (`EINVAL`).
    pub fn of_path(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        if path.as_os_str().is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self(SocketAddrUnix::new(path)?))
    }

    /// The address of an abstract name, which is no file. It may contain any bytes.
    ///
    /// # Errors
    /// The name is longer than 107 bytes.
    pub fn of_abstract_name(name: impl AsRef<[u8]>) -> io::Result<Self> {
        Ok(Self(SocketAddrUnix::new_abstract_name(name.as_ref())?))
    }

    /// The path, if it has one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path_bytes().map(|bytes| Path::new(OsStr::from_bytes(bytes)))
    }

    /// The abstract name, if it has one, without the zero byte in front of it.
    #[must_use]
    pub fn abstract_name(&self) -> Option<&[u8]> {
        self.0.abstract_name()
    }

    /// Whether the socket has no name.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.0.is_unnamed()
    }

    pub(crate) fn as_kernel(&self) -> &SocketAddrUnix {
        &self.0
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

impl From<UnixAddress> for Address {
    fn from(address: UnixAddress) -> Self {
        Self::Unix(address)
    }
}

/// A Unix address of the standard library. One without a name cannot be connected to.
impl TryFrom<&unix::SocketAddr> for UnixAddress {
    type Error = io::Error;

    fn try_from(address: &unix::SocketAddr) -> io::Result<Self> {
        match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => Self::of_path(path),
            (None, Some(name)) => Self::of_abstract_name(name),
            (None, None) => Ok(Self(SocketAddrUnix::new_unnamed())),
        }
    }
}

/// As a program would name it: `127.0.0.1:80`, `/run/x.sock`, `@abstract`, `(unnamed)`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path(), self.abstract_name()) {
            (Some(path), _) => path.display().fmt(f),
            (None, Some(name)) => write!(f, "@{}", name.escape_ascii()),
            (None, None) => f.write_str("(unnamed)"),
        }
    }
}

impl fmt::Debug for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixAddress({self})")
    }
}
