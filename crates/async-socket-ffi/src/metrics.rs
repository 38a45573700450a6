//! Numbers of a socket, a listener, a pool and a port.
//!
//! Each struct can grow: a program says how large its own is, and gets that much of it.

use crate::boundary::guarded;
use crate::handle::borrow;
use crate::listener::ASYNC_SOCKET_LISTENER_HANDLE;
use crate::platform::METRICS;
use crate::pool::ASYNC_SOCKET_BUFFER_POOL_HANDLE;
use crate::port::COMPLETION_PORT_HANDLE;
use crate::refusal::{out_of_memory, reject};
use crate::socket::ASYNC_SOCKET_HANDLE;
use async_socket_linux::OperationCounts;
use std::ffi::c_int;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How operations ended. Each is counted once, just before its callback runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ASYNC_SOCKET_OPERATION_COUNTS {
    /// Successfully.
    pub completed: u64,
    /// Because the peer finished or reset the connection, the program closed the socket, or an earlier send broke off.
    pub abandoned: u64,
    /// Because the program cancelled them.
    pub cancelled: u64,
    /// Because their time limit or the idle time-out was over.
    pub timed_out: u64,
    /// For any other reason.
    pub failed: u64,
}

/// What a socket holds and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ASYNC_SOCKET_METRICS {
    /// The receives that wait for bytes or for a buffer.
    pub receives_waiting: u64,
    /// The sends that wait, and a shutdown behind them.
    pub sends_waiting: u64,
    /// The bytes of these sends that the kernel has not taken.
    pub queued_bytes: u64,
    /// 1 if the socket counts, otherwise 0. Then everything below is 0.
    pub is_counting: u64,
    /// The receives that have called back.
    pub receives: ASYNC_SOCKET_OPERATION_COUNTS,
    /// The sends and shutdowns that have called back.
    pub sends: ASYNC_SOCKET_OPERATION_COUNTS,
    /// The bytes that receives have got.
    pub bytes_received: u64,
    /// The bytes that the kernel has taken.
    pub bytes_sent: u64,
    /// The sends that had to wait.
    pub sends_queued: u64,
    /// The sends that were refused, apart from those with bad arguments.
    pub sends_refused: u64,
    /// The longest time that one callback of the socket took.
    pub longest_callback_nanoseconds: u64,
}

/// What a listener has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ASYNC_SOCKET_LISTENER_METRICS {
    /// The connections that the kernel gave.
    pub accepted: u64,
    /// The connections that broke before they were accepted, or were closed because an option was refused.
    pub failed_clients: u64,
    /// The pauses for want of descriptors or memory.
    pub pauses: u64,
    /// 1 if the listener pauses now, otherwise 0.
    pub is_paused: u64,
    /// 1 if the listener accepts connections, now or after the pause, otherwise 0.
    pub is_accepting: u64,
    /// The longest time that one call of the callback took while `async_socket_listener_set_metrics` was on. 0 while it is off.
    pub longest_callback_nanoseconds: u64,
}

/// What a pool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ASYNC_SOCKET_BUFFER_POOL_METRICS {
    /// How many buffers there can be.
    pub limit: u64,
    /// How many exist.
    pub buffers_made: u64,
    /// How many of these are not in use.
    pub buffers_free: u64,
    /// The receives that have found the pool empty and wait for a buffer.
    pub receives_waiting: u64,
    /// The receives that have found the pool empty since it was made. A figure that grows says that the limit is low.
    pub receives_delayed: u64,
}

/// What a completion port has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct COMPLETION_PORT_METRICS {
    /// Rounds of the port's thread: calls of `epoll_wait(2)`.
    pub rounds: u64,
    /// Events that the kernel reported, wake-ups included.
    pub events: u64,
    /// The most events of one round. 512 is the limit.
    pub most_events: u64,
    /// Rounds that a wake-up by another thread began.
    pub wake_ups: u64,
    /// Timers that have come, those of time limits included.
    pub timers: u64,
    /// Timers that are armed at this moment.
    pub timers_armed: u64,
    /// The longest time that the thread worked without asking for events: every socket of the port waited that long.
    pub longest_round_nanoseconds: u64,
    /// The longest time that one callback on the port's thread took: of an operation, a wait, a timer or posted work. Known
    /// when the round has ended.
    pub longest_callback_nanoseconds: u64,
}

/// A struct that consists of 64-bit numbers, so that it has no padding.
///
/// # Safety
/// It is so.
unsafe trait Numbers: Copy {}

// SAFETY: see the structs above.
unsafe impl Numbers for ASYNC_SOCKET_METRICS {}
// SAFETY: as above.
unsafe impl Numbers for ASYNC_SOCKET_LISTENER_METRICS {}
// SAFETY: as above.
unsafe impl Numbers for ASYNC_SOCKET_BUFFER_POOL_METRICS {}
// SAFETY: as above.
unsafe impl Numbers for COMPLETION_PORT_METRICS {}

