//! Sends and receives whose completions can be waited for.

use crate::{LIMIT, Socket};
use async_socket_linux::{
    AsyncSocket, ExecutionEngine, IoBufs, IoBufsMut, OpenResult, ReceiveCompletion, Refused, SendCompletion, SendError,
    SendResult,
};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};

/// Where completions arrive.
#[derive(Debug)]
pub struct Inbox<T>(Receiver<T>);

/// Where callbacks leave them.
#[derive(Debug)]
pub struct Outbox<T>(Sender<T>);

/// An outbox and its inbox.
#[must_use]
pub fn inbox<T>() -> (Outbox<T>, Inbox<T>) {
    let (done, arrived) = channel();
    (Outbox(done), Inbox(arrived))
}

impl<T> Outbox<T> {
    /// Sends the value to the inbox, if that still exists.
    pub fn put(&self, value: T) {
        let _ = self.0.send(value);
    }
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Inbox<T> {
    /// The next one; it must come.
    pub fn next(&self) -> T {
        self.0.recv_timeout(LIMIT).expect("a completion arrives in time")
    }

    /// The next one, if it is there already.
    #[must_use]
    pub fn try_next(&self) -> Option<T> {
        self.0.try_recv().ok()
    }

    /// The next `count` ones.
    pub fn take(&self, count: usize) -> Vec<T> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Waits for the next value, and until all outboxes are dropped. Fails if another value comes.
    pub fn only(self) -> T {
        let first = self.next();
        self.assert_dead();
        first
    }

    /// Whether nothing has arrived so far and an outbox still exists.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self.0.try_recv(), Err(TryRecvError::Empty))
    }

    /// Waits until all outboxes are dropped, and checks that nothing else has arrived.
    pub fn assert_dead(&self) {
        assert!(self.0.recv_timeout(LIMIT).is_err_and(|error| error == RecvTimeoutError::Disconnected));
    }

    /// Whether all outboxes are dropped and nothing else has arrived.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.0.try_recv(), Err(TryRecvError::Disconnected))
    }
}

/// Callbacks that must not run. They count their calls, because the library catches a callback's panic.
///
/// Dropping this checks that none has run, and that all are freed, so that none can run later.
#[derive(Debug, Default)]
pub struct NeverCalled(Arc<AtomicUsize>);

impl NeverCalled {
    /// Such a callback.
    pub fn callback<T>(&self) -> impl FnOnce(T) + Send + 'static + use<T> {
        let calls = Arc::clone(&self.0);
        move |_| {
            calls.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for NeverCalled {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.0.load(Ordering::SeqCst), 0, "a refused callback was called");
            assert_eq!(Arc::strong_count(&self.0), 1, "a refused callback was kept");
        }
    }
}

/// An engine with this number of threads.
#[must_use]
pub fn engine(threads: usize) -> ExecutionEngine {
    crate::wait::watch_over_this_process();
    ExecutionEngine::builder().threads(threads).build().expect("an engine")
}

/// An open socket.
#[must_use]
pub fn open(engine: &ExecutionEngine, descriptor: OwnedFd) -> Arc<Socket> {
    let socket = Socket::create(Some(engine), descriptor).expect("create");
    let (done, opened) = inbox();
    socket.open_async(move |result| done.put(result)).expect("open_async");
    assert_eq!(opened.only(), OpenResult::Ok);
    Arc::new(socket)
}

/// Starts to receive.
pub fn receive<B: IoBufsMut>(socket: &Socket, buffers: B) -> Inbox<ReceiveCompletion<B>> {
    let (done, completed) = inbox();
    socket
        .receive_async(buffers, move |completion| done.put(completion))
        .map_err(|refused| refused.error)
        .expect("receive_async");
    completed
}

/// Starts to send.
pub fn send<B: IoBufs>(socket: &Socket, buffers: B) -> Inbox<SendCompletion<B>> {
    try_send(socket, buffers).map_err(|refused| refused.error).expect("send_async")
}

/// Starts to send, or says why not.
///
/// # Errors
/// Those of `send_async`.
pub fn try_send<B: IoBufs>(socket: &Socket, buffers: B) -> Result<Inbox<SendCompletion<B>>, Refused<B, SendError>> {
    let (done, completed) = inbox();
    socket.send_async(buffers, move |completion| done.put(completion))?;
    Ok(completed)
}

/// Sends and waits until it is done.
pub fn send_now<B: IoBufs>(socket: &Socket, buffers: B) {
    assert_eq!(send(socket, buffers).only().result, SendResult::Ok);
}

/// The bytes that a receive into one buffer got.
#[must_use]
pub fn received(completion: &ReceiveCompletion<Vec<u8>>) -> &[u8] {
    &completion.buffers[..completion.bytes_received as usize]
}

/// Sends until a send is blocked. Returns the inbox of that send, and how many bytes the peer has to read until it
/// completes.
#[must_use]
pub fn block_sending(socket: &Socket) -> (Inbox<SendCompletion<Vec<u8>>>, usize) {
    const SIZE: usize = 64 * 1024;
    for sent in (0..).step_by(SIZE) {
        let completed = send(socket, crate::wire::pattern(sent, SIZE));
        if completed.is_pending() {
            return (completed, sent + SIZE);
        }
    }
    unreachable!("a socket whose peer does not read blocks at last")
}

/// Receives a byte on another socket of an engine with one thread. After that the thread has handled everything that
/// was ready before.
pub fn round_trip(engine: &ExecutionEngine) {
    for _ in 0..3 {
        let (descriptor, mut peer) = crate::Transport::Unix.pair();
        let socket = open(engine, descriptor);
        let pending = receive(&socket, vec![0; 1]);
        std::io::Write::write_all(&mut peer, b"x").expect("the peer writes");
        assert_eq!(received(&pending.only()), b"x");
    }
}

/// Holds up the thread of an engine with one thread. All events until the release reach the thread in one batch.
#[must_use]
pub fn hold(engine: &ExecutionEngine) -> Held {
    let (gate, barrier) = crate::wait::gate();
    let (descriptor, mut peer) = crate::Transport::Unix.pair();
    let socket = open(engine, descriptor);
    socket.receive_async([0_u8; 1], move |_| barrier.wait()).map_err(|refused| refused.error).expect("receive_async");
    std::io::Write::write_all(&mut peer, b"x").expect("the peer writes");
    gate.wait_for_arrival();
    Held { gate, socket }
}

/// A thread that is held up.
#[derive(Debug)]
pub struct Held {
    gate: crate::wait::Gate,
    socket: Arc<Socket>,
}

impl Held {
    /// Lets it go.
    pub fn release(self) {
        self.gate.open();
        drop(self.socket);
    }
}
