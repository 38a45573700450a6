//! The values that cross the ABI. Handles are beside the functions that make them.
//!
//! Every enum starts with an `INVALID` member of value 0, so that a zeroed variable is visibly no result. Existing programs
//! were compiled against these values.

use async_socket_linux::{OpenResult, RawBuffer, ReceiveResult, SendResult, SendSyncResult};
use completion_port::Action;
use std::ffi::{c_int, c_void};

/// A socket descriptor.
pub type SOCKET_HANDLE = c_int;

/// No socket.
pub const INVALID_SOCKET: SOCKET_HANDLE = -1;

/// One buffer. The bytes are the caller's, who does not touch them until the callback.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ASYNC_SOCKET_BUFFER_TAG {
    /// The first byte; not NULL.
    pub buffer: *mut c_void,
    /// How many bytes; not 0.
    pub length: u32,
}

/// One buffer.
pub type ASYNC_SOCKET_BUFFER = ASYNC_SOCKET_BUFFER_TAG;

// A list of the one type is read as a list of the other.
const _: () = assert!(size_of::<ASYNC_SOCKET_BUFFER>() == size_of::<RawBuffer>());
const _: () = assert!(align_of::<ASYNC_SOCKET_BUFFER>() == align_of::<RawBuffer>());

/// How an open ended.
#[allow(missing_docs, reason = "the specification's names say it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ASYNC_SOCKET_OPEN_RESULT {
    ASYNC_SOCKET_OPEN_RESULT_INVALID = 0,
    ASYNC_SOCKET_OPEN_OK = 1,
    ASYNC_SOCKET_OPEN_ERROR = 2,
}

/// What `async_socket_send_async` returns. The callback runs only after OK.
#[allow(missing_docs, reason = "the specification's names say it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ASYNC_SOCKET_SEND_SYNC_RESULT {
    ASYNC_SOCKET_SEND_SYNC_RESULT_INVALID = 0,
    ASYNC_SOCKET_SEND_SYNC_OK = 1,
    ASYNC_SOCKET_SEND_SYNC_ERROR = 2,
    ASYNC_SOCKET_SEND_SYNC_ABANDONED = 3,
}

/// How a send ended.
#[allow(missing_docs, reason = "the specification's names say it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ASYNC_SOCKET_SEND_RESULT {
    ASYNC_SOCKET_SEND_RESULT_INVALID = 0,
    ASYNC_SOCKET_SEND_OK = 1,
    ASYNC_SOCKET_SEND_ERROR = 2,
    ASYNC_SOCKET_SEND_ABANDONED = 3,
}

/// How a receive ended.
#[allow(missing_docs, reason = "the specification's names say it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ASYNC_SOCKET_RECEIVE_RESULT {
    ASYNC_SOCKET_RECEIVE_RESULT_INVALID = 0,
    ASYNC_SOCKET_RECEIVE_OK = 1,
    ASYNC_SOCKET_RECEIVE_ERROR = 2,
    ASYNC_SOCKET_RECEIVE_ABANDONED = 3,
}

/// Why a completion port calls back.
#[allow(missing_docs, reason = "the specification's names say it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum COMPLETION_PORT_EPOLL_ACTION {
    COMPLETION_PORT_EPOLL_ACTION_INVALID = 0,
    COMPLETION_PORT_EPOLL_EPOLLRDHUP = 1,
    COMPLETION_PORT_EPOLL_EPOLLIN = 2,
    COMPLETION_PORT_EPOLL_EPOLLOUT = 3,
    COMPLETION_PORT_EPOLL_ABANDONED = 4,
    COMPLETION_PORT_EPOLL_ERROR = 5,
}

/// Translates a Rust result. The compiler checks that the values are the same.
macro_rules! translate {
    ($rust:ident to $name:ident { $($variant:ident => $member:ident,)* } $(also $other:ident => $as:ident)*) => {
        impl From<$rust> for $name {
            fn from(value: $rust) -> Self {
                match value {
                    $($rust::$variant => Self::$member,)*
                    $($rust::$other => Self::$as,)*
                }
            }
        }

        $(const _: () = assert!($name::$member as u32 == $rust::$variant as u32);)*
    };
}

translate! {
    OpenResult to ASYNC_SOCKET_OPEN_RESULT {
        Ok => ASYNC_SOCKET_OPEN_OK,
        Error => ASYNC_SOCKET_OPEN_ERROR,
    }
}

translate! {
    SendSyncResult to ASYNC_SOCKET_SEND_SYNC_RESULT {
        Ok => ASYNC_SOCKET_SEND_SYNC_OK,
        Error => ASYNC_SOCKET_SEND_SYNC_ERROR,
        Abandoned => ASYNC_SOCKET_SEND_SYNC_ABANDONED,
    }
}

translate! {
    SendResult to ASYNC_SOCKET_SEND_RESULT {
        Ok => ASYNC_SOCKET_SEND_OK,
        Error => ASYNC_SOCKET_SEND_ERROR,
        Abandoned => ASYNC_SOCKET_SEND_ABANDONED,
    }
}

translate! {
    ReceiveResult to ASYNC_SOCKET_RECEIVE_RESULT {
        Ok => ASYNC_SOCKET_RECEIVE_OK,
        Error => ASYNC_SOCKET_RECEIVE_ERROR,
        Abandoned => ASYNC_SOCKET_RECEIVE_ABANDONED,
    }
}

translate! {
    Action to COMPLETION_PORT_EPOLL_ACTION {
        RdHup => COMPLETION_PORT_EPOLL_EPOLLRDHUP,
        In => COMPLETION_PORT_EPOLL_EPOLLIN,
        Out => COMPLETION_PORT_EPOLL_EPOLLOUT,
        Abandoned => COMPLETION_PORT_EPOLL_ABANDONED,
        Error => COMPLETION_PORT_EPOLL_ERROR,
    }
    // A raw wait can neither be cancelled nor time out.
    also Cancelled => COMPLETION_PORT_EPOLL_ABANDONED
    also TimedOut => COMPLETION_PORT_EPOLL_ABANDONED
}

/// Called when an open has ended.
pub type ON_ASYNC_SOCKET_OPEN_COMPLETE =
    Option<unsafe extern "C" fn(context: *mut c_void, open_result: ASYNC_SOCKET_OPEN_RESULT)>;

/// Called when a send has ended.
pub type ON_ASYNC_SOCKET_SEND_COMPLETE =
    Option<unsafe extern "C" fn(context: *mut c_void, send_result: ASYNC_SOCKET_SEND_RESULT)>;

/// Called when a receive has ended. `bytes_received` is 0 unless the result is `ASYNC_SOCKET_RECEIVE_OK`.
pub type ON_ASYNC_SOCKET_RECEIVE_COMPLETE = Option<
    unsafe extern "C" fn(context: *mut c_void, receive_result: ASYNC_SOCKET_RECEIVE_RESULT, bytes_received: u32),
>;

/// Called when an event of a descriptor has come, or cannot come any more.
pub type ON_COMPLETION_PORT_EVENT_COMPLETE =
    Option<unsafe extern "C" fn(context: *mut c_void, action: COMPLETION_PORT_EPOLL_ACTION)>;
