//! Metrics, pools, addresses, a listener's options, and a descriptor that is given back.

use crate::common::{Open, Platform, buffer};
use crate::{Ended, Inbox, ended, put};
use ASYNC_SOCKET_ACCEPT_RESULT::ASYNC_SOCKET_ACCEPT_OK;
use ASYNC_SOCKET_CANCEL_RESULT::ASYNC_SOCKET_CANCEL_OK;
use ASYNC_SOCKET_END_REASON::*;
use ASYNC_SOCKET_SEND_SYNC_RESULT::ASYNC_SOCKET_SEND_SYNC_OK;
use async_socket::*;
use integration_tests::eventually;
use integration_tests::process::{is_child, is_open, resident_kib, run_child};
use rstest::rstest;
use std::ffi::{CStr, CString, c_char, c_void};
use std::io::{Read, Write};
use std::mem::{MaybeUninit, size_of};
use std::net::TcpStream;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr::{self, null_mut};

struct Pooled {
    reason: ASYNC_SOCKET_END_REASON,
    buffer: ASYNC_SOCKET_POOLED_BUFFER,
}

// SAFETY: a buffer of a pool may be used and released on any thread.
unsafe impl Send for Pooled {}

impl Pooled {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the callback got them.
        unsafe { std::slice::from_raw_parts(self.buffer.bytes.cast(), self.buffer.length as usize) }
    }

    fn release(&mut self) {
        // SAFETY: this copy is the only one that is released.
        unsafe { async_socket_pooled_buffer_release(&raw mut self.buffer) };
    }
}

unsafe extern "C" fn pooled(
    context: *mut c_void,
    reason: ASYNC_SOCKET_END_REASON,
    _: i32,
    buffer: ASYNC_SOCKET_POOLED_BUFFER,
) {
    // SAFETY: such an inbox.
    unsafe { put(context, Pooled { reason, buffer }) };
}

fn receive_pooled(
    socket: &Open,
    pool: ASYNC_SOCKET_BUFFER_POOL_HANDLE,
    within: u32,
    inbox: &Inbox<Pooled>,
) -> ASYNC_SOCKET_OPERATION_ID {
    let mut id = 0;
    let (handle, context) = (socket.handle, inbox.context());
    // SAFETY: valid handles; the context outlives the callback.
    let begun = unsafe { async_socket_receive_pooled_async(handle, pool, within, Some(pooled), context, &raw mut id) };
    assert_eq!(begun, 0);
    id
}

fn pool_metrics(pool: ASYNC_SOCKET_BUFFER_POOL_HANDLE) -> ASYNC_SOCKET_BUFFER_POOL_METRICS {
    let mut metrics = ASYNC_SOCKET_BUFFER_POOL_METRICS::default();
    // SAFETY: a valid handle, and a place of that size.
    assert_eq!(unsafe { async_socket_buffer_pool_get_metrics(pool, &raw mut metrics, size_of_val(&metrics)) }, 0);
    metrics
}

fn metrics(socket: &Open) -> ASYNC_SOCKET_METRICS {
    let mut metrics = ASYNC_SOCKET_METRICS::default();
    // SAFETY: a valid handle, and a place of that size.
    assert_eq!(unsafe { async_socket_get_metrics(socket.handle, &raw mut metrics, size_of_val(&metrics)) }, 0);
    metrics
}

