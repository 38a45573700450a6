//! A socket's beginning and end.

use crate::common::{LIMIT, Open, Platform, buffer, pair};
use crate::operations::receive;
use crate::{Ended, Inbox, done, ended};
use ASYNC_SOCKET_END_REASON::{ASYNC_SOCKET_END_CLOSED, ASYNC_SOCKET_END_COMPLETED};
use async_socket::*;
use integration_tests::process::{is_child, is_open, run_child};
use std::ffi::c_void;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::ptr::null_mut;
use std::sync::Barrier;
use std::thread::{self, ThreadId};

// Tests_SRS_C_LIBRARY_01_050, Tests_SRS_C_LIBRARY_01_051
#[test]
fn a_socket_is_open_at_once_and_shows_its_descriptor_until_it_is_closed() {
    let _platform = Platform::start();
    let (descriptor, mut peer) = pair();
    // SAFETY: the descriptor is given away.
    let handle = unsafe { async_socket_create_and_open(null_mut(), descriptor) };
    assert!(!handle.is_null());
    // SAFETY: a valid handle.
    let shown = || unsafe { async_socket_get_descriptor(handle) };
    assert_eq!(shown(), descriptor);
    let (inbox, mut bytes) = (Inbox::<Ended>::new(), [0; 4]);
    let mut list = [buffer(&mut bytes)];
    peer.write_all(b"four").unwrap();
    let (list, context, no_name) = (list.as_mut_ptr(), inbox.context(), null_mut());
    // SAFETY: a valid handle; the bytes and the context outlive the callback.
    let received =
        unsafe { async_socket_receive_async_within(handle, list, 1, u32::MAX, Some(ended), context, no_name) };
    assert_eq!((received, inbox.next().reason), (0, ASYNC_SOCKET_END_COMPLETED));
    // SAFETY: a valid handle.
    unsafe { async_socket_close(handle) };
    assert_eq!(shown(), INVALID_SOCKET);
    // SAFETY: the handle is not used again.
    unsafe { async_socket_destroy(handle) };
}

// Tests_SRS_C_LIBRARY_01_051
#[test]
fn what_is_no_stream_is_refused_and_stays_the_callers() {
    let _platform = Platform::start();
    let file = File::open("/dev/null").unwrap();
    // SAFETY: the descriptor is given away, or stays ours.
    assert!(unsafe { async_socket_create_and_open(null_mut(), file.as_raw_fd()) }.is_null());
    assert!(file.metadata().is_ok());
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into_raw_fd();
    // SAFETY: as above.
    assert!(unsafe { async_socket_create_and_open(null_mut(), datagrams) }.is_null());
    assert!(is_open(datagrams));
}

/// What a callback needs that closes the other socket.
struct Closes<'a> {
    other: ASYNC_SOCKET_HANDLE,
    closed: &'a Inbox<ThreadId>,
    both: &'a Barrier,
}

unsafe extern "C" fn close_the_other(context: *mut c_void, _: ASYNC_SOCKET_END_REASON, _: i32, _: u32) {
    // SAFETY: the test keeps it until both sockets are closed.
    let closes = unsafe { &*context.cast::<Closes<'_>>() };
    closes.both.wait();
    // SAFETY: a valid handle, and a context that outlives the callback.
    assert_eq!(unsafe { async_socket_close_async(closes.other, Some(done), closes.closed.context()) }, 0);
    closes.both.wait();
}

// Tests_SRS_C_LIBRARY_01_046
#[test]
fn callbacks_on_two_threads_close_each_others_sockets_and_neither_waits() {
    // The platform is the process's, and has two threads here.
    if !is_child() {
        return run_child("callbacks_on_two_threads_close_each_others_sockets_and_neither_waits", |_| {});
    }
    platform_set_thread_count(2);
    let platform = Platform::start();
    let (mut one, mut two) = (Open::new(), Open::new());
    let (both, closed) = (Barrier::new(2), [Inbox::new(), Inbox::new()]);
    let contexts = [
        Closes { other: two.handle, closed: &closed[1], both: &both },
        Closes { other: one.handle, closed: &closed[0], both: &both },
    ];
    let mut bytes = [[0; 1]; 2];
    for ((socket, context), bytes) in [&one, &two].into_iter().zip(&contexts).zip(&mut bytes) {
        let mut list = [buffer(bytes)];
        let (list, context) = (list.as_mut_ptr(), (&raw const *context).cast_mut().cast());
        let callback = Some(close_the_other as unsafe extern "C" fn(_, _, _, _));
        // SAFETY: a valid handle; the bytes and the context outlive the callback.
        let received = unsafe {
            async_socket_receive_async_within(socket.handle, list, 1, u32::MAX, callback, context, null_mut())
        };
        assert_eq!(received, 0);
    }
    one.write_from_peer(b"x");
    two.write_from_peer(b"x");

    let threads = closed.each_ref().map(Inbox::next);

    assert_ne!(threads[0], threads[1], "each ends on the thread of its own callback");
    // SAFETY: a valid handle.
    let again = unsafe { async_socket_close_async(one.handle, Some(done), closed[0].context()) };
    assert!(again != 0 && closed[0].is_empty(), "it is closed already");
    // Waits for both callbacks.
    drop((one, two, platform));
}

struct Destroys {
    handle: ASYNC_SOCKET_HANDLE,
    closed: Inbox<ThreadId>,
}

unsafe extern "C" fn destroy_it(context: *mut c_void) {
    // SAFETY: the test keeps it until the callback has said that it is over.
    let destroys = unsafe { &*context.cast::<Destroys>() };
    // SAFETY: the handle is not used again.
    unsafe { async_socket_destroy(destroys.handle) };
    // SAFETY: such an inbox.
    unsafe { done(destroys.closed.context()) };
}

// Tests_SRS_C_LIBRARY_01_046
#[test]
fn the_callback_of_a_close_comes_last_and_may_destroy_the_socket() {
    let _platform = Platform::start();
    let mut socket = Open::new();
    let (inbox, mut bytes) = (Inbox::new(), [[0; 1]; 2]);
    for bytes in &mut bytes {
        receive(&socket, bytes, u32::MAX, &inbox);
    }
    let destroys = Box::new(Destroys { handle: socket.handle, closed: Inbox::new() });
    let context = (&raw const *destroys).cast_mut().cast();

    // SAFETY: a valid handle, and a context that outlives the callback.
    assert_eq!(unsafe { async_socket_close_async(socket.handle, Some(destroy_it), context) }, 0);

    assert_eq!([inbox.next().reason, inbox.next().reason], [ASYNC_SOCKET_END_CLOSED; 2]);
    assert_eq!(destroys.closed.next(), thread::current().id(), "nothing was in the way");
    socket.peer.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(socket.peer.read(&mut [0]).unwrap(), 0, "the descriptor is closed");
    std::mem::forget(socket);
}
