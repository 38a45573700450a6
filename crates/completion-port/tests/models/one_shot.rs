//! A waiter for a single event, against the port's thread and a removal.

use crate::kernel::any_descriptor;
use crate::world::ModelPort;
use crate::{ANY, check};
use completion_port::{Action, Dispatch, Interest, OneShots, Port, Readiness, SourceRef, Token};
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;

#[derive(Default)]
struct Seen {
    fired: AtomicUsize,
    removed: AtomicBool,
}

impl Seen {
    fn fire(&self) {
        self.fired.fetch_add(1, Ordering::Relaxed);
        // A step in the middle of the callback.
        thread::yield_now();
        assert!(!self.removed.load(Ordering::Relaxed), "runs although the descriptor was removed");
    }
}

#[test]
fn an_event_under_way_meets_a_removal() {
    check("an_event_under_way_meets_a_removal", ANY, || {
        let (port, seen) = (ModelPort::default(), Arc::<Seen>::default());
        let waiting = OneShots::new(port.clone());
        for _ in 0..2 {
            let seen = Arc::clone(&seen);
            let waiter = move |_: Action| seen.fire();
            waiting.add(Interest::IN, (any_descriptor(), waiter)).expect("the model's port attaches everything");
        }
        port.report(Readiness::IN);
        let turn = thread::spawn(move || port.turn());
        waiting.remove(any_descriptor());
        seen.removed.store(true, Ordering::Relaxed);
        turn.join().expect("no panic");
        assert_eq!(seen.fired.load(Ordering::Relaxed), 2);
    });
}

/// A port whose kernel reports one event of one descriptor, and then nothing until it is armed again.
#[derive(Clone)]
struct OneEvent(Arc<Mutex<Kernel>>);

struct Kernel {
    source: Option<SourceRef>,
    ready: Readiness,
    armed: Readiness,
}

impl OneEvent {
    fn new(ready: Readiness) -> Self {
        Self(Arc::new(Mutex::new(Kernel { source: None, ready, armed: Readiness::empty() })))
    }

    fn kernel(&self) -> loom::sync::MutexGuard<'_, Kernel> {
        self.0.lock().expect("no panic")
    }

    fn arm(&self, interest: Interest) {
        self.kernel().armed = Readiness::from_bits_truncate(interest.bits());
    }

    /// A turn of the port's thread. Returns false if there is no event.
    fn turn(&self) -> bool {
        let mut kernel = self.kernel();
        let events = kernel.ready & kernel.armed;
        let Some(source) = kernel.source.clone().filter(|_| !events.is_empty()) else { return false };
        kernel.armed = Readiness::empty();
        drop(kernel);
        if source.on_ready(events) == Dispatch::Rearm {
            source.rearm(&|descriptor, token, interest| self.rearm(descriptor, token, interest));
        }
        true
    }
}

impl Port for OneEvent {
    fn attach(&self, _: BorrowedFd<'_>, _: SourceRef) -> io::Result<Token> {
        unreachable!("nothing is registered here")
    }

    fn detach(&self, _: BorrowedFd<'_>, token: Token) {
        self.forget(token);
    }

    fn forget(&self, _: Token) {
        let mut kernel = self.kernel();
        kernel.armed = Readiness::empty();
        let source = kernel.source.take();
        drop(kernel);
        drop(source);
    }

    fn attach_once(&self, _: BorrowedFd<'_>, interest: Interest, source: SourceRef) -> io::Result<Token> {
        self.kernel().source = Some(source);
        self.arm(interest);
        Ok(Token(0))
    }

    fn rearm(&self, _: BorrowedFd<'_>, _: Token, interest: Interest) -> io::Result<()> {
        self.arm(interest);
        Ok(())
    }

    fn detach_once(&self, _: BorrowedFd<'_>, token: Token) {
        self.forget(token);
    }

    fn forget_once(&self, _: RawFd, token: Token) {
        self.forget(token);
    }

    fn schedule(&self, _: Token) {
        unreachable!("one-shot waits need no turn without an event")
    }

    fn is_current_thread(&self) -> bool {
        false
    }

    fn is_on_port_thread(&self) -> bool {
        false
    }
}

// Tests_SRS_COMPLETION_PORT_01_121
#[test]
fn a_wait_that_is_added_during_a_turn_is_served_though_the_turn_arms_the_kernel_too() {
    check("a_wait_that_is_added_during_a_turn_is_served", ANY, || {
        let port = OneEvent::new(Readiness::OUT);
        let waiting = OneShots::new(port.clone());
        let fired = Arc::new(AtomicUsize::new(0));
        let add = |interest| {
            let fired = Arc::clone(&fired);
            let waiter = move |action: Action| {
                assert_ne!(action, Action::Abandoned);
                fired.fetch_add(1, Ordering::Relaxed);
            };
            waiting.add(interest, (any_descriptor(), waiter)).expect("the model's port attaches everything");
        };
        add(Interest::IN);
        add(Interest::OUT);
        let thread = {
            let port = port.clone();
            thread::spawn(move || port.turn())
        };

        add(Interest::OUT);

        thread.join().expect("no panic");
        while port.turn() {}
        assert_eq!(fired.load(Ordering::Relaxed), 2, "both that wait for room");
        port.kernel().ready = Readiness::IN;
        while port.turn() {}
        assert_eq!(fired.load(Ordering::Relaxed), 3, "and the one that waits for bytes");
    });
}
