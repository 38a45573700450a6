//! The C library's log, names and version, on real sockets. It is a binary of its own, because the log is the process's.
#![allow(unsafe_code, reason = "calls the C ABI")]

#[path = "../crates/async-socket-ffi/tests/common/mod.rs"]
mod common;

use ASYNC_SOCKET_LOG_LEVEL::{ASYNC_SOCKET_LOG_DEBUG, ASYNC_SOCKET_LOG_ERROR, ASYNC_SOCKET_LOG_TRACE};
use async_socket::enum_names::{MU_ASYNC_SOCKET_SEND_SYNC_RESULT_ToString, MU_COMPLETION_PORT_EPOLL_ACTION_ToString};
use async_socket::*;
use common::{Call, Calls, Open, Platform, buffer, on_event};
use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// One test at a time has the log.
static LOG: Mutex<()> = Mutex::new(());

fn the_log() -> MutexGuard<'static, ()> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(name: *const c_char) -> &'static str {
    // SAFETY: the library's strings are valid for ever.
    unsafe { CStr::from_ptr(name) }.to_str().expect("they are ASCII")
}

/// The lines that the log function has got.
struct Lines(Mutex<Vec<(ASYNC_SOCKET_LOG_LEVEL, String)>>);

unsafe extern "C" fn on_log(context: *mut c_void, level: ASYNC_SOCKET_LOG_LEVEL, line: *const c_char) {
    // SAFETY: the context lives for as long as the log function is set.
    let lines = unsafe { &*context.cast::<Lines>() };
    // SAFETY: a line ends with a NUL.
    let line = unsafe { CStr::from_ptr(line) }.to_string_lossy().into_owned();
    lines.0.lock().expect("nothing panics with it").push((level, line));
    // If the library logged this call, that line would call this function again, and so on.
    // SAFETY: NULL is allowed.
    unsafe { async_socket_close(null_mut()) };
    // SAFETY: NULL is allowed.
    assert_ne!(unsafe { async_socket_set_log(None, null_mut(), MaybeUninit::zeroed()) }, 0);
}

/// Removes the log function, even if the test fails.
struct Removed;

impl Drop for Removed {
    fn drop(&mut self) {
        // SAFETY: NULL is allowed.
        let removed = unsafe { async_socket_set_log(None, null_mut(), MaybeUninit::zeroed()) };
        assert!(removed == 0 || thread::panicking(), "the log function is removed");
    }
}

fn logged(level: ASYNC_SOCKET_LOG_LEVEL, act: impl FnOnce()) -> Vec<(ASYNC_SOCKET_LOG_LEVEL, String)> {
    let lines = Box::new(Lines(Mutex::default()));
    let context = (&raw const *lines).cast_mut().cast();
    // SAFETY: the context outlives the function's being set.
    assert_eq!(unsafe { async_socket_set_log(Some(on_log), context, MaybeUninit::new(level)) }, 0);
    let removed = Removed;
    act();
    drop(removed);
    lines.0.into_inner().expect("nothing panics with it")
}

/// Logs every kind of line about a socket.
fn use_a_socket() {
    let _platform = Platform::start();
    let (socket, calls) = (Open::new(), Calls::new());
    let mut bytes = [0; 8];
    assert_eq!(socket.receive(&mut [buffer(&mut bytes)], &calls), 0);
    assert_ne!(socket.receive(&mut [], &calls), 0);
    socket.close();
    assert!(matches!(calls.next(), Call::Received(..)));
    assert_ne!(socket.receive(&mut [buffer(&mut bytes)], &calls), 0);
}

// Tests_SRS_C_LIBRARY_01_006, Tests_SRS_C_LIBRARY_01_010, Tests_SRS_C_LIBRARY_01_012
#[test]
fn a_log_function_gets_every_line_once_and_those_about_a_socket_name_it() {
    let _log = the_log();
    let lines = logged(ASYNC_SOCKET_LOG_TRACE, use_a_socket);
    let created = lines.iter().find_map(|(_, line)| line.strip_prefix("socket created descriptor="));
    let descriptor = format!(" descriptor={}", created.expect("a socket was created"));
    for about in
        ["socket created", "socket opened", "receive ended", "receive refused", "socket closed", "socket destroyed"]
    {
        let found: Vec<&String> = lines.iter().map(|(_, line)| line).filter(|line| line.starts_with(about)).collect();
        let [line] = found[..] else { panic!("{about}: {lines:#?}") };
        assert!(line.contains(&descriptor), "{line}");
    }
    let refused = lines.iter().find(|(_, line)| line.starts_with("bad argument: buffers"));
    let (level, line) = refused.expect("a list of no buffers is refused");
    assert_eq!(*level, ASYNC_SOCKET_LOG_ERROR);
    assert!(line.contains(&descriptor), "{line}");
    let inside = lines.iter().filter(|(_, line)| line.contains("async_socket_close"));
    assert_eq!(inside.count(), 0, "what is logged inside the function is not handed to it");
}

