//! One operation. It is the context of its callback, which counts its calls.

use crate::pool::Pool;
use crate::seeing::check_addresses;
use async_socket::*;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// No callback takes longer than this, unless it never comes.
const LIMIT: Duration = Duration::from_secs(10);

/// The call that a callback makes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Inside {
    Close(ASYNC_SOCKET_HANDLE),
    Destroy(ASYNC_SOCKET_HANDLE),
}

#[derive(Debug)]
pub(crate) struct Operation {
    calls: AtomicU32,
    result: AtomicU32,
    bytes: AtomicU32,
    pub(crate) buffers: Vec<Vec<u8>>,
    pub(crate) inside: Option<Inside>,
    pub(crate) pooled: Option<Pooled>,
}

/// The part of a receive that takes a buffer of a pool.
#[derive(Debug)]
pub(crate) struct Pooled {
    pool: Pool,
    /// Its buffer is given back inside the callback.
    at_once: bool,
    /// The buffer that the program holds.
    buffer: Mutex<Option<ASYNC_SOCKET_POOLED_BUFFER>>,
    /// What was in it.
    bytes: OnceLock<Vec<u8>>,
}

impl Pooled {
    /// Gives the buffer back. Until then the library does not touch it.
    pub(crate) fn release(&self) {
        let Some(mut buffer) = self.buffer.lock().expect("no panic").take() else { return };
        // SAFETY: it was not released.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.bytes.cast::<u8>(), buffer.length as usize) };
        assert!(self.bytes.get().is_some_and(|were| *were == bytes), "a buffer changed while the program held it");
        bytes.fill(0xEE);
        // Before the release, because another receive may take the buffer then.
        self.pool.held.fetch_sub(1, Ordering::SeqCst);
        self.pool.kept.fetch_sub(usize::from(!self.at_once), Ordering::SeqCst);
        for _ in 0..2 {
            // SAFETY: there are no copies of it. The second call finds it empty.
            unsafe { async_socket_pooled_buffer_release(&raw mut buffer) };
            assert!(buffer.bytes.is_null());
        }
    }
}

impl Operation {
    /// A receive from this pool.
    pub(crate) fn pooled(pool: &Pool, at_once: bool) -> Box<Self> {
        let pooled = Pooled { pool: pool.clone(), at_once, buffer: Mutex::default(), bytes: OnceLock::new() };
        Box::new(Self { pooled: Some(pooled), ..*Self::new(&[]) })
    }

    /// With buffers of these sizes.
    pub(crate) fn new(sizes: &[u8]) -> Box<Self> {
        let buffers = sizes.iter().map(|size| vec![0; usize::from(*size)]).collect();
        Box::new(Self { calls: 0.into(), result: 0.into(), bytes: 0.into(), buffers, inside: None, pooled: None })
    }

    pub(crate) fn context(&self) -> *mut c_void {
        (&raw const *self).cast_mut().cast()
    }

    /// The list that the C ABI takes.
    pub(crate) fn list(&mut self) -> Vec<ASYNC_SOCKET_BUFFER> {
        let buffer = |bytes: &mut Vec<u8>| ASYNC_SOCKET_BUFFER_TAG {
            buffer: bytes.as_mut_ptr().cast(),
            length: u32::try_from(bytes.len()).expect("small"),
        };
        self.buffers.iter_mut().map(buffer).collect()
    }

    pub(crate) fn size(&self) -> usize {
        let in_pool = self.pooled.as_ref().map_or(0, |pooled| pooled.pool.buffer_bytes);
        in_pool + self.buffers.iter().map(Vec::len).sum::<usize>()
    }

    /// The first bytes that were received.
    pub(crate) fn received(&self, count: usize) -> Vec<u8> {
        let in_pool = self.pooled.as_ref().and_then(|pooled| pooled.bytes.get());
        self.buffers.iter().chain(in_pool).flatten().copied().take(count).collect()
    }

    /// Asserts that the operation was called back exactly once. Returns the result and the bytes.
    pub(crate) fn once(&self) -> (u32, usize) {
        assert_eq!(self.calls.load(Ordering::Acquire), 1, "called back exactly once");
        (self.result.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed) as usize)
    }

    /// Waits for the callback, which runs on a thread that no call waits for.
    pub(crate) fn soon(&self) {
        let started = Instant::now();
        while self.calls.load(Ordering::Acquire) == 0 {
            assert!(started.elapsed() < LIMIT, "the callback comes");
            thread::sleep(Duration::from_micros(50));
        }
    }

    /// How often it was called back.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Acquire)
    }

    pub(crate) fn never(&self) {
        assert_eq!(self.calls.load(Ordering::Acquire), 0, "what is refused is not called back");
    }

    fn call(&self, result: u32, legal: u32, bytes: u32) {
        assert!((1..=legal).contains(&result), "{result} is no result");
        self.result.store(result, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        match self.inside {
            // SAFETY: a socket's handle is valid until its destroy has returned.
            Some(Inside::Close(handle)) => unsafe { async_socket_close(handle) },
            // SAFETY: no other code has the handle.
            Some(Inside::Destroy(handle)) => unsafe { async_socket_destroy(handle) },
            None => {}
        }
        // This comes last, because the fuzz target may free the operation after it.
        self.calls.fetch_add(1, Ordering::Release);
    }
}

/// # Safety
/// `context` must be that of a live operation.
unsafe fn operation<'o>(context: *mut c_void) -> &'o Operation {
    // SAFETY: the caller's promise.
    unsafe { &*context.cast::<Operation>() }
}

