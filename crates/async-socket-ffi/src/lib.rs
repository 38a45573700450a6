//! The C ABI of `async_socket`: what the header `include/async_socket.h` declares, and nothing else.
//!
//! This crate only translates. A handle is a counted reference; every call checks all of its arguments before it
//! changes anything, and says through `tracing` which one was wrong (`ASYNC_SOCKET_LOG=debug` prints that to standard
//! error). No panic leaves it. Nothing is allocated for an operation on one buffer: a call-back is a function pointer and
//! a context. A list of several is copied, and does not fit into the room that an operation on one buffer has left.
//!
//! All functions can be called from any thread, also from inside any call-back; see `docs/c-api.md`.
#![allow(unsafe_code, reason = "translates between C pointers and Rust types")]
#![allow(non_camel_case_types, reason = "the names are the specification's")]

mod boundary;
mod kernel;
mod log;
mod platform;
mod port;
mod socket;
mod types;
mod version;

// What it exports is part of the libraries.
pub use async_socket_enum_names as enum_names;
pub use log::{ASYNC_SOCKET_LOG_LEVEL, ON_ASYNC_SOCKET_LOG, async_socket_set_log};
pub use platform::{
    platform_deinit, platform_get_completion_port, platform_init, platform_set_thread_count,
    platform_set_thread_stack_size,
};
pub use port::{
    completion_port_add, completion_port_create, completion_port_dec_ref, completion_port_inc_ref,
    completion_port_remove,
};
pub use socket::{
    async_socket_close, async_socket_create, async_socket_destroy, async_socket_is_answering, async_socket_open_async,
    async_socket_receive_async, async_socket_send_async, async_socket_version,
};
pub use types::*;
