//! `completion_port_*`: waiting for single events of descriptors that stay the caller's.

use crate::boundary::{Context, borrowed, guarded, reject};
use crate::kernel::Kernel;
use crate::log;
use crate::types::{
    COMPLETION_PORT_EPOLL_ACTION, COMPLETION_PORT_HANDLE, ON_COMPLETION_PORT_EVENT_COMPLETE, SOCKET_HANDLE,
};
use completion_port::{Action, CompletionPort, CreatePortError, Interest, OneShots, Waiter};
use std::ffi::{c_int, c_void};
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::Arc;

/// What a port handle points to.
#[derive(Debug)]
pub struct COMPLETION_PORT_TAG {
    pub(crate) port: CompletionPort<Kernel>,
    one_shots: OneShots<CallBack, CompletionPort<Kernel>>,
}

/// A C callback, its context, and the descriptor that it waits for.
struct CallBack {
    socket: SOCKET_HANDLE,
    on_event: unsafe extern "C" fn(*mut c_void, COMPLETION_PORT_EPOLL_ACTION),
    context: Context,
}

impl Waiter for CallBack {
    fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: not negative; the descriptor stays the caller's, and if it is not open any more the kernel says so.
        unsafe { BorrowedFd::borrow_raw(self.socket) }
    }

    /// Hands the context back as it came; it may be NULL.
    fn fire(self, action: Action) {
        // SAFETY: the caller of `completion_port_add` gave the function to be called so.
        unsafe { (self.on_event)(self.context.pointer(), action.into()) };
    }
}

impl COMPLETION_PORT_TAG {
    pub(crate) fn create() -> Result<Arc<Self>, CreatePortError> {
        Ok(Self::on(CompletionPort::create_with(Kernel)?))
    }

    pub(crate) fn on(port: CompletionPort<Kernel>) -> Arc<Self> {
        Arc::new(Self { one_shots: OneShots::new(port.clone()), port })
    }
}

/// Creates a completion port with one reference; NULL if that fails.
#[unsafe(no_mangle)]
pub extern "C" fn completion_port_create() -> COMPLETION_PORT_HANDLE {
    guarded(ptr::null_mut(), || {
        log::start();
        match COMPLETION_PORT_TAG::create() {
            Ok(port) => Arc::into_raw(port).cast_mut(),
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
        if completion_port.is_null() {
            return reject("completion_port_inc_ref", "completion_port", "is NULL");
        }
        // SAFETY: it came from `Arc::into_raw`, and the caller's reference keeps it alive.
        unsafe { Arc::increment_strong_count(completion_port.cast_const()) };
    });
}

/// Gives up a reference; the last one stops the thread and abandons what waits. NULL is ignored.
///
/// Giving up the last one waits for a callback of `completion_port_add` that the port's thread is in. On a port's thread,
/// this port's or another's, it does not wait: that callback may then still run when this returns, so keep what its
/// context points to until it has returned. No other callback of `completion_port_add` begins.
///
/// # Safety
/// `completion_port` is NULL or a reference that the caller has, and does not use again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn completion_port_dec_ref(completion_port: COMPLETION_PORT_HANDLE) {
    guarded((), || {
        if completion_port.is_null() {
            return reject("completion_port_dec_ref", "completion_port", "is NULL");
        }
        // SAFETY: it came from `Arc::into_raw`, and the caller gives this reference up.
        drop(unsafe { Arc::from_raw(completion_port.cast_const()) });
    });
}

/// Calls back once for the next event of `socket` among `epoll_op`: `EPOLLIN`, `EPOLLOUT`, `EPOLLRDHUP` or several;
/// errors come unasked. Any number of these can wait for one descriptor. Returns 0 on success; then the call-back runs
/// exactly once, on the port's thread, or with `COMPLETION_PORT_EPOLL_ABANDONED` on the thread that removes the
/// descriptor, gives up the last reference, or finds that the descriptor is another one now. `context` may be NULL.
///
/// While nothing waits for `socket`, its events wake no thread. A descriptor that an open socket of the same port owns
/// is refused.
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
        let Some(port) = (unsafe { borrowed(completion_port) }) else {
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
        let callback = CallBack { socket, on_event, context: Context::new(context) };
        match port.one_shots.add(interest, callback) {
            Ok(()) => 0,
            Err(error) => {
                tracing::error!(descriptor = socket, %error, "{NAME}");
                1
            }
        }
    })
}

/// Forgets `socket`: waits for a callback of it that runs on another thread, and abandons what waits for it.
///
/// In a callback on the port's own thread it waits for nothing. On any other thread it waits for the callback of `socket`
/// that runs. So two callbacks on two ports' threads that remove each other's descriptor wait for each other for ever,
/// and so does a caller that holds a lock which the callback needs. If another thread is removing `socket`, it returns at
/// once, while callbacks may still run there.
///
/// # Safety
/// `completion_port` is NULL or a reference that the caller has; `socket` is a descriptor that the caller may use, or
/// negative.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn completion_port_remove(completion_port: COMPLETION_PORT_HANDLE, socket: SOCKET_HANDLE) {
    const NAME: &str = "completion_port_remove";
    guarded((), || {
        // SAFETY: NULL or a reference that the caller has.
        let Some(port) = (unsafe { borrowed(completion_port) }) else {
            return reject(NAME, "completion_port", "is NULL");
        };
        if socket < 0 {
            return reject(NAME, "socket", "is no descriptor");
        }
        // SAFETY: not -1; if it is not open, the kernel says so.
        let descriptor = unsafe { BorrowedFd::borrow_raw(socket) };
        port.one_shots.remove(descriptor);
    });
}
