//! What the C ABI has beyond the specification.

use crate::common::{Open, Platform, buffer, pair};
use crate::operation::{Seen, Which, destroy, failing, note, send, the_platform_works, wait_until, works};
use crate::sockets::{MUCH, read_away};
use ASYNC_SOCKET_ACCEPT_RESULT::ASYNC_SOCKET_ACCEPT_OK;
use ASYNC_SOCKET_CANCEL_RESULT::ASYNC_SOCKET_CANCEL_OK;
use ASYNC_SOCKET_CONNECT_RESULT::{ASYNC_SOCKET_CONNECT_ERROR, ASYNC_SOCKET_CONNECT_OK};
use ASYNC_SOCKET_END_REASON::*;
use ASYNC_SOCKET_SEND_SYNC_RESULT::ASYNC_SOCKET_SEND_SYNC_OK;
use async_socket::*;
use std::ffi::{c_char, c_void};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::null_mut;

unsafe extern "C" fn ended(context: *mut c_void, reason: ASYNC_SOCKET_END_REASON, _: i32, bytes: u32) {
    // SAFETY: passed on.
    unsafe { note(context, reason as u32, bytes) };
}

unsafe extern "C" fn done(context: *mut c_void) {
    // SAFETY: passed on.
    unsafe { note(context, 1, 0) };
}

fn receive_within(socket: &Open, byte: &mut [u8], within: u32, seen: &Seen, id: &mut u64) -> bool {
    let mut list = [buffer(byte)];
    let (handle, list, context) = (socket.handle, list.as_mut_ptr(), seen.context());
    // SAFETY: the cases keep handle, bytes and context until the callback.
    unsafe { async_socket_receive_async_within(handle, list, 1, within, Some(ended), context, id) == 0 }
}

pub(crate) fn a_receive_with_a_time_limit(which: Which) -> usize {
    let _platform = Platform::start();
    let (mut socket, seen, mut byte, mut id) = (Open::new(), Seen::default(), [0], 0);
    let (accepted, tried) = failing(which, || receive_within(&socket, &mut byte, 10, &seen, &mut id));
    assert_eq!(accepted, id != 0);
    seen.ends_with(accepted, ASYNC_SOCKET_END_TIMED_OUT as u32);
    works(socket.handle, &mut socket.peer);
    tried
}

pub(crate) fn a_send_with_a_time_limit_that_has_to_wait(which: Which) -> usize {
    let _platform = Platform::start();
    let (socket, seen, mut bytes) = (Open::new(), Seen::default(), vec![7; MUCH]);
    let list = [buffer(&mut bytes)];
    let (handle, list, context) = (socket.handle, list.as_ptr(), seen.context());
    // SAFETY: as above.
    let send = || unsafe { async_socket_send_async_within(handle, list, 1, 10, Some(ended), context, null_mut()) };
    let (result, tried) = failing(which, send);
    seen.ends_with(result == ASYNC_SOCKET_SEND_SYNC_OK, ASYNC_SOCKET_END_TIMED_OUT as u32);
    the_platform_works();
    tried
}

pub(crate) fn a_cancel_needs_nothing(which: Which) -> usize {
    let _platform = Platform::start();
    let (mut socket, seen, mut byte, mut id) = (Open::new(), Seen::default(), [0], 0);
    assert!(receive_within(&socket, &mut byte, u32::MAX, &seen, &mut id));
    // SAFETY: a valid handle.
    let (cancelled, tried) = failing(which, || unsafe { async_socket_cancel(socket.handle, id) });
    assert_eq!((cancelled, seen.result()), (ASYNC_SOCKET_CANCEL_OK, ASYNC_SOCKET_END_CANCELLED as u32));
    works(socket.handle, &mut socket.peer);
    tried
}

pub(crate) fn a_shutdown_behind_a_send(which: Which) -> usize {
    let _platform = Platform::start();
    let (mut socket, sent, seen, mut bytes) = (Open::new(), Seen::default(), Seen::default(), vec![7; MUCH]);
    assert_eq!(send(socket.handle, &[buffer(&mut bytes)], &sent), ASYNC_SOCKET_SEND_SYNC_OK);
    // SAFETY: as above.
    let shut = || unsafe { async_socket_shutdown_async(socket.handle, Some(ended), seen.context(), null_mut()) };
    let (result, tried) = failing(which, shut);
    read_away(&socket.peer, MUCH);
    seen.ends_with(result == ASYNC_SOCKET_SEND_SYNC_OK, ASYNC_SOCKET_END_COMPLETED as u32);
    if result == ASYNC_SOCKET_SEND_SYNC_OK {
        assert_eq!(socket.peer.read(&mut [0]).unwrap(), 0);
    } else {
        works(socket.handle, &mut socket.peer);
    }
    tried
}

pub(crate) fn a_close_that_does_not_wait(which: Which) -> usize {
    let _platform = Platform::start();
    let (mut socket, seen, pending, mut byte) = (Open::new(), Seen::default(), Seen::default(), [0]);
    assert!(receive_within(&socket, &mut byte, u32::MAX, &pending, &mut 0));
    // SAFETY: as above.
    let close = || unsafe { async_socket_close_async(socket.handle, Some(done), seen.context()) == 0 };
    let (accepted, tried) = failing(which, close);
    seen.ends_with(accepted, 1);
    if accepted {
        assert_eq!(pending.result(), ASYNC_SOCKET_END_CLOSED as u32);
    } else {
        assert_eq!(pending.calls(), 0);
        socket.write_from_peer(b"x");
        assert_eq!(pending.wait(), ASYNC_SOCKET_END_COMPLETED as u32);
        works(socket.handle, &mut socket.peer);
    }
    tried
}

