//! Shared by the tests of the ABI: the platform while a test runs, callbacks to wait for, and sockets.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(unreachable_pub, reason = "a module of every test file, not a crate")]
#![allow(unsafe_code, reason = "calls the C ABI")]

use async_socket::*;
use std::ffi::c_void;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{IntoRawFd, RawFd};
use std::ptr::null_mut;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// A test that waits longer than this hangs.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Starts the platform, and stops it when it is dropped.
pub struct Platform;

impl Platform {
    pub fn start() -> Self {
        assert_eq!(platform_init(), 0);
        Self
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        platform_deinit();
    }
}

/// What a callback got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Opened(ASYNC_SOCKET_OPEN_RESULT),
    Sent(ASYNC_SOCKET_SEND_RESULT),
    Received(ASYNC_SOCKET_RECEIVE_RESULT, u32),
    Event(COMPLETION_PORT_EPOLL_ACTION),
}

/// A context, and the results that its callbacks got. It must outlive the callbacks.
pub struct Calls {
    sender: Box<Sender<Call>>,
    receiver: Receiver<Call>,
}

impl Calls {
    pub fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender: Box::new(sender), receiver }
    }

    pub fn context(&self) -> *mut c_void {
        (&raw const *self.sender).cast_mut().cast()
    }

    pub fn next(&self) -> Call {
        self.receiver.recv_timeout(LIMIT).expect("a callback runs in time")
    }

    /// Whether no callback has run so far.
    pub fn none(&self) -> bool {
        self.receiver.try_recv().is_err()
    }
}

unsafe fn tell(context: *mut c_void, call: Call) {
    // SAFETY: the tests pass the context of a `Calls` that lives until the callback has sent its result.
    let sender = unsafe { &*context.cast::<Sender<Call>>() };
    // A clone, because the test may drop its `Calls` as soon as it has the result. The sender may then still be at
    // work.
    let sender = sender.clone();
    let _ = sender.send(call);
}

pub unsafe extern "C" fn on_open(context: *mut c_void, result: ASYNC_SOCKET_OPEN_RESULT) {
    // SAFETY: passed on.
    unsafe { tell(context, Call::Opened(result)) };
}

pub unsafe extern "C" fn on_send(context: *mut c_void, result: ASYNC_SOCKET_SEND_RESULT) {
    // SAFETY: passed on.
    unsafe { tell(context, Call::Sent(result)) };
}

pub unsafe extern "C" fn on_receive(context: *mut c_void, result: ASYNC_SOCKET_RECEIVE_RESULT, bytes: u32) {
    // SAFETY: passed on.
    unsafe { tell(context, Call::Received(result, bytes)) };
}

pub unsafe extern "C" fn on_event(context: *mut c_void, action: COMPLETION_PORT_EPOLL_ACTION) {
    // SAFETY: passed on.
    unsafe { tell(context, Call::Event(action)) };
}

/// A non-blocking descriptor without an owner, and its peer.
pub fn pair() -> (RawFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let peer = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    peer.set_read_timeout(Some(LIMIT)).expect("SO_RCVTIMEO");
    let (own, _) = listener.accept().expect("the peer has connected");
    own.set_nonblocking(true).expect("a socket can be made non-blocking");
    (own.into_raw_fd(), peer)
}

/// An open socket of the ABI, which is destroyed when this is dropped, and its peer.
pub struct Open {
    pub handle: ASYNC_SOCKET_HANDLE,
    pub peer: TcpStream,
}

impl Open {
    pub fn new() -> Self {
        let (descriptor, peer) = pair();
        let opened = Calls::new();
        // SAFETY: the descriptor is given away.
        let handle = unsafe { async_socket_create(null_mut(), descriptor) };
        assert!(!handle.is_null());
        // SAFETY: a valid handle; the context lives until the callback, which runs inside the call.
        assert_eq!(unsafe { async_socket_open_async(handle, Some(on_open), opened.context()) }, 0);
        assert_eq!(opened.next(), Call::Opened(ASYNC_SOCKET_OPEN_RESULT::ASYNC_SOCKET_OPEN_OK));
        Self { handle, peer }
    }

    pub fn send(&self, list: &[ASYNC_SOCKET_BUFFER], calls: &Calls) -> ASYNC_SOCKET_SEND_SYNC_RESULT {
        let count = u32::try_from(list.len()).expect("a short list");
        // SAFETY: the handle is valid, and the tests keep buffers and context until the callback.
        unsafe { async_socket_send_async(self.handle, list.as_ptr(), count, Some(on_send), calls.context()) }
    }

    pub fn receive(&self, list: &mut [ASYNC_SOCKET_BUFFER], calls: &Calls) -> i32 {
        let count = u32::try_from(list.len()).expect("a short list");
        // SAFETY: as for `send`.
        unsafe { async_socket_receive_async(self.handle, list.as_mut_ptr(), count, Some(on_receive), calls.context()) }
    }

    pub fn close(&self) {
        // SAFETY: a valid handle.
        unsafe { async_socket_close(self.handle) };
    }

    pub fn write_from_peer(&mut self, bytes: &[u8]) {
        self.peer.write_all(bytes).expect("the peer writes");
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: the handle is not used again.
        unsafe { async_socket_destroy(self.handle) };
    }
}

/// A buffer of these bytes.
pub fn buffer(bytes: &mut [u8]) -> ASYNC_SOCKET_BUFFER {
    ASYNC_SOCKET_BUFFER { buffer: bytes.as_mut_ptr().cast(), length: u32::try_from(bytes.len()).expect("short") }
}

/// A list of buffers that must be refused, for the reason `what`.
pub fn bad_list(what: &str, bytes: &mut [u8]) -> Vec<ASYNC_SOCKET_BUFFER> {
    let good = buffer(bytes);
    match what {
        "no buffers" => vec![],
        "one null buffer" => vec![ASYNC_SOCKET_BUFFER { buffer: null_mut(), ..good }],
        "one empty buffer" => vec![ASYNC_SOCKET_BUFFER { length: 0, ..good }],
        "null buffer" => vec![good, ASYNC_SOCKET_BUFFER { buffer: null_mut(), ..good }],
        "empty buffer" => vec![good, ASYNC_SOCKET_BUFFER { length: 0, ..good }],
        "too long" => vec![good, ASYNC_SOCKET_BUFFER { length: u32::MAX, ..good }],
        _ => panic!("no such list: {what}"),
    }
}
