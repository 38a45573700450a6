//! The options of an engine.

use async_socket_linux::{AsyncSocket, AsyncSocketLinux, ExecutionEngine};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;

/// How many bytes of memory in one piece hold a variable of the caller, as the kernel sees them.
fn bytes_of_this_stack() -> usize {
    let variable = 0_u8;
    let address = (&raw const variable).addr();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
    let pieces = maps.lines().filter_map(|line| {
        let (start, end) = line.split_whitespace().next()?.split_once('-')?;
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    });
    pieces.filter(|piece| piece.contains(&address)).map(|piece| piece.len()).next().expect("a stack")
}

// Tests_SRS_PLATFORM_01_005
#[test]
fn the_threads_of_an_engine_have_stacks_of_the_size_that_was_asked_for() {
    const ASKED: usize = 300 << 20;
    let engine = ExecutionEngine::builder().thread_stack_size(ASKED).build().expect("an engine");
    let (ours, mut peer) = UnixStream::pair().expect("a pair");
    let socket = AsyncSocketLinux::open(&engine, ours).expect("a socket");
    let (done, bytes) = channel();
    socket.receive_async([0], move |_| done.send(bytes_of_this_stack()).unwrap_or(())).expect("accepted");

    peer.write_all(b"x").expect("the peer writes");

    let bytes = bytes.recv().expect("called back");
    assert!(bytes >= ASKED, "{bytes}");
}