// Tests_SRS_C_LIBRARY_01_073, Tests_SRS_C_LIBRARY_01_074, Tests_SRS_C_LIBRARY_01_077
#[test]
fn receives_from_a_pool_wait_without_memory_and_take_turns_at_its_buffers() {
    let _platform = Platform::start();
    let pool = async_socket_buffer_pool_create(16, 1);
    let (mut one, mut two, inbox, second) = (Open::new(), Open::new(), Inbox::new(), Inbox::new());
    receive_pooled(&one, pool, ASYNC_SOCKET_NO_TIME_LIMIT, &inbox);
    assert_eq!((pool_metrics(pool).limit, pool_metrics(pool).buffers_made), (1, 0));

    one.peer.write_all(b"hello").unwrap();
    let mut first = inbox.next();
    assert_eq!((first.reason, first.bytes()), (ASYNC_SOCKET_END_COMPLETED, &b"hello"[..]));
    receive_pooled(&two, pool, ASYNC_SOCKET_NO_TIME_LIMIT, &second);
    two.peer.write_all(b"waits").unwrap();
    eventually("the pool is found empty", || pool_metrics(pool).receives_waiting == 1);
    assert!(second.is_empty());

    first.release();
    first.release();
    let mut after = second.next();
    assert_eq!(after.bytes(), b"waits");
    assert_eq!((pool_metrics(pool).buffers_made, pool_metrics(pool).receives_delayed), (1, 1));
    // SAFETY: the handle is not used again.
    unsafe { async_socket_buffer_pool_destroy(pool) };
    assert_eq!(after.bytes(), b"waits", "a buffer keeps its pool");
    after.release();
}

// Tests_SRS_C_LIBRARY_01_074
#[test]
fn a_receive_from_a_pool_ends_without_a_buffer_if_it_is_cancelled_or_too_late() {
    let _platform = Platform::start();
    let pool = async_socket_buffer_pool_create(16, 1);
    let (socket, inbox) = (Open::new(), Inbox::new());
    let id = receive_pooled(&socket, pool, ASYNC_SOCKET_NO_TIME_LIMIT, &inbox);
    // SAFETY: a valid handle.
    assert_eq!(unsafe { async_socket_cancel(socket.handle, id) }, ASYNC_SOCKET_CANCEL_OK);
    let mut cancelled = inbox.next();
    assert_eq!((cancelled.reason, cancelled.buffer.bytes.is_null()), (ASYNC_SOCKET_END_CANCELLED, true));
    cancelled.release();

    receive_pooled(&socket, pool, 10, &inbox);
    assert_eq!(inbox.next().reason, ASYNC_SOCKET_END_TIMED_OUT);
    receive_pooled(&socket, pool, ASYNC_SOCKET_NO_TIME_LIMIT, &inbox);
    drop(socket);
    assert_eq!(inbox.next().reason, ASYNC_SOCKET_END_CLOSED);
    // SAFETY: the handle is not used again.
    unsafe { async_socket_buffer_pool_destroy(pool) };
}

// Tests_SRS_C_LIBRARY_01_073
#[test]
fn a_pool_that_was_destroyed_lives_as_long_as_its_buffer_is_in_use_and_no_longer() {
    const NAME: &str = "a_pool_that_was_destroyed_lives_as_long_as_its_buffer_is_in_use_and_no_longer";
    const SIZE: usize = 64 << 20;
    // The memory is the process's.
    if !is_child() {
        return run_child(NAME, |_| {});
    }
    let _platform = Platform::start();
    let (mut socket, inbox) = (Open::new(), Inbox::new());
    let half = resident_kib() + SIZE / 2048;
    let pool = async_socket_buffer_pool_create(SIZE, 1);
    receive_pooled(&socket, pool, ASYNC_SOCKET_NO_TIME_LIMIT, &inbox);
    // SAFETY: the handle is not used again.
    unsafe { async_socket_buffer_pool_destroy(pool) };
    socket.write_from_peer(b"hello");
    let mut received = inbox.next();
    assert_eq!(received.bytes(), b"hello");
    assert!(resident_kib() > half);

    received.release();

    eventually("the memory is given back", || resident_kib() < half);
}

// Tests_SRS_C_LIBRARY_01_073
#[rstest]
#[case::no_bytes(0, 1)]
#[case::too_many_bytes(1 << 32, 1)]
#[case::no_buffers(1, 0)]
fn a_pool_that_makes_no_sense_is_refused(#[case] bytes: usize, #[case] limit: usize) {
    assert!(async_socket_buffer_pool_create(bytes, limit).is_null());
}

