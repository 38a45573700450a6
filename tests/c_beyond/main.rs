//! What the C ABI has beyond the specification, on real sockets: operations, sockets, timers, listeners, connects.
#![allow(unsafe_code, reason = "calls the C ABI")]

#[path = "../../crates/async-socket-ffi/tests/common/mod.rs"]
mod common;

mod contexts;
mod net;
mod operations;
mod seeing;
mod sockets;
mod timers;

use async_socket::*;
use std::ffi::c_void;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;

/// What a callback got, and on which thread.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    reason: ASYNC_SOCKET_END_REASON,
    os_error: i32,
    bytes: u32,
    thread: ThreadId,
}

/// A context, and the values that its callbacks have sent. It must outlive the callbacks.
struct Inbox<T> {
    sender: Box<Sender<T>>,
    receiver: Receiver<T>,
}

impl<T> Inbox<T> {
    fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender: Box::new(sender), receiver }
    }

    fn context(&self) -> *mut c_void {
        (&raw const *self.sender).cast_mut().cast()
    }

    fn next(&self) -> T {
        self.receiver.recv_timeout(common::LIMIT).expect("a callback runs in time")
    }

    /// Whether no callback has run, or none but those that were taken.
    fn is_empty(&self) -> bool {
        self.receiver.try_recv().is_err()
    }
}

/// # Safety
/// The context is that of an `Inbox<T>` that is still there.
unsafe fn put<T>(context: *mut c_void, value: T) {
    // SAFETY: the caller's promise.
    let sender = unsafe { &*context.cast::<Sender<T>>() };
    // A clone, because the test may drop the inbox as soon as it has the value.
    let sender = sender.clone();
    let _ = sender.send(value);
}

unsafe extern "C" fn ended(context: *mut c_void, reason: ASYNC_SOCKET_END_REASON, os_error: i32, bytes: u32) {
    let thread = std::thread::current().id();
    // SAFETY: the tests pass the context of such an inbox.
    unsafe { put(context, Ended { reason, os_error, bytes, thread }) };
}

unsafe extern "C" fn done(context: *mut c_void) {
    // SAFETY: as above.
    unsafe { put(context, std::thread::current().id()) };
}
