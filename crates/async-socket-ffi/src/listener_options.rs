//! The options of a listener, in a struct that can grow.

use crate::port::COMPLETION_PORT_HANDLE;
use async_socket_net::{KeepAlive, SocketOptions};
use std::mem::offset_of;
use std::ptr;
use std::slice;
use std::time::Duration;

/// What a listener does otherwise than `async_socket_listener_start`. A program fills it with 0 and sets `size` and what it
/// wants.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ASYNC_SOCKET_LISTENER_OPTIONS {
    /// `sizeof(ASYNC_SOCKET_LISTENER_OPTIONS)`
    pub size: usize,
    /// The port on which it accepts. It needs no reference of its own. NULL is the platform's next.
    pub completion_port: COMPLETION_PORT_HANDLE,
    /// How many clients may wait to be accepted. 0 is 4096. The kernel limits it by `net.core.somaxconn`.
    pub backlog: u32,
    /// Non-zero lets several listeners listen on one address (`SO_REUSEPORT`), for instance one for each port of the platform.
    /// The kernel spreads the connections.
    pub reuse_port: u32,
    /// For accepted sockets: non-zero sends small segments at once (`TCP_NODELAY`).
    pub no_delay: u32,
    /// For accepted sockets: a silent peer is asked after so many seconds whether it is still there (`SO_KEEPALIVE`). 0 is
    /// never.
    pub keep_alive_seconds: u32,
    /// For accepted sockets: the seconds between two such questions. 0 is the system's default.
    pub keep_alive_interval_seconds: u32,
    /// For accepted sockets: how many of them without an answer break the connection. 0 is the system's default.
    pub keep_alive_probes: u32,
    /// For accepted sockets: how long bytes may stay unacknowledged (`TCP_USER_TIMEOUT`). 0 is the system's default.
    pub user_timeout_milliseconds: u32,
    /// For accepted sockets: the kernel's buffer for sends (`SO_SNDBUF`). 0 is the system's default.
    pub send_buffer_bytes: u32,
    /// For accepted sockets: the kernel's buffer for receives (`SO_RCVBUF`). 0 is the system's default.
    pub receive_buffer_bytes: u32,
    /// 0
    pub reserved: u32,
}

impl ASYNC_SOCKET_LISTENER_OPTIONS {
    pub(crate) const NONE: Self = Self {
        size: size_of::<Self>(),
        completion_port: ptr::null_mut(),
        backlog: 0,
        reuse_port: 0,
        no_delay: 0,
        keep_alive_seconds: 0,
        keep_alive_interval_seconds: 0,
        keep_alive_probes: 0,
        user_timeout_milliseconds: 0,
        send_buffer_bytes: 0,
        receive_buffer_bytes: 0,
        reserved: 0,
    };

    /// What the program has filled in. What its version of the struct does not have is 0. `None` if it asks for what this
    /// version does not know.
    ///
    /// # Safety
    /// `options` points to as many bytes as its `size` says.
    // Codes_SRS_C_LIBRARY_01_079
    pub(crate) unsafe fn read(options: *const Self) -> Option<Self> {
        // SAFETY: the caller's promise; `size` comes first.
        let size = unsafe { options.cast::<usize>().read() };
        // No header's struct ends within a field, and a part of a pointer is none.
        let has_port = size >= offset_of!(Self, backlog);
        if size < size_of::<usize>() || (!has_port && size > offset_of!(Self, completion_port)) {
            return None;
        }
        let common = size.min(size_of::<Self>());
        if common % size_of::<u32>() != 0 {
            return None;
        }
        let bytes: *const u8 = options.cast();
        let mut known = Self::NONE;
        // SAFETY: the first of its bytes, into the same struct. Every value of these bytes is a value of the struct.
        unsafe { bytes.copy_to_nonoverlapping((&raw mut known).cast(), common) };
        // SAFETY: the rest of its bytes.
        let unknown = unsafe { slice::from_raw_parts(bytes.wrapping_add(common), size - common) };
        (known.reserved == 0 && unknown.iter().all(|byte| *byte == 0)).then_some(known)
    }

    // Codes_SRS_C_LIBRARY_01_079
    pub(crate) fn for_accepted(&self) -> SocketOptions {
        let some = |value: u32| (value > 0).then_some(value);
        let seconds = |value| Duration::from_secs(u64::from(value));
        let mut options = SocketOptions::new();
        if self.no_delay != 0 {
            options = options.no_delay(true);
        }
        if let Some(idle) = some(self.keep_alive_seconds) {
            let mut keep_alive = KeepAlive::after(seconds(idle));
            if let Some(interval) = some(self.keep_alive_interval_seconds) {
                keep_alive = keep_alive.every(seconds(interval));
            }
            if let Some(probes) = some(self.keep_alive_probes) {
                keep_alive = keep_alive.probes(probes);
            }
            options = options.keep_alive(keep_alive);
        }
        if let Some(timeout) = some(self.user_timeout_milliseconds) {
            options = options.user_timeout(Duration::from_millis(timeout.into()));
        }
        if let Some(bytes) = some(self.send_buffer_bytes) {
            options = options.send_buffer(bytes as usize);
        }
        if let Some(bytes) = some(self.receive_buffer_bytes) {
            options = options.receive_buffer(bytes as usize);
        }
        options
    }
}
