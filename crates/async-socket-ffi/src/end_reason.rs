//! Why an operation ended.

use async_socket_linux::EndReason;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;

/// Why an operation ended. The specification's result follows from it: COMPLETED is OK; `…_PEER_FINISHED`, `…_PEER_RESET`,
/// CLOSED, CANCELLED and `…_STREAM_BROKEN` are ABANDONED; `…_TIMED_OUT` and `…_OS_ERROR` are ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ASYNC_SOCKET_END_REASON {
    /// No reason.
    ASYNC_SOCKET_END_REASON_INVALID = 0,
    /// It succeeded.
    ASYNC_SOCKET_END_COMPLETED = 1,
    /// The peer sends no more: the orderly end of the stream. For receives.
    ASYNC_SOCKET_END_PEER_FINISHED = 2,
    /// The peer reset the connection. The errno is ECONNRESET.
    ASYNC_SOCKET_END_PEER_RESET = 3,
    /// The program closed the socket.
    ASYNC_SOCKET_END_CLOSED = 4,
    /// The program cancelled the operation. The socket is as open as before.
    ASYNC_SOCKET_END_CANCELLED = 5,
    /// The operation's time limit, or the socket's idle time-out, was over first. The socket is as open as before.
    ASYNC_SOCKET_END_TIMED_OUT = 6,
    /// An earlier send broke off in the middle of its payload. For sends that waited behind it.
    ASYNC_SOCKET_END_STREAM_BROKEN = 7,
    /// The kernel reported an error. The errno says which, and is 0 if the kernel gave none.
    ASYNC_SOCKET_END_OS_ERROR = 8,
}

use ASYNC_SOCKET_END_REASON::*;

const NAMES: [&CStr; 9] = [
    c"ASYNC_SOCKET_END_REASON_INVALID",
    c"ASYNC_SOCKET_END_COMPLETED",
    c"ASYNC_SOCKET_END_PEER_FINISHED",
    c"ASYNC_SOCKET_END_PEER_RESET",
    c"ASYNC_SOCKET_END_CLOSED",
    c"ASYNC_SOCKET_END_CANCELLED",
    c"ASYNC_SOCKET_END_TIMED_OUT",
    c"ASYNC_SOCKET_END_STREAM_BROKEN",
    c"ASYNC_SOCKET_END_OS_ERROR",
];

// Codes_SRS_C_LIBRARY_01_040
impl From<EndReason> for ASYNC_SOCKET_END_REASON {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Completed => ASYNC_SOCKET_END_COMPLETED,
            EndReason::PeerFinished => ASYNC_SOCKET_END_PEER_FINISHED,
            EndReason::PeerReset => ASYNC_SOCKET_END_PEER_RESET,
            EndReason::Closed => ASYNC_SOCKET_END_CLOSED,
            EndReason::Cancelled => ASYNC_SOCKET_END_CANCELLED,
            EndReason::TimedOut => ASYNC_SOCKET_END_TIMED_OUT,
            EndReason::StreamBroken => ASYNC_SOCKET_END_STREAM_BROKEN,
            // The other reasons are about buffers that run code, which those of C do not.
            _ => ASYNC_SOCKET_END_OS_ERROR,
        }
    }
}

/// The name of a reason, `"ASYNC_SOCKET_END_TIMED_OUT"` for instance, or `"UNKNOWN"` for a value that is none. The string is
/// valid for ever.
// Codes_SRS_C_LIBRARY_01_041
#[unsafe(no_mangle)]
pub extern "C" fn async_socket_end_reason_to_string(end_reason: MaybeUninit<ASYNC_SOCKET_END_REASON>) -> *const c_char {
    // SAFETY: an enum of C has the size of an int, and the caller has given a value.
    let value = unsafe { end_reason.as_ptr().cast::<c_int>().read() };
    let name = usize::try_from(value).ok().and_then(|index| NAMES.get(index));
    name.unwrap_or(&c"UNKNOWN").as_ptr()
}

/// Called when an operation has ended.
///
/// `end_reason` says why, and `os_error` is the kernel's errno if it gave one, otherwise 0. `bytes` is how many bytes were
/// received or sent. Of a send that failed, it is how many bytes the kernel had taken before.
pub type ON_ASYNC_SOCKET_OPERATION_COMPLETE = Option<
    unsafe extern "C" fn(context: *mut c_void, end_reason: ASYNC_SOCKET_END_REASON, os_error: c_int, bytes: u32),
>;
