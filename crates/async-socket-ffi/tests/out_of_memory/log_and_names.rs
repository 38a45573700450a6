//! `async_socket_set_log`, and what needs nothing.

use crate::operation::{Which, destroy, failing};
use ASYNC_SOCKET_LOG_LEVEL::ASYNC_SOCKET_LOG_ERROR;
use async_socket::*;
use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) static LINES: AtomicUsize = AtomicUsize::new(0);

pub(crate) unsafe extern "C" fn on_log(_: *mut c_void, _: ASYNC_SOCKET_LOG_LEVEL, _: *const c_char) {
    LINES.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn set_log(on_log: ON_ASYNC_SOCKET_LOG) -> bool {
    // SAFETY: the function needs no context.
    unsafe { async_socket_set_log(on_log, null_mut(), MaybeUninit::new(ASYNC_SOCKET_LOG_ERROR)) == 0 }
}

pub(crate) fn a_log_function_is_set_or_not(which: Which) -> usize {
    let (accepted, tried) = failing(which, || set_log(Some(on_log)));
    destroy(null_mut());
    assert_eq!(LINES.load(Ordering::Relaxed), usize::from(accepted));
    assert!(set_log(Some(on_log)));
    destroy(null_mut());
    assert!(LINES.load(Ordering::Relaxed) > usize::from(accepted));
    tried
}

pub(crate) fn a_log_function_is_replaced_or_not(which: Which) -> usize {
    assert!(set_log(Some(on_log)));
    let (_, tried) = failing(which, || {
        let replaced = set_log(Some(on_log));
        // One line, with or without memory.
        destroy(null_mut());
        assert!(set_log(None), "to remove a function takes no memory");
        replaced
    });
    assert_eq!(LINES.load(Ordering::Relaxed), 1);
    tried
}

pub(crate) fn names_and_settings(which: Which) -> usize {
    use async_socket::enum_names::{
        MU_ASYNC_SOCKET_SEND_SYNC_RESULT_ToString, MU_COMPLETION_PORT_EPOLL_ACTION_ToString,
    };
    let ((), tried) = failing(which, || {
        assert!(!async_socket_version().is_null());
        assert_ne!(async_socket_is_answering(), 0);
        assert!(!MU_ASYNC_SOCKET_SEND_SYNC_RESULT_ToString(1).is_null());
        assert!(!MU_COMPLETION_PORT_EPOLL_ACTION_ToString(1).is_null());
        platform_set_thread_count(2);
        platform_set_thread_stack_size(1 << 21);
    });
    tried
}
