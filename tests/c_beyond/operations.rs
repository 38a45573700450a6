//! Operations with a name, a time limit and a reason.

use crate::common::{Calls, LIMIT, Open, Platform, buffer, on_receive};
use crate::{Ended, Inbox, ended};
use ASYNC_SOCKET_CANCEL_RESULT::{
    ASYNC_SOCKET_CANCEL_NOT_WAITING, ASYNC_SOCKET_CANCEL_OK, ASYNC_SOCKET_CANCEL_STARTED,
};
use ASYNC_SOCKET_END_REASON::*;
use ASYNC_SOCKET_SEND_SYNC_RESULT::{
    ASYNC_SOCKET_SEND_SYNC_ABANDONED, ASYNC_SOCKET_SEND_SYNC_ERROR, ASYNC_SOCKET_SEND_SYNC_OK,
};
use async_socket::*;
use rstest::rstest;
use std::ffi::{CStr, c_void};
use std::io::Read;
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const FOREVER: u32 = ASYNC_SOCKET_NO_TIME_LIMIT;

/// More than the kernel takes at once.
const MUCH: usize = 16 << 20;

/// Receives, and returns the operation's name.
pub(crate) fn receive(socket: &Open, bytes: &mut [u8], within: u32, inbox: &Inbox<Ended>) -> ASYNC_SOCKET_OPERATION_ID {
    let (mut list, mut id) = ([buffer(bytes)], 0);
    let (handle, list, id_place) = (socket.handle, list.as_mut_ptr(), &raw mut id);
    // SAFETY: the handle is valid, and the tests keep bytes and context until the callback.
    let received =
        unsafe { async_socket_receive_async_within(handle, list, 1, within, Some(ended), inbox.context(), id_place) };
    assert_eq!(received, 0);
    assert_ne!(id, 0);
    id
}

/// Sends, and returns the result and the operation's name.
pub(crate) fn send(
    socket: &Open,
    bytes: &mut [u8],
    within: u32,
    inbox: &Inbox<Ended>,
) -> (ASYNC_SOCKET_SEND_SYNC_RESULT, ASYNC_SOCKET_OPERATION_ID) {
    let (list, mut id) = ([buffer(bytes)], 7);
    let (handle, list, id_place) = (socket.handle, list.as_ptr(), &raw mut id);
    // SAFETY: as for `receive`.
    let sent =
        unsafe { async_socket_send_async_within(handle, list, 1, within, Some(ended), inbox.context(), id_place) };
    (sent, id)
}

fn cancel(socket: &Open, id: ASYNC_SOCKET_OPERATION_ID) -> ASYNC_SOCKET_CANCEL_RESULT {
    // SAFETY: a valid handle.
    unsafe { async_socket_cancel(socket.handle, id) }
}

// Tests_SRS_C_LIBRARY_01_040, Tests_SRS_C_LIBRARY_01_042, Tests_SRS_C_LIBRARY_01_043
#[test]
fn what_is_done_at_once_has_no_name_and_says_how_many_bytes() {
    let _platform = Platform::start();
    let (mut socket, inbox, mut bytes) = (Open::new(), Inbox::new(), *b"bytes");

    assert_eq!(send(&socket, &mut bytes, 0, &inbox), (ASYNC_SOCKET_SEND_SYNC_OK, 0));

    let Ended { reason, os_error, bytes: sent, thread } = inbox.next();
    assert_eq!((reason, os_error, sent, thread), (ASYNC_SOCKET_END_COMPLETED, 0, 5, thread::current().id()));
    socket.peer.read_exact(&mut bytes).unwrap();
}

