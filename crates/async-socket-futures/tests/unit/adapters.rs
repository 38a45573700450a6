//! The adapters on a mock port.

use crate::{Wakes, unix};
use completion_port::Readiness;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_060
#[test]
fn a_read_of_hyper_gets_the_bytes_and_no_more() {
    let (port, mut stream, mut peer) = unix();
    let (wakes, waker) = Wakes::new();
    let mut context = Context::from_waker(&waker);
    let mut bytes = [0; 8];
    let mut buffer = hyper::rt::ReadBuf::new(&mut bytes);
    assert!(hyper::rt::Read::poll_read(Pin::new(&mut stream), &mut context, buffer.unfilled()).is_pending());
    peer.write_all(b"abc").unwrap();
    port.deliver(Readiness::IN);
    assert_eq!(wakes.taken(), 1);
    let read = hyper::rt::Read::poll_read(Pin::new(&mut stream), &mut context, buffer.unfilled());
    assert!(matches!(read, Poll::Ready(Ok(()))));
    assert_eq!(buffer.filled(), b"abc");
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_061
#[test]
fn a_read_of_tokio_gets_the_bytes_behind_what_was_filled() {
    let (port, mut stream, mut peer) = unix();
    let (_, waker) = Wakes::new();
    let mut context = Context::from_waker(&waker);
    let mut bytes = [0; 8];
    let mut buffer = tokio::io::ReadBuf::new(&mut bytes);
    buffer.put_slice(b"x");
    peer.write_all(b"abc").unwrap();
    port.deliver(Readiness::IN);
    let read = tokio::io::AsyncRead::poll_read(Pin::new(&mut stream), &mut context, &mut buffer);
    assert!(matches!(read, Poll::Ready(Ok(()))));
    assert_eq!(buffer.filled(), b"xabc");
}
