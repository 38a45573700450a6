//! Calls with failing allocations, and operations whose callbacks allocate nothing.

use crate::common::{LIMIT, Open, buffer};
use ASYNC_SOCKET_RECEIVE_RESULT::ASYNC_SOCKET_RECEIVE_OK;
use ASYNC_SOCKET_SEND_RESULT::ASYNC_SOCKET_SEND_OK;
use ASYNC_SOCKET_SEND_SYNC_RESULT::ASYNC_SOCKET_SEND_SYNC_OK;
use async_socket::*;
use std::ffi::c_void;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;
use test_doubles::{allocations_tried, fail_allocations};

/// The numbers of the allocations that fail.
pub(crate) type Which = RangeInclusive<usize>;

/// Makes a call with some of its allocations failing. Returns also how many it tried.
pub(crate) fn failing<T>(which: Which, call: impl FnOnce() -> T) -> (T, usize) {
    fail_allocations(which);
    let result = call();
    (result, allocations_tried())
}

/// The results of one operation's callbacks, which allocate nothing.
#[derive(Default)]
pub(crate) struct Seen {
    calls: AtomicU32,
    result: AtomicU32,
    bytes: AtomicU32,
}

impl Seen {
    pub(crate) fn context(&self) -> *mut c_void {
        (&raw const *self).cast_mut().cast()
    }

    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Acquire)
    }

    /// The result of the one callback, which has run.
    pub(crate) fn result(&self) -> u32 {
        assert_eq!(self.calls(), 1);
        self.result.load(Ordering::Relaxed)
    }

    pub(crate) fn wait(&self) -> u32 {
        wait_until(|| self.calls() > 0);
        self.result()
    }

    /// Checks the result of an accepted operation, or that a refused operation has not called back.
    pub(crate) fn ends_with(&self, accepted: bool, result: u32) {
        if accepted {
            assert_eq!(self.wait(), result);
        } else {
            assert_eq!(self.calls(), 0, "what is refused calls nothing back");
        }
    }
}

pub(crate) fn wait_until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "a callback does not come");
        thread::yield_now();
    }
}

pub(crate) unsafe fn note(context: *mut c_void, result: u32, bytes: u32) {
    // SAFETY: the cases keep a `Seen` until its callback has run.
    let seen = unsafe { &*context.cast::<Seen>() };
    seen.result.store(result, Ordering::Relaxed);
    seen.bytes.store(bytes, Ordering::Relaxed);
    seen.calls.fetch_add(1, Ordering::Release);
}

pub(crate) unsafe extern "C" fn opened(context: *mut c_void, result: ASYNC_SOCKET_OPEN_RESULT) {
    // SAFETY: passed on.
    unsafe { note(context, result as u32, 0) };
}

pub(crate) unsafe extern "C" fn sent(context: *mut c_void, result: ASYNC_SOCKET_SEND_RESULT) {
    // SAFETY: passed on.
    unsafe { note(context, result as u32, 0) };
}

pub(crate) unsafe extern "C" fn received(context: *mut c_void, result: ASYNC_SOCKET_RECEIVE_RESULT, bytes: u32) {
    // SAFETY: passed on.
    unsafe { note(context, result as u32, bytes) };
}

pub(crate) unsafe extern "C" fn event(context: *mut c_void, action: COMPLETION_PORT_EPOLL_ACTION) {
    // SAFETY: passed on.
    unsafe { note(context, action as u32, 0) };
}

pub(crate) fn send(
    socket: ASYNC_SOCKET_HANDLE,
    list: &[ASYNC_SOCKET_BUFFER],
    seen: &Seen,
) -> ASYNC_SOCKET_SEND_SYNC_RESULT {
    let count = u32::try_from(list.len()).unwrap();
    // SAFETY: the cases keep handle, bytes and context until the callback.
    unsafe { async_socket_send_async(socket, list.as_ptr(), count, Some(sent), seen.context()) }
}

pub(crate) fn receive(socket: ASYNC_SOCKET_HANDLE, list: &mut [ASYNC_SOCKET_BUFFER], seen: &Seen) -> bool {
    let count = u32::try_from(list.len()).unwrap();
    // SAFETY: as for `send`.
    unsafe { async_socket_receive_async(socket, list.as_mut_ptr(), count, Some(received), seen.context()) == 0 }
}

pub(crate) fn wait_for_input(port: COMPLETION_PORT_HANDLE, descriptor: RawFd, seen: &Seen) -> bool {
    // SAFETY: the cases keep the reference, the descriptor, and the context until the callback.
    unsafe { completion_port_add(port, 1, descriptor, Some(event), seen.context()) == 0 }
}

pub(crate) fn give_up(port: COMPLETION_PORT_HANDLE) {
    // SAFETY: the cases do not use this reference again.
    unsafe { completion_port_dec_ref(port) };
}

pub(crate) fn destroy(socket: ASYNC_SOCKET_HANDLE) {
    // SAFETY: the cases do not use the handle again.
    unsafe { async_socket_destroy(socket) };
}

/// Both directions of a socket work.
pub(crate) fn works(socket: ASYNC_SOCKET_HANDLE, peer: &mut TcpStream) {
    let (mut bytes, got, gone) = ([0; 4], Seen::default(), Seen::default());
    assert!(receive(socket, &mut [buffer(&mut bytes)], &got));
    peer.write_all(b"ping").unwrap();
    assert_eq!((got.wait(), &bytes), (ASYNC_SOCKET_RECEIVE_OK as u32, b"ping"));
    assert_eq!(send(socket, &[buffer(&mut bytes)], &gone), ASYNC_SOCKET_SEND_SYNC_OK);
    assert_eq!(gone.wait(), ASYNC_SOCKET_SEND_OK as u32);
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"ping");
}

pub(crate) fn the_platform_works() {
    let mut socket = Open::new();
    works(socket.handle, &mut socket.peer);
}
