//! An error event on a socket without an error queue. The `recvmsg` of a Unix socket ignores `MSG_ERRQUEUE`, so a loop that
//! takes messages until there are none would never end.

use async_socket_linux::{AsyncSocket, AsyncSocketLinux, Kernel};
use completion_port::Action;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use test_doubles::MockPort;

// The kernel reports errors of a Unix socket together with EPOLLIN, and the socket then does not read the error queue.
// This event has no EPOLLIN, so the socket reads the queue.
#[test]
fn an_error_event_of_a_unix_socket_with_bytes_to_read_is_dealt_with_in_time() {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    theirs.write_all(b"bytes").expect("the peer writes");
    let port = MockPort::new();
    let socket = AsyncSocketLinux::create_with(port.clone(), Kernel, ours.into());
    socket.open_async(|_| {}).expect("the socket opens");
    socket.receive_async(vec![0; 8], |_| {}).expect("accepted");
    let (done, dealt_with) = channel();

    thread::spawn(move || {
        port.fire(Action::Error);
        done.send(()).unwrap_or(());
    });

    let outcome = dealt_with.recv_timeout(Duration::from_secs(5));
    if outcome.is_err() {
        // The socket's destructor would wait for the thread that loops.
        std::mem::forget(socket);
    }
    outcome.expect("dealt with in time");
}
