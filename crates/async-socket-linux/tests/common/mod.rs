//! Shared by the tests of the socket: a socket over the mocks, and the outcome of an operation.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses a part of this")]

use async_socket_linux::sys::Errno;
use async_socket_linux::{
    AsyncSocket, AsyncSocketLinux, IoBufs, IoBufsMut, OpenResult, ReceiveCompletion, ReceiveError, ReceiveResult,
    Refused, SendCompletion, SendError, SendResult,
};
use completion_port::{Action, Readiness};
use std::fmt::Debug;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;
use test_doubles::{MockPort, ScriptedSockets, SocketCall, Step, any_descriptor};

// EWOULDBLOCK has no test cases of its own: on Linux it is another name of EAGAIN.
const _: () = assert!(Errno::AGAIN.raw_os_error() == Errno::WOULDBLOCK.raw_os_error());

/// How long a test waits for another thread before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long a test watches another thread to see that something does *not* happen.
pub const A_WHILE: Duration = Duration::from_millis(50);

pub type Socket = AsyncSocketLinux<MockPort, ScriptedSockets>;

/// A socket over the mocks.
#[derive(Clone)]
pub struct Fixture {
    pub port: MockPort,
    pub sys: ScriptedSockets,
    pub socket: Arc<Socket>,
    /// The number of the socket's descriptor.
    pub descriptor: RawFd,
}

impl Fixture {
    /// A socket that was never opened.
    pub fn closed() -> Self {
        let (port, sys, descriptor) = (MockPort::new(), ScriptedSockets::new(), any_descriptor());
        let number = descriptor.as_raw_fd();
        let socket = Arc::new(AsyncSocketLinux::create_with(port.clone(), sys.clone(), descriptor));
        Self { port, sys, socket, descriptor: number }
    }

    pub fn open() -> Self {
        let fixture = Self::closed();
        fixture.socket.open_async(|_| {}).expect("the socket opens");
        fixture
    }

    /// An open socket whose short reads mean that there is no more for now.
    pub fn open_tcp() -> Self {
        let fixture = Self::closed();
        fixture.sys.script_short_read_drains(Ok(true));
        fixture.socket.open_async(|_| {}).expect("the socket opens");
        fixture
    }

    /// A socket that was open and is closed.
    pub fn after_close() -> Self {
        let fixture = Self::open();
        fixture.socket.close();
        fixture
    }

    /// An open socket on which a send of `"blocked"` waits.
    pub fn blocked() -> (Self, Outcome<SendCompletion<&'static str>>) {
        let fixture = Self::open();
        let blocked = fixture.blocked_send("blocked", 0);
        (fixture, blocked)
    }

    /// A send of which the kernel takes `taken` bytes and then no more.
    pub fn blocked_send<B: IoBufs>(&self, buffers: B, taken: usize) -> Outcome<SendCompletion<B>> {
        let takes = (taken > 0).then_some(Step::Takes(taken));
        self.sys.script_send(takes.into_iter().chain([Step::Fails(Errno::AGAIN)]));
        let outcome = self.send(buffers);
        outcome.assert_pending();
        outcome
    }

    /// A send that is accepted.
    pub fn send<B: IoBufs>(&self, buffers: B) -> Outcome<SendCompletion<B>> {
        let (outcome, report) = Outcome::new();
        if let Err(refused) = self.socket.send_async(buffers, report) {
            panic!("the send was refused: {refused}");
        }
        outcome
    }

    /// A receive that is accepted.
    pub fn receive<B: IoBufsMut>(&self, buffers: B) -> Outcome<ReceiveCompletion<B>> {
        let (outcome, report) = Outcome::new();
        if let Err(refused) = self.socket.receive_async(buffers, report) {
            panic!("the receive was refused: {refused}");
        }
        outcome
    }

    /// A send that is refused.
    #[track_caller]
    pub fn refused_send<B: IoBufs>(&self, buffers: B) -> Refused<B, SendError> {
        refused_send(&*self.socket, buffers)
    }

    /// A receive that is refused.
    #[track_caller]
    pub fn refused_receive<B: IoBufsMut>(&self, buffers: B) -> Refused<B, ReceiveError> {
        refused_receive(&*self.socket, buffers)
    }

    /// An open whose callback's result is kept.
    pub fn try_open(&self) -> (Result<(), async_socket_linux::OpenError>, Outcome<OpenResult>) {
        let (outcome, report) = Outcome::new();
        (self.socket.open_async(report), outcome)
    }

    pub fn fire(&self, action: Action) {
        self.port.fire(action);
    }

    pub fn deliver(&self, events: Readiness) {
        self.port.deliver(events);
    }

    /// How many `send`s and `sendmsg`s were made.
    pub fn send_calls(&self) -> usize {
        self.sys.count(is_send)
    }

    /// How many `recv`s and `recvmsg`s were made.
    pub fn receive_calls(&self) -> usize {
        self.sys.count(is_receive)
    }

    /// How many `close`s were made.
    pub fn close_calls(&self) -> usize {
        self.sys.count(is_close)
    }
}

impl Deref for Fixture {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.socket
    }
}

