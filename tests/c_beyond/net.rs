//! Listeners and connects.

use crate::common::{LIMIT, Platform};
use crate::{Inbox, done, put};
use ASYNC_SOCKET_ACCEPT_RESULT::{ASYNC_SOCKET_ACCEPT_OK, ASYNC_SOCKET_ACCEPT_PAUSED};
use ASYNC_SOCKET_CONNECT_RESULT::*;
use async_socket::*;
use integration_tests::process::{is_child, is_open, run_child};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rstest::rstest;
use std::ffi::{CStr, CString, c_char, c_void};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr::null_mut;
use std::thread;

#[derive(Debug)]
struct Accepted {
    result: ASYNC_SOCKET_ACCEPT_RESULT,
    socket: SOCKET_HANDLE,
    peer: String,
    os_error: i32,
}

unsafe extern "C" fn accept(
    context: *mut c_void,
    result: ASYNC_SOCKET_ACCEPT_RESULT,
    socket: SOCKET_HANDLE,
    peer: *const c_char,
    os_error: i32,
) {
    // SAFETY: NULL or NUL-terminated.
    let peer = if peer.is_null() { String::new() } else { unsafe { CStr::from_ptr(peer) }.to_string_lossy().into() };
    // SAFETY: such an inbox.
    unsafe { put(context, Accepted { result, socket, peer, os_error }) };
}

#[derive(Debug)]
struct Connected {
    result: ASYNC_SOCKET_CONNECT_RESULT,
    socket: usize,
    error: String,
    thread: thread::ThreadId,
}

unsafe extern "C" fn connected(
    context: *mut c_void,
    result: ASYNC_SOCKET_CONNECT_RESULT,
    socket: ASYNC_SOCKET_HANDLE,
    error: *const c_char,
) {
    // SAFETY: NULL or NUL-terminated.
    let error = if error.is_null() { String::new() } else { unsafe { CStr::from_ptr(error) }.to_string_lossy().into() };
    let thread = thread::current().id();
    // SAFETY: such an inbox.
    unsafe { put(context, Connected { result, socket: socket.expose_provenance(), error, thread }) };
}

fn listen(host: &CStr, inbox: &Inbox<Accepted>) -> ASYNC_SOCKET_LISTENER_HANDLE {
    // SAFETY: NUL-terminated; the context outlives the listener.
    let listener = unsafe { async_socket_listener_start(host.as_ptr(), 0, Some(accept), inbox.context()) };
    assert!(!listener.is_null(), "{}", std::io::Error::last_os_error());
    listener
}

fn port_of(listener: ASYNC_SOCKET_LISTENER_HANDLE) -> u16 {
    // SAFETY: a valid handle.
    unsafe { async_socket_listener_get_port(listener) }
}

fn destroy(listener: ASYNC_SOCKET_LISTENER_HANDLE) {
    // SAFETY: the handle is not used again.
    unsafe { async_socket_listener_destroy(listener) };
}

fn connect(host: &CStr, port: u16, within: u32, inbox: &Inbox<Connected>) -> ASYNC_SOCKET_CONNECT_HANDLE {
    let mut handle = null_mut();
    let (host, place) = (host.as_ptr(), &raw mut handle);
    // SAFETY: NUL-terminated; the context outlives the callback.
    let begun = unsafe { async_socket_connect_async(host, port, within, Some(connected), inbox.context(), place) };
    assert_eq!(begun, 0);
    assert!(!handle.is_null());
    handle
}

fn cancel(connect: ASYNC_SOCKET_CONNECT_HANDLE) {
    // SAFETY: the handle is not used again.
    unsafe { async_socket_connect_cancel(connect) };
}

/// The error of the last call that says so through `errno`.
fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or_default()
}

// Tests_SRS_C_LIBRARY_01_060, Tests_SRS_C_LIBRARY_01_062, Tests_SRS_C_LIBRARY_01_064
#[test]
fn every_client_is_handed_over_once_with_its_address() {
    let _platform = Platform::start();
    let inbox = Inbox::new();
    let listener = listen(c"127.0.0.1", &inbox);
    let clients: Vec<_> = (0..50).map(|_| TcpStream::connect(("127.0.0.1", port_of(listener))).unwrap()).collect();
    let mut peers: Vec<_> = clients
        .iter()
        .map(|_| {
            let accepted = inbox.next();
            assert_eq!((accepted.result, accepted.os_error), (ASYNC_SOCKET_ACCEPT_OK, 0));
            // SAFETY: it is ours now.
            drop(unsafe { OwnedFd::from_raw_fd(accepted.socket) });
            accepted.peer
        })
        .collect();
    let mut addresses: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap().to_string()).collect();
    peers.sort();
    addresses.sort();
    assert_eq!(peers, addresses);
    destroy(listener);
    assert!(inbox.is_empty());
}