// Tests_SRS_C_LIBRARY_01_076
#[test]
fn a_socket_counts_while_it_is_asked_to() {
    let _platform = Platform::start();
    let (mut socket, inbox, mut bytes) = (Open::new(), Inbox::<Ended>::new(), *b"hello");
    let send = |bytes: &mut [u8]| {
        let (list, context) = ([buffer(bytes)], inbox.context());
        let list = list.as_ptr();
        // SAFETY: a valid handle; the bytes and the context outlive the callback, which runs inside the call.
        let sent =
            unsafe { async_socket_send_async_within(socket.handle, list, 1, 1000, Some(ended), context, null_mut()) };
        assert_eq!((sent, inbox.next().reason), (ASYNC_SOCKET_SEND_SYNC_OK, ASYNC_SOCKET_END_COMPLETED));
    };
    send(&mut bytes);
    assert_eq!(metrics(&socket), ASYNC_SOCKET_METRICS::default());
    // SAFETY: a valid handle.
    assert_eq!(unsafe { async_socket_set_metrics(socket.handle, 1) }, 0);
    send(&mut bytes);
    let (mut list, context) = ([buffer(&mut bytes)], inbox.context());
    let list = list.as_mut_ptr();
    let waits = |within| {
        // SAFETY: as above, but on the port's thread.
        unsafe { async_socket_receive_async_within(socket.handle, list, 1, within, Some(ended), context, null_mut()) }
    };
    assert_eq!((waits(10), inbox.next().reason), (0, ASYNC_SOCKET_END_TIMED_OUT));
    assert_eq!(waits(ASYNC_SOCKET_NO_TIME_LIMIT), 0);
    assert_eq!((metrics(&socket).receives_waiting, metrics(&socket).receives.completed), (1, 0));
    socket.peer.write_all(b"abc").unwrap();
    assert_eq!(inbox.next().reason, ASYNC_SOCKET_END_COMPLETED);

    let counted = metrics(&socket);
    assert_eq!((counted.is_counting, counted.bytes_sent, counted.bytes_received), (1, 5, 3));
    assert_eq!((counted.sends.completed, counted.receives.completed, counted.receives.timed_out), (1, 1, 1));
    eventually("the callback is measured", || metrics(&socket).longest_callback_nanoseconds > 0);
    // SAFETY: a valid handle.
    assert_eq!(unsafe { async_socket_set_metrics(socket.handle, 0) }, 0);
    assert_eq!(metrics(&socket), ASYNC_SOCKET_METRICS::default());
}

// Tests_SRS_C_LIBRARY_01_075
#[test]
fn a_program_of_an_older_or_newer_header_gets_what_it_knows_and_zeros() {
    let _platform = Platform::start();
    let (socket, inbox) = (Open::new(), Inbox::<Ended>::new());
    let (mut byte, context) = ([0], inbox.context());
    let mut list = [buffer(&mut byte)];
    let list = list.as_mut_ptr();
    // SAFETY: a valid handle; close waits for the callback.
    unsafe { async_socket_receive_async_within(socket.handle, list, 1, u32::MAX, Some(ended), context, null_mut()) };

    let mut older = [u64::MAX; 2];
    // SAFETY: a valid handle, and room for eight bytes.
    assert_eq!(unsafe { async_socket_get_metrics(socket.handle, older.as_mut_ptr().cast(), 8) }, 0);
    assert_eq!(older, [1, u64::MAX]);
    let mut newer = [u64::MAX; size_of::<ASYNC_SOCKET_METRICS>() / 8 + 2];
    let size = size_of_val(&newer);
    // SAFETY: a valid handle, and room for this.
    assert_eq!(unsafe { async_socket_get_metrics(socket.handle, newer.as_mut_ptr().cast(), size) }, 0);
    assert_eq!((newer[0], &newer[1..]), (1, &[0; size_of::<ASYNC_SOCKET_METRICS>() / 8 + 1][..]));
    socket.close();
}

