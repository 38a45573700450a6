//! Every allocation of every call fails once. The call is made again and again, and in its n-th run the n-th allocation
//! fails. A call that cannot take that ends the process, and this test with it.
//!
//! The test counts the allocations of one thread inside the library. Operations and callbacks are made before, and their
//! own allocations are not counted. The test is a binary of its own because of its allocator.

mod common;

use common::{pair, received};
use completion_port::sys::Errno;
use completion_port::{
    Action, AddError, Attempt, CompletionPort, CompletionPortBuilder, Direction, Handler, Interest, OneShots, Port,
    PortExt, RegisterError, Registration, Waiter,
};
use std::cell::Cell;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use test_doubles::{FailingAllocator, allocations_tried, fail_allocations, with_memory};

#[global_allocator]
static ALLOCATOR: FailingAllocator = FailingAllocator;

/// The number of a call's run, and of the allocations that it has tried.
struct Run {
    nth: usize,
    tried: Cell<usize>,
}

impl Run {
    /// Makes a call whose allocations are counted.
    fn counted<T>(&self, call: impl FnOnce() -> T) -> T {
        let nth = self.nth - self.tried.get().min(self.nth);
        fail_allocations(nth..=nth);
        let result = call();
        self.tried.set(self.tried.get() + allocations_tried());
        result
    }

    /// Whether an allocation has failed.
    fn has_failed(&self) -> bool {
        self.tried.get() >= self.nth
    }
}

/// Repeats a call until none of its allocations fails. Returns the number of its allocations.
fn with_every_allocation_failing(what: &str, call: impl Fn(&Run)) -> usize {
    for nth in 1..1000 {
        let run = Run { nth, tried: Cell::new(0) };
        call(&run);
        if !run.has_failed() {
            println!("{what}: {} allocations, each of which has failed once", run.tried.get());
            return run.tried.get();
        }
    }
    panic!("{what}: it makes more and more allocations");
}

/// The function that an operation calls back. It is made before allocations are counted.
type Callback = Box<dyn FnOnce(Action) + Send>;

struct Operation {
    callback: Callback,
    /// What the callback allocates does not count.
    is_apart: bool,
}

impl Operation {
    fn new(callback: impl FnOnce(Action) + Send + 'static) -> Self {
        Self { callback: Box::new(callback), is_apart: true }
    }

    fn call(self, action: Action) {
        if self.is_apart { with_memory(|| (self.callback)(action)) } else { (self.callback)(action) }
    }
}

/// Receives one byte for each operation, and sends none.
struct Bytes;

impl Handler for Bytes {
    type Descriptor = OwnedFd;
    type Operation = Operation;

    fn attempt(&self, operation: Operation, action: Action, attempt: Attempt<'_, Self>) {
        let got = attempt.run(|descriptor| match action {
            Action::In => read_one(descriptor),
            _ => Ok(0),
        });
        match got {
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => attempt.pending(operation),
            _ => attempt.complete(false, None, || operation.call(action)),
        }
    }
}

fn read_one(descriptor: &OwnedFd) -> io::Result<usize> {
    let mut byte = [0];
    nix::unistd::read(descriptor, &mut byte).map_err(io::Error::from)
}

type Bare = Registration<Bytes>;

/// A raw wait for a descriptor.
struct RawWait(Arc<UnixStream>, Operation);

impl Waiter for RawWait {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn fire(self, action: Action) {
        self.1.call(action);
    }
}

/// The number of operations accepted and called back.
#[derive(Clone, Default)]
struct Ledger {
    accepted: Arc<AtomicUsize>,
    called: Arc<AtomicUsize>,
}

impl Ledger {
    fn operation(&self) -> Operation {
        let called = Arc::clone(&self.called);
        Operation::new(move |_| {
            called.fetch_add(1, Ordering::SeqCst);
        })
    }

    fn note<T>(&self, added: &Result<T, AddError>) {
        match added {
            Ok(_) => {
                self.accepted.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => assert_eq!(*error, AddError::OutOfMemory),
        }
    }

    fn is_settled(&self) -> bool {
        self.accepted.load(Ordering::SeqCst) == self.called.load(Ordering::SeqCst)
    }

    fn settles(&self) {
        common::eventually("every accepted operation is called back once", || self.is_settled());
    }
}

fn registered(port: &CompletionPort) -> (Arc<Bare>, UnixStream) {
    let (own, peer) = pair();
    let registration = Registration::new(port.clone(), Bytes, own);
    registration.register(|| ()).expect("there is memory");
    (Arc::new(registration), peer)
}

fn port() -> CompletionPort {
    common::watch_over_all();
    CompletionPort::create().expect("there is memory")
}

fn is_no_memory(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOMEM.raw_os_error())
}

