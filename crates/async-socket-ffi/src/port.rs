//! `completion_port_*`: waiting for single events of descriptors that stay the caller's.

use crate::boundary::{Context, guarded};
use crate::handle::{borrow, from_handle, into_handle};
use crate::kernel::Kernel;
use crate::log;
use crate::platform::METRICS;
use crate::refusal::reject;
use crate::types::{COMPLETION_PORT_EPOLL_ACTION, ON_COMPLETION_PORT_EVENT_COMPLETE, SOCKET_HANDLE};
use completion_port::memory::{Reserved, TryArc};
use completion_port::{Action, CompletionPort, CompletionPortBuilder, CreatePortError, Interest, OneShots, Waiter};
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::atomic::Ordering;

/// What a port handle points to.
#[derive(Debug)]
pub struct COMPLETION_PORT_TAG {
    pub(crate) port: CompletionPort<Kernel>,
    one_shots: OneShots<Callback, CompletionPort<Kernel>>,
}

/// One reference to a completion port.
pub type COMPLETION_PORT_HANDLE = *mut COMPLETION_PORT_TAG;

/// A C callback, its context, and the descriptor that it waits for.
struct Callback {
    socket: SOCKET_HANDLE,
    on_event: unsafe extern "C" fn(*mut c_void, COMPLETION_PORT_EPOLL_ACTION),
    context: Context,
}

impl Waiter for Callback {
    fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the number is not negative. The descriptor is the caller's; if it has been closed, the kernel says so.
        unsafe { BorrowedFd::borrow_raw(self.socket) }
    }

    /// Hands the context back as it came, also if it is NULL.
    fn fire(self, action: Action) {
        // SAFETY: the caller of `completion_port_add` allows this call.
        unsafe { (self.on_event)(self.context.pointer(), action.into()) };
    }
}

impl COMPLETION_PORT_TAG {
    // Codes_SRS_C_LIBRARY_01_013
    pub(crate) fn create(builder: CompletionPortBuilder) -> Result<TryArc<Self>, CreatePortError> {
        let memory = Reserved::try_new().ok_or_else(no_memory)?;
        let port = builder.metrics(METRICS.load(Ordering::Relaxed)).create_with(Kernel)?;
        Ok(memory.fill(Self { one_shots: OneShots::new(port.clone()), port }))
    }
}

pub(crate) fn no_memory() -> CreatePortError {
    CreatePortError { call: "malloc", source: io::ErrorKind::OutOfMemory.into() }
}

/// Creates a completion port with one reference. NULL if that fails.
#[unsafe(no_mangle)]
pub extern "C" fn completion_port_create() -> COMPLETION_PORT_HANDLE {
    guarded(ptr::null_mut(), || {
        log::start();
        match COMPLETION_PORT_TAG::create(CompletionPort::builder()) {
            Ok(port) => into_handle(port),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "completion_port_create");
                ptr::null_mut()
            }
        }
    })
}

/// Adds a reference. NULL is ignored.
///
/// # Safety
/// `completion_port` is NULL or a reference that the caller has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn completion_port_inc_ref(completion_port: COMPLETION_PORT_HANDLE) {
    guarded((), || {
        // SAFETY: NULL or a reference that the caller has.
        match unsafe { borrow(completion_port) } {
            Some(port) => drop(into_handle(port)),
            None => reject("completion_port_inc_ref", "completion_port", "is NULL"),
        }
    });
}

/// Gives up a reference. Giving up the last one stops the port's thread and abandons what waits. NULL is ignored.
///
/// Giving up the last one waits for a callback of `completion_port_add` that the port's thread is in. On a port's thread,
/// this port's or another's, it does not wait. That callback may then still run when this returns, so keep what its context
/// points to until it has returned. No other callback of `completion_port_add` begins.
///
/// # Safety
/// `completion_port` is NULL or a reference that the caller has, and does not use again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn completion_port_dec_ref(completion_port: COMPLETION_PORT_HANDLE) {
    guarded((), || {
        // SAFETY: NULL or a reference that the caller gives up.
        match unsafe { from_handle(completion_port) } {
            Some(port) => drop(port),
            None => reject("completion_port_dec_ref", "completion_port", "is NULL"),
        }
    });
}

/// Calls back once for the next event of `socket` among `epoll_op`: `EPOLLIN`, `EPOLLOUT`, `EPOLLRDHUP` or several of them.
/// Errors are reported without being asked for. Any number of waits can be added for one descriptor. `context` may be NULL.
///
/// Returns 0 on success. Then the callback runs exactly once: on the port's thread, or with
/// `COMPLETION_PORT_EPOLL_ABANDONED` on the thread that removes the descriptor, gives up the last reference, or finds that
/// the number belongs to another descriptor now. Otherwise returns non-zero, and the callback does not run.
///
/// While nothing waits for `socket`, its events wake no thread. A descriptor that an open socket of the same port owns is
/// refused.
///
/// # Safety
/// `completion_port` is NULL or a reference that the caller has; `socket` is an open descriptor or negative;
/// `event_callback` may be called with `context` on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn completion_port_add(
    completion_port: COMPLETION_PORT_HANDLE,
    epoll_op: c_int,
    socket: SOCKET_HANDLE,
    event_callback: ON_COMPLETION_PORT_EVENT_COMPLETE,
    context: *mut c_void,
) -> c_int {
    const NAME: &str = "completion_port_add";
    guarded(1, || {
        // SAFETY: NULL or a reference that the caller has.
        let Some(port) = (unsafe { borrow(completion_port) }) else {
            reject(NAME, "completion_port", "is NULL");
            return 1;
        };
        let Some(on_event) = event_callback else {
            reject(NAME, "event_callback", "is NULL");
            return 1;
        };
        if socket < 0 {
            reject(NAME, "socket", "is no descriptor");
            return 1;
        }
        let interest = Interest::from_bits_truncate(epoll_op.cast_unsigned());
        if interest.is_empty() {
            reject(NAME, "epoll_op", "has none of EPOLLIN, EPOLLOUT, EPOLLRDHUP");
            return 1;
        }
        let callback = Callback { socket, on_event, context: Context::new(context) };
        match port.one_shots.add(interest, callback) {
            Ok(()) => 0,
            Err(error) => {
                tracing::error!(descriptor = socket, %error, "{NAME}");
                1
            }
        }
    })
}

/// Forgets `socket`: waits for a callback of `socket` that runs on another thread, and abandons what waits for `socket`.
///
/// In a callback on the port's own thread, this does not wait. On any other thread it does. So two callbacks on the threads
/// of two ports that remove each other's descriptor wait for each other for ever. A caller that holds a lock which the
/// callback needs also waits for ever. If another thread is removing `socket`, this returns at once, while callbacks may
/// still run there.
///
/// # Safety
/// `completion_port` is NULL or a reference that the caller has; `socket` is a descriptor that the caller may use, or
/// negative.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn completion_port_remove(completion_port: COMPLETION_PORT_HANDLE, socket: SOCKET_HANDLE) {
    const NAME: &str = "completion_port_remove";
    guarded((), || {
        // SAFETY: NULL or a reference that the caller has.
        let Some(port) = (unsafe { borrow(completion_port) }) else {
            return reject(NAME, "completion_port", "is NULL");
        };
        if socket < 0 {
            return reject(NAME, "socket", "is no descriptor");
        }
        // SAFETY: the number is not negative. If it is not open, the kernel says so.
        let descriptor = unsafe { BorrowedFd::borrow_raw(socket) };
        port.one_shots.remove(descriptor);
    });
}
