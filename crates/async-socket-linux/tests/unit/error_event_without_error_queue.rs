//! An error event on a socket whose `recvmsg` knows no error queue: a Unix socket ignores `MSG_ERRQUEUE`, so that taking
//! messages from it "works" for ever.

use async_socket_linux::{AsyncSocket, AsyncSocketLinux, Kernel};
use completion_port::Action;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use test_doubles::MockPort;

// The kernel's own error events of Unix sockets come with EPOLLIN, with which nobody asks the error queue; this one
// reaches the loop over it.
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
