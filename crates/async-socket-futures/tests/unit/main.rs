//! The crate over a mock port where that can show it, otherwise over real ports.

#[cfg(all(feature = "hyper", feature = "tokio"))]
mod adapters;
mod dropping;
mod listener;
mod pooled;
mod running;
mod simulation;
mod stream;
mod time;

use async_socket_futures::Stream;
use std::future::Future;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use test_doubles::MockPort;

/// Counts how often a future is woken.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::<Self>::default();
        (Arc::clone(&wakes), Waker::from(wakes))
    }

    /// The wake-ups since the last call.
    pub(crate) fn taken(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A stream on a mock port, and its peer.
pub(crate) fn unix() -> (MockPort, Stream<MockPort>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair is made");
    let port = MockPort::new();
    let stream = Stream::on(&port, ours).expect("the mock accepts every descriptor");
    (port, stream, theirs)
}

/// Polls a future once.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}