/// Writes as much of `numbers` as the program's struct has room for, and 0 into the rest of that.
///
/// # Safety
/// `place` is NULL or has room for `size` bytes.
// Codes_SRS_C_LIBRARY_01_075
unsafe fn give<T: Numbers>(function: &'static str, place: *mut T, size: usize, numbers: Option<T>) -> c_int {
    if place.is_null() {
        reject(function, "metrics", "is NULL");
        return 1;
    }
    let Some(numbers) = numbers else { return 1 };
    let known = size.min(size_of::<T>());
    let place: *mut u8 = place.cast();
    // SAFETY: the room is the caller's promise; every byte of `numbers` is initialised.
    unsafe { place.copy_from_nonoverlapping((&raw const numbers).cast(), known) };
    // SAFETY: the same room.
    unsafe { place.wrapping_add(known).write_bytes(0, size - known) };
    0
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn counts(counts: &OperationCounts) -> ASYNC_SOCKET_OPERATION_COUNTS {
    let OperationCounts { completed, abandoned, cancelled, timed_out, failed, .. } = *counts;
    ASYNC_SOCKET_OPERATION_COUNTS { completed, abandoned, cancelled, timed_out, failed }
}

/// Switches the counts of a socket on (non-zero) or off (0). The default is off, and then they cost nothing. On, an operation
/// costs two readings of the clock more. Counts that are switched on again go on from what they were.
///
/// Returns 0 on success. Otherwise returns non-zero, and nothing has changed: NULL, or no memory. Works inside every callback.
///
/// # Safety
/// `async_socket` is NULL or a valid handle.
// Codes_SRS_C_LIBRARY_01_076
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_set_metrics(async_socket: ASYNC_SOCKET_HANDLE, on: c_int) -> c_int {
    const NAME: &str = "async_socket_set_metrics";
    guarded(1, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(async_socket) }) else {
            reject(NAME, "async_socket", "is NULL");
            return 1;
        };
        if handle.socket.set_metrics(on != 0).is_err() {
            out_of_memory(NAME);
            return 1;
        }
        0
    })
}

/// Writes what a socket holds, and what it has done if it counts, to `metrics`. `metrics_size` is `sizeof *metrics`: a program
/// that was compiled against another version of the header gets the fields that it knows, and 0 in those that the library does
/// not know.
///
/// Returns 0 on success, otherwise non-zero: a NULL argument. Works inside every callback, also when the socket is closed.
///
/// # Safety
/// `async_socket` is NULL or a valid handle; `metrics` is NULL or has room for `metrics_size` bytes.
// Codes_SRS_C_LIBRARY_01_076
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_get_metrics(
    async_socket: ASYNC_SOCKET_HANDLE,
    metrics: *mut ASYNC_SOCKET_METRICS,
    metrics_size: usize,
) -> c_int {
    const NAME: &str = "async_socket_get_metrics";
    guarded(1, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(async_socket) }) else {
            reject(NAME, "async_socket", "is NULL");
            return 1;
        };
        let held = handle.socket.metrics();
        let done = held.counts.unwrap_or_default();
        let numbers = ASYNC_SOCKET_METRICS {
            receives_waiting: held.receives_waiting as u64,
            sends_waiting: held.sends_waiting as u64,
            queued_bytes: held.queued_bytes as u64,
            is_counting: held.counts.is_some().into(),
            receives: counts(&done.receives),
            sends: counts(&done.sends),
            bytes_received: done.bytes_received,
            bytes_sent: done.bytes_sent,
            sends_queued: done.sends_queued,
            sends_refused: done.sends_refused,
            longest_callback_nanoseconds: nanoseconds(done.longest_callback),
        };
        // SAFETY: the caller's promise.
        unsafe { give(NAME, metrics, metrics_size, Some(numbers)) }
    })
}

/// Switches the measuring of a listener's callback on (non-zero) or off (0). The default is off. On, a connection costs two
/// readings of the clock more. The other numbers of the listener are always counted.
///
/// Returns 0 on success, otherwise non-zero: NULL. Works inside every callback.
///
/// # Safety
/// `listener` is NULL or a valid handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_listener_set_metrics(listener: ASYNC_SOCKET_LISTENER_HANDLE, on: c_int) -> c_int {
    guarded(1, || {
        // Codes_SRS_C_LIBRARY_01_070
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(listener) }) else {
            reject("async_socket_listener_set_metrics", "listener", "is NULL");
            return 1;
        };
        // Codes_SRS_C_LIBRARY_01_081
        handle.listener.set_metrics(on != 0);
        0
    })
}