// Tests_SRS_C_LIBRARY_01_078
#[test]
fn a_port_counts_if_it_was_made_to() {
    let read = |port| {
        let mut metrics = COMPLETION_PORT_METRICS::default();
        // SAFETY: a reference that we have, and a place of that size.
        let result = unsafe { completion_port_get_metrics(port, &raw mut metrics, size_of_val(&metrics)) };
        (result == 0).then_some(metrics)
    };
    let silent = completion_port_create();
    assert_eq!(read(silent), None);
    platform_set_metrics(1);
    let counting = completion_port_create();
    platform_set_metrics(0);
    let inbox = Inbox::<std::thread::ThreadId>::new();
    // SAFETY: a reference that we have; the context outlives the work.
    assert_eq!(unsafe { platform_post(counting, Some(crate::done), inbox.context()) }, 0);
    inbox.next();
    eventually("the round is counted", || {
        read(counting).is_some_and(|it| it.rounds > 0 && it.wake_ups > 0 && it.longest_callback_nanoseconds > 0)
    });
    for port in [silent, counting] {
        // SAFETY: our reference, not used again.
        unsafe { completion_port_dec_ref(port) };
    }
}

// Tests_SRS_C_LIBRARY_01_072
#[test]
fn a_socket_gives_its_descriptor_back_when_nothing_waits() {
    let _platform = Platform::start();
    let (mut socket, inbox, mut byte) = (Open::new(), Inbox::<Ended>::new(), [0]);
    // SAFETY: a valid handle.
    let release = || unsafe { async_socket_release_descriptor(socket.handle) };
    let mut list = [buffer(&mut byte)];
    let (list, context, mut id) = (list.as_mut_ptr(), inbox.context(), 0);
    let handle = socket.handle;
    // SAFETY: a valid handle; the bytes and the context outlive the callback.
    unsafe { async_socket_receive_async_within(handle, list, 1, u32::MAX, Some(ended), context, &raw mut id) };
    assert_eq!(release(), INVALID_SOCKET, "a receive waits");
    // SAFETY: a valid handle.
    assert_eq!(unsafe { async_socket_cancel(handle, id) }, ASYNC_SOCKET_CANCEL_OK);

    let descriptor = release();

    assert!(is_open(descriptor));
    assert_eq!(release(), INVALID_SOCKET, "it is closed");
    // SAFETY: it is ours now.
    let mut stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    socket.peer.write_all(b"still connected").unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.read_exact(&mut [0; 15]).unwrap();
    drop(socket);
    stream.write_all(b"after destroy").unwrap();
}

type Ask = unsafe extern "C" fn(ASYNC_SOCKET_HANDLE, *mut c_char, usize) -> i32;

fn address(ask: Ask, socket: ASYNC_SOCKET_HANDLE, room: usize) -> Option<String> {
    let mut text = [1_u8; 512];
    // SAFETY: a valid handle, and room for at least that.
    let result = unsafe { ask(socket, text.as_mut_ptr().cast(), room) };
    assert!(result == 0 || text == [1; 512], "nothing is written");
    let written = || CStr::from_bytes_until_nul(&text).expect("it ends").to_string_lossy().into_owned();
    (result == 0).then(written)
}

// Tests_SRS_C_LIBRARY_01_080
#[test]
fn an_open_socket_says_both_its_addresses() {
    let _platform = Platform::start();
    let socket = Open::new();
    let (local, peer) = (socket.peer.peer_addr().unwrap().to_string(), socket.peer.local_addr().unwrap().to_string());
    assert_eq!(address(async_socket_get_local_address, socket.handle, 512), Some(local.clone()));
    assert_eq!(address(async_socket_get_peer_address, socket.handle, 512), Some(peer));
    assert_eq!(address(async_socket_get_local_address, socket.handle, local.len() + 1), Some(local.clone()));
    assert_eq!(address(async_socket_get_local_address, socket.handle, local.len()), None);
    socket.close();
    assert_eq!(address(async_socket_get_local_address, socket.handle, 512), None);

    let (ours, _theirs) = UnixStream::pair().unwrap();
    // SAFETY: the descriptor is given away.
    let unix = unsafe { async_socket_create_and_open(null_mut(), std::os::fd::IntoRawFd::into_raw_fd(ours)) };
    assert_eq!(address(async_socket_get_peer_address, unix, 512).as_deref(), Some("(unnamed)"));
    // SAFETY: the handle is not used again.
    unsafe { async_socket_destroy(unix) };
}

