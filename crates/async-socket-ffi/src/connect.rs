//! Connects: from an address, a name or a path to an open socket.

use crate::address::Host;
use crate::boundary::{Context, guarded};
use crate::handle::{from_handle, into_handle};
use crate::kernel::Kernel;
use crate::log::Line;
use crate::memory::is_plenty;
use crate::operation::ASYNC_SOCKET_NO_TIME_LIMIT;
use crate::platform::next_port;
use crate::refusal::{out_of_memory, reject};
use crate::socket::{ASYNC_SOCKET, ASYNC_SOCKET_HANDLE, Socket};
use ASYNC_SOCKET_CONNECT_RESULT::*;
use async_socket_net::{ConnectError, ConnectErrorKind, Connecting, Connector, Target};
use completion_port::CompletionPort;
use completion_port::memory::{Reserved, TryArc};
use std::collections::TryReserveError;
use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt::Write as _;
use std::ptr;
use std::time::Duration;

/// How a connect ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ASYNC_SOCKET_CONNECT_RESULT {
    /// No result.
    ASYNC_SOCKET_CONNECT_RESULT_INVALID = 0,
    /// There is an open socket.
    ASYNC_SOCKET_CONNECT_OK = 1,
    /// Anything that has no value of its own. The text says what.
    ASYNC_SOCKET_CONNECT_ERROR = 2,
    /// The program has cancelled it.
    ASYNC_SOCKET_CONNECT_CANCELLED = 3,
    /// No answer, within the program's time or the kernel's.
    ASYNC_SOCKET_CONNECT_TIMED_OUT = 4,
    /// A host answered that no program listens, or the path of a Unix socket does not exist.
    ASYNC_SOCKET_CONNECT_REFUSED = 5,
    /// There is no route to the address.
    ASYNC_SOCKET_CONNECT_UNREACHABLE = 6,
    /// The host name has no addresses.
    ASYNC_SOCKET_CONNECT_NOT_RESOLVED = 7,
}

/// Called when a connect has ended.
///
/// With `ASYNC_SOCKET_CONNECT_OK`, `async_socket` is an open socket, which belongs to the program, and `error` is NULL.
/// Otherwise `async_socket` is NULL, and `error` is a text for a reader, valid until the callback returns. It names each
/// address that was tried, and why it failed.
pub type ON_ASYNC_SOCKET_CONNECT_COMPLETE = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        connect_result: ASYNC_SOCKET_CONNECT_RESULT,
        async_socket: ASYNC_SOCKET_HANDLE,
        error: *const c_char,
    ),
>;

/// What a connect handle points to.
#[derive(Debug)]
pub struct ASYNC_SOCKET_CONNECT {
    connecting: Connecting<CompletionPort<Kernel>>,
}

/// A connect, until `async_socket_connect_cancel`.
pub type ASYNC_SOCKET_CONNECT_HANDLE = *mut ASYNC_SOCKET_CONNECT;

/// Connects to `host` and `port`, or to a Unix socket, and calls back with an open socket.
///
/// `host` is a name, an IPv4 or IPv6 address as text, a path with a `/` in it, or `@` and the abstract name of a Unix socket
/// (`port` is then ignored). A name is looked up by the system's resolver on a thread of the library's. Its addresses are
/// tried in the order of RFC 8305: the families take turns, and the next address is tried beside the last one after 250 ms. `within_milliseconds` is for all
/// of it, the look-up included; `ASYNC_SOCKET_NO_TIME_LIMIT` leaves it to the kernel.
///
/// Returns 0 on success. Then the callback runs exactly once, on the thread of the platform's next port, on which the
/// socket lives too. It runs inside this call if the port can take nothing, and inside `async_socket_connect_cancel`.
/// Otherwise returns non-zero without a callback: a NULL `host` or callback, a `host` that can be none, the platform is
/// not started, or no memory. Works inside every callback.
///
/// `connect` may be NULL. Otherwise a handle is stored there, which `async_socket_connect_cancel` frees. It is stored
/// before this returns, but the callback may run before that. So point it to a variable of the caller, not into something
/// that the callback frees.
///
/// A name is the one thing for which the process may end if memory runs out, because the look-up needs a thread and the
/// system's resolver.
///
/// # Safety
/// `host` is NULL or NUL-terminated; `connect` is NULL or can be written until this returns; the callback may be called with
/// its context on another thread.
// Codes_SRS_C_LIBRARY_01_066
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_connect_async(
    host: *const c_char,
    port: u16,
    within_milliseconds: u32,
    on_connect_complete: ON_ASYNC_SOCKET_CONNECT_COMPLETE,
    on_connect_complete_context: *mut c_void,
    connect: *mut ASYNC_SOCKET_CONNECT_HANDLE,
) -> c_int {
    const NAME: &str = "async_socket_connect_async";
    guarded(1, || {
        if !connect.is_null() {
            // SAFETY: it can be written.
            unsafe { connect.write(ptr::null_mut()) };
        }
        if host.is_null() {
            reject(NAME, "host", "is NULL");
            return 1;
        }
        // SAFETY: NUL-terminated.
        let target = match target(unsafe { CStr::from_ptr(host) }, port) {
            Ok(Some(target)) => target,
            Ok(None) => {
                reject(NAME, "host", "is neither an address, a name nor a path");
                return 1;
            }
            Err(_) => {
                out_of_memory(NAME);
                return 1;
            }
        };
        let Some(on_complete) = on_connect_complete else {
            reject(NAME, "on_connect_complete", "is NULL");
            return 1;
        };
        let Some(port) = next_port() else {
            reject(NAME, "host", "cannot be reached, because the platform is not started in this process");
            return 1;
        };
        let memory = Reserved::try_new().zip(Reserved::try_new()).filter(|_| is_plenty());
        let Some((for_socket, for_connect)) = memory else {
            out_of_memory(NAME);
            return 1;
        };
        let within = match within_milliseconds {
            ASYNC_SOCKET_NO_TIME_LIMIT => Duration::MAX,
            milliseconds => Duration::from_millis(milliseconds.into()),
        };
        let context = Context::new(on_connect_complete_context);
        let done = move |outcome| call(for_socket, outcome, on_complete, context);
        let connecting = Connector::new().connect_on(port.port.clone(), target, within, done);
        if connect.is_null() {
            connecting.detach();
        } else {
            // SAFETY: it can be written.
            unsafe { connect.write(into_handle(for_connect.fill(ASYNC_SOCKET_CONNECT { connecting }))) };
        }
        0
    })
}