// Tests_SRS_C_LIBRARY_01_040, Tests_SRS_C_LIBRARY_01_042
#[test]
fn what_waits_has_a_name_and_what_is_refused_has_none() {
    let _platform = Platform::start();
    let (socket, inbox, mut much, mut shut) = (Open::new(), Inbox::new(), vec![0; MUCH], 7);

    let (sent, name) = send(&socket, &mut much, FOREVER, &inbox);
    // SAFETY: a valid handle; the context outlives the callback.
    let shutting = unsafe { async_socket_shutdown_async(socket.handle, Some(ended), inbox.context(), &raw mut shut) };

    assert_eq!((sent, shutting), (ASYNC_SOCKET_SEND_SYNC_OK, ASYNC_SOCKET_SEND_SYNC_OK));
    assert!(![0, 7].contains(&name) && ![0, 7, name].contains(&shut), "{name}, {shut}");
    socket.close();
    for _ in 0..2 {
        assert_eq!(inbox.next().reason, ASYNC_SOCKET_END_CLOSED);
    }
    assert_eq!(send(&socket, &mut [0], FOREVER, &inbox), (ASYNC_SOCKET_SEND_SYNC_ABANDONED, 0));
}

// Tests_SRS_C_LIBRARY_01_040, Tests_SRS_C_LIBRARY_01_042, Tests_SRS_C_LIBRARY_01_041
#[test]
fn operations_of_both_kinds_wait_in_one_queue_and_say_why_they_end() {
    let _platform = Platform::start();
    let (mut socket, inbox, calls) = (Open::new(), Inbox::new(), Calls::new());
    let (mut one, mut two, mut three) = ([0; 2], [0; 2], [0; 2]);
    receive(&socket, &mut one, FOREVER, &inbox);
    let mut list = [buffer(&mut two)];
    let (handle, list, context) = (socket.handle, list.as_mut_ptr(), calls.context());
    // SAFETY: a valid handle; the bytes and the context outlive the callback.
    assert_eq!(unsafe { async_socket_receive_async(handle, list, 1, Some(on_receive), context) }, 0);
    receive(&socket, &mut three, FOREVER, &inbox);

    socket.write_from_peer(b"aabb");
    let first = inbox.next();
    calls.next();
    socket.peer.shutdown(std::net::Shutdown::Write).unwrap();
    let last = inbox.next();

    assert_eq!((first.reason, first.bytes, &one, &two), (ASYNC_SOCKET_END_COMPLETED, 2, b"aa", b"bb"));
    assert_eq!((last.reason, last.os_error, last.bytes), (ASYNC_SOCKET_END_PEER_FINISHED, 0, 0));
    let name = async_socket_end_reason_to_string(MaybeUninit::new(last.reason));
    // SAFETY: the string is valid for ever.
    assert_eq!(unsafe { CStr::from_ptr(name) }, c"ASYNC_SOCKET_END_PEER_FINISHED");
}

// Tests_SRS_C_LIBRARY_01_040
#[test]
fn a_reset_is_told_with_the_errno_of_the_kernel() {
    let _platform = Platform::start();
    let (mut socket, inbox, mut bytes) = (Open::new(), Inbox::new(), [0; 4]);
    receive(&socket, &mut bytes, FOREVER, &inbox);
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let another = TcpStream::connect(elsewhere.local_addr().unwrap()).unwrap();
    socket2::SockRef::from(&socket.peer).set_linger(Some(Duration::ZERO)).unwrap();

    drop(std::mem::replace(&mut socket.peer, another));

    let Ended { reason, os_error, bytes, .. } = inbox.next();
    assert_eq!((reason, os_error, bytes), (ASYNC_SOCKET_END_PEER_RESET, nix::libc::ECONNRESET, 0));
}

// Tests_SRS_C_LIBRARY_01_043
#[test]
fn a_receive_that_times_out_loses_no_byte_and_is_never_early() {
    let _platform = Platform::start();
    let (mut socket, inbox) = (Open::new(), Inbox::new());
    let mut bytes = [0; 4];
    for milliseconds in [1, 15, 30] {
        let begin = Instant::now();
        receive(&socket, &mut bytes, milliseconds, &inbox);
        assert_eq!(inbox.next().reason, ASYNC_SOCKET_END_TIMED_OUT);
        assert!(begin.elapsed() >= Duration::from_millis(milliseconds.into()));
    }
    socket.write_from_peer(b"late");
    receive(&socket, &mut bytes, 60_000, &inbox);
    assert_eq!((inbox.next().reason, &bytes), (ASYNC_SOCKET_END_COMPLETED, b"late"));
}