#[derive(Debug)]
struct Accepted {
    result: ASYNC_SOCKET_ACCEPT_RESULT,
    socket: SOCKET_HANDLE,
}

unsafe extern "C" fn accept(
    context: *mut c_void,
    result: ASYNC_SOCKET_ACCEPT_RESULT,
    socket: SOCKET_HANDLE,
    _: *const c_char,
    _: i32,
) {
    // SAFETY: such an inbox.
    unsafe { put(context, Accepted { result, socket }) };
}

fn no_options() -> ASYNC_SOCKET_LISTENER_OPTIONS {
    // SAFETY: zeros are a value of every field.
    let mut options: ASYNC_SOCKET_LISTENER_OPTIONS = unsafe { MaybeUninit::zeroed().assume_init() };
    options.size = size_of_val(&options);
    options
}

fn listen(
    host: &CStr,
    port: u16,
    options: *const ASYNC_SOCKET_LISTENER_OPTIONS,
    inbox: &Inbox<Accepted>,
) -> ASYNC_SOCKET_LISTENER_HANDLE {
    // SAFETY: NUL-terminated, valid options, and a context that outlives the listener.
    unsafe { async_socket_listener_start_with(host.as_ptr(), port, options, Some(accept), inbox.context()) }
}

fn destroy(listener: ASYNC_SOCKET_LISTENER_HANDLE) {
    // SAFETY: the handle is not used again.
    unsafe { async_socket_listener_destroy(listener) };
}

// Tests_SRS_C_LIBRARY_01_079, Tests_SRS_C_LIBRARY_01_077
#[test]
fn accepted_sockets_have_the_options_of_their_listener_which_counts_them() {
    let _platform = Platform::start();
    let (inbox, port) = (Inbox::new(), platform_get_completion_port());
    let options = ASYNC_SOCKET_LISTENER_OPTIONS {
        completion_port: port,
        backlog: 7,
        no_delay: 1,
        keep_alive_seconds: 33,
        keep_alive_interval_seconds: 4,
        keep_alive_probes: 5,
        user_timeout_milliseconds: 6000,
        receive_buffer_bytes: 8192,
        send_buffer_bytes: 8192,
        ..no_options()
    };
    let listener = listen(c"127.0.0.1", 0, &raw const options, &inbox);
    // SAFETY: the listener has a reference of its own.
    unsafe { completion_port_dec_ref(port) };
    // SAFETY: a valid handle.
    let number = unsafe { async_socket_listener_get_port(listener) };
    let _client = TcpStream::connect(("127.0.0.1", number)).unwrap();

    let accepted = inbox.next();

    assert_eq!(accepted.result, ASYNC_SOCKET_ACCEPT_OK);
    // SAFETY: it is ours now.
    let socket = socket2::Socket::from(unsafe { OwnedFd::from_raw_fd(accepted.socket) });
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), 33);
    assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), 4);
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
    assert_eq!(socket.tcp_user_timeout().unwrap().unwrap().as_millis(), 6000);
    assert_eq!((socket.send_buffer_size().unwrap(), socket.recv_buffer_size().unwrap()), (16384, 16384));
    let mut metrics = ASYNC_SOCKET_LISTENER_METRICS::default();
    // SAFETY: a valid handle, and a place of that size.
    assert_eq!(unsafe { async_socket_listener_get_metrics(listener, &raw mut metrics, size_of_val(&metrics)) }, 0);
    let expected = ASYNC_SOCKET_LISTENER_METRICS { accepted: 1, is_accepting: 1, ..Default::default() };
    assert_eq!(metrics, expected);
    destroy(listener);
}

