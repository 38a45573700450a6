//! Listeners: connections that arrive, as descriptors.

use crate::address::Host;
use crate::boundary::{Context, guarded};
use crate::handle::{borrow, from_handle, into_handle};
use crate::kernel::Kernel;
use crate::listener_options::ASYNC_SOCKET_LISTENER_OPTIONS;
use crate::log::Line;
use crate::platform::next_port;
use crate::refusal::{out_of_memory, reject};
use crate::types::{INVALID_SOCKET, SOCKET_HANDLE};
use ASYNC_SOCKET_ACCEPT_RESULT::*;
use async_socket_net::sys::{Kernel as NetKernel, NetSyscalls as _};
use async_socket_net::{AcceptError, Accepted, Address, ListenError, Listener, SocketOption};
use completion_port::CompletionPort;
use completion_port::memory::Reserved;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::ptr;

/// How many clients may wait to be accepted. The kernel limits it by `net.core.somaxconn`.
const BACKLOG: c_int = 4096;

/// What a listener reports.
#[allow(missing_docs, reason = "the callback's documentation says it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ASYNC_SOCKET_ACCEPT_RESULT {
    ASYNC_SOCKET_ACCEPT_RESULT_INVALID = 0,
    ASYNC_SOCKET_ACCEPT_OK = 1,
    ASYNC_SOCKET_ACCEPT_CLIENT_FAILED = 2,
    ASYNC_SOCKET_ACCEPT_PAUSED = 3,
    ASYNC_SOCKET_ACCEPT_LOST = 4,
}

/// Called for each connection, and for each failure to accept one, on the listener's port's thread.
///
/// With `ASYNC_SOCKET_ACCEPT_OK`, `socket` is a new connection, which belongs to the callback: non-blocking,
/// close-on-exec, and ready for `async_socket_create_and_open`. `peer` is its client's address as text, valid until the
/// callback returns: `127.0.0.1:80`, `[::1]:80`, the path of a Unix client, or `(unnamed)`.
///
/// Otherwise `socket` is `INVALID_SOCKET`, `peer` is NULL, and `os_error` is the kernel's errno, or 0. `…_CLIENT_FAILED`: one
/// connection broke before it was accepted; the next one is accepted as usual. `…_PAUSED`: no descriptor or memory is left
/// (`EMFILE` for instance); clients wait in the backlog, and the listener goes on after 10 ms to 1 s, or at
/// `async_socket_listener_resume`. `…_LOST`: the listener accepts nothing any more, because other code has closed its
/// descriptor, or the port has failed.
pub type ON_ASYNC_SOCKET_ACCEPT = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        accept_result: ASYNC_SOCKET_ACCEPT_RESULT,
        socket: SOCKET_HANDLE,
        peer: *const c_char,
        os_error: c_int,
    ),
>;

/// Called when a listener has stopped: its descriptor is closed, and no other callback of it runs or will run.
pub type ON_ASYNC_SOCKET_LISTENER_STOPPED = Option<unsafe extern "C" fn(context: *mut c_void)>;

/// What a listener handle points to.
#[derive(Debug)]
pub struct ASYNC_SOCKET_LISTENER {
    pub(crate) listener: Listener<CompletionPort<Kernel>>,
    port: CompletionPort<Kernel>,
}

/// A listener, from `async_socket_listener_start` to `async_socket_listener_destroy`.
pub type ASYNC_SOCKET_LISTENER_HANDLE = *mut ASYNC_SOCKET_LISTENER;

/// Listens on an address and calls back for each connection. `host` is an IPv4 or IPv6 address as text, a path with a `/`
/// in it or `@` and an abstract name for a Unix socket (`port` is then ignored), or NULL for every address of the machine.
/// It is not looked up as a name. With `port` 0 the kernel chooses one, see `async_socket_listener_get_port`. The address can be bound again at
/// once after an earlier listener (`SO_REUSEADDR`). Up to 4096 clients wait in the backlog, or as many as
/// `net.core.somaxconn` says.
///
/// Returns a handle. The callback may run before this returns. Returns NULL if that fails, with the reason in `errno`:
/// `EINVAL` for a NULL callback, a `host` that is no address, or without `platform_init`; `ENOMEM`; or what `socket`,
/// `bind` or `listen` say, `EADDRINUSE` for instance. Works inside every callback.
///
/// # Safety
/// `host` is NULL or NUL-terminated; `on_accept` may be called with its context on another thread until the listener has
/// stopped.
// Codes_SRS_C_LIBRARY_01_060
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_listener_start(
    host: *const c_char,
    port: u16,
    on_accept: ON_ASYNC_SOCKET_ACCEPT,
    on_accept_context: *mut c_void,
) -> ASYNC_SOCKET_LISTENER_HANDLE {
    const NAME: &str = "async_socket_listener_start";
    // SAFETY: the caller's promise.
    guarded(ptr::null_mut(), || unsafe {
        start_on_host(NAME, host, port, &ASYNC_SOCKET_LISTENER_OPTIONS::NONE, on_accept, on_accept_context)
    })
}

