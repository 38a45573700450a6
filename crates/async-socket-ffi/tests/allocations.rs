//! A message allocates nothing: a callback is a function pointer and a context, and is never boxed. The test has a binary of its
//! own, because of its allocator.
#![allow(unsafe_code, reason = "a global allocator that counts, and calls of the C ABI")]

mod common;

use async_socket::*;
use common::{LIMIT, Open, Platform, buffer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::io::Read;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// The system's allocator, which counts.
struct Counts;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every method hands over to the system's allocator.
unsafe impl GlobalAlloc for Counts {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises about the layout are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: what `alloc` returned came from the system's allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counts = Counts;

static DONE: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn sent(_: *mut c_void, _: ASYNC_SOCKET_SEND_RESULT) {
    DONE.fetch_add(1, Ordering::Release);
}

unsafe extern "C" fn received(_: *mut c_void, _: ASYNC_SOCKET_RECEIVE_RESULT, _: u32) {
    DONE.fetch_add(1, Ordering::Release);
}

fn wait_for(done: usize) {
    let start = Instant::now();
    while DONE.load(Ordering::Acquire) < done {
        assert!(start.elapsed() < LIMIT, "the callback does not come");
        thread::yield_now();
    }
}

fn exchange(socket: &mut Open, message: usize) {
    let mut bytes = [0; 64];
    let mut list = [buffer(&mut bytes)];
    let list = list.as_mut_ptr();
    // SAFETY: a valid handle; the buffer is waited for below.
    let accepted = unsafe { async_socket_receive_async(socket.handle, list, 1, Some(received), null_mut()) };
    assert_eq!(accepted, 0);
    socket.write_from_peer(b"ping");
    wait_for(2 * message + 1);
    // SAFETY: a valid handle; the buffer is waited for below.
    let accepted = unsafe { async_socket_send_async(socket.handle, list, 1, Some(sent), null_mut()) };
    assert_eq!(accepted, ASYNC_SOCKET_SEND_SYNC_RESULT::ASYNC_SOCKET_SEND_SYNC_OK);
    wait_for(2 * message + 2);
    socket.peer.read_exact(&mut [0; 64]).expect("the peer reads");
}

#[test]
fn messages_do_not_allocate() {
    let _platform = Platform::start();
    let mut socket = Open::new();
    // The first messages make room in the queues.
    for message in 0..10 {
        exchange(&mut socket, message);
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for message in 10..1010 {
        exchange(&mut socket, message);
    }
    // A few are allowed, because a queue may rarely need more room than it had.
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(allocations <= 10, "{allocations} allocations for 1000 messages each way");
}
