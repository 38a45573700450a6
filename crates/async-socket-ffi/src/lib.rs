//! The C ABI of `async_socket`: what the header `include/async_socket.h` declares, and nothing else.
//!
//! This crate only translates. A handle is a counted reference. Every call checks all of its arguments before it
//! changes anything, and reports a wrong one through `tracing` (`ASYNC_SOCKET_LOG=debug` prints the report to standard
//! error). No panic leaves the crate. A call that finds no memory returns its failure value. The one exception is
//! `tracing`'s registration of a subscriber, which cannot report a failure, see `log/subscriber.rs`. An operation on
//! one buffer allocates nothing, because a callback is a function pointer and a context. A list of several buffers is
//! copied.
//!
//! Every function can be called from any thread, also inside any callback; see `docs/c-api.md`.
#![allow(unsafe_code, reason = "translates between C pointers and Rust types")]
#![allow(non_camel_case_types, reason = "the names are the specification's")]

mod boundary;
mod handle;
mod kernel;
mod log;
mod memory;
mod platform;
mod port;
mod refusal;
mod socket;
mod types;
mod version;

// Beyond the specification. They come last in the header too.
mod end_reason;
mod life;
mod operation;
mod settings;
mod timer;

mod listener_options;

mod listener;

mod connect;

mod address;

mod pool;

mod metrics;

#[cfg(test)]
mod destroyed_while_opening;

// The libraries export these names too.
pub use address::{async_socket_get_local_address, async_socket_get_peer_address};
pub use async_socket_enum_names as enum_names;
pub use connect::{
    ASYNC_SOCKET_CONNECT, ASYNC_SOCKET_CONNECT_HANDLE, ASYNC_SOCKET_CONNECT_RESULT, ON_ASYNC_SOCKET_CONNECT_COMPLETE,
    async_socket_connect_async, async_socket_connect_cancel,
};
pub use end_reason::{ASYNC_SOCKET_END_REASON, ON_ASYNC_SOCKET_OPERATION_COMPLETE, async_socket_end_reason_to_string};
pub use life::{
    ON_ASYNC_SOCKET_CLOSE_COMPLETE, async_socket_close_async, async_socket_create_and_open,
    async_socket_release_descriptor,
};
pub use listener::{
    ASYNC_SOCKET_ACCEPT_RESULT, ASYNC_SOCKET_LISTENER, ASYNC_SOCKET_LISTENER_HANDLE, ON_ASYNC_SOCKET_ACCEPT,
    ON_ASYNC_SOCKET_LISTENER_STOPPED, async_socket_listener_destroy, async_socket_listener_get_port,
    async_socket_listener_resume, async_socket_listener_start, async_socket_listener_start_on,
    async_socket_listener_start_with, async_socket_listener_stop_async,
};
pub use listener_options::ASYNC_SOCKET_LISTENER_OPTIONS;
pub use log::{ASYNC_SOCKET_LOG_LEVEL, ON_ASYNC_SOCKET_LOG, async_socket_set_log};
pub use metrics::{
    ASYNC_SOCKET_BUFFER_POOL_METRICS, ASYNC_SOCKET_LISTENER_METRICS, ASYNC_SOCKET_METRICS,
    ASYNC_SOCKET_OPERATION_COUNTS, COMPLETION_PORT_METRICS, async_socket_buffer_pool_get_metrics,
    async_socket_get_metrics, async_socket_listener_get_metrics, async_socket_listener_set_metrics,
    async_socket_set_metrics, completion_port_get_metrics, platform_set_metrics,
};
pub use operation::{
    ASYNC_SOCKET_CANCEL_RESULT, ASYNC_SOCKET_NO_TIME_LIMIT, ASYNC_SOCKET_OPERATION_ID, async_socket_cancel,
    async_socket_receive_async_within, async_socket_send_async_within, async_socket_shutdown_async,
};
pub use platform::{
    platform_deinit, platform_get_completion_port, platform_init, platform_set_thread_count,
    platform_set_thread_stack_size,
};
pub use pool::{
    ASYNC_SOCKET_BUFFER_POOL, ASYNC_SOCKET_BUFFER_POOL_HANDLE, ASYNC_SOCKET_POOLED_BUFFER,
    ON_ASYNC_SOCKET_RECEIVE_POOLED_COMPLETE, async_socket_buffer_pool_create, async_socket_buffer_pool_destroy,
    async_socket_pooled_buffer_release, async_socket_receive_pooled_async,
};
pub use port::{
    COMPLETION_PORT_HANDLE, COMPLETION_PORT_TAG, completion_port_add, completion_port_create, completion_port_dec_ref,
    completion_port_inc_ref, completion_port_remove,
};
pub use settings::{
    async_socket_get_descriptor, async_socket_queued_bytes, async_socket_set_high_water_mark,
    async_socket_set_idle_timeout,
};
pub use socket::{
    ASYNC_SOCKET, ASYNC_SOCKET_HANDLE, EXECUTION_ENGINE_HANDLE, EXECUTION_ENGINE_TAG, async_socket_close,
    async_socket_create, async_socket_destroy, async_socket_is_answering, async_socket_open_async,
    async_socket_receive_async, async_socket_send_async, async_socket_version,
};
pub use timer::{
    ON_PLATFORM_WORK, PLATFORM_TIMER, PLATFORM_TIMER_HANDLE, platform_post, platform_timer_cancel,
    platform_timer_reset, platform_timer_start,
};
pub use types::*;