/// `async_socket_listener_start` with options. NULL options are the defaults.
///
/// Returns NULL with the reason in `errno` as `async_socket_listener_start` does; `EINVAL` also if the options' `size` is too
/// small or ends within a field, or if the program asks for an option that the library is too old to know. A connection for which an option cannot be
/// set is closed, and reported as `…_CLIENT_FAILED`.
///
/// # Safety
/// That of `async_socket_listener_start`; `options` is NULL or as long as its `size` says, and its port is NULL or a reference
/// that the caller has.
// Codes_SRS_C_LIBRARY_01_079
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_listener_start_with(
    host: *const c_char,
    port: u16,
    options: *const ASYNC_SOCKET_LISTENER_OPTIONS,
    on_accept: ON_ASYNC_SOCKET_ACCEPT,
    on_accept_context: *mut c_void,
) -> ASYNC_SOCKET_LISTENER_HANDLE {
    const NAME: &str = "async_socket_listener_start_with";
    guarded(ptr::null_mut(), || {
        let wanted = if options.is_null() {
            Some(ASYNC_SOCKET_LISTENER_OPTIONS::NONE)
        } else {
            // SAFETY: the caller's promise.
            unsafe { ASYNC_SOCKET_LISTENER_OPTIONS::read(options) }
        };
        let Some(wanted) = wanted else {
            reject(NAME, "options", "has a size that is none, or an option that this version does not know");
            return handle_or_errno(NAME, Err(invalid()));
        };
        // SAFETY: the caller's promise.
        unsafe { start_on_host(NAME, host, port, &wanted, on_accept, on_accept_context) }
    })
}

/// # Safety
/// That of `async_socket_listener_start_with`.
unsafe fn start_on_host(
    function: &'static str,
    host: *const c_char,
    port: u16,
    options: &ASYNC_SOCKET_LISTENER_OPTIONS,
    on_accept: ON_ASYNC_SOCKET_ACCEPT,
    context: *mut c_void,
) -> ASYNC_SOCKET_LISTENER_HANDLE {
    // SAFETY: NULL or NUL-terminated.
    let host = (!host.is_null()).then(|| unsafe { CStr::from_ptr(host) });
    let bound = check(function, on_accept).and_then(|()| bind(host, port, options));
    // SAFETY: the caller's promise about the port.
    let started = bound.and_then(|descriptor| unsafe { start(function, descriptor, options, on_accept, context) });
    handle_or_errno(function, started)
}

/// `async_socket_listener_start` on a descriptor that listens already: a bound stream socket, IPv4, IPv6 or Unix, on which
/// `listen(2)` was called, one that systemd hands over for instance. It becomes non-blocking, and is the listener's from
/// then on.
///
/// Returns NULL if that fails, with the reason in `errno`. The descriptor is then still the caller's.
///
/// # Safety
/// That of `async_socket_listener_start`; `socket_handle` is a descriptor that the caller owns, or negative.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_listener_start_on(
    socket_handle: SOCKET_HANDLE,
    on_accept: ON_ASYNC_SOCKET_ACCEPT,
    on_accept_context: *mut c_void,
) -> ASYNC_SOCKET_LISTENER_HANDLE {
    const NAME: &str = "async_socket_listener_start_on";
    guarded(ptr::null_mut(), || {
        if socket_handle < 0 {
            reject(NAME, "socket_handle", "is no descriptor");
            return handle_or_errno(NAME, Err(io::Error::from_raw_os_error(libc::EBADF)));
        }
        // SAFETY: the number is not negative. If it is not open, the kernel says so.
        let callers = unsafe { BorrowedFd::borrow_raw(socket_handle) };
        // A listener that fails closes its descriptor, so it gets another of the same socket.
        let ours = check(NAME, on_accept).and_then(|_| callers.try_clone_to_owned());
        let options = &ASYNC_SOCKET_LISTENER_OPTIONS::NONE;
        // SAFETY: without a port.
        let started = ours.and_then(|ours| unsafe { start(NAME, ours, options, on_accept, on_accept_context) });
        // Codes_SRS_C_LIBRARY_01_061
        if started.is_ok() {
            // SAFETY: the caller has given it away.
            drop(unsafe { OwnedFd::from_raw_fd(socket_handle) });
        }
        handle_or_errno(NAME, started)
    })
}

