//! A send that is done at once needs no memory, also on a thread that has never run a callback. The binary has an allocator of
//! its own, which fails on demand. A failure ends the process.

use async_socket_linux::{AsyncSocket, AsyncSocketLinux, Kernel};
use std::os::unix::net::UnixStream;
use std::thread;
use test_doubles::{FailingAllocator, MockPort, without_memory};

#[global_allocator]
static ALLOCATOR: FailingAllocator = FailingAllocator;

#[test]
fn the_first_callback_on_a_thread_needs_no_memory() {
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    let socket = AsyncSocketLinux::create_with(MockPort::new(), Kernel, ours.into());
    socket.open_async(|_| {}).expect("the socket opens");

    thread::scope(|scope| {
        scope.spawn(|| without_memory(|| socket.send_async("hello", |_| {})).expect("the kernel takes it at once"));
    });
}