// Tests_SRS_C_LIBRARY_01_040, Tests_SRS_C_LIBRARY_01_043
#[test]
fn a_send_that_times_out_says_how_much_went_out_and_breaks_the_stream() {
    let _platform = Platform::start();
    let (mut socket, inbox, mut bytes) = (Open::new(), Inbox::new(), vec![7; MUCH]);
    let behind = Inbox::new();
    let (sent, id) = send(&socket, &mut bytes, 20, &inbox);
    assert_eq!(sent, ASYNC_SOCKET_SEND_SYNC_OK);
    assert_ne!(id, 0);
    let mut more = [0; 1];
    assert_eq!(send(&socket, &mut more, FOREVER, &behind).0, ASYNC_SOCKET_SEND_SYNC_OK);

    let late = inbox.next();

    assert_eq!(late.reason, ASYNC_SOCKET_END_TIMED_OUT);
    assert!(late.bytes > 0 && (late.bytes as usize) < MUCH, "{}", late.bytes);
    assert_eq!(send(&socket, &mut more, FOREVER, &behind), (ASYNC_SOCKET_SEND_SYNC_ABANDONED, 0));
    // The kernel would take more now.
    socket.peer.read_exact(&mut vec![0; late.bytes as usize]).unwrap();
    assert_eq!(behind.next().reason, ASYNC_SOCKET_END_STREAM_BROKEN);
}

// Tests_SRS_C_LIBRARY_01_040, Tests_SRS_C_LIBRARY_01_044
#[test]
fn a_cancelled_receive_ends_inside_the_call_and_the_next_one_gets_the_bytes() {
    let _platform = Platform::start();
    let (mut socket, inbox, next) = (Open::new(), Inbox::new(), Inbox::new());
    let (mut one, mut two) = ([0; 4], [0; 4]);
    let id = receive(&socket, &mut one, FOREVER, &inbox);
    receive(&socket, &mut two, FOREVER, &next);

    assert_eq!(cancel(&socket, id), ASYNC_SOCKET_CANCEL_OK);

    let cancelled = inbox.next();
    assert_eq!((cancelled.reason, cancelled.thread), (ASYNC_SOCKET_END_CANCELLED, thread::current().id()));
    assert_eq!(cancel(&socket, id), ASYNC_SOCKET_CANCEL_NOT_WAITING);
    assert_eq!(cancel(&socket, u64::MAX), ASYNC_SOCKET_CANCEL_NOT_WAITING, "a name that nothing has");
    socket.write_from_peer(b"four");
    assert_eq!((next.next().reason, &two, &one), (ASYNC_SOCKET_END_COMPLETED, b"four", &[0; 4]));
}

// Tests_SRS_C_LIBRARY_01_044
#[test]
fn a_cancel_that_races_with_the_bytes_leaves_one_outcome_and_loses_no_byte() {
    let _platform = Platform::start();
    let (mut socket, inbox) = (Open::new(), Inbox::new());
    let (mut bytes, mut got, mut lost) = ([0; 1], 0, 0);
    for _ in 0..500 {
        let id = receive(&socket, &mut bytes, FOREVER, &inbox);
        socket.write_from_peer(b"x");
        let is_cancelled = cancel(&socket, id) == ASYNC_SOCKET_CANCEL_OK;
        match inbox.next().reason {
            ASYNC_SOCKET_END_CANCELLED if is_cancelled => lost += 1,
            ASYNC_SOCKET_END_COMPLETED if !is_cancelled => got += 1,
            reason => panic!("{reason:?} although cancelled is {is_cancelled}"),
        }
        assert!(inbox.is_empty(), "one outcome");
    }
    assert_eq!(got + lost, 500);
    for _ in 0..lost {
        receive(&socket, &mut bytes, 20_000, &inbox);
        assert_eq!(inbox.next().reason, ASYNC_SOCKET_END_COMPLETED);
    }
}