// Tests_SRS_C_LIBRARY_01_006
#[test]
fn a_log_function_gets_no_lines_below_its_level() {
    let _log = the_log();
    let lines = logged(ASYNC_SOCKET_LOG_ERROR, use_a_socket);
    assert!(!lines.is_empty());
    assert!(lines.iter().all(|(level, _)| *level == ASYNC_SOCKET_LOG_ERROR), "{lines:?}");
}

// Tests_SRS_C_LIBRARY_01_008
#[test]
fn a_level_that_is_none_is_refused_and_the_earlier_function_stays() {
    let _log = the_log();
    let lines = logged(ASYNC_SOCKET_LOG_DEBUG, || {
        // SAFETY: any value of an int is allowed.
        let none: MaybeUninit<ASYNC_SOCKET_LOG_LEVEL> = unsafe { std::mem::transmute(6_i32) };
        // SAFETY: refused.
        assert_ne!(unsafe { async_socket_set_log(Some(on_log), null_mut(), none) }, 0);
        // SAFETY: NULL is allowed.
        unsafe { async_socket_close(null_mut()) };
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
}

struct Slow {
    entered: Sender<()>,
    leave: Mutex<Receiver<()>>,
    left: Mutex<bool>,
}

unsafe extern "C" fn on_log_slowly(context: *mut c_void, _: ASYNC_SOCKET_LOG_LEVEL, _: *const c_char) {
    // SAFETY: the context outlives the test.
    let slow = unsafe { &*context.cast::<Slow>() };
    let _ = slow.entered.send(());
    let _ = slow.leave.lock().expect("one line").recv_timeout(common::LIMIT);
    *slow.left.lock().expect("one line") = true;
}

// Tests_SRS_C_LIBRARY_01_007
#[test]
fn removing_the_log_function_waits_until_another_thread_has_left_it() {
    let _log = the_log();
    let (entered, is_inside) = channel();
    let (let_go, leave) = channel();
    let slow = Slow { entered, leave: Mutex::new(leave), left: Mutex::new(false) };
    let context = (&raw const slow).cast_mut().cast();
    let level = MaybeUninit::new(ASYNC_SOCKET_LOG_ERROR);
    // SAFETY: the context outlives the function's being set.
    assert_eq!(unsafe { async_socket_set_log(Some(on_log_slowly), context, level) }, 0);
    thread::scope(|threads| {
        // SAFETY: NULL is allowed.
        threads.spawn(|| unsafe { async_socket_close(null_mut()) });
        is_inside.recv_timeout(common::LIMIT).expect("the thread logs a line");
        let removes = threads.spawn(|| {
            // SAFETY: NULL is allowed.
            let removed = unsafe { async_socket_set_log(None, null_mut(), MaybeUninit::zeroed()) };
            (removed, *slow.left.lock().expect("one line"))
        });
        thread::sleep(std::time::Duration::from_millis(50));
        assert!(!removes.is_finished(), "another thread is in the function");
        let_go.send(()).expect("the thread waits");
        assert_eq!(removes.join().expect("nothing panics"), (0, true));
    });
}

// Tests_SRS_C_LIBRARY_01_003
#[test]
fn what_callbacks_get_has_a_name() {
    let port = completion_port_create();
    let (own, mut peer) = std::os::unix::net::UnixStream::pair().expect("a pair");
    std::io::Write::write_all(&mut peer, b"x").expect("the peer writes");
    let calls = Calls::new();
    // SAFETY: a reference that we have, an open descriptor, a context that outlives the port.
    let added = unsafe { completion_port_add(port, 1, own.as_raw_fd(), Some(on_event), calls.context()) };
    assert_eq!(added, 0);
    let Call::Event(action) = calls.next() else { panic!("only events come") };
    assert_eq!(text(MU_COMPLETION_PORT_EPOLL_ACTION_ToString(action as u32)), "COMPLETION_PORT_EPOLL_EPOLLIN");
    // SAFETY: our reference, not used again.
    unsafe { completion_port_dec_ref(port) };

    let (mut bytes, calls) = ([0; 1], Calls::new());
    let _platform = Platform::start();
    let sent = Open::new().send(&[buffer(&mut bytes)], &calls);
    assert_eq!(text(MU_ASYNC_SOCKET_SEND_SYNC_RESULT_ToString(sent as u32)), "ASYNC_SOCKET_SEND_SYNC_OK");
    assert_eq!(text(MU_ASYNC_SOCKET_SEND_SYNC_RESULT_ToString(4)), "UNKNOWN");
    assert_eq!(text(MU_COMPLETION_PORT_EPOLL_ACTION_ToString(u32::MAX)), "UNKNOWN");
}

// Tests_SRS_C_LIBRARY_01_004, Tests_SRS_C_LIBRARY_01_005
#[test]
fn the_library_that_answers_is_this_one() {
    assert_eq!(text(async_socket_version()), env!("CARGO_PKG_VERSION"));
    assert_ne!(async_socket_is_answering(), 0);
}