/// An operation that tells when it is called back.
fn telling() -> (Operation, Receiver<Action>) {
    let (tell, told) = channel();
    (Operation::new(move |action| tell.send(action).unwrap_or_default()), told)
}

/// Waits until the port's thread has served everything that happened before.
fn round_trip(port: &CompletionPort) {
    for _ in 0..2 {
        let (registration, _peer) = registered(port);
        let (operation, told) = telling();
        registration.add(Direction::Out, operation).map_err(|refused| refused.error).expect("there is memory");
        received(&told, "the port's round trip");
    }
}

// Tests_SRS_COMPLETION_PORT_01_137
#[test]
fn creating_a_port_is_an_error_whichever_allocation_fails() {
    let made = with_every_allocation_failing("create a port", |run| {
        match run.counted(|| CompletionPortBuilder::default().create()) {
            Ok(port) => drop(port),
            Err(error) => assert!(run.has_failed() && is_no_memory(&error.source), "{error}: {}", error.source),
        }
    });
    assert!(made >= 4, "the references, the events, the numbers in use, and what the thread begins with");
}

// Tests_SRS_COMPLETION_PORT_01_135
#[test]
fn making_a_registration_is_an_error_whichever_allocation_fails() {
    let port = port();
    let made = with_every_allocation_failing("make a registration", |run| {
        let (own, _peer) = pair();
        let port = port.clone();
        match run.counted(|| Registration::try_new(port, Bytes, own)) {
            Ok(registration) => registration.register(|| ()).expect("there is memory"),
            Err(refused) => {
                let (port, bytes, descriptor) = refused.returned;
                assert!(run.has_failed());
                Registration::new(port, bytes, descriptor).register(|| ()).expect("all of it came back");
            }
        }
    });
    assert_eq!(made, 1, "the registration, with the descriptor");
}

// Tests_SRS_COMPLETION_PORT_01_135
#[test]
fn registering_is_an_error_whichever_allocation_fails() {
    let made = with_every_allocation_failing("register forty descriptors", |run| {
        let port = port();
        let unregistered: Vec<_> = (0..40).map(|_| pair()).collect();
        let unregistered: Vec<_> =
            unregistered.into_iter().map(|(own, peer)| (Registration::new(port.clone(), Bytes, own), peer)).collect();
        let mut refused = 0;
        for (registration, _) in &unregistered {
            if let Err(error) = run.counted(|| registration.register(|| ())) {
                assert!(matches!(&error, RegisterError::Kernel(error) if is_no_memory(error)), "{error}");
                refused += 1;
                registration.register(|| ()).expect("there is memory again");
            }
        }
        assert_eq!(refused, usize::from(run.has_failed()));
        let ledger = Ledger::default();
        for (registration, mut peer) in unregistered {
            let added = registration.add(Direction::In, ledger.operation()).map_err(|refused| refused.error);
            ledger.note(&added);
            peer.write_all(b"x").unwrap();
            ledger.settles();
        }
    });
    assert!(made >= 4, "the tables, which grow, and the list of what was inserted");
}

// Tests_SRS_COMPLETION_PORT_01_136
#[test]
fn adding_is_an_error_or_a_completion_whichever_allocation_fails() {
    let port = port();
    for (what, is_ready) in [("add when not ready", false), ("add when ready", true)] {
        with_every_allocation_failing(what, |run| {
            let (registration, mut peer) = registered(&port);
            if is_ready {
                peer.write_all(b"0123456789").unwrap();
                round_trip(&port);
            }
            let ledger = Ledger::default();
            let operations: Vec<_> = (0..10).map(|_| ledger.operation()).collect();
            for operation in operations {
                let added = run.counted(|| registration.add(Direction::In, operation));
                ledger.note(&added.map_err(|refused| refused.error));
            }
            if !is_ready {
                peer.write_all(b"0123456789").unwrap();
            }
            ledger.settles();
            registration.remove();
            assert!(ledger.is_settled());
        });
    }
}