// Tests_SRS_C_LIBRARY_01_044
#[test]
fn a_send_of_which_bytes_are_out_goes_on_but_one_behind_it_can_be_cancelled() {
    let _platform = Platform::start();
    let (mut socket, inbox, behind, mut bytes) = (Open::new(), Inbox::new(), Inbox::new(), vec![7; MUCH]);
    let (_, id) = send(&socket, &mut bytes, FOREVER, &inbox);
    let mut more = *b"more";
    let (_, second) = send(&socket, &mut more, FOREVER, &behind);

    assert_eq!(cancel(&socket, id), ASYNC_SOCKET_CANCEL_STARTED);
    assert_eq!(cancel(&socket, second), ASYNC_SOCKET_CANCEL_OK);

    assert_eq!(behind.next().reason, ASYNC_SOCKET_END_CANCELLED);
    let mut all = vec![0; MUCH];
    socket.peer.read_exact(&mut all).unwrap();
    assert_eq!((inbox.next().reason, all == bytes), (ASYNC_SOCKET_END_COMPLETED, true));
}

// Tests_SRS_C_LIBRARY_01_045, Tests_SRS_C_LIBRARY_01_040
#[rstest]
#[case::nothing_waits(5)]
#[case::a_send_waits(MUCH)]
fn a_shutdown_ends_the_stream_behind_what_was_sent(#[case] length: usize) {
    let _platform = Platform::start();
    let (mut socket, sent, shut, mut bytes) = (Open::new(), Inbox::new(), Inbox::new(), vec![7; length]);
    assert_eq!(send(&socket, &mut bytes, FOREVER, &sent).0, ASYNC_SOCKET_SEND_SYNC_OK);
    let shut_down = || {
        let mut id = 7;
        // SAFETY: a valid handle, and a context that outlives the callback.
        (unsafe { async_socket_shutdown_async(socket.handle, Some(ended), shut.context(), &raw mut id) }, id)
    };

    let (result, id) = shut_down();

    assert_eq!((result, id != 0), (ASYNC_SOCKET_SEND_SYNC_OK, length == MUCH));
    assert_eq!(shut_down(), (ASYNC_SOCKET_SEND_SYNC_ABANDONED, 0));
    assert_eq!(send(&socket, &mut bytes.clone(), FOREVER, &sent).0, ASYNC_SOCKET_SEND_SYNC_ABANDONED);
    let mut all = Vec::new();
    socket.peer.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), length);
    assert_eq!(sent.next().reason, ASYNC_SOCKET_END_COMPLETED);
    let Ended { reason, bytes, .. } = shut.next();
    assert_eq!((reason, bytes), (ASYNC_SOCKET_END_COMPLETED, 0));
    let mut back = [0; 4];
    receive(&socket, &mut back, 20_000, &sent);
    socket.write_from_peer(b"back");
    assert_eq!(sent.next().reason, ASYNC_SOCKET_END_COMPLETED, "receiving goes on");
}

// Tests_SRS_C_LIBRARY_01_047
#[test]
fn an_idle_time_out_ends_both_kinds_of_receives_and_the_socket_goes_on() {
    let _platform = Platform::start();
    let (mut socket, inbox, calls) = (Open::new(), Inbox::new(), Calls::new());
    let set = |milliseconds| {
        // SAFETY: a valid handle.
        unsafe { async_socket_set_idle_timeout(socket.handle, milliseconds) }
    };
    let (mut one, mut two) = ([0; 4], [0; 4]);
    assert_eq!(set(40), 0);
    let begin = Instant::now();
    receive(&socket, &mut one, FOREVER, &inbox);
    let mut list = [buffer(&mut two)];
    assert_eq!(socket.receive(&mut list, &calls), 0);

    assert_eq!(inbox.next().reason, ASYNC_SOCKET_END_TIMED_OUT);

    assert!(begin.elapsed() >= Duration::from_millis(40));
    let ends_as = ASYNC_SOCKET_RECEIVE_RESULT::ASYNC_SOCKET_RECEIVE_ERROR;
    assert_eq!(calls.next(), crate::common::Call::Received(ends_as, 0));
    assert_eq!(set(0), 0);
    receive(&socket, &mut one, FOREVER, &inbox);
    thread::sleep(Duration::from_millis(80));
    socket.write_from_peer(b"late");
    assert_eq!(inbox.next().reason, ASYNC_SOCKET_END_COMPLETED, "there is no time-out any more");
    socket.close();
    // SAFETY: a valid handle.
    assert_ne!(unsafe { async_socket_set_idle_timeout(socket.handle, 40) }, 0, "it is closed");
}

