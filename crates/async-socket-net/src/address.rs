//! The addresses that streams are accepted from and connected to.

use crate::raw::bytes_of;
use crate::sys::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix};
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
pub struct UnixAddress {
    kind: Kind,
    length: usize,
    /// Zero behind `length`.
    name: [u8; LONGEST_NAME],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Unnamed,
    Path,
    Abstract,
}

/// The bytes of `sun_path`. A path may fill them all.
const LONGEST_NAME: usize = 108;

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
        if address.address_family() == AddressFamily::UNIX {
            let name = bytes_of(&address).get(size_of::<u16>()..).unwrap_or_default();
            return Some(Self::Unix(UnixAddress::of_kernel(name)));
        }
        SocketAddr::try_from(address).ok().map(Self::Inet)
    }

    pub(crate) fn unnamed() -> Self {
        Self::Unix(UnixAddress::new(Kind::Unnamed, &[]))
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
        // Refuses what the kernel would.
        let _checked = SocketAddrUnix::new(path)?;
        Ok(Self::new(Kind::Path, path.as_os_str().as_bytes()))
    }

    /// The address of an abstract name, which is no file. It may contain any bytes.
    ///
    /// # Errors
    /// The name is longer than 107 bytes.
    pub fn of_abstract_name(name: impl AsRef<[u8]>) -> io::Result<Self> {
        let _checked = SocketAddrUnix::new_abstract_name(name.as_ref())?;
        Ok(Self::new(Kind::Abstract, name.as_ref()))
    }

    /// The path, if it has one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        (self.kind == Kind::Path).then(|| Path::new(OsStr::from_bytes(self.name())))
    }

    /// The abstract name, if it has one, without the zero byte in front of it.
    #[must_use]
    pub fn abstract_name(&self) -> Option<&[u8]> {
        (self.kind == Kind::Abstract).then(|| self.name())
    }

    /// Whether the socket has no name.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.kind == Kind::Unnamed
    }

    /// The kernel writes nothing for a socket without a name, a zero byte in front of an abstract name, and a path with its
    /// terminator, if there is room for that.
    fn of_kernel(name: &[u8]) -> Self {
        match name {
            [] => Self::new(Kind::Unnamed, &[]),
            [0, name @ ..] => Self::new(Kind::Abstract, name),
            path => Self::new(Kind::Path, path.split(|byte| *byte == 0).next().unwrap_or_default()),
        }
    }

    fn new(kind: Kind, bytes: &[u8]) -> Self {
        let length = bytes.len().min(LONGEST_NAME);
        let mut name = [0; LONGEST_NAME];
        name[..length].copy_from_slice(&bytes[..length]);
        Self { kind, length, name }
    }

    fn name(&self) -> &[u8] {
        &self.name[..self.length]
    }

    pub(crate) fn to_kernel(&self) -> Result<SocketAddrUnix, Errno> {
        match self.kind {
            Kind::Unnamed => Ok(SocketAddrUnix::new_unnamed()),
            Kind::Path => SocketAddrUnix::new(self.name()),
            Kind::Abstract => SocketAddrUnix::new_abstract_name(self.name()),
        }
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
            (None, None) => Ok(Self::new(Kind::Unnamed, &[])),
        }
    }
}

// Codes_SRS_ASYNC_SOCKET_NET_01_020
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