pub(crate) fn settings_of_a_socket(which: Which) -> usize {
    let _platform = Platform::start();
    let mut socket = Open::new();
    let set = || {
        // SAFETY: a valid handle.
        let _ = unsafe { async_socket_set_idle_timeout(socket.handle, 60_000) };
        // SAFETY: a valid handle.
        let _ = unsafe { async_socket_set_high_water_mark(socket.handle, 1 << 20) };
        // SAFETY: a valid handle.
        assert_eq!(unsafe { async_socket_queued_bytes(socket.handle) }, 0);
        // SAFETY: a valid handle.
        assert!(unsafe { async_socket_get_descriptor(socket.handle) } >= 0);
    };
    let ((), tried) = failing(which, set);
    works(socket.handle, &mut socket.peer);
    tried
}

pub(crate) fn a_socket_is_created_and_opened_or_the_descriptor_stays_the_callers(which: Which) -> usize {
    let _platform = Platform::start();
    let (descriptor, mut peer) = pair();
    // SAFETY: the descriptor is given away, or stays ours.
    let create = || unsafe { async_socket_create_and_open(null_mut(), descriptor) };
    let (mut socket, tried) = failing(which, create);
    if socket.is_null() {
        socket = create();
    }
    works(socket, &mut peer);
    destroy(socket);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "destroy closes the descriptor");
    tried
}

pub(crate) fn posted_work(which: Which) -> usize {
    let _platform = Platform::start();
    let seen = Seen::default();
    // SAFETY: NULL is allowed; the context outlives the work.
    let (accepted, tried) = failing(which, || unsafe { platform_post(null_mut(), Some(done), seen.context()) == 0 });
    seen.ends_with(accepted, 1);
    the_platform_works();
    tried
}

pub(crate) fn a_timer_fires_or_is_refused(which: Which) -> usize {
    let _platform = Platform::start();
    let seen = Seen::default();
    let start = || {
        // SAFETY: NULL is allowed; the context outlives the callback.
        let timer = unsafe { platform_timer_start(null_mut(), 60_000, Some(done), seen.context()) };
        // SAFETY: NULL or a valid handle.
        assert_eq!(unsafe { platform_timer_reset(timer, 5) } == 0, !timer.is_null());
        timer
    };
    let (timer, tried) = failing(which, start);
    seen.ends_with(!timer.is_null(), 1);
    // SAFETY: the handle is not used again.
    assert_ne!(unsafe { platform_timer_cancel(timer) }, 0);
    the_platform_works();
    tried
}

unsafe extern "C" fn accepted(
    context: *mut c_void,
    result: ASYNC_SOCKET_ACCEPT_RESULT,
    socket: SOCKET_HANDLE,
    _: *const c_char,
    _: i32,
) {
    // SAFETY: it is ours, if there is one.
    drop((socket >= 0).then(|| unsafe { OwnedFd::from_raw_fd(socket) }));
    // SAFETY: passed on.
    unsafe { note(context, result as u32, 0) };
}

pub(crate) fn a_listener_listens_or_is_refused(which: Which) -> usize {
    let _platform = Platform::start();
    let seen = Seen::default();
    // SAFETY: NUL-terminated; the context outlives the listener.
    let start = || unsafe { async_socket_listener_start(c"127.0.0.1".as_ptr(), 0, Some(accepted), seen.context()) };
    let (listener, tried) = failing(which, start);
    if !listener.is_null() {
        // SAFETY: a valid handle.
        let port = unsafe { async_socket_listener_get_port(listener) };
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(seen.wait(), ASYNC_SOCKET_ACCEPT_OK as u32);
    }
    // SAFETY: the handle is not used again.
    unsafe { async_socket_listener_destroy(listener) };
    the_platform_works();
    tried
}

unsafe extern "C" fn connected(
    context: *mut c_void,
    result: ASYNC_SOCKET_CONNECT_RESULT,
    socket: ASYNC_SOCKET_HANDLE,
    _: *const c_char,
) {
    destroy(socket);
    // SAFETY: passed on.
    unsafe { note(context, result as u32, 0) };
}

pub(crate) fn a_connect_ends_or_is_refused(which: Which) -> usize {
    let _platform = Platform::start();
    let (server, seen) = (TcpListener::bind("127.0.0.1:0").unwrap(), Seen::default());
    let port = server.local_addr().unwrap().port();
    let (context, host) = (seen.context(), c"127.0.0.1".as_ptr());
    // SAFETY: NUL-terminated; the context outlives the callback.
    let connect =
        || unsafe { async_socket_connect_async(host, port, 20_000, Some(connected), context, null_mut()) == 0 };
    let (begun, tried) = failing(which, connect);
    if begun {
        wait_until(|| seen.calls() > 0);
        let results = [ASYNC_SOCKET_CONNECT_OK, ASYNC_SOCKET_CONNECT_ERROR].map(|result| result as u32);
        assert!(results.contains(&seen.result()), "{}", seen.result());
    } else {
        assert_eq!(seen.calls(), 0);
    }
    the_platform_works();
    tried
}