fn handle_or_errno(
    function: &'static str,
    started: io::Result<ASYNC_SOCKET_LISTENER_HANDLE>,
) -> ASYNC_SOCKET_LISTENER_HANDLE {
    started.unwrap_or_else(|error| {
        tracing::error!(%error, "{function}");
        let errno = match error.kind() {
            io::ErrorKind::OutOfMemory => libc::ENOMEM,
            _ => error.raw_os_error().unwrap_or(libc::EINVAL),
        };
        // SAFETY: needs nothing.
        let place = unsafe { libc::__errno_location() };
        // Codes_SRS_C_LIBRARY_01_060, Codes_SRS_C_LIBRARY_01_061
        // SAFETY: this thread's `errno`.
        unsafe { place.write(errno) };
        ptr::null_mut()
    })
}

fn check(function: &'static str, on_accept: ON_ASYNC_SOCKET_ACCEPT) -> io::Result<()> {
    if on_accept.is_none() {
        reject(function, "on_accept", "is NULL");
        return Err(invalid());
    }
    Ok(())
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

fn bind(host: Option<&CStr>, port: u16, options: &ASYNC_SOCKET_LISTENER_OPTIONS) -> io::Result<OwnedFd> {
    let inet = |address: IpAddr| Address::from(SocketAddr::from((address, port)));
    match host.map(|host| Host::of(host).ok_or_else(invalid)).transpose()? {
        None => listen(&inet(Ipv6Addr::UNSPECIFIED.into()), options)
            .or_else(|_| listen(&inet(Ipv4Addr::UNSPECIFIED.into()), options)),
        Some(Host::Unix(address)) => listen(&address.into(), options),
        Some(Host::Inet(address)) => listen(&inet(address), options),
        Some(Host::Name(_)) => Err(invalid()),
    }
}

fn listen(address: &Address, options: &ASYNC_SOCKET_LISTENER_OPTIONS) -> io::Result<OwnedFd> {
    let descriptor = NetKernel.socket(address.family())?;
    let fd = descriptor.as_fd();
    if address.as_inet().is_some() {
        NetKernel.set_option(fd, SocketOption::ReuseAddress(true))?;
        // Codes_SRS_C_LIBRARY_01_079
        if options.reuse_port != 0 {
            NetKernel.set_option(fd, SocketOption::ReusePort(true))?;
        }
    }
    NetKernel.bind(fd, address)?;
    let backlog = if options.backlog == 0 { BACKLOG } else { c_int::try_from(options.backlog).unwrap_or(c_int::MAX) };
    NetKernel.listen(fd, backlog)?;
    Ok(descriptor)
}

/// # Safety
/// The options' port is NULL or a reference that the caller has.
unsafe fn start(
    function: &'static str,
    descriptor: OwnedFd,
    options: &ASYNC_SOCKET_LISTENER_OPTIONS,
    on_accept: ON_ASYNC_SOCKET_ACCEPT,
    context: *mut c_void,
) -> io::Result<ASYNC_SOCKET_LISTENER_HANDLE> {
    // SAFETY: the caller's promise.
    let Some(port) = (unsafe { borrow(options.completion_port) }).or_else(next_port) else {
        reject(function, "on_accept", "cannot be called, because the platform is not started in this process");
        return Err(invalid());
    };
    let no_memory = || io::Error::from(io::ErrorKind::OutOfMemory);
    let Some(memory) = Reserved::try_new() else {
        out_of_memory(function);
        return Err(no_memory());
    };
    let port = port.port.clone();
    let context = Context::new(context);
    let listener = Listener::builder()
        .options(options.for_accepted())
        .listen_on(port.clone(), descriptor, move |accepted| call(on_accept, context, accepted))
        .map_err(|error| match error {
            ListenError::NotASocket { source } | ListenError::Port { source } | ListenError::Kernel { source, .. } => {
                source
            }
            _ => invalid(),
        })?;
    Ok(into_handle(memory.fill(ASYNC_SOCKET_LISTENER { listener, port })))
}

// Codes_SRS_C_LIBRARY_01_062
fn call(
    on_accept: ON_ASYNC_SOCKET_ACCEPT,
    context: Context,
    accepted: Result<Accepted<CompletionPort<Kernel>>, AcceptError>,
) {
    // Codes_SRS_C_LIBRARY_01_070
    let Some(on_accept) = on_accept else { return };
    let (result, error) = match accepted {
        Ok(accepted) => {
            let mut peer = Line::new();
            let _ = write!(peer, "{}", accepted.peer());
            let socket = accepted.into_descriptor().into_raw_fd();
            // SAFETY: the program allows this call until the listener has stopped.
            unsafe { on_accept(context.pointer(), ASYNC_SOCKET_ACCEPT_OK, socket, peer.as_c_str().as_ptr(), 0) };
            return;
        }
        Err(AcceptError::Paused { source, .. }) => (ASYNC_SOCKET_ACCEPT_PAUSED, Some(source)),
        Err(AcceptError::Lost { source }) => (ASYNC_SOCKET_ACCEPT_LOST, Some(source)),
        Err(AcceptError::Client { source }) => (ASYNC_SOCKET_ACCEPT_CLIENT_FAILED, Some(source)),
        Err(_) => (ASYNC_SOCKET_ACCEPT_CLIENT_FAILED, None),
    };
    let os_error = error.and_then(|error| error.raw_os_error()).unwrap_or(0);
    // SAFETY: as above.
    unsafe { on_accept(context.pointer(), result, INVALID_SOCKET, ptr::null(), os_error) };
}

/// The TCP port that clients connect to. 0 for a Unix socket, and for NULL. Works inside every callback.
///
/// # Safety
/// `listener` is NULL or a valid handle.
// Codes_SRS_C_LIBRARY_01_060
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_listener_get_port(listener: ASYNC_SOCKET_LISTENER_HANDLE) -> u16 {
    guarded(0, || {
        // SAFETY: NULL or a valid handle.
        let handle = unsafe { borrow(listener) };
        if handle.is_none() {
            reject("async_socket_listener_get_port", "listener", "is NULL");
        }
        handle.and_then(|handle| handle.listener.local_address().as_inet()).map_or(0, |address| address.port())
    })
}

/// Ends a pause (`ASYNC_SOCKET_ACCEPT_PAUSED`) now, for a program that has closed a descriptor. Returns 0 if the listener
/// had paused, otherwise non-zero. Works inside every callback.
///
/// # Safety
/// `listener` is NULL or a valid handle.
// Codes_SRS_C_LIBRARY_01_062
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_listener_resume(listener: ASYNC_SOCKET_LISTENER_HANDLE) -> c_int {
    guarded(1, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(listener) }) else {
            reject("async_socket_listener_resume", "listener", "is NULL");
            return 1;
        };
        c_int::from(handle.port.is_inherited() || !handle.listener.resume())
    })
}

