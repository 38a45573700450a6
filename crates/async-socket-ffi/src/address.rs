//! Addresses as text: those of a socket, and those that a program listens on or connects to.

use crate::boundary::guarded;
use crate::handle::borrow;
use crate::log::Line;
use crate::refusal::reject;
use crate::socket::{ASYNC_SOCKET_HANDLE, Socket};
use async_socket_net::UnixAddress;
use std::ffi::{CStr, OsStr, c_char, c_int};
use std::fmt::Write as _;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{self, UnixStream};
use std::ptr;

/// What a program calls a host.
pub(crate) enum Host<'a> {
    Inet(IpAddr),
    Unix(UnixAddress),
    /// Anything else, for the resolver.
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// A text with a `/` in it is the path of a Unix socket, one that begins with `@` an abstract name. `None` if it can be
    /// nothing.
    // Codes_SRS_C_LIBRARY_01_060, Codes_SRS_C_LIBRARY_01_066, Codes_SRS_C_LIBRARY_01_079
    pub(crate) fn of(text: &'a CStr) -> Option<Self> {
        let bytes = text.to_bytes();
        if bytes.contains(&b'/') {
            return UnixAddress::of_path(OsStr::from_bytes(bytes)).ok().map(Self::Unix);
        }
        if let Some(name) = bytes.strip_prefix(b"@") {
            return UnixAddress::of_abstract_name(name).ok().map(Self::Unix);
        }
        let text = text.to_str().ok().filter(|text| !text.is_empty())?;
        Some(text.parse().map_or(Self::Name(text), Self::Inet))
    }
}

/// Which of the two addresses of a connection.
struct Side {
    function: &'static str,
    inet: fn(&Socket) -> io::Result<SocketAddr>,
    unix: fn(&UnixStream) -> io::Result<net::SocketAddr>,
}

/// Writes an open socket's own address as NUL-terminated text: `127.0.0.1:80`, `[::1]:80`, the path of a Unix socket, its
/// abstract name after an `@`, or `(unnamed)`. 512 bytes are enough for each.
///
/// Returns 0 on success. Otherwise returns non-zero, and nothing is written: a NULL argument, the socket is not open, it has
/// another kind of address, `size` bytes are too few, or there is no memory. Works inside every callback.
///
/// # Safety
/// `async_socket` is NULL or a valid handle; `address` is NULL or has room for `size` bytes.
// Codes_SRS_C_LIBRARY_01_080
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_get_local_address(
    async_socket: ASYNC_SOCKET_HANDLE,
    address: *mut c_char,
    size: usize,
) -> c_int {
    const SIDE: Side =
        Side { function: "async_socket_get_local_address", inet: Socket::local_addr, unix: UnixStream::local_addr };
    // SAFETY: the caller's promise.
    guarded(1, || unsafe { write(&SIDE, async_socket, address, size) })
}

/// Writes the address of an open socket's peer, as `async_socket_get_local_address` does its own.
///
/// # Safety
/// That of `async_socket_get_local_address`.
// Codes_SRS_C_LIBRARY_01_080
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_get_peer_address(
    async_socket: ASYNC_SOCKET_HANDLE,
    address: *mut c_char,
    size: usize,
) -> c_int {
    const SIDE: Side =
        Side { function: "async_socket_get_peer_address", inet: Socket::peer_addr, unix: UnixStream::peer_addr };
    // SAFETY: the caller's promise.
    guarded(1, || unsafe { write(&SIDE, async_socket, address, size) })
}

/// # Safety
/// That of `async_socket_get_local_address`.
unsafe fn write(side: &Side, async_socket: ASYNC_SOCKET_HANDLE, place: *mut c_char, size: usize) -> c_int {
    // SAFETY: NULL or a valid handle.
    let Some(handle) = (unsafe { borrow(async_socket) }) else {
        reject(side.function, "async_socket", "is NULL");
        return 1;
    };
    if place.is_null() {
        reject(side.function, "address", "is NULL");
        return 1;
    }
    let socket = &handle.socket;
    let mut text = Line::new();
    let written = match (side.inet)(socket) {
        Ok(address) => write!(text, "{address}").is_ok(),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            unix(side, socket).is_some_and(|address| write!(text, "{address}").is_ok())
        }
        Err(_) => false,
    };
    let bytes = text.as_c_str().to_bytes_with_nul();
    if !written || bytes.len() > size {
        return 1;
    }
    // SAFETY: there is room for `size` bytes, and the text is this function's.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), place.cast(), bytes.len()) };
    0
}

fn unix(side: &Side, socket: &Socket) -> Option<UnixAddress> {
    let ask = |fd: BorrowedFd<'_>| {
        // SAFETY: it is open, and the `UnixStream` is never dropped.
        let stream = ManuallyDrop::new(unsafe { UnixStream::from_raw_fd(fd.as_raw_fd()) });
        (side.unix)(&stream)
    };
    UnixAddress::try_from(&socket.with_descriptor(ask)?.ok()?).ok()
}