// Tests_SRS_C_LIBRARY_01_081
#[test]
fn the_longest_callback_of_a_listener_is_measured_while_that_is_on() {
    let _platform = Platform::start();
    let inbox = Inbox::new();
    let listener = listen(c"127.0.0.1", 0, ptr::null(), &inbox);
    // SAFETY: a valid handle.
    let port = unsafe { async_socket_listener_get_port(listener) };
    let accept = || {
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        // SAFETY: it is ours now.
        drop(unsafe { OwnedFd::from_raw_fd(inbox.next().socket) });
    };
    let longest = || {
        let mut metrics = ASYNC_SOCKET_LISTENER_METRICS::default();
        // SAFETY: a valid handle, and a place of that size.
        assert_eq!(unsafe { async_socket_listener_get_metrics(listener, &raw mut metrics, size_of_val(&metrics)) }, 0);
        metrics.longest_callback_nanoseconds
    };
    // SAFETY: a valid handle.
    let switch = |on| assert_eq!(unsafe { async_socket_listener_set_metrics(listener, on) }, 0);

    accept();
    switch(1);
    accept();
    eventually("the callback is measured", || longest() > 0);
    switch(0);

    assert_eq!(longest(), 0);
    destroy(listener);
}

// Tests_SRS_C_LIBRARY_01_079
#[test]
fn an_address_has_several_listeners_only_if_they_say_so() {
    let _platform = Platform::start();
    let inbox = Inbox::new();
    let shared = ASYNC_SOCKET_LISTENER_OPTIONS { reuse_port: 1, ..no_options() };
    let first = listen(c"127.0.0.1", 0, &raw const shared, &inbox);
    // SAFETY: a valid handle.
    let port = unsafe { async_socket_listener_get_port(first) };
    let second = listen(c"127.0.0.1", port, &raw const shared, &inbox);
    assert!(!first.is_null() && !second.is_null());
    assert!(listen(c"127.0.0.1", port, ptr::null(), &inbox).is_null());
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(nix::libc::EADDRINUSE));
    // What they do not ask for is as the kernel has it.
    let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let accepted = inbox.next();
    assert_eq!(accepted.result, ASYNC_SOCKET_ACCEPT_OK);
    // SAFETY: it is ours now.
    let socket = socket2::Socket::from(unsafe { OwnedFd::from_raw_fd(accepted.socket) });
    assert!(!socket.keepalive().unwrap() && !socket.tcp_nodelay().unwrap());
    destroy(first);
    destroy(second);
}

// Tests_SRS_C_LIBRARY_01_066, Tests_SRS_C_LIBRARY_01_079
#[test]
fn an_abstract_name_is_listened_on_and_connected_to() {
    let _platform = Platform::start();
    let inbox = Inbox::new();
    let host = CString::new(format!("@c-beyond-{}", std::process::id())).unwrap();
    let listener = listen(&host, 0, ptr::null(), &inbox);
    assert!(!listener.is_null(), "{}", std::io::Error::last_os_error());
    let connected = Inbox::<bool>::new();
    unsafe extern "C" fn note(
        context: *mut c_void,
        _: ASYNC_SOCKET_CONNECT_RESULT,
        socket: ASYNC_SOCKET_HANDLE,
        _: *const c_char,
    ) {
        assert_eq!(address(async_socket_get_local_address, socket, 512).as_deref(), Some("(unnamed)"));
        let peer = address(async_socket_get_peer_address, socket, 512).unwrap();
        // SAFETY: such an inbox.
        unsafe { put(context, peer.starts_with("@c-beyond-")) };
        // SAFETY: it is ours.
        unsafe { async_socket_destroy(socket) };
    }
    let context = connected.context();
    // SAFETY: NUL-terminated; the context outlives the callback.
    unsafe { async_socket_connect_async(host.as_ptr(), 0, 20_000, Some(note), context, null_mut()) };
    assert!(connected.next());
    // SAFETY: it is ours now.
    drop(unsafe { OwnedFd::from_raw_fd(inbox.next().socket) });
    destroy(listener);
}

