//! Shared by the tests of the completion port: a handler that reads and writes real descriptors.

use crate::wait::watch_over_this_process;
use crate::{Inbox, LIMIT, inbox};
use completion_port::sys::Errno;
use completion_port::{Action, Attempt, CompletionPort, Direction, Handler, Registration};
use rustix::io::{ioctl_fionbio, read, write};
use std::fs;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use test_doubles::{PortSyscall, ScriptedPort};

/// How long a test watches to see that something does *not* happen.
pub const A_WHILE: Duration = Duration::from_millis(50);

/// A real port whose system calls are counted.
pub type Port = CompletionPort<ScriptedPort>;

/// A real descriptor on it.
pub type Watched = Registration<Transfers, Port>;

/// Reads and writes, and counts the attempts.
#[derive(Debug, Default)]
pub struct Transfers {
    attempts: AtomicUsize,
    /// The released descriptor, if it is to be kept.
    kept: Mutex<Option<Option<OwnedFd>>>,
}

impl Transfers {
    /// How often an operation was attempted.
    pub fn attempts(&self) -> usize {
        self.attempts.load(Ordering::Relaxed)
    }
}

/// Removes a registration and takes its descriptor.
pub fn take_back(registration: &Watched) -> OwnedFd {
    let kept = || registration.handler().kept.lock().expect("no test panics inside");
    *kept() = Some(None);
    assert!(registration.remove());
    let descriptor = kept().take().flatten();
    descriptor.expect("removal releases the descriptor")
}

/// The outcome of an operation.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    /// What the last attempt was told.
    pub action: Action,
    /// The result of the last `read` or `write`, if there was one.
    pub result: Option<Result<usize, Errno>>,
    /// The bytes that were read.
    pub bytes: Vec<u8>,
}

enum Transfer {
    Read { room: usize, short_drains: bool },
    Write { bytes: Vec<u8>, written: usize },
}

/// A read or a write with its callback.
pub struct Operation {
    transfer: Transfer,
    done: Done,
    callback: Box<dyn FnOnce(Done) + Send>,
}

fn operation(transfer: Transfer) -> Operation {
    let done = Done { action: Action::Abandoned, result: None, bytes: Vec::new() };
    Operation { transfer, done, callback: Box::new(drop) }
}

/// Reads the bytes that are there, at most `room` of them.
pub fn reads(room: usize) -> Operation {
    operation(Transfer::Read { room, short_drains: false })
}

/// The same, but a short read means that there is no more.
pub fn drains(room: usize) -> Operation {
    operation(Transfer::Read { room, short_drains: true })
}

/// Writes all the bytes.
pub fn writes(bytes: impl Into<Vec<u8>>) -> Operation {
    operation(Transfer::Write { bytes: bytes.into(), written: 0 })
}

impl Operation {
    /// The same operation with a callback for its outcome.
    pub fn then(mut self, callback: impl FnOnce(Done) + Send + 'static) -> Self {
        self.callback = Box::new(callback);
        self
    }
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operation").field("done", &self.done).finish_non_exhaustive()
    }
}

impl Handler for Transfers {
    type Descriptor = OwnedFd;
    type Operation = Operation;

    fn attempt(&self, mut operation: Operation, action: Action, attempt: Attempt<'_, Self>) {
        let Operation { transfer, done, .. } = &mut operation;
        self.attempts.fetch_add(1, Ordering::Relaxed);
        done.action = action;
        let made = if matches!(action, Action::In | Action::Out) {
            attempt.run(|descriptor| transfer.make(descriptor, done))
        } else {
            Some(Made::All { drained: false })
        };
        match made.expect("no attempt panics") {
            Made::Nothing => attempt.pending(operation),
            Made::Part => attempt.partial(operation),
            Made::All { drained } => attempt.complete(drained, None, || (operation.callback)(operation.done)),
        }
    }

    fn release(&self, descriptor: OwnedFd) {
        if let Some(kept) = &mut *self.kept.lock().expect("no test panics inside") {
            *kept = Some(descriptor);
        }
    }
}

/// The outcome of an attempt.
enum Made {
    Nothing,
    Part,
    All { drained: bool },
}

impl Transfer {
    fn make(&mut self, descriptor: &OwnedFd, done: &mut Done) -> Made {
        let result = match self {
            Self::Read { room, .. } => {
                done.bytes.resize(*room, 0);
                let result = read(descriptor, &mut done.bytes[..]);
                done.bytes.truncate(result.unwrap_or(0));
                result
            }
            Self::Write { bytes, written } => write(descriptor, &bytes[*written..]),
        };
        done.result = Some(result);
        match (self, result) {
            (_, Err(Errno::AGAIN)) => Made::Nothing,
            (Self::Write { bytes, written }, Ok(count)) => {
                *written += count;
                if *written < bytes.len() { Made::Part } else { Made::All { drained: false } }
            }
            (Self::Read { room, short_drains }, Ok(count)) => Made::All { drained: *short_drains && count < *room },
            (_, Err(_)) => Made::All { drained: false },
        }
    }
}

/// A port and its counted calls.
pub fn port() -> (ScriptedPort, Port) {
    watch_over_this_process();
    let calls = ScriptedPort::new();
    let port = CompletionPort::create_with(calls.clone()).expect("the port is created");
    (calls, port)
}

/// Puts a descriptor on the port.
pub fn watch(port: &Port, descriptor: impl Into<OwnedFd>) -> Arc<Watched> {
    let descriptor = descriptor.into();
    ioctl_fionbio(&descriptor, true).expect("the descriptor can be made non-blocking");
    let registration = Registration::new(port.clone(), Transfers::default(), descriptor);
    registration.register(|| ()).expect("the kernel accepts the descriptor");
    Arc::new(registration)
}

/// One end of a socket pair on the port, and the other end.
pub fn socket(port: &Port) -> (Arc<Watched>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair is made");
    (watch(port, ours), theirs)
}

/// Starts an operation. The inbox gets its outcome.
pub fn start(registration: &Watched, direction: Direction, operation: Operation) -> Inbox<Done> {
    let (outbox, done) = inbox();
    let operation = operation.then(move |done| outbox.put(done));
    registration.add(direction, operation).expect("the registration accepts operations");
    done
}

/// Makes a round trip through the port. After that the port has served everything that happened before.
pub fn round_trip(port: &Port) {
    let (registration, _peer) = socket(port);
    let _ = start(&registration, Direction::Out, writes("x")).next();
}

/// How many descriptors an epoll instance watches.
pub fn watched_by(epoll: RawFd) -> usize {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{epoll}")).expect("it is open");
    info.lines().filter(|line| line.starts_with("tfd:")).count()
}

/// Fills a descriptor until the kernel takes no more. Returns how many bytes that took.
pub fn fill(descriptor: impl AsFd) -> usize {
    let mut total = 0;
    while let Ok(count) = write(&descriptor, &[b'f'; 4096]) {
        total += count;
    }
    total
}

/// Waits until the port's thread sleeps. Returns how many waits it has made.
pub fn settled(calls: &ScriptedPort) -> usize {
    let waits = || calls.made(PortSyscall::EpollWait);
    let (start, mut since, mut before) = (Instant::now(), Instant::now(), waits());
    while before == 0 || since.elapsed() < A_WHILE {
        assert!(start.elapsed() < LIMIT, "the port's thread does not come to rest");
        thread::sleep(Duration::from_millis(5));
        if waits() != before {
            (since, before) = (Instant::now(), waits());
        }
    }
    before
}
