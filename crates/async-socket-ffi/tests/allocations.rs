//! A message allocates nothing: a callback is a function pointer and a context, and is never boxed. And a pool that was
//! destroyed gives its memory back. The tests have a binary of their own, because of its allocator.
#![allow(unsafe_code, reason = "a global allocator that counts, and calls of the C ABI")]

mod common;

use async_socket::*;
use common::{LIMIT, Open, Platform, buffer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::io::Read;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// The system's allocator, which counts.
struct Counts;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

/// How many bytes are allocated.
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// One test at a time has the counters.
static COUNTERS: Mutex<()> = Mutex::new(());

fn the_counters() -> MutexGuard<'static, ()> {
    COUNTERS.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY: every method hands over to the system's allocator.
unsafe impl GlobalAlloc for Counts {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises about the layout are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
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
    let _counters = the_counters();
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

/// The buffer that a receive has got.
struct Got(ASYNC_SOCKET_POOLED_BUFFER);

// SAFETY: a buffer of a pool may be used and released on any thread.
unsafe impl Send for Got {}

static GOT: Mutex<Option<Got>> = Mutex::new(None);

unsafe extern "C" fn got(_: *mut c_void, _: ASYNC_SOCKET_END_REASON, _: i32, buffer: ASYNC_SOCKET_POOLED_BUFFER) {
    *GOT.lock().expect("nothing panics with it") = Some(Got(buffer));
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "not in time: {what}");
        thread::yield_now();
    }
}

// Tests_SRS_C_LIBRARY_01_073
#[test]
fn a_pool_that_was_destroyed_lives_as_long_as_its_buffer_is_in_use_and_no_longer() {
    const SIZE: usize = 1 << 20;
    let _counters = the_counters();
    let _platform = Platform::start();
    let mut socket = Open::new();
    let half = BYTES.load(Ordering::Relaxed) + SIZE / 2;
    let pool = async_socket_buffer_pool_create(SIZE, 1);
    let (handle, no_limit) = (socket.handle, ASYNC_SOCKET_NO_TIME_LIMIT);
    // SAFETY: valid handles; the callback needs no context.
    let begun = unsafe { async_socket_receive_pooled_async(handle, pool, no_limit, Some(got), null_mut(), null_mut()) };
    assert_eq!(begun, 0);
    // SAFETY: the handle is not used again.
    unsafe { async_socket_buffer_pool_destroy(pool) };
    socket.write_from_peer(b"bytes");
    eventually("the bytes arrive", || GOT.lock().expect("nothing panics with it").is_some());
    let mut buffer = GOT.lock().expect("nothing panics with it").take().expect("a buffer").0;
    assert_eq!(buffer.length, 5);
    assert!(BYTES.load(Ordering::Relaxed) > half);

    // SAFETY: this copy is the only one that is released.
    unsafe { async_socket_pooled_buffer_release(&raw mut buffer) };

    eventually("the memory is given back", || BYTES.load(Ordering::Relaxed) < half);
}