// Tests_SRS_C_LIBRARY_01_060
#[rstest]
#[case::no_address(c"localhost", nix::libc::EINVAL)]
#[case::another_machines(c"192.0.2.1", nix::libc::EADDRNOTAVAIL)]
#[case::no_such_folder(c"/no/such/folder/socket", nix::libc::ENOENT)]
fn a_listener_that_cannot_be_says_why(#[case] host: &CStr, #[case] reason: i32) {
    let _platform = Platform::start();
    let inbox = Inbox::<Accepted>::new();
    // SAFETY: NUL-terminated.
    let listener = unsafe { async_socket_listener_start(host.as_ptr(), 0, Some(accept), inbox.context()) };
    assert_eq!((listener.is_null(), errno()), (true, reason));
}

// Tests_SRS_C_LIBRARY_01_061
#[test]
fn a_listener_takes_the_descriptor_if_it_listens_and_otherwise_leaves_it() {
    let _platform = Platform::start();
    let inbox = Inbox::<Accepted>::new();
    let start = |descriptor| {
        // SAFETY: the descriptor is given away if that succeeds; the context outlives the listener.
        unsafe { async_socket_listener_start_on(descriptor, Some(accept), inbox.context()) }
    };
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(start(INVALID_SOCKET).is_null());
    assert_eq!(errno(), nix::libc::EBADF);
    assert!(start(one.as_raw_fd()).is_null());
    assert_eq!(errno(), nix::libc::EINVAL);
    assert!(is_open(one.as_raw_fd()));

    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = bound.local_addr().unwrap();
    let callers = bound.into_raw_fd();
    let same_socket = std::fs::read_link(format!("/proc/self/fd/{callers}")).unwrap();
    let listener = start(callers);
    assert!(!listener.is_null() && port_of(listener) == address.port());
    // The number may be another file's by now, but not this socket's: the listener has one of its own.
    assert_ne!(std::fs::read_link(format!("/proc/self/fd/{callers}")).ok(), Some(same_socket));
    let _client = TcpStream::connect(address).unwrap();
    // SAFETY: it is ours now.
    drop(unsafe { OwnedFd::from_raw_fd(inbox.next().socket) });
    destroy(listener);
}

// Tests_SRS_C_LIBRARY_01_062
#[test]
fn without_descriptors_a_listener_says_so_and_goes_on_when_it_is_resumed() {
    if !is_child() {
        return run_child("without_descriptors_a_listener_says_so_and_goes_on_when_it_is_resumed", |_| {});
    }
    let _platform = Platform::start();
    let inbox = Inbox::new();
    let listener = listen(c"127.0.0.1", &inbox);
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port_of(listener)));
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let next = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
    setrlimit(Resource::RLIMIT_NOFILE, u64::try_from(next).unwrap() + 1, hard).unwrap();
    client.connect(&address.into()).unwrap();

    let paused = inbox.next();

    assert_eq!((paused.result, paused.socket), (ASYNC_SOCKET_ACCEPT_PAUSED, INVALID_SOCKET));
    assert_eq!((paused.os_error, paused.peer.as_str()), (nix::libc::EMFILE, ""));
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    // SAFETY: a valid handle.
    unsafe { async_socket_listener_resume(listener) };
    let accepted = std::iter::repeat_with(|| inbox.next()).find(|it| it.result == ASYNC_SOCKET_ACCEPT_OK).unwrap();
    assert!(accepted.socket >= 0);
    // SAFETY: a valid handle.
    assert_ne!(unsafe { async_socket_listener_resume(listener) }, 0, "it does not pause");
    destroy(listener);
}

