//! Pools, metrics, addresses, and the way back of a descriptor.

use crate::common::{Open, Platform};
use crate::operation::{Seen, Which, failing, note, the_platform_works, works};
use ASYNC_SOCKET_END_REASON::{ASYNC_SOCKET_END_COMPLETED, ASYNC_SOCKET_END_OS_ERROR};
use async_socket::*;
use std::ffi::c_void;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::null_mut;

unsafe extern "C" fn pooled(
    context: *mut c_void,
    reason: ASYNC_SOCKET_END_REASON,
    _: i32,
    mut buffer: ASYNC_SOCKET_POOLED_BUFFER,
) {
    // SAFETY: the only copy that is released.
    unsafe { async_socket_pooled_buffer_release(&raw mut buffer) };
    // SAFETY: passed on.
    unsafe { note(context, reason as u32, 0) };
}

pub(crate) fn a_pool_is_made_or_refused(which: Which) -> usize {
    let (pool, tried) = failing(which, || async_socket_buffer_pool_create(64, 2));
    // SAFETY: NULL or a handle that is not used again.
    unsafe { async_socket_buffer_pool_destroy(pool) };
    tried
}

pub(crate) fn a_receive_from_a_pool(which: Which) -> usize {
    let _platform = Platform::start();
    let (mut socket, seen, pool) = (Open::new(), Seen::default(), async_socket_buffer_pool_create(64, 2));
    let (handle, context) = (socket.handle, seen.context());
    // SAFETY: valid handles; the context outlives the callback.
    let receive =
        || unsafe { async_socket_receive_pooled_async(handle, pool, u32::MAX, Some(pooled), context, null_mut()) == 0 };
    let (accepted, tried) = failing(which, receive);
    if accepted {
        socket.write_from_peer(b"x");
        // A buffer is made on the port's thread, which has memory here.
        assert!([ASYNC_SOCKET_END_COMPLETED, ASYNC_SOCKET_END_OS_ERROR].map(|it| it as u32).contains(&seen.wait()));
    }
    // SAFETY: the handle is not used again.
    unsafe { async_socket_buffer_pool_destroy(pool) };
    works(socket.handle, &mut socket.peer);
    tried
}

pub(crate) fn metrics_and_addresses_of_a_socket(which: Which) -> usize {
    let _platform = Platform::start();
    let mut socket = Open::new();
    let (mut metrics, mut text) = (ASYNC_SOCKET_METRICS::default(), [0_u8; 512]);
    let ask = || {
        // SAFETY: a valid handle.
        let counts = unsafe { async_socket_set_metrics(socket.handle, 1) } == 0;
        // SAFETY: a valid handle, and a place of that size.
        assert_eq!(unsafe { async_socket_get_metrics(socket.handle, &raw mut metrics, size_of_val(&metrics)) }, 0);
        assert_eq!(metrics.is_counting, u64::from(counts));
        // SAFETY: a valid handle, and room for that.
        let _ = unsafe { async_socket_get_peer_address(socket.handle, text.as_mut_ptr().cast(), text.len()) };
    };
    let ((), tried) = failing(which, ask);
    works(socket.handle, &mut socket.peer);
    tried
}

pub(crate) fn a_descriptor_is_given_back_or_the_socket_goes_on(which: Which) -> usize {
    let _platform = Platform::start();
    let mut socket = Open::new();
    // SAFETY: a valid handle.
    let (descriptor, tried) = failing(which, || unsafe { async_socket_release_descriptor(socket.handle) });
    if descriptor == INVALID_SOCKET {
        works(socket.handle, &mut socket.peer);
    } else {
        // SAFETY: it is ours now.
        drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }
    the_platform_works();
    tried
}
