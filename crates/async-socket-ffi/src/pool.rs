//! Pools of buffers, and receives that take one when bytes have arrived.

use crate::boundary::{Context, guarded};
use crate::end_reason::ASYNC_SOCKET_END_REASON;
use crate::handle::{borrow, from_handle, into_handle};
use crate::operation::{ASYNC_SOCKET_OPERATION_ID, limit, store};
use crate::refusal::{out_of_memory, reject};
use crate::socket::{ASYNC_SOCKET_HANDLE, receive_refused};
use async_socket_linux::{BufferPool, PoolError, PooledBuffer, PooledCompletion};
use completion_port::memory::Reserved;
use std::ffi::{c_int, c_void};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr;

/// What a pool handle points to.
#[derive(Debug)]
pub struct ASYNC_SOCKET_BUFFER_POOL {
    pub(crate) pool: BufferPool,
}

/// A pool of buffers, from `async_socket_buffer_pool_create` to `async_socket_buffer_pool_destroy`.
pub type ASYNC_SOCKET_BUFFER_POOL_HANDLE = *mut ASYNC_SOCKET_BUFFER_POOL;

/// A buffer of a pool with received bytes. It can be copied, and only one of the copies may be released.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ASYNC_SOCKET_POOLED_BUFFER {
    /// The first of the bytes. They may be changed. NULL if there is no buffer.
    pub bytes: *mut c_void,
    /// How many bytes; not 0 unless there is no buffer.
    pub length: u32,
    /// The library's.
    pub owner: [MaybeUninit<*mut c_void>; 4],
}

/// A buffer of a pool is moved into `owner` and out of it.
const _: () = assert!(
    size_of::<PooledBuffer>() <= size_of::<[*mut c_void; 4]>()
        && align_of::<PooledBuffer>() <= align_of::<*mut c_void>()
);

impl ASYNC_SOCKET_POOLED_BUFFER {
    const NONE: Self = Self { bytes: ptr::null_mut(), length: 0, owner: [MaybeUninit::new(ptr::null_mut()); 4] };

    fn of(buffer: PooledBuffer) -> Self {
        let mut this = Self::NONE;
        let place: *mut PooledBuffer = this.owner.as_mut_ptr().cast();
        // SAFETY: there is room, see the assertion above.
        unsafe { place.write(buffer) };
        // SAFETY: it was just written.
        let bytes: &mut [u8] = unsafe { &mut *place };
        // A receive gets less than 2 GiB.
        this.length = bytes.len() as u32;
        this.bytes = bytes.as_mut_ptr().cast();
        this
    }
}

/// Called when a receive from a pool has ended. `end_reason` and `os_error` are as for `ON_ASYNC_SOCKET_OPERATION_COMPLETE`.
///
/// With `ASYNC_SOCKET_END_COMPLETED`, `buffer` has the bytes and belongs to the program, which gives it back with
/// `async_socket_pooled_buffer_release`, now or later, on any thread. Otherwise `buffer.bytes` is NULL, and there is nothing
/// to give back.
pub type ON_ASYNC_SOCKET_RECEIVE_POOLED_COMPLETE = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        end_reason: ASYNC_SOCKET_END_REASON,
        os_error: c_int,
        buffer: ASYNC_SOCKET_POOLED_BUFFER,
    ),
>;

/// Makes a pool of at most `limit` buffers of `buffer_bytes` bytes each, for `async_socket_receive_pooled_async`. A buffer is
/// made when it is first needed. The limit bounds the memory of all receives from the pool, however many connections wait.
///
/// Returns NULL if one of the numbers is 0, `buffer_bytes` is more than `UINT32_MAX`, or there is no memory.
#[unsafe(no_mangle)]
pub extern "C" fn async_socket_buffer_pool_create(
    buffer_bytes: usize,
    limit: usize,
) -> ASYNC_SOCKET_BUFFER_POOL_HANDLE {
    const NAME: &str = "async_socket_buffer_pool_create";
    guarded(ptr::null_mut(), || {
        let Some(memory) = Reserved::try_new() else {
            out_of_memory(NAME);
            return ptr::null_mut();
        };
        match BufferPool::new(buffer_bytes, limit) {
            // Codes_SRS_C_LIBRARY_01_073
            Ok(pool) => into_handle(memory.fill(ASYNC_SOCKET_BUFFER_POOL { pool })),
            Err(error) => {
                match error {
                    PoolError::OutOfMemory => out_of_memory(NAME),
                    PoolError::NoBuffers => reject(NAME, "limit", "is 0"),
                    _ => reject(NAME, "buffer_bytes", "is 0 or too large"),
                }
                ptr::null_mut()
            }
        }
    })
}