// Tests_SRS_C_LIBRARY_01_063, Tests_SRS_C_LIBRARY_01_064
#[test]
fn a_stopped_listener_says_so_and_accepts_no_more() {
    let _platform = Platform::start();
    let (inbox, stopped) = (Inbox::new(), Inbox::<thread::ThreadId>::new());
    // Not a TCP port, because the port could be another test's as soon as it is free.
    let path = std::env::temp_dir().join(format!("c-beyond-stop-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = listen(&CString::new(path.to_str().unwrap()).unwrap(), &inbox);
    assert_eq!(port_of(listener), 0);
    // SAFETY: a valid handle; the context outlives the callback.
    let stop = || unsafe { async_socket_listener_stop_async(listener, Some(done), stopped.context()) };
    assert_eq!(stop(), 0);
    stopped.next();
    let refused = std::os::unix::net::UnixStream::connect(&path).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(stop(), 0);
    assert_eq!(stopped.next(), thread::current().id(), "it was stopped before");
    destroy(listener);
    std::fs::remove_file(path).unwrap();
}

// Tests_SRS_C_LIBRARY_01_064
#[test]
fn a_listener_that_is_destroyed_accepts_no_more() {
    let _platform = Platform::start();
    let inbox = Inbox::new();
    let path = std::env::temp_dir().join(format!("c-beyond-destroy-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = listen(&CString::new(path.to_str().unwrap()).unwrap(), &inbox);
    let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    // SAFETY: it is ours now.
    drop(unsafe { OwnedFd::from_raw_fd(inbox.next().socket) });

    destroy(listener);

    let refused = std::os::unix::net::UnixStream::connect(&path).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    std::fs::remove_file(path).unwrap();
}

// Tests_SRS_C_LIBRARY_01_066, Tests_SRS_C_LIBRARY_01_067
#[rstest]
#[case::address(c"127.0.0.1")]
#[case::name(c"localhost")]
fn a_connect_gives_an_open_socket_on_a_ports_thread(#[case] host: &CStr) {
    let _platform = Platform::start();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let inbox = Inbox::new();
    let handle = connect(host, server.local_addr().unwrap().port(), 20_000, &inbox);
    let Connected { result, socket, error, thread } = inbox.next();
    assert_eq!((result, error.as_str()), (ASYNC_SOCKET_CONNECT_OK, ""));
    assert_ne!(thread, thread::current().id());
    cancel(handle);
    let (mut peer, _) = server.accept().unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    // SAFETY: the callback's handle, not used again.
    unsafe { async_socket_destroy(std::ptr::with_exposed_provenance_mut(socket)) };
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it was open, and is closed");
    assert!(inbox.is_empty(), "a cancel that is too late runs nothing");
}

// Tests_SRS_C_LIBRARY_01_067
#[rstest]
#[case::refused(c"127.0.0.1", 1, ASYNC_SOCKET_CONNECT_REFUSED, "127.0.0.1:1: connect: Connection refused")]
#[case::no_such_path(c"/no/such.sock", 0, ASYNC_SOCKET_CONNECT_REFUSED, "/no/such.sock: connect: No such file")]
#[case::no_such_name(c"no-such-name.invalid", 1, ASYNC_SOCKET_CONNECT_NOT_RESOLVED, "no-such-name.invalid")]
fn a_connect_that_fails_says_how_and_why(
    #[case] host: &CStr,
    #[case] port: u16,
    #[case] expected: ASYNC_SOCKET_CONNECT_RESULT,
    #[case] text: &str,
) {
    let _platform = Platform::start();
    let inbox = Inbox::new();
    let handle = connect(host, port, 20_000, &inbox);
    let Connected { result, socket, error, .. } = inbox.next();
    assert_eq!((result, socket), (expected, 0));
    assert!(error.contains(text), "{error}");
    cancel(handle);
}

// Tests_SRS_C_LIBRARY_01_066, Tests_SRS_C_LIBRARY_01_068
#[test]
fn a_connect_that_finds_no_end_times_out_or_is_cancelled_inside_the_call() {
    let _platform = Platform::start();
    // The backlog of this Unix socket is full, and nothing accepts.
    let path = std::env::temp_dir().join(format!("c-beyond-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let server = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    server.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    server.listen(0).unwrap();
    let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let host = CString::new(path.to_str().unwrap()).unwrap();
    let inbox = Inbox::new();

    let late = connect(&host, 0, 20, &inbox);
    assert_eq!(inbox.next().result, ASYNC_SOCKET_CONNECT_TIMED_OUT);
    cancel(late);
    let forever = connect(&host, 0, ASYNC_SOCKET_NO_TIME_LIMIT, &inbox);
    assert!(inbox.is_empty());
    cancel(forever);

    let Connected { result, socket, thread, .. } = inbox.next();
    assert_eq!((result, socket, thread), (ASYNC_SOCKET_CONNECT_CANCELLED, 0, thread::current().id()));
    std::fs::remove_file(path).unwrap();
}
