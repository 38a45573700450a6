//! `create`: a closed socket that owns its descriptor and has taken a reference to a completion port.
//!
//! `create_without_descriptors.rs` tests the case that no port can be made, because it needs a process of its own.

use crate::common::{Fixture, PATIENCE};
use async_socket_linux::{AsyncSocket, AsyncSocketLinux, ExecutionEngine, SocketState, platform};
use rstest::rstest;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

// Tests_SRS_ASYNC_SOCKET_LINUX_11_001
#[test]
fn a_new_socket_is_closed_and_has_touched_neither_the_port_nor_the_descriptor() {
    let new = Fixture::closed();

    assert_eq!(new.state(), SocketState::Closed);
    assert_eq!(new.port.calls(), []);
    assert_eq!(new.sys.calls(), []);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_001
#[test]
fn the_descriptor_is_the_sockets_from_create_on() {
    let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
    let socket = AsyncSocketLinux::create(None, ours.into()).expect("a socket");

    theirs.write_all(b"still open").expect("the socket keeps its descriptor open");
    drop(socket);
    theirs.write_all(b"closed").expect_err("the socket has closed its descriptor");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_005
#[test]
fn a_new_socket_holds_one_reference_to_its_port() {
    let new = Fixture::closed();

    assert_eq!(new.port.references(), 2, "the test's and the socket's");
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_002, Tests_SRS_ASYNC_SOCKET_LINUX_11_005
#[test]
fn without_an_engine_sockets_live_on_the_process_wide_port() {
    let first = thread_of_a_socket_on(None);

    assert!(platform::is_initialized(), "the first socket has made it");
    assert_eq!(thread_of_a_socket_on(None), first);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_005
#[test]
fn the_sockets_of_an_engine_take_its_ports_in_turn() {
    let engine = ExecutionEngine::builder().threads(3).build().expect("an engine");

    let threads: Vec<_> = (0..6).map(|_| thread_of_a_socket_on(Some(&engine))).collect();

    assert_eq!(threads[..3], threads[3..]);
    assert!(threads[0] != threads[1] && threads[1] != threads[2] && threads[2] != threads[0]);
    assert!(!threads.contains(&thread_of_a_socket_on(None)), "an engine's ports are its own");
}

#[rstest]
#[case(0, 1)]
#[case(1, 1)]
#[case(4, 4)]
fn an_engine_has_as_many_threads_as_asked_for_and_at_least_one(#[case] asked: usize, #[case] got: usize) {
    let engine = ExecutionEngine::builder().threads(asked).build().expect("an engine");

    assert_eq!(engine.threads(), got);
}

// Tests_SRS_ASYNC_SOCKET_LINUX_11_005
#[test]
fn a_socket_outlives_the_handle_to_its_engine() {
    let engine = ExecutionEngine::builder().build().expect("an engine");
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let socket = AsyncSocketLinux::create(Some(&engine), ours.into()).expect("a socket");
    drop(engine);

    thread_of(&socket, theirs);
}

/// The thread on which a new socket's callbacks run.
fn thread_of_a_socket_on(engine: Option<&ExecutionEngine>) -> ThreadId {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let socket = AsyncSocketLinux::create(engine, ours.into()).expect("a socket");
    thread_of(&socket, theirs)
}

fn thread_of(socket: &AsyncSocketLinux, mut peer: UnixStream) -> ThreadId {
    socket.open_async(|_| {}).expect("the socket opens");
    let (done, received) = channel();
    socket.receive_async([0], move |_| done.send(thread::current().id()).unwrap_or(())).expect("accepted");
    peer.write_all(b"!").expect("the peer sends");
    received.recv_timeout(PATIENCE).expect("the receive completes")
}

#[test]
fn a_socket_and_an_engine_show_what_they_are() {
    let fixture = Fixture::open();
    let _waits = fixture.receive(vec![0; 8]);

    let shown = format!("{:?}", fixture.socket);

    assert!(shown.contains("state: Open, receives_queued: 1, sends_queued: 0"), "{shown}");
    let engine = ExecutionEngine::builder().threads(2).build().expect("an engine");
    let shown = format!("{engine:?}");
    assert_eq!(shown.matches("CompletionPort").count(), 2, "{shown}");
}

#[test]
fn the_threads_of_an_engine_poll_before_they_sleep_if_asked_to() {
    let engine = ExecutionEngine::builder().busy_poll(Duration::from_secs(1000)).build().expect("an engine");
    let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
    let socket = AsyncSocketLinux::create(Some(&engine), ours.into()).expect("a socket");
    socket.open_async(|_| {}).expect("opens");
    let (sender, received) = channel();
    let tell = move |bytes| sender.send((bytes, fs::read_link("/proc/thread-self"))).expect("the test listens");
    socket.receive_async(vec![0; 8], move |completion| tell(completion.bytes_received)).expect("accepted");
    theirs.write_all(b"polled").expect("the socket has room");
    let (bytes, thread) = received.recv_timeout(PATIENCE).expect("the callback");
    assert_eq!(bytes, 6);

    // Nothing happens any more, and still it runs.
    let (thread, begin) = (thread.expect("the thread is there"), Instant::now());
    let before = ticks(&thread);
    while ticks(&thread) < before + 3 {
        assert!(begin.elapsed() < PATIENCE, "the thread sleeps");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The processor time of a thread: the 14th and the 15th field of `/proc/PID/task/TID/stat`. The second field is the
/// name in brackets.
fn ticks(thread: &Path) -> u64 {
    let stat = fs::read_to_string(Path::new("/proc").join(thread).join("stat")).expect("it lives");
    let (_, behind_name) = stat.rsplit_once(") ").expect("a name in brackets");
    behind_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}