// Tests_SRS_COMPLETION_PORT_01_136
#[test]
fn adding_in_a_callback_is_an_error_or_a_completion_whichever_allocation_fails() {
    let port = port();
    with_every_allocation_failing("add in a callback", |run| {
        let (registration, mut peer) = registered(&port);
        let ledger = Ledger::default();
        let (nth, inner) = (run.nth, ledger.clone());
        let operations: Vec<_> = (0..3).map(|_| ledger.operation()).collect();
        let (tell, told) = channel();
        let adder = Arc::clone(&registration);
        let first = Operation::new(move |_| {
            let inside = Run { nth, tried: Cell::new(0) };
            for operation in operations {
                let added = inside.counted(|| adder.add(Direction::In, operation));
                inner.note(&added.map_err(|refused| refused.error));
            }
            tell.send(inside.tried.get()).expect("the test listens");
        });
        registration.add(Direction::In, first).map_err(|refused| refused.error).expect("there is memory");
        peer.write_all(b"0123").unwrap();
        run.tried.set(received(&told, "the callback"));
        ledger.settles();
        registration.remove();
    });
}

// Tests_SRS_COMPLETION_PORT_01_136
#[test]
fn a_claim_is_queued_or_held_whichever_allocation_fails() {
    let port = port();
    with_every_allocation_failing("claim, queue and complete", |run| {
        let (registration, _peer) = registered(&port);
        let ledger = Ledger::default();
        let operation = ledger.operation();
        let behind = ledger.operation();
        let queued = run.counted(|| {
            let claim = registration.try_claim(Direction::Out).expect("it is idle");
            claim.complete(|| ());
            let claim = registration.try_claim(Direction::Out).expect("it is idle again");
            claim.queue(operation).map_err(|refused| refused.error)
        });
        ledger.note(&queued);
        let added = run.counted(|| registration.add(Direction::Out, behind));
        ledger.note(&added.map_err(|refused| refused.error));
        registration.remove();
        assert!(ledger.is_settled());
    });
}

// Tests_SRS_COMPLETION_PORT_01_136
#[test]
fn removing_and_dropping_need_no_memory() {
    let port = port();
    for (what, drops) in [("remove", false), ("drop", true)] {
        let made = with_every_allocation_failing(what, |run| {
            // More registrations than it takes to wake the thread.
            let registrations: Vec<_> = (0..70).map(|_| registered(&port)).collect();
            let ledger = Ledger::default();
            for (registration, peer) in registrations {
                for direction in [Direction::In, Direction::In, Direction::In] {
                    let added = registration.add(direction, ledger.operation()).map_err(|refused| refused.error);
                    ledger.note(&added);
                }
                if drops {
                    run.counted(|| drop(registration));
                } else {
                    assert!(run.counted(|| registration.remove()));
                }
                drop(peer);
            }
            assert!(ledger.is_settled(), "all was abandoned before that returned");
        });
        assert_eq!(made, 0);
    }
}

// Tests_SRS_COMPLETION_PORT_01_135, Tests_SRS_COMPLETION_PORT_01_136
#[test]
fn raw_waits_are_errors_or_called_back_whichever_allocation_fails() {
    let port = port();
    let made = with_every_allocation_failing("raw waits", |run| {
        let waiting = OneShots::new(port.clone());
        let ledger = Ledger::default();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ours = Arc::new(ours);
        // The same open file under another number.
        let duplicate = Arc::new(ours.try_clone().unwrap());
        let descriptors = [&ours, &ours, &duplicate, &ours, &duplicate];
        for descriptor in descriptors {
            let waiter = RawWait(Arc::clone(descriptor), ledger.operation());
            let refused = run.counted(|| waiting.add(Interest::IN, waiter));
            assert!(refused.as_ref().err().is_none_or(is_no_memory), "{refused:?}");
            ledger.note(&refused.map_err(|_| AddError::OutOfMemory));
        }
        run.counted(|| waiting.remove(duplicate.as_fd()));
        (&theirs).write_all(b"x").unwrap();
        ledger.settles();
        let waiter = RawWait(Arc::clone(&duplicate), ledger.operation());
        ledger.note(&run.counted(|| waiting.add(Interest::IN, waiter)).map_err(|_| AddError::OutOfMemory));
        run.counted(|| drop(waiting));
        ledger.settles();
    });
    assert!(made >= 4, "the table, the descriptor's entry, its queue, and what the port keeps");
}