/// Accepts no more connections and closes the listening descriptor, without waiting. Clients in the backlog are reset.
/// Connections that were accepted go on.
///
/// Returns 0 on success. Then `on_stopped` runs exactly once, when no other callback of the listener runs or will run,
/// except one that the stop is called in: inside this call, or on the thread of the callback that was in the way. If the
/// listener was stopped before, it runs inside this call. Otherwise returns non-zero without a callback: a NULL argument,
/// or a parent process's listener.
///
/// Works inside every callback. The handle stays valid; destroying it in `on_stopped` does not wait.
///
/// # Safety
/// `listener` is NULL or a valid handle; `on_stopped` may be called with its context on another thread.
// Codes_SRS_C_LIBRARY_01_063
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_listener_stop_async(
    listener: ASYNC_SOCKET_LISTENER_HANDLE,
    on_stopped: ON_ASYNC_SOCKET_LISTENER_STOPPED,
    on_stopped_context: *mut c_void,
) -> c_int {
    const NAME: &str = "async_socket_listener_stop_async";
    guarded(1, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(listener) }) else {
            reject(NAME, "listener", "is NULL");
            return 1;
        };
        // Codes_SRS_C_LIBRARY_01_070
        let Some(on_stopped) = on_stopped else {
            reject(NAME, "on_stopped", "is NULL");
            return 1;
        };
        // Codes_SRS_C_LIBRARY_01_071
        if handle.port.is_inherited() {
            reject(NAME, "listener", "was made before fork, in the parent process");
            return 1;
        }
        let context = Context::new(on_stopped_context);
        // SAFETY: the caller allows this call.
        handle.listener.stop(move || unsafe { on_stopped(context.pointer()) });
        0
    })
}

/// Stops a listener and frees it. NULL is ignored. When this returns, no callback of the listener runs or will run, except
/// one that this is called from. So two callbacks on two threads that destroy each other's listeners wait for each other
/// for ever; `async_socket_listener_stop_async` does not wait.
///
/// # Safety
/// `listener` is NULL or a handle that the program does not use again.
// Codes_SRS_C_LIBRARY_01_064
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_listener_destroy(listener: ASYNC_SOCKET_LISTENER_HANDLE) {
    guarded((), || {
        // SAFETY: NULL or a handle that the caller gives up.
        match unsafe { from_handle(listener) } {
            Some(handle) => drop(handle),
            None => reject("async_socket_listener_destroy", "listener", "is NULL"),
        }
    });
}