/// A receive that begins anew when it times out, twice.
struct Again {
    socket: ASYNC_SOCKET_HANDLE,
    byte: [u8; 1],
    time_outs: AtomicU32,
    last: Inbox<ASYNC_SOCKET_END_REASON>,
}

fn begin_again(again: &Again) {
    let (bytes, context) = (again.byte.as_ptr().cast_mut().cast(), (&raw const *again).cast_mut().cast());
    let mut list = [ASYNC_SOCKET_BUFFER { buffer: bytes, length: 1 }];
    let (list, within, no_name) = (list.as_mut_ptr(), FOREVER, std::ptr::null_mut());
    // SAFETY: the handle is valid, and the test keeps the context until the last callback.
    let received = unsafe {
        async_socket_receive_async_within(again.socket, list, 1, within, Some(receive_again), context, no_name)
    };
    assert_eq!(received, 0);
}

unsafe extern "C" fn receive_again(context: *mut c_void, reason: ASYNC_SOCKET_END_REASON, _: i32, _: u32) {
    // SAFETY: the test keeps it until the last callback.
    let again = unsafe { &*context.cast::<Again>() };
    if reason == ASYNC_SOCKET_END_TIMED_OUT && again.time_outs.fetch_add(1, Ordering::Relaxed) < 2 {
        begin_again(again);
    } else {
        // SAFETY: such an inbox.
        unsafe { crate::put(again.last.context(), reason) };
    }
}

// Tests_SRS_C_LIBRARY_01_047
#[test]
fn a_receive_that_begins_in_the_callback_of_a_time_out_has_the_whole_time() {
    let _platform = Platform::start();
    let socket = Open::new();
    // SAFETY: a valid handle.
    assert_eq!(unsafe { async_socket_set_idle_timeout(socket.handle, 40) }, 0);
    let last = Inbox::new();
    let again = Box::new(Again { socket: socket.handle, byte: [0], time_outs: AtomicU32::new(0), last });
    let begin = Instant::now();
    begin_again(&again);
    assert_eq!(again.last.next(), ASYNC_SOCKET_END_TIMED_OUT, "the third time");
    assert!(begin.elapsed() >= Duration::from_millis(3 * 40));
}

// Tests_SRS_C_LIBRARY_01_048, Tests_SRS_C_LIBRARY_01_049
#[test]
fn a_peer_that_does_not_read_is_seen_and_its_sends_are_refused_until_it_reads() {
    let _platform = Platform::start();
    let (socket, inbox, mut bytes) = (Open::new(), Inbox::new(), vec![7; MUCH]);
    // SAFETY: a valid handle.
    let queued = || unsafe { async_socket_queued_bytes(socket.handle) };
    // SAFETY: a valid handle.
    let set_mark = |bytes| unsafe { async_socket_set_high_water_mark(socket.handle, bytes) };
    assert_eq!((queued(), set_mark(1000)), (0, 0));
    assert_eq!(send(&socket, &mut bytes, FOREVER, &inbox).0, ASYNC_SOCKET_SEND_SYNC_OK, "nothing waits yet");
    assert!((1000..MUCH).contains(&queued()));
    let mut more = *b"x";
    assert_eq!(send(&socket, &mut more, FOREVER, &inbox), (ASYNC_SOCKET_SEND_SYNC_ERROR, 0));
    assert_eq!(set_mark(0), 0);
    assert_eq!(send(&socket, &mut more, FOREVER, &inbox).0, ASYNC_SOCKET_SEND_SYNC_OK, "there is no mark");
    assert_eq!(set_mark(1000), 0);

    let mut peer = socket.peer.try_clone().unwrap();
    thread::spawn(move || std::io::copy(&mut (&mut peer).take(MUCH as u64 + 1), &mut std::io::sink()).unwrap());
    assert_eq!([inbox.next().reason, inbox.next().reason], [ASYNC_SOCKET_END_COMPLETED; 2]);

    assert_eq!(queued(), 0);
    assert_eq!(send(&socket, &mut more, FOREVER, &inbox).0, ASYNC_SOCKET_SEND_SYNC_OK);
    socket.peer.set_read_timeout(Some(LIMIT)).unwrap();
}