/// Gives up a pool. NULL is ignored. The pool lives on while a receive waits that was begun with it, or one of its buffers is
/// not released. Never waits. Works inside every callback.
///
/// # Safety
/// `pool` is NULL or a handle that the program does not use again.
// Codes_SRS_C_LIBRARY_01_073
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_buffer_pool_destroy(pool: ASYNC_SOCKET_BUFFER_POOL_HANDLE) {
    guarded((), || {
        // SAFETY: NULL or a handle that the caller gives up.
        match unsafe { from_handle(pool) } {
            Some(handle) => drop(handle),
            None => reject("async_socket_buffer_pool_destroy", "pool", "is NULL"),
        }
    });
}

/// Receives at least one byte into a buffer of `pool`, which is taken only when bytes have arrived: a receive that waits holds
/// no payload memory. It waits in one queue with the receives of other kinds. If the pool is empty, the receives wait in the
/// order in which they found it so, and nothing is taken from the kernel meanwhile.
///
/// `within_milliseconds` and `operation_id` are as for `async_socket_receive_async_within`; waiting for a buffer counts too.
/// Returns 0 on success, otherwise non-zero without a callback: a NULL argument, not open, no memory, or a parent process's pool.
///
/// A program that sends the buffers on shall bound how many a peer can hold that does not read, with
/// `async_socket_set_high_water_mark` and a time limit. Otherwise such a peer holds up all connections of the pool.
///
/// # Safety
/// `async_socket` and `pool` are NULL or valid handles; `operation_id` is NULL or can be written until this returns; the
/// callback may be called with its context on another thread.
// Codes_SRS_C_LIBRARY_01_074
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_receive_pooled_async(
    async_socket: ASYNC_SOCKET_HANDLE,
    pool: ASYNC_SOCKET_BUFFER_POOL_HANDLE,
    within_milliseconds: u32,
    on_complete: ON_ASYNC_SOCKET_RECEIVE_POOLED_COMPLETE,
    on_complete_context: *mut c_void,
    operation_id: *mut ASYNC_SOCKET_OPERATION_ID,
) -> c_int {
    const NAME: &str = "async_socket_receive_pooled_async";
    guarded(1, || {
        // SAFETY: NULL or a place that can be written.
        unsafe { store(operation_id, None) };
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(async_socket) }) else {
            reject(NAME, "async_socket", "is NULL");
            return 1;
        };
        // SAFETY: NULL or a valid handle.
        let Some(pool) = (unsafe { borrow(pool) }) else {
            reject(NAME, "pool", "is NULL");
            return 1;
        };
        // Codes_SRS_C_LIBRARY_01_070
        let Some(on_complete) = on_complete else {
            reject(NAME, "on_complete", "is NULL");
            return 1;
        };
        let context = Context::new(on_complete_context);
        let done = move |received: PooledCompletion| {
            let os_error = received.os_error().unwrap_or(0);
            let buffer = received.buffer.map_or(ASYNC_SOCKET_POOLED_BUFFER::NONE, ASYNC_SOCKET_POOLED_BUFFER::of);
            // SAFETY: the caller allows this call.
            unsafe { on_complete(context.pointer(), received.reason.into(), os_error, buffer) };
        };
        let received = match limit(within_milliseconds) {
            None => handle.socket.receive_pooled_async(&pool.pool, done),
            Some(within) => handle.socket.receive_pooled_async_within(&pool.pool, within, done),
        };
        match received {
            Ok(id) => {
                // SAFETY: NULL or a place that can be written.
                unsafe { store(operation_id, Some(id)) };
                0
            }
            Err(error) => receive_refused(NAME, &handle, error),
        }
    })
}

/// Gives a buffer back to its pool, and empties `buffer`, so that a second call with it does nothing. NULL and a buffer without
/// bytes are ignored. Of several copies of a buffer, release one. Works on any thread, inside every callback, and after the
/// pool was destroyed.
///
/// # Safety
/// `buffer` is NULL, or a buffer that a callback got or that was emptied by this call, and no copy of it was released.
// Codes_SRS_C_LIBRARY_01_074
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_pooled_buffer_release(buffer: *mut ASYNC_SOCKET_POOLED_BUFFER) {
    guarded((), || {
        if buffer.is_null() {
            return reject("async_socket_pooled_buffer_release", "buffer", "is NULL");
        }
        // SAFETY: it is not NULL.
        let taken = ManuallyDrop::new(unsafe { buffer.replace(ASYNC_SOCKET_POOLED_BUFFER::NONE) });
        if !taken.bytes.is_null() {
            // SAFETY: `of` has put it there, and nothing has taken it out.
            drop(unsafe { taken.owner.as_ptr().cast::<PooledBuffer>().read() });
        }
    });
}