pub(crate) unsafe extern "C" fn on_open(context: *mut c_void, result: ASYNC_SOCKET_OPEN_RESULT) {
    // SAFETY: operations are kept until they were called back.
    unsafe { operation(context) }.call(result as u32, 2, 0);
}

pub(crate) unsafe extern "C" fn on_send(context: *mut c_void, result: ASYNC_SOCKET_SEND_RESULT) {
    // SAFETY: operations are kept until they were called back.
    unsafe { operation(context) }.call(result as u32, 3, 0);
}

pub(crate) unsafe extern "C" fn on_receive(context: *mut c_void, result: ASYNC_SOCKET_RECEIVE_RESULT, bytes: u32) {
    // SAFETY: operations are kept until they were called back.
    unsafe { operation(context) }.call(result as u32, 3, bytes);
}

/// The end of an operation that has a reason. The first reason is success.
pub(crate) unsafe extern "C" fn on_end(
    context: *mut c_void,
    reason: ASYNC_SOCKET_END_REASON,
    os_error: c_int,
    bytes: u32,
) {
    // SAFETY: operations are kept until they were called back.
    let operation = unsafe { operation(context) };
    check_reason(reason, os_error);
    operation.call(reason as u32, ASYNC_SOCKET_END_REASON::ASYNC_SOCKET_END_OS_ERROR as u32, bytes);
}

fn check_reason(reason: ASYNC_SOCKET_END_REASON, os_error: c_int) {
    assert_eq!(os_error != 0, HAS_OS_ERROR.contains(&reason), "{reason:?} with {os_error}");
    // SAFETY: the text is valid for ever.
    let name = unsafe { CStr::from_ptr(async_socket_end_reason_to_string(MaybeUninit::new(reason))) };
    assert_eq!(name.to_str(), Ok(format!("{reason:?}").as_str()));
}

/// The end of a receive from a pool.
pub(crate) unsafe extern "C" fn on_pooled(
    context: *mut c_void,
    reason: ASYNC_SOCKET_END_REASON,
    os_error: c_int,
    buffer: ASYNC_SOCKET_POOLED_BUFFER,
) {
    // SAFETY: operations are kept until they were called back.
    let operation = unsafe { operation(context) };
    check_reason(reason, os_error);
    let completed = reason == ASYNC_SOCKET_END_REASON::ASYNC_SOCKET_END_COMPLETED;
    assert_eq!((!buffer.bytes.is_null(), buffer.length > 0), (completed, completed));
    let pooled = operation.pooled.as_ref().expect("a receive from a pool");
    if completed {
        let held = pooled.pool.held.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(held <= pooled.pool.limit, "{held} buffers of {}", pooled.pool.limit);
        // SAFETY: it is the program's.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.bytes.cast::<u8>(), buffer.length as usize) };
        pooled.bytes.set(bytes.to_vec()).expect("called back once");
        *pooled.buffer.lock().expect("no panic") = Some(buffer);
        pooled.pool.kept.fetch_add(usize::from(!pooled.at_once), Ordering::SeqCst);
    }
    if pooled.at_once {
        pooled.release();
    }
    operation.call(reason as u32, ASYNC_SOCKET_END_REASON::ASYNC_SOCKET_END_OS_ERROR as u32, buffer.length);
}

const HAS_OS_ERROR: [ASYNC_SOCKET_END_REASON; 2] = [
    ASYNC_SOCKET_END_REASON::ASYNC_SOCKET_END_PEER_RESET,
    ASYNC_SOCKET_END_REASON::ASYNC_SOCKET_END_OS_ERROR,
];

/// Posted work, a timer, a stop, or a close that does not wait.
pub(crate) unsafe extern "C" fn on_work(context: *mut c_void) {
    // SAFETY: operations are kept until they were called back.
    unsafe { operation(context) }.call(1, 1, 0);
}

/// The end of a connect. The socket, if there is one, is destroyed here.
pub(crate) unsafe extern "C" fn on_connect(
    context: *mut c_void,
    result: ASYNC_SOCKET_CONNECT_RESULT,
    socket: ASYNC_SOCKET_HANDLE,
    error: *const c_char,
) {
    assert_eq!((socket.is_null(), error.is_null()), (result as u32 != 1, result as u32 == 1));
    if !socket.is_null() {
        check_addresses(socket);
    }
    // SAFETY: it is this callback's, and NULL is ignored.
    unsafe { async_socket_destroy(socket) };
    // SAFETY: operations are kept until they were called back.
    unsafe { operation(context) }.call(result as u32, 7, 0);
}

/// A connection, which is closed here, or a failure to accept one.
pub(crate) unsafe extern "C" fn on_accept(
    context: *mut c_void,
    result: ASYNC_SOCKET_ACCEPT_RESULT,
    socket: SOCKET_HANDLE,
    peer: *const c_char,
    _os_error: c_int,
) {
    assert_eq!((socket >= 0, !peer.is_null()), (result as u32 == 1, result as u32 == 1));
    if socket >= 0 {
        // SAFETY: it is this callback's.
        drop(unsafe { OwnedFd::from_raw_fd(socket) });
    }
    // SAFETY: the listener's context is kept until the listener is gone.
    unsafe { operation(context) }.call(result as u32, 4, 0);
}

pub(crate) unsafe extern "C" fn on_event(context: *mut c_void, action: COMPLETION_PORT_EPOLL_ACTION) {
    // SAFETY: operations are kept until they were called back.
    unsafe { operation(context) }.call(action as u32, 5, 0);
}
