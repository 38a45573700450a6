//! What a port's thread does between two events.

use crate::common::{Open, Platform, buffer};
use crate::operation::{Seen, Which, destroy, give_up, note, receive, send, the_platform_works, wait_for_input, works};
use crate::sockets::{MUCH, read_away};
use ASYNC_SOCKET_RECEIVE_RESULT::{ASYNC_SOCKET_RECEIVE_ABANDONED, ASYNC_SOCKET_RECEIVE_OK};
use ASYNC_SOCKET_SEND_RESULT::ASYNC_SOCKET_SEND_OK;
use ASYNC_SOCKET_SEND_SYNC_RESULT::ASYNC_SOCKET_SEND_SYNC_OK;
use COMPLETION_PORT_EPOLL_ACTION::COMPLETION_PORT_EPOLL_EPOLLIN;
use async_socket::*;
use std::ffi::c_void;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use test_doubles::{allocations_tried, fail_allocations};

/// Makes some allocations of a port's thread fail, between two events of its descriptors.
pub(crate) struct Thread {
    port: COMPLETION_PORT_HANDLE,
    ours: UnixStream,
    peer: UnixStream,
}

pub(crate) static FIRST: AtomicUsize = AtomicUsize::new(0);
pub(crate) static LAST: AtomicUsize = AtomicUsize::new(0);
pub(crate) static TRIED: AtomicUsize = AtomicUsize::new(0);

pub(crate) unsafe extern "C" fn begin(context: *mut c_void, action: COMPLETION_PORT_EPOLL_ACTION) {
    fail_allocations(FIRST.load(Ordering::Relaxed)..=LAST.load(Ordering::Relaxed));
    // SAFETY: passed on.
    unsafe { note(context, action as u32, 0) };
}

pub(crate) unsafe extern "C" fn end(context: *mut c_void, action: COMPLETION_PORT_EPOLL_ACTION) {
    TRIED.store(allocations_tried(), Ordering::Relaxed);
    // SAFETY: passed on.
    unsafe { note(context, action as u32, 0) };
}

impl Thread {
    /// The thread of the platform's one port.
    fn new() -> Self {
        let (ours, peer) = UnixStream::pair().unwrap();
        Self { port: platform_get_completion_port(), ours, peer }
    }

    fn in_callback(&mut self, callback: unsafe extern "C" fn(*mut c_void, COMPLETION_PORT_EPOLL_ACTION)) {
        let seen = Seen::default();
        let descriptor = self.ours.as_raw_fd();
        // SAFETY: a reference and a descriptor that we have, and a context that outlives the wait.
        let added = unsafe { completion_port_add(self.port, 1, descriptor, Some(callback), seen.context()) };
        assert_eq!(added, 0);
        self.peer.write_all(b"x").unwrap();
        assert_eq!(seen.wait(), COMPLETION_PORT_EPOLL_EPOLLIN as u32);
        self.ours.read_exact(&mut [0]).unwrap();
    }

    fn failing(&mut self, which: Which, act: impl FnOnce()) -> usize {
        FIRST.store(*which.start(), Ordering::Relaxed);
        LAST.store(*which.end(), Ordering::Relaxed);
        self.in_callback(begin);
        act();
        self.in_callback(end);
        TRIED.load(Ordering::Relaxed)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        give_up(self.port);
    }
}

/// Receives, queued sends, raw waits and sockets that come and go, while the thread has no memory.
pub(crate) fn the_thread_serves_events(which: Which) -> usize {
    let _platform = Platform::start();
    let (mut socket, mut bytes) = (Open::new(), vec![7; MUCH]);
    let (raw, mut raw_peer) = UnixStream::pair().unwrap();
    let mut thread = Thread::new();
    let port = thread.port;
    thread.failing(which, || {
        let (first, second, waits) = (Seen::default(), Seen::default(), Seen::default());
        works(socket.handle, &mut socket.peer);
        assert_eq!(send(socket.handle, &[buffer(&mut bytes)], &first), ASYNC_SOCKET_SEND_SYNC_OK);
        assert_eq!(send(socket.handle, &[buffer(&mut bytes)], &second), ASYNC_SOCKET_SEND_SYNC_OK);
        read_away(&socket.peer, 2 * MUCH);
        assert_eq!([first.wait(), second.wait()], [ASYNC_SOCKET_SEND_OK as u32; 2]);
        for _ in 0..2 {
            the_platform_works();
        }
        assert!(wait_for_input(port, raw.as_raw_fd(), &waits));
        raw_peer.write_all(b"x").unwrap();
        assert_eq!(waits.wait(), COMPLETION_PORT_EPOLL_EPOLLIN as u32);
    })
}

pub(crate) struct Ends {
    socket: ASYNC_SOCKET_HANDLE,
    seen: Seen,
}

pub(crate) unsafe extern "C" fn destroys(context: *mut c_void, result: ASYNC_SOCKET_RECEIVE_RESULT, bytes: u32) {
    // SAFETY: the case keeps it until the callback has noted its result.
    let ends = unsafe { &*context.cast::<Ends>() };
    destroy(ends.socket);
    // SAFETY: as above.
    unsafe { note(ends.seen.context(), result as u32, bytes) };
}

pub(crate) fn the_thread_serves_a_callback_that_destroys(which: Which) -> usize {
    let _platform = Platform::start();
    let mut thread = Thread::new();
    let (mut byte, mut socket, abandoned) = ([0], Open::new(), Seen::default());
    let ends = Ends { socket: socket.handle, seen: Seen::default() };
    let context = (&raw const ends).cast_mut().cast();
    let list = &mut [buffer(&mut byte)];
    // SAFETY: a valid handle; the byte and the context outlive the callback.
    let accepted = unsafe { async_socket_receive_async(socket.handle, list.as_mut_ptr(), 1, Some(destroys), context) };
    assert_eq!(accepted, 0);
    assert!(receive(socket.handle, list, &abandoned));
    let tried = thread.failing(which, || {
        socket.write_from_peer(b"x");
        assert_eq!(ends.seen.wait(), ASYNC_SOCKET_RECEIVE_OK as u32);
        assert_eq!(abandoned.result(), ASYNC_SOCKET_RECEIVE_ABANDONED as u32);
    });
    assert_eq!(socket.peer.read(&mut [0]).unwrap(), 0, "destroy closes the descriptor");
    // The callback has destroyed it.
    std::mem::forget(socket);
    the_platform_works();
    tried
}