/// A send that is refused, and never called back.
#[track_caller]
pub fn refused_send<B: IoBufs>(socket: &impl AsyncSocket, buffers: B) -> Refused<B, SendError> {
    let (callback, report) = Outcome::new();
    let refused = socket.send_async(buffers, report).expect_err("the send is refused");
    callback.assert_never();
    refused
}

/// A receive that is refused, and never called back.
#[track_caller]
pub fn refused_receive<B: IoBufsMut>(socket: &impl AsyncSocket, buffers: B) -> Refused<B, ReceiveError> {
    let (callback, report) = Outcome::new();
    let refused = socket.receive_async(buffers, report).expect_err("the receive is refused");
    callback.assert_never();
    refused
}

pub fn is_send(call: &SocketCall) -> bool {
    matches!(call, SocketCall::Send(..) | SocketCall::SendMsg(..))
}

pub fn is_receive(call: &SocketCall) -> bool {
    matches!(call, SocketCall::Recv(..) | SocketCall::RecvNotingScmRights(..) | SocketCall::RecvMsg(..))
}

pub fn is_close(call: &SocketCall) -> bool {
    matches!(call, SocketCall::Close(_))
}

/// Whether a callback waits, has run, or was dropped.
#[derive(Debug)]
pub struct Outcome<T>(Receiver<T>);

impl<T: Send + 'static> Outcome<T> {
    /// An outcome and the callback that it watches.
    pub fn new() -> (Self, impl FnOnce(T) + Send + 'static) {
        let (report, outcome) = channel();
        (Self(outcome), move |value| report.send(value).unwrap_or(()))
    }

    /// The callback is still held by the socket and has not run.
    #[track_caller]
    pub fn assert_pending(&self) {
        assert!(matches!(self.0.try_recv(), Err(TryRecvError::Empty)), "the callback has run or is gone");
    }

    /// The callback has never run and never will.
    #[track_caller]
    pub fn assert_never(&self) {
        assert!(matches!(self.0.try_recv(), Err(TryRecvError::Disconnected)), "the callback has run or still may");
    }

    /// The callback's argument. Fails unless the callback has run once and is freed.
    #[track_caller]
    pub fn take(&self) -> T {
        let value = self.0.try_recv().expect("the callback has run");
        self.assert_never();
        value
    }

    /// As [`take`](Self::take), for a callback that runs on another thread.
    #[track_caller]
    pub fn wait(&self) -> T {
        let value = self.0.recv_timeout(PATIENCE).expect("the callback runs in time");
        assert!(self.0.recv_timeout(PATIENCE).is_err_and(|error| error != std::sync::mpsc::RecvTimeoutError::Timeout));
        value
    }
}

impl<B: Send + 'static> Outcome<SendCompletion<B>> {
    /// The send has ended with this result. Gives the `errno` and how many bytes went out.
    #[track_caller]
    pub fn ended(&self, result: SendResult) -> (Option<i32>, u32) {
        let completion = self.take();
        assert_eq!(completion.result, result);
        (completion.os_error(), completion.bytes_sent)
    }
}

impl<B: Send + 'static> Outcome<ReceiveCompletion<B>> {
    /// The receive has ended with this result and no bytes. Gives the `errno`.
    #[track_caller]
    pub fn ended(&self, result: ReceiveResult) -> Option<i32> {
        let completion = self.take();
        assert_eq!((completion.result, completion.bytes_received), (result, 0));
        completion.os_error()
    }
}

impl Outcome<ReceiveCompletion<Vec<u8>>> {
    /// The bytes that arrived.
    #[track_caller]
    pub fn received(&self) -> Vec<u8> {
        let mut completion = self.take();
        assert_eq!((completion.result, completion.os_error()), (ReceiveResult::Ok, None));
        completion.buffers.truncate(completion.bytes_received as usize);
        completion.buffers
    }
}

/// Runs `test` on a thread of its own. Fails if it takes too long.
#[track_caller]
pub fn without_hanging<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, finished) = channel();
    let runner = thread::spawn(move || {
        let value = test();
        done.send(()).unwrap_or(());
        value
    });
    if finished.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        panic!("hangs");
    }
    match runner.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Asserts that `count` callbacks, each of which noted an address on its stack, ran at about the same depth.
#[track_caller]
pub fn assert_constant_stack(depths: &Receiver<usize>, count: usize) {
    let depths: Vec<usize> = depths.try_iter().collect();
    assert_eq!(depths.len(), count, "every callback has run");
    let (lowest, highest) = (depths.iter().min().expect("some"), depths.iter().max().expect("some"));
    assert!(highest - lowest < 64 * 1024, "{} bytes of stack", highest - lowest);
}

/// `count` buffers of one byte each, all different from their neighbours.
pub fn one_byte_buffers(count: usize) -> Vec<[u8; 1]> {
    (0..count).map(|index| [u8::try_from(index % 251).expect("below 251")]).collect()
}

/// A list of callbacks that ran, in order.
#[derive(Clone)]
pub struct Journal<T>(Arc<std::sync::Mutex<Vec<T>>>);

impl<T: Send + Clone + Debug + 'static> Journal<T> {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    pub fn note(&self, entry: T) {
        self.0.lock().expect("no test panics while it notes").push(entry);
    }

    pub fn entries(&self) -> Vec<T> {
        self.0.lock().expect("no test panics while it notes").clone()
    }
}