// Tests_SRS_COMPLETION_PORT_01_160, Tests_SRS_COMPLETION_PORT_01_165
#[test]
fn posted_work_and_timers_are_refused_or_run_whichever_allocation_fails() {
    let port = port();
    let made = with_every_allocation_failing("posted work and timers", |run| {
        let (accepted, ran) = (Cell::new(0), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let ran = Arc::clone(&ran);
            move || _ = ran.fetch_add(1, Ordering::Relaxed)
        };
        let note = |refused: Option<&io::Error>| match refused {
            None => accepted.set(accepted.get() + 1),
            Some(error) => assert!(error.kind() == io::ErrorKind::OutOfMemory, "{error}"),
        };
        for _ in 0..3 {
            let closure = work();
            let posted = run.counted(|| port.post(closure));
            note(posted.as_ref().err().map(|refused| &refused.error));
        }
        let soon = port.now();
        let timers = [(); 3].map(|()| {
            let closure = work();
            let timer = run.counted(|| port.at(soon, closure));
            note(timer.as_ref().err().map(|refused| &refused.error));
            timer.ok()
        });
        let later = work();
        if let Ok(later) = run.counted(|| port.after(Duration::from_secs(3600), later)) {
            assert!(run.counted(|| later.reset(soon + Duration::from_secs(7200))), "a reset needs no memory");
            assert!(run.counted(|| later.cancel()));
        }
        common::eventually("all that was accepted runs", || ran.load(Ordering::Relaxed) == accepted.get());
        run.counted(|| drop(timers));
        assert_eq!(Arc::strong_count(&ran), 1, "no closure is left");
    });
    assert!(made >= 4, "a source for each, a closure for each timer");
}

// Tests_SRS_COMPLETION_PORT_01_136
#[test]
fn the_ports_thread_needs_no_memory_for_what_was_accepted() {
    let made = with_every_allocation_failing("the port's thread", |run| {
        let port = port();
        let (control, mut control_peer) = registered(&port);
        let sockets: Vec<_> = (0..20).map(|_| registered(&port)).collect();
        let waiting = OneShots::new(port.clone());
        let ledger = Ledger::default();
        round_trip(&port);
        let nth = run.nth;
        on_the_thread(&control, &mut control_peer, move |_| fail_allocations(nth..=nth));

        for (registration, peer) in &sockets {
            let mut peer = peer;
            // More than one dispatch may run.
            for _ in 0..200 {
                let added = registration.add(Direction::In, ledger.operation());
                ledger.note(&added.map_err(|refused| refused.error));
            }
            peer.write_all(&[b'x'; 100]).unwrap();
            let added = registration.add(Direction::Out, ledger.operation());
            ledger.note(&added.map_err(|refused| refused.error));
            peer.write_all(&[b'x'; 100]).unwrap();
        }
        ledger.settles();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = Arc::new(ours);
        for interest in [Interest::IN, Interest::OUT, Interest::READ_HANG_UP] {
            let waiter = RawWait(Arc::clone(&ours), ledger.operation());
            waiting.add(interest, waiter).expect("there is memory");
            ledger.note(&Ok(()));
        }
        theirs.write_all(b"x").unwrap();
        drop(theirs);
        ledger.settles();
        // Hang-ups, and the work that a removal and the first look at new sources leave to the thread.
        let more: Vec<_> = (0..70).map(|_| registered(&port)).collect();
        for (registration, peer) in sockets {
            for direction in [Direction::In, Direction::Out] {
                let added = registration.add(direction, ledger.operation()).map_err(|refused| refused.error);
                ledger.note(&added);
            }
            drop(peer);
            drop(registration);
        }
        drop(more);
        ledger.settles();

        let (tell, told) = channel();
        let report = move |_| tell.send(allocations_tried()).expect("the test listens");
        on_the_thread(&control, &mut control_peer, report);
        run.tried.set(received(&told, "the report"));
    });
    assert_eq!(made, 0);
}

/// Runs a function on the port's thread and counts its allocations.
fn on_the_thread(control: &Bare, peer: &mut UnixStream, call: impl FnOnce(Action) + Send + 'static) {
    let (tell, told) = channel();
    let callback = move |action| {
        with_memory(|| tell.send(()).expect("the test listens"));
        call(action);
    };
    let operation = Operation { callback: Box::new(callback), is_apart: false };
    control.add(Direction::In, operation).map_err(|refused| refused.error).expect("there is memory");
    peer.write_all(b"x").expect("the peer takes a byte");
    received(&told, "the call on the port's thread");
}
