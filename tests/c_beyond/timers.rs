//! Posted work and timers.

use crate::common::Platform;
use crate::{Inbox, done, put};
use async_socket::*;
use integration_tests::process::{is_child, run_child};
use std::ffi::{c_char, c_void};
use std::net::TcpStream;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::null_mut;
use std::thread;
use std::time::{Duration, Instant};

fn start(milliseconds: u32, inbox: &Inbox<thread::ThreadId>) -> PLATFORM_TIMER_HANDLE {
    // SAFETY: NULL is allowed; the tests keep the context until the callback, or the timer is cancelled.
    let timer = unsafe { platform_timer_start(null_mut(), milliseconds, Some(done), inbox.context()) };
    assert!(!timer.is_null());
    timer
}

fn cancel(timer: PLATFORM_TIMER_HANDLE) -> bool {
    // SAFETY: the handle is not used again.
    unsafe { platform_timer_cancel(timer) == 0 }
}

/// Which work ran.
struct Numbered<'a> {
    number: usize,
    ran: &'a Inbox<usize>,
}

unsafe extern "C" fn tell_number(context: *mut c_void) {
    // SAFETY: the test keeps it until the work has run.
    let work = unsafe { &*context.cast::<Numbered<'_>>() };
    // SAFETY: such an inbox.
    unsafe { put(work.ran.context(), work.number) };
}

// Tests_SRS_C_LIBRARY_01_055
#[test]
fn work_runs_in_order_on_the_named_port_even_if_its_last_reference_is_given_up() {
    // The platform is the process's.
    if !is_child() {
        return run_child("work_runs_in_order_on_the_named_port_even_if_its_last_reference_is_given_up", |_| {});
    }
    let ran = Inbox::new();
    let port = completion_port_create();
    let all: Vec<_> = (0..100).map(|number| Numbered { number, ran: &ran }).collect();
    for work in &all {
        // SAFETY: a reference that we have, and a context that outlives the work.
        assert_eq!(unsafe { platform_post(port, Some(tell_number), (&raw const *work).cast_mut().cast()) }, 0);
    }
    // SAFETY: our reference, not used again.
    unsafe { completion_port_dec_ref(port) };

    assert!((0..100).all(|number| ran.next() == number));
    let inbox = Inbox::<thread::ThreadId>::new();
    // SAFETY: NULL is allowed.
    assert_ne!(unsafe { platform_post(null_mut(), Some(done), inbox.context()) }, 0, "there is no platform");
    let platform = Platform::start();
    // SAFETY: NULL is allowed; the context outlives the work.
    assert_eq!(unsafe { platform_post(null_mut(), Some(done), inbox.context()) }, 0);
    // The work runs even if the platform stops.
    drop(platform);
    assert_ne!(inbox.next(), thread::current().id());
}

// Tests_SRS_C_LIBRARY_01_056, Tests_SRS_C_LIBRARY_01_058
#[test]
fn timers_fire_once_in_the_order_of_their_times_and_never_early() {
    let _platform = Platform::start();
    let inbox = Inbox::new();
    let begin = Instant::now();
    let timers = [60, 20, 40].map(|milliseconds| start(milliseconds, &inbox));
    for milliseconds in [20, 40, 60] {
        assert_ne!(inbox.next(), thread::current().id());
        assert!(begin.elapsed() >= Duration::from_millis(milliseconds));
    }
    assert_eq!(timers.map(cancel), [false; 3], "they have fired");
    assert!(inbox.is_empty());
}

// Tests_SRS_C_LIBRARY_01_057, Tests_SRS_C_LIBRARY_01_058
#[test]
fn a_timer_is_moved_and_cancelled_or_says_that_it_was_too_late() {
    let _platform = Platform::start();
    let (inbox, never) = (Inbox::new(), Inbox::new());
    let (moved, cancelled) = (start(60_000, &inbox), start(30, &never));
    assert!(cancel(cancelled), "it is in time");
    // SAFETY: a valid handle.
    let move_to = |milliseconds| unsafe { platform_timer_reset(moved, milliseconds) };
    let begin = Instant::now();
    assert_eq!(move_to(40), 0);
    assert_ne!(inbox.next(), thread::current().id());
    assert!(begin.elapsed() >= Duration::from_millis(40));
    assert_ne!(move_to(1), 0, "it has fired");
    assert!(!cancel(moved));
    assert!(never.is_empty());
}

struct OwnTimer {
    timer: PLATFORM_TIMER_HANDLE,
    inbox: Inbox<bool>,
}

unsafe extern "C" fn cancel_itself(context: *mut c_void) {
    // SAFETY: the test keeps it until the callback is over.
    let own = unsafe { &*context.cast::<OwnTimer>() };
    // SAFETY: such an inbox.
    unsafe { put(own.inbox.context(), cancel(own.timer)) };
}

// Tests_SRS_C_LIBRARY_01_058
#[test]
fn a_timer_may_be_cancelled_in_its_own_callback() {
    let _platform = Platform::start();
    let mut own = Box::new(OwnTimer { timer: null_mut(), inbox: Inbox::new() });
    let context = (&raw const *own).cast_mut().cast();
    // SAFETY: NULL is allowed; the context outlives the callback.
    own.timer = unsafe { platform_timer_start(null_mut(), 50, Some(cancel_itself), context) };
    assert!(!own.inbox.next(), "it runs already");
}

unsafe extern "C" fn tell_socket(
    context: *mut c_void,
    _: ASYNC_SOCKET_ACCEPT_RESULT,
    socket: SOCKET_HANDLE,
    _: *const c_char,
    _: i32,
) {
    // SAFETY: such an inbox.
    unsafe { put(context, socket) };
}

// Tests_SRS_C_LIBRARY_01_071, Tests_SRS_C_LIBRARY_01_070
#[test]
fn a_child_of_fork_ends_nothing_and_its_parents_timer_and_listener_go_on() {
    if !is_child() {
        return run_child("a_child_of_fork_ends_nothing_and_its_parents_timer_and_listener_go_on", |_| {});
    }
    let _platform = Platform::start();
    let inbox = Inbox::new();
    let timer = start(60_000, &inbox);
    let accepted = Inbox::<SOCKET_HANDLE>::new();
    // SAFETY: NUL-terminated; the context outlives the listener.
    let listener =
        unsafe { async_socket_listener_start(c"127.0.0.1".as_ptr(), 0, Some(tell_socket), accepted.context()) };
    // SAFETY: the child only calls the library and exits.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            // SAFETY: a valid handle, which is not used again.
            let is_refused = unsafe { platform_timer_reset(timer, 1) != 0 } && !cancel(timer);
            // SAFETY: NULL is allowed.
            let is_refused = is_refused && unsafe { platform_post(null_mut(), Some(done), inbox.context()) } != 0;
            // SAFETY: a valid handle; the callback does not run.
            let stopped = unsafe { async_socket_listener_stop_async(listener, Some(done), inbox.context()) };
            let is_refused = is_refused && stopped != 0 && inbox.is_empty();
            // SAFETY: ends the child at once.
            unsafe { nix::libc::_exit(i32::from(!is_refused)) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            let mut status = 0;
            // SAFETY: waits for our child.
            assert_eq!(unsafe { nix::libc::waitpid(child.as_raw(), &raw mut status, 0) }, child.as_raw());
            assert_eq!(status, 0, "the child was refused, and ended");
        }
    }
    // SAFETY: a valid handle.
    assert_eq!(unsafe { platform_timer_reset(timer, 1) }, 0);
    assert_ne!(inbox.next(), thread::current().id());
    assert!(!cancel(timer));
    // SAFETY: a valid handle.
    let port = unsafe { async_socket_listener_get_port(listener) };
    let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // SAFETY: it is ours now.
    drop(unsafe { OwnedFd::from_raw_fd(accepted.next()) });
    // SAFETY: the handle is not used again.
    unsafe { async_socket_listener_destroy(listener) };
}
