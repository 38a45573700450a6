//! The functions of the C ABI that name the values of its enums.
//!
//! A program may define these functions itself. So they have a package of their own, which gives them an object file of
//! their own in a static library. The linker leaves out an object file that the program does not need.
#![no_std]
#![allow(unsafe_code, reason = "exports names")]
#![allow(non_snake_case, reason = "the names are the original's")]

use core::ffi::{CStr, c_char, c_uint};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

const UNKNOWN: &CStr = c"UNKNOWN";

fn name(names: &[&'static CStr], value: c_uint) -> *const c_char {
    let name = usize::try_from(value).ok().and_then(|index| names.get(index));
    name.unwrap_or(&UNKNOWN).as_ptr()
}

/// The name of a value of `ASYNC_SOCKET_SEND_SYNC_RESULT`.
// Codes_SRS_C_LIBRARY_01_003
#[unsafe(no_mangle)]
pub extern "C" fn MU_ASYNC_SOCKET_SEND_SYNC_RESULT_ToString(value: c_uint) -> *const c_char {
    let names = [
        c"ASYNC_SOCKET_SEND_SYNC_RESULT_INVALID",
        c"ASYNC_SOCKET_SEND_SYNC_OK",
        c"ASYNC_SOCKET_SEND_SYNC_ERROR",
        c"ASYNC_SOCKET_SEND_SYNC_ABANDONED",
    ];
    name(&names, value)
}

/// The name of a value of `COMPLETION_PORT_EPOLL_ACTION`.
// Codes_SRS_C_LIBRARY_01_003
#[unsafe(no_mangle)]
pub extern "C" fn MU_COMPLETION_PORT_EPOLL_ACTION_ToString(value: c_uint) -> *const c_char {
    let names = [
        c"COMPLETION_PORT_EPOLL_ACTION_INVALID",
        c"COMPLETION_PORT_EPOLL_EPOLLRDHUP",
        c"COMPLETION_PORT_EPOLL_EPOLLIN",
        c"COMPLETION_PORT_EPOLL_EPOLLOUT",
        c"COMPLETION_PORT_EPOLL_ABANDONED",
        c"COMPLETION_PORT_EPOLL_ERROR",
    ];
    name(&names, value)
}