/// Writes what a listener has done to `metrics`. `metrics_size` and the result are as for `async_socket_get_metrics`.
///
/// # Safety
/// `listener` is NULL or a valid handle; `metrics` is NULL or has room for `metrics_size` bytes.
// Codes_SRS_C_LIBRARY_01_077
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_listener_get_metrics(
    listener: ASYNC_SOCKET_LISTENER_HANDLE,
    metrics: *mut ASYNC_SOCKET_LISTENER_METRICS,
    metrics_size: usize,
) -> c_int {
    const NAME: &str = "async_socket_listener_get_metrics";
    guarded(1, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(listener) }) else {
            reject(NAME, "listener", "is NULL");
            return 1;
        };
        let done = handle.listener.metrics();
        let numbers = ASYNC_SOCKET_LISTENER_METRICS {
            accepted: done.accepted,
            failed_clients: done.failed_clients,
            pauses: done.pauses,
            is_paused: done.is_paused.into(),
            is_accepting: done.is_accepting.into(),
            longest_callback_nanoseconds: nanoseconds(done.longest_callback.unwrap_or_default()),
        };
        // SAFETY: the caller's promise.
        unsafe { give(NAME, metrics, metrics_size, Some(numbers)) }
    })
}

/// Writes what a pool holds to `metrics`. `metrics_size` and the result are as for `async_socket_get_metrics`.
///
/// # Safety
/// `pool` is NULL or a valid handle; `metrics` is NULL or has room for `metrics_size` bytes.
// Codes_SRS_C_LIBRARY_01_077
#[unsafe(no_mangle)]
pub unsafe extern "C" fn async_socket_buffer_pool_get_metrics(
    pool: ASYNC_SOCKET_BUFFER_POOL_HANDLE,
    metrics: *mut ASYNC_SOCKET_BUFFER_POOL_METRICS,
    metrics_size: usize,
) -> c_int {
    const NAME: &str = "async_socket_buffer_pool_get_metrics";
    guarded(1, || {
        // SAFETY: NULL or a valid handle.
        let Some(handle) = (unsafe { borrow(pool) }) else {
            reject(NAME, "pool", "is NULL");
            return 1;
        };
        let held = handle.pool.metrics();
        let numbers = ASYNC_SOCKET_BUFFER_POOL_METRICS {
            limit: held.limit as u64,
            buffers_made: held.buffers_made as u64,
            buffers_free: held.buffers_free as u64,
            receives_waiting: held.receives_waiting as u64,
            receives_delayed: held.receives_delayed,
        };
        // SAFETY: the caller's promise.
        unsafe { give(NAME, metrics, metrics_size, Some(numbers)) }
    })
}

/// Sets whether completion ports that are made from now on count what they do: those of the next `platform_init` that starts
/// the platform, and of `completion_port_create`. Non-zero is yes. The default is no, because counting reads the clock twice in
/// each round of a port's thread.
// Codes_SRS_C_LIBRARY_01_078
#[unsafe(no_mangle)]
pub extern "C" fn platform_set_metrics(on: c_int) {
    METRICS.store(on != 0, Ordering::Relaxed);
}

/// Writes what a port has done to `metrics`. `metrics_size` is as for `async_socket_get_metrics`. Returns 0 on success,
/// otherwise non-zero: a NULL argument, or the port does not count, see `platform_set_metrics`.
///
/// # Safety
/// `completion_port` is NULL or a reference that the caller has; `metrics` is NULL or has room for `metrics_size` bytes.
// Codes_SRS_C_LIBRARY_01_078
#[unsafe(no_mangle)]
pub unsafe extern "C" fn completion_port_get_metrics(
    completion_port: COMPLETION_PORT_HANDLE,
    metrics: *mut COMPLETION_PORT_METRICS,
    metrics_size: usize,
) -> c_int {
    const NAME: &str = "completion_port_get_metrics";
    guarded(1, || {
        // SAFETY: NULL or a reference that the caller has.
        let Some(handle) = (unsafe { borrow(completion_port) }) else {
            reject(NAME, "completion_port", "is NULL");
            return 1;
        };
        let numbers = handle.port.metrics().map(|done| COMPLETION_PORT_METRICS {
            rounds: done.rounds,
            events: done.events,
            most_events: done.most_events,
            wake_ups: done.wake_ups,
            timers: done.timers,
            timers_armed: done.timers_armed,
            longest_round_nanoseconds: nanoseconds(done.longest_round),
            longest_callback_nanoseconds: nanoseconds(done.longest_callback),
        });
        // SAFETY: the caller's promise.
        unsafe { give(NAME, metrics, metrics_size, numbers) }
    })
}
