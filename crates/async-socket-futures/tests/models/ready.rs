//! Events against polls of a stream.

use crate::{Wakes, check};
use async_socket_futures::Stream;
use completion_port::{Interest, Port, Readiness, SourceRef, Token};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// A port for one stream. Its thread is any thread of the model that delivers an event, one at a time.
#[derive(Clone, Default)]
struct ModelPort(Arc<Mutex<Option<SourceRef>>>, Kernel);

/// Makes the use of a socket a step of the model, so that loom tries both orders of two of them.
#[derive(Clone, Default)]
struct Kernel(Arc<AtomicUsize>);

impl Kernel {
    fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl ModelPort {
    fn deliver(&self, events: Readiness) {
        let source = self.0.lock().expect("no panic").clone();
        if let Some(source) = source {
            let _ = source.on_ready(events);
        }
    }
}

impl Port for ModelPort {
    fn attach(&self, _: BorrowedFd<'_>, source: SourceRef) -> io::Result<Token> {
        *self.0.lock().expect("no panic") = Some(source);
        Ok(Token(1))
    }

    /// As with a real port, an event that is under way may still come.
    fn detach(&self, _: BorrowedFd<'_>, _: Token) {}

    fn forget(&self, _: Token) {}

    fn attach_once(&self, _: BorrowedFd<'_>, _: Interest, _: SourceRef) -> io::Result<Token> {
        unreachable!("streams wait for all events")
    }

    fn rearm(&self, _: BorrowedFd<'_>, _: Token, _: Interest) -> io::Result<()> {
        unreachable!("streams wait for all events")
    }

    fn detach_once(&self, _: BorrowedFd<'_>, _: Token) {}

    fn forget_once(&self, _: RawFd, _: Token) {}

    fn schedule(&self, _: Token) {}

    fn is_current_thread(&self) -> bool {
        false
    }

    fn is_on_port_thread(&self) -> bool {
        false
    }
}

type Tested = Arc<Stream<ModelPort>>;

fn stream() -> (ModelPort, Tested, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair is made");
    let port = ModelPort::default();
    let stream = Stream::on(&port, ours).expect("the model's port attaches everything");
    (port, Arc::new(stream), theirs)
}

/// The peer sends a byte, and the port reports it.
fn arrive(port: &ModelPort, mut peer: &UnixStream) {
    port.1.step();
    // It fails if the stream is closed.
    let _ = peer.write_all(b"x");
    port.deliver(Readiness::IN);
}

fn read(stream: &Tested, waker: &Waker) -> Option<usize> {
    stream.port().1.step();
    match stream.poll_read(&Context::from_waker(waker), &mut [0; 8]) {
        Poll::Ready(count) => Some(count.expect("the peer is there")),
        Poll::Pending => None,
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_010, Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn a_poll_meets_an_event() {
    check("a_poll_meets_an_event", 20, || {
        let (port, stream, peer) = stream();
        let event = thread::spawn(move || {
            arrive(&port, &peer);
            peer
        });
        let (wakes, waker) = Wakes::new();
        let first = read(&stream, &waker);
        let _peer = event.join().expect("no panic");
        assert!(first == Some(1) || (wakes.any() && read(&stream, &waker) == Some(1)), "the wake-up is lost");
    });
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn a_poll_that_gets_eagain_meets_an_event() {
    check("a_poll_that_gets_eagain_meets_an_event", 20, || {
        let (port, stream, peer) = stream();
        arrive(&port, &peer);
        let (wakes, waker) = Wakes::new();
        assert_eq!(read(&stream, &waker), Some(1));
        let event = thread::spawn(move || {
            arrive(&port, &peer);
            peer
        });
        let second = read(&stream, &waker);
        let _peer = event.join().expect("no panic");
        assert!(second == Some(1) || (wakes.any() && read(&stream, &waker) == Some(1)), "the event is lost");
    });
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_031
#[test]
fn a_read_is_dropped_while_its_event_comes_and_another_task_reads() {
    check("a_read_is_dropped_while_its_event_comes", 20, || {
        let (port, stream, peer) = stream();
        let event = thread::spawn(move || {
            arrive(&port, &peer);
            peer
        });
        let ((_, dropped), (wakes, waker)) = (Wakes::new(), Wakes::new());
        // A future that is dropped after a poll leaves only its waker behind.
        let first = read(&stream, &dropped);
        drop(dropped);
        let second = if first.is_none() { read(&stream, &waker) } else { first };
        let _peer = event.join().expect("no panic");
        assert!(second == Some(1) || (wakes.any() && read(&stream, &waker) == Some(1)), "the byte stays behind");
    });
}

/// A task that runs inside its wake-up, as those of a port do.
struct RunsAtOnce {
    stream: Tested,
    /// What its last poll gave.
    polled: Mutex<Option<usize>>,
}

impl Wake for RunsAtOnce {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        let mut received = 0;
        while let Some(count) = read(&self.stream, &waker) {
            received += count;
        }
        *self.polled.lock().expect("no panic") = Some(received);
    }
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_013, Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn a_task_that_runs_in_its_wake_up_meets_another_that_polls() {
    check("a_task_that_runs_in_its_wake_up_meets_another", 3, || {
        let (port, stream, peer) = stream();
        let task = Arc::new(RunsAtOnce { stream: Arc::clone(&stream), polled: Mutex::default() });
        let waker = Waker::from(Arc::clone(&task));
        assert_eq!(read(&stream, &waker), None);
        let event = {
            let port = port.clone();
            thread::spawn(move || {
                arrive(&port, &peer);
                peer
            })
        };
        let (wakes, other) = Wakes::new();
        let first = read(&stream, &other);
        let peer = event.join().expect("no panic");
        let received = first.unwrap_or(0) + task.polled.lock().expect("no panic").take().unwrap_or(0);
        let is_others = wakes.any();
        assert!(received == 1 || is_others, "the wake-up is lost");
        // Whoever polled last is woken by the next event.
        arrive(&port, &peer);
        assert!(wakes.any() || task.polled.lock().expect("no panic").is_some(), "nobody is woken");
        // So that the model holds nothing alive.
        *port.0.lock().expect("no panic") = None;
        drop(waker);
    });
}

// Tests_SRS_ASYNC_SOCKET_FUTURES_01_030
#[test]
fn taking_the_descriptor_back_meets_an_event() {
    check("taking_the_descriptor_back_meets_an_event", 20, || {
        let (port, stream, peer) = stream();
        let (wakes, waker) = Wakes::new();
        assert_eq!(read(&stream, &waker), None);
        let event = thread::spawn(move || {
            arrive(&port, &peer);
            peer
        });
        drop(Arc::into_inner(stream).expect("the only reference").into_fd());
        drop(event.join().expect("no panic"));
        assert!(wakes.any(), "the task is not woken");
    });
}
