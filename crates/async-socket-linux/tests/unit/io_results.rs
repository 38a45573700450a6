//! This crate's errors and pooled completions, converted into the types of `std::io`.

use async_socket_linux::{AsyncSocket, AsyncSocketLinux, BufferPool, CreateError, IoBuf, PooledCompletion};
use completion_port::CreatePortError;
use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;

// Tests_SRS_LENT_BUFFERS_01_009
#[test]
fn a_create_error_becomes_the_errno_behind_it() {
    let source = io::Error::from_raw_os_error(24);

    let error = io::Error::from(CreateError::from(CreatePortError { call: "epoll_create1", source }));

    assert_eq!(error.raw_os_error(), Some(24));
}

// Tests_SRS_LENT_BUFFERS_01_009
#[test]
fn a_pool_that_cannot_be_made_is_invalid_input() {
    let error = BufferPool::new(0, 1).expect_err("no bytes");
    let message = error.to_string();

    let error = io::Error::from(error);

    assert_eq!((error.kind(), error.to_string()), (ErrorKind::InvalidInput, message));
}

// Tests_SRS_LENT_BUFFERS_01_001, Tests_SRS_LENT_BUFFERS_01_008
#[test]
fn a_pooled_receive_ends_as_a_read_does_and_its_buffer_has_slices() {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let socket = AsyncSocketLinux::create(None, ours.into()).expect("a socket");
    socket.open_async(|_| {}).expect("open");
    let pool = BufferPool::new(8, 2).expect("a pool");
    let receive = || -> PooledCompletion {
        let (done, completed) = channel();
        socket.receive_pooled_async(&pool, move |completion| drop(done.send(completion))).expect("accepted");
        completed.recv().expect("called back")
    };

    theirs.write_all(b"hello").expect("sent");
    let completion = receive();
    assert_eq!(completion.io_result().expect("bytes"), 5);
    let slice = completion.buffer.expect("a buffer").slice(1..3).expect("within");
    assert_eq!(&*slice, b"el");
    assert!(slice.into_inner().slice(..6).is_err(), "more than was received");

    drop(theirs);
    assert_eq!(receive().io_result().expect("the end"), 0);
}