// Tests_SRS_C_LIBRARY_01_079
#[test]
fn options_of_another_version_are_understood_as_far_as_they_say_nothing_new() {
    #[repr(C)]
    struct Newer {
        known: ASYNC_SOCKET_LISTENER_OPTIONS,
        unknown: u64,
    }
    let _platform = Platform::start();
    let inbox = Inbox::new();
    // The size alone, with the port, and with one number.
    let sizes = [size_of::<usize>(), 2 * size_of::<usize>(), 2 * size_of::<usize>() + 4];
    let older = sizes.map(|size| ASYNC_SOCKET_LISTENER_OPTIONS { size, backlog: 9, ..no_options() });
    let newer =
        |unknown| Newer { known: ASYNC_SOCKET_LISTENER_OPTIONS { size: size_of::<Newer>(), ..no_options() }, unknown };
    let (zeros, wants) = (newer(0), newer(1));
    for options in older.iter().map(ptr::from_ref).chain([(&raw const zeros).cast()]) {
        let listener = listen(c"127.0.0.1", 0, options, &inbox);
        assert!(!listener.is_null());
        destroy(listener);
    }
    let port = completion_port_create();
    // The options end within the port or a number.
    for size in (1 + size_of::<usize>()..2 * size_of::<usize>()).chain([2 * size_of::<usize>() + 2]) {
        let torn = ASYNC_SOCKET_LISTENER_OPTIONS { size, completion_port: port, ..no_options() };
        assert!(listen(c"127.0.0.1", 0, &raw const torn, &inbox).is_null());
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(nix::libc::EINVAL), "{size}");
    }
    // SAFETY: a reference that we have.
    unsafe { completion_port_dec_ref(port) };
    let sizeless = ASYNC_SOCKET_LISTENER_OPTIONS { size: 0, ..no_options() };
    let reserved = ASYNC_SOCKET_LISTENER_OPTIONS { reserved: 1, ..no_options() };
    for options in [(&raw const wants).cast(), &raw const sizeless, &raw const reserved] {
        assert!(listen(c"127.0.0.1", 0, options, &inbox).is_null());
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(nix::libc::EINVAL));
    }
}

// Tests_SRS_C_LIBRARY_01_070
#[test]
#[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason holds for all")]
fn arguments_that_are_none_are_refused() {
    let _platform = Platform::start();
    let (socket, pool) = (Open::new(), async_socket_buffer_pool_create(1, 1));
    let mut text = [0_i8; 8];
    let text = text.as_mut_ptr().cast::<c_char>();
    // SAFETY: NULL is allowed everywhere here.
    unsafe {
        assert_eq!(async_socket_release_descriptor(null_mut()), INVALID_SOCKET);
        assert_ne!(async_socket_set_metrics(null_mut(), 1), 0);
        let mut numbers = ASYNC_SOCKET_METRICS::default();
        assert_ne!(async_socket_get_metrics(null_mut(), &raw mut numbers, 8), 0);
        assert_ne!(async_socket_get_metrics(socket.handle, null_mut(), 8), 0);
        assert_ne!(async_socket_listener_get_metrics(null_mut(), null_mut(), 0), 0);
        assert_ne!(async_socket_listener_set_metrics(null_mut(), 1), 0);
        assert_ne!(async_socket_buffer_pool_get_metrics(null_mut(), null_mut(), 0), 0);
        assert_ne!(async_socket_buffer_pool_get_metrics(pool, null_mut(), 8), 0);
        assert_ne!(completion_port_get_metrics(null_mut(), null_mut(), 0), 0);
        assert_ne!(async_socket_get_local_address(null_mut(), text, 8), 0);
        assert_ne!(async_socket_get_peer_address(socket.handle, null_mut(), 8), 0);
        let receive = async_socket_receive_pooled_async;
        assert_ne!(receive(null_mut(), pool, 0, Some(pooled), null_mut(), null_mut()), 0);
        assert_ne!(receive(socket.handle, null_mut(), 0, Some(pooled), null_mut(), null_mut()), 0);
        assert_ne!(receive(socket.handle, pool, 0, None, null_mut(), null_mut()), 0);
        async_socket_buffer_pool_destroy(null_mut());
        async_socket_pooled_buffer_release(null_mut());
        async_socket_buffer_pool_destroy(pool);
        let no_callback = async_socket_listener_start_with(c"127.0.0.1".as_ptr(), 0, &no_options(), None, null_mut());
        assert!(no_callback.is_null());
    }
}
