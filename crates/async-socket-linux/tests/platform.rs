//! The process-wide engine, from the first `init` to after the `deinit`. One story, because there is one engine.

mod common;

use async_socket_linux::platform::{self, InitError};
use async_socket_linux::{AsyncSocket, AsyncSocketLinux};
use common::PATIENCE;
use std::collections::HashSet;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread::{self, ThreadId};

// Tests_SRS_ASYNC_SOCKET_LINUX_11_002, Tests_SRS_ASYNC_SOCKET_LINUX_11_005
// Tests_SRS_PLATFORM_01_001, Tests_SRS_PLATFORM_01_002, Tests_SRS_PLATFORM_01_003
#[test]
fn the_process_wide_engine_has_the_threads_of_its_first_init_and_outlives_its_deinit_under_sockets() {
    assert!(!platform::is_initialized());
    platform::init(2).expect("an engine");
    platform::init(2).expect("there is one with the same number already");
    let refused = platform::init(5).expect_err("there is one with fewer");
    assert!(matches!(refused, InitError::AlreadyInitialized { threads: 2, asked: 5 }), "{refused}");
    assert!(platform::is_initialized());

    let sockets: Vec<_> = (0..6).map(|_| Connection::new()).collect();
    let threads: HashSet<_> = sockets.iter().map(Connection::thread).collect();
    assert_eq!(threads.len(), 2);

    platform::deinit();
    assert!(!platform::is_initialized());
    assert_eq!(sockets.iter().map(Connection::thread).collect::<HashSet<_>>(), threads);

    let next = Connection::new();
    assert!(platform::is_initialized(), "made anew when it is needed again");
    assert!(!threads.contains(&next.thread()));
}

struct Connection {
    socket: AsyncSocketLinux,
    peer: UnixStream,
}

impl Connection {
    fn new() -> Self {
        let (ours, peer) = UnixStream::pair().expect("a socket pair");
        let socket = AsyncSocketLinux::create(None, ours.into()).expect("a socket");
        socket.open_async(|_| {}).expect("the socket opens");
        Self { socket, peer }
    }

    /// The thread on which the socket's callbacks run.
    fn thread(&self) -> ThreadId {
        let (done, received) = channel();
        self.socket.receive_async([0], move |_| done.send(thread::current().id()).unwrap_or(())).expect("accepted");
        (&self.peer).write_all(b"!").expect("the peer sends");
        received.recv_timeout(PATIENCE).expect("the receive completes")
    }
}
