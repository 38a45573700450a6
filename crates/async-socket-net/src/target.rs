//! What a program connects to: addresses, a host name with a port, or a Unix address.

use crate::address::{Address, UnixAddress};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::net as unix;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// This address.
    Address(SocketAddr),
    /// These addresses, in the order of RFC 8305: the families take turns.
    Addresses(Vec<SocketAddr>),
    /// The addresses that the system's resolver gives for a host name.
    Name {
        /// The host.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// A Unix socket.
    Unix(UnixAddress),
}

/// Why a value names no target.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A list without an address.
    #[error("the list of addresses is empty")]
    NoAddress,
    /// A text without a host in front of the port.
    #[error("{0:?} names no host: write HOST:PORT")]
    NoHost(String),
    /// A text without a port from 0 to 65535 at its end.
    #[error("{0:?} names no port: write HOST:PORT, and [ADDRESS]:PORT for IPv6")]
    NoPort(String),
    /// A path or name that no Unix socket can have.
    #[error("{name:?} cannot be the address of a Unix socket")]
    Unix {
        /// The path or the name.
        name: String,
        /// Why: too long, empty, or a zero byte.
        source: io::Error,
    },
}

/// A value that names a [`Target`].
///
/// | Value | Target |
/// |---|---|
/// | `"example.org:80"`, `("example.org", 80)` | a name; a numeric address needs no resolver |
/// | `SocketAddr`, `(IpAddr, u16)`, a list of `SocketAddr` | these addresses |
/// | `Path`, `PathBuf` | a Unix socket at a path |
/// | `UnixAddress`, `std::os::unix::net::SocketAddr` | a Unix socket, with an abstract name too |
/// | [`Address`] | what a listener reports |
pub trait ToTarget {
    /// The target.
    ///
    /// # Errors
    /// [`TargetError`], if the value names none.
    fn to_target(self) -> Result<Target, TargetError>;
}

impl ToTarget for Target {
    fn to_target(self) -> Result<Target, TargetError> {
        Ok(self)
    }
}

macro_rules! addresses {
    ($($value:ty),*) => {$(
        impl ToTarget for $value {
            fn to_target(self) -> Result<Target, TargetError> {
                Ok(Target::Address(self.into()))
            }
        }
    )*};
}

addresses!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

// Codes_SRS_ASYNC_SOCKET_NET_01_031
impl ToTarget for Vec<SocketAddr> {
    fn to_target(self) -> Result<Target, TargetError> {
        if self.is_empty() { Err(TargetError::NoAddress) } else { Ok(Target::Addresses(self)) }
    }
}

impl ToTarget for &[SocketAddr] {
    fn to_target(self) -> Result<Target, TargetError> {
        self.to_vec().to_target()
    }
}

impl<const N: usize> ToTarget for [SocketAddr; N] {
    fn to_target(self) -> Result<Target, TargetError> {
        self.to_vec().to_target()
    }
}

// Codes_SRS_ASYNC_SOCKET_NET_01_031
impl ToTarget for (String, u16) {
    fn to_target(self) -> Result<Target, TargetError> {
        let (host, port) = self;
        if host.is_empty() {
            return Err(TargetError::NoHost(format!(":{port}")));
        }
        Ok(match host.parse::<IpAddr>() {
            Ok(address) => Target::Address((address, port).into()),
            Err(_) => Target::Name { host, port },
        })
    }
}

impl ToTarget for (&str, u16) {
    fn to_target(self) -> Result<Target, TargetError> {
        (self.0.to_owned(), self.1).to_target()
    }
}

/// `HOST:PORT`; an IPv6 address is in brackets.
// Codes_SRS_ASYNC_SOCKET_NET_01_031
impl ToTarget for &str {
    fn to_target(self) -> Result<Target, TargetError> {
        let no_port = || TargetError::NoPort(self.to_owned());
        let (host, port) = self.rsplit_once(':').ok_or_else(no_port)?;
        let port = port.parse().map_err(|_| no_port())?;
        let in_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if in_brackets.is_none() && host.contains(':') {
            // An IPv6 address, whose last group is not a port.
            return Err(no_port());
        }
        let host = in_brackets.unwrap_or(host);
        if host.is_empty() { Err(TargetError::NoHost(self.to_owned())) } else { (host, port).to_target() }
    }
}

impl ToTarget for String {
    fn to_target(self) -> Result<Target, TargetError> {
        self.as_str().to_target()
    }
}

impl ToTarget for &String {
    fn to_target(self) -> Result<Target, TargetError> {
        self.as_str().to_target()
    }
}

// Codes_SRS_ASYNC_SOCKET_NET_01_031
impl ToTarget for &Path {
    fn to_target(self) -> Result<Target, TargetError> {
        let refused = |source| TargetError::Unix { name: self.display().to_string(), source };
        UnixAddress::of_path(self).map(Target::Unix).map_err(refused)
    }
}

impl ToTarget for PathBuf {
    fn to_target(self) -> Result<Target, TargetError> {
        self.as_path().to_target()
    }
}

impl ToTarget for &PathBuf {
    fn to_target(self) -> Result<Target, TargetError> {
        self.as_path().to_target()
    }
}

/// An unnamed address is refused.
impl ToTarget for UnixAddress {
    fn to_target(self) -> Result<Target, TargetError> {
        if self.is_unnamed() {
            return Err(TargetError::Unix { name: String::new(), source: io::ErrorKind::InvalidInput.into() });
        }
        Ok(Target::Unix(self))
    }
}

impl ToTarget for &unix::SocketAddr {
    fn to_target(self) -> Result<Target, TargetError> {
        let refused = |source| TargetError::Unix { name: format!("{self:?}"), source };
        UnixAddress::try_from(self).map_err(refused)?.to_target()
    }
}

impl ToTarget for unix::SocketAddr {
    fn to_target(self) -> Result<Target, TargetError> {
        (&self).to_target()
    }
}

impl ToTarget for Address {
    fn to_target(self) -> Result<Target, TargetError> {
        match self {
            Self::Inet(address) => address.to_target(),
            Self::Unix(address) => address.to_target(),
        }
    }
}