/// `None` if the text names no host.
fn target(host: &CStr, port: u16) -> Result<Option<Target>, TryReserveError> {
    Ok(match Host::of(host) {
        None => None,
        Some(Host::Unix(address)) => Some(Target::Unix(address)),
        Some(Host::Inet(address)) => Some(Target::Address((address, port).into())),
        Some(Host::Name(name)) => {
            let mut host = String::new();
            host.try_reserve_exact(name.len())?;
            host.push_str(name);
            Some(Target::Name { host, port })
        }
    })
}

// Codes_SRS_C_LIBRARY_01_067
fn call(
    memory: Reserved<ASYNC_SOCKET>,
    outcome: Result<Socket, ConnectError>,
    on_complete: unsafe extern "C" fn(*mut c_void, ASYNC_SOCKET_CONNECT_RESULT, ASYNC_SOCKET_HANDLE, *const c_char),
    context: Context,
) {
    let context = context.pointer();
    match outcome {
        Ok(socket) => {
            let handle = into_handle(memory.fill(ASYNC_SOCKET { socket }));
            // SAFETY: the program allows this call.
            unsafe { on_complete(context, ASYNC_SOCKET_CONNECT_OK, handle, ptr::null()) };
        }
        Err(error) => {
            let mut text = Line::new();
            let mut next: Option<&dyn Error> = Some(&error);
            // The standard library's texts of errors need memory.
            if !is_plenty() {
                next = None;
                let _ = text.write_str("not connected; there is no memory to say why");
            }
            while let Some(error) = next {
                next = error.source();
                let _ = write!(text, "{error}{}", if next.is_some() { ": " } else { "" });
            }
            // SAFETY: as above.
            unsafe { on_complete(context, result_of(&error), ptr::null_mut(), text.as_c_str().as_ptr()) };
        }
    }
}

fn result_of(error: &ConnectError) -> ASYNC_SOCKET_CONNECT_RESULT {
    match error.kind() {
        ConnectErrorKind::Cancelled => ASYNC_SOCKET_CONNECT_CANCELLED,
        ConnectErrorKind::TimedOut => ASYNC_SOCKET_CONNECT_TIMED_OUT,
        ConnectErrorKind::Refused => ASYNC_SOCKET_CONNECT_REFUSED,
        ConnectErrorKind::Unreachable => ASYNC_SOCKET_CONNECT_UNREACHABLE,
        ConnectErrorKind::NotResolved => ASYNC_SOCKET_CONNECT_NOT_RESOLVED,
        _ => ASYNC_SOCKET_CONNECT_ERROR,
    }
}

/// Ends a connect and frees its handle. Each handle needs this once, also when the connect is over. NULL is ignored.
///
/// If the connect is not over, its descriptors are closed, and its callback runs inside this call with
/// `ASYNC_SOCKET_CONNECT_CANCELLED`. If it is over, nothing else happens; its callback may still run on the port's thread.
/// A look-up that runs goes on without effect. Never waits. Works inside every callback, also the connect's own.
///
/// # Safety
/// `connect` is NULL or a handle that the program does not use again.
// Codes_SRS_C_LIBRARY_01_068
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_connect_cancel(connect: ASYNC_SOCKET_CONNECT_HANDLE) {
    guarded((), || {
        // SAFETY: NULL or a handle that the caller gives up.
        match unsafe { from_handle(connect) } {
            Some(handle) => drop(TryArc::into_inner(handle).map(|it| it.connecting.cancel())),
            None => reject("async_socket_connect_cancel", "connect", "is NULL"),
        }
    });
}
